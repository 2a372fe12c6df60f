/* optim.h - updates of one parameter whose gradient is a product of two matrices: both in one step, so that the gradient is never kept. What
 * programs make of the two (exec/update.c); nobody else calls them. */
#ifndef SNO_OPTIM_H
#define SNO_OPTIM_H
#include "diff/op.h"

/* The joined operation of an update, or NULL. Its inputs are those of the update for one parameter, the gradient absent, then the two factors, m x k
 * and k x n; its attributes are the update's. Parameter and state are contiguous. */
const sno_op *sno_product_update(const sno_op *update);
/* May it be called for these sizes, and does it pay? */
bool sno_product_update_pays(int64_t m, int64_t n, int64_t k);
size_t sno_product_update_scratch(sn_dtype t, int64_t n, int64_t k);

#endif
