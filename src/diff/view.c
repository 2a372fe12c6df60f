/* view.c - other ways to look at the same numbers: shapes, orders of dimensions, expansion; and copies that make a tensor stand alone. */
#include <string.h>
#include "base/error.h"
#include "diff/dims.h"
#include "diff/matmul.h"
#include "diff/ops.h"
#include "diff/tape.h"

static int give(sno_call *c, snt_tensor *view) { return (c->want[0].alias = view) ? 0 : -1; }

/* The gradient of every operation that keeps the order of the numbers. */
static int back_shape(sno_back *b) {
  return (b->gx[0] = sno_shaped(b->gy[0], b->in_spec[0].ndim, b->in_spec[0].shape)) ? 0 : -1;
}

/* ---- copies */

static void forward_copy(sno_call *c) {
  if (c->out[0]->storage == c->in[0]->storage) return;
  const uint32_t version = c->out[0]->storage->version;
  snt_copy(c->out[0], c->in[0]);
  c->out[0]->storage->version = version;
}

static int back_same(sno_back *b) {
  b->gx[0] = b->gy[0];
  return 0;
}

static int infer_clone(sno_call *c) {
  sno_want(c, 0, (sn_dtype)c->in[0]->dtype, c->in[0]->ndim, c->in[0]->shape);
  return 0;
}

/*** clone(x)
 * A contiguous copy with memory of its own.
 * @math y = x
 * @grad \bar x = \bar y
 */
const sno_op sno_op_clone = {.name = "clone", .args = "x", .flags = SNO_HALF, .nout = 1, .infer = infer_clone, .forward = forward_copy, .backward = back_same,
  .samples = "f(2,3)", .wrong = "\"a\" => tensor"};

static int infer_contiguous(sno_call *c) { return snt_is_contiguous(c->in[0]) ? give(c, snt_view(c->in[0])) : infer_clone(c); }

/*** contiguous(x)
 * x with its numbers one behind another in memory: a view where it is so already, else a copy.
 * @math y = x
 * @grad \bar x = \bar y
 */
const sno_op sno_op_contiguous = {.name = "contiguous", .args = "x", .flags = SNO_HALF, .nout = 1, .infer = infer_contiguous, .forward = forward_copy,
  .backward = back_same, .samples = "f(2,3)", .wrong = "\"a\" => tensor"};

/* ---- shapes */

/* The sizes asked for, with one -1 found. How many, or -1. */
static int sizes(const sno_call *c, int64_t *shape) {
  const snt_tensor *x = c->in[0];
  const sno_val *v = &c->attr[0];
  int64_t rest = 1, numel = snt_numel(x);
  int hole = -1;
  if (v->n > SNT_MAXDIM) return sn_fail("%s: %d sizes asked for, at most %d are possible", c->op->name, v->n, SNT_MAXDIM);
  for (int i = 0; i < v->n; i++) {
    shape[i] = v->v[i];
    if (shape[i] == -1 && hole >= 0) return sn_fail("%s: only one size can be -1", c->op->name);
    if (shape[i] == -1) hole = i;
    else if (shape[i] < 0) return sn_fail("%s: size %lld is negative; -1 stands for what fits", c->op->name, (long long)shape[i]);
    else if (__builtin_mul_overflow(rest, shape[i], &rest)) return sn_fail("%s: the sizes are too large", c->op->name);
  }
  if (hole >= 0) {
    if (rest == 0 || numel % rest) goto mismatch;
    shape[hole] = numel / rest;
    rest *= shape[hole];
  }
  if (rest == numel) return v->n;
mismatch:
  return sn_fail("%s: %s has %lld elements, they do not make %s", c->op->name, SNT_SHAPE(x), (long long)numel, snt_shape_str(v->n, v->v, (char[96]){0}, 96));
}

static int infer_reshape(sno_call *c) {
  int64_t shape[SNT_MAXDIM];
  const int n = sizes(c, shape);
  if (n < 0) return -1;
  snt_tensor *y = snt_reshape_view(c->in[0], n, shape);
  if (y) return give(c, y);
  sno_want(c, 0, (sn_dtype)c->in[0]->dtype, n, shape);
  return 0;
}

static void forward_reshape(sno_call *c) {
  const snt_tensor *x = c->in[0];
  if (c->out[0]->storage == x->storage) return;
  snt_tensor y = *c->out[0]; /* the copy is made in x's shape */
  y.ndim = x->ndim;
  memcpy(y.shape, x->shape, sizeof y.shape);
  snt_contiguous_strides(x->ndim, x->shape, y.stride);
  const uint32_t version = y.storage->version;
  snt_copy(&y, x);
  y.storage->version = version;
}

/*** reshape(x, size)
 * The same numbers in the same order as another shape; one size may be -1. A view where the strides allow it, else a copy.
 * @math y_{j} = x_{i}, \quad \text{linear index of } j = \text{linear index of } i
 * @grad \bar x = \mathrm{reshape}(\bar y)
 */
const sno_op sno_op_reshape = {.name = "reshape", .args = "x size:ints", .flags = SNO_HALF, .nout = 1, .infer = infer_reshape, .forward = forward_reshape,
  .backward = back_shape, .samples = "f(2,6), 3, 4; f(2,6), {-1}; f(2,3), -1, 2; f(0,3), 0, 7",
  .wrong = "f(2,3), 4, 2 => 6 elements; f(2,3), -1, -1 => only one; f(2,3), -1, 4 => elements; f(2,3), -2, 3 => negative"};

static int infer_view(sno_call *c) {
  int64_t shape[SNT_MAXDIM];
  const int n = sizes(c, shape);
  if (n < 0) return -1;
  snt_tensor *y = snt_reshape_view(c->in[0], n, shape);
  if (y == NULL && sn_error_code() != SN_ERROR_MEMORY)
    return sn_fail("view: the strides of this %s do not allow it without a copy; reshape() copies where it must", SNT_SHAPE(c->in[0]));
  return give(c, y);
}

/*** view(x, size)
 * As reshape, but always a view: an error where the numbers would have to be moved.
 * @math y_{j} = x_{i}
 * @grad \bar x = \mathrm{reshape}(\bar y)
 */
const sno_op sno_op_view = {.name = "view", .args = "x size:ints", .flags = SNO_VIEW | SNO_METHOD_ONLY, .nout = 1, .infer = infer_view, .backward = back_shape,
  .samples = "sn.add(f(2,6), 0), 3, 4; sn.add(f(2,6), 0), {-1}", .wrong = "f(2,3), 4, 2 => 6 elements; f(2,3):t(), 6 => reshape"};

static int infer_flatten(sno_call *c) {
  const snt_tensor *x = c->in[0];
  if (sno_fix_dim(c, 0, x, x->ndim) < 0 || sno_fix_dim(c, 1, x, x->ndim) < 0) return -1;
  const int from = (int)c->attr[0].i, to = (int)c->attr[1].i;
  if (from > to) return sn_fail("flatten: the first dimension, %d, lies behind the last, %d", from + 1, to + 1);
  int64_t shape[SNT_MAXDIM];
  int n = 0;
  if (x->ndim == 0) shape[n++] = 1;
  for (int i = 0; i < x->ndim; i++) {
    if (i > from && i <= to) shape[n - 1] *= x->shape[i];
    else shape[n++] = x->shape[i];
  }
  snt_tensor *y = snt_reshape_view(x, n, shape);
  if (y) return give(c, y);
  sno_want(c, 0, (sn_dtype)x->dtype, n, shape);
  return 0;
}

/*** flatten(x, from=1, to=-1)
 * Dimensions from..to become one: n,c,h,w with from=2 gives n,chw.
 * @math y_{j} = x_{i}
 * @grad \bar x = \mathrm{reshape}(\bar y)
 */
const sno_op sno_op_flatten = {.name = "flatten", .args = "x from:dim=0 to:dim=-1", .flags = SNO_HALF, .nout = 1, .infer = infer_flatten,
  .forward = forward_reshape, .backward = back_shape, .samples = "f(2,3,4); f(2,3,4), 2; f(2,3,4), 1, 2; f()", .wrong = "f(2,3), 3 => no dimension 3; f(2,3), 2, 1 => behind"};

static int infer_unflatten(sno_call *c) {
  const snt_tensor *x = c->in[0];
  if (sno_fix_dim(c, 0, x, x->ndim) < 0) return -1;
  const int d = (int)c->attr[0].i;
  const sno_val *v = &c->attr[1];
  int64_t shape[SNT_MAXDIM], rest = 1;
  int n = 0, hole = -1;
  if (x->ndim == 0 || x->ndim - 1 + v->n > SNT_MAXDIM) return sn_fail("unflatten: %s cannot be given %d more dimensions", SNT_SHAPE(x), v->n - 1);
  for (int i = 0; i < d; i++) shape[n++] = x->shape[i];
  for (int i = 0; i < v->n; i++) {
    if (v->v[i] == -1 && hole < 0) hole = n;
    else if (v->v[i] < 0) return sn_fail("unflatten: size %lld is negative", (long long)v->v[i]);
    else rest *= v->v[i];
    shape[n++] = v->v[i];
  }
  if (hole >= 0) {
    shape[hole] = rest > 0 ? x->shape[d] / rest : 0;
    rest *= shape[hole];
  }
  if (rest != x->shape[d])
    return sn_fail("unflatten: dimension %d of %s is %lld, it does not make %s", d + 1, SNT_SHAPE(x), (long long)x->shape[d], snt_shape_str(v->n, v->v, (char[96]){0}, 96));
  for (int i = d + 1; i < x->ndim; i++) shape[n++] = x->shape[i];
  return give(c, snt_reshape_view(x, n, shape)); /* splitting a dimension never needs a copy */
}

/*** unflatten(x, dim, size)
 * One dimension becomes several; one size may be -1.
 * @math y_{j} = x_{i}
 * @grad \bar x = \mathrm{reshape}(\bar y)
 */
const sno_op sno_op_unflatten = {.name = "unflatten", .args = "x dim:dim size:ints", .flags = SNO_VIEW, .nout = 1, .infer = infer_unflatten, .backward = back_shape,
  .samples = "f(2,6), 2, {2,3}; f(6,2), 1, {-1,3}", .wrong = "f(2,6), 2, {4,2} => does not make 4x2; f(2), 3, {1} => no dimension 3"};

static int infer_squeeze(sno_call *c) {
  const snt_tensor *x = c->in[0];
  unsigned mask;
  if (sno_fix_dims(c, 0, x, &mask) < 0) return -1;
  int64_t shape[SNT_MAXDIM], stride[SNT_MAXDIM];
  int n = 0;
  for (int i = 0; i < x->ndim; i++) {
    if ((mask >> i & 1) && x->shape[i] == 1) continue;
    shape[n] = x->shape[i];
    stride[n++] = x->stride[i];
  }
  return give(c, snt_view_as(x, n, shape, stride, x->offset));
}

/*** squeeze(x, dim?)
 * Drops dimensions of size 1: all of them, or those named (one that is not 1 stays).
 * @math y_{j} = x_{i}
 * @grad \bar x = \mathrm{reshape}(\bar y)
 */
const sno_op sno_op_squeeze = {.name = "squeeze", .args = "x dim:dims?", .flags = SNO_VIEW, .nout = 1, .infer = infer_squeeze, .backward = back_shape,
  .samples = "f(2,1,3,1); f(2,1,3,1), 2; f(2,1,3,1), {2,-1}; f(2,3), 1", .wrong = "f(2,3), 3 => no dimension 3"};

static int infer_unsqueeze(sno_call *c) {
  const snt_tensor *x = c->in[0];
  if (x->ndim == SNT_MAXDIM) return sn_fail("unsqueeze: %s has %d dimensions, more are not possible", SNT_SHAPE(x), SNT_MAXDIM);
  if (sno_fix_dim(c, 0, x, x->ndim + 1) < 0) return -1;
  const int d = (int)c->attr[0].i;
  int64_t shape[SNT_MAXDIM], stride[SNT_MAXDIM];
  for (int i = 0, k = 0; i <= x->ndim; i++) {
    shape[i] = i == d ? 1 : x->shape[k];
    stride[i] = i == d ? 1 : x->stride[k++];
  }
  return give(c, snt_view_as(x, x->ndim + 1, shape, stride, x->offset));
}

/*** unsqueeze(x, dim)
 * A new dimension of size 1 in front of dimension dim (ndim+1 or -1: at the end).
 * @math y_{j} = x_{i}
 * @grad \bar x = \mathrm{reshape}(\bar y)
 */
const sno_op sno_op_unsqueeze = {.name = "unsqueeze", .args = "x dim:dim", .flags = SNO_VIEW, .nout = 1, .infer = infer_unsqueeze, .backward = back_shape,
  .samples = "f(2,3), 1; f(2,3), 3; f(2,3), -1; f(), 1", .wrong = "f(2,3), 4 => no dimension 4"};

/* ---- orders of dimensions */

static int infer_permute(sno_call *c) {
  const snt_tensor *x = c->in[0];
  unsigned mask;
  if (c->attr[0].n != x->ndim)
    return sn_fail("permute: %d dimensions named, the tensor has %d (%s); each is named once", c->attr[0].n, x->ndim, SNT_SHAPE(x));
  if (sno_fix_dims(c, 0, x, &mask) < 0) return -1;
  int dims[SNT_MAXDIM];
  for (int i = 0; i < x->ndim; i++) dims[i] = (int)c->attr[0].v[i];
  return give(c, snt_permute(x, dims));
}

static int back_permute(sno_back *b) {
  sno_val inverse = {.kind = SNO_DIMS, .n = b->attr[0].n};
  for (int i = 0; i < inverse.n; i++) inverse.v[b->attr[0].v[i]] = i;
  return (b->gx[0] = sno_run(&sno_op_permute, 1, b->gy, 1, &inverse)) ? 0 : -1;
}

/*** permute(x, dims)
 * Dimensions in another order: dimension i of the result is dimension dims[i] of x.
 * @math y_{i_1 \dots i_n} = x_{i_{\pi^{-1}(1)} \dots}
 * @grad \bar x = \mathrm{permute}(\bar y, \pi^{-1})
 */
const sno_op sno_op_permute = {.name = "permute", .args = "x dims:dims", .flags = SNO_VIEW, .nout = 1, .infer = infer_permute, .backward = back_permute,
  .samples = "f(2,3,4), 3, 1, 2; f(2,3), {2,1}; f(2,3,4), -1, 1, 2", .wrong = "f(2,3), 1 => each is named once; f(2,3), 1, 1 => twice; f(2,3), 1, 3 => no dimension 3"};

static int infer_transpose(sno_call *c) {
  const snt_tensor *x = c->in[0];
  if (sno_fix_dim(c, 0, x, x->ndim) < 0 || sno_fix_dim(c, 1, x, x->ndim) < 0) return -1;
  int dims[SNT_MAXDIM] = {0};
  for (int i = 0; i < x->ndim; i++) dims[i] = i;
  dims[c->attr[0].i] = (int)c->attr[1].i;
  dims[c->attr[1].i] = (int)c->attr[0].i;
  return give(c, snt_permute(x, dims));
}

static int back_transpose(sno_back *b) { return (b->gx[0] = sno_run(&sno_op_transpose, 1, b->gy, 2, b->attr)) ? 0 : -1; }

/*** transpose(x, dim0, dim1)
 * Two dimensions exchanged.
 * @math y_{\dots i \dots j \dots} = x_{\dots j \dots i \dots}
 * @grad \bar x = \mathrm{transpose}(\bar y)
 */
const sno_op sno_op_transpose = {.name = "transpose", .args = "x dim0:dim dim1:dim", .flags = SNO_VIEW, .nout = 1, .infer = infer_transpose,
  .backward = back_transpose, .samples = "f(2,3,4), 1, 3; f(2,3), -1, 1", .wrong = "f(2,3), 1, 3 => no dimension 3"};

static int infer_t(sno_call *c) {
  const snt_tensor *x = c->in[0];
  if (x->ndim > 2) return sn_fail("t: wants at most two dimensions, got %s; transpose or permute take more", SNT_SHAPE(x));
  return give(c, snt_permute(x, x->ndim == 2 ? (int[]){1, 0} : (int[]){0}));
}

static int back_t(sno_back *b) { return (b->gx[0] = sno_call1(&sno_op_t, b->gy[0])) ? 0 : -1; }

/*** t(x)
 * A matrix turned; vectors and numbers stay as they are.
 * @math y_{ij} = x_{ji}
 * @grad \bar x = \bar y^T
 */
const sno_op sno_op_t = {.name = "t", .args = "x", .flags = SNO_VIEW, .nout = 1, .infer = infer_t, .backward = back_t,
  .samples = "f(2,3); f(3)", .wrong = "f(2,3,4) => two dimensions"};

/* ---- expansion */

static int infer_expand(sno_call *c) {
  const sno_val *v = &c->attr[0];
  if (v->n > SNT_MAXDIM) return sn_fail("expand: %d sizes asked for, at most %d are possible", v->n, SNT_MAXDIM);
  if (c->in[0]->ndim > v->n) return sn_fail("expand: %d sizes for a tensor of %d dimensions (%s)", v->n, c->in[0]->ndim, SNT_SHAPE(c->in[0]));
  return give(c, snt_expand(c->in[0], v->n, v->v));
}

static int back_expand(sno_back *b) { return (b->gx[0] = sno_sum_to(b->gy[0], &b->in_spec[0])) ? 0 : -1; }

/*** expand(x, size)
 * Dimensions of size 1 grown by repeating, new ones in front, without a copy; -1 keeps a size. The result cannot be written.
 * @math y_{j} = x_{i}, \quad i_k = j_k \text{ or } 1
 * @grad \bar x = \sum_{\text{repeats}} \bar y
 */
const sno_op sno_op_expand = {.name = "expand", .args = "x size:ints", .flags = SNO_VIEW, .nout = 1, .infer = infer_expand, .backward = back_expand,
  .samples = "f(2,1), 2, 3; f(3), 2, 3; f(1,3), {4,-1}", .wrong = "f(2,3), 3, 3 => only 1 can grow; f(2,3), 3 => sizes"};
