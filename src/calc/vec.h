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
#include "calc/halves.h"
#include "calc/isa.h"

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
typedef uint64_t vu64 __attribute__((vector_size(SNK_BYTES)));

/* Before a loop of a constant count: written out, so that small arrays of vectors live in registers. */
#if defined(__clang__)
#define SNK_UNROLLED _Pragma("clang loop unroll(full)")
#else
#define SNK_UNROLLED _Pragma("GCC unroll 32")
#endif
#if SNK_OLD
#define SNK_ALL
#else
#define SNK_ALL SNK_UNROLLED
#endif
#define INL static inline __attribute__((always_inline, unused))
#define SNK_APART static __attribute__((noinline, unused)) /* rarely called: one copy is enough */

/* first: a mask of the first n lanes, read from a row of ones and zeros. */
static const int32_t snk_ones_f[2 * VF] = {[0 ... VF - 1] = -1};
static const int64_t snk_ones_d[2 * VD] = {[0 ... VD - 1] = -1};
INL vfm vf_first(int64_t n) { vfm m; memcpy(&m, snk_ones_f + VF - n, sizeof m); return m; }
INL vdm vd_first(int64_t n) { vdm m; memcpy(&m, snk_ones_d + VD - n, sizeof m); return m; }

#define SNK_WORDS(V, M, T, L, X)                                                                     \
  INL V X##_splat(T c) { return c - (V){0}; }                                                        \
  INL V X##_load(const T *p) { V v; memcpy(&v, p, sizeof v); return v; }                             \
  INL void X##_store(T *p, V v) { memcpy(p, &v, sizeof v); }                                         \
  INL M X##_nan(V a) { return (M)(a != a); }                                                         \
  INL V X##_abs(V a) { V z = X##_splat((T)-0.0); return (V)((M)a & ~(M)z); }                         \
  INL V X##_copysign(V a, V s) { M z = (M)X##_splat((T)-0.0); return (V)(((M)a & ~z) | ((M)s & z)); }
SNK_WORDS(vf, vfm, float, VF, vf)
SNK_WORDS(vd, vdm, double, VD, vd)

#define SNK_WHERE(V, X) INL V X##_where(V##m m, V a, V b) { return (V)(((V##m)a & m) | ((V##m)b & ~m)); }
/* What each instruction set has of its own. where(mask, a, b); more(a, b): a > b ? a : b; less(a, b): a < b ? a : b; load_fill: n numbers, then `fill`. */
#if defined(__AVX512F__)
#define SNK_OWN(V, T, X, R, s, K)                                                                                    \
  SNK_WHERE(V, X)                                                                                                    \
  INL V X##_fma(V a, V b, V c) { return (V)_mm512_fmadd_##s((R)a, (R)b, (R)c); }                                     \
  INL V X##_sqrt(V a) { return (V)_mm512_sqrt_##s((R)a); }                                                           \
  INL V X##_floor(V a) { return (V)_mm512_roundscale_##s((R)a, 9); }                                                 \
  INL V X##_ceil(V a) { return (V)_mm512_roundscale_##s((R)a, 10); }                                                 \
  INL V X##_trunc(V a) { return (V)_mm512_roundscale_##s((R)a, 11); }                                                \
  INL V X##_round(V a) { return (V)_mm512_roundscale_##s((R)a, 8); }                                                 \
  INL V X##_more(V a, V b) { return (V)_mm512_max_##s((R)a, (R)b); }                                                 \
  INL V X##_less(V a, V b) { return (V)_mm512_min_##s((R)a, (R)b); }                                                 \
  INL K X##_number(V a) { return _mm512_cmp_##s##_mask((R)a, (R)a, _CMP_ORD_Q); }                                    \
  INL V X##_max(V a, V b) { return (V)_mm512_mask_max_##s((R)a, X##_number(a), (R)a, (R)b); }                        \
  INL V X##_min(V a, V b) { return (V)_mm512_mask_min_##s((R)a, X##_number(a), (R)a, (R)b); }                        \
  INL V X##_load_fill(const T *p, int64_t n, T fill) { return (V)_mm512_mask_loadu_##s((R)X##_splat(fill), (K)((1u << n) - 1), p); } \
  INL void X##_store_part(T *p, V v, int64_t n) { _mm512_mask_storeu_##s(p, (K)((1u << n) - 1), (R)v); }
SNK_OWN(vf, float, vf, __m512, ps, __mmask16)
SNK_OWN(vd, double, vd, __m512d, pd, __mmask8)
INL int vf_any(vfm m) { return _mm512_movepi32_mask((__m512i)m) != 0; }
INL int vd_any(vdm m) { return _mm512_movepi64_mask((__m512i)m) != 0; }
INL vd vd_low(vf a) { return (vd)_mm512_cvtps_pd(_mm512_castps512_ps256((__m512)a)); }
INL vd vd_high(vf a) { return (vd)_mm512_cvtps_pd(_mm512_extractf32x8_ps((__m512)a, 1)); }
INL vf vf_of_doubles(vd low, vd high) {
  return (vf)_mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps((__m512d)low)), _mm512_cvtpd_ps((__m512d)high), 1);
}
#elif defined(__AVX2__)
#define SNK_OWN(V, T, X, R, s)                                                                                       \
  INL V X##_where(V##m m, V a, V b) { return (V)_mm256_blendv_##s((R)b, (R)a, (R)m); }                               \
  INL V X##_fma(V a, V b, V c) { return (V)_mm256_fmadd_##s((R)a, (R)b, (R)c); }                                     \
  INL V X##_sqrt(V a) { return (V)_mm256_sqrt_##s((R)a); }                                                           \
  INL V X##_floor(V a) { return (V)_mm256_round_##s((R)a, 9); }                                                      \
  INL V X##_ceil(V a) { return (V)_mm256_round_##s((R)a, 10); }                                                      \
  INL V X##_trunc(V a) { return (V)_mm256_round_##s((R)a, 11); }                                                     \
  INL V X##_round(V a) { return (V)_mm256_round_##s((R)a, 8); }                                                      \
  INL V X##_more(V a, V b) { return (V)_mm256_max_##s((R)a, (R)b); }                                                 \
  INL V X##_less(V a, V b) { return (V)_mm256_min_##s((R)a, (R)b); }                                                 \
  INL V X##_load_fill(const T *p, int64_t n, T fill) {                                                               \
    return X##_where(X##_first(n), (V)_mm256_maskload_##s(p, (__m256i)X##_first(n)), X##_splat(fill));               \
  }                                                                                                                  \
  INL void X##_store_part(T *p, V v, int64_t n) { _mm256_maskstore_##s(p, (__m256i)X##_first(n), (R)v); }
SNK_OWN(vf, float, vf, __m256, ps)
SNK_OWN(vd, double, vd, __m256d, pd)
INL int vf_any(vfm m) { return _mm256_movemask_ps((__m256)m) != 0; }
INL int vd_any(vdm m) { return _mm256_movemask_pd((__m256d)m) != 0; }
INL vd vd_low(vf a) { return (vd)_mm256_cvtps_pd(_mm256_castps256_ps128((__m256)a)); }
INL vd vd_high(vf a) { return (vd)_mm256_cvtps_pd(_mm256_extractf128_ps((__m256)a, 1)); }
INL vf vf_of_doubles(vd low, vd high) {
  return (vf)_mm256_set_m128(_mm256_cvtpd_ps((__m256d)high), _mm256_cvtpd_ps((__m256d)low));
}
#else
#define SNK_PLAIN(V, M, T, X, f)                                                                                     \
  SNK_WHERE(V, X)                                                                                                    \
  INL V X##_fma(V a, V b, V c) { return a * b + c; }                                                                 \
  INL V X##_load_fill(const T *p, int64_t n, T fill) { V v = X##_splat(fill); memcpy(&v, p, (size_t)n * sizeof(T)); return v; } \
  INL void X##_store_part(T *p, V v, int64_t n) { memcpy(p, &v, (size_t)n * sizeof(T)); }                            \
  SNK_APART V X##_floor(V a) { for (int l = 0; l < (int)(sizeof a / sizeof(T)); l++) a[l] = floor##f(a[l]); return a; } \
  SNK_APART V X##_ceil(V a) { for (int l = 0; l < (int)(sizeof a / sizeof(T)); l++) a[l] = ceil##f(a[l]); return a; }   \
  SNK_APART V X##_trunc(V a) { for (int l = 0; l < (int)(sizeof a / sizeof(T)); l++) a[l] = trunc##f(a[l]); return a; } \
  SNK_APART V X##_round(V a) { for (int l = 0; l < (int)(sizeof a / sizeof(T)); l++) a[l] = nearbyint##f(a[l]); return a; }
SNK_PLAIN(vf, vfm, float, vf, f)
SNK_PLAIN(vd, vdm, double, vd, )
#if defined(__SSE2__)
INL int vf_any(vfm m) { return _mm_movemask_ps((__m128)m) != 0; }
INL int vd_any(vdm m) { return _mm_movemask_pd((__m128d)m) != 0; }
INL vf vf_more(vf a, vf b) { return (vf)_mm_max_ps((__m128)a, (__m128)b); }
INL vf vf_less(vf a, vf b) { return (vf)_mm_min_ps((__m128)a, (__m128)b); }
INL vf vf_sqrt(vf a) { return (vf)_mm_sqrt_ps((__m128)a); }
INL vd vd_more(vd a, vd b) { return (vd)_mm_max_pd((__m128d)a, (__m128d)b); }
INL vd vd_less(vd a, vd b) { return (vd)_mm_min_pd((__m128d)a, (__m128d)b); }
INL vd vd_sqrt(vd a) { return (vd)_mm_sqrt_pd((__m128d)a); }
#else
INL int vf_any(vfm m) { int r = 0; for (int l = 0; l < VF; l++) r |= m[l]; return r != 0; }
INL int vd_any(vdm m) { int64_t r = 0; for (int l = 0; l < VD; l++) r |= m[l]; return r != 0; }
INL vf vf_more(vf a, vf b) { return vf_where((vfm)(a > b), a, b); }
INL vf vf_less(vf a, vf b) { return vf_where((vfm)(a < b), a, b); }
INL vf vf_sqrt(vf a) { for (int l = 0; l < VF; l++) a[l] = __builtin_sqrtf(a[l]); return a; }
INL vd vd_more(vd a, vd b) { return vd_where((vdm)(a > b), a, b); }
INL vd vd_less(vd a, vd b) { return vd_where((vdm)(a < b), a, b); }
INL vd vd_sqrt(vd a) { for (int l = 0; l < VD; l++) a[l] = __builtin_sqrt(a[l]); return a; }
#endif
#endif

/* max, min: NaN passes, of equals the second (so that relu of -0 is 0). atmost, atleast: NaN stays NaN. lanes: a function of libm, lane by lane. */
#if !defined(__AVX512F__)
#define SNK_MAX(V, X)                                                                                         \
  INL V X##_max(V a, V b) { return X##_where(X##_nan(a), a, X##_more(a, b)); }                                \
  INL V X##_min(V a, V b) { return X##_where(X##_nan(a), a, X##_less(a, b)); }
SNK_MAX(vf, vf)
SNK_MAX(vd, vd)
#endif
#define SNK_MORE(V, T, L, X)                                                                                  \
  INL V X##_atmost(V x, T high) { return X##_less(X##_splat(high), x); }                                      \
  INL V X##_atleast(V x, T low) { return X##_more(X##_splat(low), x); }                                       \
  INL V X##_load_part(const T *p, int64_t n) { return X##_load_fill(p, n, 1); }                               \
  SNK_APART V X##_lanes(V a, T (*f)(T)) { for (int l = 0; l < L; l++) a[l] = f(a[l]); return a; }             \
  SNK_APART V X##_lanes2(V a, V b, T (*f)(T, T)) { for (int l = 0; l < L; l++) a[l] = f(a[l], b[l]); return a; }
SNK_MORE(vf, float, VF, vf)
SNK_MORE(vd, double, VD, vd)
#define SNK_LANES(V, X, name, call) INL V X##_##name(V a) { return X##_lanes(a, call); }
#define SNK_LANES2(V, X, name, call) INL V X##_##name(V a, V b) { return X##_lanes2(a, b, call); }

/* Over the lanes: total is their sum, highest the largest (NaN is passed over). */
SNK_FOLD(vf, vd, total, add)
SNK_FOLD(vf, vd, highest, max)

#endif
