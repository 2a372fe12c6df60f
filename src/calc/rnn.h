/* rnn.h - recurrent layers over whole sequences, batch first. x is n x t x f, all tensors are contiguous. What is kept for the gradient has the
 * steps first, so that one step lies in one piece.
 *
 * All input steps are one matrix product, or, with many rows, one for each step, so that its result stays in the cache; then each step is one
 * product with the recurrent weights and one pass over the gates. The rows
 * of a batch do not touch each other, so threads share them out once for the whole sequence. A few rows in all (n t <= SNK_RNN_FEW) are products of
 * a matrix and a vector, weights as they lie. Gates in memory: LSTM input, forget, cell, output; GRU reset, update, new (PyTorch's orders).
 *
 * Where the input's rows are rows of a table by number (an embedding) and the table is much shorter than the input, the products with the input's
 * weights are those of the table's rows: forward each step reads its sums there by number, backward the gates' gradients of equal numbers are added up first.
 */
#ifndef SNK_RNN_H
#define SNK_RNN_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "calc/isa.h"

enum { SNK_LSTM, SNK_GRU };
enum { SNK_RNN_FEW = 4, SNK_RNN_MANY = 24 };

typedef struct snk_rnn_args {
  bool f64, gru;
  bool keep;                             /* forward: gates and cells of all steps are wanted */
  int64_t n, t, f, h;
  const void *x, *h0, *c0;               /* h0, c0: n x h or NULL, zeros */
  const int64_t *number;                 /* NULL, or n x t: rows of x with one number are one row of a table of `size` rows, numbered from `first` */
  int64_t size, first;
  const void *wih, *whh, *bih, *bhh;     /* G h x f, G h x h, G h or NULL; G is 4 for LSTM, 3 for GRU */
  void *y;                               /* n x t x h */
  void *cells;                           /* LSTM: t x n x h; without keep n x h, the last */
  void *gates;                           /* t x n x 4 h: after their functions; GRU: r, z, new, and the recurrent part of new. keep only */
  void *scratch;                         /* snk_rnn_scratch bytes, 64-byte aligned */
  /* backward: gradients of y and of cells (or NULL), and what is wanted (NULL: not) */
  const void *gy, *gcells;
  void *gx, *gh0, *gc0, *gwih, *gwhh, *gbih, *gbhh; /* gx: with numbers that of the table, size x f */
  int64_t skip;                          /* the table's row `skip` gets no gradient; -1: none is left out */
} snk_rnn_args;

/* Is going by numbers worth it? Only the shapes decide. */
bool snk_rnn_by_number(int64_t rows, int64_t size);

size_t snk_rnn_scratch(const snk_rnn_args *a, bool backward);
/* Every thread also needs the scratch of matrix products: SNK_GEMM_SCRATCH, reserved. */
void snk_rnn_forward(const snk_rnn_args *a);
void snk_rnn_backward(const snk_rnn_args *a);

/* ---- the instruction set's part. Row r of a matrix p is at p + r * p_step elements; NULL matrices are zeros where they are read. */
typedef struct snk_rnn_step {
  int64_t rows, h;
  const void *in;                        /* forward: the input's sums, G h; may be where the gates go */
  const int64_t *number;                 /* NULL, or which row of `in` is that of row r */
  void *gates;                           /* 4 h; forward: written, unless NULL */
  const void *rec, *hprev, *cprev;       /* rec: forward: the recurrent sums, G h; backward: what later steps say about h */
  const void *bias, *bias_rec;           /* forward: G h each, or NULL */
  void *c, *y;
  const void *gy, *gc;
  void *dc, *dh;                         /* n x h, read and written: gradient of the cell; GRU: the part of h's that passes by the gates */
  void *di, *dg;                         /* gradients of the input sums and of the recurrent ones; LSTM: both are dg */
  void *db;                              /* n x 4 h, read and written: sums of dg over the steps; GRU: r, z, new, its recurrent part */
  int64_t in_step, gates_step, rec_step, hprev_step, cprev_step, c_step, y_step, gy_step, gc_step, d_step;
  bool last;                             /* backward: no later step, dc and db are not read */
} snk_rnn_step;

typedef struct snk_rnn_type {
  void (*lstm)(const snk_rnn_step *s);
  void (*gru)(const snk_rnn_step *s);
  void (*lstm_back)(const snk_rnn_step *s);
  void (*gru_back)(const snk_rnn_step *s);
  /* y[j] = w[j] . x for rows begin..end-1 of w (rows of k) */
  void (*gemv)(void *y, const void *w, const void *x, int64_t begin, int64_t end, int64_t k);
  /* sums of columns begin..end-1 of a rows x cols matrix, to to[0] .. */
  void (*column_sums)(void *to, const void *m, int64_t rows, int64_t cols, int64_t begin, int64_t end);
} snk_rnn_type;
typedef struct snk_rnn { snk_rnn_type f32, f64; } snk_rnn;
SNK_TABLE(rnn)
#endif
