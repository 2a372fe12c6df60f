/* nearest.h - rounding to bfloat16 for the vectors of vec.h and of tile.h, which cannot be included together. */
#ifndef SNK_NEAREST_H
#define SNK_NEAREST_H
#include <stdint.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#define SNK_NEAREST_BF16_OF(V, v)                                                                                            \
  const __m512i u = (__m512i)(v), low = _mm512_add_epi32(u, _mm512_set1_epi32(0x7FFF));                                       \
  const __m512i near = _mm512_mask_add_epi32(low, _mm512_test_epi32_mask(u, _mm512_set1_epi32(0x10000)), u, _mm512_set1_epi32(0x8000)); \
  const __mmask16 nan = _mm512_cmp_ps_mask((__m512)(v), (__m512)(v), _CMP_UNORD_Q);                                           \
  return (V)_mm512_and_si512(_mm512_mask_or_epi32(near, nan, u, _mm512_set1_epi32(0x400000)), _mm512_set1_epi32((int)0xFFFF0000));
#else
#define SNK_NEAREST_BF16_OF(V, v)                                                                                            \
  typedef uint32_t bits __attribute__((vector_size(sizeof(V))));                                                             \
  const bits u = (bits)(v), nan = (bits)((v) != (v));                                                                        \
  return (V)((((u + 0x7FFFu + (u >> 16 & 1u)) & ~nan) | ((u | 0x400000u) & nan)) & 0xFFFF0000u);
#endif
/* V name(V v): floats rounded to the nearest bfloat16 numbers, ties to even, NaN stays NaN. */
#define SNK_NEAREST_BF16(name, V) \
  static inline __attribute__((always_inline, unused)) V name(V v) { SNK_NEAREST_BF16_OF(V, v) }
#endif
