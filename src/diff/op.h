/* op.h - the descriptor of an operation, and the one function through which every operation goes.
 *
 * sno_call checks, promotes, infers shapes, allocates, runs the kernel and tells two independent listeners: the tape
 * (tape.h: when a gradient is wanted) and the recorder (exec: inside sn.compile). Nothing computes any other way.
 * A backward is written in operations called the same way.
 */
#ifndef SNO_OP_H
#define SNO_OP_H
#include "base/random.h"
#include "core/tensor.h"

#define SNO_MAXOUT 8
#define SNO_MAXATTR 12

/* ---- attributes: the non-tensor arguments of a call, in the order of the descriptor's argument string */
typedef enum sno_kind {
  SNO_TENSOR, SNO_TENSORS,                 /* x, xs* : inputs, never attributes */
  SNO_INT, SNO_NUM, SNO_BOOL, SNO_STR,     /* i, d, i, s */
  SNO_DIM, SNO_DIMS,                       /* i | n,v : dimensions, from 0 below script; ABSENT means all */
  SNO_INTS, SNO_INT2,                      /* n,v : sizes (varargs from Lua) | two numbers, one given means both */
  SNO_DTYPE,                               /* i : sn_dtype */
  SNO_POS,                                 /* i : a position along a dimension, from 0 below script; negative counts from the end, checked by the shape rule */
  SNO_BASE,                                /* i : what index values count from: 1 from Lua, 0 from C; never written by a user */
  SNO_SLICES,                              /* v : see index.c */
  SNO_FOREIGN                              /* p : an object with its own retain/free (operations written in Lua) */
} sno_kind;

struct sno_back;
typedef struct sno_foreign {
  int refs;                                                      /* atomic */
  void (*free)(struct sno_foreign *);                            /* when refs reaches 0 */
  int (*backward)(struct sno_foreign *, struct sno_back *);      /* of an operation written outside; NULL otherwise */
} sno_foreign;
sno_foreign *sno_foreign_retain(sno_foreign *f);
void sno_foreign_release(sno_foreign *f);

typedef struct sno_val {
  uint8_t kind;      /* sno_kind */
  bool absent;       /* optional and not given */
  uint8_t n;         /* length of v */
  union {
    int64_t i;
    double d;
    const char *s;           /* static: one of the words the descriptor allows */
    int64_t v[SNT_MAXDIM * 3];
    sno_foreign *p;
  };
} sno_val;

/* One argument as parsed from the descriptor's string. Grammar, words separated by spaces:
 *   x            a tensor (a Lua number becomes a weak 0-d tensor)
 *   b?           a tensor that may be absent
 *   xs*          a list of tensors (must be the only list unless groups=n is stated by the descriptor flag SNO_LISTS)
 *   name:kind    an attribute that must be given;  name:kind=value  with a default;  name:kind?  may be absent
 * kinds: int num bool dim dims ints int2 dtype pos base slices foreign, and str(a|b|c) for one of some words.
 * Positional in this order from Lua, or by name in the option table at the end. */
typedef struct sno_arg {
  const char *name;
  sno_kind kind;
  bool optional;     /* b?, kind?, or has a default */
  bool has_default;
  sno_val value;     /* the default */
  const char *const *words; /* SNO_STR: allowed words, NULL-terminated */
} sno_arg;

/* ---- flags */
enum {
  SNO_PURE = 0,          /* the default: may be merged, folded, moved, removed */
  SNO_RANDOM = 1,        /* takes a range of the generator: c->rng */
  SNO_WRITES = 2,        /* writes inputs in place (field `writes`); with one output and a first argument that is no list, that output is input 0 unless infer says otherwise */
  SNO_VIEW = 4,          /* outputs share the first input's storage: forward only makes metadata (in `infer`) */
  SNO_NODIFF = 8,        /* declared not differentiable */
  SNO_ONCE = 16,         /* its backward is not itself differentiable */
  SNO_CONTIG = 32,       /* wants contiguous inputs: the dispatcher inserts `contiguous` operations */
  SNO_HALF = 64,         /* handles float16/bfloat16 itself; otherwise the dispatcher computes in float32 and casts back */
  SNO_HIDDEN = 128,      /* not shown to Lua as a function (backward kernels, dispatch helpers) */
  SNO_METHOD_ONLY = 256, /* a method of tensors, no sn.function */
  SNO_FUNC_ONLY = 512,   /* sn.function, no method */
  SNO_LISTS = 1024,      /* several lists of equal length (optimizer updates) */
  SNO_VALUES = 2048,     /* infer looks at values (labels, indices): a program runs it again at each replay */
  SNO_DYNAMIC = 4096,    /* the result's shape depends on values (nonzero): cannot be recorded */
  /* Autocast (sno_mode.autocast) goes by these two. An operation with neither takes what comes, by promotion. */
  SNO_LOW = 8192,        /* products: floating inputs are cast to the narrow type, sums are float32, the result is narrow */
  SNO_HIGH = 16384,      /* sums, losses, exponentials: narrow inputs are cast to float32, and so is the result */
  SNO_HALVES = 65536,    /* multiplies faster when told that its operands are bfloat16 numbers: c->half */
  SNO_ROUNDS = 32768     /* can round its (first) float32 result to bfloat16 in its last store: c->round */
};

struct sno_op;

/* What a shape rule fills in for one output. */
typedef struct sno_out {
  uint8_t dtype, ndim;
  int64_t shape[SNT_MAXDIM];
  snt_tensor *alias;   /* set: the output is this tensor (a view made by infer, or the input of a writing op); one reference is given over */
} sno_out;

/* One call, as infer and forward see it. */
typedef struct sno_call {
  const struct sno_op *op;
  int nin, nout;
  snt_tensor **in;               /* by argument; an absent one is NULL; a list is spliced in place, its length in nlist */
  int nlist;
  sno_val *attr;                 /* in order; infer may complete absent ones (a default that depends on shapes) */
  sno_out want[SNO_MAXOUT];      /* filled by infer */
  snt_tensor *out[SNO_MAXOUT];   /* given to forward, allocated or aliased */
  size_t scratch_bytes;          /* set by infer: forward gets that much at c->scratch, 64-byte aligned */
  void *scratch;
  uint64_t rng_blocks;           /* set by infer of a random op: positions it takes */
  sn_rng rng;                    /* given to forward */
  bool round;                    /* in a program: the float32 result is rounded to bfloat16, what casts there and back would make of it */
  bool round_weight;             /* in a program: linear and matmul round what they multiply with (in[1]) as they read it; at least two rows and columns */
  bool half;                     /* SNO_HALVES: its floating operands are bfloat16 numbers, though float32 (part of what the call is, like its attributes) */
  const void *packed;            /* NULL, or what the descriptor's `pack` made of the weight (input 1): forward reads that in its place */
  snt_tensor *before;            /* of a tracked write: input 0 as it was, where the backward reads it (scope-owned); else NULL */
} sno_call;

/* What a backward sees and fills. Runs inside a scope: operation results need no freeing. */
typedef struct sno_back {
  const struct sno_op *op;
  bool create_graph;             /* the gradients will themselves be differentiated: no fused once-only kernels */
  int nin, nout;
  snt_tensor **in;               /* saved inputs; NULL where absent or not saved (descriptor's save_in) */
  snt_tensor **out;              /* saved outputs likewise (save_out) */
  const sno_out *in_spec;        /* shape and dtype of every input, saved or not */
  const sno_out *out_spec;
  const sno_val *attr;
  int nlist;
  snt_tensor **gy;               /* gradient of each output; NULL if none arrived (only with several outputs) */
  const bool *want;              /* which inputs want one */
  uint32_t asked;                /* bit i: the caller of sn.grad asks for the gradient of input i itself, which is no leaf */
  snt_tensor **gx;               /* to fill: gradient of each wanted input (borrowed, scope-owned); NULL means zero */
} sno_back;

typedef struct sno_op {
  const char *name;
  const char *args;              /* see the grammar above */
  uint32_t flags;
  uint8_t nout;                  /* 1 unless infer sets c->nout */
  uint32_t save_in, save_out;    /* bit i: backward reads tensor argument i / output i (a list is one argument) */
  uint8_t over[4];               /* of a result, bit i: in a program it may be made in place of input i, of its shape, which dies there */
  uint32_t writes;               /* SNO_WRITES: bit i: tensor argument i is written (a list is one argument); 0 means argument 0 */
  int (*infer)(sno_call *c);     /* checks everything, sets want[]: after it forward cannot fail. -1 after sn_fail */
  void (*forward)(sno_call *c);  /* computes out[] from in[]; no allocation, no failure */
  int (*backward)(sno_back *b);  /* -1 after sn_fail */
  /* Lua expressions, tried by the descriptor walk (tests/walk): samples separated by `;`, each a list of arguments.
   * f(2,3) float tensor of normals, p(..) positive, u(..) inside (-1,1), i(lo,hi,..) int64, b(..) bool, m(..) mask */
  const char *samples;
  /* "arguments => words the message must contain", separated by `;` */
  const char *wrong;
  const void *data;              /* the column's own: map.def's index, ... */
  /* Optional: input 1 (a weight) in the layout the kernel wants, made once by a program where the weight stays the same. The layout
   * depends on the shapes and the instruction set alone, and forward gives the same bits with it. */
  size_t (*pack_bytes)(const sno_call *c);        /* 0: not worth it for these shapes */
  void (*pack)(const sno_call *c, void *to);      /* 64-byte aligned; no allocation, no failure */
  /* Optional: the floating-point operations of its products, a multiply-add counts as two. Elementwise work is not counted: memory limits that. */
  double (*flops)(const sno_call *c);
  /* Optional: may operand k (an input; from nin on a result) lie in memory as bfloat16 numbers, while the others lie as in c? In a program (exec/halve.c),
   * of floats that are bfloat16 numbers all, and in eager calls of bfloat16 tensors that nobody tracks; the numbers would be those of a call with float32. */
  bool (*halved)(sno_call *c, int k);
} sno_op;

/* ---- the table */
extern const sno_op *const sno_ops[];        /* NULL-terminated: ops.def and map.def, the one list */
const sno_op *sno_find(const char *name);    /* NULL if there is none */
const sno_arg *sno_args(const sno_op *op, int *n); /* parsed argument string, in order, tensors and attributes */
int sno_nattr(const sno_op *op);
/* Any argument string (nn's constructors use the same grammar); parsed once per string address. */
const sno_arg *sno_parse_args(const char *args, int *n);

/* ---- modes, per lua_State (script) or host; the current one is set per thread on entry */
typedef struct sno_recorder {      /* exec's side of a call */
  void (*called)(struct sno_recorder *r, sno_call *c);           /* after every successful call */
  void (*host)(struct sno_recorder *r, sno_foreign *f, void (*run)(sno_foreign *));
  void (*depends)(struct sno_recorder *r, sno_foreign *owner, const uint32_t *at);
  void (*grad_set)(struct sno_recorder *r, snt_tensor *leaf);    /* .grad was set or cleared by hand */
  void (*leaf)(struct sno_recorder *r, snt_tensor *leaf);        /* a gradient is about to reach this leaf */
  void (*stop)(struct sno_recorder *r, const char *why);         /* a number was read out, an operation written in Lua ran, ...: recording ends */
} sno_recorder;
typedef struct sno_mode {
  bool grad;                       /* record a tape (default true) */
  bool flush;                      /* flush denormals in float32 work (default true) */
  bool half;                       /* what is called now computes in float32 for operands of bfloat16, or is the gradient of that */
  int autocast;                    /* -1, or SN_BF16: the type in which SNO_LOW operations run */
  sn_rng rng;                      /* the default generator */
  sno_recorder *recorder;          /* NULL: none */
} sno_mode;
extern sno_mode sno_mode_default;
sno_mode *sno_mode_now(void);            /* of this thread; never NULL */
sno_mode *sno_mode_enter(sno_mode *m);   /* returns the one before */

/* Tell the recorder, if one listens, that this call cannot be recorded (item(), totable, sn.func, ...). */
void sno_stop_recording(const char *why);
/* A step on the host that a replay must repeat at the same place (an optimizer counts its step and computes the learning rate it
 * writes into a small tensor): runs `run(f)` now and is recorded. It may touch only f's own memory: no operations, no Lua, no failure. */
void sno_host(sno_foreign *f, void (*run)(sno_foreign *));
/* What was just called depended on this number (a layer's train/eval): a recording is good only while it has its present value.
 * `owner` (may be NULL) is kept alive by the recording. */
void sno_depends(sno_foreign *owner, const uint32_t *at);

/* Counts, per thread, what cannot be undone: writes, random positions taken, host steps, gradients handed out. A caller that runs out of
 * memory may try once more only if the count has not moved. */
void sno_effect(void);
uint64_t sno_effects(void);

/* ---- for infer */
/* Replace input i by itself converted to dtype t, through the `to` operation (taped and recorded like any other). */
int sno_cast_input(sno_call *c, int i, sn_dtype t);
void sno_want(sno_call *c, int k, sn_dtype t, int ndim, const int64_t *shape); /* fills want[k] */

/* The least a call has to do: flops, and bytes to read and to write when every operand and result moves once. */
typedef struct sno_work { double flops, read, written; } sno_work;
sno_work sno_work_of(const sno_call *c);

bool sno_call_flushes(const sno_call *c);      /* does this call run with denormals flushed? */
bool sno_writes_input(const sno_call *c, int i); /* does a SNO_WRITES call write in[i]? */

/* ---- scopes: results of operations live until the innermost scope of this thread closes */
size_t sno_scope_open(void);
void sno_scope_close(size_t mark);
snt_tensor *sno_own(snt_tensor *t);      /* give one reference to the scope; returns t; NULL stays NULL */
/* keep a result beyond its scope: snt_retain */

/* ---- calling. A NULL among required inputs means an earlier call failed: the call fails without a new message. */
/* The general form. in: by argument, lists spliced in place; nlist: the length of each list; attr: nattr values in order, the rest take
 * their defaults; out: room for SNO_MAXOUT, scope-owned; nout may be NULL; rng: NULL for the mode's. -1 after sn_fail. */
int sno_invoke(const sno_op *op, int nin, snt_tensor *const *in, int nlist, int nattr, const sno_val *attr, snt_tensor **out, int *nout, sn_rng *rng);
snt_tensor *sno_call1(const sno_op *op, snt_tensor *a);
snt_tensor *sno_call2(const sno_op *op, snt_tensor *a, snt_tensor *b);
snt_tensor *sno_call3(const sno_op *op, snt_tensor *a, snt_tensor *b, snt_tensor *c);
/* with attributes: sno_run(&sno_op_sum, 1, (snt_tensor*[]){x}, SNO_ATTRS(sno_dims(1, d), sno_bool(true))) */
snt_tensor *sno_run(const sno_op *op, int nin, snt_tensor *const *in, int nattr, const sno_val *attr);
#define SNO_IN(...) ((int)(sizeof((snt_tensor *[]){__VA_ARGS__}) / sizeof(snt_tensor *))), ((snt_tensor *[]){__VA_ARGS__})
#define SNO_ATTRS(...) ((int)(sizeof((sno_val[]){__VA_ARGS__}) / sizeof(sno_val))), ((sno_val[]){__VA_ARGS__})
static inline sno_val sno_int(int64_t i) { return (sno_val){.kind = SNO_INT, .i = i}; }
static inline sno_val sno_num(double d) { return (sno_val){.kind = SNO_NUM, .d = d}; }
static inline sno_val sno_bool(bool b) { return (sno_val){.kind = SNO_BOOL, .i = b}; }
static inline sno_val sno_str(const char *s) { return (sno_val){.kind = SNO_STR, .s = s}; }
static inline sno_val sno_absent(void) { return (sno_val){.absent = true}; }
sno_val sno_ints(int n, const int64_t *v);
static inline sno_val sno_int2(int64_t a, int64_t b) { return (sno_val){.kind = SNO_INT2, .n = 2, .v = {a, b}}; }

#endif
