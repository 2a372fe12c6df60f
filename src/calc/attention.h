/* attention.h - scaled dot product attention of many heads, forward and backward, without a matrix of all scores.
 *
 * A head is worked on in blocks of rows; the scores of a block lie in the worker's scratch only. The forward keeps the logarithm of each row's sum
 * of exponentials, from which the backward makes the probabilities again. Every head (backward) or block (forward) is one thread's work in
 * one order, so the bits do not depend on the number of threads.
 */
#ifndef SNK_ATTENTION_H
#define SNK_ATTENTION_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "calc/isa.h"

enum { SNK_MASK_NONE, SNK_MASK_BOOL, SNK_MASK_ADD };

/* n x heads matrices of t rows; numbers of a row are neighbours. Strides count elements. */
typedef struct snk_heads { void *p; int64_t sn, sh, st; } snk_heads;

typedef struct snk_attention_args {
  bool f64, causal;
  int64_t n, heads, tq, tk, d, dv;      /* queries tq x d, keys tk x d, values tk x dv */
  double scale;
  snk_heads q, k, v;
  int mask_kind;                        /* bool: true is kept; add: of the scores' number type */
  snk_heads mask;
  int64_t mask_column;                  /* from one key to the next: 1, or 0 where it is the same for all */
  snk_heads y;                          /* forward: written */
  void *lse;                            /* n x heads x tq */
  snk_heads gy, gq, gk, gv;             /* backward: gradient of y; written */
} snk_attention_args;

/* Bytes of each worker's scratch, to be reserved. */
size_t snk_attention_scratch(const snk_attention_args *a);
void snk_attention(const snk_attention_args *a);
void snk_attention_backward(const snk_attention_args *a);

/* ---- the instruction set's part. Rows of one block, `cols` numbers each, at a distance of ld. */
typedef struct snk_attention_rows {
  int64_t rows, cols, ld;
  int64_t first;                        /* causal: row i sees columns 0 .. first + i; else -1 */
  double scale;
  int mask_kind;
  const void *mask;
  int64_t mask_row, mask_column;
  void *s;                              /* scores, made exponentials (forward) or probabilities (backward) in place */
  void *lse;                            /* one a row */
  void *sum;                            /* forward: of a row's exponentials, one a row */
  void *dp;                             /* backward: gradient of the probabilities, made that of the scores in place */
  const void *gy, *y;                   /* backward: rows of d numbers */
  int64_t gy_row, y_row, d;
} snk_attention_rows;

typedef struct snk_attention_type {
  void (*forward)(const snk_attention_rows *r);
  void (*backward)(const snk_attention_rows *r);
  void (*divide)(void *y, const void *sum, int64_t rows, int64_t d, int64_t ld); /* rows by their sums; 0 / 0 is 0 */
} snk_attention_type;
typedef struct snk_attend { snk_attention_type f32, f64; } snk_attend;
SNK_TABLE(attend)
#endif
