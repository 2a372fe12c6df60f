-- schedule.lua - learning rates over time. A schedule is called with a count (epochs or batches done, from 0) and gives a rate;
-- it also keeps a count of its own for loops written by hand: s:step(opt), s:state(), s:load_state(t).
local check = require "slugnet.check"
check.own()
local kind = check.kind

local M = {}
local Schedule = {}
Schedule.__index = Schedule
M.class = Schedule

-- The rate after t units, from the base rate lr (the schedule's own, if it has one).
function Schedule:__call(t, lr)
  local base = self.options.lr or lr or self.base
  if not base then check.fail("schedule.%s: has no rate to start from; give lr = 0.1 or call it with one", self.name) end
  return self.rate(t, base, self.options)
end

function Schedule:__tostring() return ("schedule.%s by %s"):format(self.name, self.by) end

-- One unit is done: sets the optimizer's rate for the next.
function Schedule:step(opt)
  if not self.base then self.base = opt.lr end
  self.t = self.t + 1
  opt.lr = self(self.t, self.base)
  return opt.lr
end

-- Sets the rate of the present count, once before a loop.
function Schedule:start(opt)
  if not self.base then self.base = opt.lr end
  opt.lr = self(self.t, self.base)
  return opt.lr
end

function Schedule:state() return { t = self.t, base = self.base } end
function Schedule:load_state(s) self.t, self.base = s.t, s.base end

local function define(name, by, kinds, need, rate)
  kinds.lr, kinds.by = kind.positive, kind.words("epoch", "batch")
  M[name] = function(options)
    local o = check.options("schedule." .. name, options, kinds)
    for _, n in ipairs(need) do
      if o[n] == nil then check.fail("schedule.%s: %s is missing", name, n) end
    end
    return setmetatable({ name = name, by = o.by or by, options = o, rate = rate, t = 0, base = o.lr }, Schedule)
  end
end

-- The same rate for ever.
define("constant", "epoch", {}, {}, function(_, lr) return lr end)

-- lr * gamma^(floor(t / every))
define("step", "epoch", { every = kind.count, gamma = kind.positive }, { "every" }, function(t, lr, o)
  return lr * (o.gamma or 0.1) ^ (t // o.every)
end)

-- lr * gamma^t
define("exponential", "epoch", { gamma = kind.positive }, { "gamma" }, function(t, lr, o) return lr * o.gamma ^ t end)

-- Up in a line over `warmup` units, then half a cosine down to `min` at `total`.
define("cosine", "epoch", { total = kind.count, warmup = kind.integer, min = kind.notneg }, { "total" }, function(t, lr, o)
  local w, least = o.warmup or 0, o.min or 0
  if t < w then return lr * (t + 1) / w end
  local share = math.min(1, (t - w) / math.max(1, o.total - w))
  return least + (lr - least) * 0.5 * (1 + math.cos(math.pi * share))
end)

-- In a line from lr to `to` over `total` units.
define("linear", "epoch", { total = kind.count, to = kind.notneg }, { "total" }, function(t, lr, o)
  local share = math.min(1, t / o.total)
  return lr + ((o.to or 0) - lr) * share
end)

-- The original's decay: clamp(lr / (1 + decay t), lr_min, lr_max), by batches.
define("inverse_time", "batch", { decay = kind.notneg, lr_min = kind.notneg, lr_max = kind.positive }, { "decay" }, function(t, lr, o)
  return math.min(math.max(lr / (1 + o.decay * t), o.lr_min or 0), o.lr_max or math.huge)
end)

-- Any function of (count, base rate).
function M.fn(f, options)
  local o = check.options("schedule.fn", options, { lr = kind.positive, by = kind.words("epoch", "batch") })
  if type(f) ~= "function" then check.fail("schedule.fn: wants a function, got %s", check.show(f)) end
  return setmetatable({ name = "fn", by = o.by or "epoch", options = o, rate = f, t = 0, base = o.lr }, Schedule)
end

function M.is(v) return getmetatable(v) == Schedule end

return M
