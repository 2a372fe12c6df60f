# docs.awk - the documentation blocks of the sources as one text, which the build packs into sn_docs of script/gen.h: before each block a form
# feed, its name and a newline.
#
# In C and .def files a block begins with "/*** name(args)" and ends at "*/"; the lines between may begin with " * ". In Lua files it
# begins with "--- name(args)" and goes on as long as lines begin with "-- ". The first line is kept as the block's heading.
# With several blocks of one name the first counts.

function begin(heading,    n) {
  sub(/[ \t]+$/, "", heading)
  n = heading
  sub(/[^A-Za-z0-9_.:].*$/, "", n)
  name = n
  text = heading "\n"
  open = (n != "" && !(n in seen))
  if (open) seen[n] = 1
  inside = 1
}
function add(line) {
  sub(/[ \t]+$/, "", line)
  gsub(/\t/, "  ", line)
  text = text line "\n"
}
function finish() {
  if (inside && open) printf "\f%s\n%s", name, text
  inside = 0
}
FNR == 1 { finish(); lua = FILENAME ~ /\.lua$/ }
lua {
  if (match($0, /^--- ?/)) { finish(); if ($0 ~ /^--- ?[A-Za-z]/) begin(substr($0, RLENGTH + 1)); next }
  if (inside && match($0, /^-- ?/)) { add(substr($0, RLENGTH + 1)); next }
  finish()
  next
}
{
  line = $0
  if (match(line, /^\/\*\*\* */)) {
    line = substr(line, RLENGTH + 1)
    last = sub(/[ \t]*\*\/[ \t]*$/, "", line)
    begin(line)
    if (last) finish()
    next
  }
  if (!inside) next
  last = (line ~ /\*\/[ \t]*$/)
  sub(/[ \t]*\*\/[ \t]*$/, "", line)
  sub(/^ ?\* ?/, "", line)
  if (!(last && line ~ /^[ \t]*$/)) add(line)
  if (last) finish()
}
END { finish() }
