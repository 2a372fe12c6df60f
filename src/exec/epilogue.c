/* epilogue.c - what alone reads the result of a product is computed in the product's last store: an activation; behind a convolution also
 * normalisation with given statistics and the addition of another way round it. */
#include <string.h>
#include "base/error.h"
#include "diff/conv.h"
#include "diff/ops.h"
#include "exec/record.h"

/* What can be joined: the product, its activation, and the operation that does both with the same bits. */
static const struct { const sno_op *product, *activation, *both; } joined[] = {
    {&sno_op_linear, &sno_op_relu, &sno_op_linear_relu},
    {&sno_op_conv2d, &sno_op_relu, &sno_op_conv2d_relu},
};

int snp_only_reader(const snp_tape *t, int i, int slot) {
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

/* Nothing among the operands first .. first+n-1 is ever written in place. */
static bool steady(const snp_tape *t, int first, int n) {
  for (int k = first; k < first + n; k++)
    if (t->ref[k].slot >= 0 && t->slot[t->ref[k].slot].written) return false;
  return true;
}

bool snp_same_place(const snp_ref *a, const snp_ref *b) {
  return a->slot == b->slot && a->dtype == b->dtype && a->ndim == b->ndim && a->offset == b->offset &&
         memcmp(a->shape, b->shape, sizeof a->shape) == 0 && snp_ref_dense(a) && snp_ref_dense(b);
}

/* Step i with room for all that conv2d_norm takes, and its epsilon and relu; -1 after sn_fail. */
static int widen(snp_tape *t, int i) {
  if (snp_tape_room(t, SNO_CONV_INPUTS + 1, SNO_CONV_ATTRS) < 0) return -1;
  snp_step *s = &t->step[i];
  const int in = t->nref, attr = t->nattr;
  for (int k = 0; k < SNO_CONV_INPUTS; k++) {
    t->ref[in + k] = t->ref[s->in];
    if (k < s->nin) t->ref[in + k] = t->ref[s->in + k];
    else t->ref[in + k].slot = -1;
  }
  t->ref[in + SNO_CONV_INPUTS] = t->ref[s->out];
  for (int k = 0; k < s->nattr; k++) t->attr[attr + k] = t->attr[s->attr + k];
  s->in = in, s->nin = SNO_CONV_INPUTS, s->out = in + SNO_CONV_INPUTS, s->attr = attr, s->nattr = SNO_CONV_ATTRS;
  t->nref += SNO_CONV_INPUTS + 1, t->nattr += SNO_CONV_ATTRS;
  return 0;
}

/* Step `at` joins the convolution i, which moves there: what else is read must have been made. */
static void join(snp_tape *t, int i, int at) {
  const snp_ref z = t->ref[t->step[at].out];
  t->ref[t->step[i].out] = z;
  t->step[at] = t->step[i];
  t->step[i].dead = true;
}

/* A convolution with its normalisation; one that has it, with an addition and relu. */
static int join_norm(snp_tape *t, int i) {
  const snp_step *s = &t->step[i];
  const snp_ref *y = &t->ref[s->out];
  const bool bare = s->op == &sno_op_conv2d;
  if (s->dead || s->round || (!bare && (s->op != &sno_op_conv2d_norm || t->attr[s->attr + SNO_CONV_RELU].i))) return 0;
  if (y->ndim != 4 || t->slot[y->slot].kind != SNP_INTERNAL || t->slot[y->slot].written || !steady(t, s->in, s->nin)) return 0;
  const int at = snp_only_reader(t, i, y->slot);
  if (at < 0 || t->step[at].flush != s->flush || !t->step[at].op) return 0;
  const snp_step *r = &t->step[at];
  if (r->round) return 0;
  const snp_ref *z = &t->ref[r->out];
  if (!steady(t, r->in, r->nin) || !snp_ref_whole(t, z) || t->slot[z->slot].written) return 0;
  if (bare && r->op == &sno_op_batch_norm_eval && snp_same_place(&t->ref[r->in], y)) {
    const int from = r->in, epsilon = r->attr;
    if (widen(t, i) < 0) return -1;
    snp_step *w = &t->step[i];
    w->op = &sno_op_conv2d_norm;
    w->scratch = (w->scratch + 63) / 64 * 64 + sno_conv_norm_room(t->ref[w->out].shape[1]);
    for (int k = 0; k < 4; k++) t->ref[w->in + SNO_CONV_SCALE + k] = t->ref[from + 1 + k];
    t->attr[w->attr + SNO_CONV_EPSILON] = t->attr[epsilon];
    t->attr[w->attr + SNO_CONV_RELU] = sno_bool(false);
    join(t, i, at);
  } else if (!bare && r->op == &sno_op_add && t->ref[s->in + SNO_CONV_ADD].slot < 0) {
    const int own = t->ref[r->in].slot == y->slot ? 0 : 1;
    const snp_ref *a = &t->ref[r->in + !own];
    if (!snp_same_place(&t->ref[r->in + own], y) || a->slot < 0 || a->slot == y->slot || a->dtype != y->dtype || a->ndim != y->ndim ||
        memcmp(a->shape, y->shape, sizeof a->shape) != 0 || !snp_ref_dense(a))
      return 0;
    t->ref[s->in + SNO_CONV_ADD] = *a;
    join(t, i, at);
  } else if (!bare && r->op == &sno_op_relu && snp_same_place(&t->ref[r->in], y)) {
    t->attr[s->attr + SNO_CONV_RELU] = sno_bool(true);
    join(t, i, at);
  }
  return 0;
}

int snp_pass_epilogue(snp_tape *t) {
  for (int i = 0; i < t->nstep; i++)
    if (join_norm(t, i) < 0) return -1;
  for (int i = 0; i < t->nstep; i++) {
    snp_step *s = &t->step[i];
    for (size_t k = 0; k < sizeof joined / sizeof *joined && !s->dead; k++) {
      if (s->op != joined[k].product) continue;
      const snp_ref *y = &t->ref[s->out];
      if (t->slot[y->slot].kind != SNP_INTERNAL || t->slot[y->slot].written) continue;
      const int at = snp_only_reader(t, i, y->slot);
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
