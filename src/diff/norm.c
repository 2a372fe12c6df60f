/* norm.c - normalisation of rows: layer_norm, rms_norm, group_norm; and the gradients of all normalisations in plain operations. */
#include "diff/norm.h"
#include <math.h>
#include <string.h>
#include "base/error.h"
#include "diff/matmul.h"
#include "diff/ops.h"
#include "diff/tape.h"

/* ---- shared with batch_norm.c */

int sno_norm_checks(const sno_call *c, double epsilon) {
  const snt_tensor *x = c->in[0];
  if (!sn_is_float((sn_dtype)x->dtype))
    return sn_fail("%s: wants floating numbers, got %s; x:to(\"float32\") first", c->op->name, sn_dtypes[x->dtype].name);
  return epsilon >= 0 ? 0 : sn_fail("%s: epsilon is %g; it must be 0 or more", c->op->name, epsilon);
}

static snt_tensor *mean_over(snt_tensor *x, const sno_val *dims) { return sno_run(&sno_op_mean, SNO_IN(x), SNO_ATTRS(*dims, sno_bool(true))); }

int sno_norm_plain(sno_back *b, const sno_norm_plain_args *p) {
  snt_tensor *x = b->in[0], *g = b->gy[0], *w = p->weight, *m = p->mean, *var = p->var;
  const bool own = var == NULL; /* statistics of x itself */
  if (own && p->centered) m = mean_over(x, &p->dims);
  snt_tensor *d = own && !p->centered ? x : sno_sub(x, m);
  if (own) var = mean_over(sno_square(d), &p->dims);
  snt_tensor *r = sno_rsqrt(sno_add(var, sno_weak(p->epsilon))), *xhat = sno_mul(d, r);
  if (b->want[0]) {
    snt_tensor *v = w ? sno_mul(g, w) : g;
    if (own) {
      snt_tensor *k = sno_mul(xhat, mean_over(sno_mul(v, xhat), &p->dims));
      v = sno_sub(p->centered ? sno_sub(v, mean_over(v, &p->dims)) : v, k);
    }
    if ((b->gx[0] = sno_mul(v, r)) == NULL) return -1;
  }
  for (int i = 1; i < b->nin && i <= 2; i++) {
    if (!b->want[i]) continue;
    snt_tensor *v = i == 1 ? sno_mul(g, xhat) : g;
    if (p->channels) v = sno_run(&sno_op_sum, SNO_IN(v), SNO_ATTRS(p->dims, sno_bool(false)));
    if ((b->gx[i] = sno_sum_to(v, &b->in_spec[i])) == NULL) return -1;
  }
  return 0;
}

/* ---- rows */

enum { NDIM, ROW_EPSILON };

static bool centered(const sno_op *op) { return op->data == NULL; }

/* The last `ndim` dimensions of x: how many elements they have. */
static int64_t row_length(const snt_tensor *x, int64_t ndim) { return snt_count((int)ndim, x->shape + x->ndim - ndim); }

static int infer_rows(sno_call *c) {
  const snt_tensor *x = c->in[0];
  const int64_t nd = c->attr[NDIM].i;
  if (sno_norm_checks(c, c->attr[ROW_EPSILON].d) < 0) return -1;
  if (nd < 1 || nd > x->ndim)
    return sn_fail("%s: normalises the last %lld dimensions, but x has %d (%s)", c->op->name, (long long)nd, x->ndim, SNT_SHAPE(x));
  for (int i = 1; i < c->nin; i++) {
    const snt_tensor *w = c->in[i];
    if (w && (w->ndim != nd || memcmp(w->shape, x->shape + x->ndim - nd, (size_t)nd * sizeof *w->shape) != 0))
      return sn_fail("%s: %s is %s, but the last %lld dimensions of x (%s) are %s", c->op->name, i == 1 ? "weight" : "bias", SNT_SHAPE(w),
          (long long)nd,
                     SNT_SHAPE(x), snt_shape_str((int)nd, x->shape + x->ndim - nd, (char[96]){0}, 96));
    if (w && sno_cast_input(c, i, (sn_dtype)x->dtype) < 0) return -1;
  }
  sno_want(c, 0, (sn_dtype)x->dtype, x->ndim, x->shape);
  return 0;
}

static snk_norm_args row_args(const sno_call *c, const snt_tensor *x, const snt_tensor *w, bool center) {
  snk_norm_args a = {.f64 = x->dtype == SN_F64, .centered = center, .channels = row_length(x, c->attr[NDIM].i), .inner = 1,
                     .epsilon = c->attr[ROW_EPSILON].d, .x = snt_data(x), .weight = w ? snt_data(w) : NULL, .y = snt_data(c->out[0])};
  a.n = a.channels > 0 ? snt_numel(x) / a.channels : 0;
  return a;
}

static void forward_rows(sno_call *c) {
  snk_norm_args a = row_args(c, c->in[0], c->in[1], centered(c->op));
  a.bias = c->nin > 2 && c->in[2] ? snt_data(c->in[2]) : NULL;
  a.round = c->round;
  snk_row_norm(&a);
}

static int infer_rows_backward(sno_call *c) {
  const snt_tensor *x = c->in[1];
  const int nd = (int)c->attr[NDIM].i;
  const int64_t length = row_length(x, nd);
  if (sno_cast_input(c, 0, (sn_dtype)x->dtype) < 0) return -1;
  const int64_t rows = length > 0 ? snt_numel(x) / length : 0;
  c->scratch_bytes = (size_t)(rows + snk_norm_runs(rows) * length) * 2 * sizeof(double);
  sno_want(c, 0, (sn_dtype)x->dtype, x->ndim, x->shape);
  sno_want(c, 1, (sn_dtype)x->dtype, nd, x->shape + x->ndim - nd);
  sno_want(c, 2, (sn_dtype)x->dtype, nd, x->shape + x->ndim - nd);
  return 0;
}

static void forward_rows_backward(sno_call *c) {
  snk_norm_args a = row_args(c, c->in[1], c->in[2], c->attr[2].i != 0);
  a.g = snt_data(c->in[0]);
  a.mean = c->scratch;
  a.rstd = (double *)c->scratch + a.n;
  a.part = (double *)c->scratch + 2 * a.n;
  a.gw = snt_data(c->out[1]);
  a.gb = snt_data(c->out[2]);
  if (c->nin > 3) a.add = snt_data(c->in[3]);
  snk_row_norm_backward(&a);
}

/*** row_norm_backward(gy, x, weight?, ndim, epsilon, centered)
 * The gradients of layer_norm and rms_norm in one pass; the statistics of each row are found again.
 * @math \bar x = r \left(g - \frac1n \sum g - \hat x\, \frac1n \sum g\, \hat x\right), \quad g = \bar y\, w
 */
const sno_op sno_op_row_norm_backward = {.name = "row_norm_backward", .args = "gy x weight? ndim:int epsilon:num centered:bool",
                                         .flags = SNO_HIDDEN | SNO_NODIFF | SNO_CONTIG, .nout = 3, .infer = infer_rows_backward,
                                         .forward = forward_rows_backward};

/* ---- what programs make of it and the addition of the gradient that went another way round */

static int infer_backward_add(sno_call *c) {
  if (!snt_same_shape(c->in[3], c->in[1])) return sn_fail("%s: %s is added to the gradient of %s", c->op->name, SNT_SHAPE(c->in[3]), SNT_SHAPE(c->in[1]));
  return sno_cast_input(c, 3, (sn_dtype)c->in[1]->dtype) < 0 ? -1 : infer_rows_backward(c);
}

/*** row_norm_backward_add(gy, x, weight?, other, ndim, epsilon, centered)
 * row_norm_backward, and the gradient that comes another way added to that of x.
 * @math \bar x = r \left(g - \frac1n \sum g - \hat x\, \frac1n \sum g\, \hat x\right) + \bar x_2, \quad g = \bar y\, w
 */
const sno_op sno_op_row_norm_backward_add = {.name = "row_norm_backward_add", .args = "gy x weight? other ndim:int epsilon:num centered:bool",
                                             .flags = SNO_HIDDEN | SNO_NODIFF | SNO_CONTIG, .nout = 3, .over = {1 << 3}, .infer = infer_backward_add,
                                             .forward = forward_rows_backward};

static int back_rows(sno_back *b) {
  const int nd = (int)b->attr[NDIM].i;
  if (b->create_graph) {
    sno_norm_plain_args p = {.weight = b->in[1], .epsilon = b->attr[ROW_EPSILON].d, .centered = centered(b->op), .dims = {.kind = SNO_DIMS}};
    for (int i = 0; i < nd; i++) p.dims.v[p.dims.n++] = b->in_spec[0].ndim - nd + i;
    return sno_norm_plain(b, &p);
  }
  snt_tensor *out[SNO_MAXOUT];
  if (sno_invoke(&sno_op_row_norm_backward, SNO_IN(b->gy[0], b->in[0], b->in[1]), -1,
                 SNO_ATTRS(b->attr[NDIM], b->attr[ROW_EPSILON], sno_bool(centered(b->op))), out, NULL, NULL) < 0)
    return -1;
  for (int i = 0; i < b->nin; i++)
    if (b->want[i]) b->gx[i] = out[i];
  return 0;
}

/*** layer_norm(x, weight?, bias?, {ndim = 1, epsilon = 1e-5})
 * Every row to mean 0 and variance 1, then scaled and shifted. A row is what the last `ndim` dimensions hold; `weight` and `bias` have their shape.
 * @math y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}\, w + b, \quad \mu = \frac1n \sum_i x_i, \quad \sigma^2 = \frac1n \sum_i (x_i - \mu)^2
 * @grad \bar x = r \left(g - \frac1n \sum_i g_i - \hat x\, \frac1n \sum_i g_i \hat x_i\right), \quad
 *   g = \bar y\, w,\; r = \frac{1}{\sqrt{\sigma^2 + \epsilon}},\;
 *   \hat x = r (x - \mu), \quad \bar w = \sum \bar y\, \hat x, \quad \bar b = \sum \bar y
 * @source Ba, Kiros, Hinton: Layer normalization, 2016
 * @see batch_norm, rms_norm
 */
const sno_op sno_op_layer_norm = {
    .name = "layer_norm", .args = "x weight? bias? ndim:int=1 epsilon:num=1e-5", .flags = SNO_ROUNDS | SNO_HIGH | SNO_CONTIG, .nout = 1, .save_in = 3, .infer = infer_rows,
    .forward = forward_rows, .backward = back_rows,
    .samples = "f(3,5), p(5), f(5); f(2,3,4), p(3,4), f(3,4), {ndim=2}; f(4,6); f(3,19), nil, f(19); f(35), p(35); f(2,3), {epsilon=0.1}",
    .wrong = "f(3,5), p(4) => weight is 4; f(3,5), p(5), f(3) => bias is 3; f(3), {ndim=2} => the last 2 dimensions;"
        " i(1,5,3,5) => wants floating numbers;"
             " f(3,5), {epsilon=-1} => epsilon is -1"};

static const char not_centered = 1;

/*** rms_norm(x, weight?, {ndim = 1, epsilon = 1e-5})
 * Every row divided by its root mean square, then scaled.
 * @math y = \frac{x}{\sqrt{\frac1n \sum_i x_i^2 + \epsilon}}\, w
 * @grad \bar x = r \left(g - \hat x\, \frac1n \sum_i g_i \hat x_i\right), \quad g = \bar y\, w,\; \hat x = r x, \quad \bar w = \sum \bar y\, \hat x
 * @source Zhang, Sennrich: Root mean square layer normalization, NeurIPS 2019
 * @see layer_norm
 */
const sno_op sno_op_rms_norm = {
    .name = "rms_norm", .args = "x weight? ndim:int=1 epsilon:num=1e-5", .flags = SNO_ROUNDS | SNO_HIGH | SNO_CONTIG, .nout = 1, .save_in = 3, .infer = infer_rows,
    .forward = forward_rows, .backward = back_rows, .data = &not_centered,
    .samples = "f(3,5), p(5); f(2,3,4), p(3,4), {ndim=2}; f(4,6); f(2,19)", .wrong = "f(3,5), p(4) => weight is 4;"
        " f(3), {ndim=0} => the last 0 dimensions"};

/* ---- groups of channels */

enum { GROUPS, GROUP_EPSILON };

static snt_tensor *per_channel(snt_tensor *w, const snt_tensor *x) {
  int64_t shape[SNT_MAXDIM];
  for (int i = 0; i < x->ndim; i++) shape[i] = i == 1 ? x->shape[1] : 1;
  return sno_shaped(w, x->ndim, shape);
}

static size_t group_room(const snt_tensor *x) { return SNK_GROUP_ROOM * (size_t)(x->shape[0] * x->shape[1]) * sn_size_of((sn_dtype)x->dtype); }

static int infer_group(sno_call *c) {
  const snt_tensor *x = c->in[0];
  const int64_t groups = c->attr[GROUPS].i;
  if (sno_norm_checks(c, c->attr[GROUP_EPSILON].d) < 0) return -1;
  if (x->ndim < 2) return sn_fail("group_norm: wants n x channels (x ...), got %s", SNT_SHAPE(x));
  if (groups < 1 || x->shape[1] % groups != 0)
    return sn_fail("group_norm: %lld channels (%s) cannot be divided into %lld groups", (long long)x->shape[1], SNT_SHAPE(x), (long long)groups);
  for (int i = 1; i < 3; i++) {
    const snt_tensor *w = c->in[i];
    if (w && (w->ndim != 1 || w->shape[0] != x->shape[1]))
      return sn_fail("group_norm: %s is %s, but x (%s) has %lld channels", i == 1 ? "weight" : "bias", SNT_SHAPE(w), SNT_SHAPE(x), (long long)x->shape[1]);
    if (w && sno_cast_input(c, i, (sn_dtype)x->dtype) < 0) return -1;
  }
  c->scratch_bytes = group_room(x);
  sno_want(c, 0, (sn_dtype)x->dtype, x->ndim, x->shape);
  return 0;
}

static snk_group_args group_args(const sno_call *c, const snt_tensor *x, const snt_tensor *w) {
  return (snk_group_args){.f64 = x->dtype == SN_F64, .n = x->shape[0], .channels = x->shape[1], .groups = c->attr[GROUPS].i,
                          .inner = snt_count(x->ndim - 2, x->shape + 2), .epsilon = c->attr[GROUP_EPSILON].d, .x = snt_data(x),
                          .weight = w ? snt_data(w) : NULL, .y = snt_data(c->out[0]), .room = c->scratch};
}

static void forward_group(sno_call *c) {
  snk_group_args a = group_args(c, c->in[0], c->in[1]);
  a.bias = c->in[2] ? snt_data(c->in[2]) : NULL;
  snk_group_norm(&a);
}

static int infer_group_backward(sno_call *c) {
  const snt_tensor *x = c->in[1];
  if (sno_cast_input(c, 0, (sn_dtype)x->dtype) < 0) return -1;
  c->scratch_bytes = group_room(x);
  sno_want(c, 0, (sn_dtype)x->dtype, x->ndim, x->shape);
  for (int i = 1; i < 3; i++) sno_want(c, i, (sn_dtype)x->dtype, 1, x->shape + 1);
  return 0;
}

static void forward_group_backward(sno_call *c) {
  snk_group_args a = group_args(c, c->in[1], c->in[2]);
  a.g = snt_data(c->in[0]);
  a.gw = snt_data(c->out[1]);
  a.gb = snt_data(c->out[2]);
  snk_group_norm(&a);
}

/*** group_norm_backward(gy, x, weight?, groups, epsilon)
 * The gradients of group_norm, a group at a time; its statistics are found again.
 * @math \bar x = r \left(g - \frac1n \sum_i g_i - \hat x\, \frac1n \sum_i g_i \hat x_i\right), \quad g = \bar y\, w_c
 */
const sno_op sno_op_group_norm_backward = {.name = "group_norm_backward", .args = "gy x weight? groups:int epsilon:num",
                                           .flags = SNO_HIDDEN | SNO_NODIFF | SNO_CONTIG, .nout = 3, .infer = infer_group_backward,
                                           .forward = forward_group_backward};

/* In plain operations: a group is a row, normalised without weight and bias. */
static int back_group_plain(sno_back *b) {
  snt_tensor *x = b->in[0], *g = b->gy[0], *w = b->in[1];
  const int64_t rows = x->shape[0] * b->attr[GROUPS].i, shape[2] = {rows, rows > 0 ? snt_numel(x) / rows : 0};
  snt_tensor *xr = sno_shaped(x, 2, shape);
  if (b->want[0]) {
    const bool want = true;
    snt_tensor *gr = sno_shaped(w ? sno_mul(g, per_channel(w, x)) : g, 2, shape), *gx = NULL;
    sno_back of_rows = {.create_graph = true, .nin = 1, .in = &xr, .gy = &gr, .want = &want, .gx = &gx};
    const sno_norm_plain_args p = {.epsilon = b->attr[GROUP_EPSILON].d, .centered = true, .dims = {.kind = SNO_DIMS, .n = 1, .v = {1}}};
    if (sno_norm_plain(&of_rows, &p) < 0 || (b->gx[0] = sno_shaped(gx, x->ndim, x->shape)) == NULL) return -1;
  }
  sno_val others = {.kind = SNO_DIMS};
  for (int i = 0; i < x->ndim; i++)
    if (i != 1) others.v[others.n++] = i;
  for (int i = 1; i < 3; i++) {
    if (!b->want[i]) continue;
    snt_tensor *v = g;
    if (i == 1) {
      snt_tensor *xhat = sno_run(&sno_op_layer_norm, SNO_IN(xr, NULL, NULL), SNO_ATTRS(sno_int(1), b->attr[GROUP_EPSILON]));
      v = sno_mul(g, sno_shaped(xhat, x->ndim, x->shape));
    }
    if ((b->gx[i] = sno_run(&sno_op_sum, SNO_IN(v), SNO_ATTRS(others, sno_bool(false)))) == NULL) return -1;
  }
  return 0;
}

static int back_group(sno_back *b) {
  if (b->create_graph) return back_group_plain(b);
  snt_tensor *out[SNO_MAXOUT];
  if (sno_invoke(&sno_op_group_norm_backward, SNO_IN(b->gy[0], b->in[0], b->in[1]), -1, SNO_ATTRS(b->attr[GROUPS], b->attr[GROUP_EPSILON]), out, NULL,
                 NULL) < 0) return -1;
  for (int i = 0; i < 3; i++)
    if (b->want[i]) b->gx[i] = out[i];
  return 0;
}

/*** group_norm(x, groups, weight?, bias?, {epsilon = 1e-5})
 * Normalises the channels of each example (n x channels x ...) in `groups` groups of equal size; `weight` and `bias` have a number for each channel.
 * @math y = \frac{x - \mu_g}{\sqrt{\sigma_g^2 + \epsilon}}\, w_c + b_c
 * @grad \bar x = r \left(g - \frac1n \sum_i g_i - \hat x\, \frac1n \sum_i g_i \hat x_i\right), \quad g = \bar y\, w_c, \quad
 *   \bar w_c = \sum \bar y\, \hat x, \quad \bar b_c = \sum \bar y
 * @source Wu, He: Group normalization, ECCV 2018
 * @see layer_norm
 */
const sno_op sno_op_group_norm = {
    .name = "group_norm", .args = "x groups:int weight? bias? epsilon:num=1e-5", .flags = SNO_HIGH | SNO_CONTIG, .nout = 1, .save_in = 3, .infer = infer_group,
    .forward = forward_group, .backward = back_group,
    .samples = "f(2,4,3), 2, p(4), f(4); f(3,4), 2; f(1,6,2,2), 3, p(6); f(2,6), 6, p(6), f(6); f(2,4,5,9), 2, p(4), f(4); f(2,3,40), 1, nil, f(3)",
    .wrong = "f(2,5), 2 => cannot be divided into 2 groups; f(4), 1 => wants n x channels; f(2,4), 2, p(3) => weight is 3"};
