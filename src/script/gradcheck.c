/* gradcheck.c - sn.gradcheck: the gradients a function's backward gives, against central differences in float64, every element. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/random.h"
#include "script/grad.h"
#include "script/tensor.h"

/* Stack of snl_gradcheck: 1 the function, 2 the inputs as given, 3 options, 4 the float64 inputs, 5 the weights of the outputs. */
enum { FN = 1, INPUTS = 2, OPTIONS = 3, COPIES = 4, WEIGHTS = 5 };

typedef struct check {
  lua_Number eps, atol, rtol;
  int n;                       /* inputs */
} check;

static int body_copy(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L;
  snt_tensor *x = ctx;
  if (!sn_is_float((sn_dtype)x->dtype)) {
    out[0] = x;
    return 1;
  }
  snt_tensor *y = sno_own(x->dtype == SN_F64 && x->meta == NULL ? snt_view(x) : snt_to(x, SN_F64));
  if (y && y->storage == x->storage && snt_has_internal_overlap(y)) y = sno_own(snt_clone(y)); /* written below */
  if (y == NULL || sno_set_requires_grad(y, true) < 0) return -1;
  out[0] = y;
  return 1;
}

/* Calls the function on the copies; pushes its results; how many. */
static int call_fn(lua_State *L, const check *c) {
  const int top = lua_gettop(L);
  lua_pushvalue(L, FN);
  for (int i = 1; i <= c->n; i++) lua_rawgeti(L, COPIES, i);
  lua_call(L, c->n, LUA_MULTRET);
  return lua_gettop(L) - top;
}

/* Weights in 0.5 .. 1.5 with both signs, fixed: the sum of weighted outputs has the gradient that is checked. */
static double weight(int k, int64_t i) {
  uint32_t w[4];
  sn_philox(1234 + (uint64_t)k, (uint64_t)i, w);
  return (0.5 + w[0] * 0x1p-32) * (w[1] & 1 ? 1 : -1);
}

static double weighted_sum(lua_State *L, int first, int n) {
  double s = 0;
  for (int k = 0; k < n; k++) {
    const snt_tensor *y = snl_test_tensor(L, first + k);
    if (y == NULL) snl_error(L, "gradcheck: result %d of the function is a %s, not a tensor", k + 1, luaL_typename(L, first + k));
    if (!sn_is_float((sn_dtype)y->dtype)) continue;
    const int64_t m = snt_numel(y);
    for (int64_t i = 0; i < m; i++) s += weight(k, i) * sn_load_double(snt_at(y, i), (sn_dtype)y->dtype);
  }
  return s;
}

static double value_at(lua_State *L, const check *c) {
  const int top = lua_gettop(L);
  snl_push_grad_mode(L, false);
  lua_toclose(L, -1);
  const int n = call_fn(L, c);
  const double v = weighted_sum(L, top + 2, n);
  lua_closeslot(L, top + 1);
  lua_settop(L, top);
  return v;
}

typedef struct seeded { snt_tensor *y; int k; } seeded;

static int body_backward(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  const seeded *s = ctx;
  snt_tensor *w = sno_own(snt_new((sn_dtype)s->y->dtype, s->y->ndim, s->y->shape));
  if (w == NULL) return -1;
  const int64_t m = snt_numel(w);
  for (int64_t i = 0; i < m; i++) sn_store_double(snt_at(w, i), (sn_dtype)w->dtype, weight(s->k, i));
  return sno_backward(s->y, w, true, false);
}

/* Analytic gradients into the copies' grad. How many outputs took part. */
static int backward_all(lua_State *L, const check *c) {
  const int top = lua_gettop(L), n = call_fn(L, c);
  int used = 0;
  for (int k = 0; k < n; k++) {
    seeded s = {snl_test_tensor(L, top + 1 + k), k};
    if (s.y == NULL) snl_error(L, "gradcheck: result %d of the function is a %s, not a tensor", k + 1, luaL_typename(L, top + 1 + k));
    if (!sno_requires_grad(s.y)) continue;
    used++;
    snl_run(L, 0, body_backward, &s);
  }
  lua_settop(L, top);
  return used;
}

static double central(lua_State *L, const check *c, snt_tensor *x, int64_t i) {
  double *p = snt_at(x, i);
  const double was = *p, h = c->eps * (fabs(was) > 1 ? fabs(was) : 1);
  *p = was + h;
  const double above = *p, f1 = value_at(L, c);
  *p = was - h;
  const double below = *p, f0 = value_at(L, c);
  *p = was;
  return (f1 - f0) / (above - below);
}

/* Pushes a message and returns false where the gradients of input k differ. */
static bool check_input(lua_State *L, const check *c, int k) {
  lua_rawgeti(L, COPIES, k);
  snt_tensor *x = snl_test_tensor(L, -1);
  lua_pop(L, 1);
  if (x == NULL || !sn_is_float((sn_dtype)x->dtype)) return true;
  snl_push_tensor(L, x); /* the function may close its arguments; this one stays */
  const snt_tensor *g = sno_grad_of(x);
  const int64_t m = snt_numel(x);
  for (int64_t i = 0; i < m; i++) {
    const double numeric = central(L, c, x, i);
    g = sno_grad_of(x);
    const double analytic = g ? sn_load_double(snt_at(g, i), (sn_dtype)g->dtype) : 0;
    if (fabs(analytic - numeric) <= c->atol + c->rtol * fabs(numeric)) continue;
    char text[256];
    snprintf(text, sizeof text, "gradcheck: input %d (%s), element %lld: backward gives %.10g, central differences %.10g%s", k, SNT_SHAPE(x), (long long)i + 1,
             analytic, numeric, g ? "" : " (no gradient arrived)");
    lua_pushstring(L, text);
    return false;
  }
  return true;
}

static lua_Number number(lua_State *L, const char *name, lua_Number usual) {
  if (!lua_istable(L, OPTIONS)) return usual;
  lua_getfield(L, OPTIONS, name);
  const lua_Number v = luaL_optnumber(L, -1, usual);
  lua_pop(L, 1);
  return v;
}

static void copy_inputs(lua_State *L, check *c) {
  if (snl_test_box(L, INPUTS)) { /* one tensor stands for a list of one */
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, INPUTS);
    lua_rawseti(L, -2, 1);
    lua_replace(L, INPUTS);
  }
  luaL_checktype(L, INPUTS, LUA_TTABLE);
  c->n = (int)lua_rawlen(L, INPUTS);
  lua_createtable(L, c->n, 0);
  int floating = 0;
  for (int i = 1; i <= c->n; i++) {
    lua_rawgeti(L, INPUTS, i);
    if (snl_test_box(L, -1)) {
      snt_tensor *x = snl_check_tensor(L, -1);
      floating += sn_is_float((sn_dtype)x->dtype);
      snl_run(L, 1, body_copy, x);
      lua_remove(L, -2);
    }
    lua_rawseti(L, COPIES, i);
  }
  if (floating == 0) snl_error(L, "gradcheck: there is no floating tensor among the inputs");
  lua_pushnil(L); /* WEIGHTS: computed, not kept */
}

/*** gradcheck(fn, inputs, {eps=1e-6, atol=1e-5, rtol=1e-4, raise=true})
 * Calls fn on float64 copies of the inputs and compares the gradient that backward gives with central differences, for every element of every
 * input, through a fixed weighted sum of all outputs. Other values among the inputs are passed as they are. True, or an error that
 * names the first element that differs; with raise=false, false and the message.
 */
int snl_gradcheck(lua_State *L) {
  lua_settop(L, 3);
  luaL_checkany(L, FN);
  snl_check_options(L, OPTIONS, "gradcheck", (const char *const[]){"eps", "atol", "rtol", "raise", NULL});
  check c = {number(L, "eps", 1e-6), number(L, "atol", 1e-5), number(L, "rtol", 1e-4), 0};
  bool raise = true;
  if (lua_istable(L, OPTIONS)) {
    if (lua_getfield(L, OPTIONS, "raise") != LUA_TNIL) raise = lua_toboolean(L, -1);
    lua_pop(L, 1);
  }
  copy_inputs(L, &c);
  luaL_checkstack(L, c.n + 32, NULL);
  bool good = backward_all(L, &c) > 0;
  if (!good) lua_pushliteral(L, "gradcheck: no result of the function depends on its inputs in a way that can be differentiated");
  for (int k = 1; good && k <= c.n; k++) good = check_input(L, &c, k);
  if (good) {
    lua_pushboolean(L, 1);
    return 1;
  }
  if (raise) return snl_error(L, "%s", lua_tostring(L, -1));
  lua_pushboolean(L, 0);
  lua_insert(L, -2);
  return 2;
}
