-- random_spec.lua - random numbers: their distribution, and that they depend on seed and position alone.
local sn = require "slugnet"

local function near(want, got, by, what)
  assert(math.abs(want - got) <= by, ("%s: %g, it should be %g within %g"):format(what, got, want, by))
end

local function moments(x)
  x = x:double()
  local m = x:mean():item()
  return m, ((x - m) ^ 2):mean():item(), ((x - m) ^ 3):mean():item(), ((x - m) ^ 4):mean():item()
end

describe("random numbers", function()
  local n = 200001
  it("are uniform where they should be", function()
    sn.manual_seed(1)
    for _, dtype in ipairs { "float32", "float64" } do
      local x = sn.rand(n, { dtype = dtype })
      local m, v, s = moments(x)
      near(0.5, m, 0.003, "mean")
      near(1 / 12, v, 0.001, "variance")
      near(0, s, 0.001, "third moment")
      assert.is_true(x:amin():item() >= 0 and x:amax():item() < 1)
      local y = sn.uniform(-3, -2, 1000, { dtype = dtype })
      assert.is_true(y:amin():item() >= -3 and y:amax():item() < -2)
    end
  end)
  it("are normal where they should be", function()
    sn.manual_seed(2)
    for _, dtype in ipairs { "float32", "float64", "bfloat16" } do
      local m, v, s, k = moments(sn.randn(n, { dtype = dtype }))
      near(0, m, 0.01, "mean")
      near(1, v, 0.015, "variance")
      near(0, s, 0.04, "third moment")
      near(3, k, 0.1, "fourth moment")
    end
    local m, v = moments(sn.normal(4, 0.5, n))
    near(4, m, 0.01, "mean")
    near(0.25, v, 0.01, "variance")
    local x = sn.randn(n - 1):reshape((n - 1) // 4, 4) -- numbers of one block
    for i = 1, 4 do
      for j = 1, i - 1 do near(0, (x:select(2, i) * x:select(2, j)):mean():item(), 0.02, "correlation") end
    end
  end)
  it("are the same for a seed in every version: networks are trained again from it", function()
    local function sum(x) -- every number and its place count
      x = x:to("int64"):reshape(-1)
      return (x * sn.arange(1, x:size(1) + 1)):sum():item()
    end
    local sums = {
      [7] = { 3941, 3594, 5810, 16, 3023, 3392, 7478291424183089543, 128, 121, 14230955643 },
      [20001] = { 25286021039, 25381785326, 25579768850, 99063092, 25504825674, 25468588982, -7260646474481702061, 1994345437526, 2006494383340, 100696081438224866 },
    }
    for count, want in pairs(sums) do
      local got = {}
      sn.manual_seed(11)
      for _, dtype in ipairs { "int64", "int32", "uint8", "bool", "float32", "float64" } do
        got[#got + 1] = sum(sn.randint(0, dtype == "bool" and 2 or 256, count, { dtype = dtype }))
      end
      got[#got + 1] = sum(sn.randint(-(1 << 60), 1 << 60, count))
      for _, dtype in ipairs { "int64", "int32" } do got[#got + 1] = sum(sn.randperm(count, { dtype = dtype })) end
      got[#got + 1] = sum(sn.rand(count, { dtype = "float64" }) * 1e9)
      assert.same(want, got)
      local short, long = sn.manual_seed(12) or sn.randn(count, { dtype = "float64" }), sn.manual_seed(12) or sn.randn(count + 600, { dtype = "float64" })
      assert.is_true(short:equal(long:narrow(1, 1, count)))
    end
  end)
  it("are whole numbers from a range without its end", function()
    sn.manual_seed(3)
    local counts = sn.bincount(sn.randint(1, 6, n))
    assert.are.equal(5, counts:size(1))
    for i = 1, 5 do near(n / 5, counts[i], n * 0.005, "count of " .. i) end
    local p = sn.randperm(1000)
    assert.is_true((p:sort()):equal(sn.arange(1, 1001)))
    assert.is_false(p:equal(sn.arange(1, 1001)))
    local first = sn.zeros(4)
    for _ = 1, 2000 do
      local k = sn.randperm(4)[1]
      first[k] = first[k] + 1
    end
    for i = 1, 4 do near(500, first[i], 80, "first of a permutation") end
  end)
  it("follow weights", function()
    sn.manual_seed(4)
    near(0.3, sn.bernoulli(0.3, n):mean():item(), 0.005, "bernoulli")
    local w = sn.tensor { { 1, 2, 3, 4 }, { 0, 1, 0, 1 } }
    local share = sn.one_hot(sn.multinomial(w, 20000, true), 4):double():mean(2)
    for i = 1, 4 do near(i / 10, share[1][i], 0.02, "multinomial") end
    assert.are.equal(0, share[2][1])
    near(0.5, share[2][2], 0.02, "multinomial")
    local first = sn.zeros(3)
    for _ = 1, 3000 do
      local draw = sn.multinomial(sn.tensor { 1, 2, 3, 0 }, 3)
      assert.are.equal(6, draw:sum():item())
      first[draw[1]] = first[draw[1]] + 1
    end
    for i = 1, 3 do near(500 * i, first[i], 130, "first of three drawn") end
  end)
  it("are the same for the same seed, whatever was asked for before", function()
    local function some()
      return sn.cat({ sn.rand(7), sn.randn(5), sn.uniform(0, 2, 3) }, 1)
    end
    sn.manual_seed(5)
    local a, b = some(), some()
    sn.manual_seed(5)
    assert.is_true(some():equal(a))
    assert.is_true(some():equal(b))
    assert.is_false(a:equal(b))
    local g, h = sn.Generator(9), sn.Generator(9)
    sn.randn(100)
    assert.is_true(sn.randn(100, { generator = g }):equal(sn.randn(100, { generator = h })))
    sn.manual_seed(6) -- a long row begins as a short one does
    local short = sn.randn(50)
    sn.manual_seed(6)
    assert.is_true(sn.randn(100000)[{ { 1, 50 } }]:equal(short))
  end)
  it("fill any layout by logical position", function()
    sn.manual_seed(7)
    local x = sn.zeros(6, 4):t():uniform_(1, 2)
    sn.manual_seed(7)
    assert.is_true(x:equal(sn.uniform(1, 2, 4, 6)))
    sn.manual_seed(7)
    local part = sn.zeros(4, 12)
    part[{ {}, { 1, 12, 2 } }]:normal_()
    assert.are.equal(0, part[{ {}, { 2, 12, 2 } }]:abs():sum():item())
    sn.manual_seed(7)
    assert.is_true(part[{ {}, { 1, 12, 2 } }]:equal(sn.randn(4, 6)))
  end)
end)
