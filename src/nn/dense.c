/* dense.c - the fully connected layer, and the small layers without weights: Dropout and Flatten. */
#include <stdio.h>
#include "base/error.h"
#include "diff/ops.h"
#include "nn/nn.h"

/* ---- Dense */

static int init_dense(snn_obj *o) {
  if (snn_arg(o, "units")->i < 1) return sn_fail("Dense: units is %lld; a layer has at least one", (long long)snn_arg(o, "units")->i);
  return 0;
}

static int build_dense(snn_obj *o, const snn_shape *in, snn_shape *out) {
  int bad = 0;
  if (in->ndim == 0) return sn_fail("input has no features; it wants samples along the first dimension and features along the last");
  const sno_val *said = snn_arg(o, "inshape");
  const int64_t units = snn_arg(o, "units")->i, features = in->d[in->ndim - 1];
  if (!said->absent && said->v[said->n - 1] != features)
    return sn_fail("input has %lld features, inshape says %lld; inshape = %lld would fit", (long long)features, (long long)said->v[said->n - 1],
        (long long)features);
  if (o->nslot && o->slot[0].t->shape[1] != features)
    return sn_fail("input has %lld features, the weights want %lld", (long long)features, (long long)o->slot[0].t->shape[1]);
  snn_obj *init = snn_arg_object(o, "init", SNN_INIT, &bad), *bias_init = snn_arg_object(o, "bias_init", SNN_INIT, &bad);
  if (bad || snn_slot_new(o, 0, "weight", true, 2, (int64_t[]){units, features}, init, "GlorotUniform") < 0) return -1;
  if (snn_flag(o, "bias") && snn_slot_new(o, 1, "bias", true, 1, &units, bias_init, "Zero") < 0) return -1;
  *out = *in;
  out->d[in->ndim - 1] = units;
  return 0;
}

static snt_tensor *affine(snn_obj *o, snt_tensor *x) {
  return sno_run(&sno_op_linear, 3, (snt_tensor *[]){x, o->slot[0].t, o->nslot > 1 ? o->slot[1].t : NULL}, 0, NULL);
}

static snt_tensor *forward_dense(snn_obj *o, snt_tensor *x) {
  snt_tensor *y = affine(o, x);
  return y ? snn_activate(o, y) : NULL;
}

static void describe_dense(const snn_obj *o, char *buf, size_t n) {
  int bad = 0;
  char from[32] = "";
  const snn_obj *a = snn_arg_object(o, "activation", SNN_LAYER, &bad);
  const sno_val *said = snn_arg(o, "inshape");
  if (o->nslot) snprintf(from, sizeof from, "%lld ", (long long)o->slot[0].t->shape[1]);
  else if (!said->absent) snprintf(from, sizeof from, "%lld ", (long long)said->v[said->n - 1]);
  snprintf(buf, n, "%s-> %lld%s%s", from, (long long)snn_arg(o, "units")->i, a ? ", " : "", a ? snn_name(a) : "");
}

/*** Dense(units, {inshape=, activation=, init=sn.GlorotUniform(), bias=true, bias_init=sn.Zero(), name=})
 * A fully connected layer on the last dimension: n x in gives n x units. The weight is units x in. `activation` is a layer such as sn.ReLU() or its
 * name, "relu"; `inshape` is the number of features of a sample, needed once in a network.
 * @math y = f(x\, W^T + b)
 * @grad \bar z = \bar y \odot f'(z), \quad \bar x = \bar z\, W, \quad \bar W = \bar z^T x, \quad \bar b = \sum \bar z
 * @see linear
 */
const snn_class snn_class_Dense = {
    .name = "Dense", .family = SNN_LAYER, .slots = true, .init = init_dense, .build = build_dense, .forward = forward_dense,
        .describe = describe_dense,
    .args = "units:int inshape:ints? activation:foreign? init:foreign? bias:bool=true bias_init:foreign?"};

snt_tensor *snn_dense_affine(snn_obj *o, snt_tensor *x) { return affine(o, x); }

/* ---- Dropout */

static int init_dropout(snn_obj *o) {
  const double p = snn_number(o, "p");
  return p >= 0 && p <= 1 ? 0 : sn_fail("Dropout: p is %g; it is the share that is dropped, from 0 to 1", p);
}

static snt_tensor *forward_dropout(snn_obj *o, snt_tensor *x) {
  sno_depends(&o->base, &o->training);
  if (!o->training || snn_number(o, "p") == 0.0) return x;
  return snn_op("dropout", SNO_IN(x), SNN_OPTS({"p", *snn_arg(o, "p")}, {"training", sno_bool(true)}));
}

static void describe_dropout(const snn_obj *o, char *buf, size_t n) { snprintf(buf, n, "%g", snn_number(o, "p")); }

/*** Dropout(p=0.5)
 * In training sets a share p of the elements to zero, at random, and scales the others by 1/(1-p); after eval() gives its input back as it is.
 * @math y = x \odot m / (1-p), \quad m_i \sim \mathrm{Bernoulli}(1-p)
 * @grad \bar x = \bar y \odot m / (1-p)
 * @source Srivastava et al. 2014
 * @see dropout
 */
const snn_class snn_class_Dropout = {.name = "Dropout", .family = SNN_LAYER, .args = "p:num=0.5 inshape:ints?", .init = init_dropout,
    .forward = forward_dropout,
                                     .describe = describe_dropout};

/* ---- Flatten */

static int build_flatten(snn_obj *o, const snn_shape *in, snn_shape *out) {
  if (snn_check_inshape(o, in) < 0) return -1;
  out->ndim = 1;
  out->d[0] = snt_count(in->ndim, in->d);
  return 0;
}

static snt_tensor *forward_flatten(snn_obj *o, snt_tensor *x) {
  (void)o;
  if (x->ndim == 2) return x;
  int64_t each = 1;
  for (int i = 1; i < x->ndim; i++) each *= x->shape[i];
  const sno_val size = sno_ints(2, (int64_t[]){x->ndim ? x->shape[0] : 1, each});
  return sno_run(&sno_op_reshape, 1, &x, 1, &size);
}

/*** Flatten()
 * Every sample as one row of numbers: n x c x h x w gives n x chw.
 * @math y_{i,j} = x_{i,\,(j)}
 * @grad \bar x = \bar y \text{ in the shape of } x
 */
const snn_class snn_class_Flatten = {.name = "Flatten", .family = SNN_LAYER, .args = "inshape:ints?", .build = build_flatten,
    .forward = forward_flatten};
