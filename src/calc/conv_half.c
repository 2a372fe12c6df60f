/* conv_half.c - how convolutions of bfloat16 numbers are cut for matrix tiles, and who does what. */
#include "calc/conv_half.h"
#include "base/thread.h"
#include "calc/conv_pass.h"
#include "calc/whole.h"
#include "calc/winograd.h"

#if defined(__x86_64__) /* what the functions of conv_half.bf16.c and conv_half_copy.bf16.c are compiled for */
/* Bytes of a copied band; of what one tile of channels and the gradient's tiles take in the first cache; runs that are summed apart, and their bytes. */
enum { BAND_BYTES = 512 << 10, NEAR_BYTES = 64 << 10, RUNS = 8 };
#define RUN_BYTES ((int64_t)16 << 20)
enum { CHANNELS = 8 }; /* of source and result at least: fewer leave the tiles empty; AVX512-BF16 goes forward from two pairs of them on */

/* Rounded up to whole lines of the cache, an odd number of them, so that planes do not meet in one set. */
static int64_t odd_lines(int64_t places, int64_t line) { return (parts_of(places, line) | 1) * line; }

static snk_half_axis axis_of(const snk_conv_axis *a, bool back) {
  if (back) return (snk_half_axis){.src = a->out, .out = a->in, .taps = a->k, .every = a->dilation, .border = (a->k - 1) * a->dilation - a->pad, .step = 1, .spread = a->stride};
  return (snk_half_axis){.src = a->in, .out = a->out, .taps = a->k, .every = a->dilation, .border = a->pad, .step = a->stride, .spread = 1};
}
/* Rows of the copy that some of the result meet. */
static int64_t copied(const snk_half_axis *y, int64_t rows) { return (rows - 1) * y->step + (y->taps - 1) * y->every + 1; }
/* How images lie in vectors of `lanes` places; `once`: where it can be, one copy serves all columns of taps. */
static void lay_rows(snk_half_copy *c, int64_t n, int64_t lanes, bool once) {
  const snk_half_axis *x = &c->x;
  c->lanes = lanes, c->side = 1;
  while (2 * c->side <= n && 2 * c->side * x->out <= lanes) c->side *= 2;
  c->slot = lanes / c->side;
  once = once && c->side == 1 && x->step == 1 && x->spread == 1;
  c->copies = once ? 1 : x->taps, c->width = x->out + (once ? (x->taps - 1) * x->every : 0);
  c->tiles = parts_of(x->out, 16);
  c->pitch = (parts_of(x->out, lanes) + parts_of(c->width - x->out, lanes)) * lanes;
  c->parts = c->side > 1 ? 1 : c->pitch / 16;
  c->room = 2 * lanes / c->side;
  if (x->src > c->room || c->copies * c->parts > SNK_HALF_PICKS) c->room = 0;
}
static size_t part_bytes(const snk_half_copy *c) { return aligned((size_t)(c->copies * c->parts) * sizeof *c->part); }

/* ---- forward and the input's gradient */

static void lay(snk_half *p, int64_t band) {
  p->band = band;
  p->copy.plane = odd_lines(copied(&p->copy.y, band) * p->copy.pitch, 16);
  p->copy.column = p->copy.copies == 1 ? p->copy.x.every : p->blocks * p->pairs * p->copy.plane;
}

static snk_half plan(const snk_conv_shape *s, bool back) {
  const int64_t taps = s->y.k * s->x.k;
  snk_half p = {.copy = {.y = axis_of(&s->y, back), .x = axis_of(&s->x, back)}, .n = s->n, .groups = s->groups, .m = back ? s->ci : s->co, .c = back ? s->co : s->ci,
                .flip = back, .round = s->round, .narrow = back ? s->narrow_x : s->narrow_y, .wm = back ? taps : s->ci * taps, .wc = back ? s->ci * taps : taps, .wg = s->co * s->ci * taps};
  const snk_half_axis *y = &p.copy.y;
  p.mtiles = parts_of(p.m, 16), p.mr = parts_of(p.m, p.mtiles);
  p.blocks = parts_of(p.c, 32), p.pairs = parts_of(p.c, 2 * p.blocks);
  lay_rows(&p.copy, p.n, 16, !sn_amx());
  const int64_t fits = (BAND_BYTES / (p.blocks * p.pairs * p.copy.copies * 4 * p.copy.pitch) - (y->taps - 1) * y->every) / y->step;
  lay(&p, fits >= y->out ? y->out : parts_of(y->out, parts_of(y->out, most(fits, 1))));
  return p;
}

/* Of a group's weight. */
static int64_t tiles_of(const snk_half *p) { return p->mtiles * p->blocks * p->copy.y.taps * p->copy.x.taps; }
static size_t packed_bytes(const snk_half *p) { return (size_t)(p->groups * tiles_of(p) * SNK_HALF_TILE * 2); }

size_t snk_half_packed_bytes(const snk_conv_shape *s) {
  const snk_half p = plan(s, false);
  return packed_bytes(&p);
}

static void pack_task(void *ctx, int64_t begin, int64_t end, int worker) {
  const snk_half *p = ctx;
  (void)worker;
  for (int64_t i = begin; i < end; i++) {
    const int64_t g = i / p->mtiles;
    snk_half_pack_rows(p, p->w + g * p->wg, i % p->mtiles, (uint16_t *)(uintptr_t)p->packed + g * tiles_of(p) * SNK_HALF_TILE);
  }
}
static void pack(snk_half *p, const float *w, void *to) {
  p->w = w, p->packed = to;
  sn_parallel(p->groups * p->mtiles, 1 + 4096 / (p->c * p->copy.y.taps * p->copy.x.taps), pack_task, p);
}
void snk_half_pack(const snk_conv_shape *s, const float *w, void *to) {
  snk_half p = plan(s, false);
  pack(&p, w, to);
}

typedef struct job { const snk_half *p; int64_t bands, shares; } job; /* bands of an image; shares of the rows of the weight */

static void band_task(void *ctx, int64_t begin, int64_t end, int worker) {
  const job *j = ctx;
  const snk_half *p = j->p;
  const snk_half_axis *y = &p->copy.y, *x = &p->copy.x;
  const int64_t splane = y->src * x->src, twos = parts_of(p->mtiles, 2);
  for (int64_t i = begin; i < end; i++) {
    const int64_t share = i % j->shares, band = i / j->shares % j->bands, sg = i / j->shares / j->bands, g = sg % p->groups, image = sg / p->groups * p->copy.side;
    const int64_t images = least(p->copy.side, p->n - image), oy0 = band * p->band, rows = least(p->band, y->out - oy0), ig = image * p->groups + g;
    const int64_t t0 = twos * share / j->shares * 2, t1 = least(twos * (share + 1) / j->shares * 2, p->mtiles);
    uint32_t *copy = sn_scratch(worker);
    snk_half_pairs(p, p->src + ig * p->c * splane, images, oy0 * y->step, copied(y, rows), copy);
    snk_half_band(p, copy, images, rows, p->packed + g * tiles_of(p) * SNK_HALF_TILE, p->dst + (ig * p->m * y->out + oy0) * x->out, g * p->m, t0, t1);
  }
}

void snk_half_run(const snk_conv_shape *s, bool back, const float *src, const float *w, const snk_conv_with *with, float *dst, void *scratch) {
  snk_half p = plan(s, back);
  const snk_half_axis *y = &p.copy.y, *x = &p.copy.x;
  p.src = src, p.dst = dst, p.packed = with->packed;
  p.copy.narrow = (back ? s->narrow_y : s->narrow_x) ? src : NULL;
  p.bias = with->bias, p.mean = with->mean, p.scale = with->scale, p.shift = with->shift, p.add = with->add, p.relu = with->relu;
  char *at = (char *)scratch + (64 - (uintptr_t)scratch % 64) % 64; /* lines of the weight's tiles are lines of the cache */
  snk_half_parts(&p.copy, (snk_half_part *)(void *)at);
  p.copy.part = (snk_half_part *)(void *)at;
  if (p.packed == NULL) pack(&p, w, at + part_bytes(&p.copy));
  const int64_t stacks = parts_of(p.n, p.copy.side) * p.groups;
  int64_t threads = sn_threads();
  const double work = (double)(p.n * p.groups) * (double)p.m * (double)(p.c * y->taps * x->taps + 16) * (double)(y->out * x->out);
  if (work < 8.0 * SNK_CONV_SMALL) threads = 1;
  if (threads > 1 && stacks * parts_of(y->out, p.band) < 2 * threads) /* thinner bands, of some 64 places at least */
    lay(&p, least(p.band, most(parts_of(y->out, parts_of(2 * threads, stacks)), parts_of(64, x->out))));
  job j = {&p, parts_of(y->out, p.band), 1};
  int64_t items = stacks * j.bands;
  if (items < threads) j.shares = least(parts_of(p.mtiles, 2), parts_of(threads, items));
  items *= j.shares;
  sn_parallel(items, threads == 1 ? items : most(1, (int64_t)(4.0 * SNK_CONV_SMALL / (work / (double)items))), band_task, &j);
}

/* ---- the weight's gradient */

typedef struct grad {
  snk_half_copy x, g;
  snk_half_sums s;
  int64_t n, groups, m, c;
  int64_t per, band, bands, blocks, runs, chunk, shares; /* images of a block, or rows of one stack; blocks; runs of `chunk` blocks; shares of the columns */
  int64_t all, sums;                                     /* tiles for a tile of columns; numbers of a group's sums */
  const float *src, *gy;
  float *out;
} grad;

/* How `rows` rows of some images lie. */
static void grad_lay(grad *w, int64_t images, int64_t rows) {
  snk_half_sums *s = &w->s;
  s->stacks = parts_of(images, w->x.side), s->rows = rows, s->vectors = w->x.pitch / 32;
  s->xstack = copied(&w->x.y, rows) * w->x.pitch;
  w->x.plane = s->plane = odd_lines(s->stacks * s->xstack, 32);
  w->x.column = s->column = s->mtiles * s->mr * s->plane;
}
/* What two tiles of columns and a tile of channels take for a column of taps. */
static int64_t near(const grad *w) { return w->s.stacks * w->s.rows * w->s.vectors * 1024 * least(w->s.ntiles, 2) + w->s.mr * w->s.plane * 2; }

static grad plan_grad(const snk_conv_shape *s) {
  grad w = {.n = s->n, .groups = s->groups, .m = s->co, .c = s->ci, .shares = 1, .x = {.y = axis_of(&s->y, false), .x = axis_of(&s->x, false)}};
  snk_half_sums *t = &w.s;
  const snk_half_axis *y = &w.x.y;
  const int64_t oh = s->y.out, ow = s->x.out;
  t->mtiles = parts_of(w.c, 16), t->mr = parts_of(w.c, t->mtiles), t->ntiles = parts_of(w.m, 16), t->nr = parts_of(w.m, t->ntiles);
  t->taps = s->y.k * s->x.k, t->kh = s->y.k;
  w.g = (snk_half_copy){.y = {oh, oh, 1, 1, 0, 1, 1}, .x = {ow, ow, 1, 1, 0, 1, 1}};
  lay_rows(&w.x, w.n, 32, false), lay_rows(&w.g, w.n, 32, false);
  t->down = y->every * w.x.pitch, t->xrow = y->step * w.x.pitch;
  w.per = w.x.side, w.band = oh;
  grad_lay(&w, w.per, oh);
  if (near(&w) > NEAR_BYTES) w.band = parts_of(oh, least(parts_of(near(&w), NEAR_BYTES), most(1, oh / most(1, (s->y.k - 1) * s->y.dilation / s->y.stride))));
  else w.per *= most(1, least(parts_of(w.n, w.per), NEAR_BYTES / near(&w)));
  w.bands = parts_of(oh, w.band);
  w.blocks = parts_of(w.n, w.per) * w.bands;
  grad_lay(&w, w.per, w.band);
  w.all = t->mtiles * t->taps, w.sums = t->ntiles * w.all * 256;
  w.runs = most(1, least(w.blocks, least(RUNS, RUN_BYTES / (w.groups * w.sums * 4))));
  w.chunk = parts_of(w.blocks, w.runs), w.runs = parts_of(w.blocks, w.chunk);
  return w;
}
/* Rows of a tile that are not there are read (and their sums not). */
static size_t source_bytes(const grad *w) { return aligned((size_t)(w->x.x.taps * w->x.column + (16 - w->s.mr) * w->s.plane) * 2); }
static size_t tables(const grad *w) { return part_bytes(&w->x) + part_bytes(&w->g) + 64; }

static void grad_block(const grad *w, int64_t block, int64_t g, int64_t n0, int64_t n1, bool add, float *out, char *room) {
  const int64_t image = block / w->bands * w->per, oy0 = block % w->bands * w->band, images = least(w->per, w->n - image), oh = w->g.y.src, rows = least(w->band, oh - oy0);
  const int64_t splane = w->x.y.src * w->x.x.src, gplane = oh * w->g.x.src, m0 = n0 * w->s.nr, m1 = least(n1 * w->s.nr, w->m);
  grad d = *w;
  grad_lay(&d, images, rows);
  uint16_t *copy = (uint16_t *)(void *)room, *turned = (uint16_t *)(void *)(room + source_bytes(w));
  snk_half_rows(&d.x, w->src + (image * w->groups + g) * w->c * splane, w->c, oy0 * w->x.y.step, copied(&w->x.y, rows), images, w->groups * w->c * splane, d.s.xstack, copy);
  snk_half_turn(&d.g, w->gy + ((image * w->groups + g) * w->m + m0) * gplane, m1 - m0, w->s.nr, oy0, rows, images, w->groups * w->m * gplane, turned);
  snk_half_products(&d.s, n0, n1, copy, turned, add, out);
}

static void grad_task(void *ctx, int64_t begin, int64_t end, int worker) {
  const grad *w = ctx;
  const int64_t twos = parts_of(w->s.ntiles, 2);
  for (int64_t i = begin; i < end; i++) {
    const int64_t share = i % w->shares, g = i / w->shares % w->groups, r = i / w->shares / w->groups;
    const int64_t n0 = twos * share / w->shares * 2, n1 = least(twos * (share + 1) / w->shares * 2, w->s.ntiles);
    for (int64_t b = r * w->chunk; b < w->blocks && b < (r + 1) * w->chunk; b++)
      grad_block(w, b, g, n0, n1, b > r * w->chunk, w->out + (r * w->groups + g) * w->sums, sn_scratch(worker));
  }
}

typedef struct total { const grad *w; float *gw; } total;
static void total_task(void *ctx, int64_t begin, int64_t end, int worker) {
  const total *t = ctx;
  const grad *w = t->w;
  (void)worker;
  for (int64_t i = begin; i < end; i++) {
    const int64_t g = i / w->s.ntiles;
    snk_half_total(&w->s, i % w->s.ntiles, w->m, w->c, w->out + g * w->sums, w->runs, w->groups * w->sums, t->gw + g * w->m * w->c * w->s.taps);
  }
}

void snk_half_grad(const snk_conv_shape *s, const float *x, const float *gy, float *gw, void *scratch) {
  grad w = plan_grad(s);
  char *at = (char *)scratch + (64 - (uintptr_t)scratch % 64) % 64, *next = at + part_bytes(&w.x);
  snk_half_parts(&w.x, (snk_half_part *)(void *)at);
  snk_half_parts(&w.g, (snk_half_part *)(void *)next);
  w.x.part = (snk_half_part *)(void *)at, w.g.part = (snk_half_part *)(void *)next;
  w.x.narrow = s->narrow_x ? x : NULL, w.g.narrow = s->narrow_y ? gy : NULL;
  w.src = x, w.gy = gy, w.out = (float *)(void *)(next + part_bytes(&w.g));
  const double work = (double)w.n * (double)w.groups * (double)(w.m + 16) * (double)(w.c * w.s.taps) * (double)(s->y.out * s->x.out);
  const int64_t threads = work < 8.0 * SNK_CONV_SMALL ? 1 : sn_threads();
  int64_t items = w.runs * w.groups;
  if (threads > 1 && items < 2 * threads) w.shares = least(parts_of(w.s.ntiles, 2), parts_of(2 * threads, items));
  items *= w.shares;
  sn_parallel(items, threads == 1 ? items : 1, grad_task, &w);
  total t = {&w, gw};
  sn_parallel(w.groups * w.s.ntiles, 1 + 16384 / (w.c * w.s.taps * w.runs), total_task, &t);
}

/* ---- for whom */

static bool small_enough(const snk_conv_axis *y, const snk_conv_axis *x, int64_t channels) { /* two rows of places with their taps and borders */
  const double rows = 2 * (double)y->stride + (double)(y->k - 1) * (double)y->dilation, row = (double)x->in + 2 * (double)x->pad + (double)(x->k - 1) * (double)x->dilation;
  return rows * row * (double)channels < (double)(1 << 22) && (double)x->k * (double)y->k < (double)(1 << 16);
}

bool snk_half_suits(const snk_conv_shape *s, int what) {
  const snk_conv_axis *y = &s->y, *x = &s->x;
  if (s->f64 || !s->half || !sn_halves()) return false;
  if (s->n < 1 || s->groups < 1 || s->ci < (what == SNK_CONV_FORWARD && !sn_amx() ? 3 : CHANNELS) || s->co < CHANNELS || x->stride > 2 || (what == SNK_CONV_INPUT && y->stride > 2)) return false;
  if (y->in < 1 || x->in < 1 || y->out < 1 || x->out < 1 || y->out * x->out < 8) return false;
  if (!small_enough(y, x, most(s->ci, s->co))) return false;
  /* AVX512-BF16 multiplies twice as much as floats do: fewer products win, and for a stride of two half of the places are zeros */
  return sn_amx() || (what == SNK_CONV_WEIGHT ? !snk_winograd_grad_suits(s) : !snk_winograd_suits(s, what == SNK_CONV_INPUT) && (what != SNK_CONV_INPUT || x->stride * y->stride == 1));
}

void snk_half_space(const snk_conv_shape *s, int what, size_t *scratch, size_t *worker) {
  if (what == SNK_CONV_WEIGHT) {
    const grad w = plan_grad(s);
    *scratch += tables(&w) + (size_t)(w.runs * w.groups * w.sums) * sizeof(float);
    *worker += source_bytes(&w) + (size_t)(w.s.ntiles * w.s.stacks * w.s.rows * w.s.vectors) * SNK_HALF_TILE * 2;
    return;
  }
  const snk_half p = plan(s, what == SNK_CONV_INPUT);
  *scratch += part_bytes(&p.copy) + 64 + packed_bytes(&p);
  *worker += (size_t)(p.copy.copies * p.blocks * p.pairs * p.copy.plane) * 4;
}

#else
bool snk_half_suits(const snk_conv_shape *s, int what) { return (void)s, (void)what, false; }
void snk_half_space(const snk_conv_shape *s, int what, size_t *scratch, size_t *worker) { (void)s, (void)what, (void)scratch, (void)worker; }
size_t snk_half_packed_bytes(const snk_conv_shape *s) { return (void)s, 0; }
void snk_half_pack(const snk_conv_shape *s, const float *w, void *to) { (void)s, (void)w, (void)to; }
void snk_half_run(const snk_conv_shape *s, bool back, const float *src, const float *w, const snk_conv_with *with, float *dst, void *scratch) {
  (void)s, (void)back, (void)src, (void)w, (void)with, (void)dst, (void)scratch;
}
void snk_half_grad(const snk_conv_shape *s, const float *x, const float *gy, float *gw, void *scratch) { (void)s, (void)x, (void)gy, (void)gw, (void)scratch; }
#endif
