/* pool_test.c - the largest of windows and its gradient against plain loops over random shapes, with equal numbers, NaN and infinities. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/thread.h"
#include "calc/pool.h"
#include "check.h"

static uint64_t state = 815;
static uint32_t draw(void) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(state >> 33);
}
static int64_t upto(int64_t n) { return 1 + (int64_t)(draw() % (uint32_t)n); }

static snk_pool_axis axis(int64_t most) {
  for (;;) {
    snk_pool_axis a = {.in = upto(most), .k = upto(4), .stride = draw() % 20 ? upto(3) : upto(12), .dilation = draw() % 4 ? 1 : upto(3)};
    if (draw() % 3 == 0) a.k = a.stride = 2, a.dilation = 1;
    int64_t reach = (a.k - 1) * a.dilation + 1, room;
    a.pad = draw() % 2 ? 0 : (int64_t)(draw() % (uint32_t)(reach / 2 + 1));
    room = a.in + 2 * a.pad - reach;
    if (draw() % 3 == 0) room += a.stride - 1; /* rounded up */
    a.out = room >= 0 ? room / a.stride + 1 : 0;
    if (a.out > 0 && (a.out - 1) * a.stride >= a.in + a.pad) a.out--;
    if (a.out > 0) return a;
  }
}

static double value(void) {
  uint32_t r = draw() % 60;
  if (r == 0) return NAN;
  if (r < 4) return -INFINITY;
  return (double)(r % 7) - 3; /* many equal */
}
static double get(const void *p, int64_t i, bool f64) { return f64 ? ((const double *)p)[i] : (double)((const float *)p)[i]; }
static void set(void *p, int64_t i, bool f64, double v) {
  if (f64) ((double *)p)[i] = v;
  else ((float *)p)[i] = (float)v;
}
static int same(double a, double b) { return a == b || (isnan(a) && isnan(b)); }

static uint16_t *halves(const float *x, int64_t n) {
  uint16_t *h = malloc((size_t)n * 2);
  for (int64_t i = 0; i < n; i++) h[i] = (uint16_t)(((const uint32_t *)(const void *)x)[i] >> 16);
  return h;
}
static int are_halves(const float *want, const void *got, int64_t n) {
  uint16_t *h = halves(want, n);
  const int same = memcmp(h, got, (size_t)n * 2) == 0;
  free(h);
  return same;
}

/* bfloat16 numbers in two bytes give what floats give, whatever of the result and the gradients lies so too, also in place. */
static int halves_agree(snk_pool_shape s, const float *x, const float *gy, int64_t nx, int64_t ny) {
  uint16_t *xh = halves(x, nx), *gyh = halves(gy, ny), *gh = malloc((size_t)nx * 2);
  float *want = malloc((size_t)nx * 4), *got = malloc((size_t)nx * 4);
  int ok = 1;
  snk_max_pool(&s, x, want);
  s.half = true;
  snk_max_pool(&s, xh, got);
  ok &= memcmp(want, got, (size_t)ny * 4) == 0;
  s.half_y = true;
  snk_max_pool(&s, xh, got);
  ok &= are_halves(want, got, ny);
  for (int how = 0; how < 4; how++) {
    s.relu = how & 1, s.half = s.half_y = s.half_gx = false;
    snk_max_pool_backward(&s, gy, x, want);
    s.half = true, s.half_y = how & 2;
    const void *g = s.half_y ? (const void *)gyh : gy;
    snk_max_pool_backward(&s, g, xh, got);
    ok &= memcmp(want, got, (size_t)nx * 4) == 0;
    s.half_gx = true;
    for (int place = 0; place < 2; place++) {
      if (place) memcpy(gh, xh, (size_t)nx * 2);
      snk_max_pool_backward(&s, g, place ? gh : xh, gh);
      ok &= are_halves(want, gh, nx);
    }
  }
  free(xh), free(gyh), free(gh), free(want), free(got);
  return ok;
}

static int seen_halves;
static int one(void) {
  snk_pool_shape s = {.f64 = draw() % 3 == 0, .planes = upto(4), .y = axis(20), .x = axis(draw() % 2 ? 50 : 15)};
  bool f = s.f64;
  size_t size = f ? 8 : 4;
  int64_t in = s.y.in * s.x.in, out = s.y.out * s.x.out, nx = s.planes * in, ny = s.planes * out;
  void *x = malloc((size_t)nx * size), *gy = malloc((size_t)ny * size), *y = malloc((size_t)ny * size), *gx = malloc((size_t)nx * size);
  void *picked = malloc((size_t)ny * size);
  double *want = calloc((size_t)nx, 8);
  for (int64_t i = 0; i < nx; i++) set(x, i, f, value());
  for (int64_t i = 0; i < ny; i++) set(gy, i, f, (double)(draw() % 9) - 4);
  int ok = sn_scratch_reserve(snk_max_worker(&s)) == 0;
  snk_max_pool(&s, x, y);
  snk_max_pool_backward(&s, gy, x, gx);
  snk_max_pool_pick(&s, x, x, picked);
  int64_t at = 0;
  for (int64_t p = 0; p < s.planes; p++)
    for (int64_t i = 0; i < s.y.out; i++)
      for (int64_t j = 0; j < s.x.out; j++, at++) {
        int64_t best = -1;
        double m = -INFINITY;
        for (int64_t r = 0; r < s.y.k; r++)
          for (int64_t c = 0; c < s.x.k; c++) {
            int64_t iy = i * s.y.stride - s.y.pad + r * s.y.dilation, ix = j * s.x.stride - s.x.pad + c * s.x.dilation;
            if (iy < 0 || iy >= s.y.in || ix < 0 || ix >= s.x.in) continue;
            double v = get(x, p * in + iy * s.x.in + ix, f);
            if (best < 0 || v > m || (isnan(v) && !isnan(m))) m = v, best = p * in + iy * s.x.in + ix;
          }
        if (!same(get(y, at, f), m)) ok = 0;
        if (best >= 0) want[best] += get(gy, at, f);
        if (!same(get(picked, at, f), best >= 0 ? m : 0)) ok = 0;
      }
  for (int64_t i = 0; i < nx; i++)
    if (get(gx, i, f) != want[i]) ok = 0;
  if (snk_pool_halves(&s)) {
    seen_halves++;
    if (!halves_agree(s, x, gy, nx, ny)) ok = 0;
    for (int64_t i = 0; i < nx; i++) /* what relu gives, with NaN here and there */
      if (((float *)x)[i] < 0 || (draw() % 4 && isnan(((float *)x)[i]))) ((float *)x)[i] = 0;
    if (!halves_agree(s, x, gy, nx, ny)) ok = 0;
  }
  if (!ok)
    printf("%s planes %d; y in %d out %d k %d s %d p %d d %d; x in %d out %d k %d s %d p %d d %d\n", f ? "f64" : "f32", (int)s.planes, (int)s.y.in,
           (int)s.y.out, (int)s.y.k, (int)s.y.stride, (int)s.y.pad, (int)s.y.dilation, (int)s.x.in, (int)s.x.out, (int)s.x.k, (int)s.x.stride,
           (int)s.x.pad, (int)s.x.dilation);
  free(x), free(gy), free(y), free(gx), free(picked), free(want);
  return ok;
}

int main(void) {
  for (int round = 0; round < 2000; round++) CHECK(one());
  CHECK(seen_halves > 30 || !snk_pool_now()->max_half);
  return CHECK_DONE();
}
