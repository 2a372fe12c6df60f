/* norm.h - kernels of normalisation: per channel over a batch (n x channels x inner), and per row. Sums of parts are kept in float64, in an
 * order fixed by the shape. */
#ifndef SNK_NORM_H
#define SNK_NORM_H
#include <stdbool.h>
#include <stdint.h>
#include "calc/isa.h"

enum { SNK_NORM_X = 1, SNK_NORM_G = 2, SNK_NORM_OTHER = 4, SNK_NORM_SEEN = 8, SNK_NORM_ADD = 16, SNK_NORM_Y = 32 };
enum { SNK_NORM_RUN = 32 }; /* rows whose part of the gradients of weight and bias is summed at once */
static inline int64_t snk_norm_runs(int64_t rows) { return (rows + SNK_NORM_RUN - 1) / SNK_NORM_RUN; }

typedef struct snk_norm_args {
  bool f64;
  bool centered;           /* rows: false: the mean is not subtracted (rms_norm) */
  bool round;              /* y is rounded to bfloat16 (and stays float; not for f64), and so is each sum with `add` or `other` */
  bool training;           /* batch: the statistics are the batch's own */
  bool relu;               /* batch: y is the relu of what it would be; backward (training): g is the gradient of that */
  int64_t n, channels, inner; /* rows: n rows of `channels` elements */
  double epsilon;
  unsigned half;           /* batch, inner > 1: which of these are bfloat16 numbers in two bytes (SNK_NORM_X and so on), where snk_norm.half */
  const void *x, *g;       /* g: gradient of y */
  const void *other, *seen; /* batch, backward: other (or NULL) joins g; seen: what relu gave, or NULL: only where that is above zero the sum counts, */
  void *masked;            /* ... and is written here (may lie over g or other) */
  const void *add;         /* laid out as x, or NULL. Batch, forward: joins before relu. Rows, backward: joins the gradient of x */
  const void *weight, *bias; /* a number a channel (rows: an element), or NULL; backward reads the bias for relu alone */
  void *mean, *rstd, *var; /* batch: one a channel; rows: mean and rstd one a row, or NULL in a forward */
  void *y;                 /* the result, or the gradient of x; NULL when not wanted. Batch: may lie over x, g or add */
  void *gw, *gb;           /* gradients of weight and bias */
  void *part;              /* rows, backward: room for what each run of SNK_NORM_RUN rows adds to gb and gw, two rows a run */
} snk_norm_args;

/* Units begin..end-1 of the present pass. */
typedef void snk_norm_units(const snk_norm_args *a, int64_t begin, int64_t end);
/* `count` planes (rows when inner is 1) of the batch, from one on, each `step` from the one before. */
typedef void snk_norm_planes(const snk_norm_args *a, int64_t from, int64_t count, int64_t step);
typedef struct snk_norm_type {
  void (*roots)(const snk_norm_args *a);
  snk_norm_units *stats, *sums;                            /* batch: channels (blocks of lanes when inner is 1) */
  snk_norm_planes *apply, *back;
  snk_norm_units *row, *row_back, *row_fold;               /* rows, runs of rows, columns */
  int lanes;
} snk_norm_type;
typedef struct snk_norm { snk_norm_type f32, f64; bool half; } snk_norm;
SNK_TABLE_TYPES(norm)

void snk_batch_roots(const snk_norm_args *a);    /* rstd from var, which is given: 1 / sqrt(var + epsilon) */
void snk_batch_train(const snk_norm_args *a);    /* mean, var, rstd from x, and y */
void snk_batch_apply(const snk_norm_args *a);    /* y from x, mean, rstd */
void snk_batch_backward(const snk_norm_args *a); /* gw, gb, y from g, x, mean, rstd */
void snk_row_norm(const snk_norm_args *a);
void snk_row_norm_backward(const snk_norm_args *a);

/* Groups of an example's channels: n x channels x inner, contiguous. A group's planes go through all passes while they are near. */
typedef struct snk_group_args {
  bool f64;
  int64_t n, channels, groups, inner;
  double epsilon;
  const void *x, *g;         /* g: gradient of y, or NULL: forward */
  const void *weight, *bias; /* a number a channel, or NULL */
  void *y;                   /* the result, or the gradient of x */
  void *gw, *gb;             /* gradients of weight and bias */
  void *room;                /* SNK_GROUP_ROOM numbers for each plane (n * channels) */
} snk_group_args;
enum { SNK_GROUP_ROOM = 9 };
void snk_group_norm(const snk_group_args *a); /* forward or, with g, backward */
#endif
