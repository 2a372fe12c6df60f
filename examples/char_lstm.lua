-- char_lstm.lua - teaches: a network that writes text. An LSTM reads a text character by character and learns to say the next one; what it has
-- learned is heard by letting it write, one step at a time, its states carried from step to step.
-- Run: slugnet examples/char_lstm.lua [FILE] [STEPS]     (without a file it reads itself and the other examples)
local sn = require "slugnet"
local quick = os.getenv("SLUGNET_QUICK") == "1"

-- ---- the text as numbers: every character that occurs has its token, counted from 1
local function read(path)
  local f = assert(io.open(path, "rb"))
  local s = f:read("a")
  f:close()
  return s
end
local text = arg and arg[1] and read(arg[1])
if not text then
  local here, parts = arg and arg[0] and arg[0]:match("^(.*/)") or "examples/", {}
  for _, name in ipairs { "char_lstm", "xor", "autograd", "mnist", "convnet", "custom_layer" } do parts[#parts + 1] = read(here .. name .. ".lua") end
  text = table.concat(parts)
end
local steps = quick and 2 or tonumber(arg and arg[2]) or 600
local chars, token = {}, {}
for c in text:gmatch(".") do token[c] = true end
for c in pairs(token) do chars[#chars + 1] = c end
table.sort(chars)
for i, c in ipairs(chars) do token[c] = i end
local numbers = {}
for i = 1, #text do numbers[i] = token[text:sub(i, i)] end
local tokens = sn.tensor(numbers, { dtype = "int64" })

-- ---- the network: a vector for each character, two layers of LSTM, a score for each character that may follow
sn.manual_seed(1)
local hidden, length, batch = quick and 16 or 128, 50, quick and 4 or 32
local embed, lstm, head = sn.Embedding { #chars, hidden }, sn.LSTM { hidden, num_layers = 2 }, sn.Dense { #chars }
local net = sn.Sequential(embed, lstm, head)
net:build { length }
local params = net:parameters()
local optimizer = sn.Adam(params, { lr = 0.003, clip_norm = 1 })

-- ---- training: pieces of text from random places; the target is the same piece one character later. The step is recorded once and replayed.
local step = sn.compile(function(x, y)
  optimizer:zero_grad()
  local loss = sn.cross_entropy(net(x):flatten(1, 2), y:flatten())
  loss:backward()
  optimizer:step()
  return loss:detach()
end)
local offsets = sn.arange(0, length):unsqueeze(1)
local function piece(starts) return tokens[starts + offsets] end

-- ---- writing: the states go in and come out, so each character costs one step
local function write(start, n, temperature)
  local _ <close> = sn.no_grad()
  local out, h, c, y = { start }, nil, nil, nil
  for k = 1, #start + n do
    local last = k <= #start and start:sub(k, k) or chars[sn.multinomial((head(y) / temperature):softmax(2):squeeze(1), 1):item()]
    if k > #start then out[#out + 1] = last end
    y, h, c = lstm:step(embed(sn.tensor({ token[last] }, { dtype = "int64" })), h, c)
  end
  return table.concat(out)
end

local average
for k = 1, steps do
  local starts = sn.randint(1, #text - length, { batch, 1 })
  local loss = step(piece(starts), piece(starts + 1)):item()
  average = average and 0.98 * average + 0.02 * loss or loss
  if k % 100 == 0 or k == steps then print(("step %5d   loss %.3f bits per character"):format(k, average / math.log(2))) end
end
print(write("local ", quick and 20 or 400, 0.7))
