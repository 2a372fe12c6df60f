/* triangle.c - triangles of matrices, and coordinates of a grid. */
#include <string.h>
#include "base/error.h"
#include "base/thread.h"
#include "diff/index.h"
#include "diff/ops.h"
#include "diff/tape.h"

#define GRAIN 32768

static int infer_triangle(sno_call *c) {
  const snt_tensor *x = c->in[0];
  if (x->ndim < 2) return sn_fail("%s: wants matrices (the last two dimensions), got shape %s", c->op->name, SNT_SHAPE(x));
  sno_want(c, 0, (sn_dtype)x->dtype, x->ndim, x->shape);
  return 0;
}

static void triangle_task(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const sno_call *c = ctx;
  const snt_tensor *x = c->in[0];
  const bool lower = c->op == &sno_op_tril;
  const int64_t rows = x->shape[x->ndim - 2], cols = x->shape[x->ndim - 1], size = (int64_t)sn_size_of((sn_dtype)x->dtype);
  for (int64_t i = begin; i < end; i++) {
    const int64_t r = i % rows, k = c->attr[0].i;
    int64_t cut = k > cols ? cols : k < -rows ? 0 : r + k + lower; /* columns before it are the lower triangle (with the diagonal if lower) */
    cut = cut < 0 ? 0 : cut > cols ? cols : cut;
    const int64_t from = lower ? 0 : cut, to = lower ? cut : cols;
    char *y = (char *)snt_data(c->out[0]) + i * cols * size;
    memset(y, 0, (size_t)(cols * size));
    memcpy(y + from * size, (const char *)snt_data(x) + (i * cols + from) * size, (size_t)((to - from) * size));
  }
}

static void forward_triangle(sno_call *c) {
  const int64_t n = snt_numel(c->in[0]), cols = c->in[0]->shape[c->in[0]->ndim - 1];
  if (n > 0) sn_parallel(n / cols, 1 + GRAIN / cols, triangle_task, c);
}

static int back_triangle(sno_back *b) { return (b->gx[0] = sno_run(b->op, SNO_IN(b->gy[0]), 1, b->attr)) ? 0 : -1; }

/*** tril(x, diagonal=0)
 * The lower triangles of matrices, 0 above: up to the diagonal, or the one so many places above it (below it when negative).
 * @math y_{ij} = x_{ij}\, [\, j \le i + k\, ]
 * @grad \bar x_{ij} = \bar y_{ij}\, [\, j \le i + k\, ]
 * @see triu
 */
const sno_op sno_op_tril = {
    .name = "tril", .args = "x diagonal:int=0", .flags = SNO_HALF | SNO_CONTIG, .nout = 1, .infer = infer_triangle, .forward = forward_triangle,
    .backward = back_triangle, .samples = "f(3,3); f(2,4), 1; f(2,3,2), -1; f(3,2), -9; f(2,2), 9", .wrong = "f(3) => matrices"};

/*** triu(x, diagonal=0)
 * The upper triangles of matrices, 0 below: from the diagonal on, or from the one so many places above it (below it when negative).
 * @math y_{ij} = x_{ij}\, [\, j \ge i + k\, ]
 * @grad \bar x_{ij} = \bar y_{ij}\, [\, j \ge i + k\, ]
 * @see tril
 */
const sno_op sno_op_triu = {
    .name = "triu", .args = "x diagonal:int=0", .flags = SNO_HALF | SNO_CONTIG, .nout = 1, .infer = infer_triangle, .forward = forward_triangle,
    .backward = back_triangle, .samples = "f(3,3); f(2,4), 1; f(2,3,2), -1; f(3,2), -9; f(2,2), 9", .wrong = "f(3) => matrices"};

/* ---- meshgrid */

static int infer_meshgrid(sno_call *c) {
  int64_t shape[SNT_MAXDIM];
  if (c->nin == 0 || c->nin > SNO_MAXOUT) return sn_fail("meshgrid: wants 1 to %d tensors, got %d", SNO_MAXOUT, c->nin);
  for (int i = 0; i < c->nin; i++) {
    if (c->in[i]->ndim != 1) return sn_fail("meshgrid: tensor %d is %s; each is one row of coordinates (1-d)", i + 1, SNT_SHAPE(c->in[i]));
    shape[i] = c->in[i]->shape[0];
  }
  if (snt_check_shape(c->nin, shape, "meshgrid") < 0) return -1;
  c->nout = c->nin;
  for (int i = 0; i < c->nin; i++) sno_want(c, i, (sn_dtype)c->in[i]->dtype, c->nin, shape);
  return 0;
}

static void forward_meshgrid(sno_call *c) {
  for (int i = 0; i < c->nin; i++) {
    snt_tensor x = *c->out[i];
    x.storage = c->in[i]->storage;
    x.offset = c->in[i]->offset;
    memset(x.stride, 0, sizeof x.stride);
    x.stride[i] = c->in[i]->stride[0];
    sno_copy_elements(c->out[i], &x);
  }
}

static int back_meshgrid(sno_back *b) {
  for (int i = 0; i < b->nin; i++) {
    if (!b->want[i] || b->gy[i] == NULL) continue;
    sno_val dims = {.kind = SNO_DIMS};
    for (int d = 0; d < b->nin; d++)
      if (d != i) dims.v[dims.n++] = d;
    b->gx[i] = dims.n ? sno_run(&sno_op_sum, SNO_IN(b->gy[i]), SNO_ATTRS(dims, sno_bool(false))) : b->gy[i];
    if (b->gx[i] == NULL) return -1;
  }
  return 0;
}

/*** meshgrid(tensors)
 * Coordinates of all points of a grid: for n rows of coordinates (at most 8) n tensors of n dimensions, the k-th of which varies along dimension k.
 * @math y_{k, i_1 \dots i_n} = x_{k, i_k}
 * @grad \bar x_{k, i} = \sum_{i_k = i} \bar y_{k, i_1 \dots i_n}
 * @see arange, linspace
 */
const sno_op sno_op_meshgrid = {
    .name = "meshgrid", .args = "tensors*", .flags = SNO_FUNC_ONLY | SNO_HALF, .nout = 1, .infer = infer_meshgrid, .forward = forward_meshgrid,
    .backward = back_meshgrid, .samples = "{f(2), f(3)}; {f(2)}; {f(2), f(1), f(3)}", .wrong = "{} => 1 to 8; {f(2,2)} => 1-d"};
