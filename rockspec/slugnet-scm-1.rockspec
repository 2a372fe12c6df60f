-- slugnet-scm-1.rockspec - the Lua module from a clone: luarocks --lua-version 5.4 make
rockspec_format = "3.0"
package = "slugnet"
version = "scm-1"
source = { url = "git+file://." }
description = {
  summary = "Deep learning in C, driven by Lua",
  detailed = "Tensors, gradients, layers, losses and optimizers in C11; models and training loops in Lua. Equal bits on any number of threads.",
  license = "MIT",
}
supported_platforms = { "linux" }
dependencies = { "lua >= 5.4, < 5.5" }
external_dependencies = { ZLIB = { header = "zlib.h" } }
build = {
  type = "make",
  build_target = "module",
  install_target = "install-rock",
  -- CFLAGS are appended to the Makefile's own, which they do not replace.
  build_variables = { CFLAGS = "$(CFLAGS)", LUA_INCDIR = "$(LUA_INCDIR)" },
  install_variables = { CFLAGS = "$(CFLAGS)", LUA_INCDIR = "$(LUA_INCDIR)", ROCK_LIBDIR = "$(LIBDIR)", ROCK_LUADIR = "$(LUADIR)" },
  copy_directories = { "docs", "examples" },
}
