/* rnn.c - LSTM and GRU over a sequence: the matrix products around the gates, and how rows are shared out among the threads. */
#include <string.h>
#include "base/thread.h"
#include "calc/gemm.h"
#include "calc/index.h"
#include "calc/rnn.h"

typedef struct rnn_job {
  const snk_rnn_args *a;
  const snk_rnn_type *k;
  const snk_gemm_type *gemm;
  int64_t size, sums;     /* bytes of a number; sums: G h */
  bool stepwise;          /* what the input has to do with is done step by step; else for all steps at once */
  char *in, *rec;         /* the input's sums, n x G h of one step or t x n x 4h; the recurrent ones of one step, n x G h */
  char *packed, *packed_in; /* whh, wih */
  char *di, *dg, *dh, *dc, *db, *gw;
  int64_t *number;        /* by number: a.number from 0, steps first */
  char *table, *seen;     /* by number: the table's rows as x has them, zeros where no row has the number; has one? */
  char *by_number;        /* size x G h; forward: in; backward: di of equal numbers added up */
} rnn_job;

static int64_t rounded(int64_t bytes) { return (bytes + 63) / 64 * 64; }

static bool few(const snk_rnn_args *a) { return a->n * a->t <= SNK_RNN_FEW; }

bool snk_rnn_by_number(int64_t rows, int64_t size) { return rows > SNK_RNN_FEW && rows / 4 >= size; }

/* Lays the parts out in the scratch; how many bytes they take. With at NULL only counts. */
static int64_t lay_out(rnn_job *w, bool backward, char *at) {
  const snk_rnn_args *a = w->a;
  const int64_t rows = a->n * a->t, h = a->h;
  int64_t used = 0;
  w->size = a->f64 ? 8 : 4;
  w->sums = (a->gru ? 3 : 4) * h;
  w->stepwise = a->n >= SNK_RNN_MANY && a->number == NULL;
#define PART(field, bytes) (w->field = at ? (void *)(at + used) : NULL, used += rounded(bytes))
  if (a->number) {
    PART(number, rows * 8);
    PART(table, a->size * a->f * w->size);
    PART(seen, a->size);
    PART(by_number, a->size * w->sums * w->size);
  }
  if (!backward) {
    if (a->number) w->in = w->by_number;
    else if (w->stepwise) PART(in, a->n * w->sums * w->size);
    else if (a->keep) w->in = a->gates;
    else PART(in, rows * 4 * h * w->size);
    PART(rec, a->n * w->sums * w->size);
    if (!few(a)) PART(packed, (int64_t)snk_gemm_packed_bytes(a->f64, w->sums, h));
    if (!few(a)) PART(packed_in, (int64_t)snk_gemm_packed_bytes(a->f64, w->sums, a->f));
    return used;
  }
  PART(dg, rows * w->sums * w->size);
  if (a->gru) PART(di, rows * w->sums * w->size);
  else w->di = w->dg;
  PART(dh, a->n * h * w->size);
  PART(dc, a->n * h * w->size);
  PART(db, a->n * 4 * h * w->size);
  if (!a->gru && !a->number) PART(gw, w->sums * (a->f + h) * w->size);
  PART(packed, (int64_t)snk_gemm_packed_bytes(a->f64, h, w->sums));
  PART(packed_in, (int64_t)snk_gemm_packed_bytes(a->f64, a->f, w->sums));
#undef PART
  return used;
}

size_t snk_rnn_scratch(const snk_rnn_args *a, bool backward) {
  rnn_job w = {.a = a};
  return (size_t)lay_out(&w, backward, NULL) + 64;
}

static void begin(rnn_job *w, const snk_rnn_args *a, bool backward) {
  *w = (rnn_job){.a = a};
  w->k = a->f64 ? &snk_rnn_now()->f64 : &snk_rnn_now()->f32;
  w->gemm = a->f64 ? &snk_gemm_now()->f64 : &snk_gemm_now()->f32;
  lay_out(w, backward, a->scratch);
}

static const char *at(const void *p, int64_t elements, int64_t size) { return p ? (const char *)p + elements * size : NULL; }

/* By number: the numbers as steps want them, and the table's rows. */
static void find_rows(const rnn_job *w) {
  const snk_rnn_args *a = w->a;
  const int64_t row = a->f * w->size;
  memset(w->seen, 0, (size_t)a->size);
  memset(w->table, 0, (size_t)(a->size * row));
  for (int64_t i = 0; i < a->n; i++)
    for (int64_t t = 0; t < a->t; t++) {
      const int64_t line = i * a->t + t, k = a->number[line] - a->first;
      w->number[t * a->n + i] = k;
      if (w->seen[k]) continue;
      w->seen[k] = 1;
      memcpy(w->table + k * row, (const char *)a->x + line * row, (size_t)row);
    }
}

/* Rows in pieces as large as the threads allow: each piece reads the recurrent weights once a step. */
static void over_rows(rnn_job *w, sn_task *fn) {
  const snk_rnn_args *a = w->a;
  const int64_t work = a->t * a->h * w->sums, least = work > 0 ? 200000 / work + 1 : a->n;
  int64_t grain = (a->n + sn_threads() - 1) / sn_threads();
  if (grain < least) grain = least;
  sn_parallel(a->n, grain, fn, w);
}

/* ---- forward */

/* Step t of the rows from `row` on. */
static snk_rnn_step step_at(const rnn_job *w, int64_t row, int64_t rows, int64_t t) {
  const snk_rnn_args *a = w->a;
  const int64_t h = a->h, z = w->size, line = row * a->t + t, kept = t * a->n + row;
  snk_rnn_step s = {.rows = rows, .h = h, .gates_step = 4 * h, .y_step = a->t * h, .bias = a->bih, .bias_rec = a->bhh};
  s.in = a->number ? w->in : w->stepwise ? at(w->in, row * w->sums, z) : at(w->in, kept * 4 * h, z);
  s.in_step = w->stepwise || a->number ? w->sums : 4 * h;
  s.number = a->number ? w->number + kept : NULL;
  s.gates = a->keep ? (char *)a->gates + kept * 4 * h * z : NULL;
  s.y = (char *)a->y + line * h * z;
  s.hprev = t > 0 ? at(a->y, (line - 1) * h, z) : at(a->h0, row * h, z);
  s.hprev_step = t > 0 ? a->t * h : h;
  if (s.hprev) s.rec = at(w->rec, row * w->sums, z);
  s.rec_step = w->sums;
  if (a->gru) return s;
  s.c = (char *)a->cells + (a->keep ? kept : row) * h * z;
  s.cprev = t == 0 ? at(a->c0, row * h, z) : a->keep ? at(a->cells, (kept - a->n) * h, z) : (const char *)s.c;
  s.c_step = s.cprev_step = h;
  return s;
}

static void gates(const rnn_job *w, const snk_rnn_step *s) {
  if (w->a->gru) w->k->gru(s);
  else w->k->lstm(s);
}

static void forward_rows(void *ctx, int64_t begin_row, int64_t end_row, int worker) {
  const rnn_job *w = ctx;
  const snk_rnn_args *a = w->a;
  const int64_t z = w->size, rows = end_row - begin_row;
  snk_gemm_args in = {.f64 = a->f64, .m = a->n, .n = w->sums, .k = a->f, .ars = a->t * a->f, .acs = 1, .crs = w->sums, .ccs = 1,
      .packed = w->packed_in};
  snk_gemm_args rec = {.f64 = a->f64, .m = a->n, .n = w->sums, .k = a->h, .acs = 1, .crs = w->sums, .ccs = 1, .packed = w->packed};
  for (int64_t t = 0; t < a->t; t++) {
    const snk_rnn_step s = step_at(w, begin_row, rows, t);
    if (w->stepwise)
      w->gemm->block(&in, at(a->x, (begin_row * a->t + t) * a->f, z), NULL, w->in + begin_row * w->sums * z, 0, 0, rows, 0, w->sums,
          sn_scratch(worker));
    rec.ars = s.hprev_step;
    if (s.hprev) w->gemm->block(&rec, s.hprev, NULL, w->rec + begin_row * w->sums * z, 0, 0, rows, 0, w->sums, sn_scratch(worker));
    gates(w, &s);
  }
}

typedef struct gemv_job { const snk_rnn_type *k; void *y; const void *w, *x; int64_t n, len; } gemv_job;

static void gemv_rows(void *ctx, int64_t begin_block, int64_t end_block, int worker) {
  const gemv_job *j = ctx;
  const int64_t end = end_block * 16 < j->n ? end_block * 16 : j->n;
  (void)worker;
  j->k->gemv(j->y, j->w, j->x, begin_block * 16, end, j->len);
}

static void gemv(const rnn_job *w, void *y, const void *weight, const void *x, int64_t k) {
  gemv_job j = {w->k, y, weight, x, w->sums, k};
  if (k * w->sums < 100000) w->k->gemv(y, weight, x, 0, w->sums, k);
  else sn_parallel((w->sums + 15) / 16, 50000 / (16 * k) + 1, gemv_rows, &j);
}

/* Few rows in all: nothing is packed. */
static void forward_few(const rnn_job *w) {
  const snk_rnn_args *a = w->a;
  const int64_t h = a->h, z = w->size;
  for (int64_t row = 0; row < a->n; row++)
    for (int64_t t = 0; t < a->t; t++) {
      const snk_rnn_step s = step_at(w, row, 1, t);
      gemv(w, w->in + (t * a->n + row) * 4 * h * z, a->wih, at(a->x, (row * a->t + t) * a->f, z), a->f);
      if (s.hprev) gemv(w, w->rec + row * w->sums * z, a->whh, s.hprev, h);
      gates(w, &s);
    }
}

void snk_rnn_forward(const snk_rnn_args *a) {
  rnn_job w;
  begin(&w, a, false);
  if (a->n == 0 || a->h == 0) return;
  if (few(a)) {
    forward_few(&w);
    return;
  }
  snk_gemm_pack_b(a->f64, w.sums, a->f, a->wih, 1, a->f, w.packed_in);
  if (a->number) {
    find_rows(&w);
    const snk_gemm_args g = {.f64 = a->f64, .m = a->size, .n = w.sums, .k = a->f, .a = w.table, .ars = a->f, .acs = 1, .packed = w.packed_in, .c = w.in,
                             .crs = w.sums, .ccs = 1};
    snk_gemm_run(&g);
  } else if (!w.stepwise) {
    const snk_gemm_args g = {.f64 = a->f64, .m = a->t, .n = w.sums, .k = a->f, .a = a->x, .ars = a->f, .acs = 1, .packed = w.packed_in, .c = w.in,
                             .crs = a->n * 4 * a->h, .ccs = 1, .nbatch = 1, .batch = {a->n}, .abatch = {a->t * a->f}, .cbatch = {4 * a->h}};
    snk_gemm_run(&g);
  }
  snk_gemm_pack_b(a->f64, w.sums, a->h, a->whh, 1, a->h, w.packed);
  over_rows(&w, forward_rows);
}

/* ---- backward */

static void backward_rows(void *ctx, int64_t begin_row, int64_t end_row, int worker) {
  const rnn_job *w = ctx;
  const snk_rnn_args *a = w->a;
  const int64_t h = a->h, z = w->size, rows = end_row - begin_row;
  const snk_gemm_args g = {.f64 = a->f64, .m = a->n, .n = h, .k = w->sums, .ars = w->sums, .acs = 1, .crs = h, .ccs = 1, .packed = w->packed,
                           .accumulate = a->gru};
  const snk_gemm_args gx = {.f64 = a->f64, .m = a->n, .n = a->f, .k = w->sums, .ars = w->sums, .acs = 1, .crs = a->t * a->f, .ccs = 1,
                            .packed = w->packed_in};
  char *dh = w->dh + begin_row * h * z, *dc = w->dc + begin_row * h * z;
  for (int64_t t = a->t - 1; t >= 0; t--) {
    const int64_t line = begin_row * a->t + t, kept = t * a->n + begin_row;
    snk_rnn_step s = step_at(w, begin_row, rows, t);
    s.last = t == a->t - 1;
    s.rec = s.last ? NULL : dh;
    s.rec_step = h;
    s.gy = at(a->gy, line * h, z), s.gy_step = a->t * h;
    s.gc = at(a->gcells, kept * h, z), s.gc_step = h;
    s.dg = w->dg + kept * w->sums * z, s.di = w->di + kept * w->sums * z, s.d_step = w->sums;
    s.dc = dc, s.dh = dh, s.db = w->db + begin_row * 4 * h * z;
    if (a->gru) w->k->gru_back(&s);
    else w->k->lstm_back(&s);
    if (t > 0 || a->gh0) w->gemm->block(&g, s.dg, NULL, dh, 0, 0, rows, 0, h, sn_scratch(worker));
    if (w->stepwise && a->gx && a->f > 0)
      w->gemm->block(&gx, s.di, NULL, (char *)a->gx + (begin_row * a->t + t) * a->f * z, 0, 0, rows, 0, a->f, sn_scratch(worker));
  }
  if (a->gh0) memcpy((char *)a->gh0 + begin_row * h * z, dh, (size_t)(rows * h * z));
  if (a->gc0) memcpy((char *)a->gc0 + begin_row * h * z, dc, (size_t)(rows * h * z));
}

/* n numbers of a row of a panel; whole panels are the rule, and their sizes are few. */
static inline void copy_numbers(char *to, const char *from, int64_t bytes) {
  switch (bytes) {
    case 128: memcpy(to, from, 128); break;
    case 64: memcpy(to, from, 64); break;
    default: memcpy(to, from, (size_t)bytes);
  }
}

/* Columns n0.. of rows [x | h before] as the second factor of a product: row (t, i) has x's (i, t), then y's (i, t-1) or h0's i. */
static void pack_inputs(const void *ctx, int64_t batch, int64_t k0, int64_t kc, int64_t n0, int64_t nc, int64_t nr, void *dst) {
  const rnn_job *w = ctx;
  const snk_rnn_args *a = w->a;
  const int64_t h = a->h, f = a->f, z = w->size, of_x = n0 + nc <= f ? nc : n0 < f ? f - n0 : 0, of_h = nc - of_x, from_h = n0 + of_x - f;
  char *to = dst;
  (void)batch;
  for (int64_t k = k0, i = k0 % a->n, t = k0 / a->n; k < k0 + kc; k++, to += nr * z) {
    const int64_t line = i * a->t + t;
    if (of_x) copy_numbers(to, at(a->x, line * f + n0, z), of_x * z);
    if (of_h) {
      const char *before = t > 0 ? at(a->y, (line - 1) * h + from_h, z) : at(a->h0, i * h + from_h, z);
      if (before) copy_numbers(to + of_x * z, before, of_h * z);
      else memset(to + of_x * z, 0, (size_t)(of_h * z));
    }
    if (nc < nr) memset(to + nc * z, 0, (size_t)((nr - nc) * z));
    if (++i == a->n) i = 0, t++;
  }
}

/* LSTM: both weights' gradients have the same first factor and are one product, taken apart after it. */
static void weight_gradients(const rnn_job *w) {
  const snk_rnn_args *a = w->a;
  const int64_t f = a->f, h = a->h, z = w->size, wide = f + h;
  const snk_gemm_args g = {.f64 = a->f64, .m = w->sums, .n = wide, .k = a->n * a->t, .a = w->dg, .ars = 1, .acs = w->sums, .pack = pack_inputs,
      .pack_ctx = w,
                           .c = w->gw, .crs = wide, .ccs = 1};
  snk_gemm_run(&g);
  for (int64_t j = 0; j < w->sums; j++) {
    memcpy((char *)a->gwih + j * f * z, w->gw + j * wide * z, (size_t)(f * z));
    memcpy((char *)a->gwhh + j * h * z, w->gw + (j * wide + f) * z, (size_t)(h * z));
  }
}

/* GRU: what the input's sums and the recurrent ones are is not the same. */
static void weight_gradients_apart(const rnn_job *w) {
  const snk_rnn_args *a = w->a;
  const int64_t rows = a->n * a->t, f = a->f, h = a->h;
  snk_gemm_args g = {.f64 = a->f64, .m = w->sums, .n = f, .k = rows, .a = w->di, .ars = 1, .acs = w->sums, .pack = pack_inputs, .pack_ctx = w,
      .c = a->gwih,
                     .crs = f, .ccs = 1};
  if (a->gwih && a->number == NULL) snk_gemm_run(&g);
  rnn_job v = *w;
  snk_rnn_args only_h = *a;
  only_h.f = 0;
  v.a = &only_h;
  g = (snk_gemm_args){.f64 = a->f64, .m = w->sums, .n = h, .k = rows, .a = w->dg, .ars = 1, .acs = w->sums, .pack = pack_inputs, .pack_ctx = &v,
      .c = a->gwhh,
                      .crs = h, .ccs = 1};
  if (a->gwhh) snk_gemm_run(&g);
}

/* The input's weights and its table. */
static void gradients_by_number(const rnn_job *w) {
  const snk_rnn_args *a = w->a;
  const int64_t f = a->f, row = f * w->size;
  if (a->gwih == NULL && a->gx == NULL) return;
  find_rows(w);
  const snk_rows sum = {.table = w->by_number, .rows = w->di, .index = w->number, .outer = 1, .size = a->size, .n = a->n * a->t, .inner = w->sums,
                        .dtype = a->f64 ? SN_F64 : SN_F32, .zero = true};
  snk_rows_add(&sum);
  const snk_gemm_args gw = {.f64 = a->f64, .m = w->sums, .n = f, .k = a->size, .a = w->by_number, .ars = 1, .acs = w->sums, .b = w->table, .brs = f,
                            .bcs = 1, .c = a->gwih, .crs = f, .ccs = 1};
  if (a->gwih) snk_gemm_run(&gw);
  if (a->gx == NULL) return;
  const snk_gemm_args gx = {.f64 = a->f64, .m = a->size, .n = f, .k = w->sums, .a = w->by_number, .ars = w->sums, .acs = 1, .packed = w->packed_in,
                            .c = a->gx, .crs = f, .ccs = 1};
  snk_gemm_run(&gx);
  for (int64_t k = 0; k < a->size; k++) /* zero exactly, whatever the weights are */
    if (!w->seen[k] || k == a->skip) memset((char *)a->gx + k * row, 0, (size_t)row);
}

/* From the sums over steps of each row, in the order of the rows. */
static void bias_gradients(const rnn_job *w) {
  const snk_rnn_args *a = w->a;
  const int64_t h = a->h, h4 = 4 * h;
  if (a->gbih) w->k->column_sums(a->gbih, w->db, a->n, h4, 0, w->sums);
  if (a->gbhh && !a->gru) w->k->column_sums(a->gbhh, w->db, a->n, h4, 0, w->sums);
  if (a->gbhh && a->gru) {
    w->k->column_sums(a->gbhh, w->db, a->n, h4, 0, 2 * h);
    w->k->column_sums((char *)a->gbhh + 2 * h * w->size, w->db, a->n, h4, 3 * h, h4);
  }
}

void snk_rnn_backward(const snk_rnn_args *a) {
  rnn_job w;
  begin(&w, a, true);
  if (a->gx) snk_gemm_pack_b(a->f64, a->f, w.sums, a->wih, a->f, 1, w.packed_in);
  if (a->n > 0 && a->h > 0) {
    snk_gemm_pack_b(a->f64, a->h, w.sums, a->whh, a->h, 1, w.packed);
    over_rows(&w, backward_rows);
  }
  if (a->number) gradients_by_number(&w);
  else if (a->gx && (!w.stepwise || a->h == 0)) {
    const snk_gemm_args g = {.f64 = a->f64, .m = a->t, .n = a->f, .k = w.sums, .a = w.di, .ars = a->n * w.sums, .acs = 1, .packed = w.packed_in,
        .c = a->gx,
                             .crs = a->f, .ccs = 1, .nbatch = 1, .batch = {a->n}, .abatch = {w.sums}, .cbatch = {a->t * a->f}};
    snk_gemm_run(&g);
  }
  if (a->gru || a->number || a->gwih == NULL || a->gwhh == NULL) weight_gradients_apart(&w);
  else weight_gradients(&w);
  bias_gradients(&w);
}
