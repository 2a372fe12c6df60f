-- data.lua - data sets and what one does to them before training: readers, splits, scaling, batches.
-- Readers give nil, message when a file is missing or damaged; a wrong call raises. Classes count from 1.
local core = require "slugnet.core"
local check = require "slugnet.check"
check.own()
local kind = check.kind

local M = {}

-- A permutation of 1..n that is a function of (seed, epoch) alone: every epoch has its own stretch of the generator's counter.
function M.permutation(n, seed, epoch)
  local g = core.Generator(seed)
  g:load_state { seed = seed, position = epoch << 40 }
  return core.randperm(n, { generator = g })
end

function M.idx(path, options) return core.read_idx(path, options) end

local CSV = {
  header = kind.flag, separator = kind.text, skip = kind.integer, label = kind.any, classes = kind.any, strings = kind.flag,
  missing = function(v) if type(v) ~= "number" then return "a number (0/0 is nan)" end end,
  dtype = kind.words("float32", "float64"),
}

-- Takes column p out of a matrix: what is left, and the column.
local function take(x, p)
  local n = x:size(2)
  local parts = {}
  if p > 1 then parts[1] = x:narrow(2, 1, p - 1) end
  if p < n then parts[#parts + 1] = x:narrow(2, p + 1, n - p) end
  local rest = #parts == 2 and core.cat(parts, 2) or #parts == 1 and parts[1]:contiguous() or x:narrow(2, 1, 0):contiguous()
  return rest, x:select(2, p):contiguous()
end

--- data.csv(path or {text=...}, {header=, separator=",", skip=0, label=, classes=, strings=false, missing=, dtype="float32"})
-- A table of numbers and words as a table with these fields, or nil and "file:line: what is wrong":
--   X (rows x columns of numbers), names (of these columns, from the header, else their numbers), rows,
--   y and classes: the column label = name or number (-1 is the last); words become classes 1..C, sorted, numbers stay numbers unless
--   classes = true, or the list of classes that another file had;
--   text[name] = {codes = tensor, words = {…}} of each other column of words, or its strings with strings = true.
-- Options: header (by default: unless the first line has a number), separator = ",", skip = lines before the table,
-- missing = the number that an empty field becomes (else it is an error), dtype = "float32".
function M.csv(path, options)
  local o = check.options("data.csv", options, CSV)
  if type(path) ~= "string" and not (type(path) == "table" and type(path.text) == "string") then
    check.fail("data.csv: wants a path, or {text = …}, got %s", check.show(path))
  end
  local label, classes = o.label, o.classes
  if label ~= nil and type(label) ~= "string" and math.type(label) ~= "integer" then
    check.fail("data.csv: label is %s; it wants to be the name of a column or its number", check.show(label))
  end
  if classes ~= nil and (label == nil or (type(classes) ~= "table" and classes ~= true)) then
    check.fail("data.csv: classes is %s; it wants to be true or a list of strings, and label = a column beside it", check.show(classes))
  end
  local t, msg = core.read_csv(path, {
    header = o.header, separator = o.separator, skip = o.skip, missing = o.missing, dtype = o.dtype, strings = o.strings, column = label,
    words = classes and { label } or nil, classes = type(classes) == "table" and classes or nil,
  })
  if not t then return nil, msg end
  local out = { X = t.numbers, names = t.names, rows = t.rows, text = {} }
  if math.type(label) == "integer" and label < 0 then label = label + t.cols + 1 end
  for _, c in ipairs(t.text) do
    if label ~= nil and (c.name == label or c.column == label) then out.y, out.classes = c.codes, c.words
    else out.text[c.name] = c.strings or { codes = c.codes, words = c.words } end
  end
  if label ~= nil and not out.y then
    for p, column in ipairs(t.columns) do
      if t.names[p] == label or column == label then
        out.X, out.y = take(out.X, p)
        table.remove(out.names, p)
        break
      end
    end
  end
  return out
end

local function samples(where, X, y)
  X = check.tensor(where, "X", X)
  if X:dim() == 0 or X:size(1) == 0 then check.fail("%s: X is empty", where) end
  if y ~= nil then
    y = check.tensor(where, "y", y)
    if y:dim() == 0 or y:size(1) ~= X:size(1) then
      check.fail("%s: X has %d samples, y has %s", where, X:size(1), y:dim() == 0 and "none" or y:size(1))
    end
  end
  return X, y
end

--- data.split(X, y, {test=0.2, seed=0, shuffle=true})
-- Xtrain, ytrain, Xtest, ytest: the samples in an order made by the seed, the last part of them to test with.
function M.split(X, y, options)
  local o = check.options("data.split", options, { test = kind.fraction, seed = kind.integer, shuffle = kind.flag })
  X, y = samples("data.split", X, y)
  local n = X:size(1)
  local ntest = math.floor(n * (o.test or 0.2) + 0.5)
  if ntest < 1 or ntest >= n then
    check.fail("data.split: test = %g of %d samples leaves %d to train and %d to test; both want one at least", o.test or 0.2, n, n - ntest, ntest)
  end
  local order = o.shuffle == false and core.arange(1, n + 1) or M.permutation(n, o.seed or 0, 0)
  local train, test = order:narrow(1, 1, n - ntest), order:narrow(1, n - ntest + 1, ntest)
  return X:index_select(1, train), y and y:index_select(1, train), X:index_select(1, test), y and y:index_select(1, test)
end

--- data.standardize(X, stats)
-- Mean 0 and deviation 1 for every column: Z, stats = standardize(Xtrain); Ztest = standardize(Xtest, stats).
-- A column that never changes is only centred.
function M.standardize(X, stats)
  X = samples("data.standardize", X)
  local _ <close> = core.no_grad()
  if not (X.dtype == "float32" or X.dtype == "float64") then X = X:to("float32") end
  if not stats then
    local mean = X:mean(1)
    local std = X:sub(mean):square():mean(1):sqrt()
    stats = { mean = mean, std = core.where(std:gt(0), std, core.ones_like(std)) }
  elseif type(stats) ~= "table" or not (stats.mean and stats.std) then
    check.fail("data.standardize: stats wants to be what standardize gave for the training data, got %s", check.show(stats))
  end
  return X:sub(stats.mean):div(stats.std), stats
end

--- data.one_hot(labels, C)
-- Rows of float32 with one 1 each, at the class 1..C.
function M.one_hot(y, C)
  y = check.tensor("data.one_hot", "labels", y)
  if y:dim() ~= 1 then check.fail("data.one_hot: labels have the shape %s; want class numbers (n)", check.shape(y.shape)) end
  if y:numel() == 0 then check.fail("data.one_hot: no labels") end
  C = C or math.tointeger(y:max():item())
  return core.one_hot(check.classes("data.one_hot", y, C), C):to("float32")
end

--- data.batches(X, y, {batch_size=32, shuffle=true, seed=0, epoch=1, drop_last=false})
-- for xb, yb, i in sn.data.batches(X, y) do ... end: every sample once, in an order that seed and epoch alone decide.
function M.batches(X, y, options)
  local o = check.options("data.batches", options,
    { batch_size = kind.count, shuffle = kind.flag, seed = kind.integer, epoch = kind.integer, drop_last = kind.flag })
  X, y = samples("data.batches", X, y)
  local n, size = X:size(1), o.batch_size or 32
  local order = o.shuffle ~= false and M.permutation(n, o.seed or 0, o.epoch or 1) or nil
  local i, last = 0, o.drop_last and n // size or (n + size - 1) // size
  return function()
    i = i + 1
    if i > last then return nil end
    local from = (i - 1) * size + 1
    local k = math.min(size, n - from + 1)
    if not order then return X:narrow(1, from, k), y and y:narrow(1, from, k), i end
    local at = order:narrow(1, from, k)
    return X:index_select(1, at), y and y:index_select(1, at), i
  end
end

local function names(from, to)
  local l = {}
  for i = from, to do l[#l + 1] = tostring(i) end
  return l
end

--- data.digits({flat=false})
-- The 1,797 digits of 8x8 pixels, scaled to 0..1: X (n x 1 x 8 x 8, or n x 64 with {flat=true}), y (1..10), classes ("0".."9").
function M.digits(options)
  local o = check.options("data.digits", options, { flat = kind.flag })
  local d = require "slugnet.digits"
  local place, text, list = {}, d.text:gsub("%s", ""), {}
  for i = 1, #d.alphabet do place[d.alphabet:byte(i)] = i - 1 end
  for i = 1, #text, 2 do
    local p, q = text:byte(i, i + 1)
    local n, k = place[p] + 71 * place[q], #list
    list[k + 1], list[k + 2], list[k + 3] = n % 17, n // 17 % 17, n // 289
  end
  local _ <close> = core.no_grad()
  local t = core.tensor(list):reshape(#list // 66, 66)
  local X, y = t:narrow(2, 1, 64):div(16), t:select(2, 65):to("int64"):add(1)
  return o.flat and X or X:reshape(X:size(1), 1, 8, 8), y, names(0, 9)
end

--- data.iris()
-- The 150 irises: X (150 x 4, centimetres), y (1..3), classes.
function M.iris()
  local t = assert(M.csv({ text = require "slugnet.iris" }, { header = false, label = 5 }))
  return t.X, t.y:to("int64"):add(1), { "setosa", "versicolor", "virginica" }
end

-- A pair of IDX files as images, scaled to 0..1 or as bytes, and classes from 1.
local function images(dir, part, o)
  local function read(what, options)
    local base = ("%s/%s-%s"):format(dir, part, what)
    local why
    for _, end_ in ipairs { ".gz", "" } do
      local f = io.open(base .. end_, "rb")
      if f then
        f:close()
        return core.read_idx(base .. end_, options)
      end
      why = ("%s.gz: there is no such file"):format(base)
    end
    return nil, why
  end
  local x, msg = read("images-idx3-ubyte", not o.bytes and { scale = 1 / 255 } or nil)
  if not x then return nil, msg end
  local l
  l, msg = read("labels-idx1-ubyte")
  if not l then return nil, msg end
  if x:dim() ~= 3 or l:dim() ~= 1 or x:size(1) ~= l:size(1) then
    return nil, ("%s: images are %s, labels %s; they do not belong together"):format(dir, check.shape(x.shape), check.shape(l.shape))
  end
  local n, h, w = x:size(1), x:size(2), x:size(3)
  l = l:to("int64"):add_(1)
  if l:numel() > 0 and l:max():item() > 10 then return nil, ("%s: a label is above 9"):format(dir) end
  return { X = o.flat and x:reshape(n, h * w) or x:reshape(n, 1, h, w), y = l }
end

local function both(dir, o, classes)
  local train, msg = images(dir, "train", o)
  if not train then return nil, msg end
  local test
  test, msg = images(dir, "t10k", o)
  if not test then return nil, msg end
  return train, test, classes
end

local function folder(where, dir, options)
  if type(dir) == "table" then dir, options = nil, dir end
  if dir ~= nil and type(dir) ~= "string" then check.fail("%s: the folder is %s; it wants to be a string", where, check.show(dir)) end
  local o = check.options(where, options, { flat = kind.flag, bytes = kind.flag })
  return dir and #dir > 1 and dir:gsub("/+$", "") or dir, o
end

--- data.mnist(dir, {flat=false, bytes=false})
-- train, test, classes from the four files of MNIST: train.X and train.y; images n x 1 x 28 x 28 (or n x 784) in 0..1, labels 1..10.
-- With bytes = true the images stay uint8, a quarter of the memory; sn.Model{scale = 1/255} makes the same numbers of them, batch by batch.
-- nil and a message if a file is missing or damaged.
function M.mnist(dir, options)
  local path, o = folder("data.mnist", dir, options)
  if not path then check.fail("data.mnist: wants the folder that holds train-images-idx3-ubyte.gz and its three companions") end
  local train, test, classes = both(path, o, names(0, 9))
  if not train then return nil, test .. " (data.mnist wants a folder with the four files of MNIST)" end
  return train, test, classes
end

local clothes = { "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot" }

--- data.fashion_mnist(dir, {flat=false, bytes=false})
-- The same for Fashion-MNIST; without a folder, where Debian's package puts it.
function M.fashion_mnist(dir, options)
  local path, o = folder("data.fashion_mnist", dir, options)
  local train, test, classes = both(path or "/usr/share/datasets/fashion-mnist", o, { table.unpack(clothes) })
  if not train then
    return nil, test .. (path and "" or "; Debian has the data: apt-get install dataset-fashion-mnist")
  end
  return train, test, classes
end

return M
