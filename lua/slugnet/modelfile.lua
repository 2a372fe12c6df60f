-- modelfile.lua - a model in one file: safetensors with the weights, its config as JSON in the metadata.
local core = require "slugnet.core"
local check = require "slugnet.check"
check.own()

local M = {}

local SAVED = { "n_epoch", "batch_size", "validation_split", "log_interval", "seed", "epochs_done", "autocast", "scale" }

-- Weights and config in one file: true, or nil, message.
function M.save(self, path)
  if type(path) ~= "string" then check.fail("save: path is %s; it wants to be a string", check.show(path)) end
  if not self.compiled then self:compile() end
  local config = { format = "slugnet model", version = 1, layers = {}, inshape = self.inshape, lr = ("%a"):format(self.optimizer.lr), options = {}, metrics = {} }
  local ok, msg = pcall(function()
    for i, l in ipairs(self.layers) do config.layers[i] = l:config() end
    config.loss, config.optimizer = self.loss:config(), self.optimizer:config()
  end)
  if not ok then return nil, "save: " .. check.bare(msg) end
  for _, k in ipairs(SAVED) do config.options[k] = self[k] end
  for _, m in ipairs(self.metrics) do
    if type(m) == "string" then config.metrics[#config.metrics + 1] = m end
  end
  return core.write_safetensors(path, self.network:state(), { slugnet = core.json_encode(config) })
end

-- A Model if the file has a config, else a table of tensors and the file's metadata; nil, message when it cannot be read.
function M.load(path, Model)
  if type(path) ~= "string" then check.fail("load: path is %s; it wants to be a string", check.show(path)) end
  local tensors, meta = core.read_safetensors(path)
  if not tensors then return nil, meta end
  if not (meta and meta.slugnet) then
    if meta and meta.format == "slugnet checkpoint" then
      return nil, ("%s: this is a checkpoint of a training run; give it to fit (checkpoint = …, resume = true) or to sn.restore"):format(path)
    end
    return tensors, meta
  end
  local config, why = core.json_decode(meta.slugnet)
  if type(config) ~= "table" then return nil, ("%s: its config cannot be read: %s"):format(path, tostring(why)) end
  if config.format ~= "slugnet model" or config.version ~= 1 or type(config.layers) ~= "table" then
    return nil, ("%s: its config is none of a model this slugnet can read"):format(path)
  end
  local ok, model = pcall(function()
    local layers = {}
    for i, c in ipairs(config.layers) do layers[i] = core.from_config(c) end
    local o = config.options or {}
    local m = Model({ layers = layers, loss = core.from_config(config.loss), optimizer = core.from_config(config.optimizer), n_epoch = o.n_epoch,
      batch_size = o.batch_size, validation_split = o.validation_split, log_interval = o.log_interval, seed = o.seed, autocast = o.autocast, scale = o.scale,
      metrics = config.metrics and #config.metrics > 0 and config.metrics or nil })
    m.epochs_done = o.epochs_done or 0
    m:compile(config.inshape)
    m.network:load_state(tensors)
    local lr = tonumber(config.lr)
    if lr then m.lr, m.optimizer.lr = lr, lr end
    return m
  end)
  if not ok then return nil, ("%s: %s"):format(path, check.bare(model)) end
  model.network:eval()
  return model
end

return M
