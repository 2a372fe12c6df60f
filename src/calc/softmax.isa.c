/* softmax.isa.c - softmax along rows and along columns, forward and backward. */
#include "calc/softmax.h"
#include "calc/tail.h"
#include "calc/vmath.h"

#define T float
#define V vf
#define VM vfm
#define L VF
#define W(f) vf_##f
#define N(name) name##_f32
#include "calc/softmax_rows.h"
#undef T
#undef V
#undef VM
#undef L
#undef W
#undef N
#define T double
#define V vd
#define VM vdm
#define L VD
#define W(f) vd_##f
#define N(name) name##_f64
#include "calc/softmax_rows.h"

const snk_softmax SNK_FN(snk_softmax) = {units_f32, units_f64, VF, VD};
