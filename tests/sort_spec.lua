-- sort_spec.lua - order: sort against Lua's own, ties, NaN, topk, kthvalue, median, unique, bincount, searchsorted.
local sn = require "slugnet"
local nan, inf = 0 / 0, math.huge

local function ints(t) return sn.tensor(t, { dtype = "int64" }) end

local function bits(t) return string.pack(("n"):rep(t:numel()), table.unpack(t:totable())) end

-- positions in order, by Lua
local function order(t, descending)
  local e = {}
  for k = 1, #t do e[k] = k end
  table.sort(e, function(a, b)
    if t[a] ~= t[b] then
      if descending then return t[a] > t[b] end
      return t[a] < t[b]
    end
    return a < b
  end)
  return e
end

describe("sort", function()
  it("is stable and right for every type and length, with topk and kthvalue beside it", function()
    sn.manual_seed(3)
    for _, dtype in ipairs { "float32", "float64", "float16", "int64", "int32", "uint8" } do
      for _, n in ipairs { 1, 2, 23, 24, 25, 49, 100, 511, 512, 3000 } do
        local x = dtype:find "float" and (sn.randn(n) * (n > 1000 and 50 or 3)):round():to(dtype) or sn.randint(dtype == "uint8" and 0 or -50, 50, n):to(dtype)
        local t = x:totable()
        for _, descending in ipairs { false, true } do
          local v, i = sn.sort(x, 1, descending)
          local e = order(t, descending)
          local vt, it = v:totable(), i:totable()
          for k = 1, n do
            assert(it[k] == e[k] and vt[k] == t[e[k]], ("%s, %d elements, place %d"):format(dtype, n, k))
          end
          local k = math.max(1, n // 3)
          local tv, ti = sn.topk(x, k, 1, descending)
          assert.is_true(ti:equal(i[{ { 1, k } }]) and tv:equal(v[{ { 1, k } }]))
          if not descending then
            local kv, ki = sn.kthvalue(x, k)
            assert.are.equal(vt[k], kv:item())
            assert.are.equal(it[k], ki:item())
          end
        end
      end
    end
  end)
  it("gives the same for a long line whatever the number of threads: stable, NaN last, -0 beside 0", function()
    sn.manual_seed(6)
    local threads, n = sn.threads(), 33001
    for _, dtype in ipairs { "float32", "int32", "uint8", "float16" } do
      for _, spread in ipairs { 0, 1e3 } do
        local x = (sn.randn(n) * spread):round():to(dtype)
        if dtype == "float32" then
          x[{ { 100, 200 } }]:fill_(nan)
          x[{ { 300, 900 } }]:fill_(-0.0)
        end
        for _, descending in ipairs { false, true } do
          sn.threads(1)
          local v, i = sn.sort(x, 1, descending)
          local vt, it, seen = v:totable(), i:totable(), {}
          for k = 1, n do
            local a, b = vt[k - 1], vt[k]
            assert(not seen[it[k]])
            seen[it[k]] = true
            if k > 1 and (a == b or (a ~= a and b ~= b)) then assert(it[k - 1] < it[k])
            elseif k > 1 and descending then assert(a > b or a ~= a)
            elseif k > 1 then assert(a < b or b ~= b) end
          end
          assert.is_true(bits(x:gather(1, i)) == bits(v))
          for _, t in ipairs { 2, 3, 8 } do
            sn.threads(t)
            local w, j = sn.sort(x, 1, descending)
            assert.is_true(j:equal(i))
            assert.is_true(bits(v) == bits(w))
            assert.is_true(sn.argsort(x, 1, descending):equal(i))
          end
        end
      end
    end
    sn.threads(threads)
  end)
  it("goes along any dimension of any layout", function()
    sn.manual_seed(4)
    local x = sn.randn(50, 7, 33)
    for d = 1, 3 do
      local v, i = x:sort(d)
      assert.is_true(v:equal(x:gather(d, i)))
      assert.is_true(x:transpose(1, 3):sort(4 - d):transpose(1, 3):equal(v))
      assert.is_true(x:argsort(d):equal(i))
      assert.is_true(x:topk(5, d):equal((x:sort(d, true)):narrow(d, 1, 5)))
      assert.is_true(x:median(d):equal(v:select(d, (v:size(d) + 1) // 2)))
    end
  end)
  it("puts NaN behind everything and takes -0 for 0", function()
    local x = sn.tensor { 3, nan, 1, -0.0, 0.0, -inf, inf, 1 }
    local _, up = x:sort()
    assert.are.same({ 6, 4, 5, 3, 8, 1, 7, 2 }, up:totable())
    local _, down = x:sort(1, true)
    assert.are.same({ 2, 7, 1, 3, 8, 4, 5, 6 }, down:totable())
    local _, same = x:double():sort()
    assert.is_true(same:equal(up))
  end)
end)

describe("order statistics", function()
  it("take the first of equals", function()
    local v, i = sn.topk(sn.tensor { 1, 5, 5, 2, 5 }, 2)
    assert.are.same({ 5, 5 }, v:totable())
    assert.are.same({ 2, 3 }, i:totable())
  end)
  it("have a median as PyTorch's", function()
    local v, i = sn.median(sn.tensor { { 1, nan, 3 }, { 4, 3, 9 } }, 2)
    assert.is_true(v[1] ~= v[1])
    assert.are.equal(4, v[2])
    assert.are.same({ 2, 1 }, i:totable())
    assert.are.equal(2, sn.median(sn.tensor { 4, 1, 3, 2 }):item())
  end)
  it("count and find", function()
    local v, inverse, counts = sn.unique(ints { 3, 1, 3, 2, 1 }, { return_inverse = true, return_counts = true })
    assert.are.same({ 1, 2, 3 }, v:totable())
    assert.are.same({ 3, 1, 3, 2, 1 }, inverse:totable())
    assert.are.same({ 2, 1, 2 }, counts:totable())
    assert.are.same({ 2, 1, 2 }, sn.bincount(ints { 3, 1, 3, 2, 1 }):totable())
    assert.are.same({ 0, 3.5, 0 }, sn.bincount(ints { 2, 2 }, sn.tensor { 1.5, 2 }, { minlength = 3 }):totable())
    assert.are.same({ 1, 1, 2, 3, 4 }, sn.searchsorted(sn.tensor { 1, 3, 5 }, sn.tensor { 0, 1, 2, 5, 6 }):totable())
    assert.are.same({ 2, 4 }, sn.searchsorted(sn.tensor { 1, 3, 5 }, sn.tensor { 1, 5 }, { right = true }):totable())
  end)
end)

describe("searchsorted", function()
  it("counts what stands before, for every type and length", function()
    sn.manual_seed(8)
    for _, dtype in ipairs { "float32", "float64", "float16", "int64", "int32", "uint8" } do
      for _, n in ipairs { 0, 1, 2, 3, 16, 33, 200 } do
        local s = sn.sort((sn.rand(n) * 50):floor():to(dtype))
        for _, m in ipairs { 1, 3, 4, 22 } do
          local x = (sn.rand(m) * 60 - 5):floor():abs():to(dtype)
          if dtype:find "float" then
            x[1] = nan
            if n > 3 then s[n] = nan end
          end
          local list, asked = s:totable(), x:totable()
          for _, right in ipairs { false, true } do
            local got = sn.searchsorted(s, x, { right = right }):totable()
            for k = 1, m do
              local v, before = asked[k], 1
              for _, a in ipairs(list) do
                if a < v or (right and a == v) or (v ~= v and a == a) then before = before + 1 end
              end
              assert(before == got[k], ("%s, %d of %d: %d for %d"):format(dtype, k, n, got[k], before))
            end
          end
        end
      end
    end
  end)
end)

describe("sort of bytes", function()
  it("is that of the same numbers as int32, in every layout", function()
    sn.manual_seed(5)
    for _, dtype in ipairs { "uint8", "bool" } do
      for _, n in ipairs { 511, 512, 3000 } do
        local x = sn.randint(0, dtype == "bool" and 2 or 256, n, 3):to(dtype)
        for _, v in ipairs { x, x:t():contiguous():t(), x:select(2, 2), x[{ { 2, n } }] } do
          for _, descending in ipairs { false, true } do
            local a, ai = v:sort(1, descending)
            local b, bi = v:to("int32"):sort(1, descending)
            assert.are.equal(dtype, a.dtype)
            assert.is_true(a:to("int32"):equal(b) and ai:equal(bi))
          end
        end
      end
    end
  end)
end)

describe("unique of bytes", function()
  it("is that of the same numbers as int32, with places and counts, in every layout", function()
    sn.manual_seed(4)
    for _, dtype in ipairs { "uint8", "bool" } do
      for _, n in ipairs { 0, 1, 5, 3000 } do
        local x = sn.randint(0, dtype == "bool" and 2 or 256, n):to(dtype)
        for _, v in ipairs { x, sn.stack({ x, x }, 2):select(2, 1) } do
          local a, ai, ac = v:unique { return_inverse = true, return_counts = true }
          local b, bi, bc = v:to("int32"):unique { return_inverse = true, return_counts = true }
          assert.are.equal(dtype, a.dtype)
          assert.is_true(a:to("int32"):equal(b) and ai:equal(bi) and ac:equal(bc))
          assert.is_true(v:unique():equal(a))
        end
      end
    end
  end)
end)
