/* matmul.h - what other operations use of matrix products. */
#ifndef SNO_MATMUL_H
#define SNO_MATMUL_H
#include "calc/gemm.h"
#include "diff/op.h"

/* Fill sizes and strides of out = a b as matmul reads them (1-d operands are a row or a column, leading dimensions broadcast);
 * out is contiguous. Leading dimensions that only repeat b are folded into the rows. */
void sno_gemm_fill(snk_gemm_args *g, const snt_tensor *a, const snt_tensor *b, const snt_tensor *out);
/* Views for backwards, as operations: the last two dimensions swapped, another shape. NULL after sn_fail. */
snt_tensor *sno_swap_last(snt_tensor *x);
snt_tensor *sno_shaped(snt_tensor *x, int ndim, const int64_t *shape);
#endif
