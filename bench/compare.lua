-- compare.lua - the benchmark side by side: for every workload ours and PyTorch's are run by turns in processes of their own, and what counts
-- is the ratio of their medians in this one run.
--   slugnet bench/compare.lua [--threads 1,2] [--rounds 3] [--seconds 0.5] [--python PATH] [--out FILE] [--docs] [WORKLOAD...]
-- Writes the table as Markdown (and the figures as JSON beside it) to bench/results/; --docs also puts it into docs/performance.md.
local sn = require "slugnet"
local core = require "slugnet.core"

local opt = { threads = "1,2", rounds = "3", seconds = "0.5", python = "build/venv/bin/python" }
local names = {}
do
  local i = 1
  while arg[i] do
    local key = arg[i]:match("^%-%-(%a+)$")
    if key == "docs" then
      opt.docs = true
      i = i + 1
    elseif key then
      opt[key] = arg[i + 1] or error(arg[i] .. " wants a value", 0)
      i = i + 2
    else
      names[#names + 1] = arg[i]
      i = i + 1
    end
  end
end

local program = arg[-1] or "build/bin/slugnet"
local function lines_of(command)
  local p = assert(io.popen(command .. " 2>/dev/null"))
  local out = {}
  for line in p:lines() do out[#out + 1] = line end
  p:close()
  return out
end

local function median(v)
  table.sort(v)
  return v[(#v + 1) // 2]
end

-- The figure of one run of one side, in microseconds, or nil and why.
local function once(command)
  for _, line in ipairs(lines_of(command)) do
    local ok, t = pcall(core.json_decode, line)
    if ok and type(t) == "table" and t.workload then
      if t.error then return nil, t.error end
      return t.median_us, t.system
    end
  end
  return nil, "no figure"
end

if #names == 0 then
  for line in io.lines("bench/pytorch.py") do
    local list = line:match("^ALL = {.-for f in %((.-)%)}")
    if list then for name in list:gmatch("[%w_]+") do names[#names + 1] = name end end
  end
  local ops = {}
  for line in io.lines("bench/pytorch.py") do
    local name = line:match('^    "(op_[%w_]+)"')
    if name then ops[#ops + 1] = name end
  end
  for _, name in ipairs(ops) do names[#names + 1] = name end
end

local has_torch = #lines_of(("test -x %s && echo yes"):format(opt.python)) > 0
if not has_torch then io.stderr:write("no ", opt.python, ": make bench-setup installs PyTorch there; our side alone is measured\n") end

local info = sn.info()
local commit = lines_of("git rev-parse --short HEAD")[1] or "?"
local results, torch = {}, nil
for count in opt.threads:gmatch("%d+") do
  for _, name in ipairs(names) do
    local ours, theirs, why = {}, {}, nil
    for _ = 1, tonumber(opt.rounds) do
      local a, wa = once(("env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE %s bench/bench.lua --threads %s --seconds %s %s"):format(program, count, opt.seconds, name))
      if a then ours[#ours + 1] = a else why = wa end
      if has_torch then
        local b, system = once(("env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE %s bench/pytorch.py --threads %s --seconds %s %s"):format(opt.python, count, opt.seconds, name))
        if b then
          theirs[#theirs + 1] = b
          torch = system
        end
      end
    end
    local r = { workload = name, threads = tonumber(count), ours = median(ours), theirs = median(theirs), error = #ours == 0 and why or nil }
    r.ratio = r.ours and r.theirs and r.theirs / r.ours or nil
    results[#results + 1] = r
    print(("%-26s %s thread%s  slugnet %10s us  PyTorch %10s us  %s"):format(name, count, count == "1" and " " or "s", r.ours and ("%.1f"):format(r.ours) or "-",
      r.theirs and ("%.1f"):format(r.theirs) or "-", r.ratio and ("%.2f times as fast"):format(r.ratio) or r.error or ""))
    io.stdout:flush()
  end
end

-- ---- the table
local by, order = {}, {}
for _, r in ipairs(results) do
  if not by[r.workload] then
    by[r.workload] = {}
    order[#order + 1] = r.workload
  end
  by[r.workload][r.threads] = r
end
local counts = {}
for count in opt.threads:gmatch("%d+") do counts[#counts + 1] = tonumber(count) end
local head, rule = { "workload" }, { "---" }
for _, n in ipairs(counts) do
  local s = n == 1 and "1 thread" or n .. " threads"
  for _, what in ipairs { "slugnet, µs", "PyTorch, µs", "ratio" } do
    head[#head + 1] = s .. ": " .. what
    rule[#rule + 1] = "---:"
  end
end
local out = {
  ("%s, %s kernels, %d cores; slugnet %s (commit %s), %s eager with fused optimizers; medians of %s paired runs; the ratio is PyTorch's time over ours."):format(
    info.cpu, info.isa, info.cores, info.version, commit, torch or "no PyTorch", opt.rounds),
  "", "| " .. table.concat(head, " | ") .. " |", "|" .. table.concat(rule, "|") .. "|",
}
for _, name in ipairs(order) do
  local row = { name }
  for _, n in ipairs(counts) do
    local r = by[name][n]
    row[#row + 1] = r.ours and ("%.1f"):format(r.ours) or "-"
    row[#row + 1] = r.theirs and ("%.1f"):format(r.theirs) or "-"
    row[#row + 1] = r.ratio and ("%.2f"):format(r.ratio) or "-"
  end
  out[#out + 1] = "| " .. table.concat(row, " | ") .. " |"
end
local text = table.concat(out, "\n") .. "\n"
assert(core.mkdir("bench/results"))
local file = opt.out or ("bench/results/%s-%s"):format(os.date("%Y-%m-%d"), info.isa)
assert(core.write_file(file .. ".md", text))
assert(core.write_file(file .. ".json", core.json_encode({ cpu = info.cpu, isa = info.isa, cores = info.cores, commit = commit, torch = torch, results = results }) .. "\n"))
print("written to " .. file .. ".md")
if opt.docs then
  local f = assert(io.open("docs/performance.md"))
  local doc = f:read("a")
  f:close()
  local before, after = doc:match("^(.-<!%-%- table %-%->\n).-(<!%-%- end of table %-%->.*)$")
  assert(before, "docs/performance.md has no place for the table")
  assert(core.write_file("docs/performance.md", before .. text .. after))
end
