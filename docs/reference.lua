-- reference.lua - writes docs/reference/*.md from the documentation blocks of the sources: `make docs`. The suite checks that the pages are fresh.
-- Operations are grouped by column, as src/diff/ops.def lists them; those of the formula book are the elementwise ones.
local M = {}

local titles = {
  matmul = "Matrix products", conv = "Convolution", pool = "Pooling", rnn = "Recurrent networks and attention", reduce = "Reductions", softmax = "Softmax",
  norm = "Normalisation", loss = "Losses as functions", dropout = "Dropout", optim = "Updates", view = "Views", index = "Indexing", join = "Joining and splitting",
  sort = "Sorting", create = "Making tensors", random = "Random numbers", elementwise = "Elementwise functions",
}
local families = { { "layer", "layers", "Layers" }, { "loss", "losses", "Losses" }, { "optimizer", "optimizers", "Optimizers" }, { "init", "initialisers", "Initialisers" } }

-- Column of each operation, and the columns in order.
local function columns()
  local of, order, current = {}, {}, nil
  for line in io.lines("src/diff/ops.def") do
    local column = line:match("^/%* (%w+)%.c")
    if column then
      current = column
      order[#order + 1] = column
    end
    local op = line:match("^OP%(([%w_]+)%)")
    if op and current then of[op] = current end
  end
  order[#order + 1] = "elementwise"
  return of, order
end

-- A block as Markdown: prose as it stands, @math and @grad as displayed formulas.
local function render(doc)
  local out, prose = {}, {}
  local heading, body = doc:match("^([^\n]*)\n?(.*)$")
  local signature, rest = heading:match("^(.-)%s+(@%a.*)$")
  if signature then heading, body = signature, rest .. "\n" .. body end
  body = body:gsub("[ \t]+(@math )", "\n%1"):gsub("[ \t]+(@grad )", "\n%1")
  out[#out + 1] = "    " .. heading
  local function flush()
    local text = table.concat(prose, "\n"):gsub("^%s+", ""):gsub("%s+$", "")
    if text ~= "" then out[#out + 1] = text end
    prose = {}
  end
  local tag, formula
  local function close()
    if tag then
      local text = table.concat(formula, "\n"):gsub("%s+$", "")
      out[#out + 1] = (tag == "grad" and "Backward:\n\n" or "") .. "$$\n" .. text .. "\n$$"
    end
    tag = nil
  end
  for line in (body .. "\n"):gmatch("([^\n]*)\n") do
    local t, text = line:match("^%s*@(%a+)%s*(.*)$")
    if t == "math" or t == "grad" then
      flush()
      close()
      tag, formula = t, { text }
    elseif tag and line:match("^%s+%S") then formula[#formula + 1] = line:match("^%s*(.*)$") -- a formula goes on where the line is indented
    else
      close()
      prose[#prose + 1] = line
    end
  end
  close()
  flush()
  return table.concat(out, "\n\n")
end

local function options(c)
  local rows = {}
  for _, a in ipairs(c.args or {}) do
    local d = a.default
    if type(d) == "string" then d = '"' .. d .. '"' elseif type(d) == "table" then d = "{" .. table.concat(d, ", ") .. "}"
    elseif math.type(d) == "float" then d = ("%.12g"):format(d) elseif d ~= nil then d = tostring(d) end
    rows[#rows + 1] = ("| `%s` | %s | %s |"):format(a.name, a.words and table.concat(a.words, ", ") or a.kind, d and "`" .. d .. "`" or (a.optional and "may be left out" or "must be given"))
  end
  return #rows > 0 and "| argument | kind | default |\n|---|---|---|\n" .. table.concat(rows, "\n") or nil
end

-- name of the file -> its text
function M.pages(core)
  local pages, index = {}, {}
  local of, order = columns()
  local note = "<!-- made by docs/reference.lua from the sources: `make docs` -->"
  local group, is = {}, {}
  for _, op in ipairs(core.ops()) do
    is[op.name] = true
    if not op.flags.hidden then
      local column = of[op.name] or "elementwise"
      group[column] = group[column] or {}
      table.insert(group[column], op)
    end
  end
  local function page(file, title, entries)
    if #entries == 0 then return end
    local out, names = { note, "# " .. title }, {}
    for _, e in ipairs(entries) do
      out[#out + 1] = "### " .. e.name
      out[#out + 1] = e.text
      names[#names + 1] = "`" .. e.name .. "`"
    end
    pages[file .. ".md"] = table.concat(out, "\n\n") .. "\n"
    index[#index + 1] = ("- [%s](%s.md): %s"):format(title, file, table.concat(names, " "))
  end
  for _, column in ipairs(order) do
    local entries, plain = {}, {}
    for _, op in ipairs(group[column] or {}) do plain[op.name] = true end
    for _, op in ipairs(group[column] or {}) do
      local text = op.doc and render(op.doc) or core.help(op.name)
      local base = op.name:match("^(.*)_$")
      if base and plain[base] then text = ("`%s` in place; a method only."):format(base) end
      if op.flags.method_only and not (base and plain[base]) then text = text .. "\n\nA method only." end
      if op.flags.nodiff and not op.flags.writes then text = text .. "\n\nHas no derivative." end
      if op.flags.random then text = text .. "\n\nTakes random numbers; `{generator = g}` says from where." end
      if op.flags.low then text = text .. "\n\nUnder `sn.autocast`: in bfloat16, with sums in float32." end
      if op.flags.high then text = text .. "\n\nUnder `sn.autocast`: in float32." end
      entries[#entries + 1] = { name = op.name, text = text }
    end
    page(column, titles[column] or column, entries)
  end
  for _, f in ipairs(families) do
    local entries = {}
    for _, c in ipairs(core.classes()) do
      is[c.name] = true
      if c.family == f[1] then
        local text = c.doc and render(c.doc) or "`" .. c.name .. "`"
        local o = options(c)
        entries[#entries + 1] = { name = c.name, text = o and text .. "\n\n" .. o or text }
      end
    end
    page(f[2], f[3], entries)
  end
  local names, entries = core.documented(), {}
  table.sort(names)
  for _, name in ipairs(names) do
    if not is[name] and not is[name .. "_"] then entries[#entries + 1] = { name = name, text = render(core.help(name)) } end
  end
  page("functions", "Other functions and methods", entries)
  pages["README.md"] = table.concat({
    note, "# Reference",
    "Made from the documentation blocks of the sources. $\\bar x$ is the gradient of the loss with respect to $x$. Dimensions, positions and labels count from 1. "
      .. "Arguments that are not tensors may be given in order or by name in a table at the end. `sn.help(name)` shows the same text.",
    table.concat(index, "\n"),
  }, "\n\n") .. "\n"
  return pages
end

function M.write()
  local core = require "slugnet.core"
  os.execute("mkdir -p docs/reference && rm -f docs/reference/*.md")
  local n = 0
  for name, text in pairs(M.pages(core)) do
    local f = assert(io.open("docs/reference/" .. name, "w"))
    f:write(text)
    f:close()
    n = n + 1
  end
  print(("docs/reference: %d pages"):format(n))
end

if arg and arg[0] and arg[0]:match("reference%.lua$") then M.write() end
return M
