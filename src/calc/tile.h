/* tile.h - the few vector words that the register-tile kernels (gemm, conv, rnn, attention) are written in.
 *
 * VF and VD are vectors of VFL floats and VDL doubles. A fused multiply-add is explicit (vf_fma); where the instruction set has none it is a multiply
 * and an add. lanes(n) is the mask of the first n lanes (0 to all) for some (a load whose other lanes are 0); keep stores n. step is one k of a tile.
 * In a tile a load of the last of up to SNK_MASKED vectors may be masked for nothing. Included by *.isa.c files only.
 */
#ifndef SNK_TILE_H
#define SNK_TILE_H
#include <stdint.h>
#include <string.h>
#include "calc/halves.h"
#include "calc/isa.h"
#include "calc/nearest.h"

/* Before a loop of constant length whose array is to stay in registers. */
#if defined(__clang__)
#define SNK_UNROLL _Pragma("unroll")
#else
#define SNK_UNROLL _Pragma("GCC unroll 24")
#endif
/* A function of plain loops that the compiler is to make into vectors: kernels are compiled with -O2, which does so only in the simplest cases. */
#if defined(__clang__) || SNK_OLD
#define SNK_LOOPS
#else
#define SNK_LOOPS __attribute__((optimize("O3"), noclone))
#endif
/* The compiler is not to know how pointer p was computed: it would have all of a tile's addresses in registers at once. */
#define SNK_HIDE(p) __asm__("" : "+r"(p))
#define SNK_INLINE static inline __attribute__((always_inline, unused))

#if defined(__AVX512F__)
#include <immintrin.h>
typedef __m512 VF;
typedef __m512d VD;
typedef __mmask16 VFM;
typedef __mmask8 VDM;
#define SNK_MASKED 1
enum { VFL = 16, VDL = 8 };
SNK_INLINE VF vf_load(const float *p) { return _mm512_loadu_ps(p); }
SNK_INLINE void vf_store(float *p, VF v) { _mm512_storeu_ps(p, v); }
SNK_INLINE VFM vf_lanes(int64_t n) { return (__mmask16)((1u << n) - 1); }
SNK_INLINE VF vf_some(const float *p, VFM m) { return _mm512_maskz_loadu_ps(m, p); }
SNK_INLINE void vf_keep(float *p, VF v, int64_t n) { _mm512_mask_storeu_ps(p, vf_lanes(n), v); }
SNK_INLINE VF vf_set1(float x) { return _mm512_set1_ps(x); }
SNK_INLINE VF vf_fma(VF a, VF b, VF c) { return _mm512_fmadd_ps(a, b, c); }
SNK_INLINE float vf_fma1(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
SNK_INLINE VD vd_load(const double *p) { return _mm512_loadu_pd(p); }
SNK_INLINE void vd_store(double *p, VD v) { _mm512_storeu_pd(p, v); }
SNK_INLINE VDM vd_lanes(int64_t n) { return (__mmask8)((1u << n) - 1); }
SNK_INLINE VD vd_some(const double *p, VDM m) { return _mm512_maskz_loadu_pd(m, p); }
SNK_INLINE void vd_keep(double *p, VD v, int64_t n) { _mm512_mask_storeu_pd(p, vd_lanes(n), v); }
SNK_INLINE VD vd_set1(double x) { return _mm512_set1_pd(x); }
SNK_INLINE VD vd_fma(VD a, VD b, VD c) { return _mm512_fmadd_pd(a, b, c); }
SNK_INLINE double vd_fma1(double a, double b, double c) { return __builtin_fma(a, b, c); }
#elif defined(__AVX2__)
#include <immintrin.h>
typedef __m256 VF;
typedef __m256d VD;
typedef __m256i VFM;
typedef __m256i VDM;
#define SNK_MASKED 1
enum { VFL = 8, VDL = 4 };
SNK_INLINE VF vf_load(const float *p) { return _mm256_loadu_ps(p); }
SNK_INLINE void vf_store(float *p, VF v) { _mm256_storeu_ps(p, v); }
SNK_INLINE VFM vf_lanes(int64_t n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
SNK_INLINE VF vf_some(const float *p, VFM m) { return _mm256_maskload_ps(p, m); }
SNK_INLINE void vf_keep(float *p, VF v, int64_t n) { _mm256_maskstore_ps(p, vf_lanes(n), v); }
SNK_INLINE VF vf_set1(float x) { return _mm256_set1_ps(x); }
SNK_INLINE VF vf_fma(VF a, VF b, VF c) { return _mm256_fmadd_ps(a, b, c); }
SNK_INLINE float vf_fma1(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
SNK_INLINE VD vd_load(const double *p) { return _mm256_loadu_pd(p); }
SNK_INLINE void vd_store(double *p, VD v) { _mm256_storeu_pd(p, v); }
SNK_INLINE VDM vd_lanes(int64_t n) { return _mm256_cmpgt_epi64(_mm256_set1_epi64x((long long)n), _mm256_setr_epi64x(0, 1, 2, 3)); }
SNK_INLINE VD vd_some(const double *p, VDM m) { return _mm256_maskload_pd(p, m); }
SNK_INLINE void vd_keep(double *p, VD v, int64_t n) { _mm256_maskstore_pd(p, vd_lanes(n), v); }
SNK_INLINE VD vd_set1(double x) { return _mm256_set1_pd(x); }
SNK_INLINE VD vd_fma(VD a, VD b, VD c) { return _mm256_fmadd_pd(a, b, c); }
SNK_INLINE double vd_fma1(double a, double b, double c) { return __builtin_fma(a, b, c); }
#else
typedef float VF __attribute__((vector_size(16)));
typedef double VD __attribute__((vector_size(16)));
typedef int64_t VFM, VDM;
#define SNK_MASKED 0
enum { VFL = 4, VDL = 2 };
SNK_INLINE VF vf_load(const float *p) { VF v; memcpy(&v, p, sizeof v); return v; }
SNK_INLINE void vf_store(float *p, VF v) { memcpy(p, &v, sizeof v); }
SNK_INLINE VFM vf_lanes(int64_t n) { return n; }
SNK_INLINE VF vf_some(const float *p, VFM n) { VF v = {0}; for (int l = 0; l < n && l < VFL; l++) v[l] = p[l]; return v; }
SNK_INLINE void vf_keep(float *p, VF v, int64_t n) { for (int l = 0; l < n && l < VFL; l++) p[l] = v[l]; }
SNK_INLINE VF vf_set1(float x) { return (VF){x, x, x, x}; }
SNK_INLINE VD vd_load(const double *p) { VD v; memcpy(&v, p, sizeof v); return v; }
SNK_INLINE void vd_store(double *p, VD v) { memcpy(p, &v, sizeof v); }
SNK_INLINE VDM vd_lanes(int64_t n) { return n; }
SNK_INLINE VD vd_some(const double *p, VDM n) { VD v = {0}; for (int l = 0; l < n && l < VDL; l++) v[l] = p[l]; return v; }
SNK_INLINE void vd_keep(double *p, VD v, int64_t n) { for (int l = 0; l < n && l < VDL; l++) p[l] = v[l]; }
SNK_INLINE VD vd_set1(double x) { return (VD){x, x}; }
#if defined(__aarch64__)
#include <arm_neon.h>
SNK_INLINE VF vf_fma(VF a, VF b, VF c) { return (VF)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
SNK_INLINE VD vd_fma(VD a, VD b, VD c) { return (VD)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b); }
SNK_INLINE float vf_fma1(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
SNK_INLINE double vd_fma1(double a, double b, double c) { return __builtin_fma(a, b, c); }
#else
SNK_INLINE VF vf_fma(VF a, VF b, VF c) { return a * b + c; }
SNK_INLINE VD vd_fma(VD a, VD b, VD c) { return a * b + c; }
SNK_INLINE float vf_fma1(float a, float b, float c) { return a * b + c; }
SNK_INLINE double vd_fma1(double a, double b, double c) { return a * b + c; }
#endif
#endif
/* sum = x * y + sum in sum's register: in long pieces of code GCC lets sums wander, and runs out of registers. */
#if defined(__AVX2__)
#define vf_fma_there(sum, x, y) __asm__("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(y))
#define vd_fma_there(sum, x, y) __asm__("vfmadd231pd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(y))
#else
#define vf_fma_there(sum, x, y) sum = vf_fma(x, y, sum)
#define vd_fma_there(sum, x, y) sum = vd_fma(x, y, sum)
#endif
SNK_INLINE VF vf_zero(void) { return vf_set1(0.0f); }
SNK_INLINE VD vd_zero(void) { return vd_set1(0.0); }
SNK_FOLD(VF, VD, total, add)

/* X(1) to X(mr), for what a tile of each number of rows has. */
#define SNK_UPTO_4(X) X(1) X(2) X(3) X(4)
#define SNK_UPTO_6(X) SNK_UPTO_4(X) X(5) X(6)
#define SNK_UPTO_12(X) SNK_UPTO_6(X) X(7) X(8) X(9) X(10) X(11) X(12)
#define SNK_UPTO(mr, X) SNK_UPTO_OF(mr, X)
#define SNK_UPTO_OF(mr, X) SNK_UPTO_##mr(X)

/* One k of a tile of mr rows by nv vectors: each of mr numbers at a times the vectors at b, `apart` numbers from each other, onto the sums, row by row. */
#define SNK_STEP(x, V, T)                                                                                            \
  SNK_INLINE void x##_step(const int mr, const int nv, const T *a, const T *b, int64_t apart, V *acc) {              \
    V v[8];                                                                                                          \
    SNK_UNROLL                                                                                                       \
    for (int j = 0; j < nv; j++) v[j] = x##_load(b + j * apart);                                                     \
    SNK_UNROLL                                                                                                       \
    for (int i = 0; i < mr; i++) {                                                                                   \
      const V s = x##_set1(a[i]);                                                                                    \
      SNK_UNROLL                                                                                                     \
      for (int j = 0; j < nv; j++) acc[i * nv + j] = x##_fma(s, v[j], acc[i * nv + j]);                              \
    }                                                                                                                \
  }
SNK_STEP(vf, VF, float)
SNK_STEP(vd, VD, double)
/* x where x > 0 or x is NaN, else 0 (never -0): relu. */
SNK_INLINE VF vf_relu(VF x) {
#if defined(__AVX512F__)
  return _mm512_add_ps(_mm512_max_ps(_mm512_setzero_ps(), x), _mm512_setzero_ps());
#elif defined(__AVX2__)
  return _mm256_add_ps(_mm256_max_ps(_mm256_setzero_ps(), x), _mm256_setzero_ps()); /* the second operand is returned when either is NaN */
#else
  float t[VFL];
  vf_store(t, x);
  for (int i = 0; i < VFL; i++) t[i] = (0.0f > t[i] ? 0.0f : t[i]) + 0.0f;
  return vf_load(t);
#endif
}
SNK_NEAREST_BF16(vf_bf16, VF)
SNK_INLINE VD vd_relu(VD x) {
  double t[VDL];
  vd_store(t, x);
  for (int i = 0; i < VDL; i++) t[i] = (0.0 > t[i] ? 0.0 : t[i]) + 0.0;
  return vd_load(t);
}

#endif
