-- convnet.lua - teaches: a convolutional network that reaches what such networks reach: batch norm, max pooling, dropout, Adam with a
-- cosine schedule, the best epoch kept. A run that is stopped goes on where it was when RUN is given.
-- Run: slugnet examples/convnet.lua DIR|fashion [RUN]     (DIR holds the four files of MNIST)
local sn = require "slugnet"
local quick = os.getenv("SLUGNET_QUICK") == "1"

local what, run = arg and arg[1] or "fashion", arg and arg[2]
local train, test
if what == "fashion" then train, test = assert(sn.data.fashion_mnist()) else train, test = assert(sn.data.mnist(what)) end
local X, y = train.X, train.y
if quick then X, y, test = X:narrow(1, 1, 128), y:narrow(1, 1, 128), { X = test.X:narrow(1, 1, 64), y = test.y:narrow(1, 1, 64) } end

local function block(channels, inshape)
  return sn.Conv2d { channels, 3, padding = 1, inshape = inshape }, sn.BatchNorm2d {}, sn.ReLU()
end
local n_epoch = quick and 1 or 6
local model = sn.Model { lr = 0.002, n_epoch = n_epoch, batch_size = 128, metrics = { "loss", "accuracy" }, seed = 1, optimizer = sn.Adam {} }
local function add(...)
  for _, layer in ipairs { ... } do model:add_layer(layer) end
end
add(block(16, { 1, 28, 28 }))
add(block(16))
add(sn.MaxPool2d { 2 })
add(block(32))
add(block(32))
add(sn.MaxPool2d { 2 }, sn.Flatten(), sn.Dropout(0.3))
add(sn.Dense { 128, activation = sn.ReLU() }, sn.Dropout(0.3))
add(sn.Dense { 10, activation = sn.Softmax() })

local n_batch = (#X + 127) // 128
model:fit(X, y, {
  schedule = sn.schedule.cosine { total = n_epoch * n_batch, warmup = math.min(100, n_batch), by = "batch" },
  checkpoint = run, resume = run ~= nil or nil, checkpoint_every = run and 50 or nil,
})
model:summary()
print(("test accuracy %.4f"):format(model:evaluate(test.X, test.y).accuracy))
