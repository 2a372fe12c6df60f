/* object.c - layers, losses, optimizers and initialisers in Lua: their userdata and its fields. Constructors: make.c; configs: config.c. */
#include "script/object.h"
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "script/tensor.h"

static const char metatable_key, boxes_key;
static const char *const families[] = {"layer", "loss", "optimizer", "init"};

const char *snl_family(const snn_obj *o) { return families[o->cls->family]; }

/* ---- boxes */

snl_object *snl_push_object_box(lua_State *L) {
  luaL_checkstack(L, 4, NULL);
  snl_object *b = lua_newuserdatauv(L, sizeof *b, SNL_USERVALUES);
  b->o = NULL;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key);
  lua_setmetatable(L, -2);
  return b;
}

snl_object *snl_test_object_box(lua_State *L, int i) {
  snl_object *b = lua_touserdata(L, i);
  if (b == NULL || lua_islightuserdata(L, i) || !lua_checkstack(L, 2) || !lua_getmetatable(L, i)) return NULL;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key);
  const bool ours = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return ours ? b : NULL;
}

snn_obj *snl_test_object(lua_State *L, int i) {
  const snl_object *b = snl_test_object_box(L, i);
  return b ? b->o : NULL;
}

snn_obj *snl_check_object(lua_State *L, int i) {
  const snl_object *b = snl_test_object_box(L, i);
  if (b == NULL) luaL_typeerror(L, i, "layer, loss, optimizer or initialiser");
  if (b && b->o == NULL) snl_error(L, "this object was not made: its constructor failed");
  return b ? b->o : NULL;
}

void snl_enter_object(lua_State *L, int i) {
  i = lua_absindex(L, i);
  const snl_object *b = lua_touserdata(L, i);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &boxes_key);
  lua_pushvalue(L, i);
  lua_rawsetp(L, -2, b->o);
  lua_pop(L, 1);
}

bool snl_push_known(lua_State *L, const snn_obj *o) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &boxes_key);
  lua_rawgetp(L, -1, o);
  const snl_object *b = lua_touserdata(L, -1);
  const bool known = b && b->o == o;
  if (known) lua_remove(L, -2);
  else lua_pop(L, 2);
  return known;
}

void snl_keep(lua_State *L, int box, int i) {
  box = lua_absindex(L, box);
  i = lua_absindex(L, i);
  luaL_checkstack(L, 4, NULL);
  if (lua_getiuservalue(L, box, SNL_HELD) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, box, SNL_HELD);
  }
  lua_pushvalue(L, i);
  lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  lua_pop(L, 1);
}

/* The boxes of what an object holds stay as long as its own. */
void snl_keep_inner(lua_State *L, int box, const snn_obj *o) {
  box = lua_absindex(L, box);
  luaL_checkstack(L, 4, NULL);
  for (int i = 0; i < o->nchild; i++)
    if (snl_push_known(L, o->child[i])) {
      snl_keep(L, box, -1);
      lua_pop(L, 1);
    }
  for (int i = 0; i < o->nval; i++) {
    const snn_obj *x = o->val[i].kind == SNO_FOREIGN && !o->val[i].absent ? snn_from_foreign(o->val[i].p) : NULL;
    if (x && snl_push_known(L, x)) {
      snl_keep(L, box, -1);
      lua_pop(L, 1);
    }
  }
}

void snl_push_object(lua_State *L, snn_obj *o) {
  luaL_checkstack(L, 4, NULL);
  if (o == NULL) {
    lua_pushnil(L);
    return;
  }
  if (snl_push_known(L, o)) return;
  snl_push_object_box(L)->o = snn_retain(o);
  snl_enter_object(L, -1);
  snl_keep_inner(L, -1, o);
}

static int collect(lua_State *L) {
  snl_object *b = lua_touserdata(L, 1);
  snn_obj *o = b->o;
  b->o = NULL;
  snn_release(o);
  return 0;
}

/* ---- fields. Upvalue 1: a list of the families' methods. */

static void push_shape(lua_State *L, bool known, const snn_shape *s) {
  if (!known) {
    lua_pushnil(L);
    return;
  }
  lua_createtable(L, s->ndim, 0);
  for (int i = 0; i < s->ndim; i++) {
    lua_pushinteger(L, s->d[i]);
    lua_rawseti(L, -2, i + 1);
  }
}

static bool common_field(lua_State *L, snn_obj *o, const char *key) {
  if (strcmp(key, "class") == 0) lua_pushstring(L, snn_name(o));
  else if (strcmp(key, "family") == 0) lua_pushstring(L, snl_family(o));
  else if (strcmp(key, "name") == 0) lua_pushstring(L, o->name);
  else if (o->cls->family == SNN_LAYER && strcmp(key, "training") == 0) lua_pushboolean(L, o->training != 0);
  else if (o->cls->family == SNN_LAYER && strcmp(key, "inshape") == 0) push_shape(L, o->built, &o->in);
  else if (o->cls->family == SNN_LAYER && strcmp(key, "outshape") == 0) push_shape(L, o->built, &o->out);
  else if (o->cls->carry && strcmp(key, "step") == 0) lua_pushcfunction(L, snl_step);
  else if (o->cls->family == SNN_OPTIM && strcmp(key, "lr_now") == 0) lua_pushnumber(L, snn_optim_lr(o, 0));
  else if (o->cls->family == SNN_OPTIM && strcmp(key, "iterations") == 0) lua_pushinteger(L, snn_optim_iterations(o));
  else return false;
  return true;
}

static const char *const field_names[] = {"class", "family", "name", "training", "inshape", "outshape", "lr", "lr_now", "iterations", NULL};

static int unknown_field(lua_State *L, const snn_obj *o, const char *key, int methods) {
  const char *names[128];
  int n = 0, narg;
  for (const char *const *f = field_names; *f; f++) names[n++] = *f;
  const sno_arg *a = sno_parse_args(o->cls->args, &narg);
  for (int i = 0; i < narg; i++) names[n++] = a[i].name;
  for (lua_pushnil(L); n < 120 && lua_next(L, methods); lua_pop(L, 1)) names[n++] = lua_tostring(L, -2);
  names[n] = NULL;
  const char *near = snl_nearest(key, names), *article = o->cls->family == SNN_OPTIM || o->cls->family == SNN_INIT ? "an" : "a";
  const char *what = o->cls->family == SNN_INIT ? "initialiser" : snl_family(o);
  if (near) return snl_error(L, "%s: %s %s has no method or field '%s'; did you mean '%s'?", snn_name(o), article, what, key, near);
  return snl_error(L, "%s: %s %s has no method or field '%s'", snn_name(o), article, what, key);
}

static int index_object(lua_State *L) {
  snn_obj *o = snl_check_object(L, 1);
  if (lua_type(L, 2) != LUA_TSTRING) {
    if (lua_isinteger(L, 2) && o->cls->children) { /* net[1] */
      const lua_Integer i = lua_tointeger(L, 2);
      snl_push_object(L, i >= 1 && i <= o->nchild ? o->child[i - 1] : NULL);
      return 1;
    }
    lua_pushnil(L);
    return 1;
  }
  const char *key = lua_tostring(L, 2);
  lua_rawgeti(L, lua_upvalueindex(1), o->cls->family + 1);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, 3) != LUA_TNIL) return 1;
  lua_pop(L, 1);
  if (common_field(L, o, key)) return 1;
  if (snl_is_lua_layer(o)) return snl_layer_field(L);
  int n, k = 0;
  const sno_arg *a = sno_parse_args(o->cls->args, &n);
  for (int i = 0; i < n; i++) {
    if (a[i].kind == SNO_TENSOR) {
      if (strcmp(a[i].name, key) != 0) continue;
      snl_push_shared(L, snn_get_tensor(o, key));
      return 1;
    }
    const sno_val *v = &o->val[k++];
    if (strcmp(a[i].name, key) != 0 || a[i].kind == SNO_BASE) continue;
    if (a[i].kind == SNO_FOREIGN) snl_push_object(L, v->absent ? NULL : snn_from_foreign(v->p));
    else snl_push_val(L, &a[i], v);
    return 1;
  }
  for (int i = 0; i < o->nslot; i++)
    if (strcmp(o->slot[i].name, key) == 0) {
      snl_push_shared(L, o->slot[i].t);
      return 1;
    }
  if (strcmp(key, "weight") == 0 || strcmp(key, "bias") == 0) return 0; /* not built yet, or made without */
  return unknown_field(L, o, key, 3);
}

static int set_name(lua_State *L, snn_obj *o) {
  if (!lua_isnil(L, 3) && lua_type(L, 3) != LUA_TSTRING) return snl_error(L, "%s: a name is a string, got a %s", snn_name(o), luaL_typename(L, 3));
  sn_error_clear();
  if (snn_set_name(o, lua_isnil(L, 3) ? NULL : lua_tostring(L, 3)) < 0) return snl_fail(L);
  return 0;
}

static int newindex_object(lua_State *L) {
  snn_obj *o = snl_check_object(L, 1);
  const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  const lua_Number v = lua_tonumber(L, 3);
  if (strcmp(key, "name") == 0) return set_name(L, o);
  if (o->cls->family == SNN_OPTIM && strcmp(key, "lr") == 0) {
    if (lua_type(L, 3) != LUA_TNUMBER || !(v >= 0) || v > 1e300) return snl_error(L, "%s: lr wants to be a number from 0, got %s", snn_name(o),
        luaL_tolstring(L, 3, NULL));
    snn_optim_set_lr(o, v);
    return 0;
  }
  if (o->cls->family == SNN_OPTIM && strcmp(key, "iterations") == 0) {
    if (!lua_isinteger(L, 3) || lua_tointeger(L, 3) < 0) return snl_error(L, "%s: iterations wants to be a whole number from 0, got %s",
        snn_name(o), luaL_tolstring(L, 3, NULL));
    snn_optim_set_iterations(o, lua_tointeger(L, 3));
    return 0;
  }
  if (snl_is_lua_layer(o)) {
    lua_rawgeti(L, lua_upvalueindex(1), SNN_LAYER + 1);
    lua_pushvalue(L, 2);
    const bool taken = lua_rawget(L, -2) != LUA_TNIL || common_field(L, o, key);
    if (taken) return snl_error(L, "%s: '%s' is a method or field of all layers; choose another name", snn_name(o), key);
    lua_settop(L, 3);
    return snl_layer_set(L);
  }
  if (*key == 0) return snl_error(L, "%s: only fields with names can be set", snn_name(o));
  return snl_error(L, "%s: '%s' cannot be set; %s", snn_name(o), key,
                   o->cls->family == SNN_OPTIM ? "lr, iterations and name can" : strcmp(key,
                       "training") == 0 ? "train() and eval() switch" : "name can");
}

static int to_string(lua_State *L) {
  const snl_object *b = snl_test_object_box(L, 1);
  if (b && b->o) lua_pushstring(L, SNN_DESCRIBE(b->o));
  else lua_pushliteral(L, "object (closed)");
  return 1;
}

static int length(lua_State *L) {
  const snn_obj *o = snl_check_object(L, 1);
  if (!o->cls->children) return snl_error(L, "%s has no length", snn_name(o));
  lua_pushinteger(L, o->nchild);
  return 1;
}

void snl_open_object(lua_State *L) {
  const int module = lua_gettop(L);
  lua_newtable(L);
  const int mt = lua_gettop(L);
  lua_pushvalue(L, mt);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &metatable_key);
  lua_newtable(L); /* boxes by object, weak values */
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &boxes_key);
  static const luaL_Reg meta[] = {{"__gc", collect}, {"__tostring", to_string}, {"__call", snl_call_object}, {"__len", length}, {NULL, NULL}};
  luaL_setfuncs(L, meta, 0);
  lua_pushliteral(L, "slugnet.Object");
  lua_setfield(L, mt, "__name");
  lua_createtable(L, SNN_FAMILIES, 0);
  for (int f = 0; f < SNN_FAMILIES; f++) {
    snl_push_methods(L, (snn_family)f);
    lua_rawseti(L, -2, f + 1);
  }
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, index_object, 1);
  lua_setfield(L, mt, "__index");
  lua_pushcclosure(L, newindex_object, 1);
  lua_setfield(L, mt, "__newindex");
  lua_settop(L, module);
  for (const snn_class *const *c = snn_classes; *c; c++) {
    snl_push_constructor(L, *c);
    lua_setfield(L, module, (*c)->name);
  }
  static const luaL_Reg functions[] = {{"from_config", snl_from_config}, {"layer", snl_layer}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
