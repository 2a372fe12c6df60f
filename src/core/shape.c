/* shape.c - facts and algebra of shapes and strides. */
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "core/tensor.h"

void snt_contiguous_strides(int ndim, const int64_t *shape, int64_t *stride) {
  int64_t step = 1;
  for (int i = ndim - 1; i >= 0; i--) {
    stride[i] = step;
    step *= shape[i] > 0 ? shape[i] : 1;
  }
}

int64_t snt_count(int ndim, const int64_t *shape) {
  int64_t n = 1;
  for (int i = 0; i < ndim; i++) n *= shape[i];
  return n;
}

int64_t snt_numel(const snt_tensor *t) { return snt_count(t->ndim, t->shape); }
size_t snt_nbytes(const snt_tensor *t) { return (size_t)snt_numel(t) * sn_size_of((sn_dtype)t->dtype); }

bool snt_is_contiguous(const snt_tensor *t) {
  int64_t step = 1;
  for (int i = t->ndim - 1; i >= 0; i--) {
    if (t->shape[i] == 0) return true;
    if (t->shape[i] != 1 && t->stride[i] != step) return false;
    step *= t->shape[i];
  }
  return true;
}

bool snt_same_shape(const snt_tensor *a, const snt_tensor *b) {
  return a->ndim == b->ndim && memcmp(a->shape, b->shape, a->ndim * sizeof *a->shape) == 0;
}

static void span(const snt_tensor *t, int64_t *lo, int64_t *hi) {
  *lo = *hi = t->offset;
  for (int i = 0; i < t->ndim; i++) {
    const int64_t d = (t->shape[i] - 1) * t->stride[i];
    if (d > 0) *hi += d;
    else *lo += d;
  }
  *hi += 1;
  *lo *= (int64_t)sn_size_of((sn_dtype)t->dtype);
  *hi *= (int64_t)sn_size_of((sn_dtype)t->dtype);
}

bool snt_may_overlap(const snt_tensor *a, const snt_tensor *b) {
  if (a->storage != b->storage || snt_numel(a) == 0 || snt_numel(b) == 0) return false;
  int64_t al, ah, bl, bh;
  span(a, &al, &ah);
  span(b, &bl, &bh);
  return al < bh && bl < ah;
}

bool snt_has_internal_overlap(const snt_tensor *t) {
  for (int i = 0; i < t->ndim; i++)
    if (t->shape[i] > 1 && t->stride[i] == 0) return true;
  return false;
}

int snt_check_shape(int ndim, const int64_t *shape, const char *who) {
  if (ndim > SNT_MAXDIM) return sn_fail("%s: %d dimensions asked for, at most %d are possible", who, ndim, SNT_MAXDIM);
  for (int i = 0; i < ndim; i++)
    if (shape[i] < 0) return sn_fail("%s: size %lld of dimension %d is negative", who, (long long)shape[i], i + 1);
  int64_t n;
  if (sn_mul_sizes(shape, ndim, &n) < 0) return sn_fail_prefix("%s: ", who);
  return 0;
}

const char *snt_shape_str(int ndim, const int64_t *shape, char *buf, size_t n) {
  if (ndim == 0) {
    snprintf(buf, n, "()");
    return buf;
  }
  size_t at = 0;
  for (int i = 0; i < ndim && at < n; i++) at += (size_t)snprintf(buf + at, n - at, i ? "x%lld" : "%lld", (long long)shape[i]);
  return buf;
}

int snt_broadcast(int na, const int64_t *a, int nb, const int64_t *b, int64_t *out, const char *who) {
  const int n = na > nb ? na : nb;
  int64_t both[SNT_MAXDIM]; /* out may be a or b */
  for (int i = 0; i < n; i++) {
    const int64_t x = i < n - na ? 1 : a[i - (n - na)], y = i < n - nb ? 1 : b[i - (n - nb)];
    if (x != y && x != 1 && y != 1)
      return sn_fail("%s: shapes %s and %s do not go together: dimension %d is %lld against %lld (equal, or one of them 1, would do)", who,
                     snt_shape_str(na, a, (char[96]){0}, 96), snt_shape_str(nb, b, (char[96]){0}, 96), i + 1, (long long)x, (long long)y);
    both[i] = x == 1 ? y : x;
  }
  memcpy(out, both, (size_t)n * sizeof *out);
  return n;
}

snt_tensor *snt_expand(const snt_tensor *x, int ndim, const int64_t *shape) {
  int64_t size[SNT_MAXDIM], stride[SNT_MAXDIM];
  const int lead = ndim - x->ndim;
  if (lead < 0 || ndim > SNT_MAXDIM) {
    sn_fail("expand: %d sizes for a tensor of %d dimensions (%s)", ndim, x->ndim, SNT_SHAPE(x));
    return NULL;
  }
  for (int i = 0; i < ndim; i++) {
    const int64_t have = i < lead ? 1 : x->shape[i - lead];
    size[i] = shape[i] == -1 && i >= lead ? have : shape[i];
    if (size[i] < 0 || (have != size[i] && have != 1)) {
      sn_fail("expand: %s cannot become %s: dimension %d is %lld, only 1 can grow", SNT_SHAPE(x), snt_shape_str(ndim, shape, (char[96]){0}, 96), i + 1, (long long)have);
      return NULL;
    }
    stride[i] = i < lead || have != size[i] ? 0 : x->stride[i - lead];
  }
  return snt_view_as(x, ndim, size, stride, x->offset);
}

/* Strides of x seen as `shape`: each new dimension must lie inside a run of old ones that follow one another in memory. */
static bool reshape_strides(const snt_tensor *x, int ndim, const int64_t *shape, int64_t *stride) {
  int64_t os[SNT_MAXDIM], ost[SNT_MAXDIM];
  int n = 0;
  for (int i = 0; i < x->ndim; i++)
    if (x->shape[i] != 1) { os[n] = x->shape[i]; ost[n++] = x->stride[i]; }
  int oi = 0, ni = 0;
  while (oi < n && ni < ndim) {
    int oj = oi + 1, nj = ni + 1;
    int64_t np = shape[ni], op = os[oi];
    while (np != op) {
      if (np < op) {
        if (nj == ndim) return false;
        np *= shape[nj++];
      } else {
        if (oj == n) return false;
        op *= os[oj++];
      }
    }
    for (int k = oi; k < oj - 1; k++)
      if (ost[k] != os[k + 1] * ost[k + 1]) return false;
    int64_t step = ost[oj - 1];
    for (int k = nj - 1; k >= ni; k--) {
      stride[k] = step;
      step *= shape[k];
    }
    oi = oj;
    ni = nj;
  }
  for (; ni < ndim; ni++) stride[ni] = 1; /* sizes of 1 at the end */
  return true;
}

snt_tensor *snt_reshape_view(const snt_tensor *x, int ndim, const int64_t *shape) {
  int64_t stride[SNT_MAXDIM];
  if (snt_is_contiguous(x) || snt_numel(x) == 0) return snt_view_as(x, ndim, shape, NULL, x->offset);
  return reshape_strides(x, ndim, shape, stride) ? snt_view_as(x, ndim, shape, stride, x->offset) : NULL;
}

snt_tensor *snt_permute(const snt_tensor *x, const int *dims) {
  int64_t shape[SNT_MAXDIM], stride[SNT_MAXDIM];
  for (int i = 0; i < x->ndim; i++) {
    shape[i] = x->shape[dims[i]];
    stride[i] = x->stride[dims[i]];
  }
  return snt_view_as(x, x->ndim, shape, stride, x->offset);
}

snt_tensor *snt_select(const snt_tensor *x, int dim, int64_t i) {
  int64_t shape[SNT_MAXDIM], stride[SNT_MAXDIM];
  for (int k = 0, j = 0; k < x->ndim; k++)
    if (k != dim) {
      shape[j] = x->shape[k];
      stride[j++] = x->stride[k];
    }
  return snt_view_as(x, x->ndim - 1, shape, stride, x->offset + i * x->stride[dim]);
}

snt_tensor *snt_narrow(const snt_tensor *x, int dim, int64_t start, int64_t length, int64_t step) {
  snt_tensor *v = snt_view(x);
  if (v == NULL) return NULL;
  v->shape[dim] = length;
  v->stride[dim] *= step;
  v->offset += start * x->stride[dim];
  return v;
}
