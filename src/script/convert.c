/* convert.c - Lua tables into tensors and back. */
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "script/tensor.h"

/* ---- sn.tensor */

typedef struct plan {
  int ndim;
  int64_t shape[SNT_MAXDIM];
  int64_t at[SNT_MAXDIM];        /* where reading is, for messages */
  int kind;                      /* 0 unknown, 1 numbers, 2 booleans */
  int dtype;                     /* -1: by kind */
  bool requires_grad;
  snt_tensor *t;
  char *to;
} plan;

static const char *position(const plan *p, int depth, char *buf, size_t n) {
  size_t k = 0;
  buf[0] = 0;
  for (int i = 0; i < depth && k < n; i++) k += (size_t)snprintf(buf + k, n - k, "[%lld]", (long long)p->at[i] + 1);
  return buf;
}

/* The shape, from the first entry of each level; and the kind, from the first element. The table is on top of the stack. */
static int find_shape(lua_State *L, plan *p) {
  char buf[96];
  const int top = lua_gettop(L);
  while (lua_type(L, -1) == LUA_TTABLE) {
    if (p->ndim == SNT_MAXDIM) return sn_fail("tensor: tables are nested deeper than %d levels", SNT_MAXDIM);
    p->at[p->ndim] = 0;
    if (lua_rawlen(L, -1) < 1000 && snl_is_options(L, -1)) return sn_fail("tensor: the table at %s has named entries", p->ndim ? position(p, p->ndim, buf, sizeof buf) : "the top");
    p->shape[p->ndim++] = (int64_t)lua_rawlen(L, -1);
    if (p->shape[p->ndim - 1] == 0) break;
    lua_rawgeti(L, -1, 1);
  }
  p->kind = lua_type(L, -1) == LUA_TBOOLEAN ? 2 : 1;
  lua_settop(L, top);
  return 0;
}

static int bad_element(lua_State *L, const plan *p, int depth) {
  char buf[96];
  const char *where = position(p, depth, buf, sizeof buf);
  if (snl_test_box(L, -1)) return sn_fail("tensor: the entry at %s is a tensor; sn.stack or sn.cat joins tensors", where);
  if (lua_type(L, -1) == LUA_TTABLE)
    return sn_fail("tensor: the entry at %s is a table, others beside it are %s", where, p->kind == 2 ? "booleans" : "numbers");
  return sn_fail("tensor: the entry at %s is a %s, not a %s", where, luaL_typename(L, -1), p->kind == 2 ? "boolean" : "number");
}

static int store(lua_State *L, plan *p, int depth, sn_dtype t, size_t each) {
  const int type = lua_type(L, -1);
  if (type == LUA_TNUMBER && p->kind == 1) {
    if (sn_is_float(t) || !lua_isinteger(L, -1)) sn_store_double(p->to, t, lua_tonumber(L, -1));
    else sn_store_int(p->to, t, lua_tointeger(L, -1));
  } else if (type == LUA_TBOOLEAN && p->kind == 2) {
    sn_store_int(p->to, t, lua_toboolean(L, -1));
  } else {
    return bad_element(L, p, depth);
  }
  p->to += each;
  return 0;
}

/* The table on top of the stack, level `depth`. */
static int read_level(lua_State *L, plan *p, int depth, sn_dtype t, size_t each) {
  char buf[96];
  if (depth == p->ndim) return store(L, p, depth, t, each);
  if (lua_type(L, -1) != LUA_TTABLE)
    return sn_fail("tensor: the entry at %s is a %s, others beside it are tables", position(p, depth, buf, sizeof buf), luaL_typename(L, -1));
  const int64_t n = (int64_t)lua_rawlen(L, -1);
  if (n != p->shape[depth])
    return sn_fail("tensor: the table at %s has %lld entries, %lld were expected: rows must be equally long", position(p, depth, buf, sizeof buf), (long long)n,
                   (long long)p->shape[depth]);
  for (int64_t i = 0; i < n; i++) {
    p->at[depth] = i;
    lua_rawgeti(L, -1, i + 1);
    const int rc = read_level(L, p, depth + 1, t, each);
    lua_pop(L, 1);
    if (rc < 0) return -1;
  }
  return 0;
}

static int finish(plan *p, snt_tensor **out) {
  if (p->requires_grad && sno_set_requires_grad(p->t, true) < 0) return -1;
  out[0] = p->t;
  return 1;
}

/* Stack: 1 the data. */
static int body_tensor(lua_State *L, void *ctx, snt_tensor **out) {
  plan *p = ctx;
  if (!lua_checkstack(L, SNT_MAXDIM + 8)) return sn_fail("tensor: tables are nested too deeply");
  sno_stop_recording("a tensor was made of a Lua table");
  snt_tensor *x = snl_test_tensor(L, 1);
  if (x) {
    const sn_dtype t = p->dtype < 0 ? (sn_dtype)x->dtype : (sn_dtype)p->dtype;
    p->t = sno_own(x->dtype == t ? snt_clone(x) : snt_to(x, t));
    return p->t ? finish(p, out) : -1;
  }
  p->ndim = 0;
  lua_pushvalue(L, 1);
  int rc = find_shape(L, p);
  const sn_dtype t = p->dtype >= 0 ? (sn_dtype)p->dtype : p->kind == 2 ? SN_BOOL : SN_F32;
  if (rc == 0) rc = (p->t = sno_own(snt_new(t, p->ndim, p->shape))) ? 0 : -1;
  if (rc == 0) {
    p->to = snt_data(p->t);
    rc = read_level(L, p, 0, t, sn_size_of(t));
  }
  lua_pop(L, 1);
  return rc < 0 ? -1 : finish(p, out);
}

/*** tensor(data, {dtype=, requires_grad=false})
 * A tensor of a number, a boolean, a table of them nested to any depth up to 8, or a copy of another tensor.
 * Numbers give float32, booleans bool, unless dtype says otherwise. Rows must be equally long.
 */
int snl_tensor(lua_State *L) {
  static const sno_arg dtype = {.name = "dtype", .kind = SNO_DTYPE};
  plan p = {.dtype = -1};
  luaL_checkany(L, 1);
  const int type = lua_type(L, 1);
  if (type != LUA_TTABLE && type != LUA_TNUMBER && type != LUA_TBOOLEAN && !snl_test_box(L, 1))
    return snl_error(L, "tensor: a table, a number, a boolean or a tensor is wanted, got %s", luaL_typename(L, 1));
  if (snl_test_box(L, 1)) snl_check_tensor(L, 1);
  if (lua_gettop(L) > 2) return snl_error(L, "tensor: too many arguments; a table of numbers is one argument: sn.tensor{1, 2, 3}");
  snl_check_options(L, 2, "tensor", (const char *const[]){"dtype", "requires_grad", NULL});
  if (lua_istable(L, 2)) {
    if (lua_getfield(L, 2, "dtype") != LUA_TNIL) {
      sno_val v;
      if (snl_get_val(L, -1, &dtype, "tensor", &v) < 0) return snl_fail(L);
      p.dtype = (int)v.i;
    }
    lua_getfield(L, 2, "requires_grad");
    p.requires_grad = lua_toboolean(L, -1);
    lua_settop(L, 1);
  }
  return snl_run(L, 1, body_tensor, &p);
}

/* ---- totable */

static void push_level(lua_State *L, const snt_tensor *t, int d, const char *p) {
  const size_t each = sn_size_of((sn_dtype)t->dtype);
  if (d == t->ndim) {
    snl_push_element(L, p, (sn_dtype)t->dtype);
    return;
  }
  const int64_t n = t->shape[d], step = t->stride[d] * (int64_t)each;
  lua_createtable(L, n < 1 << 26 ? (int)n : 0, 0);
  for (int64_t i = 0; i < n; i++) {
    push_level(L, t, d + 1, p + i * step);
    lua_rawseti(L, -2, i + 1);
  }
}

int snl_totable(lua_State *L) {
  const snt_tensor *t = snl_check_tensor(L, 1);
  snl_read_out(L);
  luaL_checkstack(L, SNT_MAXDIM + 4, NULL);
  push_level(L, t, 0, snt_data(t));
  return 1;
}
