/* mem.c - the caching allocator, counted small allocations, and structures that are kept for the next operation.
 *
 * Blocks are rounded up to size classes (four per power of two), and a freed block waits in its class's list for the next
 * of its size: a training loop reaches a state in which nothing is asked of the system.
 */
#include "base/mem.h"
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/error.h"

#define ALIGN 64u
#define CLASSES 200
#define CACHE_LIMIT ((size_t)2 << 30)
#define HUGE_BLOCK ((size_t)4 << 20)
#define SPARES 5
#define SPARES_MOST 1024 /* of a list */
#if defined(__SANITIZE_ADDRESS__)
#define KEEP false /* let the sanitizer see every use after free */
#else
#define KEEP true
#endif

typedef struct block { struct block *next; } block;

static _Atomic bool locked;          /* the lock of what follows */
static block *cache[CLASSES];
static size_t cached, peak;
static _Atomic size_t live;          /* written with the lock held */
static uint64_t large;               /* blocks ever given */
static block *spare[SPARES];         /* structures kept by sn_give, in steps of 64 bytes */
static int spares[SPARES];
static uint64_t taken_again, kept;   /* structures that came out of those lists, and went into them, ever */
static _Atomic uint64_t bytes_ever;  /* written with the lock held */
static _Atomic uint64_t made, grown, freed; /* small structures, ever */
static _Atomic int64_t fail_after = -1;
static _Atomic bool fail_on;         /* not once, but from then on */
static _Atomic uint64_t failed;      /* how often since it was asked for */

/* Held for a few instructions. A mutex takes two locked instructions where this takes one, which a small operation feels. */
static void lock(void) {
  while (atomic_exchange_explicit(&locked, true, memory_order_acquire)) sched_yield();
}
static void unlock(void) { atomic_store_explicit(&locked, false, memory_order_release); }

/* True when this allocation is the one that was asked to fail. */
static bool must_fail(void) {
  int64_t n = atomic_load_explicit(&fail_after, memory_order_relaxed);
  if (n < 0) return false;
  if (n > 0 || !atomic_load(&fail_on)) n = atomic_fetch_sub(&fail_after, 1);
  if (n != 0) return false;
  atomic_fetch_add(&failed, 1);
  return true;
}

/* Size class: 64, 80, 96, 112, 128, 160, ... */
static int class_of(size_t bytes, size_t *rounded) {
  if (bytes <= ALIGN) { *rounded = ALIGN; return 0; }
  const int top = 63 - __builtin_clzll((unsigned long long)(bytes - 1)); /* 2^top <= bytes-1 */
  const size_t quarter = (size_t)1 << (top - 2);
  const size_t k = (bytes - 1 - ((size_t)1 << top)) / quarter; /* 0..3 */
  *rounded = ((size_t)1 << top) + (k + 1) * quarter;
  *rounded = (*rounded + ALIGN - 1) & ~(size_t)(ALIGN - 1);
  return 1 + (top - 6) * 4 + (int)k;
}

size_t sn_mem_live(void) { return atomic_load_explicit(&live, memory_order_relaxed); }
static void set_live(size_t n) { atomic_store_explicit(&live, n, memory_order_relaxed); }

void *sn_alloc(size_t bytes) {
  if (must_fail() || bytes > ((size_t)1 << 46)) { sn_fail_memory(bytes, "a tensor"); return NULL; }
  size_t size;
  const int c = class_of(bytes, &size);
  lock();
  block *b = cache[c];
  if (b) {
    cache[c] = b->next;
    cached -= size;
  }
  const size_t most = sn_mem_live() + size;
  set_live(most);
  if (most > peak) peak = most;
  large++;
  atomic_store_explicit(&bytes_ever, atomic_load_explicit(&bytes_ever, memory_order_relaxed) + bytes, memory_order_relaxed);
  unlock();
  void *p = b;
  if (p == NULL) {
    if (posix_memalign(&p, size >= HUGE_BLOCK ? HUGE_BLOCK / 2 : ALIGN, size) != 0) p = NULL;
    if (p == NULL) { /* perhaps what is cached in other classes is what is missing */
      sn_mem_trim();
      if (posix_memalign(&p, ALIGN, size) != 0) p = NULL;
    }
    if (p == NULL) {
      lock();
      set_live(sn_mem_live() - size);
      large--;
      unlock();
      sn_fail_memory(bytes, "a tensor");
      return NULL;
    }
    if (size >= HUGE_BLOCK) madvise(p, size, MADV_HUGEPAGE);
  }
#ifdef SN_HARD
  memset(p, 0xFF, size);
#endif
  return p;
}

void sn_release(void *p, size_t bytes) {
  if (p == NULL) return;
  size_t size;
  const int c = class_of(bytes, &size);
  block *b = p;
  lock();
  set_live(sn_mem_live() - size);
  const bool keep = KEEP && cached + size <= CACHE_LIMIT;
  if (keep) {
    b->next = cache[c];
    cache[c] = b;
    cached += size;
  }
  unlock();
  if (!keep) free(p);
}

static void free_all(block *b) {
  for (block *next; b; b = next) {
    next = b->next;
    free(b);
  }
}

void sn_mem_trim(void) {
  block *all[CLASSES], *structures[SPARES];
  lock();
  memcpy(all, cache, sizeof all);
  memset(cache, 0, sizeof cache);
  cached = 0;
  memcpy(structures, spare, sizeof structures);
  memset(spare, 0, sizeof spare);
  memset(spares, 0, sizeof spares);
  unlock();
  for (int c = 0; c < CLASSES; c++) free_all(all[c]);
  for (int c = 0; c < SPARES; c++) free_all(structures[c]);
}

static void *counted(void *p, size_t n, _Atomic uint64_t *count) {
  if (p == NULL) { sn_fail_memory(n, "a small structure"); return NULL; }
  atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
  return p;
}

void *sn_malloc(size_t n) { return counted(must_fail() ? NULL : malloc(n ? n : 1), n, &made); }

void *sn_calloc(size_t n, size_t size) { return counted(must_fail() ? NULL : calloc(n ? n : 1, size ? size : 1), n * size, &made); }

void *sn_realloc(void *old, size_t n) {
  if (old == NULL) return sn_malloc(n);
  return counted(must_fail() ? NULL : realloc(old, n ? n : 1), n, &grown);
}

void sn_free(void *p) {
  if (p == NULL) return;
  atomic_fetch_add_explicit(&freed, 1, memory_order_relaxed);
  free(p);
}

void *sn_take(size_t bytes) {
  const size_t c = (bytes + 63) / 64;
  if (must_fail()) return counted(NULL, bytes, &made);
  lock();
  block *b = spare[c];
  if (b) {
    spare[c] = b->next;
    spares[c]--;
    taken_again++;
  }
  unlock();
  return b ? b : counted(malloc(c * 64), bytes, &made);
}

void sn_give(void *p, size_t bytes) {
  const size_t c = (bytes + 63) / 64;
  block *b = p;
  lock();
  const bool keep = KEEP && spares[c] < SPARES_MOST;
  if (keep) {
    b->next = spare[c];
    spare[c] = b;
    spares[c]++;
    kept++;
  }
  unlock();
  if (!keep) sn_free(p);
}

char *sn_strdup(const char *s) {
  const size_t n = strlen(s) + 1;
  char *p = sn_malloc(n);
  return p ? memcpy(p, s, n) : NULL;
}

void sn_mem_stat(sn_mem_stats *out) {
  lock();
  out->live = sn_mem_live();
  out->cached = cached;
  out->peak = peak;
  out->bytes = atomic_load(&bytes_ever);
  const uint64_t gone = kept + atomic_load(&freed), ever = taken_again + atomic_load(&made); /* in this order: never below 0 */
  out->allocs = large + ever + atomic_load(&grown);
  unlock();
  out->small = (size_t)(ever - gone);
}

void sn_mem_reset_peak(void) {
  lock();
  peak = sn_mem_live();
  unlock();
}

uint64_t sn_mem_bytes(void) { return atomic_load_explicit(&bytes_ever, memory_order_relaxed); }
uint64_t sn_mem_fail_after(int64_t n, bool on) {
  const uint64_t k = atomic_exchange(&failed, 0);
  atomic_store(&fail_on, on);
  atomic_store(&fail_after, n);
  return k;
}

int sn_mul_sizes(const int64_t *f, int n, int64_t *out) {
  int64_t r = 1;
  bool zero = false, over = false;
  for (int i = 0; i < n; i++) {
    if (f[i] < 0) return sn_fail("a size is negative (%lld)", (long long)f[i]);
    zero |= f[i] == 0;
    if (f[i] && __builtin_mul_overflow(r, f[i], &r)) { over = true; r = 1; }
  }
  if (over && !zero) return sn_fail("the number of elements overflows 63 bits");
  *out = zero ? 0 : r;
  return 0;
}
