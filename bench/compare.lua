-- compare.lua - the benchmark side by side: every workload is measured by turns on all systems that are installed, and what counts is the ratio
-- of their medians in this one run.
--   slugnet bench/compare.lua [--threads 1,2] [--rounds 3] [--seconds 0.3] [--isa avx2] [--python PATH] [--out FILE] [--docs] [WORKLOAD...]
-- Writes the figures as JSON and as Markdown tables to bench/results/ (build/ when only some workloads are named); --docs also puts them into
-- docs/performance.md and README.md. --isa avx2 hides AVX-512 from all systems that have a switch for it, and leaves out the others; where the
-- processor has no AVX-512 there is nothing to hide, and all take part.
local sn = require "slugnet"
local workloads = require "slugnet.workloads"
local sides = dofile "bench/sides.lua"
local results = dofile "bench/results.lua"

local opt, names = results.arguments(arg, { threads = "1,2", rounds = "3", seconds = "0.3", python = "build/venv/bin/python", isa = sn.info().isa })
opt.out = opt.out or (#names > 0 and "build/bench-some") or nil
for _, name in ipairs(names) do
  if not workloads.known(name) then error(("there is no workload '%s'"):format(name), 0) end
end
if #names == 0 then names = workloads.order end
local rounds, seconds = tonumber(opt.rounds), tonumber(opt.seconds)
local have = sides.present(opt.python, opt.isa)

-- The machine's peaks beside a workload, for a row's shares (the median of its rounds), and the best of all for the head of the table.
local versions, peaks, beside = {}, {}, {}
local function see(r, side, row)
  versions[side] = r.system
  if side ~= "slugnet" then return end
  row.flops, row.bytes = r.flops, r.bytes
  local near, key = beside[row] or { fma = {}, least_us = {} }, tostring(row.threads)
  beside[row] = near
  table.insert(near.fma, row.workload:find("f64", 1, true) and r.peaks.fma64 or r.peaks.fma)
  table.insert(near.least_us, r.least_us)
  peaks[key] = peaks[key] or {}
  for what, rate in pairs(r.peaks) do peaks[key][what] = math.max(rate, peaks[key][what] or 0) end
end

local rows = {}
for count in opt.threads:gmatch("%d+") do
  count = math.tointeger(count)
  local open = {}
  for _, side in ipairs(sides.order) do
    if have[side] then
      open[#open + 1] = assert(sides.open(side, { program = opt.program, python = opt.python, threads = count, isa = opt.isa }))
    end
  end
  for _, name in ipairs(names) do
    local row = sides.turns(open, name, rounds, seconds, see)
    for what, values in pairs(beside[row] or {}) do row[what] = sides.median(values) end
    rows[#rows + 1] = row
    print(results.line_of(row))
    io.stdout:flush()
  end
  sides.close(open)
end

local all = results.update(opt, "workloads", { versions = versions, peaks = peaks, rounds = rounds, rows = rows })
io.stdout:write(results.summary(all), "written to ", results.base(opt), ".md\n")
