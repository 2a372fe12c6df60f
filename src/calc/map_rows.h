/* map_rows.h - body of map.isa.c for one number type: T, its vector V with L lanes, mask VM, words W(f), names N(name). */

#define FROM(k) W(load)((const T *)(const void *)q[k] + i)
#define ROW(name, operands, OPERANDS, F)                                                                \
  static void N(name##_core)(int64_t n, char *const *restrict q, const double *restrict param) {                          \
    (void)param;                                                                                        \
    for (int64_t i = 0; i < n; i += L) {                                                                \
      OPERANDS;                                                                                         \
      W(store)((T *)(void *)q[0] + i, (F));                                                             \
    }                                                                                                   \
  }                                                                                                     \
  static void N(name)(int64_t n, char *const *p, const int64_t *s, const double *param) {               \
    W(drive)(n, p, s, operands, N(name##_core), param);                                                 \
  }
/* In a backward the second operand is what was saved, under both names. */
#define MAP1(name, kinds, options, saved, F, G, samples, wrong)                                         \
  ROW(name, 1, const V X = FROM(1), F)                                                                  \
  ROW(name##_backward, 2, const V GY = FROM(1); const V X = FROM(2); const V Y = X; (void)X; (void)Y; (void)GY, G)
#define MAP2(name, kinds, options, saved, F, GA, GB, samples, wrong) ROW(name, 2, const V A = FROM(1); const V B = FROM(2), F)
#define CMP2(name, op, samples)
#include "calc/map.def"
#undef ROW
#undef FROM
