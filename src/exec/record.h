/* record.h - what a recording holds: slots, steps, leaves. Private to exec. */
#ifndef SNP_RECORD_H
#define SNP_RECORD_H
#include "exec/program.h"

/* An operand: a view of a slot. */
typedef struct snp_ref {
  int slot;                /* -1: absent */
  uint8_t dtype, ndim;
  int64_t shape[SNT_MAXDIM], stride[SNT_MAXDIM], offset; /* offset: of an argument's slot, from the argument's own */
} snp_ref;

typedef struct snp_step {
  const sno_op *op;        /* NULL: a host step */
  int nin, nout, nlist, nattr;
  int in, out;             /* where its operands start in snp_tape.ref: outputs follow inputs */
  int attr;                /* likewise in snp_tape.attr */
  size_t scratch;
  uint64_t rng_blocks;
  int line;                /* where its script line starts in snp_tape.line */
  bool flush;
  bool round;              /* the first result is rounded to bfloat16 (SNO_ROUNDS) */
  bool round_weight;       /* so is the second operand, as it is read */
  bool half;               /* sno_call.half */
  bool dead;               /* removed by a pass */
  bool kept;               /* fold.c: its results stay from replay to replay */
  sno_foreign *host;       /* retained */
  void (*run)(sno_foreign *);
} snp_step;

typedef struct snp_slot {
  uint64_t id;             /* of the storage */
  snp_kind kind;
  size_t bytes;
  int arg;                 /* ARG: which argument */
  snt_storage *storage;    /* BOUND: retained, until snp_tape_let_go if it is `grad` */
  bool grad;               /* a leaf's gradient when the call began: looked at by its id before it is used (snp_tape_fits) */
  bool gone;               /* no longer retained */
  char *data;              /* CONST: a copy (sn_malloc'd) */
  bool written;            /* by an operation in place */
  bool kept;               /* INTERNAL: result of a kept step, has its place for itself */
} snp_slot;

/* A tensor that had or got a gradient. */
enum { SNP_GRAD_NONE, SNP_GRAD_HAS, SNP_GRAD_ANY, SNP_GRAD_UNREAD };
typedef struct snp_leaf {
  snt_tensor *t;           /* retained */
  bool tracked;            /* it required a gradient */
  int entry;               /* what it had when the call began; ANY: it was set before it was looked at; UNREAD: neither, the tensor was an operand */
  int arg;                 /* which argument it is, or -1 */
  snp_ref before;          /* its gradient at entry: slot -1 where it had none */
  bool has;                /* at the end; also where it is UNREAD: a replay has nothing to clear */
  snp_ref grad;            /* at the end: slot -1 when it had none or was left alone */
} snp_leaf;

/* A result that is an argument (its number, else -1), or a tensor itself that lies in bound memory (retained): captured, where both recordings gave it. */
typedef struct snp_given { int arg; snt_tensor *t; } snp_given;

typedef struct snp_flag { sno_foreign *owner; const uint32_t *at; uint32_t value; } snp_flag;

typedef struct snp_tape {
  snp_step *step; int nstep, room_step;
  snp_ref *ref; int nref, room_ref;
  sno_val *attr; int nattr, room_attr;
  snp_slot *slot; int nslot, room_slot;
  char *line; int nline, room_line; /* texts, each with its 0 */
  snp_leaf *leaf; int nleaf, room_leaf;
  snt_tensor **quiet; int nquiet, room_quiet; /* captured tensors that were read and did not require a gradient (retained) */
  snp_flag *flag; int nflag, room_flag;
  snp_ref *res; int nres;
  snp_given *given;        /* by result */
  char *reskey; size_t nreskey;
  int *hash; int nhash;    /* storage id to slot */
  int nargs;
  snt_tensor *const *args; /* while recording: the caller's */
  int64_t *arg_offset;     /* of each argument when recorded */
  uint64_t start_id;
  bool halved;             /* floats lie in two bytes, for kernels of this instruction set (halve.c) */
} snp_tape;

/* ---- record.c */
typedef struct snp_listener {
  sno_recorder base;       /* first */
  snp_tape *tape;
  bool failed;             /* memory ran out: this recording is worth nothing */
  char why[240];           /* stopped for good: "" if not */
} snp_listener;
int snp_listen(snp_listener *l, int nargs, snt_tensor *const *args); /* -1 after sn_fail */
int snp_finish(snp_listener *l, int nres, snt_tensor *const *res, const void *reskey, size_t nreskey);
void snp_tape_free(snp_tape *t);
/* Between calls gradients are not held: the program that makes them can then use their memory again, and finds the next call as this one was. */
void snp_tape_let_go(snp_tape *t);
bool snp_tape_equal(const snp_tape *a, const snp_tape *b, char *why, size_t n);
bool snp_ref_dense(const snp_ref *r);                     /* consecutive elements, in order */
bool snp_ref_whole(const snp_tape *t, const snp_ref *r);  /* the slot from its first byte to its last, in order */
bool snp_settled(const snp_tape *t, const snp_ref *r);    /* a slot that one step gives whole and nobody writes */
bool snp_keeps(const snp_tape *t, const snp_step *s, const bool *exact); /* are its results bfloat16 numbers as its inputs are? exact: by slot */
int snp_slot_of(const snp_tape *t, uint64_t id);   /* -1: unknown */

/* ---- passes (passes.c, epilogue.c, relu.c, chain.c, update.c) and plan.c */
int snp_pass_dead(snp_tape *t);
int snp_pass_cse(snp_tape *t);
int snp_pass_round(snp_tape *t);
int snp_pass_copy(snp_tape *t);
int snp_pass_fold(snp_tape *t);
int snp_pass_hoist(snp_tape *t);
int snp_pass_chain(snp_tape *t);
int snp_pass_epilogue(snp_tape *t);
int snp_pass_residual(snp_tape *t);
int snp_pass_update(snp_tape *t);
int snp_pass_halve(snp_tape *t);
bool snp_untouched(const snp_tape *t, const snp_step *s, int from, int to); /* do steps from..to-1 leave what s reads as it is? */
int snp_pass_relu(snp_tape *t);
int snp_only_reader(const snp_tape *t, int i, int slot);          /* the only live step after i that touches the slot, or -1 */
bool snp_same_place(const snp_ref *a, const snp_ref *b);          /* the same consecutive elements in the same shape */
extern const sno_op snp_op_chain;
bool snp_chain_over(const snp_tape *t, const snp_step *s, int out, int in); /* may that result be written over that operand? */
bool snp_chain_rounds(const snp_tape *t, const snp_step *s); /* are its first result bfloat16 numbers, rounded by the last link that writes it? */
int snp_chain_names(const snp_tape *t, const snp_step *s, const char **names, int most);
int snp_tape_room(snp_tape *t, int refs, int attrs); /* -1 after sn_fail */
bool snp_val_equal(const sno_val *a, const sno_val *b);
/* Offsets of INTERNAL slots and scratch in one block by lifetime. offset: nslot + nstep entries (scratch after slots), -1 for none. */
int snp_plan(const snp_tape *t, int64_t *offset, size_t *block);

#endif
