/* fold.h - as many vectors as a vector has lanes, each folded into one number: sums or maxima of rows side by side. After calc/tail.h, in *.isa.c
 * files. Halves are folded onto each other as in vf_total, so lane l is what vf_total gives of vector l. */
#ifndef SNK_FOLD_H
#define SNK_FOLD_H
#include "calc/tail.h"

#if defined(__clang__)
#define SNK_UNROLL16 _Pragma("unroll")
#else
#define SNK_UNROLL16 _Pragma("GCC unroll 16")
#endif

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SNK_SHUFFLES
#endif
#endif

#define SNK_ADD(a, b) ((a) + (b))
#define SNK_PAIR(v, i, ...) __builtin_shufflevector((v)[2 * (i)], (v)[2 * (i) + 1], __VA_ARGS__) /* some lanes of two vectors */
#if defined(SNK_SHUFFLES) && defined(__AVX512F__)
#define SNK_FOLD_ROWS(name, OP)                                                                        \
  INL vf vf_##name(const vf *s) {                                                                      \
    vf a[8], b[4];                                                                                     \
    SNK_UNROLL16 for (int i = 0; i < 8; i++)                                                           \
      a[i] = OP(SNK_PAIR(s, i, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),                \
                SNK_PAIR(s, i, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31));         \
    SNK_UNROLL16 for (int i = 0; i < 4; i++)                                                           \
      b[i] = OP(SNK_PAIR(a, i, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27),              \
                SNK_PAIR(a, i, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31));           \
    SNK_UNROLL16 for (int i = 0; i < 2; i++)                                                           \
      a[i] = OP(SNK_PAIR(b, i, 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29),              \
                SNK_PAIR(b, i, 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31));           \
    return OP(SNK_PAIR(a, 0, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30),               \
              SNK_PAIR(a, 0, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31));              \
  }
#elif defined(SNK_SHUFFLES) && defined(__AVX2__)
#define SNK_FOLD_ROWS(name, OP)                                                                        \
  INL vf vf_##name(const vf *s) {                                                                      \
    vf a[4], b[2];                                                                                     \
    SNK_UNROLL16 for (int i = 0; i < 4; i++)                                                           \
      a[i] = OP(SNK_PAIR(s, i, 0, 1, 2, 3, 8, 9, 10, 11), SNK_PAIR(s, i, 4, 5, 6, 7, 12, 13, 14, 15)); \
    SNK_UNROLL16 for (int i = 0; i < 2; i++)                                                           \
      b[i] = OP(SNK_PAIR(a, i, 0, 1, 4, 5, 8, 9, 12, 13), SNK_PAIR(a, i, 2, 3, 6, 7, 10, 11, 14, 15)); \
    return OP(SNK_PAIR(b, 0, 0, 2, 4, 6, 8, 10, 12, 14), SNK_PAIR(b, 0, 1, 3, 5, 7, 9, 11, 13, 15));   \
  }
#else
#define SNK_FOLD_ROWS(name, OP) INL vf vf_##name(const vf *s) { vf v; for (int l = 0; l < VF; l++) v[l] = vf_##name##_1(s[l]); return v; }
INL float vf_totals_1(vf v) { return vf_total(v); }
INL float vf_tops_1(vf v) { return vf_top(v); }
#endif
SNK_FOLD_ROWS(totals, SNK_ADD)
SNK_FOLD_ROWS(tops, vf_max)
INL vd vd_totals(const vd *s) { vd v; for (int l = 0; l < VD; l++) v[l] = vd_total(s[l]); return v; }
INL vd vd_tops(const vd *s) { vd v; for (int l = 0; l < VD; l++) v[l] = vd_top(s[l]); return v; }

/* v in the first n lanes, `fill` in the others. */
INL vf vf_first_or(vf v, int64_t n, float fill) {
  static const int32_t lanes[2 * VF] = {[0 ... VF - 1] = -1};
  vfm m;
  if (n >= VF) return v;
  memcpy(&m, lanes + VF - n, sizeof m);
  return vf_where(m, v, vf_splat(fill));
}
INL vd vd_first_or(vd v, int64_t n, double fill) {
  static const int64_t lanes[2 * VD] = {[0 ... VD - 1] = -1};
  vdm m;
  if (n >= VD) return v;
  memcpy(&m, lanes + VD - n, sizeof m);
  return vd_where(m, v, vd_splat(fill));
}

#endif
