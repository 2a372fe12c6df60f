/* pool.isa.c - pooling for one instruction set. */
#include "calc/pool.h"
#include "calc/vec.h"

#if SNK_BYTES == 64
#define EVENF(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
#define ODDF(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)
#define LOWF(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGHF(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#endif
#if SNK_BYTES >= 32
#define EVEN8(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14)
#define ODD8(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15)
#define LOW8(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH8(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#endif
#define EVEN4(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6)
#define ODD4(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7)
#define LOW4(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HIGH4(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#if SNK_BYTES == 64
#define EVEND EVEN8
#define ODDD ODD8
#define LOWD LOW8
#define HIGHD HIGH8
#elif SNK_BYTES == 32
#define EVENF EVEN8
#define ODDF ODD8
#define LOWF LOW8
#define HIGHF HIGH8
#define EVEND EVEN4
#define ODDD ODD4
#define LOWD LOW4
#define HIGHD HIGH4
#else
#define EVENF EVEN4
#define ODDF ODD4
#define LOWF LOW4
#define HIGHF HIGH4
#define EVEND(a, b) __builtin_shufflevector(a, b, 0, 2)
#define ODDD(a, b) __builtin_shufflevector(a, b, 1, 3)
#define LOWD EVEND
#define HIGHD ODDD
#endif

#define T float
#define V vf
#define VM vfm
#define L VF
#define W(f) vf_##f
#define N(name) name##_f32
#define EVEN EVENF
#define ODD ODDF
#define LOW LOWF
#define HIGH HIGHF
#include "calc/pool_plane.h"
#undef T
#undef V
#undef VM
#undef L
#undef W
#undef N
#undef EVEN
#undef ODD
#undef LOW
#undef HIGH
#define T double
#define V vd
#define VM vdm
#define L VD
#define W(f) vd_##f
#define N(name) name##_f64
#define EVEN EVEND
#define ODD ODDD
#define LOW LOWD
#define HIGH HIGHD
#include "calc/pool_plane.h"

const snk_pool SNK_FN(snk_pool) = {
    {max_f32, max_back_f32, pick_f32, mean_f32, mean_back_f32},
    {max_f64, max_back_f64, pick_f64, mean_f64, mean_back_f64},
};
