/* halve.c - floats that are all bfloat16 numbers, as autocast leaves them behind products, lie in memory in two bytes each where the step that gives them
 * and all that read them can (sno_op.halved): large planes come from far memory, and that is half the way. Kernels widen and narrow them in registers. */
#include "base/mem.h"
#include "exec/prog.h"

/* Can step s have its operand k so, with the others as they are? */
static bool can(const snp_tape *t, const snp_step *s, int k) {
  enum { MOST = 12 };
  snt_storage shell = {.refs = 1};
  snt_tensor view[MOST], *operand[MOST];
  if (s->op == NULL || s->op->halved == NULL || s->nin + s->nout > MOST) return false;
  for (int i = 0; i < s->nin + s->nout; i++) {
    const snp_ref *r = &t->ref[s->in + i];
    operand[i] = r->slot < 0 ? NULL : &view[i];
    if (r->slot >= 0) snp_fill_view(&view[i], r, &shell);
  }
  sno_call c;
  snp_fill_call(&c, t, s, operand);
  return s->op->halved(&c, k);
}

/* Step i gives the slot, as its first result. */
static bool all_can(const snp_tape *t, int i, int slot) {
  bool ok = can(t, &t->step[i], t->step[i].nin);
  for (int k = i + 1; k < t->nstep && ok; k++) {
    const snp_step *s = &t->step[k];
    for (int j = 0; !s->dead && ok && j < s->nin + s->nout; j++)
      if (t->ref[s->in + j].slot == slot) ok = j < s->nin && snp_ref_whole(t, &t->ref[s->in + j]) && can(t, s, j);
  }
  return ok;
}

int snp_pass_halve(snp_tape *t) {
  bool *exact = sn_calloc((size_t)t->nslot + 1, sizeof *exact); /* by slot: bfloat16 numbers all */
  if (exact == NULL) return -1;
  for (int i = 0; i < t->nstep; i++) {
    const snp_step *s = &t->step[i];
    const snp_ref *y = &t->ref[s->out];
    if (s->dead || s->op == NULL || s->nout < 1 || y->dtype != SN_F32 || !snp_settled(t, y)) continue;
    exact[y->slot] = s->round || (s->op == &snp_op_chain ? snp_chain_rounds(t, s) : snp_keeps(t, s, exact));
    if (!exact[y->slot] || t->slot[y->slot].kept || !all_can(t, i, y->slot)) continue;
    const int slot = y->slot;
    t->slot[slot].bytes /= 2, t->halved = true;
    for (int r = 0; r < t->nref; r++)
      if (t->ref[r].slot == slot) t->ref[r].dtype = SN_BF16;
  }
  sn_free(exact);
  return 0;
}
