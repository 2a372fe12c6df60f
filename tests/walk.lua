-- walk.lua - what the descriptor walk is made of: a descriptor's samples evaluated with chosen values, memory layouts and number types.
local core = require "slugnet.core"
local M = {}

-- ---- reading samples

-- Splits at `sep` outside brackets and strings.
function M.split(s, sep)
  local out, depth, quote, start, i = {}, 0, nil, 1, 1
  while i <= #s do
    local c = s:sub(i, i)
    if quote then
      if c == "\\" then i = i + 1 elseif c == quote then quote = nil end
    elseif c == '"' or c == "'" then quote = c
    elseif c:find("[%(%[{]") then depth = depth + 1
    elseif c:find("[%)%]}]") then depth = depth - 1
    elseif depth == 0 and s:sub(i, i + #sep - 1) == sep then
      out[#out + 1] = s:sub(start, i - 1)
      start = i + #sep
      i = start - 1
    end
    i = i + 1
  end
  out[#out + 1] = s:sub(start)
  for k = #out, 1, -1 do
    out[k] = out[k]:match("^%s*(.-)%s*$")
    if out[k] == "" then table.remove(out, k) end
  end
  return out
end

-- ---- dice: whole numbers from 1 to n. What is made of a seed is the same everywhere

function M.dice(seed)
  local r = seed * 7919 + 17
  return function(n)
    r = (r * 1103515245 + 12345) & 0x7fffffff
    return (r >> 8) % n + 1
  end
end

-- ---- numbers: a small generator of our own, so that no sample depends on what is tested

local function generator(name, k)
  local state = 88172645463325252
  for i = 1, #name do state = (state ~ name:byte(i)) * 6364136223846793005 + 1442695040888963407 end
  state = (state + k) * 6364136223846793005 + 1442695040888963407
  return function()
    state = state * 6364136223846793005 + 1442695040888963407
    local x = state ~ (state >> 29)
    x = x * -4658895280553007687
    x = x ~ (x >> 32)
    return (x >> 11) * 2.0 ^ -53
  end
end

-- Not near the kinks of abs, relu6, hardtanh, floor, …: no multiple of a half is closer than 0.02.
local function away(v)
  local d = v * 2 - math.floor(v * 2 + 0.5)
  return math.abs(d) < 0.05 and v + 0.05 or v
end

local kinds = {
  f = function(r) return function() return away(math.sqrt(-2 * math.log(1 - r())) * math.cos(2 * math.pi * r())) end end,
  p = function(r) return function() return away(0.55 + 1.9 * r()) end end,
  u = function(r) return function() return 0.03 + away(-0.9 + 1.8 * r()) * 0.93 end end,
}
-- Well separated: a shuffled row of steps.
local function distinct(r, n)
  local v = {}
  for i = 1, n do v[i] = (i - (n + 1) / 2) * 0.25 + 0.0613 end
  for i = n, 2, -1 do
    local j = 1 + math.floor(r() * i)
    v[i], v[j] = v[j], v[i]
  end
  return v
end

local function numel(shape)
  local n = 1
  for _, d in ipairs(shape) do n = n * d end
  return n
end
M.numel = numel

-- values (in order, last dimension fastest) as nested tables
local function nest(shape, value)
  local at = 0
  local function go(d)
    local t = {}
    for i = 1, shape[d] do
      if d == #shape then
        at = at + 1
        t[i] = value[at]
      else
        t[i] = go(d + 1)
      end
    end
    return t
  end
  return #shape == 0 and value[1] or go(1)
end

local function tensor(shape, value, dtype)
  if numel(shape) > 0 or #shape <= 1 then
    if #value > 20000 then return core.tensor(value, { dtype = dtype }):reshape(table.unpack(shape)) end
    return core.tensor(nest(shape, value), { dtype = dtype })
  end
  local a = { table.unpack(shape) }
  a[#a + 1] = { dtype = dtype }
  return core.zeros(table.unpack(a))
end

-- Elements in order as a flat Lua list.
function M.flat(t)
  local out = {}
  local function go(v)
    if type(v) == "table" then
      for i = 1, #v do go(v[i]) end
    else
      out[#out + 1] = v
    end
  end
  if t:numel() > 0 then go(t:dim() == 0 and t:item() or t:totable()) end
  return out
end

-- The same values as another layout. Position `i` in `value` is the element in logical order.
local layouts = {}
function layouts.contiguous(shape, value, dtype) return tensor(shape, value, dtype) end
-- first and last dimension exchanged in memory
function layouts.transposed(shape, value, dtype)
  local n = #shape
  if n < 2 or numel(shape) == 0 then return tensor(shape, value, dtype), "same" end
  local tshape, strides, tvalue = { table.unpack(shape) }, {}, {}
  tshape[1], tshape[n] = shape[n], shape[1]
  local s = 1
  for d = n, 1, -1 do
    strides[d] = s
    s = s * shape[d]
  end
  strides[1], strides[n] = strides[n], strides[1]
  local index = {}
  for d = 1, n do index[d] = 0 end
  for k = 1, #value do
    local at = 1
    for d = 1, n do at = at + index[d] * strides[d] end
    tvalue[k] = value[at]
    for d = n, 1, -1 do
      index[d] = index[d] + 1
      if index[d] < tshape[d] then break end
      index[d] = 0
    end
  end
  return tensor(tshape, tvalue, dtype):transpose(1, n)
end
-- every second element of a larger tensor
function layouts.sliced(shape, value, dtype)
  if #shape == 0 or numel(shape) == 0 then return tensor(shape, value, dtype), "same" end
  local wide, wvalue, junk = { table.unpack(shape) }, {}, dtype == "bool" or 1
  wide[#wide + 1] = 2
  for k = 1, #value do wvalue[2 * k - 1], wvalue[2 * k] = value[k], junk end
  return tensor(wide, wvalue, dtype):select(#wide, 1)
end
M.layouts = { "contiguous", "transposed", "sliced" }

-- ---- evaluating a sample

--[[ evaluate(op, k, text, how): the arguments of sample `text`, packed, and the list of its float leaves.
  how.dtype   "float64" of float tensors
  how.layout  contiguous | transposed | sliced | expanded (leaves of size 1 along the first dimension, then expanded)
  how.value   {[constructor number] = list}: values instead of the usual ones
  how.size    function(shape) -> shape: other sizes
  how.grad    leaves require gradients: true, or function(number of the constructor) -> boolean ]]
function M.evaluate(op, k, text, how)
  local dtype, layout = how.dtype or "float64", how.layout or "contiguous"
  local leaves, all, count, changed = {}, {}, 0, false
  local function tracked() return how.grad and (how.grad == true or how.grad(count)) end
  local function make(shape, values, type_of, is_leaf)
    if how.size then shape = how.size(shape) end
    local n = numel(shape)
    count = count + 1
    local value = how.value and how.value[count]
    local leaf, t
    if layout == "expanded" and is_leaf and #shape > 0 and shape[1] > 1 then
      local one = { table.unpack(shape) }
      one[1] = 1
      value = value or values(numel(one))
      leaf = tensor(one, value, type_of)
      if tracked() then leaf:requires_grad_() end
      t = leaf:expand(table.unpack(shape))
      changed = true
    else
      value = value or values(n)
      local note
      leaf, note = (layouts[layout] or layouts.contiguous)(shape, value, type_of)
      if layout == "contiguous" or note ~= "same" and layout ~= "expanded" then changed = true end
      if is_leaf and tracked() then leaf:requires_grad_() end
      t = leaf
    end
    all[#all + 1] = t
    if is_leaf then leaves[#leaves + 1] = { at = count, value = value, tensor = leaf, shape = shape } end
    return t
  end
  local env = setmetatable({ math = math, pi = math.pi, inf = math.huge, nan = 0 / 0, sn = core }, { __index = function(_, key) error("a sample names '" .. key .. "', which there is not", 0) end })
  for name, kind in pairs(kinds) do
    env[name] = function(...)
      local r = kind(generator(op.name .. k, count))
      return make({ ... }, function(n)
        local v = {}
        for i = 1, n do v[i] = r() end
        return v
      end, dtype, true)
    end
  end
  function env.d(...)
    local r = generator(op.name .. k, count)
    return make({ ... }, function(n) return distinct(r, n) end, dtype, true)
  end
  function env.i(lo, hi, ...)
    local r = generator(op.name .. k, count)
    return make({ ... }, function(n)
      local v = {}
      for j = 1, n do v[j] = lo + math.floor(r() * (hi - lo + 1)) end
      return v
    end, "int64", false)
  end
  function env.b(...)
    local r = generator(op.name .. k, count)
    return make({ ... }, function(n)
      local v = {}
      for j = 1, n do v[j] = r() < 0.5 end
      if n > 1 then v[1], v[n] = true, false end
      return v
    end, "bool", false)
  end
  env.m = env.b
  local chunk, why = load("return " .. text, "sample of " .. op.name, "t", env)
  if not chunk then error(("%s: sample '%s': %s"):format(op.name, text, why), 0) end
  local args = table.pack(chunk())
  return args, leaves, changed, all
end

-- ---- calling

local function copy_written(op, args)
  if not op.flags.writes then return args end
  local out = table.pack(table.unpack(args, 1, args.n))
  if core.is_tensor(out[1]) then out[1] = out[1]:clone() end
  return out
end

-- Results of the operation as a packed list of tensors. Written arguments that need a gradient are copied first.
function M.call(op, args, grad)
  core.manual_seed(5)
  if grad then args = copy_written(op, args) end
  local fn = rawget(core, op.name)
  if op.flags.method_only or not fn then
    fn = core.is_tensor(args[1]) and args[1][op.name]
    if not fn then error(op.name .. ": there is neither a function nor a method of that name", 0) end
  end
  local out = table.pack(fn(table.unpack(args, 1, args.n)))
  if out.n == 1 and type(out[1]) == "table" and not core.is_tensor(out[1]) then out = table.pack(table.unpack(out[1])) end
  if out.n == 0 then -- operations on lists give nothing back: what they wrote is their result
    for i = 1, args.n do
      if type(args[i]) == "table" then
        for _, t in ipairs(args[i]) do
          if core.is_tensor(t) then out[#out + 1] = t end
        end
      elseif core.is_tensor(args[i]) then out[#out + 1] = args[i] end
    end
    out.n = #out
  end
  for i = out.n, 1, -1 do
    if not core.is_tensor(out[i]) then out[i] = core.tensor(out[i], { dtype = math.type(out[i]) == "float" and "float64" or nil }) end
  end
  return out
end

function M.reachable(op)
  if op.flags.hidden then return false end
  return true
end

local floats = { float32 = true, float64 = true, float16 = true, bfloat16 = true }
function M.is_float(t) return floats[t.dtype] == true end

-- Fixed weights of outputs, of both signs.
function M.weights(n, salt)
  local r, v = generator("weights", salt), {}
  for i = 1, n do
    local x = r()
    v[i] = (x < 0.5 and -1 or 1) * (0.5 + r())
  end
  return v
end

-- sum over outputs of weights * values, in Lua
function M.number(outs)
  local s = 0
  for k = 1, outs.n do
    if M.is_float(outs[k]) then
      local v = M.flat(outs[k])
      local w = M.weights(#v, k)
      for i = 1, #v do s = s + w[i] * v[i] end
    end
  end
  return s
end

-- the same as a tensor, with its graph; nil when no output can be differentiated
local kept = {}
function M.objective(outs)
  local loss
  for k = 1, outs.n do
    local y = outs[k]
    if M.is_float(y) and y.requires_grad then
      local key = ("%d %s %s"):format(k, y.dtype, table.concat(y:size(), "x")) -- made once: a compiled function cannot make them
      local w = kept[key]
      if not w then
        w = core.tensor(M.weights(y:numel(), k), { dtype = y.dtype })
        if y:dim() ~= 1 then w = w:reshape(y:size()) end
        kept[key] = w
      end
      local part = (y * w):sum()
      loss = loss and loss + part or part
    end
  end
  return loss
end

-- bit for bit, NaN equal to NaN
function M.same(a, b)
  if a.dtype ~= b.dtype or a:dim() ~= b:dim() then return false end
  for d = 1, a:dim() do
    if a:size(d) ~= b:size(d) then return false end
  end
  if a:equal(b) then return true end
  if not M.is_float(a) then return false end
  local x, y = M.flat(a), M.flat(b)
  for i = 1, #x do
    if x[i] ~= y[i] and (x[i] == x[i] or y[i] == y[i]) then return false end
  end
  return true
end

return M
