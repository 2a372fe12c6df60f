-- moves_spec.lua - what moves elements and computes nothing: every result against the same done one element at a time, in all layouts and types,
-- on one thread and several.
local sn = require "slugnet"

local types = { "float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool" }

-- Numbers of a type: whole ones that all of them hold, so that comparisons are exact.
local function numbers(dtype, ...)
  local x = sn.randint(dtype == "uint8" and 0 or -100, 100, ...)
  return dtype == "bool" and x:gt(0) or x:to(dtype)
end

local function flat(x) return x:contiguous():reshape(-1):totable() end

-- The same numbers in several layouts.
local function layouts(x)
  local list = { x }
  if x:dim() > 1 then list[#list + 1] = x:transpose(1, -1):clone():transpose(1, -1) end
  list[#list + 1] = sn.stack({ x, x }, x:dim() + 1):select(x:dim() + 1, 2)
  return list
end

local function on_threads(f)
  local before = sn.threads()
  for _, t in ipairs { 1, 3 } do
    sn.threads(t)
    f()
  end
  sn.threads(before)
end

-- Calls f with every position of a shape, the last dimension fastest.
local function walk(shape, f)
  local at, n = {}, 1
  for d = 1, #shape do at[d], n = 1, n * shape[d] end
  for i = 1, n do
    f(at, i)
    for d = #shape, 1, -1 do
      at[d] = at[d] + 1
      if at[d] <= shape[d] then break end
      at[d] = 1
    end
  end
end

describe("where and masked_fill", function()
  it("choose in every layout, type and length", function()
    sn.manual_seed(1)
    for _, dtype in ipairs(types) do
      for _, n in ipairs { 0, 1, 7, 16, 247, 248, 249, 1000 } do
        local m, a, b = numbers("bool", n), numbers(dtype, n), numbers(dtype, n)
        local mt, at, bt, want = m:totable(), a:totable(), b:totable(), {}
        for i = 1, n do want[i] = mt[i] and at[i] or not mt[i] and bt[i] end
        for _, ml in ipairs(layouts(m)) do
          for _, al in ipairs(layouts(a)) do
            for _, bl in ipairs(layouts(b)) do assert.same(want, sn.where(ml, al, bl):totable()) end
          end
        end
        if n > 0 then
          local one = a[{ { 1, 1 } }]
          for i = 1, n do want[i] = mt[i] and at[1] or not mt[i] and bt[i] end
          assert.same(want, sn.where(m, one, b):totable())
          local y = b:clone()
          assert.same(want, y:masked_fill_(m, one:reshape({})):totable())
          local wide = sn.stack({ b, b }, 2) -- a result whose elements lie apart
          wide:select(2, 2):masked_fill_(m, one:reshape({}))
          assert.same(want, wide:select(2, 2):totable())
          assert.same(bt, wide:select(2, 1):totable())
        end
      end
    end
    assert.same({ { 1, 4 }, { 3, 4 } }, sn.where(sn.tensor { { true, false }, { true, false } }, sn.tensor { { 1 }, { 3 } }, sn.tensor { 2, 4 }):totable())
  end)
end)

describe("nonzero and masked_select", function()
  it("find what is not 0 in order", function()
    sn.manual_seed(2)
    on_threads(function()
      for _, dtype in ipairs(types) do
        for _, shape in ipairs { { 0 }, { 5 }, { 3, 0, 2 }, { 300 }, { 17, 31 }, { 1, 3, 1 }, { 5, 4, 3, 2, 7 }, { 70000 }, { 400, 201 } } do
          local long = sn.zeros(shape):numel() > 1000
          if long and dtype ~= "float32" and dtype ~= "bool" then break end -- behind the others: what threads share
          local x = numbers(dtype, shape)
          local m = sn.rand(shape):gt(shape[1] == 400 and 0.99 or 0.5)
          x = sn.where(m, x, sn.zeros(shape):to(dtype))
          local t, mt, want, kept = flat(x), flat(m), {}, {}
          walk(shape, function(at, i)
            if t[i] ~= 0 and t[i] ~= false then want[#want + 1] = { table.unpack(at) } end
            if mt[i] then kept[#kept + 1] = t[i] end
          end)
          local p = sn.nonzero(x)
          assert.same({ #want, #shape }, p.shape)
          if #want > 0 then assert.same(want, p:totable()) end
          for _, xl in ipairs(layouts(x)) do
            assert.same(kept, sn.masked_select(xl, m):totable())
            assert.is_true(sn.nonzero(xl):equal(p))
          end
        end
      end
    end)
  end)
  it("takes NaN for something and -0 for nothing", function()
    for _, dtype in ipairs { "float32", "float64", "float16", "bfloat16" } do
      local x = sn.tensor { 0, -0.0, 0 / 0, 1e-30, -1 / 0, 0 }:to(dtype)
      assert.same(dtype == "float16" and { { 3 }, { 5 } } or { { 3 }, { 4 }, { 5 } }, sn.nonzero(x):totable())
    end
    assert.same({ 1, 0 }, sn.nonzero(sn.tensor(3)).shape)
    assert.same({ 0, 0 }, sn.nonzero(sn.tensor(0)).shape)
  end)
end)

describe("rows and elements by position", function()
  it("are those named, in every type and layout", function()
    sn.manual_seed(3)
    on_threads(function()
      for _, dtype in ipairs(types) do
        for _, s in ipairs { { 1, 1, 1 }, { 7, 5, 9 }, { 300, 130, 140 } } do
          local x, index = numbers(dtype, s[1], s[2]), sn.randint(1, s[2] + 1, s[3])
          local each = sn.randint(1, s[2] + 1, s[1], s[3])
          local t, it, et = x:totable(), index:totable(), each:totable()
          local want, gathered = {}, {}
          for i = 1, s[1] do
            want[i], gathered[i] = {}, {}
            for k = 1, s[3] do want[i][k], gathered[i][k] = t[i][it[k]], t[i][et[i][k]] end
          end
          for _, xl in ipairs(layouts(x)) do
            assert.same(want, xl:index_select(2, index):totable())
            assert.same(gathered, xl:gather(2, each):totable())
            assert.same(gathered, xl:t():gather(1, each:t()):t():totable())
          end
          assert.same(want, x:t():index_select(1, index):t():totable())
          assert.same(want, x:index_select(2, index:to("int32")):totable())
        end
        assert.same({ 2, 0 }, numbers(dtype, 2, 3):index_select(2, sn.zeros(0):to("int64")).shape)
      end
    end)
  end)
  it("outside are found wherever they are", function()
    local x = sn.zeros(3, 100)
    for _, bad in ipairs { 0, 101, -1, math.mininteger, math.maxinteger, math.mininteger + 1, 1 << 62, -(1 << 62) } do
      for _, at in ipairs { 1, 2, 5, 70000 } do
        local index = sn.full({ 70000 }, 7, { dtype = "int64" })
        index[at] = bad
        assert.error_matches(function() return x:index_select(2, index) end, ("index %d at position %d, "):format(bad, at):gsub("%-", "%%-"), 1, false)
      end
    end
    assert.error_matches(function() return sn.zeros(2, 0):index_select(2, sn.tensor({ 1 }, { dtype = "int64" })) end, "dimension 2 has 0")
  end)
end)

describe("index_add and index_copy along the last dimension", function()
  it("write in the order of the index, whatever comes twice", function()
    sn.manual_seed(11)
    on_threads(function()
      for _, dtype in ipairs(types) do
        for _, s in ipairs { { 1, 1, 1 }, { 1, 9, 40 }, { 6, 7, 0 }, { 5, 7, 11 }, { 301, 20, 130 } } do
          local x, y, index = numbers(dtype, s[1], s[2]), numbers(dtype, s[1], s[3]), sn.randint(1, s[2] + 1, s[3])
          local xt, yt, it = x:totable(), y:totable(), index:totable()
          local copied, added = x:totable(), x:totable()
          for i = 1, s[1] do
            for k = 1, s[3] do
              copied[i][it[k]] = yt[i][k]
              if dtype ~= "bool" then added[i][it[k]] = added[i][it[k]] + yt[i][k] end
            end
            for k = 1, s[2] do
              if dtype == "uint8" then added[i][k] = added[i][k] % 256 end
            end
          end
          for _, yl in ipairs(layouts(y)) do
            assert.same(copied, x:index_copy(2, index, yl):totable())
            if not dtype:find "float16" and dtype ~= "bool" then assert.same(added, x:index_add(2, index, yl):totable()) end
          end
          assert.same(xt, x:totable())
        end
      end
      local x, index = sn.randn(300, 7):requires_grad_(), sn.randint(1, 8, 200) -- as a gradient: zeros first
      local g = sn.randint(-9, 9, 300, 200):to("float32")
      x:index_select(2, index):backward(g)
      assert.is_true(x.grad:equal(sn.zeros(300, 7):index_add(2, index, g)))
      assert.is_true(x.grad:equal(sn.mm(g, sn.one_hot(index, 7):to("float32"))))
    end)
  end)
end)

describe("topk of long lines", function()
  it("is the beginning of sort, with ties, NaN and any order", function()
    sn.manual_seed(4)
    local nan = sn.tensor(0 / 0)
    local function without_nan(x) return sn.where(x:isnan(), 7, x) end
    for _, dtype in ipairs { "float32", "float64", "int64", "int32", "uint8" } do
      for _, n in ipairs { 512, 777, 5000 } do
        local list = { numbers(dtype, n), (sn.arange(0, n) % 256):to(dtype), (sn.arange(n, 0, -1) % 256):to(dtype), sn.zeros(n):to(dtype) }
        if dtype:find "float" then
          local x = sn.randn(n):to(dtype)
          list[#list + 1] = x
          list[#list + 1] = sn.where(sn.rand(n):gt(0.7), nan:to(dtype), x)
          list[#list + 1] = sn.where(sn.rand(n):gt(0.5), sn.full({ n }, -0.0), sn.zeros(n)):to(dtype)
        end
        for _, x in ipairs(list) do
          for _, largest in ipairs { true, false } do
            local v, i = sn.sort(x, 1, largest)
            for _, k in ipairs { 1, 10, n // 8, n // 8 + 1 } do
              local tv, ti = sn.topk(x, k, 1, largest)
              assert.is_true(ti:equal(i:narrow(1, 1, k)))
              assert.is_true(without_nan(tv):equal(without_nan(v:narrow(1, 1, k))))
              local _, across = sn.topk(sn.stack({ x, x }, 2), k, 1, largest) -- along columns
              assert.is_true(across:select(2, 2):equal(ti))
            end
          end
        end
      end
    end
  end)
end)

describe("int64 that lie near one another", function()
  it("are sorted as those far apart", function()
    sn.manual_seed(5)
    local span = (1 << 32) - 1
    for _, low in ipairs { math.mininteger, -5, 0, 1 << 53, math.maxinteger - span, math.maxinteger - span - 1 } do
      for _, n in ipairs { 3, 100, 3000, 40000 } do
        for _, high in ipairs { low + 300, low + span, low + span + 1 } do
          if high > low then
            local x = sn.randint(low, high, n)
            x[1], x[n] = low, high
            local t = x:totable()
            table.sort(t)
            on_threads(function()
              local v, i = sn.sort(x)
              assert.same(t, v:totable())
              assert.is_true(x:gather(1, i):equal(v))
              assert.is_true(i:equal(sn.argsort(x)))
              assert.is_true(sn.sort(x, 1, true):equal(v:flip(1)))
            end)
            assert.are.equal(t[n // 2 + 1], sn.kthvalue(x, n // 2 + 1):item())
            local u, inverse, counts = sn.unique(x, { return_inverse = true, return_counts = true })
            assert.is_true(u:gather(1, inverse):equal(x))
            assert.are.equal(n, counts:sum():item())
            local ut = u:totable()
            for k = 2, #ut do assert(ut[k - 1] < ut[k]) end
          end
        end
      end
    end
  end)
end)

describe("flip", function()
  it("turns rows of any length and layout round", function()
    sn.manual_seed(6)
    for _, dtype in ipairs(types) do
      for _, n in ipairs { 0, 1, 2, 3, 15, 16, 17, 33, 1000 } do
        local x = numbers(dtype, 3, n)
        local t, want = flat(x), {}
        walk({ 3, n }, function(at, i) want[i] = t[(at[1] - 1) * n + n + 1 - at[2]] end)
        for _, xl in ipairs(layouts(x)) do assert.same(want, flat(xl:flip(2))) end
        walk({ 3, n }, function(at, i) want[i] = t[(3 - at[1]) * n + n + 1 - at[2]] end)
        for _, xl in ipairs(layouts(x)) do assert.same(want, flat(xl:flip { 1, 2 })) end
      end
    end
  end)
end)

describe("copies of permuted tensors", function()
  it("have every element in its place", function()
    sn.manual_seed(7)
    local function orders(n)
      if n == 0 then return { {} } end
      local list = {}
      for _, o in ipairs(orders(n - 1)) do
        for at = 1, n do
          local p = { table.unpack(o) }
          table.insert(p, at, n)
          list[#list + 1] = p
        end
      end
      return list
    end
    for _, dtype in ipairs { "float32", "float64", "float16", "uint8" } do
      for _, shape in ipairs { { 5, 37, 18 }, { 2, 6, 7, 19 } } do
        local x = numbers(dtype, shape)
        local t, step = flat(x), {}
        for d = #shape, 1, -1 do step[d] = d == #shape and 1 or step[d + 1] * shape[d + 1] end
        for _, o in ipairs(orders(#shape)) do
          local want, to = {}, {}
          for d = 1, #shape do to[d] = shape[o[d]] end
          walk(to, function(at, i)
            local from = 1
            for d = 1, #to do from = from + (at[d] - 1) * step[o[d]] end
            want[i] = t[from]
          end)
          for _, xl in ipairs(layouts(x)) do assert.same(want, flat(xl:permute(o))) end
        end
      end
    end
  end)
end)

describe("copies of expanded tensors", function()
  it("have one number in every place of a row", function()
    sn.manual_seed(12)
    for _, dtype in ipairs(types) do
      for _, s in ipairs { { 1, 1 }, { 5, 3 }, { 4, 67 }, { 300, 250 } } do
        local x = numbers(dtype, s[1], 1)
        local t, want = flat(x), {}
        for i = 1, s[1] do
          want[i] = {}
          for k = 1, s[2] do want[i][k] = t[i] end
        end
        on_threads(function() assert.same(want, x:expand(s[1], s[2]):contiguous():totable()) end)
        assert.same(want, sn.zeros(s[1], s[2]):to(dtype):copy_(x):totable())
      end
    end
  end)
end)

describe("cat and stack of many rows", function()
  it("put every part in its place", function()
    sn.manual_seed(8)
    on_threads(function()
      for _, dtype in ipairs { "float32", "float64", "float16", "int64", "bool" } do
        for _, s in ipairs { { 9, 70, 3 }, { 8, 33, 80 }, { 400, 40, 5 }, { 3, 40, 2 } } do
          local a, b = numbers(dtype, s), numbers(dtype, { s[1], s[2] + 1, s[3] })
          local y, z = sn.cat({ a, b, a }, 2), sn.cat({ a, b:transpose(1, 2):clone():transpose(1, 2) }, 2)
          assert.is_true(y:narrow(2, 1, s[2]):equal(a) and y:narrow(2, s[2] + 1, s[2] + 1):equal(b) and y:narrow(2, 2 * s[2] + 2, s[2]):equal(a))
          assert.is_true(z:narrow(2, 1, s[2]):equal(a) and z:narrow(2, s[2] + 1, s[2] + 1):equal(b))
          local c = numbers(dtype, s)
          for d = 1, 4 do
            local w = sn.stack({ a, c, a }, d)
            assert.is_true(w:select(d, 1):equal(a) and w:select(d, 2):equal(c) and w:select(d, 3):equal(a))
          end
          local e = numbers(dtype, { s[1], 0, s[3] })
          assert.is_true(sn.cat({ e, a, e }, 2):equal(a))
        end
      end
    end)
  end)
end)

describe("repeat_interleave", function()
  it("repeats single elements of every type", function()
    for _, dtype in ipairs(types) do
      local x = numbers(dtype, 4, 9)
      local t = flat(x)
      for _, reps in ipairs { 0, 1, 2, 5 } do
        local want = {}
        for i = 1, #t do
          for _ = 1, reps do want[#want + 1] = t[i] end
        end
        for _, xl in ipairs(layouts(x)) do
          assert.same(want, xl:repeat_interleave(reps):totable())
          assert.same({ 4, 9 * reps }, xl:repeat_interleave(reps, 2).shape)
          if reps > 0 then assert.same(want, flat(xl:repeat_interleave(reps, 2))) end
        end
      end
    end
  end)
end)

describe("pad with the tensor's own elements", function()
  local function source(mode, p, n)
    if mode == "replicate" then return math.max(1, math.min(n, p)) end
    if mode == "circular" then return (p - 1) % n + 1 end
    return p < 1 and 2 - p or p > n and 2 * n - p or p
  end
  local function by_index(x, pads, mode)
    for k = 1, #pads // 2 do
      local d = x:dim() + 1 - k
      local index = {}
      for p = 1 - pads[2 * k - 1], x:size(d) + pads[2 * k] do index[#index + 1] = source(mode, p, x:size(d)) end
      x = x:index_select(d, sn.tensor(index, { dtype = "int64" }))
    end
    return x
  end
  it("is a selection along each dimension, and so is its gradient", function()
    sn.manual_seed(9)
    for _, mode in ipairs { "reflect", "replicate", "circular" } do
      for _, pads in ipairs { { 1, 1, 1, 1 }, { 3, 0 }, { 0, 2, 3, 1, 1, 2 }, { -1, 2, 2, -3 }, { -2, -1 }, { 0, 0, 0, 0, 2, 1 }, { 4, 4, 0, 0, -1, -1 } } do
        for _, dtype in ipairs(types) do
          local x = numbers(dtype, 3, 4, 5)
          for _, xl in ipairs(layouts(x)) do assert.is_true(sn.pad(xl, pads, mode):equal(by_index(x, pads, mode))) end
        end
        local x = sn.randn(3, 4, 5):requires_grad_()
        local z = x:detach():clone():requires_grad_()
        local y = sn.pad(x, pads, mode)
        local g = sn.randint(-9, 9, y.shape):to("float32")
        y:backward(g)
        by_index(z, pads, mode):backward(g)
        assert.is_true(x.grad:equal(z.grad))
      end
    end
    assert.is_true(sn.pad(sn.arange(1, 4), { 7, 8 }, "circular"):equal(sn.tensor({ 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2 }, { dtype = "int64" })))
    local big = sn.randn(3, 200, 301)
    on_threads(function() assert.is_true(sn.pad(big, { 2, 3, 1, 4 }, "reflect"):equal(by_index(big, { 2, 3, 1, 4 }, "reflect"))) end)
  end)
end)

describe("outer", function()
  it("is every product, with its sign, in every layout", function()
    sn.manual_seed(10)
    for _, dtype in ipairs { "float32", "float64", "int64", "int32", "uint8" } do
      for _, s in ipairs { { 1, 1 }, { 0, 3 }, { 5, 0 }, { 7, 33 }, { 300, 257 } } do
        local a, b = numbers(dtype, s[1]), numbers(dtype, s[2])
        local want = a:reshape(-1, 1) * b
        on_threads(function()
          for _, al in ipairs(layouts(a)) do
            for _, bl in ipairs(layouts(b)) do assert.is_true(sn.outer(al, bl):equal(want)) end
          end
        end)
      end
    end
    assert.are.equal(-math.huge, 1 / sn.outer(sn.tensor { -1 }, sn.tensor { 0 }):totable()[1][1])
    assert.are.equal("int32", sn.outer(numbers("int32", 2), numbers("int32", 2)).dtype)
  end)
end)

describe("numbers below the normal range", function()
  it("are numbers to what looks for those that are set, and have their place in an order, whether arithmetic flushes them or not", function()
    for _, flush in ipairs { true, false } do
      sn.flush_denormals(flush)
      local d = sn.full({ 5 }, 1e-40, { dtype = "float64" }):to "float32"
      local x = sn.cat { sn.zeros(2), d, sn.zeros(3), -d, sn.ones(2), d }
      assert.are.same({ { 3 }, { 4 }, { 5 }, { 6 }, { 7 }, { 11 }, { 12 }, { 13 }, { 14 }, { 15 }, { 16 }, { 17 }, { 18 }, { 19 }, { 20 }, { 21 }, { 22 } },
        sn.nonzero(x):totable())
      assert.are.equal(17, x:masked_select(x:to("float64"):ne(0)):numel())
      assert.are.equal(4, x:unique():numel())
      assert.is_true(sn.equal(x:unique():to "float64", sn.tensor({ -1e-40, 0, 1e-40, 1 }, { dtype = "float64" }):to("float32"):to "float64"))
    end
    sn.flush_denormals(true)
  end)
end)
