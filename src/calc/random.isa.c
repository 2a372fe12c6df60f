/* random.isa.c - random floats: Philox on vectors of counters, one block per lane. */
#include "calc/random.h"
#include "calc/quad.h"
#include "calc/vmath.h"

/* The 64-bit products of all lanes with one number, as high and low halves. */
INL void multiply(vu32 a, uint32_t m, vu32 *hi, vu32 *lo) {
#if defined(__AVX512F__)
  const __m512i k = _mm512_set1_epi32((int)m), even = _mm512_mul_epu32((__m512i)a, k), odd = _mm512_mul_epu32(_mm512_srli_epi64((__m512i)a, 32), k);
  *lo = (vu32)_mm512_mask_shuffle_epi32(even, 0xAAAA, odd, _MM_PERM_CCAA);
  *hi = (vu32)_mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
#elif defined(__AVX2__)
  const __m256i k = _mm256_set1_epi32((int)m), even = _mm256_mul_epu32((__m256i)a, k), odd = _mm256_mul_epu32(_mm256_srli_epi64((__m256i)a, 32), k);
  *lo = (vu32)_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
  *hi = (vu32)_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
#else
  for (int l = 0; l < VF; l++) {
    const uint64_t p = (uint64_t)a[l] * m;
    (*hi)[l] = (uint32_t)(p >> 32);
    (*lo)[l] = (uint32_t)p;
  }
#endif
}

/* The keys of the ten rounds. */
static void keys_of(uint64_t seed, uint32_t key[20]) {
  for (uint32_t r = 0; r < 10; r++) key[2 * r] = (uint32_t)seed + r * 0x9E3779B9u, key[2 * r + 1] = (uint32_t)(seed >> 32) + r * 0xBB67AE85u;
}

/* Blocks block .. block + VF - 1, number l % 4 * VF / 4 + l / 4 in lane l: then put's turned quads stand in their order. Word w of them in c[w].
 * The same numbers as sn_philox. */
INL void philox(const uint32_t key[20], uint64_t block, vu32 c[4]) {
  static const uint32_t place[16] = {
#if VF == 16
    0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15
#elif VF == 8
    0, 2, 4, 6, 1, 3, 5, 7
#else
    0, 1, 2, 3
#endif
  };
  vu32 at;
  memcpy(&at, place, sizeof at);
  c[0] = at + (uint32_t)block;
  c[1] = (uint32_t)(block >> 32) - (vu32)(c[0] < at); /* a mask is -1: carry */
  vu32 h, l;
  multiply(c[0], 0xD2511F53u, &h, &l); /* the first round, words 2 and 3 being 0 */
  c[0] = c[1] ^ key[0];
  c[2] = h ^ key[1];
  c[1] = (vu32){0};
  c[3] = l;
  SNK_ALL for (int r = 1; r < 10; r++) {
    vu32 h0, l0, h1, l1;
    multiply(c[0], 0xD2511F53u, &h0, &l0);
    multiply(c[2], 0xCD9E8D57u, &h1, &l1);
    c[0] = h1 ^ c[1] ^ key[2 * r];
    c[2] = h0 ^ c[3] ^ key[2 * r + 1];
    c[1] = l1;
    c[3] = l0;
  }
}

/* Words of one block stand behind one another in the result. */
INL void put(float *y, int64_t n, vf z[4]) {
  vf_turn(z);
  if (n >= 4 * VF) {
    SNK_ALL for (int w = 0; w < 4; w++) vf_store(y + w * VF, z[w]);
  } else {
    float t[4 * VF];
    SNK_ALL for (int w = 0; w < 4; w++) vf_store(t + w * VF, z[w]);
    memcpy(y, t, (size_t)n * sizeof *t);
  }
}

INL vf unit(vu32 w) { return __builtin_convertvector((vfm)(w >> 8), vf) * VFK(0x1p-24); }

static void uniform(uint64_t seed, uint64_t block, int64_t n, float *y, float lo, float hi) {
  uint32_t key[20];
  keys_of(seed, key);
  const vf low = vf_splat(lo), high = vf_splat(hi), span = high - low;
  for (int64_t i = 0; i < n; i += 4 * VF, block += VF) {
    vu32 c[4];
    vf z[4];
    philox(key, block, c);
    SNK_ALL for (int w = 0; w < 4; w++) {
      const vf v = low + unit(c[w]) * span;
      z[w] = vf_where((vfm)(v < high), v, low); /* rounding up may reach hi, which is excluded */
    }
    put(y + i, n - i, z);
  }
}

static void mask(uint64_t seed, uint64_t block, int64_t n, float *y, float p, float kept) {
  uint32_t key[20];
  keys_of(seed, key);
  const vf least = vf_splat(p), value = vf_splat(kept);
  for (int64_t i = 0; i < n; i += 4 * VF, block += VF) {
    vu32 c[4];
    vf z[4];
    philox(key, block, c);
    SNK_ALL for (int w = 0; w < 4; w++) z[w] = (vf)((vfm)value & (vfm)(unit(c[w]) >= least));
    put(y + i, n - i, z);
  }
}

/* Sine and cosine of v turns, 0 <= v < 1: 2 ulp. */
INL void sincos_turns(vf v, vf *sine, vf *cosine) {
  const vf t = v * VFK(4), q = vf_round(t), a = (t - q) * VFK(1.57079632679489662), z = a * a;
  const vfm k = __builtin_convertvector(q, vfm);
  vf s = vf_fma(z, VFK(-1.9515295891e-4), VFK(8.3321608736e-3));
  s = vf_fma(s, z, VFK(-1.6666654611e-1));
  s = vf_fma(s * z, a, a);
  vf c = vf_fma(z, VFK(2.443315711809948e-5), VFK(-1.388731625493765e-3));
  c = vf_fma(c, z, VFK(4.166664568298827e-2));
  c = vf_fma(c * z, z, vf_fma(z, VFK(-0.5), VFK(1)));
  const vfm odd = -(k & 1);
  const vf ss = vf_where(odd, c, s), cc = vf_where(odd, s, c);
  *sine = (vf)((vfm)ss ^ ((k & 2) << 30));
  *cosine = (vf)((vfm)cc ^ (((k + 1) & 2) << 30));
}

/* Box and Muller: words 0 and 1 make elements 0 and 1 of a block, words 2 and 3 the others. */
static void normal(uint64_t seed, uint64_t block, int64_t n, float *y, float mean, float std) {
  uint32_t key[20];
  keys_of(seed, key);
  const vf m = vf_splat(mean), s = vf_splat(std);
  for (int64_t i = 0; i < n; i += 4 * VF, block += VF) {
    vu32 c[4];
    vf z[4];
    philox(key, block, c);
    SNK_ALL for (int w = 0; w < 4; w += 2) {
      const vf r = vf_sqrt(VFK(-2) * vf_log(unit(c[w]) + VFK(0x1p-25)));
      vf sine, cosine;
      sincos_turns(unit(c[w + 1]), &sine, &cosine);
      z[w] = m + s * (r * cosine);
      z[w + 1] = m + s * (r * sine);
    }
    put(y + i, n - i, z);
  }
}

const snk_random SNK_FN(snk_random) = {uniform, normal, mask};
