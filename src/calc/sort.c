/* sort.c - sorting by keys: a number becomes an unsigned integer of the same order, with its position behind it, so that all keys differ
 * and every method gives the same, stable result. 32-bit numbers and positions fit into one word, which is sorted by radix. */
#include "calc/sort.h"
#include <string.h>
#include "base/thread.h"
#include "calc/isa.h"

#define RUN 24       /* insertion sort up to here */
#define RADIX 512    /* radix sort from here on */
#define WIDE_RADIX 2048 /* that of wide entries */
#define SHARED 32768 /* and shared out among threads from here on */

typedef struct wide { uint64_t key; int64_t at; } wide;

static bool is_wide(sn_dtype t, int64_t n) { return t == SN_F64 || t == SN_I64 || n > UINT32_MAX; }

size_t snk_sort_bytes(sn_dtype t, int64_t n) {
  const size_t bytes = 2 * (size_t)n * (is_wide(t, n) ? sizeof(wide) : sizeof(uint64_t));
  return (bytes + 63) / 64 * 64;
}

/* ---- keys */

static inline uint32_t key_bits(uint32_t u) { /* of a float */
  const uint32_t size = u & UINT32_MAX >> 1, key = u ^ ((uint32_t)((int32_t)u >> 31) | UINT32_C(1) << 31);
  return (int32_t)size > 0x7F800000 ? UINT32_MAX : size == 0 ? UINT32_C(1) << 31 : key;
}

static inline uint32_t key_f32(const char *p) {
  uint32_t u;
  memcpy(&u, p, sizeof u);
  return key_bits(u);
}

static inline uint64_t key_i64(const char *p) {
  uint64_t u;
  memcpy(&u, p, sizeof u);
  return u ^ UINT64_C(1) << 63;
}

static uint64_t key_of(const char *p, sn_dtype t) {
  switch (t) {
    case SN_F64: {
      double v;
      memcpy(&v, p, sizeof v);
      if (v != v) return UINT64_MAX;
      if (v == 0) v = 0; /* -0 equals 0 */
      uint64_t u;
      memcpy(&u, &v, sizeof u);
      return u >> 63 ? ~u : u | UINT64_C(1) << 63;
    }
    case SN_F32: return key_f32(p);
    case SN_I64: return key_i64(p);
    case SN_I32: return (uint32_t)sn_load_int(p, t) ^ UINT32_C(1) << 31;
    default: return (uint8_t)*p;
  }
}

/* ---- the same for both kinds of entries */

#define LESS_n(a, b) ((a) < (b))
#define LESS_w(a, b) ((a).key < (b).key || ((a).key == (b).key && (a).at < (b).at))

#define SORTS(T, s)                                                                                  \
  static void insertion_##s(T *a, int64_t n) {                                                       \
    for (int64_t i = 1; i < n; i++) {                                                                \
      const T v = a[i];                                                                              \
      int64_t j = i;                                                                                 \
      for (; j > 0 && LESS_##s(v, a[j - 1]); j--) a[j] = a[j - 1];                                   \
      a[j] = v;                                                                                      \
    }                                                                                                \
  }                                                                                                  \
  static void merge_##s(const T *a, int64_t n, const T *b, int64_t m, T *to) {                       \
    while (n > 0 && m > 0) {                                                                         \
      if (LESS_##s(*b, *a)) *to++ = *b++, m--;                                                       \
      else *to++ = *a++, n--;                                                                        \
    }                                                                                                \
    memcpy(to, a, (size_t)n * sizeof *a);                                                            \
    memcpy(to + n, b, (size_t)m * sizeof *b);                                                        \
  }                                                                                                  \
  /* into a; t is as long */                                                                         \
  static void sort_##s(T *a, int64_t n, T *t) {                                                      \
    for (int64_t i = 0; i < n; i += RUN) insertion_##s(a + i, n - i < RUN ? n - i : RUN);            \
    T *from = a, *to = t;                                                                            \
    for (int64_t w = RUN; w < n; w *= 2) {                                                           \
      for (int64_t i = 0; i < n; i += 2 * w) {                                                       \
        const int64_t l = n - i < w ? n - i : w, r = n - i - l < w ? n - i - l : w;                  \
        merge_##s(from + i, l, from + i + l, r, to + i);                                             \
      }                                                                                              \
      T *const swap = from;                                                                          \
      from = to;                                                                                     \
      to = swap;                                                                                     \
    }                                                                                                \
    if (from != a) memcpy(a, from, (size_t)n * sizeof *a);                                           \
  }                                                                                                  \
  /* the k smallest to the front, the k-th of them at a[k-1] */                                      \
  static void split_##s(T *a, int64_t n, int64_t k) {                                                \
    int64_t lo = 0, hi = n - 1;                                                                      \
    while (hi - lo > RUN) {                                                                          \
      const T x = a[lo + (hi - lo) / 4], y = a[lo + (hi - lo) / 2], z = a[hi - (hi - lo) / 4];       \
      const T p = LESS_##s(x, y) ? (LESS_##s(y, z) ? y : LESS_##s(x, z) ? z : x) : LESS_##s(x, z) ? x : LESS_##s(y, z) ? z : y; \
      int64_t i = lo - 1, j = hi + 1;                                                                \
      for (;;) {                                                                                     \
        do i++; while (LESS_##s(a[i], p));                                                           \
        do j--; while (LESS_##s(p, a[j]));                                                           \
        if (i >= j) break;                                                                           \
        const T v = a[i];                                                                            \
        a[i] = a[j];                                                                                 \
        a[j] = v;                                                                                    \
      }                                                                                              \
      if (k - 1 <= j) hi = j;                                                                        \
      else lo = j + 1;                                                                               \
    }                                                                                                \
    insertion_##s(a + lo, hi - lo + 1);                                                              \
  }
SORTS(uint64_t, n)
SORTS(wide, w)

/* ---- lines */

static void put(const snk_sort_args *a, const char *x, char *value, int64_t *index, int64_t to, int64_t at) {
  const int64_t size = (int64_t)sn_size_of(a->dtype);
  if (value) {
    if (size == 4) memcpy(value + to * a->ystep * 4, x + at * a->xstep * 4, 4);
    else if (size == 8) memcpy(value + to * a->ystep * 8, x + at * a->xstep * 8, 8);
    else memcpy(value + to * a->ystep * size, x + at * a->xstep * size, (size_t)size);
  }
  if (index) index[to * a->ystep] = at + a->base;
}

/* ---- a whole line by radix. Where several threads may work on it, its words first go to as many ranges, whose bounds come from a sample, so
 * that each thread has one to sort for itself: what was written by another processor is slow to read, and is read once. */

enum { DIGITS = 2048, RANGES = 16, PARTS = 32, SAMPLE = 64 }; /* SAMPLE: words for each range */

typedef struct radix {
  const snk_sort_args *a;
  const char *x;
  char *value;
  int64_t *index;
  uint64_t *e, *t;                /* the words, and room for as many */
  int ranges;
  uint64_t bound[RANGES];         /* the first word of each range */
  int64_t begin[RANGES + 1];      /* where it lies */
  int64_t place[PARTS][RANGES];   /* how many words of each part of the line go there, then where the next one goes */
} radix;

SNK_LONG_BEGIN
static void float_words(int64_t n, const uint32_t *x, uint32_t first, uint32_t flip, uint64_t *e) {
  for (int64_t i = 0; i < n; i++) e[i] = (uint64_t)(key_bits(x[i]) ^ flip) << 32 | (first + (uint32_t)i);
}
SNK_LONG_END

/* Those of elements begin..end-1. */
#define WORDS(KEY) for (int64_t i = begin; i < end; i++) *e++ = (uint64_t)((uint32_t)(KEY) ^ flip) << 32 | (uint64_t)i; break
static void make_words(const snk_sort_args *a, const char *x, int64_t begin, int64_t end, uint64_t *e) {
  const int64_t step = a->xstep * (int64_t)sn_size_of(a->dtype);
  const uint64_t low = a->low;
  const uint32_t flip = a->descending ? UINT32_MAX : 0;
  switch ((int)a->dtype) {
    case SN_F32:
      if (step == 4) {
        float_words(end - begin, (const uint32_t *)(const void *)x + begin, (uint32_t)begin, flip, e);
        break;
      }
      WORDS(key_f32(x + i * step));
    case SN_I64: WORDS(key_i64(x + i * step) - low);
    default: WORDS(key_of(x + i * step, a->dtype));
  }
}

/* By their keys, 11 bits at a time; positions are in order already. The result is where `from` or `to` was. */
#define DIGIT_n(v, pass) ((v) >> (32 + 11 * (pass)) & (DIGITS - 1))
#define DIGIT_w(v, pass) ((v).key >> 11 * (pass) & (DIGITS - 1))
#define RADIX_SORT(T, s, PASSES)                                                                     \
  static const T *radix_##s(T *from, int64_t n, T *to) {                                             \
    uint32_t count[PASSES][DIGITS];                                                                  \
    memset(count, 0, sizeof count);                                                                  \
    for (int64_t i = 0; i < n; i++)                                                                  \
      for (int pass = 0; pass < PASSES; pass++) count[pass][DIGIT_##s(from[i], pass)]++;             \
    for (int pass = 0; pass < PASSES; pass++) {                                                      \
      uint32_t sum = 0, *k = count[pass];                                                            \
      if (k[DIGIT_##s(from[0], pass)] == (uint32_t)n) continue; /* all equal here */                 \
      for (int d = 0; d < DIGITS; d++) {                                                             \
        const uint32_t c = k[d];                                                                     \
        k[d] = sum;                                                                                  \
        sum += c;                                                                                    \
      }                                                                                              \
      for (int64_t i = 0; i < n; i++) to[k[DIGIT_##s(from[i], pass)]++] = from[i];                   \
      T *const swap = from;                                                                          \
      from = to;                                                                                     \
      to = swap;                                                                                     \
    }                                                                                                \
    return from;                                                                                     \
  }
RADIX_SORT(uint64_t, n, 3)
RADIX_SORT(wide, w, 6)

/* Most numbers can be read out of the word: those of x do not lie one behind the other. */
static void give(const radix *r, const uint64_t *e, int64_t begin, int64_t end) {
  const snk_sort_args *a = r->a;
  const uint32_t flip = a->descending ? UINT32_MAX : 0, top = UINT32_C(1) << 31;
  for (int64_t i = begin; i < end; i++, e++) {
    const uint32_t key = (uint32_t)(*e >> 32) ^ flip, at = (uint32_t)*e;
    if (r->value && a->dtype == SN_F32 && key != top && key != UINT32_MAX) {
      const uint32_t u = key & top ? key ^ top : ~key;
      memcpy(r->value + i * a->ystep * 4, &u, 4);
    } else if (r->value && a->dtype == SN_I64) {
      const uint64_t u = (key + a->low) ^ UINT64_C(1) << 63;
      memcpy(r->value + i * a->ystep * 8, &u, 8);
    } else {
      put(a, r->x, r->value, r->index, i, at);
      continue;
    }
    if (r->index) r->index[i * a->ystep] = at + a->base;
  }
}

static void sort_ranges(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const radix *r = ctx;
  for (int64_t q = begin; q < end; q++) {
    const int64_t at = r->begin[q], n = r->begin[q + 1] - at;
    if (n > 0) give(r, radix_n(r->t + at, n, r->e + at), at, at + n);
  }
}

static int64_t part_at(const radix *r, int64_t p) { return r->a->n * p / PARTS; }

static int range_of(const radix *r, uint64_t w) {
  int q = 0;
  for (int k = 1; k < r->ranges; k++) q += w >= r->bound[k];
  return q;
}

static void count_parts(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  radix *r = ctx;
  for (int64_t p = begin; p < end; p++) {
    make_words(r->a, r->x, part_at(r, p), part_at(r, p + 1), r->e + part_at(r, p));
    memset(r->place[p], 0, sizeof r->place[p]);
    for (int64_t i = part_at(r, p); i < part_at(r, p + 1); i++) r->place[p][range_of(r, r->e[i])]++;
  }
}

static void move_parts(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  radix *r = ctx;
  for (int64_t p = begin; p < end; p++)
    for (int64_t i = part_at(r, p); i < part_at(r, p + 1); i++) r->t[r->place[p][range_of(r, r->e[i])]++] = r->e[i];
}

static void radix_line(const snk_sort_args *a, const char *x, char *value, int64_t *index, uint64_t *e) {
  radix r = {.a = a, .x = x, .value = value, .index = index, .e = e, .t = e + a->n, .begin = {0, a->n}};
  r.ranges = a->n < SHARED ? 1 : a->threads < RANGES ? a->threads : RANGES;
  if (r.ranges < 2) {
    make_words(a, x, 0, a->n, r.t);
    sort_ranges(&r, 0, 1, 0);
    return;
  }
  const int64_t sample = r.ranges * SAMPLE;
  for (int64_t i = 0; i < sample; i++) make_words(a, x, a->n / sample * i, a->n / sample * i + 1, r.t + i);
  sort_n(r.t, sample, r.e);
  for (int q = 0; q < r.ranges; q++) r.bound[q] = r.t[q * SAMPLE];
  sn_parallel(PARTS, 1, count_parts, &r);
  int64_t sum = 0;
  for (int q = 0; q < r.ranges; q++) {
    r.begin[q] = sum;
    for (int p = 0; p < PARTS; p++) {
      const int64_t c = r.place[p][q];
      r.place[p][q] = sum;
      sum += c;
    }
  }
  r.begin[r.ranges] = sum;
  sn_parallel(PARTS, 1, move_parts, &r);
  sn_parallel(r.ranges, 1, sort_ranges, &r);
}

/* ---- bytes, of which there are but 256: counted, and each position goes where it belongs. */

enum { BYTES = 256 };
static void count_line(const snk_sort_args *a, const char *x, char *value, int64_t *index) {
  const unsigned flip = a->descending ? BYTES - 1 : 0;
  int64_t place[BYTES] = {0}, sum = 0;
  for (int64_t i = 0; i < a->n; i++) place[(uint8_t)x[i * a->xstep] ^ flip]++;
  for (unsigned k = 0; k < BYTES; k++) {
    const int64_t c = place[k];
    for (int64_t i = sum; value && i < sum + c; i++) value[i * a->ystep] = (char)(k ^ flip);
    place[k] = sum;
    sum += c;
  }
  for (int64_t i = 0; index && i < a->n; i++) index[place[(uint8_t)x[i * a->xstep] ^ flip]++ * a->ystep] = i + a->base;
}

/* ---- lines */

static void make_wide(const snk_sort_args *a, const char *x, int64_t begin, int64_t end, wide *e) {
  const int64_t step = a->xstep * (int64_t)sn_size_of(a->dtype);
  for (int64_t i = begin; i < end; i++) {
    const uint64_t key = key_of(x + i * step, a->dtype);
    *e++ = (wide){a->descending ? ~key : key, i};
  }
}

/* The first k of the line's entries to the front of e. One that stands behind the k-th of those seen when e was last cut is not kept. */
#define FIRST(T, s, make)                                                                            \
  static void first_##s(const snk_sort_args *a, const char *x, T *e) {                               \
    enum { SOME = 64 };                                                                              \
    const int64_t k = a->k, room = 2 * k + 2 * SOME;                                                 \
    T some[SOME], bound = {0};                                                                       \
    bool bounded = false;                                                                            \
    int64_t m = 0;                                                                                   \
    for (int64_t i = 0, n; i < a->n; i += n) {                                                       \
      n = a->n - i < SOME ? a->n - i : SOME;                                                         \
      make(a, x, i, i + n, some);                                                                    \
      for (int64_t j = 0; j < n; j++) e[m] = some[j], m += !bounded | LESS_##s(some[j], bound);      \
      if (m + SOME <= room) continue;                                                                \
      split_##s(e, m, k);                                                                            \
      bound = e[k - 1];                                                                              \
      bounded = true;                                                                                \
      m = k;                                                                                         \
    }                                                                                                \
    split_##s(e, m, k);                                                                              \
  }
FIRST(uint64_t, n, make_words)
FIRST(wide, w, make_wide)

static bool few(const snk_sort_args *a) { return a->what == SNK_SORT_FIRST && a->k <= a->n / 8 && a->n >= RADIX; }

static void line_narrow(const snk_sort_args *a, const char *x, char *value, int64_t *index, uint64_t *e) {
  int64_t n = a->n, m = n;
  if (n >= RADIX && a->what == SNK_SORT_ALL) {
    if (sn_size_of(a->dtype) == 1) count_line(a, x, value, index);
    else radix_line(a, x, value, index, e);
    return;
  }
  if (few(a)) first_n(a, x, e), m = a->k;
  else {
    make_words(a, x, 0, n, e);
    if (a->what != SNK_SORT_ALL) split_n(e, n, m = a->k);
  }
  if (a->what == SNK_SORT_KTH) {
    put(a, x, value, index, 0, (int64_t)(uint32_t)e[m - 1]);
    return;
  }
  sort_n(e, m, e + n);
  for (int64_t i = 0; i < m; i++) put(a, x, value, index, i, (int64_t)(uint32_t)e[i]);
}

static void line_wide(const snk_sort_args *a, const char *x, char *value, int64_t *index, wide *e) {
  const int64_t n = a->n;
  const wide *made = e;
  int64_t m = n;
  if (few(a)) first_w(a, x, e), m = a->k;
  else {
    make_wide(a, x, 0, n, e);
    if (a->what != SNK_SORT_ALL) split_w(e, n, m = a->k);
  }
  if (a->what == SNK_SORT_KTH) {
    put(a, x, value, index, 0, e[m - 1].at);
    return;
  }
  if (m >= WIDE_RADIX && n <= UINT32_MAX && a->what == SNK_SORT_ALL) made = radix_w(e, n, e + n);
  else sort_w(e, m, e + n);
  for (int64_t i = 0; i < m; i++) put(a, x, value, index, i, made[i].at);
}

void snk_sort_line(const snk_sort_args *a, const char *x, char *value, int64_t *index, void *scratch) {
  const int64_t step = a->xstep * (int64_t)sn_size_of(a->dtype);
  if (a->n == 0 || a->k == 0) return;
  if (a->nan_wins && sn_is_float(a->dtype))
    for (int64_t i = 0; i < a->n; i++) {
      const double v = sn_load_double(x + i * step, a->dtype);
      if (v != v) {
        put(a, x, value, index, 0, i);
        return;
      }
    }
  if (a->dtype == SN_I64 && a->n <= UINT32_MAX) { /* numbers less than 2^32 apart are as good as those of 32 bits */
    uint64_t low = UINT64_MAX, high = 0;
    for (int64_t i = 0; i < a->n; i++) {
      const uint64_t key = key_i64(x + i * step);
      low = key < low ? key : low;
      high = key > high ? key : high;
    }
    if (high - low <= UINT32_MAX) {
      snk_sort_args near = *a;
      near.low = low;
      line_narrow(&near, x, value, index, scratch);
      return;
    }
  }
  if (is_wide(a->dtype, a->n)) line_wide(a, x, value, index, scratch);
  else line_narrow(a, x, value, index, scratch);
}
