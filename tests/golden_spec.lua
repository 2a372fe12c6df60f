-- golden_spec.lua - numbers of others: what PyTorch computes for the same inputs (tests/golden/make.py makes the file), forward and backward.
local sn = require "slugnet"
local cases = dofile("tests/golden/golden.lua")

local function raw(n, seed)
  local v = {}
  for i = 0, n - 1 do v[i + 1] = ((37 * i + 101 * seed) % 113 - 56) / 40 end
  return v
end

-- The inputs, by the formula of make.py.
local function make(kind, seed, shape)
  local n = 1
  for _, d in ipairs(shape) do n = n * d end
  local classes = tonumber(kind:match("^i(%d+)$"))
  if classes then
    local v = {}
    for i = 0, n - 1 do v[i + 1] = (i * 7 + i // 3 + seed) % classes + 1 end
    return sn.tensor(v, { dtype = "int64" }):reshape(table.unpack(shape))
  end
  local v = raw(n, seed)
  for i = 1, n do
    if kind == "p" or kind == "v" then v[i] = math.abs(v[i]) + 0.3 end
    if kind == "u" then v[i] = 0.5 + v[i] * 0.3 end
  end
  local t = sn.tensor(v, { dtype = "float64" }):reshape(table.unpack(shape))
  if kind == "pos" then t = t:softmax(2) end
  if kind == "s" then t = t:log_softmax(2) end
  if kind ~= "k" and kind ~= "v" then t = t:detach():requires_grad_() end
  return t
end

-- PyTorch computes these in float64 with constants rounded to float32 (1/6).
local rough = { hardsigmoid = 1e-7, hardswish = 1e-7 }

local function close(name, what, got, want)
  got = got:detach():reshape(got:numel()):totable()
  assert.equal(#want, #got, name .. ": number of elements of " .. what)
  for i = 1, #want do
    local same = math.abs(got[i] - want[i]) <= 1e-9 + (rough[name] or 1e-8) * math.abs(want[i])
    assert.is_true(same, ("%s: %s, element %d is %.15g, it should be %.15g"):format(name, what, i, got[i], want[i]))
  end
end

-- Five steps with gradients given by the formula.
local function steps(make_optimizer, w, v)
  local p = { w:clone():requires_grad_(), v:clone():requires_grad_() }
  local opt = load("local sn, p = ... return " .. make_optimizer)(sn, p)
  for k = 0, 4 do
    for j, t in ipairs(p) do
      t.grad = sn.tensor(raw(t:numel(), 10 + 10 * j + k), { dtype = "float64" }):reshape(table.unpack(t:size()))
    end
    opt:step()
  end
  return sn.cat({ p[1]:detach():reshape(p[1]:numel()), p[2]:detach():reshape(p[2]:numel()) }, 1)
end

describe("PyTorch's numbers:", function()
  for _, c in ipairs(cases) do
    it(c.name, function()
      local env = setmetatable({}, { __index = { sn = sn } })
      local tracked = {}
      for _, spec in ipairs(c.inputs) do
        local t = make(spec[2], spec[3], spec[4])
        env[spec[1]] = t
        if t.requires_grad then tracked[#tracked + 1] = { spec[1], t } end
      end
      local optimizer = c.lua:match("^STEPS (.*)$")
      if optimizer then return close(c.name, "parameters", steps(optimizer, env.w, env.v), c.y) end
      local y = assert(load("return " .. c.lua, c.name, "t", env))()
      assert.same(c.shape, y:size())
      close(c.name, "the result", y, c.y)
      if not c.grads then return end
      local flat = y:reshape(y:numel())
      local w = {}
      for i = 0, y:numel() - 1 do w[i + 1] = ((7 * i) % 11 - 5) / 5 end
      local loss = (flat * sn.tensor(w, { dtype = "float64" })):sum()
      for _, e in ipairs(tracked) do
        if c.grads[e[1]] then
          local g = sn.grad(loss, e[2], { retain_graph = true })
          close(c.name, "the gradient of " .. e[1], g, c.grads[e[1]])
        end
      end
    end)
  end
  it("are at least 40", function() assert.is_true(#cases >= 40) end)
end)
