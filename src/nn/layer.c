/* layer.c - what all layers have: building by shape, running, train and eval, and the walk over their tensors. */
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "nn/nn.h"

#define DEEPEST 64 /* layers inside layers: one that contains itself is found out */
static _Thread_local int depth;

static int deeper(void) {
  if (++depth <= DEEPEST) return 0;
  depth--;
  return sn_fail("layers are nested deeper than %d; does one contain itself?", DEEPEST);
}

bool snn_same_shape(const snn_shape *a, const snn_shape *b) {
  if (a->ndim != b->ndim) return false;
  for (int i = 0; i < a->ndim; i++)
    if (a->d[i] != b->d[i]) return false;
  return true;
}

/* ---- shapes */

static bool said(const snn_obj *o, snn_shape *in) {
  int n;
  const sno_arg *a = sno_parse_args(o->cls->args ? o->cls->args : "", &n);
  for (int i = 0; i < n; i++) {
    if (strcmp(a[i].name, "inshape") != 0) continue;
    const sno_val *v = snn_arg(o, "inshape");
    if (v->absent) return false;
    in->ndim = v->n;
    for (int k = 0; k < v->n; k++) in->d[k] = v->v[k];
    return true;
  }
  return false;
}

bool snn_declared(const snn_obj *o, snn_shape *in) {
  if (o->built) {
    *in = o->in;
    return true;
  }
  return o->cls->inshape ? o->cls->inshape(o, in) : said(o, in);
}

int snn_check_inshape(const snn_obj *o, const snn_shape *in) {
  snn_shape want;
  if (!said(o, &want) || snn_same_shape(&want, in)) return 0;
  char sizes[96] = "";
  size_t k = 0;
  for (int i = 0; i < in->ndim && k < sizeof sizes; i++) k += (size_t)snprintf(sizes + k, sizeof sizes - k, "%s%lld", i ? ", " : "",
      (long long)in->d[i]);
  return sn_fail("input is %s, inshape says %s; inshape = {%s} would fit", SNN_SHAPE(in), SNN_SHAPE(&want), sizes);
}

int snn_build(snn_obj *o, const snn_shape *in, snn_shape *out) {
  snn_shape to = *in;
  if (o->built && snn_same_shape(in, &o->in)) {
    if (out) *out = o->out;
    return 0;
  }
  if (o->cls->family != SNN_LAYER) return sn_fail("%s is no layer", snn_name(o));
  if (in->ndim > SNT_MAXDIM - 1) return sn_fail("input has %d dimensions, at most %d are possible", in->ndim, SNT_MAXDIM - 1);
  for (int i = 0; i < in->ndim; i++)
    if (in->d[i] < 1) return sn_fail("input is %s; sizes are at least 1", SNN_SHAPE(in));
  if (deeper() < 0) return -1;
  const int rc = o->cls->build ? o->cls->build(o, in, &to) : 0;
  depth--;
  if (rc < 0) return -1;
  o->in = *in;
  o->out = to;
  o->built = true;
  if (out) *out = to;
  return 0;
}

/* ---- running */

/* Built for what comes in, unless it is already. */
static int make_ready(snn_obj *o, const snt_tensor *x) {
  snn_shape in;
  if (o->built) return 0;
  if (x->ndim == 0) return sn_fail("input is a single number; it wants a batch, samples along the first dimension");
  if (!snn_declared(o, &in) || in.ndim == 0) { /* an embedding takes any shape: what comes in says it */
    in.ndim = x->ndim - 1;
    for (int i = 0; i < in.ndim; i++) in.d[i] = x->shape[i + 1];
  }
  return snn_build(o, &in, NULL);
}

static uint32_t structure; /* atomic; of all objects there are */
void snn_restructured(void) { __atomic_add_fetch(&structure, 1, __ATOMIC_RELAXED); }
void snn_depends(void) { sno_depends(NULL, &structure); }

snt_tensor *snn_run(snn_obj *o, snt_tensor *x) {
  if (x == NULL) return NULL;
  if (o->cls->forward == NULL) {
    sn_fail("%s is no layer", snn_name(o));
    return NULL;
  }
  if (make_ready(o, x) < 0) return NULL;
  if (deeper() < 0) return NULL;
  snn_depends();
  snt_tensor *y = o->cls->forward(o, x);
  depth--;
  return y;
}

static snt_tensor *described(const snn_obj *o) {
  sn_fail_prefix("%s%s%s%s: ", o->name ? "'" : "", o->name ? o->name : "", o->name ? "' " : "", SNN_DESCRIBE(o));
  return NULL;
}

int snn_step(snn_obj *o, int nin, snt_tensor *const *in, snt_tensor **out) {
  if (in[0] == NULL) return -1;
  if (o->cls->carry == NULL) return sn_fail("%s has no states", snn_name(o));
  snn_depends();
  const int n = make_ready(o, in[0]) < 0 ? -1 : o->cls->carry(o, nin, in, out);
  if (n < 0) described(o);
  return n;
}

snt_tensor *snn_forward(snn_obj *o, snt_tensor *x) {
  snt_tensor *y = snn_run(o, x);
  if (y == NULL && x && (o->name || !o->cls->children)) /* a container's errors begin with the layer inside */
    described(o);
  return y;
}

snt_tensor *snn_activate(snn_obj *o, snt_tensor *x) {
  int bad = 0;
  snn_obj *a = snn_arg_object(o, "activation", SNN_LAYER, &bad);
  return bad ? NULL : a ? snn_run(a, x) : x;
}

/* ---- everything inside a layer: layers among its arguments (an activation), then children */

static snn_obj *inner(const snn_obj *o, int i, const char **name) {
  int n, k = 0;
  const sno_arg *a = sno_parse_args(o->cls->args ? o->cls->args : "", &n);
  for (int j = 0; j < n; j++) {
    if (a[j].kind == SNO_TENSOR || a[j].kind == SNO_TENSORS) continue;
    if (k++ != i || a[j].kind != SNO_FOREIGN || o->val[i].absent) continue;
    snn_obj *x = snn_from_foreign(o->val[i].p);
    *name = a[j].name;
    return x && x->cls->family == SNN_LAYER ? x : NULL;
  }
  return NULL;
}


void snn_train(snn_obj *o, bool on) {
  const char *name;
  if (deeper() < 0) return;
  o->training = on;
  for (int i = 0; i < o->nval; i++) {
    snn_obj *x = inner(o, i, &name);
    if (x) snn_train(x, on);
  }
  for (int i = 0; i < o->nchild; i++) snn_train(o->child[i], on);
  if (snn_outside_ctx(o)) snn_outside_train(o, on);
  depth--;
}

/* Tensors exist once the input's shape is known. */
static int ready(snn_obj *o) {
  snn_shape in;
  if (o->built || o->cls->family != SNN_LAYER) return 0;
  if (snn_declared(o, &in)) {
    if (snn_build(o, &in, NULL) == 0) return 0;
    return in.ndim ? -1 : sn_fail_prefix("the input's shape is not known (give the first layer inshape = ..., or call the network once): ");
  }
  if (o->cls->slots) return sn_fail("%s: its input's shape is not known yet; give it inshape = ..., or call the network once", SNN_DESCRIBE(o));
  return 0;
}

static int walk(snn_obj *o, const char *prefix, snn_visit *fn, void *ctx) {
  char name[128];
  int rc = ready(o);
  for (int i = 0; rc == 0 && i < o->nslot; i++) {
    if (o->slot[i].t == NULL) continue;
    snprintf(name, sizeof name, "%s%s", prefix, o->slot[i].name);
    rc = fn(ctx, name, &o->slot[i].t, o->slot[i].param);
  }
  for (int i = 0; rc == 0 && i < o->nval; i++) {
    const char *arg;
    snn_obj *x = inner(o, i, &arg);
    if (x == NULL) continue;
    snprintf(name, sizeof name, "%s%s.", prefix, arg);
    rc = snn_walk(x, name, fn, ctx);
  }
  for (int i = 0; rc == 0 && i < o->nchild; i++) {
    snprintf(name, sizeof name, "%s%d.", prefix, i);
    rc = snn_walk(o->child[i], name, fn, ctx);
  }
  if (rc == 0 && snn_outside_ctx(o)) rc = snn_outside_walk(o, prefix, fn, ctx);
  return rc;
}

int snn_walk(snn_obj *o, const char *prefix, snn_visit *fn, void *ctx) {
  if (strlen(prefix) > 100) return sn_fail("the name '%.100s...' of a layer's tensor is too long", prefix);
  if (deeper() < 0) return -1;
  const int rc = walk(o, prefix, fn, ctx);
  depth--;
  return rc;
}

typedef struct counting { int64_t n; bool params; } counting;
static int add_count(void *ctx, const char *name, snt_tensor **t, bool param) {
  (void)name;
  counting *c = ctx;
  if (param || !c->params) c->n += snt_numel(*t);
  return 0;
}

int64_t snn_count(snn_obj *o, bool params_only) {
  counting c = {.params = params_only};
  return snn_walk(o, "", add_count, &c) < 0 ? -1 : c.n;
}
