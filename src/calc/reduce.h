/* reduce.h - many numbers to one, in an order fixed by their count alone.
 *
 * A reduction is cut into blocks of SNK_BLOCK consecutive numbers. Inside a block number i goes to lane i % SNK_LANES; the lanes are then
 * folded by halves. So the result does not depend on strides, threads or the instruction set, and rounding errors grow as in a pairwise sum
 * (Higham, The accuracy of floating point summation, SIAM J. Sci. Comput. 14, 1993). Blocks are combined by snk_fold, neighbours first.
 */
#ifndef SNK_REDUCE_H
#define SNK_REDUCE_H
#include <stdint.h>
#include "base/dtype.h"
#include "calc/isa.h"

enum { SNK_SUM, SNK_PROD, SNK_MAX, SNK_MIN, SNK_SUMSQ, SNK_SUMABS, SNK_MAXABS, SNK_REDUCTIONS };
#define SNK_BLOCK 1024
#define SNK_REDUCE_LANES 32
#define SNK_TILE_BYTES 1024 /* the widest columns that are reduced side by side: their lanes fit the first cache */
#define SNK_PIECE_BYTES 256 /* pieces of longer rows: processors read ahead down the rows for these, but not for twice as long ones */

typedef struct snk_reduce {
  /* n <= SNK_BLOCK consecutive numbers */
  float (*row_f32)(int which, int64_t n, const float *x);
  double (*row_f64)(int which, int64_t n, const double *x);
  /* The sum of n <= SNK_BLOCK numbers that lie in pieces of `run`, `step` elements apart; at x the piece has `left` of them. The same bits. */
  float (*pieces_f32)(int64_t n, const float *x, int64_t left, int64_t run, int64_t step);
  double (*pieces_f64)(int64_t n, const double *x, int64_t left, int64_t run, int64_t step);
  float (*pieces_bf16)(int64_t n, const uint16_t *x, int64_t left, int64_t run, int64_t step); /* of floats in two bytes; may be NULL */
  /* The place of the largest (least: smallest) of n > 0 numbers: the first of equals, or the first NaN. */
  int64_t (*seek_f32)(int least, int64_t n, const float *x);
  int64_t (*seek_f64)(int least, int64_t n, const double *x);
  /* Columns side by side (width * size <= SNK_TILE_BYTES): numbers first..first+n-1 of a block, `step` elements apart, into the lanes at acc;
   * cols_begin clears the lanes, cols_end folds them to the beginning of acc. acc: SNK_REDUCE_LANES * SNK_TILE_BYTES bytes, aligned to 64. */
  void (*cols_begin)(int which, int f64, int64_t width, void *acc);
  void (*cols_f32)(int which, int64_t first, int64_t n, const float *x, int64_t step, int64_t width, void *acc);
  void (*cols_f64)(int which, int64_t first, int64_t n, const double *x, int64_t step, int64_t width, void *acc);
  void (*cols_end)(int which, int f64, int64_t width, void *acc);
  /* All three at once for SNK_SUM of at most SNK_REDUCE_LANES floats a column: the sums to `to`. */
  void (*sums)(int64_t n, const float *x, int64_t step, int64_t width, float *to);
  double (*fold)(int which, int64_t n, double *part, int f64); /* combine n block results in place (float arithmetic unless f64) */
  /* Integers (int64, int32, uint8), in any order: sums in int64, wrapping, extremes in their own type; that is what acc holds. Rows of `width`
   * numbers, `step` elements apart, into acc, which holds what came before. */
  void (*ints)(int which, sn_dtype t, int64_t n, const void *x, int64_t step, int64_t width, void *acc);
} snk_reduce;
SNK_TABLE_FOR(reduce, snk_reduce_now, sn_isa_moves())

void snk_reduce_ints(int which, sn_dtype t, int64_t n, const void *x, int64_t step, int64_t width, void *acc); /* ints, and SNK_PROD */
void snk_reduce_ints_row(int which, sn_dtype t, int64_t n, const void *x, void *to); /* n > 0 numbers side by side to one */
int64_t snk_seek_ints(bool least, sn_dtype t, int64_t n, const void *x); /* as seek_f32 */

/* Running sums of float32, float64 or int64, one number after another. Up to four rows, steps in bytes; or the next row of columns side by side,
 * from the sums before it, which may be where the next go. */
void snk_scan_rows(sn_dtype t, int rows, int64_t n, const char *const *x, int64_t xs, char *const *y, int64_t ys);
void snk_scan_next(sn_dtype t, int64_t width, const void *before, const void *x, void *y);

#endif
