/* winograd.c - how Winograd's convolution is cut into pieces, and who does what. */
#include "calc/winograd.h"
#include "base/thread.h"
#include "calc/whole.h"

/* Bytes of a piece's patches; multiply-adds that are not worth a thread; runs of pieces that are summed apart, and their bytes. */
enum { PIECE_BYTES = 592 << 10, SMALL = 100000, RUNS = 8 };
#define RUN_BYTES ((int64_t)16 << 20)
/* Each thread packs the weight for itself if it is no larger and has so many tiles (one then takes a few percent of the time): fetching what others have packed
 * from their caches takes as long, and several times as long from another third cache. */
enum { OWN_BYTES = 1 << 20, OWN_TILES = 64 };
/* What the patches of 16 tiles of one channel cost, in vector multiply-adds: turned and transformed, and from the sums to the result (measured). */
enum { COST_INPUT = 300, COST_RESULT = 280 };

/* Tiles of 2 x 2 for so many of 4 x 4 and a weight of so many kernels. */
enum { FEW = 24, LARGE = 32768 };
static int64_t side_of(int64_t n, int64_t m, int64_t c, int64_t oh, int64_t ow) {
  return m * c > LARGE && n * parts_of(oh, 4) * parts_of(ow, 4) <= FEW ? 2 : 4;
}

/* What the direct sums over taps cost for a pair of channels, of planes of h x w. AVX512-BF16 takes two products in the time of one (`grad`: of the weight's
 * gradient, where more is to be copied; measured), and fills vectors of 16 places with whole rows of one image or more (calc/conv_half.h). */
static double direct(const snk_conv_shape *s, bool grad, int64_t h, int64_t w) {
  const double taps = 9 * (double)h;
  if (!s->half || !sn_halves() || sn_amx()) return taps * 1.1 * (double)w;
  int64_t row = 16;
  while (row >= 2 * w) row /= 2;
  return taps * (grad ? 0.55 : 0.45) * (double)(parts_of(w, row) * row);
}

static bool three_by_three(const snk_conv_shape *s) {
  const snk_conv_axis *y = &s->y, *x = &s->x;
  return !s->f64 && snk_winograd_kernels_now()->lanes > 0 && y->k == 3 && x->k == 3 && y->stride == 1 && x->stride == 1 && y->dilation == 1 && x->dilation == 1;
}
bool snk_winograd_suits(const snk_conv_shape *s, bool back) {
  const snk_conv_axis *y = &s->y, *x = &s->x;
  if (!three_by_three(s)) return false;
  const int64_t m = back ? s->ci : s->co, c = back ? s->co : s->ci, oh = back ? y->in : y->out, ow = back ? x->in : x->out;
  if (m < 16 || c < 8 || oh < 2 || ow < 2) return false;
  const int64_t side = side_of(s->n, m, c, oh, ow);
  const double tiles = (double)(parts_of(oh, side) * parts_of(ow, side)), square = (double)(side * side) / 16;
  /* per channel pair: what the positions take, the source's and the result's transformation; and the direct sum over taps */
  return tiles * ((double)((side + 2) * (side + 2)) + square * (COST_INPUT / (double)m + COST_RESULT / (double)c)) < direct(s, false, oh, ow);
}

static int64_t whole_vectors(int64_t n, int64_t lanes) { return parts_of(n, lanes) * lanes; }
static int64_t bands_of(const snk_winograd *p) { return parts_of(p->ty, p->rows); }

static snk_winograd plan_for(const snk_conv_shape *s, bool back, int64_t lanes) {
  const snk_conv_axis *y = &s->y, *x = &s->x;
  snk_winograd p = {.n = s->n, .groups = s->groups, .m = back ? s->ci : s->co, .c = back ? s->co : s->ci, .flip = back, .round = s->round, .narrow = back ? s->narrow_x : s->narrow_y,
                    .narrow_src = back ? s->narrow_y : s->narrow_x, .narrow_grad = s->narrow_y,
                    .wm = back ? 9 : s->ci * 9, .wc = back ? s->ci * 9 : 9, .wg = s->co * s->ci * 9};
  p.ms = whole_vectors(p.m, lanes), p.cs = whole_vectors(p.c, lanes);
  p.h = back ? y->out : y->in, p.w = back ? x->out : x->in, p.oh = back ? y->in : y->out, p.ow = back ? x->in : x->out;
  p.y0 = back ? y->pad - 2 : -y->pad, p.x0 = back ? x->pad - 2 : -x->pad;
  p.tile = side_of(p.n, p.m, p.c, p.oh, p.ow), p.at = (p.tile + 2) * (p.tile + 2);
  p.ty = parts_of(p.oh, p.tile), p.tx = parts_of(p.ow, p.tile);
  return p;
}
/* Pieces of so many tiles: some images, or the bands of one that are most alike. */
static void cut(snk_winograd *p, int64_t tiles) {
  p->images = most(1, least(p->n, tiles / (p->ty * p->tx)));
  p->rows = parts_of(p->ty, parts_of(p->ty, least(p->ty, most(1, tiles / p->tx))));
}
static snk_winograd plan(const snk_conv_shape *s, bool back, int64_t lanes) {
  snk_winograd p = plan_for(s, back, lanes);
  cut(&p, PIECE_BYTES / (p.at * p.cs * 4));
  return p;
}

/* Tiles that the products go over for some: each of theirs has its least. */
static int64_t most_of(const snk_winograd_kernels *k, int64_t tiles) { return most(tiles, snk_conv_tiles(tiles, k->mr) * k->least); }
static int64_t biggest(const snk_winograd *p, const snk_winograd_kernels *k) { return most_of(k, p->images * p->rows * p->tx); }
static size_t patch_bytes(const snk_winograd *p, const snk_winograd_kernels *k) {
  return aligned((size_t)(p->at * snk_winograd_position(biggest(p, k), p->cs, k->lanes)) * sizeof(float));
}
static size_t line_bytes(const snk_winograd *p, const snk_winograd_kernels *k) {
  return aligned((size_t)snk_winograd_lines(p, k->lanes) * sizeof(float));
}
static size_t sum_bytes(const snk_winograd *p, const snk_winograd_kernels *k) { return aligned((size_t)snk_winograd_sums(p, k->mr, k->lanes) * sizeof(float)); }
static size_t packed_bytes(const snk_winograd *p, int64_t lanes) { return aligned((size_t)snk_winograd_panel(p, lanes, p->groups, 0) * sizeof(float)); }
static size_t own_bytes(const snk_winograd *p, int64_t lanes) {
  const size_t bytes = packed_bytes(p, lanes);
  return bytes <= OWN_BYTES ? bytes : 0;
}

size_t snk_winograd_packed_bytes(const snk_conv_shape *s) {
  const int64_t lanes = snk_winograd_kernels_now()->lanes;
  const snk_winograd p = plan_for(s, false, lanes);
  return packed_bytes(&p, lanes);
}

void snk_winograd_space(const snk_conv_shape *s, bool back, size_t *scratch, size_t *worker) {
  const snk_winograd_kernels *k = snk_winograd_kernels_now();
  const snk_winograd p = plan(s, back, k->lanes);
  *scratch = packed_bytes(&p, k->lanes);
  *worker = patch_bytes(&p, k) + line_bytes(&p, k) + sum_bytes(&p, k) + own_bytes(&p, k->lanes);
}

typedef struct job {
  const snk_winograd *p;
  const snk_winograd_kernels *k;
  const float *w;
  float *to;              /* where the weight is packed */
  int64_t parts, each;    /* of the weight's rows, pieces of each; of a panel's channels when it is packed */
  bool *own;              /* by worker: has it packed its own? NULL: all read what all have packed */
} job;

static void pack_task(void *ctx, int64_t begin, int64_t end, int worker) {
  const job *j = ctx;
  const snk_winograd *p = j->p;
  const int64_t panels = snk_winograd_panels(p, j->k->lanes);
  (void)worker;
  for (int64_t i = begin; i < end; i++) {
    const int64_t part = i % j->parts, panel = i / j->parts % panels, g = i / j->parts / panels;
    j->k->pack(p, j->w + g * p->wg, panel, p->c * part / j->parts, p->c * (part + 1) / j->parts,
               j->to + snk_winograd_panel(p, j->k->lanes, g, panel));
  }
}
static void pack_weight(const snk_winograd *p, const float *w, void *to) {
  job j = {.p = p, .k = snk_winograd_kernels_now(), .w = w, .to = to, .parts = parts_of(p->c, 16)};
  sn_parallel(p->groups * snk_winograd_panels(p, j.k->lanes) * j.parts, most(1, SMALL / (100 * 16 * 16)), pack_task, &j);
}
void snk_winograd_pack(const snk_conv_shape *s, const float *w, void *to) {
  const snk_winograd p = plan_for(s, false, snk_winograd_kernels_now()->lanes);
  pack_weight(&p, w, to);
}

static snk_winograd_piece piece_of(const snk_winograd *p, const snk_winograd_kernels *k, int64_t i) {
  const int64_t bands = bands_of(p), band = i % bands, run = i / bands / p->groups;
  snk_winograd_piece piece = {.group = i / bands % p->groups, .image = run * p->images, .r0 = band * p->rows};
  piece.images = least(p->images, p->n - piece.image), piece.rows = least(p->rows, p->ty - piece.r0);
  piece.tiles = piece.images * piece.rows * p->tx, piece.most = most_of(k, piece.tiles);
  return piece;
}

static void piece_task(void *ctx, int64_t begin, int64_t end, int worker) {
  const job *j = ctx;
  snk_winograd mine = *j->p;
  const snk_winograd *p = &mine;
  float *patches = sn_scratch(worker), *lines = patches + patch_bytes(p, j->k) / sizeof(float), *sums = lines + line_bytes(p, j->k) / sizeof(float);
  const int64_t panels = snk_winograd_panels(p, j->k->lanes);
  if (j->own) {
    float *to = sums + sum_bytes(p, j->k) / sizeof(float);
    mine.packed = to;
    if (!j->own[worker]) {
      job pack = {.p = p, .k = j->k, .w = j->w, .to = to, .parts = 1};
      pack_task(&pack, 0, p->groups * panels, worker);
      j->own[worker] = true;
    }
  }
  for (int64_t i = begin; i < end; i++) {
    const int64_t part = i / j->each;
    const snk_winograd_piece piece = piece_of(p, j->k, i % j->each);
    j->k->input(p, &piece, i == begin, patches, lines);
    for (int64_t q = panels * part / j->parts; q < panels * (part + 1) / j->parts; q++) j->k->multiply(p, &piece, q, patches, sums);
  }
}

/* Pieces for some threads where there are few: thinner bands, or parts of the weight's rows, for each of which the source is transformed again.
 * How it is shared changes no bit. */
static void share(snk_winograd *p, const snk_winograd_kernels *k, int64_t threads, int64_t *parts) {
  if (parts_of(p->n, p->images) * p->groups * bands_of(p) >= 4 * threads) return;
  p->images = most(1, least(p->images, p->n / (4 * threads)));
  if (p->n * p->groups >= 4 * threads) return;
  const int64_t panels = snk_winograd_panels(p, k->lanes), rows = p->rows;
  const double weight = p->m * p->c > LARGE ? 16 : 1; /* reading it, in tiles */
  double best = 0;
  for (int64_t some = 1; some <= least(threads, panels); some *= 2)
    for (int64_t r = 1; r <= rows; r++) {
      const int64_t items = parts_of(p->n, p->images) * p->groups * parts_of(p->ty, r) * some;
      const double tiles = (double)(p->images * r * p->tx), most = (double)most_of(k, p->images * r * p->tx), rows_of = (double)p->ms / (double)some;
      const double square = (double)(p->tile * p->tile) / 16;
      const double piece = (tiles * square * COST_INPUT + rows_of * ((most + weight) * (double)p->at + tiles * square * COST_RESULT / (double)p->c)) / 16;
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
  j.p = &p;
  const double work = (double)(p.n * p.ty * p.tx) * (double)(p.at * p.groups * p.m * p.c);
  const int64_t threads = work < 2 * SMALL ? 1 : sn_threads();
  if (threads > 1) share(&p, j.k, threads, &j.parts);
  bool own[SN_MAX_THREADS] = {false};
  if (p.packed == NULL && threads > 1 && j.parts == 1 && own_bytes(&p, j.k->lanes) > 0 && p.n * p.ty * p.tx >= OWN_TILES * threads) j.own = own, j.w = w;
  else if (p.packed == NULL) pack_weight(&p, w, scratch), p.packed = scratch;
  j.each = parts_of(p.n, p.images) * p.groups * bands_of(&p);
  const int64_t items = j.each * j.parts;
  sn_parallel(items, threads == 1 ? items : 1, piece_task, &j);
}

/* ---- the weight's gradient */

typedef struct grad_job {
  snk_winograd p;
  const snk_winograd_kernels *k;
  int64_t pieces, runs, chunk, parts; /* pieces of a group; runs of `chunk` of them; parts of the rows, in whole vectors */
  float *sums, *gw;                   /* run x group x (position x cs x rows of a part, part by part) */
} grad_job;

bool snk_winograd_grad_suits(const snk_conv_shape *s) {
  if (!three_by_three(s) || s->co < 12 || s->ci < 16 || s->y.out < 2 || s->x.out < 2) return false;
  const double tiles = (double)(parts_of(s->y.out, 4) * parts_of(s->x.out, 4)), ms = (double)whole_vectors(s->co, 16);
  const double cost = tiles * (ms * SNK_WINOGRAD_AT + COST_INPUT * (ms / (double)s->ci + 1));
  return cost < direct(s, true, s->y.out, s->x.out) * (double)s->co;
}

static grad_job plan_grad(const snk_conv_shape *s) {
  grad_job j = {.k = snk_winograd_kernels_now(), .parts = 1};
  snk_winograd *p = &j.p;
  *p = plan_for(s, false, j.k->lanes);
  p->tile = 4, p->at = SNK_WINOGRAD_AT, p->ty = parts_of(p->oh, 4), p->tx = parts_of(p->ow, 4);
  /* so many tiles that the sums, which every piece reads and writes, do not move more than twice what the patches do */
  cut(p, most(PIECE_BYTES / (SNK_WINOGRAD_AT * (p->cs + p->ms) * 4), p->cs * p->ms / (p->cs + p->ms) / 2));
  p->images = most(1, least(p->images, parts_of(p->n, RUNS))); /* so that there are runs to share out */
  j.pieces = parts_of(p->n, p->images) * bands_of(p);
  j.runs = most(1, least(least(j.pieces, RUNS), RUN_BYTES / (p->groups * SNK_WINOGRAD_AT * p->ms * p->cs * 4)));
  j.chunk = parts_of(most(1, j.pieces), j.runs);
  j.runs = parts_of(most(1, j.pieces), j.chunk);
  return j;
}
static int64_t grad_sums(const grad_job *j) { return SNK_WINOGRAD_AT * j->p.ms * j->p.cs; }
/* The first row of a part. */
static int64_t part_at(const grad_job *j, int64_t part) { return j->p.ms / j->k->lanes * part / j->parts * j->k->lanes; }
static size_t grad_spread(const grad_job *j) {
  return aligned((size_t)(SNK_WINOGRAD_AT * snk_winograd_position(biggest(&j->p, j->k), j->p.ms, j->k->lanes)) * sizeof(float));
}

void snk_winograd_grad_space(const snk_conv_shape *s, size_t *scratch, size_t *worker) {
  const grad_job j = plan_grad(s);
  *scratch = (size_t)(j.runs * j.p.groups * grad_sums(&j)) * sizeof(float);
  *worker = patch_bytes(&j.p, j.k) + grad_spread(&j) + 2 * line_bytes(&j.p, j.k);
}

static void grad_task(void *ctx, int64_t begin, int64_t end, int worker) {
  const grad_job *j = ctx;
  const snk_winograd *p = &j->p;
  float *patches = sn_scratch(worker), *spread = patches + patch_bytes(p, j->k) / sizeof(float);
  float *lines = spread + grad_spread(j) / sizeof(float), *grads = lines + line_bytes(p, j->k) / sizeof(float);
  bool fresh = true;
  const int64_t lanes = j->k->lanes, bands = bands_of(p);
  for (int64_t i = begin; i < end; i++) {
    const int64_t part = i % j->parts, g = i / j->parts % p->groups, run = i / j->parts / p->groups;
    const int64_t m0 = part_at(j, part), step = part_at(j, part + 1) - m0;
    float *sums = j->sums + (run * p->groups + g) * grad_sums(j) + SNK_WINOGRAD_AT * p->cs * m0;
    for (int64_t b = run * j->chunk; b < j->pieces && b < (run + 1) * j->chunk; b++) {
      const snk_winograd_piece piece = piece_of(p, j->k, (b / bands * p->groups + g) * bands + b % bands);
      j->k->input(p, &piece, fresh, patches, lines);
      j->k->spread(p, &piece, m0, step, fresh, spread, grads);
      fresh = false;
      for (int at = 0; at < SNK_WINOGRAD_AT; at++)
        j->k->outer(p, piece.tiles, patches + at * snk_winograd_position(piece.most, p->cs, lanes),
                    spread + at * snk_winograd_position(piece.tiles, step, lanes), step, sums + at * p->cs * step, b > run * j->chunk);
    }
  }
}

static void kernels_task(void *ctx, int64_t begin, int64_t end, int worker) {
  const grad_job *j = ctx;
  const snk_winograd *p = &j->p;
  (void)worker;
  for (int64_t i = begin; i < end; i++)
    for (int64_t part = 0; part < j->parts; part++) {
      const int64_t g = i / p->c, c = i % p->c, m0 = part_at(j, part), step = part_at(j, part + 1) - m0;
      j->k->kernels(j->sums + g * grad_sums(j) + SNK_WINOGRAD_AT * p->cs * m0 + c * step, j->runs, p->groups * grad_sums(j), p->cs * step,
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
  if (items < 2 * threads && threads > 1) j.parts = least(p->ms / j.k->lanes, parts_of(2 * threads, items));
  items *= j.parts;
  sn_parallel(items, threads == 1 ? items : most(1, (int64_t)(SMALL / (work / (double)items))), grad_task, &j);
  sn_parallel(p->groups * p->c, 1 + 16384 / (p->ms * j.runs * 9), kernels_task, &j);
}
