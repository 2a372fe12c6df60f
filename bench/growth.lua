-- growth.lua - how the time of a training step grows with batch, width, depth and threads, ours and PyTorch's by turns, as data and as a plot.
--   slugnet bench/growth.lua [--rounds 3] [--seconds 0.2] [--most N] [--python PATH] [--out FILE] [--plot FILE] [--docs]
-- The network is 784-W-...-W-10 with D hidden layers and Adam (mlp:BATCH:WIDTH:DEPTH); --most leaves out batches and widths beyond it.
-- Adds to the file of results and, with --docs or --plot, draws docs/growth.svg or FILE.
local sn = require "slugnet"
local core = require "slugnet.core"
local sides = dofile "bench/sides.lua"
local results = dofile "bench/results.lua"
local svg = dofile "bench/svg.lua"

local opt, words = results.arguments(arg, { rounds = "3", seconds = "0.2", python = "build/venv/bin/python", plot = "", most = "1024" })
local most = tonumber(opt.most)
if #words > 0 then error("growth.lua takes no names", 0) end
local have = sides.present(opt.python)
local batch, width, depth = math.min(64, most), math.min(256, most), 2
local axes = { -- name, what is on the axis, its values, the network
  { "batch", "examples in a batch", { 1, 4, 16, 64, 256, 1024 }, function(n) return n, width, depth end },
  { "width", "neurons in a layer", { 16, 64, 256, 1024 }, function(n) return batch, n, depth end },
  { "depth", "hidden layers", { 1, 2, 4, 8, 16 }, function(n) return batch, width, n end },
}

local rows = {}
local function point(axis, n, name, open)
  local row = sides.turns(open, name, tonumber(opt.rounds), tonumber(opt.seconds))
  row.axis, row.n = axis, n
  rows[#rows + 1] = row
  print(("%-8s %s"):format(axis, results.line_of(row)))
  io.stdout:flush()
end

local function opened(threads)
  local open = {}
  for _, side in ipairs { "slugnet", "pytorch" } do
    if have[side] then open[#open + 1] = sides.open(side, { program = opt.program, python = opt.python, threads = threads }) end
  end
  return open
end

local open = opened(1)
for _, axis in ipairs(axes) do
  for _, n in ipairs(axis[3]) do
    if n <= most then point(axis[1], n, ("mlp:%d:%d:%d"):format(axis[4](n)), open) end
  end
end
sides.close(open)
local counts, n = {}, 1
while n < sn.info().cores do
  counts[#counts + 1] = n
  n = n * 2
end
counts[#counts + 1] = sn.info().cores
for _, count in ipairs(counts) do
  open = opened(count)
  point("threads", count, ("mlp:%d:%d:2"):format(math.min(256, most), math.min(1024, most)), open)
  sides.close(open)
end

local what = ("784-%d-%d-10, Adam, batch %d on one thread, one of the three changed at a time; threads: 784-1024-1024-10, batch 256"):format(width, width, batch)
results.update(opt, "growth", { rounds = tonumber(opt.rounds), what = what, rows = rows })
local file = opt.plot ~= "" and opt.plot or opt.docs and "docs/growth.svg"
if file then
  local panels = {}
  axes[#axes + 1] = { "threads", "threads" }
  for _, axis in ipairs(axes) do
    local p = { title = "step against " .. axis[1], x = axis[2], y = "µs", series = {} }
    for _, side in ipairs { "slugnet", "pytorch" } do
      local s = { name = sides.labels[side] }
      for _, row in ipairs(rows) do
        if row.axis == axis[1] and row.us[side] then s[#s + 1] = { row.n, row.us[side] } end
      end
      if #s > 0 then p.series[#p.series + 1] = s end
    end
    panels[#panels + 1] = p
  end
  assert(core.write_file(file, svg.chart { panels = panels }))
end
print("written to " .. results.base(opt) .. ".md" .. (file and " and " .. file or ""))
