/* optim.isa.c - parameter updates as vector code: one pass over a parameter, its gradient and its state. */
#include "calc/optim.h"
#include <stdbool.h>
#include "calc/bf16.h"
#include "calc/tail.h"

typedef float vhalf __attribute__((vector_size(SNK_BYTES / 2)));

static double squares_f32(const void *x, int64_t n) {
  const float *p = x;
  vd s[2] = {vd_splat(0), vd_splat(0)};
  int64_t i = 0;
  for (; i + 2 * VD <= n; i += 2 * VD) {
    vhalf a, b;
    memcpy(&a, p + i, sizeof a);
    memcpy(&b, p + i + VD, sizeof b);
    const vd u = __builtin_convertvector(a, vd), v = __builtin_convertvector(b, vd);
    s[0] += u * u;
    s[1] += v * v;
  }
  double rest = 0;
  for (; i < n; i++) rest += (double)p[i] * (double)p[i];
  return vd_total(s[0] + s[1]) + rest;
}

static double squares_f64(const void *x, int64_t n) {
  const double *p = x;
  vd s[2] = {vd_splat(0), vd_splat(0)};
  int64_t i = 0;
  for (; i + 2 * VD <= n; i += 2 * VD) {
    const vd u = vd_load(p + i), v = vd_load(p + i + VD);
    s[0] += u * u;
    s[1] += v * v;
  }
  double rest = 0;
  for (; i < n; i++) rest += p[i] * p[i];
  return vd_total(s[0] + s[1]) + rest;
}

/* The roots that updates divide by. Roots and quotients share a slow unit of the processor, which updates wait for more than for memory: with
 * AVX-512 a root is 1/sqrt to 14 bits, corrected once (less than one ulp off; 0, infinity and NaN as they should be). */
INL vd root_f64(vd v) { return vd_sqrt(v); }
#if defined(__AVX512F__)
INL vf root_f32(vf v) {
  const vf y = (vf)_mm512_rsqrt14_ps((__m512)v), s = v * y;
  const vf r = vf_fma(vf_fma(-s, y, vf_splat(1)), s * vf_splat(0.5f), s);
  return (vf)_mm512_fixupimm_ps((__m512)r, (__m512)v, _mm512_set1_epi32(0x500800), 0); /* of 0 is 0, of infinity infinity */
}
#else
INL vf root_f32(vf v) { return vf_sqrt(v); }
#endif

#define SNK_ROWS "calc/optim_rows.h"
#include "calc/both.h"

const snk_optim SNK_FN(snk_optim) = {
    {sgd_f32, momentum_f32, rmsprop_f32, adam_f32, clip_value_f32, scale_f32, squares_f32},
    {sgd_f64, momentum_f64, rmsprop_f64, adam_f64, clip_value_f64, scale_f64, squares_f64},
};
