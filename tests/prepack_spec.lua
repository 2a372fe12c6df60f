-- prepack_spec.lua - weights that a program keeps in their kernel's layout: the bits of eager calls before and after the weight changed, over the
-- descriptors' samples and random shapes; who gets none; and convolutions with an activation in their last store.
local core = require "slugnet.core"
local walk = dofile("tests/walk.lua")

local function packed(c)
  local _, n = c:explain():gsub("weight packed", "")
  return n
end

-- What a program gives after enough calls, against eager calls, with a change of the weight in between.
local function compare(fn, change, what)
  local c = core.compile(fn)
  for _ = 1, 3 do assert(walk.same(fn(), c()), what) end
  for round = 1, 3 do
    change(round)
    local want = fn()
    for _ = 1, 2 do assert(walk.same(want, c()), what .. " after change " .. round) end
  end
  assert.is_true(c:count().replayed > 0)
  return c
end

describe("a packed weight", function()
  it("changes no bit of any sample, and follows its tensor", function()
    local seen, with = {}, 0
    for _, op in ipairs(core.ops()) do
      if op.name == "conv2d" or op.name == "conv1d" or op.name == "linear" then
        seen[op.name] = 0
        for k, text in ipairs(walk.split(op.samples, ";")) do
          for _, dtype in ipairs { "float32", "float64" } do
            local args = walk.evaluate(op, k, text, { dtype = dtype })
            local c = compare(function()
              local _ <close> = core.no_grad()
              local out = walk.call(op, args)
              return out[1]
            end, function(round)
              local _ <close> = core.no_grad()
              if round == 1 then args[2]:mul_(-0.5) elseif round == 2 then args[2]:copy_(args[2]:add(1)) else args[2]:fill_(0.25) end
            end, op.name .. "(" .. text .. ") " .. dtype)
            with = with + packed(c)
            seen[op.name] = seen[op.name] + packed(c)
          end
        end
      end
    end
    assert.is_true(seen.conv2d > 20 and seen.conv1d > 5 and seen.linear > 0, with .. " programs had a packed weight")
  end)

  it("gives the eager bits for random shapes, with and without relu, for every number of threads", function()
    local r = 99
    local function draw(n)
      r = (r * 1103515245 + 12345) & 0x7fffffff
      return (r >> 8) % n + 1
    end
    local threads = core.threads()
    for i = 1, 60 do
      core.manual_seed(i)
      core.threads(draw(4))
      local g = draw(4) == 1 and 2 or 1
      local ci, co, kh, kw = draw(20) * g, draw(40) * g, draw(3), draw(3)
      local opts = { stride = draw(2), padding = draw(3) - 1, groups = g, dilation = draw(5) == 1 and 2 or 1 }
      local dtype = draw(4) == 1 and "float64" or "float32"
      local x = core.randn(draw(3), ci, 5 + draw(20), 5 + draw(20), { dtype = dtype })
      local w, b = core.randn(co, ci // g, kh, kw, { dtype = dtype }), draw(2) == 1 and core.randn(co, { dtype = dtype }) or nil
      local relu = draw(2) == 1
      local c = compare(function()
        local y = x:conv2d(w, b, opts)
        return relu and y:relu() or y
      end, function() w:mul_(1.5) end, "shape " .. i)
      assert.equal(1, packed(c))
      assert.equal(relu, c:explain():find("conv2d_relu", 1, true) ~= nil)
      local rows, inside, out = draw(40), draw(70), draw(70)
      local m, lx, lw, lb = draw(2), core.randn(rows, inside, { dtype = dtype }), core.randn(out, inside, { dtype = dtype }), core.randn(out, { dtype = dtype })
      compare(function()
        local y = lx:linear(m == 1 and lw or lw:mul(2), lb)
        return relu and y:relu() or y
      end, function() lw:mul_(0.75) end, "product " .. i)
    end
    core.threads(threads)
  end)

  it("is made for bound weights that the program does not write, for what is made of such, and only then", function()
    local x, w = core.randn(2, 3, 8, 8), core.randn(4, 3, 3, 3)
    local function program(fn, ...)
      local c = core.compile(fn)
      for _ = 1, 3 do c(...) end
      return packed(c)
    end
    assert.equal(1, program(function(a) return a:conv2d(w) end, x))
    assert.equal(0, program(function(a, v) return a:conv2d(v) end, x, w))
    assert.equal(1, program(function(a) return a:conv2d(w:mul(2)) end, x)) -- made of one once
    assert.equal(0, program(function(a, b) return a:conv2d(w:mul(b)) end, x, core.ones(1)))
    assert.equal(0, program(function(a)
      local y = a:conv2d(w)
      w:mul_(0.99)
      return y
    end, x))
    assert.equal(0, program(function(a) return a:linear(w:reshape(12, 9)) end, core.randn(1, 9))) -- one row: dot products
    assert.equal(1, program(function(a) return a:linear(w:reshape(12, 9)) end, core.randn(20, 9)))
    core.passes("prepack", false)
    local n = program(function(a) return a:conv2d(w) end, x)
    core.passes("prepack", true)
    assert.equal(0, n)
  end)

  it("follows one element, a weight that is new before every call, and another program's writes", function()
    local x, w = core.randn(1, 3, 6, 6), core.randn(5, 3, 3, 3)
    local v = w:reshape(-1)
    local c = core.compile(function() return x:conv2d(w, nil, { padding = 1 }) end)
    local write = core.compile(function() w:mul_(0.9) end)
    for i = 1, 40 do
      if i % 3 == 0 then v[i] = i elseif i % 3 == 1 then write() else w:add_(0.125) end
      assert(walk.same(x:conv2d(w, nil, { padding = 1 }), c()), "call " .. i)
    end
    for _ = 1, 3 do assert(walk.same(x:conv2d(w, nil, { padding = 1 }), c())) end
  end)

  it("allocates nothing when used and when made again", function()
    local x, w = core.randn(1, 8, 9, 9), core.randn(8, 8, 3, 3)
    local c = core.compile(function(a) return a:conv2d(w):relu() end)
    for _ = 1, 5 do local _ <close> = c(x) end
    w:mul_(2)
    do local _ <close> = c(x) end
    local before = core.memory().allocs
    for i = 1, 50 do
      if i == 10 then w:mul_(2) end
      local _ <close> = c(x)
    end
    assert.is_true(core.memory().allocs - before <= 8) -- w:mul_(2) itself
  end)
end)

describe("relu after a convolution", function()
  it("is one step in training too, with the same gradients, and not where the convolution is seen", function()
    core.manual_seed(4)
    local x = core.randn(2, 3, 7, 7)
    local function run(also)
      local w, b = core.randn(6, 3, 3, 3):requires_grad_(), core.randn(6):requires_grad_()
      local function fn()
        w.grad, b.grad = nil, nil
        local h = x:conv2d(w, b, { padding = 1, stride = 2 })
        local l = h:relu():square():sum()
        l:backward()
        return l:detach(), also and h:detach() or nil
      end
      local want, seen = fn()
      local gw, gb = w.grad:clone(), b.grad:clone()
      local c = core.compile(fn)
      local got, h
      for _ = 1, 4 do got, h = c() end
      assert(walk.same(want, got) and walk.same(gw, w.grad) and walk.same(gb, b.grad))
      assert(not also or walk.same(seen, h))
      return c:explain():find("conv2d_relu", 1, true) ~= nil
    end
    assert.is_true(run(false))
    assert.is_false(run(true))
  end)

  it("makes a zero of a negative zero and keeps NaN, as relu does", function()
    local x = core.tensor { { { { -1e-30, 0, 1, 0 / 0 } } } }
    local w = core.tensor { { { { 1e-30 } } }, { { { -1 } } } }
    local fn = function() return x:conv2d(w):relu() end
    local c = core.compile(fn)
    local want = fn():bytes()
    for _ = 1, 3 do assert.equal(want, c():bytes()) end
  end)
end)

describe("normalisation after a convolution", function()
  -- relu(batch_norm(conv(x)) + another way) in its forms; the numbers are eager's to the last bit
  local function case(draw)
    local dtype = draw(4) == 1 and "float64" or "float32"
    local n, ci, co, h, k, stride, pad = draw(3), draw(20), draw(40), draw(20) + 2, draw(3), draw(2), draw(2) - 1
    if draw(3) == 1 then co = co * 3 end
    if draw(10) == 1 then ci = 300 end
    local function some(...) return core.randn({ ... }, { dtype = dtype }) end
    local function maybe() return draw(3) > 1 and core.randn(co, { dtype = dtype }) or nil end
    local x, w, w2 = some(n, ci, h, h), some(co, ci, k, k), some(co, ci, k, k)
    local bias, scale, shift, scale2 = maybe(), maybe(), maybe(), maybe()
    local mean, var = some(co), core.rand(co, { dtype = dtype })
    local out = (h + 2 * pad - k) // stride + 1
    local short = core.randn(n, co, out, out, { dtype = dtype })
    local form = draw(7)
    return form, x, w, short, function(xb, sb)
      local _ <close> = core.no_grad()
      local function conv(s, other)
        return core.batch_norm(xb:conv2d(other or w, bias, { stride = stride, padding = pad }), s, shift, mean, var, { training = false, epsilon = 1e-3 })
      end
      local before = sb * 1.5
      local y = conv(scale)
      if form == 1 then return y * 2 end
      if form == 2 then return y:relu() end
      if form == 3 then return (y + before):relu() end
      if form == 4 then return before + y end
      if form == 5 then return (y + conv(scale2, w2)):relu() end
      if form == 6 then return (y + y):relu() end -- read twice: only the normalisation joins
      return (y + sb:mul(0.5)):relu() -- made after the convolution
    end
  end

  it("gives the eager bits in one store, for every number of threads, and follows its weight", function()
    local r, seen, threads = 7, {}, core.threads()
    local function draw(n)
      r = (r * 1103515245 + 12345) & 0x7fffffff
      return (r >> 8) % n + 1
    end
    for i = 1, 120 do
      core.manual_seed(i)
      core.threads(draw(4))
      local form, x, w, short, fn = case(draw)
      local c = compare(function() return fn(x, short) end, function() w:mul_(1.25) end, "form " .. form .. ", case " .. i)
      local p = core.compile(fn)
      for _ = 1, 3 do assert(walk.same(fn(x, short), p(x, short)), "form " .. form .. ", case " .. i) end
      local text = p:explain()
      assert.truthy(text:find("conv2d_norm", 1, true), text)
      assert.falsy(text:find("batch_norm_eval", 1, true))
      if form ~= 6 then assert.falsy(text:find("relu", 1, true), text) end
      seen[form] = c:count().replayed
    end
    core.threads(threads)
    assert.equal(7, #seen)
  end)

  it("keeps zeros, infinities and NaN as the operations by themselves do", function()
    local x = core.tensor { { { { -1e-30, 0, 1, 0 / 0, 1 / 0, -1 / 0 } } } }
    local w, zero, one = core.tensor { { { { 1e-30 } } }, { { { -1 } } } }, core.zeros(2), core.ones(2)
    local fn = function()
      local y = core.batch_norm(x:conv2d(w), one, nil, zero, one, { training = false })
      return (y + x):relu()
    end
    local c = core.compile(fn)
    local want = fn():bytes()
    for _ = 1, 3 do assert.equal(want, c():bytes()) end
  end)

  it("stays apart where the middle is seen, where statistics are written, or where training's are used", function()
    local x, w, mean, var = core.randn(2, 3, 6, 6), core.randn(4, 3, 3, 3), core.zeros(4), core.ones(4)
    local function text(fn)
      local c, want = core.compile(fn), nil
      for _ = 1, 4 do want = c() end
      assert.truthy(want)
      return c:explain()
    end
    local function norm(y) return core.batch_norm(y, nil, nil, mean, var, { training = false }) end
    assert.truthy(text(function() return norm(x:conv2d(w)) end):find("conv2d_norm", 1, true))
    assert.falsy(text(function()
      local y = x:conv2d(w)
      return norm(y), y
    end):find("conv2d_norm", 1, true))
    assert.falsy(text(function()
      local y = norm(x:conv2d(w))
      mean:add_(1)
      return y
    end):find("conv2d_norm", 1, true))
    assert.falsy(text(function() return core.batch_norm(x:conv2d(w)) end):find("conv2d_norm", 1, true))
    local function turned() return norm(x:conv2d(w)):transpose(3, 4):relu() end
    local c, same = core.compile(turned), turned():bytes()
    for _ = 1, 3 do assert.equal(same, c():bytes()) end
    core.passes("epilogue", false)
    local off = text(function() return norm(x:conv2d(w)) end)
    core.passes("epilogue", true)
    assert.falsy(off:find("conv2d_norm", 1, true))
  end)
end)

describe("a convolution of every channel by itself", function()
  it("takes rows of any width, with all that follows in its last store", function()
    core.manual_seed(8)
    for _, width in ipairs { 3, 8, 15, 16, 17, 28, 33, 64, 70, 131 } do
      for _, form in ipairs { { 3, 1, 1 }, { 3, 1, 0 }, { 5, 2, 2 } } do
        local k, stride, pad = form[1], form[2], form[3]
        if width + 2 * pad >= k then
          local x, w, bias = core.randn(2, 6, width, width), core.randn(6, 1, k, k), core.randn(6)
          local o = { groups = 6, stride = stride, padding = pad }
          local y = x:conv2d(w, bias, o)
          local want = x:double():conv2d(w:double(), bias:double(), o)
          assert.is_true(y:allclose(want:float(), { rtol = 1e-5, atol = 1e-5 }), width .. ", kernel " .. k)
          local mean, var = core.randn(6), core.rand(6)
          local function both(a, way)
            local _ <close> = core.no_grad()
            return (core.batch_norm(a:conv2d(w, bias, o), nil, nil, mean, var, { training = false }) + way * 2):relu() * 0.5 -- written over the way
          end
          local way = core.randn(y.shape)
          local c = core.compile(both)
          for _ = 1, 4 do assert(walk.same(both(x, way), c(x, way)), width .. ", kernel " .. k) end
          assert.truthy(c:explain():find("conv2d_norm", 1, true))
        end
      end
    end
  end)
end)
