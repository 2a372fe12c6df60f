/* gemm_tile.h - the register tiles and the packed block loops for one number type; included by gemm.isa.c for float and for double.
 *
 * The includer defines T, V, L (lanes), MR, KCMAX, FN(name), and v_load v_store v_take v_keep v_set1 v_fma v_fma_there (see tile.h) v_zero v_relu v_round,
 * and SNK_TURN with turn(), which packs columns of A in groups of four, where there is one.
 * A tile is up to MR rows by two vectors; wider ones serve one to three rows, or last columns. Tile shape never matters to the bits.
 */

/* Tiles with fewer rows have no relu and no rounding of their own: what the code weighs. */
enum { FN(RELU_ROWS) = sizeof(T) == 4 ? MR - 2 : MR + 1, FN(ROUND_ROWS) = MR };
enum { FN(NR) = 2 * L, FN(MC) = MR * 12, FN(NC) = 2048, FN(NT) = 256 };
/* Steps of K that tiles of LONG rows and more take at once, with constant addresses: a step of 12 rows has 40 instructions instead of 46 for 24
 * multiply-adds, of 6 rows 22 instead of 25 for 12 (docs/performance.md). Packed rows of float lie in groups of as many K with AVX2, as rows that are
 * read in place do, so that one loop serves both; with AVX-512 one K after the other, in a loop of their own (to put 12 rows in groups takes longer). */
enum { FN(LONG) = MR == 12 ? (sizeof(T) == 4 ? 10 : 11) : 5, FN(STEPS) = MR > FN(LONG) ? 4 : 1, FN(GROUP) = sizeof(T) == 4 && MR == 6 ? FN(STEPS) : 1 };
enum { FN(FAR_ROWS) = MR == 12 ? 512 : 0 }; /* columns of B from which rows of A that drive each other out of the first cache are packed */
enum { FN(SUMS) = MR * 2 > 12 ? MR * 2 : 12 }; /* vectors of sums in the largest tile: 3 rows by 4, or MR by 2 (8 by 3 only where these are as many) */

/* One number as a vector of them is rounded. */
static T FN(v_round1)(T x) {
  T t[L] = {0};
  t[0] = x;
  v_store(t, v_round(v_load(t)));
  return t[0];
}

/* Where a tile goes: through the partial sums p (C itself where that is possible), and finished to c. */
typedef struct FN(dest) {
  T *c;
  int64_t crs, ccs;
  T *p;
  int64_t ldp, pi, pj; /* element (i, j) of the partial sums is p[(i - pi) * ldp + j - pj] */
  bool first, last, accumulate, relu, round;
  const T *row_bias, *col_bias;
} FN(dest);

/* The last block of a tile that is not plain, or a block of one with fewer than its columns: the sums at t (mr rows of nv vectors), nr columns of
 * them, added to what is there, with bias, addition and activation. */
SNK_LOOPS static void FN(finish_rows)(const FN(dest) *d, const T *t, const int mr, const int nv, int64_t i0, int64_t j0, int64_t nr) {
  T *p = d->p + (i0 - d->pi) * d->ldp + (j0 - d->pj);
  T *c = d->last ? d->c + i0 * d->crs + j0 : p;
  const int64_t ldc = d->last ? d->crs : d->ldp;
  for (int i = 0; i < mr; i++)
    for (int64_t j = 0; j < nv * L; j += L, t += L) {
      const int64_t n = nr - j < L ? nr - j : L;
      if (n <= 0) continue;
      V v = v_load(t);
      if (!d->first) v = v_take(p + i * d->ldp + j, v_lanes(n)) + v;
      if (d->last) {
        if (d->row_bias) v = v + v_set1(d->row_bias[i0 + i]);
        if (d->col_bias) v = v + v_take(d->col_bias + j0 + j, v_lanes(n));
        if (d->accumulate) v = v_take(c + i * d->crs + j, v_lanes(n)) + v;
        if (d->relu) v = v_relu(v);
        if (d->round) v = v_round(v);
      }
      v_keep(c + i * ldc + j, v, n);
    }
}

/* The same for whole vectors where C lies in rows: nothing is masked, and what is asked for is asked once a column of vectors. */
static void FN(finish_whole)(const FN(dest) *d, const T *t, const int mr, const int nv, int64_t i0, int64_t j0) {
  const bool first = d->first, relu = d->relu, round = d->round;
  for (int j = 0; j < nv; j++) {
    const T *p = d->p + (i0 - d->pi) * d->ldp + (j0 + j * L - d->pj);
    T *c = d->c + i0 * d->crs + j0 + j * L;
    const V bias = d->col_bias ? v_load(d->col_bias + j0 + j * L) : v_zero();
    for (int i = 0; i < mr; i++, p += d->ldp, c += d->crs) {
      V v = v_load(t + (i * nv + j) * L);
      if (!first) v = v_load(p) + v;
      if (d->col_bias) v = v + bias;
      if (relu) v = v_relu(v);
      if (round) v = v_round(v);
      v_store(c, v);
    }
  }
}

/* The same where columns of C lie together: the rows are finished as vectors, then turned on the way out. */
SNK_LOOPS static void FN(finish_turned)(const FN(dest) *d, T *t, const int mr, const int nv, int64_t i0, int64_t j0, int64_t nr) {
  const T *p = d->p + (i0 - d->pi) * d->ldp + (j0 - d->pj);
  for (int i = 0; i < mr; i++)
    for (int j = 0; j < nv; j++) {
      T *q = t + (i * nv + j) * L;
      const int64_t n = nr - j * L < L ? nr - j * L : L;
      if (n <= 0) continue;
      V v = v_load(q);
      if (!d->first) v = v_take(p + i * d->ldp + j * L, v_lanes(n)) + v;
      if (d->row_bias) v = v + v_set1(d->row_bias[i0 + i]);
      if (d->col_bias) v = v + v_take(d->col_bias + j0 + j * L, v_lanes(n));
      if (d->relu && !d->accumulate) v = v_relu(v);
      if (d->round && !d->accumulate) v = v_round(v);
      v_store(q, v);
    }
  T *c = d->c + i0 * d->crs + j0 * d->ccs;
  if (!d->accumulate && nr >= nv * L) {
    for (int j = 0; j < nv * L; j += L) FN(transpose)(c + j * d->ccs, d->ccs, t + j, nv * L, mr, (T *)NULL);
    return;
  }
  for (int j = 0; j < nv * L && j < nr; j++, c += d->ccs)
    for (int i = 0; i < mr; i++) {
      T v = t[i * nv * L + j];
      if (d->accumulate) {
        v = c[i * d->crs] + v;
        if (d->relu) v = ((T)0 > v ? (T)0 : v) + (T)0;
        if (d->round) v = FN(v_round1)(v);
      }
      c[i * d->crs] = v;
    }
}

/* What the tiles of one panel share: the length of the block, the strides of both operands, the columns and where they go. Vectors 2q and
 * 2q+1 of a row of B lie at b + q * bps. */
typedef struct FN(sweep) {
  int64_t kc, ars, acs, ldb, bps, j0, nr, i0; /* i0: the tile's first row */
  int64_t group;                              /* from STEPS numbers of a row of A, acs apart, to the next so many */
  int64_t edge;                               /* how many numbers of its last vector a row has (where that can be masked) */
  const FN(dest) *d;
  T *keep;                                    /* where a packing tile writes the rows of B that it reads */
  const T *beside[4];                         /* to be fetched too: where the sums go, the same places of other matrices (snk_gemm_rows) */
  int nbeside;
  int64_t share, each;                        /* rows fetched at `next`; steps of K for each row that is fetched */
  int64_t ahead, count, stage, pace;          /* the tile's: how far apart, how many more, what is fetched now and how often. Registers are short */
  bool plain, relu, round;                    /* plain: whole rows that are kept, or added to what is there, with bias, relu and rounding: from registers */
  const T *bias;                              /* of plain rows: of the panel's columns, or NULL */
  T t[FN(SUMS) * L] __attribute__((aligned(64))); /* the others' way */
} FN(sweep);

/* How the next tiles of nr columns, at least mr rows, are finished: nv vectors a row, that is. */
static void FN(set_finish)(FN(sweep) *w, int64_t mr, int64_t nr, int64_t nv) {
  const FN(dest) *d = w->d;
  const bool relu = nv == 3 || (mr >= FN(RELU_ROWS) && nv == 2);
  const bool whole = d->ccs == 1 && d->p == d->c && !d->row_bias && !d->accumulate && (!d->round || (mr >= FN(ROUND_ROWS) && nv == 2)) &&
                     (!d->relu || relu);
  w->plain = (nr >= nv * L || nv == 3) && (!d->last || whole);
  w->bias = d->last && d->col_bias ? d->col_bias + w->j0 : NULL;
  w->relu = d->last && d->relu, w->round = d->last && d->round;
}

__attribute__((noinline)) static void FN(finish)(FN(sweep) *w, int mr, int nv) {
  const FN(dest) *d = w->d;
  if (d->last && d->ccs != 1) FN(finish_turned)(d, w->t, mr, nv, w->i0, w->j0, w->nr);
  else if (d->last && !d->row_bias && !d->accumulate && w->nr >= nv * L) FN(finish_whole)(d, w->t, mr, nv, w->i0, w->j0);
  else FN(finish_rows)(d, w->t, mr, nv, w->i0, w->j0, w->nr);
}

/* One tile: mr rows of A times kc rows of B, sums to p. On the way it fetches a row of NR numbers every few steps of K (more at once would wait
 * for the buffers in which lines of far caches arrive, and the rows of A with them): w->share of them at `next` (what a later tile or panel reads),
 * then what lies beside the tile and the lines that the sums are stored over or added to. Rows of A are reached from every third one, which
 * keeps all addresses in registers. */
SNK_INLINE void FN(tile)(const int mr, const int nv, const bool pack, FN(sweep) *w, const T *a, const T *b, T *p, const T *next, int64_t step) {
  enum { LINE = 64 / (int)sizeof(T), GROUPS = (MR + 2) / 3 };
  int64_t ars = w->ars;
  const int64_t acs = w->acs, ldb = w->ldb, bps = w->bps, ldp = w->d->ldp;
  V acc[FN(SUMS)];
  const T *row[GROUPS];
  SNK_UNROLL
  for (int q = 0; q < GROUPS; q++) row[q] = a + 3 * q * ars;
  SNK_UNROLL
  for (int i = 0; i < mr * nv; i++) acc[i] = v_zero();
  const bool masked = !pack && (nv == 3 || nv <= SNK_MASKED); /* the last vector's loads, and with three its stores */
  const int wide = (nv == 3 ? 3 : 2) * L;
  const VM edge = v_lanes(w->edge);
  (void)edge;
  T *keep = pack ? w->keep : NULL;
  int64_t wait = 1, k = w->kc;
  w->ahead = step, w->count = w->share, w->stage = w->nbeside, w->pace = w->each;
#define FETCH                                                                                         \
  if (--wait == 0) {                                                                                  \
    SNK_UNROLL                                                                                        \
    for (int j = 0; j < wide; j += LINE) __builtin_prefetch(next + j, 0, 2);                          \
    next += w->ahead, wait = w->pace;                                                                 \
    if (--w->count == 0) {                                                                            \
      if (w->stage > 0) next = w->beside[--w->stage], w->ahead = w->d->ldp, w->count = mr;            \
      else wait = INT64_MAX;                                                                          \
    }                                                                                                 \
  }
/* Where number u of row i is, counted from the step at hand: of rows as they lie or in groups, and of rows packed one K after the other. */
#define IN_ROW(u, i) (row[(i) / 3] + (i) % 3 * ars + (u))
#define PACKED(u, i) (row[0] + (u) * mr + (i))
#define STEP(u, ADD, AT)                                                                              \
  do {                                                                                                \
    V bv[8];                                                                                          \
    SNK_UNROLL                                                                                        \
    for (int j = 0; j < nv; j++) {                                                                    \
      const T *at = b + (j >> 1) * bps + (j & 1) * L;                                                 \
      bv[j] = masked && j == nv - 1 ? v_take(at, edge) : v_load(at);                                  \
      if (pack) v_store(keep + j * L, bv[j]);                                                         \
    }                                                                                                 \
    SNK_UNROLL                                                                                        \
    for (int i = 0; i < mr; i++) {                                                                    \
      const V av = v_set1(*AT(u, i));                                                                 \
      SNK_UNROLL                                                                                      \
      for (int j = 0; j < nv; j++) ADD(acc[i * nv + j], av, bv[j]);                                   \
    }                                                                                                 \
    b += ldb;                                                                                         \
    if (pack) keep += 2 * L;                                                                          \
  } while (0)
#define SUM(to, x, y) to = v_fma(x, y, to)
#define ROWS(by)                                                                                      \
  SNK_UNROLL                                                                                          \
  for (int q = 0; q < (mr + 2) / 3; q++) row[q] += (by)
/* Addresses are made of these registers and a constant, not each of a register of its own. */
#define HIDE(rows)                                                                                    \
  do {                                                                                                \
    SNK_HIDE(b);                                                                                      \
    if (rows > 1) SNK_HIDE(ars);                                                                          \
    SNK_UNROLL                                                                                        \
    for (int q = 0; q < (rows); q++) SNK_HIDE(row[q]);                                                \
  } while (0)
/* Four steps at a time, as far as they go. */
#define LONG_STEPS(AT, rows, on)                                                                      \
  do {                                                                                                \
    w->pace = w->each / 4;                                                                            \
    for (; k >= 4; k -= 4) {                                                                          \
      FETCH                                                                                           \
      STEP(0, v_fma_there, AT);                                                                       \
      HIDE(rows);                                                                                     \
      STEP(1, v_fma_there, AT);                                                                       \
      HIDE(rows);                                                                                     \
      STEP(2, v_fma_there, AT);                                                                       \
      HIDE(rows);                                                                                     \
      STEP(3, v_fma_there, AT);                                                                       \
      on;                                                                                             \
    }                                                                                                 \
    w->pace = w->each;                                                                                \
  } while (0)
  if (FN(STEPS) == 4 && mr >= FN(LONG) && nv == 2 && w->each >= 4) { /* with less time between lines, one step at a time */
    const int64_t group = w->group;
    if (acs == 1) LONG_STEPS(IN_ROW, (mr + 2) / 3, ROWS(group));
    else if (MR == 12 && ars == 1 && acs == mr) {
      LONG_STEPS(PACKED, 1, row[0] += 4 * mr);
      SNK_UNROLL
      for (int q = 1; q < GROUPS; q++) row[q] = row[0] + 3 * q;
    }
  }
  const bool grouped = FN(GROUP) > 1 && nv <= 2 && w->group != FN(STEPS) * acs; /* packed */
  for (int64_t left = FN(GROUP); k > 0; k--) {
    FETCH
    STEP(0, SUM, IN_ROW);
    ROWS(acs);
    if (grouped && --left == 0) {
      left = FN(GROUP);
      ROWS(w->group - left);
    }
  }
#undef FETCH
#undef STEP
#undef SUM
#undef ROWS
#undef HIDE
#undef LONG_STEPS
#undef IN_ROW
#undef PACKED
  if (!w->plain) {
    SNK_UNROLL
    for (int i = 0; i < mr * nv; i++) v_store(w->t + i * L, acc[i]);
    FN(finish)(w, mr, nv);
    return;
  }
#define GET(at) (nv == 3 && j == 2 ? v_take(at, edge) : v_load(at))
  T *to = p;
  if (!w->d->first) {
    SNK_UNROLL
    for (int i = 0; i < mr; i++, to += ldp) {
      SNK_HIDE(to);
      SNK_UNROLL
      for (int j = 0; j < nv; j++) acc[i * nv + j] = GET(to + j * L) + acc[i * nv + j];
    }
    to = p;
  }
  if (w->bias) {
    SNK_UNROLL
    for (int i = 0; i < mr * nv; i++) {
      const int j = i % nv;
      acc[i] = acc[i] + GET(w->bias + j * L);
    }
  }
#undef GET
  if ((nv == 3 || (mr >= FN(RELU_ROWS) && nv == 2)) && w->relu) {
    SNK_UNROLL
    for (int i = 0; i < mr * nv; i++) acc[i] = v_relu(acc[i]);
  }
  if (sizeof(T) == 4 && mr >= FN(ROUND_ROWS) && nv == 2 && w->round) {
    SNK_UNROLL
    for (int i = 0; i < mr * nv; i++) acc[i] = v_round(acc[i]);
  }
  SNK_UNROLL
  for (int i = 0; i < mr; i++, to += ldp) {
    SNK_HIDE(to);
    SNK_UNROLL
    for (int j = 0; j < nv; j++) {
      if (nv == 3 && j == 2) v_keep(to + j * L, acc[i * nv + j], w->edge);
      else v_store(to + j * L, acc[i * nv + j]);
    }
  }
}

#define ARGS FN(sweep) *w, const T *a, const T *b, T *p, const T *next, int64_t step
typedef void FN(kernel)(ARGS);
#define TILE(mr, nv) \
  static void FN(SNK_CAT(tile##mr, nv))(ARGS) { FN(tile)(mr, nv, false, w, a, b, p, next, step); }
#define TILES2(mr) TILE(mr, 2)
#define TILES1(mr) TILE(mr, 1)
SNK_UPTO(MR, TILES2)
#if !SCARCE
SNK_UPTO(MR, TILES1)
#endif
TILE(1, 8)
TILE(2, 4)
TILE(3, 4)
__attribute__((noinline)) static void FN(packing_tile)(ARGS) { FN(tile)(MR, 2, true, w, a, b, p, next, step); }
#if SCARCE
#define NAME1(mr) FN(SNK_CAT(tile##mr, 2)),
#else
#define NAME1(mr) FN(SNK_CAT(tile##mr, 1)),
#endif
#define NAME2(mr) FN(SNK_CAT(tile##mr, 2)),
static FN(kernel) *const FN(kernels)[2][MR + 1] = {{NULL, SNK_UPTO(MR, NAME1)}, {NULL, SNK_UPTO(MR, NAME2)}};
#undef TILE
#undef TILES1
#undef TILES2
#undef ARGS
#undef NAME1
#undef NAME2

/* Where number k of row i of a packed tile lies, the rows as many numbers of K apart as are side by side. */
#define PLACE(k, i, mr) ((k) / FN(GROUP) * FN(GROUP) * (mr) + (i) * FN(GROUP) + (k) % FN(GROUP))

static int64_t FN(whole_groups)(int64_t k) { return (k + FN(GROUP) - 1) / FN(GROUP) * FN(GROUP); }

/* mr rows of A as groups of mr numbers, or of mr times GROUP. */
static void FN(pack_rows)(T *dst, int mr, int64_t kc, const T *a, int64_t ars, int64_t acs) {
  int64_t k = 0;
  if (acs == 1 && FN(GROUP) == 1)
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
  if (w->direct_b && (SCARCE ? nr == NR || nr > NR : nr % L == 0 || nr > NR || nr <= SNK_MASKED * L)) {
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
    FN(set_finish)(&s, low, nr, SCARCE || nr > L ? 2 : 1);
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
      } else FN(kernels)[nr > L][mr](&s, a, b, p, next, step);
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
  s.kc = kc, s.ars = g->ars, s.acs = g->acs, s.group = FN(STEPS) * g->acs, s.bps = g->packed ? NR * kc : NR, s.nr = wide, s.i0 = i0, s.d = d, s.nbeside = 0, s.share = s.each = 1;
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
    FN(set_finish)(&s, m, nr, SCARCE || nr > L ? 2 : 1);
    FN(kernels)[nr > L][m](&s, a, b, p + j, b, 0);
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
  FN(job) w = {g, a, b, batch, pa, pb, false, g->round_a && g->acs == 1, has_b && g->bcs == 1 && !g->round_b && (m <= 108 || brief), g->m * g->k > NEAR, g->k * g->n > NEAR, g->m * g->n > NEAR, m <= MC, 0, 0};
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
