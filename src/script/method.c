/* method.c - the methods of layers, losses, optimizers and initialisers. */
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "diff/map.h"
#include "diff/tape.h"
#include "script/object.h"
#include "script/tensor.h"



static snn_obj *check_family(lua_State *L, snn_family f, const char *method) {
  snn_obj *o = snl_check_object(L, 1);
  if (o->cls->family != f) snl_error(L, "%s: %s is a %s", method, snn_name(o), snl_family(o));
  return o;
}

/* ---- calling */

static int body_layer(lua_State *L, void *ctx, snt_tensor **out) {
  snn_obj *o = ctx;
  snt_tensor *x = snl_get_tensor(L, 2, snn_name(o), "x");
  return x && (out[0] = snn_forward(o, x)) ? 1 : -1;
}

static int body_loss(lua_State *L, void *ctx, snt_tensor **out) {
  snn_obj *o = ctx;
  snt_tensor *x = snl_get_tensor(L, 2, snn_name(o), "prediction"), *t = x ? snl_get_tensor(L, 3, snn_name(o), "target") : NULL;
  return t && (out[0] = snn_loss(o, x, t)) ? 1 : -1;
}

int snl_call_object(lua_State *L) {
  snn_obj *o = snl_check_object(L, 1);
  const int n = lua_gettop(L) - 1;
  if (o->cls->family == SNN_LAYER) {
    if (n > 1) return snl_error(L, "%s: a layer is called with one tensor, got %d arguments", snn_name(o), n);
    return snl_run(L, 1, body_layer, o);
  }
  if (o->cls->family == SNN_LOSS) {
    if (n != 2) return snl_error(L, "%s: a loss is called with prediction and target, got %d argument%s", snn_name(o), n, n == 1 ? "" : "s");
    return snl_run(L, 1, body_loss, o);
  }
  return snl_error(L, o->cls->family == SNN_OPTIM ? "%s: an optimizer is not called; step() updates" : "%s: an initialiser is not called; fill(tensor) fills", snn_name(o));
}

static int body_logits(lua_State *L, void *ctx, snt_tensor **out) {
  snn_obj *o = ctx;
  snt_tensor *x = snl_get_tensor(L, 2, snn_name(o), "logits"), *t = x ? snl_get_tensor(L, 3, snn_name(o), "target") : NULL;
  return t && (out[0] = snn_loss_logits(o, x, t)) ? 1 : -1;
}

/* loss:from_logits(logits, target) */
static int from_logits(lua_State *L) { return snl_run(L, 1, body_logits, check_family(L, SNN_LOSS, "from_logits")); }

/* loss:head(): the activation before which it can be computed, or nil */
static int head(lua_State *L) {
  lua_pushstring(L, snn_loss_head(check_family(L, SNN_LOSS, "head")));
  return 1;
}

typedef struct ahead { snn_obj *o; const char *head; bool hit; } ahead;

static int body_ahead(lua_State *L, void *ctx, snt_tensor **out) {
  ahead *a = ctx;
  snt_tensor *x = snl_get_tensor(L, 2, snn_name(a->o), "x");
  return x && (out[0] = snn_forward_logits(a->o, x, a->head, &a->hit)) ? 1 : -1;
}

/* layer:forward_logits(x, head): the output before the last activation of that class, and whether there was one */
static int forward_logits(lua_State *L) {
  ahead a = {check_family(L, SNN_LAYER, "forward_logits"), luaL_checkstring(L, 3), false};
  snl_run(L, 1, body_ahead, &a);
  lua_pushboolean(L, a.hit);
  return 2;
}

static int has_head(lua_State *L) {
  lua_pushboolean(L, snn_has_head(check_family(L, SNN_LAYER, "has_head"), luaL_checkstring(L, 2)));
  return 1;
}

/* ---- shapes */

typedef struct building { snn_obj *o; snn_shape in, out; } building;

static int body_build(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  building *b = ctx;
  return snn_build(b->o, &b->in, &b->out);
}

/* layer:build(inshape): the shape of one sample's output; the weights are made */
static int build(lua_State *L) {
  building b = {.o = check_family(L, SNN_LAYER, "build")};
  const bool table = lua_istable(L, 2);
  const int n = table ? (int)lua_rawlen(L, 2) : lua_gettop(L) - 1;
  if (!table && n == 0 && !snn_declared(b.o, &b.in)) return snl_error(L, "%s: build wants the shape of one sample, such as build{1, 28, 28}", snn_name(b.o));
  if (n >= SNT_MAXDIM) return snl_error(L, "%s: a sample has at most %d dimensions, got %d", snn_name(b.o), SNT_MAXDIM - 1, n);
  if (table || n > 0) b.in.ndim = n;
  for (int i = 0; i < n; i++) {
    if (table) lua_rawgeti(L, 2, i + 1);
    else lua_pushvalue(L, i + 2);
    if (!lua_isinteger(L, -1) && (lua_type(L, -1) != LUA_TNUMBER || lua_tonumber(L, -1) != (lua_Number)lua_tointeger(L, -1)))
      return snl_error(L, "%s: a shape is a list of whole numbers, got a %s", snn_name(b.o), luaL_typename(L, -1));
    b.in.d[i] = lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
  snl_run(L, 0, body_build, &b);
  lua_createtable(L, b.out.ndim, 0);
  for (int i = 0; i < b.out.ndim; i++) {
    lua_pushinteger(L, b.out.d[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* ---- tensors by name */

typedef struct entry { snt_tensor *t; bool param; char name[120]; } entry;
typedef struct listing { int n, room; entry e[]; } listing;
typedef struct listing_ctx { snn_obj *o; char **guard; } listing_ctx;

static int note(void *ctx, const char *name, snt_tensor **t, bool param) {
  char **guard = ctx;
  listing *l = (void *)*guard;
  if (l->n == l->room) {
    listing *more = sn_realloc(l, sizeof *l + (size_t)(l->room * 2) * sizeof *l->e);
    if (more == NULL) return -1;
    *guard = (char *)more;
    l = more;
    l->room *= 2;
  }
  entry *e = &l->e[l->n];
  if (strlen(name) >= sizeof e->name) return sn_fail("the name '%s' of a layer's tensor is too long", name);
  strcpy(e->name, name);
  e->t = *t;
  e->param = param;
  l->n++;
  return 0;
}

static int body_list(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  const listing_ctx *c = ctx;
  sn_free(*c->guard);
  *c->guard = sn_malloc(sizeof(listing) + 32 * sizeof(entry));
  if (*c->guard == NULL) return -1;
  *(listing *)(void *)*c->guard = (listing){.room = 32};
  return c->o->cls->family == SNN_OPTIM ? snn_optim_walk(c->o, note, c->guard) : snn_walk(c->o, "", note, c->guard);
}

/* Pushes what keeps the list. */
static const listing *list_tensors(lua_State *L, snn_obj *o) {
  listing_ctx c = {o, snl_push_guard(L)};
  snl_run(L, 0, body_list, &c);
  return (const listing *)(const void *)*c.guard;
}

static bool seen(const listing *l, int i) {
  for (int k = 0; k < i; k++)
    if (l->e[k].t == l->e[i].t) return true;
  return false;
}

/* layer:parameters(): every trained tensor once, in order */
static int parameters(lua_State *L) {
  const listing *l = list_tensors(L, check_family(L, SNN_LAYER, "parameters"));
  lua_newtable(L);
  int k = 0;
  for (int i = 0; i < l->n; i++) {
    if (!l->e[i].param || seen(l, i)) continue;
    snl_push_shared(L, l->e[i].t);
    lua_rawseti(L, -2, ++k);
  }
  return 1;
}

/* layer:named(): trained tensors by name, and the names in order */
static int named(lua_State *L) {
  const listing *l = list_tensors(L, check_family(L, SNN_LAYER, "named"));
  lua_newtable(L);
  lua_newtable(L);
  int k = 0;
  for (int i = 0; i < l->n; i++) {
    if (!l->e[i].param) continue;
    snl_push_shared(L, l->e[i].t);
    lua_setfield(L, -3, l->e[i].name);
    lua_pushstring(L, l->e[i].name);
    lua_rawseti(L, -2, ++k);
  }
  return 2;
}

static void push_state(lua_State *L, const listing *l) {
  lua_createtable(L, 0, l->n);
  for (int i = 0; i < l->n; i++) {
    snl_push_shared(L, l->e[i].t);
    lua_setfield(L, -2, l->e[i].name);
  }
}

/* layer:state(): every tensor by name, the running averages too; they are the layer's own, not copies */
static int state(lua_State *L) {
  push_state(L, list_tensors(L, check_family(L, SNN_LAYER, "state")));
  return 1;
}

typedef struct copying { int n; snt_tensor **from, **to; } copying;

static int body_copy(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  const copying *c = ctx;
  sno_mode *mode = sno_mode_now();
  const bool grad = mode->grad;
  int rc = 0;
  mode->grad = false;
  for (int i = 0; i < c->n && rc == 0; i++) rc = sno_call2(&sno_op_copy_, c->to[i], c->from[i]) ? 0 : -1;
  mode->grad = grad;
  return rc;
}

/* Copies the table of tensors at `table` into the listed ones, after everything was checked. */
static void load_tensors(lua_State *L, const char *who, const listing *l, int table) {
  copying c = {.from = lua_newuserdatauv(L, (size_t)(2 * l->n + 1) * sizeof *c.from, 0)};
  c.to = c.from + l->n;
  const char *names[512];
  int nn = 0;
  for (int i = 0; i < l->n; i++) {
    lua_getfield(L, table, l->e[i].name);
    snt_tensor *t = snl_test_tensor(L, -1);
    if (t == NULL) snl_error(L, "%s: load_state: '%s' (%s) is %s", who, l->e[i].name, SNT_SHAPE(l->e[i].t), lua_isnil(L, -1) ? "missing" : "no open tensor");
    if (!snt_same_shape(t, l->e[i].t))
      snl_error(L, "%s: load_state: '%s' is %s here, %s in the state", who, l->e[i].name, SNT_SHAPE(l->e[i].t), SNT_SHAPE(t));
    c.from[c.n] = t;
    c.to[c.n++] = l->e[i].t;
    if (nn < 511) names[nn++] = l->e[i].name;
    lua_pop(L, 1);
  }
  names[nn] = NULL;
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) continue;
    const char *key = lua_tostring(L, -2);
    int i = 0;
    while (i < l->n && strcmp(l->e[i].name, key) != 0) i++;
    if (i < l->n) continue;
    const char *near = snl_nearest(key, names);
    snl_error(L, "%s: load_state: there is nothing named '%.100s' here%s%s%s", who, key, near ? "; there is '" : "", near ? near : "", near ? "'" : "");
  }
  snl_run(L, 0, body_copy, &c);
}

/* layer:load_state(t): the numbers of state() back into the tensors, in place */
static int load_state(lua_State *L) {
  snn_obj *o = check_family(L, SNN_LAYER, "load_state");
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  load_tensors(L, snn_name(o), list_tensors(L, o), 2);
  lua_settop(L, 1);
  return 1;
}

/* layer:count(): numbers that are trained, and all */
static int count(lua_State *L) {
  const listing *l = list_tensors(L, check_family(L, SNN_LAYER, "count"));
  int64_t params = 0, all = 0;
  for (int i = 0; i < l->n; i++) {
    if (seen(l, i)) continue;
    all += snt_numel(l->e[i].t);
    if (l->e[i].param) params += snt_numel(l->e[i].t);
  }
  lua_pushinteger(L, params);
  lua_pushinteger(L, all);
  return 2;
}

static int body_clear(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  const listing *l = ctx;
  for (int i = 0; i < l->n; i++)
    if (sno_set_grad(l->e[i].t, NULL) < 0) return -1;
  return 0;
}

static int zero_grad(lua_State *L) {
  const listing *l = list_tensors(L, check_family(L, SNN_LAYER, "zero_grad"));
  snl_run(L, 0, body_clear, (void *)(uintptr_t)l);
  lua_settop(L, 1);
  return 1;
}

typedef struct convert { snn_obj *o; sn_dtype t; } convert;

static int convert_one(void *ctx, const char *name, snt_tensor **t, bool param) {
  (void)name, (void)param;
  const sn_dtype to = *(const sn_dtype *)ctx;
  if (!sn_is_float((sn_dtype)(*t)->dtype) || (*t)->dtype == to) return 0;
  snt_tensor *x = snt_to(*t, to);
  if (x == NULL) return -1;
  if (sno_requires_grad(*t) && sno_set_requires_grad(x, true) < 0) {
    snt_release(x);
    return -1;
  }
  snt_release(*t);
  *t = x;
  return 0;
}

static int body_convert(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  convert *c = ctx;
  return snn_walk(c->o, "", convert_one, &c->t);
}

/* layer:to(dtype): its floating tensors become new ones of that dtype; optimizers are to be made after it */
static int to_dtype(lua_State *L) {
  convert c = {.o = check_family(L, SNN_LAYER, "to")};
  const int t = sn_dtype_find(luaL_checkstring(L, 2));
  if (t < 0 || !sn_is_float((sn_dtype)t)) return snl_error(L, "%s: to wants the name of a floating dtype, got '%s'", snn_name(c.o), lua_tostring(L, 2));
  c.t = (sn_dtype)t;
  snl_run(L, 0, body_convert, &c);
  lua_settop(L, 1);
  return 1;
}

/* ---- structure */

static int config(lua_State *L) {
  snl_push_config(L, snl_check_object(L, 1));
  return 1;
}

static int describe(lua_State *L) {
  lua_pushstring(L, SNN_DESCRIBE(snl_check_object(L, 1)));
  return 1;
}

typedef struct switching { snn_obj *o; bool on; } switching;
static int body_train(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  const switching *s = ctx;
  snn_train(s->o, s->on);
  return 0;
}

static int train(lua_State *L) {
  switching s = {check_family(L, SNN_LAYER, "train"), lua_isnoneornil(L, 2) || lua_toboolean(L, 2)};
  snl_run(L, 0, body_train, &s);
  lua_settop(L, 1);
  return 1;
}

static int eval(lua_State *L) {
  switching s = {check_family(L, SNN_LAYER, "eval"), false};
  snl_run(L, 0, body_train, &s);
  lua_settop(L, 1);
  return 1;
}

static int body_add(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  snn_obj **p = ctx;
  return snn_add_child(p[0], p[1]);
}

/* net:add(layer) */
static int add(lua_State *L) {
  snn_obj *p[2] = {check_family(L, SNN_LAYER, "add"), snl_test_object(L, 2)};
  if (p[1] == NULL) return snl_error(L, "%s: add wants a layer, got a %s%s", snn_name(p[0]), luaL_typename(L, 2), lua_isfunction(L, 2) ? "; a class is called to make one" : "");
  snl_run(L, 0, body_add, p);
  snl_keep(L, 1, 2);
  lua_settop(L, 1);
  return 1;
}

typedef struct family { snn_obj *o; snn_obj *child[256]; int n; } family;
static int body_children(lua_State *L, void *ctx, snt_tensor **out) {
  (void)out;
  family *f = ctx;
  f->n = snl_layer_children(L, f->o, 256, f->child);
  return f->n < 0 ? -1 : 0;
}

/* layer:children(): the layers directly inside */
static int children(lua_State *L) {
  snn_obj *o = check_family(L, SNN_LAYER, "children");
  if (snl_is_lua_layer(o)) {
    family f = {.o = o};
    snl_run(L, 0, body_children, &f);
    lua_createtable(L, f.n, 0);
    for (int i = 0; i < f.n; i++) {
      snl_push_object(L, f.child[i]);
      lua_rawseti(L, -2, i + 1);
    }
    return 1;
  }
  lua_createtable(L, o->nchild, 0);
  for (int i = 0; i < o->nchild; i++) {
    snl_push_object(L, o->child[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* ---- optimizers */

static int body_step(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  return snn_optim_step(ctx);
}
static int optim_step(lua_State *L) { return snl_run(L, 0, body_step, check_family(L, SNN_OPTIM, "step")); }

static int body_zero(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  return snn_optim_zero_grad(ctx);
}
static int optim_zero(lua_State *L) { return snl_run(L, 0, body_zero, check_family(L, SNN_OPTIM, "zero_grad")); }

static int optim_add(lua_State *L) { return snl_add_params(L, check_family(L, SNN_OPTIM, "add")); }

static void push_params(lua_State *L, const snn_obj *o, int k, int *at) {
  snt_tensor *const *p;
  const int n = snn_optim_params(o, k, &p);
  for (int i = 0; i < n; i++) {
    snl_push_shared(L, p[i]);
    lua_rawseti(L, -2, ++*at);
  }
}

static int optim_params(lua_State *L) {
  const snn_obj *o = check_family(L, SNN_OPTIM, "parameters");
  int at = 0;
  lua_newtable(L);
  for (int k = 0; k < snn_optim_groups(o); k++) push_params(L, o, k, &at);
  return 1;
}

/* opt:groups(): tables of params and the options of each group */
static int optim_groups(lua_State *L) {
  snn_obj *o = check_family(L, SNN_OPTIM, "groups");
  int narg;
  const sno_arg *a = sno_parse_args(o->cls->args, &narg);
  lua_newtable(L);
  for (int k = 0; k < snn_optim_groups(o); k++) {
    int at = 0;
    lua_newtable(L);
    lua_newtable(L);
    push_params(L, o, k, &at);
    lua_setfield(L, -2, "params");
    for (int i = 0; i < narg; i++) {
      double v;
      if (snn_optim_get(o, k, a[i].name, &v) < 0) continue;
      if (a[i].kind == SNO_BOOL) lua_pushboolean(L, v != 0);
      else lua_pushnumber(L, v);
      lua_setfield(L, -2, a[i].name);
    }
    lua_rawseti(L, -2, k + 1);
  }
  sn_error_clear();
  return 1;
}

/* opt:state(): what a resumed run needs: iterations, lr, and tensors by group, parameter and name */
static int optim_state(lua_State *L) {
  snn_obj *o = check_family(L, SNN_OPTIM, "state");
  const listing *l = list_tensors(L, o);
  lua_createtable(L, 0, 3);
  lua_pushinteger(L, snn_optim_iterations(o));
  lua_setfield(L, -2, "iterations");
  lua_getfield(L, 1, "lr");
  lua_setfield(L, -2, "lr");
  push_state(L, l);
  lua_setfield(L, -2, "tensors");
  return 1;
}

static int optim_load(lua_State *L) {
  snn_obj *o = check_family(L, SNN_OPTIM, "load_state");
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  lua_getfield(L, 2, "iterations");
  lua_getfield(L, 2, "lr");
  if (!lua_isinteger(L, 3) || lua_type(L, 4) != LUA_TNUMBER) return snl_error(L, "%s: load_state: wants the table that state() gives, with iterations and lr", snn_name(o));
  if (lua_getfield(L, 2, "tensors") == LUA_TNIL) {
    lua_pop(L, 1);
    lua_newtable(L);
  }
  luaL_checktype(L, 5, LUA_TTABLE);
  load_tensors(L, snn_name(o), list_tensors(L, o), 5);
  snn_optim_set_iterations(o, lua_tointeger(L, 3));
  snn_optim_set_lr(o, lua_tonumber(L, 4));
  lua_settop(L, 1);
  return 1;
}

/* ---- initialisers */

static int body_fill(lua_State *L, void *ctx, snt_tensor **out) {
  snn_obj *o = ctx;
  double in, fan_out;
  (void)out;
  snt_tensor *t = snl_get_tensor(L, 2, snn_name(o), "tensor");
  if (t == NULL) return -1;
  snn_fans(t, &in, &fan_out);
  return snn_fill(o, t, in, fan_out);
}

static int fill(lua_State *L) {
  snn_obj *o = check_family(L, SNN_INIT, "fill");
  snl_check_tensor(L, 2);
  snl_run(L, 0, body_fill, o);
  lua_settop(L, 2);
  return 1;
}

void snl_push_methods(lua_State *L, snn_family f) {
  static const luaL_Reg common[] = {{"config", config}, {"describe", describe}, {NULL, NULL}};
  static const luaL_Reg layer[] = {
      {"build", build}, {"parameters", parameters}, {"named", named}, {"state", state}, {"load_state", load_state}, {"count", count}, {"train", train},
      {"eval", eval}, {"children", children}, {"add", add}, {"forward_logits", forward_logits}, {"has_head", has_head}, {"zero_grad", zero_grad},
      {"forward", snl_call_object}, {"to", to_dtype}, {NULL, NULL}};
  static const luaL_Reg loss[] = {{"head", head}, {"from_logits", from_logits}, {NULL, NULL}};
  static const luaL_Reg optim[] = {{"step", optim_step}, {"zero_grad", optim_zero}, {"add", optim_add}, {"parameters", optim_params},
                                   {"groups", optim_groups}, {"state", optim_state}, {"load_state", optim_load}, {NULL, NULL}};
  static const luaL_Reg init[] = {{"fill", fill}, {NULL, NULL}};
  static const luaL_Reg *const own[] = {layer, loss, optim, init};
  lua_newtable(L);
  luaL_setfuncs(L, common, 0);
  luaL_setfuncs(L, own[f], 0);
}
