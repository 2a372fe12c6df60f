/* relu.c - relu, and the addition of another way before it, in the last store of batch norm in training; its gradient in batch norm's own, which
 * finds again what relu let pass, and in that of pooling. */
#include <string.h>
#include "diff/ops.h"
#include "exec/record.h"

enum { X, WEIGHT, BIAS, ADD, INPUTS }; /* of batch_norm_relu; batch_norm_train has the first three */
enum { GY, BACK_X, BACK_WEIGHT, MEAN, RSTD }; /* of batch_norm_backward */

static const snp_ref *in_of(const snp_tape *t, const snp_step *s, int k) { return &t->ref[s->in + k]; }
static const snp_ref *out_of(const snp_tape *t, const snp_step *s, int k) { return &t->ref[s->out + k]; }

static bool touches(const snp_tape *t, const snp_step *s, int slot) {
  for (int k = 0; k < s->nin + s->nout; k++)
    if (t->ref[s->in + k].slot == slot) return true;
  return false;
}

/* Does the operand hold the same numbers at steps from..to? A host step may write any small tensor. */
static bool stays(const snp_tape *t, const snp_ref *r, int from, int to) {
  if (r->slot < 0 || !t->slot[r->slot].written) return true;
  for (int i = from; i < to; i++) {
    const snp_step *s = &t->step[i];
    if (!s->dead && (!s->op || ((s->op->flags & SNO_WRITES) && touches(t, s, r->slot)))) return false;
  }
  return true;
}

/* The step of operation `op` that alone reads the first result of step i, as operand k or, with k < 0, as any; else -1. */
static int reader(const snp_tape *t, int i, const sno_op *op, int k) {
  const snp_ref *y = out_of(t, &t->step[i], 0);
  if (t->slot[y->slot].kind != SNP_INTERNAL || t->slot[y->slot].written) return -1;
  const int at = snp_only_reader(t, i, y->slot);
  if (at < 0 || t->step[at].op != op || t->step[at].flush != t->step[i].flush) return -1;
  return k < 0 || snp_same_place(in_of(t, &t->step[at], k), y) ? at : -1;
}

/* Step i or, with `round`, the second of two casts behind it that alone read its result and round it to bfloat16; else -1. */
static int rounded(const snp_tape *t, int i, bool round) {
  const int down = round ? reader(t, i, &sno_op_to, 0) : -1;
  if (!round) return i;
  if (down < 0 || out_of(t, &t->step[i], 0)->dtype != SN_F32 || out_of(t, &t->step[down], 0)->dtype != SN_BF16) return -1;
  const int up = reader(t, down, &sno_op_to, 0);
  return up >= 0 && out_of(t, &t->step[up], 0)->dtype == SN_F32 ? up : -1;
}

/* An addition and the casts behind it up to `sum` are done elsewhere. */
static void drop(snp_tape *t, int add, int sum) {
  if (sum != add) t->step[reader(t, add, &sno_op_to, 0)].dead = true;
  t->step[add].dead = t->step[sum].dead = true;
}

static bool whole_result(const snp_tape *t, const snp_step *s) {
  const snp_ref *z = out_of(t, s, 0);
  return snp_ref_whole(t, z) && !t->slot[z->slot].written;
}

static bool alike(const snp_ref *a, const snp_ref *b) {
  return a->slot >= 0 && a->dtype == b->dtype && a->ndim == b->ndim && memcmp(a->shape, b->shape, sizeof a->shape) == 0 && snp_ref_dense(a);
}

/* The last step before that gives the slot, or -1. */
static int maker(const snp_tape *t, int slot, int before) {
  for (int i = before - 1; i >= 0; i--)
    for (int k = 0; !t->step[i].dead && k < t->step[i].nout; k++)
      if (out_of(t, &t->step[i], k)->slot == slot) return i;
  return -1;
}

/* May steps b and s, which comes later, change places? */
static bool apart(const snp_tape *t, const snp_step *b, const snp_step *s) {
  const bool writes = ((b->op->flags | s->op->flags) & SNO_WRITES) != 0;
  for (int k = 0; k < b->nin + b->nout; k++) {
    const int slot = t->ref[b->in + k].slot;
    if (slot >= 0 && (writes || k >= b->nin) && touches(t, s, slot)) return false;
  }
  return !(b->op->flags & SNO_RANDOM);
}

/* Step i goes behind step `last`, and with it what reads its results (the update of running statistics). Where it is then, or -1. */
static int move_behind(snp_tape *t, int i, int last) {
  enum { MOST = 64 };
  bool moves[MOST] = {true};
  snp_step later[MOST];
  int to = i, nlater = 0;
  if (last - i >= MOST) return -1;
  for (int a = 1; a <= last - i; a++) {
    const snp_step *s = &t->step[i + a];
    if (s->dead) continue;
    if (!s->op) return -1;
    for (int k = 0; k < t->step[i].nout; k++) moves[a] |= touches(t, s, out_of(t, &t->step[i], k)->slot);
    for (int b = 0; b < a && !moves[a]; b++)
      if (moves[b] && !apart(t, &t->step[i + b], s)) return -1;
  }
  if (moves[last - i]) return -1;
  for (int a = 0; a <= last - i; a++) {
    if (moves[a]) later[nlater++] = t->step[i + a];
    else t->step[to++] = t->step[i + a];
  }
  memcpy(t->step + to, later, (size_t)nlater * sizeof *later);
  return to;
}

/* batch_norm_train, perhaps an addition (rounded or not, as the norm is), relu. */
static int join_norm(snp_tape *t, int i) {
  const snp_step *s = &t->step[i];
  const snp_ref y = *out_of(t, s, 0);
  const int add = reader(t, i, &sno_op_add, -1), sum = add >= 0 ? rounded(t, add, s->round) : i;
  snp_ref way = {.slot = -1};
  int relu = sum >= 0 ? reader(t, sum, &sno_op_relu, 0) : -1;
  if (relu < 0 || !whole_result(t, &t->step[relu])) return 0;
  if (add >= 0) {
    const snp_step *a = &t->step[add];
    const int own = in_of(t, a, 0)->slot == y.slot ? 0 : 1;
    way = *in_of(t, a, !own);
    if (!snp_same_place(in_of(t, a, own), &y) || way.slot == y.slot || !alike(&way, &y) || !alike(out_of(t, a, 0), &y) || !stays(t, &way, i, add)) return 0;
    const int made = maker(t, way.slot, add);
    if (made > i) {
      for (int k = 0; k < s->nin; k++)
        if (!stays(t, in_of(t, s, k), i, made + 1)) return 0;
      if ((i = move_behind(t, i, made)) < 0) return 0;
    }
  }
  if (snp_tape_room(t, INPUTS + t->step[i].nout, 0) < 0) return -1;
  snp_step *w = &t->step[i];
  const int in = t->nref;
  for (int k = 0; k < w->nin; k++) t->ref[in + k] = *in_of(t, w, k);
  t->ref[in + ADD] = way;
  for (int k = 0; k < w->nout; k++) t->ref[in + INPUTS + k] = *out_of(t, w, k);
  t->ref[in + INPUTS] = *out_of(t, &t->step[relu], 0);
  t->nref += INPUTS + w->nout;
  w->op = &sno_op_batch_norm_relu;
  w->in = in, w->nin = INPUTS, w->out = in + INPUTS;
  t->step[relu].dead = true;
  if (add >= 0) drop(t, add, sum);
  return 0;
}

static bool same_or_none(const snp_ref *a, const snp_ref *b) { return (a->slot < 0 && b->slot < 0) || snp_same_place(a, b); }

/* relu_backward, batch_norm_backward, where the relu's result was made by join_norm without an addition. */
static int join_norm_backward(snp_tape *t, int i) {
  const int at = reader(t, i, &sno_op_batch_norm_backward, GY);
  if (at < 0 || !t->attr[t->step[at].attr].i) return 0;
  const snp_step *r = &t->step[i], *s = &t->step[at];
  const snp_ref gy = *in_of(t, r, 0), *y = in_of(t, r, 1);
  const int made = maker(t, y->slot, i);
  if (made < 0 || t->step[made].op != &sno_op_batch_norm_relu) return 0;
  const snp_step *f = &t->step[made];
  if (in_of(t, f, ADD)->slot >= 0 || !snp_same_place(out_of(t, f, 0), y) || !alike(&gy, y) || f->flush != s->flush) return 0;
  if (f->round && !f->flush) return 0; /* a number above zero may be rounded to zero there */
  if (!snp_same_place(in_of(t, f, X), in_of(t, s, BACK_X)) || !same_or_none(in_of(t, f, WEIGHT), in_of(t, s, BACK_WEIGHT)) ||
      !snp_same_place(out_of(t, f, 1), in_of(t, s, MEAN)) || !snp_same_place(out_of(t, f, 2), in_of(t, s, RSTD)) || !stays(t, &gy, i, at))
    return 0;
  for (int k = X; k <= BIAS; k++)
    if (!stays(t, in_of(t, f, k), made, at)) return 0;
  for (int k = 0; k < f->nout; k++)
    if (!stays(t, out_of(t, f, k), made + 1, at)) return 0;
  if (snp_tape_room(t, 6 + 3, 0) < 0) return -1;
  snp_step *w = &t->step[at];
  const snp_ref in[] = {gy, *in_of(t, f, X), *in_of(t, f, WEIGHT), *in_of(t, f, BIAS), *in_of(t, s, MEAN), *in_of(t, s, RSTD)};
  memcpy(t->ref + t->nref, in, sizeof in);
  memcpy(t->ref + t->nref + 6, t->ref + w->out, 3 * sizeof *in);
  w->op = &sno_op_batch_norm_relu_backward;
  w->in = t->nref, w->nin = 6, w->out = t->nref + 6, w->nattr = 0;
  t->nref += 6 + 3;
  t->step[i].dead = true;
  return 0;
}

static bool untouched(const snp_tape *t, const snp_step *s, int from, int to) { /* the results of s */
  for (int i = from; i < to; i++)
    for (int k = 0; !t->step[i].dead && k < s->nout; k++)
      if (!t->step[i].op || touches(t, &t->step[i], out_of(t, s, k)->slot)) return false;
  return true;
}

/* [add (rounded or not, as the norm's gradient is),] relu_backward, whose result others read too, batch_norm_backward: it goes up to the relu_backward. */
static int join_way(snp_tape *t, int i) {
  const snp_step *r = &t->step[i], *s = NULL;
  const snp_ref gz = *out_of(t, r, 0), y = *in_of(t, r, 1);
  snp_ref gy = *in_of(t, r, 0), other = {.slot = -1};
  int at = i + 1, add = -1, sum = -1;
  for (; at < t->nstep && !s; at++)
    if (!t->step[at].dead && t->step[at].op == &sno_op_batch_norm_backward && snp_same_place(in_of(t, &t->step[at], GY), &gz)) s = &t->step[at--];
  if (!s || s->flush != r->flush || !t->attr[s->attr].i || !whole_result(t, r) || !alike(&gy, &y) || !alike(&y, &gz) || !alike(&gz, in_of(t, s, BACK_X)))
    return 0;
  for (int k = BACK_X; k <= RSTD; k++)
    if (in_of(t, s, k)->slot >= 0 && (maker(t, in_of(t, s, k)->slot, at) > i || !stays(t, in_of(t, s, k), i, at))) return 0;
  if (!untouched(t, s, i + 1, at)) return 0;
  for (int k = i - 1; k >= 0 && add < 0; k--)
    if (!t->step[k].dead && t->step[k].op == &sno_op_add && (sum = rounded(t, k, s->round)) >= 0 && reader(t, sum, &sno_op_relu_backward, 0) == i) add = k;
  if (add >= 0) {
    const snp_ref *a = in_of(t, &t->step[add], 0), *b = in_of(t, &t->step[add], 1);
    if (alike(a, &gy) && alike(b, &gy) && stays(t, a, add, i) && stays(t, b, add, i)) {
      gy = *a, other = *b;
      drop(t, add, sum);
    }
  }
  if (snp_tape_room(t, 7 + 4, 0) < 0) return -1;
  const snp_ref all[] = {gy, other, y, *in_of(t, s, BACK_X), *in_of(t, s, BACK_WEIGHT), *in_of(t, s, MEAN), *in_of(t, s, RSTD), *out_of(t, s, 0), *out_of(t, s, 1),
                         *out_of(t, s, 2), gz};
  memcpy(t->ref + t->nref, all, sizeof all);
  t->step[i] = t->step[at];
  t->step[at].dead = true;
  snp_step *w = &t->step[i];
  w->op = &sno_op_batch_norm_way_backward;
  w->in = t->nref, w->nin = 7, w->out = t->nref + 7, w->nout = 4, w->nattr = 0;
  t->nref += 7 + 4;
  return 0;
}

static bool is_pair(const sno_val *v) { return v->v[0] == 2 && v->v[1] == 2; }

/* max_pool2d_backward of windows of two by two, relu_backward by what was pooled. */
static void join_pool(snp_tape *t, int i) {
  snp_step *s = &t->step[i];
  const sno_val *v = &t->attr[s->attr];
  const int at = reader(t, i, &sno_op_relu_backward, 0);
  if (at < 0 || !is_pair(v) || !(v[1].absent || is_pair(v + 1)) || v[2].v[0] || v[2].v[1] || v[3].v[0] != 1 || v[3].v[1] != 1 || v[4].i) return;
  if (!snp_same_place(in_of(t, s, 1), in_of(t, &t->step[at], 1)) || !whole_result(t, &t->step[at]) || !stays(t, in_of(t, s, 1), i, at)) return;
  s->op = &sno_op_max_pool2d_relu_backward;
  t->ref[s->out] = *out_of(t, &t->step[at], 0);
  t->step[at].dead = true;
}

int snp_pass_relu(snp_tape *t) {
  for (int i = 0; i < t->nstep; i++) /* a step that moves behind i is met again, as another operation */
    if (!t->step[i].dead && t->step[i].op == &sno_op_batch_norm_train && join_norm(t, i) < 0) return -1;
  for (int i = 0; i < t->nstep; i++) {
    if (t->step[i].dead) continue;
    if (t->step[i].op == &sno_op_relu_backward && join_norm_backward(t, i) < 0) return -1;
    if (!t->step[i].dead && t->step[i].op == &sno_op_relu_backward && join_way(t, i) < 0) return -1;
    if (t->step[i].op == &sno_op_max_pool2d_backward) join_pool(t, i);
  }
  return 0;
}
