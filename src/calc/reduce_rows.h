/* reduce_rows.h - the reductions for one number type; included by reduce.isa.c. T V VM L W(word) N(name) as in map_rows.h. */
#define LANES SNK_REDUCE_LANES
#define NV (LANES / L)
#define TV (SNK_TILE_BYTES / SNK_BYTES)

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

INL T N(row_of)(int which, int64_t n, const T *x) {
  V a[NV];
  const T none = N(empty)(which);
  for (int k = 0; k < NV; k++) a[k] = W(splat)(none);
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (int k = 0; k < NV; k++) a[k] = N(step)(which, a[k], W(load)(x + i + k * L));
  if (i < n) {
    T rest[LANES];
    for (int l = 0; l < LANES; l++) rest[l] = l < n - i ? x[i + l] : none;
    const int64_t used = (n - i + L - 1) / L;
    for (int k = 0; k < used; k++) a[k] = N(step)(which, a[k], W(load)(rest + k * L));
  }
  for (int w = NV / 2; w > 0; w /= 2)
    for (int k = 0; k < w; k++) a[k] = N(join)(which, a[k], a[k + w]);
  T v[L];
  memcpy(v, &a[0], sizeof v);
  for (int w = L / 2; w > 0; w /= 2)
    for (int l = 0; l < w; l++) v[l] = N(join1)(which, v[l], v[l + w]);
  return v[0];
}

INL void N(cols_of)(int which, int64_t first, int64_t n, const T *x, int64_t step, int width, void *acc) {
  V *a = acc;
  if (width == TV * L) {
    for (int64_t i = 0; i < n; i++, x += step) {
      V *lane = a + (first + i) % LANES * TV;
      for (int k = 0; k < TV; k++) lane[k] = N(step)(which, lane[k], W(load)(x + k * L));
    }
    return;
  }
  T part[TV * L];
  for (int k = 0; k < TV * L; k++) part[k] = N(empty)(which);
  for (int64_t i = 0; i < n; i++, x += step) {
    V *lane = a + (first + i) % LANES * TV;
    memcpy(part, x, (size_t)width * sizeof(T));
    for (int k = 0; k < TV; k++) lane[k] = N(step)(which, lane[k], W(load)(part + k * L));
  }
}

#define EACH(MACRO) \
  switch (which) {  \
    case SNK_SUM: MACRO(SNK_SUM); break;       \
    case SNK_PROD: MACRO(SNK_PROD); break;     \
    case SNK_MAX: MACRO(SNK_MAX); break;       \
    case SNK_MIN: MACRO(SNK_MIN); break;       \
    case SNK_SUMSQ: MACRO(SNK_SUMSQ); break;   \
    case SNK_SUMABS: MACRO(SNK_SUMABS); break; \
    default: MACRO(SNK_MAXABS); break;         \
  }

static T N(row)(int which, int64_t n, const T *x) {
  T r = 0;
#define ONE(w) r = N(row_of)(w, n, x)
  EACH(ONE)
#undef ONE
  return r;
}

static void N(cols)(int which, int64_t first, int64_t n, const T *x, int64_t step, int width, void *acc) {
#define ONE(w) N(cols_of)(w, first, n, x, step, width, acc)
  EACH(ONE)
#undef ONE
}
#undef EACH

static void N(cols_finish)(int which, void *acc, int width, void *out) {
  V *a = acc;
  for (int w = LANES / 2; w > 0; w /= 2)
    for (int l = 0; l < w; l++)
      for (int k = 0; k < TV; k++) a[l * TV + k] = N(join)(which, a[l * TV + k], a[(l + w) * TV + k]);
  memcpy(out, a, (size_t)width * sizeof(T));
}
#undef LANES
#undef NV
#undef TV
