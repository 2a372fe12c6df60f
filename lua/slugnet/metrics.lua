-- metrics.lua - numbers that say how good predictions are. They compute nothing themselves: they call operations.
-- Predictions are class numbers (n), scores (n x C; the largest is the class) or, for two classes, one number per sample.
local core = require "slugnet.core"
local check = require "slugnet.check"
check.own()

local M = {}

local integers = { int64 = true, int32 = true, uint8 = true }

local function pair(where, pred, y)
  pred, y = check.tensor(where, "predictions", pred), check.tensor(where, "targets", y)
  if pred:numel() == 0 or y:numel() == 0 then check.fail("%s: no samples", where) end
  if pred:size(1) ~= y:size(1) then check.fail("%s: %d predictions, %d targets", where, pred:size(1), y:size(1)) end
  return pred:detach(), y:detach()
end

-- Class numbers of scores, of one-hot rows, or of class numbers.
local function classes(t)
  if t:dim() == 2 and t:size(2) > 1 then return t:argmax(2), t:size(2) end
  if t:dim() == 2 then t = t:reshape(t:size(1)) end
  return t:to("int64"), nil
end

-- Share of samples whose class is right. One number per sample is rounded (0 or 1), several are scores.
function M.accuracy(pred, y)
  pred, y = pair("accuracy", pred, y)
  local single = pred:dim() == 1 or pred:size(2) == 1
  if single and not integers[pred.dtype] then
    local flat = y:reshape(y:numel())
    return pred:reshape(pred:numel()):round():eq(flat):to("float64"):mean():item()
  end
  local p, t = classes(pred), classes(y)
  return p:eq(t):to("float64"):mean():item()
end

-- C x C counts (int64): row the true class, column the predicted.
function M.confusion_matrix(pred, y, C)
  pred, y = pair("confusion_matrix", pred, y)
  local p, cp = classes(pred)
  local t, ct = classes(y)
  C = C or cp or ct or math.max(p:max():item(), t:max():item())
  for _, v in ipairs { p, t } do
    if v:min():item() < 1 or v:max():item() > C then
      check.fail("confusion_matrix: classes are 1 to %d, got %d to %d", C, v:min():item(), v:max():item())
    end
  end
  local rows = core.one_hot(t, C):to("float64")
  local cols = core.one_hot(p, C):to("float64")
  return rows:t():matmul(cols):to("int64")
end

-- Per class: right ones, predicted ones, true ones, as lists.
local function counts(where, pred, y, C)
  local m = M.confusion_matrix(pred, y, C):to("float64")
  local n = m:size(1)
  local hit, guessed, truth = {}, m:sum(1):totable(), m:sum(2):totable()
  local rows = m:totable()
  for c = 1, n do hit[c] = rows[c][c] end
  return hit, guessed, truth
end

local function averaged(name, ratio)
  M[name] = function(pred, y, options)
    local o = check.options(name, options, { average = check.kind.words("macro", "micro", "none"), classes = check.kind.count, class = check.kind.count })
    local hit, guessed, truth = counts(name, pred, y, o.classes)
    if o.average == "micro" then
      local h, g, t = 0, 0, 0
      for c = 1, #hit do h, g, t = h + hit[c], g + guessed[c], t + truth[c] end
      return ratio(h, g, t)
    end
    local list, sum = {}, 0
    for c = 1, #hit do
      list[c] = ratio(hit[c], guessed[c], truth[c])
      sum = sum + list[c]
    end
    if o.class then
      if o.class > #list then check.fail("%s: class is %d, there are %d", name, o.class, #list) end
      return list[o.class]
    end
    if o.average == "none" then return list end
    return sum / #list
  end
end

local function over(a, b) return b == 0 and 0.0 or a / b end
-- Of the predicted ones, how many are right: a mean over classes, or {average="micro"|"none"}, or {class=c}.
averaged("precision", function(h, g) return over(h, g) end)
-- Of the true ones, how many were found.
averaged("recall", function(h, _, t) return over(h, t) end)
-- The harmonic mean of both.
averaged("f1", function(h, g, t) return over(2 * h, g + t) end)

local function errors(where, pred, y)
  pred, y = pair(where, pred, y)
  if pred:numel() ~= y:numel() then check.fail("%s: predictions are %s, targets %s", where, check.shape(pred.shape), check.shape(y.shape)) end
  return pred:reshape(pred:numel()):to("float64"), y:reshape(y:numel()):to("float64")
end

-- Mean squared error.
function M.mse(pred, y)
  local p, t = errors("mse", pred, y)
  return p:sub(t):square():mean():item()
end

-- Mean absolute error.
function M.mae(pred, y)
  local p, t = errors("mae", pred, y)
  return p:sub(t):abs():mean():item()
end

-- Share of the variance that is explained: 1 is perfect, 0 no better than the mean.
function M.r2(pred, y)
  local p, t = errors("r2", pred, y)
  local rest = p:sub(t):square():sum():item()
  local all = t:sub(t:mean()):square():sum():item()
  if all == 0 then return rest == 0 and 1.0 or 0.0 end
  return 1 - rest / all
end

return M
