/* cross_entropy.isa.c - losses over classes, forward and backward, along rows and along columns. */
#include "calc/cross_entropy.h"
#include "calc/tail.h"
#include "calc/vmath.h"

#define T float
#define V vf
#define VM vfm
#define L VF
#define W(f) vf_##f
#define N(name) name##_f32
#include "calc/cross_entropy_rows.h"
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
#include "calc/cross_entropy_rows.h"

const snk_cross_entropy SNK_FN(snk_cross_entropy) = {forward_f32, forward_f64, backward_f32, backward_f64, VF, VD};
