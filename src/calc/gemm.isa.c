/* gemm.isa.c - the matrix product kernels of one instruction set: a register tile of MR rows by two vectors, for float and double.
 *
 * AVX-512 has 32 registers (12 x 2 vectors of sums), the others 16 (6 x 2; for old processors 4 x 2, which are fewer kernels).
 * KCMAX keeps one packed panel of B in the first cache.
 */
#include "calc/gemm.h"
#include "calc/tile.h"

#if defined(__AVX512F__)
/* The same for nine to sixteen columns: pairs, fours, then quarters of vectors change places. */
SNK_INLINE void transpose_wide(float *dst, int64_t ld, const float *src, int64_t sld, const int n) {
  const __mmask16 some = (__mmask16)((1u << n) - 1);
  __m512 r[16], t[16];
  SNK_UNROLL
  for (int j = 0; j < 16; j++) r[j] = j < n ? _mm512_loadu_ps(src + j * sld) : _mm512_setzero_ps();
  SNK_UNROLL
  for (int j = 0; j < 16; j += 2) t[j] = _mm512_unpacklo_ps(r[j], r[j + 1]), t[j + 1] = _mm512_unpackhi_ps(r[j], r[j + 1]);
  SNK_UNROLL
  for (int j = 0; j < 16; j++) {
    const __m512d a = (__m512d)t[j / 4 * 4 + (j >> 1 & 1)], b = (__m512d)t[j / 4 * 4 + (j >> 1 & 1) + 2];
    r[j] = (__m512)(j & 1 ? _mm512_unpackhi_pd(a, b) : _mm512_unpacklo_pd(a, b));
  }
  SNK_UNROLL
  for (int q = 0; q < 4; q++) {
    const __m512 a = _mm512_shuffle_f32x4(r[q], r[4 + q], 0x88), b = _mm512_shuffle_f32x4(r[8 + q], r[12 + q], 0x88);
    const __m512 c = _mm512_shuffle_f32x4(r[q], r[4 + q], 0xdd), d = _mm512_shuffle_f32x4(r[8 + q], r[12 + q], 0xdd);
    _mm512_mask_storeu_ps(dst + q * ld, some, _mm512_shuffle_f32x4(a, b, 0x88));
    _mm512_mask_storeu_ps(dst + (4 + q) * ld, some, _mm512_shuffle_f32x4(c, d, 0x88));
    _mm512_mask_storeu_ps(dst + (8 + q) * ld, some, _mm512_shuffle_f32x4(a, b, 0xdd));
    _mm512_mask_storeu_ps(dst + (12 + q) * ld, some, _mm512_shuffle_f32x4(c, d, 0xdd));
  }
}
#endif

/* dst[i * ld + j] = src[j * sld + i] for i < L and j < n: rows of a panel from columns of memory. */
SNK_LOOPS static void transpose_f32(float *dst, int64_t ld, const float *src, int64_t sld, int n, float *unused) {
  (void)unused;
#if defined(__AVX512F__)
  if (n == 16 || n == 12) { /* whole vectors, rows of a tile */
    if (n == 16) transpose_wide(dst, ld, src, sld, 16);
    else transpose_wide(dst, ld, src, sld, 12);
    return;
  }
#endif
#if defined(__AVX2__)
  if (n >= 6 && n <= 8) { /* six or eight rows, eight columns at a time */
    for (int q = 0; q < VFL; q += 8, src += 8, dst += 8 * ld) {
      __m256 r[8];
      for (int i = 0; i < 8; i++) r[i] = i < n ? _mm256_loadu_ps(src + i * sld) : _mm256_setzero_ps();
      __m256 t[8], u[8];
      for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
      }
      for (int i = 0; i < 8; i += 4) {
        u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
      }
      for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
      }
      for (int i = 0; i < 8; i++) {
        if (n == 8) _mm256_storeu_ps(dst + i * ld, r[i]);
        else {
          _mm_storeu_ps(dst + i * ld, _mm256_castps256_ps128(r[i]));
          for (int j = 4; j < n; j++) dst[i * ld + j] = ((const float *)&r[i])[j];
        }
      }
    }
    return;
  }
  if (n > 8) {
    int j = 0;
    for (; j + 8 <= n; j += 8) transpose_f32(dst + j, ld, src + j * sld, sld, 8, NULL);
    if (j < n) transpose_f32(dst + n - 8, ld, src + (n - 8) * sld, sld, 8, NULL); /* some columns once more */
    return;
  }
#endif
  for (int i = 0; i < VFL; i++)
    for (int j = 0; j < n; j++) dst[i * ld + j] = src[j * sld + i];
}
SNK_LOOPS static void transpose_f64(double *dst, int64_t ld, const double *src, int64_t sld, int n, double *unused) {
  (void)unused;
#if defined(__AVX512F__)
  for (; n >= 4; n -= 4, src += 4 * sld, dst += 4) { /* four columns: pairs, then quarters of vectors, change places */
    const __m512i even = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0), odd = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
    const __m512d a = _mm512_loadu_pd(src), b = _mm512_loadu_pd(src + sld), c = _mm512_loadu_pd(src + 2 * sld), d = _mm512_loadu_pd(src + 3 * sld);
    SNK_UNROLL
    for (int q = 0; q < 2; q++) {
      const __m512d x = q ? _mm512_unpackhi_pd(a, b) : _mm512_unpacklo_pd(a, b), y = q ? _mm512_unpackhi_pd(c, d) : _mm512_unpacklo_pd(c, d);
      const __m512d low = _mm512_permutex2var_pd(x, even, y), high = _mm512_permutex2var_pd(x, odd, y);
      _mm256_storeu_pd(dst + q * ld, _mm512_castpd512_pd256(low));
      _mm256_storeu_pd(dst + (q + 2) * ld, _mm512_extractf64x4_pd(low, 1));
      _mm256_storeu_pd(dst + (q + 4) * ld, _mm512_castpd512_pd256(high));
      _mm256_storeu_pd(dst + (q + 6) * ld, _mm512_extractf64x4_pd(high, 1));
    }
  }
#endif
  for (int i = 0; i < VDL; i++)
    for (int j = 0; j < n; j++) dst[i * ld + j] = src[j * sld + i];
}

#if defined(__AVX2__) && !defined(__AVX512F__)
/* Four columns of mr rows, up to six, as rows of four numbers; so many of a column are read. */
SNK_INLINE void turn_f32(float *dst, const float *src, int64_t sld, int64_t mr) {
  const VFM rows = vf_lanes(mr);
  __m256 r[4], t[4];
  SNK_UNROLL
  for (int k = 0; k < 4; k++) r[k] = _mm256_maskload_ps(src + k * sld, rows);
  SNK_UNROLL
  for (int k = 0; k < 4; k += 2) t[k] = _mm256_unpacklo_ps(r[k], r[k + 1]), t[k + 1] = _mm256_unpackhi_ps(r[k], r[k + 1]);
  SNK_UNROLL
  for (int i = 0; i < 4; i++) {
    r[i] = i & 1 ? _mm256_shuffle_ps(t[i / 2], t[i / 2 + 2], 0xee) : _mm256_shuffle_ps(t[i / 2], t[i / 2 + 2], 0x44);
    if (i < mr) _mm_storeu_ps(dst + 4 * i, _mm256_castps256_ps128(r[i]));
    if (4 + i < mr) _mm_storeu_ps(dst + 4 * (4 + i), _mm256_extractf128_ps(r[i], 1));
  }
}
#define SNK_TURN
#endif

#if defined(__AVX512F__)
#define MR 12
#elif SNK_OLD
#define MR 4
#else
#define MR 6
#endif

#define SCARCE 0
#define T float
#define V VF
#define L VFL
#define KCMAX 264
#define FN(name) SNK_CAT(name, f32)
#define v_load vf_load
#define v_store vf_store
#define VM VFM
#define v_lanes vf_lanes
#define v_take vf_some
#define v_keep vf_keep
#define v_set1 vf_set1
#define v_fma vf_fma
#define v_fma1 vf_fma1
#define v_fma_there vf_fma_there
#define v_zero vf_zero
#define v_total vf_total
#define v_relu vf_relu
#define v_round vf_bf16
#if !SNK_OLD
#define SNK_SKIP
#include "calc/gemm_skip.h"
#endif
#include "calc/gemm_tile.h"
#include "calc/gemm_block.h"
#undef SNK_SKIP
#include "calc/gemm_dots.h"
#undef SNK_TURN
enum { KC_F32 = KCMAX, SCRATCH_F32 = sizeof(T) * (MC_f32 * KCMAX + NC_f32 * KCMAX + MC_f32 * NT_f32) };
#undef T
#undef V
#undef L
#undef KCMAX
#undef FN
#undef v_load
#undef v_store
#undef VM
#undef v_lanes
#undef v_take
#undef v_keep
#undef v_set1
#undef v_fma
#undef v_fma1
#undef v_fma_there
#undef v_zero
#undef v_total
#undef v_relu
#undef v_round

#undef SCARCE
#define SCARCE 1 /* doubles are few, code is scarce */
#define T double
#define V VD
#define L VDL
#define KCMAX 264
#define FN(name) SNK_CAT(name, f64)
#define v_load vd_load
#define v_store vd_store
#define VM VDM
#define v_lanes vd_lanes
#define v_take vd_some
#define v_keep vd_keep
#define v_set1 vd_set1
#define v_fma vd_fma
#define v_fma1 vd_fma1
#define v_fma_there vd_fma_there
#define v_zero vd_zero
#define v_total vd_total
#define v_relu vd_relu
#define v_round(v) (v)
#include "calc/gemm_tile.h"
#include "calc/gemm_block.h"
#include "calc/gemm_dots.h"
enum { KC_F64 = KCMAX, SCRATCH_F64 = sizeof(T) * (MC_f64 * KCMAX + NC_f64 * KCMAX + MC_f64 * NT_f64) };

_Static_assert((int)SCRATCH_F32 <= (int)SNK_GEMM_SCRATCH - (int)SNK_GEMM_ROWS && (int)SCRATCH_F64 <= (int)SNK_GEMM_SCRATCH - (int)SNK_GEMM_ROWS && MR <= 12, "scratch");

#if defined(__FMA__) || defined(__AVX512F__) || defined(__aarch64__)
enum { FUSED = 1 };
#else
enum { FUSED = 0 };
#endif
#if SNK_OLD
#define skip_pack NULL
#define skip_count NULL
#endif
static int64_t packed_f32(int64_t n, int64_t k) { return (n + NR_f32 - 1) / NR_f32 * NR_f32 * k * 4; }
static int64_t packed_f64(int64_t n, int64_t k) { return (n + NR_f64 - 1) / NR_f64 * NR_f64 * k * 8; }

SNK_LONG_BEGIN
static void ints(int64_t n, int64_t k, const uint64_t *a, const uint64_t *b, uint64_t *restrict sum) {
  for (int64_t l = 0; l < k; l += 2, b += 2 * n) {
    const uint64_t u = a[l], v = a[l + 1];
    for (int64_t j = 0; j < n; j++) sum[j] += u * b[j] + v * b[n + j];
  }
}
SNK_LONG_END

const snk_gemm SNK_FN(snk_gemm) = {
    {MR, NR_f32, KC_F32, block_f32, pack_b_f32, packed_f32, FUSED, skip_count, skip_pack, dots_f32},
    {MR, NR_f64, KC_F64, block_f64, pack_b_f64, packed_f64, FUSED, NULL, NULL, dots_f64},
    ints,
};
