-- data_spec.lua - the data sets inside, those of Debian, and what one does to data before training.
local sn = require "slugnet"

local fashion = "/usr/share/datasets/fashion-mnist"

describe("data sets", function()
  it("digits are inside", function()
    local X, y, classes = sn.data.digits()
    assert.same({ 1797, 1, 8, 8 }, X.shape)
    assert.same({ 1797 }, y.shape)
    assert.equal("int64", y.dtype)
    assert.equal(10, #classes)
    assert.equal("0", classes[y[1]])
    -- sums of scikit-learn's data
    assert.equal(561718, X:mul(16):sum():item())
    assert.equal(1, X:max():item())
    local counts = sn.one_hot(y, 10):sum(1):totable()
    assert.same({ 178, 182, 177, 183, 181, 182, 181, 179, 174, 180 }, counts)
    assert.same({ 0, 0, 5, 13, 9, 1, 0, 0 }, X[{ 1, 1, 1, {} }]:mul(16):totable())
    local flat = sn.data.digits { flat = true }
    assert.same({ 1797, 64 }, flat.shape)
    assert.is_true(flat:equal(X:reshape(1797, 64)))
    assert.has_error(function() sn.data.digits { falt = true } end)
  end)

  it("iris is inside", function()
    local X, y, classes = sn.data.iris()
    assert.same({ 150, 4 }, X.shape)
    assert.same({ "setosa", "versicolor", "virginica" }, classes)
    assert.same({ 50, 50, 50 }, sn.one_hot(y, 3):sum(1):totable())
    assert.is_true(X:mean(1):allclose(sn.tensor { 5.8433, 3.0573, 3.7580, 1.1993 }, { atol = 1e-4 }))
  end)

  it("Fashion-MNIST comes from Debian's package, as numbers or as bytes", function()
    local f = io.open(fashion .. "/train-images-idx3-ubyte.gz")
    if not f then return pending("dataset-fashion-mnist is not installed") end
    f:close()
    local train, test, classes = assert(sn.data.fashion_mnist())
    assert.same({ 60000, 1, 28, 28 }, train.X.shape)
    assert.same({ 10000, 1, 28, 28 }, test.X.shape)
    assert.equal(10, #classes)
    assert.equal("Ankle boot", classes[train.y[1]])
    assert.is_true(train.y:min():item() == 1 and train.y:max():item() == 10)
    assert.is_true(train.X:min():item() == 0 and train.X:max():item() == 1)
    assert.is_true(math.abs(train.X:mean():item() - 0.2860) < 1e-4)
    local raw = assert(sn.data.fashion_mnist { bytes = true })
    assert.equal("uint8", raw.X.dtype)
    assert.is_true((raw.X:to("float32") * (1 / 255)):equal(train.X) and raw.y:equal(train.y))
  end)

  it("that are missing are nil and a message that helps", function()
    local t, msg = sn.data.mnist("/nowhere/at/all")
    assert.is_nil(t)
    assert.truthy(msg:find("no such file", 1, true))
    t, msg = sn.data.fashion_mnist("/nowhere")
    assert.is_nil(t)
    assert.is_string(msg)
    assert.has_error(function() sn.data.mnist() end)
    assert.has_error(function() sn.data.mnist(3) end)
  end)

  it("whose files do not belong together are refused", function()
    local dir = os.tmpname()
    os.remove(dir)
    assert(sn.mkdir(dir))
    local function put(name, dims, body)
      local f = assert(io.open(dir .. "/" .. name, "wb"))
      f:write("\0\0\8", string.char(#dims), (">I4"):rep(#dims):pack(table.unpack(dims)), body)
      f:close()
    end
    put("train-images-idx3-ubyte", { 2, 2, 2 }, "\0\1\2\3\4\5\6\255")
    put("train-labels-idx1-ubyte", { 3 }, "\0\1\2")
    put("t10k-images-idx3-ubyte", { 1, 2, 2 }, "\0\1\2\3")
    put("t10k-labels-idx1-ubyte", { 1 }, "\9")
    local t, msg = sn.data.mnist(dir)
    assert.is_nil(t)
    assert.truthy(msg:find("do not belong together"))
    put("train-labels-idx1-ubyte", { 2 }, "\0\10")
    t, msg = sn.data.mnist(dir)
    assert.is_nil(t)
    assert.truthy(msg:find("a label is above 9"))
    put("train-labels-idx1-ubyte", { 2 }, "\0\9")
    local train, test = assert(sn.data.mnist(dir .. "/"))
    assert.same({ 1, 10 }, train.y:totable())
    assert.same({ 1, 1, 2, 2 }, test.X.shape)
    assert.equal(1, train.X:max():item())
    os.execute("rm -rf " .. dir)
  end)
end)

describe("before training", function()
  it("split shuffles once by its seed and loses nothing", function()
    local X = sn.arange(0, 20):reshape(10, 2)
    local y = sn.arange(1, 11)
    local a, b, c, d = sn.data.split(X, y, { test = 0.3, seed = 4 })
    assert.same({ 7, 2 }, a.shape)
    assert.same({ 3 }, d.shape)
    local seen = {}
    for _, t in ipairs { b, d } do
      for i = 1, #t do seen[t[i]] = true end
    end
    assert.equal(10, #seen)
    for i = 1, 7 do assert.equal(2 * (b[i] - 1), a[i][1]) end
    for i = 1, 3 do assert.equal(2 * (d[i] - 1), c[i][1]) end
    local again = sn.data.split(X, y, { test = 0.3, seed = 4 })
    assert.is_true(again:equal(a))
    local _, first = sn.data.split(X, y, { test = 0.2, shuffle = false })
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8 }, first:totable())
    assert.has_error(function() sn.data.split(X, y, { test = 0 }) end)
    assert.has_error(function() sn.data.split(X, y, { test = 1 }) end)
    assert.has_error(function() sn.data.split(X, y, { test = 0.01 }) end)
    assert.has_error(function() sn.data.split(X, sn.arange(1, 5)) end)
    assert.has_error(function() sn.data.split(sn.zeros(0, 2)) end)
  end)

  it("standardize uses the statistics of the training data", function()
    local X = sn.tensor { { 1, 5 }, { 3, 5 } }
    local Z, stats = sn.data.standardize(X)
    assert.same({ { -1, 0 }, { 1, 0 } }, Z:totable())
    assert.same({ { 3, 1 } }, sn.data.standardize(sn.tensor { { 5, 6 } }, stats):totable())
    assert.has_error(function() sn.data.standardize(X, 3) end)
  end)

  it("one_hot makes rows with one 1", function()
    assert.same({ { 0, 1 }, { 1, 0 } }, sn.data.one_hot(sn.tensor({ 2, 1 }, { dtype = "int64" }), 2):totable())
    assert.has_error(function() sn.data.one_hot(sn.tensor({ 0, 1 }, { dtype = "int64" }), 2) end)
    assert.has_error(function() sn.data.one_hot(sn.tensor({ 3 }, { dtype = "int64" }), 2) end)
  end)

  it("batches cover everything once, differently each epoch, the same for each seed", function()
    local X, y = sn.arange(0, 7):reshape(7, 1), sn.arange(1, 8)
    local function order(o)
      local all, sizes = {}, {}
      for xb, yb, i in sn.data.batches(X, y, o) do
        assert.equal(i, #sizes + 1)
        sizes[i] = #xb
        for k = 1, #yb do
          all[#all + 1] = yb[k]
          assert.equal(yb[k] - 1, xb[k][1])
        end
      end
      return all, sizes
    end
    local a, sizes = order { batch_size = 3, seed = 1 }
    assert.same({ 3, 3, 1 }, sizes)
    local sorted = { table.unpack(a) }
    table.sort(sorted)
    assert.same({ 1, 2, 3, 4, 5, 6, 7 }, sorted)
    assert.same(a, (order { batch_size = 3, seed = 1 }))
    assert.not_same(a, (order { batch_size = 3, seed = 1, epoch = 2 }))
    assert.same({ 1, 2, 3, 4, 5, 6, 7 }, (order { shuffle = false }))
    local _, s = order { batch_size = 3, drop_last = true }
    assert.same({ 3, 3 }, s)
    assert.has_error(function() sn.data.batches(X, y, { batch_size = 0 }) end)
  end)
end)
