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

/* Plane by plane, while it is near. */
static void run_rounding(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const norm_job *j = ctx;
  const int64_t n = j->a->inner == 1 ? j->a->channels : j->a->inner;
  for (int64_t u = begin; u < end; u++) {
    float *y = (float *)j->a->y + u * n;
    j->units(j->a, u, u + 1);
    snk_cast_now()->round_bf16(n, y, y);
  }
}

static void by_plane(const snk_norm_args *a, snk_norm_units *units) {
  if (a->round) {
    norm_job j = {a, units};
    const int64_t each = a->inner == 1 ? a->channels : a->inner;
    sn_parallel(a->inner == 1 ? a->n : a->n * a->channels, 16384 / (each > 0 ? each : 1) + 1, run_rounding, &j);
  } else if (a->inner == 1) spread(a, units, a->n, a->channels);
  else spread(a, units, a->n * a->channels, a->inner);
}

void snk_batch_roots(const snk_norm_args *a) { type_of(a)->roots(a); }
/* A channel's statistics or sums and then its planes, which are still near; as by themselves, the channels' order aside. */
typedef struct both_job { const snk_norm_args *a; snk_norm_units *first, *second; } both_job;
static void run_both(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const both_job *j = ctx;
  for (int64_t c = begin; c < end; c++) {
    j->first(j->a, c, c + 1);
    for (int64_t i = 0; i < j->a->n; i++) j->second(j->a, i * j->a->channels + c, i * j->a->channels + c + 1);
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
void snk_row_norm(const snk_norm_args *a) { spread(a, type_of(a)->row, a->n, a->channels); }
void snk_row_norm_backward(const snk_norm_args *a) {
  const int64_t columns = type_of(a)->columns;
  spread(a, type_of(a)->row_back, a->n, a->channels);
  spread(a, type_of(a)->row_sums, (a->channels + columns - 1) / columns, a->n * columns);
}
