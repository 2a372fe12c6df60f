-- bench.lua - slugnet bench: measures workloads (workloads.lua) and says how near they come to what the machine can do (limits.lua).
local sn = require "slugnet"
local core = require "slugnet.core"
local check = require "slugnet.check"
local limits = require "slugnet.limits"
local workloads = require "slugnet.workloads"

local M = {}

local usage = [[
usage: slugnet bench [options] [WORKLOAD...]
  --threads N          1 if nothing is said
  --seconds S          for each workload (0.5)
  --mode MODE          compile, eager or bfloat16 (compiled, with autocast)
  --profile KIND       also where a program's time goes: ops (by operation) or steps (all)
  --shares             only the table of operations in programs and their share of the machine's limit
  --json               one JSON line for each workload
  --list               the names of the workloads
]]
local wants = { threads = "number", seconds = "number", mode = "string", profile = "string" }
local words = { mode = { "compile", "eager", "bfloat16" }, profile = { "ops", "steps" } }
local flags = { json = true, list = true, serve = true, shares = true, help = true }

local function has(list, v)
  for _, w in ipairs(list) do
    if w == v then return true end
  end
  return false
end

-- Options and names of workloads from the command line; nil and what is wrong with it.
local function read_arguments(args)
  local opt, names, i = { threads = 1, seconds = 0.5, mode = "compile" }, {}, 1
  while args[i] do
    local key = args[i]:match("^%-%-(%a+)$")
    if key and wants[key] then
      local v = args[i + 1]
      if wants[key] == "number" then v = tonumber(v) end
      if not v or (words[key] and not has(words[key], v)) or (key == "threads" and not math.tointeger(v)) then
        return nil, ("%s wants %s, got %s"):format(args[i], words[key] and table.concat(words[key], " or ") or "a number", args[i + 1] or "nothing")
      end
      opt[key] = v
      i = i + 2
    elseif key and flags[key] then
      opt[key] = true
      i = i + 1
    elseif args[i]:sub(1, 1) == "-" then return nil, "unknown option " .. args[i]
    elseif not workloads.known(args[i]) then return nil, ("there is no workload '%s'%s"):format(args[i], check.hint(args[i], workloads.order))
    else
      names[#names + 1] = args[i]
      i = i + 1
    end
  end
  return opt, #names > 0 and names or workloads.order
end

-- Median and least time of a step in microseconds, and how many steps were run. A sample is a fiftieth of a second, less where little time is given.
local function measure(step, seconds)
  for _ = 1, 3 do step() end
  local t0 = sn.clock()
  step()
  local once = sn.clock() - t0
  local inner = math.max(1, math.min(1000, math.floor(math.min(0.02, seconds / 5) / math.max(once, 1e-7))))
  local ts, stop = {}, sn.clock() + seconds
  while sn.clock() < stop or #ts < 5 do
    t0 = sn.clock()
    for _ = 1, inner do step() end
    ts[#ts + 1] = (sn.clock() - t0) / inner
  end
  table.sort(ts)
  return ts[#ts // 2 + 1] * 1e6, ts[1] * 1e6, #ts * inner
end
M.measure = measure

-- What the workload has to do, and the least time these peaks allow; nil where it is not known (eager steps).
local function work_of(w, peaks)
  if w.work then return limits.alone(w.work, peaks) end
  if not w.program then return nil end
  local ok, steps = pcall(w.program.steps, w.program)
  return ok and limits.program(steps, peaks) or nil
end

-- The record of one workload.
local function record(name, w, opt, peaks)
  local r = { workload = name, system = "slugnet-" .. sn.version, mode = opt.mode, threads = math.tointeger(opt.threads) }
  local ok, median, least, n = pcall(measure, w.step, opt.seconds)
  if not ok then
    r.error = tostring(median):sub(1, 200)
    return r
  end
  r.median_us, r.min_us, r.n = median, least, n
  local work = work_of(w, peaks)
  if work then r.flops, r.bytes, r.least_us = work.flops, work.bytes, work.least end
  return r
end

local function made(name, opt)
  local ok, w = pcall(workloads.make, name, opt.mode)
  return ok and w or { step = function() error(w, 0) end }
end

-- Lines "WORKLOAD SECONDS" on the standard input are answered by a JSON line each: so that several systems can be measured by turns.
-- The machine's peaks are taken beside each, for its clock changes from minute to minute.
local function serve(opt)
  local last, w
  for line in io.lines() do
    local name, seconds = line:match("^(%S+) ([%d.]+)$")
    if not name then break end
    if name ~= last then
      last, w = name, nil
      sn.trim()
      w = workloads.known(name) and made(name, opt) or { step = function() error("unknown workload", 0) end }
    end
    opt.seconds = tonumber(seconds)
    local peaks = core.peaks(0.1)
    local r = record(name, w, opt, peaks)
    r.peaks = peaks
    print(core.json_encode(r))
    io.stdout:flush()
  end
end

local function share(part, whole) return ("%5.1f %%"):format(100 * part / whole) end

local function line_of(r, peaks)
  if r.error then return ("%-26s %s"):format(r.workload, r.error) end
  local text = ("%-26s %12.2f"):format(r.workload, r.median_us)
  if not r.flops then return text end
  local rate, moved = r.flops / r.median_us * 1e-3, r.bytes / r.median_us * 1e-3
  return ("%s %9.1f %s %9.1f %s   %s"):format(text, rate, share(rate, r.workload:find("f64", 1, true) and peaks.fma64 or peaks.fma),
    moved, share(moved, math.max(peaks.read, peaks.copy)), share(r.least_us, r.median_us))
end

local function head(opt, peaks)
  local info = sn.info()
  print(("%s, %s kernels, %d of %d cores; at most %.0f GFLOP/s of multiply-adds (float64 %.0f), %.1f GB/s reading and %.1f GB/s copying 4 MB"):format(
    info.cpu, info.isa, opt.threads, info.cores, peaks.fma, peaks.fma64, peaks.read, peaks.copy))
end

-- The profile of a program by operation: {op=, us=, share of the program=, least_us=, computes=}, the longest first.
function M.profile(name, peaks, seconds)
  local w = made(name, { mode = "compile" })
  if not w.program then return nil end
  measure(w.step, 0)
  w.program:explain(true)
  measure(w.step, seconds)
  local work = limits.program(w.program:steps(), peaks)
  local by, list, total = {}, {}, 0
  for _, s in ipairs(work.steps) do
    local o = by[s.op]
    if not o then
      o = { workload = name, op = s.op, us = 0, least_us = 0, compute_us = 0 }
      by[s.op] = o
      list[#list + 1] = o
    end
    o.us, o.least_us, total = o.us + (s.us or 0), o.least_us + s.least, total + (s.us or 0)
    if s.computes then o.compute_us = o.compute_us + s.least end
  end
  for _, o in ipairs(list) do o.share, o.computes = o.us / math.max(total, 1e-9), o.compute_us > o.least_us / 2 end
  table.sort(list, function(a, b) return a.us > b.us end)
  return list
end

-- Every operation of the training workloads' programs that takes a noticeable part of one: where it takes most of its program.
function M.shares(names, peaks, seconds)
  local best, list = {}, {}
  for _, name in ipairs(names) do
    for _, o in ipairs(M.profile(name, peaks, seconds) or {}) do
      if o.share >= 0.02 and o.us >= 1 and (not best[o.op] or o.share > best[o.op].share) then best[o.op] = o end
    end
  end
  for _, o in pairs(best) do list[#list + 1] = o end
  table.sort(list, function(a, b) return a.op < b.op end)
  return list
end

local function print_shares(opt, names, peaks)
  if opt.json then
    print(core.json_encode(M.shares(names, peaks, opt.seconds)))
    return
  end
  head(opt, peaks)
  print(("%-26s %-20s %10s %8s   %-12s %s"):format("operation", "in", "us", "of step", "limit", "reached"))
  for _, o in ipairs(M.shares(names, peaks, opt.seconds)) do
    print(("%-26s %-20s %10.1f  %s   %-12s %s"):format(o.op, o.workload, o.us, share(o.share, 1), o.computes and "multiply-add" or "memory", share(o.least_us, o.us)))
  end
end

local function profile_text(w, kind)
  if not w.program then return "" end
  local text = sn.profile(w.program, table.unpack(w.arguments))
  return kind == "steps" and text or text:match("\n\n(.*)$") or text
end

-- The command; true when every workload could be measured.
function M.main(args)
  local opt, names = read_arguments(args)
  if not opt or opt.help then
    io.stderr:write(opt and "" or "slugnet bench: " .. names .. "\n", usage)
    return opt ~= nil
  end
  if opt.list then
    print(table.concat(names, "\n"))
    return true
  end
  sn.threads(math.tointeger(opt.threads))
  if opt.serve then
    serve(opt)
    return true
  end
  local peaks = core.peaks(math.min(0.4, opt.seconds))
  if opt.shares then
    print_shares(opt, names, peaks)
    return true
  end
  local good = true
  if not opt.json then
    head(opt, peaks)
    print(("%-26s %12s %9s %7s %9s %7s   %s"):format("workload", "median, us", "GFLOP/s", "of FMA", "GB/s", "of mem", "of limit"))
  end
  for _, name in ipairs(names) do
    local w = made(name, opt)
    local r = record(name, w, opt, peaks)
    if opt.profile and not r.error then io.stdout:write(profile_text(w, opt.profile), "\n") end
    print(opt.json and core.json_encode(r) or line_of(r, peaks))
    io.stdout:flush()
    good = good and not r.error
  end
  return good
end

return M
