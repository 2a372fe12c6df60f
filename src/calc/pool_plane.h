/* pool_plane.h - pooling of one plane for one number type; included by pool.isa.c for float and for double.
 *
 * The includer defines T, V, VM, L, W(word) for vec.h's words, N(name), and EVEN ODD LOW HIGH: every second lane of two vectors, and two
 * vectors' lanes in turn.
 */

/* Does v beat m? */
#define BEATS(v, m) (((v) > (m)) | (((v) != (v)) & ((m) == (m))))

INL V N(larger)(V v, V m) { return W(where)((VM)(v > m) | (VM)(v != v), v, m); }

/* First valid tap and the end of the valid ones of output i. */
INL int64_t N(reach)(const snk_pool_axis *a, int64_t i, int64_t *end) {
  int64_t start = i * a->stride - a->pad, lo = start < 0 ? (-start + a->dilation - 1) / a->dilation : 0, room = a->in - start;
  int64_t hi = room > 0 ? (room + a->dilation - 1) / a->dilation : 0;
  *end = hi < a->k ? hi : a->k;
  return lo;
}

static bool N(pairs)(const snk_pool_shape *s) {
  const snk_pool_axis *y = &s->y, *x = &s->x;
  return y->k == 2 && x->k == 2 && y->stride == 2 && x->stride == 2 && y->dilation == 1 && x->dilation == 1 && y->pad == 0 && x->pad == 0 &&
         2 * y->out <= y->in && 2 * x->out <= x->in;
}

static void N(max)(const snk_pool_shape *s, const void *xp, void *yp, void *rowp) {
  const T *x = xp;
  T *y = yp, *row = rowp;
  const int64_t width = s->x.in;
  const bool pairs = N(pairs)(s);
  for (int64_t i = 0; i < s->y.out; i++, y += s->x.out) {
    int64_t r1, r0 = N(reach)(&s->y, i, &r1), top = i * s->y.stride - s->y.pad;
    int64_t j = 0;
    if (pairs) {
      const T *a = x + 2 * i * width, *b = a + width;
      for (; j + L <= s->x.out; j += L) {
        const V p = N(larger)(W(load)(b + 2 * j), W(load)(a + 2 * j)), q = N(larger)(W(load)(b + 2 * j + L), W(load)(a + 2 * j + L));
        W(store)(y + j, N(larger)(ODD(p, q), EVEN(p, q)));
      }
    }
    /* down the columns first, then along the row */
    int64_t c = 2 * j, from = pairs ? c : 0;
    for (c = from; c < width; c += L) {
      const int64_t n = width - c < L ? width - c : L;
      V m = W(splat)((T)-INFINITY);
      for (int64_t r = r0; r < r1; r++) {
        const T *p = x + (top + r * s->y.dilation) * width + c;
        const V v = n == L ? W(load)(p) : W(load_part)(p, n);
        m = r == r0 ? v : N(larger)(v, m);
      }
      W(store)(row + c, m);
    }
    for (; j < s->x.out; j++) {
      int64_t c1, c0 = N(reach)(&s->x, j, &c1), left = j * s->x.stride - s->x.pad;
      T m = (T)-INFINITY;
      for (c = c0; c < c1; c++) {
        const T v = row[left + c * s->x.dilation];
        m = c == c0 || v > m || v != v ? v : m;
      }
      y[j] = m;
    }
  }
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
      if (best < 0 || BEATS(v, m)) m = v, best = at;
    }
  return best;
}

static void N(max_back)(const snk_pool_shape *s, const void *gp, const void *xp, void *gxp) {
  const T *g = gp, *x = xp;
  T *gx = gxp;
  const int64_t width = s->x.in;
  const bool pairs = N(pairs)(s);
  if (!pairs || s->x.out % L || 2 * s->x.out < width) memset(gx, 0, (size_t)(s->y.in * width) * sizeof(T));
  else memset(gx + 2 * s->y.out * width, 0, (size_t)((s->y.in - 2 * s->y.out) * width) * sizeof(T));
  for (int64_t i = 0; i < s->y.out; i++, g += s->x.out) {
    int64_t j = 0;
    if (pairs) {
      const T *p = x + 2 * i * width, *q = p + width;
      T *to = gx + 2 * i * width, *below = to + width;
      for (; j + L <= s->x.out; j += L) {
        const V p0 = W(load)(p + 2 * j), p1 = W(load)(p + 2 * j + L), q0 = W(load)(q + 2 * j), q1 = W(load)(q + 2 * j + L);
        const V b = ODD(p0, p1), c = EVEN(q0, q1), d = ODD(q0, q1), gv = W(load)(g + j), zero = W(splat)(0);
        V m = EVEN(p0, p1);
        const VM wb = (VM)BEATS(b, m);
        m = W(where)(wb, b, m);
        const VM wc = (VM)BEATS(c, m);
        m = W(where)(wc, c, m);
        const VM wd = (VM)BEATS(d, m);
        const V ga = W(where)(wb | wc | wd, zero, gv), gb = W(where)(wb & ~wc & ~wd, gv, zero), gc = W(where)(wc & ~wd, gv, zero),
                gd = W(where)(wd, gv, zero);
        W(store)(to + 2 * j, LOW(ga, gb));
        W(store)(to + 2 * j + L, HIGH(ga, gb));
        W(store)(below + 2 * j, LOW(gc, gd));
        W(store)(below + 2 * j + L, HIGH(gc, gd));
      }
    }
    for (; j < s->x.out; j++) {
      const int64_t at = N(winner)(s, x, i, j);
      if (at >= 0) gx[at] += g[j];
    }
  }
}

static void N(pick)(const snk_pool_shape *s, const void *gp, const void *xp, void *yp) {
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
  const T *x = xp;
  T *y = yp, *row = rowp;
  const int64_t width = s->x.in;
  for (int64_t i = 0; i < s->y.out; i++, y += s->x.out) {
    const int64_t r0 = s->y.lo[i], r1 = s->y.hi[i];
    int64_t j = 0;
    if (s->pairs) {
      const T *a = x + r0 * width, *b = a + width;
      const V d = W(splat)(s->divisor != 0 ? (T)s->divisor : (T)4);
      for (; j + L <= s->x.out; j += L) {
        const V p = W(load)(a + 2 * j) + W(load)(b + 2 * j), q = W(load)(a + 2 * j + L) + W(load)(b + 2 * j + L);
        W(store)(y + j, (EVEN(p, q) + ODD(p, q)) / d);
      }
    }
    for (int64_t c = s->pairs ? 2 * j : 0; c < width; c += L) {
      const int64_t n = width - c < L ? width - c : L;
      V sum = W(splat)(0);
      for (int64_t r = r0; r < r1; r++) {
        const T *p = x + r * width + c;
        const V v = n == L ? W(load)(p) : W(load_part)(p, n);
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
  const T *g = gp;
  T *gx = gxp, *row = rowp;
  const int64_t width = s->x.in;
  if (!s->pairs || 2 * s->y.out < s->y.in || 2 * s->x.out < width) memset(gx, 0, (size_t)(s->y.in * width) * sizeof(T));
  for (int64_t i = 0; i < s->y.out; i++, g += s->x.out) {
    const int64_t r0 = s->y.lo[i], r1 = s->y.hi[i];
    if (s->pairs) {
      const T d = s->divisor != 0 ? (T)s->divisor : (T)4;
      T *a = gx + r0 * width, *b = a + width;
      int64_t j = 0;
      for (; j + L <= s->x.out; j += L) {
        const V v = W(load)(g + j) / W(splat)(d), lo = LOW(v, v), hi = HIGH(v, v);
        W(store)(a + 2 * j, lo);
        W(store)(a + 2 * j + L, hi);
        W(store)(b + 2 * j, lo);
        W(store)(b + 2 * j + L, hi);
      }
      for (; j < s->x.out; j++) a[2 * j] = a[2 * j + 1] = b[2 * j] = b[2 * j + 1] = g[j] / d;
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
