/* rnn_rows.h - body of rnn.isa.c for one number type: T, its vector V with L lanes, words W(f), names N(name).
 * What is only loaded to fill a vector is never stored. */

#define ROWS_OF(n) SNK_UNROLL16 for (int l = 0; l < n; l++)
#define ROWS ROWS_OF(L)
#define AT(type, p, step, r) ((p) ? (type *)(p) + (r) * (step) : NULL)
#define ADD(p, v) W(set)((p), s->last ? (v) : W(get)((p), k) + (v), k)
#define GET(p) ((p) ? W(get)((p) + j, k) : W(splat)(0))

#define IN_ROW(r) ((const T *)s->in + (s->number ? s->number[r] : (r)) * s->in_step)

/* What gate l's function is taken of, without the recurrent part, and that part. */
INL V N(sum_of)(const T *in, const T *bias, int64_t at, int64_t k) {
  const V v = W(get)(in + at, k);
  return bias ? v + W(get)(bias + at, k) : v;
}
INL V N(rec_of)(const T *rec, const T *bias, int64_t at, int64_t k) {
  const V v = rec ? W(get)(rec + at, k) : W(splat)(0);
  return bias ? v + W(get)(bias + at, k) : v;
}

static void N(lstm)(const snk_rnn_step *s) {
  SNK_CLEAN
  const int64_t h = s->h;
  for (int64_t r = 0; r < s->rows; r++) {
    const T *in = IN_ROW(r), *rec = AT(const T, s->rec, s->rec_step, r), *cp = AT(const T, s->cprev, s->cprev_step, r);
    T *g = AT(T, s->gates, s->gates_step, r), *c = (T *)s->c + r * s->c_step, *y = (T *)s->y + r * s->y_step;
    for (int64_t j = 0; j < h; j += L) {
      const int64_t k = h - j;
      V a[4];
      ROWS_OF(4) a[l] = N(sum_of)(in, s->bias, l * h + j, k) + N(rec_of)(rec, s->bias_rec, l * h + j, k);
      a[0] = W(gate)(a[0]), a[1] = W(gate)(a[1]), a[2] = W(tanh)(a[2]), a[3] = W(gate)(a[3]);
      V v = a[0] * a[2];
      if (cp) v = W(fma)(a[1], W(get)(cp + j, k), v);
      if (g) ROWS_OF(4) W(set)(g + l * h + j, a[l], k);
      W(set)(c + j, v, k);
      W(set)(y + j, a[3], k);
    }
    for (int64_t j = 0; j < h; j += L) { /* apart: a vector's chain is long, and few of them are under way at once */
      const int64_t k = h - j;
      W(set)(y + j, W(get)(y + j, k) * W(tanh)(W(get)(c + j, k)), k);
    }
  }
}

static void N(lstm_back)(const snk_rnn_step *s) {
  SNK_CLEAN
  const int64_t h = s->h;
  const V one = W(splat)(1);
  for (int64_t r = 0; r < s->rows; r++) {
    const T *g = (const T *)s->gates + r * s->gates_step, *c = (const T *)s->c + r * s->c_step, *cp = AT(const T, s->cprev, s->cprev_step, r);
    const T *gy = AT(const T, s->gy, s->gy_step, r), *gc = AT(const T, s->gc, s->gc_step, r), *rec = AT(const T, s->rec, s->rec_step, r);
    T *dc = (T *)s->dc + r * h, *d = (T *)s->dg + r * s->d_step, *b = (T *)s->db + r * 4 * h;
    for (int64_t j = 0; j < h; j += L) {
      const int64_t k = h - j;
      const V in = W(get)(g + j, k), forget = W(get)(g + h + j, k), cell = W(get)(g + 2 * h + j, k), out = W(get)(g + 3 * h + j, k);
      const V dh = GET(gy) + GET(rec), tc = W(tanh)(W(get)(c + j, k));
      ROWS_OF(4) __builtin_prefetch(g + s->gates_step + l * h + j), __builtin_prefetch(d + s->d_step + l * h + j, 1); /* the next row: a step's gates were written long ago */
      V dcell = dh * out * (one - tc * tc) + GET(gc);
      if (!s->last) dcell += W(get)(dc + j, k);
      const V d0 = dcell * cell * in * (one - in), d1 = dcell * GET(cp) * forget * (one - forget);
      const V d2 = dcell * in * (one - cell * cell), d3 = dh * tc * out * (one - out);
      W(set)(d + j, d0, k);
      W(set)(d + h + j, d1, k);
      W(set)(d + 2 * h + j, d2, k);
      W(set)(d + 3 * h + j, d3, k);
      ADD(b + j, d0);
      ADD(b + h + j, d1);
      ADD(b + 2 * h + j, d2);
      ADD(b + 3 * h + j, d3);
      W(set)(dc + j, dcell * forget, k);
    }
  }
}

static void N(gru)(const snk_rnn_step *s) {
  SNK_CLEAN
  const int64_t h = s->h;
  for (int64_t r = 0; r < s->rows; r++) {
    const T *in = IN_ROW(r), *rec = AT(const T, s->rec, s->rec_step, r), *hp = AT(const T, s->hprev, s->hprev_step, r);
    T *g = AT(T, s->gates, s->gates_step, r), *y = (T *)s->y + r * s->y_step;
    for (int64_t j = 0; j < h; j += L) {
      const int64_t k = h - j;
      const V reset = W(gate)(N(sum_of)(in, s->bias, j, k) + N(rec_of)(rec, s->bias_rec, j, k));
      const V update = W(gate)(N(sum_of)(in, s->bias, h + j, k) + N(rec_of)(rec, s->bias_rec, h + j, k));
      const V q = N(rec_of)(rec, s->bias_rec, 2 * h + j, k);
      const V fresh = W(tanh)(W(fma)(reset, q, N(sum_of)(in, s->bias, 2 * h + j, k)));
      if (g) {
        W(set)(g + j, reset, k);
        W(set)(g + h + j, update, k);
        W(set)(g + 2 * h + j, fresh, k);
        W(set)(g + 3 * h + j, q, k);
      }
      W(set)(y + j, W(fma)(update, GET(hp) - fresh, fresh), k);
    }
  }
}

static void N(gru_back)(const snk_rnn_step *s) {
  SNK_CLEAN
  const int64_t h = s->h;
  const V one = W(splat)(1);
  for (int64_t r = 0; r < s->rows; r++) {
    const T *g = (const T *)s->gates + r * s->gates_step, *hp = AT(const T, s->hprev, s->hprev_step, r);
    const T *gy = AT(const T, s->gy, s->gy_step, r), *rec = AT(const T, s->rec, s->rec_step, r);
    T *dh = (T *)s->dh + r * h, *di = (T *)s->di + r * s->d_step, *dg = (T *)s->dg + r * s->d_step, *b = (T *)s->db + r * 4 * h;
    for (int64_t j = 0; j < h; j += L) {
      const int64_t k = h - j;
      const V reset = W(get)(g + j, k), update = W(get)(g + h + j, k), fresh = W(get)(g + 2 * h + j, k), q = W(get)(g + 3 * h + j, k);
      const V d = GET(gy) + GET(rec);
      const V dn = d * (one - update) * (one - fresh * fresh), dz = d * (GET(hp) - fresh) * update * (one - update);
      const V dr = dn * q * reset * (one - reset);
      W(set)(di + j, dr, k);
      W(set)(di + h + j, dz, k);
      W(set)(di + 2 * h + j, dn, k);
      W(set)(dg + j, dr, k);
      W(set)(dg + h + j, dz, k);
      W(set)(dg + 2 * h + j, dn * reset, k);
      ADD(b + j, dr);
      ADD(b + h + j, dz);
      ADD(b + 2 * h + j, dn);
      ADD(b + 3 * h + j, dn * reset);
      W(set)(dh + j, d * update, k);
    }
  }
}

/* L rows of w at once: each in its own vector of sums, whose lanes are added in the order of W(total). */
static void N(gemv)(void *yp, const void *wp, const void *xp, int64_t begin, int64_t end, int64_t k) {
  SNK_CLEAN
  T *y = yp;
  const T *w = wp, *x = xp;
  const int64_t body = k / L * L, rest = k - body;
  int64_t j = begin;
  for (; j + L <= end; j += L) {
    const T *row = w + j * k;
    V sum[L];
    ROWS sum[l] = W(splat)(0);
    for (int64_t i = 0; i < body; i += L) {
      const V v = W(load)(x + i);
      ROWS sum[l] = W(fma)(W(load)(row + l * k + i), v, sum[l]);
    }
    if (rest) {
      const V v = W(load_fill)(x + body, rest, 0);
      ROWS sum[l] = W(fma)(W(load_fill)(row + l * k + body, rest, 0), v, sum[l]);
    }
    W(store)(y + j, W(totals)(sum));
  }
  for (; j < end; j++) {
    V sum = W(splat)(0);
    for (int64_t i = 0; i < body; i += L) sum = W(fma)(W(load)(w + j * k + i), W(load)(x + i), sum);
    if (rest) sum = W(fma)(W(load_fill)(w + j * k + body, rest, 0), W(load_fill)(x + body, rest, 0), sum);
    y[j] = W(total)(sum);
  }
}

static void N(column_sums)(void *top, const void *mp, int64_t rows, int64_t cols, int64_t begin, int64_t end) {
  SNK_CLEAN
  T *to = top;
  const T *m = mp;
  for (int64_t j = begin; j < end; j += L) {
    const int64_t k = end - j;
    V all = W(splat)(0);
    for (int64_t r = 0; r < rows; r++) all += W(get)(m + r * cols + j, k);
    W(set)(to + j - begin, all, k);
  }
}
#undef AT
#undef ROWS
#undef ROWS_OF
#undef ADD
#undef GET
#undef IN_ROW
