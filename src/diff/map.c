/* map.c - descriptors of the elementwise functions: promotion, broadcasting, and the book's gradients as operations. */
#include "diff/map.h"
#include <math.h>
#include <string.h>
#include "base/error.h"
#include "calc/cast.h"
#include "core/iter.h"
#include "diff/index.h"
#include "diff/tape.h"

#define GRAIN 32768 /* elements below which a row stays on the caller */

/* ---- promotion: tensors of dim > 0, then 0-d ones, then Lua numbers; a later class only raises the category */

static sn_dtype weaker(sn_dtype strong, bool have, sn_dtype weak, bool is_weak, bool have_weak) {
  if (!have_weak) return strong;
  if (!have) return is_weak ? (sn_dtypes[weak].category == 2 ? SN_F32 : weak) : weak;
  if (sn_dtypes[weak].category <= sn_dtypes[strong].category) return strong;
  return is_weak && sn_dtypes[weak].category == 2 ? SN_F32 : weak;
}

static sn_dtype promote(snt_tensor *const *in, int n) {
  bool have[3] = {false, false, false};
  sn_dtype t[3] = {SN_BOOL, SN_BOOL, SN_BOOL};
  for (int i = 0; i < n; i++) {
    const int c = in[i]->weak ? 2 : in[i]->ndim == 0;
    t[c] = have[c] ? sn_dtype_promote(t[c], (sn_dtype)in[i]->dtype) : (sn_dtype)in[i]->dtype;
    have[c] = true;
  }
  const sn_dtype zero = weaker(t[1], have[1], t[2], true, have[2]);
  return weaker(t[0], have[0], zero, !have[1], have[1] || have[2]);
}

/* Do an operand's numbers of a row each lie in a line of the cache of their own, and so many of them that lines have gone before the next row wants
 * them? Then it is copied first, by tiles: 5.6 ms become 0.7 for 1024 x 1024 floats. */
static int unturned(sno_call *c, int i) {
  enum { LEAST = 1 << 15, LINE = 64 };
  const snt_tensor *x = c->in[i];
  if (x->ndim < 2 || snt_numel(x) < LEAST) return 0;
  const int last = x->ndim - 1;
  const int64_t step = x->stride[last] * (int64_t)sn_size_of((sn_dtype)x->dtype);
  return x->shape[last] >= LINE && (step >= LINE || step <= -LINE) ? sno_contiguous_input(c, i) : 0;
}

/* Convert an input; a number needs no recorded operation. */
static int convert(sno_call *c, int i, sn_dtype t) {
  snt_tensor *x = c->in[i];
  if (x->dtype == t) return 0;
  if (!x->weak) return sno_cast_input(c, i, t);
  snt_tensor *y = sno_own(snt_to(x, t));
  if (y == NULL) return -1;
  y->weak = true;
  c->in[i] = y;
  return 0;
}

static int broadcast_inputs(sno_call *c, int from, sn_dtype out) {
  int64_t shape[SNT_MAXDIM];
  int n = c->in[from]->ndim;
  memcpy(shape, c->in[from]->shape, sizeof shape);
  for (int i = from + 1; i < c->nin; i++) {
    n = snt_broadcast(n, shape, c->in[i]->ndim, c->in[i]->shape, shape, c->op->name);
    if (n < 0) return -1;
  }
  if (from == 1 && (n = snt_broadcast(n, shape, c->in[0]->ndim, c->in[0]->shape, shape, c->op->name)) < 0) return -1;
  if (c->op->flags & SNO_WRITES) { /* the first input is the destination: it may not grow or change its type */
    snt_tensor *x = c->in[0];
    bool same = n == x->ndim;
    for (int i = 0; same && i < n; i++) same = shape[i] == x->shape[i];
    if (!same) return sn_fail("%s: the result would be %s, but the tensor it is written to is %s", c->op->name, snt_shape_str(n, shape, (char[96]){0}, 96), SNT_SHAPE(x));
    return 0;
  }
  sno_want(c, 0, out, n, shape);
  return 0;
}

static sn_dtype computed_in(const sno_map *m, sn_dtype t) {
  if (m->floating && !sn_is_float(t)) return SN_F32;
  return t == SN_BOOL && !m->compare ? SN_I64 : t; /* arithmetic on booleans counts them */
}

/* Two-byte floats come this far where neither tape nor recorder would see their casts (sno_map_halves); numbers beside them stay float32. */
static int infer_map(sno_call *c) {
  const sno_map *m = c->op->data;
  sn_dtype t = computed_in(m, promote(c->in, c->nin));
  if (c->op->flags & SNO_WRITES) {
    const sn_dtype have = (sn_dtype)c->in[0]->dtype;
    if (sn_dtypes[t].category > sn_dtypes[have].category)
      return sn_fail("%s: a %s result cannot be written to a %s tensor; use %.*s without the _", c->op->name, sn_dtypes[t].name, sn_dtypes[have].name,
                     (int)strlen(c->op->name) - 1, c->op->name);
    t = have;
    for (int i = 1; i < c->nin; i++) { /* an operand that overlaps the destination otherwise than element for element */
      snt_tensor *y = c->in[i], *x = c->in[0];
      if (snt_may_overlap(x, y) && !(snt_same_shape(x, y) && x->offset == y->offset && memcmp(x->stride, y->stride, x->ndim * sizeof *x->stride) == 0) &&
          (c->in[i] = sno_call1(sno_find("clone"), y)) == NULL)
        return -1;
    }
  }
  for (int i = 0; i < c->nin; i++) {
    if (convert(c, i, sn_is_half(t) && c->in[i]->weak ? SN_F32 : t) < 0) return -1;
    if (!(i == 0 && c->op->flags & SNO_WRITES) && unturned(c, i) < 0) return -1;
  }
  return broadcast_inputs(c, 0, m->compare ? SN_BOOL : t);
}

int sno_map_params(const sno_op *op, const sno_val *attr, double *param) {
  const int n = sno_nattr(op);
  for (int i = 0; i < n; i++) param[i] = attr[i].absent ? (double)(i == 0 ? -INFINITY : INFINITY) : attr[i].kind == SNO_NUM ? attr[i].d : (double)attr[i].i;
  return n;
}

typedef struct row_ctx { snk_row *row; const double *param; } row_ctx;

static void run_row(void *p, int64_t n, char *const *q, const int64_t *s) {
  const row_ctx *r = p;
  r->row(n, q, s, r->param);
}

/* A row of two-byte floats, some at a time: as float32, and back. */
typedef struct half_ctx { row_ctx row; int nin; sn_dtype t; bool wide[3]; } half_ctx;

static void run_half_row(void *p, int64_t n, char *const *q, const int64_t *s) {
  enum { SOME = 512 };
  const half_ctx *h = p;
  _Alignas(64) float buf[4][SOME];
  for (int64_t i = 0, some; i < n; i += some) {
    char *at[4] = {(char *)buf[0]};
    int64_t step[4] = {4};
    some = n - i < SOME ? n - i : SOME;
    for (int k = 1; k <= h->nin; k++) {
      char *const x = q[k] + i * s[k];
      const bool wide = h->wide[k - 1];
      step[k] = wide ? s[k] : s[k] ? 4 : 0;
      at[k] = wide ? x : (char *)buf[k];
      if (!wide && (s[k] || i == 0)) snk_cast_row(s[k] ? some : 1, at[k], 4, SN_F32, x, s[k], h->t);
    }
    h->row.row(some, at, step, h->row.param);
    snk_cast_row(some, q[0] + i * s[0], s[0], h->t, at[0], 4, SN_F32);
  }
}

static void forward_map(sno_call *c) {
  const sno_map *m = c->op->data;
  double param[SNO_MAXATTR];
  sno_map_params(c->op, c->attr, param);
  const sn_dtype t = (sn_dtype)c->out[0]->dtype;
  row_ctx r = {snk_map_row(m->row, sn_is_half(t) ? SN_F32 : (sn_dtype)c->in[0]->dtype), param};
  const snt_tensor *ops[4] = {c->out[0], c->in[0], c->nin > 1 ? c->in[1] : NULL, c->nin > 2 ? c->in[2] : NULL};
  snt_iter it;
  snt_iter_init(&it, c->nin + 1, ops);
  if (!sn_is_half(t)) {
    snt_iter_run(&it, GRAIN, run_row, &r);
    return;
  }
  half_ctx h = {r, c->nin, t, {false}};
  for (int i = 0; i < c->nin; i++) h.wide[i] = c->in[i]->dtype == SN_F32;
  snt_iter_run(&it, GRAIN, run_half_row, &h);
}

bool sno_map_halves(const sno_op *op, int nin, snt_tensor *const *in) {
  int t = -1;
  if (op->infer != infer_map || op->flags & SNO_WRITES || ((const sno_map *)op->data)->compare) return false;
  for (int i = 0; i < nin; i++) {
    if (in[i] && in[i]->weak) continue;
    if (in[i] == NULL || !sn_is_half((sn_dtype)in[i]->dtype) || (t >= 0 && in[i]->dtype != t)) return false;
    t = in[i]->dtype;
  }
  return true;
}

bool sno_is_map(const sno_op *op) { return op->forward == forward_map; }

/* The fused backward of a function of one argument: gy and what was saved, both already of one type. */
static int infer_map_backward(sno_call *c) {
  const sn_dtype t = (sn_dtype)c->in[1]->dtype;
  if (convert(c, 0, t) < 0 || unturned(c, 0) < 0 || unturned(c, 1) < 0) return -1;
  return broadcast_inputs(c, 0, t);
}

snt_tensor *sno_weak(double v) {
  snt_tensor *t = sno_own(snt_scalar(SN_F64, v));
  if (t) t->weak = true;
  return t;
}

snt_tensor *sno_to(snt_tensor *x, sn_dtype t) {
  if (x == NULL || x->dtype == t) return x;
  sno_val a = {.kind = SNO_DTYPE, .i = t};
  return sno_run(&sno_op_to, 1, &x, 1, &a);
}

/* ---- the words as operations */
#define ADD(a, b) sno_add(a, b)
#define SUB(a, b) sno_sub(a, b)
#define MUL(a, b) sno_mul(a, b)
#define DIV(a, b) sno_div(a, b)
#define NEG(a) sno_neg(a)
#define SQUARE(a) sno_square(a)
#define LT(a, b) sno_lt(a, b)
#define GT(a, b) sno_gt(a, b)
#define EQ(a, b) sno_eq(a, b)
#define K(c) sno_weak(c)
#define P(i) sno_weak(param[i])
#define WHERE(m, a, b) sno_where(m, a, b)
#define ABS(a) sno_abs(a)
#define MAX(a, b) sno_maximum(a, b)
#define MIN(a, b) sno_minimum(a, b)
#define SIGN(a) sno_sign(a)
#define EXP(a) sno_exp(a)
#define EXPM1(a) sno_expm1(a)
#define LOG(a) sno_log(a)
#define LOG1P(a) sno_log1p(a)
#define SQRT(a) sno_sqrt(a)
#define SIN(a) sno_sin(a)
#define COS(a) sno_cos(a)
#define SINH(a) sno_sinh(a)
#define COSH(a) sno_cosh(a)
#define TANH(a) sno_tanh(a)
#define ERF(a) sno_erf(a)
#define SIGMOID(a) sno_sigmoid(a)
#define GELU_SLOPE(a) ADD(MUL(K(0.5), ADD(K(1), ERF(MUL(a, K(0.707106781186547524))))), MUL(MUL(a, K(0.398942280401432678)), EXP(MUL(K(-0.5), MUL(a, a)))))
#define FLOOR(a) sno_floor(a)
#define TRUNC(a) sno_trunc(a)
#define POW(a, b) sno_pow(a, b)

static snt_tensor *fused(sno_back *b, const sno_op *op) {
  snt_tensor *s = b->out[0] ? b->out[0] : b->in[0];
  return sno_run(op, SNO_IN(b->gy[0], s ? s : b->gy[0]), sno_nattr(b->op), b->attr);
}

#define MAP1(name, kinds, options, saved, F, G, samples, wrong)                                            \
  static int name##_back(sno_back *b) {                                                                    \
    double param[SNO_MAXATTR];                                                                             \
    sno_map_params(b->op, b->attr, param);                                                                 \
    if (!b->create_graph) { b->gx[0] = fused(b, &sno_op_##name##_backward); return b->gx[0] ? 0 : -1; }    \
    snt_tensor *GY = b->gy[0], *X = b->in[0], *Y = b->out[0];                                              \
    (void)X, (void)Y;                                                                                      \
    return (b->gx[0] = (G)) ? 0 : -1;                                                                      \
  }
#define MAP2(name, kinds, options, saved, F, GA, GB, samples, wrong)                                       \
  static int name##_back(sno_back *b) {                                                                    \
    snt_tensor *GY = b->gy[0], *A = b->in[0], *B = b->in[1], *Y = b->out[0];                               \
    (void)A, (void)B, (void)Y;                                                                             \
    if (b->want[0] && (b->gx[0] = sno_sum_to((GA), &b->in_spec[0])) == NULL) return -1;                    \
    if (b->want[1] && (b->gx[1] = sno_sum_to((GB), &b->in_spec[1])) == NULL) return -1;                    \
    return 0;                                                                                              \
  }
#define CMP2(...)
#include "calc/map.def"

/* ---- descriptors */
#define SX 1
#define SA 1
#define SB 2
#define SY 4
#define FLT true
#define NUM false
#define FLT_HIGH true
#define NUM_HIGH false
#define FLT_FLAGS 0
#define NUM_FLAGS 0
#define FLT_HIGH_FLAGS SNO_HIGH
#define NUM_HIGH_FLAGS SNO_HIGH
#define IN_PLACE(fn) #fn "_"
#define MAP1(fn, kinds, options, saved, F, G, samps, wrongs)                                             \
  static const sno_map fn##_map = {SNK_MAP_##fn, 1, false, kinds};                                     \
  static const sno_map fn##_backward_map = {SNK_MAP_##fn##_backward, 2, false, true};                  \
  const sno_op sno_op_##fn = {.name = #fn, .args = "x" options, .flags = kinds##_FLAGS, .nout = 1, .save_in = (saved) & 3, .save_out = (saved) >> 2, \
    .infer = infer_map, .forward = forward_map, .backward = fn##_back, .samples = samps, .wrong = wrongs, .data = &fn##_map}; \
  const sno_op sno_op_##fn##_ = {.name = IN_PLACE(fn), .args = "x" options, .flags = SNO_WRITES | SNO_METHOD_ONLY, .nout = 1, \
    .save_in = (saved) & 3, .save_out = (saved) >> 2, .infer = infer_map, .forward = forward_map, .backward = fn##_back, .data = &fn##_map}; \
  const sno_op sno_op_##fn##_backward = {.name = #fn "_backward", .args = "gy s" options, .flags = SNO_HIDDEN | SNO_NODIFF, .nout = 1, \
    .infer = infer_map_backward, .forward = forward_map, .data = &fn##_backward_map};
#define MAP2(fn, kinds, options, saved, F, GA, GB, samps, wrongs)                                        \
  static const sno_map fn##_map = {SNK_MAP_##fn, 2, false, kinds};                                     \
  const sno_op sno_op_##fn = {.name = #fn, .args = "a b" options, .flags = kinds##_FLAGS, .nout = 1, .save_in = (saved) & 3, .save_out = (saved) >> 2, \
    .infer = infer_map, .forward = forward_map, .backward = fn##_back, .samples = samps, .wrong = wrongs, .data = &fn##_map}; \
  const sno_op sno_op_##fn##_ = {.name = IN_PLACE(fn), .args = "a b" options, .flags = SNO_WRITES | SNO_METHOD_ONLY, .nout = 1, \
    .save_in = (saved) & 3, .save_out = (saved) >> 2, .infer = infer_map, .forward = forward_map, .backward = fn##_back, .data = &fn##_map};
#define CMP2(fn, op, samps)                                                                              \
  static const sno_map fn##_map = {SNK_MAP_##fn, 2, true, false};                                      \
  const sno_op sno_op_##fn = {.name = #fn, .args = "a b", .flags = SNO_NODIFF, .nout = 1, .infer = infer_map, .forward = forward_map, \
    .samples = samps, .wrong = "f(2,3), f(4) => do not go together", .data = &fn##_map};
#include "calc/map.def"

/* Rows made by no formula take the same way through the iterator; they stand in select.c. */
