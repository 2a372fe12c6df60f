/* repl.c - the prompt: reads statements, runs them, prints what expressions give. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "shell/shell.h"

/* _PROMPT and _PROMPT2 are the script's to set, as in Lua's own program. Leaves the string on the stack, so that it lives. */
static const char *prompt(lua_State *L, bool first) {
  if (lua_getglobal(L, first ? "_PROMPT" : "_PROMPT2") == LUA_TNIL) {
    lua_pop(L, 1);
    return lua_pushstring(L, first ? "> " : ">> ");
  }
  const char *p = luaL_tolstring(L, -1, NULL);
  lua_remove(L, -2);
  return p;
}

/* Pushes a line; false at the end of the input or after Ctrl-C, with nothing pushed. */
static bool push_line(lua_State *L, bool first, bool *interrupted) {
  char *line = sh_read_line(L, prompt(L, first), interrupted);
  lua_pop(L, 1);
  if (line == NULL) return false;
  sh_remember(line);
  lua_pushstring(L, line);
  free(line);
  return true;
}

static bool incomplete(lua_State *L, int status) {
  static const char mark[] = "<eof>";
  size_t n;
  if (status != LUA_ERRSYNTAX) return false;
  const char *msg = lua_tolstring(L, -1, &n);
  return n >= sizeof mark - 1 && strcmp(msg + n - (sizeof mark - 1), mark) == 0;
}

/* The line on top (which stays below) as an expression; the function is pushed, or nothing. */
static bool load_expression(lua_State *L) {
  const char *line = lua_tostring(L, -1);
  const char *text = lua_pushfstring(L, "return %s", line);
  const int status = luaL_loadbuffer(L, text, strlen(text), "=stdin");
  lua_remove(L, -2);
  if (status == LUA_OK) return true;
  lua_pop(L, 1);
  return false;
}

/* The text on top, which grows by lines until it is a statement. Leaves a function or a message in its place. -1: dropped by Ctrl-C. */
static int load_statement(lua_State *L) {
  for (;;) {
    size_t n;
    bool interrupted = false;
    const char *text = lua_tolstring(L, -1, &n);
    const int status = luaL_loadbuffer(L, text, n, "=stdin");
    if (!incomplete(L, status)) {
      lua_remove(L, -2);
      return status;
    }
    if (!push_line(L, false, &interrupted)) {
      lua_remove(L, -2);
      return interrupted ? -1 : status;
    }
    lua_remove(L, -2);     /* the message */
    lua_pushliteral(L, "\n");
    lua_insert(L, -2);
    lua_concat(L, 3);
  }
}

/* Through the script's `print`, so that tensors show as they do there. */
static void print_results(lua_State *L) {
  const int n = lua_gettop(L);
  if (n == 0) return;
  luaL_checkstack(L, LUA_MINSTACK, "too many results to print");
  lua_getglobal(L, "print");
  lua_insert(L, 1);
  sh_catch(L, true);
  const int status = lua_pcall(L, n, 0, 0);
  sh_release();
  if (status == LUA_OK) return;
  const char *why = lua_tostring(L, -1);
  lua_writestringerror("error calling 'print' (%s)\n", why ? why : "an error value that is no string");
}

static void define_names(lua_State *L) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "slugnet");
  if (sh_report(L, sh_call(L, 1, 1)) != LUA_OK) return;
  lua_pushvalue(L, -1);
  lua_setglobal(L, "sn");
  lua_setglobal(L, "slugnet");
}

void sh_prompt(lua_State *L) {
  const char *name = sh_name;
  sh_name = NULL;
  define_names(L);
  for (;;) {
    bool interrupted = false;
    lua_settop(L, 0);
    if (!push_line(L, true, &interrupted)) {
      if (interrupted) continue;
      break;
    }
    int status = load_expression(L) ? LUA_OK : load_statement(L);
    if (status < 0) continue;
    if (status == LUA_OK) {
      if (lua_gettop(L) > 1) lua_remove(L, 1);
      status = sh_call(L, 0, LUA_MULTRET);
    }
    if (status == LUA_OK) print_results(L);
    else sh_report(L, status);
    fflush(stdout);
  }
  lua_settop(L, 0);
  sh_forget_terminal();
  sh_name = name;
}
