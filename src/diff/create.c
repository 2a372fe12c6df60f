/* create.c - tensors from nothing: constants, ranges, the identity. */
#include <math.h>
#include <string.h>
#include "base/error.h"
#include "base/thread.h"
#include "calc/cast.h"
#include "calc/isa.h"
#include "diff/ops.h"

#define GRAIN 32768

static int infer_sizes(sno_call *c) {
  const sno_val *v = &c->attr[0];
  if (v->n > SNT_MAXDIM) return sn_fail("%s: %d sizes asked for, at most %d are possible", c->op->name, v->n, SNT_MAXDIM);
  if (snt_check_shape(v->n, v->v, c->op->name) < 0) return -1;
  sno_want(c, 0, (sn_dtype)c->attr[sno_nattr(c->op) - 1].i, v->n, v->v);
  return 0;
}

typedef struct filling { char *y; sn_dtype t; _Alignas(8) char one[8]; } filling;

static void fill_part(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const filling *f = ctx;
  const int64_t size = (int64_t)sn_size_of(f->t);
  static const char nothing[8];
  if (memcmp(f->one, nothing, 8) == 0) memset(f->y + begin * size, 0, (size_t)((end - begin) * size));
  else snk_cast_row(end - begin, f->y + begin * size, size, f->t, f->one, 0, f->t);
}

static void fill(snt_tensor *y, double v) {
  filling f = {.y = snt_data(y), .t = (sn_dtype)y->dtype};
  sn_store_double(f.one, f.t, v);
  sn_parallel(snt_numel(y), GRAIN, fill_part, &f);
}

static void forward_zeros(sno_call *c) { fill(c->out[0], 0); }
static void forward_ones(sno_call *c) { fill(c->out[0], 1); }
static void forward_full(sno_call *c) { fill(c->out[0], c->attr[1].d); }

/*** zeros(size, {dtype="float32"})
 * A tensor of zeros: zeros(2, 3) or zeros({2, 3}).
 * @math y = 0
 */
const sno_op sno_op_zeros = {.name = "zeros", .args = "size:ints dtype:dtype=float32", .flags = SNO_NODIFF | SNO_FUNC_ONLY, .nout = 1, .infer = infer_sizes,
  .forward = forward_zeros, .samples = "2, 3; {0, 2}", .wrong = "-1 => negative; {2}, {dtype=\"float23\"} => float32"};

/*** ones(size, {dtype="float32"})
 * A tensor of ones.
 * @math y = 1
 */
const sno_op sno_op_ones = {.name = "ones", .args = "size:ints dtype:dtype=float32", .flags = SNO_NODIFF | SNO_FUNC_ONLY, .nout = 1, .infer = infer_sizes,
  .forward = forward_ones, .samples = "2, 3", .wrong = "-1 => negative"};

/*** full(size, value, {dtype="float32"})
 * A tensor of one number: full({2, 3}, 7).
 * @math y = c
 */
const sno_op sno_op_full = {.name = "full", .args = "size:ints value:num dtype:dtype=float32", .flags = SNO_NODIFF | SNO_FUNC_ONLY, .nout = 1, .infer = infer_sizes,
  .forward = forward_full, .samples = "{2, 3}, 1.5", .wrong = "{-1}, 2 => negative; {2} => value"};

/*** empty(size, {dtype="float32"})
 * A tensor whose numbers are whatever was in its memory: to be written before it is read.
 * @math y \in \mathbb{R}^n
 */
const sno_op sno_op_empty = {.name = "empty", .args = "size:ints dtype:dtype=float32", .flags = SNO_NODIFF | SNO_FUNC_ONLY, .nout = 1, .infer = infer_sizes,
  .samples = "2, 3", .wrong = "-1 => negative"};

static int infer_like(sno_call *c) {
  const sno_val *t = &c->attr[sno_nattr(c->op) - 1];
  sno_want(c, 0, t->absent ? (sn_dtype)c->in[0]->dtype : (sn_dtype)t->i, c->in[0]->ndim, c->in[0]->shape);
  return 0;
}
static void forward_full_like(sno_call *c) { fill(c->out[0], c->attr[0].d); }

/*** zeros_like(x, {dtype=x.dtype})
 * Zeros in the shape of x.
 * @math y = 0
 */
const sno_op sno_op_zeros_like = {.name = "zeros_like", .args = "x dtype:dtype?", .flags = SNO_NODIFF | SNO_HALF, .nout = 1, .infer = infer_like, .forward = forward_zeros,
  .samples = "f(2,3)", .wrong = "\"a\" => tensor"};
/*** ones_like(x, {dtype=x.dtype})
 * Ones in the shape of x.
 * @math y = 1
 */
const sno_op sno_op_ones_like = {.name = "ones_like", .args = "x dtype:dtype?", .flags = SNO_NODIFF | SNO_HALF, .nout = 1, .infer = infer_like, .forward = forward_ones,
  .samples = "f(2,3)", .wrong = "\"a\" => tensor"};
/*** full_like(x, value, {dtype=x.dtype})
 * One number in the shape of x.
 * @math y = c
 */
const sno_op sno_op_full_like = {.name = "full_like", .args = "x value:num dtype:dtype?", .flags = SNO_NODIFF | SNO_HALF, .nout = 1, .infer = infer_like,
  .forward = forward_full_like, .samples = "f(2,3), 2", .wrong = "f(2) => value"};
/*** empty_like(x, {dtype=x.dtype})
 * Unset memory in the shape of x.
 * @math y \in \mathbb{R}^n
 */
const sno_op sno_op_empty_like = {.name = "empty_like", .args = "x dtype:dtype?", .flags = SNO_NODIFF | SNO_HALF, .nout = 1, .infer = infer_like,
  .samples = "f(2,3)", .wrong = "\"a\" => tensor"};

/* ---- the identity */

static int infer_eye(sno_call *c) {
  const int64_t n = c->attr[0].i, m = c->attr[1].absent ? n : c->attr[1].i;
  const int64_t shape[2] = {n, m};
  if (snt_check_shape(2, shape, "eye") < 0) return -1;
  sno_want(c, 0, (sn_dtype)c->attr[2].i, 2, shape);
  return 0;
}

static void forward_eye(sno_call *c) {
  snt_tensor *y = c->out[0];
  fill(y, 0);
  const int64_t n = y->shape[0] < y->shape[1] ? y->shape[0] : y->shape[1], size = (int64_t)sn_size_of((sn_dtype)y->dtype);
  for (int64_t i = 0; i < n; i++) sn_store_double((char *)snt_data(y) + i * (y->shape[1] + 1) * size, (sn_dtype)y->dtype, 1);
}

/*** eye(n, m=n, {dtype="float32"})
 * n x m, ones on the diagonal.
 * @math y_{ij} = [i = j]
 */
const sno_op sno_op_eye = {.name = "eye", .args = "n:int m:int? dtype:dtype=float32", .flags = SNO_NODIFF | SNO_FUNC_ONLY, .nout = 1, .infer = infer_eye,
  .forward = forward_eye, .samples = "3; 2, 4", .wrong = "-1 => negative"};

/* ---- ranges */

/* Start, end and step of arange; numbers come as 0-d tensors, so that whole ones are known. */
static int range(const sno_call *c, double *start, double *step, int64_t *n, bool *whole) {
  double v[3] = {0, 0, 1};
  *whole = true;
  for (int i = 0; i < 3; i++) {
    if (c->in[i] == NULL) continue;
    if (snt_numel(c->in[i]) != 1) return sn_fail("arange: wants numbers, argument %d is %s", i + 1, SNT_SHAPE(c->in[i]));
    v[i] = snt_item(c->in[i]);
    *whole &= !sn_is_float((sn_dtype)c->in[i]->dtype);
    if (!isfinite(v[i])) return sn_fail("arange: argument %d is not a finite number", i + 1);
  }
  if (c->in[1] == NULL) v[1] = v[0], v[0] = 0;
  if (v[2] == 0) return sn_fail("arange: the step is 0");
  const double many = ceil((v[1] - v[0]) / v[2]);
  if (many > 9e15) return sn_fail("arange: %g to %g by %g is too long", v[0], v[1], v[2]);
  *start = v[0];
  *step = v[2];
  *n = many > 0 ? (int64_t)many : 0;
  return 0;
}

static int infer_arange(sno_call *c) {
  double start, step;
  int64_t n;
  bool whole;
  if (range(c, &start, &step, &n, &whole) < 0) return -1;
  sno_want(c, 0, c->attr[0].absent ? whole ? SN_I64 : SN_F32 : (sn_dtype)c->attr[0].i, 1, &n);
  return snt_check_shape(1, &n, "arange");
}

/* Doubles from element `first` on: by steps from the start or, where the step is 0, between two ends, from the nearer one. n: all there are. */
typedef struct row { char *y; sn_dtype t; double start, step, stop; int64_t n; bool whole; } row;
SNK_LONG_BEGIN
static void stepped(const row *r, int64_t first, int n, double *x) {
  for (int i = 0; i < n; i++) x[i] = r->start + ((double)first + i) * r->step;
}
static void spaced(const row *r, int64_t first, int n, double *x) {
  const double all = r->n > 1 ? (double)(r->n - 1) : 1, span = r->stop - r->start, at = (double)first;
  const int64_t half = r->n == 1 ? 1 : r->n / 2;
  const int left = first >= half ? 0 : half - first < n ? (int)(half - first) : n;
  for (int i = 0; i < left; i++) x[i] = r->start + span * ((at + i) / all);
  for (int i = left; i < n; i++) x[i] = r->stop - span * (1 - (at + i) / all);
}
static void whole(const row *r, int64_t first, int64_t n) {
  int64_t *y = (int64_t *)(void *)r->y + first, start = (int64_t)r->start, step = (int64_t)r->step;
  for (int64_t i = 0; i < n; i++) y[i] = start + (first + i) * step;
}
SNK_LONG_END

static void row_part(void *ctx, int64_t begin, int64_t end, int worker) {
  enum { SOME = 256 };
  (void)worker;
  const row *r = ctx;
  const int64_t size = (int64_t)sn_size_of(r->t);
  double x[SOME];
  if (r->whole) {
    whole(r, begin, end - begin);
    return;
  }
  for (int64_t some; begin < end; begin += some) {
    some = end - begin < SOME ? end - begin : SOME;
    (r->step != 0 ? stepped : spaced)(r, begin, (int)some, x);
    snk_cast_row(some, r->y + begin * size, size, r->t, (const char *)x, 8, SN_F64);
  }
}

static void forward_arange(sno_call *c) {
  row r = {.y = snt_data(c->out[0]), .t = (sn_dtype)c->out[0]->dtype};
  range(c, &r.start, &r.step, &r.n, &r.whole);
  r.whole = r.whole && r.t == SN_I64 && fabs(r.start) + fabs(r.step) * (double)r.n < 0x1p53; /* then doubles are exact, and so the same */
  sn_parallel(c->out[0]->shape[0], GRAIN, row_part, &r);
}

/*** arange(start=0, stop, step=1, {dtype})
 * start, start+step, ... up to but without stop. Of whole numbers it is int64, else float32; arange(n) counts from 0.
 * @math y_i = a + i\,s
 */
const sno_op sno_op_arange = {.name = "arange", .args = "start stop? step? dtype:dtype?", .flags = SNO_NODIFF | SNO_FUNC_ONLY | SNO_VALUES | SNO_HALF, .nout = 1,
  .infer = infer_arange, .forward = forward_arange, .samples = "1, 6; 0, 1, 0.25; 5; 5, 1, -2", .wrong = "1, 5, 0 => step; f(2), 3 => numbers"};

static int infer_linspace(sno_call *c) {
  const int64_t n = c->attr[2].i;
  if (snt_check_shape(1, &n, "linspace") < 0) return -1;
  sno_want(c, 0, (sn_dtype)c->attr[3].i, 1, &n);
  return 0;
}

static void forward_linspace(sno_call *c) {
  row r = {.y = snt_data(c->out[0]), .t = (sn_dtype)c->out[0]->dtype, .start = c->attr[0].d, .stop = c->attr[1].d, .n = c->attr[2].i};
  sn_parallel(r.n, GRAIN, row_part, &r);
}

/*** linspace(start, stop, n, {dtype="float32"})
 * n numbers at equal distances, both ends included.
 * @math y_i = a + \frac{i}{n-1}(b - a)
 */
const sno_op sno_op_linspace = {.name = "linspace", .args = "start:num stop:num n:int dtype:dtype=float32", .flags = SNO_NODIFF | SNO_FUNC_ONLY, .nout = 1,
  .infer = infer_linspace, .forward = forward_linspace, .samples = "0, 1, 5; 2, 3, 1; 1, 0, 0", .wrong = "0, 1, -1 => negative"};
