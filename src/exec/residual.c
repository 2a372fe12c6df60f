/* residual.c - where another way goes round a block that begins with a norm, the gradient that came that way is added where the norm's is made. */
#include <string.h>
#include "diff/map.h"
#include "diff/ops.h"
#include "exec/record.h"

static bool whole(const snp_tape *t, const snp_ref *y) {
  return (y->dtype == SN_F32 || y->dtype == SN_F64) && snp_ref_whole(t, y) && !t->slot[y->slot].written;
}

static bool alike(const snp_ref *x, const snp_ref *y) {
  return x->slot >= 0 && x->slot != y->slot && x->dtype == y->dtype && x->ndim == y->ndim && memcmp(x->shape, y->shape, sizeof x->shape) == 0 && snp_ref_dense(x);
}

/* The gradient of a norm and what alone reads it, an addition whose other operand was there before: both where the norm's gradient is. */
static int join(snp_tape *t, int i) {
  const snp_step *s = &t->step[i];
  const snp_ref y = t->ref[s->out];
  if (!whole(t, &y) || t->slot[y.slot].kind != SNP_INTERNAL) return 0;
  const int at = snp_only_reader(t, i, y.slot);
  if (at < 0 || t->step[at].op != &sno_op_add || t->step[at].flush != s->flush) return 0;
  const snp_step *r = &t->step[at];
  const int own = t->ref[r->in].slot == y.slot ? 0 : 1;
  const snp_ref other = t->ref[r->in + !own], z = t->ref[r->out];
  if (memcmp(&t->ref[r->in + own], &y, sizeof y) != 0 || !alike(&other, &y) || !whole(t, &z) || t->slot[other.slot].written) return 0;
  for (int q = i; q < at; q++)
    for (int o = 0; o < t->step[q].nout; o++)
      if (!t->step[q].dead && t->ref[t->step[q].out + o].slot == other.slot) return 0;
  if (snp_tape_room(t, s->nin + 1 + s->nout, 0) < 0) return -1;
  const int in = t->nref;
  for (int k = 0; k < s->nin; k++) t->ref[t->nref++] = t->ref[s->in + k];
  t->ref[t->nref++] = other;
  t->ref[t->nref++] = z;
  for (int k = 1; k < s->nout; k++) t->ref[t->nref++] = t->ref[s->out + k];
  t->step[at].dead = true;
  snp_step *w = &t->step[i];
  w->op = &sno_op_row_norm_backward_add, w->in = in, w->nin++, w->out = in + w->nin;
  return 0;
}

int snp_pass_residual(snp_tape *t) {
  for (int i = 0; i < t->nstep; i++)
    if (!t->step[i].dead && t->step[i].op == &sno_op_row_norm_backward && join(t, i) < 0) return -1;
  return 0;
}
