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
