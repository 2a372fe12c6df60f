/* index.h - what operations that read positions and dimensions share. */
#ifndef SNO_INDEX_H
#define SNO_INDEX_H
#include "diff/dims.h"

/* sno_fix_dim for operations that have nothing to do on a 0-d tensor. */
int sno_real_dim(sno_call *c, int k, const snt_tensor *x);
/* Input i holds positions: made int64 and contiguous; -1 after sn_fail if it is no integer tensor. */
int sno_index_input(sno_call *c, int i);
/* The same, and all of them are in base .. base + size - 1, the positions of dimension `dim` of x (counting from 0). */
int sno_check_index(sno_call *c, int i, int64_t base, const snt_tensor *x, int dim);
int sno_contiguous_input(sno_call *c, int i);
/* Elements of x into y of the same shape; converts. */
void sno_copy_elements(snt_tensor *y, const snt_tensor *x);
/* y is zeros but for `part`, a view of it, which is x: one by one along the first dimension, while what was filled is near. */
void sno_copy_among_zeros(snt_tensor *y, const snt_tensor *part, const snt_tensor *x);
void sno_zero_elements(snt_tensor *y); /* contiguous */
/* A part of t along a dimension, as a tensor on the stack: nothing is allocated, nothing to be freed. */
snt_tensor sno_part(const snt_tensor *t, int dim, int64_t start, int64_t length, int64_t step);
/* g, which covers the beginning of every dimension, with zeros behind it up to the spec's shape: an operation. */
snt_tensor *sno_grow(snt_tensor *g, const sno_out *spec);
#endif
