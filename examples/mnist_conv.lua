-- mnist_conv.lua - teaches: convolution and pooling by the original's own network, 1,000 images and very few kernels. It is small enough
-- to look at: one 3x3 kernel, then two of 4x4.
-- Run: slugnet examples/mnist_conv.lua DIR     (without DIR: Fashion-MNIST)
local sn = require "slugnet"
local quick = os.getenv("SLUGNET_QUICK") == "1"

local dir = arg and arg[1]
local train, test
if dir then train, test = assert(sn.data.mnist(dir)) else train, test = assert(sn.data.fashion_mnist()) end
local n = quick and 30 or 1000
local X, y = train.X:narrow(1, 1, n), train.y:narrow(1, 1, n)

local model = sn.Model {
  lr = 0.01, n_epoch = quick and 1 or 40, batch_size = 10, validation_split = 0.2, metrics = { "loss", "accuracy" }, log_interval = 10, seed = 100,
  loss = sn.SoftmaxCategoricalCrossEntropy(), optimizer = sn.SGD { momentum = 0.9 },
}
model:add_layer(sn.Convolution { 1, { 3, 3 }, inshape = { 1, 28, 28 } })
model:add_layer(sn.MeanPooling { { 2, 2 } })
model:add_layer(sn.Convolution { 2, { 4, 4 } })
model:add_layer(sn.MeanPooling { { 2, 2 } })
model:add_layer(sn.Flatten())
model:add_layer(sn.Dense { 10, activation = sn.Softmax() })

model:fit(X, y)
model:summary()
print("the first kernel:")
print(model.layers[1]:parameters()[1])
print(("test accuracy %.4f"):format(model:evaluate(test.X, test.y).accuracy))
