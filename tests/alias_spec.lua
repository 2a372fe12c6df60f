-- alias_spec.lua - compiled functions whose arguments, captured tensors and results share memory: what they write is seen as after eager calls,
-- through every view; the cache of eight signatures; random numbers drawn by several signatures in turns.
local sn = require "slugnet"
local core = require "slugnet.core"
local walk = dofile("tests/walk.lua")
local dice, silence = walk.dice, dofile("tests/expect.lua").silence

-- Runs make(wrap) twice, the second time compiled. make builds its tensors, gives the function to `wrap` and returns a list of what to look at after each
-- call and a function call(i) that makes call number i with what wrap gave back. All calls must give the same numbers. Returns the program.
local function twin(calls, make)
  local seen, program = {}, nil
  for turn = 1, 2 do
    core.manual_seed(9)
    local look, call = make(function(fn)
      if turn == 1 then return fn end
      program = core.compile(fn)
      return program
    end)
    for i = 1, calls do
      local out = table.pack(call(i))
      local all = {}
      for k = 1, out.n do all[k] = out[k] == nil and "nil" or out[k] end
      for _, t in ipairs(look) do all[#all + 1] = t end
      for k, t in ipairs(all) do
        if core.is_tensor(t) then all[k] = t:detach():clone() end
      end
      if turn == 1 then seen[i] = all
      else
        assert.equal(#seen[i], #all)
        for k, t in ipairs(all) do
          local want = seen[i][k]
          local ok
          if core.is_tensor(want) then ok = walk.same(want, t) else ok = want == t end
          if not ok then error(("call %d: number %d of %d results and observed tensors differs: %s, eagerly %s"):format(i, k, out.n, tostring(t), tostring(want)), 0) end
        end
      end
    end
  end
  return program
end

local function grid(rows) return core.randn(rows, 4) end

describe("aliased arguments", function()
  it("may be one tensor given twice", function()
    local c = twin(9, function(wrap)
      local x, y = grid(4), grid(4)
      local f = wrap(function(a, b)
        a:mul_(0.5)
        local s = a + b
        b:add_(1)
        return s, a * b
      end)
      return { x, y }, function(i) if i % 3 == 0 then return f(x, y) end return f(x, x) end
    end)
    assert.equal(2, c:count().programs)
    assert.equal(5, c:count().replayed)
  end)

  it("may overlap, at any distance", function()
    local c = twin(24, function(wrap)
      local x = core.randn(8, 4)
      local f = wrap(function(a, b)
        local before = b:sum()
        a:mul_(0.5):add_(1)
        return before, b:sum(), a + b
      end)
      return { x }, function(i) return f(x:narrow(1, 1, 4), x:narrow(1, i % 4 + 2, 4)) end
    end)
    assert.equal(4, c:count().programs)
    assert.equal(16, c:count().replayed)
    twin(12, function(wrap) -- the same distance at another place is the same call
      local x = core.randn(20, 4)
      local f = wrap(function(a, b)
        a:mul_(0.5)
        return b:sum(), b:t()
      end)
      return { x }, function(i) return f(x:narrow(1, i, 4), x:narrow(1, i + 2, 4)) end
    end)
  end)

  it("may be transposed views of each other", function()
    twin(6, function(wrap)
      local x = grid(4)
      local f = wrap(function(a, b)
        local y = b:contiguous()
        a:add_(y * 0.25)
        return b:contiguous(), y
      end)
      return { x }, function() return f(x, x:t()) end
    end)
  end)

  it("may be what the function has captured, written by either name", function()
    for _, writes in ipairs { "argument", "captured", "view" } do
      twin(12, function(wrap)
        local w, x = grid(4), grid(4)
        local f = wrap(function(a)
          local y = w:exp()
          if writes == "argument" then a:mul_(0.5) elseif writes == "captured" then w:mul_(0.5) else w:t():narrow(1, 2, 2):mul_(0.5) end
          return y + a, w:exp() * a
        end)
        local order = { x, x, x, w, w, w, w, x, w, w:narrow(1, 1, 4), x, w }
        return { w, x }, function(i) return f(order[i]) end
      end)
    end
  end)

  it("may be parameters, each with its own gradient", function()
    twin(10, function(wrap)
      local w = grid(4):requires_grad_()
      local v = w:detach():requires_grad_() -- another leaf on the same memory
      local f = wrap(function(p)
        p.grad = nil
        local l = (p * p):sum()
        l:backward()
        return l:detach()
      end)
      return {}, function(i)
        local p = i < 5 and w or i % 2 == 0 and v or w
        w.grad, v.grad = nil, nil
        local l = f(p)
        return l, (p == w and w or v).grad, w.grad == nil, v.grad == nil
      end
    end)
    twin(8, function(wrap)
      local w, u = grid(4):requires_grad_(), grid(4):requires_grad_()
      local f = wrap(function(p, q)
        (p:exp() * q + w):sum():backward()
        local _ <close> = core.no_grad()
        w:sub_(p.grad * 0.1)
      end)
      return { w, u }, function(i)
        w.grad, u.grad = nil, nil
        f(w, i == 6 and w or u)
        return w.grad, u.grad or 0
      end
    end)
  end)

  it("may be a gradient, and gradients may lie in parts of one memory", function()
    twin(12, function(wrap)
      local w, spare = grid(4):requires_grad_(), grid(4):mul(0.1)
      local f = wrap(function(g, x)
        (w * x):sum():backward()
        return g * 2
      end)
      local one, two = core.zeros(4, 4), core.zeros(4, 4)
      local x = grid(4)
      return { w, one, two, spare }, function(i)
        if i == 6 or i == 9 then w.grad = two elseif i == 1 or i == 8 then w.grad = one end
        return f(i == 11 and spare or one, x), w.grad
      end
    end)
    twin(9, function(wrap)
      local w, room, x = grid(4):requires_grad_(), core.zeros(12, 4), grid(4)
      local f = wrap(function() (w * x):sum():backward() end)
      return { room }, function(i)
        w.grad = room:narrow(1, (i < 5 or i == 8) and 1 or 6, 4)
        f()
        return w.grad
      end
    end)
  end)

  it("may be results of earlier calls", function()
    twin(10, function(wrap)
      local x = grid(4)
      local f = wrap(function(a)
        a:mul_(0.5)
        return a + 1, a:exp()
      end)
      local kept = {}
      return { x }, function(i)
        local a, b = f(kept[i - 1] or x)
        kept[i] = i % 2 == 0 and a or b
        return a, b, kept[i - 1] or x
      end
    end)
  end)
end)

describe("results", function()
  it("that are arguments or captured tensors are those", function()
    local w = grid(4):requires_grad_()
    local x = grid(4)
    local f = core.compile(function(a, p) return a, p, w, a:t(), a:narrow(1, 2, 2) end)
    for i = 1, 5 do
      local a, p, v, t, n = f(x, w)
      for _, q in ipairs { p, v } do
        assert.is_true(q.requires_grad and q.is_leaf)
        w.grad = nil;
        (q * 2):sum():backward()
        assert.is_truthy(w.grad, "call " .. i)
      end
      a[1][2] = i
      assert.equal(i, x[1][2])
      assert.equal(i, t[2][1])
      n[1][1] = -i
      assert.equal(-i, x[2][1])
    end
    assert.equal(3, f:count().replayed)
    local y = grid(4)
    local a = f(y, w)
    a[1][1] = 77
    assert.equal(77, y[1][1])
  end)

  it("that are views of what the function makes share their memory", function()
    twin(6, function(wrap)
      local f = wrap(function(x)
        local y = x * 2
        return y, y:t(), y:narrow(1, 2, 2)
      end)
      return {}, function()
        local y, t, n = f(grid(4))
        y[2][1] = 5
        return y, t, n
      end
    end)
  end)

  it("that are views of a parameter are seen when it changes", function()
    twin(6, function(wrap)
      local w = grid(4):requires_grad_()
      local f = wrap(function(x)
        local _ <close> = core.no_grad()
        return w:t(), w:narrow(1, 2, 2), w:detach():matmul(x)
      end)
      return { w }, function()
        local t, n, y = f(grid(4))
        w:detach():mul_(-1.5)
        return t, n, y
      end
    end)
  end)
end)

describe("what is written through a view", function()
  it("of an argument or a captured tensor is seen by all others", function()
    for _, write in ipairs {
      function(t) t:t():narrow(1, 2, 2):fill_(3) end, function(t) t:narrow(1, 2, 2):t():mul_(-2) end, function(t) t[2]:copy_(t[1]) end,
      function(t) t:reshape(2, 8)[{ {}, { 1, 8, 2 } }]:fill_(0) end, function(t) t:select(2, 3):add_(t:select(2, 1):clone()) end,
    } do
      local c = twin(6, function(wrap)
        local w, x = grid(4), grid(4)
        local f = wrap(function(a)
          local row, y = a[2], a * 2
          local s, u = w:sum(), (w * 2):exp()
          write(a)
          write(w)
          return y, row * 1, a * 2, s, w:sum(), u, (w * 2):exp()
        end)
        return { w, x }, function() return f(x) end
      end)
      assert.equal(4, c:count().replayed)
    end
  end)

  it("of a layer's buffer too", function()
    local c = twin(8, function(wrap)
      local bn = core.BatchNorm1d { momentum = 0.3 }
      bn:build { 4 }
      local buffers = bn:state()
      local mean, var = buffers.running_mean, buffers.running_var
      assert(mean and var)
      local f = wrap(function(x)
        local y = bn(x)
        local _ <close> = core.no_grad()
        mean:narrow(1, 1, 2):mul_(0.5)
        local seen = mean * 1
        return y:detach(), seen, var:sum()
      end)
      return { mean, var }, function(i)
        if i == 5 then bn:eval() elseif i == 7 then bn:train() end
        local y, seen, sum = f(grid(6))
        assert.is_true(bn:state().running_mean:equal(mean))
        return y, seen, sum
      end
    end)
    assert.is_true(c:count().replayed >= 2)
  end)
end)

-- ---- random programs on memory that is shared

-- Values are 4 x 4. Bases are 7 x 4; views of them are windows of 4 rows, perhaps transposed.
local function window(base, k, turned)
  local v = base:narrow(1, k % 4 + 1, 4)
  return turned and v:t() or v
end

local kinds = {
  function(v, d) return v[1]:mul(0.5):add(v[2]:tanh()), d end,
  function(v) return (v[1] * 0.25):exp():tanh() + v[2]:tanh():square() end,
  function(v) return v[1]:t() end,
  function(v) return v[1]:clone() end,
  function(v) return v[1]:contiguous() end,
  function(v) return v[1]:tanh():matmul(v[2]:tanh()):mul(0.3) end,
  function(v) v[1]:mul_(0.5):add_(v[2]:tanh()) end,
  function(v) v[1]:mul_(-0.7) return v[1] end,
  function(v) v[1]:copy_(v[2]:tanh()) end,
  function(v) v[1]:t():narrow(1, 2, 2):mul_(0.5) return v[1]:exp():tanh() end,
  function(v, d) v[1]:select(d[1] % 2 + 1, d[2] % 4 + 1):fill_(0.25 * (d[3] % 5)) end,
  function(v) local k = v[1]:clone() v[1]:add_(0.1) return k * v[1] end,
  function(v) return v[1] + v[1]:sum() * 0.01 end,
  function(v) return v[1]:dropout(0.3) end,
}

local function random_program(seed, base)
  local throw, plan = dice(seed), {}
  for i = 1, 3 + throw(8) do plan[i] = { kind = kinds[throw(#kinds)], throw(1000), throw(1000), throw(1000) } end
  local out = { throw(1000), throw(1000), throw(1000) }
  return function(a, b)
    local v = { a, b, window(base, 1), window(base, 2, true), a:t() }
    for _, p in ipairs(plan) do
      local y = p.kind({ v[p[1] % #v + 1], v[p[2] % #v + 1] }, p)
      if y then v[#v + 1] = y end
    end
    return v[#v], v[out[1] % #v + 1], v[out[2] % #v + 1], v[#v] * v[out[3] % #v + 1]:tanh()
  end
end

-- run(seed) gives the twin's function, for many seeds; a failure names its seed. Every seed replays more than `least` calls in the mean.
local function fuzz(name, quick, full, least, run)
  local n = tonumber(os.getenv("GRAPHS")) or (os.getenv("WALK_QUICK") and quick or full)
  local replayed = 0
  local _ <close> = silence() -- some stay eager
  for seed = 1, n do
    local ok, msg = pcall(function() replayed = replayed + run(seed):count().replayed end)
    if not ok then error(("%s %d: %s"):format(name, seed, tostring(msg)), 0) end
  end
  assert.is_true(replayed > least * n, replayed .. " replays")
end

describe("random programs on shared memory", function()
  it("do what they do eagerly", function()
    fuzz("program", 300, 2000, 4, function(seed)
      return twin(16, function(wrap)
        core.manual_seed(seed)
        local bases = { core.randn(7, 4), core.randn(7, 4), core.randn(7, 4) }
        local f, throw, ways, kept = wrap(random_program(seed, bases[3])), dice(seed + 5), {}, {}
        for i = 1, 3 do ways[i] = { throw(3), throw(4), throw(2), throw(3), throw(4), throw(2), throw(6) == 1 } end
        return bases, function(i)
          local w = ways[throw(#ways)]
          local a, b = window(bases[w[1]], w[2], w[3] == 1), window(bases[w[4]], w[5], w[6] == 1)
          if w[7] and kept[i - 1] then b = kept[i - 1] end
          local out = table.pack(f(a, b))
          kept[i] = i % 2 == 0 and out[1] or nil -- held, or not
          out[5] = kept[i - 2]
          return table.unpack(out, 1, 5)
        end
      end)
    end)
  end)
end)

-- ---- random training steps on memory that is shared

local optimizers = {
  function(p) return sn.SGD(p, { lr = 0.1 }) end, function(p) return sn.SGD(p, { lr = 0.1, momentum = 0.9 }) end, function(p) return sn.RMSProp(p, { lr = 0.01 }) end,
  function(p) return sn.Adam(p, { lr = 0.01, clip_norm = 0.5 }) end, function(p) return sn.AdamW(p, { lr = 0.01 }) end,
}
local layers = {
  function(h, a) return (h * a):tanh() end, function(h, a) return h:matmul(a:t()):tanh() end, function(h, a, b) return h + a * b end,
  function(h, a, b) return h:linear(a, b:narrow(1, 1, 1):reshape(4)):relu() end, function(h, a) return (h - a:sum() * 0.1):tanh() end,
  function(h) return h:dropout(0.3) end, function(h, a) return h:matmul(a:tanh()):tanh() end,
  function(h, a) return h * (a * a):mean(2, { keepdim = true }) end, function(h, a) return h + a:narrow(1, 1, 2):sum() end,
}

-- Parameters that lie apart, side by side or over one another; gradients left, cleared or set before, inside and after the call; one of them as an argument.
local function training(seed, wrap)
  core.manual_seed(seed)
  local throw, base, room, leaves, plan = dice(seed), core.randn(12, 4):mul(0.3), core.zeros(9, 4), {}, {}
  local overlap = throw(4) == 1
  for i = 1, 3 do
    leaves[i] = throw(2) == 1 and base:narrow(1, overlap and i or 4 * i - 3, 4):requires_grad_() or core.randn(4, 4):mul(0.3):requires_grad_()
  end
  local extra = leaves[1]:detach():requires_grad_()
  local opt = optimizers[throw(#optimizers)](leaves)
  for i = 1, 2 + throw(5) do plan[i] = { layers[throw(#layers)], throw(4), throw(4) } end
  local zero, update, give, twice, set, peek = throw(5), throw(3), throw(5), throw(3), throw(4), throw(4)
  local f = wrap(function(x, p)
    if zero == 1 then opt:zero_grad() elseif zero == 2 then leaves[1].grad = nil end
    local all, h = { leaves[1], leaves[2], leaves[3], p }, x
    for _, q in ipairs(plan) do h = q[1](h, all[q[2]], all[q[3]]) end
    local loss = h:square():mean() + (leaves[1] * leaves[2] * leaves[3] * p):sum() * 0.01
    if peek == 1 and leaves[1].grad then loss = loss + leaves[1].grad:mean() * 0.01 end
    if zero == 4 then opt:zero_grad() elseif zero == 5 then leaves[2].grad = nil end
    loss:backward()
    if twice == 1 then (leaves[2] * p):sum():backward() end
    local seen = give == 1 and leaves[1].grad or give == 2 and p.grad or give == 3 and leaves[2] or give == 4 and leaves[1].grad * 2 or h:detach()
    if update == 1 then opt:step() elseif update == 2 then
      local _ <close> = core.no_grad()
      leaves[1]:sub_(leaves[1].grad * 0.1)
      leaves[2]:t():sub_(p.grad:t() * 0.05)
    end
    if zero == 3 then opt:zero_grad() end
    if set == 1 then leaves[3].grad = room:narrow(1, 2, 4) end
    return loss:detach(), seen
  end)
  local x, p, kept = grid(4), leaves[1], nil
  return { base, room, leaves[1], leaves[2], leaves[3], extra }, function(i)
    if throw(6) == 1 then p = leaves[throw(3)] end
    local r, at, arg = throw(36), throw(5), x
    if r == 1 then p = extra elseif r == 2 then x = grid(4) elseif r == 3 then leaves[2].grad = nil elseif r == 4 then leaves[2].grad = room:narrow(1, at, 4)
    elseif r == 5 then leaves[1].grad = core.ones(4, 4) elseif r == 6 then base:mul_(0.9) elseif r == 7 then opt:zero_grad()
    elseif r == 8 then arg = base:narrow(1, at, 4) elseif r == 9 then arg = leaves[1].grad or x end
    local ok, loss, seen = pcall(f, arg, p) -- refusals are the same, too
    if i % 3 == 0 then kept = seen end
    return ok, ok and loss, ok and seen, kept, leaves[1].grad, leaves[2].grad, leaves[3].grad, extra.grad
  end
end

describe("random training steps on shared memory", function()
  it("do what they do eagerly", function()
    fuzz("steps", 150, 1000, 8, function(seed)
      local cast <close> = seed % 4 == 0 and core.autocast("bfloat16") or nil -- luacheck: ignore cast
      return twin(30, function(wrap) return training(seed, wrap) end)
    end)
  end)
end)

-- ---- signatures

describe("the cache of signatures", function()
  local function square(rows) return core.arange(1, rows + 1):to("float32") end

  it("keeps eight, drops the one not used for longest, and stays right", function()
    local f = core.compile(function(x, k) return x * k + 1 end)
    local function call(k, times)
      local before = f:count()
      for _ = 1, times do
        local x = square(k)
        assert.is_true(f(x, k):equal(x * k + 1))
      end
      local after = f:count()
      return after.recorded - before.recorded, after.replayed - before.replayed, after.programs - before.programs
    end
    for k = 1, 8 do assert.same({ 2, 1, 1 }, { call(k, 3) }) end
    for k = 8, 1, -1 do assert.same({ 0, 2, 0 }, { call(k, 2) }) end -- 8 is now the oldest
    assert.same({ 2, 1, 1 }, { call(9, 3) })
    for k = 1, 7 do assert.same({ 0, 1, 0 }, { call(k, 1) }, k) end
    assert.same({ 0, 1, 0 }, { call(9, 1) })
    assert.same({ 2, 1, 1 }, { call(8, 3) }) -- was dropped, now in the place of 1
    assert.same({ 2, 0, 1 }, { call(1, 2) })
    for _ = 1, 3 do -- nine in turns: each is gone when it comes again
      for k = 1, 9 do call(k, 1) end
    end
    for k = 1, 9 do assert.same({ 2, 1, 1 }, { call(k, 3) }) end
    assert.is_nil(f:reason())
    assert.truthy(f:explain())
  end)

  it("is not filled with programs that no later call fits: gradients that add up over calls", function()
    local notices = {}
    local _ <close> = silence(notices)
    local c = twin(120, function(wrap)
      local w, b = core.randn(4, 4):requires_grad_(), core.randn(4):requires_grad_()
      local f = wrap(function(x)
        local l = x:linear(w, b):square():mean()
        l:backward()
        return l:detach()
      end)
      return { w, b }, function(i)
        local l = f(grid(3))
        local g, h = w.grad:clone(), b.grad:clone()
        if i % 4 == 0 then
          w:detach():sub_(w.grad * 0.1)
          w.grad, b.grad = nil, nil
        end
        return l, g, h
      end
    end)
    assert.is_nil(c:reason())
    local count = c:count()
    assert.is_true(count.replayed >= 28 and count.recorded < 20, count.replayed .. " replays, " .. count.recorded .. " recordings")
    assert.equal(1, #notices)
    assert.truthy(notices[1]:find("some calls of this function stay eager", 1, true), notices[1])
  end)

  it("tells results of a signature from those of the one that was in its place", function()
    local f = core.compile(function(k) if k % 2 == 0 then return k, square(2) * k, "even" end return square(3) * k, k end)
    for round = 1, 3 do
      for k = 1, 12 do
        for _ = 1, round do
          local a, b, c = f(k)
          if k % 2 == 0 then
            assert.is_true(a == k and b:equal(square(2) * k) and c == "even")
          else
            assert.is_true(b == k and a:equal(square(3) * k) and c == nil)
          end
        end
      end
    end
    assert.is_true(f:count().replayed >= 12)
  end)

  it("gives back the memory of what it drops, and of everything when the function goes", function()
    local function live()
      collectgarbage() collectgarbage()
      return core.memory().live
    end
    local start = live()
    local f = core.compile(function(x, k)
      local y = (x * k):cumsum(1) -- no chain: it lies in the block
      return (y + y:flip(1)):sum()
    end)
    local x, most = core.ones(10000), 0
    for k = 1, 30 do
      for _ = 1, 3 do f(x, k) end
      local now = live()
      if k == 8 then most = now end
      if k > 8 then assert.is_true(now <= most + 4096, ("signature %d: %d bytes, with eight %d"):format(k, now, most)) end
    end
    assert.equal(30, f:count().replayed)
    assert.is_true(f:count().block >= 40000)
    assert.is_true(most - start > 7 * 40000)
    x:close()
    f = nil -- luacheck: ignore
    assert.is_true(live() <= start + 4096)
  end)
end)

-- ---- random numbers

describe("random numbers", function()
  local function noise(x, kind)
    if kind == 1 then return x + core.randn(5, 3) end
    if kind == 2 then return x:dropout(0.4), core.rand(2) end
    if kind == 3 then
      local _ = core.rand(1000) -- nobody looks at them: they are drawn all the same
      return x:dropout(0.5):dropout(0.5)
    end
    return x * 2, core.randint(1, 100, 7), core.randperm(9)
  end

  it("are those of eager calls, whatever signatures draw them, in every order", function()
    for seed = 1, 30 do
      local c = twin(24, function(wrap)
        core.manual_seed(seed)
        local f, throw = wrap(noise), dice(seed)
        local x, y = grid(4), core.ones(3, 3)
        return {}, function(i)
          if i % 11 == 0 then core.rand(3) end -- between the calls, too
          if i == 17 then core.manual_seed(seed + 100) end
          local kind = seed == 1 and 1 + i % 2 or throw(4)
          if kind == 1 then return f(core.ones(5, 3), 1) end
          return f(throw(2) == 1 and x or y, kind)
        end
      end)
      assert.is_true(c:count().replayed >= 6)
    end
  end)

  it("of two compiled functions by turns, one of them still recording", function()
    local seen = {}
    for turn = 1, 2 do
      core.manual_seed(4)
      local function a(x) return x:dropout(0.3) end
      local function b(x) return (x + core.randn(6)):dropout(0.5) end
      if turn == 2 then a, b = core.compile(a), core.compile(b) end
      local all = {}
      for i = 1, 20 do
        all[#all + 1] = a(core.ones(7 + i % 2))
        if i > 8 then all[#all + 1] = b(core.ones(6)) end
      end
      all[#all + 1] = core.rand(4)
      for k, t in ipairs(all) do
        if turn == 1 then seen[k] = t else assert.is_true(walk.same(seen[k], t), "number " .. k) end
      end
    end
  end)

  it("of a network's dropout in training, evaluation in between", function()
    twin(20, function(wrap)
      core.manual_seed(8)
      local net = sn.Sequential(sn.Dense { 9, inshape = 4 }, sn.Dropout(0.4), sn.Dense { 3 }, sn.Dropout(0.2))
      local opt = sn.SGD(net:parameters(), { lr = 0.05 })
      local f = wrap(function(x, train)
        if not train then
          local _ <close> = sn.no_grad()
          return net(x)
        end
        opt:zero_grad()
        local l = net(x):square():mean()
        l:backward()
        opt:step()
        return l:detach()
      end)
      local xs = { grid(6), grid(2) }
      return net:parameters(), function(i)
        local train = i % 4 ~= 0
        if train then net:train() else net:eval() end
        return f(xs[i % 3 == 0 and 2 or 1], train)
      end
    end)
  end)
end)
