-- job_mlp.lua - a whole job: read Fashion-MNIST, train 784-200-10 for one epoch, print one JSON line. What the process takes from start to exit and
-- its peak memory are measured from outside.
--   slugnet bench/job_mlp.lua [FOLDER]      (without one, where Debian's package puts the data)
local sn = require "slugnet"
local began = sn.clock()
local train = assert(sn.data.fashion_mnist(arg[1], { flat = true, bytes = true }))
local read = sn.clock()
local model = sn.Model {
  lr = 0.001, n_epoch = 1, batch_size = 32, metrics = { "loss", "accuracy" }, seed = 1, progress = false, scale = 1 / 255,
  optimizer = sn.RMSProp { rho = 0.9 },
  layers = { sn.Dense { 200, inshape = 784, activation = sn.ReLU() }, sn.Dense { 10, activation = sn.Softmax() } },
}
local history = model:fit(train.X, train.y)
print(sn.io.json_encode {
  job = "mlp", system = "slugnet-" .. sn.info().version, threads = sn.threads(), load_s = read - began, epoch_s = history.seconds[1],
  loss = history.train.loss[1], accuracy = history.train.accuracy[1],
})
