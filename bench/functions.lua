-- functions.lua - every function of tensors by itself beside PyTorch's, and whether both give the same numbers.
--   slugnet bench/functions.lua [--threads 1] [--rounds 2] [--seconds 0.05] [--size 1048576] [--isa avx2] [--python PATH] [--out FILE] [NAME...]
-- A name also stands for what it is found in as a pattern ("^to_", "softmax"). Prints the slowest ratio first; --out writes that to a file too.
local sn = require "slugnet"
local core = require "slugnet.core"
local bench = require "slugnet.bench"
local sides = dofile "bench/sides.lua"
local results = dofile "bench/results.lua"

local opt, words = results.arguments(arg, { threads = "1", rounds = "2", seconds = "0.05", size = "1048576", isa = sn.info().isa, python = "build/venv/bin/python",
  serve = "no" })
local N = math.tointeger(opt.size) or error("--size wants a whole number", 0)
local S = math.floor(N ^ 0.5)            -- the side of a matrix
local P = math.max(8, math.floor((N / 1024) ^ 0.5)) -- and of an image's plane

-- ---- operands: name = "KIND DTYPE SIZE [MOST]". "position" counts from 1 here and from 0 there; leaves that require a gradient end in "grad".
local matrix, image = S .. "x" .. S, "32x32x" .. P .. "x" .. P
local operands, letters = {}, {}
local function operand(name, spec)
  letters[#letters + 1] = name
  local kind, dtype, size, rest = spec:match("^(%S+) (%S+) (%S+) ?(.*)$")
  operands[name] = ("%s %s %s %d%s"):format(kind, dtype, size, #letters, rest ~= "" and " " .. rest or "")
end
operand("x", "normal float32 " .. N)
operand("y", "normal float32 " .. N)
operand("x0", "uniform float32 " .. N)   -- from 0 up to 1
operand("p", "positive float32 " .. N)   -- above 0, up to 1
operand("u", "open float32 " .. N)       -- between -1 and 1
operand("x64", "normal float64 " .. N)
operand("p64", "positive float64 " .. N)
operand("y64", "normal float64 " .. N)
operand("xf", "normal float16 " .. N)
operand("yf", "normal float16 " .. N)
operand("xb", "normal bfloat16 " .. N)
operand("yb", "normal bfloat16 " .. N)
operand("i", "signed int64 " .. N .. " 1000")
operand("k", "signed int64 " .. N .. " 1000")
operand("kp", "below int64 " .. N .. " 1000")
operand("i32", "signed int32 " .. N .. " 1000")
operand("k32", "signed int32 " .. N .. " 1000")
operand("u8", "below uint8 " .. N .. " 256")
operand("w8", "below uint8 " .. N .. " 256")
operand("b", "below bool " .. N .. " 2")
operand("c", "below bool " .. N .. " 2")
operand("z", "uniform float32 " .. N)    -- to be written
operand("m", "normal float32 " .. matrix)
operand("w", "normal float32 " .. matrix)
operand("mp", "positive float32 " .. matrix)
operand("m64", "normal float64 " .. matrix)
operand("mi", "signed int64 " .. matrix .. " 1000")
operand("mb", "below bool " .. matrix .. " 2")
operand("mt", "normal float32 " .. S * 4 .. "x" .. S // 4) -- other forms
operand("ms", "normal float32 " .. S // 4 .. "x" .. S * 4)
operand("v", "normal float32 " .. S)
operand("v2", "normal float32 " .. S)
operand("v1", "normal float32 " .. S .. "x1")
operand("q3", "normal float32 16x" .. S // 4 .. "x" .. S // 4)
operand("r3", "normal float32 16x" .. S // 4 .. "x" .. S // 4)
operand("h4", "normal float32 4x8x" .. math.max(1, S // 4) .. "x64")
operand("rows", "position int64 " .. S .. " " .. S)
operand("at", "position int64 " .. matrix .. " " .. S)
operand("flat", "position int64 " .. N .. " " .. N)
operand("label", "position int64 " .. S .. " " .. S)
operand("group", "position int64 " .. N .. " 1000")
operand("ten", "position int64 " .. math.max(1, N // 16) .. " 10")
operand("upward", "ordered float32 " .. N)
operand("im", "normal float32 " .. image)
operand("k3", "normal float32 32x32x3x3")
operand("c32", "positive float32 32")
operand("k1", "normal float32 128x32x3")
operand("s0", "below float32 1x32x64 1") -- zeros
operand("seq", "normal float32 32x32x64")
operand("st", "normal float32 32x64")
operand("wi", "normal float32 256x64")
operand("wh", "normal float32 256x64")
operand("gi", "normal float32 192x64")
operand("X", "normal float32 " .. N .. " grad")
operand("Y", "normal float32 " .. N .. " grad")
operand("PG", "positive float32 " .. N .. " grad")
operand("M", "normal float32 " .. matrix .. " grad")
operand("W", "normal float32 " .. matrix .. " grad")
operand("V", "normal float32 " .. S .. " grad")
operand("H4", "normal float32 4x8x" .. math.max(1, S // 4) .. "x64 grad")
operand("IM", "normal float32 " .. image .. " grad")
operand("K3", "normal float32 32x32x3x3 grad")
local types = { "float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool" }
for _, t in ipairs(types) do operand("h_" .. t, "halves " .. t .. " " .. N) end

-- ---- the table: name, our expression, PyTorch's, and what else is to be known:
--   tol      how far the sums may be apart, of the numbers' sizes (2e-5)
--   random   no two runs give the same numbers
--   at       which result holds positions, 1 less over there
--   values   only the first result is compared: of equal numbers another one may be named
--   dtype    another dtype is meant
local list = {}
local function add(name, ours, theirs, more)
  local e = { name = name, ours = ours, theirs = theirs }
  for key, v in pairs(more or {}) do e[key] = v end
  list[#list + 1] = e
end
-- Functions that are called alike: sn.NAME(arguments) and torch.NAME(arguments).
local function alike(names, args, suffix, more, module)
  for name in names:gmatch("%S+") do
    add(name .. (suffix or ""), ("sn.%s(%s)"):format(name, args), ("%s.%s(%s)"):format(module or "torch", name, args), more)
  end
end

-- elementwise
alike("abs neg sign square exp expm1 sin cos atan sinh cosh tanh erf sigmoid relu floor ceil round trunc frac reciprocal isnan isfinite isinf logical_not", "x")
alike("log log2 log10 sqrt rsqrt", "p")
alike("log1p tan asin acos", "u")
add("logsigmoid", "sn.logsigmoid(x)", "F.logsigmoid(x)")
alike("elu selu gelu silu mish softplus softsign relu6 leaky_relu hardtanh hardsigmoid hardswish", "x", "", nil, "F")
add("gelu_tanh", "sn.gelu_tanh(x)", "F.gelu(x, approximate='tanh')")
add("clamp", "sn.clamp(x, { min = -1, max = 1 })", "torch.clamp(x, -1, 1)")
add("clamp_min", "sn.clamp(x, { min = -1 })", "torch.clamp(x, min=-1)")
alike("add sub mul maximum minimum eq ne lt le gt ge atan2 logical_and logical_or logical_xor", "x, y")
alike("div fmod remainder floor_divide", "x, p")
alike("pow", "p, y")
for _, e in ipairs { "2", "3", "0.5", "-1", "2.5" } do add("pow_" .. e, ("sn.pow(p, %s)"):format(e), ("torch.pow(p, %s)"):format(e)) end
alike("lerp", "x, y, 0.3")
add("lerp_tensor", "sn.lerp(x, y, p)", "torch.lerp(x, y, p)")
alike("where", "b, x, y")
alike("masked_fill", "x, b, 0.5")
alike("add mul sub div", "x, 2", "_number")
alike("gt eq", "x, 0.5", "_number")
alike("add mul", "m, v", "_row")
alike("add mul", "m, v1", "_column")
add("add_outer", "v + v1", "v + v1")
add("add_turned", "m + w:t()", "m + w.t()")
for t, pair in pairs { int64 = "i, k", int32 = "i32, k32", uint8 = "u8, w8", float64 = "x64, y64", bfloat16 = "xb, yb", float16 = "xf, yf" } do
  alike("add mul maximum lt eq", pair, "_" .. t)
  alike("where", "b, " .. pair, "_" .. t)
end
alike("sub minimum", "i, k", "_int64")
alike("remainder floor_divide fmod", "i, kp + 1", "_int64")
alike("div", "i, kp + 1", "_int64")
alike("abs neg square", "i", "_int64")
alike("exp", "i32", "_int32", { tol = 1e-4 })
alike("logical_and logical_or logical_xor eq ne", "b, c", "_bool")
alike("logical_not", "b", "_bool")
alike("exp log sqrt", "p64", "_float64")
alike("sin tanh erf sigmoid", "x64", "_float64")
alike("exp tanh sigmoid relu", "xb", "_bfloat16", { tol = 1e-3 })
alike("exp tanh sigmoid relu", "xf", "_float16", { tol = 1e-3 })
add("exp_turned", "sn.exp(m:t())", "torch.exp(m.t())")
add("relu_", "nothing(z:relu_())", "nothing(z.relu_())", { random = true })
add("add_", "nothing(z:add_(x0))", "nothing(z.add_(x0))", { random = true })
add("mul_", "nothing(z:mul_(1))", "nothing(z.mul_(1))", { random = true })
add("copy_", "nothing(z:copy_(x))", "nothing(z.copy_(x))", { random = true })
add("fill_", "nothing(z:fill_(0.5))", "nothing(z.fill_(0.5))", { random = true })

add("clamp_", "nothing(z:clamp_({ min = 0.1, max = 0.9 }))", "nothing(z.clamp_(0.1, 0.9))", { random = true })
add("masked_fill_", "nothing(z:masked_fill_(b, 0.5))", "nothing(z.masked_fill_(b, 0.5))", { random = true })

-- reductions: of all, along the first and along the last dimension
local function reductions(names, a, mat, suffix, more)
  for name in names:gmatch("%S+") do
    alike(name, a, suffix, more)
    if mat then
      for d = 1, 2 do add(("%s_dim%d%s"):format(name, d, suffix or ""), ("sn.%s(%s, %d)"):format(name, mat, d), ("torch.%s(%s, %d)"):format(name, mat, d - 1), more) end
    end
  end
end
reductions("sum mean std var amax amin", "x", "m", "", { tol = 1e-4 })
reductions("norm", "x", nil)
for d = 1, 2 do add("norm_dim" .. d, ("sn.norm(m, %d)"):format(d), ("torch.linalg.vector_norm(m, dim=%d)"):format(d - 1)) end
add("norm_1", "sn.norm(x, nil, { p = 1 })", "torch.linalg.vector_norm(x, 1)", { tol = 1e-3 }) -- theirs adds up in float32 one by one: 4e-5 off
add("norm_inf", "sn.norm(x, nil, { p = math.huge })", "torch.linalg.vector_norm(x, math.inf)")
add("logsumexp", "sn.logsumexp(x)", "torch.logsumexp(x, 0)")
for d = 1, 2 do add("logsumexp_dim" .. d, ("sn.logsumexp(m, %d)"):format(d), ("torch.logsumexp(m, %d)"):format(d - 1)) end
reductions("max min", "x", nil)
for d = 1, 2 do
  for _, f in ipairs { "max", "min" } do
    add(f .. "_dim" .. d, ("sn.%s(m, %d)"):format(f, d), ("torch.%s(m, %d)"):format(f, d - 1), { at = 2 })
  end
  for _, f in ipairs { "argmax", "argmin" } do
    add(f .. "_dim" .. d, ("sn.%s(m, %d)"):format(f, d), ("torch.%s(m, %d)"):format(f, d - 1), { at = 1 })
  end
  add("prod_dim" .. d, ("sn.prod(m, %d)"):format(d), ("torch.prod(m, %d)"):format(d - 1), { tol = 1e-3 })
  add("cumsum_dim" .. d, ("sn.cumsum(m, %d)"):format(d), ("torch.cumsum(m, %d)"):format(d - 1), { tol = 1e-4 })
  add("any_dim" .. d, ("sn.any(mb, %d)"):format(d), ("torch.any(mb, %d)"):format(d - 1))
  add("all_dim" .. d, ("sn.all(mb, %d)"):format(d), ("torch.all(mb, %d)"):format(d - 1))
  for _, f in ipairs { "sum", "amax", "prod" } do add(("%s_dim%d_int64"):format(f, d), ("sn.%s(mi, %d)"):format(f, d), ("torch.%s(mi, %d)"):format(f, d - 1)) end
  add(("cumsum_dim%d_int64"):format(d), ("sn.cumsum(mi, %d)"):format(d), ("torch.cumsum(mi, %d)"):format(d - 1))
  add(("sum_dim%d_float64"):format(d), ("sn.sum(m64, %d)"):format(d), ("torch.sum(m64, %d)"):format(d - 1))
  add(("max_dim%d_int64"):format(d), ("sn.max(mi, %d)"):format(d), ("torch.max(mi, %d)"):format(d - 1), { values = true })
  add(("sum_dim%d_bool"):format(d), ("sn.sum(mb, %d)"):format(d), ("torch.sum(mb, %d)"):format(d - 1))
end
alike("argmax argmin", "x", "", { at = 1 })
add("prod", "sn.prod(p)", "torch.prod(p)")
add("cumsum", "sn.cumsum(x, 1)", "torch.cumsum(x, 0)", { tol = 1e-4 })
add("cumsum_reverse", "sn.cumsum(x, 1, { reverse = true })", "torch.flip(torch.cumsum(torch.flip(x, (0,)), 0), (0,))", { tol = 1e-4 })
alike("any all", "b")
alike("any all", "x", "_float32")
alike("sum max amax prod", "i", "_int64")
alike("sum amax", "u8", "_uint8")
alike("sum amax", "i32", "_int32")
alike("sum", "b", "_bool")
alike("sum mean amax", "x64", "_float64")
alike("sum amax", "xb", "_bfloat16", { tol = 1e-2 })
alike("sum amax", "xf", "_float16", { tol = 1e-2 })
add("equal", "tensor(x:equal(z))", "tensor(torch.equal(x, z))", { random = true })
add("allclose", "tensor((x:allclose(x)))", "tensor(torch.allclose(x, x))")

-- conversions
for _, from in ipairs(types) do
  for _, to in ipairs(types) do
    if from ~= to then add(("to_%s_from_%s"):format(to, from), ("h_%s:to('%s')"):format(from, to), ("h_%s.to(torch.%s)"):format(from, to)) end
  end
end

-- selection and movement
add("index_select_rows", "m:index_select(1, rows)", "m.index_select(0, rows)")
add("index_select_columns", "m:index_select(2, rows)", "m.index_select(1, rows)")
add("index_select_flat", "x:index_select(1, flat)", "x.index_select(0, flat)")
add("index_select_int64", "i:index_select(1, flat)", "i.index_select(0, flat)")
add("brackets_rows", "m[rows]", "m[rows]")
add("brackets_mask", "x[b]", "x[b]")
add("embedding", "sn.embedding(rows, m)", "F.embedding(rows, m)")
for d = 1, 2 do
  add("gather_dim" .. d, ("m:gather(%d, at)"):format(d), ("m.gather(%d, at)"):format(d - 1))
  add("scatter_add_dim" .. d, ("m:scatter_add(%d, at, w)"):format(d), ("m.scatter_add(%d, at, w)"):format(d - 1), { tol = 1e-4 })
  add("scatter_dim" .. d, ("m:scatter(%d, at, w)"):format(d), ("m.scatter(%d, at, w)"):format(d - 1))
  add("index_add_dim" .. d, ("m:index_add(%d, rows, w)"):format(d), ("m.index_add(%d, rows, w)"):format(d - 1))
  add("index_copy_dim" .. d, ("m:index_copy(%d, rows, w)"):format(d), ("m.index_copy(%d, rows, w)"):format(d - 1))
  add("index_fill_dim" .. d, ("m:index_fill(%d, rows, 0.5)"):format(d), ("m.index_fill(%d, rows, 0.5)"):format(d - 1))
  add("cat_dim" .. d, ("sn.cat({ m, w }, %d)"):format(d), ("torch.cat((m, w), %d)"):format(d - 1))
  add("stack_dim" .. d, ("sn.stack({ m, w }, %d)"):format(d), ("torch.stack((m, w), %d)"):format(d - 1))
  add("flip_dim" .. d, ("sn.flip(m, %d)"):format(d), ("torch.flip(m, (%d,))"):format(d - 1))
  add("roll_dim" .. d, ("sn.roll(m, 5, %d)"):format(d), ("torch.roll(m, 5, %d)"):format(d - 1))
  add("repeat_interleave_dim" .. d, ("sn.repeat_interleave(m, 2, %d)"):format(d), ("torch.repeat_interleave(m, 2, %d)"):format(d - 1))
end
add("flip", "sn.flip(x, 1)", "torch.flip(x, (0,))")
add("flip_both", "sn.flip(m, { 1, 2 })", "torch.flip(m, (0, 1))")
add("roll", "sn.roll(x, 1000)", "torch.roll(x, 1000)")
add("stack_dim3", "sn.stack({ m, w }, 3)", "torch.stack((m, w), 2)")
add("cat", "sn.cat { x, y }", "torch.cat((x, y))")
add("cat_int64", "sn.cat { i, k }", "torch.cat((i, k))")
add("cat_promoted", "sn.cat { x, i }", "torch.cat((x, i))")
add("scatter_number", "m:scatter(2, at, 0.5)", "m.scatter(1, at, 0.5)")
add("masked_select", "x:masked_select(b)", "x.masked_select(b)")
add("masked_select_int64", "i:masked_select(b)", "i.masked_select(b)")
add("masked_select_matrix", "m:masked_select(mb)", "m.masked_select(mb)")
add("nonzero", "sn.nonzero(b)", "torch.nonzero(b)", { at = 1 })
add("nonzero_float32", "sn.nonzero(x)", "torch.nonzero(x)", { at = 1 })
add("nonzero_matrix", "sn.nonzero(mb)", "torch.nonzero(mb)", { at = 1 })
add("clone", "x:clone()", "x.clone()")
add("clone_int64", "i:clone()", "i.clone()")
add("transpose_contiguous", "m:t():contiguous()", "m.t().contiguous()")
add("transpose_contiguous_int64", "mi:t():contiguous()", "mi.t().contiguous()")
add("transpose_contiguous_bool", "mb:t():contiguous()", "mb.t().contiguous()")
add("permute_321_contiguous", "q3:permute { 3, 2, 1 }:contiguous()", "q3.permute(2, 1, 0).contiguous()")
add("permute_213_contiguous", "q3:permute { 2, 1, 3 }:contiguous()", "q3.permute(1, 0, 2).contiguous()")
add("permute_nhwc_contiguous", "im:permute { 1, 3, 4, 2 }:contiguous()", "im.permute(0, 2, 3, 1).contiguous()")
add("expand_contiguous", "v:expand(#v, #v):contiguous()", "v.expand(len(v), len(v)).contiguous()")
add("narrow_contiguous", "m:narrow(2, 2, #v // 2):contiguous()", "m.narrow(1, 1, len(v) // 2).contiguous()")
add("every_second_contiguous", "x:narrow(1, 1, #x // 2, 2):contiguous()", "x[:len(x) // 2 * 2:2].contiguous()")
add("reshape_turned", "m:t():reshape(-1)", "m.t().reshape(-1)")
add("tile", "sn.tile(m, 2, 2)", "torch.tile(m, (2, 2))")
add("repeat_interleave", "sn.repeat_interleave(x, 3)", "torch.repeat_interleave(x, 3)")
add("pad", "sn.pad(m, { 1, 1, 1, 1 })", "F.pad(m, (1, 1, 1, 1))")
for _, mode in ipairs { "reflect", "replicate", "circular" } do add("pad_" .. mode, ("sn.pad(im, { 1, 1, 1, 1 }, '%s')"):format(mode), ("F.pad(im, (1, 1, 1, 1), '%s')"):format(mode)) end
alike("tril triu", "m")
add("one_hot", "sn.one_hot(ten, 10)", "F.one_hot(ten, 10)")
add("meshgrid", "sn.meshgrid { v, v2 }", "torch.meshgrid(v, v2, indexing='ij')") -- theirs are views
add("meshgrid_contiguous", "sn.meshgrid { v, v2 }", "[g.contiguous() for g in torch.meshgrid(v, v2, indexing='ij')]")
add("unbind_stack", "sn.stack({ m:unbind(1) }, 1)", "torch.stack(m.unbind(0), 0)")

-- views, which cost what a call costs
add("view_select", "m:select(1, 3)", "m.select(0, 2)")
add("view_narrow", "m:narrow(1, 2, 3)", "m.narrow(0, 1, 3)")
add("view_transpose", "m:transpose(1, 2)", "m.transpose(0, 1)")
add("view_reshape", "m:reshape(-1)", "m.reshape(-1)")
add("view_unsqueeze", "m:unsqueeze(1)", "m.unsqueeze(0)")
add("view_expand", "v:expand(4, #v)", "v.expand(4, len(v))")
add("view_chunk", "m:chunk(2)", "m.chunk(2)")

-- order
add("sort", "sn.sort(x)", "torch.sort(x)", { values = true })
add("sort_descending", "sn.sort(x, -1, true)", "torch.sort(x, -1, True)", { values = true })
for d = 1, 2 do add("sort_dim" .. d, ("sn.sort(m, %d)"):format(d), ("torch.sort(m, %d)"):format(d - 1), { values = true }) end
add("sort_int64", "sn.sort(i)", "torch.sort(i)", { values = true })
add("sort_int32", "sn.sort(i32)", "torch.sort(i32)", { values = true })
add("sort_uint8", "sn.sort(u8)", "torch.sort(u8)", { values = true })
add("sort_float64", "sn.sort(x64)", "torch.sort(x64)", { values = true })
add("sort_sorted", "sn.sort(upward)", "torch.sort(upward)", { values = true })
add("argsort", "sn.argsort(x)", "torch.argsort(x, stable=True)", { at = 1 })
add("topk", "sn.topk(x, 10)", "torch.topk(x, 10)", { values = true })
add("topk_many", "sn.topk(x, #x // 4)", "torch.topk(x, len(x) // 4)", { values = true })
for d = 1, 2 do add("topk_dim" .. d, ("sn.topk(m, 5, %d)"):format(d), ("torch.topk(m, 5, %d)"):format(d - 1), { values = true }) end
add("topk_smallest", "sn.topk(m, 5, 2, false)", "torch.topk(m, 5, 1, False)", { values = true })
add("median", "sn.median(x)", "torch.median(x)")
for d = 1, 2 do
  add("median_dim" .. d, ("sn.median(m, %d)"):format(d), ("torch.median(m, %d)"):format(d - 1), { values = true })
  add("kthvalue_dim" .. d, ("sn.kthvalue(m, 3, %d)"):format(d), ("torch.kthvalue(m, 3, %d)"):format(d - 1), { values = true })
end
add("kthvalue", "sn.kthvalue(x, #x // 3)", "torch.kthvalue(x, len(x) // 3)", { values = true })
add("unique", "sn.unique(x)", "torch.unique(x)")
add("unique_int64", "sn.unique(i)", "torch.unique(i)")
add("unique_uint8", "sn.unique(u8)", "torch.unique(u8)")
add("unique_bool", "sn.unique(b)", "torch.unique(b)")
add("unique_inverse", "sn.unique(i, { return_inverse = true })", "torch.unique(i, return_inverse=True)", { at = 2 })
add("unique_counts", "sn.unique(i, { return_counts = true })", "torch.unique(i, return_counts=True)")
add("bincount", "sn.bincount(group)", "torch.bincount(group)")
add("bincount_weights", "sn.bincount(group, x)", "torch.bincount(group, x)", { tol = 1e-4, dtype = true })
add("searchsorted", "sn.searchsorted(upward, x0)", "torch.searchsorted(upward, x0)", { at = 1 })
add("searchsorted_short", "sn.searchsorted(upward:narrow(1, 1, 16), x0)", "torch.searchsorted(upward[:16], x0)", { at = 1 })

-- creation
add("zeros", "sn.zeros(#x)", "torch.zeros(len(x))")
add("ones", "sn.ones(#x)", "torch.ones(len(x))")
add("full", "sn.full({ #x }, 0.5)", "torch.full((len(x),), 0.5)")
add("full_int64", "sn.full({ #x }, 7, { dtype = 'int64' })", "torch.full((len(x),), 7)")
alike("zeros_like ones_like", "x")
add("full_like", "sn.full_like(x, 0.5)", "torch.full_like(x, 0.5)")
add("arange", "sn.arange(#x)", "torch.arange(len(x))")
add("arange_float32", "sn.arange(0, #x, 1, { dtype = 'float32' })", "torch.arange(0, len(x), 1, dtype=torch.float32)")
add("linspace", "sn.linspace(0, 1, #x)", "torch.linspace(0, 1, len(x))")
add("eye", "sn.eye(#v)", "torch.eye(len(v))")
local chance = { random = true }
add("uniform", "sn.uniform(-1, 2, #x)", "torch.empty(len(x)).uniform_(-1, 2)", chance)
alike("rand_like randn_like", "x", "", chance)
add("rand", "sn.rand(#x)", "torch.rand(len(x))", chance)
add("rand_float64", "sn.rand(#x, { dtype = 'float64' })", "torch.rand(len(x), dtype=torch.float64)", chance)
add("randn", "sn.randn(#x)", "torch.randn(len(x))", chance)
add("randn_float64", "sn.randn(#x, { dtype = 'float64' })", "torch.randn(len(x), dtype=torch.float64)", chance)
add("randint", "sn.randint(0, 1000, #x)", "torch.randint(0, 1000, (len(x),))", chance)
add("randperm", "sn.randperm(#x)", "torch.randperm(len(x))", chance)
add("normal", "sn.normal(1, 2, #x)", "torch.normal(1.0, 2.0, (len(x),))", chance)
add("uniform_", "nothing(z:uniform_())", "nothing(z.uniform_())", chance)
add("normal_", "nothing(z:normal_())", "nothing(z.normal_())", chance)
add("bernoulli", "sn.bernoulli(p)", "torch.bernoulli(p)", chance)
add("multinomial", "sn.multinomial(p:narrow(1, 1, 64), 1000, true)", "torch.multinomial(p[:64], 1000, True)", chance)
add("dropout", "sn.dropout(x, 0.3, true)", "F.dropout(x, 0.3, True)", chance)

-- products
add("dot", "sn.dot(x, y)", "torch.dot(x, y)", { tol = 1e-3 })
add("mv", "sn.mv(m, v)", "torch.mv(m, v)", { tol = 1e-4 })
add("mv_turned", "sn.mv(m:t(), v)", "torch.mv(m.t(), v)", { tol = 1e-4 })
add("outer", "sn.outer(v, v2)", "torch.outer(v, v2)")
add("mm", "sn.mm(m, w)", "torch.mm(m, w)", { tol = 1e-4 })
add("mm_tall", "sn.mm(mt, ms)", "torch.mm(mt, ms)", { tol = 1e-4 })
add("mm_flat", "sn.mm(ms, mt)", "torch.mm(ms, mt)", { tol = 1e-4 })
add("mm_float64", "sn.mm(m64, m64)", "torch.mm(m64, m64)")
add("mm_int64", "sn.mm(mi:narrow(1, 1, #v // 4), mi)", "torch.mm(mi[:len(v) // 4], mi)")
add("matmul_vector", "sn.matmul(v, m)", "torch.matmul(v, m)", { tol = 1e-4 })
add("matmul_broadcast", "sn.matmul(q3, r3[1])", "torch.matmul(q3, r3[0])", { tol = 1e-4 })
add("bmm", "sn.bmm(q3, r3)", "torch.bmm(q3, r3)", { tol = 1e-4 })
add("addmm", "sn.addmm(v, m, w)", "torch.addmm(v, m, w)", { tol = 1e-4 })
add("linear", "sn.linear(m, w, v)", "F.linear(m, w, v)", { tol = 1e-4 })

-- rows and planes
for d = 1, 2 do
  for _, f in ipairs { "softmax", "log_softmax" } do add(("%s_dim%d"):format(f, d), ("sn.%s(m, %d)"):format(f, d), ("torch.%s(m, %d)"):format(f, d - 1)) end
end
add("layer_norm", "sn.layer_norm(m, v, v2)", "F.layer_norm(m, (len(v),), v, v2)")
add("rms_norm", "sn.rms_norm(m, v)", "F.rms_norm(m, (len(v),), v, 1e-5)")
add("group_norm", "sn.group_norm(im, 8, c32, c32)", "F.group_norm(im, 8, c32, c32)")
add("batch_norm", "sn.batch_norm(im, c32, c32)", "F.batch_norm(im, None, None, c32, c32, True)")
add("batch_norm_given", "sn.batch_norm(im, c32, c32, c32, c32, { training = false })", "F.batch_norm(im, c32, c32, c32, c32, False)")
add("max_pool2d", "sn.max_pool2d(im, 2)", "F.max_pool2d(im, 2)")
add("max_pool2d_overlapping", "sn.max_pool2d(im, 3, { stride = 2, padding = 1 })", "F.max_pool2d(im, 3, 2, 1)")
add("avg_pool2d", "sn.avg_pool2d(im, 2)", "F.avg_pool2d(im, 2)")
add("avg_pool2d_overlapping", "sn.avg_pool2d(im, 3, { stride = 1, padding = 1 })", "F.avg_pool2d(im, 3, 1, 1)")
add("adaptive_avg_pool2d", "sn.adaptive_avg_pool2d(im, 1)", "F.adaptive_avg_pool2d(im, 1)", { tol = 1e-4 })
add("adaptive_avg_pool2d_7", "sn.adaptive_avg_pool2d(im, 7)", "F.adaptive_avg_pool2d(im, 7)")
add("conv2d", "sn.conv2d(im, k3, { padding = 1 })", "F.conv2d(im, k3, padding=1)", { tol = 1e-4 })
add("conv2d_stride", "sn.conv2d(im, k3, { stride = 2, padding = 1 })", "F.conv2d(im, k3, stride=2, padding=1)", { tol = 1e-4 })
add("conv1d", "sn.conv1d(seq, k1, { padding = 1 })", "F.conv1d(seq, k1, padding=1)", { tol = 1e-4 })
add("conv_transpose2d", "sn.conv_transpose2d(im, k3, { stride = 2, padding = 1 })", "F.conv_transpose2d(im, k3, stride=2, padding=1)", { tol = 1e-4 })
add("attention", "sn.scaled_dot_product_attention(h4, h4, h4)", "F.scaled_dot_product_attention(h4, h4, h4)", { tol = 1e-4 })
add("attention_causal", "sn.scaled_dot_product_attention(h4, h4, h4, { causal = true })", "F.scaled_dot_product_attention(h4, h4, h4, is_causal=True)", { tol = 1e-4 })
add("lstm", "sn.lstm(seq, nil, nil, wi, wh)", "torch.lstm(seq, (s0, s0), (wi, wh), False, 1, 0.0, False, False, True)", { tol = 1e-3, values = true })
add("gru", "sn.gru(seq, nil, gi, gi)", "torch.gru(seq, s0, (gi, gi), False, 1, 0.0, False, False, True)", { tol = 1e-3, values = true })
add("lstm_cell", "sn.lstm_cell(st, nil, nil, wi, wh)", "torch.lstm_cell(st, (s0[0], s0[0]), wi, wh)", { tol = 1e-4 })
add("gru_cell", "sn.gru_cell(st, nil, gi, gi)", "torch.gru_cell(st, s0[0], gi, gi)", { tol = 1e-4 })

-- losses
alike("mse_loss l1_loss huber_loss smooth_l1_loss", "x, y", "", nil, "F")
add("mse_loss_none", "sn.mse_loss(x, y, { reduction = 'none' })", "F.mse_loss(x, y, reduction='none')")
add("bce_with_logits", "sn.bce_with_logits(x, p)", "F.binary_cross_entropy_with_logits(x, p)")
add("binary_cross_entropy", "sn.binary_cross_entropy(x0, p)", "F.binary_cross_entropy(x0, p)")
add("cross_entropy", "sn.cross_entropy(m, label)", "F.cross_entropy(m, label)")
add("cross_entropy_smoothed", "sn.cross_entropy(m, label, { label_smoothing = 0.1 })", "F.cross_entropy(m, label, label_smoothing=0.1)")
add("cross_entropy_probabilities", "sn.cross_entropy(m, mp)", "F.cross_entropy(m, mp)")
add("nll_loss", "sn.nll_loss(m, label)", "F.nll_loss(m, label)", { tol = 1e-4 })
add("categorical_cross_entropy", "sn.categorical_cross_entropy(mp, label)", "F.nll_loss(torch.log(torch.clamp(mp, 1e-7, 1 - 1e-7)), label)", { tol = 1e-4 })
add("kl_div", "sn.kl_div(m, mp)", "F.kl_div(m, mp, reduction='mean')", { tol = 1e-4 })

-- forward and backward
local function backward(name, ours, theirs, ...)
  local leaves = table.concat({ ... }, ", ")
  add(name .. "_backward", ("back(%s, %s)"):format(ours, leaves), ("back(%s, %s)"):format(theirs, leaves), { tol = 1e-4 })
end
for f in ("exp tanh sigmoid relu sin erf abs square"):gmatch("%S+") do backward(f, ("sn.%s(X)"):format(f), ("torch.%s(X)"):format(f), "X") end
for f in ("gelu silu elu leaky_relu softplus mish hardswish selu"):gmatch("%S+") do backward(f, ("sn.%s(X)"):format(f), ("F.%s(X)"):format(f), "X") end
for f in ("log sqrt reciprocal"):gmatch("%S+") do backward(f, ("sn.%s(PG)"):format(f), ("torch.%s(PG)"):format(f), "PG") end
for f in ("add mul maximum"):gmatch("%S+") do backward(f, ("sn.%s(X, Y)"):format(f), ("torch.%s(X, Y)"):format(f), "X", "Y") end
backward("div", "sn.div(X, PG)", "torch.div(X, PG)", "X", "PG")
backward("pow_3", "X ^ 3", "X ** 3", "X")
backward("add_row", "M + V", "M + V", "M", "V")
backward("mul_row", "M * V", "M * V", "M", "V")
backward("clamp", "sn.clamp(X, { min = -1, max = 1 })", "torch.clamp(X, -1, 1)", "X")
backward("where", "sn.where(b, X, Y)", "torch.where(b, X, Y)", "X", "Y")
backward("sum", "X:sum()", "X.sum()", "X")
backward("mean", "X:mean()", "X.mean()", "X")
backward("sum_dim2", "M:sum(2)", "M.sum(1)", "M")
backward("mean_dim1", "M:mean(1)", "M.mean(0)", "M")
backward("var_dim2", "M:var(2)", "M.var(1)", "M")
backward("max_dim2", "M:max(2)", "M.max(1)[0]", "M")
backward("amax_dim2", "M:amax(2)", "M.amax(1)", "M")
backward("norm", "X:norm()", "X.norm()", "X")
backward("logsumexp_dim2", "M:logsumexp(2)", "M.logsumexp(1)", "M")
backward("cumsum_dim2", "M:cumsum(2)", "M.cumsum(1)", "M")
backward("prod_dim2", "M:prod(2)", "M.prod(1)", "M")
backward("softmax", "M:softmax(2)", "M.softmax(1)", "M")
backward("log_softmax", "M:log_softmax(2)", "M.log_softmax(1)", "M")
backward("layer_norm", "sn.layer_norm(M, V, v2)", "F.layer_norm(M, (len(V),), V, v2)", "M", "V")
backward("rms_norm", "sn.rms_norm(M, V)", "F.rms_norm(M, (len(V),), V, 1e-5)", "M", "V")
backward("batch_norm", "sn.batch_norm(IM, c32, c32)", "F.batch_norm(IM, None, None, c32, c32, True)", "IM")
backward("group_norm", "sn.group_norm(IM, 8, c32, c32)", "F.group_norm(IM, 8, c32, c32)", "IM")
backward("max_pool2d", "sn.max_pool2d(IM, 2)", "F.max_pool2d(IM, 2)", "IM")
backward("avg_pool2d", "sn.avg_pool2d(IM, 2)", "F.avg_pool2d(IM, 2)", "IM")
backward("conv2d", "sn.conv2d(IM, K3, { padding = 1 })", "F.conv2d(IM, K3, padding=1)", "IM", "K3")
backward("mm", "sn.mm(M, W)", "torch.mm(M, W)", "M", "W")
backward("mv", "sn.mv(M, V)", "torch.mv(M, V)", "M", "V")
backward("linear", "sn.linear(m, W, V)", "F.linear(m, W, V)", "W", "V")
backward("index_select_rows", "M:index_select(1, rows)", "M.index_select(0, rows)", "M")
backward("embedding", "sn.embedding(rows, M)", "F.embedding(rows, M)", "M")
backward("gather_dim2", "M:gather(2, at)", "M.gather(1, at)", "M")
backward("cat", "sn.cat { X, Y }", "torch.cat((X, Y))", "X", "Y")
backward("transpose_contiguous", "M:t():contiguous()", "M.t().contiguous()", "M")
backward("pad", "sn.pad(M, { 1, 1, 1, 1 })", "F.pad(M, (1, 1, 1, 1))", "M")
backward("sort_dim2", "sn.sort(M, 2)", "torch.sort(M, 1)[0]", "M")
backward("index_add_dim1", "M:index_add(1, rows, W)", "M.index_add(0, rows, W)", "M", "W")
backward("scatter_add_dim2", "M:scatter_add(2, at, W)", "M.scatter_add(1, at, W)", "M", "W")
backward("roll", "M:roll(5, 2)", "M.roll(5, 1)", "M")
backward("flip", "M:flip(2)", "M.flip(1)", "M")
backward("topk_dim2", "M:topk(5, 2)", "M.topk(5, 1)[0]", "M")
backward("attention", "sn.scaled_dot_product_attention(H4, h4, h4)", "F.scaled_dot_product_attention(H4, h4, h4)", "H4")
backward("mse_loss", "sn.mse_loss(X, y)", "F.mse_loss(X, y)", "X")
backward("l1_loss", "sn.l1_loss(X, y)", "F.l1_loss(X, y)", "X")
backward("huber_loss", "sn.huber_loss(X, y)", "F.huber_loss(X, y)", "X")
backward("bce_with_logits", "sn.bce_with_logits(X, p)", "F.binary_cross_entropy_with_logits(X, p)", "X")
backward("cross_entropy", "sn.cross_entropy(M, label)", "F.cross_entropy(M, label)", "M")
backward("nll_loss", "sn.nll_loss(M, label)", "F.nll_loss(M, label)", "M")

-- The operands that an expression names, as they are sent: "NAME=SPEC;...".
local function operands_of(e)
  local named = {}
  for _, text in ipairs { e.ours, e.theirs } do
    for word in text:gmatch("[%a_][%w_]*") do named[word] = true end
  end
  local out = {}
  for _, name in ipairs(letters) do
    if named[name] then out[#out + 1] = name .. "=" .. operands[name] end
  end
  return table.concat(out, ";")
end

-- ---- our side: the same questions as functions.py is asked
local BITS = 22
local function draw(n, seed, which)
  local h = (sn.arange(n) + (4 * seed + which + 1) * 1000003) * 2654435761 % (1 << 31)
  return h * h // (1 << 19) % (1 << BITS)
end

local function made(spec)
  local kind, dtype, size, seed, rest = spec:match("^(%S+) (%S+) (%S+) (%d+) ?(.*)$")
  local shape, n = {}, 1
  for d in size:gmatch("%d+") do
    shape[#shape + 1] = math.tointeger(d)
    n = n * shape[#shape]
  end
  seed = math.tointeger(seed)
  local most, v = math.tointeger(rest:match("^%d+")), draw(n, seed, 0)
  if kind == "normal" then v = (v + draw(n, seed, 1) + draw(n, seed, 2) + draw(n, seed, 3) - (2 << BITS)):to("float64") * 2.0 ^ (1 - BITS)
  elseif kind == "uniform" then v = v:to("float64") * 2.0 ^ -BITS
  elseif kind == "positive" then v = (v + 1):to("float64") * 2.0 ^ -BITS
  elseif kind == "open" then v = (v * 2 + 1 - (1 << BITS)):to("float64") * 2.0 ^ -BITS
  elseif kind == "halves" then v = (v % 256):to("float64") * 0.5
  elseif kind == "signed" then v = v % (2 * most + 1) - most
  elseif kind == "below" then v = v % most
  elseif kind == "position" then v = v % most + 1
  elseif kind == "ordered" then v = sn.arange(n):to("float64") / n
  else error("no kind of operand " .. kind) end
  v = v:to(dtype):reshape(shape)
  return rest:find("grad", 1, true) and v:requires_grad_() or v
end

local seeds = {}
-- Gradients of y with respect to some leaves, from a seed that stays the same.
local function back(y, ...)
  local n, key = y:numel(), table.concat(y.shape, "x")
  if n > 1 and not seeds[key] then seeds[key] = made("normal float32 " .. n .. " 99"):reshape(y.shape) end
  local grads = sn.grad(y, { ... }, { seed = seeds[key] })
  y:close()
  return table.unpack(grads)
end
local function nothing() end -- closes no operand
local tensor = sn.tensor

local function close(t, ...)
  if t == nil then return end
  t:close()
  return close(...)
end

local function sums(t)
  local y = t:to("float64"):reshape(-1)
  local finite = y:isfinite()
  local odd = { y:isnan():sum():item(), y:eq(math.huge):sum():item(), y:eq(-math.huge):sum():item() }
  y = sn.where(finite, y, sn.zeros(1, { dtype = "float64" })) * ((sn.arange(y:numel()) % 101 + 27):to("float64") / 64)
  return { shape = table.concat(t.shape, "x"), dtype = t.dtype, odd = odd, size = y:abs():sum():item(), sum = y:sum():item() }
end

local function serve()
  sn.threads(math.tointeger(opt.threads))
  local values, specs = {}, {}
  local function answer(expression, spec, seconds, at)
    local head = { "local sn, math, back, nothing, tensor" }
    for text in spec:gmatch("[^;]+") do
      local name, how = text:match("^(.-)=(.*)$")
      if specs[name] ~= how then values[name], specs[name] = made(how), how end
      head[#head + 1] = name
    end
    local args = {}
    for k = 2, #head do args[k - 1] = values[head[k]] end
    local text = table.concat(head, ", ") .. " = ...\nreturn function() return " .. expression .. " end"
    local step = assert(load(text, expression))(sn, math, back, nothing, tensor, table.unpack(args))
    local _ <close> = expression:find("back(", 1, true) and sn.enable_grad() or sn.no_grad()
    if seconds > 0 then return { median_us = (bench.measure(function() close(step()) end, seconds)) } end
    local found = {}
    for k, t in ipairs { step() } do found[k] = sums(k == at and t - 1 or t) end
    return { results = found }
  end
  for line in io.lines() do
    local _, ours, spec, seconds, at = line:match("^([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t(%d*)$")
    if not ours then break end
    local ok, r = pcall(answer, ours, spec, tonumber(seconds), tonumber(at))
    sn.trim()
    print(core.json_encode(ok and r or { error = tostring(r):sub(1, 200) }))
    io.stdout:flush()
  end
end

if opt.serve == "yes" then return serve() end

-- ---- the comparison
local function chosen()
  if #words == 0 then return list end
  local out = {}
  for _, e in ipairs(list) do
    for _, word in ipairs(words) do
      if e.name == word or e.name:find(word) then
        out[#out + 1] = e
        break
      end
    end
  end
  return #out > 0 and out or error("there is no function " .. table.concat(words, " "), 0)
end

-- What tells two results apart, in words; nil if nothing does.
local function difference(e, a, b)
  if #a ~= #b and not e.values then return ("%d results, PyTorch %d"):format(#a, #b) end
  for k = 1, e.values and 1 or #a do
    local s, t = a[k], b[k]
    if s.shape ~= t.shape then return ("result %d is %s, PyTorch's %s"):format(k, s.shape, t.shape) end
    if s.dtype ~= t.dtype and not e.dtype then return ("result %d is %s, PyTorch's %s"):format(k, s.dtype, t.dtype) end
    local odd, odd2 = table.concat(s.odd, "/"), table.concat(t.odd, "/")
    if odd ~= odd2 then return ("result %d has %s NaN/inf/-inf, PyTorch's %s"):format(k, odd, odd2) end
    local whole = s.dtype:find("int", 1, true) or s.dtype == "bool" -- not a single number may differ
    local far = math.max(math.abs(s.size - t.size), math.abs(s.sum - t.sum))
    local size = math.max(math.abs(s.size), math.abs(t.size))
    if far > (whole and 1e-12 or e.tol or 2e-5) * size then
      return ("result %d sums to %.9g, in sizes %.9g, PyTorch's to %.9g, %.9g (%.1e apart)"):format(k, s.sum, s.size, t.sum, t.size, far / size)
    end
  end
end

local have = sides.present(opt.python, opt.isa, { "slugnet", "pytorch" })
local named = {}
local function open(side, command)
  return have[side] and assert(sides.open(side, { program = opt.program, python = opt.python, threads = math.tointeger(opt.threads), isa = opt.isa, words = command,
    line = function(name, seconds)
      local e = named[name]
      local text = ("%s\t%s\t%s\t%g"):format(name, side == "slugnet" and e.ours or e.theirs, operands_of(e), seconds)
      return side == "slugnet" and ("%s\t%s\n"):format(text, e.at or "") or text .. "\n"
    end })) or nil
end
local ours = open("slugnet", ("%s bench/functions.lua --serve yes --size %d"):format(opt.program, N))
local theirs = open("pytorch", opt.python .. " bench/functions.py")
local both = { ours, theirs }
local rows, wrong = {}, {}
for _, e in ipairs(chosen()) do
  named[e.name] = e
  local row = sides.turns(both, e.name, math.tointeger(opt.rounds), tonumber(opt.seconds))
  for side, why in pairs(row.error or {}) do wrong[#wrong + 1] = ("%s: %s: %s"):format(e.name, sides.labels[side], why) end
  if theirs and not row.error and not e.random then
    local a, b = ours:measure(e.name, 0), theirs:measure(e.name, 0)
    row.why = a.error or b.error or difference(e, a.results, b.results)
    if row.why then wrong[#wrong + 1] = ("%s: %s; %s"):format(e.name, row.why, e.ours) end
  end
  row.ratio = row.us.slugnet and row.us.pytorch and row.us.pytorch / row.us.slugnet
  rows[#rows + 1] = row
end
sides.close(both)

table.sort(rows, function(a, b)
  if (a.ratio or 0) ~= (b.ratio or 0) then return (a.ratio or 0) < (b.ratio or 0) end
  return a.workload < b.workload
end)
local function us(v) return v and ("%.1f"):format(v) or "-" end
local out, faster, known, logs = { ("%-34s %12s %12s %8s"):format("function", "slugnet, us", "PyTorch, us", "ratio") }, 0, 0, 0
for _, row in ipairs(rows) do
  out[#out + 1] = ("%-34s %12s %12s %8s%s"):format(row.workload, us(row.us.slugnet), us(row.us.pytorch), row.ratio and ("%.2f"):format(row.ratio) or "-",
    (row.error and "  failed" or "") .. (row.why and "  DIFFERS" or ""))
  if row.ratio then known, faster, logs = known + 1, faster + (row.ratio >= 1 and 1 or 0), logs + math.log(row.ratio) end
end
local info = sn.info()
out[#out + 1] = ("%d functions, %d elements, %s thread%s; %s, %s kernels"):format(#rows, N, opt.threads, opt.threads == "1" and "" or "s", info.cpu, opt.isa)
if known > 0 then out[#out + 1] = ("at least as fast as PyTorch: %d of %d; geometric mean of the ratios %.2f"):format(faster, known, math.exp(logs / known)) end
if #wrong > 0 then out[#out + 1] = ("WRONG or failed: %d\n  %s"):format(#wrong, table.concat(wrong, "\n  ")) end
local text = table.concat(out, "\n") .. "\n"
io.stdout:write(text)
if opt.out then assert(core.write_file(opt.out, text)) end
if #wrong > 0 then os.exit(1, true) end
