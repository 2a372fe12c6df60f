-- size_spec.lua - the Lua module, stripped, stays under 2 MB. Other flags than the project's own (sanitizers, -O0) make other sizes: only the
-- ordinary build is held to it.
local build = os.getenv("BUILD") or "build"

describe("the size", function()
  it("of the module is under 2 MB when it is stripped", function()
    if build:match("[^/]*$") ~= "build" then return pending("not the ordinary build: " .. build) end
    if not os.execute("command -v strip >/dev/null") then return pending("strip is not installed") end
    local small = os.tmpname()
    assert(os.execute(("strip -o '%s' '%s/lib/slugnet/core.so'"):format(small, build)))
    local f <close> = assert(io.open(small, "rb"))
    local bytes = f:seek("end")
    os.remove(small)
    assert.is_true(bytes > 500000, "that cannot be all of it: " .. bytes)
    assert.is_true(bytes < 2000000, ("core.so has %d bytes; size -A and nm --size-sort -S say where"):format(bytes))
  end)
end)
