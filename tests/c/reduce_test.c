/* reduce_test.c - reductions of integers and running sums against one number at a time: every width around the vectors, steps, extremes. */
#include <string.h>
#include "calc/reduce.h"
#include "check.h"

enum { ROWS = 70, STEP = 300 };
static _Alignas(64) char x[ROWS * STEP * 8];
static const sn_dtype types[] = {SN_I64, SN_I32, SN_U8, SN_BOOL};
static const int kinds[] = {SNK_SUM, SNK_PROD, SNK_MAX, SNK_MIN};

static void make(sn_dtype t, uint64_t seed) {
  static const int64_t some[] = {INT64_MIN, INT64_MAX, INT32_MIN, INT32_MAX, -1, 0, 1, 255};
  const int64_t size = (int64_t)sn_size_of(t);
  for (int64_t i = 0; i < ROWS * STEP; i++) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    const int64_t v = seed >> 60 == 0 ? some[seed >> 57 & 7] : (int64_t)(seed >> 33) % 4001 - 2000;
    sn_store_int(x + i * size, t, t == SN_BOOL ? v & 1 : v);
  }
}

static int64_t joined(int which, int64_t a, int64_t b) {
  if (which == SNK_SUM) return (int64_t)((uint64_t)a + (uint64_t)b);
  if (which == SNK_PROD) return (int64_t)((uint64_t)a * (uint64_t)b);
  return (which == SNK_MAX ? a > b : a < b) ? a : b;
}

static bool columns(int which, sn_dtype t, int64_t n, int64_t step, int64_t width) {
  static _Alignas(64) char acc[(STEP + 1) * 8];
  const sn_dtype tt = which == SNK_SUM || which == SNK_PROD ? SN_I64 : t;
  const int64_t size = (int64_t)sn_size_of(t), wide = (int64_t)sn_size_of(tt);
  bool ok = true;
  memset(acc, 0x5a, sizeof acc);
  for (int64_t c = 0; c < width; c++) sn_store_int(acc + c * wide, tt, sn_load_int(x + c * size, t));
  snk_reduce_ints(which, t, n - 1, x + step * size, step, width, acc);
  for (int64_t c = 0; c < width; c++) {
    int64_t want = sn_load_int(x + c * size, t);
    for (int64_t i = 1; i < n; i++) want = joined(which, want, sn_load_int(x + (i * step + c) * size, t));
    ok = ok && sn_load_int(acc + c * wide, tt) == want;
  }
  for (int64_t k = 0; k < wide; k++) ok = ok && acc[width * wide + k] == 0x5a;
  return ok;
}

static bool row(int which, sn_dtype t, int64_t n) {
  const sn_dtype tt = which == SNK_SUM || which == SNK_PROD ? SN_I64 : t;
  const int64_t size = (int64_t)sn_size_of(t);
  int64_t y = 0, want = sn_load_int(x, t), best = 0;
  snk_reduce_ints_row(which, t, n, x, &y);
  for (int64_t i = 1; i < n; i++) {
    const int64_t v = sn_load_int(x + i * size, t), top = sn_load_int(x + best * size, t);
    want = joined(which, want, v);
    if (which == SNK_MAX ? v > top : v < top) best = i;
  }
  if (sn_load_int(&y, tt) != want) return false;
  return tt == SN_I64 && t != SN_I64 ? true : which < SNK_MAX || snk_seek_ints(which == SNK_MIN, t, n, x) == best;
}

#define SCANS(T, SNT)                                                                                                             \
  do {                                                                                                                            \
    static T in[5 * 67], out[5 * 67], want;                                                                                       \
    bool ok = true;                                                                                                               \
    for (int i = 0; i < 5 * 67; i++) in[i] = (T)((i * 7919 % 1000 - 500) * 0.37);                                                 \
    in[0] = (T)-0.0;                                                                                                              \
    for (int rows = 1; rows <= 4; rows++)                                                                                         \
      for (int back = 0; back < 2; back++) {                                                                                      \
        const char *from[4];                                                                                                      \
        char *to[4];                                                                                                              \
        for (int r = 0; r < rows; r++) from[r] = (const char *)(in + r * 67 + back * 66), to[r] = (char *)(out + r + back * 66 * 5); \
        const int64_t s = (back ? -1 : 1) * (int64_t)sizeof(T);                                                                   \
        snk_scan_rows(SNT, rows, 67, from, s, to, 5 * s);                                                                         \
        for (int r = 0; r < rows; r++) {                                                                                          \
          want = 0;                                                                                                               \
          for (int i = 0; i < 67; i++) {                                                                                          \
            const int at = back ? 66 - i : i;                                                                                     \
            want = (T)(want + in[r * 67 + at]);                                                                                   \
            ok = ok && memcmp(&want, out + at * 5 + r, sizeof(T)) == 0;                                                           \
          }                                                                                                                       \
        }                                                                                                                         \
      }                                                                                                                           \
    for (int w = 0; w < 67; w++) {                                                                                                \
      memset(out, 0, sizeof out);                                                                                                 \
      snk_scan_next(SNT, w, out, in, out);                                                                                        \
      snk_scan_next(SNT, w, out, in + 67, out + 67);                                                                              \
      for (int i = 0; i < w; i++) {                                                                                               \
        want = (T)((T)(0 + in[i]) + in[67 + i]);                                                                                  \
        ok = ok && memcmp(&want, out + 67 + i, sizeof(T)) == 0;                                                                   \
      }                                                                                                                           \
      ok = ok && out[67 + w] == 0;                                                                                                \
    }                                                                                                                             \
    CHECK(ok);                                                                                                                    \
  } while (0)

int main(void) {
  for (size_t k = 0; k < sizeof types / sizeof *types; k++)
    for (size_t w = 0; w < sizeof kinds / sizeof *kinds; w++) {
      const sn_dtype t = types[k];
      bool ok = true;
      make(t, 7 * k + w);
      for (int64_t width = 1; width < STEP; width += width < 70 ? 1 : 13)
        for (int64_t n = 1; n < 6; n++) ok = ok && columns(kinds[w], t, n, STEP, width) && columns(kinds[w], t, n, width, width);
      ok = ok && columns(kinds[w], t, ROWS, STEP, 299) && columns(kinds[w], t, ROWS, 0, 130);
      CHECK(ok);
      for (int64_t n = 1; n < ROWS * STEP; n += n < 600 ? 1 : 997) ok = ok && row(kinds[w], t, n);
      CHECK(ok && row(kinds[w], t, ROWS * STEP));
    }
  SCANS(float, SN_F32);
  SCANS(double, SN_F64);
  SCANS(int64_t, SN_I64);
  return CHECK_DONE();
}
