/* sort.h - lines of numbers in order. Equal numbers stay in the order they have, NaN counts as larger than all. */
#ifndef SNK_SORT_H
#define SNK_SORT_H
#include <stdbool.h>
#include <stddef.h>
#include "base/dtype.h"

/* the whole line; its first k in order; the k-th alone (counting from 1) */
typedef enum { SNK_SORT_ALL, SNK_SORT_FIRST, SNK_SORT_KTH } snk_sort_what;

typedef struct snk_sort_args {
  sn_dtype dtype;
  snk_sort_what what;
  bool descending;
  bool nan_wins;               /* SNK_SORT_KTH: a NaN anywhere is the result */
  int64_t n, k;
  int threads;                 /* that may work on this line */
  int64_t xstep, ystep;        /* in elements, along the line; ystep of values and indices */
  int64_t base;                /* the first position's number */
  uint64_t low;                /* for snk_sort_line itself */
} snk_sort_args;

size_t snk_sort_bytes(sn_dtype t, int64_t n); /* scratch for one line, 64-byte multiple */
/* value or index may be NULL */
void snk_sort_line(const snk_sort_args *a, const char *x, char *value, int64_t *index, void *scratch);
#endif
