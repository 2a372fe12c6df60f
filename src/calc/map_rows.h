/* map_rows.h - body of map.isa.c for one number type: T, its vector V with L lanes, mask VM, words W(f), names N(name). */

/* A whole vector of an operand: n lanes at p with step s. */
INL V N(fetch)(const char *p, int64_t s, int64_t n) {
  if (s == 0) return W(splat)(*(const T *)(const void *)p);
  if (s == (int64_t)sizeof(T)) return n == L ? W(load)((const T *)(const void *)p) : W(load_part)((const T *)(const void *)p, n);
  V v = W(splat)(1);
  for (int64_t l = 0; l < n; l++) v[l] = *(const T *)(const void *)(p + l * s);
  return v;
}

INL void N(put)(char *p, int64_t s, int64_t n, V v) {
  if (s == (int64_t)sizeof(T)) {
    if (n == L) W(store)((T *)(void *)p, v);
    else W(store_part)((T *)(void *)p, v, n);
  } else
    for (int64_t l = 0; l < n; l++) *(T *)(void *)(p + l * s) = v[l];
}

#define ROW1(name, F)                                                                                  \
  static void N(name)(int64_t n, char *const *p, const int64_t *s, const double *param) {              \
    (void)param;                                                                                       \
    const int64_t w = (int64_t)sizeof(T);                                                              \
    int64_t i = 0;                                                                                     \
    if (s[0] == w && s[1] == w)                                                                        \
      for (; i + L <= n; i += L) {                                                                     \
        const V X = W(load)((const T *)(const void *)p[1] + i);                                        \
        W(store)((T *)(void *)p[0] + i, (F));                                                          \
      }                                                                                                \
    for (; i < n; i += L) {                                                                            \
      const int64_t m = n - i < L ? n - i : L;                                                         \
      const V X = N(fetch)(p[1] + i * s[1], s[1], m);                                                  \
      N(put)(p[0] + i * s[0], s[0], m, (F));                                                           \
    }                                                                                                  \
  }

/* Two operands called A and B; with `second` the same value under the names of a backward. */
#define ROW2(name, F, n1, n2, also)                                                                    \
  static void N(name)(int64_t n, char *const *p, const int64_t *s, const double *param) {              \
    (void)param;                                                                                       \
    const int64_t w = (int64_t)sizeof(T);                                                              \
    int64_t i = 0;                                                                                     \
    if (s[0] == w && s[1] == w && s[2] == w)                                                           \
      for (; i + L <= n; i += L) {                                                                     \
        const V n1 = W(load)((const T *)(const void *)p[1] + i), n2 = W(load)((const T *)(const void *)p[2] + i); \
        also;                                                                                          \
        W(store)((T *)(void *)p[0] + i, (F));                                                          \
      }                                                                                                \
    else if (s[0] == w && s[1] == w && s[2] == 0) {                                                    \
      const V n2 = W(splat)(*(const T *)(const void *)p[2]);                                           \
      for (; i + L <= n; i += L) {                                                                     \
        const V n1 = W(load)((const T *)(const void *)p[1] + i);                                       \
        also;                                                                                          \
        W(store)((T *)(void *)p[0] + i, (F));                                                          \
      }                                                                                                \
    }                                                                                                  \
    for (; i < n; i += L) {                                                                            \
      const int64_t m = n - i < L ? n - i : L;                                                         \
      const V n1 = N(fetch)(p[1] + i * s[1], s[1], m), n2 = N(fetch)(p[2] + i * s[2], s[2], m);        \
      also;                                                                                            \
      N(put)(p[0] + i * s[0], s[0], m, (F));                                                           \
    }                                                                                                  \
  }

#define NOTHING (void)0
#define BOTH_NAMES const V X = S, Y = S; (void)X; (void)Y; (void)GY
#define MAP1(name, kinds, options, saved, F, G, samples, wrong) ROW1(name, F) ROW2(name##_backward, G, GY, S, BOTH_NAMES)
#define MAP2(name, kinds, options, saved, F, GA, GB, samples, wrong) ROW2(name, F, A, B, NOTHING)
#define CMP2(name, op, samples)
#include "calc/map.def"
#undef ROW1
#undef ROW2
#undef NOTHING
#undef BOTH_NAMES
