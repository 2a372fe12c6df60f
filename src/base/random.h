/* random.h - counter-based random numbers (Philox4x32-10, Salmon et al., SC 2011).
 *
 * A generator is a value: (seed, position). Draw number i of a generator is a function of (seed, position + i) alone,
 * so the result of a random operation depends neither on threads nor on eager versus replay. One position is one
 * 128-bit Philox block = four uint32. An operation over n elements takes ceil(n/4) positions (SN_RNG_BLOCKS) for 32-bit
 * draws and says so in its descriptor; 64-bit draws take ceil(n/2).
 */
#ifndef SN_RANDOM_H
#define SN_RANDOM_H
#include <stdint.h>

typedef struct sn_rng { uint64_t seed, position; } sn_rng;
#define SN_RNG_BLOCKS(n) (((uint64_t)(n) + 3) / 4)

void sn_philox(uint64_t seed, uint64_t position, uint32_t out[4]); /* one block */
/* For single draws on the host: advances the generator by one block. */
uint64_t sn_rng_u64(sn_rng *g);
double sn_rng_uniform(sn_rng *g);                     /* [0, 1), 53 bits */
uint64_t sn_rng_below(sn_rng *g, uint64_t bound);     /* 0..bound-1 without bias */

#endif
