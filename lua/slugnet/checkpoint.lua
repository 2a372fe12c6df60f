-- checkpoint.lua - the state of a training run in one file (safetensors with JSON), written beside, synced and renamed.
--   sn.checkpoint(path, {net = net, opt = opt, gen = gen, schedule = s, epoch = 3, mean = tensor, …})   saves
--   local got = sn.restore(path, {net = net, opt = opt, gen = gen, …})                                   puts it back
-- Layers, optimizers, generators, schedules and any table with state() and load_state(t) are saved by their state; tensors by their
-- numbers, copied in place on the way back; numbers bit for bit. The default generator is always part of it. Lua's math.random is not.
local core = require "slugnet.core"
local check = require "slugnet.check"
check.own()

local M = {}

local FORMAT, VERSION = "slugnet checkpoint", 1

-- ---- values to JSON and back, without losing a bit

local function stateful(v)
  local t = type(v)
  if t ~= "table" and t ~= "userdata" or core.is_tensor(v) then return false end
  if t == "table" and getmetatable(v) == nil and not rawget(v, "load_state") then return false end
  local ok, state = pcall(function() return v.state and v.load_state end)
  return ok and type(state) == "function"
end

local function encode(v, path, tensors)
  local t = type(v)
  if v == nil or t == "boolean" or t == "string" then return v end
  if t == "number" then
    if math.type(v) == "float" then return { ["$f"] = ("%a"):format(v) } end
    if v > 1 << 53 or v < -(1 << 53) then return { ["$i"] = tostring(v) } end
    return v
  end
  if core.is_tensor(v) then
    tensors[path] = v:detach():contiguous()
    return { ["$t"] = path }
  end
  if stateful(v) then return { ["$o"] = encode(v:state(), path, tensors) } end
  if t ~= "table" then check.fail("checkpoint: %s is a %s, which has no state() to save", path, t) end
  local out, n = {}, #v
  for k, e in pairs(v) do
    if not (type(k) == "string" or math.type(k) == "integer" and k >= 1 and k <= n) then
      check.fail("checkpoint: %s has the key %s; keys are names or a list without holes", path, tostring(k))
    end
    out[k] = encode(e, path == "" and tostring(k) or path .. "." .. k, tensors)
  end
  -- A table with list and named entries has no JSON: the list goes under a name of its own.
  if n > 0 and next(out, n) ~= nil then
    local list = {}
    for i = 1, n do list[i], out[i] = out[i], nil end
    out["$l"] = list
  end
  return out
end

local function decode(v, tensors)
  if math.type(v) == "float" then return math.tointeger(v) or v end
  if type(v) ~= "table" then return v end
  if v["$f"] then return tonumber(v["$f"]) or (v["$f"]:find("inf") and (v["$f"]:find("^-") and -math.huge or math.huge)) or 0 / 0 end
  if v["$i"] then return math.tointeger(v["$i"]) end
  if v["$t"] then return tensors[v["$t"]] end
  if v["$o"] then return decode(v["$o"], tensors) end
  local out = {}
  for k, e in pairs(v) do
    if k == "$l" then
      for i, x in ipairs(e) do out[i] = decode(x, tensors) end
    else
      out[k] = decode(e, tensors)
    end
  end
  return out
end

-- ---- files

-- What results depend on beside the numbers: named when a run is continued elsewhere.
local function build()
  local ok, info = pcall(core.info)
  if not ok or type(info) ~= "table" then return {} end
  return { version = info.version, isa = info.isa, blas = info.blas }
end

-- Saves a tree of values; true, or nil, message.
function M.write(path, tree)
  local _ <close> = core.no_grad()
  local tensors = {}
  local body = encode(tree, "", tensors)
  return core.write_safetensors(path, tensors, { format = FORMAT, version = tostring(VERSION), build = core.json_encode(build()), tree = core.json_encode(body) })
end

-- The tree back, or nil, message. Says so when the build or the instruction set is another one.
function M.read(path)
  local f, why = io.open(path, "rb")
  if not f then return nil, why end
  f:close()
  local tensors, meta = core.read_safetensors(path)
  if not tensors then return nil, meta end
  if not meta or meta.format ~= FORMAT then return nil, ("%s: this is no checkpoint of slugnet"):format(path) end
  if tonumber(meta.version) ~= VERSION then
    return nil, ("%s: a checkpoint of version %s; this slugnet reads version %d"):format(path, tostring(meta.version), VERSION)
  end
  local body, msg = core.json_decode(meta.tree or "")
  if body == nil then return nil, ("%s: %s"):format(path, msg) end
  local was = core.json_decode(meta.build or "{}") or {}
  for k, v in pairs(build()) do
    if was[k] ~= nil and was[k] ~= v then
      check.notice("%s was made with %s %s, this is %s: results may differ in the last bits", path, k, tostring(was[k]), tostring(v))
    end
  end
  return decode(body, tensors)
end

-- ---- for loops written by hand

-- sn.checkpoint(path, values): true, or nil, message.
function M.save(path, values)
  if type(path) ~= "string" then check.fail("checkpoint: path is %s; it wants to be a string", check.show(path)) end
  if type(values) ~= "table" or core.is_tensor(values) then check.fail("checkpoint: wants a table of what to save, got %s", check.show(values)) end
  return M.write(path, { values = values, rng = core.rng_state() })
end

local function put(target, got, name)
  if core.is_tensor(target) then
    if not core.is_tensor(got) then check.fail("restore: %s is a tensor here, the checkpoint has %s", name, check.show(got)) end
    local _ <close> = core.no_grad()
    if check.shape(target.shape) ~= check.shape(got.shape) then
      check.fail("restore: %s is %s here, %s in the checkpoint", name, check.shape(target.shape), check.shape(got.shape))
    end
    target:copy_(got)
    return target
  end
  if stateful(target) then
    if got == nil then check.fail("restore: the checkpoint has no '%s'", name) end
    local ok, msg = pcall(target.load_state, target, got)
    if not ok then check.fail("restore: %s: %s", name, check.bare(msg)) end
    return target
  end
  if type(target) == "table" and type(got) == "table" then
    for k, t in pairs(target) do got[k] = put(t, got[k], name == "" and tostring(k) or name .. "." .. k) end
  end
  return got
end

-- Puts the state back into the objects of `into` and gives every saved value by name; nil, message when there is no good file.
function M.restore(path, into)
  if type(path) ~= "string" then check.fail("restore: path is %s; it wants to be a string", check.show(path)) end
  local tree, msg = M.read(path)
  if not tree then return nil, msg end
  if not tree.values then return nil, ("%s: this checkpoint was made by fit; give fit checkpoint and resume = true"):format(path) end
  local got = put(into or {}, tree.values, "")
  core.set_rng_state(tree.rng)
  return got
end
M.load = M.restore

return setmetatable(M, { __call = function(_, path, values) return M.save(path, values) end })
