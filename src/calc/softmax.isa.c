/* softmax.isa.c - softmax along rows and along columns, forward and backward. */
#include "calc/softmax.h"
#include "calc/tail.h"
#include "calc/vmath.h"

#define SNK_ROWS "calc/softmax_rows.h"
#include "calc/both.h"

const snk_softmax SNK_FN(snk_softmax) = {units_f32, units_f64, VF, VD};
