/* ops.h - every descriptor by name, from the two lists. */
#ifndef SNO_OPS_H
#define SNO_OPS_H
#include "diff/map.h"
#include "diff/op.h"

#define OP(name) extern const sno_op sno_op_##name;
#include "diff/ops.def"
#undef OP

/* What the dispatcher and the tape themselves call, so that they compile whatever the list holds. */
extern const sno_op sno_op_clone, sno_op_contiguous, sno_op_ones, sno_op_reshape, sno_op_sum, sno_op_transpose;

#endif
