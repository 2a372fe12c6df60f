/* gemm.bf16.c - products of bfloat16 numbers, which lie in memory as floats, in tiles: both operands are packed, halved, into panels of 32 rows or
 * columns for blocks of k, and every four tiles of C are summed over a whole block, by AMX or by AVX512-BF16.
 *
 * Packing is most of AMX's work (its tiles do ten multiply-adds in the time of one of AVX-512's), so each operand is packed once where it fits.
 */
#include "calc/amx.h"
#include "calc/gemm.h"
#include "calc/half.h"

enum { SIDE = 32, KC = 1024, BLOCK = 512 << 10 /* numbers of a packed block of B; half as many of A */, PART_M = 256, PART_N = BLOCK / KC };
enum { SCRATCH = 2 * BLOCK + BLOCK + 4 * PART_M * PART_N };
_Static_assert(SCRATCH <= (int)SNK_GEMM_SCRATCH - (int)SNK_GEMM_ROWS, "scratch");

static int64_t tiles_of(int64_t n, int64_t each) { return (n + each - 1) / each; }

/* Sixteen numbers `step` apart, those of `some`; 0 in place of the others. */
SNK_INLINE __m512 sixteen(const float *from, int64_t step, __mmask16 some) {
  if (step == 1) return _mm512_maskz_loadu_ps(some, from);
  const __m512i at = _mm512_mullo_epi64(_mm512_set1_epi64(step * 4), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
  const __m256 a = _mm512_mask_i64gather_ps(_mm256_setzero_ps(), (__mmask8)some, at, from, 1);
  const __m256 b = _mm512_mask_i64gather_ps(_mm256_setzero_ps(), (__mmask8)(some >> 8), at, from + 8 * step, 1);
  return _mm512_insertf32x8(_mm512_castps256_ps512(a), b, 1);
}

/* Thirty-two numbers in a row, those of the first `left`; and sixteen numbers of two rows as pairs. What is `narrow` lies as bfloat16 numbers. */
SNK_INLINE __m512i row_of(const bool narrow, const void *from, int64_t at, int64_t left) {
  if (narrow) return _mm512_maskz_loadu_epi16(left >= 32 ? UINT32_MAX : (1u << left) - 1, (const uint16_t *)from + at);
  const float *p = (const float *)from + at;
  const __m512 lo = _mm512_maskz_loadu_ps(left >= 16 ? 0xffff : vf_lanes(left), p);
  return snk_tile_row(lo, _mm512_maskz_loadu_ps(left >= 32 ? 0xffff : left > 16 ? vf_lanes(left - 16) : 0, p + 16));
}
SNK_INLINE __m512i pairs_of(const bool narrow, const void *from, int64_t even, int64_t odd, int64_t rs, __mmask16 first, __mmask16 second) {
  if (!narrow) return snk_tile_pairs(sixteen((const float *)from + even, rs, first), sixteen((const float *)from + odd, rs, second));
  const __m512i lo = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first, (const uint16_t *)from + even));
  return _mm512_or_si512(lo, _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(second, (const uint16_t *)from + odd)), 16));
}

/* n rows of an operand, k numbers of each, those of one row `ks` apart, rows `rs`, as panels of 32 rows, each for 32 k after 32 k two tiles (of a last
 * panel of at most 16 rows the second is not touched). As B (pairs) its columns are what is called rows here. Memory is read in the direction in which
 * it lies together, row after row, which is the way processors fetch ahead; where that gives the other form of a tile, it is turned in its place. */
SNK_INLINE void pack_as(const bool narrow, char *to, const void *from, int64_t rs, int64_t ks, int64_t n, int64_t k, bool pairs) {
  const int64_t blocks = tiles_of(k, SNK_TILE_K), tall = tiles_of(n, 16) * 16;
  if (ks == 1) {
    for (int64_t i = 0; i < tall; i++) {
      char *row = to + i / SIDE * blocks * 2 * SNK_TILE_BYTES + i % SIDE / 16 * SNK_TILE_BYTES + i % 16 * 64;
      for (int64_t q = 0; q < k; q += SNK_TILE_K, row += 2 * SNK_TILE_BYTES) {
        _mm512_store_si512(row, row_of(narrow, from, i * rs + q, i < n ? k - q : 0));
      }
      if (pairs && i % 16 == 15)
        for (int64_t q = 0; q < blocks; q++) snk_tile_turn(to + ((i / SIDE * blocks + q) * 2 + i % SIDE / 16) * SNK_TILE_BYTES);
    }
    return;
  }
  for (int64_t q = 0; q < blocks; q++) {
    for (int64_t p = 0; p < 16; p++) {
      const int64_t even = (q * SNK_TILE_K + 2 * p) * ks, odd = even + ks, size = narrow ? 2 : 4;
      const int64_t left = k - q * SNK_TILE_K - 2 * p;
      for (int64_t i = 0; i < tall; i += 16) {
        const __mmask16 some = n - i >= 16 ? 0xffff : vf_lanes(n - i);
        if (rs == 1) /* the rows of the next tile: further apart than a processor looks by itself */
          SNK_ASK(from, (even + i + SNK_TILE_K * ks) * size), SNK_ASK(from, (odd + i + SNK_TILE_K * ks) * size);
        _mm512_store_si512(to + ((i / SIDE * blocks + q) * 2 + i % SIDE / 16) * SNK_TILE_BYTES + p * 64,
                           pairs_of(narrow, from, even + i * rs, odd + i * rs, rs, left > 0 ? some : 0, left > 1 ? some : 0));
      }
    }
    for (int64_t i = 0; i < tall && !pairs; i += 16) snk_tile_turn(to + ((i / SIDE * blocks + q) * 2 + i % SIDE / 16) * SNK_TILE_BYTES);
  }
}

/* From number `at` of an operand on. */
static __attribute__((noinline)) void pack(bool narrow, char *to, const void *from, int64_t at, int64_t rs, int64_t ks, int64_t n, int64_t k, bool pairs) {
  if (narrow) pack_as(true, to, (const uint16_t *)from + at, rs, ks, n, k, pairs);
  else pack_as(false, to, (const float *)from + at, rs, ks, n, k, pairs);
}

static int64_t packed_bytes(int64_t n, int64_t k) { return tiles_of(n, SIDE) * tiles_of(k, SNK_TILE_K) * 2 * SNK_TILE_BYTES; }

/* All of B, block of k after block: what the products look for at block_at(). */
static int64_t block_at(int64_t n, int64_t k0) { return packed_bytes(n, 1) * (k0 / SNK_TILE_K); }
static void pack_b(int64_t n, int64_t k, const void *b, int64_t brs, int64_t bcs, void *dst) {
  for (int64_t k0 = 0; k0 < k; k0 += KC)
    pack(false, (char *)dst + block_at(n, k0), b, k0 * brs, bcs, brs, n, k - k0 < KC ? k - k0 : KC, true);
}

/* Four tiles of C (two rows of two; one row or column where `rows` or `cols` is 1) from `blocks` blocks of 32 k, from 0 or from what is in c. */
SNK_INLINE void four(const int rows, const int cols, const char *a, const char *b, int64_t blocks, float *c, int64_t step, bool first) {
  if (first) {
    snk_amx_zero(0);
    if (cols > 1) snk_amx_zero(1);
    if (rows > 1) snk_amx_zero(2);
    if (rows > 1 && cols > 1) snk_amx_zero(3);
  } else {
    snk_amx_load(0, c, step * 4);
    if (cols > 1) snk_amx_load(1, c + 16, step * 4);
    if (rows > 1) snk_amx_load(2, c + 16 * step, step * 4);
    if (rows > 1 && cols > 1) snk_amx_load(3, c + 16 * step + 16, step * 4);
  }
  for (; blocks > 0; blocks--, a += 2 * SNK_TILE_BYTES, b += 2 * SNK_TILE_BYTES) {
    snk_amx_load(4, a, 64);
    snk_amx_load(6, b, 64);
    snk_amx_fma(0, 4, 6);
    if (cols > 1) {
      snk_amx_load(7, b + SNK_TILE_BYTES, 64);
      snk_amx_fma(1, 4, 7);
    }
    if (rows > 1) {
      snk_amx_load(5, a + SNK_TILE_BYTES, 64);
      snk_amx_fma(2, 5, 6);
      if (cols > 1) snk_amx_fma(3, 5, 7);
    }
  }
  snk_amx_store(0, c, step * 4);
  if (cols > 1) snk_amx_store(1, c + 16, step * 4);
  if (rows > 1) snk_amx_store(2, c + 16 * step, step * 4);
  if (rows > 1 && cols > 1) snk_amx_store(3, c + 16 * step + 16, step * 4);
  snk_amx_fence();
}
static __attribute__((noinline)) void some_amx(int64_t m, int64_t n, const char *a, const char *b, int64_t blocks, float *c, int64_t step, bool first) {
  if (m > 16 && n > 16) four(2, 2, a, b, blocks, c, step, first);
  else if (n > 16) four(1, 2, a, b, blocks, c, step, first);
  else if (m > 16) four(2, 1, a, b, blocks, c, step, first);
  else four(1, 1, a, b, blocks, c, step, first);
}

/* The same with AVX512-BF16: mr rows by nv vectors of C stay in registers. Whole sums go to `half`, if there is one, as bfloat16 numbers, rows `wide` apart
 * (the instructions give no number below the normal ones, so this one rounds as all else does). */
SNK_INLINE void dots(const int mr, const int nv, const char *a, const char *b, int64_t blocks, float *c, int64_t step, bool first, uint16_t *half, int64_t wide) {
  VF acc[16];
  SNK_UNROLL
  for (int i = 0; i < mr * nv; i++) acc[i] = first ? vf_zero() : vf_load(c + i / nv * step + i % nv * VFL);
  for (; blocks > 0; blocks--, a += 2 * SNK_TILE_BYTES, b += 2 * SNK_TILE_BYTES)
    snk_tile_step(mr, nv, a, 64, b, b + SNK_TILE_BYTES, 64, 16, acc);
  if (half) {
    SNK_UNROLL
    for (int i = 0; i < mr * nv; i++) _mm256_storeu_si256((__m256i *)(void *)(half + i / nv * wide + i % nv * VFL), (__m256i)_mm512_cvtneps_pbh((__m512)acc[i]));
    return;
  }
  SNK_UNROLL
  for (int i = 0; i < mr * nv; i++) vf_store(c + i / nv * step + i % nv * VFL, acc[i]);
}
static __attribute__((noinline)) void some_dots(int64_t m, int64_t n, const char *a, const char *b, int64_t blocks, float *c, int64_t step, bool first, uint16_t *half,
                                                int64_t wide) {
  enum { NEAR = 8 }; /* blocks of both operands that stay in the first cache */
  for (int64_t q = 0; q < blocks; q += NEAR, a += NEAR * 2 * SNK_TILE_BYTES, b += NEAR * 2 * SNK_TILE_BYTES) {
    const int64_t part = blocks - q < NEAR ? blocks - q : NEAR;
    uint16_t *end = q + part == blocks ? half : NULL;
    for (int64_t i = 0; i < m; i += n > 16 ? 8 : 16) {
      const char *rows = a + i / 16 * SNK_TILE_BYTES + i % 16 * 64;
      if (n > 16) dots(8, 2, rows, b, part, c + i * step, step, first && q == 0, end ? end + i * wide : NULL, wide);
      else dots(16, 1, rows, b, part, c + i * step, step, first && q == 0, end ? end + i * wide : NULL, wide);
    }
  }
}

/* The finish of m x n sums at t, rows i0 and columns j0 on of C. */
static __attribute__((noinline)) void finish(const snk_gemm_args *g, const float *t, int64_t step, void *c, int64_t i0, int64_t j0, int64_t m, int64_t n) {
  const float *rows = g->bias_kind == SNK_BIAS_ROW ? (const float *)g->bias + i0 : NULL, *cols = g->bias_kind == SNK_BIAS_COL ? (const float *)g->bias + j0 : NULL;
  const bool relu = g->act == SNK_ACT_RELU, narrow = g->narrow & SNK_GEMM_C;
  for (int64_t j = 0; j < n; j += VFL) {
    const VFM some = vf_lanes(n - j < VFL ? n - j : VFL);
    const VF bias = cols ? vf_some(cols + j, some) : vf_zero();
    for (int64_t i = 0; i < m; i++) {
      const int64_t at = (i0 + i) * g->crs + j0 + j;
      float *to = (float *)c + at;
      VF v = vf_load(t + i * step + j);
      if (rows) v = v + vf_set1(rows[i]);
      if (cols) v = v + bias;
      if (g->accumulate) v = vf_some(to, some) + v;
      if (relu) v = vf_relu(v);
      if (g->round || narrow) v = vf_bf16(v);
      if (narrow) _mm256_mask_storeu_epi16((uint16_t *)c + at, some, _mm512_cvtepi32_epi16(_mm512_srli_epi32((__m512i)v, 16)));
      else _mm512_mask_storeu_ps(to, some, v);
    }
  }
}

/* As snk_gemm_type.block: rows m0..m1 and columns n0..n1 of one C whose rows lie together. */
static void block(const snk_gemm_args *g, const void *a, const void *b, void *c, int64_t batch, int64_t m0, int64_t m1, int64_t n0, int64_t n1,
                  void *scratch) {
  (void)batch;
  const int64_t kc = g->k < KC ? tiles_of(g->k, SNK_TILE_K) * SNK_TILE_K : KC;
  const bool once = g->k <= KC;
  const int64_t mc = once ? BLOCK / 2 / kc / SIDE * SIDE : PART_M, nc = once ? BLOCK / kc / SIDE * SIDE : PART_N;
  char *pb = scratch, *pa = pb + 2 * BLOCK;
  float *part = (float *)(void *)(pa + BLOCK), t[SIDE * SIDE] __attribute__((aligned(64)));
  const bool na = g->narrow & SNK_GEMM_A, nb = g->narrow & SNK_GEMM_B, narrow = g->narrow & SNK_GEMM_C;
  const bool bare = !g->bias_kind && !g->accumulate && !g->act && !g->round, plain = once && bare && !narrow; /* tiles go straight to C */
  int64_t held = -1; /* which block of A is packed */
  const bool amx = sn_amx();
  if (amx) snk_amx_begin(SNK_TILE_ROWS, SNK_TILE_ROWS, SNK_TILE_ROWS);
  for (int64_t j0 = n0; j0 < n1; j0 += nc)
    for (int64_t i0 = m0; i0 < m1; i0 += mc) {
      const int64_t cols = n1 - j0 < nc ? n1 - j0 : nc, rows = m1 - i0 < mc ? m1 - i0 : mc;
      for (int64_t k0 = 0; k0 < g->k; k0 += KC) {
        const int64_t k = g->k - k0 < KC ? g->k - k0 : KC, blocks = tiles_of(k, SNK_TILE_K), panel = blocks * 2 * SNK_TILE_BYTES;
        const char *from = pb;
        if (g->packed) from = (const char *)g->packed + block_at(g->n, k0) + j0 / SIDE * panel;
        else if (i0 == m0 || !once) pack(nb, pb, b, k0 * g->brs + j0 * g->bcs, g->bcs, g->brs, cols, k, true);
        if (held != i0 || !once) pack(na, pa, a, i0 * g->ars + k0 * g->acs, g->ars, g->acs, rows, k, false);
        held = i0;
        snk_amx_fence();
        const bool last = k0 + KC >= g->k;
        for (int64_t j = 0; j < cols; j += SIDE)
          for (int64_t i = 0; i < rows; i += SIDE) {
            const int64_t high = rows - i < SIDE ? rows - i : SIDE, wide = cols - j < SIDE ? cols - j : SIDE;
            const bool whole = high % 16 == 0 && wide % 16 == 0, here = plain && whole, half = bare && narrow && whole && last && !amx;
            float *to = here ? (float *)c + (i0 + i) * g->crs + j0 + j : once ? t : part + i * PART_N + j;
            const int64_t step = here ? g->crs : once ? SIDE : PART_N;
            if (!amx && last) /* by the time it is stored C is near; AMX is done before that */
              for (int64_t r = 0; r < high; r++) {
                const int64_t line = ((i0 + i + r) * g->crs + j0 + j) * (narrow ? 2 : 4);
                SNK_ASK_TO_WRITE(c, line), SNK_ASK_TO_WRITE(c, line + 64);
              }
            if (amx) some_amx(high, wide, pa + i / SIDE * panel, from + j / SIDE * panel, blocks, to, step, k0 == 0);
            else some_dots(high, wide, pa + i / SIDE * panel, from + j / SIDE * panel, blocks, to, step, k0 == 0,
                           half ? (uint16_t *)c + (i0 + i) * g->crs + j0 + j : NULL, g->crs);
            if (last && !here && !half) finish(g, to, step, c, i0 + i, j0 + j, high, wide);
          }
      }
      if (g->hook) g->hook(g->hook_ctx, (float *)c + i0 * g->crs + j0, g->crs, 1, i0, j0, rows, cols);
    }
  if (amx) snk_amx_end();
}

const snk_gemm_type snk_gemm_half = {.mr = SIDE, .nr = SIDE, .kc = INT64_MAX, .block = block, .pack_b = pack_b, .packed_bytes = packed_bytes, .fused = 1};
