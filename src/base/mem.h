/* mem.h - every byte slugnet takes from the system is taken here.
 *
 * sn_alloc/sn_release: large blocks for tensor storage, 64-byte aligned, from a caching allocator
 * (size classes, freed blocks are kept and reused, returned to the system by sn_mem_trim or when the cache
 * is over its limit). sn_malloc/...: small structures. Both count, and both fail on demand (sn_mem_fail_after).
 * Thread safe. No function here is called inside a parallel region.
 */
#ifndef SN_MEM_H
#define SN_MEM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *sn_alloc(size_t bytes);             /* uninitialised (NaN-filled in hard mode); NULL after sn_fail_memory; sn_alloc(0) is a valid block */
void sn_release(void *block, size_t bytes); /* bytes as given to sn_alloc; NULL is fine */

void *sn_malloc(size_t bytes); /* NULL after sn_fail_memory */
void *sn_calloc(size_t n, size_t bytes);
void *sn_realloc(void *p, size_t bytes); /* on failure p is still valid */
void sn_free(void *p);
char *sn_strdup(const char *s);
/* A structure of one of few sizes up to 256 bytes that comes and goes with every operation; counted as sn_malloc's are. */
void *sn_take(size_t bytes);
void sn_give(void *p, size_t bytes); /* bytes as given to sn_take */

typedef struct sn_mem_stats {
  size_t live;      /* bytes of blocks now handed out by sn_alloc */
  size_t cached;    /* bytes of free blocks kept for reuse */
  size_t peak;      /* largest live since sn_mem_reset_peak */
  uint64_t allocs;  /* calls of sn_alloc + sn_malloc + ... that succeeded, ever */
  uint64_t bytes;   /* bytes handed out by sn_alloc, ever: what feeds Lua's collector */
  size_t small;     /* live sn_malloc'd structures, a count: 0 at the end or something leaked */
} sn_mem_stats;
void sn_mem_stat(sn_mem_stats *out);
uint64_t sn_mem_bytes(void);             /* sn_mem_stats.bytes alone, cheap */
size_t sn_mem_live(void);                /* sn_mem_stats.live alone, cheap */
void sn_mem_reset_peak(void);
void sn_mem_trim(void);                 /* give cached blocks back to the system */
/* The (n+1)-th allocation from now on fails, once, or with every later one; n < 0 switches it off. How many have failed since the last call. */
uint64_t sn_mem_fail_after(int64_t n, bool on);
/* Multiply sizes with overflow check: n factors into *out; -1 after sn_fail when it does not fit int64. */
int sn_mul_sizes(const int64_t *factors, int n, int64_t *out);

#endif
