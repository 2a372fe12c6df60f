/* conv_half.bf16.c - convolution of bfloat16 numbers: what is multiplied and stored (conv_half.h; copies: conv_half_copy.bf16.c). */
#include "calc/amx.h"
#include "calc/conv_half.h"
#include "calc/half.h"
#include "calc/lanes.h"

#define LINE 64

/* ---- forward and the input's gradient */

void snk_half_pack_rows(const snk_half *p, const float *w, int64_t t, uint16_t *to) {
  const int64_t taps = p->copy.y.taps * p->copy.x.taps, two = t / 2 * 2 + 1 < p->mtiles ? 2 : 1;
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), index = _mm512_mullo_epi32(lane, _mm512_set1_epi32((int)(2 * p->wc)));
  const __m512i high = _mm512_set1_epi32((int)0xFFFF0000);
  uint16_t *tile = to + (t / 2 * 2 * p->blocks * taps + t % 2) * SNK_HALF_TILE;
  for (int64_t block = 0; block < p->blocks; block++) {
    const int64_t c0 = block * 2 * p->pairs, left = p->c - c0, n = left < 2 * p->pairs ? left : 2 * p->pairs;
    const __mmask16 even = n > 0 ? vf_lanes((n + 1) / 2) : 0, odd = n > 0 ? vf_lanes(n / 2) : 0;
    for (int64_t tap = 0; tap < taps; tap++, tile += two * SNK_HALF_TILE)
      for (int64_t r = 0; r < 16; r++) {
        const int64_t m = t * p->mr + r;
        const bool in = r < p->mr && m < p->m;
        const float *from = w + (in ? m * p->wm + c0 * p->wc : 0) + (p->flip ? taps - 1 - tap : tap);
        const __m512 none = _mm512_setzero_ps();
        const __m512 a = _mm512_mask_i32gather_ps(none, in ? even : 0, index, from, 4), b = _mm512_mask_i32gather_ps(none, in ? odd : 0, index, from + p->wc, 4);
        const __m512i v = _mm512_or_si512(_mm512_srli_epi32(_mm512_castps_si512(a), 16), _mm512_and_si512(_mm512_castps_si512(b), high));
        _mm512_storeu_si512(tile + 32 * r, v);
      }
  }
}

SNK_INLINE VF scaled(const snk_half *p, VF v, int64_t ch) {
  if (p->bias) v = v + vf_set1(p->bias[ch]);
  if (p->mean) v = (v - vf_set1(p->mean[ch])) * vf_set1(p->scale[ch]) + vf_set1(p->shift[ch]);
  return v;
}
SNK_INLINE void put(const snk_half *p, VF v, __mmask16 some, float *to) {
  if (p->add) v = v + _mm512_maskz_loadu_ps(some, to + (p->add - p->dst));
  if (p->relu) v = vf_relu(v);
  if (p->narrow) vf_chosen_narrow((uint16_t *)(void *)p->dst + (to - p->dst), v, some);
  else _mm512_mask_storeu_ps(to, some, p->round ? vf_bf16(v) : v);
}

/* Some tiles of places: where in the copy, where in the result, how many places each (of each image). */
typedef struct places { int64_t from[4], to[4]; int count[4], n; } places;
/* Finished sums: `rows` rows of channel ch on of n tiles of places, `step` numbers from tile to tile; what follows them is done while the next are
 * summed, some rows at a time. */
typedef struct summed { places t; int64_t images, row, rows, step, ch; float *dst; float at[4 * 256] __attribute__((aligned(LINE))); } summed;

/* What follows the sums, and the stores, for n rows more. */
static __attribute__((noinline)) void finish(const snk_half *p, summed *f, int64_t n) {
  const snk_half_copy *c = &p->copy;
  const int64_t step = c->y.out * c->x.out, image = p->groups * p->m * step, end = f->row + n < f->rows ? f->row + n : f->rows;
  const bool plain = !p->bias && !p->mean && !p->add, eights = f->images == 2 && c->x.out == 8 && c->slot == 8;
  for (int j = 0; j < f->t.n; j++) {
    const float *from = f->at + j * f->step + 16 * f->row;
    float *to = f->dst + f->t.to[j] + f->row * step;
    const int count = f->t.count[j];
    if (eights && j + 1 < f->t.n) { /* two rows of eight of each image side by side */
      for (int64_t r = f->row; r < end; r++, from += 16, to += step) {
        const VF a = scaled(p, vf_load(from), f->ch + r), b = scaled(p, vf_load(from + f->step), f->ch + r);
        put(p, _mm512_shuffle_f32x4(a, b, 0x44), 0xFFFF, to);
        put(p, _mm512_shuffle_f32x4(a, b, 0xEE), 0xFFFF, to + image);
      }
      j++;
    } else if (plain && f->images == 1 && count == 16 && p->narrow) { /* most tiles in training */
      uint16_t *half = (uint16_t *)(void *)p->dst + (to - p->dst);
      for (int64_t r = f->row; r < end; r++, from += 16, half += step) vf_chosen_narrow(half, p->relu ? vf_relu(vf_load(from)) : vf_load(from), 0xFFFF);
    } else if (plain && f->images == 1 && count == 16)
      for (int64_t r = f->row; r < end; r++, from += 16, to += step) {
        VF v = vf_load(from);
        if (p->relu) v = vf_relu(v);
        vf_store(to, p->round ? vf_bf16(v) : v);
      }
    else {
      const __mmask16 some = vf_lanes(count);
      for (int64_t r = f->row; r < end; r++, from += 16, to += step) {
        const VF v = scaled(p, vf_load(from), f->ch + r);
        for (int64_t s = 0; s < f->images; s++) put(p, s ? _mm512_maskz_compress_ps((__mmask16)(some << s * c->slot), v) : v, some, to + s * image);
      }
    }
  }
  f->row = end;
}

/* Sums of mt tiles of rows by pt tiles of places into `sums`, tiles of 16 x 16. */
SNK_INLINE void multiply(const int mt, const int pt, const snk_half *p, const uint32_t *copy, const uint16_t *a, summed *now, summed *before) {
  const snk_half_copy *c = &p->copy;
  const places *t = &now->t;
  const size_t plane = (size_t)c->plane * 4;
  const int64_t next1 = pt > 1 ? t->from[1] - t->from[0] : 0, next2 = pt > 2 ? t->from[2] - t->from[0] : 0, next3 = pt > 3 ? t->from[3] - t->from[0] : 0;
  const int64_t kh = c->y.taps, kw = c->x.taps, down = c->y.every * c->pitch, column = c->column;
  const int64_t step = c->y.out * c->x.out, steps = p->blocks * kh * kw, rows = (mt * p->mr + steps - 1) / steps;
  const int64_t size = p->narrow ? 2 : 4, to1 = pt > 1 ? (t->to[1] - t->to[0]) * size : 0, to2 = pt > 2 ? (t->to[2] - t->to[0]) * size : 0,
                to3 = pt > 3 ? (t->to[3] - t->to[0]) * size : 0;
  const char *dst = (const char *)p->dst + (now->dst - p->dst + t->to[0]) * size;
  const uint32_t *block = copy + t->from[0];
  int64_t row = 0; /* where the sums will go is not in the first cache */
  snk_amx_fence();
  snk_amx_zero(0);
  snk_amx_zero(1);
  snk_amx_zero(2);
  snk_amx_zero(3);
  for (int64_t k = 0; k < p->blocks; k++, block += p->pairs * c->plane)
    for (int64_t y = 0; y < kh; y++) {
      const uint32_t *b = block + y * down;
      for (int64_t x = 0; x < kw; x++, b += column, a += mt * SNK_HALF_TILE) {
        for (int64_t r = 0; r < rows && row < mt * p->mr; r++, row++, dst += step * size) {
          __builtin_prefetch(dst, 1);
          if (pt > 1) __builtin_prefetch(dst + to1, 1);
          if (pt > 2) __builtin_prefetch(dst + to2, 1);
          if (pt > 3) __builtin_prefetch(dst + to3, 1);
        }
        if (before->row < before->rows) finish(p, before, rows);
        snk_amx_load(4, a, LINE);
        snk_amx_load(6, b, plane);
        snk_amx_fma(0, 4, 6);
        if (pt > 1) {
          snk_amx_load(7, b + next1, plane);
          snk_amx_fma(1, 4, 7);
        }
        if (mt > 1) {
          snk_amx_load(5, a + SNK_HALF_TILE, LINE);
          snk_amx_fma(2, 5, 6);
          if (pt > 1) snk_amx_fma(3, 5, 7);
        } else {
          if (pt > 2) {
            snk_amx_load(6, b + next2, plane);
            snk_amx_fma(2, 4, 6);
          }
          if (pt > 3) {
            snk_amx_load(7, b + next3, plane);
            snk_amx_fma(3, 4, 7);
          }
        }
      }
    }
  float *to = now->at;
  snk_amx_store(0, to, LINE);
  if (mt > 1) {
    snk_amx_store(2, to + 16 * p->mr, LINE);
    if (pt > 1) snk_amx_store(1, to + 512, LINE);
    if (pt > 1) snk_amx_store(3, to + 512 + 16 * p->mr, LINE);
  } else {
    if (pt > 1) snk_amx_store(1, to + 256, LINE);
    if (pt > 2) snk_amx_store(2, to + 512, LINE);
    if (pt > 3) snk_amx_store(3, to + 768, LINE);
  }
  snk_amx_fence();
}

/* The same with AVX512-BF16: `next` numbers from a step's weights to the next's. */
SNK_INLINE void dots(const int mr, const int nv, const snk_half *p, const uint32_t *b0, const uint32_t *b1, const uint16_t *a, int64_t next, float *to, int64_t step) {
  const snk_half_copy *c = &p->copy;
  const int64_t down = c->y.every * c->pitch, block = p->pairs * c->plane;
  VF acc[16];
  SNK_UNROLL
  for (int i = 0; i < mr * nv; i++) acc[i] = vf_zero();
  for (int64_t k = 0; k < p->blocks; k++, b0 += block, b1 += block)
    for (int64_t y = 0; y < c->y.taps; y++)
      for (int64_t x = 0, at = y * down; x < c->x.taps; x++, at += c->column, a += next) snk_tile_step(mr, nv, a, LINE, b0 + at, b1 + at, c->plane * 4, p->pairs, acc);
  SNK_UNROLL
  for (int i = 0; i < mr * nv; i++) vf_store(to + i / nv * 16 + i % nv * step, acc[i]);
}
static void multiply_dots(int mt, const snk_half *p, const uint32_t *copy, const uint16_t *a, summed *now) {
  const places *t = &now->t;
  const int64_t step = p->copy.y.out * p->copy.x.out, size = p->narrow ? 2 : 4;
  for (int64_t r = 0; r < now->rows; r++) /* where the sums will go is not in the first cache */
    for (int j = 0; j < t->n; j++) __builtin_prefetch((const char *)p->dst + (now->dst - p->dst + r * step + t->to[j]) * size, 1);
  for (int j = 0; j < t->n; j += 2) {
    const uint32_t *b = copy + t->from[j];
    for (int m = 0; m < mt; m++) { /* a tile's rows behind its last are those of the next, which follow */
      float *to = now->at + j * now->step + m * 16 * p->mr;
      if (j + 1 == t->n) dots(16, 1, p, b, b, a + m * SNK_HALF_TILE, mt * SNK_HALF_TILE, to, 0);
      else
        for (int64_t r = 0; r < p->mr; r += 8) dots(8, 2, p, b, copy + t->from[j + 1], a + m * SNK_HALF_TILE + r * 32, mt * SNK_HALF_TILE, to + r * 16, now->step);
    }
  }
}

void snk_half_band(const snk_half *p, const uint32_t *copy, int64_t images, int64_t rows, const uint16_t *packed, float *dst, int64_t ch, int64_t t0, int64_t t1) {
  summed room[2];
  const snk_half_copy *c = &p->copy;
  const int64_t tiles = rows * c->tiles, step = c->y.out * c->x.out, size = p->blocks * c->y.taps * c->x.taps * SNK_HALF_TILE;
  int at = 0;
  room[0].row = room[0].rows = room[1].row = room[1].rows = 0;
  const bool amx = sn_amx();
  if (amx) snk_amx_begin(p->mr, p->pairs, 16);
  for (int64_t m = t0; m < t1; m += 2) {
    const int two = m + 1 < p->mtiles;
    const uint16_t *a = packed + m * size;
    for (int64_t i = 0, y = 0, x = 0; i < tiles; at = 1 - at) {
      const int64_t left = tiles - i;
      summed *now = &room[at], *before = &room[1 - at];
      const int pt = two ? (left > 1 ? 2 : 1) : left == 5 ? 3 : left > 3 ? 4 : (int)left;
      now->images = images, now->ch = ch + m * p->mr, now->dst = dst + m * p->mr * step, now->step = two ? 512 : 256, now->t.n = pt;
      now->row = 0, now->rows = p->m - m * p->mr < (1 + two) * p->mr ? p->m - m * p->mr : (1 + two) * p->mr;
      for (int j = 0; j < pt; j++) {
        now->t.from[j] = y * c->y.step * c->pitch + 16 * x, now->t.to[j] = y * c->x.out + 16 * x;
        now->t.count[j] = c->x.out - 16 * x < 16 ? (int)(c->x.out - 16 * x) : 16;
        if (++x == c->tiles) x = 0, y++;
      }
      if (!amx) multiply_dots(1 + two, p, copy, a, now);
      else if (two && pt == 2) multiply(2, 2, p, copy, a, now, before);
      else if (two) multiply(2, 1, p, copy, a, now, before);
      else if (pt == 4) multiply(1, 4, p, copy, a, now, before);
      else if (pt == 3) multiply(1, 3, p, copy, a, now, before);
      else if (pt == 2) multiply(1, 2, p, copy, a, now, before);
      else multiply(1, 1, p, copy, a, now, before);
      if (before->row < before->rows) finish(p, before, before->rows);
      i += pt;
    }
  }
  if (room[1 - at].row < room[1 - at].rows) finish(p, &room[1 - at], 32);
  if (amx) snk_amx_end();
}

/* ---- the weight's gradient */

/* Tiles of rows at x + at[..] times nb tiles of columns, over all numbers of the block. */
SNK_INLINE void outer(const int na, const int nb, const snk_half_sums *s, const uint16_t *x, const int64_t *at, const uint16_t *g, bool add, float *const *sums) {
  const size_t plane = (size_t)s->plane * 2;
  const int64_t second = s->stacks * s->rows * s->vectors * SNK_HALF_TILE;
  snk_amx_fence();
  if (add) {
    snk_amx_load(0, sums[0], LINE);
    if (na > 1) snk_amx_load(1, sums[1], LINE);
    if (na > 2 || nb > 1) snk_amx_load(2, sums[2], LINE);
    if (na > 3 || (na > 1 && nb > 1)) snk_amx_load(3, sums[3], LINE);
  } else {
    snk_amx_zero(0);
    snk_amx_zero(1);
    snk_amx_zero(2);
    snk_amx_zero(3);
  }
  const int64_t at1 = na > 1 ? at[1] - at[0] : 0, at2 = na > 2 ? at[2] - at[0] : 0, at3 = na > 3 ? at[3] - at[0] : 0;
  for (int64_t i = 0; i < s->stacks; i++)
    for (int64_t r = 0; r < s->rows; r++) {
      const uint16_t *a = x + at[0] + i * s->xstack + r * s->xrow;
      for (int64_t k = 0; k < s->vectors; k++, a += 32, g += SNK_HALF_TILE) {
        snk_amx_load(6, g, LINE);
        snk_amx_load(4, a, plane);
        snk_amx_fma(0, 4, 6);
        if (na > 1) {
          snk_amx_load(5, a + at1, plane);
          snk_amx_fma(1, 5, 6);
        }
        if (nb > 1) {
          snk_amx_load(7, g + second, LINE);
          snk_amx_fma(2, 4, 7);
          if (na > 1) snk_amx_fma(3, 5, 7);
        } else {
          if (na > 2) {
            snk_amx_load(4, a + at2, plane);
            snk_amx_fma(2, 4, 6);
          }
          if (na > 3) {
            snk_amx_load(5, a + at3, plane);
            snk_amx_fma(3, 5, 6);
          }
        }
      }
    }
  snk_amx_store(0, sums[0], LINE);
  if (na > 1) snk_amx_store(1, sums[1], LINE);
  if (na > 2 || nb > 1) snk_amx_store(2, sums[2], LINE);
  if (na > 3 || (na > 1 && nb > 1)) snk_amx_store(3, sums[3], LINE);
  snk_amx_fence();
}

/* The same with AVX512-BF16. */
SNK_INLINE void outer_rows(const int mr, const int nv, const snk_half_sums *s, const uint16_t *x, const uint16_t *g, bool add, float *to0, float *to1) {
  const int64_t plane = s->plane * 2;
  const uint16_t *second = g + (nv > 1 ? s->stacks * s->rows * s->vectors * SNK_HALF_TILE : 0);
  VF acc[16];
  SNK_UNROLL
  for (int i = 0; i < mr * nv; i++) acc[i] = add ? vf_load((i % nv ? to1 : to0) + i / nv * 16) : vf_zero();
  for (int64_t i = 0; i < s->stacks; i++)
    for (int64_t r = 0; r < s->rows; r++) {
      const uint16_t *a = x + i * s->xstack + r * s->xrow;
      for (int64_t k = 0; k < s->vectors; k++, a += 32, g += SNK_HALF_TILE, second += SNK_HALF_TILE) snk_tile_step(mr, nv, a, plane, g, second, LINE, 16, acc);
    }
  SNK_UNROLL
  for (int i = 0; i < mr * nv; i++) vf_store((i % nv ? to1 : to0) + i / nv * 16, acc[i]);
}
static void outer_dots(int na, bool two, const snk_half_sums *s, const uint16_t *x, const int64_t *at, const uint16_t *g, bool add, float *const *sums) {
  for (int i = 0; i < na; i++) {
    if (!two) outer_rows(16, 1, s, x + at[i], g, add, sums[i], NULL);
    else
      for (int64_t r = 0; r < s->mr; r += 8) outer_rows(8, 2, s, x + at[i] + r * s->plane, g, add, sums[i] + r * 16, sums[i + 2] + r * 16);
  }
}

void snk_half_products(const snk_half_sums *s, int64_t n0, int64_t n1, const uint16_t *x, const uint16_t *turned, bool add, float *sums) {
  const int64_t all = s->mtiles * s->taps, size = s->stacks * s->rows * s->vectors * SNK_HALF_TILE;
  const bool amx = sn_amx();
  if (amx) snk_amx_begin(s->mr, 16, s->nr);
  for (int64_t n = n0; n < n1; n += 2) {
    const bool two = n + 1 < n1;
    const int64_t most = two ? 2 : 4, parts = (all + most - 1) / most;
    const uint16_t *g = turned + (n - n0) * size;
    for (int64_t q = 0; q < parts; q++) {
      const int64_t e0 = all * q / parts, na = all * (q + 1) / parts - e0;
      int64_t at[4];
      float *to[4];
      for (int64_t i = 0; i < na; i++) {
        const int64_t tap = (e0 + i) % s->taps;
        at[i] = (e0 + i) / s->taps * s->mr * s->plane + tap / s->kh * s->column + tap % s->kh * s->down;
        to[i] = sums + (n * all + e0 + i) * 256;
        if (two) to[i + 2] = to[i] + all * 256;
      }
      if (!amx) outer_dots((int)na, two, s, x, at, g, add, to);
      else if (two && na == 2) outer(2, 2, s, x, at, g, add, to);
      else if (two) outer(1, 2, s, x, at, g, add, to);
      else if (na == 4) outer(4, 1, s, x, at, g, add, to);
      else if (na == 3) outer(3, 1, s, x, at, g, add, to);
      else if (na == 2) outer(2, 1, s, x, at, g, add, to);
      else outer(1, 1, s, x, at, g, add, to);
    }
  }
  if (amx) snk_amx_end();
}

void snk_half_total(const snk_half_sums *s, int64_t n, int64_t m, int64_t c, const float *sums, int64_t runs, int64_t between, float *gw) {
  const int64_t all = s->mtiles * s->taps, left = m - n * s->nr, lanes = left < s->nr ? left : s->nr;
  if (lanes <= 0) return;
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), index = _mm512_mullo_epi32(lane, _mm512_set1_epi32((int)(c * s->taps)));
  for (int64_t i = 0; i < c; i++)
    for (int64_t tap = 0; tap < s->taps; tap++) {
      const float *from = sums + (n * all + i / s->mr * s->taps + tap) * 256 + i % s->mr * 16;
      VF v = vf_load(from);
      for (int64_t r = 1; r < runs; r++) v = v + vf_load(from + r * between);
      _mm512_mask_i32scatter_ps(gw + (n * s->nr * c + i) * s->taps + tap % s->kh * (s->taps / s->kh) + tap / s->kh, vf_lanes(lanes), index, v, 4);
    }
}
