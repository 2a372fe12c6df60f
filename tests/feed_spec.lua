-- feed_spec.lua - batches gathered into memory that is used again: the same numbers whether a thread makes them ahead or not, from any batch on, also
-- when the data changes meanwhile; and training with them.
local sn = require "slugnet"
local silence = dofile("tests/expect.lua").silence
local program = (rawget(_G, "slugnet_build") or "build") .. "/bin/slugnet"

sn.manual_seed(11)

local function all(feed, n, size, first, check)
  for b = first, (n + size - 1) // size do
    local X, y = feed:next()
    assert.is_truthy(X, "batch " .. b)
    check(X, y, (b - 1) * size + 1, math.min(size, n - (b - 1) * size))
  end
  assert.is_nil((feed:next()))
  assert.is_nil((feed:next()))
end

describe("a feed", function()
  it("gives what index_select, to and mul give", function()
    for _, n in ipairs { 1, 31, 32, 1000 } do
      local y = sn.randint(1, 11, { n })
      local bytes = sn.randint(0, 256, { n, 3, 7 }):to("uint8")
      for _, case in ipairs { { bytes, "float32", 1 / 255 }, { bytes, "float64", 1 / 255 }, { bytes, "float32" }, { bytes }, { bytes:to("float32") },
        { bytes:to("int64"), "float32" }, { sn.randn(n, 19), "float64" }, { sn.randn(n, 5, { dtype = "float64" }) * 1e-40, "float32" }, { sn.randn(n) } } do
        local X, dtype, scale = case[1], case[2], case[3]
        local order = sn.randperm(n)
        for _, at in ipairs { order, false } do
          for _, ahead in ipairs { true, false } do
            local feed <close> = sn.feed(X, y, { n = n, batch = 32, dtype = dtype, scale = scale, ahead = ahead })
            assert.equal(ahead and n > 32, feed:ahead())
            for _, first in ipairs { 1, 1, (n + 31) // 32 } do
              feed:begin(at or nil, first)
              all(feed, n, 32, first, function(xb, yb, from, k)
                local rows = at and at:narrow(1, from, k) or sn.arange(from, from + k)
                local want = X:index_select(1, rows):to(dtype or X.dtype)
                if scale then want = want * scale end
                assert.is_true(xb.dtype == want.dtype and xb:equal(want))
                assert.is_true(yb:equal(y:index_select(1, rows)))
              end)
            end
          end
        end
      end
    end
  end)

  it("gives the same where threads share the gathering", function()
    local before <const> = sn.threads()
    sn.threads(3)
    for _, X in ipairs { sn.randn(500, 300), sn.randint(0, 256, { 500, 40, 10 }):to("uint8"), sn.randn(500, 20000):narrow(1, 1, 60) } do
      local n = X:size(1)
      local order = sn.randperm(n)
      local feed <close> = sn.feed(X, order, { n = n, batch = 130, dtype = "float32", scale = X.dtype == "uint8" and 0.5 or nil, ahead = false })
      feed:begin(order, 1)
      all(feed, n, 130, 1, function(xb, yb, from, k)
        local rows = order:narrow(1, from, k)
        local want = X:index_select(1, rows):to("float32")
        assert.is_true(xb:equal(X.dtype == "uint8" and want * 0.5 or want) and yb:equal(order:index_select(1, rows)))
      end)
    end
    sn.threads(before)
  end)

  it("that is left in the midst begins anew", function()
    local X = sn.randn(500, 6)
    local feed <close> = sn.feed(X, nil, { n = 500, batch = 4, ahead = true })
    for k = 1, 60 do
      local order = sn.randperm(500)
      feed:begin(order, k)
      for b = k, k + 2 * k % 7 do assert.is_true(feed:next():equal(X:index_select(1, order:narrow(1, 4 * b - 3, 4)))) end
    end
  end)

  it("sees what is written to the data, and not what is written to the order", function()
    for _, ahead in ipairs { true, false } do
      local X, order = sn.randn(400, 6), sn.randperm(400)
      local kept = order:clone()
      local feed <close> = sn.feed(X, nil, { n = 400, batch = 4, ahead = ahead })
      feed:begin(order, 1)
      order:fill_(1 << 40)
      for b = 1, 100 do
        assert.is_true(feed:next():equal(X:index_select(1, kept:narrow(1, 4 * b - 3, 4))), "batch " .. b)
        if b % 3 == 0 then X:mul_(-1.25) end
        if b == 50 then X[1][1] = 7 end
      end
    end
  end)

  it("has a thread where that pays: large batches, a processor to spare", function()
    local before = sn.threads()
    sn.threads(1)
    local spare = sn.info().cores > 1
    for _, case in ipairs { { sn.randn(64, 250), 32, false }, { sn.randn(64, 260), 32, true },
      { sn.zeros(64, 260, { dtype = "uint8" }), 32, false }, { sn.zeros(64, 8300, { dtype = "uint8" }), 32, true } } do
      local feed <close> = sn.feed(case[1], nil, { n = 64, batch = case[2], dtype = "float32" })
      assert.equal(spare and case[3], feed:ahead())
    end
    sn.threads(before)
  end)

  it("outlives what it was given, and refuses what makes no sense", function()
    local X, order = sn.randn(64, 3), sn.randperm(64)
    local want = X:index_select(1, order)
    local feed = sn.feed(X, nil, { n = 64, batch = 64, ahead = true })
    feed:begin(order, 1)
    X:close()
    order:close()
    assert.is_true(feed:next():equal(want))
    feed:close()
    feed:close()
    assert.error_matches(function() feed:next() end, "closed")
    X = sn.randn(8, 6)
    local f <close> = sn.feed(X, nil, { n = 8, batch = 4 })
    assert.is_nil((f:next())) -- no epoch was begun
    assert.error_matches(function() f:begin(sn.randperm(9), 1) end, "8 positions")
    assert.error_matches(function() f:begin(sn.randn(8), 1) end, "8 positions")
    assert.error_matches(function() f:begin(sn.randperm(8) - 1, 1) end, "position 0 at place")
    assert.error_matches(function() f:begin(nil, 9) end, "has 2 batches")
    assert.error_matches(function() sn.feed(X:t(), nil, { n = 6, batch = 4 }) end, "contiguous")
    assert.error_matches(function() sn.feed(X, nil, { n = 0, batch = 4 }) end, "0 samples")
    assert.error_matches(function() sn.feed(X, nil, { n = 8, batch = 0 }) end, "batches of 0")
    local g <close> = sn.feed(X, nil, { n = 9, batch = 4 })
    assert.error_matches(function() g:begin(nil, 1) end, "there are 8")
  end)
end)

-- ---- training with it

local function model(options)
  options.progress, options.seed, options.n_epoch = false, 3, options.n_epoch or 2
  options.layers = options.layers or { sn.Dense { 24, inshape = 64, activation = "relu" }, sn.Dropout(0.2), sn.Dense { 10, activation = "softmax" } }
  options.metrics = options.metrics or { "loss", "accuracy" }
  return sn.Model(options)
end

local function digits()
  local X, y = sn.data.digits { flat = true }
  return (X * 16):to("uint8"), y, X
end

local function bytes_of(m)
  local l = {}
  for i, p in ipairs(m:parameters()) do l[i] = p:detach():bytes() end
  return table.concat(l)
end

describe("fit", function()
  local B, y, X = digits()

  it("gives the same bits with and without a thread ahead, from bytes and from numbers, eager and compiled", function()
    for _, more in ipairs { {}, { validation_split = 0.3 }, { shuffle = false }, { drop_last = true, batch_size = 100 } } do
      local want, h
      for _, case in ipairs { { X, true }, { X, false }, { B, true }, { B, false }, { X, nil, true }, { B, nil, true } } do
        local m = model { scale = 1 / 16, eager = case[3] }
        local o = { prefetch = case[2] }
        for k, v in pairs(more) do o[k] = v end
        local history = m:fit(case[1], y, o)
        want, h = want or bytes_of(m), h or history
        assert.is_true(want == bytes_of(m))
        assert.same(h.train, history.train)
        assert.same(h.val, history.val)
      end
    end
  end)

  it("and its model take bytes wherever they take numbers, also when it was saved", function()
    local m = model { scale = 1 / 16 }
    m:fit(B, y)
    local path = os.tmpname()
    assert(m:save(path))
    for _, net in ipairs { m, assert(sn.load(path)) } do
      assert.is_true(net:transform(B):equal(m:transform(X)))
      assert.is_true(net:predict(B):equal(m:predict(X)))
      assert.same(m:evaluate(X, y), net:evaluate(B, y))
      assert.is_true(net:transform(B[5]):equal(net:transform(X[5])))
      assert.is_true(net:feedforward(B, true):size(1) == 1797)
    end
    os.remove(path)
    assert.error_matches(function() model { scale = -1 } end, "scale")
  end)

  it("trains on data that does not lie row by row", function()
    local a, b = model {}, model {}
    a:fit(X, y)
    b:fit(X:t():contiguous():t(), y)
    assert.is_true(bytes_of(a) == bytes_of(b))
  end)

  it("sees what a callback writes to the data, whatever was made ahead", function()
    local want
    for _, ahead in ipairs { true, false } do
      local data, m = X:clone(), model {}
      m:fit(data, y, { prefetch = ahead, callbacks = { { on_batch_end = function(_, run) if run.batch % 5 == 0 then data:mul_(0.97) end end } } })
      want = want or bytes_of(m)
      assert.is_true(want == bytes_of(m))
    end
  end)

  it("leaves to a metric and to layers in Lua what they keep", function()
    local kept, layers = {}, {}
    local Keeps = sn.layer("FeedKeeps", { init = function(self) self.seen = layers end,
      forward = function(self, x) self.seen[#self.seen + 1] = { x, x:sum():item() } return x end })
    local m = model { n_epoch = 1, layers = { Keeps(), sn.Dense { 10, inshape = 64, activation = "softmax" } },
      metrics = { "loss", { name = "keeps", fn = function(_, t) kept[#kept + 1] = { t, t:sum():item() } return 0 end } } }
    for _, eager in ipairs { true, false } do -- item() in a layer: it stays eager, with a notice
      m.eager = eager
      local _ <close> = silence()
      m:fit(X, y, { prefetch = true })
    end
    assert.is_true(#kept == 2 * 57 and #layers >= 2 * 57)
    for _, k in ipairs(kept) do assert.equal(k[2], k[1]:sum():item()) end
    for _, k in ipairs(layers) do assert.equal(k[2], k[1]:sum():item()) end
  end)

  it("allocates nothing in a step: as much for many batches as for few", function()
    local function allocations(size, prefetch)
      local m = model { n_epoch = 1, batch_size = size }
      m:fit(B, y, { prefetch = prefetch })
      local before = sn.memory().allocs
      m:fit(B, y, { prefetch = prefetch })
      return sn.memory().allocs - before
    end
    for _, prefetch in ipairs { true, false } do
      local few, many = allocations(600, prefetch), allocations(3, prefetch) -- 3 steps (all recorded) and 599
      assert.is_true(many < few + 200, ("%d allocations for 3 batches, %d for 599"):format(few, many))
    end
  end)

  it("is left by an error with the thread gone", function()
    local function threads()
      local f = assert(io.open("/proc/self/status"))
      local n = tonumber(f:read("a"):match("Threads:%s*(%d+)"))
      f:close()
      return n
    end
    local before = threads()
    collectgarbage("stop")
    for _ = 1, 20 do
      local m = model {}
      assert.error_matches(function()
        m:fit(X, y, { prefetch = true, callbacks = { { on_batch_end = function() error("enough", 0) end } } })
      end, "enough")
    end
    local after = threads()
    for _ = 1, 200 do -- a thread that was joined is still counted for a moment
      if after <= before then break end
      os.execute("sleep 0.01")
      after = threads()
    end
    collectgarbage("restart")
    assert.is_true(after <= before, ("%d threads, then %d"):format(before, after))
  end)

  it("makes no system call in a step but the hand-over's, and with two threads none but theirs", function()
    if not os.execute("command -v strace >/dev/null 2>&1") then return pending("strace is not installed") end
    local chunk = [[local sn = require "slugnet" sn.threads(%d) local X, y = sn.data.digits { flat = true }
      local m = sn.Model { n_epoch = 1, batch_size = %d, progress = false, seed = 1, layers = { sn.Dense { %d, inshape = 64, activation = "relu" },
        sn.Dense { 10, activation = "softmax" } } } m:fit(X, y, { prefetch = %s })]]
    local function calls(...)
      local out = os.tmpname()
      local done = os.execute(("strace -f -o %s %s -e '%s' 2>/dev/null"):format(out, program, chunk:format(...)))
      local n, futex = 0, 0
      for line in io.lines(out) do
        if line:find("futex(", 1, true) or line:find("futex resumed", 1, true) then futex = futex + 1 else n = n + 1 end
      end
      os.remove(out)
      return done and n, futex
    end
    for _, how in ipairs { { 1, 30, "false" }, { 1, 30, "true" }, { 2, 2000, "false" } } do
      local threads, width, prefetch = table.unpack(how)
      local few = calls(threads, 300, width, prefetch)
      if not few then return pending("strace may not trace here") end
      local size = threads == 1 and 2 or 20
      local many, futex = calls(threads, size, width, prefetch)
      local steps = 1797 // size
      assert.is_true(many < few + 60, ("%d system calls for 6 batches, %d for %d (%d threads, prefetch = %s)"):format(few, many, steps, threads, prefetch))
      if threads == 1 and prefetch == "false" then assert.is_true(futex < 10, futex .. " futex calls") end
      if prefetch == "true" then assert.is_true(futex < steps, futex .. " futex calls") end
    end
  end)
end)
