/* optim_test.c - updates of parameters on lists: formulas on every layout, sizes around the vectors, and clipping that no number of threads
 * changes. */
#include <math.h>
#include <string.h>
#include "base/error.h"
#include "base/thread.h"
#include "check.h"
#include "diff/ops.h"

static double value(int64_t i, int seed) { return (double)((37 * i + 101 * seed) % 113 - 56) / 40; }

static snt_tensor *filled(sn_dtype t, int64_t n, int seed, bool positive, bool strided) {
  snt_tensor *x = snt_zeros(t, 2, (int64_t[]){n, strided ? 2 : 1}), *v = snt_select(x, 1, 0);
  snt_release(x);
  for (int64_t i = 0; i < n; i++) sn_store_double(snt_at(v, i), t, positive ? fabs(value(i, seed)) : value(i, seed));
  return v;
}

static double at(const snt_tensor *t, int64_t i) { return sn_load_double(snt_at(t, i), (sn_dtype)t->dtype); }
static bool near(double a, double b, double eps) { return fabs(a - b) <= eps * (1 + fabs(b)); }

typedef enum which { SGD, MOMENTUM, FIRST, NESTEROV, RMSPROP, ADAM, ADAMW } which;

static void formula(which w, double *p, double g, double *s, double *q, double lr, double step) {
  const double decay = 0.1;
  if (w == ADAMW) *p *= 1 - lr * decay;
  else g += decay * *p;
  if (w == SGD) *p -= lr * g;
  else if (w == MOMENTUM || w == FIRST || w == NESTEROV) {
    *s = w == FIRST ? g : 0.9 * *s + 0.7 * g;
    *p -= lr * (w == NESTEROV ? g + 0.9 * *s : *s);
  } else if (w == RMSPROP) {
    *s = 0.8 * *s + 0.2 * g * g;
    *p -= lr * g / (sqrt(*s) + 1e-3);
  } else {
    *s = 0.9 * *s + 0.1 * g;
    *q = 0.99 * *q + 0.01 * g * g;
    *p -= lr / (1 - pow(0.9, step)) * *s / (sqrt(*q / (1 - pow(0.99, step))) + 1e-3);
  }
}

static void one_update(which w, sn_dtype t, bool strided) {
  const int64_t sizes[4] = {1, 17, 0, 70};
  const double lr = 0.05, step = w == FIRST ? 1 : 3, eps = t == SN_F64 ? 1e-13 : 1e-5;
  const int lists = w >= ADAM ? 4 : 3;
  snt_tensor *in[17], *old[16];
  for (int j = 0; j < lists; j++)
    for (int k = 0; k < 4; k++) {
      in[j * 4 + k] = filled(t, sizes[k], 1 + j * 4 + k, j == (w >= ADAM ? 3 : 2), strided && (j + k) % 2 == 0);
      old[j * 4 + k] = snt_clone(in[j * 4 + k]);
    }
  snt_tensor *rate = in[lists * 4] = snt_zeros(SN_F64, 1, (int64_t[]){2});
  sn_store_double(snt_at(rate, 0), SN_F64, lr);
  sn_store_double(snt_at(rate, 1), SN_F64, step);
  int rc;
  if (w <= NESTEROV)
    rc = sno_invoke(&sno_op_sgd_, lists * 4 + 1, in, 4,
                    SNO_ATTRS(sno_num(w == SGD ? 0 : 0.9), sno_num(0.3), sno_num(0.1), sno_bool(w == NESTEROV)), NULL, NULL, NULL);
  else if (w == RMSPROP)
    rc = sno_invoke(&sno_op_rmsprop_, lists * 4 + 1, in, 4, SNO_ATTRS(sno_num(0.8), sno_num(1e-3), sno_num(0.1)), NULL, NULL, NULL);
  else
    rc = sno_invoke(&sno_op_adam_, lists * 4 + 1, in, 4, SNO_ATTRS(sno_num(0.9), sno_num(0.99), sno_num(1e-3), sno_num(0.1), sno_bool(w == ADAMW)),
        NULL,
                    NULL, NULL);
  CHECK(rc == 0);
  bool ok = true;
  for (int k = 0; k < 4; k++)
    for (int64_t i = 0; i < sizes[k]; i++) {
      double p = at(old[k], i), s = at(old[8 + k], i), q = lists > 3 ? at(old[12 + k], i) : 0;
      formula(w, &p, at(old[4 + k], i), &s, &q, lr, step);
      ok = ok && near(at(in[k], i), p, eps) && near(at(in[8 + k], i), s, eps) && (lists < 4 || near(at(in[12 + k], i), q, eps));
      ok = ok && at(in[4 + k], i) == at(old[4 + k], i);
    }
  CHECK(ok);
  for (int i = 0; i < lists * 4; i++) snt_release(in[i]), snt_release(old[i]);
  snt_release(rate);
}

/* Roots of every size, of nothing, infinity and NaN: with rho = 1 and g = -1 the parameter becomes 1 / sqrt(v). */
static void roots(void) {
  enum { N = 6003 };
  snt_tensor *in[4] = {snt_zeros(SN_F32, 1, (int64_t[]){N}), snt_zeros(SN_F32, 1, (int64_t[]){N}), snt_zeros(SN_F32, 1, (int64_t[]){N}), snt_scalar(SN_F64, 1)};
  float *p = snt_data(in[0]), *g = snt_data(in[1]), *v = snt_data(in[2]);
  double worst = 0;
  for (int i = 0; i < N; i++) g[i] = -1, v[i] = exp2f((float)(i - 3000) / 24);
  v[0] = 0, v[1] = INFINITY, v[2] = NAN;
  CHECK(sno_invoke(&sno_op_rmsprop_, 4, in, 1, SNO_ATTRS(sno_num(1), sno_num(0), sno_num(0)), NULL, NULL, NULL) == 0);
  CHECK(isinf(p[0]) && p[1] == 0 && isnan(p[2]));
  for (int i = 3; i < N; i++) {
    const double off = fabs((double)p[i] * sqrt((double)v[i]) - 1);
    if (off > worst) worst = off;
  }
  CHECK(worst < 2e-7);
  for (int i = 0; i < 4; i++) snt_release(in[i]);
}

static double clip(double limit, sn_dtype t, snt_tensor **g, double *after) {
  for (int k = 0; k < 3; k++) g[k] = filled(t, k == 0 ? 100003 : k == 1 ? 5 : 20000, k, false, k == 2);
  snt_tensor *out[SNO_MAXOUT];
  const size_t mark = sno_scope_open();
  CHECK(sno_invoke(&sno_op_clip_norm_, 3, g, 3, SNO_ATTRS(sno_num(limit)), out, NULL, NULL) == 0);
  const double norm = snt_item(out[0]);
  sno_scope_close(mark);
  *after = 0;
  for (int k = 0; k < 3; k++) {
    for (int64_t i = 0; i < snt_numel(g[k]); i++) *after += at(g[k], i) * at(g[k], i);
    snt_release(g[k]);
  }
  *after = sqrt(*after);
  return norm;
}

static void clipping(void) {
  snt_tensor *g[3];
  double one = 0, after;
  for (int n = 1; n <= 4; n++) {
    CHECK(sn_threads_set(n) == 0);
    const double norm = clip(2, SN_F32, g, &after);
    if (n == 1) one = norm;
    CHECK(memcmp(&norm, &one, sizeof one) == 0);
    CHECK(near(after, 2, 1e-5));
  }
  sn_threads_set(0);
  const double norm = clip(1e9, SN_F64, g, &after);
  CHECK(near(norm, after, 1e-12) && near(norm, one, 1e-6));
  snt_tensor *x = filled(SN_F32, 3, 1, false, false), *out[SNO_MAXOUT];
  sn_store_double(snt_at(x, 1), SN_F32, NAN);
  const double first = at(x, 0);
  const size_t mark = sno_scope_open();
  CHECK(sno_invoke(&sno_op_clip_norm_, 1, &x, 1, SNO_ATTRS(sno_num(1e-3)), out, NULL, NULL) == 0);
  CHECK(isnan(snt_item(out[0])) && at(x, 0) == first && isnan(at(x, 1)));
  CHECK(sno_invoke(&sno_op_clip_value_, 1, &x, 1, SNO_ATTRS(sno_num(0.125)), NULL, NULL, NULL) == 0);
  CHECK(fabs(at(x, 0)) <= 0.125 && isnan(at(x, 1)) && fabs(at(x, 2)) <= 0.125);
  CHECK(sno_invoke(&sno_op_clip_norm_, 0, NULL, 0, SNO_ATTRS(sno_num(1)), out, NULL, NULL) == 0 && snt_item(out[0]) == 0);
  CHECK(sno_invoke(&sno_op_clip_norm_, 1, &x, 1, SNO_ATTRS(sno_num(-1)), out, NULL, NULL) < 0);
  sno_scope_close(mark);
  snt_release(x);
}

static void refusals(void) {
  snt_tensor *in[4] = {filled(SN_F32, 3, 1, false, false), filled(SN_F32, 4, 2, false, false), filled(SN_F32, 3, 3, false, false),
      snt_scalar(SN_F64, 0.1)};
  CHECK(sno_invoke(&sno_op_sgd_, 4, in, 1, 0, NULL, NULL, NULL, NULL) < 0 && strstr(sn_error_message(), "tensor 1 is float32 3"));
  snt_release(in[1]);
  in[1] = snt_zeros(SN_F64, 1, (int64_t[]){3});
  CHECK(sno_invoke(&sno_op_sgd_, 4, in, 1, 0, NULL, NULL, NULL, NULL) < 0 && strstr(sn_error_message(), "float64 3"));
  for (int i = 0; i < 4; i++) snt_release(in[i]);
}

int main(void) {
  for (which w = SGD; w <= ADAMW; w++)
    for (int i = 0; i < 4; i++) one_update(w, i & 1 ? SN_F64 : SN_F32, i & 2);
  roots();
  clipping();
  refusals();
  return CHECK_DONE();
}
