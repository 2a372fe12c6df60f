/* feed.c - batches gathered into memory that is used again, by a thread ahead of the consumer where that pays. */
#include "exec/feed.h"
#include <string.h>
#include "base/error.h"
#include "base/fpmode.h"
#include "base/mem.h"
#include "base/thread.h"
#include "calc/index.h"

#define HALF ((size_t)1 << 20)  /* bytes that the thread makes at a time, about: both halves stay in a second cache */
#define MOST 16                 /* batches of a half */
/* Bytes of a batch from which handing it over costs less than making it (measured): of rows that are copied, and of numbers made of bytes, where a
 * quarter of it is read. */
#define PAYS ((size_t)32 << 10)
#define PAYS_FROM_BYTES ((size_t)1 << 20)

typedef struct column {
  snt_reader reader;   /* first; of the data, where there is a worker */
  sn_worker *worker;
  snt_tensor *x;       /* a view of our own */
  snt_storage *memory; /* of all slots */
  sn_dtype to;
  double scale;
  int64_t inner, apart; /* elements of a row, and from one slot to the next */
  uint32_t version;     /* of the data when what is made ahead was begun */
} column;

struct snp_feed {
  int columns;
  column col[SNP_COLUMNS];
  int64_t n, batch, count; /* samples and batches of an epoch */
  int64_t per;             /* batches of a half */
  int slots;
  snt_tensor **view;       /* by slot and column: whole batches, then the last one if it is smaller */
  snt_tensor *order;
  int64_t base;
  int64_t next;            /* batch */
  int64_t here, ready;     /* groups of `per` batches: the one that is consumed, and the one that is made, or being made, beside it; -1 */
  bool flush;
  sn_worker *worker;       /* NULL: nothing is made ahead */
  int64_t job;             /* the worker's: a group */
};

static void wait_for_worker(snt_reader *r) { sn_worker_wait(((const column *)(const void *)r)->worker); }

/* ---- making one */

static int check_column(const snp_column *c, int64_t n) {
  if (c->x->storage == NULL || c->x->ndim == 0 || (c->x->ndim > 0 && c->x->shape[0] < 1)) return sn_fail("feed: wants samples along a first dimension");
  int64_t step = 1;
  for (int d = c->x->ndim - 1; d > 0; d--) {
    if (c->x->shape[d] != 1 && c->x->stride[d] != step) return sn_fail("feed: the elements of a sample must be consecutive; x:contiguous() makes them so");
    step *= c->x->shape[d];
  }
  if (n < 1) return sn_fail("feed: %lld samples an epoch; it wants 1 at least", (long long)n);
  return 0;
}

static snt_tensor *slot_view(const column *c, int64_t slot, int64_t rows) {
  int64_t shape[SNT_MAXDIM], stride[SNT_MAXDIM];
  memcpy(shape, c->x->shape, sizeof shape);
  shape[0] = rows;
  snt_contiguous_strides(c->x->ndim, shape, stride);
  return snt_from_storage(c->memory, c->to, c->x->ndim, shape, stride, slot * c->apart);
}

static int make_slots(snp_feed *f) {
  const int64_t whole = f->worker ? 2 * f->per : 1, last = f->n % f->batch, at = (f->count - 1) % whole;
  f->slots = (int)whole + (last > 0);
  if ((f->view = sn_calloc((size_t)(f->slots * f->columns), sizeof *f->view)) == NULL) return -1;
  for (int k = 0; k < f->columns; k++) {
    column *c = &f->col[k];
    if ((c->memory = snt_storage_new((size_t)(whole * c->apart) * sn_size_of(c->to))) == NULL) return -1;
    for (int s = 0; s < f->slots; s++)
      if ((f->view[s * f->columns + k] = slot_view(c, s < whole ? s : at, s < whole ? f->batch : last)) == NULL) return -1;
  }
  return 0;
}

static bool pays(const column *c, size_t bytes) {
  const bool from_bytes = c->x->dtype == SN_U8 && c->to != SN_U8;
  return bytes >= (from_bytes ? PAYS_FROM_BYTES : PAYS) && sn_threads_available() > sn_threads();
}

snp_feed *snp_feed_new(int columns, const snp_column *col, int64_t n, int64_t batch, snp_ahead ahead) {
  size_t bytes = 0;
  snp_feed *f = NULL;
  for (int k = 0; k < columns; k++)
    if (check_column(&col[k], n) < 0) return NULL;
  if (batch < 1) {
    sn_fail("feed: batches of %lld samples; it wants 1 at least", (long long)batch);
    return NULL;
  }
  if ((f = sn_calloc(1, sizeof *f)) == NULL) return NULL;
  f->columns = columns;
  f->n = n;
  f->batch = batch < n ? batch : n;
  f->count = (n + f->batch - 1) / f->batch;
  f->next = f->count;
  for (int k = 0; k < columns; k++) {
    column *c = &f->col[k];
    if ((c->x = snt_view(col[k].x)) == NULL) goto fail;
    c->to = col[k].to;
    c->scale = col[k].scale;
    c->inner = snt_count(c->x->ndim - 1, c->x->shape + 1);
    c->apart = (f->batch * c->inner + 63) / 64 * 64;
    bytes += (size_t)c->apart * sn_size_of(c->to);
  }
  f->per = (int64_t)(HALF / (bytes + 1)) + 1;
  if (f->per > MOST) f->per = MOST;
  if (f->count > 1 && (ahead == SNP_ALWAYS || (ahead == SNP_PAYS && pays(&f->col[0], bytes))) && (f->worker = sn_worker_new()) == NULL) goto fail;
  if (f->worker == NULL) f->per = 1;
  for (int k = 0; f->worker && k < columns; k++) {
    column *c = &f->col[k];
    c->worker = f->worker;
    c->reader.wait = wait_for_worker;
    snt_reader_add(c->x->storage, &c->reader);
  }
  if (make_slots(f) == 0) return f;
fail:
  snp_feed_free(f);
  return NULL;
}

void snp_feed_free(snp_feed *f) {
  if (f == NULL) return;
  sn_worker_free(f->worker);
  for (int i = 0; f->view && i < f->slots * f->columns; i++) snt_release(f->view[i]);
  for (int k = 0; k < f->columns; k++) {
    if (f->col[k].worker) snt_reader_remove(f->col[k].x->storage, &f->col[k].reader);
    snt_release(f->col[k].x);
    snt_storage_release(f->col[k].memory);
  }
  snt_release(f->order);
  sn_free(f->view);
  sn_free(f);
}

int snp_feed_slots(const snp_feed *f) { return f->slots; }
snt_tensor *snp_feed_view(const snp_feed *f, int slot, int k) { return f->view[slot * f->columns + k]; }
bool snp_feed_is_ahead(const snp_feed *f) { return f->worker != NULL; }

/* ---- gathering */

static int64_t place(const snp_feed *f, int64_t b) { return f->worker ? b % (2 * f->per) : 0; }

/* Batches b.. of the group of b, each column in the mode that the operation `to` has. */
static void fill(snp_feed *f, int64_t b) {
  const int64_t end = (b / f->per + 1) * f->per < f->count ? (b / f->per + 1) * f->per : f->count;
  for (; b < end; b++)
    for (int k = 0; k < f->columns; k++) {
      const column *c = &f->col[k];
      const int64_t from = b * f->batch, left = f->n - from;
      const snk_pick p = {.from = snt_data(c->x), .to = c->memory->data + place(f, b) * c->apart * (int64_t)sn_size_of(c->to),
          .step = c->x->stride[0] * (int64_t)sn_size_of((sn_dtype)c->x->dtype), .at = f->order ? (const int64_t *)snt_data(f->order) + from : NULL,
          .base = f->base, .first = from, .n = left < f->batch ? left : f->batch, .known = left, .inner = c->inner,
          .from_type = (sn_dtype)c->x->dtype, .to_type = c->to, .scale = c->scale};
      const sn_fpmode saved = sn_fp_enter(f->flush && c->to != SN_F64 && c->x->dtype != SN_F64 ? SN_FP_FLUSH : SN_FP_EXACT);
      snk_pick_rows(&p);
      sn_fp_leave(saved);
    }
}

static void fill_job(void *ctx) {
  snp_feed *f = ctx;
  fill(f, f->job * f->per);
}

static void make_ahead(snp_feed *f, int64_t group) {
  f->ready = group * f->per < f->count ? group : -1;
  if (f->ready < 0) return;
  f->job = group;
  sn_worker_give(f->worker, fill_job, f);
}

/* The data was written to since: remembers how it is now. */
static bool changed(snp_feed *f) {
  bool yes = false;
  for (int k = 0; k < f->columns; k++) {
    const uint32_t now = f->col[k].x->storage->version;
    yes |= now != f->col[k].version;
    f->col[k].version = now;
  }
  return yes;
}

static int check_order(const snp_feed *f, const snt_tensor *order, int64_t base) {
  if (order->dtype != SN_I64 || order->ndim != 1 || !snt_is_contiguous(order) || order->shape[0] != f->n)
    return sn_fail("feed: the order is a %s tensor of shape %s; it wants %lld positions in int64, one after another", sn_dtypes[order->dtype].name,
                   SNT_SHAPE(order), (long long)f->n);
  const int64_t *p = snt_data(order);
  for (int k = 0; k < f->columns; k++)
    for (int64_t i = 0, size = f->col[k].x->shape[0]; i < f->n; i++)
      if ((uint64_t)(p[i] - base) >= (uint64_t)size)
        return sn_fail("feed: position %lld at place %lld of the order; there are %lld samples", (long long)p[i], (long long)(i + base), (long long)size);
  return 0;
}

int snp_feed_begin(snp_feed *f, snt_tensor *order, int64_t base, int64_t first) {
  if (f->worker) sn_worker_wait(f->worker);
  f->next = f->count;
  if (order && check_order(f, order, base) < 0) return -1;
  for (int k = 0; order == NULL && k < f->columns; k++)
    if (f->col[k].x->shape[0] < f->n) return sn_fail("feed: there are %lld samples, %lld are wanted", (long long)f->col[k].x->shape[0], (long long)f->n);
  if (first < 0 || first > f->count) return sn_fail("feed: the epoch has %lld batches, %lld is none of them", (long long)f->count, (long long)(first + 1));
  snt_tensor *mine = NULL; /* what the worker reads is not the caller's to close or to write to */
  if (order && (mine = snt_clone(order)) == NULL) return -1;
  snt_release(f->order);
  f->order = mine;
  f->base = base;
  f->next = first;
  f->here = f->ready = -1;
  f->flush = sno_mode_now()->flush;
  changed(f);
  return 0;
}

int snp_feed_next(snp_feed *f) {
  const int64_t b = f->next;
  if (b >= f->count) return -1;
  f->next++;
  const int64_t group = b / f->per;
  const bool anew = changed(f);
  if (f->worker) {
    if (group != f->here || anew) {
      sn_worker_wait(f->worker);
      if (group != f->ready || anew) fill(f, b);
      f->here = group;
      make_ahead(f, group + 1);
    }
  } else fill(f, b);
  for (int k = 0; k < f->columns; k++) {
    f->col[k].memory->version++;
    f->col[k].memory->writer = "the next batch";
  }
  const bool last = b == f->count - 1 && f->n % f->batch != 0;
  return last ? f->slots - 1 : (int)place(f, b);
}
