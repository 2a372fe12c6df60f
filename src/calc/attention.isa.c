/* attention.isa.c - the rows of scores between the matrix products of attention: masks, exponentials, and their gradient. */
#include "calc/attention.h"
#include "calc/fold.h"
#include "calc/vmath.h"

#define SNK_ROWS "calc/attention_rows.h"
#include "calc/both.h"

const snk_attend SNK_FN(snk_attend) = {{forward_f32, backward_f32, divide_f32}, {forward_f64, backward_f64, divide_f64}};
