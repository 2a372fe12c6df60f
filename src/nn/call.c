/* call.c - how layers, losses and optimizers call operations: by name, with options by name. */
#include <stdatomic.h>
#include <string.h>
#include "base/error.h"
#include "nn/nn.h"

#define BUCKETS 64

/* The table is a list; what layers use again and again is found by a hash of its name. */
const sno_op *snn_find_op(const char *name) {
  static const sno_op *_Atomic found[BUCKETS];
  unsigned h = 5381;
  for (const char *s = name; *s; s++) h = h * 33 ^ (unsigned char)*s;
  const sno_op *op = atomic_load_explicit(&found[h % BUCKETS], memory_order_relaxed);
  if (op && strcmp(op->name, name) == 0) return op;
  op = sno_find(name);
  if (op) atomic_store_explicit(&found[h % BUCKETS], op, memory_order_relaxed);
  else sn_fail("there is no operation '%s' in this build", name);
  return op;
}

/* Values in the order of the descriptor; how many, or -1. */
static int arrange(const sno_op *op, int nopt, const snn_opt *opt, sno_val *to) {
  int n, k = 0;
  const sno_arg *a = sno_args(op, &n);
  for (int i = 0; i < n; i++) {
    if (a[i].kind == SNO_TENSOR || a[i].kind == SNO_TENSORS) continue;
    to[k] = (sno_val){.absent = true};
    for (int j = 0; j < nopt; j++)
      if (strcmp(opt[j].name, a[i].name) == 0) to[k] = opt[j].v;
    k++;
  }
  for (int j = 0; j < nopt; j++) { /* a name nobody knows is a mistake of ours, but not one to crash on */
    int i = 0;
    while (i < n && strcmp(a[i].name, opt[j].name) != 0) i++;
    if (i == n) return sn_fail("%s has no option '%s'", op->name, opt[j].name);
  }
  return k;
}

int snn_op_list(const char *name, int nlist, int nin, snt_tensor *const *in, int nopt, const snn_opt *opt) {
  sno_val attr[SNO_MAXATTR];
  snt_tensor *out[SNO_MAXOUT] = {NULL};
  const sno_op *op = snn_find_op(name);
  const int n = op ? arrange(op, nopt, opt, attr) : -1;
  return n < 0 ? -1 : sno_invoke(op, nin, in, nlist, n, attr, out, NULL, NULL);
}

/* Tensors that are not given at the end are absent. */
snt_tensor *snn_op(const char *name, int nin, snt_tensor *const *in, int nopt, const snn_opt *opt) {
  sno_val attr[SNO_MAXATTR];
  snt_tensor *all[8] = {NULL};
  const sno_op *op = snn_find_op(name);
  const int n = op ? arrange(op, nopt, opt, attr) : -1;
  if (n < 0) return NULL;
  int narg, want = 0;
  const sno_arg *a = sno_args(op, &narg);
  for (int i = 0; i < narg && want < 8; i++) want += a[i].kind == SNO_TENSOR;
  for (int i = 0; i < nin && i < 8; i++) all[i] = in[i];
  return sno_run(op, want, all, n, attr);
}
