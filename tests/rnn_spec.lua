-- rnn_spec.lua - LSTM and GRU: sequences against single steps and plain formulas, states, threads, layers, gradients, errors.
local sn = require "slugnet"

local expect = dofile("tests/expect.lua")
local fails, close = expect.fails, expect.close

local function weights(gates, f, h, options)
  local k = 1 / math.sqrt(h)
  local function w(...) return (sn.rand({ ... }, options) * 2 - 1) * k end
  return w(gates * h, f), w(gates * h, h), w(gates * h), w(gates * h)
end

-- The formulas, step by step, in operations that are tested elsewhere.
local function plain_lstm(x, h, c, w, u, b, d)
  local ys, n = {}, h:size(2)
  for t = 1, x:size(2) do
    local a = sn.linear(x:select(2, t), w, b) + sn.linear(h, u, d)
    local i, f, g, o = a:split(n, 2)
    c = f:sigmoid() * c + i:sigmoid() * g:tanh()
    h = o:sigmoid() * c:tanh()
    ys[t] = h
  end
  return sn.stack(ys, 2), h, c
end
local function plain_gru(x, h, w, u, b, d)
  local ys, n = {}, h:size(2)
  for t = 1, x:size(2) do
    local ir, iz, inn = sn.linear(x:select(2, t), w, b):split(n, 2)
    local hr, hz, hn = sn.linear(h, u, d):split(n, 2)
    local r, z = (ir + hr):sigmoid(), (iz + hz):sigmoid()
    local fresh = (inn + r * hn):tanh()
    h = fresh + z * (h - fresh)
    ys[t] = h
  end
  return sn.stack(ys, 2), h
end

-- Results and gradients of everything.
local function all_of(fn, inputs, probes)
  for _, t in ipairs(inputs) do t:requires_grad_() end
  local out = table.pack(fn(table.unpack(inputs)))
  local loss
  for i = 1, out.n do
    local part = (out[i] * probes[i]):sum()
    loss = loss and loss + part or part
  end
  local list = sn.grad(loss, inputs)
  for i = 1, out.n do list[#list + 1] = out[i]:detach() end
  return list
end

describe("sequences", function()
  -- sizes across tails of vectors, blocks of the product (above 384 terms), and the paths of a few and of many rows
  local sizes = { { 1, 1, 3, 2 }, { 2, 2, 17, 19 }, { 1, 4, 5, 33 }, { 3, 7, 5, 16 }, { 7, 5, 20, 37 }, { 2, 3, 4, 140 }, { 26, 4, 9, 17 } }
  for _, s in ipairs(sizes) do
    local n, t, f, h = table.unpack(s)
    it(("give what the formulas give, %d x %d x %d and %d hidden"):format(n, t, f, h), function()
      sn.manual_seed(n + h)
      for _, dtype in ipairs { "float64", "float32" } do
        local o = { dtype = dtype }
        local tolerance = dtype == "float64" and 1e-11 or 3e-4
        local x, h0, c0 = sn.randn(n, t, f, o), sn.randn(n, h, o), sn.randn(n, h, o)
        local probes = { sn.randn(n, t, h, o), sn.randn(n, h, o), sn.randn(n, h, o) }
        local lstm = { x, h0, c0, weights(4, f, h, o) }
        local got, want = all_of(sn.lstm, lstm, probes), all_of(plain_lstm, lstm, probes)
        for i = 1, #want do close(got[i], want[i], tolerance) end
        local gru = { x, h0, weights(3, f, h, o) }
        got, want = all_of(sn.gru, gru, probes), all_of(plain_gru, gru, probes)
        for i = 1, #want do close(got[i], want[i], tolerance) end
      end
    end)
  end

  it("are the same bits without gradients, alone or in a batch, whole or in parts", function()
    sn.manual_seed(1)
    local w, u, b, d = weights(4, 6, 20)
    local x = sn.randn(5, 12, 6)
    local y, hn, cn = sn.lstm(x, nil, nil, w, u, b, d)
    local tracked = sn.lstm(x:clone():requires_grad_(), nil, nil, w, u, b, d)
    assert.is_true(y:equal(tracked:detach()))
    assert.is_true(y[{ { 3, 3 } }]:equal((sn.lstm(x[{ { 3, 3 } }], nil, nil, w, u, b, d))))
    local y1, h1, c1 = sn.lstm(x:narrow(2, 1, 5), nil, nil, w, u, b, d)
    local y2, h2, c2 = sn.lstm(x:narrow(2, 6, 7), h1, c1, w, u, b, d)
    assert.is_true(y:equal(sn.cat({ y1, y2 }, 2)))
    assert.is_true(hn:equal(h2) and cn:equal(c2))
    local many = sn.lstm(sn.cat({ x, x, x, x, x }, 1), nil, nil, w, u, b, d)
    assert.is_true(y:equal(many:narrow(1, 21, 5)))
    local g, v, e, k = weights(3, 6, 20)
    local z, zn = sn.gru(x, nil, g, v, e, k)
    local z1, s1 = sn.gru(x:narrow(2, 1, 5), nil, g, v, e, k)
    local z2, s2 = sn.gru(x:narrow(2, 6, 7), s1, g, v, e, k)
    assert.is_true(z:equal(sn.cat({ z1, z2 }, 2)) and zn:equal(s2))
  end)

  it("are a chain of cells", function()
    sn.manual_seed(2)
    local w, u, b, d = weights(4, 6, 20)
    local x, h, c = sn.randn(3, 5, 6)
    local y = sn.lstm(x, nil, nil, w, u, b, d)
    for t = 1, 5 do
      h, c = sn.lstm_cell(x:select(2, t), h, c, w, u, b, d)
      close(h, y:select(2, t))
    end
    local g, v = weights(3, 6, 20)
    y, h = sn.gru(x, nil, g, v), nil
    for t = 1, 5 do
      h = sn.gru_cell(x:select(2, t), h, g, v)
      close(h, y:select(2, t))
    end
  end)

  it("give equal bits on 1 to 4 threads", function()
    sn.manual_seed(3)
    local before, first = sn.threads(), nil
    local x, h0, c0 = sn.randn(29, 9, 30), sn.randn(29, 64), sn.randn(29, 64)
    local lstm, gru = { x, h0, c0, weights(4, 30, 64) }, { x, h0, weights(3, 30, 64) }
    local probes = { sn.randn(29, 9, 64), sn.randn(29, 64), sn.randn(29, 64) }
    for threads = 1, 4 do
      sn.threads(threads)
      local list = all_of(sn.lstm, lstm, probes)
      for _, t in ipairs(all_of(sn.gru, gru, probes)) do list[#list + 1] = t end
      first = first or list
      for i = 1, #list do assert.is_true(list[i]:equal(first[i]), ("result %d on %d threads"):format(i, threads)) end
    end
    sn.threads(before)
  end)

  it("take halves, non-contiguous inputs and mixed number types", function()
    sn.manual_seed(4)
    local w, u, b, d = weights(4, 6, 8)
    local x = sn.randn(7, 3, 6)
    local y = sn.lstm(x:transpose(1, 2), nil, nil, w, u, b, d)
    assert.is_true(y:equal((sn.lstm(x:transpose(1, 2):contiguous(), nil, nil, w, u, b, d))))
    assert.equal("float64", sn.lstm(x:to("float64"), nil, nil, w, u).dtype)
    local half = sn.lstm(x:to("bfloat16"), nil, nil, w:to("bfloat16"), u:to("bfloat16"))
    assert.equal("bfloat16", half.dtype)
    close(half, (sn.lstm(x, nil, nil, w, u)), 0.05)
    assert.same({ 0, 3, 8 }, sn.lstm(sn.zeros(0, 3, 6), nil, nil, w, u):size())
  end)

  it("say what is wrong", function()
    local w, u = weights(4, 6, 8)
    fails(function() sn.lstm(sn.ones(2, 6), nil, nil, w, u) end, "lstm", "n x steps x features", "2x6")
    fails(function() sn.lstm(sn.ones(2, 3, 5), nil, nil, w, u) end, "5 features", "wants 6")
    fails(function() sn.lstm(sn.ones(2, 3, 6), sn.ones(3, 8), nil, w, u) end, "state h is 3x8", "2x8")
    fails(function() sn.lstm(sn.ones(2, 0, 6), nil, nil, w, u) end, "without steps")
    fails(function() sn.lstm(sn.ones(2, 3, 6), nil, nil, u, w) end, "w_hh is 32x6")
    local x = sn.ones(2, 3, 6):requires_grad_()
    local y = sn.lstm(x, nil, nil, w, u):sum()
    fails(function() sn.grad(y, { x }, { create_graph = true }) end, "cannot itself be differentiated")
  end)
end)

-- An embedding's rows: products with the input's weights are those of the table's rows where the input is much longer.
describe("sequences of an embedding's rows", function()
  local shapes = { { 26, 9, 7, 5, 17 }, { 3, 12, 8, 4, 33 }, { 40, 2, 20, 130, 9 }, { 5, 1, 1, 6, 3 } } -- n, steps, rows of the table, features, hidden
  for _, s in ipairs(shapes) do
    local n, t, rows, f, h = table.unpack(s)
    it(("give what the formulas give, %d x %d of %d rows, %d features and %d hidden"):format(n, t, rows, f, h), function()
      sn.manual_seed(n + h)
      local index = sn.randint(1, rows + 1, { t, n }):transpose(1, 2) -- not contiguous
      index = sn.where(index:ne(2), index, 1) -- row 2 does not occur
      for _, dtype in ipairs { "float64", "float32" } do
        local o = { dtype = dtype }
        local tolerance = dtype == "float64" and 1e-11 or 1e-3
        for _, padding in ipairs { false, rows } do
          local options = padding and { padding_idx = padding } or nil
          local function of(fn) return function(table_, ...) return fn(sn.embedding(index, table_, options), ...) end end
          local e, h0, c0 = sn.randn(rows, f, o), sn.randn(n, h, o), sn.randn(n, h, o)
          local probes = { sn.randn(n, t, h, o), sn.randn(n, h, o), sn.randn(n, h, o) }
          local lstm = { e, h0, c0, weights(4, f, h, o) }
          local got, want = all_of(of(sn.lstm), lstm, probes), all_of(of(plain_lstm), lstm, probes)
          for i = 1, #want do close(got[i], want[i], tolerance) end
          local gru = { e, h0, weights(3, f, h, o) }
          got, want = all_of(of(sn.gru), gru, probes), all_of(of(plain_gru), gru, probes)
          for i = 1, #want do close(got[i], want[i], tolerance) end
        end
      end
    end)
  end

  local function example()
    sn.manual_seed(21)
    local w, u, b, d = weights(4, 6, 20)
    return sn.randint(1, 6, { 8, 9 }), sn.randn(5, 6):requires_grad_(), w:requires_grad_(), u, b, d
  end

  it("are known in programs too, with the same bits", function()
    local index, e, w, u = example()
    local function step(at)
      e.grad, w.grad = nil, nil
      local loss = sn.lstm(sn.embedding(at, e), nil, nil, w, u):square():sum()
      loss:backward()
      return loss:detach()
    end
    local loss = step(index)
    local ge, gw = e.grad, w.grad
    local run = sn.compile(step)
    for _ = 1, 3 do
      assert.is_true(run(index):equal(loss))
      assert.is_true(e.grad:equal(ge) and w.grad:equal(gw))
    end
    assert.is_true(run:count().replayed > 0)
    local plan = run:explain()
    assert.matches("rnn_backward[^\n]*%-> 5x6", plan:gsub("%a+:(%d)", "%1")) -- the table's gradient, no 8x9x6
  end)

  it("have a gradient of their own when it is asked for", function()
    local index, e, w, u, b, d = example()
    local probe = sn.randn(8, 9, 20)
    local function loss_of(x, ...) return ((...)(x, nil, nil, w, u, b, d) * probe):sum() end
    local x = sn.embedding(index, e)
    local gx, ge, gw = table.unpack(sn.grad(loss_of(x, sn.lstm), { x, e, w }))
    local y = x:detach():requires_grad_()
    local want, of_w = table.unpack(sn.grad(loss_of(y, sn.lstm), { y, w }))
    assert.is_true(gx:equal(want))
    close(gw, of_w, 1e-4)
    close(ge, sn.zeros(5, 6):index_add(1, index:flatten(), want:reshape(72, 6)), 1e-4)
    -- used twice: once by the layer, once besides
    x = sn.embedding(index, e)
    local both = sn.grad(loss_of(x, sn.lstm) + x:square():sum(), { e })[1]
    x = sn.embedding(index, e)
    close(both, ge + sn.grad(x:square():sum(), { e })[1], 1e-4)
    -- walked twice
    local twice = loss_of(sn.embedding(index, e), sn.lstm)
    twice:backward(nil, { retain_graph = true })
    twice:backward()
    close(e.grad, ge * 2, 1e-4)
  end)

  it("leave rows that do not occur without gradient, even among NaN", function()
    local index, e, w, u = example()
    index = index:clamp(1, 3)
    w = (w:detach() * (0 / 0)):requires_grad_()
    sn.lstm(sn.embedding(index, e), nil, nil, w, u):sum():backward()
    assert.same({ 0, 0, 0, 0, 0, 0 }, e.grad[4]:totable())
    assert.is_true(e.grad[1]:isnan():all():item())
  end)

  it("are what they were when numbers or rows are overwritten before the layer", function()
    local index, e, w, u = example()
    local x = sn.embedding(index, e)
    local want = sn.lstm(x:detach(), nil, nil, w, u):detach()
    do
      local _ <close> = sn.no_grad()
      e:fill_(7)
    end
    assert.is_true(sn.lstm(x, nil, nil, w, u):detach():equal(want))
    index:fill_(1)
    local y = sn.lstm(x, nil, nil, w, u)
    assert.is_true(y:detach():equal(want))
    fails(function() y:sum():backward() end, "embedding", "overwritten")
    -- and between the layer and the gradient
    index, e = example()
    y = sn.lstm(sn.embedding(index, e), nil, nil, w, u)
    index:fill_(1)
    fails(function() y:sum():backward() end, "overwritten")
  end)
end)

-- Gradients of every parameter against central differences in float64.
local function check_gradients(layer, x)
  layer(x)
  layer:to("float64")
  x = x:to("float64")
  local probe = sn.randn(layer(x):size(), { dtype = "float64" })
  local function loss() return (layer(x) * probe):sum() end
  layer:zero_grad()
  loss():backward()
  for n, p in ipairs(layer:parameters()) do
    local flat, got = p:detach():reshape(p:numel()), p.grad:reshape(p:numel())
    for i = 1, #flat do
      local was, h = flat[i], 1e-5
      flat[i] = was + h
      local up = loss():item()
      flat[i] = was - h
      local want = (up - loss():item()) / (2 * h)
      flat[i] = was
      assert.is_true(math.abs(got[i] - want) <= 1e-6 * math.max(1, math.abs(want)), ("%s: parameter %d, element %d"):format(layer:describe(), n, i))
    end
  end
end

describe("layers", function()
  it("have PyTorch's names and shapes", function()
    local l = sn.LSTM { 4, num_layers = 2, bidirectional = true, inshape = 3 }
    local tensors, names = l:named()
    assert.same({ "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_ih_l0_reverse", "weight_hh_l0_reverse", "bias_ih_l0_reverse",
      "bias_hh_l0_reverse", "weight_ih_l1", "weight_hh_l1", "bias_ih_l1", "bias_hh_l1", "weight_ih_l1_reverse", "weight_hh_l1_reverse",
      "bias_ih_l1_reverse", "bias_hh_l1_reverse" }, names)
    assert.same({ 16, 3 }, tensors.weight_ih_l0:size())
    assert.same({ 16, 8 }, tensors.weight_ih_l1:size())
    assert.is_true(tensors.weight_ih_l0:abs():max():item() <= 0.5)
    assert.equal("LSTM 3 -> 4, 2 layers, both directions", tostring(l))
    local _, plain = sn.GRU({ 5, bias = false, inshape = { 7, 3 } }):named()
    assert.same({ "weight_ih_l0", "weight_hh_l0" }, plain)
    assert.same({ 7, 5 }, sn.GRU({ 5 }):build { 7, 3 })
    assert.equal(l.weight_hh_l1, tensors.weight_hh_l1)
  end)
  it("give y alone, and states by step", function()
    sn.manual_seed(5)
    local x = sn.randn(3, 6, 4)
    local l = sn.LSTM { 5, num_layers = 2 }
    local out = table.pack(l(x))
    assert.equal(1, out.n)
    local y, h, c = l:step(x)
    assert.is_true(y:equal(out[1]))
    assert.same({ 2, 3, 5 }, h:size())
    assert.is_true(h[2]:equal(y:select(2, 6)))
    local y1, h1, c1 = l(x:narrow(2, 1, 5), nil, nil)
    local y2, h2, c2 = l(x:select(2, 6), h1, c1)
    assert.same({ 3, 5 }, y2:size())
    close(y2, y:select(2, 6))
    close(h2, h)
    close(c2, c)
    assert.is_true(y1:equal(y:narrow(2, 1, 5)))
    local g = sn.GRU { 5 }
    local z, s = g:step(x)
    assert.is_true(z:equal(g(x)))
    assert.same({ 1, 3, 5 }, s:size())
    assert.equal(2, select("#", g(x, s)))
    fails(function() l(x, sn.zeros(1, 3, 5), nil) end, "LSTM 4 -> 5", "state h is 1x3x5", "2x3x5")
    fails(function() g(x, s, s) end, "one state")
    fails(function() sn.Dense { 2, inshape = 4 }(x, x) end, "one tensor")
    fails(function() return sn.Dense({ 2 }).step end, "step")
  end)
  it("run backwards too", function()
    sn.manual_seed(6)
    local l = sn.GRU { 3, bidirectional = true }
    local x = sn.randn(2, 4, 5)
    local y, h = l:step(x)
    assert.same({ 2, 4, 6 }, y:size())
    local p = l:state()
    local back = sn.gru(x:flip { 2 }, nil, p.weight_ih_l0_reverse, p.weight_hh_l0_reverse, p.bias_ih_l0_reverse, p.bias_hh_l0_reverse)
    close(y:narrow(3, 4, 3), back:flip { 2 })
    close(h[2], y:narrow(3, 4, 3):select(2, 1))
  end)
  it("give the last states alone when told so", function()
    sn.manual_seed(11)
    local l = sn.LSTM { 4, num_layers = 2, bidirectional = true, last = true }
    assert.same({ 8 }, l:build { 7, 3 })
    local x = sn.randn(2, 7, 3)
    local y, h = l:step(x)
    assert.same({ 2, 7, 8 }, y:size())
    assert.is_true(l(x):equal(sn.cat({ h[3], h[4] }, 2)))
    local net = sn.Sequential(sn.GRU { 5, last = true, inshape = { 7, 3 } }, sn.Dense { 2 })
    assert.same({ 2, 2 }, net(x):size())
    -- in a Model: which of two tokens comes more often
    local X = sn.randint(1, 3, { 200, 9 })
    local Y = X:to("float32"):mean(2):gt(1.5):to("int64") + 1
    local model = sn.Model { lr = 0.02, n_epoch = 6, batch_size = 20, seed = 1, progress = false, optimizer = sn.Adam {},
      layers = { sn.Embedding { 2, 4, inshape = 9 }, sn.LSTM { 8, last = true }, sn.Dense { 2, activation = sn.Softmax() } } }
    model:fit(X, Y)
    assert.is_true(model:evaluate(X, Y).accuracy > 0.9)
  end)
  it("train to the same bits on 1 to 4 threads", function()
    local before, first = sn.threads(), nil
    for threads = 1, 4 do
      sn.threads(threads)
      sn.manual_seed(12)
      local net = sn.Sequential(sn.LSTM { 48, num_layers = 2, inshape = 24 }, sn.GRU { 32 }, sn.Dense { 5 })
      local x, y = sn.randn(37, 11, 24), sn.randint(1, 6, { 37 * 11 })
      net:build { 11, 24 }
      local opt = sn.RMSProp(net:parameters(), { lr = 0.005 })
      for _ = 1, 5 do
        opt:zero_grad()
        sn.cross_entropy(net(x):flatten(1, 2), y):backward()
        opt:step()
      end
      local all = {}
      for i, p in ipairs(net:parameters()) do all[i] = p:detach():flatten() end
      local bits = sn.cat(all, 1)
      first = first or bits
      assert.is_true(bits:equal(first), "on " .. threads .. " threads")
    end
    sn.threads(before)
  end)
  it("drop between layers in training only", function()
    sn.manual_seed(7)
    local l = sn.LSTM { 8, num_layers = 2, dropout = 0.5 }
    local x = sn.randn(2, 4, 5)
    assert.is_false(l(x):equal(l(x)))
    l:eval()
    assert.is_true(l(x):equal(l(x)))
    fails(function() sn.LSTM { 8, dropout = 2 } end, "dropout is 2")
    fails(function() sn.LSTM { 0 } end, "hidden_size is 0")
    fails(function() sn.GRU { 8, num_layers = 17 } end, "1 to 16")
    fails(function() sn.LSTM { 8, inshape = 3 }(x) end, "5 features", "wants 3")
    fails(function() l(sn.ones(2, 4, 6)) end, "LSTM 5 -> 8, 2 layers", "6 features")
    fails(function() l(sn.ones(2, 5)) end, "n x steps x features")
  end)
  it("have cells for single steps", function()
    sn.manual_seed(8)
    local cell, gru = sn.LSTMCell { 5 }, sn.GRUCell { 5, bias = false }
    local x = sn.randn(2, 3)
    local h, c = cell(x, nil, nil)
    assert.same({ 2, 5 }, c:size())
    assert.is_true(h:equal(cell(x)))
    local h2, c2 = cell:step(x)
    assert.is_true(h2:equal(h) and c2:equal(c))
    h2 = cell(x, h, c)
    assert.is_false(h2:equal(h))
    local s = gru(x)
    assert.same({ 2, 5 }, gru(x, s):size())
    assert.same({ "weight_ih", "weight_hh" }, (select(2, gru:named())))
    fails(function() cell(sn.ones(2, 4, 3)) end, "features")
    fails(function() gru(x, s, s) end, "one state")
  end)
  it("have right gradients", function()
    sn.manual_seed(9)
    check_gradients(sn.LSTM { 3, num_layers = 2, bidirectional = true }, sn.randn(2, 4, 3))
    check_gradients(sn.GRU { 3, num_layers = 2 }, sn.randn(2, 4, 3))
    check_gradients(sn.LSTMCell { 3 }, sn.randn(2, 4))
    check_gradients(sn.GRUCell { 3 }, sn.randn(5, 4))
  end)
  it("learn, compiled as eager and after saving", function()
    local X = sn.randint(1, 5, { 64, 8 })
    local y = X:select(2, 1):clone() -- the first token decides: it must be remembered
    local path = os.tmpname()
    local last
    for _, compile in ipairs { false, true } do
      sn.manual_seed(10)
      local embed, lstm, head = sn.Embedding { 4, 8 }, sn.LSTM { 16 }, sn.Dense { 4, inshape = 16 }
      local net = sn.Sequential(embed, lstm)
      net:build { 8 }
      local params = net:parameters()
      for _, p in ipairs(head:parameters()) do params[#params + 1] = p end
      local opt = sn.Adam(params, { lr = 0.02 })
      local function step(xb, yb)
        opt:zero_grad()
        local loss = sn.cross_entropy(head(net(xb):select(2, 8)), yb)
        loss:backward()
        opt:step()
        return loss:detach()
      end
      local run = compile and sn.compile(step) or step
      local loss
      for _ = 1, 60 do loss = run(X, y) end
      assert.is_true(loss:item() < 0.3, "loss " .. loss:item())
      local bits = lstm.weight_hh_l0:detach():clone()
      if last then assert.is_true(bits:equal(last), "compiled training has other bits") end
      last = bits
      local again = sn.from_config(net:config())
      again:build { 8 }
      again:load_state(net:state())
      assert.is_true(again(X):equal(net(X)))
    end
    os.remove(path)
  end)
end)

describe("an allocation that fails", function()
  local function settle()
    for _ = 1, 3 do collectgarbage() end
    return sn.memory()
  end
  local function work()
    local l = sn.LSTM { 5, num_layers = 2, bidirectional = true, dropout = 0.2 }
    local g, c, m = sn.GRU { 6, last = true }, sn.LSTMCell { 4 }, sn.MultiheadAttention { 10, 2, causal = true }
    local x = sn.randn(3, 4, 7)
    local y = m(l(x))
    local z = g(y):sum() + y:sum()
    local h, cc = c(x:select(2, 1), nil, nil)
    h, cc = c(x:select(2, 2), h, cc)
    z = z + h:sum() + cc:sum()
    z:backward()
    local q = sn.randn(1, 2, 3, 4)
    sn.scaled_dot_product_attention(q, q, q, sn.ones(3, 3):gt(0))
    l:step(x)
  end
  it("in recurrent layers or attention is an error in words and leaves nothing behind", function()
    sn.manual_seed(13)
    work()
    work()
    local base = settle()
    for _, on in ipairs { false, true } do
      local n, failed = 1, 1
      while failed > 0 do
        assert.is_true(n < 5000)
        sn.fail_after(n, on)
        local ok, msg = pcall(work)
        failed = sn.fail_after(0)
        assert.is_true(ok or tostring(msg):lower():find("memory") ~= nil, ("allocation %d: %s"):format(n, tostring(msg)))
        n = n + (on and 5 or 2)
      end
    end
    local now = settle()
    assert.is_true(now.live <= base.live, (now.live - base.live) .. " bytes of tensors")
    assert.is_true(now.small <= base.small + 8, (now.small - base.small) .. " structures")
  end)
end)

describe("the example", function()
  it("char_lstm.lua runs", function()
    local program = (os.getenv("BUILD") or "build") .. "/bin/slugnet"
    local f = io.open(program)
    if not f then return pending("no " .. program) end
    f:close()
    local p = assert(io.popen("SLUGNET_QUICK=1 " .. program .. " examples/char_lstm.lua 2>&1"))
    local out = p:read("a")
    assert.is_true(p:close() == true, out)
    assert.is_truthy(out:find("bits per character", 1, true))
  end)
end)
