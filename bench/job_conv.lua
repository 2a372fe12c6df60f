-- job_conv.lua - a whole job: read Fashion-MNIST, train a network of two convolutions for one epoch, print one JSON line. What the process takes from
-- start to exit and its peak memory are measured from outside.
--   slugnet bench/job_conv.lua [FOLDER]     (without one, where Debian's package puts the data)
local sn = require "slugnet"
local began = sn.clock()
local train = assert(sn.data.fashion_mnist(arg[1], { bytes = true }))
local read = sn.clock()
local model = sn.Model {
  lr = 0.001, n_epoch = 1, batch_size = 128, metrics = { "loss", "accuracy" }, seed = 1, progress = false, scale = 1 / 255,
  optimizer = sn.Adam(),
  layers = {
    sn.Conv2d { 32, 3, inshape = { 1, 28, 28 } }, sn.ReLU(), sn.MaxPool2d { 2 }, sn.Conv2d { 64, 3 }, sn.ReLU(), sn.MaxPool2d { 2 }, sn.Flatten(),
    sn.Dropout(0.5), sn.Dense { 10, activation = sn.Softmax() },
  },
}
local history = model:fit(train.X, train.y)
print(sn.io.json_encode {
  job = "conv", system = "slugnet-" .. sn.info().version, threads = sn.threads(), load_s = read - began, epoch_s = history.seconds[1],
  loss = history.train.loss[1], accuracy = history.train.accuracy[1],
})
