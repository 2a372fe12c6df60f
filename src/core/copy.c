/* copy.c - moving data between tensors of any type and layout. */
#include <string.h>
#include "base/error.h"
#include "calc/cast.h"
#include "core/iter.h"
#include "base/thread.h"

#define COPY_GRAIN 65536
#define TURN_ROWS 128

typedef struct types { sn_dtype to, from; } types;

static void cast_row(void *ctx, int64_t n, char *const *p, const int64_t *s) {
  const types *t = ctx;
  snk_cast_row(n, p[0], s[0], t->to, p[1], s[1], t->from);
}

typedef struct turn { const snt_iter *it; int64_t per; size_t size; } turn;

/* Slices of a transposed copy: the outer dimensions numbered, the rows of the last two cut into blocks. */
static void turn_range(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const turn *t = ctx;
  const snt_iter *it = t->it;
  const int r = it->ndim - 2, c = it->ndim - 1;
  for (int64_t k = begin; k < end; k++) {
    int64_t rest = k / t->per;
    const int64_t row = k % t->per * TURN_ROWS, rows = it->shape[r] - row < TURN_ROWS ? it->shape[r] - row : TURN_ROWS;
    char *to = it->base[0] + row * it->stride[0][r];
    const char *from = it->base[1] + row * it->stride[1][r];
    for (int i = r - 1; i >= 0; i--) {
      to += rest % it->shape[i] * it->stride[0][i];
      from += rest % it->shape[i] * it->stride[1][i];
      rest /= it->shape[i];
    }
    snk_transpose_copy(rows, it->shape[c], to, it->stride[0][r], it->stride[0][c], from, it->stride[1][r], it->stride[1][c], t->size);
  }
}

/* The dimension along which the source's elements are side by side becomes the last but one: then whole lines of the cache are read. */
static void bring_rows(snt_iter *it, int64_t size) {
  const int r = it->ndim - 2;
  for (int i = 0; i < r; i++) {
    if (it->stride[1][i] != size || it->stride[1][r] == size) continue;
    int64_t *const pairs[3] = {it->shape, it->stride[0], it->stride[1]};
    for (int k = 0; k < 3; k++) {
      const int64_t t = pairs[k][i];
      pairs[k][i] = pairs[k][r];
      pairs[k][r] = t;
    }
  }
}

static void move(snt_tensor *dst, const snt_tensor *src) {
  snt_iter it;
  snt_iter_init(&it, 2, (const snt_tensor *const[]){dst, src});
  types t = {(sn_dtype)dst->dtype, (sn_dtype)src->dtype};
  const int64_t size = (int64_t)sn_size_of(t.to);
  if (t.to == t.from && it.ndim >= 2 && it.stride[0][it.ndim - 1] == size && it.stride[1][it.ndim - 1] != size &&
      it.stride[1][it.ndim - 1] != 0 && (bring_rows(&it, size), it.shape[it.ndim - 2] > 4)) {
    turn c = {&it, (it.shape[it.ndim - 2] + TURN_ROWS - 1) / TURN_ROWS, (size_t)size};
    int64_t outer = c.per;
    for (int i = 0; i < it.ndim - 2; i++) outer *= it.shape[i];
    sn_parallel(outer, 1 + COPY_GRAIN / (TURN_ROWS * it.shape[it.ndim - 1]), turn_range, &c);
    return;
  }
  snt_iter_run(&it, COPY_GRAIN, cast_row, &t);
}

int snt_copy(snt_tensor *dst, const snt_tensor *src) {
  int64_t shape[SNT_MAXDIM];
  const int n = snt_broadcast(dst->ndim, dst->shape, src->ndim, src->shape, shape, "copy");
  if (n < 0) return -1;
  bool fits = n == dst->ndim;
  for (int i = 0; fits && i < n; i++) fits = shape[i] == dst->shape[i];
  if (!fits) return sn_fail("copy: a tensor of shape %s does not fit into one of shape %s", SNT_SHAPE(src), SNT_SHAPE(dst));
  if (snt_has_internal_overlap(dst)) return sn_fail("copy: cannot write into an expanded tensor (%s); clone() it first", SNT_SHAPE(dst));
  snt_tensor *tmp = NULL;
  if (snt_may_overlap(dst, src) && (tmp = snt_clone(src)) == NULL) return -1;
  snt_storage_writing(dst->storage, "copy");
  move(dst, tmp ? tmp : src);
  snt_release(tmp);
  return 0;
}

snt_tensor *snt_to(const snt_tensor *x, sn_dtype t) {
  snt_tensor *y = snt_new(t, x->ndim, x->shape);
  if (y) move(y, x);
  return y;
}

snt_tensor *snt_clone(const snt_tensor *x) { return snt_to(x, (sn_dtype)x->dtype); }

snt_tensor *snt_contiguous(const snt_tensor *x) {
  return snt_is_contiguous(x) ? snt_retain((snt_tensor *)(uintptr_t)x) : snt_clone(x);
}

double snt_item(const snt_tensor *x) { return sn_load_double(snt_data(x), (sn_dtype)x->dtype); }
int64_t snt_item_int(const snt_tensor *x) { return sn_load_int(snt_data(x), (sn_dtype)x->dtype); }

void *snt_at(const snt_tensor *x, int64_t linear) {
  int64_t off = x->offset;
  for (int i = x->ndim - 1; i >= 0; i--) {
    off += linear % x->shape[i] * x->stride[i];
    linear /= x->shape[i];
  }
  return x->storage->data + off * (int64_t)sn_size_of((sn_dtype)x->dtype);
}
