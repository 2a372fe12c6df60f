/* loss.c - the sum of a loss's parts over the threads. */
#include "base/thread.h"
#include "calc/loss.h"

static void sum_blocks(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const snk_loss_parts *a = ctx;
  const snk_loss_type *k = snk_loss_of(a->f64);
  for (int64_t b = begin; b < end; b++) {
    const int64_t at = b * SNK_LOSS_BLOCK, n = a->n - at < SNK_LOSS_BLOCK ? a->n - at : SNK_LOSS_BLOCK;
    double room[SNK_LOSS_BLOCK];
    char *p[5] = {a->row ? (char *)room : a->p[0] + at * (a->f64 ? 8 : 4)};
    if (a->row) { /* the parts never leave the first cache */
      for (int i = 1; i < 5; i++) p[i] = a->p[i] + at * a->s[i];
      a->row(n, p, a->s, a->param);
    }
    a->partial[b] = k->sum(p[0], n);
  }
}

double snk_loss_sum(const snk_loss_parts *a) {
  const int64_t blocks = snk_loss_blocks(a->n);
  sn_parallel(blocks, 16384 / SNK_LOSS_BLOCK, sum_blocks, (void *)(uintptr_t)a);
  double s = 0;
  for (int64_t b = 0; b < blocks; b++) s += a->partial[b];
  return s;
}
