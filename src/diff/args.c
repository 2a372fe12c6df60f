/* args.c - argument strings of descriptors and classes, parsed once each. Grammar: op.h. */
#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "diff/op.h"

#define TABLE 1024 /* open addressing by the string's address; far more than there are descriptors */

typedef struct parsed { const char *key; int n, nattr, ntensor; sno_arg *args; } parsed;
static _Atomic(parsed *) table[TABLE];

static const struct { const char *word; sno_kind kind; } kinds[] = {
  {"int", SNO_INT}, {"num", SNO_NUM}, {"bool", SNO_BOOL}, {"dim", SNO_DIM}, {"dims", SNO_DIMS}, {"ints", SNO_INTS},
  {"int2", SNO_INT2}, {"dtype", SNO_DTYPE}, {"pos", SNO_POS}, {"base", SNO_BASE}, {"slices", SNO_SLICES},
  {"foreign", SNO_FOREIGN}, {"string", SNO_STR},
};

/* Argument strings are ours and constant: a mistake in one is a bug, found by the first test that touches it. */
static _Noreturn void bad(const char *args, const char *word) {
  sn_fail("argument string \"%s\": cannot read \"%s\"", args, word);
  assert(false && "an argument string that cannot be read");
  __builtin_trap();
}

/* What is parsed is kept for good: a few hundred bytes that a process cannot go on without. */
static void *must(void *p) {
  assert(p);
  if (p == NULL) __builtin_trap();
  return p;
}

static char *copy(const char *s, size_t n) {
  char *p = must(malloc(n + 1));
  memcpy(p, s, n);
  p[n] = 0;
  return p;
}

static const char *const *split_words(const char *s, size_t n) {
  size_t count = 1, k = 0;
  for (size_t i = 0; i < n; i++) count += s[i] == '|';
  const char **w = must(calloc(count + 1, sizeof *w));
  for (size_t i = 0, from = 0; i <= n; i++)
    if (i == n || s[i] == '|') { w[k++] = copy(s + from, i - from); from = i + 1; }
  return w;
}

static void parse_default(sno_arg *a, const char *args, const char *text) {
  sno_val *v = &a->value;
  a->optional = a->has_default = true;
  v->absent = false;
  switch (a->kind) {
    case SNO_NUM: v->d = strtod(text, NULL); break;
    case SNO_BOOL: v->i = strcmp(text, "true") == 0; break;
    case SNO_STR:
      v->s = copy(text, strlen(text));
      for (const char *const *w = a->words; w && *w; w++)
        if (strcmp(*w, text) == 0) v->s = *w;
      break;
    case SNO_INT2: {
      v->n = 2;
      v->v[0] = strtoll(text, NULL, 10);
      const char *comma = strchr(text, ',');
      v->v[1] = comma ? strtoll(comma + 1, NULL, 10) : v->v[0];
      break;
    }
    case SNO_DTYPE: v->i = sn_dtype_find(text); break;
    case SNO_INTS: case SNO_DIMS: {
      char *end;
      for (const char *p = text; *p; p = *end ? end + 1 : end) v->v[v->n++] = strtoll(p, &end, 10);
      break;
    }
    case SNO_INT: case SNO_DIM: case SNO_POS: case SNO_BASE: v->i = strtoll(text, NULL, 10); break;
    default: bad(args, text);
  }
}

static void parse_word(sno_arg *a, const char *args, const char *w, size_t n) {
  char word[128];
  if (n >= sizeof word) bad(args, w);
  memcpy(word, w, n);
  word[n] = 0;
  memset(a, 0, sizeof *a);
  char *colon = strchr(word, ':');
  if (colon == NULL) {
    char last = word[n - 1];
    a->kind = last == '*' ? SNO_TENSORS : SNO_TENSOR;
    a->optional = last == '?';
    a->name = copy(word, n - (last == '*' || last == '?'));
    return;
  }
  a->name = copy(word, (size_t)(colon - word));
  char *kind = colon + 1, *eq = strchr(kind, '=');
  if (eq) *eq = 0;
  size_t len = strlen(kind);
  if (!eq && len && kind[len - 1] == '?') { a->optional = true; kind[--len] = 0; }
  if (strncmp(kind, "str(", 4) == 0) {
    a->kind = SNO_STR;
    a->words = split_words(kind + 4, len - 5);
  } else {
    size_t i = 0;
    while (i < sizeof kinds / sizeof *kinds && strcmp(kinds[i].word, kind) != 0) i++;
    if (i == sizeof kinds / sizeof *kinds) bad(args, kind);
    a->kind = kinds[i].kind;
  }
  a->value = (sno_val){.kind = (uint8_t)a->kind, .absent = true};
  if (a->kind == SNO_BASE) { a->optional = a->has_default = true; a->value.absent = false; }
  if (eq) parse_default(a, args, eq + 1);
}

static parsed *parse(const char *args) {
  parsed *p = must(calloc(1, sizeof *p));
  p->key = args;
  for (const char *s = args; *s;) {
    while (*s == ' ') s++;
    size_t n = strcspn(s, " ");
    if (n == 0) break;
    p->args = must(realloc(p->args, (size_t)(p->n + 1) * sizeof *p->args));
    sno_arg *a = &p->args[p->n++];
    parse_word(a, args, s, n);
    if (a->kind == SNO_TENSOR || a->kind == SNO_TENSORS) p->ntensor++;
    else p->nattr++;
    s += n;
  }
  return p;
}

static const parsed *lookup(const char *args) {
  size_t h = ((size_t)args >> 3) * 2654435761u;
  for (size_t i = 0; i < TABLE; i++) {
    _Atomic(parsed *) *slot = &table[(h + i) % TABLE];
    parsed *p = atomic_load_explicit(slot, memory_order_acquire);
    if (p == NULL) {
      parsed *fresh = parse(args), *none = NULL;
      if (atomic_compare_exchange_strong(slot, &none, fresh)) return fresh;
      p = none; /* another thread was first; the few bytes of ours stay behind */
    }
    if (p->key == args) return p;
  }
  bad(args, "more argument strings than the table holds");
}

const sno_arg *sno_parse_args(const char *args, int *n) {
  const parsed *p = lookup(args);
  *n = p->n;
  return p->args;
}

const sno_arg *sno_args(const sno_op *op, int *n) { return sno_parse_args(op->args, n); }
int sno_nattr(const sno_op *op) { return lookup(op->args)->nattr; }

sno_val sno_ints(int n, const int64_t *v) {
  sno_val r = {.kind = SNO_INTS, .n = (uint8_t)n};
  for (int i = 0; i < n; i++) r.v[i] = v[i];
  return r;
}

sno_foreign *sno_foreign_retain(sno_foreign *f) {
  if (f) __atomic_add_fetch(&f->refs, 1, __ATOMIC_RELAXED);
  return f;
}

void sno_foreign_release(sno_foreign *f) {
  if (f && __atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL) == 0) f->free(f);
}
