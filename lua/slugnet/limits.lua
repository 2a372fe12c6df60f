-- limits.lua - what a program's steps have to do (program:steps) beside what the machine can do (sn.peaks): multiply-adds for products, bytes moved
-- for all else.
local M = {}

-- The least microseconds that this much work ({flops=, read=, written=} in bytes) takes at these peaks, and whether it is the multiply-adds that take them.
function M.least(work, peaks)
  local rate = work.f64 and peaks.fma64 or peaks.fma
  local moved = work.read + work.written
  local compute = work.flops / rate * 1e-3
  local memory = moved / (work.written * 3 < work.read and peaks.read or peaks.copy) * 1e-3
  return math.max(compute, memory), compute >= memory, moved
end

-- A program's work in all: flops, bytes, and the least microseconds of its steps one after the other.
function M.program(steps, peaks)
  local sum = { flops = 0, bytes = 0, least = 0, steps = {} }
  for _, s in ipairs(steps) do
    if s.op ~= "(host)" then
      local bytes
      s.least, s.computes, bytes = M.least(s, peaks)
      sum.flops, sum.bytes, sum.least = sum.flops + s.flops, sum.bytes + bytes, sum.least + s.least
      sum.steps[#sum.steps + 1] = s
    end
  end
  return sum
end

-- The same for an operation alone, whose work is told in numbers (workloads.lua).
function M.alone(work, peaks)
  local wide = work.f64 and 8 or 4
  local least, _, bytes = M.least({ flops = work.flops, read = wide * work.read, written = wide * work.written, f64 = work.f64 }, peaks)
  return { flops = work.flops, bytes = bytes, least = least }
end

return M
