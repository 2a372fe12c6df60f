/* conv_ready.h - what convolution copies before it sums, for one number type: the packed weight, the source with its borders and the phases of a stride apart,
 * panels of places; included by conv_tile.h, whose words it uses. */

/* Up to L rows of n places each into n places of L numbers at step `to`, the missing rows zero. */
static void FN(turn_some)(const T *src, int64_t rows, int64_t step, int64_t n, int64_t to, T *dst) {
  for (int64_t j = 0; j < n; j += L) {
    V v[L];
    int64_t left = n - j < L ? n - j : L;
    uint32_t mask = (uint32_t)(((uint64_t)1 << left) - 1);
    SNK_UNROLL
    for (int i = 0; i < L; i++) {
      v[i] = v_zero();
      if (i < rows) {
        if (left == L) v[i] = v_load(src + i * step + j);
        else v[i] = v_take(src + i * step + j, mask);
      }
    }
    v_corner(v);
    SNK_UNROLL
    for (int i = 0; i < L; i++)
      if (i < left) v_store(dst + (j + i) * to, v[i]);
  }
}

/* Rows m0 .. of the weight as groups of mr numbers in the order of k, at snk_conv_at. */
SNK_LOOPS static void FN(pack)(const snk_conv_pass *p, const void *wp, int64_t m0, int64_t mr, void *dstp) {
  SNK_CLEAN
  enum { PLACES = 8 * L };
  const T *w = (const T *)wp + m0 * p->wm;
  T *dst = dstp;
  int64_t off, slot, r = 0, all = p->kh * p->kw, some = p->wc == all ? PLACES / all : 1;
  T turned[PLACES * L] __attribute__((aligned(64)));
  bool turn = mr <= L && all <= PLACES && p->wm > 1;
  for (int64_t c0 = 0; c0 < p->c; c0 += some) { /* the kernels of some channels are turned, then put where they belong */
    int64_t c1 = !turn ? p->c : c0 + some < p->c ? c0 + some : p->c;
    if (turn) FN(turn_some)(w + c0 * p->wc, mr, p->wm, (c1 - c0) * all, L, turned);
    for (int64_t c = c0, left; turn && all == 1 && c < c1; c += left) { /* k is the channel */
      T *at = dst + snk_conv_at(p, m0, mr, c, &left);
      const bool ends = c1 - c >= left; /* behind the block lies what may have been written */
      left = ends ? left : c1 - c;
      const int64_t whole = 2 * mr >= L ? left - ends : 0; /* what is too much is written over by the next */
      for (int64_t k = 0; k < left; k++, at += mr) {
        const T *from = turned + (c - c0 + k) * L;
        if (k < whole) v_store(at, v_load(from));
        else
          for (int64_t i = 0; i < mr; i++) at[i] = from[i];
      }
    }
    if (turn && all == 1) continue;
    int64_t outer = p->tap_rows ? p->y.taps : c1 - c0, inner = p->tap_rows ? c1 - c0 : p->y.taps;
    T *to = NULL;
    for (int64_t u = 0, left = 0; u < outer; u++) { /* left: of a block */
      if (p->tap_rows) left = 0;
      for (int64_t v = 0; v < inner; v++) { /* in the order of k, which is without gaps but between rows of taps */
        int64_t ty = p->tap_rows ? u : v, c = c0 + (p->tap_rows ? v : u), k = snk_conv_k(p, c, ty);
        const bool end = p->tap_rows && c + 1 == p->c; /* the next has been written */
        if (v == 0 || !p->tap_rows) snk_conv_tap(&p->y, ty, &r, &slot, &off); /* it divides */
        for (int64_t tx = 0; tx < p->x.taps; tx++, to += mr, k++, left--) {
          int64_t at = r * p->kw + p->x.first + tx * p->x.every;
          if (left == 0) to = dst + snk_conv_at(p, m0, mr, k, &left);
          if (!turn)
            for (int64_t i = 0; i < mr; i++) to[i] = w[c * p->wc + i * p->wm + at];
          else if (2 * mr >= L && left > 1 && !(end && tx + 1 == p->x.taps)) /* what is too much is written over by the next */
            v_store(to, v_load(turned + ((c - c0) * all + at) * L));
          else
            for (int64_t i = 0; i < mr; i++) to[i] = turned[((c - c0) * all + at) * L + i];
        }
      }
    }
    if (!turn) break;
  }
}

SNK_INLINE void FN(copy)(T *dst, const T *src, int64_t n) {
  int64_t j = 0;
  for (; j + L <= n; j += L) v_store(dst + j, v_load(src + j));
  if (n >= L) {
    if (j < n) v_store(dst + n - L, v_load(src + n - L));
  } else
    for (; j < n; j++) dst[j] = src[j];
}

/* n places of a row whose first is position `start`: zero outside. */
SNK_LOOPS static void FN(row)(T *dst, const T *src, int64_t n, int64_t start, int64_t step, int64_t size) {
  int64_t lo = start < 0 ? (-start + step - 1) / step : 0, hi = start < size ? (size - start + step - 1) / step : 0;
  if (lo > n) lo = n;
  if (hi > n) hi = n;
  if (hi < lo) hi = lo;
  for (int64_t j = 0; j < lo; j++) dst[j] = 0;
  if (step == 1) FN(copy)(dst + lo, src + start + lo, hi - lo);
  else {
    int64_t j = lo;
    if (step == 2)
      for (; j + L <= hi && start + 2 * (j + L) <= size; j += L) {
        const T *from = src + start + 2 * j;
        v_store(dst + j, V_EVEN(v_load(from), v_load(from + L)));
      }
    for (; j < hi; j++) dst[j] = src[start + j * step];
  }
  for (int64_t j = hi; j < n; j++) dst[j] = 0;
}

SNK_INLINE V FN(take)(const T *p, uint32_t mask) {
  if (ALL_MASKED) return v_take(p, mask);
  if (mask == (uint32_t)(((uint64_t)1 << L) - 1)) return v_load(p);
  return mask ? v_take(p, mask) : v_zero();
}

SNK_INLINE void FN(zeros)(T *dst, int64_t n) {
  for (int64_t j = 0; j < n; j += L) v_store(dst + j, v_zero());
}

/* n rows as whole vectors; what is too much is written over by the next row. */
SNK_INLINE void FN(rows)(const int chunks, const int64_t step, const T *src, int64_t from, int64_t n, const uint32_t *in, int64_t pitch, T *dst) {
  for (; n > 0; n--, src += from, dst += pitch)
    for (int j = 0; j < chunks; j++) {
      V v = FN(take)(src + j * L * step, in[2 * j]);
      if (step == 2) v = V_EVEN(v, FN(take)(src + j * L * 2 + L, in[2 * j + 1]));
      v_store(dst + j * L, v);
    }
}

/* The source of output rows oy0 .. oy0+n-1 of one image and group, with borders and phases apart. */
SNK_LOOPS static void FN(prepare)(const snk_conv_pass *p, const void *srcp, int64_t oy0, int64_t n, void *dstp) {
  SNK_CLEAN
  enum { CHUNKS = 8, SLOTS = 8 };
  const snk_conv_side *y = &p->y, *x = &p->x;
  const int64_t places = n + y->span - y->n, splane = y->src * x->src, pitch = p->pitch;
  const bool vectors = pitch <= CHUNKS * L && x->step <= 2 && x->slots <= SLOTS;
  uint32_t in[SLOTS][2 * CHUNKS]; /* what lies in the row, in turn for the first and second of two vectors, of which every second number counts */
  const int chunks = (int)((pitch + L - 1) / L);
  for (int64_t jx = 0; jx < x->slots && vectors; jx++)
    for (int64_t j = 0; j < 2 * chunks; j++)
      in[jx][j] = snk_inside(x->origin + snk_conv_phase(x, jx) + (j / 2 * x->step + j % 2) * L, x->src, L);
  for (int64_t c = 0; c < p->c; c++)
    for (int64_t jy = 0; jy < y->slots; jy++) {
      const int64_t first = y->origin + snk_conv_phase(y, jy) + oy0 * y->step;
      int64_t lo = first < 0 ? (-first + y->step - 1) / y->step : 0, hi = first < y->src ? (y->src - first + y->step - 1) / y->step : 0;
      if (hi > places) hi = places;
      if (lo > hi) lo = hi; /* rows of the source; above and below is border */
      for (int64_t jx = 0; jx < x->slots; jx++) {
        T *dst = (T *)dstp + c * p->plane + (jy * x->slots + jx) * p->rows * pitch;
        const int64_t start = x->origin + snk_conv_phase(x, jx), from = y->step * x->src;
        const T *src = (const T *)srcp + c * splane + (first + lo * y->step) * x->src;
        FN(zeros)(dst, lo * pitch);
        dst += lo * pitch;
#define ROWS(chunks, step) FN(rows)(chunks, step, src + start, from, hi - lo, in[jx], pitch, dst)
        if (!vectors)
          for (int64_t i = 0; i < hi - lo; i++) FN(row)(dst + i * pitch, src + i * from, pitch, start, x->step, x->src);
        else if (x->step == 1) ROWS(chunks, 1);
        else if (ALL_MASKED && chunks == 1) ROWS(1, 2);
        else if (ALL_MASKED && chunks == 2) ROWS(2, 2);
        else ROWS(chunks, 2);
#undef ROWS
        FN(zeros)(dst + (hi - lo) * pitch, (places - hi) * pitch);
      }
    }
}

/* Rows of `width` at a pitch: how the gradient lies beside a prepared source. What is between the rows is not read. */
SNK_LOOPS static void FN(spread)(const void *srcp, int64_t channels, int64_t plane, int64_t rows, int64_t width, int64_t pitch, int64_t to,
                                 void *dstp) {
  SNK_CLEAN
  for (int64_t c = 0; c < channels; c++) {
    const T *src = (const T *)srcp + c * plane;
    T *dst = (T *)dstp + c * to;
    for (int64_t i = 0; i < rows; i++) {
      for (int64_t j = 0; j < width; j += L) SNK_ASK(src + i * width + j, 4096);
      FN(copy)(dst + i * pitch, src + i * width, width);
    }
  }
}

#if NARROW
static void FN(spread_narrow)(const void *srcp, int64_t channels, int64_t plane, int64_t rows, int64_t width, int64_t pitch, int64_t to, void *dstp) {
  for (int64_t c = 0; c < channels; c++) {
    const uint16_t *src = (const uint16_t *)srcp + c * plane;
    T *dst = (T *)dstp + c * to;
    for (int64_t i = 0; i < rows; i++, src += width, dst += pitch)
      for (int64_t j = 0; j < width; j += L) {
        const uint32_t mask = snk_inside(j, width, L);
        SNK_ASK(src + j, 4096);
        v_chosen(dst + j, v_take_narrow(src + j, mask), mask);
      }
  }
}
#endif

/* A run of places that lie side by side in the source, from lane `lane` of an exact tile on. */
typedef struct FN(stretch) { int64_t lane, n, image, row, col; } FN(stretch);
static int FN(stretches)(const snk_conv_pass *p, const snk_conv_piece *piece, int64_t at, FN(stretch) *s) {
  int64_t width = p->x.n, across = piece->images * width, row = at / across, image = at % across / width, col = at % width, end = piece->places - at;
  if (end > FN(NR)) end = FN(NR);
  int n = 0;
  if (piece->images == 1 && p->pitch == width && p->unit) { /* rows follow one another in the source and in the result */
    s[0] = (FN(stretch)){0, end, 0, row, col};
    return 1;
  }
  for (int64_t lane = 0; lane < end; n++) {
    int64_t len = width - col < end - lane ? width - col : end - lane;
    s[n] = (FN(stretch)){lane, len, image, row, col};
    lane += len, col = 0;
    if (++image == piece->images) image = 0, row++;
  }
  return n;
}

SNK_INLINE void FN(panel_of)(const int parts, const int64_t *froms, const int64_t *tos, const T *src, const int64_t *koff, int64_t n, T *dst) {
  enum { NR = FN(NR) };
  int64_t from[8], to[8]; /* in registers */
  SNK_UNROLL
  for (int i = 0; i < parts; i++) from[i] = froms[i], to[i] = tos[i];
  for (int64_t k = 0; k < n; k++, dst += NR) {
    const T *base = src + koff[k];
    SNK_UNROLL
    for (int i = 0; i < parts; i++) v_store(dst + to[i], v_load(base + from[i]));
  }
}

/* Rows k0 .. k1-1. Whole vectors are copied; what they bring too much is written over by what follows. Where the source is read in its place
 * there may be nothing behind it: the last of a stretch bring no more than they should. */
SNK_LOOPS static void FN(panel)(const snk_conv_pass *p, const snk_conv_piece *piece, const FN(stretch) *s, int n, const T *src, int64_t k0,
                      int64_t k1, T *dst) {
  enum { NR = FN(NR) };
  int64_t from[2 * NR], to[2 * NR];
  uint32_t mask[2 * NR];
  int parts = 0;
  bool whole = true;
  for (int i = 0; i < n; i++)
    for (int64_t o = 0; o < s[i].n; o += L, parts++) {
      from[parts] = s[i].image * piece->step + s[i].row * p->pitch + s[i].col + o;
      to[parts] = s[i].lane + o;
      mask[parts] = snk_inside(0, s[i].n - o, L);
      whole = whole && s[i].n - o >= L;
    }
  const int64_t *koff = p->koff + k0;
  if (p->direct && !whole) {
    for (int64_t k = 0; k < k1 - k0; k++, dst += NR)
      for (int i = 0; i < parts; i++) v_store(dst + to[i], FN(take)(src + koff[k] + from[i], mask[i]));
    return;
  }
  switch (parts) {
#define PARTS(n) case n: FN(panel_of)(n, from, to, src, koff, k1 - k0, dst); return;
    PARTS(1) PARTS(2) PARTS(3) PARTS(4) PARTS(5) PARTS(6) PARTS(7) PARTS(8)
#undef PARTS
  }
  for (int64_t k = 0; k < k1 - k0; k++, dst += NR)
    for (int i = 0; i < parts; i++) v_store(dst + to[i], v_load(src + koff[k] + from[i]));
}
