-- bench.lua - our side of the benchmark: the workloads of pytorch.py by the same names, measured the same way, one JSON line each.
--   slugnet bench/bench.lua [--threads N] [--seconds S] [--mode eager|compile] [--profile ops|steps] [WORKLOAD...]
-- A training workload times whole steps (zero_grad, forward, loss, backward, update) on data in memory; an inference workload a forward pass
-- without gradients. Figures are medians over repeats, in microseconds. The learning rate hardly moves the weights: a batch learned by heart
-- would time denormal numbers.
local sn = require "slugnet"

local opt = { threads = 1, seconds = 2.0, mode = "compile" }
local names, known = {}, { ["--threads"] = "threads", ["--seconds"] = "seconds", ["--mode"] = "mode", ["--profile"] = "profile" }
do
  local i = 1
  while arg[i] do
    local key = known[arg[i]]
    if key then
      opt[key] = (key == "mode" or key == "profile") and arg[i + 1] or tonumber(arg[i + 1])
      if not opt[key] then error(arg[i] .. " wants a value", 0) end
      i = i + 2
    else
      names[#names + 1] = arg[i]
      i = i + 1
    end
  end
end
sn.threads(math.tointeger(opt.threads))
sn.manual_seed(1)
local LR = 1e-7

local function measure(step)
  for _ = 1, 3 do step() end
  local t0 = sn.clock()
  step()
  local once = sn.clock() - t0
  local inner = math.max(1, math.min(1000, math.floor(0.02 / math.max(once, 1e-7))))
  local ts, stop = {}, sn.clock() + opt.seconds
  while sn.clock() < stop or #ts < 5 do
    t0 = sn.clock()
    for _ = 1, inner do step() end
    ts[#ts + 1] = (sn.clock() - t0) / inner
  end
  table.sort(ts)
  return ts[#ts // 2 + 1] * 1e6, ts[1] * 1e6, #ts * inner
end

local newest, arguments -- the program of the workload being made, and what it is called with
local function compiled(fn)
  if opt.mode ~= "compile" then return fn end
  newest = sn.compile(fn)
  return newest
end

-- Where a program's time goes: the steps by operation, or all of them (--profile ops|steps).
local function profile()
  local text = sn.profile(newest, table.unpack(arguments))
  print(opt.profile == "steps" and text or text:match("\n\n(.*)$") or text)
end

-- ---- training and inference
local all, order = {}, {}
local function workload(name, fn)
  all[name] = fn
  order[#order + 1] = name
end

local function trainer(model, optimizer, x, y, loss)
  loss = loss or sn.CrossEntropy()
  model:build(({ table.unpack(x.shape, 2) }))
  optimizer:add(model:parameters())
  local step = compiled(function(xb, yb)
    optimizer:zero_grad()
    local l = loss(model(xb), yb)
    l:backward()
    optimizer:step()
  end)
  arguments = { x, y }
  return function() step(x, y) end
end

local function infer(model, x)
  model:build(({ table.unpack(x.shape, 2) }))
  model:eval()
  local step = compiled(function(xb)
    local _ <close> = sn.no_grad()
    return (model(xb))
  end)
  arguments = { x }
  return function() step(x) end
end

local function classes(n, k) return sn.randint(1, n + 1, { k }) end

workload("mlp_seed", function()
  local m = sn.Sequential(sn.Dense { 200 }, sn.ReLU(), sn.Dense { 10 })
  return trainer(m, sn.RMSProp { lr = LR, rho = 0.9 }, sn.rand(32, 784), classes(10, 32))
end)

workload("mlp_wide", function()
  local m = sn.Sequential(sn.Dense { 1024 }, sn.ReLU(), sn.Dense { 1024 }, sn.ReLU(), sn.Dense { 10 })
  return trainer(m, sn.Adam { lr = LR }, sn.rand(128, 784), classes(10, 128))
end)

workload("xor_tiny", function()
  local m = sn.Sequential(sn.Dense { 3 }, sn.Sigmoid(), sn.Dense { 1 })
  return trainer(m, sn.SGD { lr = LR }, sn.rand(4, 2), sn.rand(4, 1):round(), sn.BCEWithLogits())
end)

workload("conv_seed", function()
  local m = sn.Sequential(sn.Conv2d { 1, 3 }, sn.ReLU(), sn.AvgPool2d { 2 }, sn.Conv2d { 2, 4 }, sn.ReLU(), sn.AvgPool2d { 2 }, sn.Flatten(), sn.Dense { 10 })
  return trainer(m, sn.SGD { lr = LR }, sn.rand(3, 1, 28, 28), classes(10, 3))
end)

workload("conv_mnist", function()
  local m = sn.Sequential(sn.Conv2d { 32, 3 }, sn.ReLU(), sn.MaxPool2d { 2 }, sn.Conv2d { 64, 3 }, sn.ReLU(), sn.MaxPool2d { 2 }, sn.Flatten(), sn.Dropout(0.5), sn.Dense { 10 })
  return trainer(m, sn.Adam { lr = LR }, sn.rand(128, 1, 28, 28), classes(10, 128))
end)

-- The identity of a block whose output has half the height and width and twice the channels: every second place, zeros around the channels.
local Shrink = sn.layer("Shrink", {
  init = function(self, from, to) self.pad = (to - from) // 2 end,
  forward = function(self, x)
    local small = x[{ {}, {}, { 1, -1, 2 }, { 1, -1, 2 } }]
    return small:pad { 0, 0, 0, 0, self.pad, self.pad }
  end,
})
-- Two ways added, then relu.
local Both = sn.layer("Both", {
  init = function(self, way, short) self.way, self.short = way, short end,
  forward = function(self, x) return (self.way(x) + (self.short and self.short(x) or x)):relu() end,
})

local function conv(channels, size, stride) return sn.Conv2d { channels, size, stride = stride, padding = size // 2, bias = false } end

local function resnet20_model()
  local net = sn.Sequential(conv(16, 3, 1), sn.BatchNorm2d {}, sn.ReLU())
  local from = 16
  for _, to in ipairs { 16, 16, 16, 32, 32, 32, 64, 64, 64 } do
    local stride = to > from and 2 or 1
    net:add(Both(sn.Sequential(conv(to, 3, stride), sn.BatchNorm2d {}, sn.ReLU(), conv(to, 3, 1), sn.BatchNorm2d {}),
      stride > 1 and Shrink(from, to) or nil))
    from = to
  end
  net:add(sn.AdaptiveAvgPool2d { 1 })
  net:add(sn.Flatten())
  net:add(sn.Dense { 10 })
  return net
end

local function resnet50_model()
  local net = sn.Sequential(conv(64, 7, 2), sn.BatchNorm2d {}, sn.ReLU(), sn.MaxPool2d { 3, stride = 2, padding = 1 })
  local from = 64
  for _, s in ipairs { { 64, 3, 1 }, { 128, 4, 2 }, { 256, 6, 2 }, { 512, 3, 2 } } do
    local width, to = s[1], 4 * s[1]
    for k = 1, s[2] do
      local stride = k == 1 and s[3] or 1
      local way = sn.Sequential(conv(width, 1, 1), sn.BatchNorm2d {}, sn.ReLU(), conv(width, 3, stride), sn.BatchNorm2d {}, sn.ReLU(),
        conv(to, 1, 1), sn.BatchNorm2d {})
      net:add(Both(way, (stride > 1 or from ~= to) and sn.Sequential(conv(to, 1, stride), sn.BatchNorm2d {}) or nil))
      from = to
    end
  end
  net:add(sn.AdaptiveAvgPool2d { 1 })
  net:add(sn.Flatten())
  net:add(sn.Dense { 1000 })
  return net
end

workload("resnet20", function()
  return trainer(resnet20_model(), sn.SGD { lr = LR, momentum = 0.9, weight_decay = 1e-4 }, sn.rand(64, 3, 32, 32), classes(10, 64))
end)

local function tokens_loss(p, t) return sn.cross_entropy(p:flatten(1, 2), t) end

workload("char_lstm", function()
  local m = sn.Sequential(sn.Embedding { 65, 128 }, sn.LSTM { 128, num_layers = 2 }, sn.Dense { 65 })
  return trainer(m, sn.RMSProp { lr = LR }, sn.randint(1, 66, { 50, 50 }), classes(65, 2500), tokens_loss)
end)

-- Tokens and places as vectors.
local Tokens = sn.layer("Tokens", {
  init = function(self, tokens, width, length)
    self.width = width
    self.token, self.place = sn.Embedding { tokens, width }, sn.randn(length, width):requires_grad_()
  end,
  build = function(self, inshape) return { inshape[1], self.width } end,
  forward = function(self, x) return self.token(x) + self.place:narrow(1, 1, x:size(2)) end,
})

workload("char_gpt", function()
  local m = sn.Sequential(Tokens(65, 128, 64))
  for _ = 1, 4 do
    m:add(sn.Residual(sn.LayerNorm {}, sn.MultiheadAttention { 128, 4, causal = true }))
    m:add(sn.Residual(sn.LayerNorm {}, sn.Dense { 512, activation = "gelu" }, sn.Dense { 128 }))
  end
  m:add(sn.LayerNorm {})
  m:add(sn.Dense { 65, bias = false })
  return trainer(m, sn.AdamW { lr = LR }, sn.randint(1, 66, { 12, 64 }), classes(65, 768), tokens_loss)
end)

workload("infer_resnet20_b1", function() return infer(resnet20_model(), sn.rand(1, 3, 32, 32)) end)

workload("infer_gru_step", function()
  local m, h, x = sn.GRUCell { 64, inshape = 64 }, sn.zeros(1, 64), sn.rand(1, 64)
  m:build { 64 }
  m:eval()
  local step = compiled(function(xb, hb)
    local _ <close> = sn.no_grad()
    return (m(xb, hb))
  end)
  return function() step(x, h) end
end)

workload("infer_resnet50_b1", function() return infer(resnet50_model(), sn.rand(1, 3, 224, 224)) end)

workload("infer_mlp_b1", function()
  return infer(sn.Sequential(sn.Dense { 200 }, sn.ReLU(), sn.Dense { 10 }, sn.Softmax()), sn.rand(1, 784))
end)

-- ---- single operations
local function opload(name, make) workload(name, function()
  local fn, a, b = make()
  if b == nil then return function() local _ <close> = fn(a) end end
  return function() local _ <close> = fn(a, b) end -- freed at once, as Python's count of references does
end) end
local R = sn.rand
opload("op_matmul_32x784x200", function() return sn.mm, R(32, 784), R(784, 200) end)
opload("op_matmul_128x1024x1024", function() return sn.mm, R(128, 1024), R(1024, 1024) end)
opload("op_matmul_512", function() return sn.mm, R(512, 512), R(512, 512) end)
opload("op_matmul_1024", function() return sn.mm, R(1024, 1024), R(1024, 1024) end)
opload("op_matmul_tn_512", function() return function(x, y) return sn.mm(x:t(), y) end, R(512, 512), R(512, 512) end)
opload("op_matmul_f64_512", function() return sn.mm, R(512, 512, { dtype = "float64" }), R(512, 512, { dtype = "float64" }) end)
opload("op_gemv_1024", function() return sn.mv, R(1024, 1024), R(1024) end)
opload("op_bmm_48x64x32x64", function() return sn.bmm, R(48, 64, 32), R(48, 32, 64) end)
opload("op_add_16", function() return sn.add, R(16), R(16) end)
opload("op_add_1m", function() return sn.add, R(1 << 20), R(1 << 20) end)
opload("op_add_bcast_1024", function() return sn.add, R(1024, 1024), R(1024) end)
opload("op_exp_1m", function() return sn.exp, R(1 << 20) end)
opload("op_tanh_1m", function() return sn.tanh, R(1 << 20) end)
opload("op_gelu_1m", function() return sn.gelu, R(1 << 20) end)
opload("op_sum_1m", function() return sn.sum, R(1 << 20) end)
opload("op_sum_dim_1024", function() return function(x) return x:sum(1) end, R(1024, 1024) end)
opload("op_argmax_1024", function() return function(x) return x:argmax(2) end, R(1024, 1024) end)
opload("op_softmax_1024", function() return function(x) return x:softmax(2) end, R(1024, 1024) end)
opload("op_layernorm_1024", function() return function(x) return sn.layer_norm(x) end, R(1024, 1024) end)
opload("op_transpose_copy_1024", function() return function(x) return x:t():contiguous() end, R(1024, 1024) end)
opload("op_sort_1m", function() return sn.sort, R(1 << 20) end)
opload("op_gather_rows_64k", function() return sn.embedding, sn.randint(1, 30001, { 8192 }), R(30000, 128) end)
opload("op_dropout_1m", function() return function(x) return x:dropout(0.5, true) end, R(1 << 20) end)
opload("op_randn_1m", function() return function() return sn.randn(1 << 20) end end)
opload("op_conv3x3_64c_56", function() return function(x, w) return sn.conv2d(x, w, nil, { padding = 1 }) end, R(1, 64, 56, 56), R(64, 64, 3, 3) end)
opload("op_conv3x3_16c_32_b64", function() return function(x, w) return sn.conv2d(x, w, nil, { padding = 1 }) end, R(64, 16, 32, 32), R(16, 16, 3, 3) end)
opload("op_conv1x1_256c_14", function() return function(x, w) return sn.conv2d(x, w) end, R(8, 256, 14, 14), R(1024, 256, 1, 1) end)
opload("op_convdw3x3_128c_28", function() return function(x, w) return sn.conv2d(x, w, nil, { padding = 1, groups = 128 }) end, R(8, 128, 28, 28), R(128, 1, 3, 3) end)
opload("op_maxpool2_64c_32", function() return function(x) return sn.max_pool2d(x, 2) end, R(32, 64, 32, 32) end)

for _, name in ipairs(#names > 0 and names or order) do
  local make = all[name]
  if not make then
    print(('{"workload": "%s", "system": "slugnet", "error": "unknown workload"}'):format(name))
  else
    local ok, a, b, n = pcall(function()
      local step = make()
      local x, y, z = measure(step)
      if opt.profile and newest then profile() end
      return x, y, z
    end)
    local head = ('{"workload": "%s", "system": "slugnet-%s", "mode": "%s", "threads": %d, '):format(name, sn.version, opt.mode, opt.threads)
    if ok then print(head .. ('"median_us": %.2f, "min_us": %.2f, "n": %d}'):format(a, b, n))
    else print(head .. ('"error": "%s"}'):format(tostring(a):gsub('["\\\n]', " "):sub(1, 200))) end
    io.stdout:flush()
  end
end
