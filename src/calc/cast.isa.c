/* cast.isa.c - the transposed copy of 32-bit elements, a square of vectors at a time. */
#include "calc/cast.h"
#include "calc/quad.h"

#define SIDE SNK_TURN /* a line of the cache on both sides */

static void turn(int64_t rows, int64_t cols, char *to, int64_t to_row, const char *from, int64_t from_col) {
  for (int64_t j0 = 0; j0 + SIDE <= cols; j0 += SIDE)
    for (int64_t i0 = 0; i0 + SIDE <= rows; i0 += SIDE)
      for (int64_t i = i0; i < i0 + SIDE; i += VF)
        for (int64_t j = j0; j < j0 + SIDE; j += VF) {
          vf z[VF];
          for (int k = 0; k < VF; k++) z[k] = vf_load((const float *)(const void *)(from + (j + k) * from_col + i * 4));
          vf_turn_square(z);
          for (int k = 0; k < VF; k++) vf_store((float *)(void *)(to + (i + k) * to_row + j * 4), z[k]);
        }
}

const snk_cast SNK_FN(snk_cast) = {turn};
