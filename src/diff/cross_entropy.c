/* cross_entropy.c - losses over classes: from logits, log probabilities or probabilities, with targets that are class numbers or distributions. */
#include "calc/cross_entropy.h"
#include <float.h>
#include <math.h>
#include <string.h>
#include "base/error.h"
#include "calc/loss.h"
#include "diff/matmul.h"
#include "diff/ops.h"
#include "diff/tape.h"

enum { IGNORE, SMOOTHING, REDUCTION, BASE, EPSILON, KIND }; /* attributes, the last two not of all */
static const int logits = SNK_LOGITS, logp = SNK_LOGP, probs = SNK_PROBS;

static int kind_of(const sno_op *op, const sno_val *attr) { return op->data ? *(const int *)op->data : (int)attr[KIND].i; }
static bool reduces_to(const sno_val *attr, const char *word) { return strcmp(attr[REDUCTION].s, word) == 0; }
static int class_dim(int ndim) { return ndim == 1 ? 0 : 1; }

static int row_shape(int ndim, const int64_t *shape, int64_t *to) {
  int n = 0;
  for (int i = 0; i < ndim; i++)
    if (i != class_dim(ndim)) to[n++] = shape[i];
  return n;
}

/* ---- checks */

static int check_labels(const sno_call *c, const snt_tensor *t, int64_t classes) {
  const int64_t n = snt_numel(t), base = c->attr[BASE].i, last = base + classes - 1;
  const sn_dtype type = (sn_dtype)t->dtype;
  const bool floating = sn_is_float(type), ignores = !c->attr[IGNORE].absent, close = snt_is_contiguous(t);
  const char *first = snt_data(t);
  for (int64_t i = 0; i < n; i++) {
    const void *at = close ? first + i * (int64_t)sn_size_of(type) : snt_at(t, i);
    int64_t y;
    if (type == SN_I64) {
      y = *(const int64_t *)at;
    } else if (floating) {
      const double v = sn_load_double(at, type);
      if (!(v >= -0x1p62 && v <= 0x1p62) || v != floor(v))
        return sn_fail("%s: label %g at position %lld of the target is no class number; they are whole, from %lld to %lld", c->op->name,
            v == v ? v : (double)NAN, /* nan, not -nan */
                       (long long)(i + base), (long long)base, (long long)last);
      y = (int64_t)v;
    } else {
      y = sn_load_int(at, type);
    }
    if ((y < base || y > last) && !(ignores && y == c->attr[IGNORE].i))
      return sn_fail("%s: label %lld at position %lld of the target is outside %lld..%lld (%s is %s, so there are %lld classes)", c->op->name,
                     (long long)y, (long long)(i + base), (long long)base, (long long)last, sno_args(c->op, &(int){0})[0].name, SNT_SHAPE(c->in[0]),
                     (long long)classes);
  }
  return 0;
}

static int check_options(const sno_call *c) {
  const double s = c->attr[SMOOTHING].d;
  if (!(s >= 0 && s <= 1)) return sn_fail("%s: label_smoothing is %g; it must be from 0 to 1", c->op->name, s);
  if (kind_of(c->op, c->attr) != SNK_PROBS) return 0;
  const double e = c->attr[EPSILON].d;
  return e >= 0 && e < 0.5 ? 0 : sn_fail("%s: epsilon is %g; it must be from 0 to less than 0.5", c->op->name, e);
}

static int infer_class(sno_call *c) {
  const snt_tensor *x = c->in[0], *t = c->in[1], *w = c->in[2];
  const char *name = c->op->name;
  if (x->ndim == 0 || !sn_is_float((sn_dtype)x->dtype))
    return sn_fail("%s: wants floating numbers of shape n x classes (or n x classes x ...), got %s %s", name, sn_dtypes[x->dtype].name, SNT_SHAPE(x));
  if (check_options(c) < 0) return -1;
  int64_t rows[SNT_MAXDIM];
  const int n = row_shape(x->ndim, x->shape, rows);
  const int64_t classes = x->shape[class_dim(x->ndim)];
  if (w && (w->ndim != 1 || w->shape[0] != classes))
    return sn_fail("%s: weight is %s, but there are %lld classes; it wants one number for each", name, SNT_SHAPE(w), (long long)classes);
  if (w && sno_cast_input(c, 2, (sn_dtype)x->dtype) < 0) return -1;
  if (t->dtype != SN_BOOL && t->ndim == n && memcmp(t->shape, rows, (size_t)n * sizeof *rows) == 0) {
    if (check_labels(c, t, classes) < 0) return -1;
  } else if (snt_same_shape(t, x)) {
    if (sno_cast_input(c, 1, (sn_dtype)x->dtype) < 0) return -1;
  } else {
    return sn_fail("%s: target is %s %s, but goes with %s: class numbers of shape %s, or probabilities of shape %s", name, sn_dtypes[t->dtype].name,
                   SNT_SHAPE(t), SNT_SHAPE(x), snt_shape_str(n, rows, (char[96]){0}, 96), SNT_SHAPE(x));
  }
  const bool none = reduces_to(c->attr, "none");
  int64_t all = snt_count(n, rows);
  if (all < 0) all = 0;
  c->scratch_bytes = (size_t)all * (sizeof(int64_t) + sizeof(double)) + (size_t)(snk_loss_blocks(all) + 1) * sizeof(double);
  sno_want(c, 0, (sn_dtype)x->dtype, none ? n : 0, rows);
  return 0;
}

/* ---- running */

/* Fills the kernel's arguments; labels become numbers from 0 in the front of the scratch. */
static void fill(snk_cross_entropy_args *a, const sno_call *c, const snt_tensor *x, const snt_tensor *t, const snt_tensor *w) {
  const int dim = class_dim(x->ndim);
  *a = (snk_cross_entropy_args){.f64 = x->dtype == SN_F64, .kind = kind_of(c->op, c->attr), .smoothing = c->attr[SMOOTHING].d, .scale = 1};
  a->outer = snt_count(dim, x->shape);
  a->n = x->shape[dim];
  a->inner = snt_count(x->ndim - dim - 1, x->shape + dim + 1);
  a->x = snt_data(x);
  a->weight = w ? snt_data(w) : NULL;
  if (a->kind == SNK_PROBS) a->epsilon = a->f64 ? c->attr[EPSILON].d : fmax(c->attr[EPSILON].d, (double)FLT_EPSILON / 2);
  if (t->ndim == x->ndim) {
    a->prob = snt_data(t);
    return;
  }
  int64_t *label = c->scratch;
  const int64_t rows = a->outer * a->inner, base = c->attr[BASE].i, classes = a->n, ignore = c->attr[IGNORE].absent ? base - 1 : c->attr[IGNORE].i;
  const sn_dtype type = (sn_dtype)t->dtype;
  const char *p = snt_data(t);
  for (int64_t i = 0; i < rows; i++, p += sn_size_of(type)) {
    int64_t y;
    if (type == SN_I64) y = *(const int64_t *)(const void *)p;
    else y = sn_is_float(type) ? (int64_t)sn_load_double(p, type) : sn_load_int(p, type);
    label[i] = y == ignore || y < base || y - base >= classes ? -1 : y - base;
  }
  a->label = label;
}

/* What a row's loss is divided by for the mean. */
static double divisor(const snk_cross_entropy_args *a) { return a->label ? snk_label_weight(a) : (double)(a->outer * a->inner); }

static void forward_class(sno_call *c) {
  snk_cross_entropy_args a;
  fill(&a, c, c->in[0], c->in[1], c->in[2]);
  const int64_t rows = a.outer * a.inner;
  const bool none = reduces_to(c->attr, "none");
  double *parts = (double *)c->scratch + rows;
  a.loss = none ? snt_data(c->out[0]) : (void *)parts;
  snk_cross_entropy_run(&a, false);
  if (none) return;
  double s = snk_loss_sum(&(snk_loss_parts){.p = {(char *)parts}, .n = rows, .f64 = a.f64, .partial = parts + rows});
  if (reduces_to(c->attr, "mean")) s /= divisor(&a);
  sn_store_double(snt_data(c->out[0]), (sn_dtype)c->out[0]->dtype, s);
}

/* ---- backward, fused: gy (0-d or one a row), x, target, weight */

static int infer_class_backward(sno_call *c) {
  const snt_tensor *x = c->in[1];
  if (sno_cast_input(c, 0, (sn_dtype)x->dtype) < 0) return -1;
  const int dim = class_dim(x->ndim);
  const int64_t rows = snt_count(dim, x->shape) * snt_count(x->ndim - dim - 1, x->shape + dim + 1);
  c->scratch_bytes = (size_t)(rows + 1) * sizeof(int64_t);
  sno_want(c, 0, (sn_dtype)x->dtype, x->ndim, x->shape);
  return 0;
}

static void forward_class_backward(sno_call *c) {
  snk_cross_entropy_args a;
  fill(&a, c, c->in[1], c->in[2], c->in[3]);
  a.g = snt_data(c->in[0]);
  a.gstep = c->in[0]->ndim > 0;
  a.gx = snt_data(c->out[0]);
  if (reduces_to(c->attr, "mean")) a.scale = 1 / divisor(&a);
  snk_cross_entropy_run(&a, true);
}

static snt_tensor *fused(const sno_back *b, snt_tensor *g, int kind) {
  sno_val attr[KIND + 1];
  memcpy(attr, b->attr, (size_t)sno_nattr(b->op) * sizeof *attr);
  if (sno_nattr(b->op) <= EPSILON) attr[EPSILON] = sno_num(0);
  attr[KIND] = sno_int(kind);
  return sno_run(&sno_op_class_loss_backward, SNO_IN(g, b->in[0], b->in[1], b->in[2]), KIND + 1, attr);
}

/* ---- backward, in plain operations: the loss is the sum of terms times log probabilities, terms being minus the coefficients */

static snt_tensor *over_classes(snt_tensor *v, const sno_out *x) { /* one number a class (or a row), as a factor of x */
  int64_t shape[SNT_MAXDIM];
  const int dim = class_dim(x->ndim);
  const bool weight = v && v->ndim == 1 && v->shape[0] == x->shape[dim] && x->ndim > 1;
  for (int i = 0; i < x->ndim; i++) shape[i] = weight ? (i == dim ? x->shape[i] : 1) : (i == dim ? 1 : x->shape[i]);
  return sno_shaped(v, x->ndim, shape);
}

static double mean_of_rows(const sno_back *b) {
  const sno_out *x = &b->in_spec[0];
  if (!reduces_to(b->attr, "mean")) return 1;
  return (double)x->shape[class_dim(x->ndim)] / (double)snt_count(x->ndim, x->shape);
}

/* What the target's probabilities are multiplied by, apart from smoothing; for class numbers never asked. */
static snt_tensor *scaled(const sno_back *b, snt_tensor *t, double factor) {
  const sno_out *x = &b->in_spec[0];
  t = sno_scale(t, factor);
  if (b->in[2] == NULL) return t;
  snt_tensor *w = x->ndim == 1 ? b->in[2] : over_classes(b->in[2], x);
  return sno_mul(t, w);
}

static snt_tensor *terms(const sno_back *b, bool distribution) {
  const sno_out *x = &b->in_spec[0];
  if (!distribution) {
    const sno_val type = {.kind = SNO_DTYPE, .i = x->dtype};
    return fused(b, sno_run(&sno_op_ones, 0, NULL, SNO_ATTRS(sno_ints(0, NULL), type)), SNK_LOGP);
  }
  const double s = b->attr[SMOOTHING].d;
  snt_tensor *t = sno_add(sno_scale(b->in[1], 1 - s), sno_weak(s / (double)x->shape[class_dim(x->ndim)]));
  return scaled(b, t, -mean_of_rows(b));
}

static snt_tensor *clipped(const sno_back *b) {
  const double low = b->in_spec[0].dtype == SN_F64 ? b->attr[EPSILON].d : fmax(b->attr[EPSILON].d, (double)FLT_EPSILON / 2);
  return sno_minimum(sno_maximum(b->in[0], sno_weak(low)), sno_weak(1 - low));
}

static snt_tensor *log_probabilities(const sno_back *b, int kind) {
  if (kind == SNK_LOGP) return b->in[0];
  if (kind == SNK_PROBS) return sno_log(clipped(b));
  return sno_run(&sno_op_log_softmax, SNO_IN(b->in[0]), SNO_ATTRS({.kind = SNO_DIM, .i = class_dim(b->in_spec[0].ndim)}));
}

static snt_tensor *plain(const sno_back *b, snt_tensor *g, int kind, bool distribution) {
  const sno_out *x = &b->in_spec[0];
  const sno_val dim = {.kind = SNO_DIM, .i = class_dim(x->ndim)}, dims = {.kind = SNO_DIMS, .n = 1, .v = {class_dim(x->ndim)}};
  snt_tensor *t = terms(b, distribution);
  if (kind == SNK_LOGP) return sno_mul(g, t);
  if (kind == SNK_PROBS) return sno_mul(g, sno_div(t, clipped(b)));
  snt_tensor *p = sno_run(&sno_op_softmax, SNO_IN(b->in[0]), SNO_ATTRS(dim));
  return sno_mul(g, sno_sub(t, sno_mul(p, sno_run(&sno_op_sum, SNO_IN(t), SNO_ATTRS(dims, sno_bool(true))))));
}

static int back_class(sno_back *b) {
  const int kind = kind_of(b->op, b->attr);
  const bool distribution = b->in_spec[1].ndim == b->in_spec[0].ndim;
  snt_tensor *g = b->gy[0];
  if (b->want[0] && !b->create_graph && (b->gx[0] = fused(b, g, kind)) == NULL) return -1;
  if (!b->create_graph && !(b->want[1] && distribution)) return 0;
  if (g->ndim > 0) { /* one a row: the class dimension comes back */
    int64_t shape[SNT_MAXDIM];
    for (int i = 0; i < b->in_spec[0].ndim; i++) shape[i] = i == class_dim(b->in_spec[0].ndim) ? 1 : b->in_spec[0].shape[i];
    if ((g = sno_shaped(g, b->in_spec[0].ndim, shape)) == NULL) return -1;
  }
  if (b->want[0] && b->create_graph && (b->gx[0] = plain(b, g, kind, distribution)) == NULL) return -1;
  if (b->want[1] && distribution) {
    snt_tensor *t = scaled(b, log_probabilities(b, kind), (b->attr[SMOOTHING].d - 1) * mean_of_rows(b));
    if ((b->gx[1] = sno_mul(g, t)) == NULL) return -1;
  }
  return 0;
}

#define OPTIONS " target weight? ignore_index:int? label_smoothing:num=0 reduction:str(mean|sum|none)=mean base:base"
#define CLASS_LOSS(kind_) .flags = SNO_HIGH | SNO_CONTIG | SNO_VALUES, .nout = 1, .save_in = 7, .infer = infer_class, .forward = forward_class, \
                          .backward = back_class, .data = &kind_

/*** cross_entropy(logits, target, weight?, {ignore_index, label_smoothing = 0, reduction = "mean"})
 * The cross entropy of classes from logits, numbers of any size. `logits` is n x classes or n x classes x ...; `target` holds class
 * numbers, 1 to the number of classes, in the shape of `logits` without its second dimension, or probabilities (one-hot rows, say) in its
 * whole shape. `weight` has a number for each class and gets no gradient; labels equal to `ignore_index` count for nothing; smoothing s mixes the
 * target with a share s of the even distribution. The mean is over the weights of the labels (with probabilities, over rows), so of no labels at
 * all it is NaN.
 * @math l_i = -\sum_c w_c\, t_{ic} \ln \frac{e^{x_{ic}}}{\sum_k e^{x_{ik}}}, \quad t_{ic} = (1-s)\,[c = y_i] + \frac{s}{C}, \quad
 *   L = \frac{\sum_i l_i}{\sum_i w_{y_i}}
 * @grad \bar x_{ic} = \bar l_i \left(p_{ic} \sum_k w_k t_{ik} - w_c t_{ic}\right), \quad p_i = \mathrm{softmax}(x_i)
 * @see nll_loss, log_softmax, categorical_cross_entropy
 */
const sno_op sno_op_cross_entropy = {
    .name = "cross_entropy", .args = "logits" OPTIONS, CLASS_LOSS(logits),
    .samples = "f(3,4), i(1,4,3); f(3,4), i(1,4,3), i(1,5,4), {reduction=\"sum\"}; f(2,3,5), i(1,3,2,5), {label_smoothing=0.2};"
               " f(3,4), p(3,4), {label_smoothing=0.1}; f(2,3,2), p(2,3,2), i(1,3,3), {reduction=\"none\"}; f(5), i(1,5);"
               " f(4,3), i(1,3,4), i(1,3,3), {ignore_index=2, label_smoothing=0.3}; f(3,4), i(1,4,3), {reduction=\"none\"}; f(2,20), i(1,20,2);"
               " f(1,3,19), i(1,3,1,19), i(1,4,3), {ignore_index=1}",
    .wrong = "f(3,4), i(5,5,3) => label 5 at position 1 of the target is outside 1..4; f(3,4), i(0,0,3) => label 0 at position 1;"
             " f(3,4), u(3) => is no class number; f(3,4), i(1,4,4) => class numbers of shape 3; f(3,4), i(1,4,3), p(3) => there are 4 classes;"
             " i(1,4,3,4), i(1,4,3) => wants floating; f(3,4), i(1,4,3), {label_smoothing=2} => label_smoothing is 2;"
             " f(3,4), i(1,4,3), {reduction=\"avg\"} => it can be 'mean'"};

/*** nll_loss(logp, target, weight?, {ignore_index, label_smoothing = 0, reduction = "mean"})
 * The negative log likelihood: cross_entropy of what is a log probability already (from log_softmax). Shapes and options as there.
 * @math l_i = -\sum_c w_c\, t_{ic}\, x_{ic}
 * @grad \bar x_{ic} = -\bar l_i\, w_c\, t_{ic}
 * @see cross_entropy, log_softmax
 */
const sno_op sno_op_nll_loss = {
    .name = "nll_loss", .args = "logp" OPTIONS, CLASS_LOSS(logp),
    .samples = "f(3,4), i(1,4,3); f(3,4), i(1,4,3), i(1,5,4), {reduction=\"sum\"}; f(2,3,5), i(1,3,2,5), {label_smoothing=0.2}; f(3,4), p(3,4);"
               " f(3,4), i(1,4,3), {reduction=\"none\", ignore_index=1}; f(2,3,2), p(2,3,2), i(1,3,3), {reduction=\"none\"}",
    .wrong = "f(3,4), i(7,7,3) => is outside 1..4; f(3,4), i(1,4,2) => class numbers of shape 3"};

/*** categorical_cross_entropy(p, target, weight?, {epsilon = 1e-7, ignore_index, label_smoothing = 0, reduction = "mean"})
 * Cross entropy of what are probabilities already (from softmax), clipped to epsilon .. 1 - epsilon; for float32 epsilon is at least 6e-8. Shapes and
 * options are those of cross_entropy, which is exact where probabilities are rounded. The gradient is that at the clipped value, so that a
 * class of probability 0 still learns.
 * @math l_i = -\sum_c w_c\, t_{ic} \ln q_{ic}, \quad q = \min(\max(p, \epsilon), 1 - \epsilon)
 * @grad \bar p_{ic} = -\bar l_i\, \frac{w_c\, t_{ic}}{q_{ic}}
 * @see cross_entropy
 */
const sno_op sno_op_categorical_cross_entropy = {
    .name = "categorical_cross_entropy", .args = "p" OPTIONS " epsilon:num=1e-7", CLASS_LOSS(probs),
    .samples = "p(3,4):softmax(2), i(1,4,3); p(3,4):softmax(2), p(3,4):softmax(2); f(2,3,5):softmax(2), i(1,3,2,5), {epsilon=1e-4};"
               " f(3,4):softmax(2), i(1,4,3), {reduction=\"none\", label_smoothing=0.1};"
                   " f(2,3,2):softmax(2), p(2,3,2), i(1,3,3), {reduction=\"none\"}",
    .wrong = "p(3,4), i(7,7,3) => is outside 1..4; p(3,4), i(1,4,2) => class numbers of shape 3; p(3,4), i(1,4,3), {epsilon=1} => epsilon is 1"};

/*** class_loss_backward(gy, x, target, weight?, options, kind)
 * The gradient of the losses over classes in one pass; `kind` says what x is: logits 0, log probabilities 1, probabilities 2.
 * @math \bar x_{ic} = \bar l_i \left(p_{ic} \sum_k w_k t_{ik} - w_c t_{ic}\right)
 */
const sno_op sno_op_class_loss_backward = {
    .name = "class_loss_backward", .args = "gy x" OPTIONS " epsilon:num=0 kind:int", .flags = SNO_HIDDEN | SNO_NODIFF | SNO_CONTIG, .nout = 1,
    .infer = infer_class_backward, .forward = forward_class_backward};
