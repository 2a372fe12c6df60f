-- mnist.lua - teaches: the original's first example. Handwritten digits, one hidden layer of 200 units, RMSProp.
-- Run: slugnet examples/mnist.lua DIR     (DIR holds train-images-idx3-ubyte.gz and its three companions)
local sn = require "slugnet"
local quick = os.getenv("SLUGNET_QUICK") == "1"

local dir = arg and arg[1]
if not dir then
  io.stderr:write("usage: slugnet examples/mnist.lua DIR, the folder with the four files of MNIST\n")
  os.exit(1)
end
local train, test = assert(sn.data.mnist(dir, { flat = true }))
local X, y = train.X, train.y
if quick then X, y = X:narrow(1, 1, 256), y:narrow(1, 1, 256) end

local model = sn.Model {
  lr = 0.001, n_epoch = quick and 1 or 5, batch_size = 32, metrics = { "loss", "accuracy" }, seed = 1,
  loss = sn.SoftmaxCategoricalCrossEntropy(), optimizer = sn.RMSProp(),
}
model:add_layer(sn.Dense { 200, inshape = 784, activation = sn.ReLU() })
model:add_layer(sn.Dense { 10, activation = sn.Softmax() })

-- The rate falls in a line, so that the last epochs settle.
model:fit(X, y, { schedule = sn.schedule.linear { total = model.n_epoch, to = 0.0001 } })
print(("test accuracy %.4f"):format(model:evaluate(test.X, test.y).accuracy))
