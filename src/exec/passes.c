/* passes.c - what is done to a tape before it becomes a program: common subexpressions, dead code, copies (others: fold.c, round.c, epilogue.c, relu.c, residual.c, chain.c, update.c, halve.c). None changes a bit of any result. */
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "diff/map.h"
#include "diff/ops.h"
#include "exec/record.h"

snp_pass snp_passes[] = {{"cse", snp_pass_cse, true}, {"round", snp_pass_round, true}, {"dead", snp_pass_dead, true}, {"copy", snp_pass_copy, true}, {"fold", snp_pass_fold, true},
  {"epilogue", snp_pass_epilogue, true}, {"relu", snp_pass_relu, true}, {"residual", snp_pass_residual, true}, {"chain", snp_pass_chain, true}, {"hoist", snp_pass_hoist, true}, {"update", snp_pass_update, true}, {"halve", snp_pass_halve, true},
  {"inplace", NULL, true}, {"plan", NULL, true},
  {"prepack", NULL, true}, {NULL, NULL, false}};

int snp_pass_set(const char *name, bool on) {
  char all[160] = "";
  for (snp_pass *p = snp_passes; p->name; p++) {
    if (strcmp(p->name, name) == 0) { p->on = on; return 0; }
    const size_t n = strlen(all);
    snprintf(all + n, sizeof all - n, "%s%s", n ? ", " : "", p->name);
  }
  return sn_fail("passes: there is none called '%s'; there are %s", name, all);
}

bool snp_pass_on(const char *name) {
  for (snp_pass *p = snp_passes; p->name; p++)
    if (strcmp(p->name, name) == 0) return p->on;
  return false;
}

static bool is_pure(const snp_step *s) { return s->op && (s->op->flags & (SNO_WRITES | SNO_RANDOM)) == 0; }

/* A step is needed when it writes in place, draws random numbers, is the host's, or makes what a needed step reads. */
int snp_pass_dead(snp_tape *t) {
  bool *need = sn_calloc((size_t)t->nslot + 1, sizeof *need);
  if (need == NULL) return -1;
  for (int i = 0; i < t->nslot; i++) need[i] = t->slot[i].kind != SNP_INTERNAL;
  for (int i = t->nstep - 1; i >= 0; i--) {
    snp_step *s = &t->step[i];
    if (s->dead) continue;
    bool wanted = !is_pure(s);
    for (int k = 0; k < s->nout; k++) wanted |= need[t->ref[s->out + k].slot];
    s->dead = !wanted;
    for (int k = 0; wanted && k < s->nin; k++)
      if (t->ref[s->in + k].slot >= 0) need[t->ref[s->in + k].slot] = true;
  }
  sn_free(need);
  return 0;
}

static bool steady(const snp_tape *t, const snp_step *s) { /* its results are never written in place, and are the block's own */
  for (int k = 0; k < s->nout; k++) {
    const snp_slot *o = &t->slot[t->ref[s->out + k].slot];
    if (o->written || o->kind != SNP_INTERNAL) return false;
  }
  return true;
}

/* A host step may write any small tensor. */
bool snp_untouched(const snp_tape *t, const snp_step *s, int from, int to) {
  bool written = false;
  for (int k = 0; k < s->nin; k++) written |= t->ref[s->in + k].slot >= 0 && t->slot[t->ref[s->in + k].slot].written;
  for (int i = from; written && i < to; i++) {
    const snp_step *w = &t->step[i];
    if (w->op == NULL) return false;
    if (!(w->op->flags & SNO_WRITES) || w->dead) continue;
    for (int j = 0; j < w->nin + w->nout; j++)
      for (int k = 0; k < s->nin; k++)
        if (t->ref[s->in + k].slot >= 0 && t->ref[w->in + j].slot == t->ref[s->in + k].slot) return false;
  }
  return true;
}

static bool same_constant(const snp_tape *t, int a, int b) {
  const snp_slot *s = &t->slot[a], *o = &t->slot[b];
  return s->kind == SNP_CONST && o->kind == SNP_CONST && !s->written && !o->written && s->bytes == o->bytes && memcmp(s->data, o->data, s->bytes) == 0;
}

static bool same_ref(const snp_tape *t, const snp_ref *a, const snp_ref *b) {
  if (memcmp(a, b, sizeof *a) == 0) return true;
  if (a->slot < 0 || b->slot < 0 || !same_constant(t, a->slot, b->slot)) return false;
  snp_ref c = *b;
  c.slot = a->slot;
  return memcmp(a, &c, sizeof c) == 0;
}

static bool same_work(const snp_tape *t, const snp_step *a, const snp_step *b) {
  if (a->op != b->op || a->nin != b->nin || a->nout != b->nout || a->nlist != b->nlist || a->flush != b->flush || a->half != b->half) return false;
  for (int k = 0; k < a->nattr; k++)
    if (!snp_val_equal(&t->attr[a->attr + k], &t->attr[b->attr + k])) return false;
  for (int k = 0; k < a->nin; k++)
    if (!same_ref(t, &t->ref[a->in + k], &t->ref[b->in + k])) return false;
  return true;
}

/* The second of two equal pure steps is dropped and its results read from the first. Looks back a bounded way; casts, which autocast makes of
 * one weight wherever it is used, all the way. */
int snp_pass_cse(snp_tape *t) {
  enum { WINDOW = 64 };
  for (int i = 1; i < t->nstep; i++) {
    snp_step *s = &t->step[i];
    if (s->dead || !is_pure(s) || !steady(t, s) || s->nout == 0) continue;
    for (int j = i - 1; j >= 0 && (j >= i - WINDOW || s->op == &sno_op_to); j--) {
      const snp_step *o = &t->step[j];
      if (o->dead || !is_pure(o) || !steady(t, o) || !same_work(t, o, s) || !snp_untouched(t, s, j + 1, i)) continue;
      for (int k = 0; k < s->nout; k++) {
        const int from = t->ref[s->out + k].slot, to = t->ref[o->out + k].slot;
        for (int r = s->out + s->nout; r < t->nref; r++)
          if (t->ref[r].slot == from) t->ref[r].slot = to;
      }
      s->dead = true;
      break;
    }
  }
  return 0;
}

/* Does a step from..to-1 touch the slot? */
static bool touched(const snp_tape *t, int slot, int from, int to) {
  for (int i = from; i < to; i++)
    for (int k = 0; !t->step[i].dead && k < t->step[i].nin + t->step[i].nout; k++)
      if (t->ref[t->step[i].in + k].slot == slot) return true;
  return false;
}

/* A copy of all of something that nobody looks at afterwards is that something, made in the copy's place: a gradient that goes to a leaf. */
int snp_pass_copy(snp_tape *t) {
  for (int i = 0; i < t->nstep; i++) {
    snp_step *s = &t->step[i];
    if (s->dead || s->op != &sno_op_clone || s->round) continue;
    const snp_ref *x = &t->ref[s->in], *y = &t->ref[s->out];
    const int from = x->slot, to = y->slot;
    if (t->slot[from].kind != SNP_INTERNAL || t->slot[from].bytes != t->slot[to].bytes || x->dtype != y->dtype) continue;
    if (!snp_ref_whole(t, x) || !snp_ref_whole(t, y) || touched(t, from, i + 1, t->nstep)) continue;
    s->dead = true;
    for (int r = 0; r < s->in; r++)
      if (t->ref[r].slot == from) t->ref[r].slot = to;
    t->slot[to].written |= t->slot[from].written;
  }
  return 0;
}
