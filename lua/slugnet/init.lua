-- init.lua - what `require "slugnet"` gives: the core's functions and classes in one flat table, and submodules that load when first used.
local core = require "slugnet.core"
local name, path = ...

-- Errors name the user's line, not one of ours.
if type(path) == "string" and path:match("init%.lua$") then core.set_home((path:gsub("init%.lua$", ""))) end

local submodules = {
  data = "data", metrics = "metrics", schedule = "schedule", init = "inits", io = "io", callbacks = "callbacks", plot = "plot",
}
-- Names that live in a submodule.
local from = {
  Model = "model", load = "model", checkpoint = "model", restore = "model",
  EarlyStopping = "callbacks", Checkpoint = "callbacks", CSVLogger = "callbacks", LRSchedule = "callbacks", profile = "profile",
}

local function submodule(what)
  local full = "slugnet." .. what
  local ok, m = pcall(require, full)
  if ok then return m end
  if tostring(m):find("module '" .. full .. "' not found", 1, true) then return nil end
  error(m, 0)
end

-- What is there but not loaded yet, for those who list names.
local names = {}
for _, t in ipairs { submodules, from } do
  for k in pairs(t) do names[k] = true end
end

local sn = setmetatable(core, {
  names = names,
  __tostring = function(t) return ("slugnet %s; sn.help() names what there is, sn.help \"relu\" tells about it"):format(t.info().version) end,
  __index = function(t, key)
    local v
    if submodules[key] then
      v = submodule(submodules[key])
    elseif from[key] then
      local m = submodule(from[key])
      v = m and m[key]
    end
    if v ~= nil then rawset(t, key, v) end
    return v
  end,
})
package.loaded[name or "slugnet"] = sn
return sn
