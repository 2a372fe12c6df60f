/* conv_lines.h - convolution of every channel by itself, row by row, for one number type; included by conv_tile.h, whose words it uses. */

/* One row of the weight and few k (depthwise): rows of places one by one, without what lies between them. Vectors begin where their row does, the
 * last ends with it and does some places once more. Each sum is the same chain as in tile(). */
enum { FN(LINE) = 4, FN(LINE_K) = 64 };
SNK_INLINE void FN(line)(const int nv, const snk_conv_pass *p, int64_t n, const T *a, const int64_t *koff, const T *b, const int64_t *col, int64_t seen,
                         T *out, int64_t ch) {
  V acc[FN(LINE)];
  SNK_UNROLL
  for (int j = 0; j < nv; j++) acc[j] = v_zero();
  for (int64_t k = 0; k < n; k++) {
    const V av = v_set1(a[k]);
    SNK_UNROLL
    for (int j = 0; j < nv; j++) acc[j] = v_fma(av, v_load(b + koff[k] + col[j]), acc[j]);
  }
  const V bias = p->bias ? v_set1(((const T *)p->bias)[ch]) : v_zero();
  SNK_UNROLL
  for (int j = 0; j < nv; j++) {
    if (p->bias) acc[j] = acc[j] + bias;
    if (p->relu && !p->more) acc[j] = v_relu(acc[j]);
    if (!p->more) v_store(out + col[j], acc[j]);
  }
  if (!p->more) return;
  FN(cols) w; /* what is added may lie where the result goes: no place twice */
  T sums[FN(LINE) * L] __attribute__((aligned(64)));
  const uint32_t all = (uint32_t)(((uint64_t)1 << L) - 1);
  for (int j = 0; j < nv; j++) {
    const int64_t done = j == nv - 1 ? seen : 0;
    v_store(sums + j * L, acc[j]);
    w.parts[j] = 1, w.mask[j][0] = all >> done << done, w.at[j][0] = col[j] + done;
  }
  FN(finish)(p, 1, nv, sums, &w, out, ch, false);
  for (int j = 0; j < nv; j++) v_put(out + w.at[j][0], v_load(sums + j * L), w.mask[j][0]);
}

static bool FN(is_lines)(const snk_conv_pass *p) { return p->m == 1 && p->unit && p->x.n >= L && p->k <= p->kblock && p->k <= FN(LINE_K); }
static void FN(lines)(const snk_conv_pass *p, const T *src, int64_t oy0, int64_t r0, int64_t r1, const T *a, T *dst, int64_t ch) {
  FN(cols) w;
  const int64_t n = (p->x.n + L - 1) / L;
  for (int64_t r = r0; r < r1; r++) {
    FN(meets)(p, oy0 + r, oy0 + r, &w);
    for (int64_t q = 0; q < n; q += FN(LINE)) {
      const int64_t nv = n - q < FN(LINE) ? n - q : FN(LINE), *koff = p->koff + w.k0, k = w.k1 - w.k0;
      int64_t col[FN(LINE)], seen = 0;
      for (int64_t j = 0; j < nv; j++) {
        col[j] = (q + j) * L;
        if (col[j] > p->x.n - L) seen = col[j] - (p->x.n - L), col[j] = p->x.n - L;
      }
      const T *b = src + r * p->pitch;
      T *out = dst + r * p->dstx;
      switch (nv) {
#define LINE(nv) case nv: FN(line)(nv, p, k, a + w.k0, koff, b, col, seen, out, ch); break;
        LINE(1) LINE(2) LINE(3) LINE(4)
#undef LINE
      }
    }
  }
}
