/* cross_entropy.c - losses over classes spread over the threads, one of them for each row. */
#include "base/thread.h"
#include "calc/cross_entropy.h"

static void run_forward(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const snk_cross_entropy_args *a = ctx;
  snk_cross_entropy_of(a->f64)->forward(a, begin, end);
}

static void run_backward(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const snk_cross_entropy_args *a = ctx;
  snk_cross_entropy_of(a->f64)->backward(a, begin, end);
}

void snk_cross_entropy_run(const snk_cross_entropy_args *a, bool backward) {
  const int64_t lanes = a->inner == 1 ? 1 : snk_cross_entropy_of(a->f64)->lanes;
  const int64_t units = a->outer * ((a->inner + lanes - 1) / lanes), each = (a->n > 0 ? a->n : 1) * lanes;
  sn_parallel(units, 8192 / each + 1, backward ? run_backward : run_forward, (void *)(uintptr_t)a);
}

double snk_label_weight(const snk_cross_entropy_args *a) {
  const int64_t rows = a->outer * a->inner;
  double s = 0;
  if (a->weight == NULL) {
    int64_t n = 0;
    for (int64_t i = 0; i < rows; i++) n += a->label[i] >= 0;
    return (double)n;
  }
  for (int64_t i = 0; i < rows; i++) {
    const int64_t y = a->label[i];
    if (y >= 0) s += a->f64 ? ((const double *)a->weight)[y] : (double)((const float *)a->weight)[y];
  }
  return s;
}
