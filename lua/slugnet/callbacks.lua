-- callbacks.lua - what happens beside training. A callback is a table with any of
--   on_train_begin on_epoch_begin on_batch_begin on_batch_end on_epoch_end on_train_end   (self, run)
-- and, if it keeps something that a resumed run needs, state() and load_state(t). A plain function is an on_epoch_end.
-- `run` has model, epoch, batch, n_epoch, n_batch, train and val (metrics by name), history; run.stop = true ends the training.
local core = require "slugnet.core"
local check = require "slugnet.check"
local schedule = require "slugnet.schedule"
check.own()
local kind = check.kind

local M = {}

M.events = { on_train_begin = true, on_epoch_begin = true, on_batch_begin = true, on_batch_end = true, on_epoch_end = true, on_train_end = true }

-- A list of callbacks from what a user gave; misspelt events are errors.
function M.list(where, given)
  local out = {}
  if given == nil then return out end
  if type(given) ~= "table" then check.fail("%s: callbacks is %s; it wants to be a list", where, check.show(given)) end
  for k in pairs(given) do
    if math.type(k) ~= "integer" then check.fail("%s: callbacks wants a list { callback, … }, got an entry named '%s'", where, tostring(k)) end
  end
  for i, c in ipairs(given) do
    if type(c) == "function" then
      local f = c
      c = { name = "function", on_epoch_end = function(_, run) return f(run) end }
    elseif type(c) ~= "table" then
      check.fail("%s: callbacks[%d] is %s; it wants to be a table with on_epoch_end or the like", where, i, check.show(c))
    end
    for k in pairs(c) do
      if type(k) == "string" and k:match("^on_") and not M.events[k] then
        local names = {}
        for n in pairs(M.events) do names[#names + 1] = n end
        table.sort(names)
        check.fail("%s: callbacks[%d] has '%s'%s", where, i, k, check.hint(k, names))
      end
    end
    out[i] = c
  end
  return out
end

-- "val.loss" or "loss" or "accuracy": the value, validation's first unless train is named.
local function monitored(run, name)
  local part, metric = name:match("^(%a+)[._](.+)$")
  if part == "val" or part == "validation" then return run.val and run.val[metric] end
  if part == "train" then return run.train[metric] end
  local values = run.val or run.train
  return values[name]
end

local function value(where, run, name)
  local v = monitored(run, name)
  if v == nil then
    local have = {}
    for k in pairs(run.train) do have[#have + 1] = k end
    table.sort(have)
    check.fail("%s: monitor is '%s', the run has %s%s", where, name, table.concat(have, ", "), run.val and " (val_… and train_…)" or " and no validation data")
  end
  return v
end

-- Is more of it better?
local function rising(name, mode)
  if mode then return mode == "max" end
  return name:match("loss$") == nil and name:match("ms?e$") == nil and name:match("mae$") == nil
end

local function better(v, best, up, delta)
  if v ~= v then return false end
  if not best then return true end
  if up then return v > best + delta end
  return v < best - delta
end

-- Stops when `monitor` has not improved by min_delta for `patience` epochs; restore_best puts the best epoch's weights back.
function M.EarlyStopping(options)
  local o = check.options("EarlyStopping", options,
    { monitor = kind.text, patience = kind.count, min_delta = kind.notneg, restore_best = kind.flag, mode = kind.words("min", "max") })
  local monitor, patience = o.monitor or "loss", o.patience or 5
  local up = rising(monitor, o.mode)
  local c = { name = "EarlyStopping", wait = 0, best_epoch = 0 }
  function c:on_epoch_end(run)
    local v = value("EarlyStopping", run, monitor)
    if better(v, self.best, up, o.min_delta or 0) then
      self.best, self.best_epoch, self.wait = v, run.epoch, 0
      if o.restore_best then
        local _ <close> = core.no_grad()
        self.weights = {}
        for name, t in pairs(run.model.network:state()) do self.weights[name] = t:detach():clone() end
      end
    else
      self.wait = self.wait + 1
      if self.wait >= patience then
        self.stopped_epoch = run.epoch
        run.stop = true
      end
    end
  end
  function c:on_train_end(run)
    if o.restore_best and self.weights and not run.history.interrupted then run.model.network:load_state(self.weights) end
  end
  function c:state() return { wait = self.wait, best = self.best, best_epoch = self.best_epoch, weights = self.weights, stopped_epoch = self.stopped_epoch } end
  function c:load_state(s)
    self.wait, self.best, self.best_epoch, self.weights, self.stopped_epoch = s.wait, s.best, s.best_epoch, s.weights, s.stopped_epoch
  end
  return c
end

-- Saves the model every `every` epochs, or whenever `monitor` is better than ever (save_best_only). {epoch} in the path is the number.
function M.Checkpoint(options)
  local o = check.options("Checkpoint", options,
    { path = kind.text, every = kind.count, save_best_only = kind.flag, monitor = kind.text, mode = kind.words("min", "max") })
  if not o.path then check.fail("Checkpoint: path is missing") end
  local monitor = o.monitor or "loss"
  local up = rising(monitor, o.mode)
  local c = { name = "Checkpoint" }
  function c:on_epoch_end(run)
    if run.epoch % (o.every or 1) ~= 0 then return end
    if o.save_best_only then
      local v = value("Checkpoint", run, monitor)
      if not better(v, self.best, up, 0) then return end
      self.best = v
    end
    local ok, msg = run.model:save((o.path:gsub("{epoch}", tostring(run.epoch))))
    if not ok then check.fail("Checkpoint: %s", msg) end
  end
  function c:state() return { best = self.best } end
  function c:load_state(s) self.best = s.best end
  return c
end

local function cell(v)
  if v == nil then return "" end
  return math.type(v) == "integer" and tostring(v) or ("%.9g"):format(v)
end

-- One line an epoch: epoch, train_…, val_…, lr. A resumed run cuts the file back to where its checkpoint stood.
function M.CSVLogger(options)
  if type(options) == "string" then options = { path = options } end
  local o = check.options("CSVLogger", options, { path = kind.text })
  if not o.path then check.fail("CSVLogger: path is missing") end
  local c = { name = "CSVLogger" }
  local function put(mode, text)
    local f, msg = io.open(o.path, mode)
    if not f then check.fail("CSVLogger: %s", msg) end
    local ok, why = f:write(text)
    local closed, late = f:close()
    if not ok or not closed then check.fail("CSVLogger: %s: %s", o.path, why or late or "cannot be written") end
    c.size = (mode == "wb" and 0 or c.size) + #text
  end
  local function names(run)
    local l = {}
    for _, n in ipairs(run.names) do l[#l + 1] = n end
    return l
  end
  function c:on_train_begin(run)
    if run.resumed and self.size then return end
    local head = { "epoch" }
    for _, n in ipairs(names(run)) do head[#head + 1] = "train_" .. n end
    if run.has_val then for _, n in ipairs(names(run)) do head[#head + 1] = "val_" .. n end end
    head[#head + 1] = "lr"
    put("wb", table.concat(head, ",") .. "\n")
  end
  function c:on_epoch_end(run)
    local l = { cell(run.epoch) }
    for _, n in ipairs(names(run)) do l[#l + 1] = cell(run.train[n]) end
    if run.has_val then for _, n in ipairs(names(run)) do l[#l + 1] = cell(run.val[n]) end end
    l[#l + 1] = cell(run.lr)
    put("ab", table.concat(l, ",") .. "\n")
  end
  function c:state() return { size = self.size } end
  function c:load_state(s)
    self.size = s.size
    local f = io.open(o.path, "rb")
    local text = f and f:read("a") or ""
    if f then f:close() end
    if #text < (s.size or 0) then
      check.fail("CSVLogger: %s has %d bytes, the checkpoint was made when it had %d; put the file back or start without resume", o.path, #text, s.size)
    end
    if #text > (s.size or 0) then
      local ok, msg = core.write_file(o.path, text:sub(1, s.size))
      if not ok then check.fail("CSVLogger: %s", msg) end
    end
  end
  return c
end

-- The learning rate from a schedule (sn.schedule.…) or from a function of (epoch, present rate).
function M.LRSchedule(what)
  local c = { name = "LRSchedule" }
  if schedule.is(what) then
    function c:on_train_begin(run)
      if not run.resumed then
        self.t, self.base = 0, run.model.optimizer.lr
        run.model.optimizer.lr = what(0, self.base)
      end
    end
    local function tick(self, run)
      self.t = self.t + 1
      run.model.optimizer.lr = what(self.t, self.base)
    end
    if what.by == "batch" then c.on_batch_end = tick else c.on_epoch_end = tick end
    function c:on_train_end(run) if self.base and not run.history.interrupted then run.model.optimizer.lr = self.base end end
    function c:state() return { t = self.t, base = self.base } end
    function c:load_state(s) self.t, self.base = s.t, s.base end
    return c
  end
  if type(what) ~= "function" then check.fail("LRSchedule: wants a schedule such as sn.schedule.step{every=10} or a function(epoch, lr), got %s", check.show(what)) end
  function c:on_epoch_begin(run) -- luacheck: ignore self
    local lr = what(run.epoch, run.model.optimizer.lr)
    if type(lr) ~= "number" or not (lr >= 0) then check.fail("LRSchedule: the function gave %s for epoch %d; it wants to give a rate from 0", check.show(lr), run.epoch) end
    run.model.optimizer.lr = lr
  end
  return c
end

return M
