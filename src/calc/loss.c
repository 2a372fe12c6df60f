/* loss.c - the sum of a loss's parts over the threads. */
#include "base/thread.h"
#include "calc/loss.h"

typedef struct sum_job { const char *x; bool f64; int64_t n; double *partial; } sum_job;

static void sum_blocks(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const sum_job *j = ctx;
  const snk_loss_type *k = j->f64 ? &snk_loss_doubles_now()->f64 : &snk_loss_now()->f32;
  for (int64_t b = begin; b < end; b++) {
    const int64_t at = b * SNK_LOSS_BLOCK, n = j->n - at < SNK_LOSS_BLOCK ? j->n - at : SNK_LOSS_BLOCK;
    j->partial[b] = k->sum(j->x + at * (j->f64 ? 8 : 4), n);
  }
}

double snk_loss_sum(const void *x, bool f64, int64_t n, double *partial) {
  sum_job j = {x, f64, n, partial};
  const int64_t blocks = snk_loss_blocks(n);
  sn_parallel(blocks, 4, sum_blocks, &j);
  double s = 0;
  for (int64_t b = 0; b < blocks; b++) s += partial[b];
  return s;
}
