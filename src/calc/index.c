/* index.c - rows and elements by position. */
#include "calc/index.h"
#include <string.h>
#include "base/thread.h"
#include "calc/cast.h"
#include "calc/isa.h"
#include "calc/map.h"

#define GRAIN 32768 /* elements below which the work stays on the caller */
#define PICK_GRAIN 12288 /* of a batch: sharing 16 rows of 784 costs a microsecond, 32 rows gain two and more (measured) */

/* ---- rows */

static inline void copy_row(char *to, const char *from, int64_t bytes) {
  switch (bytes) {
    case 4: memcpy(to, from, 4); break;
    case 8: memcpy(to, from, 8); break;
    default: memcpy(to, from, (size_t)bytes);
  }
}

/* Rows of so many bytes of one line of the table, at its own positions; several elements may be one row, which lies anywhere then. */
#define TAKE(size) for (int64_t k = 0; k < n; k++) memcpy(to + k * (size), line + at[k] * (size), (size_t)(size)); break

static void get_task(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const snk_rows *r = ctx;
  const int64_t bytes = r->inner * (int64_t)sn_size_of(r->dtype);
  int64_t o = begin / r->n, j = begin % r->n;
  for (int64_t i = begin, n; i < end; i += n, j = 0, o++) {
    n = r->n - j < end - i ? r->n - j : end - i;
    const char *line = r->table + (o * r->size - r->base) * bytes;
    char *to = r->rows + i * bytes;
    const int64_t *at = r->index + j;
    switch (bytes) {
      case 1: TAKE(1);
      case 2: TAKE(2);
      case 4: TAKE(4);
      case 8: TAKE(8);
      default: TAKE(bytes);
    }
  }
}

void snk_rows_get(const snk_rows *r) {
  if (r->inner == 0) return;
  sn_parallel(r->outer * r->n, 1 + GRAIN / r->inner, get_task, (void *)(uintptr_t)r);
}

typedef struct into { const snk_rows *r; snk_row *add; } into;

#define AHEAD 4      /* rows that are asked for before their turn: rows of a large table lie in no cache (measured) */
#define LINES 64     /* of the cache, of such a row; the processor asks for the rest by itself */

static inline void fetch_row(const char *row, int64_t bytes) {
  for (int64_t k = 0; k < bytes && k < LINES * 64; k += 64) __builtin_prefetch(row + k, 0, 2);
}

static inline const char *pick_row(const snk_pick *p, int64_t i) { return p->from + (p->at ? p->at[i] - p->base : p->first + i) * p->step; }

static void pick_task(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const snk_pick *p = ctx;
  const int64_t ts = (int64_t)sn_size_of(p->to_type), fs = (int64_t)sn_size_of(p->from_type), row = p->inner * fs;
  for (int64_t i = begin; i < end; i++) {
    if (p->at && i + AHEAD < p->known) fetch_row(pick_row(p, i + AHEAD), row);
    char *to = p->to + i * p->inner * ts;
    const char *from = pick_row(p, i);
    if (p->from_type == p->to_type) copy_row(to, from, row);
    else if (p->from_type == SN_U8 && p->to_type == SN_F32) snk_cast_now()->bytes(p->inner, (float *)(void *)to, (const uint8_t *)from, (float)p->scale);
    else if (p->from_type == SN_U8 && p->to_type == SN_F64)
      for (int64_t k = 0; k < p->inner; k++) ((double *)(void *)to)[k] = (double)((const uint8_t *)from)[k] * p->scale;
    else snk_cast_row(p->inner, to, ts, p->to_type, from, fs, p->from_type);
  }
}

void snk_pick_rows(const snk_pick *p) {
  if (p->inner == 0) return;
  sn_parallel(p->n, 1 + PICK_GRAIN / p->inner, pick_task, (void *)(uintptr_t)p);
}

/* Rows begin..end-1 of the table: every piece reads all indices and takes those that are its own, in their order. */
static void into_task(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const into *w = ctx;
  const snk_rows *r = w->r;
  const int64_t size = (int64_t)sn_size_of(r->dtype), bytes = r->inner * size;
  const int64_t steps[3] = {size, size, size};
  if (r->zero) memset(r->table + begin * bytes, 0, (size_t)((end - begin) * bytes));
  for (int64_t o = begin / r->size; o * r->size < end; o++) {
    const int64_t lo = begin - o * r->size > 0 ? begin - o * r->size : 0, hi = end - o * r->size < r->size ? end - o * r->size : r->size;
    for (int64_t j = 0; j < r->n; j++) {
      const int64_t at = r->index[j] - r->base, next = j + 4 * AHEAD, later = next < r->n ? r->index[next] - r->base : -1;
      if (later >= lo && later < hi) fetch_row(r->rows + (o * r->n + next) * bytes, bytes);
      if (at < lo || at >= hi || (r->skips && r->index[j] == r->skip)) continue;
      char *to = r->table + (o * r->size + at) * bytes, *from = r->rows + (o * r->n + j) * bytes;
      if (w->add) w->add(r->inner, (char *const[]){to, to, from}, steps, NULL);
      else copy_row(to, from, bytes);
    }
  }
}

/* ---- elements of lines */

/* A bundle of lines that lie behind one another along the last dimension: a x b elements, walked with these steps. */
typedef struct bundle {
  int64_t a, b;
  int64_t ia, ib;      /* of the index */
  int64_t ta, tb;      /* of the table, without the index */
  int64_t va, vb;      /* of the values */
  int64_t td;          /* of the table, times the index */
  const int64_t *index;
  char *table, *value;
  int64_t base;
} bundle;

#define WALK(T, V, DO)                                                          \
  do {                                                                          \
    for (int64_t i = 0; i < u->a; i++) {                                        \
      const int64_t *at = u->index + i * u->ia;                                 \
      T *const line = (T *)(void *)u->table + i * u->ta - u->base * u->td;      \
      V *v = (V *)(void *)u->value + i * u->va;                                 \
      const int64_t b = u->b, ib = u->ib, tb = u->tb, vb = u->vb, td = u->td;   \
      for (int64_t k = 0; k < b; k++, at += ib, v += vb) {                      \
        T *t = line + k * tb + *at * td;                                        \
        DO;                                                                     \
      }                                                                         \
    }                                                                           \
    return;                                                                     \
  } while (0)

static void get_bundle(const bundle *u, size_t size) {
  switch (size) {
    case 1: WALK(uint8_t, uint8_t, *v = *t);
    case 2: WALK(uint16_t, uint16_t, *v = *t);
    case 4: WALK(uint32_t, uint32_t, *v = *t);
    default: WALK(uint64_t, uint64_t, *v = *t);
  }
}

static void put_bundle(const bundle *u, size_t size) {
  switch (size) {
    case 1: WALK(uint8_t, uint8_t, *t = *v);
    case 2: WALK(uint16_t, uint16_t, *t = *v);
    case 4: WALK(uint32_t, uint32_t, *t = *v);
    default: WALK(uint64_t, uint64_t, *t = *v);
  }
}

static void add_bundle(const bundle *u, sn_dtype type) {
  switch (type) {
    case SN_F32: WALK(float, float, *t += *v);
    case SN_F64: WALK(double, double, *t += *v);
    case SN_I64: WALK(uint64_t, uint64_t, *t += *v); /* wraps */
    case SN_I32: WALK(uint32_t, uint32_t, *t += *v);
    default: WALK(uint8_t, uint8_t, *t = (uint8_t)(*t + *v));
  }
}

/* ---- rows of one element: lines that share their indices */

static void single_task(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const into *w = ctx;
  const snk_rows *r = w->r;
  const int64_t size = (int64_t)sn_size_of(r->dtype);
  const bundle u = {.a = end - begin, .b = r->n, .ib = 1, .ta = r->size, .va = r->n, .vb = 1, .td = 1, .index = r->index,
      .table = r->table + begin * r->size * size, .value = r->rows + begin * r->n * size, .base = r->base};
  if (r->zero) memset(u.table, 0, (size_t)((end - begin) * r->size * size));
  if (w->add) add_bundle(&u, r->dtype);
  else put_bundle(&u, (size_t)size);
}

static void rows_into(const snk_rows *r, snk_row *add) {
  const int64_t rows = r->outer * r->size, work = r->outer * r->n * r->inner + (r->zero ? rows * r->inner / 4 : 0);
  into w = {r, add};
  if (rows == 0 || r->inner == 0) return;
  if (r->inner == 1 && !r->skips) {
    sn_parallel(r->outer, 1 + GRAIN / (r->n + 1), single_task, &w);
    return;
  }
  /* a few large pieces: each reads the indices once more */
  sn_parallel(rows, work < GRAIN ? rows : 1 + rows / (2 * sn_threads()), into_task, &w);
}

void snk_rows_put(const snk_rows *r) { rows_into(r, NULL); }
void snk_rows_add(const snk_rows *r) { rows_into(r, snk_map_row(SNK_MAP_add, r->dtype)); }

/* The position along the line is i or k, whichever runs along it. */
static void mark_bundle(const bundle *u, bool inner) { WALK(int64_t, uint8_t, (void)v; *t = inner ? k : i); }
static void last_bundle(const bundle *u, bool inner) { WALK(int64_t, uint8_t, *v = *t == (inner ? k : i)); }

typedef struct job { const snk_lines *l; snk_way way; int64_t istride[8]; } job;

static void lines_task(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const job *w = ctx;
  const snk_lines *l = w->l;
  const int last = l->ndim - 1, dim = l->dim;
  const bool inner = dim == last;
  const int64_t size = (int64_t)sn_size_of(l->dtype), tsize = w->way == SNK_LAST ? 8 : size, vsize = w->way == SNK_LAST ? 1 : size;
  while (begin < end) {
    int64_t rest = begin, io = 0, to = 0, vo = 0, run = 1;
    for (int d = last; d >= 0; d--) {
      if (d == dim) continue;
      const int64_t at = rest % l->shape[d];
      rest /= l->shape[d];
      io += at * w->istride[d], to += at * l->table_stride[d], vo += at * l->value_stride[d];
      if (d == last) run = l->shape[d] - at < end - begin ? l->shape[d] - at : end - begin;
    }
    bundle u = {inner ? 1 : l->shape[dim], inner ? l->shape[dim] : run,
                inner ? 0 : w->istride[dim], w->istride[last],
                0, inner ? 0 : l->table_stride[last],
                inner ? 0 : l->value_stride[dim], l->value_stride[last],
                l->table_stride[dim], l->index + io, l->table + to * tsize, l->value + vo * vsize, l->base};
    switch (w->way) {
      case SNK_GET: get_bundle(&u, (size_t)size); break;
      case SNK_PUT: put_bundle(&u, (size_t)size); break;
      case SNK_ADD: add_bundle(&u, l->dtype); break;
      case SNK_LAST:
        mark_bundle(&u, inner);
        last_bundle(&u, inner);
    }
    begin += run;
  }
}

void snk_lines_run(const snk_lines *l, snk_way way) {
  job w = {.l = l, .way = way};
  int64_t lines = 1, step = 1;
  for (int d = l->ndim - 1; d >= 0; d--) {
    w.istride[d] = l->shared ? d == l->dim : step;
    step *= l->shape[d];
    if (d != l->dim) lines *= l->shape[d];
  }
  if (lines == 0 || l->shape[l->dim] == 0) return;
  sn_parallel(lines, 1 + GRAIN / l->shape[l->dim], lines_task, &w);
}

/* ---- elements by a condition */

enum { SOME = 248 };

#define SET(T, shift) for (int64_t i = 0; i < n; i++) to[i] = (T)(((const T *)(const void *)x)[i] << (shift)) != 0
#define WHERE(T)                                                                            \
  do {                                                                                      \
    const T *a = (const T *)(const void *)q[2], *b = (const T *)(const void *)q[3];         \
    const uint8_t *m = (const uint8_t *)q[1];                                               \
    T *y = (T *)(void *)q[0];                                                               \
    SNK_ALONE for (int64_t i = 0; i < n; i++) {                                             \
      const T k = (T)(0 - (T)(m[i] != 0));                                                  \
      y[i] = (T)((a[i] & k) | (b[i] & (T)~k));                                              \
    }                                                                                       \
  } while (0)

SNK_LONG_BEGIN /* vectors for what is common */
static void set_words(int64_t n, uint8_t *to, const char *x, int sign) { SET(uint32_t, sign); }
static void where_words(int64_t n, char *const *q) { WHERE(uint32_t); }

static int64_t sum_some(int64_t n, const uint8_t *m) {
  uint8_t k = 0; /* of at most SOME - 1 */
  for (int64_t i = 0; i < n; i++) k = (uint8_t)(k + m[i]);
  return k;
}
SNK_LONG_END

static void is_set(int64_t n, uint8_t *to, const char *x, sn_dtype t) {
  const int sign = sn_is_float(t) != 0; /* -0 is 0 */
  switch (sn_size_of(t)) {
    case 1: SET(uint8_t, 0); break;
    case 2: SET(uint16_t, sign); break;
    case 4: set_words(n, to, x, sign); break;
    default: SET(uint64_t, sign);
  }
}

static void where_close(int64_t n, char *const *q, size_t size) {
  switch (size) {
    case 1: WHERE(uint8_t); break;
    case 2: WHERE(uint16_t); break;
    case 4: where_words(n, q); break;
    default: WHERE(uint64_t);
  }
}

void snk_where_row(int64_t n, char *const *p, const int64_t *s, size_t size) {
  const sn_dtype as = size == 1 ? SN_U8 : size == 2 ? SN_F16 : size == 4 ? SN_F32 : SN_F64;
  const int64_t wide = (int64_t)size;
  if (s[0] == wide && s[1] == 1 && s[2] == wide && s[3] == wide) {
    where_close(n, p, size);
    return;
  }
  _Alignas(64) char buf[4][SOME * 8];
  for (int64_t i = 0; i < n; i += SOME) { /* side by side first */
    const int64_t some = n - i < SOME ? n - i : SOME;
    char *q[4];
    for (int k = 0; k < 4; k++) {
      const int64_t w = k == 1 ? 1 : wide;
      const sn_dtype t = k == 1 ? SN_U8 : as;
      q[k] = s[k] == w ? p[k] + i * w : buf[k];
      if (k > 0 && s[k] != w && (s[k] != 0 || i == 0)) snk_cast_row(some, q[k], w, t, p[k] + i * s[k], s[k], t);
    }
    where_close(some, q, size);
    if (s[0] != wide) snk_cast_row(some, p[0] + i * s[0], s[0], as, q[0], wide, as);
  }
}

static int64_t part_at(const snk_set *s, int64_t p) { return sn_cut(s->n, SNK_SET_PARTS, p, 1); }

static void count_task(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  snk_set *s = ctx;
  const int64_t size = (int64_t)sn_size_of(s->dtype);
  uint8_t m[SOME];
  for (int64_t p = begin; p < end; p++) {
    const int64_t last = part_at(s, p + 1);
    int64_t count = 0;
    for (int64_t i = part_at(s, p), n; i < last; i += n) {
      n = last - i < SOME ? last - i : SOME;
      is_set(n, m, s->x + i * size, s->dtype);
      count += sum_some(n, m);
    }
    s->before[p + 1] = count;
  }
}

/* Parts for a thread. */
static int64_t parts(const snk_set *s) { return 1 + GRAIN * SNK_SET_PARTS / (s->n + 1); }

int64_t snk_set_count(snk_set *s) {
  s->before[0] = 0;
  sn_parallel(SNK_SET_PARTS, parts(s), count_task, s);
  for (int p = 0; p < SNK_SET_PARTS; p++) s->before[p + 1] += s->before[p];
  return s->before[SNK_SET_PARTS];
}

typedef struct chosen { const snk_set *s; char *y; const char *from; size_t size; int ndim; const int64_t *shape; int64_t base; } chosen;

/* Every element is written, and the next one over it where it was not meant: nothing has to be foreseen. */
#define CHOOSE(T)                                                                                              \
  for (; k < last; i++) ((T *)(void *)c->y)[k] = ((const T *)(const void *)c->from)[i], k += s->x[i] != 0;     \
  break

static void take_task(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const chosen *c = ctx;
  const snk_set *s = c->s;
  int64_t i = part_at(s, begin), k = s->before[begin];
  const int64_t last = s->before[end];
  switch (c->size) {
    case 1: CHOOSE(uint8_t);
    case 2: CHOOSE(uint16_t);
    case 4: CHOOSE(uint32_t);
    default: CHOOSE(uint64_t);
  }
}

void snk_set_take(const snk_set *s, char *y, const char *from, size_t size) {
  chosen c = {.s = s, .y = y, .from = from, .size = size};
  sn_parallel(SNK_SET_PARTS, parts(s), take_task, &c);
}

static void positions_task(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const chosen *c = ctx;
  const snk_set *s = c->s;
  const int last = c->ndim - 1;
  const int64_t from = part_at(s, begin), to = part_at(s, end), size = (int64_t)sn_size_of(s->dtype);
  const int64_t wide = c->shape[last], base = c->base;
  int64_t *y = (int64_t *)(void *)c->y + s->before[begin] * c->ndim;
  int64_t at[8] = {0}, place = 0, seen = 0; /* the position of element `seen`, the last one found; `place` is along the last dimension */
  uint8_t m[SOME];
  uint16_t found[SOME];
  for (int64_t i = from, n; i < to; i += n) {
    int count = 0;
    n = to - i < SOME ? to - i : SOME;
    is_set(n, m, s->x + i * size, s->dtype);
    for (int k = 0; k < n; k++) found[count] = (uint16_t)k, count += m[k];
    for (int k = 0; k < count; k++, y += last + 1) {
      place += i + found[k] - seen;
      seen = i + found[k];
      if (place >= wide) {
        at[last] = place;
        for (int d = last; d > 0 && at[d] >= c->shape[d]; d--) {
          at[d - 1] += at[d] / c->shape[d];
          at[d] %= c->shape[d];
        }
        place = at[last];
      }
      for (int d = 0; d < last; d++) y[d] = at[d] + base;
      y[last] = place + base;
    }
  }
}

void snk_set_positions(const snk_set *s, int64_t *y, int ndim, const int64_t *shape, int64_t base) {
  chosen c = {.s = s, .y = (char *)y, .ndim = ndim, .shape = shape, .base = base};
  if (ndim > 0) sn_parallel(SNK_SET_PARTS, parts(s), positions_task, &c);
}
