/* nn_test.c - layers, losses and optimizers from C alone: a network is built, trained and freed; names, errors, references. */
#include <math.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "check.h"
#include "diff/map.h"
#include "diff/tape.h"
#include "nn/nn.h"

static snn_obj *layer(const char *name, int nval, const sno_val *val) { return snn_new(snn_find(name), nval, val, 0, NULL); }

static int names(void *ctx, const char *name, snt_tensor **t, bool param) {
  (void)t;
  strcat(ctx, name);
  strcat(ctx, param ? " " : "- ");
  return 0;
}

static int take(void *ctx, const char *name, snt_tensor **t, bool param) {
  (void)name;
  snt_tensor ***p = ctx;
  if (param) *(*p)++ = *t;
  return 0;
}

static void train(void) {
  snn_obj *tanh = layer("Tanh", 0, NULL);
  snn_obj *child[3] = {layer("Dense", 3, (sno_val[]){sno_int(8), sno_ints(1, (int64_t[]){2}), snn_arg_obj(tanh)}), layer("BatchNorm1d", 0, NULL),
                       layer("Dense", 1, (sno_val[]){sno_int(1)})};
  snn_obj *net = snn_new(snn_find("Sequential"), 0, NULL, 3, child), *loss = layer("BCEWithLogits", 0, NULL),
      *opt = layer("Adam", 1, (sno_val[]){sno_num(0.1)});
  CHECK(net && loss && opt && net->base.refs == 1 && child[0]->base.refs == 2 && tanh->base.refs == 2);
  for (int i = 0; i < 3; i++) snn_release(child[i]);
  snn_release(tanh);
  char text[256] = "";
  CHECK(snn_walk(net, "", names, text) == 0);
  CHECK(strcmp(text, "0.weight 0.bias 1.weight 1.bias 1.running_mean- 1.running_var- 2.weight 2.bias ") == 0);
  CHECK(snn_count(net, true) == 24 + 16 + 9 && snn_count(net, false) == 24 + 32 + 9);
  CHECK(net->out.ndim == 1 && net->out.d[0] == 1);
  snt_tensor *params[8], **end = params;
  CHECK(snn_walk(net, "", take, &end) == 0 && end - params == 6);
  CHECK(snn_optim_add(opt, 6, params) == 0 && snn_optim_add(opt, 6, params) < 0 && strstr(sn_error_message(), "already"));
  snt_tensor *x = snt_new(SN_F32, 2, (int64_t[]){4, 2}), *y = snt_new(SN_F32, 2, (int64_t[]){4, 1});
  for (int i = 0; i < 4; i++) {
    float *row = (float *)snt_data(x) + 2 * i;
    row[0] = (float)(i & 1), row[1] = (float)(i >> 1);
    ((float *)snt_data(y))[i] = (float)((i & 1) ^ (i >> 1));
  }
  double last = 1;
  for (int step = 0; step < 200; step++) {
    const size_t mark = sno_scope_open();
    snt_tensor *l = snn_loss(loss, snn_forward(net, x), y);
    CHECK(l && sno_backward(l, NULL, false, false) == 0);
    CHECK(snn_optim_step(opt) == 0 && snn_optim_zero_grad(opt) == 0);
    last = l ? snt_item(l) : 1;
    sno_scope_close(mark);
  }
  CHECK(last < 0.05 && snn_optim_iterations(opt) == 200);
  snn_train(net, false);
  CHECK(!net->child[1]->training);
  snt_release(x);
  snt_release(y);
  snn_release(opt);
  snn_release(loss);
  snn_release(net);
}

static void refusals(void) {
  CHECK(layer("Dense", 0, NULL) == NULL && strstr(sn_error_message(), "units"));
  CHECK(snn_find("Dens") == NULL);
  CHECK(snn_find_like("leaky_relu", SNN_LAYER) == snn_find("LeakyReLU"));
  CHECK(snn_find_like("glorot_unifrom", SNN_INIT) == NULL && strstr(sn_error_message(), "GlorotUniform"));
  snn_obj *d = layer("Dense", 1, (sno_val[]){sno_int(3)});
  char text[64] = "";
  CHECK(snn_walk(d, "", names, text) < 0 && strstr(sn_error_message(), "inshape"));
  snn_shape in = {2, {5, 4}}, out;
  CHECK(snn_build(d, &in, &out) == 0 && out.ndim == 2 && out.d[1] == 3);
  in.d[1] = 6;
  CHECK(snn_build(d, &in, NULL) < 0 && strstr(sn_error_message(), "6 features"));
  CHECK(snn_add_child(d, d) < 0);
  CHECK(snn_optim_step(d) < 0);
  snn_release(d);
}

/* lr_t = clamp(lr / (1 + decay t), lr_min, lr_max), the base rate moved in between */
static void rates(void) {
  snn_obj *o = layer("SGD", 1, (sno_val[]){sno_num(0.5)});
  snt_tensor *p = snt_zeros(SN_F32, 1, (int64_t[]){3}), *g = snt_zeros(SN_F32, 1, (int64_t[]){3});
  CHECK(sno_set_requires_grad(p, true) == 0 && snn_optim_add(o, 1, &p) == 0);
  CHECK(snn_optim_set(o, 0, "decay", 1) == 0 && snn_optim_set(o, 0, "lr_min", 0.2) == 0 && snn_optim_set(o, 0, "clip", -1) < 0);
  const double want[4] = {0.5, 0.25, 0.2, 0.2};
  for (int i = 0; i < 4; i++) {
    CHECK(sno_set_grad(p, g) == 0 && snn_optim_step(o) == 0);
    CHECK(fabs(snn_optim_lr(o, 0) - want[i]) < 1e-15);
  }
  snn_optim_set_lr(o, 4);
  CHECK(fabs(snn_optim_lr(o, 0) - 1) < 1e-15);
  snt_release(p);
  snt_release(g);
  snn_release(o);
}

int main(void) {
  sn_mem_stats before, after;
  train();
  refusals();
  rates();
  sn_mem_stat(&before);
  train();
  refusals();
  rates();
  sn_mem_stat(&after);
  CHECK(after.small == before.small && after.live == before.live);
  return CHECK_DONE();
}
