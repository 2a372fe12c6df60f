/* prog.h - a program: a tape with memory and prebuilt calls. Private to exec. */
#ifndef SNP_PROG_H
#define SNP_PROG_H
#include "exec/record.h"

typedef struct snp_exec {
  sno_call call;             /* forward sees this */
  const snp_step *step;
  uint64_t ns;               /* time spent, when profiling */
  void *packed;              /* prepack.c: the weight as the kernel reads it, or NULL */
  size_t packed_bytes;
  const void *packed_from;   /* the data and the version of its storage that were packed */
  uint32_t packed_version;
  int repacked;              /* replays in a row before which the weight had changed */
} snp_exec;

typedef struct snp_source { const snt_storage *storage; uint32_t version; } snp_source; /* as it was when the kept steps ran */

typedef enum snp_fixed { SNP_FREE, SNP_SAME_STORAGE, SNP_SAME_PLACE } snp_fixed; /* what all recordings had in common of an argument */

typedef struct snp_prog {
  snp_tape *tape;            /* owned, after the passes */
  snp_exec *exec;
  int nexec;
  snt_storage *shell;        /* by slot: what the operands' storage pointers point at; data is set at each replay */
  snt_tensor *view;          /* by ref */
  snt_tensor **operand;      /* by ref: &view[i], or NULL where absent */
  char *block;
  size_t bytes;
  char **constant;           /* by slot: the working copy of a constant that is written, else NULL */
  snt_storage **real;        /* by slot: the present memory of an OUTPUT */
  snt_tensor **res;          /* by result: the tensor last given out for an OUTPUT */
  snt_tensor **grad;         /* by leaf: likewise */
  snp_fixed *fixed;          /* by argument: what both recordings had in common is all that is known to be right */
  bool timing;
  uint64_t runs;
  int npacked;               /* steps with a packed weight; they are the first of `packing` */
  int *packing;              /* numbers of steps in exec */
  char *packs;               /* their packed weights */
  size_t packs_bytes;
  int packed_isa;
  int nkept, nsource;        /* the first nkept of exec are kept steps (fold.c) */
  snp_source *source;
  int kept_isa;              /* 1 + it; 0: they never ran */
  int isa;                   /* it was built for (tape->halved) */
  bool alias;                /* an argument or a bound tensor is written: they must not be the same */
  int *bound, nbound;        /* the slots that are bound tensors */
} snp_prog;

snp_prog *snp_build(snp_tape *t, const snp_tape *before);  /* takes over t also on failure; NULL after sn_fail */
void snp_prog_free(snp_prog *p);
const snp_prog *snp_newest(const snp_func *f);             /* NULL after sn_fail when there is none yet */
bool snp_tape_fits(const snp_tape *t, snt_tensor *const *args); /* modes of layers, gradients, tensors that require one are as they were */
bool snp_fits(const snp_prog *p, snt_tensor *const *args); /* flags, gradients and fixed arguments are as recorded */
int snp_run(snp_prog *p, snt_tensor *const *args, snt_tensor **res);
void snp_fill_view(snt_tensor *v, const snp_ref *r, snt_storage *shell);
/* A call of the step's forward. operand: nin + nout of them. Scratch is the caller's to set. */
void snp_fill_call(sno_call *c, const snp_tape *t, const snp_step *s, snt_tensor **operand);

/* ---- fold.c */
int snp_hoist(snp_prog *p);          /* when built; -1 after sn_fail */
bool snp_hoist_fresh(snp_prog *p);   /* before a replay: is what the kept steps read as it was before the last one? */

/* ---- prepack.c */
int snp_prepack(snp_prog *p);        /* when built; -1 after sn_fail */
void snp_prepack_renew(snp_prog *p, bool kept); /* before a replay: weights that changed are packed again, bound ones or what kept steps made of them */
void snp_prepack_free(snp_prog *p);

#endif
