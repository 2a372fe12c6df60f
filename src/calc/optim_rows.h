/* optim_rows.h - body of optim.isa.c for one number type: T, its vector V with L lanes, mask VM, words W(f), names N(name). */

INL V N(fetch)(const char *p, int64_t s, int64_t n) {
  if (s == (int64_t)sizeof(T)) return W(get)((const T *)(const void *)p, n);
  V v = W(splat)(1);
  for (int64_t l = 0; l < n && l < L; l++) v[l] = *(const T *)(const void *)(p + l * s);
  return v;
}

INL void N(put)(char *p, int64_t s, int64_t n, V v) {
  if (s == (int64_t)sizeof(T)) {
    W(set)((T *)(void *)p, v, n);
    return;
  }
  for (int64_t l = 0; l < n && l < L; l++) *(T *)(void *)(p + l * s) = v[l];
}

/* The gradient with weight decay. */
INL V N(decayed)(V g, V p, V decay, bool decays, bool round) {
  if (sizeof(T) == 4 && round) g = W(nearest_bf16)(g);
  return decays ? W(fma)(decay, p, g) : g;
}

#define K(c) W(splat)((T)(c))
#define GET(i) (whole ? W(load)((const T *)(const void *)q[i] + at) : N(fetch)(q[i] + at * s[i], s[i], n - at))
#define PUT(i, v) (whole ? W(store)((T *)(void *)q[i] + at, v) : N(put)(q[i] + at * s[i], s[i], n - at, v))
/* Whole vectors of consecutive numbers first; the tail and other strides element by element, with the same bits. */
#define ROW(name, operands, constants, ...)                                                     \
  static void N(name)(int64_t n, char *const *restrict q, const int64_t *restrict s, const snk_optim_args *restrict a) {   \
    SNK_CLEAN                                                                                   \
    constants;                                                                                  \
    bool close = true;                                                                          \
    for (int k = 0; k < operands; k++) close &= s[k] == (int64_t)sizeof(T);                     \
    int64_t at = 0;                                                                             \
    if (close) {                                                                                \
      const bool whole = true;                                                                  \
      for (; at + L <= n; at += L) { __VA_ARGS__; }                                             \
    }                                                                                           \
    const bool whole = false;                                                                   \
    for (; at < n; at += L) { __VA_ARGS__; }                                                    \
  }

#define FMA(a, b, c) W(fma)(a, b, c)
#define DECAYED(p) N(decayed)(GET(1), p, decay, decays, round)
#define HIDE(b) __asm__("" : "+r"(b)) /* else it is found out anew for each vector */
#define RATE const V less = K(-a->lr); const V decay = K(a->decay); bool decays = a->decay != 0, round = a->round != 0; HIDE(decays); HIDE(round)

ROW(sgd, 2, RATE, {
  const V p = GET(0), g = DECAYED(p);
  PUT(0, FMA(less, g, p));
})

ROW(momentum, 3, RATE; const V mu = K(a->momentum); const V keep = K(a->keep), {
  const V p = GET(0), g = DECAYED(p), b = a->first ? g : FMA(mu, GET(2), keep * g);
  PUT(2, b);
  PUT(0, FMA(less, a->nesterov ? FMA(mu, b, g) : b, p));
})

ROW(rmsprop, 3, RATE; const V rho = K(a->rho); const V rest = K(1 - a->rho); const V eps = K(a->epsilon);
    const V repairs = N(repairs)(), {
  const V p = GET(0), g = DECAYED(p), v = FMA(rho, GET(2), rest * (g * g));
  PUT(2, v);
  PUT(0, FMA(less, g / N(divisor)(v, K(1), eps, repairs), p));
})

ROW(adam, 4, RATE; const V shrink = K(a->shrink); const V b2 = K(a->beta2); const V r1 = K(1 - a->beta1); const V r2 = K(1 - a->beta2);
    const V root = K(a->root); const V eps = K(a->epsilon); const V repairs = N(repairs)(), {
  const V p = GET(0) * shrink, g = DECAYED(p), m0 = GET(2), m = FMA(g - m0, r1, m0), v = FMA(b2, GET(3), r2 * (g * g));
  PUT(2, m);
  PUT(3, v);
  PUT(0, FMA(less, m / N(divisor)(v, root, eps, repairs), p));
})

ROW(clip_value, 1, const V high = K(a->limit); const V low = K(-a->limit), PUT(0, W(max)(W(min)(GET(0), high), low)))
ROW(scale, 1, const V c = K(a->scale), PUT(0, GET(0) * c))

#undef K
#undef GET
#undef PUT
#undef ROW
#undef FMA
#undef DECAYED
#undef RATE
#undef HIDE
