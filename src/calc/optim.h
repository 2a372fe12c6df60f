/* optim.h - kernels of parameter updates: rows of one tensor, element for element, and the sum of squares that clipping needs. */
#ifndef SNK_OPTIM_H
#define SNK_OPTIM_H
#include <stdint.h>
#include "base/dtype.h"
#include "calc/isa.h"

/* The numbers of an update, worked out once per call in double. */
typedef struct snk_optim_args {
  double lr;
  double decay;                         /* times the parameter is added to the gradient */
  double momentum, keep;                /* SGD: buf = momentum buf + keep g */
  double rho, epsilon;
  double beta1, beta2, root;            /* Adam: root = 1 / sqrt(1 - beta2^step); lr has 1 / (1 - beta1^step) in it already */
  double shrink;                        /* Adam: what the parameter is multiplied by first: 1 - lr weight_decay when decoupled, else 1 */
  double limit, scale;                  /* clipping */
  int nesterov, first;                  /* SGD: first step: buf = g */
  int round;                            /* float32: the gradient is rounded to bfloat16 first (not by clipping) */
} snk_optim_args;

/* n elements; p and steps s in bytes as in map.h: parameter, gradient, first state, second state. */
typedef void snk_optim_row(int64_t n, char *const *p, const int64_t *s, const snk_optim_args *a);

typedef struct snk_optim_type {
  snk_optim_row *sgd, *momentum, *rmsprop, *adam;
  snk_optim_row *clip_value, *scale;                   /* of p[0] alone */
  double (*squares)(const void *x, int64_t n);         /* sum of squares in double, lanes and order fixed by n */
} snk_optim_type;
typedef struct snk_optim { snk_optim_type f32, f64; } snk_optim;
SNK_TABLE_TYPES(optim)

#define SNK_SQUARES_BLOCK 8192   /* elements of a tensor that are summed together */
#endif
