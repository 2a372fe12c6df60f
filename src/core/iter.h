/* iter.h - walking several strided operands of one shape together: what elementwise kernels, casts and copies stand on.
 *
 * The iterator merges dimensions that lie behind one another in every operand and sorts them so that the innermost is
 * the one with the smallest strides, so a contiguous (or expanded) case becomes one long row. Strides are in bytes;
 * an operand that is broadcast has stride 0. It only plans: nothing is allocated.
 */
#ifndef SNT_ITER_H
#define SNT_ITER_H
#include "core/tensor.h"

#define SNT_ITER_MAX 6

typedef struct snt_iter {
  int nops, ndim;
  int64_t shape[SNT_MAXDIM];
  int64_t stride[SNT_ITER_MAX][SNT_MAXDIM];
  char *base[SNT_ITER_MAX];
  int64_t numel;
} snt_iter;

/* One row: n elements; p[k] points at operand k's first, s[k] is its step in bytes. `index` is the first element's number in
 * the iterator's own order (equal to the logical index when every operand is contiguous). */
typedef void snt_row(void *ctx, int64_t n, char *const *p, const int64_t *s);

/* ops[0] is the destination and gives the shape; the others broadcast to it. Cannot fail: shapes were checked. */
void snt_iter_init(snt_iter *it, int nops, const snt_tensor *const *ops);
/* Calls fn for all rows; with more than `grain` elements the work is spread over the pool (rows are cut where needed). */
void snt_iter_run(const snt_iter *it, int64_t grain, snt_row *fn, void *ctx);

#endif
