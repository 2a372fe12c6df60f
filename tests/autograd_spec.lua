-- autograd_spec.lua - gradients from Lua: backward, grad, modes, leaves, in-place rules, functions written in Lua, gradcheck.
local sn = require "slugnet"

local fails = dofile("tests/expect.lua").fails

local function sum_backward(y) y:sum():backward() end
local function leaf(t) return sn.tensor(t, { requires_grad = true }) end

describe("backward", function()
  it("adds to the leaves", function()
    local x = leaf { 1, 2, 3 }
    sum_backward(x * x)
    assert.are.same({ 2, 4, 6 }, x.grad:totable())
    local g = x.grad
    sum_backward(x * 3)
    assert.are.same({ 5, 7, 9 }, x.grad:totable())
    assert.is_true(x.grad == g)
  end)
  it("takes a seed", function()
    local x = leaf { 1, 2 }
    local y = x * 10
    y:backward(sn.tensor { 1, 0.5 })
    assert.are.same({ 10, 5 }, x.grad:totable())
    fails(function() (x * 2):backward() end, "2 elements")
    fails(function() (x * 2):backward(sn.tensor { 1, 2, 3 }) end, "3", "2")
    fails(function() sn.tensor({ 1 }):backward() end, "requires_grad_")
    fails(function() (x * 2):sum():backward { retain = true } end, "did you mean 'retain_graph'")
  end)
  it("frees the graph unless told", function()
    local x = leaf { 1, 2 }
    local y = (x * x):sum()
    y:backward { retain_graph = true }
    y:backward()
    assert.are.same({ 4, 8 }, x.grad:totable())
    fails(function() y:backward() end, "retain_graph")
  end)
  it("differentiates gradients", function()
    local x = leaf { 1, 2 }
    local g = sn.grad((x * x * x):sum(), x, { create_graph = true })
    assert.are.same({ 3, 12 }, g:totable())
    g:sum():backward()
    assert.are.same({ 6, 12 }, x.grad:totable())
  end)
  it("reaches through broadcasting", function()
    local a, b = leaf { { 1, 2 }, { 3, 4 } }, leaf { 10, 20 }
    sum_backward(a * b)
    assert.are.same({ { 10, 20 }, { 10, 20 } }, a.grad:totable())
    assert.are.same({ 4, 6 }, b.grad:totable())
  end)
end)

describe("sn.grad", function()
  it("gives gradients and accumulates nothing", function()
    local a, b = leaf { 1, 2 }, leaf { 3, 4 }
    local g = sn.grad((a * b):sum(), { a, b })
    assert.are.same({ 3, 4 }, g[1]:totable())
    assert.are.same({ 1, 2 }, g[2]:totable())
    assert.is_nil(a.grad)
    fails(function() sn.grad(a:sum(), { a, b }) end, "tensor 2")
    assert.is_nil(sn.grad(a:sum(), { a, b }, { allow_unused = true })[2])
    fails(function() sn.grad(a:sum(), { sn.tensor { 1 } }) end, "requires_grad_")
    fails(function() sn.grad(a:sum(), { a, 3 }) end, "entry 2")
  end)
  it("takes many tensors", function()
    local xs, y = {}, 0
    for i = 1, 20 do
      xs[i] = leaf { i }
      y = y + xs[i] * i
    end
    local g = sn.grad(y:sum(), xs)
    for i = 1, 20 do assert.are.equal(i, g[i]:item()) end
  end)
end)

describe("modes", function()
  it("switch by guard and by function", function()
    local x = leaf { 1 }
    do
      local _ <close> = sn.no_grad()
      assert.is_false(sn.is_grad_enabled())
      assert.is_false((x * 2).requires_grad)
      do
        local _ <close> = sn.enable_grad()
        assert.is_true((x * 2).requires_grad)
      end
      assert.is_false(sn.is_grad_enabled())
    end
    assert.is_true((x * 2).requires_grad)
    local a, b = sn.no_grad(function(k) return (x * k).requires_grad, sn.is_grad_enabled() end, 3)
    assert.is_false(a)
    assert.is_false(b)
  end)
  it("detach", function()
    local x = leaf { 1, 2 }
    local y = (x * 2):detach()
    assert.is_false(y.requires_grad)
    sum_backward(y * x)
    assert.are.same({ 2, 4 }, x.grad:totable())
  end)
end)

describe("leaves", function()
  it("are marked and unmarked", function()
    local x = sn.tensor { 1, 2 }
    assert.is_true(x == x:requires_grad_())
    assert.is_true(x.requires_grad)
    x.requires_grad = false
    assert.is_false(x.requires_grad)
    fails(function() sn.tensor({ 1 }, { dtype = "int64" }):requires_grad_() end, "int64")
    fails(function() (leaf { 1 } * 2):requires_grad_(false) end, "detach")
  end)
  it("have a gradient that can be set", function()
    local x = leaf { 1, 2 }
    local g = sn.tensor { 5, 6 }
    x.grad = g
    assert.is_true(x.grad == g)
    x.grad = nil
    assert.is_nil(x.grad)
    fails(function() x.grad = sn.tensor { 1 } end, "1", "2")
    fails(function() x.grad = 3 end, "tensor")
  end)
  it("are not written in place", function()
    local x = leaf { 1, 2 }
    fails(function() x:add_(1) end, "no_grad")
    sn.no_grad(function() x:add_(1) end)
    assert.are.same({ 2, 3 }, x:totable())
  end)
end)

describe("in place", function()
  it("names both sides of a conflict", function()
    local x = leaf { 1, 2 }
    local y = x:exp()
    local z = y * y
    y:add_(1)
    fails(function() z:sum():backward() end, "mul", "add_")
  end)
end)

describe("sn.func", function()
  local square = sn.func {
    name = "square",
    forward = function(ctx, x)
      ctx:save(x)
      return x * x
    end,
    backward = function(ctx, g) return g * 2 * ctx:saved() end,
  }
  it("is differentiated by its own backward", function()
    local x = leaf { 1, 2, 3 }
    local y = square(x)
    assert.is_true(y.requires_grad)
    y:sum():backward()
    assert.are.same({ 2, 4, 6 }, x.grad:totable())
    assert.is_false(square(sn.tensor { 1 }).requires_grad)
    assert.is_true(sn.gradcheck(square, { sn.tensor { 1, 2, 3 } }))
  end)
  it("may take other values and give several results", function()
    local f = sn.func {
      forward = function(ctx, x, k, y)
        ctx.k = k
        return x * k, y * 2
      end,
      backward = function(ctx, gx, gy) return gx * ctx.k, nil, gy * 2 end,
    }
    local x, y = leaf { 1, 2 }, leaf { 3 }
    local a, b = f(x, 5, y)
    sum_backward(a:sum() + b:sum())
    assert.are.same({ 5, 5 }, x.grad:totable())
    assert.are.same({ 2 }, y.grad:totable())
  end)
  it("is checked", function()
    local x = leaf { 1, 2 }
    local function broken(backward) return sn.func { name = "broken", forward = function(_, t) return t * 1 end, backward = backward } end
    fails(function() broken(function() return sn.tensor { 1, 2, 3 } end)(x):sum():backward() end, "broken", "3", "2")
    fails(function() broken(function() return "x" end)(x):sum():backward() end, "broken", "string")
    fails(function() sn.func { forward = function() return 1 end }(x) end, "number")
    fails(function() sn.func {} end, "forward")
    fails(function() sn.func { forwrd = print } end, "did you mean 'forward'")
  end)
  it("notices that a saved tensor was overwritten", function()
    local x = leaf { 1, 2 }
    local a = x * 1
    local y = square(a)
    sn.no_grad(function() a:add_(1) end)
    fails(function() y:sum():backward() end, "saved tensor 1", "add_")
  end)
  it("leaves nothing behind", function()
    local function run()
      for _ = 1, 50 do
        local x = leaf { 1, 2 }
        square(x):sum():backward()
        square(x)
      end
      collectgarbage()
      collectgarbage()
      return sn.memory().small
    end
    run()
    local before = run()
    assert.are.equal(before, run())
  end)
end)

describe("gradcheck", function()
  it("passes what is right", function()
    local a, b = sn.tensor { { 0.5, 2 }, { 1, 3 } }, sn.tensor { 1.5, 2 }
    assert.is_true(sn.gradcheck(function(x, y) return x * y / (y * y + 1), x:exp() end, { a, b }))
    assert.is_true(sn.gradcheck(sn.sigmoid, a))
  end)
  it("finds wrong signs, factors and missing gradients", function()
    local function with(backward) return sn.func { forward = function(ctx, x) ctx:save(x) return x * x end, backward = backward } end
    local x = sn.tensor { 1, 2, 3 }
    fails(function() sn.gradcheck(with(function(ctx, g) return g * -2 * ctx:saved() end), { x }) end, "input 1", "element 1")
    local ok, text = sn.gradcheck(with(function(ctx, g) return g * 2.01 * ctx:saved() end), { x }, { raise = false })
    assert.is_false(ok)
    assert(text:find("central differences", 1, true))
    fails(function() sn.gradcheck(function(t) return t:detach() * 2 end, { x }) end, "no result")
    fails(function() sn.gradcheck(function(t) return t + (t * t):detach() end, { x }) end, "element 1")
    fails(function() sn.gradcheck(sn.sigmoid, {}) end, "no floating tensor")
  end)
end)

describe("a long chain", function()
  it("is walked and freed without recursion", function()
    local x = leaf { 1 }
    local y = x
    for _ = 1, 100000 do y = y + 0 end
    y:backward()
    assert.are.same({ 1 }, x.grad:totable())
    y = x
    for _ = 1, 100000 do y = y + 0 end
    y = nil
    collectgarbage()
    assert.is_nil(y)
  end)
end)
