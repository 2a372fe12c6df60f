/* optim.c - optimizers: groups of parameters with their options and state, the learning rate over time, and one step as operations on lists.
 *
 * The rate and the step's number lie in a small tensor for each group, written by a host step (sno_host), so that programs which replay a
 * training step follow schedules. lr_t = clamp(lr / (1 + decay t), lr_min, lr_max), where t counts the steps done.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "diff/tape.h"
#include "nn/nn.h"

typedef struct group {
  sno_val *val;             /* the constructor's arguments, with what this group was given of its own */
  int n;
  snt_tensor **p, **state;  /* state: nstate tensors for each parameter; NULL until the first step */
  snt_tensor *rate;         /* float64: the rate of the last step, its number */
  bool own;                 /* a rate of its own: it follows changes of the base rate in proportion */
  double own_lr, base;
} group;

typedef struct optim {
  snn_obj o;
  group *g;
  int ng;
  int64_t t;
  snt_tensor **list;        /* room for the arguments of a step */
  size_t room;
} optim;

static optim *of(snn_obj *o) { return (optim *)(void *)o; }
static const optim *cof(const snn_obj *o) { return (const optim *)(const void *)o; }

/* ---- options */

static int place(const snn_obj *o, const char *name, const sno_arg **arg) {
  int n;
  const sno_arg *a = sno_parse_args(o->cls->args, &n);
  for (int i = 0; i < n; i++)
    if (strcmp(a[i].name, name) == 0) {
      *arg = &a[i];
      return i;
    }
  return -1;
}

static int index_of(const snn_obj *o, const char *name) {
  const sno_arg *a;
  return place(o, name, &a);
}

static double number(const snn_obj *o, const group *g, const char *name, double otherwise) {
  const int i = index_of(o, name);
  return i < 0 || g->val[i].absent ? otherwise : g->val[i].d;
}

static int check_option(const char *who, const char *name, double v) {
  const bool rate = strcmp(name, "lr") == 0 || strcmp(name, "lr_min") == 0 || strcmp(name, "lr_max") == 0;
  const bool share = strcmp(name, "rho") == 0 || strncmp(name, "beta", 4) == 0;
  const bool clip = strncmp(name, "clip", 4) == 0;
  if (!isfinite(v) && !(strcmp(name, "lr_max") == 0 && v > 0)) return sn_fail("%s: %s is %g; it wants to be a finite number", who, name, v);
  if (share && !(v >= 0 && v < 1)) return sn_fail("%s: %s is %g; it wants to be from 0 to below 1", who, name, v);
  if (clip && !(v > 0)) return sn_fail("%s: %s is %g; it wants to be above 0, or to be left out for no clipping", who, name, v);
  if (v < 0) return sn_fail("%s: %s is %g; %s", who, name, v, rate ? "a rate is 0 or more" : "it wants to be 0 or more");
  return 0;
}

static int check_all(const char *who, const snn_obj *o, const sno_val *val) {
  int n;
  const sno_arg *a = sno_parse_args(o->cls->args, &n);
  for (int i = 0; i < n; i++)
    if (a[i].kind == SNO_NUM && !val[i].absent && check_option(who, a[i].name, val[i].d) < 0) return -1;
  const int lo = index_of(o, "lr_min"), hi = index_of(o, "lr_max");
  if (!val[lo].absent && !val[hi].absent && val[lo].d > val[hi].d) return sn_fail("%s: lr_min is %g, above lr_max, %g", who, val[lo].d, val[hi].d);
  const int nesterov = index_of(o, "nesterov");
  if (nesterov >= 0 && val[nesterov].i && !(val[index_of(o, "momentum")].d > 0)) return sn_fail("%s: nesterov wants a momentum above 0", who);
  return 0;
}

static int init_optim(snn_obj *o) { return check_all(o->cls->name, o, o->val); }

int snn_optim_set(snn_obj *o, int k, const char *option, double v) {
  group *g = &of(o)->g[k];
  const sno_arg *a = NULL;
  const int i = place(o, option, &a);
  if (i < 0) return sn_fail("%s: there is no option '%s'", o->cls->name, option);
  if (strcmp(option, "clip_norm") == 0) return sn_fail("%s: clip_norm is taken over all groups; give it to the optimizer", o->cls->name);
  const sno_val before = g->val[i];
  g->val[i] = a->kind == SNO_BOOL ? sno_bool(v != 0) : a->kind == SNO_INT ? sno_int((int64_t)v) : sno_num(v);
  if (check_all(o->cls->name, o, g->val) < 0) {
    g->val[i] = before;
    return -1;
  }
  if (strcmp(option, "lr") == 0) g->own = true, g->own_lr = v, g->base = o->val[i].d;
  return 0;
}

static double base_lr(const snn_obj *o, const group *g) {
  const double base = o->val[index_of(o, "lr")].d;
  if (!g->own) return base;
  return base == g->base || g->base == 0.0 ? g->own_lr : g->own_lr * (base / g->base);
}

int snn_optim_get(snn_obj *o, int k, const char *option, double *v) {
  const group *g = &of(o)->g[k];
  const sno_arg *a = NULL;
  const int i = place(o, option, &a);
  if (i < 0 || g->val[i].absent) return sn_fail("%s: there is no option '%s'", o->cls->name, option);
  *v = strcmp(option, "lr") == 0 ? base_lr(o, g) : a->kind == SNO_NUM ? g->val[i].d : (double)g->val[i].i;
  return 0;
}

/* ---- the rate over time */

static double rate_at(const snn_obj *o, const group *g, int64_t t) {
  double lr = base_lr(o, g) / (1 + number(o, g, "decay", 0) * (double)t);
  const double lo = number(o, g, "lr_min", 0), hi = number(o, g, "lr_max", (double)INFINITY);
  if (lr > hi) lr = hi;
  if (lr < lo) lr = lo;
  return lr;
}

static double *numbers(const group *g) { return snt_data(g->rate); }

double snn_optim_lr(const snn_obj *o, int k) {
  const optim *u = cof(o);
  if (u->ng == 0) {
    const group g = {.val = o->val};
    return rate_at(o, &g, u->t > 0 ? u->t - 1 : 0);
  }
  return rate_at(o, &u->g[k], u->t > 0 ? u->t - 1 : 0);
}

void snn_optim_set_lr(snn_obj *o, double lr) { o->val[index_of(o, "lr")] = sno_num(lr); }
int64_t snn_optim_iterations(const snn_obj *o) { return cof(o)->t; }
void snn_optim_set_iterations(snn_obj *o, int64_t n) { of(o)->t = n; }

/* The host's part of a step, repeated by replays: counts it and says the rates. */
static void advance(sno_foreign *f) {
  optim *u = (optim *)(void *)f;
  for (int k = 0; k < u->ng; k++) {
    double *r = numbers(&u->g[k]);
    r[0] = rate_at(&u->o, &u->g[k], u->t);
    r[1] = (double)(u->t + 1);
  }
  u->t++;
}

/* ---- groups */

int snn_optim_groups(const snn_obj *o) { return cof(o)->ng; }

int snn_optim_params(const snn_obj *o, int k, snt_tensor *const **params) {
  *params = cof(o)->g[k].p;
  return cof(o)->g[k].n;
}

static int nstates(const snn_obj *o) {
  int n = 0;
  while (o->cls->states && o->cls->states[n]) n++;
  return n;
}

static void free_group(const snn_obj *o, group *g) {
  for (int i = 0; i < g->n; i++) snt_release(g->p[i]);
  for (int i = 0; g->state && i < g->n * nstates(o); i++) snt_release(g->state[i]);
  snt_release(g->rate);
  sn_free(g->p);
  sn_free(g->state);
  sn_free(g->val);
}

static void free_optim(snn_obj *o) {
  optim *u = of(o);
  for (int k = 0; k < u->ng; k++) free_group(o, &u->g[k]);
  sn_free(u->g);
  sn_free(u->list);
}

static int check_params(const snn_obj *o, int n, snt_tensor *const *params) {
  const optim *u = cof(o);
  if (n == 0) return sn_fail("%s: the list of parameters is empty", o->cls->name);
  for (int i = 0; i < n; i++) {
    const snt_tensor *p = params[i];
    if (p->storage == NULL) return sn_fail("%s: parameter %d is a closed tensor", o->cls->name, i + 1);
    if (p->meta && p->meta->node)
      return sn_fail("%s: parameter %d (%s) is the result of an operation; give the tensors it was made of, or detach():requires_grad_()",
          o->cls->name, i + 1,
                     SNT_SHAPE(p));
    if (!sno_requires_grad(p)) return sn_fail("%s: parameter %d (%s) requires no gradient; mark it with requires_grad_()", o->cls->name, i + 1,
        SNT_SHAPE(p));
    if (p->dtype != SN_F32 && p->dtype != SN_F64)
      return sn_fail("%s: parameter %d is %s; keep float32 or float64 parameters and convert them where they are used", o->cls->name, i + 1,
          sn_dtypes[p->dtype].name);
    for (int j = 0; j < i; j++)
      if (params[j] == p) return sn_fail("%s: parameters %d and %d are the same tensor", o->cls->name, j + 1, i + 1);
    for (int k = 0; k < u->ng; k++)
      for (int j = 0; j < u->g[k].n; j++)
        if (u->g[k].p[j] == p) return sn_fail("%s: parameter %d (%s) is in group %d already", o->cls->name, i + 1, SNT_SHAPE(p), k + 1);
  }
  return 0;
}

int snn_optim_add(snn_obj *o, int n, snt_tensor *const *params) {
  optim *u = of(o);
  if (check_params(o, n, params) < 0) return -1;
  group *more = sn_realloc(u->g, (size_t)(u->ng + 1) * sizeof *more);
  if (more == NULL) return -1;
  u->g = more;
  group g = {.n = 0};
  g.val = sn_malloc((size_t)o->nval * sizeof *g.val);
  g.p = sn_malloc((size_t)n * sizeof *g.p);
  g.rate = snt_zeros(SN_F64, 1, (int64_t[]){2});
  if (g.val == NULL || g.p == NULL || g.rate == NULL) {
    free_group(o, &g);
    return -1;
  }
  memcpy(g.val, o->val, (size_t)o->nval * sizeof *g.val);
  for (; g.n < n; g.n++) g.p[g.n] = snt_retain(params[g.n]);
  u->g[u->ng++] = g;
  if (o->built) snn_restructured();
  return 0;
}

/* ---- state */

static int make_state(const snn_obj *o, group *g) {
  const int each = nstates(o);
  if (each == 0) return 0;
  if (g->state == NULL && (g->state = sn_calloc((size_t)(g->n * each), sizeof *g->state)) == NULL) return -1;
  for (int i = 0; i < g->n * each; i++) {
    const snt_tensor *p = g->p[i / each];
    if (g->state[i] == NULL && (g->state[i] = snt_zeros((sn_dtype)p->dtype, p->ndim, p->shape)) == NULL) return -1;
  }
  return 0;
}

/* Plain SGD keeps nothing. */
static bool keeps(const snn_obj *o, const group *g) { return index_of(o, "momentum") < 0 || number(o, g, "momentum", 0) > 0; }

int snn_optim_walk(snn_obj *o, snn_visit *fn, void *ctx) {
  optim *u = of(o);
  const int each = nstates(o);
  char name[64];
  for (int k = 0; k < u->ng; k++) {
    group *g = &u->g[k];
    if (!keeps(o, g)) continue;
    if (make_state(o, g) < 0) return -1;
    for (int i = 0; i < g->n; i++)
      for (int s = 0; s < each; s++) {
        snprintf(name, sizeof name, "%d.%d.%s", k, i, o->cls->states[s]);
        const int rc = fn(ctx, name, &g->state[i * each + s], false);
        if (rc) return rc;
      }
  }
  return 0;
}

static void used(snn_obj *o) {
  o->built = true;
  snn_depends();
}

int snn_optim_zero_grad(snn_obj *o) {
  const optim *u = of(o);
  used(o);
  for (int k = 0; k < u->ng; k++)
    for (int i = 0; i < u->g[k].n; i++)
      if (sno_set_grad(u->g[k].p[i], NULL) < 0) return -1;
  return 0;
}

/* ---- a step */

static int reserve(optim *u, size_t n) {
  if (n <= u->room) return 0;
  snt_tensor **p = sn_realloc(u->list, n * sizeof *p);
  if (p == NULL) return -1;
  u->list = p;
  u->room = n;
  return 0;
}

static int clip(optim *u) {
  const int i = index_of(&u->o, "clip"), j = index_of(&u->o, "clip_norm");
  int all = 0;
  for (int k = 0; k < u->ng; k++) {
    const group *g = &u->g[k];
    const int from = all;
    for (int p = 0; p < g->n; p++)
      if (sno_grad_of(g->p[p])) u->list[all++] = sno_grad_of(g->p[p]);
    if (!g->val[i].absent && all > from &&
        snn_op_list("clip_value_", all - from, all - from, u->list + from, SNN_OPTS({"limit", g->val[i]})) < 0)
      return -1;
  }
  if (u->o.val[j].absent) return 0;
  return snn_op_list("clip_norm_", all, all, u->list, SNN_OPTS({"limit", u->o.val[j]}));
}

/* The lists of a group's update: parameters, gradients, each state; then the rate. How many parameters have a gradient. */
static int lists(optim *u, const group *g, bool state) {
  const int each = nstates(&u->o);
  int n = 0, at = 0;
  for (int i = 0; i < g->n; i++) n += sno_grad_of(g->p[i]) != NULL;
  for (int i = 0; i < g->n; i++) {
    if (sno_grad_of(g->p[i]) == NULL) continue;
    u->list[at] = g->p[i];
    u->list[n + at] = sno_grad_of(g->p[i]);
    for (int s = 0; s < each; s++) u->list[(2 + s) * n + at] = state ? g->state[i * each + s] : g->p[i];
    at++;
  }
  u->list[(2 + each) * n] = g->rate;
  return n;
}

static int update(optim *u, const group *g) {
  const snn_obj *o = &u->o;
  const bool keep = keeps(o, g);
  const int n = lists(u, g, keep), nin = (2 + nstates(o)) * n + 1;
  if (n == 0) return 0;
  snn_opt opt[8];
  int nopt = 0, narg;
  const sno_op *op = snn_find_op(o->cls->op);
  const sno_arg *a = sno_parse_args(o->cls->args, &narg);
  if (op == NULL) return -1;
  for (int i = 0; i < narg; i++) { /* what the operation and the class both know by name */
    int nop, j = 0;
    const sno_arg *b = sno_args(op, &nop);
    while (j < nop && (strcmp(a[i].name, b[j].name) != 0 || b[j].kind != a[i].kind)) j++;
    if (j < nop) opt[nopt++] = (snn_opt){a[i].name, g->val[i]};
  }
  if (o->cls->linear_head) opt[nopt++] = (snn_opt){"decoupled", sno_bool(true)}; /* AdamW */
  return snn_op_list(op->name, n, nin, u->list, nopt, opt);
}

static int step(optim *u) {
  int total = 0, with = 0;
  for (int k = 0; k < u->ng; k++) {
    total += u->g[k].n;
    for (int i = 0; i < u->g[k].n; i++) with += sno_take_grad(u->g[k].p[i]) != NULL;
  }
  const char *who = u->o.cls->name;
  if (total == 0) return sn_fail("%s: step: there are no parameters; make it with sn.%s(net:parameters()), or give it to sn.Model", who, who);
  if (with == 0) return sn_fail("%s: step: no parameter has a gradient; call loss:backward() before", who);
  for (int k = 0; k < u->ng; k++)
    if (keeps(&u->o, &u->g[k]) && make_state(&u->o, &u->g[k]) < 0) return -1;
  if (reserve(u, (size_t)(total * (2 + nstates(&u->o)) + 1)) < 0 || clip(u) < 0) return -1;
  sno_host(&u->o.base, advance);
  for (int k = 0; k < u->ng; k++)
    if (update(u, &u->g[k]) < 0) return -1;
  return 0;
}

int snn_optim_step(snn_obj *o) {
  if (o->cls->family != SNN_OPTIM) return sn_fail("%s is no optimizer", snn_name(o));
  sno_mode *mode = sno_mode_now();
  const bool grad = mode->grad;
  mode->grad = false;
  const size_t mark = sno_scope_open();
  used(o);
  const int rc = o->cls->step(o);
  sno_scope_close(mark);
  mode->grad = grad;
  return rc;
}

static int step_optim(snn_obj *o) { return step(of(o)); }

static void describe_optim(const snn_obj *o, char *buf, size_t n) { snprintf(buf, n, "lr %g", o->val[index_of(o, "lr")].d); }

/* ---- the classes */

#define COMMON " weight_decay:num=0 clip:num? clip_norm:num? decay:num=0 lr_min:num? lr_max:num?"
#define OPTIM(name_, op_, states_, decoupled_, args_)                                                                                                    \
  const snn_class snn_class_##name_ = {.name = #name_, .family = SNN_OPTIM, .args = args_ COMMON, .op = op_, .states = states_, .linear_head = decoupled_, \
                                       .size = sizeof(optim), .init = init_optim, .step = step_optim, .free = free_optim, .describe = describe_optim};

static const char *const momentum_states[] = {"momentum", NULL};
static const char *const square_states[] = {"square_avg", NULL};
static const char *const adam_states[] = {"exp_avg", "exp_avg_sq", NULL};

/*** SGD(params, {lr=0.01, momentum=0, dampening=0, nesterov=false, weight_decay=0, clip=, clip_norm=, decay=0, lr_min=, lr_max=})
 * Stochastic gradient descent. `params` is a list of tensors or of groups {tensor, ..., lr=}; a Model binds an optimizer made without them. `clip`
 * bounds
 * every element of the gradients, `clip_norm` the norm of all of them together; `decay` lowers the rate with the steps t done.
 * @math \eta_t = \mathrm{clamp}\left(\frac{\eta}{1 + d\,t}, \eta_{min}, \eta_{max}\right)
 * @math b \leftarrow \mu b + (1-\tau)(g + \lambda p), \quad p \leftarrow p - \eta_t b
 * @source Sutskever, Martens, Dahl, Hinton 2013
 */
OPTIM(SGD, "sgd_", momentum_states, false, "lr:num=0.01 momentum:num=0 dampening:num=0 nesterov:bool=false")
/*** RMSProp(params, {lr=0.001, rho=0.9, epsilon=1e-6, weight_decay=0, clip=, clip_norm=, decay=0, lr_min=, lr_max=})
 * Steps in units of a running root mean square of the gradient. The options beside rho and epsilon are those of SGD.
 * @math v \leftarrow \rho v + (1-\rho) g^2, \quad p \leftarrow p - \frac{\eta_t\, g}{\sqrt{v} + \epsilon}
 * @source Tieleman, Hinton 2012
 */
OPTIM(RMSProp, "rmsprop_", square_states, false, "lr:num=0.001 rho:num=0.9 epsilon:num=1e-6")
/*** Adam(params, {lr=0.001, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0, clip=, clip_norm=, decay=0, lr_min=, lr_max=})
 * Running means of the gradient and of its square, corrected for their start at zero. weight_decay joins the gradient. The other options are those
 * of SGD.
 * @math m \leftarrow \beta_1 m + (1-\beta_1) g, \quad v \leftarrow \beta_2 v + (1-\beta_2) g^2
 * @math p \leftarrow p - \frac{\eta_t}{1-\beta_1^t} \frac{m}{\sqrt{v/(1-\beta_2^t)} + \epsilon}
 * @source Kingma, Ba 2015
 */
OPTIM(Adam, "adam_", adam_states, false, "lr:num=0.001 beta1:num=0.9 beta2:num=0.999 epsilon:num=1e-8")
/*** AdamW(params, {lr=0.001, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.01, clip=, clip_norm=, decay=0, lr_min=, lr_max=})
 * Adam whose weight decay shrinks the parameters by themselves.
 * @math p \leftarrow (1 - \eta_t \lambda)\, p - \frac{\eta_t}{1-\beta_1^t} \frac{m}{\sqrt{v/(1-\beta_2^t)} + \epsilon}
 * @source Loshchilov, Hutter 2019
 */
const snn_class snn_class_AdamW = {
    .name = "AdamW", .family = SNN_OPTIM, .op = "adam_", .states = adam_states, .linear_head = true, .size = sizeof(optim), .init = init_optim,
        .step = step_optim,
    .free = free_optim, .describe = describe_optim,
    .args = "lr:num=0.001 beta1:num=0.9 beta2:num=0.999 epsilon:num=1e-8 weight_decay:num=0.01 clip:num? clip_norm:num? decay:num=0 lr_min:num? lr_max:num?"};
