/* epilogue.c - an activation that alone reads what a product gives is computed in the product's last store. */
#include <string.h>
#include "base/error.h"
#include "diff/ops.h"
#include "exec/record.h"

/* What can be joined: the product, its activation, and the operation that does both with the same bits. */
static const struct { const sno_op *product, *activation, *both; } joined[] = {
    {&sno_op_linear, &sno_op_relu, &sno_op_linear_relu},
    {&sno_op_conv2d, &sno_op_relu, &sno_op_conv2d_relu},
};

/* The only live step after i that touches the slot, or -1. */
static int only_reader(const snp_tape *t, int i, int slot) {
  int found = -1;
  for (int k = i + 1; k < t->nstep; k++) {
    const snp_step *s = &t->step[k];
    for (int j = 0; !s->dead && j < s->nin + s->nout; j++) {
      if (t->ref[s->in + j].slot != slot) continue;
      if (found >= 0 && found != k) return -1;
      found = k;
    }
  }
  return found;
}

int snp_pass_epilogue(snp_tape *t) {
  for (int i = 0; i < t->nstep; i++) {
    snp_step *s = &t->step[i];
    for (size_t k = 0; k < sizeof joined / sizeof *joined && !s->dead; k++) {
      if (s->op != joined[k].product) continue;
      const snp_ref *y = &t->ref[s->out];
      if (t->slot[y->slot].kind != SNP_INTERNAL || t->slot[y->slot].written) continue;
      const int at = only_reader(t, i, y->slot);
      if (at < 0 || t->step[at].op != joined[k].activation || t->step[at].flush != s->flush) continue;
      snp_step *a = &t->step[at];
      const snp_ref *z = &t->ref[a->out];
      if (memcmp(&t->ref[a->in], y, sizeof *y) != 0 || !snp_ref_whole(t, z) || t->slot[z->slot].written) continue;
      t->ref[s->out] = *z;
      s->op = joined[k].both;
      a->dead = true;
    }
  }
  return 0;
}
