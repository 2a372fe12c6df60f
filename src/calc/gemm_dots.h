/* gemm_dots.h - one row or one column of C as dot products, for one number type; included behind gemm_tile.h, with what its includer defines. */

/* out[r] = w_r . x for rows of w side by side: lane l of 2 L sums numbers l, l + 2 L, ...; the lanes are folded by halves. */
SNK_INLINE void FN(dot_rows)(const int rows, int64_t k, const T *w, int64_t ld, const T *x, T *out) {
  V acc[8];
  SNK_UNROLL
  for (int i = 0; i < 2 * rows; i++) acc[i] = v_zero();
  int64_t q = 0;
  for (; q + 2 * L <= k; q += 2 * L) {
    V x0 = v_load(x + q), x1 = v_load(x + q + L);
    SNK_UNROLL
    for (int i = 0; i < rows; i++) {
      acc[2 * i] = v_fma(v_load(w + i * ld + q), x0, acc[2 * i]);
      acc[2 * i + 1] = v_fma(v_load(w + i * ld + q + L), x1, acc[2 * i + 1]);
    }
  }
  if (q < k) {
    const int64_t n = k - q < L ? k - q : L;
    const VM first = v_lanes(n), second = v_lanes(k - q - n);
    const V x0 = v_take(x + q, first), x1 = v_take(x + q + L, second);
    SNK_UNROLL
    for (int i = 0; i < rows; i++) {
      acc[2 * i] = v_fma(v_take(w + i * ld + q, first), x0, acc[2 * i]);
      acc[2 * i + 1] = v_fma(v_take(w + i * ld + q + L, second), x1, acc[2 * i + 1]);
    }
  }
  SNK_UNROLL
  for (int i = 0; i < rows; i++) out[i] = v_total(acc[2 * i] + acc[2 * i + 1]);
}

/* The same sums where the rows of w (at most 64) do not lie along K: lane after lane, four vectors of rows at a time. Lanes that the last
 * round of K does not reach had 0 * 0 added above, which makes 0 of -0. */
static void FN(dot_columns)(int64_t k, int64_t rows, const T *w, int64_t rs, int64_t ks, const T *x, int64_t xs, T *out) {
  enum { D = 64, N = 2 * L };
  T acc[N * D] __attribute__((aligned(64)));
  const int64_t rest = k % N ? k % N : N;
  int64_t j = 0;
  for (; rs == 1 && j + 4 * L <= rows; j += 4 * L)
    for (int64_t l = 0; l < N; l++) {
      V a0 = v_zero(), a1 = a0, a2 = a0, a3 = a0;
      for (int64_t q = l; q < k; q += N) {
        const T *p = w + q * ks + j;
        const V xq = v_set1(x[q * xs]);
        a0 = v_fma(v_load(p), xq, a0);
        a1 = v_fma(v_load(p + L), xq, a1);
        a2 = v_fma(v_load(p + 2 * L), xq, a2);
        a3 = v_fma(v_load(p + 3 * L), xq, a3);
      }
      T *to = acc + l * D + j;
      const V zero = v_zero();
      if (l >= rest) a0 = a0 + zero, a1 = a1 + zero, a2 = a2 + zero, a3 = a3 + zero;
      v_store(to, a0), v_store(to + L, a1), v_store(to + 2 * L, a2), v_store(to + 3 * L, a3);
    }
  for (; j < rows; j++)
    for (int64_t l = 0; l < N; l++) {
      T a = 0;
      for (int64_t q = l; q < k; q += N) a = v_fma1(w[j * rs + q * ks], x[q * xs], a);
      acc[l * D + j] = l >= rest ? a + 0 : a;
    }
  for (int64_t h = L; h > 0; h /= 2)
    for (int64_t l = 0; l < h; l++)
      for (j = 0; j + L <= rows; j += L) v_store(acc + l * D + j, v_load(acc + l * D + j) + v_load(acc + (l + h) * D + j));
  for (j = rows / L * L; j < rows; j++)
    for (int64_t h = L; h > 0; h /= 2)
      for (int64_t l = 0; l < h; l++) acc[l * D + j] += acc[(l + h) * D + j];
  memcpy(out, acc, (size_t)rows * sizeof(T));
}

static void FN(dots)(int64_t k, int64_t rows, const void *wp, int64_t ld, int64_t ks, const void *x, int64_t xs, void *outp) {
  if (ks != 1 || xs != 1) {
    FN(dot_columns)(k, rows, wp, ld, ks, x, xs, outp);
    return;
  }
  const T *w = wp;
  T *out = outp;
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) FN(dot_rows)(4, k, w + r * ld, ld, x, out + r);
  for (; r < rows; r++) FN(dot_rows)(1, k, w + r * ld, ld, x, out + r);
}
