/* base_test.c - memory, threads, random numbers, number types, tensors: what everything else stands on. */
#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xmmintrin.h>
#include "base/error.h"
#include "base/fpmode.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/thread.h"
#include "check.h"
#include "core/iter.h"

static void test_memory(void) {
  sn_mem_stats a, b;
  sn_mem_stat(&a);
  void *p = sn_alloc(1000);
  CHECK(p && (uintptr_t)p % 64 == 0);
  sn_release(p, 1000);
  void *q = sn_alloc(1000);
#if !defined(__SANITIZE_ADDRESS__)
  CHECK(q == p); /* reused at once */
#endif
  sn_release(q, 1000);
  sn_mem_stat(&b);
  CHECK(a.live == b.live);
  void *first = sn_take(100);
  sn_give(first, 100);
  void *second = sn_take(128);
#if !defined(__SANITIZE_ADDRESS__)
  CHECK(second == first); /* kept, for all sizes of its step */
#endif
  memset(second, 1, 128);
  sn_mem_stat(&a);
  CHECK(a.small == b.small + 1 && a.allocs >= b.allocs + 2);
  sn_give(second, 128);
  sn_mem_trim();
  sn_mem_stat(&a);
  CHECK(a.small == b.small);
  sn_mem_fail_after(0, false);
  CHECK(sn_take(64) == NULL);
  sn_mem_fail_after(0, false);
  CHECK(sn_alloc(64) == NULL && sn_error_code() == SN_ERROR_MEMORY);
  CHECK((p = sn_alloc(64)) != NULL); /* once */
  sn_release(p, 64);
  for (size_t n = 1; n < ((size_t)1 << 22); n = n * 3 / 2 + 1) {
    char *x = sn_alloc(n);
    CHECK(x != NULL);
    if (x) memset(x, 1, n);
    sn_release(x, n);
  }
  int64_t n;
  CHECK(sn_mul_sizes((int64_t[]){1 << 30, 1 << 30, 1 << 30}, 3, &n) < 0);
  CHECK(sn_mul_sizes((int64_t[]){1 << 30, 0, 1 << 30}, 3, &n) == 0 && n == 0);
}

static void mark(void *ctx, int64_t b, int64_t e, int w) {
  (void)w;
  int *p = ctx;
  for (int64_t i = b; i < e; i++) p[i]++;
}
static void nested(void *ctx, int64_t b, int64_t e, int w) {
  (void)w;
  for (int64_t i = b; i < e; i++) sn_parallel(100, 10, mark, (int *)ctx + i * 100);
}

/* Every element once, in pieces as many for one thread as for another, even and cut where they may be. */
typedef struct cuts { int64_t unit, n; _Atomic int64_t pieces, least, most, elements, bad; } cuts;
static void note_cut(void *ctx, int64_t b, int64_t e, int w) {
  (void)w;
  cuts *c = ctx;
  c->pieces++;
  c->elements += e - b;
  c->bad += b >= e || b % c->unit != 0 || (e != c->n && e % c->unit != 0);
  for (int64_t v = c->least; e - b < v && !atomic_compare_exchange_weak(&c->least, &v, e - b);) {}
  for (int64_t v = c->most; e - b > v && !atomic_compare_exchange_weak(&c->most, &v, e - b);) {}
}

static void test_pieces(void) {
  static const int64_t grains[] = {1, 2, 3, 5, 8, 24, 48, 64, 100, 1 << 14};
  for (int t = 2; t <= 5; t++) {
    sn_threads_set(t);
    for (int k = 0; k < 10; k++)
      for (int64_t n = 1; n < 400; n += n < 40 ? 1 : 23) {
        const int64_t grain = grains[k], all = grain * n / 8 + 1, low = grain & -grain;
        cuts c = {.unit = low < 64 ? low : 64, .n = all, .least = INT64_MAX};
        sn_parallel(all, grain, note_cut, &c);
        const bool fair = all <= grain ? c.pieces == 1 : c.pieces <= t || (c.pieces % t == 0 && c.pieces <= 4 * t);
        const bool even = c.most - c.least <= 2 * c.unit && (c.pieces == 1 || c.least + c.unit >= grain / 2);
        if (!fair || !even || c.bad || c.elements != all) printf("%d threads, %ld elements, grain %ld: %ld pieces of %ld to %ld\n", t, (long)all, (long)grain, (long)c.pieces, (long)c.least, (long)c.most);
        CHECK(fair && even && c.bad == 0 && c.elements == all);
      }
  }
  sn_threads_set(0);
}

static void test_threads(void) {
  static int seen[100000];
  for (int t = 1; t <= 8; t++) {
    CHECK(sn_threads_set(t) == 0);
    for (int round = 0; round < 200; round++) {
      memset(seen, 0, sizeof seen);
      sn_parallel(100000, 512, mark, seen);
      int bad = 0;
      for (int i = 0; i < 100000; i++) bad += seen[i] != 1;
      if (bad) { CHECK(bad == 0); break; }
    }
  }
  memset(seen, 0, sizeof seen);
  sn_parallel(100, 1, nested, seen);
  int bad = 0;
  for (int i = 0; i < 10000; i++) bad += seen[i] != 1;
  CHECK(bad == 0);
  CHECK(sn_threads_set(-1) < 0 && sn_threads_set(1000) < 0);
  const pid_t child = fork();
  if (child == 0) {
    memset(seen, 0, sizeof seen);
    sn_parallel(100000, 512, mark, seen);
    for (int i = 0; i < 100000; i++)
      if (seen[i] != 1) _exit(1);
    _exit(0);
  }
  int status = 1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  CHECK(sn_scratch_reserve(5000) == 0 && sn_scratch(0) != NULL);
  sn_threads_set(0);
}

typedef struct errand { int64_t sum, runs; int part[64]; } errand;

static void slow_sum(void *ctx, int64_t b, int64_t e, int w) {
  (void)w;
  for (int64_t i = b; i < e; i++) ((int *)ctx)[i % 64]++;
}
static void run_errand(void *ctx) {
  errand *d = ctx;
  memset(d->part, 0, sizeof d->part);
  sn_parallel(200000, 100, slow_sum, d->part); /* inside a job: here, alone */
  d->sum = 0;
  for (int i = 0; i < 64; i++) d->sum += d->part[i];
  d->runs++;
}

static void test_worker(void) {
  errand d = {0};
  static int seen[100000];
  sn_worker_free(NULL);
  sn_worker *w = sn_worker_new();
  sn_worker_wait(w); /* nothing was given */
  sn_threads_set(3);
  for (int i = 0; i < 300; i++) { /* beside jobs of the pool */
    sn_worker_give(w, run_errand, &d);
    memset(seen, 0, sizeof seen);
    sn_parallel(100000, 512, mark, seen);
    if (i % 3 == 0) usleep(300); /* the worker goes to sleep in between */
    sn_worker_wait(w);
    if (d.sum != 200000 || d.runs != i + 1) { CHECK(d.sum == 200000 && d.runs == i + 1); break; }
  }
  sn_worker_give(w, run_errand, &d);
  const pid_t child = fork(); /* perhaps in the midst of the job */
  if (child == 0) {
    sn_worker_wait(w);
    const bool first = d.sum == 200000;
#if !defined(__SANITIZE_THREAD__) /* which takes the child's new thread for the one that was left behind */
    d.sum = 0;
    sn_worker_give(w, run_errand, &d);
    sn_worker_wait(w);
#endif
    const bool second = d.sum == 200000;
    sn_worker_free(w);
    _exit(first && second ? 0 : 1);
  }
  int status = 1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  sn_worker_free(w); /* waits for the job */
  CHECK(d.sum == 200000 && d.runs == 301);
  sn_threads_set(0);
}

static void test_random(void) {
  uint32_t r[4];
  sn_philox(0, 0, r); /* known answers of Random123 for Philox4x32-10 */
  CHECK(r[0] == 0x6627e8d5u && r[1] == 0xe169c58du && r[2] == 0xbc57ac4cu && r[3] == 0x9b00dbd8u);
  sn_rng g = {7, 0}, h = {7, 0};
  CHECK(sn_rng_u64(&g) == sn_rng_u64(&h) && g.position == h.position);
  for (int i = 0; i < 1000; i++) CHECK(sn_rng_below(&g, 7) < 7);
}

static void test_dtypes(void) {
  for (uint32_t h = 0; h < 65536; h++) {
    const float f = sn_f16_to_f32((uint16_t)h);
    if (f == f && sn_f32_to_f16(f) != h) CHECK(sn_f32_to_f16(f) == h);
    const float b = sn_bf16_to_f32((uint16_t)h);
    if (b == b && sn_f32_to_bf16(b) != h) CHECK(sn_f32_to_bf16(b) == h);
  }
  CHECK(sn_f32_to_f16(65520.0f) == 0x7C00 && sn_f32_to_f16(65519.0f) == 0x7BFF);
  CHECK(sn_f32_to_f16(1.0f + 0x1p-11f) == 0x3C00); /* ties to even */
  CHECK(sn_dtype_promote(SN_U8, SN_I64) == SN_I64 && sn_dtype_promote(SN_F16, SN_BF16) == SN_F32);
  CHECK(sn_dtype_promote(SN_I64, SN_F16) == SN_F16 && sn_dtype_promote(SN_BOOL, SN_U8) == SN_U8);
  int64_t i;
  sn_store_double(&i, SN_I64, NAN);
  CHECK(i == 0);
  sn_store_double(&i, SN_I64, 1e300);
  CHECK(i == INT64_MAX);
}

static void test_mode(void) {
  const unsigned before = _mm_getcsr();
  const sn_fpmode m = sn_fp_enter(SN_FP_FLUSH);
  volatile float tiny = 1e-38f, half = 0.01f;
  CHECK(tiny * half == 0);
  sn_fp_leave(m);
  CHECK((_mm_getcsr() & ~0x3Fu) == (before & ~0x3Fu));
  CHECK(tiny * half != 0);
}

static snt_tensor *range(int ndim, const int64_t *shape) {
  snt_tensor *x = snt_new(SN_F32, ndim, shape);
  for (int64_t i = 0; i < snt_numel(x); i++) ((float *)snt_data(x))[i] = (float)i;
  return x;
}

static void test_tensors(void) {
  snt_tensor *x = range(2, (int64_t[]){3, 4}), *t = snt_permute(x, (int[]){1, 0});
  CHECK(!snt_is_contiguous(t) && snt_is_contiguous(x));
  snt_tensor *c = snt_contiguous(t);
  CHECK(((float *)snt_data(c))[1] == 4 && ((float *)snt_data(c))[3] == 1);
  CHECK(snt_reshape_view(t, 1, (int64_t[]){12}) == NULL);
  snt_tensor *r = snt_reshape_view(x, 3, (int64_t[]){3, 2, 2});
  CHECK(r && r->stride[0] == 4 && r->stride[1] == 2);
  snt_tensor *e = snt_expand(x, 3, (int64_t[]){2, -1, -1});
  CHECK(e && e->stride[0] == 0 && snt_has_internal_overlap(e) && snt_copy(e, x) < 0);
  snt_tensor *a = snt_narrow(x, 1, 0, 3, 1), *b = snt_narrow(x, 1, 1, 3, 1);
  CHECK(snt_copy(b, a) == 0 && ((float *)snt_data(x))[3] == 2); /* overlapping */
  char *s = snt_to_string(x);
  CHECK(s && strstr(s, "[float32 3x4]"));
  sn_free(s);
  int64_t out[SNT_MAXDIM];
  CHECK(snt_broadcast(2, (int64_t[]){3, 1}, 1, (int64_t[]){4}, out, "t") == 2 && out[0] == 3 && out[1] == 4);
  CHECK(snt_broadcast(1, (int64_t[]){3}, 1, (int64_t[]){4}, out, "t") < 0 && strstr(sn_error_message(), "do not go together"));
  CHECK(snt_new(SN_F32, 2, (int64_t[]){(int64_t)1 << 40, (int64_t)1 << 40}) == NULL);
  snt_close(r);
  CHECK(r->storage == NULL);
  snt_tensor *all[] = {x, t, c, r, e, a, b};
  for (int i = 0; i < 7; i++) snt_release(all[i]);
  snt_tensor *big = range(2, (int64_t[]){301, 257}), *bt = snt_permute(big, (int[]){1, 0}), *bc = snt_contiguous(bt);
  int bad = 0;
  for (int i = 0; i < 257; i++)
    for (int j = 0; j < 301; j++) bad += ((float *)snt_data(bc))[i * 301 + j] != (float)(j * 257 + i);
  CHECK(bad == 0);
  snt_release(big);
  snt_release(bt);
  snt_release(bc);
}

int main(void) {
  test_memory();
  test_threads();
  test_pieces();
  test_worker();
  test_random();
  test_dtypes();
  test_mode();
  test_tensors();
  sn_mem_stats m;
  sn_mem_stat(&m);
  CHECK(m.small == 0);
  return CHECK_DONE();
}
