/* iter.c - the walk over strided operands. */
#include "core/iter.h"
#include <stdlib.h>
#include "base/thread.h"

static bool mergeable(const snt_iter *it, int i) { /* dimension i with i+1 */
  for (int k = 0; k < it->nops; k++)
    if (it->stride[k][i] != it->stride[k][i + 1] * it->shape[i + 1]) return false;
  return true;
}

static void remove_dim(snt_iter *it, int d) {
  for (int i = d; i + 1 < it->ndim; i++) {
    it->shape[i] = it->shape[i + 1];
    for (int k = 0; k < it->nops; k++) it->stride[k][i] = it->stride[k][i + 1];
  }
  it->ndim--;
}

/* Should dimension i run inside dimension j (i < j now means j runs inside)? By the destination's strides, then the others'. */
static bool belongs_inside(const snt_iter *it, int i, int j) {
  for (int k = 0; k < it->nops; k++) {
    const int64_t a = llabs(it->stride[k][i]), b = llabs(it->stride[k][j]);
    if (a == b || a == 0 || b == 0) continue;
    return a < b;
  }
  return false;
}

static void swap_dims(snt_iter *it, int i, int j) {
  int64_t t = it->shape[i];
  it->shape[i] = it->shape[j];
  it->shape[j] = t;
  for (int k = 0; k < it->nops; k++) {
    t = it->stride[k][i];
    it->stride[k][i] = it->stride[k][j];
    it->stride[k][j] = t;
  }
}

void snt_iter_init(snt_iter *it, int nops, const snt_tensor *const *ops) {
  const snt_tensor *d = ops[0];
  it->nops = nops;
  it->ndim = d->ndim;
  it->numel = snt_numel(d);
  for (int i = 0; i < d->ndim; i++) it->shape[i] = d->shape[i];
  for (int k = 0; k < nops; k++) {
    const snt_tensor *t = ops[k];
    const int64_t size = (int64_t)sn_size_of((sn_dtype)t->dtype);
    const int lead = d->ndim - t->ndim;
    it->base[k] = snt_data(t);
    for (int i = 0; i < d->ndim; i++)
      it->stride[k][i] = i < lead || t->shape[i - lead] == 1 ? 0 : t->stride[i - lead] * size;
  }
  for (int i = it->ndim - 1; i >= 0; i--)
    if (it->shape[i] == 1) remove_dim(it, i);
  for (int i = 1; i < it->ndim; i++)
    for (int j = i; j > 0 && belongs_inside(it, j - 1, j); j--) swap_dims(it, j - 1, j);
  for (int i = it->ndim - 2; i >= 0; i--)
    if (mergeable(it, i)) {
      it->shape[i + 1] *= it->shape[i];
      remove_dim(it, i);
    }
  if (it->ndim == 0) {
    it->ndim = 1;
    it->shape[0] = it->numel;
    for (int k = 0; k < nops; k++) it->stride[k][0] = (int64_t)sn_size_of((sn_dtype)ops[k]->dtype);
  }
}

typedef struct job { const snt_iter *it; snt_row *fn; void *ctx; } job;

/* Elements begin..end-1 in the iterator's order. */
static void run_range(void *p, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const job *j = p;
  const snt_iter *it = j->it;
  const int last = it->ndim - 1;
  int64_t at[SNT_MAXDIM], s[SNT_ITER_MAX], rest = begin, from;
  char *q[SNT_ITER_MAX], *row[SNT_ITER_MAX]; /* where the present row begins */
  for (int i = last; i >= 0; i--) {
    at[i] = rest % it->shape[i];
    rest /= it->shape[i];
  }
  from = at[last];
  for (int k = 0; k < it->nops; k++) {
    s[k] = it->stride[k][last];
    row[k] = it->base[k];
    for (int i = 0; i < last; i++) row[k] += at[i] * it->stride[k][i];
  }
  for (;;) {
    const int64_t n = it->shape[last] - from < end - begin ? it->shape[last] - from : end - begin;
    for (int k = 0; k < it->nops; k++) q[k] = row[k] + from * s[k];
    j->fn(j->ctx, n, q, s);
    if ((begin += n) >= end) return;
    from = 0;
    for (int i = last - 1; i >= 0; i--) {
      const bool over = ++at[i] == it->shape[i];
      for (int k = 0; k < it->nops; k++) row[k] += over ? (1 - it->shape[i]) * it->stride[k][i] : it->stride[k][i];
      if (!over) break;
      at[i] = 0;
    }
  }
}

void snt_iter_run(const snt_iter *it, int64_t grain, snt_row *fn, void *ctx) {
  if (it->numel == 0) return;
  if (it->ndim == 1 && it->numel <= grain) {
    int64_t s[SNT_ITER_MAX];
    char *q[SNT_ITER_MAX];
    for (int k = 0; k < it->nops; k++) {
      q[k] = it->base[k];
      s[k] = it->stride[k][0];
    }
    fn(ctx, it->numel, q, s);
    return;
  }
  job j = {it, fn, ctx};
  sn_parallel(it->numel, grain, run_range, &j);
}
