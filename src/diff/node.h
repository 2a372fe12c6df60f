/* node.h - a call as the tape keeps it. Private to tape.c and backward.c. */
#ifndef SNO_NODE_H
#define SNO_NODE_H
#include "diff/tape.h"

/* Where the gradient of an input goes: to the node that made it, or to a leaf. Both NULL: nowhere. */
typedef struct sno_edge { sno_node *node; snt_tensor *leaf; int index; } sno_edge;

/* A tensor kept for the backward: a private view, with the version its storage had. */
typedef struct sno_saved { snt_tensor *t; uint32_t version; } sno_saved;

struct sno_node {
  int refs;               /* atomic */
  bool freed;             /* walked without retain: saved tensors are gone */
  bool half;              /* sno_call.half: so are its gradients' products */
  bool queued;            /* in the heap of the present walk */
  const sno_op *op;       /* NULL: custom */
  sno_foreign *custom;
  uint64_t seq;           /* creation order: a larger one is never an input of a smaller */
  int nin, nout, nlist, nattr;
  sno_edge *edge;         /* nin */
  sno_saved *in, *out;    /* nin, nout; t NULL where not saved */
  sno_out *in_spec, *out_spec;
  snt_tensor **gy;        /* nout: gradients arrived so far in this walk */
  sno_val *attr;
  sno_node *next_dead;    /* freeing is a loop, not a recursion */
};

const char *sno_node_name(const sno_node *n);
sno_node *sno_node_retain(sno_node *n);
void sno_node_release(sno_node *n);
void sno_node_drop_saved(sno_node *n); /* after the walk: saved tensors, edges, attributes' objects */

#endif
