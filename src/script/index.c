/* index.c - x[i], x[{...}], x[mask], x[indices], and assignment to them. Positions count from 1, negative ones from the end. */
#include <string.h>
#include "base/error.h"
#include "diff/map.h"
#include "script/tensor.h"

/* One dimension of a key: one position (the dimension goes) or a range. From 0, checked. */
typedef struct entry { int64_t start, length, step; bool single; } entry;

typedef struct key {
  snt_tensor *x;
  snt_tensor *by;          /* a mask or a tensor of positions; NULL: entries */
  int n;
  entry e[SNT_MAXDIM];
} key;

static const sno_op *find(const sno_op **cached, const char *name) {
  if (*cached == NULL) *cached = sno_find(name); /* the same answer whoever asks first */
  if (*cached == NULL) sn_fail("there is no operation %s", name);
  return *cached;
}

/* ---- reading a key; nothing here raises */

static int position(const key *k, int d, int64_t i, int64_t *to) {
  const int64_t size = k->x->shape[d], p = i > 0 ? i - 1 : i + size;
  if (i == 0) return sn_fail("index: positions count from 1, 0 was given for dimension %d", d + 1);
  if (p < 0 || p >= size)
    return sn_fail("index: position %lld is outside dimension %d, which has %lld (shape %s)", (long long)i, d + 1, (long long)size, SNT_SHAPE(k->x));
  *to = p;
  return 0;
}

/* {}, {first, last} or {first, last, step}: both ends included. The table is on top of the stack. */
static int read_range(lua_State *L, key *k, int d) {
  entry *e = &k->e[d];
  const int64_t size = k->x->shape[d];
  const int n = (int)lua_rawlen(L, -1);
  int64_t v[3] = {1, size, 1};
  if (n == 1 || n > 3) return sn_fail("index: a range is {}, {first, last} or {first, last, step}; %d entries were given for dimension %d", n, d + 1);
  for (int i = 0; i < n; i++) {
    int ok = 0;
    lua_rawgeti(L, -1, i + 1);
    if (lua_type(L, -1) == LUA_TNUMBER) v[i] = lua_tointegerx(L, -1, &ok);
    lua_pop(L, 1);
    if (!ok) return sn_fail("index: entry %d of the range for dimension %d is not an integer", i + 1, d + 1);
  }
  if (n == 0 && snl_is_options(L, -1)) return sn_fail("index: the range for dimension %d has named entries", d + 1);
  if (v[2] < 1) return sn_fail("index: a step is 1 or more, %lld was given for dimension %d; flip() turns a dimension round", (long long)v[2], d + 1);
  if (n == 0) {
    *e = (entry){0, size, 1, false};
    return 0;
  }
  const int64_t first = v[0] < 0 ? v[0] + size + 1 : v[0], last = v[1] < 0 ? v[1] + size + 1 : v[1];
  if (v[0] == 0 || v[1] == 0) {
    if (!(v[1] == 0 && v[0] == 1)) return sn_fail("index: positions count from 1, 0 was given for dimension %d", d + 1);
  }
  if (first < 1 || last > size || last < first - 1)
    return sn_fail("index: the range {%lld, %lld} does not lie in dimension %d, which has %lld (shape %s)", (long long)v[0], (long long)v[1], d + 1, (long long)size,
                   SNT_SHAPE(k->x));
  *e = (entry){first - 1, last < first ? 0 : (last - first) / v[2] + 1, v[2], false};
  return 0;
}

static int read_entry(lua_State *L, key *k, int d) {
  if (lua_type(L, -1) == LUA_TTABLE) return read_range(L, k, d);
  if (snl_test_box(L, -1)) return sn_fail("index: a tensor cannot be one of several indices; index_select or gather do that");
  int ok = 0;
  const int64_t i = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &ok) : 0;
  if (!ok) return sn_fail("index: entry %d is a %s; a position (an integer), a range {first, last} or {} is wanted", d + 1, luaL_typename(L, -1));
  k->e[d] = (entry){0, 1, 1, true};
  return position(k, d, i, &k->e[d].start);
}

static int read_key(lua_State *L, int i, key *k) {
  k->by = NULL;
  k->n = 0;
  const int type = lua_type(L, i);
  if (type == LUA_TTABLE) {
    const lua_Unsigned n = lua_rawlen(L, i);
    if (n > k->x->ndim) return sn_fail("index: %d entries were given for a tensor with %d dimension%s (%s)", (int)n, k->x->ndim, k->x->ndim == 1 ? "" : "s", SNT_SHAPE(k->x));
    if (n == 0 && snl_is_options(L, i)) return sn_fail("index: the table has named entries");
    for (; k->n < (int)n; k->n++) {
      lua_rawgeti(L, i, k->n + 1);
      const int rc = read_entry(L, k, k->n);
      lua_pop(L, 1);
      if (rc < 0) return -1;
    }
    return 0;
  }
  const snl_box *b = snl_test_box(L, i);
  if (b) {
    if (b->t == NULL) return sn_fail("index: the tensor of indices is closed");
    k->by = b->t;
    return 0;
  }
  int ok = 0;
  const int64_t at = type == LUA_TNUMBER ? lua_tointegerx(L, i, &ok) : 0;
  char buf[160];
  if (!ok) return sn_fail("index: a tensor is indexed by an integer, a table of positions and ranges, or a tensor, not by %s", snl_describe(L, i, buf, sizeof buf));
  if (k->x->ndim == 0) return sn_fail("index: a tensor without dimensions cannot be indexed; item() reads its number");
  k->n = 1;
  k->e[0] = (entry){0, 1, 1, true};
  return position(k, 0, at, &k->e[0].start);
}

/* ---- views */

static snt_tensor *plain_view(const key *k) {
  const snt_tensor *x = k->x;
  int64_t shape[SNT_MAXDIM], stride[SNT_MAXDIM], offset = x->offset;
  int n = 0;
  for (int d = 0; d < x->ndim; d++) {
    const entry e = d < k->n ? k->e[d] : (entry){0, x->shape[d], 1, false};
    if (e.length > 0) offset += e.start * x->stride[d];
    if (e.single) continue;
    shape[n] = e.length;
    stride[n++] = x->stride[d] * e.step;
  }
  return sno_own(snt_view_as(x, n, shape, stride, offset));
}

static bool watched(const snt_tensor *x) {
  const sno_mode *m = sno_mode_now();
  return m->recorder || (m->grad && sno_requires_grad(x));
}

/* Each entry is one operation, so that tape and recorder see it. */
static snt_tensor *watched_view(const key *k) {
  static const sno_op *select, *narrow;
  snt_tensor *y = k->x;
  int d = 0;
  if (find(&select, "select") == NULL || find(&narrow, "narrow") == NULL) return NULL;
  for (int i = 0; i < k->n && y; i++) {
    const entry e = k->e[i];
    const sno_val dim = {.kind = SNO_DIM, .i = d};
    if (e.single) {
      y = sno_run(select, 1, &y, SNO_ATTRS(dim, ((sno_val){.kind = SNO_POS, .i = e.start})));
      continue;
    }
    if (e.length != k->x->shape[i] || e.step != 1)
      y = sno_run(narrow, 1, &y, SNO_ATTRS(dim, ((sno_val){.kind = SNO_POS, .i = e.start}), sno_int(e.length), sno_int(e.step)));
    d++;
  }
  return y == k->x ? sno_own(snt_view(y)) : y;
}

static snt_tensor *view(const key *k) { return watched(k->x) ? watched_view(k) : plain_view(k); }

static snt_tensor *by_tensor(const key *k) {
  static const sno_op *masked_select, *index_select;
  if (k->by->dtype == SN_BOOL || k->by->dtype == SN_U8) {
    const sno_op *op = find(&masked_select, "masked_select");
    return op ? sno_call2(op, k->x, k->by) : NULL;
  }
  const sno_op *op = find(&index_select, "index_select");
  if (op == NULL) return NULL;
  if (sn_is_float((sn_dtype)k->by->dtype)) {
    sn_fail("index: a tensor of positions is int64 or int32, a mask bool; %s was given", sn_dtypes[k->by->dtype].name);
    return NULL;
  }
  int n;
  const sno_arg *arg = sno_args(op, &n);
  sno_val v[SNO_MAXATTR];
  int nv = 0;
  for (int i = 0; i < n; i++) {
    if (arg[i].kind == SNO_TENSOR) continue;
    v[nv++] = arg[i].kind == SNO_DIM ? (sno_val){.kind = SNO_DIM, .i = 0} : arg[i].kind == SNO_BASE ? (sno_val){.kind = SNO_BASE, .i = 1} : sno_absent();
  }
  return sno_run(op, SNO_IN(k->x, k->by), nv, v);
}

/* ---- x[key] */

static int body_index(lua_State *L, void *ctx, snt_tensor **out) {
  key k = {.x = ctx};
  if (read_key(L, 2, &k) < 0) return -1;
  return (out[0] = k.by ? by_tensor(&k) : view(&k)) ? 1 : -1;
}

/* x[i] of a 1-d tensor: a Lua number. */
static int element(lua_State *L, const snt_tensor *x, int64_t i) {
  const int64_t p = i > 0 ? i - 1 : i + x->shape[0];
  if (i == 0 || p < 0 || p >= x->shape[0])
    return snl_error(L, "index: position %lld is outside 1..%lld", (long long)i, (long long)x->shape[0]);
  const snl_state *st = snl_of(L);
  if (st->mode.grad && sno_requires_grad(x))
    return snl_error(L, "index: x[%lld] of a tensor that is tracked is a plain number and would lose the gradient; use x[{%lld}]", (long long)i, (long long)i);
  snl_read_out(L);
  snl_push_element(L, (const char *)snt_data(x) + p * x->stride[0] * (int64_t)sn_size_of((sn_dtype)x->dtype), (sn_dtype)x->dtype);
  return 1;
}

int snl_index(lua_State *L) {
  snt_tensor *x = snl_check_tensor(L, 1);
  int ok = 0;
  if (x->ndim == 1 && lua_type(L, 2) == LUA_TNUMBER) {
    const lua_Integer i = lua_tointegerx(L, 2, &ok);
    if (ok) return element(L, x, i);
  }
  return snl_run(L, 1, body_index, x);
}

/* ---- x[key] = value */

static snt_tensor *value_tensor(lua_State *L, int i, const snt_tensor *x) {
  if (lua_type(L, i) == LUA_TBOOLEAN) return sno_own(snt_scalar_int(SN_BOOL, lua_toboolean(L, i)));
  if (lua_type(L, i) == LUA_TNUMBER && !lua_isinteger(L, i) && !sn_is_float((sn_dtype)x->dtype)) {
    const double v = lua_tonumber(L, i);
    if (v != (double)(int64_t)v) {
      sn_fail("index: %g cannot be assigned to an element of a %s tensor", v, sn_dtypes[x->dtype].name);
      return NULL;
    }
  }
  return snl_get_tensor(L, i, "index", "value");
}

static int body_assign(lua_State *L, void *ctx, snt_tensor **out) {
  (void)out;
  key k = {.x = ctx};
  if (read_key(L, 2, &k) < 0) return -1;
  if (watched(k.x) && sno_mode_now()->grad && sno_requires_grad(k.x))
    return sn_fail("index: this tensor is tracked, assigning to a part of it would make its gradient wrong; do it inside sn.no_grad(), or use where, masked_fill or cat");
  snt_tensor *v = value_tensor(L, 3, k.x);
  if (v == NULL) return -1;
  if (sno_mode_now()->grad && sno_requires_grad(v))
    return sn_fail("index: the value is tracked and assigning it would lose the gradient; detach() it, or use where, masked_fill or cat");
  if (k.by == NULL) {
    snt_tensor *part = view(&k);
    return part && sno_call2(&sno_op_copy_, part, v) ? 0 : -1;
  }
  if (k.by->dtype != SN_BOOL && k.by->dtype != SN_U8) return sn_fail("index: only a mask (bool) can stand left of =; index_copy_, scatter_ or a loop assign by position");
  snt_tensor *mask = sno_to(k.by, SN_BOOL);
  snt_tensor *all = mask ? sno_where(mask, v->weak ? v : sno_to(v, (sn_dtype)k.x->dtype), k.x) : NULL;
  return all && sno_call2(&sno_op_copy_, k.x, all) ? 0 : -1;
}

/* x[i] = number where nobody watches: the number is stored at once. */
static bool store_element(lua_State *L, snt_tensor *x) {
  const snl_state *st = snl_of(L);
  int ok = 0;
  if (x->ndim != 1 || lua_type(L, 2) != LUA_TNUMBER || lua_type(L, 3) != LUA_TNUMBER) return false;
  const int64_t i = lua_tointegerx(L, 2, &ok), p = i > 0 ? i - 1 : i + x->shape[0];
  if (!ok || i == 0 || p < 0 || p >= x->shape[0] || x->stride[0] == 0) return false;
  if (st->mode.recorder || sno_requires_grad(x)) return false;
  const sn_dtype t = (sn_dtype)x->dtype;
  char *to = (char *)snt_data(x) + p * x->stride[0] * (int64_t)sn_size_of(t);
  if (sn_is_float(t)) sn_store_double(to, t, lua_tonumber(L, 3));
  else if (lua_isinteger(L, 3)) sn_store_int(to, t, lua_tointeger(L, 3));
  else return false;
  x->storage->version++;
  x->storage->writer = "assignment to an element";
  return true;
}

int snl_newindex(lua_State *L) {
  snt_tensor *x = snl_check_tensor(L, 1);
  if (!store_element(L, x)) snl_run(L, 0, body_assign, x);
  return 0;
}
