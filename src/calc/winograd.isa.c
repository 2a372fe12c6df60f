/* winograd.isa.c - the kernels of Winograd's convolution for one instruction set: patches of channels, products, tiles into rows. */
#include "calc/winograd.h"
#include "calc/lanes.h"

#if defined(__AVX2__) || !defined(__x86_64__) && !defined(__i386__) /* older processors sum over taps */

enum { L = VFL, AT = SNK_WINOGRAD_AT };
#if defined(__AVX512F__)
enum { MR = 12, LEAST = 8 };
#define ROWS(X) X(8) X(9) X(10) X(11) X(12)
#else
enum { MR = 6, LEAST = 4 };
#define ROWS(X) X(4) X(5) X(6)
#endif

/* The points and what the matrices are made of. */
#define PA 0.75f
#define PB 1.5f
#define A2 (PA * PA)
#define B2 (PB * PB)
#define NA (2 * A2 * (A2 - B2)) /* products of the differences of points: a and -a, b and -b, 0 */
#define NB (2 * B2 * (B2 - A2))
#define N0 (A2 * B2)

#define C(x) vf_set1(x)
/* A tile's side is T, a patch's T + 2. T + 2 numbers times B. */
SNK_INLINE void times_b(const int T, const VF *d, VF *t) {
  if (T == 2) {
    t[0] = d[0] - d[2], t[1] = d[1] + d[2], t[2] = d[2] - d[1], t[3] = d[1] - d[3];
    return;
  }
  const VF e = vf_fma(C(-B2), d[2], d[4]), o = vf_fma(C(-B2), d[1], d[3]), f = vf_fma(C(-A2), d[2], d[4]), q = vf_fma(C(-A2), d[1], d[3]);
  t[0] = vf_fma(C(N0), d[0], vf_fma(C(-A2 - B2), d[2], d[4]));
  t[1] = vf_fma(C(PA), o, e), t[2] = vf_fma(C(-PA), o, e), t[3] = vf_fma(C(PB), q, f), t[4] = vf_fma(C(-PB), q, f);
  t[5] = vf_fma(C(N0), d[1], vf_fma(C(-A2 - B2), d[3], d[5]));
}
/* T + 2 numbers times A. */
SNK_INLINE void times_a(const int T, const VF *m, VF *y) {
  if (T == 2) {
    y[0] = m[0] + m[1] + m[2], y[1] = m[1] - m[2] - m[3];
    return;
  }
  const VF s = m[1] + m[2], d = m[1] - m[2], u = m[3] + m[4], v = m[3] - m[4];
  y[0] = m[0] + s + u, y[1] = vf_fma(C(PA), d, C(PB) * v), y[2] = vf_fma(C(A2), s, C(B2) * u);
  y[3] = vf_fma(C(A2 * PA), d, vf_fma(C(B2 * PB), v, m[5]));
}
/* 4 numbers times A'. */
SNK_INLINE void times_a_turned(const VF y[4], VF m[6]) {
  const VF e = vf_fma(C(A2), y[2], y[0]), o = vf_fma(C(A2), y[3], y[1]), f = vf_fma(C(B2), y[2], y[0]), q = vf_fma(C(B2), y[3], y[1]);
  m[0] = y[0], m[1] = vf_fma(C(PA), o, e), m[2] = vf_fma(C(-PA), o, e), m[3] = vf_fma(C(PB), q, f), m[4] = vf_fma(C(-PB), q, f), m[5] = y[3];
}
/* 3 numbers times G', 6 numbers times G. */
SNK_INLINE void times_g_turned(const VF g[3], VF u[6]) {
  const VF e = vf_fma(C(A2), g[2], g[0]) * C(1 / NA), f = vf_fma(C(B2), g[2], g[0]) * C(1 / NB);
  u[0] = C(1 / N0) * g[0], u[1] = vf_fma(C(PA / NA), g[1], e), u[2] = vf_fma(C(-PA / NA), g[1], e);
  u[3] = vf_fma(C(PB / NB), g[1], f), u[4] = vf_fma(C(-PB / NB), g[1], f), u[5] = g[2];
}
SNK_INLINE void times_g(const VF u[6], VF g[3]) {
  const VF s = u[1] + u[2], d = u[1] - u[2], v = u[3] + u[4], w = u[3] - u[4];
  g[0] = vf_fma(C(1 / N0), u[0], vf_fma(C(1 / NA), s, C(1 / NB) * v)), g[1] = vf_fma(C(PA / NA), d, C(PB / NB) * w);
  g[2] = vf_fma(C(A2 / NA), s, vf_fma(C(B2 / NB), v, u[5]));
}
SNK_INLINE void times_g2_turned(const VF g[3], VF u[4]) {
  const VF sum = g[0] + g[2];
  u[0] = g[0], u[1] = C(0.5f) * (sum + g[1]), u[2] = C(0.5f) * (sum - g[1]), u[3] = g[2];
}
/* rows x columns, r by r to n by n, by a function of one dimension: the columns first. */
#define BOTH(name, from, to, word)                                                                                        \
  SNK_INLINE void name(const VF *in, VF *out) {                                                                           \
    VF t[from][to];                                                                                                       \
    SNK_UNROLL                                                                                                            \
    for (int x = 0; x < from; x++) {                                                                                      \
      VF d[from];                                                                                                         \
      SNK_UNROLL                                                                                                          \
      for (int y = 0; y < from; y++) d[y] = in[y * from + x];                                                             \
      word(d, t[x]);                                                                                                      \
    }                                                                                                                     \
    SNK_UNROLL                                                                                                            \
    for (int y = 0; y < to; y++) {                                                                                        \
      VF d[from];                                                                                                         \
      SNK_UNROLL                                                                                                          \
      for (int x = 0; x < from; x++) d[x] = t[x][y];                                                                      \
      word(d, out + y * to);                                                                                              \
    }                                                                                                                     \
  }
BOTH(kernel_patch, 3, 6, times_g_turned)
BOTH(kernel_patch2, 3, 4, times_g2_turned)
BOTH(patch_kernel, 6, 3, times_g)

/* ---- the weight: G g G' */

/* Nine numbers of each of `rows` rows of the weight, `apart` apart (up to L; lanes beyond are zero): squares of them, turned in registers. */
SNK_INLINE void nine_taps(const float *from, int64_t apart, int64_t rows, VF taps[9]) {
  enum { SIDE = VFL < 9 ? VFL : 9 };
  SNK_UNROLL
  for (int t = 0; t + SIDE <= 9; t += SIDE) {
    VF v[L];
    SNK_UNROLL
    for (int l = 0; l < L; l++) v[l] = l >= rows ? vf_zero() : (int)SIDE == (int)VFL ? vf_load(from + l * apart + t) : vf_take(from + l * apart, (1 << SIDE) - 1);
    vf_corner(v);
    SNK_UNROLL
    for (int k = 0; k < SIDE; k++) taps[t + k] = v[k];
  }
  if (9 % SIDE) {
    float last[L] = {0};
    for (int l = 0; l < L && l < rows; l++) last[l] = from[l * apart + 8];
    taps[8] = vf_load(last);
  }
}

static void pack(const snk_winograd *p, const float *w, int64_t j, int64_t c0, int64_t c1, float *to) {
  const int64_t m0 = j * 2 * L, width = p->ms - m0 < 2 * L ? L : 2 * L, step = p->c * width + L;
  for (int64_t c = c0; c < c1; c++)
    for (int64_t i = 0; i < width; i += L) {
      VF taps[9], g[9], u[AT];
      nine_taps(w + (m0 + i) * p->wm + c * p->wc, p->wm, p->m - m0 - i, taps);
      SNK_UNROLL
      for (int t = 0; t < 9; t++) g[t] = taps[p->flip ? 8 - t : t];
      float *out = to + c * width + i;
      if (p->tile == 2) kernel_patch2(g, u);
      else kernel_patch(g, u);
      for (int t = 0; t < p->at; t++) vf_store(out + t * step, u[t]);
    }
}

/* ---- planes into rows of places whose lanes are channels */

/* Rows of tiles want T rows of places each, which lie at 0 .. T-1 and T .. 2T-1 in turn; a last one is zero. Columns outside the plane are zero. */
typedef struct lines {
  int64_t tile, h, w, plane, width; /* T; of the plane; channels of all are `plane` apart; places of a row */
  float *rows;
  int32_t *at;                /* where place i of T rows goes */
  const float *narrow;        /* where planes of bfloat16 numbers in two bytes begin (pointers into them count as if they were floats), or NULL */
} lines;

static lines lines_at(int64_t tile, int64_t h, int64_t w, int64_t x0, int64_t width, float *room, bool fresh, const float *narrow) {
  lines s = {tile, h, w, h * w, width, room, (int32_t *)(void *)(room + ((2 * tile + 1) * width + 1) * L), narrow};
  if (!fresh) return s;
  memset(room, 0, (size_t)((2 * tile + 1) * width * L) * sizeof(float));
  for (int64_t i = 0; i < tile * w; i++) {
    const int64_t x = i % w - x0;
    s.at[i] = (int32_t)((x >= 0 && x < width ? i / w * width + x : (2 * tile + 1) * width) * L); /* what nobody wants goes behind */
  }
  return s;
}

/* Rows y .. y+T-1 of a plane, from the first'th of them on, into half `half`; row[i]: where they are. */
static void bring(const lines *s, const float *src, int64_t channels, int64_t y, int64_t first, int64_t half, const float **row) {
  const int64_t lo = y + first < 0 ? -y : first, hi = y + s->tile > s->h ? s->h - y : s->tile;
  float *to = s->rows + half * s->tile * s->width * L;
  for (int64_t i = 0; i < s->tile; i++) row[i] = (i >= lo && i < hi ? to + i * s->width * L : s->rows + 2 * s->tile * s->width * L);
  const int64_t ahead = s->tile * s->w;
  src += y * s->w;
  for (int64_t i = lo * s->w, end = hi * s->w; i < end; i += L) {
    const int64_t left = end - i < L ? end - i : L;
    const int32_t *at = s->at + i;
    VF v[L];
#if SNK_NARROW
    if (s->narrow) {
      const uint16_t *from = (const uint16_t *)(const void *)s->narrow + (src - s->narrow) + i;
      const uint32_t mask = (uint32_t)(((uint64_t)1 << left) - 1);
      SNK_UNROLL
      for (int k = 0; k < L; k++, from += s->plane) {
        v[k] = vf_take_narrow(from, k < channels ? mask : 0);
        __builtin_prefetch(from + ahead);
      }
    } else
#endif
    if (left == L && channels == L) {
      SNK_UNROLL
      for (int k = 0; k < L; k++) v[k] = vf_load(src + k * s->plane + i), __builtin_prefetch(src + k * s->plane + i + ahead);
    } else {
      const uint32_t mask = (uint32_t)(((uint64_t)1 << left) - 1);
      SNK_UNROLL
      for (int k = 0; k < L; k++) v[k] = k < channels ? vf_take(src + k * s->plane + i, mask) : vf_zero();
    }
    vf_corner(v);
    if (left == L) {
      SNK_UNROLL
      for (int k = 0; k < L; k++) vf_store(to + at[k], v[k]);
    } else {
      SNK_UNROLL
      for (int k = 0; k < L; k++)
        if (k < left) vf_store(to + at[k], v[k]);
    }
  }
}

/* ---- the source: B' d B */

SNK_INLINE void patch(const int T, const float *const row[6], float *to, int64_t position) {
  VF t[6][6];
  SNK_UNROLL
  for (int x = 0; x < T + 2; x++) {
    VF d[6];
    SNK_UNROLL
    for (int y = 0; y < T + 2; y++) d[y] = vf_load(row[y] + x * L);
    times_b(T, d, t[x]);
  }
  SNK_UNROLL
  for (int y = 0; y < T + 2; y++) {
    VF d[6], v[6];
    SNK_UNROLL
    for (int x = 0; x < T + 2; x++) d[x] = t[x][y];
    times_b(T, d, v);
    SNK_UNROLL
    for (int x = 0; x < T + 2; x++, to += position) vf_store(to, v[x]);
  }
}

static void input(const snk_winograd *p, const snk_winograd_piece *piece, bool fresh, float *patches, float *room) {
  const int64_t T = p->tile, position = snk_winograd_position(piece->most, p->cs, L);
  const lines s = lines_at(T, p->h, p->w, p->x0, T * p->tx + 2, room, fresh, p->narrow_src ? p->src : NULL);
  for (int64_t i = 0; i < piece->images; i++)
    for (int64_t c = 0; c < p->cs; c += L) {
      const int64_t channels = p->c - c < L ? p->c - c : L;
      const float *src = p->src + (((piece->image + i) * p->groups + piece->group) * p->c + c) * s.plane, *last[4], *row[6];
      float *to = patches + i * piece->rows * p->tx * p->cs + c;
      int64_t y = p->y0 + T * piece->r0 + 2 - T;
      bring(&s, src, channels, y, T - 2, 1, last);
      for (int64_t r = 0; r < piece->rows; r++) {
        row[0] = last[T - 2], row[1] = last[T - 1], y += T;
        bring(&s, src, channels, y, 0, r & 1, last);
        for (int k = 0; k < T; k++) row[2 + k] = last[k];
        for (int64_t q = 0; q < p->tx; q++, to += p->cs) {
          if (T == 2) patch(2, row, to, position);
          else patch(4, row, to, position);
          for (int k = 0; k < T + 2; k++) row[k] += T * L;
        }
      }
    }
}

/* ---- the products */

/* Channels are summed in blocks, and the blocks in order: one long chain would be less exact than the sum over taps. */
enum { BLOCK = SNK_WINOGRAD_BLOCK, TOGETHER = SNK_WINOGRAD_TOGETHER };

/* A channel of mr tiles, `row` apart, times a row of the panel. */
SNK_INLINE void product_step(const int mr, const int nv, const float *const a[4], int64_t row, int64_t c, const float *u, VF *acc) {
  VF w[2];
  SNK_UNROLL
  for (int j = 0; j < nv; j++) w[j] = vf_load(u + j * L);
  SNK_UNROLL
  for (int i = 0; i < mr; i++) {
    const VF x = vf_set1(a[i / 3][i % 3 * row + c]);
    SNK_UNROLL
    for (int j = 0; j < nv; j++) acc[i * nv + j] = vf_fma(x, w[j], acc[i * nv + j]);
  }
}

/* mr tiles, cs apart, at some positions, `step` apart, times a panel; ahead: what is asked for meanwhile, `pace` floats further for two channels. */
SNK_INLINE void products(const int mr, const int nv, int positions, int64_t channels, const float *v, int64_t cs, int64_t step, const float *u, const float *ahead,
                         int64_t pace, float *sums) {
  const int64_t blocks = (channels + BLOCK - 1) / BLOCK;
  for (int at = 0; at < positions; at++, v += step, u += L, sums += MR * 2 * L) {
    const float *a[4]; /* of every third row */
    SNK_UNROLL
    for (int i = 0; i < mr; i += 3) a[i / 3] = v + i * cs;
    for (int64_t b = 0, c = 0; b < blocks; b++) {
      VF acc[2 * MR];
      const int64_t end = b + 1 == blocks ? channels : channels * (b + 1) / blocks;
      SNK_UNROLL
      for (int i = 0; i < mr * nv; i++) acc[i] = vf_zero();
      for (; c + 2 <= end; c += 2, u += 2 * nv * L) {
        SNK_UNROLL
        for (int k = 0; k < nv; k++) __builtin_prefetch(ahead + L * k, 0, 2);
        ahead += pace;
        SNK_UNROLL
        for (int k = 0; k < 2; k++) product_step(mr, nv, a, cs, k, u + k * nv * L, acc);
        SNK_UNROLL
        for (int i = 0; i < mr; i += 3) a[i / 3] += 2;
      }
      for (; c < end; c++, u += nv * L) {
        product_step(mr, nv, a, cs, 0, u, acc);
        SNK_UNROLL
        for (int i = 0; i < mr; i += 3) a[i / 3]++;
      }
      if (b > 0) {
        SNK_UNROLL
        for (int i = 0; i < mr * nv; i++) acc[i] = vf_load(sums + i * L) + acc[i];
      }
      SNK_UNROLL
      for (int i = 0; i < mr * nv; i++) vf_store(sums + i * L, acc[i]);
    }
  }
}
#define PRODUCT_ARGS int positions, int64_t channels, const float *v, int64_t cs, int64_t step, const float *u, const float *ahead, int64_t pace, float *sums
typedef void product_kernel(PRODUCT_ARGS);
#define PRODUCT(mr)                                                                                         \
  static void products1_##mr(PRODUCT_ARGS) { products(mr, 1, positions, channels, v, cs, step, u, ahead, pace, sums); } \
  static void products2_##mr(PRODUCT_ARGS) { products(mr, 2, positions, channels, v, cs, step, u, ahead, pace, sums); }
ROWS(PRODUCT)
#define NAME1(mr) products1_##mr,
#define NAME2(mr) products2_##mr,
static product_kernel *const kernels[2][MR + 1 - LEAST] = {{ROWS(NAME1)}, {ROWS(NAME2)}};

/* ---- the result: A' m A, and what follows */

/* What follows a vector of sums whose lanes are rows m .. of the weight; what is done to places comes in `put`. */
typedef struct norm { VF bias, mean, scale, shift; } norm;
SNK_INLINE VF after(const snk_winograd *p, const norm *w, VF v) {
  if (p->bias) v = v + w->bias;
  if (p->mean) v = (v - w->mean) * w->scale + w->shift;
  return v;
}
static norm norm_at(const snk_winograd *p, int64_t group, int64_t m) {
  const int64_t at = group * p->m + m, left = p->m - m;
  const VFM mask = vf_lanes(left < L ? left : L);
  norm w = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
  if (p->bias) w.bias = vf_some(p->bias + at, mask);
  if (p->mean) w.mean = vf_some(p->mean + at, mask), w.scale = vf_some(p->scale + at, mask), w.shift = vf_some(p->shift + at, mask);
  return w;
}
SNK_INLINE void put(const snk_winograd *p, VF v, int64_t to, int64_t n) {
  if (p->add) v = v + (n == L ? vf_load(p->add + to) : vf_some(p->add + to, vf_lanes(n)));
  if (p->relu) v = vf_relu(v);
#if SNK_NARROW
  if (p->narrow) {
    vf_chosen_narrow((uint16_t *)(void *)p->dst + to, v, vf_lanes(n));
    return;
  }
#endif
  if (p->round) v = vf_bf16(v);
  if (n == L) vf_store(p->dst + to, v);
  else vf_keep(p->dst + to, v, n);
}

/* A tile of L rows of the weight: to places of rows `width` apart, of which ny x nx count. */
SNK_INLINE void tile_of(const int T, const snk_winograd *p, const norm *w, const float *from, float *to, int64_t width, int64_t ny, int64_t nx) {
  VF t[6][4];
  SNK_UNROLL
  for (int y = 0; y < T + 2; y++) {
    VF m[6];
    SNK_UNROLL
    for (int x = 0; x < T + 2; x++) m[x] = vf_load(from + (y * (T + 2) + x) * MR * 2 * L);
    times_a(T, m, t[y]);
  }
  SNK_UNROLL
  for (int x = 0; x < T; x++) {
    VF m[6], y[4];
    SNK_UNROLL
    for (int k = 0; k < T + 2; k++) m[k] = t[k][x];
    times_a(T, m, y);
    if (x >= nx) break;
    if (p->bias || p->mean) {
      SNK_UNROLL
      for (int k = 0; k < T; k++) y[k] = after(p, w, y[k]);
    }
    SNK_UNROLL
    for (int k = 0; k < T; k++)
      if (k < ny) vf_store(to + (k * width + x) * L, y[k]);
  }
}
#define TILE_ARGS const snk_winograd *p, const norm *w, const float *from, float *to, int64_t width, int64_t ny, int64_t nx
__attribute__((noinline)) static void tile(TILE_ARGS) { (void)ny, (void)nx, tile_of(4, p, w, from, to, width, 4, 4); }
__attribute__((noinline)) static void tile_part(TILE_ARGS) { tile_of(4, p, w, from, to, width, ny, nx); }
__attribute__((noinline)) static void tile2(TILE_ARGS) { tile_of(2, p, w, from, to, width, ny, nx); }

/* A row of tiles, T rows of places or fewer, to the result: rows of the weight from m on. */
static void row_done(const snk_winograd *p, const float *places, int64_t image, int64_t m, int64_t y, int64_t n) {
  const int64_t plane = p->oh * p->ow, rows = p->m - m < L ? p->m - m : L, to = (image * p->m + m) * plane + y * p->ow;
  for (int64_t k = 0; k < n; k += L) {
    VF line[L];
    SNK_UNROLL
    for (int l = 0; l < L; l++) line[l] = vf_load(places + (k + l) * L);
    vf_corner(line);
    const int64_t some = n - k < L ? n - k : L;
    float *dst = p->dst + to + k;
    if (!p->add && rows == L) { /* the next row of tiles lies behind this one, and is asked for */
      if (p->relu) {
        SNK_UNROLL
        for (int l = 0; l < L; l++) line[l] = vf_relu(line[l]);
      }
#if SNK_NARROW
      if (p->narrow) {
        uint16_t *half = (uint16_t *)(void *)p->dst + to + k;
        const VFM lanes = vf_lanes(some);
        SNK_UNROLL
        for (int l = 0; l < L; l++, half += plane) vf_chosen_narrow(half, line[l], lanes), __builtin_prefetch(half + n);
        continue;
      }
#endif
      if (p->round) {
        SNK_UNROLL
        for (int l = 0; l < L; l++) line[l] = vf_bf16(line[l]);
      }
      if (some == L) {
        SNK_UNROLL
        for (int l = 0; l < L; l++, dst += plane) vf_store(dst, line[l]), __builtin_prefetch(dst + n);
      } else {
        SNK_UNROLL
        for (int l = 0; l < L; l++, dst += plane) vf_keep(dst, line[l], some), __builtin_prefetch(dst + n);
      }
      continue;
    }
    float turned[L][L] __attribute__((aligned(64)));
    SNK_UNROLL
    for (int l = 0; l < L; l++) vf_store(turned[l], line[l]);
    for (int64_t l = 0; l < rows; l++) put(p, vf_load(turned[l]), to + l * plane + k, some);
  }
}

/* Where tile t of the products begins, of those over a piece's tiles. */
SNK_INLINE int64_t tile_at(const snk_winograd_piece *piece, int64_t t) { return snk_conv_tile_at(piece->most, snk_conv_tiles(piece->most, MR), t); }

/* Tiles t0 .. t1-1 of the products of a piece with a panel of nv vectors. */
static void multiply_some(const snk_winograd *p, const snk_winograd_piece *piece, int64_t nv, int64_t t0, int64_t t1, const float *patches, const float *u,
                          float *sums) {
  const int64_t step = snk_winograd_position(piece->most, p->cs, L);
  const int positions = t1 - t0 > 1 ? 1 : (int)p->at;
  /* by one tile the panel is read from end to end; several ask, by halves, for the next position's part, so that memory is never idle */
  const int64_t part = p->c * nv * L + L, pace = positions > 1 ? 2 * nv * L : nv * L;
  for (int at = 0; at < p->at; at += positions, u += part)
    for (int64_t t = t0; t < t1; t++) {
      const float *ahead = positions > 1 ? u + 2 * SNK_CONV_AHEAD / 4 : u + part + ((t - t0) & 1) * (part / 2);
      kernels[nv - 1][tile_at(piece, t + 1) - tile_at(piece, t) - LEAST](positions, p->c, patches + at * step + tile_at(piece, t) * p->cs, p->cs, step, u, ahead,
                                                                         pace, sums + ((t - t0) * AT + at) * MR * 2 * L);
    }
}

static void multiply(const snk_winograd *p, const snk_winograd_piece *piece, int64_t j, const float *patches, float *room) {
  const int64_t m0 = j * 2 * L, nv = p->ms - m0 > L ? 2 : 1, some = snk_conv_tiles(piece->most, MR), T = p->tile, all = T * p->ow * L + L * L; /* a vector's places */
  /* a panel of few channels fits the first cache at all positions; one of more is read, position by position, by several tiles */
  const int64_t together = p->c > BLOCK ? TOGETHER : 1;
  const float *u = p->packed + snk_winograd_panel(p, L, piece->group, j);
  float *places = room + TOGETHER * AT * MR * 2 * L;
  const norm w[2] = {norm_at(p, piece->group, m0), norm_at(p, piece->group, nv == 2 ? m0 + L : m0)};
  int64_t image = piece->image * p->groups + piece->group, r = 0, q = 0;
  for (int64_t t = 0, done = 0; t < some; t++) {
    const int64_t mr = tile_at(piece, t + 1) - tile_at(piece, t);
    const float *from = room + t % together * AT * MR * 2 * L;
    if (t % together == 0) multiply_some(p, piece, nv, t, t + together < some ? t + together : some, patches, u, room);
    for (int64_t i = 0; i < mr && done < piece->tiles; i++, done++) {
      const int64_t y = T * (piece->r0 + r), ny = p->oh - y < T ? p->oh - y : T, nx = p->ow - T * q;
      for (int64_t v = 0; v < nv; v++)
        (T == 2 ? tile2 : nx >= 4 && ny == 4 ? tile : tile_part)(p, &w[v], from + (i * nv + v) * L, places + v * all + T * q * L, p->ow, ny, nx);
      if (++q < p->tx) continue;
      for (int64_t v = 0; v < nv && m0 + v * L < p->m; v++) row_done(p, places + v * all, image, m0 + v * L, y, ny * p->ow);
      q = 0;
      if (++r == piece->rows) r = 0, image += p->groups;
    }
  }
}

/* ---- the weight's gradient */

/* A dY A', a vector of rows at once. */
static void spread(const snk_winograd *p, const snk_winograd_piece *piece, int64_t m0, int64_t step, bool fresh, float *to, float *room) {
  const lines s = lines_at(4, p->oh, p->ow, 0, 4 * p->tx, room, fresh, p->narrow_grad ? p->grad : NULL);
  const int64_t position = snk_winograd_position(piece->tiles, step, L);
  for (int64_t i = 0; i < piece->images; i++)
    for (int64_t m = 0; m < step; m += L) {
      const int64_t left = p->m - m0 - m, rows = left < L ? left : L;
      const float *src = p->grad + (((piece->image + i) * p->groups + piece->group) * p->m + m0 + m) * s.plane, *row[4];
      float *out = to + i * piece->rows * p->tx * step + m;
      for (int64_t r = 0; r < piece->rows; r++) {
        bring(&s, src, rows, 4 * (piece->r0 + r), 0, 0, row);
        for (int64_t q = 0; q < p->tx; q++, out += step) {
          VF t[4][6];
          float *at = out;
          SNK_UNROLL
          for (int x = 0; x < 4; x++) {
            VF d[4];
            SNK_UNROLL
            for (int y = 0; y < 4; y++) d[y] = vf_load(row[y] + (4 * q + x) * L);
            times_a_turned(d, t[x]);
          }
          SNK_UNROLL
          for (int y = 0; y < 6; y++) {
            VF d[4], v[6];
            SNK_UNROLL
            for (int x = 0; x < 4; x++) d[x] = t[x][y];
            times_a_turned(d, v);
            SNK_UNROLL
            for (int x = 0; x < 6; x++, at += position) vf_store(at, v[x]);
          }
        }
      }
    }
}

SNK_INLINE void outer_tile(const int mr, const int nv, int64_t tiles, int64_t cs, const float *v, const float *m, int64_t step, float *out, bool add) {
  VF acc[2 * MR];
  SNK_UNROLL
  for (int i = 0; i < mr * nv; i++) acc[i] = vf_zero();
  for (int64_t t = 0; t < tiles; t++, v += cs, m += step) vf_step(mr, nv, v, m, L, acc);
  SNK_UNROLL
  for (int i = 0; i < mr; i++)
    SNK_UNROLL
    for (int j = 0; j < nv; j++) {
      float *to = out + i * step + j * L;
      if (add) acc[i * nv + j] = vf_load(to) + acc[i * nv + j];
      vf_store(to, acc[i * nv + j]);
    }
}
#define OUTER_ARGS int64_t tiles, int64_t cs, const float *v, const float *m, int64_t step, float *out, bool add
typedef void outer_kernel(OUTER_ARGS);
#define ONE(mr) static void outer1_##mr(OUTER_ARGS) { outer_tile(mr, 1, tiles, cs, v, m, step, out, add); }
#define OUTER(mr) ONE(mr) static void outer2_##mr(OUTER_ARGS) { outer_tile(mr, 2, tiles, cs, v, m, step, out, add); }
ROWS(OUTER)
#define OUTER1(mr) outer1_##mr,
#define OUTER2(mr) outer2_##mr,
#if defined(__AVX512F__)
ONE(16) /* with one vector of rows: more channels at once, so that there are sums enough in flight */
#endif
static outer_kernel *const outers[2][MR + 1 - LEAST] = {{ROWS(OUTER1)}, {ROWS(OUTER2)}};

static void outer(const snk_winograd *p, int64_t n, const float *patches, const float *m, int64_t step, float *out, bool add) {
#if defined(__AVX512F__)
  if (step == L) {
    for (int64_t c = 0; c < p->cs; c += 16) outer1_16(n, p->cs, patches + c, m, step, out + c * step, add);
    return;
  }
#endif
  const int64_t tiles = snk_conv_tiles(p->cs, MR);
  for (int64_t i = 0; i < tiles; i++) {
    const int64_t c = snk_conv_tile_at(p->cs, tiles, i), mr = snk_conv_tile_at(p->cs, tiles, i + 1) - c;
    for (int64_t v = 0; v < step; v += 2 * L) outers[step - v > L][mr - LEAST](n, p->cs, patches + c, m + v, step, out + c * step + v, add);
  }
}

/* G' dU G of a vector of rows at once. */
static void kernels_of(const float *sums, int64_t runs, int64_t between, int64_t position, int64_t n, int64_t to, float *gw) {
  for (int64_t m = 0; m < n; m += L) {
    VF u[AT], g[9];
    float out[9][L];
    SNK_UNROLL
    for (int at = 0; at < AT; at++) {
      const float *from = sums + at * position + m;
      u[at] = vf_load(from);
      for (int64_t run = 1; run < runs; run++) u[at] = u[at] + vf_load(from + run * between);
    }
    patch_kernel(u, g);
    SNK_UNROLL
    for (int t = 0; t < 9; t++) vf_store(out[t], g[t]);
    for (int64_t l = 0; l < L && m + l < n; l++, gw += to)
      for (int tap = 0; tap < 9; tap++) gw[tap] = out[tap][l];
  }
}

const snk_winograd_kernels SNK_FN(snk_winograd_kernels) = {L, MR, LEAST, pack, input, multiply, spread, outer, kernels_of};
#else
const snk_winograd_kernels SNK_FN(snk_winograd_kernels) = {0};
#endif
