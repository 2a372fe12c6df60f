/* random_test.c - rows of random floats against the generator's own words, on every instruction set: any length, any block, 2^32 crossed. */
#include <math.h>
#include <string.h>
#include "base/random.h"
#include "calc/random.h"
#include "check.h"

static void one(uint64_t seed, uint64_t block, int64_t n, float p) {
  float u[300], m[300], z[300];
  int64_t same = 0, kept = 0, near = 0;
  for (int64_t i = 0; i < 300; i++) u[i] = m[i] = z[i] = 7;
  snk_random_now()->uniform(seed, block, n, u, 0, 1);
  snk_random_now()->mask(seed, block, n, m, p, 3);
  snk_random_now()->normal(seed, block, n, z, 0, 1);
  for (int64_t i = 0; i < n; i++) {
    uint32_t w[4];
    sn_philox(seed, block + (uint64_t)i / 4, w);
    const float want = (float)(w[i % 4] >> 8) * 0x1p-24f;
    const double r = sqrt(-2 * log((w[i % 4 & 2] >> 8) * 0x1p-24 + 0x1p-25)), t = (w[i % 4 | 1] >> 8) * 0x1p-24 * 6.283185307179586;
    same += u[i] == want;
    kept += m[i] == (want >= p ? 3 : 0);
    near += fabs((double)z[i] - r * (i % 2 ? sin(t) : cos(t))) < 1e-5;
  }
  CHECK(same == n && kept == n && near == n);
  CHECK(u[n] == 7 && m[n] == 7 && z[n] == 7);
}

/* Words and bits are the generator's, scaled as one number of 128 bits; doubles come from the same. Nothing behind the last is touched. */
static void bits_too(uint64_t seed, uint64_t block, int64_t n) {
  uint32_t w[300];
  uint64_t b[300];
  int64_t v[600], same = 0;
  double u[600];
  const uint64_t bound = seed % 3 ? 1000003 : 0xF123456789ABCDEFu;
  for (int64_t i = 0; i < 300; i++) w[i] = 7, b[i] = 7;
  for (int64_t i = 0; i < 600; i++) v[i] = 7, u[i] = 7;
  snk_random_now()->words(seed, block, n, w);
  snk_random_bits(seed, block, n, b);
  snk_random_below(seed, block, 2 * n, v, -5, bound);
  snk_uniform_f64(seed, block, 2 * n, u, 0, 1);
  for (int64_t i = 0; i < n; i++) {
    uint32_t r[4];
    sn_philox(seed, block + (uint64_t)i / 4, r);
    same += w[i] == r[i % 4];
    sn_philox(seed, block + (uint64_t)i / 2, r);
    same += b[i] == ((uint64_t)r[i % 2 * 2 + 1] << 32 | r[i % 2 * 2]) && b[i] == snk_random_bits_at(seed, block, i);
  }
  for (int64_t i = 0; i < 2 * n; i++) {
    const uint64_t bits = snk_random_bits_at(seed, block, i);
    same += v[i] == (int64_t)((uint64_t)((unsigned __int128)bits * bound >> 64) - 5) && u[i] == (double)(bits >> 11) * 0x1p-53;
  }
  CHECK(same == 4 * n);
  CHECK(w[n] == 7 && b[n] == 7 && v[2 * n] == 7 && u[2 * n] == 7);
}

int main(void) {
  for (int64_t n = 0; n < 299; n++) bits_too(0x9E3779B97F4A7C15u * (uint64_t)n, 0xFFFFFFFFu - (uint64_t)n % 50, n);
  const float p[] = {0, 0x1p-25f, 0.1f, 0.5f, 0x1.fffffep-1f, 1};
  for (int64_t n = 0; n < 299; n++) one(0x9E3779B97F4A7C15u * (uint64_t)n, (uint64_t)n * 0x123456789u, n, p[n % 6]);
  for (uint64_t k = 0; k < 40; k++) one(k, 0xFFFFFFFFu - k, 200, p[k % 6]);
  /* A number that is p itself is kept. */
  uint32_t w[4];
  sn_philox(5, 9, w);
  one(5, 9, 4, (float)(w[2] >> 8) * 0x1p-24f);
  one(5, 9, 4, nextafterf((float)(w[2] >> 8) * 0x1p-24f, 1));
  return CHECK_DONE();
}
