/* table.c - the descriptors themselves as Lua tables: sn.ops(), sn.classes(), sn.help(name). */
#include <stdio.h>
#include <string.h>
#include "file/bytes.h"
#include "nn/nn.h"
#include "script/gen.h"
#include "script/tensor.h"

extern const snn_class *const snn_classes[] __attribute__((weak));

static const char *const kind_names[] = {
  [SNO_TENSOR] = "tensor", [SNO_TENSORS] = "tensors", [SNO_INT] = "int",     [SNO_NUM] = "num",     [SNO_BOOL] = "bool",
  [SNO_STR] = "str",       [SNO_DIM] = "dim",         [SNO_DIMS] = "dims",   [SNO_INTS] = "ints",   [SNO_INT2] = "int2",
  [SNO_DTYPE] = "dtype",   [SNO_POS] = "pos",         [SNO_BASE] = "base",   [SNO_SLICES] = "slices", [SNO_FOREIGN] = "foreign"};

/* The documentation lies packed in the library. The first who asks has it unpacked, for this lua_State: a table of names in order, and of name
 * to text. Pushes it. */
static void push_docs(lua_State *L) {
  static const char key = 0;
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key) == LUA_TTABLE) return;
  lua_pop(L, 1);
  size_t n = 0;
  for (int i = 1; i <= 4; i++) n = n << 8 | sn_docs[sn_docs_bytes - (size_t)i]; /* a gzip file ends with its length */
  char *text = lua_newuserdatauv(L, n + 1, 0), *end = text + n;
  if (snf_unpack(text, n, sn_docs, sn_docs_bytes) < 0) snl_fail(L);
  *end = 0;
  lua_newtable(L);
  for (int k = 1; text < end; k++) {
    char *name = text + 1, *body = strchr(name, '\n');
    text = strchr(body, '\f');
    if (text == NULL) text = end;
    lua_pushlstring(L, name, (size_t)(body - name));
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, k);
    lua_pushlstring(L, body + 1, (size_t)(text - body - 1));
    lua_rawset(L, -3);
  }
  lua_remove(L, -2);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
}

/* Pushes what is said about it, or nothing. docs: where push_docs' table lies. */
static bool push_doc(lua_State *L, int docs, const char *name) {
  lua_pushstring(L, name);
  if (lua_rawget(L, docs) == LUA_TSTRING) return true;
  lua_pop(L, 1);
  return false;
}

static void set_doc(lua_State *L, int docs, const char *name) {
  if (push_doc(L, docs, name)) lua_setfield(L, -2, "doc");
}

static void set_string(lua_State *L, const char *key, const char *v) {
  if (v == NULL) return;
  lua_pushstring(L, v);
  lua_setfield(L, -2, key);
}

static void set_bool(lua_State *L, const char *key, bool v) {
  lua_pushboolean(L, v);
  lua_setfield(L, -2, key);
}

static void push_args(lua_State *L, const sno_arg *a, int n) {
  lua_createtable(L, n, 0);
  for (int i = 0, at = 0; i < n; i++) {
    if (a[i].kind == SNO_BASE) continue; /* never a user's */
    lua_createtable(L, 0, 5);
    set_string(L, "name", a[i].name);
    set_string(L, "kind", kind_names[a[i].kind]);
    set_bool(L, "optional", a[i].optional);
    if (a[i].has_default) {
      snl_push_val(L, &a[i], &a[i].value);
      lua_setfield(L, -2, "default");
    }
    if (a[i].words) {
      lua_newtable(L);
      for (int k = 0; a[i].words[k]; k++) {
        lua_pushstring(L, a[i].words[k]);
        lua_rawseti(L, -2, k + 1);
      }
      lua_setfield(L, -2, "words");
    }
    lua_rawseti(L, -2, ++at);
  }
}

static void push_flags(lua_State *L, const sno_op *op) {
  static const struct { uint32_t bit; const char *name; } flags[] = {
    {SNO_RANDOM, "random"}, {SNO_WRITES, "writes"}, {SNO_VIEW, "view"},               {SNO_NODIFF, "nodiff"},       {SNO_ONCE, "once"},   {SNO_CONTIG, "contig"},
    {SNO_HALF, "half"},     {SNO_HIDDEN, "hidden"}, {SNO_METHOD_ONLY, "method_only"}, {SNO_FUNC_ONLY, "func_only"}, {SNO_LISTS, "lists"},
    {SNO_LOW, "low"},       {SNO_HIGH, "high"}};
  lua_newtable(L);
  for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
    if (op->flags & flags[i].bit) set_bool(L, flags[i].name, true);
}

static void push_op(lua_State *L, int docs, const sno_op *op) {
  int n;
  const sno_arg *a = sno_args(op, &n);
  lua_createtable(L, 0, 10);
  set_string(L, "name", op->name);
  push_args(L, a, n);
  lua_setfield(L, -2, "args");
  push_flags(L, op);
  lua_setfield(L, -2, "flags");
  set_string(L, "samples", op->samples);
  set_string(L, "wrong", op->wrong);
  set_doc(L, docs, op->name);
  set_bool(L, "differentiable", !(op->flags & SNO_NODIFF));
  set_bool(L, "has_backward", op->backward != NULL);
  lua_pushinteger(L, op->nout);
  lua_setfield(L, -2, "nout");
}

/*** ops()
 * A list of all operations: tables of name, args, flags, samples, wrong, doc, differentiable.
 */
static int ops(lua_State *L) {
  push_docs(L);
  const int docs = lua_gettop(L);
  lua_newtable(L);
  int k = 0;
  for (const sno_op *const *op = sno_ops; *op; op++) {
    push_op(L, docs, *op);
    lua_rawseti(L, -2, ++k);
  }
  return 1;
}

/*** classes()
 * A list of all classes: tables of name, family, args, doc.
 */
static int classes(lua_State *L) {
  static const char *const families[] = {"layer", "loss", "optimizer", "init"};
  push_docs(L);
  const int docs = lua_gettop(L);
  lua_newtable(L);
  if (snn_classes == NULL) return 1;
  for (int k = 0; snn_classes[k]; k++) {
    const snn_class *c = snn_classes[k];
    int n = 0;
    const sno_arg *a = sno_parse_args(c->args ? c->args : "", &n);
    lua_createtable(L, 0, 5);
    set_string(L, "name", c->name);
    set_string(L, "family", families[c->family]);
    push_args(L, a, n);
    lua_setfield(L, -2, "args");
    set_bool(L, "children", c->children);
    set_doc(L, docs, c->name);
    lua_rawseti(L, -2, k + 1);
  }
  return 1;
}

/* Every name there is help on, in lines of 100 columns. */
static int help_names(lua_State *L, int docs) {
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  luaL_addstring(&b, "sn.help \"name\" tells about one of these:\n");
  size_t column = 0;
  for (int k = 1; lua_rawgeti(L, docs, k) == LUA_TSTRING; k++) {
    size_t n;
    const char *name = lua_tolstring(L, -1, &n);
    lua_pop(L, 1); /* the table keeps it; the buffer wants its own on top */
    if (strstr(name, "_backward")) continue; /* ours */
    if (column > 0) {
      const bool full = column + 1 + n > 100;
      luaL_addchar(&b, full ? '\n' : ' ');
      column = full ? 0 : column + 1;
    }
    luaL_addlstring(&b, name, n);
    column += n;
  }
  lua_pop(L, 1);
  luaL_pushresult(&b);
  return 1;
}

/*** help(name)
 * The documentation of a function, method or class as a string; nil and a message where there is none. Without a name, all the names.
 */
static int help(lua_State *L) {
  lua_settop(L, 1);
  push_docs(L);
  if (lua_isnil(L, 1)) return help_names(L, 2);
  const char *names[2048], *name = luaL_checkstring(L, 1);
  if (push_doc(L, 2, name)) return 1;
  const size_t len = strlen(name);
  if (len > 1 && name[len - 1] == '_') { /* name_ is name in place */
    const char *base = lua_pushlstring(L, name, len - 1);
    if (push_doc(L, 2, base)) {
      lua_pushfstring(L, "%s is %s in place, for methods only.\n\n%s", name, base, lua_tostring(L, -1));
      return 1;
    }
  }
  int n = 0;
  for (; n < 2047 && lua_rawgeti(L, 2, n + 1) == LUA_TSTRING; n++, lua_pop(L, 1)) names[n] = lua_tostring(L, -1);
  names[n] = NULL;
  const char *near = snl_nearest(name, names);
  lua_pushnil(L);
  if (near) lua_pushfstring(L, "there is no help on '%s'; did you mean '%s'?", name, near);
  else lua_pushfstring(L, "there is no help on '%s'", name);
  return 2;
}

/* documented(): every name that has documentation */
static int documented(lua_State *L) {
  push_docs(L);
  lua_newtable(L);
  for (int k = 1; lua_rawgeti(L, -2, k) == LUA_TSTRING; k++) lua_rawseti(L, -2, k);
  lua_pop(L, 1);
  return 1;
}

void snl_open_table(lua_State *L) {
  static const luaL_Reg functions[] = {{"ops", ops}, {"classes", classes}, {"help", help}, {"documented", documented}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
