-- profile.lua - where the time of a compiled function goes.
local core = require "slugnet.core"
local check = require "slugnet.check"
check.own()

--- profile(fn, ...)
-- Runs fn (a function, compiled on the way, or what sn.compile gave) with the arguments until it is a program, then for a tenth of a second with
-- a clock at every step. Gives a report as a string: the program's steps with shapes and times, and the sums by operation with their share.
-- The second result is a list of {op=, us=, share=}, the longest first.
local function profile(fn, ...)
  local program = fn
  if type(fn) == "function" then program = core.compile(fn) end
  local ok, explain = pcall(function() return program.explain end)
  if not ok or type(explain) ~= "function" then check.fail("profile: wants a function, or one that sn.compile gave; got %s", check.show(fn)) end
  for _ = 1, 4 do program(...) end
  if program:reason() then check.fail("profile: this function is not compiled: %s", program:reason()) end
  program:explain(true)
  local stop, n = core.clock() + 0.1, 0
  while n < 3 or core.clock() < stop do
    program(...)
    n = n + 1
  end
  local text = program:explain(true)
  local sums, list, total = {}, {}, 0
  for op, us in text:gmatch("\n%s*%d+%s+([%w_()]+)[^\n]-([%d.]+) us") do
    if not sums[op] then
      sums[op] = { op = op, us = 0 }
      list[#list + 1] = sums[op]
    end
    sums[op].us = sums[op].us + tonumber(us)
    total = total + tonumber(us)
  end
  table.sort(list, function(a, b) return a.us > b.us end)
  local lines = { text }
  for _, s in ipairs(list) do
    s.share = s.us / math.max(total, 1e-9)
    lines[#lines + 1] = ("%10.2f us %5.1f %%  %s"):format(s.us, 100 * s.share, s.op)
  end
  return table.concat(lines, "\n") .. "\n", list
end

return { profile = profile }
