/* conv_test.c - convolution and its gradients against plain loops over random shapes, and equal bits for one to four threads. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/cpu.h"
#include "base/thread.h"
#include "calc/conv.h"
#include "check.h"

static uint64_t state = 4711;
static uint32_t draw(void) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(state >> 33);
}
static int64_t upto(int64_t n) { return 1 + (int64_t)(draw() % (uint32_t)n); }
static double number(void) { return (double)draw() / 1073741824.0 - 1.0; }

static void *numbers(int64_t n, bool f64) { /* an exact block, so that a sanitizer sees the first read beyond it */
  void *p = malloc((size_t)n * (f64 ? 8 : 4) + 1);
  for (int64_t i = 0; i < n; i++)
    if (f64) ((double *)p)[i] = number();
    else ((float *)p)[i] = (float)number();
  return p;
}
static void *operand(const snk_conv_shape *s, int64_t n) { /* of the product: bfloat16 numbers where the shape says so */
  void *p = numbers(n, s->f64);
  for (int64_t i = 0; i < n && s->half; i++) ((uint32_t *)p)[i] &= 0xFFFF0000u;
  return p;
}
static double get(const void *p, int64_t i, bool f64) { return f64 ? ((const double *)p)[i] : (double)((const float *)p)[i]; }

static snk_conv_axis axis(int64_t most, int64_t kmost) {
  for (;;) {
    snk_conv_axis a = {.in = upto(most), .k = upto(kmost), .stride = draw() % 3 ? 1 : upto(3), .pad = draw() % 2 ? 0 : upto(4)};
    a.dilation = draw() % 4 ? 1 : upto(3);
    int64_t room = a.in + 2 * a.pad - (a.k - 1) * a.dilation - 1;
    if (room < 0) continue;
    a.out = room / a.stride + 1;
    return a;
  }
}

/* Plain loops: y, gx and gw in double. */
static void plain(const snk_conv_shape *s, const void *x, const void *w, const void *bias, const void *gy, double *y, double *gx, double *gw) {
  int64_t at = 0;
  for (int64_t n = 0; n < s->n; n++)
    for (int64_t o = 0; o < s->groups * s->co; o++)
      for (int64_t i = 0; i < s->y.out; i++)
        for (int64_t j = 0; j < s->x.out; j++, at++) {
          double sum = get(bias, o, s->f64), g = get(gy, at, s->f64);
          for (int64_t c = 0; c < s->ci; c++)
            for (int64_t r = 0; r < s->y.k; r++)
              for (int64_t q = 0; q < s->x.k; q++) {
                int64_t iy = i * s->y.stride + r * s->y.dilation - s->y.pad, ix = j * s->x.stride + q * s->x.dilation - s->x.pad;
                if (iy < 0 || iy >= s->y.in || ix < 0 || ix >= s->x.in) continue;
                int64_t xa = ((n * s->groups * s->ci + o / s->co * s->ci + c) * s->y.in + iy) * s->x.in + ix;
                int64_t wa = ((o * s->ci + c) * s->y.k + r) * s->x.k + q;
                sum += get(x, xa, s->f64) * get(w, wa, s->f64);
                gx[xa] += g * get(w, wa, s->f64);
                gw[wa] += g * get(x, xa, s->f64);
              }
          y[at] = sum;
        }
}

/* Numbers that are sums of many have errors of the size of the largest, not of their own. */
static int differs(const void *got, const double *want, int64_t n, bool f64, double scale) {
  double tol = (f64 ? 1e-13 : 1e-5) * scale, squares = 0;
  for (int64_t i = 0; i < n; i++) squares += want[i] * want[i];
  const double size = n > 0 && squares > (double)n ? sqrt(squares / (double)n) : 1;
  for (int64_t i = 0; i < n; i++)
    if (!(fabs(get(got, i, f64) - want[i]) <= tol * (size + fabs(want[i])))) return 1;
  return 0;
}

/* Runs one of the three on 1 to 4 threads, the forward operation on 4 with its weight packed before; the bits must be equal. */
static int threads_agree(const snk_conv_shape *s, int what, const void *a, const void *b, const void *bias, void *out, int64_t n) {
  size_t scratch, worker, bytes = (size_t)n * (s->f64 ? 8 : 4);
  snk_conv_space(s, what, &scratch, &worker);
  void *room = malloc(scratch), *again = malloc(bytes + 1), *packed = malloc(snk_conv_packed_bytes(s)); /* exact: a sanitizer sees more */
  int ok = 1;
  for (int t = 1; t <= 4; t++) {
    sn_threads_set(t);
    if (sn_scratch_reserve(worker) < 0) ok = 0;
    void *to = t == 1 ? out : again;
    memset(to, 0x7f, bytes);
    if (what == SNK_CONV_FORWARD && t == 4) {
      snk_conv_pack(s, b, packed);
      snk_conv_forward_with(s, a, NULL, &(snk_conv_with){.packed = packed, .bias = bias}, to, room);
    } else if (what == SNK_CONV_FORWARD) snk_conv_forward(s, a, b, bias, to, room);
    else if (what == SNK_CONV_INPUT) snk_conv_backward_input(s, a, b, NULL, to, room);
    else snk_conv_backward_weight(s, a, b, to, room);
    if (t > 1 && memcmp(out, again, bytes) != 0) ok = 0;
  }
  free(room), free(again), free(packed);
  return ok;
}

/* One small image and many rows: places are packed without what lies between the rows, some are left behind whole vectors, and kernels one wide
 * are packed across rows, of which the first and last may meet nothing but border. */
static snk_conv_shape few_places(int i) {
  static const int64_t sizes[4] = {7, 5, 6, 3};
  int64_t size = sizes[i % 4], ky = i / 4 % 3 == 0 ? 1 : 3, kx = i / 12 % 2 ? 3 : 1, pad = i / 4 % 3;
  snk_conv_shape s = {.f64 = i / 24 % 2, .n = 1, .groups = 1, .ci = 1 + upto(6), .co = 90 + upto(20)};
  s.y = (snk_conv_axis){.in = size, .k = ky, .stride = 1, .pad = pad, .dilation = 1, .out = size + 2 * pad - ky + 1};
  s.x = (snk_conv_axis){.in = size, .k = kx, .stride = 1, .pad = kx / 2, .dilation = 1, .out = size};
  if (i % 5 == 4) s.ci = 300;
  if (s.y.out < 1) s.y.pad = 1, s.y.out = size;
  return s;
}

/* Rows of whole vectors, with a border and without; images of one pixel's kernel, read where they lie. */
static snk_conv_shape whole_rows(int i) {
  int64_t out = 16 << i % 2, k = i % 6 < 4 ? 3 : 1, pad = i % 4 < 2 ? k / 2 : 0, in = out + k - 1 - 2 * pad;
  snk_conv_shape s = {.f64 = i % 5 == 4, .n = upto(3), .groups = upto(2), .ci = upto(9), .co = 3 + upto(30)};
  s.x = (snk_conv_axis){.in = in, .k = k, .stride = 1, .pad = pad, .dilation = 1, .out = out};
  s.y = s.x;
  if (i % 3 == 0) s.y.in -= 9, s.y.out -= 9;
  return s;
}

/* Kernels of 3 x 3 over many channels (winograd.h): odd sizes, borders of every width, tiles that end with the plane and that do not, some images in a
 * piece and bands of one, blocks of channels. */
static snk_conv_shape tiles(int i) {
  static const int64_t sizes[8] = {7, 8, 14, 16, 5, 28, 33, 4};
  snk_conv_shape s = {.n = i % 3 ? upto(4) : 1, .groups = i % 7 == 0 ? 2 : 1, .ci = 16 + upto(20), .co = 16 + upto(20)};
  if (i % 5 == 0) s.ci = 8 + upto(8), s.co = 60 + upto(8);
  if (i % 20 == 10) s.ci = s.co = 300, s.n = 1;
  s.y = (snk_conv_axis){.in = i % 4 == 3 ? 3 + upto(30) : sizes[i % 8], .k = 3, .stride = 1, .pad = i % 11 == 3 ? 0 : i % 13 == 4 ? 3 : 1, .dilation = 1};
  s.x = s.y;
  if (i % 4 == 3) s.x.in = 3 + upto(40), s.x.pad = upto(3) - 1;
  s.y.out = s.y.in + 2 * s.y.pad - 2, s.x.out = s.x.in + 2 * s.x.pad - 2;
  return s;
}

/* Strides of two over many channels, even and odd sizes, planes of one band and of several. */
static snk_conv_shape strided(int i) {
  static const int64_t sizes[6] = {16, 32, 13, 33, 8, 101};
  snk_conv_shape s = {.f64 = i % 7 == 6, .n = upto(3), .groups = i % 9 == 8 ? 2 : 1, .ci = 3 + upto(20), .co = 3 + upto(30)};
  s.y = (snk_conv_axis){.in = sizes[i % 6], .k = i % 8 == 7 ? 5 : i % 8 == 5 ? 2 : 3, .stride = 2, .pad = i % 4 != 3, .dilation = 1};
  s.x = s.y;
  if (i % 6 == 5) s.n = 1, s.ci = 12;
  if (i % 5 == 4) s.x.in += 7, s.y.pad = i % 2;
  if (i % 16 == 9) s.y.stride = 1 + i % 3, s.x.dilation = 2;
  s.y.out = (s.y.in + 2 * s.y.pad - s.y.k) / s.y.stride + 1;
  s.x.out = (s.x.in + 2 * s.x.pad - s.x.dilation * (s.x.k - 1) - 1) / 2 + 1;
  return s;
}

/* Every channel by itself: rows of one vector and more, some of which do some places once more; heights that leave rows over. */
static snk_conv_shape alone(int i) {
  snk_conv_shape s = {.f64 = i % 5 == 4, .n = upto(2), .groups = 2 + upto(3), .ci = 1, .co = i % 7 == 6 ? 2 : 1};
  s.x = (snk_conv_axis){.in = 16 + upto(60), .k = i % 4 < 2 ? 3 : upto(5), .stride = 1, .pad = i % 4 == 3 ? 0 : 1, .dilation = i % 6 == 5 ? 2 : 1};
  s.y = s.x, s.y.in = 10 + upto(24);
  if (i % 8 == 7) s.y.k = upto(4), s.y.pad = upto(3) - 1;
  if (i % 8 == 6) s.y.k = s.y.pad = 1, s.y.in = 2; /* the first and the last row of four meet only border */
  s.y.out = s.y.in + 2 * s.y.pad - s.y.dilation * (s.y.k - 1), s.x.out = s.x.in + 2 * s.x.pad - s.x.dilation * (s.x.k - 1);
  return s;
}

/* The same with kernels of 3 x 3: planes of less than a vector and of some, borders of every width. */
static snk_conv_shape planes(int i) {
  snk_conv_shape s = {.n = upto(2), .groups = 1 + upto(4), .ci = 1, .co = 1};
  s.y = (snk_conv_axis){.in = 3 + upto(12), .k = 3, .stride = 1, .pad = i % 5, .dilation = 1};
  s.x = s.y;
  s.x.in = 3 + upto(i % 4 == 3 ? 70 : 32), s.x.pad = i / 5 % 5;
  if (i % 16 == 15) s.y.in = 1, s.y.pad = 1;
  s.y.out = s.y.in + 2 * s.y.pad - 2, s.x.out = s.x.in + 2 * s.x.pad - 2;
  return s;
}

/* A weight of many rows over few places that are read where they lie: threads share out its rows. */
static snk_conv_shape heavy(int i) {
  snk_conv_shape s = {.f64 = i % 6 == 5, .n = upto(3), .groups = i % 8 == 7 ? 2 : 1, .ci = 30 + upto(60), .co = 390 + upto(30)};
  s.y = (snk_conv_axis){.in = 3 + upto(6), .k = i % 3 == 2 ? 3 : 1, .stride = 1, .dilation = 1};
  s.x = s.y;
  if (i % 4 == 3) s.x.in = 16;
  s.y.out = s.y.in - s.y.k + 1, s.x.out = s.x.in - s.x.k + 1;
  return s;
}

enum { RANDOM = 400 };
static const struct { int n; snk_conv_shape (*make)(int i); } families[] = {{48, few_places}, {24, whole_rows}, {60, tiles}, {48, strided}, {56, alone}, {96, planes}, {24, heavy}};
enum { FAMILIES = sizeof families / sizeof *families };

/* What a program lets follow in the last store has the bits of the steps one by one (floats). */
static int with_agrees(const snk_conv_shape *s, const void *x, const void *w, const float *bias, const float *y, int64_t ny) {
  size_t scratch, worker;
  snk_conv_space(s, SNK_CONV_FORWARD, &scratch, &worker);
  if (s->f64 || sn_scratch_reserve(worker) < 0) return s->f64;
  const int64_t channels = s->groups * s->co, plane = s->y.out * s->x.out;
  float *mean = numbers(channels, false), *scale = numbers(channels, false), *shift = numbers(channels, false), *add = numbers(ny, false);
  float *got = numbers(ny, false);
  void *room = malloc(scratch);
  int ok = 1;
  for (int what = 0; what < 8; what++) {
    const bool norm = what & 1, more = what & 2, relu = what & 4;
    const float *way = norm ? got : add; /* what is added may lie where the result goes */
    const snk_conv_with with = {.bias = bias, .mean = norm ? mean : NULL, .scale = scale, .shift = shift, .add = more ? way : NULL, .relu = relu};
    memcpy(got, add, (size_t)ny * sizeof *got);
    snk_conv_forward_with(s, x, w, &with, got, room);
    for (int64_t i = 0; i < ny; i++) {
      const int64_t c = i / plane % channels;
      volatile float v = y[i]; /* each step is rounded */
      if (norm) v = v - mean[c], v = v * scale[c], v = v + shift[c];
      if (more) v = v + add[i];
      if (relu) v = v > 0 ? v : 0;
      if (memcmp((const void *)&v, &got[i], sizeof v) != 0) ok = 0;
    }
  }
  free(mean), free(scale), free(shift), free(add), free(got), free(room);
  return ok;
}

/* Numbers that are bfloat16 numbers, and the same in two bytes. */
static float *both(const float *from, int64_t n, uint16_t **half) {
  float *f = numbers(n, false);
  *half = malloc((size_t)(n + 1) * 2);
  for (int64_t i = 0; i < n; i++) {
    (*half)[i] = (uint16_t)(((const uint32_t *)(const void *)from)[i] >> 16);
    ((uint32_t *)(void *)f)[i] = (uint32_t)(*half)[i] << 16;
  }
  (*half)[n] = 0x1234;
  return f;
}
static int is_half_of(const float *f, const uint16_t *half, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if ((uint32_t)half[i] << 16 != ((const uint32_t *)(const void *)f)[i]) return 0;
  return half[n] == 0x1234;
}

/* What lies in two bytes gives the bits of floats that are such numbers. */
static int narrow_met[3][2];
static int narrow_agrees(snk_conv_shape s, const float *xs, const void *w, const float *bias, const float *gys, int64_t nx, int64_t ny, int64_t nw) {
  const int threads = sn_threads();
  int ok = 1;
  if (s.f64) return 1;
  s.round = true;
  uint16_t *xh, *yh, *gxh, *gyh;
  float *x = both(xs, nx, &xh), *gy = both(gys, ny, &gyh), *want = numbers(ny + nx + nw, false), *got = numbers(ny + nx + nw, false);
  free(both(xs, nx, &gxh)), free(both(gys, ny, &yh));
  for (int what = SNK_CONV_FORWARD; what <= SNK_CONV_WEIGHT; what++) {
    const bool can_x = snk_conv_narrow(&s, what, false), can_y = snk_conv_narrow(&s, what, true);
    narrow_met[what][0] += can_x, narrow_met[what][1] += can_y;
    size_t scratch, worker;
    snk_conv_space(&s, what, &scratch, &worker);
    if (sn_scratch_reserve(worker) < 0) return 0;
    void *room = malloc(scratch);
    for (int sides = 1; sides < 4; sides++) {
      const bool relu = sides & 1;
      const snk_conv_with with = {.bias = bias, .relu = relu};
      snk_conv_shape n = s;
      n.narrow_x = sides & 1, n.narrow_y = sides & 2;
      if ((n.narrow_x && !can_x) || (n.narrow_y && !can_y)) continue;
      sn_threads_set(sides);
      const void *nx_in = n.narrow_x ? (const void *)xh : x, *ny_in = n.narrow_y ? (const void *)gyh : gy;
      if (what == SNK_CONV_FORWARD) {
        snk_conv_forward_with(&s, x, w, &with, want, room);
        snk_conv_forward_with(&n, nx_in, w, &with, n.narrow_y ? (void *)yh : got, room);
        if (n.narrow_y ? !is_half_of(want, yh, ny) : memcmp(want, got, (size_t)ny * sizeof *got) != 0) ok = 0;
      } else if (what == SNK_CONV_INPUT) {
        snk_conv_backward_input(&s, gy, w, NULL, want, room);
        snk_conv_backward_input(&n, ny_in, w, NULL, n.narrow_x ? (void *)gxh : got, room);
        if (n.narrow_x ? !is_half_of(want, gxh, nx) : memcmp(want, got, (size_t)nx * sizeof *got) != 0) ok = 0;
      } else {
        snk_conv_backward_weight(&s, x, gy, want, room);
        snk_conv_backward_weight(&n, nx_in, ny_in, got, room);
        if (memcmp(want, got, (size_t)nw * sizeof *got) != 0) ok = 0;
      }
    }
    free(room);
  }
  sn_threads_set(threads);
  free(x), free(gy), free(want), free(got), free(xh), free(yh), free(gxh), free(gyh);
  return ok;
}

static int one(int round, bool half) {
  int64_t big = round % 8 == 0 ? 40 : round % 3 == 0 ? 20 : 9, channels = round % 5 == 0 ? 40 : 7;
  snk_conv_shape s = {.f64 = draw() % 3 == 0, .n = upto(round % 4 == 0 ? 9 : 3), .groups = draw() % 4 ? 1 : upto(4), .ci = upto(channels)};
  s.co = upto(channels);
  if (draw() % 4 == 0) s.ci = 1;
  if (draw() % 4 == 0) s.co = upto(3);
  s.y = axis(big, 5), s.x = axis(big, 5);
  for (int f = 0, chosen = round - RANDOM; f < FAMILIES && chosen >= 0; chosen -= families[f++].n)
    if (chosen < families[f].n) s = families[f].make(chosen);
  if (half && s.f64) return 1;
  s.half = half;
  int64_t nx = s.n * s.groups * s.ci * s.y.in * s.x.in, ny = s.n * s.groups * s.co * s.y.out * s.x.out;
  int64_t nw = s.groups * s.co * s.ci * s.y.k * s.x.k;
  void *x = operand(&s, nx), *w = operand(&s, nw), *gy = operand(&s, ny), *bias = numbers(s.groups * s.co, s.f64);
  void *y = numbers(ny, s.f64), *gx = numbers(nx, s.f64), *gw = numbers(nw, s.f64);
  double *py = calloc((size_t)ny, 8), *px = calloc((size_t)nx, 8), *pw = calloc((size_t)nw, 8);
  plain(&s, x, w, bias, gy, py, px, pw);
  int bad = 0;
  if (!threads_agree(&s, SNK_CONV_FORWARD, x, w, bias, y, ny)) bad |= 1;
  if (!with_agrees(&s, x, w, bias, y, ny)) bad |= 64;
  if (!narrow_agrees(s, x, w, bias, gy, nx, ny, nw)) bad |= 128;
  if (!threads_agree(&s, SNK_CONV_INPUT, gy, w, NULL, gx, nx)) bad |= 2;
  if (!threads_agree(&s, SNK_CONV_WEIGHT, x, gy, NULL, gw, nw)) bad |= 4;
  if (differs(y, py, ny, s.f64, 4)) bad |= 8;
  if (differs(gx, px, nx, s.f64, 4)) bad |= 16;
  if (differs(gw, pw, nw, s.f64, 30)) bad |= 32;
  if (bad)
    printf("round %d: %d; %s n %d g %d ci %d co %d; y in %d k %d s %d p %d d %d; x in %d k %d s %d p %d d %d\n", round, bad,
           s.f64 ? "f64" : s.half ? "half" : "f32", (int)s.n, (int)s.groups, (int)s.ci, (int)s.co, (int)s.y.in, (int)s.y.k, (int)s.y.stride, (int)s.y.pad,
           (int)s.y.dilation, (int)s.x.in, (int)s.x.k,
           (int)s.x.stride, (int)s.x.pad, (int)s.x.dilation);
  free(x), free(w), free(gy), free(bias), free(y), free(gx), free(gw), free(py), free(px), free(pw);
  return bad == 0;
}

int main(void) {
  int rounds = RANDOM;
  for (int f = 0; f < FAMILIES; f++) rounds += families[f].n;
  for (int round = 0; round < rounds; round++) {
    CHECK(one(round, false));
    if (sn_halves() || round % 16 == 0) CHECK(one(round, true)); /* without such instructions the same kernels once more */
  }
  for (int what = 0; what < 6; what++) CHECK(narrow_met[what / 2][what % 2] > 20 || !snk_conv_now()->f32.spread_narrow);
  return CHECK_DONE();
}
