-- model_spec.lua - sn.Model: what it takes and refuses, training, prediction, saving, and runs that are cut off and resumed.
local sn = require "slugnet"

local function quiet(options)
  options.progress = false
  options.seed = options.seed or 1
  options.layers = options.layers or { sn.Dense { 4, inshape = 3, activation = "relu" }, sn.Dense { 3, activation = "softmax" } }
  return sn.Model(options)
end

sn.manual_seed(7)
local X = sn.randn(20, 3)
local y = X:argmax(2)

local function weights(model)
  local list = {}
  for i, p in ipairs(model:parameters()) do list[i] = p:detach():clone() end
  return list
end

local function same(a, b)
  if #a ~= #b then return false end
  for i = 1, #a do
    if not a[i]:equal(b[i]) then return false end
  end
  return true
end

local function folder()
  local path = os.tmpname()
  os.remove(path)
  return path
end

describe("a Model refuses, in one line that names the script's place:", function()
  local cases = {
    { "fewer labels than samples", function() quiet {}:fit(X, y:narrow(1, 1, 10)) end, "X has 20 samples, y has 10" },
    { "samples of another shape", function() quiet {}:fit(sn.randn(20, 4), y) end, "20x4", "n x 3" },
    { "a dimension too many", function() quiet {}:fit(X:unsqueeze(3), y) end, "X:reshape(20, 3) would fit" },
    { "labels from 0", function() quiet {}:fit(X, y - 1) end, "is 0", "1 to 3", "want + 1" },
    { "labels above the classes", function() quiet {}:fit(X, y + 1) end, "is 4", "1 to 3" },
    { "broken labels", function() quiet {}:fit(X, y:to("float32") + 0.5) end, "whole" },
    { "labels that are nan", function() quiet {}:fit(X, y:to("float32") * (0 / 0)) end, "row 1 is nan" },
    { "labels that are bool", function() quiet {}:fit(X, y:gt(1)) end, "bool" },
    { "one-hot labels of other classes", function() quiet {}:fit(X, sn.one_hot(y, 5)) end, "5 columns", "3 outputs" },
    { "rows that are no distribution", function() quiet {}:fit(X, sn.randn(20, 3)) end, "row 1", "distribution" },
    { "no data", function() quiet {}:fit(sn.zeros(0, 3), sn.zeros(0)) end, "empty" },
    { "one sample for fit", function() quiet {}:fit(X[1], y) end, "one sample" },
    { "an unknown option of fit", function() quiet {}:fit(X, y, { btach_size = 3 }) end, "did you mean 'batch_size'" },
    { "a validation split of 0", function() quiet {}:fit(X, y, { validation_split = 0 }) end, "validation_split is 0" },
    { "a validation split of 1", function() quiet {}:fit(X, y, { validation_split = 1 }) end, "validation_split is 1" },
    { "a validation split that leaves nothing", function() quiet {}:fit(X, y, { validation_split = 0.001 }) end, "0 to validate" },
    { "a batch larger than the data that may not be partial", function() quiet {}:fit(X, y, { batch_size = 50, drop_last = true }) end,
      "batch_size = 20" },
    { "no epoch", function() quiet {}:fit(X, y, { n_epoch = 0 }) end, "n_epoch" },
    { "half a validation set", function() quiet {}:fit(X, y, { validation_data = { X } }) end, "pair" },
    { "a callback that is none", function() quiet {}:fit(X, y, { callbacks = { 3 } }) end, "callbacks[1]" },
    { "an event that does not exist", function() quiet {}:fit(X, y, { callbacks = { { on_epoch_ned = print } } }) end, "on_epoch_end" },
    { "resuming without a place", function() quiet {}:fit(X, y, { resume = true }) end, "checkpoint =" },
    { "a place that cannot be made", function() quiet {}:fit(X, y, { checkpoint = "/proc/none/here" }) end, "/proc" },
    { "data that is no tensor", function() quiet {}:fit("X", y) end, "X is 'X'" },
    { "missing labels", function() quiet {}:fit(X) end, "y is nil" },
    { "a closed tensor", function() local t = X:clone() t:close() quiet {}:fit(t, y) end, "X is a closed tensor" },
    { "a table with unequal rows", function() quiet {}:fit({ { 1, 2, 3 }, { 4, 5 } }, y) end, "equally long" },
    { "a negative rate", function() quiet { lr = -1 } end, "lr is -1" },
    { "two rates", function() quiet { lr = 0.1, optimizer = sn.SGD { lr = 0.2 } } end, "lr is 0.1", "0.2" },
    { "an optimizer that is none", function() quiet { optimizer = 3 } end, "optimizer is 3" },
    { "an optimizer by a wrong name", function() quiet { optimizer = "sdg" } end, "did you mean 'SGD'" },
    { "an optimizer as loss", function() quiet { loss = sn.SGD {} } end, "an optimizer" },
    { "a metric that does not exist", function() quiet { metrics = { "acuracy" } } end, "did you mean 'accuracy'" },
    { "a class where a layer is wanted", function() quiet { layers = { sn.Dense } } end, "a class is called" },
    { "an option that does not exist", function() quiet { n_epochs = 3 } end, "did you mean 'n_epoch'" },
    { "no layers", function() sn.Model {}:compile() end, "no layers" },
    { "layers that do not fit", function() quiet { layers = { sn.Dense { 3, inshape = 4 },
      sn.Dense { 2, inshape = 7, name = "top" } } }:compile() end,
      "layer 2 'top' (Dense 7 -> 2)", "inshape = 3 would fit", "from layer 1 (3)" },
    { "a first layer that does not say its input", function() quiet { layers = { sn.Dense { 3 } } }:compile() end, "layer 1 (Dense -> 3)",
      "inshape" },
    { "to transform another shape", function() quiet {}:transform(sn.randn(3, 7)) end, "3x7", "n x 3" },
    { "to go back before it went forward", function() quiet {}:backpropagation(X) end, "feedforward" },
    { "binary targets outside 0..1", function() quiet { layers = { sn.Dense { 1, inshape = 3, activation = "sigmoid" } } }:fit(X, y) end,
      "from 0 to 1" },
    { "targets of another shape", function() quiet { layers = { sn.Dense { 1, inshape = 3 } } }:fit(X, sn.randn(20, 2)) end, "20x2", "20x1" },
    { "targets that are nan", function() quiet { layers = { sn.Dense { 1, inshape = 3 } } }:fit(X, sn.full({ 20 }, 0 / 0)) end, "nan" },
    { "one output for classes", function() quiet { layers = { sn.Dense { 1, inshape = 3, activation = "softmax" } } }:fit(X, y) end, "one output",
      "Sigmoid" },
    { "accuracy of values", function() quiet { layers = { sn.Dense { 1, inshape = 3 } }, metrics = { "accuracy" } }:fit(X, X) end, "accuracy" },
    { "an optimizer of another model", function()
      local o = sn.Adam {}
      quiet { optimizer = o }:compile()
      quiet { optimizer = o }:compile()
    end, "optimizer of its own" },
  }
  for _, c in ipairs(cases) do
    it(c[1], function()
      local ok, msg = pcall(c[2])
      assert.is_false(ok, "no error")
      assert.is_nil(msg:find("\n"), msg)
      assert.is_truthy(msg:match("model_spec%.lua:%d+: "), msg)
      for i = 3, #c do assert.is_truthy(msg:find(c[i], 1, true), ("'%s' is not in: %s"):format(c[i], msg)) end
    end)
  end
end)

describe("fit", function()
  it("learns, from class numbers, one-hot rows, probabilities and tables alike", function()
    local one = sn.one_hot(y, 3)
    for _, target in ipairs { y, y:to("int32"), y:to("float32"), one, one:to("float32"), y:totable(), one * 0.9 + 0.1 / 3 } do
      local m = quiet { lr = 0.05, n_epoch = 40, batch_size = 8, optimizer = "adam" }
      local h = m:fit(X, target)
      assert.equal(40, h.epochs)
      assert.is_true(h.train.loss[40] < h.train.loss[1])
      assert.is_true(m:evaluate(X, y).accuracy > 0.8)
    end
  end)
  it("keeps a history of all epochs", function()
    local m = quiet { n_epoch = 3, validation_split = 0.25, metrics = { "loss", "accuracy", { name = "mine", fn = function(p) return p:max() end } } }
    local h = m:fit(X, y)
    for _, part in ipairs { "train", "val" } do
      for _, name in ipairs { "loss", "accuracy", "mine" } do
        assert.equal(3, #h[part][name])
        assert.equal(h[part][name][3], h.last[part][name])
      end
    end
    assert.equal(h, m.history)
  end)
  it("is decided by the seed alone, whatever the script draws, and leaves the script's generator where it was", function()
    local function run(seed)
      local m = quiet { n_epoch = 2, batch_size = 6, seed = seed, validation_split = 0.2,
        layers = { sn.Dense { 8, inshape = 3, activation = "tanh" }, sn.Dropout(0.4), sn.Dense { 3, activation = "softmax" } } }
      m:fit(X, y)
      return weights(m)
    end
    local a = run(3)
    sn.randn(17)
    local before = sn.rng_state()
    assert.is_true(same(a, run(3)))
    assert.same(before, sn.rng_state())
    assert.is_false(same(a, run(4)))
  end)
  it("keeps validation data apart", function()
    local count = 0
    local Count = sn.layer("ModelCount", { forward = function(self, x) if self.training then count = count + x:size(1) end return x end })
    local m = quiet { eager = true, n_epoch = 2, validation_split = 0.2, batch_size = 4, layers = { sn.Dense { 3, inshape = 3,
      activation = "softmax" }, Count() }, loss = "mse" }
    m:compile()
    count = 0
    m:fit(X, X)
    assert.equal(32, count)
  end)
  it("follows a schedule and callbacks, which may stop it", function()
    local m = quiet { lr = 0.1, n_epoch = 9, optimizer = sn.SGD {} }
    local h = m:fit(X, y, { schedule = sn.schedule.exponential { gamma = 0.5 }, callbacks = { function(run)
      if run.epoch == 4 then run.stop = true end
    end } })
    assert.equal(4, h.epochs)
    assert.is_true(h.stopped)
    for i = 1, 4 do assert.is_true(math.abs(h.lr[i] - 0.1 * 0.5 ^ (i - 1)) < 1e-12, ("rate %d is %g"):format(i, h.lr[i])) end
  end)
  it("can be called again, and trains layers added in between", function()
    local m = quiet { lr = 0.05, n_epoch = 2, layers = { sn.Dense { 4, inshape = 3, activation = "tanh" }, sn.Dense { 3 } },
      loss = sn.CrossEntropy() }
    m:fit(X, y)
    m:fit(X, y)
    assert.equal(4, m.epochs_done)
    m:add_layer(sn.Dense { 3 })
    m:compile()
    local before = weights(m)
    m:fit(X, y)
    local after = weights(m)
    assert.equal(6, #after)
    for i = 1, 6 do assert.is_false(before[i]:equal(after[i]), "parameter " .. i) end
  end)
  it("takes integer and float64 inputs and an embedding's tokens", function()
    quiet { n_epoch = 1 }:fit(X:to("float64"), y)
    quiet { n_epoch = 1 }:fit((X * 10):to("int64"), y)
    local tokens = sn.randint(1, 9, 20, 5)
    local m = quiet { n_epoch = 2, layers = { sn.Embedding { 8, 4, inshape = 5 }, sn.Flatten(), sn.Dense { 3, activation = "softmax" } } }
    m:fit(tokens, y)
    assert.same({ 20, 3 }, m:transform(tokens):size())
  end)
end)

describe("transform, predict and evaluate", function()
  it("give a row for a sample and rows for a batch", function()
    local m = quiet {}
    local p = m:transform(X)
    assert.same({ 20, 3 }, p:size())
    assert.is_true(p:sum(2):allclose(sn.ones(20)))
    assert.same({ 3 }, m:transform(X[1]):size())
    assert.is_true(m:predict(X):equal(p:argmax(2)))
    assert.equal(p[1]:argmax(1):item(), m:predict(X[1]))
    local e = m:evaluate(X, y)
    assert.is_true(math.abs(e.accuracy - m:predict(X):eq(y):sum():item() / 20) < 1e-9)
    assert.is_true(math.abs(e.loss - sn.SoftmaxCategoricalCrossEntropy()(p, y):item()) < 1e-5)
    local big = sn.randn(600, 3)
    assert.is_true(m:transform(big):narrow(1, 301, 10):allclose(m:transform(big:narrow(1, 301, 10))))
  end)
  it("of one output give 0 and 1, of values the values", function()
    local b = quiet { layers = { sn.Dense { 1, inshape = 3, activation = "sigmoid" } } }
    assert.same({ 20 }, b:predict(X):size())
    assert.is_true(b:predict(X):equal(b:transform(X):reshape(20):gt(0.5):to("int64")))
    assert.equal("BinaryCrossEntropy", b.loss.class)
    local v = quiet { layers = { sn.Dense { 2, inshape = 3 } } }
    v:compile()
    assert.equal("MSE", v.loss.class)
    assert.is_true(v:predict(X):equal(v:transform(X)))
  end)
  it("record no gradients and change nothing", function()
    local m = quiet { layers = { sn.Dense { 4, inshape = 3 }, sn.BatchNorm1d {}, sn.Dropout(0.5), sn.Dense { 3, activation = "softmax" } } }
    m:compile()
    local before = m.network:state()
    for k, t in pairs(before) do before[k] = t:detach():clone() end
    assert.is_false(m:transform(X).requires_grad)
    m:evaluate(X, y)
    for k, t in pairs(m.network:state()) do assert.is_true(before[k]:equal(t), k) end
  end)
end)

describe("summary", function()
  it("is a table of the layers", function()
    local text = quiet {}:summary(false)
    for _, words in ipairs { "Dense 3 -> 4, ReLU", "| 16 ", "31 parameters", "RMSProp with lr 0.001" } do assert.is_truthy(text:find(words, 1, true), text) end
    assert.equal("Model of 1 layer", tostring(sn.Model { layers = { sn.Dense { 3 } } }))
  end)
end)

describe("feedforward and backpropagation", function()
  it("are a training loop by hand", function()
    local m = quiet { lr = 0.5, optimizer = sn.SGD {}, layers = { sn.Dense { 3, inshape = 3 } }, loss = "mse" }
    local first, last
    for _ = 1, 30 do
      local out = m:feedforward(X, true)
      local loss = (out - X):square():mean()
      first, last = first or loss:item(), loss:item()
      local grads = m:backpropagation((out:detach() - X) * 2 / out:numel())
      assert.equal(2, #grads)
      m.optimizer:step()
      m.optimizer:zero_grad()
    end
    assert.is_true(last < first / 2)
  end)
end)

describe("gradients in fit", function()
  it("are there for a callback that looks after each batch, and gone otherwise, with the same weights", function()
    local function fitted(callback)
      local m = quiet { lr = 0.1, n_epoch = 3, batch_size = 8, seed = 4, optimizer = sn.Adam {}, layers = { sn.Dense { 64, inshape = 3 }, sn.Dense { 64 }, sn.Dense { 3 } }, loss = "mse" }
      m:fit(X, X, { callbacks = callback and { callback } })
      return m
    end
    local seen = 0
    local with = fitted { on_batch_end = function(_, run)
      for _, p in ipairs(run.model.network:parameters()) do seen = seen + (p.grad and 1 or 0) end
    end }
    local without = fitted()
    assert.is_true(seen > 0)
    for i, p in ipairs(without.network:parameters()) do
      assert.is_nil(p.grad)
      assert.is_not_nil(with.network:parameters()[i].grad)
      assert.equal(with.network:parameters()[i]:detach():bytes(), p:detach():bytes())
    end
  end)
end)

describe("a saved model", function()
  it("comes back as the same model", function()
    local Twice = sn.layer("ModelTwice", { init = function(self, body, k) self.body, self.k = body, k end,
      forward = function(self, x) return self.body(x) * self.k end })
    local m = quiet { lr = 0.02, n_epoch = 1, optimizer = sn.SGD { momentum = 0.9, clip = 1 }, metrics = { "loss", "accuracy" },
      layers = { sn.Dense { 4, inshape = 3, activation = sn.LeakyReLU(0.2), name = "in" }, sn.BatchNorm1d {}, Twice(sn.Dense { 4 }, 2),
        sn.Dense { 3, activation = "softmax" } } }
    m:fit(X, y)
    local path = os.tmpname()
    assert(m:save(path))
    local again = assert(sn.load(path))
    assert.is_true(again:transform(X):equal(m:transform(X)))
    assert.equal(0.02, again.optimizer.lr)
    assert.equal(0.9, again.optimizer.momentum)
    assert.equal("in", again.layers[1].name)
    assert.is_true(math.abs(again.layers[1].activation.negative_slope - 0.2) < 1e-12)
    again:fit(X, y, { progress = false })
    os.remove(path)
  end)
  it("gives nil and a message when it cannot be written or read", function()
    local Holds = sn.layer("ModelHolds", { init = function(self, f) self.f = f end, forward = function(_, x) return x end })
    local cases = {
      { function() return quiet { layers = { sn.Dense { 3, inshape = 3 }, Holds(print) } }:save(os.tmpname()) end, "ModelHolds", "function" },
      { function() return quiet {}:save("/nonexistent/m") end, "/nonexistent" },
      { function() return sn.load("/nonexistent/m") end, "/nonexistent" },
    }
    for _, c in ipairs(cases) do
      local v, msg = c[1]()
      assert.is_nil(v)
      for i = 2, #c do assert.is_truthy(msg:find(c[i], 1, true), msg) end
    end
  end)
  it("names a class that is not there", function()
    local path = os.tmpname()
    sn.layer("ModelGone", { forward = function(_, x) return x end })
    local m = quiet { layers = { sn.Dense { 3, inshape = 3 }, sn.from_config { class = "ModelGone", args = {} } } }
    assert(m:save(path))
    local f = assert(io.open(path, "rb"))
    local s = f:read("a")
    f:close()
    f = assert(io.open(path, "wb"))
    f:write((s:gsub("ModelGone", "ModelLost")))
    f:close()
    local v, msg = sn.load(path)
    os.remove(path)
    assert.is_nil(v)
    assert.is_truthy(msg:find("ModelLost", 1, true), msg)
  end)
end)

describe("a run that is cut off", function()
  local function model()
    return quiet { lr = 0.03, n_epoch = 3, batch_size = 4, seed = 5, validation_split = 0.2, optimizer = sn.Adam { decay = 0.01 },
      layers = { sn.Dense { 6, inshape = 3, activation = "relu" }, sn.BatchNorm1d {}, sn.Dropout(0.3), sn.Dense { 3, activation = "softmax" } } }
  end
  local function options(dir, kill)
    local n = 0
    return { checkpoint = dir, checkpoint_every = 1, resume = true, schedule = sn.schedule.cosine { total = 12, by = "batch" },
      callbacks = { { name = "killer", on_batch_end = function()
        n = n + 1
        if n == kill then error("killed", 0) end
      end } } }
  end
  it("at any step goes on to the same bits", function()
    local whole = model()
    local dir = folder()
    local h = whole:fit(X, y, options(dir))
    os.execute("rm -r " .. dir)
    local want = weights(whole)
    for kill = 1, 12 do
      dir = folder()
      assert.is_false(pcall(function() model():fit(X, y, options(dir, kill)) end))
      local m = model()
      sn.randn(kill)
      local again = m:fit(X, y, options(dir))
      os.execute("rm -r " .. dir)
      assert.is_true(same(want, weights(m)), "killed after batch " .. kill)
      assert.same(h.train, again.train)
      assert.same(h.val, again.val)
    end
  end)
end)
