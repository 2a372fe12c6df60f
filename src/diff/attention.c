/* attention.c - scaled dot product attention. The user's operation is made of the fused run, which keeps one number a row for its backward. */
#include "calc/attention.h"
#include <math.h>
#include "base/error.h"
#include "base/thread.h"
#include "diff/matmul.h"
#include "diff/ops.h"
#include "diff/tape.h"

enum { Q, K, VALUE, MASK };
enum { CAUSAL, SCALE, HEADS };

/* ---- the run: n x heads x t x d; or, with option `heads`, q, k and v side by side in one tensor n x t x 3 e, as a projection leaves them */

static snk_heads heads_of(const snt_tensor *t) { return (snk_heads){snt_data(t), t->stride[0], t->stride[1], t->stride[2]}; }

/* Columns of n x t x ..., `width` for each head, from column `from` on. */
static snk_heads columns_of(const snt_tensor *t, int64_t from, int64_t width) {
  return (snk_heads){(char *)snt_data(t) + from * (int64_t)sn_size_of((sn_dtype)t->dtype), t->stride[0], width, t->stride[1]};
}

static void set_mask(snk_attention_args *a, const snt_tensor *m) {
  if (m == NULL) return;
  a->mask_kind = m->dtype == SN_BOOL ? SNK_MASK_BOOL : SNK_MASK_ADD;
  a->mask = heads_of(m);
  if (m->shape[0] == 1) a->mask.sn = 0;
  if (m->shape[1] == 1) a->mask.sh = 0;
  if (m->shape[2] == 1) a->mask.st = 0;
  a->mask_column = m->shape[3] == 1 ? 0 : m->stride[3];
}

/* in: q, k, v, mask (of four dimensions, each 1 or that of the scores) */
static snk_attention_args args_of(snt_tensor *const *in, const sno_val *attr) {
  const snt_tensor *q = in[Q], *k = in[K], *v = in[VALUE];
  snk_attention_args a = {.f64 = q->dtype == SN_F64, .causal = attr[CAUSAL].i, .scale = attr[SCALE].d, .n = q->shape[0]};
  if (attr[HEADS].i) {
    a.heads = attr[HEADS].i;
    a.tq = a.tk = q->shape[1];
    a.d = a.dv = q->shape[2] / 3 / a.heads;
    a.q = columns_of(q, 0, a.d), a.k = columns_of(q, a.heads * a.d, a.d), a.v = columns_of(q, 2 * a.heads * a.d, a.d);
  } else {
    a.heads = q->shape[1], a.tq = q->shape[2], a.tk = k->shape[2], a.d = q->shape[3], a.dv = v->shape[3];
    a.q = heads_of(q), a.k = heads_of(k), a.v = heads_of(v);
  }
  set_mask(&a, in[MASK]);
  return a;
}

static snk_heads result_of(const snt_tensor *y, const snk_attention_args *a, bool packed) {
  return packed ? columns_of(y, 0, a->dv) : heads_of(y);
}

/* Rows must be whole: numbers of a row are neighbours. */
static int rows_whole(sno_call *c, int i) {
  const snt_tensor *t = c->in[i];
  if (t == NULL || t->shape[t->ndim - 1] <= 1 || t->stride[t->ndim - 1] == 1) return 0;
  return (c->in[i] = sno_call1(&sno_op_contiguous, c->in[i])) ? 0 : -1;
}

static int infer_run(sno_call *c) {
  for (int i = Q; i <= VALUE; i++)
    if (rows_whole(c, i) < 0) return -1;
  const snt_tensor *q = c->in[Q];
  const snk_attention_args a = args_of(c->in, c->attr);
  if (c->attr[HEADS].i) sno_want(c, 0, (sn_dtype)q->dtype, 3, (int64_t[]){a.n, a.tq, a.heads * a.d});
  else sno_want(c, 0, (sn_dtype)q->dtype, 4, (int64_t[]){a.n, a.heads, a.tq, a.dv});
  sno_want(c, 1, (sn_dtype)q->dtype, 3, (int64_t[]){a.n, a.heads, a.tq});
  return sn_scratch_reserve(snk_attention_scratch(&a));
}

static void forward_run(sno_call *c) {
  snk_attention_args a = args_of(c->in, c->attr);
  a.y = result_of(c->out[0], &a, c->attr[HEADS].i), a.lse = snt_data(c->out[1]);
  snk_attention(&a);
}

/* gy, y, lse, q, k, v, mask */
enum { GY, Y, LSE, FIRST };

static int infer_backward(sno_call *c) {
  const bool packed = c->attr[HEADS].i;
  const int64_t none = 0;
  if (sno_cast_input(c, GY, (sn_dtype)c->in[FIRST]->dtype) < 0) return -1;
  for (int i = 0; i < FIRST + MASK; i++)
    if (i != LSE && rows_whole(c, i) < 0) return -1;
  const snk_attention_args a = args_of(c->in + FIRST, c->attr);
  for (int i = 0; i < 3; i++)
    if (packed && i > 0) sno_want(c, i, (sn_dtype)c->in[FIRST]->dtype, 1, &none);
    else sno_want(c, i, (sn_dtype)c->in[FIRST]->dtype, packed ? 3 : 4, c->in[FIRST + i]->shape);
  return sn_scratch_reserve(snk_attention_scratch(&a));
}

static void forward_backward(sno_call *c) {
  const bool packed = c->attr[HEADS].i;
  snk_attention_args a = args_of(c->in + FIRST, c->attr);
  a.gy = result_of(c->in[GY], &a, packed), a.y = result_of(c->in[Y], &a, packed), a.lse = snt_data(c->in[LSE]);
  snk_heads *const to[3] = {&a.gq, &a.gk, &a.gv};
  for (int i = 0; i < 3; i++) *to[i] = packed ? columns_of(c->out[0], i * a.heads * a.d, a.d) : heads_of(c->out[i]);
  snk_attention_backward(&a);
}

/*** attention_backward(gy, y, lse, q, k?, v?, mask?, causal, scale, heads)
 * The gradients of q, k and v; the probabilities are made again from q, k and the logarithms of their sums.
 * @math \bar s = p \odot (\bar y v^T - \textstyle\sum \bar y \odot y)\, c, \quad \bar q = \bar s\, k, \quad \bar k = \bar s^T q, \quad \bar v = p^T
 *   \bar y
 */
/* Two products over all scores, or half of them; the gradient has five. */
static double flops_of(const snt_tensor *y, const snt_tensor *q, const snt_tensor *k, bool causal) {
  const snt_tensor *keys = k ? k : q;
  return (causal ? 2.0 : 4.0) * (double)snt_numel(y) * (double)keys->shape[keys->ndim - 2];
}
static double flops_run(const sno_call *c) { return flops_of(c->out[0], c->in[Q], c->in[K], c->attr[CAUSAL].i); }
static double flops_backward(const sno_call *c) { return 2.5 * flops_of(c->in[Y], c->in[FIRST + Q], c->in[FIRST + K], c->attr[CAUSAL].i); }

const sno_op sno_op_attention_backward = {.name = "attention_backward", .args = "gy y lse q k? v? mask? causal:bool scale:num heads:int", .flops = flops_backward,
                                          .flags = SNO_HIDDEN | SNO_NODIFF, .nout = 3, .infer = infer_backward, .forward = forward_backward};

/* ---- the gradient in plain operations: of a mask, and to be differentiated again */

static snt_tensor *narrowed(snt_tensor *x, int64_t from, int64_t length) {
  return sno_run(&sno_op_narrow, SNO_IN(x), SNO_ATTRS({.kind = SNO_DIM, .i = 2}, {.kind = SNO_POS, .i = from}, sno_int(length)));
}

static snt_tensor *swapped_12(snt_tensor *x) {
  return sno_run(&sno_op_transpose, SNO_IN(x), SNO_ATTRS({.kind = SNO_DIM, .i = 1}, {.kind = SNO_DIM, .i = 2}));
}

/* n x t x e as n x heads x t x d, and back */
static snt_tensor *in_heads(snt_tensor *x, int64_t heads) {
  return x ? swapped_12(sno_shaped(x, 4, (int64_t[]){x->shape[0], x->shape[1], heads, x->shape[2] / heads})) : NULL;
}
static snt_tensor *side_by_side(snt_tensor *x) {
  x = x ? swapped_12(x) : NULL;
  return x ? sno_shaped(x, 3, (int64_t[]){x->shape[0], x->shape[1], x->shape[2] * x->shape[3]}) : NULL;
}

static snt_tensor *probabilities(snt_tensor *q, snt_tensor *k, snt_tensor *m, const sno_val *attr) {
  snt_tensor *s = q && k ? sno_scale(sno_call2(&sno_op_matmul, q, sno_swap_last(k)), attr[SCALE].d) : NULL;
  snt_tensor *none = s ? sno_own(snt_scalar((sn_dtype)s->dtype, (double)-INFINITY)) : NULL;
  if (none == NULL) return NULL;
  if (m) s = m->dtype == SN_BOOL ? sno_where(m, s, none) : sno_add(s, m);
  if (s && attr[CAUSAL].i) {
    const sno_val size = sno_ints(2, s->shape + 2);
    snt_tensor *ones = sno_run(&sno_op_ones, 0, NULL, SNO_ATTRS(size, {.kind = SNO_DTYPE, .i = SN_U8}));
    s = sno_where(sno_to(sno_call1(&sno_op_tril, ones), SN_BOOL), s, none);
  }
  return s ? sno_run(&sno_op_softmax, SNO_IN(s), SNO_ATTRS({.kind = SNO_DIM, .i = -1})) : NULL;
}

static int back_plain(sno_back *b) {
  const int64_t heads = b->attr[HEADS].i, e = heads ? b->in[Q]->shape[2] / 3 : 0;
  snt_tensor *g = b->gy[0], *qkv[3] = {b->in[Q], b->in[K], b->in[VALUE]}, *to[3] = {NULL, NULL, NULL};
  if (heads) {
    g = in_heads(g, heads);
    for (int i = 0; i < 3; i++) qkv[i] = in_heads(narrowed(b->in[Q], i * e, e), heads);
  }
  snt_tensor *p = probabilities(qkv[Q], qkv[K], b->in[MASK], b->attr);
  if (p == NULL) return -1;
  snt_tensor *dp = sno_call2(&sno_op_matmul, g, sno_swap_last(qkv[VALUE]));
  snt_tensor *sum = sno_run(&sno_op_sum, SNO_IN(sno_mul(p, dp)), SNO_ATTRS({.kind = SNO_DIMS, .n = 1, .v = {3}}, sno_bool(true)));
  snt_tensor *ds = sno_mul(p, sno_sub(dp, sum));
  if (ds == NULL) return -1;
  snt_tensor *scaled = sno_scale(ds, b->attr[SCALE].d);
  if ((heads || b->want[Q]) && (to[Q] = sno_call2(&sno_op_matmul, scaled, qkv[K])) == NULL) return -1;
  if ((heads || b->want[K]) && (to[K] = sno_call2(&sno_op_matmul, sno_swap_last(scaled), qkv[Q])) == NULL) return -1;
  if ((heads || b->want[VALUE]) && (to[VALUE] = sno_call2(&sno_op_matmul, sno_swap_last(p), g)) == NULL) return -1;
  if (b->want[MASK] && (b->gx[MASK] = sno_sum_to(ds, &b->in_spec[MASK])) == NULL) return -1;
  if (!heads) {
    for (int i = Q; i <= VALUE; i++) b->gx[i] = to[i];
    return 0;
  }
  if (!b->want[Q]) return 0;
  snt_tensor *out[SNO_MAXOUT];
  if (sno_invoke(&sno_op_cat, SNO_IN(side_by_side(to[Q]), side_by_side(to[K]), side_by_side(to[VALUE])), 3, SNO_ATTRS({.kind = SNO_DIM, .i = 2}), out,
                 NULL, NULL) < 0)
    return -1;
  b->gx[Q] = out[0];
  return 0;
}

static int back_run(sno_back *b) {
  if (b->gy[0] == NULL) return 0;
  if (b->create_graph || b->want[MASK]) return back_plain(b);
  snt_tensor *out[SNO_MAXOUT];
  if (sno_invoke(&sno_op_attention_backward, SNO_IN(b->gy[0], b->out[0], b->out[1], b->in[Q], b->in[K], b->in[VALUE], b->in[MASK]), -1, 3, b->attr,
      out,
                 NULL, NULL) < 0)
    return -1;
  for (int i = Q; i <= VALUE; i++)
    if (b->want[i]) b->gx[i] = out[i];
  return 0;
}

/*** attention_run(q, k?, v?, mask?, causal, scale, heads)
 * Attention of n x heads x t x d, and for each row the logarithm of the sum of its exponentials. With `heads` above 0 q is n x t x 3 e and holds all
 * three side by side, and the result is n x t x e.
 * @math y = \mathrm{softmax}(c\, q k^T + m)\, v
 */
const sno_op sno_op_attention_run = {.name = "attention_run", .args = "q k? v? mask? causal:bool scale:num heads:int", .flops = flops_run, .flags = SNO_LOW | SNO_HIDDEN, .nout = 2,
                                     .save_in = 15, .save_out = 3, .infer = infer_run, .forward = forward_run, .backward = back_run};

/* ---- the user's operation */

/* n x t x d is one head. */
static snt_tensor *with_heads(snt_tensor *x) {
  return x->ndim == 4 ? x : sno_run(&sno_op_unsqueeze, SNO_IN(x), SNO_ATTRS({.kind = SNO_DIM, .i = 1}));
}

static int check(const sno_call *c) {
  static const char *const names[] = {"q", "k", "v", "mask"};
  const snt_tensor *q = c->in[Q], *k = c->in[K], *v = c->in[VALUE];
  const char *op = c->op->name;
  for (int i = Q; i <= MASK; i++)
    if (c->in[i] && !sn_is_float((sn_dtype)c->in[i]->dtype) && !(i == MASK && c->in[i]->dtype == SN_BOOL))
      return sn_fail("%s: %s is %s; it wants floating numbers%s", op, names[i], sn_dtypes[c->in[i]->dtype].name,
          i == MASK ? " to add, or booleans" : "");
  if ((q->ndim != 4 && q->ndim != 3) || k->ndim != q->ndim || v->ndim != q->ndim)
    return sn_fail("%s: q is %s, k %s, v %s; all want n x heads x t x d, or all n x t x d", op, SNT_SHAPE(q), SNT_SHAPE(k), SNT_SHAPE(v));
  const int n = q->ndim;
  for (int d = 0; d < n - 2; d++)
    if (k->shape[d] != q->shape[d] || v->shape[d] != q->shape[d])
      return sn_fail("%s: q is %s, k %s, v %s; their first %d dimensions must be equal", op, SNT_SHAPE(q), SNT_SHAPE(k), SNT_SHAPE(v), n - 2);
  if (q->shape[n - 1] != k->shape[n - 1])
    return sn_fail("%s: q has %lld features, k has %lld (q %s, k %s)", op, (long long)q->shape[n - 1], (long long)k->shape[n - 1], SNT_SHAPE(q),
        SNT_SHAPE(k));
  if (k->shape[n - 2] != v->shape[n - 2])
    return sn_fail("%s: there are %lld keys and %lld values (k %s, v %s)", op, (long long)k->shape[n - 2], (long long)v->shape[n - 2],
        SNT_SHAPE(k), SNT_SHAPE(v));
  if (k->shape[n - 2] == 0 || k->shape[n - 1] == 0) return sn_fail("%s: k is %s; there must be keys, and features in them", op, SNT_SHAPE(k));
  if (!c->attr[1].absent && !isfinite(c->attr[1].d)) return sn_fail("%s: scale is %g; it wants to be a finite number", op, c->attr[1].d);
  return 0;
}

/* As four dimensions, of the number type of the scores unless boolean. Broadcasting stays with strides. */
static int mask_of(snt_tensor *m, const snt_tensor *q, const snt_tensor *k, sn_dtype t, snt_tensor **out) {
  const int64_t want[4] = {q->shape[0], q->shape[1], q->shape[2], k->shape[2]};
  int64_t shape[4] = {1, 1, 1, 1};
  *out = NULL;
  if (m == NULL) return 0;
  bool fits = m->ndim <= 4;
  for (int d = 0; fits && d < m->ndim; d++) {
    shape[4 - m->ndim + d] = m->shape[d];
    fits = m->shape[d] == 1 || m->shape[d] == want[4 - m->ndim + d];
  }
  if (!fits)
    return sn_fail("scaled_dot_product_attention: mask is %s; it must broadcast to the scores, %s", SNT_SHAPE(m), snt_shape_str(4, want,
        (char[96]){0}, 96));
  if (m->ndim < 4) m = sno_shaped(m, 4, shape);
  return m && (*out = m->dtype == SN_BOOL ? m : sno_to(m, t)) ? 0 : -1;
}

static int infer_attention(sno_call *c) {
  if (check(c) < 0) return -1;
  const int n = c->in[Q]->ndim;
  sn_dtype t = (sn_dtype)c->in[Q]->dtype;
  for (int i = K; i <= VALUE; i++) t = sn_dtype_promote(t, (sn_dtype)c->in[i]->dtype);
  snt_tensor *in[4], *m = c->in[MASK], *out[SNO_MAXOUT];
  for (int i = Q; i <= VALUE; i++)
    if ((in[i] = sno_to(with_heads(c->in[i]), t)) == NULL) return -1;
  if (m && n == 3 && m->ndim == 3 && (m = with_heads(m)) == NULL) return -1;
  if (mask_of(m, in[Q], in[K], t, &in[MASK]) < 0) return -1;
  const double scale = c->attr[1].absent ? 1 / sqrt((double)in[Q]->shape[3]) : c->attr[1].d;
  if (sno_invoke(&sno_op_attention_run, 4, in, -1, SNO_ATTRS(c->attr[0], sno_num(scale), sno_int(0)), out, NULL, NULL) < 0) return -1;
  snt_tensor *y = out[0];
  if (n == 3) y = sno_run(&sno_op_squeeze, SNO_IN(y), SNO_ATTRS({.kind = SNO_DIMS, .n = 1, .v = {1}}));
  for (int i = Q; i <= MASK; i++) c->in[i] = NULL;
  c->in[0] = y;
  return y && (c->want[0].alias = snt_view(y)) ? 0 : -1;
}

static int back_attention(sno_back *b) {
  b->gx[0] = b->gy[0];
  return 0;
}

/*** scaled_dot_product_attention(q, k, v, mask?, {causal = false, scale = 1/sqrt(d)})
 * Each query's mean of the values, weighted by how well it goes with the keys. q is n x heads x tq x d, k n x heads x tk x d, v n x heads x tk x dv
 * (or all without heads); the result is n x heads x tq x dv. `mask` broadcasts to n x heads x tq x tk: booleans say which keys may be seen, numbers
 * are added to the scores. `causal` lets query i see keys 1..i only. A query that sees no key gives zeros. The matrix of all scores is never made.
 * @math y_i = \sum_j p_{ij}\, v_j, \quad p_i = \mathrm{softmax}_j(c\, q_i \cdot k_j + m_{ij})
 * @grad \bar v = p^T \bar y, \quad \bar s_{ij} = p_{ij} (\bar y_i \cdot v_j - \bar y_i \cdot y_i), \quad \bar q = c\, \bar s\, k, \quad \bar k = c\,
 *   \bar s^T q, \quad \bar m = \bar s
 * @source Vaswani et al.: Attention is all you need, 2017; Dao et al.: FlashAttention, 2022 (probabilities made again from the sums' logarithms)
 * @see MultiheadAttention, softmax
 */
const sno_op sno_op_scaled_dot_product_attention = {
    .name = "scaled_dot_product_attention", .args = "q k v mask? causal:bool=false scale:num?", .flags = SNO_LOW | SNO_VIEW, .nout = 1,
        .infer = infer_attention,
    .backward = back_attention,
    .samples = "f(2,2,3,4), f(2,2,3,4), f(2,2,3,4); f(1,2,5,3), f(1,2,5,3), f(1,2,5,2), {causal=true}; f(2,3,4), f(2,5,4), f(2,5,3), {scale=0.5};"
               " f(1,2,3,4), f(1,2,5,4), f(1,2,5,2), f(3,5); f(2,1,3,2), f(2,1,4,2), f(2,1,4,9), m(2,1,1,4);"
               " f(1,1,34,2), f(1,1,34,2), f(1,1,34,1), {causal=true};"
               " f(2,3,4), f(2,5,4), f(2,5,3), f(2,1,5), {causal=true}",
    .wrong = "f(2,3,4), f(2,3,5), f(2,3,4) => q has 4 features; f(2,3,4), f(2,3,4), f(2,4,4) => 3 keys and 4 values;"
        " f(3,4), f(3,4), f(3,4) => n x heads x t x d;"
             " f(2,3,4), f(1,3,4), f(2,3,4) => must be equal; f(2,3,4), f(2,3,4), f(2,3,4), f(2,2) => must broadcast;"
             " i(1,5,2,3,4), f(2,3,4), f(2,3,4) => q is int64;"
             " f(2,3,4), f(2,3,4), f(2,3,4), i(0,1,3,3) => or booleans; f(2,3,4), f(2,0,4), f(2,0,4) => there must be keys"};
