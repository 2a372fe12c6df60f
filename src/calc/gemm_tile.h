/* gemm_tile.h - the register tiles of products for one number type: what one tile computes and how it is finished; included by gemm.isa.c for float and for
 * double, before gemm_block.h, which packs operands and goes through tiles.
 *
 * The includer defines T, V, L (lanes), MR, KCMAX, SCARCE (are there no tiles of one vector? those of two do their work), FN(name), and v_load v_store
 * v_take v_keep v_set1 v_fma v_fma_there (see tile.h) v_zero v_relu v_round.
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
    if (rows > 1) SNK_HIDE(ars);                                                                      \
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
#define TILES1(mr) TILE(mr, 1)
#define TILES2(mr) TILE(mr, 2)
#if !SCARCE
SNK_UPTO(MR, TILES1)
#endif
SNK_UPTO(MR, TILES2)
TILE(1, 8)
TILE(2, 4)
TILE(3, 4)
__attribute__((noinline)) static void FN(packing_tile)(ARGS) { FN(tile)(MR, 2, true, w, a, b, p, next, step); }
#define NAME1(mr) FN(SNK_CAT(tile##mr, 1)),
#define NAME2(mr) FN(SNK_CAT(tile##mr, 2)),
#if SCARCE
static FN(kernel) *const FN(kernels)[2][MR + 1] = {{NULL}, {NULL, SNK_UPTO(MR, NAME2)}};
#else
static FN(kernel) *const FN(kernels)[2][MR + 1] = {{NULL, SNK_UPTO(MR, NAME1)}, {NULL, SNK_UPTO(MR, NAME2)}};
#endif
/* Vectors of a row of the tiles of a panel of nr columns (the last panel with the one before has a tile of its own). */
static int FN(vectors)(int64_t nr) { return SCARCE || nr > L ? 2 : 1; }
#undef TILE
#undef TILES1
#undef TILES2
#undef ARGS
#undef NAME1
#undef NAME2
