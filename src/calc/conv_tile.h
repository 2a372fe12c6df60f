/* conv_tile.h - the loops of convolution for one number type; included by conv.isa.c for float and for double.
 *
 * The includer defines T, V, L (lanes), FN(name), MR, FEW_KERNELS (are there kernels for a few places, and tiles of more than two vectors?), NARROW (results as bfloat16 numbers in memory), PLANES (see conv_lines.h), v_load v_store v_set1
 * v_fma v_fma_there v_zero v_step, v_take (masked load; M, v_mask, v_masked: with a mask made before), v_put (masked store of the chosen lanes side by side),
 * v_get (into the chosen lanes, what lies side by side), v_sums (totals of many vectors), v_corner (a square turned), with NARROW v_put_narrow (put, rounded to bfloat16 numbers in two bytes), V_LOW V_HIGH (lanes of two
 * vectors in turn) and V_EVEN (every second).
 */

enum { FN(NR) = 2 * L, FN(WIDE) = 8 * L };

#include "calc/conv_ready.h"

/* Where the places of a tile go. */
enum { FN(PARTS) = 6 };
typedef struct FN(cols) {
  int parts[8];                       /* of a vector: groups of lanes that lie side by side in the result; -1: see off */
  uint32_t mask[8][FN(PARTS)];
  int64_t at[8][FN(PARTS)];           /* of a group's first lane */
  int64_t off[FN(WIDE)];              /* of every lane, -1 for none */
  int64_t k0, k1;                     /* the part of k that meets more than border */
  bool next;                          /* are the places after these the next that are read, and far apart by k? */
} FN(cols);

static void FN(put)(const FN(cols) *w, T *out, const V v, const int q) {
  for (int i = 0; i < w->parts[q]; i++) v_put(out + w->at[q][i], v, w->mask[q][i]);
  if (w->parts[q] >= 0) return;
  T t[L];
  v_store(t, v);
  for (int l = 0; l < L; l++)
    if (w->off[q * L + l] >= 0) out[w->off[q * L + l]] = t[l];
}

/* The part of k that output rows oy0 .. oy1 meet. */
static void FN(meets)(const snk_conv_pass *p, int64_t oy0, int64_t oy1, FN(cols) *w) {
  int64_t first = -1, last = 0;
  w->k0 = 0, w->k1 = p->k;
  if (!p->tap_rows) return;
  for (int64_t t = 0; t < p->y.taps; t++) {
    if (p->meets[2 * t] > oy1 || p->meets[2 * t + 1] <= oy0) continue;
    if (first < 0) first = t;
    last = t + 1;
  }
  w->k0 = first < 0 ? 0 : first * p->c * p->x.taps;
  w->k1 = last * p->c * p->x.taps;
}

/* What lies where vector q of a tile goes. */
static V FN(get)(const FN(cols) *w, const T *from, const int q) {
  T t[L] = {0};
  for (int i = 0; i < w->parts[q]; i++) v_get(t, from + w->at[q][i], w->mask[q][i]);
  for (int l = 0; l < L && w->parts[q] < 0; l++)
    if (w->off[q * L + l] >= 0) t[l] = from[w->off[q * L + l]];
  return v_load(t);
}

/* What follows a vector of sums of channel ch; add: what lies where they go, or NULL. */
SNK_INLINE V FN(after)(const snk_conv_pass *p, V v, int64_t ch, const V *add) {
  if (p->mean) v = (v - v_set1(((const T *)p->mean)[ch])) * v_set1(((const T *)p->scale)[ch]) + v_set1(((const T *)p->shift)[ch]);
  if (add) v = v + *add;
  if (p->relu) v = v_relu(v);
  if (p->round) v = v_round(v);
  return v;
}

/* Relu and rounding of a tile's sums: all that follows them in training. */
static __attribute__((noinline)) void FN(round_tile)(const snk_conv_pass *p, int64_t mr, int nv, T *sums, const FN(cols) *w, T *out, int64_t ch, bool whole) {
  (void)ch;
  const int64_t mstep = p->dsty * p->dstx;
  const bool relu = p->relu;
  for (int j = 0; j < nv; j++) {
    T *from = sums + j * L, *to = whole ? out + w->at[j][0] : from;
    for (int64_t i = 0; i < mr; i++, from += nv * L, to += whole ? mstep : nv * L) {
      V v = v_load(from);
      if (relu) v = v_relu(v);
      v_store(to, v_round(v));
    }
  }
}

/* What follows a tile's sums whose first row is channel ch of the result; the sums stay where they are, or go out where `whole`. */
SNK_LOOPS static __attribute__((noinline)) void FN(finish_all)(const snk_conv_pass *p, int64_t mr, int nv, T *sums, const FN(cols) *w, T *out, int64_t ch,
                                                               bool whole) {
  const int64_t mstep = p->dsty * p->dstx;
  const T *add = p->add ? (const T *)p->add + (out - (const T *)p->dst) : NULL;
  for (int64_t i = 0; i < mr; i++, ch++)
    for (int j = 0; j < nv; j++, sums += L) {
      V way;
      if (add) way = whole ? v_load(add + i * mstep + w->at[j][0]) : FN(get)(w, add + i * mstep, j);
      v_store(whole ? out + i * mstep + w->at[j][0] : sums, FN(after)(p, v_load(sums), ch, add ? &way : NULL));
    }
}

static __attribute__((noinline)) void FN(finish)(const snk_conv_pass *p, int64_t mr, int nv, T *sums, const FN(cols) *w, T *out, int64_t ch, bool whole) {
  if (p->round && !p->mean && !p->add) FN(round_tile)(p, mr, nv, sums, w, out, ch, whole);
  else FN(finish_all)(p, mr, nv, sums, w, out, ch, whole);
}

/* The finished sums of a tile, where not all lanes of a vector have places side by side. */
static __attribute__((noinline)) void FN(put_tile)(int64_t mr, int nv, int64_t mstep, const T *sums, const FN(cols) *w, T *out) {
  for (int j = 0; j < nv; j++) {
    const T *from = sums + j * L;
    if (w->parts[j] == 1) {
      const uint32_t mask = w->mask[j][0];
      T *to = out + w->at[j][0];
      for (int64_t i = 0; i < mr; i++, to += mstep, from += nv * L) v_put(to, v_load(from), mask);
    } else
      for (int64_t i = 0; i < mr; i++, from += nv * L) FN(put)(w, out + i * mstep, v_load(from), j);
  }
}

#if NARROW
/* Sums with what follows them in training, as bfloat16 numbers to their places (not of exact tiles: a vector's lie side by side, or see off). */
static __attribute__((noinline)) void FN(put_narrow)(const snk_conv_pass *p, int64_t mr, int nv, const T *sums, const FN(cols) *w, const T *out) {
  uint16_t *first = (uint16_t *)p->dst + (out - (const T *)p->dst);
  const int64_t mstep = p->dsty * p->dstx;
  const bool relu = p->relu;
  for (int j = 0; j < nv; j++, sums += L) {
    const T *from = sums;
    uint16_t *to = first + w->at[j][0], some[L];
    const uint32_t mask = w->mask[j][0];
    for (int64_t i = 0; i < mr && w->parts[j] != 0; i++, from += nv * L, to += mstep) {
      V v = v_load(from);
      if (relu) v = v_relu(v);
      if (w->parts[j] == 1) v_put_narrow(to, v, mask);
      else {
        v_put_narrow(some, v, (uint32_t)(((uint64_t)1 << L) - 1));
        for (int l = 0; l < L; l++)
          if (w->off[j * L + l] >= 0) first[i * mstep + w->off[j * L + l]] = some[l];
      }
    }
  }
}
#endif

/* The same for a pass and its pair: their places in turn. */
static __attribute__((noinline)) void FN(put_pair)(int64_t mr, int nv, int64_t mstep, const T *sums, const T *between, const FN(cols) *w, T *out) {
  const uint32_t all = (uint32_t)(((uint64_t)1 << L) - 1);
  for (int64_t i = 0; i < mr; i++, out += mstep)
    for (int j = 0; j < nv; j++, sums += L, between += L) {
      const V a = v_load(sums), b = v_load(between), low = V_LOW(a, b), high = V_HIGH(a, b);
      if (w->parts[j] == 1 && w->mask[j][0] == all) {
        v_store(out + w->at[j][0], low);
        v_store(out + w->at[j][0] + L, high);
        continue;
      }
      for (int q = 0; q < w->parts[j]; q++) {
        const int first = 2 * __builtin_ctz(w->mask[j][q]), n = 2 * __builtin_popcount(w->mask[j][q]);
        const uint64_t mask = (((uint64_t)1 << n) - 1) << first;
        const uint32_t left = (uint32_t)mask & all, right = (uint32_t)(mask >> L);
        if (left) v_put(out + w->at[j][q], low, left);
        if (right) v_put(out + w->at[j][q] + __builtin_popcount(left), high, right);
      }
    }
}

/* k0 .. k1-1 of a tile of vectors at b, `bstep` apart (more than two side by side); its sums so far are in part (none at w->k0), and the finished ones go out after w->k1. */
SNK_INLINE void FN(tile)(const int mr, const int nv, const snk_conv_pass *p, int64_t k0, int64_t k1, const T *a, const int64_t *koff, const T *b,
                         int64_t bstep, const FN(cols) *w, T *part, T *out, int64_t ch) {
  V acc[32];
  const uint32_t all = (uint32_t)(((uint64_t)1 << L) - 1);
  int64_t mstep = p->dsty * p->dstx;
  SNK_UNROLL
  for (int i = 0; i < mr * nv; i++) acc[i] = v_zero();
  if (k1 == w->k1 && k1 - k0 >= 32 && !p->narrow) { /* where the sums will go is seldom in the first caches */
    const int64_t add = p->add ? (const T *)p->add - (const T *)p->dst : 0;
    for (int i = 0; i < mr; i++)
      for (int j = 0; j < (nv <= 2 ? nv : 1); j++) {
        const T *to = out + i * mstep + w->at[j][0];
        __builtin_prefetch(to, 1);
        if (add) __builtin_prefetch(to + add);
      }
  }
  const bool next = nv == 2 && w->next;
  int64_t k = k0;
  if (MR == 6 && mr >= MR - 1 && nv == 2 && !next) { /* most tiles, too small to hide the loop and a request for each k: four at a time (see gemm_tile.h) */
    const T *second = b + bstep;
    SNK_HIDE(second);
    for (const int64_t *off = koff; k + 4 <= k1; k += 4, a += 4 * mr, off += 4) {
      __builtin_prefetch((const char *)a + SNK_CONV_AHEAD);
      __builtin_prefetch((const char *)a + SNK_CONV_AHEAD + 2 * mr * (int)sizeof(T));
      SNK_UNROLL
      for (int u = 0; u < 4; u++) {
        const V b0 = v_load(b + off[u]), b1 = v_load(second + off[u]);
        SNK_UNROLL
        for (int i = 0; i < mr; i++) {
          const V av = v_set1(a[u * mr + i]);
          v_fma_there(acc[2 * i], av, b0);
          v_fma_there(acc[2 * i + 1], av, b1);
        }
      }
    }
  }
  for (; k < k1; k++, a += mr) {
    const T *from = b + koff[k - k0];
    __builtin_prefetch((const char *)a + SNK_CONV_AHEAD);
    if (next) __builtin_prefetch(from + 2 * L, 0, 2), __builtin_prefetch(from + 3 * L, 0, 2);
    v_step(mr, nv, a, from, nv <= 2 ? bstep : L, acc);
  }
  if (k0 > w->k0) {
    SNK_UNROLL
    for (int i = 0; i < mr * nv; i++) acc[i] = v_load(part + i * L) + acc[i];
  }
  bool whole = true;
  for (int j = 0; j < nv; j++) whole = whole && w->parts[j] == 1 && w->mask[j][0] == all;
  if (p->bias && k1 == w->k1) {
    const T *bias = (const T *)p->bias + ch;
    SNK_UNROLL
    for (int i = 0; i < mr * nv; i++) acc[i] = acc[i] + v_set1(bias[i / nv]);
  }
  if (p->relu && !p->more && k1 == w->k1) {
    SNK_UNROLL
    for (int i = 0; i < mr * nv; i++) acc[i] = v_relu(acc[i]);
  }
  const bool here = mr >= MR - 1 && MR > 4 && nv == 2 && whole && p->mean && !p->round && k1 == w->k1; /* the shape of most tiles: from registers */
  if (here) {
    const T *mean = (const T *)p->mean + ch, *scale = (const T *)p->scale + ch, *shift = (const T *)p->shift + ch;
    SNK_UNROLL
    for (int i = 0; i < mr * nv; i++) acc[i] = (acc[i] - v_set1(mean[i / nv])) * v_set1(scale[i / nv]) + v_set1(shift[i / nv]);
    if (p->add) {
      const T *add = (const T *)p->add + (out - (const T *)p->dst);
      SNK_UNROLL
      for (int i = 0; i < mr * nv; i++) acc[i] = acc[i] + v_load(add + i / nv * mstep + w->at[i % nv][0]);
    }
    if (p->relu) {
      SNK_UNROLL
      for (int i = 0; i < mr * nv; i++) acc[i] = v_relu(acc[i]);
    }
  } else if (k1 < w->k1 || !whole || p->more) {
    SNK_UNROLL
    for (int i = 0; i < mr * nv; i++) v_store(part + i * L, acc[i]);
    if (k1 < w->k1) return;
#if NARROW
    if (p->narrow) {
      FN(put_narrow)(p, mr, nv, part, w, out);
      return;
    }
#endif
    if (p->more) FN(finish)(p, mr, nv, part, w, out, ch, whole);
    if (!whole) FN(put_tile)(mr, nv, mstep, part, w, out);
    return;
  }
  SNK_UNROLL
  for (int j = 0; j < nv; j++) {
    T *to = out + w->at[j][0];
    SNK_UNROLL
    for (int i = 0; i < mr; i++) v_store(to + i * mstep, acc[i * nv + j]);
  }
}

#define ARGS                                                                                                                                    \
  const snk_conv_pass *p, int64_t k0, int64_t k1, const T *a, const int64_t *koff, const T *b, int64_t bstep, const FN(cols) *w, T *part, T *out, \
    int64_t ch
typedef void FN(kernel)(ARGS);
#define TILE(mr, nv) \
  static void FN(SNK_CAT(tile##mr, nv))(ARGS) { FN(tile)(mr, nv, p, k0, k1, a, koff, b, bstep, w, part, out, ch); }
#define TILES(mr) TILE(mr, 1) TILE(mr, 2)
SNK_UPTO(MR, TILES)
#if FEW_KERNELS
TILE(1, 8)
TILE(2, 4)
TILE(3, 4)
#endif
#define NAME1(mr) FN(SNK_CAT(tile##mr, 1)),
#define NAME2(mr) FN(SNK_CAT(tile##mr, 2)),
static FN(kernel) *const FN(kernels)[2][MR + 1] = {{NULL, SNK_UPTO(MR, NAME1)}, {NULL, SNK_UPTO(MR, NAME2)}};
#undef TILE
#undef TILES
#undef ARGS
#undef NAME1
#undef NAME2

/* Vectors of a tile of mr rows: one to three rows are too few sums at once for two. */
#if !FEW_KERNELS
static int FN(widest)(int64_t m) { return (void)m, 2; }
static FN(kernel) *FN(choose)(int64_t mr, int nv) { return FN(kernels)[nv - 1][mr]; }
#else
static int FN(widest)(int64_t m) { return m == 1 ? 8 : m <= 3 ? 4 : 2; }
static FN(kernel) *FN(choose)(int64_t mr, int nv) {
  if (nv <= 2) return FN(kernels)[nv - 1][mr];
  return mr == 1 ? FN(SNK_CAT(tile1, 8)) : mr == 2 ? FN(SNK_CAT(tile2, 4)) : FN(SNK_CAT(tile3, 4));
}
#endif

/* A few places behind whole vectors (one of 7 x 7 is left after three vectors): the lanes are the rows of a tile and the places come one by one,
 * for some tiles at once so that there are sums enough in flight. Each sum is the same chain as in tile(). */
enum { FN(VM) = (MR + L - 1) / L, FN(FEW) = 4, FN(GROUP) = (MR == 12 ? 4 : 2) / FN(VM) > 1 ? (MR == 12 ? 4 : 2) / FN(VM) : 1 };
typedef struct FN(tiles) { int64_t m0, mr; const T *a; T *part; } FN(tiles);

#if FEW_KERNELS
/* One number as a vector of them is rounded. */
static __attribute__((noinline)) T FN(v_round1)(T x) {
  T t[L] = {0};
  t[0] = x;
  v_store(t, v_round(v_load(t)));
  return t[0];
}

SNK_INLINE void FN(few)(const int group, const int n, const snk_conv_pass *p, int64_t k0, int64_t k1, const FN(tiles) *t, const T *b, const FN(cols) *w,
                        int lane, T *dst, int64_t ch) {
  enum { VM = FN(VM), NR = FN(NR) };
  V acc[FN(GROUP) * VM * FN(FEW)];
  const T *a[FN(GROUP)];
  SNK_UNROLL
  for (int g = 0; g < group; g++) a[g] = t[g].a;
  SNK_UNROLL
  for (int i = 0; i < group * VM * n; i++) acc[i] = v_zero();
  for (int64_t k = k0; k < k1; k++, b += NR) {
    V bv[FN(FEW)];
    SNK_UNROLL
    for (int j = 0; j < n; j++) bv[j] = v_set1(b[lane + j]);
    SNK_UNROLL
    for (int g = 0; g < group; g++) {
      SNK_UNROLL
      for (int v = 0; v < VM; v++) {
        const V av = v_load(a[g] + v * L); /* lanes beyond the tile's rows are never looked at */
        SNK_UNROLL
        for (int j = 0; j < n; j++) acc[(g * VM + v) * n + j] = v_fma(av, bv[j], acc[(g * VM + v) * n + j]);
      }
      a[g] += t[g].mr;
    }
  }
  const int64_t mstep = p->dsty * p->dstx;
  SNK_UNROLL
  for (int g = 0; g < group; g++) {
    T sum[VM * L];
    SNK_UNROLL
    for (int j = 0; j < n; j++) {
      SNK_UNROLL
      for (int v = 0; v < VM; v++) {
        V s = acc[(g * VM + v) * n + j];
        T *part = t[g].part + (v * n + j) * L;
        if (k0 > w->k0) s = v_load(part) + s;
        if (k1 < w->k1) v_store(part, s);
        else v_store(sum + v * L, s);
      }
      T *out = dst + t[g].m0 * mstep + w->off[lane + j];
      for (int64_t i = 0; k1 >= w->k1 && i < t[g].mr; i++) {
        T s = sum[i];
        const int64_t c = ch + t[g].m0 + i;
        if (p->bias) s = s + ((const T *)p->bias)[c];
        if (p->mean) s = (s - ((const T *)p->mean)[c]) * ((const T *)p->scale)[c] + ((const T *)p->shift)[c];
        if (p->add) s = s + ((const T *)p->add)[out + i * mstep - (const T *)p->dst];
        if (p->relu) s = ((T)0 > s ? (T)0 : s) + (T)0;
        if (p->round) s = FN(v_round1)(s);
        out[i * mstep] = s;
      }
    }
  }
}
#define ARGS                                                                                                                                   \
  const snk_conv_pass *p, int64_t k0, int64_t k1, const FN(tiles) *t, const T *b, const FN(cols) *w, int lane, T *dst, int64_t ch
typedef void FN(few_kernel)(ARGS);
#define SOME(n)                                                                                                     \
  static void FN(few_one##n)(ARGS) { FN(few)(1, n, p, k0, k1, t, b, w, lane, dst, ch); }                          \
  static void FN(few_all##n)(ARGS) { FN(few)(FN(GROUP), n, p, k0, k1, t, b, w, lane, dst, ch); }
SOME(1)
SOME(2)
SOME(3)
SOME(4)
static FN(few_kernel) *const FN(few_kernels)[2][FN(FEW) + 1] = {{NULL, FN(few_one1), FN(few_one2), FN(few_one3), FN(few_one4)},
                                                                {NULL, FN(few_all1), FN(few_all2), FN(few_all3), FN(few_all4)}};
#undef ARGS
#undef SOME
#endif

/* Places at .. at + nv*L - 1 of a band; those before `from` are done already, p1 is the end. */
SNK_LOOPS static void FN(columns)(const snk_conv_pass *p, int64_t at, int nv, int64_t from, int64_t p1, FN(cols) *w) {
  int64_t row = at / p->pitch, col = at % p->pitch, width = p->x.n;
  const bool unit = p->unit || p->pair;
  for (int q = 0; q < nv; q++) {
    uint32_t mask = 0;
    int parts = 0;
    w->at[q][0] = 0;
    int64_t pos = at + q * L;
    for (int l = 0; l < L;) {
      int64_t run = p->pitch - col < L - l ? p->pitch - col : L - l, good = width - col;
      if (good > run) good = run;
      for (int64_t i = 0; i < run && !unit; i++) {
        bool in = i < good && pos + l + i >= from && pos + l + i < p1;
        w->off[q * L + l + i] = in ? row * p->y.ostep * p->dstx + (col + i) * p->x.ostep : -1;
      }
      if (unit && good > 0) {
        int64_t lo = l, hi = l + good;
        if (pos + lo < from) lo = from - pos < hi ? from - pos : hi;
        if (pos + hi > p1) hi = p1 - pos > lo ? p1 - pos : lo;
        if (hi > lo) {
          if (mask == 0) w->at[q][parts++] = row * p->y.ostep * p->dstx + (col + lo - l) * p->x.ostep;
          mask |= (uint32_t)((((uint64_t)1 << (hi - lo)) - 1) << lo);
          w->mask[q][parts - 1] = mask;
          if (p->pair) mask = 0; /* each row goes out by itself */
        }
      }
      l += (int)run;
      col += run;
      if (col >= p->pitch) col = 0, row++;
    }
    w->parts[q] = unit ? parts : -1;
  }
}

#include "calc/conv_lines.h"

/* The sums of tile t, block by block. */
static void FN(sum)(const snk_conv_pass *p, int64_t t, int64_t tiles, int nv, const T *a, const T *b, int64_t bstep, const FN(cols) *w, T *part, T *dst,
                    int64_t ch) {
  int64_t m0 = snk_conv_tile_at(p->m, tiles, t), mr = snk_conv_tile_at(p->m, tiles, t + 1) - m0, k0 = w->k0, k1, rest;
  do {
    k1 = (k0 / p->kblock + 1) * p->kblock;
    if (k1 > w->k1) k1 = w->k1;
    FN(choose)(mr, nv)(p, k0, k1, a + snk_conv_at(p, m0, mr, k0, &rest), p->koff + k0, b, bstep, w, part, dst, ch + m0);
    k0 = k1;
  } while (k0 < w->k1);
}

static void FN(band)(const snk_conv_pass *p, const void *srcp, int64_t oy0, int64_t p0, int64_t p1, const void *ap, void *dst, int64_t ch, int64_t t0,
                     int64_t t1) {
  SNK_CLEAN
  FN(cols) w, inside[2];
  T part[2][32 * L] __attribute__((aligned(64)));
  const T *src = srcp, *a = ap;
  if (FN(is_lines)(p)) {
    FN(lines)(p, src, oy0, p0 / p->pitch, (p1 - p->x.n) / p->pitch + 1, a, dst, ch);
    return;
  }
  int64_t tiles = snk_conv_tiles(p->m, MR), mstep = p->dsty * p->dstx;
  int wide = FN(widest)(p->m);
  const bool rows = snk_conv_whole_rows(p, L);
  for (int64_t at = p0; at < p1;) {
    int64_t left = p1 - at, start = at, bstep = L;
    int nv = left > 2 * L ? (left >= wide * L ? wide : 2) : left > L ? 2 : 1;
    while (p->limit >= 0 && nv * L > p->limit) nv = nv > 2 ? 2 : 1; /* there is room for one vector at least */
    if (p->limit >= 0 && start + nv * L > p->limit) start = p->limit - nv * L;
    int64_t end = start + nv * L < p1 ? start + nv * L : p1;
    if (rows) { /* vectors that end with their row: the second may be of the next one */
      const int64_t second = at % p->pitch + L < p->x.n ? at + L : (at / p->pitch + 1) * p->pitch;
      nv = second < p1 ? 2 : 1, start = at, bstep = second - at;
      end = nv == 2 ? second + L : at + L;
      for (int q = 0; q < nv; q++) {
        const int64_t place = at + q * bstep;
        w.parts[q] = 1, w.mask[q][0] = (uint32_t)(((uint64_t)1 << L) - 1), w.at[q][0] = place / p->pitch * p->y.ostep * p->dstx + place % p->pitch * p->x.ostep;
      }
    } else FN(columns)(p, start, nv, at, end, &w);
    const int64_t row0 = oy0 + at / p->pitch, row1 = oy0 + (end - 1) / p->pitch;
    FN(meets)(p, row0, row1, &w);
    for (int i = 0; i < 2 && p->pair; i++) { /* all sums stay in `part` first */
      inside[i].next = false;
      for (int q = 0; q < nv; q++) inside[i].parts[q] = 0, inside[i].at[q][0] = w.at[q][0];
      FN(meets)(i ? p->pair : p, row0, row1, &inside[i]);
    }
    for (int64_t t = t0; t < t1; t++) {
      const int64_t m0 = snk_conv_tile_at(p->m, tiles, t), mr = snk_conv_tile_at(p->m, tiles, t + 1) - m0;
      T *out = (T *)dst + m0 * mstep;
      w.next = p->direct && t >= t1 - 6; /* asked for by several tiles: some requests are lost */
      FN(sum)(p, t, tiles, nv, a, src + start, bstep, p->pair ? inside : &w, part[0], out, ch);
      if (!p->pair) continue;
      FN(sum)(p->pair, t, tiles, nv, (const T *)p->pair->packed + ch * p->pair->k, src + start, bstep, inside + 1, part[1], out, ch);
      FN(put_pair)(mr, nv, mstep, part[0], part[1], &w, out);
    }
    at = rows && end % p->pitch == p->x.n ? end + p->pitch - p->x.n : end;
  }
}

/* Where two vectors of a piece's places go; how many vectors they are. */
static int FN(exact_columns)(const snk_conv_pass *p, const snk_conv_piece *piece, const FN(stretch) *s, int n, FN(cols) *w) {
  enum { NR = FN(NR) };
  int64_t mstep = p->dsty * p->dstx;
  w->next = false;
  for (int l = 0; l < NR; l++) w->off[l] = -1;
  for (int i = 0; i < n; i++) {
    int64_t to = s[i].image * p->groups * p->m * mstep + s[i].row * p->y.ostep * p->dstx + s[i].col * p->x.ostep;
    for (int64_t l = 0; l < s[i].n; l++) w->off[s[i].lane + l] = to + l * p->x.ostep;
  }
  int nv = s[n - 1].lane + s[n - 1].n > L ? 2 : 1;
  for (int q = 0; q < nv; q++) {
    const int64_t *off = w->off + q * L;
    int parts = 0, l = 0;
    while (l < L && off[l] >= 0 && parts < FN(PARTS)) {
      int from = l++;
      while (l < L && off[l] == off[from] + l - from) l++;
      w->mask[q][parts] = (uint32_t)((((uint64_t)1 << (l - from)) - 1) << from);
      w->at[q][parts++] = off[from];
    }
    w->parts[q] = l < L && off[l] >= 0 ? -1 : parts;
  }
  FN(meets)(p, piece->oy0 + s[0].row, piece->oy0 + s[n - 1].row + (s[n - 1].col + s[n - 1].n - 1) / p->x.n, w);
  return nv;
}

static void FN(exact)(const snk_conv_pass *p, const snk_conv_piece *piece, const void *src, int64_t at, int64_t tiles, const void *ap,
                      void *dst, int64_t ch, int64_t t0, int64_t t1, void *roomp) {
  SNK_CLEAN
  enum { NR = FN(NR), MOST = SNK_CONV_TOGETHER };
  FN(stretch) s[MOST][NR];
  FN(cols) w[MOST];
  int n[MOST], nv[MOST], few[MOST], most = (int)(p->m / snk_conv_tiles(p->m, MR)) / FN(VM); /* their sums fit beside the vectors' in `part` */
  if (most > FN(FEW)) most = FN(FEW);
  const T *a = ap;
  T *part = roomp, *panel = part + tiles * p->m * NR;
  int64_t mtiles = snk_conv_tiles(p->m, MR), mstep = p->dsty * p->dstx;
  const int64_t weight = (t1 - t0) * MR * p->kblock * (int64_t)sizeof(T), runs = 1 + weight / SNK_CONV_RUN;
  for (int64_t q = 0; q < tiles; q++) {
    n[q] = FN(stretches)(p, piece, at + q * NR, s[q]);
    nv[q] = FN(exact_columns)(p, piece, s[q], n[q], &w[q]);
    int lanes = (int)(s[q][n[q] - 1].lane + s[q][n[q] - 1].n), rest = lanes % L;
    few[q] = FEW_KERNELS && rest <= most ? rest : 0;
    if (few[q]) nv[q] = lanes / L;
    if (w[q].k1 == w[q].k0) w[q].k0 = w[q].k1 = 0; /* nothing but border: one call all the same */
  }
  for (int64_t block = 0; block < p->k; block += p->kblock) {
    int64_t k0[MOST], k1[MOST], end = block + p->kblock < p->k ? block + p->kblock : p->k;
    for (int64_t q = 0; q < tiles; q++) {
      k0[q] = w[q].k0 > block ? w[q].k0 : block, k1[q] = w[q].k1 < end ? w[q].k1 : end;
      if (w[q].k1 == 0 && block == 0) k0[q] = k1[q] = 0;
      else if (k1[q] <= k0[q]) k1[q] = -1; /* not this block */
      if (k1[q] > 0) FN(panel)(p, piece, s[q], n[q], src, k0[q], k1[q], panel + q * p->kblock * NR);
    }
    for (int64_t r = 0; r < runs * tiles; r++) { /* a panel stays in the first cache, a run of the weight's rows in the second */
      const int64_t q = r % tiles, from = t0 + (t1 - t0) * (r / tiles) / runs, to = t0 + (t1 - t0) * (r / tiles + 1) / runs;
      for (int64_t t = from, some; t < to && k1[q] >= 0; t += some) {
        const T *b = panel + q * p->kblock * NR;
        FN(tiles) group[FN(GROUP)];
        some = t + FN(GROUP) <= to ? FN(GROUP) : 1;
        for (int64_t i = 0; i < some; i++) {
          int64_t m0 = snk_conv_tile_at(p->m, mtiles, t + i), mr = snk_conv_tile_at(p->m, mtiles, t + i + 1) - m0, rest;
          group[i] = (FN(tiles)){m0, mr, a + snk_conv_at(p, m0, mr, k0[q], &rest), part + (q * p->m + m0) * NR + (nv[q] ? mr * L : 0)};
          if (nv[q])
            FN(kernels)[nv[q] - 1][mr](p, k0[q], k1[q], group[i].a, p->kpanel, b, L, &w[q], part + (q * p->m + m0) * NR, (T *)dst + m0 * mstep,
                                       ch + m0);
        }
#if FEW_KERNELS
        if (few[q]) FN(few_kernels)[some > 1][few[q]](p, k0[q], k1[q], group, b, &w[q], nv[q] * L, dst, ch);
#endif
      }
    }
  }
}
