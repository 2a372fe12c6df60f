-- custom_layer.lua - teaches: a layer written in Lua. It is used like a built-in one: trained, counted, saved, loaded.
local sn = require "slugnet"
local quick = os.getenv("SLUGNET_QUICK") == "1"

-- What goes in is added to what the inner layers make of it.
local Skip = sn.layer("Skip", {
  init = function(self, body) self.body = body end,
  forward = function(self, x) return x + self.body(x) end,
})

-- A layer with a parameter of its own: one factor per feature.
local Scale = sn.layer("Scale", {
  init = function(self, n) self.factor = sn.ones(n):requires_grad_() end,
  forward = function(self, x) return x * self.factor end,
})

-- A spiral of two arms: class 1 and class 2.
sn.manual_seed(1)
local n = quick and 40 or 400
local t = sn.rand(n) * 3 + 0.3
local y = sn.arange(1, n + 1):remainder(2):add(1)
local angle = t * 2 + y:to("float32") * math.pi
local X = sn.stack({ t * angle:cos(), t * angle:sin() }, 2) / 3 + sn.randn(n, 2) * 0.01

local model = sn.Model {
  lr = 0.01, n_epoch = quick and 1 or 60, batch_size = 20, seed = 1, optimizer = sn.Adam {}, log_interval = 20,
  layers = {
    sn.Dense { 32, inshape = 2, activation = sn.Tanh() },
    Skip(sn.Dense { 32, activation = sn.Tanh() }),
    Scale(32),
    sn.Dense { 2, activation = sn.Softmax() },
  },
}
model:fit(X, y)
model:summary()
print(("accuracy %.3f"):format(model:evaluate(X, y).accuracy))

local path = os.tmpname()
assert(model:save(path))
local again = assert(sn.load(path))
print("saved and loaded: same answers", again:transform(X):equal(model:transform(X)))
os.remove(path)
