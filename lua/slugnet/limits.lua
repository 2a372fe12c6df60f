-- limits.lua - what a program's steps have to do, read from its text (program:explain), beside what the machine can do (sn.peaks): multiply-adds
-- for products, numbers moved for all else. Steps count the operands they must read and the results they must write, once, four bytes a number.
local M = {}

local function numbers(shape)
  local n = 1
  for d in shape:gmatch("%d+") do n = n * tonumber(d) end
  return n
end

local function dim(shape, i)
  local dims = {}
  for d in shape:gmatch("%d+") do dims[#dims + 1] = tonumber(d) end
  return dims[i > 0 and i or #dims + 1 + i] or 1
end

-- Shapes of operands in their order; "-" is one that is not there.
local function shapes(text)
  local list = {}
  for word in text:gmatch("%S+") do
    local shape = word:match("^%a+:(%S+)$")
    if shape or word == "-" then list[#list + 1] = shape or "0" end
  end
  return list
end

-- Multiply-adds of the steps that are products, times two. a: operands, r: results. Attention is counted as a causal one: half of all scores.
local function scores(out) return 2 * numbers(out) * dim(out, -2) end
local function steps_of_rnn(a, x, w) return 2 * numbers(a[x]) / dim(a[x], -1) * (numbers(a[w]) + numbers(a[w + 1])) end
local flops = {
  linear = function(a) return 2 * numbers(a[1]) * dim(a[2], 1) end,
  mm = function(a, r) return 2 * dim(a[1], -1) * numbers(r[1]) end,
  mv = function(a) return 2 * numbers(a[1]) end,
  conv2d = function(a, r) return 2 * numbers(r[1]) * numbers(a[2]) / dim(a[2], 1) end,
  conv2d_backward_input = function(a) return 2 * numbers(a[1]) * numbers(a[2]) / dim(a[2], 1) end,
  conv2d_backward_weight = function(a, r) return 2 * numbers(a[2]) * numbers(r[1]) / dim(r[1], 1) end,
  rnn_run = function(a) return steps_of_rnn(a, 1, 4) end,
  rnn_backward = function(a) return 2 * steps_of_rnn(a, 3, 6) end,
  attention_run = function(_, r) return scores(r[1]) end,
  attention_backward = function(a) return 2.5 * scores(a[1]) end,
}
flops.matmul, flops.bmm = flops.mm, flops.mm

-- Optimizers write all they read but the gradients: parameters and gradients come first, then one or two tensors of state for each.
local function moved_by_update(a)
  local total, first = 0, 0
  for _, s in ipairs(a) do total = total + numbers(s) end
  for k = 4, 2, -1 do
    local n = #a // k
    local same = n > 0
    for i = 1, n * k do same = same and a[i] == a[(i - 1) % n + 1] end
    if same then
      for i = 1, n do first = first + numbers(a[i]) end
      return total, (k - 1) * first
    end
  end
  return total, total // 2
end

-- One step of the text: {op=, flops=, read=, written=, us=}, or nil for a line that is none.
function M.step(line)
  local op, rest = line:match("^%s*%d+%s+([%w_]+)(.*)$")
  if not op then return nil end
  local before, after = rest:match("^(.-)%->(.*)$")
  local a, r = shapes(before or rest), shapes(after or "")
  local s = { op = op, flops = 0, read = 0, written = 0, us = tonumber(rest:match("([%d.]+) us%s*$")) }
  local f = flops[op] or (op:match("^linear_") and flops.linear) or (op:match("^conv2d_") and flops.conv2d)
  local ok, count = pcall(f or function() return 0 end, a, r)
  s.flops = ok and count or 0
  for _, shape in ipairs(r) do s.written = s.written + (shape == "0" and 0 or numbers(shape)) end
  if op:match("_$") and #r == 0 then s.read, s.written = moved_by_update(a)
  elseif op == "embedding" then s.read = s.written + numbers(a[1])
  else for _, shape in ipairs(a) do s.read = s.read + (shape == "0" and 0 or numbers(shape)) end end
  return s
end

-- The least microseconds that this much work takes at these peaks, and whether it is the multiply-adds that take them.
function M.least(work, peaks)
  local wide = work.f64 and 2 or 1
  local rate = work.f64 and peaks.fma64 or peaks.fma
  local moved = 4 * wide * (work.read + work.written)
  local compute = work.flops / rate * 1e-3
  local memory = moved / (work.written * 3 < work.read and peaks.read or peaks.copy) * 1e-3
  return math.max(compute, memory), compute >= memory, moved
end

-- A program's work in all: flops, bytes, and the least microseconds of its steps one after the other.
function M.program(text, peaks)
  local sum = { flops = 0, bytes = 0, least = 0, steps = {} }
  for line in text:gmatch("[^\n]+") do
    local s = M.step(line)
    if s then
      local bytes
      s.least, s.computes, bytes = M.least(s, peaks)
      sum.flops, sum.bytes, sum.least = sum.flops + s.flops, sum.bytes + bytes, sum.least + s.least
      sum.steps[#sum.steps + 1] = s
    end
  end
  return sum
end

-- The same for an operation alone.
function M.alone(work, peaks)
  local least, _, bytes = M.least(work, peaks)
  return { flops = work.flops, bytes = bytes, least = least }
end

return M
