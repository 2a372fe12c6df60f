/* softmax_rows.h - body of softmax.isa.c for one number type: T, its vector V with L lanes, mask VM, words W(f), names N(name).
 * NaN is passed over by the largest of a row: the sum makes it spread. */

/* The largest of n numbers, no exponent is above 0 then. */
static T N(largest)(const T *x, int64_t n) {
  const V least = W(splat)((T)-INFINITY);
  V a = least, b = least, c = least, d = least;
  int64_t i = 0;
  for (; i + 4 * L <= n; i += 4 * L) {
    a = W(more)(W(load)(x + i), a);
    b = W(more)(W(load)(x + i + L), b);
    c = W(more)(W(load)(x + i + 2 * L), c);
    d = W(more)(W(load)(x + i + 3 * L), d);
  }
  for (; i < n; i += L) a = W(more)(n - i >= L ? W(load)(x + i) : W(load_fill)(x + i, n - i, (T)-INFINITY), a);
  return W(highest)(W(more)(W(more)(a, b), W(more)(c, d)));
}

static void N(row)(const T *x, T *y, int64_t n, bool log) {
  const int64_t body = n / L * L, rest = n - body;
  const V top = W(splat)(N(largest)(x, n));
  V s = W(splat)(0);
  for (int64_t i = 0; i < body; i += L) {
    const V e = W(exp_below)(W(load)(x + i) - top);
    s += e;
    if (!log) W(store)(y + i, e);
    __builtin_prefetch(x + i + n); /* the next row, on its way while this one is computed */
    __builtin_prefetch(y + i + n, 1);
  }
  if (rest) {
    const V e = W(exp_below)(W(load_part)(x + body, rest) - top);
    s += W(keep)(W(first)(rest), e);
    if (!log) W(store_part)(y + body, e, rest);
  }
  const V sum = W(splat)(W(total)(s));
  if (log) {
    const V less = W(log)(sum);
    for (int64_t i = 0; i < n; i += L) W(set)(y + i, (W(get)(x + i, n - i) - top) - less, n - i);
  } else {
    const V share = 1 / sum;
    for (int64_t i = 0; i < n; i += L) W(set)(y + i, W(get)(y + i, n - i) * share, n - i);
  }
}

/* k columns side by side, each in its own lane. */
static void N(columns)(const T *x, T *y, int64_t n, int64_t step, int64_t k, bool log) {
  V top = W(splat)((T)-INFINITY), s = W(splat)(0);
  for (int64_t i = 0; i < n; i++) top = W(more)(W(get)(x + i * step, k), top);
  for (int64_t i = 0; i < n; i++) {
    const V e = W(exp_below)(W(get)(x + i * step, k) - top);
    s += e;
    if (!log) W(set)(y + i * step, e, k);
  }
  const V logsum = log ? W(log)(s) : s, share = 1 / s;
  for (int64_t i = 0; i < n; i++)
    W(set)(y + i * step, log ? (W(get)(x + i * step, k) - top) - logsum : W(get)(y + i * step, k) * share, k);
}

/* Gradient of a row: y (g - sum g y), or g - exp(y) sum g. */
static void N(row_back)(const T *y, const T *g, T *gx, int64_t n, bool log) {
  V s = W(splat)(0);
  for (int64_t i = 0; i < n; i += L) {
    const int64_t k = n - i;
    const V t = log ? W(get)(g + i, k) : W(get)(g + i, k) * W(get)(y + i, k);
    s += k >= L ? t : W(keep)(W(first)(k), t);
  }
  const V sum = W(splat)(W(total)(s));
  for (int64_t i = 0; i < n; i += L) {
    const int64_t k = n - i;
    const V u = W(get)(y + i, k), v = W(get)(g + i, k);
    W(set)(gx + i, log ? v - W(exp_below)(u) * sum : u * (v - sum), k);
  }
}

static void N(columns_back)(const T *y, const T *g, T *gx, int64_t n, int64_t step, int64_t k, bool log) {
  V s = W(splat)(0);
  for (int64_t i = 0; i < n; i++) s += log ? W(get)(g + i * step, k) : W(get)(g + i * step, k) * W(get)(y + i * step, k);
  for (int64_t i = 0; i < n; i++) {
    const V u = W(get)(y + i * step, k), v = W(get)(g + i * step, k);
    W(set)(gx + i * step, log ? v - W(exp_below)(u) * s : u * (v - s), k);
  }
}

static void N(units)(const snk_softmax_args *a, int64_t begin, int64_t end) {
  SNK_CLEAN
  const T *x = a->x, *g = a->g;
  T *y = a->y;
  const int64_t n = a->n, blocks = a->inner == 1 ? 1 : (a->inner + L - 1) / L;
  for (int64_t u = begin; u < end; u++) {
    const int64_t j = u % blocks * L, at = u / blocks * n * a->inner + j, k = a->inner - j < L ? a->inner - j : L;
    if (a->inner == 1 && !a->backward) N(row)(x + at, y + at, n, a->log);
    else if (a->inner == 1) N(row_back)(x + at, g + at, y + at, n, a->log);
    else if (!a->backward) N(columns)(x + at, y + at, n, a->inner, k, a->log);
    else N(columns_back)(x + at, g + at, y + at, n, a->inner, k, a->log);
  }
}
