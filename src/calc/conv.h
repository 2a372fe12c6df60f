/* conv.h - convolution as a matrix product whose right-hand side is never written down.
 *
 * One pass computes, for every image and group, C[m][p] = sum over k of A[m][k] * S[koff[k] + p]: A is the weight, k counts (channel, tap) or,
 * for small planes, (row of taps, channel, tap) so that rows of taps that meet only the border are left out; p counts places of a plane row by
 * row at the plane's own pitch, so that one tap is one constant shift and a vector of places is one load.
 * Where a stride, a border or a step of the taps stands in the way, a band of the source is first copied into the worker's scratch with its
 * borders, the phases of a stride in planes of their own; places between the rows are computed and not stored, or, where that would be too
 * much, the places of some images are packed without them, block of k by block. The forward operation is one
 * pass, the gradient of the input one for each phase of the stride (for a stride of two from one copy of the source, neighbours in a row stored
 * together). The gradient of the weight sums over places: with many channels as products of
 * places x channels with shifted places x channels, with few as inner products of planes with shifted planes.
 *
 * Every element is one chain of fused multiply-adds over blocks of k in order (as in gemm.h), so neither the way it is packed nor the number
 * of threads changes a bit. The weight's gradient is summed over fixed runs of images, the runs added in order.
 */
#ifndef SNK_CONV_H
#define SNK_CONV_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "calc/isa.h"

typedef struct snk_conv_axis { int64_t in, out, k, stride, pad, dilation; } snk_conv_axis;
typedef struct snk_conv_shape {
  bool f64, round;           /* round: forward and input's gradient give bfloat16 numbers (as floats; not for f64) */
  bool half;                 /* what is multiplied are bfloat16 numbers (as floats) */
  bool narrow_x, narrow_y;   /* the source (or its gradient), the result (or its gradient) lies in memory as bfloat16 numbers: where snk_conv_narrow */
  int64_t n, groups, ci, co; /* images; channels of one group, in and out */
  snk_conv_axis y, x;
} snk_conv_shape;
enum { SNK_CONV_FORWARD, SNK_CONV_INPUT, SNK_CONV_WEIGHT };

/* Bytes wanted: `scratch` for the call, `worker` by sn_scratch_reserve; they depend on the shape alone. */
void snk_conv_space(const snk_conv_shape *s, int what, size_t *scratch, size_t *worker);
/* x n x groups*ci x in, w groups*co x ci x k, y n x groups*co x out, all contiguous; bias (may be NULL) has a number for each channel of the
 * result. */
void snk_conv_forward(const snk_conv_shape *s, const void *x, const void *w, const void *bias, void *y, void *scratch);
/* The same with what a program knows: the weight packed before (w is not read), and what follows in the last store, each step rounded as the
 * operation of its own: (sum - mean) * scale + shift of the channel (mean NULL: without), + add (laid out as y, or NULL; it may be y), relu. */
typedef struct snk_conv_with { const void *packed, *bias, *mean, *scale, *shift, *add; bool relu; } snk_conv_with;
void snk_conv_forward_with(const snk_conv_shape *s, const void *x, const void *w, const snk_conv_with *with, void *y, void *scratch);
/* The weight of the forward operation as its tiles read it: depends on the shape and the instruction set. */
size_t snk_conv_packed_bytes(const snk_conv_shape *s);
void snk_conv_pack(const snk_conv_shape *s, const void *w, void *to);
void snk_conv_backward_input(const snk_conv_shape *s, const void *gy, const void *w, const void *bias, void *gx, void *scratch);
bool snk_conv_narrow(const snk_conv_shape *s, int what, bool y); /* may the operation's y side (its x side) be so? A result only where it is rounded */
void snk_conv_backward_weight(const snk_conv_shape *s, const void *x, const void *gy, void *gw, void *scratch);

/* ---- between conv.c, conv_weight.c and the instruction set's part */

/* One direction of one pass: output i and tap t meet source place i + off(t) of slot(t), which is source position
 * origin + phase(slot) + place * step. */
typedef struct snk_conv_side {
  int64_t n;                  /* outputs */
  int64_t src, origin, step;  /* source size; where its places begin and how far they are apart */
  int64_t slots, span;        /* phases in use; places of each */
  int64_t taps, first, every; /* kernel positions first, first + every, ... */
  int64_t stride, dilation, emax;
  bool back, dense;           /* dense: every shift of the source has a slot of its own, and nothing lies between its rows */
  int64_t ostart, ostep;      /* position of output i in the result */
} snk_conv_side;

typedef struct snk_conv_pass {
  snk_conv_side y, x;
  int64_t n, groups, m, c, k;             /* images, groups; rows of the result and source channels of a group; c * taps */
  int64_t kh, kw, kblock;                 /* the whole kernel; longest block of k */
  int64_t wm, wc, wg;                     /* steps in the weight: row, channel, group */
  int64_t dsty, dstx;                     /* size of the result's planes */
  bool tap_rows;                          /* k counts (row of taps, channel, tap of the row); else (channel, tap) */
  bool relu;                              /* of the finished sum with its bias */
  bool direct, exact, unit;               /* the source is read where it lies; places packed without what is between the rows; the result's rows
                                           * follow one another */
  int64_t per;                            /* exact: images of one piece */
  int64_t pitch, rows, plane, band;       /* of the source as read: row, rows of one slot, channel; output rows of one band */
  int64_t limit;                          /* direct: no tile may begin later than this many places before the end; else -1 */
  const int64_t *koff, *kpanel;           /* of k in the source as read, and in a packed block */
  const int64_t *meets;                   /* rows of output that meet the source through a row of taps: first, end */
  bool round, more;                       /* rounded to bfloat16; that, a mean or an addition follows the sum */
  bool narrow;                            /* the result lies in memory as bfloat16 numbers; pointers into it count as if they were floats, from dst on */
  const void *src, *bias, *packed, *mean, *scale, *shift, *add;
  void *dst;
  const struct snk_conv_pass *pair;       /* gives the places between this one's, from the same copy of the source */
} snk_conv_pass;

/* Kernel position, slot and shift of tap t. */
static inline void snk_conv_tap(const snk_conv_side *s, int64_t t, int64_t *r, int64_t *slot, int64_t *off) {
  *r = s->first + t * s->every;
  int64_t e = *r * s->dilation / s->stride;
  *slot = s->back ? 0 : t % s->slots; /* phases come round in the order of the first taps */
  *off = s->back ? s->emax - e : e;
  if (s->dense) *slot = s->back ? *off : t, *off = 0;
}
static inline int64_t snk_conv_phase(const snk_conv_side *s, int64_t slot) {
  if (s->dense) return s->back ? slot : slot * s->dilation;
  return s->back ? 0 : slot * s->dilation % s->stride;
}
/* The source position that output 0 meets through tap t. */
static inline int64_t snk_conv_from(const snk_conv_side *s, int64_t t) {
  int64_t r, slot, off;
  snk_conv_tap(s, t, &r, &slot, &off);
  return s->origin + snk_conv_phase(s, slot) + off * s->step;
}
/* Outputs lo .. hi-1 that meet the source, not its border, through tap t. */
static inline void snk_conv_meets(const snk_conv_side *s, int64_t t, int64_t *lo, int64_t *hi) {
  const int64_t base = snk_conv_from(s, t), room = s->src - base;
  *lo = base < 0 ? (-base + s->step - 1) / s->step : 0;
  *hi = room > 0 ? (room + s->step - 1) / s->step : 0;
  if (*hi > s->n) *hi = s->n;
  if (*lo > *hi) *lo = *hi;
}

/* Exact: the places of some images (or of a band of one), without what lies between the rows: row by row, in each
 * row image by image. */
typedef struct snk_conv_piece {
  int64_t images, oy0, rows, step; /* rows from oy0 on; step: from image to image in the copy */
  int64_t places;                  /* images * rows * x.n */
} snk_conv_piece;

/* One block of the weight's gradient: rows m0 .. m1 of one group. */
typedef struct snk_conv_grad {
  const snk_conv_pass *p;
  int64_t images, vectors;        /* of this block; vectors of places of an image (band) */
  const uint32_t *masks;          /* the places that count, a word for each vector; NULL: all */
  const void *g, *x;
  int64_t gld, gimage, ximage;    /* steps: row and image of the gradient, image of the source */
  int64_t m0, m1;
  void *out;                      /* m x k */
  bool add;
  snk_conv_piece piece;           /* exact: what x holds; rows of it for some k are packed into `room`, at gld */
  void *room;
  int64_t channels;               /* channels last: of a place of x, padded to whole vectors; g is in tiles, out is tap x m x channels */
  int64_t xfirst;                 /* and the place of the source's plane that x begins with */
} snk_conv_grad;
enum { SNK_CONV_KCHUNK = 48 };    /* k of a weight's gradient that are packed together */

typedef struct snk_conv_type {
  int mr, lanes, wide;            /* rows of a tile; numbers in a vector; places of the widest tile */
  void (*pack)(const snk_conv_pass *p, const void *w, int64_t m0, int64_t mr, void *dst); /* dst, w: of the group */
  void (*prepare)(const snk_conv_pass *p, const void *src, int64_t oy0, int64_t n, void *dst);
  /* Places p0..p1 of an image's band (place 0 is of row oy0), rows of tiles t0..t1; src at place 0, dst at its row; the group begins at
   * channel `ch` of the result. */
  void (*band)(const snk_conv_pass *p, const void *src, int64_t oy0, int64_t p0, int64_t p1, const void *a, void *dst, int64_t ch, int64_t t0,
               int64_t t1);
  /* `tiles` times two vectors of places of a piece from number `at` on: packed by blocks of k into room (snk_conv_room numbers) and multiplied.
   * src and dst at the piece's first row. */
  void (*exact)(const snk_conv_pass *p, const snk_conv_piece *piece, const void *src, int64_t at, int64_t tiles, const void *a, void *dst,
                int64_t ch, int64_t t0, int64_t t1, void *room);
  void (*spread)(const void *src, int64_t channels, int64_t plane, int64_t rows, int64_t width, int64_t pitch, int64_t to, void *dst);
  void (*spread_narrow)(const void *src, int64_t channels, int64_t plane, int64_t rows, int64_t width, int64_t pitch, int64_t to, void *dst); /* from
    bfloat16 numbers; NULL: results cannot be narrow either */
  void (*grad)(const snk_conv_grad *g);
  void (*grad_exact)(const snk_conv_grad *g);
  /* Channels last: places x channels from channels x places; tiles of rows, places x rows; and the product. */
  void (*turn)(const void *src, int64_t channels, int64_t plane, int64_t places, int64_t to, void *dst);
  void (*turn_rows)(const void *src, int64_t rows, int64_t step, int64_t places, int64_t all, int64_t at, void *dst);
  void (*grad_last)(const snk_conv_grad *g);
  /* One plane of a pass whose groups are one channel and one row of the weight, its kernel 3 x 3, its stride 1; NULL: band serves. */
  void (*plane)(const snk_conv_pass *p, const void *src, const void *a, void *dst, int64_t ch);
} snk_conv_type;
typedef struct snk_conv { snk_conv_type f32, f64; } snk_conv;
SNK_TABLE(conv)

enum { SNK_CONV_BEYOND = 192 };  /* bytes behind a packed weight that may be read (and are not used) */
enum { SNK_CONV_RUN = 1 << 18 };   /* bytes of a block of the weight that are read for one packed tile after another */
enum { SNK_CONV_AHEAD = 4096 }; /* bytes of the packed weight that are asked for before they are read: the weights of a net do not stay in any cache */
enum { SNK_CONV_TOGETHER = 8 }; /* exact tiles packed together, at most */
static inline int64_t snk_conv_room(const snk_conv_pass *p, int64_t lanes, int64_t tiles) { return tiles * 2 * lanes * (p->kblock + p->m) + lanes; }

/* Places in whole vectors, none of which lies in two rows (one to three rows of the weight take more than two vectors at once). */
static inline bool snk_conv_whole_rows(const snk_conv_pass *p, int64_t lanes) {
  return (p->unit || p->pair) && p->m > 3 && p->pitch > p->x.n && p->x.n % lanes == 0;
}

/* Number of k of the first tap of a row of taps. */
static inline int64_t snk_conv_k(const snk_conv_pass *p, int64_t c, int64_t ty) {
  return (p->tap_rows ? ty * p->c + c : c * p->y.taps + ty) * p->x.taps;
}

/* Where in a group's packed weight the tile that begins with row m0 has number k of its sums, and how many of the block are left from there: block of k by
 * block, in each tile by tile, so that it is read from front to back. */
static inline int64_t snk_conv_at(const snk_conv_pass *p, int64_t m0, int64_t mr, int64_t k, int64_t *left) {
  const int64_t block = k < p->kblock ? 0 : k / p->kblock * p->kblock, n = block + p->kblock < p->k ? p->kblock : p->k - block;
  *left = n - (k - block);
  return block * p->m + m0 * n + (k - block) * mr;
}

/* Rows of tile t of m rows shared out evenly among tiles of at most mr. */
static inline int64_t snk_conv_tiles(int64_t m, int64_t mr) { return (m + mr - 1) / mr; }
static inline int64_t snk_conv_tile_at(int64_t m, int64_t tiles, int64_t t) {
  int64_t low = m / tiles, extra = m % tiles;
  return t * low + (t < extra ? t : extra);
}
#endif
