-- walk_spec.lua - the descriptor walk: every operation there is, checked by what its descriptor says about it.
-- Gradients in float64 against central differences, every element, signed, over memory layouts; second derivatives; zero sizes; refusals;
-- float32 against float64; one to four threads. An operation that forgets its maths, samples, wrong inputs or backward fails here.
local core = require "slugnet.core"
local walk = dofile("tests/walk.lua")

local EPS, ATOL, RTOL = 1e-6, 1e-7, 1e-5

-- Leaves that a gradient is not defined for: kept statistics that are written, not read.
local no_grad_leaf = { batch_norm = { [4] = true, [5] = true } }
-- Not twice differentiable at the samples' equal values, or undefined there: equal values along the reduced dimension have no deviation.
local no_expanded = { std = true, var_mean = true, std_mean = true }
-- What is left in memory that nobody set.
local undefined_values = { empty = true, empty_like = true, new_empty = true }
local layouts = { "contiguous", "transposed", "sliced", "expanded" }

local ops = core.ops()
-- exp_ is exp in place: it has exp's documentation and is tried with exp's first sample, the one that does not grow.
do
  local by_name = {}
  for _, op in ipairs(ops) do by_name[op.name] = op end
  for _, op in ipairs(ops) do
    local base = op.flags.writes and by_name[op.name:match("^(.*)_$") or ""]
    if base and not op.samples then
      op.doc, op.wrong = op.doc or base.doc, base.wrong
      op.samples = walk.split(base.samples, ";")[1]
    end
  end
end
-- Under sanitizers, where memory is looked at and not numbers: four elements of each tensor, and two numbers of threads.
local quick = os.getenv("WALK_QUICK") == "1"
local only = os.getenv("WALK_ONLY")
if only then
  local keep = {}
  for _, op in ipairs(ops) do if op.name == only then keep[1] = op end end
  ops = keep
end

local counts = { ops = 0, differentiable = 0, checked = {}, samples = 0, elements = 0, expanded = 0, second = 0, refusals = 0, zero = 0, hidden = {}, threads = 0, large = 0 }

local function samples_of(op) return walk.split(op.samples or "", ";") end

local function show(v) return v and ("%.17g"):format(v) or "nil" end

local function fail(...) error((...):format(select(2, ...)), 0) end

-- Float leaves without those that have no gradient.
local function wanted(op, leaves)
  local out = {}
  for _, l in ipairs(leaves) do
    if not (no_grad_leaf[op.name] and no_grad_leaf[op.name][l.at]) and #l.value > 0 then out[#out + 1] = l end
  end
  return out
end

local function evaluate(op, k, text, layout, value, grad)
  local function has(at) return not (no_grad_leaf[op.name] and no_grad_leaf[op.name][at]) end
  return walk.evaluate(op, k, text, { dtype = "float64", layout = layout, value = value, grad = grad and has })
end

local function values_of(leaves)
  local v = {}
  for _, l in ipairs(leaves) do v[l.at] = { table.unpack(l.value) } end
  return v
end

local function compare(op, text, layout, l, i, got, want, what)
  if not (math.abs(got - want) <= ATOL + RTOL * math.abs(want)) then
    fail("%s(%s), %s: %s of tensor %d, element %d: backward gives %s, differences %s", op.name, text, layout, what, l.at, i, show(got), show(want))
  end
end

-- The gradient of a function of the leaves' values against central differences of `number`.
local function against_differences(op, text, layout, leaves, value, grads, number, what)
  for j, l in ipairs(leaves) do
    local got = grads[j] and walk.flat(grads[j])
    for i = 1, #l.value, quick and math.max(1, #l.value // 4) or 1 do
      local x = l.value[i]
      value[l.at][i] = x + EPS
      local up = number(value)
      value[l.at][i] = x - EPS
      local down = number(value)
      value[l.at][i] = x
      compare(op, text, layout, l, i, got and got[i] or 0, (up - down) / (2 * EPS), what)
      counts.elements = counts.elements + 1
    end
  end
end

local function check_gradient(op, k, text, layout)
  local args, leaves, changed = evaluate(op, k, text, layout, nil, true)
  if not changed and layout ~= "contiguous" then return nil end
  local want = wanted(op, leaves)
  if #want == 0 then return nil end
  local value = values_of(leaves)
  local outs = walk.call(op, args, true)
  local loss = walk.objective(outs)
  local tensors = {}
  for j, l in ipairs(want) do tensors[j] = l.tensor end
  local grads = loss and core.grad(loss, tensors, { allow_unused = true }) or {}
  for j, l in ipairs(want) do
    if grads[j] then
      local a, b = grads[j]:size(), l.tensor:size()
      for d = 1, #b do
        if a[d] ~= b[d] or #a ~= #b then fail("%s(%s), %s: the gradient of tensor %d has another shape than it", op.name, text, layout, l.at) end
      end
    end
  end
  against_differences(op, text, layout, want, value, grads, function(v)
    local a = evaluate(op, k, text, layout, v, false)
    return walk.number(walk.call(op, a, true))
  end, "gradient")
  return loss ~= nil
end

-- d/dx of sum(v * dL/dx), where dL/dx comes from a graph that was kept.
local function check_second(op, k, text)
  local function first(value, create)
    local args, leaves = evaluate(op, k, text, "contiguous", value, true)
    local want = wanted(op, leaves)
    local tensors = {}
    for j, l in ipairs(want) do tensors[j] = l.tensor end
    local loss = walk.objective(walk.call(op, args, true))
    if not loss then return nil end
    return core.grad(loss, tensors, { create_graph = create, allow_unused = true }), want, tensors, leaves
  end
  local g, want, tensors, leaves = first(nil, true)
  if not g then return false end
  local outs = { n = 0 }
  for j = 1, #want do
    if g[j] and g[j].requires_grad then
      outs.n = outs.n + 1
      outs[outs.n] = g[j]
    end
  end
  if outs.n == 0 then return false end
  local seconds = core.grad(walk.objective(outs), tensors, { allow_unused = true })
  local value = values_of(leaves)
  local which = {}
  for j = 1, #want do which[j] = g[j] and g[j].requires_grad or false end
  against_differences(op, text, "contiguous", want, value, seconds, function(v)
    local again = first(v, false)
    local list = { n = 0 }
    for j = 1, #want do
      if which[j] then
        list.n = list.n + 1
        list[list.n] = again[j]
      end
    end
    return walk.number(list)
  end, "second derivative")
  return true
end

-- One failure that names everything wrong, so that a run shows all of it.
local function report(problems)
  if #problems == 0 then return end
  error(("%d operations are wrong:\n  %s"):format(#problems, table.concat(problems, "\n  ")), 0)
end

local function each(fn)
  local problems = {}
  for _, op in ipairs(ops) do
    if not op.flags.hidden then
      local ok, msg = pcall(fn, op)
      if not ok then problems[#problems + 1] = op.name .. ": " .. tostring(msg):gsub("\n", " ") end
    end
  end
  report(problems)
end

describe("every operation", function()
  it("has maths, samples, wrong inputs and a backward, or says that it has no derivative", function()
    local problems = {}
    local function want(ok, op, what) if not ok then problems[#problems + 1] = op.name .. ": " .. what end end
    for _, op in ipairs(ops) do
      counts.ops = counts.ops + 1
      if op.flags.hidden then
        counts.hidden[#counts.hidden + 1] = op.name
      else
        want(op.doc, op, "no documentation block")
        want(op.doc and op.doc:find("@math", 1, true), op, "no @math")
        want(#samples_of(op) > 0, op, "no samples")
        want(#walk.split(op.wrong or "", ";") > 0, op, "no wrong inputs")
        want(op.flags.nodiff or op.has_backward ~= false, op, "no backward, and not declared without one")
        want(op.flags.nodiff or op.doc and op.doc:find("@grad", 1, true), op, "no @grad")
        want(op.flags.method_only or rawget(core, op.name), op, "no function of that name")
        if op.flags.method_only or not op.flags.func_only then want(core.tensor(1.0)[op.name], op, "no method of that name") end
      end
    end
    report(problems)
  end)

  it("has the gradient that central differences show, on every layout", function()
    each(function(op)
      if op.flags.nodiff then return end
      counts.differentiable = counts.differentiable + 1
      local reached = false
      for k, text in ipairs(samples_of(op)) do
        counts.samples = counts.samples + 1
        for _, layout in ipairs(layouts) do
          if layout ~= "expanded" or not (no_expanded[op.name] or text:find("%f[%w]d%(")) then
            local r = check_gradient(op, k, text, layout)
            if r then reached = true end
            if r and layout == "expanded" then counts.expanded = counts.expanded + 1 end
          end
        end
      end
      if not reached then error("no sample reaches its backward", 0) end
      counts.checked[#counts.checked + 1] = op.name
    end)
    if not only then
      assert.equal(counts.differentiable, #counts.checked)
      assert.is_true(#counts.checked > 110, "only " .. #counts.checked .. " differentiable operations were checked")
    end
  end)

  it("has the second derivative that differences of its gradient show, unless declared once", function()
    each(function(op)
      if op.flags.nodiff or op.flags.once then return end
      local text = samples_of(op)[1]
      if check_second(op, 1, text) then counts.second = counts.second + 1 end
    end)
    if not only then assert.is_true(counts.second > 50, "only " .. counts.second .. " second derivatives were checked") end
  end)

  it("refuses its wrong inputs with the words it promises", function()
    each(function(op)
      for k, line in ipairs(walk.split(op.wrong or "", ";")) do
        local text, words = line:match("^(.-)%s*=>%s*(.-)$")
        if not text then error("a wrong input without '=>': " .. line, 0) end
        local args = walk.evaluate(op, 100 + k, text, { dtype = "float32" })
        -- a method's first argument may be no tensor at all: then there is nothing to call it on
        local ok, msg = pcall(walk.call, op, args)
        if ok then error(("(%s) is taken; it should be refused: %s"):format(text, words), 0) end
        msg = tostring(msg)
        if not msg:find(words, 1, true) and not (op.flags.method_only and msg:find("neither a function", 1, true)) then
          error(("(%s): the message is '%s', it should contain '%s'"):format(text, msg, words), 0)
        end
        if msg:find("\n") then error(("(%s): the message has several lines: %s"):format(text, msg), 0) end
        counts.refusals = counts.refusals + 1
      end
    end)
    if not only then assert.is_true(counts.refusals > 150, "only " .. counts.refusals .. " refusals") end
  end)

  it("takes zero sizes or refuses them in words", function()
    local sizes = {
      function(s) local t = { table.unpack(s) } if #t > 0 then t[1] = 0 end return t end,
      function(s) local t = { table.unpack(s) } if #t > 0 then t[#t] = 0 end return t end,
      function(s) local t = {} for i = 1, #s do t[i] = 0 end return t end,
    }
    each(function(op)
      for k, text in ipairs(samples_of(op)) do
        for _, size in ipairs(sizes) do
          local ok, args, leaves = pcall(walk.evaluate, op, k, text, { dtype = "float64", size = size, grad = not op.flags.nodiff })
          if ok then
            local outs
            ok, outs = pcall(walk.call, op, args, true)
            if not ok then
              if type(outs) ~= "string" or outs:find("\n") then error("zero size: the error is no line of words", 0) end
            else
              counts.zero = counts.zero + 1
              local loss = not op.flags.nodiff and walk.objective(outs)
              if loss then
                local want = wanted(op, leaves)
                for _, l in ipairs(leaves) do if #l.value == 0 then want[#want + 1] = l end end
                local tensors = {}
                for j, l in ipairs(want) do tensors[j] = l.tensor end
                local grads = core.grad(loss, tensors, { allow_unused = true })
                for j, l in ipairs(want) do
                  if grads[j] and grads[j]:numel() ~= l.tensor:numel() then error("zero size: a gradient has another size than its tensor", 0) end
                end
              end
            end
          end
        end
      end
    end)
    if not only then assert.is_true(counts.zero > 150, "only " .. counts.zero .. " calls with zero sizes were taken") end
  end)

  it("gives in float32 what it gives in float64", function()
    each(function(op)
      if op.flags.random or undefined_values[op.name] then return end
      for k, text in ipairs(samples_of(op)) do
        local a = walk.call(op, (walk.evaluate(op, k, text, { dtype = "float64" })))
        local b = walk.call(op, (walk.evaluate(op, k, text, { dtype = "float32" })))
        if a.n ~= b.n then error("another number of results", 0) end
        for j = 1, a.n do
          local x, y = walk.flat(a[j]), walk.flat(b[j])
          if #x ~= #y then error("another size", 0) end
          for i = 1, #x do
            local same = x[i] == y[i] or x[i] ~= x[i] and y[i] ~= y[i]
            if not same and (type(x[i]) ~= "number" or not (math.abs(x[i] - y[i]) <= 1e-5 + 1e-4 * math.abs(x[i]))) then
              fail("(%s): element %d of result %d is %s in float64, %s in float32", text, i, j, tostring(x[i]), tostring(y[i]))
            end
          end
        end
      end
    end)
  end)

  it("gives the same values for every layout of its inputs", function()
    each(function(op)
      if undefined_values[op.name] then return end
      for k, text in ipairs(samples_of(op)) do
        local a = walk.call(op, (walk.evaluate(op, k, text, { dtype = "float32" })))
        for _, layout in ipairs { "transposed", "sliced" } do
          local b = walk.call(op, (walk.evaluate(op, k, text, { dtype = "float32", layout = layout })))
          for j = 1, a.n do
            if not walk.same(a[j], b[j]) and not op.flags.writes then fail("(%s): result %d differs for %s inputs", text, j, layout) end
          end
        end
      end
    end)
  end)

  it("gives equal bits for one to four threads, forward and backward", function()
    local before = core.threads()
    local function results(op, k, text, size)
      local args, leaves = walk.evaluate(op, k, text, { dtype = "float32", size = size, grad = not op.flags.nodiff })
      local outs = walk.call(op, args, true)
      local all = { n = 0 }
      for j = 1, outs.n do all[j] = outs[j]:detach() end
      all.n = outs.n
      local loss = not op.flags.nodiff and walk.objective(outs)
      if loss then
        local tensors = {}
        for j, l in ipairs(leaves) do tensors[j] = l.tensor end
        local g = core.grad(loss, tensors, { allow_unused = true })
        for j = 1, #tensors do
          if g[j] then
            all.n = all.n + 1
            all[all.n] = g[j]
          end
        end
      end
      return all
    end
    local ok, msg = pcall(each, function(op)
      if undefined_values[op.name] then return end
      -- every size times one factor keeps most samples legal and makes them large enough to be shared out
      local text = samples_of(op)[1]
      local shapes = {}
      walk.evaluate(op, 1, text, { size = function(s) shapes[#shapes + 1] = s return s end })
      local factor = 400
      for _, s in ipairs(shapes) do
        if #s > 0 then factor = math.min(factor, math.max(1, math.floor((70000 / math.max(1, walk.numel(s))) ^ (1 / #s)))) end
      end
      local function size(s)
        local t = {}
        for i = 1, #s do t[i] = s[i] * factor end
        return t
      end
      core.threads(1)
      local large, one = pcall(results, op, 1, text, size)
      if not large then
        size = nil
        local fine
        fine, one = pcall(results, op, 1, text, nil)
        if not fine then
          if no_grad_leaf[op.name] then return end
          error(one, 0)
        end
      else
        counts.large = counts.large + 1
      end
      for n = quick and 4 or 2, 4 do
        core.threads(n)
        local many = results(op, 1, text, size)
        for j = 1, one.n do
          if not walk.same(one[j], many[j]) then fail("(%s)%s: result %d differs between 1 and %d threads", text, large and " times " .. factor or "", j, n) end
        end
      end
      counts.threads = counts.threads + 1
    end)
    core.threads(before)
    if not ok then error(msg, 0) end
    if not only then assert.is_true(counts.large > 100, "only " .. counts.large .. " operations were large enough") end
  end)

  it("is counted", function()
    local text = "\nwalk: %d operations, %d hidden (%s); %d of %d differentiable ones checked over %d samples and %d elements, %d expanded, "
      .. "%d second derivatives, %d refusals, %d with zero sizes, %d on several threads (%d large)"
    print(text:format(counts.ops, #counts.hidden, table.concat(counts.hidden, " "), #counts.checked, counts.differentiable, counts.samples, counts.elements, counts.expanded,
        counts.second, counts.refusals, counts.zero, counts.threads, counts.large))
    if only then return end
    assert.is_true(counts.ops > 150)
    assert.is_true(#counts.hidden < counts.ops / 4)
  end)
end)

describe("the walk itself", function()
  it("sees a wrong sign", function()
    local bad = core.func { name = "bad", forward = function(_, x) return x * 2 end, backward = function(_, gy) return gy * -2 end }
    local ok = pcall(function()
      core.gradcheck(bad, { core.tensor({ 1, 2 }, { dtype = "float64" }) })
    end)
    assert.is_false(ok)
    local x = core.tensor({ 1.0, 2.0 }, { dtype = "float64" }):requires_grad_()
    local g = core.grad(walk.objective(table.pack(bad(x))), { x })[1]
    local l = { at = 1, value = { 1.0, 2.0 } }
    assert.is_false(pcall(against_differences, { name = "bad" }, "x", "contiguous", { l }, { { 1.0, 2.0 } }, { g }, function(v)
      return walk.number(table.pack(bad(core.tensor(v[1], { dtype = "float64" }))))
    end, "gradient"))
  end)
  it("splits samples outside brackets and strings", function()
    assert.same({ 'f(2,3), {1;2}', '"a;b", 1' }, walk.split('f(2,3), {1;2}; "a;b", 1;', ";"))
  end)
end)
