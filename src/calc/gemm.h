/* gemm.h - C = A B for any strides, batched, with the finish (bias, addition, activation) in the last store.
 *
 * Every element of C is one chain of fused multiply-adds over a block of K, the finished blocks added in order; the length
 * of a block depends on K, the number type and the instruction set alone. So no choice made here (tile shape, packing,
 * swapping the operands, cutting C for threads) changes a bit. One exception, by shape alone: where C is one row or one column and K is
 * long (a layer's weights and one sample), each element is a dot product in lanes (snk_gemm_dots), however the operands lie.
 *
 * Each worker of sn_parallel packs into its own scratch: reserve SNK_GEMM_SCRATCH bytes before calling.
 */
#ifndef SNK_GEMM_H
#define SNK_GEMM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "calc/isa.h"

enum { SNK_ACT_NONE, SNK_ACT_RELU };
enum { SNK_GEMM_A = 1, SNK_GEMM_B = 2, SNK_GEMM_C = 4 }; /* operands */
enum { SNK_BIAS_NONE, SNK_BIAS_ROW, SNK_BIAS_COL }; /* one number for each row of C, or for each column */
#define SNK_GEMM_BATCH 6
enum { SNK_GEMM_SCRATCH = 6 << 20 }; /* bytes of packing space a worker needs, whatever the problem */

/* Called with a finished piece of C (after bias, addition and activation): element (i, j) at c + i * rs + j * cs. */
typedef void snk_gemm_hook(void *ctx, void *c, int64_t rs, int64_t cs, int64_t i0, int64_t j0, int64_t m, int64_t n);
/* Writes B[k0 .. k0+kc-1][n0 .. n0+nc-1] to dst as rows of `nr` numbers (nc <= nr, the rest zero): an implicit matrix. */
typedef void snk_gemm_pack(const void *ctx, int64_t batch, int64_t k0, int64_t kc, int64_t n0, int64_t nc, int64_t nr, void *dst);

typedef struct snk_gemm_args {
  bool f64;
  int64_t m, n, k;
  const void *a, *b;
  void *c;
  int64_t ars, acs, brs, bcs, crs, ccs;       /* strides in elements; one of crs, ccs is 1 */
  int nbatch;                                 /* batch dimensions */
  int64_t batch[SNK_GEMM_BATCH], abatch[SNK_GEMM_BATCH], bbatch[SNK_GEMM_BATCH], cbatch[SNK_GEMM_BATCH];
  int bias_kind, act;
  const void *bias;
  bool half;                                  /* A and B are bfloat16 numbers (as floats), or rounded to such as they are read where that is faster: see snk_gemm_halves */
  int narrow;                                 /* operands that lie in memory as bfloat16 numbers, C rounded to such: where snk_gemm_narrow says so */
  bool round;                                 /* finished numbers of C are rounded to bfloat16 (and stay floats; not for f64) */
  bool round_b;                               /* B is rounded to bfloat16 as it is read (not for f64, not packed, not for dot products) */
  bool round_a;                               /* likewise A: only where the operands were swapped */
  bool skips;                                 /* set by snk_gemm_run and _rows: A has many zeros, whose terms are left out */
  bool accumulate;                            /* C = C + (A B + bias), the sum over K finished first */
  snk_gemm_hook *hook;
  void *hook_ctx;
  const void *packed;                         /* B from snk_gemm_pack_b; then b, brs, bcs are not read */
  snk_gemm_pack *pack;                        /* or B from a function */
  const void *pack_ctx;
  const void *beside[3];                      /* snk_gemm_rows: other m x n matrices, rows side by side; NULL behind the last */
} snk_gemm_args;

void snk_gemm_run(const snk_gemm_args *g);
bool snk_gemm_dots(const snk_gemm_args *g); /* is this product computed as dot products? */
bool snk_gemm_halves(const snk_gemm_args *g); /* is it computed in tiles of bfloat16 (calc/half.h and calc/amx.h have the order of their sums)? By shape and processor alone */
bool snk_gemm_narrow(const snk_gemm_args *g, int operand); /* may it lie in memory as bfloat16 numbers, whatever the others do? */
/* B packed once for many products (the instruction set's own layout). */
size_t snk_gemm_packed_bytes(bool f64, int64_t n, int64_t k);
void snk_gemm_pack_b(bool f64, int64_t n, int64_t k, const void *b, int64_t brs, int64_t bcs, void *dst);
size_t snk_gemm_packed_for(const snk_gemm_args *g); /* the same for B of this product */
void snk_gemm_pack_for(const snk_gemm_args *g, void *dst);

/* C is not kept: workers finish a few whole rows at a time in their scratch and hand them to `take`: rows first .. first+rows-1, n numbers each, side
 * by side. One matrix of at least two rows and columns, n at most SNK_GEMM_TAKEN, k at most SNK_GEMM_DEEP (one block of K); g->c and its strides are not read. room: snk_gemm_rows_room
 * bytes, 64-byte aligned (enough for every instruction set). What `take` will read of g->beside is fetched meanwhile. */
enum { SNK_GEMM_TAKEN = 4096, SNK_GEMM_DEEP = 256, SNK_GEMM_ROWS = 24 * SNK_GEMM_TAKEN * 8 /* bytes of scratch, at its end */ };
typedef void snk_gemm_take(void *ctx, const void *c, int64_t first, int64_t rows);
size_t snk_gemm_rows_room(bool f64, int64_t n, int64_t k);
void snk_gemm_rows(const snk_gemm_args *g, void *room, snk_gemm_take *take, void *ctx);

/* The reference: plain loops, the same order of the same operations. */
void snk_gemm_plain(const snk_gemm_args *g);
/* Integers, wrapping; dtype an integer sn_dtype, strides as above, one matrix. */
void snk_gemm_int(int dtype, int64_t m, int64_t n, int64_t k, const void *a, int64_t ars, int64_t acs, const void *b, int64_t brs, int64_t bcs,
                  void *c, int64_t crs, int64_t ccs);

enum { SNK_GEMM_STRIP = 7, SNK_GEMM_SKIP = 2048 };

/* ---- the instruction set's part */
typedef struct snk_gemm_type {
  int mr, nr;             /* the register tile */
  int64_t kc;             /* longest block of K */
  /* One piece of one C, all of K. a, b, c are the batch's; scratch is the worker's. */
  void (*block)(const snk_gemm_args *g, const void *a, const void *b, void *c, int64_t batch, int64_t m0, int64_t m1, int64_t n0, int64_t n1, void *scratch);
  void (*pack_b)(int64_t n, int64_t k, const void *b, int64_t brs, int64_t bcs, void *dst);
  int64_t (*packed_bytes)(int64_t n, int64_t k); /* of a packed B; also where column n of it begins, for multiples of nr and k of one block */
  int fused;              /* multiply-adds round once */
  /* Of products that skip zeros (g->skips; n at least SNK_GEMM_STRIP vectors in a piece, in all at most SNK_GEMM_SKIP numbers, k at most SNK_GEMM_DEEP), NULL where there are none: how many of n numbers are not zero? B as it is wanted in g->packed (or
   * not, where `to` is NULL); false if a number of it is not finite. */
  int64_t (*skip_count)(const float *x, int64_t n);
  bool (*skip_pack)(int64_t n, int64_t k, const float *b, int64_t brs, float *to);
  /* Products of `rows` rows of w (ld apart) with x, all consecutive numbers: nr lanes each. */
  void (*dots)(int64_t k, int64_t rows, const void *w, int64_t rs, int64_t ks, const void *x, int64_t xs, void *out);
} snk_gemm_type;
typedef struct snk_gemm {
  snk_gemm_type f32, f64;
  void (*ints)(int64_t n, int64_t k, const uint64_t *a, const uint64_t *b, uint64_t *sum); /* sum[0 .. n-1] += a[0 .. k-1] times k rows of n numbers; k is even, n a multiple of 8 */
} snk_gemm;
SNK_TABLE(gemm)
#if defined(__x86_64__)
extern const snk_gemm_type snk_gemm_half; /* where sn_halves() */
#endif

/* Length of the blocks K is cut into (the last may be shorter). */
static inline int64_t snk_gemm_kblock(int64_t k, int64_t kcmax) {
  if (k <= kcmax) return k > 0 ? k : 1;
  int64_t nb = (k + kcmax - 1) / kcmax;
  return ((k + nb - 1) / nb + 7) / 8 * 8;
}
#endif
