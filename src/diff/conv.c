/* conv.c - convolutions. The forward operation, the gradient of the input and the gradient of the weight are one product of three tensors:
 * each is linear in the two others, so the three are one another's backwards and any derivative exists. */
#include "calc/conv.h"
#include <string.h>
#include "base/error.h"
#include "base/thread.h"
#include "calc/norm.h"
#include "diff/conv.h"
#include "diff/matmul.h"
#include "diff/ops.h"
#include "diff/tape.h"

/* ---- reading a call */

typedef struct options { int64_t stride[2], pad[2], dilation[2], groups; } options;

/* stride, padding, dilation, groups from attribute `at` on; of one direction: numbers instead of pairs. */
static options options_at(const sno_val *attr, int at, bool one) {
  options o = {.stride = {1, 1}, .dilation = {1, 1}, .groups = attr[at + 3].i};
  for (int d = one ? 1 : 0; d < 2; d++) {
    o.stride[d] = one ? attr[at].i : attr[at].v[d];
    o.pad[d] = one ? attr[at + 1].i : attr[at + 1].v[d];
    o.dilation[d] = one ? attr[at + 2].i : attr[at + 2].v[d];
  }
  return o;
}

static int check_options(const char *name, const options *o) {
  const int64_t big = (int64_t)1 << 31;
  for (int d = 0; d < 2; d++) {
    if (o->stride[d] < 1 || o->stride[d] >= big) return sn_fail("%s: stride must be positive, got %lld", name, (long long)o->stride[d]);
    if (o->dilation[d] < 1 || o->dilation[d] >= big) return sn_fail("%s: dilation must be positive, got %lld", name, (long long)o->dilation[d]);
    if (o->pad[d] < 0 || o->pad[d] >= big) return sn_fail("%s: padding must not be negative, got %lld", name, (long long)o->pad[d]);
  }
  if (o->groups < 1) return sn_fail("%s: groups must be positive, got %lld", name, (long long)o->groups);
  return 0;
}

/* Images, channels, height and width of a tensor of `dims` dimensions of place, with or without a batch. */
static void planes(const snt_tensor *t, int dims, int64_t v[4]) {
  const int64_t *s = t->shape + (t->ndim - dims - 1);
  v[0] = t->ndim == dims + 2 ? t->shape[0] : 1;
  v[1] = s[0];
  v[2] = dims == 2 ? s[1] : 1;
  v[3] = s[dims];
}

/* Of a call whose inputs have one type (check_tensors). */
static snk_conv_shape shape_for(const sno_call *c, const int64_t x[4], int64_t co, int64_t kh, int64_t kw, const options *o) {
  snk_conv_shape s = {.f64 = c->in[1]->dtype == SN_F64, .round = c->round, .half = c->half, .n = x[0], .groups = o->groups, .ci = x[1] / o->groups, .co = co / o->groups};
  for (int d = 0; d < 2; d++) {
    snk_conv_axis *a = d == 0 ? &s.y : &s.x;
    *a = (snk_conv_axis){.in = x[2 + d], .k = d == 0 ? kh : kw, .stride = o->stride[d], .pad = o->pad[d], .dilation = o->dilation[d]};
    int64_t room = a->in + 2 * a->pad - (a->k - 1) * a->dilation - 1;
    a->out = room >= 0 ? room / a->stride + 1 : 0;
  }
  return s;
}

/* All of conv's rules for an input and a weight. `x`: the input's sizes. */
static int check(const sno_call *c, const options *o, int dims, const int64_t x[4], const snt_tensor *w, const char *xs, snk_conv_shape *s) {
  const char *name = c->op->name;
  if (w->ndim != dims + 2)
    return sn_fail("%s: wants a weight of %d dimensions (out x in/groups x kernel), got %s", name, dims + 2, SNT_SHAPE(w));
  if (check_options(name, o) < 0) return -1;
  int64_t v[4];
  planes(w, dims, v);
  const int64_t big = (int64_t)1 << 31;
  if (v[2] < 1 || v[3] < 1 || v[2] >= big || v[3] >= big) return sn_fail("%s: the kernel has no size (weight %s)", name, SNT_SHAPE(w));
  if (v[0] % o->groups != 0)
    return sn_fail("%s: %lld groups do not divide the %lld outputs of weight %s", name, (long long)o->groups, (long long)v[0], SNT_SHAPE(w));
  if (x[1] != v[1] * o->groups) {
    if (o->groups == 1)
      return sn_fail("%s: input has %lld channels, weight wants %lld (input %s, weight %s)", name, (long long)x[1], (long long)v[1], xs,
                     SNT_SHAPE(w));
    return sn_fail("%s: input has %lld channels, weight wants %lld in each of %lld groups (input %s, weight %s)", name, (long long)x[1],
                   (long long)v[1], (long long)o->groups, xs, SNT_SHAPE(w));
  }
  *s = shape_for(c, x, v[0], v[2], v[3], o);
  for (int d = 2 - dims; d < 2; d++) {
    const snk_conv_axis *a = d == 0 ? &s->y : &s->x;
    if (a->out < 1)
      return sn_fail("%s: the kernel is larger than the padded input: %lld against %lld (input %s, weight %s); more padding would do", name,
                     (long long)((a->k - 1) * a->dilation + 1), (long long)(a->in + 2 * a->pad), xs, SNT_SHAPE(w));
  }
  return 0;
}

/* Number of dimensions, floating types, one type for all. */
static int check_tensors(sno_call *c, int dims, int planes_of) {
  const char *name = c->op->name;
  sn_dtype t = sn_dtype_promote((sn_dtype)c->in[0]->dtype, (sn_dtype)c->in[1]->dtype);
  for (int i = 0; i < c->nin; i++) {
    if (c->in[i] == NULL) continue;
    if (!sn_is_float((sn_dtype)c->in[i]->dtype))
      return sn_fail("%s: wants floating tensors, argument %d is %s; :to(\"float32\") converts", name, i + 1, sn_dtypes[c->in[i]->dtype].name);
    if (i < planes_of && c->in[i]->ndim != dims + 1 && c->in[i]->ndim != dims + 2)
      return sn_fail("%s: wants an input of %s, got %s", name, dims == 2 ? "n x c x h x w or c x h x w" : "n x c x l or c x l", SNT_SHAPE(c->in[i]));
  }
  for (int i = 0; i < c->nin; i++)
    if (sno_cast_input(c, i, t) < 0) return -1;
  return 0;
}

static int check_bias(const sno_call *c, int64_t wants) {
  const snt_tensor *b = c->nin > 2 ? c->in[2] : NULL;
  if (b && (b->ndim != 1 || b->shape[0] != wants))
    return sn_fail("%s: bias is %s, weight %s wants %lld numbers", c->op->name, SNT_SHAPE(b), SNT_SHAPE(c->in[1]), (long long)wants);
  return 0;
}

static int reserve(sno_call *c, const snk_conv_shape *s, int what) {
  size_t worker;
  snk_conv_space(s, what, &c->scratch_bytes, &worker);
  return sn_scratch_reserve(worker);
}

/* The result: like input `like` (with or without a batch), with these channels and sizes. */
static int want(sno_call *c, int like, int dims, int64_t channels, int64_t h, int64_t w) {
  int64_t shape[4];
  int n = 0;
  if (c->in[like]->ndim == dims + 2) shape[n++] = c->in[like]->shape[0];
  shape[n++] = channels;
  if (dims == 2) shape[n++] = h;
  shape[n++] = w;
  if (snt_check_shape(n, shape, c->op->name) < 0) return -1;
  sno_want(c, 0, (sn_dtype)c->in[0]->dtype, n, shape);
  return 0;
}

/* ---- forward */

/* planes: as many numbers as the convolution gives, each a sum over a weight's row. */
static double flops_of(const snt_tensor *planes, const snt_tensor *weight) {
  return weight->shape[0] == 0 ? 0 : 2.0 * (double)snt_numel(planes) * (double)(snt_numel(weight) / weight->shape[0]);
}
static double flops_conv(const sno_call *c) { return flops_of(c->out[0], c->in[1]); }
static double flops_input(const sno_call *c) { return flops_of(c->in[0], c->in[1]); } /* of the gradient that comes, or what is transposed */
static double flops_weight(const sno_call *c) { return flops_of(c->in[1], c->out[0]); }

static int infer_dims(sno_call *c, int dims) {
  if (check_tensors(c, dims, 1) < 0) return -1;
  options o = options_at(c->attr, 0, dims == 1);
  int64_t x[4];
  snk_conv_shape s;
  planes(c->in[0], dims, x);
  if (check(c, &o, dims, x, c->in[1], SNT_SHAPE(c->in[0]), &s) < 0 || check_bias(c, c->in[1]->shape[0]) < 0) return -1;
  if (want(c, 0, dims, c->in[1]->shape[0], s.y.out, s.x.out) < 0) return -1;
  return reserve(c, &s, SNK_CONV_FORWARD);
}
static int infer_conv2d(sno_call *c) { return infer_dims(c, 2); }
static int infer_conv1d(sno_call *c) { return infer_dims(c, 1); }

static snk_conv_shape shape_of(const sno_call *c) {
  const int dims = c->op == &sno_op_conv1d ? 1 : 2;
  options o = options_at(c->attr, 0, dims == 1);
  int64_t x[4], w[4];
  planes(c->in[0], dims, x);
  planes(c->in[1], dims, w);
  return shape_for(c, x, w[0], w[2], w[3], &o);
}

static bool halved(sno_call *c, int k) {
  const snk_conv_shape s = shape_of(c);
  return (k == 0 || k == c->nin) && snk_conv_narrow(&s, SNK_CONV_FORWARD, k != 0);
}
static bool narrow(const snt_tensor *x) { return x->dtype == SN_BF16; }

static void forward(sno_call *c) {
  snk_conv_shape s = shape_of(c);
  s.narrow_x = narrow(c->in[0]), s.narrow_y = narrow(c->out[0]);
  const snk_conv_with with = {.packed = c->packed, .bias = c->in[2] ? snt_data(c->in[2]) : NULL, .relu = c->op == &sno_op_conv2d_relu};
  snk_conv_forward_with(&s, snt_data(c->in[0]), snt_data(c->in[1]), &with, snt_data(c->out[0]), c->scratch);
}

static size_t pack_bytes(const sno_call *c) {
  const snk_conv_shape s = shape_of(c);
  return snk_conv_packed_bytes(&s);
}

static void pack(const sno_call *c, void *to) {
  const snk_conv_shape s = shape_of(c);
  snk_conv_pack(&s, snt_data(c->in[1]), to);
}

/* ---- the three as operations */

static sno_val pair(int64_t a, int64_t b) { return sno_int2(a, b); }

static snt_tensor *conv(snt_tensor *x, snt_tensor *w, const options *o) {
  return sno_run(&sno_op_conv2d, SNO_IN(x, w, NULL), SNO_ATTRS(pair(o->stride[0], o->stride[1]), pair(o->pad[0], o->pad[1]),
                 pair(o->dilation[0], o->dilation[1]), sno_int(o->groups)));
}
static snt_tensor *conv_input(snt_tensor *gy, snt_tensor *w, int64_t h, int64_t wd, const options *o) {
  return sno_run(&sno_op_conv2d_backward_input, SNO_IN(gy, w), SNO_ATTRS(pair(h, wd), pair(o->stride[0], o->stride[1]), pair(o->pad[0], o->pad[1]),
                 pair(o->dilation[0], o->dilation[1]), sno_int(o->groups)));
}
static snt_tensor *conv_weight(snt_tensor *x, snt_tensor *gy, int64_t kh, int64_t kw, const options *o) {
  return sno_run(&sno_op_conv2d_backward_weight, SNO_IN(x, gy), SNO_ATTRS(pair(kh, kw), pair(o->stride[0], o->stride[1]), pair(o->pad[0], o->pad[1]),
                 pair(o->dilation[0], o->dilation[1]), sno_int(o->groups)));
}

/* Sum over images and places. */
static snt_tensor *conv_bias(snt_tensor *g, int dims, int64_t channels) {
  sno_out spec = {.ndim = (uint8_t)(dims + 1), .shape = {channels, 1, 1}};
  g = sno_sum_to(g, &spec);
  return g ? sno_shaped(g, 1, &channels) : NULL;
}

static int back_conv2d(sno_back *b) {
  options o = options_at(b->attr, 0, false);
  const sno_out *x = &b->in_spec[0], *w = &b->in_spec[1];
  snt_tensor *g = b->gy[0];
  if (b->want[0] && (b->gx[0] = conv_input(g, b->in[1], x->shape[x->ndim - 2], x->shape[x->ndim - 1], &o)) == NULL) return -1;
  if (b->want[1] && (b->gx[1] = conv_weight(b->in[0], g, w->shape[2], w->shape[3], &o)) == NULL) return -1;
  if (b->want[2] && (b->gx[2] = conv_bias(g, 2, w->shape[0])) == NULL) return -1;
  return 0;
}

/*** conv2d(x, weight, bias?, {stride=1, padding=0, dilation=1, groups=1})
 * Cross-correlation of planes with a kernel. x is n x c x h x w (or c x h x w), weight out x c/groups x kh x kw, bias out; the result is
 * n x out x h' x w' with h' = floor((h + 2 padding - dilation (kh - 1) - 1) / stride) + 1. stride, padding and dilation are one number or
 * {height, width}; what lies outside is zero. With groups the channels are cut into that many separate convolutions; groups = c is depthwise.
 * float32 with many channels and a 3 x 3 kernel of stride 1 is computed from tiles of 4 x 4 places with 36 multiplications for 144 (Winograd's
 * F(4x4, 3x3); Lavin and Gray 2016), with a relative error of 4e-7 to 9e-7 (rms; the sum over taps: 1.4e-7 to 2.8e-7); an infinity makes NaN of the tiles it meets.
 * Errors: channels that do not match the weight, a kernel larger than the padded input, groups that do not divide.
 * @math y_{noij} = b_o + \sum_{crs} w_{ocrs}\, x_{n,c,\,is+rd-p,\,js+sd-p}
 * @grad \bar x = \bar y \star^T w, \quad \bar w_{ocrs} = \sum_{nij} \bar y_{noij}\, x_{n,c,\,is+rd-p,\,js+sd-p},
 *   \quad \bar b_o = \sum_{nij} \bar y_{noij}
 * @see conv1d, conv_transpose2d, max_pool2d
 */
const sno_op sno_op_conv2d = {
    .name = "conv2d", .args = "x weight bias? stride:int2=1 padding:int2=0 dilation:int2=1 groups:int=1", .flops = flops_conv, .flags = SNO_ROUNDS | SNO_LOW | SNO_HALVES | SNO_CONTIG,
    .nout = 1, .save_in = 3,
    .infer = infer_conv2d, .forward = forward, .backward = back_conv2d, .halved = halved, .pack_bytes = pack_bytes, .pack = pack,
    .samples = "f(2,3,5,4), f(2,3,3,2), f(2); f(1,2,6,5), f(3,2,3,3), f(3), {stride={2,1}, padding={1,2}};"
             " f(2,1,5,5), f(2,1,2,2), {dilation={2,3}, padding=1};"
               " f(2,4,4,3), f(4,2,2,2), f(4), {groups=2}; f(1,3,5,5), f(3,1,3,3), {groups=3, stride=2, padding=1}; f(2,3,3,3), f(4,3,1,1), f(4);"
               " f(3,5,5), f(2,3,3,3), f(2); f(1,1,7,7), f(2,1,3,3), {stride=3, padding=2};"
             " f(1,2,5,5), f(2,2,2,2), {stride=3, dilation=2, padding=1};"
               " f(3,2,1,1), f(2,2,1,1); f(1,2,5,5), f(2,2,1,1), {stride=2}; f(2,1,20,9), f(13,1,3,3), f(13), {padding=1}",
    .wrong = "f(8,3,9,9), f(4,1,3,3) => input has 3 channels, weight wants 1 (input 8x3x9x9, weight 4x1x3x3);"
             " f(1,1,2,2), f(1,1,3,3) => larger than the padded input;"
             " f(1,1,4,4), f(1,1,3,3), {stride=0} => stride must be positive; f(1,1,4,4), f(1,1,3,3), {padding=-1} => padding must not be negative;"
             " f(1,1,4,4), f(1,1,3,3), {dilation=0} => dilation; f(1,4,4,4), f(3,2,3,3), {groups=2} => groups do not divide;"
             " f(1,4,4,4), f(4,1,3,3), {groups=2} => each of 2 groups; f(4,4), f(1,1,3,3) => n x c x h x w;"
             " f(1,1,4,4), f(1,3,3) => weight of 4 dimensions;"
             " f(1,1,4,4), f(2,1,3,3), f(3) => bias; i(1,5,1,1,4,4), f(1,1,3,3) => floating;"
             " f(1,1,4,4), f(1,1,3,3), {groups=0} => groups must be positive"};

/*** conv2d_relu(x, weight, bias?, {stride=1, padding=0, dilation=1, groups=1})
 * conv2d and relu in one store: what programs make of the two.
 * @math y = \max(0, \mathrm{conv2d}(x, w, b))
 */
const sno_op sno_op_conv2d_relu = {
    .name = "conv2d_relu", .args = "x weight bias? stride:int2=1 padding:int2=0 dilation:int2=1 groups:int=1", .flops = flops_conv,
    .flags = SNO_ROUNDS | SNO_HALVES | SNO_CONTIG | SNO_HIDDEN | SNO_NODIFF, .nout = 1, .infer = infer_conv2d, .forward = forward, .halved = halved,
    .pack_bytes = pack_bytes, .pack = pack};

/* ---- what programs make of conv2d, batch_norm_eval, add and relu */

static int infer_norm(sno_call *c) {
  if (infer_conv2d(c) < 0) return -1;
  for (int i = SNO_CONV_SCALE; i < SNO_CONV_ADD; i++)
    if (c->in[i] && (c->in[i]->ndim != 1 || c->in[i]->shape[0] != c->in[1]->shape[0]))
      return sn_fail("conv2d_norm: wants a number for each channel, got %s for weight %s", SNT_SHAPE(c->in[i]), SNT_SHAPE(c->in[1]));
  c->scratch_bytes += sno_conv_norm_room(c->in[1]->shape[0]);
  return 0;
}

/* In scratch: the channels' scales as batch_norm_eval has them, zeros where there is no shift, then the convolution's. */
static void forward_norm(sno_call *c) {
  const snk_conv_shape s = shape_of(c);
  const int64_t n = s.groups * s.co;
  char *scale = c->scratch, *zeros = scale + n * (s.f64 ? 8 : 4);
  snk_norm_args a = {.f64 = s.f64, .channels = n, .var = snt_data(c->in[SNO_CONV_VAR]), .rstd = scale, .epsilon = c->attr[SNO_CONV_EPSILON].d};
  snk_batch_roots(&a);
  if (c->in[SNO_CONV_SCALE] && s.f64)
    for (int64_t i = 0; i < n; i++) ((double *)a.rstd)[i] *= ((const double *)snt_data(c->in[SNO_CONV_SCALE]))[i];
  else if (c->in[SNO_CONV_SCALE])
    for (int64_t i = 0; i < n; i++) ((float *)a.rstd)[i] *= ((const float *)snt_data(c->in[SNO_CONV_SCALE]))[i];
  if (!c->in[SNO_CONV_SHIFT]) memset(zeros, 0, (size_t)n * (s.f64 ? 8 : 4));
  const snk_conv_with with = {.packed = c->packed, .bias = c->in[2] ? snt_data(c->in[2]) : NULL, .mean = snt_data(c->in[SNO_CONV_MEAN]),
                              .scale = scale, .shift = c->in[SNO_CONV_SHIFT] ? snt_data(c->in[SNO_CONV_SHIFT]) : zeros,
                              .add = c->in[SNO_CONV_ADD] ? snt_data(c->in[SNO_CONV_ADD]) : NULL, .relu = c->attr[SNO_CONV_RELU].i != 0};
  snk_conv_forward_with(&s, snt_data(c->in[0]), snt_data(c->in[1]), &with, snt_data(c->out[0]), scale + sno_conv_norm_room(n));
}

/*** conv2d_norm(x, weight, bias?, scale?, shift?, mean, var, add?, {stride=1, padding=0, dilation=1, groups=1, epsilon, relu})
 * conv2d, batch_norm_eval, an addition and relu in one store, each rounded as by itself: what programs make of them.
 * @math y = \max\left(0, \frac{\mathrm{conv2d}(x, w, b) - \mu}{\sqrt{\sigma^2 + \epsilon}}\, s + t + a\right)
 */
const sno_op sno_op_conv2d_norm = {
    .name = "conv2d_norm",
    .args = "x weight bias? scale? shift? mean var add? stride:int2=1 padding:int2=0 dilation:int2=1 groups:int=1 epsilon:num relu:bool", .flops = flops_conv,
    .flags = SNO_HALVES | SNO_CONTIG | SNO_HIDDEN | SNO_NODIFF, .nout = 1, .over = {1 << SNO_CONV_ADD}, .infer = infer_norm, .forward = forward_norm, .pack_bytes = pack_bytes, .pack = pack};

/* Another shape with a height of 1. */
static snt_tensor *tall(snt_tensor *t) {
  int64_t shape[4];
  if (t == NULL) return NULL;
  for (int i = 0; i < t->ndim - 1; i++) shape[i] = t->shape[i];
  shape[t->ndim - 1] = 1;
  shape[t->ndim] = t->shape[t->ndim - 1];
  return sno_shaped(t, t->ndim + 1, shape);
}

static int back_conv1d(sno_back *b) {
  options o = options_at(b->attr, 0, true);
  const sno_out *x = &b->in_spec[0], *w = &b->in_spec[1];
  snt_tensor *g = tall(b->gy[0]), *gx;
  if (g == NULL) return -1;
  if (b->want[0]) {
    gx = conv_input(g, tall(b->in[1]), 1, x->shape[x->ndim - 1], &o);
    if (gx == NULL || (b->gx[0] = sno_shaped(gx, x->ndim, x->shape)) == NULL) return -1;
  }
  if (b->want[1]) {
    gx = conv_weight(tall(b->in[0]), g, 1, w->shape[2], &o);
    if (gx == NULL || (b->gx[1] = sno_shaped(gx, 3, w->shape)) == NULL) return -1;
  }
  if (b->want[2] && (b->gx[2] = conv_bias(b->gy[0], 1, w->shape[0])) == NULL) return -1;
  return 0;
}

/*** conv1d(x, weight, bias?, {stride=1, padding=0, dilation=1, groups=1})
 * Cross-correlation of rows with a kernel. x is n x c x l (or c x l), weight out x c/groups x k, bias out; the result is n x out x l' with
 * l' = floor((l + 2 padding - dilation (k - 1) - 1) / stride) + 1.
 * @math y_{noi} = b_o + \sum_{cr} w_{ocr}\, x_{n,c,\,is+rd-p}
 * @grad \bar x = \bar y \star^T w, \quad \bar w_{ocr} = \sum_{ni} \bar y_{noi}\, x_{n,c,\,is+rd-p}, \quad \bar b_o = \sum_{ni} \bar y_{noi}
 * @see conv2d
 */
const sno_op sno_op_conv1d = {
    .name = "conv1d", .args = "x weight bias? stride:int=1 padding:int=0 dilation:int=1 groups:int=1", .flops = flops_conv, .flags = SNO_ROUNDS | SNO_LOW | SNO_HALVES | SNO_CONTIG, .nout = 1, .save_in = 3,
    .infer = infer_conv1d, .forward = forward, .backward = back_conv1d, .pack_bytes = pack_bytes, .pack = pack,
    .samples = "f(2,3,7), f(2,3,3), f(2); f(1,2,9), f(4,1,3), f(4), {stride=2, padding=1, dilation=2, groups=2}; f(3,6), f(2,3,2);"
             " f(2,1,5), f(1,1,5), {padding=2}",
    .wrong = "f(2,3,7), f(2,2,3) => input has 3 channels, weight wants 2; f(1,1,2), f(1,1,3) => larger than the padded input;"
             " f(1,1,4), f(1,1,3), {stride=0} => stride;"
             " f(7), f(1,1,3) => n x c x l; f(1,1,7), f(1,1,3,3) => 3 dimensions; f(1,1,7), f(2,1,3), f(1) => bias"};

/* ---- the gradient of the input */

static int infer_input(sno_call *c) {
  const char *name = c->op->name;
  if (check_tensors(c, 2, 1) < 0) return -1;
  options o = options_at(c->attr, 1, false);
  const snt_tensor *w = c->in[1];
  int64_t g[4], *size = c->attr[0].v;
  planes(c->in[0], 2, g);
  if (w->ndim != 4) return sn_fail("%s: wants a weight of 4 dimensions, got %s", name, SNT_SHAPE(w));
  if (size[0] < 0 || size[1] < 0) return sn_fail("%s: size %lldx%lld is negative", name, (long long)size[0], (long long)size[1]);
  int64_t x[4] = {g[0], w->shape[1] * o.groups, size[0], size[1]};
  snk_conv_shape s;
  if (check(c, &o, 2, x, w, "of the size given", &s) < 0) return -1;
  if (g[1] != w->shape[0] || g[2] != s.y.out || g[3] != s.x.out)
    return sn_fail("%s: the gradient is %s, weight %s on %lldx%lld wants %lldx%lldx%lld", name, SNT_SHAPE(c->in[0]), SNT_SHAPE(w), (long long)x[2],
                   (long long)x[3], (long long)w->shape[0], (long long)s.y.out, (long long)s.x.out);
  if (want(c, 0, 2, x[1], x[2], x[3]) < 0) return -1;
  return reserve(c, &s, SNK_CONV_INPUT);
}

static snk_conv_shape shape_of_input(const sno_call *c) {
  options o = options_at(c->attr, 1, false);
  const snt_tensor *w = c->in[1];
  int64_t x[4];
  planes(c->out[0], 2, x);
  return shape_for(c, x, w->shape[0], w->shape[2], w->shape[3], &o);
}

static bool halved_input(sno_call *c, int k) {
  const snk_conv_shape s = shape_of_input(c);
  return (k == 0 || k == c->nin) && snk_conv_narrow(&s, SNK_CONV_INPUT, k == 0);
}

static void forward_input(sno_call *c) {
  snk_conv_shape s = shape_of_input(c);
  s.narrow_x = narrow(c->out[0]), s.narrow_y = narrow(c->in[0]);
  snk_conv_backward_input(&s, snt_data(c->in[0]), snt_data(c->in[1]), NULL, snt_data(c->out[0]), c->scratch);
}

static int back_input(sno_back *b) {
  options o = options_at(b->attr, 1, false);
  const sno_out *w = &b->in_spec[1];
  if (b->want[0] && (b->gx[0] = conv(b->gy[0], b->in[1], &o)) == NULL) return -1;
  if (b->want[1] && (b->gx[1] = conv_weight(b->gy[0], b->in[0], w->shape[2], w->shape[3], &o)) == NULL) return -1;
  return 0;
}

/*** conv2d_backward_input(gy, weight, size, {stride=1, padding=0, dilation=1, groups=1})
 * The gradient of conv2d's input, which has height and width `size`.
 * @math \bar x_{nc,\,is+rd-p,\,js+sd-p} = \sum_{ors} w_{ocrs}\, \bar y_{noij}
 * @grad \bar{\bar y} = \mathrm{conv2d}(\bar{\bar x}, w), \quad \bar w = \mathrm{conv2d\_backward\_weight}(\bar{\bar x}, \bar y)
 * @see conv2d
 */
const sno_op sno_op_conv2d_backward_input = {
    .name = "conv2d_backward_input", .args = "gy weight size:int2 stride:int2=1 padding:int2=0 dilation:int2=1 groups:int=1", .flops = flops_input,
    .flags = SNO_ROUNDS | SNO_HALVES | SNO_CONTIG | SNO_HIDDEN, .nout = 1, .save_in = 3, .infer = infer_input, .forward = forward_input, .backward = back_input,
    .halved = halved_input,
    .samples = "f(2,2,3,3), f(2,3,3,2), {5,4}", .wrong = "f(2,2,3,4), f(2,3,3,2), {5,4} => the gradient is"};

/* ---- the gradient of the weight */

static int infer_weight(sno_call *c) {
  const char *name = c->op->name;
  if (check_tensors(c, 2, 2) < 0) return -1;
  options o = options_at(c->attr, 1, false);
  int64_t x[4], g[4], *size = c->attr[0].v;
  planes(c->in[0], 2, x);
  planes(c->in[1], 2, g);
  if (check_options(name, &o) < 0) return -1;
  if (size[0] < 1 || size[1] < 1 || x[1] % o.groups || g[1] % o.groups)
    return sn_fail("%s: wants a positive kernel and groups that divide the channels of %s and %s", name, SNT_SHAPE(c->in[0]), SNT_SHAPE(c->in[1]));
  const snk_conv_shape s = shape_for(c, x, g[1], size[0], size[1], &o);
  if (g[0] != x[0] || g[2] != s.y.out || g[3] != s.x.out)
    return sn_fail("%s: the gradient is %s, input %s wants %lldx%lld places", name, SNT_SHAPE(c->in[1]), SNT_SHAPE(c->in[0]), (long long)s.y.out,
                   (long long)s.x.out);
  int64_t shape[4] = {g[1], x[1] / o.groups, size[0], size[1]};
  if (snt_check_shape(4, shape, name) < 0) return -1;
  sno_want(c, 0, (sn_dtype)c->in[0]->dtype, 4, shape);
  return reserve(c, &s, SNK_CONV_WEIGHT);
}

static snk_conv_shape shape_of_weight(const sno_call *c) {
  options o = options_at(c->attr, 1, false);
  const snt_tensor *w = c->out[0];
  int64_t x[4];
  planes(c->in[0], 2, x);
  return shape_for(c, x, w->shape[0], w->shape[2], w->shape[3], &o);
}

static bool halved_weight(sno_call *c, int k) {
  const snk_conv_shape s = shape_of_weight(c);
  return k < 2 && snk_conv_narrow(&s, SNK_CONV_WEIGHT, k == 1);
}

static void forward_weight(sno_call *c) {
  snk_conv_shape s = shape_of_weight(c);
  s.narrow_x = narrow(c->in[0]), s.narrow_y = narrow(c->in[1]);
  snk_conv_backward_weight(&s, snt_data(c->in[0]), snt_data(c->in[1]), snt_data(c->out[0]), c->scratch);
}

static int back_weight(sno_back *b) {
  options o = options_at(b->attr, 1, false);
  const sno_out *x = &b->in_spec[0];
  if (b->want[0] && (b->gx[0] = conv_input(b->in[1], b->gy[0], x->shape[x->ndim - 2], x->shape[x->ndim - 1], &o)) == NULL) return -1;
  if (b->want[1] && (b->gx[1] = conv(b->in[0], b->gy[0], &o)) == NULL) return -1;
  return 0;
}

/*** conv2d_backward_weight(x, gy, size, {stride=1, padding=0, dilation=1, groups=1})
 * The gradient of conv2d's weight, whose kernel has height and width `size`. Images are summed in fixed runs, the runs in order.
 * @math \bar w_{ocrs} = \sum_{nij} \bar y_{noij}\, x_{n,c,\,is+rd-p,\,js+sd-p}
 * @grad \bar x = \mathrm{conv2d\_backward\_input}(\bar y, \bar{\bar w}), \quad \bar{\bar y} = \mathrm{conv2d}(x, \bar{\bar w})
 * @see conv2d
 */
const sno_op sno_op_conv2d_backward_weight = {
    .name = "conv2d_backward_weight", .args = "x gy size:int2 stride:int2=1 padding:int2=0 dilation:int2=1 groups:int=1", .flops = flops_weight,
    .flags = SNO_HALVES | SNO_CONTIG | SNO_HIDDEN, .nout = 1, .save_in = 3, .infer = infer_weight, .forward = forward_weight, .backward = back_weight, .halved = halved_weight,
    .samples = "f(2,3,5,4), f(2,2,3,3), {3,2}", .wrong = "f(2,3,5,4), f(2,2,3,2), {3,2} => the gradient is"};

/* ---- the transposed convolution: the gradient of the input under its own name */

static options options_transposed(const sno_val *attr) {
  options o = {.groups = attr[3].i};
  for (int d = 0; d < 2; d++) o.stride[d] = attr[0].v[d], o.pad[d] = attr[1].v[d], o.dilation[d] = attr[4].v[d];
  return o;
}

/* The shape of the convolution whose input the result is. */
static int transposed(const sno_call *c, snk_conv_shape *s) {
  const char *name = c->op->name;
  const snt_tensor *x = c->in[0], *w = c->in[1];
  options o = options_transposed(c->attr);
  int64_t v[4], size[4];
  planes(x, 2, v);
  if (w->ndim != 4) return sn_fail("%s: wants a weight of 4 dimensions (in x out/groups x kernel), got %s", name, SNT_SHAPE(w));
  if (check_options(name, &o) < 0) return -1;
  if (v[1] != w->shape[0])
    return sn_fail("%s: input has %lld channels, weight wants %lld (input %s, weight %s)", name, (long long)v[1], (long long)w->shape[0],
                   SNT_SHAPE(x), SNT_SHAPE(w));
  size[0] = v[0], size[1] = w->shape[1] * o.groups;
  for (int d = 0; d < 2; d++) {
    int64_t extra = c->attr[2].v[d];
    if (extra < 0 || extra >= o.stride[d])
      return sn_fail("%s: output_padding %lld must be from 0 to below the stride, %lld", name, (long long)extra, (long long)o.stride[d]);
    if (v[2 + d] > (int64_t)1 << 31) return sn_fail("%s: input %s is too large", name, SNT_SHAPE(x));
    size[2 + d] = (v[2 + d] - 1) * o.stride[d] - 2 * o.pad[d] + (w->shape[2 + d] - 1) * o.dilation[d] + extra + 1;
    if (v[2 + d] < 1 || size[2 + d] < 1)
      return sn_fail("%s: nothing would be left of input %s (weight %s, padding %lld)", name, SNT_SHAPE(x), SNT_SHAPE(w), (long long)o.pad[d]);
  }
  return check(c, &o, 2, size, w, SNT_SHAPE(x), s);
}

static int infer_transpose(sno_call *c) {
  snk_conv_shape s;
  if (check_tensors(c, 2, 1) < 0 || transposed(c, &s) < 0 || check_bias(c, s.groups * s.ci) < 0) return -1;
  if (want(c, 0, 2, s.groups * s.ci, s.y.in, s.x.in) < 0) return -1;
  return reserve(c, &s, SNK_CONV_INPUT);
}

static void forward_transpose(sno_call *c) {
  snk_conv_shape s;
  if (transposed(c, &s) < 0) return; /* it passed in infer */
  snk_conv_backward_input(&s, snt_data(c->in[0]), snt_data(c->in[1]), c->in[2] ? snt_data(c->in[2]) : NULL, snt_data(c->out[0]), c->scratch);
}

static int back_transpose(sno_back *b) {
  options o = options_transposed(b->attr);
  const sno_out *w = &b->in_spec[1];
  snt_tensor *g = b->gy[0];
  if (b->want[0] && (b->gx[0] = conv(g, b->in[1], &o)) == NULL) return -1;
  if (b->want[1] && (b->gx[1] = conv_weight(g, b->in[0], w->shape[2], w->shape[3], &o)) == NULL) return -1;
  if (b->want[2] && (b->gx[2] = conv_bias(g, 2, w->shape[1] * o.groups)) == NULL) return -1;
  return 0;
}

/*** conv_transpose2d(x, weight, bias?, {stride=1, padding=0, output_padding=0, groups=1, dilation=1})
 * The transposed convolution: every place of the input adds its multiple of the kernel to the result. x is n x c x h x w (or c x h x w), weight
 * c x out/groups x kh x kw, bias out; the height becomes (h - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1.
 * Errors: channels that do not match, an output_padding that is not below the stride, padding that leaves nothing.
 * @math y_{n,o,\,is+rd-p,\,js+sd-p} = b_o + \sum_{c} w_{cors}\, x_{ncij}
 * @grad \bar x = \mathrm{conv2d}(\bar y, w), \quad \bar w = \mathrm{conv2d\_backward\_weight}(\bar y, x), \quad \bar b_o = \sum_{nij} \bar y_{noij}
 * @see conv2d
 */
const sno_op sno_op_conv_transpose2d = {
    .name = "conv_transpose2d", .args = "x weight bias? stride:int2=1 padding:int2=0 output_padding:int2=0 groups:int=1 dilation:int2=1", .flops = flops_input,
    .flags = SNO_LOW | SNO_HALVES | SNO_CONTIG, .nout = 1, .save_in = 3, .infer = infer_transpose, .forward = forward_transpose, .backward = back_transpose,
    .samples = "f(2,3,3,4), f(3,2,3,2), f(2); f(1,2,3,3), f(2,2,3,3), f(2), {stride=2, padding=1, output_padding=1};"
             " f(1,4,2,3), f(4,1,2,2), {stride={3,2}, groups=2, dilation=2};"
               " f(2,3,3), f(2,1,2,2), {padding=1}",
    .wrong = "f(1,3,3,3), f(2,1,2,2) => input has 3 channels, weight wants 2; f(1,1,3,3), f(1,1,2,2), {output_padding=1} => output_padding;"
             " f(1,1,1,1), f(1,1,1,1), {padding=1} => nothing would be left; f(1,1,3,3), f(1,2,2,2), f(1) => bias;"
             " f(3,3), f(1,1,2,2) => n x c x h x w"};
