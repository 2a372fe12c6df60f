/* map.h - the elementwise operations by name. (Their book is calc/map.def.) */
#ifndef SNO_MAP_H
#define SNO_MAP_H
#include "diff/op.h"

extern const sno_op sno_op_to, sno_op_add, sno_op_add_, sno_op_copy_;

#endif
