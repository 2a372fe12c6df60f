/* cast.isa.c - the transposed copy of 32-bit elements, a square of vectors at a time. */
#include "calc/cast.h"
#include "calc/quad.h"

#define SIDE SNK_TURN /* a line of the cache on both sides */
#define REACH 128     /* columns before the next rows: both sides are walked in pieces long enough to be fetched ahead (measured) */

static void square(char *to, int64_t to_row, const char *from, int64_t from_col) {
  for (int64_t i = 0; i < SIDE; i += VF)
    for (int64_t j = 0; j < SIDE; j += VF) {
      vf z[VF];
      SNK_ALL for (int k = 0; k < VF; k++) z[k] = vf_load((const float *)(const void *)(from + (j + k) * from_col + i * 4));
      vf_turn_square(z);
      SNK_ALL for (int k = 0; k < VF; k++) vf_store((float *)(void *)(to + (i + k) * to_row + j * 4), z[k]);
    }
}

static void turn(int64_t rows, int64_t cols, char *to, int64_t to_row, const char *from, int64_t from_col) {
  for (int64_t j0 = 0; j0 < cols; j0 += REACH)
    for (int64_t i = 0; i + SIDE <= rows; i += SIDE)
      for (int64_t j = j0; j + SIDE <= cols && j < j0 + REACH; j += SIDE) square(to + i * to_row + j * 4, to_row, from + j * from_col + i * 4, from_col);
}

const snk_cast SNK_FN(snk_cast) = {turn};
