/* dropout.c - dropout: a random mask as an operation of its own, so that everything around it is a product. */
#include "base/error.h"
#include "base/thread.h"
#include "calc/random.h"
#include "diff/map.h"
#include "diff/ops.h"
#include "diff/tape.h"

#define GRAIN 16384 /* a multiple of the four elements that share a block of the generator */
#define CHUNK 512

static int infer_mask(sno_call *c) {
  const snt_tensor *x = c->in[0];
  c->rng_blocks = SN_RNG_BLOCKS(snt_numel(x));
  sno_want(c, 0, (sn_dtype)x->dtype, x->ndim, x->shape);
  return 0;
}

typedef struct mask_job { sn_rng rng; bool f64; float p; double kept; void *y; } mask_job;

static void make_mask(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const mask_job *j = ctx;
  float u[CHUNK];
  if (!j->f64) {
    snk_random_now()->mask(j->rng.seed, j->rng.position + (uint64_t)begin / 4, end - begin, (float *)j->y + begin, j->p, (float)j->kept);
    return;
  }
  for (int64_t at = begin; at < end; at += CHUNK) {
    const int64_t n = end - at < CHUNK ? end - at : CHUNK;
    snk_random_now()->uniform(j->rng.seed, j->rng.position + (uint64_t)at / 4, n, u, 0, 1);
    double *y = (double *)j->y + at;
    for (int64_t i = 0; i < n; i++) y[i] = u[i] >= j->p ? j->kept : 0;
  }
}

static void forward_mask(sno_call *c) {
  const double p = c->attr[0].d;
  mask_job j = {c->rng, c->out[0]->dtype == SN_F64, (float)p, p < 1 ? 1 / (1 - p) : 0, snt_data(c->out[0])};
  sn_parallel(snt_numel(c->out[0]), GRAIN, make_mask, &j);
}

/*** dropout_mask(x, p)
 * A tensor of x's shape: 0 with probability p, else 1/(1-p). A function of the generator's seed and position and the element's number alone.
 * @math m_i = \frac{[u_i \ge p]}{1 - p}
 */
const sno_op sno_op_dropout_mask = {.name = "dropout_mask", .args = "x p:num", .flags = SNO_HIDDEN | SNO_NODIFF | SNO_RANDOM, .nout = 1,
                                    .infer = infer_mask, .forward = forward_mask};

static int infer_dropout(sno_call *c) {
  snt_tensor *x = c->in[0];
  const double p = c->attr[0].d;
  if (!sn_is_float((sn_dtype)x->dtype)) return sn_fail("dropout: wants floating numbers, got %s; x:to(\"float32\") first", sn_dtypes[x->dtype].name);
  if (!(p >= 0 && p <= 1)) return sn_fail("dropout: p is %g; the probability of dropping an element is from 0 to 1", p);
  if (c->attr[1].i && p > 0) {
    const sno_mode *mode = sno_mode_now();
    const bool kept = mode->recorder || (mode->grad && sno_requires_grad(x)); /* by the tape, or where a program finds it */
    snt_tensor *mask = sno_run(&sno_op_dropout_mask, SNO_IN(x), SNO_ATTRS(sno_num(p)));
    x = kept ? sno_mul(x, mask) : sno_call2(&sno_op_mul_, mask, x); /* else in its place */
    if (x == NULL) return -1;
    c->in[0] = x;
  }
  return (c->want[0].alias = snt_view(x)) ? 0 : -1;
}

static int back_dropout(sno_back *b) {
  b->gx[0] = b->gy[0];
  return 0;
}

/*** dropout(x, p = 0.5, training = true)
 * Sets each element to 0 with probability p and scales the others by 1/(1-p), once, so that the mean stays; without `training` it is x itself. With
 * p = 1 everything is dropped. The mask depends on the seed, the generator's position and the element's number alone.
 * @math y = m \odot x, \quad m_i = \frac{[u_i \ge p]}{1 - p}, \quad u_i \sim U(0, 1)
 * @grad \bar x = m \odot \bar y
 * @source Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov: Dropout, JMLR 2014
 */
const sno_op sno_op_dropout = {.name = "dropout", .args = "x p:num=0.5 training:bool=true", .flags = SNO_VIEW, .nout = 1, .infer = infer_dropout,
                               .backward = back_dropout, .samples = "f(3,4); f(2,3,2), 0.3; f(4), 0.5, false; f(5), 1; f(5), 0",
                               .wrong = "f(3), 1.5 => p is 1.5; f(3), -0.1 => p is -0.1; i(1,3,4) => wants floating numbers"};
