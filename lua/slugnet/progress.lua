-- progress.lua - what `fit` shows: a bar per batch on a terminal, one plain line an epoch elsewhere, the table of an epoch.
local core = require "slugnet.core"
local check = require "slugnet.check"
check.own()

local M = {}

-- Where it goes; tests put functions here. The bar and the lines are about the run (stderr), the table is its result (stdout).
M.write = function(s) io.stderr:write(s) io.stderr:flush() end
M.print = function(s) io.stdout:write(s, "\n") io.stdout:flush() end
-- Wall clock in seconds; without one from the core, whole seconds.
M.clock = core.clock or os.time

-- Is file descriptor fd a terminal?
function M.terminal(fd)
  if core.isatty then return core.isatty(fd) end
  return os.execute(("test -t %d"):format(fd)) == true
end

-- An ASCII grid: a header between rules, numbers to the right.
function M.grid(header, rows)
  local width, right = {}, {}
  for c, h in ipairs(header) do
    width[c] = #h
    right[c] = #rows > 0
    for _, r in ipairs(rows) do
      local s = tostring(r[c])
      width[c] = math.max(width[c], #s)
      if not tonumber(s) then right[c] = false end
    end
  end
  local function rule(ch)
    local l = {}
    for c = 1, #header do l[c] = ch:rep(width[c] + 2) end
    return "+" .. table.concat(l, "+") .. "+"
  end
  local function line(r)
    local l = {}
    for c = 1, #header do
      local s = tostring(r[c])
      local fill = (" "):rep(width[c] - #s)
      l[c] = right[c] and fill .. s or s .. fill
    end
    return "| " .. table.concat(l, " | ") .. " |"
  end
  local out = { rule("-"), line(header), rule("=") }
  for _, r in ipairs(rows) do
    out[#out + 1] = line(r)
    out[#out + 1] = rule("-")
  end
  return table.concat(out, "\n")
end

local function number(v) return v and ("%.6g"):format(v) or "" end

-- The table of one epoch: a row for training, one for validation.
function M.epoch_table(epoch, names, train, val)
  local header, t, v = { "run", "epoch" }, { "train", epoch }, { "validation", epoch }
  for i, name in ipairs(names) do
    header[i + 2], t[i + 2], v[i + 2] = name, number(train[name]), number(val and val[name])
  end
  return M.grid(header, val and { t, v } or { t })
end

local function duration(s)
  s = math.max(0, math.floor(s + 0.5))
  if s >= 3600 then return ("%d:%02d:%02d"):format(s // 3600, s // 60 % 60, s % 60) end
  return ("%d:%02d"):format(s // 60, s % 60)
end

local Progress = {}
Progress.__index = Progress

local function logs(names, values, prefix)
  local l = {}
  for _, n in ipairs(names) do
    if values and values[n] then l[#l + 1] = ("%s%s %.4f"):format(prefix, n, values[n]) end
  end
  return table.concat(l, " ")
end

-- A batch is done. Redrawn ten times a second at most.
function Progress:batch(epoch, batch, n_batch, values)
  if self.mode ~= "bar" then return end
  local now = M.clock()
  if now - self.drawn < 0.1 and batch < n_batch then return end
  self.drawn = now
  local done = batch - self.from
  local spent = math.max(now - self.began, 1e-6)
  local rate = done / spent
  local share = batch / n_batch
  local all = (epoch - 1 + share) / self.n_epoch
  local width = 20
  local full = math.floor(share * width)
  local bar = ("="):rep(full) .. (full < width and ">" or "") .. ("."):rep(width - full - 1)
  local text = ("Epoch %d/%d [%s] %d/%d %.1f/s ETA %s (%d%%) %s"):format(epoch, self.n_epoch, bar, batch, n_batch, rate,
    rate > 0 and duration((n_batch - batch) / rate) or "?", math.floor(all * 100), logs(self.names, values, ""))
  local columns = tonumber(os.getenv("COLUMNS") or "") or 100
  text = text:sub(1, math.max(20, columns - 1))
  self.out("\r" .. text .. (" "):rep(math.max(0, self.last - #text)))
  self.last = #text
end

function Progress:clear()
  if self.last > 0 then
    self.out("\r" .. (" "):rep(self.last) .. "\r")
    self.last = 0
  end
end

-- An epoch begins, with `from` batches done before (a resumed run).
function Progress:start(from)
  self.began, self.from, self.drawn = M.clock(), from or 0, -math.huge
end

-- An epoch is done: its line or the bar's end, then the table.
function Progress:epoch(epoch, n_batch, train, val, show)
  if self.mode == "none" then return end
  local spent = math.max(M.clock() - self.began, 1e-6)
  self:clear()
  if not show then return end
  if self.mode == "line" then
    local text = ("epoch %d/%d: %d batches in %.1f s, %.0f/s: %s"):format(epoch, self.n_epoch, n_batch, spent, (n_batch - self.from) / spent,
      logs(self.names, train, ""))
    if val then text = text .. " " .. logs(self.names, val, "val_") end
    self.out(text .. "\n")
  end
  M.print(M.epoch_table(epoch, self.names, train, val))
end

-- progress = true: a bar if stderr is a terminal, else a line an epoch; false: nothing; "bar", "line": that.
function M.new(progress, n_epoch, names)
  local mode = progress
  if progress == nil or progress == true then mode = M.terminal(2) and "bar" or "line" end
  if progress == false then mode = "none" end
  return setmetatable({ mode = mode, n_epoch = n_epoch, names = names, last = 0, out = M.write, began = 0, from = 0, drawn = 0 }, Progress)
end

return M
