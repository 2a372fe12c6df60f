-- busted.lua - runs the suite: build/bin/slugnet tests/busted.lua [busted's arguments], or the same with lua5.4.
-- Our own program is the interpreter; busted's modules are Debian's for Lua 5.4. The last line of output is the count that tests/run reads.
local build = os.getenv("BUILD") or "build"

-- From another interpreter the module and its Lua files are found in the working tree.
if not package.preload["slugnet.core"] then
  package.cpath = build .. "/lib/?.so;" .. package.cpath
  package.path = "lua/?.lua;lua/?/init.lua;" .. package.path
end
for _, dir in ipairs { "/usr/share/lua/5.4", "/usr/local/share/lua/5.4" } do
  if not package.path:find(dir .. "/?.lua", 1, true) then package.path = package.path .. (";%s/?.lua;%s/?/init.lua"):format(dir, dir) end
end

-- Loaded before busted insulates the files from each other: the core is opened once, and all files see the same modules.
local sn = require "slugnet"
for _, name in ipairs { "data", "metrics", "schedule", "init", "io", "callbacks", "Model" } do
  local _ = sn[name]
end
_G.slugnet_build = build

local options, roots = { "--pattern=_spec", "-o", "plainTerminal" }, false
for i = 1, #arg do
  if arg[i]:match("%.lua$") or arg[i]:match("^tests/?$") then roots = true end
end
for i = 1, #arg do options[#options + 1] = arg[i] end
if not roots then options[#options + 1] = "tests" end
for i = 1, math.max(#arg, #options) do arg[i] = options[i] end

require "busted.runner" { standalone = false }
