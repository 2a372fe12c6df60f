-- workloads.lua - what slugnet bench measures: the workloads of bench/pytorch.py by the same names.
-- A training workload is a whole step (forward, loss, backward, update, zero_grad) on data in memory; an inference workload a forward pass
-- without gradients. The learning rate hardly moves the weights: a batch learned by heart would time denormal numbers.
local sn = require "slugnet"

local LR = 1e-7
local M = { order = {} } -- names in order
local all, mode = {}, "compile"

local function workload(name, fn)
  all[name] = fn
  M.order[#M.order + 1] = name
end

-- A workload made: step() runs it once; program is what sn.compile gave, if it did, and arguments what it is called with. work: what an
-- operation alone has to do, {flops=, read=, written=} with numbers of four bytes (f64: of eight); that of programs they tell (limits.lua).
local function made(fn, ...)
  local args, whole = table.pack(...), fn
  if mode == "bfloat16" then
    whole = function(...)
      local _ <close> = sn.autocast("bfloat16")
      return fn(...)
    end
  end
  local program = mode ~= "eager" and sn.compile(whole) or nil
  local f, a, b = program or whole, args[1], args[2]
  return { step = args.n > 1 and function() f(a, b) end or function() f(a) end, program = program, arguments = args }
end

local function trainer(model, optimizer, x, y, loss)
  loss = loss or sn.CrossEntropy()
  model:build(({ table.unpack(x.shape, 2) }))
  optimizer:add(model:parameters())
  return made(function(xb, yb)
    local l = loss(model(xb), yb)
    l:backward()
    optimizer:step()
    optimizer:zero_grad()
  end, x, y)
end

local function infer(model, x)
  model:build(({ table.unpack(x.shape, 2) }))
  model:eval()
  return made(function(xb)
    local _ <close> = sn.no_grad()
    return (model(xb))
  end, x)
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
  return made(function(xb, hb)
    local _ <close> = sn.no_grad()
    return (m(xb, hb))
  end, x, h)
end)

workload("infer_resnet50_b1", function() return infer(resnet50_model(), sn.rand(1, 3, 224, 224)) end)

workload("infer_mlp_b1", function()
  return infer(sn.Sequential(sn.Dense { 200 }, sn.ReLU(), sn.Dense { 10 }, sn.Softmax()), sn.rand(1, 784))
end)

-- ---- single operations: flops, numbers read, numbers written, and the operation
local function opload(name, flops, read, written, make)
  workload(name, function()
    local fn, a, b = make()
    local step = function() local _ <close> = fn(a, b) end -- freed at once, as Python's count of references does
    if b == nil then step = function() local _ <close> = fn(a) end end
    return { step = step, work = { flops = flops, read = read, written = written, f64 = name:find("f64", 1, true) ~= nil } }
  end)
end
local R, K, M1 = sn.rand, 1024, 1 << 20
local function product(name, m, k, n, make) opload(name, 2 * m * k * n, m * k + k * n, m * n, make) end
local function row(name, flops, written, make) opload(name, flops * M1, M1, written, make) end
product("op_matmul_32x784x200", 32, 784, 200, function() return sn.mm, R(32, 784), R(784, 200) end)
product("op_matmul_128x1024x1024", 128, K, K, function() return sn.mm, R(128, K), R(K, K) end)
product("op_matmul_512", 512, 512, 512, function() return sn.mm, R(512, 512), R(512, 512) end)
product("op_matmul_1024", K, K, K, function() return sn.mm, R(K, K), R(K, K) end)
product("op_matmul_tn_512", 512, 512, 512, function() return function(x, y) return sn.mm(x:t(), y) end, R(512, 512), R(512, 512) end)
product("op_matmul_f64_512", 512, 512, 512, function()
  return sn.mm, R(512, 512, { dtype = "float64" }), R(512, 512, { dtype = "float64" })
end)
product("op_gemv_1024", K, K, 1, function() return sn.mv, R(K, K), R(K) end)
opload("op_bmm_48x64x32x64", 48 * 2 * 64 * 32 * 64, 48 * 2 * 64 * 32, 48 * 64 * 64, function() return sn.bmm, R(48, 64, 32), R(48, 32, 64) end)
opload("op_add_16", 16, 32, 16, function() return sn.add, R(16), R(16) end)
opload("op_add_1m", M1, 2 * M1, M1, function() return sn.add, R(M1), R(M1) end)
row("op_add_bcast_1024", 1, M1, function() return sn.add, R(K, K), R(K) end)
row("op_exp_1m", 0, M1, function() return sn.exp, R(M1) end)
row("op_tanh_1m", 0, M1, function() return sn.tanh, R(M1) end)
row("op_gelu_1m", 0, M1, function() return sn.gelu, R(M1) end)
row("op_sum_1m", 1, 1, function() return sn.sum, R(M1) end)
row("op_sum_dim_1024", 1, K, function() return function(x) return x:sum(1) end, R(K, K) end)
row("op_argmax_1024", 0, 2 * K, function() return function(x) return x:argmax(2) end, R(K, K) end)
row("op_softmax_1024", 0, M1, function() return function(x) return x:softmax(2) end, R(K, K) end)
row("op_layernorm_1024", 0, M1, function() return function(x) return sn.layer_norm(x) end, R(K, K) end)
row("op_transpose_copy_1024", 0, M1, function() return function(x) return x:t():contiguous() end, R(K, K) end)
row("op_sort_1m", 0, 3 * M1, function() return sn.sort, R(M1) end)
opload("op_gather_rows_64k", 0, M1 + 2 * 8192, M1, function() return sn.embedding, sn.randint(1, 30001, { 8192 }), R(30000, 128) end)
row("op_dropout_1m", 0, M1, function() return function(x) return x:dropout(0.5, true) end, R(M1) end)
opload("op_randn_1m", 0, 0, M1, function() return function() return sn.randn(M1) end end)

local function convolution(name, x, w, groups, padding)
  local n, o, side = x[1], w[1], x[3]
  local c, k = x[2] // groups, w[3]
  opload(name, 2 * n * o * side * side * c * k * k, n * x[2] * side * side + o * c * k * k, n * o * side * side, function()
    local options = { padding = padding, groups = groups }
    return function(a, b) return sn.conv2d(a, b, nil, options) end, R(table.unpack(x)), R(table.unpack(w))
  end)
end
convolution("op_conv3x3_64c_56", { 1, 64, 56, 56 }, { 64, 64, 3, 3 }, 1, 1)
convolution("op_conv3x3_16c_32_b64", { 64, 16, 32, 32 }, { 16, 16, 3, 3 }, 1, 1)
convolution("op_conv1x1_256c_14", { 8, 256, 14, 14 }, { 1024, 256, 1, 1 }, 1, 0)
convolution("op_convdw3x3_128c_28", { 8, 128, 28, 28 }, { 128, 1, 3, 3 }, 128, 1)
opload("op_maxpool2_64c_32", 0, 2 * M1, M1 // 2, function() return function(x) return sn.max_pool2d(x, 2) end, R(32, 64, 32, 32) end)

-- ---- growth: mlp:BATCH:WIDTH:DEPTH, a network of DEPTH hidden layers of WIDTH on 784 numbers, Adam
local function growing(name)
  local batch, width, depth = name:match("^mlp:(%d+):(%d+):(%d+)$")
  return batch and function()
    local m = sn.Sequential()
    for _ = 1, tonumber(depth) do
      m:add(sn.Dense { tonumber(width) })
      m:add(sn.ReLU())
    end
    m:add(sn.Dense { 10 })
    return trainer(m, sn.Adam { lr = LR }, sn.rand(tonumber(batch), 784), classes(10, tonumber(batch)))
  end
end

function M.known(name) return all[name] ~= nil or growing(name) ~= nil end

-- The workload of that name, made: "compile", "eager", or "bfloat16", which is compiled with autocast.
function M.make(name, how)
  mode = how or "compile"
  sn.manual_seed(1)
  return (all[name] or growing(name))()
end

return M
