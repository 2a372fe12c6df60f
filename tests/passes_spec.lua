-- passes_spec.lua - what is done to a recording before it becomes a program changes no bit: a few thousand random graphs (GRAPHS=n, fewer with
-- WALK_QUICK), with every pass, with each one switched off, and with none; then what single passes do and do not.
local core = require "slugnet.core"
local walk = dofile("tests/walk.lua")

local names = core.passes()
local function switch(on, only)
  for _, name in ipairs(names) do
    if not only or name == only then core.passes(name, on) end
  end
end

local function same(a, b, what)
  assert(a.n == b.n, what .. ": another number of results")
  for i = 1, a.n do assert(walk.same(a[i], b[i]), what .. ": result " .. i .. " differs") end
end

local dice = walk.dice

local unary = { "relu", "tanh", "sigmoid", "exp", "neg", "square", "abs", "gelu" }
local binary = { "add", "sub", "mul", "maximum" }

local running = { core.zeros(5), core.ones(5) }

-- What a step may be: each takes the values so far (5 x 5 each), a way to pick one, and dice thrown when the graph was made.
local kinds = {
  function(pick, d) return pick(d[1])[unary[d[2] % #unary + 1]](pick(d[1]):tanh()) end,
  function(pick, d) return pick(d[1])[unary[d[2] % #unary + 1]](pick(d[3]):tanh()) end,
  function(pick, d) return pick(d[1])[binary[d[2] % #binary + 1]](pick(d[1]), pick(d[3])):tanh() end,
  function(pick, d) return pick(d[1])[binary[d[2] % #binary + 1]](pick(d[1]), pick(d[3])):tanh() end,
  function(pick, d, w) return pick(d[1]):matmul(w:t()):mul(0.1) end,
  function(pick, d) return pick(d[1]) - pick(d[1]):mean(d[2] % 2 + 1, { keepdim = true }) end,
  function(pick, d) return pick(d[1]) * (pick(d[3]) * 0.5):tanh():sum(2, { keepdim = d[2] % 2 == 0 }) * 0.2 end,
  function(pick, d)
    local z = pick(d[3]):tanh():square()
    return pick(d[1]) + (d[2] % 2 == 0 and z:sum() * 0.01 or z:mean())
  end,
  function(pick, d, w) return pick(d[1]):linear(w):relu():mul(0.2) end,
  function(pick, d, w) return pick(d[1]) + pick(d[1]):layer_norm(d[2] % 2 == 0 and w[1] or nil):tanh() end,      -- a way round a norm
  function(pick, d) return pick(d[1]) * core.arange(1, 6):to("float32"):mul(0.1 * (d[2] % 7)):exp() end,         -- constants: folded
  function(pick, d) return pick(d[1]) + core.ones(5, 5):mul(d[2] % 5):tanh() end,
  function(pick, d, _, fixed) return pick(d[1]) * (fixed * (d[2] % 3)):tanh():t():contiguous() end,               -- of a captured tensor: kept
  function(pick, d, _, fixed) return pick(d[1]):matmul(fixed:square():mul(0.1)) end,
  function(pick, d) return pick(d[1]):clone():mul_(0.5):add_(pick(d[3]):detach()) end,                           -- in place
  function(pick, d) return pick(d[1]):t() end,                                                                   -- views
  function(pick, d) return core.cat({ pick(d[1]):narrow(1, 1, 2), pick(d[3]):narrow(1, 3, 3) }, 1) end,
  function(pick, d) return pick(d[1]):dropout(0.3) end,                                                          -- random numbers
  function(pick, d) return pick(d[1]):clone() end,
  function(pick, d) return core.batch_norm(pick(d[1]):float():reshape(1, 5, 5)):relu():reshape(5, 5) end,        -- relu in another's store
  function(pick, d, w, fixed)
    local y = core.batch_norm(pick(d[1]):float(), w:select(1, 1), fixed:select(1, 2), table.unpack(d[3] % 2 == 0 and running or {}))
    return (d[2] % 2 == 0 and y + pick(d[3]) or pick(d[3]):float():tanh() + y):relu()
  end,
  function(pick, d) return pick(d[1]):reshape(1, 5, 5):relu():max_pool2d(2):pad({ 0, 3, 0, 3 }):reshape(5, 5) end,
  function(pick, d) return pick(d[1]):to("bfloat16") end,                                                        -- casts
  function(pick, d) return pick(d[1]):to("bfloat16"):to("float32") end,
}

local function graph(seed, fixed)
  local throw, plan = dice(seed), {}
  for i = 1, 5 + throw(11) do plan[i] = { kind = kinds[throw(#kinds)], throw(1000), throw(1000), throw(1000) } end
  local held, twice = throw(4) == 1, throw(3) == 1
  return function(x, w)
    if not held then w.grad = nil end
    local v = { x, w }
    local function pick(n) return v[n % #v + 1] end
    for _, p in ipairs(plan) do v[#v + 1] = p.kind(pick, p, w, fixed) end
    local loss = (v[#v] + v[#v - 1] * 0.5):mean() + (w * w):sum() * 0.01
    loss:backward()
    if twice then (w * 3):sum():backward() end
    return loss:detach(), v[#v]:detach():clone(), v[#v // 2 + 1]:detach()
  end
end

-- Operations that passes make of several, and in how many graphs they were met.
local made = { batch_norm_relu = 0, batch_norm_relu_backward = 0, batch_norm_way_backward = 0, max_pool2d_relu_backward = 0, chain = 0 }

local function try(seed)
  core.manual_seed(seed)
  local x, w, fixed = core.randn(5, 5), core.randn(5, 5):requires_grad_(), core.randn(5, 5)
  local fn = graph(seed, fixed)
  local cast <close> = seed % 3 == 0 and core.autocast("bfloat16") or nil -- luacheck: ignore cast
  local off = seed % (#names + 2) -- 0: none is off; then each; last: all are
  if off > 0 then switch(false, names[off]) end
  local c, grad = core.compile(fn), core.zeros(5, 5)
  local function results(f)
    w.grad = grad:fill_(0)
    core.manual_seed(seed)
    local out = table.pack(f(x, w))
    out.n = out.n + 1
    out[out.n] = w.grad:clone()
    out[out.n + 1] = core.rand(1) -- as many random numbers were drawn
    out.n = out.n + 1
    return out
  end
  for round = 1, 4 do
    local want = results(fn)
    same(want, results(c), "graph " .. seed .. ", call " .. round)
    if round == 3 then fixed:mul_(0.5):add_(0.1) end -- what was kept is made anew
  end
  if off > 0 then switch(true) end
  assert.equal(2, c:count().replayed, c:reason())
  local text = c:explain()
  for op, n in pairs(made) do made[op] = n + (text:find(op .. " ", 1, true) and 1 or 0) end
end

describe("passes", function()
  it("change no bit of random graphs, each switched off in turn", function()
    local n = tonumber(os.getenv("GRAPHS")) or (os.getenv("WALK_QUICK") and 400 or 4000)
    for seed = 1, n do
      local ok, msg = pcall(try, seed)
      switch(true)
      if not ok then error("graph " .. seed .. ": " .. tostring(msg), 0) end
    end
    for op, times in pairs(made) do assert.is_true(times > n / 400, op .. " was made in " .. times .. " graphs") end
  end)

  it("are switched by name", function()
    local ok, msg = pcall(core.passes, "folding", true)
    assert.is_false(ok)
    for _, name in ipairs(names) do assert.truthy(msg:find(name, 1, true), name) end
  end)
end)

-- Replays fn(...) and returns the program, after comparing it with the eager call.
local function replayed(fn, ...)
  local c = core.compile(fn)
  local want = table.pack(fn(...))
  for _ = 1, 3 do same(want, table.pack(c(...)), "replay") end
  assert.equal(1, c:count().replayed, c:reason())
  return c
end

describe("fold", function()
  it("computes what depends on constants when the program is built", function()
    local function fn(x) return x * core.arange(1, 4):to("float32"):square():reshape(1, 3) + core.ones(3):mul(2):exp() end
    local c = replayed(fn, core.randn(2, 3))
    for _, gone in ipairs { "arange", "square", "ones", "exp" } do assert.falsy(c:explain():find(gone, 1, true), gone) end
    core.passes("fold", false)
    local d = replayed(fn, core.randn(2, 3))
    core.passes("fold", true)
    assert.truthy(d:explain():find("arange", 1, true))
  end)
  it("leaves random numbers, results and what is written in place", function()
    local c = core.compile(function() return core.ones(3):mul_(2), core.rand(3) end)
    local seen
    for _ = 1, 5 do
      local a, b = c()
      assert.same({ 2, 2, 2 }, a:totable())
      a:fill_(9)
      assert.are_not.same(seen, b:totable())
      seen = b:totable()
    end
    assert.equal(3, c:count().replayed)
  end)
  it("checks indices that are constants once, others each time", function()
    local rows = core.tensor({ 3, 1 }, { dtype = "int64" })
    local c = core.compile(function(x) return x:index_select(1, rows) end)
    local x = core.tensor { 10, 20, 30 }
    for _ = 1, 4 do assert.same({ 30, 10 }, c(x):totable()) end
    rows[1] = 7
    assert.is_false((pcall(c, x)))
    rows[1] = 2
    assert.same({ 20, 10 }, c(x):totable())
  end)
end)

describe("hoist", function()
  it("keeps what depends on captured tensors until one changes", function()
    local w, b = core.randn(4, 3), core.randn(4)
    local function fn(x) return x:matmul((w * 2):t():contiguous()) + b:exp() end
    local x = core.randn(2, 3)
    local c = replayed(fn, x)
    assert.truthy(c:explain():find("kept until", 1, true))
    for _, change in ipairs { function() w:mul_(3) end, function() b[2] = 5 end, function() w:t():narrow(1, 2, 1):fill_(0) end, function() end,
      function() w:copy_(core.randn(4, 3)) end } do
      change()
      for _ = 1, 2 do assert.equal(fn(x):bytes(), c(x):bytes()) end
    end
    local before
    for i = 1, 20 do
      local _ <close> = c(x)
      if i == 5 then before = core.memory().allocs end
    end
    assert.equal(before, core.memory().allocs)
  end)
  it("does not where the program or a host step writes them", function()
    local w = core.ones(3)
    local c = core.compile(function(x)
      local y = x * w:exp()
      w:add_(1)
      return y
    end)
    for i = 1, 6 do assert.near(math.exp(i), c(core.ones(3))[1], 1e-3 * math.exp(i)) end
    local d = core.compile(function(x)
      w:add_(1)
      return w:exp():sum() + x
    end)
    for i = 8, 13 do assert.near(3 * math.exp(i), d(core.zeros(3))[1], 1e-3 * math.exp(i)) end
    assert.falsy((c:explain() .. d:explain()):find("kept", 1, true))
  end)
  it("knows that an argument may be the captured tensor", function()
    local w = core.tensor { 1, 2 }
    local c = core.compile(function(x)
      x:add_(1)
      return (w * 2):sum() + x
    end)
    for _ = 1, 5 do assert.same({ 7, 7 }, c(core.zeros(2)):totable()) end
    assert.truthy(c:explain():find("kept until", 1, true))
    for i = 1, 5 do assert.same({ 7 + 5 * i, 8 + 5 * i }, c(w):totable()) end
    assert.same({ 27, 27 }, c(core.zeros(2)):totable())
  end)
end)

describe("copy", function()
  it("lets a gradient be made where its leaf keeps it", function()
    local w, b = core.randn(3, 2):requires_grad_(), core.randn(3):requires_grad_()
    local function fn(x)
      w.grad, b.grad = nil, nil
      local loss = x:linear(w, b):square():sum()
      loss:backward()
      return loss:detach()
    end
    local c = core.compile(fn)
    for _ = 1, 3 do
      local x = core.randn(4, 2)
      fn(x)
      local gw, gb = w.grad:bytes(), b.grad:bytes()
      c(x)
      assert.is_true(gw == w.grad:bytes() and gb == b.grad:bytes())
    end
    assert.falsy(c:explain():find("clone", 1, true))
    local kept = b.grad
    local was = kept:totable()
    c(core.randn(4, 2)) -- a gradient that someone holds is not written again
    assert.same(was, kept:totable())
  end)
  it("leaves a copy whose original is read later", function()
    local c = replayed(function(x)
      local a = x * 2
      local k = a:clone()
      a:add_(1)
      return k * a, k
    end, core.randn(3))
    assert.truthy(c:explain():find("clone", 1, true))
  end)
end)

-- ---- updates in the product that makes the gradient

-- A training step of some kind and the tensors it changes. on: what happens besides, a table of words.
local optimizers = {
  function(p) return core.SGD(p, { lr = 0.1 }) end,
  function(p) return core.SGD(p, { lr = 0.1, momentum = 0.9, nesterov = true, weight_decay = 0.01 }) end,
  function(p) return core.RMSProp(p, { lr = 0.01, weight_decay = 0.01 }) end,
  function(p) return core.Adam(p, { lr = 0.01, decay = 0.1 }) end,
  function(p) return core.AdamW(p, { lr = 0.01 }) end,
}

local function learner(seed, optimizer, on, sizes, dtype)
  core.manual_seed(seed)
  local a, b, c = table.unpack(sizes or { 52, 60, 50 })
  local w = { core.randn(b, a), core.randn(b), core.randn(b, c), core.randn(c, c), core.randn(1, c) }
  for i, t in ipairs(w) do w[i] = (dtype and t:to(dtype) or t):mul_(0.3):requires_grad_() end
  local opt, twice = optimizer { w[1], w[2], w[3] }, optimizer { w[4], w[5] }
  local function step(x)
    if on.kept then opt:zero_grad() end
    local h = x:linear(w[1], w[2]):tanh()
    local y = h:matmul(w[3])
    if on.chained then y = y:matmul(w[4]:matmul(w[4])) else y = y:matmul(w[4]) end
    if on.tied then y = y:linear(w[1]:t():narrow(1, 1, c):narrow(2, 1, c)) end
    local loss = on.pair and w[3]:matmul(w[4]):square():mean() or (y + w[5]):square():mean() -- a pair of weights: either is read for the other's gradient
    loss:backward()
    if on.again then (x:linear(w[1]):mean() + w[3]:sum() * 0.1):backward() end
    if on.products then w[3]:matmul(w[4]):matmul(w[4]):mean():backward() end
    local seen = on.read and w[1].grad:sum()
    opt:step()
    if on.later then seen = x:linear(w[1]):sum():detach() end
    twice:step()
    if not on.kept then opt:zero_grad() end
    twice:zero_grad()
    return loss:detach(), seen or x
  end
  return step, w, opt
end

-- Replays against eager calls; how many updates were joined.
local function joined(seed, optimizer, on, sizes, dtype, batch)
  local ways = {}
  for i = 1, 2 do
    local step, w, opt = learner(seed, optimizer, on, sizes, dtype)
    ways[i] = { run = i == 2 and core.compile(step) or step, w = w, opt = opt }
  end
  for k = 1, 5 do
    core.manual_seed(seed + k)
    local x = core.randn(batch or 9, (sizes or { 52 })[1])
    if dtype then x = x:to(dtype) end
    local want, got = table.pack(ways[1].run(x)), table.pack(ways[2].run(x))
    same(want, got, "step " .. k)
    for i, t in ipairs(ways[1].w) do
      assert.equal(t:detach():bytes(), ways[2].w[i]:detach():bytes(), ("step %d, parameter %d"):format(k, i))
      if on.kept and i < 4 then assert.equal(t.grad:bytes(), ways[2].w[i].grad:bytes()) end
    end
    for name, t in pairs(ways[1].opt:state().tensors or {}) do assert.equal(t:bytes(), ways[2].opt:state().tensors[name]:bytes()) end
  end
  assert.is_true(ways[2].run:count().replayed > 0, ways[2].run:reason())
  return select(2, ways[2].run:explain():gsub("  mm_%a+_ ", ""))
end

describe("update", function()
  it("goes with the product that makes a gradient which nobody else sees", function()
    for i, optimizer in ipairs(optimizers) do
      assert.equal(3, joined(i, optimizer, {}))
      assert.equal(3, joined(i, optimizer, {}, nil, "float64"))
      core.passes("update", false)
      local without = joined(i, optimizer, {})
      core.passes("update", true)
      assert.equal(0, without)
    end
  end)
  it("has the same bits for sizes around blocks, and on more threads", function()
    local threads = core.threads()
    for i, sizes in ipairs { { 300, 100, 33, 1, 2 }, { 130, 49, 48, 70, 3 }, { 400, 51, 2, 256, 1 }, { 50, 49, 48, 257, 0 }, { 4100, 50, 3, 20, 0 } } do
      for n = 1, 3 do
        core.threads(n)
        local ok, found = pcall(joined, i, optimizers[i], {}, sizes, nil, sizes[4])
        core.threads(threads)
        assert.equal(sizes[5], ok and found or error(found, 0))
      end
    end
  end)
  it("leaves gradients that are kept, read, added to or clipped, and weights that are read later", function()
    for i, optimizer in ipairs(optimizers) do
      assert.equal(1, joined(i, optimizer, { kept = true }))
      assert.equal(2, joined(i, optimizer, { read = true }))
      assert.equal(1, joined(i, optimizer, { again = true }))
      joined(i, optimizer, { later = true })
      joined(i, optimizer, { chained = true })
      joined(i, optimizer, { products = true })
      joined(i, optimizer, { products = true, chained = true, again = true })
      joined(i, optimizer, { tied = true })
      assert.equal(0, joined(i, optimizer, { pair = true }))
    end
    assert.equal(0, joined(1, function(p) return core.Adam(p, { lr = 0.01, clip_norm = 0.1 }) end, {}))
    assert.equal(0, joined(1, function(p) return core.SGD(p, { lr = 0.01, clip = 0.01 }) end, {}))
  end)
  it("rounds as autocast does", function()
    local cast <close> = core.autocast("bfloat16") -- luacheck: ignore cast
    for i, optimizer in ipairs(optimizers) do assert.is_true(joined(i, optimizer, {}) >= 0) end
  end)
end)

describe("chain", function()
  local function seen(c) return c:explain():match("chain +(%b[])") end
  it("ends in a sum or mean of all elements or of the last dimensions, with any number of blocks", function()
    local threads = core.threads()
    for _, t in ipairs { 1, 3 } do
      core.threads(t)
      for _, dtype in ipairs { "float32", "float64" } do
        for _, n in ipairs { 1, 7, 1023, 1024, 1025, 2048, 70001 } do
          local x, y = core.randn(n, { dtype = dtype }), core.randn(n, { dtype = dtype })
          assert.equal("[sub+square+mean]", seen(replayed(function(a, b) return (a - b):square():mean() end, x, y)))
          assert.equal("[mul+sum]", seen(replayed(function(a, b) return (a * b):sum() end, x, y)))
        end
        for _, shape in ipairs { { 50, 7 }, { 3, 1024 }, { 5, 1500 }, { 4, 3, 600 }, { 2000, 3 }, { 40, 30, 9, 1 } } do
          local x, y = core.randn(table.unpack(shape)):to(dtype), core.randn(table.unpack(shape)):to(dtype)
          local last = #shape == 3 and { 2, 3 } or #shape == 4 and { 3 } or { 2 }
          local c = replayed(function(a, b)
            local z = a * b
            return z:tanh():sum(last), z, z:mean(last, { keepdim = true })
          end, x, y)
          assert.equal("[mul+tanh+sum]", seen(c))
          assert.equal("[mul+mean]", seen(replayed(function(a, b) return (a * b):mean(last) end, x, y)))
        end
      end
    end
    core.threads(threads)
  end)
  it("does not where first dimensions are summed, or what is summed is written", function()
    local x = core.randn(6, 5)
    assert.is_nil(seen(replayed(function(a) return (a * a):sum(1) end, x)))
    assert.is_nil(seen(replayed(function(a) return (a * a):narrow(2, 1, 3):sum(2) end, x)))
    local c = replayed(function(a)
      local z = a * a
      z:add_(1)
      return z:sum()
    end, x)
    assert.is_nil(seen(c))
    local _ <close> = core.autocast("bfloat16")
    replayed(function(a) return a:matmul(a:t()):relu():square():sum(2), a:to("bfloat16"):tanh():mean() end, x)
  end)
end)

describe("residual", function()
  local x, w = core.randn(6, 5):requires_grad_(), core.randn(5):requires_grad_()
  local function explained(other)
    return replayed(function()
      x.grad, w.grad = nil, nil
      local y = x * 2
      local loss = y:layer_norm(w):tanh():sum() + other(y)
      loss:backward()
      return loss:detach(), x.grad, w.grad
    end):explain()
  end
  local function fused(text) return text:find("row_norm_backward_add", 1, true) ~= nil end
  it("adds the gradient of another way where that of a norm is made", function()
    local function square(y) return y:square():sum() end
    assert.is_true(fused(explained(square)))
    core.passes("residual", false)
    local off = explained(square)
    core.passes("residual", true)
    assert.is_false(fused(off))
  end)
  it("leaves a gradient that is the same for all rows, and a norm by itself", function()
    assert.is_false(fused(explained(function(y) return y:sum() end)))
    assert.is_false(fused(explained(function() return w:sum() end)))
  end)
end)
