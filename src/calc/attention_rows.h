/* attention_rows.h - body of attention.isa.c for one number type: T, its vector V with L lanes, words W(f), names N(name). */

/* Scores of a row before their exponentials: scaled, the mask added, -inf where nothing may be seen. */
static void N(masked)(const snk_attention_rows *r, int64_t row, T *s, int64_t seen) {
  const V scale = W(splat)((T)r->scale);
  for (int64_t j = 0; j < seen; j += L) W(set)(s + j, W(get)(s + j, seen - j) * scale, seen - j);
  if (r->mask_kind == SNK_MASK_ADD) {
    const T *m = (const T *)r->mask + row * r->mask_row;
    for (int64_t j = 0; j < seen; j++) s[j] += m[j * r->mask_column];
  } else if (r->mask_kind == SNK_MASK_BOOL) {
    const unsigned char *m = (const unsigned char *)r->mask + row * r->mask_row;
    for (int64_t j = 0; j < seen; j++) s[j] = m[j * r->mask_column] ? s[j] : (T)-INFINITY;
  }
  for (int64_t j = seen; j < r->cols; j++) s[j] = (T)-INFINITY;
}

static int64_t N(seen)(const snk_attention_rows *r, int64_t row) {
  return r->first < 0 || r->first + row + 1 > r->cols ? r->cols : r->first + row + 1;
}

static void N(forward)(const snk_attention_rows *r) {
  for (int64_t i = 0; i < r->rows; i++) {
    T *s = (T *)r->s + i * r->ld;
    const int64_t n = N(seen)(r, i), body = n / L * L, rest = n - body;
    N(masked)(r, i, s, n);
    V m = W(splat)((T)-INFINITY);
    for (int64_t j = 0; j < body; j += L) m = W(max)(m, W(load)(s + j));
    if (rest) m = W(max)(m, W(load_fill)(s + body, rest, (T)-INFINITY));
    const T top = W(top)(m), shift = top == (T)-INFINITY ? 0 : top; /* a row that sees nothing: all exponentials 0 */
    const V sub = W(splat)(shift);
    V sum = W(splat)(0);
    for (int64_t j = 0; j < body; j += L) {
      const V e = W(exp)(W(load)(s + j) - sub);
      W(store)(s + j, e);
      sum += e;
    }
    if (rest) {
      const V e = W(keep)(W(first)(rest), W(exp)(W(load_fill)(s + body, rest, (T)-INFINITY) - sub));
      W(store_part)(s + body, e, rest);
      sum += e;
    }
    for (int64_t j = n; j < r->cols; j++) s[j] = 0;
    const T all = W(total)(sum);
    ((T *)r->sum)[i] = all;
    ((T *)r->lse)[i] = shift + W(log)(W(splat)(all))[0];
  }
}

static void N(divide)(void *yp, const void *sums, int64_t rows, int64_t d, int64_t ld) {
  for (int64_t i = 0; i < rows; i++) {
    T *y = (T *)yp + i * ld;
    const T sum = ((const T *)sums)[i];
    const V by = W(splat)(sum == 0 ? 1 : 1 / sum);
    for (int64_t j = 0; j < d; j += L) W(set)(y + j, W(get)(y + j, d - j) * by, d - j);
  }
}

static T N(dot)(const T *a, const T *b, int64_t n) {
  V sum = W(splat)(0);
  int64_t j = 0;
  for (; j + L <= n; j += L) sum = W(fma)(W(load)(a + j), W(load)(b + j), sum);
  if (j < n) sum = W(fma)(W(load_fill)(a + j, n - j, 0), W(load_fill)(b + j, n - j, 0), sum);
  return W(total)(sum);
}

/* ds = p (dp - gy . y) scale */
static void N(backward)(const snk_attention_rows *r) {
  for (int64_t i = 0; i < r->rows; i++) {
    T *s = (T *)r->s + i * r->ld, *dp = (T *)r->dp + i * r->ld;
    const int64_t n = N(seen)(r, i);
    const T l = ((const T *)r->lse)[i], shift = l == (T)-INFINITY ? 0 : l;
    const V sub = W(splat)(shift), scale = W(splat)((T)r->scale);
    const V mean = W(splat)(N(dot)((const T *)r->gy + i * r->gy_row, (const T *)r->y + i * r->y_row, r->d));
    N(masked)(r, i, s, n);
    for (int64_t j = 0; j < n; j += L) {
      const int64_t k = n - j;
      const V p = W(exp)(W(get)(s + j, k) - sub);
      W(set)(s + j, p, k);
      W(set)(dp + j, p * (W(get)(dp + j, k) - mean) * scale, k);
    }
    for (int64_t j = n; j < r->cols; j++) s[j] = dp[j] = 0;
  }
}
