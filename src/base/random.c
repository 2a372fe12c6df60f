/* random.c - Philox4x32-10, and single draws. */
#include "base/random.h"

void sn_philox(uint64_t seed, uint64_t position, uint32_t out[4]) {
  uint32_t c0 = (uint32_t)position, c1 = (uint32_t)(position >> 32), c2 = 0, c3 = 0;
  uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
  for (int r = 0; r < 10; r++) {
    const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
    c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
    c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)p1;
    c3 = (uint32_t)p0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

uint64_t sn_rng_u64(sn_rng *g) {
  uint32_t r[4];
  sn_philox(g->seed, g->position++, r);
  return (uint64_t)r[1] << 32 | r[0];
}

double sn_rng_uniform(sn_rng *g) { return (double)(sn_rng_u64(g) >> 11) * 0x1p-53; }

uint64_t sn_rng_below(sn_rng *g, uint64_t bound) {
  const uint64_t skip = (0 - bound) % bound; /* values below it would favour the small results */
  for (;;) {
    const uint64_t r = sn_rng_u64(g);
    if (r >= skip) return r % bound;
  }
}
