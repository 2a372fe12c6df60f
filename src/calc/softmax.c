/* softmax.c - softmax spread over the threads: every row is summed by one of them. */
#include "base/thread.h"
#include "calc/softmax.h"

static void run(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const snk_softmax_args *a = ctx;
  const snk_softmax *k = snk_softmax_now();
  (a->f64 ? k->f64 : k->f32)(a, begin, end);
}

void snk_softmax_run(const snk_softmax_args *a) {
  const snk_softmax *k = snk_softmax_now();
  const int64_t lanes = a->inner == 1 ? 1 : a->f64 ? k->lanes64 : k->lanes32;
  const int64_t units = a->outer * ((a->inner + lanes - 1) / lanes), each = (a->n > 0 ? a->n : 1) * lanes;
  if (a->n == 0) return;
  sn_parallel(units, 8192 / each + 1, run, (void *)(uintptr_t)a);
}
