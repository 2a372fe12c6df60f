/* reduce.c - sums, products, extremes and what is made of them. */
#include "diff/reduce.h"
#include <math.h>
#include <string.h>
#include "base/error.h"
#include "base/thread.h"
#include "calc/cast.h"
#include "diff/dims.h"
#include "diff/matmul.h"
#include "diff/ops.h"
#include "diff/tape.h"

/* Operations here have their dimensions in attribute 0 and keepdim in 1. */

static unsigned mask_of(const sno_val *v, int ndim) {
  unsigned mask = 0;
  if (v->absent || (v->kind == SNO_DIMS && v->n == 0)) return (1u << ndim) - 1;
  if (v->kind == SNO_DIM) return 1u << v->i;
  for (int i = 0; i < v->n; i++) mask |= 1u << v->v[i];
  return mask;
}

static int reduced_shape(const snt_tensor *x, unsigned mask, bool keep, int64_t *shape) {
  int n = 0;
  for (int i = 0; i < x->ndim; i++) {
    if (!(mask >> i & 1)) shape[n++] = x->shape[i];
    else if (keep) shape[n++] = 1;
  }
  return n;
}

static void want(sno_call *c, int k, sn_dtype t, unsigned mask) {
  int64_t shape[SNT_MAXDIM];
  sno_want(c, k, t, reduced_shape(c->in[0], mask, c->attr[1].i, shape), shape);
}

static int refuse_empty(const sno_call *c, unsigned mask) {
  const snt_tensor *x = c->in[0];
  for (int i = 0; i < x->ndim; i++)
    if ((mask >> i & 1) && x->shape[i] == 0)
      return sn_fail("%s: there is nothing to choose from along dimension %d of %s", c->op->name, i + 1, SNT_SHAPE(x));
  return 0;
}

/* A gradient in the shape of the result as one of the shape of the input (`spec`), expanded. */
static snt_tensor *keepdim_shape(snt_tensor *g, const sno_out *spec, unsigned mask) {
  int64_t shape[SNT_MAXDIM];
  for (int i = 0; i < spec->ndim; i++) shape[i] = mask >> i & 1 ? 1 : spec->shape[i];
  return sno_shaped(g, spec->ndim, shape);
}
static snt_tensor *spread(snt_tensor *g, const sno_out *spec, unsigned mask) {
  g = keepdim_shape(g, spec, mask);
  return g ? sno_run(&sno_op_expand, 1, &g, SNO_ATTRS(sno_ints(spec->ndim, spec->shape))) : NULL;
}
static int64_t reduced_count(const sno_out *spec, unsigned mask) {
  int64_t n = 1;
  for (int i = 0; i < spec->ndim; i++)
    if (mask >> i & 1) n *= spec->shape[i];
  return n;
}

/* ---- sum, mean, prod */

static int infer_sum(sno_call *c) {
  unsigned mask;
  if (sno_fix_dims(c, 0, c->in[0], &mask) < 0) return -1;
  const sn_dtype t = (sn_dtype)c->in[0]->dtype;
  want(c, 0, sn_is_float(t) ? t : SN_I64, mask);
  c->scratch_bytes = sno_reduce_scratch(c->in[0], mask);
  return 0;
}
static void forward_sum(sno_call *c) { sno_reduce_run(c, SNK_SUM, mask_of(&c->attr[0], c->in[0]->ndim), 1); }
static bool halved_sum(sno_call *c, int k) { return k == 0 && sno_reduce_in_rows(c->in[0], mask_of(&c->attr[0], c->in[0]->ndim)); }
static int back_sum(sno_back *b) {
  return (b->gx[0] = spread(b->gy[0], &b->in_spec[0], mask_of(&b->attr[0], b->in_spec[0].ndim))) ? 0 : -1;
}

/*** sum(x, dim?, {keepdim=false})
 * The sum of all elements (0-d), or along one dimension or several: x:sum(), x:sum(1), x:sum({1,2}, {keepdim=true}). Integers and bools give int64.
 * Floating sums are made in blocks folded by halves, in an order that the shape alone fixes.
 * @math y = \sum_i x_i
 * @grad \bar x_i = \bar y
 */
const sno_op sno_op_sum = {.name = "sum", .args = "x dim:dims? keepdim:bool=false", .flags = SNO_HIGH, .nout = 1, .infer = infer_sum, .forward = forward_sum,
  .backward = back_sum, .halved = halved_sum,
  .samples = "f(2,3); f(2,3), 1; f(2,3,4), {1,3}; f(2,3), -1, {keepdim=true}; f(); f(0,3), 1; f(70,5), 1; f(1030), 1", .wrong = "f(2,3), 3 => no dimension 3; f(2,3), {1,1} => twice"};

static int infer_mean(sno_call *c) {
  if (!sn_is_float((sn_dtype)c->in[0]->dtype))
    return sn_fail("%s: wants a floating tensor, this one is %s; x:to(\"float32\") first", c->op->name, sn_dtypes[c->in[0]->dtype].name);
  return infer_sum(c);
}
static void forward_mean(sno_call *c) {
  const unsigned mask = mask_of(&c->attr[0], c->in[0]->ndim);
  double n = 1;
  for (int i = 0; i < c->in[0]->ndim; i++)
    if (mask >> i & 1) n *= (double)c->in[0]->shape[i];
  sno_reduce_run(c, SNK_SUM, mask, n);
}
static int back_mean(sno_back *b) {
  const sno_out *s = &b->in_spec[0];
  const unsigned mask = mask_of(&b->attr[0], s->ndim);
  snt_tensor *g = sno_scale(b->gy[0], 1 / (double)reduced_count(s, mask));
  return g && (b->gx[0] = spread(g, s, mask)) ? 0 : -1;
}

/*** mean(x, dim?, {keepdim=false})
 * The mean of all elements, or along dimensions. Floating tensors only; of nothing it is NaN.
 * @math y = \frac1n \sum_i x_i
 * @grad \bar x_i = \bar y / n
 */
const sno_op sno_op_mean = {.name = "mean", .args = "x dim:dims? keepdim:bool=false", .flags = SNO_HIGH, .nout = 1, .infer = infer_mean, .forward = forward_mean, .backward = back_mean,
  .samples = "f(2,3); f(2,3), 1; f(2,3,4), {2,3}; f(2,3), 2, {keepdim=true}; f()", .wrong = "i(1,9,3) => floating; f(2,3), 3 => no dimension 3"};

static void forward_prod(sno_call *c) { sno_reduce_run(c, SNK_PROD, mask_of(&c->attr[0], c->in[0]->ndim), 1); }

bool sno_is_sum(const sno_op *op, const sno_val *attr, int ndim, unsigned *mask) {
  if (op != &sno_op_sum && op != &sno_op_mean) return false;
  *mask = mask_of(&attr[0], ndim);
  return true;
}

/* prod_rest: for each element the product of the others. */
static int infer_rest(sno_call *c) {
  unsigned mask;
  if (sno_fix_dims(c, 0, c->in[0], &mask) < 0) return -1;
  sno_want(c, 0, (sn_dtype)c->in[0]->dtype, c->in[0]->ndim, c->in[0]->shape);
  return 0;
}
typedef struct others { const snt_tensor *x, *y; sno_axes gx, kx, gy, ky; } others;
static int64_t along(const sno_axes *a, int64_t i) { return a->n == 1 ? i * a->stride[0] : sno_axes_offset(a, i); }

/* From the left, then what is there times that from the right, both in double. */
#define REST(T)                                                                \
  do {                                                                         \
    const T *x = (const T *)snt_data(r->x) + sno_axes_offset(&r->kx, o);       \
    T *y = (T *)snt_data(r->y) + sno_axes_offset(&r->ky, o);                   \
    double left = 1, right = 1;                                                \
    for (int64_t i = 0; i < n; i++) {                                          \
      y[along(&r->gy, i)] = (T)left;                                           \
      left *= (double)x[along(&r->gx, i)];                                     \
    }                                                                          \
    for (int64_t i = n - 1; i >= 0; i--) {                                     \
      T *q = y + along(&r->gy, i);                                             \
      *q = (T)((double)*q * right);                                            \
      right *= (double)x[along(&r->gx, i)];                                    \
    }                                                                          \
  } while (0)
static void rest_rows(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const others *r = ctx;
  const int64_t n = r->gx.count;
  for (int64_t o = begin; o < end; o++) {
    if (r->x->dtype == SN_F32) REST(float);
    else REST(double);
  }
}
static void forward_rest(sno_call *c) {
  const snt_tensor *x = c->in[0], *y = c->out[0];
  const unsigned mask = mask_of(&c->attr[0], x->ndim);
  others r = {.x = x, .y = y};
  sno_axes_take(&r.gx, x, mask), sno_axes_take(&r.kx, x, ~mask), sno_axes_take(&r.gy, y, mask), sno_axes_take(&r.ky, y, ~mask);
  if (r.kx.count) sn_parallel(r.kx.count, 1 + 16384 / (r.gx.count + 1), rest_rows, &r);
}

/*** prod_rest(x, dim?)
 * For each element the product of the others along the dimensions: what the gradient of prod needs.
 * @math y_i = \prod_{j \ne i} x_j
 */
const sno_op sno_op_prod_rest = {.name = "prod_rest", .args = "x dim:dims?", .flags = SNO_NODIFF | SNO_HIDDEN, .nout = 1, .infer = infer_rest, .forward = forward_rest};

static int back_prod(sno_back *b) {
  const sno_out *s = &b->in_spec[0];
  const unsigned mask = mask_of(&b->attr[0], s->ndim);
  snt_tensor *g, *rest;
  if (b->create_graph) { /* differentiable, where no element is 0 */
    g = sno_mul(b->gy[0], b->out[0]);
    return g && (b->gx[0] = sno_div(spread(g, s, mask), b->in[0])) ? 0 : -1;
  }
  rest = sno_run(&sno_op_prod_rest, 1, b->in, 1, b->attr);
  return rest && (b->gx[0] = sno_mul(spread(b->gy[0], s, mask), rest)) ? 0 : -1;
}

/*** prod(x, dim?, {keepdim=false})
 * The product of all elements, or along dimensions. Integers give int64.
 * @math y = \prod_i x_i
 * @grad \bar x_i = \bar y \prod_{j \ne i} x_j
 */
const sno_op sno_op_prod = {.name = "prod", .args = "x dim:dims? keepdim:bool=false", .flags = SNO_HIGH, .nout = 1, .save_in = 1, .save_out = 1, .infer = infer_sum,
  .forward = forward_prod, .backward = back_prod, .samples = "f(2,3); f(2,3), 1; f(2,3), 2, {keepdim=true}", .wrong = "f(2,3), 3 => no dimension 3"};

/* ---- extremes as values */

static int infer_extreme(sno_call *c) {
  unsigned mask;
  if (sno_fix_dims(c, 0, c->in[0], &mask) < 0 || refuse_empty(c, mask) < 0) return -1;
  want(c, 0, (sn_dtype)c->in[0]->dtype, mask);
  c->scratch_bytes = sno_reduce_scratch(c->in[0], mask);
  return 0;
}
static void forward_amax(sno_call *c) { sno_reduce_run(c, SNK_MAX, mask_of(&c->attr[0], c->in[0]->ndim), 1); }
static void forward_amin(sno_call *c) { sno_reduce_run(c, SNK_MIN, mask_of(&c->attr[0], c->in[0]->ndim), 1); }

/* Equal ones share the gradient. */
static int back_share(sno_back *b) {
  const sno_out *s = &b->in_spec[0];
  const unsigned mask = mask_of(&b->attr[0], s->ndim);
  sno_val dims = {.kind = SNO_DIMS};
  for (int i = 0; i < s->ndim; i++)
    if (mask >> i & 1) dims.v[dims.n++] = i;
  snt_tensor *y = keepdim_shape(b->out[0], s, mask), *g = keepdim_shape(b->gy[0], s, mask);
  if (y == NULL || g == NULL) return -1;
  snt_tensor *hit = sno_to(sno_eq(b->in[0], y), (sn_dtype)s->dtype);
  if (hit == NULL) return -1;
  snt_tensor *n = dims.n ? sno_run(&sno_op_sum, 1, &hit, SNO_ATTRS(dims, sno_bool(true))) : hit;
  return n && (b->gx[0] = sno_mul(hit, sno_div(g, n))) ? 0 : -1;
}

/*** amax(x, dim?, {keepdim=false})
 * The largest element, of all or along dimensions; NaN wins. Equal ones share the gradient.
 * @math y = \max_i x_i
 * @grad \bar x_i = \bar y\,[x_i = y] / \sum_j [x_j = y]
 */
const sno_op sno_op_amax = {.name = "amax", .args = "x dim:dims? keepdim:bool=false", .nout = 1, .save_in = 1, .save_out = 1, .infer = infer_extreme,
  .forward = forward_amax, .backward = back_share, .samples = "f(2,3); f(2,3), 1; f(2,3,4), {1,3}, {keepdim=true}", .wrong = "f(2,3), 3 => no dimension 3; f(0,3), 1 => nothing"};
/*** amin(x, dim?, {keepdim=false})
 * The smallest element, of all or along dimensions; NaN wins. Equal ones share the gradient.
 * @math y = \min_i x_i
 * @grad \bar x_i = \bar y\,[x_i = y] / \sum_j [x_j = y]
 */
const sno_op sno_op_amin = {.name = "amin", .args = "x dim:dims? keepdim:bool=false", .nout = 1, .save_in = 1, .save_out = 1, .infer = infer_extreme,
  .forward = forward_amin, .backward = back_share, .samples = "f(2,3); f(2,3), 1; f(2,3), 2, {keepdim=true}", .wrong = "f(2,3), 3 => no dimension 3; f(0,3), 1 => nothing"};

/* ---- extremes with their places */

#define LINE_BYTES 64

typedef struct seek { const snt_tensor *x; snt_tensor *value, *index; sno_axes gone, kept; bool least; int64_t base, per, tiles, inner; } seek;

static int64_t seek_block(sn_dtype t, bool least, int64_t n, const void *v) {
  if (t == SN_F32) return snk_reduce_now()->seek_f32(least, n, v);
  if (t == SN_F64) return snk_reduce_now()->seek_f64(least, n, v);
  return snk_seek_ints(least, t, n, v);
}
/* Block by block. Columns are brought side by side, a line of the cache of them at a time. */
static void seek_rows(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const seek *s = ctx;
  const sn_dtype t = (sn_dtype)s->x->dtype;
  const int64_t size = (int64_t)sn_size_of(t);
  _Alignas(64) char buf[SNK_BLOCK * LINE_BYTES];
  for (int64_t q = begin; q < end; q++) {
    const int64_t col = q % s->tiles * s->per, o = q / s->tiles * s->inner + col, width = s->inner - col < s->per ? s->inner - col : s->per;
    const int64_t base = sno_axes_offset(&s->kept, o);
    const char *x = (const char *)snt_data(s->x) + base * size;
    int64_t at[LINE_BYTES];
    for (int64_t from = 0; from < s->gone.count; from += SNK_BLOCK) {
      const int64_t n = s->gone.count - from < SNK_BLOCK ? s->gone.count - from : SNK_BLOCK, step = s->gone.stride[0];
      const char *v = buf;
      if (s->per > 1) snk_transpose_copy(width, n, buf, n * size, size, x + from * step * size, size, step * size, (size_t)size);
      else v = sno_axes_gather(&s->gone, s->x, base, from, n, t, buf);
      for (int64_t c = 0; c < width; c++) {
        const int64_t k = seek_block(t, s->least, n, v + c * n * size);
        if (from == 0) {
          at[c] = k;
          continue;
        }
        _Alignas(8) char pair[16]; /* the best so far, and of this block */
        memcpy(pair, x + (c + sno_axes_offset(&s->gone, at[c])) * size, (size_t)size);
        memcpy(pair + size, v + (c * n + k) * size, (size_t)size);
        if (seek_block(t, s->least, 2, pair) == 1) at[c] = from + k;
      }
    }
    for (int64_t c = 0; c < width; c++) {
      if (s->index) ((int64_t *)snt_data(s->index))[o + c] = at[c] + s->base;
      if (s->value) memcpy((char *)snt_data(s->value) + (o + c) * size, x + (c + sno_axes_offset(&s->gone, at[c])) * size, (size_t)size);
    }
  }
}

static void run_seek(sno_call *c, snt_tensor *value, snt_tensor *index, bool least, int64_t base) {
  seek s = {.x = c->in[0], .value = value, .index = index, .least = least, .base = base, .per = 1};
  const unsigned mask = mask_of(&c->attr[0], s.x->ndim ? s.x->ndim : 1);
  sno_axes_take(&s.gone, s.x, mask);
  sno_axes_take(&s.kept, s.x, ~mask);
  if (s.kept.count == 0) return;
  if (s.gone.n == 1 && sno_axes_in_columns(&s.gone, &s.kept)) s.per = LINE_BYTES / (int64_t)sn_size_of((sn_dtype)s.x->dtype);
  s.inner = s.kept.shape[s.kept.n - 1];
  s.tiles = (s.inner + s.per - 1) / s.per;
  sn_parallel(s.kept.count / s.inner * s.tiles, 1 + 16384 / (s.gone.count * s.per + 1), seek_rows, &s);
}

static int infer_max(sno_call *c) {
  const snt_tensor *x = c->in[0];
  const bool all = c->attr[0].absent;
  if (!all && sno_fix_dim(c, 0, x, x->ndim) < 0) return -1;
  const unsigned mask = all ? (1u << x->ndim) - 1 : 1u << c->attr[0].i;
  if (refuse_empty(c, mask) < 0) return -1;
  want(c, 0, (sn_dtype)x->dtype, mask);
  c->nout = all ? 1 : 2;
  if (all) c->scratch_bytes = sno_reduce_scratch(x, mask);
  else want(c, 1, SN_I64, mask);
  return 0;
}
static void forward_max(sno_call *c) {
  if (c->nout == 1) sno_reduce_run(c, SNK_MAX, (1u << c->in[0]->ndim) - 1, 1);
  else run_seek(c, c->out[0], c->out[1], false, c->attr[2].i);
}
static void forward_min(sno_call *c) {
  if (c->nout == 1) sno_reduce_run(c, SNK_MIN, (1u << c->in[0]->ndim) - 1, 1);
  else run_seek(c, c->out[0], c->out[1], true, c->attr[2].i);
}
static int back_max(sno_back *b) {
  if (b->nout == 1) return back_share(b);
  const sno_out *s = &b->in_spec[0];
  const int d = (int)b->attr[0].i;
  snt_tensor *g = keepdim_shape(b->gy[0], s, 1u << d), *at = keepdim_shape(b->out[1], s, 1u << d);
  if (g == NULL || at == NULL) return -1;
  int64_t shape[SNT_MAXDIM];
  for (int i = 0; i < s->ndim; i++) shape[i] = i == d ? s->shape[i] : 1;
  const int64_t n = s->ndim ? s->shape[d] : 1, base = b->attr[2].i;
  snt_tensor *lo = sno_own(snt_scalar_int(SN_I64, base)), *hi = sno_own(snt_scalar_int(SN_I64, base + n));
  snt_tensor *place = sno_shaped(sno_run(&sno_op_arange, SNO_IN(lo, hi, NULL), 0, NULL), s->ndim, shape);
  return place && (b->gx[0] = sno_where(sno_eq(place, at), g, sno_weak(0))) ? 0 : -1;
}

/*** max(x, dim?, {keepdim=false})
 * Without dim the largest element, 0-d (equal ones share the gradient). With dim two results: the largest along it and their positions (int64),
 * the first of equals; NaN wins.
 * @math y = \max_i x_i,\quad k = \mathrm{argmax}_i\, x_i
 * @grad \bar x_i = \bar y\,[i = k]
 */
const sno_op sno_op_max = {.name = "max", .args = "x dim:dim? keepdim:bool=false base:base", .nout = 1, .save_in = 1, .save_out = 3, .infer = infer_max,
  .forward = forward_max, .backward = back_max, .samples = "f(2,3); f(2,3), 1; f(2,3,4), 2, {keepdim=true}; f(5), -1", .wrong = "f(2,3), 3 => no dimension 3; f(0,3), 1 => nothing; f(0) => nothing"};
/*** min(x, dim?, {keepdim=false})
 * As max, the smallest.
 * @math y = \min_i x_i,\quad k = \mathrm{argmin}_i\, x_i
 * @grad \bar x_i = \bar y\,[i = k]
 */
const sno_op sno_op_min = {.name = "min", .args = "x dim:dim? keepdim:bool=false base:base", .nout = 1, .save_in = 1, .save_out = 3, .infer = infer_max,
  .forward = forward_min, .backward = back_max, .samples = "f(2,3); f(2,3), 1; f(2,3), 2, {keepdim=true}", .wrong = "f(2,3), 3 => no dimension 3; f(0,3), 1 => nothing"};

static int infer_arg(sno_call *c) {
  if (infer_max(c) < 0) return -1;
  c->nout = 1;
  c->scratch_bytes = 0;
  c->want[0].dtype = SN_I64;
  return 0;
}
static void forward_argmax(sno_call *c) { run_seek(c, NULL, c->out[0], false, c->attr[2].i); }
static void forward_argmin(sno_call *c) { run_seek(c, NULL, c->out[0], true, c->attr[2].i); }

/*** argmax(x, dim?, {keepdim=false})
 * The position (int64) of the largest element along dim, or in the flattened tensor; the first of equals; the first NaN wins.
 * @math k = \mathrm{argmax}_i\, x_i
 */
const sno_op sno_op_argmax = {.name = "argmax", .args = "x dim:dim? keepdim:bool=false base:base", .flags = SNO_NODIFF, .nout = 1, .infer = infer_arg,
  .forward = forward_argmax, .samples = "f(2,3); f(2,3), 1; f(2,3), 2, {keepdim=true}", .wrong = "f(2,3), 3 => no dimension 3; f(0) => nothing"};
/*** argmin(x, dim?, {keepdim=false})
 * As argmax, of the smallest.
 * @math k = \mathrm{argmin}_i\, x_i
 */
const sno_op sno_op_argmin = {.name = "argmin", .args = "x dim:dim? keepdim:bool=false base:base", .flags = SNO_NODIFF, .nout = 1, .infer = infer_arg,
  .forward = forward_argmin, .samples = "f(2,3); f(2,3), 1", .wrong = "f(2,3), 3 => no dimension 3; f(0) => nothing"};

/* ---- any, all */

static int infer_any(sno_call *c) {
  unsigned mask;
  if (sno_fix_dims(c, 0, c->in[0], &mask) < 0 || sno_cast_input(c, 0, SN_BOOL) < 0) return -1;
  want(c, 0, SN_BOOL, mask);
  c->scratch_bytes = sno_reduce_scratch(c->in[0], mask);
  return 0;
}
static void tidy(sno_call *c, bool empty) { /* of nothing: the neutral value */
  const unsigned mask = mask_of(&c->attr[0], c->in[0]->ndim);
  for (int i = 0; i < c->in[0]->ndim; i++)
    if ((mask >> i & 1) && c->in[0]->shape[i] == 0) memset(snt_data(c->out[0]), empty, snt_nbytes(c->out[0]));
}
static void forward_any(sno_call *c) {
  sno_reduce_run(c, SNK_MAX, mask_of(&c->attr[0], c->in[0]->ndim), 1);
  tidy(c, false);
}
static void forward_all(sno_call *c) {
  sno_reduce_run(c, SNK_MIN, mask_of(&c->attr[0], c->in[0]->ndim), 1);
  tidy(c, true);
}

/*** any(x, dim?, {keepdim=false})
 * Is any element not zero? A bool, of all or along dimensions.
 * @math y = \bigvee_i x_i
 */
const sno_op sno_op_any = {.name = "any", .args = "x dim:dims? keepdim:bool=false", .flags = SNO_NODIFF, .nout = 1, .infer = infer_any, .forward = forward_any,
  .samples = "b(2,3); b(2,3), 1; f(2,3), 2, {keepdim=true}; b(0)", .wrong = "b(2,3), 3 => no dimension 3"};
/*** all(x, dim?, {keepdim=false})
 * Are all elements not zero? A bool, of all or along dimensions.
 * @math y = \bigwedge_i x_i
 */
const sno_op sno_op_all = {.name = "all", .args = "x dim:dims? keepdim:bool=false", .flags = SNO_NODIFF, .nout = 1, .infer = infer_any, .forward = forward_all,
  .samples = "b(2,3); b(2,3), 1; b(0)", .wrong = "b(2,3), 3 => no dimension 3"};

/* ---- made of operations: what they call is what the tape and the recorder see */

static int composed(sno_call *c, snt_tensor *y) {
  if (y == NULL || (c->want[0].alias = snt_view(y)) == NULL) return -1;
  c->in[0] = y;
  return 0;
}
static int back_composed(sno_back *b) {
  b->gx[0] = b->gy[0];
  return 0;
}
static snt_tensor *over(const sno_op *op, snt_tensor *x, unsigned mask, bool keep) {
  sno_val dims = {.kind = SNO_DIMS};
  if (x == NULL) return NULL;
  for (int i = 0; i < x->ndim; i++)
    if (mask >> i & 1) dims.v[dims.n++] = i;
  return sno_run(op, 1, &x, SNO_ATTRS(dims, sno_bool(keep)));
}

static snt_tensor *variance(sno_call *c) {
  snt_tensor *x = c->in[0];
  unsigned mask;
  if (!sn_is_float((sn_dtype)x->dtype)) {
    sn_fail("%s: wants a floating tensor, this one is %s; x:to(\"float32\") first", c->op->name, sn_dtypes[x->dtype].name);
    return NULL;
  }
  if (sno_fix_dims(c, 0, x, &mask) < 0) return NULL;
  double n = 1;
  for (int i = 0; i < x->ndim; i++)
    if (mask >> i & 1) n *= (double)x->shape[i];
  const double degrees = c->attr[2].i ? n - 1 : n;
  snt_tensor *d = sno_sub(x, over(&sno_op_mean, x, mask, true));
  snt_tensor *s = d ? over(&sno_op_sum, sno_square(d), mask, c->attr[1].i) : NULL;
  return s ? sno_div(s, sno_weak(degrees > 0 ? degrees : 0)) : NULL;
}
static int infer_var(sno_call *c) { return composed(c, variance(c)); }
static int infer_std(sno_call *c) {
  snt_tensor *v = variance(c);
  return v ? composed(c, sno_sqrt(v)) : -1;
}

/*** var(x, dim?, {keepdim=false, unbiased=true})
 * The variance, of all or along dimensions: the sum of squared distances from the mean over n-1 (over n with unbiased=false).
 * @math y = \frac{1}{n-1} \sum_i (x_i - \mu)^2,\quad \mu = \frac1n\sum_i x_i
 * @grad \bar x_i = \bar y\,\frac{2}{n-1}(x_i - \mu)
 */
const sno_op sno_op_var = {.name = "var", .args = "x dim:dims? keepdim:bool=false unbiased:bool=true", .flags = SNO_HIGH | SNO_VIEW, .nout = 1, .infer = infer_var,
  .backward = back_composed, .samples = "f(2,3); f(4,3), 1; f(2,3,4), {2,3}, {unbiased=false, keepdim=true}", .wrong = "i(1,9,3) => floating; f(2,3), 3 => no dimension 3"};
/*** std(x, dim?, {keepdim=false, unbiased=true})
 * The standard deviation: the root of var.
 * @math y = \sqrt{\frac{1}{n-1} \sum_i (x_i - \mu)^2}
 * @grad \bar x_i = \bar y\,\frac{x_i - \mu}{(n-1)\,y}
 */
const sno_op sno_op_std = {.name = "std", .args = "x dim:dims? keepdim:bool=false unbiased:bool=true", .flags = SNO_HIGH | SNO_VIEW, .nout = 1, .infer = infer_std,
  .backward = back_composed, .samples = "f(2,3); f(4,3), 1; f(2,3), 2, {unbiased=false}", .wrong = "i(1,9,3) => floating"};

static int infer_logsumexp(sno_call *c) {
  unsigned mask;
  snt_tensor *x = c->in[0];
  if (infer_mean(c) < 0) return -1;
  c->scratch_bytes = 0;
  sno_fix_dims(c, 0, x, &mask);
  if (refuse_empty(c, mask) < 0) return -1;
  snt_tensor *m = over(&sno_op_amax, sno_detach(x), mask, true);
  if (m == NULL || (m = sno_where(sno_call1(&sno_op_isfinite, m), m, sno_weak(0))) == NULL) return -1;
  snt_tensor *s = over(&sno_op_sum, sno_exp(sno_sub(x, m)), mask, true);
  if (s == NULL || (s = sno_add(sno_log(s), m)) == NULL) return -1;
  return composed(c, c->attr[1].i ? s : sno_shaped(s, c->want[0].ndim, c->want[0].shape));
}

/*** logsumexp(x, dim?, {keepdim=false})
 * The logarithm of the sum of exponentials, safe from overflow by taking the largest out first.
 * @math y = m + \ln \sum_i e^{x_i - m},\quad m = \max_i x_i
 * @grad \bar x_i = \bar y\, e^{x_i - y}
 */
const sno_op sno_op_logsumexp = {.name = "logsumexp", .args = "x dim:dims? keepdim:bool=false", .flags = SNO_HIGH | SNO_VIEW, .nout = 1, .infer = infer_logsumexp,
  .backward = back_composed, .samples = "f(2,3); f(2,3), 1; f(2,3,4), {1,3}, {keepdim=true}", .wrong = "i(1,9,3) => floating; f(2,3), 3 => no dimension 3"};

/* ---- norm */

static int infer_norm(sno_call *c) {
  const double p = c->attr[2].d;
  if (!(p == 1 || p == 2 || p == (double)INFINITY)) return sn_fail("norm: p is %g; 1, 2 and math.huge are the norms there are", p);
  return infer_mean(c);
}
static void forward_norm(sno_call *c) {
  const double p = c->attr[2].d;
  sno_reduce_run(c, p == 1 ? SNK_SUMABS : p == 2 ? SNK_SUMSQ : SNK_MAXABS, mask_of(&c->attr[0], c->in[0]->ndim), 1);
  if (p != 2) return;
  const snt_tensor *y = c->out[0];
  const int64_t n = snt_numel(y);
  for (int64_t i = 0; i < n; i++) {
    if (y->dtype == SN_F64) ((double *)snt_data(y))[i] = sqrt(((double *)snt_data(y))[i]);
    else ((float *)snt_data(y))[i] = sqrtf(((float *)snt_data(y))[i]);
  }
}
static int back_norm(sno_back *b) {
  const sno_out *s = &b->in_spec[0];
  const unsigned mask = mask_of(&b->attr[0], s->ndim);
  const double p = b->attr[2].d;
  snt_tensor *y = keepdim_shape(b->out[0], s, mask), *g = keepdim_shape(b->gy[0], s, mask), *x = b->in[0];
  if (y == NULL || g == NULL) return -1;
  if (p == 1) b->gx[0] = sno_mul(g, sno_sign(x));
  else if (p == 2) { /* 0 at the origin */
    snt_tensor *safe = sno_where(sno_eq(y, sno_weak(0)), sno_weak(1), y);
    b->gx[0] = safe ? sno_mul(x, sno_div(g, safe)) : NULL;
  } else {
    snt_tensor *hit = sno_to(sno_eq(sno_abs(x), y), (sn_dtype)s->dtype);
    b->gx[0] = hit ? sno_mul(sno_mul(hit, sno_sign(x)), sno_div(g, over(&sno_op_sum, hit, mask, true))) : NULL;
  }
  return b->gx[0] ? 0 : -1;
}

/*** norm(x, dim?, {keepdim=false, p=2})
 * The Euclidean norm of all elements, or along dimensions; p=1 sums absolute values, p=math.huge takes the largest.
 * The gradient at the origin is 0.
 * @math y = \left(\sum_i |x_i|^p\right)^{1/p}
 * @grad \bar x_i = \bar y\, x_i / y \quad (p = 2)
 */
const sno_op sno_op_norm = {.name = "norm", .args = "x dim:dims? keepdim:bool=false p:num=2", .flags = SNO_HIGH, .nout = 1, .save_in = 1, .save_out = 1, .infer = infer_norm,
  .forward = forward_norm, .backward = back_norm, .samples = "f(2,3); f(2,3), 1; f(2,3), 2, {p=1, keepdim=true}; f(2,3), {p=math.huge}",
  .wrong = "f(2,3), {p=3} => norm; i(1,9,3) => floating"};

/* ---- cumsum */

typedef struct scan { sn_dtype t; const char *from; char *to; sno_axes kx, ky; int64_t n, xs, ys, per, tiles, inner; bool columns; } scan; /* steps in bytes */
#define SIDE 4      /* rows at a time */
#define COLUMNS 256

/* Tiles of `per` rows of the inner run: one number after another, or all columns' numbers side by side. */
static void scan_tiles(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const scan *s = ctx;
  const int64_t size = (int64_t)sn_size_of(s->t);
  for (int64_t q = begin; q < end; q++) {
    const int64_t at = q % s->tiles * s->per, o = q / s->tiles * s->inner + at, many = s->inner - at < s->per ? s->inner - at : s->per;
    const char *x[SIDE];
    char *y[SIDE];
    for (int k = 0; k < SIDE && k < many; k++) {
      x[k] = s->from + sno_axes_offset(&s->kx, o + k) * size;
      y[k] = s->to + sno_axes_offset(&s->ky, o + k) * size;
    }
    if (!s->columns) snk_scan_rows(s->t, (int)many, s->n, x, s->xs, y, s->ys);
    else {
      memset(y[0], 0, (size_t)(many * size));
      for (int64_t i = 0; i < s->n; i++) snk_scan_next(s->t, many, y[0] + (i - (i > 0)) * s->ys, x[0] + i * s->xs, y[0] + i * s->ys);
    }
  }
}

static int infer_cumsum(sno_call *c) {
  if (sno_fix_dim(c, 0, c->in[0], c->in[0]->ndim) < 0) return -1;
  if (!sn_is_float((sn_dtype)c->in[0]->dtype) && sno_cast_input(c, 0, SN_I64) < 0) return -1;
  sno_want(c, 0, (sn_dtype)c->in[0]->dtype, c->in[0]->ndim, c->in[0]->shape);
  return 0;
}
static void forward_cumsum(sno_call *c) {
  const snt_tensor *x = c->in[0], *y = c->out[0];
  const int d = (int)c->attr[0].i;
  const int64_t size = (int64_t)sn_size_of((sn_dtype)x->dtype), all = snt_numel(x);
  scan s = {.t = (sn_dtype)x->dtype, .n = 1};
  if (all == 0) return;
  sno_axes_take(&s.kx, x, ~(1u << d)), sno_axes_take(&s.ky, y, ~(1u << d));
  if (x->ndim) s.n = x->shape[d], s.xs = x->stride[d] * size, s.ys = y->stride[d] * size;
  const int64_t rows = all / s.n, ix = s.kx.shape[s.kx.n - 1], iy = s.ky.shape[s.ky.n - 1];
  s.columns = s.kx.stride[s.kx.n - 1] == 1 && s.ky.stride[s.ky.n - 1] == 1 && ix == iy && ix >= 8;
  s.inner = s.columns ? ix : rows;
  s.per = s.columns ? COLUMNS : SIDE;
  s.tiles = (s.inner + s.per - 1) / s.per;
  s.from = snt_data(x), s.to = snt_data(y);
  if (c->attr[1].i) { /* from the end */
    s.from += (s.n - 1) * s.xs, s.to += (s.n - 1) * s.ys;
    s.xs = -s.xs, s.ys = -s.ys;
  }
  sn_parallel(rows / s.inner * s.tiles, 1 + 32768 / (s.n * s.per), scan_tiles, &s);
}
static int back_cumsum(sno_back *b) {
  sno_val a[2] = {b->attr[0], sno_bool(!b->attr[1].i)};
  return (b->gx[0] = sno_run(&sno_op_cumsum, 1, b->gy, 2, a)) ? 0 : -1;
}

/*** cumsum(x, dim, {reverse=false})
 * Sums of all elements up to each one along dim (from the end with reverse). Integers give int64.
 * @math y_i = \sum_{j \le i} x_j
 * @grad \bar x_i = \sum_{j \ge i} \bar y_j
 */
const sno_op sno_op_cumsum = {.name = "cumsum", .args = "x dim:dim reverse:bool=false", .flags = SNO_HIGH, .nout = 1, .infer = infer_cumsum, .forward = forward_cumsum,
  .backward = back_cumsum, .samples = "f(4), 1; f(2,3), 2; f(2,3,4), 1, {reverse=true}; f(0,2), 1", .wrong = "f(2,3), 3 => no dimension 3"};
