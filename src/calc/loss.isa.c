/* loss.isa.c - the book of losses as vector code. */
#include "calc/loss.h"
#include "calc/row.h"
#include "calc/vmath.h"

#define ADD(a, b) ((a) + (b))
#define SUB(a, b) ((a) - (b))
#define MUL(a, b) ((a) * (b))
#define DIV(a, b) ((a) / (b))
#define NEG(a) (-(a))
#define SQUARE(a) W(square)(a)
#define LT(a, b) ((VM)((a) < (b)))
#define GT(a, b) ((VM)((a) > (b)))
#define K(c) W(splat)((S)(c))
#define P(i) W(splat)((S)param[i])
#define WHERE(m, a, b) W(where)(m, a, b)
#define ABS(a) W(abs)(a)
#define MAX(a, b) W(max)(a, b)
#define MIN(a, b) W(min)(a, b)
#define SIGN(a) W(sign)(a)
#define EXP(a) W(exp)(a)
#define LOG(a) W(log)(a)
#define LOG1P(a) W(log1p)(a)
#define SIGMOID(a) W(sigmoid)(a)

#define WORDS(V, M, X)                                                     \
  INL V X##_square(V a) { return a * a; }                                  \
  INL V X##_sign(V a) {                                                    \
    const V z = X##_splat(0), one = X##_splat(1);                          \
    return X##_where(X##_nan(a), a, X##_where((M)(a > z), one, X##_where((M)(a < z), -one, z))); \
  }
WORDS(vf, vfm, vf)
WORDS(vd, vdm, vd)

#define S float
#define V vf
#define VM vfm
#define L VF
#define W(f) vf_##f
#define N(name) name##_f32
#include "calc/loss_rows.h"
#undef S
#undef V
#undef VM
#undef L
#undef W
#undef N
#if SNK_DOUBLES
SNK_SMALL_BEGIN
#define S double
#define V vd
#define VM vdm
#define L VD
#define W(f) vd_##f
#define N(name) name##_f64
#include "calc/loss_rows.h"
SNK_SMALL_END
#endif

const snk_loss SNK_FN(snk_loss) = {
  .f32 = {
#define LOSS(name, ...) .row[SNK_LOSS_##name] = name##_f32, .gx[SNK_LOSS_##name] = name##_gx_f32, .gt[SNK_LOSS_##name] = name##_gt_f32,
#include "calc/loss.def"
    .sum = sum_f32,
  },
#if SNK_DOUBLES
  .f64 = {
#define LOSS(name, ...) .row[SNK_LOSS_##name] = name##_f64, .gx[SNK_LOSS_##name] = name##_gx_f64, .gt[SNK_LOSS_##name] = name##_gt_f64,
#include "calc/loss.def"
    .sum = sum_f64,
  },
#endif
};
