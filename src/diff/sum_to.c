/* sum_to.c - the counterpart of broadcasting in a backward. */
#include "diff/ops.h"
#include "diff/tape.h"

snt_tensor *sno_sum_to(snt_tensor *g, const sno_out *spec) {
  if (g == NULL) return NULL;
  bool same = g->ndim == spec->ndim;
  for (int i = 0; same && i < g->ndim; i++) same = g->shape[i] == spec->shape[i];
  if (same) return g;
  const int lead = g->ndim - spec->ndim;
  sno_val dims = {.kind = SNO_DIMS};
  for (int i = 0; i < g->ndim; i++)
    if (i < lead || (spec->shape[i - lead] == 1 && g->shape[i] != 1)) dims.v[dims.n++] = i;
  if (dims.n) g = sno_run(&sno_op_sum, 1, &g, SNO_ATTRS(dims, sno_bool(true)));
  if (g == NULL || lead == 0) return g;
  return sno_run(&sno_op_reshape, 1, &g, SNO_ATTRS(sno_ints(spec->ndim, spec->shape)));
}
