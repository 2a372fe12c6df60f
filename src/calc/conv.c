/* conv.c - how convolutions are cut: passes, bands of rows, runs of images, and who does what. */
#include "calc/conv.h"
#include <string.h>
#include "base/thread.h"
#include "calc/gemm.h"
#include "calc/whole.h"
#include "calc/winograd.h"

/* Bytes of a prepared band; of a weight that is read again for every few places; partial sums of a weight's gradient; multiply-adds that are
 * not worth a thread. */
enum { BAND_BYTES = 1 << 20, WEIGHT_BYTES = 1 << 18, RUNS = 16, SMALL = 100000 };
#define PARTIAL_BYTES ((int64_t)16 << 20)

static int64_t gcd(int64_t a, int64_t b) {
  while (b) {
    int64_t r = a % b;
    a = b, b = r;
  }
  return a;
}
static const snk_conv_type *type_of(const snk_conv_shape *s) { return s->f64 ? &snk_conv_now()->f64 : &snk_conv_now()->f32; }
static int64_t size_of(const snk_conv_shape *s) { return s->f64 ? 8 : 4; }

/* ---- passes */

static snk_conv_side side_forward(const snk_conv_axis *a) {
  return (snk_conv_side){.n = a->out, .src = a->in, .origin = -a->pad, .step = a->stride,
                         .slots = least(a->k, a->stride / gcd(a->stride, a->dilation)),
                         .span = a->out + (a->k - 1) * a->dilation / a->stride, .taps = a->k, .every = 1, .stride = a->stride,
                         .dilation = a->dilation, .ostep = 1};
}

/* Positions of the input whose distance from the border leaves `phase` over the stride. */
static snk_conv_side side_back(const snk_conv_axis *a, int64_t phase) {
  int64_t round = a->stride / gcd(a->stride, a->dilation), first = 0;
  while (first < least(a->k, round) && first * a->dilation % a->stride != phase) first++;
  snk_conv_side s = {.src = a->out, .step = 1, .slots = 1, .first = first, .every = round, .stride = a->stride, .dilation = a->dilation, .back = true,
                     .ostep = a->stride};
  if (first < least(a->k, round)) s.taps = (a->k - 1 - first) / round + 1;
  int64_t emin = first * a->dilation / a->stride, q0 = a->pad > phase ? parts_of(a->pad - phase, a->stride) : 0;
  s.emax = s.taps ? (first + (s.taps - 1) * round) * a->dilation / a->stride : emin;
  s.ostart = q0 * a->stride + phase - a->pad;
  s.n = s.ostart < a->in ? (a->in - 1 - s.ostart) / a->stride + 1 : 0;
  s.origin = q0 - s.emax;
  s.span = s.n + s.emax - emin;
  return s;
}

static bool fits(const snk_conv_side *s) { return s->slots == 1 && s->step == 1 && s->origin >= 0 && s->origin + s->span <= s->src; }

/* Set how the source is read with bands of `band` rows. */
static void lay(snk_conv_pass *p, int64_t band) {
  p->band = band;
  if (p->direct) p->pitch = p->x.src, p->rows = p->y.src, p->plane = p->y.src * p->x.src;
  else p->pitch = p->x.span, p->rows = band + p->y.span - p->y.n, p->plane = p->y.slots * p->x.slots * p->rows * p->pitch;
}

/* Rows of one band so that its copy takes about BAND_BYTES. */
static int64_t band_rows(const snk_conv_pass *p, int64_t size) {
  int64_t row = most(1, p->c * p->y.slots * p->x.slots * p->x.span * size), extra = p->y.span - p->y.n;
  int64_t rows = most(BAND_BYTES / row - extra, 4);
  return rows >= p->y.n ? most(p->y.n, 1) : parts_of(p->y.n, parts_of(p->y.n, rows));
}

/* The part of all pairs of output and tap that meets only border. */
static double border(const snk_conv_side *s) {
  int64_t lo, hi, sum = 0;
  for (int64_t t = 0; t < s->taps; t++) {
    snk_conv_meets(s, t, &lo, &hi);
    sum += hi - lo;
  }
  return 1 - (double)sum / (double)(s->taps * s->n);
}

/* One more copy of the source for a kernel of three: cheaper than packing, and than places between short rows. */
static void make_dense(snk_conv_side *s) { s->slots = s->back ? s->span - s->n + 1 : s->taps, s->span = s->n, s->dense = true; }

/* The plane as one row: nothing lies between the rows and no tap leaves its place. */
static void flatten(snk_conv_pass *p) {
  p->x.n = p->x.src = p->x.span = p->dstx = p->y.n * p->x.n;
  p->y.n = p->y.src = p->y.span = p->dsty = 1;
}

static void plan(snk_conv_pass *p, const snk_conv_type *t, int64_t size) {
  const snk_gemm_type *g = size == 8 ? &snk_gemm_now()->f64 : &snk_gemm_now()->f32;
  p->k = p->c * p->y.taps * p->x.taps;
  p->kblock = snk_gemm_kblock(p->k, g->kc);
  p->per = 1;
  p->direct = p->k > 0 && fits(&p->y) && fits(&p->x) && (p->y.n - 1) * p->x.src + p->x.n >= t->lanes;
  p->unit = p->y.ostep == 1 && p->x.ostep == 1 && p->x.n == p->dstx;
  p->limit = p->direct ? (p->y.n - 1) * p->x.src + p->x.n : -1;
  lay(p, p->direct ? most(p->y.n, 1) : band_rows(p, size));
  if (p->k == 0 || p->y.n <= 0 || p->x.n <= 0) return;
  /* what a vector of useful places costs: the rows' multiply-adds, and packing or what is computed for nothing */
  double places = (double)((p->y.n - 1) * p->pitch + p->x.n), useful = (double)(p->y.n * p->x.n), lanes = (double)t->lanes, m = (double)p->m;
  double flat = m * (double)(parts_of((int64_t)places, t->lanes) * t->lanes) / useful;
  if (snk_conv_whole_rows(p, t->lanes)) flat = m;
  double exact = m * 1.02 + 6 + 4 * lanes / (double)p->x.n;
  if (p->direct && p->k == p->c) exact = m + 3, flat *= 1.04; /* packed from where they lie; read in place their cache lines are far apart */
  if (useful * (double)p->n < 2 * lanes) exact = exact * 2 * lanes / (useful * (double)p->n);
  p->exact = exact < flat;
  if (p->unit && p->x.step == 2 && p->x.taps == 3 && p->m > 3 && p->m * p->k * size <= 2 * WEIGHT_BYTES) {
    make_dense(&p->x);
    p->exact = p->direct = false, p->limit = -1;
    lay(p, band_rows(p, size));
  }
  p->tap_rows = p->exact || border(&p->y) > 0.03; /* else taps of a channel follow one another, which are nearer in memory */
  if (!p->exact) return;
  p->direct = fits(&p->y) && fits(&p->x), p->limit = -1;
  if (p->direct && p->unit && p->n > 1 && p->y.taps == 1 && p->x.n == p->x.src && p->y.n == p->y.src) flatten(p);
  lay(p, p->direct ? p->y.n : band_rows(p, size));
  p->per = 1;
  if (p->band >= p->y.n) { /* some 32 tiles together, so that the last counts little and rows of different images share tiles */
    p->per = parts_of(64 * t->lanes, (int64_t)useful);
    if (!p->direct) p->per = most(1, least(p->per, BAND_BYTES / most(1, p->c * p->plane * size)));
    p->per = parts_of(most(p->n, 1), parts_of(most(p->n, 1), p->per));
  }
}

/* Tiles of an exact pass that are packed together: many if the weight is so large that it should be read once for them. */
static int64_t together(const snk_conv_pass *p, int64_t size) { return p->m * p->k * size <= WEIGHT_BYTES ? 2 : SNK_CONV_TOGETHER; }

static size_t copy_bytes(const snk_conv_pass *p, const snk_conv_type *t, int64_t size) {
  return p->direct ? 0 : aligned((size_t)(((p->exact ? p->per : 1) * p->c * p->plane + t->wide) * size));
}
static size_t pass_worker(const snk_conv_pass *p, const snk_conv_type *t, int64_t size) {
  size_t panels = p->exact ? (size_t)(snk_conv_room(p, t->lanes, together(p, size)) * size) : 0;
  return copy_bytes(p, t, size) + panels;
}
/* Tables before the packed weight. */
static size_t table_bytes(const snk_conv_pass *p) { return aligned((size_t)(p->k + p->y.taps) * 2 * sizeof(int64_t)); }
static size_t pass_scratch(const snk_conv_pass *p, int64_t size) {
  return table_bytes(p) + aligned((size_t)(p->groups * p->m * p->k * size)) + SNK_CONV_BEYOND;
}

static void offsets(const snk_conv_pass *p, int64_t *koff) {
  int64_t r, jy, jx, oy, ox;
  const int64_t step = snk_conv_k(p, 1, 0);
  for (int64_t ty = 0; ty < p->y.taps; ty++) {
    snk_conv_tap(&p->y, ty, &r, &jy, &oy);
    for (int64_t tx = 0; tx < p->x.taps; tx++) {
      snk_conv_tap(&p->x, tx, &r, &jx, &ox);
      const int64_t at = ((jy * p->x.slots + jx) * p->rows + oy) * p->pitch + ox;
      int64_t *to = koff + snk_conv_k(p, 0, ty) + tx;
      for (int64_t c = 0; c < p->c; c++) to[c * step] = c * p->plane + at;
    }
  }
}

/* ---- running a pass */

typedef struct job {
  const snk_conv_pass *p; /* `passes` of them read one copy of the source */
  int64_t passes;
  const snk_conv_type *t;
  const void *w;
  char *to;             /* where the weight is packed */
  int64_t size, bands, parts, together; /* bands of an image; parts of the rows; exact tiles packed together */
} job;

static void pack_task(void *ctx, int64_t begin, int64_t end, int worker) {
  const job *j = ctx;
  const snk_conv_pass *p = j->p;
  (void)worker;
  int64_t tiles = snk_conv_tiles(p->m, j->t->mr);
  for (int64_t i = begin; i < end; i++) {
    int64_t g = i / tiles, m0 = snk_conv_tile_at(p->m, tiles, i % tiles), mr = snk_conv_tile_at(p->m, tiles, i % tiles + 1) - m0;
    j->t->pack(p, (const char *)j->w + g * p->wg * j->size, m0, mr, j->to + g * p->m * p->k * j->size);
  }
}

static void flat_task(void *ctx, int64_t begin, int64_t end, int worker) {
  const job *j = ctx;
  const snk_conv_pass *p = j->p;
  int64_t tiles = snk_conv_tiles(p->m, j->t->mr), splane = p->y.src * p->x.src, dplane = p->dsty * p->dstx;
  for (int64_t i = begin; i < end; i++) {
    int64_t part = i % j->parts, band = i / j->parts % j->bands, ig = i / j->parts / j->bands, g = ig % p->groups;
    int64_t oy0 = band * p->band, rows = least(p->band, p->y.n - oy0);
    int64_t t0 = tiles * part / j->parts, t1 = tiles * (part + 1) / j->parts;
    const char *src = (const char *)p->src + ig * p->c * splane * j->size;
    if (rows <= 0 || t0 == t1) continue;
    const int64_t row = p->direct ? 0 : oy0, p0 = p->direct ? oy0 * p->pitch : 0;
    if (p->direct) src += (p->y.origin * p->pitch + p->x.origin) * j->size;
    else {
      char *to = sn_scratch(worker);
      if (p->k > 0) j->t->prepare(p, src, oy0, rows, to);
      src = to;
    }
    for (const snk_conv_pass *q = p; q < p + j->passes; q += q->pair ? 2 : 1) {
      const int64_t p1 = p0 + (least(q->band, q->y.n - oy0) - 1) * q->pitch + q->x.n;
      const char *a = (const char *)q->packed + g * q->m * q->k * j->size;
      char *dst = (char *)q->dst + (ig * q->m * dplane + (q->y.ostart + (q->direct ? 0 : oy0) * q->y.ostep) * q->dstx + q->x.ostart) * j->size;
      if (p1 <= p0) continue;
      if (q->m * q->k * j->size <= 2 * WEIGHT_BYTES) j->t->band(q, src, row, p0, p1, a, dst, g * q->m, t0, t1);
      else /* the weight is too large to be read again for every few places */
        for (int64_t t = t0; t < t1; t++) j->t->band(q, src, row, p0, p1, a, dst, g * q->m, t, t + 1);
    }
  }
}

static void exact_task(void *ctx, int64_t begin, int64_t end, int worker) {
  const job *j = ctx;
  const snk_conv_pass *p = j->p;
  int64_t tiles = snk_conv_tiles(p->m, j->t->mr), splane = p->y.src * p->x.src, dplane = p->dsty * p->dstx, nr = 2 * j->t->lanes;
  char *copy = sn_scratch(worker), *panels = copy + copy_bytes(p, j->t, j->size);
  for (int64_t i = begin; i < end; i++) {
    int64_t part = i % j->parts, band = i / j->parts % j->bands, g = i / j->parts / j->bands % p->groups, run = i / j->parts / j->bands / p->groups;
    int64_t t0 = tiles * part / j->parts, t1 = tiles * (part + 1) / j->parts, oy0 = band * p->band, image = run * p->per;
    snk_conv_piece piece = {.images = least(p->per, p->n - image), .oy0 = oy0, .rows = least(p->band, p->y.n - oy0), .step = p->c * p->plane};
    if (piece.rows <= 0 || t0 == t1) continue;
    piece.places = piece.images * piece.rows * p->x.n;
    if (p->direct) piece.step *= p->groups;
    const char *src = (const char *)p->src + (image * p->groups + g) * p->c * splane * j->size, *a = (const char *)p->packed + g * p->m * p->k * j->size;
    char *dst = (char *)p->dst + ((image * p->groups + g) * p->m * dplane + (p->y.ostart + oy0 * p->y.ostep) * p->dstx + p->x.ostart) * j->size;
    for (int64_t q = 0; q < piece.images && !p->direct; q++)
      j->t->prepare(p, src + q * p->groups * p->c * splane * j->size, oy0, piece.rows, copy + q * piece.step * j->size);
    src = p->direct ? src + ((p->y.origin + oy0) * p->pitch + p->x.origin) * j->size : copy;
    for (int64_t at = 0; at < piece.places; at += j->together * nr) {
      int64_t some = least(j->together, parts_of(piece.places - at, nr));
      j->t->exact(p, &piece, src, at, some, a, dst, g * p->m, t0, t1, panels);
    }
  }
}

static void plane_task(void *ctx, int64_t begin, int64_t end, int worker) {
  const job *j = ctx;
  const snk_conv_pass *p = j->p;
  const int64_t splane = p->y.src * p->x.src * j->size, dplane = p->dsty * p->dstx * j->size;
  (void)worker;
  for (int64_t i = begin; i < end; i++) {
    const int64_t g = i % p->groups;
    j->t->plane(p, (const char *)p->src + i * splane, (const char *)p->packed + g * p->k * j->size, (char *)p->dst + i * dplane, g);
  }
}
/* One axis of such a pass: three taps side by side that meet any output. */
static bool is_plane(const snk_conv_side *s, int64_t to) { return s->taps == 3 && s->stride == 1 && s->dilation == 1 && s->n == to; }

static const void *pack_weight(const snk_conv_pass *p, const snk_conv_type *t, int64_t size, const void *w, void *to) {
  job j = {.p = p, .t = t, .w = w, .size = size, .to = to};
  sn_parallel(p->groups * snk_conv_tiles(p->m, t->mr), most(1, SMALL / (p->k * t->mr + 1)), pack_task, &j);
  return to;
}

/* The tables of a pass, and its weight packed if it is not. */
static void tables(snk_conv_pass *p, const snk_conv_type *t, int64_t size, const void *w, char *scratch) {
  int64_t *koff = (int64_t *)(void *)scratch, *kpanel = koff + p->k, *meets = kpanel + p->k;
  offsets(p, koff);
  for (int64_t k = 0; k < p->kblock && k < p->k; k++) kpanel[k] = k * 2 * t->lanes;
  for (int64_t ty = 0; ty < p->y.taps; ty++) snk_conv_meets(&p->y, ty, &meets[2 * ty], &meets[2 * ty + 1]);
  p->koff = koff, p->kpanel = kpanel, p->meets = meets;
  if (p->packed == NULL) p->packed = pack_weight(p, t, size, w, scratch + table_bytes(p));
}

static void run(snk_conv_pass *p, int64_t passes, const snk_conv_type *t, int64_t size, const void *w, char *scratch) {
  if (p->n == 0 || p->groups == 0 || p->m == 0 || p->y.n <= 0 || p->x.n <= 0) return;
  job j = {.p = p, .passes = passes, .t = t, .size = size, .parts = 1, .together = together(p, size)};
  int64_t threads = sn_threads(), tiles = snk_conv_tiles(p->m, t->mr), images = p->n, k = 2;
  for (int64_t q = 0; q < passes; q++) k += p[q].k;
  double work = (double)p->n * (double)p->groups * (double)p->m * (double)k * (double)(p->y.n * p->x.n);
  if (work < 2 * SMALL) threads = 1;
  if (p->exact) {
    if (threads > 1) p->per = most(1, least(p->per, parts_of(p->n * p->groups, 2 * threads)));
    images = parts_of(p->n, p->per);
  }
  int64_t items = images * p->groups * parts_of(p->y.n, p->band);
  if (threads > 1 && items < 2 * threads) { /* few places: their rows of the weight are shared out; else thinner bands, of some 64 places at least */
    if (tiles >= 2 * threads && images * p->groups * p->y.n * p->x.n < 16 * t->lanes * threads) j.parts = parts_of(threads, items);
    else if (p->per <= 1) {
      int64_t rows = parts_of(p->y.n, parts_of(2 * threads, images * p->groups));
      lay(p, least(p->band, least(p->y.n, most(rows, parts_of(4 * t->lanes, p->pitch)))));
    }
  }
  j.bands = parts_of(p->y.n, p->band);
  items = images * p->groups * j.bands;
  if (items < threads && threads > 1) j.parts = least(tiles, parts_of(threads, items));
  items *= j.parts;
  for (int64_t q = 0; q < passes; scratch += pass_scratch(&p[q++], size)) {
    p[q].band = p->band, p[q].pitch = p->pitch, p[q].rows = p->rows, p[q].plane = p->plane;
    tables(&p[q], t, size, w, scratch);
  }
  const bool planes = t->plane && p->m == 1 && p->c == 1 && is_plane(&p->y, p->dsty) && is_plane(&p->x, p->dstx);
  if (planes) items = p->n * p->groups;
  int64_t grain = most(1, (int64_t)(SMALL / (work / (double)items)));
  sn_parallel(items, threads == 1 ? items : grain, planes ? plane_task : p->exact ? exact_task : flat_task, &j);
}

static snk_conv_pass pass_plain(const snk_conv_shape *s) {
  int64_t taps = s->y.k * s->x.k;
  return (snk_conv_pass){.y = side_forward(&s->y), .x = side_forward(&s->x), .n = s->n, .groups = s->groups, .m = s->co, .c = s->ci, .kh = s->y.k,
                         .kw = s->x.k, .wm = s->ci * taps, .wc = taps, .wg = s->co * s->ci * taps, .dsty = s->y.out, .dstx = s->x.out,
                         .k = s->ci * taps, .round = s->round, .more = s->round};
}
static snk_conv_pass pass_forward(const snk_conv_shape *s) {
  snk_conv_pass p = pass_plain(s);
  plan(&p, type_of(s), size_of(s));
  return p;
}

/* The phase of the input's gradient that begins with row iy and column ix. */
static snk_conv_pass pass_back(const snk_conv_shape *s, int64_t iy, int64_t ix) {
  int64_t taps = s->y.k * s->x.k;
  snk_conv_pass p = {.y = side_back(&s->y, (iy + s->y.pad) % s->y.stride), .x = side_back(&s->x, (ix + s->x.pad) % s->x.stride), .n = s->n,
                     .groups = s->groups, .m = s->ci, .c = s->co, .kh = s->y.k, .kw = s->x.k, .wm = taps, .wc = s->ci * taps,
                     .wg = s->co * s->ci * taps, .dsty = s->y.in, .dstx = s->x.in, .round = s->round, .more = s->round};
  plan(&p, type_of(s), size_of(s));
  return p;
}

/* All phases read the same places: from the first that one of them wants to the last, for as many outputs as the first phase has. */
static void share(snk_conv_side *first, snk_conv_side *s, int64_t origin, int64_t extra) {
  s->emax += s->origin - origin, s->origin = origin, s->span = first->n + extra;
}

/* The phases of strides of two in the order of the input, where places of even and odd columns are stored together: how many (0: not so). */
static int64_t pairs(const snk_conv_shape *s, snk_conv_pass *p) {
  const int64_t ny = s->y.stride;
  if (s->x.stride != 2 || ny > 2 || s->y.in < ny || s->x.in % 2 || s->x.in < 8) return 0;
  int64_t oy = 0, ox = 0, ey = 0, ex = 0;
  for (int64_t q = 0; q < 2 * ny; q++) {
    p[q] = pass_back(s, q / 2, q % 2);
    if (p[q].k == 0 || p[q].exact) return 0;
    oy = q ? least(oy, p[q].y.origin) : p[q].y.origin, ox = q ? least(ox, p[q].x.origin) : p[q].x.origin;
  }
  for (int64_t q = 0; q < 2 * ny; q++)
    ey = most(ey, p[q].y.span - p[q].y.n + p[q].y.origin - oy), ex = most(ex, p[q].x.span - p[q].x.n + p[q].x.origin - ox);
  for (int64_t q = 0; q < 2 * ny; q++) {
    share(&p->y, &p[q].y, oy, ey), share(&p->x, &p[q].x, ox, ex);
    if (p->x.n <= 16) make_dense(&p[q].x); /* in longer rows little is lost between them */
    p[q].direct = false, p[q].limit = -1, p[q].pair = q % 2 ? NULL : &p[q + 1];
  }
  lay(p, band_rows(p, size_of(s)));
  return 2 * ny;
}

void snk_conv_forward(const snk_conv_shape *s, const void *x, const void *w, const void *bias, void *y, void *scratch) {
  snk_conv_forward_with(s, x, w, &(snk_conv_with){.bias = bias}, y, scratch);
}

void snk_conv_forward_with(const snk_conv_shape *s, const void *x, const void *w, const snk_conv_with *with, void *y, void *scratch) {
  if (snk_winograd_suits(s, false)) {
    snk_winograd_run(s, false, x, w, with, y, scratch);
    return;
  }
  snk_conv_pass p = pass_forward(s);
  p.src = x, p.dst = y;
  p.bias = with->bias, p.relu = with->relu, p.packed = with->packed;
  p.mean = with->mean, p.scale = with->scale, p.shift = with->shift, p.add = with->add, p.more = p.mean || p.add || p.round;
  run(&p, 1, type_of(s), size_of(s), w, scratch);
}

size_t snk_conv_packed_bytes(const snk_conv_shape *s) {
  if (snk_winograd_suits(s, false)) return snk_winograd_packed_bytes(s);
  return (size_t)(s->groups * s->co * s->ci * s->y.k * s->x.k * size_of(s)) + SNK_CONV_BEYOND;
}

void snk_conv_pack(const snk_conv_shape *s, const void *w, void *to) {
  if (snk_winograd_suits(s, false)) {
    snk_winograd_pack(s, w, to);
    return;
  }
  const snk_conv_pass p = pass_forward(s);
  if (p.groups > 0 && p.m > 0) pack_weight(&p, type_of(s), size_of(s), w, to);
}

void snk_conv_backward_input(const snk_conv_shape *s, const void *gy, const void *w, const void *bias, void *gx, void *scratch) {
  if (snk_winograd_suits(s, true)) {
    snk_winograd_run(s, true, gy, w, &(snk_conv_with){.bias = bias}, gx, scratch);
    return;
  }
  snk_conv_pass p[4];
  const int64_t together = pairs(s, p);
  for (int64_t q = 0; q < together; q++) p[q].src = gy, p[q].bias = bias, p[q].dst = gx;
  if (together) run(p, together, type_of(s), size_of(s), w, scratch);
  for (int64_t iy = 0; !together && iy < least(s->y.stride, s->y.in); iy++) /* the phases there are, in the order of the input */
    for (int64_t ix = 0; ix < least(s->x.stride, s->x.in); ix++) {
      *p = pass_back(s, iy, ix);
      p->src = gy, p->bias = bias, p->dst = gx;
      run(p, 1, type_of(s), size_of(s), w, scratch);
    }
}

/* ---- the weight's gradient */

typedef struct grad_plan {
  snk_conv_pass p;
  int64_t size, per, bands, blocks, runs, chunk, parts; /* images of a block; bands of an image; blocks; runs of `chunk` blocks */
  bool last, exact, spread;                             /* channels last; places packed; the gradient's rows are laid at the source's pitch */
  int64_t channels, sums;                               /* last: of a place; numbers of a group's partial sums */
  int64_t vectors, gld;                                 /* of a whole band; step of the gradient's copy from row to row */
  const snk_conv_type *t;
  const char *x, *gy;
  char *out;
  uint32_t *masks[2];                                   /* of a whole band and of the last */
} grad_plan;

static int64_t grad_places(const grad_plan *w, int64_t rows) { return (rows - 1) * w->p.pitch + w->p.x.n; }

static grad_plan plan_grad(const snk_conv_shape *s) {
  grad_plan w = {.p = pass_plain(s), .t = type_of(s), .size = size_of(s), .per = 1};
  snk_conv_pass *p = &w.p;
  int64_t lanes = w.t->lanes, useful = most(1, p->y.n * p->x.n);
  p->tap_rows = false;
  p->direct = fits(&p->y) && fits(&p->x);
  lay(p, most(p->y.n, 1));
  double m = (double)p->m / 2, waste = (double)most(1, p->y.n * p->pitch) / (double)useful;
  w.channels = parts_of(p->c, lanes) * lanes;
  w.last = p->m >= 4 && 4 * p->c >= 3 * w.channels && p->k > 0;
  w.exact = !w.last && p->k > 0 && m * 1.02 + 5 + 2 * (double)lanes / (double)most(1, p->x.n) < m * waste * 1.08;
  if (w.exact) p->direct = false, lay(p, p->band);
  /* a block holds so many places that a tile's rows of the gradient stay close to the core */
  int64_t flat = w.exact || w.last ? useful : most(1, p->y.n * p->pitch), want = w.last ? 1024 : 8192 / w.size;
  int64_t room = ((int64_t)4 << 20) / w.size / most(1, p->m + p->c * p->y.slots * p->x.slots);
  want = most(least(want, room), 1);
  if (flat > 2 * want) {
    int64_t bands = parts_of(p->y.n, most(1, want / p->pitch));
    lay(p, parts_of(p->y.n, bands));
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
  const char *x = w->x + (image * xstep + g * p->c * splane) * size, *gy = w->gy + (image * gstep + (g * p->m + m0) * gplane + oy0 * p->x.n) * size;
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
      w->t->spread(gy + i * gstep * size, m1 - m0, gplane, 1, rows * p->x.n, 0, w->gld, copy + i * rows * p->x.n * size);
    for (int64_t m = 0; m < m1 - m0; m++) memset(copy + (m * w->gld + d.piece.places) * size, 0, (size_t)((w->gld - d.piece.places) * size));
    d.images = 1, d.vectors = w->gld / w->t->lanes, d.masks = NULL;
    d.room = copy + grad_copy(w);
    w->t->grad_exact(&d);
    return;
  }
  if (w->spread) {
    d.gimage = (m1 - m0) * d.gld;
    for (int64_t i = 0; i < images; i++)
      w->t->spread(gy + i * gstep * size, m1 - m0, gplane, rows, p->x.n, p->pitch, d.gld, copy + i * d.gimage * size);
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
  if (!w.last) offsets(p, koff);
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
  int64_t items = w.runs * p->groups, threads = work < 2 * SMALL ? 1 : sn_threads();
  w.parts = items < 2 * threads && threads > 1 ? least(most(1, p->m / 4), parts_of(2 * threads, items)) : 1;
  items *= w.parts;
  sn_parallel(items, threads == 1 ? items : most(1, (int64_t)(SMALL / (work / (double)items))), grad_task, &w);
  if (w.last) {
    turning turn = {&w, gw};
    sn_parallel(p->groups * p->m, 1 + 16384 / (p->k * w.runs), turn_task, &turn);
    return;
  }
  total t = {s->f64, n, w.runs, at, gw};
  if (w.runs > 1) sn_parallel(n, 65536, total_task, &t);
}

void snk_conv_space(const snk_conv_shape *s, int what, size_t *scratch, size_t *worker) {
  *scratch = *worker = 64;
  if (what == SNK_CONV_WEIGHT && s->n > 0 && s->groups > 0 && snk_winograd_grad_suits(s)) {
    snk_winograd_grad_space(s, scratch, worker);
    return;
  }
  if (what == SNK_CONV_WEIGHT) {
    grad_plan w = plan_grad(s);
    *scratch += grad_scratch(&w);
    *worker += grad_worker(&w);
    return;
  }
  bool back = what == SNK_CONV_INPUT;
  if (snk_winograd_suits(s, back)) {
    snk_winograd_space(s, back, scratch, worker);
    return;
  }
  snk_conv_pass phases[4];
  const int64_t together = back ? pairs(s, phases) : 0;
  for (int64_t q = 0; q < together; q++) *scratch += pass_scratch(&phases[q], size_of(s));
  if (together) {
    *worker += pass_worker(phases, type_of(s), size_of(s));
    return;
  }
  for (int64_t iy = 0; iy < (back ? least(s->y.stride, s->y.in) : 1); iy++)
    for (int64_t ix = 0; ix < (back ? least(s->x.stride, s->x.in) : 1); ix++) {
      snk_conv_pass p = back ? pass_back(s, iy, ix) : pass_forward(s);
      size_t a = pass_scratch(&p, size_of(s)), b = pass_worker(&p, type_of(s), size_of(s));
      if (p.y.n <= 0 || p.x.n <= 0) continue;
      if (a > *scratch) *scratch = a;
      if (b > *worker) *worker = b;
    }
}
