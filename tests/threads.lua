-- threads.lua - trains small networks on four threads, large enough that the work is shared out; what `make tsan` watches for data races.
local sn = require "slugnet"
sn.threads(4)
sn.manual_seed(1)

local function train(net, X, y, opt, steps)
  for _ = 1, steps do
    opt:zero_grad()
    local loss = sn.cross_entropy(net(X), y)
    loss:backward()
    opt:step()
  end
  return sn.cross_entropy(net(X), y):item()
end

local dense = sn.Sequential(sn.Dense { 300, inshape = 300, activation = sn.ReLU() }, sn.Dropout(0.2), sn.Dense { 10 })
print("dense", train(dense, sn.randn(256, 300), sn.randint(1, 11, 256), sn.Adam(dense:parameters(), { lr = 0.01, clip_norm = 1 }), 5))

local conv = sn.Sequential(sn.Conv2d { 8, 3, padding = 1, inshape = { 3, 24, 24 } }, sn.BatchNorm2d {}, sn.ReLU(), sn.MaxPool2d { 2 }, sn.Flatten(), sn.Dense { 5 })
print("conv", train(conv, sn.randn(16, 3, 24, 24), sn.randint(1, 6, 16), sn.SGD(conv:parameters(), { lr = 0.01, momentum = 0.9 }), 3))

-- Batches that a thread makes ahead while the pool computes.
for _, n in ipairs { 1, 3 } do
  sn.threads(n)
  local model = sn.Model { n_epoch = 2, batch_size = 64, seed = 1, progress = false, scale = 1 / 255,
    layers = { sn.Dense { 128, inshape = 300, activation = "relu" }, sn.Dense { 10, activation = "softmax" } } }
  local history = model:fit(sn.randint(0, 256, { 1000, 300 }):to("uint8"), sn.randint(1, 11, { 1000 }), { prefetch = true, validation_split = 0.1 })
  print("fit", n, history.last.train.loss)
end

-- The data is written to meanwhile: by an operation, a compiled function, through a view, an element of it.
do
  local X, y = sn.rand(4000, 100), sn.randint(1, 11, 4000)
  local halve = sn.compile(function(x) x:mul_(0.5) end)
  local writes = { function() X:mul_(0.9) end, function() halve(X) end, function() X:t():narrow(1, 1, 50):add_(0.1) end, function() X[4000][100] = 1 end,
    function() y[4000] = 3 end, function() X:copy_(sn.rand(4000, 100)) end }
  local model = sn.Model { n_epoch = 2, batch_size = 50, seed = 1, progress = false, layers = { sn.Dense { 10, inshape = 100, activation = "softmax" } } }
  local history = model:fit(X, y, { prefetch = true, callbacks = { { on_batch_end = function(_, run) writes[run.batch % #writes + 1]() end } } })
  print("written", history.last.train.loss)
end

-- Elementwise work, reductions, sorting, random numbers, indexing, in sizes that are shared out; other numbers of threads in between.
for _, n in ipairs { 2, 4, 3 } do
  sn.threads(n)
  local x = sn.randn(600, 500)
  local s = x:tanh():sum() + x:max() + x:sort(2):mean() + x:softmax(2):std() + x:cumsum(1):mean()
  local i = sn.randint(1, 601, 5000)
  s = s + x:index_select(1, i):sum() + sn.rand(600, 500):matmul(x:t()):mean()
  print("mixed", n, s:item() == s:item())
end
