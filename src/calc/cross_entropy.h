/* cross_entropy.h - kernels of the losses over classes: along n of a contiguous outer x n x inner tensor, from logits, log probabilities or
 * probabilities.
 *
 * The weight of class c in a row's loss is its coefficient w_c t_c, where t is the target's distribution (smoothed): one-hot for a label.
 */
#ifndef SNK_CROSS_ENTROPY_H
#define SNK_CROSS_ENTROPY_H
#include <stdbool.h>
#include <stdint.h>
#include "calc/isa.h"

enum { SNK_LOGITS, SNK_LOGP, SNK_PROBS };

typedef struct snk_cross_entropy_args {
  bool f64;
  int kind;                /* what x is */
  int64_t outer, n, inner; /* outer * inner rows */
  const void *x;
  const int64_t *label;    /* of each row from 0, negative: ignored; NULL when prob is given */
  const void *prob;        /* of x's shape */
  const void *weight;      /* n, or NULL */
  double smoothing;
  double epsilon;          /* SNK_PROBS: x is clipped to epsilon .. 1 - epsilon */
  void *loss;              /* forward: one number a row */
  const void *g;           /* backward: gradient of each row's loss, or one for all (gstep 0) */
  int64_t gstep;
  double scale;            /* of g */
  void *gx;                /* backward: gradient of x */
} snk_cross_entropy_args;

/* Units begin..end-1: rows where inner is 1, else blocks of as many rows side by side as a vector has lanes. */
typedef void snk_cross_entropy_units(const snk_cross_entropy_args *a, int64_t begin, int64_t end);
typedef struct snk_cross_entropy_type { snk_cross_entropy_units *forward, *backward; int lanes; } snk_cross_entropy_type;
typedef struct snk_cross_entropy { snk_cross_entropy_type f32, f64; } snk_cross_entropy;
SNK_TABLE_TYPES(cross_entropy)

void snk_cross_entropy_run(const snk_cross_entropy_args *a, bool backward);
double snk_label_weight(const snk_cross_entropy_args *a); /* sum of the weights of all labels that count */
#endif
