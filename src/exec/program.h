/* program.h - programs: a kept recording of operations, checked, planned into one block of memory and replayed without dispatch.
 *
 * A compiled function (snp_func) runs eagerly while a recorder listens. When two consecutive calls of one signature recorded the same
 * operations, constants and bindings, the recording becomes a program; from then on a call of that signature replays it.
 * A call is named by its signature: the tensors among its arguments (dtype, shape, strides, whether tracked, how they alias one
 * another), a key of bytes for everything else, the modes, the train/eval flags it depended on and which leaves had a gradient.
 *
 * Storages are what a recording knows (by id); views are written into the operands. A slot is a storage:
 *   ARG       an argument's: bound anew at each call
 *   BOUND     existed before the call (parameters, buffers): kept by the program
 *   CONST     made on the host during the call (numbers): its bytes are kept
 *   INTERNAL  made by an operation: lives in the program's block
 *   OUTPUT    made by an operation and seen afterwards (results, gradients of leaves): has memory of its own
 * Nothing here knows layers or Lua.
 */
#ifndef SNP_PROGRAM_H
#define SNP_PROGRAM_H
#include "diff/op.h"

typedef enum snp_kind { SNP_ARG, SNP_BOUND, SNP_CONST, SNP_INTERNAL, SNP_OUTPUT } snp_kind;

typedef struct snp_func snp_func;

typedef enum snp_way { SNP_EAGER, SNP_RECORD, SNP_REPLAY } snp_way;

snp_func *snp_func_new(void);             /* NULL after sn_fail */
void snp_func_free(snp_func *f);          /* not between enter and leave */

/* How this call is to run. After SNP_RECORD: run the function, then snp_leave, or snp_abort when it failed. After SNP_REPLAY: snp_replay.
 * args: the tensors among the arguments in order; key: bytes that name all other arguments. Inside another recording: SNP_EAGER. */
snp_way snp_enter(snp_func *f, const void *key, size_t nkey, int nargs, snt_tensor *const *args);
/* The tensors among the results, and bytes that name all other results. */
int snp_leave(snp_func *f, int nres, snt_tensor *const *res, const void *reskey, size_t nreskey);
void snp_abort(snp_func *f);
/* res: room for snp_results(f) tensors; one reference each is the caller's. -1 after sn_fail. */
int snp_replay(snp_func *f, snt_tensor **res);
int snp_results(const snp_func *f);       /* of the program that snp_enter chose */
int snp_chosen(const snp_func *f);        /* number of the signature of the present call, for what the caller keeps with it */

/* script sets this: tells the script's line at work ("train.lua:17", or ""), for what snp_reason says. Called for every operation while recording;
 * atomic, because every interpreter sets it when it starts. */
extern void (*_Atomic snp_line)(char *to, size_t n);

/* Why the function runs eagerly for good, or NULL. */
const char *snp_reason(const snp_func *f);
/* Why calls of some signature do, or NULL. */
const char *snp_partly(const snp_func *f);
/* What the newest program does, as text (sn_malloc'd), and by step; NULL or -1 after sn_fail when there is none yet. */
char *snp_explain(const snp_func *f, bool timed);
typedef struct snp_step_told { const char *op; sno_work work; double us; } snp_step_told; /* us: the mean since snp_time, negative where unknown */
int snp_steps(const snp_func *f);
snp_step_told snp_step_of(const snp_func *f, int i);
void snp_time(snp_func *f);               /* from now on the newest program's steps are timed, from nothing */

enum { SNP_SIGNATURES = 8 };

typedef struct snp_counts { uint64_t recorded, replayed, programs; int steps, steps_recorded; size_t block; } snp_counts;
snp_counts snp_count(const snp_func *f);

/* ---- passes: each a small file, each switchable (tests compare with and without) */
struct snp_tape;
typedef struct snp_pass { const char *name; int (*run)(struct snp_tape *t); bool on; } snp_pass;
extern snp_pass snp_passes[];             /* ends with name NULL */
int snp_pass_set(const char *name, bool on); /* -1 after sn_fail */
bool snp_pass_on(const char *name);

#endif
