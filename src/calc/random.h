/* random.h - rows of random numbers: each is a function of (seed, block, element) alone, so pieces may be cut anywhere on whole blocks. */
#ifndef SNK_RANDOM_H
#define SNK_RANDOM_H
#include <stdint.h>
#include "calc/isa.h"

/* float: element i comes from word i % 4 of block `block` + i / 4 (24 bits of it). n elements; the first is at the block's beginning.
 * Words, and so uniform numbers, are the same on every instruction set. */
typedef struct snk_random {
  void (*words)(uint64_t seed, uint64_t block, int64_t n, uint32_t *y);                      /* as they are */
  void (*uniform)(uint64_t seed, uint64_t block, int64_t n, float *y, float lo, float hi);   /* lo <= y < hi */
  void (*normal)(uint64_t seed, uint64_t block, int64_t n, float *y, float mean, float std);
  void (*mask)(uint64_t seed, uint64_t block, int64_t n, float *y, float p, float kept);     /* uniform(0, 1) >= p ? kept : 0 */
} snk_random;
SNK_TABLE(random)

/* double: two elements per block, 53 bits. */
void snk_uniform_f64(uint64_t seed, uint64_t block, int64_t n, double *y, double lo, double hi);
void snk_normal_f64(uint64_t seed, uint64_t block, int64_t n, double *y, double mean, double std);
/* 64 random bits, two elements per block. */
void snk_random_bits(uint64_t seed, uint64_t block, int64_t n, uint64_t *y);
void snk_random_below(uint64_t seed, uint64_t block, int64_t n, int64_t *y, int64_t lo, uint64_t bound); /* lo + 0..bound-1 */
uint64_t snk_random_bits_at(uint64_t seed, uint64_t block, int64_t i);
/* bits scaled to 0..bound-1: no value is favoured by more than bound / 2^64 */
static inline uint64_t snk_below(uint64_t bits, uint64_t bound) { return (uint64_t)((unsigned __int128)bits * bound >> 64); }
static inline double snk_unit(uint64_t bits) { return (double)(bits >> 11) * 0x1p-53; }                  /* [0, 1) */
static inline double snk_unit_open(uint64_t bits) { return ((double)(bits >> 11) + 0.5) * 0x1p-53; }     /* (0, 1] */
#endif
