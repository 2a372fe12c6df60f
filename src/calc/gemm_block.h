/* gemm_block.h - packing, and the loops over blocks of K, rows and panels of columns, for one number type; included by gemm.isa.c behind gemm_tile.h, whose
 * names (T, V, L, FN and the words for vectors) it shares. SNK_TURN says that there is turn(), which packs columns of A in groups of four. */

/* Where number k of row i of a packed tile lies, the rows as many numbers of K apart as are side by side. */
#define PLACE(k, i, mr) ((k) / FN(GROUP) * FN(GROUP) * (mr) + (i) * FN(GROUP) + (k) % FN(GROUP))

static int64_t FN(whole_groups)(int64_t k) { return (k + FN(GROUP) - 1) / FN(GROUP) * FN(GROUP); }

/* mr rows of A as groups of mr numbers, or of mr times GROUP. */
static void FN(pack_rows)(T *dst, int mr, int64_t kc, const T *a, int64_t ars, int64_t acs) {
  int64_t k = 0;
  if (acs == 1 && FN(FAR_ROWS) > 0)
    for (; k + L <= kc; k += L) FN(transpose)(dst + k * mr, mr, a + k, ars, mr, (T *)NULL);
  for (; k < kc; k++)
    for (int i = 0; i < mr; i++) dst[PLACE(k, i, mr)] = a[i * ars + k * acs];
}

/* n numbers rounded to bfloat16; fetches as many `ahead`. */
__attribute__((noinline)) static void FN(round_run)(T *dst, const T *src, int64_t n, int64_t ahead) {
  int64_t i = 0;
  for (; i + L <= n; i += L) {
    SNK_ASK(src + i, (uintptr_t)ahead * sizeof(T));
    v_store(dst + i, v_round(v_load(src + i)));
  }
  if (i < n) v_keep(dst + i, v_round(v_take(src + i, v_lanes(n - i))), n - i);
}

/* kc rows of nc numbers of B (nc <= NR) as rows of NR, the rest zero. */
SNK_LOOPS static void FN(pack_cols)(T *dst, int64_t kc, int64_t nc, const T *b, int64_t brs, int64_t bcs) {
  enum { NR = FN(NR) };
  if (bcs == 1) {
    const int64_t n0 = nc < L ? nc : L, n1 = nc - n0;
    for (int64_t k = 0; k < kc; k++, b += brs, dst += NR) {
      v_store(dst, n0 == L ? v_load(b) : v_take(b, v_lanes(n0)));
      v_store(dst + L, n1 == L ? v_load(b + L) : v_take(b + n0, v_lanes(n1)));
    }
    return;
  }
  int64_t k = 0;
  for (; brs == 1 && k + L <= kc; k += L) {
    for (int64_t j = 0; j < nc; j += L) FN(transpose)(dst + k * NR + j, NR, b + k + j * bcs, bcs, nc - j < L ? (int)(nc - j) : L, (T *)NULL);
    for (int64_t i = k; nc < NR && i < k + L; i++) memset(dst + i * NR + nc, 0, (size_t)(NR - nc) * sizeof(T));
  }
  for (; k < kc; k++) {
    for (int64_t j = 0; j < nc; j++) dst[k * NR + j] = b[k * brs + j * bcs];
    for (int64_t j = nc; j < NR; j++) dst[k * NR + j] = 0;
  }
}

static void FN(pack_b)(int64_t n, int64_t k, const void *bp, int64_t brs, int64_t bcs, void *dstp) {
  enum { NR = FN(NR) };
  const T *b = bp;
  T *dst = dstp;
  int64_t kb = snk_gemm_kblock(k, KCMAX);
  for (int64_t k0 = 0; k0 < k; k0 += kb) {
    int64_t kc = k - k0 < kb ? k - k0 : kb;
    for (int64_t j = 0; j < n; j += NR, dst += kc * NR) FN(pack_cols)(dst, kc, n - j < NR ? n - j : NR, b + k0 * brs + j * bcs, brs, bcs);
  }
}

/* What stays the same over one block of C. */
typedef struct FN(job) {
  const snk_gemm_args *g;
  const T *a, *b;
  int64_t batch;
  T *pa, *pb;           /* packed rows of A (at most MC), packed columns of B (at most NC, or all of it where that is no more) */
  bool pack_a, as_rows, direct_b;
  bool far_a, far_b, far_c; /* too large to be in the second cache */
  bool once;            /* a panel of B is read by one block of rows only: all are packed to the same place */
  int64_t io, iend;     /* the rows that are gone through for one block of K */
} FN(job);

/* The columns j0.. (nr of them) of B's block k0, packed or in place; s learns how its rows lie. */
static const T *FN(panel)(const FN(job) *w, int64_t k0, int64_t kc, int64_t j0, int64_t nr, T *dst, bool fresh, FN(sweep) *s) {
  enum { NR = FN(NR) };
  const snk_gemm_args *g = w->g;
  s->ldb = NR, s->edge = (nr - 1) % L + 1;
  if (g->packed) {
    int64_t npad = (g->n + NR - 1) / NR * NR;
    return (const T *)g->packed + k0 * npad + j0 * kc;
  }
  const int nv = FN(vectors)(nr);
  if (w->direct_b && (nr >= nv * L || nv <= SNK_MASKED)) { /* whole vectors, or the last load can be masked */
    s->ldb = g->brs;
    return w->b + k0 * g->brs + j0;
  }
  if (!fresh) return dst;
  if (g->pack) g->pack(g->pack_ctx, w->batch, k0, kc, j0, nr, NR, dst);
  else FN(pack_cols)(dst, kc, nr, w->b + k0 * g->brs + j0 * g->bcs, g->brs, g->bcs);
  if (g->round_b) FN(round_run)(dst, dst, kc * NR, 0);
  return dst;
}

/* A whose columns lie in one piece: some columns at a time, which stay in the first cache until every tile has its part of them. (All tiles'
 * parts of one column at once would be written to places a power of two apart, which drive each other out.) */
static void FN(pack_columns)(const FN(job) *w, int64_t k0, int64_t kc, int64_t i0, int64_t m, int64_t tiles) {
  enum { SOME = 8 };
  const int64_t low = m / tiles, extra = m % tiles, acs = w->g->acs, long_k = FN(whole_groups)(kc);
  for (int64_t from = 0; from < kc; from += SOME) {
    const int64_t to = from + SOME < kc ? from + SOME : kc;
    for (int64_t t = 0, i = 0; t < tiles; t++) {
      const int64_t mr = low + (t < extra);
      const T *a = w->a + i0 + i + (k0 + from) * acs;
      T *p = w->pa + i * long_k + from * mr;
      int64_t k = from;
#ifdef SNK_TURN
      for (; k + FN(GROUP) <= to; k += FN(GROUP), a += FN(GROUP) * acs) FN(turn)(p + (k - from) * mr, a, acs, mr);
#endif
      for (; k < to; k++, a += acs) {
        if (FN(GROUP) > 1)
          for (int64_t r = 0; r < mr; r++) p[PLACE(k - from, r, mr)] = a[r];
        else if (mr == MR) memcpy(p, a, MR * sizeof(T));
        else if (SNK_MASKED && mr <= L) v_keep(p, v_take(a, v_lanes(mr)), mr);
        else
          for (int64_t r = 0; r < mr; r++) p[r] = a[r];
        if (FN(GROUP) == 1) p += mr;
      }
      i += mr;
    }
  }
}

/* What to fetch while the tiles of panel j run: rows of NR numbers, `step` apart: the panel after it, as it lies or packed; where that is to
 * be packed to; and a part of the next rows of A. The tiles share them out. */
typedef struct FN(ahead) { int n; struct { const T *at; int64_t step, rows; } of[3]; } FN(ahead);

static void FN(look_ahead)(FN(ahead) *f, const FN(job) *w, int64_t k0, int64_t kc, int64_t i1, int64_t j0, int64_t j, int64_t j1, bool fresh, const T *b) {
  enum { NR = FN(NR), MC = FN(MC) };
#define FETCH(...) f->of[f->n++] = (__typeof__(f->of[0])){__VA_ARGS__}
  const snk_gemm_args *g = w->g;
  f->n = 0;
  if (kc == 0) return;
  if (j + NR < j1) {
    if (g->packed || !(fresh || w->direct_b)) {
      if (!g->beside[0] || w->far_b) FETCH(b + NR * kc, NR, kc); /* what lies beside is farther */
    } else if (!g->pack && g->bcs == 1 && (!w->direct_b || w->far_b)) FETCH(w->b + k0 * g->brs + j + NR, g->brs, kc);
    if (fresh && !w->once && !w->direct_b && !g->packed) FETCH(w->pb + (j + NR - j0) * kc, NR, kc);
  }
  if (!w->far_a) return;
  const int64_t part = (j - j0) / NR * NR, rows = w->iend - i1 < MC ? w->iend - i1 : MC;
  if (g->acs == 1 && part < kc) {
    if (rows > 0) FETCH(w->a + i1 * g->ars + k0 + part, g->ars, rows);
    else if (k0 + kc < g->k) FETCH(w->a + w->io * g->ars + k0 + kc + part, g->ars, w->iend - w->io < MC ? w->iend - w->io : MC);
  } else if (w->pack_a && g->ars == 1) { /* columns that will be packed */
    if (part < rows) FETCH(w->a + i1 + part + k0 * g->acs, g->acs, kc);
    else if (rows <= 0 && k0 + 2 * kc <= g->k) FETCH(w->a + w->io + part + (k0 + kc) * g->acs, g->acs, kc);
  }
#undef FETCH
}

static int64_t FN(spread)(const FN(sweep) *s) {
  const int64_t each = s->kc / (s->share + MR * s->nbeside);
  return each > 0 ? each : 1;
}

/* Rows i0.. of A (m of them), tile by tile; those that are only to be rounded as they lie, kc apart. */
__attribute__((noinline)) static void FN(pack_a)(const FN(job) *w, int64_t k0, int64_t kc, int64_t i0, int64_t m, int64_t tiles) {
  const snk_gemm_args *g = w->g;
  enum { AHEAD = 4 }; /* rows: they come from memory */
  const int64_t low = m / tiles, extra = m % tiles, long_k = FN(whole_groups)(kc);
  if (w->as_rows)
    for (int64_t i = 0; i < m; i++) FN(round_run)(w->pa + i * kc, w->a + (i0 + i) * g->ars + k0, kc, AHEAD * g->ars);
  else if (g->ars == 1) FN(pack_columns)(w, k0, kc, i0, m, tiles);
  else
    for (int64_t t = 0, i = 0; t < tiles; t++) {
      const int64_t mr = low + (t < extra);
      FN(pack_rows)(w->pa + i * long_k, (int)mr, kc, w->a + (i0 + i) * g->ars + k0 * g->acs, g->ars, g->acs);
      i += mr;
    }
  if (g->round_a && !w->as_rows) FN(round_run)(w->pa, w->pa, m * long_k, 0);
}

/* What the next tile, at row i and column j, fetches besides what is ahead: where its sums go, at p, unless it is over before those lines are there. */
static void FN(set_beside)(FN(sweep) *s, const snk_gemm_args *g, int64_t i, int64_t j, const T *p) {
  const int over = s->kc > 64;
  s->beside[0] = p;
  for (int q = over; q < s->nbeside; q++) s->beside[q] = (const T *)g->beside[q - over] + i * s->d->ldp + j;
}

/* The last columns, up to a vector of them, and the panel before as one, eight rows at a time: by themselves they would take a load for each
 * multiply-add. */
__attribute__((noinline, unused)) static void FN(last_panel)(const FN(job) *w, FN(sweep) *s, int64_t k0, int64_t kc, int64_t i0, int64_t i1, int64_t j,
                                                             int64_t nr) {
  const snk_gemm_args *g = w->g;
  const T *b = FN(panel)(w, k0, kc, j, nr, NULL, false, s);
  if (g->packed) s->bps = FN(NR) * kc;
  s->j0 = j, s->nr = nr;
  FN(set_finish)(s, 8, nr, 3);
  s->share = 1, s->each = FN(spread)(s);
  for (; i0 < i1; i0 += 8) {
    s->i0 = i0;
    T *p = s->d->p + (i0 - s->d->pi) * s->d->ldp + (j - s->d->pj);
    FN(set_beside)(s, g, i0, j, p);
    FN(tile)(8, 3, false, s, w->a + i0 * g->ars + k0 * g->acs, b, p, b, 0);
  }
}

/* Rows i0..i1 of C, columns j0..j1 over one block of K. Rows are shared out evenly among tiles. */
static void FN(rows)(const FN(job) *w, const FN(dest) *d, int64_t k0, int64_t kc, int64_t i0, int64_t i1, int64_t j0, int64_t j1, bool fresh) {
  enum { NR = FN(NR) };
  const snk_gemm_args *g = w->g;
  int64_t m = i1 - i0, tiles = (m + MR - 1) / MR, low = m / tiles, extra = m % tiles, long_k = FN(whole_groups)(kc);
  if (w->pack_a) FN(pack_a)(w, k0, kc, i0, m, tiles);
  FN(sweep) s; /* its t stays as it is: to clear it takes as long as a small product */
  s.kc = kc, s.ars = g->ars, s.acs = g->acs, s.group = FN(STEPS) * g->acs, s.bps = NR, s.d = d, s.nbeside = kc > 64;
  for (int q = 0; d->last && w->far_c && q < 3 && g->beside[q]; q++) s.nbeside++;
  const bool wide = MR == 12 && sizeof(T) == 4 && m % 8 == 0 && !w->pack_a && (g->packed || w->direct_b);
  for (int64_t j = j0, nr; j < j1; j += nr) {
    int64_t i = 0;
    nr = j1 - j < NR ? j1 - j : NR;
    if (wide && j1 - j > NR && j1 - j <= NR + L) {
      FN(last_panel)(w, &s, k0, kc, i0, i1, j, nr = j1 - j);
      continue;
    }
    /* a whole panel is packed by its first tile, which reads it as it lies */
    const bool packing = fresh && !g->round_b && !w->direct_b && !g->packed && !g->pack && g->bcs == 1 && nr == NR && low + (extra > 0) == MR;
    T *to = w->once ? w->pb : w->pb + (j - j0) * kc;
    const T *b = FN(panel)(w, k0, kc, j, nr, to, fresh && !packing, &s);
    FN(ahead) f;
    FN(look_ahead)(&f, w, k0, kc, i1, j0, j, j1, fresh, b);
    const int64_t turns = f.n > 0 && tiles > f.n ? tiles / f.n : 1; /* tiles for each */
    int64_t turn = 0;
    s.share = 1, s.each = FN(spread)(&s);
    int q = 0;
    s.j0 = j, s.nr = nr;
    FN(set_finish)(&s, low, nr, FN(vectors)(nr));
    T *p = d->p + (i0 - d->pi) * d->ldp + (j - d->pj);
    for (int64_t t = 0; t < tiles; t++) {
      int64_t mr = low + (t < extra);
      const T *a = w->a + (i0 + i) * g->ars + k0 * g->acs;
      if (w->as_rows) a = w->pa + i * kc, s.ars = kc;
      else if (w->pack_a) {
        a = w->pa + i * long_k;
        s.ars = FN(GROUP), s.acs = FN(GROUP) > 1 ? 1 : mr, s.group = FN(STEPS) * mr;
      }
      s.i0 = i0 + i;
      FN(set_beside)(&s, g, i0 + i, j, p);
      const T *next = b;
      int64_t step = 0;
      if (q < f.n) {
        if (turn == 0) s.share = (f.of[q].rows + turns - 1) / turns, s.each = FN(spread)(&s);
        step = f.of[q].step, next = f.of[q].at + turn * s.share * step;
        if (++turn == turns) turn = 0, q++;
      } else s.share = 1;
      if (t == 0 && packing) {
        s.keep = to, s.ldb = g->brs;
        FN(packing_tile)(&s, a, w->b + k0 * g->brs + j, p, next, step);
        s.ldb = NR;
      } else FN(kernels)[FN(vectors)(nr) - 1][mr](&s, a, b, p, next, step);
      i += mr, p += mr * d->ldp;
    }
  }
}

/* One to three rows, B in place or packed whole: wide tiles, so that enough sums are under way at once. */
static void FN(few_rows)(const FN(job) *w, const FN(dest) *d, int64_t k0, int64_t kc, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
  enum { NR = FN(NR) };
  const snk_gemm_args *g = w->g;
  int64_t m = i1 - i0, wide = m == 1 ? 8 * L : 4 * L, j = j0;
  FN(kernel) *kern = m == 1 ? FN(SNK_CAT(tile1, 8)) : m == 2 ? FN(SNK_CAT(tile2, 4)) : FN(SNK_CAT(tile3, 4));
  const T *a = w->a + i0 * g->ars + k0 * g->acs;
  FN(sweep) s;
  s.kc = kc, s.ars = g->ars, s.acs = g->acs, s.group = FN(STEPS) * g->acs, s.bps = g->packed ? NR * kc : NR, s.nr = wide;
  s.i0 = i0, s.d = d, s.nbeside = 0, s.share = s.each = 1;
  T *p = d->p + (i0 - d->pi) * d->ldp - d->pj;
  for (; j + wide <= j1; j += wide) {
    const T *b = FN(panel)(w, k0, kc, j, NR, NULL, false, &s);
    s.j0 = j;
    FN(set_finish)(&s, m, wide, wide / L);
    kern(&s, a, b, p + j, b, 0);
  }
  for (s.bps = NR; j < j1; j += NR) {
    int64_t nr = j1 - j < NR ? j1 - j : NR;
    const T *b = FN(panel)(w, k0, kc, j, nr, w->pb, true, &s);
    s.j0 = j, s.nr = nr;
    FN(set_finish)(&s, m, nr, FN(vectors)(nr));
    FN(kernels)[FN(vectors)(nr) - 1][m](&s, a, b, p + j, b, 0);
  }
}

static void FN(block)(const snk_gemm_args *g, const void *a, const void *b, void *c, int64_t batch, int64_t m0, int64_t m1, int64_t n0, int64_t n1,
                      void *scratch) {
  enum { NR = FN(NR), MC = FN(MC), NC = FN(NC), NT = FN(NT), NEAR = (1 << 20) / sizeof(T), BRIEF = (1 << 15) / sizeof(T) };
#ifdef SNK_SKIP
  if (g->skips) {
    skip_block(g, a, b, c, m0, m1, n0, n1, scratch);
    return;
  }
#endif
  int64_t m = m1 - m0, n = n1 - n0, kb = snk_gemm_kblock(g->k, KCMAX);
  bool parts = g->k > kb && (g->accumulate || g->ccs != 1); /* partial sums may not lie in C */
  T *pa = scratch, *pb = pa + MC * KCMAX, *part = pb + NC * KCMAX;
  const bool has_b = !g->packed && !g->pack;
  const bool brief = g->k <= 64 && m * g->k <= BRIEF; /* A is in the first cache, and panels of B are so short that they stay there too */
  FN(job) w = {.g = g, .a = a, .b = b, .batch = batch, .pa = pa, .pb = pb, .as_rows = g->round_a && g->acs == 1, .once = m <= MC};
  w.direct_b = has_b && g->bcs == 1 && !g->round_b && (m <= 108 || brief);
  w.far_a = g->m * g->k > NEAR, w.far_b = g->k * g->n > NEAR, w.far_c = g->m * g->n > NEAR;
  const bool same_sets = FN(FAR_ROWS) > 0 && n >= FN(FAR_ROWS) && g->ars * (int64_t)sizeof(T) % 4096 == 0; /* of the first cache, for all rows */
  w.pack_a = g->round_a || (m > 3 && n > NR && (g->acs != 1 ? !(g->ars == 1 && brief) : same_sets)); /* else rows are read as they lie */
  bool few = m <= 3 && !g->round_a && (g->packed || w.direct_b);
  int64_t mc = MC, nc = parts ? NT : NC;
  FN(dest) d = {.c = c, .crs = g->crs, .ccs = g->ccs, .accumulate = g->accumulate, .relu = g->act == SNK_ACT_RELU, .round = g->round};
  d.row_bias = g->bias_kind == SNK_BIAS_ROW ? g->bias : NULL;
  d.col_bias = g->bias_kind == SNK_BIAS_COL ? g->bias : NULL;
  int64_t mouter = parts ? mc : m;
  const int64_t npad = (n + NR - 1) / NR * NR;
  const bool keep = npad * g->k <= NC * KCMAX; /* all of B is packed once */
  for (int64_t io = m0; io < m1; io += mouter)
    for (int64_t j0 = n0; j0 < n1; j0 += nc) {
      int64_t j1 = j0 + nc < n1 ? j0 + nc : n1, iend = io + mouter < m1 ? io + mouter : m1;
      w.io = io, w.iend = iend;
      d.p = parts ? part : c;
      d.ldp = parts ? NT : g->crs;
      d.pi = parts ? io : 0;
      d.pj = parts ? j0 : 0;
      for (int64_t k0 = 0; k0 == 0 || k0 < g->k; k0 += kb) {
        int64_t kc = g->k - k0 < kb ? g->k - k0 : kb;
        d.first = k0 == 0;
        d.last = k0 + kb >= g->k;
        if (keep) w.pb = pb + k0 * npad + (j0 - n0) * kc;
        for (int64_t i0 = io; i0 < iend; i0 += mc) {
          int64_t i1 = i0 + mc < iend ? i0 + mc : iend;
          if (few) FN(few_rows)(&w, &d, k0, kc, i0, i1, j0, j1);
          else FN(rows)(&w, &d, k0, kc, i0, i1, j0, j1, i0 == (keep ? m0 : io));
          if (d.last && g->hook)
            g->hook(g->hook_ctx, (T *)c + i0 * g->crs + j0 * g->ccs, g->crs, g->ccs, i0, j0, i1 - i0, j1 - j0);
        }
      }
    }
}
