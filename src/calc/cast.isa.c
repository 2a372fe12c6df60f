/* cast.isa.c - the transposed copy of 32-bit elements, a square of vectors at a time; rows of bfloat16 from and to float; bytes to numbers. */
#include "calc/cast.h"
#include "calc/bf16.h"
#include "calc/quad.h"

#define SIDE SNK_TURN /* a line of the cache on both sides */
#define REACH 128     /* columns before the next rows: both sides are walked in pieces long enough to be fetched ahead (measured) */

static void square(char *to, int64_t to_row, const char *from, int64_t from_col) {
  for (int64_t i = 0; i < SIDE; i += VF)
    for (int64_t j = 0; j < SIDE; j += VF) {
      vf z[VF];
      SNK_ALL for (int k = 0; k < VF; k++) z[k] = vf_load((const float *)(const void *)(from + (j + k) * from_col + i * 4));
      vf_turn_square(z);
      SNK_ALL for (int k = 0; k < VF; k++) vf_store((float *)(void *)(to + (i + k) * to_row + j * 4), z[k]);
    }
}

/* Lines that lie a power of two of bytes apart drive each other out of the cache: squares are put down side by side first, and whole pieces of rows go on. */
enum { HIGH = 64, WIDE = 128, PITCH = 4 * (WIDE + SIDE) };

static void turn_apart(int64_t rows, int64_t cols, char *to, int64_t to_row, const char *from, int64_t from_col) {
  _Alignas(64) char near[HIGH * PITCH];
  for (int64_t j0 = 0; j0 < cols; j0 += WIDE)
    for (int64_t i0 = 0; i0 < rows; i0 += HIGH) {
      const int64_t high = rows - i0 < HIGH ? rows - i0 : HIGH, wide = cols - j0 < WIDE ? cols - j0 : WIDE;
      for (int64_t j = 0; j < wide; j += SIDE)
        for (int64_t i = 0; i < high; i += SIDE) square(near + i * PITCH + j * 4, PITCH, from + (j0 + j) * from_col + (i0 + i) * 4, from_col);
      for (int64_t i = 0; i < high; i++)
        for (int64_t j = 0; j < wide; j += VF)
          vf_store((float *)(void *)(to + (i0 + i) * to_row + (j0 + j) * 4), vf_load((const float *)(const void *)(near + i * PITCH + j * 4)));
    }
}

/* rows and cols are multiples of SIDE. */
static void turn(int64_t rows, int64_t cols, char *to, int64_t to_row, const char *from, int64_t from_col) {
  if ((to_row % 4096 == 0 || from_col % 4096 == 0) && cols * from_col <= 8 << 20) { /* more comes from memory, and the two halves would wait for each other */
    turn_apart(rows, cols, to, to_row, from, from_col);
    return;
  }
  for (int64_t j0 = 0; j0 < cols; j0 += REACH)
    for (int64_t i = 0; i + SIDE <= rows; i += SIDE)
      for (int64_t j = j0; j + SIDE <= cols && j < j0 + REACH; j += SIDE) square(to + i * to_row + j * 4, to_row, from + j * from_col + i * 4, from_col);
}

static void from_bf16(int64_t n, const uint16_t *from, float *to) {
  int64_t i = 0;
  for (; i + VF <= n; i += VF) vf_store(to + i, vf_from_bf16(from + i));
  uint16_t rest[VF] = {0};
  if (i == n) return;
  memcpy(rest, from + i, (size_t)(n - i) * sizeof *rest);
  vf_store_part(to + i, vf_from_bf16(rest), n - i);
}

static void to_bf16(int64_t n, const float *from, uint16_t *to) {
  int64_t i = 0;
  for (; i + VF <= n; i += VF) vf_to_bf16(to + i, vf_load(from + i));
  uint16_t rest[VF];
  if (i == n) return;
  vf_to_bf16(rest, vf_load_fill(from + i, n - i, 0));
  memcpy(to + i, rest, (size_t)(n - i) * sizeof *rest);
}

#if defined(__AVX512F__)
#define FROM_F16(p) (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(p)))
#define TO_F16(p, v) _mm256_storeu_si256((__m256i *)(void *)(p), _mm512_cvtps_ph((__m512)(v), _MM_FROUND_TO_NEAREST_INT))
#elif defined(__F16C__)
#define FROM_F16(p) (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#define TO_F16(p, v) _mm_storeu_si128((__m128i *)(void *)(p), _mm256_cvtps_ph((__m256)(v), _MM_FROUND_TO_NEAREST_INT))
#endif
static void from_f16(int64_t n, const uint16_t *from, float *to) {
#if defined(FROM_F16)
  for (; n >= VF; n -= VF, from += VF, to += VF) vf_store(to, FROM_F16(from));
#endif
  for (; n > 0; n--) *to++ = sn_f16_to_f32(*from++);
}
static void to_f16(int64_t n, const float *from, uint16_t *to) {
#if defined(TO_F16)
  for (; n >= VF; n -= VF, from += VF, to += VF) TO_F16(to, vf_load(from));
#endif
  for (; n > 0; n--) *to++ = sn_f32_to_f16(*from++);
}

static bool whole(int64_t n, const float *from, int32_t *to) {
  bool all = true;
#if defined(__AVX512F__)
  for (; n >= VF; n -= VF, from += VF, to += VF) {
    const __m512i v = _mm512_cvttps_epi32((__m512)vf_load(from));
    all &= _mm512_cmpeq_epi32_mask(v, _mm512_set1_epi32(INT32_MIN)) == 0;
    _mm512_storeu_si512(to, v);
  }
#elif defined(__AVX2__)
  for (; n >= VF; n -= VF, from += VF, to += VF) {
    const __m256i v = _mm256_cvttps_epi32((__m256)vf_load(from));
    all &= _mm256_testz_si256(_mm256_cmpeq_epi32(v, _mm256_set1_epi32(INT32_MIN)), _mm256_set1_epi32(-1)) != 0;
    _mm256_storeu_si256((__m256i *)(void *)to, v);
  }
#endif
  for (; n > 0; n--, from++, to++) {
    const bool fits = *from > -2147483648.0f && *from < 2147483648.0f;
    all &= fits;
    *to = fits ? (int32_t)*from : 0;
  }
  return all;
}

static void round_bf16(int64_t n, const float *from, float *to) {
  int64_t i = 0;
  for (; i + VF <= n; i += VF) vf_store(to + i, vf_nearest_bf16(vf_load(from + i)));
  if (i < n) vf_store_part(to + i, vf_nearest_bf16(vf_load_fill(from + i, n - i, 0)), n - i);
}

/* VF bytes as numbers. */
INL vf widen(const uint8_t *p) {
#if defined(__AVX512F__)
  return (vf)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
#elif defined(__AVX2__)
  return (vf)_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
#elif defined(__SSE2__)
  int32_t four;
  memcpy(&four, p, 4);
  const __m128i zero = _mm_setzero_si128();
  return (vf)_mm_cvtepi32_ps(_mm_unpacklo_epi16(_mm_unpacklo_epi8(_mm_cvtsi32_si128(four), zero), zero));
#else
  vf v;
  for (int l = 0; l < VF; l++) v[l] = (float)p[l];
  return v;
#endif
}

static void bytes(int64_t n, float *to, const uint8_t *from, float scale) {
  const vf s = vf_splat(scale);
  for (; n >= VF; n -= VF, to += VF, from += VF) vf_store(to, widen(from) * s);
  uint8_t rest[VF] = {0};
  memcpy(rest, from, (size_t)n);
  if (n > 0) vf_store_part(to, widen(rest) * s, n);
}

/* Places of two numbers each: the first of each to `to`, or from `from`. Nothing else is touched. */
static void second(int64_t n, uint32_t *to, const uint32_t *from) {
#if defined(__AVX512F__)
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  for (; n > 0; n -= 16, to += 16, from += 32) {
    const uint32_t lanes = n >= 16 ? 0x55555555 : ((1u << 2 * n) - 1) & 0x55555555;
    const __m512i a = _mm512_maskz_loadu_epi32((__mmask16)lanes, from), b = _mm512_maskz_loadu_epi32((__mmask16)(lanes >> 16), from + 16);
    _mm512_mask_storeu_epi32(to, (__mmask16)(n >= 16 ? 0xFFFF : (1u << n) - 1), _mm512_permutex2var_epi32(a, even, b));
  }
#else
  for (int64_t i = 0; i < n; i++) to[i] = from[2 * i];
#endif
}
static void apart(int64_t n, uint32_t *to, const uint32_t *from) {
#if defined(__AVX512F__)
  for (; n > 0; n -= 16, to += 32, from += 16) {
    const uint32_t lanes = n >= 16 ? 0x55555555 : ((1u << 2 * n) - 1) & 0x55555555;
    const __m512i v = _mm512_maskz_loadu_epi32((__mmask16)(n >= 16 ? 0xFFFF : (1u << n) - 1), from);
    _mm512_mask_storeu_epi32(to, (__mmask16)lanes, _mm512_maskz_expand_epi32(0x5555, v));
    _mm512_mask_storeu_epi32(to + 16, (__mmask16)(lanes >> 16), _mm512_maskz_expand_epi32(0x5555, _mm512_shuffle_i32x4(v, v, 0x0E)));
  }
#else
  for (int64_t i = 0; i < n; i++) to[2 * i] = from[i];
#endif
}

const snk_cast SNK_FN(snk_cast) = {turn, from_bf16, to_bf16, from_f16, to_f16, whole, round_bf16, bytes, second, apart};
