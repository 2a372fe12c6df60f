-- reaches.lua - what each row of the benchmark is to reach on one thread, as data, and the judgement of a measured row.
-- pytorch, jax, onnxruntime: how many times as fast as that system in the same run; memory = true: or as fast as memory allows; fma: share of the
-- machine's multiply-add peak. Every row is to be at least as fast as its fastest rival, on any number of threads.
local M = {}

M.rows = {
  mlp_seed = { pytorch = 5, jax = 1.7 }, mlp_wide = { pytorch = 1.5, jax = 1.25 }, xor_tiny = { pytorch = 40, jax = 3 }, conv_seed = { pytorch = 20 },
  conv_mnist = { pytorch = 2.5 }, resnet20 = { pytorch = 2 }, char_lstm = { pytorch = 1.5 }, char_gpt = { pytorch = 1.8 },
  infer_mlp_b1 = { pytorch = 3 }, infer_gru_step = { pytorch = 8 }, infer_resnet20_b1 = { pytorch = 3.5 }, infer_resnet50_b1 = { pytorch = 2, onnxruntime = 1 },
  op_matmul_512 = { pytorch = 1.15, fma = 0.85 }, op_matmul_1024 = { pytorch = 1.15, fma = 0.85 },
  op_matmul_32x784x200 = { pytorch = 1.15 }, op_matmul_128x1024x1024 = { pytorch = 1.15 },
  op_add_1m = { pytorch = 1.2, memory = true }, op_exp_1m = { pytorch = 1.2, memory = true }, op_tanh_1m = { pytorch = 1.2, memory = true },
  op_gelu_1m = { pytorch = 1.2, memory = true }, op_sum_1m = { pytorch = 1.5, memory = true }, op_softmax_1024 = { pytorch = 1.5, memory = true },
  op_layernorm_1024 = { pytorch = 1.5, memory = true },
  op_argmax_1024 = { pytorch = 5 }, op_transpose_copy_1024 = { pytorch = 2 }, op_sort_1m = { pytorch = 5 }, op_dropout_1m = { pytorch = 15 },
  op_randn_1m = { pytorch = 2 },
  op_conv3x3_64c_56 = { pytorch = 1.5 }, op_conv3x3_16c_32_b64 = { pytorch = 1.5 }, op_conv1x1_256c_14 = { pytorch = 1.3 },
  op_convdw3x3_128c_28 = { pytorch = 2 }, op_maxpool2_64c_32 = { pytorch = 10 },
}
M.memory = 0.9                    -- this much of the measured memory peak counts as the memory limit
M.large_us, M.large, M.small = 500, 1.6, 0.97 -- two threads against one, for steps at least and less long than large_us

M.rivals = { "pytorch", "jax", "onnxruntime" }

-- The fastest rival of a row {us = {slugnet=, pytorch=, ...}}: its name and time.
function M.fastest(row)
  local who, least
  for _, name in ipairs(M.rivals) do
    local us = row.us[name]
    if us and (not least or us < least) then who, least = name, us end
  end
  return who, least
end

-- Whether a row on one thread reaches what it is to: true, false or nil (nothing to reach, or nobody to compare with), and what that is. A row's own
-- peak, taken beside it, counts for more than the machine's.
function M.reached(row, peaks)
  local want = M.rows[row.workload]
  if not want or not row.us.slugnet then return nil end
  local good, parts, judged = true, {}, false
  for _, name in ipairs(M.rivals) do
    if want[name] then
      parts[#parts + 1] = ("%gx%s"):format(want[name], name == "pytorch" and "" or " " .. name)
      if row.us[name] then
        judged = true
        local memory = want.memory and row.least_us and row.least_us >= M.memory * row.us.slugnet
        good = good and (row.us[name] >= want[name] * row.us.slugnet or memory or false)
      end
    end
  end
  if want.memory then parts[#parts] = parts[#parts] .. " or memory" end
  if want.fma then
    parts[#parts + 1] = ("%.0f %% of FMA"):format(100 * want.fma)
    judged = true
    good = good and row.flops / row.us.slugnet * 1e-3 >= want.fma * (row.fma or peaks.fma)
  end
  if not judged then return nil, table.concat(parts, ", ") end
  return good, table.concat(parts, ", ")
end

-- Whether two threads gain what they should: one, two are rows of one workload. True or false, ours, and PyTorch's gain.
function M.gain(one, two)
  local a, b = one.us.slugnet, two.us.slugnet
  if not (a and b) then return nil end
  local theirs = one.us.pytorch and two.us.pytorch and one.us.pytorch / two.us.pytorch
  local want = a >= M.large_us and math.min(M.large, theirs or M.large) or M.small
  return a / b >= want, a / b, theirs
end

return M
