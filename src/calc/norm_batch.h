/* norm_batch.h - channels over a batch: the first half of norm.isa.c for one number type: S, its vector V with L lanes, words W(f), names N(name). */

INL V N(rounded)(V v, bool round) { return round ? W(nearest_bf16)(v) : v; }

INL V N(part)(V v, int64_t k) { return k >= L ? v : W(keep)(W(first)(k), v); } /* k lanes, 0 behind them */
INL V N(weight)(const snk_norm_args *a, int64_t c, int64_t k) { return a->weight ? W(get)((const S *)a->weight + c, k) : W(splat)(1); }
INL V N(bias)(const snk_norm_args *a, int64_t c, int64_t k) { return a->bias ? W(get)((const S *)a->bias + c, k) : W(splat)(0); }
INL S N(rstd)(double var, double epsilon) { return (S)(1 / sqrt(var + epsilon)); }

static void N(roots)(const snk_norm_args *a) {
  SNK_CLEAN
  enum { SOME = 64 };
  const vd epsilon = vd_splat(a->epsilon), one = vd_splat(1);
  double t[SOME];
  for (int64_t at = 0; at < a->channels; at += SOME) {
    const int64_t n = a->channels - at < SOME ? a->channels - at : SOME;
    for (int64_t i = 0; i < n; i++) t[i] = (double)((const S *)a->var)[at + i];
    for (int64_t i = n; i % VD; i++) t[i] = 1;
    for (int64_t i = 0; i < n; i += VD) vd_store(t + i, one / vd_sqrt(vd_load(t + i) + epsilon));
    for (int64_t i = 0; i < n; i++) ((S *)a->rstd)[at + i] = (S)t[i];
  }
}

/* ---- planes: one channel's lie apart, each contiguous */

/* Planes of a channel lie pages apart, and processors read ahead within a page only: how many bytes further a few kilobytes of the channel are. */
INL int64_t N(ahead)(int64_t inner, int64_t step) { return (AHEAD / (int64_t)sizeof(S) + inner - 1) / inner * step * (int64_t)sizeof(S); }

enum { N(LINE) = 64 / (int)sizeof(S) }; /* numbers of a line of the caches */

/* Operands may be bfloat16 numbers in two bytes; loops are written for floats (mixed: false) and once more for any of them. Of these: is `which` such? m vectors
 * from number `at` on, or k numbers; put, where they were rounded; the line `ahead` bytes of floats further. */
INL bool N(half)(bool mixed, const snk_norm_args *a, unsigned which) { return mixed && (a->half & which); }
INL void N(of)(bool half, const void *p, int64_t at, int m, V *v) {
  if (half) SNK_ALL for (int j = 0; j < m; j++) v[j] = W(bf16_get)((const uint16_t *)p + at + j * L, L);
  else SNK_ALL for (int j = 0; j < m; j++) v[j] = W(load)((const S *)p + at + j * L);
}
INL V N(some_of)(bool half, const void *p, int64_t at, int64_t k) { return half ? W(bf16_get)((const uint16_t *)p + at, k) : W(get)((const S *)p + at, k); }
INL void N(put)(bool half, void *p, int64_t at, int m, const V *v) {
  if (half) SNK_ALL for (int j = 0; j < m; j++) W(bf16_set)((uint16_t *)p + at + j * L, v[j], L);
  else SNK_ALL for (int j = 0; j < m; j++) W(store)((S *)p + at + j * L, v[j]);
}
INL void N(put_some)(bool half, void *p, int64_t at, V v, int64_t k) {
  if (half) W(bf16_set)((uint16_t *)p + at, v, k);
  else W(set)((S *)p + at, v, k);
}
/* Of two vectors. */
INL void N(ask)(bool half, const void *p, int64_t at, int64_t ahead) {
  if (half) SNK_ASK((const uint16_t *)p + at, ahead / 2);
  else SNK_ALL for (int j = 0; j < 2 * L; j += N(LINE)) SNK_ASK((const S *)p + at + j, ahead);
}
INL void N(ask_to_write)(bool half, const void *p, int64_t at, int64_t ahead) {
  if (half) SNK_ASK_TO_WRITE((const uint16_t *)p + at, ahead / 2);
  else SNK_ALL for (int j = 0; j < 2 * L; j += N(LINE)) SNK_ASK_TO_WRITE((const S *)p + at + j, ahead);
}
INL bool N(any_half)(const snk_norm_args *a) { return HALF && sizeof(S) == sizeof(float) && a->half; }

/* What a channel is scaled with, in every lane. */
typedef struct N(scales) { V mean, rstd, scale, bias; } N(scales);
INL N(scales) N(scales_of)(const snk_norm_args *a, int64_t c) {
  const S r = ((const S *)a->rstd)[c];
  return (N(scales)){W(splat)(((const S *)a->mean)[c]), W(splat)(r), W(splat)(r * (a->weight ? ((const S *)a->weight)[c] : 1)),
                     W(splat)(a->bias ? ((const S *)a->bias)[c] : 0)};
}

/* A chunk of a channel: numbers at..end-1 of some planes, CHUNK at most. */
typedef struct N(chunk) { int64_t first, planes, at, end; } N(chunk);
/* The chunk behind; an empty one stands before the first. False at the end. */
INL bool N(next)(const snk_norm_args *a, N(chunk) *k) {
  if (k->end < a->inner && k->end > 0) k->at = k->end;
  else k->first += k->planes, k->at = 0;
  k->planes = CHUNK / a->inner > 1 ? CHUNK / a->inner : 1;
  if (k->planes > a->n - k->first) k->planes = a->n - k->first;
  k->end = a->inner - k->at < CHUNK ? a->inner : k->at + CHUNK;
  return k->planes > 0;
}

/* Its number of elements joins `count`, its mean `mean`, its squared deviations `dev` (Chan, Golub, LeVeque 1979): memory is read once, the
 * second pass finds the chunk in the first cache. Several sums at once, because an addition takes longer than a vector's loading. */
INL void N(join_stats)(bool half, const snk_norm_args *a, const N(chunk) *k, int64_t c, double *count, double *mean, double *dev) {
  const int64_t step = a->channels * a->inner, ahead = a->n > 1 ? N(ahead)(a->inner, step) : AHEAD;
  const int64_t x0 = (k->first * a->channels + c) * a->inner;
  const double n = (double)(k->planes * (k->end - k->at)), all = *count + n;
  const V zero = W(splat)(0);
  V s[4] = {zero, zero, zero, zero}, r[4] = {zero, zero, zero, zero};
  for (int64_t p = 0; p < k->planes; p++) {
    const int64_t x = x0 + p * step;
    int64_t i = k->at;
    for (; i + 4 * L <= k->end; i += 4 * L) {
      V v[4];
      N(ask)(half, a->x, x + i, ahead), N(ask)(half, a->x, x + i + 2 * L, ahead);
      N(of)(half, a->x, x + i, 4, v);
      SNK_ALL for (int j = 0; j < 4; j++) s[j] += v[j];
    }
    for (; i < k->end; i += L) s[0] += N(part)(N(some_of)(half, a->x, x + i, k->end - i), k->end - i);
  }
  const S near = (S)((double)W(total)((s[0] + s[1]) + (s[2] + s[3])) / n);
  const V m = W(splat)(near);
  SNK_ALL for (int j = 0; j < 4; j++) s[j] = zero;
  for (int64_t p = 0; p < k->planes; p++) {
    const int64_t x = x0 + p * step;
    int64_t i = k->at;
    for (; i + 4 * L <= k->end; i += 4 * L) {
      V v[4];
      N(of)(half, a->x, x + i, 4, v);
      SNK_ALL for (int j = 0; j < 4; j++) {
        const V d = v[j] - m;
        r[j] += d;
        s[j] += d * d;
      }
    }
    for (; i < k->end; i += L) {
      const V d = N(part)(N(some_of)(half, a->x, x + i, k->end - i) - m, k->end - i);
      r[0] += d;
      s[0] += d * d;
    }
  }
  const double rest = (double)W(total)((r[0] + r[1]) + (r[2] + r[3])) / n, delta = (double)near + rest - *mean;
  const double own = (double)W(total)((s[0] + s[1]) + (s[2] + s[3])) - rest * rest * n;
  *dev += (own < 0 ? 0 : own) + delta * delta * (*count * (n / all));
  *mean += delta * (n / all);
  *count = all;
}

static void N(column_stats)(const snk_norm_args *a, int64_t c, int64_t k) {
  const S *x = (const S *)a->x + c;
  double sum[L] = {0}, dev[L] = {0};
  for (int64_t at = 0; at < a->n; at += ROWS) {
    V s = W(splat)(0);
    for (int64_t r = at; r < a->n && r < at + ROWS; r++) s += W(get)(x + r * a->channels, k);
    for (int l = 0; l < L; l++) sum[l] += (double)s[l];
  }
  V mean = W(splat)(0);
  for (int l = 0; l < L; l++) mean[l] = (S)(sum[l] / (double)a->n);
  for (int64_t at = 0; at < a->n; at += ROWS) {
    V s = W(splat)(0);
    for (int64_t r = at; r < a->n && r < at + ROWS; r++) {
      const V d = W(get)(x + r * a->channels, k) - mean;
      s += d * d;
    }
    for (int l = 0; l < L; l++) dev[l] += (double)s[l];
  }
  for (int64_t l = 0; l < k; l++) {
    const double var = dev[l] / (double)a->n;
    ((S *)a->mean)[c + l] = mean[l];
    ((S *)a->var)[c + l] = (S)var;
    ((S *)a->rstd)[c + l] = N(rstd)(var, a->epsilon);
  }
}

static void N(stats)(const snk_norm_args *a, int64_t begin, int64_t end) {
  SNK_CLEAN
  for (int64_t u = begin; u < end; u++) {
    if (a->inner == 1) {
      N(column_stats)(a, u * L, a->channels - u * L < L ? a->channels - u * L : L);
      continue;
    }
    double count = 0, mean = 0, dev = 0;
    for (N(chunk) k = {0}; N(next)(a, &k);) {
      if (N(any_half)(a) && a->half & SNK_NORM_X) N(join_stats)(true, a, &k, u, &count, &mean, &dev);
      else N(join_stats)(false, a, &k, u, &count, &mean, &dev);
    }
    ((S *)a->mean)[u] = (S)mean;
    ((S *)a->var)[u] = (S)(dev / count);
    ((S *)a->rstd)[u] = N(rstd)(dev / count, a->epsilon);
  }
}

/* v and, where something joins it, that, then relu, which is a floor of zero (none is one of -infinity). */
INL V N(applied)(V v, bool add, V way, V floor, bool round) {
  v = N(rounded)(v, round);
  if (add) v = N(rounded)(v + way, round);
  return W(max)(v, floor);
}
INL V N(floor)(const snk_norm_args *a) { return W(splat)(a->relu ? 0 : -(S)INFINITY); }

INL void N(apply_plane)(bool mixed, const snk_norm_args *args, const N(scales) *f, int64_t at, int64_t ahead, bool add) {
  const snk_norm_args a = *args; /* no store changes it */
  const bool hx = N(half)(mixed, &a, SNK_NORM_X), hw = N(half)(mixed, &a, SNK_NORM_ADD), hy = N(half)(mixed, &a, SNK_NORM_Y), round = a.round;
  const V floor = N(floor)(&a);
  const int64_t end = at + a.inner;
  for (; at + 2 * L <= end; at += 2 * L) {
    V x[2], w[2];
    N(ask)(hx, a.x, at, ahead), N(ask_to_write)(hy, a.y, at, ahead);
    N(of)(hx, a.x, at, 2, x);
    if (add) N(ask)(hw, a.add, at, ahead), N(of)(hw, a.add, at, 2, w);
    else w[0] = w[1] = floor;
    SNK_ALL for (int j = 0; j < 2; j++) x[j] = N(applied)((x[j] - f->mean) * f->scale + f->bias, add, w[j], floor, round);
    N(put)(hy, a.y, at, 2, x);
  }
  for (; at < end; at += L) {
    const V x = N(some_of)(hx, a.x, at, end - at), w = add ? N(some_of)(hw, a.add, at, end - at) : x;
    N(put_some)(hy, a.y, at, N(applied)((x - f->mean) * f->scale + f->bias, add, w, floor, round), end - at);
  }
}

static void N(apply)(const snk_norm_args *a, int64_t from, int64_t count, int64_t step) {
  SNK_CLEAN
  if (a->inner == 1) {
    for (int64_t u = from; u < from + count; u++)
      for (int64_t c = 0; c < a->channels; c += L) {
        const int64_t k = a->channels - c, at = u * a->channels + c;
        const V scale = W(get)((const S *)a->rstd + c, k) * N(weight)(a, c, k);
        const V v = (W(get)((const S *)a->x + at, k) - W(get)((const S *)a->mean + c, k)) * scale + N(bias)(a, c, k);
        W(set)((S *)a->y + at, N(applied)(v, a->add, a->add ? W(get)((const S *)a->add + at, k) : v, N(floor)(a), a->round), k);
      }
    return;
  }
  const int64_t ahead = N(ahead)(a->inner, step * a->inner);
  for (int64_t u = from; count > 0; count--, u += step) {
    const N(scales) f = N(scales_of)(a, u % a->channels);
    if (N(any_half)(a)) N(apply_plane)(true, a, &f, u * a->inner, ahead, a->add);
    else if (a->add) N(apply_plane)(false, a, &f, u * a->inner, ahead, true);
    else N(apply_plane)(false, a, &f, u * a->inner, ahead, false);
  }
}

/* ---- gradients. With relu only that of numbers which it let pass: those above zero, computed again as they were, counts. */

INL V N(passed)(V g, V x, V mean, V scale, V bias) { return W(keep)((x - mean) * scale + bias > W(splat)(0), g); }

INL V N(masked)(const snk_norm_args *a, V g, V seen, bool other, V way) {
  if (other) g = N(rounded)(g + way, a->round);
  return W(keep)(seen > W(splat)(0), g);
}

/* gb = sum g, gw = sum g (x - mean) rstd. */
static void N(column_sums)(const snk_norm_args *a, int64_t c, int64_t k) {
  const V mean = W(get)((const S *)a->mean + c, k), scale = W(get)((const S *)a->rstd + c, k) * N(weight)(a, c, k), bias = N(bias)(a, c, k);
  double sg[L] = {0}, sgx[L] = {0};
  for (int64_t at = 0; at < a->n; at += ROWS) {
    V s = W(splat)(0), t = s;
    for (int64_t r = at; r < a->n && r < at + ROWS; r++) {
      const V x = W(get)((const S *)a->x + r * a->channels + c, k);
      V g = W(get)((const S *)a->g + r * a->channels + c, k);
      if (a->seen) {
        const int64_t e = r * a->channels + c;
        g = N(masked)(a, g, W(get)((const S *)a->seen + e, k), a->other, a->other ? W(get)((const S *)a->other + e, k) : g);
        W(set)((S *)a->masked + e, g, k);
      }
      if (a->relu) g = N(passed)(g, x, mean, scale, bias);
      s += g;
      t += g * (x - mean);
    }
    for (int l = 0; l < L; l++) sg[l] += (double)s[l], sgx[l] += (double)t[l];
  }
  for (int64_t l = 0; l < k; l++) {
    ((S *)a->gb)[c + l] = (S)sg[l];
    ((S *)a->gw)[c + l] = (S)(sgx[l] * (double)((const S *)a->rstd)[c + l]);
  }
}

INL void N(join_sums)(bool mixed, const snk_norm_args *args, const N(chunk) *k, int64_t c, const N(scales) *f, bool relu, bool seen, double *sg, double *sgx) {
  const snk_norm_args a = *args; /* no store changes it */
  const int64_t step = a.channels * a.inner, ahead = a.n > 1 ? N(ahead)(a.inner, step) : AHEAD;
  const bool other = a.other != NULL, hg = N(half)(mixed, &a, SNK_NORM_G), hx = N(half)(mixed, &a, SNK_NORM_X), ho = N(half)(mixed, &a, SNK_NORM_OTHER),
             hs = N(half)(mixed, &a, SNK_NORM_SEEN);
  const V zero = W(splat)(0);
  V s[2] = {zero, zero}, t[2] = {zero, zero};
  for (int64_t p = k->first; p < k->first + k->planes; p++) {
    const int64_t plane = (p * a.channels + c) * a.inner, end = plane + k->end;
    int64_t at = plane + k->at;
    for (; at + 2 * L <= end; at += 2 * L) {
      V g[2], x[2], z[2], w[2] = {zero, zero};
      N(ask)(hg, a.g, at, ahead), N(ask)(hx, a.x, at, ahead);
      N(of)(hg, a.g, at, 2, g);
      N(of)(hx, a.x, at, 2, x);
      if (seen) {
        N(ask)(hs, a.seen, at, ahead), N(ask_to_write)(false, a.masked, at, ahead);
        N(of)(hs, a.seen, at, 2, z);
        if (other) N(ask)(ho, a.other, at, ahead), N(of)(ho, a.other, at, 2, w);
      }
      SNK_ALL for (int j = 0; j < 2; j++) {
        if (seen) g[j] = N(masked)(&a, g[j], z[j], other, w[j]);
        if (relu) g[j] = N(passed)(g[j], x[j], f->mean, f->scale, f->bias);
        s[j] += g[j];
        t[j] += g[j] * (x[j] - f->mean);
      }
      if (seen) N(put)(false, a.masked, at, 2, g);
    }
    for (; at < end; at += L) {
      const int64_t n = end - at;
      const V x = N(some_of)(hx, a.x, at, n);
      V g = N(some_of)(hg, a.g, at, n);
      if (seen) {
        g = N(masked)(&a, g, N(some_of)(hs, a.seen, at, n), other, other ? N(some_of)(ho, a.other, at, n) : g);
        W(set)((S *)a.masked + at, g, n);
      }
      if (relu) g = N(passed)(g, x, f->mean, f->scale, f->bias);
      s[0] += N(part)(g, n);
      t[0] += N(part)(g * (x - f->mean), n);
    }
  }
  *sg += (double)W(total)(s[0] + s[1]);
  *sgx += (double)W(total)(t[0] + t[1]);
}

static void N(sums)(const snk_norm_args *a, int64_t begin, int64_t end) {
  SNK_CLEAN
  for (int64_t u = begin; u < end; u++) {
    if (a->inner == 1) {
      N(column_sums)(a, u * L, a->channels - u * L < L ? a->channels - u * L : L);
      continue;
    }
    double sg = 0, sgx = 0;
    const N(scales) f = N(scales_of)(a, u);
    for (N(chunk) k = {0}; N(next)(a, &k);) {
      if (N(any_half)(a)) N(join_sums)(true, a, &k, u, &f, a->relu, a->seen, &sg, &sgx);
      else if (a->relu) N(join_sums)(false, a, &k, u, &f, true, false, &sg, &sgx);
      else if (a->seen) N(join_sums)(false, a, &k, u, &f, false, true, &sg, &sgx);
      else N(join_sums)(false, a, &k, u, &f, false, false, &sg, &sgx);
    }
    ((S *)a->gb)[u] = (S)sg;
    ((S *)a->gw)[u] = (S)(sgx * (double)((const S *)a->rstd)[u]);
  }
}

/* gx = w rstd (g - mean g - xhat mean(g xhat)); with statistics that do not depend on x, w rstd g. */
INL V N(back_of)(const N(scales) *f, V k1, V k2, V v, V x, bool training, bool relu, bool round) {
  if (relu) v = N(passed)(v, x, f->mean, f->scale, f->bias);
  if (training) v = v - k1 - (x - f->mean) * k2;
  return N(rounded)(f->scale * v, round);
}

INL void N(back_plane)(bool mixed, const snk_norm_args *args, const N(scales) *f, V k1, V k2, int64_t at, int64_t ahead, bool training, bool relu) {
  const snk_norm_args a = *args; /* no store changes it */
  const void *g = a.masked ? a.masked : a.g;
  const bool hg = !a.masked && N(half)(mixed, &a, SNK_NORM_G), hx = N(half)(mixed, &a, SNK_NORM_X), hy = N(half)(mixed, &a, SNK_NORM_Y), round = a.round;
  const int64_t end = at + a.inner;
  for (; at + 2 * L <= end; at += 2 * L) {
    V v[2], x[2];
    N(ask)(hg, g, at, ahead), N(ask_to_write)(hy, a.y, at, ahead);
    N(of)(hg, g, at, 2, v);
    if (training) N(ask)(hx, a.x, at, ahead), N(of)(hx, a.x, at, 2, x);
    SNK_ALL for (int j = 0; j < 2; j++) v[j] = N(back_of)(f, k1, k2, v[j], training ? x[j] : v[j], training, relu, round);
    N(put)(hy, a.y, at, 2, v);
  }
  for (; at < end; at += L) {
    const V v = N(some_of)(hg, g, at, end - at), x = training ? N(some_of)(hx, a.x, at, end - at) : v;
    N(put_some)(hy, a.y, at, N(back_of)(f, k1, k2, v, x, training, relu, round), end - at);
  }
}

static void N(back)(const snk_norm_args *a, int64_t from, int64_t count, int64_t step) {
  SNK_CLEAN
  const S share = (S)(1 / (double)(a->n * a->inner)), *mean = a->mean, *rstd = a->rstd, *gw = a->gw, *gb = a->gb;
  const V part = W(splat)(a->training ? share : 0);
  if (a->inner == 1) {
    for (int64_t u = from; u < from + count; u++)
      for (int64_t c = 0; c < a->channels; c += L) {
        const int64_t k = a->channels - c, at = u * a->channels + c;
        const V r = W(get)(rstd + c, k), m = W(get)(mean + c, k), scale = r * N(weight)(a, c, k), x = W(get)((const S *)a->x + at, k);
        V v = W(get)((const S *)(a->masked ? a->masked : a->g) + at, k);
        if (a->relu) v = N(passed)(v, x, m, scale, N(bias)(a, c, k));
        if (a->training) v = v - part * W(get)(gb + c, k) - (x - m) * (r * part * W(get)(gw + c, k));
        W(set)((S *)a->y + at, N(rounded)(scale * v, a->round), k);
      }
    return;
  }
  const int64_t ahead = N(ahead)(a->inner, step * a->inner);
  for (int64_t u = from; count > 0; count--, u += step) {
    const int64_t c = u % a->channels;
    const N(scales) f = N(scales_of)(a, c);
    const V k1 = part * W(splat)(gb[c]), k2 = f.rstd * part * W(splat)(gw[c]);
    if (N(any_half)(a)) N(back_plane)(true, a, &f, k1, k2, u * a->inner, ahead, a->training, a->relu);
    else if (a->relu) N(back_plane)(false, a, &f, k1, k2, u * a->inner, ahead, true, true);
    else N(back_plane)(false, a, &f, k1, k2, u * a->inner, ahead, a->training, false);
  }
}
