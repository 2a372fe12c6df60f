/* reduce_rows.h - the reductions for one number type; included by reduce.isa.c. T V VM L W(word) N(name) as in map_rows.h. */
#define LANES SNK_REDUCE_LANES
#define NV (LANES / L)
#define FAR 4 /* lanes' turns at once */
#define PITCH(width) (((width) + L - 1) / L * L)

INL V N(step)(int which, V a, V x) {
  switch (which) {
    case SNK_PROD: return a * x;
    case SNK_MAX: return W(max)(a, x);
    case SNK_MIN: return W(min)(a, x);
    case SNK_SUMSQ: return a + x * x;
    case SNK_SUMABS: return a + W(abs)(x);
    case SNK_MAXABS: return W(max)(a, W(abs)(x));
    default: return a + x;
  }
}
INL V N(join)(int which, V a, V b) {
  return which == SNK_PROD ? a * b : which == SNK_MAX || which == SNK_MAXABS ? W(max)(a, b) : which == SNK_MIN ? W(min)(a, b) : a + b;
}
INL T N(join1)(int which, T a, T b) {
  if (which == SNK_MAX || which == SNK_MAXABS) return a > b || a != a ? a : b;
  if (which == SNK_MIN) return a < b || a != a ? a : b;
  return which == SNK_PROD ? a * b : a + b;
}
INL T N(empty)(int which) {
  return which == SNK_PROD ? (T)1 : which == SNK_MAX ? -(T)INFINITY : which == SNK_MIN ? (T)INFINITY : (T)0;
}

/* All lanes of a block to one number, by halves: of a copy, so that the caller's stay in registers. */
INL T N(fold_lanes)(int which, const V *lanes) {
  V a[NV];
  SNK_ALL for (int k = 0; k < NV; k++) a[k] = lanes[k];
  SNK_ALL for (int w = NV / 2; w > 0; w /= 2)
    SNK_ALL for (int k = 0; k < w; k++) a[k] = N(join)(which, a[k], a[k + w]);
  if (which == SNK_SUM || which == SNK_SUMSQ || which == SNK_SUMABS) return W(total)(a[0]);
  if (which != SNK_PROD && !W(any)((VM)W(nan)(a[0]))) return which == SNK_MIN ? -W(highest)(-a[0]) : W(highest)(a[0]); /* branches would be foreseen wrongly */
  T v[L];
  memcpy(v, &a[0], sizeof v);
  for (int w = L / 2; w > 0; w /= 2)
    for (int l = 0; l < w; l++) v[l] = N(join1)(which, v[l], v[l + w]);
  return v[0];
}

INL T N(row_of)(int which, int64_t n, const T *x) {
  V a[NV];
  const T none = N(empty)(which);
  SNK_ALL for (int k = 0; k < NV; k++) a[k] = W(splat)(none);
  T rest[LANES];
  int64_t i = 0;
  if (which == SNK_SUM)
    for (; i + FAR * LANES <= n; i += FAR * LANES) {
      SNK_ASK(x + i, 2048); /* processors read ahead to a page's end only, where the next block begins; a line to tell them of it */
      SNK_ALL for (int j = 0; j < FAR * NV; j++) a[j % NV] += W(load)(x + i + j * L);
    }
  for (; i < n; i += LANES) {
    const T *p = x + i;
    if (n - i < LANES) {
      for (int l = 0; l < LANES; l++) rest[l] = l < n - i ? p[l] : none;
      p = rest;
    }
    SNK_ALL for (int k = 0; k < NV; k++) a[k] = N(step)(which, a[k], W(load)(p + k * L));
  }
  return N(fold_lanes)(which, a);
}

/* Numbers of a piece: floats, or bfloat16 numbers in two bytes. */
INL V N(numbers)(bool half, const char *x, int64_t n) {
  return half ? W(bf16_get)((const uint16_t *)(const void *)x, n) : W(get)((const T *)(const void *)x, n);
}

/* Lanes that a piece's end leaves open wait for the next piece's beginning. Pieces lie pages apart, where no processor reads ahead, so the line two
 * kilobytes further on is asked for. */
INL T N(pieces_of)(bool half, int64_t n, const void *from, int64_t left, int64_t run, int64_t step) {
  enum { BYTES = 2048 };
  const int64_t size = half ? 2 : (int64_t)sizeof(T), near = BYTES / size;
  const uintptr_t ahead = (uintptr_t)size * (uintptr_t)(run > 4 * near ? near : (near + run - 1) / run * step);
  const char *x = from;
  V a[NV];
  T rest[LANES + L];
  int64_t open = 0;
  SNK_ALL for (int k = 0; k < NV; k++) a[k] = W(splat)(0);
  for (const char *first = x + (left - run) * size;; first += step * size, x = first, left = run) {
    const int64_t m = left < n ? left : n;
    int64_t i = 0;
    do {
      if (open == 0)
        for (; i + LANES <= m; i += LANES) {
          SNK_ASK(x + i * size, ahead);
          if (!half) SNK_ALL for (int k = 64; k < LANES * (int)sizeof(T); k += 64) SNK_ASK(x + i * size, ahead + (uintptr_t)k);
          SNK_ALL for (int k = 0; k < NV; k++) a[k] += N(numbers)(half, x + (i + k * L) * size, L);
        }
      const int64_t some = m - i < LANES - open ? m - i : LANES - open;
      for (int64_t k = 0; k < some; k += L) W(store)(rest + open + k, N(numbers)(half, x + (i + k) * size, m - i - k));
      i += some;
      open += some;
      if (open == LANES) {
        SNK_ALL for (int k = 0; k < NV; k++) a[k] += W(load)(rest + k * L);
        open = 0;
      }
    } while (i < m);
    n -= m;
    if (n == 0) break;
  }
  if (open > 0) {
    for (; open < LANES; open++) rest[open] = 0;
    SNK_ALL for (int k = 0; k < NV; k++) a[k] += W(load)(rest + k * L);
  }
  return N(fold_lanes)(SNK_SUM, a);
}
static T N(pieces)(int64_t n, const T *x, int64_t left, int64_t run, int64_t step) {
  SNK_CLEAN
  return N(pieces_of)(false, n, x, left, run, step);
}

/* `rows` numbers of each column, `step` apart, into one lane. */
INL void N(lane_of)(int which, T *lane, const T *x, int rows, int64_t step, int64_t width) {
  int64_t c = 0;
  for (; c + 2 * L <= width; c += 2 * L) {
    V a = W(load)(lane + c), b = W(load)(lane + c + L);
    SNK_ALL for (int r = 0; r < rows; r++) {
      a = N(step)(which, a, W(load)(x + r * step + c));
      b = N(step)(which, b, W(load)(x + r * step + c + L));
    }
    W(store)(lane + c, a);
    W(store)(lane + c + L, b);
  }
  for (; c + L <= width; c += L) {
    V a = W(load)(lane + c);
    SNK_ALL for (int r = 0; r < rows; r++) a = N(step)(which, a, W(load)(x + r * step + c));
    W(store)(lane + c, a);
  }
  if (c == width) return;
  V a = W(load)(lane + c);
  SNK_ALL for (int r = 0; r < rows; r++) a = N(step)(which, a, W(load_part)(x + r * step + c, width - c));
  W(store)(lane + c, a);
}

/* Four numbers of a lane at a time while there are, so that lanes are fetched and put back once for them. */
INL void N(cols_of)(int which, int64_t first, int64_t n, const T *x, int64_t step, int64_t width, T *acc) {
  const int64_t pitch = PITCH(width);
  int64_t i = 0;
  for (; i + 4 * LANES <= n; i += 4 * LANES)
    for (int64_t j = i; j < i + LANES; j++) N(lane_of)(which, acc + (first + j) % LANES * pitch, x + j * step, 4, step * LANES, width);
  for (; i < n; i++) N(lane_of)(which, acc + (first + i) % LANES * pitch, x + i * step, 1, 0, width);
}

static void N(cols_clear)(int which, int64_t width, T *acc) {
  SNK_CLEAN
  const V none = W(splat)(N(empty)(which));
  for (int64_t i = 0; i < LANES * PITCH(width); i += L) W(store)(acc + i, none);
}

static void N(cols_finish)(int which, int64_t width, T *acc) {
  SNK_CLEAN
  for (int64_t w = LANES / 2 * PITCH(width); w >= PITCH(width); w /= 2)
    for (int64_t i = 0; i < w; i += L) W(store)(acc + i, N(join)(which, W(load)(acc + i), W(load)(acc + i + w)));
}

INL int64_t N(seek_of)(int least, int64_t n, const T *x) {
  const T none = least ? (T)INFINITY : -(T)INFINITY;
  V a = W(splat)(none), b = a;
  VM bad = {0};
  int64_t i = 0;
  for (; i + 2 * L <= n; i += 2 * L) {
    const V u = W(load)(x + i), v = W(load)(x + i + L);
    a = least ? W(less)(u, a) : W(more)(u, a);
    b = least ? W(less)(v, b) : W(more)(v, b);
    bad |= W(nan)(u) | W(nan)(v);
  }
  for (; i < n; i += L) {
    const V u = n - i >= L ? W(load)(x + i) : W(load_fill)(x + i, n - i, none);
    a = least ? W(less)(u, a) : W(more)(u, a);
    bad |= W(nan)(u);
  }
  i = 0;
  if (W(any)(bad)) {
    while (x[i] == x[i]) i++;
    return i;
  }
  const T best = least ? -W(highest)(-W(less)(a, b)) : W(highest)(W(more)(a, b));
  while (i + L <= n && !W(any)((VM)(W(load)(x + i) == W(splat)(best)))) i += L;
  while (x[i] != best) i++;
  return i;
}
static int64_t N(seek)(int least, int64_t n, const T *x) {
  SNK_CLEAN
  return least ? N(seek_of)(1, n, x) : N(seek_of)(0, n, x);
}

/* Each operation has code of its own; for doubles and on old processors only the sum, and the others ask at every vector. */
#define EACH(MACRO)                                                  \
  if (which != SNK_SUM && (sizeof(T) == 8 || SNK_OLD)) MACRO(which); \
  else                                                               \
    switch (which) {                                                 \
      case SNK_SUM: MACRO(SNK_SUM); break;                           \
      case SNK_PROD: MACRO(SNK_PROD); break;                         \
      case SNK_MAX: MACRO(SNK_MAX); break;                           \
      case SNK_MIN: MACRO(SNK_MIN); break;                           \
      case SNK_SUMSQ: MACRO(SNK_SUMSQ); break;                       \
      case SNK_SUMABS: MACRO(SNK_SUMABS); break;                     \
      default: MACRO(SNK_MAXABS); break;                             \
    }

static T N(row)(int which, int64_t n, const T *x) {
  SNK_CLEAN
  T r = 0;
#define ONE(w) r = N(row_of)(w, n, x)
  EACH(ONE)
#undef ONE
  return r;
}

static void N(cols)(int which, int64_t first, int64_t n, const T *x, int64_t step, int64_t width, void *acc) {
  SNK_CLEAN
#define ONE(w) N(cols_of)(w, first, n, x, step, width, acc)
  EACH(ONE)
#undef ONE
}
#undef EACH

#undef LANES
#undef NV
#undef PITCH
#undef FAR
