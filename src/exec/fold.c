/* fold.c - what need not be computed at every replay: steps on constants are computed once, when the program is built (fold); steps on bound
 * tensors that the program does not write come first and run only when one of those has changed since (hoist). */
#include <string.h>
#include "base/cpu.h"
#include "base/error.h"
#include "base/fpmode.h"
#include "base/mem.h"
#include "exec/prog.h"

enum { MOST = 1 << 20 }; /* bytes of a folded result: making a larger one again costs no more than reading it, and the block is used again */

static bool can_leave(const snp_tape *t, const snp_step *s) {
  if (s->dead || !s->op || s->nout == 0 || (s->op->flags & (SNO_WRITES | SNO_RANDOM))) return false;
  for (int k = 0; k < s->nout; k++) {
    const snp_slot *o = &t->slot[t->ref[s->out + k].slot];
    if (o->kind != SNP_INTERNAL || o->written) return false;
  }
  return true;
}

/* ---- fold */

static bool can_fold(const snp_tape *t, const snp_step *s) {
  if (!can_leave(t, s)) return false;
  for (int k = 0; k < s->nin; k++) {
    const int slot = t->ref[s->in + k].slot;
    if (slot >= 0 && (t->slot[slot].kind != SNP_CONST || t->slot[slot].written)) return false;
  }
  for (int k = 0; k < s->nout; k++)
    if (t->slot[t->ref[s->out + k].slot].bytes > MOST) return false;
  return true;
}

/* Computes a step whose operands are constants; its results become constants. */
static int fold_step(snp_tape *t, const snp_step *s) {
  const int n = s->nin + s->nout;
  snt_tensor *view = sn_calloc((size_t)n, sizeof *view), **in = sn_calloc((size_t)n, sizeof *in);
  snt_storage *shell = sn_calloc((size_t)n, sizeof *shell);
  void *scratch = s->scratch ? sn_alloc(s->scratch) : NULL;
  int rc = view && in && shell && (scratch || !s->scratch) ? 0 : -1;
  for (int k = 0; rc == 0 && k < n; k++) {
    const snp_ref *r = &t->ref[s->in + k];
    if (r->slot < 0) continue;
    snp_slot *o = &t->slot[r->slot];
    if (o->data == NULL && (o->data = sn_malloc(o->bytes ? o->bytes : 1)) == NULL) rc = -1;
    shell[k] = (snt_storage){.refs = 1 << 30, .bytes = o->bytes, .data = o->data};
    snp_fill_view(&view[k], r, &shell[k]);
    in[k] = &view[k];
  }
  if (rc == 0) {
    sno_call c;
    snp_fill_call(&c, t, s, in);
    c.scratch = scratch;
    const sn_fpmode saved = sn_fp_enter(s->flush ? SN_FP_FLUSH : SN_FP_EXACT);
    s->op->forward(&c);
    sn_fp_leave(saved);
    for (int k = 0; k < s->nout; k++) t->slot[t->ref[s->out + k].slot].kind = SNP_CONST;
  }
  if (scratch) sn_release(scratch, s->scratch);
  sn_free(view);
  sn_free(in);
  sn_free(shell);
  return rc;
}

int snp_pass_fold(snp_tape *t) {
  for (int i = 0; i < t->nstep; i++) {
    snp_step *s = &t->step[i];
    if (!can_fold(t, s)) continue;
    if (fold_step(t, s) < 0) return -1;
    s->dead = true;
  }
  return 0;
}

/* ---- hoist */

static bool can_hoist(const snp_tape *t, const snp_step *s) {
  if (!can_leave(t, s) || (s->op->flags & SNO_VALUES)) return false; /* a value that is out of range must be found */
  for (int k = 0; k < s->nin; k++) {
    if (t->ref[s->in + k].slot < 0) continue;
    const snp_slot *x = &t->slot[t->ref[s->in + k].slot];
    if (x->written || (x->kind != SNP_BOUND && x->kind != SNP_CONST && !x->kept)) return false;
  }
  return true;
}

/* Marks such steps and puts them first, in their order. Not where a host step may write what they read. */
int snp_pass_hoist(snp_tape *t) {
  for (int i = 0; i < t->nstep; i++)
    if (t->step[i].op == NULL && !t->step[i].dead) return 0;
  snp_step *rest = sn_malloc(((size_t)t->nstep + 1) * sizeof *rest);
  if (rest == NULL) return -1;
  int first = 0, n = 0;
  for (int i = 0; i < t->nstep; i++) {
    const snp_step *s = &t->step[i];
    if (!can_hoist(t, s)) {
      rest[n++] = *s;
      continue;
    }
    for (int k = 0; k < s->nout; k++) t->slot[t->ref[s->out + k].slot].kept = true;
    t->step[first] = *s;
    t->step[first++].kept = true;
  }
  if (n > 0) memcpy(t->step + first, rest, (size_t)n * sizeof *rest); /* a program may have no step at all */
  sn_free(rest);
  return 0;
}

int snp_hoist(snp_prog *p) {
  const snp_tape *t = p->tape;
  int n = 0;
  while (p->nkept < p->nexec && p->exec[p->nkept].step->kept) n += p->exec[p->nkept++].step->nin;
  if (n == 0) return 0;
  if ((p->source = sn_malloc((size_t)n * sizeof *p->source)) == NULL) return -1;
  for (int i = 0; i < p->nkept; i++) {
    const snp_step *s = p->exec[i].step;
    for (int k = 0; k < s->nin; k++) {
      const int slot = t->ref[s->in + k].slot;
      if (slot >= 0 && t->slot[slot].kind == SNP_BOUND) p->source[p->nsource++] = (snp_source){t->slot[slot].storage, 0};
    }
  }
  return 0;
}

bool snp_hoist_fresh(snp_prog *p) {
  bool fresh = p->kept_isa == sn_isa() + 1; /* tests change the instruction set */
  p->kept_isa = sn_isa() + 1;
  for (int i = 0; i < p->nsource; i++) {
    fresh &= p->source[i].version == p->source[i].storage->version;
    p->source[i].version = p->source[i].storage->version;
  }
  return fresh;
}
