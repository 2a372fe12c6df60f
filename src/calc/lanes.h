/* lanes.h - lanes chosen by a mask and moved between two vectors, for kernels that work on planes (conv, winograd). */
#ifndef SNK_LANES_H
#define SNK_LANES_H
#include "calc/tile.h"

/* Which of `lanes` numbers from position `at` on lie in 0 .. size-1. */
SNK_INLINE uint32_t snk_inside(int64_t at, int64_t size, int64_t lanes) {
  int64_t lo = at < 0 ? -at : 0, hi = size - at;
  if (hi > lanes) hi = lanes;
  return hi > lo ? (uint32_t)((((uint64_t)1 << (hi - lo)) - 1) << lo) : 0;
}

/* The chosen lanes, 0 elsewhere; what is not chosen is not read. VFM: a mask as masked() wants it, made once for many loads. */
#if defined(__AVX512F__)
typedef __mmask16 VFM;
SNK_INLINE VFM vf_mask(uint32_t m) { return (VFM)m; }
SNK_INLINE VF vf_masked(const float *p, VFM m) { return _mm512_maskz_loadu_ps(m, p); }
SNK_INLINE VF vf_take(const float *p, uint32_t m) { return _mm512_maskz_loadu_ps((__mmask16)m, p); }
SNK_INLINE VD vd_take(const double *p, uint32_t m) { return _mm512_maskz_loadu_pd((__mmask8)m, p); }
/* The chosen lanes to their own places (vf_keep counts them, which costs a shift at every store). */
SNK_INLINE void vf_chosen(float *p, VF v, uint32_t m) { _mm512_mask_storeu_ps(p, (__mmask16)m, v); }
/* Of bfloat16 numbers in two bytes, and to such, rounded. */
#define SNK_NARROW 1
SNK_INLINE VF vf_take_narrow(const uint16_t *p, uint32_t m) {
  return (VF)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16((__mmask16)m, p)), 16);
}
SNK_INLINE void vf_chosen_narrow(uint16_t *p, VF v, uint32_t m) {
  _mm256_mask_storeu_epi16(p, (__mmask16)m, _mm512_cvtepi32_epi16(_mm512_srli_epi32((__m512i)vf_bf16(v), 16)));
}
#elif defined(__AVX2__)
typedef __m256i VFM;
SNK_INLINE VFM vf_mask(uint32_t m) {
  const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)m), bit), bit);
}
SNK_INLINE VF vf_masked(const float *p, VFM m) { return _mm256_maskload_ps(p, m); }
SNK_INLINE VF vf_take(const float *p, uint32_t m) { return vf_masked(p, vf_mask(m)); }
SNK_INLINE void vf_chosen(float *p, VF v, uint32_t m) {
  if (m == 0xff) vf_store(p, v); /* a masked store takes as long as a dozen of these */
  else _mm256_maskstore_ps(p, vf_mask(m), v);
}
SNK_INLINE VD vd_take(const double *p, uint32_t m) {
  const __m256i bit = _mm256_setr_epi64x(1, 2, 4, 8);
  return _mm256_maskload_pd(p, _mm256_cmpeq_epi64(_mm256_and_si256(_mm256_set1_epi64x((long long)m), bit), bit));
}
#else
SNK_INLINE VF vf_take(const float *p, uint32_t m) {
  float t[VFL];
  for (int l = 0; l < VFL; l++) t[l] = m >> l & 1 ? p[l] : 0;
  return vf_load(t);
}
SNK_INLINE VD vd_take(const double *p, uint32_t m) {
  double t[VDL];
  for (int l = 0; l < VDL; l++) t[l] = m >> l & 1 ? p[l] : 0;
  return vd_load(t);
}
#endif

#ifndef SNK_NARROW
#define SNK_NARROW 0
#endif

typedef float vff __attribute__((vector_size(4 * VFL)));
typedef double vdd __attribute__((vector_size(8 * VDL)));

/* LOW, HIGH: lanes of two vectors in turn, of their lower and upper halves. EVEN, ODD: every second lane of one, then of the other. BESIDE: from
 * lane n of one on into the other. */
#define SHUFFLE __builtin_shufflevector
#if defined(__AVX512F__)
#define EVEN_F(a, b) (VF) SHUFFLE((vff)(a), (vff)(b), 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
#define ODD_F(a, b) (VF) SHUFFLE((vff)(a), (vff)(b), 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)
#define EVEN_D(a, b) (VD) SHUFFLE((vdd)(a), (vdd)(b), 0, 2, 4, 6, 8, 10, 12, 14)
#define LOW_F(a, b) (VF) SHUFFLE((vff)(a), (vff)(b), 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH_F(a, b) (VF) SHUFFLE((vff)(a), (vff)(b), 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#define BESIDE_F(a, b, n) ((VF)_mm512_alignr_epi32((__m512i)(b), (__m512i)(a), n))
#define LOW_D(a, b) (VD) SHUFFLE((vdd)(a), (vdd)(b), 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH_D(a, b) (VD) SHUFFLE((vdd)(a), (vdd)(b), 4, 12, 5, 13, 6, 14, 7, 15)
#elif defined(__AVX2__)
#define EVEN_F(a, b) (VF) SHUFFLE((vff)(a), (vff)(b), 0, 2, 4, 6, 8, 10, 12, 14)
#define ODD_F(a, b) (VF) SHUFFLE((vff)(a), (vff)(b), 1, 3, 5, 7, 9, 11, 13, 15)
#define EVEN_D(a, b) (VD) SHUFFLE((vdd)(a), (vdd)(b), 0, 2, 4, 6)
#define LOW_F(a, b) (VF) SHUFFLE((vff)(a), (vff)(b), 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH_F(a, b) (VF) SHUFFLE((vff)(a), (vff)(b), 4, 12, 5, 13, 6, 14, 7, 15)
#define BESIDE_F(a, b, n) ((VF)SHUFFLE((vff)(a), (vff)(b), n, n + 1, n + 2, n + 3, n + 4, n + 5, n + 6, n + 7))
#define LOW_D(a, b) (VD) SHUFFLE((vdd)(a), (vdd)(b), 0, 4, 1, 5)
#define HIGH_D(a, b) (VD) SHUFFLE((vdd)(a), (vdd)(b), 2, 6, 3, 7)
#else
#define EVEN_F(a, b) (VF) SHUFFLE((vff)(a), (vff)(b), 0, 2, 4, 6)
#define ODD_F(a, b) (VF) SHUFFLE((vff)(a), (vff)(b), 1, 3, 5, 7)
#define EVEN_D(a, b) (VD) SHUFFLE((vdd)(a), (vdd)(b), 0, 2)
#define LOW_F(a, b) (VF) SHUFFLE((vff)(a), (vff)(b), 0, 4, 1, 5)
#define HIGH_F(a, b) (VF) SHUFFLE((vff)(a), (vff)(b), 2, 6, 3, 7)
#define LOW_D(a, b) (VD) SHUFFLE((vdd)(a), (vdd)(b), 0, 2)
#define HIGH_D(a, b) (VD) SHUFFLE((vdd)(a), (vdd)(b), 1, 3)
#endif

/* As many vectors as a vector has lanes, as a square: turned. */
#define CORNER(name, V, L, LOW, HIGH)                                                                                  \
  SNK_INLINE void name(V *v) {                                                                                         \
    SNK_UNROLL                                                                                                         \
    for (int s = 1; s < L; s *= 2) {                                                                                   \
      V n[L];                                                                                                          \
      SNK_UNROLL                                                                                                       \
      for (int i = 0; i < L / 2; i++) n[2 * i] = LOW(v[i], v[i + L / 2]), n[2 * i + 1] = HIGH(v[i], v[i + L / 2]);     \
      SNK_UNROLL                                                                                                       \
      for (int i = 0; i < L; i++) v[i] = n[i];                                                                         \
    }                                                                                                                  \
  }
CORNER(vf_corner, VF, VFL, LOW_F, HIGH_F)
CORNER(vd_corner, VD, VDL, LOW_D, HIGH_D)
#undef CORNER
#endif
