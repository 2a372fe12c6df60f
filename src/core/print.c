/* print.c - a tensor as text: aligned columns, cut in the middle when long, shape and dtype at the end. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "core/tensor.h"

#define EDGE 3        /* elements shown at either end of a dimension that is cut */
#define FULL 1000     /* tensors up to this many elements are shown whole */

typedef struct text { char *s; size_t n, room; bool failed; } text;
typedef struct style { bool cut, exponent, integer; int width, digits; } style;

static void put(text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(text *t, const char *fmt, ...) {
  if (t->failed) return;
  char buf[128];
  va_list ap;
  va_start(ap, fmt);
  const int n = vsnprintf(buf, sizeof buf, fmt, ap);
  va_end(ap);
  if (t->n + (size_t)n + 1 > t->room) {
    const size_t room = 2 * t->room + 256;
    char *s = sn_realloc(t->s, room);
    if (s == NULL) { t->failed = true; return; }
    t->s = s;
    t->room = room;
  }
  memcpy(t->s + t->n, buf, (size_t)n + 1);
  t->n += (size_t)n;
}

static bool shown(const style *st, int64_t i, int64_t n) { return !st->cut || n <= 2 * EDGE || i < EDGE || i >= n - EDGE; }

static int format_one(char *buf, size_t n, const style *st, const snt_tensor *x, int64_t offset) {
  const char *p = x->storage->data + offset * (int64_t)sn_size_of((sn_dtype)x->dtype);
  const sn_dtype t = (sn_dtype)x->dtype;
  if (t == SN_BOOL) return snprintf(buf, n, "%s", *p ? "true" : "false");
  if (!sn_is_float(t)) return snprintf(buf, n, "%lld", (long long)sn_load_int(p, t));
  const double v = sn_load_double(p, t);
  if (isnan(v)) return snprintf(buf, n, "nan");
  if (isinf(v)) return snprintf(buf, n, v > 0 ? "inf" : "-inf");
  if (st->exponent) return snprintf(buf, n, "%.4e", v);
  return snprintf(buf, n, st->integer ? "%.0f." : "%.4f", v);
}

/* Look at every shown element once for magnitude, then once for width. */
static void measure(style *st, const snt_tensor *x, int dim, int64_t offset, int pass, double *lo, double *hi) {
  if (dim == x->ndim) {
    if (pass == 1) {
      char buf[64];
      const int w = format_one(buf, sizeof buf, st, x, offset);
      if (w > st->width) st->width = w;
      return;
    }
    const double v = sn_load_double(x->storage->data + offset * (int64_t)sn_size_of((sn_dtype)x->dtype), (sn_dtype)x->dtype), a = fabs(v);
    if (!isfinite(v)) return;
    if (v != floor(v)) st->integer = false;
    if (a > *hi) *hi = a;
    if (a > 0 && a < *lo) *lo = a;
    return;
  }
  for (int64_t i = 0; i < x->shape[dim]; i++) {
    if (!shown(st, i, x->shape[dim])) { i = x->shape[dim] - EDGE - 1; continue; }
    measure(st, x, dim + 1, offset + i * x->stride[dim], pass, lo, hi);
  }
}

static void print_dim(text *t, const style *st, const snt_tensor *x, int dim, int64_t offset) {
  if (dim == x->ndim) {
    char buf[64];
    format_one(buf, sizeof buf, st, x, offset);
    put(t, "%*s", st->width, buf);
    return;
  }
  put(t, "[");
  for (int64_t i = 0; i < x->shape[dim]; i++) {
    if (i) {
      put(t, ",");
      if (dim == x->ndim - 1) put(t, " ");
      else {
        for (int k = 0; k < x->ndim - 1 - dim; k++) put(t, "\n");
        put(t, "%*s", dim + 1, "");
      }
    }
    if (!shown(st, i, x->shape[dim])) {
      put(t, "...");
      i = x->shape[dim] - EDGE - 1;
      continue;
    }
    print_dim(t, st, x, dim + 1, offset + i * x->stride[dim]);
  }
  put(t, "]");
}

char *snt_to_string(const snt_tensor *x) {
  text t = {0};
  if (x->storage == NULL) {
    put(&t, "[closed tensor]");
    return t.failed ? NULL : t.s;
  }
  style st = {.cut = snt_numel(x) > FULL, .integer = true};
  double lo = (double)INFINITY, hi = 0;
  measure(&st, x, 0, x->offset, 0, &lo, &hi);
  if (hi > 0 && (hi >= 1e8 || (!st.integer && (lo < 1e-4 || hi / lo > 1e6)))) st.exponent = true;
  if (hi >= 1e15) st.integer = false;
  measure(&st, x, 0, x->offset, 1, &lo, &hi);
  print_dim(&t, &st, x, 0, x->offset);
  put(&t, "%s[%s %s]", x->ndim > 1 ? "\n" : " ", sn_dtypes[x->dtype].name, SNT_SHAPE(x));
  if (t.failed) {
    sn_free(t.s);
    return NULL;
  }
  return t.s;
}
