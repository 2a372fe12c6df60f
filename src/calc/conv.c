/* conv.c - how convolutions forward and the input's gradient are cut: passes, bands of rows, and who does what. */
#include "base/thread.h"
#include "calc/conv_half.h"
#include "calc/conv_pass.h"
#include "calc/gemm.h"
#include "calc/whole.h"
#include "calc/winograd.h"

/* Bytes of a prepared band; of a weight that is read again for every few places. */
enum { BAND_BYTES = 1 << 20, WEIGHT_BYTES = 1 << 18 };

static int64_t gcd(int64_t a, int64_t b) {
  while (b) {
    int64_t r = a % b;
    a = b, b = r;
  }
  return a;
}

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

bool snk_conv_fits(const snk_conv_side *s) { return s->slots == 1 && s->step == 1 && s->origin >= 0 && s->origin + s->span <= s->src; }

void snk_conv_lay(snk_conv_pass *p, int64_t band) {
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
  p->direct = p->k > 0 && snk_conv_fits(&p->y) && snk_conv_fits(&p->x) && (p->y.n - 1) * p->x.src + p->x.n >= t->lanes;
  p->unit = p->y.ostep == 1 && p->x.ostep == 1 && p->x.n == p->dstx;
  p->limit = p->direct ? (p->y.n - 1) * p->x.src + p->x.n : -1;
  snk_conv_lay(p, p->direct ? most(p->y.n, 1) : band_rows(p, size));
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
    snk_conv_lay(p, band_rows(p, size));
  }
  p->tap_rows = p->exact || border(&p->y) > 0.03; /* else taps of a channel follow one another, which are nearer in memory */
  if (!p->exact) return;
  p->direct = snk_conv_fits(&p->y) && snk_conv_fits(&p->x), p->limit = -1;
  if (p->direct && p->unit && p->n > 1 && p->y.taps == 1 && p->x.n == p->x.src && p->y.n == p->y.src) flatten(p);
  snk_conv_lay(p, p->direct ? p->y.n : band_rows(p, size));
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

void snk_conv_offsets(const snk_conv_pass *p, int64_t *koff) {
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
  int64_t size, bands, parts, each, together; /* bands of an image; parts of the rows, pieces of each part; exact tiles packed together */
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
    int64_t part = i / j->each, band = i % j->each % j->bands, ig = i % j->each / j->bands, g = ig % p->groups;
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
    int64_t part = i / j->each, at = i % j->each, band = at % j->bands, g = at / j->bands % p->groups, run = at / j->bands / p->groups;
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
    for (int64_t place = 0; place < piece.places; place += j->together * nr) {
      int64_t some = least(j->together, parts_of(piece.places - place, nr));
      j->t->exact(p, &piece, src, place, some, a, dst, g * p->m, t0, t1, panels);
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
  sn_parallel(p->groups * snk_conv_tiles(p->m, t->mr), most(1, SNK_CONV_SMALL / (p->k * t->mr + 1)), pack_task, &j);
  return to;
}

/* The tables of a pass, and its weight packed if it is not. */
static void tables(snk_conv_pass *p, const snk_conv_type *t, int64_t size, const void *w, char *scratch) {
  int64_t *koff = (int64_t *)(void *)scratch, *kpanel = koff + p->k, *meets = kpanel + p->k;
  snk_conv_offsets(p, koff);
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
  if (work < 2 * SNK_CONV_SMALL) threads = 1;
  /* A large weight of few places: each thread packs its rows and computes them for all places, or each would fetch what others have packed */
  const bool by_rows = threads > 1 && passes == 1 && p->direct && tiles >= 8 * threads && 2 * p->m * p->k > p->n * p->c * p->y.src * p->x.src;
  if (by_rows) j.parts = threads;
  if (p->exact) {
    if (threads > 1 && !by_rows) p->per = most(1, least(p->per, parts_of(p->n * p->groups, 2 * threads)));
    images = parts_of(p->n, p->per);
  }
  int64_t items = images * p->groups * parts_of(p->y.n, p->band);
  if (threads > 1 && !by_rows && items < 2 * threads) { /* few places: their rows of the weight are shared out; else thinner bands, of some 64 places at least */
    if (tiles >= 2 * threads && images * p->groups * p->y.n * p->x.n < 16 * t->lanes * threads) j.parts = parts_of(threads, items);
    else if (p->per <= 1) {
      int64_t rows = parts_of(p->y.n, parts_of(2 * threads, images * p->groups));
      snk_conv_lay(p, least(p->band, least(p->y.n, most(rows, parts_of(4 * t->lanes, p->pitch)))));
    }
  }
  j.bands = parts_of(p->y.n, p->band);
  items = j.each = images * p->groups * j.bands;
  if (j.parts == 1 && items < threads && threads > 1) j.parts = least(tiles, parts_of(threads, items));
  items *= j.parts;
  for (int64_t q = 0; q < passes; scratch += pass_scratch(&p[q++], size)) {
    p[q].band = p->band, p[q].pitch = p->pitch, p[q].rows = p->rows, p[q].plane = p->plane;
    tables(&p[q], t, size, w, scratch);
  }
  const bool planes = t->plane && p->m == 1 && p->c == 1 && is_plane(&p->y, p->dsty) && is_plane(&p->x, p->dstx);
  if (planes) items = p->n * p->groups;
  int64_t grain = most(1, (int64_t)(SNK_CONV_SMALL / (work / (double)items)));
  sn_parallel(items, threads == 1 ? items : grain, planes ? plane_task : p->exact ? exact_task : flat_task, &j);
}

snk_conv_pass snk_conv_plain(const snk_conv_shape *s) {
  int64_t taps = s->y.k * s->x.k;
  return (snk_conv_pass){.y = side_forward(&s->y), .x = side_forward(&s->x), .n = s->n, .groups = s->groups, .m = s->co, .c = s->ci, .kh = s->y.k,
                         .kw = s->x.k, .wm = s->ci * taps, .wc = taps, .wg = s->co * s->ci * taps, .dsty = s->y.out, .dstx = s->x.out,
                         .k = s->ci * taps, .round = s->round, .more = s->round};
}
static snk_conv_pass pass_forward(const snk_conv_shape *s) {
  snk_conv_pass p = snk_conv_plain(s);
  plan(&p, snk_conv_type_of(s), snk_conv_size_of(s));
  return p;
}

/* The phase of the input's gradient that begins with row iy and column ix. */
static snk_conv_pass pass_back(const snk_conv_shape *s, int64_t iy, int64_t ix) {
  int64_t taps = s->y.k * s->x.k;
  snk_conv_pass p = {.y = side_back(&s->y, (iy + s->y.pad) % s->y.stride), .x = side_back(&s->x, (ix + s->x.pad) % s->x.stride), .n = s->n,
                     .groups = s->groups, .m = s->ci, .c = s->co, .kh = s->y.k, .kw = s->x.k, .wm = taps, .wc = s->ci * taps,
                     .wg = s->co * s->ci * taps, .dsty = s->y.in, .dstx = s->x.in, .round = s->round, .more = s->round};
  plan(&p, snk_conv_type_of(s), snk_conv_size_of(s));
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
  snk_conv_lay(p, band_rows(p, snk_conv_size_of(s)));
  return 2 * ny;
}

void snk_conv_forward(const snk_conv_shape *s, const void *x, const void *w, const void *bias, void *y, void *scratch) {
  snk_conv_forward_with(s, x, w, &(snk_conv_with){.bias = bias}, y, scratch);
}

void snk_conv_forward_with(const snk_conv_shape *s, const void *x, const void *w, const snk_conv_with *with, void *y, void *scratch) {
  if (snk_half_suits(s, SNK_CONV_FORWARD)) {
    snk_half_run(s, false, x, w, with, y, scratch);
    return;
  }
  if (snk_winograd_suits(s, false)) {
    snk_winograd_run(s, false, x, w, with, y, scratch);
    return;
  }
  snk_conv_pass p = pass_forward(s);
  p.src = x, p.dst = y;
  p.bias = with->bias, p.relu = with->relu, p.packed = with->packed, p.narrow = s->narrow_y;
  p.mean = with->mean, p.scale = with->scale, p.shift = with->shift, p.add = with->add, p.more = p.mean || p.add || p.round;
  run(&p, 1, snk_conv_type_of(s), snk_conv_size_of(s), w, scratch);
}

bool snk_conv_narrow(const snk_conv_shape *s, int what, bool y) {
  if (snk_conv_type_of(s)->spread_narrow == NULL || s->n < 1 || s->groups < 1) return false;
  const bool tiles = snk_half_suits(s, what) || (what == SNK_CONV_WEIGHT ? snk_winograd_grad_suits(s) : snk_winograd_suits(s, what == SNK_CONV_INPUT));
  if (what == SNK_CONV_WEIGHT) return tiles || (y && snk_conv_weight_narrow(s));
  if (y == (what == SNK_CONV_INPUT)) return tiles; /* what is read */
  if (!s->round || tiles || what == SNK_CONV_INPUT) return s->round && tiles;
  const snk_conv_pass p = pass_forward(s);
  return !p.exact && p.m > 1;
}

size_t snk_conv_packed_bytes(const snk_conv_shape *s) {
  if (snk_half_suits(s, SNK_CONV_FORWARD)) return snk_half_packed_bytes(s);
  if (snk_winograd_suits(s, false)) return snk_winograd_packed_bytes(s);
  return (size_t)(s->groups * s->co * s->ci * s->y.k * s->x.k * snk_conv_size_of(s)) + SNK_CONV_BEYOND;
}

void snk_conv_pack(const snk_conv_shape *s, const void *w, void *to) {
  if (snk_half_suits(s, SNK_CONV_FORWARD)) {
    snk_half_pack(s, w, to);
    return;
  }
  if (snk_winograd_suits(s, false)) {
    snk_winograd_pack(s, w, to);
    return;
  }
  const snk_conv_pass p = pass_forward(s);
  if (p.groups > 0 && p.m > 0) pack_weight(&p, snk_conv_type_of(s), snk_conv_size_of(s), w, to);
}

void snk_conv_backward_input(const snk_conv_shape *s, const void *gy, const void *w, const void *bias, void *gx, void *scratch) {
  if (snk_half_suits(s, SNK_CONV_INPUT)) {
    snk_half_run(s, true, gy, w, &(snk_conv_with){.bias = bias}, gx, scratch);
    return;
  }
  if (snk_winograd_suits(s, true)) {
    snk_winograd_run(s, true, gy, w, &(snk_conv_with){.bias = bias}, gx, scratch);
    return;
  }
  snk_conv_pass p[4];
  const int64_t together = pairs(s, p);
  for (int64_t q = 0; q < together; q++) p[q].src = gy, p[q].bias = bias, p[q].dst = gx;
  if (together) run(p, together, snk_conv_type_of(s), snk_conv_size_of(s), w, scratch);
  for (int64_t iy = 0; !together && iy < least(s->y.stride, s->y.in); iy++) /* the phases there are, in the order of the input */
    for (int64_t ix = 0; ix < least(s->x.stride, s->x.in); ix++) {
      *p = pass_back(s, iy, ix);
      p->src = gy, p->bias = bias, p->dst = gx;
      run(p, 1, snk_conv_type_of(s), snk_conv_size_of(s), w, scratch);
    }
}

void snk_conv_space(const snk_conv_shape *s, int what, size_t *scratch, size_t *worker) {
  *scratch = *worker = 64;
  if (snk_half_suits(s, what)) {
    snk_half_space(s, what, scratch, worker);
    return;
  }
  if (what == SNK_CONV_WEIGHT) {
    snk_conv_weight_space(s, scratch, worker);
    return;
  }
  bool back = what == SNK_CONV_INPUT;
  if (snk_winograd_suits(s, back)) {
    snk_winograd_space(s, back, scratch, worker);
    return;
  }
  snk_conv_pass phases[4];
  const int64_t together = back ? pairs(s, phases) : 0;
  for (int64_t q = 0; q < together; q++) *scratch += pass_scratch(&phases[q], snk_conv_size_of(s));
  if (together) {
    *worker += pass_worker(phases, snk_conv_type_of(s), snk_conv_size_of(s));
    return;
  }
  for (int64_t iy = 0; iy < (back ? least(s->y.stride, s->y.in) : 1); iy++)
    for (int64_t ix = 0; ix < (back ? least(s->x.stride, s->x.in) : 1); ix++) {
      snk_conv_pass p = back ? pass_back(s, iy, ix) : pass_forward(s);
      size_t a = pass_scratch(&p, snk_conv_size_of(s)), b = pass_worker(&p, snk_conv_type_of(s), snk_conv_size_of(s));
      if (p.y.n <= 0 || p.x.n <= 0) continue;
      if (a > *scratch) *scratch = a;
      if (b > *worker) *worker = b;
    }
}
