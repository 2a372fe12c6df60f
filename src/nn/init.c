/* init.c - initialisers: what weights are before training. They fill a tensor in place by operations, so the default generator decides. */
#include <math.h>
#include <stdio.h>
#include "base/error.h"
#include "diff/map.h"
#include "nn/nn.h"

/* Of out x in (x kernel): what one output adds up, and how many outputs one input reaches. */
void snn_fans(const snt_tensor *w, double *in, double *out) {
  if (w->ndim < 2) {
    *in = *out = (double)snt_numel(w);
    return;
  }
  double area = 1;
  for (int i = 2; i < w->ndim; i++) area *= (double)w->shape[i];
  *in = (double)w->shape[1] * area;
  *out = (double)w->shape[0] * area;
}

int snn_fill(snn_obj *init, snt_tensor *t, double fan_in, double fan_out) {
  if (init->cls->fill == NULL) return sn_fail("%s is no initialiser", snn_name(init));
  if (!sn_is_float((sn_dtype)t->dtype)) return sn_fail("%s: wants a floating tensor to fill, got %s", init->cls->name, sn_dtypes[t->dtype].name);
  sno_mode *mode = sno_mode_now();
  const bool grad = mode->grad;
  mode->grad = false; /* a leaf is filled, not computed */
  const size_t mark = sno_scope_open();
  const int rc = init->cls->fill(init, t, fan_in > 0 ? fan_in : 1, fan_in + fan_out > 0 ? fan_out : 1);
  sno_scope_close(mark);
  mode->grad = grad;
  return rc;
}

static int fill(snt_tensor *t, double v) {
  const sno_val a = sno_num(v);
  return sno_run(&sno_op_fill_, 1, &t, 1, &a) ? 0 : -1;
}
static int uniform(snt_tensor *t, double lo, double hi) {
  return snn_op("uniform_", SNO_IN(t), SNN_OPTS({"lo", sno_num(lo)}, {"hi", sno_num(hi)})) ? 0 : -1;
}
static int normal(snt_tensor *t, double mean, double std) {
  return snn_op("normal_", SNO_IN(t), SNN_OPTS({"mean", sno_num(mean)}, {"std", sno_num(std)})) ? 0 : -1;
}

#define INIT(name_, args_, body)                                                                 \
  static int fill_##name_(snn_obj *o, snt_tensor *t, double in, double out) {                    \
    (void)o, (void)in, (void)out;                                                                \
    return body;                                                                                 \
  }                                                                                              \
  const snn_class snn_class_##name_ = {.name = #name_, .family = SNN_INIT, .args = args_, .fill = fill_##name_};
#define ARG(name) snn_number(o, name)

/*** Zero()
 * All zeros.
 * @math w = 0
 */
INIT(Zero, "", fill(t, 0))
/*** One()
 * All ones.
 * @math w = 1
 */
INIT(One, "", fill(t, 1))
/*** Constant(value)
 * All the same number.
 * @math w = c
 */
INIT(Constant, "value:num", fill(t, ARG("value")))
/*** Uniform({lo=-0.05, hi=0.05})
 * Evenly between two bounds.
 * @math w \sim U(\mathrm{lo}, \mathrm{hi})
 */
INIT(Uniform, "lo:num=-0.05 hi:num=0.05", uniform(t, ARG("lo"), ARG("hi")))
/*** Normal({mean=0, std=0.05})
 * Normal numbers.
 * @math w \sim N(\mu, \sigma^2)
 */
INIT(Normal, "mean:num=0 std:num=0.05", normal(t, ARG("mean"), ARG("std")))
/*** LecunUniform({gain=1})
 * Uniform numbers of variance 1/in.
 * @math w \sim U(-l, l), \quad l = g \sqrt{3/n_{in}}
 * @source LeCun, Bottou, Orr, Müller 1998
 */
INIT(LecunUniform, "gain:num=1", uniform(t, -ARG("gain") * sqrt(3 / in), ARG("gain") * sqrt(3 / in)))
/*** LecunNormal({gain=1})
 * Normal numbers of variance 1/in.
 * @math w \sim N(0, g^2/n_{in})
 * @source LeCun, Bottou, Orr, Müller 1998
 */
INIT(LecunNormal, "gain:num=1", normal(t, 0, ARG("gain") * sqrt(1 / in)))
/*** GlorotUniform({gain=1})
 * Uniform numbers of variance 2/(in+out); what Dense and the convolutions use when told nothing.
 * @math w \sim U(-l, l), \quad l = g \sqrt{6/(n_{in}+n_{out})}
 * @source Glorot, Bengio 2010
 */
INIT(GlorotUniform, "gain:num=1", uniform(t, -ARG("gain") * sqrt(6 / (in + out)), ARG("gain") * sqrt(6 / (in + out))))
/*** GlorotNormal({gain=1})
 * Normal numbers of variance 2/(in+out).
 * @math w \sim N(0, 2 g^2/(n_{in}+n_{out}))
 * @source Glorot, Bengio 2010
 */
INIT(GlorotNormal, "gain:num=1", normal(t, 0, ARG("gain") * sqrt(2 / (in + out))))
/*** HeUniform({gain=1})
 * Uniform numbers of variance 2/in, for layers before a relu.
 * @math w \sim U(-l, l), \quad l = g \sqrt{6/n_{in}}
 * @source He, Zhang, Ren, Sun 2015
 */
INIT(HeUniform, "gain:num=1", uniform(t, -ARG("gain") * sqrt(6 / in), ARG("gain") * sqrt(6 / in)))
/*** HeNormal({gain=1})
 * Normal numbers of variance 2/in, for layers before a relu.
 * @math w \sim N(0, 2 g^2/n_{in})
 * @source He, Zhang, Ren, Sun 2015
 */
INIT(HeNormal, "gain:num=1", normal(t, 0, ARG("gain") * sqrt(2 / in)))
