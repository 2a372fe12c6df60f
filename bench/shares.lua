-- shares.lua - how near the operations inside programs come to the machine's limit (slugnet bench --shares), as a table for the documentation; and
-- of the networks that the file of results says are below what they are to reach, where their time goes.
--   slugnet bench/shares.lua [--seconds 0.5] [--out FILE] [--docs] [WORKLOAD...]
-- Adds to the file of results.
local sn = require "slugnet"
local core = require "slugnet.core"
local bench = require "slugnet.bench"
local results = dofile "bench/results.lua"

local opt, names = results.arguments(arg, { seconds = "0.5" })
opt.out = opt.out or (#names > 0 and "build/bench-some") or nil
if #names == 0 then names = { "mlp_seed", "mlp_wide", "conv_mnist", "resnet20", "char_lstm", "char_gpt", "infer_resnet50_b1" } end
sn.threads(1)
local peaks, seconds, missed = core.peaks(0.4), tonumber(opt.seconds), {}
for _, name in ipairs(results.missed(results.read(opt))) do
  local steps = bench.profile(name, peaks, seconds)
  if steps then missed[#missed + 1] = { workload = name, steps = steps } end
end
results.update(opt, "shares", { rows = bench.shares(names, peaks, seconds), missed = missed })
print("written to " .. results.base(opt) .. ".md")
