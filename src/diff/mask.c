/* mask.c - elements by a condition: masked_fill, masked_select, nonzero; and one_hot, which goes the other way. */
#include <string.h>
#include "base/error.h"
#include "calc/index.h"
#include "core/iter.h"
#include "diff/index.h"
#include "diff/ops.h"
#include "diff/tape.h"

#define GRAIN 32768

static int mask_input(sno_call *c, int i) {
  const sn_dtype t = (sn_dtype)c->in[i]->dtype;
  if (t != SN_BOOL && t != SN_U8) return sn_fail("%s: the mask is %s, it must be bool; x:ne(0) makes one", c->op->name, sn_dtypes[t].name);
  return sno_cast_input(c, i, SN_BOOL);
}

/* ---- masked_fill */

static int infer_masked_fill(sno_call *c) {
  snt_tensor *x = c->in[0], *v = c->in[2];
  int64_t shape[SNT_MAXDIM];
  if (mask_input(c, 1) < 0) return -1;
  if (v->ndim != 0) return sn_fail("%s: the value is a number or a 0-d tensor, got shape %s; where() takes tensors", c->op->name, SNT_SHAPE(v));
  if (sn_dtypes[v->dtype].category > sn_dtypes[x->dtype].category)
    return sn_fail("%s: a %s value does not go into a %s tensor", c->op->name, sn_dtypes[v->dtype].name, sn_dtypes[x->dtype].name);
  if (v->dtype != x->dtype) {
    if (!v->weak && sno_cast_input(c, 2, (sn_dtype)x->dtype) < 0) return -1;
    if (v->weak && (c->in[2] = sno_own(snt_to(v, (sn_dtype)x->dtype))) == NULL) return -1;
  }
  const int n = snt_broadcast(x->ndim, x->shape, c->in[1]->ndim, c->in[1]->shape, shape, c->op->name);
  if (n < 0) return -1;
  if (!(c->op->flags & SNO_WRITES)) {
    sno_want(c, 0, (sn_dtype)x->dtype, n, shape);
    return 0;
  }
  bool fits = n == x->ndim;
  for (int d = 0; fits && d < n; d++) fits = shape[d] == x->shape[d];
  if (!fits) return sn_fail("%s: a mask of shape %s does not fit into %s", c->op->name, SNT_SHAPE(c->in[1]), SNT_SHAPE(x));
  for (int i = 1; i < 3; i++)
    if (snt_may_overlap(x, c->in[i]) && (c->in[i] = sno_call1(&sno_op_clone, c->in[i])) == NULL) return -1;
  return 0;
}

static void where_row(void *ctx, int64_t n, char *const *p, const int64_t *s) { snk_where_row(n, p, s, *(const size_t *)ctx); }

static void forward_masked_fill(sno_call *c) {
  size_t size = sn_size_of((sn_dtype)c->out[0]->dtype);
  snt_iter it;
  snt_iter_init(&it, 4, (const snt_tensor *const[]){c->out[0], c->in[1], c->in[2], c->in[0]});
  snt_iter_run(&it, GRAIN, where_row, &size);
}

static int back_masked_fill(sno_back *b) {
  snt_tensor *zero = sno_weak(0);
  if (b->want[0] && (b->gx[0] = sno_sum_to(sno_call3(&sno_op_masked_fill, b->gy[0], b->in[1], zero), &b->in_spec[0])) == NULL) return -1;
  if (b->want[2] && (b->gx[2] = sno_sum_to(sno_where(b->in[1], b->gy[0], zero), &b->in_spec[2])) == NULL) return -1;
  return 0;
}

#define MASKED_SAMPLES "f(2,3), b(2,3), 0.5; f(2,3), b(3), f(); f(2,2,3), b(2,1), -1"
#define MASKED_WRONG "f(2,3), f(2,3), 0 => bool; f(2,3), b(2), 0 => do not go together; f(2), b(2), f(2) => 0-d; i(1,3,2), b(2), 0.5 => int64"

/*** masked_fill(x, mask, value)
 * x with `value` (a number or a 0-d tensor) where the bool mask holds; mask and x broadcast. masked_fill_ writes x itself.
 * @math y = [m]\, v + [\lnot m]\, x
 * @grad \bar x = [\lnot m]\, \bar y, \quad \bar v = \sum [m]\, \bar y
 * @see where, masked_select
 */
const sno_op sno_op_masked_fill = {
    .name = "masked_fill", .args = "x mask value", .flags = SNO_HALF, .nout = 1, .save_in = 2, .infer = infer_masked_fill,
    .forward = forward_masked_fill, .backward = back_masked_fill, .samples = MASKED_SAMPLES "; f(1,3), b(2,1), 0", .wrong = MASKED_WRONG};

/*** masked_fill_(x, mask, value)
 * masked_fill in place: the mask fits into x.
 * @math x \leftarrow [m]\, v + [\lnot m]\, x
 * @grad \bar v = \sum [m]\, \bar x
 */
const sno_op sno_op_masked_fill_ = {
    .name = "masked_fill_", .args = "x mask value", .flags = SNO_HALF | SNO_WRITES | SNO_METHOD_ONLY, .nout = 1, .save_in = 2,
    .infer = infer_masked_fill, .forward = forward_masked_fill, .backward = back_masked_fill, .samples = MASKED_SAMPLES,
    .wrong = MASKED_WRONG "; f(1,3), b(2,1), 0 => does not fit"};

/* ---- masked_select */

/* The elements of contiguous x that are not 0. */
static snk_set set_of(const snt_tensor *x) { return (snk_set){.x = snt_data(x), .dtype = (sn_dtype)x->dtype, .n = snt_numel(x)}; }

/* Brought to one shape by operations, so that the tape sees it. */
static int spread(sno_call *c, int i, int n, const int64_t *shape) {
  const snt_tensor *x = c->in[i];
  bool same = x->ndim == n;
  for (int d = 0; same && d < n; d++) same = x->shape[d] == shape[d];
  if (!same && (c->in[i] = sno_run(&sno_op_expand, 1, &c->in[i], SNO_ATTRS(sno_ints(n, shape)))) == NULL) return -1;
  return sno_contiguous_input(c, i);
}

static int infer_masked_select(sno_call *c) {
  int64_t shape[SNT_MAXDIM];
  if (mask_input(c, 1) < 0) return -1;
  const int n = snt_broadcast(c->in[0]->ndim, c->in[0]->shape, c->in[1]->ndim, c->in[1]->shape, shape, "masked_select");
  if (n < 0 || spread(c, 0, n, shape) < 0 || spread(c, 1, n, shape) < 0) return -1;
  snk_set s = set_of(c->in[1]);
  const int64_t count = snk_set_count(&s);
  sno_want(c, 0, (sn_dtype)c->in[0]->dtype, 1, &count);
  return 0;
}

static void forward_masked_select(sno_call *c) {
  snk_set s = set_of(c->in[1]);
  snk_set_count(&s);
  snk_set_take(&s, snt_data(c->out[0]), snt_data(c->in[0]), sn_size_of((sn_dtype)c->in[0]->dtype));
}

static int back_masked_select(sno_back *b) { return (b->gx[0] = sno_call2(&sno_op_masked_select_backward, b->gy[0], b->in[1])) ? 0 : -1; }

/*** masked_select(x, mask)
 * The elements where the bool mask holds, in order, as a 1-d tensor; x and mask broadcast. x[mask] is the same. Its size depends on values, so
 * sn.compile does not record it.
 * @math y = (x_i : m_i)
 * @grad \bar x_i = [m_i]\, \bar y_{k(i)}
 * @see masked_fill, nonzero, where
 */
const sno_op sno_op_masked_select = {
    .name = "masked_select", .args = "x mask", .flags = SNO_HALF | SNO_DYNAMIC, .nout = 1, .save_in = 2, .infer = infer_masked_select,
    .forward = forward_masked_select, .backward = back_masked_select, .samples = "f(2,3), b(2,3); f(2,3), b(3); f(3), b(2,1); f(4), b(4)",
    .wrong = "f(2,3), f(2,3) => bool; f(2,3), b(2) => do not go together"};

static int infer_masked_backward(sno_call *c) {
  sno_want(c, 0, (sn_dtype)c->in[0]->dtype, c->in[1]->ndim, c->in[1]->shape);
  return 0;
}

static void forward_masked_backward(sno_call *c) {
  const int64_t n = snt_numel(c->in[1]);
  const int t = c->in[0]->dtype;
  const uint8_t *m = snt_data(c->in[1]);
  const void *g = snt_data(c->in[0]);
  void *y = snt_data(c->out[0]);
  int64_t k = 0;
#define SPREAD(T) for (int64_t i = 0; i < n; i++) ((T *)y)[i] = m[i] ? ((const T *)g)[k++] : 0
  switch (sn_size_of((sn_dtype)t)) {
    case 1: SPREAD(uint8_t); break;
    case 2: SPREAD(uint16_t); break;
    case 4: SPREAD(uint32_t); break;
    default: SPREAD(uint64_t);
  }
}

static int back_masked_backward(sno_back *b) { return (b->gx[0] = sno_call2(&sno_op_masked_select, b->gy[0], b->in[1])) ? 0 : -1; }

/*** masked_select_backward(gy, mask)
 * gy's elements in the places where the mask holds, 0 elsewhere.
 */
const sno_op sno_op_masked_select_backward = {
    .name = "masked_select_backward", .args = "gy mask", .flags = SNO_HIDDEN | SNO_HALF | SNO_CONTIG, .nout = 1, .save_in = 2,
    .infer = infer_masked_backward, .forward = forward_masked_backward, .backward = back_masked_backward};

/* ---- nonzero */

static int infer_nonzero(sno_call *c) {
  snk_set s = set_of(c->in[0]);
  const int64_t shape[2] = {snk_set_count(&s), c->in[0]->ndim};
  sno_want(c, 0, SN_I64, 2, shape);
  return 0;
}

static void forward_nonzero(sno_call *c) {
  const snt_tensor *x = c->in[0];
  snk_set s = set_of(x);
  snk_set_count(&s);
  snk_set_positions(&s, snt_data(c->out[0]), x->ndim, x->shape, c->attr[0].i);
}

/*** nonzero(x)
 * Positions of the elements that are not 0 (NaN is not), in order: int64, elements x dimensions. Its size depends on values, so sn.compile does
 * not record it.
 * @math \{ i : x_i \ne 0 \}
 * @see masked_select, where
 */
const sno_op sno_op_nonzero = {
    .name = "nonzero", .args = "x base:base", .flags = SNO_NODIFF | SNO_DYNAMIC | SNO_HALF | SNO_CONTIG, .nout = 1, .infer = infer_nonzero,
    .forward = forward_nonzero, .samples = "b(2,3); f(4); i(0,1,2,3)", .wrong = "\"a\" => tensor"};

/* ---- one_hot */

static int infer_one_hot(sno_call *c) {
  const int64_t base = c->attr[2].i;
  if (sno_index_input(c, 0) < 0) return -1;
  const snt_tensor *x = c->in[0];
  const int64_t *p = snt_data(x), n = snt_numel(x);
  if (c->attr[0].absent) {
    int64_t most = base - 1;
    for (int64_t i = 0; i < n; i++) most = p[i] > most ? p[i] : most;
    if (n == 0) return sn_fail("one_hot: no labels, so the number of classes must be given");
    sno_stop_recording("one_hot without a number of classes: its shape depends on values");
    c->attr[0] = sno_int(most - base + 1);
  }
  const int64_t classes = c->attr[0].i;
  if (classes < 0) return sn_fail("one_hot: %lld classes; 1 or more make sense", (long long)classes);
  for (int64_t i = 0; i < n; i++)
    if (p[i] < base || p[i] - base >= classes)
      return sn_fail("one_hot: class %lld at position %lld; with %lld classes they are %lld to %lld", (long long)p[i], (long long)(i + base),
          (long long)classes, (long long)base, (long long)(base + classes - 1));
  int64_t shape[SNT_MAXDIM + 1];
  memcpy(shape, x->shape, sizeof x->shape);
  shape[x->ndim] = classes;
  if (snt_check_shape(x->ndim + 1, shape, "one_hot") < 0) return -1;
  sno_want(c, 0, (sn_dtype)c->attr[1].i, x->ndim + 1, shape);
  return 0;
}

static void forward_one_hot(sno_call *c) {
  const int64_t *p = snt_data(c->in[0]), n = snt_numel(c->in[0]), classes = c->attr[0].i;
  const sn_dtype t = (sn_dtype)c->out[0]->dtype;
  char *y = snt_data(c->out[0]);
  sno_zero_elements(c->out[0]);
  for (int64_t i = 0; i < n; i++) sn_store_double(y + (i * classes + p[i] - c->attr[2].i) * (int64_t)sn_size_of(t), t, 1);
}

/*** one_hot(index, classes?, {dtype="int64"})
 * For every class number a row of `classes` numbers, 1 at its place and 0 elsewhere. Without `classes` the largest number decides.
 * @math y_{ik} = [\, x_i = k\, ]
 * @see embedding, scatter
 */
const sno_op sno_op_one_hot = {
    .name = "one_hot", .args = "index classes:int? dtype:dtype=int64 base:base", .flags = SNO_NODIFF | SNO_VALUES | SNO_HALF, .nout = 1,
    .infer = infer_one_hot, .forward = forward_one_hot, .samples = "i(1,4,6), 4; i(1,3,2,2); i(1,3,0), 3; i(1,2,3), 2, {dtype=\"float32\"}",
    .wrong = "i(5,5,2), 4 => class 5 at position 1; f(3), 3 => int64; i(1,3,0) => must be given"};
