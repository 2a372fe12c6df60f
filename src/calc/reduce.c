/* reduce.c - reductions of integers. */
#include "calc/reduce.h"

int64_t snk_reduce_int_empty(int which) {
  return which == SNK_PROD ? 1 : which == SNK_MAX ? INT64_MIN : which == SNK_MIN ? INT64_MAX : 0;
}

int64_t snk_reduce_int(int which, int64_t n, const int64_t *x, int64_t start) {
  uint64_t r = (uint64_t)start;
  switch (which) {
    case SNK_SUM: for (int64_t i = 0; i < n; i++) r += (uint64_t)x[i]; break;
    case SNK_PROD: for (int64_t i = 0; i < n; i++) r *= (uint64_t)x[i]; break;
    case SNK_MAX: for (int64_t i = 0; i < n; i++) r = (int64_t)r > x[i] ? r : (uint64_t)x[i]; break;
    case SNK_MIN: for (int64_t i = 0; i < n; i++) r = (int64_t)r < x[i] ? r : (uint64_t)x[i]; break;
    default: break;
  }
  return (int64_t)r;
}
