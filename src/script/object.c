/* object.c - layers, losses, optimizers and initialisers in Lua: their userdata, their constructors, and configs from and to tables. */
#include "script/object.h"
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
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
static void hold_all(lua_State *L, int box, const snn_obj *o) {
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
  hold_all(L, -1, o);
}

static int collect(lua_State *L) {
  snl_object *b = lua_touserdata(L, 1);
  snn_obj *o = b->o;
  b->o = NULL;
  snn_release(o);
  return 0;
}

/* ---- constructors */

typedef struct making {
  const snn_class *cls;
  snl_object *box;
  int last;                 /* arguments are 1..last */
  const char *name;         /* option of every class; the string is on the stack or in a table there */
} making;

static const char *const extra_names[] = {"name", NULL};

static int extra(lua_State *L, snl_args *a, const char *key, int value) {
  if (strcmp(key, "name") != 0) return 0;
  if (lua_type(L, value) != LUA_TSTRING) return sn_fail("%s: 'name' must be a string", a->who);
  ((making *)a->ctx)->name = lua_tostring(L, value);
  return 1;
}

static bool plain_table(lua_State *L, int i) {
  if (lua_type(L, i) != LUA_TTABLE) return false;
  if (!lua_getmetatable(L, i)) return true;
  lua_pop(L, 1);
  return false;
}

/* The layer at i, the k-th of a container; NULL after sn_fail. */
static snn_obj *child_at(lua_State *L, int i, const char *who, int k) {
  snn_obj *o = snl_test_object(L, i);
  if (o && o->cls->family == SNN_LAYER) return o;
  char buf[160];
  if (o) sn_fail("%s: entry %d is a %s, %s; layers are wanted", who, k, families[o->cls->family], snn_name(o));
  else if (lua_isfunction(L, i)) sn_fail("%s: entry %d is a function, not a layer; a class is called to make one, as in sn.ReLU()", who, k);
  else sn_fail("%s: entry %d must be a layer, got %s", who, k, snl_describe(L, i, buf, sizeof buf));
  return NULL;
}

static int make(lua_State *L, making *m, const snl_args *a, int nchild, snn_obj *const *child) {
  snn_obj *o = snn_new(m->cls, a->nval, a->val, nchild, child);
  if (o == NULL) return -1;
  (void)L;
  int n, k = 0, rc = 0;
  const sno_arg *arg = sno_parse_args(m->cls->args, &n);
  for (int i = 0; i < n && rc == 0; i++)
    if (arg[i].kind == SNO_TENSOR) rc = snn_set_tensor(o, arg[i].name, k < a->nin ? a->in[k] : NULL), k++;
  if (rc == 0 && m->name) rc = snn_set_name(o, m->name);
  if (rc < 0) {
    snn_release(o);
    return -1;
  }
  snn_release(m->box->o); /* of a first attempt that ran out of memory */
  m->box->o = o;
  return 0;
}

/* Sequential(a, b, {name=}) or Sequential{a, b, name=} */
static int make_container(lua_State *L, making *m, snl_args *a, const sno_arg *arg, int narg) {
  const char *who = m->cls->name;
  const bool one = m->last == 1 && plain_table(L, 1);
  int n = m->last, rc;
  if (one) {
    n = (int)lua_rawlen(L, 1);
    rc = snl_args_table(L, a, arg, narg, 1, n);
  } else {
    const bool options = m->last > 0 && plain_table(L, m->last);
    n -= options;
    rc = snl_args_read(L, a, arg, narg, m->last + !options, m->last);
  }
  if (rc < 0) return -1;
  snn_obj **child = sn_malloc((size_t)(n + 1) * sizeof *child);
  if (child == NULL) return -1;
  for (int i = 0; i < n && rc == 0; i++) {
    if (one) lua_rawgeti(L, 1, i + 1);
    child[i] = child_at(L, one ? -1 : i + 1, who, i + 1);
    if (one) lua_pop(L, 1);
    if (child[i] == NULL) rc = -1;
  }
  if (rc == 0) rc = make(L, m, a, n, child);
  sn_free(child);
  return rc;
}

/* ---- parameters of optimizers: a list of tensors, or of groups {tensor, ..., lr=} */

static int group_option(lua_State *L, snn_obj *o, int k) {
  const char *key = lua_tostring(L, -2);
  if (strcmp(key, "params") == 0) return 0;
  if (lua_type(L, -1) == LUA_TNUMBER) return snn_optim_set(o, k, key, lua_tonumber(L, -1));
  if (lua_type(L, -1) == LUA_TBOOLEAN) return snn_optim_set(o, k, key, lua_toboolean(L, -1));
  return sn_fail("%s: option '%s' of a group must be a number", o->cls->name, key);
}

static int add_tensors(lua_State *L, int i, snn_obj *o) {
  const int n = (int)lua_rawlen(L, i);
  snt_tensor **p = sn_malloc((size_t)(n + 1) * sizeof *p);
  if (p == NULL) return -1;
  int rc = snl_get_tensors(L, i, o->cls->name, "params", n, p);
  if (rc >= 0) rc = snn_optim_add(o, n, p);
  sn_free(p);
  return rc < 0 ? -1 : 0;
}

/* The group at i; its options too unless they are the optimizer's. */
static int add_group(lua_State *L, int i, snn_obj *o, bool options) {
  int rc = -1;
  if (lua_rawlen(L, i) == 0 && options) { /* {params = {...}, lr =} */
    lua_pushnil(L);
    while (rc < 0 && lua_next(L, i)) {
      if (lua_type(L, -2) == LUA_TSTRING && strcmp(lua_tostring(L, -2), "params") == 0 && lua_type(L, -1) == LUA_TTABLE) {
        rc = add_tensors(L, lua_gettop(L), o);
        lua_pop(L, 2);
        if (rc < 0) return -1;
        break;
      }
      lua_pop(L, 1);
    }
  }
  if (rc < 0 && add_tensors(L, i, o) < 0) return -1;
  if (!options) return 0;
  for (lua_pushnil(L); lua_next(L, i); lua_pop(L, 1))
    if (lua_type(L, -2) == LUA_TSTRING && group_option(L, o, snn_optim_groups(o) - 1) < 0) {
      lua_pop(L, 2);
      return -1;
    }
  return 0;
}

static int add_params(lua_State *L, int i, snn_obj *o, bool options) {
  char buf[160];
  if (!lua_checkstack(L, 8)) return sn_fail("%s: the Lua stack is full", o->cls->name);
  if (lua_type(L, i) != LUA_TTABLE)
    return sn_fail("%s: first comes the list of parameters, got %s; options go into a table, as in sn.%s{lr = 0.1}", o->cls->name,
                   snl_describe(L, i, buf, sizeof buf), o->cls->name);
  const int n = (int)lua_rawlen(L, i);
  lua_rawgeti(L, i, 1);
  const bool groups = lua_type(L, -1) == LUA_TTABLE;
  lua_pop(L, 1);
  if (!groups) return add_group(L, i, o, options);
  for (int k = 1; k <= n; k++) {
    lua_rawgeti(L, i, k);
    int rc = 0;
    if (lua_type(L, -1) != LUA_TTABLE) rc = sn_fail("%s: entry %d of the list of groups is %s, not a table", o->cls->name, k, snl_describe(L, -1, buf, sizeof buf));
    else rc = add_group(L, lua_gettop(L), o, true);
    lua_pop(L, 1);
    if (rc < 0) return -1;
  }
  return 0;
}

static int make_optimizer(lua_State *L, making *m, snl_args *a, const sno_arg *arg, int narg) {
  int params = 0, rc;
  bool whole = false;
  if (m->last == 1 && plain_table(L, 1)) {
    const int n = (int)lua_rawlen(L, 1);
    whole = true;
    if (n > 0) params = 1;
    rc = snl_args_table(L, a, arg, narg, 1, n);
  } else {
    if (m->last > 0 && !lua_isnil(L, 1)) params = 1;
    rc = snl_args_read(L, a, arg, narg, 2, m->last);
  }
  if (rc == 0) rc = make(L, m, a, 0, NULL);
  if (rc == 0 && params) rc = add_params(L, 1, m->box->o, !whole);
  return rc;
}

/* opt:add(params, options) */
static int body_add_params(lua_State *L, void *ctx, snt_tensor **out) {
  (void)out;
  snn_obj *o = ctx;
  const int before = snn_optim_groups(o);
  if (add_params(L, 2, o, true) < 0) return -1;
  if (lua_type(L, 3) != LUA_TTABLE) return 0;
  for (lua_pushnil(L); lua_next(L, 3); lua_pop(L, 1))
    for (int k = before; k < snn_optim_groups(o); k++)
      if (lua_type(L, -2) == LUA_TSTRING && group_option(L, o, k) < 0) return -1;
  return 0;
}


int snl_add_params(lua_State *L, snn_obj *o) {
  lua_settop(L, 3);
  snl_run(L, 0, body_add_params, o);
  lua_settop(L, 1);
  return 1;
}

static int body_make(lua_State *L, void *ctx, snt_tensor **out) {
  (void)out;
  making *m = ctx;
  snl_args a;
  int narg, rc;
  if (!lua_checkstack(L, 16)) return sn_fail("%s: the Lua stack is full", m->cls->name);
  const sno_arg *arg = sno_parse_args(m->cls->args, &narg);
  snl_args_init(&a, m->cls->name);
  a.extra = extra;
  a.extra_names = extra_names;
  a.ctx = m;
  if (m->cls->children) {
    rc = make_container(L, m, &a, arg, narg);
  } else if (m->cls->family == SNN_OPTIM) {
    rc = make_optimizer(L, m, &a, arg, narg);
  } else {
    rc = m->last == 1 && plain_table(L, 1) ? snl_args_table(L, &a, arg, narg, 1, 0) : snl_args_read(L, &a, arg, narg, 1, m->last);
    if (rc == 0) rc = make(L, m, &a, 0, NULL);
  }
  snl_args_done(&a);
  return rc;
}

/* Upvalue: the class. */
static int construct(lua_State *L) {
  making m = {.cls = lua_touserdata(L, lua_upvalueindex(1)), .last = lua_gettop(L)};
  m.box = snl_push_object_box(L);
  snl_run(L, 0, body_make, &m);
  snl_enter_object(L, -1);
  hold_all(L, -1, m.box->o);
  return 1;
}

static void push_constructor(lua_State *L, const snn_class *c) {
  lua_pushlightuserdata(L, (void *)(uintptr_t)c);
  lua_pushcclosure(L, construct, 1);
}

/* ---- objects as arguments of objects */

sno_foreign *snl_to_foreign(lua_State *L, int i, const sno_arg *arg, const char *who) {
  const snn_family f = strstr(arg->name, "init") ? SNN_INIT : SNN_LAYER;
  static const char *const wanted[] = {"a layer such as sn.ReLU(), or its name", "", "", "an initialiser such as sn.HeNormal(), or its name"};
  char buf[160];
  snn_obj *o = snl_test_object(L, i);
  if (o && o->cls->family == f) return &snn_retain(o)->base;
  if (o) {
    sn_fail("%s: '%s' must be %s, got %s, a %s", who, arg->name, wanted[f], snn_name(o), families[o->cls->family]);
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
  push_constructor(L, c);
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
  else return snl_error(L, "from_config: there is no class '%.80s'; a layer written in Lua is defined by sn.layer(\"%.80s\", {...}) before its model is loaded", name, name);
  const snl_object *b = snl_test_object_box(L, -1);
  if (lua_getfield(L, 1, "name") == LUA_TSTRING && b && snn_set_name(b->o, lua_tostring(L, -1)) < 0) return snl_fail(L);
  lua_pop(L, 1);
  return 1;
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
  else if (o->cls->family == SNN_LAYER && strcmp(key, "training") == 0) lua_pushboolean(L, o->training);
  else if (o->cls->family == SNN_LAYER && strcmp(key, "inshape") == 0) push_shape(L, o->built, &o->in);
  else if (o->cls->family == SNN_LAYER && strcmp(key, "outshape") == 0) push_shape(L, o->built, &o->out);
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
    if (lua_type(L, 3) != LUA_TNUMBER || !(v >= 0) || v > 1e300) return snl_error(L, "%s: lr wants to be a number from 0, got %s", snn_name(o), luaL_tolstring(L, 3, NULL));
    snn_optim_set_lr(o, v);
    return 0;
  }
  if (o->cls->family == SNN_OPTIM && strcmp(key, "iterations") == 0) {
    if (!lua_isinteger(L, 3) || lua_tointeger(L, 3) < 0) return snl_error(L, "%s: iterations wants to be a whole number from 0, got %s", snn_name(o), luaL_tolstring(L, 3, NULL));
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
                   o->cls->family == SNN_OPTIM ? "lr, iterations and name can" : strcmp(key, "training") == 0 ? "train() and eval() switch" : "name can");
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
    push_constructor(L, *c);
    lua_setfield(L, module, (*c)->name);
  }
  static const luaL_Reg functions[] = {{"from_config", snl_from_config}, {"layer", snl_layer}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
