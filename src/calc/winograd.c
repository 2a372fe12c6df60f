/* winograd.c - how Winograd's convolution is cut into pieces, and who does what. */
#include "calc/winograd.h"
#include "base/thread.h"
#include "calc/whole.h"

/* Bytes of a piece's panels; multiply-adds that are not worth a thread; runs of pieces that are summed apart, and their bytes. */
enum { PIECE_BYTES = 1 << 20, SMALL = 100000, RUNS = 8 };
#define RUN_BYTES ((int64_t)16 << 20)
/* What a vector of patches of one channel costs, in vector multiply-adds: into panels, and from the sums to the result (measured). */
enum { COST_INPUT = 80, COST_RESULT = 70 };

static bool three_by_three(const snk_conv_shape *s) {
  const snk_conv_axis *y = &s->y, *x = &s->x;
  return !s->f64 && y->k == 3 && x->k == 3 && y->stride == 1 && x->stride == 1 && y->dilation == 1 && x->dilation == 1;
}
bool snk_winograd_suits(const snk_conv_shape *s, bool back) {
  const snk_conv_axis *y = &s->y, *x = &s->x;
  if (!three_by_three(s)) return false;
  const int64_t m = back ? s->ci : s->co, c = back ? s->co : s->ci, oh = back ? y->in : y->out, ow = back ? x->in : x->out;
  if (m < 16 || c < 8 || oh < 2 || ow < 2) return false;
  const int64_t tiles = (oh + 1) / 2 * ((ow + 1) / 2);
  /* per channel pair: what the positions take, the source's and the result's transformation; and the direct sum over taps */
  const double cost = (double)(parts_of(tiles, 16) * 16) * (SNK_WINOGRAD_AT + (double)COST_INPUT / (double)m + (double)COST_RESULT / (double)c);
  return cost < 9 * 1.1 * (double)(oh * ow);
}

/* channels: of what is in a piece's panels, if not the source's alone. */
static snk_winograd plan_for(const snk_conv_shape *s, bool back, int64_t lanes, int64_t channels) {
  const snk_conv_axis *y = &s->y, *x = &s->x;
  snk_winograd p = {.n = s->n, .groups = s->groups, .m = back ? s->ci : s->co, .c = back ? s->co : s->ci, .flip = back, .round = s->round,
                    .wm = back ? 9 : s->ci * 9, .wc = back ? s->ci * 9 : 9, .wg = s->co * s->ci * 9};
  p.h = back ? y->out : y->in, p.w = back ? x->out : x->in, p.oh = back ? y->in : y->out, p.ow = back ? x->in : x->out;
  p.y0 = back ? y->pad - 2 : -y->pad, p.x0 = back ? x->pad - 2 : -x->pad;
  p.ty = (p.oh + 1) / 2, p.tx = (p.ow + 1) / 2;
  const int64_t room = most(1, PIECE_BYTES / (SNK_WINOGRAD_AT * channels * lanes * 4)), each = parts_of(p.ty * p.tx, lanes); /* vectors */
  p.images = 1, p.rows = p.ty;
  if (each <= room) p.images = most(1, least(p.n, room / 2 / each)); /* small ones leave more of the cache to the rest */
  else { /* the rows of tiles that leave the fewest lanes empty */
    double best = -1;
    for (int64_t r = 1; r <= p.ty && (r == 1 || parts_of(r * p.tx, lanes) <= room); r++) {
      const int64_t last = p.ty % r, vectors = p.ty / r * parts_of(r * p.tx, lanes) + parts_of(last * p.tx, lanes);
      const double full = (double)(p.ty * p.tx) / (double)(vectors * lanes) + 0.02 * (double)r / (double)p.ty;
      if (full > best) best = full, p.rows = r;
    }
  }
  return p;
}
static snk_winograd plan(const snk_conv_shape *s, bool back, int64_t lanes) { return plan_for(s, back, lanes, back ? s->co : s->ci); }
static int64_t bands_of(const snk_winograd *p) { return parts_of(p->ty, p->rows); }

static int64_t vectors_of(const snk_winograd *p, int64_t lanes) { return p->images * parts_of(p->rows * p->tx, lanes); }

static size_t panel_bytes(const snk_winograd *p, int64_t lanes) {
  return aligned((size_t)snk_winograd_panel(p->c, (vectors_of(p, lanes) + 1) / 2, 2, lanes) * sizeof(float));
}
static size_t room_bytes(const snk_winograd *p, int64_t mr, int64_t lanes) {
  return aligned((size_t)most(snk_winograd_columns(p, lanes), snk_winograd_sums(mr, lanes)) * sizeof(float));
}
static size_t packed_bytes(const snk_winograd *p) {
  return aligned((size_t)(p->groups * p->m * p->c * SNK_WINOGRAD_AT) * sizeof(float));
}

size_t snk_winograd_packed_bytes(const snk_conv_shape *s) {
  const snk_winograd p = plan(s, false, snk_winograd_kernels_now()->lanes);
  return packed_bytes(&p);
}

void snk_winograd_space(const snk_conv_shape *s, bool back, size_t *scratch, size_t *worker) {
  const snk_winograd_kernels *k = snk_winograd_kernels_now();
  const snk_winograd p = plan(s, back, k->lanes);
  *scratch = packed_bytes(&p);
  *worker = panel_bytes(&p, k->lanes) + room_bytes(&p, k->mr, k->lanes);
}

typedef struct job {
  const snk_winograd *p;
  const snk_winograd_kernels *k;
  const float *w;
  float *to;              /* where the weight is packed */
  int64_t parts;          /* of the weight's rows */
} job;

static void pack_task(void *ctx, int64_t begin, int64_t end, int worker) {
  const job *j = ctx;
  const snk_winograd *p = j->p;
  const int64_t tiles = snk_conv_tiles(p->m, j->k->mr);
  (void)worker;
  for (int64_t i = begin; i < end; i++) {
    const int64_t g = i / tiles, m0 = snk_conv_tile_at(p->m, tiles, i % tiles), mr = snk_conv_tile_at(p->m, tiles, i % tiles + 1) - m0;
    j->k->pack(p, j->w + g * p->wg, m0, mr, j->to + (g * p->m + m0) * SNK_WINOGRAD_AT * p->c);
  }
}
static void pack_weight(const snk_winograd *p, const float *w, void *to) {
  job j = {.p = p, .k = snk_winograd_kernels_now(), .w = w, .to = to};
  sn_parallel(p->groups * snk_conv_tiles(p->m, j.k->mr), most(1, SMALL / (100 * p->c)), pack_task, &j);
}
void snk_winograd_pack(const snk_conv_shape *s, const float *w, void *to) {
  const snk_winograd p = plan(s, false, snk_winograd_kernels_now()->lanes);
  pack_weight(&p, w, to);
}

static snk_winograd_piece piece_of(const snk_winograd *p, int64_t i, int64_t lanes) {
  const int64_t bands = bands_of(p), band = i % bands, run = i / bands / p->groups;
  snk_winograd_piece piece = {.group = i / bands % p->groups, .image = run * p->images, .r0 = band * p->rows};
  piece.images = least(p->images, p->n - piece.image), piece.rows = least(p->rows, p->ty - piece.r0);
  piece.each = parts_of(piece.rows * p->tx, lanes), piece.vectors = piece.images * piece.each;
  return piece;
}

static void piece_task(void *ctx, int64_t begin, int64_t end, int worker) {
  const job *j = ctx;
  const snk_winograd *p = j->p;
  float *panels = sn_scratch(worker), *room = panels + panel_bytes(p, j->k->lanes) / sizeof(float);
  const int64_t tiles = snk_conv_tiles(p->m, j->k->mr);
  for (int64_t i = begin; i < end; i++) {
    const snk_winograd_piece piece = piece_of(p, i / j->parts, j->k->lanes);
    const int64_t t0 = tiles * (i % j->parts) / j->parts, t1 = tiles * (i % j->parts + 1) / j->parts;
    j->k->input(p, &piece, 2, panels, room);
    for (int64_t t = t0; t < t1; t++)
      for (int64_t q = 0; q < (piece.vectors + 1) / 2; q++) j->k->multiply(p, &piece, t, q, panels, room);
  }
}

/* Pieces for some threads where there are few: thinner bands, or parts of the weight's rows, for each of which the source is transformed again.
 * How it is shared changes no bit. */
static void share(snk_winograd *p, const snk_winograd_kernels *k, int64_t threads, int64_t *parts) {
  if (parts_of(p->n, p->images) * p->groups * bands_of(p) >= 4 * threads) return;
  p->images = most(1, p->n / (4 * threads));
  if (p->n * p->groups >= 4 * threads) return;
  const int64_t tiles = snk_conv_tiles(p->m, k->mr), rows = p->rows;
  double best = 0;
  for (int64_t some = 1; some <= least(threads, tiles); some *= 2)
    for (int64_t r = 1; r <= rows; r++) {
      const int64_t items = parts_of(p->n, p->images) * p->groups * parts_of(p->ty, r) * some;
      const double piece = (double)(p->images * parts_of(r * p->tx, k->lanes) * 
                                    (COST_INPUT + parts_of(tiles, some) * k->mr * (SNK_WINOGRAD_AT + COST_RESULT / p->c)));
      const double all = (double)parts_of(items, threads) * (piece + 1000.0 / (double)p->c);
      if (best == 0 || all < best) best = all, p->rows = r, *parts = some;
    }
}

void snk_winograd_run(const snk_conv_shape *s, bool back, const float *src, const float *w, const snk_conv_with *with, float *dst, void *scratch) {
  job j = {.k = snk_winograd_kernels_now(), .parts = 1};
  snk_winograd p = plan(s, back, j.k->lanes);
  if (p.n == 0 || p.groups == 0) return;
  p.src = src, p.dst = dst, p.bias = with->bias, p.mean = with->mean, p.scale = with->scale, p.shift = with->shift, p.add = with->add;
  p.relu = with->relu, p.packed = with->packed;
  if (p.packed == NULL) pack_weight(&p, w, scratch), p.packed = scratch;
  j.p = &p;
  const double work = (double)(p.n * p.ty * p.tx) * (double)(SNK_WINOGRAD_AT * p.groups * p.m * p.c);
  const int64_t threads = work < 2 * SMALL ? 1 : sn_threads();
  if (threads > 1) share(&p, j.k, threads, &j.parts);
  const int64_t items = parts_of(p.n, p.images) * p.groups * bands_of(&p) * j.parts;
  sn_parallel(items, threads == 1 ? items : 1, piece_task, &j);
}

/* ---- the weight's gradient */

typedef struct grad_job {
  snk_winograd p;
  const snk_winograd_kernels *k;
  int64_t pieces, runs, chunk, parts; /* pieces of a group; runs of `chunk` of them; parts of the rows, in whole vectors */
  int64_t step;                       /* a group's rows in whole vectors */
  float *sums, *gw;                   /* run x group x (position x c x rows of a part, part by part) */
} grad_job;

bool snk_winograd_grad_suits(const snk_conv_shape *s) {
  if (!three_by_three(s) || s->co < 12 || s->ci < 16 || s->y.out < 2 || s->x.out < 2) return false;
  const int64_t tiles = (s->y.out + 1) / 2 * ((s->x.out + 1) / 2), step = parts_of(s->co, 16) * 16;
  const double cost = (double)(tiles * step) * SNK_WINOGRAD_AT + (double)(parts_of(tiles, 16) * 16) * COST_INPUT * ((double)step / (double)s->ci + 1);
  return cost < 9 * 1.1 * (double)(s->y.out * s->x.out * s->co);
}

static grad_job plan_grad(const snk_conv_shape *s) {
  grad_job j = {.k = snk_winograd_kernels_now(), .parts = 1};
  snk_winograd *p = &j.p;
  j.step = parts_of(s->co, j.k->lanes) * j.k->lanes;
  *p = plan_for(s, false, j.k->lanes, s->ci + j.step);
  p->images = most(1, least(p->images, parts_of(p->n, RUNS))); /* so that there are runs to share out */
  j.pieces = parts_of(p->n, p->images) * bands_of(p);
  j.runs = most(1, least(least(j.pieces, RUNS), RUN_BYTES / (p->groups * SNK_WINOGRAD_AT * j.step * p->c * 4)));
  j.chunk = parts_of(most(1, j.pieces), j.runs);
  j.runs = parts_of(most(1, j.pieces), j.chunk);
  return j;
}
static int64_t grad_sums(const grad_job *j) { return SNK_WINOGRAD_AT * j->step * j->p.c; }
/* In a worker's scratch: a piece of the source, of the gradient, and room, also for an image of the gradient with its rows last. */
static size_t grad_source(const grad_job *j) {
  return aligned((size_t)snk_winograd_panel(j->p.c, 1, vectors_of(&j->p, j->k->lanes) | 1, j->k->lanes) * sizeof(float));
}
static int64_t grad_position(const grad_job *j, int64_t step) { return j->p.images * j->p.rows * j->p.tx * step + j->k->lanes; }
static size_t grad_spread(const grad_job *j) { return aligned((size_t)(SNK_WINOGRAD_AT * grad_position(j, j->step)) * sizeof(float)); }

void snk_winograd_grad_space(const snk_conv_shape *s, size_t *scratch, size_t *worker) {
  const grad_job j = plan_grad(s);
  const size_t turned = aligned((size_t)(2 * j.p.rows * j.p.ow * j.step) * sizeof(float));
  *scratch = (size_t)(j.runs * j.p.groups * grad_sums(&j)) * sizeof(float);
  *worker = grad_source(&j) + grad_spread(&j) + (size_t)most((int64_t)turned, (int64_t)room_bytes(&j.p, j.k->mr, j.k->lanes));
}

static void grad_task(void *ctx, int64_t begin, int64_t end, int worker) {
  const grad_job *j = ctx;
  const snk_winograd *p = &j->p;
  float *source = sn_scratch(worker), *spread = source + grad_source(j) / sizeof(float), *room = spread + grad_spread(j) / sizeof(float);
  const int64_t lanes = j->k->lanes, bands = bands_of(p), plane = p->oh * p->ow;
  for (int64_t i = begin; i < end; i++) {
    const int64_t part = i % j->parts, g = i / j->parts % p->groups, run = i / j->parts / p->groups, vectors = j->step / lanes;
    const int64_t m0 = vectors * part / j->parts * lanes, step = vectors * (part + 1) / j->parts * lanes - m0, position = grad_position(j, step);
    float *sums = j->sums + (run * p->groups + g) * grad_sums(j) + SNK_WINOGRAD_AT * p->c * m0;
    for (int64_t b = run * j->chunk; b < j->pieces && b < (run + 1) * j->chunk; b++) {
      snk_winograd_piece piece = piece_of(p, (b / bands * p->groups + g) * bands + b % bands, lanes);
      piece.vectors |= 1; /* channels at an odd step meet in fewer sets of the cache */
      j->k->input(p, &piece, piece.vectors, source, room);
      for (int64_t image = 0; image < piece.images; image++) {
        const float *gy = p->grad + (((piece.image + image) * p->groups + g) * p->m + m0) * plane + 2 * piece.r0 * p->ow;
        snk_conv_now()->f32.turn(gy, least(p->m - m0, step), plane, least(2 * piece.rows, p->oh - 2 * piece.r0) * p->ow, step, room);
        j->k->spread(p, &piece, image, room, step, spread, position);
      }
      for (int at = 0; at < SNK_WINOGRAD_AT; at++)
        j->k->outer(p, &piece, source + at * snk_winograd_position(p->c, piece.vectors, lanes), spread + at * position, step,
                    sums + at * p->c * step, b > run * j->chunk);
    }
  }
}

static void kernels_task(void *ctx, int64_t begin, int64_t end, int worker) {
  const grad_job *j = ctx;
  const snk_winograd *p = &j->p;
  const int64_t lanes = j->k->lanes, vectors = j->step / lanes;
  (void)worker;
  for (int64_t i = begin; i < end; i++)
    for (int64_t part = 0; part < j->parts; part++) {
      const int64_t g = i / p->c, c = i % p->c, m0 = vectors * part / j->parts * lanes, step = vectors * (part + 1) / j->parts * lanes - m0;
      j->k->kernels(j->sums + g * grad_sums(j) + SNK_WINOGRAD_AT * p->c * m0 + c * step, j->runs, p->groups * grad_sums(j), p->c * step,
                    least(p->m - m0, step), p->c * 9, j->gw + ((g * p->m + m0) * p->c + c) * 9);
    }
}

void snk_winograd_grad(const snk_conv_shape *s, const float *x, const float *gy, float *gw, void *scratch) {
  grad_job j = plan_grad(s);
  snk_winograd *p = &j.p;
  p->src = x, p->grad = gy, j.sums = scratch, j.gw = gw;
  const double work = (double)(p->n * p->ty * p->tx) * (double)(p->groups * grad_sums(&j));
  const int64_t threads = work < 2 * SMALL ? 1 : sn_threads();
  int64_t items = j.runs * p->groups;
  if (items < 2 * threads && threads > 1) j.parts = least(j.step / j.k->lanes, parts_of(2 * threads, items));
  items *= j.parts;
  sn_parallel(items, threads == 1 ? items : most(1, (int64_t)(SMALL / (work / (double)items))), grad_task, &j);
  sn_parallel(p->groups * p->c, 1 + 16384 / (j.step * j.runs * 9), kernels_task, &j);
}
