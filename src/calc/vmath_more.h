/* vmath_more.h - the functions of float that networks seldom call, for instruction sets with fused multiply-adds; part of vmath.h. One copy of
 * each in an object: a call for each vector costs little beside them.
 * Errors in units in the last place, at most: sin 1.6, cos 1.6, tan 3.5, asin 3, acos 3, atan 2.5, atan2 3, sinh 3, cosh 2, log2 2, log10 2.5, pow 1.5;
 * fmod is exact, of doubles as well.
 * Sources: reduction by parts of pi/2 and the sides of asin and atan as in Muller, Elementary Functions, 3rd ed., 11 and 4; the coefficients as in vmath.h.
 */

/* Of |x| up to 2^17 the distance r from the nearest multiple of pi/2, whose number is in the last two bits of the result: what a part of pi/2
 * leaves behind is exact in the first step and loses half a unit of r in each of the others. sin and cos of r. */
INL vfm vf_quarters(vf a, vf *sine, vf *cosine) {
  const vf t = vf_fma(a, VFK(0.636619772367581343), VFK(12582912)), n = t - VFK(12582912);
  const vf r = vf_fma(n, VFK(1.7151245100058819e-15), vf_fma(n, VFK(4.371138828673793e-08), vf_fma(n, VFK(-1.5707963705062866), a))), z = r * r;
  vf s = vf_fma(z, VFK(-0.00019507874094), VFK(0.0083321062848)), c = vf_fma(z, VFK(2.4432109058e-05), VFK(-0.0013887308305));
  s = vf_fma(z, s, VFK(-0.16666653752));
  c = vf_fma(z, c, VFK(0.041666645557));
  *sine = vf_fma(r * z, s, r);
  *cosine = vf_fma(z * z, c, vf_fma(z, VFK(-0.5), VFK(1)));
  return (vfm)t;
}
INL vfm vf_sign_of(vf x) { return (vfm)x & (vfm)VFK(-0.0); }

/* The sine of |x|, `quarter` quarters of a turn on. */
INL vf vf_circle(vf x, int quarter) {
  vf s, c;
  const vfm q = vf_quarters(vf_abs(x), &s, &c) + quarter;
  return (vf)((vfm)vf_where(-(q & 1), c, s) ^ (q & 2) << 30);
}
#define SNK_CIRCLE(V, M, X, name, quarter, sign, call)                           \
  SNK_APART V X##_##name(V x) {                                                  \
    const M far = (M)(X##_abs(x) <= X##_splat(131072)) == 0; /* or no number */  \
    const V y = (V)((M)X##_circle(x, quarter) ^ (sign));                         \
    return X##_any(far) ? X##_where(far, X##_lanes(x, call), y) : y;             \
  }
SNK_CIRCLE(vf, vfm, vf, sin, 0, vf_sign_of(x), sinf)
SNK_CIRCLE(vf, vfm, vf, cos, 1, (vfm){0}, cosf)
SNK_APART vf vf_tan(vf x) {
  vf s, c;
  const vf a = vf_abs(x);
  const vfm q = vf_quarters(a, &s, &c), far = (vfm)(a <= VFK(131072)) == 0, odd = -(q & 1);
  const vf y = (vf)((vfm)(vf_where(odd, c, s) / vf_where(odd, s, c)) ^ q << 31 ^ vf_sign_of(x));
  return vf_any(far) ? vf_where(far, vf_lanes(x, tanf), y) : y;
}

/* pi/2 - w: what its first part lacks is taken from w. */
INL vf vf_from_quarter(vf w) { return VFK(1.5707963705062866) - (w + VFK(4.371138828673793e-08)); }

INL vf vf_from_half(vf w) { return VFK(3.1415927410125732) - (w + VFK(8.742277657347586e-08)); } /* pi - w */

/* For 0 <= t <= 1. */
INL vf vf_atan_part(vf t) {
  const vf z = t * t;
  vf p = vf_fma(z, VFK(-0.0017875476042), VFK(0.010887361132));
  p = vf_fma(z, p, VFK(-0.03112700209));
  p = vf_fma(z, p, VFK(0.057906545699));
  p = vf_fma(z, p, VFK(-0.084004752338));
  p = vf_fma(z, p, VFK(0.10951174796));
  p = vf_fma(z, p, VFK(-0.14264051616));
  p = vf_fma(z, p, VFK(0.19998531044));
  p = vf_fma(z, p, VFK(-0.33333298564));
  return vf_fma(t * z, p, t);
}
SNK_APART vf vf_atan(vf x) {
  const vf a = vf_abs(x);
  const vfm steep = (vfm)(a > VFK(1));
  const vf p = vf_atan_part(vf_where(steep, VFK(1) / a, a));
  return vf_copysign(vf_where(steep, vf_from_quarter(p), p), x);
}
/* The angle of (x, y); 0 / 0 and inf / inf stand for 0 and 1. */
SNK_APART vf vf_atan2(vf y, vf x) {
  const vf a = vf_abs(x), b = vf_abs(y), most = vf_max(a, b), least = vf_min(a, b); /* NaN passes */
  const vf t = vf_where((vfm)(most == least), vf_where((vfm)(most == VFK(0)), most, VFK(1)), least / most);
  vf p = vf_atan_part(t);
  p = vf_where((vfm)(b > a), vf_from_quarter(p), p);
  p = vf_where((vfm)x >> 31, vf_from_half(p), p);
  return vf_copysign(vf_where(vf_nan(x) | vf_nan(y), x + y, p), y);
}

/* asin(t) for 0 <= t <= 1/2, with z its square. */
INL vf vf_asin_part(vf t, vf z) {
  vf p = vf_fma(z, VFK(0.042158305645), VFK(0.024184778333));
  p = vf_fma(z, p, VFK(0.045469149947));
  p = vf_fma(z, p, VFK(0.074953094125));
  p = vf_fma(z, p, VFK(0.166667521));
  return vf_fma(t * z, p, t);
}
/* asin of |x|, or of its distance from 1 by half the angle, which is where *steep; beyond 1 a root gives NaN. */
INL vf vf_asin_side(vf x, vfm *steep) {
  const vf a = vf_abs(x), h = vf_fma(a, VFK(-0.5), VFK(0.5));
  *steep = (vfm)(a > VFK(0.5));
  const vf p = vf_asin_part(vf_where(*steep, vf_sqrt(h), a), vf_where(*steep, h, a * a));
  return vf_where(*steep, p + p, p);
}
SNK_APART vf vf_asin(vf x) {
  vfm steep;
  const vf p = vf_asin_side(x, &steep);
  return vf_copysign(vf_where(steep, vf_from_quarter(p), p), x);
}
SNK_APART vf vf_acos(vf x) {
  vfm steep;
  const vf p = vf_asin_side(x, &steep), q = vf_copysign(p, x);
  return vf_where(steep, vf_where((vfm)x >> 31, vf_from_half(p), p), vf_from_quarter(q));
}

/* h, e^|x| / 4, does not overflow before the result does. sinh = 2 u + 2 u / (4 u + 1) with u = (e^|x| - 1) / 4. */
SNK_APART vf vf_cosh(vf x) {
  vf n;
  const vf a = vf_atmost(vf_abs(x), 89.5f), quarter = vf_whole_scale(a, 125, &n), h = vf_exp_part(vf_reduce(a, n)) * quarter;
  return h + h + VFK(0.125) / h;
}
SNK_APART vf vf_sinh(vf x) {
  vf n;
  const vf a = vf_atmost(vf_abs(x), 89.5f), quarter = vf_whole_scale(a, 125, &n);
  const vf u = vf_expm1_join(vf_expm1_part(vf_reduce(a, n)), quarter, 0.25f), v = u + u, w = vf_atmost(v, 1e10f);
  return vf_copysign(v + w / (w + w + VFK(1)), x);
}

/* Powers of the base are exact: the exponent is added last, or by a part with few bits. */
SNK_APART vf vf_log2(vf x) {
  vf e;
  const vf f = vf_log_split(x, &e), y = vf_log_of(f, VFK(0));
  return vf_log_joined(vf_fma(y, VFK(1.44269504088896341), e), x);
}
SNK_APART vf vf_log10(vf x) {
  vf e;
  const vf f = vf_log_split(x, &e), y = vf_log_of(f, VFK(0));
  return vf_log_joined(vf_fma(e, VFK(0.301025390625), vf_fma(e, VFK(4.605039066518657e-06), y * VFK(0.434294481903251828))), x);
}

/* a^b of positive normal numbers, in double: log2 by s = (m - 1) / (m + 1), 2^-42 off, and 2^t, 2^-29 off. b is finite. */
INL vd vd_pow_part(vd m, vd e, vd b) {
#define VDK(c) vd_splat(c)
  const vd s = (m - VDK(1)) / (m + VDK(1)), z = s * s, magic = VDK(6755399441055744);
  vd l = vd_fma(z, VDK(0.290828166461677), VDK(0.319285329258646));
  l = vd_fma(z, l, VDK(0.412226164005384));
  l = vd_fma(z, l, VDK(0.57707775571454));
  l = vd_fma(z, l, VDK(0.961796694824916));
  l = vd_fma(z, l, VDK(2.88539008177742));
  const vd t = vd_atleast(vd_atmost(b * vd_fma(s, l, e), 200), -200), n = t + magic, r = t - (n - magic);
  vd p = vd_fma(r, VDK(0.000153457854939953), VDK(0.00133999575905363));
  p = vd_fma(r, p, VDK(0.00961848925659448));
  p = vd_fma(r, p, VDK(0.0555032871191973));
  p = vd_fma(r, p, VDK(0.240226468859833));
  p = vd_fma(r, p, VDK(0.693147205767068));
  p = vd_fma(r, p, VDK(1.00000000055505));
  return (vd)((vu64)p + ((vu64)n << 52));
#undef VDK
}
/* Bases below 0 by the sign of what is left; 0, denormal and infinite ones by libm. The roots and powers that come up most are exact, or nearly. */
SNK_APART vf vf_pow(vf a, vf b) {
  if (!vf_any((vfm)(b != VFK(3)))) return a * a * a;
  if (!vf_any((vfm)(b != VFK(-1)))) return VFK(1) / a;
  const vf x = vf_abs(a), whole = vf_trunc(b), halves = b * VFK(0.5);
  if (!vf_any((vfm)(b != VFK(0.5)) | ((vfm)(a > VFK(0)) == 0))) return vf_sqrt(a);
  const vfm plain = (vfm)(x >= VFK(1.17549435e-38)) & (vfm)(x < VFK(INFINITY)) & (vfm)(vf_abs(b) < VFK(INFINITY));
  const vfm k = vf_exponent_bits(x);
  const vf m = (vf)((vu32)x - (vu32)k), e = __builtin_convertvector(k >> 23, vf);
  const vf y = vf_of_doubles(vd_pow_part(vd_low(m), vd_low(e), vd_low(b)), vd_pow_part(vd_high(m), vd_high(e), vd_high(b)));
  const vfm below = (vfm)a >> 31, odd = (vfm)(vf_trunc(halves) != halves) & (vfm)(whole == b);
  const vf signed_y = (vf)((vfm)y ^ (below & odd & (vfm)VFK(-0.0))), z = vf_where(below & (vfm)(whole != b), VFK(NAN), signed_y);
  return vf_any(plain == 0) ? vf_where(plain, z, vf_lanes2(a, b, powf)) : z;
}

/* a - trunc(a / b) b, of which no bit is lost while the quotient, rounded, is at most 1 too large: then the rest has the other sign. */
#define SNK_FMOD(V, M, T, X, most, call)                                                        \
  SNK_APART V X##_fmod(V a, V b) {                                                             \
    const V q = X##_trunc(a / b), r = X##_fma(-q, b, a), z = X##_splat(0);                     \
    const M over = ((M)(r < z) & (M)(a > z)) | ((M)(r > z) & (M)(a < z));                      \
    const V y = X##_copysign(X##_where(over, r + X##_copysign(b, a), r), a);                   \
    const M plain = (M)(X##_abs(q) < X##_splat(most)) & (M)(X##_abs(b) < X##_splat((T)INFINITY)); \
    return X##_any(plain == 0) ? X##_where(plain, y, X##_lanes2(a, b, call)) : y;              \
  }
SNK_FMOD(vf, vfm, float, vf, 4194304, fmodf)
SNK_FMOD(vd, vdm, double, vd, 2251799813685248, fmod)

/* ---- doubles: the functions that networks do call. Errors at most: exp 1.2, log 1, log1p 1.5, tanh 3, erf 2, sigmoid 2.5, sin 1.6, cos 1.6 units in the last place. */

#define VDK(c) vd_splat(c)
/* p r^0 + ... for coefficients from the highest power down. */
#define VD_TERM(p, x, c) p = vd_fma(p, x, VDK(c))

/* The nearest whole number to x / ln 2 in *n and 2^(n + 1023) 2^-1023 as bits in *scale; e^r - 1 for what is left. */
INL vd vd_exp_part(vd x, vd *n) {
  *n = vd_fma(x, VDK(1.4426950408889634), VDK(6755399441055744)) - VDK(6755399441055744);
  const vd r = vd_fma(*n, VDK(-7.4406171100123968e-11), vd_fma(*n, VDK(-0.69314718048553914), x));
  vd p = VDK(2.510038549551032e-08);
  VD_TERM(p, r, 2.7620088445409746e-07);
  VD_TERM(p, r, 2.7557268459997064e-06);
  VD_TERM(p, r, 2.4801521295954376e-05);
  VD_TERM(p, r, 0.00019841269863053618);
  VD_TERM(p, r, 0.0013888888917213717);
  VD_TERM(p, r, 0.0083333333333300615);
  VD_TERM(p, r, 0.041666666666624129);
  VD_TERM(p, r, 0.16666666666666669);
  VD_TERM(p, r, 0.5);
  return vd_fma(r * r, p, r);
}
INL vd vd_scale(vd n) { return (vd)((vu64)(n + VDK(6755399441055744 + 1023)) << 52); } /* 2^n for an exponent */
SNK_APART vd vd_exp(vd x) {
  vd n;
  const vd z = vd_atleast(vd_atmost(x, 710), -746), p = vd_exp_part(z, &n);
#if defined(__AVX512F__)
  return (vd)_mm512_scalef_pd((__m512d)(p + VDK(1)), (__m512d)n);
#else
  const vd h = vd_trunc(n * VDK(0.5));
  return (p + VDK(1)) * vd_scale(h) * vd_scale(n - h);
#endif
}
INL vd vd_exp_below(vd x) { return vd_exp(x); }
INL vd vd_sigmoid(vd x) { return VDK(1) / (VDK(1) + vd_exp(-x)); }
SNK_APART vd vd_tanh(vd x) {
  vd n;
  const vd a = vd_atmost(vd_abs(x), 20), p = vd_exp_part(a * VDK(-2), &n), scale = vd_scale(n), m = vd_fma(p, scale, scale - VDK(1));
  return vd_copysign(m / (m + VDK(2)), x);
}

/* Up to 1 x P(x^2); beyond it 1 - e^(-x^2) R(1 / (1 + 0.3 x)), which needs R the less the larger x is (errors below 7e-18; Remez, Lawson). */
SNK_APART vd vd_erf(vd x) {
  const vd a = vd_atmost(vd_abs(x), 6), z = a * a, t = VDK(1) / vd_fma(a, VDK(0.3), VDK(1));
  vd n, p = VDK(-7.7958988270021425e-10), q = VDK(0.060478560763971449);
  VD_TERM(p, z, 1.3720064546777686e-08);
  VD_TERM(q, t, -0.3579292489346923);
  VD_TERM(p, z, -1.6208483801871705e-07);
  VD_TERM(q, t, 0.7961662367223401);
  VD_TERM(p, z, 1.6447424703317362e-06);
  VD_TERM(q, t, -0.8836460235861151);
  VD_TERM(p, z, -1.4924736907419661e-05);
  VD_TERM(q, t, 0.7566420211249415);
  VD_TERM(p, z, 0.00012055294904839707);
  VD_TERM(q, t, -0.20537076099834004);
  VD_TERM(p, z, -0.00085483259753896918);
  VD_TERM(q, t, 0.17935533607991827);
  VD_TERM(p, z, 0.0052239776071164225);
  VD_TERM(q, t, 0.16646815344342458);
  VD_TERM(p, z, -0.02686617064323777);
  VD_TERM(q, t, 0.14493747416805508);
  VD_TERM(p, z, 0.11283791670945006);
  VD_TERM(q, t, 0.17438933370528498);
  VD_TERM(p, z, -0.37612638903183543);
  VD_TERM(q, t, 0.16845650746399979);
  VD_TERM(p, z, 1.1283791670955126);
  VD_TERM(q, t, 5.2467841817549809e-05);
  const vd e = (vd_exp_part(-z, &n) + VDK(1)) * vd_scale(n);
  return vd_copysign(vd_where((vdm)(a < VDK(1)), a * p, vd_fma(-e, q, VDK(1))), x);
}
/* As in their definition: on the left side 1 + erf cancels. */
INL vd vd_gelu(vd x) { return VDK(0.5) * x * (VDK(1) + vd_erf(x * VDK(0.707106781186547524))); }
INL vd vd_gelu_slope(vd x) {
  return VDK(0.5) * (VDK(1) + vd_erf(x * VDK(0.707106781186547524))) + x * VDK(0.398942280401432678) * vd_exp(VDK(-0.5) * x * x);
}

/* With 1 + f from sqrt(1/2) to sqrt(2), s = f / (2 + f): log(1 + f) = f - (f^2 / 2 - s (f^2 / 2 + R(s^2))). */
INL vd vd_log_plain(vd x) {
  const vu64 t = (vu64)x + (uint64_t)(0x3FF0000000000000 - 0x3FE6A09E667F3BCD), k = (t & 0x7FF0000000000000u) - 0x3FF0000000000000u;
  const vd e = (vd)(((t & 0x7FF0000000000000u) >> 52) | 0x4330000000000000u) - VDK(4503599627370496 + 1023);
  const vd f = (vd)((vu64)x - k) - VDK(1), s = f / (f + VDK(2)), z = s * s, h = f * f * VDK(0.5);
  vd r = VDK(0.1461703754879165);
  VD_TERM(r, z, 0.15331674030167861);
  VD_TERM(r, z, 0.18182890556695602);
  VD_TERM(r, z, 0.22222211115144161);
  VD_TERM(r, z, 0.28571428626095891);
  VD_TERM(r, z, 0.39999999999899238);
  VD_TERM(r, z, 0.66666666666666696);
  const vd w = vd_fma(s, vd_fma(z, r, h), e * VDK(7.4406171100123968e-11));
  return vd_fma(e, VDK(0.69314718048553914), f - (h - w));
}
INL vdm vd_plain_base(vd x) { return (vdm)(x >= VDK(2.2250738585072014e-308)) & (vdm)(x < VDK((double)INFINITY)); }
SNK_APART vd vd_log(vd x) {
  const vdm plain = vd_plain_base(x);
  const vd y = vd_log_plain(x);
  return vd_any(plain == 0) ? vd_where(plain, y, vd_lanes(x, log)) : y;
}
/* What 1 + x lost is added by the slope. */
SNK_APART vd vd_log1p(vd x) {
  const vd u = VDK(1) + x, y = vd_log_plain(u) + (x - (u - VDK(1))) / u;
  const vdm plain = vd_plain_base(u) & (vdm)(vd_abs(x) > VDK(1e-17)) & (vdm)(x < VDK(1e15));
  return vd_any(plain == 0) ? vd_where(plain, y, vd_lanes(x, log1p)) : y;
}

SNK_APART vd vd_circle(vd x, int64_t quarter) {
  const vd a = vd_abs(x), t = vd_fma(a, VDK(0.63661977236758134), VDK(6755399441055744)), n = t - VDK(6755399441055744);
  const vd r = vd_fma(n, VDK(1.4973849048591698e-33), vd_fma(n, VDK(-6.123233995736766e-17), vd_fma(n, VDK(-1.5707963267948966), a))), z = r * r;
  vd s = VDK(1.591810123027412e-10), c = VDK(-1.1382614868556325e-11);
  VD_TERM(s, z, -2.5051131455427946e-08);
  VD_TERM(c, z, 2.0876146024689747e-09);
  VD_TERM(s, z, 2.7557316100683029e-06);
  VD_TERM(c, z, -2.7557317270560326e-07);
  VD_TERM(s, z, -0.00019841269836754971);
  VD_TERM(c, z, 2.4801587298763433e-05);
  VD_TERM(s, z, 0.0083333333333309462);
  VD_TERM(c, z, -0.0013888888888887395);
  VD_TERM(s, z, -0.16666666666666666);
  VD_TERM(c, z, 0.041666666666666664);
  const vdm q = (vdm)((vu64)t + (uint64_t)quarter);
  const vd y = vd_where(-(q & 1), vd_fma(z * z, c, vd_fma(z, VDK(-0.5), VDK(1))), vd_fma(r * z, s, r));
  return (vd)((vdm)y ^ (q & 2) << 62);
}
#undef VD_TERM
#undef VDK
SNK_CIRCLE(vd, vdm, vd, sin, 0, (vdm)x & (vdm)vd_splat(-0.0), sin)
SNK_CIRCLE(vd, vdm, vd, cos, 1, (vdm){0}, cos)

SNK_LANES(vd, vd, log2, log2) SNK_LANES(vd, vd, log10, log10) SNK_LANES(vd, vd, tan, tan)
SNK_LANES(vd, vd, asin, asin) SNK_LANES(vd, vd, acos, acos) SNK_LANES(vd, vd, atan, atan) SNK_LANES(vd, vd, sinh, sinh) SNK_LANES(vd, vd, cosh, cosh)
SNK_LANES2(vd, vd, pow, pow) SNK_LANES2(vd, vd, atan2, atan2)
