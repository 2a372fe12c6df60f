/* storage.c - counted storage and counted tensors: making, sharing, freeing. */
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "core/tensor.h"

void (*snt_meta_free)(struct sno_meta *); /* atomic */
static uint64_t last_id; /* atomic */

uint64_t snt_storage_last_id(void) { return __atomic_load_n(&last_id, __ATOMIC_RELAXED); }

snt_storage *snt_storage_new(size_t bytes) {
  snt_storage *s = sn_take(sizeof *s);
  if (s == NULL) return NULL;
  char *data = sn_alloc(bytes);
  if (data == NULL) {
    sn_give(s, sizeof *s);
    return NULL;
  }
  *s = (snt_storage){.refs = 1, .id = __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED), .bytes = bytes, .data = data};
  return s;
}

snt_storage *snt_storage_retain(snt_storage *s) {
  if (s) __atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
  return s;
}

void snt_storage_release(snt_storage *s) {
  if (s == NULL || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) != 0) return;
  if (s->free_data) s->free_data(s);
  else sn_release(s->data, s->bytes);
  sn_give(s, sizeof *s);
}

void snt_storage_writing(snt_storage *s, const char *writer) {
  for (snt_reader *r = s->readers; r; r = r->next) r->wait(r);
  s->version++;
  s->writer = writer;
}

void snt_reader_add(snt_storage *s, snt_reader *r) {
  r->next = s->readers;
  s->readers = r;
}

void snt_reader_remove(snt_storage *s, snt_reader *r) {
  snt_reader **p = &s->readers;
  while (*p != r) p = &(*p)->next;
  *p = r->next;
}

static void free_meta(struct sno_meta *m) {
  void (*f)(struct sno_meta *) = __atomic_load_n(&snt_meta_free, __ATOMIC_RELAXED);
  if (f) f(m);
}

_Static_assert(sizeof(snt_tensor) <= 256 && sizeof(snt_storage) <= 256, "more than sn_take gives");
static snt_tensor *shell(snt_storage *s, sn_dtype t, int ndim, const int64_t *shape) {
  snt_tensor *x = sn_take(sizeof *x);
  if (x == NULL) return NULL;
  x->refs = 1;
  x->dtype = (uint8_t)t;
  x->ndim = (uint8_t)ndim;
  x->weak = false;
  x->offset = 0;
  x->storage = s;
  x->meta = NULL;
  for (int i = 0; i < ndim; i++) x->shape[i] = shape[i];
  return x;
}

snt_tensor *snt_new(sn_dtype t, int ndim, const int64_t *shape) {
  int64_t n;
  if (ndim > SNT_MAXDIM) { sn_fail("a tensor has at most %d dimensions, %d were asked for", SNT_MAXDIM, ndim); return NULL; }
  if (sn_mul_sizes(shape, ndim, &n) < 0) return NULL;
  int64_t bytes;
  if (__builtin_mul_overflow(n, (int64_t)sn_size_of(t), &bytes)) { sn_fail("a tensor of shape %s is too large", snt_shape_str(ndim, shape, (char[96]){0}, 96)); return NULL; }
  snt_storage *s = snt_storage_new((size_t)bytes);
  if (s == NULL) {
    if (sn_error_code() == SN_ERROR_MEMORY && bytes > 0) sn_fail_prefix("%s tensor of shape %s: ", sn_dtypes[t].name, snt_shape_str(ndim, shape, (char[96]){0}, 96));
    return NULL;
  }
  snt_tensor *x = shell(s, t, ndim, shape);
  if (x == NULL) {
    snt_storage_release(s);
    return NULL;
  }
  snt_contiguous_strides(ndim, shape, x->stride);
  return x;
}

snt_tensor *snt_zeros(sn_dtype t, int ndim, const int64_t *shape) {
  snt_tensor *x = snt_new(t, ndim, shape);
  if (x) memset(x->storage->data, 0, snt_nbytes(x));
  return x;
}

snt_tensor *snt_scalar(sn_dtype t, double v) {
  snt_tensor *x = snt_new(t, 0, NULL);
  if (x) sn_store_double(x->storage->data, t, v);
  return x;
}

snt_tensor *snt_scalar_int(sn_dtype t, int64_t v) {
  snt_tensor *x = snt_new(t, 0, NULL);
  if (x) sn_store_int(x->storage->data, t, v);
  return x;
}

snt_tensor *snt_from_storage(snt_storage *s, sn_dtype t, int ndim, const int64_t *shape, const int64_t *stride, int64_t offset) {
  snt_tensor *x = shell(s, t, ndim, shape);
  if (x == NULL) return NULL;
  snt_storage_retain(s);
  x->offset = offset;
  if (stride) memcpy(x->stride, stride, (size_t)ndim * sizeof *stride);
  else snt_contiguous_strides(ndim, shape, x->stride);
  return x;
}

snt_tensor *snt_view_as(const snt_tensor *x, int ndim, const int64_t *shape, const int64_t *stride, int64_t offset) {
  return snt_from_storage(x->storage, (sn_dtype)x->dtype, ndim, shape, stride, offset);
}

snt_tensor *snt_view(const snt_tensor *x) { return snt_view_as(x, x->ndim, x->shape, x->stride, x->offset); }

snt_tensor *snt_retain(snt_tensor *t) {
  if (t) __atomic_add_fetch(&t->refs, 1, __ATOMIC_RELAXED);
  return t;
}

void snt_release(snt_tensor *t) {
  if (t == NULL || __atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL) != 0) return;
  if (t->meta) free_meta(t->meta);
  snt_storage_release(t->storage);
  sn_give(t, sizeof *t);
}

void snt_close(snt_tensor *t) {
  if (t->meta) free_meta(t->meta);
  t->meta = NULL;
  snt_storage_release(t->storage);
  t->storage = NULL;
}
