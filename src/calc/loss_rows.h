/* loss_rows.h - body of loss.isa.c for one number type: S, its vector V with L lanes, mask VM, words W(f), names N(name). T is a target here. */

INL V N(fetch)(const char *p, int64_t s, int64_t n) {
  if (s == (int64_t)sizeof(S)) return W(get)((const S *)(const void *)p, n);
  if (s == 0) return W(splat)(*(const S *)(const void *)p);
  V v = W(splat)(1);
  for (int64_t l = 0; l < n && l < L; l++) v[l] = *(const S *)(const void *)(p + l * s);
  return v;
}

INL void N(put)(char *p, int64_t s, int64_t n, V v) {
  if (s == (int64_t)sizeof(S)) {
    W(set)((S *)(void *)p, v, n);
    return;
  }
  for (int64_t l = 0; l < n && l < L; l++) *(S *)(void *)(p + l * s) = v[l];
}

#define AT(i) N(fetch)(p[i] + i0 * s[i], s[i], n - i0)
#define ROW(name, F)                                                                        \
  static void N(name)(int64_t n, char *const *p, const int64_t *s, const double *param) {   \
    (void)param;                                                                            \
    for (int64_t i0 = 0; i0 < n; i0 += L) {                                                 \
      const V X = AT(1), T = AT(2), weight = AT(3), Q = AT(4);                              \
      (void)Q;                                                                              \
      N(put)(p[0] + i0 * s[0], s[0], n - i0, weight * (F));                                 \
    }                                                                                       \
  }
#define BACK(name, F)                                                                       \
  static void N(name)(int64_t n, char *const *p, const int64_t *s, const double *param) {   \
    const V factor = W(splat)((S)param[1]);                                                 \
    for (int64_t i0 = 0; i0 < n; i0 += L) {                                                 \
      const V g = AT(1), X = AT(2), T = AT(3), weight = AT(4), Q = AT(5);                   \
      (void)X, (void)T, (void)Q;                                                            \
      N(put)(p[0] + i0 * s[0], s[0], n - i0, g * factor * weight * (F));                    \
    }                                                                                       \
  }
#define LOSS(name, F, DX, DT) ROW(name, F) BACK(name##_gx, DX) BACK(name##_gt, DT)
#include "calc/loss.def"
#undef ROW
#undef BACK
#undef AT

/* In float64, four numbers at a time. */
static double N(sum)(const void *p, int64_t n) {
  const S *x = p;
  double a = 0, b = 0, c = 0, d = 0;
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    a += (double)x[i];
    b += (double)x[i + 1];
    c += (double)x[i + 2];
    d += (double)x[i + 3];
  }
  for (; i < n; i++) a += (double)x[i];
  return (a + b) + (c + d);
}
