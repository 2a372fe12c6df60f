/* make.c - constructors: a class's arguments read by its argument string, layers for containers, parameters for optimizers. */
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "script/object.h"

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
  if (o) sn_fail("%s: entry %d is a %s, %s; layers are wanted", who, k, snl_family(o), snn_name(o));
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
    if (lua_type(L, -1) != LUA_TTABLE) rc = sn_fail("%s: entry %d of the list of groups is %s, not a table", o->cls->name, k,
        snl_describe(L, -1, buf, sizeof buf));
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
  snl_keep_inner(L, -1, m.box->o);
  return 1;
}

void snl_push_constructor(lua_State *L, const snn_class *c) {
  lua_pushlightuserdata(L, (void *)(uintptr_t)c);
  lua_pushcclosure(L, construct, 1);
}
