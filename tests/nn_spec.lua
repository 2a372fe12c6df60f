-- nn_spec.lua - layers and losses: shapes, numbers, gradients, names, saving, and layers written in Lua.
local sn = require "slugnet"

-- Arguments with which every class can be made, and the shape of a sample its layers take.
local made = {
  Dense = { "sn.Dense{3}", { 4 } }, Dropout = { "sn.Dropout(0.3)", { 4 } }, Flatten = { "sn.Flatten()", { 2, 3, 3 } }, Noop = { "sn.Noop()", { 4 } },
  Sequential = { "sn.Sequential(sn.Dense{3}, sn.ReLU())", { 4 } }, Residual = { "sn.Residual(sn.Dense{4})", { 4 } },
  Convolution = { "sn.Convolution{2, {3, 2}}", { 2, 5, 5 } }, Conv2d = { "sn.Conv2d{4, 3, padding=1, stride=2, groups=2}", { 2, 5, 5 } },
  MeanPooling = { "sn.MeanPooling{{2, 2}}", { 2, 4, 4 } }, AvgPool2d = { "sn.AvgPool2d{2}", { 2, 4, 4 } },
    MaxPool2d = { "sn.MaxPool2d{3, stride=1}", { 2, 4, 4 } },
  BatchNorm1d = { "sn.BatchNorm1d{}", { 4 } }, BatchNorm2d = { "sn.BatchNorm2d{}", { 2, 3, 3 } }, LayerNorm = { "sn.LayerNorm{}", { 4 } },
  AdaptiveAvgPool2d = { "sn.AdaptiveAvgPool2d{{2, 3}}", { 2, 5, 7 } }, LSTM = { "sn.LSTM{3, num_layers=2, bidirectional=true, dropout=0.1}", { 5, 4 } },
  GRU = { "sn.GRU{3, num_layers=2, bias=false}", { 5, 4 } }, LSTMCell = { "sn.LSTMCell{3}", { 4 } }, GRUCell = { "sn.GRUCell{3}", { 4 } },
  MultiheadAttention = { "sn.MultiheadAttention{6, 2, causal=true}", { 5, 6 } },
  Embedding = { "sn.Embedding{7, 3}" }, Constant = { "sn.Constant(2)" },
}

local function make(name) return load("local sn = require 'slugnet' return " .. (made[name] and made[name][1] or "sn." .. name .. "()"))() end

local fails = dofile("tests/expect.lua").fails

local function near(a, b, tolerance) assert.is_true(math.abs(a - b) <= (tolerance or 1e-6) * math.max(1, math.abs(b)),
  ("%.10g, should be %.10g"):format(a, b)) end

-- The gradient of every parameter against central differences, all in float64.
local function check_gradients(layer, x, ...)
  local more = { ... }
  layer(x)
  layer:to("float64")
  x = x.dtype == "float32" and x:to("float64") or x
  sn.manual_seed(3)
  local probe = sn.randn(layer(x):size(), { dtype = "float64" })
  local function loss() return (layer(x) * probe):sum() end
  layer:zero_grad()
  loss():backward()
  for n, p in ipairs(layer:parameters()) do
    local flat = p:detach():reshape(p:numel())
    local got = p.grad:reshape(p:numel()):totable()
    for i = 1, #got do
      local was, h = flat[i], 1e-5
      flat[i] = was + h
      local up = loss():item()
      flat[i] = was - h
      local down = loss():item()
      flat[i] = was
      local want = (up - down) / (2 * h)
      assert.is_true(math.abs(got[i] - want) <= 1e-6 * math.max(1, math.abs(want)),
        ("%s: parameter %d, element %d: %.9g, differences give %.9g%s"):format(layer:describe(), n, i, got[i], want, more[1] or ""))
    end
  end
end

describe("every class", function()
  for _, c in ipairs(sn.classes()) do
    it(c.name .. " can be made, described, written down and made again", function()
      local o = make(c.name)
      assert.equal(c.name, o.class)
      assert.equal(c.family, o.family)
      assert.is_truthy(o:describe():find(c.name, 1, true))
      assert.equal(tostring(o), o:describe())
      local config = o:config()
      local text = sn.json_encode(config)
      local again = sn.from_config(sn.json_decode(text))
      assert.same(config, again:config())
      assert.is_nil(o.name)
      o.name = "thing"
      assert.equal("thing", o.name)
      assert.equal("thing", sn.from_config(o:config()).name)
    end)
    it(c.name .. " refuses an option that does not exist", function()
      fails(function() sn[c.name] { no_such_option = 1 } end, c.name)
    end)
    if c.family == "layer" and made[c.name] and made[c.name][2] then
      it(c.name .. " knows its output's shape without running", function()
        local o, shape = make(c.name), made[c.name][2]
        local out = o:build(shape)
        assert.same(out, o.outshape)
        assert.same(shape, o.inshape)
        sn.manual_seed(1)
        local y = o(sn.randn(5, table.unpack(shape)))
        local size = y:size()
        assert.equal(5, table.remove(size, 1))
        assert.same(out, size)
        assert.same(out, o:build(shape))
      end)
    end
  end
end)

describe("Dense", function()
  it("is the affine map and its activation", function()
    local d = sn.Dense { 2, inshape = 3, activation = "relu" }
    local w, b = table.unpack(d:parameters())
    assert.same({ 2, 3 }, w:size())
    local _ <close> = sn.no_grad()
    b:copy_(sn.tensor { 0.5, -0.25 })
    local x = sn.tensor { { 1, 2, 3 }, { -1, 0, 2 } }
    assert.is_true(d(x):allclose((x:matmul(w:t()) + b):relu()))
    assert.is_true(d.activation.class == "ReLU" and d.units == 2)
  end)
  it("takes an activation and an initialiser as object or by name", function()
    assert.equal("LeakyReLU", sn.Dense { 2, activation = "leaky_relu" }.activation.class)
    assert.equal("Tanh", sn.Dense { 2, activation = sn.Tanh() }.activation.class)
    assert.equal("HeNormal", sn.Dense { 2, init = "he_normal" }:config().args.init.class)
    fails(function() sn.Dense { 2, activation = "rely" } end, "activation", "did you mean 'ReLU'")
    fails(function() sn.Dense { 2, activation = sn.Zero() } end, "activation", "layer")
    fails(function() sn.Dense { 2, init = sn.ReLU() } end, "init", "initialiser")
    fails(function() sn.Dense { 2, activation = sn.ReLU } end, "a class is called")
  end)
  it("works without bias, positionally and on more dimensions", function()
    local d = sn.Dense(4, { bias = false })
    assert.same({ 2, 5, 4 }, d(sn.ones(2, 5, 3)):size())
    assert.equal(1, #d:parameters())
    assert.equal(12, (d:count()))
  end)
  it("checks what it is given", function()
    fails(function() sn.Dense {} end, "units", "missing")
    fails(function() sn.Dense { 0 } end, "units is 0")
    fails(function() sn.Dense { 2.5 } end, "units", "integer")
    fails(function() sn.Dense { 2, inshape = 0 } end, "inshape")
    fails(function() sn.Dense { 2, inshape = 4 }(sn.ones(2, 5)) end, "Dense 4 -> 2", "5 features", "4")
    fails(function() sn.Dense { 2, inshape = 4, name = "fc1" }(sn.ones(2, 5)) end, "'fc1'")
    fails(function() sn.Dense { 2 }(5) end, "batch")
    fails(function() sn.Dense { 2 }("x") end, "tensor")
    fails(function() sn.Dense { 2 }:parameters() end, "inshape")
    local t = sn.ones(2, 4)
    t:close()
    fails(function() sn.Dense { 2 }(t) end, "closed")
  end)
  it("has right gradients", function()
    sn.manual_seed(1)
    check_gradients(sn.Dense { 3, activation = "tanh" }, sn.randn(4, 5))
  end)
end)

describe("gradients of the other layers", function()
  it("are those of differences", function()
    sn.manual_seed(1)
    check_gradients(sn.Conv2d { 4, 3, padding = 1, stride = 2, groups = 2, activation = "sigmoid" }, sn.randn(2, 2, 5, 5))
    check_gradients(sn.Convolution { 2, { 2, 3 } }, sn.randn(2, 3, 4, 4))
    check_gradients(sn.BatchNorm1d {}, sn.randn(6, 3))
    check_gradients(sn.BatchNorm2d {}, sn.randn(3, 2, 3, 3))
    check_gradients(sn.LayerNorm {}, sn.randn(4, 5))
    check_gradients(sn.LayerNorm { shape = { 3, 4 } }, sn.randn(2, 3, 4))
    check_gradients(sn.Embedding { 5, 3 }, sn.tensor({ { 1, 5 }, { 2, 1 } }, { dtype = "int64" }))
    check_gradients(sn.Sequential(sn.Dense { 4, activation = "gelu" }, sn.Residual(sn.Dense { 4 }, sn.Tanh()), sn.Dense { 2 }), sn.randn(3, 5))
  end)
end)

describe("Dropout", function()
  it("drops a share p in training, scales once, and is nothing after eval", function()
    sn.manual_seed(1)
    local d, x = sn.Dropout(0.25), sn.ones(100, 100)
    local y = d(x)
    local kept = y:ne(0):sum():item() / 1e4
    assert.is_true(math.abs(kept - 0.75) < 0.02)
    near(y:max():item(), 1 / 0.75, 1e-6)
    near(y:mean():item(), 1, 0.03)
    d:eval()
    assert.is_true(d(x):equal(x))
    d:train()
    assert.is_false(d(x):equal(x))
    fails(function() sn.Dropout(1.5) end, "from 0 to 1")
  end)
end)

describe("Flatten and pooling", function()
  it("do what they say", function()
    local x = sn.arange(1, 17):to("float32"):reshape(1, 1, 4, 4)
    assert.same({ 1, 16 }, sn.Flatten()(x):size())
    assert.same({ { { { 3.5, 5.5 }, { 11.5, 13.5 } } } }, sn.MeanPooling { 2 }(x):totable())
    assert.same({ { { { 6, 8 }, { 14, 16 } } } }, sn.MaxPool2d(2)(x):totable())
    assert.same({ 1, 1, 2, 2 }, sn.MaxPool2d { 3, stride = 1 }(x):size())
    fails(function() sn.MaxPool2d { 5 }(x) end, "MaxPool2d 5x5", "too small")
    fails(function() sn.MaxPool2d { 2, padding = 2 } end, "half")
    fails(function() sn.MeanPooling { 2 }(sn.ones(3, 4)) end, "channels x height x width")
    fails(function() sn.Conv2d { 3, 3 }:build { 28, 28 } end, "unsqueeze")
    fails(function() sn.Conv2d { 3, 3, groups = 2 } end, "groups")
    fails(function() sn.Conv2d { 3, 0 } end, "kernel_size")
  end)
end)

describe("normalisation", function()
  it("keeps running averages in training and uses them after eval", function()
    sn.manual_seed(1)
    local bn, x = sn.BatchNorm1d {}, sn.randn(50, 3) * 2 + 5
    local y = bn(x)
    near(y:mean():item(), 0, 1e-5)
    near(y:var():item(), 1, 0.05)
    near(bn:state().running_mean:mean():item(), 0.1 * x:mean():item(), 1e-4)
    assert.equal(2, #bn:parameters())
    local params, all = bn:count()
    assert.equal(6, params)
    assert.equal(12, all)
    for _ = 1, 200 do bn(x) end
    bn:eval()
    near(bn(x):mean():item(), 0, 0.01)
    local before = bn:state().running_mean:clone()
    bn(x + 100)
    assert.is_true(before:equal(bn:state().running_mean))
    fails(function() sn.BatchNorm2d {}(sn.ones(2, 3)) end, "channels x height x width")
    fails(function() sn.BatchNorm1d { 4 }(sn.ones(2, 3)) end, "for 4")
  end)
  it("over a sample", function()
    sn.manual_seed(1)
    local y = sn.LayerNorm {}(sn.randn(4, 30) * 3 + 1)
    assert.is_true(y:mean(2):abs():max():item() < 1e-5)
    fails(function() sn.LayerNorm { shape = 5 }(sn.ones(2, 4)) end, "LayerNorm")
  end)
end)

describe("Embedding", function()
  it("gives rows, counts from 1 and leaves the padding alone", function()
    local e = sn.Embedding { 4, 3, padding_idx = 2 }
    local i = sn.tensor({ { 1, 2, 4 } }, { dtype = "int64" })
    local y = e(i)
    assert.same({ 1, 3, 3 }, y:size())
    assert.same({ 0, 0, 0 }, y[1][2]:totable())
    assert.is_true(y[1][3]:equal(e:parameters()[1][4]))
    y:sum():backward()
    assert.same({ { 1, 1, 1 }, { 0, 0, 0 }, { 0, 0, 0 }, { 1, 1, 1 } }, e:parameters()[1].grad:totable())
    fails(function() e(sn.tensor({ 0 }, { dtype = "int64" })) end, "0")
    fails(function() e(sn.tensor({ 5 }, { dtype = "int64" })) end, "5")
    fails(function() sn.Embedding { 4, 3, padding_idx = 5 } end, "padding_idx")
  end)
end)

describe("containers", function()
  it("name the layer that fails and where its input came from", function()
    local net = sn.Sequential(sn.Dense { 3, inshape = 2 }, sn.Dense { 4, inshape = 9, name = "fc2" })
    fails(function() net(sn.ones(1, 2)) end, "layer 2 'fc2' (Dense 9 -> 4)", "3 features", "inshape = 3 would fit", "from layer 1 (3)")
    fails(function() sn.Sequential(sn.Dense { 3, inshape = 2 }, sn.Flatten())(sn.ones(1, 5)) end, "layer 1 (Dense 2 -> 3)")
    fails(function() sn.Residual() end, "Residual")
    fails(function() sn.Residual(sn.Dense { 3 })(sn.ones(1, 2)) end, "added")
    fails(function() sn.Sequential(1) end, "entry 1", "layer")
    fails(function() sn.Sequential(sn.ReLU) end, "a class is called")
    fails(function() sn.Sequential(sn.Adam {}) end, "optimizer")
    local s = sn.Sequential()
    fails(function() s:add(s) end, "itself")
    fails(function() sn.ReLU():add(sn.ReLU()) end, "takes no layers")
  end)
  it("show their children, names and tensors in order", function()
    local net = sn.Sequential { sn.Dense { 3, inshape = 2 }, sn.Sequential(sn.BatchNorm1d {}, sn.Dense { 1, bias = false }), name = "net" }
    local _, names = net:named()
    assert.same({ "0.weight", "0.bias", "1.0.weight", "1.0.bias", "1.1.weight" }, names)
    assert.equal("net", net.name)
    assert.equal(2, #net)
    assert.equal(net:children()[1], net[1])
    local n = 0
    for _ in pairs(net:state()) do n = n + 1 end
    assert.equal(7, n)
    assert.equal(net:parameters()[1], net[1]:parameters()[1])
    assert.equal(net:parameters()[1], net:parameters()[1])
  end)
  it("switch everything inside between train and eval", function()
    local drop = sn.Dropout(0.5)
    local net = sn.Sequential(sn.Dense { 3, activation = drop }, sn.Sequential(sn.Residual(sn.Dropout(0.5))))
    net:eval()
    assert.is_false(drop.training)
    assert.is_false(net[2][1][1].training)
    net:train()
    assert.is_true(drop.training and net[2][1][1].training)
  end)
  it("count a shared layer's parameters once", function()
    local d = sn.Dense { 4, inshape = 4 }
    local net = sn.Sequential(d, d)
    assert.equal(2, #net:parameters())
    assert.equal(20, (net:count()))
    assert.same({ 3, 4 }, net(sn.ones(3, 4)):size())
  end)
  it("load states by name, whole or not at all", function()
    local function net() return sn.Sequential(sn.Dense { 3, inshape = 2 }, sn.Dense { 1 }) end
    local a, b = net(), net()
    b:load_state(a:state())
    assert.is_true(a(sn.ones(1, 2)):equal(b(sn.ones(1, 2))))
    local s = a:state()
    s["0.bias"] = nil
    fails(function() b:load_state(s) end, "0.bias", "missing")
    s = a:state()
    s["2.bias"] = sn.ones(1)
    fails(function() b:load_state(s) end, "2.bias")
    s = a:state()
    s["0.bias"] = sn.ones(4)
    fails(function() b:load_state(s) end, "0.bias", "3", "4")
  end)
end)

describe("losses", function()
  local x = sn.tensor({ { 1, -2, 0.5 }, { 0.1, 0.2, 3 } }, { dtype = "float64" })
  local y = sn.tensor({ 1, 3 }, { dtype = "int64" })
  it("are the operations", function()
    assert.is_true(sn.CrossEntropy()(x, y):equal(sn.cross_entropy(x, y)))
    assert.is_true(sn.NLL()(x:log_softmax(2), y):allclose(sn.cross_entropy(x, y)))
    assert.is_true(sn.SoftmaxCategoricalCrossEntropy()(x:softmax(2), y):allclose(sn.cross_entropy(x, y), { rtol = 1e-6 }))
    assert.is_true(sn.MSE()(x, x * 0):allclose(x:square():mean()))
    assert.is_true(sn.L1 { reduction = "sum" }(x, x * 0):allclose(x:abs():sum()))
    assert.is_true(sn.Huber { delta = 0.5 }(x, x * 0):equal(sn.huber_loss(x, x * 0, { delta = 0.5 })))
    local t = x:gt(0):to("float64")
    assert.is_true(sn.BCEWithLogits()(x, t):allclose(sn.BinaryCrossEntropy()(x:sigmoid(), t), { rtol = 1e-6 }))
    assert.is_true(sn.BinaryCrossEntropy():from_logits(x, t):equal(sn.BCEWithLogits()(x, t)))
    assert.equal("Sigmoid", sn.BinaryCrossEntropy():head())
    assert.is_nil(sn.MSE():head())
  end)
  it("take weights, ignored labels and smoothing", function()
    local w = sn.tensor({ 1, 2, 0.5 }, { dtype = "float64" })
    local l = sn.CrossEntropy { weight = w, ignore_index = 3, label_smoothing = 0.1 }
    assert.is_true(l(x, y):equal(sn.cross_entropy(x, y, { weight = w, ignore_index = 3, label_smoothing = 0.1 })))
    assert.same({ 1, 2, 0.5 }, l:config().args.weight)
    assert.is_true(sn.from_config(l:config())(x, y):allclose(l(x, y)))
  end)
  it("say what is wrong with a label", function()
    local l = sn.SoftmaxCategoricalCrossEntropy()
    fails(function() l(x:softmax(2), sn.tensor({ 0, 3 }, { dtype = "int64" })) end, "0")
    fails(function() l(x:softmax(2), sn.tensor({ 1, 4 }, { dtype = "int64" })) end, "4")
    fails(function() l(x) end, "prediction and target")
    fails(function() sn.CrossEntropy { label_smoothing = 2 } end, "label_smoothing")
    fails(function() sn.MSE { reduction = "meen" } end, "reduction")
    fails(function() sn.Huber { delta = 0 } end, "delta")
  end)
  it("after their activation give the same from its input", function()
    sn.manual_seed(1)
    local soft = sn.Sequential(sn.Dense { 5, inshape = 4, activation = "relu" }, sn.Dense { 3, activation = "softmax" })
    local soft2 = sn.Sequential(soft[1], sn.Sequential(sn.Dense { 3 }, sn.Softmax()))
    local input = sn.randn(6, 4)
    local labels = sn.randint(1, 4, 6)
    local loss = sn.SoftmaxCategoricalCrossEntropy()
    for _, net in ipairs { soft, soft2 } do
      assert.is_true(net:has_head("Softmax"))
      local z, hit = net:forward_logits(input, "Softmax")
      assert.is_true(hit)
      assert.is_true(z:softmax(2):allclose(net(input), { rtol = 1e-5 }))
      near(loss:from_logits(z, labels):item(), loss(net(input), labels):item(), 1e-5)
    end
    assert.is_false(soft:has_head("Sigmoid"))
    local out, hit = soft:forward_logits(input, "Sigmoid")
    assert.is_false(hit)
    assert.is_true(out:equal(soft(input)))
  end)
end)

describe("initialisers", function()
  it("have the spread they promise", function()
    sn.manual_seed(1)
    local w = sn.empty(300, 200)
    local function std(init) return init:fill(w) and w:std():item() end
    near(std(sn.GlorotUniform()), math.sqrt(2 / 500), 0.02)
    near(std(sn.GlorotNormal()), math.sqrt(2 / 500), 0.02)
    near(std(sn.HeUniform()), math.sqrt(2 / 200), 0.02)
    near(std(sn.HeNormal()), math.sqrt(2 / 200), 0.02)
    near(std(sn.LecunUniform()), math.sqrt(1 / 200), 0.02)
    near(std(sn.Normal { std = 0.3 }), 0.3, 0.02)
    sn.Uniform { lo = 1, hi = 2 }:fill(w)
    assert.is_true(w:min():item() >= 1 and w:max():item() <= 2)
    assert.is_true(sn.One():fill(w):eq(1):all():item())
    assert.is_true(sn.Zero():fill(w):eq(0):all():item())
    local k = sn.empty(8, 4, 3, 3)
    sn.manual_seed(2)
    sn.HeUniform():fill(k)
    assert.is_true(k:abs():max():item() <= math.sqrt(6 / 36))
  end)
  it("are drawn from the default generator", function()
    local function weights()
      sn.manual_seed(4)
      return sn.Dense { 5, inshape = 3 }:parameters()[1]
    end
    assert.is_true(weights():equal(weights()))
  end)
end)

describe("layers written in Lua", function()
  local Scale = sn.layer("TestScale", {
    init = function(self, n, start)
      self.factor = sn.full({ n }, start or 1):requires_grad_()
      self.seen = sn.zeros(1)
    end,
    forward = function(self, x)
      self.last = x * self.factor
      return self.last
    end,
    double = function(self) return self.factor * 2 end,
  })
  local Stack = sn.layer("TestStack", {
    init = function(self, body, list, depth) self.body, self.list, self.depth = body, list, depth end,
    forward = function(self, x)
      x = self.body(x)
      for _, l in ipairs(self.list) do x = l(x) end
      return x
    end,
  })
  it("have parameters, buffers and layers of their own", function()
    local s = Scale(3, 2)
    assert.equal("TestScale", s.class)
    assert.equal("layer", s.family)
    assert.equal(1, #s:parameters())
    assert.equal(s.factor, s:parameters()[1])
    s(sn.ones(2, 3))
    local names = {}
    for k in pairs(s:state()) do names[#names + 1] = k end
    table.sort(names)
    assert.same({ "factor", "seen" }, names)
    assert.same({ 4, 4, 4 }, s:double():totable())
    local stack = Stack(sn.Dense { 3, inshape = 3 }, { Scale(3), sn.Dropout(0.5) }, 7)
    local _, order = stack:named()
    assert.same({ "body.weight", "body.bias", "list.0.factor" }, order)
    assert.equal(3, #stack:children())
    stack:eval()
    assert.is_false(stack.list[2].training)
    assert.equal(7, stack.depth)
    assert.is_nil(stack.nothing)
    fails(function() stack.count = 3 end, "count", "another name")
  end)
  it("are trained inside others, and saved with a model", function()
    sn.manual_seed(1)
    local net = sn.Sequential(sn.Dense { 3, inshape = 2 }, Stack(sn.Dense { 3, activation = "tanh" }, { Scale(3, 1) }), sn.Dense { 1 })
    net:build(2)
    assert.same({ 1 }, net.outshape)
    local opt = sn.SGD(net:parameters(), { lr = 0.1 })
    local before = net[2].list[1].factor:clone()
    net(sn.ones(4, 2)):sum():backward()
    opt:step()
    assert.is_false(before:equal(net[2].list[1].factor))
    local again = sn.from_config(sn.json_decode(sn.json_encode(net:config())))
    again:build(2)
    again:load_state(net:state())
    assert.is_true(again(sn.ones(1, 2)):equal(net(sn.ones(1, 2))))
  end)
  it("find their output's shape by running, or say it themselves", function()
    assert.same({ 3 }, Scale(3):build(3))
    local Own = sn.layer("TestOwn", {
      build = function(self, inshape)
        self.w = sn.ones(inshape[1]):requires_grad_()
        return { inshape[1], 2 }
      end,
      forward = function(self, x) return (x * self.w):unsqueeze(3):expand(-1, -1, 2) end,
    })
    local o = Own()
    assert.same({ 4, 2 }, o:build(4))
    assert.equal(1, #o:parameters())
  end)
  it("keep the error and its place", function()
    local Bad = sn.layer("TestBad", { forward = function() error("that went wrong") end })
    local msg = fails(function() sn.Sequential(sn.Noop(), Bad())(sn.ones(1, 2)) end, "layer 2 (TestBad)", "that went wrong")
    assert.is_truthy(msg:find("nn_spec.lua:%d+"), msg)
    local None = sn.layer("TestNone", { forward = function() end })
    fails(function() None()(sn.ones(1)) end, "TestNone", "forward gave a nil")
    fails(function() sn.layer("Dense", { forward = print }) end, "already")
    fails(function() sn.layer("TestX", {}) end, "forward")
    fails(function() sn.layer("TestX", { forward = 1 }) end, "function")
  end)
  it("say at saving what cannot be saved, and at loading what is not there", function()
    fails(function() Stack(sn.ReLU(), {}, print):config() end, "TestStack", "argument 3", "function")
    fails(function() sn.from_config { class = "NeverDefined", args = {} } end, "NeverDefined", "sn.layer")
  end)
  it("are collected, in cycles too", function()
    local weak = setmetatable({}, { __mode = "k" })
    local small
    for round = 1, 40 do
      do
        local s = Stack(sn.Dense { 3, inshape = 3 }, {}, 1)
        s.parent = sn.Sequential(s)
        s(sn.ones(1, 3))
        weak[s] = true
      end
      if round == 20 then
        for _ = 1, 4 do collectgarbage() end
        small = sn.memory().small
      end
    end
    for _ = 1, 4 do collectgarbage() end
    assert.is_nil(next(weak))
    assert.is_true(sn.memory().small <= small + 8, ("%d structures, %d before"):format(sn.memory().small, small))
  end)
  it("outlive the variable that held them inside a network", function()
    local net = sn.Sequential(Scale(2, 3))
    collectgarbage()
    collectgarbage()
    assert.same({ { 3, 3 } }, net(sn.ones(1, 2)):totable())
    assert.equal("TestScale", net[1].class)
  end)
end)

describe("objects", function()
  it("say what they are not", function()
    fails(function() return sn.Dense { 2 }.foward end, "did you mean 'forward'")
    fails(function() sn.Dense { 2 }.units = 3 end, "cannot be set")
    fails(function() sn.Dense { 2 }.training = false end, "eval()")
    fails(function() sn.Adam {}(1) end, "step()")
    fails(function() sn.Zero()(1) end, "fill")
    fails(function() sn.Dense { 2, name = 3 } end, "name")
    fails(function() sn.from_config {} end, "class")
    fails(function() sn.Tanh(1) end, "Tanh", "too many")
  end)
  it("can be kept in another precision", function()
    local net = sn.Sequential(sn.Dense { 3, inshape = 2 }, sn.BatchNorm1d {}):to("float64")
    assert.equal("float64", net(sn.ones(2, 2, { dtype = "float64" })).dtype)
    assert.is_true(net:parameters()[1].requires_grad)
    fails(function() net:to("int64") end, "floating")
  end)
  it("an embedding in front takes its shape from what comes in", function()
    local Last = sn.layer("NnSpecLast", { forward = function(_, x) return x:select(2, x:size(2)) end })
    local net = sn.Sequential(sn.Embedding(20, 8), Last(), sn.Dense { 5 })
    local ok, msg = pcall(net.parameters, net)
    assert.is_false(ok)
    assert.truthy(tostring(msg):find("call the network once", 1, true), msg)
    assert.same({ 4, 5 }, net(sn.randint(1, 21, { 4, 6 })):size())
    assert.equal(3, #net:parameters())
  end)
end)
