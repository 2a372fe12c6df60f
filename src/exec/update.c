/* update.c - a parameter whose gradient is one product, seen by nobody but the optimizer, is updated in that product: block by block, while the
 * gradient's block is in the cache. The product moves down to the update, behind all who read the parameter. */
#include <string.h>
#include "diff/ops.h"
#include "diff/optim.h"
#include "exec/record.h"

static int lists_of(const snp_step *u) { return (u->nin - 1) / u->nlist; }
static snp_ref *entry(const snp_tape *t, const snp_step *u, int list, int k) { return &t->ref[u->in + list * u->nlist + k]; }

/* The only step before u that touches the slot of its k-th gradient, when nothing else does but u there; else -1. */
static int maker(const snp_tape *t, int u, int k) {
  const snp_ref *g = entry(t, &t->step[u], 1, k);
  int found = -1;
  for (int i = 0; i < t->nstep; i++) {
    const snp_step *s = &t->step[i];
    for (int j = s->in; !s->dead && j < s->in + s->nin + s->nout; j++) {
      if (t->ref[j].slot != g->slot || &t->ref[j] == g) continue;
      if (found >= 0 || i >= u) return -1;
      found = i;
    }
  }
  return found;
}

/* Do parameter k and its state lie in one piece each, in no storage that another of the list lies in? */
static bool alone(const snp_tape *t, const snp_step *u, int k) {
  for (int a = 0; a < lists_of(u); a++) {
    if (a == 1) continue;
    const snp_ref *x = entry(t, u, a, k);
    if (!snp_ref_dense(x)) return false;
    for (int b = 0; b < lists_of(u); b++)
      for (int j = 0; b != 1 && j < u->nlist; j++)
        if (j != k && entry(t, u, b, j)->slot == x->slot) return false;
  }
  return true;
}

static bool fits(const snp_tape *t, int i, int u, int k) {
  const snp_step *s = &t->step[i], *w = &t->step[u];
  if ((s->op != &sno_op_mm && s->op != &sno_op_matmul) || s->kept || s->round_weight || s->flush != w->flush) return false;
  const snp_ref *a = &t->ref[s->in], *b = a + 1, *y = &t->ref[s->out], *g = entry(t, w, 1, k);
  if (a->ndim != 2 || b->ndim != 2 || y->dtype != g->dtype || !sno_product_update_pays(y->shape[0], y->shape[1], a->shape[1])) return false;
  if (t->slot[g->slot].kind != SNP_INTERNAL || t->slot[g->slot].written || !snp_ref_whole(t, g) || !snp_ref_whole(t, y)) return false;
  return alone(t, w, k) && snp_untouched(t, s, i + 1, u + 1);
}

/* Step i, a product, becomes the update of parameter k in its place right before u, whose lists get shorter. */
static int join(snp_tape *t, int i, int u, int k) {
  const int lists = lists_of(&t->step[u]), n = t->step[u].nlist;
  if (snp_tape_room(t, lists + 3 + lists * (n - 1) + 1, 0) < 0) return -1;
  snp_step *w = &t->step[u], s = *w;
  const snp_step product = t->step[i];
  const snp_ref rate = t->ref[w->in + lists * n];
  s.op = sno_product_update(w->op);
  s.round = product.round, s.half = product.half;
  s.scratch = sno_product_update_scratch((sn_dtype)t->ref[product.out].dtype, t->ref[product.out].shape[1], t->ref[product.in].shape[1]);
  s.nlist = 1, s.nin = lists + 3, s.in = t->nref;
  for (int a = 0; a < lists; a++) t->ref[t->nref++] = *entry(t, w, a, k);
  t->ref[s.in + 1].slot = -1;
  t->ref[t->nref++] = rate;
  for (int a = 0; a < 2; a++) t->ref[t->nref++] = t->ref[product.in + a];
  s.out = t->nref;
  const int in = t->nref;
  for (int a = 0; a < lists; a++)
    for (int j = 0; j < n; j++)
      if (j != k) t->ref[t->nref++] = *entry(t, w, a, j);
  t->ref[t->nref++] = rate;
  w->in = in, w->nlist = n - 1, w->nin = lists * (n - 1) + 1, w->out = t->nref;
  w->dead = n == 1;
  memmove(&t->step[i], &t->step[i + 1], (size_t)(u - i - 1) * sizeof s);
  t->step[u - 1] = s;
  return 0;
}

int snp_pass_update(snp_tape *t) {
  for (int u = 0; u < t->nstep; u++) {
    if (t->step[u].op == NULL || sno_product_update(t->step[u].op) == NULL) continue;
    for (int k = 0; !t->step[u].dead && k < t->step[u].nlist;) {
      const int i = maker(t, u, k);
      if (i < 0 || !fits(t, i, u, k)) k++;
      else if (join(t, i, u, k) < 0) return -1;
    }
  }
  return 0;
}
