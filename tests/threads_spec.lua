-- threads_spec.lua - how many threads there are: affinity, the environment, sn.threads; and that numbers do not depend on it, whoever starts the program.
local sn = require "slugnet"

local program = (rawget(_G, "slugnet_build") or "build") .. "/bin/slugnet"

local function output(prefix, chunk)
  local file = assert(io.popen(("%s %s -e 'local sn = require \"slugnet\" %s' 2>&1"):format(prefix, program, chunk)))
  local text = file:read("a")
  file:close()
  return (text:gsub("%s+$", ""))
end

local function has(command) return (os.execute(("command -v %s >/dev/null 2>&1"):format(command))) end

describe("the number of threads", function()
  it("is what SLUGNET_THREADS says, and the machine's where that makes no sense", function()
    assert.equal("3", output("SLUGNET_THREADS=3", "print(sn.threads())"))
    local own = output("env -u SLUGNET_THREADS", "print(sn.threads())")
    assert.equal(own, output("SLUGNET_THREADS=many", "print(sn.threads())"))
    assert.equal(own, output("SLUGNET_THREADS=-2", "print(sn.threads())"))
  end)

  it("is one on one processor, and numbers are the same", function()
    if not has "taskset" then return pending("taskset is not installed") end
    assert.equal("1", output("env -u SLUGNET_THREADS taskset -c 0", "print(sn.threads())"))
    local chunk = "sn.manual_seed(2) print((\"%a\"):format(sn.randn(400, 300):mm(sn.randn(300, 200)):tanh():sum():item()))"
    local one = output("taskset -c 0", chunk)
    assert.truthy(one:find("^%-?0x"))
    assert.equal(one, output("SLUGNET_THREADS=4 taskset -c 0", chunk)) -- more threads than processors
    assert.equal(one, output("SLUGNET_THREADS=2", chunk))
  end)

  it("is refused when it makes no sense", function()
    assert.error_matches(function() sn.threads(-1) end, "threads: %-1 given")
    assert.error_matches(function() sn.threads(100000) end, "1 to %d+ are possible")
  end)
end)
