-- csv_spec.lua - tables of numbers and words: quotes, headers, missing values, classes, and errors that name their line.
local sn = require "slugnet"
local core = require "slugnet.core"

local function csv(text, options) return sn.data.csv({ text = text }, options) end

local function refused(text, options, why)
  local t, msg = csv(text, options)
  assert.is_nil(t, text)
  assert.is_nil(msg:find("\n"), msg)
  assert.truthy(msg:find(why, 1, true), msg)
end

describe("csv", function()
  it("reads numbers, with or without a header", function()
    local t = assert(csv "a,b\n1,2\n3.5,-4e2\n")
    assert.same({ { 1, 2 }, { 3.5, -400 } }, t.X:totable())
    assert.same({ "a", "b" }, t.names)
    assert.equal(2, t.rows)
    t = assert(csv "1,2\n3,4")
    assert.same({ { 1, 2 }, { 3, 4 } }, t.X:totable())
    assert.same({ 1, 2 }, t.names)
    t = assert(csv("a,1\n5,6", { header = true }))
    assert.same({ "a", "1" }, t.names)
    assert.same({ { 5, 6 } }, t.X:totable())
    t = assert(csv("x,y\nz,y", { header = false }))
    assert.equal(2, t.rows)
    assert.same({ 2, 0 }, t.X.shape)
  end)

  it("takes line ends, blank lines, spaces, a mark of UTF-8 and other separators as they come", function()
    assert.same({ { 1, 2 }, { 3, 4 } }, csv "\xef\xbb\xbf1,2\r\n\r\n  3 ,\t4  \r\n\n".X:totable())
    assert.same({ { 1, 2 } }, csv "1,2\r".X:totable())
    assert.same({ { 1, 2 } }, csv("1;2\n", { separator = ";" }).X:totable())
    assert.same({ { 1, 2 } }, csv("1\t2\n", { separator = "\t" }).X:totable())
    assert.same({ { 1, 2 } }, csv("1 2\n", { separator = " " }).X:totable())
    assert.same({ { 1, 2 } }, csv("about this\n# file\n1,2\n", { skip = 2 }).X:totable())
  end)

  it("reads numbers as the C library does", function()
    local g = sn.Generator(5)
    local lines, want = {}, {}
    for i = 1, 2000 do
      local x = (g:random() - 0.5) * 10.0 ^ g:random(-30, 30)
      lines[i] = (i % 3 == 0 and "%.17g" or i % 3 == 1 and "%.6g" or "%.12f"):format(x)
      want[i] = tonumber(lines[i])
    end
    local t = assert(csv(table.concat(lines, "\n"), { dtype = "float64", header = false }))
    assert.same(want, t.X:select(2, 1):totable())
    assert.same({ { 1 / 0, -1 / 0, 0.5, 5, 1 } }, csv("inf,-Infinity,.5,5.,+1", { header = false }).X:totable())
  end)

  it("reads quotes", function()
    local t = assert(csv('"a,b","c ""d"""\n"1", "2"\n', { strings = true }))
    assert.same({ "a,b", 'c "d"' }, t.names)
    assert.same({ { 1, 2 } }, t.X:totable())
    t = assert(csv('n,s\n1,"two\nlines"\n2,"say ""hi"""\n3,""\n', { strings = true }))
    assert.same({ "two\nlines", 'say "hi"', "" }, t.text.s)
    assert.same({ { 1 }, { 2 }, { 3 } }, t.X:totable())
  end)

  it("makes classes of words", function()
    local t = assert(csv("x,kind,y\n1,b,5\n2,a,6\n3,b,7\n", { label = "kind" }))
    assert.same({ 2, 1, 2 }, t.y:totable())
    assert.equal("int64", t.y.dtype)
    assert.same({ "a", "b" }, t.classes)
    assert.same({ "x", "y" }, t.names)
    assert.same({ { 1, 5 }, { 2, 6 }, { 3, 7 } }, t.X:totable())
    t = assert(csv("x,kind,y\n1,b,5\n2,a,6\n", {}))
    assert.same({ 2, 1 }, t.text.kind.codes:totable())
    assert.same({ "a", "b" }, t.text.kind.words)
    t = assert(csv("x,c\n1,10\n2,9\n3,10\n", { label = -1, classes = true }))
    assert.same({ "9", "10" }, t.classes)
    assert.same({ 2, 1, 2 }, t.y:totable())
    t = assert(csv("1,c\n2,a\n", { label = 2, classes = { "a", "b", "c" }, strings = true }))
    assert.same({ 3, 1 }, t.y:totable())
    refused("x,k\n1,c\n2,a\n3,z\n", { label = "k", classes = { "a", "c" } }, "text:4: 'z' is none of the 2 classes given")
  end)

  it("gives a label of numbers as numbers", function()
    local t = assert(csv("a,b,c\n1,2,3\n4,5,6\n", { label = "b" }))
    assert.same({ 2, 5 }, t.y:totable())
    assert.same({ { 1, 3 }, { 4, 6 } }, t.X:totable())
    assert.same({ "a", "c" }, t.names)
    assert.same({ 3, 6 }, csv("1,2,3\n4,5,6\n", { label = -1 }).y:totable())
    assert.same({ 1, 4 }, csv("1,2,3\n4,5,6\n", { label = 1 }).y:totable())
  end)

  it("fills what is missing only when asked", function()
    refused("a,b\n1,2\n3,\n", nil, "text:3: column 'b' has no number here")
    refused("1,2\n3,NA\n", nil, "text:2: column 2 has no number here")
    assert.same({ { 1, 2 }, { 3, -1 }, { -1, 5 } }, csv("a,b\n1,2\n3,\nnan,5\n", { missing = -1 }).X:totable())
    local x = csv("1,?\n", { missing = 0 / 0, header = false }).X
    assert.is_true(x[1][2] ~= x[1][2])
    assert.same({ "", "a" }, csv("1,\n2,a\n", { strings = true }).text[2])
  end)

  it("names the line of what is wrong", function()
    refused("a,b\n1,2\n3\n", nil, "text:3: 1 field, the lines before have 2")
    refused("a,b\n1,2\n\n3,4,5\n", nil, "text:4: 3 fields, the lines before have 2")
    refused('a,b\n1,"2\n3,4\n', nil, "text:2: a quote that is never closed")
    refused('a,b\n"x\ny",2\n"1"2,3\n', nil, "text:4: text after a closing quote")
    refused("", nil, "no rows")
    refused("\n \n", nil, "no rows")
    refused("a,b\n", nil, "no rows below the header")
    refused("\xff\xfea\0", nil, "UTF-16")
    local t, msg = sn.data.csv("/nowhere/x.csv")
    assert.is_nil(t)
    assert.truthy(msg:find("^/nowhere/x.csv: No such file"))
  end)

  it("refuses misuse with an error", function()
    local function raises(why, ...)
      local ok, msg = pcall(csv, ...)
      assert.is_false(ok)
      assert.truthy(msg:find(why, 1, true), msg)
    end
    raises("did you mean 'separator'", "1", { seperator = "," })
    raises("one character", "1", { separator = "ab" })
    raises("no column 'z'; there are: a, b", "a,b\n1,2\n", { label = "z" })
    raises("no column 3", "a,b\n1,2\n", { label = 3 })
    raises("has no header", "1,2\n", { label = "z" })
    raises("label = a column", "1,2\n", { classes = true })
    raises("float32", "1,2\n", { dtype = "int32" })
    assert.has_error(function() sn.data.csv(7) end)
  end)

  it("reads a large table with few allocations: it grows as it goes", function()
    local g = sn.Generator(2)
    local row = {}
    for i = 1, 20 do row[i] = ("%.6f"):format(g:random()) end
    local line = table.concat(row, ",")
    local text = (line .. "\n"):rep(5000)
    local before = core.memory().allocs
    local t = assert(csv(text))
    local made = core.memory().allocs - before
    assert.same({ 5000, 20 }, t.X.shape)
    assert.is_true(t.X[1]:equal(t.X[5000]))
    assert.is_true(made > 0 and made < 100, made .. " allocations for 5,000 rows")
  end)

  it("does not crash on any bytes", function()
    local g = sn.Generator(9)
    local letters = { ",", "\n", "\"", "1", "a", "\r", " ", ".", "-", "e", "\0", "\xff" }
    for _ = 1, 3000 do
      local s = {}
      for i = 1, g:random(30) do s[i] = letters[g:random(#letters)] end
      local t, msg = csv(table.concat(s))
      assert.is_true(t ~= nil or type(msg) == "string")
    end
  end)
end)
