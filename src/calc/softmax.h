/* softmax.h - kernels of softmax and its logarithm over one dimension of a contiguous tensor: outer x n x inner, along n. */
#ifndef SNK_SOFTMAX_H
#define SNK_SOFTMAX_H
#include <stdbool.h>
#include <stdint.h>
#include "calc/isa.h"

typedef struct snk_softmax_args {
  bool f64, log, backward;
  int64_t outer, n, inner;
  const void *x;           /* forward: the input; backward: the forward's result */
  const void *g;           /* backward: gradient of the result */
  void *y;                 /* the result, or the gradient of x */
} snk_softmax_args;

/* Units begin..end-1: rows where inner is 1, else blocks of as many columns as a vector has lanes. */
typedef void snk_softmax_units(const snk_softmax_args *a, int64_t begin, int64_t end);
typedef struct snk_softmax { snk_softmax_units *f32, *f64; int lanes32, lanes64; } snk_softmax;
SNK_TABLE(softmax)

void snk_softmax_run(const snk_softmax_args *a);
#endif
