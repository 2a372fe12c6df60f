/* map.isa.c - the formula book as vector code. */
#include "calc/map.h"
#include "calc/row.h"
#include "calc/vmath.h"

#define ADD(a, b) ((a) + (b))
#define SUB(a, b) ((a) - (b))
#define MUL(a, b) ((a) * (b))
#define DIV(a, b) ((a) / (b))
#define NEG(a) (-(a))
#define SQUARE(a) ((a) * (a))
#define LT(a, b) ((VM)((a) < (b)))
#define GT(a, b) ((VM)((a) > (b)))
#define EQ(a, b) ((VM)((a) == (b)))
#define K(c) W(splat)((T)(c))
#define P(i) W(splat)((T)param[i])
#define WHERE(m, a, b) W(where)(m, a, b)
#define ABS(a) W(abs)(a)
#define MAX(a, b) W(max)(a, b)
#define MIN(a, b) W(min)(a, b)
#define SIGN(a) WHERE(W(nan)(a), a, WHERE(GT(a, K(0)), K(1), WHERE(LT(a, K(0)), K(-1), K(0))))
#define EXP(a) W(exp)(a)
#define EXPM1(a) W(expm1)(a)
#define LOG(a) W(log)(a)
#define LOG1P(a) W(log1p)(a)
#define LOG2(a) W(log2)(a)
#define LOG10(a) W(log10)(a)
#define SQRT(a) W(sqrt)(a)
#define SIN(a) W(sin)(a)
#define COS(a) W(cos)(a)
#define TAN(a) W(tan)(a)
#define ASIN(a) W(asin)(a)
#define ACOS(a) W(acos)(a)
#define ATAN(a) W(atan)(a)
#define SINH(a) W(sinh)(a)
#define COSH(a) W(cosh)(a)
#define TANH(a) W(tanh)(a)
#define ERF(a) W(erf)(a)
#define SIGMOID(a) W(sigmoid)(a)
#define GELU(a) W(gelu)(a)
#define GELU_SLOPE(a) W(gelu_slope)(a)
#define FLOOR(a) W(floor)(a)
#define CEIL(a) W(ceil)(a)
#define TRUNC(a) W(trunc)(a)
#define ROUND(a) W(round)(a)
#define POW(a, b) W(power)(a, b)
#define ATAN2(a, b) W(atan2)(a, b)
#define FMOD(a, b) W(fmod)(a, b)
#define REM(a, b) W(rem)(a, b)
#define FLOORDIV(a, b) W(floor)((a) / (b))

/* The remainder with the divisor's sign, exact as fmod is. */
#define REMAINDER(V, M, X)                                               \
  INL V X##_rem(V a, V b) {                                              \
    const V r = X##_fmod(a, b);                                          \
    const M other = (M)(r != X##_splat(0)) & ((M)(r < X##_splat(0)) ^ (M)(b < X##_splat(0))); \
    return X##_where(other, r + b, r);                                   \
  }
REMAINDER(vf, vfm, vf)
REMAINDER(vd, vdm, vd)

/* x^2 is by far the commonest power: exact as a product. */
#define POWER(V, M, X)                                                   \
  INL V X##_power(V a, V b) {                                            \
    const M other = (M)(b != X##_splat(2));                              \
    return X##_any(other) ? X##_where(other, X##_pow(a, b), a * a) : a * a; \
  }
POWER(vf, vfm, vf)
POWER(vd, vdm, vd)

#define SNK_ROWS "calc/map_rows.h"
#define SNK_ROWS_DOUBLES SNK_DOUBLES
#include "calc/both.h"

/* Of doubles with AVX-512 those that wait for arithmetic and not for memory. */
#if !SNK_DOUBLES
#define WIDE_ROW(name)                                                                                                \
  static void name##_f64_core(int64_t n, char *const *restrict q, const double *restrict param) {                     \
    (void)param;                                                                                                      \
    const double *restrict x = (const double *)(const void *)q[1];                                                    \
    double *restrict y = (double *)(void *)q[0];                                                                      \
    int64_t i = 0;                                                                                                    \
    for (; i + 2 * VD <= n; i += 2 * VD) {                                                                            \
      const vd u = vd_##name(vd_load(x + i)), v = vd_##name(vd_load(x + i + VD));                                     \
      vd_store(y + i, u);                                                                                             \
      vd_store(y + i + VD, v);                                                                                        \
    }                                                                                                                 \
    for (; i < n; i += VD) vd_store(y + i, vd_##name(vd_load(x + i)));                                                \
  }                                                                                                                   \
  static void name##_f64(int64_t n, char *const *p, const int64_t *s, const double *param) { vd_drive(n, p, s, 1, name##_f64_core, param); }
#define WIDE(X) X(exp) X(log) X(sin) X(cos) X(tanh) X(sigmoid) X(erf) X(gelu)
WIDE(WIDE_ROW)
#endif

const snk_map SNK_FN(snk_map) = {
  .f32 = {
#define MAP1(name, ...) [SNK_MAP_##name] = name##_f32, [SNK_MAP_##name##_backward] = name##_backward_f32,
#define MAP2(name, ...) [SNK_MAP_##name] = name##_f32,
#define CMP2(name, ...)
#include "calc/map.def"
  },
#if SNK_DOUBLES
  .f64 = {
#define MAP1(name, ...) [SNK_MAP_##name] = name##_f64, [SNK_MAP_##name##_backward] = name##_backward_f64,
#define MAP2(name, ...) [SNK_MAP_##name] = name##_f64,
#define CMP2(name, ...)
#include "calc/map.def"
  },
#else
#define WIDE_ENTRY(name) [SNK_MAP_##name] = name##_f64,
  .f64 = {WIDE(WIDE_ENTRY)},
#endif
};
