-- jobs.lua - whole jobs, each a process from start to exit on one thread: its time, the time of its epoch, the most memory it held.
--   slugnet bench/jobs.lua [--rounds 3] [--data DIR] [--python PATH] [--out FILE] [--docs] [JOB...]     jobs: import first mlp conv
-- The systems take turns, and what counts is the best of the rounds (of conv, which is long, there is one). Adds to the file of results.
local sn = require "slugnet"
local core = require "slugnet.core"
local sides = dofile "bench/sides.lua"
local results = dofile "bench/results.lua"

local opt, names = results.arguments(arg, { rounds = "3", python = "build/venv/bin/python", data = "/usr/share/datasets/fashion-mnist" })
local wanted = {}
for _, name in ipairs(names) do wanted[name] = true end
opt.out = opt.out or (#names > 0 and "build/bench-some") or nil

-- Our process says at its very end what the most was.
local peak = [[_PEAK = setmetatable({}, {__gc = function() for l in io.lines("/proc/self/status") do
  local kb = l:match("^VmHWM:%s*(%d+)") if kb then print(("{\"peak_mb\": %.3f}"):format(kb / 1000)) end end end})]]
local function ours(rest) return ("SLUGNET_THREADS=1 exec %s -e '%s' %s"):format(opt.program, peak, rest) end
local function torch(job) return ("exec %s bench/pytorch_job.py %s --data '%s'"):format(opt.python, job, opt.data) end
local function jax(job)
  return ("exec %s %s bench/jax_job.py %s --data '%s'"):format(sides.pin(1), opt.python, job, opt.data)
end

local jobs = {
  { "import", what = "the program or library alone", slugnet = ours "-e 'require \"slugnet\"'", pytorch = torch "import" },
  { "first", what = "to the end of the first step (mlp_seed)", slugnet = ours "bench/job_first.lua", pytorch = torch "first" },
  { "mlp", what = "an epoch of Fashion-MNIST, mlp_seed", data = true, slugnet = ours("bench/job_mlp.lua '" .. opt.data .. "'"), pytorch = torch "mlp", jax = jax "mlp" },
  { "conv", what = "an epoch of Fashion-MNIST, conv_mnist", data = true, once = true, slugnet = ours("bench/job_conv.lua '" .. opt.data .. "'"), pytorch = torch "conv",
    jax = jax "conv" },
}

local function run(command)
  local t0 = sn.clock()
  local lines, good = sides.lines_of(command)
  local r = { wall_s = sn.clock() - t0 }
  for _, line in ipairs(lines) do
    local ok, t = pcall(core.json_decode, line)
    if ok and type(t) == "table" then for k, v in pairs(t) do r[k] = v end end
  end
  return good and r.peak_mb and r or nil
end

local have = sides.present(opt.python)
local data = io.open(opt.data .. "/train-images-idx3-ubyte.gz") ~= nil
if not data then io.stderr:write("no Fashion-MNIST in ", opt.data, ": its jobs are left out\n") end
local rows = {}
for _, job in ipairs(jobs) do
  if (#names == 0 or wanted[job[1]]) and (data or not job.data) then
    local best = {}
    for _ = 1, job.once and 1 or tonumber(opt.rounds) do
      for _, side in ipairs(sides.order) do
        local r = job[side] and have[side] and run(job[side])
        if r and (not best[side] or r.wall_s < best[side].wall_s) then best[side] = r end
      end
    end
    for _, side in ipairs(sides.order) do
      local r = best[side]
      if r then
        rows[#rows + 1] = { job = job.what, name = job[1], system = side, wall_s = r.wall_s, epoch_s = r.epoch_s, peak_mb = r.peak_mb }
        print(("%-42s %-12s %8.3f s%s %7.0f MB"):format(job.what, sides.labels[side], r.wall_s, r.epoch_s and (" (epoch %6.3f s)"):format(r.epoch_s) or "", r.peak_mb))
      elseif job[side] and have[side] then io.stderr:write(job[1], ": ", sides.labels[side], " failed\n") end
    end
  end
end
results.update(opt, "jobs", { rounds = tonumber(opt.rounds), rows = rows })
print("written to " .. results.base(opt) .. ".md")
