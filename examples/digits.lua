-- digits.lua - teaches: a first real data set without a download. 1,797 digits of 8x8 pixels, a split into training and test data,
-- a network with one hidden layer, and which digits are taken for which.
local sn = require "slugnet"
local quick = os.getenv("SLUGNET_QUICK") == "1"

local X, y, classes = sn.data.digits { flat = true }
local Xtrain, ytrain, Xtest, ytest = sn.data.split(X, y, { test = 0.25, seed = 1 })
if quick then Xtrain, ytrain = Xtrain:narrow(1, 1, 32), ytrain:narrow(1, 1, 32) end

local model = sn.Model {
  lr = 0.001, n_epoch = quick and 1 or 20, batch_size = 32, validation_split = 0.1, metrics = { "loss", "accuracy" }, log_interval = 5, seed = 1,
  layers = {
    sn.Dense { 64, inshape = 64, activation = sn.ReLU() },
    sn.Dense { 10, activation = sn.Softmax() }, -- so the loss is the cross entropy of classes
  },
}
model:fit(Xtrain, ytrain)

local guess = model:predict(Xtest)
print(("test accuracy %.3f"):format(sn.metrics.accuracy(guess, ytest)))

-- The three pairs of digits that are confused most.
local counts = sn.metrics.confusion_matrix(guess, ytest, 10):totable()
local pairs_ = {}
for t = 1, 10 do
  for p = 1, 10 do
    if t ~= p and counts[t][p] > 0 then pairs_[#pairs_ + 1] = { counts[t][p], classes[t], classes[p] } end
  end
end
table.sort(pairs_, function(a, b) return a[1] > b[1] or a[1] == b[1] and a[2] .. a[3] < b[2] .. b[3] end)
for i = 1, math.min(3, #pairs_) do print(("a %s taken for a %s: %d"):format(pairs_[i][2], pairs_[i][3], pairs_[i][1])) end
