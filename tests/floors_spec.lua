-- floors_spec.lua - the floors of src: a file includes only its own floor and lower ones; Lua, BLAS and threads appear where they may.
local floors = { "base", "calc", "core", "diff", "exec", "file", "nn", "script", "shell" }
local height = {}
for i, f in ipairs(floors) do height[f] = i end
local height_of_capi = height.nn + 0.5 -- src/slugnet.c stands above nn and below script

local function lines_of(command)
  local out = {}
  local p = assert(io.popen(command))
  for line in p:lines() do out[#out + 1] = line end
  p:close()
  return out
end

local files = lines_of("find src -name '*.[ch]' -o -name '*.def' | sort")

local function floor_of(path)
  local f = path:match("^src/([^/]+)/")
  if f then return height[f] end
  if path:match("^src/slugnet%.[ch]$") then return height_of_capi end
end

local text_of = dofile("tests/expect.lua").text_of

-- without comments and string literals
local function code_of(path)
  local s = text_of(path)
  s = s:gsub("/%*.-%*/", " "):gsub("\\[\\\"]", ""):gsub('"[^"\n]*"', '""'):gsub("//[^\n]*", "")
  return s
end

describe("the floors", function()
  it("are all there, in alphabetical order", function()
    for i = 2, #floors do assert.is_true(floors[i - 1] < floors[i]) end
    local seen = {}
    for _, path in ipairs(files) do seen[path:match("^src/([^/]+)/") or ""] = true end
    for _, f in ipairs(floors) do
      if f ~= "shell" or seen.shell then assert.is_true(seen[f] == true, "src/" .. f .. " is empty") end
    end
    for f in pairs(seen) do assert.is_true(f == "" or height[f] ~= nil, "src/" .. f .. " is no floor") end
  end)

  it("include only their own and lower ones", function()
    local n = 0
    for _, path in ipairs(files) do
      local own = floor_of(path)
      if own then
        for include in text_of(path):gmatch('\n[ \t]*#[ \t]*include[ \t]+"([^"]+)"') do
          local f = include:match("^([^/]+)/") or (include == "slugnet.h" and "slugnet")
          local other = f == "slugnet" and height_of_capi or height[f]
          if include:match("^slugnet") == nil then
            assert.is_true(other ~= nil or not include:find("/"), path .. " includes " .. include .. ": name it by its floor")
          end
          if other then
            n = n + 1
            assert.is_true(other <= own or f == "slugnet", path .. " includes " .. include .. " of a higher floor")
          end
        end
      end
    end
    assert.is_true(n > 50)
  end)

  local function only_in(what, pattern, allowed)
    it("have " .. what, function()
      for _, path in ipairs(files) do
        if not allowed(path) then
          for include in text_of(path):gmatch("#[ \t]*include[ \t]+[<\"]([^>\"]+)[>\"]") do
            assert.is_nil(include:match(pattern), path .. " includes " .. include)
          end
        end
      end
    end)
  end
  only_in("Lua in script and shell alone", "^lua%.h$", function(p) return p:match("^src/script/") or p:match("^src/shell/") end)
  only_in("Lua's auxiliary library there too", "^lauxlib%.h$", function(p) return p:match("^src/script/") or p:match("^src/shell/") end)
  only_in("threads in one file, and once-only starts in memory", "^pthread%.h$", function(p) return p == "src/base/thread.c" or p == "src/base/mem.c" end)
  only_in("no OpenMP", "^omp%.h$", function() return false end)

  it("call BLAS in one file", function()
    local users = {}
    for _, path in ipairs(files) do
      local code = code_of(path)
      if code:find("%f[%w_]cblas_%w+%s*%(") or text_of(path):find("#%s*include%s*<cblas") then users[#users + 1] = path end
    end
    assert.is_true(#users <= 1, "BLAS is called in " .. table.concat(users, ", "))
  end)

  it("never print below the shell", function()
    for _, path in ipairs(files) do
      if not path:match("^src/shell/") then
        local code = code_of(path)
        for _, word in ipairs { "printf", "puts", "putchar", "perror", "vprintf" } do
          assert.is_nil(code:match("%f[%w_]" .. word .. "%s*%("), path .. " calls " .. word)
        end
        assert.is_nil(code:match("%f[%w_]fprintf%s*%(%s*stdout"), path .. " prints to stdout")
        if not path:match("^src/script/") then assert.is_nil(code:match("%f[%w_]fprintf%s*%(%s*stderr"), path .. " prints to stderr") end
      end
    end
  end)

  it("set no signal handler, locale or environment below the shell", function()
    for _, path in ipairs(files) do
      if not path:match("^src/shell/") then
        local code = code_of(path)
        for _, word in ipairs { "signal", "sigaction", "setlocale", "setenv", "putenv", "exit", "abort" } do
          assert.is_nil(code:match("%f[%w_]" .. word .. "%s*%("), path .. " calls " .. word)
        end
      end
    end
  end)

  it("keep calc free of allocation and of state", function()
    for _, path in ipairs(files) do
      if path:match("^src/calc/") then
        local code = code_of(path)
        for _, word in ipairs { "malloc", "calloc", "realloc", "free", "sn_alloc", "sn_free", "sn_fail" } do
          assert.is_nil(code:match("%f[%w_]" .. word .. "%s*%("), path .. " calls " .. word)
        end
      end
    end
  end)

  it("say at the top of each file what it is", function()
    for _, path in ipairs(files) do
      assert.is_truthy(text_of(path):match("^/%*"), path .. " does not begin with a comment")
    end
    for _, path in ipairs(lines_of("find lua examples tests -name '*.lua' | sort")) do
      local first = text_of(path):match("^[^\n]*")
      if first:match("^#!") then first = text_of(path):match("^[^\n]*\n([^\n]*)") end
      assert.is_truthy(first:match("^%-%-"), path .. " does not begin with a comment")
    end
  end)
end)
