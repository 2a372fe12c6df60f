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

/* square: n is 9 and the taps are 3 x 3 side by side, so what is loaded for one row serves those before it too. */
SNK_INLINE void FN(line)(const int rows, const int nv, const bool square, const snk_conv_pass *p, int64_t n, const T *a, const int64_t *koff, const T *b,
                         const int64_t *col, int64_t seen, T *out, int64_t ch) {
  V acc[FN(LINES) * FN(LINE)];
  const int64_t pitch = p->pitch, step = p->dstx;
  SNK_UNROLL
  for (int j = 0; j < rows * nv; j++) acc[j] = v_zero();
  if (square) {
    V av[9];
    SNK_UNROLL
    for (int k = 0; k < 9; k++) av[k] = v_set1(a[k]);
    b += koff[0];
    SNK_UNROLL
    for (int y = 0; y < rows + 2; y++, b += pitch) {
      SNK_UNROLL
      for (int x = 0; x < 3; x++) {
        SNK_UNROLL
        for (int j = 0; j < nv; j++) {
          const V v = v_load(b + x + col[j]);
          SNK_UNROLL
          for (int i = 0; i < rows; i++)
            if (y >= i && y < i + 3) acc[i * nv + j] = v_fma(av[(y - i) * 3 + x], v, acc[i * nv + j]);
        }
      }
    }
  } else
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
  bool square = FEW_KERNELS && MR == 12 && p->k == 9; /* it wants 32 registers */
  for (int64_t k = 0; square && k < 9; k++) square = p->koff[k] == p->koff[0] + k / 3 * p->pitch + k % 3;
  for (int64_t r = r0, rows; r < r1; r += rows) {
    FN(meets)(p, oy0 + r, oy0 + r, &w);
    rows = 1;
    if (FEW_KERNELS && r + FN(LINES) <= r1) { /* together where they meet the same taps */
      FN(meets)(p, oy0 + r + FN(LINES) - 1, oy0 + r + FN(LINES) - 1, &end);
      if (end.k0 == w.k0 && end.k1 == w.k1) rows = FN(LINES);
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
      switch (rows * 10 + nv + (square && rows > 1 && k == 9 ? 100 : 0)) {
#define LINE(key, rows, nv, square) case key: FN(line)(rows, nv, square, p, k, a + w.k0, koff, b, col, seen, out, ch); break;
        LINE(11, 1, 1, false) LINE(12, 1, 2, false)
#if FEW_KERNELS
        LINE(41, 4, 1, false) LINE(42, 4, 2, false)
#if MR == 12
        LINE(141, 4, 1, true) LINE(142, 4, 2, true)
#endif
#endif
#undef LINE
      }
    }
  }
}
