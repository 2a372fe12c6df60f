-- model.lua - sn.Model: layers, a loss and an optimizer under one roof, with the names of the original. The work is done by operations;
-- here is the order in which they are called. The training loop is fit.lua.
local core = require "slugnet.core"
local check = require "slugnet.check"
local progress = require "slugnet.progress"
local metrics = require "slugnet.metrics"
check.own()
local kind = check.kind

local Model = {}
Model.__index = Model

local OPTIONS = {
  lr = kind.positive, n_epoch = kind.count, batch_size = kind.count, layers = kind.list, optimizer = kind.any, loss = kind.any,
  validation_split = function(v) if v ~= false then return kind.fraction(v) end end, metrics = kind.list,
  progress = function(v) if type(v) ~= "boolean" and v ~= "bar" and v ~= "line" then return "true, false, 'bar' or 'line'" end end,
  log_interval = kind.count, seed = kind.integer, eager = kind.flag, autocast = kind.autocast, scale = kind.positive,
}

-- ---- objects: given as such, or by the name of their class

local function family_of(v)
  if type(v) ~= "userdata" and type(v) ~= "table" or core.is_tensor(v) then return nil end
  local ok, f = pcall(function() return v.family end)
  return ok and f or nil
end

local words = { loss = "a loss such as sn.SoftmaxCategoricalCrossEntropy()", optimizer = "an optimizer such as sn.RMSProp{lr=0.001}", layer = "a layer such as sn.Dense{10}" }

local function object(where, v, family)
  if type(v) == "string" then
    local plain, names = v:lower():gsub("_", ""), {}
    for _, c in ipairs(core.classes()) do
      if c.family == family then
        if c.name:lower() == plain then return core[c.name] {} end
        names[#names + 1] = c.name
      end
    end
    check.fail("%s: unknown %s '%s'%s", where, family, v, check.hint(v, names))
  end
  if family_of(v) ~= family then
    local f = family_of(v)
    local got = f and (f:match("^[aeiou]") and "an " or "a ") .. f or check.show(v)
    if type(v) == "function" then got = "a function; a class is called to make an object" end
    check.fail("%s is %s; it wants to be %s", where, got, words[family])
  end
  return v
end

local function place(i, layer)
  local ok, name = pcall(function() return layer.name end)
  local _, what = pcall(function() return layer:describe() end)
  return ("layer %d%s (%s)"):format(i, ok and type(name) == "string" and (" '%s'"):format(name) or "", tostring(what))
end

-- ---- making one

local function new(_, options)
  if options == nil then options = {} end
  if type(options) == "table" and not core.is_tensor(options) and #options > 0 then
    check.fail("Model: layers go into layers = { … }; %d entries have no name", #options)
  end
  local o = check.options("Model", options, OPTIONS)
  local self = setmetatable({
    layers = {}, lr = o.lr, n_epoch = o.n_epoch or 10, batch_size = o.batch_size or 32, validation_split = o.validation_split or nil,
    progress = o.progress, log_interval = o.log_interval or 1, seed = o.seed, metrics = o.metrics, epochs_done = 0, eager = o.eager or false, programs = {}, autocast = o.autocast,
    scale = o.scale,
  }, Model)
  if o.progress == nil then self.progress = true end
  for i, layer in ipairs(o.layers or {}) do
    self.layers[i] = object(("Model: layers[%d]"):format(i), layer, "layer")
  end
  if o.loss ~= nil then self.loss = object("Model: loss", o.loss, "loss") end
  self.optimizer = object("Model: optimizer", o.optimizer == nil and "RMSProp" or o.optimizer, "optimizer")
  self:_rate(o.optimizer ~= nil)
  if self.metrics then self:_check_metrics() end
  return self
end

-- lr may be given to the model or to its optimizer. What the constructor was not told is the class's default.
function Model:_rate(given)
  local lr, opt = self.lr, self.optimizer
  if lr == nil then
    self.lr = opt.lr
    return
  end
  if given and opt.lr ~= lr then
    local class = core[opt.class]
    if not class or class {}.lr ~= opt.lr then
      check.fail("Model: lr is %g, its optimizer's lr is %g; give one of them", lr, opt.lr)
    end
  end
  opt.lr = lr
end

local known = { loss = true, accuracy = true, mse = true, mae = true, r2 = true, precision = true, recall = true, f1 = true }

function Model:_check_metrics()
  for i, m in ipairs(self.metrics) do
    if type(m) == "table" then
      if type(m.name) ~= "string" or type(m.fn) ~= "function" then check.fail("Model: metrics[%d] wants {name = \"…\", fn = function(pred, y) … end}", i) end
    elseif not known[m] then
      local names = {}
      for n in pairs(known) do names[#names + 1] = n end
      table.sort(names)
      if type(m) ~= "string" then check.fail("Model: metrics[%d] is %s; want the name of a metric", i, check.show(m)) end
      check.fail("Model: unknown metric '%s'%s", m, check.hint(m, names))
    end
  end
end

function Model:add_layer(layer)
  object("add_layer: the layer", layer, "layer")
  self.layers[#self.layers + 1] = layer
  if self.compiled then self.compiled, self.network = false, nil end
  return self
end

-- ---- random numbers: those of a model with a seed are its own, whatever the script draws beside it

local guard = { __close = function(g)
  g.model.rng = core.rng_state()
  core.set_rng_state(g.outer)
end }

function Model:_rng()
  local outer = core.rng_state()
  if not self.rng then
    if self.seed == nil then
      local g = core.Generator(0)
      g:load_state(outer)
      self.seed = g:random(1, 1 << 31)
      outer = g:state()
    end
    core.manual_seed(self.seed)
  else
    core.set_rng_state(self.rng)
  end
  return setmetatable({ model = self, outer = outer }, guard)
end

-- ---- compile: shapes, weights, loss, optimizer

local function declared(layer)
  if layer.inshape then return layer.inshape end
  local ok, config = pcall(function() return layer:config() end)
  if not ok or type(config) ~= "table" then return nil end
  local s = config.args and config.args.inshape
  if type(s) == "number" then s = { s } end
  if s then return s end
  if config.class == "Sequential" then
    local first = layer:children()[1]
    return first and declared(first)
  end
end

-- The last activation decides the usual loss.
local function usual_loss(network)
  for _, pair in ipairs { { "Softmax", "SoftmaxCategoricalCrossEntropy" }, { "Sigmoid", "BinaryCrossEntropy" } } do
    if network:has_head(pair[1]) then return core[pair[2]]() end
  end
  return (core.MSE or core.MeanSquaredError)()
end

local class_losses = { SoftmaxCategoricalCrossEntropy = true, CrossEntropy = true, NLL = true, CrossEntropyLoss = true, NLLLoss = true }
local binary_losses = { BinaryCrossEntropy = true, BCEWithLogits = true, BCE = true, BinaryCrossEntropyWithLogits = true }

-- Builds every layer for samples of shape `inshape` (needed if the first layer does not say its own). Done once; fit does it by itself.
function Model:compile(inshape)
  if self.compiled then return self end
  if #self.layers == 0 then check.fail("compile: the model has no layers; add one with model:add_layer(sn.Dense{…})") end
  if type(inshape) == "number" then inshape = { inshape } end
  local shape = declared(self.layers[1]) or inshape
  if not shape then
    check.fail("%s: its input shape is not known; give the first layer inshape = …, or call fit", place(1, self.layers[1]))
  end
  local _ <close> = self:_rng()
  local network = core.Sequential {}
  for i, layer in ipairs(self.layers) do
    local ok, out = pcall(layer.build, layer, shape)
    if not ok then
      check.fail("%s: %s%s", place(i, layer), check.bare(out),
        i > 1 and (", from %s (%s)"):format(place(i - 1, self.layers[i - 1]):gsub(" %(.*", ""), check.shape(shape)) or
        (" (samples are %s)"):format(check.shape(shape)))
    end
    shape = out
    network:add(layer)
    if i == 1 then self.inshape = layer.inshape or declared(layer) or inshape end
  end
  network:build(self.inshape)
  self.network, self.outshape = network, shape
  if not self.loss then self.loss = usual_loss(network) end
  local class = self.loss.class
  local outputs = 1
  for _, d in ipairs(shape) do outputs = outputs * d end
  self.outputs = outputs
  self.task = class_losses[class] and #shape == 1 and "class" or binary_losses[class] and "binary" or class_losses[class] and "classes" or "value"
  if self.task == "class" and outputs == 1 then
    check.fail("%s: one output cannot tell classes apart with %s; want %s outputs, or sn.Sigmoid() with sn.BinaryCrossEntropy()",
      place(#self.layers, self.layers[#self.layers]), class, "2 or more")
  end
  local head = self.loss:head()
  self.head = head and network:has_head(head) and head or nil
  self.logit_output = self.head ~= nil or class:find("Logits") ~= nil
  if not self.metrics then
    self.metrics = self.task == "value" and { "loss" } or { "loss", "accuracy" }
  end
  for _, m in ipairs(self.metrics) do
    if self.task == "value" and m == "accuracy" then
      check.fail("Model: accuracy wants classes, the loss %s has none; metrics = {\"loss\", \"mae\", \"r2\"} would do", class)
    end
  end
  self:_bind()
  self.programs = {}
  self.compiled = true
  return self
end

-- Gives the optimizer the parameters, unless it has them already.
function Model:_bind()
  local opt, params = self.optimizer, self.network:parameters()
  local held = opt:parameters()
  if #held == 0 then
    if #params > 0 then opt:add(params) end
    return
  end
  local mine, shared, fresh = {}, false, {}
  for _, p in ipairs(params) do mine[p] = true end
  for _, p in ipairs(held) do
    shared = shared or mine[p] ~= nil
    mine[p] = nil
  end
  if not shared then check.fail("Model: its optimizer already moves the parameters of something else; give every model an optimizer of its own") end
  for _, p in ipairs(params) do
    if mine[p] then fresh[#fresh + 1] = p end
  end
  if #fresh > 0 then opt:add(fresh) end -- of layers that were added since
end

-- Autocast as this call says, else as the model does, else as it is outside; to be closed.
function Model:_cast(own)
  if own == nil then own = self.autocast end
  return own ~= nil and core.autocast(own) or nil
end

-- ---- inputs

local floats = { float32 = true, float64 = true }

-- What the input batch is converted to: the parameters' dtype, unless the first layer takes whole numbers.
function Model:_convert(X)
  local first = self.layers[1]
  if first.class == "Embedding" or (first.class == "Sequential" and first:children()[1] and first:children()[1].class == "Embedding") then return nil end
  local p = self.network:parameters()[1]
  local want = p and p.dtype or (floats[X.dtype] and X.dtype or "float32")
  return X.dtype ~= want and want or nil
end

-- What becomes of a batch on its way in: its number type, then bytes times the model's scale (images: 1/255). dtype: what _convert gave.
function Model:_ready(x, dtype)
  if not dtype or x.dtype == dtype then return x end
  local bytes = x.dtype == "uint8"
  x = x:to(dtype)
  return bytes and self.scale and x:mul(self.scale) or x
end

local function tail(shape)
  local s = {}
  for i = 2, #shape do s[i - 1] = shape[i] end
  return s
end

-- X as a tensor whose first dimension is the samples; true if it was one sample.
function Model:_input(where, X)
  X = check.tensor(where, "X", X)
  if not self.compiled then
    local first = declared(self.layers[1] or {})
    self:compile(first or (X:dim() > 1 and tail(X.shape)) or nil)
  end
  local want = self.inshape
  local single = X:dim() == #want and check.shape(X.shape) == check.shape(want)
  if single and not (#want == 0) then return X:unsqueeze(1), true end
  if X:dim() ~= #want + 1 or check.shape(tail(X.shape)) ~= check.shape(want) then
    local all = 1
    for _, d in ipairs(want) do all = all * d end
    local advice = ""
    if X:dim() > 0 and X:size(1) > 0 and X:numel() == X:size(1) * all then
      local s = {}
      for i, d in ipairs(want) do s[i] = tostring(d) end
      advice = ("; X:reshape(%d, %s) would fit"):format(X:size(1), table.concat(s, ", "))
    end
    check.fail("%s: X is %s, the model wants n x %s%s", where, check.shape(X.shape), check.shape(want), advice)
  end
  if X:size(1) == 0 then check.fail("%s: X is empty", where) end
  return X, false
end

-- Targets in the form the loss takes, checked whole before the first batch.
function Model:_target(where, y, n)
  y = check.tensor(where, "y", y)
  if y:dim() == 0 then check.fail("%s: y is one number; it wants one entry per sample", where) end
  if y:size(1) ~= n then check.fail("%s: X has %d samples, y has %d", where, n, y:size(1)) end
  if self.task == "class" then
    local args = self.loss:config().args or {}
    local hard = check.classes(where, y, self.outputs, args.ignore_index)
    if hard then return hard end
    return y:to("float32")
  end
  if self.task == "classes" then return floats[y.dtype] and y:to("int64") or y end
  local p = self.network:parameters()[1]
  local dtype = p and p.dtype or "float32"
  if self.task == "binary" then check.values(where, y, 0, 1) else check.values(where, y) end
  if y.dtype ~= dtype then y = y:to(dtype) end
  local want = { n }
  for i, d in ipairs(self.outshape) do want[i + 1] = d end
  if check.shape(y.shape) ~= check.shape(want) then
    if y:numel() ~= n * self.outputs then
      check.fail("%s: y is %s, the model gives %s", where, check.shape(y.shape), check.shape(want))
    end
    y = y:reshape(want)
  end
  return y
end

-- ---- forward

-- The loss of a batch, and the output it was computed from (before the last activation where the loss takes that).
function Model:_loss(x, y)
  local head = self.head
  if head then
    local out = self.network:forward_logits(x, head)
    return self.loss:from_logits(out, y), out
  end
  local out = self.network(x)
  return self.loss(out, y), out
end

-- How many of a batch's answers are right, as a tensor, for the metric "accuracy"; and out of how many.
function Model:_hits(out, y)
  if self.task == "class" then
    local truth = y:dim() == 2 and y:argmax(2) or y
    return out:argmax(2):eq(truth):sum()
  elseif self.task == "classes" then
    return out:argmax(2):eq(y):sum()
  end
  return out:gt(self.logit_output and 0 or 0.5):eq(y:gt(0.5)):sum()
end
function Model:_answers(y) return self.task == "class" and y:size(1) or y:numel() end

-- What the last activation makes of the output that _loss gave.
function Model:_activated(out)
  if not self.head then return out end
  return self.head == "Softmax" and out:softmax(-1) or out:sigmoid()
end

-- What is wanted of a batch beside the loss: is it the number of hits, is it the output itself?
function Model:_wants()
  local hits, out = false, false
  for _, m in ipairs(self.metrics) do
    if m == "accuracy" then hits = true elseif m ~= "loss" then out = true end
  end
  return hits, out
end

-- Values of all metrics for one batch, added into sums with the batch's weight. hits: what _hits gave.
function Model:_measure(sums, loss, hits, out, y)
  local n = y:size(1)
  local shown
  for _, m in ipairs(self.metrics) do
    local name, v = m, nil
    if m == "loss" then v = loss
    elseif m == "accuracy" then v = hits:item() / self:_answers(y)
    else
      local _ <close> = core.no_grad()
      shown = shown or self:_activated(out:detach())
      if type(m) == "table" then
        name, v = m.name, m.fn(shown, y)
        if core.is_tensor(v) then v = v:item() end
        if type(v) ~= "number" then check.fail("Model: metric '%s' gave %s; it wants to give a number", name, check.show(v)) end
      else
        v = metrics[m](shown, y)
      end
    end
    sums[name] = (sums[name] or 0.0) + v * n
  end
  sums.n = (sums.n or 0) + n
end

function Model:_names()
  local l = {}
  for i, m in ipairs(self.metrics) do l[i] = type(m) == "table" and m.name or m end
  return l
end

function Model:_means(sums)
  local t = {}
  for _, name in ipairs(self:_names()) do
    if sums[name] then t[name] = sums[name] / sums.n end
  end
  return t
end

-- fn as a compiled function, kept under its name as long as the network is the same; fn itself where it would not pay or is not wanted.
function Model:_program(name, fn, pays, dtype)
  if self.eager or not pays and not self.programs[name] then return fn end
  local kept = self.programs[name]
  if not kept or kept.dtype ~= dtype then
    kept = { run = core.compile(fn), dtype = dtype }
    self.programs[name] = kept
  end
  return kept.run
end

-- Metrics over checked data, without gradients and without dropout.
function Model:_evaluate(X, y)
  local _ <close> = core.no_grad()
  local net, sums = self.network, {}
  local was = net.training
  net:eval()
  local n, size, dtype = X:size(1), math.max(self.batch_size, 256), self:_convert(X)
  local want_hits, want_out = self:_wants()
  local judge = self:_program("judge", function(xb, yb)
    local loss, out = self:_loss(self:_ready(xb, dtype), yb)
    return loss, want_hits and self:_hits(out, yb) or nil, want_out and out or nil
  end, n > 3 * size, dtype)
  for from = 1, n, size do
    local k = math.min(size, n - from + 1)
    local xb, yb = X:narrow(1, from, k), y:narrow(1, from, k)
    local loss, hits, out = judge(xb, yb)
    self:_measure(sums, loss:item(), hits, out, yb)
  end
  if was then net:train() end
  return self:_means(sums)
end

-- Loss and metrics by name: model:evaluate(X, y).accuracy
function Model:evaluate(X, y)
  X = self:_input("evaluate", X)
  local _ <close> = self:_cast()
  return self:_evaluate(X, self:_target("evaluate", y, X:size(1)))
end

-- The network's output: a batch in, a batch out; one sample in, one out.
function Model:transform(X)
  local x, single = self:_input("transform", X)
  local _ <close> = core.no_grad()
  local net = self.network
  local was = net.training
  net:eval()
  local n, size, dtype, parts = x:size(1), math.max(self.batch_size, 256), self:_convert(x), {}
  self.transforms = (self.transforms or 0) + 1
  local cast <close> = self:_cast() -- luacheck: ignore cast
  local run = self:_program("transform", function(xb)
    local out = net(self:_ready(xb, dtype))
    return out.dtype == "bfloat16" and out:to("float32") or out
  end, n > 3 * size or self.transforms > 3, dtype)
  for from = 1, n, size do
    parts[#parts + 1] = run(x:narrow(1, from, math.min(size, n - from + 1)))
  end
  if was then net:train() end
  local out = #parts == 1 and parts[1] or core.cat(parts, 1)
  return single and out:select(1, 1) or out
end

-- Classes: numbers from 1, or 0 and 1 where the model has one output per question. Without classes, the values.
function Model:predict(X)
  local out = self:transform(X)
  if self.task == "value" then return out end
  local single = out:dim() == #self.outshape
  if self.task == "binary" then
    local raw = self.logit_output and not self.head
    local c = out:gt(raw and 0 or 0.5):to("int64")
    if self.outputs == 1 then
      if single then return c:reshape(1):item() end
      return c:reshape(c:size(1))
    end
    return c
  end
  if single then return out:argmax(1):item() end
  return out:argmax(2)
end

-- The output of a batch, tracked for backpropagation unless train is false.
function Model:feedforward(X, train)
  local x, single = self:_input("feedforward", X)
  if train == false then return self:transform(X) end
  x = self:_ready(x, self:_convert(x))
  local _ <close> = self:_rng()
  local cast <close> = self:_cast() -- luacheck: ignore cast
  self.network:train()
  local out = self.network(x)
  self.fed = out
  return single and out:select(1, 1) or out
end

-- From the gradient of the loss with respect to the last feedforward's output to the .grad of every parameter.
function Model:backpropagation(grad)
  local out = self.fed
  if not out then check.fail("backpropagation: nothing was fed forward; call model:feedforward(X, true) before") end
  grad = check.tensor("backpropagation", "the gradient", grad)
  if grad.dtype ~= out.dtype then grad = grad:to(out.dtype) end
  if grad:dim() == out:dim() - 1 and out:size(1) == 1 then grad = grad:unsqueeze(1) end
  if check.shape(grad.shape) ~= check.shape(out.shape) then
    check.fail("backpropagation: the gradient is %s, the output was %s", check.shape(grad.shape), check.shape(out.shape))
  end
  self.fed = nil
  out:backward(grad)
  local grads = {}
  for i, p in ipairs(self.network:parameters()) do grads[i] = p.grad or false end
  return grads
end

function Model:fit(X, y, options) return require("slugnet.fit")(self, X, y, options) end

-- Every trained tensor, in order.
function Model:parameters()
  if not self.compiled then self:compile() end
  return self.network:parameters()
end

-- Prints a table of the layers; summary(false) gives it as a string instead.
function Model:summary(show)
  if not self.compiled then self:compile() end
  local rows, shape = { { "", "input", check.shape(self.inshape), "" } }, nil
  for i, l in ipairs(self.layers) do
    shape = l.outshape or shape
    rows[#rows + 1] = { tostring(i), (l.name and l.name ~= l.class and l.name .. ": " or "") .. l:describe(), shape and check.shape(shape) or "", tostring((l:count())) }
  end
  local params, all = self.network:count()
  local text = progress.grid({ "#", "layer", "output", "parameters" }, rows) ..
    ("\n%d parameters%s, %s, %s with lr %g"):format(params, all and all > params and (" and %d numbers kept beside them"):format(all - params) or "",
      self.loss.class, self.optimizer.class, self.optimizer.lr)
  if show == false then return text end
  progress.print(text)
end

function Model:save(path) return require("slugnet.modelfile").save(self, path) end

setmetatable(Model, { __call = new })
Model.__name = "Model"
Model.__tostring = function(self)
  return ("Model of %d layer%s%s"):format(#self.layers, #self.layers == 1 and "" or "s",
    self.compiled and (", %s -> %s"):format(check.shape(self.inshape), check.shape(self.outshape)) or "")
end

local checkpoint = require "slugnet.checkpoint"
return {
  Model = Model, load = function(path) return require("slugnet.modelfile").load(path, Model) end,
  checkpoint = checkpoint, restore = checkpoint.restore,
}
