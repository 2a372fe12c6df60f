/* json.c - JSON for scripts: tables to text and back. Equal tables give equal texts: names are sorted. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "file/json.h"
#include "script/file.h"

/* ---- to Lua */

static void push_string(lua_State *L, const snf_json *j) {
  luaL_Buffer b;
  if (!j->escaped) {
    lua_pushlstring(L, j->s.p, j->s.n);
    return;
  }
  char *p = luaL_buffinitsize(L, &b, j->s.n);
  luaL_pushresultsize(&b, snf_json_unescape(j, p));
}

/* Pushes the value that begins with this token: 0, or -1 with the message pending and the stack as it may be. Nothing of ours is held, so
 * Lua may raise. */
static int push_value(lua_State *L, snf_json *j, snf_token t) {
  luaL_checkstack(L, 8, "JSON");
  switch (t) {
    case SNF_JSON_STRING: push_string(L, j); return 0;
    case SNF_JSON_INT: lua_pushinteger(L, j->i); return 0;
    case SNF_JSON_FLOAT: lua_pushnumber(L, j->d); return 0;
    case SNF_JSON_TRUE: lua_pushboolean(L, 1); return 0;
    case SNF_JSON_FALSE: lua_pushboolean(L, 0); return 0;
    case SNF_JSON_NULL: lua_pushnil(L); return 0;
    case SNF_JSON_OBJECT:
      lua_newtable(L);
      while ((t = snf_json_next(j)) == SNF_JSON_KEY) {
        push_string(L, j);
        if (push_value(L, j, snf_json_next(j)) < 0) return -1;
        lua_rawset(L, -3);
      }
      return t == SNF_JSON_OBJECT_END ? 0 : -1;
    case SNF_JSON_ARRAY:
      lua_newtable(L);
      for (lua_Integer i = 1; (t = snf_json_next(j)) != SNF_JSON_ARRAY_END; i++) {
        if (push_value(L, j, t) < 0) return -1;
        lua_rawseti(L, -2, i);
      }
      return 0;
    default: return -1;
  }
}

/*** io.json_decode(text)
 * The value in a JSON text; nil and a message if it is none. Whole numbers that fit become integers, null becomes nil.
 */
int snl_json_decode(lua_State *L) {
  size_t n;
  const char *text = luaL_checklstring(L, 1, &n);
  lua_settop(L, 1);
  snf_json j;
  sn_error_clear();
  snf_json_start(&j, text, n);
  if (push_value(L, &j, snf_json_next(&j)) < 0 || snf_json_next(&j) != SNF_JSON_END) {
    lua_settop(L, 1);
    return snl_fail_io(L);
  }
  if (!lua_isnil(L, 2)) return 1;
  lua_pushliteral(L, "the JSON is null");
  return 2;
}

/* ---- from Lua */

static int encode(lua_State *L, snf_text *t, int depth);

typedef struct name { const char *p; size_t n; } name;

static int by_bytes(const void *a, const void *b) {
  const name *x = a, *y = b;
  const int c = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);
  return c ? c : x->n < y->n ? -1 : x->n > y->n;
}

static int encode_list(lua_State *L, snf_text *t, lua_Integer n, int depth) {
  if (snf_puts(t, "[") < 0) return -1;
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, -1, i);
    if ((i > 1 && snf_puts(t, ",") < 0) || encode(L, t, depth + 1) < 0) return -1;
    lua_pop(L, 1);
  }
  return snf_puts(t, "]");
}

static int encode_names(lua_State *L, snf_text *t, size_t n, int depth) {
  name *names = lua_newuserdatauv(L, (n + 1) * sizeof *names, 0); /* the strings are held by the table */
  size_t k = 0;
  for (lua_pushnil(L); lua_next(L, -3); lua_pop(L, 1), k++) names[k].p = lua_tolstring(L, -2, &names[k].n);
  qsort(names, n, sizeof *names, by_bytes);
  if (snf_puts(t, "{") < 0) return -1;
  for (k = 0; k < n; k++) {
    if ((k > 0 && snf_puts(t, ",") < 0) || snf_put_json(t, names[k].p, names[k].n) < 0 || snf_puts(t, ":") < 0) return -1;
    lua_pushlstring(L, names[k].p, names[k].n);
    lua_rawget(L, -3);
    if (encode(L, t, depth + 1) < 0) return -1;
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return snf_puts(t, "}");
}

/* The table on top: a list if its keys are 1..n, an object if all of them are strings. */
static int encode_table(lua_State *L, snf_text *t, int depth) {
  size_t n = 0, strings = 0;
  if (depth >= SNF_JSON_DEPTH) return sn_fail("json_encode: tables are nested more than %d deep, or in a circle", SNF_JSON_DEPTH);
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1), n++) {
    if (lua_type(L, -2) == LUA_TSTRING) strings++;
    else if (!lua_isinteger(L, -2)) return sn_fail("json_encode: a key is a %s; keys are names, or 1..n", luaL_typename(L, -2));
  }
  if (strings == n) return encode_names(L, t, n, depth);
  if (strings > 0) return sn_fail("json_encode: a table has names and numbers as keys; JSON has lists and objects, no mixture");
  if (lua_rawlen(L, -1) != n) return sn_fail("json_encode: a list has holes");
  return encode_list(L, t, (lua_Integer)n, depth);
}

/* The value on top, which stays. -1 after sn_fail; Lua may raise for want of memory: the text has its guard. */
static int encode(lua_State *L, snf_text *t, int depth) {
  char s[32];
  size_t n;
  luaL_checkstack(L, 8, "JSON");
  switch (lua_type(L, -1)) {
    case LUA_TNIL: return snf_puts(t, "null");
    case LUA_TBOOLEAN: return snf_puts(t, lua_toboolean(L, -1) ? "true" : "false");
    case LUA_TSTRING: {
      const char *p = lua_tolstring(L, -1, &n);
      return snf_put_json(t, p, n);
    }
    case LUA_TNUMBER:
      if (lua_isinteger(L, -1)) {
        snprintf(s, sizeof s, "%lld", (long long)lua_tointeger(L, -1));
        return snf_puts(t, s);
      }
      if (!isfinite(lua_tonumber(L, -1))) return sn_fail("json_encode: nan and inf have no place in JSON");
      return snf_put_number(t, lua_tonumber(L, -1));
    case LUA_TTABLE: return encode_table(L, t, depth);
    default: return sn_fail("json_encode: a %s has no place in JSON", snl_test_box(L, -1) ? "tensor" : luaL_typename(L, -1));
  }
}

static void free_text(void *p) {
  snf_text_free(p);
  sn_free(p);
}

/*** io.json_encode(value)
 * Numbers, strings (UTF-8), booleans and tables of them as JSON. Numbers read back to the same bits; nan and inf are refused.
 */
int snl_json_encode(lua_State *L) {
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  sn_error_clear();
  snf_text *t = snl_hold(L, sizeof *t, free_text);
  lua_pushvalue(L, 1);
  if (encode(L, t, 0) < 0) return snl_fail(L);
  lua_pushlstring(L, t->p, t->n);
  snl_let_go(L, 2);
  return 1;
}
