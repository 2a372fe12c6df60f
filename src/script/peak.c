/* peak.c - measures what the machine can do at most, for slugnet bench. */
#include <string.h>
#include "base/clock.h"
#include "base/fpmode.h"
#include "base/thread.h"
#include "calc/peak.h"
#include "script/script.h"

enum { NUMBERS = 1 << 20, TURNS = 40000 }; /* arrays of 4 MB, as the bench's operations have them; about a millisecond of multiply-adds */

typedef struct job { const snk_peak_type *t; char *x, *y; double sum[SN_MAX_THREADS]; } job;

static void run_fma(void *ctx, int64_t begin, int64_t end, int worker) {
  job *j = ctx;
  const float f[2] = {0.5f, 1};
  const double d[2] = {0.5, 1};
  for (; begin < end; begin++) j->sum[worker] += j->t->fma(TURNS, j->t == &snk_peak_now()->f32 ? (const void *)f : d);
}

static void run_read(void *ctx, int64_t begin, int64_t end, int worker) {
  job *j = ctx;
  j->sum[worker] += j->t->read(j->x + begin * 4, end - begin);
}

static void run_copy(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  job *j = ctx;
  j->t->copy(j->y + begin * 4, j->x + begin * 4, end - begin);
}

/* The best time of many runs, in seconds. */
static double best(job *j, sn_task *fn, int64_t n, int64_t grain, double seconds) {
  const int64_t stop = sn_clock_ns() + (int64_t)(seconds * 1e9);
  int64_t least = INT64_MAX;
  for (int k = 0; k < 5 || sn_clock_ns() < stop; k++) {
    const int64_t t = sn_clock_ns();
    sn_parallel(n, grain, fn, j);
    const int64_t took = sn_clock_ns() - t;
    if (took < least) least = took;
  }
  return (double)least * 1e-9;
}

static void set(lua_State *L, const char *key, double v) {
  lua_pushnumber(L, v * 1e-9);
  lua_setfield(L, -2, key);
}

/* peaks(seconds=0.1): a table of what the threads in use reach together, at best: fma and fma64 in GFLOP/s, read and copy in GB/s (a number
 * copied is moved twice). Each takes a quarter of the time. */
int snl_peaks(lua_State *L) {
  const double seconds = luaL_optnumber(L, 1, 0.1) / 4;
  const snk_peak *k = snk_peak_now();
  job j = {.t = &k->f32};
  char *room = lua_newuserdatauv(L, (size_t)NUMBERS * 8 + 64, 0);
  j.x = room + (64 - (uintptr_t)room % 64);
  j.y = j.x + (size_t)NUMBERS * 4;
  memset(j.x, 0, (size_t)NUMBERS * 8);
  const int threads = sn_threads();
  const int64_t bytes = (int64_t)NUMBERS * 4, grain = 1 << 14; /* as the elementwise kernels cut their rows */
  const sn_fpmode mode = sn_fp_enter(SN_FP_FLUSH);
  const double read = best(&j, run_read, NUMBERS, grain, seconds), copy = best(&j, run_copy, NUMBERS, grain, seconds);
  const double f32 = best(&j, run_fma, threads, 1, seconds);
  j.t = &k->f64;
  const double f64 = best(&j, run_fma, threads, 1, seconds);
  sn_fp_leave(mode);
  lua_createtable(L, 0, 4);
  set(L, "fma", (double)(threads * TURNS * k->f32.flops) / f32);
  set(L, "fma64", (double)(threads * TURNS * k->f64.flops) / f64);
  set(L, "read", (double)bytes / read);
  set(L, "copy", (double)(2 * bytes) / copy);
  return 1;
}
