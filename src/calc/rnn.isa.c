/* rnn.isa.c - the gates of LSTM and GRU, forward and backward, and the products of a matrix and a vector for single steps. */
#include "calc/rnn.h"
#include "calc/tail.h"
#include "calc/vmath.h"

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* Sigmoid and tanh with 1/d from an estimate and one step of Newton's, where that takes a third of the time of a division: a gate less an ulp. */
#if defined(__AVX512F__)
INL vf inverse(vf d) {
  const vf r = (vf)_mm512_rcp14_ps((__m512)d);
  return vf_fma(r, vf_fma(-d, r, vf_splat(1)), r);
}
INL vf vf_gate(vf x) { return inverse((vf)_mm512_min_ps((__m512)vf_splat(3e38f), (__m512)(vf_splat(1) + vf_exp(-x)))); } /* NaN stays */
INL vf vf_squash(vf x) {
  const vf m = vf_expm1_below(vf_splat(-2) * vf_abs(x));
  return vf_copysign(m * inverse(m + vf_splat(2)), x);
}
#else
INL vf vf_gate(vf x) { return vf_sigmoid(x); }
INL vf vf_squash(vf x) { return vf_tanh(x); }
#endif
INL vd vd_gate(vd x) { return vd_sigmoid(x); }
INL vd vd_squash(vd x) { return vd_tanh(x); }

/* Lane l of the result is the total of sum[l]: halves are folded onto each other as in vf_total, two vectors becoming one at each fold. */
#if defined(__AVX512F__) && defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define LO8 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define HI8 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
#define LO4 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27
#define HI4 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31
#define LO2 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29
#define HI2 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31
#define LO1 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define HI1 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
INL vf vf_totals(const vf *s) {
  vf a[8], b[4];
  UNROLL for (int i = 0; i < 8; i++) a[i] = __builtin_shufflevector(s[2 * i], s[2 * i + 1], LO8) + __builtin_shufflevector(s[2 * i], s[2 * i + 1], HI8);
  UNROLL for (int i = 0; i < 4; i++) b[i] = __builtin_shufflevector(a[2 * i], a[2 * i + 1], LO4) + __builtin_shufflevector(a[2 * i], a[2 * i + 1], HI4);
  UNROLL for (int i = 0; i < 2; i++) a[i] = __builtin_shufflevector(b[2 * i], b[2 * i + 1], LO2) + __builtin_shufflevector(b[2 * i], b[2 * i + 1], HI2);
  return __builtin_shufflevector(a[0], a[1], LO1) + __builtin_shufflevector(a[0], a[1], HI1);
}
#define HAVE_TOTALS
#endif
#elif defined(__AVX2__) && defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
INL vf vf_totals(const vf *s) {
  vf a[4], b[2];
  UNROLL for (int i = 0; i < 4; i++)
    a[i] = __builtin_shufflevector(s[2 * i], s[2 * i + 1], 0, 1, 2, 3, 8, 9, 10, 11) + __builtin_shufflevector(s[2 * i], s[2 * i + 1], 4, 5, 6, 7, 12, 13, 14, 15);
  UNROLL for (int i = 0; i < 2; i++)
    b[i] = __builtin_shufflevector(a[2 * i], a[2 * i + 1], 0, 1, 4, 5, 8, 9, 12, 13) + __builtin_shufflevector(a[2 * i], a[2 * i + 1], 2, 3, 6, 7, 10, 11, 14, 15);
  return __builtin_shufflevector(b[0], b[1], 0, 2, 4, 6, 8, 10, 12, 14) + __builtin_shufflevector(b[0], b[1], 1, 3, 5, 7, 9, 11, 13, 15);
}
#define HAVE_TOTALS
#endif
#endif
#ifndef HAVE_TOTALS
INL vf vf_totals(const vf *s) { vf v; for (int l = 0; l < VF; l++) v[l] = vf_total(s[l]); return v; }
#endif
INL vd vd_totals(const vd *s) { vd v; for (int l = 0; l < VD; l++) v[l] = vd_total(s[l]); return v; }

#define T float
#define V vf
#define L VF
#define W(f) vf_##f
#define N(name) name##_f32
#include "calc/rnn_rows.h"
#undef T
#undef V
#undef L
#undef W
#undef N
#define T double
#define V vd
#define L VD
#define W(f) vd_##f
#define N(name) name##_f64
#include "calc/rnn_rows.h"

const snk_rnn SNK_FN(snk_rnn) = {
    {lstm_f32, gru_f32, lstm_back_f32, gru_back_f32, gemv_f32, column_sums_f32},
    {lstm_f64, gru_f64, lstm_back_f64, gru_back_f64, gemv_f64, column_sums_f64},
};
