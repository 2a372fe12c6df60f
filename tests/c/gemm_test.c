/* gemm_test.c - matrix products against the plain loops, bit for bit, over random shapes, strides, finishes and thread counts. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/dtype.h"
#include "base/random.h"
#include "base/thread.h"
#include "calc/gemm.h"
#include "check.h"

static uint64_t state = 12345;
static int seen_narrow;
static uint32_t draw(void) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(state >> 33);
}
static int64_t upto(int64_t n) { return 1 + (int64_t)(draw() % (uint32_t)n); }
static double number(void) { return (double)draw() / 1073741824.0 - 1.0; }

static void fill(void *p, int64_t n, bool f64) {
  for (int64_t i = 0; i < n; i++)
    if (f64) ((double *)p)[i] = number();
    else ((float *)p)[i] = (float)number();
}

/* A hook that doubles: any change in who calls it for what would show. */
typedef struct twice { bool f64; } twice;
static void double_it(void *ctx, void *c, int64_t rs, int64_t cs, int64_t i0, int64_t j0, int64_t m, int64_t n) {
  const twice *w = ctx;
  (void)i0, (void)j0;
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++)
      if (w->f64) ((double *)c)[i * rs + j * cs] *= 2;
      else ((float *)c)[i * rs + j * cs] *= 2;
}

/* Sizes of the first rounds: several blocks of rows and of columns of C turned; B too large to be packed whole, sums added to C; more columns than are
 * packed at once; a last panel of less than a vector; several blocks of k for tiles of bfloat16, of B packed before too; rows of A that lie whole pages
 * apart, which are packed. */
static const struct { int64_t m, n, k; bool turned, add, packed, pages; } large[] = {
  {310, 300, 530, .turned = true}, {150, 1100, 530, .add = true}, {10, 2200, 300, .turned = false}, {32, 200, 784, .turned = false}, {70, 90, 2300, .turned = true}, {270, 40, 1100, .add = true},
  {40, 540, 1100, .add = true}, {37, 90, 2300, .packed = true}, {45, 600, 1021, .pages = true}, {150, 1100, 530, .add = true, .pages = true},
  {29, 530, 1022, .turned = true, .pages = true}};

static int one(int round) {
  static const int64_t limits[4][3] = {{9, 20, 40}, {40, 90, 1000}, {130, 130, 300}, {3, 300, 900}};
  const int64_t *lim = limits[draw() % 4];
  snk_gemm_args g = {.f64 = draw() % 3 == 0, .m = upto(lim[0]), .n = upto(lim[1]), .k = upto(lim[2])};
  if (draw() % 50 == 0) g.k = 0;
  if (draw() % 10 == 0) { int64_t t = g.m; g.m = g.n, g.n = t; }
  const int which = round / 4;
  const bool first = which < (int)(sizeof large / sizeof *large);
  if (first) g.m = large[which].m, g.n = large[which].n, g.k = large[which].k;
  size_t size = g.f64 ? 8 : 4;
  int64_t pad = draw() % 3, kpad = g.k + pad, batch = !first && draw() % 4 == 0 ? upto(3) : 1;
  if (draw() % 2) g.ars = kpad, g.acs = 1; else g.ars = 1, g.acs = g.m + pad;
  const bool pages = first && large[which].pages;
  if (draw() % 2) g.brs = g.n + pad, g.bcs = 1; else g.brs = 1, g.bcs = kpad;
  if (draw() % 5 == 0) g.ars *= 2, g.acs *= 2, g.brs *= 2, g.bcs *= 2;
  if (pages) g.f64 = round % 2 != 0, size = g.f64 ? 8 : 4, g.ars = 1024, g.acs = 1;
  if (first ? !large[which].turned : draw() % 4) g.crs = g.n + pad, g.ccs = 1; else g.crs = 1, g.ccs = g.m + pad;
  int64_t an = 2 * (g.m + 3) * (g.k + 3), bn = 2 * (g.n + 3) * (g.k + 3), cn = (g.m + 3) * (g.n + 3);
  if (batch > 1) g.nbatch = 1, g.batch[0] = batch, g.abatch[0] = an, g.bbatch[0] = draw() % 2 ? bn : 0, g.cbatch[0] = cn;
  g.bias_kind = (int)(draw() % 3), g.act = draw() % 3 == 0, g.accumulate = draw() % 4 == 0 || (first && large[which].add), g.round = !g.f64 && draw() % 4 == 0;
  twice ctx = {g.f64};
  bool hook = draw() % 5 == 0, prepack = batch == 1 && g.ccs == 1 && (draw() % 4 == 0 || (first && large[which].packed));
  if (snk_gemm_dots(&g)) prepack = false; /* packed operands keep the chain */
  g.half = !g.f64 && draw() % 2 && !pages;
  g.round_b = !g.f64 && !prepack && !snk_gemm_dots(&g) && draw() % 4 == 0;
  void *a = malloc((size_t)(an * batch) * size), *b = malloc((size_t)(bn * batch) * size), *bias = malloc((size_t)(g.m + g.n) * size);
  void *c0 = malloc((size_t)(cn * batch) * size), *c1 = malloc((size_t)(cn * batch) * size), *want = malloc((size_t)(cn * batch) * size);
  fill(a, an * batch, g.f64), fill(b, bn * batch, g.f64), fill(bias, g.m + g.n, g.f64), fill(c0, cn * batch, g.f64);
  g.a = a, g.b = b, g.bias = bias;
  memcpy(want, c0, (size_t)(cn * batch) * size);
  g.c = want;
  snk_gemm_plain(&g);
  if (hook)
    for (int64_t q = 0; q < batch; q++) double_it(&ctx, (char *)want + (size_t)(q * cn) * size, g.crs, g.ccs, 0, 0, g.m, g.n);
  void *packed = NULL;
  if (prepack) {
    packed = aligned_alloc(64, (snk_gemm_packed_for(&g) + 64) / 64 * 64);
    snk_gemm_pack_for(&g, packed);
    g.packed = packed, g.b = NULL;
  }
  if (hook) g.hook = double_it, g.hook_ctx = &ctx;
  int bad = 0;
  g.c = c1;
  for (int threads = 1; threads <= 4 && !bad; threads++) {
    sn_threads_set(threads);
    memcpy(c1, c0, (size_t)(cn * batch) * size);
    snk_gemm_run(&g);
    if (memcmp(c1, want, (size_t)(cn * batch) * size) != 0) {
      printf("gemm %d: f64 %d, %ld x %ld x %ld, batch %ld, strides %ld,%ld %ld,%ld %ld,%ld, bias %d, act %d, accumulate %d, hook %d, packed %d, rounded %d, half %d, threads %d\n",
             round, g.f64, (long)g.m, (long)g.n, (long)g.k, (long)batch, (long)g.ars, (long)g.acs, (long)g.brs, (long)g.bcs, (long)g.crs,
             (long)g.ccs, g.bias_kind, g.act, g.accumulate, hook, prepack, g.round_b, g.half, threads);
      bad = 1;
    }
  }
  free(a), free(b), free(bias), free(c0), free(c1), free(want), free(packed);
  return bad;
}

/* Operands that lie as bfloat16 numbers, each alone and all together, give the bits of floats. */
static int narrow(int round) {
  snk_gemm_args g = {.half = true, .m = 24 + upto(80), .n = 24 + upto(150), .k = 16 + upto(round % 4 == 0 ? 1200 : 150), .ccs = 1};
  if (round % 3 == 0) g.m = (g.m + 15) / 16 * 16, g.n = (g.n + 15) / 16 * 16;
  const int64_t pad = draw() % 3, an = (g.m + 3) * (g.k + 3), bn = (g.n + 3) * (g.k + 3), cn = (g.m + 3) * (g.n + 3);
  if (draw() % 2) g.ars = g.k + pad, g.acs = 1; else g.ars = 1, g.acs = g.m + pad;
  if (draw() % 2) g.brs = g.n + pad, g.bcs = 1; else g.brs = 1, g.bcs = g.k + pad;
  g.crs = g.n + pad;
  g.bias_kind = draw() % 2 ? SNK_BIAS_COL : SNK_BIAS_NONE, g.act = draw() % 3 == 0;
  float *a = malloc((size_t)an * sizeof *a), *b = malloc((size_t)bn * sizeof *b), *c = malloc((size_t)cn * sizeof *c), *bias = malloc((size_t)g.n * sizeof *bias);
  uint16_t *ah = malloc((size_t)an * 2), *bh = malloc((size_t)bn * 2), *ch = malloc((size_t)cn * 2), *want = malloc((size_t)cn * 2);
  fill(a, an, false), fill(b, bn, false), fill(bias, g.n, false);
  a[0] = INFINITY, a[draw() % (uint32_t)an] = NAN;
  for (int64_t i = 0; i < an; i++) ah[i] = sn_f32_to_bf16(a[i]), a[i] = sn_bf16_to_f32(ah[i]);
  for (int64_t i = 0; i < bn; i++) bh[i] = sn_f32_to_bf16(b[i]), b[i] = sn_bf16_to_f32(bh[i]);
  g.bias = bias, g.round = true;
  sn_threads_set(1);
  for (int64_t i = 0; i < cn; i++) c[i] = 1;
  g.a = a, g.b = b, g.c = c;
  snk_gemm_run(&g);
  for (int64_t i = 0; i < cn; i++) want[i] = sn_f32_to_bf16(c[i]);
  int bad = 0;
  for (int which = 1; which < 8 && !bad; which++) {
    bool can = true;
    for (int k = 1; k < 8; k *= 2) can &= !(which & k) || snk_gemm_narrow(&g, k);
    if (!can) continue;
    sn_threads_set(1 + which % 3);
    for (int64_t i = 0; i < cn; i++) ch[i] = sn_f32_to_bf16(1), c[i] = 1;
    g.narrow = which, g.round = !(which & SNK_GEMM_C);
    g.a = which & SNK_GEMM_A ? (void *)ah : a, g.b = which & SNK_GEMM_B ? (void *)bh : b, g.c = which & SNK_GEMM_C ? (void *)ch : c;
    snk_gemm_run(&g);
    for (int64_t i = 0; i < cn && !bad; i++) bad = (which & SNK_GEMM_C ? ch[i] : sn_f32_to_bf16(c[i])) != want[i];
    if (bad) printf("narrow %d: operands %d, %ld x %ld x %ld, strides %ld,%ld %ld,%ld\n", round, which, (long)g.m, (long)g.n, (long)g.k, (long)g.ars, (long)g.acs, (long)g.brs, (long)g.bcs);
    if (g.k >= 16 && snk_gemm_halves(&g)) seen_narrow++;
  }
  free(a), free(b), free(c), free(bias), free(ah), free(bh), free(ch), free(want);
  return bad;
}

typedef struct kept { float *c; int64_t n; } kept;
static void keep_rows(void *ctx, const void *c, int64_t first, int64_t rows) {
  const kept *k = ctx;
  memcpy(k->c + first * k->n, c, (size_t)(rows * k->n) * sizeof(float));
}

/* The same bits, or NaN where there is NaN. */
static bool same(const float *a, const float *b, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (memcmp(&a[i], &b[i], sizeof *a) != 0 && !(a[i] != a[i] && b[i] != b[i])) return false;
  return true;
}

/* A with zeros, from hardly any to nothing else, whole rows and columns of them too; in some products B has a number that is not finite, which zeros
 * do not hide. */
static int zeros(int round) {
  static const double part[] = {0.1, 0.35, 0.5, 0.8, 0.97, 1};
  snk_gemm_args g = {.m = upto(90), .n = 16 * (6 + upto(40)), .k = upto(round % 3 == 0 ? 40 : 256), .ars = 1, .bcs = 1, .ccs = 1};
  while (g.m * g.n * g.k < 1 << 18) g.m += 7;
  g.acs = g.m + draw() % 3, g.brs = g.n + draw() % 3, g.crs = g.n;
  const double zero = part[draw() % (sizeof part / sizeof *part)];
  float *a = malloc((size_t)(g.acs * g.k) * sizeof *a), *b = malloc((size_t)(g.brs * g.k) * sizeof *b), *want = malloc((size_t)(g.m * g.n) * sizeof *b);
  float *c = malloc((size_t)(g.m * g.n) * sizeof *c);
  void *room = aligned_alloc(64, (snk_gemm_rows_room(false, g.n, g.k) + 63) / 64 * 64);
  fill(a, g.acs * g.k, false), fill(b, g.brs * g.k, false);
  for (int64_t k = 0; k < g.k; k++)
    for (int64_t i = 0; i < g.acs; i++)
      if (number() < 2 * zero - 1 || (zero > 0.3 && (i % 11 == 3 || k % 13 == 5))) a[k * g.acs + i] = i % 2 ? 0.0f : -0.0f;
  const bool wild = round % 5 == 4;
  if (wild) b[(draw() % (uint32_t)g.k) * g.brs + draw() % (uint32_t)g.n] = draw() % 2 ? INFINITY : NAN;
  g.a = a, g.b = b, g.c = want;
  snk_gemm_plain(&g);
  kept to = {c, g.n};
  int bad = 0;
  for (int threads = 1; threads <= 4 && !bad; threads++)
    for (int rows = 0; rows < 2 && !bad; rows++) {
      sn_threads_set(threads);
      memset(c, 0x55, (size_t)(g.m * g.n) * sizeof *c);
      g.c = rows ? NULL : c;
      if (rows) snk_gemm_rows(&g, room, keep_rows, &to);
      else snk_gemm_run(&g);
      if (same(c, want, g.m * g.n)) continue;
      printf("zeros %d: %ld x %ld x %ld, %g of it, %s, rows %d, threads %d\n", round, (long)g.m, (long)g.n, (long)g.k, zero, wild ? "not finite" : "finite", rows, threads);
      bad = 1;
    }
  free(a), free(b), free(c), free(want), free(room);
  return bad;
}

int main(void) {
  CHECK(sn_scratch_reserve(SNK_GEMM_SCRATCH) == 0);
  int bad = 0;
  for (int i = 0; i < 600 && bad < 5; i++) {
    const int wrong = one(i);
    CHECK(wrong == 0);
    bad += wrong;
  }
  for (int i = 0; i < 100 && bad < 5; i++) {
    const int wrong = narrow(i);
    CHECK(wrong == 0);
    bad += wrong;
  }
  CHECK(seen_narrow >= (sn_halves() ? 300 : 0)); /* else nothing was tested */
  for (int i = 0; i < 200 && bad < 5; i++) {
    const int wrong = zeros(i);
    CHECK(wrong == 0);
    bad += wrong;
  }
  return CHECK_DONE();
}
