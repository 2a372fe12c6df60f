/* conv_half.h - convolution of bfloat16 numbers (kept as floats) with a processor's matrix tiles (AMX).
 *
 * A tile multiplies 16 rows x 32 numbers with 32 numbers x 16 columns. Forward and input's gradient: the 32 are channels of the source (16 pairs; evenly
 * fewer where there are fewer), the 16 rows are rows of the weight, the 16 columns places. A band of the source is copied once, as planes of pairs of
 * channels, for AMX once for each column of taps: a tile of places for one tap is then loaded from where it lies, and begins with a line of the cache (a
 * tile whose rows lie across two lines takes six times as long to load). Narrow images lie side by side. The input's gradient is the same with the taps in
 * reverse; for a stride of two zeros stand between the source's places.
 * The weight's gradient: the 32 are places, the rows channels of the source, the columns those of the result's gradient, which is turned into pairs of places first.
 *
 * A sum takes parts of the channels in order, in each the taps in order; the weight's gradient sums fixed runs of images, the runs added in order.
 * That depends on the shape alone. What would be below the normal range is zero, of the source too.
 */
#ifndef SNK_CONV_HALF_H
#define SNK_CONV_HALF_H
#include "calc/conv.h"

/* Is it the way for this pass (SNK_CONV_FORWARD and so on)? By the shape and the processor alone. */
bool snk_half_suits(const snk_conv_shape *s, int what);
void snk_half_space(const snk_conv_shape *s, int what, size_t *scratch, size_t *worker);
size_t snk_half_packed_bytes(const snk_conv_shape *s);
void snk_half_pack(const snk_conv_shape *s, const float *w, void *to);
void snk_half_run(const snk_conv_shape *s, bool back, const float *src, const float *w, const snk_conv_with *with, float *dst, void *scratch);
void snk_half_grad(const snk_conv_shape *s, const float *x, const float *gy, float *gw, void *scratch);

/* ---- between conv_half.c, conv_half.bf16.c and conv_half_copy.bf16.c */

/* Planes of floats, and as what they are copied. Place i of the result meets through tap t the source's place (i * step + t * every - border) / spread, if
 * there is one; a row of the copy has those of one column of taps, in whole vectors. */
typedef struct snk_half_axis { int64_t src, out, taps, every, border, step, spread; } snk_half_axis;
/* Sixteen places of a row: where they are read, with which masks. Where a row of the source fits in registers, also which number of those is where, in
 * all places of a vector. */
typedef struct snk_half_part { int32_t from; uint16_t first, second, spread; uint8_t pick[32]; uint32_t some; } snk_half_part;
typedef struct snk_half_copy {
  snk_half_axis y, x;
  int64_t side, slot;         /* images side by side in a vector, each so many places */
  int64_t lanes, room;        /* places of a vector; numbers of a row of the source that fit in registers, 0: they do not */
  int64_t copies, width;      /* one for each column of taps, each as wide as the result; or one for all, by their reach wider */
  int64_t tiles;              /* tiles of 16 places of a row of the result */
  int64_t parts, pitch;       /* parts of 16 places of a row that are read; places from row to row */
  int64_t plane, column;      /* from channel (or pair) to the next; from one column of taps to the next */
  const snk_half_part *part;  /* for each copy, for each part */
  const float *narrow;        /* where the source begins, if it is bfloat16 numbers in two bytes (pointers into it count as if they were floats), or NULL */
} snk_half_copy;

typedef struct snk_half {
  snk_half_copy copy;
  int64_t n, groups, m, c;    /* images, groups; rows of the result and source channels of a group */
  int64_t mtiles, mr;         /* tiles of rows; rows of one */
  int64_t blocks, pairs;      /* of the channels; pairs of one block */
  int64_t wm, wc, wg;         /* steps in the weight: row, channel, group */
  int64_t band;               /* rows of a band */
  bool flip, round, relu;
  bool narrow;                /* dst: bfloat16 numbers in two bytes (snk_conv_shape) */
  const uint16_t *packed;
  const float *src, *w, *bias, *mean, *scale, *shift, *add;
  float *dst;
} snk_half;

enum { SNK_HALF_PICKS = 12 }; /* parts of all columns of taps whose picks stay at hand */
enum { SNK_HALF_TILE = 512 }; /* numbers of a tile of the weight, of the turned gradient */
/* The tables of parts, taps * parts of them. */
void snk_half_parts(const snk_half_copy *c, snk_half_part *part);
/* Rows that are the tile `t` of rows and all that is multiplied with it; tiles come in twos. */
void snk_half_pack_rows(const snk_half *p, const float *w, int64_t t, uint16_t *to);
/* Rows y0 .. y0 + rows-1 (as taps meet them) of some images as pairs of channels. */
void snk_half_pairs(const snk_half *p, const float *src, int64_t images, int64_t y0, int64_t rows, uint32_t *to);
/* Some rows of the result of some images from a copy of the source, tiles t0 (even) .. t1-1 of channels; dst at the first row of the group's, which is channel ch. */
void snk_half_band(const snk_half *p, const uint32_t *copy, int64_t images, int64_t rows, const uint16_t *packed, float *dst, int64_t ch, int64_t t0, int64_t t1);

/* The weight's gradient. Numbers of a block are `stacks` (of images side by side) times `rows` times `vectors` times 32. */
typedef struct snk_half_sums {
  int64_t mtiles, mr, ntiles, nr;  /* tiles of source channels (rows) and of the result's (columns) */
  int64_t taps, kh;
  int64_t stacks, rows, vectors;
  int64_t down, plane, column, xrow, xstack; /* steps in the source's copy: tap, channel, column of taps, row of the result, stack */
} snk_half_sums;
/* Rows of some channels of n images, `step` apart, in stacks. */
void snk_half_rows(const snk_half_copy *c, const float *src, int64_t channels, int64_t y0, int64_t rows, int64_t n, int64_t step, int64_t stack, uint16_t *to);
/* The same as tiles of pairs of places x nr channels. */
void snk_half_turn(const snk_half_copy *c, const float *src, int64_t channels, int64_t nr, int64_t y0, int64_t rows, int64_t n, int64_t step, uint16_t *to);
/* Columns n0 .. n1-1 (in tiles): products put into or added to `sums`, ntiles x mtiles x taps (columns of taps first) tiles of 16 x 16. */
void snk_half_products(const snk_half_sums *s, int64_t n0, int64_t n1, const uint16_t *x, const uint16_t *turned, bool add, float *sums);
/* Tile n of columns: the sums of some runs, `between` apart, as the weight lies. */
void snk_half_total(const snk_half_sums *s, int64_t n, int64_t m, int64_t c, const float *sums, int64_t runs, int64_t between, float *gw);
#endif
