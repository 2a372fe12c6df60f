/* loss.c - losses that are a sum or mean of one formula over elements: the lines of calc/loss.def. */
#include "calc/loss.h"
#include <float.h>
#include <math.h>
#include <string.h>
#include "base/error.h"
#include "core/iter.h"
#include "diff/ops.h"
#include "diff/tape.h"

#define GRAIN 16384

/* Number of a line's option and of `reduction` among the attributes (-1: none); how many weights it takes. */
typedef struct line { int index; const char *names[2]; int option, reduction, weights; } line;
static const line *line_of(const sno_op *op) { return op->data; }
static bool reduces_to(const sno_call *c, const char *word) { return strcmp(c->attr[line_of(c->op)->reduction].s, word) == 0; }

/* Is every operand one long row or one number, so that the parts need not be kept until they are summed? Only a weight can be anything else. */
static bool flat(const sno_call *c) {
  const int64_t all = snt_numel(c->in[0]);
  for (int i = 2; i < c->nin; i++)
    if (c->in[i] && snt_numel(c->in[i]) != all && snt_numel(c->in[i]) != 1) return false;
  return true;
}

/* ---- checks */

static int infer_loss(sno_call *c) {
  const char *name = c->op->name;
  const snt_tensor *x = c->in[0], *t = c->in[1];
  if (!snt_same_shape(x, t))
    return sn_fail("%s: the prediction is %s, the target %s; they must have one shape (reshape, or expand the smaller one)", name, SNT_SHAPE(x),
        SNT_SHAPE(t));
  const bool fx = sn_is_float((sn_dtype)x->dtype), ft = sn_is_float((sn_dtype)t->dtype);
  const sn_dtype tx = fx ? (sn_dtype)x->dtype : SN_F32, tt = ft ? (sn_dtype)t->dtype : SN_F32;
  const sn_dtype type = fx && ft ? sn_dtype_promote(tx, tt) : fx ? tx : tt;
  for (int i = 0; i < c->nin; i++)
    if (c->in[i] && sno_cast_input(c, i, type) < 0) return -1;
  for (int i = 2; i < c->nin; i++) {
    const snt_tensor *w = c->in[i];
    int64_t shape[SNT_MAXDIM];
    if (w == NULL) continue;
    const int n = snt_broadcast(x->ndim, x->shape, w->ndim, w->shape, shape, name);
    if (n < 0) return -1;
    if (n != x->ndim || memcmp(shape, x->shape, (size_t)n * sizeof *shape) != 0)
      return sn_fail("%s: weight of shape %s does not fit predictions of shape %s", name, SNT_SHAPE(w), SNT_SHAPE(x));
  }
  const bool none = reduces_to(c, "none");
  const int64_t all = snt_numel(x);
  c->scratch_bytes = none ? 0 : (flat(c) ? 0 : (size_t)all * sn_size_of(type)) + (size_t)(snk_loss_blocks(all) + 2) * sizeof(double);
  sno_want(c, 0, type, none ? x->ndim : 0, x->shape);
  return 0;
}

/* The formula's option, and which line: with an epsilon, bce clips instead of bounding the logarithms. */
static int index_of(const sno_op *op, const sno_val *attr, sn_dtype type, double *param) {
  const line *l = line_of(op);
  const sno_val *v = l->option >= 0 ? &attr[l->option] : NULL;
  param[0] = v && !v->absent ? v->d : 0;
  if (l->index != SNK_LOSS_bce) return l->index;
  if (v == NULL || v->absent) return SNK_LOSS_bce;
  if (type != SN_F64) param[0] = fmax(param[0], (double)FLT_EPSILON / 2);
  return SNK_LOSS_bce_clipped;
}

static double factor_of(const sno_op *op, const sno_val *attr, const sno_out *x) {
  const char *word = attr[line_of(op)->reduction].s;
  if (strcmp(word, "mean") == 0) return 1 / (double)snt_count(x->ndim, x->shape);
  if (strcmp(word, "batchmean") == 0) return x->ndim ? 1 / (double)x->shape[0] : 1;
  return 1;
}

/* ---- running */

typedef struct row_ctx { snk_loss_row *row; const double *param; } row_ctx;
static void run_row(void *p, int64_t n, char *const *q, const int64_t *s) {
  const row_ctx *r = p;
  r->row(n, q, s, r->param);
}

static const float one32 = 1;
static const double one64 = 1;

/* A weight that is not there: the number 1 for all elements. */
static void add_operands(snt_iter *it, int from, const snt_tensor *like) {
  for (int k = from; k < from + 2; k++)
    if (it->base[k] == NULL) {
      it->base[k] = like->dtype == SN_F64 ? (char *)(uintptr_t)&one64 : (char *)(uintptr_t)&one32;
      for (int i = 0; i < SNT_MAXDIM; i++) it->stride[k][i] = 0;
    }
}

/* Operands: destination, (gradient,) x, t and two weights, of which any may be absent. */
static void plan(snt_iter *it, int n, const snt_tensor **ops) {
  const snt_tensor *like = ops[0];
  bool absent[SNT_ITER_MAX] = {false};
  for (int k = n - 2; k < n; k++)
    if (ops[k] == NULL) ops[k] = like, absent[k] = true;
  snt_iter_init(it, n, ops);
  for (int k = n - 2; k < n; k++)
    if (absent[k]) it->base[k] = NULL;
  add_operands(it, n - 2, like);
}

static void run(snk_loss_row *row, const double *param, int n, const snt_tensor **ops) {
  snt_iter it;
  plan(&it, n, ops);
  row_ctx r = {row, param};
  snt_iter_run(&it, GRAIN, run_row, &r);
}

static void forward_loss(sno_call *c) {
  const snt_tensor *x = c->in[0];
  double param[2];
  const bool f64 = x->dtype == SN_F64, none = reduces_to(c, "none"), whole = !none && flat(c);
  const int index = index_of(c->op, c->attr, (sn_dtype)x->dtype, param), weights = line_of(c->op)->weights;
  const snk_loss_type *k = snk_loss_of(f64);
  snk_loss_parts a = {.param = param, .n = snt_numel(x), .f64 = f64, .partial = c->scratch};
  snt_storage room = {.data = none ? NULL : (char *)(a.partial + snk_loss_blocks(a.n) + 1)};
  snt_tensor parts = *x; /* a contiguous place in the scratch */
  if (!none) parts.storage = &room, parts.offset = 0;
  snt_contiguous_strides(parts.ndim, parts.shape, parts.stride);
  const snt_tensor *ops[5] = {none ? c->out[0] : &parts, x, c->in[1], weights > 0 ? c->in[2] : NULL, weights > 1 ? c->in[3] : NULL};
  if (!whole) run(k->row[index], param, 5, ops);
  if (none) return;
  a.p[0] = room.data;
  if (whole && a.n > 0) {
    snt_iter it;
    plan(&it, 5, ops);
    a.row = k->row[index];
    for (int i = 0; i < 5; i++) a.p[i] = it.base[i], a.s[i] = it.stride[i][0]; /* all dimensions are one */
  }
  const double sum = snk_loss_sum(&a);
  const char *word = c->attr[line_of(c->op)->reduction].s;
  const double by = strcmp(word, "mean") == 0 ? (double)a.n : strcmp(word, "batchmean") == 0 && x->ndim ? (double)x->shape[0] : 1;
  sn_store_double(snt_data(c->out[0]), (sn_dtype)c->out[0]->dtype, sum / by);
}

/* ---- backward, fused */

enum { GX, GT_ };

static int infer_loss_backward(sno_call *c) {
  const snt_tensor *x = c->in[1];
  for (int i = 0; i < c->nin; i++)
    if (c->in[i] && sno_cast_input(c, i, (sn_dtype)x->dtype) < 0) return -1;
  sno_want(c, 0, (sn_dtype)x->dtype, x->ndim, x->shape);
  return 0;
}

static void forward_loss_backward(sno_call *c) {
  const snk_loss_type *k = snk_loss_of(c->in[1]->dtype == SN_F64);
  const double param[2] = {c->attr[2].d, c->attr[3].d};
  const snt_tensor *ops[6] = {c->out[0], c->in[0], c->in[1], c->in[2], c->in[3], c->in[4]};
  run((c->attr[1].i == GX ? k->gx : k->gt)[c->attr[0].i], param, 6, ops);
}

/*** loss_backward(gy, x, t, weight?, pos_weight?, line, which, option, factor)
 * The gradient of an elementwise loss by its prediction or its target in one pass.
 * @math \bar x_i = \bar L\, f\, w_i\, \frac{\partial l(x_i, t_i)}{\partial x_i}
 */
const sno_op sno_op_loss_backward = {.name = "loss_backward", .args = "gy x t weight? pos_weight? line:int which:int option:num factor:num",
                                     .flags = SNO_HIDDEN | SNO_NODIFF | SNO_CONTIG, .nout = 1, .infer = infer_loss_backward,
                                     .forward = forward_loss_backward};

/* ---- backward, in operations: the same formulas */
#define ADD(a, b) sno_add(a, b)
#define SUB(a, b) sno_sub(a, b)
#define MUL(a, b) sno_mul(a, b)
#define DIV(a, b) sno_div(a, b)
#define NEG(a) sno_neg(a)
#define SQUARE(a) sno_square(a)
#define LT(a, b) sno_lt(a, b)
#define GT(a, b) sno_gt(a, b)
#define K(c) sno_weak(c)
#define P(i) sno_weak(param[i])
#define WHERE(m, a, b) sno_where(m, a, b)
#define ABS(a) sno_abs(a)
#define MAX(a, b) sno_maximum(a, b)
#define MIN(a, b) sno_minimum(a, b)
#define SIGN(a) sno_sign(a)
#define EXP(a) sno_exp(a)
#define LOG(a) sno_log(a)
#define LOG1P(a) sno_log1p(a)
#define SIGMOID(a) sno_sigmoid(a)

static snt_tensor *formula(int index, int which, snt_tensor *X, snt_tensor *T, snt_tensor *Q, const double *param) {
  switch (index) {
#define LOSS(name, F, DX, DT) case SNK_LOSS_##name: return which == GX ? (DX) : (DT);
#include "calc/loss.def"
    default: return NULL;
  }
}

static int back_loss(sno_back *b) {
  const line *l = line_of(b->op);
  double param[2];
  const int index = index_of(b->op, b->attr, (sn_dtype)b->in_spec[0].dtype, param);
  const double factor = factor_of(b->op, b->attr, &b->in_spec[0]);
  snt_tensor *w = l->weights > 0 ? b->in[2] : NULL, *q = l->weights > 1 ? b->in[3] : NULL;
  for (int which = GX; which <= GT_; which++) {
    if (!b->want[which]) continue;
    snt_tensor *g;
    if (!b->create_graph) {
      g = sno_run(&sno_op_loss_backward, SNO_IN(b->gy[0], b->in[0], b->in[1], w, q),
                  SNO_ATTRS(sno_int(index), sno_int(which), sno_num(param[0]), sno_num(factor)));
    } else {
      g = sno_scale(sno_mul(b->gy[0], formula(index, which, b->in[0], b->in[1], q ? q : sno_weak(1), param)), factor);
      if (w) g = sno_mul(g, w);
      g = sno_sum_to(g, &b->in_spec[which]);
    }
    if ((b->gx[which] = g) == NULL) return -1;
  }
  return 0;
}

/* ---- descriptors */

#define REDUCTION "reduction:str(mean|sum|none)=mean"
#define LOSS_OP(line_) .flags = SNO_HIGH | SNO_CONTIG, .nout = 1, .save_in = 15, .infer = infer_loss, .forward = forward_loss, .backward = back_loss, \
    .data = &line_
#define WRONG "f(3), f(3,1) => they must have one shape"

static const line mse = {.index = SNK_LOSS_mse, .option = -1, .reduction = 0}, l1 = {.index = SNK_LOSS_l1, .option = -1, .reduction = 0},
                  huber = {.index = SNK_LOSS_huber, .option = 0, .reduction = 1}, smooth = {.index = SNK_LOSS_smooth_l1, .option = 0, .reduction = 1},
                  bce = {.index = SNK_LOSS_bce, .option = 0, .reduction = 1, .weights = 1},
                  bce_logits = {.index = SNK_LOSS_bce_logits, .option = -1, .reduction = 0, .weights = 2},
                  kl = {.index = SNK_LOSS_kl_div, .option = -1, .reduction = 0};

/*** mse_loss(x, target, {reduction = "mean"})
 * The squared error, averaged over all elements, summed, or for each (`reduction` "mean", "sum", "none"). Shapes must be equal: a column and a row
 * would silently make a matrix.
 * @math L = \frac{1}{n} \sum_i (x_i - t_i)^2
 * @grad \bar x_i = \frac{2}{n} \bar L\, (x_i - t_i), \quad \bar t = -\bar x
 * @see l1_loss, huber_loss
 */
const sno_op sno_op_mse_loss = {.name = "mse_loss", .args = "x target " REDUCTION, LOSS_OP(mse),
                                .samples = "f(2,3), f(2,3); f(4), f(4), {reduction=\"none\"}; f(2,17), f(2,17), {reduction=\"sum\"}; f(), f()",
                                .wrong = WRONG};

/*** l1_loss(x, target, {reduction = "mean"})
 * The absolute error; its gradient where both are equal is 0.
 * @math L = \frac{1}{n} \sum_i |x_i - t_i|
 * @grad \bar x_i = \frac{1}{n} \bar L\, \mathrm{sign}(x_i - t_i), \quad \bar t = -\bar x
 * @see mse_loss
 */
const sno_op sno_op_l1_loss = {.name = "l1_loss", .args = "x target " REDUCTION, LOSS_OP(l1),
                               .samples = "f(2,3), f(2,3); f(4), f(4), {reduction=\"none\"}; f(2,17), f(2,17), {reduction=\"sum\"}", .wrong = WRONG};

static int infer_huber(sno_call *c) {
  if (!(c->attr[0].d > 0)) return sn_fail("huber_loss: delta is %g; it must be greater than 0", c->attr[0].d);
  return infer_loss(c);
}

/*** huber_loss(x, target, {delta = 1, reduction = "mean"})
 * Squared error near 0 and absolute error beyond delta.
 * @math l = \begin{cases} \frac12 d^2 & |d| \le \delta \\ \delta (|d| - \frac12 \delta) & \text{else} \end{cases}, \quad d = x - t, \quad
 *   L = \frac{1}{n}\sum_i l_i
 * @grad \bar x_i = \frac{1}{n} \bar L\, \min(\max(d_i, -\delta), \delta), \quad \bar t = -\bar x
 * @source Huber: Robust estimation of a location parameter, 1964
 * @see smooth_l1_loss
 */
const sno_op sno_op_huber_loss = {
    .name = "huber_loss", .args = "x target delta:num=1 " REDUCTION, .flags = SNO_HIGH | SNO_CONTIG, .nout = 1, .save_in = 3, .infer = infer_huber,
    .forward = forward_loss, .backward = back_loss, .data = &huber,
    .samples = "f(2,3), f(2,3); f(8), f(8), {delta=0.7, reduction=\"none\"}; f(2,17), f(2,17), {reduction=\"sum\"}",
    .wrong = WRONG "; f(3), f(3), {delta=0} => delta is 0"};

static int infer_smooth(sno_call *c) {
  if (!(c->attr[0].d >= 0)) return sn_fail("smooth_l1_loss: beta is %g; it must be 0 or more", c->attr[0].d);
  return infer_loss(c);
}

/*** smooth_l1_loss(x, target, {beta = 1, reduction = "mean"})
 * huber_loss divided by beta: the absolute error with its corner rounded.
 * @math l = \begin{cases} \frac{d^2}{2\beta} & |d| < \beta \\ |d| - \frac12 \beta & \text{else} \end{cases}, \quad d = x - t, \quad
 *   L = \frac{1}{n}\sum_i l_i
 * @grad \bar x_i = \frac{1}{n} \bar L \begin{cases} d_i / \beta & |d_i| < \beta \\ \mathrm{sign}(d_i) & \text{else} \end{cases}, \quad
 *   \bar t = -\bar x
 * @source Girshick: Fast R-CNN, ICCV 2015
 * @see huber_loss
 */
const sno_op sno_op_smooth_l1_loss = {
    .name = "smooth_l1_loss", .args = "x target beta:num=1 " REDUCTION, .flags = SNO_HIGH | SNO_CONTIG, .nout = 1, .save_in = 3, .infer = infer_smooth,
    .forward = forward_loss, .backward = back_loss, .data = &smooth,
    .samples = "f(2,3), f(2,3); f(8), f(8), {beta=0.7, reduction=\"none\"}; f(2,17), f(2,17), {beta=0}", .wrong = WRONG ";"
        " f(3), f(3), {beta=-1} => beta is -1"};

static int infer_bce(sno_call *c) {
  const sno_val *e = &c->attr[0];
  if (!e->absent && !(e->d >= 0 && e->d < 0.5)) return sn_fail("%s: epsilon is %g; it must be from 0 to less than 0.5", c->op->name, e->d);
  return infer_loss(c);
}

/*** binary_cross_entropy(p, target, weight?, {epsilon, reduction = "mean"})
 * Cross entropy of probabilities `p` against targets from 0 to 1, element by element. Without `epsilon` logarithms are not let below -100, as in
 * PyTorch; with it p is clipped to epsilon .. 1 - epsilon, and the gradient is that at the clipped value. `weight` is broadcast to p and
 * gets no gradient. bce_with_logits is exact where probabilities are rounded.
 * @math L = -\frac{1}{n} \sum_i w_i \left(t_i \ln p_i + (1 - t_i) \ln (1 - p_i)\right)
 * @grad \bar p_i = \frac{1}{n} \bar L\, w_i\, \frac{p_i - t_i}{p_i (1 - p_i)}, \quad \bar t_i = \frac{1}{n} \bar L\, w_i \ln \frac{1 - p_i}{p_i}
 * @see bce_with_logits
 */
const sno_op sno_op_binary_cross_entropy = {
    .name = "binary_cross_entropy", .args = "p target weight? epsilon:num? " REDUCTION, .flags = SNO_HIGH | SNO_CONTIG, .nout = 1, .save_in = 7,
    .infer = infer_bce,
    .forward = forward_loss, .backward = back_loss, .data = &bce,
    .samples = "f(2,3):sigmoid(), f(2,3):sigmoid(); f(2,3):sigmoid(), f(2,3):sigmoid(), i(1,3,3); f(8):sigmoid(), f(8):sigmoid(), {epsilon=1e-6};"
               " f(2,17):sigmoid(), f(2,17):sigmoid(), {reduction=\"none\"}",
    .wrong = "p(3), p(3,1) => they must have one shape; p(3), p(3), {epsilon=1} => epsilon is 1; p(3), p(3), p(2) => do not go together"};

/*** bce(p, target, weight?, {epsilon, reduction = "mean"})
 * Another name of binary_cross_entropy.
 * @math L = -\frac{1}{n} \sum_i w_i \left(t_i \ln p_i + (1 - t_i) \ln (1 - p_i)\right)
 * @grad \bar p_i = \frac{1}{n} \bar L\, w_i\, \frac{p_i - t_i}{p_i (1 - p_i)}
 * @see binary_cross_entropy
 */
const sno_op sno_op_bce = {
    .name = "bce", .args = "p target weight? epsilon:num? " REDUCTION, .flags = SNO_HIGH | SNO_CONTIG, .nout = 1, .save_in = 7, .infer = infer_bce,
    .forward = forward_loss, .backward = back_loss, .data = &bce, .samples = "f(2,3):sigmoid(), f(2,3):sigmoid()", .wrong = WRONG};

/*** bce_with_logits(x, target, weight?, pos_weight?, {reduction = "mean"})
 * Binary cross entropy of sigmoid(x), computed from x so that nothing is rounded to 0 or 1. `weight` multiplies each element, `pos_weight` the
 * part of positive targets; both are broadcast and get no gradient.
 * @math l = (1 - t)\, x + (1 + (q - 1)\, t) \ln (1 + e^{-x}), \quad L = \frac{1}{n} \sum_i w_i l_i
 * @grad \bar x_i = \frac{1}{n} \bar L\, w_i \left((1 - t_i) - (1 + (q_i - 1)\, t_i)\, \sigma(-x_i)\right)
 * @see binary_cross_entropy, sigmoid
 */
const sno_op sno_op_bce_with_logits = {
    .name = "bce_with_logits", .args = "x target weight? pos_weight? " REDUCTION, LOSS_OP(bce_logits),
    .samples = "f(2,3), p(2,3); f(2,3), p(2,3), i(1,3,3), i(1,4,3); f(2,3), p(2,3), nil, i(1,4,2,1), {reduction=\"sum\"};"
        " f(2,17), f(2,17):sigmoid(), {reduction=\"none\"}",
    .wrong = "f(3), f(3,1) => they must have one shape; f(3), f(3), p(2,3) => does not fit"};

/*** kl_div(logp, target, {reduction = "mean"})
 * The Kullback-Leibler divergence of probabilities `target` from log probabilities `logp`, element by element; "batchmean" divides the sum by
 * the first dimension, which is the divergence's proper mean. A target of 0 costs nothing.
 * @math L = \frac{1}{n} \sum_i t_i (\ln t_i - x_i)
 * @grad \bar x_i = -\frac{1}{n} \bar L\, t_i, \quad \bar t_i = \frac{1}{n} \bar L\, (\ln t_i + 1 - x_i)
 * @see cross_entropy
 */
const sno_op sno_op_kl_div = {
    .name = "kl_div", .args = "logp target reduction:str(mean|sum|none|batchmean)=mean", LOSS_OP(kl),
    .samples = "f(2,3), p(2,3); f(2,3), p(2,3), {reduction=\"batchmean\"}; f(2,17), p(2,17), {reduction=\"none\"}; f(3), p(3), {reduction=\"sum\"}",
    .wrong = WRONG};
