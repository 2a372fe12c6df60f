/* func.c - compiled functions: which call is which signature, when a recording becomes a program, and when to give up. */
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "diff/tape.h"
#include "exec/prog.h"

enum { GIVE_UP = 8 }; /* recordings in a row that differ from the one before */
enum { BARREN = 6, FEW = 4 }; /* recordings and programs of one signature that fitted fewer than so many later calls */

typedef struct entry {
  char *key;
  size_t nkey;
  snp_tape *last;         /* the previous recording; NULL before the first and once there is a program */
  snp_prog *prog;
  int misses;
  int replays;
  uint64_t used;
} entry;

struct snp_func {
  entry e[SNP_SIGNATURES];
  int n;
  uint64_t clock;
  int now;                /* entry of the present call */
  snt_tensor **args;      /* of the present call: borrowed until it ends, retained while recording */
  int nargs, room;
  snp_listener listener;
  sno_recorder *before;
  char *key;              /* scratch */
  size_t room_key;
  char reason[240], partly[160];
  snp_counts count;
  int newest;
};

snp_func *snp_func_new(void) {
  snp_func *f = sn_calloc(1, sizeof *f);
  if (f) f->now = f->newest = -1;
  return f;
}

static void drop(entry *e) {
  sn_free(e->key);
  snp_tape_free(e->last);
  snp_prog_free(e->prog);
  memset(e, 0, sizeof *e);
}

void snp_func_free(snp_func *f) {
  if (f == NULL) return;
  for (int i = 0; i < f->n; i++) drop(&f->e[i]);
  sn_free(f->args);
  sn_free(f->key);
  sn_free(f);
}

const char *snp_reason(const snp_func *f) { return f->reason[0] ? f->reason : NULL; }
const char *snp_partly(const snp_func *f) { return f->partly[0] ? f->partly : NULL; }
int snp_chosen(const snp_func *f) { return f->now; }
int snp_results(const snp_func *f) { return f->e[f->now].prog->tape->nres; }
snp_counts snp_count(const snp_func *f) { return f->count; }

/* ---- the signature as bytes */

typedef struct arg_key { uint8_t dtype, ndim, tracked; int alias; int64_t apart, shape[SNT_MAXDIM], stride[SNT_MAXDIM]; } arg_key;

static size_t make_key(snp_func *f, const void *key, size_t nkey, int nargs, snt_tensor *const *args) {
  const size_t need = nkey + sizeof(int) * 4 + (size_t)nargs * sizeof(arg_key);
  if (need > f->room_key) {
    char *p = sn_realloc(f->key, need * 2);
    if (p == NULL) return 0;
    f->key = p;
    f->room_key = need * 2;
  }
  const sno_mode *m = sno_mode_now();
  const int head[4] = {m->grad, m->flush, m->autocast, nargs};
  memcpy(f->key, head, sizeof head);
  char *at = f->key + sizeof head;
  for (int i = 0; i < nargs; i++) {
    const snt_tensor *x = args[i];
    arg_key k;
    memset(&k, 0, sizeof k);
    k.dtype = x->dtype, k.ndim = x->ndim, k.tracked = sno_requires_grad(x);
    k.alias = i;
    for (int j = 0; j < i; j++)
      if (args[j]->storage == x->storage) { k.alias = j; k.apart = x->offset - args[j]->offset; break; }
    for (int d = 0; d < x->ndim; d++) k.shape[d] = x->shape[d], k.stride[d] = x->stride[d];
    memcpy(at, &k, sizeof k);
    at += sizeof k;
  }
  memcpy(at, key, nkey);
  return need;
}

/* The entry, or -1: this call runs eagerly. */
static int choose(snp_func *f, size_t nkey, snt_tensor *const *args) {
  int open = -1, barren = 0;
  for (int i = 0; i < f->n; i++) {
    entry *e = &f->e[i];
    if (e->nkey != nkey || memcmp(e->key, f->key, nkey) != 0) continue;
    if (e->prog && snp_fits(e->prog, args)) return i;
    if (!e->prog && (e->last == NULL || snp_tape_fits(e->last, args))) open = i;
    else barren += e->replays < FEW;
  }
  if (open >= 0) return open;
  if (barren >= BARREN) { /* recorded calls are slower than plain ones: such calls stay eager */
    snprintf(f->partly, sizeof f->partly, "gradients or captured tensors lie elsewhere in every call, as gradients do while the script keeps them");
    return -1;
  }
  int at = f->n;
  if (f->n == SNP_SIGNATURES) {
    at = 0;
    for (int i = 1; i < f->n; i++)
      if (f->e[i].used < f->e[at].used) at = i;
    drop(&f->e[at]);
  }
  entry *e = &f->e[at];
  memset(e, 0, sizeof *e);
  if ((e->key = sn_malloc(nkey)) == NULL) return -1; /* an evicted entry stays empty: it fits nothing */
  memcpy(e->key, f->key, nkey);
  e->nkey = nkey;
  if (at == f->n) f->n++;
  return at;
}

static int keep_args(snp_func *f, int nargs, snt_tensor *const *args) {
  if (nargs > f->room) {
    snt_tensor **p = sn_realloc(f->args, (size_t)nargs * sizeof *p);
    if (p == NULL) return -1;
    f->args = p;
    f->room = nargs;
  }
  f->nargs = nargs;
  for (int i = 0; i < nargs; i++) f->args[i] = args[i];
  return 0;
}

snp_way snp_enter(snp_func *f, const void *key, size_t nkey, int nargs, snt_tensor *const *args) {
  sno_mode *m = sno_mode_now();
  if (f->reason[0] || m->recorder) return SNP_EAGER;
  for (int i = 0; i < nargs; i++)
    if (args[i]->storage == NULL || (args[i]->meta && args[i]->meta->node)) return SNP_EAGER; /* part of a graph outside */
  const size_t n = make_key(f, key, nkey, nargs, args);
  if (n == 0 || keep_args(f, nargs, args) < 0) return SNP_EAGER;
  const int i = choose(f, n, args);
  if (i < 0) return SNP_EAGER;
  f->now = i;
  f->e[i].used = ++f->clock;
  if (f->e[i].prog) return SNP_REPLAY;
  if (snp_listen(&f->listener, nargs, f->args) < 0) return SNP_EAGER;
  for (int k = 0; k < nargs; k++) snt_retain(f->args[k]);
  f->before = m->recorder;
  m->recorder = &f->listener.base;
  return SNP_RECORD;
}

static void end_recording(snp_func *f) {
  sno_mode_now()->recorder = f->before;
  for (int k = 0; k < f->nargs; k++) snt_release(f->args[k]);
  f->nargs = 0;
}

void snp_abort(snp_func *f) {
  end_recording(f);
  snp_tape_free(f->listener.tape);
  f->listener.tape = NULL;
}

int snp_leave(snp_func *f, int nres, snt_tensor *const *res, const void *reskey, size_t nreskey) {
  snp_listener *l = &f->listener;
  if (l->tape == NULL) return 0; /* tried again after memory ran out: the recording was dropped, the results stand */
  sno_mode_now()->recorder = f->before;
  entry *e = &f->e[f->now];
  const int rc = snp_finish(l, nres, res, reskey, nreskey);
  end_recording(f);
  snp_tape *t = l->tape;
  l->tape = NULL;
  f->count.recorded++;
  if (rc < 0 || l->failed || l->why[0]) {
    if (l->why[0]) snprintf(f->reason, sizeof f->reason, "%s", l->why);
    snp_tape_free(t);
    return rc;
  }
  char why[sizeof f->reason] = "";
  if (e->last && snp_tape_equal(e->last, t, why, sizeof why)) {
    snp_tape *before = e->last;
    e->last = NULL;
    f->count.steps_recorded = t->nstep;
    e->prog = snp_build(t, before);
    snp_tape_free(before);
    if (e->prog == NULL) return -1;
    snp_tape_let_go(t);
    f->count.programs++;
    f->count.steps = e->prog->nexec;
    f->count.block = e->prog->bytes;
    f->newest = f->now;
    return 0;
  }
  if (e->last && ++e->misses >= GIVE_UP) snprintf(f->reason, sizeof f->reason, "%s", why);
  snp_tape_free(e->last);
  snp_tape_let_go(t);
  e->last = t;
  return 0;
}

int snp_replay(snp_func *f, snt_tensor **res) {
  f->count.replayed++;
  f->e[f->now].replays++;
  f->newest = f->now;
  return snp_run(f->e[f->now].prog, f->args, res);
}

const snp_prog *snp_newest(const snp_func *f) {
  snp_prog *p = f->newest < 0 ? NULL : f->e[f->newest].prog;
  if (p == NULL)
    sn_fail("explain: there is no program yet%s%s; one is made after two calls that do the same", f->reason[0] ? ": " : "", f->reason);
  return p;
}

void snp_time(snp_func *f) {
  snp_prog *p = f->newest < 0 ? NULL : f->e[f->newest].prog;
  if (p == NULL) return;
  p->timing = true;
  p->runs = 0;
  for (int i = 0; i < p->nexec; i++) p->exec[i].ns = 0;
}
