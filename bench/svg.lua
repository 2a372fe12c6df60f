-- svg.lua - line charts as SVG text: panels beside and below one another, both axes logarithmic.
-- chart{columns=2, panels={{title=, x=, y=, series={{name=, {x, y}, ...}, ...}}, ...}} gives the text.
local M = {}

local W, H, LEFT, TOP, RIGHT, BOTTOM = 380, 260, 62, 34, 14, 42
local colours, dashes = { "#0b6bcb", "#d9480f", "#2b8a3e", "#862e9c" }, { "", "6 3", "2 3", "8 3 2 3" }

local function escape(s) return (s:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" })) end

-- Least and largest of coordinate k over all series.
local function range(series, k)
  local lo, hi = math.huge, 0
  for _, s in ipairs(series) do
    for _, p in ipairs(s) do lo, hi = math.min(lo, p[k]), math.max(hi, p[k]) end
  end
  return lo, hi
end

-- Every value of x once, in order: they are its ticks.
local function values(series)
  local seen, list = {}, {}
  for _, s in ipairs(series) do
    for _, p in ipairs(s) do
      if not seen[p[1]] then list[#list + 1] = p[1] end
      seen[p[1]] = true
    end
  end
  table.sort(list)
  return list
end

local function short(v)
  if v >= 1e6 then return ("%gM"):format(v / 1e6) end
  if v >= 1e4 then return ("%gk"):format(v / 1e3) end
  return ("%g"):format(v)
end

local function panel(out, p, ox, oy)
  local function put(fmt, ...) out[#out + 1] = fmt:format(...) end
  local x0, x1 = range(p.series, 1)
  local y0, y1 = range(p.series, 2)
  y0, y1 = 10 ^ math.floor(math.log(y0, 10)), 10 ^ math.ceil(math.log(y1, 10))
  if x1 <= x0 then x0, x1 = x0 / 2, x1 * 2 end
  if y1 <= y0 then y1 = y0 * 10 end
  local function px(x) return ox + LEFT + (W - LEFT - RIGHT) * math.log(x / x0) / math.log(x1 / x0) end
  local function py(y) return oy + H - BOTTOM - (H - TOP - BOTTOM) * math.log(y / y0) / math.log(y1 / y0) end
  put('<text x="%.1f" y="%.1f" font-weight="bold">%s</text>', ox + LEFT, oy + 20, escape(p.title))
  for e = 0, math.floor(math.log(y1 / y0, 10) + 0.5) do
    local y = y0 * 10 ^ e
    put('<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#ddd"/>', px(x0), py(y), px(x1), py(y))
    put('<text x="%.1f" y="%.1f" text-anchor="end">%s</text>', ox + LEFT - 6, py(y) + 4, short(y))
  end
  for _, x in ipairs(values(p.series)) do
    put('<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#eee"/>', px(x), py(y0), px(x), py(y1))
    put('<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>', px(x), py(y0) + 15, short(x))
  end
  put('<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>', (px(x0) + px(x1)) / 2, oy + H - 8, escape(p.x))
  put('<text transform="translate(%.1f %.1f) rotate(-90)" text-anchor="middle">%s</text>', ox + 13, (py(y0) + py(y1)) / 2, escape(p.y))
  for i, s in ipairs(p.series) do
    local colour, points = colours[(i - 1) % #colours + 1], {}
    for k, q in ipairs(s) do
      points[k] = ("%.1f,%.1f"):format(px(q[1]), py(q[2]))
      put('<circle cx="%.1f" cy="%.1f" r="2.5" fill="%s"/>', px(q[1]), py(q[2]), colour)
    end
    put('<polyline points="%s" fill="none" stroke="%s" stroke-width="1.8" stroke-dasharray="%s"/>', table.concat(points, " "), colour, dashes[(i - 1) % #dashes + 1])
    put('<text x="%.1f" y="%.1f" text-anchor="end" fill="%s">%s</text>', ox + W - RIGHT - 4, oy + 20 + 14 * (i - 1) - 2, colour, escape(s.name))
  end
end

function M.chart(c)
  local columns = math.min(c.columns or 2, #c.panels)
  local rows = (#c.panels + columns - 1) // columns
  local out = {
    ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="11" fill="#222">'):format(
      W * columns, H * rows, W * columns, H * rows),
    '<rect width="100%" height="100%" fill="#fff"/>',
  }
  for i, p in ipairs(c.panels) do panel(out, p, (i - 1) % columns * W, (i - 1) // columns * H) end
  out[#out + 1] = "</svg>"
  return table.concat(out, "\n") .. "\n"
end

return M
