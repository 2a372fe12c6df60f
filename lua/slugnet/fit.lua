-- fit.lua - the training loop of Model: epochs, batches, validation, callbacks, checkpoints, Ctrl-C.
-- What a batch holds is a function of (seed, epoch, batch number); the rest of the state is in the checkpoint, so that a run killed at any
-- step and resumed gives the same bits.
local core = require "slugnet.core"
local check = require "slugnet.check"
local data = require "slugnet.data"
local callbacks = require "slugnet.callbacks"
local checkpoint = require "slugnet.checkpoint"
local progress = require "slugnet.progress"
local io_ = require "slugnet.io"
check.own()
local kind = check.kind

local OPTIONS = {
  n_epoch = kind.count, batch_size = kind.count, log_interval = kind.count, callbacks = kind.list, drop_last = kind.flag, shuffle = kind.flag,
  validation_split = function(v) if v ~= false then return kind.fraction(v) end end,
  validation_data = function(v)
    if type(v) ~= "table" or core.is_tensor(v) or #v ~= 2 then return "a pair {X, y}" end
  end,
  progress = function(v) if type(v) ~= "boolean" and v ~= "bar" and v ~= "line" then return "true, false, 'bar' or 'line'" end end,
  checkpoint = kind.text, checkpoint_every = kind.count, resume = kind.flag, schedule = kind.any,
  autocast = kind.autocast, prefetch = kind.flag,
}

local Run = {}
Run.__index = Run

function Run:call(event)
  for _, c in ipairs(self.callbacks) do
    local f = c[event]
    if f then f(c, self) end
  end
end

-- ---- data

local function prepare(model, X, y, o)
  X = check.tensor("fit", "X", X)
  if X:dim() == 0 then check.fail("fit: X is one number; it wants samples along its first dimension") end
  if X:size(1) == 0 then check.fail("fit: X is empty") end
  local one
  X, one = model:_input("fit", X)
  if one then check.fail("fit: X is one sample (%s); it wants n x %s", check.shape(model.inshape), check.shape(model.inshape)) end
  y = model:_target("fit", y, X:size(1))
  local n, Xv, yv, train = X:size(1), nil, nil, nil
  local share = o.validation_split
  if share == nil then share = model.validation_split end
  if o.validation_data then
    Xv, yv = o.validation_data[1], o.validation_data[2]
    Xv = model:_input("fit: validation_data", Xv)
    yv = model:_target("fit: validation_data", yv, Xv:size(1))
  elseif share then
    local nval = math.floor(n * share + 0.5)
    if nval < 1 or nval >= n then
      check.fail("fit: validation_split = %g of %d samples leaves %d to train and %d to validate; both want one at least", share, n, n - nval, nval)
    end
    local order = data.permutation(n, model.seed, 0)
    train = order:narrow(1, nval + 1, n - nval)
    local val = order:narrow(1, 1, nval)
    Xv, yv = X:index_select(1, val), y:index_select(1, val)
  end
  return X, y, train, Xv, yv
end

-- ---- checkpoints

local function settings(run)
  return { batch_size = run.batch_size, samples = run.n, drop_last = run.drop_last, shuffle = run.shuffle, seed = run.model.seed,
    autocast = run.autocast or nil }
end

function Run:save(finished)
  local model, list = self.model, {}
  for i, c in ipairs(self.callbacks) do
    local s = type(c.state) == "function" and c:state() or nil
    list[i] = { name = c.name or "callback", state = s }
  end
  local h = self.history
  local ok, msg = checkpoint.write(self.file, {
    fit = { epoch = self.done, batch = self.batch_done, sums = self.sums, settings = settings(self), stop = self.stop or false, finished = finished or false,
      epochs_before = self.before, history = { train = h.train, val = h.val, lr = h.lr, seconds = h.seconds } },
    rng = core.rng_state(), model = model.network:state(), optimizer = model.optimizer:state(), callbacks = list,
  })
  if not ok then check.fail("fit: the checkpoint was not written: %s (the model in memory is intact)", msg) end
end

function Run:restore(tree)
  local model, f = self.model, tree.fit
  if not f then check.fail("fit: %s is a checkpoint of another kind; sn.restore reads it", self.file) end
  local now = settings(self)
  for _, k in ipairs { "batch_size", "samples", "drop_last", "shuffle", "autocast" } do
    if f.settings[k] ~= now[k] then
      check.fail("fit: the checkpoint was made with %s = %s, now it is %s; resume wants the same", k, tostring(f.settings[k]), tostring(now[k]))
    end
  end
  model.seed = f.settings.seed
  local ok, msg = pcall(function()
    model.network:load_state(tree.model)
    model.optimizer:load_state(tree.optimizer)
  end)
  if not ok then check.fail("fit: %s does not fit this model: %s", self.file, check.bare(msg)) end
  core.set_rng_state(tree.rng)
  self.done, self.batch_done, self.sums, self.stop, self.before = f.epoch, f.batch, f.sums, f.stop or nil, f.epochs_before
  local h = self.history
  h.train, h.val, h.lr, h.seconds = f.history.train, f.history.val, f.history.lr, f.history.seconds
  for i, saved in ipairs(tree.callbacks or {}) do
    local c = self.callbacks[i]
    if not c or (c.name or "callback") ~= saved.name then
      check.notice("fit: the checkpoint has a callback '%s' in place %d, this run has not; its state is left out", saved.name, i)
    elseif saved.state and type(c.load_state) == "function" then
      c:load_state(saved.state)
    end
  end
  self.resumed = true
end

-- The checkpoint's file; the folder is made. An unwritable one is found before the first batch.
function Run:open(path, resume)
  local dir = path:gsub("/+$", "")
  if dir == "" then dir = "/" end
  self.file = dir .. "/checkpoint.safetensors"
  local ok, msg = io_.mkdir(dir)
  if not ok then check.fail("fit: checkpoint: %s", msg) end
  core.sweep(dir)
  if resume and io_.exists(self.file) then
    local tree, why = checkpoint.read(self.file)
    if not tree then check.fail("fit: cannot resume: %s", why) end
    self:restore(tree)
  end
end

-- ---- epochs

-- The order of an epoch's samples, or nil when it is the data's own.
function Run:order(epoch)
  if not self.shuffle then return self.train_at end
  local p = data.permutation(self.n, self.model.seed, self.before + epoch)
  return self.train_at and self.train_at:index_select(1, p) or p
end

-- Where batches come from. Rows in an order, or to be converted, are gathered by a feed into memory that is used again, ahead on a thread of its
-- own where that pays; a batch of data as it lies is a part of it. numbers: what bytes are converted to in the feed.
local numbers = { float32 = true, float64 = true }
local Parts = {}
Parts.__index = Parts
Parts.__close = function() end
function Parts:begin(_, first) self.at = (first - 1) * self.size + 1 end
function Parts:next()
  local at = self.at
  local k = math.min(self.size, self.n - at + 1)
  self.at = at + k
  return self.X:narrow(1, at, k), self.y:narrow(1, at, k)
end

function Run:source(prefetch)
  local dtype = numbers[self.dtype] and self.dtype or nil
  if not self.shuffle and not self.train_at and not dtype then
    return setmetatable({ X = self.X, y = self.y, n = self.n, size = self.batch_size }, Parts)
  end
  local bytes = dtype and self.X.dtype == "uint8"
  self.X, self.y = self.X:contiguous(), self.y:contiguous()
  return core.feed(self.X, self.y, { n = self.n, batch = self.batch_size, dtype = dtype, scale = bytes and self.model.scale or nil, ahead = prefetch })
end

-- One training step as a function of a batch. It becomes a program: recorded while it runs, then replayed without Lua. Gives the loss, the hits
-- and the output where a metric wants them. Gradients are there afterwards only if a callback may look after each batch: a program does not even
-- write down those that the update alone reads.
function Run:stepper()
  local model, opt, dtype = self.model, self.model.optimizer, self.dtype
  local want_hits, want_out = model:_wants()
  local keep = self.on_batch_end
  local function step(X, y)
    X = model:_ready(X, dtype)
    opt:zero_grad()
    local loss, out = model:_loss(X, y)
    loss:backward()
    opt:step()
    if not keep then opt:zero_grad() end
    return loss:detach(), want_hits and model:_hits(out:detach(), y) or nil, want_out and out:detach() or nil
  end
  self.want_out = want_out
  if model.eager then return step end
  return core.compile(step)
end

-- One epoch from the batch after `batch_done` on; true if it was interrupted.
function Run:pass(epoch)
  local model, net, feed = self.model, self.model.network, self.feed
  local n_batch, sums = self.n_batch, self.sums
  local begins, ends = self.on_batch_begin, self.on_batch_end
  local every = self.file and self.checkpoint_every
  local step, interrupted, want_out = self.step, core.interrupted, self.want_out
  -- The memory of a batch is used again: who may keep a part of it, a metric or the Lua code of layers while it runs, gets a copy.
  local function runs_lua() return model.eager or step:count().replayed == 0 or step:reason() ~= nil end
  local own = runs_lua()
  net:train()
  feed:begin(self:order(epoch), self.batch_done + 1)
  for b = self.batch_done + 1, n_batch do
    self.batch = b
    if begins then self:call("on_batch_begin") end
    local X, y = feed:next()
    if own then X, y = X:clone(), y:clone() elseif want_out then y = y:clone() end
    local loss, hits, out = step(X, y)
    if own then own = runs_lua() end
    local value = loss:item()
    if value ~= value and not self.warned then
      self.warned = true
      check.notice("fit: the loss is nan at epoch %d, batch %d; a smaller lr, clip_norm = 1 or a look at X for nan may help", epoch, b)
    end
    model:_measure(sums, value, hits, out, y)
    loss:close()
    if hits then hits:close() end
    self.batch_done = b
    if ends then
      self.train = model:_means(sums)
      self:call("on_batch_end")
    end
    if self.bar then self.shown:batch(epoch, b, n_batch, model:_means(sums)) end
    if every and b % every == 0 and b < n_batch then self:save() end
    if interrupted() then return true end
    if self.stop then break end
  end
  return false
end

local function record(into, values, e)
  for name, v in pairs(values) do
    into[name] = into[name] or {}
    into[name][e] = v
  end
end

-- After the last batch: validation, history, the table, callbacks, the checkpoint.
function Run:finish(epoch)
  local model, h = self.model, self.history
  self.train = model:_means(self.sums)
  self.lr = model.optimizer.lr
  self.val = self.Xv and model:_evaluate(self.Xv, self.yv) or nil
  record(h.train, self.train, epoch)
  if self.val then record(h.val, self.val, epoch) end
  h.lr[epoch] = self.lr
  h.seconds[epoch] = progress.clock() - self.shown.began
  self.done, self.batch_done, self.sums = epoch, 0, {}
  self:call("on_epoch_end")
  local show = epoch % self.log_interval == 0 or epoch == self.n_epoch or self.stop
  self.shown:epoch(epoch, self.n_batch, self.train, self.val, show)
  if self.file then self:save() end
end

local function last_of(values, e)
  local t = {}
  for name, list in pairs(values) do t[name] = list[e] end
  return t
end

local function fit(model, X, y, options)
  local o = check.options("fit", options, OPTIONS)
  if o.resume and not o.checkpoint then check.fail("fit: resume = true wants checkpoint = \"folder/\" beside it") end
  if o.checkpoint_every and not o.checkpoint then check.fail("fit: checkpoint_every wants checkpoint = \"folder/\" beside it") end
  local list = callbacks.list("fit", o.callbacks)
  if o.schedule then table.insert(list, 1, callbacks.LRSchedule(o.schedule)) end
  local Xt, yt, train, Xv, yv = prepare(model, X, y, o)
  local n = train and train:size(1) or Xt:size(1)
  local run = setmetatable({
    model = model, X = Xt, y = yt, train_at = train, Xv = Xv, yv = yv, has_val = Xv ~= nil, n = n, dtype = model:_convert(Xt),
    n_epoch = o.n_epoch or model.n_epoch, batch_size = o.batch_size or model.batch_size, log_interval = o.log_interval or model.log_interval,
    drop_last = o.drop_last or false, shuffle = o.shuffle ~= false, callbacks = list, checkpoint_every = o.checkpoint_every, names = model:_names(),
    epoch = 0, batch = 0, done = 0, batch_done = 0, sums = {}, before = model.epochs_done, history = { train = {}, val = {}, lr = {}, seconds = {} },
  }, Run)
  run.n_batch = run.drop_last and n // run.batch_size or (n + run.batch_size - 1) // run.batch_size
  if run.n_batch == 0 then
    check.fail("fit: %d samples give no batch of %d with drop_last; leave drop_last out or use batch_size = %d", n, run.batch_size, n)
  end
  for _, c in ipairs(list) do
    if c.on_batch_begin then run.on_batch_begin = true end
    if c.on_batch_end then run.on_batch_end = true end
  end
  local mode = o.progress
  if mode == nil then mode = model.progress end
  run.shown = progress.new(mode, run.n_epoch, run.names)
  run.bar = run.shown.mode == "bar"
  run.step = run:stepper()
  local feed <close> = run:source(o.prefetch)
  run.feed = feed
  model.network:train()
  local rng <close> = model:_rng() -- luacheck: ignore rng
  local grad <close> = core.enable_grad() -- luacheck: ignore grad
  local cast <close> = model:_cast(o.autocast) -- luacheck: ignore cast
  run.autocast = core.is_autocast_enabled() and "bfloat16"
  if o.checkpoint then run:open(o.checkpoint, o.resume) end
  model.history = run.history
  run:call("on_train_begin")
  if run.file and not run.resumed then run:save() end
  local history = run.history
  while run.done < run.n_epoch and not run.stop do
    local epoch = run.done + 1
    run.epoch = epoch
    run.shown:start(run.batch_done)
    if run.batch_done == 0 then run:call("on_epoch_begin") end
    if run:pass(epoch) then
      history.interrupted = true
      run.shown:clear()
      if run.file then run:save() end
      break
    end
    run:finish(epoch)
  end
  run:call("on_train_end")
  model.network:eval()
  model.epochs_done = run.before + run.done
  history.epochs = run.done
  history.stopped = run.stop or false
  history.last = { train = last_of(history.train, run.done), val = last_of(history.val, run.done) }
  return history
end

return fit
