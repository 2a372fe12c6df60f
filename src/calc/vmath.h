/* vmath.h - elementary functions on vectors. float: polynomials, in pieces, and quotients of them; tests/c/vmath_test.c compares them with libm's
 * double over all exponents on every instruction set. double and the rare ones: vmath_more.h where there are fused multiply-adds, else libm, lane by lane.
 * Errors in units in the last place, at most: exp 1.5, log 1, log1p 1, expm1 2, tanh 3, sigmoid 3, erf 4; of gelu 2.5e-7 |x|, of its slope 2.5e-7;
 * those of vmath_more.h stand there.
 * Results below the normal range become denormal or, when flushing, zero.
 *
 * The coefficients were found by Lawson's iteration and Remez' exchange (error of each below 2^-24).
 * Sources: range reduction of exp and the exponent's place in log and log1p as in Muller, Elementary Functions, 3rd ed., 11;
 * erf by the logarithm of erfc, which is nearly a parabola, as in Press et al., Numerical Recipes, 6.2.
 */
#ifndef SNK_VMATH_H
#define SNK_VMATH_H
#include "calc/vec.h"
#if defined(__AVX512F__)
#include "calc/vtable.h"
#endif

#define VFK(c) vf_splat((float)(c))

/* The nearest whole number to a b, for less than 2^22: adding 1.5 2^23 leaves no room for a fraction. */
INL vf vf_whole(vf a, vf b) { return vf_fma(a, b, VFK(12582912)) - VFK(12582912); }

/* r with x = r + n ln 2, |r| <= ln 2 / 2. */
INL vf vf_reduce(vf x, vf n) { return vf_fma(n, VFK(2.12194440e-4), vf_fma(n, VFK(-0.693359375), x)); }

/* e^r for a reduced r. */
INL vf vf_exp_part(vf r) {
  vf p = VFK(0.00138145404);
  p = vf_fma(p, r, VFK(0.0083687454843));
  p = vf_fma(p, r, VFK(0.041668390814));
  p = vf_fma(p, r, VFK(0.16666520395));
  p = vf_fma(p, r, VFK(0.49999993432));
  p = vf_fma(p, r, VFK(1));
  return vf_fma(p, r, VFK(1));
}

/* The nearest whole number to x / ln 2 in *n, and 2^(n + bias - 127), the result: the last bits of the sum are its exponent, from 1 to 254. */
INL vf vf_whole_scale(vf x, float bias, vf *n) {
  const vf magic = VFK(12582912) + vf_splat(bias), t = vf_fma(x, VFK(1.44269504088896341), magic);
  *n = t - magic;
  return (vf)((vu32)t << 23);
}

/* exp_below: for x up to 40. Where a power of 2 is not applied in one instruction, exp looks at whether it fits into an exponent: it does for
 * nearly all numbers there are. */
#if defined(__AVX512F__)
INL vf vf_exp_below(vf x) {
  const vf z = vf_atleast(x, -104), n = vf_whole(z, VFK(1.44269504088896341));
  return (vf)_mm512_scalef_ps((__m512)vf_exp_part(vf_reduce(z, n)), (__m512)n);
}
INL vf vf_exp(vf x) { return vf_exp_below(vf_atmost(x, 89)); }
#else
INL vf vf_exp_below(vf x) {
  vf n;
  const vf z = vf_atleast(x, -104), scale = vf_whole_scale(z, 127 + 64, &n); /* 2^64 too large, so that it is rounded once, at the end */
  return vf_exp_part(vf_reduce(z, n)) * scale * VFK(5.42101086242752217e-20);
}
SNK_APART vf vf_exp_edges(vf x) {
  const vf z = vf_atleast(vf_atmost(x, 89), -104), n = vf_whole(z, VFK(1.44269504088896341));
  const vfm k = __builtin_convertvector(n, vfm), h = k >> 1;
  return vf_exp_part(vf_reduce(z, n)) * (vf)((h + 127) << 23) * (vf)((k - h + 127) << 23);
}
INL vf vf_exp(vf x) {
  if (vf_any((vfm)(vf_abs(x) <= VFK(87)) == 0)) return vf_exp_edges(x);
  vf n;
  const vf scale = vf_whole_scale(x, 127, &n);
  return vf_exp_part(vf_reduce(x, n)) * scale;
}
#endif

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

INL vf vf_expm1(vf x) {
  vf n;
  const vf z = vf_atleast(vf_atmost(x, 89), -20), half = vf_whole_scale(z, 126, &n), p = vf_expm1_part(vf_reduce(z, n)); /* 2^128 is no number */
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

/* log(0) = -inf, log(x < 0) = NaN. log_plain: of a positive normal number. log_split: x = 2^e (1 + the result), which a function joins again. */
#if defined(__AVX512F__)
INL vf vf_log_split(vf x, vf *e) {
  const __m512 m = _mm512_getmant_ps((__m512)x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_nan), k = _mm512_getexp_ps((__m512)x), one = _mm512_set1_ps(1);
  *e = (vf)_mm512_mask_add_ps(k, _mm512_cmp_ps_mask(m, one, _CMP_LT_OS), k, one);
  return (vf)m - VFK(1);
}
INL vf vf_log_joined(vf y, vf x) { return (void)x, y; } /* infinite and no numbers have come through by themselves */
INL vf vf_log(vf x) {
  vf e;
  const vf f = vf_log_split(x, &e);
  return vf_log_of(f, e);
}
INL vf vf_log_plain(vf x) { return vf_log(x); }
#else
INL vf vf_log_plain(vf x) {
  const vfm k = vf_exponent_bits(x);
  return vf_log_of((vf)((vu32)x - (vu32)k) - VFK(1), __builtin_convertvector(k >> 23, vf));
}
INL vf vf_log_split(vf x, vf *e) {
  const vfm tiny = (vfm)(x < VFK(1.17549435e-38));
  const vf y = vf_where(tiny, x * VFK(33554432.0), x); /* 2^25 */
  const vfm k = vf_exponent_bits(y);
  *e = __builtin_convertvector((k >> 23) - (tiny & 25), vf);
  return (vf)((vu32)y - (vu32)k) - VFK(1);
}
INL vf vf_log_joined(vf y, vf x) { return vf_log_edges(y, x); }
INL vf vf_log(vf x) {
  vf e;
  const vf f = vf_log_split(x, &e);
  return vf_log_joined(vf_log_of(f, e), x);
}
#endif

/* With 1 + x = 2^k m the fraction is f = x 2^-k + (2^-k - 1), exact but for one rounding. */
INL vf vf_log1p(vf x) {
  const vf u = VFK(1) + x;
  const vfm k = vf_exponent_bits(u);
  const vf f = (vf)((vu32)x - (vu32)k) + vf_fma(VFK(0.25), (vf)(0x40800000u - (vu32)k), VFK(-1));
  return vf_copysign(vf_log_edges(vf_log_of(f, __builtin_convertvector(k >> 23, vf)), u), x);
}

/* e^z - 1 for z <= 0. */
INL vf vf_expm1_below(vf z) {
  vf n;
  z = vf_atleast(z, -20);
  const vf scale = vf_whole_scale(z, 127, &n);
  return vf_expm1_join(vf_expm1_part(vf_reduce(z, n)), scale, 1);
}

#if defined(__AVX512F__)
/* The piece whose number is in the last five bits of i, at d from its middle. No division: with one, that is what a vector waits for. */
#define PICK(row) (vf)_mm512_permutex2var_ps(_mm512_loadu_ps(row), (__m512i)i, _mm512_loadu_ps((row) + 16))
INL vf vf_piece(const float (*c)[32], vfm i, vf d) {
  vf p = vf_fma(PICK(c[4]), d, PICK(c[3]));
  p = vf_fma(p, d, PICK(c[2]));
  p = vf_fma(p, d, PICK(c[1]));
  return vf_fma(p, d, PICK(c[0]));
}

/* Beyond 9.02 it is 1. */
INL vf vf_tanh(vf x) {
  const vf a = vf_atmost(vf_abs(x), 9.02f);
  const vfm i = (vfm)((vu32)vf_fma(a, VFK(0.8), VFK(0.5)) >> 20);
  return vf_copysign(vf_piece(snk_tanh_pieces, i, a - PICK(snk_tanh_pieces[5])), x);
}
#undef PICK
#else
/* -m / (m + 2) with m = e^-2|x| - 1, never above 1. As vf_expm1_part and vf_expm1_join for r = -2 s; the power of 2 is -2^(n + 1). */
INL vf vf_tanh(vf x) {
  const vf a = vf_atmost(vf_abs(x), 10), magic = VFK(12582912 + 256 + 128), t = vf_fma(a, VFK(-2 * 1.44269504088896341), magic), n = t - magic;
  const vf s = vf_fma(n, VFK(-1.06097220e-4), vf_fma(n, VFK(0.3466796875), a)), scale = (vf)((vu32)t << 23);
  vf p = VFK(-32 * 0.0013882519868);
  p = vf_fma(p, s, VFK(16 * 0.0083665471895));
  p = vf_fma(p, s, VFK(-8 * 0.041667200647));
  p = vf_fma(p, s, VFK(4 * 0.16666543424));
  p = vf_fma(p, s, VFK(-2 * 0.4999999815));
  const vf m = vf_fma(vf_fma(p * s, s, s), scale, vf_fma(scale, VFK(-0.5), VFK(-1)));
  return vf_copysign(m / (m + VFK(2)), x);
}
#endif

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

#if defined(__AVX512F__)
/* The piece round the nearest quarter to a, for 0 <= a < 7.875: a sum with 1.5 2^21 has two bits of fraction. */
INL vf vf_quarter(const float (*c)[32], vf a) { return vf_piece(c, (vfm)(a + VFK(3145728)), (vf)_mm512_reduce_ps((__m512)a, 2 << 4)); }

/* x Phi(x) = max(x, 0) - a Phi(-a) with a = |x|: nothing cancels on the left side. The limit keeps NaN out: max brings it back. */
INL vf vf_gelu(vf x) {
  const vf a = (vf)_mm512_range_ps((__m512)x, (__m512)VFK(7.75), 10);
  return vf_fma(-a, vf_quarter(snk_gelu_pieces, a), vf_atleast(x, 0));
}

INL vf vf_gelu_rest(vf x) { return vf_quarter(snk_slope_pieces, vf_atmost(vf_abs(x), 7.75f)); }
#else
/* With e = e^(-a^2 / 2) the normal distribution is Phi(-a) = e R(a) for 0 <= a <= 16; R sinks slowly, a polynomial in 1 / (1 + 0.276 a) to 4e-9 / e.
 * The form is Hastings' (Approximations for Digital Computers, 1955, sheet 45). Gives e 2^64, which is no denormal number, and R 2^-64. */
#define TINY 5.42101086242752217e-20
INL vf vf_normal(vf a, vf *r) {
  const vf h = a * a, half = VFK(-0.72134752044448170), magic = VFK(12582912 + 127 + 64), s = vf_fma(h, half, magic), d = vf_fma(h, half, magic - s);
  const vf t = VFK(1) / vf_fma(a, VFK(0.276), VFK(1));
  vf p = VFK(0.0013264665452), q = VFK(-0.1134512859 * TINY);
  p = vf_fma(p, d, VFK(0.0096715126106));
  q = vf_fma(q, t, VFK(0.4408113692 * TINY));
  p = vf_fma(p, d, VFK(0.055507338926));
  q = vf_fma(q, t, VFK(-0.3138558198 * TINY));
  p = vf_fma(p, d, VFK(0.24022242093));
  q = vf_fma(q, t, VFK(0.3221488826 * TINY));
  p = vf_fma(p, d, VFK(0.69314697754));
  q = vf_fma(q, t, VFK(0.04672257911 * TINY));
  q = vf_fma(q, t, VFK(0.1176242708 * TINY));
  *r = q * t;
  return vf_fma(p, d, VFK(1)) * (vf)((vu32)s << 23);
}

/* x Phi(x) = max(x, 0) - a Phi(-a) with a = |x|: nothing cancels on the left side. */
INL vf vf_gelu(vf x) {
  vf r;
  const vf a = vf_less(vf_abs(x), VFK(16)), e = vf_normal(a, &r); /* of NaN any number: max brings it back */
  return vf_fma(-a, e * r, vf_atleast(x, 0));
}

INL vf vf_gelu_rest(vf x) {
  vf r;
  const vf a = vf_atmost(vf_abs(x), 16), e = vf_normal(a, &r);
  return e * vf_fma(a, VFK(0.398942280401432678 * TINY), -r);
}
#undef TINY
#endif

/* Its slope Phi(x) + x phi(x) = [x >= 0] + sign(x) (a phi(a) - Phi(-a)). */
INL vf vf_gelu_slope(vf x) {
  return (vf)((vfm)vf_gelu_rest(x) ^ ((vfm)x & (vfm)VFK(-0.0))) + (vf)((vfm)VFK(1) & ~((vfm)x >> 31));
}

static inline __attribute__((unused)) double snk_sigmoid(double x) { return 1 / (1 + exp(-x)); }
static inline __attribute__((unused)) double snk_gelu(double x) { return 0.5 * x * (1 + erf(x * 0.707106781186547524)); }
static inline __attribute__((unused)) double snk_gelu_slope(double x) {
  return 0.5 * (1 + erf(x * 0.707106781186547524)) + x * 0.398942280401432678 * exp(-0.5 * x * x);
}
SNK_LANES(vd, vd, expm1, expm1)

#define SNK_BOTH(name) SNK_LANES(vf, vf, name, name##f) SNK_LANES(vd, vd, name, name)
#define SNK_BOTH2(name) SNK_LANES2(vf, vf, name, name##f) SNK_LANES2(vd, vd, name, name)
#if defined(__AVX2__)
#include "calc/vmath_more.h"
#else /* without fused multiply-adds the rare ones are not worth the room */
SNK_LANES(vd, vd, exp, exp) SNK_LANES(vd, vd, log, log) SNK_LANES(vd, vd, log1p, log1p) SNK_LANES(vd, vd, tanh, tanh) SNK_LANES(vd, vd, sigmoid, snk_sigmoid)
SNK_LANES(vd, vd, exp_below, exp) SNK_LANES(vd, vd, erf, erf) SNK_LANES(vd, vd, gelu, snk_gelu) SNK_LANES(vd, vd, gelu_slope, snk_gelu_slope)
SNK_BOTH(log2) SNK_BOTH(log10) SNK_BOTH(sin) SNK_BOTH(cos) SNK_BOTH(tan) SNK_BOTH(asin) SNK_BOTH(acos) SNK_BOTH(atan)
SNK_BOTH(sinh) SNK_BOTH(cosh) SNK_BOTH2(pow) SNK_BOTH2(atan2) SNK_BOTH2(fmod)
#endif

#endif
