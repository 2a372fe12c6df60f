/* rnn.c - recurrent layers: LSTM and GRU over sequences, in several layers and both directions, and their cells for single steps.
 * Names and layouts of the weights are PyTorch's: weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, then _l1 ..., _reverse of the second
 * direction. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "diff/ops.h"
#include "nn/nn.h"

enum { LAYERS = 16, NAME = 28, PER = 4 }; /* most layers; a slot's name; tensors of one layer in one direction */
enum { W_IH, W_HH, B_IH, B_HH };

extern const snn_class snn_class_GRU, snn_class_GRUCell;

typedef struct rnn { snn_obj o; char (*name)[NAME]; } rnn; /* names of the slots */

static bool is_gru(const snn_obj *o) { return o->cls == &snn_class_GRU || o->cls == &snn_class_GRUCell; }
static int64_t hidden(const snn_obj *o) { return snn_arg(o, "hidden_size")->i; }
static int layers(const snn_obj *o) { return (int)snn_arg(o, "num_layers")->i; }
static int directions(const snn_obj *o) { return snn_flag(o, "bidirectional") ? 2 : 1; }

/* ---- weights */

/* The four tensors of one layer and direction into slots from `at` on; evenly between -1/sqrt(hidden) and 1/sqrt(hidden). */
static int weights(snn_obj *o, int at, int64_t features, const char *const names[PER]) {
  const int64_t h = hidden(o), rows = (is_gru(o) ? 3 : 4) * h;
  const double bound = 1 / sqrt((double)h);
  snn_obj *init = snn_new(snn_find("Uniform"), 2, (sno_val[]){sno_num(-bound), sno_num(bound)}, 0, NULL);
  int rc = init ? 0 : -1;
  for (int i = 0; i < (snn_flag(o, "bias") ? PER : 2) && rc == 0; i++) {
    const int64_t shape[2] = {rows, i == W_IH ? features : h};
    rc = snn_slot_new(o, at + i, names[i], true, i <= W_HH ? 2 : 1, shape, init, NULL);
  }
  snn_release(init);
  return rc;
}

/* One layer's weights and biases, NULL where there are none. */
static void slots_of(const snn_obj *o, int at, snt_tensor *to[PER]) {
  const int per = snn_flag(o, "bias") ? PER : 2;
  for (int i = 0; i < PER; i++) to[i] = i < per ? o->slot[at + i].t : NULL;
}

static int check_hidden(const snn_obj *o) {
  return hidden(o) >= 1 ? 0 : sn_fail("%s: hidden_size is %lld; it is at least 1", o->cls->name, (long long)hidden(o));
}

static int check_features(const snn_obj *o, int64_t features) {
  const sno_val *said = snn_arg(o, "inshape");
  if (!said->absent && said->v[said->n - 1] != features)
    return sn_fail("input has %lld features, inshape says %lld; inshape = %lld would fit", (long long)features, (long long)said->v[said->n - 1],
                   (long long)features);
  if (o->nslot && o->slot[0].t->shape[1] != features)
    return sn_fail("input has %lld features, the weights want %lld", (long long)features, (long long)o->slot[0].t->shape[1]);
  return 0;
}

static void describe(const snn_obj *o, char *buf, size_t n) {
  char from[24] = "";
  const sno_val *said = snn_arg(o, "inshape");
  if (o->nslot) snprintf(from, sizeof from, "%lld ", (long long)o->slot[0].t->shape[1]);
  else if (!said->absent) snprintf(from, sizeof from, "%lld ", (long long)said->v[said->n - 1]);
  snprintf(buf, n, "%s-> %lld", from, (long long)hidden(o));
}

/* ---- over sequences */

static int init_rnn(snn_obj *o) {
  static const char *const kinds[PER] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh"};
  const int64_t n = snn_arg(o, "num_layers")->i;
  const double p = snn_number(o, "dropout");
  const int per = snn_flag(o, "bias") ? PER : 2, dirs = directions(o);
  if (check_hidden(o) < 0) return -1;
  if (n < 1 || n > LAYERS) return sn_fail("%s: num_layers is %lld; 1 to %d are possible", o->cls->name, (long long)n, LAYERS);
  if (!(p >= 0 && p <= 1)) return sn_fail("%s: dropout is %g; the probability of dropping an element is from 0 to 1", o->cls->name, p);
  rnn *r = (rnn *)o;
  if ((r->name = sn_malloc((size_t)(n * dirs * per) * sizeof *r->name)) == NULL) return -1;
  for (int i = 0; i < n * dirs * per; i++)
    snprintf(r->name[i], NAME, "%s_l%d%s", kinds[i % per], i / per / dirs, i / per % dirs ? "_reverse" : "");
  return 0;
}

static void free_rnn(snn_obj *o) { sn_free(((rnn *)o)->name); }

/* A sample is steps x features; the features alone, where the steps are not known. */
static int build_rnn(snn_obj *o, const snn_shape *in, snn_shape *out) {
  if (in->ndim != 1 && in->ndim != 2) return sn_fail("input is %s for each sample; it wants steps x features", SNN_SHAPE(in));
  const int per = snn_flag(o, "bias") ? PER : 2, dirs = directions(o);
  int64_t features = in->d[in->ndim - 1];
  if (check_features(o, features) < 0) return -1;
  for (int k = 0; k < layers(o) * dirs; k++) {
    const char *names[PER] = {NULL};
    for (int i = 0; i < per; i++) names[i] = ((rnn *)o)->name[k * per + i];
    if (weights(o, k * per, k < dirs ? features : hidden(o) * dirs, names) < 0) return -1;
  }
  *out = *in;
  if (snn_flag(o, "last")) out->ndim = 1;
  out->d[out->ndim - 1] = hidden(o) * dirs;
  return 0;
}

static snt_tensor *turned(snt_tensor *x) { return sno_run(&sno_op_flip, SNO_IN(x), SNO_ATTRS({.kind = SNO_DIMS, .n = 1, .v = {1}})); }

static snt_tensor *state_of(snt_tensor *all, int k) {
  return sno_run(&sno_op_select, SNO_IN(all), SNO_ATTRS({.kind = SNO_DIM, .i = 0}, {.kind = SNO_POS, .i = k}));
}

/* One layer in one direction, the k-th: out is y and the last states. */
static int run_one(snn_obj *o, int k, snt_tensor *x, snt_tensor *h, snt_tensor *c, snt_tensor **out) {
  const bool reverse = k % directions(o) == 1;
  snt_tensor *w[PER], *hk = h ? state_of(h, k) : NULL, *ck = c ? state_of(c, k) : NULL;
  if ((h && hk == NULL) || (c && ck == NULL)) return -1;
  slots_of(o, k * (snn_flag(o, "bias") ? PER : 2), w);
  if (reverse && (x = turned(x)) == NULL) return -1;
  const int rc = is_gru(o) ? sno_invoke(&sno_op_gru, SNO_IN(x, hk, w[W_IH], w[W_HH], w[B_IH], w[B_HH]), -1, 0, NULL, out, NULL, NULL)
                           : sno_invoke(&sno_op_lstm, SNO_IN(x, hk, ck, w[W_IH], w[W_HH], w[B_IH], w[B_HH]), -1, 0, NULL, out, NULL, NULL);
  if (rc == 0 && reverse && (out[0] = turned(out[0])) == NULL) return -1;
  return rc;
}

static snt_tensor *joined(const sno_op *op, int n, snt_tensor *const *list, int dim) {
  snt_tensor *out[SNO_MAXOUT];
  return sno_invoke(op, n, list, n, SNO_ATTRS({.kind = SNO_DIM, .i = dim}), out, NULL, NULL) < 0 ? NULL : out[0];
}

/* All layers. hn, cn: room for the last states of each, or NULL. */
static snt_tensor *run_all(snn_obj *o, snt_tensor *x, snt_tensor *h, snt_tensor *c, snt_tensor **hn, snt_tensor **cn) {
  const int dirs = directions(o), n = layers(o);
  const double p = snn_number(o, "dropout");
  for (int l = 0; l < n && x; l++) {
    snt_tensor *y[2] = {NULL, NULL}, *out[SNO_MAXOUT];
    for (int d = 0; d < dirs; d++) {
      const int k = l * dirs + d;
      if (run_one(o, k, x, h, c, out) < 0) return NULL;
      y[d] = out[0];
      if (hn) hn[k] = out[1], cn[k] = out[2];
    }
    x = dirs == 2 ? joined(&sno_op_cat, 2, y, 2) : y[0];
    if (p > 0 && l + 1 < n) {
      sno_depends(&o->base, &o->training);
      x = sno_run(&sno_op_dropout, SNO_IN(x), SNO_ATTRS(sno_num(p), sno_bool(o->training)));
    }
  }
  return x;
}

static snt_tensor *forward_rnn(snn_obj *o, snt_tensor *x) {
  snt_tensor *hn[LAYERS * 2], *cn[LAYERS * 2];
  if (!snn_flag(o, "last")) return run_all(o, x, NULL, NULL, NULL, NULL);
  if (run_all(o, x, NULL, NULL, hn, cn) == NULL) return NULL;
  const int k = (layers(o) - 1) * directions(o);
  return directions(o) == 2 ? joined(&sno_op_cat, 2, hn + k, 1) : hn[k];
}

static int check_states(const snn_obj *o, const snt_tensor *x, snt_tensor *const *in, int n) {
  static const char *const names[] = {"", "h", "c"};
  const long long want = layers(o) * directions(o);
  for (int i = 1; i <= n; i++)
    if (in[i] && (in[i]->ndim != 3 || in[i]->shape[0] != want || in[i]->shape[1] != x->shape[0] || in[i]->shape[2] != hidden(o)))
      return sn_fail("state %s is %s; it wants %lldx%lldx%lld, layers and directions x samples x hidden", names[i], SNT_SHAPE(in[i]), want,
                     (long long)x->shape[0], (long long)hidden(o));
  if (n == 1 && in[2]) return sn_fail("a GRU has one state, got two");
  return 0;
}

static int step_rnn(snn_obj *o, int nin, snt_tensor *const *in, snt_tensor **out) {
  const int states = is_gru(o) ? 1 : 2, n = layers(o) * directions(o);
  snt_tensor *x = in[0], *hn[LAYERS * 2], *cn[LAYERS * 2];
  (void)nin;
  if (x->ndim != 2 && x->ndim != 3) return sn_fail("step wants n x steps x features, or n x features for one step; got %s", SNT_SHAPE(x));
  const bool one = x->ndim == 2;
  if (check_states(o, x, in, states) < 0) return -1;
  if (one && (x = sno_run(&sno_op_unsqueeze, SNO_IN(x), SNO_ATTRS({.kind = SNO_DIM, .i = 1}))) == NULL) return -1;
  out[0] = run_all(o, x, in[1], in[2], hn, cn);
  if (out[0] == NULL) return -1;
  if (one && (out[0] = sno_run(&sno_op_squeeze, SNO_IN(out[0]), SNO_ATTRS({.kind = SNO_DIMS, .n = 1, .v = {1}}))) == NULL) return -1;
  if ((out[1] = joined(&sno_op_stack, n, hn, 0)) == NULL) return -1;
  if (states == 2 && (out[2] = joined(&sno_op_stack, n, cn, 0)) == NULL) return -1;
  return 1 + states;
}

static void describe_rnn(const snn_obj *o, char *buf, size_t n) {
  describe(o, buf, n);
  const size_t k = strlen(buf);
  char more[24] = "";
  if (layers(o) > 1) snprintf(more, sizeof more, ", %d layers", layers(o));
  snprintf(buf + k, n - k, "%s%s", more, directions(o) == 2 ? ", both directions" : "");
}

#define RNN_CLASS                                                                                                                      \
  .family = SNN_LAYER, .slots = true, .size = sizeof(rnn), .init = init_rnn, .free = free_rnn, .build = build_rnn, .forward = forward_rnn, \
  .carry = step_rnn, .describe = describe_rnn,                                                                                          \
  .args = "hidden_size:int num_layers:int=1 bias:bool=true bidirectional:bool=false dropout:num=0 last:bool=false inshape:ints?"

/*** LSTM(hidden_size, {num_layers=1, bias=true, bidirectional=false, dropout=0, last=false, inshape=})
 * Long short-term memory over sequences, batch first: n x steps x features give n x steps x hidden_size (twice as much with `bidirectional`:
 * forwards, then backwards). `dropout` acts between layers. Called with one tensor it gives y alone, so that it fits between other layers; with
 * `last` only the state each direction ends with, n x hidden_size, which is what a classifier of whole sequences wants. `y, h, c = lstm:step(x, h,
 * c)` (or lstm(x, h, c)) also takes and gives the states, each layers and directions x n x hidden_size; nil means zeros, and x may be n x features,
 * a single step. `inshape` is the number of features, or {steps, features}.
 * @math i, f, o = \sigma(W x_t + U h_{t-1} + b), \quad g = \tanh(W_g x_t + U_g h_{t-1} + b_g), \quad c_t = f \odot c_{t-1} + i \odot g, \quad
 *   h_t = o \odot \tanh c_t
 * @grad \bar W = \sum_t \bar a_t\, x_t^T, \quad \bar U = \sum_t \bar a_t\, h_{t-1}^T, \quad \bar x_t = W^T \bar a_t
 * @source Hochreiter, Schmidhuber 1997
 * @see lstm, LSTMCell
 */
const snn_class snn_class_LSTM = {.name = "LSTM", RNN_CLASS};

/*** GRU(hidden_size, {num_layers=1, bias=true, bidirectional=false, dropout=0, last=false, inshape=})
 * Gated recurrent units over sequences, batch first: n x steps x features give n x steps x hidden_size (twice as much with `bidirectional`). Called
 * with one tensor it gives y alone, with `last` only the state each direction ends with. `y, h = gru:step(x, h)` (or gru(x, h)) also takes and gives
 * the state, layers and directions x n x hidden_size; nil means zeros, and x may be n x features, a single step.
 * @math r, z = \sigma(W x_t + b + U h_{t-1} + b'), \quad n = \tanh(W_n x_t + b_n + r \odot (U_n h_{t-1} + b'_n)), \quad h_t = (1 - z) \odot n + z
 *   \odot h_{t-1}
 * @grad \bar W = \sum_t \bar a_t\, x_t^T, \quad \bar U = \sum_t \bar a'_t\, h_{t-1}^T, \quad \bar x_t = W^T \bar a_t
 * @source Cho et al. 2014
 * @see gru, GRUCell
 */
const snn_class snn_class_GRU = {.name = "GRU", RNN_CLASS};

/* ---- cells */

static int build_cell(snn_obj *o, const snn_shape *in, snn_shape *out) {
  static const char *const names[PER] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh"};
  if (in->ndim != 1) return sn_fail("input is %s for each sample; a cell wants features: one step", SNN_SHAPE(in));
  if (check_features(o, in->d[0]) < 0 || weights(o, 0, in->d[0], names) < 0) return -1;
  out->d[0] = hidden(o);
  return 0;
}

static int step_cell(snn_obj *o, int nin, snt_tensor *const *in, snt_tensor **out) {
  snt_tensor *w[PER];
  (void)nin;
  slots_of(o, 0, w);
  if (is_gru(o) && in[2]) return sn_fail("a GRU has one state, got two");
  if (is_gru(o)) return sno_invoke(&sno_op_gru_cell, SNO_IN(in[0], in[1], w[W_IH], w[W_HH], w[B_IH], w[B_HH]), -1, 0, NULL, out, NULL,
      NULL) < 0 ? -1 : 1;
  return sno_invoke(&sno_op_lstm_cell, SNO_IN(in[0], in[1], in[2], w[W_IH], w[W_HH], w[B_IH], w[B_HH]), -1, 0, NULL, out, NULL, NULL) < 0 ? -1 : 2;
}

static snt_tensor *forward_cell(snn_obj *o, snt_tensor *x) {
  snt_tensor *in[3] = {x, NULL, NULL}, *out[SNO_MAXOUT];
  return step_cell(o, 3, in, out) < 0 ? NULL : out[0];
}

#define CELL_CLASS                                                                                                           \
  .family = SNN_LAYER, .slots = true, .init = init_cell, .build = build_cell, .forward = forward_cell, .carry = step_cell, .describe = describe, \
  .args = "hidden_size:int bias:bool=true inshape:ints?"

static int init_cell(snn_obj *o) { return check_hidden(o); }

/*** LSTMCell(hidden_size, {bias=true, inshape=})
 * One step of an LSTM: `h, c = cell(x, h, c)`, where x is n x features and the states are n x hidden_size (nil: zeros). Called with x alone it gives
 * h; cell:step(x) gives both.
 * @math i, f, o = \sigma(W x + U h + b), \quad g = \tanh(W_g x + U_g h + b_g), \quad c' = f \odot c + i \odot g, \quad h' = o \odot \tanh c'
 * @grad \bar W = \bar a\, x^T, \quad \bar U = \bar a\, h^T, \quad \bar x = W^T \bar a
 * @see lstm_cell, LSTM
 */
const snn_class snn_class_LSTMCell = {.name = "LSTMCell", CELL_CLASS};

/*** GRUCell(hidden_size, {bias=true, inshape=})
 * One step of a GRU: `h = cell(x, h)`, where x is n x features and h is n x hidden_size (nil: zeros).
 * @math r, z = \sigma(W x + b + U h + b'), \quad n = \tanh(W_n x + b_n + r \odot (U_n h + b'_n)), \quad h' = (1 - z) \odot n + z \odot h
 * @grad \bar W = \bar a\, x^T, \quad \bar U = \bar a'\, h^T, \quad \bar x = W^T \bar a
 * @see gru_cell, GRU
 */
const snn_class snn_class_GRUCell = {.name = "GRUCell", CELL_CLASS};
