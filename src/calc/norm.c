/* norm.c - normalisation spread over the threads. */
#include "base/thread.h"
#include "calc/cast.h"
#include "calc/norm.h"

typedef struct norm_job { const snk_norm_args *a; snk_norm_units *units; } norm_job;

static void run(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const norm_job *j = ctx;
  j->units(j->a, begin, end);
}

static void spread(const snk_norm_args *a, snk_norm_units *units, int64_t n, int64_t each) {
  norm_job j = {a, units};
  sn_parallel(n, 16384 / (each > 0 ? each : 1) + 1, run, &j);
}

static const snk_norm_type *type_of(const snk_norm_args *a) { return a->f64 ? &snk_norm_now()->f64 : &snk_norm_now()->f32; }

static void by_channel(const snk_norm_args *a, snk_norm_units *units) {
  const int64_t lanes = a->inner == 1 ? type_of(a)->lanes : 1;
  spread(a, units, (a->channels + lanes - 1) / lanes, a->n * a->inner * lanes);
}

/* One plane (or row) of y, rounded while it is near. */
static void plane(const snk_norm_args *a, snk_norm_units *units, int64_t u) {
  const int64_t n = a->inner == 1 ? a->channels : a->inner;
  units(a, u, u + 1);
  if (!a->round) return;
  float *y = (float *)a->y + u * n;
  snk_cast_now()->round_bf16(n, y, y);
}

static void run_planes(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const norm_job *j = ctx;
  for (int64_t u = begin; u < end; u++) plane(j->a, j->units, u);
}

/* The planes or rows of y. */
static void by_plane(const snk_norm_args *a, snk_norm_units *units) {
  const int64_t n = a->inner == 1 ? a->n : a->n * a->channels, each = a->inner == 1 ? a->channels : a->inner;
  norm_job j = {a, units};
  if (!a->round) spread(a, units, n, each);
  else sn_parallel(n, 16384 / (each > 0 ? each : 1) + 1, run_planes, &j);
}

void snk_batch_roots(const snk_norm_args *a) { type_of(a)->roots(a); }
/* A channel's statistics or sums and then its planes, which are still near; as by themselves, the channels' order aside. */
typedef struct both_job { const snk_norm_args *a; snk_norm_units *first, *second; } both_job;
static void run_both(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const both_job *j = ctx;
  for (int64_t c = begin; c < end; c++) {
    j->first(j->a, c, c + 1);
    for (int64_t i = 0; i < j->a->n; i++) plane(j->a, j->second, i * j->a->channels + c);
  }
}

static void channel_and_planes(const snk_norm_args *a, snk_norm_units *first, snk_norm_units *second) {
  both_job j = {a, first, second};
  if (a->inner >= 256 && a->channels >= 4 * sn_threads()) sn_parallel(a->channels, 16384 / (a->n > 0 ? a->n * a->inner : 1) + 1, run_both, &j);
  else {
    by_channel(a, first);
    by_plane(a, second);
  }
}

void snk_batch_train(const snk_norm_args *a) { channel_and_planes(a, type_of(a)->stats, type_of(a)->apply); }
void snk_batch_apply(const snk_norm_args *a) { by_plane(a, type_of(a)->apply); }
void snk_batch_backward(const snk_norm_args *a) {
  if (a->y) channel_and_planes(a, type_of(a)->sums, type_of(a)->back);
  else by_channel(a, type_of(a)->sums);
}
void snk_row_norm(const snk_norm_args *a) { by_plane(a, type_of(a)->row); }
void snk_row_norm_backward(const snk_norm_args *a) {
  const int64_t columns = type_of(a)->columns;
  spread(a, type_of(a)->row_back, a->n, a->channels);
  spread(a, type_of(a)->row_sums, (a->channels + columns - 1) / columns, a->n * columns);
}
