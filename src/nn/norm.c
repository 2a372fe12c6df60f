/* norm.c - normalisation: over the batch for each channel (BatchNorm), over a sample's last dimensions (LayerNorm). */
#include <stdio.h>
#include "base/error.h"
#include "nn/nn.h"

extern const snn_class snn_class_BatchNorm2d;

static int init_norm(snn_obj *o) {
  if (!(snn_number(o, "epsilon") > 0)) return sn_fail("%s: epsilon is %g; it wants to be above 0", o->cls->name, snn_number(o, "epsilon"));
  return 0;
}

/* ---- BatchNorm */

static int init_batch(snn_obj *o) {
  const double m = snn_number(o, "momentum");
  if (!(m >= 0 && m <= 1)) return sn_fail("%s: momentum is %g; it is the share of the newest batch in the averages, from 0 to 1", o->cls->name, m);
  const sno_val *n = snn_arg(o, "num_features");
  if (!n->absent && n->i < 1) return sn_fail("%s: num_features is %lld; it wants to be at least 1", o->cls->name, (long long)n->i);
  return init_norm(o);
}

static int build_batch(snn_obj *o, const snn_shape *in, snn_shape *out) {
  const bool images = o->cls == &snn_class_BatchNorm2d;
  (void)out;
  if (images ? in->ndim != 3 : in->ndim != 1 && in->ndim != 2)
    return sn_fail("input is %s; %s wants %s", SNN_SHAPE(in), o->cls->name, images ? "channels x height x width" : "features, or channels x length");
  const sno_val *said = snn_arg(o, "num_features");
  const int64_t n = in->d[0], want = o->nslot ? snt_numel(o->slot[0].t) : said->absent ? n : said->i;
  if (n != want) return sn_fail("input has %lld channels, this layer is for %lld", (long long)n, (long long)want);
  int k = 0;
  if (snn_flag(o, "affine")) {
    if (snn_slot_new(o, k++, "weight", true, 1, &n, NULL, "One") < 0) return -1;
    if (snn_slot_new(o, k++, "bias", true, 1, &n, NULL, "Zero") < 0) return -1;
  }
  if (snn_slot_new(o, k++, "running_mean", false, 1, &n, NULL, "Zero") < 0) return -1;
  return snn_slot_new(o, k, "running_var", false, 1, &n, NULL, "One");
}

static snt_tensor *forward_batch(snn_obj *o, snt_tensor *x) {
  sno_depends(&o->base, &o->training);
  snt_tensor *in[5] = {x, snn_get_tensor(o, "weight"), snn_get_tensor(o, "bias"), snn_get_tensor(o, "running_mean"),
      snn_get_tensor(o, "running_var")};
  return snn_op("batch_norm", 5, in, SNN_OPTS({"training", sno_bool(o->training)}, {"momentum", *snn_arg(o, "momentum")},
      {"epsilon", *snn_arg(o, "epsilon")}));
}

static void describe_batch(const snn_obj *o, char *buf, size_t n) {
  if (o->nslot) snprintf(buf, n, "%lld", (long long)snt_numel(o->slot[0].t));
}

#define BATCH_CLASS                                                                                                                        \
  .family = SNN_LAYER, .slots = true, .args = "num_features:int? momentum:num=0.1 epsilon:num=1e-5 affine:bool=true inshape:ints?", .init = init_batch, \
  .build = build_batch, .forward = forward_batch, .describe = describe_batch

/*** BatchNorm1d(num_features?, {momentum=0.1, epsilon=1e-5, affine=true, inshape=})
 * Brings each feature (n x c) or channel (n x c x length) to mean 0 and variance 1 over the batch, then scales and shifts it. In training the
 * batch's own
 * mean and variance count and running averages are kept; after eval() the averages count. The number of features is inferred.
 * @math y = \gamma\, \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta, \quad \mu_r \leftarrow (1-m) \mu_r + m \mu
 * @grad \bar x = \frac{\gamma}{\sqrt{\sigma^2+\epsilon}} \left(\bar y - \mathrm{mean}(\bar y) - \hat x\, \mathrm{mean}(\bar y \hat x)\right)
 * @source Ioffe, Szegedy 2015
 * @see batch_norm
 */
const snn_class snn_class_BatchNorm1d = {.name = "BatchNorm1d", BATCH_CLASS};
/*** BatchNorm2d(num_features?, {momentum=0.1, epsilon=1e-5, affine=true, inshape=})
 * BatchNorm1d for images, n x c x height x width.
 * @math y = \gamma\, \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta, \quad \mu_r \leftarrow (1-m) \mu_r + m \mu
 * @grad \bar x = \frac{\gamma}{\sqrt{\sigma^2+\epsilon}} \left(\bar y - \mathrm{mean}(\bar y) - \hat x\, \mathrm{mean}(\bar y \hat x)\right)
 * @source Ioffe, Szegedy 2015
 * @see batch_norm
 */
const snn_class snn_class_BatchNorm2d = {.name = "BatchNorm2d", BATCH_CLASS};

/* ---- LayerNorm */

static int init_layer(snn_obj *o) {
  const sno_val *s = snn_arg(o, "shape");
  for (int i = 0; !s->absent && i < s->n; i++)
    if (s->v[i] < 1) return sn_fail("LayerNorm: shape has the size %lld; sizes are at least 1", (long long)s->v[i]);
  return init_norm(o);
}

static int build_layer(snn_obj *o, const snn_shape *in, snn_shape *out) {
  (void)out;
  const sno_val *s = snn_arg(o, "shape");
  const int n = s->absent ? 1 : s->n;
  if (in->ndim < n || in->ndim == 0) return sn_fail("input is %s; LayerNorm is over the last %d dimensions of a sample", SNN_SHAPE(in), n);
  const int64_t *last = in->d + in->ndim - n, *want = o->nslot ? o->slot[0].t->shape : s->absent ? last : s->v;
  for (int i = 0; i < n; i++)
    if (last[i] != want[i])
      return sn_fail("input is %s, LayerNorm is over %s", SNN_SHAPE(in), snt_shape_str(n, want, (char[96]){0}, 96));
  if (!snn_flag(o, "affine")) return 0;
  if (snn_slot_new(o, 0, "weight", true, n, last, NULL, "One") < 0) return -1;
  return snn_slot_new(o, 1, "bias", true, n, last, NULL, "Zero");
}

static snt_tensor *forward_layer(snn_obj *o, snt_tensor *x) {
  const sno_val *s = snn_arg(o, "shape");
  return snn_op("layer_norm", 3, (snt_tensor *[]){x, snn_get_tensor(o, "weight"), snn_get_tensor(o, "bias")},
                SNN_OPTS({"ndim", sno_int(s->absent ? 1 : s->n)}, {"epsilon", *snn_arg(o, "epsilon")}));
}

static void describe_layer(const snn_obj *o, char *buf, size_t n) {
  if (o->nslot) snprintf(buf, n, "%s", SNT_SHAPE(o->slot[0].t));
}

/*** LayerNorm({shape=, epsilon=1e-5, affine=true, inshape=})
 * Brings the last dimension of every sample (or the last ones, of sizes `shape`) to mean 0 and variance 1, then scales and shifts each element.
 * @math y = \gamma \odot \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta
 * @grad \bar x = \frac{1}{\sqrt{\sigma^2+\epsilon}} \left(g - \mathrm{mean}(g) - \hat x\, \mathrm{mean}(g \hat x)\right), \quad g = \gamma \odot \bar y
 * @source Ba, Kiros, Hinton 2016
 * @see layer_norm
 */
const snn_class snn_class_LayerNorm = {.name = "LayerNorm", .family = SNN_LAYER, .slots = true, .init = init_layer, .build = build_layer,
    .forward = forward_layer,
                                       .describe = describe_layer, .args = "shape:ints? epsilon:num=1e-5 affine:bool=true inshape:ints?"};
