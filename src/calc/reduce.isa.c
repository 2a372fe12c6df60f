/* reduce.isa.c - reductions as vector code: rows of one block, and columns side by side. */
#include "calc/reduce.h"
#include "calc/bf16.h"
#include "calc/tail.h"

#define SNK_ROWS "calc/reduce_rows.h"
#include "calc/both.h"

/* Sums of columns no longer than the lanes: each lane has one number, or none, and none is kept in memory. */
SNK_APART void cols_short(int64_t n, const float *x, int64_t step, int64_t width, float *to) {
  for (int64_t c = 0; c < width; c += VF) {
    const int64_t some = width - c < VF ? width - c : VF;
    vf a[SNK_REDUCE_LANES / 2];
    SNK_ALL for (int l = 0; l < SNK_REDUCE_LANES / 2; l++) {
      a[l] = vf_splat(0);
      if (l < n) a[l] = a[l] + vf_get(x + l * step + c, some);
      if (l + SNK_REDUCE_LANES / 2 < n) a[l] = a[l] + vf_get(x + (l + SNK_REDUCE_LANES / 2) * step + c, some);
    }
    SNK_ALL for (int w = SNK_REDUCE_LANES / 4; w > 0; w /= 2)
      SNK_ALL for (int k = 0; k < w; k++) a[k] = a[k] + a[k + w];
    vf_set(to + c, a[0], some);
  }
}

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
                                     cols_f32, cols_f64, cols_end, cols_short, fold};
