/* attention.c - the matrix products of attention, block by block of rows, and heads shared out among the threads. */
#include "calc/attention.h"
#include <string.h>
#include "base/thread.h"
#include "calc/gemm.h"

enum { BLOCK = 32, STRIP = 2 * BLOCK }; /* rows of queries at a time; those whose part in the gradients of keys and values is one sum */

typedef struct attention_job {
  const snk_attention_args *a;
  const snk_attention_type *k;
  const snk_gemm_type *gemm;
  int64_t size, blocks;
} attention_job;

/* One worker's part, after the space that matrix products pack into. */
typedef struct space { char *s, *dp, *sum, *k, *v; void *pack; } space; /* k, v: keys and values turned and packed, as second factors */

static int64_t row_length(int64_t tk) { return (tk + 15) / 16 * 16; }

static size_t packed_bytes(bool f64, int64_t n, int64_t k) { return (snk_gemm_packed_bytes(f64, n, k) + 63) / 64 * 64; }

size_t snk_attention_scratch(const snk_attention_args *a) {
  return SNK_GEMM_SCRATCH + (size_t)(2 * STRIP * row_length(a->tk) + 2 * BLOCK) * (a->f64 ? 8 : 4) + packed_bytes(a->f64, a->tk, a->d) +
         packed_bytes(a->f64, a->tk, a->dv);
}

static space space_of(const attention_job *w, int worker) {
  space p = {.pack = sn_scratch(worker)};
  const int64_t bytes = STRIP * row_length(w->a->tk) * w->size;
  p.s = (char *)p.pack + SNK_GEMM_SCRATCH;
  p.dp = p.s + bytes;
  p.sum = p.dp + bytes;
  p.k = p.sum + 2 * BLOCK * w->size;
  p.v = p.k + packed_bytes(w->a->f64, w->a->tk, w->a->d);
  return p;
}

static attention_job job_of(const snk_attention_args *a) {
  attention_job w = {.a = a, .size = a->f64 ? 8 : 4, .blocks = (a->tq + BLOCK - 1) / BLOCK};
  w.k = a->f64 ? &snk_attend_now()->f64 : &snk_attend_now()->f32;
  w.gemm = a->f64 ? &snk_gemm_now()->f64 : &snk_gemm_now()->f32;
  return w;
}

static char *head(const snk_attention_args *a, const snk_heads *h, int64_t i, int64_t row, int64_t size) {
  return (char *)h->p + (i / a->heads * h->sn + i % a->heads * h->sh + row * h->st) * size;
}

/* c (m x n, rows of ldc) = a (rows of ars, columns of acs) b (rows of brs, columns of bcs) */
static void product(const attention_job *w, const space *p, int64_t m, int64_t n, int64_t k, const void *a, int64_t ars, int64_t acs, const void *b,
                    int64_t brs, int64_t bcs, void *c, int64_t ldc, bool add) {
  const snk_gemm_args g = {.f64 = w->a->f64, .m = m, .n = n, .k = k, .ars = ars, .acs = acs, .brs = brs, .bcs = bcs, .crs = ldc, .ccs = 1,
      .accumulate = add};
  if (m > 0 && n > 0) w->gemm->block(&g, a, b, c, 0, 0, m, 0, n, p->pack);
}

/* The same with a turned and packed b, as long as it is one block of k; else from where it lies. */
static void turned_product(const attention_job *w, const space *p, int64_t m, int64_t n, int64_t k, const void *a, int64_t ars, const void *b,
    int64_t bcs,
                           const void *packed, void *c, int64_t ldc) {
  const snk_gemm_args g = {.f64 = w->a->f64, .m = m, .n = n, .k = k, .ars = ars, .acs = 1, .brs = 1, .bcs = bcs, .crs = ldc, .ccs = 1,
      .packed = packed};
  if (k > w->gemm->kc) product(w, p, m, n, k, a, ars, 1, b, 1, bcs, c, ldc, false);
  else w->gemm->block(&g, a, NULL, c, 0, 0, m, 0, n, p->pack);
}

static void turn(const attention_job *w, const snk_heads *h, int64_t i, int64_t d, char *to) {
  if (d <= w->gemm->kc) w->gemm->pack_b(w->a->tk, d, head(w->a, h, i, 0, w->size), 1, h->st, to);
}

/* The scores of block b of head i, and what its rows need beside them. */
static snk_attention_rows scores(const attention_job *w, const space *p, int64_t i, int64_t b) {
  const snk_attention_args *a = w->a;
  const int64_t r0 = b * BLOCK, z = w->size, left = a->tq - r0;
  snk_attention_rows r = {.rows = left < BLOCK ? left : BLOCK, .cols = a->tk, .ld = row_length(a->tk), .first = a->causal ? r0 : -1,
      .scale = a->scale,
                          .mask_kind = a->mask_kind, .mask_row = a->mask.st, .mask_column = a->mask_column, .s = p->s, .dp = p->dp, .sum = p->sum,
                          .lse = (char *)a->lse + (i * a->tq + r0) * z};
  if (a->causal && r0 + r.rows < r.cols) r.cols = r0 + r.rows; /* what no row of the block may see is not computed */
  if (a->mask_kind) r.mask = head(a, &a->mask, i, r0, a->mask_kind == SNK_MASK_BOOL ? 1 : z);
  turned_product(w, p, r.rows, r.cols, a->d, head(a, &a->q, i, r0, z), a->q.st, head(a, &a->k, i, 0, z), a->k.st, p->k, r.s, r.ld);
  return r;
}

static void forward_blocks(void *ctx, int64_t begin, int64_t end, int worker) {
  const attention_job *w = ctx;
  const snk_attention_args *a = w->a;
  const space p = space_of(w, worker);
  for (int64_t u = begin; u < end; u++) {
    const int64_t i = u / w->blocks, b = u % w->blocks;
    if (u == begin || b == 0) turn(w, &a->k, i, a->d, p.k);
    const snk_attention_rows r = scores(w, &p, i, b);
    char *y = head(a, &a->y, i, b * BLOCK, w->size);
    w->k->forward(&r);
    product(w, &p, r.rows, a->dv, r.cols, r.s, r.ld, 1, head(a, &a->v, i, 0, w->size), a->v.st, 1, y, a->y.st, false);
    w->k->divide(y, r.sum, r.rows, a->dv, a->y.st);
  }
}

void snk_attention(const snk_attention_args *a) {
  attention_job w = job_of(a);
  const int64_t work = BLOCK * a->tk * (a->d + a->dv) + 1;
  sn_parallel(a->n * a->heads * w.blocks, 100000 / work + 1, forward_blocks, &w);
}

/* Scores of block b of head i, their gradient and that of its queries; the probabilities stay at p->s, the gradient at p->dp. Keys seen. */
static int64_t backward_block(const attention_job *w, const space *p, int64_t i, int64_t b) {
  const snk_attention_args *a = w->a;
  const int64_t r0 = b * BLOCK, z = w->size;
  char *gy = head(a, &a->gy, i, r0, z);
  snk_attention_rows r = scores(w, p, i, b);
  r.gy = gy, r.gy_row = a->gy.st;
  r.y = head(a, &a->y, i, r0, z), r.y_row = a->y.st, r.d = a->dv;
  turned_product(w, p, r.rows, r.cols, a->dv, gy, a->gy.st, head(a, &a->v, i, 0, z), a->v.st, p->v, r.dp, r.ld);
  w->k->backward(&r);
  product(w, p, r.rows, a->d, r.cols, r.dp, r.ld, 1, head(a, &a->k, i, 0, z), a->k.st, 1, head(a, &a->gq, i, r0, z), a->gq.st, false);
  return r.cols;
}

static void backward_heads(void *ctx, int64_t begin, int64_t end, int worker) {
  const attention_job *w = ctx;
  const snk_attention_args *a = w->a;
  const int64_t z = w->size, ld = row_length(a->tk), per = STRIP / BLOCK;
  const space p = space_of(w, worker);
  for (int64_t i = begin; i < end; i++) {
    char *gk = head(a, &a->gk, i, 0, z), *gv = head(a, &a->gv, i, 0, z);
    turn(w, &a->k, i, a->d, p.k);
    turn(w, &a->v, i, a->dv, p.v);
    int64_t done = 0; /* keys that have a gradient already: the last strip, which comes first, sees the most */
    for (int64_t b0 = (w->blocks - 1) / per * per; b0 >= 0; b0 -= per) {
      const int64_t b1 = b0 + per < w->blocks ? b0 + per : w->blocks, last = b1 * BLOCK < a->tq ? b1 * BLOCK : a->tq;
      int64_t seen[STRIP / BLOCK], from = 0;
      for (int64_t b = b0; b < b1; b++) {
        space at = p;
        at.s += (b - b0) * BLOCK * ld * z, at.dp += (b - b0) * BLOCK * ld * z;
        seen[b - b0] = backward_block(w, &at, i, b);
      }
      for (int64_t b = b0; b < b1; from = seen[b - b0], b++) { /* keys that the rows from this block's on see, and not those before */
        const int64_t n = seen[b - b0] - from, r0 = b * BLOCK, at = ((b - b0) * BLOCK * ld + from) * z;
        product(w, &p, n, a->d, last - r0, p.dp + at, 1, ld, head(a, &a->q, i, r0, z), a->q.st, 1, gk + from * a->gk.st * z, a->gk.st, done > 0);
        product(w, &p, n, a->dv, last - r0, p.s + at, 1, ld, head(a, &a->gy, i, r0, z), a->gy.st, 1, gv + from * a->gv.st * z, a->gv.st, done > 0);
      }
      if (done == 0) done = from;
    }
    for (int64_t j = done; j < a->tk; j++) {
      memset(gk + j * a->gk.st * z, 0, (size_t)(a->d * z));
      memset(gv + j * a->gv.st * z, 0, (size_t)(a->dv * z));
    }
  }
}

void snk_attention_backward(const snk_attention_args *a) {
  attention_job w = job_of(a);
  const int64_t work = a->tq * a->tk * (a->d + a->dv) * 2 + 1;
  sn_parallel(a->n * a->heads, 100000 / work + 1, backward_heads, &w);
}
