/* tail.h - the end of a row in a reduction: what a part of a vector is filled with must not change the result. After calc/vec.h, in *.isa.c files. */
#ifndef SNK_TAIL_H
#define SNK_TAIL_H
#include "calc/vec.h"

#define SNK_TAIL_WORDS(V, M, T, L, X)                                                                            \
  INL V X##_get(const T *p, int64_t n) { return n >= L ? X##_load(p) : X##_load_part(p, n); }                    \
  INL void X##_set(T *p, V v, int64_t n) { if (n >= L) X##_store(p, v); else X##_store_part(p, v, n); }          \
  INL V X##_keep(M m, V a) { return (V)((M)a & m); } /* 0 where the mask is off */                               \
  INL T X##_top(V v) { return X##_any(X##_nan(v)) ? (T)NAN : X##_highest(v); } /* the largest; NaN passes */
SNK_TAIL_WORDS(vf, vfm, float, VF, vf)
SNK_TAIL_WORDS(vd, vdm, double, VD, vd)

#endif
