-- results.lua - the file of results: one JSON file a day, processor and instruction set with a section from each part of the benchmark
-- (workloads, half, jobs, growth, shares), beside it the same as Markdown, which --docs puts into docs/performance.md and README.md.
local sn = require "slugnet"
local core = require "slugnet.core"
local reaches = dofile "bench/reaches.lua"
local M = {}

local labels = { slugnet = "slugnet", pytorch = "PyTorch", jax = "JAX", onnxruntime = "onnxruntime" }

-- Options (given what may be said and its default) and the other words of a command line.
function M.arguments(args, opt)
  local words, i = {}, 1
  opt.out, opt.docs = nil, false
  while args[i] do
    local key = args[i]:match("^%-%-(%a+)$")
    if key == "docs" then opt.docs = true
    elseif key and (opt[key] or key == "out") then
      opt[key] = args[i + 1] or error(args[i] .. " wants a value", 0)
      i = i + 1
    elseif key then error("unknown option " .. args[i], 0)
    else words[#words + 1] = args[i] end
    i = i + 1
  end
  opt.program = args[-1] or "build/bin/slugnet"
  return opt, words
end

-- Where the results go, without its extension: what was hidden of a processor is part of the name.
function M.base(opt, info)
  info = info or sn.info()
  local isa = opt.isa and opt.isa ~= info.isa and opt.isa .. "-of-" .. info.isa or info.isa
  local cpu = info.cpu:gsub("%(%w+%)", ""):gsub("Processor", ""):match("^%s*(.-)%s*$"):lower():gsub("%W+", "-"):gsub("%-$", "")
  return opt.out or ("bench/results/%s-%s-%s"):format(os.date("%Y-%m-%d"), cpu, isa)
end

local function text_of(path)
  local f = io.open(path)
  if not f then return nil end
  local s = f:read("a")
  f:close()
  return s
end

-- ---- tables
local function number(v) return v and (v < 10 and "%.2f" or "%.1f"):format(v) or "-" end
local function times(theirs, ours) return theirs and ours and ("%.2f"):format(theirs / ours) or "-" end
local function percent(part, whole) return part and whole and ("%.0f %%"):format(100 * part / whole) or "-" end

local function table_of(head, rows)
  local rule = {}
  for i = 1, #head do rule[i] = i == 1 and "---" or "---:" end
  local out = { "| " .. table.concat(head, " | ") .. " |", "|" .. table.concat(rule, "|") .. "|" }
  for _, r in ipairs(rows) do out[#out + 1] = "| " .. table.concat(r, " | ") .. " |" end
  return table.concat(out, "\n") .. "\n"
end

-- A measured row as a line for the terminal.
function M.line_of(row)
  local parts = { ("%-24s %d thread%s"):format(row.workload, row.threads, row.threads == 1 and " " or "s") }
  for _, side in ipairs { "slugnet", "pytorch", "jax", "onnxruntime" } do
    local why = row.error and row.error[side]
    if row.us[side] or why then parts[#parts + 1] = ("%s %s us"):format(labels[side], why or ("%.1f"):format(row.us[side])) end
  end
  local _, least = reaches.fastest(row)
  for _, side in ipairs { "slugnet bfloat16", "pytorch bfloat16" } do
    if row.us[side] then parts[#parts + 1] = ("%s %.1f us"):format(side, row.us[side]) end
  end
  if least and row.us.slugnet then parts[#parts + 1] = ("%.2f times as fast"):format(least / row.us.slugnet) end
  return table.concat(parts, "  ")
end

-- Rows by number of threads, in order: counts, and count -> list; and workload -> count -> row.
local function by_threads(section)
  local counts, lists, by = {}, {}, {}
  for _, row in ipairs(section.rows) do
    if not lists[row.threads] then
      lists[row.threads] = {}
      counts[#counts + 1] = row.threads
    end
    table.insert(lists[row.threads], row)
    by[row.workload] = by[row.workload] or {}
    by[row.workload][row.threads] = row
  end
  return counts, lists, by
end

local function other_of(row)
  for _, side in ipairs { "jax", "onnxruntime" } do
    local us = row.us[side]
    if us and not (row.us.onnxruntime and row.us.jax and us > math.min(row.us.jax, row.us.onnxruntime)) then return ("%s %s"):format(labels[side], number(us)) end
  end
  return ""
end

-- What of the whole was reached, in words.
local function judge(section)
  local counts, lists, by = by_threads(section)
  local t = { rows = 0, faster = 0, slow = {}, reaches = 0, met = 0, missed = {}, gains = 0, gained = 0, lost = {} }
  for _, count in ipairs(counts) do
    for _, row in ipairs(lists[count]) do
      local _, least = reaches.fastest(row)
      if least and row.us.slugnet then
        t.rows = t.rows + 1
        if row.us.slugnet <= least then t.faster = t.faster + 1 else t.slow[#t.slow + 1] = ("%s (%s, %d)"):format(row.workload, times(least, row.us.slugnet), count) end
      end
      if count == 1 then
        local good = reaches.reached(row, section.peaks["1"])
        if good ~= nil then t.reaches = t.reaches + 1 end
        if good then t.met = t.met + 1 elseif good == false then t.missed[#t.missed + 1] = row.workload end
      end
    end
  end
  for workload, of in pairs(by) do
    if of[1] and of[2] then
      local good, gain = reaches.gain(of[1], of[2])
      if good ~= nil then t.gains = t.gains + 1 end
      if good then t.gained = t.gained + 1 elseif good == false then t.lost[#t.lost + 1] = ("%s (%.2f)"):format(workload, gain) end
    end
  end
  table.sort(t.lost)
  return t
end

function M.summary(all)
  if not all.workloads then return "" end
  local t = judge(all.workloads)
  local function names(list) return #list > 0 and ": " .. table.concat(list, ", ") or "" end
  local out = {}
  if t.rows > 0 then out[#out + 1] = ("- At least as fast as the fastest rival: %d of %d rows%s.\n"):format(t.faster, t.rows, #t.slow > 0 and "; slower (ratio, threads)" .. names(t.slow) or "") end
  if t.reaches > 0 then out[#out + 1] = ("- Reaches met: %d of %d%s.\n"):format(t.met, t.reaches, #t.missed > 0 and "; not met" .. names(t.missed) or "") end
  if t.gains > 0 then out[#out + 1] = ("- Two threads gain what they should: %d of %d%s.\n"):format(t.gained, t.gains, #t.lost > 0 and "; not" .. names(t.lost) or "") end
  return table.concat(out)
end

-- Workloads that are slower than a rival or below their reach on one thread, in the order they were measured.
function M.missed(all)
  local list = {}
  for _, row in ipairs(all.workloads and all.workloads.rows or {}) do
    local _, least = reaches.fastest(row)
    if row.threads == 1 and row.us.slugnet then
      local slow = least and row.us.slugnet > least
      if slow or reaches.reached(row, all.workloads.peaks["1"]) == false then list[#list + 1] = row.workload end
    end
  end
  return list
end

local function workloads_text(all)
  local section = all.workloads
  local counts, lists, by = by_threads(section)
  local systems = {}
  for _, side in ipairs { "slugnet", "pytorch", "jax", "onnxruntime" } do systems[#systems + 1] = section.versions[side] end
  local out = {
    ("%s, %s kernels, %d cores; commit %s; %s; medians of %d rounds by turns, in microseconds."):format(all.cpu, all.isa, all.cores, section.commit,
      table.concat(systems, ", "), section.rounds),
    "Ratios are the other's time over ours: above 1 slugnet is faster. \"Of limit\" is the least time that the machine's measured peaks allow for the step's "
      .. "products and traffic over the time it took; above 100 % the data stay in nearer caches than the 4 MB the peaks are measured on.\n", M.summary(all),
  }
  for _, count in ipairs(counts) do
    local p = section.peaks[tostring(count)]
    out[#out + 1] = ("**%d thread%s**%s\n"):format(count, count == 1 and "" or "s", p and
      (": at most %.0f GFLOP/s of multiply-adds (float64 %.0f), %.1f GB/s reading, %.1f GB/s copying"):format(p.fma, p.fma64, p.read, p.copy) or "")
    local head = { "workload", "slugnet", "PyTorch", "JAX or ORT", "to PyTorch", "to the fastest", "of FMA", "of limit", count == 1 and "reach" or "gain over 1 (PyTorch's)" }
    local rows = {}
    for _, row in ipairs(lists[count]) do
      local us, last = row.us, ""
      local _, least = reaches.fastest(row)
      if count == 1 then
        local good, what = reaches.reached(row, p)
        last = what and what .. (good and ": met" or good == false and ": **not met**" or "") or ""
      elseif by[row.workload][1] then
        local good, gain, theirs = reaches.gain(by[row.workload][1], row)
        if gain then last = ("%s%.2f%s%s"):format(good and "" or "**", gain, good and "" or "**", theirs and (" (%.2f)"):format(theirs) or "") end
      end
      local peak = row.fma or p and (row.workload:find("f64", 1, true) and p.fma64 or p.fma)
      local ratio = times(least, us.slugnet)
      if least and us.slugnet and us.slugnet > least then ratio = "**" .. ratio .. "**" end
      rows[#rows + 1] = { row.workload, number(us.slugnet), number(us.pytorch), (other_of(row):gsub("onnxruntime", "ORT")), times(us.pytorch, us.slugnet), ratio,
        row.flops and row.flops > 0 and us.slugnet and percent(row.flops / us.slugnet * 1e-3, peak) or "", percent(row.least_us, us.slugnet), last }
    end
    out[#out + 1] = table_of(head, rows)
  end
  return table.concat(out, "\n")
end

local function half_text(section)
  local rows = {}
  for _, r in ipairs(section.rows) do
    local u = r.us
    local ours = u["slugnet bfloat16"]
    local best = math.min(u.slugnet or math.huge, u.pytorch or math.huge, u["pytorch bfloat16"] or math.huge)
    rows[#rows + 1] = { r.workload, tostring(r.threads), number(u.slugnet), number(ours), number(u.pytorch), number(u["pytorch bfloat16"]), times(best < math.huge and best, ours) }
  end
  return ("Mixed precision: steps in float32 and with autocast to bfloat16, in microseconds; the ratio is the best of the other three over ours with autocast (commit %s).\n\n"):format(section.commit)
    .. table_of({ "workload", "threads", "slugnet", "with autocast", "PyTorch", "with autocast", "ratio" }, rows)
end

local function jobs_text(section)
  local rows = {}
  for _, r in ipairs(section.rows) do
    rows[#rows + 1] = { r.job, labels[r.system] or r.system, r.epoch_s and ("%.2f"):format(r.epoch_s) or "", ("%.3g"):format(r.wall_s), ("%.0f"):format(r.peak_mb) }
  end
  return ("Whole jobs on one thread, each a process from start to exit (commit %s; the best of %d):\n\n"):format(section.commit, section.rounds)
    .. table_of({ "job", "system", "epoch, s", "process, s", "peak memory, MB" }, rows)
end

local function limit(s) return s.computes and "multiply-add" or "memory" end

local function shares_text(section)
  local rows, missed = {}, {}
  for _, m in ipairs(section.missed or {}) do
    local parts = {}
    for i = 1, math.min(6, #m.steps) do
      local s = m.steps[i]
      if s.share < 0.03 then break end
      parts[i] = ("`%s` %s (%s of %s)"):format(s.op, percent(s.share, 1), percent(s.least_us, s.us), limit(s))
    end
    missed[#missed + 1] = ("- %s: %s"):format(m.workload, table.concat(parts, ", "))
  end
  for _, s in ipairs(section.rows) do
    rows[#rows + 1] = { "`" .. s.op .. "`", s.workload, number(s.us), percent(s.share, 1), limit(s), percent(s.least_us, s.us) }
  end
  return ("The operations that programs spend their time in, where each takes most of a step, on one thread (commit %s):\n\n"):format(section.commit)
    .. table_of({ "operation", "in", "µs a step", "of the step", "its limit", "reached" }, rows)
    .. (#missed > 0 and "\nNetworks that are below what they are to reach on one thread, and where their time goes (share of the limit in brackets):\n\n"
      .. table.concat(missed, "\n") .. "\n" or "")
end

-- Where the plot of growth lies is said for the documentation, which has the one that --docs drew; a file of results has the figures beside it.
function M.markdown(all, plot)
  local out = {}
  if all.workloads then out[#out + 1] = workloads_text(all) end
  if all.half then out[#out + 1] = half_text(all.half) end
  if all.jobs then out[#out + 1] = jobs_text(all.jobs) end
  if all.growth then
    out[#out + 1] = ("How the time of a step grows, beside PyTorch's (%s; commit %s)%s\n"):format(all.growth.what, all.growth.commit,
      plot and ":\n\n![growth](" .. plot .. ")" or ", is in the JSON file beside this one.")
  end
  return table.concat(out, "\n")
end

-- The rows of networks, for README.
local about = {
  mlp_seed = "784-200-10, batch 32, RMSProp", mlp_wide = "784-1024-1024-10, batch 128, Adam", xor_tiny = "2-3-1, batch 4, SGD",
  conv_seed = "two small convolutions, batch 3, SGD", conv_mnist = "32 and 64 channels on 28x28, dropout, batch 128, Adam",
  resnet20 = "ResNet-20 on 32x32, batch 64, momentum", char_lstm = "LSTM 2x128, 50 steps, batch 50, RMSProp", char_gpt = "GPT, 4 layers, 128 wide, 64 long, batch 12, AdamW",
  infer_mlp_b1 = "forward: 784-200-10, one example", infer_resnet20_b1 = "forward: ResNet-20, one image", infer_gru_step = "forward: a step of a GRU of 64",
  infer_resnet50_b1 = "forward: ResNet-50 on 224x224, one image",
}
function M.short(all)
  local _, lists, by = by_threads(all.workloads)
  local rows = {}
  for _, row in ipairs(lists[1] or {}) do
    local two = by[row.workload][2]
    if not row.workload:find("^op_") and row.us.slugnet and row.us.pytorch then
      rows[#rows + 1] = { about[row.workload] or row.workload, number(row.us.slugnet), number(row.us.pytorch), times(row.us.pytorch, row.us.slugnet),
        two and times(two.us.pytorch, two.us.slugnet) or "-" }
    end
  end
  return table_of({ "one step", "slugnet, µs", "PyTorch, µs", "times as fast", "on two threads" }, rows)
end

-- ---- the file
local function put(path, mark, text)
  local doc = assert(text_of(path))
  local from = doc:find(("<!-- %s -->\n"):format(mark), 1, true)
  local to = doc:find(("<!-- end of %s -->"):format(mark), 1, true)
  assert(from and to, path .. " has no place for " .. mark)
  assert(core.write_file(path, doc:sub(1, from + #mark + 9) .. text .. doc:sub(to)))
end

-- What the file of results holds so far.
function M.read(opt)
  local ok, all = pcall(core.json_decode, text_of(M.base(opt) .. ".json") or "")
  return ok and type(all) == "table" and all or {}
end

-- Puts a section into the file of results, writes its Markdown, and with --docs the documentation's.
function M.update(opt, key, section)
  local base, info, all = M.base(opt), sn.info(), M.read(opt)
  section.commit = M.commit()
  all.cpu, all.isa, all.cores, all.version, all[key] = info.cpu, opt.isa or info.isa, info.cores, info.version, section
  local folder = base:match("^(.*)/[^/]*$")
  if folder then assert(core.mkdir(folder)) end
  assert(core.write_file(base .. ".json", core.json_encode(all) .. "\n"))
  assert(core.write_file(base .. ".md", M.markdown(all) .. (all.shares and "\n" .. shares_text(all.shares) or "")))
  if opt.docs then
    put("docs/performance.md", "table", M.markdown(all, "growth.svg"))
    if all.shares then put("docs/performance.md", "shares", shares_text(all.shares)) end
    if all.workloads then put("README.md", "table", M.short(all)) end
  end
  return all
end

function M.commit()
  local p = io.popen("git rev-parse --short HEAD 2>/dev/null")
  local line = p:read("l")
  p:close()
  return line or "unknown"
end

return M
