-- autocast.lua - how well networks learn with autocast to bfloat16: each is trained twice from the same start on the same batches, in float32 and with
-- autocast, and both results are printed: test accuracy on Fashion-MNIST, or the validation loss of a text.
--   slugnet bench/autocast.lua [--seeds 1] [--epochs N] [--steps N] [--depth N] [--text FILE] [mlp_wide] [resnet] [char_gpt]
-- resnet has depth 20 if nothing is said (8, 14, ... are faster); char_gpt wants a text.
local sn = require "slugnet"

local opt, names = { seeds = 1, depth = 20, steps = 2000 }, {}
do
  local i = 1
  while arg[i] do
    local key = arg[i]:match("^%-%-(%a+)$")
    if key then
      opt[key] = tonumber(arg[i + 1]) or arg[i + 1] or error(arg[i] .. " wants a value", 0)
      i = i + 2
    else
      names[#names + 1] = arg[i]
      i = i + 1
    end
  end
end

-- ---- networks

local Both = sn.layer("Both", {
  init = function(self, way, short) self.way, self.short = way, short end,
  forward = function(self, x) return (self.way(x) + (self.short and self.short(x) or x)):relu() end,
})
local function conv(channels, size, stride) return sn.Conv2d { channels, size, stride = stride, padding = size // 2, bias = false } end

local function resnet()
  local layers, from = { conv(16, 3, 1), sn.BatchNorm2d {}, sn.ReLU() }, 16
  layers[1] = sn.Conv2d { 16, 3, padding = 1, bias = false, inshape = { 1, 28, 28 } }
  for _, to in ipairs { 16, 32, 64 } do
    for _ = 1, (opt.depth - 2) // 6 do
      local stride = to > from and 2 or 1
      layers[#layers + 1] = Both(sn.Sequential(conv(to, 3, stride), sn.BatchNorm2d {}, sn.ReLU(), conv(to, 3, 1), sn.BatchNorm2d {}),
        stride > 1 and sn.Sequential(conv(to, 1, stride), sn.BatchNorm2d {}) or nil)
      from = to
    end
  end
  for _, l in ipairs { sn.AdaptiveAvgPool2d { 1 }, sn.Flatten(), sn.Dense { 10, activation = "softmax" } } do layers[#layers + 1] = l end
  return layers
end

local function mlp()
  return { sn.Dense { 1024, inshape = 784, activation = "relu" }, sn.Dense { 1024, activation = "relu" }, sn.Dense { 10, activation = "softmax" } }
end

-- Test accuracy in percent.
local function images(make, flat, epochs, batch, optimizer)
  local train, test = assert(sn.data.fashion_mnist { flat = flat })
  return function(mode, seed)
    sn.manual_seed(seed)
    local model = sn.Model { layers = make(), optimizer = optimizer(), n_epoch = opt.epochs or epochs, batch_size = batch, metrics = { "loss", "accuracy" }, seed = seed,
      progress = false, autocast = mode }
    local total = model.n_epoch
    model:fit(train.X, train.y, { schedule = sn.schedule.cosine { total = total } })
    return 100 * model:evaluate(test.X, test.y).accuracy
  end
end

-- ---- text

local Tokens = sn.layer("Tokens", {
  init = function(self, tokens, width, length)
    self.width = width
    self.token, self.place = sn.Embedding { tokens, width }, sn.randn(length, width):mul(0.02):requires_grad_()
  end,
  build = function(self, inshape) return { inshape[1], self.width } end,
  forward = function(self, x) return self.token(x) + self.place:narrow(1, 1, x:size(2)) end,
})

local function gpt(tokens, width, length)
  local m = sn.Sequential(Tokens(tokens, width, length))
  for _ = 1, 4 do
    m:add(sn.Residual(sn.Sequential(sn.LayerNorm {}, sn.MultiheadAttention { width, 4, causal = true })))
    m:add(sn.Residual(sn.Sequential(sn.LayerNorm {}, sn.Dense { 4 * width }, sn.GELU(), sn.Dense { width })))
  end
  m:add(sn.LayerNorm {})
  m:add(sn.Dense { tokens })
  m:build { length }
  return m
end

-- Loss in nats per character on the last tenth of the text.
local function text()
  local f = assert(io.open(opt.text or error("char_gpt wants --text FILE", 0), "rb"))
  local whole = f:read("a")
  f:close()
  local token, n, bytes = {}, 0, {}
  for i = 1, #whole do
    local b = whole:byte(i)
    if not token[b] then
      n = n + 1
      token[b] = n
    end
    bytes[i] = token[b]
  end
  local all, length, batch = sn.tensor(bytes, { dtype = "int64" }), 64, 12
  local cut = #bytes * 9 // 10
  local offsets = sn.arange(0, length):unsqueeze(1)
  return function(mode, seed)
    sn.manual_seed(seed)
    local net = gpt(n, 128, length)
    local adam = sn.AdamW(net:parameters(), { lr = 1e-3, clip_norm = 1 })
    local function loss_of(starts) return sn.cross_entropy(net(all[starts + offsets]):flatten(1, 2), all[starts + (offsets + 1)]:flatten()) end
    local step = sn.compile(function(starts)
      adam:zero_grad()
      local loss = loss_of(starts)
      loss:backward()
      adam:step()
    end)
    local _ <close> = mode and sn.autocast(mode) or nil
    for k = 1, opt.steps do
      adam.lr = 1e-3 * (k < 100 and k / 100 or 0.5 * (1 + math.cos(math.pi * k / opt.steps)))
      step(sn.randint(1, cut - length, { batch, 1 }))
    end
    net:eval()
    local grad <close> = sn.no_grad() -- luacheck: ignore grad
    local sum, count = 0, 0
    for from = cut + 1, #bytes - 65 * length, 64 * length do
      sum, count = sum + loss_of(sn.arange(from, from + 64 * length, length):unsqueeze(2)):item(), count + 1
    end
    return sum / count
  end
end

-- ---- both ways

local tasks = {
  mlp_wide = { "test accuracy, %", function() return images(mlp, true, 5, 128, function() return sn.Adam { lr = 0.001 } end) end },
  resnet = { "test accuracy, %", function() return images(resnet, false, 4, 64, function() return sn.SGD { lr = 0.1, momentum = 0.9, weight_decay = 1e-4 } end) end },
  char_gpt = { "validation loss, nats", text },
}
for _, name in ipairs(#names > 0 and names or { "mlp_wide", "resnet" }) do
  local task = tasks[name] or error("there are mlp_wide, resnet and char_gpt, not " .. name, 0)
  local run, sum = task[2](), { 0, 0 }
  for seed = 1, opt.seeds do
    local got, seconds = {}, {}
    for k, mode in ipairs { false, "bfloat16" } do
      local began = sn.clock()
      got[k] = run(mode or nil, seed)
      seconds[k] = sn.clock() - began
      sum[k] = sum[k] + got[k]
    end
    print(("%-9s seed %d  %s: float32 %.4f (%.0f s), with autocast %.4f (%.0f s), difference %+.4f"):format(name, seed, task[1], got[1], seconds[1],
      got[2], seconds[2], got[2] - got[1]))
    io.stdout:flush()
  end
  print(("%-9s mean of %d: float32 %.4f, with autocast %.4f, difference %+.4f"):format(name, opt.seeds, sum[1] / opt.seeds, sum[2] / opt.seeds,
    (sum[2] - sum[1]) / opt.seeds))
end
