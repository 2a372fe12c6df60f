-- errors_spec.lua - what a wrong call says: the line of the script, the argument, and what would do.
local sn = require "slugnet"

local function message(fn, ...)
  local ok, text = pcall(fn, ...)
  assert.is_false(ok)
  return text
end

local function has(text, ...)
  for _, words in ipairs { ... } do
    assert(tostring(text):find(words, 1, true), ("'%s' is not in '%s'"):format(words, text))
  end
end

describe("errors", function()
  it("name the script's line", function()
    local line = debug.getinfo(1, "l").currentline + 1
    local text = message(function() return sn.tensor { 1, 2 } + sn.tensor { 1, 2, 3 } end)
    has(text, "errors_spec.lua:" .. line .. ":", "add", "shapes 2 and 3")
  end)
  it("are raised when everything is closed", function()
    local x = sn.tensor { 1, 2 }
    for _ = 1, 100 do pcall(function() return x + sn.tensor { 1, 2, 3 } end) end
    collectgarbage()
    local before = sn.memory().small
    for _ = 1, 100 do pcall(function() return x + sn.tensor { 1, 2, 3 } end) end
    collectgarbage()
    assert.are.equal(before, sn.memory().small)
  end)
  it("describe the argument", function()
    has(message(sn.add, sn.tensor { 1 }, "a"), "add", "'b'", "tensor", "string 'a'")
    has(message(sn.add, sn.tensor { 1 }), "'b' is missing")
    has(message(sn.add, sn.tensor { 1 }, {}), "sn.tensor")
    has(message(sn.add, sn.tensor { 1 }, print), "function")
    has(message(sn.add, sn.tensor { 1 }, sn.tensor { 1 }, 3), "too many")
    has(message(sn.relu, "x\n\27[31m"), "\\10\\27")
  end)
  it("guess names", function()
    local x = sn.tensor { 1, 2 }
    has(message(function() return x:sume() end), "'sume'", "did you mean 'sum'")
    has(message(function() return x:reshap(2) end), "did you mean 'reshape'")
    has(message(function() return x.shap end), "did you mean 'shape'")
    has(message(function() return x.completely_unknown end), "completely_unknown")
    has(message(function() return x:to("flaot32") end), "did you mean 'float32'")
    has(message(function() return sn.allclose(x, x, { rtoll = 1 }) end), "did you mean 'rtol'")
    has(message(function() return sn.zeros(2, { dtpe = "int64" }) end), "did you mean 'dtype'")
    assert.is_nil(sn.there_is_no_such_thing)
  end)
  it("keep error values that pass through C", function()
    local thrown = { code = 1 }
    local f = sn.func { name = "f", forward = function(_, x) return x * 1 end, backward = function() error(thrown) end }
    local x = sn.tensor({ 1, 2 }, { requires_grad = true })
    local ok, value = pcall(function() f(x):sum():backward() end)
    assert.is_false(ok)
    assert.are.equal(thrown, value)
    local g = sn.func { name = "g", forward = function(_, x) return x * 1 end, backward = function() error "from inside" end }
    has(message(function() g(x):sum():backward() end), "errors_spec.lua", "from inside")
  end)
  it("leave the modes as they were", function()
    pcall(sn.no_grad, function() error "x" end)
    assert.is_true(sn.is_grad_enabled())
  end)
end)

describe("tables of descriptors", function()
  it("list operations", function()
    local names = {}
    for _, op in ipairs(sn.ops()) do
      assert.is_nil(names[op.name], op.name .. " is listed twice")
      names[op.name] = op
    end
    assert.are.equal("x", names.relu.args[1].name)
    assert.is_true(names.relu.differentiable)
    assert.is_true(names.add_.flags.writes)
    assert.are.equal("num", names.leaky_relu.args[2].kind)
    assert(names.relu.doc:find("Rectified", 1, true))
  end)
  it("have help", function()
    assert(sn.help("relu"):find("Rectified", 1, true))
    local nothing, text = sn.help "rellu"
    assert.is_nil(nothing)
    has(text, "did you mean 'relu'")
    has(sn.help(), " relu ", "Dense", "sn.help \"name\"")
    has(tostring(sn), "slugnet", "sn.help()")
  end)
end)

describe("the machine", function()
  it("is described", function()
    local info = sn.info()
    assert.is_string(info.isa)
    assert.is_string(info.version)
    assert(info.threads >= 1)
  end)
  it("has generators", function()
    local g = sn.Generator(7)
    local a, state = g:random(), g:state()
    local b = g:random()
    g:load_state(state)
    assert.are.equal(b, g:random())
    assert.are.equal(a, sn.Generator(7):random())
    for _ = 1, 100 do
      local n = g:random(3)
      assert(n >= 1 and n <= 3)
    end
    has(message(function() return sn.Generator("x") end), "number")
    has(message(function() g:load_state { seed = 1 } end), "position")
  end)
  it("keeps settings", function()
    local n = sn.threads()
    assert.are.equal(1, sn.threads(1))
    sn.threads(n)
    has(message(function() sn.threads(-1) end), "threads")
    local before = sn.flush_denormals(false)
    assert.is_false(sn.flush_denormals(before))
    assert.is_false(sn.interrupted())
  end)
end)

-- What users will do: each is one line that begins with their own place, and none of them ends the process.
describe("bad input, in one line:", function()
  local program = (rawget(_G, "slugnet_build") or "build") .. "/bin/slugnet"
  local nan = 0 / 0
  local function dense(options)
    options = options or {}
    options.progress, options.seed, options.n_epoch = false, 1, options.n_epoch or 1
    options.layers = options.layers or { sn.Dense { 4, inshape = 3, activation = "relu" }, sn.Dense { 3, activation = "softmax" } }
    return sn.Model(options)
  end
  sn.manual_seed(5)
  local X = sn.randn(10, 3)
  local y = X:argmax(2)
  local function closed(t)
    t = t:clone()
    t:close()
    return t
  end
  local labels = function(...) return sn.tensor({ ... }, { dtype = "int64" }) end

  -- name, what is called, words of the message
  local raised = {
    -- shapes
    { "shapes that do not multiply", function() return sn.ones(2, 3):matmul(sn.ones(2, 3)) end, "matmul", "2x3" },
    { "shapes that do not broadcast", function() return sn.ones(2, 3) + sn.ones(4) end, "add", "2x3" },
    { "channels of a convolution", function() return sn.conv2d(sn.ones(1, 3, 8, 8), sn.ones(4, 2, 3, 3)) end, "conv2d", "3", "1x3x8x8", "4x2x3x3" },
    { "a kernel larger than its image", function() return sn.conv2d(sn.ones(1, 1, 2, 2), sn.ones(1, 1, 3, 3)) end, "conv2d", "3x3" },
    { "a reshape that loses elements", function() return sn.ones(2, 3):reshape(4, 2) end, "reshape", "6" },
    { "a view of what is not contiguous", function() return sn.ones(2, 3):t():view(6) end, "view", "reshape" },
    { "a dimension that is not there", function() return sn.ones(2, 3):sum(3) end, "sum", "3" },
    { "an index that is not there", function() return sn.ones(2, 3)[3] end, "3", "2" },
    { "an index 0", function() return sn.ones(2, 3)[0] end, "0", "1" },
    { "a size below 0", function() return sn.zeros(2, -1) end, "zeros", "-1" },
    { "a size that no memory has", function() return sn.zeros(1 << 40, 1 << 40) end, "zeros" },
    { "gradients of another shape", function() local x = sn.ones(2, 3):requires_grad_() x:relu():backward(sn.ones(3)) end, "2x3", "3" },
    { "a layer's input", function() return sn.Dense { 4, inshape = 3 }(X:narrow(2, 1, 2)) end, "Dense", "3", "2" },
    { "weights of another shape", function() sn.Dense { 4, inshape = 3 }:load_state(sn.Dense { 4, inshape = 2 }:state()) end, "4x3", "4x2" },
    -- dtypes
    { "a dtype that is none", function() return sn.ones(2, { dtype = "float23" }) end, "did you mean 'float32'" },
    { "gradients of whole numbers", function() return labels(1, 2):requires_grad_() end, "int64" },
    { "a mask of numbers", function() return X:masked_fill(sn.ones(10, 3), 0) end, "masked_fill", "bool" },
    { "positions that are fractions", function() return X:index_select(1, sn.tensor { 1.5 }) end, "index_select", "float32" },
    { "strings among numbers", function() return sn.tensor { 1, "two" } end, "tensor", "[2]", "string" },
    { "rows of unequal length", function() return sn.tensor { { 1, 2 }, { 3 } } end, "2" },
    { "a model given words", function() dense():fit({ { "a", "b", "c" } }, { 1 }) end, "a" },
    -- labels
    { "class 0", function() return sn.cross_entropy(sn.zeros(2, 3), labels(1, 0)) end, "label 0", "1..3" },
    { "class C + 1", function() return sn.cross_entropy(sn.zeros(2, 3), labels(4, 1)) end, "label 4", "1..3" },
    { "a class that is a fraction", function() dense():fit(X, y:to("float32") + 0.25) end, "whole" },
    { "a class that is nan", function() dense():fit(X, y:to("float32") * nan) end, "nan" },
    { "class 0 in fit", function() dense():fit(X, y - 1) end, "0", "1 to 3" },
    { "class C + 1 in evaluate", function() dense():evaluate(X, y + 1) end, "4", "1 to 3" },
    { "class 0 in validation data", function() dense():fit(X, y, { validation_data = { X, y - 1 } }) end, "validation", "0" },
    { "a row of an embedding that is not there", function() return sn.Embedding { 5, 2 }(labels(6)) end, "6", "5" },
    { "one_hot of class 0", function() return sn.data.one_hot(labels(0, 1), 3) end, "0" },
    -- names
    { "an option of a layer", function() return sn.Dense { 3, actvation = "relu" } end, "did you mean 'activation'" },
    { "an activation", function() return sn.Dense { 3, activation = "rleu" } end, "did you mean" },
    { "an option of an optimizer", function() return sn.SGD { momentun = 0.9 } end, "did you mean 'momentum'" },
    { "an option of an operation", function() return sn.conv2d(sn.ones(1, 1, 3, 3), sn.ones(1, 1, 3, 3), nil, { pading = 1 }) end, "did you mean 'padding'" },
    { "a number out of its range", function() return sn.Dropout(1.5) end, "1.5" },
    -- no data, little data
    { "fit of nothing", function() dense():fit(sn.zeros(0, 3), sn.zeros(0, { dtype = "int64" })) end, "empty" },
    { "evaluate of nothing", function() dense():evaluate(sn.zeros(0, 3), sn.zeros(0, { dtype = "int64" })) end, "empty" },
    { "transform of nothing", function() dense():transform(sn.zeros(0, 3)) end, "empty" },
    { "the largest of nothing", function() return sn.zeros(0):max() end, "max" },
    { "the last of a split", function() return sn.data.split(sn.ones(1, 2), sn.ones(1)) end, "1" },
    { "fewer samples than a whole batch", function() dense { batch_size = 32 }:fit(X, y, { drop_last = true }) end, "drop_last", "batch_size = 10" },
    { "a validation split of 0", function() dense { validation_split = 0 } end, "validation_split is 0" },
    { "a validation split of 1", function() dense { validation_split = 1 } end, "validation_split is 1" },
    { "a validation split of nan", function() dense { validation_split = nan } end, "validation_split" },
    -- closed tensors
    { "a closed tensor in an operation", function() return closed(X):sum() end, "closed" },
    { "a closed second tensor", function() return X + closed(X) end, "closed" },
    { "closed samples", function() dense():fit(closed(X), y) end, "closed" },
    { "closed labels", function() dense():fit(X, closed(y)) end, "closed" },
    { "a closed tensor as index", function() return X[closed(y)] end, "closed" },
    { "a closed tensor that is printed out", function() return closed(X):totable() end, "closed" },
    { "a closed tensor to be saved", function() return sn.io.save("/dev/null", { x = closed(X) }) end, "closed" },
    { "a closed batch for a layer", function() return sn.Dense { 4, inshape = 3 }(closed(X)) end, "closed" },
    { "a closed loss", function() closed(X):backward() end, "closed" },
  }
  for _, c in ipairs(raised) do
    it(c[1], function()
      local ok, msg = pcall(c[2])
      assert.is_false(ok, "no error")
      assert.is_string(msg)
      assert.is_nil(msg:find("\n"), msg)
      assert.is_truthy(msg:match("errors_spec%.lua:%d+: "), msg)
      assert.is_true(#msg > 40, msg)
      for i = 3, #c do has(msg, c[i]) end
    end)
  end

  it("fewer samples than a batch are a batch, though", function()
    local h = dense { batch_size = 64, n_epoch = 2 }:fit(X, y)
    assert.equal(2, h.epochs)
  end)

  local dir = os.tmpname()
  os.remove(dir)
  assert(sn.mkdir(dir))
  local function bytes_of(path)
    local f = assert(io.open(path, "rb"))
    local s = f:read("a")
    f:close()
    return s
  end
  local function put(name, s)
    local f = assert(io.open(dir .. "/" .. name, "wb"))
    f:write(s)
    f:close()
    return dir .. "/" .. name
  end
  local function refused(words, v, msg)
    assert.is_nil(v)
    assert.is_string(msg)
    assert.is_nil(msg:find("\n"), msg)
    has(msg, words)
  end

  it("a saved model that is cut or altered", function()
    local path = dir .. "/model"
    assert(dense():save(path))
    local s = bytes_of(path)
    for _, n in ipairs { 0, 1, 7, 8, 9, 100, #s // 2, #s - 1 } do refused("cut", sn.load(put("cut", s:sub(1, n)))) end
    refused("cut", sn.load(put("cut", s .. "x")))
    -- every byte of the header in turn; what still loads is a model or a table, never a crash
    local head = ("<I8"):unpack(s)
    for i = 1, 8 + head, 3 do
      local v, msg = sn.load(put("flip", s:sub(1, i - 1) .. string.char(s:byte(i) ~ 1 << i % 8) .. s:sub(i + 1)))
      if v == nil then assert.is_nil(msg:find("\n"), msg) end
    end
    assert(sn.load(path))
  end)

  it("a checkpoint that is cut, of another model or of other data", function()
    local folder = dir .. "/run"
    dense():fit(X, y, { checkpoint = folder })
    local file = folder .. "/checkpoint.safetensors"
    local s = bytes_of(file)
    local function resume(m, x, t, ...)
      local text = message(function() m:fit(x, t, { checkpoint = folder, resume = true, n_epoch = 2 }) end)
      assert.is_nil(text:find("\n"), text)
      has(text, "errors_spec.lua", ...)
    end
    resume(dense(), X:narrow(1, 1, 8), y:narrow(1, 1, 8), "samples")
    resume(dense { batch_size = 3 }, X, y, "batch_size")
    resume(dense { layers = { sn.Dense { 5, inshape = 3 }, sn.Dense { 3, activation = "softmax" } } }, X, y, "checkpoint.safetensors")
    for _, n in ipairs { 0, 9, #s // 2, #s - 1 } do
      put("run/checkpoint.safetensors", s:sub(1, n))
      resume(dense(), X, y, "resume", "checkpoint.safetensors")
    end
    put("run/checkpoint.safetensors", s)
    assert.equal(2, dense():fit(X, y, { checkpoint = folder, resume = true, n_epoch = 2 }).epochs)
    refused("checkpoint", sn.load(file))
  end)

  it("a folder that is missing", function()
    refused("folder is missing", dense():save(dir .. "/none/m"))
    refused("No such file", sn.load(dir .. "/none/m"))
    refused("No such file", sn.data.csv(dir .. "/none.csv"))
    refused("No such file", sn.data.idx(dir .. "/none.gz"))
    refused("no such file", sn.data.mnist(dir .. "/none"))
    refused("No such file", sn.restore(dir .. "/none"))
  end)

  it("a disk that is full: the old model and the old checkpoint stay, and so does the model in memory", function()
    local path, folder = dir .. "/old", dir .. "/oldrun"
    local script = put("full.lua", ([[
      local sn = require "slugnet"
      local X = sn.rand(8, 40)
      local function model(width)
        return sn.Model { lr = 0.01, n_epoch = 2, seed = 1, progress = false, layers = { sn.Dense { width, inshape = 40 }, sn.Dense { 3, activation = "softmax" } } }
      end
      local y = sn.tensor({ 1, 2, 3, 1, 2, 3, 1, 2 }, { dtype = "int64" })
      print("saved", model(900):save(%q))
      local m = model(900)
      local ok, msg = pcall(m.fit, m, X, y, { checkpoint = %q })
      print("fit", ok, msg)
      print("alive", m:transform(X):size(1))
    ]]):format(path, folder))
    assert(dense():save(path))
    dense():fit(X, y, { checkpoint = folder })
    local model, checkpoint = bytes_of(path), bytes_of(folder .. "/checkpoint.safetensors")
    -- a limit on the size of files is met as a full disk is
    local p = io.popen(("sh -c 'ulimit -f 16; trap \"\" XFSZ; exec %s %s' 2>&1"):format(program, script))
    local out = p:read("a")
    p:close()
    has(out, "saved\tnil\t", "untouched", "fit\tfalse\t", "intact", "alive\t8")
    assert.is_true(model == bytes_of(path))
    assert.is_true(checkpoint == bytes_of(folder .. "/checkpoint.safetensors"))
    p = io.popen("ls -A " .. folder)
    assert.equal("checkpoint.safetensors\n", p:read("a"))
    p:close()
  end)

  teardown(function() os.execute("rm -rf " .. dir) end)
end)
