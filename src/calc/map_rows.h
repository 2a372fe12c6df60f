/* map_rows.h - body of map.isa.c for one number type: T, its vector V with L lanes, mask VM, words W(f), names N(name). */

#define FROM(k, at) W(load)((const T *)(const void *)q[k] + (at))
#define DRIVEN(name, operands)                                                                          \
  static void N(name)(int64_t n, char *const *p, const int64_t *s, const double *param) {               \
    W(drive)(n, p, s, operands, N(name##_core), param);                                                 \
  }
#define ROW(name, operands, OPERANDS, F)                                                                \
  static void N(name##_core)(int64_t n, char *const *restrict q, const double *restrict param) {                          \
    (void)param;                                                                                        \
    for (int64_t i = 0; i < n; i += L) {                                                                \
      OPERANDS;                                                                                         \
      W(store)((T *)(void *)q[0] + i, (F));                                                             \
    }                                                                                                   \
  }                                                                                                     \
  DRIVEN(name, operands)
/* In a backward the second operand is what was saved, under both names. */
#define MAP1(name, kinds, options, saved, F, G, samples, wrong)                                         \
  ROW(name, 1, const V X = FROM(1, i), F)                                                                  \
  ROW(name##_backward, 2, const V GY = FROM(1, i); const V X = FROM(2, i); const V Y = X; (void)X; (void)Y; (void)GY, G)
/* Two vectors of floats at a time: a store before the next load, which may lie a whole number of pages apart, holds it up. */
#define MAP2(name, kinds, options, saved, F, GA, GB, samples, wrong)                                    \
  INL V N(name##_of)(V A, V B) { return F; }                                                            \
  static void N(name##_core)(int64_t n, char *const *restrict q, const double *restrict param) {        \
    (void)param;                                                                                        \
    int64_t i = 0;                                                                                      \
    for (; SNK_BYTES >= 32 && sizeof(T) == 4 && SNK_MAP_MOVES(SNK_MAP_##name) && i + 2 * L <= n; i += 2 * L) { \
      const V u = N(name##_of)(FROM(1, i), FROM(2, i)), v = N(name##_of)(FROM(1, i + L), FROM(2, i + L)); \
      W(store)((T *)(void *)q[0] + i, u);                                                               \
      W(store)((T *)(void *)q[0] + i + L, v);                                                           \
    }                                                                                                   \
    for (; i < n; i += L) W(store)((T *)(void *)q[0] + i, N(name##_of)(FROM(1, i), FROM(2, i)));        \
  }                                                                                                     \
  DRIVEN(name, 2)
#define CMP2(name, op, samples)
#include "calc/map.def"
#undef ROW
#undef DRIVEN
#undef FROM
