/* outside.c - a layer whose body is elsewhere, in a script: the class that calls out. */
#include "base/error.h"
#include "core/tensor.h"
#include "nn/nn.h"

typedef struct outside { snn_obj o; const snn_outside *vt; void *ctx; } outside;

static const snn_class class_outside;

void *snn_outside_ctx(const snn_obj *o) { return o->cls == &class_outside ? ((const outside *)o)->ctx : NULL; }

const char *snn_name(const snn_obj *o) { return o->cls == &class_outside ? ((const outside *)o)->vt->name : o->cls->name; }

static snt_tensor *forward_outside(snn_obj *o, snt_tensor *x) {
  outside *u = (outside *)o;
  sno_depends(&o->base, &o->training);
  return u->vt->forward(u->ctx, x);
}

/* The shape by running: one sample of zeros, without gradients and as after eval(), so that nothing is drawn or averaged. */
static int probe(snn_obj *o, const snn_shape *in, snn_shape *out) {
  int64_t shape[SNT_MAXDIM] = {1};
  for (int i = 0; i < in->ndim; i++) shape[i + 1] = in->d[i];
  sno_mode *mode = sno_mode_now();
  const bool grad = mode->grad, training = o->training;
  const size_t mark = sno_scope_open();
  snt_tensor *x = sno_own(snt_zeros(SN_F32, in->ndim + 1, shape));
  mode->grad = false;
  if (training) snn_train(o, false);
  snt_tensor *y = x ? forward_outside(o, x) : NULL;
  if (training) snn_train(o, true);
  mode->grad = grad;
  int rc = y ? 0 : -1;
  if (y && (y->ndim == 0 || y->shape[0] != 1)) rc = sn_fail("forward made %s of a batch of one sample, %s; the first dimension is the samples'",
      SNT_SHAPE(y), SNT_SHAPE(x));
  if (rc == 0) {
    out->ndim = y->ndim - 1;
    for (int i = 0; i < out->ndim; i++) out->d[i] = y->shape[i + 1];
  }
  sno_scope_close(mark);
  return rc;
}

static int build_outside(snn_obj *o, const snn_shape *in, snn_shape *out) {
  outside *u = (outside *)o;
  out->ndim = -1;
  if (u->vt->build && u->vt->build(u->ctx, in, out) < 0) return -1;
  return out->ndim < 0 ? probe(o, in, out) : 0; /* a build that says no shape */
}

static void free_outside(snn_obj *o) {
  outside *u = (outside *)o;
  if (u->ctx && u->vt->free) u->vt->free(u->ctx);
}

static const snn_class class_outside = {.name = "layer", .family = SNN_LAYER, .args = "", .size = sizeof(outside), .build = build_outside,
                                        .forward = forward_outside, .free = free_outside};

snn_obj *snn_outside_new(const snn_outside *vt, void *ctx) {
  snn_obj *o = snn_new(&class_outside, 0, NULL, 0, NULL);
  if (o == NULL) return NULL;
  ((outside *)o)->vt = vt;
  ((outside *)o)->ctx = ctx;
  return o;
}

void snn_outside_train(snn_obj *o, bool on) {
  const outside *u = (outside *)o;
  if (u->vt->train) u->vt->train(u->ctx, on);
}

int snn_outside_walk(snn_obj *o, const char *prefix, snn_visit *fn, void *ctx) {
  const outside *u = (outside *)o;
  return u->vt->walk ? u->vt->walk(u->ctx, prefix, fn, ctx) : 0;
}
