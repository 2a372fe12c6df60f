/* ops.h - every descriptor by name, from the two lists. */
#ifndef SNO_OPS_H
#define SNO_OPS_H
#include "diff/op.h"

#define OP(name) extern const sno_op sno_op_##name;
#include "diff/ops.def"
#undef OP

#endif
