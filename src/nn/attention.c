/* attention.c - attention of a sequence to itself by several heads: MultiheadAttention. Weights have PyTorch's names and layouts. */
#include <math.h>
#include <stdio.h>
#include "base/error.h"
#include "diff/ops.h"
#include "nn/nn.h"


static int64_t width(const snn_obj *o) { return snn_arg(o, "embed_dim")->i; }
static int64_t heads(const snn_obj *o) { return snn_arg(o, "num_heads")->i; }

/* Slots in PyTorch's order: in_proj_weight, in_proj_bias, out_proj.weight, out_proj.bias. */
static int out_slot(const snn_obj *o) { return snn_flag(o, "bias") ? 2 : 1; }

static int init_attention(snn_obj *o) {
  if (width(o) < 1) return sn_fail("MultiheadAttention: embed_dim is %lld; it is at least 1", (long long)width(o));
  if (heads(o) < 1 || width(o) % heads(o) != 0)
    return sn_fail("MultiheadAttention: %lld features cannot be divided into %lld heads", (long long)width(o), (long long)heads(o));
  return 0;
}

/* The width is an argument, so it can be built without knowing what comes in. */
static bool inshape_attention(const snn_obj *o, snn_shape *in) {
  const sno_val *said = snn_arg(o, "inshape");
  in->ndim = said->absent ? 1 : said->n;
  in->d[0] = width(o);
  for (int i = 0; !said->absent && i < in->ndim; i++) in->d[i] = said->v[i];
  return true;
}

static int build_attention(snn_obj *o, const snn_shape *in, snn_shape *out) {
  const int64_t e = width(o), three = 3 * e;
  if (in->ndim != 1 && in->ndim != 2) return sn_fail("input is %s for each sample; it wants steps x features", SNN_SHAPE(in));
  if (in->d[in->ndim - 1] != e) return sn_fail("input has %lld features, embed_dim is %lld", (long long)in->d[in->ndim - 1], (long long)e);
  const double bound = 1 / sqrt((double)e);
  snn_obj *uniform = snn_new(snn_find("Uniform"), 2, (sno_val[]){sno_num(-bound), sno_num(bound)}, 0, NULL);
  int rc = uniform ? snn_slot_new(o, 0, "in_proj_weight", true, 2, (int64_t[]){three, e}, NULL, "GlorotUniform") : -1;
  if (rc == 0 && snn_flag(o, "bias")) rc = snn_slot_new(o, 1, "in_proj_bias", true, 1, &three, NULL, "Zero");
  if (rc == 0) rc = snn_slot_new(o, out_slot(o), "out_proj.weight", true, 2, (int64_t[]){e, e}, uniform, NULL);
  if (rc == 0 && snn_flag(o, "bias")) rc = snn_slot_new(o, 3, "out_proj.bias", true, 1, &e, NULL, "Zero");
  snn_release(uniform);
  *out = *in;
  return rc;
}

/* The projection's result is read, and its gradient written, where it lies: q, k and v side by side. */
static snt_tensor *forward_attention(snn_obj *o, snt_tensor *x) {
  const bool bias = snn_flag(o, "bias");
  if (x->ndim != 3 || x->shape[2] != width(o)) {
    sn_fail("input is %s; it wants n x steps x %lld", SNT_SHAPE(x), (long long)width(o));
    return NULL;
  }
  snt_tensor *qkv = sno_run(&sno_op_linear, SNO_IN(x, o->slot[0].t, bias ? o->slot[1].t : NULL), 0, NULL), *out[SNO_MAXOUT];
  if (qkv == NULL) return NULL;
  if (x->shape[1] == 0) {
    sn_fail("input is %s, a sequence without steps; it wants at least one", SNT_SHAPE(x));
    return NULL;
  }
  const double scale = 1 / sqrt((double)(width(o) / heads(o)));
  if (sno_invoke(&sno_op_attention_run, SNO_IN(qkv, NULL, NULL, NULL), -1, SNO_ATTRS(*snn_arg(o, "causal"), sno_num(scale), sno_int(heads(o))),
      out, NULL, NULL) < 0)
    return NULL;
  return sno_run(&sno_op_linear, SNO_IN(out[0], o->slot[out_slot(o)].t, bias ? o->slot[3].t : NULL), 0, NULL);
}

static void describe_attention(const snn_obj *o, char *buf, size_t n) {
  snprintf(buf, n, "%lld, %lld head%s%s", (long long)width(o), (long long)heads(o), heads(o) == 1 ? "" : "s",
      snn_flag(o, "causal") ? ", causal" : "");
}

/*** MultiheadAttention(embed_dim, num_heads, {causal=false, bias=true, inshape=})
 * Attention of sequences to themselves, batch first: n x steps x embed_dim gives the same shape. Queries, keys and values are made by one map
 * (in_proj_weight, 3 embed_dim x embed_dim), each head attends within embed_dim / num_heads of their features, and a last map (out_proj) mixes the
 * heads. With `causal` a step sees itself and those before it. For attention to another sequence or with a mask there is
 * sn.scaled_dot_product_attention.
 * @math y = \mathrm{concat}_i\left(\mathrm{softmax}(q_i k_i^T / \sqrt d)\, v_i\right) W_o^T + b_o, \quad q, k, v = x W^T + b
 * @grad \bar W = \overline{qkv}^T x, \quad \bar x = \overline{qkv}\, W, \quad \bar W_o = \bar y^T a, \quad a \text{ the heads' results}
 * @source Vaswani et al. 2017
 * @see scaled_dot_product_attention
 */
const snn_class snn_class_MultiheadAttention = {
    .name = "MultiheadAttention", .family = SNN_LAYER, .slots = true, .init = init_attention, .build = build_attention, .forward = forward_attention,
    .inshape = inshape_attention, .describe = describe_attention,
        .args = "embed_dim:int num_heads:int causal:bool=false bias:bool=true inshape:ints?"};
