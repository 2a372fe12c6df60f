/* norm.c - normalisation spread over the threads. */
#include "base/thread.h"
#include "calc/norm.h"

typedef struct norm_job { const snk_norm_args *a; snk_norm_units *units; snk_norm_planes *planes; } norm_job;

static const snk_norm_type *type_of(const snk_norm_args *a) { return a->f64 ? &snk_norm_doubles_now()->f64 : &snk_norm_now()->f32; }

static void share(sn_task *task, const norm_job *j, int64_t n, int64_t each) {
  sn_parallel(n, 16384 / (each > 0 ? each : 1) + 1, task, (void *)(uintptr_t)j);
}

static void run_units(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const norm_job *j = ctx;
  j->units(j->a, begin, end);
}

static void spread(const snk_norm_args *a, snk_norm_units *units, int64_t n, int64_t each) {
  const norm_job j = {.a = a, .units = units};
  share(run_units, &j, n, each);
}

/* ---- channels over a batch */

static void by_channel(const snk_norm_args *a, snk_norm_units *units) {
  const int64_t lanes = a->inner == 1 ? type_of(a)->lanes : 1;
  spread(a, units, (a->channels + lanes - 1) / lanes, a->n * a->inner * lanes);
}

static void run_planes(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const norm_job *j = ctx;
  j->planes(j->a, begin, end - begin, 1);
}

static void by_plane(const snk_norm_args *a, snk_norm_planes *planes) {
  const norm_job j = {.a = a, .planes = planes};
  share(run_planes, &j, a->inner == 1 ? a->n : a->n * a->channels, a->inner == 1 ? a->channels : a->inner);
}

/* A channel's statistics or sums and then its planes, some of which are still near. */
static void run_both(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const norm_job *j = ctx;
  for (int64_t c = begin; c < end; c++) {
    j->units(j->a, c, c + 1);
    j->planes(j->a, c, j->a->n, j->a->channels);
  }
}

static void channel_and_planes(const snk_norm_args *a, snk_norm_units *units, snk_norm_planes *planes) {
  const norm_job j = {.a = a, .units = units, .planes = planes};
  if (a->inner >= 256 && a->channels >= 4 * sn_threads()) share(run_both, &j, a->channels, a->n * a->inner);
  else {
    by_channel(a, units);
    by_plane(a, planes);
  }
}

void snk_batch_roots(const snk_norm_args *a) { type_of(a)->roots(a); }
void snk_batch_train(const snk_norm_args *a) { channel_and_planes(a, type_of(a)->stats, type_of(a)->apply); }
void snk_batch_apply(const snk_norm_args *a) { by_plane(a, type_of(a)->apply); }
void snk_batch_backward(const snk_norm_args *a) {
  if (a->y) channel_and_planes(a, type_of(a)->sums, type_of(a)->back);
  else by_channel(a, type_of(a)->sums);
}

/* ---- rows */

void snk_row_norm(const snk_norm_args *a) { spread(a, type_of(a)->row, a->n, a->channels); }
void snk_row_norm_backward(const snk_norm_args *a) {
  spread(a, type_of(a)->row_back, snk_norm_runs(a->n), SNK_NORM_RUN * a->channels);
  type_of(a)->row_fold(a, 0, a->channels);
}
