-- failing_spec.lua - memory that runs out at any allocation while networks are made, trained, compiled, saved and loaded: an error in one
-- line, nothing leaks.
local sn = require "slugnet"

local function settle()
  for _ = 1, 4 do collectgarbage() end
  return sn.memory()
end

local Own = sn.layer("FailingOwn", {
  init = function(self, body, n) self.body, self.factor = body, sn.ones(n):requires_grad_() end,
  forward = function(self, x) return self.body(x) * self.factor end,
})

sn.manual_seed(1)
local X, y = sn.randn(8, 3), sn.randint(1, 4, 8)
local path = os.tmpname()

local works = {
  ["layers, groups, states and configs"] = function()
    sn.manual_seed(4)
    local net = sn.Sequential { Own(sn.Dense { 4, inshape = 3, activation = "tanh" }, 4), sn.BatchNorm1d {}, sn.Residual(sn.Dense { 4 }),
      sn.Dense { 3 } }
    net:build(3)
    local function optimizer() return sn.RMSProp({ { params = net[1]:parameters(), lr = 0.1 }, net[4]:parameters() }, { clip = 1, clip_norm = 1 }) end
    local opt = optimizer()
    sn.CrossEntropy { weight = sn.ones(3) }(net(X), y):backward()
    opt:step()
    opt:zero_grad()
    local again = sn.from_config(net:config())
    again:build(3)
    again:load_state(net:state())
    again:to("float64")
    optimizer():load_state(opt:state())
    return tostring(net), net:count(), opt:groups(), net:named()
  end,
  ["a model that is trained, saved and loaded"] = function()
    local m = sn.Model { lr = 0.01, n_epoch = 2, batch_size = 4, seed = 2, progress = false,
      layers = { Own(sn.Dense { 4, inshape = 3, activation = "relu" }, 4), sn.Dropout(0.2), sn.Dense { 3, activation = "softmax" } } }
    m:compile(3)
    m:fit(X, y)
    assert(m:save(path))
    local again = assert(sn.load(path))
    again:transform(X)
    again:predict(X)
  end,
  ["a training step under autocast"] = function()
    sn.manual_seed(4)
    local w, v = sn.randn(6, 3):requires_grad_(), sn.randn(4, 6):requires_grad_()
    local step = sn.compile(function(a, b)
      w.grad, v.grad = nil, nil
      local l = sn.cross_entropy(sn.linear(sn.linear(a, w):relu(), v), b)
      l:backward()
      return l:detach()
    end)
    assert(not sn.is_autocast_enabled())
    local _ <close> = sn.autocast("bfloat16")
    for _ = 1, 4 do step(X, y) end
  end,
  ["a compiled training step"] = function()
    sn.manual_seed(4)
    local net = sn.Sequential { sn.Dense { 4, inshape = 3, activation = "tanh" }, sn.Dropout(0.1), sn.Dense { 3 } }
    local opt, loss = sn.Adam(net:parameters(), { clip_norm = 1 }), sn.CrossEntropy()
    local step = sn.compile(function(a, b)
      opt:zero_grad()
      local l = loss(net(a), b)
      l:backward()
      opt:step()
      return l
    end)
    for _ = 1, 4 do step(X, y) end
  end,
}

describe("an allocation that fails in", function()
  for name, work in pairs(works) do
    it(name, function()
      work()
      work()
      local base = settle()
      for _, on in ipairs { false, true } do
        local n, fails, errors = 1, 1, 0
        while fails > 0 do
          assert.is_true(n < 5000)
          sn.fail_after(n, on)
          local ok, msg = pcall(work)
          fails = sn.fail_after(0)
          if not ok then
            errors = errors + 1
            assert.is_truthy(tostring(msg):lower():find("memory"), ("allocation %d: %s"):format(n, tostring(msg)))
            assert.is_nil(tostring(msg):find("\n"))
          end
          n = n + (on and 3 or 1)
        end
        assert.is_true(errors > 20)
      end
      local now = settle()
      assert.is_true(now.live <= base.live, (now.live - base.live) .. " bytes of tensors")
      assert.is_true(now.small <= base.small + 8, (now.small - base.small) .. " structures")
    end)
  end
  teardown(function() os.remove(path) end)
end)
