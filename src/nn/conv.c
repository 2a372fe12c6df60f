/* conv.c - layers on images: convolution and pooling. A sample is channels x height x width. */
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "diff/ops.h"
#include "nn/nn.h"

static int check_image(const snn_shape *in, const char *what) {
  if (in->ndim == 3) return 0;
  if (in->ndim == 2)
    return sn_fail("input is %s; %s wants channels x height x width: X:unsqueeze(2) makes one channel, %lldx%lld images are 1x%lldx%lld",
        SNN_SHAPE(in), what,
                   (long long)in->d[0], (long long)in->d[1], (long long)in->d[0], (long long)in->d[1]);
  return sn_fail("input is %s; %s wants channels x height x width", SNN_SHAPE(in), what);
}

static const sno_val *find(const snn_obj *o, const char *name) {
  int n;
  const sno_arg *a = sno_parse_args(o->cls->args, &n);
  for (int i = 0; i < n; i++)
    if (strcmp(a[i].name, name) == 0) return snn_arg(o, name);
  return NULL;
}

static int64_t pair(const snn_obj *o, const char *name, int i, int64_t otherwise) {
  const sno_val *v = find(o, name);
  return v == NULL || v->absent ? otherwise : v->v[i];
}

static int check_pair(const snn_obj *o, const char *name, int64_t least) {
  for (int i = 0; i < 2; i++)
    if (pair(o, name, i, least) < least)
      return sn_fail("%s: %s is %lld; it wants to be at least %lld", o->cls->name, name, (long long)pair(o, name, i, least), (long long)least);
  return 0;
}

/* Size of a window's walk along one side; 0 after sn_fail. */
static int64_t walked(const snn_obj *o, const snn_shape *in, int i, int64_t kernel, int64_t stride, const char *what) {
  const int64_t size = in->d[1 + i], reach = pair(o, "dilation", i, 1) * (kernel - 1) + 1, room = size + 2 * pair(o, "padding", i, 0);
  if (room >= reach) return (room - reach) / stride + 1;
  sn_fail("input is %s, too small for a %s of %s %lld%s; padding or a smaller one would do", SNN_SHAPE(in), what, i ? "width" : "height",
      (long long)kernel,
          reach != kernel ? " with its dilation" : "");
  return 0;
}

/* ---- convolution */

static const char *kernels(const snn_obj *o) { return find(o, "nb_kernel") ? "nb_kernel" : "out_channels"; }

static int init_conv(snn_obj *o) {
  const int64_t n = snn_arg(o, kernels(o))->i, groups = snn_arg(o, "groups")->i;
  if (n < 1) return sn_fail("%s: %s is %lld; it wants to be at least 1", o->cls->name, kernels(o), (long long)n);
  if (groups < 1 || n % groups != 0) return sn_fail("%s: %lld kernels do not divide into %lld groups", o->cls->name, (long long)n, (long long)groups);
  if (check_pair(o, "kernel_size", 1) < 0 || check_pair(o, "stride", 1) < 0 || check_pair(o, "dilation", 1) < 0) return -1;
  return check_pair(o, "padding", 0);
}

static int build_conv(snn_obj *o, const snn_shape *in, snn_shape *out) {
  int bad = 0;
  const int64_t n = snn_arg(o, kernels(o))->i, groups = snn_arg(o, "groups")->i;
  const int64_t *k = snn_arg(o, "kernel_size")->v, *stride = snn_arg(o, "stride")->v;
  if (check_image(in, "a convolution") < 0 || (o->nslot == 0 && snn_check_inshape(o, in) < 0)) return -1;
  if (in->d[0] % groups != 0) return sn_fail("input has %lld channels, which do not divide into %lld groups", (long long)in->d[0], (long long)groups);
  if (o->nslot && o->slot[0].t->shape[1] * groups != in->d[0])
    return sn_fail("input has %lld channels, the kernels want %lld", (long long)in->d[0], (long long)(o->slot[0].t->shape[1] * groups));
  snn_obj *init = snn_arg_object(o, "init", SNN_INIT, &bad), *bias_init = snn_arg_object(o, "bias_init", SNN_INIT, &bad);
  if (bad) return -1;
  out->ndim = 3;
  out->d[0] = n;
  for (int i = 0; i < 2; i++)
    if ((out->d[1 + i] = walked(o, in, i, k[i], stride[i], "kernel")) == 0) return -1;
  if (snn_slot_new(o, 0, "weight", true, 4, (int64_t[]){n, in->d[0] / groups, k[0], k[1]}, init, "GlorotUniform") < 0) return -1;
  return snn_flag(o, "bias") ? snn_slot_new(o, 1, "bias", true, 1, &n, bias_init, "Zero") : 0;
}

snt_tensor *snn_conv_affine(snn_obj *o, snt_tensor *x) {
  return snn_op("conv2d", 3, (snt_tensor *[]){x, o->slot[0].t, o->nslot > 1 ? o->slot[1].t : NULL},
                SNN_OPTS({"stride", *snn_arg(o, "stride")}, {"padding", *snn_arg(o, "padding")}, {"dilation", *snn_arg(o, "dilation")},
                    {"groups", *snn_arg(o, "groups")}));
}

static snt_tensor *forward_conv(snn_obj *o, snt_tensor *x) {
  snt_tensor *y = snn_conv_affine(o, x);
  return y ? snn_activate(o, y) : NULL;
}

static void describe_conv(const snn_obj *o, char *buf, size_t n) {
  int bad = 0;
  char from[32] = "";
  const snn_obj *a = snn_arg_object(o, "activation", SNN_LAYER, &bad);
  const sno_val *said = snn_arg(o, "inshape");
  const int64_t *k = snn_arg(o, "kernel_size")->v;
  if (o->nslot) snprintf(from, sizeof from, "%lld ", (long long)(o->slot[0].t->shape[1] * snn_arg(o, "groups")->i));
  else if (!said->absent) snprintf(from, sizeof from, "%lld ", (long long)said->v[0]);
  snprintf(buf, n, "%s-> %lld, %lldx%lld%s%s", from, (long long)snn_arg(o, kernels(o))->i, (long long)k[0], (long long)k[1], a ? ", " : "",
      a ? snn_name(a) : "");
}

#define CONV_ARGS(kernels_, first_)                                                                                                                       \
  kernels_ ":int kernel_size:int2 " first_ " dilation:int2=1 groups:int=1 inshape:ints? activation:foreign? init:foreign? bias:bool=true bias_init:foreign?"
#define CONV_CLASS \
  .family = SNN_LAYER, .slots = true, .init = init_conv, .build = build_conv, .forward = forward_conv, .describe = describe_conv

/*** Convolution(nb_kernel, kernel_size, stride=1, {inshape=, activation=, init=sn.GlorotUniform(), padding=0, dilation=1, groups=1, bias=true, bias_init=sn.Zero()})
 * The original's name for Conv2d: nb_kernel kernels walk over images of channels x height x width. Sizes are a number or {height, width}.
 * @math y_{q,k} = f\left(b_k + \sum_c w_{k,c} \star x_{q,c}\right)
 * @grad \bar w_{k,c} = \sum_q \bar z_{q,k} \star x_{q,c}, \quad \bar b_k = \sum \bar z_{q,k}, \quad \bar z = \bar y \odot f'(z)
 * @see conv2d
 */
const snn_class snn_class_Convolution = {.name = "Convolution", CONV_CLASS, .args = CONV_ARGS("nb_kernel", "stride:int2=1 padding:int2=0")};

/*** Conv2d(out_channels, kernel_size, {stride=1, padding=0, dilation=1, groups=1, inshape=, activation=, init=sn.GlorotUniform(), bias=true, bias_init=sn.Zero()})
 * Convolution (as in all such networks, correlation) of images of channels x height x width; the number of input channels is inferred. Sizes are a
 * number or {height, width}.
 * @math y_{q,k} = f\left(b_k + \sum_c w_{k,c} \star x_{q,c}\right)
 * @grad \bar w_{k,c} = \sum_q \bar z_{q,k} \star x_{q,c}, \quad \bar b_k = \sum \bar z_{q,k}, \quad \bar z = \bar y \odot f'(z)
 * @see conv2d
 */
const snn_class snn_class_Conv2d = {.name = "Conv2d", CONV_CLASS, .args = CONV_ARGS("out_channels", "stride:int2=1 padding:int2=0")};

/* ---- pooling */

static int init_pool(snn_obj *o) {
  if (check_pair(o, "kernel_size", 1) < 0 || check_pair(o, "stride", 1) < 0 || check_pair(o, "padding", 0) < 0) return -1;
  for (int i = 0; i < 2; i++)
    if (pair(o, "padding", i, 0) * 2 > pair(o, "kernel_size", i, 1))
      return sn_fail("%s: padding %lld is more than half of the window, %lld", o->cls->name, (long long)pair(o, "padding", i, 0),
          (long long)pair(o, "kernel_size", i, 1));
  return 0;
}

static int build_pool(snn_obj *o, const snn_shape *in, snn_shape *out) {
  if (check_image(in, "pooling") < 0 || snn_check_inshape(o, in) < 0) return -1;
  out->ndim = 3;
  out->d[0] = in->d[0];
  for (int i = 0; i < 2; i++) {
    const int64_t k = pair(o, "kernel_size", i, 1);
    if ((out->d[1 + i] = walked(o, in, i, k, pair(o, "stride", i, k), "window")) == 0) return -1;
  }
  return 0;
}

static snt_tensor *pool(snn_obj *o, snt_tensor *x, const char *op) {
  const sno_val *k = snn_arg(o, "kernel_size"), *stride = snn_arg(o, "stride");
  return snn_op(op, SNO_IN(x), SNN_OPTS({"kernel_size", *k}, {"stride", stride->absent ? *k : *stride}, {"padding", *snn_arg(o, "padding")}));
}

static snt_tensor *forward_max(snn_obj *o, snt_tensor *x) { return pool(o, x, "max_pool2d"); }
static snt_tensor *forward_mean(snn_obj *o, snt_tensor *x) { return pool(o, x, "avg_pool2d"); }

static void describe_pool(const snn_obj *o, char *buf, size_t n) {
  snprintf(buf, n, "%lldx%lld", (long long)pair(o, "kernel_size", 0, 1), (long long)pair(o, "kernel_size", 1, 1));
}

#define POOL(name_, forward_)                                                                                                            \
  const snn_class snn_class_##name_ = {.name = #name_, .family = SNN_LAYER, .args = "kernel_size:int2 stride:int2? padding:int2=0 inshape:ints?", \
                                       .init = init_pool, .build = build_pool, .forward = forward_, .describe = describe_pool};

/*** MeanPooling(kernel_size, stride=kernel_size, {padding=0, inshape=})
 * The original's name for AvgPool2d: the mean of every window.
 * @math y_{i,j} = \frac{1}{hw} \sum_{a<h,\,b<w} x_{is+a,\, js+b}
 * @grad \bar x_{u,v} = \frac{1}{hw} \sum_{\text{windows over } u,v} \bar y_{i,j}
 * @see avg_pool2d
 */
POOL(MeanPooling, forward_mean)
/*** AvgPool2d(kernel_size, {stride=kernel_size, padding=0})
 * The mean of every window of each channel.
 * @math y_{i,j} = \frac{1}{hw} \sum_{a<h,\,b<w} x_{is+a,\, js+b}
 * @grad \bar x_{u,v} = \frac{1}{hw} \sum_{\text{windows over } u,v} \bar y_{i,j}
 * @see avg_pool2d
 */
POOL(AvgPool2d, forward_mean)
/*** MaxPool2d(kernel_size, {stride=kernel_size, padding=0})
 * The largest number of every window of each channel.
 * @math y_{i,j} = \max_{a<h,\,b<w} x_{is+a,\, js+b}
 * @grad \bar x_{u,v} = \sum_{\text{windows whose first maximum is } u,v} \bar y_{i,j}
 * @see max_pool2d
 */
POOL(MaxPool2d, forward_max)

static int init_adaptive(snn_obj *o) { return check_pair(o, "output_size", 1); }

static int build_adaptive(snn_obj *o, const snn_shape *in, snn_shape *out) {
  if (check_image(in, "pooling") < 0 || snn_check_inshape(o, in) < 0) return -1;
  *out = *in;
  for (int i = 0; i < 2; i++) out->d[1 + i] = pair(o, "output_size", i, 1);
  return 0;
}

static snt_tensor *forward_adaptive(snn_obj *o, snt_tensor *x) {
  return snn_op("adaptive_avg_pool2d", SNO_IN(x), SNN_OPTS({"size", *snn_arg(o, "output_size")}));
}

static void describe_adaptive(const snn_obj *o, char *buf, size_t n) {
  snprintf(buf, n, "%lldx%lld", (long long)pair(o, "output_size", 0, 1), (long long)pair(o, "output_size", 1, 1));
}

/*** AdaptiveAvgPool2d(output_size, {inshape=})
 * Means of windows that cover images of any size with a result of `output_size` (a number or {height, width}); with 1 the mean of each channel.
 * @math y_{ij} = \frac{1}{|W_{ij}|} \sum_{(u,v) \in W_{ij}} x_{uv}
 * @grad \bar x_{uv} = \sum_{ij:\,(u,v) \in W_{ij}} \bar y_{ij} / |W_{ij}|
 * @see adaptive_avg_pool2d
 */
const snn_class snn_class_AdaptiveAvgPool2d = {.name = "AdaptiveAvgPool2d", .family = SNN_LAYER, .args = "output_size:int2 inshape:ints?", .init = init_adaptive,
                                               .build = build_adaptive, .forward = forward_adaptive, .describe = describe_adaptive};
