/* amx.h - the tiles of AMX: eight registers of 16 rows of 64 bytes. Included by *.bf16.c files only; what is here runs where sn_amx().
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
#include "calc/tile.h"

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

#endif
