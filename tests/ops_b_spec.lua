-- ops_b_spec.lua - softmax, losses, dropout and normalisation where the walk does not reach: extreme numbers, labels, statistics, masks.
local sn = require "slugnet"
local core = require "slugnet.core"

local inf, nan = math.huge, 0 / 0
local function close(a, b, eps) assert.is_true(math.abs(a - b) <= (eps or 1e-6) * (1 + math.abs(b)), ("%s is not %s"):format(a, b)) end
local fails = dofile("tests/expect.lua").fails

describe("softmax", function()
  it("is right for numbers of any size", function()
    local y = sn.softmax(sn.tensor { { 1e30, -1e30, 1e30 }, { -inf, 0, -inf }, { 1000, 1001, -2000 } })
    assert.same({ { 0.5, 0, 0.5 }, { 0, 1, 0 } }, { y:totable()[1], y:totable()[2] })
    close(y:totable()[3][2], 1 / (1 + math.exp(-1)))
    local l = sn.log_softmax(sn.tensor({ 1000.0, 0.0 }, { dtype = "float64" })):totable()
    assert.same({ 0.0, -1000.0 }, l)
  end)
  it("gives NaN in the row that has it, or has nothing possible, and in no other", function()
    local y = sn.softmax(sn.tensor { { 1, nan, 2 }, { -inf, -inf, -inf }, { 0, 0, 0 } }):totable()
    for i = 1, 2 do
      for j = 1, 3 do assert.is_true(y[i][j] ~= y[i][j]) end
    end
    close(y[3][2], 1 / 3)
  end)
  it("sums to one along any dimension, whole and broken vectors alike", function()
    for _, n in ipairs { 1, 2, 7, 8, 9, 15, 16, 17, 33, 100 } do
      local x = sn.randn(3, n, 5) * 4
      for d = 1, 3 do close((sn.softmax(x, d):sum(d) - 1):abs():max():item(), 0, 1e-5) end
      local rows, columns = sn.softmax(x:transpose(2, 3)), sn.softmax(x, 2):transpose(2, 3)
      assert.is_true(rows:allclose(columns, { rtol = 1e-5, atol = 1e-7 }))
    end
  end)
end)

describe("a transposed copy", function()
  it("has every number in its place, whatever bytes lie between its lines", function()
    for _, d in ipairs { { 1024, 1024 }, { 300, 1024 }, { 1024, 77 }, { 1111, 200 }, { 16, 2048 }, { 2047, 31 } } do
      local rows, columns = sn.arange(d[1]):to("float32"):view(d[1], 1) * 4096, sn.arange(d[2]):to("float32"):view(1, d[2])
      local turned = (rows + columns):t():contiguous()
      assert.is_true(turned:equal(columns:view(d[2], 1) + rows:view(1, d[1])), d[1] .. " x " .. d[2])
    end
  end)
end)

describe("sums", function()
  it("have the same bits down columns and along rows, however few there are", function()
    for _, dtype in ipairs { "float32", "float64" } do
      for _, n in ipairs { 2, 3, 15, 16, 17, 31, 32, 33, 70 } do
        for _, width in ipairs { 4, 7, 16, 33, 300 } do
          local x = sn.randn(n, width, { dtype = dtype })
          x:select(1, 1):narrow(1, 1, 1):fill_(-0.0)
          for _, v in ipairs { x, -sn.zeros(n, width, { dtype = dtype }), x:narrow(2, 2, width - 2) } do
            local rows = v:t():contiguous()
            assert.equal(rows:sum(2):bytes(), v:sum(1):bytes(), ("%d rows of %d"):format(n, v:size(2)))
            assert.equal(rows:mean(2):bytes(), v:mean(1):bytes())
          end
        end
      end
    end
  end)

  it("are zero over planes without numbers", function()
    for _, shape in ipairs { { 0, 3, 4, 5 }, { 4, 3, 0, 5 }, { 4, 3, 5, 0 } } do
      assert.is_true(sn.zeros(shape):sum { 1, 3, 4 }:equal(sn.zeros(3)), table.concat(shape, "x"))
    end
  end)

  it("have the same bits over planes that lie apart as over a row", function()
    for _, dtype in ipairs { "float32", "float64" } do
      for _, d in ipairs { { 1, 7 }, { 3, 5 }, { 4, 8 }, { 1, 33 }, { 11, 11 }, { 26, 26 }, { 40, 41 }, { 70, 71 } } do
        local x = sn.randn({ 13, 3, d[1], d[2] }, { dtype = dtype })
        local rows = x:permute(2, 1, 3, 4):contiguous():reshape(3, -1)
        assert.is_true(x:sum { 1, 3, 4 }:equal(rows:sum(2)), dtype .. " " .. d[1] .. "x" .. d[2])
        assert.is_true(x:mean { 1, 3, 4 }:equal(rows:mean(2)))
      end
    end
  end)
end)

describe("losses over classes", function()
  it("do not overflow", function()
    local x = sn.tensor { { 1e4, -1e4 }, { -1e4, 1e4 } }:requires_grad_()
    local loss = sn.cross_entropy(x, sn.tensor({ 1, 1 }, { dtype = "int64" }))
    assert.equal(10000, loss:item())
    loss:backward()
    assert.same({ { 0, 0 }, { -0.5, 0.5 } }, x.grad:totable())
  end)
  it("take whole numbers of any type and one-hot rows alike", function()
    local x, w = sn.randn(6, 4, { dtype = "float64" }), sn.tensor({ 1, 2, 3, 4 }, { dtype = "float64" })
    local labels = { 1, 4, 2, 2, 3, 1 }
    local y = sn.tensor(labels, { dtype = "int64" })
    local want = sn.cross_entropy(x, y):item()
    for _, t in ipairs { "int32", "uint8", "float32", "float64" } do assert.equal(want, sn.cross_entropy(x, y:to(t)):item()) end
    local hot = sn.zeros(6, 4)
    for i, c in ipairs(labels) do hot[i][c] = 1 end
    close(sn.cross_entropy(x, hot):item(), want, 1e-14)
    close(sn.cross_entropy(x, hot:to("int64")):item(), want, 1e-14)
    close(sn.nll_loss(x:log_softmax(), y):item(), want, 1e-14)
    close(sn.categorical_cross_entropy(x:softmax(), y):item(), want, 1e-6)
    close(sn.cross_entropy(x, hot, w, { reduction = "sum" }):item(), sn.cross_entropy(x, y, w, { reduction = "sum" }):item(), 1e-14)
  end)
  it("say which label is wrong, where, and what would be right", function()
    local x = sn.randn(3, 4)
    local function ce(labels, t, o) return sn.cross_entropy(x, sn.tensor(labels, { dtype = t or "int64" }), o) end
    fails(function() return ce({ 1, 0, 2 }) end, "label 0 at position 2 of the target is outside 1..4")
    fails(function() return ce({ 1, 2, 5 }) end, "label 5 at position 3 of the target is outside 1..4")
    fails(function() return ce({ 1.5, 2, 3 }, "float32") end, "label 1.5 at position 1")
    fails(function() return ce({ 1, 2, nan }, "float32") end, "label nan at position 3")
    fails(function() return ce({ -100, 1, 2 }) end, "label -100 at position 1")
    close(ce({ -100, 1, 2 }, "int64", { ignore_index = -100 }):item(), sn.cross_entropy(x:narrow(1, 2, 2), sn.tensor({ 1, 2 },
      { dtype = "int64" })):item())
    fails(function() return sn.cross_entropy(x, sn.zeros(3, 1)) end, "class numbers of shape 3, or probabilities of shape 3x4")
    fails(function() return sn.cross_entropy(x, sn.zeros(3, { dtype = "bool" })) end, "class numbers of shape 3")
  end)
  it("of nothing are NaN as a mean and 0 as a sum", function()
    local y = sn.zeros(0, { dtype = "int64" })
    local m = sn.cross_entropy(sn.zeros(0, 4), y):item()
    assert.is_true(m ~= m)
    assert.equal(0, sn.cross_entropy(sn.zeros(0, 4), y, { reduction = "sum" }):item())
    local all = sn.cross_entropy(sn.zeros(2, 4), sn.tensor({ 3, 3 }, { dtype = "int64" }), { ignore_index = 3 }):item()
    assert.is_true(all ~= all)
  end)
  it("let a class of probability 0 learn", function()
    local p = sn.tensor({ { 0, 1 } }, { dtype = "float64" }):requires_grad_()
    sn.categorical_cross_entropy(p, sn.tensor({ 1 }, { dtype = "int64" })):backward()
    assert.same({ { -1e7, 0 } }, p.grad:totable())
    local q = sn.tensor({ 0.0, 1.0 }):requires_grad_()
    sn.binary_cross_entropy(q, sn.tensor { 1.0, 0.0 }, { epsilon = 1e-7 }):backward()
    local g = q.grad:totable()
    assert.is_true(g[1] < -1e6 and g[2] > 1e6)
  end)
  it("sum what they are element by element, whatever the weights broadcast to", function()
    for _, dtype in ipairs { "float32", "float64" } do
      for _, shape in ipairs { { 1 }, { 31 }, { 33, 65 }, { 2048 }, { 3, 2049 }, { 4, 3000 } } do
        local x, t = sn.randn(shape):to(dtype), sn.rand(shape):to(dtype)
        local last = shape[#shape]
        local weights = { false, sn.rand(shape):to(dtype), sn.rand { last }:to(dtype), sn.rand { 1 }:to(dtype), sn.tensor(0.3) }
        for _, w in ipairs(weights) do
          for _, q in ipairs(weights) do
            local parts = sn.bce_with_logits(x, t, w or nil, q or nil, { reduction = "none" }):to("float64")
            close(sn.bce_with_logits(x, t, w or nil, q or nil, { reduction = "sum" }):item(), parts:sum():item())
            close(sn.bce_with_logits(x, t, w or nil, q or nil):item(), parts:mean():item())
          end
        end
        close(sn.huber_loss(x, t, { delta = 0.5 }):item(), sn.huber_loss(x, t, { delta = 0.5, reduction = "none" }):to("float64"):mean():item())
      end
    end
  end)
  it("give equal bits for any number of threads", function()
    local before = core.threads()
    local x, y = sn.randn(3000, 37), sn.randint(1, 38, 3000)
    local a, b = sn.randn(60001), sn.rand(60001)
    local first
    for n = 1, 4 do
      core.threads(n)
      local all = { sn.cross_entropy(x, y), sn.cross_entropy(x, y, { label_smoothing = 0.1 }), sn.mse_loss(a, b), sn.bce_with_logits(a, b),
        sn.huber_loss(a, b) }
      first = first or all
      for k = 1, #all do assert.equal(first[k]:item(), all[k]:item()) end
    end
    core.threads(before)
  end)
end)

describe("dropout", function()
  it("drops a share p and keeps the mean", function()
    sn.manual_seed(3)
    local x = sn.ones(100000):requires_grad_()
    local y = sn.dropout(x, 0.3)
    local v = y:detach()
    close(v:mean():item(), 1, 0.01)
    close(v:eq(0):to("float32"):mean():item(), 0.3, 0.01)
    close(v:max():item(), 1 / 0.7)
    y:sum():backward()
    assert.is_true(x.grad:equal(v))
  end)
  it("gives the same bits whether or not its mask is kept, and leaves its input alone", function()
    local function numbers(t) -- all bits, but for those of NaN
      local list = t:detach():to("float64"):flatten():totable()
      for i, v in ipairs(list) do list[i] = v == v and ("%a"):format(v) or "nan" end
      return list
    end
    for _, dtype in ipairs { "float32", "float64", "bfloat16" } do
      local wide = sn.randn(40, 70):to(dtype)
      wide[1][1], wide[2][2], wide[3][3] = 1 / 0, 0 / 0, -0.0
      for _, x in ipairs { wide, wide:t(), wide[{ { 1, -1, 3 }, { 5, 60 } }], wide:narrow(1, 1, 1):expand(6, 70) } do
        local before = numbers(x)
        local function drawn(fn, v)
          sn.manual_seed(9)
          return numbers(fn(v, 0.3))
        end
        local want = drawn(sn.dropout, x:clone():requires_grad_())
        local program = sn.compile(function(v) return sn.dropout(v, 0.3) end)
        for _ = 1, 3 do
          assert.same(want, drawn(sn.dropout, x))
          assert.same(want, drawn(program, x))
        end
        assert.same(before, numbers(x))
      end
    end
  end)
  it("has a mask that only seed, position and element decide", function()
    local before = core.threads()
    local x, first = sn.ones(70003), nil
    for n = 1, 4 do
      core.threads(n)
      sn.manual_seed(9)
      local y = sn.dropout(x)
      first = first or y
      assert.is_true(first:equal(y))
      assert.is_false(first:equal(sn.dropout(x)))
    end
    core.threads(before)
  end)
  it("is the identity in evaluation and for p = 0, and nothing for p = 1", function()
    local x = sn.randn(5, 4)
    assert.is_true(x:equal(sn.dropout(x, 0.5, false)))
    assert.is_true(x:equal(sn.dropout(x, 0)))
    assert.is_true(sn.zeros(5, 4):equal(sn.dropout(x, 1):abs()))
  end)
  it("is drawn anew at every replay of a program, as eagerly", function()
    local f = sn.compile(function(x) return sn.dropout(x * 2, 0.4) end)
    local x, eager, replayed = sn.ones(50), {}, {}
    sn.manual_seed(4)
    for i = 1, 6 do eager[i] = sn.dropout(x * 2, 0.4) end
    sn.manual_seed(4)
    for i = 1, 6 do replayed[i] = f(x):clone() end
    for i = 1, 6 do assert.is_true(eager[i]:equal(replayed[i])) end
    assert.is_false(eager[1]:equal(eager[2]))
  end)
end)

describe("batch_norm", function()
  local function stats(x)
    local n, m, v = #x, 0, 0
    for i = 1, n do m = m + x[i] / n end
    for i = 1, n do v = v + (x[i] - m) ^ 2 / n end
    return m, v, n
  end
  it("normalises, and moves the running statistics by the unbiased variance", function()
    for _, shape in ipairs { { 7, 3 }, { 4, 3, 5 }, { 2, 3, 40, 30 }, { 200, 20 }, { 3, 2, 2000 }, { 70, 4, 3, 7 }, { 5, 16, 20, 20 } } do
      local x = sn.randn(table.unpack(shape)) * 3 + 1
      if #shape > 2 then x = x + sn.randn(shape[1]):mul(40):reshape(shape[1], table.unpack({ 1, 1, 1 }, 1, #shape - 1)) end -- images of means far apart
      local c = shape[2]
      local rm, rv = sn.ones(c) * 0.5, sn.ones(c) * 2
      local y = sn.batch_norm(x, nil, nil, rm, rv, { momentum = 0.25 })
      for k = 1, c, 3 do
        local v = x:select(2, k)
        v = v:reshape(v:numel()):totable()
        local m, var, n = stats(v)
        close(rm:totable()[k], 0.375 + 0.25 * m, 1e-5)
        close(rv:totable()[k], 1.5 + 0.25 * var * n / (n - 1), 1e-5)
        local z = y:select(2, k)
        z = z:reshape(z:numel()):totable()
        for i = 1, n, 7 do close(z[i], (v[i] - m) / math.sqrt(var + 1e-5), 1e-4) end
      end
      local e = sn.batch_norm(x, nil, nil, rm, rv, { training = false })
      local want = (x:transpose(2, #shape) - rm) / (rv + 1e-5):sqrt()
      assert.is_true(e:allclose(want:transpose(2, #shape), { rtol = 1e-4, atol = 1e-5 }))
    end
  end)
  it("writes no running statistics in evaluation and keeps what a backward needs", function()
    local x, rm, rv = sn.randn(4, 2):requires_grad_(), sn.zeros(2), sn.ones(2)
    local y = sn.batch_norm(x, nil, nil, rm, rv, { training = false })
    assert.same({ 0, 0 }, rm:totable())
    y:sum():backward()
    local t = sn.randn(4, 2):requires_grad_()
    local a = sn.batch_norm(t, nil, nil, rm, rv)
    local b = sn.batch_norm(t * 2, nil, nil, rm, rv) -- the statistics are written again before the first backward
    ;(a + b):square():sum():backward()
    assert.is_true(t.grad:isfinite():all():item())
  end)
  it("is not misled by a large mean", function()
    local x = sn.randn(64, 3, 10) + 1000
    local y = sn.batch_norm(x)
    close(y:mean():item(), 0, 1e-3)
    close(y:square():mean():item(), 1, 1e-2)
    local z = sn.layer_norm(sn.randn(16, 100) + 1000)
    close(z:square():mean():item(), 1, 1e-2)
  end)
  it("sums the gradients of weight and bias over any number of rows, on any number of threads", function()
    local before = core.threads()
    for _, rows in ipairs { 1, 31, 32, 33, 200 } do
      local x, g, w, b = sn.randn(rows, 150), sn.randn(rows, 150), sn.randn(150):requires_grad_(), sn.zeros(150):requires_grad_()
      local first
      for threads = 1, 4 do
        sn.threads(threads)
        w.grad, b.grad = nil, nil
        x:layer_norm(w, b):backward(g)
        local both = sn.cat({ w.grad, b.grad }, 1)
        first = first or both
        assert.is_true(both:equal(first))
      end
      sn.threads(before)
      local normed = (x - x:mean(2, true)) / (x:var(2, true, false) + 1e-5):sqrt()
      assert.is_true(((g * normed):sum(1) - w.grad):abs():max():item() < 1e-4)
      assert.is_true((g:sum(1) - b.grad):abs():max():item() < 1e-4)
    end
  end)
  it("computes halves in float32 and gives halves", function()
    local x = sn.randn(8, 3):to("bfloat16")
    local rm, rv = sn.zeros(3), sn.ones(3)
    local y = sn.batch_norm(x, nil, nil, rm, rv)
    assert.equal("bfloat16", y.dtype)
    assert.equal("float32", rm.dtype)
    assert.is_true(y:to("float32"):allclose(sn.batch_norm(x:to("float32")), { rtol = 1e-2, atol = 1e-2 }))
  end)
  it("replays as it ran, statistics included", function()
    local x = sn.randn(8, 3, 4)
    local rm, rv, qm, qv = sn.zeros(3), sn.ones(3), sn.zeros(3), sn.ones(3)
    local f = sn.compile(function(t) return sn.batch_norm(t, nil, nil, qm, qv) end)
    for i = 1, 5 do
      local a, b = sn.batch_norm(x * i, nil, nil, rm, rv), f(x * i)
      assert.is_true(a:equal(b))
    end
    assert.is_true(rm:equal(qm) and rv:equal(qv))
  end)
end)
