/* pool_plane.h - pooling of one plane for one number type; included by pool.isa.c for float and for double.
 *
 * The includer defines T, V, VM, L, W(word) for vec.h's words and for take, put (the first n lanes) and int, N(name), and
 * EVEN ODD LOW HIGH: every second lane of two vectors, and two vectors' lanes in turn; ORDER; SHARED if it has N(share) itself.
 */

/* Does v beat m? */
#define BEATS(v, m) (((m) == (m)) & ~((v) <= (m)))
/* The window at which a vector begins: with few lanes the last one ends where the row does, for as long as the row is. */
#define BEGIN(j, out) (SNK_BYTES == 64 || (j) + L <= (out) || (out) < L ? (j) : (out) - L)

/* First valid tap and the end of the valid ones of output i. */
INL int64_t N(reach)(const snk_pool_axis *a, int64_t i, int64_t *end) {
  int64_t start = i * a->stride - a->pad, lo = start < 0 ? (-start + a->dilation - 1) / a->dilation : 0, room = a->in - start;
  int64_t hi = room > 0 ? (room + a->dilation - 1) / a->dilation : 0;
  *end = hi < a->k ? hi : a->k;
  return lo;
}

/* Position of the winner of output (i, j); -1 if the window holds nothing. */
INL int64_t N(winner)(const snk_pool_shape *s, const T *x, int64_t i, int64_t j) {
  int64_t r1, r0 = N(reach)(&s->y, i, &r1), c1, c0 = N(reach)(&s->x, j, &c1), best = -1;
  const int64_t top = i * s->y.stride - s->y.pad, left = j * s->x.stride - s->x.pad;
  T m = 0;
  for (int64_t r = r0; r < r1; r++)
    for (int64_t c = c0; c < c1; c++) {
      const int64_t at = (top + r * s->y.dilation) * s->x.in + left + c * s->x.dilation;
      const T v = x[at];
      if (best < 0 || (m == m && !(v <= m))) m = v, best = at;
    }
  return best;
}

/* What is the same for all windows of a direction: where tap t lies among the rows split by the stride. */
typedef struct N(taps) { int64_t pitch, at[SNK_POOL_TAPS]; } N(taps);
static void N(set_taps)(const snk_pool_axis *a, N(taps) *w) {
  w->pitch = snk_pool_pitch(a);
  for (int64_t t = 0; t < a->k; t++) w->at[t] = t * a->dilation % a->stride * w->pitch + t * a->dilation / a->stride;
}

/* Rows of x split by the stride, -inf around: place j of slot q is position q - pad + j * stride. */
static void N(split)(const snk_pool_shape *s, const T *x, T *to) {
  const snk_pool_axis *a = &s->x;
  const int64_t pitch = snk_pool_pitch(a), step = a->stride;
  for (int64_t i = 0; i < s->y.in; i++, x += a->in)
    for (int64_t q = 0; q < step; q++, to += pitch) {
      const int64_t start = q - a->pad, lo = start < 0 ? (-start + step - 1) / step : 0, room = a->in - start;
      int64_t hi = room > 0 ? (room + step - 1) / step : 0, j = lo;
      if (hi > pitch) hi = pitch;
      for (int64_t k = 0; k < lo && k < pitch; k++) to[k] = (T)-INFINITY;
      if (step == 1)
        for (; j < hi; j += L) W(put)(to + j, W(take)(x + start + j, hi - j), hi - j);
      if (step == 2)
        for (; j + L <= hi && start + 2 * (j + L) <= a->in; j += L) {
          const T *p = x + start + 2 * j;
          W(store)(to + j, ORDER(EVEN(W(load)(p), W(load)(p + L))));
        }
      for (; j < hi; j++) to[j] = x[start + j * step];
      for (j = hi > lo ? hi : lo; j < pitch; j++) to[j] = (T)-INFINITY;
    }
}

/* Bytes ahead that are asked for: past the page within which a processor looks ahead by itself. */
enum { N(AHEAD) = 4096, N(LINE) = 64 / (int)sizeof(T) };

/* whole: all vectors are, as BEGIN places them. */
INL void N(max_pairs)(const snk_pool_shape *s, const T *x, T *y, bool whole) {
  const int64_t width = s->x.in, out = s->x.out;
  for (int64_t i = 0; i < s->y.out; i++, y += out) {
    const T *a = x + 2 * i * width, *b = a + width;
    for (int64_t k = 0; k < out; k += L) {
      const int64_t j = BEGIN(k, out), n = whole ? 2 * L : 2 * (out - j);
      for (int q = 0; q < 2 * L; q += N(LINE)) SNK_ASK(a + 2 * j + q, N(AHEAD)), SNK_ASK(b + 2 * j + q, N(AHEAD));
      const V p = W(max)(W(take)(b + 2 * j, n), W(take)(a + 2 * j, n));
      const V q = W(max)(W(take)(b + 2 * j + L, n - L), W(take)(a + 2 * j + L, n - L));
      W(put)(y + j, ORDER(W(max)(ODD(p, q), EVEN(p, q))), whole ? L : out - j);
    }
  }
}

static void N(max)(const snk_pool_shape *s, const void *xp, void *yp, void *room) {
  SNK_CLEAN
  const T *x = xp;
  T *y = yp;
  if (snk_pool_pairs(s)) {
    if (SNK_BYTES < 64 && s->x.out >= L) N(max_pairs)(s, x, y, true);
    else N(max_pairs)(s, x, y, false);
    return;
  }
  if (room == NULL) {
    for (int64_t i = 0; i < s->y.out; i++)
      for (int64_t j = 0; j < s->x.out; j++) {
        const int64_t at = N(winner)(s, x, i, j);
        *y++ = at >= 0 ? x[at] : (T)-INFINITY;
      }
    return;
  }
  N(taps) w;
  N(set_taps)(&s->x, &w);
  N(split)(s, x, room);
  for (int64_t i = 0; i < s->y.out; i++, y += s->x.out) {
    int64_t r1, r0 = N(reach)(&s->y, i, &r1), top = i * s->y.stride - s->y.pad;
    for (int64_t j = 0; j < s->x.out; j += L) {
      V m = W(splat)((T)-INFINITY);
      for (int64_t r = r0; r < r1; r++) {
        const T *row = (const T *)room + (top + r * s->y.dilation) * s->x.stride * w.pitch + j;
        for (int64_t c = 0; c < s->x.k; c++) m = W(max)(W(load)(row + w.at[c]), m);
      }
      W(put)(y + j, m, s->x.out - j);
    }
  }
}

/* Two vectors of a row and those below: the first n lanes. */
typedef struct N(quad) { V p0, p1, q0, q1; } N(quad);
INL N(quad) N(quad_at)(const T *p, int64_t width, int64_t n) {
  return (N(quad)){W(take)(p, n), W(take)(p + L, n - L), W(take)(p + width, n), W(take)(p + width + L, n - L)};
}

#ifndef SHARED
/* The gradients of windows of a, b and, below, c, d: gv at the first of the largest (with relu, where that is above 0), zero at the others. */
INL void N(share)(bool relu, V a, V b, V c, V d, V gv, V *won) {
  const V zero = W(splat)(0);
  V m = a;
  const VM wb = (VM)BEATS(b, m);
  m = W(where)(wb, b, m);
  const VM wc = (VM)BEATS(c, m);
  m = W(where)(wc, c, m);
  const VM wd = (VM)BEATS(d, m);
  if (relu) gv = W(where)((VM)(W(where)(wd, d, m) > zero), gv, zero);
  won[0] = W(where)(wb | wc | wd, zero, gv), won[1] = W(where)(wb & ~wc & ~wd, gv, zero), won[2] = W(where)(wc & ~wd, gv, zero), won[3] = W(where)(wd, gv, zero);
}
#endif

/* gx may lie over x. The next vectors are loaded before these are stored: a store that a load's masked lanes reach into would hold it up. */
INL void N(max_back_pairs)(const snk_pool_shape *s, const T *g, const T *x, T *gx, bool whole) {
  const int64_t width = s->x.in, out = s->x.out, rest = !whole && out % L ? width - 2 * out : 0; /* columns in no window, behind the last windows' lanes */
  N(quad) next = N(quad_at)(x, width, whole ? 2 * L : s->y.out > 0 ? 2 * out : 0);
  memset(gx + 2 * s->y.out * width, 0, (size_t)((s->y.in - 2 * s->y.out) * width) * sizeof(T));
  for (int64_t i = 0; i < s->y.out; i++, g += out) {
    const T *p = x + 2 * i * width;
    T *to = gx + 2 * i * width, *below = to + width;
    for (int64_t k = 0; k < out; k += L) {
      const int64_t j = BEGIN(k, out), n = whole ? 2 * L : 2 * (out - j), behind = BEGIN(k + L, out);
      const V p0 = next.p0, p1 = next.p1, q0 = next.q0, q1 = next.q1;
      const bool more = k + L < out, last = !more && i + 1 == s->y.out;
      if (!whole) next = N(quad_at)(p + 2 * (more ? behind : width), width, more ? 2 * (out - behind) : last ? 0 : 2 * out);
      else if (!last) next = N(quad_at)(p + 2 * (more ? behind : width), width, 2 * L);
      for (int q = 0; q < 2 * L; q += N(LINE)) {
        SNK_ASK(p + 2 * j + q, N(AHEAD)), SNK_ASK(p + width + 2 * j + q, N(AHEAD));
        SNK_ASK_TO_WRITE(to + 2 * j + q, N(AHEAD)), SNK_ASK_TO_WRITE(below + 2 * j + q, N(AHEAD));
      }
      V won[4];
      N(share)(s->relu, EVEN(p0, p1), ODD(p0, p1), EVEN(q0, q1), ODD(q0, q1), ORDER(W(take)(g + j, whole ? L : out - j)), won);
      const int64_t kept = more ? n : n + rest;
      W(put)(to + 2 * j, LOW(won[0], won[1]), kept);
      W(put)(to + 2 * j + L, HIGH(won[0], won[1]), kept - L);
      W(put)(below + 2 * j, LOW(won[2], won[3]), kept);
      W(put)(below + 2 * j + L, HIGH(won[2], won[3]), kept - L);
    }
    for (int64_t c = 2 * out + rest; c < width; c++) to[c] = below[c] = 0;
  }
}

static void N(max_back)(const snk_pool_shape *s, const void *gp, const void *xp, void *gxp, void *room) {
  SNK_CLEAN
  const T *g = gp, *x = xp;
  T *gx = gxp;
  if (snk_pool_pairs(s)) {
    if (SNK_BYTES < 64 && s->y.out > 0 && s->x.out >= L) N(max_back_pairs)(s, g, x, gx, true);
    else N(max_back_pairs)(s, g, x, gx, false);
    return;
  }
  memset(gx, 0, (size_t)(s->y.in * s->x.in) * sizeof(T));
  if (room == NULL) {
    for (int64_t i = 0; i < s->y.out; i++)
      for (int64_t j = 0; j < s->x.out; j++, g++) {
        const int64_t at = N(winner)(s, x, i, j);
        if (at >= 0) gx[at] += *g;
      }
    return;
  }
  N(taps) w;
  N(set_taps)(&s->x, &w);
  N(split)(s, x, room);
  for (int64_t i = 0; i < s->y.out; i++, g += s->x.out) {
    int64_t r1, r0 = N(reach)(&s->y, i, &r1), top = i * s->y.stride - s->y.pad;
    for (int64_t j = 0; j < s->x.out; j += L) {
      V m = W(splat)((T)-INFINITY);
      VM best = W(int)(-1); /* number of the tap; none while all is -inf */
      for (int64_t r = r0; r < r1; r++) {
        const T *row = (const T *)room + (top + r * s->y.dilation) * s->x.stride * w.pitch + j;
        for (int64_t c = 0; c < s->x.k; c++) {
          const V v = W(load)(row + w.at[c]);
          const VM wins = (VM)BEATS(v, m);
          m = W(where)(wins, v, m);
          best = (W(int)((int)(r * s->x.k + c)) & wins) | (best & ~wins);
        }
      }
      __typeof__(best[0]) tap[L];
      memcpy(tap, &best, sizeof tap);
      for (int64_t l = 0; l < L && j + l < s->x.out; l++) {
        int64_t t = tap[l], at = (top + t / s->x.k * s->y.dilation) * s->x.in + (j + l) * s->x.stride - s->x.pad + t % s->x.k * s->x.dilation;
        if (t < 0) at = N(winner)(s, x, i, j + l);
        if (at >= 0) gx[at] += g[j + l];
      }
    }
  }
}

static void N(pick)(const snk_pool_shape *s, const void *gp, const void *xp, void *yp) {
  SNK_CLEAN
  T *y = yp;
  for (int64_t i = 0; i < s->y.out; i++)
    for (int64_t j = 0; j < s->x.out; j++) {
      const int64_t at = N(winner)(s, xp, i, j);
      *y++ = at >= 0 ? ((const T *)gp)[at] : 0;
    }
}

INL T N(divisor)(const snk_mean_shape *s, int64_t i, int64_t j) {
  return s->divisor != 0 ? (T)s->divisor : (T)(s->y.count[i] * s->x.count[j]);
}

static void N(mean)(const snk_mean_shape *s, const void *xp, void *yp, void *rowp) {
  SNK_CLEAN
  const T *x = xp;
  T *y = yp, *row = rowp;
  const int64_t width = s->x.in;
  if (s->whole) {
    V sum = W(splat)(0);
    for (int64_t c = 0; c < s->y.in * width; c += L) sum = sum + W(take)(x + c, s->y.in * width - c);
    y[0] = W(total)(sum) / N(divisor)(s, 0, 0);
    return;
  }
  for (int64_t i = 0; i < s->y.out; i++, y += s->x.out) {
    const int64_t r0 = s->y.lo[i], r1 = s->y.hi[i];
    int64_t j = 0;
    if (s->pairs) {
      const T *a = x + r0 * width, *b = a + width;
      const V d = W(splat)(s->divisor != 0 ? (T)s->divisor : (T)4);
      for (; j < s->x.out; j += L) {
        const int64_t n = 2 * (s->x.out - j);
        const V p = W(take)(a + 2 * j, n) + W(take)(b + 2 * j, n), q = W(take)(a + 2 * j + L, n - L) + W(take)(b + 2 * j + L, n - L);
        W(put)(y + j, ORDER(EVEN(p, q) + ODD(p, q)) / d, s->x.out - j);
      }
      continue;
    }
    for (int64_t c = 0; c < width; c += L) {
      V sum = W(splat)(0);
      for (int64_t r = r0; r < r1; r++) {
        const V v = W(take)(x + r * width + c, width - c);
        sum = r == r0 ? v : sum + v;
      }
      W(store)(row + c, sum);
    }
    for (; j < s->x.out; j++) {
      T sum = 0;
      for (int64_t c = s->x.lo[j]; c < s->x.hi[j]; c++) sum = c == s->x.lo[j] ? row[c] : sum + row[c];
      y[j] = r1 > r0 && s->x.hi[j] > s->x.lo[j] ? sum / N(divisor)(s, i, j) : 0;
    }
  }
}

static void N(mean_back)(const snk_mean_shape *s, const void *gp, void *gxp, void *rowp) {
  SNK_CLEAN
  const T *g = gp;
  T *gx = gxp, *row = rowp;
  const int64_t width = s->x.in;
  if (s->whole) {
    const T v = g[0] / N(divisor)(s, 0, 0);
    for (int64_t c = 0; c < s->y.in * width; c += L) W(put)(gx + c, W(splat)(v), s->y.in * width - c);
    return;
  }
  if (!s->pairs || 2 * s->y.out < s->y.in || 2 * s->x.out < width) memset(gx, 0, (size_t)(s->y.in * width) * sizeof(T));
  for (int64_t i = 0; i < s->y.out; i++, g += s->x.out) {
    const int64_t r0 = s->y.lo[i], r1 = s->y.hi[i];
    if (s->pairs) {
      const T d = s->divisor != 0 ? (T)s->divisor : (T)4;
      T *a = gx + r0 * width, *b = a + width;
      for (int64_t j = 0; j < s->x.out; j += L) {
        const int64_t n = 2 * (s->x.out - j);
        const V v = ORDER(W(take)(g + j, s->x.out - j)) / W(splat)(d), lo = LOW(v, v), hi = HIGH(v, v);
        W(put)(a + 2 * j, lo, n);
        W(put)(a + 2 * j + L, hi, n - L);
        W(put)(b + 2 * j, lo, n);
        W(put)(b + 2 * j + L, hi, n - L);
      }
      continue;
    }
    for (int64_t c = 0; c < width; c++) row[c] = 0;
    for (int64_t j = 0; j < s->x.out; j++) {
      const T v = g[j] / N(divisor)(s, i, j);
      for (int64_t c = s->x.lo[j]; c < s->x.hi[j]; c++) row[c] += v;
    }
    for (int64_t r = r0; r < r1; r++) {
      T *to = gx + r * width;
      for (int64_t c = 0; c < width; c++) to[c] += row[c];
    }
  }
}
#undef BEATS
#undef BEGIN
