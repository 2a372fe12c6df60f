/* map.c - the formula book on integers, comparisons of every type, and rows that no formula makes. */
#include "calc/map.h"
#include <math.h>
#include <string.h>
#include "calc/cast.h"

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
#define FMOD(a, b) ((T)D(fmod)(a, b))
#define REM(a, b) ((T)D(rem)(a, b))
#define FLOORDIV(a, b) ((T)D(floordiv)(a, b))

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
/* In 64 bits and in 32, of which a division takes half the time. */
#define DIVISION(T, U, t)                                                              \
  static T fmod_in_##t(T a, T b) { return b == 0 || b == -1 ? 0 : a % b; }             \
  static T rem_in_##t(T a, T b) {                                                      \
    if (b == 0 || b == -1) return 0;                                                   \
    const T r = a % b;                                                                 \
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;                                   \
  }                                                                                    \
  static T floordiv_in_##t(T a, T b) {                                                 \
    if (b == 0) return 0;                                                              \
    if (b == -1) return (T)(0 - (U)a);                                                 \
    return a / b - (a % b != 0 && (a < 0) != (b < 0));                                 \
  }
DIVISION(int64_t, uint64_t, i64)
DIVISION(int32_t, uint32_t, i32)
/* Apart, so that rows hold the bounds and not how they are made. */
#define BOUND static __attribute__((noinline, const))
BOUND int64_t bound_i64(double v) {
  int64_t r;
  sn_store_double(&r, SN_I64, v);
  return r;
}
BOUND int32_t bound_i32(double v) { return v >= 2147483647.0 ? INT32_MAX : v <= -2147483648.0 ? INT32_MIN : (int32_t)v; }
BOUND uint8_t bound_u8(double v) { return v >= 255 ? 255 : v <= 0 ? 0 : (uint8_t)v; }

/* A row whose numbers are side by side; y may be an operand. */
typedef void close_row(int64_t n, void *y, const void *a, const void *b, const double *param);

/* The same for any steps: operands that lie apart, or are one number for all, are brought side by side first, some at a time. What a row is made of
 * is one number, and all else stands where the row found it: there are a hundred such rows. */
#define SHAPE(operands, to, from) ((operands) << 16 | (int)(to) << 8 | (int)(from)) /* elements of `to` and `from` bytes */
static void bring(int64_t n, char *const *p, const int64_t *s, const double *param, close_row *f, int shape) {
  enum { SOME = 256 };
  const int operands = shape >> 16;
  const int64_t to = shape >> 8 & 255, from = shape & 255;
  static const sn_dtype sized[9] = {[1] = SN_U8, [4] = SN_I32, [8] = SN_I64};
  _Alignas(8) char near[3][SOME * 8];
  if (s[0] == to && s[1] == from && (operands == 1 || s[2] == from)) {
    f(n, p[0], p[1], operands == 1 ? p[1] : p[2], param);
    return;
  }
  for (int64_t i = 0, some; i < n; i += some) {
    const void *x[3] = {NULL, NULL, NULL};
    some = n - i < SOME ? n - i : SOME;
    for (int k = 1; k <= operands; k++) {
      x[k] = p[k] + i * s[k];
      if (s[k] == from) continue;
      if (s[k] != 0 || i == 0) snk_cast_row(some, near[k], from, sized[from], x[k], s[k], sized[from]);
      x[k] = near[k];
    }
    char *y = p[0] + i * s[0];
    f(some, s[0] == to ? y : near[0], x[1], x[operands], param);
    if (s[0] != to) snk_cast_row(some, y, s[0], sized[to], near[0], to, sized[to]);
  }
}

#define CLOSE(name, R, T, X, Y, F)                                                                                    \
  static void name##_close(int64_t n, void *yp, const void *ap, const void *bp, const double *param) {                \
    R *y = yp;                                                                                                        \
    const T *a = ap, *b = bp;                                                                                         \
    (void)param, (void)b;                                                                                             \
    SNK_ALONE                                                                                                         \
    for (int64_t i = 0; i < n; i++) {                                                                                 \
      const T X = a[i], Y = b[i];                                                                                     \
      (void)Y;                                                                                                        \
      y[i] = (R)(F);                                                                                                  \
    }                                                                                                                 \
  }
#define CLOSE_ROW(name, operands, R, T, X, Y, F)                                                                      \
  CLOSE(name, R, T, X, Y, F)                                                                                          \
  static void name(int64_t n, char *const *p, const int64_t *s, const double *param) { bring(n, p, s, param, name##_close, SHAPE(operands, sizeof(R), sizeof(T))); }
#define CLOSED(name, operands, R, T, X, Y, F) CLOSE_ROW(name, operands, R, T, X, Y, F) /* the name first */
#define INT_ROW1(name, F) CLOSED(N(name), 1, T, T, X, Z, F)
#define INT_ROW2(name, F) CLOSED(N(name), 2, T, T, A, B, F)
#define T int64_t
#define U uint64_t
#define N(name) name##_i64
#define D(name) name##_in_i64
#include "calc/map_ints.h"
#undef T
#undef U
#undef N
#undef D
/* Bytes sixteen at a time; of wider integers, and of comparisons of wider numbers, most wait for memory as they are. */
SNK_LONG_BEGIN
#define T int32_t
#define U uint32_t
#define N(name) name##_i32
#define D(name) name##_in_i32
#include "calc/map_ints.h"
#undef T
#undef U
#undef N
#undef D
#define T uint8_t
#define U uint8_t
#define N(name) name##_u8
#define D(name) name##_in_i32
#include "calc/map_ints.h"

/* ---- comparisons */
#define CMP_ROW(name, op, T, t) CLOSE_ROW(name##_##t##_row, 2, uint8_t, T, A, B, A op B)
#define MAP1(...)
#define MAP2(...)
#define CMP2(name, op, samples) CMP_ROW(name, op, uint8_t, u8)
#include "calc/map.def"
SNK_LONG_END
#define MAP1(...)
#define MAP2(...)
#define CMP2(name, op, samples) CMP_ROW(name, op, float, f32) CMP_ROW(name, op, double, f64) CMP_ROW(name, op, int64_t, i64) CMP_ROW(name, op, int32_t, i32)
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
  const snk_map *k = SNK_MAP_MOVES(index) ? snk_map_moves_now() : snk_map_now();
  switch (t) {
    case SN_F32: return others[index][3] ? others[index][3] : k->f32[index];
    case SN_F64:
      if (others[index][4]) return others[index][4];
      return snk_map_now()->f64[index] ? snk_map_now()->f64[index] : snk_map_doubles_now()->f64[index];
    case SN_I64: return others[index][0];
    case SN_I32: return others[index][1];
    case SN_U8: case SN_BOOL: return others[index][2];
    default: return NULL;
  }
}

/* ---- the rest */
SNK_LONG_BEGIN
CLOSE(not, uint8_t, uint8_t, A, B, A == 0)
SNK_LONG_END
void snk_logic_row(int64_t n, char *const *p, const int64_t *s, int which) {
  static close_row *const rows[] = {[SNK_AND] = minimum_u8_close, [SNK_OR] = maximum_u8_close, [SNK_XOR] = ne_u8_row_close, [SNK_NOT] = not_close};
  bring(n, p, s, NULL, rows[which], SHAPE(which == SNK_NOT ? 1 : 2, 1, 1));
}

CLOSE(isnan, uint8_t, double, A, B, A != A)
CLOSE(isinf, uint8_t, double, A, B, A - A != 0 && A == A)
CLOSE(isfinite, uint8_t, double, A, B, A - A == 0)
void snk_test_row(int64_t n, char *const *p, const int64_t *s, sn_dtype t, int which) {
  enum { SOME = 256 };
  static close_row *const rows[] = {[SNK_ISNAN] = isnan_close, [SNK_ISINF] = isinf_close, [SNK_ISFINITE] = isfinite_close};
  double x[SOME];
  for (int64_t i = 0, some; i < n; i += some) {
    some = n - i < SOME ? n - i : SOME;
    snk_cast_row(some, (char *)x, 8, SN_F64, p[1] + i * s[1], s[1], t);
    bring(some, (char *[]){p[0] + i * s[0], (char *)x}, (int64_t[]){s[0], 8}, NULL, rows[which], SHAPE(1, 1, 8));
  }
}
