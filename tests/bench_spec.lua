-- bench_spec.lua - the benchmark: one list of workloads on all sides, what slugnet bench prints, what a program's text says of its work, the table.
local sn = require "slugnet"
local core = require "slugnet.core"
local limits = require "slugnet.limits"
local workloads = require "slugnet.workloads"
local program = (os.getenv("BUILD") or "build") .. "/bin/slugnet"

local text_of = dofile("tests/expect.lua").text_of

local function run(command)
  local err = os.tmpname()
  local p = assert(io.popen(command .. " 2>" .. err))
  local out = p:read("a")
  local ok, _, status = p:close()
  local message = text_of(err)
  os.remove(err)
  return out, message, ok and 0 or status
end

local function has_program()
  local f = io.open(program)
  if f then f:close() end
  return f ~= nil
end

-- The names in pytorch.py: the functions in ALL, and the keys of OPS.
local function names_of_pytorch()
  local text, names = text_of("bench/pytorch.py"), {}
  for name in text:match("\nALL = {.-for f in %((.-)%)}"):gmatch("[%w_]+") do names[name] = true end
  for name in text:gmatch('\n    "(op_[%w_]+)"') do names[name] = true end
  return names
end

describe("the workloads", function()
  it("are those of the other side", function()
    local theirs, ours = names_of_pytorch(), {}
    for _, name in ipairs(workloads.order) do ours[name] = true end
    assert.same(theirs, ours)
    assert.equal(41, #workloads.order)
  end)
  it("grow by their name", function()
    assert.is_true(workloads.known("mlp:4:8:2"))
    assert.is_false(workloads.known("mlp:4:8"))
    local w = workloads.make("mlp:4:8:2")
    for _ = 1, 5 do w.step() end
    assert.equal(2, w.program:count().replayed)
    assert.equal(3, select(2, w.program:explain():gsub("linear", "")))
  end)
end)

describe("the file of results", function()
  local base = dofile("bench/results.lua").base
  it("is named after the processor and what was hidden of it", function()
    local day = "bench/results/" .. os.date("%Y-%m-%d")
    local xeon, epyc = { cpu = "Intel(R) Xeon(R) Processor", isa = "avx512" }, { cpu = "AMD EPYC", isa = "avx2" }
    assert.equal(day .. "-intel-xeon-avx512", base({}, xeon))
    assert.equal(day .. "-intel-xeon-avx512", base({ isa = "avx512" }, xeon))
    assert.equal(day .. "-intel-xeon-avx2-of-avx512", base({ isa = "avx2" }, xeon))
    assert.equal(day .. "-amd-epyc-avx2", base({ isa = "avx2" }, epyc))
    epyc.cpu = "AMD EPYC (family 25, model 17)"
    assert.equal(day .. "-amd-epyc-family-25-model-17-avx2", base({}, epyc))
    assert.equal("build/x", base({ out = "build/x" }, epyc))
  end)
  it("has no picture that is not there: the plot of growth is the documentation's", function()
    local markdown = dofile("bench/results.lua").markdown
    local all = { growth = { what = "a network", commit = "abc" } }
    assert.is_nil(markdown(all):find("![", 1, true))
    assert.is_truthy(markdown(all, "growth.svg"):find("(a network; commit abc):\n\n![growth](growth.svg)", 1, true))
  end)
end)

describe("a program's work", function()
  local peaks = { fma = 100, fma64 = 50, read = 20, copy = 10 }
  -- The step called `op` of what fn does: its work.
  local function step(op, fn, ...)
    local c = core.compile(fn)
    for _ = 1, 4 do c(...) end
    for _, s in ipairs(c:steps()) do
      if s.op == op then return { s.flops, s.read, s.written } end
    end
    error("no " .. op .. " in " .. c:explain())
  end
  it("is told step by step", function()
    local N = core.randn
    local x, w, b, table_of = N(32, 784), N(200, 784), N(200), N(1000, 8)
    assert.same({ 2 * 32 * 784 * 200, 4 * (32 * 784 + 200 * 784 + 200), 4 * 32 * 200 }, step("linear_relu", function(a) return a:linear(w, b):relu() end, x))
    assert.same({ 2 * 10 * 32 * 200, 4 * (10 * 32 + 32 * 200), 4 * 2000 }, step("mm", function(a, c) return a:mm(c) end, N(10, 32), N(32, 200)))
    assert.same({ 2 * 2 * 3 * 4 * 5, 8 * (2 * 3 * 4 + 4 * 5), 8 * 2 * 3 * 5 },
      step("matmul", function(a, c) return a:matmul(c) end, N(2, 3, 4, { dtype = "float64" }), N(4, 5, { dtype = "float64" })))
    local image, kernel = N(8, 4, 13, 13), N(6, 4, 3, 3):requires_grad_()
    local planes = 8 * 6 * 121
    local function conv(a)
      kernel.grad = nil
      a:conv2d(kernel):square():sum():backward()
    end
    assert.same({ 2 * planes * 36, 4 * (8 * 4 * 169 + 6 * 36), 4 * planes }, step("conv2d", conv, image))
    assert.same({ 2 * planes * 36, 4 * (8 * 4 * 169 + planes), 4 * 6 * 36 }, step("conv2d_backward_weight", conv, image))
    assert.same({ 0, 4 * 200, 4 * 100 }, step("chain", function(a, c) return (a * c):tanh() end, N(10, 10), N(10, 10)))
    assert.same({ 0, 4 * (100 + 1), 4 * 100 }, step("add", function(a, c) return a + c:expand(10, 10) end, N(10, 10), N(1)))
    assert.same({ 0, 8 * 2 + 4 * 16, 4 * 16 }, step("embedding", function(i) return core.embedding(i, table_of) end, core.randint(1, 1000, 2)))
    local opt = core.Adam({ kernel }, { lr = 0.1 })
    local function update(a)
      conv(a)
      opt:step()
    end
    local work = step("adam_", update, image)
    assert.is_true(work[1] == 0 and work[2] >= 4 * 4 * 216 and work[2] < 4 * 4 * 216 + 100 and work[3] == 4 * 3 * 216, table.concat(work, " "))
    local v = N(60, 52):requires_grad_()
    local sgd = core.SGD({ v }, { lr = 0.1 })
    local function joined(a)
      a:linear(v):square():sum():backward()
      sgd:step()
      sgd:zero_grad()
    end
    work = step("mm_sgd_", joined, N(9, 52))
    assert.same({ 2 * 9 * 60 * 52, 4 * 60 * 52 }, { work[1], work[3] // 2 })
    local q = N(2, 3, 8, 4)
    for causal, per in pairs { [true] = 2, [false] = 4 } do
      local function attend(a) return (core.scaled_dot_product_attention(a, a, a, { causal = causal })) end
      assert.equal(per * 2 * 3 * 8 * 8 * 4, step("attention_run", attend, q)[1])
    end
    local rnn = core.LSTM { 6, inshape = { 5, 4 } }
    local flops = 2 * 3 * 5 * (4 * 6 * 4 + 4 * 6 * 6)
    local _ <close> = core.no_grad()
    assert.equal(flops, step("rnn_run", function(a) return (rnn(a)) end, N(3, 5, 4))[1])
  end)
  it("is in its text and, once it was asked for, the time", function()
    local c = core.compile(function(a) return a:mm(a):relu():sum() end)
    for _ = 1, 3 do c(core.ones(20, 20)) end
    local text = c:explain()
    assert.truthy(text:find("^program: 2 steps of 3 recorded, 16 kFLOP, [%d.]+ kB moved"), text)
    assert.truthy(text:find("mm .-  16 kFLOP, 4.8 kB"), text)
    assert.is_nil(text:find(" us", 1, true))
    assert.is_nil(c:steps()[1].us)
    c:explain(true)
    c(core.ones(20, 20))
    assert.is_true(c:steps()[1].us > 0)
    assert.truthy(c:explain(true):find("mm .-  16 kFLOP, 4.8 kB  [%d.]+ us\n"))
  end)
  it("takes no less than the slower of arithmetic and memory", function()
    assert.same({ 10, true, 8 }, { limits.least({ flops = 1e6, read = 4, written = 4 }, peaks) })
    assert.same({ 0.8, false, 8000 }, { limits.least({ flops = 0, read = 4000, written = 4000 }, peaks) })
    assert.equal(1, (limits.least({ flops = 0, read = 20000, written = 4 }, { fma = 1, read = 20.004, copy = 1 })) // 0.999)
    assert.equal(20, (limits.least({ flops = 1e6, read = 8, written = 8, f64 = true }, peaks)))
  end)
  it("is that of a whole step", function()
    local w = workloads.make("mlp_seed")
    for _ = 1, 3 do w.step() end
    local sum = limits.program(w.program:steps(), peaks)
    local forward = 2 * 32 * (784 * 200 + 200 * 10)
    assert.equal(forward + 2 * 32 * (784 * 200 + 2 * 200 * 10), sum.flops) -- no gradient of the data
    assert.is_true(sum.bytes > 5 * 4 * 784 * 200)
  end)
end)

describe("the machine's peaks", function()
  it("are measured", function()
    local p = core.peaks(0.01)
    for _, k in ipairs { "fma", "fma64", "read", "copy" } do assert.is_true(p[k] > 0.01 and p[k] < 1e6, k .. " " .. p[k]) end
    assert.error_matches(function() core.peaks("x") end, "number expected")
  end)
end)

describe("slugnet bench", function()
  if not has_program() then pending("needs the program") return end
  it("says how near to the machine's peaks a workload is", function()
    local out, err, status = run(program .. " bench --seconds 0.01 op_add_16 op_sum_1m xor_tiny")
    assert.equal("", err)
    assert.equal(0, status)
    assert.truthy(out:find("GFLOP/s of multiply%-adds"))
    for _, name in ipairs { "op_add_16", "op_sum_1m", "xor_tiny" } do
      local line = out:match("\n(" .. name .. "[^\n]+)")
      assert.equal(3, select(2, line:gsub("[%d.]+ %%", "")), line)
    end
    for _, mode in ipairs { "eager", "bfloat16" } do
      assert.equal(0, (select(3, run(program .. " bench --seconds 0.01 --mode " .. mode .. " op_add_16 xor_tiny"))))
    end
  end)
  it("works from anywhere", function()
    local here = run("pwd"):gsub("%s+$", "")
    local out, _, status = run(("cd / && %s/%s bench --list"):format(here, program))
    assert.equal(0, status)
    assert.equal(table.concat(workloads.order, "\n") .. "\n", out)
  end)
  it("prints JSON, and answers by turns", function()
    local out = run(program .. " bench --json --seconds 0.01 op_add_16")
    local r = core.json_decode(out)
    assert.equal("op_add_16", r.workload)
    assert.equal("slugnet-" .. sn.version, r.system)
    assert.is_true(r.median_us > 0 and r.min_us <= r.median_us)
    out = run(("printf 'op_add_16 0.01\\nno 0.01\\nop_add_16 0.01\\nquit\\nop_add_16 0.01\\n' | %s bench --serve --seconds 0.01"):format(program))
    local lines = {}
    for line in out:gmatch("[^\n]+") do lines[#lines + 1] = core.json_decode(line) end
    assert.equal(3, #lines)
    assert.equal("unknown workload", lines[2].error)
    assert.equal("op_add_16", lines[3].workload)
    assert.is_true(lines[1].peaks.fma > 0)
  end)
  it("shows where programs spend their time", function()
    local out, _, status = run(program .. " bench --seconds 0.01 --profile ops infer_mlp_b1")
    assert.equal(0, status)
    assert.truthy(out:find("us +[%d.]+ %%  linear"))
    out = run(program .. " bench --seconds 0.01 --shares mlp_seed op_add_16")
    assert.truthy(out:find("\nmm_rmsprop_ +mlp_seed +[%d.]+ +[%d.]+ %%   %a[%a%-]+ +[%d.]+ %%"), out)
    assert.truthy(out:find("\nlinear_relu +mlp_seed +[%d.]+ +[%d.]+ %%   %a[%a%-]+ +[%d.]+ %%"), out) -- which limit is nearer is the build's and the machine's
  end)
  it("refuses what it does not know", function()
    for args, why in pairs {
      op_add_17 = "there is no workload 'op_add_17'; did you mean 'op_add_16'?", ["--mode fast"] = "--mode wants compile or eager or bfloat16, got fast",
      ["--threads 1.5"] = "--threads wants a number, got 1.5", ["--seconds"] = "--seconds wants a number, got nothing", ["--colour"] = "unknown option --colour",
    } do
      local out, err, status = run(program .. " bench " .. args)
      assert.equal("", out)
      assert.equal(1, status)
      assert.truthy(err:find("slugnet bench: " .. why, 1, true), err)
      assert.truthy(err:find("usage: ", 1, true))
    end
  end)
end)

describe("the functions", function()
  if not has_program() then pending("needs the program") return end
  local command = program .. " bench/functions.lua --size 64 --rounds 1 --seconds 0.0001 --python /no/python "
  it("all run, and PyTorch's side is left out where it is not installed", function()
    local out, err, status = run(command)
    assert.equal("left out: PyTorch; make bench-setup installs what is missing into build/venv\n", err)
    assert.equal("", out:match("WRONG or failed.*") or "")
    assert.equal(0, status)
    local rows = 0
    for name, us in out:gmatch("\n(%S+) +(%S+) +%- +%-") do
      rows = rows + 1
      assert.is_true(tonumber(us) > 0, name)
    end
    assert.equal(rows, tonumber(out:match("\n(%d+) functions, 64 elements, 1 thread;")))
    assert.is_true(rows > 500)
  end)
  it("are all there are", function()
    local text, missing = text_of("bench/functions.lua"), {}
    local left = " bce empty empty_like flatten squeeze unflatten view split " -- other names, and what does nothing
    for _, op in ipairs(core.ops()) do
      local name = op.name
      if core[name] and not left:find(" " .. name .. " ", 1, true) and not text:find("%f[%w_]" .. name .. "%f[^%w_]") then missing[#missing + 1] = name end
    end
    assert.same({}, missing)
  end)
  it("are chosen by name or pattern, and written where that is wanted", function()
    local path = os.tmpname()
    local out = run(command .. "--out " .. path .. " add ^to_bool_from")
    assert.truthy(out:find("\nadd +[%d.]+"))
    assert.truthy(out:find("\nto_bool_from_uint8 +[%d.]+"))
    assert.falsy(out:find("\nto_uint8"))
    assert.equal(out, text_of(path))
    os.remove(path)
    local _, err, status = run(command .. "no_such_thing")
    assert.equal(1, status)
    assert.truthy(err:find("there is no function no_such_thing", 1, true), err)
  end)
end)

describe("the comparison", function()
  if not has_program() then pending("needs the program") return end
  local out = os.tmpname()
  local function part(command) return run(("%s bench/%s --python /no/python --out %s"):format(program, command, out)) end
  local function figures() return core.json_decode(text_of(out .. ".json")) end

  it("runs alone where no rival is installed, says so once, and writes its files", function()
    local text, err, status = part "compare.lua --threads 1,2 --rounds 2 --seconds 0.01 op_add_16 xor_tiny"
    assert.equal("left out: PyTorch, JAX, onnxruntime; make bench-setup installs what is missing into build/venv\n", err)
    assert.equal(0, status)
    assert.truthy(text:find("op_add_16 +1 thread +slugnet [%d.]+ us\n"), text)
    local w = figures().workloads
    assert.equal(4, #w.rows)
    assert.same({ "op_add_16", 2 }, { w.rows[3].workload, w.rows[3].threads })
    assert.is_true(w.rows[3].us.slugnet > 0 and w.rows[3].fma > 0 and w.rows[3].fma <= w.peaks["2"].fma)
    assert.truthy(text_of(out .. ".md"):find("| xor_tiny | [%d.]+ | %- |"))
  end)
  it("adds its other parts to the same file", function()
    local _, err, status = part "growth.lua --rounds 1 --seconds 0.001 --most 16 --plot /dev/null"
    assert.equal(0, status, err)
    _, err, status = part "half.lua --threads 1 --rounds 1 --seconds 0.001 mlp_seed"
    assert.equal(0, status, err)
    _, err, status = part "jobs.lua --rounds 1 --data /nowhere import first"
    assert.equal(0, status, err)
    local done = run(("%s bench/shares.lua --seconds 0.001 --out %s mlp_seed"):format(program, out))
    assert.truthy(done:find("written to", 1, true))
    assert.truthy(err:find("no Fashion-MNIST in /nowhere: its jobs are left out", 1, true))
    local t = figures()
    assert.equal(4, #t.workloads.rows)
    assert.is_true(#t.shares.rows >= 2) -- of those that take two per cent and more
    assert.truthy(text_of(out .. ".md"):find("| `linear_relu` | mlp_seed |", 1, true))
    assert.equal("first", t.jobs.rows[2].name)
    assert.is_true(t.jobs.rows[2].peak_mb > 1 and t.jobs.rows[2].wall_s > 0)
    assert.is_true(t.half.rows[1].us.slugnet > 0 and t.half.rows[1].us["slugnet bfloat16"] > 0)
    local seen = {}
    for _, row in ipairs(t.growth.rows) do seen[row.axis] = (seen[row.axis] or 0) + 1 end
    assert.is_true(seen.batch == 3 and seen.width == 1 and seen.depth == 5 and seen.threads >= 1)
    os.remove(out)
    os.remove(out .. ".json")
    os.remove(out .. ".md")
  end)
  it("refuses what it does not know", function()
    for command, why in pairs { ["compare.lua op_add_17"] = "no workload 'op_add_17'", ["compare.lua --colour 1"] = "unknown option --colour", ["jobs.lua --rounds"] = "wants a value" } do
      local _, err, status = run(program .. " bench/" .. command)
      assert.equal(1, status)
      assert.truthy(err:find(why, 1, true), err)
    end
  end)
  it("judges rows by what they are to reach", function()
    local reaches = dofile "bench/reaches.lua"
    for name in pairs(reaches.rows) do assert.is_true(workloads.known(name), name) end
    local peaks = { fma = 200 }
    local function reached(workload, us, least_us, flops) return (reaches.reached({ workload = workload, us = us, least_us = least_us, flops = flops }, peaks)) end
    assert.is_true(reached("mlp_seed", { slugnet = 10, pytorch = 50, jax = 17 }))
    assert.is_false(reached("mlp_seed", { slugnet = 10, pytorch = 50, jax = 16 }))
    assert.is_false(reached("mlp_seed", { slugnet = 10, pytorch = 49 }))
    assert.is_nil(reached("mlp_seed", { slugnet = 10 }))
    assert.is_nil(reached("op_add_16", { slugnet = 10, pytorch = 50 }))
    assert.is_false(reached("op_add_1m", { slugnet = 10, pytorch = 11 }, 8.9, 0))
    assert.is_true(reached("op_add_1m", { slugnet = 10, pytorch = 11 }, 9, 0))
    assert.is_true(reached("op_matmul_512", { slugnet = 10, pytorch = 12 }, 9, 1.7e6))
    assert.is_false(reached("op_matmul_512", { slugnet = 10, pytorch = 12 }, 9, 1.6e6))
    assert.is_true(reaches.reached({ workload = "op_matmul_512", us = { slugnet = 10, pytorch = 12 }, flops = 1.6e6, fma = 185 }, peaks)) -- the peak beside it
    assert.same({ "jax", 3 }, { reaches.fastest { us = { slugnet = 1, pytorch = 4, jax = 3 } } })
    local function gain(a, b, c, d) return (reaches.gain({ us = { slugnet = a, pytorch = c } }, { us = { slugnet = b, pytorch = d } })) end
    assert.is_true(gain(1600, 1000))
    assert.is_false(gain(1500, 1000))
    assert.is_true(gain(1500, 1000, 140, 100))
    assert.is_true(gain(97, 100))
    assert.is_false(gain(96, 100))
  end)
  it("draws charts on two logarithmic axes", function()
    local text = dofile("bench/svg.lua").chart { panels = {
      { title = "a < b", x = "n", y = "us", series = { { name = "one", { 1, 10 }, { 10, 100 }, { 100, 1000 } }, { name = "two", { 1, 20 }, { 100, 90 } } } },
      { title = "one point", x = "n", y = "us", series = { { name = "one", { 3, 10 } } } },
    } }
    assert.truthy(text:find("a &lt; b", 1, true))
    local x1, y1, x2, y2, x3, y3 = text:match('points="([%d.]+),([%d.]+) ([%d.]+),([%d.]+) ([%d.]+),([%d.]+)"')
    assert.is_true(math.abs((x2 - x1) - (x3 - x2)) < 0.2 and math.abs((y2 - y1) - (y3 - y2)) < 0.2)
    assert.is_true(x2 - x1 > 0 and y2 - y1 < 0)
    assert.equal(3, select(2, text:gsub("<polyline", "")))
    assert.falsy(text:find("nan", 1, true) or text:find("inf", 1, true))
  end)
end)
