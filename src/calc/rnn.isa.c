/* rnn.isa.c - the gates of LSTM and GRU, forward and backward, and the products of a matrix and a vector for single steps. */
#include "calc/rnn.h"
#include "calc/fold.h"
#include "calc/vmath.h"

/* Sigmoid with an estimated 1/d where that takes a third of the time of a division: a gate less an ulp. */
#if defined(__AVX512F__)
INL vf inverse(vf d) {
  const vf r = (vf)_mm512_rcp14_ps((__m512)d);
  return vf_fma(r, vf_fma(-d, r, vf_splat(1)), r);
}
INL vf vf_gate(vf x) { return inverse((vf)_mm512_min_ps((__m512)vf_splat(3e38f), (__m512)(vf_splat(1) + vf_exp(-x)))); } /* NaN stays */
#else
INL vf vf_gate(vf x) { return vf_sigmoid(x); }
#endif
INL vd vd_gate(vd x) { return vd_sigmoid(x); }

#define SNK_ROWS "calc/rnn_rows.h"
#include "calc/both.h"

const snk_rnn SNK_FN(snk_rnn) = {
    {lstm_f32, gru_f32, lstm_back_f32, gru_back_f32, gemv_f32, column_sums_f32},
    {lstm_f64, gru_f64, lstm_back_f64, gru_back_f64, gemv_f64, column_sums_f64},
};
