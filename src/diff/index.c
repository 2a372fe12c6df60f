/* index.c - parts of tensors by position: select, narrow, and rows chosen by a tensor of indices. */
#include "diff/index.h"
#include <string.h>
#include "base/error.h"
#include "base/thread.h"
#include "calc/cast.h"
#include "calc/index.h"
#include "calc/isa.h"
#include "core/iter.h"
#include "diff/ops.h"

#define GRAIN 32768

/* ---- shared */

int sno_real_dim(sno_call *c, int k, const snt_tensor *x) {
  if (x->ndim == 0) return sn_fail("%s: wants a tensor of at least one dimension", c->op->name);
  return sno_fix_dim(c, k, x, x->ndim);
}

int sno_contiguous_input(sno_call *c, int i) {
  if (snt_is_contiguous(c->in[i])) return 0;
  return (c->in[i] = sno_call1(&sno_op_contiguous, c->in[i])) ? 0 : -1;
}

int sno_index_input(sno_call *c, int i) {
  const sn_dtype t = (sn_dtype)c->in[i]->dtype;
  if (sn_dtypes[t].category != 1) return sn_fail("%s: positions are int64 or int32, got %s; :to(\"int64\") converts", c->op->name, sn_dtypes[t].name);
  if (sno_cast_input(c, i, SN_I64) < 0) return -1;
  return sno_contiguous_input(c, i);
}

typedef struct range { const int64_t *p; int64_t base, size; uint64_t bad; } range;

/* The highest bit of d or of what is left of the size: d lies outside. From behind, so that what will be read first is in the cache last. */
SNK_LONG_BEGIN
static void range_task(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  range *r = ctx;
  const uint64_t base = (uint64_t)r->base, last = (uint64_t)r->size - 1;
  const int64_t *p = r->p;
  uint64_t bad = 0;
  for (int64_t from, to = end; to > begin; to = from) {
    from = to - begin < 4096 ? begin : to - 4096;
    for (int64_t k = from; k < to; k++) {
      const uint64_t d = (uint64_t)p[k] - base;
      bad |= d | (last - d);
    }
  }
  __atomic_fetch_or(&r->bad, bad, __ATOMIC_RELAXED);
}
SNK_LONG_END

int sno_check_index(sno_call *c, int i, int64_t base, const snt_tensor *x, int dim) {
  if (sno_index_input(c, i) < 0) return -1;
  range r = {snt_data(c->in[i]), base, x->shape[dim], 0};
  sn_parallel(snt_numel(c->in[i]), GRAIN, range_task, &r);
  if (r.bad >> 63 == 0) return 0;
  const int64_t *p = r.p, size = r.size;
  int64_t k = 0;
  while ((uint64_t)p[k] - (uint64_t)base < (uint64_t)size) k++;
  return sn_fail("%s: index %lld at position %lld, dimension %d has %lld (positions count from %lld; shape %s)", c->op->name, (long long)p[k],
      (long long)(k + base), dim + 1, (long long)size, (long long)base, SNT_SHAPE(x));
}

static void cast_row(void *ctx, int64_t n, char *const *p, const int64_t *s) {
  const sn_dtype *t = ctx;
  snk_cast_row(n, p[0], s[0], t[0], p[1], s[1], t[1]);
}

void sno_copy_elements(snt_tensor *y, const snt_tensor *x) {
  sn_dtype t[2] = {(sn_dtype)y->dtype, (sn_dtype)x->dtype};
  snt_iter it;
  snt_iter_init(&it, 2, (const snt_tensor *const[]){y, x});
  snt_iter_run(&it, GRAIN, cast_row, t);
}

void sno_zero_elements(snt_tensor *y) {
  if (snt_numel(y) > 0) memset(snt_data(y), 0, snt_nbytes(y));
}

snt_tensor sno_part(const snt_tensor *t, int dim, int64_t start, int64_t length, int64_t step) {
  snt_tensor v = *t;
  v.shape[dim] = length;
  v.stride[dim] *= step;
  if (length > 0) v.offset += start * t->stride[dim];
  return v;
}

typedef struct among { snt_tensor *y; const snt_tensor *part, *x; } among;

static void copy_some(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const among *j = ctx;
  snt_tensor y = sno_part(j->y, 0, begin, end - begin, 1), part = sno_part(j->part, 0, begin, end - begin, 1);
  const snt_tensor x = sno_part(j->x, 0, begin, end - begin, 1);
  sno_zero_elements(&y);
  sno_copy_elements(&part, &x);
}

static void copy_each(void *ctx, int64_t begin, int64_t end, int worker) {
  for (int64_t i = begin; i < end; i++) copy_some(ctx, i, i + 1, worker);
}

void sno_copy_among_zeros(snt_tensor *y, const snt_tensor *part, const snt_tensor *x) {
  among j = {y, part, x};
  const int64_t n = y->ndim > 0 ? y->shape[0] : 0;
  if (n >= 8 && part->shape[0] == n && snt_numel(x) > 0) sn_parallel(n, GRAIN / (snt_numel(y) / n) + 1, copy_each, &j);
  else {
    sno_zero_elements(y);
    snt_tensor to = *part;
    sno_copy_elements(&to, x);
  }
}

static sno_val dim_val(int64_t dim) { return (sno_val){.kind = SNO_DIM, .i = dim}; }
static sno_val base_val(int64_t base) { return (sno_val){.kind = SNO_BASE, .i = base}; }
static sno_val pos_val(int64_t pos) { return (sno_val){.kind = SNO_POS, .i = pos}; }

/* ---- narrow and select: views */

static int infer_narrow(sno_call *c) {
  const snt_tensor *x = c->in[0];
  if (sno_real_dim(c, 0, x) < 0) return -1;
  const int dim = (int)c->attr[0].i;
  const int64_t size = x->shape[dim], given = c->attr[1].i, start = given < 0 ? given + size : given, length = c->attr[2].i, step = c->attr[3].i;
  if (step < 1) return sn_fail("narrow: a step is 1 or more, got %lld; flip() turns a dimension round", (long long)step);
  if (length < 0) return sn_fail("narrow: length %lld is negative", (long long)length);
  if (start < 0 || start > size || (length > 0 && (length - 1 >= size || start + (length - 1) * step >= size)))
    return sn_fail("narrow: %lld from position %lld%s do not lie in dimension %d, which has %lld (shape %s)", (long long)length,
        (long long)(given < 0 ? given : given + 1), step > 1 ? " with this step" : "", dim + 1, (long long)size, SNT_SHAPE(x));
  c->attr[1].i = start;
  c->want[0].alias = snt_narrow(x, dim, length > 0 ? start : 0, length, step);
  return c->want[0].alias ? 0 : -1;
}

static int back_narrow(sno_back *b) {
  const int64_t dim = b->attr[0].i;
  b->gx[0] = sno_run(&sno_op_narrow_backward, SNO_IN(b->gy[0]), SNO_ATTRS(dim_val(dim), pos_val(b->attr[1].i), sno_int(b->attr[3].i),
      sno_int(b->in_spec[0].shape[dim])));
  return b->gx[0] ? 0 : -1;
}

/*** narrow(x, dim, start, length, step=1)
 * `length` positions of dimension `dim` from `start` on, every step-th: a view. x[{{start, last}}] is the same in brackets.
 * @math y_{\dots i \dots} = x_{\dots\, s + i t\, \dots}
 * @grad \bar x_{\dots\, s + i t\, \dots} = \bar y_{\dots i \dots}, \text{ 0 elsewhere}
 * @see select, index_select, split
 */
const sno_op sno_op_narrow = {
    .name = "narrow", .args = "x dim:dim start:pos length:int step:int=1", .flags = SNO_VIEW, .nout = 1, .infer = infer_narrow,
    .backward = back_narrow, .samples = "f(4,5), 2, 2, 3; f(4,5), 1, -2, 2; f(7), 1, 1, 3, 3; f(2,6,3), -2, 2, 2, 2; f(3,2), 1, 1, 0",
    .wrong = "f(2,3), 3, 1, 1 => dimension 3; f(2,3), 2, 2, 3 => position 2; f(3), 1, 0, 1 => count from 1; f(3), 1, 1, 2, 0 => step"};

static int infer_narrow_backward(sno_call *c) {
  const snt_tensor *g = c->in[0];
  sno_want(c, 0, (sn_dtype)g->dtype, g->ndim, g->shape);
  c->want[0].shape[c->attr[0].i] = c->attr[3].i;
  return 0;
}

static void forward_narrow_backward(sno_call *c) {
  const snt_tensor *g = c->in[0];
  const int dim = (int)c->attr[0].i;
  const snt_tensor part = sno_part(c->out[0], dim, c->attr[1].i, g->shape[dim], c->attr[2].i);
  sno_copy_among_zeros(c->out[0], &part, g);
}

static int back_narrow_backward(sno_back *b) {
  const int64_t dim = b->attr[0].i;
  b->gx[0] = sno_run(&sno_op_narrow, SNO_IN(b->gy[0]), SNO_ATTRS(dim_val(dim), pos_val(b->attr[1].i), sno_int(b->in_spec[0].shape[dim]),
      sno_int(b->attr[2].i)));
  return b->gx[0] ? 0 : -1;
}

/*** narrow_backward(gy, dim, start, step, size)
 * gy in a tensor of zeros with `size` positions along `dim`: what narrow has as its gradient.
 */
const sno_op sno_op_narrow_backward = {
    .name = "narrow_backward", .args = "gy dim:dim start:pos step:int size:int", .flags = SNO_HIDDEN | SNO_HALF, .nout = 1,
    .infer = infer_narrow_backward, .forward = forward_narrow_backward, .backward = back_narrow_backward};

snt_tensor *sno_grow(snt_tensor *g, const sno_out *spec) {
  for (int d = 0; g && d < spec->ndim; d++)
    if (g->shape[d] != spec->shape[d]) g = sno_run(&sno_op_narrow_backward, SNO_IN(g), SNO_ATTRS(dim_val(d), pos_val(0), sno_int(1),
        sno_int(spec->shape[d])));
  return g;
}

static int infer_select(sno_call *c) {
  const snt_tensor *x = c->in[0];
  if (sno_real_dim(c, 0, x) < 0) return -1;
  const int dim = (int)c->attr[0].i;
  const int64_t given = c->attr[1].i, at = given < 0 ? given + x->shape[dim] : given;
  if (at < 0 || at >= x->shape[dim])
    return sn_fail("select: position %lld does not exist, dimension %d has %lld (shape %s)", (long long)(given < 0 ? given : given + 1), dim + 1,
                   (long long)x->shape[dim], SNT_SHAPE(x));
  c->attr[1].i = at;
  c->want[0].alias = snt_select(x, dim, at);
  return c->want[0].alias ? 0 : -1;
}

static int back_select(sno_back *b) {
  const int64_t dim = b->attr[0].i;
  int64_t shape[SNT_MAXDIM];
  memcpy(shape, b->in_spec[0].shape, sizeof shape);
  shape[dim] = 1;
  snt_tensor *g = sno_run(&sno_op_reshape, SNO_IN(b->gy[0]), SNO_ATTRS(sno_ints(b->in_spec[0].ndim, shape)));
  b->gx[0] = g ? sno_run(&sno_op_narrow_backward, SNO_IN(g), SNO_ATTRS(dim_val(dim), b->attr[1], sno_int(1), sno_int(b->in_spec[0].shape[dim])))
      : NULL;
  return b->gx[0] ? 0 : -1;
}

/*** select(x, dim, index)
 * One position of dimension `dim`, which goes: a view. x[i] is x:select(1, i).
 * @math y_{\dots} = x_{\dots\, i\, \dots}
 * @grad \bar x_{\dots\, i\, \dots} = \bar y_{\dots}, \text{ 0 elsewhere}
 * @see narrow, index_select
 */
const sno_op sno_op_select = {
    .name = "select", .args = "x dim:dim index:pos", .flags = SNO_VIEW, .nout = 1, .infer = infer_select, .backward = back_select,
    .samples = "f(4,5), 2, 2; f(4,5), 1, -1; f(7), 1, 3; f(2,3,4), -2, 2", .wrong = "f(2,3), 3, 1 => dimension 3; f(2,3), 2, 4 => position 4; "
        "f(3), 1, 0 => count from 1"};

/* ---- rows by a tensor of indices */

/* What a kernel needs: the table's shape cut at dim, indices and rows. */
static snk_rows rows_of(const snt_tensor *table, int dim, const snt_tensor *index, const void *rows, int64_t base) {
  return (snk_rows){.table = snt_data(table), .rows = (void *)(uintptr_t)rows, .index = snt_data(index), .n = snt_numel(index), .base = base,
      .dtype = (sn_dtype)table->dtype, .outer = snt_count(dim, table->shape), .size = table->shape[dim],
      .inner = snt_count(table->ndim - dim - 1, table->shape + dim + 1)};
}

/* x's shape with dimension dim replaced by the index' own dimensions. */
static int want_rows(sno_call *c, const snt_tensor *x, int dim, const snt_tensor *index) {
  int64_t shape[2 * SNT_MAXDIM];
  int n = 0;
  for (int d = 0; d < dim; d++) shape[n++] = x->shape[d];
  for (int d = 0; d < index->ndim; d++) shape[n++] = index->shape[d];
  for (int d = dim + 1; d < x->ndim; d++) shape[n++] = x->shape[d];
  if (snt_check_shape(n, shape, c->op->name) < 0) return -1;
  sno_want(c, 0, (sn_dtype)x->dtype, n, shape);
  return 0;
}

static int infer_index_select(sno_call *c) {
  if (sno_real_dim(c, 0, c->in[0]) < 0 || sno_check_index(c, 1, c->attr[1].i, c->in[0], (int)c->attr[0].i) < 0) return -1;
  return sno_contiguous_input(c, 0) < 0 ? -1 : want_rows(c, c->in[0], (int)c->attr[0].i, c->in[1]);
}

static void forward_index_select(sno_call *c) {
  const snk_rows r = rows_of(c->in[0], (int)c->attr[0].i, c->in[1], snt_data(c->out[0]), c->attr[1].i);
  snk_rows_get(&r);
}

static snt_tensor *rows_backward(snt_tensor *g, snt_tensor *index, int64_t dim, int64_t size, sno_val skip, int64_t base) {
  return sno_run(&sno_op_index_select_backward, SNO_IN(g, index), SNO_ATTRS(dim_val(dim), sno_int(size), skip, base_val(base)));
}

static int back_index_select(sno_back *b) {
  const int64_t dim = b->attr[0].i;
  return (b->gx[0] = rows_backward(b->gy[0], b->in[1], dim, b->in_spec[0].shape[dim], sno_absent(), b->attr[1].i)) ? 0 : -1;
}

/*** index_select(x, dim, index)
 * The positions of dimension `dim` that `index` (int64) names, in its order and as often as it names them. An index of several dimensions
 * (or none) puts its own shape in the place of `dim`; x[index] is x:index_select(1, index).
 * @math y_{\dots j \dots} = x_{\dots\, i_j\, \dots}
 * @grad \bar x_{\dots k \dots} = \sum_{j : i_j = k} \bar y_{\dots j \dots}
 * @see gather, embedding, index_add, masked_select
 */
const sno_op sno_op_index_select = {
    .name = "index_select", .args = "x dim:dim index base:base", .flags = SNO_HALF | SNO_VALUES, .nout = 1, .save_in = 2, .infer = infer_index_select,
    .forward = forward_index_select, .backward = back_index_select,
    .samples = "f(4,3), 1, i(1,4,6); f(2,4,3), 2, i(1,4,2); f(2,3), -1, i(1,3,2,2); f(5), 1, i(1,5,3); f(3,2), 1, i(1,3,0)",
    .wrong = "f(2,3), 2, i(4,4,2) => index 4 at position 1; f(2,3), 1, i(0,0,1) => index 0; f(2,3), 1, f(2) => int64; "
        "f(2), 2, i(1,1,1) => dimension 2"};

static int infer_rows_backward(sno_call *c) {
  const snt_tensor *g = c->in[0], *index = c->in[1];
  const int dim = (int)c->attr[0].i;
  int64_t shape[SNT_MAXDIM + 1];
  int n = 0;
  for (int d = 0; d < dim; d++) shape[n++] = g->shape[d];
  shape[n++] = c->attr[1].i;
  for (int d = dim + index->ndim; d < g->ndim; d++) shape[n++] = g->shape[d];
  sno_want(c, 0, (sn_dtype)g->dtype, n, shape);
  return 0;
}

static void forward_rows_backward(sno_call *c) {
  snk_rows r = rows_of(c->out[0], (int)c->attr[0].i, c->in[1], snt_data(c->in[0]), c->attr[3].i);
  r.zero = true;
  r.skips = !c->attr[2].absent;
  r.skip = r.skips ? c->attr[2].i : 0;
  snk_rows_add(&r);
}

static int back_rows_backward(sno_back *b) {
  const int64_t dim = b->attr[0].i;
  snt_tensor *index = b->in[1];
  b->gx[0] = sno_run(&sno_op_index_select, SNO_IN(b->gy[0], index), SNO_ATTRS(dim_val(dim), base_val(b->attr[3].i)));
  if (b->gx[0] && !b->attr[2].absent) { /* rows that were skipped have no gradient */
    int64_t shape[SNT_MAXDIM];
    int n = 0;
    for (; n < index->ndim; n++) shape[n] = index->shape[n];
    for (int d = (int)dim + index->ndim; d < b->gx[0]->ndim; d++) shape[n++] = 1;
    snt_tensor *skip = sno_own(snt_scalar_int(SN_I64, b->attr[2].i)), *mask = sno_eq(index, skip);
    mask = mask ? sno_run(&sno_op_reshape, SNO_IN(mask), SNO_ATTRS(sno_ints(n, shape))) : NULL;
    b->gx[0] = mask ? sno_where(mask, sno_weak(0), b->gx[0]) : NULL;
  }
  return b->gx[0] ? 0 : -1;
}

/*** index_select_backward(gy, index, dim, size, {skip})
 * Rows of gy added up at their indices in zeros, in the order of the indices.
 */
const sno_op sno_op_index_select_backward = {
    .name = "index_select_backward", .args = "gy index dim:dim size:int skip:int? base:base", .flags = SNO_HIDDEN | SNO_CONTIG, .nout = 1,
    .save_in = 2, .infer = infer_rows_backward, .forward = forward_rows_backward, .backward = back_rows_backward};

/* ---- embedding */

static int infer_embedding(sno_call *c) {
  const snt_tensor *w = c->in[1];
  const int64_t base = c->attr[1].i;
  if (w->ndim != 2 || !sn_is_float((sn_dtype)w->dtype))
    return sn_fail("embedding: the weight is a floating matrix, rows x features, got %s of shape %s (the index comes first)",
        sn_dtypes[w->dtype].name, SNT_SHAPE(w));
  if (!c->attr[0].absent && (c->attr[0].i < base || c->attr[0].i >= base + w->shape[0]))
    return sn_fail("embedding: padding_idx %lld is outside the weight's rows, %lld to %lld", (long long)c->attr[0].i, (long long)base,
        (long long)(base + w->shape[0] - 1));
  if (sno_check_index(c, 0, base, w, 0) < 0 || sno_contiguous_input(c, 1) < 0) return -1;
  return want_rows(c, c->in[1], 0, c->in[0]);
}

static void forward_embedding(sno_call *c) {
  const snk_rows r = rows_of(c->in[1], 0, c->in[0], snt_data(c->out[0]), c->attr[1].i);
  snk_rows_get(&r);
}

static int back_embedding(sno_back *b) {
  if (!b->want[1]) return 0;
  return (b->gx[1] = rows_backward(b->gy[0], b->in[0], 0, b->in_spec[1].shape[0], b->attr[0], b->attr[1].i)) ? 0 : -1;
}

/*** embedding(index, weight, {padding_idx=})
 * Rows of `weight` (rows x features) by number: an index of shape ... gives ... x features. The row padding_idx gets no gradient.
 * @math y_{j} = W_{i_j}
 * @grad \bar W_k = \sum_{j : i_j = k} \bar y_j
 * @see index_select, one_hot
 */
const sno_op sno_op_embedding = {
    .name = "embedding", .args = "index weight padding_idx:int? base:base", .flags = SNO_HALF | SNO_VALUES, .nout = 1, .save_in = 1,
    .infer = infer_embedding,
    .forward = forward_embedding, .backward = back_embedding, .samples = "i(1,6,3,4), f(6,3); i(1,4,5), f(4,2); i(1,2,0), f(2,3)",
    .wrong = "i(7,7,2), f(6,3) => index 7 at position 1; i(1,2,2), f(3) => matrix; f(2), f(3,2) => int64; "
        "i(1,2,2), f(2,3), {padding_idx=3} => padding_idx"};

/* ---- writing rows */

/* src as the rows that go to `index` (1-d) along dim: x's shape with index' length; a number or smaller shape is expanded. */
static int infer_index_write(sno_call *c) {
  const char *name = c->op->name;
  snt_tensor *x = c->in[0], *s = c->in[2];
  if (sno_real_dim(c, 0, x) < 0) return -1;
  const int dim = (int)c->attr[0].i;
  if (c->in[1]->ndim != 1) return sn_fail("%s: the index is a 1-d tensor, got %s", name, SNT_SHAPE(c->in[1]));
  if (sno_check_index(c, 1, c->attr[1].i, x, dim) < 0) return -1;
  if (x->dtype == SN_BOOL && strncmp(name, "index_add", 9) == 0) return sn_fail("%s: bool tensors have no sum", name);
  if (sn_dtypes[s->dtype].category > sn_dtypes[x->dtype].category)
    return sn_fail("%s: %s values do not go into a %s tensor", name, sn_dtypes[s->dtype].name, sn_dtypes[x->dtype].name);
  int64_t shape[SNT_MAXDIM];
  memcpy(shape, x->shape, sizeof shape);
  shape[dim] = c->in[1]->shape[0];
  bool fits = s->ndim == x->ndim;
  for (int d = 0; fits && d < x->ndim; d++) fits = s->shape[d] == shape[d];
  if (!fits)
    return sn_fail("%s: the source is %s, %s is wanted (%lld indices along dimension %d of %s)", name, SNT_SHAPE(s), snt_shape_str(x->ndim, shape,
        (char[96]){0}, 96), (long long)shape[dim], dim + 1, SNT_SHAPE(x));
  if (sno_cast_input(c, 2, (sn_dtype)x->dtype) < 0) return -1;
  if (c->op->flags & SNO_WRITES) {
    if (snt_may_overlap(x, c->in[2]) && (c->in[2] = sno_call1(&sno_op_clone, c->in[2])) == NULL) return -1;
  } else sno_want(c, 0, (sn_dtype)x->dtype, x->ndim, x->shape);
  return sno_contiguous_input(c, 2);
}

static void add_row(void *ctx, int64_t n, char *const *p, const int64_t *s) {
  snk_map_row(SNK_MAP_add, *(const sn_dtype *)ctx)(n, (char *const[]){p[0], p[0], p[1]}, (int64_t[]){s[0], s[0], s[1]}, NULL);
}

/* The table is not contiguous (written in place): one index after the other. */
static void write_strided(const sno_call *c, snt_tensor *y, bool add) {
  const int dim = (int)c->attr[0].i;
  const int64_t *index = snt_data(c->in[1]);
  sn_dtype t = (sn_dtype)y->dtype;
  for (int64_t j = 0; j < c->in[1]->shape[0]; j++) {
    snt_tensor to = sno_part(y, dim, index[j] - c->attr[1].i, 1, 1), from = sno_part(c->in[2], dim, j, 1, 1);
    if (!add) {
      sno_copy_elements(&to, &from);
      continue;
    }
    snt_iter it;
    snt_iter_init(&it, 2, (const snt_tensor *const[]){&to, &from});
    snt_iter_run(&it, GRAIN, add_row, &t);
  }
}

static void write_rows(sno_call *c, bool add) {
  snt_tensor *y = c->out[0];
  if (!(c->op->flags & SNO_WRITES)) sno_copy_elements(y, c->in[0]);
  if (!snt_is_contiguous(y)) {
    write_strided(c, y, add);
    return;
  }
  const snk_rows r = rows_of(y, (int)c->attr[0].i, c->in[1], snt_data(c->in[2]), c->attr[1].i);
  if (add) snk_rows_add(&r);
  else snk_rows_put(&r);
}
static void forward_index_add(sno_call *c) { write_rows(c, true); }
static void forward_index_copy(sno_call *c) { write_rows(c, false); }

static snt_tensor *rows_at(const sno_back *b) {
  return sno_run(&sno_op_index_select, SNO_IN(b->gy[0], b->in[1]), SNO_ATTRS(dim_val(b->attr[0].i), base_val(b->attr[1].i)));
}

static int back_index_add(sno_back *b) {
  b->gx[0] = b->gy[0];
  return !b->want[2] || (b->gx[2] = rows_at(b)) ? 0 : -1;
}

/* Of several rows at one place only the last has a part in the result. */
static int back_index_copy(sno_back *b) {
  const int64_t dim = b->attr[0].i, size = b->in_spec[0].shape[dim];
  if (b->want[0] &&
      (b->gx[0] = sno_run(&sno_op_index_fill, SNO_IN(b->gy[0], b->in[1]), SNO_ATTRS(dim_val(dim), sno_num(0), base_val(b->attr[1].i)))) == NULL)
    return -1;
  if (!b->want[2]) return 0;
  int64_t shape[SNT_MAXDIM];
  for (int d = 0; d < b->in_spec[0].ndim; d++) shape[d] = d == dim ? b->in_spec[1].shape[0] : 1;
  snt_tensor *last = sno_run(&sno_op_scatter_last, SNO_IN(b->in[1]), SNO_ATTRS(dim_val(0), sno_ints(1, &size), base_val(b->attr[1].i)));
  if (last) last = sno_run(&sno_op_reshape, SNO_IN(last), SNO_ATTRS(sno_ints(b->in_spec[0].ndim, shape)));
  return last && (b->gx[2] = sno_where(last, rows_at(b), sno_weak(0))) ? 0 : -1;
}

#define WRITES_ROWS "x dim:dim index src base:base"
#define WRITE_SAMPLES "f(4,3), 1, i(1,4,6), f(6,3); f(2,4,3), 2, i(1,4,2), f(2,2,3); f(3,2), -1, i(1,2,3), f(3,3); f(3), 1, i(1,3,0), f(0)"
#define WRITE_WRONG "f(4,3), 1, i(5,5,2), f(2,3) => index 5 at position 1; f(4,3), 1, i(1,4,2), f(3,3) => 2x3; f(4), 1, i(1,4,2,2), f(2) => 1-d; " \
  "i(1,4,4), 1, i(1,4,2), f(2) => int64"

/*** index_add(x, dim, index, src)
 * x with the slices of `src` along `dim` added at the positions `index` (1-d int64) names, in its order. index_add_ writes x itself.
 * @math y = x, \quad y_{\dots\, i_j\, \dots} \mathrel{+}= s_{\dots j \dots}
 * @grad \bar x = \bar y, \quad \bar s_{\dots j \dots} = \bar y_{\dots\, i_j\, \dots}
 * @see index_select, index_copy, scatter_add
 */
const sno_op sno_op_index_add = {
    .name = "index_add", .args = WRITES_ROWS, .flags = SNO_VALUES, .nout = 1, .save_in = 2, .infer = infer_index_write, .forward = forward_index_add,
    .backward = back_index_add, .samples = WRITE_SAMPLES, .wrong = WRITE_WRONG};

/*** index_add_(x, dim, index, src)
 * index_add in place.
 * @math x_{\dots\, i_j\, \dots} \mathrel{+}= s_{\dots j \dots}
 * @grad \bar s_{\dots j \dots} = \bar x_{\dots\, i_j\, \dots}
 */
const sno_op sno_op_index_add_ = {
    .name = "index_add_", .args = WRITES_ROWS, .flags = SNO_VALUES | SNO_WRITES | SNO_METHOD_ONLY, .nout = 1, .save_in = 2,
    .infer = infer_index_write, .forward = forward_index_add, .backward = back_index_add, .samples = WRITE_SAMPLES, .wrong = WRITE_WRONG};

/*** index_copy(x, dim, index, src)
 * x with the slices of `src` along `dim` in the places of those `index` (1-d int64) names; of several for one place the last counts. index_copy_
 * writes x itself.
 * @math y = x, \quad y_{\dots\, i_j\, \dots} = s_{\dots j \dots}
 * @grad \bar x = \bar y \text{ but 0 at } i, \quad \bar s_{\dots j \dots} = \bar y_{\dots\, i_j\, \dots} \text{ where j was the last}
 * @see index_add, index_fill, scatter
 */
const sno_op sno_op_index_copy = {
    .name = "index_copy", .args = WRITES_ROWS, .flags = SNO_VALUES, .nout = 1, .save_in = 2, .infer = infer_index_write,
    .forward = forward_index_copy, .backward = back_index_copy, .samples = WRITE_SAMPLES, .wrong = WRITE_WRONG};

/*** index_copy_(x, dim, index, src)
 * index_copy in place.
 * @math x_{\dots\, i_j\, \dots} = s_{\dots j \dots}
 * @grad \bar s_{\dots j \dots} = \bar x_{\dots\, i_j\, \dots} \text{ where j was the last}
 */
const sno_op sno_op_index_copy_ = {
    .name = "index_copy_", .args = WRITES_ROWS, .flags = SNO_VALUES | SNO_WRITES | SNO_METHOD_ONLY, .nout = 1, .save_in = 2,
    .infer = infer_index_write, .forward = forward_index_copy, .backward = back_index_copy, .samples = WRITE_SAMPLES, .wrong = WRITE_WRONG};

static int infer_index_fill(sno_call *c) {
  const snt_tensor *x = c->in[0];
  if (sno_real_dim(c, 0, x) < 0) return -1;
  if (c->in[1]->ndim != 1) return sn_fail("%s: the index is a 1-d tensor, got %s", c->op->name, SNT_SHAPE(c->in[1]));
  if (sno_check_index(c, 1, c->attr[2].i, x, (int)c->attr[0].i) < 0) return -1;
  if (!(c->op->flags & SNO_WRITES)) sno_want(c, 0, (sn_dtype)x->dtype, x->ndim, x->shape);
  return 0;
}

static void forward_index_fill(sno_call *c) {
  const int64_t *index = snt_data(c->in[1]);
  char value[8];
  snt_storage s = {.data = value};
  if (!(c->op->flags & SNO_WRITES)) sno_copy_elements(c->out[0], c->in[0]);
  sn_store_double(value, (sn_dtype)c->out[0]->dtype, c->attr[1].d);
  enum { SHORT = 16 }; /* elements of a slice that lie together */
  const snt_tensor *y = c->out[0];
  const int dim = (int)c->attr[0].i;
  if (snt_count(y->ndim - dim - 1, y->shape + dim + 1) < SHORT) { /* line by line, in each all places: a slice goes through all of memory */
    snk_lines l = {.ndim = y->ndim, .dim = dim, .table = snt_data(y), .value = value, .index = index, .shared = true, .base = c->attr[2].i,
                   .dtype = (sn_dtype)y->dtype};
    for (int d = 0; d < y->ndim; d++) l.shape[d] = d == dim ? c->in[1]->shape[0] : y->shape[d], l.table_stride[d] = y->stride[d];
    snk_lines_run(&l, SNK_PUT);
    return;
  }
  for (int64_t j = 0; j < c->in[1]->shape[0]; j++) {
    snt_tensor to = sno_part(c->out[0], (int)c->attr[0].i, index[j] - c->attr[2].i, 1, 1), from = to;
    from.storage = &s;
    from.offset = 0;
    memset(from.stride, 0, sizeof from.stride);
    sno_copy_elements(&to, &from);
  }
}

static int back_index_fill(sno_back *b) {
  return (b->gx[0] = sno_run(&sno_op_index_fill, SNO_IN(b->gy[0], b->in[1]), SNO_ATTRS(b->attr[0], sno_num(0), b->attr[2]))) ? 0 : -1;
}

#define FILL_SAMPLES "f(4,3), 1, i(1,4,2), 0.5; f(2,4,3), 2, i(1,4,2), -1; f(3), 1, i(1,3,0), 2; f(2,3,20), 2, i(1,3,2), 0.5"
#define FILL_WRONG "f(4,3), 1, i(5,5,2), 0 => index 5 at position 1; f(4), 1, i(1,4,2,2), 0 => 1-d; f(4), 2, i(1,4,2), 0 => dimension 2"

/*** index_fill(x, dim, index, value)
 * x with the number `value` at the positions of `dim` that `index` (1-d int64) names. index_fill_ writes x itself.
 * @math y = x, \quad y_{\dots\, i_j\, \dots} = v
 * @grad \bar x = \bar y \text{ but 0 at } i
 * @see index_copy, masked_fill
 */
const sno_op sno_op_index_fill = {
    .name = "index_fill", .args = "x dim:dim index value:num base:base", .flags = SNO_VALUES | SNO_HALF, .nout = 1, .save_in = 2,
    .infer = infer_index_fill, .forward = forward_index_fill, .backward = back_index_fill, .samples = FILL_SAMPLES, .wrong = FILL_WRONG};

/*** index_fill_(x, dim, index, value)
 * index_fill in place.
 * @math x_{\dots\, i_j\, \dots} = v
 * @grad \bar x = 0 \text{ at } i
 */
const sno_op sno_op_index_fill_ = {
    .name = "index_fill_", .args = "x dim:dim index value:num base:base", .flags = SNO_VALUES | SNO_HALF | SNO_WRITES | SNO_METHOD_ONLY, .nout = 1,
    .save_in = 2,
    .infer = infer_index_fill, .forward = forward_index_fill, .backward = back_index_fill, .samples = FILL_SAMPLES, .wrong = FILL_WRONG};
