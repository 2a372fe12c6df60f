-- profile.lua - where the time of a compiled function goes.
local core = require "slugnet.core"
local check = require "slugnet.check"
check.own()

-- A number with the unit that leaves it between 1 and 1,000.
local function scaled(n, unit)
  local prefix = { "", "k", "M", "G", "T" }
  local i = 1
  while n >= 1000 and i < #prefix do n, i = n / 1000, i + 1 end
  return ("%.4g %s%s"):format(n, prefix[i], unit)
end

--- profile(fn, ...)
-- Runs fn (a function, compiled on the way, or what sn.compile gave) with the arguments until it is a program, then for a tenth of a second with
-- a clock at every step. Gives a report as a string: the program's steps with shapes and times; a line with what a call does in all (the multiply-adds
-- of its products counted twice, the bytes that its steps must read and write, the most memory in use); the sums by operation with their share and rates.
-- The second result is a list of {op=, us=, share=, flops=, bytes=}, the longest first, and the totals {us=, flops=, bytes=, peak=}.
local function profile(fn, ...)
  local program = fn
  if type(fn) == "function" then program = core.compile(fn) end
  local ok, explain = pcall(function() return program.explain end)
  if not ok or type(explain) ~= "function" then check.fail("profile: wants a function, or one that sn.compile gave; got %s", check.show(fn)) end
  for _ = 1, 4 do program(...) end
  if program:reason() then check.fail("profile: this function is not compiled: %s", program:reason()) end
  program:explain(true)
  core.reset_peak()
  local stop, n = core.clock() + 0.1, 0
  while n < 3 or core.clock() < stop do
    program(...)
    n = n + 1
  end
  local steps, text = program:steps(), program:explain(true)
  local sums, list, all = {}, {}, { us = 0, flops = 0, bytes = 0, peak = core.memory().peak }
  for _, step in ipairs(steps) do
    local sum = sums[step.op] or { op = step.op, us = 0, flops = 0, bytes = 0 }
    if not sums[step.op] then
      sums[step.op] = sum
      list[#list + 1] = sum
    end
    for _, s in ipairs { sum, all } do s.us, s.flops, s.bytes = s.us + step.us, s.flops + step.flops, s.bytes + step.read + step.written end
  end
  table.sort(list, function(a, b) return a.us > b.us end)
  local lines = { text }
  lines[#lines + 1] = ("in all: %.2f us, %s, %s moved, at most %s in tensors"):format(all.us, scaled(all.flops, "FLOP"), scaled(all.bytes, "B"), scaled(all.peak, "B"))
  for _, s in ipairs(list) do
    s.share = s.us / math.max(all.us, 1e-9)
    local rate = s.us > 0 and (s.flops > 0 and ("%10.1f GFLOP/s"):format(s.flops / s.us / 1e3) or s.bytes > 0 and ("%10.1f GB/s"):format(s.bytes / s.us / 1e3)) or ""
    lines[#lines + 1] = (("%10.2f us %5.1f %%  %-24s%s"):format(s.us, 100 * s.share, s.op, rate):gsub("%s+$", ""))
  end
  return table.concat(lines, "\n") .. "\n", list, all
end

return { profile = profile }
