/* tensor.c - tensors in Lua: the userdata, its fields and the methods that are no operations. */
#include "script/tensor.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "calc/cast.h"
#include "diff/map.h"

static const char metatable_key, shared_key;

/* ---- boxes */

snl_box *snl_push_box(lua_State *L) {
  snl_box *b = lua_newuserdatauv(L, sizeof *b, 0);
  b->t = NULL;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key);
  lua_setmetatable(L, -2);
  snl_of(L)->boxes++;
  return b;
}

void snl_push_tensor(lua_State *L, snt_tensor *t) {
  snl_push_box(L)->t = snt_retain(t);
}

/* A table with weak values from a tensor's address to its userdata. An entry may be of a tensor that has died since; its box says so. */
void snl_push_shared(lua_State *L, snt_tensor *t) {
  luaL_checkstack(L, 6, NULL);
  if (t == NULL) {
    lua_pushnil(L);
    return;
  }
  lua_rawgetp(L, LUA_REGISTRYINDEX, &shared_key);
  lua_rawgetp(L, -1, t);
  const snl_box *have = lua_touserdata(L, -1);
  if (have == NULL || have->t != t) {
    lua_pop(L, 1);
    snl_push_tensor(L, t);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, -3, t);
  }
  lua_remove(L, -2);
}

/* A tensor made by an operation was boxed without being entered; parameters and leaves are entered when they are first looked for, so
 * that the userdata a script already holds is the one it gets. */
void snl_share(lua_State *L, int i) {
  const snl_box *b = snl_test_box(L, i);
  if (b == NULL || b->t == NULL) return;
  i = lua_absindex(L, i);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &shared_key);
  lua_pushvalue(L, i);
  lua_rawsetp(L, -2, b->t);
  lua_pop(L, 1);
}

snl_box *snl_test_box(lua_State *L, int i) {
  snl_box *b = lua_touserdata(L, i);
  if (b == NULL || !lua_getmetatable(L, i)) return NULL;
  const void *mt = lua_topointer(L, -1);
  lua_pop(L, 1);
  return mt == snl_of(L)->tensor_mt ? b : NULL;
}

snt_tensor *snl_test_tensor(lua_State *L, int i) {
  const snl_box *b = snl_test_box(L, i);
  return b ? b->t : NULL;
}

snt_tensor *snl_check_tensor(lua_State *L, int i) {
  const snl_box *b = snl_test_box(L, i);
  if (b == NULL) {
    luaL_typeerror(L, i, "tensor");
    return NULL;
  }
  if (b->t == NULL) snl_error(L, "this tensor is closed");
  return b->t;
}

snt_tensor *snl_opt_tensor(lua_State *L, int i) { return lua_isnoneornil(L, i) ? NULL : snl_check_tensor(L, i); }

static int close_tensor(lua_State *L) {
  snl_box *b = lua_touserdata(L, 1);
  if (snl_test_box(L, 1) == NULL) return luaL_typeerror(L, 1, "tensor");
  snt_tensor *t = b->t;
  snl_state *st = snl_of(L);
  const uint64_t held = sn_mem_live();
  b->t = NULL;
  snt_release(t);
  /* what is closed waits for no collection */
  const uint64_t now = sn_mem_live(), gone = now < held ? held - now : 0, since = sn_mem_bytes() - st->bytes_seen;
  st->bytes_seen += gone < since ? gone : since;
  if (t && st->boxes > 0) st->boxes--;
  return 0;
}

/* Only the collector calls this; the metatable hides it behind a boolean. */
static int collect(lua_State *L) {
  snl_box *b = lua_touserdata(L, 1);
  snt_tensor *t = b->t;
  b->t = NULL;
  snt_release(t);
  return 0;
}

/* ---- a malloc'd string on its way to Lua */

static int free_guard(lua_State *L) {
  char **s = lua_touserdata(L, 1);
  sn_free(*s);
  *s = NULL;
  return 0;
}

char **snl_push_guard(lua_State *L) {
  char **s = lua_newuserdatauv(L, sizeof *s, 0);
  *s = NULL;
  if (luaL_newmetatable(L, "slugnet.guard")) {
    lua_pushcfunction(L, free_guard);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  return s;
}

static int body_string(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  void **p = ctx;
  sno_stop_recording("a tensor was printed");
  return (*(char **)p[1] = snt_to_string(p[0])) ? 0 : -1;
}

static int to_string(lua_State *L) {
  const snl_box *b = snl_test_box(L, 1);
  if (b == NULL || b->t == NULL) {
    lua_pushliteral(L, "tensor (closed)");
    return 1;
  }
  char **s = snl_push_guard(L);
  snl_run(L, 0, body_string, (void *[]){b->t, s});
  lua_pushstring(L, *s);
  sn_free(*s);
  *s = NULL;
  return 1;
}

/* ---- shapes */

static void push_shape(lua_State *L, const snt_tensor *t) {
  lua_createtable(L, t->ndim, 0);
  for (int i = 0; i < t->ndim; i++) {
    lua_pushinteger(L, t->shape[i]);
    lua_rawseti(L, -2, i + 1);
  }
}

static int size(lua_State *L) {
  const snt_tensor *t = snl_check_tensor(L, 1);
  if (lua_isnoneornil(L, 2)) {
    push_shape(L, t);
    return 1;
  }
  lua_Integer d = luaL_checkinteger(L, 2);
  if (d < 0) d += t->ndim + 1;
  if (d < 1 || d > t->ndim) return snl_error(L, "size: there is no dimension %lld in a tensor of shape %s", (long long)luaL_checkinteger(L, 2), SNT_SHAPE(t));
  lua_pushinteger(L, t->shape[d - 1]);
  return 1;
}

static int stride(lua_State *L) {
  const snt_tensor *t = snl_check_tensor(L, 1);
  lua_createtable(L, t->ndim, 0);
  for (int i = 0; i < t->ndim; i++) {
    lua_pushinteger(L, t->stride[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

static int dim(lua_State *L) {
  lua_pushinteger(L, snl_check_tensor(L, 1)->ndim);
  return 1;
}

static int numel(lua_State *L) {
  lua_pushinteger(L, snt_numel(snl_check_tensor(L, 1)));
  return 1;
}

static int nbytes(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)snt_nbytes(snl_check_tensor(L, 1)));
  return 1;
}

static int len(lua_State *L) {
  const snt_tensor *t = snl_check_tensor(L, 1);
  if (t->ndim == 0) return snl_error(L, "#: a tensor without dimensions has no length; item() reads its number");
  lua_pushinteger(L, t->shape[0]);
  return 1;
}

static int is_contiguous(lua_State *L) {
  lua_pushboolean(L, snt_is_contiguous(snl_check_tensor(L, 1)));
  return 1;
}

static int is_floating(lua_State *L) {
  lua_pushboolean(L, sn_is_float((sn_dtype)snl_check_tensor(L, 1)->dtype));
  return 1;
}

static int same_storage(lua_State *L) {
  lua_pushboolean(L, snl_check_tensor(L, 1)->storage == snl_check_tensor(L, 2)->storage);
  return 1;
}

/* ---- numbers out */

void snl_push_element(lua_State *L, const void *p, sn_dtype t) {
  if (t == SN_BOOL) lua_pushboolean(L, *(const uint8_t *)p != 0);
  else if (sn_is_float(t)) lua_pushnumber(L, sn_load_double(p, t));
  else lua_pushinteger(L, sn_load_int(p, t));
}

static int item(lua_State *L) {
  const snt_tensor *t = snl_check_tensor(L, 1);
  if (snt_numel(t) != 1) return snl_error(L, "item: the tensor has %lld elements (%s); totable() reads many", (long long)snt_numel(t), SNT_SHAPE(t));
  snl_read_out(L);
  snl_push_element(L, snt_data(t), (sn_dtype)t->dtype);
  return 1;
}

static int bytes(lua_State *L) {
  const snt_tensor *t = snl_check_tensor(L, 1);
  luaL_Buffer buf;
  const size_t each = sn_size_of((sn_dtype)t->dtype);
  const int64_t n = snt_numel(t);
  snl_read_out(L);
  char *to = luaL_buffinitsize(L, &buf, (size_t)n * each);
  if (snt_is_contiguous(t)) memcpy(to, snt_data(t), (size_t)n * each);
  else
    for (int64_t i = 0; i < n; i++) memcpy(to + (size_t)i * each, snt_at(t, i), each);
  luaL_pushresultsize(&buf, (size_t)n * each);
  return 1;
}

/* ---- comparing whole tensors */

enum { SOME = 256 }; /* elements at a time */

/* Elements i.. of a contiguous tensor. */
static void doubles_of(const snt_tensor *t, int64_t i, int64_t n, double *to) {
  const int64_t size = (int64_t)sn_size_of((sn_dtype)t->dtype);
  snk_cast_row(n, (char *)to, sizeof *to, SN_F64, (const char *)snt_data(t) + i * size, size, (sn_dtype)t->dtype);
}

/* How many elements from the first on are surely alike: |a - b| <= atol + rtol |b|, both finite. The rest is for a closer look. */
static int64_t alike(const snt_tensor *a, const snt_tensor *b, double atol, double rtol) {
  const int64_t n = snt_numel(a);
  const double inf = (double)INFINITY;
  if (!snt_is_contiguous(a) || !snt_is_contiguous(b)) return 0;
  double x[SOME], y[SOME];
  for (int64_t i = 0; i < n; i += SOME) {
    const int64_t some = n - i < SOME ? n - i : SOME;
    int64_t good = 0;
    doubles_of(a, i, some, x), doubles_of(b, i, some, y);
    for (int64_t k = 0; k < some; k++) good += (fabs(x[k] - y[k]) <= atol + rtol * fabs(y[k])) & (fabs(x[k]) < inf) & (fabs(y[k]) < inf);
    if (good < some) return i;
  }
  return n;
}

static bool same_element(const snt_tensor *a, const snt_tensor *b, int64_t i, bool floating) {
  const void *p = snt_at(a, i), *q = snt_at(b, i);
  if (floating) return sn_load_double(p, (sn_dtype)a->dtype) == sn_load_double(q, (sn_dtype)b->dtype);
  return sn_load_int(p, (sn_dtype)a->dtype) == sn_load_int(q, (sn_dtype)b->dtype);
}

static int equal(lua_State *L) {
  const snt_tensor *a = snl_check_tensor(L, 1), *b = snl_check_tensor(L, 2);
  snl_read_out(L);
  bool same = snt_same_shape(a, b);
  const bool floating = sn_is_float((sn_dtype)a->dtype) || sn_is_float((sn_dtype)b->dtype);
  const int64_t n = same ? snt_numel(a) : 0;
  if (same && !floating && a->dtype == b->dtype && snt_is_contiguous(a) && snt_is_contiguous(b)) same = memcmp(snt_data(a), snt_data(b), snt_nbytes(a)) == 0;
  else
    for (int64_t i = same && floating ? alike(a, b, 0, 0) : 0; same && i < n; i++) same = same_element(a, b, i, floating);
  lua_pushboolean(L, same);
  return 1;
}

static lua_Number option(lua_State *L, int i, const char *name, lua_Number usual) {
  if (!lua_istable(L, i)) return usual;
  lua_getfield(L, i, name);
  const lua_Number v = luaL_optnumber(L, -1, usual);
  lua_pop(L, 1);
  return v;
}

/* |a - b| <= atol + rtol |b| everywhere; the second result says where it fails most. */
static int allclose(lua_State *L) {
  const snt_tensor *a = snl_check_tensor(L, 1), *b = snl_check_tensor(L, 2);
  snl_check_options(L, 3, "allclose", (const char *const[]){"rtol", "atol", "equal_nan", NULL});
  const lua_Number rtol = option(L, 3, "rtol", 1e-5), atol = option(L, 3, "atol", 1e-8);
  bool nan_ok = false;
  if (lua_istable(L, 3)) {
    lua_getfield(L, 3, "equal_nan");
    nan_ok = lua_toboolean(L, -1);
    lua_pop(L, 1);
  }
  snl_read_out(L);
  if (!snt_same_shape(a, b)) {
    lua_pushboolean(L, 0);
    lua_pushfstring(L, "shapes differ: %s and %s", SNT_SHAPE(a), SNT_SHAPE(b));
    return 2;
  }
  const int64_t n = snt_numel(a);
  for (int64_t i = alike(a, b, atol, rtol); i < n; i++) {
    const double x = sn_load_double(snt_at(a, i), (sn_dtype)a->dtype), y = sn_load_double(snt_at(b, i), (sn_dtype)b->dtype);
    if (x == y || (nan_ok && isnan(x) && isnan(y)) || (isfinite(x) && isfinite(y) && fabs(x - y) <= atol + rtol * fabs(y))) continue;
    lua_pushboolean(L, 0);
    lua_pushfstring(L, "element %I: %f and %f", (LUAI_UACINT)(i + 1), (LUAI_UACNUMBER)x, (LUAI_UACNUMBER)y);
    return 2;
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* ---- fields */

/* Outside snl_run, where sno_take_grad would not find the mode. */
static snt_tensor *take_grad(lua_State *L, const snt_tensor *t) {
  sno_recorder *r = snl_of(L)->mode.recorder;
  if (r && t->meta && t->meta->node == NULL) r->leaf(r, (snt_tensor *)(uintptr_t)t);
  return sno_grad_of(t);
}

static int get_field(lua_State *L, const snt_tensor *t, const char *key) {
  if (strcmp(key, "shape") == 0) push_shape(L, t);
  else if (strcmp(key, "dtype") == 0) lua_pushstring(L, sn_dtypes[t->dtype].name);
  else if (strcmp(key, "grad") == 0) snl_push_shared(L, take_grad(L, t));
  else if (strcmp(key, "requires_grad") == 0) lua_pushboolean(L, sno_requires_grad(t));
  else if (strcmp(key, "is_leaf") == 0) lua_pushboolean(L, t->meta == NULL || t->meta->node == NULL);
  else if (strcmp(key, "ndim") == 0) lua_pushinteger(L, t->ndim);
  else return 0;
  return 1;
}

static const char *const fields[] = {"shape", "dtype", "grad", "requires_grad", "is_leaf", "ndim", NULL};

/* upvalue 1: the table of methods */
static int unknown_field(lua_State *L, const char *key) {
  const char *names[1024];
  int n = 0;
  for (const char *const *f = fields; *f; f++) names[n++] = *f;
  for (lua_pushnil(L); n < 1000 && lua_next(L, lua_upvalueindex(1)); lua_pop(L, 1)) names[n++] = lua_tostring(L, -2);
  names[n] = NULL;
  const char *near = snl_nearest(key, names);
  if (near) return snl_error(L, "a tensor has no method or field '%s'; did you mean '%s'?", key, near);
  return snl_error(L, "a tensor has no method or field '%s'", key);
}

static int index_tensor(lua_State *L) {
  if (lua_type(L, 2) == LUA_TSTRING) {
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
    const snl_box *b = snl_test_box(L, 1);
    if (b == NULL) return luaL_typeerror(L, 1, "tensor");
    const char *key = lua_tostring(L, 2);
    if (b->t && get_field(L, b->t, key)) return 1;
    if (b->t == NULL) return snl_error(L, "%s: this tensor is closed", key);
    return unknown_field(L, key);
  }
  return snl_index(L);
}

static int body_set_grad(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  snt_tensor **p = ctx;
  return sno_set_grad(p[0], p[1]);
}

static int body_requires_grad(lua_State *L, void *ctx, snt_tensor **out) {
  (void)out;
  return sno_set_requires_grad(ctx, lua_toboolean(L, 2));
}

static int newindex_tensor(lua_State *L) {
  if (lua_type(L, 2) != LUA_TSTRING) return snl_newindex(L);
  snt_tensor *t = snl_check_tensor(L, 1);
  const char *key = lua_tostring(L, 2);
  if (strcmp(key, "grad") == 0) {
    snt_tensor *g = snl_opt_tensor(L, 3);
    snl_run(L, 0, body_set_grad, (snt_tensor *[]){t, g});
    if (g) snl_share(L, 3);
    return 0;
  }
  if (strcmp(key, "requires_grad") == 0) {
    luaL_checktype(L, 3, LUA_TBOOLEAN);
    lua_settop(L, 3);
    lua_remove(L, 2);
    snl_run(L, 0, body_requires_grad, t);
    return 0;
  }
  return snl_error(L, "a tensor's field '%s' cannot be set; grad and requires_grad can", key);
}

/* requires_grad_(on = true): x itself */
static int requires_grad_(lua_State *L) {
  snt_tensor *t = snl_check_tensor(L, 1);
  if (lua_isnoneornil(L, 2)) {
    lua_settop(L, 1);
    lua_pushboolean(L, 1);
  }
  luaL_checktype(L, 2, LUA_TBOOLEAN);
  snl_run(L, 0, body_requires_grad, t);
  snl_share(L, 1);
  lua_settop(L, 1);
  return 1;
}

static int body_detach(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L;
  return (out[0] = sno_detach(ctx)) ? 1 : -1;
}

static int detach(lua_State *L) { return snl_run(L, 1, body_detach, snl_check_tensor(L, 1)); }

/* ---- types by name: x:float() is x:to("float32") */

typedef struct cast { snt_tensor *x; sn_dtype t; } cast;

static int body_cast(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L;
  const cast *c = ctx;
  return (out[0] = sno_to(c->x, c->t)) ? 1 : -1;
}

static int cast_to(lua_State *L) {
  cast c = {snl_check_tensor(L, 1), (sn_dtype)lua_tointeger(L, lua_upvalueindex(1))};
  if (c.x->dtype == c.t) {
    lua_settop(L, 1);
    return 1;
  }
  return snl_run(L, 1, body_cast, &c);
}

static int no_order(lua_State *L) {
  return snl_error(L, "tensors cannot be compared with %s, which gives one truth value; x:%s(y) compares elements", lua_tostring(L, lua_upvalueindex(1)),
                   lua_tostring(L, lua_upvalueindex(2)));
}

static int is_tensor(lua_State *L) {
  lua_pushboolean(L, snl_test_box(L, 1) != NULL);
  return 1;
}

/* An unknown key in a table of options that no descriptor reads. */
void snl_check_options(lua_State *L, int i, const char *who, const char *const *names) {
  if (lua_isnoneornil(L, i)) return;
  luaL_checktype(L, i, LUA_TTABLE);
  for (lua_pushnil(L); lua_next(L, i); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) snl_error(L, "%s: the table of options also has entries without a name", who);
    const char *key = lua_tostring(L, -2);
    const char *const *n = names;
    while (*n && strcmp(*n, key) != 0) n++;
    if (*n) continue;
    const char *near = snl_nearest(key, names);
    if (near) snl_error(L, "%s: there is no option '%s'; did you mean '%s'?", who, key, near);
    snl_error(L, "%s: there is no option '%s'", who, key);
  }
}

static void add_casts(lua_State *L) {
  static const struct { const char *name; sn_dtype t; } casts[] = {{"float", SN_F32}, {"double", SN_F64}, {"half", SN_F16}, {"bfloat16", SN_BF16},
                                                                   {"long", SN_I64},  {"int", SN_I32},    {"byte", SN_U8},  {"bool", SN_BOOL}};
  for (size_t i = 0; i < sizeof casts / sizeof *casts; i++) {
    lua_pushinteger(L, casts[i].t);
    lua_pushcclosure(L, cast_to, 1);
    lua_setfield(L, -2, casts[i].name);
  }
}

static void add_order(lua_State *L, const char *event, const char *sign, const char *method) {
  lua_pushstring(L, sign);
  lua_pushstring(L, method);
  lua_pushcclosure(L, no_order, 2);
  lua_setfield(L, -2, event);
}

static const luaL_Reg methods[] = {
  {"size", size}, {"stride", stride}, {"dim", dim}, {"numel", numel}, {"nbytes", nbytes}, {"is_contiguous", is_contiguous}, {"is_floating_point", is_floating},
  {"same_storage", same_storage}, {"item", item}, {"totable", snl_totable}, {"tolist", snl_totable}, {"bytes", bytes}, {"equal", equal}, {"allclose", allclose},
  {"close", close_tensor}, {"requires_grad_", requires_grad_}, {"detach", detach}, {NULL, NULL}};

/* The registry's "slugnet.Tensor" is the metatable; its field `methods` is the table that __index reads. */
void snl_open_tensor(lua_State *L) {
  snl_state *st = snl_of(L);
  luaL_newmetatable(L, "slugnet.Tensor");
  st->tensor_mt = lua_topointer(L, -1);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &metatable_key);
  lua_pushliteral(L, "tensor");
  lua_setfield(L, -2, "__name");
  lua_pushcfunction(L, collect);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, close_tensor);
  lua_setfield(L, -2, "__close");
  lua_pushcfunction(L, to_string);
  lua_setfield(L, -2, "__tostring");
  lua_pushcfunction(L, len);
  lua_setfield(L, -2, "__len");
  lua_pushcfunction(L, newindex_tensor);
  lua_setfield(L, -2, "__newindex");
  add_order(L, "__lt", "< or >", "lt(y) or x:gt");
  add_order(L, "__le", "<= or >=", "le(y) or x:ge");
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  add_casts(L);
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, "methods");
  lua_pushcclosure(L, index_tensor, 1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  lua_newtable(L); /* shared userdata, weak values */
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &shared_key);
  static const luaL_Reg functions[] = {{"is_tensor", is_tensor}, {"tensor", snl_tensor}, {"equal", equal}, {"allclose", allclose}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
