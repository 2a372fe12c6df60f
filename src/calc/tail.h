/* tail.h - the end of a row in a reduction: what a part of a vector is filled with must not change the result. After calc/vec.h, in *.isa.c files. */
#ifndef SNK_TAIL_H
#define SNK_TAIL_H
#include "calc/vec.h"

#define SNK_TAIL_WORDS(V, M, T, L, X)                                                                            \
  INL M X##_first(int64_t n) { M m = {0}; for (int l = 0; l < L; l++) m[l] = l < n ? -1 : 0; return m; }               \
  INL V X##_load_fill(const T *p, int64_t n, T fill) { V v = X##_splat(fill); memcpy(&v, p, (size_t)n * sizeof(T)); return v; } \
  INL V X##_get(const T *p, int64_t n) { return n >= L ? X##_load(p) : X##_load_part(p, n); }                    \
  INL void X##_set(T *p, V v, int64_t n) { if (n >= L) X##_store(p, v); else X##_store_part(p, v, n); }          \
  INL V X##_keep(M m, V a) { return (V)((M)a & m); } /* 0 where the mask is off */                               \
  INL T X##_top(V v) { T t = v[0]; for (int l = 1; l < L; l++) t = t > v[l] || t != t ? t : v[l]; return t; } /* NaN passes */
SNK_TAIL_WORDS(vf, vfm, float, VF, vf)
SNK_TAIL_WORDS(vd, vdm, double, VD, vd)

#endif
