-- errors_spec.lua - what a wrong call says: the line of the script, the argument, and what would do.
local sn = require "slugnet"

local function message(fn, ...)
  local ok, text = pcall(fn, ...)
  assert.is_false(ok)
  return text
end

local function has(text, ...)
  for _, words in ipairs { ... } do
    assert(tostring(text):find(words, 1, true), ("'%s' is not in '%s'"):format(words, text))
  end
end

describe("errors", function()
  it("name the script's line", function()
    local line = debug.getinfo(1, "l").currentline + 1
    local text = message(function() return sn.tensor { 1, 2 } + sn.tensor { 1, 2, 3 } end)
    has(text, "errors_spec.lua:" .. line .. ":", "add", "shapes 2 and 3")
  end)
  it("are raised when everything is closed", function()
    local x = sn.tensor { 1, 2 }
    for _ = 1, 100 do pcall(function() return x + sn.tensor { 1, 2, 3 } end) end
    collectgarbage()
    local before = sn.memory().small
    for _ = 1, 100 do pcall(function() return x + sn.tensor { 1, 2, 3 } end) end
    collectgarbage()
    assert.are.equal(before, sn.memory().small)
  end)
  it("describe the argument", function()
    has(message(sn.add, sn.tensor { 1 }, "a"), "add", "'b'", "tensor", "string 'a'")
    has(message(sn.add, sn.tensor { 1 }), "'b' is missing")
    has(message(sn.add, sn.tensor { 1 }, {}), "sn.tensor")
    has(message(sn.add, sn.tensor { 1 }, print), "function")
    has(message(sn.add, sn.tensor { 1 }, sn.tensor { 1 }, 3), "too many")
    has(message(sn.relu, "x\n\27[31m"), "\\10\\27")
  end)
  it("guess names", function()
    local x = sn.tensor { 1, 2 }
    has(message(function() return x:sume() end), "'sume'", "did you mean 'sum'")
    has(message(function() return x:reshap(2) end), "did you mean 'reshape'")
    has(message(function() return x.shap end), "did you mean 'shape'")
    has(message(function() return x.completely_unknown end), "completely_unknown")
    has(message(function() return x:to("flaot32") end), "did you mean 'float32'")
    has(message(function() return sn.allclose(x, x, { rtoll = 1 }) end), "did you mean 'rtol'")
    has(message(function() return sn.zeros(2, { dtpe = "int64" }) end), "did you mean 'dtype'")
    assert.is_nil(sn.there_is_no_such_thing)
  end)
  it("keep error values that pass through C", function()
    local thrown = { code = 1 }
    local f = sn.func { name = "f", forward = function(_, x) return x * 1 end, backward = function() error(thrown) end }
    local x = sn.tensor({ 1, 2 }, { requires_grad = true })
    local ok, value = pcall(function() f(x):sum():backward() end)
    assert.is_false(ok)
    assert.are.equal(thrown, value)
    local g = sn.func { name = "g", forward = function(_, x) return x * 1 end, backward = function() error "from inside" end }
    has(message(function() g(x):sum():backward() end), "errors_spec.lua", "from inside")
  end)
  it("leave the modes as they were", function()
    pcall(sn.no_grad, function() error "x" end)
    assert.is_true(sn.is_grad_enabled())
  end)
end)

describe("tables of descriptors", function()
  it("list operations", function()
    local names = {}
    for _, op in ipairs(sn.ops()) do
      assert.is_nil(names[op.name], op.name .. " is listed twice")
      names[op.name] = op
    end
    assert.are.equal("x", names.relu.args[1].name)
    assert.is_true(names.relu.differentiable)
    assert.is_true(names.add_.flags.writes)
    assert.are.equal("num", names.leaky_relu.args[2].kind)
    assert(names.relu.doc:find("Rectified", 1, true))
  end)
  it("have help", function()
    assert(sn.help("relu"):find("Rectified", 1, true))
    local nothing, text = sn.help "rellu"
    assert.is_nil(nothing)
    has(text, "did you mean 'relu'")
  end)
end)

describe("the machine", function()
  it("is described", function()
    local info = sn.info()
    assert.is_string(info.isa)
    assert.is_string(info.version)
    assert(info.threads >= 1)
  end)
  it("has generators", function()
    local g = sn.Generator(7)
    local a, state = g:random(), g:state()
    local b = g:random()
    g:load_state(state)
    assert.are.equal(b, g:random())
    assert.are.equal(a, sn.Generator(7):random())
    for _ = 1, 100 do
      local n = g:random(3)
      assert(n >= 1 and n <= 3)
    end
    has(message(function() return sn.Generator("x") end), "number")
    has(message(function() g:load_state { seed = 1 } end), "position")
  end)
  it("keeps settings", function()
    local n = sn.threads()
    assert.are.equal(1, sn.threads(1))
    sn.threads(n)
    has(message(function() sn.threads(-1) end), "threads")
    local before = sn.flush_denormals(false)
    assert.is_false(sn.flush_denormals(before))
    assert.is_false(sn.interrupted())
  end)
end)
