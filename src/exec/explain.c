/* explain.c - what a program does, told step by step: shapes, what was joined, the work of each step (diff's sno_work_of), times. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "exec/prog.h"

int snp_steps(const snp_func *f) {
  const snp_prog *p = snp_newest(f);
  return p ? p->nexec : -1;
}

snp_step_told snp_step_of(const snp_func *f, int i) {
  const snp_prog *p = snp_newest(f);
  const snp_exec *e = &p->exec[i];
  snp_step_told s = {.op = e->step->op ? e->step->op->name : "(host)", .us = p->timing && p->runs ? (double)e->ns / 1e3 / (double)p->runs : -1};
  if (e->step->op) s.work = sno_work_of(&e->call);
  return s;
}

typedef struct text { char *s; size_t n, room; bool bad; } text;
static void say(text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(text *t, const char *fmt, ...) {
  char line[512];
  va_list ap;
  va_start(ap, fmt);
  const int n = vsnprintf(line, sizeof line, fmt, ap);
  va_end(ap);
  const size_t len = n < 0 ? 0 : (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
  if (t->n + len + 1 > t->room) {
    char *s = sn_realloc(t->s, (t->n + len + 1) * 2);
    if (s == NULL) { t->bad = true; return; }
    t->s = s;
    t->room = (t->n + len + 1) * 2;
  }
  memcpy(t->s + t->n, line, len);
  t->n += len;
  t->s[t->n] = 0;
}

/* With the prefix that leaves it between 1 and 1,000. */
static void say_scaled(text *t, const char *before, double n, const char *unit) {
  static const char *const prefix[] = {"", "k", "M", "G", "T"};
  int i = 0;
  for (; n >= 1000 && i < 4; i++) n /= 1000;
  say(t, "%s%.4g %s%s", before, n, prefix[i], unit);
}

static void say_work(text *t, const char *before, sno_work w) {
  if (w.flops > 0) say_scaled(t, before, w.flops, "FLOP");
  say_scaled(t, w.flops > 0 ? ", " : before, w.read + w.written, "B");
}

static void say_step(text *out, const snp_prog *p, int i, sno_work work, bool timed) {
  static const char *const kinds[] = {"argument", "bound", "constant", "block", "result"};
  const snp_tape *t = p->tape;
  const snp_step *s = p->exec[i].step;
  const char *links[64];
  const int n = s->op == &snp_op_chain ? snp_chain_names(t, s, links, 64) : 0;
  say(out, "%4d  %-24s", i + 1, s->op ? s->op->name : "(host)");
  for (int k = 0; k < n; k++) say(out, "%s%s", k ? "+" : "[", links[k]);
  if (n) say(out, "]");
  for (int k = 0; k < s->nin + s->nout; k++) {
    const snp_ref *r = &t->ref[s->in + k];
    if (k == s->nin) say(out, " ->");
    if (r->slot < 0) say(out, " -");
    else say(out, " %s:%s%s", kinds[t->slot[r->slot].kind], snt_shape_str(r->ndim, r->shape, (char[96]){0}, 96), r->dtype == SN_BF16 ? ":bfloat16" : "");
  }
  if (s->op) say_work(out, "  ", work);
  if (s->half) say(out, "  of bfloat16 numbers");
  if (s->round) say(out, "  rounded to bfloat16");
  if (s->round_weight) say(out, "  of a rounded weight");
  if (s->kept) say(out, "  kept until what it reads changes");
  if (p->exec[i].packed) say(out, "  weight packed");
  if (timed && p->runs) say(out, "  %.2f us", (double)p->exec[i].ns / 1e3 / (double)p->runs);
  say(out, "\n");
}

char *snp_explain(const snp_func *f, bool timed) {
  const snp_prog *p = snp_newest(f);
  if (p == NULL) return NULL;
  const snp_tape *t = p->tape;
  text out = {0};
  size_t between = 0;
  sno_work all = {0};
  for (int i = 0; i < t->nslot; i++)
    if (t->slot[i].kind == SNP_INTERNAL && p->shell[i].data) between += t->slot[i].bytes;
  for (int i = 0; i < p->nexec; i++) {
    const sno_work w = snp_step_of(f, i).work;
    all.flops += w.flops, all.read += w.read, all.written += w.written;
  }
  say(&out, "program: %d steps of %d recorded", p->nexec, t->nstep);
  say_work(&out, ", ", all);
  say(&out, " moved, one block of %zu bytes for %zu bytes of intermediates, %llu runs\n", p->bytes, between, (unsigned long long)p->runs);
  for (int i = 0; i < p->nexec; i++) say_step(&out, p, i, snp_step_of(f, i).work, timed);
  if (out.bad) { sn_free(out.s); return NULL; }
  return out.s;
}
