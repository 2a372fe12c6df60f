/* cast.c - conversions: a loop for each type to and from double and int64, some numbers at a time; common pairs without that detour. */
#include "calc/cast.h"
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define LOOP(TO, FROM, EXPR)                                     \
  do {                                                           \
    TO *restrict y = (TO *)(void *)to;                           \
    const FROM *restrict x = (const FROM *)(const void *)from;   \
    for (int64_t i = 0; i < n; i++) {                            \
      const FROM v = x[i];                                       \
      y[i] = (TO)(EXPR);                                         \
    }                                                            \
    return;                                                      \
  } while (0)
#define PAIR(a, b) ((a) * SN_DTYPES + (b))

SNK_LONG_BEGIN
static void fill_words(int64_t n, uint32_t *to, uint32_t v) {
  for (int64_t i = 0; i < n; i++) to[i] = v;
}
SNK_LONG_END

static void copy_row(int64_t n, char *to, int64_t ts, const char *from, int64_t fs, size_t size) {
  if (ts == (int64_t)size && fs == (int64_t)size) { memcpy(to, from, (size_t)n * size); return; }
  if (ts == (int64_t)size && fs == 0 && n > 0) { /* one for all: what is there is copied, up to four pages at a time */
    const size_t all = (size_t)n * size;
    if (size == 4 && n <= 4096) { /* rows of an expanded tensor are short */
      fill_words(n, (uint32_t *)(void *)to, *(const uint32_t *)(const void *)from);
      return;
    }
    memcpy(to, from, size);
    for (size_t done = size, some; done < all; done += some) {
      some = done < 16384 ? done : 16384;
      if (some > all - done) some = all - done;
      memcpy(to + done, to, some);
    }
    return;
  }
  if (size == 4 && ts == 4 && fs == 8) { snk_cast_now()->second(n, (uint32_t *)(void *)to, (const uint32_t *)(const void *)from); return; }
  if (size == 4 && ts == 8 && fs == 4) { snk_cast_now()->apart(n, (uint32_t *)(void *)to, (const uint32_t *)(const void *)from); return; }
  switch (size) {
    case 1: for (int64_t i = 0; i < n; i++) to[i * ts] = from[i * fs]; break;
    case 2: for (int64_t i = 0; i < n; i++) memcpy(to + i * ts, from + i * fs, 2); break;
    case 4: for (int64_t i = 0; i < n; i++) memcpy(to + i * ts, from + i * fs, 4); break;
    default: for (int64_t i = 0; i < n; i++) memcpy(to + i * ts, from + i * fs, 8); break;
  }
}

/* As sn_store_double does it; what the instruction refuses is looked at once more. */
static inline int64_t to_int(double v) {
#if defined(__SSE2__) && defined(__x86_64__)
  const int64_t i = _mm_cvttsd_si64(_mm_set_sd(v));
  if (i != INT64_MIN) return i;
#endif
  int64_t out;
  sn_store_double(&out, SN_I64, v);
  return out;
}

/* Numbers side by side to double, from double; to int64, from int64. */
SNK_LONG_BEGIN
static void to_doubles(int64_t n, double *to, const char *from, sn_dtype t) {
  switch ((int)t) {
    case SN_F32: LOOP(double, float, v);
    case SN_I64: LOOP(double, int64_t, v);
    case SN_I32: LOOP(double, int32_t, v);
    default: LOOP(double, uint8_t, v);
  }
}
static void from_doubles(int64_t n, char *to, sn_dtype t, const double *from) {
  switch ((int)t) {
    case SN_F32: LOOP(float, double, v);
    case SN_I64: LOOP(int64_t, double, to_int(v));
    case SN_I32: LOOP(int32_t, double, to_int(v));
    default: LOOP(uint8_t, double, to_int(v));
  }
}
static void to_ints(int64_t n, int64_t *to, const char *from, sn_dtype t) {
  switch ((int)t) {
    case SN_I32: LOOP(int64_t, int32_t, v);
    default: LOOP(int64_t, uint8_t, v);
  }
}
static void from_ints(int64_t n, char *to, sn_dtype t, const int64_t *from) {
  switch ((int)t) {
    case SN_I32: LOOP(int32_t, int64_t, v);
    default: LOOP(uint8_t, int64_t, v);
  }
}

/* Without a detour. */
static void to_floats(int64_t n, float *to, const char *from, sn_dtype t) {
  switch ((int)t) {
    case SN_F64: LOOP(float, double, v);
    case SN_I32: LOOP(float, int32_t, v);
    default: LOOP(float, int64_t, v);
  }
}

/* As snk_cast's whole, of doubles. */
static bool whole_doubles(int64_t n, const double *from, int32_t *to) {
  bool all = true;
#if defined(__SSE2__)
  __m128i bad = _mm_setzero_si128();
  for (; n >= 4; n -= 4, from += 4, to += 4) {
    const __m128i v = _mm_unpacklo_epi64(_mm_cvttpd_epi32(_mm_loadu_pd(from)), _mm_cvttpd_epi32(_mm_loadu_pd(from + 2)));
    bad = _mm_or_si128(bad, _mm_cmpeq_epi32(v, _mm_set1_epi32(INT32_MIN)));
    _mm_storeu_si128((__m128i *)(void *)to, v);
  }
  all = _mm_movemask_epi8(bad) == 0;
#endif
  for (; n > 0; n--, from++, to++) {
    const bool fits = *from > -2147483649.0 && *from < 2147483648.0;
    all &= fits;
    *to = fits ? (int32_t)*from : 0;
  }
  return all;
}
static void bytes_full(int64_t n, char *to, const char *from) { LOOP(uint8_t, uint8_t, v != 0); }

SNK_LONG_END

SNK_SMALL_BEGIN
/* Bytes of int32 and back; 1 for what is not 0. By hand, which is a third of what the compiler makes of loops. */
static void narrow(int64_t n, char *to, const char *from) {
#if defined(__SSE2__)
  for (; n >= 16; n -= 16, to += 16, from += 64) {
    __m128i v[4];
    for (int k = 0; k < 4; k++) v[k] = _mm_and_si128(_mm_loadu_si128((const __m128i *)(const void *)from + k), _mm_set1_epi32(255));
    _mm_storeu_si128((__m128i *)(void *)to, _mm_packus_epi16(_mm_packs_epi32(v[0], v[1]), _mm_packs_epi32(v[2], v[3])));
  }
#endif
  LOOP(uint8_t, int32_t, v);
}
static void widen(int64_t n, char *to, const char *from) {
#if defined(__SSE2__)
  const __m128i zero = _mm_setzero_si128();
  for (; n >= 16; n -= 16, to += 64, from += 16) {
    const __m128i v = _mm_loadu_si128((const __m128i *)(const void *)from), low = _mm_unpacklo_epi8(v, zero), high = _mm_unpackhi_epi8(v, zero);
    __m128i *y = (__m128i *)(void *)to;
    _mm_storeu_si128(y, _mm_unpacklo_epi16(low, zero));
    _mm_storeu_si128(y + 1, _mm_unpackhi_epi16(low, zero));
    _mm_storeu_si128(y + 2, _mm_unpacklo_epi16(high, zero));
    _mm_storeu_si128(y + 3, _mm_unpackhi_epi16(high, zero));
  }
#endif
  LOOP(int32_t, uint8_t, v);
}
/* Sixteen of `size` bytes: `many` vectors of masks of what is 0 become bytes by halves, with their signs. What is left over is done beside zeros. */
#define AT(i) _mm_loadu_si128((const __m128i *)(const void *)from + (i))
#define HALVES(a, b, which) _mm_castps_si128(_mm_shuffle_ps(_mm_castsi128_ps(a), _mm_castsi128_ps(b), which)) /* lower or upper, of int64 */
#if defined(__clang__)
#define EACH _Pragma("clang loop unroll(full)")
#else
#define EACH _Pragma("GCC unroll 8")
#endif
#define FULL(size, many, ZERO)                                                                    \
  for (; n > 0; n -= 16, to += 16, from += 16 * (size)) {                                         \
    __m128i m[many];                                                                              \
    if (n < 16) from = memcpy(rest, from, (size_t)n * (size));                                    \
    EACH for (int k = 0; k < (many); k++) m[k] = ZERO;                                            \
    EACH for (int w = (many) / 2; w > 1; w /= 2)                                                  \
      EACH for (int k = 0; k < w; k++) m[k] = _mm_packs_epi32(m[2 * k], m[2 * k + 1]);            \
    m[0] = _mm_packs_epi16(m[0], m[1]);                                                           \
    m[0] = _mm_andnot_si128(m[0], _mm_set1_epi8(1));                                              \
    if (n >= 16) _mm_storeu_si128((__m128i *)(void *)to, m[0]);                                   \
    else memcpy(to, m, (size_t)n);                                                                \
  }                                                                                               \
  break
static void full(int64_t n, uint8_t *to, const char *from, sn_dtype t) {
#if defined(__SSE2__)
  const __m128i zero = _mm_setzero_si128();
  _Alignas(16) char rest[128] = {0};
  switch ((int)t) {
    case SN_F64: FULL(8, 8, _mm_castpd_si128(_mm_cmpeq_pd(_mm_castsi128_pd(AT(k)), _mm_setzero_pd())));
    case SN_F32: FULL(4, 4, _mm_castps_si128(_mm_cmpeq_ps(_mm_castsi128_ps(AT(k)), _mm_setzero_ps())));
    case SN_I64: FULL(8, 4, _mm_cmpeq_epi32(_mm_or_si128(HALVES(AT(2 * k), AT(2 * k + 1), 0x88), HALVES(AT(2 * k), AT(2 * k + 1), 0xDD)), zero));
    case SN_I32: FULL(4, 4, _mm_cmpeq_epi32(AT(k), zero));
    default: break;
  }
#else
  const int64_t size = (int64_t)sn_size_of(t);
  for (int64_t i = 0; i < n; i++) to[i] = !(sn_is_float(t) ? sn_load_double(from + i * size, t) == 0 : sn_load_int(from + i * size, t) == 0);
#endif
}

/* Numbers side by side on both ways. Those of two bytes go by float, others by double, whole numbers by int64, some at a time; floats that are cut to integers by int32 where all fit. */
static void cast_close(int64_t n, char *to, sn_dtype tt, const char *from, sn_dtype ft) {
  const snk_cast *k = snk_cast_now();
  switch (PAIR((int)tt, (int)ft)) {
    case PAIR(SN_F32, SN_BF16): k->from_bf16(n, (const uint16_t *)(const void *)from, (float *)(void *)to); return;
    case PAIR(SN_BF16, SN_F32): k->to_bf16(n, (const float *)(const void *)from, (uint16_t *)(void *)to); return;
    case PAIR(SN_F32, SN_F16): k->from_f16(n, (const uint16_t *)(const void *)from, (float *)(void *)to); return;
    case PAIR(SN_F16, SN_F32): k->to_f16(n, (const float *)(const void *)from, (uint16_t *)(void *)to); return;
    case PAIR(SN_F32, SN_U8): case PAIR(SN_F32, SN_BOOL): k->bytes(n, (float *)(void *)to, (const uint8_t *)from, 1); return;
    case PAIR(SN_F32, SN_F64): case PAIR(SN_F32, SN_I64): case PAIR(SN_F32, SN_I32): to_floats(n, (float *)(void *)to, from, ft); return;
    case PAIR(SN_BOOL, SN_F64): case PAIR(SN_BOOL, SN_F32): case PAIR(SN_BOOL, SN_I64): case PAIR(SN_BOOL, SN_I32):
      full(n, (uint8_t *)to, from, ft);
      return;
    case PAIR(SN_BOOL, SN_U8): bytes_full(n, to, from); return;
    case PAIR(SN_U8, SN_BOOL): memcpy(to, from, (size_t)n); return;
    case PAIR(SN_U8, SN_I32): narrow(n, to, from); return;
    case PAIR(SN_I32, SN_U8): case PAIR(SN_I32, SN_BOOL): widen(n, to, from); return;
    default: break;
  }
  enum { SOME = 256 };
  const bool half = sn_is_half(tt) || sn_is_half(ft), cut = (ft == SN_F32 && (tt == SN_I32 || tt == SN_I64 || tt == SN_U8)) || (ft == SN_F64 && (tt == SN_I32 || tt == SN_U8)), doubles = sn_is_float(ft) || sn_is_float(tt);
  const sn_dtype wide = doubles ? SN_F64 : SN_I64;
  const int64_t ts = (int64_t)sn_size_of(tt), fs = (int64_t)sn_size_of(ft);
  for (int64_t i = 0, some; i < n; i += some, from += some * fs, to += some * ts) {
    union { float f[SOME]; double d[SOME]; int64_t i[SOME]; int32_t cut[SOME]; } mid;
    char *const at = tt == wide ? to : (char *)&mid;
    int32_t *const whole = tt == SN_I32 ? (int32_t *)(void *)to : mid.cut;
    const void *x = ft == wide ? (const void *)from : &mid;
    some = n - i < SOME ? n - i : SOME;
    if (half) {
      cast_close(some, (char *)&mid, SN_F32, from, ft);
      cast_close(some, to, tt, (const char *)&mid, SN_F32);
    } else if (cut && (ft == SN_F64 ? whole_doubles(some, (const double *)(const void *)from, whole) : k->whole(some, (const float *)(const void *)from, whole))) {
      if (tt != SN_I32) cast_close(some, to, tt, (const char *)mid.cut, SN_I32);
    } else if (doubles) {
      if (ft != wide) to_doubles(some, (double *)(void *)at, from, ft);
      if (tt != wide) from_doubles(some, to, tt, x);
    } else {
      if (ft != wide) to_ints(some, (int64_t *)(void *)at, from, ft);
      if (tt != wide) from_ints(some, to, tt, x);
    }
  }
}

SNK_SMALL_END

void snk_cast_row(int64_t n, char *to, int64_t to_step, sn_dtype tt, const char *from, int64_t from_step, sn_dtype ft) {
  enum { SOME = 256 };
  const int64_t ts = (int64_t)sn_size_of(tt), fs = (int64_t)sn_size_of(ft);
  if (tt == ft) copy_row(n, to, to_step, from, from_step, (size_t)ts);
  else if (to_step == ts && from_step == fs) cast_close(n, to, tt, from, ft);
  else
    for (int64_t i = 0, some; i < n; i += some) { /* side by side first */
      _Alignas(8) char in[SOME * 8], out[SOME * 8];
      some = n - i < SOME ? n - i : SOME;
      copy_row(some, in, fs, from + i * from_step, from_step, (size_t)fs);
      cast_close(some, out, tt, in, ft);
      copy_row(some, to + i * to_step, to_step, out, ts, (size_t)ts);
    }
}

#define TILE 16
#define TILED(T)                                                                                                    \
  for (int64_t i0 = row0; i0 < rows; i0 += TILE)                                                                    \
    for (int64_t j0 = col0; j0 < cols; j0 += TILE) {                                                                \
      const int64_t i1 = i0 + TILE < rows ? i0 + TILE : rows, j1 = j0 + TILE < cols ? j0 + TILE : cols;             \
      for (int64_t i = i0; i < i1; i++)                                                                             \
        for (int64_t j = j0; j < j1; j++)                                                                           \
          *(T *)(void *)(to + i * to_row + j * to_col) = *(const T *)(const void *)(from + i * from_row + j * from_col); \
    }

typedef struct matrix { char *to; int64_t to_row, to_col; const char *from; int64_t from_row, from_col; } matrix;

static __attribute__((noinline)) void turn_part(const matrix *m, int64_t row0, int64_t rows, int64_t col0, int64_t cols, size_t size) {
  char *const to = m->to;
  const char *const from = m->from;
  const int64_t to_row = m->to_row, to_col = m->to_col, from_row = m->from_row, from_col = m->from_col;
  switch (size) {
    case 1: TILED(uint8_t) break;
    case 2: TILED(uint16_t) break;
    case 4: TILED(uint32_t) break;
    default: TILED(uint64_t) break;
  }
}

void snk_transpose_copy(int64_t rows, int64_t cols, char *to, int64_t to_row, int64_t to_col, const char *from, int64_t from_row, int64_t from_col, size_t size) {
  const matrix m = {to, to_row, to_col, from, from_row, from_col};
  int64_t r = 0, c = 0;
  if (size == 4 && to_col == 4 && from_row == 4 && rows >= SNK_TURN && cols >= SNK_TURN) {
    r = rows / SNK_TURN * SNK_TURN, c = cols / SNK_TURN * SNK_TURN;
    snk_cast_now()->turn(r, c, to, to_row, from, from_col);
    turn_part(&m, 0, r, c, cols, size);
  }
  turn_part(&m, r, rows, 0, cols, size);
}
