/* rnn.c - LSTM and GRU: one layer over a whole sequence, and single steps. The user's operations check and are made of two: the run, which keeps
 * what its gradient needs only when one is wanted, and its gradient through all steps. */
#include "base/error.h"
#include "base/thread.h"
#include "calc/gemm.h"
#include "calc/rnn.h"
#include "diff/ops.h"
#include "diff/tape.h"

enum { X, H0, C0, W_IH, W_HH, B_IH, B_HH, TABLE, NUMBER, INPUTS }; /* inputs of rnn_run; outputs of rnn_backward are gradients of those before TABLE */
enum { Y, CELLS, GATES };                           /* outputs of rnn_run */
enum { GY, GCELLS, B_X, B_Y = B_X + B_IH, B_CELLS, B_GATES, B_NUMBER }; /* inputs of rnn_backward: gradients, X .. W_HH, outputs, NUMBER */
enum { GRU, KEEP, FIRST, R_SKIP };                  /* attributes of rnn_run */
enum { WANT = KEEP, B_FIRST = FIRST, SIZE, SKIP };  /* attributes of rnn_backward, with GRU */

/* ---- the run */

static void *data_of(const snt_tensor *t) { return t && snt_numel(t) > 0 ? snt_data(t) : NULL; }

/* in: x, h0, c0, w_ih, w_hh */
static snk_rnn_args args_of(snt_tensor *const *in, bool gru) {
  const snt_tensor *x = in[X];
  snk_rnn_args a = {.f64 = x->dtype == SN_F64, .gru = gru, .n = x->shape[0], .t = x->ndim == 3 ? x->shape[1] : 1, .f = x->shape[x->ndim - 1],
                    .h = in[W_HH]->shape[1], .x = snt_data(x), .h0 = data_of(in[H0]), .c0 = data_of(in[C0]), .wih = snt_data(in[W_IH]),
                    .whh = snt_data(in[W_HH])};
  return a;
}

static void number_rows(snk_rnn_args *a, const snt_tensor *number, int64_t size, int64_t first) {
  if (number) a->number = snt_data(number), a->size = size, a->first = first;
}

static int64_t table_rows(const sno_call *c) { return c->in[TABLE] ? c->in[TABLE]->shape[0] : 0; } /* of a run; 0 without numbers */

static int infer_run(sno_call *c) {
  const snt_tensor *x = c->in[X];
  const sn_dtype t = (sn_dtype)x->dtype;
  const bool gru = c->attr[GRU].i, keep = c->attr[KEEP].i;
  snk_rnn_args a = args_of(c->in, gru);
  a.keep = keep;
  number_rows(&a, c->in[NUMBER], table_rows(c), 0);
  const int64_t none = 0, y3[3] = {a.n, a.t, a.h}, y2[2] = {a.n, a.h};
  int64_t kept[3] = {a.t, a.n, a.h}; /* steps first; the same for a single step */
  sno_want(c, Y, t, x->ndim, x->ndim == 3 ? y3 : y2);
  if (gru) sno_want(c, CELLS, t, 1, &none);
  else if (keep) sno_want(c, CELLS, t, 3, kept);
  else sno_want(c, CELLS, t, 2, y2);
  kept[2] = 4 * a.h;
  if (keep) sno_want(c, GATES, t, 3, kept);
  else sno_want(c, GATES, t, 1, &none);
  if (keep && snt_check_shape(3, kept, c->op->name) < 0) return -1;
  c->scratch_bytes = snk_rnn_scratch(&a, false);
  return sn_scratch_reserve(SNK_GEMM_SCRATCH);
}

static void forward_run(sno_call *c) {
  snk_rnn_args a = args_of(c->in, c->attr[GRU].i);
  a.keep = c->attr[KEEP].i;
  number_rows(&a, c->in[NUMBER], table_rows(c), c->attr[FIRST].i);
  a.bih = data_of(c->in[B_IH]), a.bhh = data_of(c->in[B_HH]);
  a.y = snt_data(c->out[Y]), a.cells = snt_data(c->out[CELLS]), a.gates = snt_data(c->out[GATES]);
  a.scratch = c->scratch;
  snk_rnn_forward(&a);
}

static int infer_backward(sno_call *c) {
  snt_tensor *const *in = c->in + B_X;
  const sn_dtype t = (sn_dtype)in[X]->dtype;
  const int64_t want = c->attr[WANT].i, none = 0;
  for (int i = GY; i <= GCELLS; i++)
    if (sno_cast_input(c, i, t) < 0) return -1;
  snk_rnn_args a = args_of(in, c->attr[GRU].i);
  number_rows(&a, c->in[B_NUMBER], c->attr[SIZE].i, 0);
  const int64_t state[2] = {a.n, a.h}, table[2] = {a.size, a.f};
  for (int i = 0; i < TABLE; i++)
    if (!(want >> i & 1)) sno_want(c, i, t, 1, &none);
    else if (i == X && a.number) sno_want(c, i, t, 2, table);
    else if (i == H0 || i == C0) sno_want(c, i, t, 2, state);
    else if (i == B_IH || i == B_HH) sno_want(c, i, t, 1, in[W_HH]->shape);
    else sno_want(c, i, t, in[i]->ndim, in[i]->shape);
  c->scratch_bytes = snk_rnn_scratch(&a, true);
  return sn_scratch_reserve(SNK_GEMM_SCRATCH);
}

static void forward_backward(sno_call *c) {
  snk_rnn_args a = args_of(c->in + B_X, c->attr[GRU].i);
  const int64_t want = c->attr[WANT].i;
  a.keep = true;
  number_rows(&a, c->in[B_NUMBER], c->attr[SIZE].i, c->attr[B_FIRST].i);
  a.skip = c->attr[SKIP].i;
  a.gy = data_of(c->in[GY]), a.gcells = data_of(c->in[GCELLS]);
  a.y = snt_data(c->in[B_Y]), a.cells = data_of(c->in[B_CELLS]), a.gates = snt_data(c->in[B_GATES]);
  a.scratch = c->scratch;
  void **const to[TABLE] = {&a.gx, &a.gh0, &a.gc0, &a.gwih, &a.gwhh, &a.gbih, &a.gbhh};
  for (int i = 0; i < TABLE; i++)
    if (want >> i & 1) *to[i] = snt_data(c->out[i]);
  snk_rnn_backward(&a);
}

/* of all steps: in[x] the input, in[w] its weight, the states' behind it; size: the table's rows, 0 without numbers */
static double flops_of_steps(const sno_call *c, int x, int w, int64_t size) {
  const snt_tensor *in = c->in[x];
  const int64_t rows = in->shape[in->ndim - 1] == 0 ? 0 : snt_numel(in) / in->shape[in->ndim - 1];
  return 2.0 * ((double)(size ? size : rows) * (double)snt_numel(c->in[w]) + (double)rows * (double)snt_numel(c->in[w + 1]));
}
static double flops_run(const sno_call *c) { return flops_of_steps(c, X, W_IH, table_rows(c)); }
static double flops_backward(const sno_call *c) { return 2 * flops_of_steps(c, B_X, B_X + W_IH, c->in[B_NUMBER] ? c->attr[SIZE].i : 0); }

/*** rnn_backward(gy?, gcells?, x, h0?, c0?, w_ih, w_hh, y, cells?, gates, number?, gru, want, first, size, skip)
 * The gradients of rnn_run: back through the steps, which leaves the gradient of every gate; then one product for each weight. With `number` the
 * rows of x are rows of a table of `size`, numbered from `first`: the gates' gradients of equal numbers are added up before the products, and in
 * place of x's gradient comes the table's, whose row `skip` is zero.
 * @math \bar W_{ih} = \sum_{nt} \bar g_{nt}\, x_{nt}^T, \quad \bar W_{hh} = \sum_{nt} \bar g_{nt}\, h_{n,t-1}^T, \quad \bar b = \sum_{nt} \bar g_{nt};
 *   \quad s_k = \sum_{nt:\, i_{nt} = k} \bar g_{nt}, \quad \bar W_{ih} = \sum_k s_k\, e_k^T, \quad \bar e_k = W_{ih}^T s_k
 */
const sno_op sno_op_rnn_backward = {
    .name = "rnn_backward", .args = "gy? gcells? x h0? c0? w_ih w_hh y cells? gates number? gru:bool want:int first:int=0 size:int=0 skip:int=-1", .flops = flops_backward,
    .flags = SNO_HIDDEN | SNO_NODIFF | SNO_CONTIG, .nout = TABLE, .infer = infer_backward, .forward = forward_backward};

static int back_run(sno_back *b) {
  const bool gru = b->attr[GRU].i;
  /* the table's gradient says all that x's would, unless x's own is asked for */
  const bool by_number = b->want[TABLE] && !(b->asked >> X & 1);
  int64_t want = 0;
  snt_tensor *out[SNO_MAXOUT];
  for (int i = 0; i < TABLE; i++) want |= (int64_t)b->want[i] << i;
  if (b->gy[Y] == NULL && b->gy[CELLS] == NULL) return 0;
  if (sno_invoke(&sno_op_rnn_backward,
                 SNO_IN(b->gy[Y], b->gy[CELLS], b->in[X], b->in[H0], b->in[C0], b->in[W_IH], b->in[W_HH], b->out[Y], gru ? NULL : b->out[CELLS],
                        b->out[GATES], by_number ? b->in[NUMBER] : NULL),
                 -1, SNO_ATTRS(sno_bool(gru), sno_int(want), b->attr[FIRST], sno_int(by_number ? b->in_spec[TABLE].shape[0] : 0), b->attr[R_SKIP]), out,
                 NULL, NULL) < 0)
    return -1;
  for (int i = 0; i < TABLE; i++)
    if (b->want[i]) b->gx[by_number && i == X ? TABLE : i] = out[i];
  return 0;
}

/*** rnn_run(x, h0?, c0?, w_ih, w_hh, b_ih?, b_hh?, table?, number?, gru, keep, first, skip)
 * One layer over a sequence, n x t x f, or one step, n x f. Without `keep` the gates are not kept and of the cells only the last. Where x was made
 * of rows of `table` (embedding), `number` says which, from `first` on: the product with w_ih is then that of the table's rows, of which each step
 * takes its own. The values are those of x; the table is there for its gradient, which it gets in x's place, but for its row `skip`.
 * @math h_t = \mathrm{cell}(x_t, h_{t-1}), \quad W x_t = (W E^T)_{i_t} \text{ where } x_t = E_{i_t}
 */
const sno_op sno_op_rnn_run = {
    .name = "rnn_run", .args = "x h0? c0? w_ih w_hh b_ih? b_hh? table? number? gru:bool keep:bool first:int=0 skip:int=-1", .flops = flops_run, .flags = SNO_HIDDEN | SNO_CONTIG | SNO_ONCE, .nout = 3,
    .save_in = 1 << X | 1 << H0 | 1 << C0 | 1 << W_IH | 1 << W_HH | 1 << NUMBER, .save_out = 1 << Y | 1 << CELLS | 1 << GATES, .infer = infer_run,
    .forward = forward_run, .backward = back_run};

/* ---- what the user's operations check */

typedef struct parts { snt_tensor *in[INPUTS]; bool gru, cell; } parts; /* by place in rnn_run; which operation it is */
static const char *const names[TABLE] = {"x", "h", "c", "w_ih", "w_hh", "b_ih", "b_hh"};

static int check_sizes(const sno_call *c, const parts *p) {
  const char *op = c->op->name, *const *s = names;
  snt_tensor *const *in = p->in;
  const snt_tensor *x = in[X], *w = in[W_HH];
  const long long gates = p->gru ? 3 : 4;
  if (x->ndim != (p->cell ? 2 : 3)) return sn_fail("%s: x is %s; it wants %s", op, SNT_SHAPE(x), p->cell ? "n x features" : "n x steps x features");
  if (!p->cell && x->shape[1] < 1) return sn_fail("%s: x is %s, a sequence without steps; it wants at least one", op, SNT_SHAPE(x));
  if (w->ndim != 2 || w->shape[0] != gates * w->shape[1])
    return sn_fail("%s: w_hh is %s; it wants %lld times as many rows as columns, one block for each gate", op, SNT_SHAPE(w), gates);
  const int64_t h = w->shape[1], f = x->shape[x->ndim - 1];
  const snt_tensor *v = in[W_IH];
  if (v->ndim != 2 || v->shape[0] != gates * h)
    return sn_fail("%s: w_ih is %s; with w_hh %s it wants %lld x features", op, SNT_SHAPE(v), SNT_SHAPE(w), (long long)(gates * h));
  if (v->shape[1] != f)
    return sn_fail("%s: input has %lld features, w_ih wants %lld (input %s, w_ih %s)", op, (long long)f, (long long)v->shape[1], SNT_SHAPE(x),
        SNT_SHAPE(v));
  for (int i = B_IH; i <= B_HH; i++)
    if (in[i] && (in[i]->ndim != 1 || in[i]->shape[0] != gates * h))
      return sn_fail("%s: %s is %s; it wants %lld numbers", op, s[i], SNT_SHAPE(in[i]), (long long)(gates * h));
  for (int i = H0; i <= C0; i++)
    if (in[i] && (in[i]->ndim != 2 || in[i]->shape[0] != x->shape[0] || in[i]->shape[1] != h))
      return sn_fail("%s: state %s is %s; for input %s it wants %lldx%lld", op, s[i], SNT_SHAPE(in[i]), SNT_SHAPE(x), (long long)x->shape[0],
          (long long)h);
  return 0;
}

/* Where x comes from an embedding of few rows the table and the numbers go to their places. first, skip: as rnn_run wants them. */
static void find_table(parts *p, sno_val *first, sno_val *skip) {
  enum { INDEX, WEIGHT, PADDING = 0, BASE };
  snt_tensor *from[2], *x = p->in[X];
  const sno_val *attr = sno_made_by(x, &sno_op_embedding, 2, from);
  if (attr == NULL || from[INDEX] == NULL || from[WEIGHT] == NULL || p->in[W_HH]->shape[1] == 0 || x->shape[x->ndim - 1] == 0 ||
      !snk_rnn_by_number(snt_numel(from[INDEX]), from[WEIGHT]->shape[0]))
    return;
  p->in[TABLE] = from[WEIGHT], p->in[NUMBER] = from[INDEX];
  *first = sno_int(attr[BASE].i);
  *skip = sno_int(attr[PADDING].absent ? -1 : attr[PADDING].i - attr[BASE].i);
}

/* Checks, brings all to one number type and runs. The inputs of c are left for the results to take their places. */
static int run(sno_call *c, parts *p, snt_tensor **out) {
  sn_dtype t = (sn_dtype)p->in[X]->dtype;
  bool keep = false;
  for (int i = 0; i < TABLE; i++) {
    if (p->in[i] == NULL) continue;
    if (!sn_is_float((sn_dtype)p->in[i]->dtype))
      return sn_fail("%s: wants floating tensors, %s is %s; :to(\"float32\") converts", c->op->name, names[i], sn_dtypes[p->in[i]->dtype].name);
    t = sn_dtype_promote(t, (sn_dtype)p->in[i]->dtype);
    keep |= sno_requires_grad(p->in[i]);
  }
  if (check_sizes(c, p) < 0) return -1;
  for (int i = 0; i < TABLE; i++)
    if (p->in[i] && (p->in[i] = sno_to(p->in[i], t)) == NULL) return -1;
  for (int i = 0; i < c->nin; i++) c->in[i] = NULL;
  keep = keep && sno_mode_now()->grad;
  sno_val first = sno_absent(), skip = first;
  if (keep) find_table(p, &first, &skip);
  return sno_invoke(&sno_op_rnn_run, INPUTS, p->in, -1, SNO_ATTRS(sno_bool(p->gru), sno_bool(keep), first, skip), out, NULL, NULL);
}

/* The result of a call is y; its gradient goes straight on to it. */
static int give(sno_call *c, int k, snt_tensor *y) {
  c->in[k] = y;
  return y && (c->want[k].alias = snt_view(y)) ? 0 : -1;
}

static snt_tensor *last_step(snt_tensor *y, int dim) {
  return sno_run(&sno_op_select, SNO_IN(y), SNO_ATTRS({.kind = SNO_DIM, .i = dim}, {.kind = SNO_POS, .i = -1}));
}

/* Where the cells of all steps were kept, the last of them. */
static snt_tensor *last_cell(snt_tensor *cells) { return cells->ndim == 3 ? last_step(cells, 0) : cells; }

static int back_given(sno_back *b) {
  for (int k = 0; k < b->nout; k++)
    if (b->want[k]) b->gx[k] = b->gy[k];
  return 0;
}

static int infer_lstm(sno_call *c) {
  snt_tensor *out[SNO_MAXOUT], **in = c->in;
  parts p = {{in[0], in[1], in[2], in[3], in[4], in[5], in[6]}, false, false};
  if (run(c, &p, out) < 0) return -1;
  return give(c, 0, out[Y]) < 0 || give(c, 1, last_step(out[Y], 1)) < 0 || give(c, 2, last_cell(out[CELLS])) < 0 ? -1 : 0;
}

static int infer_gru(sno_call *c) {
  snt_tensor *out[SNO_MAXOUT], **in = c->in;
  parts p = {{in[0], in[1], NULL, in[2], in[3], in[4], in[5]}, true, false};
  if (run(c, &p, out) < 0) return -1;
  return give(c, 0, out[Y]) < 0 || give(c, 1, last_step(out[Y], 1)) < 0 ? -1 : 0;
}

static int infer_lstm_cell(sno_call *c) {
  snt_tensor *out[SNO_MAXOUT], **in = c->in;
  parts p = {{in[0], in[1], in[2], in[3], in[4], in[5], in[6]}, false, true};
  if (run(c, &p, out) < 0) return -1;
  return give(c, 0, out[Y]) < 0 || give(c, 1, last_cell(out[CELLS])) < 0 ? -1 : 0;
}

static int infer_gru_cell(sno_call *c) {
  snt_tensor *out[SNO_MAXOUT], **in = c->in;
  parts p = {{in[0], in[1], NULL, in[2], in[3], in[4], in[5]}, true, true};
  return run(c, &p, out) < 0 ? -1 : give(c, 0, out[Y]);
}

/* ---- the user's operations */

/*** lstm(x, h0?, c0?, w_ih, w_hh, b_ih?, b_hh?)
 * One LSTM layer over whole sequences. x is n x steps x features; h0 and c0 are the states before the first step, n x hidden (zeros if not given);
 * w_ih is 4 hidden x features, w_hh 4 hidden x hidden, each bias 4 hidden, gates in PyTorch's order: input, forget, cell, output. Gives y, n x steps
 * x hidden, and the last states h and c. Where x is what `embedding` gave and at least four times as long as its table, products are made of the
 * table's rows instead of x's. The gradient cannot itself be differentiated.
 * @math i, f, o = \sigma(W x_t + U h_{t-1} + b), \quad g = \tanh(W_g x_t + U_g h_{t-1} + b_g), \quad c_t = f \odot c_{t-1} + i \odot g, \quad
 *   h_t = o \odot \tanh c_t
 * @grad \bar c_t = \bar h_t \odot o \odot (1 - \tanh^2 c_t) + \bar c_{t+1} \odot f_{t+1}, \quad \bar W = \sum_t \bar a_t\, x_t^T, \quad
 *   \bar U = \sum_t \bar a_t\, h_{t-1}^T, \quad \bar x_t = W^T \bar a_t, \quad a_t \text{ what the gates' functions are taken of}
 * @source Hochreiter, Schmidhuber: Long short-term memory, 1997; Gers, Schmidhuber, Cummins: Learning to forget, 2000
 * @see lstm_cell, gru
 */
const sno_op sno_op_lstm = {
    .name = "lstm", .args = "x h0? c0? w_ih w_hh b_ih? b_hh?", .flags = SNO_LOW | SNO_VIEW | SNO_ONCE, .nout = 3, .infer = infer_lstm, .backward = back_given,
    .samples = "f(2,3,4), f(2,5), f(2,5), f(20,4), f(20,5), f(20), f(20); f(2,5,3), nil, nil, f(8,3), f(8,2);"
        " f(1,2,3), f(1,2), nil, f(8,3), f(8,2), f(8);"
               " f(3,2,2), nil, f(3,9), f(36,2), f(36,9), nil, f(36)",
    .wrong = "f(2,3), nil, nil, f(8,3), f(8,2) => n x steps x features; f(2,3,4), nil, nil, f(8,3), f(8,2) => input has 4 features, w_ih wants 3;"
             " f(2,3,4), nil, nil, f(8,4), f(6,2) => w_hh is 6x2; f(2,3,4), f(2,3), nil, f(8,4), f(8,2) => state h is 2x3;"
             " f(2,3,4), nil, nil, f(8,4), f(8,2), f(7) => b_ih is 7; i(1,5,2,3,4), nil, nil, f(8,4), f(8,2) => floating;"
             " f(2,0,4), nil, nil, f(8,4), f(8,2) => steps"};

/*** gru(x, h0?, w_ih, w_hh, b_ih?, b_hh?)
 * One GRU layer over whole sequences. x is n x steps x features; h0 is the state before the first step, n x hidden (zeros if not given); w_ih is 3
 * hidden x features, w_hh 3 hidden x hidden, each bias 3 hidden, gates in PyTorch's order: reset, update, new. Gives y, n x steps x hidden, and the
 * last state. The reset gate multiplies the recurrent part of `new`, its bias included, as in PyTorch. What an `embedding` gave is treated as in lstm.
 * The gradient cannot itself be differentiated.
 * @math r, z = \sigma(W x_t + b + U h_{t-1} + b'), \quad n = \tanh(W_n x_t + b_n + r \odot (U_n h_{t-1} + b'_n)), \quad h_t = (1 - z) \odot n + z
 *   \odot h_{t-1}
 * @grad \bar n = \bar h_t \odot (1 - z), \quad \bar z = \bar h_t \odot (h_{t-1} - n), \quad \bar W = \sum_t \bar a_t\, x_t^T, \quad
 *   \bar U = \sum_t \bar a'_t\, h_{t-1}^T, \quad \bar h_{t-1} = \bar h_t \odot z + U^T \bar a'_t, \quad a, a' \text{ the input's and the recurrent
 *   part}
 * @source Cho et al.: Learning phrase representations using RNN encoder-decoder, 2014
 * @see gru_cell, lstm
 */
const sno_op sno_op_gru = {
    .name = "gru", .args = "x h0? w_ih w_hh b_ih? b_hh?", .flags = SNO_LOW | SNO_VIEW | SNO_ONCE, .nout = 2, .infer = infer_gru, .backward = back_given,
    .samples = "f(2,3,4), f(2,5), f(15,4), f(15,5), f(15), f(15); f(2,5,3), nil, f(6,3), f(6,2); f(1,2,3), f(1,2), f(6,3), f(6,2), f(6);"
               " f(3,2,2), nil, f(27,2), f(27,9), nil, f(27)",
    .wrong = "f(2,3), nil, f(6,3), f(6,2) => n x steps x features; f(2,3,4), nil, f(6,3), f(6,2) => input has 4 features, w_ih wants 3;"
             " f(2,3,4), nil, f(6,4), f(8,2) => w_hh is 8x2; f(2,3,4), f(3,2), f(6,4), f(6,2) => state h is 3x2;"
             " f(2,3,4), nil, f(5,4), f(6,2) => w_ih is 5x4"};

/*** lstm_cell(x, h?, c?, w_ih, w_hh, b_ih?, b_hh?)
 * One step of an LSTM: x is n x features, h and c are n x hidden (zeros if not given), the weights as in lstm. Gives the new h and c.
 * @math i, f, o = \sigma(W x + U h + b), \quad g = \tanh(W_g x + U_g h + b_g), \quad c' = f \odot c + i \odot g, \quad h' = o \odot \tanh c'
 * @grad \bar c = (\bar c' + \bar h' \odot o \odot (1 - \tanh^2 c')) \odot f, \quad \bar W = \bar a\, x^T, \quad \bar U = \bar a\, h^T, \quad \bar x
 *   = W^T \bar a
 * @see lstm
 */
const sno_op sno_op_lstm_cell = {
    .name = "lstm_cell", .args = "x h? c? w_ih w_hh b_ih? b_hh?", .flags = SNO_LOW | SNO_VIEW | SNO_ONCE, .nout = 2, .infer = infer_lstm_cell,
    .backward = back_given,
    .samples = "f(2,4), f(2,5), f(2,5), f(20,4), f(20,5), f(20), f(20); f(6,3), nil, nil, f(8,3), f(8,2);"
        " f(1,9), f(1,5), nil, f(20,9), f(20,5), f(20)",
    .wrong = "f(2,3,4), nil, nil, f(8,4), f(8,2) => n x features; f(2,4), f(1,2), nil, f(8,4), f(8,2) => state h is 1x2;"
             " f(2,4), nil, f(2,3), f(8,4), f(8,2) => state c is 2x3; f(2,4), nil, nil, f(8,3), f(8,2) => features"};

/*** gru_cell(x, h?, w_ih, w_hh, b_ih?, b_hh?)
 * One step of a GRU: x is n x features, h is n x hidden (zeros if not given), the weights as in gru. Gives the new h.
 * @math r, z = \sigma(W x + b + U h + b'), \quad n = \tanh(W_n x + b_n + r \odot (U_n h + b'_n)), \quad h' = (1 - z) \odot n + z \odot h
 * @grad \bar h = \bar h' \odot z + U^T \bar a', \quad \bar W = \bar a\, x^T, \quad \bar U = \bar a'\, h^T, \quad \bar x = W^T \bar a
 * @see gru
 */
const sno_op sno_op_gru_cell = {
    .name = "gru_cell", .args = "x h? w_ih w_hh b_ih? b_hh?", .flags = SNO_LOW | SNO_VIEW | SNO_ONCE, .nout = 1, .infer = infer_gru_cell,
    .backward = back_given,
    .samples = "f(2,4), f(2,5), f(15,4), f(15,5), f(15), f(15); f(6,3), nil, f(6,3), f(6,2); f(1,9), f(1,5), f(15,9), f(15,5), nil, f(15)",
    .wrong = "f(2,3,4), nil, f(6,4), f(6,2) => n x features; f(2,4), f(1,2), f(6,4), f(6,2) => state h is 1x2;"
        " f(2,4), nil, f(8,4), f(8,2) => w_hh is 8x2"};
