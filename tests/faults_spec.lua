-- faults_spec.lua - the known faults of the original Python slugnet are not here: one test for each.
local sn = require "slugnet"

local function quiet(options)
  options.progress = false
  return sn.Model(options)
end

local function near(a, b, tolerance) assert.is_true(math.abs(a - b) <= (tolerance or 1e-6), ("%.10g, should be %.10g"):format(a, b)) end

describe("the original's faults:", function()
  it("a model's lr was ignored", function()
    local X, y = sn.ones(4, 2), sn.zeros(4, 1)
    local function moved(lr)
      local m = quiet { lr = lr, n_epoch = 1, batch_size = 4, seed = 1, optimizer = sn.SGD {}, layers = { sn.Dense { 1, inshape = 2 } } }
      m:compile()
      local before = m:parameters()[1]:detach():clone()
      m:fit(X, y)
      return (m:parameters()[1] - before):abs():max():item()
    end
    near(moved(0.2) / moved(0.1), 2, 1e-4)
    assert.equal(0.07, quiet { lr = 0.07, layers = { sn.Dense { 1, inshape = 2 } } }.optimizer.lr)
  end)

  it("defaults were shared between models", function()
    local a, b = quiet { layers = { sn.Dense { 2, inshape = 2 } } }, quiet { layers = { sn.Dense { 2, inshape = 2 } } }
    a:add_layer(sn.Dense { 1 })
    assert.equal(2, #a.layers)
    assert.equal(1, #b.layers)
    assert.are_not.equal(a.optimizer, b.optimizer)
    a.optimizer.lr = 5
    assert.are_not.equal(5, b.optimizer.lr)
    local d, e = sn.Dense { 2, inshape = 2 }, sn.Dense { 2, inshape = 2 }
    assert.are_not.equal(d:parameters()[1], e:parameters()[1])
    assert.is_false(d:parameters()[1]:same_storage(e:parameters()[1]))
  end)

  it("dropout was active in validation and scaled twice", function()
    sn.manual_seed(1)
    local X = sn.ones(512, 8)
    local m = quiet { lr = 0.001, seed = 1, layers = { sn.Dropout { 0.5, inshape = 8 }, sn.Dense { 1, init = "one" } } }
    m:compile()
    assert.is_true(m:transform(X):eq(8):all():item())      -- no mask, no scale
    local d = sn.Dropout(0.5)
    local y = d(sn.ones(400, 400))
    near(y:mean():item(), 1, 0.01)                         -- the mean stays: scaled once
    assert.equal(2, y:max():item())
    d:eval()
    assert.is_true(d(X):equal(X))
    m:fit(X, sn.ones(512, 1) * 8, { n_epoch = 1 })
    local one, two = m:evaluate(X, sn.ones(512, 1)).loss, m:evaluate(X, sn.ones(512, 1)).loss
    assert.equal(one, two)
  end)

  it("the gradient of the bias was divided by the batch twice", function()
    local net, X = sn.Dense { 1, inshape = 3 }, sn.randn(64, 3)
    net(X):mean():backward()
    near(net:parameters()[2].grad:item(), 1)
    net:zero_grad()
    net(X):sum():backward()
    near(net:parameters()[2].grad:item(), 64)
  end)

  it("mean pooling read the wrong windows and ignored its stride", function()
    local x = sn.arange(1, 17):to("float32"):reshape(1, 1, 4, 4)
    assert.same({ { { { 3.5, 5.5 }, { 11.5, 13.5 } } } }, sn.MeanPooling { { 2, 2 } }(x):totable())
    assert.same({ { { { 3.5, 4.5, 5.5 }, { 7.5, 8.5, 9.5 }, { 11.5, 12.5, 13.5 } } } }, sn.MeanPooling { { 2, 2 }, 1 }(x):totable())
    local y = sn.MeanPooling { { 1, 3 }, { 2, 1 } }(x)
    assert.same({ 1, 1, 2, 2 }, y:size())
    assert.same({ { 2, 3 }, { 10, 11 } }, y[1][1]:totable())
  end)

  it("the rate grew under decay", function()
    for _, name in ipairs { "SGD", "RMSProp", "Adam", "AdamW" } do
      local p = sn.ones(1):requires_grad_()
      local opt, last = sn[name]({ p }, { lr = 0.1, decay = 0.1 }), math.huge
      for t = 0, 9 do
        p.grad = sn.ones(1)
        opt:step()
        near(opt.lr_now, 0.1 / (1 + 0.1 * t), 1e-12)
        assert.is_true(opt.lr_now < last)
        last = opt.lr_now
      end
    end
  end)

  it("RMSProp ignored clip and decay", function()
    local function first(options)
      local p = sn.tensor({ 0.0 }):requires_grad_()
      local opt = sn.RMSProp({ p }, options)
      for _ = 1, 2 do
        p.grad = sn.tensor { 100.0 }
        opt:step()
      end
      return p:item(), opt
    end
    local plain = first { lr = 0.1, epsilon = 10 }
    assert.are_not.equal(plain, (first { lr = 0.1, epsilon = 10, clip = 1 }))
    local slower, opt = first { lr = 0.1, epsilon = 10, decay = 1 }
    assert.is_true(math.abs(slower) < math.abs(plain))
    near(opt.lr_now, 0.05, 1e-12)
  end)

  it("transform returned only the first row", function()
    local m = quiet { layers = { sn.Dense { 3, inshape = 2, activation = sn.Softmax() } } }
    local X = sn.randn(7, 2)
    local out = m:transform(X)
    assert.same({ 7, 3 }, out:size())
    for i = 1, 7 do assert.is_true(m:transform(X[i]):allclose(out[i])) end
    assert.same({ 3 }, m:transform(X[1]):size())
    assert.same({ 7 }, m:predict(X):size())
  end)

  it("the last, partial batch was dropped", function()
    local sizes = {}
    local Spy = sn.layer("FaultsSpy", { forward = function(self, x) if self.training then sizes[#sizes + 1] = x:size(1) end return x end })
    local m = quiet { lr = 0.01, n_epoch = 1, batch_size = 4, seed = 1, layers = { sn.Dense { 2, inshape = 2 }, Spy() }, optimizer = sn.SGD {} }
    m:compile()
    sizes = {}
    m:fit(sn.randn(10, 2), sn.randn(10, 2))
    assert.same({ 4, 4, 2 }, sizes)
    sizes = {}
    m:fit(sn.randn(10, 2), sn.randn(10, 2), { drop_last = true })
    assert.same({ 4, 4 }, sizes)
  end)

  it("epochs were not shuffled", function()
    local seen = {}
    local Spy = sn.layer("FaultsOrder", { forward = function(self,
      x) if self.training then seen[#seen + 1] = x:detach() end return x end })
    local X = sn.arange(1, 33):to("float32"):reshape(32, 1)
    local m = quiet { lr = 0.001, n_epoch = 2, batch_size = 32, seed = 1, layers = { Spy(), sn.Dense { 1 } }, optimizer = sn.SGD {} }
    m:compile(1)
    seen = {}
    m:fit(X, X / 32)
    assert.equal(2, #seen)
    for i = 1, 2 do seen[i] = seen[i]:reshape(32):totable() end
    assert.are_not.same(seen[1], seen[2])
    for _, order in ipairs(seen) do
      table.sort(order)
      for i = 1, 32 do assert.equal(i, order[i]) end
    end
  end)

  it("the derivative of softmax was right with one loss only", function()
    sn.manual_seed(2)
    local x = sn.randn(4, 3, { dtype = "float64" }):requires_grad_()
    local soft, t = sn.Softmax(), sn.rand(4, 3, { dtype = "float64" })
    local y = sn.tensor({ 1, 3, 2, 2 }, { dtype = "int64" })
    assert.is_true(sn.gradcheck(function(a) return sn.MSE()(soft(a), t) end, { x }))
    assert.is_true(sn.gradcheck(function(a) return sn.L1()(soft(a), t) end, { x }))
    assert.is_true(sn.gradcheck(function(a) return sn.SoftmaxCategoricalCrossEntropy()(soft(a), y) end, { x }))
    assert.is_true(sn.gradcheck(function(a) return sn.BinaryCrossEntropy()(soft(a), t) end, { x }))
  end)

  it("sigmoid overflowed", function()
    local x = sn.tensor { -1e4, -100, 0, 100, 1e4 }
    local y = sn.Sigmoid()(x):totable()
    assert.equal(0, y[1])
    assert.equal(0.5, y[3])
    assert.equal(1, y[5])
    local z = sn.tensor({ -1000.0, 1000.0 }):requires_grad_()
    local loss = sn.BinaryCrossEntropy():from_logits(z, sn.tensor { 1.0, 0.0 })
    assert.equal(1000, loss:item())
    loss:backward()
    assert.same({ -0.5, 0.5 }, z.grad:totable())
  end)

  it("errors had no message", function()
    local cases = {
      function() sn.Dense {} end, function() sn.Dense { 3, inshape = 2 }(sn.ones(1, 5)) end, function() sn.SGD { lr = -1 } end,
      function() quiet { layers = { sn.Dense { 3, inshape = 4 }, sn.Dense { 2, inshape = 7 } } }:compile() end,
      function() quiet { layers = { 3 } } end, function() quiet { optimizer = "sdg" } end, function() quiet { btach_size = 3 } end,
      function() quiet {}:compile() end, function() quiet { layers = { sn.Dense { 2, inshape = 2 } } }:fit(sn.ones(3, 5), sn.ones(3, 2)) end,
      function() quiet { layers = { sn.Dense { 2, inshape = 2, activation = "softmax" } } }:fit(sn.ones(3, 2), sn.tensor { 0, 1, 2 }) end,
    }
    for i, f in ipairs(cases) do
      local ok, msg = pcall(f)
      assert.is_false(ok, "case " .. i)
      assert.is_true(type(msg) == "string" and #msg > 25 and not msg:find("\n"), ("case %d: %s"):format(i, tostring(msg)))
      assert.is_truthy(msg:match("faults_spec%.lua:%d+: "), msg)
    end
  end)
end)
