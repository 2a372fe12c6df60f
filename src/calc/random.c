/* random.c - random doubles and bits, one Philox block for two. */
#include "calc/random.h"
#include <math.h>
#include "base/random.h"

static void pair(uint64_t seed, uint64_t block, uint64_t *a, uint64_t *b) {
  uint32_t r[4];
  sn_philox(seed, block, r);
  *a = (uint64_t)r[1] << 32 | r[0];
  *b = (uint64_t)r[3] << 32 | r[2];
}

void snk_random_bits(uint64_t seed, uint64_t block, int64_t n, uint64_t *y) {
  for (int64_t i = 0; i < n; i += 2) {
    uint64_t a, b;
    pair(seed, block++, &a, &b);
    y[i] = a;
    if (i + 1 < n) y[i + 1] = b;
  }
}

uint64_t snk_random_bits_at(uint64_t seed, uint64_t block, int64_t i) {
  uint64_t a, b;
  pair(seed, block + (uint64_t)i / 2, &a, &b);
  return i % 2 ? b : a;
}

static double between(uint64_t bits, double lo, double hi) {
  const double v = lo + snk_unit(bits) * (hi - lo);
  return v < hi ? v : lo; /* rounding up may reach hi, which is excluded */
}

void snk_uniform_f64(uint64_t seed, uint64_t block, int64_t n, double *y, double lo, double hi) {
  for (int64_t i = 0; i < n; i += 2) {
    uint64_t a, b;
    pair(seed, block++, &a, &b);
    y[i] = between(a, lo, hi);
    if (i + 1 < n) y[i + 1] = between(b, lo, hi);
  }
}

/* Box and Muller: two uniform numbers make two normal ones. */
void snk_normal_f64(uint64_t seed, uint64_t block, int64_t n, double *y, double mean, double std) {
  for (int64_t i = 0; i < n; i += 2) {
    uint64_t a, b;
    pair(seed, block++, &a, &b);
    const double r = sqrt(-2 * log(snk_unit_open(a))), t = 6.283185307179586476925 * snk_unit(b);
    y[i] = mean + std * (r * cos(t));
    if (i + 1 < n) y[i + 1] = mean + std * (r * sin(t));
  }
}
