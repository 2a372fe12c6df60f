-- luacheck: Lua 5.4; busted's names in the specs.
std = "lua54"
max_line_length = 200
unused_args = false
self = false
-- 581: not (x > y) is true for NaN, which is meant. 311, 211/t: values that are dropped so that the collector finds them; <close> variables.
ignore = { "581", "311", "211/t", "211/_.*", "431/x" }
files["tests"] = { std = "+busted" }
files["tests/busted.lua"] = { globals = { "arg", "slugnet_build" } }
files["rockspec"] = { std = "rockspec" }
exclude_files = { "tests/golden/golden.lua", "tests/golden/autocast.lua" }
