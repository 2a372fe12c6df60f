/* tape.c - the listener that keeps a graph: which calls are tracked, what each node saves, and how nodes die. */
#include "diff/tape.h"
#include <stdatomic.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "diff/node.h"
#include "diff/ops.h"

static _Atomic uint64_t next_seq = 1;

/* ---- metas */

static void free_meta(sno_meta *m) {
  sno_node_release(m->node);
  snt_release(m->grad);
  sno_foreign_release(m->handle);
  sn_free(m);
}

static sno_meta *meta_of(snt_tensor *t) {
  if (t->meta == NULL) {
    __atomic_store_n(&snt_meta_free, free_meta, __ATOMIC_RELAXED); /* several threads may have their first gradient at once */
    t->meta = sn_calloc(1, sizeof *t->meta);
  }
  return t->meta;
}

bool sno_requires_grad(const snt_tensor *t) { return t->meta && (t->meta->requires_grad || t->meta->node); }

int sno_set_requires_grad(snt_tensor *t, bool on) {
  if (on && !sn_is_float((sn_dtype)t->dtype))
    return sn_fail("requires_grad_: only floating tensors have gradients, this one is %s; :to(\"float32\") gives a floating copy", sn_dtypes[t->dtype].name);
  if (t->meta && t->meta->node)
    return on ? 0 : sn_fail("requires_grad_: this tensor is the result of a tracked operation; use detach() for one without gradient");
  sno_meta *m = on ? meta_of(t) : t->meta;
  if (m == NULL) return on ? -1 : 0;
  m->requires_grad = on;
  return 0;
}

snt_tensor *sno_grad_of(const snt_tensor *t) { return t->meta ? t->meta->grad : NULL; }

snt_tensor *sno_take_grad(snt_tensor *t) {
  sno_recorder *r = sno_mode_now()->recorder;
  if (r && t->meta) r->leaf(r, t);
  return sno_grad_of(t);
}

int sno_set_grad(snt_tensor *t, snt_tensor *g) {
  if (g && !snt_same_shape(t, g)) return sn_fail("grad: shape %s given, the tensor is %s", SNT_SHAPE(g), SNT_SHAPE(t));
  if (g && g->dtype != t->dtype) return sn_fail("grad: dtype %s given, the tensor is %s", sn_dtypes[g->dtype].name, sn_dtypes[t->dtype].name);
  sno_meta *m = g ? meta_of(t) : t->meta;
  if (m == NULL) return g ? -1 : 0;
  snt_tensor *old = m->grad;
  m->grad = snt_retain(g);
  snt_release(old);
  sno_recorder *r = sno_mode_now()->recorder;
  if (r) r->grad_set(r, t);
  return 0;
}

const sno_val *sno_made_by(const snt_tensor *t, const sno_op *op, int nin, snt_tensor **in) {
  const sno_meta *m = t->meta;
  const sno_node *n = m ? m->node : NULL;
  if (n == NULL || n->op != op || n->nin != nin || n->freed || m->version != t->storage->version) return NULL;
  for (int i = 0; i < nin; i++) {
    const sno_saved *s = &n->in[i];
    in[i] = s->t && s->t->storage && s->t->storage->version == s->version ? s->t : n->edge[i].leaf;
  }
  return n->attr;
}

bool sno_graph_freed(const snt_tensor *t) { return t->meta && t->meta->node && t->meta->node->freed; }

snt_tensor *sno_detach(snt_tensor *t) { return sno_own(snt_view(t)); }

/* ---- nodes */

const char *sno_node_name(const sno_node *n) { return n->op ? n->op->name : "func"; }

sno_node *sno_node_retain(sno_node *n) {
  if (n) __atomic_add_fetch(&n->refs, 1, __ATOMIC_RELAXED);
  return n;
}

void sno_node_drop_saved(sno_node *n) {
  for (int i = 0; i < n->nin; i++) {
    snt_release(n->in[i].t);
    n->in[i].t = NULL;
    snt_release(n->edge[i].leaf);
    n->edge[i].leaf = NULL;
    sno_node *up = n->edge[i].node;
    n->edge[i].node = NULL;
    sno_node_release(up);
  }
  for (int k = 0; k < n->nout; k++) {
    snt_release(n->out[k].t);
    n->out[k].t = NULL;
  }
  for (int k = 0; k < n->nattr; k++)
    if (n->attr[k].kind == SNO_FOREIGN && !n->attr[k].absent) {
      sno_foreign_release(n->attr[k].p);
      n->attr[k].absent = true;
    }
  sno_foreign_release(n->custom);
  n->custom = NULL;
}

/* The first node to die on a thread empties the list of all that die because of it, so a chain of a million costs no stack. */
void sno_node_release(sno_node *n) {
  static _Thread_local sno_node *dead;
  static _Thread_local bool busy;
  if (n == NULL || __atomic_sub_fetch(&n->refs, 1, __ATOMIC_ACQ_REL) != 0) return;
  n->next_dead = dead;
  dead = n;
  if (busy) return;
  busy = true;
  while (dead) {
    sno_node *d = dead;
    dead = d->next_dead;
    sno_node_drop_saved(d);
    for (int k = 0; k < d->nout; k++) snt_release(d->gy[k]);
    sn_free(d);
  }
  busy = false;
}

/* One block holds the node and its arrays. */
static sno_node *new_node(int nin, int nout, int nattr) {
  size_t at = sizeof(sno_node), edges = at;
  at += (size_t)nin * sizeof(sno_edge);
  const size_t in = at;
  at += (size_t)(nin + nout) * sizeof(sno_saved);
  const size_t spec = at;
  at += (size_t)(nin + nout) * sizeof(sno_out);
  const size_t gy = at;
  at += (size_t)nout * sizeof(snt_tensor *);
  const size_t attr = at;
  at += (size_t)nattr * sizeof(sno_val);
  char *p = sn_malloc(at);
  if (p == NULL) return NULL;
  memset(p, 0, attr);
  sno_node *n = (sno_node *)(void *)p;
  n->refs = 1;
  n->nin = nin;
  n->nout = nout;
  n->nattr = nattr;
  n->edge = (void *)(p + edges);
  n->in = (void *)(p + in);
  n->out = n->in + nin;
  n->in_spec = (void *)(p + spec);
  n->out_spec = n->in_spec + nin;
  n->gy = (void *)(p + gy);
  n->attr = (void *)(p + attr);
  n->seq = atomic_fetch_add_explicit(&next_seq, 1, memory_order_relaxed);
  return n;
}

static void fill_spec(sno_out *o, const snt_tensor *t) {
  o->dtype = t->dtype;
  o->ndim = t->ndim;
  memcpy(o->shape, t->shape, sizeof o->shape);
}

static void link_inputs(sno_node *n, snt_tensor *const *in) {
  for (int i = 0; i < n->nin; i++) {
    if (in[i] == NULL) continue;
    fill_spec(&n->in_spec[i], in[i]);
    const sno_meta *m = in[i]->meta;
    if (m == NULL) continue;
    if (m->node) {
      n->edge[i].node = sno_node_retain(m->node);
      n->edge[i].index = m->out_index;
    } else if (m->requires_grad) {
      n->edge[i].leaf = snt_retain(in[i]);
    }
  }
}

/* Outputs learn their node. An output that is an input written in place leaves its old node behind. */
static int link_outputs(sno_node *n, snt_tensor *const *out) {
  for (int k = 0; k < n->nout; k++) {
    fill_spec(&n->out_spec[k], out[k]);
    if (sn_is_float((sn_dtype)out[k]->dtype) && meta_of(out[k]) == NULL) return -1;
  }
  for (int k = 0; k < n->nout; k++) {
    sno_meta *m = out[k]->meta;
    if (m == NULL || !sn_is_float((sn_dtype)out[k]->dtype)) continue;
    sno_node *old = m->node;
    m->node = sno_node_retain(n);
    m->out_index = k;
    m->version = out[k]->storage->version;
    sno_node_release(old);
  }
  return 0;
}

static int save(sno_saved *s, const snt_tensor *t, uint32_t version) {
  s->version = version;
  return (s->t = snt_view(t)) ? 0 : -1;
}

/* ---- the listener */

bool sno_tape_wants(const sno_call *c) {
  if (!sno_mode_now()->grad || (c->op->flags & SNO_NODIFF)) return false;
  for (int i = 0; i < c->nin; i++)
    if (c->in[i] && c->in[i]->meta && sno_requires_grad(c->in[i])) return true;
  return false;
}

static int check_written(const sno_call *c, bool wanted) {
  const snt_tensor *x = c->in[0];
  const sno_meta *m = x ? x->meta : NULL;
  if (m && m->requires_grad && !m->node)
    return sn_fail("%s: this tensor is a leaf that requires a gradient, writing it would lose its history; use sn.no_grad() for an update", c->op->name);
  if (m && m->node && !wanted)
    return sn_fail("%s: not differentiable, but it would write a tensor that is tracked; detach() it first", c->op->name);
  return 0;
}

int sno_tape_check(const sno_call *c, bool wanted) {
  if (!sno_mode_now()->grad) return 0;
  if ((c->op->flags & SNO_WRITES) && check_written(c, wanted) < 0) return -1;
  if (!wanted) return 0;
  for (int i = 0; i < c->nin; i++) {
    const snt_tensor *t = c->in[i];
    const sno_meta *m = t ? t->meta : NULL;
    if (m && m->node && m->version != t->storage->version)
      return sn_fail("%s: input %d (%s, result of %s) was changed through another view by %s, so its gradient would be wrong; clone() before writing",
                     c->op->name, i + 1, SNT_SHAPE(t), sno_node_name(m->node), t->storage->writer ? t->storage->writer : "a write");
  }
  return 0;
}

static bool arg_saved(const sno_call *c, int input) {
  int n, at = 0, arg = 0;
  const sno_arg *a = sno_args(c->op, &n);
  for (int i = 0; i < n; i++) {
    if (a[i].kind != SNO_TENSOR && a[i].kind != SNO_TENSORS) continue;
    at += a[i].kind == SNO_TENSORS ? c->nlist : 1;
    if (input < at) return c->op->save_in >> arg & 1;
    arg++;
  }
  return false;
}

bool sno_tape_reads_written(const sno_call *c) {
  return (c->op->flags & SNO_WRITES) && c->nin > 0 && c->in[0] && (c->op->save_in & 1) && sno_writes_input(c, 0);
}

int sno_tape_called(sno_call *c) {
  const sno_op *op = c->op;
  const int nattr = sno_nattr(op);
  sno_node *n = new_node(c->nin, c->nout, nattr);
  if (n == NULL) return -1;
  n->op = op;
  n->nlist = c->nlist;
  n->half = c->half;
  memcpy(n->attr, c->attr, (size_t)nattr * sizeof *n->attr);
  for (int k = 0; k < nattr; k++)
    if (n->attr[k].kind == SNO_FOREIGN && !n->attr[k].absent) sno_foreign_retain(n->attr[k].p);
  link_inputs(n, c->in);
  for (int i = 0; i < c->nin; i++) {
    if (c->in[i] == NULL || !(op->save_in && arg_saved(c, i))) continue;
    const snt_tensor *x = i == 0 && c->before ? c->before : c->in[i];
    if (save(&n->in[i], x, x->storage->version) < 0) goto fail;
  }
  for (int k = 0; k < c->nout; k++)
    if ((op->save_out >> k & 1) && save(&n->out[k], c->out[k], c->out[k]->storage->version) < 0) goto fail;
  if (link_outputs(n, c->out) < 0) goto fail;
  sno_node_release(n);
  return 0;
fail:
  sno_node_release(n);
  return -1;
}

int sno_tape_custom(sno_foreign *f, int nin, snt_tensor *const *in, int nout, snt_tensor *const *out) {
  sno_node *n = new_node(nin, nout, 0);
  if (n == NULL) return -1;
  n->custom = sno_foreign_retain(f);
  link_inputs(n, in);
  const int rc = link_outputs(n, out);
  sno_node_release(n);
  return rc;
}
