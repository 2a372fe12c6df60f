-- inits.lua - sn.init: initialisers by lower-case name, for tensors of one's own: sn.init.glorot_uniform(w), sn.init.normal(w, {std=0.1}).
-- They fill the tensor in place and give it back; the classes (sn.GlorotUniform, …) are what layers take as init =.
local core = require "slugnet.core"
local check = require "slugnet.check"
check.own()

local function plain(name) return (name:lower():gsub("_", "")) end

return setmetatable({}, { __index = function(t, key)
  if type(key) ~= "string" then return nil end
  local names = {}
  for _, c in ipairs(core.classes()) do
    if c.family == "init" then
      names[#names + 1] = c.name
      if plain(c.name) == plain(key) then
        t[key] = function(tensor, options)
          if not core.is_tensor(tensor) then check.fail("init.%s: wants a tensor to fill, got %s", key, check.show(tensor)) end
          local _ <close> = core.no_grad()
          core[c.name](options or {}):fill(tensor)
          return tensor
        end
        return t[key]
      end
    end
  end
  check.fail("init: there is no initialiser '%s'%s", key, check.hint(key, names))
end })
