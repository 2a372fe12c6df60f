/* attention_rows.h - body of attention.isa.c for one number type: T, its vector V with L lanes, words W(f), names N(name).
 * Rows of scores have room for whole vectors: what stands behind the last score is -inf before the exponentials and 0 after them. */

/* Scores of a row before their exponentials: scaled, the mask added, -inf where nothing may be seen. The largest of each lane. */
static V N(masked)(const snk_attention_rows *r, int64_t row, T *s, int64_t seen) {
  const V scale = W(splat)((T)r->scale);
  if (r->mask_kind == SNK_MASK_ADD) {
    const T *m = (const T *)r->mask + row * r->mask_row;
    for (int64_t j = 0; j < seen; j++) s[j] = s[j] * (T)r->scale + m[j * r->mask_column];
  } else if (r->mask_kind == SNK_MASK_BOOL) {
    const unsigned char *m = (const unsigned char *)r->mask + row * r->mask_row;
    for (int64_t j = 0; j < seen; j++) s[j] = m[j * r->mask_column] ? s[j] * (T)r->scale : (T)-INFINITY;
  }
  V most = W(splat)((T)-INFINITY);
  for (int64_t j = 0; j < seen; j += L) {
    const V x = W(load)(s + j), v = W(first_or)(r->mask_kind ? x : x * scale, seen - j, (T)-INFINITY);
    most = W(max)(most, v);
    W(store)(s + j, v);
  }
  return most;
}

static int64_t N(seen)(const snk_attention_rows *r, int64_t row) {
  return r->first < 0 || r->first + row + 1 > r->cols ? r->cols : r->first + row + 1;
}

static void N(clear)(T *s, int64_t seen, int64_t cols) {
  for (int64_t j = (seen + L - 1) / L * L; j < cols; j += L) W(store)(s + j, W(splat)(0));
}

/* As many rows at a time as a vector has lanes, so that what is found once a row is found for all of them together. */
static void N(forward)(const snk_attention_rows *r) {
  SNK_CLEAN
  for (int64_t i = 0; i < r->rows; i += L) {
    const int64_t n = r->rows - i < L ? r->rows - i : L;
    V part[L];
    for (int64_t l = 0; l < n; l++) part[l] = N(masked)(r, i + l, (T *)r->s + (i + l) * r->ld, N(seen)(r, i + l));
    for (int64_t l = n; l < L; l++) part[l] = W(splat)(0);
    const V top = W(tops)(part), shift = W(where)((VM)(top == W(splat)((T)-INFINITY)), W(splat)(0), top); /* a row that sees nothing: all 0 */
    T shifts[L];
    W(store)(shifts, shift);
    for (int64_t l = 0; l < n; l++) {
      T *s = (T *)r->s + (i + l) * r->ld;
      const int64_t seen = N(seen)(r, i + l);
      const V by = W(splat)(shifts[l]);
      V sum = W(splat)(0);
      for (int64_t j = 0; j < seen; j += L) {
        const V e = W(exp_below)(W(load)(s + j) - by);
        W(store)(s + j, e);
        sum += e;
      }
      N(clear)(s, seen, r->cols);
      part[l] = sum;
    }
    const V sum = W(totals)(part);
    W(set)((T *)r->sum + i, sum, n);
    W(set)((T *)r->lse + i, shift + W(log)(sum), n);
  }
}

static void N(divide)(void *yp, const void *sums, int64_t rows, int64_t d, int64_t ld) {
  SNK_CLEAN
  for (int64_t i = 0; i < rows; i++) {
    T *y = (T *)yp + i * ld;
    const T sum = ((const T *)sums)[i];
    const V by = W(splat)(sum == 0 ? 1 : 1 / sum);
    for (int64_t j = 0; j < d; j += L) W(set)(y + j, W(get)(y + j, d - j) * by, d - j);
  }
}

static V N(products)(const T *a, const T *b, int64_t n) {
  V sum = W(splat)(0);
  int64_t j = 0;
  for (; j + L <= n; j += L) sum = W(fma)(W(load)(a + j), W(load)(b + j), sum);
  if (j < n) sum = W(fma)(W(load_fill)(a + j, n - j, 0), W(load_fill)(b + j, n - j, 0), sum);
  return sum;
}

/* ds = p (dp - gy . y) scale */
static void N(backward)(const snk_attention_rows *r) {
  SNK_CLEAN
  const V scale = W(splat)((T)r->scale);
  for (int64_t i = 0; i < r->rows; i += L) {
    const int64_t n = r->rows - i < L ? r->rows - i : L;
    V part[L];
    for (int64_t l = 0; l < n; l++) part[l] = N(products)((const T *)r->gy + (i + l) * r->gy_row, (const T *)r->y + (i + l) * r->y_row, r->d);
    for (int64_t l = n; l < L; l++) part[l] = W(splat)(0);
    T means[L];
    W(store)(means, W(totals)(part));
    for (int64_t l = 0; l < n; l++) {
      T *s = (T *)r->s + (i + l) * r->ld, *dp = (T *)r->dp + (i + l) * r->ld;
      const int64_t seen = N(seen)(r, i + l);
      const T lse = ((const T *)r->lse)[i + l];
      const V by = W(splat)(lse == (T)-INFINITY ? 0 : lse), mean = W(splat)(means[l]);
      N(masked)(r, i + l, s, seen);
      for (int64_t j = 0; j < seen; j += L) {
        const V p = W(exp_below)(W(load)(s + j) - by);
        W(store)(s + j, p);
        W(store)(dp + j, W(first_or)(p * (W(load)(dp + j) - mean) * scale, seen - j, 0));
      }
      N(clear)(s, seen, r->cols);
      N(clear)(dp, seen, r->cols);
    }
  }
}
