/* csv.h - tables of numbers and words. */
#ifndef SNF_CSV_H
#define SNF_CSV_H
#include "file/bytes.h"

typedef struct snf_pick { snf_str name; int64_t index; } snf_pick; /* a column: by name (p not NULL), or by number, from 1 or back from -1 */

typedef struct snf_csv_options {
  char separator;
  int header;            /* 1 yes, 0 no, -1: unless a field of the first line is a number */
  int64_t skip;          /* lines before the table */
  bool fill;             /* empty numbers become `missing`; else they are an error */
  double missing;
  const snf_pick *words; /* columns that hold words even if all of them look like numbers */
  int nwords;
} snf_csv_options;

typedef struct snf_csv {
  const char *who;       /* the file's name, for messages */
  char *text;            /* what names and cells point into: a block of sn_alloc of size + 1 bytes */
  size_t size;
  int64_t rows;
  int cols, ntext;
  snf_str *names;        /* NULL without a header */
  double *values;        /* rows x cols */
  int *text_at;          /* by column: its place among those of words, -1 for numbers */
  snf_str *cells;        /* ntext x rows */
  int64_t *lines;        /* of each row */
} snf_csv;

/* The table in `text` (a block of sn_alloc of size + 1 bytes ending in 0, which the table then owns, also on failure). -1 after
 * sn_fail_io("who:line: ..."), or memory. */
int snf_csv_parse(snf_csv *c, const char *who, char *text, size_t size, const snf_csv_options *o);
void snf_csv_free(snf_csv *c);
/* The column that is meant, from 0; -1 after sn_fail. */
int snf_csv_column(const snf_csv *c, const snf_pick *p);
/* The words of a column of words, each once: those given, in their order, or the column's own, sorted (as numbers if all are).
 * codes[row]: which, from `base`. How many words, or -1 after sn_fail_io naming the line of a word that was not given.
 * *words: sn_malloc'd; NULL when given. */
int64_t snf_csv_classes(const snf_csv *c, int column, const snf_str *given, int64_t ngiven, int64_t base, int64_t *codes, snf_str **words);

#endif
