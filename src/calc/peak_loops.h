/* peak_loops.h - the loops of peak.isa.c for one type; read by both.h. The count of numbers is a multiple of 128. */

static double N(fma)(int64_t turns, const void *two) {
  SNK_CLEAN
  const V a = W(splat)(((const T *)two)[0]), b = W(splat)(((const T *)two)[1]);
  V x[CHAINS];
  SNK_UNROLLED
  for (int i = 0; i < CHAINS; i++) x[i] = W(splat)((T)i);
  for (int64_t k = 0; k < turns; k++) {
    SNK_UNROLLED
    for (int i = 0; i < CHAINS; i++) x[i] = W(fma)(x[i], a, b);
  }
  for (int i = 1; i < CHAINS; i++) x[0] += x[i];
  return (double)W(total)(x[0]);
}

static double N(read)(const void *x, int64_t n) {
  const T *p = x;
  V s[8] = {{0}};
  for (int64_t i = 0; i < n; i += 8 * L) {
    SNK_UNROLLED
    for (int k = 0; k < 8; k++) s[k] += W(load)(p + i + k * L);
  }
  for (int k = 1; k < 8; k++) s[0] += s[k];
  return (double)W(total)(s[0]);
}

static void N(copy)(void *y, const void *x, int64_t n) {
  for (int64_t i = 0; i < n; i += 2 * L) {
    const V u = W(load)((const T *)x + i), v = W(load)((const T *)x + i + L);
    W(store)((T *)y + i, u);
    W(store)((T *)y + i + L, v);
  }
}
