/* optim.c - updates of parameters in place, on lists of tensors, and clipping of gradients: what optimizers call. Not differentiable.
 *
 * `lr` is a small float64 or float32 tensor {rate, step} that the optimizer's host step writes before each update, so that a program that replays
 * the update sees schedules. Without a second number the step counts as a later one. Lists have equal lengths; a parameter, its gradient
 * and its state have one shape and one type, float32 or float64, and any strides.
 */
#include "diff/optim.h"
#include <math.h>
#include <string.h>
#include "base/error.h"
#include "base/thread.h"
#include "calc/optim.h"
#include "core/iter.h"
#include "diff/matmul.h"
#include "diff/ops.h"

#define GRAIN 16384
#define LINE 16 /* elements */

/* ---- checks */

static int check_one(const sno_call *c, const snt_tensor *p, int k) {
  if (p->dtype != SN_F32 && p->dtype != SN_F64)
    return sn_fail("%s: tensor %d of the list is %s; keep float32 or float64 parameters and convert them where they are used", c->op->name, k + 1,
                   sn_dtypes[p->dtype].name);
  return 0;
}

/* `lists` lists in a row from input 0: the k-th tensors of all of them go together. */
static int check_lists(const sno_call *c, int lists) {
  const int n = c->nlist;
  for (int k = 0; k < n; k++) {
    const snt_tensor *p = c->in[k];
    if (check_one(c, p, k) < 0) return -1;
    for (int j = 0; j < lists; j++) {
      const snt_tensor *t = c->in[j * n + k];
      if (t->dtype != p->dtype || !snt_same_shape(t, p))
        return sn_fail("%s: tensor %d is %s %s, but what goes with it is %s %s", c->op->name, k + 1, sn_dtypes[p->dtype].name, SNT_SHAPE(p),
                       sn_dtypes[t->dtype].name, SNT_SHAPE(t));
      if (j != 1 && snt_has_internal_overlap(t))
        return sn_fail("%s: tensor %d (%s) is expanded and cannot be written; clone() it first", c->op->name, k + 1, SNT_SHAPE(t));
    }
  }
  return 0;
}

static int check_rate(const sno_call *c, int at) {
  const snt_tensor *t = c->in[at];
  if ((t->dtype != SN_F64 && t->dtype != SN_F32) || snt_numel(t) < 1)
    return sn_fail("%s: 'lr' must be a float64 or float32 tensor of the rate and the step, got %s %s", c->op->name, sn_dtypes[t->dtype].name,
        SNT_SHAPE(t));
  return 0;
}

static double rate_of(const sno_call *c, int at) { return sn_load_double(snt_at(c->in[at], 0), (sn_dtype)c->in[at]->dtype); }
static double step_of(const sno_call *c, int at) {
  const snt_tensor *t = c->in[at];
  return snt_numel(t) > 1 ? sn_load_double(snt_at(t, 1), (sn_dtype)t->dtype) : 2;
}

/* ---- running */

typedef struct row_ctx { snk_optim_row *row; const snk_optim_args *args; } row_ctx;
static void run_row(void *p, int64_t n, char *const *q, const int64_t *s) {
  const row_ctx *r = p;
  r->row(n, q, s, r->args);
}

static snk_optim_row *row_for(const snt_tensor *t, size_t kernel) {
  const snk_optim_type *type = snk_optim_of(t->dtype == SN_F64);
  snk_optim_row *row;
  memcpy(&row, (const char *)type + kernel, sizeof row);
  return row;
}

/* Elements of the k-th tensors where all of them lie in one piece each, else 0. */
static int64_t flat_count(const sno_call *c, int lists, int k) {
  for (int j = 0; j < lists; j++)
    if (!snt_is_contiguous(c->in[j * c->nlist + k])) return 0;
  return snt_numel(c->in[k]);
}

typedef struct flat_ctx { const sno_call *c; int lists; size_t kernel; const snk_optim_args *args; } flat_ctx;

static void run_part(const flat_ctx *f, int k, int64_t from, int64_t to) {
  const int64_t size = (int64_t)sn_size_of((sn_dtype)f->c->in[k]->dtype);
  char *q[4];
  int64_t s[4];
  for (int j = 0; j < f->lists; j++) q[j] = (char *)snt_data(f->c->in[j * f->c->nlist + k]) + from * size, s[j] = size;
  row_for(f->c->in[k], f->kernel)(to - from, q, s, f->args);
}

/* In the row of all elements of all tensors each begins at a whole cache line, so that pieces do too. */
static int64_t room_of(int64_t n) { return (n + LINE - 1) / LINE * LINE; }

static void run_flat(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const flat_ctx *f = ctx;
  int64_t first = 0;
  for (int k = 0; k < f->c->nlist && first < end; k++) {
    const int64_t n = flat_count(f->c, f->lists, k), from = begin > first ? begin - first : 0, to = end - first < n ? end - first : n;
    first += room_of(n);
    if (from < to) run_part(f, k, from, to);
  }
}

/* Two parameters that are views of one storage: one after the other, as their elements may be the same. */
static bool share_storage(const sno_call *c) {
  for (int k = 1; k < c->nlist; k++)
    for (int j = 0; j < k; j++)
      if (c->in[k]->storage == c->in[j]->storage) return true;
  return false;
}

/* A row kernel over the k-th tensors of the first `lists` lists, for every k: one pass over all their elements, whatever tensor they belong to.
 * Tensors that do not lie in one piece come by themselves. */
static void run_lists(const sno_call *c, int lists, size_t kernel, const snk_optim_args *args) {
  flat_ctx f = {c, lists, kernel, args};
  int64_t all = 0;
  for (int k = 0; k < c->nlist; k++) all += room_of(snt_numel(c->in[k]));
  const bool flat = all > GRAIN && !share_storage(c);
  if (flat) {
    all = 0;
    for (int k = 0; k < c->nlist; k++) all += room_of(flat_count(c, lists, k));
    sn_parallel(all, GRAIN, run_flat, &f);
  }
  for (int k = 0; k < c->nlist; k++) {
    const int64_t n = flat_count(c, lists, k);
    if (n > 0) {
      if (!flat) run_part(&f, k, 0, n);
      continue;
    }
    const snt_tensor *ops[4];
    for (int j = 0; j < lists; j++) ops[j] = c->in[j * c->nlist + k];
    row_ctx r = {.args = args, .row = row_for(ops[0], kernel)};
    snt_iter it;
    snt_iter_init(&it, lists, ops);
    snt_iter_run(&it, GRAIN, run_row, &r);
  }
}

/* What a call of an update comes to: a row kernel, how many lists it walks, its numbers. */
typedef struct update { int lists; size_t kernel; snk_optim_args args; } update;
typedef struct rule { void (*fill)(const sno_call *c, update *u); } rule; /* a descriptor's data; u is all zero */

static void forward_update(sno_call *c) {
  update u = {0};
  ((const rule *)c->op->data)->fill(c, &u);
  run_lists(c, u.lists, u.kernel, &u.args);
}

/* ---- joined to the product that makes the gradient (optim.h) */

typedef struct product_ctx { const sno_call *c; const update *u; int64_t n; } product_ctx;

static void take_rows(void *ctx, const void *g, int64_t first, int64_t rows) {
  const product_ctx *p = ctx;
  const int64_t size = (int64_t)sn_size_of((sn_dtype)p->c->in[0]->dtype);
  char *q[4];
  int64_t s[4];
  for (int j = 0; j < p->u->lists; j++) {
    q[j] = j == 1 ? (char *)(uintptr_t)g : (char *)snt_data(p->c->in[j]) + first * p->n * size;
    s[j] = size;
  }
  row_for(p->c->in[0], p->u->kernel)(rows * p->n, q, s, &p->u->args);
}

static void forward_product_update(sno_call *c) {
  update u = {0};
  ((const rule *)c->op->data)->fill(c, &u);
  const snt_tensor *a = c->in[c->nin - 2], *b = c->in[c->nin - 1];
  snk_gemm_args g = {0};
  sno_gemm_fill(&g, a, b, c->in[0]);
  g.half = c->half;
  u.args.round = c->round;
  product_ctx p = {c, &u, g.n};
  for (int j = 0, n = 0; j < u.lists; j++)
    if (j != 1) g.beside[n++] = snt_data(c->in[j]);
  snk_gemm_rows(&g, c->scratch, take_rows, &p);
}

/* ---- sgd_ */

static int infer_sgd(sno_call *c) { return check_lists(c, 3) < 0 ? -1 : check_rate(c, 3 * c->nlist); }

static void fill_sgd(const sno_call *c, update *u) {
  const int at = 3 * c->nlist;
  snk_optim_args *a = &u->args;
  a->lr = rate_of(c, at), a->momentum = c->attr[0].d, a->keep = 1 - c->attr[1].d, a->decay = c->attr[2].d;
  a->nesterov = c->attr[3].i != 0, a->first = step_of(c, at) <= 1;
  u->lists = a->momentum != 0 ? 3 : 2;
  u->kernel = a->momentum != 0 ? offsetof(snk_optim_type, momentum) : offsetof(snk_optim_type, sgd);
}
static const rule sgd_rule = {fill_sgd};

/*** sgd_(params, grads, bufs, lr, {momentum, dampening, weight_decay, nesterov})
 * Stochastic gradient descent as PyTorch's SGD has it. In the first step the buffer is the gradient. Without momentum `bufs` is neither read nor
 * written, and the list of parameters may be given again.
 * @math g \leftarrow g + \lambda p, \quad b \leftarrow \mu b + (1-\tau) g, \quad p \leftarrow p - \eta\, b \quad
 *   (\text{Nesterov: } p - \eta (g + \mu b))
 * @source Sutskever, Martens, Dahl, Hinton: On the importance of initialization and momentum in deep learning, ICML 2013
 */
const sno_op sno_op_sgd_ = {.name = "sgd_", .args = "params* grads* bufs* lr momentum:num=0 dampening:num=0 weight_decay:num=0 nesterov:bool=false",
                            .flags = SNO_WRITES | SNO_LISTS | SNO_NODIFF | SNO_HIDDEN | SNO_HALF, .nout = 0, .writes = 1 | 4, .infer = infer_sgd,
                            .forward = forward_update, .data = &sgd_rule};

/* ---- rmsprop_ */

static void fill_rmsprop(const sno_call *c, update *u) {
  u->lists = 3, u->kernel = offsetof(snk_optim_type, rmsprop);
  u->args.lr = rate_of(c, 3 * c->nlist), u->args.rho = c->attr[0].d, u->args.epsilon = c->attr[1].d, u->args.decay = c->attr[2].d;
}
static const rule rmsprop_rule = {fill_rmsprop};

/*** rmsprop_(params, grads, square_avg, lr, {rho, epsilon, weight_decay})
 * RMSProp: steps in units of a running root mean square of the gradient.
 * @math v \leftarrow \rho v + (1-\rho) g^2, \quad p \leftarrow p - \frac{\eta\, g}{\sqrt{v} + \epsilon}
 * @source Tieleman, Hinton: Lecture 6.5, Neural Networks for Machine Learning, 2012; epsilon outside the root as in the original slugnet and Keras
 */
const sno_op sno_op_rmsprop_ = {.name = "rmsprop_", .args = "params* grads* square_avg* lr rho:num=0.9 epsilon:num=1e-6 weight_decay:num=0",
                                .flags = SNO_WRITES | SNO_LISTS | SNO_NODIFF | SNO_HIDDEN | SNO_HALF, .nout = 0, .writes = 1 | 4, .infer = infer_sgd,
                                .forward = forward_update, .data = &rmsprop_rule};

/* ---- adam_ */

static int infer_adam(sno_call *c) {
  const int at = 4 * c->nlist;
  if (check_lists(c, 4) < 0 || check_rate(c, at) < 0) return -1;
  return snt_numel(c->in[at]) > 1 ? 0 : sn_fail("adam_: 'lr' must hold two numbers, the rate and the step (from 1)");
}

static void fill_adam(const sno_call *c, update *u) {
  const int at = 4 * c->nlist;
  const double lr = rate_of(c, at), step = step_of(c, at), beta1 = c->attr[0].d, beta2 = c->attr[1].d, decay = c->attr[3].d;
  const bool decoupled = c->attr[4].i != 0;
  snk_optim_args *a = &u->args;
  u->lists = 4, u->kernel = offsetof(snk_optim_type, adam);
  a->lr = lr / (1 - pow(beta1, step)), a->beta1 = beta1, a->beta2 = beta2, a->root = 1 / sqrt(1 - pow(beta2, step)), a->epsilon = c->attr[2].d;
  a->decay = decoupled ? 0 : decay, a->shrink = decoupled ? 1 - lr * decay : 1;
}
static const rule adam_rule = {fill_adam};

/*** adam_(params, grads, exp_avg, exp_avg_sq, lr, {beta1, beta2, epsilon, weight_decay, decoupled})
 * Adam, and with `decoupled` AdamW, whose weight decay shrinks the parameter instead of joining the gradient. `lr` holds the rate and the step
 * t, counted from 1.
 * @math m \leftarrow \beta_1 m + (1-\beta_1) g, \quad v \leftarrow \beta_2 v + (1-\beta_2) g^2, \quad
 *   p \leftarrow p - \frac{\eta}{1-\beta_1^t} \frac{m}{\sqrt{v / (1-\beta_2^t)} + \epsilon}
 * @source Kingma, Ba: Adam, ICLR 2015; Loshchilov, Hutter: Decoupled weight decay regularization, ICLR 2019
 */
const sno_op sno_op_adam_ = {
    .name = "adam_",
    .args = "params* grads* exp_avg* exp_avg_sq* lr beta1:num=0.9 beta2:num=0.999 epsilon:num=1e-8 weight_decay:num=0 decoupled:bool=false",
    .flags = SNO_WRITES | SNO_LISTS | SNO_NODIFF | SNO_HIDDEN | SNO_HALF, .nout = 0, .writes = 1 | 4 | 8, .infer = infer_adam,
    .forward = forward_update, .data = &adam_rule};

/* ---- with the product */

static double flops_joined(const sno_call *c) { return 2.0 * (double)snt_numel(c->in[0]) * (double)c->in[c->nin - 2]->shape[1]; }

#define JOINED(name_, args_, writes_)                                                                                                    \
  {.name = "mm_" #name_ "_", .args = args_, .flags = SNO_WRITES | SNO_LISTS | SNO_NODIFF | SNO_HIDDEN | SNO_HALF, .nout = 0, .writes = writes_, \
   .flops = flops_joined, .forward = forward_product_update, .data = &name_##_rule}

const sno_op *sno_product_update(const sno_op *op) {
  static const struct { const sno_op *update, joined; } pair[] = {
      {&sno_op_sgd_, JOINED(sgd, "params* grads* bufs* lr a b momentum:num dampening:num weight_decay:num nesterov:bool", 1 | 4)},
      {&sno_op_rmsprop_, JOINED(rmsprop, "params* grads* square_avg* lr a b rho:num epsilon:num weight_decay:num", 1 | 4)},
      {&sno_op_adam_, JOINED(adam, "params* grads* exp_avg* exp_avg_sq* lr a b beta1:num beta2:num epsilon:num weight_decay:num decoupled:bool", 1 | 4 | 8)}};
  for (size_t i = 0; i < sizeof pair / sizeof *pair; i++)
    if (pair[i].update == op) return &pair[i].joined;
  return NULL;
}

/* For a few rows the second factor is not worth bringing in order. Of long sums the product is nearly all the work, and better done at once. */
bool sno_product_update_pays(int64_t m, int64_t n, int64_t k) {
  enum { ROWS = 48, NUMBERS = 2048 };
  return m >= ROWS && m * n >= NUMBERS && n >= 2 && n <= SNK_GEMM_TAKEN && k <= SNK_GEMM_DEEP;
}

size_t sno_product_update_scratch(sn_dtype t, int64_t n, int64_t k) { return snk_gemm_rows_room(t == SN_F64, n, k); }

/* ---- clipping */

static int infer_clip_value(sno_call *c) {
  if (!(c->attr[0].d >= 0)) return sn_fail("clip_value_: the limit is %g; it must be 0 or more", c->attr[0].d);
  return check_lists(c, 1);
}

static void forward_clip_value(sno_call *c) {
  const snk_optim_args a = {.limit = c->attr[0].d};
  run_lists(c, 1, offsetof(snk_optim_type, clip_value), &a);
}

/*** clip_value_(grads, limit)
 * Every element into -limit .. limit; NaN stays.
 * @math g \leftarrow \max(\min(g, l), -l)
 */
const sno_op sno_op_clip_value_ = {.name = "clip_value_", .args = "grads* limit:num",
    .flags = SNO_WRITES | SNO_LISTS | SNO_NODIFF | SNO_HIDDEN | SNO_HALF,
                                   .nout = 0, .writes = 1, .infer = infer_clip_value, .forward = forward_clip_value};

static int64_t blocks_of(const snt_tensor *t) { return (snt_numel(t) + SNK_SQUARES_BLOCK - 1) / SNK_SQUARES_BLOCK; }

static int infer_clip_norm(sno_call *c) {
  if (!(c->attr[0].d >= 0)) return sn_fail("clip_norm_: the limit is %g; it must be 0 or more", c->attr[0].d);
  if (check_lists(c, 1) < 0) return -1;
  int64_t blocks = 0;
  for (int k = 0; k < c->nlist; k++) blocks += blocks_of(c->in[k]);
  c->scratch_bytes = (size_t)(blocks + c->nlist + 1) * sizeof(double);
  sno_want(c, 0, c->nlist > 0 ? (sn_dtype)c->in[0]->dtype : SN_F32, 0, NULL);
  return 0;
}

/* Sums of squares of blocks begin..end-1 of all tensors in a row; scratch: the sums, then each tensor's first block. */
typedef struct norm_job { const sno_call *c; double *sum; int64_t *first; } norm_job;

static void sum_blocks(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const norm_job *j = ctx;
  int k = 0;
  for (int64_t b = begin; b < end; b++) {
    while (b >= j->first[k + 1]) k++;
    const snt_tensor *t = j->c->in[k];
    const int64_t at = (b - j->first[k]) * SNK_SQUARES_BLOCK, left = snt_numel(t) - at, n = left < SNK_SQUARES_BLOCK ? left : SNK_SQUARES_BLOCK;
    if (snt_is_contiguous(t)) {
      const bool f64 = t->dtype == SN_F64;
      j->sum[b] = snk_optim_of(f64)->squares((const char *)snt_data(t) + at * (f64 ? 8 : 4), n);
      continue;
    }
    double s = 0;
    for (int64_t i = 0; i < n; i++) {
      const double v = sn_load_double(snt_at(t, at + i), (sn_dtype)t->dtype);
      s += v * v;
    }
    j->sum[b] = s;
  }
}

static void forward_clip_norm(sno_call *c) {
  int64_t blocks = 0;
  for (int k = 0; k < c->nlist; k++) blocks += blocks_of(c->in[k]);
  norm_job j = {.c = c, .sum = c->scratch};
  j.first = (int64_t *)(void *)(j.sum + blocks);
  j.first[0] = 0;
  for (int k = 0; k < c->nlist; k++) j.first[k + 1] = j.first[k] + blocks_of(c->in[k]);
  sn_parallel(blocks, 4, sum_blocks, &j);
  double s = 0;
  for (int64_t b = 0; b < blocks; b++) s += j.sum[b];
  const double norm = sqrt(s), limit = c->attr[0].d;
  sn_store_double(snt_data(c->out[0]), (sn_dtype)c->out[0]->dtype, norm);
  const snk_optim_args a = {.scale = limit / (norm + 1e-6)};
  if (a.scale < 1) run_lists(c, 1, offsetof(snk_optim_type, scale), &a);
}

/*** clip_norm_(grads, limit) -> norm
 * Scales all gradients by one number if the root of the sum of all their squares is above the limit, and returns that root as it was. A NaN in
 * them is left for the caller to see. The squares are added in blocks of 8192 elements, in float64, whatever the number of threads.
 * @math n = \sqrt{\sum_k \lVert g_k \rVert^2}, \quad g_k \leftarrow g_k \min\left(1, \frac{l}{n + 10^{-6}}\right)
 * @source Pascanu, Mikolov, Bengio: On the difficulty of training recurrent neural networks, ICML 2013
 */
const sno_op sno_op_clip_norm_ = {.name = "clip_norm_", .args = "grads* limit:num",
    .flags = SNO_WRITES | SNO_LISTS | SNO_NODIFF | SNO_HIDDEN | SNO_HALF,
                                  .nout = 1, .writes = 1, .infer = infer_clip_norm, .forward = forward_clip_norm};
