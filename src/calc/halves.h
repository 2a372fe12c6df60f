/* halves.h - the lanes of a vector folded into one number: halves are joined in a fixed tree. For vec.h and tile.h, which have the types. */
#ifndef SNK_HALVES_H
#define SNK_HALVES_H
#include <stdint.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

/* SNK_FOLD makes vf_name of vectors F of floats and vd_name of vectors D of doubles; op is add or max. */
#define SNK_FOLD_INL static inline __attribute__((always_inline, unused))
#if defined(__SSE2__)
#define SNK_FOLD(F, D, name, op)                                                                              \
  SNK_FOLD_INL float vf_##name(F v) {                                                                         \
    __m128 q = (SNK_QUARTER_PS(v, op));                                                                       \
    q = _mm_##op##_ps(q, _mm_movehl_ps(q, q));                                                                \
    return _mm_cvtss_f32(_mm_##op##_ss(q, _mm_shuffle_ps(q, q, 1)));                                          \
  }                                                                                                           \
  SNK_FOLD_INL double vd_##name(D v) {                                                                        \
    const __m128d q = (SNK_QUARTER_PD(v, op));                                                                \
    return _mm_cvtsd_f64(_mm_##op##_sd(q, _mm_unpackhi_pd(q, q)));                                            \
  }
#define SNK_FOLD_PS(y, op) _mm_##op##_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1))
#define SNK_FOLD_PD(y, op) _mm_##op##_pd(_mm256_castpd256_pd128(y), _mm256_extractf128_pd(y, 1))
#if defined(__AVX512F__)
#define SNK_HALF_PS(z, op) _mm256_##op##_ps(_mm512_castps512_ps256((__m512)z), _mm512_extractf32x8_ps((__m512)z, 1))
#define SNK_HALF_PD(z, op) _mm256_##op##_pd(_mm512_castpd512_pd256((__m512d)z), _mm512_extractf64x4_pd((__m512d)z, 1))
#define SNK_QUARTER_PS(v, op) SNK_FOLD_PS(SNK_HALF_PS(v, op), op)
#define SNK_QUARTER_PD(v, op) SNK_FOLD_PD(SNK_HALF_PD(v, op), op)
#elif defined(__AVX2__)
#define SNK_QUARTER_PS(v, op) SNK_FOLD_PS((__m256)v, op)
#define SNK_QUARTER_PD(v, op) SNK_FOLD_PD((__m256d)v, op)
#else
#define SNK_QUARTER_PS(v, op) (__m128)v
#define SNK_QUARTER_PD(v, op) (__m128d)v
#endif
#else
#define SNK_OF_add(a, b) ((a) + (b))
#define SNK_OF_max(a, b) ((a) > (b) ? (a) : (b))
#define SNK_FOLD_LANES(T, V, word, op)                                                                        \
  SNK_FOLD_INL T word(V v) {                                                                                  \
    for (int h = (int)(sizeof v / sizeof(T)) / 2; h > 0; h /= 2)                                              \
      for (int l = 0; l < h; l++) v[l] = SNK_OF_##op(v[l], v[l + h]);                                         \
    return v[0];                                                                                              \
  }
#define SNK_FOLD(F, D, name, op) SNK_FOLD_LANES(float, F, vf_##name, op) SNK_FOLD_LANES(double, D, vd_##name, op)
#endif

#endif
