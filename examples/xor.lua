-- xor.lua - teaches: the smallest model that is not linear. Four samples, three hidden units, and it has to answer 1 for exactly two of them.
-- Run: slugnet examples/xor.lua [seeds]
local sn = require "slugnet"
local quick = os.getenv("SLUGNET_QUICK") == "1"

local X = sn.tensor { { 0, 0 }, { 0, 1 }, { 1, 0 }, { 1, 1 } }
local y = sn.tensor { 0, 1, 1, 0 }

-- Trains one network from one seed; true if it has learned XOR.
local function solve(seed)
  local model = sn.Model {
    lr = 0.05, n_epoch = quick and 1 or 500, batch_size = 4, seed = seed, progress = false, optimizer = sn.Adam {},
    layers = {
      sn.Dense { 8, inshape = 2, activation = sn.Tanh() },
      sn.Dense { 1, activation = sn.Sigmoid() }, -- so the loss is binary cross entropy
    },
  }
  local history = model:fit(X, y)
  local out = model:transform(X):reshape(4):totable()
  local good = out[1] < 0.1 and out[2] > 0.9 and out[3] > 0.9 and out[4] < 0.1
  print(("seed %2d: 0,0 -> %.3f  0,1 -> %.3f  1,0 -> %.3f  1,1 -> %.3f  loss %.4f  %s"):format(seed, out[1], out[2], out[3], out[4],
    history.last.train.loss, good and "solved" or "not yet"))
  return good
end

local n, solved = tonumber(arg and arg[1]) or (quick and 1 or 5), 0
for seed = 1, n do
  if solve(seed) then solved = solved + 1 end
end
print(("%d of %d seeds solve XOR"):format(solved, n))
