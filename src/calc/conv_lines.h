/* conv_lines.h - convolution of every channel by itself, row by row, for one number type; included by conv_tile.h, whose words it uses. */

/* One row of the weight and few k (depthwise): rows of places without what lies between them, some at a time, so that enough sums are under way at
 * once. Vectors begin where their row does, the last ends with it and does some places once more. Each sum is the same chain as in tile(). */
enum { FN(LINE) = 2, FN(LINES) = 4, FN(LINE_K) = 64 };

/* What follows the sums of some rows; what is added may lie where the result goes, so no place is done twice. */
__attribute__((noinline)) static void FN(more_lines)(const snk_conv_pass *p, int rows, int nv, const V *acc, const int64_t *col, int64_t seen, T *out,
                                                     int64_t ch) {
  FN(cols) w;
  T sums[FN(LINES) * FN(LINE) * L] __attribute__((aligned(64)));
  const uint32_t all = (uint32_t)(((uint64_t)1 << L) - 1);
  for (int j = 0; j < rows * nv; j++) {
    const int64_t done = j % nv == nv - 1 ? seen : 0;
    v_store(sums + j * L, acc[j]);
    w.parts[j] = 1, w.mask[j][0] = all >> done << done, w.at[j][0] = j / nv * p->dstx + col[j % nv] + done;
  }
  FN(finish)(p, 1, rows * nv, sums, &w, out, ch, false);
  for (int j = 0; j < rows * nv; j++) v_put(out + w.at[j][0], v_load(sums + j * L), w.mask[j][0]);
}

SNK_INLINE void FN(line)(const int rows, const int nv, const snk_conv_pass *p, int64_t n, const T *a, const int64_t *koff, const T *b, const int64_t *col,
                         int64_t seen, T *out, int64_t ch) {
  V acc[FN(LINES) * FN(LINE)];
  const int64_t pitch = p->pitch, step = p->dstx;
  SNK_UNROLL
  for (int j = 0; j < rows * nv; j++) acc[j] = v_zero();
  for (int64_t k = 0; k < n; k++) {
    const V av = v_set1(a[k]);
    const T *from = b + koff[k];
    SNK_UNROLL
    for (int i = 0; i < rows; i++, from += pitch) {
      SNK_UNROLL
      for (int j = 0; j < nv; j++) acc[i * nv + j] = v_fma(av, v_load(from + col[j]), acc[i * nv + j]);
    }
  }
  if (p->bias) {
    const V bias = v_set1(((const T *)p->bias)[ch]);
    SNK_UNROLL
    for (int j = 0; j < rows * nv; j++) acc[j] = acc[j] + bias;
  }
  if (p->more) {
    FN(more_lines)(p, rows, nv, acc, col, seen, out, ch);
    return;
  }
  if (p->relu) {
    SNK_UNROLL
    for (int j = 0; j < rows * nv; j++) acc[j] = v_relu(acc[j]);
  }
  SNK_UNROLL
  for (int j = 0; j < rows * nv; j++) v_store(out + j / nv * step + col[j % nv], acc[j]);
}

static bool FN(is_lines)(const snk_conv_pass *p) { return p->m == 1 && p->unit && p->x.n >= L && p->k <= p->kblock && p->k <= FN(LINE_K); }
static void FN(lines)(const snk_conv_pass *p, const T *src, int64_t oy0, int64_t r0, int64_t r1, const T *a, T *dst, int64_t ch) {
  FN(cols) w, end;
  const int64_t n = (p->x.n + L - 1) / L;
  for (int64_t r = r0, rows; r < r1; r += rows) {
    FN(meets)(p, oy0 + r, oy0 + r, &w);
    rows = 1;
    if (FEW_KERNELS && r + FN(LINES) <= r1) { /* together where they meet the same taps */
      FN(meets)(p, oy0 + r + FN(LINES) - 1, oy0 + r + FN(LINES) - 1, &end);
      if (end.k0 == w.k0 && end.k1 == w.k1 && w.k0 < w.k1) rows = FN(LINES); /* else those between may meet some */
    }
    const int64_t *koff = p->koff + w.k0, k = w.k1 - w.k0;
    const T *b = src + r * p->pitch;
    T *out = dst + r * p->dstx;
    for (int64_t q = 0; q < n; q += FN(LINE)) {
      const int64_t nv = n - q < FN(LINE) ? n - q : FN(LINE);
      int64_t col[FN(LINE)], seen = 0;
      for (int64_t j = 0; j < nv; j++) {
        col[j] = (q + j) * L;
        if (col[j] > p->x.n - L) seen = col[j] - (p->x.n - L), col[j] = p->x.n - L;
      }
      switch (rows * 10 + nv) {
#define LINE(rows, nv) case (rows) * 10 + nv: FN(line)(rows, nv, p, k, a + w.k0, koff, b, col, seen, out, ch); break;
        LINE(1, 1) LINE(1, 2)
#if FEW_KERNELS
        LINE(FN(LINES), 1) LINE(FN(LINES), 2)
#endif
#undef LINE
      }
    }
  }
}

#if PLANES
/* A kernel of 3 x 3, its stride 1: PLANE rows by ACROSS vectors of a plane are all in registers, so that each row of the source is loaded once for three rows
 * of the result. It is read where it lies, masks are its borders, and rows that lie outside are left out. Taps of later rows may meet earlier rows (the
 * input's gradient): then the plane is done from its last row to its first. Each sum is the same chain as in tile(). Where a masked store is dear the last
 * vector of a row ends with it and does some places once more, but for those to which something is added. */
enum { FN(PLANE) = 4, FN(ACROSS) = PLANES, FN(SUMS) = FN(PLANE) * FN(ACROSS), FN(MASKS) = 3 };

/* ACROSS vectors of a plane's rows: the kernel, and how the source lies. */
typedef struct FN(strip) {
  const T *a, *bias;     /* the kernel; what is added, or NULL */
  int64_t side, step;    /* from a tap to the next, from a row of the source to the next */
  int64_t high;          /* rows of the source */
  M mask[FN(MASKS)];     /* of each vector of a row that is read: what lies inside the plane */
  bool inside;           /* all do */
} FN(strip);

/* The numbers of a row that each tap meets. Where a masked load is cheap each is loaded once, the first two of a third vector behind them too, and what
 * later taps meet is shifted out of two: few masks then stay in registers. */
SNK_INLINE void FN(plane_row)(const bool masked, const bool back, const T *row, int64_t side, const M *mask, V (*v)[FN(ACROSS)]) {
  if (!ALL_MASKED) {
    SNK_UNROLL
    for (int t = 0; t < 3; t++) v[t][0] = masked ? v_masked(row + t * side, mask[t]) : v_load(row + t * side);
    return;
  }
  V x[FN(ACROSS) + 1];
  SNK_UNROLL
  for (int j = 0; j <= FN(ACROSS); j++) x[j] = v_masked(row + j * L, mask[j]);
  SNK_UNROLL
  for (int j = 0; j < FN(ACROSS); j++) v[back ? 2 : 0][j] = x[j], v[1][j] = V_BESIDE(x[j], x[j + 1], 1), v[back ? 0 : 2][j] = V_BESIDE(x[j], x[j + 1], 2);
}

/* The sums of PLANE rows: from is what the first of them meets through the first tap; bit s of `meets`: row s of the PLANE + 2 that they meet lies in the
 * source. */
SNK_INLINE void FN(plane_sums)(const bool masked, const bool whole, const bool back, const T *from, int64_t side, int64_t step, uint32_t meets, const V *a,
                               const M *mask, V *acc) {
  SNK_UNROLL
  for (int i = 0; i < FN(SUMS); i++) acc[i] = v_zero();
  SNK_HIDE(side); /* else the compiler keeps a pointer for each of the loads, in memory */
  SNK_UNROLL
  for (int s = 0; s < FN(PLANE) + 2; s++, from += step) {
    if (!whole && !(meets >> s & 1)) continue;
    V v[3][FN(ACROSS)];
    if (ALL_MASKED || s == 0) SNK_HIDE(from);
    FN(plane_row)(masked, back, from, side, mask, v);
    SNK_UNROLL
    for (int t = 0; t < 3; t++) {
      SNK_UNROLL
      for (int i = s < 2 ? 0 : s - 2; i <= s && i < FN(PLANE); i++) {
        SNK_UNROLL
        for (int j = 0; j < FN(ACROSS); j++) acc[FN(ACROSS) * i + j] = v_fma(a[(s - i) * 3 + t], v[t][j], acc[FN(ACROSS) * i + j]);
      }
    }
  }
}

/* `blocks` times PLANE rows. */
SNK_INLINE void FN(plane_rows_of)(const bool back, const FN(strip) *p, int64_t blocks, const T *from, int64_t at, T *out, int64_t pitch, const uint32_t *keep) {
  const int64_t side = p->side, step = p->step, high = p->high;
  const bool inside = p->inside, biased = p->bias;
  const V bias = biased ? v_set1(*p->bias) : v_zero();
  V a[9];
  M mask[FN(MASKS)];
  uint32_t chosen[FN(ACROSS)];
  SNK_UNROLL
  for (int k = 0; k < 9; k++) a[k] = v_set1(p->a[k]);
  SNK_UNROLL
  for (int j = 0; j < FN(MASKS); j++) mask[j] = p->mask[j];
  SNK_UNROLL
  for (int j = 0; j < FN(ACROSS); j++) chosen[j] = keep[j];
  for (; blocks > 0; blocks--, from += FN(PLANE) * step, at += FN(PLANE)) {
    const uint32_t meets = snk_inside(at, high, FN(PLANE) + 2);
    V acc[FN(SUMS)];
    if (!ALL_MASKED && meets == (1u << (FN(PLANE) + 2)) - 1) {
      if (inside) FN(plane_sums)(false, true, back, from, side, step, meets, a, mask, acc);
      else FN(plane_sums)(true, true, back, from, side, step, meets, a, mask, acc);
    } else FN(plane_sums)(true, false, back, from, side, step, meets, a, mask, acc);
    if (biased) {
      SNK_UNROLL
      for (int i = 0; i < FN(SUMS); i++) acc[i] = acc[i] + bias;
    }
    SNK_UNROLL
    for (int i = 0; i < FN(PLANE); i++, out += pitch) {
      SNK_HIDE(out);
      SNK_UNROLL
      for (int j = 0; j < FN(ACROSS); j++) v_chosen(out + j * L, acc[i * FN(ACROSS) + j], chosen[j]);
    }
  }
}

/* `blocks` times PLANE rows, the first of which meets row `at` of the source, counted in the direction of the result's. */
static void FN(plane_rows)(const FN(strip) *p, int64_t blocks, const T *from, int64_t at, T *out, int64_t pitch, const uint32_t *keep) {
  if (ALL_MASKED && p->side < 0) FN(plane_rows_of)(true, p, blocks, from - 2, at, out, pitch, keep);
  else FN(plane_rows_of)(false, p, blocks, from, at, out, pitch, keep);
}

static void FN(plane)(const snk_conv_pass *p, const void *src, const void *a, void *dst, int64_t ch) {
  const int64_t top = snk_conv_from(&p->y, 0), d = p->y.back ? -1 : 1, first = d > 0 ? top : top + p->y.n - 1, left = snk_conv_from(&p->x, 0);
  const int64_t rows = p->y.n, high = p->y.src, wide = p->x.src, n = p->x.n, step = d * p->dstx;
  const bool plain = !p->more && !p->relu;
  FN(strip) s = {a, p->bias ? (const T *)p->bias + ch : NULL, .side = p->x.back ? -1 : 1, .step = d * wide, .high = high};
  uint32_t all[FN(ACROSS)], keep[FN(ACROSS)];
  for (int64_t place = 0; place < n; place += FN(ACROSS) * L) {
    const int64_t col = !ALL_MASKED && n >= L && place > n - L ? n - L : place, low = s.side > 0 ? 0 : -2;
    s.inside = !ALL_MASKED && left + col + low >= 0 && left + col + low + 2 + FN(ACROSS) * L <= wide;
    for (int j = 0; j < FN(ACROSS); j++) {
      all[j] = (uint32_t)(((uint64_t)1 << L) - 1);
      keep[j] = snk_inside(col + j * L, n, L);
    }
    for (int j = 0; j < FN(MASKS); j++) {
      const int64_t at = left + col + (ALL_MASKED ? low + j * L : j * s.side);
      s.mask[j] = v_mask(snk_inside(at, wide, ALL_MASKED && j == FN(ACROSS) ? 2 : L));
    }
    if (p->add) keep[0] = keep[0] >> (place - col) << (place - col);
    for (int64_t b = 0, blocks; b < rows; b += blocks * FN(PLANE)) {
      const int64_t row = first + b * d, at = d > 0 ? row : high - 1 - row;
      const T *from = (const T *)src + row * wide + left + col;
      T *out = (T *)dst + (d > 0 ? b : rows - 1 - b) * p->dstx + col, sums[FN(SUMS) * L] __attribute__((aligned(64)));
      const bool put = plain && rows - b >= FN(PLANE);
      blocks = put ? (rows - b) / FN(PLANE) : 1;
      FN(plane_rows)(&s, blocks, from, at, put ? out : sums, put ? step : FN(ACROSS) * L, put ? keep : all);
      if (put) continue;
      for (int64_t i = 0; i < FN(SUMS) && i < (rows - b) * FN(ACROSS); i++) {
        T *to = out + i / FN(ACROSS) * step + i % FN(ACROSS) * L;
        V way;
        if (p->add) way = v_take((const T *)p->add + (to - (const T *)p->dst), keep[i % FN(ACROSS)]);
        v_chosen(to, FN(after)(p, v_load(sums + i * L), ch, p->add ? &way : NULL), keep[i % FN(ACROSS)]);
      }
    }
  }
}
#endif
