/* cross_entropy_rows.h - body of cross_entropy.isa.c for one number type: T, its vector V with L lanes, mask VM, words W(f), names N(name). */

INL V N(clip)(const snk_cross_entropy_args *a, V v) {
  return W(min)(W(max)(v, W(splat)((T)a->epsilon)), W(splat)((T)(1 - a->epsilon)));
}

/* Minus the logarithm of a probability. top and logsum: of the row, for logits. */
INL V N(nlp)(const snk_cross_entropy_args *a, V v, V top, V logsum) {
  return a->kind == SNK_LOGITS ? (top - v) + logsum : a->kind == SNK_LOGP ? -v : -W(log)(N(clip)(a, v));
}

/* The coefficients that are not a label's: all of a distribution, or what smoothing gives every class. */
INL V N(spread)(const snk_cross_entropy_args *a, V prob, V weight) {
  const V even = W(splat)((T)(a->smoothing / (double)a->n));
  return (a->prob ? prob * W(splat)((T)(1 - a->smoothing)) + even : even) * weight;
}

INL T N(label_weight)(const snk_cross_entropy_args *a, int64_t y) {
  return (T)(1 - a->smoothing) * (a->weight ? ((const T *)a->weight)[y] : 1);
}

INL bool N(has_spread)(const snk_cross_entropy_args *a) { return a->prob || a->smoothing > 0; }

/* ---- rows: a vector holds neighbouring classes */

INL V N(spread_at)(const snk_cross_entropy_args *a, int64_t row, int64_t i, int64_t k) {
  const V one = W(splat)(1);
  const V s = N(spread)(a, a->prob ? W(get)((const T *)a->prob + row * a->n + i, k) : one, a->weight ? W(get)((const T *)a->weight + i, k) : one);
  return k >= L ? s : W(keep)(W(first)(k), s);
}

/* The largest of a row, and the sum of exp(x - top), which are left in e where that is given. */
static T N(exponents)(const T *x, int64_t n, T *e, T *sum) {
  const int64_t body = n / L * L, rest = n - body;
  V m = W(splat)((T)-INFINITY), s = W(splat)(0); /* NaN is passed over: the sum makes it spread */
  for (int64_t i = 0; i < body; i += L) m = W(more)(W(load)(x + i), m);
  if (rest) m = W(more)(W(load_fill)(x + body, rest, (T)-INFINITY), m);
  const V top = W(splat)(W(highest)(m));
  for (int64_t i = 0; i < n; i += L) {
    const int64_t k = n - i;
    const V v = W(exp_below)(W(get)(x + i, k) - top);
    s += k >= L ? v : W(keep)(W(first)(k), v);
    if (e) W(set)(e + i, v, k);
  }
  *sum = W(total)(s);
  return top[0];
}

static T N(row_loss)(const snk_cross_entropy_args *a, int64_t row) {
  const T *x = (const T *)a->x + row * a->n;
  const int64_t y = a->label ? a->label[row] : -1;
  if (a->label && y < 0) return 0;
  T most = 0, sum = 1, loss = 0;
  if (a->kind == SNK_LOGITS) most = N(exponents)(x, a->n, NULL, &sum);
  const V top = W(splat)(most), logsum = a->kind == SNK_LOGITS ? W(log)(W(splat)(sum)) : top;
  if (N(has_spread)(a)) {
    V s = W(splat)(0);
    for (int64_t i = 0; i < a->n; i += L) {
      const int64_t k = a->n - i;
      const V c = N(spread_at)(a, row, i, k), v = c * N(nlp)(a, W(get)(x + i, k), top, logsum);
      s += W(where)((VM)(c == W(splat)(0)), c, v); /* what has no weight may be impossible */
    }
    loss = W(total)(s);
  }
  return a->label ? loss + N(label_weight)(a, y) * N(nlp)(a, W(splat)(x[y]), top, logsum)[0] : loss;
}

static void N(row_back)(const snk_cross_entropy_args *a, int64_t row) {
  const T *x = (const T *)a->x + row * a->n, g = ((const T *)a->g)[row * a->gstep] * (T)a->scale;
  T *gx = (T *)a->gx + row * a->n;
  const int64_t y = a->label ? a->label[row] : -1;
  if (a->label && y < 0) {
    memset(gx, 0, (size_t)a->n * sizeof(T));
    return;
  }
  const bool spread = N(has_spread)(a), logits = a->kind == SNK_LOGITS;
  const T own = a->label ? N(label_weight)(a, y) : 0;
  T all = own, sum = 1;
  if (spread && logits) {
    V s = W(splat)(0);
    for (int64_t i = 0; i < a->n; i += L) s += N(spread_at)(a, row, i, a->n - i);
    all += W(total)(s);
  }
  if (logits) N(exponents)(x, a->n, gx, &sum);
  const V share = W(splat)(all), total = W(splat)(sum), gv = W(splat)(g);
  for (int64_t i = 0; i < a->n; i += L) {
    const int64_t k = a->n - i;
    V v = logits ? share * (W(get)(gx + i, k) / total) : W(splat)(0);
    if (spread) v -= N(spread_at)(a, row, i, k);
    if (a->kind == SNK_PROBS) v /= N(clip)(a, W(get)(x + i, k));
    W(set)(gx + i, gv * v, k);
  }
  if (a->label) gx[y] -= g * (a->kind == SNK_PROBS ? own / N(clip)(a, W(splat)(x[y]))[0] : own);
}

/* ---- columns: a vector holds one class of neighbouring rows; k of them count */

INL V N(spread_column)(const snk_cross_entropy_args *a, int64_t at, int64_t c, int64_t k) {
  const V one = W(splat)(1);
  return N(spread)(a, a->prob ? W(get)((const T *)a->prob + at, k) : one, a->weight ? W(splat)(((const T *)a->weight)[c]) : one);
}

static V N(column_exponents)(const T *x, int64_t n, int64_t step, int64_t k, T *e, V *sum) {
  V top = W(splat)((T)-INFINITY), s = W(splat)(0);
  for (int64_t c = 0; c < n; c++) top = W(more)(W(get)(x + c * step, k), top);
  for (int64_t c = 0; c < n; c++) {
    const V v = W(exp_below)(W(get)(x + c * step, k) - top);
    s += v;
    if (e) W(set)(e + c * step, v, k);
  }
  *sum = s;
  return top;
}

static void N(column_loss)(const snk_cross_entropy_args *a, int64_t o, int64_t j, int64_t k) {
  const int64_t at = o * a->n * a->inner + j, row = o * a->inner + j;
  const T *x = (const T *)a->x + at;
  V top = W(splat)(0), sum = W(splat)(1), loss = W(splat)(0);
  if (a->kind == SNK_LOGITS) top = N(column_exponents)(x, a->n, a->inner, k, NULL, &sum);
  const V logsum = a->kind == SNK_LOGITS ? W(log)(sum) : top;
  for (int64_t c = 0; c < a->n && N(has_spread)(a); c++) {
    const V s = N(spread_column)(a, at + c * a->inner, c, k), v = s * N(nlp)(a, W(get)(x + c * a->inner, k), top, logsum);
    loss += W(where)((VM)(s == W(splat)(0)), s, v);
  }
  if (a->label) {
    V v = W(splat)(1), own = W(splat)(0);
    for (int64_t l = 0; l < k; l++) {
      const int64_t y = a->label[row + l];
      if (y >= 0) v[l] = x[y * a->inner + l], own[l] = N(label_weight)(a, y);
    }
    loss += own * N(nlp)(a, v, top, logsum);
    for (int64_t l = 0; l < k; l++)
      if (a->label[row + l] < 0) loss[l] = 0;
  }
  W(set)((T *)a->loss + row, loss, k);
}

static void N(column_back)(const snk_cross_entropy_args *a, int64_t o, int64_t j, int64_t k) {
  const int64_t at = o * a->n * a->inner + j, row = o * a->inner + j;
  const T *x = (const T *)a->x + at;
  T *gx = (T *)a->gx + at;
  const bool spread = N(has_spread)(a), logits = a->kind == SNK_LOGITS;
  V g = W(splat)(0), own = W(splat)(0), sum = W(splat)(1), counts = W(splat)(1);
  for (int64_t l = 0; l < k; l++) {
    g[l] = ((const T *)a->g)[(row + l) * a->gstep] * (T)a->scale;
    if (a->label && a->label[row + l] >= 0) own[l] = N(label_weight)(a, a->label[row + l]);
    if (a->label && a->label[row + l] < 0) counts[l] = 0;
  }
  V all = own;
  for (int64_t c = 0; c < a->n && spread && logits; c++) all += N(spread_column)(a, at + c * a->inner, c, k);
  if (logits) N(column_exponents)(x, a->n, a->inner, k, gx, &sum);
  for (int64_t c = 0; c < a->n; c++) {
    V v = logits ? all * (W(get)(gx + c * a->inner, k) / sum) : W(splat)(0);
    if (spread) v -= N(spread_column)(a, at + c * a->inner, c, k);
    if (a->kind == SNK_PROBS) v /= N(clip)(a, W(get)(x + c * a->inner, k));
    W(set)(gx + c * a->inner, W(where)((VM)(counts == W(splat)(0)), W(splat)(0), g * v), k);
  }
  for (int64_t l = 0; l < k && a->label; l++) {
    const int64_t y = a->label[row + l];
    if (y < 0) continue;
    const T at_y = x[y * a->inner + l];
    gx[y * a->inner + l] -= g[l] * (a->kind == SNK_PROBS ? own[l] / N(clip)(a, W(splat)(at_y))[0] : own[l]);
  }
}

static void N(forward)(const snk_cross_entropy_args *a, int64_t begin, int64_t end) {
  SNK_CLEAN
  const int64_t blocks = a->inner == 1 ? 1 : (a->inner + L - 1) / L;
  for (int64_t u = begin; u < end; u++) {
    const int64_t j = u % blocks * L;
    if (a->inner == 1) ((T *)a->loss)[u] = N(row_loss)(a, u);
    else N(column_loss)(a, u / blocks, j, a->inner - j < L ? a->inner - j : L);
  }
}

static void N(backward)(const snk_cross_entropy_args *a, int64_t begin, int64_t end) {
  SNK_CLEAN
  const int64_t blocks = a->inner == 1 ? 1 : (a->inner + L - 1) / L;
  for (int64_t u = begin; u < end; u++) {
    const int64_t j = u % blocks * L;
    if (a->inner == 1) N(row_back)(a, u);
    else N(column_back)(a, u / blocks, j, a->inner - j < L ? a->inner - j : L);
  }
}
