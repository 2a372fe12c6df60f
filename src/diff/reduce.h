/* reduce.h - a reduction planned: which dimensions of a tensor go and which stay. */
#ifndef SNO_REDUCE_H
#define SNO_REDUCE_H
#include "calc/reduce.h"
#include "diff/op.h"

/* Dimensions that lie behind one another are merged; strides count elements. Logical order throughout. */
typedef struct sno_axes { int n; int64_t count, shape[SNT_MAXDIM], stride[SNT_MAXDIM]; } sno_axes;

void sno_axes_take(sno_axes *a, const snt_tensor *x, unsigned mask);  /* the dimensions whose bits are set */
int64_t sno_axes_offset(const sno_axes *a, int64_t i);                /* of logical index i */
/* n numbers of x from logical index `from` along `a`, starting at element offset `base`, as type t (float32, float64, int64), one behind another:
 * in place where they lie so, else gathered into buf. t may also be x's own type. */
const void *sno_axes_gather(const sno_axes *a, const snt_tensor *x, int64_t base, int64_t from, int64_t n, sn_dtype t, void *buf);
bool sno_axes_in_columns(const sno_axes *gone, const sno_axes *kept); /* are kept numbers side by side, and those that go are not? */

/* Scratch and forward of a reduction of c->in[0] over `mask` into the contiguous c->out[0]; `divide`: of every result. */
/* For who makes the numbers block by block (chains in programs): is this operation a sum, over which dimensions; a result divided and stored. */
bool sno_is_sum(const sno_op *op, const sno_val *attr, int ndim, unsigned *mask);
void sno_reduce_store(snt_tensor *y, int64_t at, double v, double divide);
size_t sno_reduce_scratch(const snt_tensor *x, unsigned mask);
bool sno_reduce_in_rows(const snt_tensor *x, unsigned mask); /* not column by column, of floats: x may then be narrower than the result */
void sno_reduce_run(sno_call *c, int which, unsigned mask, double divide);

#endif
