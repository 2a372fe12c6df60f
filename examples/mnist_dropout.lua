-- mnist_dropout.lua - teaches: dropout. Half of the hidden units are switched off at random in training, none in validation, so the
-- network cannot lean on single units; the accuracy on data it has not seen ends above the one it trained with.
-- Run: slugnet examples/mnist_dropout.lua DIR     (without DIR: Fashion-MNIST)
local sn = require "slugnet"
local quick = os.getenv("SLUGNET_QUICK") == "1"

local dir = arg and arg[1]
local train, test
if dir then train, test = assert(sn.data.mnist(dir, { flat = true }))
else train, test = assert(sn.data.fashion_mnist { flat = true }) end
local X, y = train.X, train.y
if quick then X, y = X:narrow(1, 1, 256), y:narrow(1, 1, 256) end

local model = sn.Model {
  lr = 0.001, n_epoch = quick and 1 or 3, validation_split = 0.2, metrics = { "loss", "accuracy" }, seed = 1,
  loss = sn.SoftmaxCategoricalCrossEntropy(), optimizer = sn.RMSProp(),
}
model:add_layer(sn.Dense { 200, inshape = 784, activation = sn.ReLU() })
model:add_layer(sn.Dropout(0.5))
model:add_layer(sn.Dense { 10, activation = sn.Softmax() })

local history = model:fit(X, y)
for epoch, a in ipairs(history.train.accuracy) do
  print(("epoch %d: %.4f with dropout, %.4f on unseen data without"):format(epoch, a, history.val.accuracy[epoch]))
end
print(("test accuracy %.4f"):format(model:evaluate(test.X, test.y).accuracy))
