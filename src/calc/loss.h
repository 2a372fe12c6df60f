/* loss.h - kernels of the losses element by element (formulas in loss.def), and the sum of a loss's parts in one order. */
#ifndef SNK_LOSS_H
#define SNK_LOSS_H
#include <stdbool.h>
#include <stdint.h>
#include "calc/isa.h"

enum {
#define LOSS(name, ...) SNK_LOSS_##name,
#include "calc/loss.def"
  SNK_LOSS_COUNT
};

/* n elements; steps s in bytes, 0: one value for all. p: destination, x, t, weight, pos_weight; a backward has the gradient after the destination.
 * param: the line's option, then (backward) the factor of the reduction. */
typedef void snk_loss_row(int64_t n, char *const *p, const int64_t *s, const double *param);
typedef struct snk_loss_type {
  snk_loss_row *row[SNK_LOSS_COUNT], *gx[SNK_LOSS_COUNT], *gt[SNK_LOSS_COUNT];
  double (*sum)(const void *x, int64_t n);
} snk_loss_type;
typedef struct snk_loss { snk_loss_type f32, f64; } snk_loss;
SNK_TABLE_TYPES(loss)

/* The sum of n parts in float64, SNK_LOSS_BLOCK at a time. They lie at p[0], or `row` makes them of p[1..4], whose steps are s[1..4]; s[0] is an
 * element's size. `partial` has room for snk_loss_blocks(n). Any number of threads gives the same bits. */
#define SNK_LOSS_BLOCK 2048
static inline int64_t snk_loss_blocks(int64_t n) { return (n + SNK_LOSS_BLOCK - 1) / SNK_LOSS_BLOCK; }
typedef struct snk_loss_parts {
  snk_loss_row *row; /* or NULL */
  const double *param;
  char *p[5];
  int64_t s[5], n;
  bool f64;
  double *partial;
} snk_loss_parts;
double snk_loss_sum(const snk_loss_parts *a);
#endif
