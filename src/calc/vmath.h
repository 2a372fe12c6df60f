/* vmath.h - elementary functions on vectors. float: polynomials and quotients of polynomials; tests/c/vmath_test.c compares them with libm's
 * double over all exponents on every instruction set. double and the rare ones: libm, lane by lane.
 * Errors in units in the last place, at most: exp 1.5, log 1, log1p 1, expm1 2, tanh 3, sigmoid 3, erf 4; of gelu 2e-7 |x|. Results below the
 * normal range become denormal or, when flushing, zero.
 *
 * The coefficients were found by Lawson's iteration and Remez' exchange in 60 digits (error of each below 2^-25).
 * Sources: range reduction of exp and the exponent's place in log and log1p as in Muller, Elementary Functions, 3rd ed., 11;
 * erf by the logarithm of erfc, which is nearly a parabola, as in Press et al., Numerical Recipes, 6.2.
 */
#ifndef SNK_VMATH_H
#define SNK_VMATH_H
#include "calc/vec.h"

#define VFK(c) vf_splat((float)(c))

/* The nearest whole number to a b, for less than 2^22: adding 1.5 2^23 leaves no room for a fraction. */
INL vf vf_whole(vf a, vf b) { return vf_fma(a, b, VFK(12582912)) - VFK(12582912); }

/* p 2^n, rounded once; n whole, from -250 to 250. */
INL vf vf_scale(vf p, vf n) {
#if defined(__AVX512F__)
  return (vf)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
  const vfm k = __builtin_convertvector(n, vfm), h = k >> 1;
  return p * (vf)((h + 127) << 23) * (vf)((k - h + 127) << 23);
#endif
}

/* r with x = r + n ln 2, |r| <= ln 2 / 2. */
INL vf vf_reduce(vf x, vf n) { return vf_fma(n, VFK(2.12194440e-4), vf_fma(n, VFK(-0.693359375), x)); }

/* For x up to 89. */
INL vf vf_exp_below(vf x) {
  const vf z = vf_atleast(x, -104), n = vf_whole(z, VFK(1.44269504088896341)), r = vf_reduce(z, n);
  vf p = VFK(0.00138145404);
  p = vf_fma(p, r, VFK(0.0083687454843));
  p = vf_fma(p, r, VFK(0.041668390814));
  p = vf_fma(p, r, VFK(0.16666520395));
  p = vf_fma(p, r, VFK(0.49999993432));
  p = vf_fma(p, r, VFK(1));
  return vf_scale(vf_fma(p, r, VFK(1)), n);
}
INL vf vf_exp(vf x) { return vf_exp_below(vf_atmost(x, 89)); }

/* e^r - 1 for a reduced r; 2^n (e^r - 1) + (2^n - 1) from it and `unit` 2^n. */
INL vf vf_expm1_part(vf r) {
  vf p = VFK(0.0013882519868);
  p = vf_fma(p, r, VFK(0.0083665471895));
  p = vf_fma(p, r, VFK(0.041667200647));
  p = vf_fma(p, r, VFK(0.16666543424));
  p = vf_fma(p, r, VFK(0.4999999815));
  return vf_fma(p * r, r, r);
}
INL vf vf_expm1_join(vf p, vf scale, float unit) { return vf_fma(p, scale, scale - vf_splat(unit)); }

/* As vf_whole(x, 1 / ln 2), and 2^(n + bias - 127) in *scale: the sum's last bits are its exponent. For exponents from 1 to 254. */
INL vf vf_whole_scale(vf x, float bias, vf *scale) {
  const vf magic = VFK(12582912) + vf_splat(bias), t = vf_fma(x, VFK(1.44269504088896341), magic);
  *scale = (vf)((vu32)t << 23);
  return t - magic;
}

INL vf vf_expm1(vf x) {
  vf half; /* because 2^128 is no number */
  const vf z = vf_atleast(vf_atmost(x, 89), -20), n = vf_whole_scale(z, 126, &half), p = vf_expm1_part(vf_reduce(z, n));
  const vf y = vf_expm1_join(p, half, 0.5f);
  return vf_copysign(vf_where((vfm)(n == VFK(0)) | vf_nan(x), p, y + y), x); /* below the normal range a half would lose a bit */
}

/* log(1 + f) + e ln 2 for -1/4 <= f < 1/2. Both parts of ln 2 are positive: an infinite e passes. */
INL vf vf_log_of(vf f, vf e) {
  vf p = VFK(-0.045079428564);
  p = vf_fma(p, f, VFK(0.1046421838));
  p = vf_fma(p, f, VFK(-0.13161999706));
  p = vf_fma(p, f, VFK(0.14478501793));
  p = vf_fma(p, f, VFK(-0.16647257656));
  p = vf_fma(p, f, VFK(0.19990848363));
  p = vf_fma(p, f, VFK(-0.25000096488));
  p = vf_fma(p, f, VFK(0.33333449318));
  p = vf_fma(p, f, VFK(-0.5));
  p = vf_fma(f * f, p, e * VFK(9.0580006145e-6));
  return vf_fma(e, VFK(0.693138122558593750), f + p);
}

/* What the logarithm of u is where u is no positive number: -inf of 0, NaN below, inf and NaN of themselves. */
INL vf vf_log_edges(vf r, vf u) {
#if defined(__AVX512F__)
  return (vf)_mm512_fixupimm_ps((__m512)r, (__m512)u, _mm512_set1_epi32(0x03530421), 0);
#else
  r = vf_where((vfm)(u == VFK(INFINITY)), u, r);
  r = vf_where((vfm)(u > VFK(0)), r, VFK(NAN));
  return vf_where((vfm)(u == VFK(0)), VFK(-INFINITY), r);
#endif
}

/* The exponent of u, as bits in their place, for a fraction from 3/4 to 3/2. */
INL vfm vf_exponent_bits(vf u) { return (vfm)((vu32)u - 0x3F400000u) & ~0x007FFFFF; } /* below 3/4 it wraps */

/* log(0) = -inf, log(x < 0) = NaN. */
INL vf vf_log(vf x) {
#if defined(__AVX512F__)
  const __m512 m = _mm512_getmant_ps((__m512)x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_nan), e = _mm512_getexp_ps((__m512)x), one = _mm512_set1_ps(1);
  return vf_log_of((vf)m - VFK(1), (vf)_mm512_mask_add_ps(e, _mm512_cmp_ps_mask(m, one, _CMP_LT_OS), e, one));
#else
  const vfm tiny = (vfm)(x < VFK(1.17549435e-38));
  const vf y = vf_where(tiny, x * VFK(33554432.0), x); /* 2^25 */
  const vfm k = vf_exponent_bits(y);
  return vf_log_edges(vf_log_of((vf)((vu32)y - (vu32)k) - VFK(1), __builtin_convertvector((k >> 23) - (tiny & 25), vf)), x);
#endif
}

/* With 1 + x = 2^k m the fraction is f = x 2^-k + (2^-k - 1), exact but for one rounding. */
INL vf vf_log1p(vf x) {
  const vf u = VFK(1) + x;
  const vfm k = vf_exponent_bits(u);
  const vf f = (vf)((vu32)x - (vu32)k) + vf_fma(VFK(0.25), (vf)(0x40800000u - (vu32)k), VFK(-1));
  return vf_copysign(vf_log_edges(vf_log_of(f, __builtin_convertvector(k >> 23, vf)), u), x);
}

/* e^z - 1 for z <= 0. */
INL vf vf_expm1_below(vf z) {
  vf scale;
  z = vf_atleast(z, -20);
  const vf n = vf_whole_scale(z, 127, &scale);
  return vf_expm1_join(vf_expm1_part(vf_reduce(z, n)), scale, 1);
}

/* (1 - e) / (1 + e) with e = e^-2|x|, never above 1. */
INL vf vf_tanh(vf x) {
  const vf m = vf_expm1_below(VFK(-2) * vf_abs(x));
  return vf_copysign(m / (m + VFK(2)), x);
}

/* exp(-x) = inf gives 0: no overflow on either side. */
INL vf vf_sigmoid(vf x) { return VFK(1) / (VFK(1) + vf_exp(-x)); }

/* 1 - erfc(|x|), never above 1. ln(erfc(a)) / a is smooth from 0 on; here it is good to 2^-25 / erfc(a), and falls beyond. */
INL vf vf_erf(vf x) {
  const vf a = vf_atmost(vf_abs(x), 8), t = a * a;
  vf p = VFK(-6.6274092971e-7), q = VFK(1.3893755803e-5);
  p = vf_fma(p, t, VFK(-0.00012491304638));
  q = vf_fma(q, t, VFK(0.00061344415808));
  p = vf_fma(p, t, VFK(-0.0015850167637));
  q = vf_fma(q, t, VFK(4.9314754825e-5));
  p = vf_fma(p, t, VFK(0.019221592154));
  q = vf_fma(q, t, VFK(-0.10279651124));
  p = vf_fma(p, t, VFK(-0.63661759721));
  q = vf_fma(q, t, VFK(-1.1283791976));
  return vf_copysign(vf_expm1_below(a * vf_fma(p, a, q)), x);
}

/* x (1 + erf(x / sqrt 2)) / 2 = max(x, 0) - |x| erfc(|x| / sqrt 2) / 2: nothing cancels on the left side. ln(erfc) as in erf, to 2^-23 / erfc. */
INL vf vf_gelu(vf x) {
#define C(k, c) VFK(-(c) * ((k) % 2 ? 0.5 : 0.70710678118654752) / (double)(1 << (k) / 2))
  const vf a = vf_atmost(vf_abs(x), 16), t = a * a;
  vf p = C(7, 8.4730340974e-6), q = C(6, -0.00010509450277);
  p = vf_fma(p, t, C(5, 0.00032810239708));
  q = vf_fma(q, t, C(4, 0.0017427075066));
  p = vf_fma(p, t, C(3, -0.020662949831));
  q = vf_fma(q, t, C(2, 0.10340912175));
  p = vf_fma(p, t, C(1, 0.63649821374));
  q = vf_fma(q, t, C(0, 1.1283867006));
  return vf_fma(VFK(-0.5) * a, vf_exp_below(a * vf_fma(p, a, q)), vf_atleast(x, 0));
#undef C
}

static inline __attribute__((unused)) double snk_sigmoid(double x) { return 1 / (1 + exp(-x)); }
static inline __attribute__((unused)) double snk_gelu(double x) { return 0.5 * x * (1 + erf(x * 0.707106781186547524)); }
SNK_LANES(vd, vd, exp, exp) SNK_LANES(vd, vd, log, log) SNK_LANES(vd, vd, log1p, log1p) SNK_LANES(vd, vd, expm1, expm1)
SNK_LANES(vd, vd, tanh, tanh) SNK_LANES(vd, vd, erf, erf) SNK_LANES(vd, vd, sigmoid, snk_sigmoid)
SNK_LANES(vd, vd, gelu, snk_gelu) SNK_LANES(vd, vd, exp_below, exp)

#define SNK_BOTH(name) SNK_LANES(vf, vf, name, name##f) SNK_LANES(vd, vd, name, name)
#define SNK_BOTH2(name) SNK_LANES2(vf, vf, name, name##f) SNK_LANES2(vd, vd, name, name)
SNK_BOTH(log2) SNK_BOTH(log10) SNK_BOTH(sin) SNK_BOTH(cos) SNK_BOTH(tan) SNK_BOTH(asin) SNK_BOTH(acos) SNK_BOTH(atan)
SNK_BOTH(sinh) SNK_BOTH(cosh) SNK_BOTH2(pow) SNK_BOTH2(atan2) SNK_BOTH2(fmod)

#endif
