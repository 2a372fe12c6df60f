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

/* ---- integers: strips of vectors stay in registers while rows go by. The smaller of two is the complement of the larger of complements. */

typedef int64_t wide __attribute__((vector_size(SNK_BYTES)));
typedef uint64_t total __attribute__((vector_size(SNK_BYTES)));
typedef int32_t half __attribute__((vector_size(SNK_BYTES)));
typedef uint8_t byte __attribute__((vector_size(SNK_BYTES)));
#define SUM(V, a, b) ((a) + (b))
#define AS_IT_IS(V, p) __extension__({ V v_; memcpy(&v_, p, sizeof v_); v_; })
#if defined(__AVX512F__)
#define TOP_I64(V, a, b) (V)_mm512_max_epi64((__m512i)(a), (__m512i)(b))
#define TOP_I32(V, a, b) (V)_mm512_max_epi32((__m512i)(a), (__m512i)(b))
#define TOP_U8(V, a, b) (V)_mm512_max_epu8((__m512i)(a), (__m512i)(b))
#define FROM_I32(V, p) (V)_mm512_cvtepi32_epi64(_mm256_loadu_si256((const __m256i *)(const void *)(p)))
#define FROM_U8(V, p) (V)_mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)(const void *)(p)))
#elif defined(__AVX2__)
#define TOP_I64(V, a, b) (((V)((a) > (b)) & (a)) | (~(V)((a) > (b)) & (b)))
#define TOP_I32(V, a, b) (V)_mm256_max_epi32((__m256i)(a), (__m256i)(b))
#define TOP_U8(V, a, b) (V)_mm256_max_epu8((__m256i)(a), (__m256i)(b))
#define FROM_I32(V, p) (V)_mm256_cvtepi32_epi64(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#define FROM_U8(V, p) (V)_mm256_cvtepu8_epi64(_mm_loadu_si32(p))
#endif
#define STRIP 2
#define STRIPS(A, T, V, LOAD, OP)                                                                         \
  do {                                                                                                    \
    enum { L = SNK_BYTES / sizeof(A) };                                                                   \
    const V turn = (V){0} - (A)least;                                                                     \
    for (; c + STRIP * L <= width; c += STRIP * L) {                                                      \
      V a[STRIP];                                                                                         \
      const T *from = (const T *)x + c;                                                                   \
      SNK_ALL for (int k = 0; k < STRIP; k++) a[k] = AS_IT_IS(V, (A *)acc + c + k * L) ^ turn;            \
      for (int64_t i = 0; i < n; i++, from += step)                                                       \
        SNK_ALL for (int k = 0; k < STRIP; k++) a[k] = OP(V, a[k], LOAD(V, from + k * L) ^ turn);         \
      SNK_ALL for (int k = 0; k < STRIP; k++) a[k] ^= turn, memcpy((A *)acc + c + k * L, &a[k], SNK_BYTES); \
    }                                                                                                     \
  } while (0)
#define ONES(A, T, EXPR)                                                     \
  for (; c < width; c++) {                                                   \
    A a = ((A *)acc)[c];                                                     \
    const T *from = (const T *)x + c;                                        \
    for (int64_t i = 0; i < n; i++, from += step) {                          \
      const A b = *from;                                                     \
      a = (A)(EXPR);                                                         \
    }                                                                        \
    ((A *)acc)[c] = a;                                                       \
  }                                                                          \
  break
#define LARGER ((a < b) != least ? b : a)
static void ints(int which, sn_dtype t, int64_t n, const void *x, int64_t step, int64_t width, void *acc) {
  const bool least = which == SNK_MIN, sum = which == SNK_SUM;
  int64_t c = 0;
  switch ((int)t * 2 + sum) {
#if defined(FROM_U8)
    case SN_I64 * 2 + 1: STRIPS(uint64_t, uint64_t, total, AS_IT_IS, SUM); ONES(uint64_t, uint64_t, a + b);
    case SN_I32 * 2 + 1: STRIPS(uint64_t, int32_t, total, FROM_I32, SUM); ONES(int64_t, int32_t, (uint64_t)a + (uint64_t)b);
    case SN_U8 * 2 + 1: STRIPS(uint64_t, uint8_t, total, FROM_U8, SUM); ONES(uint64_t, uint8_t, a + b);
    case SN_I64 * 2: STRIPS(int64_t, int64_t, wide, AS_IT_IS, TOP_I64); ONES(int64_t, int64_t, LARGER);
    case SN_I32 * 2: STRIPS(int32_t, int32_t, half, AS_IT_IS, TOP_I32); ONES(int32_t, int32_t, LARGER);
    default: STRIPS(uint8_t, uint8_t, byte, AS_IT_IS, TOP_U8); ONES(uint8_t, uint8_t, LARGER);
#else
    case SN_I64 * 2 + 1: ONES(uint64_t, uint64_t, a + b);
    case SN_I32 * 2 + 1: ONES(int64_t, int32_t, (uint64_t)a + (uint64_t)b);
    case SN_U8 * 2 + 1: ONES(uint64_t, uint8_t, a + b);
    case SN_I64 * 2: ONES(int64_t, int64_t, LARGER);
    case SN_I32 * 2: ONES(int32_t, int32_t, LARGER);
    default: ONES(uint8_t, uint8_t, LARGER);
#endif
  }
}

const snk_reduce SNK_FN(snk_reduce) = {row_f32, row_f64, pieces_f32, pieces_f64, pieces_bf16, seek_f32, seek_f64, cols_begin,
                                     cols_f32, cols_f64, cols_end, cols_short, fold, ints};
