/* embed.c - a vector for each token: Embedding. */
#include <stdio.h>
#include "base/error.h"
#include "nn/nn.h"

static int init_embedding(snn_obj *o) {
  const int64_t n = snn_arg(o, "num_embeddings")->i, dim = snn_arg(o, "embedding_dim")->i, base = snn_arg(o, "base")->i;
  const sno_val *pad = snn_arg(o, "padding_idx");
  if (n < 1 || dim < 1) return sn_fail("Embedding: %lld x %lld; both sizes are at least 1", (long long)n, (long long)dim);
  if (!pad->absent && (pad->i < base || pad->i >= base + n))
    return sn_fail("Embedding: padding_idx is %lld; tokens are %lld to %lld", (long long)pad->i, (long long)base, (long long)(base + n - 1));
  return 0;
}

/* Its sizes are arguments, so it can be built without knowing what comes in. */
static bool inshape_embedding(const snn_obj *o, snn_shape *in) {
  const sno_val *said = snn_arg(o, "inshape");
  in->ndim = said->absent ? 0 : said->n;
  for (int i = 0; i < in->ndim; i++) in->d[i] = said->v[i];
  return true;
}

static int build_embedding(snn_obj *o, const snn_shape *in, snn_shape *out) {
  int bad = 0;
  const int64_t n = snn_arg(o, "num_embeddings")->i, dim = snn_arg(o, "embedding_dim")->i;
  const sno_val *pad = snn_arg(o, "padding_idx");
  if (in->ndim + 1 >= SNT_MAXDIM) return sn_fail("input has %d dimensions, one too many for an embedding", in->ndim);
  const bool fresh = o->nslot == 0;
  snn_obj *init = snn_arg_object(o, "init", SNN_INIT, &bad);
  if (bad) return -1;
  snn_obj *normal = init ? NULL : snn_new(snn_find("Normal"), 2, (sno_val[]){sno_num(0), sno_num(1)}, 0, NULL);
  if (init == NULL && normal == NULL) return -1;
  const int rc = snn_slot_new(o, 0, "weight", true, 2, (int64_t[]){n, dim}, init ? init : normal, NULL);
  snn_release(normal);
  if (rc < 0) return -1;
  if (fresh && !pad->absent) { /* the padding's row is zero and stays so */
    snt_tensor *row = snt_select(o->slot[0].t, 0, pad->i - snn_arg(o, "base")->i);
    if (row == NULL) return -1;
    for (int64_t i = 0; i < dim; i++) *(float *)snt_at(row, i) = 0;
    snt_release(row);
  }
  *out = *in;
  out->d[out->ndim++] = dim;
  return 0;
}

static snt_tensor *forward_embedding(snn_obj *o, snt_tensor *x) {
  return snn_op("embedding", SNO_IN(x, o->slot[0].t), SNN_OPTS({"padding_idx", *snn_arg(o, "padding_idx")}, {"base", *snn_arg(o, "base")}));
}

static void describe_embedding(const snn_obj *o, char *buf, size_t n) {
  snprintf(buf, n, "%lld -> %lld", (long long)snn_arg(o, "num_embeddings")->i, (long long)snn_arg(o, "embedding_dim")->i);
}

/*** Embedding(num_embeddings, embedding_dim, {padding_idx=, init=sn.Normal{std=1}, inshape=})
 * A trained vector for each token number (from 1): tokens of any shape give that shape with one dimension more. The row of padding_idx is zero
 * and is not trained.
 * @math y_{i} = W_{x_i}
 * @grad \bar W_k = \sum_{i:\, x_i = k} \bar y_i
 * @see embedding
 */
const snn_class snn_class_Embedding = {
    .name = "Embedding", .family = SNN_LAYER, .slots = true, .init = init_embedding, .build = build_embedding, .forward = forward_embedding,
    .inshape = inshape_embedding, .describe = describe_embedding,
    .args = "num_embeddings:int embedding_dim:int padding_idx:int? init:foreign? inshape:ints? base:base"};
