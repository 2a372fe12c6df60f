/* pool.isa.c - pooling for one instruction set. */
#include "calc/pool.h"
#include "calc/vec.h"

/* The first n lanes (all from L on, none below 1); the others are 0 and not touched in memory. int: in every lane. */
#if defined(__AVX512F__)
INL uint32_t lanes(int64_t n, int most) { return n >= most ? (uint32_t)(((uint64_t)1 << most) - 1) : n > 0 ? (1u << n) - 1 : 0; }
INL vf vf_take(const float *p, int64_t n) { return (vf)_mm512_maskz_loadu_ps((__mmask16)lanes(n, 16), p); }
INL vd vd_take(const double *p, int64_t n) { return (vd)_mm512_maskz_loadu_pd((__mmask8)lanes(n, 8), p); }
INL void vf_put(float *p, vf v, int64_t n) { _mm512_mask_storeu_ps(p, (__mmask16)lanes(n, 16), (__m512)v); }
INL void vd_put(double *p, vd v, int64_t n) { _mm512_mask_storeu_pd(p, (__mmask8)lanes(n, 8), (__m512d)v); }
#elif defined(__AVX2__)
INL __m256i lanes8(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n > 8 ? 8 : (int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INL __m256i lanes4(int64_t n) { return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3)); }
INL vf vf_take(const float *p, int64_t n) { return n >= 8 ? vf_load(p) : (vf)_mm256_maskload_ps(p, lanes8(n)); }
INL vd vd_take(const double *p, int64_t n) { return n >= 4 ? vd_load(p) : (vd)_mm256_maskload_pd(p, lanes4(n)); }
INL void vf_put(float *p, vf v, int64_t n) {
  if (n >= 8) vf_store(p, v);
  else if (n > 0) { /* a masked store takes eight cycles on some processors */
    __m128 h = _mm256_castps256_ps128((__m256)v);
    if (n & 4) _mm_storeu_ps(p, h), p += 4, h = _mm256_extractf128_ps((__m256)v, 1);
    if (n & 2) _mm_storel_pi((__m64 *)(void *)p, h), p += 2, h = _mm_movehl_ps(h, h);
    if (n & 1) _mm_store_ss(p, h);
  }
}
INL void vd_put(double *p, vd v, int64_t n) {
  if (n >= 4) vd_store(p, v);
  else _mm256_maskstore_pd(p, lanes4(n), (__m256d)v);
}
#else
#define TAKE_PUT(V, T, L, X)                                                      \
  INL V X##_take(const T *p, int64_t n) {                                         \
    if (n >= L) return X##_load(p);                                               \
    T t[L];                                                                       \
    for (int l = 0; l < L; l++) t[l] = l < n ? p[l] : 0;                          \
    return X##_load(t);                                                           \
  }                                                                               \
  INL void X##_put(T *p, V v, int64_t n) {                                        \
    if (n >= L) X##_store(p, v);                                                  \
    else                                                                          \
      for (int l = 0; l < n; l++) p[l] = v[l];                                    \
  }
TAKE_PUT(vf, float, VF, vf)
TAKE_PUT(vd, double, VD, vd)
#endif
INL vfm vf_int(int i) { return i - (vfm){0}; }
INL vdm vd_int(int i) { return (int64_t)i - (vdm){0}; }

/* EVEN, ODD, LOW, HIGH stay within pieces of 16 bytes with AVX2, where crossing them is an instruction more: ORDER brings windows so split into their
 * order, and back. */
#if SNK_BYTES == 64
#define EVENF(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
#define ODDF(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)
#define LOWF(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGHF(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#define EVEND(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14)
#define ODDD(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15)
#define LOWD(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGHD(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#elif SNK_BYTES == 32
#define EVENF(a, b) __builtin_shufflevector(a, b, 0, 2, 8, 10, 4, 6, 12, 14)
#define ODDF(a, b) __builtin_shufflevector(a, b, 1, 3, 9, 11, 5, 7, 13, 15)
#define LOWF(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define HIGHF(a, b) __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define ORDERF(a) __builtin_shufflevector(a, a, 0, 1, 4, 5, 2, 3, 6, 7)
#define EVEND(a, b) __builtin_shufflevector(a, b, 0, 4, 2, 6)
#define ODDD(a, b) __builtin_shufflevector(a, b, 1, 5, 3, 7)
#define LOWD EVEND
#define HIGHD ODDD
#define ORDERD(a) __builtin_shufflevector(a, a, 0, 2, 1, 3)
#else
#define EVENF(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6)
#define ODDF(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7)
#define LOWF(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HIGHF(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define EVEND(a, b) __builtin_shufflevector(a, b, 0, 2)
#define ODDD(a, b) __builtin_shufflevector(a, b, 1, 3)
#define LOWD EVEND
#define HIGHD ODDD
#endif
#if SNK_BYTES != 32
#define ORDERF(a) (a)
#define ORDERD(a) (a)
#endif

#if defined(__AVX512F__)
/* As in pool_plane.h, with fewer instructions: masked comparisons, and masks that exclude each other. */
typedef struct winners { __mmask16 a, b, c, d; } winners;
INL winners winners_of(bool relu, vf av, vf bv, vf cv, vf dv) {
  const __m512 a = (__m512)av, b = (__m512)bv, c = (__m512)cv, d = (__m512)dv;
  const __mmask16 wb = _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(a, a, _CMP_ORD_Q), b, a, _CMP_NLE_UQ);
  __m512 m = _mm512_mask_mov_ps(a, wb, b);
  const __mmask16 wc = _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(m, m, _CMP_ORD_Q), c, m, _CMP_NLE_UQ);
  m = _mm512_mask_mov_ps(m, wc, c);
  const __mmask16 wd = _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(m, m, _CMP_ORD_Q), d, m, _CMP_NLE_UQ);
  const __mmask16 some = relu ? _mm512_cmp_ps_mask(_mm512_mask_mov_ps(m, wd, d), _mm512_setzero_ps(), _CMP_GT_OQ) : (__mmask16)-1;
  const __mmask16 abc = _kandn_mask16(wd, some), ab = _kandn_mask16(wc, abc);
  return (winners){_kandn_mask16(wb, ab), _kand_mask16(wb, ab), _kand_mask16(wc, abc), _kand_mask16(wd, some)};
}
INL void share_f32(bool relu, vf a, vf b, vf c, vf d, vf gv, vf *won) {
  const winners w = winners_of(relu, a, b, c, d);
  won[0] = (vf)_mm512_maskz_mov_ps(w.a, (__m512)gv), won[1] = (vf)_mm512_maskz_mov_ps(w.b, (__m512)gv);
  won[2] = (vf)_mm512_maskz_mov_ps(w.c, (__m512)gv), won[3] = (vf)_mm512_maskz_mov_ps(w.d, (__m512)gv);
}
#define SHARED
#endif

#define T float
#define V vf
#define VM vfm
#define L VF
#define W(f) vf_##f
#define N(name) name##_f32
#define EVEN EVENF
#define ODD ODDF
#define LOW LOWF
#define HIGH HIGHF
#define ORDER ORDERF
#include "calc/pool_plane.h"
#if defined(__AVX512F__)
#include "calc/pool_half.h"
#else
#define max_half NULL
#define max_back_half NULL
#endif
#undef SHARED
#undef T
#undef V
#undef VM
#undef L
#undef W
#undef N
#undef EVEN
#undef ODD
#undef LOW
#undef HIGH
#undef ORDER
#if SNK_DOUBLES
SNK_SMALL_BEGIN
#define T double
#define V vd
#define VM vdm
#define L VD
#define W(f) vd_##f
#define N(name) name##_f64
#define EVEN EVEND
#define ODD ODDD
#define LOW LOWD
#define HIGH HIGHD
#define ORDER ORDERD
#include "calc/pool_plane.h"
SNK_SMALL_END
#define F64 {max_f64, max_back_f64, pick_f64, mean_f64, mean_back_f64}
#else
#define F64 {0}
#endif

const snk_pool SNK_FN(snk_pool) = {
    {max_f32, max_back_f32, pick_f32, mean_f32, mean_back_f32},
    F64,
    max_half, max_back_half,
};
