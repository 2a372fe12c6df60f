/* amx.h - the tiles of AMX: eight registers of 16 rows of 64 bytes. Included by *.amx.c files only; their functions run where sn_amx().
 *
 * C += A B for a C of 16 x 16 floats: A holds 16 rows of 32 bfloat16 numbers, B 16 rows of 16 pairs, numbers 2q and 2q+1 of a column side by side.
 * To every element come the chain of fused multiply-adds over the even ones of the 32, from 0, plus that over the odd ones, then this sum: so a
 * result depends on how k is cut into blocks of 32 and on their order, and on nothing else. Numbers below the normal ones count as 0, whatever the
 * thread's mode (Intel, Architecture Instruction Set Extensions, TDPBF16PS).
 *
 * The compiler does not know that tiles read and write memory: snk_amx_fence() stands between what packs and the loads, and between stores and what reads them.
 */
#ifndef SNK_AMX_H
#define SNK_AMX_H
#include <immintrin.h>
#include <stdint.h>
#include <string.h>
#include "calc/isa.h"
#include "calc/tile.h"

enum { SNK_AMX_ROWS = 16 /* and columns, and pairs */, SNK_AMX_K = 32, SNK_AMX_TILE = 1024 /* bytes */ };

#define snk_amx_fence() __asm__ __volatile__("" ::: "memory")
/* Tile t (a literal) from rows `step` bytes apart, and back. */
#define snk_amx_load(t, from, step) _tile_loadd(t, from, step)
#define snk_amx_store(t, to, step) _tile_stored(t, to, step)
#define snk_amx_zero(t) _tile_zero(t)
#define snk_amx_fma(c, a, b) _tile_dpbf16ps(c, a, b)

/* Tiles 0 to 3 for sums of `rows` x `columns`, 4 and 5 for rows x pairs, 6 and 7 for pairs x columns, 16 each at most. Before the first use in a task, and
 * snk_amx_end() after the last (what is in use is saved at each switch of threads). */
static __attribute__((noinline, unused)) void snk_amx_begin(int64_t rows, int64_t pairs, int64_t columns) {
  struct { uint8_t palette, start, none[14]; uint16_t bytes[16]; uint8_t rows[16]; } c = {.palette = 1};
  for (int t = 0; t < 8; t++) {
    c.rows[t] = (uint8_t)(t < 6 ? rows : pairs);
    c.bytes[t] = (uint16_t)(4 * (t == 4 || t == 5 ? pairs : columns));
  }
  snk_amx_fence();
  _tile_loadconfig(&c);
}
SNK_INLINE void snk_amx_end(void) { _tile_release(); }

/* Sixteen floats of lo and sixteen of hi as bfloat16: the numbers of lo, then those of hi; or in pairs, lo's first. */
SNK_INLINE __m512i snk_amx_row(__m512 lo, __m512 hi) { return (__m512i)_mm512_cvtne2ps_pbh(hi, lo); }
SNK_INLINE __m512i snk_amx_pairs(__m512 lo, __m512 hi) {
  static const uint16_t order[32] __attribute__((aligned(64))) = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
                                                                  8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(order), snk_amx_row(lo, hi));
}

/* The square of sixteen by sixteen 32-bit words at `p` turned: rows become columns. */
static __attribute__((noinline, unused)) void snk_amx_turn(void *p) {
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
