/* map.h - the elementwise operations by name, for C: sno_add(a, b), sno_exp(x), ... from the formula book, and the few beside it. */
#ifndef SNO_MAP_H
#define SNO_MAP_H
#include "calc/map.h"
#include "diff/op.h"

#define MAP1(name, ...)                                                        \
  extern const sno_op sno_op_##name, sno_op_##name##_, sno_op_##name##_backward; \
  static inline snt_tensor *sno_##name(snt_tensor *x) { return sno_call1(&sno_op_##name, x); }
#define MAP2(name, ...)                                                        \
  extern const sno_op sno_op_##name, sno_op_##name##_;                         \
  static inline snt_tensor *sno_##name(snt_tensor *a, snt_tensor *b) { return sno_call2(&sno_op_##name, a, b); }
#define CMP2(name, ...)                                                        \
  extern const sno_op sno_op_##name;                                           \
  static inline snt_tensor *sno_##name(snt_tensor *a, snt_tensor *b) { return sno_call2(&sno_op_##name, a, b); }
#include "calc/map.def"

extern const sno_op sno_op_where, sno_op_lerp, sno_op_to, sno_op_copy_, sno_op_fill_, sno_op_logical_and, sno_op_logical_or,
    sno_op_logical_xor, sno_op_logical_not, sno_op_isnan, sno_op_isinf, sno_op_isfinite;

static inline snt_tensor *sno_where(snt_tensor *c, snt_tensor *a, snt_tensor *b) { return sno_call3(&sno_op_where, c, a, b); }
snt_tensor *sno_to(snt_tensor *x, sn_dtype t);
snt_tensor *sno_weak(double v);            /* a number as a weak 0-d tensor, scope-owned */
static inline snt_tensor *sno_scale(snt_tensor *x, double c) { return sno_mul(x, sno_weak(c)); }

/* What the program builder may know of an elementwise operation. */
typedef struct sno_map {
  int row;                                 /* number of its row kernel, -1: none (where, to, ...) */
  int nin;
  bool compare;                            /* bool result */
  bool floating;                           /* FLT line */
} sno_map;
static inline const sno_map *sno_map_of(const sno_op *op) { return op->data; } /* only for operations of the book */
bool sno_is_map(const sno_op *op);
bool sno_map_halves(const sno_op *op, int nin, snt_tensor *const *in); /* may it be called with these two-byte floats as they are? */
int sno_map_params(const sno_op *op, const sno_val *attr, double *param); /* how many */

#endif
