-- expect.lua - what several spec files ask of tensors, messages, files and notices.
local core = require "slugnet.core"
local assert = require "luassert"
local M = {}

-- fn raises one line that contains all these words; the line.
function M.fails(fn, ...)
  local ok, msg = pcall(fn)
  assert.is_false(ok, "no error")
  assert.equal("string", type(msg))
  assert.is_nil(msg:find("\n"), "one line: " .. msg)
  for _, words in ipairs { ... } do assert.is_truthy(msg:find(words, 1, true), ("'%s' is not in: %s"):format(words, msg)) end
  return msg
end

-- Two tensors of one shape, no element further apart than this.
function M.close(a, b, most)
  assert.same(b:size(), a:size())
  local d = a:numel() > 0 and (a:detach():to("float64") - b:detach():to("float64")):abs():max():item() or 0
  assert.is_true(d <= (most or 1e-5), ("largest difference %g"):format(d))
end

function M.text_of(path)
  local f = assert(io.open(path, "rb"))
  local s = f:read("a")
  f:close()
  return s
end

-- Notices go into the list (or nowhere) until what is returned is closed.
local quiet = { __close = function(q) core.notice = q.before end }
function M.silence(list)
  local q = setmetatable({ before = core.notice }, quiet)
  core.notice = function(m) if list then list[#list + 1] = m end end
  return q
end

return M
