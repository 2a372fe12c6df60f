/* bf16.h - vectors of floats from bfloat16 numbers and back: to the nearest, ties to even, NaN stays NaN. After calc/vec.h, in *.isa.c files. */
#ifndef SNK_BF16_H
#define SNK_BF16_H
#include "calc/nearest.h"
#include "calc/vec.h"

typedef uint16_t vh __attribute__((vector_size(SNK_BYTES / 2)));

#if SNK_BYTES == 64 /* a conversion of vectors is made of halves of them by the compiler */
INL vu32 vh_widen(vh h) { return (vu32)_mm512_cvtepu16_epi32((__m256i)h); }
INL vh vh_narrow(vu32 v) { return (vh)_mm512_cvtepi32_epi16((__m512i)v); }
#else
INL vu32 vh_widen(vh h) { return __builtin_convertvector(h, vu32); }
INL vh vh_narrow(vu32 v) { return __builtin_convertvector(v, vh); }
#endif

INL vf vf_from_bf16(const uint16_t *p) {
  vh h;
  memcpy(&h, p, sizeof h);
  return (vf)(vh_widen(h) << 16);
}
/* The first n, from VF on all: as floats. There are no doubles so kept: for code that is written for both. */
INL vf vf_bf16_get(const uint16_t *p, int64_t n) {
  if (n >= VF) return vf_from_bf16(p);
#if SNK_BYTES == 64
  return (vf)(vh_widen((vh)_mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), p)) << 16);
#else
  uint16_t some[VF] = {0};
  for (int64_t i = 0; i < n; i++) some[i] = p[i];
  return vf_from_bf16(some);
#endif
}
INL vd vd_bf16_get(const uint16_t *p, int64_t n) { return (void)p, (void)n, vd_splat(0); }
/* As floats; doubles stay as they are. */
SNK_NEAREST_BF16(vf_nearest_bf16, vf)
INL vd vd_nearest_bf16(vd v) { return v; }
INL vu32 vf_bf16_bits(vf v) { return (vu32)vf_nearest_bf16(v) >> 16; }
INL void vf_to_bf16(uint16_t *p, vf v) {
  const vh h = vh_narrow(vf_bf16_bits(v));
  memcpy(p, &h, sizeof h);
}
/* The first n of floats that are bfloat16 numbers. */
INL void vf_bf16_set(uint16_t *p, vf v, int64_t n) {
  const vh h = vh_narrow((vu32)v >> 16);
  if (n >= VF) memcpy(p, &h, sizeof h);
  else
#if SNK_BYTES == 64
    _mm256_mask_storeu_epi16(p, (__mmask16)((1u << n) - 1), (__m256i)h);
#else
    for (int64_t i = 0; i < n; i++) p[i] = h[i];
#endif
}
INL void vd_bf16_set(uint16_t *p, vd v, int64_t n) { (void)p, (void)v, (void)n; }
#endif
