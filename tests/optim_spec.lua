-- optim_spec.lua - optimizers: their formulas, the rate over time, clipping, groups, state, and the same inside compiled steps.
local sn = require "slugnet"
local all = { "SGD", "RMSProp", "Adam", "AdamW" }

local fails = dofile("tests/expect.lua").fails

local function near(a, b, tolerance) assert.is_true(math.abs(a - b) <= (tolerance or 1e-12), ("%.15g, should be %.15g"):format(a, b)) end

local function leaf(...) return sn.tensor({ ... }, { dtype = "float64" }):requires_grad_() end

-- One parameter, gradients given.
local function run(name, options, gradients)
  local p = leaf(1.0)
  local opt = sn[name]({ p }, options)
  local path, rates = {}, {}
  for i, g in ipairs(gradients) do
    p.grad = sn.tensor({ g }, { dtype = "float64" })
    opt:step()
    path[i], rates[i] = p:detach():totable()[1], opt.lr_now
  end
  return path, rates, opt, p
end

describe("the formulas", function()
  local g = { 0.5, -1.5, 2.0, 0.25 }
  it("of SGD", function()
    local p, b = 1.0, nil
    local path = run("SGD", { lr = 0.1, momentum = 0.9, weight_decay = 0.01, nesterov = true }, g)
    for i, gi in ipairs(g) do
      local d = gi + 0.01 * p
      b = b and 0.9 * b + d or d
      p = p - 0.1 * (d + 0.9 * b)
      near(path[i], p)
    end
  end)
  it("of RMSProp", function()
    local p, v = 1.0, 0
    local path = run("RMSProp", { lr = 0.1, rho = 0.8, epsilon = 1e-3 }, g)
    for i, gi in ipairs(g) do
      v = 0.8 * v + 0.2 * gi * gi
      p = p - 0.1 * gi / (math.sqrt(v) + 1e-3)
      near(path[i], p)
    end
  end)
  it("of Adam and AdamW", function()
    for _, name in ipairs { "Adam", "AdamW" } do
      local p, m, v = 1.0, 0, 0
      local path = run(name, { lr = 0.1, beta1 = 0.8, beta2 = 0.95, weight_decay = 0.1 }, g)
      for i, gi in ipairs(g) do
        local d = gi
        if name == "Adam" then d = d + 0.1 * p else p = p * (1 - 0.1 * 0.1) end
        m = 0.8 * m + 0.2 * d
        v = 0.95 * v + 0.05 * d * d
        p = p - 0.1 * (m / (1 - 0.8 ^ i)) / (math.sqrt(v / (1 - 0.95 ^ i)) + 1e-8)
        near(path[i], p)
      end
    end
  end)
end)

for _, name in ipairs(all) do
  describe(name, function()
    it("follows lr, decay, lr_min and lr_max, and counts", function()
      local _, rates, opt = run(name, { lr = 0.4, decay = 0.5, lr_min = 0.15, lr_max = 0.3 }, { 1, 1, 1, 1, 1 })
      for i, r in ipairs(rates) do near(r, math.min(math.max(0.4 / (1 + 0.5 * (i - 1)), 0.15), 0.3), 0) end
      assert.equal(5, opt.iterations)
      assert.equal(0.4, opt.lr)
    end)
    it("takes a smaller step with a smaller rate", function()
      local big, small = run(name, { lr = 0.1, weight_decay = 0 }, { 1 }), run(name, { lr = 0.01, weight_decay = 0 }, { 1 })
      near((1 - big[1]) / (1 - small[1]), 10, 1e-6)
      local later, _, opt, p = run(name, { lr = 0.1, weight_decay = 0 }, { 1 })
      opt.lr = 0
      p.grad = sn.ones(1, { dtype = "float64" })
      opt:step()
      near(p:detach():totable()[1], later[1], 0)
    end)
    it("clips by value before anything else", function()
      local a = run(name, { lr = 0.1, clip = 0.5 }, { 3, -0.2, -9 })
      local b = run(name, { lr = 0.1 }, { 0.5, -0.2, -0.5 })
      for i = 1, 3 do near(a[i], b[i], 0) end
    end)
    it("clips by the norm of everything together", function()
      local p, q = leaf(1, 2), leaf(3)
      local opt = sn[name]({ { p }, { q, lr = 0.3 } }, { lr = 0.1, clip_norm = 1 })
      p.grad, q.grad = sn.tensor({ 3, 0 }, { dtype = "float64" }), sn.tensor({ 4 }, { dtype = "float64" })
      opt:step()
      near(p.grad:totable()[1], 0.6, 1e-6)
      near(q.grad:totable()[1], 0.8, 1e-6)
    end)
    it("goes on from its state to the same bits", function()
      local g = { 0.3, -1, 0.7, 2, -0.1, 0.9 }
      local options = { lr = 0.05, decay = 0.1, weight_decay = 0.01 }
      if name == "SGD" then options.momentum = 0.9 end
      local whole = run(name, options, g)
      local _, _, opt, p = run(name, options, { g[1], g[2], g[3] })
      local saved, at = opt:state(), p:detach():clone()
      for k, t in pairs(saved.tensors) do saved.tensors[k] = t:clone() end
      local q = sn.tensor(at):requires_grad_()
      local fresh = sn[name]({ q }, options)
      fresh:load_state(saved)
      assert.equal(3, fresh.iterations)
      for i = 4, 6 do
        q.grad = sn.tensor({ g[i] }, { dtype = "float64" })
        fresh:step()
        near(q:detach():totable()[1], whole[i], 0)
      end
    end)
    it("does the same in a compiled step, schedules included", function()
      local function train(compiled)
        sn.manual_seed(1)
        local net = sn.Sequential(sn.Dense { 6, inshape = 4, activation = "tanh" }, sn.Dense { 2 })
        local x, y = sn.randn(8, 4), sn.randn(8, 2)
        local opt = sn[name](net:parameters(), { lr = 0.05, decay = 0.1, clip_norm = 0.5, clip = 0.2 })
        local loss = sn.MSE()
        local function step(a, b)
          opt:zero_grad()
          local l = loss(net(a), b)
          l:backward()
          opt:step()
          return l
        end
        if compiled then step = sn.compile(step) end
        for i = 1, 12 do
          if i == 8 then opt.lr = 0.02 end
          step(x, y)
        end
        return net:parameters(), opt
      end
      local a, one = train(false)
      local b, two = train(true)
      for i = 1, #a do assert.is_true(a[i]:equal(b[i]), "parameter " .. i) end
      assert.equal(one.iterations, two.iterations)
      assert.equal(12, two.iterations)
      assert.equal(one.lr_now, two.lr_now)
    end)
  end)
end

describe("groups", function()
  it("have options of their own", function()
    local p, q = leaf(1), leaf(1)
    local opt = sn.SGD({ { p }, { params = { q }, lr = 0.5, weight_decay = 0.1 } }, { lr = 0.1 })
    p.grad, q.grad = leaf(1):detach(), leaf(1):detach()
    opt:step()
    near(p:detach():totable()[1], 0.9)
    near(q:detach():totable()[1], 1 - 0.5 * 1.1)
    local groups = opt:groups()
    assert.equal(2, #groups)
    assert.equal(0.5, groups[2].lr)
    assert.equal(0.1, groups[2].weight_decay)
    assert.equal(q, groups[2].params[1])
    assert.equal(2, #opt:parameters())
  end)
  it("follow the base rate in proportion", function()
    local p, q = leaf(1), leaf(1)
    local opt = sn.SGD({ { p }, { q, lr = 0.5 } }, { lr = 0.1 })
    opt.lr = 0.01
    near(opt:groups()[1].lr, 0.01)
    near(opt:groups()[2].lr, 0.05)
    opt.lr = 0.1
    assert.equal(0.5, opt:groups()[2].lr)
  end)
  it("can be added later", function()
    local p, q = leaf(1), leaf(2)
    local opt = sn.Adam({ p })
    opt:add({ q }, { lr = 0.1 })
    p.grad, q.grad = leaf(1):detach(), leaf(1):detach()
    opt:step()
    near(q:detach():totable()[1], 1.9, 1e-6)
    fails(function() opt:add { p } end, "already")
  end)
  it("leave parameters without a gradient alone", function()
    local p, q = leaf(1), leaf(1)
    local opt = sn.Adam { { p, q }, lr = 0.1 }
    p.grad = leaf(1):detach()
    opt:step()
    assert.equal(1, q:detach():totable()[1])
    assert.is_true(p:detach():totable()[1] < 1)
    opt:zero_grad()
    assert.is_nil(p.grad)
  end)
end)

describe("the update of many parameters", function()
  -- One pass over all elements, shared out without regard to where a tensor ends, gives what one tensor after the other gives.
  it("gives each what it would get by itself, for every number of threads", function()
    local shapes = { { 70, 301 }, { 5 }, { 1 }, { 16384 }, { 3, 3 }, { 33000 }, { 0 }, { 41, 41 }, { 17 } }
    local function parameters()
      local list = {}
      for i, s in ipairs(shapes) do
        sn.manual_seed(i)
        local p = i == 8 and sn.randn(41, 41):t() or sn.randn(s)
        if i % 4 == 2 then p = p:to("float64") end
        list[i] = p:requires_grad_()
      end
      return list
    end
    local function train(list, class, options)
      local opt = sn[class](list, options)
      for step = 1, 3 do
        for _, p in ipairs(list) do
          sn.manual_seed(step * 100 + (#p > 0 and p:size(1) or 0))
          p.grad = sn.randn(p.shape):to(p.dtype)
        end
        opt:step()
      end
    end
    local before = sn.threads()
    for class, options in pairs { SGD = { lr = 0.1, momentum = 0.9 }, RMSProp = { lr = 0.1 }, AdamW = { lr = 0.1, weight_decay = 0.1 } } do
      sn.threads(1)
      local want = parameters()
      for _, p in ipairs(want) do train({ p }, class, options) end
      for _, n in ipairs { 1, 2, 3, 8 } do
        sn.threads(n)
        local got = parameters()
        train(got, class, options)
        for i = 1, #want do assert.is_true(want[i]:detach():bytes() == got[i]:detach():bytes(), ("%s, %d threads, tensor %d"):format(class, n, i)) end
      end
    end
    sn.threads(before)
  end)
  it("goes one after the other where two are views of the same memory", function()
    local before, want = sn.threads(), nil
    for _, n in ipairs { 1, 4, 4, 4 } do
      sn.threads(n)
      local base = sn.ones(60000)
      local list = { base:narrow(1, 1, 50000):detach():requires_grad_(), base:narrow(1, 10001, 50000):detach():requires_grad_() }
      for i, p in ipairs(list) do p.grad = sn.full({ 50000 }, i) end
      sn.SGD(list, { lr = 0.25, weight_decay = 0.5 }):step()
      want = want or base:bytes()
      assert.is_true(want == base:bytes())
    end
    sn.threads(before)
  end)
end)

describe("an optimizer refuses", function()
  it("wrong options", function()
    fails(function() sn.SGD { lr = -1 } end, "lr is -1")
    fails(function() sn.SGD { lr = 0 / 0 } end, "lr")
    fails(function() sn.Adam { beta1 = 1 } end, "beta1")
    fails(function() sn.RMSProp { rho = 2 } end, "rho")
    fails(function() sn.SGD { clip = 0 } end, "clip", "left out")
    fails(function() sn.SGD { lr_min = 2, lr_max = 1 } end, "lr_min")
    fails(function() sn.SGD { nesterov = true } end, "momentum")
    fails(function() sn.SGD { learning_rate = 1 } end, "learning_rate")
    fails(function() sn.Adam { lrr = 1 } end, "did you mean 'lr'")
    fails(function() sn.SGD({ { leaf(1), lrr = 3 } }) end, "lrr")
    fails(function() sn.SGD({ { leaf(1), clip_norm = 3 } }) end, "clip_norm")
    fails(function() sn.SGD(0.1) end, "sn.SGD{lr = 0.1}")
    fails(function() sn.SGD {}.lr = -1 end, "lr")
    fails(function() sn.SGD {}.iterations = 0.5 end, "iterations")
    fails(function() sn.SGD {}.momentum = 0.5 end, "cannot be set")
  end)
  it("wrong parameters", function()
    local p = leaf(1)
    fails(function() sn.SGD { sn.ones(2) } end, "requires no gradient")
    fails(function() sn.SGD({ p, p }) end, "same tensor")
    fails(function() sn.SGD({ p * 2 }) end, "result of an operation")
    fails(function() sn.SGD({ 3 }) end, "tensor")
    fails(function() sn.SGD({ {} }) end, "empty")
    fails(function() sn.SGD {}:step() end, "no parameters")
    fails(function() sn.SGD({ p }):step() end, "backward()")
    local h = sn.ones(2):to("float16"):requires_grad_()
    fails(function() sn.SGD({ h }) end, "float16")
  end)
  it("a state of something else", function()
    local p = leaf(1)
    local opt = sn.Adam({ p })
    fails(function() opt:load_state {} end, "iterations")
    fails(function() opt:load_state { iterations = 1, lr = 0.1, tensors = {} } end, "0.0.exp_avg", "missing")
  end)
end)
