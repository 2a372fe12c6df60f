/* layer.c - sn.layer: layers written in Lua. Their fields are in a user value of their box; tensors set outside of forward are kept and saved, those
 * that require a gradient are trained, and layers among the fields belong to them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "diff/tape.h"
#include "script/object.h"
#include "script/tensor.h"

#define FIELDS_MAX 200

static const char classes_key, slots_key, args_key, class_mt_key;

typedef struct body {
  snn_outside vt;
  snn_obj *o;
  int busy;                /* inside forward: tensors set now are not kept */
} body;

/* ---- from C into Lua */

/* Pushes the layer's box; -1 after sn_fail, nothing pushed. */
static int push_self(lua_State *L, const body *b) {
  if (L == NULL) return sn_fail("%s is written in Lua and can only run from a script", b->vt.name);
  if (!lua_checkstack(L, FIELDS_MAX + 16)) return sn_fail("%s: the Lua stack is full", b->vt.name);
  return snl_push_known(L, b->o) ? 0 : sn_fail("%s: its Lua part is gone", b->vt.name);
}

/* Stack: body, x or NULL, shape or NULL. Calls forward(self, x) or build(self, shape); one result. */
static int call_method(lua_State *L) {
  const body *b = lua_touserdata(L, 1);
  snt_tensor *x = lua_touserdata(L, 2);
  const snn_shape *in = lua_touserdata(L, 3);
  if (push_self(L, b) < 0) return luaL_error(L, "%s", sn_error_message());
  lua_getiuservalue(L, 4, SNL_CLASS);
  lua_getfield(L, -1, x ? "forward" : "build");
  lua_pushvalue(L, 4);
  if (x) {
    snl_push_tensor(L, x);
  } else {
    lua_createtable(L, in->ndim, 0);
    for (int i = 0; i < in->ndim; i++) {
      lua_pushinteger(L, in->d[i]);
      lua_rawseti(L, -2, i + 1);
    }
  }
  lua_call(L, 2, 1);
  if (x && snl_test_tensor(L, -1) == NULL) return luaL_error(L, "%s: forward gave a %s; it wants to give a tensor", b->vt.name, luaL_typename(L, -1));
  return 1;
}

static int call(body *b, snt_tensor *x, const snn_shape *in) {
  lua_State *L = snl_now();
  if (push_self(L, b) < 0) return -1;
  lua_pop(L, 1);
  lua_pushcfunction(L, call_method);
  lua_pushlightuserdata(L, b);
  lua_pushlightuserdata(L, x);
  lua_pushlightuserdata(L, (void *)(uintptr_t)in);
  return snl_pcall(L, 3, 1);
}

static snt_tensor *forward(void *ctx, snt_tensor *x) {
  body *b = ctx;
  b->busy++;
  const int rc = call(b, x, NULL);
  b->busy--;
  if (rc < 0) return NULL;
  snt_tensor *y = sno_own(snt_retain(snl_test_tensor(snl_now(), -1)));
  lua_pop(snl_now(), 1);
  return y;
}

static bool has_method(lua_State *L, const body *b, const char *name) {
  (void)b;
  lua_getiuservalue(L, -1, SNL_CLASS);
  bool found = false;
  for (lua_pushnil(L); !found && lua_next(L, -2); lua_pop(L, 1)) {
    found = lua_type(L, -2) == LUA_TSTRING && strcmp(lua_tostring(L, -2), name) == 0;
    if (found) {
      lua_pop(L, 2);
      break;
    }
  }
  lua_pop(L, 1);
  return found;
}

/* build(self, inshape) -> outshape, or nothing: then the shape is found by running */
static int build(void *ctx, const snn_shape *in, snn_shape *out) {
  body *b = ctx;
  lua_State *L = snl_now();
  if (push_self(L, b) < 0) return -1;
  const bool there = has_method(L, b, "build");
  lua_pop(L, 1);
  if (!there) return 0;
  if (call(b, NULL, in) < 0) return -1;
  int rc = 0;
  if (lua_type(L, -1) == LUA_TTABLE && lua_rawlen(L, -1) < SNT_MAXDIM) {
    out->ndim = (int)lua_rawlen(L, -1);
    for (int i = 0; i < out->ndim && rc == 0; i++) {
      lua_rawgeti(L, -1, i + 1);
      if (lua_isinteger(L, -1)) out->d[i] = lua_tointeger(L, -1);
      else rc = sn_fail("%s: build gave a shape with a %s in it", b->vt.name, luaL_typename(L, -1));
      lua_pop(L, 1);
    }
  } else if (lua_isinteger(L, -1)) {
    out->ndim = 1;
    out->d[0] = lua_tointeger(L, -1);
  } else if (!lua_isnil(L, -1)) {
    rc = sn_fail("%s: build gave a %s; it wants to give the shape of one sample, or nothing", b->vt.name, luaL_typename(L, -1));
  }
  lua_pop(L, 1);
  return rc;
}

/* ---- fields, in the order of their names */

typedef struct field { const char *key; int at; bool kept; } field;

static int by_name(const void *a, const void *b) { return strcmp(((const field *)a)->key, ((const field *)b)->key); }

/* Pushes the values of all fields that may matter; how many, or -1. Never raises. The box is on top. */
static int push_fields(lua_State *L, const body *b, field *f) {
  int n = 0;
  lua_getiuservalue(L, -1, SNL_FIELDS);
  const int fields = lua_gettop(L);
  lua_rawgetp(L, fields, &slots_key);
  const int slots = lua_gettop(L);
  lua_pushnil(L);
  while (lua_next(L, fields)) {
    const int type = lua_type(L, -1);
    if (lua_type(L, -2) != LUA_TSTRING || (type != LUA_TUSERDATA && type != LUA_TTABLE)) {
      lua_pop(L, 1);
      continue;
    }
    if (n == FIELDS_MAX) return sn_fail("%s: more than %d fields hold tensors or tables", b->vt.name, FIELDS_MAX);
    lua_pushvalue(L, -2);
    lua_rawget(L, slots);
    f[n].kept = lua_toboolean(L, -1);
    lua_pop(L, 1);
    f[n].key = lua_tostring(L, -2);
    lua_insert(L, -2);
    f[n++].at = lua_gettop(L) - 1;
  }
  qsort(f, (size_t)n, sizeof *f, by_name);
  return n;
}

typedef int visit_field(void *ctx, const char *name, snl_box *tensor, snn_obj *layer);

static int visit_value(lua_State *L, int i, const char *name, bool kept, visit_field *fn, void *ctx) {
  snl_box *t = snl_test_box(L, i);
  snn_obj *o = t ? NULL : snl_test_object(L, i);
  if (t) return kept ? fn(ctx, name, t, NULL) : 0;
  return o && o->cls->family == SNN_LAYER ? fn(ctx, name, NULL, o) : 0;
}

/* Fields that are tensors, layers, or lists of them. */
static int each_field(const body *b, visit_field *fn, void *ctx) {
  field f[FIELDS_MAX];
  char name[96];
  lua_State *L = snl_now();
  if (push_self(L, b) < 0) return -1;
  const int top = lua_gettop(L) - 1, n = push_fields(L, b, f);
  int rc = n < 0 ? -1 : 0;
  for (int i = 0; i < n && rc == 0; i++) {
    if (lua_type(L, f[i].at) != LUA_TTABLE) {
      rc = visit_value(L, f[i].at, f[i].key, f[i].kept, fn, ctx);
      continue;
    }
    const int len = (int)lua_rawlen(L, f[i].at);
    for (int k = 1; k <= len && rc == 0; k++) {
      snprintf(name, sizeof name, "%.80s.%d", f[i].key, k - 1);
      lua_rawgeti(L, f[i].at, k);
      rc = visit_value(L, lua_gettop(L), name, f[i].kept, fn, ctx);
      lua_pop(L, 1);
    }
  }
  lua_settop(L, top);
  return rc;
}

typedef struct walking { const char *prefix; snn_visit *fn; void *ctx; } walking;

static int walk_field(void *ctx, const char *key, snl_box *tensor, snn_obj *layer) {
  const walking *w = ctx;
  char name[128];
  snprintf(name, sizeof name, "%s%.80s%s", w->prefix, key, layer ? "." : "");
  if (layer) return snn_walk(layer, name, w->fn, w->ctx);
  if (tensor->t == NULL) return sn_fail("the tensor '%s' of a layer is closed", name);
  return w->fn(w->ctx, name, &tensor->t, sno_requires_grad(tensor->t));
}

static int walk(void *ctx, const char *prefix, snn_visit *fn, void *vctx) {
  walking w = {prefix, fn, vctx};
  return each_field(ctx, walk_field, &w);
}

static int train_field(void *ctx, const char *key, snl_box *tensor, snn_obj *layer) {
  (void)key, (void)tensor;
  if (layer) snn_train(layer, *(const bool *)ctx);
  return 0;
}

static void train(void *ctx, bool on) { each_field(ctx, train_field, &on); }

typedef struct gathering { int n, max; snn_obj **to; } gathering;

static int gather_field(void *ctx, const char *key, snl_box *tensor, snn_obj *layer) {
  (void)key, (void)tensor;
  gathering *g = ctx;
  if (layer && g->n == g->max) return sn_fail("a layer contains more than %d layers", g->max);
  if (layer) g->to[g->n++] = layer;
  return 0;
}

int snl_layer_children(lua_State *L, snn_obj *o, int max, snn_obj **to) {
  (void)L;
  gathering g = {0, max, to};
  return each_field(snn_outside_ctx(o), gather_field, &g) < 0 ? -1 : g.n;
}

static void free_body(void *ctx) { sn_free(ctx); }

bool snl_is_lua_layer(const snn_obj *o) { return snn_outside_ctx(o) != NULL; }

/* ---- self.key */

int snl_layer_field(lua_State *L) {
  lua_getiuservalue(L, 1, SNL_FIELDS);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, -2) != LUA_TNIL) return 1;
  lua_getiuservalue(L, 1, SNL_CLASS);
  lua_pushvalue(L, 2);
  lua_rawget(L, -2);
  return 1;
}

int snl_layer_set(lua_State *L) {
  const body *b = snn_outside_ctx(snl_check_object(L, 1));
  lua_getiuservalue(L, 1, SNL_FIELDS);
  const int fields = lua_gettop(L);
  const snt_tensor *t = snl_test_tensor(L, 3);
  if (lua_isnil(L, 2)) return snl_error(L, "%s: a field's name is nil", b->vt.name);
  if (lua_type(L, 2) == LUA_TSTRING && b->busy == 0) {
    lua_rawgetp(L, fields, &slots_key);
    lua_pushvalue(L, 2);
    lua_pushboolean(L, (t && !(t->meta && t->meta->node)) || lua_istable(L, 3));
    lua_rawset(L, -3);
    if (t) snl_share(L, 3);
  }
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 3);
  lua_rawset(L, fields);
  return 0;
}

/* ---- making one */

typedef struct making { const char *name; snl_object *box; } making;

static int body_make(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  making *m = ctx;
  body *b = sn_calloc(1, sizeof *b);
  if (b == NULL) return -1;
  b->vt = (snn_outside){.name = m->name, .build = build, .forward = forward, .walk = walk, .train = train, .free = free_body};
  if ((b->o = snn_outside_new(&b->vt, b)) == NULL) {
    sn_free(b);
    return -1;
  }
  snn_release(m->box->o);
  m->box->o = b->o;
  return 0;
}

/* Skip(...): the class is argument 1. */
static int construct(lua_State *L) {
  const int n = lua_gettop(L) - 1;
  lua_getfield(L, 1, "class");
  making m = {.name = snl_intern(lua_tostring(L, -1))};
  if (m.name == NULL) return snl_fail(L);
  m.box = snl_push_object_box(L);
  const int self = lua_gettop(L);
  lua_newtable(L); /* fields */
  lua_newtable(L);
  lua_rawsetp(L, -2, &slots_key);
  lua_createtable(L, n, 1);
  for (int i = 1; i <= n; i++) {
    lua_pushvalue(L, i + 1);
    lua_rawseti(L, -2, i);
  }
  lua_pushinteger(L, n);
  lua_setfield(L, -2, "n");
  lua_rawsetp(L, -2, &args_key);
  lua_setiuservalue(L, self, SNL_FIELDS);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, self, SNL_CLASS);
  snl_run(L, 0, body_make, &m);
  snl_enter_object(L, self);
  if (lua_getfield(L, 1, "init") == LUA_TFUNCTION) {
    lua_pushvalue(L, self);
    for (int i = 1; i <= n; i++) lua_pushvalue(L, i + 1);
    lua_call(L, n + 1, 0);
  }
  lua_settop(L, self);
  return 1;
}

bool snl_push_lua_class(lua_State *L, const char *name) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &classes_key) != LUA_TTABLE || lua_getfield(L, -1, name) != LUA_TTABLE) {
    lua_settop(L, 2);
    return false;
  }
  lua_remove(L, -2);
  return true;
}

static int class_string(lua_State *L) {
  lua_getfield(L, 1, "class");
  lua_pushfstring(L, "class %s (a layer written in Lua)", lua_tostring(L, -1));
  return 1;
}

/*** layer(name, {init=function(self, ...) end, forward=function(self, x) return y end, build=function(self, inshape) return outshape end, ...})
 * A class of layers written in Lua; calling it makes a layer, which is used like a built-in one: trained, saved, put into others. `init` gets the
 * constructor's arguments and sets fields: tensors become part of the layer (trained if they require a gradient, else only saved), layers
 * belong to it. `build`, if given, is called once with the shape of one sample and may make weights; without it the shape of the output is found by
 * running forward on zeros. Other functions are methods. The constructor's arguments (numbers, strings, booleans, lists, layers) are saved with a
 * model.
 * @see from_config
 */
int snl_layer(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  if (snn_find(name)) return snl_error(L, "layer: there is a class '%s' already", name);
  if (*name == 0 || strlen(name) > 60) return snl_error(L, "layer: a class name has 1 to 60 characters");
  lua_newtable(L); /* the class: a copy of the definition */
  for (lua_pushnil(L); lua_next(L, 2);) {
    if (lua_type(L, -2) != LUA_TSTRING) return snl_error(L, "layer %s: the definition has entries without a name", name);
    const char *key = lua_tostring(L, -2);
    if ((strcmp(key, "init") == 0 || strcmp(key, "forward") == 0 || strcmp(key, "build") == 0) && !lua_isfunction(L, -1))
      return snl_error(L, "layer %s: '%s' must be a function, got a %s", name, key, luaL_typename(L, -1));
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, 3);
  }
  if (lua_getfield(L, 3, "forward") != LUA_TFUNCTION) return snl_error(L, "layer %s: 'forward' is missing: function(self, x) return ... end", name);
  lua_pop(L, 1);
  lua_pushvalue(L, 1);
  lua_setfield(L, 3, "class");
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &class_mt_key) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_createtable(L, 0, 3);
    lua_pushcfunction(L, construct);
    lua_setfield(L, -2, "__call");
    lua_pushcfunction(L, class_string);
    lua_setfield(L, -2, "__tostring");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &class_mt_key);
  }
  lua_setmetatable(L, 3);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &classes_key) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &classes_key);
  }
  lua_pushvalue(L, 3);
  lua_setfield(L, -2, name);
  lua_settop(L, 3);
  return 1;
}

/* ---- arguments for saving */

/* The value on top becomes what can be written: numbers, strings, booleans, layers as configs, tables of these. */
static void savable(lua_State *L, const char *who, int number, int level) {
  luaL_checkstack(L, 8, NULL);
  snn_obj *o = snl_test_object(L, -1);
  const int type = lua_type(L, -1);
  if (o) {
    snl_push_config(L, o);
    lua_remove(L, -2);
    return;
  }
  if (type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TBOOLEAN) return;
  if (type != LUA_TTABLE || level > 8)
    snl_error(L, "%s: argument %d %s a %s, which cannot be saved; numbers, strings, booleans, lists and layers can", who, number,
        level ? "contains" : "is",
              snl_test_box(L, -1) ? "tensor" : luaL_typename(L, -1));
  const int from = lua_gettop(L);
  lua_newtable(L);
  for (lua_pushnil(L); lua_next(L, from);) {
    savable(L, who, number, level + 1);
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, from + 1);
  }
  lua_remove(L, from);
}

void snl_layer_args(lua_State *L, snn_obj *o) {
  luaL_checkstack(L, 8, NULL);
  if (!snl_push_known(L, o)) snl_error(L, "%s: its Lua part is gone", snn_name(o));
  lua_getiuservalue(L, -1, SNL_FIELDS);
  lua_rawgetp(L, -1, &args_key);
  lua_getfield(L, -1, "n");
  int n = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  const int args = lua_gettop(L);
  for (; n > 0 && lua_rawgeti(L, args, n) == LUA_TNIL; n--) lua_pop(L, 1);
  lua_settop(L, args);
  lua_createtable(L, n, 0);
  for (int i = 1; i <= n; i++) {
    if (lua_rawgeti(L, args, i) == LUA_TNIL) snl_error(L, "%s: argument %d is nil before others that are not; it cannot be saved", snn_name(o), i);
    savable(L, snn_name(o), i, 0);
    lua_rawseti(L, -2, i);
  }
  lua_replace(L, args - 2);
  lua_settop(L, args - 2);
}
