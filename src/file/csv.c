/* csv.c - tables of numbers and words: fields apart by a separator, in quotes where they hold it; two quotes in quotes are one. The first walk reads
 * numbers and finds out which columns hold words; only if there are such a second one collects them. */
#include "file/csv.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/error.h"
#include "base/mem.h"
#include "file/number.h"

#define MAX_COLS (1 << 20)

typedef struct parser {
  char *p, *end;
  char sep;
  int64_t line;          /* of p, from 1 */
  const snf_csv_options *o;
  snf_csv *c;
  int64_t cap;           /* rows there is room for */
  int64_t *hole;         /* by column: line of the first empty field, 0 if none */
} parser;

typedef struct cell { char *p; size_t n; bool quoted, doubled; } cell;

static int fail_at(const parser *s, int64_t line, const char *what) { return sn_fail_io("%s:%lld: %s", s->c->who, (long long)line, what); }

static bool at_line_end(const parser *s, const char *p) { return p == s->end || *p == '\n' || *p == '\r'; }

static bool is_space(const parser *s, char c) { return (c == ' ' || c == '\t') && c != s->sep; }

/* Behind the end of the line. */
static void next_line(parser *s) {
  if (s->p < s->end && *s->p == '\r') s->p++;
  if (s->p < s->end && *s->p == '\n') s->p++;
  s->line++;
}

/* ---- one field; p is left at its separator or at the end of the line */

static int quoted_cell(parser *s, cell *f) {
  const int64_t first = s->line;
  f->quoted = true;
  f->p = ++s->p;
  for (;; s->p++) {
    if (s->p >= s->end) return fail_at(s, first, "a quote that is never closed");
    if (*s->p == '\n') s->line++;
    if (*s->p != '"') continue;
    if (s->p + 1 >= s->end || s->p[1] != '"') break;
    f->doubled = true;
    s->p++;
  }
  f->n = (size_t)(s->p++ - f->p);
  while (s->p < s->end && is_space(s, *s->p)) s->p++;
  if (!at_line_end(s, s->p) && *s->p != s->sep) return fail_at(s, s->line, "text after a closing quote; a quote inside quotes is written twice");
  return 0;
}

static int read_cell(parser *s, cell *f) {
  while (s->p < s->end && is_space(s, *s->p)) s->p++;
  f->quoted = f->doubled = false;
  if (s->p < s->end && *s->p == '"') return quoted_cell(s, f);
  f->p = s->p;
  while (!at_line_end(s, s->p) && *s->p != s->sep) s->p++;
  f->n = (size_t)(s->p - f->p);
  while (f->n > 0 && is_space(s, f->p[f->n - 1])) f->n--;
  return 0;
}

static bool is_missing(const cell *f) {
  static const char *const words[] = {"NA", "N/A", "nan", "null", "?"};
  if (f->n == 0) return true;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (f->n == strlen(words[i]) && strncasecmp(f->p, words[i], f->n) == 0) return true;
  return false;
}

static bool cell_number(const cell *f, double *v) {
  const char *end = f->p + f->n;
  if (snf_number(f->p, end, v) == end) return true;
  const size_t sign = f->n > 0 && (f->p[0] == '-' || f->p[0] == '+');
  if ((f->n - sign == 3 && strncasecmp(f->p + sign, "inf", 3) == 0) || (f->n - sign == 8 && strncasecmp(f->p + sign, "infinity", 8) == 0)) {
    *v = sign && f->p[0] == '-' ? -(double)INFINITY : (double)INFINITY;
    return true;
  }
  return false;
}

/* The cell as text; doubled quotes are taken out in place, once. */
static snf_str cell_text(const cell *f) {
  if (!f->doubled) return (snf_str){f->p, f->n};
  size_t n = 0;
  for (size_t i = 0; i < f->n; i++, n++) {
    f->p[n] = f->p[i];
    if (f->p[i] == '"') i++;
  }
  return (snf_str){f->p, n};
}

/* ---- the first line */

/* The cells of the line at p, at most `max` of them stored; how many. */
static int64_t read_line(parser *s, cell *to, int64_t max) {
  for (int64_t n = 0;; s->p++) {
    cell f;
    if (read_cell(s, &f) < 0) return -1;
    if (n < max) to[n] = f;
    n++;
    if (at_line_end(s, s->p)) return n;
    if (n > MAX_COLS) return fail_at(s, s->line, "more than a million fields in a line");
  }
}

static void skip_blank(parser *s) {
  while (s->p < s->end) {
    char *p = s->p;
    while (p < s->end && is_space(s, *p)) p++;
    if (p == s->end) s->p = p;
    if (p == s->end || !at_line_end(s, p)) return;
    s->p = p;
    next_line(s);
  }
}

static bool any_number(const cell *f, int64_t n) {
  double v;
  for (int64_t i = 0; i < n; i++)
    if (!f[i].quoted && cell_number(&f[i], &v)) return true;
  return false;
}

/* Columns are as many as fields of the first line, which may be the header. */
static int read_first(parser *s) {
  snf_csv *c = s->c;
  skip_blank(s);
  if (s->p == s->end) return sn_fail_io("%s: there are no rows in it", c->who);
  char *from = s->p;
  const int64_t line = s->line, n = read_line(s, NULL, 0);
  if (n < 0) return -1;
  cell *f = sn_malloc((size_t)n * sizeof *f);
  if (f == NULL) return -1;
  s->p = from;
  s->line = line;
  read_line(s, f, n); /* it went well before */
  c->cols = (int)n;
  c->text_at = sn_malloc((size_t)n * sizeof *c->text_at);
  s->hole = sn_calloc((size_t)n, sizeof *s->hole);
  int rc = c->text_at && s->hole ? 0 : -1;
  const bool header = s->o->header < 0 ? !any_number(f, n) : s->o->header;
  if (rc == 0 && header) rc = (c->names = sn_malloc((size_t)n * sizeof *c->names)) ? 0 : -1;
  for (int64_t i = 0; rc == 0 && i < n; i++) {
    c->text_at[i] = -1;
    if (header) c->names[i] = cell_text(&f[i]);
  }
  sn_free(f);
  if (header) next_line(s);
  else {
    s->p = from;
    s->line = line;
  }
  return rc;
}

int snf_csv_column(const snf_csv *c, const snf_pick *p) {
  if (p->name.p == NULL) {
    const int64_t i = p->index < 0 ? p->index + c->cols : p->index - 1;
    if (i < 0 || i >= c->cols) return sn_fail("%s: there is no column %lld, the table has %d", c->who, (long long)p->index, c->cols);
    return (int)i;
  }
  if (c->names == NULL)
    return sn_fail("%s: a column '%s' was asked for, but the table has no header; columns have numbers then", c->who, SNF_SHOW(p->name));
  for (int i = 0; i < c->cols; i++)
    if (c->names[i].n == p->name.n && memcmp(c->names[i].p, p->name.p, p->name.n) == 0) return i;
  char list[256];
  size_t at = 0;
  list[0] = 0;
  for (int i = 0; i < c->cols && at < 150; i++) at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", SNF_SHOW(c->names[i]));
  return sn_fail("%s: there is no column '%s'; there are: %s", c->who, SNF_SHOW(p->name), list);
}

/* ---- rows */

static int grow_rows(parser *s) {
  snf_csv *c = s->c;
  const int64_t cap = s->cap ? s->cap * 2 : 256;
  void *v = sn_realloc(c->values, (size_t)cap * (size_t)c->cols * sizeof *c->values);
  if (v == NULL) return -1;
  c->values = v;
  if ((v = sn_realloc(c->lines, (size_t)cap * sizeof *c->lines)) == NULL) return -1;
  c->lines = v;
  s->cap = cap;
  return 0;
}

/* A field that is no plain number: empty, in quotes, or a word, which makes its column one of words. */
static int other_field(parser *s, int col, double *v) {
  cell f;
  if (read_cell(s, &f) < 0) return -1;
  if (s->c->text_at[col] >= 0) return 0;
  if (is_missing(&f)) {
    *v = s->o->missing;
    if (s->hole[col] == 0) s->hole[col] = s->line;
  } else if (!cell_number(&f, v)) {
    s->c->text_at[col] = s->c->ntext++;
  }
  return 0;
}

static int count_fault(const parser *s, int64_t line, int64_t n) {
  char text[96];
  snprintf(text, sizeof text, "%lld field%s, the lines before have %d", (long long)n, n == 1 ? "" : "s", s->c->cols);
  return fail_at(s, line, text);
}

static int read_row(parser *s) {
  snf_csv *c = s->c;
  if (c->rows == s->cap && grow_rows(s) < 0) return -1;
  double *v = c->values + c->rows * c->cols;
  const int64_t line = s->line;
  c->lines[c->rows] = line;
  for (int col = 0;; col++, s->p++) {
    if (col == c->cols) {
      const int64_t more = read_line(s, NULL, 0);
      return more < 0 ? -1 : count_fault(s, line, more + col);
    }
    const char *q = c->text_at[col] < 0 ? snf_number(s->p, s->end, &v[col]) : NULL;
    if (q && (q == s->end || *q == s->sep || *q == '\n' || *q == '\r')) s->p += q - s->p;
    else if (other_field(s, col, &v[col]) < 0) return -1;
    if (at_line_end(s, s->p)) {
      if (col + 1 < c->cols) return count_fault(s, line, col + 1);
      break;
    }
  }
  c->rows++;
  next_line(s);
  return 0;
}

static int read_rows(parser *s) {
  snf_csv *c = s->c;
  for (skip_blank(s); s->p < s->end; skip_blank(s))
    if (read_row(s) < 0) return -1;
  if (c->rows == 0) return sn_fail_io("%s: there are no rows below the header", c->who);
  for (int i = 0; i < c->cols; i++) {
    if (s->hole[i] == 0 || c->text_at[i] >= 0 || s->o->fill) continue;
    char name[80];
    if (c->names) snprintf(name, sizeof name, "'%s'", SNF_SHOW(c->names[i]));
    else snprintf(name, sizeof name, "%d", i + 1);
    return sn_fail_io("%s:%lld: column %s has no number here; missing = 0 would put 0 there, missing = 0/0 nan", c->who, (long long)s->hole[i], name);
  }
  return 0;
}

/* The second walk: the cells of the columns that hold words. */
static int read_words(parser *s) {
  snf_csv *c = s->c;
  if (c->ntext == 0) return 0;
  c->cells = sn_malloc((size_t)c->ntext * (size_t)c->rows * sizeof *c->cells);
  if (c->cells == NULL) return -1;
  skip_blank(s);
  for (int64_t row = 0; row < c->rows; row++) {
    for (int col = 0; col < c->cols; col++, s->p++) {
      cell f;
      if (read_cell(s, &f) < 0) return -1;
      if (c->text_at[col] >= 0) c->cells[c->text_at[col] * c->rows + row] = cell_text(&f);
      if (at_line_end(s, s->p)) break;
    }
    next_line(s);
    skip_blank(s);
  }
  return 0;
}

static int parse(parser *s) {
  snf_csv *c = s->c;
  if (c->size >= 2 && ((uint8_t)c->text[0] == 0xff || (uint8_t)c->text[0] == 0xfe) && ((uint8_t)c->text[1] | 1) == 0xff)
    return sn_fail_io("%s: the text is UTF-16; it wants to be saved as UTF-8", c->who);
  if (c->size >= 3 && memcmp(c->text, "\xef\xbb\xbf", 3) == 0) s->p += 3;
  for (int64_t i = 0; i < s->o->skip && s->p < s->end; i++) {
    while (!at_line_end(s, s->p)) s->p++;
    next_line(s);
  }
  if (read_first(s) < 0) return -1;
  for (int i = 0; i < s->o->nwords; i++) {
    const int col = snf_csv_column(c, &s->o->words[i]);
    if (col < 0) return -1;
    if (c->text_at[col] < 0) c->text_at[col] = c->ntext++;
  }
  char *from = s->p;
  const int64_t line = s->line;
  if (read_rows(s) < 0) return -1;
  s->p = from;
  s->line = line;
  return read_words(s);
}

int snf_csv_parse(snf_csv *c, const char *who, char *text, size_t size, const snf_csv_options *o) {
  *c = (snf_csv){.who = who, .text = text, .size = size};
  parser s = {.p = text, .end = text + size, .sep = o->separator, .line = 1, .o = o, .c = c};
  const int rc = parse(&s);
  sn_free(s.hole);
  return rc;
}

void snf_csv_free(snf_csv *c) {
  if (c->text) sn_release(c->text, c->size + 1);
  sn_free(c->names);
  sn_free(c->values);
  sn_free(c->text_at);
  sn_free(c->cells);
  sn_free(c->lines);
  *c = (snf_csv){0};
}

/* ---- words as classes */

typedef struct word { snf_str s; double v; int64_t at; } word;

static uint64_t hash(snf_str s) {
  uint64_t h = 14695981039346656037u;
  for (size_t i = 0; i < s.n; i++) h = (h ^ (uint8_t)s.p[i]) * 1099511628211u;
  return h ^ h >> 29;
}

typedef struct words { word *list; int64_t *slot; int64_t n, cap; uint64_t mask; } words;

static int64_t *find(const words *w, snf_str s) {
  uint64_t h = hash(s) & w->mask;
  while (w->slot[h] && (w->list[w->slot[h] - 1].s.n != s.n || memcmp(w->list[w->slot[h] - 1].s.p, s.p, s.n) != 0)) h = (h + 1) & w->mask;
  return &w->slot[h];
}

/* Room for one more word. */
static int grow_words(words *w) {
  if (w->n < w->cap) return 0;
  const int64_t cap = w->cap ? w->cap * 2 : 64;
  word *list = sn_realloc(w->list, (size_t)cap * sizeof *list);
  if (list == NULL) return -1;
  w->list = list;
  int64_t *slot = sn_calloc((size_t)cap * 2, sizeof *slot);
  if (slot == NULL) return -1;
  sn_free(w->slot);
  w->slot = slot;
  w->cap = cap;
  w->mask = (uint64_t)cap * 2 - 1;
  for (int64_t i = 0; i < w->n; i++) *find(w, w->list[i].s) = i + 1;
  return 0;
}

static int64_t add_word(words *w, snf_str s) {
  if (grow_words(w) < 0) return -1;
  int64_t *at = find(w, s);
  if (*at == 0) {
    w->list[w->n] = (word){.s = s, .at = w->n};
    *at = ++w->n;
  }
  return *at - 1;
}

static int by_text(const void *a, const void *b) {
  const snf_str x = ((const word *)a)->s, y = ((const word *)b)->s;
  const int c = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);
  return c ? c : x.n < y.n ? -1 : x.n > y.n;
}

static int by_value(const void *a, const void *b) {
  const double x = ((const word *)a)->v, y = ((const word *)b)->v;
  return x < y ? -1 : x > y ? 1 : by_text(a, b);
}

static void sort_words(words *w, int64_t *order) {
  bool numbers = true;
  for (int64_t i = 0; i < w->n; i++) {
    const cell f = {.p = (char *)(uintptr_t)w->list[i].s.p, .n = w->list[i].s.n};
    numbers = numbers && cell_number(&f, &w->list[i].v);
  }
  qsort(w->list, (size_t)w->n, sizeof *w->list, numbers ? by_value : by_text);
  for (int64_t i = 0; i < w->n; i++) order[w->list[i].at] = i;
}

static int64_t own_classes(const snf_csv *c, const snf_str *cells, words *w, int64_t base, int64_t *codes, snf_str **list) {
  for (int64_t i = 0; i < c->rows; i++)
    if ((codes[i] = add_word(w, cells[i])) < 0) return -1;
  int64_t *order = sn_malloc((size_t)w->n * sizeof *order);
  *list = sn_malloc((size_t)w->n * sizeof **list);
  if (order && *list) {
    sort_words(w, order);
    for (int64_t i = 0; i < c->rows; i++) codes[i] = order[codes[i]] + base;
    for (int64_t i = 0; i < w->n; i++) (*list)[i] = w->list[i].s;
  }
  sn_free(order);
  if (order && *list) return w->n;
  sn_free(*list);
  *list = NULL;
  return -1;
}

static int64_t given_classes(const snf_csv *c, const snf_str *cells, words *w, const snf_str *given, int64_t ngiven, int64_t base, int64_t *codes) {
  for (int64_t i = 0; i < ngiven; i++) {
    const int64_t k = add_word(w, given[i]);
    if (k < 0) return -1;
    if (k != i) return sn_fail("%s: the class '%s' is given twice", c->who, SNF_SHOW(given[i]));
  }
  for (int64_t i = 0; i < c->rows; i++) {
    const int64_t k = grow_words(w) < 0 ? -1 : *find(w, cells[i]);
    if (k < 0) return -1;
    if (k == 0)
      return sn_fail_io("%s:%lld: '%s' is none of the %lld classes given", c->who, (long long)c->lines[i], SNF_SHOW(cells[i]), (long long)ngiven);
    codes[i] = k - 1 + base;
  }
  return ngiven;
}

int64_t snf_csv_classes(const snf_csv *c, int column, const snf_str *given, int64_t ngiven, int64_t base, int64_t *codes, snf_str **list) {
  words w = {0};
  const snf_str *cells = c->cells + c->text_at[column] * c->rows;
  *list = NULL;
  const int64_t n = given ? given_classes(c, cells, &w, given, ngiven, base, codes) : own_classes(c, cells, &w, base, codes, list);
  sn_free(w.list);
  sn_free(w.slot);
  return n;
}
