-- sides.lua - the systems that are compared, each a process that stays and answers "WORKLOAD SECONDS" by a JSON line: so they are measured by
-- turns, and pay for their start and their compilation once.
local sn = require "slugnet"
local core = require "slugnet.core"
local M = {}

M.labels = { slugnet = "slugnet", pytorch = "PyTorch", jax = "JAX", onnxruntime = "onnxruntime" }
M.order = { "slugnet", "pytorch", "jax", "onnxruntime" }

local function set(list)
  local s = {}
  for name in list:gmatch("%S+") do s[name] = true end
  return s
end
-- What the others take part in; PyTorch in all.
local takes = {
  jax = set "mlp_seed mlp_wide xor_tiny conv_mnist resnet20 char_lstm char_gpt infer_mlp_b1 op_matmul_512 op_softmax_1024 op_exp_1m op_add_16",
  onnxruntime = set "infer_mlp_b1 infer_resnet20_b1 infer_resnet50_b1 infer_gru_step",
}
function M.takes(side, workload) return not takes[side] or takes[side][workload] or false end

-- The switches that keep a system to AVX2 where the processor has more. onnxruntime has none, and JAX's (--xla_cpu_max_isa) leaves its matrix
-- products as they are.
local hide = { slugnet = "SLUGNET_ISA=avx2", pytorch = "ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2" }

function M.lines_of(command)
  local p = assert(io.popen(command .. " 2>/dev/null"))
  local out = {}
  for line in p:lines() do out[#out + 1] = line end
  return out, p:close()
end

local function hidden(isa) return isa == "avx2" and isa ~= sn.info().isa end

-- Which of the rivals are installed for this Python, as a set of our names; the missing ones, or those of the list `wanted`, are named once.
function M.present(python, isa, wanted)
  local have = { slugnet = true }
  local probe = [[import importlib.util as u; print(*[n for n, m in (("pytorch", "torch"), ("jax", "jax"), ("onnxruntime", "onnxruntime")) if u.find_spec(m)])]]
  local line = M.lines_of(("test -x '%s' && '%s' -c '%s'"):format(python, python, probe))[1] or ""
  for name in line:gmatch("%S+") do have[name] = not hidden(isa) or hide[name] ~= nil end
  local missing = {}
  for _, name in ipairs(wanted or M.order) do if not have[name] then missing[#missing + 1] = M.labels[name] end end
  if #missing > 0 then
    io.stderr:write(("left out: %s; make bench-setup installs what is missing into build/venv%s\n"):format(table.concat(missing, ", "),
      hidden(isa) and not wanted and " (JAX and onnxruntime cannot be kept to AVX2)" or ""))
  end
  return have
end

-- The first n processors that this process may use, as taskset wants them.
local function processors(n)
  local list = {}
  for line in io.lines("/proc/self/status") do
    for range in (line:match("^Cpus_allowed_list:%s*(.*)$") or ""):gmatch("[^,%s]+") do
      local a, b = range:match("^(%d+)-?(%d*)$")
      for cpu = tonumber(a), tonumber(b) or tonumber(a) do list[#list + 1] = #list < n and tostring(cpu) or nil end
    end
  end
  return table.concat(list, ",")
end

-- What keeps a command to n processors, where the system has it: JAX cannot be told how many threads to use.
function M.pin(n) return #M.lines_of("command -v taskset") > 0 and "taskset -c " .. processors(n) or "" end

-- The command of a side. opt: program, python, threads, isa, mode; words: another command than that of the workloads.
local function command(side, opt)
  local env = hidden(opt.isa) and hide[side] or ""
  local words = {
    slugnet = ("%s bench --serve --seconds 0.4"):format(opt.program), pytorch = opt.python .. " bench/pytorch.py --serve",
    jax = opt.python .. " bench/jax_side.py --serve", onnxruntime = opt.python .. " bench/onnxruntime_side.py --serve",
  }
  local pin = side == "jax" and M.pin(opt.threads) or ""
  return ("exec env %s %s %s --threads %d%s"):format(env, pin, opt.words or words[side], opt.threads, opt.mode and " --mode " .. opt.mode or "")
end

-- The networks of onnxruntime, written by PyTorch once.
local function networks(python)
  for name in pairs(takes.onnxruntime) do
    local f = io.open("build/bench-nets/" .. name .. ".onnx")
    if not f then return os.execute(python .. " bench/pytorch.py --export build/bench-nets >/dev/null 2>&1") end
    f:close()
  end
  return true
end

local Side = {}
Side.__index = Side

function M.open(side, opt)
  if side == "onnxruntime" and not networks(opt.python) then return nil, "the networks could not be exported" end
  return setmetatable({ side = side, key = opt.mode and side .. " " .. opt.mode or side, opt = opt }, Side)
end

local function start(self)
  local pipe = os.tmpname()
  os.remove(pipe)
  assert(os.execute("mkfifo " .. pipe))
  self.answers = assert(io.popen(("exec <%s 2>/dev/null; rm -f %s; %s"):format(pipe, pipe, command(self.side, self.opt))))
  self.asks = assert(io.open(pipe, "r+")) -- a reader as well: asking one that has died is no signal for us
end

-- The record of a workload, {median_us=, system=, ...}, or {error=}; opt.line makes another question of it. A process that died is started again when it is next asked.
function Side:measure(workload, seconds)
  if not self.answers then start(self) end
  self.asks:write(self.opt.line and self.opt.line(workload, seconds) or ("%s %.3f\n"):format(workload, seconds))
  self.asks:flush()
  local line = self.answers:read("l")
  while line and line:sub(1, 1) ~= "{" do line = self.answers:read("l") end
  if not line then
    self:close()
    return { error = "the process ended" }
  end
  local ok, r = pcall(core.json_decode, line)
  return ok and r or { error = "no figure: " .. line:sub(1, 100) }
end

function Side:close()
  if not self.answers then return end
  self.asks:write("quit\n")
  self.asks:close()
  self.answers:close()
  self.asks, self.answers = nil, nil
end

-- Threads of the system that had its turn go to sleep before the next one's: onnxruntime's spin for 30 ms.
local function pause()
  local stop = sn.clock() + 0.05
  while sn.clock() < stop do end
end

-- Of a list, which it sorts; nil of an empty one.
function M.median(v)
  table.sort(v)
  return v[(#v + 1) // 2]
end

-- A workload by turns, whoever begins another one in each round: {workload=, threads=, us = {side = median of the rounds}, error = {side = why}}.
-- each(record, side), if given, sees every record.
function M.turns(open, workload, rounds, seconds, each)
  local times, row = {}, { workload = workload, threads = open[1].opt.threads, us = {} }
  for k = 1, rounds do
    for i = 1, #open do
      local s = open[(i + k - 2) % #open + 1]
      if M.takes(s.side, workload) and not (row.error and row.error[s.key]) then
        if #open > 1 then pause() end
        local r = s:measure(workload, seconds)
        if r.error then
          row.error = row.error or {}
          row.error[s.key] = r.error
        else
          times[s.key] = times[s.key] or {}
          table.insert(times[s.key], r.median_us)
          if each then each(r, s.side, row) end
        end
      end
    end
  end
  for side, t in pairs(times) do row.us[side] = M.median(t) end
  return row
end

function M.close(open)
  for _, s in ipairs(open) do s:close() end
end

return M
