/* random.c - random numbers as operations. Every result depends on the generator's seed, its position and the element's number only. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "base/error.h"
#include "base/thread.h"
#include "calc/cast.h"
#include "calc/random.h"
#include "core/iter.h"
#include "diff/ops.h"

#define GRAIN 16384 /* a multiple of what one block makes */

/* ---- uniform and normal numbers into a tensor of any floating type and layout */

typedef enum dist { UNIFORM, NORMAL } dist;
typedef struct fill {
  dist kind;
  bool f64;
  double a, b;       /* bounds, or mean and deviation */
  sn_rng rng;
  char *to;
} fill;

static void fill_task(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const fill *f = ctx;
  const int64_t n = end - begin;
  if (f->f64) {
    double *y = (double *)(void *)f->to + begin;
    const uint64_t block = f->rng.position + (uint64_t)begin / 2;
    if (f->kind == UNIFORM) snk_uniform_f64(f->rng.seed, block, n, y, f->a, f->b);
    else snk_normal_f64(f->rng.seed, block, n, y, f->a, f->b);
  } else {
    float *y = (float *)(void *)f->to + begin;
    const uint64_t block = f->rng.position + (uint64_t)begin / 4;
    (f->kind == UNIFORM ? snk_random_now()->uniform : snk_random_now()->normal)(f->rng.seed, block, n, y, (float)f->a, (float)f->b);
  }
}

static sn_dtype made_in(sn_dtype t) { return t == SN_F64 ? SN_F64 : SN_F32; }

static bool direct(const snt_tensor *y) { return snt_is_contiguous(y) && y->dtype == made_in((sn_dtype)y->dtype); }

static void cast_row(void *ctx, int64_t n, char *const *p, const int64_t *s) {
  const sn_dtype *t = ctx;
  snk_cast_row(n, p[0], s[0], t[0], p[1], s[1], t[1]);
}

static void fill_tensor(sno_call *c, snt_tensor *y, dist kind, double a, double b) {
  const int64_t n = snt_numel(y);
  const sn_dtype t[2] = {(sn_dtype)y->dtype, made_in((sn_dtype)y->dtype)};
  fill f = {kind, t[1] == SN_F64, a, b, c->rng, direct(y) ? snt_data(y) : c->scratch};
  sn_parallel(n, GRAIN, fill_task, &f);
  if (f.to != c->scratch || n == 0) return;
  snt_storage s = {.data = c->scratch};
  snt_tensor x = *y;
  x.storage = &s;
  x.offset = 0;
  x.dtype = (uint8_t)t[1];
  snt_contiguous_strides(x.ndim, x.shape, x.stride);
  snt_iter it;
  snt_iter_init(&it, 2, (const snt_tensor *const[]){y, &x});
  snt_iter_run(&it, GRAIN, cast_row, (void *)(uintptr_t)t);
}

static uint64_t blocks_for(sn_dtype t, int64_t n) { return t == SN_F64 ? ((uint64_t)n + 1) / 2 : SN_RNG_BLOCKS(n); }

/* What a new tensor of this type and these sizes needs. */
static int want_floats(sno_call *c, sn_dtype t, int ndim, const int64_t *shape) {
  if (!sn_is_float(t)) return sn_fail("%s: dtype must be a floating one, got %s; randint makes integers", c->op->name, sn_dtypes[t].name);
  if (snt_check_shape(ndim, shape, c->op->name) < 0) return -1;
  const int64_t n = snt_count(ndim, shape);
  sno_want(c, 0, t, ndim, shape);
  c->rng_blocks = blocks_for(t, n);
  if (t != made_in(t)) c->scratch_bytes = (size_t)n * sn_size_of(made_in(t));
  return 0;
}

static int check_uniform(const sno_call *c, double lo, double hi) {
  if (lo <= hi && hi - lo <= DBL_MAX) return 0;
  return sn_fail("%s: the range %g..%g is empty or not finite; the first bound is the smaller", c->op->name, lo, hi);
}

static int check_normal(const sno_call *c, double mean, double std) {
  if (std >= 0 && std <= DBL_MAX && fabs(mean) <= DBL_MAX) return 0;
  return sn_fail("%s: mean %g with a standard deviation of %g; the deviation is 0 or more, both are finite", c->op->name, mean, std);
}

/* ---- tensors by size */

static int infer_sized(sno_call *c) { return want_floats(c, (sn_dtype)c->attr[1].i, c->attr[0].n, c->attr[0].v); }
static void forward_rand(sno_call *c) { fill_tensor(c, c->out[0], UNIFORM, 0, 1); }
static void forward_randn(sno_call *c) { fill_tensor(c, c->out[0], NORMAL, 0, 1); }

#define CREATOR (SNO_RANDOM | SNO_FUNC_ONLY | SNO_NODIFF | SNO_HALF)

/*** rand(size..., {dtype="float32", generator=})
 * A new tensor of numbers from [0, 1), uniform. Sizes follow one another or stand in a list; {} makes a 0-d tensor.
 * @math y_i \sim U(0, 1)
 * @see randn, uniform, uniform_, manual_seed
 * @source J. K. Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011
 */
const sno_op sno_op_rand = {
    .name = "rand", .args = "size:ints dtype:dtype=float32", .flags = CREATOR, .nout = 1, .infer = infer_sized, .forward = forward_rand,
    .samples = "2, 3; {4, 5}; 7, {dtype=\"float64\"}; 0, 3", .wrong = "2, -1 => negative; 2, {dtype=\"int64\"} => randint; => size"};

/*** randn(size..., {dtype="float32", generator=})
 * A new tensor of normal numbers with mean 0 and standard deviation 1.
 * @math y_i \sim N(0, 1)
 * @see rand, normal, normal_, manual_seed
 */
const sno_op sno_op_randn = {
    .name = "randn", .args = "size:ints dtype:dtype=float32", .flags = CREATOR, .nout = 1, .infer = infer_sized, .forward = forward_randn,
    .samples = "2, 3; {4, 5}; 7, {dtype=\"float64\"}; 0, 3", .wrong = "2, -1 => negative; 2, {dtype=\"bool\"} => floating"};

static int infer_like(sno_call *c) {
  const sn_dtype t = c->attr[0].absent ? (sn_dtype)c->in[0]->dtype : (sn_dtype)c->attr[0].i;
  return want_floats(c, t, c->in[0]->ndim, c->in[0]->shape);
}

/*** rand_like(x, {dtype=, generator=})
 * Uniform numbers from [0, 1) in x's shape and dtype.
 * @math y_i \sim U(0, 1)
 * @see rand
 */
const sno_op sno_op_rand_like = {
    .name = "rand_like", .args = "x dtype:dtype?", .flags = SNO_RANDOM | SNO_NODIFF | SNO_HALF, .nout = 1, .infer = infer_like,
    .forward = forward_rand, .samples = "f(2,3); i(1,5,4), {dtype=\"float64\"}", .wrong = "i(1,5,4) => floating"};

/*** randn_like(x, {dtype=, generator=})
 * Normal numbers with mean 0 and standard deviation 1 in x's shape and dtype.
 * @math y_i \sim N(0, 1)
 * @see randn
 */
const sno_op sno_op_randn_like = {
    .name = "randn_like", .args = "x dtype:dtype?", .flags = SNO_RANDOM | SNO_NODIFF | SNO_HALF, .nout = 1, .infer = infer_like,
    .forward = forward_randn, .samples = "f(2,3); i(1,5,4), {dtype=\"float64\"}", .wrong = "i(1,5,4) => floating"};

static int infer_uniform(sno_call *c) {
  if (check_uniform(c, c->attr[0].d, c->attr[1].d) < 0) return -1;
  return want_floats(c, (sn_dtype)c->attr[3].i, c->attr[2].n, c->attr[2].v);
}
static int infer_normal(sno_call *c) {
  if (check_normal(c, c->attr[0].d, c->attr[1].d) < 0) return -1;
  return want_floats(c, (sn_dtype)c->attr[3].i, c->attr[2].n, c->attr[2].v);
}
static void forward_uniform(sno_call *c) { fill_tensor(c, c->out[0], UNIFORM, c->attr[0].d, c->attr[1].d); }
static void forward_normal(sno_call *c) { fill_tensor(c, c->out[0], NORMAL, c->attr[0].d, c->attr[1].d); }

/*** uniform(lo, hi, size..., {dtype="float32", generator=})
 * A new tensor of numbers from [lo, hi), uniform.
 * @math y_i \sim U(lo, hi)
 * @see rand, uniform_
 */
const sno_op sno_op_uniform = {
    .name = "uniform", .args = "lo:num hi:num size:ints dtype:dtype=float32", .flags = CREATOR, .nout = 1, .infer = infer_uniform,
    .forward = forward_uniform, .samples = "-1, 2, 2, 3; 0, 0.5, {4}", .wrong = "1, 0, 3 => range; 0, 1, -3 => negative"};

/*** normal(mean, std, size..., {dtype="float32", generator=})
 * A new tensor of normal numbers with this mean and standard deviation.
 * @math y_i \sim N(\mu, \sigma^2)
 * @see randn, normal_
 */
const sno_op sno_op_normal = {
    .name = "normal", .args = "mean:num std:num size:ints dtype:dtype=float32", .flags = CREATOR, .nout = 1, .infer = infer_normal,
    .forward = forward_normal, .samples = "1, 2, 2, 3; 0, 0.5, {4}", .wrong = "0, -1, 3 => deviation; 0, 1, -3 => negative"};

/* ---- in place */

static int infer_fill_in_place(sno_call *c) {
  const snt_tensor *x = c->in[0];
  const sn_dtype t = (sn_dtype)x->dtype;
  if (!sn_is_float(t)) return sn_fail("%s: writes floating tensors, this one is %s", c->op->name, sn_dtypes[t].name);
  const bool uniform = c->op == &sno_op_uniform_;
  if ((uniform ? check_uniform : check_normal)(c, c->attr[0].d, c->attr[1].d) < 0) return -1;
  const int64_t n = snt_numel(x);
  c->rng_blocks = blocks_for(t, n);
  if (!direct(x)) c->scratch_bytes = (size_t)n * sn_size_of(made_in(t));
  return 0;
}

static void forward_fill(sno_call *c) { fill_tensor(c, c->in[0], c->op == &sno_op_uniform_ ? UNIFORM : NORMAL, c->attr[0].d, c->attr[1].d); }

#define IN_PLACE (SNO_RANDOM | SNO_WRITES | SNO_METHOD_ONLY | SNO_NODIFF | SNO_HALF)

/*** uniform_(x, lo=0, hi=1, {generator=})
 * Fills x with numbers from [lo, hi), uniform.
 * @math x_i \sim U(lo, hi)
 * @see uniform, normal_
 */
const sno_op sno_op_uniform_ = {
    .name = "uniform_", .args = "x lo:num=0 hi:num=1", .flags = IN_PLACE, .nout = 1, .infer = infer_fill_in_place, .forward = forward_fill,
    .samples = "f(2,3), -1, 2; f(4)", .wrong = "f(3), 1, 0 => range; i(1,3,3) => floating"};

/*** normal_(x, mean=0, std=1, {generator=})
 * Fills x with normal numbers of this mean and standard deviation.
 * @math x_i \sim N(\mu, \sigma^2)
 * @see normal, uniform_
 */
const sno_op sno_op_normal_ = {
    .name = "normal_", .args = "x mean:num=0 std:num=1", .flags = IN_PLACE, .nout = 1, .infer = infer_fill_in_place, .forward = forward_fill,
    .samples = "f(2,3), 1, 2; f(4)", .wrong = "f(3), 0, -1 => deviation; i(1,3,3) => floating"};

/* ---- integers */

static int infer_randint(sno_call *c) {
  const int64_t lo = c->attr[0].i, hi = c->attr[1].i;
  const sn_dtype t = (sn_dtype)c->attr[3].i;
  if (lo >= hi) return sn_fail("randint: the range from %lld up to, without, %lld is empty", (long long)lo, (long long)hi);
  if ((t == SN_I32 && (lo < INT32_MIN || hi - 1 > INT32_MAX)) || (t == SN_U8 && (lo < 0 || hi > 256)) || (t == SN_BOOL && (lo < 0 || hi > 2)))
    return sn_fail("randint: the numbers %lld to %lld do not all fit into %s", (long long)lo, (long long)(hi - 1), sn_dtypes[t].name);
  if (snt_check_shape(c->attr[2].n, c->attr[2].v, "randint") < 0) return -1;
  sno_want(c, 0, t, c->attr[2].n, c->attr[2].v);
  c->rng_blocks = blocks_for(SN_F64, snt_count(c->attr[2].n, c->attr[2].v));
  return 0;
}

static void randint_task(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const sno_call *c = ctx;
  const sn_dtype t = (sn_dtype)c->out[0]->dtype;
  const int64_t lo = c->attr[0].i, size = (int64_t)sn_size_of(t);
  const uint64_t range = (uint64_t)c->attr[1].i - (uint64_t)lo;
  char *y = snt_data(c->out[0]);
  int64_t v[512];
  for (int64_t i = begin; i < end; i += 512) {
    const int64_t n = end - i < 512 ? end - i : 512;
    int64_t *to = t == SN_I64 ? (int64_t *)(void *)y + i : v;
    snk_random_below(c->rng.seed, c->rng.position + (uint64_t)i / 2, n, to, lo, range);
    if (sn_is_float(t)) { /* by double, which rounds numbers beyond 2^53 */
      double w[512];
      snk_cast_row(n, (char *)w, 8, SN_F64, (const char *)v, 8, SN_I64);
      snk_cast_row(n, y + i * size, size, t, (const char *)w, 8, SN_F64);
    } else if (t != SN_I64) snk_cast_row(n, y + i * size, size, t, (const char *)v, 8, SN_I64);
  }
}
static void forward_randint(sno_call *c) { sn_parallel(snt_numel(c->out[0]), GRAIN, randint_task, c); }

/*** randint(lo, hi, size..., {dtype="int64", generator=})
 * A new tensor of whole numbers from lo up to, without, hi, each as likely as the others: randint(1, 11, 256) are 256 labels of ten classes.
 * @math y_i \sim U\{lo, \dots, hi - 1\}
 * @see randperm, rand
 */
const sno_op sno_op_randint = {
    .name = "randint", .args = "lo:int hi:int size:ints dtype:dtype=int64", .flags = CREATOR, .nout = 1, .infer = infer_randint,
    .forward = forward_randint, .samples = "1, 11, 5; -3, 4, {2, 3}; 0, 2, 4, {dtype=\"uint8\"}; 0, 9, 3, {dtype=\"float32\"}",
    .wrong = "5, 5, 3 => empty; 0, 300, 3, {dtype=\"uint8\"} => fit; 0, 3, -1 => negative; 0, 1.5, 3 => integer"};

static int infer_randperm(sno_call *c) {
  const int64_t n = c->attr[0].i;
  const sn_dtype t = (sn_dtype)c->attr[1].i;
  if (n < 0) return sn_fail("randperm: %lld numbers were asked for; 0 or more make sense", (long long)n);
  if (t != SN_I64 && t != SN_I32) return sn_fail("randperm: dtype must be int64 or int32, got %s", sn_dtypes[t].name);
  if (t == SN_I32 && n > INT32_MAX - 1) return sn_fail("randperm: %lld numbers do not fit into int32", (long long)n);
  if (snt_check_shape(1, &n, "randperm") < 0) return -1;
  sno_want(c, 0, t, 1, &n);
  c->rng_blocks = blocks_for(SN_F64, n);
  return 0;
}

/* Fisher and Yates, inside out. */
#define SHUFFLE(T)                                                                                         \
  do {                                                                                                     \
    T *y = snt_data(c->out[0]);                                                                            \
    for (int64_t i = 0; i < n; i++) {                                                                      \
      if (i % 512 == 0) snk_random_bits(c->rng.seed, c->rng.position + (uint64_t)i / 2, n - i < 512 ? n - i : 512, bits); \
      const int64_t j = (int64_t)snk_below(bits[i % 512], (uint64_t)i + 1);                                \
      y[i] = y[j];                                                                                         \
      y[j] = (T)(i + base);                                                                                \
    }                                                                                                      \
  } while (0)
static void forward_randperm(sno_call *c) {
  const int64_t n = c->out[0]->shape[0], base = c->attr[2].i;
  uint64_t bits[512];
  if (n == 0) return;
  memset(snt_data(c->out[0]), 0, snt_nbytes(c->out[0])); /* y[i] = y[i] reads it */
  if (c->out[0]->dtype == SN_I64) SHUFFLE(int64_t);
  else SHUFFLE(int32_t);
}

/*** randperm(n, {dtype="int64", generator=})
 * The numbers 1 to n in random order, every order as likely as the others: x:index_select(1, sn.randperm(#x)) shuffles rows.
 * @math y = \pi(1, \dots, n)
 * @see randint
 */
const sno_op sno_op_randperm = {
    .name = "randperm", .args = "n:int dtype:dtype=int64 base:base", .flags = CREATOR, .nout = 1, .infer = infer_randperm,
    .forward = forward_randperm, .samples = "10; 0; 5, {dtype=\"int32\"}", .wrong = "-1 => 0 or more; 3, {dtype=\"float32\"} => int64"};

/* ---- bernoulli */

static int infer_bernoulli(sno_call *c) {
  snt_tensor *p = c->in[0];
  if (p->weak || !sn_is_float((sn_dtype)p->dtype)) {
    if (!p->weak)
      return sn_fail("bernoulli: probabilities are floating numbers, got a %s tensor; :to(\"float32\") converts", sn_dtypes[p->dtype].name);
    if ((c->in[0] = p = sno_own(snt_to(p, SN_F32))) == NULL) return -1;
  }
  if (!snt_is_contiguous(p) && (c->in[0] = p = sno_call1(&sno_op_contiguous, p)) == NULL) return -1;
  const char *q = snt_data(p);
  for (int64_t i = 0, n = snt_numel(p); i < n; i++) {
    const double v = p->dtype == SN_F32 ? (double)((const float *)(const void *)q)[i] : ((const double *)(const void *)q)[i];
    if (!(v >= 0 && v <= 1)) return sn_fail("bernoulli: probability %g at element %lld is outside 0..1", v, (long long)i + 1);
  }
  if (!c->attr[0].absent) {
    if (snt_check_shape(c->attr[0].n, c->attr[0].v, "bernoulli") < 0) return -1;
    if ((p = sno_own(snt_expand(p, c->attr[0].n, c->attr[0].v))) == NULL) return sn_fail_prefix("bernoulli: ");
    c->in[0] = p;
  }
  if (!snt_is_contiguous(p) && (c->in[0] = p = sno_call1(&sno_op_contiguous, p)) == NULL) return -1;
  sno_want(c, 0, (sn_dtype)p->dtype, p->ndim, p->shape);
  c->rng_blocks = blocks_for((sn_dtype)p->dtype, snt_numel(p));
  return 0;
}

static void bernoulli_task(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const sno_call *c = ctx;
  for (int64_t i = begin; i < end; i += 512) {
    const int64_t n = end - i < 512 ? end - i : 512;
    if (c->out[0]->dtype == SN_F64) {
      double u[512];
      const double *p = (const double *)snt_data(c->in[0]) + i;
      double *y = (double *)snt_data(c->out[0]) + i;
      snk_uniform_f64(c->rng.seed, c->rng.position + (uint64_t)i / 2, n, u, 0, 1);
      for (int64_t k = 0; k < n; k++) y[k] = u[k] < p[k];
    } else {
      float u[512];
      const float *p = (const float *)snt_data(c->in[0]) + i;
      float *y = (float *)snt_data(c->out[0]) + i;
      snk_random_now()->uniform(c->rng.seed, c->rng.position + (uint64_t)i / 4, n, u, 0, 1);
      for (int64_t k = 0; k < n; k++) y[k] = u[k] < p[k];
    }
  }
}
static void forward_bernoulli(sno_call *c) { sn_parallel(snt_numel(c->out[0]), GRAIN, bernoulli_task, c); }

/*** bernoulli(p, size...?, {generator=})
 * Ones with probability p, zeros otherwise, in p's dtype. With sizes p is broadcast to them: bernoulli(0.3, 2, 3).
 * @math P(y_i = 1) = p_i
 * @see rand
 */
const sno_op sno_op_bernoulli = {
    .name = "bernoulli", .args = "p size:ints?", .flags = SNO_RANDOM | SNO_NODIFF | SNO_VALUES, .nout = 1, .infer = infer_bernoulli,
    .forward = forward_bernoulli, .samples = "f(2,3):sigmoid(); 0.3, 2, 3; f(1,3):sigmoid(), {4, 3}",
    .wrong = "p(3) * 10 => outside 0..1; i(0,1,3) => floating; f(2):sigmoid(), 3 => expand"};

/* ---- multinomial */

static double weight_at(const snt_tensor *p, int64_t i) {
  return p->dtype == SN_F32 ? (double)((const float *)snt_data(p))[i] : ((const double *)snt_data(p))[i];
}

static int infer_multinomial(sno_call *c) {
  const snt_tensor *p = c->in[0];
  const int64_t n = c->attr[0].i;
  const bool again = c->attr[1].i;
  if (p->ndim < 1 || p->ndim > 2 || !sn_is_float((sn_dtype)p->dtype))
    return sn_fail("multinomial: wants floating weights, classes or rows x classes, got %s of shape %s", sn_dtypes[p->dtype].name, SNT_SHAPE(p));
  if (n < 0) return sn_fail("multinomial: %lld draws were asked for; 0 or more make sense", (long long)n);
  const int64_t classes = p->shape[p->ndim - 1], rows = p->ndim == 2 ? p->shape[0] : 1;
  for (int64_t r = 0; r < rows; r++) {
    double sum = 0;
    int64_t some = 0;
    for (int64_t k = 0; k < classes; k++) {
      const double v = weight_at(p, r * classes + k);
      if (!(v >= 0 && v <= DBL_MAX))
        return sn_fail("multinomial: weight %g of class %lld in row %lld; weights are finite and not negative", v, (long long)k + 1,
            (long long)r + 1);
      sum += v;
      some += v > 0;
    }
    if (n > 0 && !(sum > 0)) return sn_fail("multinomial: the weights of row %lld are all 0", (long long)r + 1);
    if (!again && n > some)
      return sn_fail("multinomial: %lld draws from %lld classes with a weight in row %lld; {replacement=true} draws a class more than once",
          (long long)n, (long long)some, (long long)r + 1);
  }
  const int64_t shape[2] = {p->ndim == 2 ? rows : n, n};
  if (snt_check_shape(p->ndim, shape, "multinomial") < 0) return -1;
  sno_want(c, 0, SN_I64, p->ndim, shape);
  c->scratch_bytes = (size_t)classes * 16;
  c->rng_blocks = blocks_for(SN_F64, rows * (again ? n : classes));
  return 0;
}

typedef struct entry { double key; int64_t at; } entry;

static bool before(const entry *a, const entry *b) { return a->key < b->key || (a->key == b->key && a->at < b->at); }

static void sink(entry *h, int64_t n, int64_t i) {
  const entry e = h[i];
  for (int64_t k; (k = 2 * i + 1) < n; i = k) {
    if (k + 1 < n && before(&h[k + 1], &h[k])) k++;
    if (!before(&h[k], &e)) break;
    h[i] = h[k];
  }
  h[i] = e;
}

/* Without replacement: every class waits an exponential time with its weight as the rate; the first n to come are drawn. */
static void draw_race(const sno_call *c, const snt_tensor *p, int64_t row, int64_t classes, int64_t n, int64_t *y) {
  entry *h = c->scratch;
  for (int64_t k = 0; k < classes; k++) {
    const double w = weight_at(p, row * classes + k);
    h[k] = (entry){-log(snk_unit_open(snk_random_bits_at(c->rng.seed, c->rng.position, row * classes + k))) / w, k};
    if (!(w > 0)) h[k].key = HUGE_VAL;
  }
  for (int64_t i = classes / 2; i-- > 0;) sink(h, classes, i);
  for (int64_t j = 0; j < n; j++) {
    y[j] = h[0].at + c->attr[2].i;
    h[0] = h[--classes];
    sink(h, classes, 0);
  }
}

static void draw_again(const sno_call *c, const snt_tensor *p, int64_t row, int64_t classes, int64_t n, int64_t *y) {
  double *sum = c->scratch, total = 0;
  int64_t last = 0;
  for (int64_t k = 0; k < classes; k++) {
    const double w = weight_at(p, row * classes + k);
    sum[k] = total += w;
    if (w > 0) last = k;
  }
  for (int64_t j = 0; j < n; j++) {
    const double u = snk_unit(snk_random_bits_at(c->rng.seed, c->rng.position, row * n + j)) * total;
    int64_t lo = 0, hi = classes; /* the first class whose sum is above u */
    while (lo < hi) {
      const int64_t mid = lo + (hi - lo) / 2;
      if (sum[mid] > u) hi = mid;
      else lo = mid + 1;
    }
    y[j] = (lo < classes ? lo : last) + c->attr[2].i;
  }
}

static void forward_multinomial(sno_call *c) {
  const snt_tensor *p = c->in[0];
  const int64_t classes = p->shape[p->ndim - 1], rows = p->ndim == 2 ? p->shape[0] : 1, n = c->attr[0].i;
  int64_t *y = snt_data(c->out[0]);
  if (n == 0) return;
  for (int64_t r = 0; r < rows; r++) (c->attr[1].i ? draw_again : draw_race)(c, p, r, classes, n, y + r * n);
}

/*** multinomial(weights, n, replacement=false, {generator=})
 * n draws of class numbers (int64) from each row of weights, which need not sum to 1; without replacement no class comes twice.
 * @math P(y = k) = \frac{w_k}{\sum_j w_j}
 * @see randint, bernoulli
 */
const sno_op sno_op_multinomial = {
    .name = "multinomial", .args = "weights n:int replacement:bool=false base:base", .flags = SNO_RANDOM | SNO_NODIFF | SNO_VALUES | SNO_CONTIG,
    .nout = 1, .infer = infer_multinomial, .forward = forward_multinomial, .samples = "p(5), 3; p(2,4), 6, true; p(3,4), 4",
    .wrong = "p(3), 4 => replacement; p(3) * -1, 1 => negative; p(2,2,2), 1 => rows x classes; p(3) * 0, 1 => all 0"};
