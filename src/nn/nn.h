/* nn.h - layers, losses, optimizers and initialisers: objects that own state and call operations. Nothing here computes.
 *
 * A class is a vtable with an argument string in the grammar of operations (diff/op.h), so script, saving and docs read constructor
 * arguments the same way as options. An object keeps the values it was made with: its config. An argument of kind `foreign` is another
 * object (an activation, an initialiser). The list of classes is classes.def. Shapes here are those of one sample: without the batch.
 * Objects are reference counted through their first member, so that tapes and recordings can hold them.
 */
#ifndef SNN_NN_H
#define SNN_NN_H
#include "diff/op.h"

typedef enum snn_family { SNN_LAYER, SNN_LOSS, SNN_OPTIM, SNN_INIT, SNN_FAMILIES } snn_family;
typedef struct snn_obj snn_obj;
typedef struct snn_shape { int ndim; int64_t d[SNT_MAXDIM]; } snn_shape;

#define SNN_SLOTS 4 /* without memory of their own */
/* A named tensor of a layer. Parameters are trained, buffers (running_mean) are only kept and saved. */
typedef struct snn_slot { const char *name; snt_tensor *t; bool param; } snn_slot;

typedef struct snn_class {
  const char *name;
  snn_family family;
  const char *args;        /* constructor's arguments */
  bool children;           /* takes layers as positional arguments, after which come the options (Sequential, Residual) */
  bool linear_head;        /* activation classes a loss may be computed before (snn_loss_logits); of optimizers: weight decay apart from the gradient */
  bool slots;              /* build makes tensors, so the input's shape must be known before they are asked for */
  const char *op;          /* activations: the operation, whose options are the class's arguments in the same order; optimizers: the update */
  const char *head;        /* losses with `logits`: the activation they take the place of */
  const char *const *states; /* optimizers: names of what is kept for each parameter, NULL-terminated */
  size_t size;             /* of the object's struct; 0: sizeof(snn_obj) */
  int (*init)(snn_obj *o);                                       /* checks o->val; may be NULL. -1 after sn_fail */
  int (*build)(snn_obj *o, const snn_shape *in, snn_shape *out); /* checks, makes the slots on the first call; NULL: out = in */
  snt_tensor *(*forward)(snn_obj *o, snt_tensor *x);             /* layers; scope-owned */
  int (*carry)(snn_obj *o, int nin, snt_tensor *const *in, snt_tensor **out); /* layers with states: x and states (may be NULL) in, y and states out; how many */
  snt_tensor *(*loss)(snn_obj *o, snt_tensor *pred, snt_tensor *target);
  snt_tensor *(*logits)(snn_obj *o, snt_tensor *logits, snt_tensor *target); /* losses on probabilities: the same from logits; may be NULL */
  int (*fill)(snn_obj *o, snt_tensor *t, double fan_in, double fan_out);     /* initialisers */
  int (*step)(snn_obj *o);                                       /* optimizers */
  bool (*inshape)(const snn_obj *o, snn_shape *in);              /* the input's shape where the arguments say it; NULL: argument `inshape` */
  void (*describe)(const snn_obj *o, char *buf, size_t n);       /* what follows the class name ("784 -> 200"); NULL: nothing */
  void (*free)(snn_obj *o);                                      /* what the class itself holds; may be NULL */
} snn_class;

struct snn_obj {
  sno_foreign base;        /* first: the count, and what recordings hold */
  const snn_class *cls;
  char *name;              /* the user's or the model's name for it; NULL: none */
  sno_val *val;            /* constructor arguments in order, defaults filled in: with `child`, the whole config */
  int nval;
  snn_obj **child;         /* retained */
  int nchild;
  uint32_t training;       /* 1 at first, 0 after snn_train(o, false) */
  bool built;              /* of an optimizer: it has been used */
  snn_shape in, out;       /* once built */
  snn_slot *slot, few[SNN_SLOTS]; /* slot is `few` until there are more */
  int nslot, room;
};

/* ---- classes */
extern const snn_class *const snn_classes[];               /* NULL-terminated */
const snn_class *snn_find(const char *name);               /* exact name; NULL without message */
const snn_class *snn_find_like(const char *name, snn_family f); /* "relu", "glorot_uniform": case and _ ignored; NULL after sn_fail with a hint */

/* ---- objects. New ones have one reference, the caller's. */
/* vals by position (absent: the default); children only where cls->children. NULL after sn_fail. */
snn_obj *snn_new(const snn_class *c, int nval, const sno_val *val, int nchild, snn_obj *const *child);
snn_obj *snn_retain(snn_obj *o);
void snn_release(snn_obj *o);
snn_obj *snn_from_foreign(sno_foreign *f);                 /* NULL if f is not one of ours */
static inline sno_val snn_arg_obj(snn_obj *o) { return (sno_val){.kind = SNO_FOREIGN, .absent = o == NULL, .p = &o->base}; }
int snn_set_name(snn_obj *o, const char *name);
const sno_val *snn_arg(const snn_obj *o, const char *name);/* a constructor argument; asserts that it exists */
const char *snn_describe(const snn_obj *o, char *buf, size_t n); /* "Dense 784 -> 200" */
#define SNN_DESCRIBE(o) snn_describe(o, (char[160]){0}, 160)
const char *snn_name(const snn_obj *o);                    /* of its class; of a layer from outside the name it was given there */
/* Tensors among the constructor's arguments (a loss's class weights): kept in a slot of that name, no parameter. t may be NULL. */
int snn_set_tensor(snn_obj *o, const char *name, snt_tensor *t);
snt_tensor *snn_get_tensor(const snn_obj *o, const char *name); /* NULL if there is none */

/* ---- layers */
int snn_build(snn_obj *o, const snn_shape *in, snn_shape *out);    /* idempotent for equal `in`; out may be NULL */
snt_tensor *snn_forward(snn_obj *o, snt_tensor *x);                /* builds at first call; scope-owned; errors begin with the layer's description */
int snn_step(snn_obj *o, int nin, snt_tensor *const *in, snt_tensor **out); /* by the class's carry: how many results, or -1 */
bool snn_declared(const snn_obj *o, snn_shape *in);                /* is the input's shape known, by building or by arguments? */
void snn_train(snn_obj *o, bool on);                               /* with everything inside */
int snn_add_child(snn_obj *o, snn_obj *child);                     /* Sequential; retains */
/* To be called when a layer in use got other layers or tensors, an optimizer another group: recordings made before are of no use. */
void snn_restructured(void);
void snn_depends(void);                                            /* tells the recorder that it depends on that */
/* Every tensor by dotted name ("0.weight", "bn.running_mean"), children in order; stops at the first non-zero return and gives it. Builds
 * what can be built; -1 after sn_fail where a shape is not known. prefix: "" or ends in a dot. */
typedef int snn_visit(void *ctx, const char *name, snt_tensor **t, bool param);
int snn_walk(snn_obj *o, const char *prefix, snn_visit *fn, void *ctx);
int64_t snn_count(snn_obj *o, bool params_only);                   /* elements */

/* A layer whose body is elsewhere (a script). Every function may be NULL but forward. */
typedef struct snn_outside {
  const char *name;                                                /* class name to show and save; must outlive the object */
  int (*build)(void *ctx, const snn_shape *in, snn_shape *out);    /* NULL: the shape is found by calling forward on zeros(1, in) */
  snt_tensor *(*forward)(void *ctx, snt_tensor *x);                /* scope-owned; NULL after sn_fail */
  int (*walk)(void *ctx, const char *prefix, snn_visit *fn, void *vctx);
  void (*train)(void *ctx, bool on);
  void (*free)(void *ctx);
} snn_outside;
snn_obj *snn_outside_new(const snn_outside *vt, void *ctx);
void *snn_outside_ctx(const snn_obj *o);                           /* NULL if it is none */

/* ---- losses */
snt_tensor *snn_loss(snn_obj *o, snt_tensor *pred, snt_tensor *target);
/* The class of activation (Softmax, Sigmoid) after which this loss can be computed from the activation's input; NULL: none. */
const char *snn_loss_head(const snn_obj *loss);
snt_tensor *snn_loss_logits(snn_obj *o, snt_tensor *logits, snt_tensor *target);
/* A layer's output before its final activation: for Dense/Convolution with an activation `head`, or a Sequential ending in one or in
 * the activation itself. *hit says whether the activation was there (and left out). */
snt_tensor *snn_forward_logits(snn_obj *o, snt_tensor *x, const char *head, bool *hit);
bool snn_has_head(const snn_obj *o, const char *head);

/* ---- initialisers */
int snn_fill(snn_obj *init, snt_tensor *t, double fan_in, double fan_out); /* writes t in place; -1 after sn_fail */
void snn_fans(const snt_tensor *weight, double *in, double *out);  /* PyTorch's layout, kernel area counted */

/* ---- optimizers */
int snn_optim_add(snn_obj *o, int n, snt_tensor *const *params);   /* a group with the constructor's options; retains */
/* Options of the newest group that differ from the constructor's: lr, weight_decay, ...; -1 after sn_fail */
int snn_optim_set(snn_obj *o, int group, const char *option, double v);
int snn_optim_get(snn_obj *o, int group, const char *option, double *v);
int snn_optim_groups(const snn_obj *o);
int snn_optim_params(const snn_obj *o, int group, snt_tensor *const **params); /* count */
int snn_optim_step(snn_obj *o);
int snn_optim_zero_grad(snn_obj *o);
double snn_optim_lr(const snn_obj *o, int group);                  /* of the last step, or of the first before it */
void snn_optim_set_lr(snn_obj *o, double lr);                      /* the base rate of all groups: what schedules move */
int64_t snn_optim_iterations(const snn_obj *o);
void snn_optim_set_iterations(snn_obj *o, int64_t n);
/* State tensors by name ("0.3.square_avg": group, parameter, what): saving and, by copying into them, loading. Makes missing ones. */
int snn_optim_walk(snn_obj *o, snn_visit *fn, void *ctx);

/* ---- inside nn: calling operations by name with options by name */
const sno_op *snn_find_op(const char *name);               /* NULL after sn_fail */
typedef struct snn_opt { const char *name; sno_val v; } snn_opt;
snt_tensor *snn_op(const char *op, int nin, snt_tensor *const *in, int nopt, const snn_opt *opt);
int snn_op_list(const char *op, int nlist, int nin, snt_tensor *const *in, int nopt, const snn_opt *opt); /* in-place list operations */
#define SNN_OPTS(...) ((int)(sizeof((snn_opt[]){__VA_ARGS__}) / sizeof(snn_opt))), ((snn_opt[]){__VA_ARGS__})
#define SNN_NONE 0, NULL
/* Make slot k a new float32 tensor filled by `init` (or by `usual`, a class name, when init is NULL); parameters get requires_grad. */
int snn_slot_new(snn_obj *o, int k, const char *name, bool param, int ndim, const int64_t *shape, snn_obj *init, const char *usual);
snn_obj *snn_arg_object(const snn_obj *o, const char *name, snn_family f, int *bad); /* NULL when absent; *bad = -1 after sn_fail */
snt_tensor *snn_run(snn_obj *o, snt_tensor *x);            /* snn_forward without words in front of errors: for containers, which have their own */
snt_tensor *snn_activate(snn_obj *o, snt_tensor *x);       /* by argument `activation`, if it was given */
int snn_check_inshape(const snn_obj *o, const snn_shape *in); /* against argument `inshape`, if it was given */
bool snn_same_shape(const snn_shape *a, const snn_shape *b);
#define SNN_SHAPE(s) snt_shape_str((s)->ndim, (s)->d, (char[96]){0}, 96)
snt_tensor *snn_dense_affine(snn_obj *o, snt_tensor *x);   /* Dense and the convolutions before their activation */
snt_tensor *snn_conv_affine(snn_obj *o, snt_tensor *x);
void snn_outside_train(snn_obj *o, bool on);               /* outside.c: the body's own layers */
int snn_outside_walk(snn_obj *o, const char *prefix, snn_visit *fn, void *ctx);
static inline bool snn_flag(const snn_obj *o, const char *name) { return snn_arg(o, name)->i != 0; }
static inline double snn_number(const snn_obj *o, const char *name) { return snn_arg(o, name)->d; }

#endif
