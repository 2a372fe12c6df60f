-- attention_spec.lua - attention: the fused operation against the plain formula, masks, causality, threads, memory, and the layer.
local sn = require "slugnet"

local expect = dofile("tests/expect.lua")
local fails, close = expect.fails, expect.close

local function plain(q, k, v, mask, o)
  local d = q:size(q:dim())
  local s = q:matmul(k:transpose(-2, -1)) * (o and o.scale or 1 / math.sqrt(d))
  if mask then s = mask.dtype == "bool" and sn.where(mask, s, -math.huge) or s + mask end
  if o and o.causal then
    local seen = sn.ones(q:size(q:dim() - 1), k:size(k:dim() - 1)):tril():gt(0)
    s = sn.where(seen, s, -math.huge)
  end
  return s:softmax(-1):matmul(v)
end

local function all_of(fn, q, k, v, mask, o, probe)
  local leaves = { q, k, v }
  if mask and mask.requires_grad then leaves[4] = mask end
  for i = 1, 3 do leaves[i]:requires_grad_() end
  local y = fn(q, k, v, mask, o and next(o) and o or nil)
  local list = sn.grad((y * probe):sum(), leaves)
  list[#list + 1] = y:detach()
  return list
end

describe("scaled_dot_product_attention", function()
  local cases = {
    { { 2, 3, 5, 4 }, 5, 4 }, { { 1, 2, 33, 16 }, 33, 16 }, { { 1, 2, 33, 17 }, 33, 3, causal = true }, { { 2, 1, 70, 8 }, 70, 9, causal = true },
    { { 1, 1, 40, 8 }, 70, 8, causal = true }, { { 1, 1, 70, 8 }, 40, 8, causal = true, scale = 0.3 }, { { 2, 2, 3, 5 }, 100, 4 }, { { 1, 1, 200,
        4 }, 450, 2 },
  }
  for _, c in ipairs(cases) do
    local s = c[1]
    it(("is the formula: %s queries, %d keys%s"):format(table.concat(s, "x"), c[2], c.causal and ", causal" or ""), function()
      sn.manual_seed(s[3])
      for _, dtype in ipairs { "float64", "float32" } do
        local o = { dtype = dtype }
        local q, k, v = sn.randn(s, o), sn.randn(s[1], s[2], c[2], s[4], o), sn.randn(s[1], s[2], c[2], c[3], o)
        local probe, option = sn.randn(s[1], s[2], s[3], c[3], o), { causal = c.causal, scale = c.scale }
        local got, want = all_of(sn.scaled_dot_product_attention, q, k, v, nil, option, probe), all_of(plain, q, k, v, nil, option, probe)
        for i = 1, #want do close(got[i], want[i], dtype == "float64" and 1e-12 or 2e-5) end
      end
    end)
  end

  it("takes masks that broadcast, and gives an added one its gradient", function()
    sn.manual_seed(1)
    local o = { dtype = "float64" }
    local q, k, v, probe = sn.randn(2, 3, 5, 4, o), sn.randn(2, 3, 6, 4, o), sn.randn(2, 3, 6, 2, o), sn.randn(2, 3, 5, 2, o)
    for _, shape in ipairs { { 5, 6 }, { 2, 1, 1, 6 }, { 1, 3, 5, 1 }, { 2, 3, 5, 6 }, { 6 } } do
      local added = sn.randn(shape, o)
      local bool = added:gt(-0.8)
      for _, m in ipairs { bool, added, added:clone():requires_grad_() } do
        local got, want = all_of(sn.scaled_dot_product_attention, q, k, v, m, nil, probe), all_of(plain, q, k, v, m, nil, probe)
        assert.equal(#want, #got)
        if m.dtype ~= "bool" or want[#want]:eq(want[#want]):all():item() then
          for i = 1, #want do close(got[i], want[i], 1e-12) end
        end
      end
    end
  end)

  it("gives zeros where nothing may be seen, without NaN in the gradients", function()
    local q, k, v = sn.randn(1, 1, 3, 4), sn.randn(1, 1, 5, 4), sn.randn(1, 1, 5, 4)
    local mask = sn.ones(3, 5):gt(0)
    mask[2] = false
    local list = all_of(sn.scaled_dot_product_attention, q, k, v, mask, nil, sn.ones(1, 1, 3, 4))
    assert.same({ 0, 0, 0, 0 }, list[4][1][1][2]:totable())
    for i = 1, 4 do assert.is_true(list[i]:isfinite():all():item()) end
    assert.equal(0, list[1][1][1][2]:abs():max():item())
  end)

  it("is the same for other layouts and without heads", function()
    sn.manual_seed(2)
    local x = sn.randn(2, 7, 3, 8) -- n x t x heads x d, as a projection leaves it
    local y = sn.scaled_dot_product_attention(x:transpose(2, 3), x:transpose(2, 3), x:transpose(2, 3), { causal = true })
    local z = x:transpose(2, 3):contiguous()
    assert.is_true(y:equal(sn.scaled_dot_product_attention(z, z, z, { causal = true })))
    local one = z:select(2, 1)
    assert.is_true(y:select(2, 1):equal(sn.scaled_dot_product_attention(one, one, one, { causal = true })))
    local half = z:to("bfloat16")
    assert.equal("bfloat16", sn.scaled_dot_product_attention(half, half, half).dtype)
  end)

  it("gives equal bits on 1 to 4 threads", function()
    sn.manual_seed(3)
    local q, k, v, probe = sn.randn(3, 4, 65, 32), sn.randn(3, 4, 65, 32), sn.randn(3, 4, 65, 32), sn.randn(3, 4, 65, 32)
    local before, first = sn.threads(), nil
    for threads = 1, 4 do
      sn.threads(threads)
      local list = all_of(sn.scaled_dot_product_attention, q, k, v, nil, { causal = true }, probe)
      first = first or list
      for i = 1, #list do assert.is_true(list[i]:equal(first[i]), ("result %d on %d threads"):format(i, threads)) end
    end
    sn.threads(before)
  end)

  it("never holds all scores", function()
    local q = sn.randn(1, 8, 1024, 8)
    sn.scaled_dot_product_attention(q, q, q) -- scratch of the threads
    collectgarbage()
    local before = sn.memory()
    sn.reset_peak()
    sn.scaled_dot_product_attention(q, q, q)
    local after = sn.memory()
    assert.is_true(after.peak - before.live < 8 * 1024 * 1024 * 4 / 4, "peak " .. after.peak - before.live)
  end)
end)

describe("MultiheadAttention", function()
  it("is projection, heads and projection", function()
    sn.manual_seed(5)
    for _, causal in ipairs { false, true } do
      local l = sn.MultiheadAttention { 12, 3, causal = causal }
      local x = sn.randn(2, 7, 12)
      local y = l(x)
      local p, names = l:named()
      assert.same({ "in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias" }, names)
      local q, k, v = sn.linear(x, p.in_proj_weight, p.in_proj_bias):split(12, 3)
      local function heads(t) return t:reshape(2, 7, 3, 4):transpose(2, 3) end
      local a = sn.scaled_dot_product_attention(heads(q), heads(k), heads(v), { causal = causal }):transpose(2, 3):reshape(2, 7, 12)
      close(y, sn.linear(a, p["out_proj.weight"], p["out_proj.bias"]), 1e-6)
      assert.equal("MultiheadAttention 12, 3 heads" .. (causal and ", causal" or ""), tostring(l))
    end
    assert.equal(2, #sn.MultiheadAttention({ 4, 2, bias = false }):parameters())
  end)

  it("has right gradients, also when they are to be differentiated", function()
    sn.manual_seed(6)
    local l = sn.MultiheadAttention { 6, 2, causal = true }
    l:build { 4, 6 }
    l:to("float64")
    local x = sn.randn(2, 4, 6, { dtype = "float64" }):requires_grad_()
    assert.is_true(sn.gradcheck(function(t) return l(t) end, { x }))
    local probe = sn.randn(2, 4, 6, { dtype = "float64" })
    local all = l:parameters()
    all[#all + 1] = x
    local once = sn.grad((l(x) * probe):sum(), all)
    local again = sn.grad((l(x) * probe):sum(), all, { create_graph = true })
    for i = 1, #all do close(again[i], once[i], 1e-12) end
  end)

  it("sees nothing of what comes later when causal", function()
    sn.manual_seed(7)
    local l, x = sn.MultiheadAttention { 8, 2, causal = true }, sn.randn(1, 6, 8)
    local y, z = l(x), x:clone()
    z:narrow(2, 5, 2):fill_(3)
    assert.is_true(l(z):narrow(2, 1, 4):equal(y:narrow(2, 1, 4)))
    assert.is_false(l(z):equal(y))
  end)

  it("says what is wrong", function()
    fails(function() sn.MultiheadAttention { 7, 2 } end, "7 features", "2 heads")
    fails(function() sn.MultiheadAttention { 0, 1 } end, "embed_dim is 0")
    local l = sn.MultiheadAttention { 8, 2 }
    fails(function() l(sn.ones(2, 3, 6)) end, "MultiheadAttention 8, 2 heads", "2x3x6")
    fails(function() l(sn.ones(2, 8)) end, "n x steps x 8")
  end)

  it("trains to the same bits on 1 to 4 threads", function()
    local before, first = sn.threads(), nil
    for threads = 1, 4 do
      sn.threads(threads)
      sn.manual_seed(9)
      local net = sn.Sequential(sn.Embedding { 20, 48 }, sn.Residual(sn.LayerNorm {}, sn.MultiheadAttention { 48, 4, causal = true }),
        sn.Residual(sn.LayerNorm {}, sn.Dense { 96, activation = "gelu" }, sn.Dense { 48 }), sn.LayerNorm {}, sn.Dense { 20, bias = false })
      local x = sn.randint(1, 21, { 9, 41 })
      net:build { 41 }
      local opt = sn.AdamW(net:parameters(), { lr = 0.003 })
      for _ = 1, 5 do
        opt:zero_grad()
        sn.cross_entropy(net(x):flatten(1, 2), x:flatten()):backward()
        opt:step()
      end
      local all = {}
      for i, p in ipairs(net:parameters()) do all[i] = p:detach():flatten() end
      local bits = sn.cat(all, 1)
      first = first or bits
      assert.is_true(bits:equal(first), "on " .. threads .. " threads")
    end
    sn.threads(before)
  end)

  it("learns as part of a compiled block, with eager's bits", function()
    local X = sn.randint(1, 7, { 32, 10 })
    local last
    for _, compile in ipairs { false, true } do
      sn.manual_seed(8)
      local net = sn.Sequential(sn.Embedding { 6, 16 }, sn.Residual(sn.LayerNorm {}, sn.MultiheadAttention { 16, 4, causal = true }),
        sn.Residual(sn.LayerNorm {}, sn.Dense { 32, activation = "gelu" }, sn.Dense { 16 }), sn.Dense { 6 })
      net:build { 10 }
      local opt = sn.AdamW(net:parameters(), { lr = 0.01 })
      local function step(x)
        opt:zero_grad()
        local loss = sn.cross_entropy(net(x):flatten(1, 2), x:flatten()) -- each step says its own token
        loss:backward()
        opt:step()
        return loss:detach()
      end
      local run, loss = compile and sn.compile(step) or step, nil
      for _ = 1, 40 do loss = run(X) end
      assert.is_true(loss:item() < 0.5, "loss " .. loss:item())
      local bits = net:parameters()[4]:detach():clone()
      if last then assert.is_true(bits:equal(last), "compiled training has other bits") end
      last = bits
    end
  end)
end)
