-- docs_spec.lua - the documentation is true: the reference is what the sources say, and every Lua snippet runs.
local core = require "slugnet.core"
local program = (os.getenv("BUILD") or "build") .. "/bin/slugnet"

local function capture(command)
  local p = assert(io.popen(command))
  local s = p:read("a")
  local ok, _, status = p:close()
  return s, ok and 0 or status
end

local text_of = dofile("tests/expect.lua").text_of

local here = capture("pwd"):gsub("%s+$", "")
local function interpreter()
  local f = io.open(program)
  if f then
    f:close()
    return here .. "/" .. program
  end
end

describe("the reference", function()
  it("is fresh: make docs changes nothing", function()
    local make = dofile("docs/reference.lua")
    for name, text in pairs(make.pages(core)) do
      local f = io.open("docs/reference/" .. name)
      local have = f and f:read("a")
      if f then f:close() end
      assert.is_true(have == text, "docs/reference/" .. name .. " is stale: run `make docs`")
    end
  end)
  it("names every operation and every class", function()
    local all = {}
    local make = dofile("docs/reference.lua")
    for _, text in pairs(make.pages(core)) do all[#all + 1] = text end
    all = table.concat(all)
    for _, op in ipairs(core.ops()) do
      if not op.flags.hidden then assert.is_truthy(all:find("### " .. op.name .. "\n", 1, true), op.name) end
    end
    for _, c in ipairs(core.classes()) do assert.is_truthy(all:find("### " .. c.name .. "\n", 1, true), c.name) end
  end)
  it("says something about every class", function()
    for _, c in ipairs(core.classes()) do assert.is_truthy(c.doc, c.name .. " has no documentation block") end
  end)
end)

-- ```lua blocks run; a block opened by ```lua norun is a fragment. Blocks of one file share nothing: each is a whole script.
local pages = { "README.md", "src/README.md" }
for path in capture("ls docs/*.md"):gmatch("[^\n]+") do pages[#pages + 1] = path end

describe("snippets", function()
  local total = 0
  for _, page in ipairs(pages) do
    local n = 0
    for info, body in ("\n" .. text_of(page)):gmatch("\n```(lua[^\n]*)\n(.-)\n```") do
      n = n + 1
      if not info:find("norun") then
        total = total + 1
        it(("of %s, number %d, run"):format(page, n), function()
          local exe = interpreter()
          if not exe then return pending("no " .. program) end
          if body:find("fashion_mnist", 1, true) and not io.open("/usr/share/datasets/fashion-mnist") then return pending("dataset-fashion-mnist is not installed") end
          local dir = capture("mktemp -d"):gsub("%s+$", "")
          local f = assert(io.open(dir .. "/snippet.lua", "w"))
          f:write(body, "\n")
          f:close()
          local out, status = capture(("cd '%s' && SLUGNET_QUICK=1 '%s' snippet.lua 2>&1 </dev/null"):format(dir, exe))
          os.execute(("rm -r '%s'"):format(dir))
          assert.is_true(status == 0, ("%s, snippet %d ends with status %s:\n%s"):format(page, n, tostring(status), out))
        end)
      end
    end
  end
  it("are there", function() assert.is_true(total >= 8, "only " .. total .. " snippets") end)
end)

describe("links", function()
  it("inside the repository lead somewhere", function()
    for _, page in ipairs(pages) do
      local dir = page:match("^(.*/)") or ""
      for target in text_of(page):gmatch("%]%(([^)#]+)[^)]*%)") do
        if not target:match("^%a+:") then
          local f = io.open(dir .. target)
          assert.is_truthy(f, page .. " points to " .. target .. ", which is not there")
          f:close()
        end
      end
    end
  end)
end)
