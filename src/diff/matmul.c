/* matmul.c - products of matrices and vectors in all their shapes. Their gradients are products with transposed views. */
#include "diff/matmul.h"
#include <string.h>
#include "base/error.h"
#include "base/thread.h"
#include "calc/map.h"
#include "core/iter.h"
#include "diff/ops.h"
#include "diff/tape.h"

/* ---- shared */

snt_tensor *sno_swap_last(snt_tensor *x) {
  if (x == NULL) return NULL;
  return sno_run(&sno_op_transpose, SNO_IN(x), SNO_ATTRS({.kind = SNO_DIM, .i = x->ndim - 2}, {.kind = SNO_DIM, .i = x->ndim - 1}));
}

snt_tensor *sno_shaped(snt_tensor *x, int ndim, const int64_t *shape) {
  if (x == NULL) return NULL;
  return sno_run(&sno_op_reshape, SNO_IN(x), SNO_ATTRS(sno_ints(ndim, shape)));
}

/* Bring both inputs to one number type the kernels know. */
static int same_dtype(sno_call *c, int a, int b) {
  const char *name = c->op->name;
  for (int i = a; i <= b; i++)
    if (c->in[i] && c->in[i]->dtype == SN_BOOL) return sn_fail("%s: bool tensors have no product; x:to(\"float32\") first", name);
  sn_dtype t = sn_dtype_promote((sn_dtype)c->in[a]->dtype, (sn_dtype)c->in[b]->dtype);
  for (int i = a; i <= b; i++)
    if (sno_cast_input(c, i, t) < 0) return -1;
  return sn_scratch_reserve(SNK_GEMM_SCRATCH);
}

static bool fold(const snk_gemm_args *g, int d) {
  return g->bbatch[d] == 0 && g->abatch[d] == g->ars * g->m && g->cbatch[d] == g->crs * g->m;
}

void sno_gemm_fill(snk_gemm_args *g, const snt_tensor *a, const snt_tensor *b, const snt_tensor *out) {
  int an = a->ndim, bn = b->ndim;
  g->f64 = out->dtype == SN_F64;
  g->a = snt_data(a), g->b = snt_data(b), g->c = snt_data(out);
  g->k = a->shape[an - 1];
  g->acs = a->stride[an - 1];
  g->m = an > 1 ? a->shape[an - 2] : 1;
  g->ars = an > 1 ? a->stride[an - 2] : 0;
  g->n = bn > 1 ? b->shape[bn - 1] : 1;
  g->bcs = bn > 1 ? b->stride[bn - 1] : 1;
  g->brs = b->stride[bn > 1 ? bn - 2 : 0];
  g->crs = g->n, g->ccs = 1;
  int na = an > 2 ? an - 2 : 0, nb = bn > 2 ? bn - 2 : 0, n = na > nb ? na : nb;
  int64_t step = g->m * g->n;
  bool folding = true;
  int64_t size[SNK_GEMM_BATCH], as[SNK_GEMM_BATCH], bs[SNK_GEMM_BATCH], cs[SNK_GEMM_BATCH];
  int kept = 0;
  for (int d = n - 1; d >= 0; d--) { /* from the innermost; kept dimensions are collected backwards */
    int ad = d - (n - na), bd = d - (n - nb);
    int64_t sa = ad >= 0 ? a->shape[ad] : 1, sb = bd >= 0 ? b->shape[bd] : 1;
    int64_t s = sa != 1 ? sa : sb;
    g->batch[0] = s;
    g->abatch[0] = sa != 1 ? a->stride[ad] : 0;
    g->bbatch[0] = sb != 1 ? b->stride[bd] : 0;
    g->cbatch[0] = step;
    step *= s;
    if (s == 1) continue;
    if (folding && an > 1 && fold(g, 0)) {
      g->m *= s;
      continue;
    }
    folding = false;
    size[kept] = s, as[kept] = g->abatch[0], bs[kept] = g->bbatch[0], cs[kept] = g->cbatch[0];
    kept++;
  }
  g->nbatch = kept;
  for (int d = 0; d < kept; d++) {
    int from = kept - 1 - d;
    g->batch[d] = size[from], g->abatch[d] = as[from], g->bbatch[d] = bs[from], g->cbatch[d] = cs[from];
  }
}

static void run_ints(const snk_gemm_args *g, sn_dtype t) {
  int64_t batches = 1, size = (int64_t)sn_size_of(t);
  for (int d = 0; d < g->nbatch; d++) batches *= g->batch[d];
  for (int64_t q = 0; q < batches; q++) {
    int64_t ao = 0, bo = 0, co = 0, left = q;
    for (int d = g->nbatch - 1; d >= 0; d--) {
      int64_t i = left % g->batch[d];
      left /= g->batch[d];
      ao += i * g->abatch[d], bo += i * g->bbatch[d], co += i * g->cbatch[d];
    }
    snk_gemm_int((int)t, g->m, g->n, g->k, (const char *)g->a + ao * size, g->ars, g->acs, (const char *)g->b + bo * size, g->brs, g->bcs,
                 (char *)g->c + co * size, g->crs, g->ccs);
  }
}

static snk_gemm_args product_of(const sno_call *c) {
  snk_gemm_args g = {.round = c->round, .round_b = c->round_weight, .half = c->half};
  sno_gemm_fill(&g, c->in[0], c->in[1], c->out[0]);
  g.narrow = (c->in[0]->dtype == SN_BF16 ? SNK_GEMM_A : 0) | (c->in[1]->dtype == SN_BF16 ? SNK_GEMM_B : 0) | (c->out[0]->dtype == SN_BF16 ? SNK_GEMM_C : 0);
  return g;
}

static bool halved_product(sno_call *c, int k) {
  const snk_gemm_args g = product_of(c);
  return snk_gemm_narrow(&g, k == 0 ? SNK_GEMM_A : k == 1 ? SNK_GEMM_B : SNK_GEMM_C);
}

static void forward_product(sno_call *c) {
  const snk_gemm_args g = product_of(c);
  if (sn_is_float((sn_dtype)c->out[0]->dtype)) snk_gemm_run(&g);
  else run_ints(&g, (sn_dtype)c->out[0]->dtype);
}

/* ---- matmul */

static double flops_product(const sno_call *c) { return 2.0 * (double)snt_numel(c->out[0]) * (double)c->in[0]->shape[c->in[0]->ndim - 1]; }

static int infer_matmul(sno_call *c) {
  const snt_tensor *a = c->in[0], *b = c->in[1];
  const char *name = c->op->name;
  if (a->ndim == 0 || b->ndim == 0)
    return sn_fail("%s: wants tensors of at least one dimension, got %s and %s; x:mul(y) multiplies by a number", name, SNT_SHAPE(a), SNT_SHAPE(b));
  int64_t ka = a->shape[a->ndim - 1], kb = b->shape[b->ndim > 1 ? b->ndim - 2 : 0];
  if (ka != kb)
    return sn_fail("%s: %s has %lld columns, %s has %lld rows; they must be equal (a:t() turns a matrix)", name, SNT_SHAPE(a), (long long)ka,
                   SNT_SHAPE(b), (long long)kb);
  int64_t shape[SNT_MAXDIM];
  int n = snt_broadcast(a->ndim > 2 ? a->ndim - 2 : 0, a->shape, b->ndim > 2 ? b->ndim - 2 : 0, b->shape, shape, name);
  if (n < 0) return -1;
  if (a->ndim > 1) shape[n++] = a->shape[a->ndim - 2];
  if (b->ndim > 1) shape[n++] = b->shape[b->ndim - 1];
  if (snt_check_shape(n, shape, name) < 0 || same_dtype(c, 0, 1) < 0) return -1;
  sno_want(c, 0, (sn_dtype)c->in[0]->dtype, n, shape);
  return 0;
}

/* x with 1-d operands made the row or column they stand for. */
static snt_tensor *as_matrix(snt_tensor *x, bool row) {
  if (x->ndim != 1) return x;
  return sno_shaped(x, 2, row ? (int64_t[]){1, x->shape[0]} : (int64_t[]){x->shape[0], 1});
}

static snt_tensor *restore(snt_tensor *g, const sno_out *spec) {
  if (g == NULL) return NULL;
  if (spec->ndim > 1) return sno_sum_to(g, spec);
  /* a vector: sum what was broadcast, then drop the 1 */
  sno_out m = *spec;
  bool row = g->shape[g->ndim - 1] == spec->shape[0] && g->shape[g->ndim - 2] == 1;
  m.ndim = 2;
  m.shape[0] = row ? 1 : spec->shape[0];
  m.shape[1] = row ? spec->shape[0] : 1;
  g = sno_sum_to(g, &m);
  return g ? sno_shaped(g, 1, spec->shape) : NULL;
}

static int back_matmul(sno_back *b) {
  snt_tensor *x = b->in[0], *y = b->in[1], *g = b->gy[0];
  const sno_out *xs = &b->in_spec[0], *ys = &b->in_spec[1];
  if (xs->ndim == 1 && ys->ndim == 1) {
    if (b->want[0] && (b->gx[0] = sno_call2(&sno_op_mul, y, g)) == NULL) return -1;
    if (b->want[1] && (b->gx[1] = sno_call2(&sno_op_mul, x, g)) == NULL) return -1;
    return 0;
  }
  if (xs->ndim == 1 || ys->ndim == 1) { /* the gradient gets back the 1 that was dropped */
    int64_t shape[SNT_MAXDIM + 1];
    int n = 0;
    for (int i = 0; i < g->ndim - (xs->ndim == 1); i++) shape[n++] = g->shape[i];
    shape[n++] = 1;
    if (xs->ndim == 1) shape[n++] = g->shape[g->ndim - 1];
    if ((g = sno_shaped(g, n, shape)) == NULL) return -1;
  }
  if (b->want[0]) {
    snt_tensor *m = as_matrix(y, false);
    if ((b->gx[0] = restore(sno_call2(&sno_op_matmul, g, sno_swap_last(m)), xs)) == NULL) return -1;
  }
  if (b->want[1]) {
    snt_tensor *m = as_matrix(x, true);
    if (m && ys->ndim == 2 && m->ndim > 2) { /* one product over all rows instead of a sum over products */
      int64_t k = m->shape[m->ndim - 1], n = g->shape[g->ndim - 1], rows = snt_numel(g) / (n > 0 ? n : 1);
      if (k > 0 && n > 0) {
        m = sno_shaped(m, 2, (int64_t[]){rows, k});
        g = sno_shaped(g, 2, (int64_t[]){rows, n});
      }
    }
    if ((b->gx[1] = restore(sno_call2(&sno_op_matmul, sno_swap_last(m), g), ys)) == NULL) return -1;
  }
  return 0;
}

/*** matmul(a, b)
 * The product of matrices: of the last two dimensions, with the leading ones broadcast (b x n x k times b x k x m gives b x n x m). A 1-d `a` is a
 * row, a 1-d `b` a column, and the dimension added for it is dropped again; two of them give the 0-d dot product. Integers wrap.
 * @math c_{ij} = \sum_k a_{ik}\, b_{kj}
 * @grad \bar a = \bar c\, b^T, \quad \bar b = a^T \bar c
 * @see mm, bmm, linear
 */
const sno_op sno_op_matmul = {
    .name = "matmul", .args = "a b", .flops = flops_product, .flags = SNO_ROUNDS | SNO_LOW | SNO_HALVES, .nout = 1, .save_in = 3, .infer = infer_matmul, .forward = forward_product, .backward = back_matmul, .halved = halved_product,
    .samples = "f(2,3), f(3,4); f(5,2,3), f(5,3,4); f(3), f(3); f(3), f(3,2); f(2,3), f(3); f(2,1,2,3), f(4,3,2); f(3), f(2,3,4); f(2,3,4), f(4);"
               " f(2,3,4), f(4,5); f(2,0), f(0,3); f(0,2), f(2,3); f(7,40), f(40,33)",
    .wrong = "f(2,3), f(4,5) => 2x3 has 3 columns; f(2,2,3), f(3,3,4) => matmul; f(), f(3) => dimension; b(2,2), b(2,2) => bool"};

static int rank_fail(const sno_call *c, const char *want) {
  return sn_fail("%s: wants %s, got %s and %s; matmul takes all shapes", c->op->name, want, SNT_SHAPE(c->in[0]), SNT_SHAPE(c->in[1]));
}
static int infer_mm(sno_call *c) {
  return c->in[0]->ndim != 2 || c->in[1]->ndim != 2 ? rank_fail(c, "two matrices") : infer_matmul(c);
}
static int infer_bmm(sno_call *c) {
  if (c->in[0]->ndim != 3 || c->in[1]->ndim != 3 || c->in[0]->shape[0] != c->in[1]->shape[0])
    return rank_fail(c, "two 3-d tensors with an equal first dimension");
  return infer_matmul(c);
}
static int infer_mv(sno_call *c) {
  return c->in[0]->ndim != 2 || c->in[1]->ndim != 1 ? rank_fail(c, "a matrix and a vector") : infer_matmul(c);
}
static int infer_dot(sno_call *c) {
  if (c->in[0]->ndim != 1 || c->in[1]->ndim != 1 || c->in[0]->shape[0] != c->in[1]->shape[0]) return rank_fail(c, "two vectors of one length");
  return infer_matmul(c);
}

/*** mm(a, b)
 * The product of two matrices, n x k times k x m.
 * @math c_{ij} = \sum_k a_{ik}\, b_{kj}
 * @grad \bar a = \bar c\, b^T, \quad \bar b = a^T \bar c
 * @see matmul
 */
const sno_op sno_op_mm = {.name = "mm", .args = "a b", .flops = flops_product, .flags = SNO_ROUNDS | SNO_LOW | SNO_HALVES, .nout = 1, .save_in = 3, .infer = infer_mm, .forward = forward_product, .backward = back_matmul, .halved = halved_product,
                          .samples = "f(2,3), f(3,4); f(1,5), f(5,1)", .wrong = "f(2,3), f(3) => two matrices; f(2,3), f(2,3) => columns"};

/*** bmm(a, b)
 * Products of matrices in a batch, b x n x k times b x k x m, without broadcasting.
 * @math c_{qij} = \sum_k a_{qik}\, b_{qkj}
 * @grad \bar a_q = \bar c_q\, b_q^T, \quad \bar b_q = a_q^T \bar c_q
 * @see matmul
 */
const sno_op sno_op_bmm = {.name = "bmm", .args = "a b", .flops = flops_product, .flags = SNO_ROUNDS | SNO_LOW | SNO_HALVES, .nout = 1, .save_in = 3, .infer = infer_bmm, .forward = forward_product,
                           .backward = back_matmul, .samples = "f(2,3,4), f(2,4,2)", .wrong = "f(2,3,4), f(3,4,2) => equal first; f(2,3), f(3,4) => 3-d"};

/*** mv(a, x)
 * A matrix times a vector, n x k times k.
 * @math y_i = \sum_k a_{ik}\, x_k
 * @grad \bar a = \bar y\, x^T, \quad \bar x = a^T \bar y
 * @see matmul
 */
const sno_op sno_op_mv = {.name = "mv", .args = "a x", .flops = flops_product, .flags = SNO_ROUNDS | SNO_LOW | SNO_HALVES, .nout = 1, .save_in = 3, .infer = infer_mv, .forward = forward_product, .backward = back_matmul,
                          .samples = "f(3,4), f(4)", .wrong = "f(3,4), f(4,1) => a vector; f(3,4), f(3) => columns"};

/*** dot(a, b)
 * The inner product of two vectors of one length, a 0-d tensor.
 * @math y = \sum_k a_k b_k
 * @grad \bar a = \bar y\, b, \quad \bar b = \bar y\, a
 * @see matmul
 */
const sno_op sno_op_dot = {.name = "dot", .args = "a b", .flops = flops_product, .nout = 1, .save_in = 3, .infer = infer_dot, .forward = forward_product,
                           .backward = back_matmul, .samples = "f(5), f(5)", .wrong = "f(5), f(4) => one length; f(2,2), f(4) => vectors"};

/* ---- outer: written as it is made, and so no product of matrices */

#define OUTER_GRAIN 32768

static int infer_outer(sno_call *c) {
  if (c->in[0]->ndim != 1 || c->in[1]->ndim != 1) return rank_fail(c, "two vectors");
  int64_t shape[2] = {c->in[0]->shape[0], c->in[1]->shape[0]};
  if (snt_check_shape(2, shape, "outer") < 0 || same_dtype(c, 0, 1) < 0) return -1;
  sno_want(c, 0, (sn_dtype)c->in[0]->dtype, 2, shape);
  return 0;
}

static void product_row(void *ctx, int64_t n, char *const *p, const int64_t *s) { ((snk_row *)(uintptr_t)ctx)(n, p, s, NULL); }

static void forward_outer(sno_call *c) {
  snt_tensor a = *c->in[0];
  a.ndim = 2, a.shape[1] = 1, a.stride[1] = 0;
  snt_iter it;
  snt_iter_init(&it, 3, (const snt_tensor *const[]){c->out[0], &a, c->in[1]});
  snt_iter_run(&it, OUTER_GRAIN, product_row, (void *)(uintptr_t)snk_map_row(SNK_MAP_mul, (sn_dtype)c->out[0]->dtype));
}

static int back_outer(sno_back *b) {
  if (b->want[0] && (b->gx[0] = sno_call2(&sno_op_mv, b->gy[0], b->in[1])) == NULL) return -1;
  if (b->want[1] && (b->gx[1] = sno_call2(&sno_op_mv, sno_swap_last(b->gy[0]), b->in[0])) == NULL) return -1;
  return 0;
}

/*** outer(a, b)
 * Every product of an element of `a` with one of `b`: n and m long vectors give n x m.
 * @math c_{ij} = a_i\, b_j
 * @grad \bar a = \bar c\, b, \quad \bar b = \bar c^T a
 * @see dot
 */
const sno_op sno_op_outer = {.name = "outer", .args = "a b", .nout = 1, .save_in = 3, .infer = infer_outer, .forward = forward_outer,
                             .backward = back_outer, .samples = "f(3), f(4); f(0), f(2)", .wrong = "f(2,2), f(2) => two vectors"};

/* ---- addmm */

static int infer_addmm(sno_call *c) {
  const snt_tensor *x = c->in[0], *a = c->in[1], *b = c->in[2];
  if (a->ndim != 2 || b->ndim != 2 || a->shape[1] != b->shape[0])
    return sn_fail("addmm: wants matrices n x k and k x m, got %s and %s", SNT_SHAPE(a), SNT_SHAPE(b));
  int64_t shape[2] = {a->shape[0], b->shape[1]};
  for (int d = 0; d < x->ndim; d++) {
    int64_t s = x->shape[x->ndim - 1 - d];
    if (d >= 2 || (s != 1 && s != shape[1 - d]))
      return sn_fail("addmm: %s does not broadcast to the product, %lldx%lld", SNT_SHAPE(x), (long long)shape[0], (long long)shape[1]);
  }
  for (int i = 0; i < 3; i++)
    if (!sn_is_float((sn_dtype)c->in[i]->dtype)) return sn_fail("addmm: wants floating tensors, argument %d is %s", i + 1, sn_dtypes[c->in[i]->dtype].name);
  if (same_dtype(c, 1, 2) < 0) return -1;
  sn_dtype t = sn_dtype_promote((sn_dtype)c->in[0]->dtype, (sn_dtype)c->in[1]->dtype);
  for (int i = 0; i < 3; i++)
    if (sno_cast_input(c, i, t) < 0) return -1;
  sno_want(c, 0, t, 2, shape);
  return 0;
}

typedef struct addmm_ctx { const snt_tensor *x; int64_t rs, cs; double alpha, beta; } addmm_ctx;

static void addmm_finish(void *ctx, void *cp, int64_t rs, int64_t cs, int64_t i0, int64_t j0, int64_t m, int64_t n) {
  const addmm_ctx *w = ctx;
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) {
      int64_t at = (i0 + i) * w->rs + (j0 + j) * w->cs;
      if (w->x->dtype == SN_F64) {
        double *y = (double *)cp + i * rs + j * cs;
        *y = w->beta * ((const double *)snt_data(w->x))[at] + w->alpha * *y;
      } else {
        float *y = (float *)cp + i * rs + j * cs;
        *y = (float)w->beta * ((const float *)snt_data(w->x))[at] + (float)w->alpha * *y;
      }
    }
}

static void forward_addmm(sno_call *c) {
  const snt_tensor *x = c->in[0];
  snk_gemm_args g = {0};
  sno_gemm_fill(&g, c->in[1], c->in[2], c->out[0]);
  addmm_ctx w = {.x = x, .beta = c->attr[0].d, .alpha = c->attr[1].d};
  if (x->ndim > 0 && x->shape[x->ndim - 1] != 1) w.cs = x->stride[x->ndim - 1];
  if (x->ndim > 1 && x->shape[0] != 1) w.rs = x->stride[0];
  g.half = c->half;
  g.hook = addmm_finish, g.hook_ctx = &w;
  snk_gemm_run(&g);
}

static snt_tensor *scaled(snt_tensor *x, double by) {
  if (x == NULL || by == 1.0) return x;
  snt_tensor *s = sno_own(snt_scalar((sn_dtype)x->dtype, by));
  if (s) s->weak = true;
  return sno_call2(&sno_op_mul, x, s);
}

static int back_addmm(sno_back *b) {
  double beta = b->attr[0].d, alpha = b->attr[1].d;
  snt_tensor *g = b->gy[0];
  if (b->want[0]) {
    snt_tensor *gx = scaled(g, beta);
    if (gx == NULL || (b->gx[0] = sno_sum_to(gx, &b->in_spec[0])) == NULL) return -1;
  }
  snt_tensor *ga = b->want[1] || b->want[2] ? scaled(g, alpha) : NULL;
  if (b->want[1] && (b->gx[1] = sno_call2(&sno_op_mm, ga, sno_swap_last(b->in[2]))) == NULL) return -1;
  if (b->want[2] && (b->gx[2] = sno_call2(&sno_op_mm, sno_swap_last(b->in[1]), ga)) == NULL) return -1;
  return 0;
}

/*** addmm(x, a, b, {beta=1, alpha=1})
 * A matrix plus a product; `x` broadcasts to the product's shape.
 * @math y = \beta\, x + \alpha\, a b
 * @grad \bar x = \beta\, \bar y, \quad \bar a = \alpha\, \bar y\, b^T, \quad \bar b = \alpha\, a^T \bar y
 * @see mm, linear
 */
static double flops_addmm(const sno_call *c) { return 2.0 * (double)snt_numel(c->out[0]) * (double)c->in[1]->shape[1]; }

const sno_op sno_op_addmm = {
    .name = "addmm", .args = "x a b beta:num=1 alpha:num=1", .flops = flops_addmm, .flags = SNO_LOW | SNO_HALVES, .nout = 1, .save_in = 6, .infer = infer_addmm, .forward = forward_addmm,
    .backward = back_addmm, .samples = "f(2,4), f(2,3), f(3,4); f(4), f(2,3), f(3,4), {beta=0.5, alpha=2}; f(2,1), f(2,3), f(3,4)",
    .wrong = "f(2,4), f(2,3), f(2,4) => n x k; f(3,4), f(2,3), f(3,4) => broadcast"};

/* ---- linear */

static int infer_linear(sno_call *c) {
  const snt_tensor *x = c->in[0], *w = c->in[1], *b = c->in[2];
  if (x->ndim == 0 || w->ndim != 2)
    return sn_fail("linear: wants an input of at least one dimension and a weight out x in, got %s and %s", SNT_SHAPE(x), SNT_SHAPE(w));
  if (x->shape[x->ndim - 1] != w->shape[1])
    return sn_fail("linear: input has %lld features, weight wants %lld (input %s, weight %s)", (long long)x->shape[x->ndim - 1],
                   (long long)w->shape[1], SNT_SHAPE(x), SNT_SHAPE(w));
  if (b && (b->ndim != 1 || b->shape[0] != w->shape[0]))
    return sn_fail("linear: bias is %s, weight %s wants %lld numbers", SNT_SHAPE(b), SNT_SHAPE(w), (long long)w->shape[0]);
  for (int i = 0; i < 3; i++)
    if (c->in[i] && !sn_is_float((sn_dtype)c->in[i]->dtype))
      return sn_fail("linear: wants floating tensors, %s is %s; :to(\"float32\") converts", i == 0 ? "the input" : i == 1 ? "the weight" : "the bias",
                     sn_dtypes[c->in[i]->dtype].name);
  if (same_dtype(c, 0, 1) < 0 || (b && sno_cast_input(c, 2, (sn_dtype)c->in[0]->dtype) < 0)) return -1;
  if (b && c->in[2]->stride[0] != 1 && b->shape[0] > 1 && (c->in[2] = sno_call1(&sno_op_contiguous, c->in[2])) == NULL) return -1;
  int64_t shape[SNT_MAXDIM];
  memcpy(shape, x->shape, sizeof shape);
  shape[x->ndim - 1] = w->shape[0];
  if (snt_check_shape(x->ndim, shape, "linear") < 0) return -1;
  sno_want(c, 0, (sn_dtype)c->in[0]->dtype, x->ndim, shape);
  return 0;
}

/* The weight read as in x out. */
static void linear_product(const sno_call *c, snk_gemm_args *g) {
  snt_tensor w = *c->in[1];
  w.shape[0] = c->in[1]->shape[1], w.shape[1] = c->in[1]->shape[0];
  w.stride[0] = c->in[1]->stride[1], w.stride[1] = c->in[1]->stride[0];
  sno_gemm_fill(g, c->in[0], &w, c->out[0]);
  g->half = c->half;
}

enum { PACK_ROWS = 2 }; /* one row or column is a set of dot products, which read the weight as it lies */

static size_t pack_linear_bytes(const sno_call *c) {
  snk_gemm_args g = {0};
  if (!sn_is_float((sn_dtype)c->out[0]->dtype)) return 0;
  linear_product(c, &g);
  return g.m < PACK_ROWS || g.n < PACK_ROWS || g.k == 0 ? 0 : snk_gemm_packed_for(&g);
}

static void pack_linear(const sno_call *c, void *to) {
  snk_gemm_args g = {0};
  linear_product(c, &g);
  snk_gemm_pack_for(&g, to);
}

static void forward_linear(sno_call *c) {
  snk_gemm_args g = {0};
  linear_product(c, &g);
  g.packed = c->packed, g.round = c->round, g.round_b = c->round_weight;
  if (c->in[2]) g.bias_kind = SNK_BIAS_COL, g.bias = snt_data(c->in[2]);
  if (c->op == &sno_op_linear_relu) g.act = SNK_ACT_RELU;
  snk_gemm_run(&g);
}

static snt_tensor *as_rows(snt_tensor *x, int64_t rows) {
  if (x == NULL || x->ndim == 2) return x;
  return sno_shaped(x, 2, (int64_t[]){rows, x->shape[x->ndim - 1]});
}

static int back_linear(sno_back *b) {
  snt_tensor *g = b->gy[0];
  if (b->want[0] && (b->gx[0] = sno_call2(&sno_op_matmul, g, b->in[1])) == NULL) return -1;
  if (b->want[1]) {
    int64_t rows = 1;
    for (int d = 0; d < g->ndim - 1; d++) rows *= g->shape[d];
    snt_tensor *gt = sno_swap_last(as_rows(g, rows));
    if (gt == NULL || (b->gx[1] = sno_call2(&sno_op_mm, gt, as_rows(b->in[0], rows))) == NULL) return -1;
  }
  if (b->want[2] && (b->gx[2] = sno_sum_to(g, &b->in_spec[2])) == NULL) return -1;
  return 0;
}

/*** linear(x, weight, bias?)
 * The affine map of a dense layer, on the last dimension of `x`: x is ... x in, `weight` out x in, `bias` out; the result is ... x out.
 * @math y = x\, W^T + b
 * @grad \bar x = \bar y\, W, \quad \bar W = \bar y^T x, \quad \bar b = \sum \bar y
 * @see matmul, addmm
 */
const sno_op sno_op_linear = {
    .name = "linear", .args = "x weight bias?", .flops = flops_product, .flags = SNO_ROUNDS | SNO_LOW | SNO_HALVES, .nout = 1, .save_in = 3, .infer = infer_linear, .forward = forward_linear, .backward = back_linear,
    .pack_bytes = pack_linear_bytes, .pack = pack_linear,
    .samples = "f(2,3), f(4,3), f(4); f(5,2,3), f(4,3); f(3), f(4,3), f(4); f(0,3), f(4,3), f(4); f(32,40), f(20,40), f(20)",
    .wrong = "f(2,3), f(4,5) => features, weight; f(2,3), f(4,3), f(3) => bias; f(2,3), f(3) => out x in; i(1,9,2,3), f(4,3) => floating"};

/*** linear_relu(x, weight, bias?)
 * linear and relu in one store: what programs make of the two.
 * @math y = \max(0, x\, W^T + b)
 */
const sno_op sno_op_linear_relu = {.name = "linear_relu", .args = "x weight bias?", .flops = flops_product, .flags = SNO_ROUNDS | SNO_HALVES | SNO_HIDDEN | SNO_NODIFF, .nout = 1, .infer = infer_linear, .forward = forward_linear,
                                    .pack_bytes = pack_linear_bytes, .pack = pack_linear};
