/* vec.h - vectors of the instruction set a file is compiled for: vf (float) and vd (double), with the same words for both.
 *
 * Built on the compilers' vector extensions. Masks are integer vectors of all ones or zeros. A tail is loaded into a whole vector
 * and computed like any other, so body and tail give equal bits. Included by *.isa.c files only.
 */
#ifndef SNK_VEC_H
#define SNK_VEC_H
#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define SNK_BYTES 64
#elif defined(__AVX2__)
#define SNK_BYTES 32
#else
#define SNK_BYTES 16
#endif
#define VF (SNK_BYTES / 4)
#define VD (SNK_BYTES / 8)

typedef float vf __attribute__((vector_size(SNK_BYTES)));
typedef double vd __attribute__((vector_size(SNK_BYTES)));
typedef int32_t vfm __attribute__((vector_size(SNK_BYTES))); /* mask and integers beside vf */
typedef int64_t vdm __attribute__((vector_size(SNK_BYTES)));
typedef uint32_t vu32 __attribute__((vector_size(SNK_BYTES)));

#define INL static inline __attribute__((always_inline, unused))

#define SNK_WORDS(V, M, T, L, X)                                                                     \
  INL V X##_splat(T c) { return c - (V){0}; }                                                        \
  INL V X##_load(const T *p) { V v; memcpy(&v, p, sizeof v); return v; }                             \
  INL void X##_store(T *p, V v) { memcpy(p, &v, sizeof v); }                                         \
  INL V X##_load_part(const T *p, int64_t n) { V v = X##_splat(1); memcpy(&v, p, (size_t)n * sizeof(T)); return v; } \
  INL void X##_store_part(T *p, V v, int64_t n) { memcpy(p, &v, (size_t)n * sizeof(T)); }            \
  INL V X##_where(M m, V a, V b) { return (V)(((M)a & m) | ((M)b & ~m)); }                           \
  INL M X##_nan(V a) { return (M)(a != a); }                                                         \
  INL V X##_abs(V a) { V z = X##_splat((T)-0.0); return (V)((M)a & ~(M)z); }                         \
  INL V X##_copysign(V a, V s) { M z = (M)X##_splat((T)-0.0); return (V)(((M)a & ~z) | ((M)s & z)); } \
  INL V X##_max(V a, V b) { return X##_where((M)(a > b) | (M)(a != a), a, b); } /* NaN passes */     \
  INL V X##_min(V a, V b) { return X##_where((M)(a < b) | (M)(a != a), a, b); }
SNK_WORDS(vf, vfm, float, VF, vf)
SNK_WORDS(vd, vdm, double, VD, vd)

#define SNK_LANES(V, T, L, X, name, call) \
  INL V X##_##name(V a) { V r; for (int l = 0; l < L; l++) r[l] = call(a[l]); return r; }
#define SNK_LANES2(V, T, L, X, name, call) \
  INL V X##_##name(V a, V b) { V r; for (int l = 0; l < L; l++) r[l] = call(a[l], b[l]); return r; }

#if defined(__AVX512F__)
INL vf vf_fma(vf a, vf b, vf c) { return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
INL vd vd_fma(vd a, vd b, vd c) { return (vd)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c); }
INL vf vf_sqrt(vf a) { return (vf)_mm512_sqrt_ps((__m512)a); }
INL vd vd_sqrt(vd a) { return (vd)_mm512_sqrt_pd((__m512d)a); }
#define SNK_ROUND(name, mode)                                                                \
  INL vf vf_##name(vf a) { return (vf)_mm512_roundscale_ps((__m512)a, mode); }               \
  INL vd vd_##name(vd a) { return (vd)_mm512_roundscale_pd((__m512d)a, mode); }
SNK_ROUND(floor, 9) SNK_ROUND(ceil, 10) SNK_ROUND(trunc, 11) SNK_ROUND(round, 8)
#elif defined(__AVX2__)
INL vf vf_fma(vf a, vf b, vf c) { return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
INL vd vd_fma(vd a, vd b, vd c) { return (vd)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c); }
INL vf vf_sqrt(vf a) { return (vf)_mm256_sqrt_ps((__m256)a); }
INL vd vd_sqrt(vd a) { return (vd)_mm256_sqrt_pd((__m256d)a); }
#define SNK_ROUND(name, mode)                                                                \
  INL vf vf_##name(vf a) { return (vf)_mm256_round_ps((__m256)a, mode); }                    \
  INL vd vd_##name(vd a) { return (vd)_mm256_round_pd((__m256d)a, mode); }
SNK_ROUND(floor, 9) SNK_ROUND(ceil, 10) SNK_ROUND(trunc, 11) SNK_ROUND(round, 8)
#else
INL vf vf_fma(vf a, vf b, vf c) { return a * b + c; }
INL vd vd_fma(vd a, vd b, vd c) { return a * b + c; }
SNK_LANES(vf, float, VF, vf, sqrt, __builtin_sqrtf)
SNK_LANES(vd, double, VD, vd, sqrt, __builtin_sqrt)
SNK_LANES(vf, float, VF, vf, floor, __builtin_floorf) SNK_LANES(vd, double, VD, vd, floor, __builtin_floor)
SNK_LANES(vf, float, VF, vf, ceil, __builtin_ceilf) SNK_LANES(vd, double, VD, vd, ceil, __builtin_ceil)
SNK_LANES(vf, float, VF, vf, trunc, __builtin_truncf) SNK_LANES(vd, double, VD, vd, trunc, __builtin_trunc)
SNK_LANES(vf, float, VF, vf, round, __builtin_nearbyintf) SNK_LANES(vd, double, VD, vd, round, __builtin_nearbyint)
#endif

/* Sum of the lanes in a fixed tree. */
INL float vf_total(vf v) {
  float a[VF];
  memcpy(a, &v, sizeof v);
  for (int w = VF / 2; w > 0; w /= 2)
    for (int l = 0; l < w; l++) a[l] += a[l + w];
  return a[0];
}
INL double vd_total(vd v) {
  double a[VD];
  memcpy(a, &v, sizeof v);
  for (int w = VD / 2; w > 0; w /= 2)
    for (int l = 0; l < w; l++) a[l] += a[l + w];
  return a[0];
}

#endif
