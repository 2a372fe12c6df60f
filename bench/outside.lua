-- outside.lua - what a step of `fit` costs outside its program: epochs of fit on mlp_seed's network and as many replays of the same program on one batch, by
-- turns, in microseconds a step (medians). What a fresh batch costs the program, since the last one lies in no cache, counts as outside.
--   slugnet bench/outside.lua [float32|uint8] [ROUNDS]     SLUGNET_THREADS=1 for the figure of the docs
local sn = require "slugnet"
local core = require "slugnet.core"
local kind, rounds, rows = arg[1] or "float32", tonumber(arg[2]) or 7, 60000

sn.manual_seed(1)
local X, y = sn.randint(0, 256, { rows, 784 }):to("uint8"), sn.randint(1, 11, { rows })
if kind == "float32" then X = X:to("float32") * (1 / 255) end
local model = sn.Model {
  lr = 1e-7, n_epoch = 1, batch_size = 32, metrics = { "loss", "accuracy" }, seed = 1, progress = false, scale = 1 / 255, optimizer = sn.RMSProp { rho = 0.9 },
  layers = { sn.Dense { 200, inshape = 784, activation = sn.ReLU() }, sn.Dense { 10, activation = sn.Softmax() } },
}

local compile, step = core.compile, nil
core.compile = function(fn)
  step = compile(fn)
  return step
end
local fit, alone, steps = {}, {}, rows // 32
for r = 1, rounds do
  fit[r] = model:fit(X, y).seconds[1] / steps * 1e6
  local bx, by = (X:narrow(1, 1, 32):to("float32") * (1 / 255)):clone(), y:narrow(1, 1, 32):clone()
  model.network:train()
  for _ = 1, 5 do step(bx, by) end
  local began = sn.clock()
  for _ = 1, steps do step(bx, by) end
  alone[r] = (sn.clock() - began) / steps * 1e6
end
table.sort(fit)
table.sort(alone)
local a, b = fit[(rounds + 1) // 2], alone[(rounds + 1) // 2]
print(("%s, %d threads: fit %.1f us a step, its program %.1f, outside %.1f (%.1f %%)"):format(kind, sn.threads(), a, b, a - b, 100 * (a - b) / b))
