/* record.c - the listener that writes down what a function does: slots by storage id, steps, leaves, flags; and comparing two such tapes. */
#include "exec/record.h"
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "diff/tape.h"

/* ---- growing arrays */

static int grow(void **p, int *room, int need, size_t size) {
  if (need <= *room) return 0;
  int n = *room ? *room * 2 : 32;
  while (n < need) n *= 2;
  void *q = sn_realloc(*p, (size_t)n * size);
  if (q == NULL) return -1;
  *p = q;
  *room = n;
  return 0;
}
#define GROW(t, what, extra) grow((void **)&(t)->what, &(t)->room_##what, (t)->n##what + (extra), sizeof *(t)->what)

/* ---- slots */

static int rehash(snp_tape *t) {
  const int n = t->nhash ? t->nhash * 2 : 256;
  int *h = sn_malloc((size_t)n * sizeof *h);
  if (h == NULL) return -1;
  for (int i = 0; i < n; i++) h[i] = -1;
  for (int s = 0; s < t->nslot; s++) {
    int i = (int)(t->slot[s].id * 2654435761u % (uint64_t)n);
    while (h[i] >= 0) i = (i + 1) % n;
    h[i] = s;
  }
  sn_free(t->hash);
  t->hash = h;
  t->nhash = n;
  return 0;
}

int snp_slot_of(const snp_tape *t, uint64_t id) {
  if (t->nhash == 0) return -1;
  for (int i = (int)(id * 2654435761u % (uint64_t)t->nhash);; i = (i + 1) % t->nhash) {
    if (t->hash[i] < 0) return -1;
    if (t->slot[t->hash[i]].id == id) return t->hash[i];
  }
}

static int new_slot(snp_tape *t, const snt_storage *s, snp_kind kind) {
  if (GROW(t, slot, 1) < 0 || (2 * (t->nslot + 1) > t->nhash && rehash(t) < 0)) return -1;
  const int k = t->nslot;
  snp_slot *o = &t->slot[k];
  memset(o, 0, sizeof *o);
  o->id = s->id;
  o->kind = kind;
  o->bytes = s->bytes;
  o->arg = -1;
  if (kind == SNP_CONST) {
    if ((o->data = sn_malloc(s->bytes ? s->bytes : 1)) == NULL) return -1;
    memcpy(o->data, s->data, s->bytes);
  }
  int i = (int)(o->id * 2654435761u % (uint64_t)t->nhash);
  while (t->hash[i] >= 0) i = (i + 1) % t->nhash;
  t->hash[i] = k;
  t->nslot++;
  return k;
}

/* The slot of something read or written: a storage not met before is bound (older than the call) or a constant of the host's. */
static int slot_for(snp_tape *t, snt_storage *s) {
  int k = snp_slot_of(t, s->id);
  if (k >= 0) return k;
  k = new_slot(t, s, s->id <= t->start_id ? SNP_BOUND : SNP_CONST);
  if (k >= 0 && t->slot[k].kind == SNP_BOUND) t->slot[k].storage = snt_storage_retain(s);
  return k;
}

/* The offset of a view on an argument counts from the argument's own: another batch of the same data is the same call. */
static void fill_ref(const snp_tape *t, snp_ref *r, int slot, const snt_tensor *x) {
  memset(r, 0, sizeof *r);
  r->slot = slot;
  if (x == NULL) return;
  r->dtype = x->dtype;
  r->ndim = x->ndim;
  r->offset = x->offset - (slot >= 0 && t->slot[slot].kind == SNP_ARG ? t->arg_offset[t->slot[slot].arg] : 0);
  for (int d = 0; d < x->ndim; d++) r->shape[d] = x->shape[d], r->stride[d] = x->stride[d];
}

int snp_tape_room(snp_tape *t, int refs, int attrs) { return GROW(t, ref, refs) < 0 || GROW(t, attr, attrs) < 0 ? -1 : 0; }

bool snp_ref_dense(const snp_ref *r) {
  int64_t n = 1;
  for (int d = r->ndim - 1; d >= 0; d--) {
    if (r->shape[d] != 1 && r->stride[d] != n) return false;
    n *= r->shape[d];
  }
  return true;
}

bool snp_ref_whole(const snp_tape *t, const snp_ref *r) {
  return r->offset == 0 && snp_ref_dense(r) && snt_count(r->ndim, r->shape) * (int64_t)sn_size_of((sn_dtype)r->dtype) == (int64_t)t->slot[r->slot].bytes;
}

/* ---- leaves */

static snp_leaf *find_leaf(snp_tape *t, const snt_tensor *x) {
  for (int i = 0; i < t->nleaf; i++)
    if (t->leaf[i].t == x) return &t->leaf[i];
  return NULL;
}

static int arg_of(const snp_tape *t, const snt_tensor *x) {
  for (int i = 0; i < t->nargs; i++)
    if (t->args[i] == x) return i;
  return -1;
}

static snp_leaf *add_leaf(snp_tape *t, snt_tensor *x) {
  if (GROW(t, leaf, 1) < 0) return NULL;
  snp_leaf *l = &t->leaf[t->nleaf++];
  memset(l, 0, sizeof *l);
  l->entry = SNP_GRAD_UNREAD;
  l->arg = arg_of(t, x);
  l->tracked = sno_requires_grad(x);
  fill_ref(t, &l->grad, -1, NULL);
  fill_ref(t, &l->before, -1, NULL);
  l->t = snt_retain(x);
  return l;
}

static snp_leaf *meet_leaf(snp_tape *t, snt_tensor *x) {
  snp_leaf *l = find_leaf(t, x);
  return l ? l : add_leaf(t, x);
}

/* The gradient that the leaf has is looked at. */
static int look(snp_tape *t, snp_leaf *l) {
  const snt_tensor *g = l->t->meta->grad;
  if (l->entry != SNP_GRAD_UNREAD) return 0;
  l->entry = g ? SNP_GRAD_HAS : SNP_GRAD_NONE;
  if (g == NULL) return 0;
  const int known = t->nslot, slot = slot_for(t, g->storage);
  if (slot < 0) return -1;
  if (slot == known && t->slot[slot].kind == SNP_BOUND) t->slot[slot].grad = true;
  fill_ref(t, &l->before, slot, g);
  return 0;
}

/* ---- the hooks */

static snp_listener *of(sno_recorder *r) { return (snp_listener *)(void *)r; }

void (*_Atomic snp_line)(char *to, size_t n);

enum { LINE = 80 };
static void where(char *to, size_t n) {
  void (*line)(char *, size_t) = snp_line;
  if (line) line(to, n);
}

/* The script's line at work as a text in the tape: one for all steps of a line. -1 after sn_fail. */
static int line_now(snp_tape *t) {
  char line[LINE] = "";
  where(line, sizeof line);
  const int last = t->nstep > 0 ? t->step[t->nstep - 1].line : -1, n = (int)strlen(line) + 1;
  if (last >= 0 && strcmp(t->line + last, line) == 0) return last;
  if (GROW(t, line, n) < 0) return -1;
  memcpy(t->line + t->nline, line, (size_t)n);
  t->nline += n;
  return t->nline - n;
}

static void stop(sno_recorder *r, const char *why) {
  snp_listener *l = of(r);
  char line[LINE] = "";
  if (l->why[0]) return;
  where(line, sizeof line);
  snprintf(l->why, sizeof l->why, line[0] ? "%s (%s)" : "%s", why, line);
}

static bool made_here(const snp_tape *t, const sno_call *c, int k) {
  for (int i = 0; i < c->nin; i++)
    if (c->in[i] && c->in[i]->storage == c->out[k]->storage) return false;
  return snp_slot_of(t, c->out[k]->storage->id) < 0;
}

static int write_down(snp_tape *t, const sno_call *c) {
  const int nattr = sno_nattr(c->op), line = line_now(t);
  if (line < 0 || GROW(t, step, 1) < 0 || GROW(t, ref, c->nin + c->nout) < 0 || GROW(t, attr, nattr) < 0) return -1;
  snp_step *s = &t->step[t->nstep];
  memset(s, 0, sizeof *s);
  s->op = c->op;
  s->line = line;
  s->nin = c->nin, s->nout = c->nout, s->nlist = c->nlist, s->nattr = nattr;
  s->in = t->nref, s->out = t->nref + c->nin, s->attr = t->nattr;
  s->scratch = c->scratch_bytes;
  s->rng_blocks = c->op->flags & SNO_RANDOM ? c->rng_blocks : 0;
  s->flush = sno_call_flushes(c);
  s->half = c->half;
  for (int k = 0; k < nattr; k++) {
    t->attr[t->nattr + k] = c->attr[k];
    if (c->attr[k].kind == SNO_FOREIGN && !c->attr[k].absent) sno_foreign_retain(c->attr[k].p);
  }
  for (int i = 0; i < c->nin; i++) {
    int slot = -1;
    if (c->in[i] && (slot = slot_for(t, c->in[i]->storage)) < 0) return -1;
    fill_ref(t, &t->ref[s->in + i], slot, c->in[i]);
  }
  for (int k = 0; k < c->nout; k++) {
    int slot = snp_slot_of(t, c->out[k]->storage->id);
    if (slot < 0 && (slot = new_slot(t, c->out[k]->storage, SNP_INTERNAL)) < 0) return -1;
    fill_ref(t, &t->ref[s->out + k], slot, c->out[k]);
  }
  if (c->op->flags & SNO_WRITES)
    for (int i = 0; i < c->nin; i++)
      if (c->in[i] && sno_writes_input(c, i)) t->slot[t->ref[s->in + i].slot].written = true;
  t->nref += c->nin + c->nout;
  t->nattr += nattr;
  t->nstep++;
  return 0;
}

/* Should one of these require a gradient later, other operations would be called. A view that is made anew in each call is found to be one by
 * comparing with the recording before (snp_build). */
static int note_quiet(snp_tape *t, const sno_call *c) {
  for (int i = 0; i < c->nin && sno_mode_now()->grad; i++) {
    snt_tensor *x = c->in[i];
    if (x == NULL || x->storage->id > t->start_id || !sn_is_float((sn_dtype)x->dtype) || sno_requires_grad(x) || arg_of(t, x) >= 0) continue;
    int k = snp_slot_of(t, x->storage->id);
    if (k >= 0 && t->slot[k].grad) continue;
    for (k = 0; k < t->nquiet && t->quiet[k] != x;) k++;
    if (k < t->nquiet) continue;
    if (GROW(t, quiet, 1) < 0) return -1;
    t->quiet[t->nquiet++] = snt_retain(x);
  }
  return 0;
}

static void called(sno_recorder *r, sno_call *c) {
  snp_listener *l = of(r);
  snp_tape *t = l->tape;
  if (l->failed || l->why[0]) return;
  if (c->op->flags & SNO_DYNAMIC) {
    char why[96];
    snprintf(why, sizeof why, "the shape of %s depends on values", c->op->name);
    return stop(r, why);
  }
  for (int i = 0; i < c->nin; i++)
    if (c->in[i] && c->in[i]->meta && c->in[i]->meta->requires_grad && !c->in[i]->meta->node && meet_leaf(t, c->in[i]) == NULL) { l->failed = true; return; }
  if (note_quiet(t, c) < 0) { l->failed = true; return; }
  bool fresh = c->nout == 0 || (c->op->flags & SNO_WRITES);
  for (int k = 0; k < c->nout; k++) fresh |= made_here(t, c, k);
  if (!fresh) { /* only views: whoever reads them reads the slot; an input met here for the first time is bound */
    for (int i = 0; i < c->nin; i++)
      if (c->in[i] && slot_for(t, c->in[i]->storage) < 0) l->failed = true;
    return;
  }
  if (write_down(t, c) < 0) l->failed = true;
}

static void host(sno_recorder *r, sno_foreign *f, void (*run)(sno_foreign *)) {
  snp_listener *l = of(r);
  snp_tape *t = l->tape;
  if (l->failed || l->why[0]) return;
  const int line = line_now(t);
  if (line < 0 || GROW(t, step, 1) < 0) { l->failed = true; return; }
  snp_step *s = &t->step[t->nstep++];
  memset(s, 0, sizeof *s);
  s->line = line;
  s->in = s->out = t->nref;
  s->attr = t->nattr;
  s->host = sno_foreign_retain(f);
  s->run = run;
}

static void depends(sno_recorder *r, sno_foreign *owner, const uint32_t *at) {
  snp_listener *l = of(r);
  snp_tape *t = l->tape;
  for (int i = 0; i < t->nflag; i++)
    if (t->flag[i].at == at) return;
  if (GROW(t, flag, 1) < 0) { l->failed = true; return; }
  t->flag[t->nflag++] = (snp_flag){sno_foreign_retain(owner), at, __atomic_load_n(at, __ATOMIC_RELAXED)};
}

static void grad_set(sno_recorder *r, snt_tensor *x) {
  snp_listener *l = of(r);
  snp_leaf *f = meet_leaf(l->tape, x);
  if (f == NULL) l->failed = true;
  else if (f->entry == SNP_GRAD_UNREAD) f->entry = SNP_GRAD_ANY;
}

static void leaf(sno_recorder *r, snt_tensor *x) {
  snp_listener *l = of(r);
  snp_leaf *f = meet_leaf(l->tape, x);
  if (f == NULL || look(l->tape, f) < 0) l->failed = true;
}

/* ---- beginning and end */

int snp_listen(snp_listener *l, int nargs, snt_tensor *const *args) {
  memset(l, 0, sizeof *l);
  l->base = (sno_recorder){.called = called, .host = host, .depends = depends, .grad_set = grad_set, .leaf = leaf, .stop = stop};
  snp_tape *t = l->tape = sn_calloc(1, sizeof *t);
  if (t == NULL) return -1;
  t->start_id = snt_storage_last_id();
  t->nargs = nargs;
  t->args = args;
  if (nargs && (t->arg_offset = sn_malloc((size_t)nargs * sizeof *t->arg_offset)) == NULL) goto fail;
  for (int i = 0; i < nargs; i++) {
    t->arg_offset[i] = args[i]->offset;
    if (snp_slot_of(t, args[i]->storage->id) >= 0) continue;
    const int k = new_slot(t, args[i]->storage, SNP_ARG);
    if (k < 0) goto fail;
    t->slot[k].arg = i;
  }
  return 0;
fail:
  snp_tape_free(t);
  l->tape = NULL;
  return -1;
}

static int see_result(snp_listener *l, const snt_tensor *x, snp_ref *ref, const char *what) {
  snp_tape *t = l->tape;
  int k = slot_for(t, x->storage);
  if (k < 0) return -1;
  if (t->slot[k].kind == SNP_CONST) {
    snprintf(l->why, sizeof l->why, "a %s was made on the host, not by an operation", what);
    return 0;
  }
  if (t->slot[k].kind == SNP_INTERNAL) t->slot[k].kind = SNP_OUTPUT;
  if (x->meta && x->meta->node && !sno_graph_freed(x)) {
    snprintf(l->why, sizeof l->why, "a %s is still tracked: call backward inside, or compute under sn.no_grad()", what);
    return 0;
  }
  fill_ref(t, ref, k, x);
  return 0;
}

int snp_finish(snp_listener *l, int nres, snt_tensor *const *res, const void *reskey, size_t nreskey) {
  snp_tape *t = l->tape;
  if (l->failed || l->why[0]) return 0;
  if (nres && (t->res = sn_calloc((size_t)nres, sizeof *t->res)) == NULL) return -1;
  if (nres && (t->given = sn_calloc((size_t)nres, sizeof *t->given)) == NULL) return -1;
  t->nres = nres;
  if ((t->reskey = sn_malloc(nreskey + 1)) == NULL) return -1;
  memcpy(t->reskey, reskey, nreskey);
  t->nreskey = nreskey;
  for (int i = 0; i < nres && !l->why[0]; i++) {
    if (see_result(l, res[i], &t->res[i], "result") < 0) return -1;
    if (l->why[0]) break;
    t->given[i].arg = arg_of(t, res[i]);
    if (t->slot[t->res[i].slot].kind == SNP_BOUND) t->given[i].t = snt_retain(res[i]);
    else if (t->given[i].arg < 0 && sno_requires_grad(res[i]))
      snprintf(l->why, sizeof l->why, "a result made inside requires a gradient");
  }
  for (int i = 0; i < t->nleaf && !l->why[0]; i++) {
    snp_leaf *f = &t->leaf[i];
    snt_tensor *g = f->t->meta ? f->t->meta->grad : NULL;
    const bool unread = f->entry == SNP_GRAD_UNREAD;
    f->has = g != NULL || unread;
    if (g == NULL || unread) continue;
    snp_ref now;
    fill_ref(t, &now, snp_slot_of(t, g->storage->id), g);
    if (now.slot >= 0 && memcmp(&now, &f->before, sizeof now) == 0) continue; /* added to in place, or left alone */
    if (see_result(l, g, &f->grad, "gradient") < 0) return -1;
  }
  t->args = NULL;
  return 0;
}

void snp_tape_let_go(snp_tape *t) {
  for (int i = 0; i < t->nslot; i++) {
    if (!t->slot[i].grad || t->slot[i].gone) continue;
    snt_storage_release(t->slot[i].storage);
    t->slot[i].gone = true;
  }
}

void snp_tape_free(snp_tape *t) {
  if (t == NULL) return;
  for (int i = 0; i < t->nstep; i++) sno_foreign_release(t->step[i].host);
  for (int i = 0; i < t->nattr; i++)
    if (t->attr[i].kind == SNO_FOREIGN && !t->attr[i].absent) sno_foreign_release(t->attr[i].p);
  for (int i = 0; i < t->nslot; i++) {
    if (!t->slot[i].gone) snt_storage_release(t->slot[i].storage);
    sn_free(t->slot[i].data);
  }
  for (int i = 0; i < t->nleaf; i++) snt_release(t->leaf[i].t);
  for (int i = 0; i < t->nres; i++) snt_release(t->given[i].t);
  for (int i = 0; i < t->nquiet; i++) snt_release(t->quiet[i]);
  for (int i = 0; i < t->nflag; i++) sno_foreign_release(t->flag[i].owner);
  sn_free(t->line); sn_free(t->step); sn_free(t->ref); sn_free(t->attr); sn_free(t->slot); sn_free(t->leaf); sn_free(t->quiet); sn_free(t->flag);
  sn_free(t->res); sn_free(t->given); sn_free(t->reskey); sn_free(t->hash); sn_free(t->arg_offset);
  sn_free(t);
}

/* ---- are two recordings the same? */

bool snp_val_equal(const sno_val *a, const sno_val *b) {
  if (a->kind != b->kind || a->absent != b->absent) return false;
  if (a->absent) return true;
  switch (a->kind) {
    case SNO_NUM: return memcmp(&a->d, &b->d, sizeof a->d) == 0;
    case SNO_STR: return a->s == b->s || strcmp(a->s, b->s) == 0;
    case SNO_FOREIGN: return a->p == b->p;
    case SNO_INTS: case SNO_DIMS: case SNO_INT2: case SNO_SLICES: {
      const int n = a->kind == SNO_SLICES ? SNT_MAXDIM * 3 : a->n;
      return a->n == b->n && memcmp(a->v, b->v, (size_t)n * sizeof *a->v) == 0;
    }
    default: return a->i == b->i;
  }
}

/* what: of which operation, step `at` of the newer tape (-1: of none), and the line it stands at. */
static bool differ(const snp_tape *t, char *why, size_t n, const char *what, int at) {
  const snp_step *s = at < 0 ? NULL : &t->step[at];
  const char *line = s ? t->line + s->line : "";
  snprintf(why, n, "two calls in a row differ in %s%s%s%s%s%s", what, s ? " of " : "", s ? s->op ? s->op->name : "a host step" : "",
           *line ? " (" : "", line, *line ? ")" : "");
  return false;
}

static int reader_of(const snp_tape *t, int slot) {
  for (int i = 0; i < t->nstep; i++)
    for (int k = 0; k < t->step[i].nin; k++)
      if (t->ref[t->step[i].in + k].slot == slot) return i;
  return -1;
}

bool snp_tape_equal(const snp_tape *a, const snp_tape *b, char *why, size_t n) {
  for (int i = 0; i < a->nstep && i < b->nstep; i++) {
    const snp_step *s = &a->step[i], *o = &b->step[i];
    if (s->op != o->op || s->host != o->host || s->run != o->run) return differ(b, why, n, "the operations called, first at", i);
    if (s->nin != o->nin || s->nout != o->nout || s->nlist != o->nlist || s->nattr != o->nattr || s->rng_blocks != o->rng_blocks || s->flush != o->flush || s->half != o->half || s->scratch != o->scratch)
      return differ(b, why, n, "the arguments", i);
    for (int k = 0; k < s->nattr; k++)
      if (!snp_val_equal(&a->attr[s->attr + k], &b->attr[o->attr + k])) return differ(b, why, n, "an option", i);
    if (memcmp(&a->ref[s->in], &b->ref[o->in], (size_t)(s->nin + s->nout) * sizeof *a->ref) != 0) return differ(b, why, n, "the tensors", i);
  }
  if (a->nstep != b->nstep) return differ(b, why, n, "the number of operations", -1);
  if (a->nslot != b->nslot || a->nleaf != b->nleaf || a->nflag != b->nflag || a->nres != b->nres || a->nreskey != b->nreskey) return differ(b, why, n, "what they touch or return", -1);
  for (int i = 0; i < a->nslot; i++) {
    const snp_slot *s = &a->slot[i], *o = &b->slot[i];
    if (s->kind != o->kind || s->bytes != o->bytes || s->arg != o->arg || s->written != o->written) return differ(b, why, n, "the memory", reader_of(a, i));
    if (s->kind == SNP_BOUND && s->id != o->id) return differ(b, why, n, "a captured tensor", reader_of(a, i));
    if (s->kind == SNP_CONST && memcmp(s->data, o->data, s->bytes) != 0) return differ(b, why, n, "a constant", reader_of(a, i));
  }
  for (int i = 0; i < a->nleaf; i++) {
    const snp_leaf *s = &a->leaf[i], *o = &b->leaf[i];
    if (s->t != o->t || s->entry != o->entry || s->arg != o->arg || s->tracked != o->tracked || s->has != o->has ||
        memcmp(&s->before, &o->before, sizeof s->before) != 0 || memcmp(&s->grad, &o->grad, sizeof s->grad) != 0)
       return differ(b, why, n, "a gradient", -1);
  }
  for (int i = 0; i < a->nflag; i++)
    if (a->flag[i].at != b->flag[i].at || a->flag[i].value != b->flag[i].value) return differ(b, why, n, "train or eval mode, or what layers and optimizers hold", -1);
  if (a->nres && memcmp(a->res, b->res, (size_t)a->nres * sizeof *a->res) != 0) return differ(b, why, n, "the results", -1);
  for (int i = 0; i < a->nres; i++) {
    const snp_given *s = &a->given[i], *o = &b->given[i];
    if (s->arg != o->arg || (s->t && s->t != o->t && (sno_requires_grad(s->t) || sno_requires_grad(o->t)))) return differ(b, why, n, "a result that requires a gradient", -1);
  }
  if (memcmp(a->reskey, b->reskey, a->nreskey) != 0) return differ(b, why, n, "a plain result", -1);
  return true;
}
