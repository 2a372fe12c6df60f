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
SNK_TABLE(loss)
SNK_TABLE_DOUBLES(loss)

/* Sum in float64, blocks of 8192 numbers at a time; partial has room for snk_loss_blocks(n). Any number of threads gives the same bits. */
#define SNK_LOSS_BLOCK 8192
static inline int64_t snk_loss_blocks(int64_t n) { return (n + SNK_LOSS_BLOCK - 1) / SNK_LOSS_BLOCK; }
double snk_loss_sum(const void *x, bool f64, int64_t n, double *partial);
#endif
