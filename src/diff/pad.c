/* pad.c - numbers around a tensor, or taken away from its edges. */
#include <string.h>
#include "base/error.h"
#include "base/thread.h"
#include "diff/index.h"
#include "diff/ops.h"
#include "diff/tape.h"

#define GRAIN 32768

static sno_val dim_val(int64_t dim) { return (sno_val){.kind = SNO_DIM, .i = dim}; }

typedef enum { CONSTANT, REFLECT, REPLICATE, CIRCULAR } pad_mode;

static pad_mode mode_of(const char *word) {
  return strcmp(word, "constant") == 0 ? CONSTANT : strcmp(word, "reflect") == 0 ? REFLECT : strcmp(word, "replicate") == 0 ? REPLICATE : CIRCULAR;
}

/* Where position p of a padded dimension is read. */
static int64_t source(pad_mode mode, int64_t p, int64_t n) {
  if (mode == REPLICATE) return p < 0 ? 0 : p >= n ? n - 1 : p;
  if (mode == CIRCULAR) {
    p = p < 0 ? p + n : p >= n ? p - n : p; /* a division is only for who goes round several times */
    return p >= 0 && p < n ? p : (p % n + n) % n;
  }
  return p < 0 ? -p : p >= n ? 2 * (n - 1) - p : p;
}

/* The list names the last dimension first: what is added before and behind each. */
static int read_pads(const sno_call *c, int64_t *lo, int64_t *hi) {
  const snt_tensor *x = c->in[0];
  const sno_val *v = &c->attr[0];
  if (v->n % 2 || v->n > 2 * x->ndim)
    return sn_fail("pad: %d numbers for a tensor of shape %s; two are wanted for each padded dimension, the last one's first", v->n, SNT_SHAPE(x));
  memset(lo, 0, SNT_MAXDIM * sizeof *lo);
  memset(hi, 0, SNT_MAXDIM * sizeof *hi);
  for (int k = 0; k < v->n / 2; k++) {
    const int d = x->ndim - 1 - k;
    lo[d] = v->v[2 * k], hi[d] = v->v[2 * k + 1];
    if (lo[d] < -x->shape[d] || hi[d] < -x->shape[d] || x->shape[d] + lo[d] + hi[d] < 0)
      return sn_fail("pad: %lld and %lld take more away than dimension %d has, %lld (shape %s)", (long long)lo[d], (long long)hi[d], d + 1,
          (long long)x->shape[d], SNT_SHAPE(x));
    if (lo[d] > INT64_MAX / 4 || hi[d] > INT64_MAX / 4) return sn_fail("pad: %lld and %lld are too many", (long long)lo[d], (long long)hi[d]);
  }
  return 0;
}

/* Padding by values of the tensor itself: whether it has them. */
static int check_source(const snt_tensor *x, pad_mode mode, const int64_t *lo, const int64_t *hi) {
  for (int d = 0; d < x->ndim; d++) {
    const int64_t n = x->shape[d], most = lo[d] > hi[d] ? lo[d] : hi[d];
    if (most > 0 && ((mode == REFLECT && most >= n) || n == 0))
      return sn_fail("pad: %lld positions %s dimension %d, which has %lld (%s)", (long long)most,
          mode == REFLECT ? "cannot be reflected in" : "cannot be made from", d + 1, (long long)n,
          mode == REFLECT ? "less than its size would do" : "it is empty");
  }
  return 0;
}

typedef struct frame { const snt_tensor *x, *y; pad_mode mode; int64_t lo[SNT_MAXDIM], hi[SNT_MAXDIM]; } frame;

static void frame_task(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const frame *a = ctx;
  const snt_tensor *x = a->x, *y = a->y;
  const int last = x->ndim - 1;
  const int64_t size = (int64_t)sn_size_of((sn_dtype)x->dtype), n = x->shape[last], lo = a->lo[last], wide = y->shape[last];
  const int64_t from = lo > 0 ? lo : 0, to = lo + n < wide ? lo + n : wide; /* what is x itself */
  int64_t place[SNT_MAXDIM] = {0}, outer = 0; /* of the line, and where what its dimensions but the last two say is read */
  for (int64_t i = begin; i < end; i++) {
    int d = last - 1;
    if (i == begin) {
      for (int64_t rest = i, e = d; e >= 0; rest /= y->shape[e--]) place[e] = rest % y->shape[e];
      d = 0;
    } else {
      while (d >= 0 && ++place[d] == y->shape[d]) place[d--] = 0;
    }
    if (d < last - 1) {
      outer = 0;
      for (int e = 0; e < last - 1; e++) outer += source(a->mode, place[e] - a->lo[e], x->shape[e]) * x->stride[e];
    }
    const int64_t at = last > 0 ? outer + source(a->mode, place[last - 1] - a->lo[last - 1], x->shape[last - 1]) * x->stride[last - 1] : 0;
    const char *line = (const char *)snt_data(x) + at * size;
    char *p = (char *)snt_data(y) + i * wide * size;
    for (int64_t k = 0; k < wide; k++) {
      if (k == from && to > from) {
        memcpy(p + k * size, line + (k - lo) * size, (size_t)((to - from) * size));
        if ((k = to) == wide) break;
      }
      const char *one = line + source(a->mode, k - lo, n) * size;
      switch (size) {
        case 1: p[k] = *one; break;
        case 2: memcpy(p + k * 2, one, 2); break;
        case 4: memcpy(p + k * 4, one, 4); break;
        default: memcpy(p + k * 8, one, 8);
      }
    }
  }
}

static int infer_pad(sno_call *c) {
  int64_t lo[SNT_MAXDIM], hi[SNT_MAXDIM], shape[SNT_MAXDIM];
  const snt_tensor *x = c->in[0];
  if (read_pads(c, lo, hi) < 0) return -1;
  for (int d = 0; d < x->ndim; d++) shape[d] = x->shape[d] + lo[d] + hi[d];
  if (snt_check_shape(x->ndim, shape, "pad") < 0) return -1;
  const pad_mode mode = mode_of(c->attr[1].s);
  if (mode != CONSTANT && (check_source(x, mode, lo, hi) < 0 || sno_contiguous_input(c, 0) < 0)) return -1;
  sno_want(c, 0, (sn_dtype)x->dtype, x->ndim, shape);
  return 0;
}

static void forward_pad(sno_call *c) {
  frame a = {c->in[0], c->out[0], mode_of(c->attr[1].s), {0}, {0}};
  int64_t *lo = a.lo, *hi = a.hi;
  if (read_pads(c, lo, hi) < 0) return; /* it was read before and is right */
  if (a.mode != CONSTANT && a.x->ndim > 0) {
    const int64_t wide = a.y->shape[a.y->ndim - 1];
    if (snt_numel(a.y) > 0) sn_parallel(snt_numel(a.y) / wide, 1 + GRAIN / wide, frame_task, &a);
    return;
  }
  snt_tensor to = *c->out[0], from = *c->in[0], fill = to;
  char value[8] = {0};
  static const char zero[8];
  snt_storage s = {.data = value};
  sn_store_double(value, (sn_dtype)to.dtype, c->attr[2].d);
  fill.storage = &s;
  fill.offset = 0;
  memset(fill.stride, 0, sizeof fill.stride);
  bool around = false;
  for (int d = 0; d < to.ndim; d++) around |= lo[d] > 0 || hi[d] > 0;
  const bool zeros = memcmp(value, zero, sizeof value) == 0;
  if (around && !zeros) sno_copy_elements(c->out[0], &fill);
  for (int d = 0; d < to.ndim; d++) {
    const int64_t skip = lo[d] < 0 ? -lo[d] : 0, cut = hi[d] < 0 ? -hi[d] : 0, n = from.shape[d] - skip - cut;
    if (n <= 0) {
      if (zeros) sno_zero_elements(c->out[0]);
      return;
    }
    from = sno_part(&from, d, skip, n, 1);
    to = sno_part(&to, d, lo[d] > 0 ? lo[d] : 0, n, 1);
  }
  if (around && zeros) sno_copy_among_zeros(c->out[0], &to, &from);
  else sno_copy_elements(&to, &from);
}

static int back_pad(sno_back *b) {
  sno_val v = b->attr[0];
  const pad_mode mode = mode_of(b->attr[1].s);
  if (mode != CONSTANT) { /* one dimension after the other: positions of it that were read are added up */
    snt_tensor *g = b->gy[0];
    for (int k = 0; k < v.n / 2; k++) {
      const int d = b->in_spec[0].ndim - 1 - k;
      const int64_t lo = v.v[2 * k], n = b->in_spec[0].shape[d], size = n + lo + v.v[2 * k + 1];
      if (lo == 0 && size == n) continue;
      snt_tensor *index = sno_own(snt_new(SN_I64, 1, &size));
      if (index == NULL) return -1;
      for (int64_t i = 0; i < size; i++) ((int64_t *)snt_data(index))[i] = source(mode, i - lo, n);
      g = sno_run(&sno_op_index_select_backward, SNO_IN(g, index), SNO_ATTRS(dim_val(d), sno_int(n), sno_absent(), {.kind = SNO_BASE}));
      if (g == NULL) return -1;
    }
    b->gx[0] = g;
    return 0;
  }
  for (int k = 0; k < v.n; k++) v.v[k] = -v.v[k];
  return (b->gx[0] = sno_run(&sno_op_pad, SNO_IN(b->gy[0]), SNO_ATTRS(v, b->attr[1]))) ? 0 : -1;
}

/*** pad(x, pads, mode="constant", value=0)
 * x with something around it. `pads` names how much, two numbers for each dimension and the last dimension first: {left, right, top, bottom};
 * negative numbers take away. Modes: "constant" (the number `value`), "reflect" (mirrored, without the edge), "replicate" (the edge) and
 * "circular" (the other end).
 * @math y_i = x_{i - l} \text{ inside}, \quad v \text{ outside}
 * @grad \bar x_i = \sum_{j : \text{source}(j) = i} \bar y_j
 * @see narrow, cat
 */
const sno_op sno_op_pad = {
    .name = "pad", .args = "x pads:ints mode:str(constant|reflect|replicate|circular)=constant value:num=0", .flags = SNO_HALF, .nout = 1,
    .infer = infer_pad, .forward = forward_pad, .backward = back_pad,
    .samples = "f(2,3), {1,2}; f(2,3,4), {1,2,0,1}, {value=0.5}; f(3,4), {-1,2,1,-1}; f(2,4), {2,3}, \"reflect\"; f(2,3), {2,1,1,1}, \"replicate\"; "
        "f(2,3), {2,4}, \"circular\"",
    .wrong = "f(2,3), {1} => two are wanted; f(2,3), {1,1}, \"mirror\" => 'reflect'; f(2,3), {3,0}, \"reflect\" => reflected; "
        "f(2,3), {-2,-2} => take more away; f(3), {1,1,1,1} => 4 numbers"};
