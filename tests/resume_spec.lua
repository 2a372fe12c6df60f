-- resume_spec.lua - a training process that is killed with kill -9 at random moments, and started again, ends with the bits of the one that was
-- left alone; on another number of threads each time.
local sn = require "slugnet"
local build = rawget(_G, "slugnet_build") or "build"
local program = build .. "/bin/slugnet"

local function capture(command)
  local p = assert(io.popen(command))
  local s = p:read("a")
  p:close()
  return s
end

local dir = capture("mktemp -d"):gsub("%s+$", "")
local script = dir .. "/train.lua"
do
  local f = assert(io.open(script, "w"))
  f:write [[
    local sn = require "slugnet"
    local last = tonumber(arg[3]) -- so many batches on it is killed, or shortly after: what a machine does meanwhile changes nothing
    local X, y = sn.data.digits {}
    local model = sn.Model {
      lr = 0.01, n_epoch = 4, batch_size = 64, seed = 3, validation_split = 0.1, metrics = { "loss", "accuracy" }, progress = false,
      optimizer = sn.Adam { decay = 0.001 },
      layers = {
        sn.Conv2d { 4, 3, padding = 1, inshape = { 1, 8, 8 } }, sn.BatchNorm2d {}, sn.ReLU(), sn.MaxPool2d { 2 }, sn.Flatten(),
        sn.Dropout(0.3), sn.Dense { 32, activation = sn.Tanh() }, sn.Dense { 10, activation = sn.Softmax() },
      },
    }
    local history = model:fit(X, y, {
      checkpoint = arg[1], checkpoint_every = 1, resume = true, prefetch = sn.threads() % 2 == 0, schedule = sn.schedule.cosine { total = 104, by = "batch" },
      callbacks = { { name = "slow", on_batch_end = function()
        if last then
          last = last - 1
          if last == 0 then os.execute(("(sleep %s; kill -9 %s) >/dev/null 2>&1 &"):format(arg[4], arg[2])) end
          local t = sn.clock() + 0.005
          while sn.clock() < t do end
        end
      end } },
    })
    local h = 0xcbf29ce484222325
    local function add(s) for i = 1, #s do h = (h ~ s:byte(i)) * 0x100000001b3 end end
    for _, p in ipairs(model:parameters()) do add(p:bytes()) end
    for _, name in ipairs { "loss", "accuracy" } do
      for e = 1, 4 do add(("%a %a;"):format(history.train[name][e], history.val[name][e])) end
    end
    print(("hash %016x after %d epochs"):format(h, history.epochs))
  ]]
  f:close()
end

-- Runs the script; `batches` after its beginning and up to 30 ms it is killed. The hash if it came to its end, and whether it was killed.
local function run(folder, threads, batches)
  local p = assert(io.popen(("SLUGNET_THREADS=%d exec sh -c 'exec %s %s %s/%s $$ %s' 2>&1"):format(threads, program, script, dir, folder,
    batches and ("%d %.3f"):format(batches, 0.03 * math.random()) or "")))
  local out = p:read("a")
  local _, what, code = p:close()
  return out:match("hash (%x+) after 4 epochs"), what == "signal" and code == 9 or code == 137, out
end

describe("a training process killed with kill -9", function()
  it("five times at random moments and resumed ends with the same bits", function()
    local want, _, out = run("whole", 1)
    assert.is_truthy(want, out)
    math.randomseed(os.time())
    local killed, threads = 0, { 2, 4, 1, 3, 2 }
    for k = 1, 5 do
      local hash, dead, text = run("cut", threads[k], math.random(3, 18)) -- of 104
      if dead then killed = killed + 1 else assert.equal(want, hash, text) end
    end
    -- what a process leaves that was killed while it wrote; no process has this number
    assert(sn.io.write(dir .. "/cut/.slugnet-999999999-1.tmp", "half"))
    local hash, _, text = run("cut", 4)
    assert.equal(want, hash, text)
    assert.is_true(killed >= 3, "only " .. killed .. " of 5 were killed")
  end)

  it("leaves a folder with its checkpoint and nothing half written", function()
    local list = capture("ls -A " .. dir .. "/cut")
    assert.equal("checkpoint.safetensors\n", list)
  end)
end)

teardown(function() os.execute("rm -rf " .. dir) end)
