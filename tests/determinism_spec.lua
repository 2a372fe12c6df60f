-- determinism_spec.lua - a network trained on 1, 2, 3, 4 or 8 threads, eagerly or as a program, has the same weights, bit for bit.
-- DETERMINISM=full: 200 steps and 20 repeats of each.
local sn = require "slugnet"

-- A hash of all bits of a list of named tensors (FNV-1a over hexadecimal floats).
local function hash(list)
  local h = 0xcbf29ce484222325
  local function add(s)
    for i = 1, #s do h = (h ~ s:byte(i)) * 0x100000001b3 end
  end
  local function go(v)
    if type(v) == "table" then
      for i = 1, #v do go(v[i]) end
    else
      add(type(v) == "number" and ("%a;"):format(v) or tostring(v))
    end
  end
  for _, t in ipairs(list) do go(t:totable()) end
  return ("%016x"):format(h)
end

local full = os.getenv("DETERMINISM") == "full"

local function train(make, X, y, optimizer, steps, batch, compiled)
  sn.manual_seed(11)
  local net = make()
  net(X:narrow(1, 1, 1)) -- builds it
  local opt = optimizer(net:parameters())
  local function step(xb, yb)
    opt:zero_grad()
    local loss = sn.cross_entropy(net(xb), yb)
    loss:backward()
    opt:step()
  end
  local run = compiled and sn.compile(step) or step
  for k = 0, (full and 200 or steps) - 1 do
    local at = k * batch % (#X - batch + 1) + 1
    run(X:narrow(1, at, batch), y:narrow(1, at, batch))
  end
  if compiled then assert.is_true(run:count().replayed > 0, run:reason()) end
  return hash(net:parameters())
end

local function on_threads(run)
  local before, first = sn.threads(), nil
  local ok, msg = pcall(function()
    for _ = 1, full and 20 or 1 do
      for _, n in ipairs { 1, 2, 4, 3, 8 } do
        sn.threads(n)
        for _, compiled in ipairs { false, true } do
          local h = run(compiled)
          first = first or h
          assert.equal(first, h, ("with %d threads, %s"):format(n, compiled and "as a program" or "eagerly"))
        end
      end
    end
  end)
  sn.threads(before)
  if not ok then error(msg, 0) end
  return first
end

describe("weights after training are the same on 1, 2, 3, 4 and 8 threads, eager or replayed", function()
  it("for a network of dense layers", function()
    sn.manual_seed(2)
    local X, y = sn.randn(600, 200), sn.randint(1, 11, 600)
    local h = on_threads(function(compiled)
      return train(function()
        return sn.Sequential(sn.Dense { 100, inshape = 200, activation = sn.ReLU() }, sn.Dropout(0.3), sn.Dense { 10 })
      end, X, y, function(p) return sn.RMSProp(p, { lr = 0.001, clip_norm = 1 }) end, 12, 256, compiled)
    end)
    assert.equal(16, #h)
  end)

  it("for a convolutional network", function()
    sn.manual_seed(2)
    local X, y = sn.randn(48, 1, 20, 20), sn.randint(1, 6, 48)
    on_threads(function(compiled)
      return train(function()
        return sn.Sequential(sn.Conv2d { 8, 3, padding = 1, inshape = { 1, 20, 20 } }, sn.BatchNorm2d {}, sn.ReLU(), sn.MaxPool2d { 2 }, sn.Conv2d { 12, 3 }, sn.ReLU(),
          sn.Flatten(), sn.LayerNorm {}, sn.Dense { 5 })
      end, X, y, function(p) return sn.Adam(p, { lr = 0.01 }) end, 4, 32, compiled)
    end)
  end)

  it("for an LSTM", function()
    sn.manual_seed(2)
    local X, y = sn.randint(1, 21, { 24, 15 }), sn.randint(1, 6, 24)
    local Last = sn.layer("DeterminismLast", { forward = function(_, x) return x:select(2, x:size(2)) end })
    on_threads(function(compiled)
      return train(function()
        return sn.Sequential(sn.Embedding(20, 24), sn.LSTM { 48 }, Last(), sn.Dense { 5 })
      end, X, y, function(p) return sn.RMSProp(p, { lr = 0.003 }) end, 5, 16, compiled)
    end)
  end)

  it("for a transformer", function()
    sn.manual_seed(2)
    local X, y = sn.randint(1, 21, { 24, 20 }), sn.randint(1, 6, 24)
    local Last = sn.layer("DeterminismLast2", { forward = function(_, x) return x:select(2, x:size(2)) end })
    local function block()
      return { sn.Residual(sn.LayerNorm {}, sn.MultiheadAttention { 32, 4, causal = true }), sn.Residual(sn.LayerNorm {}, sn.Dense { 64 }, sn.GELU(), sn.Dense { 32 }) }
    end
    on_threads(function(compiled)
      return train(function()
        local a, b = block(), block()
        return sn.Sequential(sn.Embedding(20, 32), a[1], a[2], b[1], b[2], sn.LayerNorm {}, Last(), sn.Dense { 5 })
      end, X, y, function(p) return sn.AdamW(p, { lr = 0.003 }) end, 5, 16, compiled)
    end)
  end)

  it("and of a Model", function()
    sn.manual_seed(2)
    local X, y = sn.randn(300, 50), sn.randint(1, 4, 300)
    on_threads(function(compiled)
      local model = sn.Model {
        eager = not compiled, lr = 0.01, n_epoch = 2, batch_size = 64, seed = 5, progress = false, validation_split = 0.2,
        layers = { sn.Dense { 40, inshape = 50, activation = sn.Tanh() }, sn.Dropout(0.5), sn.Dense { 3, activation = sn.Softmax() } },
      }
      local out = io.output()
      local sink <close> = assert(io.open("/dev/null", "w"))
      io.output(sink)
      local print_ = print
      rawset(_G, "print", function() end)
      local ok, msg = pcall(model.fit, model, X, y)
      rawset(_G, "print", print_)
      io.output(out)
      assert(ok, msg)
      return hash(model:parameters())
    end)
  end)

  it("and another seed gives others", function()
    local seen = {}
    for seed = 1, 3 do
      sn.manual_seed(seed)
      local h = hash { sn.randn(10) }
      assert.is_nil(seen[h])
      seen[h] = true
    end
  end)
end)
