/* plan.c - one block for everything that lives only inside a program: places by lifetime, found by walking the steps with a list of gaps. */
#include <string.h>
#include "base/mem.h"
#include "diff/map.h"
#include "diff/ops.h"
#include "exec/record.h"

enum { ALIGN = 64 };

typedef struct gap { int64_t at, size; } gap;
typedef struct plan {
  gap *gap;
  int ngap, room;
  int64_t end;          /* of the block so far */
  int *last;            /* by slot: the last step that touches it */
  int64_t *offset, *size;
  int *share;           /* by slot: how many slots still live in its place (kept at the place's first owner) */
  int *owner;           /* by slot: the slot whose place it took over, or itself */
} plan;

static int64_t take(plan *p, int64_t size) {
  int best = -1;
  for (int i = 0; i < p->ngap; i++)
    if (p->gap[i].size >= size && (best < 0 || p->gap[i].size < p->gap[best].size)) best = i;
  if (best >= 0) {
    const int64_t at = p->gap[best].at;
    p->gap[best].at += size, p->gap[best].size -= size;
    if (p->gap[best].size == 0) p->gap[best] = p->gap[--p->ngap];
    return at;
  }
  for (int i = 0; i < p->ngap; i++) /* a gap at the end grows */
    if (p->gap[i].at + p->gap[i].size == p->end) {
      const int64_t at = p->gap[i].at;
      p->end = at + size;
      p->gap[i] = p->gap[--p->ngap];
      return at;
    }
  const int64_t at = p->end;
  p->end += size;
  return at;
}

static int give(plan *p, int64_t at, int64_t size) {
  if (size == 0) return 0;
  for (int again = 1; again;) { /* join neighbours */
    again = 0;
    for (int i = 0; i < p->ngap; i++) {
      gap *g = &p->gap[i];
      if (g->at + g->size == at) at = g->at, size += g->size;
      else if (at + size == g->at) size += g->size;
      else continue;
      *g = p->gap[--p->ngap];
      again = 1;
      break;
    }
  }
  if (p->ngap == p->room) {
    gap *q = sn_realloc(p->gap, (size_t)(p->room ? p->room * 2 : 64) * sizeof *q);
    if (q == NULL) return -1;
    p->gap = q;
    p->room = p->room ? p->room * 2 : 64;
  }
  p->gap[p->ngap++] = (gap){at, size};
  return 0;
}

/* An elementwise step, or a chain of them, may write result `out` over an operand that dies with it, others over what they name. */
static int dying_operand(const snp_tape *t, const plan *p, int i, int out) {
  const snp_step *s = &t->step[i];
  const bool chain = s->op == &snp_op_chain, map = s->op && sno_is_map(s->op) && s->nout == 1;
  const unsigned over = s->op && out < (int)sizeof s->op->over ? s->op->over[out] : 0;
  if (!chain && !map && !over) return -1;
  const snp_ref *y = &t->ref[s->out + out];
  if (t->slot[y->slot].kind != SNP_INTERNAL || !snp_ref_whole(t, y)) return -1;
  for (int k = 0; k < s->nin; k++) {
    const snp_ref *x = &t->ref[s->in + k];
    if (over && !(over >> k & 1)) continue;
    if (x->slot < 0 || x->slot == y->slot || t->slot[x->slot].kind != SNP_INTERNAL || p->last[x->slot] != i || p->offset[x->slot] < 0) continue;
    if (x->dtype != y->dtype || x->ndim != y->ndim || memcmp(x->shape, y->shape, sizeof x->shape) != 0 || !snp_ref_whole(t, x)) continue;
    bool again = false; /* met again as another view */
    for (int j = 0; j < s->nin; j++) again |= j != k && t->ref[s->in + j].slot == x->slot && (over || memcmp(&t->ref[s->in + j], x, sizeof *x) != 0);
    if (again || p->share[p->owner[x->slot]] > 1 || (chain && !snp_chain_over(t, s, out, k))) continue;
    return x->slot;
  }
  return -1;
}

/* from: the slot whose place it takes over, or -1. */
static int place(plan *p, const snp_tape *t, int slot, int from) {
  if (p->offset[slot] >= 0) return 0;
  if (from >= 0 && p->size[p->owner[from]] >= (int64_t)t->slot[slot].bytes) {
    p->owner[slot] = p->owner[from];
    p->offset[slot] = p->offset[from];
    p->share[p->owner[slot]]++;
    return 0;
  }
  p->size[slot] = ((int64_t)t->slot[slot].bytes + ALIGN - 1) / ALIGN * ALIGN;
  p->owner[slot] = slot;
  p->share[slot] = 1;
  p->offset[slot] = take(p, p->size[slot]);
  return 0;
}

static int leave(plan *p, const snp_tape *t, int slot, int step) {
  if (slot < 0 || t->slot[slot].kind != SNP_INTERNAL || p->last[slot] != step || p->offset[slot] < 0 || p->owner[slot] < 0) return 0;
  const int o = p->owner[slot];
  p->owner[slot] = -1; /* left */
  if (--p->share[o] > 0) return 0;
  return give(p, p->offset[slot], p->size[o]);
}

int snp_plan(const snp_tape *t, int64_t *offset, size_t *block) {
  const bool inplace = snp_pass_on("inplace"), reuse = snp_pass_on("plan");
  plan p = {.offset = offset};
  const size_t n = (size_t)t->nslot + 1;
  p.last = sn_malloc(n * sizeof *p.last);
  p.share = sn_calloc(n, sizeof *p.share);
  p.owner = sn_malloc(n * sizeof *p.owner);
  p.size = sn_calloc(n, sizeof *p.size);
  int rc = p.last && p.share && p.owner && p.size ? 0 : -1;
  for (int i = 0; i < t->nslot + t->nstep; i++) offset[i] = -1;
  for (int i = 0; rc == 0 && i < t->nslot; i++) p.last[i] = p.owner[i] = -1;
  for (int i = 0; rc == 0 && i < t->nstep; i++)
    for (int k = 0; !t->step[i].dead && k < t->step[i].nin + t->step[i].nout; k++)
      if (t->ref[t->step[i].in + k].slot >= 0) p.last[t->ref[t->step[i].in + k].slot] = i;
  for (int i = 0; rc == 0 && i < t->nslot; i++)
    if (t->slot[i].kind == SNP_INTERNAL && t->slot[i].kept) { /* before all others, and never left */
      p.last[i] = t->nstep;
      place(&p, t, i, -1);
    }
  for (int i = 0; rc == 0 && i < t->nstep; i++) {
    const snp_step *s = &t->step[i];
    if (s->dead) continue;
    for (int k = 0; k < s->nout; k++) {
      const int slot = t->ref[s->out + k].slot;
      if (t->slot[slot].kind == SNP_INTERNAL) place(&p, t, slot, inplace ? dying_operand(t, &p, i, k) : -1);
    }
    if (s->scratch) {
      const int64_t size = ((int64_t)s->scratch + ALIGN - 1) / ALIGN * ALIGN;
      offset[t->nslot + i] = take(&p, size);
      if (reuse) rc = give(&p, offset[t->nslot + i], size);
    }
    for (int k = 0; rc == 0 && reuse && k < s->nin + s->nout; k++) rc = leave(&p, t, t->ref[s->in + k].slot, i);
  }
  *block = (size_t)p.end;
  sn_free(p.gap); sn_free(p.last); sn_free(p.share); sn_free(p.owner); sn_free(p.size);
  return rc;
}
