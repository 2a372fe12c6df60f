/* tensor.h - storage, and tensors as counted views on it. No gradients here.
 *
 * OWNERSHIP. Both are reference counted (atomic). A function that returns a tensor returns one new reference, which the
 * caller gives back with snt_release; a function that takes a tensor borrows it. The one exception is `diff`'s operation
 * functions (op.h), whose results belong to the innermost scope.
 * A storage never changes size. Two tensors alias when they share a storage. Strides and offset count elements.
 * Dimensions and positions count from 0 here; zero-size dimensions and 0-d tensors are legal.
 */
#ifndef SNT_TENSOR_H
#define SNT_TENSOR_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/dtype.h"

#define SNT_MAXDIM 8

/* Someone who reads a storage on another thread (a feed). `wait` returns when nothing of it is being read; it is called by the thread that is about
 * to write, which must be the one that gives the reader its work. */
typedef struct snt_reader { void (*wait)(struct snt_reader *); struct snt_reader *next; } snt_reader;

typedef struct snt_storage {
  int refs;            /* atomic */
  uint64_t id;         /* never used twice in a process (an atomic counter, from 1): how recordings know a storage */
  uint32_t version;    /* raised by every operation that writes (snt_storage_writing): what the tape checks */
  const char *writer;  /* name of the operation that wrote last (static), for the tape's message; NULL at first */
  size_t bytes;
  char *data;
  void (*free_data)(struct snt_storage *); /* NULL: from sn_alloc */
  void *owner;         /* for free_data: a mapping, a program's block, ... */
  snt_reader *readers;
} snt_storage;

typedef struct snt_tensor {
  int refs;            /* atomic */
  uint8_t dtype;       /* sn_dtype */
  uint8_t ndim;
  bool weak;           /* a Lua number: raises only the category in promotion */
  int64_t shape[SNT_MAXDIM];
  int64_t stride[SNT_MAXDIM];
  int64_t offset;
  snt_storage *storage; /* NULL once closed */
  struct sno_meta *meta; /* diff's: what the tape knows of it; NULL for most */
} snt_tensor;

/* diff sets this: frees a meta when its tensor dies. */
extern void (*snt_meta_free)(struct sno_meta *);

/* -- making and freeing: NULL after sn_fail */
snt_tensor *snt_new(sn_dtype t, int ndim, const int64_t *shape);    /* contiguous, uninitialised */
snt_tensor *snt_zeros(sn_dtype t, int ndim, const int64_t *shape);
snt_tensor *snt_scalar(sn_dtype t, double v);                       /* 0-d */
snt_tensor *snt_scalar_int(sn_dtype t, int64_t v);
snt_tensor *snt_view(const snt_tensor *x);                          /* a second tensor on the same storage: same shape, meta NULL */
snt_tensor *snt_view_as(const snt_tensor *x, int ndim, const int64_t *shape, const int64_t *stride, int64_t offset);
snt_tensor *snt_from_storage(snt_storage *s, sn_dtype t, int ndim, const int64_t *shape, const int64_t *stride, int64_t offset); /* retains s */
snt_tensor *snt_retain(snt_tensor *t);   /* t may be NULL */
void snt_release(snt_tensor *t);         /* t may be NULL */
void snt_close(snt_tensor *t);           /* drops the storage now; the tensor stays as a closed shell */
snt_storage *snt_storage_new(size_t bytes);
uint64_t snt_storage_last_id(void);      /* the newest id given out: a storage with a larger one is younger than this moment */
snt_storage *snt_storage_retain(snt_storage *s);
void snt_storage_release(snt_storage *s);
/* Before every write in place: waits for readers, raises the version. writer: a static name. */
void snt_storage_writing(snt_storage *s, const char *writer);
void snt_reader_add(snt_storage *s, snt_reader *r);    /* r->wait is set; r stays where it is until it is removed */
void snt_reader_remove(snt_storage *s, snt_reader *r);

/* -- facts */
int64_t snt_numel(const snt_tensor *t);
size_t snt_nbytes(const snt_tensor *t);               /* numel * size */
bool snt_is_contiguous(const snt_tensor *t);
bool snt_same_shape(const snt_tensor *a, const snt_tensor *b);
bool snt_may_overlap(const snt_tensor *a, const snt_tensor *b); /* share bytes, or may */
bool snt_has_internal_overlap(const snt_tensor *t);   /* a stride-0 dimension longer than 1: must not be written */
static inline void *snt_data(const snt_tensor *t) {   /* first element */
  return t->storage->data + t->offset * (int64_t)sn_size_of((sn_dtype)t->dtype);
}
void snt_contiguous_strides(int ndim, const int64_t *shape, int64_t *stride);
int64_t snt_count(int ndim, const int64_t *shape);    /* product; the shape has been checked */
int snt_check_shape(int ndim, const int64_t *shape, const char *who); /* ndim, negative sizes, overflow: -1 after sn_fail */
/* "8x3x28x28", "()" for 0-d; into buf, which is returned. */
const char *snt_shape_str(int ndim, const int64_t *shape, char *buf, size_t n);
#define SNT_SHAPE(t) snt_shape_str((t)->ndim, (t)->shape, (char[96]){0}, 96)

/* -- shape algebra: -1 after sn_fail naming `who` */
int snt_broadcast(int na, const int64_t *a, int nb, const int64_t *b, int64_t *out, const char *who); /* returns ndim */
snt_tensor *snt_expand(const snt_tensor *x, int ndim, const int64_t *shape);      /* view, strides 0 where expanded; -1 keeps */
snt_tensor *snt_reshape_view(const snt_tensor *x, int ndim, const int64_t *shape);/* view or NULL without message if strides forbid; one -1 is inferred before */
snt_tensor *snt_permute(const snt_tensor *x, const int *dims);                    /* view */
snt_tensor *snt_select(const snt_tensor *x, int dim, int64_t i);                  /* view, one dimension fewer */
snt_tensor *snt_narrow(const snt_tensor *x, int dim, int64_t start, int64_t length, int64_t step); /* view */

/* -- moving data (any dtypes, strides, devices of memory; conversion as C casts, float to int truncates, to bool is != 0) */
int snt_copy(snt_tensor *dst, const snt_tensor *src); /* src broadcasts to dst; overlapping views of one storage are handled; raises dst's version */
snt_tensor *snt_contiguous(const snt_tensor *x);      /* a new reference to x itself where it already is */
snt_tensor *snt_clone(const snt_tensor *x);           /* always new, contiguous */
snt_tensor *snt_to(const snt_tensor *x, sn_dtype t);
double snt_item(const snt_tensor *x);                 /* numel 1 */
int64_t snt_item_int(const snt_tensor *x);
void *snt_at(const snt_tensor *x, int64_t linear);    /* address of an element by logical index */

/* -- printing: numpy/torch like, aligned, truncated beyond 1000 elements, ends with shape and dtype. A malloc'd (sn_malloc) string. */
char *snt_to_string(const snt_tensor *x);

#endif
