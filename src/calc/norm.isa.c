/* norm.isa.c - normalisation per channel and per row, forward and backward. */
#include "calc/norm.h"
#include "calc/bf16.h"
#include "calc/fold.h"

#define CHUNK 1024 /* numbers summed in their own type before they join a sum in float64 */
#define ROWS 64    /* the same down a column */
#define AHEAD 2048 /* bytes of a channel between what is read or written and what is asked for */
#define WIDE 4     /* vectors of columns that are summed together, so that memory is read in longer pieces */

#define HALF (SNK_BYTES == 64) /* who gives halves does so with AVX-512 alone */

#define S float
#define V vf
#define L VF
#define W(f) vf_##f
#define N(name) name##_f32
#include "calc/norm_batch.h"
#include "calc/norm_rows.h"
#undef S
#undef V
#undef L
#undef W
#undef N
#if SNK_DOUBLES
SNK_SMALL_BEGIN
#define S double
#define V vd
#define L VD
#define W(f) vd_##f
#define N(name) name##_f64
#include "calc/norm_batch.h"
#include "calc/norm_rows.h"
SNK_SMALL_END
#define F64 {roots_f64, stats_f64, sums_f64, apply_f64, back_f64, row_f64, row_back_f64, row_fold_f64, VD}
#else
#define F64 {0}
#endif

const snk_norm SNK_FN(snk_norm) = {
    {roots_f32, stats_f32, sums_f32, apply_f32, back_f32, row_f32, row_back_f32, row_fold_f32, VF},
    F64,
    HALF,
};
