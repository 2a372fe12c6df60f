-- index_spec.lua - x[i], slices, masks, and assignment through them.
local sn = require "slugnet"

local function fails(fn, ...)
  local ok, message = pcall(fn)
  assert.is_false(ok)
  for _, words in ipairs { ... } do
    assert(tostring(message):find(words, 1, true), ("'%s' is not in '%s'"):format(words, message))
  end
end

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
