# embed.awk - the Lua files as a C table, sn_embedded of script/gen.h: lua/slugnet/model.lua is "slugnet.model", init.lua is "slugnet".

function quote(s) {
  gsub(/\\/, "&&", s)
  gsub(/"/, "\\\\&", s)
  gsub(/\t/, "\\\\t", s)
  gsub(/\r/, "\\\\r", s)
  gsub(/\?\?/, "?\\\\?", s)
  return s
}
function finish() { if (count) printf "  };\n" }
BEGIN { print "/* made by src/embed.awk */\n#include \"script/gen.h\"" }
FNR == 1 {
  finish()
  n = FILENAME
  sub(/^.*lua\/slugnet\//, "", n)
  sub(/\.lua$/, "", n)
  gsub(/\//, ".", n)
  names[++count] = n == "init" ? "slugnet" : "slugnet." n
  printf "static const char src%d[] = {\n", count
}
{ printf "  \"%s\\n\"\n", quote($0) }
END {
  finish()
  print "const sn_embed sn_embedded[] = {"
  for (i = 1; i <= count; i++) printf "  {\"%s\", src%d, sizeof src%d - 1},\n", names[i], i, i
  print "  {0, 0, 0}};"
}
