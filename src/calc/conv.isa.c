/* conv.isa.c - the kernels of convolution for one instruction set: register tiles, masked loads and stores. */
#include "calc/conv.h"
#include "calc/lanes.h"

#if defined(__AVX512F__)
#define MR 12
#define GM 4 /* tile of the weight's gradient */
#define GK 6
#define ALL_MASKED 1 /* a masked load costs nothing */
#define FEW_KERNELS 1
#define PLANES 2 /* vectors of a plane at once, in kernels of 3 x 3; 0: there are none */
#elif defined(__AVX2__)
#define MR 6
#define GM 3
#define GK 4
#define ALL_MASKED 0
#define FEW_KERNELS 1
#define PLANES 1
#else /* fewer, for processors that are old */
#define MR 4
#define GM 2
#define GK 4
#define ALL_MASKED 0
#define FEW_KERNELS 0
#define PLANES 0
#endif

/* put: the chosen lanes, side by side. */
#if defined(__AVX512F__)
SNK_INLINE void vf_put(float *p, VF v, uint32_t m) {
  if (m == 0xffff) _mm512_storeu_ps(p, v);
  else _mm512_mask_storeu_ps(p, (__mmask16)((1u << __builtin_popcount(m)) - 1), _mm512_maskz_compress_ps((__mmask16)m, v));
}
SNK_INLINE void vd_put(double *p, VD v, uint32_t m) {
  if (m == 0xff) _mm512_storeu_pd(p, v);
  else _mm512_mask_storeu_pd(p, (__mmask8)((1u << __builtin_popcount(m)) - 1), _mm512_maskz_compress_pd((__mmask8)m, v));
}
#else
SNK_INLINE void vf_put(float *p, VF v, uint32_t m) {
  if (m == (1u << VFL) - 1) {
    vf_store(p, v);
    return;
  }
  float t[VFL];
  vf_store(t, v);
  for (int l = 0; l < VFL; l++)
    if (m >> l & 1) *p++ = t[l];
}
SNK_INLINE void vd_put(double *p, VD v, uint32_t m) {
  if (m == (1u << VDL) - 1) {
    vd_store(p, v);
    return;
  }
  double t[VDL];
  vd_store(t, v);
  for (int l = 0; l < VDL; l++)
    if (m >> l & 1) *p++ = t[l];
}
#endif

/* The chosen numbers of t from p on. */
#if defined(__AVX512F__)
SNK_INLINE void vf_get(float *t, const float *p, uint32_t m) { vf_store(t, _mm512_mask_expandloadu_ps(vf_load(t), (__mmask16)m, p)); }
SNK_INLINE void vd_get(double *t, const double *p, uint32_t m) { vd_store(t, _mm512_mask_expandloadu_pd(vd_load(t), (__mmask8)m, p)); }
#else
SNK_INLINE void vf_get(float *t, const float *p, uint32_t m) {
  for (int l = 0; l < VFL; l++)
    if (m >> l & 1) t[l] = *p++;
}
SNK_INLINE void vd_get(double *t, const double *p, uint32_t m) {
  for (int l = 0; l < VDL; l++)
    if (m >> l & 1) t[l] = *p++;
}

#endif

/* Rounded to bfloat16 numbers in two bytes: the chosen lanes, side by side. */
#define NARROW SNK_NARROW
#if NARROW
SNK_INLINE void vf_put_narrow(uint16_t *p, VF v, uint32_t m) {
  if (m == 0xffff) vf_chosen_narrow(p, v, m);
  else vf_chosen_narrow(p, _mm512_maskz_compress_ps((__mmask16)m, v), (1u << __builtin_popcount(m)) - 1);
}
#endif

/* out[i] = total of v[i]: neighbours are added in a tree, lanes of as many vectors at once as a vector has lanes. */
#if defined(__AVX512F__)
#define EVEN16 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD16 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define PAIR_F(a, b) (__builtin_shufflevector(a, b, EVEN16) + __builtin_shufflevector(a, b, ODD16))
#define PAIR_D(a, b) \
  (__builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14) + __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15))
#elif defined(__AVX2__)
#define PAIR_F(a, b) \
  (__builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14) + __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15))
#define PAIR_D(a, b) (__builtin_shufflevector(a, b, 0, 2, 4, 6) + __builtin_shufflevector(a, b, 1, 3, 5, 7))
#else
#define PAIR_F(a, b) (__builtin_shufflevector(a, b, 0, 2, 4, 6) + __builtin_shufflevector(a, b, 1, 3, 5, 7))
#define PAIR_D(a, b) (__builtin_shufflevector(a, b, 0, 2) + __builtin_shufflevector(a, b, 1, 3))
#endif
#define SUMS(NAME, V, W, T, L, PAIR)                                                              \
  SNK_INLINE void NAME(const V *v, const int n, T *out) {                                         \
    for (int i = 0; i < n; i += L) {                                                              \
      W t[L];                                                                                     \
      SNK_UNROLL                                                                                  \
      for (int l = 0; l < L; l++) t[l] = i + l < n ? (W)v[i + l] : (W){0};                        \
      SNK_UNROLL                                                                                  \
      for (int w = L / 2; w > 0; w /= 2)                                                          \
        SNK_UNROLL                                                                                \
        for (int l = 0; l < w; l++) t[l] = PAIR(t[2 * l], t[2 * l + 1]);                          \
      memcpy(out + i, &t[0], sizeof t[0]);                                                        \
    }                                                                                             \
  }
SUMS(vf_sums, VF, vff, float, VFL, PAIR_F)
SUMS(vd_sums, VD, vdd, double, VDL, PAIR_D)

#define T float
#define V VF
#define M VFM
#define L VFL
#define FN(name) SNK_CAT(name, f32)
#define v_load vf_load
#define v_store vf_store
#define v_set1 vf_set1
#define v_fma_there vf_fma_there
#define v_fma vf_fma
#define v_step vf_step
#define v_zero vf_zero
#define v_take vf_take
#define v_mask vf_mask
#define v_masked vf_masked
#define v_put vf_put
#define v_get vf_get
#define v_chosen vf_chosen
#define v_sums vf_sums
#define v_corner vf_corner
#define v_relu vf_relu
#define v_round vf_bf16
#define v_put_narrow vf_put_narrow
#define v_take_narrow vf_take_narrow
#define V_LOW LOW_F
#define V_HIGH HIGH_F
#define V_EVEN EVEN_F
#define V_BESIDE BESIDE_F
#include "calc/conv_tile.h"
#include "calc/conv_grad.h"
#undef T
#undef V
#undef M
#undef L
#undef FN
#undef v_load
#undef v_store
#undef v_set1
#undef v_fma
#undef v_fma_there
#undef v_step
#undef v_zero
#undef v_take
#undef v_mask
#undef v_masked
#undef v_put
#undef v_get
#undef v_chosen
#undef v_sums
#undef v_corner
#undef v_relu
#undef v_round
#undef V_LOW
#undef V_HIGH
#undef V_BESIDE
#undef V_EVEN

SNK_SMALL_BEGIN
enum { ROWS_F32 = MR };
#if PLANES
#define PLANE_F32 plane_f32
#else
#define PLANE_F32 NULL
#endif
#if NARROW
#define SPREAD_NARROW spread_narrow_f32
#else
#define SPREAD_NARROW NULL
#endif
#undef NARROW
#define NARROW 0
#undef PLANES
#define PLANES 0
#undef MR
#undef GM
#undef GK
#undef FEW_KERNELS
#undef SNK_LOOPS
#define SNK_LOOPS
#define FEW_KERNELS 0
#define MR 4 /* doubles are few: some of the kernels are enough for them, and copying need not be fast */
#define GM 2
#define GK 4
#define T double
#define V VD
#define L VDL
#define FN(name) SNK_CAT(name, f64)
#define v_load vd_load
#define v_store vd_store
#define v_set1 vd_set1
#define v_fma_there vd_fma_there
#define v_fma vd_fma
#define v_step vd_step
#define v_zero vd_zero
#define v_take vd_take
#define v_put vd_put
#define v_get vd_get
#define v_sums vd_sums
#define v_corner vd_corner
#define v_relu vd_relu
#define v_round(v) (v)
#define V_LOW LOW_D
#define V_HIGH HIGH_D
#define V_EVEN EVEN_D
#include "calc/conv_tile.h"
#include "calc/conv_grad.h"
SNK_SMALL_END

const snk_conv SNK_FN(snk_conv) = {
    {ROWS_F32, VFL, WIDE_f32, pack_f32, prepare_f32, band_f32, exact_f32, spread_f32, SPREAD_NARROW, grad_f32, grad_exact_f32, turn_f32,
     turn_rows_f32, grad_last_f32, PLANE_F32},
    {MR, VDL, WIDE_f64, pack_f64, prepare_f64, band_f64, exact_f64, spread_f64, NULL, grad_f64, grad_exact_f64, turn_f64,
     turn_rows_f64, grad_last_f64, NULL},
};
