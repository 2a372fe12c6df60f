/* backward.c - the walk: gradients from a root to the leaves, newest node first.
 *
 * Nodes wait in a heap by creation number. A node's consumers are all newer, so when it is taken every gradient for it has
 * arrived. No recursion: a chain of a million nodes uses a heap of one.
 */
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "diff/map.h"
#include "diff/node.h"
#include "diff/ops.h"
#include "diff/tape.h"

typedef struct walk {
  sno_node **heap;
  size_t n, room;
  bool retain, create;
  int nx;                    /* sno_gradients: what is wanted; 0 means the leaves' grad */
  snt_tensor *const *xs;
  snt_tensor **found;        /* nx; one reference each */
} walk;

static int push(walk *w, sno_node *n) {
  if (w->n == w->room) {
    size_t room = w->room ? w->room * 2 : 64;
    sno_node **p = sn_realloc(w->heap, room * sizeof *p);
    if (p == NULL) return -1;
    w->heap = p;
    w->room = room;
  }
  size_t i = w->n++;
  for (; i > 0 && w->heap[(i - 1) / 2]->seq < n->seq; i = (i - 1) / 2) w->heap[i] = w->heap[(i - 1) / 2];
  w->heap[i] = sno_node_retain(n);
  n->queued = true;
  return 0;
}

static sno_node *pop(walk *w) {
  sno_node *top = w->heap[0], *last = w->heap[--w->n];
  size_t i = 0;
  for (size_t child; (child = 2 * i + 1) < w->n; i = child) {
    if (child + 1 < w->n && w->heap[child + 1]->seq > w->heap[child]->seq) child++;
    if (w->heap[child]->seq <= last->seq) break;
    w->heap[i] = w->heap[child];
  }
  if (w->n) w->heap[i] = last;
  top->queued = false;
  return top;
}

/* *slot += g. A gradient that nobody else holds is taken as it is, else copied, so that leaves never share storage. */
static int accumulate(walk *w, snt_tensor **slot, snt_tensor *g, bool leaf) {
  snt_tensor *sum;
  if (*slot == NULL) {
    const bool alone = g->refs == 1 && g->storage->refs == 1 && snt_is_contiguous(g);
    sum = !leaf || alone || w->create ? g : sno_call1(&sno_op_clone, g);
  } else if (leaf && !w->create) {
    return sno_call2(&sno_op_add_, *slot, g) ? 0 : -1; /* the grad stays the same object, and the same memory */
  } else {
    sum = sno_call2(&sno_op_add, *slot, g);
  }
  if (sum == NULL) return -1;
  snt_retain(sum);
  snt_release(*slot);
  *slot = sum;
  return 0;
}

static int deliver_leaf(walk *w, snt_tensor *leaf, snt_tensor *g) {
  if (w->nx == 0) {
    sno_effect();
    sno_recorder *r = sno_mode_now()->recorder;
    if (r) r->leaf(r, leaf);
    return accumulate(w, &leaf->meta->grad, g, true);
  }
  for (int i = 0; i < w->nx; i++)
    if (w->xs[i] == leaf) return accumulate(w, &w->found[i], g, false);
  return 0;
}

static int deliver(walk *w, const sno_edge *e, snt_tensor *g) {
  if (e->leaf) return deliver_leaf(w, e->leaf, g);
  sno_node *n = e->node;
  if (n->freed)
    return sn_fail("backward: the graph of %s was freed by an earlier backward; give retain_graph=true to the first one to walk it twice", sno_node_name(n));
  if (accumulate(w, &n->gy[e->index], g, false) < 0) return -1;
  return n->queued ? 0 : push(w, n);
}

/* A saved tensor as the backward sees it: itself, or, when the backward is tracked, with its place in the graph. */
static snt_tensor *unpack(walk *w, sno_node *n, const sno_saved *s, int input, int output) {
  if (s->t == NULL) return NULL;
  if (s->t->storage == NULL || s->t->storage->version != s->version) {
    sn_fail("backward of %s: %s %d (%s), which it needs, was overwritten by %s; use the form without _ or clone() it before",
            sno_node_name(n), output < 0 ? "input" : "its result", (output < 0 ? input : output) + 1, SNT_SHAPE(s->t),
            s->t->storage && s->t->storage->writer ? s->t->storage->writer : "a write in place");
    return NULL;
  }
  if (!w->create) return s->t;
  if (output < 0 && n->edge[input].leaf) return n->edge[input].leaf;
  sno_node *from = output < 0 ? n->edge[input].node : n;
  snt_tensor *t = sno_own(snt_view(s->t));
  if (t == NULL || from == NULL) return t;
  if ((t->meta = sn_calloc(1, sizeof *t->meta)) == NULL) return NULL;
  t->meta->node = sno_node_retain(from);
  t->meta->out_index = output < 0 ? n->edge[input].index : output;
  t->meta->version = s->version;
  return t;
}

/* Bit i: sno_gradients is asked for the gradient of input i, the result of a call. */
static uint32_t asked_inputs(const walk *w, const sno_node *n) {
  uint32_t asked = 0;
  for (int k = 0; k < w->nx; k++) {
    const sno_meta *m = w->xs[k]->meta;
    if (m == NULL || m->node == NULL) continue;
    for (int i = 0; i < n->nin && i < 32; i++)
      if (n->edge[i].node == m->node && n->edge[i].index == m->out_index) asked |= UINT32_C(1) << i;
  }
  return asked;
}

static int run_node(walk *w, sno_node *n, snt_tensor **tmp, bool *want) {
  snt_tensor **in = tmp, **gx = tmp + n->nin, **out = tmp + 2 * n->nin;
  for (int i = 0; i < n->nin; i++) {
    gx[i] = NULL;
    want[i] = n->edge[i].node || n->edge[i].leaf;
    in[i] = unpack(w, n, &n->in[i], i, -1);
    if (n->in[i].t && in[i] == NULL) return -1;
  }
  for (int k = 0; k < n->nout; k++) {
    out[k] = unpack(w, n, &n->out[k], -1, k);
    if (n->out[k].t && out[k] == NULL) return -1;
  }
  sno_back b = {.op = n->op, .create_graph = w->create, .nin = n->nin, .nout = n->nout, .in = in, .out = out, .in_spec = n->in_spec,
                .out_spec = n->out_spec, .attr = n->attr, .nlist = n->nlist, .gy = n->gy, .want = want, .asked = asked_inputs(w, n), .gx = gx};
  if (n->op && w->create && (n->op->flags & SNO_ONCE))
    return sn_fail("backward: the gradient of %s cannot itself be differentiated", n->op->name);
  sno_mode *mode = sno_mode_now();
  const bool half = mode->half;
  mode->half = n->half;
  const int rc = n->op ? n->op->backward(&b) : n->custom->backward(n->custom, &b);
  mode->half = half;
  if (rc < 0) return -1;
  for (int i = 0; i < n->nin; i++)
    if (want[i] && gx[i] && deliver(w, &n->edge[i], gx[i]) < 0) return -1;
  return 0;
}

static void clear_gy(sno_node *n) {
  for (int k = 0; k < n->nout; k++) {
    snt_release(n->gy[k]);
    n->gy[k] = NULL;
  }
}

static int step(walk *w, sno_node *n) {
  for (int i = 0; i < w->nx; i++) { /* a wanted tensor inside the graph: its gradient is complete now */
    const sno_meta *m = w->xs[i]->meta;
    if (m && m->node == n && n->gy[m->out_index] && w->found[i] == NULL) w->found[i] = snt_retain(n->gy[m->out_index]);
  }
  snt_tensor *few[32], **tmp = few;
  bool fewb[32], *want = fewb;
  const size_t need = (size_t)(2 * n->nin + n->nout);
  if (need > 32) {
    if ((tmp = sn_malloc(need * (sizeof *tmp + sizeof *want))) == NULL) return -1;
    want = (bool *)(tmp + need);
  }
  const size_t mark = sno_scope_open();
  const int rc = run_node(w, n, tmp, want);
  clear_gy(n);
  sno_scope_close(mark);
  if (tmp != few) sn_free(tmp);
  if (rc == 0 && !w->retain) {
    n->freed = true;
    sno_effect();
    sno_node_drop_saved(n);
  }
  return rc;
}

static int walk_from(walk *w, snt_tensor *root, snt_tensor *seed) {
  const sno_edge e = {.node = root->meta->node, .leaf = root->meta->node ? NULL : root, .index = root->meta->out_index};
  int rc = deliver(w, &e, seed);
  while (rc == 0 && w->n) {
    sno_node *n = pop(w);
    rc = step(w, n);
    sno_node_release(n);
  }
  while (w->n) { /* failed: forget what was on the way */
    sno_node *n = pop(w);
    clear_gy(n);
    sno_node_release(n);
  }
  sn_free(w->heap);
  return rc;
}

static snt_tensor *check_root(snt_tensor *root, snt_tensor *seed, const char *who) {
  if (root->storage == NULL) { sn_fail("%s: the tensor is closed", who); return NULL; }
  if (!sno_requires_grad(root)) {
    sn_fail("%s: nothing here requires a gradient; mark parameters with requires_grad_() and compute outside sn.no_grad()", who);
    return NULL;
  }
  if (seed == NULL) {
    if (snt_numel(root) != 1) {
      sn_fail("%s: the tensor has %lld elements (%s); reduce it to one (sum, mean) or give a gradient of its shape", who,
              (long long)snt_numel(root), SNT_SHAPE(root));
      return NULL;
    }
    sno_val size = sno_ints(root->ndim, root->shape);
    return sno_run(&sno_op_ones, 0, NULL, SNO_ATTRS(size, ((sno_val){.kind = SNO_DTYPE, .i = root->dtype})));
  }
  if (!snt_same_shape(root, seed)) {
    sn_fail("%s: the gradient given is %s, the tensor is %s", who, SNT_SHAPE(seed), SNT_SHAPE(root));
    return NULL;
  }
  sno_val a = {.kind = SNO_DTYPE, .i = root->dtype};
  return seed->dtype == root->dtype ? seed : sno_run(&sno_op_to, 1, &seed, 1, &a);
}

static int run_walk(walk *w, snt_tensor *root, snt_tensor *seed, const char *who) {
  sno_mode *mode = sno_mode_now();
  const bool grad = mode->grad;
  const int autocast = mode->autocast;
  const size_t mark = sno_scope_open();
  mode->grad = w->create;
  mode->autocast = -1; /* gradients have the types of the forward operations, wherever backward is called */
  snt_tensor *g = check_root(root, seed, who);
  const int rc = g ? walk_from(w, root, g) : -1;
  mode->grad = grad;
  mode->autocast = autocast;
  sno_scope_close(mark);
  return rc;
}

int sno_backward(snt_tensor *root, snt_tensor *seed, bool retain, bool create_graph) {
  walk w = {.retain = retain || create_graph, .create = create_graph};
  return run_walk(&w, root, seed, "backward");
}

int sno_gradients(snt_tensor *root, snt_tensor *seed, int n, snt_tensor *const *xs, snt_tensor **out, bool retain, bool create_graph) {
  for (int i = 0; i < n; i++) {
    out[i] = NULL;
    if (!sno_requires_grad(xs[i])) return sn_fail("grad: tensor %d does not require a gradient; mark it with requires_grad_() before the computation", i + 1);
  }
  if (n == 0) return 0;
  walk w = {.retain = retain || create_graph, .create = create_graph, .nx = n, .xs = xs, .found = out};
  const int rc = run_walk(&w, root, seed, "grad");
  for (int i = 0; i < n; i++) {
    if (rc < 0) { snt_release(out[i]); out[i] = NULL; }
    else out[i] = sno_own(out[i]);
  }
  return rc;
}
