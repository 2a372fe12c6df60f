-- file_spec.lua - safetensors, IDX, JSON and plain files: what is written is read back to the bit; whatever is wrong with a file is one line, never a crash.
local sn = require "slugnet"
local build = rawget(_G, "slugnet_build") or "build"
local program = build .. "/bin/slugnet"
local dir = os.tmpname()
os.remove(dir)
assert(sn.mkdir(dir))
local path = dir .. "/a.safetensors"

local function bytes_of(p)
  local f = assert(io.open(p, "rb"))
  local s = f:read("a")
  f:close()
  return s
end

local function put(p, s)
  local f = assert(io.open(p, "wb"))
  f:write(s)
  f:close()
  return p
end

-- nil and a message of one line that names the file
local function refused(why, value, msg, more)
  assert.is_nil(value, why)
  assert.equal("string", type(msg), why)
  assert.is_nil(msg:find("[\n%c]"), why .. ": " .. msg)
  assert.is_nil(more)
  return msg
end

local function sample()
  return {
    w = sn.randn(3, 4), d = sn.randn(2, 2, { dtype = "float64" }), h = sn.randn(5):to("float16"), b = sn.randn(5):to("bfloat16"),
    i = sn.tensor({ 1, -2, 1 << 40 }, { dtype = "int64" }), j = sn.tensor({ 7 }, { dtype = "int32" }), u = sn.tensor({ 0, 255 }, { dtype = "uint8" }),
    m = sn.tensor { true, false }, scalar = sn.full({}, 3.5), none = sn.zeros(0, 3), ["näme \"x\"\n"] = sn.ones(2), t = sn.randn(3, 2):t(),
  }
end

describe("safetensors", function()
  it("give back every dtype to the bit, and the metadata", function()
    local t = sample()
    assert.is_true(sn.io.save(path, t, { key = "text\1 with \"quotes\"", empty = "" }))
    local got, meta = assert(sn.io.load(path))
    for k, v in pairs(t) do
      assert.equal(v.dtype, got[k].dtype)
      assert.same(v.shape, got[k].shape)
      assert.equal(v:bytes(), got[k]:bytes(), k)
    end
    for k in pairs(got) do assert.truthy(t[k]) end
    assert.same({ key = "text\1 with \"quotes\"", empty = "" }, meta)
  end)

  it("are the same bytes for the same tensors, aligned, with a header that others read", function()
    local t = sample()
    assert(sn.io.save(path, t, { b = "2", a = "1" }))
    local first = bytes_of(path)
    local again = {}
    for k, v in pairs(t) do again[k] = v end
    assert(sn.io.save(path, again, { a = "1", b = "2" }))
    assert.equal(first, bytes_of(path))
    local n = ("<I8"):unpack(first)
    assert.equal(0, n % 8)
    local header = assert(sn.io.json_decode(first:sub(9, 8 + n)))
    assert.same({ a = "1", b = "2" }, header.__metadata__)
    assert.equal("F64", header.d.dtype)
    assert.same({ 3, 4 }, header.w.shape)
    assert.equal(48, header.w.data_offsets[2] - header.w.data_offsets[1])
  end)

  it("may be empty", function()
    assert(sn.io.save(path, {}))
    assert.same({}, (assert(sn.io.load(path))))
  end)

  it("refuse every truncation and every other length", function()
    assert(sn.io.save(path, { w = sn.randn(3), v = sn.ones(2) }, { a = "b" }))
    local s = bytes_of(path)
    local p = dir .. "/cut"
    for n = 0, #s - 1 do refused("cut to " .. n, sn.io.load(put(p, s:sub(1, n)))) end
    refused("longer", sn.io.load(put(p, s .. "x")))
  end)

  it("survive every flipped bit of the header", function()
    assert(sn.io.save(path, { w = sn.randn(3), v = sn.ones(2) }))
    local s = bytes_of(path)
    local n, p = 8 + ("<I8"):unpack(s), dir .. "/flip"
    local good = 0
    for i = 1, n do
      for bit = 0, 7 do
        local c = string.char(s:byte(i) ~ (1 << bit))
        local got, msg = sn.io.load(put(p, s:sub(1, i - 1) .. c .. s:sub(i + 1)))
        if got then good = good + 1 else refused("bit " .. bit .. " of " .. i, got, msg) end
      end
    end
    assert.is_true(good < n) -- names and spaces may change
  end)

  it("refuse headers that lie", function()
    local function file(header, data) return put(dir .. "/lie", ("<I8"):pack(#header) .. header .. (data or "")) end
    local cases = {
      { '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', "abcd", "needs 8 bytes, it has 4" },
      { '{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', "abcdabcd", "begins at byte 4" },
      { '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', "abcd", "begins at byte 0" },
      { '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', "abcdabcd", "twice" },
      { '{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}', "", "too large" },
      { '{"a":{"dtype":"F32","shape":[0,4611686018427387904,4611686018427387904],"data_offsets":[0,0]}}', "", "too large" },
      { '{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', "abcd", "no size" },
      { '{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}', "abcd", "no size" },
      { '{"a":{"dtype":"I16","shape":[2],"data_offsets":[0,4]}}', "abcd", "I16" },
      { '{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}', "abcd", "4 to 0" },
      { '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}', "abcd", "two numbers" },
      { '{"a":{"dtype":"F32","shape":[1]}}', "", "no data_offsets" },
      { '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}', "abcd", "unknown" },
      { '{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}}', "abcd", "more than 8" },
      { '{"__metadata__":{"a":1}}', "", "text" },
      { '{"__metadata__":[]}', "", "table of texts" },
      { '[]', "", "{" }, { '{}x', "", "more after" }, { '{"a"', "", "colon" }, { "{}", "left over", "damaged" },
      { ('['):rep(5000), "", "{" }, { '{"a":' .. ('{"a":'):rep(5000), "", "unknown" },
    }
    for _, c in ipairs(cases) do
      local msg = refused(c[1], sn.io.load(file(c[1], c[2])))
      assert.truthy(msg:find(c[3], 1, true), c[1] .. ": " .. msg)
    end
    refused("length", sn.io.load(put(dir .. "/lie", ("<I8"):pack(-1) .. "{}")))
    refused("length", sn.io.load(put(dir .. "/lie", ("<I8"):pack(1 << 62) .. "{}")))
  end)

  it("show names of a file without their control characters", function()
    local header = '{"\\u001b[2Jx":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}'
    local msg = refused("name", sn.io.load(put(dir .. "/esc", ("<I8"):pack(#header) .. header .. "abcd")))
    assert.truthy(msg:find("\\x1b[2Jx", 1, true))
  end)

  it("refuse misuse with an error", function()
    assert.has_error(function() sn.io.save(path, { w = 1 }) end)
    assert.has_error(function() sn.io.save(path, sn.ones(2)) end)
    assert.has_error(function() sn.io.save(path, { w = sn.ones(1) }, { a = 1 }) end)
    assert.has_error(function() sn.io.save(path, { __metadata__ = sn.ones(1) }) end)
    assert.has_error(function() sn.io.save(path, { ["\xff"] = sn.ones(1) }) end)
    assert.has_error(function() sn.io.save("a\0b", {}) end)
    assert.has_error(function() sn.io.load(3) end)
    local t = sn.ones(2)
    t:close()
    assert.has_error(function() sn.io.save(path, { w = t }) end)
  end)
end)

describe("writing", function()
  it("to a folder that is missing, or over a folder, is nil and a message", function()
    assert.truthy(refused("missing", sn.io.save(dir .. "/none/x", {})):find("folder is missing"))
    assert.truthy(refused("folder", sn.io.save(dir, {})):find("folder"))
    assert.truthy(refused("folder", sn.io.load(dir)):find("folder"))
    assert.truthy(refused("none", sn.io.load(dir .. "/none")):find("No such file"))
    assert.truthy(refused("device", sn.io.load("/dev/null")):find("not a file"))
  end)

  it("to a full device is nil and a message, and the device stays", function()
    assert.truthy(refused("full", sn.io.save("/dev/full", { w = sn.ones(9) })):find("No space left"))
    local p = io.popen("test -c /dev/full && echo yes")
    assert.equal("yes", p:read())
    p:close()
  end)

  it("keeps the old file when the disk is full, and leaves nothing beside it", function()
    local d = dir .. "/full"
    assert(sn.mkdir(d))
    assert(sn.io.write(d .. "/old", "precious"))
    local script = put(dir .. "/full.lua", ([[
      local sn = require "slugnet"
      print(sn.io.save(%q, { w = sn.ones(100000) }))
      print(sn.io.write(%q, ("x"):rep(100000)))
    ]]):format(d .. "/old", d .. "/old"))
    -- a limit on the size of files is met as a full disk is
    local p = io.popen(("sh -c 'ulimit -f 16; trap \"\" XFSZ; exec %s %s' 2>&1"):format(program, script))
    local out = p:read("a")
    p:close()
    local n = 0
    for line in out:gmatch("[^\n]+") do
      n = n + 1
      assert.truthy(line:find("^nil\t.*untouched$"), line)
    end
    assert.equal(2, n)
    assert.equal("precious", bytes_of(d .. "/old"))
    p = io.popen("ls -A " .. d)
    assert.equal("old\n", p:read("a"))
    p:close()
  end)

  it("keeps the rights of the old file and follows symbolic links", function()
    local d = dir .. "/link"
    assert(sn.mkdir(d))
    assert(sn.io.write(d .. "/real", "1"))
    os.execute(("chmod 640 %s/real && ln -s real %s/link"):format(d, d))
    assert(sn.io.write(d .. "/link", "two"))
    assert.equal("two", bytes_of(d .. "/real"))
    local p = io.popen(("stat -c %%a %s/real; readlink %s/link"):format(d, d))
    assert.equal("640\nreal\n", p:read("a"))
    p:close()
  end)
end)

describe("JSON", function()
  local encode, decode = sn.io.json_encode, sn.io.json_decode

  it("gives numbers back to the bit", function()
    local g = sn.Generator(3)
    for _ = 1, 3000 do
      local x = ("<d"):unpack(("<i8"):pack(g:random(math.mininteger, math.maxinteger)))
      if x == x and x ~= math.huge and x ~= -math.huge then
        local y = decode(encode { x })[1]
        assert.equal(("%a"):format(x), ("%a"):format(y))
        assert.equal("float", math.type(y))
      end
    end
    for _, x in ipairs { 0.1, 1.0, -0.0, 5e-324, 1.7976931348623157e308, 2 ^ 53, 1e22, 1e23, 123456789012345680.0 } do
      assert.equal(("%a"):format(x), ("%a"):format(decode(encode { x })[1]))
    end
    for _, i in ipairs { 0, -1, math.maxinteger, math.mininteger } do
      local y = decode(encode { i })[1]
      assert.equal(i, y)
      assert.equal("integer", math.type(y))
    end
  end)

  it("gives tables and strings back", function()
    local v = { list = { 1, "two", false, { x = { 3 } } }, text = "a\"\\/\n\0\1é€😀", yes = true, empty = "" }
    assert.same(v, decode(encode(v)))
    assert.equal('{"a":1,"b":[1,2],"c":{}}', encode { b = { 1, 2 }, c = {}, a = 1 })
    assert.equal("é€😀\b\f\n\r\t/", decode [["\u00e9\u20ac\ud83d\ude00\b\f\n\r\t\/"]])
    assert.same({ 1, 2 }, decode " [ 1 , 2 ] ")
    assert.same({}, decode '{"a":null}')
  end)

  it("refuses what is no JSON, with its place", function()
    for _, s in ipairs { "", " ", "{", "[1,]", "[1 2]", "{1:2}", '{"a" 1}', '{"a":1,}', "01", "1.", ".5", "+1", "1e", "tru", "nul", '"a', '"\\x"', '"\\u12"',
      '"\\ud800"', '"\\udc00"', '"\n"', '"\xff"', '"\xc0\x80"', '"\xed\xa0\x80"', "1 1", "[1]]", "nan", "inf", "1e999", "'a'", ("["):rep(129) } do
      local v, msg = decode(s)
      assert.is_nil(v, s)
      assert.truthy(msg:find("at byte %d+ of the JSON"), s .. ": " .. tostring(msg))
    end
  end)

  it("refuses to write what JSON has no word for", function()
    local circle = {}
    circle[1] = circle
    for _, v in ipairs { 0 / 0, 1 / 0, print, { [1] = 1, x = 2 }, { [2] = 1 }, { [1.5] = 1 }, circle, "\xff", { sn.ones(1) } } do
      assert.has_error(function() encode(v) end)
    end
  end)
end)

describe("IDX", function()
  local p = dir .. "/x.idx"

  local function idx(code, dims, body) return "\0\0" .. string.char(code, #dims) .. (">I4"):rep(#dims):pack(table.unpack(dims)) .. body end

  local function gz(name)
    assert(os.execute(("gzip -kf %s"):format(name)))
    return name .. ".gz"
  end

  it("gives every type, plain and packed", function()
    local cases = {
      { 8, "uint8", "\0\1\255", { 0, 1, 255 } }, { 9, "int32", "\0\1\255", { 0, 1, -1 } }, { 0x0b, "int32", (">i2i2i2"):pack(1, -2, 300), { 1, -2, 300 } },
      { 0x0c, "int32", (">i4i4i4"):pack(1, -2, 70000), { 1, -2, 70000 } }, { 0x0d, "float32", (">fff"):pack(1.5, -2, 0), { 1.5, -2, 0 } },
      { 0x0e, "float64", (">ddd"):pack(1.5, -2, 0.1), { 1.5, -2, 0.1 } },
    }
    for _, c in ipairs(cases) do
      put(p, idx(c[1], { 3 }, c[3]))
      for _, name in ipairs { p, gz(p) } do
        local x = assert(sn.data.idx(name))
        assert.equal(c[2], x.dtype)
        assert.same(c[4], x:totable())
      end
    end
    put(p, idx(8, { 2, 0, 5 }, ""))
    assert.same({ 2, 0, 5 }, assert(sn.data.idx(p)).shape)
    assert.same({ 2, 0, 5 }, assert(sn.data.idx(gz(p))).shape)
    put(p, idx(8, {}, "\7"))
    assert.equal(7, assert(sn.data.idx(p)):item())
  end)

  it("scales images on the way", function()
    local all = {}
    for i = 0, 255 do all[#all + 1] = string.char(i) end
    put(p, idx(8, { 16, 16 }, table.concat(all)))
    local want = assert(sn.data.idx(p)):to("float32"):mul(1 / 255)
    assert.is_true(want:equal(assert(sn.data.idx(p, { scale = 1 / 255 }))))
    assert.is_true(want:equal(assert(sn.data.idx(gz(p), { scale = 1 / 255 }))))
    put(p, idx(0x0d, { 1 }, (">f"):pack(1)))
    refused("floats", sn.data.idx(p, { scale = 2 }))
  end)

  it("reads files larger than its pieces", function()
    local g = sn.Generator(1)
    local t = {}
    for i = 1, 400000 do t[i] = string.char(g:random(0, 255) // (i % 7 + 1)) end
    local body = table.concat(t)
    put(p, idx(8, { 400000 }, body))
    assert.equal(body, assert(sn.data.idx(p)):bytes())
    assert.equal(body, assert(sn.data.idx(gz(p))):bytes())
    assert.equal(body, assert(sn.data.idx(p, { scale = 1 })):to("uint8"):bytes())
    assert.equal(body, assert(sn.data.idx(p .. ".gz", { scale = 1 })):to("uint8"):bytes())
  end)

  it("refuses wrong lengths, plain and packed", function()
    local s = idx(8, { 2, 3 }, "abcdef")
    for n = 0, #s - 1 do
      put(p, s:sub(1, n))
      refused("plain " .. n, sn.data.idx(p))
      refused("packed " .. n, sn.data.idx(gz(p)))
    end
    put(p, s .. "g")
    refused("longer", sn.data.idx(p))
    refused("longer", sn.data.idx(gz(p)))
    refused("no idx", sn.data.idx(put(p, "\0\0\7\1" .. ("x"):rep(20))))
    refused("no idx", sn.data.idx(put(p, "\1\0\8\1" .. ("x"):rep(20))))
    refused("dims", sn.data.idx(put(p, idx(8, { 1, 1, 1, 1, 1, 1, 1, 1, 1 }, "a"))))
    refused("huge", sn.data.idx(put(p, idx(8, { 0xffffffff, 0xffffffff, 0xffffffff }, "a"))))
    put(p, idx(8, { 0xffffffff, 0xffff }, "a"))
    refused("bomb", sn.data.idx(gz(p)))
    refused("none", sn.data.idx(dir .. "/none"))
  end)

  it("refuses a packed file that is cut, flipped or followed by something", function()
    local s = {}
    for i = 1, 300 do s[i] = string.char((i * i) % 251) end
    put(p, idx(8, { 300 }, table.concat(s)))
    local z = bytes_of(gz(p))
    local q = dir .. "/y.gz"
    for n = 2, #z - 1, 3 do refused("cut " .. n, sn.data.idx(put(q, z:sub(1, n)))) end
    refused("trailing", sn.data.idx(put(q, z .. "x")))
    refused("twice", sn.data.idx(put(q, z .. z)))
    local good = 0
    for i = 1, #z do
      local got, msg = sn.data.idx(put(q, z:sub(1, i - 1) .. string.char(z:byte(i) ~ (1 << i % 8)) .. z:sub(i + 1)))
      if got then
        good = good + 1
        assert.is_true(i <= 10 + #"x.idx" + 1, "flip at " .. i) -- time, system and name of the packer are free
      else
        refused("flip " .. i, got, msg)
      end
    end
    assert.is_true(good < 20)
  end)
end)

it("no file leaks when memory runs out", function()
  local tensors = { a = sn.ones(300), b = sn.ones(2, 2) }
  local csv = "x,y\n1,a\n2,b\n3,a\n"
  assert(sn.io.save(path, tensors, { k = "v" }))
  put(dir .. "/m.idx", "\0\0\8\1\0\0\0\3abc")
  local tasks = {
    function() return sn.io.save(path, tensors, { k = "v" }) end,
    function() return sn.io.load(path) end,
    function() return sn.data.idx(dir .. "/m.idx") end,
    function() return sn.data.csv({ text = csv }, { label = "y" }) end,
    function() return sn.io.json_encode { a = ("x"):rep(2000) } end,
  }
  for k, task in ipairs(tasks) do
    assert(task())
    collectgarbage() collectgarbage()
    local small, live = sn.memory().small, sn.memory().live
    local n, done = 0, false
    while not done and n < 500 do
      n = n + 1
      sn.fail_after(n, true)
      local ok = pcall(task)
      done = sn.fail_after() == 0
      assert.is_true(not done or ok)
    end
    assert.is_true(done and n > 1, "task " .. k)
    collectgarbage() collectgarbage()
    assert.equal(small, sn.memory().small, "task " .. k)
    assert.equal(live, sn.memory().live, "task " .. k)
  end
end)

teardown(function() os.execute("rm -rf " .. dir) end)
