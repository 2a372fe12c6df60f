-- compile_spec.lua - programs: replay gives the bits that eager calls give, over every descriptor's samples and over what a
-- training step does; signatures; what makes a function stay eager. The passes and random graphs: passes_spec.lua.
local core = require "slugnet.core"
local walk = dofile("tests/walk.lua")

local function same(a, b, what)
  assert(a.n == b.n, what .. ": another number of results")
  for i = 1, a.n do
    if core.is_tensor(a[i]) then assert(walk.same(a[i], b[i]), what .. ": result " .. i .. " differs") else assert.equal(a[i], b[i]) end
  end
end

local silence = dofile("tests/expect.lua").silence

local undefined_values = { empty = true, empty_like = true }

describe("a compiled function", function()
  it("replays every operation's samples with the bits of the eager call, forward and backward", function()
    local problems, programs, tried = {}, 0, 0
    local notices = {}
    local _ <close> = silence(notices)
    for _, op in ipairs(core.ops()) do
      for k, text in ipairs(walk.split(op.samples or "", ";")) do
        if not op.flags.hidden and not undefined_values[op.name] then
          local function results(compiled)
            local args, leaves = walk.evaluate(op, k, text, { dtype = "float32", grad = not op.flags.nodiff and not op.flags.writes })
            local passed, at = {}, {}
            for i = 1, args.n do
              if core.is_tensor(args[i]) then
                passed[#passed + 1] = args[i].is_leaf and args[i] or args[i]:detach()
                at[#passed] = i
              end
            end
            local function body(...)
              local a = table.pack(table.unpack(args, 1, args.n))
              for j, i in ipairs(at) do a[i] = (select(j, ...)) end
              for _, l in ipairs(leaves) do l.tensor.grad = nil end
              local outs = walk.call(op, a)
              local loss = not op.flags.nodiff and walk.objective(outs)
              if loss then loss:backward() end
              for i = 1, outs.n do outs[i] = outs[i]:detach() end
              return table.unpack(outs, 1, outs.n)
            end
            if compiled then
              core.manual_seed(5)
              body(table.unpack(passed)) -- the weights of the objective exist from here on
            end
            local fn = compiled and core.compile(body) or body
            local out
            for _ = 1, compiled and 4 or 1 do
              core.manual_seed(5) -- walk.call does so too, but only while Lua runs
              out = table.pack(fn(table.unpack(passed)))
            end
            for _, l in ipairs(leaves) do
              if l.tensor.grad then
                out.n = out.n + 1
                out[out.n] = l.tensor.grad
              end
            end
            if compiled and fn:count().replayed > 0 then programs = programs + 1 end
            return out
          end
          if not op.flags.writes then
            tried = tried + 1
            local ok, msg = pcall(function() same(results(false), results(true), "the replay") end)
            if not ok then problems[#problems + 1] = ("%s(%s): %s"):format(op.name, text, tostring(msg)) end
          end
        end
      end
    end
    if #problems > 0 then error(#problems .. " differ:\n  " .. table.concat(problems, "\n  "), 0) end
    assert.is_true(programs > tried * 0.7, ("only %d of %d samples became programs"):format(programs, tried))
  end)

  it("trains as eager code does, with every pass and without any", function()
    local function train(compiled, steps)
      core.manual_seed(3)
      local w1, w2 = core.randn(20, 12):mul(0.3):requires_grad_(), core.randn(12, 4):mul(0.3):requires_grad_()
      local x, y = core.rand(16, 20), core.rand(16, 4)
      local function step(a, b)
        w1.grad, w2.grad = nil, nil
        local h = a:matmul(w1):relu():dropout(0.25)
        local l = (h:matmul(w2):sigmoid() - b):square():mean() + (w1 * w1):sum() * 1e-3
        l:backward()
        local _ <close> = core.no_grad()
        w1:sub_(w1.grad * 0.1)
        w2:sub_(w2.grad * 0.1)
        return l:detach()
      end
      local fn = compiled and core.compile(step) or step
      local losses = {}
      for i = 1, steps do losses[i] = fn(x, y):item() end
      return losses, w1, w2, compiled and fn:count()
    end
    local a, a1, a2 = train(false, 12)
    local b, b1, b2, count = train(true, 12)
    assert.same(a, b)
    assert.is_true(walk.same(a1, b1) and walk.same(a2, b2))
    assert.equal(10, count.replayed)
    for _, name in ipairs(core.passes()) do core.passes(name, false) end
    local c, c1 = train(true, 12)
    for _, name in ipairs(core.passes()) do core.passes(name, true) end
    assert.same(a, c)
    assert.is_true(walk.same(a1, c1))
  end)

  it("puts an activation into the product before it, and does not where the product is seen", function()
    core.manual_seed(2)
    local x, w, b = core.randn(5, 7), core.randn(6, 7):requires_grad_(), core.randn(6):requires_grad_()
    local function seen(fn)
      w.grad, b.grad = nil, nil
      local c = core.compile(fn)
      local e = table.pack(fn())
      local ge = w.grad:clone()
      local got
      for _ = 1, 3 do got = table.pack(c()) end
      same(e, got, "epilogue")
      assert.is_true(walk.same(ge, w.grad))
      return c:explain()
    end
    local function body(also)
      return function()
        w.grad, b.grad = nil, nil
        local h = x:linear(w, b)
        local l = h:relu():square():sum()
        l:backward()
        return l:detach(), also and h:detach() or nil
      end
    end
    assert.truthy(seen(body(false)):find("linear_relu", 1, true))
    assert.falsy(seen(body(true)):find("linear_relu", 1, true))
    -- a negative zero is a zero on both ways
    local tiny = core.compile(function(a, v) return a:linear(v):relu() end)
    local a, v = core.tensor { { -1e-30, 0 } }, core.tensor { { 1e-30, 0 }, { 1, 0 } }
    local e = a:linear(v):relu()
    for _ = 1, 3 do assert.equal(e:bytes(), tiny(a, v):bytes()) end
  end)

  it("is recorded anew for other shapes, plain values and modes", function()
    local c = core.compile(function(x, k) return x * k end)
    for _ = 1, 3 do
      assert.same({ 2, 4 }, c(core.tensor { 1, 2 }, 2):totable())
      assert.same({ 3, 6 }, c(core.tensor { 1, 2 }, 3):totable())
      assert.same({ 3, 6, 9 }, c(core.tensor { 1, 2, 3 }, 3):totable())
    end
    assert.equal(3, c:count().programs)
    local f = core.compile(function(x) return x:mul(2), "two", nil, x:add(1) end)
    for _ = 1, 4 do
      local out = table.pack(f(core.tensor { 1 }))
      assert.same({ 4, 2, "two", 2 }, { out.n, out[1]:item(), out[2], out[4]:item() })
      assert.is_nil(out[3])
    end
  end)

  it("stays eager, with one notice, where a replay could be wrong", function()
    local notices = {}
    local _ <close> = silence(notices)
    local a = core.compile(function(x) return x:mul(x:sum():item()) end)
    for i = 1, 5 do assert.equal(i * i, a(core.tensor { i }):item()) end
    assert.equal(1, #notices)
    assert.truthy(notices[1]:find("stays eager: a number was read out of a tensor", 1, true), notices[1])
    local n = 0
    local b = core.compile(function(x) n = n + 1 return x * n end)
    for i = 1, 20 do assert.equal(i, b(core.tensor { 1 }):item()) end
    assert.truthy(b:reason():find("differ in a constant", 1, true), b:reason())
    assert.equal(2, #notices)
    local c = core.compile(function(t) return t[1] end)
    for i = 1, 3 do assert.equal(i, c({ core.tensor { i } }):item()) end
    assert.truthy(notices[3]:find("it is given a table", 1, true), notices[3])
    -- the line of the operation, not of the call
    local function line(t) return ("(%s:%d)"):format(debug.getinfo(1, "S").short_src, t.line + debug.getinfo(t.of, "S").linedefined) end
    local function changing(x)
      n = n + 1
      return (x + 1) *
        n
    end
    local function reading(x)
      local y = x + 1
      return y:sum():item() > 0 and y or -y
    end
    local function dynamic(x) return (x:nonzero()) end
    for i, case in ipairs { { of = changing, line = 2, "a constant of mul" }, { of = reading, line = 2, "a number was read out of a tensor" }, { of = dynamic, line = 0, "nonzero" } } do
      local e = core.compile(case.of)
      for _ = 1, 20 do e(core.tensor { 1 }) end
      for _, text in ipairs { e:reason(), notices[3 + i] } do assert.truthy(text:find(case[1] .. ".-" .. line(case):gsub("%p", "%%%0")), text) end
    end
    local d = core.compile(function() error("a mistake") end)
    for _ = 1, 3 do assert.is_false((pcall(d))) end
  end)

  it("follows captured tensors, loaded weights and results that are still held", function()
    local w = core.tensor { 1, 2 }
    local c = core.compile(function(x) return x + w end)
    local kept = {}
    for i = 1, 6 do kept[i] = c(core.tensor { i, i }) end
    for i = 1, 6 do assert.same({ i + 1, i + 2 }, kept[i]:totable()) end
    w:copy_(core.tensor { 10, 20 })
    assert.same({ 11, 21 }, c(core.tensor { 1, 1 }):totable())
  end)

  it("is recorded anew when a captured tensor begins or ends to require a gradient", function()
    local w, v = core.ones(3):requires_grad_(), core.ones(3)
    local c = core.compile(function(x)
      w.grad, v.grad = nil, nil
      local l = (x * w * v):sum()
      if w.requires_grad or v.requires_grad then l:backward() end
      return l:detach()
    end)
    for _, on in ipairs { { true, false }, { true, true }, { false, true }, { false, false }, { true, false } } do
      w:requires_grad_(on[1])
      v:requires_grad_(on[2])
      for i = 1, 4 do
        c(core.ones(3))
        assert.same(on, { w.grad ~= nil, v.grad ~= nil }, "call " .. i)
      end
    end
    assert.equal(4, c:count().programs)
  end)

  it("reads the gradient that is there, wherever it is, and sees when there is none", function()
    local w = core.ones(2):requires_grad_()
    local c = core.compile(function() return w.grad and w.grad * 2 or "none" end)
    for _, v in ipairs { 1, 100, 0, 3 } do
      w.grad = v ~= 0 and core.ones(2) * v or nil
      for _ = 1, 4 do
        local g = c()
        if v == 0 then assert.equal("none", g) else assert.same({ 2 * v, 2 * v }, g:totable()) end
      end
    end
    assert.equal(4, c:count().programs)
  end)

  it("replays calls whose gradients add up, and updates of their own", function()
    local function train(compiled)
      core.manual_seed(6)
      local w, b = core.randn(5, 4):requires_grad_(), core.randn(5):requires_grad_()
      local opt = core.Adam({ w, b }, { lr = 0.05, clip_norm = 1 })
      local function add(x)
        local l = x:linear(w, b):square():mean()
        l:backward()
        return l:detach()
      end
      local function update() opt:step() opt:zero_grad() end
      if compiled then add, update = core.compile(add), core.compile(update) end
      local sum = 0
      for k = 1, 30 do
        for _ = 1, 2 + k % 3 do sum = sum + add(core.randn(3, 4)):item() end
        update()
      end
      return sum, w, b, compiled and add:count(), compiled and update:count()
    end
    local a, wa, ba = train(false)
    local c, wc, bc, add, update = train(true)
    assert.equal(a, c)
    assert.is_true(walk.same(wa, wc) and walk.same(ba, bc))
    assert.is_true(add.replayed >= 75 and update.replayed >= 20, add.replayed .. " and " .. update.replayed)
  end)

  it("gives out gradients that it lets go, and views of them", function()
    local _ <close> = silence()
    for way, body in ipairs {
      function(w) local g = w.grad w.grad = nil return g end,
      function(w) local g = w.grad:narrow(1, 2, 2) w.grad = nil return g end,
      function(w, v) v.grad = w.grad w.grad = nil end,
      function(w, v) v.grad, w.grad = w.grad, v.grad end,
      function(w, v) local g = w.grad:t() w.grad, v.grad = nil, nil return g, g:t() end,
      function(w) w.grad:mul_(2) end,
    } do
      local function run(compiled)
        core.manual_seed(way)
        local w, v = core.randn(3, 3):requires_grad_(), core.randn(3, 3):requires_grad_()
        local function make(x) w.grad, v.grad = nil, nil (x * w * v):sum():backward() end
        local function take() return body(w, v) end
        if compiled then make, take = core.compile(make), core.compile(take) end
        local all = {}
        for i = 1, 12 do
          make(core.randn(3, 3))
          local a, b = take()
          for _, t in ipairs { a or false, b or false, w.grad or false, v.grad or false } do all[#all + 1] = t and t:bytes() or "" end
          a, b = nil, nil -- luacheck: ignore
          if i % 2 == 0 then collectgarbage() end
        end
        return all
      end
      assert.same(run(false), run(true), "way " .. way)
    end
  end)

  it("leaves alone the gradient of a tensor that is only an operand", function()
    local w, x, g = core.randn(3, 3):requires_grad_(), core.randn(2, 3), core.ones(3, 3)
    local f = core.compile(function(v) return v:matmul(w):detach() end)
    for i = 1, 8 do
      w.grad = i % 3 == 1 and g or nil
      f(x)
      assert.equal(i % 3 == 1 and g or nil, w.grad)
    end
    assert.is_true(f:count().replayed >= 5)
  end)

  it("replays a training step wherever it clears the gradients, unless what they were was read before", function()
    local function run(where, compiled)
      core.manual_seed(4)
      local net, x, last = core.Sequential(core.Dense { 3, inshape = 4 }), core.randn(5, 4), 0
      local opt = core.SGD(net:parameters(), { lr = 0.1 })
      local function step(v)
        if where == "first" then opt:zero_grad() end
        local loss = net(v):square():mean()
        local g = where == "read" and net:parameters()[1].grad
        if g then loss = loss + g:mean() end
        if where == "between" or where == "read" then opt:zero_grad() end
        loss:backward()
        opt:step()
        if where == "last" then opt:zero_grad() end
        return loss:detach()
      end
      local f = compiled and core.compile(step) or step
      for _ = 1, 12 do last = f(x) end
      return last:item(), compiled and f:count().replayed
    end
    for _, where in ipairs { "first", "between", "last", "read" } do
      local loss, replayed = run(where, true)
      assert.equal(run(where, false), loss, where)
      if where ~= "read" then assert.is_true(replayed >= 9, where .. ": " .. replayed .. " of 12 were replayed") end
    end
  end)

  it("is recorded anew when a network gets a layer or another number type, an optimizer other parameters", function()
    local net, w = core.Sequential(core.Dense { 3, inshape = 4 }), core.ones(3):requires_grad_()
    local opt, x = core.SGD(net:parameters(), { lr = 0.1 }), core.randn(5, 4)
    local step = core.compile(function()
      opt:zero_grad()
      w.grad = nil;
      (net(x) * w):square():mean():backward()
      opt:step()
    end)
    local eval = core.compile(function(y)
      local _ <close> = core.no_grad()
      return net(y)
    end)
    for _ = 1, 4 do
      step()
      eval(x)
    end
    assert.is_true(w:detach():equal(core.ones(3)))
    opt:add { w }
    for _ = 1, 4 do
      local before = w:detach():clone()
      step()
      assert.is_false(w:detach():equal(before))
    end
    net:add(core.Dense { 7 })
    for _ = 1, 4 do assert.same({ 5, 7 }, eval(x):size()) end
    net:to("float64")
    net:to("float32") -- other tensors
    for _, p in ipairs(net:parameters()) do p:detach():fill_(0) end
    for _ = 1, 4 do assert.equal(0, eval(x):abs():sum():item()) end
    local many = eval:count().recorded
    local other = core.Sequential(core.Dense { 2, inshape = 3 }, core.ReLU()) -- nothing to do with it
    other(core.ones(1, 3))
    core.SGD(other:parameters(), { lr = 1 })
    eval(x)
    assert.equal(many, eval:count().recorded)
  end)

  it("takes another part of the same data as the same call", function()
    local X = core.arange(0, 24):to("float32"):reshape(8, 3)
    local c = core.compile(function(x) return x:mul(2), x, x:narrow(2, 2, 1) end)
    for i = 1, 6 do
      local a, b, d = c(X:narrow(1, i, 2))
      local v = (i - 1) * 3
      assert.same({ { 2 * v, 2 * v + 2, 2 * v + 4 }, { 2 * v + 6, 2 * v + 8, 2 * v + 10 } }, a:totable())
      assert.same({ { v, v + 1, v + 2 }, { v + 3, v + 4, v + 5 } }, b:totable())
      assert.same({ { v + 1 }, { v + 4 } }, d:totable())
    end
    assert.equal(4, c:count().replayed)
  end)

  it("allocates nothing in a training step", function()
    local net, opt = core.Sequential(core.Dense { 20 }, core.ReLU(), core.Dense { 3 }), core.RMSProp { lr = 1e-3 }
    local x, y, loss = core.randn(8, 10), core.randint(1, 4, 8), core.CrossEntropy()
    net:build { 10 }
    opt:add(net:parameters())
    local c = core.compile(function(a, b)
      opt:zero_grad()
      local l = loss(net(a), b)
      l:backward()
      opt:step()
    end)
    for _ = 1, 4 do c(x, y) end
    local before = core.memory().allocs
    for _ = 1, 200 do c(x, y) end
    assert.equal(before, core.memory().allocs)
    assert.is_true(c:count().replayed >= 200)
  end)

  it("is profiled", function()
    local text, list, all = require("slugnet").profile(function(x) return x:matmul(x):relu():sum() end, core.randn(20, 20))
    assert.equal(2 * 20 ^ 3, all.flops)
    assert.is_true(all.bytes >= 4 * 3 * 400 and all.peak >= 4 * 400 and all.us > 0)
    assert.truthy(text:find("in all: [%d.]+ us, 16 kFLOP, [%d.]+ kB moved, at most [%d.]+ k?M?B in tensors"))
    assert.truthy(text:find("GFLOP/s", 1, true))
    assert.truthy(text:find("matmul", 1, true) and text:find(" us ", 1, true))
    local share = 0
    for _, s in ipairs(list) do share = share + s.share end
    assert.is_true(math.abs(share - 1) < 1e-6)
    assert.is_false((pcall(require("slugnet").profile, 3)))
  end)

  it("tells what it does", function()
    local c = core.compile(function(x) return x:relu():sum() end)
    assert.is_false((pcall(c.explain, c)))
    for _ = 1, 3 do c(core.tensor { 1, -2 }) end
    assert.truthy(c:explain():find("relu", 1, true))
    assert.is_nil(c:reason())
  end)
end)
