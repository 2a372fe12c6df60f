/* batch_norm.c - normalisation of channels over a batch. The user's operation is made of three: normalising with the batch's own statistics,
 * normalising with given ones, and the update of the running ones, which alone writes. */
#include "base/error.h"
#include "diff/matmul.h"
#include "diff/norm.h"
#include "diff/ops.h"
#include "diff/tape.h"

/* ---- the parts */

enum { Y, MEAN, RSTD, VAR }; /* outputs of batch_norm_train */

static snk_norm_args args_of(const snt_tensor *x, const snt_tensor *w, const snt_tensor *b) {
  snk_norm_args a = {.f64 = x->dtype == SN_F64, .centered = true, .n = x->shape[0], .channels = x->shape[1],
                     .inner = snt_count(x->ndim - 2, x->shape + 2), .x = snt_data(x)};
  a.weight = w ? snt_data(w) : NULL;
  a.bias = b ? snt_data(b) : NULL;
  return a;
}

/* of batch_norm_relu: what joins before relu */
enum { ADD = 3 };

/* What operand k (an input; from c->nin on a result) is to the kernels; 0: nothing that may be halves. */
static unsigned role(const sno_call *c, int k) {
  static const unsigned forward[] = {SNK_NORM_X, 0, 0, SNK_NORM_ADD}, back[] = {SNK_NORM_G, SNK_NORM_X}, way[] = {SNK_NORM_G, SNK_NORM_OTHER, SNK_NORM_SEEN, SNK_NORM_X};
  const bool ahead = c->op == &sno_op_batch_norm_train || c->op == &sno_op_batch_norm_relu;
  if (k == c->nin) return c->round ? SNK_NORM_Y : 0;
  if (ahead) return k < c->nin && k < 4 ? forward[k] : 0;
  if (c->op == &sno_op_batch_norm_way_backward) return k < 4 ? way[k] : 0;
  return k < 2 ? back[k] : 0;
}
static bool halved(sno_call *c, int k) {
  const snt_tensor *y = c->out[0];
  return role(c, k) && snk_norm_now()->half && y->dtype != SN_F64 && snt_count(y->ndim - 2, y->shape + 2) > 1;
}
static unsigned halves_of(const sno_call *c) {
  unsigned all = 0;
  for (int k = 0; k <= c->nin; k++) {
    const snt_tensor *t = k < c->nin ? c->in[k] : c->out[0];
    if (t && t->dtype == SN_BF16) all |= role(c, k);
  }
  return all;
}

static int infer_train(sno_call *c) {
  const snt_tensor *x = c->in[0], *add = c->nin > ADD ? c->in[ADD] : NULL;
  if (add && (add->dtype != x->dtype || !snt_same_shape(add, x))) return sn_fail("%s: %s joins %s", c->op->name, SNT_SHAPE(add), SNT_SHAPE(x));
  sno_want(c, Y, (sn_dtype)x->dtype, x->ndim, x->shape);
  for (int k = MEAN; k <= VAR; k++) sno_want(c, k, (sn_dtype)x->dtype, 1, x->shape + 1);
  return 0;
}

static void forward_train(sno_call *c) {
  snk_norm_args a = args_of(c->in[0], c->in[1], c->in[2]);
  a.training = true;
  a.round = c->round, a.half = halves_of(c);
  a.relu = c->op == &sno_op_batch_norm_relu;
  if (a.relu && c->in[ADD]) a.add = snt_data(c->in[ADD]);
  a.epsilon = c->attr[0].d;
  a.mean = snt_data(c->out[MEAN]), a.rstd = snt_data(c->out[RSTD]), a.var = snt_data(c->out[VAR]);
  a.y = snt_data(c->out[Y]);
  snk_batch_train(&a);
}

static int infer_eval(sno_call *c) {
  const snt_tensor *x = c->in[0];
  c->scratch_bytes = (size_t)(x->shape[1] + 1) * sizeof(double);
  sno_want(c, 0, (sn_dtype)x->dtype, x->ndim, x->shape);
  return 0;
}

/* Given statistics, their roots in scratch. */
static void given(snk_norm_args *a, const snt_tensor *mean, const snt_tensor *var, double epsilon, void *scratch) {
  a->mean = snt_data(mean), a->var = snt_data(var), a->rstd = scratch;
  a->epsilon = epsilon;
  snk_batch_roots(a);
}

static void forward_eval(sno_call *c) {
  snk_norm_args a = args_of(c->in[0], c->in[1], c->in[2]);
  given(&a, c->in[3], c->in[4], c->attr[0].d, c->scratch);
  a.y = snt_data(c->out[0]);
  a.round = c->round;
  snk_batch_apply(&a);
}

static int infer_back(sno_call *c) {
  const snt_tensor *x = c->in[1];
  if (sno_cast_input(c, 0, (sn_dtype)x->dtype) < 0) return -1;
  c->scratch_bytes = (size_t)(x->shape[1] + 1) * sizeof(double);
  sno_want(c, 0, (sn_dtype)x->dtype, x->ndim, x->shape);
  sno_want(c, 1, (sn_dtype)x->dtype, 1, x->shape + 1);
  sno_want(c, 2, (sn_dtype)x->dtype, 1, x->shape + 1);
  return 0;
}

static void forward_back(sno_call *c) {
  snk_norm_args a = args_of(c->in[1], c->in[2], NULL);
  a.round = c->round, a.half = halves_of(c);
  a.training = c->attr[0].i != 0;
  a.g = snt_data(c->in[0]);
  if (a.training) a.mean = snt_data(c->in[3]), a.rstd = snt_data(c->in[4]);
  else given(&a, c->in[3], c->in[4], c->attr[1].d, c->scratch);
  a.y = snt_data(c->out[0]), a.gw = snt_data(c->out[1]), a.gb = snt_data(c->out[2]);
  snk_batch_backward(&a);
}

/*** batch_norm_backward(gy, x, weight?, mean, scale, training, epsilon)
 * The gradients of batch_norm in two passes: sums of channels, then x. `scale` is the channel's 1/sqrt(variance + epsilon) in
 * training, else its variance.
 * @math \bar x = w\, r \left(\bar y - \frac1m \sum \bar y - \hat x\, \frac1m \sum \bar y\, \hat x\right)
 */
const sno_op sno_op_batch_norm_backward = {.name = "batch_norm_backward", .args = "gy x weight? mean scale training:bool epsilon:num",
                                           .flags = SNO_ROUNDS | SNO_HIDDEN | SNO_NODIFF | SNO_CONTIG, .nout = 3, .over = {3}, .infer = infer_back, .forward = forward_back,
    .halved = halved};

static void forward_relu_back(sno_call *c) {
  snk_norm_args a = args_of(c->in[1], c->in[2], c->in[3]);
  a.round = c->round, a.half = halves_of(c);
  a.training = a.relu = true;
  a.g = snt_data(c->in[0]);
  a.mean = snt_data(c->in[4]), a.rstd = snt_data(c->in[5]);
  a.y = snt_data(c->out[0]), a.gw = snt_data(c->out[1]), a.gb = snt_data(c->out[2]);
  snk_batch_backward(&a);
}

/*** batch_norm_relu_backward(gy, x, weight?, bias?, mean, rstd)
 * relu_backward and batch_norm_backward of training in one: what programs make of the two. What relu let pass is found again from x.
 * @math \bar x = w\, r \left(\bar z - \frac1m \sum \bar z - \hat x\, \frac1m \sum \bar z\, \hat x\right), \quad \bar z = \bar y\, [\hat x w + b > 0]
 */
const sno_op sno_op_batch_norm_relu_backward = {.name = "batch_norm_relu_backward", .args = "gy x weight? bias? mean rstd",
    .flags = SNO_ROUNDS | SNO_HIDDEN | SNO_NODIFF | SNO_CONTIG, .nout = 3, .over = {3}, .infer = infer_back, .forward = forward_relu_back,
    .halved = halved};

static int infer_way_back(sno_call *c) {
  const snt_tensor *x = c->in[3];
  for (int i = 0; i < 3; i++)
    if (c->in[i] && (c->in[i]->dtype != x->dtype || !snt_same_shape(c->in[i], x))) return sn_fail("%s: %s and %s", c->op->name, SNT_SHAPE(c->in[i]), SNT_SHAPE(x));
  sno_want(c, 0, (sn_dtype)x->dtype, x->ndim, x->shape);
  sno_want(c, 1, (sn_dtype)x->dtype, 1, x->shape + 1);
  sno_want(c, 2, (sn_dtype)x->dtype, 1, x->shape + 1);
  sno_want(c, 3, (sn_dtype)x->dtype, x->ndim, x->shape);
  return 0;
}

static void forward_way_back(sno_call *c) {
  snk_norm_args a = args_of(c->in[3], c->in[4], NULL);
  a.round = c->round, a.half = halves_of(c);
  a.training = true;
  a.g = snt_data(c->in[0]), a.seen = snt_data(c->in[2]);
  if (c->in[1]) a.other = snt_data(c->in[1]);
  a.mean = snt_data(c->in[5]), a.rstd = snt_data(c->in[6]);
  a.y = snt_data(c->out[0]), a.gw = snt_data(c->out[1]), a.gb = snt_data(c->out[2]), a.masked = snt_data(c->out[3]);
  snk_batch_backward(&a);
}

/*** batch_norm_way_backward(gy, other?, y, x, weight?, mean, rstd) -> gx, gw, gb, gz
 * The gradients of y = relu(batch_norm(x) + another way): gz is that of the way, relu_backward of the sum of the two that y has, and from it those of
 * batch_norm_backward in training. What programs make of the three.
 * @math \bar z = (\bar y_1 + \bar y_2)\, [y > 0], \quad
 *   \bar x = w\, r \left(\bar z - \frac1m \sum \bar z - \hat x\, \frac1m \sum \bar z\, \hat x\right)
 */
const sno_op sno_op_batch_norm_way_backward = {.name = "batch_norm_way_backward", .args = "gy other? y x weight? mean rstd",
    .flags = SNO_ROUNDS | SNO_HIDDEN | SNO_NODIFF | SNO_CONTIG, .nout = 4, .over = {8, 0, 0, 3}, .infer = infer_way_back, .forward = forward_way_back,
    .halved = halved};

static snt_tensor *channels_of(snt_tensor *v, const sno_out *x) {
  int64_t shape[SNT_MAXDIM];
  for (int i = 0; i < x->ndim; i++) shape[i] = i == 1 ? x->shape[1] : 1;
  return v ? sno_shaped(v, x->ndim, shape) : NULL;
}

static int back_parts(sno_back *b, bool training) {
  const sno_out *x = &b->in_spec[0];
  if (b->gy[0] == NULL) return 0;
  if (b->create_graph) {
    sno_norm_plain_args p = {.weight = channels_of(b->in[1], x), .epsilon = b->attr[0].d, .centered = true, .channels = true,
        .dims = {.kind = SNO_DIMS}};
    for (int i = 0; i < x->ndim; i++)
      if (i != 1) p.dims.v[p.dims.n++] = i;
    if (!training) p.mean = channels_of(b->in[3], x), p.var = channels_of(b->in[4], x);
    return sno_norm_plain(b, &p);
  }
  snt_tensor *out[SNO_MAXOUT], *mean = training ? b->out[MEAN] : b->in[3], *scale = training ? b->out[RSTD] : b->in[4];
  if (sno_invoke(&sno_op_batch_norm_backward, SNO_IN(b->gy[0], b->in[0], b->in[1], mean, scale), -1, SNO_ATTRS(sno_bool(training), b->attr[0]), out,
                 NULL, NULL) < 0)
    return -1;
  for (int i = 0; i < 3; i++)
    if (b->want[i]) b->gx[i] = out[i];
  return 0;
}
static int back_train(sno_back *b) { return back_parts(b, true); }
static int back_eval(sno_back *b) { return back_parts(b, false); }

/*** batch_norm_train(x, weight?, bias?, epsilon) -> y, mean, 1/sqrt(variance + epsilon), variance
 * Normalises with the statistics of the batch itself, which it gives as well; they have no gradients.
 * @math y = \frac{x - \mu_c}{\sqrt{\sigma_c^2 + \epsilon}}\, w_c + b_c
 */
const sno_op sno_op_batch_norm_train = {.name = "batch_norm_train", .args = "x weight? bias? epsilon:num", .flags = SNO_ROUNDS | SNO_HIDDEN | SNO_CONTIG,
    .nout = 4,
                                        .save_in = 3, .save_out = 1 << MEAN | 1 << RSTD, .infer = infer_train, .forward = forward_train, .halved = halved,
                                        .backward = back_train};

/*** batch_norm_relu(x, weight?, bias?, add?, epsilon) -> y, mean, 1/sqrt(variance + epsilon), variance
 * batch_norm_train, an addition and relu in one store, each rounded as by itself: what programs make of them.
 * @math y = \max\left(0, \frac{x - \mu_c}{\sqrt{\sigma_c^2 + \epsilon}}\, w_c + b_c + a\right)
 */
const sno_op sno_op_batch_norm_relu = {.name = "batch_norm_relu", .args = "x weight? bias? add? epsilon:num",
    .flags = SNO_ROUNDS | SNO_HIDDEN | SNO_NODIFF | SNO_CONTIG, .nout = 4, .over = {1 | 1 << ADD}, .infer = infer_train,
    .forward = forward_train, .halved = halved};

/*** batch_norm_eval(x, weight?, bias?, mean, var, epsilon)
 * Normalises with given statistics, which get no gradients.
 * @math y = \frac{x - \mu_c}{\sqrt{\sigma_c^2 + \epsilon}}\, w_c + b_c
 */
const sno_op sno_op_batch_norm_eval = {.name = "batch_norm_eval", .args = "x weight? bias? mean var epsilon:num", .flags = SNO_ROUNDS | SNO_HIDDEN | SNO_CONTIG,
                                       .nout = 1, .save_in = 1 | 2 | 8 | 16, .infer = infer_eval, .forward = forward_eval, .backward = back_eval};

static int infer_update(sno_call *c) {
  for (int i = 0; i < 2; i++)
    if (snt_has_internal_overlap(c->in[i])) return sn_fail("batch_norm: running statistics are expanded and cannot be written; clone() them first");
  return 0;
}

static void forward_update(sno_call *c) {
  const double m = c->attr[0].d;
  for (int which = 0; which < 2; which++) {
    const snt_tensor *to = c->in[which], *from = c->in[2 + which];
    const sn_dtype t = (sn_dtype)to->dtype, f = (sn_dtype)from->dtype;
    const int64_t n = snt_numel(to);
    for (int64_t i = 0; i < n; i++) {
      void *at = snt_at(to, i);
      const double v = sn_load_double(snt_at(from, i), f) * (which ? c->attr[1].d : 1);
      sn_store_double(at, t, (1 - m) * sn_load_double(at, t) + m * v);
    }
  }
}

/*** batch_norm_update_(running_mean, running_var, mean, var, momentum, correction)
 * Moves the running statistics towards those of a batch; `correction` makes the variance unbiased.
 * @math \mu \leftarrow (1 - m) \mu + m\, \mu_B, \quad v \leftarrow (1 - m) v + m\, k\, v_B
 */
const sno_op sno_op_batch_norm_update_ = {.name = "batch_norm_update_", .args = "running_mean running_var mean var momentum:num correction:num",
                                          .flags = SNO_HIDDEN | SNO_WRITES | SNO_NODIFF | SNO_HALF, .nout = 1, .writes = 3, .infer = infer_update,
                                          .forward = forward_update};

/* ---- the whole */

enum { TRAINING, MOMENTUM, NORM_EPSILON };

static int check(const sno_call *c) {
  static const char *const names[] = {"x", "weight", "bias", "running_mean", "running_var"};
  const snt_tensor *x = c->in[0];
  if (sno_norm_checks(c, c->attr[NORM_EPSILON].d) < 0) return -1;
  if (x->ndim < 2) return sn_fail("batch_norm: wants n x channels (x ...), got %s", SNT_SHAPE(x));
  for (int i = 1; i < 5; i++) {
    const snt_tensor *w = c->in[i];
    if (w && (w->ndim != 1 || w->shape[0] != x->shape[1] || !sn_is_float((sn_dtype)w->dtype)))
      return sn_fail("batch_norm: %s is %s %s, but x (%s) has %lld channels", names[i], sn_dtypes[w->dtype].name, SNT_SHAPE(w), SNT_SHAPE(x),
                     (long long)x->shape[1]);
  }
  if ((c->in[3] == NULL) != (c->in[4] == NULL)) return sn_fail("batch_norm: running_mean and running_var go together, only one was given");
  const int64_t count = x->shape[1] > 0 ? snt_numel(x) / x->shape[1] : 0;
  if (c->attr[TRAINING].i && count == 1)
    return sn_fail("batch_norm: training wants more than 1 value per channel, x is %s; give a larger batch, or evaluate with training = false",
        SNT_SHAPE(x));
  if (!c->attr[TRAINING].i && c->in[3] == NULL) return sn_fail("batch_norm: with training = false running_mean and running_var must be given");
  return 0;
}

static snt_tensor *run(sno_call *c, const sno_val epsilon) {
  snt_tensor *x = c->in[0];
  if (!c->attr[TRAINING].i)
    return sno_run(&sno_op_batch_norm_eval, SNO_IN(x, c->in[1], c->in[2], sno_to(c->in[3], (sn_dtype)x->dtype), sno_to(c->in[4], (sn_dtype)x->dtype)),
                   SNO_ATTRS(epsilon));
  snt_tensor *out[SNO_MAXOUT];
  if (sno_invoke(&sno_op_batch_norm_train, SNO_IN(x, c->in[1], c->in[2]), -1, SNO_ATTRS(epsilon), out, NULL, NULL) < 0) return NULL;
  const double count = x->shape[1] > 0 ? (double)(snt_numel(x) / x->shape[1]) : 0;
  if (c->in[3] == NULL || count == 0) return out[Y];
  snt_tensor *done = sno_run(&sno_op_batch_norm_update_, SNO_IN(c->in[3], c->in[4], sno_detach(out[MEAN]), sno_detach(out[VAR])),
                             SNO_ATTRS(sno_num(c->attr[MOMENTUM].d), sno_num(count / (count - 1))));
  return done ? out[Y] : NULL;
}

static int infer_batch_norm(sno_call *c) {
  const sn_dtype type = (sn_dtype)c->in[0]->dtype, t = type == SN_F64 ? SN_F64 : SN_F32;
  if (check(c) < 0) return -1;
  for (int i = 0; i < 3; i++) /* halves are computed in float32, so that the statistics are not rounded */
    if (sno_cast_input(c, i, t) < 0) return -1;
  snt_tensor *y = sno_to(run(c, sno_num(c->attr[NORM_EPSILON].d)), type);
  if (y == NULL) return -1;
  c->in[0] = y;
  for (int i = 1; i < 5; i++) c->in[i] = NULL;
  return (c->want[0].alias = snt_view(y)) ? 0 : -1;
}

static int back_batch_norm(sno_back *b) {
  b->gx[0] = b->gy[0];
  return 0;
}

/*** batch_norm(x, weight?, bias?, running_mean?, running_var?, {training = true, momentum = 0.1, epsilon = 1e-5})
 * Every channel (the second dimension of n x channels x ...) to mean 0 and variance 1 over all the others, then scaled and shifted. In training the
 * statistics are the batch's own, and the running ones, where given, move towards them by `momentum` in place (with the unbiased variance); without,
 * the running ones are used. A batch with a single value for each channel is an error in training.
 * @math y = \frac{x - \mu_c}{\sqrt{\sigma_c^2 + \epsilon}}\, w_c + b_c, \quad \mu_c = \frac1m \sum x, \quad \sigma_c^2 = \frac1m \sum (x - \mu_c)^2
 * @grad \bar x = w_c\, r_c \left(\bar y - \frac1m \sum \bar y - \hat x\, \frac1m \sum \bar y\, \hat x\right), \quad
 *   r_c = \frac{1}{\sqrt{\sigma_c^2 + \epsilon}},\;
 *   \hat x = r_c (x - \mu_c), \quad \bar w_c = \sum \bar y\, \hat x, \quad \bar b_c = \sum \bar y
 * @source Ioffe, Szegedy: Batch normalization, ICML 2015
 * @see layer_norm, group_norm
 */
const sno_op sno_op_batch_norm = {
    .name = "batch_norm", .args = "x weight? bias? running_mean? running_var? training:bool=true momentum:num=0.1 epsilon:num=1e-5",
    .flags = SNO_VIEW,
    .nout = 1, .infer = infer_batch_norm, .backward = back_batch_norm,
    .samples = "f(4,3), p(3), f(3); f(2,3,4), p(3), f(3); f(4,3,2), p(3), f(3), sn.zeros(3), sn.ones(3);"
        " f(2,3,2,2), p(3), f(3), f(3), p(3), {training=false};"
               " f(5,3); f(3,2), p(2), f(2), f(2), p(2), {training=false}; f(2,2,19), p(2); d(3,18), p(18), f(18)",
    .wrong = "f(1,3) => more than 1 value per channel; f(4,3), p(2) => weight is float32 2; f(4) => wants n x channels;"
             " f(4,3), {training=false} => must be given; f(4,3), p(3), f(3), f(3) => go together; i(1,5,4,3) => wants floating numbers"};
