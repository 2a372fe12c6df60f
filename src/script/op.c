/* op.c - every operation as a Lua function and method: one closure, the descriptor is its upvalue. */
#include <string.h>
#include "base/error.h"
#include "diff/ops.h"
#include "script/tensor.h"

typedef struct call {
  const sno_op *op;
  int first, last;         /* the arguments on the stack */
  snt_tensor *in0;         /* the first tensor argument, and where it is */
  int at0;
} call;

static const char *const extra_names[] = {"generator", "requires_grad", NULL};

/* Options that no descriptor has: a generator for random operations, requires_grad for those that make tensors. */
static int extra(lua_State *L, snl_args *a, const char *key, int value) {
  const sno_op *op = a->ctx;
  if (strcmp(key, "generator") == 0 && (op->flags & SNO_RANDOM)) {
    snl_generator *g = snl_test_generator(L, value);
    if (g == NULL) return sn_fail("%s: 'generator' must be a sn.Generator, got a %s", a->who, luaL_typename(L, value));
    a->rng = &g->rng;
    return 1;
  }
  if (strcmp(key, "requires_grad") == 0 && (op->flags & SNO_FUNC_ONLY)) {
    if (lua_type(L, value) != LUA_TBOOLEAN) return sn_fail("%s: 'requires_grad' must be true or false", a->who);
    a->requires_grad = lua_toboolean(L, value);
    return 1;
  }
  return 0;
}

static int body_call(lua_State *L, void *ctx, snt_tensor **out) {
  call *c = ctx;
  snl_args a;
  int narg, n = 0;
  const sno_arg *arg = sno_args(c->op, &narg);
  snl_args_init(&a, c->op->name);
  a.extra = extra;
  a.extra_names = c->op->flags & SNO_RANDOM ? extra_names : c->op->flags & SNO_FUNC_ONLY ? extra_names + 1 : NULL;
  a.ctx = (void *)(uintptr_t)c->op;
  int rc = snl_args_read(L, &a, arg, narg, c->first, c->last);
  if (rc == 0) rc = sno_invoke(c->op, a.nin, a.in, a.nlist, a.nval, a.val, out, &n, a.rng);
  if (rc == 0 && a.requires_grad)
    for (int k = 0; k < n && rc == 0; k++) rc = sno_set_requires_grad(out[k], true);
  c->in0 = a.nin > 0 ? a.in[0] : NULL;
  c->at0 = a.in0;
  snl_args_done(&a);
  return rc < 0 ? -1 : n;
}

static int run_op(lua_State *L, const sno_op *op, int last) {
  call c = {.op = op, .first = 1, .last = last};
  const int n = snl_run(L, op->nout, body_call, &c);
  if (n > 0 && c.at0) { /* what comes back as it went in is the same object in Lua too */
    const int at = lua_gettop(L) - n + 1;
    if (((const snl_box *)lua_touserdata(L, at))->t == c.in0 && snl_test_box(L, c.at0)) {
      lua_pushvalue(L, c.at0);
      lua_replace(L, at);
    }
  }
  return n;
}

static int call_op(lua_State *L) {
  return run_op(L, lua_touserdata(L, lua_upvalueindex(1)), lua_gettop(L));
}

static int call_unary(lua_State *L) { return run_op(L, lua_touserdata(L, lua_upvalueindex(1)), 1); } /* Lua gives -x its operand twice */

static void push_op(lua_State *L, const sno_op *op, lua_CFunction f) {
  lua_pushlightuserdata(L, (void *)(uintptr_t)op);
  lua_pushcclosure(L, f, 1);
}

static void add_metamethod(lua_State *L, const char *event, const sno_op *op, lua_CFunction f) {
  push_op(L, op, f);
  lua_setfield(L, -2, event);
}

void snl_open_op(lua_State *L) {
  const int module = lua_gettop(L);
  luaL_getmetatable(L, "slugnet.Tensor");
  const int mt = lua_gettop(L);
  lua_getfield(L, mt, "methods");
  const int methods = lua_gettop(L);
  for (const sno_op *const *p = sno_ops; *p; p++) {
    const sno_op *op = *p;
    if (op->flags & SNO_HIDDEN) continue;
    push_op(L, op, call_op);
    if (!(op->flags & SNO_METHOD_ONLY)) {
      lua_pushvalue(L, -1);
      lua_setfield(L, module, op->name);
    }
    if (!(op->flags & SNO_FUNC_ONLY)) lua_setfield(L, methods, op->name);
    else lua_pop(L, 1);
  }
  lua_settop(L, mt);
  add_metamethod(L, "__add", &sno_op_add, call_op);
  add_metamethod(L, "__sub", &sno_op_sub, call_op);
  add_metamethod(L, "__mul", &sno_op_mul, call_op);
  add_metamethod(L, "__div", &sno_op_div, call_op);
  add_metamethod(L, "__idiv", &sno_op_floor_divide, call_op);
  add_metamethod(L, "__mod", &sno_op_remainder, call_op);
  add_metamethod(L, "__pow", &sno_op_pow, call_op);
  add_metamethod(L, "__unm", &sno_op_neg, call_unary);
  lua_settop(L, module);
}
