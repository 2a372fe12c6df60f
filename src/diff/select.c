/* select.c - elementwise operations that no formula makes: where, lerp, conversion, copies, logic, tests of numbers. */
#include <string.h>
#include "base/error.h"
#include "calc/cast.h"
#include "calc/index.h"
#include "core/iter.h"
#include "diff/map.h"
#include "diff/tape.h"

#define GRAIN 32768

/* ---- where */

static int infer_where(sno_call *c) {
  if (c->in[0]->dtype != SN_BOOL)
    return sn_fail("where: the condition is %s, it must be bool; x:ne(0) makes one", sn_dtypes[c->in[0]->dtype].name);
  sn_dtype t;
  snt_tensor *a = c->in[1], *b = c->in[2];
  const bool wa = a->weak || a->ndim == 0, wb = b->weak || b->ndim == 0;
  const int ca = sn_dtypes[a->dtype].category, cb = sn_dtypes[b->dtype].category;
  if (a->weak && b->weak) t = ca == 2 || cb == 2 ? SN_F32 : sn_dtype_promote((sn_dtype)a->dtype, (sn_dtype)b->dtype);
  else if (wb && (!wa || b->weak) && cb <= ca) t = (sn_dtype)a->dtype;
  else if (wa && (!wb || a->weak) && ca <= cb) t = (sn_dtype)b->dtype;
  else if (b->weak) t = SN_F32;
  else if (a->weak) t = SN_F32;
  else t = sn_dtype_promote((sn_dtype)a->dtype, (sn_dtype)b->dtype);
  for (int i = 1; i < 3; i++) {
    if (c->in[i]->dtype == t) continue;
    if (c->in[i]->weak) {
      if ((c->in[i] = sno_own(snt_to(c->in[i], t))) == NULL) return -1;
    } else if (sno_cast_input(c, i, t) < 0) return -1;
  }
  int64_t shape[SNT_MAXDIM];
  int n = snt_broadcast(c->in[1]->ndim, c->in[1]->shape, c->in[2]->ndim, c->in[2]->shape, shape, "where");
  if (n < 0 || (n = snt_broadcast(n, shape, c->in[0]->ndim, c->in[0]->shape, shape, "where")) < 0) return -1;
  sno_want(c, 0, t, n, shape);
  return 0;
}

static void where_row(void *ctx, int64_t n, char *const *p, const int64_t *s) { snk_where_row(n, p, s, *(const size_t *)ctx); }

static void forward_where(sno_call *c) {
  size_t size = sn_size_of((sn_dtype)c->out[0]->dtype);
  snt_iter it;
  snt_iter_init(&it, 4, (const snt_tensor *const[]){c->out[0], c->in[0], c->in[1], c->in[2]});
  snt_iter_run(&it, GRAIN, where_row, &size);
}

static int back_where(sno_back *b) {
  snt_tensor *zero = sno_weak(0);
  if (b->want[1] && (b->gx[1] = sno_sum_to(sno_where(b->in[0], b->gy[0], zero), &b->in_spec[1])) == NULL) return -1;
  if (b->want[2] && (b->gx[2] = sno_sum_to(sno_where(b->in[0], zero, b->gy[0]), &b->in_spec[2])) == NULL) return -1;
  return 0;
}

/*** where(condition, a, b)
 * a where the bool condition holds, b elsewhere; all three broadcast.
 * @math y = c\,a + (1-c)\,b
 * @grad \bar a = \bar y\,[c],\quad \bar b = \bar y\,[\lnot c]
 */
const sno_op sno_op_where = {.name = "where", .args = "condition a b", .flags = SNO_HALF, .nout = 1, .save_in = 1, .infer = infer_where, .forward = forward_where, .backward = back_where,
  .samples = "b(2,3), f(2,3), f(2,3); b(3), f(2,1), f(1,3)", .wrong = "f(2), f(2), f(2) => bool"};

/* ---- lerp: computed by operations of the book */

static int infer_lerp(sno_call *c) {
  /* a + w (b - a), as operations, so the tape needs no rule of its own */
  snt_tensor *y = sno_add(c->in[0], sno_mul(c->in[2], sno_sub(c->in[1], c->in[0])));
  if (y == NULL) return -1;
  c->want[0].alias = snt_view(y);
  c->in[0] = y;
  return c->want[0].alias ? 0 : -1;
}
static int back_lerp(sno_back *b) {
  b->gx[0] = b->gy[0];
  return 0;
}

/*** lerp(a, b, weight)
 * Linear interpolation; weight is a tensor or a number.
 * @math y = a + w (b - a)
 * @grad \bar a = \bar y\,(1-w),\quad \bar b = \bar y\,w,\quad \bar w = \bar y\,(b-a)
 */
const sno_op sno_op_lerp = {.name = "lerp", .args = "a b weight", .flags = SNO_VIEW, .nout = 1, .infer = infer_lerp, .backward = back_lerp,
  .samples = "f(2,3), f(2,3), f(2,3); f(2,3), f(3), 0.3", .wrong = "f(2), f(3), 0.5 => do not go together"};

/* ---- to */

static int infer_to(sno_call *c) {
  if (c->attr[0].i < 0 || c->attr[0].i >= SN_DTYPES) return sn_fail("to: unknown dtype");
  if (c->in[0]->dtype == c->attr[0].i) {
    c->want[0].alias = snt_view(c->in[0]);
    return c->want[0].alias ? 0 : -1;
  }
  sno_want(c, 0, (sn_dtype)c->attr[0].i, c->in[0]->ndim, c->in[0]->shape);
  return 0;
}

typedef struct cast { sn_dtype to, from; } cast;
static void cast_row(void *ctx, int64_t n, char *const *p, const int64_t *s) {
  const cast *t = ctx;
  snk_cast_row(n, p[0], s[0], t->to, p[1], s[1], t->from);
}

static void cast_into(snt_tensor *y, const snt_tensor *x) {
  cast t = {(sn_dtype)y->dtype, (sn_dtype)x->dtype};
  snt_iter it;
  snt_iter_init(&it, 2, (const snt_tensor *const[]){y, x});
  snt_iter_run(&it, GRAIN, cast_row, &t);
}

static void forward_to(sno_call *c) {
  if (c->out[0]->storage != c->in[0]->storage) cast_into(c->out[0], c->in[0]);
}

static int back_to(sno_back *b) { return (b->gx[0] = sno_to(b->gy[0], (sn_dtype)b->in_spec[0].dtype)) ? 0 : -1; }

/*** to(x, dtype)
 * x as another number type; x itself (a view) where it is that already. Floating to integer truncates; to bool is x ~= 0.
 * @math y = x
 * @grad \bar x = \bar y
 */
const sno_op sno_op_to = {.name = "to", .args = "x dtype:dtype", .flags = SNO_HALF | SNO_METHOD_ONLY, .nout = 1, .infer = infer_to, .forward = forward_to, .backward = back_to,
  .samples = "f(2,3), \"float64\"", .wrong = "f(2), \"float23\" => float32"};

/* ---- copies */

static int infer_into(sno_call *c) {
  int64_t shape[SNT_MAXDIM];
  snt_tensor *x = c->in[0], *y = c->in[1];
  const int n = snt_broadcast(x->ndim, x->shape, y->ndim, y->shape, shape, c->op->name);
  if (n < 0) return -1;
  bool fits = n == x->ndim;
  for (int i = 0; fits && i < n; i++) fits = shape[i] == x->shape[i];
  if (!fits) return sn_fail("%s: a tensor of shape %s does not fit into one of shape %s", c->op->name, SNT_SHAPE(y), SNT_SHAPE(x));
  if (snt_may_overlap(x, y) && (c->in[1] = sno_call1(sno_find("clone"), y)) == NULL) return -1;
  return 0;
}

static void forward_copy(sno_call *c) { cast_into(c->in[0], c->in[1]); }

static int back_copy(sno_back *b) {
  if (b->want[0] && (b->gx[0] = sno_mul(b->gy[0], sno_weak(0))) == NULL) return -1;
  if (b->want[1] && (b->gx[1] = sno_sum_to(sno_to(b->gy[0], (sn_dtype)b->in_spec[1].dtype), &b->in_spec[1])) == NULL) return -1;
  return 0;
}

/*** copy_(x, y)
 * y's values into x, broadcast and converted.
 * @math x \leftarrow y
 * @grad \bar y = \bar x
 */
const sno_op sno_op_copy_ = {.name = "copy_", .args = "x y", .flags = SNO_WRITES | SNO_HALF | SNO_METHOD_ONLY, .nout = 1, .infer = infer_into, .forward = forward_copy, .backward = back_copy,
  .samples = "f(2,3), f(2,3); f(2,3), f(3); f(2,3), 2", .wrong = "f(2,3), f(4) => do not go together; f(3), f(2,3) => does not fit"};

static int infer_fill(sno_call *c) { (void)c; return 0; }

static void fill_row(void *ctx, int64_t n, char *const *p, const int64_t *s) {
  const sno_call *c = ctx;
  const sn_dtype t = (sn_dtype)c->in[0]->dtype;
  char one[8];
  sn_store_double(one, t, c->attr[0].d);
  snk_cast_row(n, p[0], s[0], t, one, 0, t);
}

static void forward_fill(sno_call *c) {
  snt_iter it;
  snt_iter_init(&it, 1, (const snt_tensor *const[]){c->in[0]});
  snt_iter_run(&it, GRAIN, fill_row, c);
}

static int back_fill(sno_back *b) { return (b->gx[0] = sno_mul(b->gy[0], sno_weak(0))) ? 0 : -1; }

/*** fill_(x, value)
 * Sets every element to a number.
 * @math x \leftarrow c
 * @grad \bar x = 0
 */
const sno_op sno_op_fill_ = {.name = "fill_", .args = "x value:num", .flags = SNO_WRITES | SNO_HALF | SNO_METHOD_ONLY, .nout = 1, .infer = infer_fill, .forward = forward_fill, .backward = back_fill,
  .samples = "f(2,3), 2.5", .wrong = "f(2) => value; f(2), \"a\" => number"};

/* ---- logic and tests */

static int infer_logic(sno_call *c) {
  for (int i = 0; i < c->nin; i++)
    if (sno_cast_input(c, i, SN_BOOL) < 0) return -1;
  int64_t shape[SNT_MAXDIM];
  memcpy(shape, c->in[0]->shape, sizeof shape);
  int n = c->in[0]->ndim;
  if (c->nin > 1 && (n = snt_broadcast(n, shape, c->in[1]->ndim, c->in[1]->shape, shape, c->op->name)) < 0) return -1;
  sno_want(c, 0, SN_BOOL, n, shape);
  return 0;
}

static void logic_row(void *ctx, int64_t n, char *const *p, const int64_t *s) { snk_logic_row(n, p, s, *(const int *)ctx); }

static void run_logic(sno_call *c, int operands, int which) {
  snt_iter it;
  snt_iter_init(&it, 1 + operands, (const snt_tensor *const[]){c->out[0], c->in[0], c->in[operands - 1]});
  snt_iter_run(&it, GRAIN, logic_row, &which);
}
static void forward_and(sno_call *c) { run_logic(c, 2, SNK_AND); }
static void forward_or(sno_call *c) { run_logic(c, 2, SNK_OR); }
static void forward_xor(sno_call *c) { run_logic(c, 2, SNK_XOR); }
static void forward_not(sno_call *c) { run_logic(c, 1, SNK_NOT); }

#define LOGIC(opname, fn) {.name = opname, .args = "a b", .flags = SNO_NODIFF | SNO_HALF, .nout = 1, .infer = infer_logic, .forward = fn, .samples = "b(2,3), b(2,3)", .wrong = "b(2), b(3) => do not go together"}
/*** logical_and(a, b)
 * Both not zero: bool.
 * @math y = a \land b
 */
const sno_op sno_op_logical_and = LOGIC("logical_and", forward_and);
/*** logical_or(a, b)
 * Either not zero: bool.
 * @math y = a \lor b
 */
const sno_op sno_op_logical_or = LOGIC("logical_or", forward_or);
/*** logical_xor(a, b)
 * Exactly one not zero: bool.
 * @math y = a \oplus b
 */
const sno_op sno_op_logical_xor = LOGIC("logical_xor", forward_xor);
/*** logical_not(x)
 * Zero: bool.
 * @math y = \lnot x
 */
const sno_op sno_op_logical_not = {.name = "logical_not", .args = "x", .flags = SNO_NODIFF | SNO_HALF, .nout = 1, .infer = infer_logic, .forward = forward_not, .samples = "b(2,3)", .wrong = "\"a\" => tensor"};

static int infer_test(sno_call *c) {
  sno_want(c, 0, SN_BOOL, c->in[0]->ndim, c->in[0]->shape);
  return 0;
}
typedef struct test { sn_dtype t; int which; } test;
static void test_row(void *ctx, int64_t n, char *const *p, const int64_t *s) {
  const test *t = ctx;
  snk_test_row(n, p, s, t->t, t->which);
}
static void run_test(sno_call *c, int which) {
  test t = {(sn_dtype)c->in[0]->dtype, which};
  snt_iter it;
  snt_iter_init(&it, 2, (const snt_tensor *const[]){c->out[0], c->in[0]});
  snt_iter_run(&it, GRAIN, test_row, &t);
}
static void forward_isnan(sno_call *c) { run_test(c, SNK_ISNAN); }
static void forward_isinf(sno_call *c) { run_test(c, SNK_ISINF); }
static void forward_isfinite(sno_call *c) { run_test(c, SNK_ISFINITE); }
#define TEST(opname, fn) {.name = opname, .args = "x", .flags = SNO_NODIFF | SNO_HALF, .nout = 1, .infer = infer_test, .forward = fn, .samples = "f(2,3)", .wrong = "\"a\" => tensor"}
/*** isnan(x)
 * Not a number: bool.
 * @math y = [x \ne x]
 */
const sno_op sno_op_isnan = TEST("isnan", forward_isnan);
/*** isinf(x)
 * Infinite: bool.
 * @math y = [|x| = \infty]
 */
const sno_op sno_op_isinf = TEST("isinf", forward_isinf);
/*** isfinite(x)
 * Neither infinite nor NaN: bool.
 * @math y = [|x| < \infty]
 */
const sno_op sno_op_isfinite = TEST("isfinite", forward_isfinite);
