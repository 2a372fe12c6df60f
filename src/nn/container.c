/* container.c - layers made of layers: Sequential and Residual; and a network's output before its last activation. */
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "diff/map.h"
#include "nn/nn.h"

extern const snn_class snn_class_Dense, snn_class_Conv2d, snn_class_Convolution, snn_class_Sequential;

int snn_add_child(snn_obj *o, snn_obj *child) {
  if (!o->cls->children) return sn_fail("%s takes no layers; sn.Sequential does", snn_name(o));
  if (child->cls->family != SNN_LAYER) return sn_fail("%s: %s is no layer", snn_name(o), snn_name(child));
  if (child == o) return sn_fail("%s: a layer cannot contain itself", snn_name(o));
  snn_obj **p = sn_realloc(o->child, (size_t)(o->nchild + 1) * sizeof *p);
  if (p == NULL) return -1;
  o->child = p;
  p[o->nchild++] = snn_retain(child);
  if (!o->training) snn_train(child, false);
  if (o->built) snn_restructured();
  o->built = false;
  return 0;
}

static int prefixed(const snn_obj *o, int i) {
  const snn_obj *c = o->child[i];
  sn_fail_prefix("layer %d%s%s%s (%s): ", i + 1, c->name ? " '" : "", c->name ? c->name : "", c->name ? "'" : "", SNN_DESCRIBE(c));
  return -1;
}

/* ---- Sequential */

static int build_chain(snn_obj *o, const snn_shape *in, snn_shape *out) {
  snn_shape s = *in;
  for (int i = 0; i < o->nchild; i++) {
    snn_shape to;
    if (snn_build(o->child[i], &s, &to) < 0) {
      char text[600];
      snprintf(text, sizeof text, "%s", sn_error_message());
      if (i > 0 && sn_error_code() == SN_ERROR_USER) sn_fail("%s, from layer %d (%s)", text, i, SNN_SHAPE(&s));
      return prefixed(o, i);
    }
    s = to;
  }
  *out = s;
  return 0;
}

/* Children 0..n-1 one after another; what lies between two of them is given back at once unless somebody keeps it. */
static snt_tensor *run_chain(snn_obj *o, int n, snt_tensor *x) {
  snt_retain(x);
  for (int i = 0; i < n; i++) {
    const size_t mark = sno_scope_open();
    snt_tensor *y = snt_retain(snn_run(o->child[i], x));
    sno_scope_close(mark);
    snt_release(x);
    if (y == NULL) {
      prefixed(o, i);
      return NULL;
    }
    x = y;
  }
  return sno_own(x);
}

static snt_tensor *forward_chain(snn_obj *o, snt_tensor *x) { return run_chain(o, o->nchild, x); }

static bool inshape_chain(const snn_obj *o, snn_shape *in) { return o->nchild > 0 && snn_declared(o->child[0], in); }

static void describe_chain(const snn_obj *o, char *buf, size_t n) { snprintf(buf, n, "of %d layer%s", o->nchild, o->nchild == 1 ? "" : "s"); }

/*** Sequential(layer, layer, ..., {name=})
 * Layers one after another; also sn.Sequential{layer, layer}. net:add(layer) puts one more at the end, net:children() lists them.
 * @math y = f_n(\dots f_2(f_1(x)))
 * @grad \bar x_{i} = \bar x_{i+1} \, \partial f_i / \partial x_i
 */
const snn_class snn_class_Sequential = {.name = "Sequential", .family = SNN_LAYER, .args = "", .children = true, .build = build_chain,
    .forward = forward_chain,
                                        .inshape = inshape_chain, .describe = describe_chain};

/* ---- Residual */

static int init_residual(snn_obj *o) { return o->nchild > 0 ? 0 : sn_fail("Residual: wants a layer whose output is added to its input"); }

static int build_residual(snn_obj *o, const snn_shape *in, snn_shape *out) {
  if (build_chain(o, in, out) < 0) return -1;
  if (!snn_same_shape(in, out)) return sn_fail("the layers inside make %s of %s; both must be equal to be added", SNN_SHAPE(out), SNN_SHAPE(in));
  return 0;
}

static snt_tensor *forward_residual(snn_obj *o, snt_tensor *x) {
  snt_tensor *y = run_chain(o, o->nchild, x);
  if (y && !snt_same_shape(x, y)) {
    sn_fail("the layers inside make %s of %s; both must be equal to be added", SNT_SHAPE(y), SNT_SHAPE(x));
    return NULL;
  }
  return y ? sno_add(x, y) : NULL;
}

/*** Residual(layer, ..., {name=})
 * Adds what the layers make of the input to the input; the shape must stay the same.
 * @math y = x + f(x)
 * @grad \bar x = \bar y + \bar y\, \partial f / \partial x
 * @source He et al. 2016
 */
const snn_class snn_class_Residual = {.name = "Residual", .family = SNN_LAYER, .args = "", .children = true, .init = init_residual,
    .build = build_residual,
                                      .forward = forward_residual, .inshape = inshape_chain, .describe = describe_chain};

/* ---- before the last activation */

/* Is this the activation, over the dimension that the loss takes? */
static bool is_head(const snn_obj *a, const char *head) {
  if (a == NULL || !a->cls->linear_head || strcmp(a->cls->name, head) != 0) return false;
  return a->nval == 0 || a->val[0].kind != SNO_DIM || a->val[0].i == -1;
}

static snn_obj *activation_of(const snn_obj *o) {
  int bad = 0;
  if (o->cls != &snn_class_Dense && o->cls != &snn_class_Conv2d && o->cls != &snn_class_Convolution) return NULL;
  return snn_arg_object(o, "activation", SNN_LAYER, &bad);
}

bool snn_has_head(const snn_obj *o, const char *head) {
  if (o->built && strcmp(head, "Softmax") == 0 && o->out.ndim != 1) return false; /* classes are along the second dimension there */
  if (is_head(o, head)) return true;
  if (o->cls == &snn_class_Sequential) return o->nchild > 0 && snn_has_head(o->child[o->nchild - 1], head);
  return is_head(activation_of(o), head);
}

static snt_tensor *logits(snn_obj *o, snt_tensor *x, const char *head) {
  snn_shape in = {0};
  if (!o->built && x->ndim > 0 && (!snn_declared(o, &in) || in.ndim == 0)) {
    in.ndim = x->ndim - 1;
    for (int i = 0; i < in.ndim; i++) in.d[i] = x->shape[i + 1];
  }
  if (!o->built && snn_build(o, &in, NULL) < 0) return NULL;
  if (is_head(o, head)) return x;
  if (o->cls == &snn_class_Sequential) {
    snt_tensor *y = run_chain(o, o->nchild - 1, x);
    if (y == NULL) return NULL;
    if ((y = logits(o->child[o->nchild - 1], y, head)) == NULL) prefixed(o, o->nchild - 1);
    return y;
  }
  return o->cls == &snn_class_Dense ? snn_dense_affine(o, x) : snn_conv_affine(o, x);
}

snt_tensor *snn_forward_logits(snn_obj *o, snt_tensor *x, const char *head, bool *hit) {
  if (x == NULL) return NULL;
  *hit = snn_has_head(o, head);
  return *hit ? logits(o, x, head) : snn_forward(o, x);
}
