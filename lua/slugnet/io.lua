-- io.lua - files of tensors and of plain values. What the outside world does wrong comes back as nil, message.
local core = require "slugnet.core"
local check = require "slugnet.check"
check.own()

local M = {}

-- sn.io.save("w.safetensors", {name = tensor, …}, {key = "text", …}): written beside, synced, renamed.
function M.save(path, tensors, metadata)
  if type(path) ~= "string" then check.fail("io.save: path is %s; it wants to be a string", check.show(path)) end
  if type(tensors) ~= "table" or core.is_tensor(tensors) then check.fail("io.save: wants a table of tensors by name, got %s", check.show(tensors)) end
  for k, t in pairs(tensors) do
    if type(k) ~= "string" or not core.is_tensor(t) then check.fail("io.save: entry %s is %s; want tensors by name", tostring(k), check.show(t)) end
  end
  return core.write_safetensors(path, tensors, metadata)
end

-- Tensors by name and the metadata, or nil, message.
function M.load(path)
  if type(path) ~= "string" then check.fail("io.load: path is %s; it wants to be a string", check.show(path)) end
  return core.read_safetensors(path)
end

-- A whole file as a string, or nil, message.
function M.read(path)
  local f, msg = io.open(path, "rb")
  if not f then return nil, msg end
  local s, why = f:read("a")
  f:close()
  if not s then return nil, ("%s: %s"):format(path, why or "cannot be read") end
  return s
end

-- A whole file written beside, synced and renamed, so that the old one is never lost.
function M.write(path, bytes) return core.write_file(path, bytes) end

function M.read_json(path)
  local s, msg = M.read(path)
  if not s then return nil, msg end
  local v, why = core.json_decode(s)
  if v == nil then return nil, ("%s: %s"):format(path, why) end
  return v
end

function M.write_json(path, value) return core.write_file(path, core.json_encode(value) .. "\n") end

function M.exists(path)
  local f = io.open(path, "rb")
  if f then f:close() end
  return f ~= nil
end

local function quoted(s) return "'" .. s:gsub("'", "'\\''") .. "'" end

-- Makes a folder and those above it; true, or nil, message.
function M.mkdir(path)
  if core.mkdir then return core.mkdir(path) end
  if os.execute("mkdir -p -- " .. quoted(path) .. " 2>/dev/null") then return true end
  return nil, ("%s: the folder cannot be made"):format(path)
end

M.idx = core.read_idx
M.json_encode, M.json_decode = core.json_encode, core.json_decode

return M
