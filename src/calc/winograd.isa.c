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

/* Which lanes of a vector from position `at` of a row on lie in it. */
static uint32_t inside(int64_t at, int64_t size) {
  int64_t lo = at < 0 ? (at < -L ? L : -at) : 0, hi = size - at > L ? L : size - at;
  return hi > lo ? (uint32_t)((((uint64_t)1 << (hi - lo)) - 1) << lo) : 0;
}

/* One channel's rows, every row's patches times B: even rows and odd rows apart, in each the four positions, tiles side by side. Vectors go up to
 * the end of a row of tiles, or, where that is short, beyond it into the next, which is written later. */
static void columns(const snk_winograd *p, const float *src, int64_t r0, int64_t rows, float *room) {
  const int64_t plane = (p->rows + 1) * p->tx + L;
  for (int64_t q = 0;;) {
    const int64_t x = p->x0 + 2 * q;
    const uint32_t m0 = inside(x, p->w), m1 = inside(x + L, p->w), m2 = inside(x + 2, p->w), m3 = inside(x + 2 + L, p->w);
    for (int64_t r = 0; r < 2 * rows + 2; r++) {
      const int64_t y = p->y0 + 2 * r0 + r;
      float *to = room + (r & 1) * 4 * plane + (r >> 1) * p->tx + q;
      VF v0 = vf_zero(), v1 = v0, v2 = v0, v3 = v0;
      if (y >= 0 && y < p->h) {
        const float *from = src + y * p->w + x;
        const VF a = vf_take(from, m0), b = vf_take(from + L, m1), c = vf_take(from + 2, m2), d = vf_take(from + 2 + L, m3);
        const VF e = EVEN_F(a, b), o = ODD_F(a, b), e1 = EVEN_F(c, d), o1 = ODD_F(c, d);
        v0 = e - e1, v1 = o + e1, v2 = e1 - o, v3 = o - o1;
      }
      vf_store(to, v0), vf_store(to + plane, v1), vf_store(to + 2 * plane, v2), vf_store(to + 3 * plane, v3);
    }
    if (q + L >= p->tx) break;
    q = q + 2 * L <= p->tx ? q + L : p->tx - L;
  }
}

static void input(const snk_winograd *p, const snk_winograd_piece *piece, float *panels, float *room) {
  const int64_t plane = (p->rows + 1) * p->tx + L;
  for (int64_t i = 0; i < piece->images; i++)
    for (int64_t c = 0; c < p->c; c++) {
      columns(p, p->src + (((piece->image + i) * p->groups + piece->group) * p->c + c) * p->h * p->w, piece->r0, piece->rows, room);
      for (int64_t v = 0; v < piece->each; v++) {
        const int64_t at = i * piece->each + v, nv = (at | 1) < piece->vectors ? 2 : 1, step = snk_winograd_position(p->c, nv, L);
        float *to = panels + snk_winograd_panel(p->c, at / 2, L) + (c * nv + at % 2) * L;
        const float *from = room + v * L;
        SNK_UNROLL
        for (int j = 0; j < 4; j++, from += plane) {
          const VF a = vf_load(from), b = vf_load(from + 4 * plane), d = vf_load(from + p->tx), e = vf_load(from + 4 * plane + p->tx);
          vf_store(to + j * step, a - d), vf_store(to + (4 + j) * step, b + d), vf_store(to + (8 + j) * step, d - b);
          vf_store(to + (12 + j) * step, b - e);
        }
      }
    }
}

/* ---- the products */

SNK_INLINE void products(const int mr, const int nv, int64_t channels, const float *u, const float *panel, float *sums) {
  for (int at = 0; at < AT; at++, panel += L) {
    VF acc[2 * MR];
    SNK_UNROLL
    for (int i = 0; i < mr * nv; i++) acc[i] = vf_zero();
    for (int64_t c = 0; c < channels; c++, u += mr, panel += nv * L) {
      VF v[2];
      __builtin_prefetch((const char *)u + 8192);
      SNK_UNROLL
      for (int j = 0; j < nv; j++) v[j] = vf_load(panel + j * L);
      SNK_UNROLL
      for (int i = 0; i < mr; i++) {
        const VF a = vf_set1(u[i]);
        SNK_UNROLL
        for (int j = 0; j < nv; j++) acc[i * nv + j] = vf_fma(a, v[j], acc[i * nv + j]);
      }
    }
    SNK_UNROLL
    for (int i = 0; i < mr * nv; i++, sums += L) vf_store(sums, acc[i]);
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
typedef struct run { int64_t from, n, to, low; } run; /* low: of the second row, or -1 */

static int runs_of(const snk_winograd *p, const snk_winograd_piece *piece, int64_t q, int nv, run *s) {
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
    s[n++] = (run){2 * lane, 2 * some < p->ow - x ? 2 * some : p->ow - x, to, y + 1 < p->oh ? to + p->ow : -1};
    lane += some;
  }
  return n;
}

static void finish(const snk_winograd *p, const float *from, int64_t n, int64_t ch, int64_t to) {
  float *out = p->dst + to;
  for (int64_t j = 0; j < n; j += L) {
    const int64_t left = n - j;
    VF v = vf_load(from + j);
    if (p->bias) v = v + vf_set1(p->bias[ch]);
    if (p->mean) v = (v - vf_set1(p->mean[ch])) * vf_set1(p->scale[ch]) + vf_set1(p->shift[ch]);
    if (p->add) v = v + (left >= L ? vf_load(p->add + to + j) : vf_some(p->add + to + j, vf_lanes(left)));
    if (p->relu) v = vf_relu(v);
    if (p->round) v = vf_bf16(v);
    if (left >= L) vf_store(out + j, v);
    else vf_keep(out + j, v, left);
  }
}

static void multiply(const snk_winograd *p, const snk_winograd_piece *piece, int64_t t, int64_t q, const float *panels, float *room) {
  const int64_t tiles = snk_conv_tiles(p->m, MR), m0 = snk_conv_tile_at(p->m, tiles, t), mr = snk_conv_tile_at(p->m, tiles, t + 1) - m0;
  const int nv = 2 * q + 2 <= piece->vectors ? 2 : 1;
  float *sums = room, *rows = room + AT * MR * 2 * L;
  kernels[nv - 1][mr - LEAST](p->c, p->packed + (piece->group * p->m + m0) * AT * p->c, panels + snk_winograd_panel(p->c, q, L), sums);
  run s[2 * L];
  const int n = runs_of(p, piece, q, nv, s);
  for (int64_t i = 0; i < mr; i++) {
    const int64_t step = mr * nv * L;
    for (int j = 0; j < nv; j++) {
      const float *from = sums + (i * nv + j) * L;
      VF a[4], b[4];
      SNK_UNROLL
      for (int x = 0; x < 4; x++, from += step) {
        const VF u = vf_load(from), v = vf_load(from + 4 * step), w = vf_load(from + 8 * step), z = vf_load(from + 12 * step);
        a[x] = u + v + w, b[x] = v - w - z;
      }
      const VF a0 = a[0] + a[1] + a[2], a1 = a[1] - a[2] - a[3], b0 = b[0] + b[1] + b[2], b1 = b[1] - b[2] - b[3];
      vf_store(rows + 2 * j * L, LOW_F(a0, a1)), vf_store(rows + (2 * j + 1) * L, HIGH_F(a0, a1));
      vf_store(rows + (4 + 2 * j) * L, LOW_F(b0, b1)), vf_store(rows + (5 + 2 * j) * L, HIGH_F(b0, b1));
    }
    const int64_t ch = piece->group * p->m + m0 + i, plane = (m0 + i) * p->oh * p->ow;
    for (int k = 0; k < n; k++) {
      finish(p, rows + s[k].from, s[k].n, ch, s[k].to + plane);
      if (s[k].low >= 0) finish(p, rows + 4 * L + s[k].from, s[k].n, ch, s[k].low + plane);
    }
  }
}

const snk_winograd_kernels SNK_FN(snk_winograd_kernels) = {MR, L, pack, input, multiply};
