/* grad.c - gradients in Lua: backward, sn.grad, and the switches no_grad and enable_grad. */
#include <string.h>
#include "base/error.h"
#include "diff/tape.h"
#include "script/grad.h"
#include "script/tensor.h"

/* ---- backward(seed?, {retain_graph=, create_graph=}) */

typedef struct walk {
  snt_tensor *root, *seed;
  bool retain, create, allow_unused;
  int n;
  snt_tensor **xs;
} walk;

static bool flag(lua_State *L, int i, const char *name, bool usual) {
  lua_getfield(L, i, name);
  const bool v = lua_isnil(L, -1) ? usual : lua_toboolean(L, -1);
  lua_pop(L, 1);
  return v;
}

/* Operations written in Lua run during the walk and may close userdata: what the walk was given stays until its scope closes. */
static void hold(const walk *w) {
  sno_own(snt_retain(w->root));
  sno_own(snt_retain(w->seed));
  for (int i = 0; i < w->n; i++) sno_own(snt_retain(w->xs[i]));
}

static int body_backward(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  const walk *w = ctx;
  hold(w);
  return sno_backward(w->root, w->seed, w->retain, w->create);
}

/*** backward(y, seed?, {retain_graph=false, create_graph=false})
 * Gradients of y into the grad field of every leaf that requires one, added to what is there. y has one element, or a seed of its
 * shape is given. The graph is freed as it is walked unless retain_graph; create_graph makes the gradients differentiable themselves.
 */
static int backward(lua_State *L) {
  walk w = {.root = snl_check_tensor(L, 1)};
  int o = 2;
  if (lua_isnoneornil(L, 2) || snl_test_box(L, 2)) {
    w.seed = snl_opt_tensor(L, 2);
    o = 3;
  }
  if (!lua_isnoneornil(L, o)) {
    snl_check_options(L, o, "backward", (const char *const[]){"retain_graph", "create_graph", NULL});
    w.create = flag(L, o, "create_graph", false);
    w.retain = flag(L, o, "retain_graph", w.create);
  }
  snl_run(L, 0, body_backward, &w);
  return 0;
}

static int body_grad(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L;
  const walk *w = ctx;
  hold(w);
  if (sno_gradients(w->root, w->seed, w->n, w->xs, out, w->retain, w->create) < 0) return -1;
  for (int i = 0; i < w->n; i++)
    if (out[i] == NULL && !w->allow_unused) return sn_fail("grad: the result does not depend on tensor %d; allow_unused=true gives nil there", i + 1);
  return w->n;
}

/*** grad(y, xs, {seed=, retain_graph=false, create_graph=false, allow_unused=false})
 * Gradients of y with respect to the tensors of the list xs (or to one tensor), as a list (or one tensor); nothing is accumulated.
 */
static int grad(lua_State *L) {
  walk w = {.root = snl_check_tensor(L, 1)};
  const bool one = snl_test_box(L, 2) != NULL;
  lua_settop(L, 3);
  if (!lua_isnil(L, 3)) {
    snl_check_options(L, 3, "grad", (const char *const[]){"seed", "retain_graph", "create_graph", "allow_unused", NULL});
    w.create = flag(L, 3, "create_graph", false);
    w.retain = flag(L, 3, "retain_graph", w.create);
    w.allow_unused = flag(L, 3, "allow_unused", false);
    lua_getfield(L, 3, "seed");
    w.seed = snl_opt_tensor(L, -1); /* the options keep it alive */
    lua_settop(L, 3);
  }
  if (!one) luaL_checktype(L, 2, LUA_TTABLE);
  w.n = one ? 1 : (int)lua_rawlen(L, 2);
  w.xs = lua_newuserdatauv(L, (size_t)(w.n + 1) * sizeof *w.xs, 0);
  for (int i = 0; i < w.n; i++) {
    if (one) lua_pushvalue(L, 2);
    else lua_rawgeti(L, 2, i + 1);
    if (snl_test_tensor(L, -1) == NULL) return snl_error(L, "grad: entry %d of the list is %s, not an open tensor", i + 1, luaL_typename(L, -1));
    w.xs[i] = snl_test_tensor(L, -1);
    lua_pop(L, 1);
  }
  const int first = lua_gettop(L) + 1 + (w.n > SNO_MAXOUT); /* snl_run keeps many results' room below them */
  snl_run(L, w.n, body_grad, &w);
  if (one) {
    if (snl_test_tensor(L, first) == NULL) lua_pushnil(L);
    return 1;
  }
  lua_createtable(L, w.n, 0);
  for (int i = 0; i < w.n; i++) {
    if (snl_test_tensor(L, first + i) == NULL) continue;
    lua_pushvalue(L, first + i);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* ---- switches: a guard that puts the mode back when it is closed */

typedef struct guard { bool grad, open, is_autocast; int autocast; } guard;

static int close_guard(lua_State *L) {
  guard *g = luaL_checkudata(L, 1, "slugnet.mode");
  sno_mode *m = &snl_of(L)->mode;
  if (g->open && g->is_autocast) m->autocast = g->autocast;
  else if (g->open) m->grad = g->grad;
  g->open = false;
  return 0;
}

/* What the mode is now goes into a guard on top of the stack. */
static void push_guard(lua_State *L, bool is_autocast) {
  const sno_mode *m = &snl_of(L)->mode;
  guard *g = lua_newuserdatauv(L, sizeof *g, 0);
  *g = (guard){.grad = m->grad, .autocast = m->autocast, .is_autocast = is_autocast};
  if (luaL_newmetatable(L, "slugnet.mode")) {
    lua_pushcfunction(L, close_guard);
    lua_setfield(L, -2, "__close");
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, close_guard);
    lua_setfield(L, -2, "close");
    lua_setfield(L, -2, "__index");
  }
  lua_setmetatable(L, -2);
  g->open = true;
}

void snl_push_grad_mode(lua_State *L, bool on) {
  push_guard(L, false);
  snl_of(L)->mode.grad = on;
}

/* Below the guard on top are n values: none, and the guard is the result; or a function and its arguments, and its results are. */
static int guarded(lua_State *L, int n) {
  if (n == 0) return 1;
  lua_insert(L, 1);
  lua_toclose(L, 1);
  lua_call(L, n - 1, LUA_MULTRET);
  return lua_gettop(L) - 1;
}

/* Without arguments: a guard, for `local _ <close> =`. With a function: calls it with the rest, gives its results. */
static int switch_grad(lua_State *L) {
  const int n = lua_gettop(L);
  snl_push_grad_mode(L, lua_toboolean(L, lua_upvalueindex(1)));
  return guarded(L, n);
}

static int is_grad_enabled(lua_State *L) {
  lua_pushboolean(L, snl_of(L)->mode.grad);
  return 1;
}

/*** autocast(dtype, fn?, ...)
 * Mixed precision: with "bfloat16", matrix products, convolutions, recurrent layers and attention read bfloat16 and sum in float32, with results in
 * bfloat16; losses, sums, softmax, norms of rows, exponentials and logarithms are computed in float32; everything else goes by the types that come.
 * The reference says of each operation which it is. Weights, their gradients and the optimizer's state stay float32; float64 is left alone. The casts
 * are operations: they have gradients and are part of programs. `local _ <close> = sn.autocast("bfloat16")` lasts to the end of the block;
 * with a function, it is called with the rest and its results are given. nil or false switches autocast off inside. backward() is the same in and
 * out of it: gradients have the types of the forward operations. Where the processor has instructions for it (info().isa is "amx" or "avx512_bf16")
 * products and convolutions use them; they sum in an order of their own and take numbers below float32's normal ones as 0. Elsewhere they are summed as float32 products are.
 */
static int autocast(lua_State *L) {
  int to = -1;
  const char *name = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : "";
  if (strcmp(name, "bfloat16") == 0) to = SN_BF16;
  else if (strcmp(name, "float16") == 0)
    return snl_error(L, "autocast: float16 is not offered (its range is too small for gradients); \"bfloat16\" is");
  else if (lua_isnone(L, 1) || lua_toboolean(L, 1)) {
    char what[96];
    return snl_error(L, "autocast: got %s; it wants \"bfloat16\", or nil or false to switch it off",
                     lua_isnone(L, 1) ? "nothing" : snl_describe(L, 1, what, sizeof what));
  }
  lua_remove(L, 1);
  const int n = lua_gettop(L);
  push_guard(L, true);
  snl_of(L)->mode.autocast = to;
  return guarded(L, n);
}

/*** is_autocast_enabled()
 * Whether autocast is on.
 */
static int is_autocast_enabled(lua_State *L) {
  lua_pushboolean(L, snl_of(L)->mode.autocast >= 0);
  return 1;
}

void snl_open_grad(lua_State *L) {
  static const luaL_Reg functions[] = {{"backward", backward}, {"grad", grad}, {"is_grad_enabled", is_grad_enabled}, {"autocast", autocast}, {"is_autocast_enabled", is_autocast_enabled},
      {"gradcheck", snl_gradcheck}, {"func", snl_func}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  lua_pushboolean(L, 0);
  lua_pushcclosure(L, switch_grad, 1);
  lua_setfield(L, -2, "no_grad");
  lua_pushboolean(L, 1);
  lua_pushcclosure(L, switch_grad, 1);
  lua_setfield(L, -2, "enable_grad");
  luaL_getmetatable(L, "slugnet.Tensor");
  lua_getfield(L, -1, "methods");
  lua_pushcfunction(L, backward);
  lua_setfield(L, -2, "backward");
  lua_pop(L, 2);
}
