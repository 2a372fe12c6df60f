/* sort.c - order: sort, topk, kthvalue, median, and what stands on it: unique, bincount, searchsorted. */
#include <string.h>
#include "base/error.h"
#include "base/thread.h"
#include "calc/reduce.h"
#include "calc/sort.h"
#include "diff/index.h"
#include "diff/matmul.h"
#include "diff/ops.h"

#define GRAIN 8192

/* ---- lines along a dimension: shared by all */

typedef struct lines {
  snk_sort_args a;
  const char *x;
  char *value, *scratch;
  int64_t *index;
  int64_t inner, lines, made; /* made: results per line */
  size_t per;
} lines;

/* Scratch for every line, or for every thread there may be: the number of threads may change between a recording and its replay. */
static int64_t slots(int64_t n) { return n < SN_MAX_THREADS ? n : SN_MAX_THREADS; }

static void lines_task(void *ctx, int64_t begin, int64_t end, int worker) {
  const lines *l = ctx;
  const int64_t size = (int64_t)sn_size_of(l->a.dtype);
  for (int64_t i = begin; i < end; i++) {
    const int64_t o = i / l->inner, k = i % l->inner, y = o * l->inner * l->made + k;
    snk_sort_line(&l->a, l->x + (o * l->a.n * l->inner + k) * size, l->value ? l->value + y * size : NULL, l->index ? l->index + y : NULL,
                  l->scratch + (size_t)(l->lines < SN_MAX_THREADS ? i : worker) * l->per);
  }
}

static int64_t length(const snt_tensor *x, int dim) { return x->ndim ? x->shape[dim] : 1; }

static void run_lines(const sno_call *c, int dim, snk_sort_args a, snt_tensor *value, snt_tensor *index) {
  const snt_tensor *x = c->in[0];
  a.dtype = (sn_dtype)x->dtype;
  a.n = length(x, dim);
  lines l = {.a = a, .x = snt_data(x), .value = value ? snt_data(value) : NULL, .index = index ? snt_data(index) : NULL, .scratch = c->scratch};
  l.inner = x->ndim ? snt_count(x->ndim - dim - 1, x->shape + dim + 1) : 1;
  l.lines = l.inner * (x->ndim ? snt_count(dim, x->shape) : 1);
  l.a.xstep = l.a.ystep = l.inner;
  l.made = a.what == SNK_SORT_KTH ? 1 : a.k;
  l.a.threads = l.lines == 1 ? sn_threads() : 1;
  l.per = snk_sort_bytes(a.dtype, a.n);
  if (l.lines > 0 && a.n > 0) sn_parallel(l.lines, 1 + GRAIN / a.n, lines_task, &l);
}

/* Checks dim (attribute k), wants contiguous x, and scratch. */
static int prepare(sno_call *c, int k) {
  if (sno_fix_dim(c, k, c->in[0], c->in[0]->ndim) < 0 || sno_contiguous_input(c, 0) < 0) return -1;
  const snt_tensor *x = c->in[0];
  const int64_t n = length(x, (int)c->attr[k].i);
  c->scratch_bytes = (size_t)slots(n > 0 ? snt_numel(x) / n : 0) * snk_sort_bytes((sn_dtype)x->dtype, n);
  return 0;
}

/* Gradient of values picked along dim at saved positions (output 1). */
static int back_picked(sno_back *b, sno_val dim, snt_tensor *g, snt_tensor *index, sno_val base) {
  if (g == NULL) return 0;
  const sno_out *x = &b->in_spec[0];
  if (x->ndim == 0) {
    b->gx[0] = g;
    return 0;
  }
  b->gx[0] = sno_run(&sno_op_gather_backward, SNO_IN(g, index), SNO_ATTRS(dim, sno_ints(x->ndim, x->shape), base));
  return b->gx[0] ? 0 : -1;
}

/* ---- sort and argsort */

static int infer_sort(sno_call *c) {
  if (prepare(c, 0) < 0) return -1;
  const snt_tensor *x = c->in[0];
  const bool both = c->op == &sno_op_sort;
  if (both) sno_want(c, 0, (sn_dtype)x->dtype, x->ndim, x->shape);
  sno_want(c, both, SN_I64, x->ndim, x->shape);
  return 0;
}

static void forward_sort(sno_call *c) {
  const int dim = (int)c->attr[0].i;
  const bool both = c->op == &sno_op_sort;
  run_lines(c, dim, (snk_sort_args){.what = SNK_SORT_ALL, .descending = c->attr[1].i, .k = length(c->in[0], dim), .base = c->attr[2].i},
      both ? c->out[0] : NULL, c->out[both]);
}

static int back_sort(sno_back *b) { return back_picked(b, b->attr[0], b->gy[0], b->out[1], b->attr[2]); }

/*** sort(x, dim=-1, descending=false)
 * x in order along `dim`, and as a second result the positions the elements had (int64). Equal elements keep their order; NaN counts as the largest.
 * @math y = x_{\pi}, \quad y_1 \le y_2 \le \dots
 * @grad \bar x_{\pi(i)} = \bar y_i
 * @see argsort, topk
 */
const sno_op sno_op_sort = {
    .name = "sort", .args = "x dim:dim=-1 descending:bool=false base:base", .nout = 2, .save_out = 2, .infer = infer_sort, .forward = forward_sort,
    .backward = back_sort, .samples = "d(3,4); d(4,3), 1, true; d(2,3,2), 2; d(600); d(1); d()", .wrong = "f(2,3), 3 => dimension 3"};

/*** argsort(x, dim=-1, descending=false)
 * The positions that put x in order along `dim`: the second result of sort.
 * @math \pi : x_{\pi(1)} \le x_{\pi(2)} \le \dots
 * @see sort
 */
const sno_op sno_op_argsort = {
    .name = "argsort", .args = "x dim:dim=-1 descending:bool=false base:base", .flags = SNO_NODIFF, .nout = 1, .infer = infer_sort,
    .forward = forward_sort, .samples = "d(3,4); d(4,3), 1, true; i(1,3,2,5)", .wrong = "f(2,3), 3 => dimension 3"};

/* ---- topk */

static int infer_topk(sno_call *c) {
  if (prepare(c, 1) < 0) return -1;
  const snt_tensor *x = c->in[0];
  const int dim = (int)c->attr[1].i;
  const int64_t k = c->attr[0].i;
  if (k < 0 || k > length(x, dim))
    return sn_fail("topk: k = %lld, dimension %d has %lld (shape %s)", (long long)k, dim + 1, (long long)length(x, dim), SNT_SHAPE(x));
  if (x->ndim == 0 && k == 0) return sn_fail("topk: k = 0 of a tensor without dimensions");
  for (int i = 0; i < 2; i++) {
    sno_want(c, i, i ? SN_I64 : (sn_dtype)x->dtype, x->ndim, x->shape);
    if (x->ndim) c->want[i].shape[dim] = k;
  }
  return 0;
}

static void forward_topk(sno_call *c) {
  run_lines(c, (int)c->attr[1].i, (snk_sort_args){.what = SNK_SORT_FIRST, .descending = c->attr[2].i, .k = c->attr[0].i, .base = c->attr[4].i},
      c->out[0], c->out[1]);
}

static int back_topk(sno_back *b) { return back_picked(b, b->attr[1], b->gy[0], b->out[1], b->attr[4]); }

/*** topk(x, k, dim=-1, largest=true, sorted=true)
 * The k largest (or smallest) elements along `dim`, the largest (smallest) first, and their positions (int64); of equal ones the first. NaN counts
 * as the largest. They are in order also where that is not asked for.
 * @math y = (x_{\pi(1)}, \dots, x_{\pi(k)})
 * @grad \bar x_{\pi(i)} = \bar y_i
 * @see sort, kthvalue, argmax
 */
const sno_op sno_op_topk = {
    .name = "topk", .args = "x k:int dim:dim=-1 largest:bool=true sorted:bool=true base:base", .nout = 2, .save_out = 2, .infer = infer_topk,
    .forward = forward_topk, .backward = back_topk, .samples = "d(3,4), 2; d(4,3), 2, 1, false; d(2,5,2), 3, 2; d(600), 5; d(4), 4; d(3), 0",
    .wrong = "f(2,3), 4 => k = 4; f(2,3), 1, 3 => dimension 3; f(3), -1 => k = -1"};

/* ---- kthvalue and median */

static int want_reduced(sno_call *c, int dim, bool keep) {
  const snt_tensor *x = c->in[0];
  int64_t shape[SNT_MAXDIM];
  int n = 0;
  for (int d = 0; d < x->ndim; d++) {
    if (d != dim) shape[n++] = x->shape[d];
    else if (keep) shape[n++] = 1;
  }
  c->nout = 2;
  sno_want(c, 0, (sn_dtype)x->dtype, n, shape);
  sno_want(c, 1, SN_I64, n, shape);
  return 0;
}

/* The k-th of a line stands where a line of length 1 would. */
static void run_kth(sno_call *c, int dim, int64_t k, bool nan_wins, int64_t base) {
  run_lines(c, dim, (snk_sort_args){.what = SNK_SORT_KTH, .nan_wins = nan_wins, .k = k, .base = base}, c->out[0], c->out[1]);
}

static int back_reduced(sno_back *b, int dim, bool keep, sno_val base) {
  const sno_out *x = &b->in_spec[0];
  snt_tensor *g = b->gy[0], *index = b->out[1];
  if (g == NULL) return 0;
  if (!keep && x->ndim > 0) {
    int64_t shape[SNT_MAXDIM];
    memcpy(shape, x->shape, sizeof shape);
    shape[dim] = 1;
    if ((g = sno_shaped(g, x->ndim, shape)) == NULL || (index = sno_shaped(index, x->ndim, shape)) == NULL) return -1;
  }
  return back_picked(b, (sno_val){.kind = SNO_DIM, .i = dim}, g, index, base);
}

static int infer_kth(sno_call *c) {
  if (prepare(c, 1) < 0) return -1;
  const int dim = (int)c->attr[1].i;
  const int64_t n = length(c->in[0], dim), k = c->attr[0].i;
  if (k < 1 || k > n)
    return sn_fail("kthvalue: k = %lld, dimension %d has %lld (shape %s)", (long long)k, dim + 1, (long long)n, SNT_SHAPE(c->in[0]));
  return want_reduced(c, dim, c->attr[2].i);
}
static void forward_kth(sno_call *c) { run_kth(c, (int)c->attr[1].i, c->attr[0].i, false, c->attr[3].i); }
static int back_kth(sno_back *b) { return back_reduced(b, (int)b->attr[1].i, b->attr[2].i, b->attr[3]); }

/*** kthvalue(x, k, dim=-1, {keepdim=false})
 * The k-th smallest element along `dim`, counting from 1, and its position (int64). NaN counts as the largest.
 * @math y = x_{\pi(k)}
 * @grad \bar x_{\pi(k)} = \bar y
 * @see sort, median
 */
const sno_op sno_op_kthvalue = {
    .name = "kthvalue", .args = "x k:int dim:dim=-1 keepdim:bool=false base:base", .nout = 2, .save_out = 2, .infer = infer_kth,
    .forward = forward_kth, .backward = back_kth, .samples = "d(3,4), 2; d(4,3), 4, 1; d(2,5,2), 3, 2, {keepdim=true}; d(100), 37",
    .wrong = "f(2,3), 4 => k = 4; f(2,3), 0 => k = 0; f(2,3), 1, 3 => dimension 3"};

static int infer_median(sno_call *c) {
  if (c->attr[0].absent) { /* of all: that of one row */
    snt_tensor *out[SNO_MAXOUT] = {NULL}, *x = c->in[0];
    const int64_t n = snt_numel(x);
    if (n == 0) return sn_fail("median: a tensor without elements has none (shape %s)", SNT_SHAPE(x));
    if ((x = sno_shaped(x, 1, &n)) == NULL) return -1;
    if (sno_invoke(&sno_op_median, 1, &x, -1, 1, (sno_val[]){{.kind = SNO_DIM, .i = 0}}, out, NULL, NULL) < 0) return -1;
    c->in[0] = out[0];
    c->want[0].alias = snt_view(out[0]);
    return c->want[0].alias ? 0 : -1;
  }
  if (prepare(c, 0) < 0) return -1;
  const int dim = (int)c->attr[0].i;
  if (length(c->in[0], dim) == 0) return sn_fail("median: dimension %d is empty (shape %s)", dim + 1, SNT_SHAPE(c->in[0]));
  return want_reduced(c, dim, c->attr[1].i);
}
static void forward_median(sno_call *c) {
  if (c->nout == 2) run_kth(c, (int)c->attr[0].i, (length(c->in[0], (int)c->attr[0].i) + 1) / 2, true, c->attr[2].i);
}
static int back_median(sno_back *b) {
  if (b->nout == 1) {
    b->gx[0] = b->gy[0];
    return 0;
  }
  return back_reduced(b, (int)b->attr[0].i, b->attr[1].i, b->attr[2]);
}

/*** median(x, dim?, {keepdim=false})
 * The middle element in order, of two the smaller: of all (one result), or along `dim` with its position as a second result. One NaN makes it NaN.
 * @math y = x_{\pi(\lceil n/2 \rceil)}
 * @grad \bar x_{\pi(\lceil n/2 \rceil)} = \bar y
 * @see kthvalue, mean
 */
const sno_op sno_op_median = {
    .name = "median", .args = "x dim:dim? keepdim:bool=false base:base", .nout = 1, .save_out = 2, .infer = infer_median,
    .forward = forward_median, .backward = back_median,
    .samples = "d(3,4), 2; d(4,3), 1, {keepdim=true}; d(5); d(2,3,2)", .wrong = "f(0) => without elements; f(2,3), 3 => dimension 3"};

/* ---- unique: sorted, then every first of equals */

/* Whether number i is not the one before it. Every NaN is different. */
#define DIFFER(T) (((const T *)(const void *)x)[i] != ((const T *)(const void *)x)[i - 1])
static inline bool differ(const char *x, sn_dtype t, int64_t i) {
  if (i == 0) return true;
  switch ((int)t) {
    case SN_F32: return DIFFER(float);
    case SN_F64: return DIFFER(double);
    case SN_I64: return DIFFER(int64_t);
    default: return DIFFER(int32_t);
  }
}

/* Room for `count` of x's elements, and for what else is wanted. */
static int unique_room(const sno_call *c, int64_t count, snt_tensor **out) {
  const snt_tensor *x = c->in[0];
  const bool want[3] = {true, c->attr[0].i, c->attr[1].i};
  out[0] = snt_new((sn_dtype)x->dtype, 1, &count);
  out[1] = want[1] ? snt_new(SN_I64, x->ndim, x->shape) : NULL;
  out[2] = want[2] ? snt_zeros(SN_I64, 1, &count) : NULL;
  for (int k = 0; k < 3; k++)
    if (want[k] && out[k] == NULL) {
      for (int j = 0; j < 3; j++) snt_release(out[j]);
      return -1;
    }
  return 0;
}

/* Bytes have 256 values: no order is needed. */
static int unique_bytes(const sno_call *c, const uint8_t *x, int64_t n, snt_tensor **out) {
  int64_t often[256] = {0}, place[256], count = 0;
  for (int64_t i = 0; i < n; i++) often[x[i]]++;
  for (int v = 0; v < 256; v++) {
    place[v] = count;
    count += often[v] > 0;
  }
  if (unique_room(c, count, out) < 0) return -1;
  for (int v = 0; v < 256; v++) {
    if (often[v] == 0) continue;
    ((uint8_t *)snt_data(out[0]))[place[v]] = (uint8_t)v;
    if (out[2]) ((int64_t *)snt_data(out[2]))[place[v]] = often[v];
  }
  for (int64_t i = 0; i < n && out[1]; i++) ((int64_t *)snt_data(out[1]))[i] = place[x[i]] + c->attr[2].i;
  return 0;
}

static int unique_sorted(const sno_call *c, snt_tensor *flat, int64_t n, snt_tensor **out) {
  snt_tensor *s[SNO_MAXOUT] = {NULL};
  if (sno_invoke(&sno_op_sort, 1, &flat, -1, 0, NULL, s, NULL, NULL) < 0) return -1;
  const char *v = snt_data(s[0]);
  const sn_dtype t = (sn_dtype)flat->dtype;
  const size_t size = sn_size_of(t);
  int64_t count = 0;
  for (int64_t i = 0; i < n; i++) count += differ(v, t, i);
  if (unique_room(c, count, out) < 0) return -1;
  const int64_t *at = snt_data(s[1]);
  for (int64_t i = 0, k = -1; i < n; i++) {
    if (differ(v, t, i)) memcpy((char *)snt_data(out[0]) + (size_t)++k * size, v + (size_t)i * size, size);
    if (out[1]) ((int64_t *)snt_data(out[1]))[at[i]] = k + c->attr[2].i;
    if (out[2]) ((int64_t *)snt_data(out[2]))[k]++;
  }
  return 0;
}

static int infer_unique(sno_call *c) {
  const int64_t n = snt_numel(c->in[0]);
  const bool bytes = sn_size_of((sn_dtype)c->in[0]->dtype) == 1;
  snt_tensor *flat = sno_shaped(c->in[0], 1, &n), *out[3] = {NULL};
  if (flat && bytes) flat = sno_call1(&sno_op_contiguous, flat);
  if (flat == NULL || (bytes ? unique_bytes(c, snt_data(flat), n, out) : unique_sorted(c, flat, n, out)) < 0) return -1;
  c->nout = 0;
  for (int k = 0; k < 3; k++)
    if (out[k]) c->want[c->nout++].alias = out[k];
  return 0;
}

/*** unique(x, {return_inverse=false, return_counts=false})
 * The different elements of x in order; then, if asked for, for every element of x which of them it is (int64), and how often each occurs (int64).
 * Every NaN is different. The size depends on values, so sn.compile does not record it.
 * @math \{ x_i \}
 * @see bincount, sort
 */
const sno_op sno_op_unique = {
    .name = "unique", .args = "x return_inverse:bool=false return_counts:bool=false base:base", .flags = SNO_NODIFF | SNO_DYNAMIC, .nout = 1,
    .infer = infer_unique, .samples = "i(1,3,2,4); i(1,3,7), {return_inverse=true, return_counts=true}; f(4); b(3)", .wrong = "\"a\" => tensor"};

/* ---- bincount */

static int infer_bincount(sno_call *c) {
  const int64_t base = c->attr[1].i, least = c->attr[0].i;
  if (sno_index_input(c, 0) < 0) return -1;
  const snt_tensor *x = c->in[0], *w = c->in[1];
  if (x->ndim != 1) return sn_fail("bincount: wants a 1-d tensor of numbers, got %s; flatten() makes one", SNT_SHAPE(x));
  if (w && !snt_same_shape(x, w)) return sn_fail("bincount: weights are %s, the numbers %s; they must be equal", SNT_SHAPE(w), SNT_SHAPE(x));
  if (least < 0) return sn_fail("bincount: minlength is %lld; 0 or more make sense", (long long)least);
  const int64_t *p = snt_data(x), n = x->shape[0];
  int64_t low = base, high = base - 1, at = 0;
  if (n > 0) snk_reduce_ints_row(SNK_MIN, SN_I64, n, p, &low), snk_reduce_ints_row(SNK_MAX, SN_I64, n, p, &high);
  if (low < base) {
    while (p[at] >= base) at++;
    return sn_fail("bincount: number %lld at position %lld; they count from %lld", (long long)p[at], (long long)(at + base), (long long)base);
  }
  const int64_t size = high - base >= least ? high - base + 1 : least;
  if (snt_check_shape(1, &size, "bincount") < 0) return -1;
  sn_dtype t = SN_I64;
  if (w) {
    t = w->dtype == SN_F32 ? SN_F32 : SN_F64;
    if (sno_cast_input(c, 1, t) < 0 || sno_contiguous_input(c, 1) < 0) return -1;
  }
  sno_want(c, 0, t, 1, &size);
  return 0;
}

static void forward_bincount(sno_call *c) {
  const int64_t *p = snt_data(c->in[0]), n = c->in[0]->shape[0], base = c->attr[1].i;
  void *y = snt_data(c->out[0]);
  const void *w = c->in[1] ? snt_data(c->in[1]) : NULL;
  sno_zero_elements(c->out[0]);
#define COUNT(T, ONE) for (int64_t i = 0; i < n; i++) ((T *)y)[p[i] - base] += ONE
  if (w == NULL) COUNT(int64_t, 1);
  else if (c->in[1]->dtype == SN_F32) COUNT(float, ((const float *)w)[i]);
  else COUNT(double, ((const double *)w)[i]);
#undef COUNT
}

/*** bincount(x, weights?, {minlength=0})
 * How often each whole number from 1 on occurs in a 1-d tensor, or the sum of the weights that stand beside it. The result's length is the largest
 * number, or minlength if that is more; it depends on values, so sn.compile does not record it.
 * @math y_k = \sum_i w_i\, [\, x_i = k\, ]
 * @see unique, one_hot
 */
const sno_op sno_op_bincount = {
    .name = "bincount", .args = "x weights? minlength:int=0 base:base", .flags = SNO_NODIFF | SNO_DYNAMIC, .nout = 1, .infer = infer_bincount,
    .forward = forward_bincount,
    .samples = "i(1,4,9); i(1,4,5), f(5), {minlength=7}; i(1,4,0)", .wrong = "i(0,0,2) => count from 1; i(1,3,2,2) => 1-d; f(3) => int64; "
        "i(1,3,3), f(2) => weights"};

/* ---- searchsorted */

static int infer_searchsorted(sno_call *c) {
  const snt_tensor *s = c->in[0], *v = c->in[1];
  if (s->ndim != 1) return sn_fail("searchsorted: the sorted tensor is 1-d, got %s", SNT_SHAPE(s));
  if (sn_is_float((sn_dtype)s->dtype) != sn_is_float((sn_dtype)v->dtype) && !v->weak)
    return sn_fail("searchsorted: %s values in %s ones; :to() converts", sn_dtypes[v->dtype].name, sn_dtypes[s->dtype].name);
  if (sno_contiguous_input(c, 0) < 0 || sno_contiguous_input(c, 1) < 0) return -1;
  sno_want(c, 0, SN_I64, v->ndim, v->shape);
  return 0;
}

/* Four at a time and without branches: none of the steps of one waits for those of another, nor for a guess. NaN stands behind all numbers. */
enum { ASKED = 4 };
#define BEFORE(a, v) (((a) < (v)) | (right & ((a) == (v))) | (((v) != (v)) & ((a) == (a))))
#define SEARCH(T, name)                                                                                                       \
  static void name(const T *s, int64_t n, const T *x, int64_t count, bool right, int64_t base, int64_t *y) {                  \
    for (int64_t i = 0, k; i < count; i += k) {                                                                               \
      T v[ASKED];                                                                                                             \
      int64_t at[ASKED] = {0};                                                                                                \
      k = count - i < ASKED ? count - i : ASKED;                                                                              \
      for (int j = 0; j < ASKED; j++) v[j] = x[i + (j < k ? j : 0)];                                                          \
      for (int64_t left = n, half; left > 1; left -= half) {                                                                  \
        half = left / 2;                                                                                                      \
        for (int j = 0; j < ASKED; j++) at[j] += half & -(int64_t)BEFORE(s[at[j] + half - 1], v[j]);                          \
      }                                                                                                                       \
      for (int j = 0; j < k; j++) y[i + j] = at[j] + base + (n > 0 && BEFORE(s[at[j]], v[j]));                                \
    }                                                                                                                         \
  }
SEARCH(float, search_f32)
SEARCH(double, search_f64)
SEARCH(int64_t, search_i64)

static void searchsorted_task(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const sno_call *c = ctx;
  const snt_tensor *s = c->in[0], *x = c->in[1];
  const sn_dtype st = (sn_dtype)s->dtype, xt = (sn_dtype)x->dtype;
  const char *sp = snt_data(s), *xp = snt_data(x);
  const int64_t ss = (int64_t)sn_size_of(st), xs = (int64_t)sn_size_of(xt);
  const bool ints = !sn_is_float(st) && !sn_is_float(xt), right = c->attr[0].i;
  const int64_t n = s->shape[0], base = c->attr[1].i;
  int64_t *y = (int64_t *)snt_data(c->out[0]);
#define ALIKE(t, T, name) \
  if (st == t && xt == t) { name((const T *)(const void *)sp, n, (const T *)(const void *)xp + begin, end - begin, right, base, y + begin); return; }
  ALIKE(SN_F32, float, search_f32)
  ALIKE(SN_F64, double, search_f64)
  ALIKE(SN_I64, int64_t, search_i64)
#undef ALIKE
  for (int64_t i = begin; i < end; i++) {
    int64_t lo = 0, hi = n;
    const double v = sn_load_double(xp + i * xs, xt);
    const int64_t vi = ints ? sn_load_int(xp + i * xs, xt) : 0;
    while (lo < hi) { /* the first element that is not before v */
      const int64_t mid = lo + (hi - lo) / 2;
      const double a = sn_load_double(sp + mid * ss, st);
      const int64_t ai = ints ? sn_load_int(sp + mid * ss, st) : 0;
      const bool before = ints ? (right ? ai <= vi : ai < vi) : (right ? a <= v : a < v) || (v != v && a == a);
      if (before) lo = mid + 1;
      else hi = mid;
    }
    y[i] = lo + base;
  }
}
static void forward_searchsorted(sno_call *c) { sn_parallel(snt_numel(c->in[1]), GRAIN, searchsorted_task, c); }

/*** searchsorted(sorted, x, {right=false})
 * Where each element of x would be put into a 1-d tensor in order (int64): before the first element that is not smaller, with right=true before the
 * first that is larger.
 * @math y = \min \{ k : s_k \ge x \}
 * @see sort
 */
const sno_op sno_op_searchsorted = {
    .name = "searchsorted", .args = "sorted x right:bool=false base:base", .flags = SNO_NODIFF, .nout = 1, .infer = infer_searchsorted,
    .forward = forward_searchsorted, .samples = "f(9):sort(), f(2,3); sn.arange(1, 6), i(0,7,5), {right=true}; f(3):sort(), 0.5",
    .wrong = "f(2,3), f(3) => 1-d; f(3), i(1,2,2) => int64"};
