/* dims.h - dimensions given as attributes, checked and counted from the front. */
#ifndef SNO_DIMS_H
#define SNO_DIMS_H
#include "diff/op.h"

/* Attribute k, a SNO_DIM, for a tensor of `ndim` dimensions shaped like x: made non-negative in place. -1 after sn_fail. A 0-d tensor has dimension 0. */
int sno_fix_dim(sno_call *c, int k, const snt_tensor *x, int ndim);
/* Attribute k, a SNO_DIMS: bit i of *mask says that dimension i is named; absent or empty names all. Repeats fail. Made non-negative in place. */
int sno_fix_dims(sno_call *c, int k, const snt_tensor *x, unsigned *mask);

#endif
