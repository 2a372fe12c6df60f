-- check.lua - what every argument of a user goes through: options by name with a "did you mean", numbers in range, labels.
-- Errors are one line and begin with the place in the user's script, not with a place in here.
local core = require "slugnet.core"

local M = {}

-- Sources of slugnet itself: the place named by an error is the first one outside of them.
local own = {}
function M.own() own[debug.getinfo(2, "S").source] = true end
M.own()

-- The message with the script's line in front.
local function placed(fmt, ...)
  local msg = select("#", ...) > 0 and fmt:format(...) or fmt
  for level = 3, 200 do
    local i = debug.getinfo(level, "Sl")
    if not i then break end
    if i.what ~= "C" and i.currentline > 0 and not own[i.source] then
      return ("%s:%d: %s"):format(i.short_src, i.currentline, msg)
    end
  end
  return msg
end

function M.fail(fmt, ...) error(placed(fmt, ...), 0) end

function M.notice(fmt, ...)
  local msg = placed(fmt, ...)
  core.notice(msg)
end

-- A message caught by pcall, without the place it was raised at (it gets a new one).
function M.bare(msg)
  return (tostring(msg):gsub("^[^\n:]*:%d+: ", ""))
end

-- Number of edits (insert, delete, replace, swap of neighbours) that make a into b.
local function distance(a, b)
  local before, last, now = {}, {}, {}
  for j = 0, #b do last[j] = j end
  for i = 1, #a do
    now = { [0] = i }
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      now[j] = math.min(last[j] + 1, now[j - 1] + 1, last[j - 1] + cost)
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        now[j] = math.min(now[j], before[j - 2] + 1)
      end
    end
    before, last = last, now
  end
  return last[#b]
end

-- "; did you mean 'batch_size'?" or the list of what there is.
function M.hint(name, names)
  local best, least = nil, math.max(2, #name // 3) + 1
  for _, n in ipairs(names) do
    local d = distance(name:lower():gsub("_", ""), (n:lower():gsub("_", "")))
    if d < least then best, least = n, d end
  end
  if best then return ("; did you mean '%s'?"):format(best) end
  return "; there are: " .. table.concat(names, ", ")
end

local function sorted(t)
  local l = {}
  for k in pairs(t) do l[#l + 1] = k end
  table.sort(l)
  return l
end

local function show(v)
  if type(v) == "string" then return ("'%s'"):format(v) end
  if type(v) == "number" or type(v) == "boolean" or v == nil then return tostring(v) end
  if core.is_tensor(v) then return "a tensor" end
  return "a " .. type(v)
end
M.show = show

-- Kinds of options: functions that give nothing when the value is good, else what would do.
M.kind = {
  any = function() end,
  count = function(v) if math.type(v) ~= "integer" and not (type(v) == "number" and math.tointeger(v)) or v < 1 then return "a whole number from 1" end end,
  integer = function(v) if not (type(v) == "number" and math.tointeger(v)) then return "a whole number" end end,
  positive = function(v) if type(v) ~= "number" or not (v > 0) or v == math.huge then return "a number above 0" end end,
  notneg = function(v) if type(v) ~= "number" or not (v >= 0) or v == math.huge then return "a number from 0" end end,
  number = function(v) if type(v) ~= "number" or v ~= v then return "a number" end end,
  flag = function(v) if type(v) ~= "boolean" then return "true or false" end end,
  text = function(v) if type(v) ~= "string" or v == "" then return "a string" end end,
  list = function(v) if type(v) ~= "table" or core.is_tensor(v) then return "a list" end end,
  fraction = function(v)
    if type(v) ~= "number" or not (v > 0 and v < 1) then
      return "a number between 0 and 1, such as 0.2, or to be left out for none"
    end
  end,
  autocast = function(v) if v ~= "bfloat16" and v ~= false then return '"bfloat16" or false' end end,
  words = function(...)
    local words = { ... }
    return function(v)
      for _, w in ipairs(words) do if v == w then return end end
      for i, w in ipairs(words) do words[i] = show(w) end
      return table.concat(words, " or ")
    end
  end,
}

-- Options by name against a table of kinds; gives a copy in which whole numbers are integers.
function M.options(where, given, kinds)
  if given == nil then return {} end
  if type(given) ~= "table" or core.is_tensor(given) then M.fail("%s: options are a table, got %s", where, show(given)) end
  local out = {}
  for k, v in pairs(given) do
    if type(k) ~= "string" then M.fail("%s: options have names, got %s without one", where, show(v)) end
    local kind = kinds[k]
    if not kind then M.fail("%s: unknown option '%s'%s", where, k, M.hint(k, sorted(kinds))) end
    local want = kind(v)
    if want then M.fail("%s: %s is %s; it wants to be %s", where, k, show(v), want) end
    if (kind == M.kind.count or kind == M.kind.integer) and type(v) == "number" then v = math.tointeger(v) end
    out[k] = v
  end
  return out
end

function M.shape(s)
  local l = {}
  for i, v in ipairs(s) do l[i] = tostring(v) end
  return #l > 0 and table.concat(l, "x") or "()"
end

-- A tensor from a tensor or a table of numbers.
function M.tensor(where, name, v)
  if core.is_tensor(v) then
    if not pcall(v.dim, v) then M.fail("%s: %s is a closed tensor", where, name) end
    return v
  end
  if type(v) == "number" or type(v) == "boolean" then M.fail("%s: %s is %s; it wants to be a tensor or a table of numbers", where, name, show(v)) end
  if type(v) ~= "table" then M.fail("%s: %s is %s; it wants to be a tensor or a table of numbers", where, name, show(v)) end
  local ok, t = pcall(core.tensor, v)
  if not ok then M.fail("%s: %s: %s", where, name, M.bare(t)) end
  return t
end

local integers = { int64 = true, int32 = true, uint8 = true }

local function any(mask) return mask:sum():item() > 0 end
-- Position of the first true of a 1-d mask.
local function first(mask) return mask:to("int64"):argmax(1):item() end

-- One class number per sample from labels that are class numbers (1..C) or one-hot rows; nil where rows are soft (probabilities).
-- The message of a wrong label names its row.
function M.classes(where, y, C, ignore)
  local _ <close> = core.no_grad()
  if y:dim() == 2 and y:size(2) == 1 and C > 1 then y = y:reshape(y:size(1)) end
  if y:dim() == 2 then
    if y:size(2) ~= C then
      M.fail("%s: labels have %d columns, the model has %d outputs; one-hot labels want %d columns, class numbers one", where, y:size(2), C, C)
    end
    local f = y:to("float64")
    local bad = f:ne(f):sum(2):gt(0)
    if any(bad) then M.fail("%s: label of row %d is nan", where, first(bad)) end
    local off = f:sum(2):sub(1):abs():gt(1e-3):logical_or(f:lt(0):sum(2):gt(0))
    if any(off) then M.fail("%s: labels of row %d are no distribution over the classes: a one-hot row has one 1 and else 0", where, first(off)) end
    if any(f:max(2):ne(1)) then return nil end
    return f:argmax(2)
  end
  if y:dim() ~= 1 then M.fail("%s: labels have the shape %s; want class numbers (n) or one-hot rows (n x %d)", where, M.shape(y.shape), C) end
  if y.dtype == "bool" then M.fail("%s: labels are bool; want class numbers from 1 to %d", where, C) end
  if not integers[y.dtype] then
    local nan = y:ne(y)
    if any(nan) then M.fail("%s: label of row %d is nan; want class numbers from 1 to %d", where, first(nan), C) end
    local frac = y:ne(y:round())
    if any(frac) then
      local row = first(frac)
      M.fail("%s: label of row %d is %g; class numbers are whole, from 1 to %d", where, row, y:narrow(1, row, 1):item(), C)
    end
  end
  local bad = y:lt(1):logical_or(y:gt(C))
  if ignore then bad = bad:logical_and(y:ne(ignore)) end
  if any(bad) then
    local row = first(bad)
    local v = y:narrow(1, row, 1):item()
    M.fail("%s: label of row %d is %d; the model has %d outputs, so classes are 1 to %d%s", where, row, v, C, C,
      v == 0 and " (labels that count from 0 want + 1)" or "")
  end
  return y.dtype == "int64" and y or y:to("int64")
end

-- No nan among targets; between lo and hi where given.
function M.values(where, y, lo, hi)
  local _ <close> = core.no_grad()
  if integers[y.dtype] or y.dtype == "bool" then y = y:to("float32") end
  local flat = y:reshape(y:numel())
  local nan = flat:ne(flat)
  if any(nan) then M.fail("%s: target %d is nan", where, first(nan)) end
  if lo then
    local bad = flat:lt(lo):logical_or(flat:gt(hi))
    if any(bad) then
      local at = first(bad)
      M.fail("%s: target %d is %g; this loss wants targets from %g to %g", where, at, flat:narrow(1, at, 1):item(), lo, hi)
    end
  end
end

return M
