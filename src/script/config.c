/* config.c - objects as arguments of objects, and configs: tables {class=, name=, args=, children=} from which an object is made again. */
#include <string.h>
#include "base/error.h"
#include "script/object.h"
#include "script/tensor.h"

sno_foreign *snl_to_foreign(lua_State *L, int i, const sno_arg *arg, const char *who) {
  const snn_family f = strstr(arg->name, "init") ? SNN_INIT : SNN_LAYER;
  static const char *const wanted[] = {"a layer such as sn.ReLU(), or its name", "", "", "an initialiser such as sn.HeNormal(), or its name"};
  char buf[160];
  snn_obj *o = snl_test_object(L, i);
  if (o && o->cls->family == f) return &snn_retain(o)->base;
  if (o) {
    sn_fail("%s: '%s' must be %s, got %s, a %s", who, arg->name, wanted[f], snn_name(o), snl_family(o));
    return NULL;
  }
  if (lua_type(L, i) == LUA_TSTRING) {
    const snn_class *c = snn_find_like(lua_tostring(L, i), f);
    o = c ? snn_new(c, 0, NULL, 0, NULL) : NULL;
    if (o == NULL) sn_fail_prefix("%s: '%s': ", who, arg->name);
    return o ? &o->base : NULL;
  }
  if (lua_type(L, i) == LUA_TTABLE && lua_checkstack(L, 8)) { /* a config */
    i = lua_absindex(L, i);
    lua_pushcfunction(L, snl_from_config);
    lua_pushvalue(L, i);
    if (snl_pcall(L, 1, 1) < 0) return NULL;
    o = snn_retain(snl_test_object(L, -1));
    lua_pop(L, 1);
    if (o && o->cls->family == f && !snl_is_lua_layer(o)) return &o->base;
    snn_release(o);
    sn_fail("%s: '%s' must be %s", who, arg->name, wanted[f]);
    return NULL;
  }
  if (lua_isfunction(L, i)) sn_fail("%s: '%s' is a function; a class is called to make an object, as in sn.ReLU()", who, arg->name);
  else sn_fail("%s: '%s' must be %s, got %s", who, arg->name, wanted[f], snl_describe(L, i, buf, sizeof buf));
  return NULL;
}

void snl_push_foreign(lua_State *L, sno_foreign *f) {
  snn_obj *o = snn_from_foreign(f);
  if (o) snl_push_config(L, o);
  else lua_pushnil(L);
}

/* ---- configs */

static void push_args(lua_State *L, snn_obj *o) {
  int n, k = 0;
  const sno_arg *a = sno_parse_args(o->cls->args, &n);
  lua_createtable(L, 0, n);
  for (int i = 0; i < n; i++) {
    if (a[i].kind == SNO_TENSOR) {
      snt_tensor *t = snn_get_tensor(o, a[i].name);
      if (t == NULL) continue;
      lua_pushcfunction(L, snl_totable);
      snl_push_tensor(L, t);
      lua_call(L, 1, 1);
    } else {
      const sno_val *v = &o->val[k++];
      if (v->absent || a[i].kind == SNO_BASE) continue;
      snl_push_val(L, &a[i], v);
    }
    lua_setfield(L, -2, a[i].name);
  }
}

void snl_push_config(lua_State *L, snn_obj *o) {
  luaL_checkstack(L, 8, "objects are nested too deeply");
  lua_createtable(L, 0, 4);
  lua_pushstring(L, snn_name(o));
  lua_setfield(L, -2, "class");
  if (o->name) {
    lua_pushstring(L, o->name);
    lua_setfield(L, -2, "name");
  }
  if (snl_is_lua_layer(o)) snl_layer_args(L, o);
  else push_args(L, o);
  lua_setfield(L, -2, "args");
  if (!o->cls->children) return;
  lua_createtable(L, o->nchild, 0);
  for (int i = 0; i < o->nchild; i++) {
    snl_push_config(L, o->child[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "children");
}

static bool is_config(lua_State *L, int i) {
  if (lua_type(L, i) != LUA_TTABLE) return false;
  const bool yes = lua_getfield(L, i, "class") == LUA_TSTRING;
  lua_pop(L, 1);
  return yes;
}

/* The value on top, with configs inside made objects. */
static void revive(lua_State *L) {
  luaL_checkstack(L, 8, "a config is nested too deeply");
  if (is_config(L, -1)) {
    lua_pushcfunction(L, snl_from_config);
    lua_insert(L, -2);
    lua_call(L, 1, 1);
    return;
  }
  if (lua_type(L, -1) != LUA_TTABLE) return;
  const int from = lua_gettop(L);
  lua_newtable(L);
  for (lua_pushnil(L); lua_next(L, from);) {
    revive(L);
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, from + 1);
  }
  lua_remove(L, from);
}

/* A class of ours: args by name and children into one table for the constructor. */
static void call_class(lua_State *L, const snn_class *c) {
  snl_push_constructor(L, c);
  lua_newtable(L);
  const int table = lua_gettop(L);
  if (lua_getfield(L, 1, "args") == LUA_TTABLE)
    for (lua_pushnil(L); lua_next(L, -2);) {
      revive(L);
      lua_pushvalue(L, -2);
      lua_insert(L, -2);
      lua_rawset(L, table);
    }
  lua_settop(L, table);
  int n;
  const sno_arg *a = sno_parse_args(c->args, &n);
  for (int i = 0; i < n; i++) {
    if (a[i].kind != SNO_TENSOR || lua_getfield(L, table, a[i].name) != LUA_TTABLE) continue;
    lua_pushcfunction(L, snl_tensor);
    lua_insert(L, -2);
    lua_call(L, 1, 1);
    lua_setfield(L, table, a[i].name);
  }
  lua_settop(L, table);
  if (c->children && lua_getfield(L, 1, "children") == LUA_TTABLE)
    for (lua_Integer i = 1; lua_rawgeti(L, table + 1, i) != LUA_TNIL; i++) {
      revive(L);
      lua_rawseti(L, table, i);
    }
  lua_settop(L, table);
  lua_call(L, 1, 1);
}

static void call_lua_class(lua_State *L) {
  int n = 0;
  if (lua_getfield(L, 1, "args") == LUA_TTABLE) {
    const int args = lua_gettop(L);
    n = (int)lua_rawlen(L, args);
    luaL_checkstack(L, n + 4, NULL);
    for (int i = 1; i <= n; i++) {
      lua_rawgeti(L, args, i);
      revive(L);
    }
    lua_remove(L, args);
  } else {
    lua_pop(L, 1);
  }
  lua_call(L, n, 1);
}

/*** from_config(config)
 * The object that a table {class=, args=, children=} describes, as config() of layers, losses, optimizers and initialisers gives it. A layer written
 * in Lua must have been defined by sn.layer before.
 */
int snl_from_config(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  if (lua_getfield(L, 1, "class") != LUA_TSTRING) return snl_error(L, "from_config: the table has no class; config() of an object gives one");
  const char *name = lua_tostring(L, 2);
  const snn_class *c = snn_find(name);
  if (c) call_class(L, c);
  else if (snl_push_lua_class(L, name)) call_lua_class(L);
  else
    return snl_error(L, "from_config: there is no class '%.80s'; a layer written in Lua is defined by sn.layer(\"%.80s\", {...}) before its model is loaded", name, name);
  const snl_object *b = snl_test_object_box(L, -1);
  if (lua_getfield(L, 1, "name") == LUA_TSTRING && b && snn_set_name(b->o, lua_tostring(L, -1)) < 0) return snl_fail(L);
  lua_pop(L, 1);
  return 1;
}
