/* index.c - x[i], x[{...}], x[mask], x[indices], and assignment to them. Positions count from 1, negative ones from the end. */
#include <string.h>
#include "base/error.h"
#include "diff/ops.h"
#include "script/tensor.h"

/* One dimension of a key: one position (the dimension goes) or a range. From 0, checked. */
typedef struct entry { int64_t start, length, step; bool single; } entry;

typedef struct key {
  snt_tensor *x;
  snt_tensor *by;          /* a mask or a tensor of positions; NULL: entries */
  int n;
  entry e[SNT_MAXDIM];
} key;

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
  snt_tensor *y = k->x;
  int d = 0;
  for (int i = 0; i < k->n && y; i++) {
    const entry e = k->e[i];
    const sno_val dim = {.kind = SNO_DIM, .i = d};
    if (e.single) {
      y = sno_run(&sno_op_select, 1, &y, SNO_ATTRS(dim, ((sno_val){.kind = SNO_POS, .i = e.start})));
      continue;
    }
    if (e.length != k->x->shape[i] || e.step != 1)
      y = sno_run(&sno_op_narrow, 1, &y, SNO_ATTRS(dim, ((sno_val){.kind = SNO_POS, .i = e.start}), sno_int(e.length), sno_int(e.step)));
    d++;
  }
  return y == k->x ? sno_own(snt_view(y)) : y;
}

static snt_tensor *view(const key *k) { return watched(k->x) ? watched_view(k) : plain_view(k); }

static snt_tensor *shaped(snt_tensor *x, int n, const int64_t *shape) {
  return x ? sno_run(&sno_op_reshape, SNO_IN(x), SNO_ATTRS(sno_ints(n, shape))) : NULL;
}

static bool is_mask(const snt_tensor *t) { return t->dtype == SN_BOOL || t->dtype == SN_U8; }

/* A mask stands for the first dimensions of x. */
static int check_mask(const key *k) {
  bool fits = k->by->ndim <= k->x->ndim && k->by->ndim > 0;
  for (int d = 0; fits && d < k->by->ndim; d++) fits = k->by->shape[d] == k->x->shape[d];
  return fits ? 0 : sn_fail("index: a mask of shape %s does not fit the first dimensions of %s", SNT_SHAPE(k->by), SNT_SHAPE(k->x));
}

/* The positions that a mask or a tensor of positions names (from 1), and in *x what they are rows of: the dimensions a mask covers made one. */
static snt_tensor *rows_of(const key *k, snt_tensor **x) {
  *x = k->x;
  if (!is_mask(k->by)) {
    if (!sn_is_float((sn_dtype)k->by->dtype)) return k->by;
    sn_fail("index: a tensor of positions is int64 or int32, a mask bool; %s was given", sn_dtypes[k->by->dtype].name);
    return NULL;
  }
  if (check_mask(k) < 0) return NULL;
  int64_t shape[SNT_MAXDIM];
  int n = 0;
  shape[n++] = snt_numel(k->by);
  for (int d = k->by->ndim; d < k->x->ndim; d++) shape[n++] = k->x->shape[d];
  if ((*x = shaped(k->x, n, shape)) == NULL) return NULL;
  snt_tensor *rows = shaped(k->by, 1, shape);
  rows = rows ? sno_run(&sno_op_nonzero, SNO_IN(rows), SNO_ATTRS({.kind = SNO_BASE, .i = 1})) : NULL;
  return rows ? shaped(rows, 1, &rows->shape[0]) : NULL;
}

static snt_tensor *by_tensor(const key *k) {
  snt_tensor *x;
  if (is_mask(k->by) && snt_same_shape(k->by, k->x)) return sno_call2(&sno_op_masked_select, k->x, k->by);
  snt_tensor *rows = rows_of(k, &x);
  return rows ? sno_run(&sno_op_index_select, SNO_IN(x, rows), SNO_ATTRS({.kind = SNO_DIM, .i = 0}, {.kind = SNO_BASE, .i = 1})) : NULL;
}

/* x[mask] = number */
static int fill_mask(const key *k, snt_tensor *v) {
  int64_t shape[SNT_MAXDIM];
  if (check_mask(k) < 0) return -1;
  for (int d = 0; d < k->x->ndim; d++) shape[d] = d < k->by->ndim ? k->by->shape[d] : 1;
  snt_tensor *mask = shaped(sno_to(k->by, SN_BOOL), k->x->ndim, shape);
  snt_tensor *all = mask ? sno_where(mask, v->weak ? v : sno_to(v, (sn_dtype)k->x->dtype), k->x) : NULL;
  return all && sno_call2(&sno_op_copy_, k->x, all) ? 0 : -1;
}

/* x[mask] = v, x[positions] = v: v is one for each row, or is broadcast to that. */
static int assign_rows(const key *k, snt_tensor *v) {
  if (is_mask(k->by) && v->ndim == 0) return fill_mask(k, v);
  snt_tensor *x, *rows = rows_of(k, &x);
  if (rows == NULL) return -1;
  if (rows->ndim != 1) return sn_fail("index: positions left of = are a 1-d tensor, got shape %s", SNT_SHAPE(rows));
  int64_t shape[SNT_MAXDIM];
  memcpy(shape, x->shape, sizeof shape);
  shape[0] = rows->shape[0];
  v = v->weak ? sno_own(snt_to(v, (sn_dtype)x->dtype)) : sno_to(v, (sn_dtype)x->dtype);
  v = v ? sno_run(&sno_op_expand, SNO_IN(v), SNO_ATTRS(sno_ints(x->ndim, shape))) : NULL;
  if (v == NULL && sn_error_code() == SN_ERROR_MEMORY) return -1;
  if (v == NULL) return sn_fail_prefix("index: the value does not fit into the chosen %s: ", snt_shape_str(x->ndim, shape, (char[96]){0}, 96));
  snt_tensor *all = sno_run(&sno_op_index_copy, SNO_IN(x, rows, v), SNO_ATTRS({.kind = SNO_DIM, .i = 0}, {.kind = SNO_BASE, .i = 1}));
  all = shaped(all, k->x->ndim, k->x->shape);
  return all && sno_call2(&sno_op_copy_, k->x, all) ? 0 : -1;
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
  return assign_rows(&k, v);
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
  if (!sn_is_float(t) && !lua_isinteger(L, 3)) return false;
  snt_storage_writing(x->storage, "assignment to an element");
  if (sn_is_float(t)) sn_store_double(to, t, lua_tonumber(L, 3));
  else sn_store_int(to, t, lua_tointeger(L, 3));
  return true;
}

int snl_newindex(lua_State *L) {
  snt_tensor *x = snl_check_tensor(L, 1);
  if (!store_element(L, x)) snl_run(L, 0, body_assign, x);
  return 0;
}
