/* optim.isa.c - parameter updates as vector code: one pass over a parameter, its gradient and its state. */
#include "calc/optim.h"
#include <stdbool.h>
#include "calc/bf16.h"
#include "calc/tail.h"

typedef float vhalf __attribute__((vector_size(SNK_BYTES / 2)));

static double squares_f32(const void *x, int64_t n) {
  SNK_CLEAN
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

#if SNK_DOUBLES
static double squares_f64(const void *x, int64_t n) {
  SNK_CLEAN
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
#endif

/* What updates divide by: c sqrt(v) + eps. Roots and quotients share a slow unit of the processor, and multiply-adds are what updates wait for
 * otherwise, more than for memory: with AVX-512 a root is 1/sqrt to 14 bits, y, corrected once: v y (3 - v y^2) / 2. Where v is 0 or infinity, y is
 * taken as 0 or 1: the divisor is then eps or -infinity. */
#if SNK_DOUBLES
INL vd divisor_f64(vd v, vd c, vd eps, vd repairs) {
  (void)repairs;
  return vd_fma(vd_sqrt(v), c, eps);
}
INL vd repairs_f64(void) { return vd_splat(0); }
#endif
#if defined(__AVX512F__)
INL vf divisor_f32(vf v, vf c, vf eps, vf repairs) {
  const vf y = (vf)_mm512_fixupimm_ps(_mm512_rsqrt14_ps((__m512)v), (__m512)v, (__m512i)repairs, 0), s = v * y;
  return vf_fma(s * c, vf_fma(s * y, vf_splat(-0.5f), vf_splat(1.5f)), eps);
}
INL vf repairs_f32(void) {
  __m512i t = _mm512_set1_epi32(0xa00800);
  __asm__("" : "+v"(t)); /* else it is made anew for each vector */
  return (vf)t;
}
#else
INL vf divisor_f32(vf v, vf c, vf eps, vf repairs) {
  (void)repairs;
  return vf_fma(vf_sqrt(v), c, eps);
}
INL vf repairs_f32(void) { return vf_splat(0); }
#endif

#define SNK_ROWS "calc/optim_rows.h"
#define SNK_ROWS_DOUBLES SNK_DOUBLES
#include "calc/both.h"

const snk_optim SNK_FN(snk_optim) = {
  .f32 = {sgd_f32, momentum_f32, rmsprop_f32, adam_f32, clip_value_f32, scale_f32, squares_f32},
#if SNK_DOUBLES
  .f64 = {sgd_f64, momentum_f64, rmsprop_f64, adam_f64, clip_value_f64, scale_f64, squares_f64},
#endif
};
