/* random.c - random doubles and bits, one Philox block for two. */
#include "calc/random.h"
#include <math.h>
#include "base/random.h"

#define SOME 256 /* bits at a time; a multiple of a block's */

/* Two words are the lower and the upper half of 64 bits. */
void snk_random_bits(uint64_t seed, uint64_t block, int64_t n, uint64_t *y) { snk_random_now()->words(seed, block, 2 * n, (uint32_t *)(void *)y); }

uint64_t snk_random_bits_at(uint64_t seed, uint64_t block, int64_t i) {
  uint32_t r[4];
  sn_philox(seed, block + (uint64_t)i / 2, r);
  return (uint64_t)r[i % 2 * 2 + 1] << 32 | r[i % 2 * 2];
}

static double between(uint64_t bits, double lo, double hi) {
  const double v = lo + snk_unit(bits) * (hi - lo);
  return v < hi ? v : lo; /* rounding up may reach hi, which is excluded */
}

void snk_uniform_f64(uint64_t seed, uint64_t block, int64_t n, double *y, double lo, double hi) {
  uint64_t bits[SOME];
  for (int64_t i = 0; i < n; i += SOME, block += SOME / 2) {
    const int64_t some = n - i < SOME ? n - i : SOME;
    snk_random_bits(seed, block, some, bits);
    for (int64_t k = 0; k < some; k++) y[i + k] = between(bits[k], lo, hi);
  }
}

/* Box and Muller: two uniform numbers make two normal ones. */
void snk_normal_f64(uint64_t seed, uint64_t block, int64_t n, double *y, double mean, double std) {
  uint64_t bits[SOME];
  for (int64_t i = 0; i < n; i += SOME, block += SOME / 2) {
    const int64_t some = n - i < SOME ? n - i : SOME;
    snk_random_bits(seed, block, (some + 1) / 2 * 2, bits);
    for (int64_t k = 0; k < some; k += 2) {
      const double r = sqrt(-2 * log(snk_unit_open(bits[k]))), t = 6.283185307179586476925 * snk_unit(bits[k + 1]);
      y[i + k] = mean + std * (r * cos(t));
      if (k + 1 < some) y[i + k + 1] = mean + std * (r * sin(t));
    }
  }
}

void snk_random_below(uint64_t seed, uint64_t block, int64_t n, int64_t *y, int64_t lo, uint64_t bound) {
  uint64_t bits[SOME];
  for (int64_t i = 0; i < n; i += SOME, block += SOME / 2) {
    const int64_t some = n - i < SOME ? n - i : SOME;
    snk_random_bits(seed, block, some, bits);
    for (int64_t k = 0; k < some; k++) y[i + k] = (int64_t)((uint64_t)lo + snk_below(bits[k], bound));
  }
}
