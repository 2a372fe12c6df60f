/* optim.h - updates of one parameter whose gradient is a product of two matrices: both in one step, so that the gradient is never kept. What
 * programs make of the two (exec/update.c); nobody else calls them. */
#ifndef SNO_OPTIM_H
#define SNO_OPTIM_H
#include "diff/op.h"


/* The joined operation of an update, or NULL. Its inputs are those of the update for one parameter, the gradient absent, then the two factors; its
 * attributes are the update's. Parameter and state are contiguous; the product has at least two rows and two columns, and no more than SNO_UPDATE_WIDE columns; its sums are no longer
 * than SNO_UPDATE_DEEP (of longer ones the product is nearly all the work, and better done at once). Below SNO_UPDATE_LEAST elements nothing is won. */
enum { SNO_UPDATE_WIDE = 4096, SNO_UPDATE_DEEP = 256, SNO_UPDATE_LEAST = 2048 };
const sno_op *sno_product_update(const sno_op *update);
/* The scratch its call needs when the second factor is k x n. */
size_t sno_product_update_scratch(sn_dtype t, int64_t n, int64_t k);

#endif
