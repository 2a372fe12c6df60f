-- commands.lua - the program's subcommands: slugnet info, slugnet gradcheck FILE, slugnet bench. Each gives true when all went well.
local sn = require "slugnet"

local M = {}

-- What results and speed depend on, one line each.
function M.info()
  local info, names = sn.info(), {}
  for k in pairs(info) do names[#names + 1] = k end
  table.sort(names)
  for _, k in ipairs(names) do print(("%-10s %s"):format(k, info[k])) end
  return true
end

-- The file returns a function and its inputs, or a table of {function, inputs, options} by name.
function M.gradcheck(file)
  if not file then
    io.stderr:write("usage: slugnet gradcheck FILE, where FILE returns a function and a list of inputs, or a table of {function, inputs} by name\n")
    return false
  end
  local fn, inputs, options = assert(loadfile(file))()
  local cases = fn
  if type(fn) == "function" or type(inputs) == "table" then cases = { [file] = { fn, inputs, options } } end
  if type(cases) ~= "table" then error(file .. " returns neither a function with its inputs nor a table of them", 0) end
  local names, failed = {}, 0
  for name in pairs(cases) do names[#names + 1] = name end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  for _, name in ipairs(names) do
    local case = cases[name]
    local o = { raise = false }
    for k, v in pairs(case[3] or {}) do o[k] = v end
    local ok, good, why = pcall(sn.gradcheck, case[1], case[2], o)
    if not ok then good, why = false, good end
    print(("%-24s %s"):format(name, good and "ok" or tostring(why)))
    if not good then failed = failed + 1 end
  end
  if failed > 0 then io.stderr:write(("%d of %d failed\n"):format(failed, #names)) end
  return failed == 0
end

-- The workloads of the benchmark, our side alone.
function M.bench(...) return require("slugnet.bench").main { ... } end

return M
