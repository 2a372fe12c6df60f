/* index.c - rows and elements by position. */
#include "calc/index.h"
#include <string.h>
#include "base/thread.h"
#include "calc/cast.h"
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

static void get_task(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const snk_rows *r = ctx;
  const int64_t bytes = r->inner * (int64_t)sn_size_of(r->dtype);
  int64_t o = begin / r->n, j = begin % r->n;
  for (int64_t i = begin; i < end; i++) {
    copy_row(r->rows + i * bytes, r->table + (o * r->size + r->index[j] - r->base) * bytes, bytes);
    if (++j == r->n) j = 0, o++;
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

static void rows_into(const snk_rows *r, snk_row *add) {
  const int64_t rows = r->outer * r->size, work = r->outer * r->n * r->inner + (r->zero ? rows * r->inner / 4 : 0);
  into w = {r, add};
  if (rows == 0 || r->inner == 0) return;
  /* a few large pieces: each reads the indices once more */
  sn_parallel(rows, work < GRAIN ? rows : 1 + rows / (2 * sn_threads()), into_task, &w);
}

void snk_rows_put(const snk_rows *r) { rows_into(r, NULL); }
void snk_rows_add(const snk_rows *r) { rows_into(r, snk_map_row(SNK_MAP_add, r->dtype)); }

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
    for (int64_t i = 0; i < u->a; i++)                                          \
      for (int64_t k = 0; k < u->b; k++) {                                      \
        const int64_t at = u->index[i * u->ia + k * u->ib] - u->base;           \
        T *t = (T *)(void *)u->table + i * u->ta + k * u->tb + at * u->td;      \
        V *v = (V *)(void *)u->value + i * u->va + k * u->vb;                   \
        DO;                                                                     \
      }                                                                         \
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
    w.istride[d] = step;
    step *= l->shape[d];
    if (d != l->dim) lines *= l->shape[d];
  }
  if (lines == 0 || l->shape[l->dim] == 0) return;
  sn_parallel(lines, 1 + GRAIN / l->shape[l->dim], lines_task, &w);
}
