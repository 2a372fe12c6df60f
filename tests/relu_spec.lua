-- relu_spec.lua - relu and its gradient as part of the operation beside it, in programs: the eager bits.
local core = require "slugnet.core"
local walk = dofile("tests/walk.lua")

local function same(a, b, what)
  for i = 1, a.n do assert(walk.same(a[i], b[i]), what .. ": result " .. i .. " differs") end
end

describe("relu", function()
  local threads = core.threads()
  -- y = relu(batch_norm(x) [+ another way]), its gradients, and the running statistics; the way is made before or after the normalisation
  local function case(form, shape, dtype)
    local half = dtype == "bfloat16" -- between: leaves and statistics are float32
    if half then dtype = "float32" end
    local function some(...) return core.randn({ ... }, { dtype = dtype }) end
    local c = shape[2]
    local x, way = some(table.unpack(shape)):requires_grad_(), some(table.unpack(shape)):requires_grad_()
    local w, b = some(c):requires_grad_(), some(c):requires_grad_()
    local g, mean, var = some(table.unpack(shape)), some(c), core.ones(c, { dtype = dtype })
    return function()
      x.grad, way.grad, w.grad, b.grad = nil, nil, nil, nil
      local running, old, before = { mean:clone(), var:clone() }, x * 2, form ~= "plain" and way * 3
      if half then old, before = old:to("bfloat16"), before and before:to("bfloat16") end
      local y = core.batch_norm(old, form ~= "bare" and w or nil, form ~= "bare" and b or nil, running[1], running[2])
      if form == "before" or form == "both" then y = y + before elseif form == "after" then y = (half and way:to("bfloat16") or way):tanh() + y end
      y = y:relu()
      local out = form == "again" and y * before or form == "both" and y * way + y or y
      out:backward(g:to(out.dtype))
      return y:detach(), running[1], running[2]
    end, { x, way, w, b }
  end
  it("joins batch norm in training, with another way, and its gradient: the eager bits on any number of threads", function()
    for k, shape in ipairs { { 3, 8, 20, 20 }, { 5, 3, 7 }, { 40, 6, 4, 5 }, { 33, 20 }, { 2, 16, 40, 40 }, { 0, 3, 4, 4 } } do
      for _, form in ipairs { "plain", "bare", "before", "after", "again", "both" } do
        for _, dtype in ipairs { "float32", "float64", "bfloat16" } do
          local what = form .. " " .. k .. " " .. dtype
          core.threads(k % 3 + 1)
          local fn, leaves = case(form, shape, dtype)
          local function results(f)
            local out = table.pack(f())
            for _, l in ipairs(leaves) do
              out.n = out.n + 1
              out[out.n] = l.grad and l.grad:clone() or core.zeros(1)
            end
            return out
          end
          local c, want = core.compile(fn), results(fn)
          for round = 1, 5 do same(want, results(c), what .. ", call " .. round) end
          assert.equal(3, c:count().replayed, c:reason())
          local text = c:explain()
          assert.truthy(text:find("batch_norm_relu ", 1, true), text)
          local joins = form == "before" or form == "after" or form == "both"
          assert.equal(not joins, text:find("batch_norm_relu_backward ", 1, true) ~= nil, text)
          assert.equal(joins, text:find("batch_norm_way_backward ", 1, true) ~= nil, text)
          if form == "both" then assert.falsy(text:find("add ", 1, true), text) end
          assert.falsy(text:find("batch_norm_train ", 1, true), text)
        end
      end
    end
    core.threads(threads)
  end)
  it("joins the gradient of pooling two by two, and of no other windows", function()
    for _, h in ipairs { 2, 7, 11, 26, 32, 33, 40 } do
      for _, window in ipairs { { 2 }, { 3 }, { 2, { stride = 1 } }, { 2, { ceil_mode = true } }, { 2, { padding = 1 } } } do
        if h >= window[1] then
          local x = core.randn(2, 3, h, h):mul(2):round():requires_grad_() -- equal numbers, zeros
          local dtype = h % 2 == 0 and "float32" or "bfloat16"
          local function fn()
            x.grad = nil
            local y = (x * 1):to(dtype):relu():max_pool2d(table.unpack(window))
            ;(y * y + y):sum():backward()
            return y:detach()
          end
          fn()
          local want, c = x.grad:clone(), core.compile(fn)
          for _ = 1, 4 do
            c()
            assert.is_true(walk.same(want, x.grad))
          end
          assert.equal(window[1] == 2 and not window[2], c:explain():find("max_pool2d_relu_backward", 1, true) ~= nil, c:explain())
        end
      end
    end
  end)
  it("lets NaN and infinities be as they are", function()
    local x = core.tensor { { 1, 0 / 0, 3 }, { 2, 1, 1 / 0 }, { -4, 2, 1 } }:requires_grad_()
    local function fn()
      x.grad = nil
      local y = core.batch_norm(x * 1):relu()
      y:sum():backward()
      return y:detach()
    end
    local want, grad, c = fn():bytes(), x.grad:bytes(), core.compile(fn)
    for _ = 1, 4 do assert.is_true(c():bytes() == want and x.grad:bytes() == grad) end
  end)
  it("stays apart where the middle is seen or what it reads is written between", function()
    local x, w = core.randn(4, 3, 5), core.ones(3)
    local function text(fn)
      local c = core.compile(fn)
      local out
      for _ = 1, 4 do out = c() end
      assert.truthy(out)
      return c:explain()
    end
    assert.falsy(text(function()
      local y = core.batch_norm(x)
      return y:relu(), y
    end):find("batch_norm_relu", 1, true))
    assert.falsy(text(function() return core.batch_norm(x:narrow(3, 1, 3)):transpose(2, 3):relu() end):find("batch_norm_relu", 1, true))
    assert.falsy(text(function()
      local y = core.batch_norm(x, w)
      w:add_(1)
      return (y + w:reshape(1, 3, 1):expand(4, 3, 5):contiguous()):relu()
    end):find("batch_norm_relu", 1, true))
    core.passes("relu", false)
    local off = text(function() return core.batch_norm(x):relu() end)
    core.passes("relu", true)
    assert.falsy(off:find("batch_norm_relu", 1, true))
    assert.truthy(text(function() return core.batch_norm(x):relu() end):find("batch_norm_relu", 1, true))
  end)
end)
