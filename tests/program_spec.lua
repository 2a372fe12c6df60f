-- program_spec.lua - the program does what Lua's own does on the command line, and has a prompt with history, names and Ctrl-C.
local build = rawget(_G, "slugnet_build") or "build"
local program = build .. "/bin/slugnet"
local dir = os.tmpname()
os.remove(dir)
assert(os.execute("mkdir " .. dir))

local function put(name, s)
  local f = assert(io.open(dir .. "/" .. name, "w"))
  f:write(s)
  f:close()
  return dir .. "/" .. name
end

local function quote(s) return "'" .. s:gsub("'", "'\\''") .. "'" end

-- What a command prints on both streams, and its status. LUA_INIT and its kin are only what env says.
local function run(interpreter, args, env, input)
  local out, err = dir .. "/out", dir .. "/err"
  local stdin = input and put("in", input) or "/dev/null"
  local _, _, code = os.execute(("env -u LUA_INIT -u LUA_INIT_5_4 -u LUA_PATH -u LUA_PATH_5_4 %s %s %s <%s >%s 2>%s"):format(env or "", interpreter, args, stdin, out, err))
  local function text(p)
    local f = assert(io.open(p))
    local s = f:read("a")
    f:close()
    return s
  end
  return text(out), text(err), code
end

local lua
for _, name in ipairs { "lua5.4", "lua" } do
  local p = io.popen(("command -v %s && %s -v 2>&1"):format(name, name))
  local s = p:read("a")
  p:close()
  if s:find("Lua 5%.4") then
    lua = name
    break
  end
end

local script = put("script.lua", [[
print(#arg, arg[0] ~= nil, ...)
for i = 1, #arg do io.write(i, "=", arg[i], " ") end
local n = 0
while arg[n - 1] do n = n - 1 end
print(n, select("#", ...))
]])
local fails = put("fails.lua", "local function f() error('boom') end\nlocal function g() f() end\ng()\n")
put("lib.lua", "return { name = ... }\n")
put("init.lua", "initialised = 'yes'\n")

-- arguments, environment, input; both programs are run and must agree on output, status and the message
local cases = {
  { "-e 'print(1)'" }, { "-e'print(1)' -e 'print(2)'" }, { "-e 'print(...)'" }, { "-e 'x = 1' -e 'print(x)'" },
  { script }, { script .. " a b 'c d' -e" }, { "-e 'y = 2' " .. script .. " a" }, { "-- " .. script .. " -x" }, { "- one two", nil, "print(...) print(#arg, arg[0])" },
  { "", nil, "print('from stdin', ...)" }, { "-", nil, "error('in stdin')" }, { "", nil, "syntax error here" }, { "", nil, "#!shebang\nprint(3)" },
  { "-e 'error(\"e\")'" }, { "-e 'error({})'" }, { "-e 'error(setmetatable({}, {__tostring = function() return \"T\" end}))'" }, { "-e 'error()'" },
  { "-e 'local x ='" }, { fails }, { fails .. " 1 2" }, { dir .. "/missing.lua" }, { "-e 'os.exit(3)'" }, { "-e 'os.exit(true, true)'" }, { "-e 'os.exit(false)'" },
  { "-W -e 'warn(\"@on\") warn(\"careful\")'" }, { "-e 'warn(\"quiet\")'" }, { "-W -e 'warn(\"loud\")'" }, { "-e 'warn(\"quiet\")' -W -e 'warn(\"loud\")'" },
  { "-l lib -e 'print(lib.name)'", "LUA_PATH='" .. dir .. "/?.lua'" }, { "-llib -e 'print(lib.name)'", "LUA_PATH_5_4='" .. dir .. "/?.lua'" },
  { "-l g=lib -e 'print(g.name, lib)'", "LUA_PATH='" .. dir .. "/?.lua'" }, { "-l nothing_of_that_name" },
  { "-e 'print(initialised)'", "LUA_INIT=@" .. dir .. "/init.lua" }, { "-e 'print(z)'", "LUA_INIT='z = 5'" }, { "-e 'print(z)'", "LUA_INIT='z = 5' LUA_INIT_5_4='z = 6'" },
  { "-e 'print(z)'", "LUA_INIT='error(\"init\")'" }, { "-E -e 'print(z)'", "LUA_INIT='z = 5'" }, { "-E -e 'print(package.path)'", "LUA_PATH='mine'" },
  { "-e 'print(package.path)'", "LUA_PATH='mine;;'" }, { "-e 'local t <close> = setmetatable({}, {__close = function() print(\"closed\") end})'" },
  { "-e 'setmetatable({}, {__gc = function() print(\"gc\") end})'" }, { "-e 'coroutine.wrap(function() error(\"co\") end)()'" },
  { "-e 'arg = nil' " .. script }, { "-e 'print(math.type(1), utf8 ~= nil, debug ~= nil)'" }, { "-e 'string.rep()'" }, { "-e 'print(#arg, arg[0] ~= nil, arg[1])' -e ''" },
}

describe("the program", function()
  it("behaves as lua does", function()
    if not lua then return pending("there is no lua5.4 to compare with") end
    for _, c in ipairs(cases) do
      local out, err, code = run(program, table.unpack(c, 1, 3))
      local out2, err2, code2 = run(lua, table.unpack(c, 1, 3))
      local function same(s) return (s:gsub("^" .. program:gsub("%p", "%%%0"), "lua"):gsub("\n\t[^\n]*/bin/", "\n\t")) end
      local function other(s) return (s:gsub("^" .. lua:gsub("%p", "%%%0"), "lua")) end
      assert.equal(other(out2), same(out), c[1])
      assert.equal(other(err2), same(err), c[1])
      assert.equal(code2, code, c[1])
    end
  end)

  it("refuses options it does not know as lua does", function()
    for _, a in ipairs { "-x", "-vv", "-ee", "-e", "-l", "--x", "-i2", "-Ex" } do
      if a ~= "-ee" then
        local out, err, code = run(program, a)
        assert.equal(1, code, a)
        assert.equal("", out)
        assert.truthy(err:find("usage: "), a)
        if lua then
          local _, err2, code2 = run(lua, a)
          assert.equal(code2, code, a)
          assert.equal(err2:match("^[^:]*: ([^\n]*)"), err:match("^[^:]*: ([^\n]*)"))
        end
      end
    end
  end)

  it("tells how it is used when asked", function()
    for _, a in ipairs { "-h", "--help" } do
      local out, err, code = run(program, a)
      assert.equal(0, code)
      assert.equal("", err)
      assert.truthy(out:find("^usage: ") and out:find("gradcheck", 1, true), out)
    end
  end)

  it("says its version, which is the module's", function()
    local out, err, code = run(program, "-v")
    assert.equal(0, code)
    assert.equal("", err)
    assert.equal(("slugnet %s  (Lua 5.4."):format(require("slugnet").version), out:match("^.*%(Lua 5%.4%."))
    assert.equal(out, (run(program, "-v -e ''")))
  end)

  it("holds slugnet inside, and SLUGNET_LUA puts a folder in its place", function()
    local out = run(program, [[-e 'local sn = require "slugnet" print(sn.ones(2), sn == package.loaded["slugnet.core"])']], "LUA_PATH= LUA_CPATH=")
    assert.equal("[1., 1.] [float32 2]\ttrue\n", out)
    assert(os.execute("mkdir -p " .. dir .. "/own/slugnet"))
    put("own/slugnet/init.lua", "return 'mine'\n")
    assert.equal("mine\n", (run(program, "-e 'print((require \"slugnet\"))'", "SLUGNET_LUA=" .. dir .. "/own")))
    assert.equal("table\n", (run(program, "-E -e 'print(type(require \"slugnet\"))'", "SLUGNET_LUA=" .. dir .. "/own")))
  end)

  it("names the script's line in errors", function()
    local s = put("wrong.lua", "local sn = require 'slugnet'\n\nsn.data.csv({ text = '1' }, { sep = 1 })\n")
    local _, err, code = run(program, s)
    assert.equal(1, code)
    assert.truthy(err:find("wrong.lua:3: data.csv: unknown option 'sep'", 1, true), err)
  end)

  it("has subcommands where no such file exists", function()
    local out, err, code = run(program, "info")
    assert.equal(0, code)
    assert.truthy(out:find("isa +%a"))
    local good = put("good.lua", "local sn = require 'slugnet' return function(x) return (x * x):sum() end, { sn.ones(2, 3) }")
    out, err, code = run(program, "gradcheck " .. good)
    assert.equal("", err)
    assert.equal(0, code)
    assert.truthy(out:find("good.lua%s+ok\n$"))
    local bad = put("bad.lua", [[
      local sn = require 'slugnet'
      local f = sn.func { name = "wrong", forward = function(ctx, x) return x * 2 end, backward = function(ctx, g) return g * 3 end }
      return { right = { function(x) return x * 2 end, { sn.ones(2) } }, wrong = { f, { sn.ones(2) } } }]])
    out, err, code = run(program, "gradcheck " .. bad)
    assert.equal(1, code)
    assert.truthy(out:find("right +ok") and out:find("wrong +gradcheck: input 1") and err:find("1 of 2 failed"))
    out, err, code = run(program, "gradcheck")
    assert.equal("", out)
    assert.equal(1, code)
    assert.truthy(err:find("usage"))
    local here = put("info", "print 'a file'")
    local p = io.popen(("p=$(realpath %s) && cd %s && $p info"):format(program, dir))
    assert.equal("a file\n", p:read("a"))
    p:close()
    os.remove(here)
  end)

  it("has little to do before a script: few system calls, no file of its own, no thread", function()
    if build:find("asan") or build:find("tsan") then return pending("a sanitizer's runtime does more: " .. build) end
    if not os.execute("command -v strace >/dev/null 2>&1") then return pending("strace is not installed") end
    local log = dir .. "/calls"
    if not os.execute(("strace -f -o %s %s -e '' 2>/dev/null"):format(log, program)) then return pending("strace may not trace here") end
    local calls, text = 0, {}
    for line in io.lines(log) do
      calls = calls + 1
      assert.is_nil(line:find("clone", 1, true), line)
      local path = line:match('openat%(.-"(.-)"')
      assert.is_true(path == nil or path:find("%.so") ~= nil or path:find("^/proc/") ~= nil or path:find("^/sys/") ~= nil, line)
      text[calls] = line
    end
    assert.is_true(calls > 20 and calls < 200, table.concat(text, "\n")) -- 91 where this was written, three quarters of them the loader's
  end)
end)

describe("the prompt without a terminal", function()
  local function prompt(input, args) return run(program, (args or "-i"), nil, input) end

  it("prints expressions, continues statements and survives errors", function()
    local out, err, code = prompt("1 + 1\nx = 3\nx, nil, 'a'\nfor i = 1, 2 do\nprint(i)\nend\nerror('no')\nerror({})\nx =\n\n4\nx\nreturn 9\n(\n")
    assert.equal(0, code)
    out = out:gsub("^slugnet [^\n]*\n", ""):gsub(">+ ", "")
    assert.equal("2\n3\tnil\ta\n1\n2\n4\n9\n\n", out .. (out:find("\n\n$") and "" or "\n"))
    assert.truthy(err:find("stdin:1: no\nstack traceback:", 1, true))
    assert.truthy(err:find("(error object is a table value)", 1, true))
    assert.truthy(err:find("near <eof>", 1, true))
  end)

  it("knows sn and slugnet, and prints tensors", function()
    local out = prompt("sn == slugnet\nsn.ones(2)\nsn.ones(1), sn.zeros(1)\n")
    assert.truthy(out:find("true\n> [1., 1.] [float32 2]\n> [1.] [float32 1]\t[0.] [float32 1]\n", 1, true), out)
  end)

  it("comes after the script with -i, even with its globals", function()
    put("g.lua", "g = 7\n")
    local out = prompt("g\n", "-i " .. dir .. "/g.lua")
    assert.truthy(out:find("> 7\n", 1, true))
    out = prompt("h\n", "-i -e 'h = 8'")
    assert.truthy(out:find("> 8\n", 1, true))
    local _, _, code = prompt("", "-i " .. fails)
    assert.equal(1, code)
  end)

  it("takes prompts from the script and reports a broken print", function()
    local out = prompt("_PROMPT = 'go '\n1\n")
    assert.truthy(out:find("go 1\ngo", 1, true))
    local _, err = prompt("print = nil\n1\n")
    assert.truthy(err:find("error calling 'print'", 1, true))
  end)
end)

-- On a terminal made by script(1). Steps: what to type, and how long to wait after it (0.1 s each).
local function terminal(steps, args)
  local typed = { "sleep 0.4" }
  for _, s in ipairs(steps) do
    local text, wait = s, 0.15
    if type(s) == "table" then text, wait = s[1], s[2] end
    typed[#typed + 1] = ("printf '%s'; sleep %g"):format(text:gsub("'", "'\\''"), wait)
  end
  local command = ("(%s) | env TERM=xterm SLUGNET_HISTORY=%s/history timeout 30 script -qec %s /dev/null 2>&1"):format(
    table.concat(typed, "; "), dir, quote(program .. " " .. (args or "")))
  local p = io.popen(command)
  local out = p:read("a")
  p:close()
  return (out:gsub("\r", ""))
end

local has_script = os.execute("command -v script >/dev/null 2>&1")

describe("the prompt on a terminal", function()
  it("clears the line with Ctrl-C, drops a statement, interrupts a loop, ends with Ctrl-D", function()
    if not has_script then return pending("there is no script(1)") end
    local out = terminal { "garbage\\003", "print(40 + 2)\\r", "for i = 1, 2 do\\r", "\\003", "print(50 + 3)\\r", { "while true do end\\r", 0.3 }, { "\\003", 0.3 },
      "print(60 + 4)\\r", "\\004" }
    assert.truthy(out:find("\n42\n", 1, true), out)
    assert.truthy(out:find("\n53\n", 1, true), out)
    assert.truthy(out:find("interrupted!", 1, true), out)
    assert.truthy(out:find("\n64\n", 1, true), out)
    assert.is_nil(out:find("garbage: ", 1, true))
  end)

  it("completes names and remembers lines", function()
    if not has_script then return pending("there is no script(1)") end
    local out = terminal { "alpha_beta = 11\\r", "print(alp\\t * 3)\\r", "print(math.huge == math.hu\\t)\\r", "print(sn.data.stand\\t ~= nil)\\r", "print(sn.ones(2):matm\\t)\\025",
      "t = sn.ones(3)\\r", "print(t:nume\\t())\\r", "\\004" }
    assert.truthy(out:find("\n33\n", 1, true), out)
    assert.truthy(out:find("\ntrue\n", 1, true), out)
    assert.truthy(out:find("\n3\n", 1, true), out)
    out = terminal { "\\020\\020\\020\\020\\r", "\\004" }
    assert.truthy(out:find("print(", 1, true), out)
    local f = assert(io.open(dir .. "/history"))
    local s = f:read("a")
    f:close()
    assert.truthy(s:find("alpha_beta", 1, true))
  end)

  it("stops fit at its next batch and keeps the model", function()
    if not has_script then return pending("there is no script(1)") end
    local file = put("long.lua", [[
      local sn = require "slugnet"
      X, y = sn.data.digits { flat = true }
      model = sn.Model { lr = 0.001, n_epoch = 100000, progress = false, layers = { sn.Dense { 8, inshape = 64 }, sn.Dense { 10, activation = sn.Softmax() } } }
    ]])
    local out = terminal({ { "h = model:fit(X, y)\\r", 1 }, { "\\003", 0.7 }, "print('stopped', h.interrupted, model:transform(X[{{1,2}}]).shape[2])\\r", "\\004" }, "-i " .. file)
    assert.truthy(out:find("\nstopped\ttrue\t10\n", 1, true), out)
  end)
end)

teardown(function() os.execute("rm -rf " .. dir) end)
