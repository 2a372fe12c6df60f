/* act.c - activation layers: each is an operation of the same arguments. The list is act.def. */
#include <stdio.h>
#include "nn/nn.h"

static snt_tensor *forward_act(snn_obj *o, snt_tensor *x) {
  const sno_op *op = snn_find_op(o->cls->op);
  return op ? sno_run(op, 1, &x, o->nval, o->val) : NULL;
}

static void describe_act(const snn_obj *o, char *buf, size_t n) {
  if (o->nval == 1 && o->val[0].kind == SNO_NUM) snprintf(buf, n, "%g", o->val[0].d);
}

#define ACT(name_, op_, args_, head_)                                                                                        \
  const snn_class snn_class_##name_ = {.name = #name_, .family = SNN_LAYER, .args = args_, .op = #op_, .linear_head = head_, \
                                       .forward = forward_act, .describe = describe_act};
#include "nn/act.def"
#undef ACT

static snt_tensor *forward_noop(snn_obj *o, snt_tensor *x) {
  (void)o;
  return x;
}

/*** Noop()
 * Gives its input back: an activation that is none.
 * @math y = x
 * @grad \bar x = \bar y
 */
const snn_class snn_class_Noop = {.name = "Noop", .family = SNN_LAYER, .args = "", .forward = forward_noop};
