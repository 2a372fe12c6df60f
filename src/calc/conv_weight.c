/* conv_weight.c - how the weight's gradient of a convolution is cut: blocks of images or bands of one, runs of blocks, and who sums what. */
#include <string.h>
#include "base/thread.h"
#include "calc/conv_half.h"
#include "calc/conv_pass.h"
#include "calc/whole.h"
#include "calc/winograd.h"

enum { RUNS = 16 };
#define PARTIAL_BYTES ((int64_t)16 << 20) /* of partial sums */

typedef struct grad_plan {
  snk_conv_pass p;
  int64_t size, per, bands, blocks, runs, chunk, parts; /* images of a block; bands of an image; blocks; runs of `chunk` blocks */
  bool last, exact, spread;                             /* channels last; places packed; the gradient's rows are laid at the source's pitch */
  int64_t channels, sums;                               /* last: of a place; numbers of a group's partial sums */
  int64_t vectors, gld;                                 /* of a whole band; step of the gradient's copy from row to row */
  const snk_conv_type *t;
  void (*lay)(const void *src, int64_t channels, int64_t plane, int64_t rows, int64_t width, int64_t pitch, int64_t to, void *dst); /* the gradient's copy */
  int64_t gsize;                                        /* bytes of a number of the gradient */
  const char *x, *gy;
  char *out;
  uint32_t *masks[2];                                   /* of a whole band and of the last */
} grad_plan;

static int64_t grad_places(const grad_plan *w, int64_t rows) { return (rows - 1) * w->p.pitch + w->p.x.n; }

static grad_plan plan_grad(const snk_conv_shape *s) {
  grad_plan w = {.p = snk_conv_plain(s), .t = snk_conv_type_of(s), .size = snk_conv_size_of(s), .per = 1};
  w.gsize = s->narrow_y ? 2 : w.size, w.lay = s->narrow_y ? w.t->spread_narrow : w.t->spread;
  snk_conv_pass *p = &w.p;
  int64_t lanes = w.t->lanes, useful = most(1, p->y.n * p->x.n);
  p->tap_rows = false;
  p->direct = snk_conv_fits(&p->y) && snk_conv_fits(&p->x);
  snk_conv_lay(p, most(p->y.n, 1));
  double m = (double)p->m / 2, waste = (double)most(1, p->y.n * p->pitch) / (double)useful;
  w.channels = parts_of(p->c, lanes) * lanes;
  w.last = p->m >= 4 && 4 * p->c >= 3 * w.channels && p->k > 0;
  w.exact = !w.last && p->k > 0 && m * 1.02 + 5 + 2 * (double)lanes / (double)most(1, p->x.n) < m * waste * 1.08;
  if (w.exact) p->direct = false, snk_conv_lay(p, p->band);
  /* a block holds so many places that a tile's rows of the gradient stay close to the core */
  int64_t flat = w.exact || w.last ? useful : most(1, p->y.n * p->pitch), want = w.last ? 1024 : 8192 / w.size;
  int64_t room = ((int64_t)4 << 20) / w.size / most(1, p->m + p->c * p->y.slots * p->x.slots);
  want = most(least(want, room), 1);
  if (flat > 2 * want) {
    int64_t bands = parts_of(p->y.n, most(1, want / p->pitch));
    snk_conv_lay(p, parts_of(p->y.n, bands));
  } else w.per = least(most(p->n, 1), most(1, want / flat));
  w.bands = parts_of(p->y.n, p->band);
  w.blocks = w.bands > 1 ? p->n * w.bands : parts_of(p->n, w.per);
  w.spread = !w.exact && !w.last && p->pitch != p->x.n;
  w.vectors = p->y.n > 0 ? parts_of(grad_places(&w, p->band), lanes) : 0;
  w.gld = w.exact ? parts_of(w.per * p->band * p->x.n, lanes) * lanes : w.vectors * lanes;
  if (w.last) { /* whole places are read, so strides cost nothing, and none of the border: the source's rows as they lie. No tables are wanted */
    w.vectors = 0, w.gld = w.per * p->band * p->x.n;
    p->direct = true, p->pitch = p->y.step * p->x.src;
    p->plane = least(p->y.src, (p->band - 1) * p->y.step + (p->y.taps - 1) * p->y.dilation + 1) * p->x.src;
  }
  w.sums = w.last ? p->y.taps * p->x.taps * p->m * w.channels : p->m * p->k;
  int64_t bytes = most(1, p->groups * w.sums * w.size);
  w.runs = most(1, least(w.blocks, least(RUNS, PARTIAL_BYTES / bytes)));
  w.chunk = parts_of(most(w.blocks, 1), w.runs);
  w.runs = parts_of(most(w.blocks, 1), w.chunk);
  return w;
}

/* In a worker's scratch: the prepared source or its turned form, the gradient's copy, packed rows. */
static size_t grad_turned(const grad_plan *w) { return w->last ? aligned((size_t)((w->per * w->p.plane + w->t->wide) * w->channels * w->size)) : 0; }
static size_t grad_source(const grad_plan *w) { return w->p.direct ? 0 : aligned((size_t)((w->per * w->p.c * w->p.plane + w->t->wide) * w->size)); }
static size_t grad_copy(const grad_plan *w) {
  if (w->last) return aligned((size_t)((w->p.m * w->gld + w->t->wide) * w->size));
  return w->exact || w->spread ? aligned((size_t)(w->per * w->p.m * w->gld * w->size)) : 0;
}
static size_t grad_worker(const grad_plan *w) {
  size_t room = w->exact ? (size_t)((least(w->p.k, SNK_CONV_KCHUNK) * w->gld + w->t->lanes) * w->size) : 0;
  return grad_source(w) + grad_turned(w) + grad_copy(w) + room;
}
static size_t grad_scratch(const grad_plan *w) {
  size_t n = aligned((size_t)w->p.k * sizeof(int64_t)) + aligned((size_t)w->vectors * 2 * sizeof(uint32_t));
  return w->runs == 1 && !w->last ? n : n + (size_t)(w->runs * w->p.groups * w->sums * w->size);
}

/* One block of one group: rows m0..m1 of its gradient are put into or added to `out`. `to`: the worker's scratch. */
static void grad_block(const grad_plan *w, int64_t block, int64_t g, int64_t m0, int64_t m1, char *out, bool add, char *to) {
  const snk_conv_pass *p = &w->p;
  int64_t image = w->bands > 1 ? block / w->bands : block * w->per, oy0 = w->bands > 1 ? block % w->bands * p->band : 0;
  int64_t images = w->bands > 1 ? 1 : least(w->per, p->n - image), rows = most(0, least(p->band, p->y.n - oy0)), size = w->size;
  int64_t splane = p->y.src * p->x.src, gplane = p->y.n * p->x.n, xstep = p->groups * p->c * splane, gstep = p->groups * p->m * gplane;
  const char *x = w->x + (image * xstep + g * p->c * splane) * size, *gy = w->gy + (image * gstep + (g * p->m + m0) * gplane + oy0 * p->x.n) * w->gsize;
  char *turned = to + grad_source(w), *copy = turned + grad_turned(w);
  snk_conv_grad d = {.p = p, .images = images, .vectors = rows ? parts_of(grad_places(w, rows), w->t->lanes) : 0, .g = copy, .gld = w->gld, .m0 = m0,
                     .m1 = m1, .out = out, .add = add, .masks = w->masks[rows < p->band], .x = to, .ximage = p->c * p->plane};
  if (w->last) {
    const int64_t per = rows * p->x.n, top = p->y.origin + oy0 * p->y.step, from = least(most(top, 0), p->y.src);
    const int64_t to_row = least(most(top + (rows - 1) * p->y.step + (p->y.taps - 1) * p->y.dilation + 1, from), p->y.src);
    d.channels = w->channels, d.piece = (snk_conv_piece){images, oy0, rows, p->plane, images * per}, d.gld = images * per;
    for (int64_t i = 0; i < images && rows; i++) {
      w->t->turn(x + (i * xstep + from * p->x.src) * size, p->c, splane, (to_row - from) * p->x.src, w->channels,
                 turned + i * p->plane * w->channels * size);
      w->t->turn_rows(gy + i * gstep * size, m1 - m0, gplane, per, images * per, i * per, copy);
    }
    d.x = turned, d.xfirst = from * p->x.src;
    w->t->grad_last(&d);
    return;
  }
  if (p->direct) {
    d.x = x + ((p->y.origin + oy0) * p->pitch + p->x.origin) * size;
    d.ximage = xstep;
  } else
    for (int64_t i = 0; i < images && rows; i++) w->t->prepare(p, x + i * xstep * size, oy0, rows, to + i * d.ximage * size);
  if (w->exact) {
    d.piece = (snk_conv_piece){images, oy0, rows, d.ximage, images * rows * p->x.n};
    for (int64_t i = 0; i < images; i++)
      w->lay(gy + i * gstep * w->gsize, m1 - m0, gplane, 1, rows * p->x.n, 0, w->gld, copy + i * rows * p->x.n * size);
    for (int64_t m = 0; m < m1 - m0; m++) memset(copy + (m * w->gld + d.piece.places) * size, 0, (size_t)((w->gld - d.piece.places) * size));
    d.images = 1, d.vectors = w->gld / w->t->lanes, d.masks = NULL;
    d.room = copy + grad_copy(w);
    w->t->grad_exact(&d);
    return;
  }
  if (w->spread) {
    d.gimage = (m1 - m0) * d.gld;
    for (int64_t i = 0; i < images; i++)
      w->lay(gy + i * gstep * w->gsize, m1 - m0, gplane, rows, p->x.n, p->pitch, d.gld, copy + i * d.gimage * size);
  } else d.g = gy, d.gld = gplane, d.gimage = gstep;
  w->t->grad(&d);
}

static void grad_task(void *ctx, int64_t begin, int64_t end, int worker) {
  const grad_plan *w = ctx;
  const snk_conv_pass *p = &w->p;
  for (int64_t i = begin; i < end; i++) {
    int64_t part = i % w->parts, g = i / w->parts % p->groups, r = i / w->parts / p->groups;
    int64_t m0 = p->m * part / w->parts, m1 = p->m * (part + 1) / w->parts;
    char *out = w->out + (r * p->groups + g) * w->sums * w->size;
    for (int64_t b = r * w->chunk; b < w->blocks && b < (r + 1) * w->chunk; b++)
      grad_block(w, b, g, m0, m1, out, b > r * w->chunk, sn_scratch(worker));
  }
}

typedef struct total { bool f64; int64_t n, runs; const void *from; void *to; } total;
static void total_task(void *ctx, int64_t begin, int64_t end, int worker) {
  const total *w = ctx;
  (void)worker;
  for (int64_t r = 0; r < w->runs; r++)
    if (w->f64) {
      const double *from = (const double *)w->from + r * w->n;
      double *to = w->to;
      for (int64_t i = begin; i < end; i++) to[i] = r ? to[i] + from[i] : from[i];
    } else {
      const float *from = (const float *)w->from + r * w->n;
      float *to = w->to;
      for (int64_t i = begin; i < end; i++) to[i] = r ? to[i] + from[i] : from[i];
    }
}

/* From tap x m x channels to m x channels x tap, for rows of all groups. */
#define TURN(NAME, T)                                                                                                \
  static void NAME(const grad_plan *w, int64_t i, T *gw) {                                                           \
    int64_t taps = w->p.y.taps * w->p.x.taps, g = i / w->p.m, m = i % w->p.m;                                        \
    for (int64_t tap = 0; tap < taps; tap++) {                                                                       \
      const T *from = (const T *)(const void *)w->out + g * w->sums + (tap * w->p.m + m) * w->channels;              \
      for (int64_t c = 0; c < w->p.c; c++) {                                                                         \
        T sum = from[c];                                                                                             \
        for (int64_t r = 1; r < w->runs; r++) sum += from[r * w->p.groups * w->sums + c];                            \
        gw[(i * w->p.c + c) * taps + tap] = sum;                                                                     \
      }                                                                                                              \
    }                                                                                                                \
  }
TURN(turn_f32, float)
TURN(turn_f64, double)
typedef struct turning { const grad_plan *w; void *gw; } turning;
static void turn_task(void *ctx, int64_t begin, int64_t end, int worker) {
  const turning *t = ctx;
  (void)worker;
  for (int64_t i = begin; i < end; i++)
    if (t->w->size == 8) turn_f64(t->w, i, t->gw);
    else turn_f32(t->w, i, t->gw);
}

void snk_conv_backward_weight(const snk_conv_shape *s, const void *x, const void *gy, void *gw, void *scratch) {
  if (snk_half_suits(s, SNK_CONV_WEIGHT)) {
    snk_half_grad(s, x, gy, gw, scratch);
    return;
  }
  if (s->n > 0 && s->groups > 0 && snk_winograd_grad_suits(s)) {
    snk_winograd_grad(s, x, gy, gw, scratch);
    return;
  }
  grad_plan w = plan_grad(s);
  snk_conv_pass *p = &w.p;
  int64_t n = p->groups * p->m * p->k;
  if (n == 0) return;
  if (p->n == 0 || p->y.n <= 0 || p->x.n <= 0) {
    memset(gw, 0, (size_t)(n * w.size));
    return;
  }
  char *at = scratch;
  int64_t *koff = (int64_t *)(void *)at;
  if (!w.last) snk_conv_offsets(p, koff);
  p->koff = koff;
  at += aligned((size_t)p->k * sizeof(int64_t));
  w.masks[0] = (uint32_t *)(void *)at, w.masks[1] = w.masks[0] + w.vectors;
  at += aligned((size_t)w.vectors * 2 * sizeof(uint32_t));
  for (int q = 0; q < 2; q++) {
    int64_t rows = q ? p->y.n - (w.bands - 1) * p->band : p->band;
    for (int64_t v = 0; v < w.vectors; v++) {
      w.masks[q][v] = 0;
      for (int64_t l = 0; l < w.t->lanes; l++) {
        int64_t place = v * w.t->lanes + l;
        if (place % p->pitch < p->x.n && place < rows * p->pitch) w.masks[q][v] |= 1u << l;
      }
    }
  }
  w.x = x, w.gy = gy, w.out = w.runs == 1 && !w.last ? gw : at;
  double work = (double)p->n * (double)n * (double)(p->y.n * p->x.n);
  int64_t items = w.runs * p->groups, threads = work < 2 * SNK_CONV_SMALL ? 1 : sn_threads();
  w.parts = items < 2 * threads && threads > 1 ? least(most(1, p->m / 4), parts_of(2 * threads, items)) : 1;
  items *= w.parts;
  sn_parallel(items, threads == 1 ? items : most(1, (int64_t)(SNK_CONV_SMALL / (work / (double)items))), grad_task, &w);
  if (w.last) {
    turning turn = {&w, gw};
    sn_parallel(p->groups * p->m, 1 + 16384 / (p->k * w.runs), turn_task, &turn);
    return;
  }
  total t = {s->f64, n, w.runs, at, gw};
  if (w.runs > 1) sn_parallel(n, 65536, total_task, &t);
}

bool snk_conv_weight_narrow(const snk_conv_shape *s) {
  const grad_plan w = plan_grad(s);
  return w.exact || w.spread;
}

void snk_conv_weight_space(const snk_conv_shape *s, size_t *scratch, size_t *worker) {
  if (s->n > 0 && s->groups > 0 && snk_winograd_grad_suits(s)) {
    snk_winograd_grad_space(s, scratch, worker);
    return;
  }
  const grad_plan w = plan_grad(s);
  *scratch += grad_scratch(&w);
  *worker += grad_worker(&w);
}
