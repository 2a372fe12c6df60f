/* loss_rows.h - body of loss.isa.c for one number type: S, its vector V with L lanes, mask VM, words W(f), names N(name). T is a target here. */

#define FROM(k) W(load)((const S *)(const void *)q[k] + i)
#define CORE(name, operands, FACTOR, X_AT, F)                                                           \
  static void N(name##_core)(int64_t n, char *const *restrict q, const double *restrict param) {                          \
    (void)param;                                                                                        \
    for (int64_t i = 0; i < n; i += L) {                                                                \
      const V X = FROM(X_AT), T = FROM(X_AT + 1), weight = FROM(X_AT + 2), Q = FROM(X_AT + 3);          \
      (void)X, (void)T, (void)Q;                                                                        \
      W(store)((S *)(void *)q[0] + i, FACTOR weight * (F));                                             \
    }                                                                                                   \
  }                                                                                                     \
  static void N(name)(int64_t n, char *const *p, const int64_t *s, const double *param) {               \
    W(drive)(n, p, s, operands, N(name##_core), param);                                                 \
  }
#define ROW(name, F) CORE(name, 4, , 1, F)
#define BACK(name, F) CORE(name, 5, FROM(1) * W(splat)((S)param[1]) *, 2, F)
#define LOSS(name, F, DX, DT) ROW(name, F) BACK(name##_gx, DX) BACK(name##_gt, DT)
#include "calc/loss.def"
#undef ROW
#undef BACK
#undef CORE
#undef FROM

/* In float64, so many lanes that none waits for the addition before. */
static double N(sum)(const void *p, int64_t n) {
  SNK_CLEAN
  enum { LANES = 16 };
  const S *x = p;
  double s[LANES] = {0};
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES)
    SNK_ALL for (int l = 0; l < LANES; l++) s[l] += (double)x[i + l];
  for (int l = 0; i < n; i++, l++) s[l] += (double)x[i];
  for (int half = LANES / 2; half > 0; half /= 2)
    for (int l = 0; l < half; l++) s[l] += s[l + half];
  return s[0];
}
