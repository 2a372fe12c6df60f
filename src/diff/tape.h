/* tape.h - reverse mode: what is kept of a call, and the walk backward. */
#ifndef SNO_TAPE_H
#define SNO_TAPE_H
#include "diff/op.h"

typedef struct sno_node sno_node;

/* What the tape knows of a tensor. */
typedef struct sno_meta {
  bool requires_grad;
  sno_node *node;          /* the call that made it; NULL for a leaf */
  int out_index;
  snt_tensor *grad;        /* leaves: the accumulated gradient, NULL before the first and after zero_grad */
  uint32_t version;        /* of a result: its storage's version when it was made; a difference means another view wrote */
  sno_foreign *handle;     /* script's: so that w.grad is the same object each time */
} sno_meta;

bool sno_requires_grad(const snt_tensor *t);       /* a leaf marked so, or the result of something tracked */
int sno_set_requires_grad(snt_tensor *t, bool on); /* leaves of floating dtype only: -1 after sn_fail */
snt_tensor *sno_grad_of(const snt_tensor *t);      /* borrowed, may be NULL */
/* The same for who goes on to use it: a recording then depends on where it is, and on whether there is one. */
snt_tensor *sno_take_grad(snt_tensor *t);
int sno_set_grad(snt_tensor *t, snt_tensor *g);    /* retains; g may be NULL; shape and dtype checked */
snt_tensor *sno_detach(snt_tensor *t);             /* scope-owned view without meta */

/* Gradients of `root` (0-d or with `seed` of its shape) into the leaves' grad. Frees the graph as it walks unless `retain`.
 * create_graph: the gradients are themselves tracked (implies retain). -1 after sn_fail; leaves are untouched on failure
 * before the walk and complete up to the failing node otherwise. */
int sno_backward(snt_tensor *root, snt_tensor *seed, bool retain, bool create_graph);
/* Gradients with respect to `xs` alone, nothing accumulated: out[i] is scope-owned, NULL where root does not depend on it. */
int sno_gradients(snt_tensor *root, snt_tensor *seed, int n, snt_tensor *const *xs, snt_tensor **out, bool retain, bool create_graph);

/* The attributes of the tracked call of `op` that made t and nothing has written since; NULL if it was not made so. in[i]: its tensor input i, where
 * the tape has it as it was: saved and not written since, or a leaf. */
const sno_val *sno_made_by(const snt_tensor *t, const sno_op *op, int nin, snt_tensor **in);

bool sno_graph_freed(const snt_tensor *t);          /* the graph behind a result was walked and freed */

/* Called by the dispatcher: does the tape want this call? */
bool sno_tape_wants(const sno_call *c);
/* Before a call: in-place and stale-view rules. -1 after sn_fail. */
int sno_tape_check(const sno_call *c, bool wanted);
/* Would a wanted write overwrite an input 0 that its own backward reads? */
bool sno_tape_reads_written(const sno_call *c);
/* After a wanted call: links its outputs to a new node. -1 after sn_fail (nothing was linked). */
int sno_tape_called(sno_call *c);
/* Link results computed outside (an operation written in Lua): f->backward is called with gy, fills gx. */
int sno_tape_custom(sno_foreign *f, int nin, snt_tensor *const *in, int nout, snt_tensor *const *out);

/* Sum g over what broadcasting added, so that it has the spec's shape: an operation; scope-owned. */
snt_tensor *sno_sum_to(snt_tensor *g, const sno_out *spec);

#endif
