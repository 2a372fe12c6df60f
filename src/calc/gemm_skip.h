/* gemm_skip.h - products of float32 whose A is full of zeros (the gradient behind a relu: half of it and more); included by gemm.isa.c.
 *
 * A's columns lie in one piece, B's rows too, and B is finite, so that a term of a zero changes nothing and is left out. B is copied as strips of columns; a part of a
 * strip that stays in the first cache is gone through for some rows of C: a row's sums lie in registers, and each number of A's that is not zero
 * is one multiply-add for each vector of the strip, with B from memory (two loads a cycle keep both units busy). Which they are says one bit for each.
 * Sums have the order of the tiles.
 */

enum { SKIP_ROWS = 24, SKIP_K = 64, SKIP_NV = 13, SKIP_BYTES = 28 << 10 };

/* Some rows of A, for a part of K. */
typedef struct skip_some {
  float x[SKIP_ROWS][SKIP_K];
  uint64_t full[SKIP_ROWS]; /* bit k: number k is not zero */
} skip_some;
_Static_assert((int)sizeof(skip_some) + SNK_GEMM_SKIP * SNK_GEMM_DEEP * (int)sizeof(float) <= (int)SNK_GEMM_SCRATCH - (int)SNK_GEMM_ROWS, "scratch");

SNK_INLINE void skip_rows(const int nv, const skip_some *s, int64_t rows, const float *b, float *c, int64_t crs, bool first) {
  for (int64_t i = 0; i < rows; i++, c += crs) {
    VF acc[SKIP_NV];
    if (first) {
      SNK_UNROLL
      for (int j = 0; j < nv; j++) acc[j] = vf_zero();
    } else {
      SNK_UNROLL
      for (int j = 0; j < nv; j++) acc[j] = vf_load(c + j * VFL);
    }
    for (uint64_t full = s->full[i]; full; full &= full - 1) {
      const int k = __builtin_ctzll(full);
      const VF x = vf_set1(s->x[i][k]);
      const float *y = b + k * nv * VFL;
      SNK_UNROLL
      for (int j = 0; j < nv; j++) acc[j] = vf_fma(x, vf_load(y + j * VFL), acc[j]);
    }
    SNK_UNROLL
    for (int j = 0; j < nv; j++) vf_store(c + j * VFL, acc[j]);
  }
}

typedef void skip_strip(const skip_some *s, int64_t rows, const float *b, float *c, int64_t crs, bool first);
#define STRIP(nv) \
  static void SNK_CAT(skip, nv)(const skip_some *s, int64_t rows, const float *b, float *c, int64_t crs, bool first) { skip_rows(nv, s, rows, b, c, crs, first); }
STRIP(7) STRIP(8) STRIP(9) STRIP(10) STRIP(11) STRIP(12) STRIP(13)
#undef STRIP
static skip_strip *const skip_strips[SKIP_NV - SNK_GEMM_STRIP + 1] = {skip_7, skip_8, skip_9, skip_10, skip_11, skip_12, skip_13};

/* Bit l: is number l not zero? */
SNK_INLINE uint64_t skip_bits(const float *x) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(_mm512_loadu_ps(x), _mm512_setzero_ps(), _CMP_NEQ_UQ);
#elif defined(__AVX2__)
  return (uint64_t)_mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(x), _mm256_setzero_ps(), _CMP_NEQ_UQ));
#else
  uint64_t bits = 0;
  for (int l = 0; l < VFL; l++) bits |= (uint64_t)(x[l] != 0) << l;
  return bits;
#endif
}

/* How many strips vectors are shared out among, evenly; the first vector of strip i. */
SNK_INLINE int64_t skip_strips_of(int64_t vectors) { return (vectors + SKIP_NV - 1) / SKIP_NV; }
SNK_INLINE int64_t skip_begin(int64_t vectors, int64_t i) { return vectors * i / skip_strips_of(vectors); }

/* B as strips, one after another, unless `to` is NULL. Are all numbers finite (times zero they are zero)? */
static bool skip_pack(int64_t n, int64_t k, const float *b, int64_t brs, float *to) {
  const int64_t vectors = n / VFL;
  VF nothing = vf_zero();
  for (int64_t i = 0, v = 0, end; v < vectors; i++, v = end) {
    end = skip_begin(vectors, i + 1);
    const float *from = b + v * VFL;
    for (int64_t q = 0; q < k; q++, from += brs)
      for (int64_t j = 0; j < (end - v) * VFL; j += VFL) {
        const VF x = vf_load(from + j);
        nothing = vf_fma(x, vf_zero(), nothing);
        if (to) vf_store(to, x), to += VFL;
      }
  }
  return vf_total(nothing) == 0;
}

/* How many of n numbers are not zero. */
static int64_t skip_count(const float *x, int64_t n) {
  int64_t i = 0, count = 0;
  for (; i + VFL <= n; i += VFL) count += __builtin_popcountll(skip_bits(x + i));
  for (; i < n; i++) count += x[i] != 0;
  return count;
}

/* kc numbers of each row of A; those of one k lie side by side. */
static void skip_look(skip_some *s, const float *a, int64_t acs, int64_t rows, int64_t kc) {
  if (rows >= VFL)
    for (int64_t i = 0; i < rows; i += VFL) {
      const int64_t from = i + VFL <= rows ? i : rows - VFL; /* some rows once more */
      for (int64_t k = 0; k < kc; k += VFL) transpose_f32(s->x[from] + k, SKIP_K, a + k * acs + from, acs, kc - k < VFL ? (int)(kc - k) : VFL, NULL);
    }
  else
    for (int64_t i = 0; i < rows; i++)
      for (int64_t k = 0; k < kc; k++) s->x[i][k] = a[k * acs + i];
  const uint64_t known = kc < 64 ? (UINT64_C(1) << kc) - 1 : ~UINT64_C(0);
  for (int64_t i = 0; i < rows; i++) {
    uint64_t full = 0;
    for (int64_t k = 0; k < kc; k += VFL) full |= skip_bits(s->x[i] + k) << k;
    s->full[i] = full & known;
  }
}

/* Rows m0..m1 of C, whole vectors of columns from n0 to n1; B's strips of these columns are in `packed`, or are put there. */
static void skip_block(const snk_gemm_args *g, const float *a, const float *b, float *c, int64_t m0, int64_t m1, int64_t n0, int64_t n1, float *scratch) {
  const int64_t vectors = (n1 - n0) / VFL, strips = skip_strips_of(vectors);
  skip_some *s = (skip_some *)(void *)scratch;
  const float *packed = g->packed;
  if (packed == NULL) {
    skip_pack(n1 - n0, g->k, b + n0, g->brs, (float *)(s + 1));
    packed = (float *)(s + 1);
  }
  const int64_t fit = SKIP_BYTES / ((vectors + strips - 1) / strips * (int64_t)sizeof(VF)) / VFL * VFL, kb = fit < SKIP_K ? fit : SKIP_K;
  for (int64_t i = m0; i < m1; i += SKIP_ROWS) {
    const int64_t rows = m1 - i < SKIP_ROWS ? m1 - i : SKIP_ROWS;
    for (int64_t k = 0; k < g->k; k += kb) {
      skip_look(s, a + i + k * g->acs, g->acs, rows, g->k - k < kb ? g->k - k : kb);
      for (int64_t t = 0, v = 0, end; t < strips; t++, v = end) {
        end = skip_begin(vectors, t + 1);
        skip_strips[end - v - SNK_GEMM_STRIP](s, rows, packed + (v * g->k + k * (end - v)) * VFL, c + i * g->crs + n0 + v * VFL, g->crs, k == 0);
      }
    }
  }
}
