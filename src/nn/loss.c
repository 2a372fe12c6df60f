/* loss.c - losses: loss(prediction, target) is a number, the mean over the batch unless reduction says otherwise. */
#include <string.h>
#include "base/error.h"
#include "nn/nn.h"

snt_tensor *snn_loss(snn_obj *o, snt_tensor *pred, snt_tensor *target) {
  if (pred == NULL || target == NULL) return NULL;
  if (o->cls->loss == NULL) {
    sn_fail("%s is no loss", snn_name(o));
    return NULL;
  }
  return o->cls->loss(o, pred, target);
}

const char *snn_loss_head(const snn_obj *loss) { return loss->cls->head; }

snt_tensor *snn_loss_logits(snn_obj *o, snt_tensor *logits, snt_tensor *target) {
  if (logits == NULL || target == NULL) return NULL;
  if (o->cls->logits == NULL) {
    sn_fail("%s is not computed from logits; call it with the prediction", snn_name(o));
    return NULL;
  }
  return o->cls->logits(o, logits, target);
}

#define REDUCTION " reduction:str(mean|sum|none)=mean"
#define ARG(name) {name, *snn_arg(o, name)}

static int init_epsilon(snn_obj *o) {
  const double e = snn_number(o, "epsilon");
  return e >= 0 && e < 0.5 ? 0 : sn_fail("%s: epsilon is %g; it wants to be from 0 to below 0.5", o->cls->name, e);
}

/* ---- values */

#define PLAIN(name_, op_)                                                                                \
  static snt_tensor *loss_##name_(snn_obj *o, snt_tensor *x, snt_tensor *t) {                            \
    return snn_op(op_, SNO_IN(x, t), SNN_OPTS(ARG("reduction")));                                        \
  }                                                                                                      \
  const snn_class snn_class_##name_ = {.name = #name_, .family = SNN_LOSS, .args = "reduction:str(mean|sum|none)=mean", .loss = loss_##name_};

/*** MSE({reduction="mean"})
 * The mean squared error.
 * @math L = \frac{1}{n} \sum_i (x_i - t_i)^2
 * @grad \bar x_i = \bar L\, \frac{2}{n} (x_i - t_i)
 * @see mse_loss
 */
PLAIN(MSE, "mse_loss")
/*** L1({reduction="mean"})
 * The mean absolute error.
 * @math L = \frac{1}{n} \sum_i |x_i - t_i|
 * @grad \bar x_i = \bar L\, \frac{1}{n} \mathrm{sign}(x_i - t_i)
 * @see l1_loss
 */
PLAIN(L1, "l1_loss")
/*** BCEWithLogits({reduction="mean"})
 * Binary cross entropy of sigmoid(x), computed from x without overflow.
 * @math L = \frac{1}{n} \sum_i \max(x_i, 0) - x_i t_i + \ln(1 + e^{-|x_i|})
 * @grad \bar x_i = \bar L\, \frac{1}{n} (\sigma(x_i) - t_i)
 * @see bce_with_logits
 */
PLAIN(BCEWithLogits, "bce_with_logits")

static int init_huber(snn_obj *o) {
  return snn_number(o, "delta") > 0 ? 0 : sn_fail("Huber: delta is %g; it wants to be above 0", snn_number(o, "delta"));
}

static snt_tensor *loss_huber(snn_obj *o, snt_tensor *x, snt_tensor *t) {
  return snn_op("huber_loss", SNO_IN(x, t), SNN_OPTS(ARG("delta"), ARG("reduction")));
}

/*** Huber({delta=1, reduction="mean"})
 * Squared for small errors, absolute for large ones.
 * @math L = \frac{1}{n} \sum_i h(x_i - t_i), \quad h(e) = \tfrac12 e^2\ (|e| \le \delta),\ \delta(|e| - \tfrac12 \delta)\ (|e| > \delta)
 * @grad \bar x_i = \bar L\, \frac{1}{n} \max(-\delta, \min(\delta, x_i - t_i))
 * @source Huber 1964
 * @see huber_loss
 */
const snn_class snn_class_Huber = {.name = "Huber", .family = SNN_LOSS, .args = "delta:num=1" REDUCTION, .init = init_huber, .loss = loss_huber};

/* ---- two classes */

static snt_tensor *loss_binary(snn_obj *o, snt_tensor *x, snt_tensor *t) {
  return snn_op("binary_cross_entropy", SNO_IN(x, t), SNN_OPTS(ARG("epsilon"), ARG("reduction")));
}

static snt_tensor *logits_binary(snn_obj *o, snt_tensor *x, snt_tensor *t) {
  return snn_op("bce_with_logits", SNO_IN(x, t), SNN_OPTS(ARG("reduction")));
}

/*** BinaryCrossEntropy({epsilon=1e-7, reduction="mean"})
 * Cross entropy of probabilities with targets from 0 to 1; probabilities are kept epsilon away from 0 and 1. After a final Sigmoid, Model
 * computes it from the sigmoid's input, which is exact.
 * @math L = -\frac{1}{n} \sum_i t_i \ln p_i + (1 - t_i) \ln(1 - p_i)
 * @grad \bar p_i = \bar L\, \frac{1}{n} \frac{p_i - t_i}{p_i (1 - p_i)}
 * @see binary_cross_entropy
 */
const snn_class snn_class_BinaryCrossEntropy = {.name = "BinaryCrossEntropy", .family = SNN_LOSS, .args = "epsilon:num=1e-7" REDUCTION,
    .head = "Sigmoid",
                                                .init = init_epsilon, .loss = loss_binary, .logits = logits_binary};

/* ---- many classes */

static snt_tensor *loss_categorical(snn_obj *o, snt_tensor *x, snt_tensor *t) {
  return snn_op("categorical_cross_entropy", SNO_IN(x, t), SNN_OPTS(ARG("epsilon"), ARG("reduction"), ARG("base")));
}

static snt_tensor *logits_categorical(snn_obj *o, snt_tensor *x, snt_tensor *t) {
  return snn_op("cross_entropy", 3, (snt_tensor *[]){x, t, NULL}, SNN_OPTS(ARG("reduction"), ARG("base")));
}

/*** SoftmaxCategoricalCrossEntropy({epsilon=1e-7, reduction="mean"})
 * Cross entropy of the probabilities that a softmax gave, with class numbers (from 1) or rows of probabilities as targets. After a final Softmax,
 * Model
 * computes it from the softmax's input, which is exact.
 * @math L = -\frac{1}{n} \sum_i \ln p_{i, t_i}
 * @grad \bar p_{i,c} = -\bar L\, \frac{1}{n} \frac{[c = t_i]}{p_{i,c}}
 * @see categorical_cross_entropy
 */
const snn_class snn_class_SoftmaxCategoricalCrossEntropy = {
    .name = "SoftmaxCategoricalCrossEntropy", .family = SNN_LOSS, .args = "epsilon:num=1e-7" REDUCTION " base:base", .head = "Softmax",
        .init = init_epsilon,
    .loss = loss_categorical, .logits = logits_categorical};

static int init_cross(snn_obj *o) {
  const double s = snn_number(o, "label_smoothing");
  return s >= 0 && s <= 1 ? 0 : sn_fail("CrossEntropy: label_smoothing is %g; it wants to be from 0 to 1", s);
}

static snt_tensor *loss_cross(snn_obj *o, snt_tensor *x, snt_tensor *t) {
  return snn_op("cross_entropy", 3, (snt_tensor *[]){x, t, snn_get_tensor(o, "weight")},
                SNN_OPTS(ARG("ignore_index"), ARG("label_smoothing"), ARG("reduction"), ARG("base")));
}

/*** CrossEntropy({weight=, ignore_index=, label_smoothing=0, reduction="mean"})
 * Cross entropy of softmax(x), computed from x. Targets are class numbers (from 1) or rows of probabilities; `weight` is one number for each class;
 * targets equal to ignore_index do not count.
 * @math L = -\frac{1}{n} \sum_i \left(x_{i,t_i} - \ln \sum_c e^{x_{i,c}}\right)
 * @grad \bar x_{i,c} = \bar L\, \frac{1}{n} \left(\mathrm{softmax}(x_i)_c - [c = t_i]\right)
 * @see cross_entropy
 */
const snn_class snn_class_CrossEntropy = {.name = "CrossEntropy", .family = SNN_LOSS, .init = init_cross, .loss = loss_cross,
                                          .args = "weight? ignore_index:int? label_smoothing:num=0" REDUCTION " base:base"};

static snt_tensor *loss_nll(snn_obj *o, snt_tensor *x, snt_tensor *t) {
  return snn_op("nll_loss", 3, (snt_tensor *[]){x, t, snn_get_tensor(o, "weight")}, SNN_OPTS(ARG("ignore_index"), ARG("reduction"), ARG("base")));
}

/*** NLL({weight=, ignore_index=, reduction="mean"})
 * Cross entropy of logarithms of probabilities, such as LogSoftmax gives. The arguments are those of CrossEntropy.
 * @math L = -\frac{1}{n} \sum_i x_{i,t_i}
 * @grad \bar x_{i,c} = -\bar L\, \frac{1}{n} [c = t_i]
 * @see nll_loss
 */
const snn_class snn_class_NLL = {.name = "NLL", .family = SNN_LOSS, .loss = loss_nll, .args = "weight? ignore_index:int?" REDUCTION " base:base"};
