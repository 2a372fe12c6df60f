/* complete.c - names that could follow: globals, fields and methods, found without running anything of the script's. */
#include <string.h>
#include "shell/shell.h"

static const char *const keywords[] = {"and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local", "nil",
                                       "not", "or", "repeat", "return", "then", "true", "until", "while", NULL};

static bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* Stack of find: 1 the line (light), 2 its length, then the object that is looked in, the list of what was found and a set of it. */

static void add_if(lua_State *L, int list, const char *word, size_t n) {
  if (lua_type(L, -1) != LUA_TSTRING) return;
  size_t len;
  const char *s = lua_tolstring(L, -1, &len);
  if (len < n || memcmp(s, word, n) != 0 || strlen(s) != len) return;
  if (n == 0 && s[0] == '_') return;
  for (size_t i = 0; i < len; i++)
    if (!is_name(s[i])) return;
  lua_pushvalue(L, -1);
  if (lua_rawget(L, list + 1) == LUA_TNIL) {
    lua_pushvalue(L, -2);
    lua_pushboolean(L, 1);
    lua_rawset(L, list + 1);
    lua_pushvalue(L, -2);
    lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
  }
  lua_pop(L, 1);
}

/* The string keys of the table on top. */
static void add_keys(lua_State *L, int list, const char *word, size_t n) {
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    lua_pop(L, 1);
    add_if(L, list, word, n);
  }
}

/* Keys of the object on top, of what it inherits from, and what its metatable says of others: `methods`, `names`. */
static void add_object(lua_State *L, int list, const char *word, size_t n) {
  static const char *const fields[] = {"methods", "names", NULL};
  for (int depth = 0; depth < 16; depth++) {
    luaL_checkstack(L, 8, NULL);
    if (lua_istable(L, -1)) add_keys(L, list, word, n);
    if (!lua_getmetatable(L, -1)) return;
    for (const char *const *f = fields; *f; f++) {
      lua_pushstring(L, *f);
      if (lua_rawget(L, -2) == LUA_TTABLE) add_keys(L, list, word, n);
      lua_pop(L, 1);
    }
    lua_pushliteral(L, "__index");
    lua_rawget(L, -2);
    lua_remove(L, -2);
    if (!lua_istable(L, -1)) return;
  }
}

/* Replaces the object on top by its field, looked for without metamethods that are functions, but for ours that load submodules and say
 * their `names`; false if there is none. */
static bool step(lua_State *L, const char *name, size_t n) {
  for (int depth = 0; depth < 16; depth++) {
    luaL_checkstack(L, 8, NULL);
    if (lua_istable(L, -1)) {
      lua_pushlstring(L, name, n);
      if (lua_rawget(L, -2) != LUA_TNIL) return true;
      lua_pop(L, 1);
    }
    if (!lua_getmetatable(L, -1)) return false;
    lua_pushliteral(L, "names");
    if (lua_rawget(L, -2) == LUA_TTABLE) {
      lua_pushlstring(L, name, n);
      if (lua_rawget(L, -2) != LUA_TNIL) {
        lua_pushlstring(L, name, n);
        return lua_gettable(L, -5) != LUA_TNIL;
      }
      lua_pop(L, 1);
    }
    lua_pop(L, 1);
    lua_pushliteral(L, "__index");
    lua_rawget(L, -2);
    if (!lua_istable(L, -1)) return false;
  }
  return false;
}

/* Leaves the longest common beginning beyond `n` bytes, and the list. */
static void common(lua_State *L, int list, size_t n) {
  const lua_Integer count = (lua_Integer)lua_rawlen(L, list);
  lua_rawgeti(L, list, 1);
  size_t len = 0;
  const char *first = count ? lua_tolstring(L, -1, &len) : "";
  for (lua_Integer i = 2; i <= count; i++) {
    lua_rawgeti(L, list, i);
    const char *s = lua_tostring(L, -1);
    size_t k = 0;
    while (k < len && s[k] == first[k]) k++;
    len = k;
    lua_pop(L, 1);
  }
  lua_pushlstring(L, first + (count ? n : 0), count && len > n ? len - n : 0);
}

/* Where the path of names that ends at `at` begins: a.b:c */
static size_t path_start(const char *line, size_t at) {
  while (at > 0 && (is_name(line[at - 1]) || line[at - 1] == '.' || line[at - 1] == ':')) at--;
  return at;
}

static int find(lua_State *L) {
  const char *line = lua_touserdata(L, 1);
  const size_t at = (size_t)lua_tointeger(L, 2);
  size_t from = path_start(line, at);
  lua_settop(L, 2);
  lua_newtable(L);
  lua_newtable(L);
  const int list = 3;
  lua_pushglobaltable(L);
  bool global = true, found = true;
  for (size_t i = from; i < at && found; i++) {
    if (is_name(line[i])) continue;
    found = i > from && step(L, line + from, i - from);
    global = false;
    from = i + 1;
  }
  if (found) add_object(L, list, line + from, at - from);
  for (const char *const *k = keywords; found && global && *k && at > from; k++) {
    lua_pushstring(L, *k);
    add_if(L, list, line + from, at - from);
    lua_pop(L, 1);
  }
  lua_getglobal(L, "table");
  if (lua_istable(L, -1) && lua_getfield(L, -1, "sort") == LUA_TFUNCTION) {
    lua_pushvalue(L, list);
    lua_call(L, 1, 0);
  }
  common(L, list, at - from);
  lua_pushvalue(L, list);
  return 2;
}

int sh_complete(lua_State *L, const char *line, size_t at) {
  lua_pushcfunction(L, find);
  lua_pushlightuserdata(L, (void *)(uintptr_t)line);
  lua_pushinteger(L, (lua_Integer)at);
  return lua_pcall(L, 2, 2, 0);
}
