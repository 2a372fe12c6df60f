/* vmath.h - elementary functions on vectors. float: polynomials, errors in ulp stated (tests/c/map_test.c measures them);
 * double and the rare ones: libm, lane by lane, which gives body and tail equal bits as well.
 *
 * Sources: range reduction and minimax polynomials for exp, log, tanh after Moshier's Cephes (single precision);
 * erfc after Press et al., Numerical Recipes, 6.2 (fractional error 1.2e-7), series for small arguments; log1p after Kahan.
 */
#ifndef SNK_VMATH_H
#define SNK_VMATH_H
#include "calc/vec.h"

#define VFK(c) vf_splat((float)(c))

/* exp: 1 ulp. Results below the normal range become denormal or, when flushing, zero. */
INL vf vf_exp(vf x) {
  const vfm nan = vf_nan(x);
  vf z = vf_where((vfm)(x > VFK(89)), VFK(89), x);
  z = vf_where((vfm)(z < VFK(-104)), VFK(-104), z);
  z = vf_where(nan, VFK(0), z);
  const vf n = vf_round(z * VFK(1.44269504088896341));
  vf r = vf_fma(n, VFK(-0.693359375), z);
  r = vf_fma(n, VFK(2.12194440e-4), r);
  vf p = VFK(1.9875691500e-4);
  p = vf_fma(p, r, VFK(1.3981999507e-3));
  p = vf_fma(p, r, VFK(8.3334519073e-3));
  p = vf_fma(p, r, VFK(4.1665795894e-2));
  p = vf_fma(p, r, VFK(1.6666665459e-1));
  p = vf_fma(p, r, VFK(5.0000001201e-1));
  p = vf_fma(p * r, r, r) + VFK(1);
  const vfm k = __builtin_convertvector(n, vfm), h = k >> 1; /* 2^n in two factors: n runs from -150 to 128 */
  const vf s1 = (vf)((h + 127) << 23), s2 = (vf)((k - h + 127) << 23);
  return vf_where(nan, x, p * s1 * s2);
}

/* log: 1 ulp. log(0) = -inf, log(x < 0) = NaN. */
INL vf vf_log(vf x) {
  const vfm tiny = (vfm)(x < VFK(1.17549435e-38));
  vf y = vf_where(tiny, x * VFK(33554432.0), x); /* 2^25 */
  vfm e = (vfm)((vu32)(vfm)y >> 23) - 126;
  e -= tiny & 25;
  vf m = (vf)(((vfm)y & 0x007FFFFF) | 0x3F000000); /* 0.5 .. 1 */
  const vfm low = (vfm)(m < VFK(0.70710678));
  e += low; /* a mask is -1 */
  m = m + vf_where(low, m, VFK(0)) - VFK(1);
  const vf f = __builtin_convertvector(e, vf), z = m * m;
  vf p = VFK(7.0376836292e-2);
  p = vf_fma(p, m, VFK(-1.1514610310e-1));
  p = vf_fma(p, m, VFK(1.1676998740e-1));
  p = vf_fma(p, m, VFK(-1.2420140846e-1));
  p = vf_fma(p, m, VFK(1.4249322787e-1));
  p = vf_fma(p, m, VFK(-1.6668057665e-1));
  p = vf_fma(p, m, VFK(2.0000714765e-1));
  p = vf_fma(p, m, VFK(-2.4999993993e-1));
  p = vf_fma(p, m, VFK(3.3333331174e-1));
  p = p * m * z;
  p = vf_fma(f, VFK(-2.12194440e-4), p);
  p = vf_fma(z, VFK(-0.5), p);
  vf r = vf_fma(f, VFK(0.693359375), m + p);
  r = vf_where((vfm)(x == VFK(0)), VFK(-INFINITY), r);
  r = vf_where((vfm)(x < VFK(0)), VFK(NAN), r);
  return vf_where((vfm)(x == VFK(INFINITY)) | vf_nan(x), x, r);
}

/* log1p: 2 ulp. log(u) x/(u-1) with u = 1+x carries the rounding of u away. */
INL vf vf_log1p(vf x) {
  const vf u = VFK(1) + x, d = u - VFK(1);
  const vf r = vf_log(u) * (x / vf_where((vfm)(d == VFK(0)), VFK(1), d));
  return vf_where((vfm)(d == VFK(0)) | (vfm)(x == VFK(INFINITY)), x, vf_where((vfm)(u == VFK(0)), VFK(-INFINITY), r));
}

/* expm1: 3 ulp. */
INL vf vf_expm1(vf x) {
  vf p = VFK(1.0 / 40320);
  p = vf_fma(p, x, VFK(1.0 / 5040));
  p = vf_fma(p, x, VFK(1.0 / 720));
  p = vf_fma(p, x, VFK(1.0 / 120));
  p = vf_fma(p, x, VFK(1.0 / 24));
  p = vf_fma(p, x, VFK(1.0 / 6));
  p = vf_fma(p, x, VFK(0.5));
  p = vf_fma(p * x, x, x);
  return vf_where((vfm)(vf_abs(x) < VFK(0.5)), p, vf_exp(x) - VFK(1));
}

/* tanh: 2 ulp. */
INL vf vf_tanh(vf x) {
  const vf a = vf_abs(x), z = x * x;
  vf p = VFK(-5.70498872745e-3);
  p = vf_fma(p, z, VFK(2.06390887954e-2));
  p = vf_fma(p, z, VFK(-5.37397155531e-2));
  p = vf_fma(p, z, VFK(1.33314422036e-1));
  p = vf_fma(p, z, VFK(-3.33332819422e-1));
  p = vf_fma(p * z, x, x);
  const vf big = VFK(1) - VFK(2) / (vf_exp(a + a) + VFK(1));
  return vf_where((vfm)(a < VFK(0.625)), p, vf_copysign(big, x));
}

/* sigmoid: 2 ulp. exp(-x) = inf gives 0: no overflow on either side. */
INL vf vf_sigmoid(vf x) { return VFK(1) / (VFK(1) + vf_exp(-x)); }

/* erf: 3 ulp. */
INL vf vf_erf(vf x) {
  const vf a = vf_abs(x), z = x * x;
  vf p = VFK(1.0 / 76204800); /* 2/sqrt(pi) sum (-1)^n x^(2n+1) / (n! (2n+1)), n to 10 */
  p = vf_fma(p, z, VFK(-1.0 / 6894720));
  p = vf_fma(p, z, VFK(1.0 / 685440));
  p = vf_fma(p, z, VFK(-1.0 / 75600));
  p = vf_fma(p, z, VFK(1.0 / 9360));
  p = vf_fma(p, z, VFK(-1.0 / 1320));
  p = vf_fma(p, z, VFK(1.0 / 216));
  p = vf_fma(p, z, VFK(-1.0 / 42));
  p = vf_fma(p, z, VFK(1.0 / 10));
  p = vf_fma(p, z, VFK(-1.0 / 3));
  const vf small = VFK(1.12837916709551257) * vf_fma(p * z, x, x);
  const vf t = VFK(1) / vf_fma(VFK(0.5), a, VFK(1));
  vf q = VFK(0.17087277);
  q = vf_fma(q, t, VFK(-0.82215223));
  q = vf_fma(q, t, VFK(1.48851587));
  q = vf_fma(q, t, VFK(-1.13520398));
  q = vf_fma(q, t, VFK(0.27886807));
  q = vf_fma(q, t, VFK(-0.18628806));
  q = vf_fma(q, t, VFK(0.09678418));
  q = vf_fma(q, t, VFK(0.37409196));
  q = vf_fma(q, t, VFK(1.00002368));
  q = vf_fma(q, t, VFK(-1.26551223));
  const vf big = VFK(1) - t * vf_exp(q - z);
  const vf r = vf_where((vfm)(a < VFK(1)), small, vf_copysign(vf_where((vfm)(a > VFK(4)), VFK(1), big), x));
  return vf_where(vf_nan(x), x, r);
}

INL double snk_sigmoid(double x) { return 1 / (1 + exp(-x)); }
SNK_LANES(vd, double, VD, vd, exp, exp) SNK_LANES(vd, double, VD, vd, log, log) SNK_LANES(vd, double, VD, vd, log1p, log1p)
SNK_LANES(vd, double, VD, vd, expm1, expm1) SNK_LANES(vd, double, VD, vd, tanh, tanh) SNK_LANES(vd, double, VD, vd, erf, erf)
SNK_LANES(vd, double, VD, vd, sigmoid, snk_sigmoid)

#define SNK_BOTH(name) SNK_LANES(vf, float, VF, vf, name, name##f) SNK_LANES(vd, double, VD, vd, name, name)
#define SNK_BOTH2(name) SNK_LANES2(vf, float, VF, vf, name, name##f) SNK_LANES2(vd, double, VD, vd, name, name)
SNK_BOTH(log2) SNK_BOTH(log10) SNK_BOTH(sin) SNK_BOTH(cos) SNK_BOTH(tan) SNK_BOTH(asin) SNK_BOTH(acos) SNK_BOTH(atan)
SNK_BOTH(sinh) SNK_BOTH(cosh) SNK_BOTH2(pow) SNK_BOTH2(atan2) SNK_BOTH2(fmod)

#endif
