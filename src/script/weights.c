/* weights.c - the tensors of layers by name: parameters, state and loading it, counting, conversion. */
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "diff/map.h"
#include "diff/tape.h"
#include "script/object.h"
#include "script/tensor.h"

typedef struct listing_ctx { snn_obj *o; char **guard; } listing_ctx;

static int note(void *ctx, const char *name, snt_tensor **t, bool param) {
  char **guard = ctx;
  snl_listing *l = (void *)*guard;
  if (l->n == l->room) {
    snl_listing *more = sn_realloc(l, sizeof *l + (size_t)(l->room * 2) * sizeof *l->e);
    if (more == NULL) return -1;
    *guard = (char *)more;
    l = more;
    l->room *= 2;
  }
  snl_entry *e = &l->e[l->n];
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
  *c->guard = sn_malloc(sizeof(snl_listing) + 32 * sizeof(snl_entry));
  if (*c->guard == NULL) return -1;
  *(snl_listing *)(void *)*c->guard = (snl_listing){.room = 32};
  return c->o->cls->family == SNN_OPTIM ? snn_optim_walk(c->o, note, c->guard) : snn_walk(c->o, "", note, c->guard);
}

/* Pushes what keeps the list. */
const snl_listing *snl_list_tensors(lua_State *L, snn_obj *o) {
  listing_ctx c = {o, snl_push_guard(L)};
  snl_run(L, 0, body_list, &c);
  return (const snl_listing *)(const void *)*c.guard;
}

static bool seen(const snl_listing *l, int i) {
  for (int k = 0; k < i; k++)
    if (l->e[k].t == l->e[i].t) return true;
  return false;
}

/* layer:parameters(): every trained tensor once, in order */
static int parameters(lua_State *L) {
  const snl_listing *l = snl_list_tensors(L, snl_check_family(L, SNN_LAYER, "parameters"));
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
  const snl_listing *l = snl_list_tensors(L, snl_check_family(L, SNN_LAYER, "named"));
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

void snl_push_state(lua_State *L, const snl_listing *l) {
  lua_createtable(L, 0, l->n);
  for (int i = 0; i < l->n; i++) {
    snl_push_shared(L, l->e[i].t);
    lua_setfield(L, -2, l->e[i].name);
  }
}

/* layer:state(): every tensor by name, the running averages too; they are the layer's own, not copies */
static int state(lua_State *L) {
  snl_push_state(L, snl_list_tensors(L, snl_check_family(L, SNN_LAYER, "state")));
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
void snl_load_tensors(lua_State *L, const char *who, const snl_listing *l, int table) {
  copying c = {.from = lua_newuserdatauv(L, (size_t)(2 * l->n + 1) * sizeof *c.from, 0)};
  c.to = c.from + l->n;
  const char *names[512];
  int nn = 0;
  for (int i = 0; i < l->n; i++) {
    lua_getfield(L, table, l->e[i].name);
    snt_tensor *t = snl_test_tensor(L, -1);
    if (t == NULL) snl_error(L, "%s: load_state: '%s' (%s) is %s", who, l->e[i].name, SNT_SHAPE(l->e[i].t),
        lua_isnil(L, -1) ? "missing" : "no open tensor");
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
    snl_error(L, "%s: load_state: there is nothing named '%.100s' here%s%s%s", who, key, near ? "; there is '" : "", near ? near : "",
        near ? "'" : "");
  }
  snl_run(L, 0, body_copy, &c);
}

/* layer:load_state(t): the numbers of state() back into the tensors, in place */
static int load_state(lua_State *L) {
  snn_obj *o = snl_check_family(L, SNN_LAYER, "load_state");
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  snl_load_tensors(L, snn_name(o), snl_list_tensors(L, o), 2);
  lua_settop(L, 1);
  return 1;
}

/* layer:count(): numbers that are trained, and all */
static int count(lua_State *L) {
  const snl_listing *l = snl_list_tensors(L, snl_check_family(L, SNN_LAYER, "count"));
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
  const snl_listing *l = ctx;
  for (int i = 0; i < l->n; i++)
    if (sno_set_grad(l->e[i].t, NULL) < 0) return -1;
  return 0;
}

static int zero_grad(lua_State *L) {
  const snl_listing *l = snl_list_tensors(L, snl_check_family(L, SNN_LAYER, "zero_grad"));
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
  if (c->o->built) snn_restructured();
  return snn_walk(c->o, "", convert_one, &c->t);
}

/* layer:to(dtype): its floating tensors become new ones of that dtype; optimizers are to be made after it */
static int to_dtype(lua_State *L) {
  convert c = {.o = snl_check_family(L, SNN_LAYER, "to")};
  const int t = sn_dtype_find(luaL_checkstring(L, 2));
  if (t < 0 || !sn_is_float((sn_dtype)t)) return snl_error(L, "%s: to wants the name of a floating dtype, got '%s'", snn_name(c.o),
      lua_tostring(L, 2));
  c.t = (sn_dtype)t;
  snl_run(L, 0, body_convert, &c);
  lua_settop(L, 1);
  return 1;
}

const luaL_Reg snl_weight_methods[] = {{"parameters", parameters}, {"named", named},         {"state", state}, {"load_state", load_state},
                                       {"count", count},           {"zero_grad", zero_grad}, {"to", to_dtype}, {NULL, NULL}};
