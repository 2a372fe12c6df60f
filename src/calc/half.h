/* half.h - tiles of bfloat16 numbers as they lie in memory, how they are made from floats, and their products by AVX512-BF16, whose instruction adds
 * to each of 16 floats the product of the second numbers of two pairs, then that of the first: a chain of fused multiply-adds. Numbers below the normal
 * ones count as 0, whatever the thread's mode (Intel, Architecture Instruction Set Extensions, VDPBF16PS; AMD's processors give the same bits).
 * Included by *.bf16.c files only, which run where sn_halves(); AMX's products of the same tiles are in calc/amx.h.
 */
#ifndef SNK_HALF_H
#define SNK_HALF_H
#include <immintrin.h>
#include <stdint.h>
#include "calc/isa.h"
#include "calc/tile.h"

/* A tile of A: 16 rows of 32 numbers; of B: 16 rows of 16 pairs, numbers 2q and 2q+1 of a column side by side. */
enum { SNK_TILE_ROWS = 16 /* and columns, and pairs */, SNK_TILE_K = 32, SNK_TILE_BYTES = 1024 };

/* Some pairs of a tile of mr rows by nv vectors onto the sums, row by row: pair p of a row lies at a + 4 p, rows `astep` bytes apart; pairs of the columns
 * at b0 and b1, `bstep` bytes apart. */
SNK_INLINE void snk_tile_step(const int mr, const int nv, const void *a, int64_t astep, const void *b0, const void *b1, int64_t bstep, int64_t pairs, VF *acc) {
  const char *x = a, *y0 = b0, *y1 = b1;
  for (int64_t p = 0; p < pairs; p++, x += 4, y0 += bstep, y1 += bstep) {
    const __m512bh v0 = (__m512bh)_mm512_loadu_si512(y0), v1 = nv > 1 ? (__m512bh)_mm512_loadu_si512(y1) : v0;
    SNK_UNROLL
    for (int i = 0; i < mr; i++) {
      const __m512bh s = (__m512bh)_mm512_set1_epi32(*(const int *)(const void *)(x + i * astep));
      acc[i * nv] = _mm512_dpbf16_ps(acc[i * nv], s, v0);
      if (nv > 1) acc[i * nv + 1] = _mm512_dpbf16_ps(acc[i * nv + 1], s, v1);
    }
  }
}

/* Sixteen floats of lo and sixteen of hi as bfloat16: the numbers of lo, then those of hi; or in pairs, lo's first. */
SNK_INLINE __m512i snk_tile_row(__m512 lo, __m512 hi) { return (__m512i)_mm512_cvtne2ps_pbh(hi, lo); }
SNK_INLINE __m512i snk_tile_pairs(__m512 lo, __m512 hi) {
  static const uint16_t order[32] __attribute__((aligned(64))) = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
                                                                  8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(order), snk_tile_row(lo, hi));
}

/* The square of sixteen by sixteen 32-bit words at `p` turned: rows become columns. */
static __attribute__((noinline, unused)) void snk_tile_turn(void *p) {
  __m512i r[16], t[16], *m = p;
  SNK_UNROLL
  for (int j = 0; j < 16; j += 2) t[j] = _mm512_unpacklo_epi32(m[j], m[j + 1]), t[j + 1] = _mm512_unpackhi_epi32(m[j], m[j + 1]);
  SNK_UNROLL
  for (int j = 0; j < 16; j++) {
    const int low = j / 4 * 4 + (j >> 1 & 1);
    r[j] = j & 1 ? _mm512_unpackhi_epi64(t[low], t[low + 2]) : _mm512_unpacklo_epi64(t[low], t[low + 2]);
  }
  SNK_UNROLL
  for (int q = 0; q < 4; q++) { /* r[4 g + q]: words q, q + 4, ... of rows 4 g to 4 g + 3 */
    const __m512i a = _mm512_shuffle_i32x4(r[q], r[4 + q], 0x88), b = _mm512_shuffle_i32x4(r[8 + q], r[12 + q], 0x88);
    const __m512i c = _mm512_shuffle_i32x4(r[q], r[4 + q], 0xdd), d = _mm512_shuffle_i32x4(r[8 + q], r[12 + q], 0xdd);
    m[q] = _mm512_shuffle_i32x4(a, b, 0x88), m[8 + q] = _mm512_shuffle_i32x4(a, b, 0xdd);
    m[4 + q] = _mm512_shuffle_i32x4(c, d, 0x88), m[12 + q] = _mm512_shuffle_i32x4(c, d, 0xdd);
  }
}
#endif
