-- fashion_mnist.lua - teaches: training on 60,000 images of clothes, from loading to a saved model that is loaded again.
-- The images come from Debian's package dataset-fashion-mnist; `make demo` runs this.
local sn = require "slugnet"
local quick = os.getenv("SLUGNET_QUICK") == "1"

local train, test, classes = assert(sn.data.fashion_mnist { flat = true })
local X, y = train.X, train.y
if quick then X, y = X:narrow(1, 1, 256), y:narrow(1, 1, 256) end

local model = sn.Model {
  lr = 0.001, n_epoch = quick and 1 or 12, batch_size = 128, validation_split = 0.1, metrics = { "loss", "accuracy" }, seed = 1, optimizer = sn.Adam {},
  layers = {
    sn.Dense { 512, inshape = 784, activation = sn.ReLU() },
    sn.Dropout(0.3),
    sn.Dense { 128, activation = sn.ReLU() },
    sn.Dense { 10, activation = sn.Softmax() },
  },
}
local n_epoch = model.n_epoch
model:fit(X, y, { schedule = sn.schedule.cosine { total = n_epoch, warmup = 1 } })

model:summary()
local result = model:evaluate(test.X, test.y)
print(("test loss %.4f, test accuracy %.4f"):format(result.loss, result.accuracy))

-- What the network thinks of five images it has never seen.
local five = test.X:narrow(1, 1, 5)
local guess = model:predict(five):totable()
for i, c in ipairs(guess) do print(("image %d: %-12s (it is a %s)"):format(i, classes[c], classes[test.y[i]])) end

-- Weights and config go into one file; what comes back is the same model.
local path = os.tmpname()
assert(model:save(path))
local again = assert(sn.load(path))
print("saved and loaded: same answers", again:transform(five):equal(model:transform(five)))
os.remove(path)
