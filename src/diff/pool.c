/* pool.c - pooling of planes: the largest, the mean, and the mean of windows that cover the plane whatever its size. */
#include "calc/pool.h"
#include <string.h>
#include "base/error.h"
#include "base/thread.h"
#include "diff/ops.h"

/* ---- shared */

static int check_planes(sno_call *c, int i) {
  const snt_tensor *x = c->in[i];
  if (x->ndim != 3 && x->ndim != 4) return sn_fail("%s: wants an input of n x c x h x w or c x h x w, got %s", c->op->name, SNT_SHAPE(x));
  if (!sn_is_float((sn_dtype)x->dtype))
    return sn_fail("%s: wants a floating tensor, got %s; :to(\"float32\") converts", c->op->name, sn_dtypes[x->dtype].name);
  return 0;
}

/* The result: like input i, with these sizes. */
static int want(sno_call *c, int i, int64_t h, int64_t w) {
  int64_t shape[4];
  const snt_tensor *x = c->in[i];
  memcpy(shape, x->shape, sizeof shape);
  shape[x->ndim - 2] = h, shape[x->ndim - 1] = w;
  if (snt_check_shape(x->ndim, shape, c->op->name) < 0) return -1;
  sno_want(c, 0, (sn_dtype)x->dtype, x->ndim, shape);
  return 0;
}

static int64_t planes_of(const snt_tensor *x) {
  int64_t n = 1;
  for (int i = 0; i < x->ndim - 2; i++) n *= x->shape[i];
  return n;
}

/* kernel, stride, padding from attribute `at` on. An absent stride is the kernel. */
static int fill_axes(sno_call *c, int at, const int64_t *in, const int64_t *dilation, bool ceil_mode, const char *shown, snk_pool_axis axis[2]) {
  const char *name = c->op->name;
  if (c->attr[at + 1].absent) c->attr[at + 1] = sno_int2(c->attr[at].v[0], c->attr[at].v[1]);
  for (int d = 0; d < 2; d++) {
    snk_pool_axis *a = &axis[d];
    const int64_t big = (int64_t)1 << 31;
    *a = (snk_pool_axis){.in = in[d], .k = c->attr[at].v[d], .stride = c->attr[at + 1].v[d], .pad = c->attr[at + 2].v[d],
                          .dilation = dilation ? dilation[d] : 1};
    if (a->k < 1 || a->k >= big) return sn_fail("%s: kernel_size must be positive, got %lld", name, (long long)a->k);
    if (a->stride < 1 || a->stride >= big) return sn_fail("%s: stride must be positive, got %lld", name, (long long)a->stride);
    if (a->dilation < 1 || a->dilation >= big) return sn_fail("%s: dilation must be positive, got %lld", name, (long long)a->dilation);
    int64_t reach = (a->k - 1) * a->dilation + 1;
    if (a->pad < 0 || a->pad > reach / 2)
      return sn_fail("%s: padding must be from 0 to half the kernel (%lld), got %lld", name, (long long)(reach / 2), (long long)a->pad);
    int64_t room = a->in + 2 * a->pad - reach;
    if (ceil_mode) room += a->stride - 1; /* one window that hangs over, if it still begins inside */
    a->out = room >= 0 ? room / a->stride + 1 : 0;
    if (ceil_mode && a->out > 0 && (a->out - 1) * a->stride >= a->in + a->pad) a->out--;
    if (a->out < 1)
      return sn_fail("%s: the kernel is larger than the padded input: %lld against %lld (input %s)", name, (long long)reach,
                     (long long)(a->in + 2 * a->pad), shown);
  }
  return 0;
}

/* ---- the largest */

static int max_shape(sno_call *c, int i, int at, snk_pool_shape *s) {
  const snt_tensor *x = c->in[i];
  snk_pool_axis axis[2];
  if (fill_axes(c, at, x->shape + x->ndim - 2, c->attr[at + 3].v, c->attr[at + 4].i, SNT_SHAPE(x), axis) < 0) return -1;
  *s = (snk_pool_shape){.f64 = x->dtype == SN_F64, .half = x->dtype == SN_BF16, .planes = planes_of(x), .y = axis[0], .x = axis[1]};
  return 0;
}

static int infer_max(sno_call *c) {
  snk_pool_shape s;
  if (check_planes(c, 0) < 0 || max_shape(c, 0, 0, &s) < 0) return -1;
  return want(c, 0, s.y.out, s.x.out) < 0 ? -1 : sn_scratch_reserve(snk_max_worker(&s));
}
static void forward_max(sno_call *c) {
  snk_pool_shape s;
  if (max_shape(c, 0, 0, &s) < 0) return;
  s.half_y = c->out[0]->dtype == SN_BF16;
  snk_max_pool(&s, snt_data(c->in[0]), snt_data(c->out[0]));
}

/* x, and where it is so stored the result, or the gradients. */
static bool halved_max(sno_call *c, int k) {
  const int x = c->op == &sno_op_max_pool2d ? 0 : 1;
  snk_pool_shape s;
  return max_shape(c, x, 0, &s) == 0 && snk_pool_halves(&s) && (k == x || s.half);
}

static int back_max(sno_back *b) {
  if (!b->want[0]) return 0;
  return (b->gx[0] = sno_run(&sno_op_max_pool2d_backward, SNO_IN(b->gy[0], b->in[0]), 5, b->attr)) ? 0 : -1;
}

/*** max_pool2d(x, kernel_size, {stride=kernel_size, padding=0, dilation=1, ceil_mode=false})
 * The largest of each window of a plane. x is n x c x h x w (or c x h x w); kernel_size, stride, padding and dilation are one number or
 * {height, width}; the height becomes floor((h + 2 padding - dilation (k - 1) - 1) / stride) + 1, rounded up with ceil_mode as long as the last
 * window begins inside. Padding never wins. Of equal numbers the first wins; NaN wins over all.
 * Errors: a kernel larger than the padded input, padding above half the kernel.
 * @math y_{ij} = \max_{rs} x_{is+rd-p,\,js+sd-p}
 * @grad \bar x_{uv} = \sum_{ij:\,(u,v)\text{ wins } (i,j)} \bar y_{ij}
 * @see avg_pool2d, adaptive_avg_pool2d
 */
const sno_op sno_op_max_pool2d = {
    .name = "max_pool2d", .args = "x kernel_size:int2 stride:int2? padding:int2=0 dilation:int2=1 ceil_mode:bool=false", .flags = SNO_CONTIG,
    .nout = 1, .save_in = 1, .infer = infer_max, .forward = forward_max, .backward = back_max, .halved = halved_max,
    .samples = "d(2,3,4,6), 2; d(1,2,7,6), {3,2}, {stride={2,1}, padding=1}; d(2,5,5), 2, {ceil_mode=true}; d(1,1,7,7), 2, {dilation=3, stride=1};"
               " d(1,2,6,38), 2; d(1,1,5,5), 3, {stride=2, padding=1, ceil_mode=true}",
    .wrong = "f(1,1,2,2), 3 => larger than the padded input; f(1,1,4,4), 2, {padding=2} => half the kernel; f(1,1,4,4), 2, {stride=0} => stride;"
             " f(1,1,4,4), 0 => kernel_size; f(4,4), 2 => n x c x h x w; i(1,9,1,1,4,4), 2 => floating; f(1,1,4,4), 2, {dilation=0} => dilation"};

/* gy and x, or g and x: the second is what is compared. */
static int infer_max_back(sno_call *c) {
  snk_pool_shape s;
  if (check_planes(c, 0) < 0 || check_planes(c, 1) < 0 || max_shape(c, 1, 0, &s) < 0) return -1;
  const snt_tensor *g = c->in[0], *x = c->in[1];
  bool pick = c->op == &sno_op_max_pool2d_pick;
  int64_t h = pick ? s.y.in : s.y.out, w = pick ? s.x.in : s.x.out;
  if (g->ndim != x->ndim || planes_of(g) != s.planes || g->shape[g->ndim - 2] != h || g->shape[g->ndim - 1] != w)
    return sn_fail("%s: the gradient is %s, input %s wants planes of %lldx%lld", c->op->name, SNT_SHAPE(g), SNT_SHAPE(x), (long long)h, (long long)w);
  if (sno_cast_input(c, 0, (sn_dtype)x->dtype) < 0) return -1;
  if (c->op == &sno_op_max_pool2d_relu_backward && !snk_pool_pairs(&s)) return sn_fail("%s: wants windows of two by two side by side", c->op->name);
  if ((pick ? want(c, 1, s.y.out, s.x.out) : want(c, 1, s.y.in, s.x.in)) < 0) return -1;
  return sn_scratch_reserve(snk_max_worker(&s));
}
static void forward_max_back(sno_call *c) {
  snk_pool_shape s;
  if (max_shape(c, 1, 0, &s) < 0) return;
  s.relu = c->op == &sno_op_max_pool2d_relu_backward, s.half_y = c->in[0]->dtype == SN_BF16, s.half_gx = c->out[0]->dtype == SN_BF16;
  if (c->op == &sno_op_max_pool2d_pick) snk_max_pool_pick(&s, snt_data(c->in[0]), snt_data(c->in[1]), snt_data(c->out[0]));
  else snk_max_pool_backward(&s, snt_data(c->in[0]), snt_data(c->in[1]), snt_data(c->out[0]));
}
static int back_max_back(sno_back *b) {
  const sno_op *other = b->op == &sno_op_max_pool2d_pick ? &sno_op_max_pool2d_backward : &sno_op_max_pool2d_pick;
  if (!b->want[0]) return 0; /* the places of the winners do not move with x */
  return (b->gx[0] = sno_run(other, SNO_IN(b->gy[0], b->in[1]), 5, b->attr)) ? 0 : -1;
}

/*** max_pool2d_backward(gy, x, kernel_size, {stride, padding, dilation, ceil_mode})
 * The gradient of max_pool2d's input: every window's goes to the place of its largest number.
 * @math \bar x_{uv} = \sum_{ij:\,(u,v)\text{ wins } (i,j)} \bar y_{ij}
 * @grad \bar{\bar y} = \mathrm{max\_pool2d\_pick}(\bar{\bar x}, x)
 * @see max_pool2d
 */
const sno_op sno_op_max_pool2d_backward = {
    .name = "max_pool2d_backward", .args = "gy x kernel_size:int2 stride:int2? padding:int2=0 dilation:int2=1 ceil_mode:bool=false",
    .flags = SNO_CONTIG | SNO_HIDDEN, .nout = 1, .save_in = 2, .infer = infer_max_back, .forward = forward_max_back, .backward = back_max_back,
    .halved = halved_max, .samples = "f(1,1,2,3), d(1,1,4,6), 2", .wrong = "f(1,1,2,2), d(1,1,4,6), 2 => the gradient is"};

/*** max_pool2d_relu_backward(gy, x, kernel_size, {stride, padding, dilation, ceil_mode})
 * max_pool2d_backward and the relu_backward behind it in one store, of windows of two by two side by side: what programs make of the two. x is
 * what relu gave.
 * @math \bar x_{uv} = [x_{uv} > 0] \sum_{ij:\,(u,v)\text{ wins } (i,j)} \bar y_{ij}
 */
const sno_op sno_op_max_pool2d_relu_backward = {
    .name = "max_pool2d_relu_backward", .args = "gy x kernel_size:int2 stride:int2? padding:int2=0 dilation:int2=1 ceil_mode:bool=false",
    .flags = SNO_CONTIG | SNO_HIDDEN | SNO_NODIFF, .nout = 1, .over = {2}, .infer = infer_max_back, .forward = forward_max_back, .halved = halved_max,
    .samples = "f(1,1,2,3), d(1,1,4,6), 2", .wrong = "f(1,1,2,2), d(1,1,4,6), 2 => the gradient is; f(1,1,3,5), d(1,1,4,6), 2, {stride=1} => side by side"};

/*** max_pool2d_pick(g, x, kernel_size, {stride, padding, dilation, ceil_mode})
 * `g` at the places where the windows of `x` have their largest numbers.
 * @math y_{ij} = g_{uv},\quad (u,v)\text{ wins } (i,j)
 * @grad \bar g = \mathrm{max\_pool2d\_backward}(\bar y, x)
 * @see max_pool2d
 */
const sno_op sno_op_max_pool2d_pick = {
    .name = "max_pool2d_pick", .args = "g x kernel_size:int2 stride:int2? padding:int2=0 dilation:int2=1 ceil_mode:bool=false",
    .flags = SNO_CONTIG | SNO_HIDDEN, .nout = 1, .save_in = 2, .infer = infer_max_back, .forward = forward_max_back, .backward = back_max_back,
    .samples = "f(1,1,4,6), d(1,1,4,6), 2", .wrong = "f(1,1,2,2), d(1,1,4,6), 2 => the gradient is"};

/* ---- means */

static int want_mean(sno_call *c, const snk_pool_axis axis[2], int64_t h, int64_t w) {
  c->scratch_bytes = (size_t)(axis[0].out + axis[1].out) * 3 * sizeof(int64_t); /* the windows */
  return want(c, 0, h, w) < 0 ? -1 : sn_scratch_reserve(snk_mean_worker(c->in[0]->dtype == SN_F64, axis[1].in));
}

/* Windows of one direction into `at`; returns what follows. */
static int64_t *windows(snk_mean_axis *m, const snk_pool_axis *a, bool include, int64_t *at) {
  int64_t *lo = at, *hi = at + a->out, *count = at + 2 * a->out;
  for (int64_t i = 0; i < a->out; i++) {
    int64_t start = i * a->stride - a->pad, end = start + a->k;
    if (a->k == 0) { /* adaptive */
      start = i * a->in / a->out;
      end = ((i + 1) * a->in + a->out - 1) / a->out;
    }
    if (end > a->in + a->pad) end = a->in + a->pad;
    count[i] = end - start;
    lo[i] = start < 0 ? 0 : start;
    hi[i] = end < a->in ? end : a->in;
    if (hi[i] < lo[i]) hi[i] = lo[i];
    if (!include) count[i] = hi[i] - lo[i];
  }
  *m = (snk_mean_axis){a->in, a->out, lo, hi, count};
  return at + 3 * a->out;
}

static bool in_pairs(const snk_mean_axis *m) {
  bool ok = true;
  for (int64_t i = 0; i < m->out && ok; i++) ok = m->lo[i] == 2 * i && m->hi[i] == 2 * i + 2 && m->count[i] == 2;
  return ok;
}

static void run_mean(sno_call *c, const snk_pool_axis axis[2], bool include, double divisor, bool back) {
  const snt_tensor *t = c->in[0];
  snk_mean_shape s = {.f64 = t->dtype == SN_F64, .planes = planes_of(t), .divisor = divisor};
  windows(&s.x, &axis[1], include, windows(&s.y, &axis[0], include, c->scratch));
  s.pairs = in_pairs(&s.y) && in_pairs(&s.x);
  s.whole = s.y.out == 1 && s.x.out == 1 && s.y.lo[0] == 0 && s.x.lo[0] == 0 && s.y.hi[0] == s.y.in && s.x.hi[0] == s.x.in;
  if (back) snk_mean_pool_backward(&s, snt_data(t), snt_data(c->out[0]));
  else snk_mean_pool(&s, snt_data(t), snt_data(c->out[0]));
}

/* avg_pool2d has its attributes from 0 on, its backward from 1 on, after the input's size. */
static int mean_axes(sno_call *c, int at, snk_pool_axis axis[2]) {
  const snt_tensor *t = c->in[0];
  const int64_t *in = at ? c->attr[0].v : t->shape + t->ndim - 2;
  if (!c->attr[at + 5].absent && c->attr[at + 5].i == 0) return sn_fail("%s: divisor_override must not be 0", c->op->name);
  return fill_axes(c, at, in, NULL, c->attr[at + 3].i, at ? "of the size given" : SNT_SHAPE(t), axis);
}

static int infer_avg(sno_call *c) {
  snk_pool_axis axis[2];
  if (check_planes(c, 0) < 0 || mean_axes(c, 0, axis) < 0) return -1;
  return want_mean(c, axis, axis[0].out, axis[1].out);
}
static void forward_avg(sno_call *c) {
  snk_pool_axis axis[2];
  if (mean_axes(c, 0, axis) < 0) return;
  run_mean(c, axis, c->attr[4].i, c->attr[5].absent ? 0 : (double)c->attr[5].i, false);
}

static int back_avg(sno_back *b) {
  const sno_out *x = &b->in_spec[0];
  if (!b->want[0]) return 0;
  sno_val attr[7] = {sno_int2(x->shape[x->ndim - 2], x->shape[x->ndim - 1])};
  memcpy(attr + 1, b->attr, 6 * sizeof *attr);
  return (b->gx[0] = sno_run(&sno_op_avg_pool2d_backward, SNO_IN(b->gy[0]), 7, attr)) ? 0 : -1;
}

/*** avg_pool2d(x, kernel_size, {stride=kernel_size, padding=0, ceil_mode=false, count_include_pad=true, divisor_override=nil})
 * The mean of each window of a plane. x is n x c x h x w (or c x h x w); kernel_size, stride and padding are one number or {height, width}; sizes as
 * in max_pool2d. Padding counts as zeros, or with count_include_pad=false not at all; divisor_override replaces the number divided by.
 * Errors: a kernel larger than the padded input, padding above half the kernel.
 * @math y_{ij} = \frac{1}{d_{ij}} \sum_{rs} x_{is+r-p,\,js+s-p}
 * @grad \bar x_{uv} = \sum_{ij \ni (u,v)} \bar y_{ij} / d_{ij}
 * @see max_pool2d, adaptive_avg_pool2d
 */
const sno_op sno_op_avg_pool2d = {
    .name = "avg_pool2d",
    .args = "x kernel_size:int2 stride:int2? padding:int2=0 ceil_mode:bool=false count_include_pad:bool=true divisor_override:int?",
    .flags = SNO_CONTIG, .nout = 1, .save_in = 0, .infer = infer_avg, .forward = forward_avg, .backward = back_avg,
    .samples = "f(2,3,4,6), 2; f(1,2,7,6), {3,2}, {stride={1,2}, padding=1}; f(2,5,5), 2, {ceil_mode=true};"
             " f(1,1,5,4), 3, {padding=1, count_include_pad=false};"
               " f(1,2,6,38), 2; f(1,1,5,5), 3, {stride=2, padding=1, ceil_mode=true, divisor_override=7}",
    .wrong = "f(1,1,2,2), 3 => larger than the padded input; f(1,1,4,4), 2, {padding=2} => half the kernel; f(1,1,4,4), 2, {stride=0} => stride;"
             " f(1,1,4,4), 2, {divisor_override=0} => divisor_override; f(4,4), 2 => n x c x h x w; i(1,9,1,1,4,4), 2 => floating"};

static int infer_avg_back(sno_call *c) {
  snk_pool_axis axis[2];
  if (check_planes(c, 0) < 0 || mean_axes(c, 1, axis) < 0) return -1;
  const snt_tensor *g = c->in[0];
  if (g->shape[g->ndim - 2] != axis[0].out || g->shape[g->ndim - 1] != axis[1].out)
    return sn_fail("%s: the gradient is %s, its planes should be %lldx%lld", c->op->name, SNT_SHAPE(g), (long long)axis[0].out,
                   (long long)axis[1].out);
  return want_mean(c, axis, axis[0].in, axis[1].in);
}
static void forward_avg_back(sno_call *c) {
  snk_pool_axis axis[2];
  if (mean_axes(c, 1, axis) < 0) return;
  run_mean(c, axis, c->attr[5].i, c->attr[6].absent ? 0 : (double)c->attr[6].i, true);
}
static int back_avg_back(sno_back *b) {
  if (!b->want[0]) return 0;
  return (b->gx[0] = sno_run(&sno_op_avg_pool2d, SNO_IN(b->gy[0]), 6, b->attr + 1)) ? 0 : -1;
}

/*** avg_pool2d_backward(gy, size, kernel_size, {stride, padding, ceil_mode, count_include_pad, divisor_override})
 * The gradient of avg_pool2d's input, which has height and width `size`.
 * @math \bar x_{uv} = \sum_{ij \ni (u,v)} \bar y_{ij} / d_{ij}
 * @grad \bar{\bar y} = \mathrm{avg\_pool2d}(\bar{\bar x})
 * @see avg_pool2d
 */
const sno_op sno_op_avg_pool2d_backward = {
    .name = "avg_pool2d_backward",
    .args = "gy size:int2 kernel_size:int2 stride:int2? padding:int2=0 ceil_mode:bool=false count_include_pad:bool=true divisor_override:int?",
    .flags = SNO_CONTIG | SNO_HIDDEN, .nout = 1, .infer = infer_avg_back, .forward = forward_avg_back, .backward = back_avg_back,
    .samples = "f(2,3,2,3), {4,6}, 2", .wrong = "f(2,3,2,2), {4,6}, 2 => the gradient is"};

/* ---- means of windows that cover the plane */

/* Axes whose kernel of 0 says: the windows follow from the sizes. */
static int adaptive_axes(sno_call *c, snk_pool_axis axis[2]) {
  const snt_tensor *t = c->in[0];
  bool back = c->op == &sno_op_adaptive_avg_pool2d_backward;
  for (int d = 0; d < 2; d++) {
    int64_t own = t->shape[t->ndim - 2 + d], other = c->attr[0].v[d];
    if (other < 1 || own < 1 || other >= (int64_t)1 << 31 || own >= (int64_t)1 << 31)
      return sn_fail("%s: sizes must be positive, got %lldx%lld (input %s)", c->op->name, (long long)c->attr[0].v[0],
                     (long long)c->attr[0].v[1], SNT_SHAPE(t));
    axis[d] = (snk_pool_axis){.in = back ? other : own, .out = back ? own : other};
  }
  return 0;
}
static int infer_adaptive(sno_call *c) {
  snk_pool_axis axis[2];
  if (check_planes(c, 0) < 0 || adaptive_axes(c, axis) < 0) return -1;
  return want_mean(c, axis, c->attr[0].v[0], c->attr[0].v[1]);
}
static void forward_adaptive(sno_call *c) {
  snk_pool_axis axis[2];
  if (adaptive_axes(c, axis) < 0) return;
  run_mean(c, axis, false, 0, c->op == &sno_op_adaptive_avg_pool2d_backward);
}
static int back_adaptive(sno_back *b) {
  const sno_out *x = &b->in_spec[0];
  const sno_op *other = b->op == &sno_op_adaptive_avg_pool2d ? &sno_op_adaptive_avg_pool2d_backward : &sno_op_adaptive_avg_pool2d;
  if (!b->want[0]) return 0;
  b->gx[0] = sno_run(other, SNO_IN(b->gy[0]), SNO_ATTRS(sno_int2(x->shape[x->ndim - 2], x->shape[x->ndim - 1])));
  return b->gx[0] ? 0 : -1;
}

/*** adaptive_avg_pool2d(x, size)
 * Means of windows that cover a plane of any size with a result of height and width `size` (one number or {height, width}): window i of h' goes from
 * floor(i h / h') to ceil((i + 1) h / h'). x is n x c x h x w (or c x h x w).
 * @math y_{ij} = \frac{1}{|W_{ij}|} \sum_{(u,v) \in W_{ij}} x_{uv}
 * @grad \bar x_{uv} = \sum_{ij:\,(u,v) \in W_{ij}} \bar y_{ij} / |W_{ij}|
 * @see avg_pool2d
 */
const sno_op sno_op_adaptive_avg_pool2d = {
    .name = "adaptive_avg_pool2d", .args = "x size:int2", .flags = SNO_CONTIG, .nout = 1, .infer = infer_adaptive, .forward = forward_adaptive,
    .backward = back_adaptive, .samples = "f(2,3,5,7), {2,3}; f(1,2,6,6), 1; f(3,4,4), 2; f(1,1,2,3), {4,5}",
    .wrong = "f(1,1,4,4), 0 => sizes must be positive; f(4,4), 2 => n x c x h x w; i(1,9,1,1,4,4), 2 => floating"};

/*** adaptive_avg_pool2d_backward(gy, size)
 * The gradient of adaptive_avg_pool2d's input, which has height and width `size`.
 * @math \bar x_{uv} = \sum_{ij:\,(u,v) \in W_{ij}} \bar y_{ij} / |W_{ij}|
 * @grad \bar{\bar y} = \mathrm{adaptive\_avg\_pool2d}(\bar{\bar x})
 * @see adaptive_avg_pool2d
 */
const sno_op sno_op_adaptive_avg_pool2d_backward = {
    .name = "adaptive_avg_pool2d_backward", .args = "gy size:int2", .flags = SNO_CONTIG | SNO_HIDDEN, .nout = 1, .infer = infer_adaptive,
    .forward = forward_adaptive, .backward = back_adaptive, .samples = "f(2,3,2,3), {5,7}", .wrong = "f(2,3,2,3), 0 => sizes must be positive"};
