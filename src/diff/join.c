/* join.c - tensors put together and laid out anew: cat, stack, flip, roll, tile, repeat_interleave, tril, triu, meshgrid. */
#include <string.h>
#include "base/error.h"
#include "base/thread.h"
#include "calc/cast.h"
#include "core/iter.h"
#include "diff/index.h"
#include "diff/matmul.h"
#include "diff/ops.h"
#include "diff/tape.h"

#define GRAIN 32768

static sno_val dim_val(int64_t dim) { return (sno_val){.kind = SNO_DIM, .i = dim}; }
static sno_val pos_val(int64_t pos) { return (sno_val){.kind = SNO_POS, .i = pos}; }

/* ---- cat and stack */

/* All of a list in one number type. */
static int one_dtype(sno_call *c) {
  if (c->nin == 0) return sn_fail("%s: the list of tensors is empty", c->op->name);
  sn_dtype t = (sn_dtype)c->in[0]->dtype;
  for (int i = 1; i < c->nin; i++) t = sn_dtype_promote(t, (sn_dtype)c->in[i]->dtype);
  for (int i = 0; i < c->nin; i++)
    if (sno_cast_input(c, i, t) < 0) return -1;
  return 0;
}

static int infer_cat(sno_call *c) {
  if (one_dtype(c) < 0) return -1;
  const snt_tensor *x = c->in[0];
  if (x->ndim == 0) return sn_fail("cat: 0-d tensors have no dimension to be joined along; stack() makes one");
  if (sno_real_dim(c, 0, x) < 0) return -1;
  const int dim = (int)c->attr[0].i;
  int64_t shape[SNT_MAXDIM];
  memcpy(shape, x->shape, sizeof shape);
  for (int i = 1; i < c->nin; i++) {
    const snt_tensor *y = c->in[i];
    bool fits = y->ndim == x->ndim;
    for (int d = 0; fits && d < x->ndim; d++) fits = d == dim || y->shape[d] == x->shape[d];
    if (!fits) return sn_fail("cat: tensor %d is %s, the first %s; they may differ in dimension %d only", i + 1, SNT_SHAPE(y), SNT_SHAPE(x), dim + 1);
    shape[dim] += y->shape[dim];
  }
  if (snt_check_shape(x->ndim, shape, "cat") < 0) return -1;
  sno_want(c, 0, (sn_dtype)x->dtype, x->ndim, shape);
  return 0;
}

/* Rows of the result from one after another of the inputs, some at a time: what is written lies side by side. */
enum { SOME_BYTES = 32768, LEAST_BYTES = 64 };
typedef struct joined { const sno_call *c; int64_t outer, wide; } joined;

static int64_t row_bytes(const snt_tensor *x, int64_t outer) { return snt_numel(x) / outer * (int64_t)sn_size_of((sn_dtype)x->dtype); }

static void join_task(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const joined *r = ctx;
  const sno_call *c = r->c;
  const int64_t some = 1 + SOME_BYTES / r->wide;
  for (int64_t o = begin; o < end; o += some) {
    char *to = (char *)snt_data(c->out[0]) + o * r->wide;
    for (int i = 0; i < c->nin; i++) {
      const int64_t bytes = row_bytes(c->in[i], r->outer);
      const char *from = (const char *)snt_data(c->in[i]) + o * bytes;
      for (int64_t k = 0; k < some && k < end - o; k++) memcpy(to + k * r->wide, from + k * bytes, (size_t)bytes);
      to += bytes;
    }
  }
}

/* False where another way is better: few rows, short ones, inputs that are not contiguous. */
static bool join_rows(sno_call *c, int dim) {
  const int64_t outer = snt_count(dim, c->out[0]->shape);
  if (outer < 8 || snt_numel(c->out[0]) == 0) return false;
  for (int i = 0; i < c->nin; i++)
    if (!snt_is_contiguous(c->in[i]) || row_bytes(c->in[i], outer) < LEAST_BYTES) return false;
  joined r = {c, outer, row_bytes(c->out[0], outer)};
  sn_parallel(outer, 1 + GRAIN / (snt_numel(c->out[0]) / outer), join_task, &r);
  return true;
}

static void forward_cat(sno_call *c) {
  const int dim = (int)c->attr[0].i;
  if (join_rows(c, dim)) return;
  int64_t at = 0;
  for (int i = 0; i < c->nin; i++) {
    snt_tensor part = sno_part(c->out[0], dim, at, c->in[i]->shape[dim], 1);
    sno_copy_elements(&part, c->in[i]);
    at += c->in[i]->shape[dim];
  }
}

static int back_cat(sno_back *b) {
  const int64_t dim = b->attr[0].i;
  int64_t at = 0;
  for (int i = 0; i < b->nin; i++) {
    const int64_t n = b->in_spec[i].shape[dim];
    if (b->want[i] && (b->gx[i] = sno_run(&sno_op_narrow, SNO_IN(b->gy[0]), SNO_ATTRS(dim_val(dim), pos_val(at), sno_int(n), sno_int(1)))) == NULL)
      return -1;
    at += n;
  }
  return 0;
}

/*** cat(tensors, dim=1)
 * The tensors of a list behind one another along `dim`; their other sizes are equal, their dtypes are promoted.
 * @math y = (x_1, x_2, \dots)
 * @grad \bar x_k = \text{the part of } \bar y \text{ that } x_k \text{ became}
 * @see stack, split, chunk
 */
const sno_op sno_op_cat = {
    .name = "cat", .args = "tensors* dim:dim=0", .flags = SNO_HALF, .nout = 1, .infer = infer_cat, .forward = forward_cat, .backward = back_cat,
    .samples = "{f(2,3), f(4,3)}, 1; {f(2,3), f(2,1), f(2,2)}, 2; {f(3)}; {f(2,2), f(2,2)}, -1; {f(0,3), f(2,3)}",
    .wrong = "{f(2,3), f(2,4)}, 1 => tensor 2 is 2x4; {} => empty; {f(2), f(2)}, 2 => dimension 2; {f(), f()} => stack"};

static int infer_stack(sno_call *c) {
  if (one_dtype(c) < 0) return -1;
  const snt_tensor *x = c->in[0];
  if (sno_fix_dim(c, 0, x, x->ndim + 1) < 0) return -1;
  const int dim = (int)c->attr[0].i;
  for (int i = 1; i < c->nin; i++)
    if (!snt_same_shape(x, c->in[i]))
      return sn_fail("stack: tensor %d is %s, the first %s; they must be equal", i + 1, SNT_SHAPE(c->in[i]), SNT_SHAPE(x));
  int64_t shape[SNT_MAXDIM + 1];
  for (int d = 0, k = 0; d <= x->ndim; d++) shape[d] = d == dim ? c->nin : x->shape[k++];
  if (snt_check_shape(x->ndim + 1, shape, "stack") < 0) return -1;
  sno_want(c, 0, (sn_dtype)x->dtype, x->ndim + 1, shape);
  return 0;
}

static void forward_stack(sno_call *c) {
  const int dim = (int)c->attr[0].i;
  if (join_rows(c, dim)) return;
  for (int i = 0; i < c->nin; i++) {
    snt_tensor part = *c->in[i];
    part.storage = c->out[0]->storage;
    part.offset = c->out[0]->offset + i * c->out[0]->stride[dim];
    for (int d = 0; d < part.ndim; d++) part.stride[d] = c->out[0]->stride[d + (d >= dim)];
    sno_copy_elements(&part, c->in[i]);
  }
}

static int back_stack(sno_back *b) {
  for (int i = 0; i < b->nin; i++)
    if (b->want[i] && (b->gx[i] = sno_run(&sno_op_select, SNO_IN(b->gy[0]), SNO_ATTRS(b->attr[0], pos_val(i)))) == NULL) return -1;
  return 0;
}

/*** stack(tensors, dim=1)
 * The tensors of a list, all of one shape, along a new dimension `dim`.
 * @math y_{k \dots} = x_{k, \dots}
 * @grad \bar x_{k} = \bar y_{k \dots}
 * @see cat, unbind
 */
const sno_op sno_op_stack = {
    .name = "stack", .args = "tensors* dim:dim=0", .flags = SNO_HALF, .nout = 1, .infer = infer_stack, .forward = forward_stack,
    .backward = back_stack, .samples = "{f(2,3), f(2,3)}, 1; {f(2,3), f(2,3)}, 3; {f(3), f(3), f(3)}, -1; {f(), f()}",
    .wrong = "{f(2,3), f(3)} => must be equal; {} => empty; {f(2)}, 4 => dimension 4"};

/* ---- flip and roll */

static int infer_flip(sno_call *c) {
  unsigned mask;
  if (sno_fix_dims(c, 0, c->in[0], &mask) < 0) return -1;
  sno_want(c, 0, (sn_dtype)c->in[0]->dtype, c->in[0]->ndim, c->in[0]->shape);
  return 0;
}

SNK_LONG_BEGIN
#define BACK(T) { T *restrict y = (T *)(void *)p[0]; const T *restrict x = (const T *)(const void *)p[1]; for (int64_t i = 0; i < n; i++) y[i] = x[-i]; } break
static void flip_row(void *ctx, int64_t n, char *const *p, const int64_t *s) {
  const sn_dtype t = *(const sn_dtype *)ctx;
  switch (s[1] == -s[0] ? s[0] : 0) {
    case 4: BACK(uint32_t);
    case 8: BACK(uint64_t);
    default: snk_cast_row(n, p[0], s[0], t, p[1], s[1], t);
  }
}
SNK_LONG_END

static void forward_flip(sno_call *c) {
  snt_tensor x = *c->in[0];
  if (snt_numel(&x) == 0) return;
  for (int k = 0; k < c->attr[0].n; k++) {
    const int64_t d = c->attr[0].v[k];
    x.offset += (x.shape[d] - 1) * x.stride[d];
    x.stride[d] = -x.stride[d];
  }
  sn_dtype t = (sn_dtype)x.dtype;
  snt_iter it;
  snt_iter_init(&it, 2, (const snt_tensor *const[]){c->out[0], &x});
  snt_iter_run(&it, GRAIN, flip_row, &t);
}

static int back_flip(sno_back *b) { return (b->gx[0] = sno_run(&sno_op_flip, SNO_IN(b->gy[0]), 1, b->attr)) ? 0 : -1; }

/*** flip(x, dims)
 * x turned round along these dimensions: a copy.
 * @math y_i = x_{n + 1 - i}
 * @grad \bar x_i = \bar y_{n + 1 - i}
 * @see roll
 */
const sno_op sno_op_flip = {
    .name = "flip", .args = "x dims:dims", .flags = SNO_HALF, .nout = 1, .infer = infer_flip, .forward = forward_flip, .backward = back_flip,
    .samples = "f(2,3), 1; f(2,3), {1,2}; f(2,3,2), -1", .wrong = "f(2,3), 3 => dimension 3; f(2,3), {1,1} => twice"};

/* Shifts per dimension, 0 <= s < size. Without dims x is one row. */
static void read_shifts(const sno_call *c, const snt_tensor *x, int64_t *shift) {
  memset(shift, 0, SNT_MAXDIM * sizeof *shift);
  for (int k = 0; k < c->attr[0].n; k++) {
    const int64_t d = c->attr[1].absent ? 0 : c->attr[1].v[k], n = c->attr[1].absent ? snt_numel(x) : x->shape[d];
    if (n > 0) shift[d] = (c->attr[0].v[k] % n + n) % n;
  }
}

static int infer_roll(sno_call *c) {
  unsigned mask;
  snt_tensor *x = c->in[0];
  if (c->attr[1].absent) {
    if (c->attr[0].n != 1) return sn_fail("roll: %d shifts without dimensions; one is wanted, or as many dimensions as shifts", c->attr[0].n);
    if (sno_contiguous_input(c, 0) < 0) return -1;
  } else {
    if (sno_fix_dims(c, 1, x, &mask) < 0) return -1;
    if (c->attr[0].n != c->attr[1].n || c->attr[0].n == 0)
      return sn_fail("roll: %d shifts for %d dimensions; as many are wanted", c->attr[0].n, c->attr[1].n);
    if (x->ndim == 0) return sn_fail("roll: a tensor without dimensions cannot be rolled");
  }
  sno_want(c, 0, (sn_dtype)x->dtype, x->ndim, x->shape);
  return 0;
}

static void forward_roll(sno_call *c) {
  snt_tensor x = *c->in[0], y = *c->out[0];
  int64_t shift[SNT_MAXDIM];
  int at[SNT_MAXDIM], n = 0;
  read_shifts(c, &x, shift);
  if (c->attr[1].absent) {
    x.shape[0] = y.shape[0] = snt_numel(&x);
    x.ndim = y.ndim = 1;
    x.stride[0] = y.stride[0] = 1;
  }
  for (int d = 0; d < x.ndim; d++)
    if (shift[d]) at[n++] = d;
  for (int k = 0; k < 1 << n; k++) { /* every rolled dimension falls into two pieces */
    snt_tensor from = x, to = y;
    for (int i = 0; i < n; i++) {
      const int d = at[i];
      const int64_t s = shift[d], rest = x.shape[d] - s;
      from = sno_part(&from, d, k >> i & 1 ? rest : 0, k >> i & 1 ? s : rest, 1);
      to = sno_part(&to, d, k >> i & 1 ? 0 : s, k >> i & 1 ? s : rest, 1);
    }
    sno_copy_elements(&to, &from);
  }
}

static int back_roll(sno_back *b) {
  sno_val v = b->attr[0];
  for (int k = 0; k < v.n; k++) v.v[k] = -v.v[k];
  return (b->gx[0] = sno_run(&sno_op_roll, SNO_IN(b->gy[0]), SNO_ATTRS(v, b->attr[1]))) ? 0 : -1;
}

/*** roll(x, shifts, dims?)
 * Elements moved by so many places along dimensions; what falls off the end comes in at the beginning. Without dims x is rolled as one row.
 * @math y_{(i + s) \bmod n} = x_i
 * @grad \bar x_i = \bar y_{(i + s) \bmod n}
 * @see flip
 */
const sno_op sno_op_roll = {
    .name = "roll", .args = "x shifts:ints dims:dims?", .flags = SNO_HALF, .nout = 1, .infer = infer_roll, .forward = forward_roll,
    .backward = back_roll, .samples = "f(2,3), 1; f(4,3), 1, 1; f(4,3), {-1, 5}, {1, 2}; f(2,3,4), 2, -1",
    .wrong = "f(2,3), {1,2}, 1 => 2 shifts; f(2,3), 1, 3 => dimension 3; f(2,3), {1,2} => one is wanted"};

/* ---- repetition */

/* Bytes at p repeated until `total` stand there. */
static void repeat_bytes(char *p, size_t have, size_t total) {
  while (have < total) {
    const size_t n = have < total - have ? have : total - have;
    memcpy(p + have, p, n);
    have += n;
  }
}

/* Sizes and repetitions of tile, both with as many leading ones as the other has more. */
static int tile_shapes(const snt_tensor *x, const sno_val *reps, int64_t *size, int64_t *rep) {
  const int n = x->ndim > reps->n ? x->ndim : reps->n;
  for (int d = 0; d < n; d++) {
    size[d] = d < n - x->ndim ? 1 : x->shape[d - (n - x->ndim)];
    rep[d] = d < n - reps->n ? 1 : reps->v[d - (n - reps->n)];
  }
  return n;
}

static int infer_tile(sno_call *c) {
  int64_t size[SNT_MAXDIM * 3], rep[SNT_MAXDIM * 3];
  for (int k = 0; k < c->attr[0].n; k++)
    if (c->attr[0].v[k] < 0) return sn_fail("tile: %lld repetitions; 0 or more make sense", (long long)c->attr[0].v[k]);
  const int n = tile_shapes(c->in[0], &c->attr[0], size, rep);
  for (int d = 0; d < n; d++)
    if (__builtin_mul_overflow(size[d], rep[d], &size[d])) return sn_fail("tile: the result would be too large");
  if (snt_check_shape(n, size, "tile") < 0) return -1;
  sno_want(c, 0, (sn_dtype)c->in[0]->dtype, n, size);
  return 0;
}

static void tile_task(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const sno_call *c = ctx;
  int64_t size[SNT_MAXDIM * 3], rep[SNT_MAXDIM * 3];
  const int n = tile_shapes(c->in[0], &c->attr[0], size, rep);
  const size_t bytes = sn_size_of((sn_dtype)c->in[0]->dtype), row = (size_t)size[n - 1] * bytes, wide = row * (size_t)rep[n - 1];
  const char *x = snt_data(c->in[0]);
  char *y = snt_data(c->out[0]);
  for (int64_t i = begin; i < end; i++) {
    int64_t rest = i, at = 0, step = 1;
    for (int d = n - 2; d >= 0; d--) {
      at += rest % (size[d] * rep[d]) % size[d] * step;
      step *= size[d];
      rest /= size[d] * rep[d];
    }
    char *to = y + (size_t)i * wide;
    memcpy(to, x + (size_t)at * row, row);
    repeat_bytes(to, row, wide);
  }
}

static void forward_tile(sno_call *c) {
  const snt_tensor *y = c->out[0];
  if (snt_numel(y) == 0) return;
  if (y->ndim == 0) sno_copy_elements(c->out[0], c->in[0]);
  else sn_parallel(snt_numel(y) / y->shape[y->ndim - 1], 1 + GRAIN / y->shape[y->ndim - 1], tile_task, c);
}

/* g, seen as p x r x s with r equal blocks in a row, summed over r. */
static snt_tensor *sum_blocks(snt_tensor *g, int64_t p, int64_t r, int64_t s) {
  g = sno_shaped(g, 3, (int64_t[]){p, r, s});
  return g ? sno_run(&sno_op_sum, SNO_IN(g), SNO_ATTRS({.kind = SNO_DIMS, .n = 1, .v = {1}}, sno_bool(false))) : NULL;
}

static int back_tile(sno_back *b) {
  int64_t size[SNT_MAXDIM * 3], rep[SNT_MAXDIM * 3];
  const sno_out *spec = &b->in_spec[0];
  snt_tensor x = {.ndim = spec->ndim}, *g = b->gy[0];
  memcpy(x.shape, spec->shape, sizeof x.shape);
  const int n = tile_shapes(&x, &b->attr[0], size, rep);
  for (int d = 0; d < n && g; d++) { /* from the front: what stands before is done, what stands behind is still repeated */
    if (rep[d] == 1) continue;
    int64_t before = snt_count(d, size), behind = size[d];
    for (int k = d + 1; k < n; k++) behind *= size[k] * rep[k];
    g = sum_blocks(g, before, rep[d], behind);
  }
  return (b->gx[0] = sno_shaped(g, spec->ndim, spec->shape)) ? 0 : -1;
}

/*** tile(x, reps...)
 * x laid out again and again: reps[d] times along dimension d. Where there are more repetitions than dimensions, x gets leading ones, and the other
 * way round.
 * @math y_{i} = x_{i \bmod n}
 * @grad \bar x_i = \sum_{j \bmod n = i} \bar y_j
 * @see repeat_interleave, expand
 */
const sno_op sno_op_tile = {
    .name = "tile", .args = "x reps:ints", .flags = SNO_HALF | SNO_CONTIG, .nout = 1, .infer = infer_tile, .forward = forward_tile,
    .backward = back_tile, .samples = "f(2,3), 2, 2; f(3), 2, 1, 3; f(2,2,3), {2}; f(2), 0; f(), 3",
    .wrong = "f(2,3), -1 => repetitions; f(2), {1,1,1,1,1,1,1,1,2} => dimensions"};

static int infer_interleave(sno_call *c) {
  if (c->attr[0].i < 0) return sn_fail("repeat_interleave: %lld repetitions; 0 or more make sense", (long long)c->attr[0].i);
  if (c->attr[1].absent) {
    const int64_t n = snt_numel(c->in[0]);
    if ((c->in[0] = sno_shaped(c->in[0], 1, &n)) == NULL) return -1;
    c->attr[1] = dim_val(0);
  } else if (sno_real_dim(c, 1, c->in[0]) < 0) return -1;
  const snt_tensor *x = c->in[0];
  int64_t shape[SNT_MAXDIM];
  memcpy(shape, x->shape, sizeof shape);
  if (__builtin_mul_overflow(shape[c->attr[1].i], c->attr[0].i, &shape[c->attr[1].i]))
    return sn_fail("repeat_interleave: the result would be too large");
  if (snt_check_shape(x->ndim, shape, "repeat_interleave") < 0) return -1;
  sno_want(c, 0, (sn_dtype)x->dtype, x->ndim, shape);
  return sno_contiguous_input(c, 0);
}

static void interleave_task(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const sno_call *c = ctx;
  const snt_tensor *x = c->in[0];
  const int dim = (int)c->attr[1].i;
  const size_t row = (size_t)snt_count(x->ndim - dim - 1, x->shape + dim + 1) * sn_size_of((sn_dtype)x->dtype), wide = row * (size_t)c->attr[0].i;
  const int64_t reps = c->attr[0].i;
  const char *from = snt_data(x);
  char *to = (char *)snt_data(c->out[0]) + (size_t)begin * wide;
#define EACH(size)                                                                \
  for (int64_t i = begin; i < end; i++)                                           \
    for (int64_t k = 0; k < reps; k++, to += (size)) memcpy(to, from + i * (size), size); \
  break
  switch (row) {
    case 1: EACH(1);
    case 2: EACH(2);
    case 4: EACH(4);
    case 8: EACH(8);
    default:
      for (int64_t i = begin; i < end; i++, to += wide) {
        memcpy(to, from + (size_t)i * row, row);
        repeat_bytes(to, row, wide);
      }
  }
}

static void forward_interleave(sno_call *c) {
  const int64_t rows = snt_count((int)c->attr[1].i + 1, c->in[0]->shape);
  if (snt_numel(c->out[0]) > 0) sn_parallel(rows, 1 + GRAIN / (snt_numel(c->out[0]) / rows), interleave_task, c);
}

static int back_interleave(sno_back *b) {
  const sno_out *spec = &b->in_spec[0];
  const int dim = (int)b->attr[1].i;
  snt_tensor *g = sum_blocks(b->gy[0], snt_count(dim + 1, spec->shape), b->attr[0].i, snt_count(spec->ndim - dim - 1, spec->shape + dim + 1));
  return (b->gx[0] = sno_shaped(g, spec->ndim, spec->shape)) ? 0 : -1;
}

/*** repeat_interleave(x, repeats, dim?)
 * Every position of dimension `dim` so many times in a row: 1 2 becomes 1 1 2 2. Without dim x is one row.
 * @math y_j = x_{\lfloor j / r \rfloor}
 * @grad \bar x_i = \sum_{k < r} \bar y_{i r + k}
 * @see tile
 */
const sno_op sno_op_repeat_interleave = {
    .name = "repeat_interleave", .args = "x repeats:int dim:dim?", .flags = SNO_HALF, .nout = 1, .infer = infer_interleave,
    .forward = forward_interleave, .backward = back_interleave, .samples = "f(2,3), 2, 1; f(2,3), 3, 2; f(2,3), 2; f(2,3,2), 2, -2; f(3), 0, 1",
    .wrong = "f(2,3), -1, 1 => repetitions; f(2,3), 2, 3 => dimension 3"};
