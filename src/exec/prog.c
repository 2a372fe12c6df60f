/* prog.c - building a program from a tape, and replaying it: pointers are set, forwards are called, gradients and results are handed out. */
#include "exec/prog.h"
#include <string.h>
#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/fpmode.h"
#include "base/mem.h"
#include "base/thread.h"
#include "diff/tape.h"

/* ---- building */

void snp_fill_view(snt_tensor *v, const snp_ref *r, snt_storage *shell) {
  memset(v, 0, sizeof *v);
  v->refs = 1 << 30;
  v->dtype = r->dtype;
  v->ndim = r->ndim;
  v->offset = r->offset;
  memcpy(v->shape, r->shape, sizeof v->shape);
  memcpy(v->stride, r->stride, sizeof v->stride);
  v->storage = shell;
}

static int build_slots(snp_prog *p, const int64_t *offset) {
  const snp_tape *t = p->tape;
  for (int i = 0; i < t->nslot; i++) {
    const snp_slot *s = &t->slot[i];
    p->shell[i] = (snt_storage){.refs = 1 << 30, .bytes = s->bytes};
    if (s->kind == SNP_BOUND) p->shell[i].data = s->storage->data;
    if (s->kind == SNP_INTERNAL && offset[i] >= 0) p->shell[i].data = p->block + offset[i];
    if (s->kind == SNP_CONST) {
      p->shell[i].data = s->data;
      if (!s->written) continue;
      if ((p->constant[i] = sn_malloc(s->bytes ? s->bytes : 1)) == NULL) return -1;
      p->shell[i].data = p->constant[i];
    }
  }
  return 0;
}

void snp_fill_call(sno_call *c, const snp_tape *t, const snp_step *s, snt_tensor **operand) {
  memset(c, 0, sizeof *c);
  c->op = s->op;
  c->nin = s->nin, c->nout = s->nout, c->nlist = s->nlist;
  c->in = operand;
  c->attr = &t->attr[s->attr];
  c->scratch_bytes = s->scratch;
  c->round = s->round, c->round_weight = s->round_weight, c->half = s->half;
  c->rng_blocks = s->rng_blocks;
  for (int k = 0; k < s->nout; k++) {
    const snp_ref *r = &t->ref[s->out + k];
    c->out[k] = operand[s->nin + k];
    sno_want(c, k, (sn_dtype)r->dtype, r->ndim, r->shape);
  }
}

static void build_calls(snp_prog *p, const int64_t *offset) {
  snp_tape *t = p->tape;
  for (int i = 0; i < t->nref; i++) {
    const int slot = t->ref[i].slot;
    p->operand[i] = slot < 0 ? NULL : &p->view[i];
    if (slot >= 0) snp_fill_view(&p->view[i], &t->ref[i], &p->shell[slot]);
  }
  for (int i = 0; i < t->nstep; i++) {
    const snp_step *s = &t->step[i];
    if (s->dead) continue;
    snp_exec *e = &p->exec[p->nexec++];
    memset(e, 0, sizeof *e);
    e->step = s;
    snp_fill_call(&e->call, t, s, &p->operand[s->in]);
    if (s->scratch) e->call.scratch = p->block + offset[t->nslot + i];
  }
}

static void *array(size_t n, size_t size, int *bad) {
  void *a = sn_calloc(n ? n : 1, size);
  if (a == NULL) *bad = 1;
  return a;
}

/* What both recordings met is captured; other tensors are views made anew in each call. */
static void keep_captured(snp_tape *t, const snp_tape *before) {
  for (int i = 0; i < t->nres; i++)
    if (t->given[i].t != before->given[i].t) {
      snt_release(t->given[i].t);
      t->given[i].t = NULL;
    }
  int n = 0;
  for (int i = 0; i < t->nquiet; i++) {
    int k = 0;
    while (k < before->nquiet && before->quiet[k] != t->quiet[i]) k++;
    if (k < before->nquiet) t->quiet[n++] = t->quiet[i];
    else snt_release(t->quiet[i]);
  }
  t->nquiet = n;
}

snp_prog *snp_build(snp_tape *t, const snp_tape *before) {
  int bad = 0;
  snp_prog *p = array(1, sizeof *p, &bad);
  if (p == NULL) { snp_tape_free(t); return NULL; }
  p->tape = t;
  p->isa = sn_isa();
  for (const snp_pass *s = snp_passes; !bad && s->name; s++)
    if (s->on && s->run && s->run(t) < 0) bad = 1;
  p->shell = array((size_t)t->nslot, sizeof *p->shell, &bad);
  p->constant = array((size_t)t->nslot, sizeof *p->constant, &bad);
  p->real = array((size_t)t->nslot, sizeof *p->real, &bad);
  p->view = array((size_t)t->nref, sizeof *p->view, &bad);
  p->operand = array((size_t)t->nref, sizeof *p->operand, &bad);
  p->exec = array((size_t)t->nstep, sizeof *p->exec, &bad);
  p->res = array((size_t)t->nres, sizeof *p->res, &bad);
  p->grad = array((size_t)t->nleaf, sizeof *p->grad, &bad);
  p->bound = array((size_t)t->nslot, sizeof *p->bound, &bad);
  p->fixed = array((size_t)t->nargs, sizeof *p->fixed, &bad);
  int64_t *offset = bad ? NULL : sn_malloc((size_t)(t->nslot + t->nstep + 1) * sizeof *offset);
  bad |= offset == NULL;
  if (!bad && snp_plan(t, offset, &p->bytes) < 0) bad = 1;
  if (!bad && (p->block = sn_alloc(p->bytes)) == NULL) bad = 1;
  if (!bad && build_slots(p, offset) < 0) bad = 1;
  if (!bad) {
    build_calls(p, offset);
    if (snp_hoist(p) < 0 || (snp_pass_on("prepack") && snp_prepack(p) < 0)) bad = 1;
    for (int i = 0; i < t->nslot; i++) {
      if (t->slot[i].kind == SNP_BOUND) p->bound[p->nbound++] = i;
      p->alias |= t->slot[i].written && (t->slot[i].kind == SNP_ARG || t->slot[i].kind == SNP_BOUND);
    }
    keep_captured(t, before);
    for (int i = 0; i < t->nslot; i++)
      if (t->slot[i].kind == SNP_ARG) {
        const int k = t->slot[i].arg;
        const bool same = before->slot[i].id == t->slot[i].id, there = before->arg_offset[k] == t->arg_offset[k];
        p->fixed[k] = !same ? SNP_FREE : there ? SNP_SAME_PLACE : SNP_SAME_STORAGE;
      }
  }
  sn_free(offset);
  if (!bad) return p;
  snp_prog_free(p);
  return NULL;
}

void snp_prog_free(snp_prog *p) {
  if (p == NULL) return;
  const snp_tape *t = p->tape;
  for (int i = 0; p->constant && i < t->nslot; i++) sn_free(p->constant[i]);
  for (int i = 0; p->real && i < t->nslot; i++) snt_storage_release(p->real[i]);
  for (int i = 0; p->res && i < t->nres; i++) snt_release(p->res[i]);
  for (int i = 0; p->grad && i < t->nleaf; i++) snt_release(p->grad[i]);
  if (p->block) sn_release(p->block, p->bytes);
  snp_prepack_free(p);
  sn_free(p->shell); sn_free(p->constant); sn_free(p->real); sn_free(p->view); sn_free(p->operand);
  sn_free(p->exec); sn_free(p->res); sn_free(p->grad); sn_free(p->fixed); sn_free(p->source); sn_free(p->bound);
  snp_tape_free(p->tape);
  sn_free(p);
}

/* ---- does it fit this call? */

/* Is an argument a tensor that the program knows as another, and one of the two is written? The passes took them for two. */
static bool aliased(const snp_prog *p, snt_tensor *const *args) {
  const snp_tape *t = p->tape;
  for (int i = 0; i < t->nslot && t->slot[i].kind == SNP_ARG; i++)
    for (int k = 0; k < p->nbound; k++) {
      const snp_slot *b = &t->slot[p->bound[k]];
      if (b->storage == args[t->slot[i].arg]->storage && (t->slot[i].written || b->written)) return true;
    }
  return false;
}

/* Is this gradient the view of an argument's or a bound tensor's memory that it was? */
static bool lies_at(const snp_tape *t, const snp_ref *r, const snt_tensor *g, snt_tensor *const *args) {
  const snp_slot *s = &t->slot[r->slot];
  const snt_tensor *a = s->kind == SNP_ARG ? args[s->arg] : NULL;
  return g->storage->id == (a ? a->storage->id : s->id) && g->offset == r->offset + (a ? a->offset : 0) &&
         memcmp(g->stride, r->stride, (size_t)g->ndim * sizeof *g->stride) == 0;
}

bool snp_tape_fits(const snp_tape *t, snt_tensor *const *args) {
  for (int i = 0; i < t->nflag; i++)
    if (__atomic_load_n(t->flag[i].at, __ATOMIC_RELAXED) != t->flag[i].value) return false;
  for (int i = 0; i < t->nleaf; i++) {
    const snp_leaf *l = &t->leaf[i];
    const snt_tensor *g = sno_grad_of(l->t);
    if (l->t->storage == NULL || sno_requires_grad(l->t) != l->tracked) return false;
    if (l->entry == SNP_GRAD_NONE && g != NULL) return false;
    if (l->arg >= 0 && args[l->arg] != l->t) return false; /* another parameter on the same memory */
    if (l->entry == SNP_GRAD_HAS && (g == NULL || !lies_at(t, &l->before, g, args))) return false;
  }
  for (int i = 0; i < t->nquiet; i++)
    if (sno_requires_grad(t->quiet[i])) return false;
  return true;
}

bool snp_fits(const snp_prog *p, snt_tensor *const *args) {
  const snp_tape *t = p->tape;
  if (!snp_tape_fits(t, args) || (t->halved && p->isa != sn_isa())) return false; /* tests change the instruction set */
  for (int i = 0; i < t->nslot && t->slot[i].kind == SNP_ARG; i++) {
    const int k = t->slot[i].arg;
    const snp_fixed fixed = p->fixed[k];
    if (fixed && args[k]->storage->id != t->slot[i].id) return false;
    if (fixed == SNP_SAME_PLACE && args[k]->offset != t->arg_offset[k]) return false; /* a captured tensor may be another part of it */
  }
  return !(p->alias && aliased(p, args));
}

/* ---- outputs: memory that is seen afterwards. Reused only when nobody but the program holds it. */

static bool ours_alone(const snp_prog *p, int slot) {
  const snp_tape *t = p->tape;
  int views = 0;
  for (int i = 0; i < t->nres; i++)
    if (t->res[i].slot == slot && p->res[i]) {
      if (p->res[i]->refs != 1) return false;
      views++;
    }
  for (int i = 0; i < t->nleaf; i++)
    if (t->leaf[i].grad.slot == slot && p->grad[i]) {
      const int held = sno_grad_of(t->leaf[i].t) == p->grad[i];
      if (p->grad[i]->refs != 1 + held) return false;
      views++;
    }
  return p->real[slot]->refs == 1 + views;
}

static int give_view(snt_tensor **at, snt_storage *s, const snp_ref *r) {
  snt_tensor *x = snt_from_storage(s, (sn_dtype)r->dtype, r->ndim, r->shape, r->stride, r->offset);
  if (x == NULL) return -1;
  snt_release(*at);
  *at = x;
  return 0;
}

static int ready_output(snp_prog *p, int slot) {
  const snp_tape *t = p->tape;
  if (p->real[slot] && ours_alone(p, slot)) {
    p->real[slot]->version++;
    return 0;
  }
  snt_storage *s = snt_storage_new(t->slot[slot].bytes);
  if (s == NULL) return -1;
  snt_storage_release(p->real[slot]);
  p->real[slot] = s;
  p->shell[slot].data = s->data;
  int rc = 0;
  for (int i = 0; i < t->nres && rc == 0; i++)
    if (t->res[i].slot == slot) rc = give_view(&p->res[i], s, &t->res[i]);
  for (int i = 0; i < t->nleaf && rc == 0; i++)
    if (t->leaf[i].grad.slot == slot) rc = give_view(&p->grad[i], s, &t->leaf[i].grad);
  if (rc < 0) { /* half done: the next run begins anew */
    snt_storage_release(s);
    p->real[slot] = NULL;
  }
  return rc;
}

static int bind(snp_prog *p, snt_tensor *const *args) {
  const snp_tape *t = p->tape;
  for (int i = 0; i < t->nslot; i++) {
    const snp_slot *s = &t->slot[i];
    if (s->kind == SNP_ARG) {
      const snt_tensor *a = args[s->arg];
      p->shell[i].data = a->storage->data + a->offset * (int64_t)sn_size_of((sn_dtype)a->dtype);
    } else if (s->kind == SNP_OUTPUT) {
      if (ready_output(p, i) < 0) return -1;
    } else if (s->kind == SNP_CONST && s->written) {
      memcpy(p->constant[i], s->data, s->bytes);
    }
  }
  return 0;
}

/* ---- replay */

/* What an operation must look at again (labels, indices): its shape rule runs once more on the present values. */
static int check_values(snp_exec *e) {
  snt_tensor *few[16], **in = few;
  sno_call c = e->call;
  if (c.nin > 16 && (in = sn_malloc((size_t)c.nin * sizeof *in)) == NULL) return -1;
  memcpy(in, c.in, (size_t)c.nin * sizeof *in);
  c.in = in;
  const size_t mark = sno_scope_open();
  const int rc = c.op->infer(&c);
  for (int k = 0; k < c.nout; k++) snt_release(c.want[k].alias);
  sno_scope_close(mark);
  if (in != few) sn_free(in);
  return rc;
}

static int run_steps(snp_prog *p, int from, int to) {
  sno_mode *mode = sno_mode_now();
  sn_fpmode saved = 0;
  int now = -1, rc = 0;
  for (int i = from; i < to && rc == 0; i++) {
    snp_exec *e = &p->exec[i];
    const snp_step *s = e->step;
    if (s->op == NULL) { s->run(s->host); continue; }
    if (s->op->flags & SNO_VALUES) {
      if (now >= 0) sn_fp_leave(saved);
      now = -1;
      if ((rc = check_values(e)) < 0) break;
    }
    if (s->op->flags & SNO_RANDOM) {
      e->call.rng = mode->rng;
      mode->rng.position += s->rng_blocks;
    }
    if (s->flush != now) {
      if (now >= 0) sn_fp_leave(saved);
      saved = sn_fp_enter(s->flush ? SN_FP_FLUSH : SN_FP_EXACT);
      now = s->flush;
    }
    const int64_t start = p->timing ? sn_clock_ns() : 0;
    s->op->forward(&e->call);
    if (p->timing) e->ns += (uint64_t)(sn_clock_ns() - start);
  }
  if (now >= 0) sn_fp_leave(saved);
  return rc;
}

/* Every storage that will be written gets a new version, as the eager operation would have given it. */
static void mark_writing(snp_prog *p, snt_tensor *const *args) {
  const snp_tape *t = p->tape;
  for (int i = 0; i < t->nslot; i++) {
    const snp_slot *s = &t->slot[i];
    if (s->written && (s->kind == SNP_BOUND || s->kind == SNP_ARG)) snt_storage_writing(s->kind == SNP_ARG ? args[s->arg]->storage : s->storage, "a compiled function");
  }
}

static snt_tensor *view_of(const snp_prog *p, const snp_ref *at, snt_tensor *const *args) {
  const snp_slot *s = &p->tape->slot[at->slot];
  const snt_tensor *a = s->kind == SNP_ARG ? args[s->arg] : NULL;
  return snt_from_storage(a ? a->storage : s->storage, (sn_dtype)at->dtype, at->ndim, at->shape, at->stride, at->offset + (a ? a->offset : 0));
}

static int hand_results(snp_prog *p, snt_tensor *const *args, snt_tensor **res) {
  const snp_tape *t = p->tape;
  for (int i = 0; i < t->nres; i++) {
    const snp_given *given = &t->given[i];
    if (t->slot[t->res[i].slot].kind == SNP_OUTPUT) res[i] = snt_retain(p->res[i]);
    else if (given->arg >= 0) res[i] = snt_retain(args[given->arg]);
    else if (given->t) res[i] = snt_retain(given->t);
    else res[i] = view_of(p, &t->res[i], args);
    if (res[i]) continue;
    while (i-- > 0) snt_release(res[i]);
    return -1;
  }
  return 0;
}

/* Results and gradients are made before a gradient is let go: they may lie in its memory. */
static int hand_out(snp_prog *p, snt_tensor *const *args, snt_tensor **res) {
  const snp_tape *t = p->tape;
  for (int i = 0; i < t->nleaf; i++) {
    const snp_ref *at = &t->leaf[i].grad;
    if (!t->leaf[i].has || at->slot < 0 || t->slot[at->slot].kind == SNP_OUTPUT) continue;
    snt_tensor *x = view_of(p, at, args); /* it was set by hand to a tensor from outside */
    if (x == NULL) return -1;
    snt_release(p->grad[i]);
    p->grad[i] = x;
  }
  if (hand_results(p, args, res) < 0) return -1;
  int rc = 0;
  for (int i = 0; i < t->nleaf && rc == 0; i++) {
    const snp_leaf *l = &t->leaf[i];
    snt_tensor *g = sno_grad_of(l->t);
    if (!l->has && g) rc = sno_set_grad(l->t, NULL);
    else if (l->has && l->grad.slot >= 0 && g != p->grad[i]) rc = sno_set_grad(l->t, p->grad[i]);
  }
  for (int i = 0; rc < 0 && i < t->nres; i++) snt_release(res[i]);
  return rc;
}

int snp_run(snp_prog *p, snt_tensor *const *args, snt_tensor **res) {
  if (sn_scratch_reserve(sn_scratch_most()) < 0 || bind(p, args) < 0) return -1;
  sno_effect(); /* from here on it cannot be tried once more */
  mark_writing(p, args);
  int rc = 0;
  if (p->npacked) snp_prepack_renew(p, false);
  if (p->nkept && !snp_hoist_fresh(p)) {
    rc = run_steps(p, 0, p->nkept);
    for (int i = 0; i < p->tape->nslot; i++) p->shell[i].version += p->tape->slot[i].kept;
  }
  if (p->npacked && p->nkept) snp_prepack_renew(p, true);
  if (rc == 0) rc = run_steps(p, p->nkept, p->nexec);
  p->runs++;
  return rc < 0 ? -1 : hand_out(p, args, res);
}
