/* vmath_test.c - the elementwise functions in float32 against libm's double, over all exponents and on every instruction set this machine has;
 * the edges; and equal bits for every layout and length. */
#include <math.h>
#include <stdbool.h>
#include <string.h>
#include "base/cpu.h"
#include "base/fpmode.h"
#include "calc/map.h"
#include "check.h"

static const snk_map *tables[SN_ISA_COUNT];
static int count;

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* Distance in units in the last place of a float near `want`. */
static double ulps(float got, double want) {
  const float w = (float)want;
  if (want != want || got != got) return want != want && got != got ? 0 : 1e9;
  if (got == w) return 0;
  if (isinf(w) || isinf(got)) return fabs(want) > 3.40282e38 && fabs((double)got) > 3.40282e38 ? 0.5 : 1e9;
  int e;
  frexp(want, &e);
  return fabs((double)got - want) / ldexp(1, (e < -125 ? -125 : e) - 24);
}

static float of_bits(uint32_t u) {
  float x;
  memcpy(&x, &u, sizeof x);
  return x;
}

/* The largest error over every 4093rd float there is; results smaller than `least` are not looked at. */
static double worst(const snk_map *t, int f, double (*ref)(double), double least) {
  enum { N = 4096 };
  static float x[N], y[N];
  double most = 0;
  uint64_t u = 0;
  while (u < UINT64_C(1) << 32) {
    int n = 0;
    for (; n < N && u < UINT64_C(1) << 32; u += 4093) x[n++] = of_bits((uint32_t)u);
    t->f32[f](n, (char *const[]){(char *)y, (char *)x}, (const int64_t[]){4, 4}, NULL);
    for (int i = 0; i < n; i++) {
      const double want = ref((double)x[i]);
      if (fabs(want) < least) continue;
      const double e = ulps(y[i], want);
      if (e > most) most = e;
    }
  }
  return most;
}

static float one(const snk_map *t, int f, float x) {
  float y;
  t->f32[f](1, (char *const[]){(char *)&y, (char *)&x}, (const int64_t[]){4, 4}, NULL);
  return y;
}

static void edges(const snk_map *t) {
  const float inf = INFINITY;
  CHECK(one(t, SNK_MAP_exp, inf) == inf && one(t, SNK_MAP_exp, -inf) == 0 && one(t, SNK_MAP_exp, 0) == 1);
  CHECK(one(t, SNK_MAP_expm1, inf) == inf && one(t, SNK_MAP_expm1, -inf) == -1 && signbit(one(t, SNK_MAP_expm1, -0.0f)));
  CHECK(one(t, SNK_MAP_log, inf) == inf && one(t, SNK_MAP_log, 0) == -inf && one(t, SNK_MAP_log, -0.0f) == -inf && one(t, SNK_MAP_log, 1) == 0);
  CHECK(isnan(one(t, SNK_MAP_log, -1)) && isnan(one(t, SNK_MAP_log, -inf)));
  CHECK(one(t, SNK_MAP_log1p, inf) == inf && one(t, SNK_MAP_log1p, -1) == -inf && signbit(one(t, SNK_MAP_log1p, -0.0f)));
  CHECK(isnan(one(t, SNK_MAP_log1p, -1.5f)) && isnan(one(t, SNK_MAP_log1p, -inf)));
  CHECK(one(t, SNK_MAP_tanh, inf) == 1 && one(t, SNK_MAP_tanh, -inf) == -1 && signbit(one(t, SNK_MAP_tanh, -0.0f)));
  CHECK(one(t, SNK_MAP_erf, inf) == 1 && one(t, SNK_MAP_erf, -inf) == -1 && signbit(one(t, SNK_MAP_erf, -0.0f)));
  CHECK(one(t, SNK_MAP_sigmoid, inf) == 1 && one(t, SNK_MAP_sigmoid, -inf) == 0 && one(t, SNK_MAP_sigmoid, 0) == 0.5f);
  CHECK(one(t, SNK_MAP_gelu, inf) == inf && one(t, SNK_MAP_gelu, -inf) == 0 && one(t, SNK_MAP_gelu, -300) == 0);
  CHECK(!signbit(one(t, SNK_MAP_relu, -0.0f)));
  CHECK(one(t, SNK_MAP_relu, inf) == inf && one(t, SNK_MAP_relu, -inf) == 0 && isnan(one(t, SNK_MAP_relu, NAN)));
  for (int f = 0; f < SNK_MAP_COUNT; f++)
    if (f == SNK_MAP_exp || f == SNK_MAP_expm1 || f == SNK_MAP_log || f == SNK_MAP_log1p || f == SNK_MAP_tanh || f == SNK_MAP_erf ||
        f == SNK_MAP_sigmoid || f == SNK_MAP_gelu || f == SNK_MAP_silu || f == SNK_MAP_abs || f == SNK_MAP_sqrt)
      CHECK(isnan(one(t, f, NAN)));
}

static void gelu(const snk_map *t) {
  double most = 0;
  for (float x = -20; x < 20; x += 0.000029f) {
    const double want = 0.5 * (double)x * erfc((double)-x * 0.70710678118654752440), e = fabs((double)one(t, SNK_MAP_gelu, x) - want) / fabs((double)x);
    if (e > most) most = e;
  }
  CHECK(most < 2.5e-7);
}

static void tanh_below_1(const snk_map *t) {
  float most = 0;
  for (float x = 7; x < 10; x += 0.000029f) most = fmaxf(most, one(t, SNK_MAP_tanh, x));
  CHECK(most == 1);
}

/* Its slope, which is what the backward multiplies by. */
static float slope(const snk_map *t, float x) {
  float y;
  const float one = 1;
  t->f32[SNK_MAP_gelu_backward](1, (char *const[]){(char *)&y, (char *)(uintptr_t)&one, (char *)&x}, (const int64_t[]){4, 4, 4}, NULL);
  return y;
}
static void gelu_slope(const snk_map *t) {
  double most = 0;
  for (float x = -20; x < 20; x += 0.000029f) {
    const double v = (double)x, want = 0.5 * erfc(-v * 0.70710678118654752440) + v * 0.39894228040143267794 * exp(-0.5 * v * v);
    const double e = fabs((double)slope(t, x) - want) / (want > 1 ? want : 1);
    if (e > most) most = e;
  }
  CHECK(most < 2.5e-7);
  CHECK(slope(t, INFINITY) == 1 && slope(t, -INFINITY) == 0 && fabsf(slope(t, 0) - 0.5f) < 1e-7f && isnan(slope(t, NAN)));
}

/* Functions of two numbers: of all exponents and signs, of numbers that lie near each other, and of every pair of edges. */
static uint64_t state = 1;
static uint32_t draw(void) { return (uint32_t)((state = state * 6364136223846793005u + 1442695040888963407u) >> 32); }
static double worst2(const snk_map *t, int f, double (*ref)(double, double), float limit, double least) {
  enum { N = 4096, E = 21 };
  static const float edge[E] = {0, -0.0f, 1, -1, 2, -2, 0.5f, 3, -3, 2.5f, -0.5f, INFINITY, -INFINITY, NAN, 1e-38f, 3e38f, -3e38f, 4194305, 1e-41f, -7, 16777216};
  static float a[N], b[N], y[N];
  double most = 0;
  for (int round = 0; round < 160; round++) {
    int n = N;
    for (int i = 0; i < N; i++) {
      if (round == 0) a[i] = edge[i % E], b[i] = edge[i / E % E];
      else if (round % 2) a[i] = of_bits(draw()), b[i] = of_bits(draw());
      else a[i] = ldexpf((float)(int32_t)draw(), (int)(draw() % 12) - 31), b[i] = ldexpf((float)(int32_t)draw(), (int)(draw() % 12) - 31);
      if (round % 8 == 6) b[i] = roundf(b[i]);
    }
    t->f32[f](n, (char *const[]){(char *)y, (char *)a, (char *)b}, (const int64_t[]){4, 4, 4}, NULL);
    for (int i = 0; i < n; i++) {
      const double want = ref((double)a[i], (double)b[i]);
      if (fabs(want) < least || fabsf(b[i]) > limit) continue;
      const double e = ulps(y[i], want);
      if (e > most) most = e;
      if (want == 0 && !signbit(want) != !signbit(y[i])) most = 1e9;
    }
  }
  return most;
}
static void of_two(const snk_map *t) {
  const double angle = worst2(t, SNK_MAP_atan2, atan2, INFINITY, 1.1754944e-38), power = worst2(t, SNK_MAP_pow, pow, INFINITY, 1.1754944e-38);
  const double rest = worst2(t, SNK_MAP_fmod, fmod, INFINITY, 0);
  if (angle > 3 || power > 1.5 || rest > 0) printf("atan2 %g, pow %g, fmod %g ulp\n", angle, power, rest);
  CHECK(angle <= 3 && power <= 1.5 && rest == 0);
  for (int k = -30; k < 30; k++) {
    CHECK(one(t, SNK_MAP_log2, ldexpf(1, k)) == (float)k);
    if (k >= 0 && k <= 10) CHECK(one(t, SNK_MAP_log10, powf(10, (float)k)) == (float)k);
  }
  float y;
  const float three = 3, minus = -1, half = 0.5f;
  for (int i = 0; i < 6; i++) {
    const float x = (const float[]){-2, 0, -0.0f, 1e30f, 2.25f, NAN}[i], *b = (const float *const[]){&three, &minus, &half}[i % 3];
    t->f32[SNK_MAP_pow](1, (char *const[]){(char *)&y, (char *)(uintptr_t)&x, (char *)(uintptr_t)b}, (const int64_t[]){4, 0, 0}, NULL);
    CHECK(ulps(y, pow((double)x, (double)*b)) < 1.5);
  }
}

/* Of doubles fmod is exact as well. */
static void fmod_doubles(const snk_map *t) {
  enum { N = 1024 };
  static double a[N], b[N], y[N];
  int bad = 0;
  for (int round = 0; round < 100 && t->f64[SNK_MAP_fmod]; round++) {
    for (int i = 0; i < N; i++) a[i] = ldexp((double)(int32_t)draw(), (int)(draw() % 90) - 60), b[i] = ldexp((double)(int32_t)draw(), (int)(draw() % 30) - 20);
    t->f64[SNK_MAP_fmod](N, (char *const[]){(char *)y, (char *)a, (char *)b}, (const int64_t[]){8, 8, 8}, NULL);
    for (int i = 0; i < N; i++) bad += !(y[i] == fmod(a[i], b[i]) && !signbit(y[i]) == !signbit(a[i]));
  }
  CHECK(bad == 0);
}

/* Functions of doubles against long double, where that has more digits: of all exponents, and round 1. */
static long double sigmoidl(long double x) { return 1 / (1 + expl(-x)); }
static void of_doubles(const snk_map *t) {
  enum { N = 1024 };
  static double x[N], y[N];
  static const double edge[] = {0, -0.0, 1, -1, INFINITY, -INFINITY, NAN, 709.5, 710.5, -745, -746.5, 1e300, -1e300, 5e-324, 1e-310, -1e-320, 131072, 131073, 1e22};
  const struct { int f; long double (*ref)(long double); double most; } rows[] = {
    {SNK_MAP_exp, expl, 1.2}, {SNK_MAP_log, logl, 1}, {SNK_MAP_log1p, log1pl, 1.5}, {SNK_MAP_tanh, tanhl, 3}, {SNK_MAP_sigmoid, sigmoidl, 2.5},
    {SNK_MAP_sin, sinl, 1.6}, {SNK_MAP_cos, cosl, 1.6}, {SNK_MAP_erf, erfl, 2},
  };
  for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
    if (t->f64[rows[k].f] == NULL) continue; /* AVX2's serve */
    double most = 0;
    for (int round = 0; round < 120; round++) {
      for (int i = 0; i < N; i++) {
        const uint64_t u = (uint64_t)draw() << 32 | draw();
        if (round == 0) x[i] = edge[i % (int)(sizeof edge / sizeof *edge)];
        else if (round % 3 == 0) memcpy(&x[i], &u, sizeof u);
        else x[i] = ldexp((double)(int32_t)draw() + (double)draw() * 0x1p-32, (int)(draw() % (round % 3 == 1 ? 12 : 40)) - 32 - (round % 3 == 1 ? 0 : 26));
      }
      t->f64[rows[k].f](N, (char *const[]){(char *)y, (char *)x}, (const int64_t[]){8, 8}, NULL);
      for (int i = 0; i < N; i++) {
        const long double want = rows[k].ref((long double)x[i]);
        const double w = (double)want;
        if (rows[k].f == SNK_MAP_sigmoid && w < 2.3e-308) continue; /* e^-x has become infinite */
        double e = 1e9;
        int exponent;
        if (w != w || y[i] != y[i]) e = w != w && y[i] != y[i] ? 0 : 1e9;
        else if (w == y[i]) e = w == 0 && !signbit(w) != !signbit(y[i]) ? 1e9 : 0;
        else if (!isinf(w) && !isinf(y[i])) {
          frexpl(want, &exponent);
          e = (double)fabsl(ldexpl((long double)y[i] - want, 53 - (exponent < -1021 ? -1021 : exponent)));
        } else if (fabsl(want) > 1.797693134862315e308L && fabs(y[i]) > 1.797693134862315e308) e = 0.5;
        if (e > most) most = e;
      }
    }
    if (most > rows[k].most) printf("double, row %zu: %g ulp\n", k, most);
    CHECK(sizeof(long double) == 8 || most <= rows[k].most);
  }
}

/* gelu of doubles and its slope, beside their definition: erf's error times x. */
static void gelu_of_doubles(const snk_map *t) {
  const double one = 1;
  double most = 0, slope = 0;
  for (double x = -20; x < 20; x += 0.0029) {
    const long double p = 0.5L * (1 + erfl((long double)x * 0.707106781186547524401L));
    const long double d = p + (long double)x * 0.398942280401432677940L * expl(-0.5L * (long double)x * (long double)x);
    double y;
    if (t->f64[SNK_MAP_gelu]) {
      t->f64[SNK_MAP_gelu](1, (char *const[]){(char *)&y, (char *)&x}, (const int64_t[]){8, 8}, NULL);
      most = fmax(most, fabs((double)((long double)y / (long double)x - p)));
    }
    if (t->f64[SNK_MAP_gelu_backward]) {
      t->f64[SNK_MAP_gelu_backward](1, (char *const[]){(char *)&y, (char *)(uintptr_t)&one, (char *)&x}, (const int64_t[]){8, 8, 8}, NULL);
      slope = fmax(slope, fabs((double)((long double)y - d)));
    }
  }
  if (most > 5e-16 || slope > 5e-16) printf("gelu of doubles: %g, its slope %g\n", most, slope);
  CHECK(most <= 5e-16 && slope <= 5e-16);
}

/* Functions of one double on rows of any length and step. */
static void layouts_of_doubles(const snk_map *t) {
  enum { N = 40 };
  static double x[2 * N], y[2 * N + 1], want[N];
  const int rows[] = {SNK_MAP_exp, SNK_MAP_log, SNK_MAP_sin, SNK_MAP_cos, SNK_MAP_tanh, SNK_MAP_sigmoid, SNK_MAP_erf, SNK_MAP_gelu, SNK_MAP_sqrt};
  for (int i = 0; i < 2 * N; i++) x[i] = (double)(i * 37 % 113 + 1) / 24;
  for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
    snk_row *row = t->f64[rows[k]];
    if (row == NULL) continue;
    int same = 1;
    for (int sx = 0; sx < 3; sx++)
      for (int sy = 1; sy < 3; sy++) {
        for (int i = 0; i < N; i++) row(1, (char *const[]){(char *)&want[i], (char *)&x[i * sx]}, (const int64_t[]){8, 8}, NULL);
        for (int n = 1; n <= N; n++) {
          for (int i = 0; i <= 2 * N; i++) y[i] = -77;
          row(n, (char *const[]){(char *)y, (char *)x}, (const int64_t[]){8 * sy, 8 * sx}, NULL);
          for (int i = 0; i < n; i++) same &= memcmp(&y[i * sy], &want[i], 8) == 0;
          same &= y[n * sy] == -77 && (sy == 1 || y[1] == -77);
        }
      }
    if (!same) printf("doubles, row %zu\n", k);
    CHECK(same);
  }
}

/* Every function on rows of any length, step and alignment: the bits of its values one by one. */
static void layouts(const snk_map *t) {
  enum { N = 600 };
  static float a[3 * N], b[3 * N], y[3 * N], want[N];
  for (int i = 0; i < 3 * N; i++) a[i] = (float)((i * 37 % 113) - 40) / 16, b[i] = (float)((i * 53 % 97) + 1) / 24;
  const double param[2] = {1, 20};
  const int lengths[] = {1, 2, 7, 15, 16, 17, 33, 255, 256, 257, 300, 529};
  for (int f = 0; f < SNK_MAP_COUNT; f++) {
    if (t->f32[f] == NULL) continue;
    bool same = true;
    for (int sa = 0; sa < 3; sa++)
      for (int sb = 0; sb < 3; sb++)
        for (int sy = 1; sy < 3; sy++) {
          for (int i = 0; i < 529; i++)
            t->f32[f](1, (char *const[]){(char *)&want[i], (char *)&a[1 + i * sa], (char *)&b[2 + i * sb]}, (const int64_t[]){4, 4, 4}, param);
          for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
            const int n = lengths[k];
            for (int i = 0; i < 3 * N; i++) y[i] = -77;
            t->f32[f](n, (char *const[]){(char *)(y + 1), (char *)(a + 1), (char *)(b + 2)}, (const int64_t[]){4 * sy, 4 * sa, 4 * sb}, param);
            for (int i = 0; i < n; i++) same &= memcmp(&y[1 + i * sy], &want[i], 4) == 0;
            same &= y[0] == -77 && y[1 + n * sy] == -77 && (sy == 1 || y[2] == -77);
          }
        }
    if (!same) printf("row %d\n", f);
    CHECK(same);
  }
}

int main(void) {
  tables[count++] = &snk_map_baseline;
#if defined(__x86_64__)
  if (sn_isa() >= SN_ISA_AVX2) tables[count++] = &snk_map_avx2;
  if (sn_isa() >= SN_ISA_AVX512) tables[count++] = &snk_map_avx512;
#endif
  const struct { int f; double (*ref)(double); double most, least; } rows[] = {
    {SNK_MAP_exp, exp, 1.5, 0}, {SNK_MAP_expm1, expm1, 2, 0}, {SNK_MAP_log, log, 1, 0}, {SNK_MAP_log1p, log1p, 1, 0},
    {SNK_MAP_tanh, tanh, 3, 0}, {SNK_MAP_erf, erf, 4, 0}, {SNK_MAP_sigmoid, sigmoid, 3, 1.1754944e-38},
    {SNK_MAP_sin, sin, 1.6, 0}, {SNK_MAP_cos, cos, 1.6, 0}, {SNK_MAP_tan, tan, 3.5, 0}, {SNK_MAP_asin, asin, 3, 0}, {SNK_MAP_acos, acos, 3, 0},
    {SNK_MAP_atan, atan, 2.5, 0}, {SNK_MAP_sinh, sinh, 3, 1.1754944e-38}, {SNK_MAP_cosh, cosh, 2, 0}, {SNK_MAP_log2, log2, 2, 0},
    {SNK_MAP_log10, log10, 2.5, 0},
  };
  for (int i = 0; i < count; i++) {
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
      const double e = worst(tables[i], rows[k].f, rows[k].ref, rows[k].least);
      if (e > rows[k].most) printf("table %d, row %zu: %g ulp\n", i, k, e);
      CHECK(e <= rows[k].most);
    }
    edges(tables[i]);
    tanh_below_1(tables[i]);
    gelu(tables[i]);
    gelu_slope(tables[i]);
    of_two(tables[i]);
    fmod_doubles(tables[i]);
    of_doubles(tables[i]);
    gelu_of_doubles(tables[i]);
    layouts_of_doubles(tables[i]);
    layouts(tables[i]);
    const sn_fpmode old = sn_fp_enter(SN_FP_FLUSH); /* flushed: the same above the normal range's end, and layouts agree as well */
    CHECK(worst(tables[i], SNK_MAP_exp, exp, 1.1754944e-38) <= 1.5);
    CHECK(one(tables[i], SNK_MAP_log, 1e-40f) == -INFINITY);
    layouts(tables[i]);
    sn_fp_leave(old);
  }
  return CHECK_DONE();
}
