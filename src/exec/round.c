/* round.c - casts to bfloat16 and back, as autocast makes them around every product, without the way through memory: what is a bfloat16 number
 * already is not rounded again, and a product rounds its result in its last store, and the weight that it reads on its way. The numbers are kept
 * as floats. */
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "diff/map.h"
#include "diff/ops.h"
#include "exec/record.h"

/* Operations whose result takes no bits beyond those of these inputs (a mask). */
static const struct { const sno_op *op; unsigned inputs; } keeping[] = {
    {&sno_op_relu, 1}, {&sno_op_relu_backward, 1}, {&sno_op_neg, 1}, {&sno_op_abs, 1}, {&sno_op_maximum, 3}, {&sno_op_minimum, 3},
    {&sno_op_max_pool2d, 1}, {&sno_op_max_pool2d_backward, 1}, {&sno_op_max_pool2d_relu_backward, 1}, {&sno_op_contiguous, 1}, {&sno_op_clone, 1},
};

/* Pooling's gradient adds up where windows overlap. */
static bool adds(const snp_tape *t, const snp_step *s) {
  const sno_val *v = &t->attr[s->attr]; /* kernel size, stride, padding, dilation */
  for (int d = 0; s->op == &sno_op_max_pool2d_backward && d < 2; d++)
    if ((v[1].absent ? v : v + 1)->v[d] <= v[3].v[d] * (v->v[d] - 1)) return true;
  return false;
}

static bool is_cast(const snp_tape *t, const snp_step *s, sn_dtype to, sn_dtype from) {
  return s->op == &sno_op_to && t->ref[s->out].dtype == to && t->ref[s->in].dtype == from;
}

bool snp_settled(const snp_tape *t, const snp_ref *r) {
  return t->slot[r->slot].kind == SNP_INTERNAL && !t->slot[r->slot].written && snp_ref_whole(t, r);
}

bool snp_keeps(const snp_tape *t, const snp_step *s, const bool *exact) {
  for (size_t k = 0; k < sizeof keeping / sizeof *keeping; k++) {
    if (s->op != keeping[k].op || adds(t, s)) continue;
    for (int i = 0; i < s->nin; i++)
      if ((keeping[k].inputs >> i & 1) && (t->ref[s->in + i].slot < 0 || !exact[t->ref[s->in + i].slot])) return false;
    return true;
  }
  return false;
}

/* Does s put its numbers somewhere else among zeros? */
static bool moves(const snp_tape *t, const snp_step *s) {
  return s->op == &sno_op_narrow_backward || (s->op == &sno_op_pad && t->attr[s->attr + 2].d == 0);
}

/* Do all who read the slot of bfloat16 that step i gives want floats, perhaps after moving them? */
static bool wanted_as_floats(const snp_tape *t, int slot, int i) {
  for (int k = i + 1; k < t->nstep; k++) {
    const snp_step *s = &t->step[k];
    bool touches = false;
    for (int j = 0; !s->dead && j < s->nin + s->nout; j++) touches |= t->ref[s->in + j].slot == slot;
    if (!touches) continue;
    const snp_ref *x = &t->ref[s->in], *y = &t->ref[s->out];
    if (s->op == NULL || s->nin != 1 || s->nout != 1 || x->slot != slot || !snp_settled(t, y)) return false;
    if (!(is_cast(t, s, SN_F32, SN_BF16) && snp_ref_whole(t, x)) && !(moves(t, s) && wanted_as_floats(t, y->slot, k))) return false;
  }
  return true;
}

/* Step s, which moves, gives floats of the slot `from`. */
static void widen(snp_tape *t, snp_step *s, int from) {
  const int slot = t->ref[s->out].slot;
  t->slot[slot].bytes *= 2;
  for (int r = s->out; r < t->nref; r++)
    if (t->ref[r].slot == slot) t->ref[r].dtype = SN_F32;
  t->ref[s->in].slot = from, t->ref[s->in].dtype = SN_F32;
}

/* exact: by slot, floats that are all bfloat16 numbers; from: by slot of bfloat16, the slot of floats that it was cast from without loss, or -1;
 * of floats that stand for bfloat16, the slot itself. */
static void unround(snp_tape *t, bool *exact, int *from) {
  for (int i = 0; i < t->nslot; i++) from[i] = -1;
  for (int i = 0; i < t->nstep; i++) {
    snp_step *s = &t->step[i];
    if (s->dead || s->op == NULL || s->nout != 1) continue;
    const snp_ref *x = &t->ref[s->in], *y = &t->ref[s->out];
    if (!snp_settled(t, y)) continue;
    if (is_cast(t, s, SN_BF16, SN_F32)) {
      if (exact[x->slot] && snp_settled(t, x)) from[y->slot] = x->slot;
    } else if (y->dtype == SN_BF16 && moves(t, s)) {
      if (from[x->slot] < 0 || !wanted_as_floats(t, y->slot, i)) continue;
      widen(t, s, from[x->slot]);
      exact[y->slot] = true, from[y->slot] = y->slot;
    } else if (is_cast(t, s, SN_F32, SN_BF16) || (s->op == &sno_op_to && from[x->slot] == x->slot)) {
      exact[y->slot] = true;
      if (from[x->slot] < 0 || !snp_ref_whole(t, x)) continue;
      const int slot = y->slot, to = from[x->slot];
      for (int r = s->out; r < t->nref; r++)
        if (t->ref[r].slot == slot) t->ref[r].slot = to;
      s->dead = true;
    } else if (y->dtype == SN_F32 && snp_keeps(t, s, exact)) exact[y->slot] = true;
  }
}

/* Readers of each slot: the only one, -1 for none, -2 for several. */
static void find_readers(const snp_tape *t, int *reader) {
  for (int i = 0; i < t->nslot; i++) reader[i] = -1;
  for (int i = 0; i < t->nstep; i++) {
    const snp_step *s = &t->step[i];
    for (int k = 0; !s->dead && k < s->nin; k++) {
      const int slot = t->ref[s->in + k].slot;
      if (slot >= 0) reader[slot] = reader[slot] == -1 || reader[slot] == i ? i : -2;
    }
  }
}

static int cast_behind(const snp_tape *t, const int *reader, const snp_step *s, const snp_ref *y, sn_dtype to, sn_dtype from) {
  if (!snp_settled(t, y)) return -1;
  const int at = reader[y->slot];
  if (at < 0 || !is_cast(t, &t->step[at], to, from) || t->step[at].flush != s->flush || !snp_ref_whole(t, &t->ref[t->step[at].in])) return -1;
  return at;
}

/* Can step s round what it multiplies with, the whole of a slot, as it reads it? */
static bool reads_weight(const snp_tape *t, const snp_step *s, int slot) {
  const snp_ref *x = &t->ref[s->in], *w = x + 1;
  if ((s->op != &sno_op_linear && s->op != &sno_op_matmul) || x->slot == slot || w->slot != slot || (s->nin > 2 && x[2].slot == slot)) return false;
  return w->ndim == 2 && w->shape[0] > 1 && w->shape[1] > 1 && snp_ref_whole(t, w) && x->ndim > 1 && snp_ref_dense(x) &&
         snt_count(x->ndim - 1, x->shape) > 1;
}

/* The step before i that gives `slot`, if it is a cast down to bfloat16 of all of it; NULL. */
static const snp_step *cast_down(const snp_tape *t, int i, int slot) {
  for (i--; i >= 0; i--) {
    const snp_step *s = &t->step[i];
    if (s->nout == 1 && t->ref[s->out].slot == slot) return is_cast(t, s, SN_BF16, SN_F32) ? s : NULL;
  }
  return NULL;
}

/* Step i casts up the whole of what was cast down, in another shape: it takes the other cast's, so that both can be steps of one chain. */
static void cast_in_shape(snp_tape *t, int i) {
  snp_ref *x = &t->ref[t->step[i].in], *y = &t->ref[t->step[i].out];
  const snp_step *d = cast_down(t, i, x->slot);
  if (d == NULL || !snp_settled(t, y) || !snp_ref_whole(t, x) || !snp_settled(t, &t->ref[d->out])) return;
  snp_ref like = t->ref[d->out];
  like.slot = x->slot;
  *x = like;
  like.slot = y->slot, like.dtype = y->dtype;
  *y = like;
}

/* A weight that the program writes, rounded anew in every run (step i casts back what was cast down): its readers do that. */
static void leave_weight(snp_tape *t, int i) {
  const snp_ref y = t->ref[t->step[i].out];
  const snp_step *d = cast_down(t, i, t->ref[t->step[i].in].slot);
  if (d == NULL || !snp_settled(t, &y) || !snp_ref_whole(t, &t->ref[t->step[i].in])) return;
  const snp_ref x = t->ref[d->in];
  if (x.slot < 0 || t->slot[x.slot].kind != SNP_BOUND || !t->slot[x.slot].written || !snp_ref_dense(&x)) return;
  for (int pass = 0; pass < 2; pass++) /* looked at first, then done */
    for (int k = i + 1; k < t->nstep; k++) {
      snp_step *s = &t->step[k];
      bool touches = false;
      for (int j = 0; !s->dead && j < s->nin + s->nout; j++) touches |= t->ref[s->in + j].slot == y.slot;
      if (!touches) continue;
      if (pass == 0 && (!reads_weight(t, s, y.slot) || s->flush != t->step[i].flush || !snp_untouched(t, d, (int)(d - t->step) + 1, k))) return;
      if (pass == 1) t->ref[s->in + 1] = x, s->round_weight = true;
    }
  t->step[i].dead = true;
}

int snp_pass_round(snp_tape *t) {
  bool *exact = sn_calloc((size_t)t->nslot + 1, sizeof *exact);
  int *slots = sn_malloc(((size_t)t->nslot + 1) * sizeof *slots);
  if (exact == NULL || slots == NULL) {
    sn_free(exact);
    sn_free(slots);
    return -1;
  }
  unround(t, exact, slots);
  for (int i = 0; i < t->nstep; i++)
    if (!t->step[i].dead && is_cast(t, &t->step[i], SN_F32, SN_BF16)) {
      leave_weight(t, i);
      cast_in_shape(t, i);
    }
  find_readers(t, slots);
  for (int i = 0; i < t->nstep; i++) {
    snp_step *s = &t->step[i];
    if (s->dead || s->op == NULL || !(s->op->flags & SNO_ROUNDS) || t->ref[s->out].dtype != SN_F32) continue;
    const int down = cast_behind(t, slots, s, &t->ref[s->out], SN_BF16, SN_F32);
    const int up = down < 0 ? -1 : cast_behind(t, slots, s, &t->ref[t->step[down].out], SN_F32, SN_BF16);
    if (up < 0 || !snp_ref_whole(t, &t->ref[t->step[up].out])) continue;
    t->ref[s->out].slot = t->ref[t->step[up].out].slot;
    s->round = t->step[down].dead = t->step[up].dead = true;
  }
  sn_free(exact);
  sn_free(slots);
  return 0;
}
