/* gemm.c - cutting matrix products into pieces for the threads, the plain reference loops, and products of integers. */
#include <assert.h>
#include <math.h>
#include <string.h>
#include "base/dtype.h"
#include "base/thread.h"
#include "calc/cast.h"
#include "calc/gemm.h"

typedef struct gemm_job {
  snk_gemm_args g;
  const snk_gemm_type *type;
  int64_t tm, tn, pieces; /* pieces of one matrix along M and N; in all */
} gemm_job;

static void run_pieces(void *ctx, int64_t begin, int64_t end, int worker) {
  const gemm_job *w = ctx;
  const snk_gemm_args *g = &w->g;
  const int64_t size = g->f64 ? 8 : 4, as = g->narrow & SNK_GEMM_A ? 2 : size, bs = g->narrow & SNK_GEMM_B ? 2 : size, cs = g->narrow & SNK_GEMM_C ? 2 : size;
  for (int64_t p = begin; p < end; p++) {
    int64_t tile = p % (w->tm * w->tn), batch = p / (w->tm * w->tn), left = batch;
    int64_t ao = 0, bo = 0, co = 0;
    for (int d = g->nbatch - 1; d >= 0; d--) {
      int64_t i = left % g->batch[d];
      left /= g->batch[d];
      ao += i * g->abatch[d], bo += i * g->bbatch[d], co += i * g->cbatch[d];
    }
    int64_t ti = tile % w->tm, tj = tile / w->tm;
    int64_t m0 = sn_cut(g->m, w->tm, ti, w->type->mr), m1 = sn_cut(g->m, w->tm, ti + 1, w->type->mr);
    int64_t n0 = sn_cut(g->n, w->tn, tj, w->type->nr), n1 = sn_cut(g->n, w->tn, tj + 1, w->type->nr);
    if (m0 >= m1 || n0 >= n1) continue;
    w->type->block(g, (const char *)g->a + ao * as, g->b ? (const char *)g->b + bo * bs : NULL, (char *)g->c + co * cs, batch, m0, m1, n0, n1,
                   sn_scratch(worker));
  }
}

/* C' = B' A': the same products in the same order. */
static void swap_operands(snk_gemm_args *g) {
  snk_gemm_args o = *g;
  g->m = o.n, g->n = o.m;
  g->a = o.b, g->ars = o.bcs, g->acs = o.brs;
  g->b = o.a, g->brs = o.acs, g->bcs = o.ars;
  g->crs = o.ccs, g->ccs = o.crs;
  g->round_a = o.round_b, g->round_b = false;
  memcpy(g->abatch, o.bbatch, sizeof o.bbatch);
  memcpy(g->bbatch, o.abatch, sizeof o.abatch);
  if (o.bias_kind) g->bias_kind = o.bias_kind == SNK_BIAS_ROW ? SNK_BIAS_COL : SNK_BIAS_ROW;
}

typedef struct swapped_hook { snk_gemm_hook *hook; void *ctx; } swapped_hook;
static void call_swapped(void *ctx, void *c, int64_t rs, int64_t cs, int64_t i0, int64_t j0, int64_t m, int64_t n) {
  const swapped_hook *h = ctx;
  h->hook(h->ctx, c, cs, rs, j0, i0, n, m);
}

/* ---- one row or one column of C */

bool snk_gemm_dots(const snk_gemm_args *g) {
  return !g->packed && !g->pack && (g->m == 1 || g->n == 1) && g->k >= 32;
}

bool snk_gemm_halves(const snk_gemm_args *g) {
  /* below, packing and empty rows of tiles outweigh the product: AMX's is quicker, floats' as long again as AVX512-BF16's */
  enum { LEAST_AMX = 4, LEAST = 32, LEAST_K = 16, WORK = 16384 };
  const int64_t least = g->m < g->n ? g->m : g->n;
  return g->half && !g->f64 && !g->pack && least >= LEAST_AMX && g->k >= LEAST_K && g->m * g->n * g->k >= WORK && sn_halves() && (least >= LEAST || sn_amx());
}

/* Does A have so many zeros that leaving out their terms is faster? It changes no sum unless a number of B is not finite, which is not looked at here. */
static bool many_zeros(const snk_gemm_args *g) {
  enum { LEAST = 1 << 18, LINES = 8, FULL = 70 }; /* a smaller product is over before that is found out; tiles are as fast when 75 % are full (measured) */
  const snk_gemm_type *type = &snk_gemm_now()->f32;
  const int64_t lanes = type->nr / 2;
  if (g->f64 || type->skip_count == NULL || g->ars != 1 || g->bcs != 1 || g->ccs != 1 || g->nbatch > 0 || g->packed || g->pack || g->hook) return false;
  if (g->bias_kind || g->act || g->accumulate || g->round || g->round_a || g->round_b || snk_gemm_halves(g)) return false;
  if (g->n % lanes != 0 || g->n < SNK_GEMM_STRIP * lanes || g->n > SNK_GEMM_SKIP || g->k > SNK_GEMM_DEEP || g->m * g->n * g->k < LEAST) return false;
  const int64_t each = (g->k + LINES - 1) / LINES; /* of so many lines of A one is looked at */
  int64_t seen = 0, full = 0;
  for (int64_t k = 0; k < g->k; k += each, seen += g->m) full += type->skip_count((const float *)g->a + k * g->acs, g->m);
  return full * 100 <= seen * FULL;
}

bool snk_gemm_narrow(const snk_gemm_args *g, int operand) {
  if (!snk_gemm_halves(g) || snk_gemm_dots(g) || g->crs == 1 || g->ccs != 1) return false; /* and nothing is swapped */
  if (operand == SNK_GEMM_A) return g->ars == 1 || g->acs == 1;
  if (operand == SNK_GEMM_B) return !g->packed && !g->round_b && (g->brs == 1 || g->bcs == 1);
  return !g->accumulate && !g->hook;
}

static const snk_gemm_type *type_of(const snk_gemm_args *g) {
#if defined(__x86_64__)
  if (snk_gemm_halves(g)) return &snk_gemm_half;
#endif
  return g->f64 ? &snk_gemm_now()->f64 : &snk_gemm_now()->f32;
}

enum { DOTS = 64 }; /* rows at a time */

typedef struct dots_job { const snk_gemm_args *g; const snk_gemm_type *type; int64_t rows, each; } dots_job;

#define FINISH_DOTS(T)                                                                                   \
  do {                                                                                                   \
    const T *bias = g->bias, *sum = (const T *)(const void *)out;                                        \
    for (int64_t i = 0; i < n; i++) {                                                                    \
      T v = sum[i], *to = (T *)g->c + co + (r + i) * step;                                               \
      if (g->bias_kind) v = v + bias[(g->bias_kind == SNK_BIAS_COL) == (g->m == 1) ? r + i : 0];         \
      if (g->accumulate) v = *to + v;                                                                    \
      if (g->act == SNK_ACT_RELU) v = ((T)0 > v ? (T)0 : v) + (T)0;                                               \
      if (g->round) v = (T)sn_bf16_to_f32(sn_f32_to_bf16((float)v));                                     \
      *to = v;                                                                                           \
    }                                                                                                    \
  } while (0)

static void run_dots(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const dots_job *w = ctx;
  const snk_gemm_args *g = w->g;
  const int64_t size = g->f64 ? 8 : 4, step = g->m == 1 ? g->ccs : g->crs;
  const int64_t ld = g->m == 1 ? g->bcs : g->ars, ks = g->m == 1 ? g->brs : g->acs, xs = g->m == 1 ? g->acs : g->brs;
  double out[DOTS];
  for (int64_t p = begin; p < end; p++) {
    int64_t left = p / w->each, r = p % w->each * DOTS, ao = 0, bo = 0, co = 0;
    for (int d = g->nbatch - 1; d >= 0; d--) {
      int64_t i = left % g->batch[d];
      left /= g->batch[d];
      ao += i * g->abatch[d], bo += i * g->bbatch[d], co += i * g->cbatch[d];
    }
    const int64_t n = w->rows - r < DOTS ? w->rows - r : DOTS;
    const char *a = (const char *)g->a + ao * size, *b = (const char *)g->b + bo * size;
    w->type->dots(g->k, n, (g->m == 1 ? b : a) + r * ld * size, ld, ks, g->m == 1 ? a : b, xs, out);
    if (g->f64) FINISH_DOTS(double);
    else FINISH_DOTS(float);
    if (g->hook) g->hook(g->hook_ctx, (char *)g->c + (co + r * step) * size, g->crs, g->ccs, g->m == 1 ? 0 : r, g->m == 1 ? r : 0, g->m == 1 ? 1 : n, g->m == 1 ? n : 1);
  }
}

static void dots(const snk_gemm_args *g, const snk_gemm_type *type, int64_t batches) {
  dots_job w = {g, type, g->m == 1 ? g->n : g->m, 0};
  w.each = (w.rows + DOTS - 1) / DOTS;
  const int64_t grain = 1 + 400000 / (DOTS * (g->k + 1)); /* less is not worth waking a thread */
  sn_parallel(batches * w.each, grain, run_dots, &w);
}

void snk_gemm_run(const snk_gemm_args *args) {
  gemm_job w = {.g = *args};
  snk_gemm_args *g = &w.g;
  int64_t batches = 1;
  for (int d = 0; d < g->nbatch; d++) batches *= g->batch[d];
  if (g->m == 0 || g->n == 0 || batches == 0) return;
  assert(g->crs == 1 || g->ccs == 1 || g->m == 1 || g->n == 1);
  w.type = type_of(g);
  const bool halves = snk_gemm_halves(g);
  if (snk_gemm_dots(g)) {
    assert(!g->round_b);
    dots(g, w.type, batches);
    return;
  }
  swapped_hook hook = {g->hook, g->hook_ctx};
  bool fixed_b = g->packed || g->pack;
  /* the vectors run along N: C should lie that way; with few rows, so should B */
  bool swap = !fixed_b && g->ccs != 1;
  if (!fixed_b && !halves && g->ccs == 1 && g->bcs != 1 && g->n < w.type->nr / 2 && g->m >= w.type->nr / 2) swap = true;
  if (!fixed_b && !halves && g->ccs == 1 && g->bcs != 1 && g->m >= w.type->nr / 2 && g->m <= 4 * w.type->nr && g->n >= 2 * g->m) swap = true;
  if (swap) {
    swap_operands(g);
    if (g->hook) g->hook = call_swapped, g->hook_ctx = &hook;
  }
  g->skips = many_zeros(g) && w.type->skip_pack(g->n, g->k, g->b, g->brs, NULL);
  w.tm = w.tn = 1;
  int threads = sn_threads();
  double work = (double)g->m * (double)g->n * (double)(g->k > 0 ? g->k : 1);
  if (halves) work /= 4; /* of a small product most is packing */
  if (threads > 1 && batches < threads && work * (double)batches > 2e5) {
    int64_t parts = (threads + batches - 1) / batches;
    if ((double)parts > work * (double)batches / 1e5) parts = (int64_t)(work * (double)batches / 1e5);
    if (g->skips || (g->m >= g->n && g->m >= parts * w.type->mr)) w.tm = parts; /* strips have a least width */
    else if (g->n >= parts * w.type->nr) w.tn = parts;
    else if (g->m >= parts * 2) w.tm = parts;
  }
  w.pieces = w.tm * w.tn * batches;
  int64_t grain = (int64_t)(1e5 / (work / (double)(w.tm * w.tn)));
  sn_parallel(w.pieces, grain < 1 ? 1 : grain, run_pieces, &w);
}

size_t snk_gemm_packed_for(const snk_gemm_args *g) { return (size_t)type_of(g)->packed_bytes(g->n, g->k); }
void snk_gemm_pack_for(const snk_gemm_args *g, void *dst) { type_of(g)->pack_b(g->n, g->k, g->b, g->brs, g->bcs, dst); }

size_t snk_gemm_packed_bytes(bool f64, int64_t n, int64_t k) { return snk_gemm_packed_for(&(snk_gemm_args){.f64 = f64, .n = n, .k = k}); }
void snk_gemm_pack_b(bool f64, int64_t n, int64_t k, const void *b, int64_t brs, int64_t bcs, void *dst) {
  snk_gemm_pack_for(&(snk_gemm_args){.f64 = f64, .n = n, .k = k, .b = b, .brs = brs, .bcs = bcs}, dst);
}

/* ---- rows that are not kept */

enum { BRIEF_K = 64 }; /* with no more K than that B is read as it lies */

typedef struct rows_job {
  const snk_gemm_args *g;
  const snk_gemm_type *type;
  int64_t each;
  void *room;
  snk_gemm_take *take;
  void *ctx;
  bool packed[SN_MAX_THREADS]; /* zeros are left out: this worker has its strips of B */
} rows_job;

/* At the end of a worker's scratch: its rows, and before them its strips. */
static char *rows_of(int worker) { return (char *)sn_scratch(worker) + SNK_GEMM_SCRATCH - SNK_GEMM_ROWS; }
static float *strips_of(int worker) { return (float *)(void *)rows_of(worker) - SNK_GEMM_SKIP * SNK_GEMM_DEEP; }

static void run_rows(void *ctx, int64_t begin, int64_t end, int worker) {
  rows_job *r = ctx;
  const int64_t size = r->g->f64 ? 8 : 4;
  char *c = rows_of(worker);
  if (r->g->skips && !r->packed[worker]) {
    r->type->skip_pack(r->g->n, r->g->k, r->g->b, r->g->brs, strips_of(worker));
    r->packed[worker] = true;
  }
  for (int64_t p = begin; p < end; p++) {
    snk_gemm_args g = *r->g;
    if (g.skips) g.packed = strips_of(worker);
    const int64_t first = p * r->each, rows = g.m - first < r->each ? g.m - first : r->each;
    for (int q = 0; q < 3 && g.beside[q]; q++) g.beside[q] = (const char *)g.beside[q] + first * g.n * size;
    r->type->block(&g, (const char *)g.a + first * g.ars * size, g.b, c, 0, 0, rows, 0, g.n, sn_scratch(worker));
    r->take(r->ctx, c, first, rows);
  }
}

static void pack_panels(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const rows_job *r = ctx;
  const snk_gemm_args *g = r->g;
  const int64_t size = g->f64 ? 8 : 4, j0 = begin * r->type->nr, j1 = end * r->type->nr < g->n ? end * r->type->nr : g->n;
  r->type->pack_b(j1 - j0, g->k, (const char *)g->b + j0 * g->bcs * size, g->brs, g->bcs, (char *)r->room + r->type->packed_bytes(j0, g->k));
}

size_t snk_gemm_rows_room(bool f64, int64_t n, int64_t k) { return (size_t)((n + 63) / 64 * 64 * k) * (f64 ? 8 : 4); }

void snk_gemm_rows(const snk_gemm_args *args, void *room, snk_gemm_take *take, void *ctx) {
  snk_gemm_args g = *args;
  rows_job r = {.g = &g, .type = type_of(args), .room = room, .take = take, .ctx = ctx};
  assert(g.n <= SNK_GEMM_TAKEN && g.k <= SNK_GEMM_DEEP && SNK_GEMM_DEEP <= r.type->kc && g.nbatch == 0 && !g.accumulate);
  g.crs = g.n, g.ccs = 1;
  /* B as strips is for each worker to make: it takes a few microseconds, and fetching it from the cache of another core takes more */
  r.packed[0] = sn_threads() == 1;
  g.skips = many_zeros(&g) && r.type->skip_pack(g.n, g.k, g.b, g.brs, r.packed[0] ? strips_of(0) : NULL);
  if (!g.skips && (g.k > BRIEF_K || g.bcs != 1 || snk_gemm_halves(args))) {
    sn_parallel((g.n + r.type->nr - 1) / r.type->nr, 1 + 50000 / (r.type->nr * g.k), pack_panels, &r);
    g.packed = room;
  }
  r.each = r.type->mr < 24 ? 2 * r.type->mr : r.type->mr;
  const double work = (double)(r.each * g.n) * (double)(g.k + 1);
  sn_parallel((g.m + r.each - 1) / r.each, 1 + (int64_t)(1e5 / work), run_rows, &r);
}

/* ---- reference */

/* As AMX sums (calc/amx.h): for every 32 numbers the even ones' chain plus the odd ones'; or AVX512-BF16 (calc/half.h): one chain, of every two
 * numbers the second first. */
static float sum_of_halves(const snk_gemm_args *g, const float *a, const float *b, int64_t i, int64_t j) {
  const bool amx = sn_amx();
  float sum = 0, part[2] = {0, 0};
  for (int64_t q = 0; q < (g->k + 1) / 2 * 2; q++) {
    const int64_t k = amx ? q : q ^ 1;
    float *to = amx ? &part[k & 1] : &sum;
    if (k < g->k) *to = fmaf(sn_bf16_to_f32(sn_f32_to_bf16(a[i * g->ars + k * g->acs])), sn_bf16_to_f32(sn_f32_to_bf16(b[k * g->brs + j * g->bcs])), *to);
    if (q % 32 == 31) sum += part[0] + part[1], part[0] = part[1] = 0;
  }
  return sum + (part[0] + part[1]);
}
#define NOT_HALVES(g, a, b, i, j) 0
#define PLAIN(NAME, T, FMA, HALVES)                                                                                               \
  static void NAME(const snk_gemm_args *g, const T *a, const T *b, T *c, int64_t kcmax, bool fused) {                             \
    const int64_t kb = snk_gemm_kblock(g->k, kcmax), lanes = (g->f64 ? snk_gemm_now()->f64 : snk_gemm_now()->f32).nr;             \
    const T *bias = g->bias;                                                                                                      \
    const bool halves = snk_gemm_halves(g);                                                                                       \
    for (int64_t i = 0; i < g->m; i++)                                                                                            \
      for (int64_t j = 0; j < g->n; j++) {                                                                                        \
        T sum = 0;                                                                                                                \
        if (snk_gemm_dots(g)) {                                                                                                   \
          T lane[64] = {0};                                                                                                       \
          for (int64_t k = 0; k < g->k; k++) {                                                                                    \
            T x = a[i * g->ars + k * g->acs], y = b[k * g->brs + j * g->bcs];                                                     \
            lane[k % lanes] = fused ? FMA(x, y, lane[k % lanes]) : x * y + lane[k % lanes];                                       \
          }                                                                                                                       \
          for (int64_t h = lanes / 2; h > 0; h /= 2)                                                                              \
            for (int64_t l = 0; l < h; l++) lane[l] += lane[l + h];                                                               \
          sum = lane[0];                                                                                                          \
        } else if (halves) sum = HALVES(g, a, b, i, j);                                                                           \
        else for (int64_t k0 = 0; k0 < g->k; k0 += kb) {                                                                          \
          T part = 0;                                                                                                             \
          for (int64_t k = k0; k < g->k && k < k0 + kb; k++) {                                                                    \
            T x = a[i * g->ars + k * g->acs], y = b[k * g->brs + j * g->bcs];                                                     \
            if (g->round_b) y = (T)sn_bf16_to_f32(sn_f32_to_bf16((float)y));                                                      \
            part = fused ? FMA(x, y, part) : x * y + part;                                                                        \
          }                                                                                                                       \
          sum = k0 == 0 ? part : sum + part;                                                                                      \
        }                                                                                                                         \
        if (g->bias_kind) sum = sum + (g->bias_kind == SNK_BIAS_ROW ? bias[i] : bias[j]);                                         \
        T *to = c + i * g->crs + j * g->ccs;                                                                                      \
        if (g->accumulate) sum = *to + sum;                                                                                       \
        if (g->act == SNK_ACT_RELU) sum = ((T)0 > sum ? (T)0 : sum) + (T)0;                                                                \
        if (g->round) sum = (T)sn_bf16_to_f32(sn_f32_to_bf16((float)sum));                                                        \
        *to = sum;                                                                                                                \
      }                                                                                                                           \
  }
PLAIN(plain_f32, float, fmaf, sum_of_halves)
PLAIN(plain_f64, double, fma, NOT_HALVES)

void snk_gemm_plain(const snk_gemm_args *g) {
  int64_t batches = 1;
  for (int d = 0; d < g->nbatch; d++) batches *= g->batch[d];
  for (int64_t q = 0; q < batches; q++) {
    int64_t ao = 0, bo = 0, co = 0, left = q;
    for (int d = g->nbatch - 1; d >= 0; d--) {
      int64_t i = left % g->batch[d];
      left /= g->batch[d];
      ao += i * g->abatch[d], bo += i * g->bbatch[d], co += i * g->cbatch[d];
    }
    const snk_gemm *t = snk_gemm_now();
    if (g->f64) plain_f64(g, (const double *)g->a + ao, (const double *)g->b + bo, (double *)g->c + co, t->f64.kc, t->f64.fused);
    else plain_f32(g, (const float *)g->a + ao, (const float *)g->b + bo, (float *)g->c + co, t->f32.kc, t->f32.fused);
  }
}

/* ---- integers, in words of 64 bits, whose last bits are those of narrower ones. A block of B lies row behind row, whatever layout it had. */

enum { INT_DEEP = 64, INT_WIDE = 128 };
typedef struct int_job {
  sn_dtype type;
  int64_t n, k, ars, acs, brs, bcs, crs, ccs; /* strides in bytes */
  const char *a, *b;
  char *c;
} int_job;

static void int_rows(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const int_job *g = ctx;
  _Alignas(64) uint64_t b[INT_DEEP * INT_WIDE], a[INT_DEEP] = {0}, sum[INT_WIDE];
  for (int64_t j = 0; j < g->n; j += INT_WIDE)
    for (int64_t l = 0; l == 0 || l < g->k; l += INT_DEEP) {
      const int64_t n = g->n - j < INT_WIDE ? g->n - j : INT_WIDE, k = g->k - l < INT_DEEP ? g->k - l : INT_DEEP;
      const int64_t wide = (n + 7) / 8 * 8, deep = (k + 1) / 2 * 2;
      memset(b, 0, (size_t)(deep * wide) * sizeof *b);
      for (int64_t q = 0; q < k; q++) snk_cast_row(n, (char *)(b + q * wide), 8, SN_I64, g->b + (l + q) * g->brs + j * g->bcs, g->bcs, g->type);
      for (int64_t i = begin; i < end; i++) {
        char *c = g->c + i * g->crs + j * g->ccs;
        snk_cast_row(k, (char *)a, 8, SN_I64, g->a + i * g->ars + l * g->acs, g->acs, g->type);
        memset(sum, 0, sizeof sum);
        if (l > 0) snk_cast_row(n, (char *)sum, 8, SN_I64, c, g->ccs, g->type);
        snk_gemm_now()->ints(wide, deep, a, b, sum);
        snk_cast_row(n, c, g->ccs, g->type, (const char *)sum, 8, SN_I64);
      }
    }
}

void snk_gemm_int(int dtype, int64_t m, int64_t n, int64_t k, const void *a, int64_t ars, int64_t acs, const void *b, int64_t brs, int64_t bcs,
                  void *c, int64_t crs, int64_t ccs) {
  const int64_t size = (int64_t)sn_size_of((sn_dtype)dtype), work = n * (k + 1);
  int_job g = {.type = dtype == SN_BOOL ? SN_U8 : (sn_dtype)dtype, .n = n, .k = k, .ars = ars * size, .acs = acs * size, .brs = brs * size, .bcs = bcs * size,
               .crs = crs * size, .ccs = ccs * size, .a = a, .b = b, .c = c};
  sn_parallel(m, 16 + 65536 / (work > 0 ? work : 1), int_rows, &g);
}
