-- shares.lua - how near the operations inside programs come to the machine's limit (slugnet bench --shares), as a table for the documentation.
--   slugnet bench/shares.lua [--seconds 0.5] [--out FILE] [--docs] [WORKLOAD...]
-- Adds to the file of results.
local core = require "slugnet.core"
local sides = dofile "bench/sides.lua"
local results = dofile "bench/results.lua"

local opt, names = results.arguments(arg, { seconds = "0.5" })
opt.out = opt.out or (#names > 0 and "build/bench-some") or nil
if #names == 0 then names = { "mlp_seed", "mlp_wide", "conv_mnist", "resnet20", "char_lstm", "char_gpt", "infer_resnet50_b1" } end
local lines = sides.lines_of(("%s bench --shares --json --seconds %s %s"):format(opt.program, opt.seconds, table.concat(names, " ")))
local ok, rows = pcall(core.json_decode, lines[1] or "")
if not ok then error("shares.lua: slugnet bench --shares gave nothing", 0) end
results.update(opt, "shares", { rows = rows })
print("written to " .. results.base(opt) .. ".md")
