/* reduce.c - reductions of integers, which wrap and so may go in any order; running sums, which go in one. */
#include "calc/reduce.h"
#include <string.h>
#include "calc/cast.h"

SNK_SMALL_BEGIN
__attribute__((noinline)) void snk_reduce_ints(int which, sn_dtype t, int64_t n, const void *x, int64_t step, int64_t width, void *acc) {
  enum { SOME = 64 };
  const int64_t size = (int64_t)sn_size_of(t);
  if (which != SNK_PROD) snk_reduce_now()->ints(which, t == SN_BOOL ? SN_U8 : t, n, x, step, width, acc);
  else
    for (int64_t i = 0; i < n; i++)
      for (int64_t c = 0, some; c < width; c += some) {
        uint64_t wide[SOME];
        some = width - c < SOME ? width - c : SOME;
        snk_cast_row(some, (char *)wide, 8, SN_I64, (const char *)x + (i * step + c) * size, size, t);
        for (int64_t k = 0; k < some; k++) ((uint64_t *)acc)[c + k] *= wide[k];
      }
}

/* Four products, which do not wait for one another. The others as rows of so many bytes of acc, some at a time, so that each is near when its next strip is looked at. */
void snk_reduce_ints_row(int which, sn_dtype t, int64_t n, const void *x, void *to) {
  enum { BYTES = 256, ROWS = 64 };
  _Alignas(64) char acc[BYTES];
  const sn_dtype tt = which == SNK_SUM ? SN_I64 : t;
  const int64_t size = (int64_t)sn_size_of(t), wide = (int64_t)sn_size_of(tt), most = BYTES / wide;
  if (which == SNK_PROD) {
    uint64_t r[4] = {1, 1, 1, 1}, near[ROWS * 4];
    for (int64_t i = 0, some; i < n; i += some) {
      some = n - i < ROWS * 4 ? n - i : ROWS * 4;
      snk_cast_row(some, (char *)near, 8, SN_I64, (const char *)x + i * size, size, t);
      for (int64_t k = some; k < ROWS * 4; k++) near[k] = 1;
      for (int k = 0; k < ROWS * 4; k += 4) r[0] *= near[k], r[1] *= near[k + 1], r[2] *= near[k + 2], r[3] *= near[k + 3];
    }
    r[0] *= r[1] * r[2] * r[3];
    memcpy(to, r, 8);
    return;
  }
  int64_t w = n < most ? n : most;
  const char *from = x;
  snk_cast_row(w, acc, wide, tt, from, size, t);
  for (from += w * size, n -= w; n > 0;) {
    const int64_t rows = n < w ? 1 : n < ROWS * w ? n / w : ROWS, some = n < w ? n : w;
    snk_reduce_ints(which, t, rows, from, w, some, acc);
    from += rows * some * size, n -= rows * some;
  }
  snk_reduce_ints(which, tt, w - 1, acc + wide, 1, 1, acc);
  memcpy(to, acc, (size_t)wide);
}

SNK_SMALL_END

int64_t snk_seek_ints(bool least, sn_dtype t, int64_t n, const void *x) {
  union { int64_t i64; int32_t i32; uint8_t u8; } best;
  int64_t i = 0;
  snk_reduce_ints_row(least ? SNK_MIN : SNK_MAX, t, n, x, &best);
#define UNTIL(T, v)                                                                                               \
  do {                                                                                                            \
    const T *p = x;                                                                                               \
    while (i + 4 <= n && (p[i] != (v)) & (p[i + 1] != (v)) & (p[i + 2] != (v)) & (p[i + 3] != (v))) i += 4;       \
    while (p[i] != (v)) i++;                                                                                      \
  } while (0)
  if (t == SN_I64) UNTIL(int64_t, best.i64);
  else if (t == SN_I32) UNTIL(int32_t, best.i32);
  else i = (const uint8_t *)memchr(x, best.u8, (size_t)n) - (const uint8_t *)x;
  return i;
}

/* ---- running sums */

/* One row, or four of floats whose sums do not wait for one another. */
#define AT(T, p, step) (*(T *)(void *)((p) + i * (step)))
#define FROM(T, p, step) (*(const T *)(const void *)((p) + i * (step)))
#define SCAN(T)                                                                                                                  \
  do {                                                                                                                           \
    T a = 0, b = 0, c = 0, d = 0;                                                                                                \
    if (rows == 4 && (T)0.5 != 0)                                                                                                \
      for (int64_t i = 0; i < n; i++) {                                                                                          \
        a = (T)(a + FROM(T, x[0], xs)), b = (T)(b + FROM(T, x[1], xs)), c = (T)(c + FROM(T, x[2], xs)), d = (T)(d + FROM(T, x[3], xs)); \
        AT(T, y[0], ys) = a, AT(T, y[1], ys) = b, AT(T, y[2], ys) = c, AT(T, y[3], ys) = d;                                      \
      }                                                                                                                          \
    else                                                                                                                         \
      for (int r = 0; r < rows; r++, a = 0)                                                                                      \
        for (int64_t i = 0; i < n; i++) AT(T, y[r], ys) = a = (T)(a + FROM(T, x[r], xs));                                        \
  } while (0)
void snk_scan_rows(sn_dtype t, int rows, int64_t n, const char *const *x, int64_t xs, char *const *y, int64_t ys) {
  if (t == SN_F32) SCAN(float);
  else if (t == SN_F64) SCAN(double);
  else SCAN(uint64_t);
}

#define NEXT(T)                                                                                    \
  do {                                                                                             \
    T *to = y;                                                                                     \
    const T *a = before, *b = x;                                                                   \
    for (int64_t i = 0; i < width; i++) to[i] = (T)(a[i] + b[i]);                                  \
  } while (0)
void snk_scan_next(sn_dtype t, int64_t width, const void *before, const void *x, void *y) {
  if (t == SN_F32) NEXT(float);
  else if (t == SN_F64) NEXT(double);
  else NEXT(uint64_t);
}
