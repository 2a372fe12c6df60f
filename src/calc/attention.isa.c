/* attention.isa.c - the rows of scores between the matrix products of attention: masks, exponentials, and their gradient. */
#include "calc/attention.h"
#include "calc/fold.h"
#include "calc/vmath.h"

#define T float
#define V vf
#define VM vfm
#define L VF
#define W(f) vf_##f
#define N(name) name##_f32
#include "calc/attention_rows.h"
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
#include "calc/attention_rows.h"

const snk_attend SNK_FN(snk_attend) = {{forward_f32, backward_f32, divide_f32}, {forward_f64, backward_f64, divide_f64}};
