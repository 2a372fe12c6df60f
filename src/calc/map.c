/* map.c - the formula book on integers, comparisons of every type, and rows that no formula makes. */
#include "calc/map.h"
#include <math.h>
#include <string.h>

/* ---- integers: arithmetic wraps, division by zero gives 0, nothing traps */
#define ADD(a, b) ((T)((U)(a) + (U)(b)))
#define SUB(a, b) ((T)((U)(a) - (U)(b)))
#define MUL(a, b) ((T)((U)(a) * (U)(b)))
#define NEG(a) ((T)(0 - (U)(a)))
#define ABS(a) ((T)int_abs((int64_t)(a)))
#define SIGN(a) ((T)int_sign((int64_t)(a)))
#define MAX(a, b) N(larger)(a, b)
#define MIN(a, b) N(smaller)(a, b)
#define K(c) ((T)(c))
#define P(i) N(bound)(param[i])
#define POW(a, b) ((T)int_pow((U)(a), (int64_t)(b)))
#define FMOD(a, b) ((T)int_fmod((int64_t)(a), (int64_t)(b)))
#define REM(a, b) ((T)int_rem((int64_t)(a), (int64_t)(b)))
#define FLOORDIV(a, b) ((T)int_floordiv((int64_t)(a), (int64_t)(b)))

#define ORDER(T, t)                                             \
  static T larger_##t(T a, T b) { return a < b ? b : a; }         \
  static T smaller_##t(T a, T b) { return b < a ? b : a; }
ORDER(int64_t, i64)
ORDER(int32_t, i32)
ORDER(uint8_t, u8)
static int64_t int_abs(int64_t a) { return a < 0 ? (int64_t)(0 - (uint64_t)a) : a; }
static int64_t int_sign(int64_t a) { return (a > 0) - (a < 0); }
static uint64_t int_pow(uint64_t a, int64_t b) {
  if (b < 0) return a == 1; /* as the quotient 1/a^|b| truncated */
  uint64_t r = 1;
  for (; b; b >>= 1, a *= a)
    if (b & 1) r *= a;
  return r;
}
static int64_t int_fmod(int64_t a, int64_t b) { return b == 0 || b == -1 ? 0 : a % b; }
static int64_t int_rem(int64_t a, int64_t b) {
  if (b == 0 || b == -1) return 0;
  const int64_t r = a % b;
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
static int64_t int_floordiv(int64_t a, int64_t b) {
  if (b == 0) return 0;
  if (b == -1) return (int64_t)(0 - (uint64_t)a);
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}
static int64_t bound_i64(double v) {
  int64_t r;
  sn_store_double(&r, SN_I64, v);
  return r;
}
static int32_t bound_i32(double v) { return v >= 2147483647.0 ? INT32_MAX : v <= -2147483648.0 ? INT32_MIN : (int32_t)v; }
static uint8_t bound_u8(double v) { return v >= 255 ? 255 : v <= 0 ? 0 : (uint8_t)v; }

#define INT_ROW1(name, F)                                                                   \
  static void N(name)(int64_t n, char *const *p, const int64_t *s, const double *param) {   \
    (void)param;                                                                            \
    for (int64_t i = 0; i < n; i++) {                                                       \
      const T X = *(const T *)(const void *)(p[1] + i * s[1]);                              \
      *(T *)(void *)(p[0] + i * s[0]) = (T)(F);                                             \
    }                                                                                       \
  }
#define INT_ROW2(name, F)                                                                   \
  static void N(name)(int64_t n, char *const *p, const int64_t *s, const double *param) {   \
    (void)param;                                                                            \
    for (int64_t i = 0; i < n; i++) {                                                       \
      const T A = *(const T *)(const void *)(p[1] + i * s[1]), B = *(const T *)(const void *)(p[2] + i * s[2]); \
      *(T *)(void *)(p[0] + i * s[0]) = (T)(F);                                             \
    }                                                                                       \
  }
#define T int64_t
#define U uint64_t
#define N(name) name##_i64
#include "calc/map_ints.h"
#undef T
#undef U
#undef N
#define T int32_t
#define U uint32_t
#define N(name) name##_i32
#include "calc/map_ints.h"
#undef T
#undef U
#undef N
#define T uint8_t
#define U uint8_t
#define N(name) name##_u8
#include "calc/map_ints.h"

/* ---- comparisons */
#define CMP_ROW(name, op, T, t)                                                             \
  static void name##_##t##_row(int64_t n, char *const *p, const int64_t *s, const double *param) { \
    (void)param;                                                                            \
    if (s[0] == 1 && s[1] == sizeof(T) && s[2] == sizeof(T)) {                              \
      const T *a = (const T *)(const void *)p[1], *b = (const T *)(const void *)p[2];       \
      uint8_t *y = (uint8_t *)p[0];                                                         \
      for (int64_t i = 0; i < n; i++) y[i] = a[i] op b[i];                                  \
    } else                                                                                  \
      for (int64_t i = 0; i < n; i++)                                                       \
        p[0][i * s[0]] = *(const T *)(const void *)(p[1] + i * s[1]) op *(const T *)(const void *)(p[2] + i * s[2]); \
  }
#define MAP1(...)
#define MAP2(...)
#define CMP2(name, op, samples) CMP_ROW(name, op, float, f32) CMP_ROW(name, op, double, f64) CMP_ROW(name, op, int64_t, i64) CMP_ROW(name, op, int32_t, i32) CMP_ROW(name, op, uint8_t, u8)
#include "calc/map.def"

#define MAP1(name, kinds, ...) kinds##_ENTRY(name)
#define MAP2(name, kinds, ...) kinds##_ENTRY(name)
#define FLT_ENTRY(name)
#define NUM_ENTRY(name) [SNK_MAP_##name] = {name##_i64, name##_i32, name##_u8, NULL, NULL},
#define FLT_HIGH_ENTRY FLT_ENTRY
#define NUM_HIGH_ENTRY NUM_ENTRY
#define CMP2(name, ...) [SNK_MAP_##name] = {name##_i64_row, name##_i32_row, name##_u8_row, name##_f32_row, name##_f64_row},
static snk_row *const others[SNK_MAP_COUNT][5] = {
#include "calc/map.def"
};

snk_row *snk_map_row(int index, sn_dtype t) {
  switch (t) {
    case SN_F32: return others[index][3] ? others[index][3] : snk_map_now()->f32[index];
    case SN_F64: return others[index][4] ? others[index][4] : snk_map_now()->f64[index];
    case SN_I64: return others[index][0];
    case SN_I32: return others[index][1];
    case SN_U8: case SN_BOOL: return others[index][2];
    default: return NULL;
  }
}

/* ---- the rest */
#define WHERE_LOOP(T) \
  for (int64_t i = 0; i < n; i++) *(T *)(void *)(p[0] + i * s[0]) = p[1][i * s[1]] ? *(const T *)(const void *)(p[2] + i * s[2]) : *(const T *)(const void *)(p[3] + i * s[3])
void snk_where_row(int64_t n, char *const *p, const int64_t *s, size_t size) {
  switch (size) {
    case 1: WHERE_LOOP(uint8_t); break;
    case 2: WHERE_LOOP(uint16_t); break;
    case 4: WHERE_LOOP(uint32_t); break;
    default: WHERE_LOOP(uint64_t); break;
  }
}

void snk_logic_row(int64_t n, char *const *p, const int64_t *s, int which) {
  for (int64_t i = 0; i < n; i++) {
    const int a = p[1][i * s[1]] != 0, b = p[2][i * s[2]] != 0;
    p[0][i * s[0]] = (char)(which == SNK_AND ? a & b : which == SNK_OR ? a | b : a ^ b);
  }
}

void snk_test_row(int64_t n, char *const *p, const int64_t *s, sn_dtype t, int which) {
  for (int64_t i = 0; i < n; i++) {
    const double v = sn_load_double(p[1] + i * s[1], t);
    p[0][i * s[0]] = (char)(which == SNK_ISNAN ? isnan(v) : which == SNK_ISINF ? isinf(v) != 0 : isfinite(v));
  }
}
