-- index_spec.lua - x[i], slices, masks, and assignment through them.
local sn = require "slugnet"

local fails = dofile("tests/expect.lua").fails

local function matrix() return sn.tensor { { 1, 2, 3 }, { 4, 5, 6 } } end

describe("reading", function()
  it("by position", function()
    local x = matrix()
    assert.are.same({ 4, 5, 6 }, x[2]:totable())
    assert.are.same({ 4, 5, 6 }, x[-1]:totable())
    assert.are.equal(6, x[2][3])
    assert.are.equal(3, sn.tensor({ 1, 2, 3 })[-1])
    assert.are.equal(0, sn.tensor({ 1, 2, 3 })[{ 2 }]:dim())
    local sum = 0
    for i = 1, #x do
      for j = 1, #x[i] do sum = sum + x[i][j] end
    end
    assert.are.equal(21, sum)
  end)
  it("by ranges, both ends included", function()
    local x = matrix()
    assert.are.same({ 2, 5 }, x[{ {}, 2 }]:totable())
    assert.are.same({ 5, 6 }, x[{ 2, { 2, 3 } }]:totable())
    assert.are.same({ { 1, 3 }, { 4, 6 } }, x[{ { 1, 2 }, { 1, 3, 2 } }]:totable())
    assert.are.same({ { 2, 3 } }, x[{ { 1, 1 }, { -2, -1 } }]:totable())
    assert.are.same({ 0, 3 }, x[{ { 1, 0 } }].shape)
  end)
  it("gives views", function()
    local x = matrix()
    local row, column = x[1], x[{ {}, 3 }]
    x[{ 1, 3 }] = 50
    assert.are.equal(50, row[3])
    assert.are.equal(50, column[1])
    row[1] = 7
    assert.are.equal(7, x[1][1])
  end)
  it("by a mask and by positions", function()
    local x = matrix()
    assert.are.same({ 4, 5, 6 }, x[x:gt(3)]:totable())
    assert.are.same({ { 4, 5, 6 }, { 1, 2, 3 } }, x[sn.tensor({ 2, 1 }, { dtype = "int64" })]:totable())
  end)
  it("of rows by a shorter mask", function()
    local x = matrix()
    assert.are.same({ { 4, 5, 6 } }, x[sn.tensor { false, true }]:totable())
    assert.are.same({ { { 4, 5, 6 } }, { { 1, 2, 3 } } }, x[sn.tensor({ { 2 }, { 1 } }, { dtype = "int64" })]:totable())
    fails(function() return x[sn.tensor { true, false, true }] end, "mask of shape 3", "2x3")
    fails(function() return x[sn.tensor({ 1, 3 }, { dtype = "int64" })] end, "index 3 at position 2", "dimension 1 has 2")
  end)
  it("outside is an error", function()
    local x = matrix()
    fails(function() return x[3] end, "position 3", "2x3")
    fails(function() return x[0] end, "count from 1")
    fails(function() return x[-3] end, "position -3")
    fails(function() return x[{ 1, 4 }] end, "position 4", "dimension 2")
    fails(function() return x[{ 1, 2, 3 }] end, "3 entries", "2 dimensions")
    fails(function() return x[{ { 1, 3 } }] end, "{1, 3}")
    fails(function() return x[{ { 2 } }] end, "range")
    fails(function() return x[{ { 1, 2, 0 } }] end, "step")
    fails(function() return x[1.5] end, "1.5")
    fails(function() return x[true] end, "true")
    fails(function() return x[{ "a" }] end, "string")
    fails(function() return sn.tensor({ 1, 2 })[3] end, "position 3")
    fails(function() return sn.tensor(1)[1] end, "item()")
  end)
end)

describe("assignment", function()
  it("of numbers and tensors", function()
    local x = matrix()
    x[1] = 0
    x[{ 2, 2 }] = 9
    x[{ {}, 3 }] = sn.tensor { 7, 8 }
    assert.are.same({ { 0, 0, 7 }, { 4, 9, 8 } }, x:totable())
    x[x:gt(7)] = -1
    assert.are.same({ { 0, 0, 7 }, { 4, -1, -1 } }, x:totable())
    local v = sn.tensor { 1, 2, 3 }
    v[2] = 5.5
    v[-1] = 4
    assert.are.same({ 1, 5.5, 4 }, v:totable())
    local b = sn.tensor { true, false }
    b[2] = true
    assert.are.same({ true, true }, b:totable())
  end)
  it("by a mask or by positions", function()
    local x = matrix()
    x[x:gt(4)] = sn.tensor { 50, 60 }
    assert.are.same({ { 1, 2, 3 }, { 4, 50, 60 } }, x:totable())
    x[sn.tensor { false, true }] = sn.tensor { 7, 8, 9 }
    assert.are.same({ { 1, 2, 3 }, { 7, 8, 9 } }, x:totable())
    x[sn.tensor { true, false }] = 0
    x[sn.tensor({ 2 }, { dtype = "int64" })] = 1
    assert.are.same({ { 0, 0, 0 }, { 1, 1, 1 } }, x:totable())
    local t = matrix():t()
    t[sn.tensor({ 3, 1 }, { dtype = "int64" })] = sn.tensor { { 30, 60 }, { 10, 40 } }
    assert.are.same({ { 10, 40 }, { 2, 5 }, { 30, 60 } }, t:totable())
    fails(function() x[x:gt(0)] = sn.tensor { 1, 2 } end, "does not fit", "3")
  end)
  it("is checked", function()
    local x = matrix()
    fails(function() x[3] = 1 end, "position 3")
    fails(function() x[1] = sn.tensor { 1, 2 } end, "2", "3")
    fails(function() x[1] = "a" end, "string 'a'")
    fails(function() x[1] = { 1, 2, 3 } end, "sn.tensor")
    fails(function() sn.tensor({ 1, 2 }, { dtype = "int64" })[1] = 0.5 end, "0.5", "int64")
    fails(function() x.shape = { 3, 2 } end, "shape")
  end)
end)

describe("tracked tensors", function()
  it("give no plain numbers", function()
    local w = sn.tensor({ 1, 2, 3 }, { requires_grad = true })
    fails(function() return w[1] end, "lose the gradient", "x[{1}]")
    assert.are.equal(2, sn.no_grad(function() return w[2] end))
    local y = w[{ 2 }] * 3
    y:backward()
    assert.are.same({ 0, 3, 0 }, w.grad:totable())
  end)
  it("carry gradients through slices", function()
    local w = sn.tensor({ { 1, 2, 3 }, { 4, 5, 6 } }, { requires_grad = true })
    local y = w[{ {}, { 1, 3, 2 } }] * 2 + w[2][{ { 1, 2 } }]
    y:sum():backward()
    assert.are.same({ { 2, 0, 2 }, { 4, 2, 2 } }, w.grad:totable())
  end)
  it("are not assigned to", function()
    local w = sn.tensor({ 1, 2, 3 }, { requires_grad = true })
    fails(function() w[1] = 3 end, "no_grad")
    fails(function() w[{ 1 }] = 3 end, "no_grad")
    sn.no_grad(function() w[1] = 3 end)
    assert.are.equal(3, w:detach()[1])
  end)
end)

describe("places named more than once", function()
  local function long(t) return sn.tensor(t, { dtype = "int64" }) end
  it("add up in order, keep the last, and get gradients accordingly", function()
    local x = sn.zeros(3, 2)
    local src = sn.tensor { { 1, 2 }, { 3, 4 }, { 5, 6 } }
    assert.are.same({ { 6, 8 }, { 0, 0 }, { 3, 4 } }, x:index_add(1, long { 1, 3, 1 }, src):totable())
    src:requires_grad_()
    local y = x:index_copy(1, long { 1, 3, 1 }, src)
    assert.are.same({ { 5, 6 }, { 0, 0 }, { 3, 4 } }, y:detach():totable())
    y:sum():backward()
    assert.are.same({ { 0, 0 }, { 1, 1 }, { 1, 1 } }, src.grad:totable())
    local s = sn.tensor({ 1, 2, 3 }, { requires_grad = true })
    sn.scatter(sn.zeros(4), 1, long { 2, 2, 4 }, s):sum():backward()
    assert.are.same({ 0, 1, 1 }, s.grad:totable())
  end)
  it("of an embedding: the padding row gets no gradient", function()
    local w = sn.ones(4, 2):requires_grad_()
    sn.embedding(long { { 1, 2 }, { 2, 4 } }, w, { padding_idx = 4 }):sum():backward()
    assert.are.same({ { 1, 1 }, { 2, 2 }, { 0, 0 }, { 0, 0 } }, w.grad:totable())
    fails(function() sn.embedding(long { 5 }, w) end, "index 5 at position 1", "dimension 1 has 4")
  end)
  it("in place on every layout", function()
    local x = sn.zeros(2, 3):t()
    x:index_add_(1, long { 3, 1, 3 }, sn.tensor { { 1, 1 }, { 2, 2 }, { 4, 4 } })
    assert.are.same({ { 2, 2 }, { 0, 0 }, { 5, 5 } }, x:totable())
    x:scatter_(2, long { { 1 }, { 2 }, { 1 } }, 9)
    assert.are.same({ { 9, 2 }, { 0, 9 }, { 9, 5 } }, x:totable())
  end)
  it("are filled whatever the layout, in slices short and long", function()
    for _, dtype in ipairs { "float32", "float64", "int64", "uint8", "bool", "float16" } do
      for _, turned in ipairs { false, true } do
        for dim, at in ipairs { long { 2, 1, 2 }, long { 20, 1, 7 }, long { 3 } } do
          local x = turned and sn.zeros(3, 20, 2):to(dtype):transpose(1, 3) or sn.zeros(2, 20, 3):to(dtype)
          local want = sn.zeros(2, 20, 3):to(dtype)
          for _, k in ipairs(at:totable()) do want:narrow(dim, k, 1):fill_(1) end
          assert.is_true(x:index_fill(dim, at, 1):equal(want), dtype .. " " .. dim)
          assert.is_true(x:equal(sn.zeros(2, 20, 3):to(dtype)))
          x:index_fill_(dim, at, 1)
          assert.is_true(x:equal(want), dtype .. " in place " .. dim)
        end
      end
    end
  end)
end)
