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
/* As floats; doubles stay as they are. */
INL vf vf_nearest_bf16(vf v) {
#if defined(__AVX512F__)
  const __m512i u = (__m512i)v, odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  const __m512i near = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7FFF)), odd);
  const __mmask16 nan = _mm512_cmp_ps_mask((__m512)v, (__m512)v, _CMP_UNORD_Q);
  return (vf)_mm512_and_si512(_mm512_mask_or_epi32(near, nan, u, _mm512_set1_epi32(0x400000)), _mm512_set1_epi32((int)0xFFFF0000));
#else
  const vu32 u = (vu32)v, near = u + 0x7FFFu + (u >> 16 & 1u), nan = (vu32)vf_nan(v);
  return (vf)(((near & ~nan) | ((u | 0x400000u) & nan)) & 0xFFFF0000u);
#endif
}
INL vd vd_nearest_bf16(vd v) { return v; }
INL vu32 vf_bf16_bits(vf v) { return (vu32)vf_nearest_bf16(v) >> 16; }
INL void vf_to_bf16(uint16_t *p, vf v) {
  const vh h = __builtin_convertvector(vf_bf16_bits(v), vh);
  memcpy(p, &h, sizeof h);
}
#endif
