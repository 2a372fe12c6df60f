/* whole.h - arithmetic of whole numbers for files that cut work into pieces. */
#ifndef SNK_WHOLE_H
#define SNK_WHOLE_H
#include <stddef.h>
#include <stdint.h>

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t parts_of(int64_t n, int64_t by) { return (n + by - 1) / by; }
static inline size_t aligned(size_t n) { return (n + 63) / 64 * 64; } /* bytes, up to a line of the cache */

#endif
