/* softmax.c - softmax and its logarithm along any dimension. */
#include "base/error.h"
#include "calc/softmax.h"
#include "diff/ops.h"

static int infer_softmax(sno_call *c) {
  const snt_tensor *x = c->in[0];
  const int n = x->ndim ? x->ndim : 1;
  const int64_t given = c->attr[0].i, dim = given < 0 ? given + n : given;
  if (dim < 0 || dim >= n)
    return sn_fail("%s: dimension %lld does not exist, x has %d (%s)", c->op->name, (long long)(given < 0 ? given : given + 1), x->ndim,
        SNT_SHAPE(x));
  c->attr[0].i = dim;
  if (!sn_is_float((sn_dtype)x->dtype) && sno_cast_input(c, 0, SN_F32) < 0) return -1;
  sno_want(c, 0, (sn_dtype)c->in[0]->dtype, x->ndim, x->shape);
  return 0;
}

static void run(const sno_call *c, const snt_tensor *x, const snt_tensor *g, bool log) {
  const int dim = (int)c->attr[0].i;
  snk_softmax_args a = {.f64 = x->dtype == SN_F64, .log = log, .backward = g != NULL, .x = snt_data(x), .g = g ? snt_data(g) : NULL,
      .y = snt_data(c->out[0])};
  a.outer = snt_count(dim < x->ndim ? dim : 0, x->shape);
  a.n = x->ndim ? x->shape[dim] : 1;
  a.inner = x->ndim ? snt_count(x->ndim - dim - 1, x->shape + dim + 1) : 1;
  snk_softmax_run(&a);
}

static void forward_softmax(sno_call *c) { run(c, c->in[0], NULL, false); }
static void forward_log_softmax(sno_call *c) { run(c, c->in[0], NULL, true); }
static void forward_softmax_backward(sno_call *c) { run(c, c->in[1], c->in[0], false); }
static void forward_log_softmax_backward(sno_call *c) { run(c, c->in[1], c->in[0], true); }

static int infer_backward(sno_call *c) {
  const snt_tensor *y = c->in[1];
  if (sno_cast_input(c, 0, (sn_dtype)y->dtype) < 0) return -1;
  sno_want(c, 0, (sn_dtype)y->dtype, y->ndim, y->shape);
  return 0;
}

static snt_tensor *along(snt_tensor *x, const sno_val *dim) {
  return sno_run(&sno_op_sum, SNO_IN(x), SNO_ATTRS({.kind = SNO_DIMS, .n = 1, .v = {dim->i}}, sno_bool(true)));
}

static int back_softmax(sno_back *b) {
  snt_tensor *g = b->gy[0], *y = b->out[0];
  if (!b->create_graph || y->ndim == 0) b->gx[0] = sno_run(&sno_op_softmax_backward, SNO_IN(g, y), 1, b->attr);
  else b->gx[0] = sno_mul(y, sno_sub(g, along(sno_mul(g, y), &b->attr[0])));
  return b->gx[0] ? 0 : -1;
}

static int back_log_softmax(sno_back *b) {
  snt_tensor *g = b->gy[0], *y = b->out[0];
  if (!b->create_graph || y->ndim == 0) b->gx[0] = sno_run(&sno_op_log_softmax_backward, SNO_IN(g, y), 1, b->attr);
  else b->gx[0] = sno_sub(g, sno_mul(sno_exp(y), along(g, &b->attr[0])));
  return b->gx[0] ? 0 : -1;
}

/*** softmax(x, dim)
 * Numbers of any size as probabilities along `dim` (the last one if not given): positive, with sum 1. The largest is subtracted first, so nothing
 * overflows. A row of -inf alone, or with inf or NaN in it, gives NaN. Integers become float32.
 * @math y_i = \frac{e^{x_i - m}}{\sum_j e^{x_j - m}}, \quad m = \max_j x_j
 * @grad \bar x_i = y_i \left(\bar y_i - \sum_j \bar y_j\, y_j\right)
 * @see log_softmax, cross_entropy
 */
const sno_op sno_op_softmax = {
    .name = "softmax", .args = "x dim:dim=-1", .flags = SNO_HIGH | SNO_CONTIG, .nout = 1, .save_out = 1, .infer = infer_softmax, .forward = forward_softmax,
    .backward = back_softmax, .samples = "f(2,5); f(3,4), 1; f(2,3,4), 2; f(20); f(2,19), 1; f(2,35); f(3,2,18), 2; f()",
    .wrong = "f(2,3), 3 => dimension 3 does not exist"};

/*** log_softmax(x, dim)
 * The logarithm of softmax along `dim` (the last one if not given), exact where softmax itself would be rounded to 0 or 1.
 * @math y_i = x_i - m - \ln \sum_j e^{x_j - m}, \quad m = \max_j x_j
 * @grad \bar x_i = \bar y_i - e^{y_i} \sum_j \bar y_j
 * @see softmax, nll_loss
 */
const sno_op sno_op_log_softmax = {
    .name = "log_softmax", .args = "x dim:dim=-1", .flags = SNO_HIGH | SNO_CONTIG, .nout = 1, .save_out = 1, .infer = infer_softmax,
    .forward = forward_log_softmax, .backward = back_log_softmax, .samples = "f(2,5); f(3,4), 1; f(2,3,4), 2; f(20); f(2,19), 1; f(2,35);"
        " f(3,2,18), 2; f()",
    .wrong = "f(2,3), -3 => dimension -3 does not exist"};

/*** softmax_backward(gy, y, dim)
 * The gradient of softmax from its result in one pass. Differentiable gradients are made of plain operations instead.
 * @math \bar x_i = y_i \left(\bar y_i - \sum_j \bar y_j\, y_j\right)
 */
const sno_op sno_op_softmax_backward = {.name = "softmax_backward", .args = "gy y dim:dim", .flags = SNO_HIDDEN | SNO_NODIFF | SNO_CONTIG, .nout = 1,
                                        .infer = infer_backward, .forward = forward_softmax_backward};

/*** log_softmax_backward(gy, y, dim)
 * The gradient of log_softmax from its result in one pass.
 * @math \bar x_i = \bar y_i - e^{y_i} \sum_j \bar y_j
 */
const sno_op sno_op_log_softmax_backward = {.name = "log_softmax_backward", .args = "gy y dim:dim", .flags = SNO_HIDDEN | SNO_NODIFF | SNO_CONTIG,
                                            .nout = 1, .infer = infer_backward, .forward = forward_log_softmax_backward};
