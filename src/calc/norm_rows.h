/* norm_rows.h - rows: the second half of norm.isa.c for one number type, after norm_batch.h. */

/* ---- along memory */

/* The lanes of sums over numbers at..end-1 of a row: of x, of (x - mean)^2, and of g and g (x - mean); with w, of g w instead of g. Several
 * at once, because an addition takes longer than a vector's loading. */
INL V N(sum_lanes)(const S *x, int64_t at, int64_t end) {
  V s[4] = {W(splat)(0), W(splat)(0), W(splat)(0), W(splat)(0)};
  int64_t i = at;
  for (; i + 4 * L <= end; i += 4 * L)
    SNK_ALL for (int k = 0; k < 4; k++) s[k] += W(load)(x + i + k * L);
  for (; i < end; i += L) s[0] += N(part)(W(get)(x + i, end - i), end - i);
  return (s[0] + s[1]) + (s[2] + s[3]);
}
INL V N(deviation_lanes)(const S *x, int64_t at, int64_t end, S mean) {
  const V m = W(splat)(mean);
  V s[4] = {W(splat)(0), W(splat)(0), W(splat)(0), W(splat)(0)};
  int64_t i = at;
  for (; i + 4 * L <= end; i += 4 * L)
    SNK_ALL for (int k = 0; k < 4; k++) {
      const V d = W(load)(x + i + k * L) - m;
      s[k] += d * d;
    }
  for (; i < end; i += L) {
    const V d = N(part)(W(get)(x + i, end - i) - m, end - i);
    s[0] += d * d;
  }
  return (s[0] + s[1]) + (s[2] + s[3]);
}
INL V N(product_lanes)(const S *g, const S *w, const S *x, int64_t at, int64_t end, S mean, V *gx) {
  const V m = W(splat)(mean);
  V s[2] = {W(splat)(0), W(splat)(0)}, t[2] = {s[0], s[0]};
  int64_t i = at;
  for (; i + 2 * L <= end; i += 2 * L)
    SNK_ALL for (int k = 0; k < 2; k++) {
      V v = W(load)(g + i + k * L);
      if (w) v *= W(load)(w + i + k * L);
      s[k] += v;
      t[k] += v * (W(load)(x + i + k * L) - m);
    }
  for (; i < end; i += L) {
    V v = W(get)(g + i, end - i);
    if (w) v *= W(get)(w + i, end - i);
    v = N(part)(v, end - i);
    s[0] += v;
    t[0] += N(part)(v * (W(get)(x + i, end - i) - m), end - i);
  }
  *gx = t[0] + t[1];
  return s[0] + s[1];
}

/* ---- rows */

/* Short rows as many at a time as a vector has lanes: what is found once a row is found for all of them together, and none waits for it. */
static int64_t N(together)(const snk_norm_args *a) { return a->channels <= 256 ? L : 1; }

static void N(add_totals)(V *lanes, int64_t n, double *all) {
  S t[L];
  if (n == 1) {
    all[0] += (double)W(total)(lanes[0]);
    return;
  }
  for (int64_t l = n; l < L; l++) lanes[l] = W(splat)(0);
  W(store)(t, W(totals)(lanes));
  for (int64_t l = 0; l < n; l++) all[l] += (double)t[l];
}

/* LINED: begins with a line of the cache, so that its loops lie as well whatever comes before it (layer_norm 0.92 to 1.08 of the time without; Zen 4). */
#define LINED __attribute__((aligned(64)))
LINED static void N(row_stats)(const snk_norm_args *a, const S *x, int64_t rows, S *mean, S *rstd) {
  const int64_t n = a->channels;
  double sum[L] = {0}, dev[L] = {0};
  V lanes[L];
  for (int64_t at = 0; at < n && a->centered; at += CHUNK) {
    for (int64_t l = 0; l < rows; l++) lanes[l] = N(sum_lanes)(x + l * n, at, n - at < CHUNK ? n : at + CHUNK);
    N(add_totals)(lanes, rows, sum);
  }
  for (int64_t l = 0; l < rows; l++) mean[l] = a->centered ? (S)(sum[l] / (double)n) : 0;
  for (int64_t at = 0; at < n; at += CHUNK) {
    for (int64_t l = 0; l < rows; l++) lanes[l] = N(deviation_lanes)(x + l * n, at, n - at < CHUNK ? n : at + CHUNK, mean[l]);
    N(add_totals)(lanes, rows, dev);
  }
  for (int64_t l = 0; l < rows; l++) rstd[l] = N(rstd)(dev[l] / (double)n, a->epsilon);
}

LINED static void N(row)(const snk_norm_args *a, int64_t begin, int64_t end) {
  SNK_CLEAN
  const int64_t n = a->channels, most = N(together)(a);
  for (int64_t u = begin; u < end; u += most) {
    const int64_t rows = end - u < most ? end - u : most;
    S mean[L], rstd[L];
    N(row_stats)(a, (const S *)a->x + u * n, rows, mean, rstd);
    for (int64_t l = 0; l < rows; l++) {
      const S *x = (const S *)a->x + (u + l) * n;
      S *y = (S *)a->y + (u + l) * n;
      const V m = W(splat)(mean[l]), r = W(splat)(rstd[l]);
      for (int64_t c = 0; c < n; c += L)
        W(set)(y + c, N(rounded)((W(get)(x + c, n - c) - m) * r * N(weight)(a, c, n - c) + N(bias)(a, c, n - c), a->round), n - c);
    }
  }
}

static void N(row_gradients)(const snk_norm_args *a, int64_t begin, int64_t end) {
  const int64_t n = a->channels, most = N(together)(a);
  for (int64_t u = begin; u < end; u += most) {
    const int64_t rows = end - u < most ? end - u : most;
    const S *x = (const S *)a->x + u * n, *g = (const S *)a->g + u * n;
    S *y = (S *)a->y + u * n, *mean = (S *)a->mean + u, *rstd = (S *)a->rstd + u;
    double sg[L] = {0}, sgx[L] = {0};
    V s[L], t[L];
    N(row_stats)(a, x, rows, mean, rstd);
    for (int64_t at = 0; at < n; at += CHUNK) {
      for (int64_t l = 0; l < rows; l++)
        s[l] = N(product_lanes)(g + l * n, a->weight, x + l * n, at, n - at < CHUNK ? n : at + CHUNK, mean[l], &t[l]);
      N(add_totals)(s, rows, sg);
      N(add_totals)(t, rows, sgx);
    }
    for (int64_t l = 0; l < rows; l++) {
      const S *xl = x + l * n, *gl = g + l * n;
      const V m = W(splat)(mean[l]), r = W(splat)(rstd[l]), k1 = W(splat)(a->centered ? (S)(sg[l] / (double)n) : 0);
      const V k2 = W(splat)((S)(sgx[l] / (double)n * (double)rstd[l] * (double)rstd[l]));
      for (int64_t c = 0; c < n; c += L) {
        V v = W(get)(gl + c, n - c) * N(weight)(a, c, n - c);
        v = r * (v - k1 - (W(get)(xl + c, n - c) - m) * k2);
        W(set)(y + l * n + c, a->add ? v + W(get)((const S *)a->add + (u + l) * n + c, n - c) : v, n - c);
      }
    }
  }
}

/* Sums over rows begin..end-1 of g and of g (x - mean) rstd, for `wide` vectors of columns from c, to sg and what lies `channels` further on. */
INL void N(row_sums)(const snk_norm_args *a, int64_t begin, int64_t end, int64_t c, int64_t k, int wide, S *sg) {
  V s[WIDE], t[WIDE];
  SNK_ALL for (int j = 0; j < WIDE; j++) s[j] = t[j] = W(splat)(0);
  for (int64_t r = begin; r < end; r++) {
    const V m = W(splat)(((const S *)a->mean)[r]), q = W(splat)(((const S *)a->rstd)[r]);
    SNK_ALL for (int j = 0; j < WIDE; j++) {
      if (j >= wide) continue; /* a break would keep clang from unrolling */
      const int64_t place = r * a->channels + c + j * L;
      const V g = W(get)((const S *)a->g + place, k - j * L);
      s[j] += g;
      t[j] += g * ((W(get)((const S *)a->x + place, k - j * L) - m) * q);
    }
  }
  SNK_ALL for (int j = 0; j < WIDE; j++) {
    if (j >= wide) continue;
    W(set)(sg + c + j * L, s[j], k - j * L);
    W(set)(sg + a->channels + c + j * L, t[j], k - j * L);
  }
}

/* Runs of rows, and what they add to the gradients of weight and bias while they are near. */
static void N(row_back)(const snk_norm_args *a, int64_t begin, int64_t end) {
  SNK_CLEAN
  for (int64_t u = begin; u < end; u++) {
    const int64_t at = u * SNK_NORM_RUN, to = at + SNK_NORM_RUN < a->n ? at + SNK_NORM_RUN : a->n;
    N(row_gradients)(a, at, to);
    for (int64_t c = 0; c < a->channels; c += WIDE * L) {
      const int64_t k = a->channels - c < WIDE * L ? a->channels - c : WIDE * L;
      S *sg = (S *)a->part + 2 * u * a->channels;
      if (k == WIDE * L) N(row_sums)(a, at, to, c, k, WIDE, sg);
      else N(row_sums)(a, at, to, c, k, (int)((k + L - 1) / L), sg);
    }
  }
}

/* Columns begin..end-1 of what the runs add. */
static void N(row_fold)(const snk_norm_args *a, int64_t begin, int64_t end) {
  SNK_CLEAN
  enum { SOME = 64 };
  const int64_t step = 2 * a->channels, runs = snk_norm_runs(a->n);
  for (int64_t c = begin; c < end; c += SOME) {
    const int64_t k = end - c < SOME ? end - c : SOME;
    double sg[SOME] = {0}, sgx[SOME] = {0};
    const S *p = (const S *)a->part + c;
    for (int64_t u = 0; u < runs; u++, p += step)
      for (int64_t l = 0; l < k; l++) sg[l] += (double)p[l], sgx[l] += (double)p[a->channels + l];
    for (int64_t l = 0; l < k; l++) ((S *)a->gb)[c + l] = (S)sg[l], ((S *)a->gw)[c + l] = (S)sgx[l];
  }
}
#undef LINED
