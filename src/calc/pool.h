/* pool.h - pooling: the largest or the mean of windows of planes. A plane is one worker's, so every sum has one order.
 *
 * Of equal largest numbers the first (row by row) wins, and the first NaN wins over all. The place of the winner is not kept: the backward
 * compares again, which costs less than writing and reading places.
 */
#ifndef SNK_POOL_H
#define SNK_POOL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "calc/isa.h"

typedef struct snk_pool_axis { int64_t in, out, k, stride, pad, dilation; } snk_pool_axis;
typedef struct snk_pool_shape {
  bool f64;
  bool relu;        /* backward of snk_pool_pairs: x is a relu's result, and the gradient is that of relu's input */
  bool half;        /* x is bfloat16 numbers of two bytes, for forward and backward where snk_pool_halves; and then perhaps also */
  bool half_y;      /* y, or the gradient that comes (else floats that are bfloat16 numbers), */
  bool half_gx;     /* the gradient that is given */
  int64_t planes;
  snk_pool_axis y, x;
} snk_pool_shape;

/* All windows are two by two, side by side. */
static inline bool snk_pool_pairs(const snk_pool_shape *s) {
  const snk_pool_axis *y = &s->y, *x = &s->x;
  return y->k == 2 && x->k == 2 && y->stride == 2 && x->stride == 2 && y->dilation == 1 && x->dilation == 1 && y->pad == 0 && x->pad == 0 &&
         2 * y->out <= y->in && 2 * x->out <= x->in;
}

/* Means: output i of a direction is the sum of positions lo[i] .. hi[i]-1 over count[i]. */
typedef struct snk_mean_axis { int64_t in, out; const int64_t *lo, *hi, *count; } snk_mean_axis;
typedef struct snk_mean_shape {
  bool f64;
  int64_t planes;
  double divisor;   /* 0: the counts of both directions multiplied */
  bool pairs;       /* all windows are two by two, side by side */
  bool whole;       /* one window: the plane */
  snk_mean_axis y, x;
} snk_mean_shape;

/* sn_scratch_reserve: one row of a plane for means; for maxima the plane with its rows split by the stride, where that is small enough. */
static inline size_t snk_mean_worker(bool f64, int64_t width) { return (size_t)(width + 64) * (f64 ? 8 : 4); }
enum { SNK_POOL_TAPS = 32, SNK_POOL_PLACES = 1 << 20 };
static inline int64_t snk_pool_pitch(const snk_pool_axis *x) { return (x->k - 1) * x->dilation / x->stride + (x->out + 15) / 16 * 16; }
static inline size_t snk_max_worker(const snk_pool_shape *s) { /* 0: too large */
  if (s->x.k > SNK_POOL_TAPS || s->x.stride > 8 || s->y.in * s->x.stride > SNK_POOL_PLACES / snk_pool_pitch(&s->x)) return 0;
  return (size_t)(s->y.in * s->x.stride * snk_pool_pitch(&s->x)) * (s->f64 ? 8 : 4);
}

void snk_max_pool(const snk_pool_shape *s, const void *x, void *y);
void snk_max_pool_backward(const snk_pool_shape *s, const void *gy, const void *x, void *gx);
void snk_max_pool_pick(const snk_pool_shape *s, const void *g, const void *x, void *y); /* g at the winners' places */
void snk_mean_pool(const snk_mean_shape *s, const void *x, void *y);
void snk_mean_pool_backward(const snk_mean_shape *s, const void *gy, void *gx);

/* ---- the instruction set's part: one plane; row and room are the worker's, room may be NULL */
typedef struct snk_pool_type {
  void (*max)(const snk_pool_shape *s, const void *x, void *y, void *room);
  void (*max_back)(const snk_pool_shape *s, const void *gy, const void *x, void *gx, void *room);
  void (*pick)(const snk_pool_shape *s, const void *g, const void *x, void *y);
  void (*mean)(const snk_mean_shape *s, const void *x, void *y, void *row);
  void (*mean_back)(const snk_mean_shape *s, const void *gy, void *gx, void *row);
} snk_pool_type;
typedef struct snk_pool {
  snk_pool_type f32, f64;
  /* Of bfloat16 numbers, snk_pool_pairs alone; NULL where there are none. */
  void (*max_half)(const snk_pool_shape *s, const void *x, void *y);
  void (*max_back_half)(const snk_pool_shape *s, const void *gy, const void *x, void *gx);
} snk_pool;
SNK_TABLE_TYPES(pool)
static inline bool snk_pool_halves(const snk_pool_shape *s) { return !s->f64 && snk_pool_pairs(s) && snk_pool_now()->max_half; }
#endif
