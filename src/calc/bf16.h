/* bf16.h - vectors of floats from bfloat16 numbers and back: to the nearest, ties to even, NaN stays NaN. After calc/vec.h, in *.isa.c files. */
#ifndef SNK_BF16_H
#define SNK_BF16_H
#include "calc/vec.h"

typedef uint16_t vh __attribute__((vector_size(SNK_BYTES / 2)));

INL vf vf_from_bf16(const uint16_t *p) {
  vh h;
  memcpy(&h, p, sizeof h);
  return (vf)(__builtin_convertvector(h, vu32) << 16);
}
INL vu32 vf_bf16_bits(vf v) {
  const vu32 u = (vu32)v, near = (u + 0x7FFFu + (u >> 16 & 1u)) >> 16;
  const vfm nan = vf_nan(v);
  return (near & ~(vu32)nan) | ((u >> 16 | 0x40u) & (vu32)nan);
}
INL vf vf_nearest_bf16(vf v) { return (vf)(vf_bf16_bits(v) << 16); }
INL void vf_to_bf16(uint16_t *p, vf v) {
  const vh h = __builtin_convertvector(vf_bf16_bits(v), vh);
  memcpy(p, &h, sizeof h);
}
#endif
