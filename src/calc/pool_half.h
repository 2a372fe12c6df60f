/* pool_half.h - pooling of windows of two by two, side by side, of bfloat16 numbers as they are, in two bytes; included by pool.isa.c for AVX-512 behind
 * pool_plane.h. A word of 32 bits has both numbers of a window's row: to split them takes no shuffle. The floats are those of pool_plane.h, so the bits are.
 */

INL __m512i take_halves(const uint16_t *p, __mmask32 m) { return _mm512_maskz_loadu_epi16(m, p); }
INL vf first_of(__m512i v) { return (vf)_mm512_slli_epi32(v, 16); }
INL vf second_of(__m512i v) { return (vf)_mm512_and_si512(v, _mm512_set1_epi32((int)0xffff0000)); }
/* The last vector's windows of `out`, of VF each, and their numbers in two vectors. */
INL __mmask16 last_windows(int64_t out) { return (__mmask16)lanes((out - 1) % VF + 1, 16); }
INL __mmask32 last_numbers(int64_t out) { return (__mmask32)lanes(2 * ((out - 1) % VF + 1), 32); }

static void max_half(const snk_pool_shape *s, const void *xp, void *yp) {
  const bool half = s->half_y;
  const int64_t width = s->x.in, out = s->x.out, size = half ? 2 : 4;
  const __mmask16 windows = last_windows(out);
  const __mmask32 numbers = last_numbers(out);
  char *y = yp;
  for (int64_t i = 0; i < s->y.out; i++, y += out * size) {
    const uint16_t *a = (const uint16_t *)xp + 2 * i * width, *b = a + width;
    for (int64_t j = 0; j < out; j += VF) {
      const bool whole = j + VF <= out;
      SNK_ASK(a + 2 * j, AHEAD_f32), SNK_ASK(b + 2 * j, AHEAD_f32);
      const __m512i p = take_halves(a + 2 * j, whole ? (__mmask32)-1 : numbers), q = take_halves(b + 2 * j, whole ? (__mmask32)-1 : numbers);
      const vf m = vf_max(vf_max(second_of(q), second_of(p)), vf_max(first_of(q), first_of(p)));
      const __mmask16 some = whole ? (__mmask16)-1 : windows;
      if (half) _mm256_mask_storeu_epi16(y + j * size, some, _mm512_cvtepi32_epi16(_mm512_srli_epi32((__m512i)m, 16)));
      else _mm512_mask_storeu_ps(y + j * size, some, (__m512)m);
    }
  }
}

/* A row of windows' gradients gv, which are bfloat16 numbers, at the first or the second number, for the chosen ones of the numbers from `at` on. */
INL void put_pairs(bool half, void *gx, int64_t at, __m512i gv, __mmask16 first, __mmask16 second, __mmask32 numbers) {
  if (half) {
    const __m512i both = _mm512_mask_mov_epi32(_mm512_maskz_srli_epi32(first, gv, 16), second, gv);
    _mm512_mask_storeu_epi16((uint16_t *)gx + at, numbers, both);
  } else {
    const vf a = (vf)_mm512_maskz_mov_epi32(first, gv), b = (vf)_mm512_maskz_mov_epi32(second, gv);
    float *to = (float *)gx + at;
    _mm512_mask_storeu_ps(to, (__mmask16)numbers, (__m512)LOWF(a, b));
    _mm512_mask_storeu_ps(to + VF, (__mmask16)(numbers >> 16), (__m512)HIGHF(a, b));
  }
}

/* What relu gave is compared as it lies, if there is no NaN (and no sign) among it: as numbers without sign. gv at the first of each window's largest, where that is
 * above zero, else zeros. */
INL bool share_halves(__m512i top, __m512i bottom, __m512i gv, __m512i *above, __m512i *below) {
  const uint32_t first = 0x55555555;
  const __m512i most = _mm512_max_epu16(top, bottom), m = _mm512_max_epu16(most, _mm512_rol_epi32(most, 16)), both = _mm512_or_si512(gv, _mm512_srli_epi32(gv, 16));
  if (_mm512_cmpgt_epu16_mask(most, _mm512_set1_epi16(0x7f80))) return false;
  const uint32_t some = _mm512_test_epi16_mask(m, m), a = _mm512_cmpeq_epi16_mask(top, m), b = _mm512_cmpeq_epi16_mask(bottom, m), in_top = (a | a >> 1) & first;
  *above = _mm512_maskz_mov_epi16(a & ~((a & first) << 1) & some, both);
  *below = _mm512_maskz_mov_epi16(b & ~((b & first) << 1) & ~(in_top * 3) & some, both);
  return true;
}

/* gx may lie over x if it is halves too: the next are loaded before these are stored. */
static void max_back_half(const snk_pool_shape *s, const void *gp, const void *xp, void *gx) {
  const bool half = s->half_gx, relu = s->relu, half_g = s->half_y;
  const uint16_t *x = xp;
  const char *g = gp;
  const int64_t width = s->x.in, out = s->x.out, size = half ? 2 : 4;
  const __mmask16 windows = last_windows(out);
  const __mmask32 numbers = last_numbers(out), begin = out > VF ? (__mmask32)-1 : numbers,
                  edge = numbers | (__mmask32)(width > 2 * out ? numbers + 1 : 0); /* with a column that is in no window: zeros */
  char *to = gx;
  __m512i p = take_halves(x, begin), q = take_halves(x + width, begin);
  for (int64_t i = 0; i < s->y.out; i++, g += out * (half_g ? 2 : 4), x += 2 * width, to += 2 * width * size) {
    char *below = to + width * size;
    for (int64_t j = 0; j < out; j += VF) {
      const __m512i top = p, bottom = q;
      const bool more = j + VF < out, last = !more && i + 1 == s->y.out;
      const uint16_t *next = x + (more ? 2 * (j + VF) : 2 * width);
      const __mmask32 n = more ? j + 2 * VF <= out ? (__mmask32)-1 : numbers : last ? 0 : begin, some = more ? (__mmask32)-1 : edge;
      p = take_halves(next, n), q = take_halves(next + width, n);
      SNK_ASK(x + 2 * j, AHEAD_f32), SNK_ASK(x + width + 2 * j, AHEAD_f32);
      for (int64_t k = 0; k < 32 * size; k += 64) SNK_ASK_TO_WRITE(to + 2 * j * size + k, AHEAD_f32), SNK_ASK_TO_WRITE(below + 2 * j * size + k, AHEAD_f32);
      const __mmask16 inside = more ? (__mmask16)-1 : windows;
      const __m512i gv = half_g ? _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(inside, g + 2 * j)), 16) : _mm512_maskz_loadu_epi32(inside, g + 4 * j);
      __m512i a, b;
      if (half && relu && share_halves(top, bottom, gv, &a, &b)) {
        _mm512_mask_storeu_epi16(to + 4 * j, some, a), _mm512_mask_storeu_epi16(below + 4 * j, some, b);
        continue;
      }
      const winners w = winners_of(relu, first_of(top), second_of(top), first_of(bottom), second_of(bottom));
      put_pairs(half, to, 2 * j, gv, w.a, w.b, some);
      put_pairs(half, below, 2 * j, gv, w.c, w.d, some);
    }
    if (width > 2 * out && out % VF == 0) memset(to + 2 * out * size, 0, (size_t)size), memset(below + 2 * out * size, 0, (size_t)size);
  }
  memset(to, 0, (size_t)((s->y.in - 2 * s->y.out) * width * size));
}
