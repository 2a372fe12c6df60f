/* chain.c - neighbouring elementwise steps over the same elements become one step that runs tile by tile: what only passes between them stays
 * in the first cache and needs no place in the block. The same row kernels run on the same numbers, so no bit changes. Casts between float and
 * bfloat16 are links too: what autocast casts there and back is rounded on its way. A sum or mean of what a link gives, over all elements or the
 * last dimensions, may end the chain: tiles are then the blocks that the sum adds up by itself. Steps that have nothing to do with a chain may
 * stand in it; it runs where its last link stood. */
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "base/thread.h"
#include "calc/cast.h"
#include "calc/map.h"
#include "diff/map.h"
#include "diff/ops.h"
#include "diff/reduce.h"
#include "exec/record.h"

enum { MOST_LINKS = 24, MOST_ENDS = 24, MOST_TEMPS = 6, TILE = SNK_BLOCK, MOST_BETWEEN = 6 };

/* Where a link's operand lies: an operand of the whole step (inputs, then outputs), or a tile of the worker's own. */
typedef struct place { bool temp; int at; int64_t step; } place;
typedef struct link { snk_row *row; int nin; place to, in[3]; double param[SNO_MAXATTR]; const char *name; } link;

typedef struct chain {
  sno_foreign base;        /* first */
  const char *sum;         /* NULL, or the name of the operation that ends it: */
  place summed;
  int64_t lines, line;     /* so many sums of so many elements each */
  bool f64, mean;
  int64_t count;           /* elements */
  int n;
  link l[];
} chain;

static void free_chain(sno_foreign *f) { sn_free(f); }

typedef struct tiles { _Alignas(64) char at[MOST_TEMPS][TILE * 8]; } tiles;
typedef struct work { const chain *c; char **base; snt_tensor *sums; double *part; int64_t blocks, side; } work;

static inline char *lies(const work *w, tiles *t, const place *q, int64_t i) { return q->temp ? t->at[q->at] : w->base[q->at] + i * q->step; }

/* Elements i .. i+n-1, of one tile. */
static void run_links(const work *w, tiles *t, int64_t i, int64_t n) {
  const chain *c = w->c;
  for (int k = 0; k < c->n; k++) {
    const link *l = &c->l[k];
    char *p[4];
    int64_t s[4];
    for (int j = 0; j <= l->nin; j++) {
      const place *q = j == 0 ? &l->to : &l->in[j - 1];
      p[j] = lies(w, t, q, i);
      s[j] = q->step;
    }
    l->row(n, p, s, l->param);
  }
}

static void run_tiles(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  tiles t;
  for (int64_t i = begin; i < end; i += TILE) run_links(ctx, &t, i, end - i < TILE ? end - i : TILE);
}

static double sum_of(const chain *c, int64_t n, const char *x) {
  const snk_reduce *k = snk_reduce_now();
  return c->f64 ? k->row_f64(SNK_SUM, n, (const double *)(const void *)x) : (double)k->row_f32(SNK_SUM, n, (const float *)(const void *)x);
}

static double divisor(const chain *c) { return c->mean ? (double)c->line : 1; }

/* Pieces of a long line, block by block, or some short lines at a time. */
static void run_lines(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const work *w = ctx;
  const chain *c = w->c;
  tiles t;
  for (int64_t q = begin; q < end; q++) {
    const int64_t o = q / w->blocks * w->side, b = q % w->blocks, i = o * c->line + b * TILE;
    const int64_t lines = c->lines - o < w->side ? c->lines - o : w->side, left = lines * c->line - b * TILE;
    run_links(w, &t, i, left < TILE ? left : TILE);
    const char *x = lies(w, &t, &c->summed, i);
    if (w->blocks > 1) w->part[q] = sum_of(c, left < TILE ? left : TILE, x);
    else
      for (int64_t k = 0; k < lines; k++) sno_reduce_store(w->sums, o + k, sum_of(c, c->line, x + k * c->line * c->summed.step), divisor(c));
  }
}

static void combine(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const work *w = ctx;
  for (int64_t o = begin; o < end; o++)
    sno_reduce_store(w->sums, o, snk_reduce_now()->fold(SNK_SUM, w->blocks, w->part + o * w->blocks, w->c->f64), divisor(w->c));
}

static void forward_chain(sno_call *call) {
  char *base[2 * MOST_ENDS];
  for (int i = 0; i < call->nin; i++) base[i] = snt_data(call->in[i]);
  for (int k = 0; k < call->nout; k++) base[call->nin + k] = snt_data(call->out[k]);
  const chain *c = (const chain *)(const void *)call->attr[0].p;
  work w = {.c = c, .base = base, .sums = call->out[call->nout - 1], .part = call->scratch, .blocks = (c->line + TILE - 1) / TILE, .side = 1};
  if (c->sum == NULL) {
    sn_parallel(c->count, 16 * TILE, run_tiles, &w);
    return;
  }
  if (c->line < TILE) w.side = TILE / c->line;
  sn_parallel((c->lines + w.side - 1) / w.side * w.blocks, 16, run_lines, &w);
  if (w.blocks > 1) sn_parallel(c->lines, 1 + 32 * TILE / w.blocks, combine, &w);
}

static int infer_chain(sno_call *c) {
  (void)c;
  return sn_fail("chain: only programs call it");
}
const sno_op snp_op_chain = {.name = "chain", .args = "xs* links:foreign", .flags = SNO_HIDDEN | SNO_NODIFF, .nout = 1, .infer = infer_chain, .forward = forward_chain};

int snp_chain_names(const snp_tape *t, const snp_step *s, const char **names, int most) {
  const chain *c = (const chain *)(const void *)t->attr[s->attr].p;
  int n = 0;
  for (; n < c->n && n < most; n++) names[n] = c->l[n].name;
  if (c->sum && n < most) names[n++] = c->sum;
  return n;
}

bool snp_chain_rounds(const snp_tape *t, const snp_step *s) {
  const chain *c = (const chain *)(const void *)t->attr[s->attr].p;
  bool rounds = false;
  for (int k = 0; k < c->n; k++)
    if (!c->l[k].to.temp && c->l[k].to.at == s->nin) rounds = strcmp(c->l[k].name, "round") == 0;
  return rounds;
}

/* Within a tile an operand may be gone once nothing reads it any more. */
bool snp_chain_over(const snp_tape *t, const snp_step *s, int out, int in) {
  const chain *c = (const chain *)(const void *)t->attr[s->attr].p;
  int written = -1, read = -1;
  for (int k = 0; k < c->n; k++) {
    if (!c->l[k].to.temp && c->l[k].to.at == s->nin + out) written = k;
    for (int j = 0; j < c->l[k].nin; j++)
      if (!c->l[k].in[j].temp && c->l[k].in[j].at == in) read = k;
  }
  return written >= read;
}

/* ---- finding them */

static int64_t count_of(const snp_ref *r) { return snt_count(r->ndim, r->shape); }

static void widen_row(int64_t n, char *const *p, const int64_t *s, const double *param) {
  (void)param;
  snk_cast_row(n, p[0], s[0], SN_F32, p[1], s[1], SN_BF16);
}
static void narrow_row(int64_t n, char *const *p, const int64_t *s, const double *param) {
  (void)param;
  snk_cast_row(n, p[0], s[0], SN_BF16, p[1], s[1], SN_F32);
}

/* One after the other: what comes back is the float rounded. */
static void round_row(int64_t n, char *const *p, const int64_t *s, const double *param) {
  (void)param;
  if (s[0] == 4 && s[1] == 4) snk_cast_now()->round_bf16(n, (const float *)(const void *)p[1], (float *)(void *)p[0]);
  else
    for (int64_t i = 0; i < n; i++) snk_cast_now()->round_bf16(1, (const float *)(const void *)(p[1] + i * s[1]), (float *)(void *)(p[0] + i * s[0]));
}

static bool is_cast(const snp_tape *t, const snp_step *s) {
  const uint8_t y = t->ref[s->out].dtype, x = t->ref[s->in].dtype;
  return s->op == &sno_op_to && ((x == SN_F32 && y == SN_BF16) || (x == SN_BF16 && y == SN_F32));
}

static int64_t size_of(const snp_ref *r) { return (int64_t)sn_size_of((sn_dtype)r->dtype); }

static bool can_link(const snp_tape *t, const snp_step *s, const snp_step *first) {
  if (s->dead || !s->op) return false;
  const bool cast = is_cast(t, s);
  if (!cast && (!sno_is_map(s->op) || (s->op->flags & SNO_WRITES) || s->nin > 3)) return false;
  const snp_ref *y = &t->ref[s->out], *f = &t->ref[first->out];
  if (!cast && y->dtype != SN_F32 && y->dtype != SN_F64) return false;
  if ((y->dtype == SN_F64) != (f->dtype == SN_F64) || s->flush != first->flush) return false;
  if (y->ndim != f->ndim || memcmp(y->shape, f->shape, sizeof y->shape) != 0 || !snp_ref_dense(y) || count_of(y) == 0) return false;
  for (int i = 0; i < s->nin; i++) {
    const snp_ref *x = &t->ref[s->in + i];
    if (x->slot < 0 || (!cast && x->dtype != y->dtype)) return false;
    if (count_of(x) != 1 && !(x->ndim == y->ndim && memcmp(x->shape, y->shape, sizeof x->shape) == 0 && snp_ref_dense(x))) return false;
  }
  return true;
}

typedef struct finder {
  snp_tape *t;
  int *last;               /* by slot: the last live step that reads or gives it */
  int n, step[MOST_LINKS]; /* the links found */
  int sum;                 /* the step that sums what one of them gives, behind them all; -1 */
  int to;                  /* the last of them */
} finder;

/* A result that nothing outside the group sees: made here, read whole and only here. */
static bool passes_through(const finder *f, const snp_ref *y) {
  const snp_slot *s = &f->t->slot[y->slot];
  return s->kind == SNP_INTERNAL && !s->written && f->last[y->slot] <= f->to && y->offset == 0;
}

static int same_end(const snp_tape *t, const int *end, int n, const snp_ref *x) {
  for (int i = 0; i < n; i++)
    if (memcmp(&t->ref[end[i]], x, sizeof *x) == 0) return i;
  return -1;
}

/* A link that makes bfloat16 for the next one alone, which makes floats of it again: both are one. */
static void join_casts(chain *c) {
  int n = 0;
  for (int k = 0; k < c->n; k++) {
    link *l = &c->l[k], *m = k + 1 < c->n ? &c->l[k + 1] : NULL;
    bool pair = m && l->row == narrow_row && m->row == widen_row && l->to.temp && m->in[0].temp && m->in[0].at == l->to.at;
    bool over = false; /* before anyone else reads it, the tile is written again */
    for (int q = k + 2; pair && !over && q < c->n; q++) {
      for (int j = 0; j < c->l[q].nin; j++) pair = pair && !(c->l[q].in[j].temp && c->l[q].in[j].at == l->to.at);
      over = c->l[q].to.temp && c->l[q].to.at == l->to.at;
    }
    if (pair && m->to.temp && m->to.at == l->to.at) pair = false;
    c->l[n] = *l;
    if (pair) {
      c->l[n].row = round_row;
      c->l[n].to = m->to;
      c->l[n].name = "round";
      k++;
    }
    n++;
  }
  c->n = n;
}

/* Does s sum all that a link gives, or its last dimensions? Sets how many sums there are, and of how many. */
static bool ends(const finder *f, const snp_step *s, int64_t *lines, int64_t *line) {
  const snp_tape *t = f->t;
  const snp_step *first = &t->step[f->step[0]];
  const snp_ref *x = &t->ref[s->in], *y = &t->ref[s->out];
  unsigned mask;
  if (s->op == NULL || s->round || s->flush != first->flush || !sno_is_sum(s->op, &t->attr[s->attr], x->ndim, &mask)) return false;
  if (x->dtype != y->dtype || (x->dtype != SN_F32 && x->dtype != SN_F64)) return false;
  bool given = false;
  for (int m = 0; m < f->n; m++) given |= memcmp(&t->ref[t->step[f->step[m]].out], x, sizeof *x) == 0;
  *lines = *line = 1;
  for (int d = 0; given && d < x->ndim; d++) {
    if (x->shape[d] == 1) continue;
    if (mask >> d & 1) *line *= x->shape[d];
    else if (*line > 1) return false;
    else *lines *= x->shape[d];
  }
  return given;
}

/* Where the numbers to be summed lie, once the links have their places. */
static bool set_sum(const finder *f, chain *c, const int *temp_slot, int ntemp, const int *out, int nout) {
  const snp_tape *t = f->t;
  const snp_step *s = &t->step[f->sum];
  const snp_ref *x = &t->ref[s->in];
  if (nout == MOST_ENDS || nout == SNO_MAXOUT || !ends(f, s, &c->lines, &c->line)) return false;
  int k = 0;
  while (k < ntemp && temp_slot[k] != x->slot) k++;
  const int o = same_end(t, out, nout, x);
  if (k == ntemp && o < 0) return false;
  c->summed = k < ntemp ? (place){true, k, size_of(x)} : (place){false, -1 - o, size_of(x)};
  c->sum = s->op->name;
  c->mean = s->op == &sno_op_mean;
  c->f64 = x->dtype == SN_F64;
  return true;
}

/* The links as one step. 1 if it was done, 0 if it does not fit, -1 after sn_fail. */
static int fuse(finder *f) {
  snp_tape *t = f->t;
  if (f->n < 2 && f->sum < 0) return 0;
  int in[MOST_ENDS], nin = 0, out[MOST_ENDS], nout = 0, temp_slot[MOST_TEMPS], ntemp = 0;
  chain *c = sn_calloc(1, sizeof *c + (size_t)f->n * sizeof(link));
  if (c == NULL) return -1;
  c->base = (sno_foreign){.refs = 1, .free = free_chain};
  c->count = count_of(&t->ref[t->step[f->step[0]].out]);
  for (int k = 0; k < MOST_TEMPS; k++) temp_slot[k] = -1;
  for (int m = 0; m < f->n; m++) {
    const int i = f->step[m];
    const snp_step *s = &t->step[i];
    link *l = &c->l[c->n++];
    const snp_ref *y = &t->ref[s->out];
    const bool cast = is_cast(t, s);
    l->row = cast ? y->dtype == SN_F32 ? widen_row : narrow_row : snk_map_row(sno_map_of(s->op)->row, (sn_dtype)y->dtype);
    l->nin = s->nin;
    l->name = s->op->name;
    if (!cast) sno_map_params(s->op, &t->attr[s->attr], l->param);
    for (int j = 0; j < s->nin; j++) {
      const snp_ref *x = &t->ref[s->in + j];
      int at = -1;
      for (int k = 0; k < ntemp; k++)
        if (temp_slot[k] == x->slot) at = k;
      const int o = at < 0 ? same_end(t, out, nout, x) : -1;
      if (at >= 0) l->in[j] = (place){true, at, size_of(x)};
      else if (o >= 0) l->in[j] = (place){false, -1 - o, size_of(x)}; /* the place of an output: its number is known at the end */
      else {
        int e = same_end(t, in, nin, x);
        for (int k = 0; k < nout; k++) /* another view of something written here */
          if (t->ref[out[k]].slot == x->slot) goto no;
        if (e < 0) {
          if (nin == MOST_ENDS) goto no;
          in[e = nin++] = s->in + j;
        }
        l->in[j] = (place){false, e, count_of(x) == 1 && count_of(y) != 1 ? 0 : size_of(x)};
      }
    }
    if (passes_through(f, y)) {
      int k = 0;
      while (k < ntemp && !(temp_slot[k] < 0 || f->last[temp_slot[k]] < i + !cast)) k++; /* no longer read; a cast cannot write over its operand */
      if (k == MOST_TEMPS) goto no;
      if (k == ntemp) ntemp++;
      temp_slot[k] = y->slot;
      l->to = (place){true, k, size_of(y)};
    } else {
      for (int k = 0; k < nin; k++)
        if (t->ref[in[k]].slot == y->slot) goto no;
      for (int k = 0; k < nout; k++)
        if (t->ref[out[k]].slot == y->slot) goto no;
      if (nout == MOST_ENDS || nout == SNO_MAXOUT) goto no;
      out[nout] = s->out;
      l->to = (place){false, -1 - nout++, size_of(y)};
    }
  }
  if (f->sum >= 0 && !set_sum(f, c, temp_slot, ntemp, out, nout)) goto no;
  if (f->sum >= 0) out[nout++] = t->step[f->sum].out;
  if (nout == 0 || nin == 0) goto no;
  join_casts(c);
  for (int k = 0; k < c->n; k++)
    for (int j = -1; j < c->l[k].nin; j++) {
      place *q = j < 0 ? &c->l[k].to : &c->l[k].in[j];
      if (!q->temp && q->at < 0) q->at = nin + (-1 - q->at);
    }
  if (f->sum >= 0 && !c->summed.temp) c->summed.at = nin + (-1 - c->summed.at);
  if (snp_tape_room(t, nin + nout, 1) < 0) goto bad;
  snp_step *s = &t->step[f->to];
  const bool flush = s->flush;
  for (int m = 0; m < f->n; m++) t->step[f->step[m]].dead = true;
  memset(s, 0, sizeof *s);
  if (c->line > TILE) s->scratch = (size_t)(c->lines * ((c->line + TILE - 1) / TILE)) * sizeof(double);
  s->op = &snp_op_chain;
  s->flush = flush;
  s->nin = s->nlist = nin, s->nout = nout, s->nattr = 1;
  s->in = t->nref, s->out = t->nref + nin, s->attr = t->nattr;
  for (int k = 0; k < nin; k++) t->ref[t->nref++] = t->ref[in[k]];
  for (int k = 0; k < nout; k++) t->ref[t->nref++] = t->ref[out[k]];
  t->attr[t->nattr++] = (sno_val){.kind = SNO_FOREIGN, .p = &c->base};
  return 1;
bad:
  sn_free(c);
  return -1;
no:
  sn_free(c);
  return 0;
}

static void note_last(const snp_tape *t, int *last) {
  for (int i = 0; i < t->nslot; i++) last[i] = -1;
  for (int i = 0; i < t->nstep; i++)
    for (int k = 0; !t->step[i].dead && k < t->step[i].nin + t->step[i].nout; k++)
      if (t->ref[t->step[i].in + k].slot >= 0) last[t->ref[t->step[i].in + k].slot] = i;
}

/* May step s stay where it is while the links run behind it? It sees nothing of theirs and writes nothing they read. */
static bool apart(const finder *f, const snp_step *s) {
  const snp_tape *t = f->t;
  if (s->op == NULL) return false;
  for (int m = 0; m < f->n; m++) {
    const snp_step *l = &t->step[f->step[m]];
    for (int j = 0; j < s->nin + s->nout; j++) {
      const int slot = t->ref[s->in + j].slot;
      if (slot == t->ref[l->out].slot) return false;
      for (int k = 0; (s->op->flags & SNO_WRITES) && k < l->nin; k++)
        if (slot >= 0 && slot == t->ref[l->in + k].slot) return false;
    }
  }
  return true;
}

static void collect(finder *f, int i) {
  const snp_tape *t = f->t;
  int64_t lines, line;
  f->sum = -1;
  f->n = 1;
  f->step[0] = f->to = i;
  for (int k = i + 1, between = 0; k < t->nstep && f->n < MOST_LINKS; k++) {
    if (t->step[k].dead) continue;
    if (can_link(t, &t->step[k], &t->step[i])) f->step[f->n++] = f->to = k;
    else if (ends(f, &t->step[k], &lines, &line)) {
      f->sum = f->to = k;
      break;
    } else if (++between > MOST_BETWEEN || !apart(f, &t->step[k])) break;
  }
}

int snp_pass_chain(snp_tape *t) {
  finder f = {.t = t, .last = sn_malloc(((size_t)t->nslot + 1) * sizeof *f.last)};
  if (f.last == NULL) return -1;
  note_last(t, f.last);
  int rc = 0;
  for (int i = 0; i < t->nstep && rc >= 0; i++) {
    if (t->step[i].dead || !can_link(t, &t->step[i], &t->step[i])) continue;
    collect(&f, i);
    rc = fuse(&f);
    if (rc > 0) note_last(t, f.last); /* what the links read is read where the last of them stood */
  }
  sn_free(f.last);
  return rc < 0 ? -1 : 0;
}
