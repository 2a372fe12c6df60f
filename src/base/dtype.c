/* dtype.c - the table of number types, promotion, and single numbers of any of them. */
#include "base/dtype.h"
#include <math.h>
#include <string.h>

const sn_dtype_info sn_dtypes[SN_DTYPES] = {
  [SN_F32] = {"float32", 4, 2}, [SN_F64] = {"float64", 8, 2}, [SN_F16] = {"float16", 2, 2}, [SN_BF16] = {"bfloat16", 2, 2},
  [SN_I64] = {"int64", 8, 1},   [SN_I32] = {"int32", 4, 1},   [SN_U8] = {"uint8", 1, 1},    [SN_BOOL] = {"bool", 1, 0},
};

int sn_dtype_find(const char *name) {
  for (int i = 0; i < SN_DTYPES; i++)
    if (strcmp(sn_dtypes[i].name, name) == 0) return i;
  return -1;
}

sn_dtype sn_dtype_promote(sn_dtype a, sn_dtype b) {
  if (a == b) return a;
  const int ca = sn_dtypes[a].category, cb = sn_dtypes[b].category;
  if (ca != cb) return ca > cb ? a : b;
  if (ca == 2) {
    if (a == SN_F64 || b == SN_F64) return SN_F64;
    return SN_F32; /* float32 with a half, or the two halves together */
  }
  return a == SN_I64 || b == SN_I64 ? SN_I64 : SN_I32; /* integers of different size: the larger */
}

float sn_bf16_to_f32(uint16_t h) {
  const uint32_t u = (uint32_t)h << 16;
  float f;
  memcpy(&f, &u, 4);
  return f;
}

uint16_t sn_f32_to_bf16(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  if ((u & 0x7FFFFFFFu) > 0x7F800000u) return (uint16_t)(u >> 16 | 0x40); /* NaN stays NaN */
  return (uint16_t)((u + 0x7FFFu + (u >> 16 & 1)) >> 16);
}

float sn_f16_to_f32(uint16_t h) {
  const uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023;
  uint32_t u;
  if (e == 31) u = sign | 0x7F800000u | m << 13 | (m ? 0x400000u : 0); /* quiet, as processors make it */
  else if (e) u = sign | (e + 112) << 23 | m << 13;
  else {
    const float tiny = ldexpf((float)m, -24);
    return sign ? -tiny : tiny;
  }
  float f;
  memcpy(&f, &u, 4);
  return f;
}

uint16_t sn_f32_to_f16(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  const uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
  const uint32_t a = u & 0x7FFFFFFFu;
  if (a > 0x7F800000u) return (uint16_t)(sign | 0x7E00 | (a >> 13 & 0x3FF));
  if (a >= 0x477FF000u) return (uint16_t)(sign | 0x7C00); /* rounds to 65536 or beyond */
  if (a >= 0x38800000u) { /* normal */
    const uint32_t r = a - 0x38000000u;
    return (uint16_t)(sign | ((r + 0xFFFu + (r >> 13 & 1)) >> 13));
  }
  if (a < 0x33000000u) return sign; /* below half of the smallest */
  const uint32_t e = a >> 23, m = (a & 0x7FFFFFu) | 0x800000u, shift = 126 - e;
  const uint32_t q = m >> shift, rest = m & ((1u << shift) - 1), half = 1u << (shift - 1);
  return (uint16_t)(sign | (q + (rest > half || (rest == half && (q & 1)))));
}

double sn_load_double(const void *p, sn_dtype t) {
  switch (t) {
    case SN_F32: return (double)*(const float *)p;
    case SN_F64: return *(const double *)p;
    case SN_F16: return (double)sn_f16_to_f32(*(const uint16_t *)p);
    case SN_BF16: return (double)sn_bf16_to_f32(*(const uint16_t *)p);
    case SN_I64: return (double)*(const int64_t *)p;
    case SN_I32: return *(const int32_t *)p;
    default: return *(const uint8_t *)p;
  }
}

/* As a C cast, but defined for every value: NaN gives 0, beyond the range its nearest end. */
static int64_t to_int(double v) {
  if (!(v == v)) return 0;
  if (v >= 9223372036854775807.0) return INT64_MAX;
  if (v <= -9223372036854775808.0) return INT64_MIN;
  return (int64_t)v;
}

int64_t sn_load_int(const void *p, sn_dtype t) {
  switch (t) {
    case SN_I64: return *(const int64_t *)p;
    case SN_I32: return *(const int32_t *)p;
    case SN_U8: case SN_BOOL: return *(const uint8_t *)p;
    default: return to_int(sn_load_double(p, t));
  }
}

void sn_store_double(void *p, sn_dtype t, double v) {
  switch (t) {
    case SN_F32: *(float *)p = (float)v; break;
    case SN_F64: *(double *)p = v; break;
    case SN_F16: *(uint16_t *)p = sn_f32_to_f16((float)v); break;
    case SN_BF16: *(uint16_t *)p = sn_f32_to_bf16((float)v); break;
    case SN_I64: *(int64_t *)p = to_int(v); break;
    case SN_I32: *(int32_t *)p = (int32_t)to_int(v); break;
    case SN_U8: *(uint8_t *)p = (uint8_t)to_int(v); break;
    default: *(uint8_t *)p = !(v == 0); break;
  }
}

void sn_store_int(void *p, sn_dtype t, int64_t v) {
  switch (t) {
    case SN_I64: *(int64_t *)p = v; break;
    case SN_I32: *(int32_t *)p = (int32_t)v; break;
    case SN_U8: *(uint8_t *)p = (uint8_t)v; break;
    case SN_BOOL: *(uint8_t *)p = v != 0; break;
    default: sn_store_double(p, t, (double)v); break;
  }
}
