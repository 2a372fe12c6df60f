/* thread.h - the one thread pool, and the only file besides mem.c that touches pthreads (thread.c).
 *
 * The pool starts at the first large job, is sized by affinity mask and cgroup quota, SLUGNET_THREADS or
 * sn_threads_set; workers spin briefly, then sleep on a futex. It runs one job at a time: a second
 * submitter, or a call from inside a job, runs its whole job itself, with the same bits. After fork() the child
 * starts its own pool at its first job. Each job runs under the submitter's floating-point mode (fpmode.h).
 */
#ifndef SN_THREAD_H
#define SN_THREAD_H
#include <stddef.h>
#include <stdint.h>

#define SN_MAX_THREADS 64

/* A piece of a job: elements begin..end-1; worker is 0 (the caller) .. sn_threads()-1.
 * What is computed for an element must not depend on where the pieces are cut. No allocation, no sn_fail, no Lua. */
typedef void sn_task(void *ctx, int64_t begin, int64_t end, int worker);

/* Run fn over 0..n-1 in pieces of at least `grain` elements (n <= grain: one call on the caller, nothing else happens).
 * Returns when all are done. Threads have equally many, and pieces are as even as that allows (a little less than `grain` if need be); they are
 * cut at multiples of the largest power of two up to 64 that divides grain. */
void sn_parallel(int64_t n, int64_t grain, sn_task *fn, void *ctx);

/* Where part i of `parts` of n begins (part `parts`: n): whole units, as even as can be; the last unit may be short. */
static inline int64_t sn_cut(int64_t n, int64_t parts, int64_t i, int64_t unit) {
  const int64_t units = (n + unit - 1) / unit, at = units * i / parts * unit;
  return at < n ? at : n;
}

int sn_threads(void);          /* threads a job may use, the caller included */
int sn_threads_set(int n);     /* 1..SN_MAX_THREADS, 0 = the default for this machine; -1 after sn_fail */
int sn_threads_available(void);/* cores by affinity and quota */

/* Scratch memory per thread, for packing buffers and the like. Reserve before the job (may fail: -1), fetch inside
 * it by the worker number; a later sn_threads_set keeps the promise for its workers. It grows only; steady state allocates nothing. Contents do not survive between jobs. */
int sn_scratch_reserve(size_t bytes);
size_t sn_scratch_most(void);    /* the most that was ever reserved: what a replay on another thread reserves again */
void *sn_scratch(int worker);

/* A thread beside the pool that does one job at a time, for what will be wanted soon (feed). It sleeps between jobs and takes no part in the
 * pool; sn_parallel inside a job runs on it alone. Without such a thread (none could be started) a job runs in sn_worker_give; the child of
 * a fork() has none either: a job that was under way is run again by sn_worker_wait, so a job must bear that, and the next one starts a thread.
 * A worker belongs to one thread at a time. */
typedef struct sn_worker sn_worker;
sn_worker *sn_worker_new(void);                                      /* NULL after sn_fail */
void sn_worker_give(sn_worker *w, void (*job)(void *), void *ctx);   /* the job before must have been waited for. No sn_fail, no allocation, no Lua in it */
void sn_worker_wait(sn_worker *w);                                   /* until the job is done; at once if there is none */
void sn_worker_free(sn_worker *w);                                   /* waits; NULL is fine */

#endif
