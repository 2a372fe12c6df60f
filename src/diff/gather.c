/* gather.c - elements by position along a dimension: gather and scatter. Where several go to one place the order is that of the index. */
#include <string.h>
#include "base/error.h"
#include "calc/index.h"
#include "diff/index.h"
#include "diff/ops.h"
#include "diff/tape.h"

/* The index has x's dimensions and, but for `dim`, does not reach over them. */
static int check_cover(sno_call *c, const snt_tensor *x, int i) {
  const char *name = c->op->name;
  if (sno_real_dim(c, 0, x) < 0) return -1;
  const int dim = (int)c->attr[0].i;
  const snt_tensor *index = c->in[i];
  if (index->ndim != x->ndim)
    return sn_fail("%s: the index (%s) has %d dimensions, x (%s) has %d; they must be equal", name, SNT_SHAPE(index), index->ndim, SNT_SHAPE(x),
        x->ndim);
  for (int d = 0; d < x->ndim; d++)
    if (d != dim && index->shape[d] > x->shape[d])
      return sn_fail("%s: the index (%s) is larger than x (%s) in dimension %d", name, SNT_SHAPE(index), SNT_SHAPE(x), d + 1);
  return 0;
}

static snk_lines lines_of(const snt_tensor *table, int dim, const snt_tensor *index, const snt_tensor *value, int64_t base) {
  snk_lines l = {.ndim = index->ndim, .dim = dim, .table = snt_data(table), .value = snt_data(value), .index = snt_data(index), .base = base,
      .dtype = (sn_dtype)table->dtype};
  for (int d = 0; d < index->ndim; d++) {
    l.shape[d] = index->shape[d];
    l.table_stride[d] = table->stride[d];
    l.value_stride[d] = value->stride[d];
  }
  return l;
}

/* ---- gather */

static int infer_gather(sno_call *c) {
  const snt_tensor *x = c->in[0];
  if (check_cover(c, x, 1) < 0 || sno_check_index(c, 1, c->attr[1].i, x, (int)c->attr[0].i) < 0) return -1;
  sno_want(c, 0, (sn_dtype)x->dtype, x->ndim, c->in[1]->shape);
  return 0;
}

static void forward_gather(sno_call *c) {
  const snk_lines l = lines_of(c->in[0], (int)c->attr[0].i, c->in[1], c->out[0], c->attr[1].i);
  snk_lines_run(&l, SNK_GET);
}

static int back_gather(sno_back *b) {
  b->gx[0] = sno_run(&sno_op_gather_backward, SNO_IN(b->gy[0], b->in[1]), SNO_ATTRS(b->attr[0], sno_ints(b->in_spec[0].ndim, b->in_spec[0].shape),
      b->attr[1]));
  return b->gx[0] ? 0 : -1;
}

/*** gather(x, dim, index)
 * Elements of x whose position along `dim` is read from `index` (int64), while the others are the index' own: the result has the index' shape.
 * @math y_{ij} = x_{i\, k}, \; k = \text{index}_{ij} \quad (dim = 2)
 * @grad \bar x_{ik} = \sum_{j : \text{index}_{ij} = k} \bar y_{ij}
 * @see scatter, index_select, sort
 */
const sno_op sno_op_gather = {
    .name = "gather", .args = "x dim:dim index base:base", .flags = SNO_HALF | SNO_VALUES, .nout = 1, .save_in = 2, .infer = infer_gather,
    .forward = forward_gather,
    .backward = back_gather, .samples = "f(4,5), 2, i(1,5,4,3); f(4,5), 1, i(1,4,6,5); f(2,3,4), 2, i(1,3,1,2,4); f(5), -1, i(1,5,3); "
        "f(3,2), 1, i(1,3,0,2)",
    .wrong = "f(2,3), 2, i(4,4,2,1) => index 4 at position 1; f(2,3), 1, i(1,2,2) => dimensions; f(2,3), 1, i(1,2,2,4) => larger; "
        "f(2,3), 2, f(2,3) => int64"};

static int infer_gather_backward(sno_call *c) {
  sno_want(c, 0, (sn_dtype)c->in[0]->dtype, c->attr[1].n, c->attr[1].v);
  return 0;
}

static void forward_gather_backward(sno_call *c) {
  sno_zero_elements(c->out[0]);
  const snk_lines l = lines_of(c->out[0], (int)c->attr[0].i, c->in[1], c->in[0], c->attr[2].i);
  snk_lines_run(&l, SNK_ADD);
}

static int back_gather_backward(sno_back *b) {
  return (b->gx[0] = sno_run(&sno_op_gather, SNO_IN(b->gy[0], b->in[1]), SNO_ATTRS(b->attr[0], b->attr[2]))) ? 0 : -1;
}

/*** gather_backward(gy, index, dim, shape)
 * gy's elements added up at their positions in zeros of this shape.
 */
const sno_op sno_op_gather_backward = {
    .name = "gather_backward", .args = "gy index dim:dim shape:ints base:base", .flags = SNO_HIDDEN, .nout = 1, .save_in = 2,
    .infer = infer_gather_backward, .forward = forward_gather_backward, .backward = back_gather_backward};

/* ---- scatter */

static bool adds(const sno_op *op) { return op == &sno_op_scatter_add || op == &sno_op_scatter_add_; }

static int infer_scatter(sno_call *c) {
  const char *name = c->op->name;
  const snt_tensor *x = c->in[0], *s = c->in[2];
  if (check_cover(c, x, 1) < 0 || sno_check_index(c, 1, c->attr[1].i, x, (int)c->attr[0].i) < 0) return -1;
  const snt_tensor *index = c->in[1];
  bool fits = s->ndim == x->ndim;
  for (int d = 0; fits && d < x->ndim; d++) fits = s->shape[d] >= index->shape[d];
  if (s->ndim != 0 && !fits) return sn_fail("%s: the source (%s) does not cover the index (%s)", name, SNT_SHAPE(s), SNT_SHAPE(index));
  if (x->dtype == SN_BOOL && adds(c->op)) return sn_fail("%s: bool tensors have no sum", name);
  if (sn_dtypes[s->dtype].category > sn_dtypes[x->dtype].category)
    return sn_fail("%s: %s values do not go into a %s tensor", name, sn_dtypes[s->dtype].name, sn_dtypes[x->dtype].name);
  if (sno_cast_input(c, 2, (sn_dtype)x->dtype) < 0) return -1;
  if (!(c->op->flags & SNO_WRITES)) sno_want(c, 0, (sn_dtype)x->dtype, x->ndim, x->shape);
  else if (snt_may_overlap(x, c->in[2]) && (c->in[2] = sno_call1(&sno_op_clone, c->in[2])) == NULL) return -1;
  return 0;
}

static void forward_scatter(sno_call *c) {
  snt_tensor src = *c->in[2];
  if (src.ndim == 0) memset(src.stride, 0, sizeof src.stride);
  if (!(c->op->flags & SNO_WRITES)) sno_copy_elements(c->out[0], c->in[0]);
  const snk_lines l = lines_of(c->out[0], (int)c->attr[0].i, c->in[1], &src, c->attr[1].i);
  snk_lines_run(&l, adds(c->op) ? SNK_ADD : SNK_PUT);
}

static snt_tensor *gathered(const sno_back *b) { return sno_run(&sno_op_gather, SNO_IN(b->gy[0], b->in[1]), 2, b->attr); }

static snt_tensor *as_source(snt_tensor *g, const sno_out *spec) { return spec->ndim == 0 ? sno_sum_to(g, spec) : sno_grow(g, spec); }

static int back_scatter_add(sno_back *b) {
  b->gx[0] = b->gy[0];
  return !b->want[2] || (b->gx[2] = as_source(gathered(b), &b->in_spec[2])) ? 0 : -1;
}

/* Of several elements for one place only the last has a part in the result. */
static int back_scatter(sno_back *b) {
  if (b->want[0] && (b->gx[0] = sno_run(&sno_op_scatter, SNO_IN(b->gy[0], b->in[1], sno_weak(0)), 2, b->attr)) == NULL) return -1;
  if (!b->want[2]) return 0;
  snt_tensor *last = sno_run(&sno_op_scatter_last, SNO_IN(b->in[1]), SNO_ATTRS(b->attr[0], sno_ints(b->in_spec[0].ndim, b->in_spec[0].shape),
      b->attr[1]));
  return last && (b->gx[2] = as_source(sno_where(last, gathered(b), sno_weak(0)), &b->in_spec[2])) ? 0 : -1;
}

#define SCATTER_ARGS "x dim:dim index src base:base"
#define SCATTER_SAMPLES "f(4,5), 2, i(1,5,4,3), f(4,3); f(4,5), 1, i(1,4,2,5), f(3,5); f(2,3,4), 2, i(1,3,1,2,4), f(1,2,4); " \
  "f(5), 1, i(1,5,2), 0.5; f(5), 1, i(1,5,0), f(0)"
#define SCATTER_WRONG "f(2,3), 2, i(4,4,2,1), f(2,1) => index 4 at position 1; f(2,3), 2, i(1,3,2,2), f(2,1) => cover; " \
  "f(2,3), 1, i(1,2,2), f(2) => dimensions; i(1,2,3), 1, i(1,2,2), f(2) => int64"

/*** scatter(x, dim, index, src)
 * x with the elements of `src` (or one number) at the positions along `dim` that `index` (int64) names; of several for one place the last counts.
 * `src` may be larger than the index, then its beginning is used. scatter_ writes x itself.
 * @math y = x, \quad y_{i\, \text{index}_{ij}} = s_{ij} \quad (dim = 2)
 * @grad \bar x = \bar y \text{ but 0 where written}, \quad \bar s_{ij} = \bar y_{i\, \text{index}_{ij}} \text{ where it was the last}
 * @see gather, scatter_add, index_copy
 */
const sno_op sno_op_scatter = {
    .name = "scatter", .args = SCATTER_ARGS, .flags = SNO_VALUES | SNO_HALF, .nout = 1, .save_in = 2, .infer = infer_scatter,
    .forward = forward_scatter, .backward = back_scatter, .samples = SCATTER_SAMPLES, .wrong = SCATTER_WRONG};

/*** scatter_(x, dim, index, src)
 * scatter in place.
 * @math x_{i\, \text{index}_{ij}} = s_{ij} \quad (dim = 2)
 * @grad \bar s_{ij} = \bar x_{i\, \text{index}_{ij}} \text{ where it was the last}
 */
const sno_op sno_op_scatter_ = {
    .name = "scatter_", .args = SCATTER_ARGS, .flags = SNO_VALUES | SNO_HALF | SNO_WRITES | SNO_METHOD_ONLY, .nout = 1, .save_in = 2,
    .infer = infer_scatter, .forward = forward_scatter, .backward = back_scatter, .samples = SCATTER_SAMPLES, .wrong = SCATTER_WRONG};

/*** scatter_add(x, dim, index, src)
 * x with the elements of `src` added at the positions along `dim` that `index` (int64) names, in its order. scatter_add_ writes x itself.
 * @math y = x, \quad y_{i\, \text{index}_{ij}} \mathrel{+}= s_{ij} \quad (dim = 2)
 * @grad \bar x = \bar y, \quad \bar s_{ij} = \bar y_{i\, \text{index}_{ij}}
 * @see scatter, gather, index_add
 */
const sno_op sno_op_scatter_add = {
    .name = "scatter_add", .args = SCATTER_ARGS, .flags = SNO_VALUES, .nout = 1, .save_in = 2, .infer = infer_scatter, .forward = forward_scatter,
    .backward = back_scatter_add, .samples = SCATTER_SAMPLES, .wrong = SCATTER_WRONG};

/*** scatter_add_(x, dim, index, src)
 * scatter_add in place.
 * @math x_{i\, \text{index}_{ij}} \mathrel{+}= s_{ij} \quad (dim = 2)
 * @grad \bar s_{ij} = \bar x_{i\, \text{index}_{ij}}
 */
const sno_op sno_op_scatter_add_ = {
    .name = "scatter_add_", .args = SCATTER_ARGS, .flags = SNO_VALUES | SNO_WRITES | SNO_METHOD_ONLY, .nout = 1, .save_in = 2, .infer = infer_scatter,
    .forward = forward_scatter, .backward = back_scatter_add, .samples = SCATTER_SAMPLES, .wrong = SCATTER_WRONG};

static int infer_last(sno_call *c) {
  c->scratch_bytes = (size_t)snt_count(c->attr[1].n, c->attr[1].v) * 8;
  sno_want(c, 0, SN_BOOL, c->in[0]->ndim, c->in[0]->shape);
  return 0;
}

static void forward_last(sno_call *c) {
  snt_storage s = {.data = c->scratch};
  snt_tensor table = {.dtype = SN_I64, .ndim = c->attr[1].n, .storage = &s};
  memcpy(table.shape, c->attr[1].v, sizeof table.shape);
  snt_contiguous_strides(table.ndim, table.shape, table.stride);
  snk_lines l = lines_of(&table, (int)c->attr[0].i, c->in[0], c->out[0], c->attr[2].i);
  snk_lines_run(&l, SNK_LAST);
}

/*** scatter_last(index, dim, shape)
 * true where no later element of the index goes to the same place of a tensor of this shape.
 */
const sno_op sno_op_scatter_last = {
    .name = "scatter_last", .args = "index dim:dim shape:ints base:base", .flags = SNO_HIDDEN | SNO_NODIFF, .nout = 1, .infer = infer_last,
    .forward = forward_last};
