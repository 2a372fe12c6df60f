/* bf16.h - vectors of floats from bfloat16 numbers and back: to the nearest, ties to even, NaN stays NaN. After calc/vec.h, in *.isa.c files. */
#ifndef SNK_BF16_H
#define SNK_BF16_H
#include "calc/nearest.h"
#include "calc/vec.h"

typedef uint16_t vh __attribute__((vector_size(SNK_BYTES / 2)));

INL vf vf_from_bf16(const uint16_t *p) {
  vh h;
  memcpy(&h, p, sizeof h);
  return (vf)(__builtin_convertvector(h, vu32) << 16);
}
/* The first n, from VF on all: as floats. There are no doubles so kept: for code that is written for both. */
INL vf vf_bf16_get(const uint16_t *p, int64_t n) {
  uint16_t some[VF] = {0};
  if (n >= VF) return vf_from_bf16(p);
  for (int64_t i = 0; i < n; i++) some[i] = p[i];
  return vf_from_bf16(some);
}
INL vd vd_bf16_get(const uint16_t *p, int64_t n) { return (void)p, (void)n, vd_splat(0); }
/* As floats; doubles stay as they are. */
SNK_NEAREST_BF16(vf_nearest_bf16, vf)
INL vd vd_nearest_bf16(vd v) { return v; }
INL vu32 vf_bf16_bits(vf v) { return (vu32)vf_nearest_bf16(v) >> 16; }
INL void vf_to_bf16(uint16_t *p, vf v) {
  const vh h = __builtin_convertvector(vf_bf16_bits(v), vh);
  memcpy(p, &h, sizeof h);
}
#endif
