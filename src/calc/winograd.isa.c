/* winograd.isa.c - the kernels of Winograd's convolution for one instruction set: patches into panels, products, tiles into rows. */
#include "calc/winograd.h"
#include "calc/lanes.h"

enum { L = VFL, AT = SNK_WINOGRAD_AT };
#if defined(__AVX512F__)
enum { MR = 12 };
#define ROWS(X) X(8) X(9) X(10) X(11) X(12) /* what 16 rows and more come to when they are shared out evenly */
#define LEAST 8
#else
enum { MR = 6 };
#define ROWS(X) X(5) X(6)
#define LEAST 5
#endif

/* ---- the weight: G g G' */

SNK_LOOPS static void pack(const snk_winograd *p, const float *w, int64_t m0, int64_t mr, float *to) {
  for (int64_t c = 0; c < p->c; c++) {
    float g[9][MR], u[AT][MR];
    for (int64_t i = 0; i < mr; i++)
      for (int t = 0; t < 9; t++) g[t][i] = w[(m0 + i) * p->wm + c * p->wc + (p->flip ? 8 - t : t)];
    for (int64_t i = 0; i < mr; i++) {
      float r[4][3]; /* the rows are done, then the columns of these */
      for (int x = 0; x < 3; x++) {
        const float a = g[x][i], b = g[3 + x][i], d = g[6 + x][i];
        r[0][x] = a, r[1][x] = (a + b + d) * 0.5f, r[2][x] = (a - b + d) * 0.5f, r[3][x] = d;
      }
      for (int y = 0; y < 4; y++) {
        const float a = r[y][0], b = r[y][1], d = r[y][2];
        u[4 * y][i] = a, u[4 * y + 1][i] = (a + b + d) * 0.5f, u[4 * y + 2][i] = (a - b + d) * 0.5f, u[4 * y + 3][i] = d;
      }
    }
    for (int t = 0; t < AT; t++)
      for (int64_t i = 0; i < mr; i++) to[(t * p->c + c) * mr + i] = u[t][i];
  }
}

/* ---- the source: B' d B */

/* Which of the numbers that `column` reads lie in a row. */
SNK_INLINE void masks_at(const snk_winograd *p, int64_t x, uint32_t mask[4]) {
  mask[0] = snk_inside(x, p->w, L), mask[1] = snk_inside(x + L, p->w, L);
  mask[2] = snk_inside(x + 2, p->w, L), mask[3] = snk_inside(x + 2 + L, p->w, L);
}

/* One row's patches times B, a vector of tiles whose first patch begins at x; mask: see masks_at. */
SNK_INLINE void column(const snk_winograd *p, const float *src, int64_t y, int64_t x, const uint32_t mask[4], VF v[4]) {
  if (y < 0 || y >= p->h) {
    v[0] = v[1] = v[2] = v[3] = vf_zero();
    return;
  }
  const float *from = src + y * p->w + x;
  const VF a = vf_take(from, mask[0]), b = vf_take(from + L, mask[1]), c = vf_take(from + 2, mask[2]), d = vf_take(from + 2 + L, mask[3]);
  const VF e = EVEN_F(a, b), o = ODD_F(a, b), e1 = EVEN_F(c, d), o1 = ODD_F(c, d);
  __builtin_prefetch(from + p->h * p->w), __builtin_prefetch(from + p->h * p->w + L); /* the next channel */
  v[0] = e - e1, v[1] = o + e1, v[2] = e1 - o, v[3] = o - o1;
}

/* One channel's rows, every row's patches times B: even rows and odd rows apart, in each the four positions, tiles side by side. Vectors go up to
 * the end of a row of tiles, or, where that is short, beyond it into the next, which is written later. */
static void columns(const snk_winograd *p, const float *src, int64_t r0, int64_t rows, float *room) {
  const int64_t plane = (p->rows + 1) * p->tx + L;
  for (int j = 0; j < 8; j++) vf_store(room + j * plane + (rows + 1) * p->tx, vf_zero()); /* is read as tiles behind the last one */
  for (int64_t q = 0;;) {
    const int64_t x = p->x0 + 2 * q;
    uint32_t mask[4];
    masks_at(p, x, mask);
    for (int64_t r = 0; r < 2 * rows + 2; r++) {
      float *to = room + (r & 1) * 4 * plane + (r >> 1) * p->tx + q;
      VF v[4];
      column(p, src, p->y0 + 2 * r0 + r, x, mask, v);
      vf_store(to, v[0]), vf_store(to + plane, v[1]), vf_store(to + 2 * plane, v[2]), vf_store(to + 3 * plane, v[3]);
    }
    if (q + L >= p->tx) break;
    q = q + 2 * L <= p->tx ? q + L : p->tx - L;
  }
}

/* Where a channel's vectors of patches go, one after another. */
typedef struct place { int64_t q, at; } place;
SNK_INLINE float *next_place(const snk_winograd *p, const snk_winograd_piece *piece, int64_t wide, int64_t c, float *panels, place *w, int64_t *step) {
  const int64_t left = piece->vectors - w->q * wide, nv = left < wide ? left : wide;
  float *to = panels + snk_winograd_panel(p->c, w->q, wide, L) + (c * nv + w->at) * L;
  *step = snk_winograd_position(p->c, nv, L);
  if (++w->at == nv) w->at = 0, w->q++;
  return to;
}

/* A channel where a row of tiles is one vector: two rows of the source are kept for the next tiles. */
static void one_vector(const snk_winograd *p, const snk_winograd_piece *piece, int64_t wide, int64_t c, const float *src, float *panels, place *w) {
  uint32_t mask[4];
  masks_at(p, p->x0, mask);
  const int64_t y = p->y0 + 2 * piece->r0;
  VF a[4], b[4], d[4], e[4];
  column(p, src, y, p->x0, mask, a), column(p, src, y + 1, p->x0, mask, b);
  for (int64_t r = 1; r <= piece->rows; r++) {
    int64_t step;
    float *to = next_place(p, piece, wide, c, panels, w, &step);
    column(p, src, y + 2 * r, p->x0, mask, d), column(p, src, y + 2 * r + 1, p->x0, mask, e);
    SNK_UNROLL
    for (int j = 0; j < 4; j++) {
      vf_store(to + j * step, a[j] - d[j]), vf_store(to + (4 + j) * step, b[j] + d[j]);
      vf_store(to + (8 + j) * step, d[j] - b[j]), vf_store(to + (12 + j) * step, b[j] - e[j]);
      a[j] = d[j], b[j] = e[j];
    }
  }
}

static void input(const snk_winograd *p, const snk_winograd_piece *piece, int64_t wide, float *panels, float *room) {
  const int64_t plane = (p->rows + 1) * p->tx + L, tx = p->tx;
  int64_t q0 = 0, at0 = 0; /* panel of an image's first vector, and its place there */
  for (int64_t i = 0; i < piece->images; i++) {
    int64_t q = q0, at = at0;
    for (int64_t c = 0; c < p->c && p->tx == L; c++) {
      place w = {q0, at0};
      one_vector(p, piece, wide, c, p->src + (((piece->image + i) * p->groups + piece->group) * p->c + c) * p->h * p->w, panels, &w);
      q = w.q, at = w.at;
    }
    for (int64_t c = 0; c < p->c && p->tx != L; c++) {
      columns(p, p->src + (((piece->image + i) * p->groups + piece->group) * p->c + c) * p->h * p->w, piece->r0, piece->rows, room);
      q = q0, at = at0;
      for (int64_t v = 0; v < piece->each;) {
        const int64_t left = piece->vectors - q * wide, nv = left < wide ? left : wide, step = snk_winograd_position(p->c, nv, L);
        float *to = panels + snk_winograd_panel(p->c, q, wide, L) + (c * nv + at) * L;
        const int64_t some = nv - at < piece->each - v ? nv - at : piece->each - v;
        const float *even = room + v * L;
        for (int j = 0; j < 4; j++, even += plane) {
          const float *odd = even + 4 * plane;
          float *y0 = to + j * step, *y1 = y0 + 4 * step, *y2 = y1 + 4 * step, *y3 = y2 + 4 * step;
          for (int64_t k = 0; k < some * L; k += L) {
            const VF a = vf_load(even + k), b = vf_load(odd + k), d = vf_load(even + tx + k), e = vf_load(odd + tx + k);
            vf_store(y0 + k, a - d), vf_store(y1 + k, b + d), vf_store(y2 + k, d - b), vf_store(y3 + k, b - e);
          }
        }
        v += some, at += some;
        if (at == nv) at = 0, q++;
      }
    }
    q0 = q, at0 = at;
  }
}

/* ---- the products */

/* Channels are summed in blocks, and the blocks in order: one long chain would be less exact than the sum over taps. */
enum { BLOCK = 64 };

SNK_INLINE void products(const int mr, const int nv, int64_t channels, const float *u, const float *panel, float *sums) {
  const int64_t blocks = (channels + BLOCK - 1) / BLOCK;
  for (int at = 0; at < AT; at++, panel += L, sums += mr * nv * L)
    for (int64_t b = 0; b < blocks; b++) {
      VF acc[2 * MR];
      SNK_UNROLL
      for (int i = 0; i < mr * nv; i++) acc[i] = vf_zero();
      for (int64_t c = channels * b / blocks, end = channels * (b + 1) / blocks; c < end; c++, u += mr, panel += nv * L) {
        VF v[2];
        __builtin_prefetch((const char *)u + 2 * SNK_CONV_AHEAD);
        SNK_UNROLL
        for (int j = 0; j < nv; j++) v[j] = vf_load(panel + j * L);
        SNK_UNROLL
        for (int i = 0; i < mr; i++) {
          const VF a = vf_set1(u[i]);
          SNK_UNROLL
          for (int j = 0; j < nv; j++) acc[i * nv + j] = vf_fma(a, v[j], acc[i * nv + j]);
        }
      }
      if (b > 0) {
        SNK_UNROLL
        for (int i = 0; i < mr * nv; i++) acc[i] = vf_load(sums + i * L) + acc[i];
      }
      SNK_UNROLL
      for (int i = 0; i < mr * nv; i++) vf_store(sums + i * L, acc[i]);
    }
}
typedef void product_kernel(int64_t channels, const float *u, const float *panel, float *sums);
#define PRODUCT(mr)                                                                                                                      \
  static void products1_##mr(int64_t channels, const float *u, const float *panel, float *sums) { products(mr, 1, channels, u, panel, sums); } \
  static void products2_##mr(int64_t channels, const float *u, const float *panel, float *sums) { products(mr, 2, channels, u, panel, sums); }
ROWS(PRODUCT)
#define NAME1(mr) products1_##mr,
#define NAME2(mr) products2_##mr,
static product_kernel *const kernels[2][MR + 1 - LEAST] = {{ROWS(NAME1)}, {ROWS(NAME2)}};

/* ---- the result: A' m A, and what follows */

/* Tiles that lie side by side in a row: numbers 2*from .. of a row of two vectors of tiles to `to` of the result. */
typedef struct stretch { int64_t from, n, to, low; } stretch; /* low: of the second row, or -1 */

static int runs_of(const snk_winograd *p, const snk_winograd_piece *piece, int64_t q, int nv, stretch *s) {
  int n = 0;
  for (int64_t lane = 0; lane < nv * L;) {
    const int64_t v = q * 2 + lane / L, t = v % piece->each * L + lane % L, row = t / p->tx, col = t % p->tx, image = v / piece->each;
    int64_t some = p->tx - col, left = piece->rows * p->tx - t, vector = (piece->each - v % piece->each) * L - lane % L;
    if (left <= 0) { /* behind an image's last tile */
      lane += vector;
      continue;
    }
    if (some > nv * L - lane) some = nv * L - lane;
    const int64_t y = 2 * (piece->r0 + row), x = 2 * col;
    const int64_t to = ((piece->image + image) * p->groups + piece->group) * p->m * p->oh * p->ow + y * p->ow + x;
    s[n++] = (stretch){2 * lane, 2 * some < p->ow - x ? 2 * some : p->ow - x, to, y + 1 < p->oh ? to + p->ow : -1};
    lane += some;
  }
  return n;
}

/* What follows a vector of sums of channel ch; add: what lies where they go, or NULL. */
SNK_INLINE VF after(const snk_winograd *p, VF v, int64_t ch, const VF *add) {
  if (p->bias) v = v + vf_set1(p->bias[ch]);
  if (p->mean) v = (v - vf_set1(p->mean[ch])) * vf_set1(p->scale[ch]) + vf_set1(p->shift[ch]);
  if (add) v = v + *add;
  if (p->relu) v = vf_relu(v);
  if (p->round) v = vf_bf16(v);
  return v;
}
SNK_INLINE void finish_whole(const snk_winograd *p, VF v, int64_t ch, int64_t to) {
  VF add;
  if (p->add) add = vf_load(p->add + to);
  vf_store(p->dst + to, after(p, v, ch, p->add ? &add : NULL));
}
static void finish(const snk_winograd *p, const float *from, int64_t n, int64_t ch, int64_t to) {
  for (int64_t j = 0; j < n; j += L) {
    if (n - j >= L) finish_whole(p, vf_load(from + j), ch, to + j);
    else {
      VF add;
      if (p->add) add = vf_some(p->add + to + j, vf_lanes(n - j));
      vf_keep(p->dst + to + j, after(p, vf_load(from + j), ch, p->add ? &add : NULL), n - j);
    }
  }
}

static void multiply(const snk_winograd *p, const snk_winograd_piece *piece, int64_t t, int64_t q, const float *panels, float *room) {
  const int64_t tiles = snk_conv_tiles(p->m, MR), m0 = snk_conv_tile_at(p->m, tiles, t), mr = snk_conv_tile_at(p->m, tiles, t + 1) - m0;
  const int nv = 2 * q + 2 <= piece->vectors ? 2 : 1;
  float *sums = room, *rows = room + AT * MR * 2 * L;
  kernels[nv - 1][mr - LEAST](p->c, p->packed + (piece->group * p->m + m0) * AT * p->c, panels + snk_winograd_panel(p->c, q, 2, L), sums);
  stretch s[2 * L];
  const int n = runs_of(p, piece, q, nv, s);
  int64_t whole[4] = {-1, -1, -1, -1}; /* where the vectors of a row of tiles go, if each lies in one row of the result */
  bool all = true;
  for (int k = 0; k < n; k++) {
    all = all && s[k].from % L == 0 && s[k].n % L == 0 && s[k].low >= 0;
    for (int64_t j = 0; j < s[k].n && all; j += L) whole[(s[k].from + j) / L] = s[k].to + j;
  }
  for (int64_t i = 0; i < mr; i++) {
    const int64_t step = mr * nv * L, ch = piece->group * p->m + m0 + i, plane = (m0 + i) * p->oh * p->ow;
    for (int j = 0; j < nv; j++) {
      const float *from = sums + (i * nv + j) * L;
      VF a[4], b[4];
      SNK_UNROLL
      for (int x = 0; x < 4; x++, from += step) {
        const VF u = vf_load(from), v = vf_load(from + 4 * step), w = vf_load(from + 8 * step), z = vf_load(from + 12 * step);
        a[x] = u + v + w, b[x] = v - w - z;
      }
      const VF a0 = a[0] + a[1] + a[2], a1 = a[1] - a[2] - a[3], b0 = b[0] + b[1] + b[2], b1 = b[1] - b[2] - b[3];
      if (all) {
        const int64_t low = whole[2 * j] + plane, high = whole[2 * j + 1] + plane;
        if (whole[2 * j] >= 0) finish_whole(p, LOW_F(a0, a1), ch, low), finish_whole(p, LOW_F(b0, b1), ch, low + p->ow);
        if (whole[2 * j + 1] >= 0) finish_whole(p, HIGH_F(a0, a1), ch, high), finish_whole(p, HIGH_F(b0, b1), ch, high + p->ow);
        continue;
      }
      vf_store(rows + 2 * j * L, LOW_F(a0, a1)), vf_store(rows + (2 * j + 1) * L, HIGH_F(a0, a1));
      vf_store(rows + (4 + 2 * j) * L, LOW_F(b0, b1)), vf_store(rows + (5 + 2 * j) * L, HIGH_F(b0, b1));
    }
    for (int k = 0; k < n && !all; k++) {
      finish(p, rows + s[k].from, s[k].n, ch, s[k].to + plane);
      if (s[k].low >= 0) finish(p, rows + 4 * L + s[k].from, s[k].n, ch, s[k].low + plane);
    }
  }
}

/* ---- the weight's gradient */

/* A dY A', a vector of rows at once. */
static void spread(const snk_winograd *p, const snk_winograd_piece *piece, int64_t i, const float *turned, int64_t step, float *to, int64_t position) {
  to += i * piece->rows * p->tx * step;
  for (int64_t r = 0; r < piece->rows; r++)
    for (int64_t q = 0; q < p->tx; q++, turned += 2 * step, to += step) {
      const bool right = 2 * q + 1 < p->ow, low = 2 * (piece->r0 + r) + 1 < p->oh;
      for (int64_t v = 0; v < step; v += L) {
        const float *from = turned + v, *below = from + p->ow * step;
        const VF a = vf_load(from), b = right ? vf_load(from + step) : vf_zero(), c = low ? vf_load(below) : vf_zero();
        const VF d = low && right ? vf_load(below + step) : vf_zero();
        const VF top[4] = {a, a + b, a - b, -b}, bottom[4] = {c, c + d, c - d, -d};
        float *out = to + v;
        SNK_UNROLL
        for (int x = 0; x < 4; x++, out += position) vf_store(out, top[x]);
        SNK_UNROLL
        for (int x = 0; x < 4; x++, out += position) vf_store(out, top[x] + bottom[x]);
        SNK_UNROLL
        for (int x = 0; x < 4; x++, out += position) vf_store(out, top[x] - bottom[x]);
        SNK_UNROLL
        for (int x = 0; x < 4; x++, out += position) vf_store(out, -bottom[x]);
      }
      if (q + 1 == p->tx) turned += (2 * p->ow - 2 * p->tx) * step; /* the rows below were read */
    }
}

SNK_INLINE void outer_tile(const int mr, const int nv, const snk_winograd_piece *piece, int64_t tiles, const float *panel, const float *m, int64_t step,
                           float *out, bool add) {
  const int64_t row = piece->vectors * L; /* of the panel */
  VF acc[2 * MR];
  SNK_UNROLL
  for (int i = 0; i < mr * nv; i++) acc[i] = vf_zero();
  for (int64_t image = 0; image < piece->images; image++) {
    const float *a[8]; /* of every third row */
    SNK_UNROLL
    for (int i = 0; i < mr; i += 3) a[i / 3] = panel + image * piece->each * L + i * row;
    for (int64_t t = 0; t < tiles; t++, m += step) {
      VF b[2];
      SNK_UNROLL
      for (int j = 0; j < nv; j++) b[j] = vf_load(m + j * L);
      SNK_UNROLL
      for (int i = 0; i < mr; i++) {
        const VF x = vf_set1(a[i / 3][i % 3 * row]);
        SNK_UNROLL
        for (int j = 0; j < nv; j++) acc[i * nv + j] = vf_fma(x, b[j], acc[i * nv + j]);
      }
      SNK_UNROLL
      for (int i = 0; i < mr; i += 3) a[i / 3]++;
    }
  }
  SNK_UNROLL
  for (int i = 0; i < mr; i++)
    SNK_UNROLL
    for (int j = 0; j < nv; j++) {
      float *to = out + i * step + j * L;
      if (add) acc[i * nv + j] = vf_load(to) + acc[i * nv + j];
      vf_store(to, acc[i * nv + j]);
    }
}
#define OUTER_ARGS const snk_winograd_piece *piece, int64_t tiles, const float *panel, const float *m, int64_t step, float *out, bool add
typedef void outer_kernel(OUTER_ARGS);
#define ONE(mr) static void outer1_##mr(OUTER_ARGS) { outer_tile(mr, 1, piece, tiles, panel, m, step, out, add); }
#define OUTER(mr) ONE(mr) static void outer2_##mr(OUTER_ARGS) { outer_tile(mr, 2, piece, tiles, panel, m, step, out, add); }
ROWS(OUTER)
#define OUTER1(mr) outer1_##mr,
#define OUTER2(mr) outer2_##mr,
#if defined(__AVX512F__)
ONE(16) /* with one vector of rows: more channels at once, so that there are sums enough in flight */
#endif
static outer_kernel *const outers[2][MR + 1 - LEAST] = {{ROWS(OUTER1)}, {ROWS(OUTER2)}};

static void outer(const snk_winograd *p, const snk_winograd_piece *piece, const float *panel, const float *m, int64_t step, float *out, bool add) {
  const int64_t tiles = snk_conv_tiles(p->c, MR);
#if defined(__AVX512F__)
  if (step == L && p->c % 16 == 0) {
    for (int64_t c = 0; c < p->c; c += 16)
      outer1_16(piece, piece->rows * p->tx, panel + c * piece->vectors * L, m, step, out + c * step, add);
    return;
  }
#endif
  for (int64_t i = 0; i < tiles; i++) {
    const int64_t c = snk_conv_tile_at(p->c, tiles, i), mr = snk_conv_tile_at(p->c, tiles, i + 1) - c;
    for (int64_t v = 0; v < step; v += 2 * L)
      outers[step - v > L][mr - LEAST](piece, piece->rows * p->tx, panel + c * piece->vectors * L, m + v, step, out + c * step + v, add);
  }
}

/* G' dU G of a vector of rows at once. */
static void kernels_of(const float *sums, int64_t runs, int64_t between, int64_t position, int64_t n, int64_t to, float *gw) {
  const VF half = vf_set1(0.5f);
  for (int64_t m = 0; m < n; m += L) {
    VF u[AT], r[3][4];
    float out[9][L];
    SNK_UNROLL
    for (int at = 0; at < AT; at++) {
      const float *from = sums + at * position + m;
      u[at] = vf_load(from);
      for (int64_t run = 1; run < runs; run++) u[at] = u[at] + vf_load(from + run * between);
    }
    SNK_UNROLL
    for (int x = 0; x < 4; x++) {
      const VF sum = half * (u[4 + x] + u[8 + x]), rest = half * (u[4 + x] - u[8 + x]);
      r[0][x] = u[x] + sum, r[1][x] = rest, r[2][x] = sum + u[12 + x];
    }
    SNK_UNROLL
    for (int y = 0; y < 3; y++) {
      const VF sum = half * (r[y][1] + r[y][2]), rest = half * (r[y][1] - r[y][2]);
      vf_store(out[3 * y], r[y][0] + sum), vf_store(out[3 * y + 1], rest), vf_store(out[3 * y + 2], sum + r[y][3]);
    }
    for (int64_t l = 0; l < L && m + l < n; l++, gw += to)
      for (int tap = 0; tap < 9; tap++) gw[tap] = out[tap][l];
  }
}

const snk_winograd_kernels SNK_FN(snk_winograd_kernels) = {MR, L, pack, input, multiply, spread, outer, kernels_of};
