-- conv_spec.lua - convolution and pooling from Lua: against plain loops, adjoints, special numbers, halves, errors, threads.
-- PyTorch's numbers are in golden_spec, gradients against differences in walk_spec, kernels over random shapes in tests/c/conv_test.c.
local sn = require "slugnet"

local function ramp(...)
  local shape, n = { ... }, 1
  for _, d in ipairs(shape) do n = n * d end
  local v = {}
  for i = 1, n do v[i] = ((37 * i) % 113 - 56) / 40 end
  return sn.tensor(v, { dtype = "float64" }):reshape(table.unpack(shape))
end

local close = dofile("tests/expect.lua").close
local function near(a, b, most) close(a, b, most or 1e-10) end

-- conv2d as loops over nested tables
local function plain(x, w, stride, pad)
  local n, c, h, wd = table.unpack(x:size())
  local o, _, kh, kw = table.unpack(w:size())
  local X, W, y = x:totable(), w:totable(), {}
  for i = 1, n do
    y[i] = {}
    for k = 1, o do
      y[i][k] = {}
      for r = 1, (h + 2 * pad - kh) // stride + 1 do
        y[i][k][r] = {}
        for s = 1, (wd + 2 * pad - kw) // stride + 1 do
          local sum = 0
          for q = 1, c do
            for a = 1, kh do
              for b = 1, kw do
                local row = X[i][q][(r - 1) * stride + a - pad]
                sum = sum + (row and row[(s - 1) * stride + b - pad] or 0) * W[k][q][a][b]
              end
            end
          end
          y[i][k][r][s] = sum
        end
      end
    end
  end
  return sn.tensor(y, { dtype = "float64" })
end

describe("conv2d", function()
  it("is what loops compute", function()
    local cases = { { 2, 3, 6, 7, 4, 3, 2, 1, 0 }, { 1, 2, 9, 9, 5, 3, 3, 1, 1 }, { 2, 1, 8, 20, 3, 5, 3, 2, 2 }, { 3, 17, 5, 5, 13, 3, 3, 1, 1 } }
    for _, case in ipairs(cases) do
      local n, c, h, w, o, kh, kw, stride, pad = table.unpack(case)
      local x, k = ramp(n, c, h, w), ramp(o, c, kh, kw)
      local want = plain(x, k, stride, pad)
      near(sn.conv2d(x, k, { stride = stride, padding = pad }), want)
      near(sn.conv2d(x:to("float32"), k:to("float32"), { stride = stride, padding = pad }):to("float64"), want, 2e-4)
      local b = ramp(o)
      near(x:conv2d(k, b, stride, pad), want + b:reshape(o, 1, 1))
    end
  end)

  it("takes one image without a batch, and no image at all", function()
    local x, k = ramp(3, 6, 6), ramp(2, 3, 3, 3)
    near(sn.conv2d(x, k), sn.conv2d(x:reshape(1, 3, 6, 6), k)[1])
    assert.same({ 0, 2, 4, 4 }, sn.conv2d(sn.zeros(0, 3, 6, 6), sn.zeros(2, 3, 3, 3)):size())
    local w = sn.zeros(2, 3, 3, 3):requires_grad_()
    sn.conv2d(sn.zeros(0, 3, 6, 6), w):sum():backward()
    assert.equal(0, w.grad:abs():sum():item())
  end)

  it("with groups is that many convolutions", function()
    local x, k = ramp(2, 6, 5, 5), ramp(4, 3, 3, 3)
    local y = sn.conv2d(x, k, { groups = 2 })
    near(y, sn.cat({ sn.conv2d(x[{ {}, { 1, 3 } }], k[{ { 1, 2 } }]), sn.conv2d(x[{ {}, { 4, 6 } }], k[{ { 3, 4 } }]) }, 2))
  end)

  it("keeps NaN and infinity where they belong", function()
    local x = sn.zeros(1, 1, 20, 20)
    x[{ 1, 1, 10, 20 }] = 0 / 0
    local w = sn.ones(2, 1, 3, 3):requires_grad_()
    local y = sn.conv2d(x, w)
    assert.equal(2 * 3, y:isnan():to("int64"):sum():item())
    -- in the weight's gradient only the taps that meet it: the last column
    y:sum():backward()
    assert.equal(2 * 3, w.grad:isnan():to("int64"):sum():item())
    assert.is_false(w.grad[{ 1, 1, {}, { 1, 2 } }]:isnan():any():item() and true or false)
  end)

  it("computes halves in float32", function()
    local x, k = ramp(1, 2, 5, 5):to("float16"), ramp(2, 2, 3, 3):to("float16")
    local y = sn.conv2d(x, k)
    assert.equal("float16", y.dtype)
    near(y:to("float32"), sn.conv2d(x:to("float32"), k:to("float32")), 1e-2)
  end)

  it("says what does not fit", function()
    assert.has_error(function() sn.conv2d(sn.zeros(8, 3, 28, 28), sn.zeros(16, 1, 3, 3)) end)
    local ok, msg = pcall(sn.conv2d, sn.zeros(8, 3, 28, 28), sn.zeros(16, 1, 3, 3))
    assert.is_false(ok)
    assert.truthy(tostring(msg):find("conv2d: input has 3 channels, weight wants 1 (input 8x3x28x28, weight 16x1x3x3)", 1, true))
  end)

  it("gives equal bits for one to four threads", function()
    local before = sn.threads()
    local cases = { { 5, 3, 32, 32, 20, 3, 1, 1, 1 }, { 9, 40, 7, 7, 33, 3, 1, 1, 1 }, { 2, 32, 26, 26, 24, 3, 1, 0, 1 },
      { 1, 64, 30, 30, 20, 3, 2, 1, 1 },
      { 4, 16, 12, 12, 16, 3, 1, 1, 16 }, { 3, 1, 28, 28, 8, 5, 1, 0, 1 }, { 40, 48, 3, 3, 64, 3, 1, 1, 1 } }
    for _, case in ipairs(cases) do
      local n, c, h, w, o, k, stride, pad, groups = table.unpack(case)
      local first
      for t = 1, 4 do
        sn.threads(t)
        local x, f = ramp(n, c, h, w):to("float32"):requires_grad_(), ramp(o, c // groups, k, k):to("float32"):requires_grad_()
        local y = sn.conv2d(x, f, { stride = stride, padding = pad, groups = groups })
        local g = sn.grad((y * y):sum(), { x, f })
        local all = { y:detach(), g[1], g[2] }
        if not first then first = all end
        for i = 1, 3 do assert.is_true(all[i]:equal(first[i]), ("case %dx%dx%dx%d, %d threads, result %d"):format(n, c, h, w, t, i)) end
      end
    end
    sn.threads(before)
  end)
end)

describe("its relatives", function()
  it("conv1d is conv2d of height one", function()
    local x, k, b = ramp(2, 4, 11), ramp(6, 2, 3), ramp(6)
    local y = sn.conv1d(x, k, b, { stride = 2, padding = 2, dilation = 2, groups = 2 })
    near(y, sn.conv2d(x:unsqueeze(3), k:unsqueeze(3), b, { stride = { 1, 2 }, padding = { 0, 2 }, dilation = { 1, 2 }, groups = 2 }):squeeze(3))
  end)

  it("conv_transpose2d is the adjoint of conv2d", function()
    for _, o in ipairs { { stride = 1 }, { stride = 2, padding = 1 }, { stride = { 3, 2 }, dilation = { 1, 2 } } } do
      local x, k = ramp(2, 3, 13, 13), ramp(4, 3, 3, 3)
      local y = sn.conv2d(x, k, o)
      local g = ramp(table.unpack(y:size()))
      local back = sn.conv_transpose2d(g, k, o)
      local h, w = back:size(3), back:size(4)
      local seen = x[{ {}, {}, { 1, h }, { 1, w } }]
      near((y * g):sum(), (seen * back):sum(), 1e-8)
    end
    assert.same({ 1, 2, 6, 6 }, sn.conv_transpose2d(ramp(1, 1, 3, 3), ramp(1, 2, 3, 3), { stride = 2, padding = 1, output_padding = 1 }):size())
  end)
end)

describe("pooling", function()
  it("the first of equals gets the gradient", function()
    local x = sn.ones(1, 1, 4, 40):requires_grad_()
    sn.max_pool2d(x, 2):sum():backward()
    assert.equal(40, x.grad:sum():item())
    for j = 1, 40 do assert.equal(j % 2, x.grad[{ 1, 1, 1, j }]:item()) end
    assert.equal(0, x.grad[{ 1, 1, 2 }]:sum():item())
  end)

  it("NaN wins", function()
    local x = sn.zeros(1, 1, 6, 40)
    x[{ 1, 1, 3, 7 }] = 0 / 0
    local y = sn.max_pool2d(x, 2)
    assert.equal(1, y:isnan():to("int64"):sum():item())
    assert.equal(4, sn.max_pool2d(x, 2, { stride = 1 }):isnan():to("int64"):sum():item())
    local g = x:clone():requires_grad_()
    sn.max_pool2d(g, 2):sum():backward()
    assert.equal(1, g.grad[{ 1, 1, 3, 7 }]:item())
  end)

  it("two by two equals the general way", function()
    for _, w in ipairs { 6, 31, 32, 33, 64, 70 } do
      local x = ramp(2, 3, 7, w):to("float32")
      local y = sn.max_pool2d(x, 2)
      near(y, sn.max_pool2d(x, 2, { stride = 2, dilation = 1, ceil_mode = false }))
      local even, odd = x[{ {}, {}, { 1, 6, 2 }, { 1, w - w % 2, 2 } }], x[{ {}, {}, { 1, 6, 2 }, { 2, w - w % 2, 2 } }]
      local even2, odd2 = x[{ {}, {}, { 2, 6, 2 }, { 1, w - w % 2, 2 } }], x[{ {}, {}, { 2, 6, 2 }, { 2, w - w % 2, 2 } }]
      near(y, even:maximum(odd):maximum(even2:maximum(odd2)))
      near(sn.avg_pool2d(x, 2), (even + odd + even2 + odd2) / 4, 1e-6)
    end
  end)

  it("counts as PyTorch does at the border", function()
    local x = sn.ones(1, 1, 3, 3)
    assert.near(4 / 9, sn.avg_pool2d(x, 3, { padding = 1 }):reshape(1)[1], 1e-6)
    assert.near(1, sn.avg_pool2d(x, 3, { padding = 1, count_include_pad = false }):reshape(1)[1], 1e-6)
    assert.near(9 / 2, sn.avg_pool2d(x, 3, { divisor_override = 2 }):reshape(1)[1], 1e-6)
    assert.same({ 1, 1, 2, 2 }, sn.avg_pool2d(x, 2, { ceil_mode = true }):size())
    assert.near(1, sn.avg_pool2d(x, 2, { ceil_mode = true })[{ 1, 1, 2, 2 }]:item(), 1e-6)
    assert.same({ 1, 1, 1, 1 }, sn.avg_pool2d(x, 2):size())
  end)

  it("adaptive windows cover the plane", function()
    local x = ramp(1, 2, 6, 6)
    near(sn.adaptive_avg_pool2d(x, 1):reshape(1, 2), x:mean({ 3, 4 }))
    near(sn.adaptive_avg_pool2d(x, 3), sn.avg_pool2d(x, 2))
    near(sn.adaptive_avg_pool2d(x, { 6, 6 }), x)
    assert.same({ 2, 4, 5 }, sn.adaptive_avg_pool2d(ramp(2, 3, 7), { 4, 5 }):size())
  end)
end)
