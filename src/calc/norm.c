/* norm.c - normalisation spread over the threads. */
#include "base/dtype.h"
#include "base/thread.h"
#include "calc/norm.h"

typedef struct norm_job { const snk_norm_args *a; snk_norm_units *units; snk_norm_planes *planes; } norm_job;

static const snk_norm_type *type_of(const snk_norm_args *a) { return snk_norm_of(a->f64); }

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

/* ---- groups: the passes of a batch of one example, whose channels are the planes of all; what a group has, each of its planes gets */

enum { OF_GROUP, VAR, GROUP_RSTD, MEAN, RSTD, WEIGHT, BIAS, GW, GB };
_Static_assert(GB + 1 == SNK_GROUP_ROOM, "room");

SNK_SMALL_BEGIN /* nothing of it goes over elements */
typedef struct group_job { const snk_group_args *a; const snk_norm_type *k; sn_dtype type; int64_t planes, each; } group_job;

static void *part_of(const group_job *j, int which) { return (char *)j->a->room + which * j->planes * (int64_t)sn_size_of(j->type); }
static double number(const group_job *j, const void *p, int64_t i) { return sn_load_double((const char *)p + i * (int64_t)sn_size_of(j->type), j->type); }
static void set_number(const group_job *j, void *p, int64_t i, double v) { sn_store_double((char *)p + i * (int64_t)sn_size_of(j->type), j->type, v); }

/* Planes from..from+count-1; where each has one number, all of them. */
static void planes_of(const group_job *j, const snk_norm_args *p, int64_t from, int64_t count) {
  if (p->inner == 1) j->k->apply(p, 0, 1, 1);
  else j->k->apply(p, from, count, 1);
}
static void sums_of(const group_job *j, const snk_norm_args *p, int64_t from, int64_t count) {
  if (p->inner == 1) j->k->sums(p, 0, (j->planes + j->k->lanes - 1) / j->k->lanes);
  else j->k->sums(p, from, from + count);
}

/* What the gradient of x is made with: -(x - mean) r^2 k2 - r k1 + g w r, where k1 and k2 are the group's means of g w and of g w times the normalised x. */
static void set_back(const group_job *j, int64_t u) {
  const snk_group_args *a = j->a;
  const int64_t from = u * j->each, c = from % a->channels;
  const double r = number(j, part_of(j, GROUP_RSTD), u), by = 1 / (double)(j->each * a->inner);
  double k1 = 0, k2 = 0;
  for (int64_t i = 0; i < j->each; i++) {
    const double w = a->weight ? number(j, a->weight, c + i) : 1;
    k1 += w * number(j, part_of(j, GB), from + i), k2 += w * number(j, part_of(j, GW), from + i);
    set_number(j, part_of(j, WEIGHT), from + i, w);
  }
  for (int64_t i = from; i < from + j->each; i++) {
    set_number(j, part_of(j, RSTD), i, -r * r * k2 * by);
    set_number(j, part_of(j, BIAS), i, -r * k1 * by);
  }
}

/* Groups begin..end-1, all their planes. */
static void run_groups(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const group_job *j = ctx;
  const snk_group_args *a = j->a;
  const snk_norm_args g = {.f64 = a->f64, .n = 1, .channels = a->n * a->groups, .inner = j->each * a->inner, .epsilon = a->epsilon, .x = a->x,
                           .mean = part_of(j, OF_GROUP), .var = part_of(j, VAR), .rstd = part_of(j, GROUP_RSTD)};
  snk_norm_args p = {.f64 = a->f64, .n = 1, .channels = j->planes, .inner = a->inner, .x = a->x, .y = a->y, .mean = part_of(j, MEAN), .rstd = part_of(j, RSTD)};
  if (g.inner > 1) j->k->stats(&g, begin, end);
  else j->k->stats(&g, 0, (g.channels + j->k->lanes - 1) / j->k->lanes);
  const int64_t from = begin * j->each, count = (end - begin) * j->each;
  for (int64_t i = from; i < from + count; i++) {
    set_number(j, part_of(j, MEAN), i, number(j, g.mean, i / j->each));
    set_number(j, part_of(j, RSTD), i, number(j, g.rstd, i / j->each));
    if (a->weight) set_number(j, part_of(j, WEIGHT), i, number(j, a->weight, i % a->channels));
    if (a->bias) set_number(j, part_of(j, BIAS), i, number(j, a->bias, i % a->channels));
  }
  if (a->g == NULL) {
    p.weight = a->weight ? part_of(j, WEIGHT) : NULL, p.bias = a->bias ? part_of(j, BIAS) : NULL;
    planes_of(j, &p, from, count);
    return;
  }
  p.g = a->g, p.gw = part_of(j, GW), p.gb = part_of(j, GB);
  sums_of(j, &p, from, count);
  for (int64_t u = begin; u < end; u++) set_back(j, u);
  p.bias = part_of(j, BIAS);
  planes_of(j, &p, from, count);
  for (int64_t i = from; i < from + count; i++) {
    set_number(j, part_of(j, RSTD), i, number(j, g.rstd, i / j->each));
    set_number(j, part_of(j, MEAN), i, 0);
  }
  p.x = a->g, p.add = a->y, p.weight = part_of(j, WEIGHT), p.bias = NULL;
  planes_of(j, &p, from, count);
}

void snk_group_norm(const snk_group_args *a) {
  const group_job j = {.a = a, .k = snk_norm_of(a->f64), .type = a->f64 ? SN_F64 : SN_F32,
                       .planes = a->n * a->channels, .each = a->channels / a->groups};
  const int64_t all = a->n * a->groups, size = j.each * a->inner;
  if (all * size > 0) {
    if (a->inner == 1) run_groups((void *)(uintptr_t)&j, 0, all, 0);
    else sn_parallel(all, 16384 / size + 1, run_groups, (void *)(uintptr_t)&j);
  }
  for (int64_t c = 0; a->g && c < a->channels; c++) {
    double gw = 0, gb = 0;
    for (int64_t i = 0; i < a->n && size > 0; i++) gw += number(&j, part_of(&j, GW), i * a->channels + c), gb += number(&j, part_of(&j, GB), i * a->channels + c);
    set_number(&j, a->gw, c, gw);
    set_number(&j, a->gb, c, gb);
  }
}
SNK_SMALL_END
