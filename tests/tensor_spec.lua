-- tensor_spec.lua - tensors from Lua: making them, their fields, reading them out, dtypes, closing, memory.
local sn = require "slugnet"

local fails = dofile("tests/expect.lua").fails

describe("sn.tensor", function()
  it("reads nested tables", function()
    local x = sn.tensor { { 1, 2, 3 }, { 4, 5, 6 } }
    assert.are.same({ 2, 3 }, x.shape)
    assert.are.equal("float32", x.dtype)
    assert.are.same({ { 1, 2, 3 }, { 4, 5, 6 } }, x:totable())
    assert.are.same({ { { { 7 } } } }, sn.tensor({ { { { 7 } } } }):totable())
  end)
  it("reads single values and copies tensors", function()
    assert.are.equal(0, sn.tensor(3):dim())
    assert.are.equal(3, sn.tensor(3):item())
    assert.are.equal(true, sn.tensor(true):item())
    local x = sn.tensor { 1, 2 }
    local y = sn.tensor(x)
    y[1] = 9
    assert.are.equal(1, x[1])
  end)
  it("chooses the dtype", function()
    assert.are.equal("float32", sn.tensor({ 1, 2 }).dtype)
    assert.are.equal("bool", sn.tensor({ true, false }).dtype)
    for _, t in ipairs { "float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool" } do
      assert.are.equal(t, sn.tensor({ 1, 0 }, { dtype = t }).dtype)
    end
    assert.are.equal(math.maxinteger, sn.tensor({ math.maxinteger }, { dtype = "int64" })[1])
    assert.are.equal("integer", math.type(sn.tensor({ 1 }, { dtype = "int64" })[1]))
    assert.are.equal("float", math.type(sn.tensor({ 1 })[1]))
  end)
  it("takes empty tables", function()
    assert.are.same({ 0 }, sn.tensor({}).shape)
    assert.are.same({ 2, 0 }, sn.tensor({ {}, {} }).shape)
  end)
  it("names the place of a fault", function()
    fails(function() return sn.tensor { { 1, 2 }, { 3 } } end, "[2]", "1 entries", "2 were expected")
    fails(function() return sn.tensor { { 1, 2 }, 3 } end, "[2]", "number")
    fails(function() return sn.tensor { { 1, 2 }, { 3, "x" } } end, "[2][2]", "string")
    fails(function() return sn.tensor { { 1, 2 }, { 3, true } } end, "[2][2]", "boolean")
    fails(function() return sn.tensor { { 1 }, { { 2 } } } end, "[2][1]", "table")
    fails(function() return sn.tensor { sn.tensor { 1 }, sn.tensor { 2 } } end, "stack")
    fails(function() return sn.tensor { a = 1 } end, "named")
    fails(function() return sn.tensor "x" end, "string")
    fails(function() return sn.tensor(1, 2, 3) end, "too many")
    fails(function() return sn.tensor({ 1 }, { dtype = "float23" }) end, "float23", "did you mean 'float32'")
    fails(function() return sn.tensor({ 1 }, { dtyp = "float32" }) end, "dtyp", "did you mean 'dtype'")
    fails(function() return sn.tensor { { { { { { { { { 1 } } } } } } } } } end, "8")
  end)
end)

describe("a tensor", function()
  local x = sn.tensor { { 1, 2, 3 }, { 4, 5, 6 } }
  it("tells its size", function()
    assert.are.same({ 2, 3 }, x:size())
    assert.are.equal(2, x:size(1))
    assert.are.equal(3, x:size(-1))
    assert.are.equal(2, x:dim())
    assert.are.equal(6, x:numel())
    assert.are.equal(2, #x)
    fails(function() return x:size(3) end, "dimension 3")
    fails(function() return #sn.tensor(1) end, "no length")
  end)
  it("gives numbers", function()
    assert.are.equal(5, sn.tensor({ 5 }):item())
    fails(function() return x:item() end, "6 elements")
    assert.are.equal(8, #sn.tensor({ 1, 2 }):bytes())
  end)
  it("is equal by identity and compared by methods", function()
    local y = sn.tensor { { 1, 2, 3 }, { 4, 5, 6 } }
    assert.is_true(x == x)
    assert.is_false(x == y)
    assert.is_true(x:equal(y))
    assert.is_false(x:equal(sn.tensor { 1 }))
    assert.is_true(x:allclose(y + 1e-7))
    local same, where = x:allclose(y + 1)
    assert.is_false(same)
    assert.is_string(where)
    fails(function() return x < y end, "x:lt(y)")
    fails(function() return x <= y end, "x:le(y)")
    fails(function() return x > 1 end, "x:gt")
  end)
  it("is compared to the last element, whatever its type, length and layout", function()
    local inf, nan = math.huge, 0 / 0
    for _, dtype in ipairs { "float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8" } do
      for _, n in ipairs { 1, 255, 256, 257, 1000 } do
        local a, b = (sn.arange(n) % 100):to(dtype), (sn.arange(n) % 100):to(dtype)
        local apart, other = sn.stack({ a, a }, 2):select(2, 1), sn.stack({ b, b }, 2):select(2, 2)
        for _, pair in ipairs { { a, b }, { a, other }, { apart, b }, { apart, other } } do
          assert.is_true(pair[1]:equal(pair[2]) and pair[1]:allclose(pair[2]))
        end
        for _, at in ipairs { 1, n // 2 + 1, n } do
          local kept = b[at]
          b[at] = 101
          other[at] = 101
          for _, y in ipairs { b, other } do
            assert.is_false(a:equal(y))
            local same, where = a:allclose(y)
            assert.is_false(same)
            assert.are.equal(("element %d:"):format(at), where:match("^element %d+:"))
            assert.is_true(a:allclose(y, { atol = 101 }))
          end
          b[at] = kept
          other[at] = kept
        end
      end
    end
    local odd = sn.tensor { 1, inf, -inf, nan, 2 }
    assert.is_false(odd:equal(odd))
    assert.is_false(odd:allclose(odd))
    assert.is_true(odd:allclose(odd, { equal_nan = true }))
    assert.is_true(sn.tensor({ 1, inf }):equal(sn.tensor { 1, inf }))
    for _, rtol in ipairs { 0, 1e-5, inf } do
      assert.is_false(sn.tensor({ 1, 2 }):allclose(sn.tensor { 1, inf }, { rtol = rtol }))
      assert.is_false(sn.tensor({ 1, inf }):allclose(sn.tensor { 1, 2 }, { rtol = rtol }))
      assert.is_false(sn.tensor({ 1, inf }):allclose(sn.tensor { 1, -inf }, { rtol = rtol }))
    end
    assert.is_true(sn.tensor({ 1e-3 }):allclose(sn.tensor { 0 }, { atol = 1e-2 }))
    assert.is_false(sn.tensor({ 1e-3 }):allclose(sn.tensor { 0 }))
  end)
  it("prints", function()
    local text = tostring(x)
    assert(text:find("float32 2x3", 1, true))
    assert(text:find("1", 1, true))
  end)
  it("is recognised", function()
    assert.is_true(sn.is_tensor(x))
    assert.is_false(sn.is_tensor {})
    assert.is_false(sn.is_tensor(nil))
    assert.is_false(sn.is_tensor(io.stdout))
  end)
  it("can be closed", function()
    local kept
    do
      local t <close> = sn.tensor { 1, 2 }
      kept = t
    end
    fails(function() return kept + 1 end, "closed")
    fails(function() return kept:size() end, "closed")
    fails(function() return kept[1] end, "closed")
    fails(function() return kept.shape end, "closed")
    assert(tostring(kept):find("closed", 1, true))
    kept:close()
  end)
end)

describe("arithmetic", function()
  it("goes by operators with broadcasting", function()
    local a, b = sn.tensor { { 1, 2 }, { 3, 4 } }, sn.tensor { 10, 20 }
    assert.are.same({ { 11, 22 }, { 13, 24 } }, (a + b):totable())
    assert.are.same({ { -9, -18 }, { -7, -16 } }, (a - b):totable())
    assert.are.same({ { 10, 40 }, { 30, 80 } }, (a * b):totable())
    assert.are.same({ 0.5, 0.25 }, (5 / b):totable())
    assert.are.same({ 3, 6 }, (b // 3):totable())
    assert.are.same({ 1, 2 }, (b % 3):totable())
    assert.are.same({ 100, 400 }, (b ^ 2):totable())
    assert.are.same({ -10, -20 }, (-b):totable())
  end)
  it("promotes", function()
    local function t(dtype) return sn.tensor({ 1, 2 }, { dtype = dtype }) end
    assert.are.equal("float64", (t "float32" + t "float64").dtype)
    assert.are.equal("float32", (t "float32" + t "int64").dtype)
    assert.are.equal("int64", (t "int64" + 1).dtype)
    assert.are.equal("float32", (t "int64" + 1.5).dtype)
    assert.are.equal("float32", (t "float32" + 1).dtype)
    assert.are.equal("float64", (t "float64" * 1.5).dtype)
    assert.are.equal("int64", (t "bool" + 1).dtype)
    assert.are.equal("float32", (t "int64" / t "int64").dtype)
    assert.are.equal("float16", (t "float16" * 2.5).dtype)
    assert.are.equal("int32", (t "uint8" + t "int32").dtype)
    assert.are.equal("bool", t("int64"):eq(1).dtype)
  end)
  it("writes in place", function()
    local a = sn.tensor { 1, 2 }
    assert.is_true(a == a:add_(1))
    assert.are.same({ 2, 3 }, a:totable())
    fails(function() return sn.tensor({ 1, 2 }, { dtype = "int64" }):add_(0.5) end, "float32", "int64")
  end)
end)

describe("methods and functions", function()
  it("are the same", function()
    local x = sn.tensor { -1, 2 }
    assert.is_true(sn.relu(x):equal(x:relu()))
    assert.is_true(sn.add(x, 1):equal(x:add(1)))
    assert.are.equal("float64", x:to("float64").dtype)
    assert.are.equal("float64", x:double().dtype)
  end)
  it("take options by name", function()
    local x = sn.tensor { -2, 2 }
    assert.are.same({ -0.5, 2 }, x:leaky_relu({ negative_slope = 0.25 }):totable())
    assert.are.same({ -0.5, 2 }, x:leaky_relu(0.25):totable())
    fails(function() return x:leaky_relu { negative_slop = 0.25 } end, "negative_slop", "did you mean 'negative_slope'")
    fails(function() return x:leaky_relu(0.25, { negative_slope = 1 }) end, "twice")
    fails(function() return x:leaky_relu("a") end, "negative_slope", "number")
    fails(function() return x:leaky_relu(1, 2, 3) end, "too many")
  end)
end)

describe("memory", function()
  local function resident()
    for line in io.lines "/proc/self/status" do
      local kb = line:match "VmRSS:%s*(%d+)"
      if kb then return tonumber(kb) end
    end
  end
  it("stays flat in a loop of dead tensors", function()
    local function run(n)
      for _ = 1, n do
        local t = sn.tensor { 1, 2, 3, 4 }
        t = (t * 2 + 1):exp()
      end
    end
    run(2000)
    collectgarbage()
    local live, least = sn.memory().live, math.huge
    for _ = 1, 5 do -- a leak grows every time; the system's and a sanitizer's own pages come once
      local before = resident()
      run(10000)
      collectgarbage()
      least = math.min(least, resident() - before)
    end
    assert(least < 500, "grew by " .. least .. " KB each time")
    assert.are.equal(live, sn.memory().live)
  end)
  it("is given back", function()
    sn.trim()
    local before = sn.memory().live
    do
      local t <close> = sn.tensor(1) * sn.tensor { 1, 2, 3 }
      assert(sn.memory().live > before)
    end
    collectgarbage()
    assert.are.equal(before, sn.memory().live)
  end)
  it("that cannot be had is an error, once", function()
    local x = sn.tensor { 1, 2, 3 }
    local seen = 0
    for n = 1, 40 do
      sn.fail_after(n)
      local ok, message = pcall(function() return (x + 1) * x end)
      sn.fail_after(0)
      if not ok then
        seen = seen + 1
        assert(message:find("memory", 1, true), message)
      end
    end
    assert.are.equal(0, seen) -- every call is made once more after a full collection
    assert.are.same({ 2, 6, 12 }, ((x + 1) * x):totable())
  end)
end)

describe("a function of two tensors", function()
  it("gives the same for numbers side by side, apart and one for all: comparisons, logic, whole numbers", function()
    for _, dtype in ipairs { "float32", "float64", "int64", "int32", "uint8", "bool" } do
      local n = 700
      local low = dtype == "bool" and 0 or 1 -- no remainder by 0, which is NaN
      local a, b = sn.randint(low, 5, { n, 3 }):to(dtype), sn.randint(low, 5, { n, 2 }):to(dtype)
      local x, y, one = a:select(2, 2), b:select(2, 1), b:narrow(1, 3, 1):select(2, 2):expand { n }
      local near, beside, same = x:contiguous(), y:contiguous(), one:contiguous()
      for _, name in ipairs { "gt", "le", "eq", "ne", "add", "sub", "mul", "maximum", "minimum", "remainder", "logical_and", "logical_or", "logical_xor" } do
        if dtype ~= "bool" or name:find "logical" or name == "eq" then
          local f = sn[name]
          local want = f(near, beside)
          assert.is_true(f(x, y):equal(want) and f(x, beside):equal(want) and f(near, y):equal(want), dtype .. " " .. name)
          assert.is_true(f(x, one):equal(f(near, same)) and f(one, x):equal(f(same, near)), dtype .. " " .. name)
        end
      end
      assert.is_true(x:logical_not():equal(near:logical_not()) and x:isnan():equal(near:isnan()))
      if dtype ~= "bool" then
        local c = sn.zeros(n, 2, { dtype = dtype })
        c:select(2, 2):copy_(x)
        c:select(2, 2):mul_(y)
        assert.is_true(c:select(2, 2):equal(near * beside) and c:select(2, 1):eq(0):all():item())
      end
    end
  end)
end)

describe("operands whose rows lie in columns", function()
  it("give what copies of them give, forward, backward, in place, and leave what they are views of alone", function()
    sn.manual_seed(3)
    local x, y = sn.randn(200, 190, { requires_grad = true }), sn.randn(190, 200, { requires_grad = true })
    local keep = x:detach():clone()
    local function both(turn)
      x.grad, y.grad = nil, nil
      local r = (sn.tanh(turn(x)) * y + turn(x)):t()
      sn.exp(turn(r)):sum():backward()
      return r:contiguous(), x.grad:clone(), y.grad:clone()
    end
    local a = { both(function(t) return t:t() end) }
    local b = { both(function(t) return t:t():contiguous() end) }
    for i = 1, 3 do assert.is_true(sn.equal(a[i], b[i])) end
    assert.is_true(sn.equal(x:detach(), keep))
    local z, w = keep:clone(), y:detach()
    z:t():add_(w)
    assert.is_true(sn.equal(z, keep + w:t()))
    z = sn.randn { 300, 300 }
    local want = z + z:t()
    z:add_(z:t())
    assert.is_true(sn.equal(z, want))
    local f = sn.compile(function(p) return sn.exp(p:t()) + 1 end)
    for _ = 1, 3 do assert.is_true(sn.equal(f(keep), sn.exp(keep:t():contiguous()) + 1)) end
  end)
end)

describe("two-byte floats", function()
  it("go through elementwise functions by blocks as they would through float32 tensors, in every layout", function()
    sn.manual_seed(5)
    local one = { "abs", "neg", "sign", "exp", "log1p", "sqrt", "sin", "tanh", "erf", "sigmoid", "relu", "gelu", "silu", "round", "square" }
    local two = { "add", "sub", "mul", "div", "pow", "maximum", "minimum", "atan2", "remainder", "floor_divide" }
    for _, dtype in ipairs { "bfloat16", "float16" } do
      local function back(f, ...)
        local list = { ... }
        for i, v in ipairs(list) do list[i] = sn.is_tensor(v) and v:to "float32" or v end
        return f(table.unpack(list)):to(dtype)
      end
      local function same(name, ...)
        local got, want = sn[name](...), back(sn[name], ...)
        assert.are.equal(dtype, got.dtype)
        assert.is_true(got:to("float32"):equal(want:to("float32")), dtype .. " " .. name)
      end
      local x, y = sn.randn(67, 40):abs():add(0.1):to(dtype), sn.randn(67, 40):to(dtype)
      local wide = sn.randn(280, 280):abs():to(dtype)
      local z = sn.randn(67, 40):abs():to(dtype)
      local apart = sn.stack({ z, z }, 3):select(3, 2)
      for _, name in ipairs(one) do same(name, x) same(name, apart) same(name, wide:t()) same(name, x:narrow(2, 2, 33)) end
      for _, name in ipairs(two) do
        same(name, x, y) same(name, x, y:narrow(1, 3, 1)) same(name, apart, y) same(name, x, 0.3) same(name, 3, y) same(name, wide, wide:t())
        same(name, x, y:select(1, 1):select(1, 1))
      end
      same("clamp", y, -0.5, 0.5)
      assert.are.equal("float32", (x + sn.randn(67, 40)).dtype)
      assert.are.equal(0, sn.exp(sn.zeros(0, { dtype = dtype })):numel())
      local g = x:clone():requires_grad_(true)
      sn.exp(g):sum():backward()
      assert.is_true(g.grad:equal(sn.exp(x)))
    end
  end)
  it("are summed as float32 tensors are, and the sum is rounded", function()
    sn.manual_seed(6)
    for _, dtype in ipairs { "bfloat16", "float16" } do
      local x, long = sn.randn(5, 6, 70):to(dtype), sn.randn(3, 5000):to(dtype)
      local function same(v, ...)
        local got, want = v:sum(...), v:to("float32"):sum(...):to(dtype)
        assert.are.equal(dtype, got.dtype)
        assert.are.same(want.shape, got.shape)
        assert.is_true(got:to("float32"):equal(want:to("float32")))
      end
      for _, v in ipairs { x, x:transpose(1, 3), x:transpose(2, 3), x:narrow(3, 2, 33), x:select(1, 2):unsqueeze(1) } do
        same(v) same(v, { 1, 2 }) same(v, { 1, 3 }) same(v, { 2, 3 }, { keepdim = true })
        for dim = 1, 3 do same(v, dim) same(v, dim, { keepdim = true }) end
      end
      same(long) same(long, 1) same(long, 2) same(long:t(), 1) same(sn.zeros(0, 3, { dtype = dtype }), 1) same(long:select(1, 1):select(1, 1))
      local g = x:clone():requires_grad_(true)
      local sum = g:sum(3)
      assert.are.equal(dtype, sum.dtype)
      sum:sum():backward()
      assert.is_true(g.grad:equal(sn.ones(5, 6, 70, { dtype = dtype })))
      local f = sn.compile(function(p) return p:sum(3) end)
      for _ = 1, 3 do assert.is_true(f(x):equal(x:sum(3))) end
    end
  end)
end)

describe("rows of several elements that begin anywhere", function()
  it("are chosen and repeated", function()
    local b = sn.arange(0, 41):to("uint8"):narrow(1, 2, 40):view(10, 4)
    local at = sn.tensor({ 3, 1, 10 }, { dtype = "int64" })
    assert.are.same({ { 9, 10, 11, 12 }, { 1, 2, 3, 4 }, { 37, 38, 39, 40 } }, b:index_select(1, at):totable())
    assert.are.same({ { 1, 2, 3, 4 }, { 1, 2, 3, 4 }, { 5, 6, 7, 8 } }, b:repeat_interleave(2, 1):narrow(1, 1, 3):totable())
  end)
end)
