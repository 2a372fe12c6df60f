/* reduce.isa.c - reductions as vector code: rows of one block, and columns side by side. */
#include "calc/reduce.h"
#include "calc/bf16.h"
#include "calc/tail.h"

#define SNK_ROWS "calc/reduce_rows.h"
#include "calc/both.h"

static void cols_begin(int which, int f64, int64_t width, void *acc) {
  if (f64) cols_clear_f64(which, width, acc);
  else cols_clear_f32(which, width, acc);
}

static void cols_end(int which, int f64, int64_t width, void *acc) {
  if (f64) cols_finish_f64(which, width, acc);
  else cols_finish_f32(which, width, acc);
}

/* Parts are kept as doubles; those of float32 are joined with float's rounding. */
static double fold(int which, int64_t n, double *part, int f64) {
  if (n == 0) return f64 ? empty_f64(which) : (double)empty_f32(which);
  while (n > 1) {
    int64_t k = 0;
    for (int64_t i = 0; i + 1 < n; i += 2, k++)
      part[k] = f64 ? join1_f64(which, part[i], part[i + 1]) : (double)join1_f32(which, (float)part[i], (float)part[i + 1]);
    if (n & 1) part[k++] = part[n - 1];
    n = k;
  }
  return part[0];
}

#if SNK_BYTES == 64 /* who gives them does so with AVX-512 alone */
static float pieces_bf16(int64_t n, const uint16_t *x, int64_t left, int64_t run, int64_t step) { return pieces_of_f32(true, n, x, left, run, step); }
#else
#define pieces_bf16 NULL
#endif

const snk_reduce SNK_FN(snk_reduce) = {row_f32, row_f64, pieces_f32, pieces_f64, pieces_bf16, seek_f32, seek_f64, cols_begin,
                                     cols_f32, cols_f64, cols_end, cols_short_f32, cols_short_f64, fold};
