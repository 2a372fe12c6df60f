/* random.isa.c - random floats: Philox on vectors of counters, one block per lane. */
#include "calc/random.h"
#include "calc/quad.h"
#include "calc/vmath.h"

/* The keys of the ten rounds. */
static void keys_of(uint64_t seed, uint32_t key[20]) {
  for (uint32_t r = 0; r < 10; r++) key[2 * r] = (uint32_t)seed + r * 0x9E3779B9u, key[2 * r + 1] = (uint32_t)(seed >> 32) + r * 0xBB67AE85u;
}

#if defined(__AVX2__) && !defined(__AVX512F__)
/* Eight blocks as two vectors of four, a word in the lower half of 64 bits: a product's upper half is one shift away, its lower half, which the next
 * product reads alone, where it lies. Number 0, 2, 1, 3 of four, so that put's turned quads stand in their order. */
/* Made before what comes after: the compiler would join it last to a sum of three, and all rounds wait for each other. */
INL __m256i pinned(__m256i v) { __asm__("" : "+x"(v)); return v; }
#define KEY(r) _mm256_set1_epi64x(key[r])
INL void philox(const uint32_t key[20], uint64_t block, vu32 c[4]) {
  const __m256i m0 = _mm256_set1_epi64x(0xD2511F53), m1 = _mm256_set1_epi64x(0xCD9E8D57);
  __m256i a[2], b[2], x[2], d[2];
  SNK_ALL for (int h = 0; h < 2; h++) {
    a[h] = _mm256_add_epi64(_mm256_set1_epi64x((long long)block + 4 * h), _mm256_setr_epi64x(0, 2, 1, 3));
    b[h] = _mm256_srli_epi64(a[h], 32);
    d[h] = _mm256_mul_epu32(a[h], m0);
    a[h] = _mm256_xor_si256(b[h], KEY(0));
    x[h] = _mm256_xor_si256(_mm256_srli_epi64(d[h], 32), KEY(1));
    b[h] = _mm256_setzero_si256();
  }
  SNK_ALL for (int r = 1; r < 10; r++)
    SNK_ALL for (int h = 0; h < 2; h++) {
      const __m256i p = _mm256_mul_epu32(a[h], m0), q = _mm256_mul_epu32(x[h], m1);
      a[h] = _mm256_xor_si256(_mm256_srli_epi64(q, 32), pinned(_mm256_xor_si256(b[h], KEY(2 * r))));
      x[h] = _mm256_xor_si256(_mm256_srli_epi64(p, 32), pinned(_mm256_xor_si256(d[h], KEY(2 * r + 1))));
      b[h] = q;
      d[h] = p;
    }
#define LOWER(v) (vu32)_mm256_shuffle_ps((__m256)v[0], (__m256)v[1], 0x88)
  c[0] = LOWER(a), c[1] = LOWER(b), c[2] = LOWER(x), c[3] = LOWER(d);
#undef LOWER
}
#undef KEY
#else
/* The 64-bit products of all lanes with one number, as high and low halves. */
INL void multiply(vu32 a, uint32_t m, vu32 *hi, vu32 *lo) {
#if defined(__AVX512F__)
  const __m512i k = _mm512_set1_epi32((int)m), even = _mm512_mul_epu32((__m512i)a, k), odd = _mm512_mul_epu32(_mm512_srli_epi64((__m512i)a, 32), k);
  *lo = (vu32)_mm512_mask_shuffle_epi32(even, 0xAAAA, odd, _MM_PERM_CCAA);
  *hi = (vu32)_mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
#else
  for (int l = 0; l < VF; l++) {
    const uint64_t p = (uint64_t)a[l] * m;
    (*hi)[l] = (uint32_t)(p >> 32);
    (*lo)[l] = (uint32_t)p;
  }
#endif
}

/* Blocks block .. block + VF - 1, number l % 4 * VF / 4 + l / 4 in lane l: then put's turned quads stand in their order. Word w of them in c[w].
 * The same numbers as sn_philox. */
INL void philox(const uint32_t key[20], uint64_t block, vu32 c[4]) {
  static const uint32_t place[16] = {
#if VF == 16
    0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15
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
#endif

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

/* The words of n elements; a float stands for 32 bits. */
SNK_APART void words(uint64_t seed, uint64_t block, int64_t n, float *y) {
  uint32_t key[20];
  keys_of(seed, key);
  for (int64_t i = 0; i < n; i += 4 * VF, block += VF) {
    vu32 c[4];
    vf z[4];
    philox(key, block, c);
    SNK_ALL for (int w = 0; w < 4; w++) z[w] = (vf)c[w];
    put(y + i, n - i, z);
  }
}

static void plain(uint64_t seed, uint64_t block, int64_t n, uint32_t *y) { words(seed, block, n, (float *)(void *)y); }

enum { NEAR = 1024 }; /* words made at a time where they become numbers: they are in the nearest cache still */

/* The words of y become what f makes of a vector of them. */
#define BECOME(V)                                                                              \
  for (int64_t i = 0; i < n; i += NEAR, block += NEAR / 4) {                                   \
    const int64_t end = n - i < NEAR ? n : i + NEAR;                                           \
    words(seed, block, end - i, y + i);                                                        \
    int64_t k = i;                                                                             \
    for (; k + VF <= end; k += VF) vf_store(y + k, V((vu32)vf_load(y + k)));                   \
    if (k < end) vf_store_part(y + k, V((vu32)vf_load_part(y + k, end - k)), end - k);         \
  }

static void uniform(uint64_t seed, uint64_t block, int64_t n, float *y, float lo, float hi) {
  const vf low = vf_splat(lo), high = vf_splat(hi), span = high - low;
#define BETWEEN(w) vf_where((vfm)(low + unit(w) * span < high), low + unit(w) * span, low) /* rounding up may reach hi, which is excluded */
  BECOME(BETWEEN)
}

static void mask(uint64_t seed, uint64_t block, int64_t n, float *y, float p, float kept) {
  const float steps = ceilf(p * 0x1p24f); /* the 24 bits compared as they are */
  const vu32 least = ((uint32_t)steps << 8) - (vu32){0};
  const vf value = vf_splat(steps < 0x1p24f ? kept : 0);
#define KEEP(w) (vf)((vfm)value & (vfm)((w) >= least))
  BECOME(KEEP)
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

/* Box and Muller: words 0 and 1 make elements 0 and 1 of a block, words 2 and 3 the others. Some blocks' words first: the two have long chains. */
static void normal(uint64_t seed, uint64_t block, int64_t n, float *y, float mean, float std) {
  enum { SOME = VF == 16 ? 1 : 8 };
  uint32_t key[20];
  keys_of(seed, key);
  const vf m = vf_splat(mean), s = vf_splat(std);
  vu32 c[SOME][4];
  for (int64_t i = 0; i < n; i += SOME * 4 * VF) {
    const int some = n - i < SOME * 4 * VF ? (int)((n - i + 4 * VF - 1) / (4 * VF)) : SOME;
    for (int k = 0; k < some; k++, block += VF) philox(key, block, c[k]);
    for (int k = 0; k < some; k++) {
      vf z[4];
      SNK_ALL for (int w = 0; w < 4; w += 2) {
        const vf r = vf_sqrt(VFK(-2) * vf_log_plain(unit(c[k][w]) + VFK(0x1p-25)));
        vf sine, cosine;
        sincos_turns(unit(c[k][w + 1]), &sine, &cosine);
        z[w] = m + s * (r * cosine);
        z[w + 1] = m + s * (r * sine);
      }
      put(y + i + k * 4 * VF, n - i - k * 4 * VF, z);
    }
  }
}

const snk_random SNK_FN(snk_random) = {plain, uniform, normal, mask};
