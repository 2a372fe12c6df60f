/* index.h - rows and elements by position: gathering, and writing back with a fixed order where several go to one place. */
#ifndef SNK_INDEX_H
#define SNK_INDEX_H
#include <stdbool.h>
#include "base/dtype.h"

/* A contiguous table seen as outer x size x inner, and rows of it chosen by n indices (counting from `base`, checked before):
 * rows is outer x n x inner, contiguous. */
typedef struct snk_rows {
  char *table, *rows;
  const int64_t *index;
  int64_t outer, size, n, inner; /* inner in elements */
  int64_t base;
  sn_dtype dtype;
  bool zero;                     /* snk_rows_add, _put: the table is cleared first */
  bool skips;                    /* snk_rows_add: indices equal to `skip` add nothing */
  int64_t skip;
} snk_rows;
void snk_rows_get(const snk_rows *r);  /* rows <- table */
void snk_rows_put(const snk_rows *r);  /* table <- rows; of several the last wins */
void snk_rows_add(const snk_rows *r);  /* table += rows, in the order of the indices; parallel over the table's rows. No bool */

/* Rows of a table for a batch, converted on the way: row i of `to` is row at[i] - base of the table (without `at`: row first + i). Bytes that become
 * float32 or float64 are multiplied by `scale` in that type. `at` is known for `known` rows, of which the n first are wanted. */
typedef struct snk_pick {
  const char *from;
  char *to;
  int64_t step;                  /* bytes from one row of the table to the next; elements of a row are consecutive */
  const int64_t *at;
  int64_t base, first, n, known, inner;
  sn_dtype from_type, to_type;
  double scale;
} snk_pick;
void snk_pick_rows(const snk_pick *p);

/* Elements along one dimension: `index` (contiguous) has shape; table and value are strided (in elements) and have as many dimensions. */
typedef enum { SNK_GET, SNK_PUT, SNK_ADD, SNK_LAST } snk_way; /* value <- table; table <- value; table += value; see below */
typedef struct snk_lines {
  int ndim, dim;
  int64_t shape[8], table_stride[8], value_stride[8];
  char *table, *value;
  const int64_t *index; /* contiguous, of this shape; shared: one line, for all */
  bool shared;
  int64_t base;
  sn_dtype dtype;
  /* SNK_LAST: the table is int64 scratch, the value bytes: 1 where no later element of the line has the same index */
} snk_lines;
void snk_lines_run(const snk_lines *l, snk_way way); /* within a line in order; parallel over lines */

/* Those of n elements side by side that are not 0 (NaN is not), in order. */
#define SNK_SET_PARTS 64
typedef struct snk_set {
  const char *x;
  sn_dtype dtype;
  int64_t n;
  int64_t before[SNK_SET_PARTS + 1]; /* how many stand in front of each part: by snk_set_count */
} snk_set;
int64_t snk_set_count(snk_set *s);                                                     /* how many there are */
void snk_set_take(const snk_set *s, char *y, const char *from, size_t size);           /* y <- from's elements, of `size` bytes, in their places; x is of bytes */
void snk_set_positions(const snk_set *s, int64_t *y, int ndim, const int64_t *shape, int64_t base);

/* n elements of `size` bytes. p: y, condition (bytes), a, b; s steps in bytes. y may be a or b, element for element. */
void snk_where_row(int64_t n, char *const *p, const int64_t *s, size_t size);
#endif
