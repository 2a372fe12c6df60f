-- ints_spec.lua - integers and bools: arithmetic, sums, extremes, running sums and ranges against Lua's own, for lengths and steps of every kind.
local sn = require "slugnet"

local function wrap(v, dtype)
  if dtype == "int64" then return v end
  if dtype == "int32" then return ((v + 0x80000000) & 0xffffffff) - 0x80000000 end
  return v & 255
end
local dtypes = { "int64", "int32", "uint8" }

-- n numbers of all sizes with the extremes among them, as a table and a tensor.
local function numbers(n, dtype, seed)
  local t, special = {}, { math.mininteger, math.maxinteger, -1, 0, 1, 255, -0x80000000, 0x7fffffff, 128 }
  for i = 1, n do
    local k = (i * 7919 + seed * 104729) % 97
    t[i] = wrap(special[k] or (i * 2654435761 + seed) % 5003 - 2500, dtype)
  end
  return t, sn.tensor(t, { dtype = dtype })
end

-- The same numbers that lie otherwise in memory.
local function laid(x)
  local n = x:numel()
  return { x, sn.stack({ x, x }, 2):select(2, 2), sn.stack({ x, x }, 1):select(1, 1), n > 0 and sn.cat({ x, x }, 1):narrow(1, n + 1, n) or x }
end

describe("integers", function()
  it("add, multiply, divide and compare as Lua's do, in their own width", function()
    local formulas = {
      add = function(a, b) return a + b end, sub = function(a, b) return a - b end, mul = function(a, b) return a * b end,
      maximum = math.max, minimum = math.min,
      floor_divide = function(a, b) return b == 0 and 0 or a // b end, remainder = function(a, b) return b == 0 and 0 or a % b end,
      fmod = function(a, b) return b == 0 and 0 or math.fmod(a, b) end,
      eq = function(a, b) return a == b end, ne = function(a, b) return a ~= b end, lt = function(a, b) return a < b end,
      le = function(a, b) return a <= b end, gt = function(a, b) return a > b end, ge = function(a, b) return a >= b end,
    }
    local single = { neg = function(a) return -a end, square = function(a) return a * a end, abs = function(a) return a < 0 and -a or a end,
      sign = function(a) return a > 0 and 1 or a < 0 and -1 or 0 end }
    for _, dtype in ipairs(dtypes) do
      for _, n in ipairs { 0, 1, 2, 15, 16, 17, 33, 300 } do
        local at, a = numbers(n, dtype, 1)
        local bt, b = numbers(n, dtype, 2)
        local as, bs = laid(a), laid(b)
        for name, f in pairs(formulas) do
          local want = {}
          for i = 1, n do
            local v = f(at[i], bt[i])
            if type(v) == "boolean" then want[i] = v else want[i] = wrap(v, dtype) end
          end
          for k = 1, #as do assert.same(want, sn[name](as[k], bs[#bs + 1 - k]):totable(), name .. " " .. dtype) end
        end
        for name, f in pairs(single) do
          local want = {}
          for i = 1, n do want[i] = wrap(f(at[i]), dtype) end
          for k = 1, #as do assert.same(want, sn[name](as[k]):totable(), name .. " " .. dtype) end
        end
        if n > 0 then
          local c, want = wrap(200, dtype), {}
          for i = 1, n do want[i] = wrap(at[i] + c, dtype) end
          assert.same(want, (a + sn.tensor({ c }, { dtype = dtype })):totable())
        end
      end
    end
  end)

  it("logic of bools", function()
    for _, n in ipairs { 0, 1, 17, 100 } do
      local a, b = sn.arange(n):remainder(2):eq(0), sn.arange(n):remainder(3):eq(0)
      local want = { {}, {}, {}, {} }
      for i = 1, n do
        local u, v = (i - 1) % 2 == 0, (i - 1) % 3 == 0
        want[1][i], want[2][i], want[3][i], want[4][i] = u and v, u or v, u ~= v, not u
      end
      for k, u in ipairs(laid(a)) do
        local v = laid(b)[5 - k]
        assert.same(want, { sn.logical_and(u, v):totable(), sn.logical_or(u, v):totable(), sn.logical_xor(u, v):totable(), sn.logical_not(u):totable() })
      end
    end
  end)
end)

describe("reductions of integers", function()
  local kinds = {
    sum = { 0, function(a, b) return a + b end }, prod = { 1, function(a, b) return a * b end },
    amax = { nil, math.max }, amin = { nil, math.min },
  }
  -- Of t as rows x columns, along dimension d (nil: all).
  local function expected(name, t, rows, columns, d)
    local zero, f, y = kinds[name][1], kinds[name][2], {}
    for i = 1, rows do
      for j = 1, columns do
        local k, v = d == 1 and j or d == 2 and i or 1, t[(i - 1) * columns + j]
        if y[k] == nil then y[k] = zero == nil and v or f(zero, v) else y[k] = f(y[k], v) end
      end
    end
    return d and y or y[1]
  end
  it("agree with Lua along rows, columns and all, however the numbers lie", function()
    for _, dtype in ipairs(dtypes) do
      for _, shape in ipairs { { 1, 1 }, { 3, 5 }, { 5, 3 }, { 70, 9 }, { 9, 70 }, { 2, 1100 }, { 1100, 2 }, { 1100, 13 }, { 40, 300 } } do
        local rows, columns = shape[1], shape[2]
        local t, flat = numbers(rows * columns, dtype, 3)
        local x = flat:view(rows, columns)
        for name in pairs(kinds) do
          for d = 1, 2 do
            local want = expected(name, t, rows, columns, d)
            for _, y in ipairs { x, x:t():contiguous():t(), sn.cat({ x, x }, 2):narrow(2, columns + 1, columns), sn.stack({ x, x }, 3):select(3, 1) } do
              assert.same(want, sn[name](y, d):totable(), ("%s %s %dx%d along %d"):format(name, dtype, rows, columns, d))
            end
            assert.equal(expected(name, t, rows, columns), sn[name](x:t()):item())
          end
          local three = sn[name](flat:view(rows, 1, columns):expand(rows, 2, columns), { 1, 2 }):totable()
          local two = {}
          for i = 1, rows do for _ = 1, 2 do for j = 1, columns do two[#two + 1] = t[(i - 1) * columns + j] end end end
          assert.same(expected(name, two, rows * 2, columns, 1), three)
        end
      end
    end
  end)
  it("are the same on any number of threads, and of many numbers", function()
    local n, before = 200003, sn.threads()
    for _, dtype in ipairs(dtypes) do
      local t, x = numbers(n, dtype, 5)
      local sum, largest, at, product = 0, t[1], 1, 1
      for i = 1, n do
        sum, product = sum + t[i], product * (t[i] | 1)
        if t[i] > largest then largest, at = t[i], i end
      end
      local odd = sn.tensor((function() local o = {} for i = 1, n do o[i] = t[i] | 1 end return o end)(), { dtype = dtype })
      for threads = 1, 3 do
        sn.threads(threads)
        assert.same({ sum, largest, largest, at, product },
          { x:sum():item(), x:max():item(), x:amax():item(), x:argmax():item(), odd:prod():item() })
        local y = x:narrow(1, 1, 200000):view(100000, 2)
        local want = { 0, 0 }
        for i = 1, 200000 do want[2 - i % 2] = want[2 - i % 2] + t[i] end
        assert.same(want, y:sum(1):totable())
        assert.equal(sum - t[n] - t[n - 1] - t[n - 2], x:narrow(1, 1, 200000):view(40, 5000):sum(1):sum():item())
      end
      sn.threads(before)
    end
  end)
  it("of bools count them", function()
    local x = sn.arange(100001):remainder(3):eq(0)
    assert.same({ 33334, true, false, true, false }, { x:sum():item(), x:any():item(), x:all():item(), x:max():item(), x:min():item() })
    local none, every = sn.zeros({ 300, 300 }, { dtype = "bool" }), sn.ones({ 300, 300 }, { dtype = "bool" })
    assert.same({ false, true }, { none:any():item(), every:all():item() })
    none[{ 300, 300 }], every[{ 300, 300 }] = true, false
    assert.same({ true, false }, { none:any():item(), every:all():item() })
    assert.equal(1, none:any(1):sum():item())
    assert.equal(299, every:all(2):sum():item())
  end)
  it("of nothing give the neutral number", function()
    for _, dtype in ipairs(dtypes) do
      local x = sn.zeros({ 0, 3 }, { dtype = dtype })
      assert.same({ 0, 1 }, { x:sum():item(), x:prod():item() })
      assert.same({ { 0, 0, 0 }, { 1, 1, 1 }, {} }, { x:sum(1):totable(), x:prod(1):totable(), x:sum(2):totable() })
    end
    local b = sn.zeros({ 0, 3 }, { dtype = "bool" })
    assert.same({ false, true }, { b:any():item(), b:all():item() })
  end)
  it("find the first of the largest and smallest along each dimension", function()
    for _, dtype in ipairs { "int64", "int32", "uint8", "float32", "float64" } do
      for _, shape in ipairs { { 1, 1 }, { 3, 70 }, { 70, 3 }, { 2500, 21 }, { 21, 2500 } } do
        local rows, columns = shape[1], shape[2]
        local t, flat = numbers(rows * columns, dtype:find "float" and "uint8" or dtype, 11)
        local x = flat:to(dtype):view(rows, columns)
        for d = 1, 2 do
          local high, low = {}, {}
          for i = 1, rows do
            for j = 1, columns do
              local k, at, v = d == 1 and j or i, d == 1 and i or j, t[(i - 1) * columns + j]
              local function of(p) return d == 1 and t[(p - 1) * columns + j] or t[(i - 1) * columns + p] end
              if not high[k] or v > of(high[k]) then high[k] = at end
              if not low[k] or v < of(low[k]) then low[k] = at end
            end
          end
          for _, y in ipairs { x, x:t():contiguous():t(), sn.stack({ x, x }, 3):select(3, 2) } do
            assert.same({ high, low }, { y:argmax(d):totable(), y:argmin(d):totable() })
            local v, k = y:max(d)
            assert.same(high, k:totable())
            assert.is_true(v:equal(y:amax(d)))
          end
        end
      end
    end
  end)
  it("find the first NaN in columns of several blocks", function()
    local x = sn.arange(2100 * 20):to("float32"):view(2100, 20):clone()
    x[{ 1500, 3 }], x[{ 2000, 3 }], x[{ 5, 4 }], x[{ 1600, 4 }] = 0 / 0, 0 / 0, 0 / 0, 0 / 0
    local k = x:argmax(1)
    assert.same({ 2100, 1500, 5 }, { k[1], k[3], k[4] })
    assert.same({ 1, 1500, 5 }, { x:argmin(1)[1], x:argmin(1)[3], x:argmin(1)[4] })
  end)
end)

describe("running sums", function()
  it("add one number after another along every dimension, from both ends", function()
    for _, dtype in ipairs { "float32", "float64", "int64", "int32" } do
      for _, shape in ipairs { { 5, 7, 9 }, { 1, 300, 3 }, { 4, 1, 300 }, { 2, 3, 1 }, { 33, 2, 270 } } do
        local x = (sn.arange(shape[1] * shape[2] * shape[3]):to("float64") * 0.37 - 20):to(dtype):view(table.unpack(shape))
        if dtype == "float32" then x = x * 1.1 end
        for d = 1, 3 do
          for _, y in ipairs { x, x:transpose(1, 3):contiguous():transpose(1, 3), x:transpose(2, 3):contiguous():transpose(2, 3), sn.stack({ x, x }, 4):select(4, 1) } do
            for _, reverse in ipairs { false, true } do
              local n, sum = shape[d], sn.zeros_like(y:select(d, 1), { dtype = dtype == "int32" and "int64" or dtype })
              local z = y:cumsum(d, { reverse = reverse })
              for i = 1, n do
                local at = reverse and n + 1 - i or i
                sum = sum + y:select(d, at)
                assert.is_true(z:select(d, at):equal(sum))
              end
            end
          end
        end
      end
    end
    assert.same({ 0, 2 }, sn.zeros(0, 2):cumsum(1).shape)
    assert.equal(3, sn.tensor(3):cumsum(1):item())
    assert.same({ 2, 4, 6 }, sn.tensor({ 2 }):expand(3):cumsum(1):totable())
  end)
end)

describe("ranges and constants", function()
  it("count", function()
    for _, dtype in ipairs { "int64", "int32", "float32", "float64" } do
      for _, r in ipairs { { 0, 5, 1 }, { 3, 1000, 7 }, { 10, -500, -3 }, { -40000, 40000, 1 } } do
        local want = {}
        for v = r[1], r[2] - (r[3] > 0 and 1 or -1), r[3] do want[#want + 1] = v end
        local x = sn.arange(r[1], r[2], r[3], { dtype = dtype })
        assert.same(want, x:totable())
      end
    end
    local x = sn.arange(0, 1000, 0.37, { dtype = "float64" })
    for i = 1, x:numel() do assert.equal(0 + (i - 1) * 0.37, x[i]) end
    assert.equal(0, sn.arange(5, 5):numel())
  end)
  it("stand at equal distances, counted from the nearer end", function()
    for _, n in ipairs { 1, 2, 3, 255, 256, 257, 1000, 70001 } do
      for _, r in ipairs { { -3.3, 7.7 }, { 5, -5 }, { 1e9, -1e9 } } do
        local want, a, b = {}, r[1], r[2]
        for i = 0, n - 1 do
          local s = n > 1 and i / (n - 1) or 0
          want[i + 1] = (i < n // 2 or n == 1) and a + (b - a) * s or b - (b - a) * (1 - s)
        end
        assert.same(want, sn.linspace(a, b, n, { dtype = "float64" }):totable())
        assert.is_true(sn.linspace(a, b, n):equal(sn.tensor(want, { dtype = "float64" }):to "float32"))
        assert.is_true(sn.linspace(a, b, n, { dtype = "int64" }):equal(sn.tensor(want, { dtype = "float64" }):to "int64"))
      end
    end
  end)
  it("fill", function()
    for _, dtype in ipairs { "int64", "int32", "uint8", "float32", "float64", "float16", "bool" } do
      for _, n in ipairs { 0, 1, 100, 70001 } do
        local x = sn.full({ n }, 1, { dtype = dtype })
        assert.equal(n, x:to("int64"):sum():item())
        assert.equal(0, sn.zeros({ n }, { dtype = dtype }):to("int64"):sum():item())
      end
    end
    assert.equal(-math.huge, 1 / sn.full({ 3 }, -0.0)[2])
  end)
  it("bincount", function()
    local t, want = {}, {}
    for i = 1, 5003 do t[i] = i * i % 37 + 1 end
    for k = 1, 40 do want[k] = 0 end
    for _, v in ipairs(t) do want[v] = want[v] + 1 end
    assert.same(want, sn.tensor(t, { dtype = "int64" }):bincount({ minlength = 40 }):totable())
    assert.equal(0, sn.zeros({ 0 }, { dtype = "int64" }):bincount():numel())
  end)
end)

describe("extremes of floats", function()
  it("are NaN wherever one stands, and else the largest and smallest, of short rows and long ones", function()
    sn.manual_seed(8)
    for _, dtype in ipairs { "float32", "float64" } do
      for _, n in ipairs { 1, 7, 16, 33, 100, 1030, 5000 } do
        local x = sn.randn(2, n):to(dtype)
        local list = x[1]:totable()
        assert.are.equal(math.max(table.unpack(list)), x[1]:amax():item())
        assert.are.equal(math.min(table.unpack(list)), x:amin(2)[1])
        assert.are.equal(-math.huge, sn.full({ n }, -math.huge, { dtype = dtype }):amax():item())
        assert.are.equal(math.huge, sn.full({ n }, math.huge, { dtype = dtype }):amin():item())
        for _, at in ipairs { 1, n // 3 + 1, n // 2 + 1, n } do
          local y = x:clone()
          y[2][at] = 0 / 0
          local most, least = y:amax(2), y:amin(2)
          assert.is_true(most[2] ~= most[2] and least[2] ~= least[2] and most[1] == x[1]:amax():item())
          assert.is_true(y:amax():item() ~= y:amax():item())
        end
      end
    end
  end)
end)

describe("products of integers", function()
  it("wrap as their type does, for every type, size and layout, and at any number of threads", function()
    sn.manual_seed(11)
    local threads = sn.threads()
    for _, dtype in ipairs(dtypes) do
      local low, high = dtype == "uint8" and 0 or -100000, dtype == "uint8" and 256 or 100000
      for _, size in ipairs { { 1, 1, 1 }, { 3, 5, 2 }, { 2, 0, 3 }, { 17, 63, 7 }, { 5, 65, 129 }, { 40, 130, 9 } } do
        local m, k, n = table.unpack(size)
        local a, b = sn.randint(low, high, m, k):to(dtype), sn.randint(low, high, k, n):to(dtype)
        if dtype == "int64" and k > 1 then a[{ 1, 2 }] = math.maxinteger end
        local at, bt = a:totable(), b:totable()
        for t = 1, 3 do
          sn.threads(t)
          for _, x in ipairs { a, a:t():contiguous():t() } do
            for _, y in ipairs { b, b:t():contiguous():t() } do
              local c = x:mm(y)
              assert.are.equal(dtype, c.dtype)
              local ct = c:totable()
              for i = 1, m, m > 20 and 3 or 1 do
                for j = 1, n, n > 100 and 3 or 1 do
                  local sum = 0
                  for l = 1, k do sum = sum + at[i][l] * bt[l][j] end
                  assert(ct[i][j] == wrap(sum, dtype), ("%s, %d x %d x %d"):format(dtype, m, k, n))
                end
              end
            end
          end
        end
      end
      sn.threads(threads)
      local a, b = sn.randint(0, 9, 3, 4, 5):to(dtype), sn.randint(0, 9, 5, 6):to(dtype)
      assert.is_true(a:matmul(b):to("float64"):equal(a:to("float64"):matmul(b:to("float64"))))
      assert.is_true(a:select(1, 2):matmul(b:select(2, 3)):to("float64"):equal(a:to("float64"):select(1, 2):matmul(b:to("float64"):select(2, 3))))
    end
  end)
end)
