/* script.h - what the files of this floor share: the state of one Lua, the protocol by which C is entered, tensors in userdata,
 * and arguments read by descriptor.
 *
 * THE PROTOCOL. A function that Lua calls does its work in a body run by snl_run. Around the body: the mode of this Lua is entered for
 * the thread, a scope is open, the collector has been stepped before (never inside). A body NEVER RAISES and never calls what
 * could raise (no luaL_check..., lua_getfield, lua_newtable, lua_pushstring; raw reads, lua_next, lua_to... of the right type and
 * lua_pcall are fine): it returns -1 after sn_fail. The error is raised by snl_run when everything is closed, with the script's position.
 * Results come into userdata that were made before the body ran (box first, acquire after), so nothing leaks on the way.
 * When memory ran out and nothing had been written (sno_effects), everything is collected and the body runs a second time.
 */
#ifndef SNL_SCRIPT_H
#define SNL_SCRIPT_H
#include <lauxlib.h>
#include <lua.h>
#include <signal.h>
#include "diff/op.h"
#include "diff/tape.h"

/* ---- one Lua (its main state and all its coroutines) */
typedef struct snl_state {
  sno_mode mode;
  const void *tensor_mt;       /* address of the metatable of tensors: the type check */
  const void *generator_mt;
  uint64_t bytes_seen;         /* of sn_mem_bytes when the collector last ran for us */
  uint64_t debt_bytes;         /* how many more before it runs again */
  unsigned boxes, debt_boxes;  /* tensors boxed since then, and how many before it runs again */
  bool raised;                 /* a message came out of a Lua error: it has its position already (run.c) */
  snt_tensor *pending[SNO_MAXOUT]; /* results on their way into boxes, when there were more than was known before */
  int npending;
  char home[256];              /* where slugnet's own Lua files are: their lines are not the script's */
} snl_state;
snl_state *snl_of(lua_State *L);          /* of this Lua; never NULL once the module is loaded */
lua_State *snl_now(void);                 /* the lua_State (coroutine) inside whose snl_run this thread is; NULL outside: for callbacks */

/* ---- running */
/* out: room for nbox results, to be filled with borrowed or scope-owned tensors. Returns how many, or -1 after sn_fail. */
typedef int snl_body(lua_State *L, void *ctx, snt_tensor **out);
/* Pushes the results and returns how many. nbox is the most there can be. Raises. */
int snl_run(lua_State *L, int nbox, snl_body *body, void *ctx);
/* Raise the pending message with the position of the script (functions of slugnet's own Lua files are skipped). Never returns. */
int snl_fail(lua_State *L);
/* Raise a message of our own, in one step, in the same form. */
int snl_error(lua_State *L, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* For outcomes of the outside world: pushes nil, message and returns 2 when the pending code is SN_ERROR_IO, else raises. */
int snl_fail_io(lua_State *L);
/* After a failed lua_pcall inside a body: takes the error value off the stack and makes it the pending failure, to be raised as it
 * was (value and position). Returns -1. Inside a callback run lua_pcall with snl_pcall, which does this. */
int snl_fail_lua(lua_State *L);
/* lua_pcall; 0, or -1 with the failure pending (the error value popped). */
int snl_pcall(lua_State *L, int nargs, int nresults);
void snl_collect(lua_State *L, bool fully); /* the collector's step by bytes allocated; snl_run does it */
/* "train.lua:17", the script's line at which this thread is inside snl_run, or "". For recordings (snp_line). */
void snl_line(char *to, size_t n);
void snl_read_out(lua_State *L);  /* a number leaves a tensor: a recording ends */
void snl_notice(lua_State *L, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* through sn.notice; may raise */

/* ---- tensors. A box is made empty, then gets one reference. */
typedef struct snl_box { snt_tensor *t; } snl_box;
snl_box *snl_push_box(lua_State *L);              /* empty; may raise (memory) */
/* A new userdata on t (borrowed: it takes a reference of its own). For tensors that outlive the scope; may raise. */
void snl_push_tensor(lua_State *L, snt_tensor *t);
/* The same userdata for the same tensor as long as someone holds it: parameters, gradients. nil for NULL. May raise. */
void snl_push_shared(lua_State *L, snt_tensor *t);
snl_box *snl_test_box(lua_State *L, int i);       /* NULL if it is no tensor; never raises */
snt_tensor *snl_test_tensor(lua_State *L, int i); /* NULL if it is no tensor or closed; never raises */
snt_tensor *snl_check_tensor(lua_State *L, int i);/* raises; not for bodies */
snt_tensor *snl_opt_tensor(lua_State *L, int i);  /* NULL for none or nil; raises */
/* For bodies: the tensor, or NULL after sn_fail("who: argument 'arg' must be a tensor, got ..."). A number gives a weak 0-d one. Scope-owned:
 * it stays, whatever Lua code called by the body does. */
snt_tensor *snl_get_tensor(lua_State *L, int i, const char *who, const char *arg);
/* For bodies: a list of tensors from the table at i, at most `max`, into to; how many or -1 after sn_fail. */
int snl_get_tensors(lua_State *L, int i, const char *who, const char *arg, int max, snt_tensor **to);

/* ---- arguments by descriptor. All of it is for bodies: nothing raises. */
#define SNL_FEW 16
#define SNL_VALS (SNO_MAXATTR + 4)
typedef struct snl_args {
  const char *who;             /* operation or class, for messages */
  snt_tensor *few[SNL_FEW], **in;
  int nin, nlist;              /* by argument, lists spliced in place; nlist -1: none */
  sno_val val[SNL_VALS];       /* everything that is no tensor, in order; absent where not given (defaults are the descriptor's) */
  int nval;
  int in0;                     /* stack index of the first tensor argument, 0 if it is not on the stack */
  /* An option that is no argument of the descriptor (name, generator, ...), its value at index `value`: 1 taken, 0 unknown, -1 after sn_fail. NULL: none */
  int (*extra)(lua_State *L, struct snl_args *a, const char *key, int value);
  const char *const *extra_names; /* NULL-terminated, for "did you mean"; may be NULL */
  void *ctx;                   /* the caller's, for extra */
  sn_rng *rng;                 /* generator= */
  bool requires_grad;          /* requires_grad= of operations that make tensors */
} snl_args;
/* First of all, instead of an initialiser (the arrays are large and stay as they are); extra, extra_names and ctx may be set after it. */
void snl_args_init(snl_args *a, const char *who);
/* Read the values at first..last (positional, then perhaps one table of options). Index values get base 1; dimensions and positions become 0-based (negative ones stay); numbers become weak tensors.
 * -1 after sn_fail. snl_args_done must follow in both cases. */
int snl_args_read(lua_State *L, snl_args *a, const sno_arg *arg, int narg, int first, int last);
/* The same from one table that has both: entries from+1, from+2, ... positional, string keys options (constructors). */
int snl_args_table(lua_State *L, snl_args *a, const sno_arg *arg, int narg, int table, int from);
void snl_args_done(snl_args *a);
/* One value by its argument's kind (as an option); -1 after sn_fail. A foreign value is a new reference. */
int snl_get_val(lua_State *L, int i, const sno_arg *arg, const char *who, sno_val *v);
/* Back again: nil when absent; dimensions and positions from 1. May raise. */
void snl_push_val(lua_State *L, const sno_arg *arg, const sno_val *v);
/* A plain table (no metatable) with at least one string key. */
bool snl_is_options(lua_State *L, int i);
/* "the number 1.5", "a float32 tensor of shape 2x3", ...: the value at i, for messages; into buf, which is returned. */
const char *snl_describe(lua_State *L, int i, char *buf, size_t n);
const char *snl_escape(const char *s, char *buf, size_t n); /* its first 40 bytes, control characters as \10 */
/* The nearest of `names` (NULL-terminated) to `word`, or NULL if none is near: for "did you mean". */
const char *snl_nearest(const char *word, const char *const *names);
int snl_distance(const char *a, const char *b);   /* edit distance, case ignored, `_` free */
const char *snl_intern(const char *s);            /* a copy that lives as long as the process; NULL after sn_fail */

/* ---- generators */
typedef struct snl_generator { sn_rng rng; } snl_generator;
snl_generator *snl_test_generator(lua_State *L, int i);

/* ---- the other files of this floor. Each finds the module's table on top of the stack, adds to it and leaves it there. */
void snl_open_tensor(lua_State *L);
void snl_open_op(lua_State *L);
void snl_open_split(lua_State *L);
void snl_open_grad(lua_State *L);
void snl_open_state(lua_State *L);
int snl_peaks(lua_State *L);                /* a Lua function: what the machine can do at most */
void snl_open_table(lua_State *L);
__attribute__((weak)) void snl_open_object(lua_State *L);  /* object.c: layers, losses, optimizers */
__attribute__((weak)) void snl_open_file(lua_State *L);    /* file.c: reading and writing files */
__attribute__((weak)) void snl_open_program(lua_State *L); /* program.c: sn.compile */
__attribute__((weak)) void snl_open_feed(lua_State *L);    /* feed.c: batches for fit */
/* object.c's: an argument of kind foreign (a userdata, a name such as "relu", a config table) as a new reference, NULL after sn_fail;
 * must not raise. And back, for configs; may raise. */
__attribute__((weak)) sno_foreign *snl_to_foreign(lua_State *L, int i, const sno_arg *arg, const char *who);
__attribute__((weak)) void snl_push_foreign(lua_State *L, sno_foreign *f);

/* Set by the program's Ctrl-C; sn.interrupted() reads and clears it. */
extern volatile sig_atomic_t snl_interrupt;

/* The module: pushes its table. */
__attribute__((visibility("default"))) int luaopen_slugnet_core(lua_State *L);

#endif
