/* cast_test.c - rows of every type to every other, close and apart, of every length around the vectors, against one number at a time. */
#include <math.h>
#include <string.h>
#include "calc/cast.h"
#include "check.h"

enum { N = 300 };
static const double values[] = {0, -0.0, 1, -1, 0.5, 1.5, 2.5, -2.5, 3, 127, 128, 255, 256, 257, -300, 65504, 65519, 65520, 1e-8, 6e-8, -1e-5, 3e5, 33554433, 2147483647, 2147483648.0,
  -2147483648.0, -2147483649.0, 4294967297.0, 1e10, -1e10, 9.2e18, 9.3e18, -9.4e18, 1e30, -1e300, 1e-40, 1e-310, INFINITY, -INFINITY, NAN, 2147483646.75};

static void expected(char *to, sn_dtype tt, const char *from, sn_dtype ft) {
  const bool half = tt == SN_F16 || tt == SN_BF16;
  if (ft == SN_I64 && (tt == SN_F32 || half)) sn_store_double(to, tt, (double)(float)*(const int64_t *)(const void *)from); /* rounded once */
  else if (sn_is_float(ft) || sn_is_float(tt)) sn_store_double(to, tt, sn_load_double(from, ft));
  else sn_store_int(to, tt, sn_load_int(from, ft));
}

static bool same(const char *a, const char *b, sn_dtype t) {
  if (sn_is_float(t) && isnan(sn_load_double(a, t))) return isnan(sn_load_double(b, t));
  return memcmp(a, b, sn_size_of(t)) == 0;
}

static bool rows(sn_dtype tt, sn_dtype ft, int64_t n, int64_t ta, int64_t fa) {
  static _Alignas(8) char from[N * 8 * 3], to[N * 8 * 3 + 8], one[8];
  const int64_t ts = (int64_t)sn_size_of(tt) * ta, fs = (int64_t)sn_size_of(ft) * fa;
  for (int64_t i = 0; i < n; i++) sn_store_double(from + i * fs, ft, values[(i + 7 * n) % (int64_t)(sizeof values / sizeof *values)]);
  memset(to, 0x5a, sizeof to);
  snk_cast_row(n, to, ts, tt, from, fs, ft);
  bool ok = true;
  for (int64_t i = 0; i < n; i++) {
    expected(one, tt, from + i * fs, ft);
    ok = ok && same(one, to + i * ts, tt);
    for (int64_t k = (int64_t)sn_size_of(tt); k < ts && i + 1 < n; k++) ok = ok && to[i * ts + k] == 0x5a; /* what lies between */
  }
  const int64_t end = n > 0 ? (n - 1) * ts + (int64_t)sn_size_of(tt) : 0;
  for (int64_t k = 0; k < 8; k++) ok = ok && to[end + k] == 0x5a;
  return ok;
}

static void every_pair(void) {
  for (int tt = 0; tt < SN_DTYPES; tt++)
    for (int ft = 0; ft < SN_DTYPES; ft++) {
      bool ok = true;
      for (int64_t n = 0; n < 80; n++) ok = ok && rows((sn_dtype)tt, (sn_dtype)ft, n, 1, 1);
      ok = ok && rows((sn_dtype)tt, (sn_dtype)ft, N, 1, 1);
      CHECK(ok);
      CHECK(rows((sn_dtype)tt, (sn_dtype)ft, N, 3, 1) && rows((sn_dtype)tt, (sn_dtype)ft, N, 1, 2) && rows((sn_dtype)tt, (sn_dtype)ft, N, 2, 3));
    }
}

/* Every number of two bytes, and floats of every exponent with what decides how they are rounded. */
static void two_bytes(void) {
  static uint16_t h[65536], back[65536];
  static float f[65536];
  for (int i = 0; i < 65536; i++) h[i] = (uint16_t)i;
  snk_cast_row(65536, (char *)f, 4, SN_F32, (const char *)h, 2, SN_F16);
  bool ok = true;
  for (int i = 0; i < 65536; i++) {
    const float want = sn_f16_to_f32((uint16_t)i);
    ok = ok && memcmp(&f[i], &want, 4) == 0;
  }
  CHECK(ok);
  for (int round = 0; round < 16; round++) {
    static const uint32_t tails[16] = {0, 1, 0xFFF, 0x1000, 0x1001, 0x17FF, 0x1800, 0x1FFF, 0x800, 0x3FF, 0x400, 0x7FF, 0x1400, 0x1C00, 0xC00, 0x1234};
    for (uint32_t i = 0; i < 65536; i++) {
      const uint32_t u = i << 16 | (i * 40503u & 0xE000u) | tails[round];
      memcpy(&f[i], &u, 4);
    }
    snk_cast_row(65536, (char *)back, 2, SN_F16, (const char *)f, 4, SN_F32);
    for (int i = 0; i < 65536; i++) ok = ok && back[i] == sn_f32_to_f16(f[i]);
  }
  CHECK(ok);
}

int main(void) {
  every_pair();
  two_bytes();
  return CHECK_DONE();
}
