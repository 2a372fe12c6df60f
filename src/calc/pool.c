/* pool.c - planes shared out among the threads. */
#include "calc/pool.h"
#include "base/thread.h"

typedef struct job {
  const snk_pool_shape *max;
  const snk_mean_shape *mean;
  const snk_pool_type *t;
  int what;                 /* of a maximum: 0 forward, 1 backward, 2 pick; of a mean: 3, 4 */
  int64_t in, out;          /* numbers of planes */
  int64_t size, size_b, size_to; /* bytes of a number at a, b, to */
  const char *a, *b;
  char *to;
} job;

static void task(void *ctx, int64_t begin, int64_t end, int worker) {
  const job *j = ctx;
  void *row = j->mean || snk_max_worker(j->max) ? sn_scratch(worker) : NULL;
  for (int64_t i = begin; i < end; i++) {
    const bool up = j->what == 1 || j->what == 4, half = j->max && j->max->half;
    const char *a = j->a + i * (up ? j->out : j->in) * j->size, *b = j->b ? j->b + i * j->in * j->size_b : NULL;
    char *to = j->to + i * (up ? j->in : j->out) * j->size_to;
    switch (j->what) {
    case 0:
      if (half) snk_pool_now()->max_half(j->max, a, to);
      else j->t->max(j->max, a, to, row);
      break;
    case 1:
      if (half) snk_pool_now()->max_back_half(j->max, a, b, to);
      else j->t->max_back(j->max, a, b, to, row);
      break;
    case 2: j->t->pick(j->max, a, b, to); break;
    case 3: j->t->mean(j->mean, a, to, row); break;
    default: j->t->mean_back(j->mean, a, to, row); break;
    }
  }
}

static void share(job *j, int64_t planes, bool f64) {
  j->t = snk_pool_of(f64);
  int64_t work = j->in + 4 * j->out;
  sn_parallel(planes, 1 + 32768 / (work + 1), task, j);
}

static job job_max(const snk_pool_shape *s, int what) {
  const int64_t size = s->f64 ? 8 : 4, x = s->half ? 2 : size, y = s->half_y ? 2 : size, gx = s->half_gx ? 2 : size;
  job j = {.max = s, .what = what, .in = s->y.in * s->x.in, .out = s->y.out * s->x.out, .size = size, .size_b = size, .size_to = size};
  if (what == 0) j.size = x, j.size_to = y;
  if (what == 1) j.size = y, j.size_b = x, j.size_to = gx;
  return j;
}
static job job_mean(const snk_mean_shape *s, int what) {
  const int64_t size = s->f64 ? 8 : 4;
  return (job){.mean = s, .what = what, .in = s->y.in * s->x.in, .out = s->y.out * s->x.out, .size = size, .size_b = size, .size_to = size};
}

void snk_max_pool(const snk_pool_shape *s, const void *x, void *y) {
  job j = job_max(s, 0);
  j.a = x, j.to = y;
  share(&j, s->planes, s->f64);
}
void snk_max_pool_backward(const snk_pool_shape *s, const void *gy, const void *x, void *gx) {
  job j = job_max(s, 1);
  j.a = gy, j.b = x, j.to = gx;
  share(&j, s->planes, s->f64);
}
void snk_max_pool_pick(const snk_pool_shape *s, const void *g, const void *x, void *y) {
  job j = job_max(s, 2);
  j.a = g, j.b = x, j.to = y;
  share(&j, s->planes, s->f64);
}
void snk_mean_pool(const snk_mean_shape *s, const void *x, void *y) {
  job j = job_mean(s, 3);
  j.a = x, j.to = y;
  share(&j, s->planes, s->f64);
}
void snk_mean_pool_backward(const snk_mean_shape *s, const void *gy, void *gx) {
  job j = job_mean(s, 4);
  j.a = gy, j.to = gx;
  share(&j, s->planes, s->f64);
}
