/* dims.c - dimensions given as attributes, checked and counted from the front. */
#include "diff/dims.h"
#include "base/error.h"

static int fix(const sno_call *c, const snt_tensor *x, int ndim, int64_t *d) {
  const int64_t top = ndim > 0 ? ndim : 1, at = *d < 0 ? *d + top : *d;
  if (at < 0 || at >= top)
    return sn_fail("%s: there is no dimension %lld in a tensor of shape %s; 1 to %lld or -1 to -%lld would do", c->op->name, (long long)(*d < 0 ? *d : *d + 1),
                   SNT_SHAPE(x), (long long)top, (long long)top);
  *d = at;
  return 0;
}

int sno_fix_dim(sno_call *c, int k, const snt_tensor *x, int ndim) { return fix(c, x, ndim, &c->attr[k].i); }

int sno_fix_dims(sno_call *c, int k, const snt_tensor *x, unsigned *mask) {
  sno_val *v = &c->attr[k];
  *mask = 0;
  if (v->absent || v->n == 0) {
    *mask = (1u << x->ndim) - 1;
    return 0;
  }
  for (int i = 0; i < v->n; i++) {
    if (fix(c, x, x->ndim, &v->v[i]) < 0) return -1;
    if (*mask >> v->v[i] & 1) return sn_fail("%s: dimension %lld is named twice", c->op->name, (long long)v->v[i] + 1);
    *mask |= 1u << v->v[i];
  }
  return 0;
}
