/* row.h - one loop per formula: its core runs over whole vectors side by side, and one driver for all of them brings rows of any layout and
 * length there. So every layout gives the same bits, and a formula costs one short loop of code. After calc/vec.h, in *.isa.c files.
 */
#ifndef SNK_ROW_H
#define SNK_ROW_H
#include <stdbool.h>
#include "calc/vec.h"

#define SNK_ROW_MOST 6    /* the destination and the operands */
#define SNK_ROW_CHUNK 256 /* numbers brought together at a time */

/* n, whole vectors of them, from q[1..] into q[0]. */
typedef void snk_core(int64_t n, char *const *q, const double *param);

#define SNK_DRIVER(V, T, L, X)                                                                                               \
  /* Numbers side by side, up to a whole vector (what is left over is 1). */                                                 \
  static __attribute__((unused)) void X##_collect(T *to, const char *p, int64_t s, int64_t n) {                              \
    const T *x = (const T *)(const void *)p;                                                                                 \
    int64_t i = 0;                                                                                                           \
    if (s == (int64_t)sizeof(T)) {                                                                                           \
      for (; i + L <= n; i += L) X##_store(to + i, X##_load(x + i));                                                         \
      if (i < n) X##_store(to + i, X##_load_part(x + i, n - i));                                                             \
    } else if (s == 0) {                                                                                                     \
      const V v = X##_splat(*x);                                                                                             \
      for (; i < n; i += L) X##_store(to + i, v);                                                                            \
    } else {                                                                                                                 \
      for (; i < n; i++) to[i] = *(const T *)(const void *)(p + i * s);                                                      \
      for (; i % L; i++) to[i] = 1;                                                                                          \
    }                                                                                                                        \
  }                                                                                                                          \
  static __attribute__((unused)) void X##_scatter(const T *from, char *p, int64_t s, int64_t n) {                            \
    T *y = (T *)(void *)p;                                                                                                   \
    int64_t i = 0;                                                                                                           \
    if (s == (int64_t)sizeof(T)) {                                                                                           \
      for (; i + L <= n; i += L) X##_store(y + i, X##_load(from + i));                                                       \
      if (i < n) X##_store_part(y + i, X##_load(from + i), n - i);                                                           \
    } else                                                                                                                   \
      for (; i < n; i++) *(T *)(void *)(p + i * s) = from[i];                                                                \
  }                                                                                                                          \
  SNK_APART void X##_bring(int64_t n, char *const *p, const int64_t *s, int operands, snk_core *f, const double *param, bool flat) { \
    const int64_t w = (int64_t)sizeof(T);                                                                                    \
    _Alignas(64) T buf[SNK_ROW_MOST][SNK_ROW_CHUNK];                                                                         \
    char *q[SNK_ROW_MOST];                                                                                                   \
    int64_t i = 0;                                                                                                           \
    if (flat && n >= L) {                                                                                                    \
      i = n / L * L;                                                                                                         \
      f(i, p, param);                                                                                                        \
    }                                                                                                                        \
    for (int k = 1; k <= operands && i < n; k++) {                                                                           \
      q[k] = (char *)buf[k];                                                                                                 \
      if (s[k] == 0) X##_collect(buf[k], p[k], 0, n - i < SNK_ROW_CHUNK ? n - i : SNK_ROW_CHUNK);                            \
    }                                                                                                                        \
    for (; i < n; i += SNK_ROW_CHUNK) {                                                                                      \
      const int64_t m = n - i < SNK_ROW_CHUNK ? n - i : SNK_ROW_CHUNK, up = (m + L - 1) / L * L;                             \
      const bool direct = s[0] == w && m == up;                                                                              \
      for (int k = 1; k <= operands; k++) {                                                                                  \
        if (s[k] == 0) continue;                                                                                             \
        if (s[k] == w && m == up) q[k] = p[k] + i * w;                                                                       \
        else X##_collect(buf[k], p[k] + i * s[k], s[k], m), q[k] = (char *)buf[k];                                           \
      }                                                                                                                      \
      q[0] = direct ? p[0] + i * w : (char *)buf[0];                                                                         \
      f(up, q, param);                                                                                                       \
      if (!direct) X##_scatter(buf[0], p[0] + i * s[0], s[0], m);                                                            \
    }                                                                                                                        \
  }                                                                                                                          \
  /* Short rows of whole vectors are many: nothing is put on the stack for them, behind the last row's stores. */           \
  SNK_APART void X##_drive(int64_t n, char *const *p, const int64_t *s, int operands, snk_core *f, const double *param) {    \
    SNK_CLEAN                                                                                                                \
    bool flat = true;                                                                                                        \
    for (int k = 0; k <= operands; k++) flat &= s[k] == (int64_t)sizeof(T);                                                  \
    if (flat && n % L == 0) f(n, p, param);                                                                                  \
    else X##_bring(n, p, s, operands, f, param, flat);                                                                       \
  }
SNK_DRIVER(vf, float, VF, vf)
SNK_DRIVER(vd, double, VD, vd)

#endif
