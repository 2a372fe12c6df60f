/* cross_entropy.isa.c - losses over classes, forward and backward, along rows and along columns. */
#include "calc/cross_entropy.h"
#include "calc/tail.h"
#include "calc/vmath.h"

#define SNK_ROWS "calc/cross_entropy_rows.h"
#define SNK_ROWS_DOUBLES SNK_DOUBLES
#include "calc/both.h"

const snk_cross_entropy SNK_FN(snk_cross_entropy) = {
  .f32 = {forward_f32, backward_f32, VF},
#if SNK_DOUBLES
  .f64 = {forward_f64, backward_f64, VD},
#endif
};
