/* conv_half_copy.bf16.c - planes as convolution of bfloat16 numbers reads them (conv_half.h): rows of places, pairs of channels, pairs of places. */
#include "calc/conv_half.h"
#include "calc/half.h"
#include "calc/lanes.h"

enum { AHEAD = 1024 };

void snk_half_parts(const snk_half_copy *c, snk_half_part *part) {
  const snk_half_axis *x = &c->x;
  for (int64_t t = 0; t < c->copies; t++)
    for (int64_t q = 0; q < c->parts; q++, part++) {
      const int64_t at = 16 * q * x->step + t * x->every - x->border, odd = x->spread == 2 ? at & 1 : 0, from = (at + odd) / x->spread;
      *part = (snk_half_part){.from = (int32_t)from};
      for (int64_t l = odd; l < 16 && 16 * q + l < c->width; l += x->spread) {
        const int64_t j = x->spread == 2 ? (l - odd) / 2 : l * x->step; /* of the numbers read */
        if (from + j < 0 || from + j >= x->src) continue;
        if (j < 16) part->first |= (uint16_t)(1u << j);
        else part->second |= (uint16_t)(1u << (j - 16));
        part->spread |= (uint16_t)(1u << l);
      }
      for (int64_t l = 0; l < c->lanes && c->room > 0; l++) {
        const int64_t o = c->side > 1 ? l % c->slot : 16 * q + l, i = o * x->step + t * x->every - x->border;
        if (o >= c->width || i < 0 || i % x->spread != 0 || i / x->spread >= x->src) continue;
        part->pick[l] = (uint8_t)((c->side > 1 ? l / c->slot : 0) * c->room + i / x->spread);
        part->some |= 1u << l;
      }
    }
}

/* Where number p of the source is: pointers into bfloat16 numbers count as if those were floats. */
SNK_INLINE const uint16_t *place_of(const snk_half_copy *c, const float *p) { return (const uint16_t *)(const void *)c->narrow + (p - c->narrow); }
SNK_INLINE __m512 some_of(const snk_half_copy *c, __mmask16 some, const float *p) {
  if (c->narrow == NULL) return _mm512_maskz_loadu_ps(some, p);
  return vf_take_narrow(place_of(c, p), some);
}
SNK_INLINE void ask(const snk_half_copy *c, const float *p) { __builtin_prefetch(c->narrow ? (const void *)place_of(c, p) : p); }

enum { PLAIN, STRIDE, SPREAD };
static int kind_of(const snk_half_copy *c) { return c->x.step == 2 ? STRIDE : c->x.spread == 2 ? SPREAD : PLAIN; }
/* Sixteen places of the row that begins at p. */
SNK_INLINE __m512 take(const int kind, const snk_half_copy *c, const float *p, const snk_half_part *e) {
  const float *from = p + e->from;
  const __m512 v = some_of(c, e->first, from);
  if (kind == PLAIN) return v;
  if (kind == SPREAD) { /* the mask may lack places at the ends, whose numbers are not read */
    const int odd = e->spread & 0xAAAA ? 1 : 0;
    return _mm512_maskz_expand_ps((__mmask16)(0x5555 << odd), v);
  }
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  return _mm512_permutex2var_ps(v, even, some_of(c, e->second, from + 16));
}
/* The source's row that row y of the copy has, or -1. */
SNK_INLINE int64_t row_of(const snk_half_axis *a, int64_t y) {
  const int64_t at = y - a->border;
  if (a->spread == 1) return at < a->src ? at : -1;
  return at >= 0 && at % 2 == 0 && at / 2 < a->src ? at / 2 : -1;
}
/* Numbers ahead of what is read now, some planes further: the processor begins anew with each page. */
static int64_t further(int64_t plane) { return plane >= AHEAD ? plane : (AHEAD + plane - 1) / plane * plane; }

/* Sixteen places of images side by side, the first `n` of whose rows begin at p[0], p[1] .. */
SNK_INLINE __m512 beside(const int kind, const snk_half_copy *c, const float *const *p, int64_t n, const snk_half_part *e) {
  const int64_t slot = c->slot;
  __m512 v = _mm512_setzero_ps();
  for (int64_t s = 0; s < n; s++)
    if (kind == PLAIN) v = _mm512_or_ps(v, some_of(c, (__mmask16)(e->first << s * slot), p[s] + e->from - s * slot));
    else v = _mm512_mask_expand_ps(v, (__mmask16)(((1u << slot) - 1) << s * slot), take(kind, c, p[s], e));
  return v;
}

enum { SIDE = 32 };
/* Numbers 16 h .. of a row of the source, those of images side by side as `room` says. */
SNK_INLINE __m512 sixteen(const snk_half_copy *c, const float *const *p, int64_t images, int64_t h) {
  const int64_t src = c->x.src, left = src - 16 * h;
  if (c->side == 1) return left <= 0 ? _mm512_setzero_ps() : some_of(c, left >= 16 ? (__mmask16)0xFFFF : vf_lanes(left), p[0] + 16 * h);
  if (c->room >= 16) { /* an image has whole vectors */
    const int64_t each = c->room / 16, s = h / each, part = h % each, some = src - 16 * part;
    return s >= images || some <= 0 ? _mm512_setzero_ps() : some_of(c, some >= 16 ? (__mmask16)0xFFFF : vf_lanes(some), p[s] + 16 * part);
  }
  __m512 v = _mm512_setzero_ps();
  const int64_t each = 16 / c->room;
  for (int64_t s = 0; s < each && h * each + s < images; s++)
    v = _mm512_or_ps(v, some_of(c, (__mmask16)(((1u << src) - 1) << s * c->room), p[h * each + s] - s * c->room));
  return v;
}

/* Pairs of channels where rows of the source fit in two registers. */
static void pairs_picked(const snk_half *p, const float *src, int64_t images, int64_t y0, int64_t rows, uint32_t *to) {
  const snk_half_copy *c = &p->copy;
  const __m512i high = _mm512_set1_epi32((int)0xFFFF0000), none = _mm512_setzero_si512();
  const int64_t splane = c->y.src * c->x.src, ahead = 2 * further(splane), step = p->groups * p->c * splane, count = c->copies * c->parts;
  const bool both = c->side > 1 || c->x.src > 16;
  __m512i pick[SNK_HALF_PICKS];
  __mmask16 some[SNK_HALF_PICKS];
  int64_t at[SNK_HALF_PICKS];
  for (int64_t k = 0; k < count; k++) {
    pick[k] = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)c->part[k].pick)), some[k] = (__mmask16)c->part[k].some;
    at[k] = k / c->parts * c->column + k % c->parts * 16;
  }
  for (int64_t q = 0; q < p->blocks * p->pairs; q++) {
    uint32_t *row = to + q * c->plane;
    const float *a = src + 2 * q * splane;
    const int have = 2 * q + 1 < p->c ? 2 : 2 * q < p->c;
    for (int64_t r = 0; r < rows; r++, row += c->pitch) {
      const int64_t y = have ? row_of(&c->y, y0 + r) : -1, second = have == 2 ? splane : 0;
      if (y < 0) {
        for (int64_t k = 0; k < count; k++) _mm512_store_si512(row + at[k], none);
        continue;
      }
      const float *many[SIDE], *many2[SIDE];
      for (int64_t s = 0; s < images; s++) {
        many[s] = a + y * c->x.src + s * step, many2[s] = many[s] + second;
        for (int64_t i = 0; i < c->x.src; i += 16) ask(c, many[s] + i + ahead), ask(c, many2[s] + i + ahead);
      }
      __m512i v[2] = {none, none};
      for (int h = 0; h < 1 + both; h++) {
        v[h] = _mm512_srli_epi32(_mm512_castps_si512(sixteen(c, many, images, h)), 16);
        if (have == 2) v[h] = _mm512_or_si512(v[h], _mm512_and_si512(_mm512_castps_si512(sixteen(c, many2, images, h)), high));
      }
      for (int64_t k = 0; k < count; k++) _mm512_store_si512(row + at[k], _mm512_maskz_permutex2var_epi32(some[k], v[0], pick[k], v[1]));
    }
  }
}

/* Rows of bfloat16 numbers where rows of the source fit in one register or two. */
static void rows_picked(const snk_half_copy *c, const float *src, int64_t channels, int64_t y0, int64_t rows, int64_t n, int64_t step, int64_t stack, uint16_t *to) {
  const __m512i none = _mm512_setzero_si512();
  const int64_t splane = c->y.src * c->x.src, ahead = further(splane), vectors = c->side > 1 ? 1 : c->pitch / 32, count = c->copies * vectors;
  __m512i pick[SNK_HALF_PICKS];
  __mmask32 some[SNK_HALF_PICKS];
  int64_t at[SNK_HALF_PICKS];
  for (int64_t k = 0; k < count; k++) {
    const snk_half_part *e = c->part + k / vectors * c->parts + k % vectors * 2;
    pick[k] = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)e->pick)), some[k] = e->some;
    at[k] = k / vectors * c->column + k % vectors * 32;
  }
  for (int64_t ch = 0; ch < channels; ch++)
    for (int64_t m = 0; m < n; m += c->side) {
      uint16_t *row = to + ch * c->plane + m / c->side * stack;
      const float *a = src + m * step + ch * splane;
      const int64_t images = n - m < c->side ? n - m : c->side; /* those that are not there are zeros */
      for (int64_t r = 0; r < rows; r++, row += c->pitch) {
        const int64_t y = row_of(&c->y, y0 + r);
        if (y < 0) {
          for (int64_t k = 0; k < count; k++) _mm512_store_si512(row + at[k], none);
          continue;
        }
        const float *many[SIDE];
        for (int64_t s = 0; s < images; s++) {
          many[s] = a + y * c->x.src + s * step;
          for (int64_t i = 0; i < c->x.src; i += 16) ask(c, many[s] + i + ahead);
        }
        const __m512i v = snk_tile_row(sixteen(c, many, images, 0), sixteen(c, many, images, 1));
        if (c->side == 1 && c->x.src <= 32)
          for (int64_t k = 0; k < count; k++) _mm512_store_si512(row + at[k], _mm512_maskz_permutexvar_epi16(some[k], pick[k], v));
        else {
          const __m512i u = snk_tile_row(sixteen(c, many, images, 2), sixteen(c, many, images, 3));
          for (int64_t k = 0; k < count; k++) _mm512_store_si512(row + at[k], _mm512_maskz_permutex2var_epi16(some[k], v, pick[k], u));
        }
      }
    }
}

SNK_INLINE void pairs_of(const int kind, const bool several, const snk_half *p, const float *src, int64_t images, int64_t y0, int64_t rows, uint32_t *to) {
  const snk_half_copy *c = &p->copy;
  const __m512i high = _mm512_set1_epi32((int)0xFFFF0000);
  const int64_t splane = c->y.src * c->x.src, ahead = 2 * further(splane), step = p->groups * p->c * splane;
  for (int64_t q = 0; q < p->blocks * p->pairs; q++) {
    uint32_t *row = to + q * c->plane;
    const float *a = src + 2 * q * splane;
    const int have = 2 * q + 1 < p->c ? 2 : 2 * q < p->c;
    for (int64_t r = 0; r < rows; r++, row += c->pitch) {
      const int64_t y = have ? row_of(&c->y, y0 + r) : -1, second = have == 2 ? splane : 0;
      const float *ra = a + y * c->x.src, *many[SIDE], *many2[SIDE];
      if (y >= 0)
        for (int64_t s = 0; s < (several ? images : 1); s++) {
          many[s] = ra + s * step, many2[s] = many[s] + second;
          for (int64_t i = 0; i < c->x.src; i += 16) ask(c, many[s] + i + ahead), ask(c, many2[s] + i + ahead);
        }
      const snk_half_part *e = c->part;
      for (int64_t t = 0; t < c->copies; t++)
        for (int64_t i = 0; i < c->parts; i++, e++) {
          __m512i v = _mm512_setzero_si512();
          if (y >= 0) {
            const __m512 u = several ? beside(kind, c, many, images, e) : take(kind, c, ra, e);
            v = _mm512_srli_epi32(_mm512_castps_si512(u), 16);
            if (have == 2) {
              const __m512 w = several ? beside(kind, c, many2, images, e) : take(kind, c, ra + splane, e);
              v = _mm512_or_si512(v, _mm512_and_si512(_mm512_castps_si512(w), high));
            }
          }
          _mm512_store_si512(row + t * c->column + 16 * i, v);
        }
    }
  }
}
void snk_half_pairs(const snk_half *p, const float *src, int64_t images, int64_t y0, int64_t rows, uint32_t *to) {
  const int kind = kind_of(&p->copy);
  const bool several = p->copy.side > 1;
  if (p->copy.room > 0) {
    pairs_picked(p, src, images, y0, rows, to);
    return;
  }
  if (kind == PLAIN && several) pairs_of(PLAIN, true, p, src, images, y0, rows, to);
  else if (kind == PLAIN) pairs_of(PLAIN, false, p, src, images, y0, rows, to);
  else if (kind == STRIDE) pairs_of(STRIDE, several, p, src, images, y0, rows, to);
  else pairs_of(SPREAD, several, p, src, images, y0, rows, to);
}

SNK_INLINE void rows_of(const int kind, const bool several, const snk_half_copy *c, const float *src, int64_t channels, int64_t y0, int64_t rows, int64_t n, int64_t step,
                        int64_t stack, uint16_t *to) {
  const int64_t splane = c->y.src * c->x.src, ahead = further(splane), half = c->side / 2;
  for (int64_t ch = 0; ch < channels; ch++)
    for (int64_t m = 0; m < n; m += c->side) {
      uint16_t *row = to + ch * c->plane + m / c->side * stack;
      const float *a = src + m * step + ch * splane;
      const int64_t images = n - m < c->side ? n - m : c->side; /* those that are not there are zeros */
      for (int64_t r = 0; r < rows; r++, row += c->pitch) {
        const int64_t y = row_of(&c->y, y0 + r);
        const float *ra = a + y * c->x.src, *many[SIDE];
        if (y >= 0)
          for (int64_t s = 0; s < (several ? images : 1); s++) {
            many[s] = ra + s * step;
            for (int64_t i = 0; i < c->x.src; i += 16) ask(c, many[s] + i + ahead);
          }
        const snk_half_part *e = c->part;
        for (int64_t t = 0; t < c->copies; t++) {
          uint16_t *at = row + t * c->column;
          if (several) {
            const __m512i none = _mm512_setzero_si512();
            _mm512_store_si512(at, y < 0 ? none : snk_tile_row(beside(kind, c, many, images < half ? images : half, e), beside(kind, c, many + half, images - half, e)));
            e++;
          } else
            for (int64_t i = 0; i < c->parts; i += 2, e += 2, at += 32)
              _mm512_store_si512(at, y < 0 ? _mm512_setzero_si512() : snk_tile_row(take(kind, c, ra, e), take(kind, c, ra, e + 1)));
        }
      }
    }
}
void snk_half_rows(const snk_half_copy *c, const float *src, int64_t channels, int64_t y0, int64_t rows, int64_t n, int64_t step, int64_t stack, uint16_t *to) {
  const bool several = c->side > 1;
  if (c->room > 0) {
    rows_picked(c, src, channels, y0, rows, n, step, stack, to);
    return;
  }
  if (kind_of(c) == PLAIN && several) rows_of(PLAIN, true, c, src, channels, y0, rows, n, step, stack, to);
  else if (kind_of(c) == PLAIN) rows_of(PLAIN, false, c, src, channels, y0, rows, n, step, stack, to);
  else rows_of(STRIDE, several, c, src, channels, y0, rows, n, step, stack, to);
}

void snk_half_turn(const snk_half_copy *c, const float *src, int64_t channels, int64_t nr, int64_t y0, int64_t rows, int64_t n, int64_t step, uint16_t *to) {
  const int64_t splane = c->y.src * c->x.src, half = c->side / 2;
  for (int64_t first = 0; first < channels; first += nr)
    for (int64_t m = 0; m < n; m += c->side)
      for (int64_t y = y0; y < y0 + rows; y++)
        for (int64_t i = 0; i < c->parts; i += 2, to += SNK_HALF_TILE) {
          const snk_half_part *e = c->part + i;
          const int64_t images = n - m < c->side ? n - m : c->side;
          const float *a = src + m * step + first * splane + y * c->x.src, *many[SIDE];
          for (int64_t s = 0; s < images; s++) many[s] = a + s * step;
          __m512i r[16];
          for (int64_t ch = 0; ch < 16; ch++) {
            r[ch] = _mm512_setzero_si512();
            if (ch >= nr || first + ch >= channels) continue;
            if (c->side == 1) {
              ask(c, a + 16 * i + 128), ask(c, a + 16 * i + 144);
              r[ch] = snk_tile_row(take(PLAIN, c, a, e), take(PLAIN, c, a, e + 1));
              a += splane;
            } else {
              r[ch] = snk_tile_row(beside(PLAIN, c, many, images < half ? images : half, e), beside(PLAIN, c, many + half, images - half, e));
              for (int64_t s = 0; s < images; s++) many[s] += splane;
            }
          }
          snk_tile_turn(r);
          SNK_UNROLL
          for (int k = 0; k < 16; k++) _mm512_store_si512(to + 32 * k, r[k]);
        }
}
