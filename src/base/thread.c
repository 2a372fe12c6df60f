/* thread.c - the pool, and workers beside it.
 *
 * A job is published by raising `ticket`; workers spin on it for a fifth of a millisecond, then sleep on a futex. Every worker has a share of
 * neighbouring pieces, and the same share of every job of that size: what it wrote is still in its core's cache when the next job reads it.
 * Who has finished his share helps with the others'. What a piece computes does not depend on who takes it. Nobody waits for a worker that has not
 * come: the submitter closes the job when every piece is taken and waits for those inside, so that a processor busy with other work costs nothing.
 */
#include "base/thread.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/error.h"
#include "base/fpmode.h"
#include "base/mem.h"

#define OPEN ((uint64_t)1 << 31)
#define INSIDE (OPEN - 1)

typedef struct share { _Alignas(64) _Atomic int64_t next; int64_t end; } share; /* pieces; in cache lines apart */

typedef struct pool {
  _Atomic uint32_t ticket;     /* raised once per job */
  _Atomic uint32_t sleepers;
  _Atomic uint64_t gate;       /* ticket << 32, OPEN while pieces may be left, and how many workers are in the job */
  share of[SN_MAX_THREADS];    /* pieces of each worker that takes part */
  _Atomic uint32_t finished;   /* ticket whose last worker left after the job was closed: the submitter sleeps on it */
  sn_task *fn;
  void *ctx;
  int64_t n, unit, pieces;     /* elements; what pieces are made of */
  int use;                     /* workers that take part, the caller included */
  sn_fpmode mode;
  int started;                 /* worker threads running */
  uint32_t from[SN_MAX_THREADS]; /* the ticket that stood when a worker was made: it waits for the next */
  pthread_t thread[SN_MAX_THREADS];
} pool;

static pool P;
static _Atomic int busy;               /* one job at a time */
static _Atomic int wanted;             /* threads to use; 0: not yet asked */
static _Thread_local bool inside;      /* in a job: nested calls run themselves */
static char *scratch_of[SN_MAX_THREADS];
static size_t scratch_size[SN_MAX_THREADS];
static _Atomic size_t scratch_ready;   /* every worker in use has this much */
static _Atomic size_t scratch_need;    /* the most that was ever reserved */
static _Thread_local char *own_scratch; /* a caller that did not get the pool */
static _Thread_local size_t own_size;

static void futex_wait(_Atomic uint32_t *a, uint32_t value) { syscall(SYS_futex, a, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0); }
static void futex_wake(_Atomic uint32_t *a) { syscall(SYS_futex, a, FUTEX_WAKE_PRIVATE, 0x7FFFFFFF, NULL, NULL, 0); }

/* Waits a moment; false once that has taken some 200 microseconds since the first time, which `since`, 0 at first, remembers. Turns are not counted where
 * there is a clock to read: a pause takes 140 cycles on some processors and 40 on others. */
static bool patient(uint64_t *since) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
  const uint64_t now = __builtin_ia32_rdtsc();
  if (*since == 0) *since = now;
  return now - *since < 500000;
#else
  return ++*since < 4000;
#endif
}

/* ---- how many */

static int quota(void) {
  FILE *f = fopen("/sys/fs/cgroup/cpu.max", "r");
  long long q = -1, period = 100000;
  if (f) {
    if (fscanf(f, "%lld %lld", &q, &period) < 1) q = -1;
    fclose(f);
  } else if ((f = fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "r"))) {
    if (fscanf(f, "%lld", &q) < 1) q = -1;
    fclose(f);
  }
  return q > 0 && period > 0 ? (int)((q + period - 1) / period) : SN_MAX_THREADS;
}

int sn_threads_available(void) {
  cpu_set_t set;
  int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  const int q = quota();
  if (n > q) n = q;
  return n < 1 ? 1 : n > SN_MAX_THREADS ? SN_MAX_THREADS : n;
}

int sn_threads(void) {
  int n = atomic_load_explicit(&wanted, memory_order_relaxed);
  if (n) return n;
  const char *e = getenv("SLUGNET_THREADS");
  n = e ? atoi(e) : 0;
  if (n < 1 || n > SN_MAX_THREADS) n = sn_threads_available();
  atomic_store(&wanted, n);
  return n;
}

int sn_threads_set(int n) {
  if (n < 0 || n > SN_MAX_THREADS) return sn_fail("threads: %d given, 1 to %d are possible (0 for this machine's default)", n, SN_MAX_THREADS);
  atomic_store(&wanted, n ? n : sn_threads_available());
  atomic_store(&scratch_ready, 0); /* perhaps more workers: what was reserved holds for them too */
  return sn_scratch_reserve(atomic_load(&scratch_need));
}

/* ---- workers */

static void take_pieces(int worker) {
  for (int k = 0; k < P.use; k++) {
    share *s = &P.of[(worker + k) % P.use];
    for (;;) {
      const int64_t i = atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed);
      if (i >= s->end) break;
      P.fn(P.ctx, sn_cut(P.n, P.pieces, i, P.unit), sn_cut(P.n, P.pieces, i + 1, P.unit), worker);
    }
  }
}

static void *work(void *arg) {
  const int me = (int)(intptr_t)arg;
  inside = true;
  uint32_t seen = P.from[me];
  for (;;) {
    uint32_t t;
    uint64_t since = 0;
    while ((t = atomic_load_explicit(&P.ticket, memory_order_acquire)) == seen) {
      if (patient(&since)) continue;
      atomic_fetch_add(&P.sleepers, 1);
      futex_wait(&P.ticket, seen);
      atomic_fetch_sub(&P.sleepers, 1);
    }
    seen = t;
    uint64_t g = atomic_load_explicit(&P.gate, memory_order_acquire);
    while ((g & OPEN) && !atomic_compare_exchange_weak_explicit(&P.gate, &g, g + 1, memory_order_acq_rel, memory_order_acquire)) {}
    if (!(g & OPEN)) continue; /* came too late */
    seen = t = (uint32_t)(g >> 32);
    if (me < P.use) {
      const sn_fpmode saved = sn_fp_enter(0);
      sn_fp_leave(P.mode);
      take_pieces(me);
      sn_fp_leave(saved);
    }
    g = atomic_fetch_sub_explicit(&P.gate, 1, memory_order_acq_rel) - 1;
    if ((g & (OPEN | INSIDE)) == 0) {
      atomic_store_explicit(&P.finished, t, memory_order_release);
      futex_wake(&P.finished);
    }
  }
  return NULL;
}

static _Atomic unsigned family; /* raised in the child of a fork: threads made before are not there */

static void after_fork(void) { /* the child has no workers, whatever the parent had */
  memset(&P, 0, sizeof P);
  atomic_store(&busy, 0);
  atomic_fetch_add(&family, 1);
  inside = false;
}

static void install_fork(void) { pthread_atfork(NULL, NULL, after_fork); }
static void watch_fork(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, install_fork);
}

/* Called with `busy` held, so between jobs. */
static void start_workers(int n) {
  watch_fork();
  pthread_attr_t a;
  pthread_attr_init(&a);
  pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
  while (P.started < n - 1) {
    P.from[P.started + 1] = atomic_load(&P.ticket);
    if (pthread_create(&P.thread[P.started], &a, work, (void *)(intptr_t)(P.started + 1)) != 0) break;
    P.started++;
  }
  pthread_attr_destroy(&a);
}

void sn_parallel(int64_t n, int64_t grain, sn_task *fn, void *ctx) {
  if (n <= 0) return;
  if (grain < 1) grain = 1;
  int threads;
  int expected = 0;
  if (n <= grain || inside || (threads = sn_threads()) == 1 || !atomic_compare_exchange_strong(&busy, &expected, 1)) {
    fn(ctx, 0, n, 0);
    return;
  }
  if (P.started < threads - 1) start_workers(threads);
  /* a few pieces for each thread, as many for one as for another */
  int64_t pieces = (n + grain - 1) / grain;
  if (pieces > 4 * threads) pieces = 4 * threads;
  if (pieces > threads) pieces = pieces / threads * threads;
  const int64_t low = grain & -grain;
  P.fn = fn;
  P.ctx = ctx;
  P.n = n;
  P.unit = low < 64 ? low : 64;
  P.pieces = pieces;
  P.use = threads;
  P.mode = sn_fp_enter(0);
  sn_fp_leave(P.mode);
  for (int w = 0; w < threads; w++) {
    atomic_store_explicit(&P.of[w].next, pieces * w / threads, memory_order_relaxed);
    P.of[w].end = pieces * (w + 1) / threads;
  }
  const uint32_t t = atomic_load_explicit(&P.ticket, memory_order_relaxed) + 1;
  atomic_store_explicit(&P.gate, (uint64_t)t << 32 | OPEN, memory_order_release);
  atomic_store_explicit(&P.ticket, t, memory_order_seq_cst);
  if (atomic_load(&P.sleepers)) futex_wake(&P.ticket);
  inside = true;
  take_pieces(0);
  inside = false;
  uint64_t g = atomic_fetch_and_explicit(&P.gate, ~OPEN, memory_order_acq_rel);
  for (uint64_t since = 0; g & INSIDE; g = atomic_load_explicit(&P.gate, memory_order_acquire)) {
    if (patient(&since)) continue;
    const uint32_t f = atomic_load(&P.finished);
    if (f != t) futex_wait(&P.finished, f);
  }
  atomic_store(&busy, 0);
}

/* ---- scratch */

static int enlarge(char **p, size_t *size, size_t bytes) {
  if (*size >= bytes) return 0;
  char *q = sn_alloc(bytes);
  if (q == NULL) return -1;
  sn_release(*p, *size);
  *p = q;
  *size = bytes;
  return 0;
}

int sn_scratch_reserve(size_t bytes) {
  size_t need = atomic_load(&scratch_need);
  while (need < bytes && !atomic_compare_exchange_weak(&scratch_need, &need, bytes)) {}
  if (enlarge(&own_scratch, &own_size, bytes) < 0) return -1;
  const int threads = sn_threads();
  if (threads == 1 || atomic_load_explicit(&scratch_ready, memory_order_acquire) >= bytes) return 0;
  int expected = 0; /* the pool's workers must not be using theirs: hold the pool */
  while (!atomic_compare_exchange_strong(&busy, &expected, 1)) { expected = 0; sched_yield(); }
  int rc = 0;
  for (int i = 1; rc == 0 && i < SN_MAX_THREADS; i++)
    if (i < threads) rc = enlarge(&scratch_of[i], &scratch_size[i], bytes);
  if (rc == 0) atomic_store_explicit(&scratch_ready, bytes, memory_order_release);
  atomic_store(&busy, 0);
  return rc;
}

size_t sn_scratch_most(void) { return atomic_load(&scratch_need); }

void *sn_scratch(int worker) { return worker == 0 ? own_scratch : scratch_of[worker]; }

/* ---- a worker beside the pool */

enum { NOTHING, GIVEN, DONE, END }; /* what `state` says: the caller raises it to GIVEN or END, the thread to DONE */

struct sn_worker {
  _Atomic uint32_t state;
  _Atomic uint32_t asleep;     /* the thread sleeps on `state`, or is about to */
  _Atomic uint32_t awaited;    /* likewise the caller */
  void (*job)(void *);
  void *ctx;
  pthread_t thread;
  unsigned family;             /* the process in which it was made */
  bool alive;                  /* there is a thread */
};

static void *attend(void *p) {
  sn_worker *w = p;
  inside = true;
  for (;;) {
    uint32_t s = atomic_load(&w->state);
    if (s == END) return NULL;
    if (s != GIVEN) {
      atomic_store(&w->asleep, 1);
      if ((s = atomic_load(&w->state)) != GIVEN && s != END) futex_wait(&w->state, s);
      atomic_store(&w->asleep, 0);
      continue;
    }
    w->job(w->ctx);
    atomic_store(&w->state, DONE);
    if (atomic_load(&w->awaited)) futex_wake(&w->state);
  }
}

static bool there(const sn_worker *w) { return w->alive && w->family == atomic_load(&family); }

/* Where there is no thread the caller does the job, alone as the thread would. */
static void do_here(const sn_worker *w) {
  const bool was = inside;
  inside = true;
  w->job(w->ctx);
  inside = was;
}

static void tell(sn_worker *w, uint32_t what) {
  atomic_store(&w->state, what);
  if (atomic_load(&w->asleep)) futex_wake(&w->state);
}

sn_worker *sn_worker_new(void) { return sn_calloc(1, sizeof(sn_worker)); }

void sn_worker_give(sn_worker *w, void (*job)(void *), void *ctx) {
  w->job = job;
  w->ctx = ctx;
  if (!there(w)) {
    watch_fork();
    w->family = atomic_load(&family);
    atomic_store(&w->asleep, 0);
    atomic_store(&w->state, NOTHING);
    w->alive = pthread_create(&w->thread, NULL, attend, w) == 0;
  }
  if (w->alive) tell(w, GIVEN);
  else do_here(w);
}

void sn_worker_wait(sn_worker *w) {
  if (atomic_load(&w->state) != GIVEN) return;
  if (!there(w)) {
    do_here(w);
    atomic_store(&w->state, DONE);
  }
  for (uint64_t since = 0; atomic_load(&w->state) == GIVEN;) {
    if (patient(&since)) continue;
    atomic_store(&w->awaited, 1);
    if (atomic_load(&w->state) == GIVEN) futex_wait(&w->state, GIVEN);
    atomic_store(&w->awaited, 0);
  }
}

void sn_worker_free(sn_worker *w) {
  if (w == NULL) return;
  if (there(w)) {
    sn_worker_wait(w);
    tell(w, END);
    pthread_join(w->thread, NULL);
  }
  sn_free(w);
}
