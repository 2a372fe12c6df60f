-- examples_spec.lua - every example is short, says what it teaches, and runs: one step of each, and xor.lua whole.
local build = rawget(_G, "slugnet_build") or "build"
local program = build .. "/bin/slugnet"

local function capture(command)
  local p = assert(io.popen(command))
  local s = p:read("a")
  local ok, _, status = p:close()
  return s, ok and 0 or status
end

local dir = capture("mktemp -d"):gsub("%s+$", "")

-- Four files in MNIST's format: pictures of noise, enough of them for one step.
local function idx(name, dims, body)
  local f = assert(io.open(dir .. "/" .. name, "wb"))
  f:write("\0\0\8", string.char(#dims), (">I4"):rep(#dims):pack(table.unpack(dims)), body)
  f:close()
end
for part, n in pairs { train = 256, t10k = 64 } do
  local pixels, labels = {}, {}
  local x = 7
  for i = 1, n * 784 do
    x = (x * 1103515245 + 12345) & 0x7fffffff
    pixels[i] = string.char(x >> 16 & 255)
  end
  for i = 1, n do labels[i] = string.char((i * 7) % 10) end
  idx(part .. "-images-idx3-ubyte", { n, 28, 28 }, table.concat(pixels))
  idx(part .. "-labels-idx1-ubyte", { n }, table.concat(labels))
end

-- The arguments an example is run with, and what it must print.
local examples = {
  ["xor.lua"] = { "", "of 1 seeds" },
  ["digits.lua"] = { "", "test accuracy" },
  ["fashion_mnist.lua"] = { "", "test accuracy", fashion = true },
  ["mnist.lua"] = { dir, "test accuracy" },
  ["mnist_dropout.lua"] = { dir, "test accuracy" },
  ["mnist_conv.lua"] = { dir, "test accuracy" },
  ["convnet.lua"] = { dir, "test accuracy" },
  ["char_lstm.lua"] = { "", "bits per character" },
  ["custom_layer.lua"] = { "", "" },
  ["autograd.lua"] = { "", "" },
}

local function has_fashion()
  local f = io.open("/usr/share/datasets/fashion-mnist/train-labels-idx1-ubyte.gz") or io.open("/usr/share/datasets/fashion-mnist/train-labels-idx1-ubyte")
  if f then f:close() end
  return f ~= nil
end

describe("the examples", function()
  it("are all listed here", function()
    local n = 0
    for path in capture("ls examples/*.lua"):gmatch("[^\n]+") do
      n = n + 1
      assert.is_truthy(examples[path:match("[^/]+$")], path .. " is run by no test")
    end
    for name in pairs(examples) do
      n = n - 1
      assert.is_truthy(io.open("examples/" .. name), name)
    end
    assert.equal(0, n)
  end)

  for name, e in pairs(examples) do
    it(name .. " is under 80 lines, says what it teaches, and runs for a step", function()
      local lines = {}
      for l in io.lines("examples/" .. name) do lines[#lines + 1] = l end
      assert.is_true(#lines < 80, #lines .. " lines")
      assert.is_truthy(lines[1]:find("^%-%- " .. name:gsub("%p", "%%%0") .. " %- teaches: "), lines[1])
      if e.fashion and not has_fashion() then return pending("dataset-fashion-mnist is not installed") end
      local out, status = capture(("SLUGNET_QUICK=1 %s examples/%s %s 2>&1 </dev/null"):format(program, name, e[1]))
      assert.equal(0, status, out)
      assert.is_truthy(#out > 0 and out:find(e[2], 1, true), out)
    end)
  end

  it("xor.lua solves XOR from 20 seeds of 20", function()
    local out, status = capture(program .. " examples/xor.lua 20 2>&1 </dev/null")
    assert.equal(0, status, out)
    assert.is_truthy(out:find("20 of 20 seeds solve XOR", 1, true), out)
  end)

  it("mnist.lua says what it wants when it gets nothing, or a folder without the files", function()
    local out, status = capture(program .. " examples/mnist.lua 2>&1 </dev/null")
    assert.equal(1, status)
    assert.is_truthy(out:find("usage: slugnet examples/mnist.lua DIR", 1, true), out)
    out, status = capture(program .. " examples/mnist.lua /nowhere 2>&1 </dev/null")
    assert.equal(1, status)
    assert.is_truthy(out:find("/nowhere/train-images-idx3-ubyte.gz", 1, true), out)
  end)
end)

teardown(function() os.execute("rm -rf " .. dir) end)
