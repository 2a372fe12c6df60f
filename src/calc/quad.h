/* quad.h - squares of 4 x 4 floats turned in registers. After calc/vec.h, in *.isa.c files. */
#ifndef SNK_QUAD_H
#define SNK_QUAD_H
#include "calc/vec.h"

/* In each piece of four lanes apart: lane k of vector j goes to lane j of vector k. */
INL void vf_turn(vf z[4]) {
#if defined(__AVX512F__)
  const __m512 a = (__m512)z[0], b = (__m512)z[1], c = (__m512)z[2], d = (__m512)z[3];
  const __m512d p = (__m512d)_mm512_unpacklo_ps(a, b), q = (__m512d)_mm512_unpackhi_ps(a, b);
  const __m512d r = (__m512d)_mm512_unpacklo_ps(c, d), s = (__m512d)_mm512_unpackhi_ps(c, d);
  z[0] = (vf)_mm512_unpacklo_pd(p, r), z[1] = (vf)_mm512_unpackhi_pd(p, r), z[2] = (vf)_mm512_unpacklo_pd(q, s), z[3] = (vf)_mm512_unpackhi_pd(q, s);
#elif defined(__AVX2__)
  const __m256 a = (__m256)z[0], b = (__m256)z[1], c = (__m256)z[2], d = (__m256)z[3];
  const __m256d p = (__m256d)_mm256_unpacklo_ps(a, b), q = (__m256d)_mm256_unpackhi_ps(a, b);
  const __m256d r = (__m256d)_mm256_unpacklo_ps(c, d), s = (__m256d)_mm256_unpackhi_ps(c, d);
  z[0] = (vf)_mm256_unpacklo_pd(p, r), z[1] = (vf)_mm256_unpackhi_pd(p, r), z[2] = (vf)_mm256_unpacklo_pd(q, s), z[3] = (vf)_mm256_unpackhi_pd(q, s);
#elif defined(__SSE2__)
  const __m128 a = (__m128)z[0], b = (__m128)z[1], c = (__m128)z[2], d = (__m128)z[3];
  const __m128d p = (__m128d)_mm_unpacklo_ps(a, b), q = (__m128d)_mm_unpackhi_ps(a, b);
  const __m128d r = (__m128d)_mm_unpacklo_ps(c, d), s = (__m128d)_mm_unpackhi_ps(c, d);
  z[0] = (vf)_mm_unpacklo_pd(p, r), z[1] = (vf)_mm_unpackhi_pd(p, r), z[2] = (vf)_mm_unpacklo_pd(q, s), z[3] = (vf)_mm_unpackhi_pd(q, s);
#else
  vf t[4];
  for (int k = 0; k < 4; k++)
    for (int l = 0; l < VF; l++) t[k][l] = z[l % 4][l / 4 * 4 + k];
  for (int k = 0; k < 4; k++) z[k] = t[k];
#endif
}

/* A square of VF x VF floats: lane k of vector j goes to lane j of vector k. */
INL void vf_turn_square(vf z[VF]) {
  SNK_ALL for (int j = 0; j < VF; j += 4) vf_turn(z + j);
#if defined(__AVX512F__)
  SNK_ALL for (int k = 0; k < 4; k++) { /* pieces of vectors k, k + 4, k + 8, k + 12 */
    const __m512 a = (__m512)z[k], b = (__m512)z[k + 4], c = (__m512)z[k + 8], d = (__m512)z[k + 12];
    const __m512 p = _mm512_shuffle_f32x4(a, b, 0x88), q = _mm512_shuffle_f32x4(a, b, 0xDD);
    const __m512 r = _mm512_shuffle_f32x4(c, d, 0x88), s = _mm512_shuffle_f32x4(c, d, 0xDD);
    z[k] = (vf)_mm512_shuffle_f32x4(p, r, 0x88);
    z[k + 8] = (vf)_mm512_shuffle_f32x4(p, r, 0xDD);
    z[k + 4] = (vf)_mm512_shuffle_f32x4(q, s, 0x88);
    z[k + 12] = (vf)_mm512_shuffle_f32x4(q, s, 0xDD);
  }
#elif defined(__AVX2__)
  SNK_ALL for (int k = 0; k < 4; k++) {
    const __m256 a = (__m256)z[k], b = (__m256)z[k + 4];
    z[k] = (vf)_mm256_permute2f128_ps(a, b, 0x20);
    z[k + 4] = (vf)_mm256_permute2f128_ps(a, b, 0x31);
  }
#endif
}

#endif
