/* conv_grad.h - the weight's gradient for one number type; included by conv.isa.c after conv_tile.h, with the same words defined, and GM, GK
 * (the tile of inner products) and ALL_MASKED.
 */

/* ---- the weight's gradient: mr planes of the gradient times nk shifted planes of the source, summed over places and images */

static __attribute__((noinline)) void FN(totals)(const int mr, const int nk, const snk_conv_grad *w, const V *sums, T *out) {
  T total[32];
  v_sums(sums, mr * nk, total);
  for (int i = 0; i < mr; i++)
    for (int j = 0; j < nk; j++) {
      T *to = out + i * w->p->k + j;
      *to = w->add ? *to + total[i * nk + j] : total[i * nk + j];
    }
}

SNK_INLINE void FN(product)(const int mr, const int nk, const bool masked, const snk_conv_grad *w, const T *g, const T *x, const int64_t *koff,
                            T *out) {
  V acc[32];
  SNK_UNROLL
  for (int i = 0; i < mr * nk; i++) acc[i] = v_zero();
  const T *b[6];
  const uint32_t *masks = w->masks;
  const int64_t vectors = w->vectors, gld = w->gld;
  for (int64_t image = 0; image < w->images; image++) {
    const T *gi = g + image * w->gimage;
    SNK_UNROLL
    for (int j = 0; j < nk; j++) b[j] = x + image * w->ximage + koff[j];
    for (int64_t v = 0; v < vectors; v++) {
      V gv[4];
      if (!masked || (!ALL_MASKED && masks[v] == (uint32_t)(((uint64_t)1 << L) - 1))) {
        SNK_UNROLL
        for (int i = 0; i < mr; i++) gv[i] = v_load(gi + i * gld + v * L);
        SNK_UNROLL
        for (int j = 0; j < nk; j++) {
          V bv = v_load(b[j] + v * L);
          SNK_UNROLL
          for (int i = 0; i < mr; i++) acc[i * nk + j] = v_fma(gv[i], bv, acc[i * nk + j]);
        }
      } else {
        uint32_t mask = masks[v];
        SNK_UNROLL
        for (int i = 0; i < mr; i++) gv[i] = v_take(gi + i * gld + v * L, mask);
        SNK_UNROLL
        for (int j = 0; j < nk; j++) {
          V bv = v_take(b[j] + v * L, mask);
          SNK_UNROLL
          for (int i = 0; i < mr; i++) acc[i * nk + j] = v_fma(gv[i], bv, acc[i * nk + j]);
        }
      }
    }
  }
  V sums[32];
  SNK_UNROLL
  for (int i = 0; i < mr * nk; i++) sums[i] = acc[i];
  FN(totals)(mr, nk, w, sums, out);
}

#define PARGS const snk_conv_grad *w, const T *g, const T *x, const int64_t *koff, T *out
typedef void FN(producer)(PARGS);
#define PRODUCT(mr, nk)                                                                               \
  static void FN(SNK_CAT(product##mr, nk))(PARGS) { FN(product)(mr, nk, true, w, g, x, koff, out); } \
  static void FN(SNK_CAT(whole##mr, nk))(PARGS) { FN(product)(mr, nk, false, w, g, x, koff, out); }
#define PNAME(name, mr, nk) FN(SNK_CAT(name##mr, nk))
#if GK == 6 && GM == 4
#define PRODUCTS(mr) PRODUCT(mr, 1) PRODUCT(mr, 2) PRODUCT(mr, 3) PRODUCT(mr, 4) PRODUCT(mr, 5) PRODUCT(mr, 6)
#define PNAMES(name, mr) \
  {NULL, PNAME(name, mr, 1), PNAME(name, mr, 2), PNAME(name, mr, 3), PNAME(name, mr, 4), PNAME(name, mr, 5), PNAME(name, mr, 6)}
#define PALL(name) {{NULL}, PNAMES(name, 1), PNAMES(name, 2), PNAMES(name, 3), PNAMES(name, 4)}
PRODUCTS(4)
#elif GK == 4
#define PRODUCTS(mr) PRODUCT(mr, 1) PRODUCT(mr, 2) PRODUCT(mr, 3) PRODUCT(mr, 4)
#define PNAMES(name, mr) {NULL, PNAME(name, mr, 1), PNAME(name, mr, 2), PNAME(name, mr, 3), PNAME(name, mr, 4)}
#if GM == 3
#define PALL(name) {{NULL}, PNAMES(name, 1), PNAMES(name, 2), PNAMES(name, 3)}
#else
#define PALL(name) {{NULL}, PNAMES(name, 1), PNAMES(name, 2)}
#endif
#else
#error "tiles of the weight's gradient are 4 x 6, 3 x 4 or 2 x 4"
#endif
PRODUCTS(1)
PRODUCTS(2)
#if GM >= 3
PRODUCTS(3)
#endif
static FN(producer) *const FN(producers)[2][GM + 1][GK + 1] = {PALL(product), PALL(whole)};
#undef PALL
#undef PARGS
#undef PRODUCT
#undef PRODUCTS
#undef PNAME
#undef PNAMES

/* Tiles of k from k0 on, where tile j0 .. j1 of ktiles are at x + koff. */
static void FN(grad_tiles)(const snk_conv_grad *w, const T *x, const int64_t *koff, int64_t k0, int64_t k1) {
  int64_t k = w->p->k, rows = w->m1 - w->m0, mtiles = snk_conv_tiles(rows, GM), ktiles = snk_conv_tiles(k1 - k0, GK);
  for (int64_t i = 0; i < mtiles; i++) {
    int64_t m = snk_conv_tile_at(rows, mtiles, i), mr = snk_conv_tile_at(rows, mtiles, i + 1) - m;
    for (int64_t j = 0; j < ktiles; j++) {
      int64_t at = snk_conv_tile_at(k1 - k0, ktiles, j), nk = snk_conv_tile_at(k1 - k0, ktiles, j + 1) - at;
      FN(producers)[w->masks == NULL][mr][nk](w, (const T *)w->g + m * w->gld, x, koff + at, (T *)w->out + (w->m0 + m) * k + k0 + at);
    }
  }
}

static void FN(grad)(const snk_conv_grad *w) {
  SNK_CLEAN
  for (int64_t k = 0; k < w->p->k; k += SNK_CONV_KCHUNK) /* as much of the source as stays in the second cache */
    FN(grad_tiles)(w, w->x, w->p->koff + k, k, k + SNK_CONV_KCHUNK < w->p->k ? k + SNK_CONV_KCHUNK : w->p->k);
}

SNK_LOOPS static void FN(grad_exact)(const snk_conv_grad *w) {
  SNK_CLEAN
  const snk_conv_pass *p = w->p;
  int64_t local[SNK_CONV_KCHUNK], width = p->x.n;
  for (int64_t i = 0; i < SNK_CONV_KCHUNK; i++) local[i] = i * w->gld;
  for (int64_t k0 = 0; k0 < p->k; k0 += SNK_CONV_KCHUNK) {
    int64_t k1 = k0 + SNK_CONV_KCHUNK < p->k ? k0 + SNK_CONV_KCHUNK : p->k;
    for (int64_t k = k0; k < k1; k++) {
      T *to = (T *)w->room + local[k - k0], *end = to + w->gld;
      for (int64_t image = 0; image < w->piece.images; image++) {
        const T *from = (const T *)w->x + image * w->piece.step + p->koff[k];
        for (int64_t row = 0; row < w->piece.rows; row++, from += p->pitch, to += width) /* image by image, as the gradient lies */
          for (int64_t o = 0; o < width; o += L) v_store(to + o, v_load(from + o));
      }
      for (; to < end; to++) *to = 0;
    }
    FN(grad_tiles)(w, w->room, local, k0, k1);
  }
}

/* ---- the same with the channels last: for every tap a product of rows x places with places x channels */

SNK_LOOPS static void FN(turn)(const void *srcp, int64_t channels, int64_t plane, int64_t places, int64_t to, void *dst) {
  SNK_CLEAN
  for (int64_t c = 0; c < channels; c += L)
    FN(turn_some)((const T *)srcp + c * plane, channels - c < L ? channels - c : L, plane, places, to, (T *)dst + c);
}

/* Rows as tiles of up to MR, each places x rows; these are places at .. of `all`. */
SNK_LOOPS static void FN(turn_rows)(const void *srcp, int64_t rows, int64_t step, int64_t places, int64_t all, int64_t at, void *dstp) {
  SNK_CLEAN
  int64_t tiles = snk_conv_tiles(rows, MR);
  for (int64_t t = 0; t < tiles; t++) {
    int64_t m = snk_conv_tile_at(rows, tiles, t), mr = snk_conv_tile_at(rows, tiles, t + 1) - m;
    const T *src = (const T *)srcp + m * step;
    T *dst = (T *)dstp + m * all + at * mr;
    if (MR <= L && (all - at - places) * mr >= L - mr) FN(turn_some)(src, mr, step, places, mr, dst); /* what is too much is written over */
    else if (MR <= L && places > L) {
      FN(turn_some)(src, mr, step, places - L, mr, dst);
      for (int64_t j = places - L; j < places; j++)
        for (int64_t i = 0; i < mr; i++) dst[j * mr + i] = src[i * step + j];
    } else
      for (int64_t j = 0; j < places; j++)
        for (int64_t i = 0; i < mr; i++) dst[j * mr + i] = src[i * step + j];
  }
}

/* Rows r0 .. r1-1 and columns c0 .. c1-1 of every image: the rest meets only border. */
SNK_INLINE void FN(outer)(const int mr, const int nv, const snk_conv_grad *w, const T *tile, const T *x, const int64_t r[2], const int64_t c[2],
                          T *out) {
  V acc[2 * MR];
  const int64_t width = w->p->x.n, step = w->channels, across = w->p->x.step * step;
  SNK_UNROLL
  for (int i = 0; i < mr * nv; i++) acc[i] = v_zero();
  for (int64_t image = 0; image < w->piece.images; image++)
    for (int64_t row = r[0]; row < r[1]; row++) {
      const T *b = x + (image * w->piece.step + row * w->p->pitch) * step + c[0] * across;
      const T *a = tile + ((image * w->piece.rows + row) * width + c[0]) * mr;
      for (int64_t col = c[0]; col < c[1]; col++, b += across, a += mr) v_step(mr, nv, a, b, L, acc);
    }
  SNK_UNROLL
  for (int i = 0; i < mr; i++)
    SNK_UNROLL
    for (int j = 0; j < nv; j++) {
      T *to = out + i * step + j * L;
      if (w->add) acc[i * nv + j] = v_load(to) + acc[i * nv + j];
      v_store(to, acc[i * nv + j]);
    }
}

#define OARGS const snk_conv_grad *w, const T *tile, const T *x, const int64_t r[2], const int64_t c[2], T *out
typedef void FN(outerer)(OARGS);
#define OUTER(mr)                                                                              \
  static void FN(SNK_CAT(outer##mr, 1))(OARGS) { FN(outer)(mr, 1, w, tile, x, r, c, out); }    \
  static void FN(SNK_CAT(outer##mr, 2))(OARGS) { FN(outer)(mr, 2, w, tile, x, r, c, out); }
SNK_UPTO(MR, OUTER)
#define NAME1(mr) FN(SNK_CAT(outer##mr, 1)),
#define NAME2(mr) FN(SNK_CAT(outer##mr, 2)),
static FN(outerer) *const FN(outerers)[2][MR + 1] = {{NULL, SNK_UPTO(MR, NAME1)}, {NULL, SNK_UPTO(MR, NAME2)}};
#undef OARGS
#undef OUTER
#undef NAME1
#undef NAME2

static void FN(grad_last)(const snk_conv_grad *w) {
  SNK_CLEAN
  const snk_conv_pass *p = w->p;
  int64_t rows = w->m1 - w->m0, tiles = snk_conv_tiles(rows, MR), taps = p->y.taps * p->x.taps;
  for (int64_t t = 0; t < tiles; t++) {
    int64_t m = snk_conv_tile_at(rows, tiles, t), mr = snk_conv_tile_at(rows, tiles, t + 1) - m;
    const T *a = (const T *)w->g + m * w->gld;
    for (int64_t tap = 0; tap < taps; tap++) {
      int64_t ys[2], xs[2];
      snk_conv_meets(&p->y, tap / p->x.taps, &ys[0], &ys[1]);
      snk_conv_meets(&p->x, tap % p->x.taps, &xs[0], &xs[1]);
      const int64_t from = (snk_conv_from(&p->y, tap / p->x.taps) + w->piece.oy0 * p->y.step) * p->x.src + snk_conv_from(&p->x, tap % p->x.taps);
      for (int i = 0; i < 2; i++) { /* within the band */
        ys[i] -= w->piece.oy0;
        if (ys[i] < 0) ys[i] = 0;
        if (ys[i] > w->piece.rows) ys[i] = w->piece.rows;
      }
      for (int64_t c = 0; c < w->channels; c += 2 * L)
        FN(outerers)[w->channels - c > L][mr](w, a, (const T *)w->x + (from - w->xfirst) * w->channels + c, ys, xs,
                                             (T *)w->out + (tap * p->m + w->m0 + m) * w->channels + c);
    }
  }
}
