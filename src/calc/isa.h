/* isa.h - how one kernel source becomes several: files named *.isa.c are compiled once per instruction set.
 *
 * The Makefile compiles each calc/X.isa.c with -DSNK_ISA=baseline, avx2 and avx512 (and -mavx2 -mfma -mf16c, -mavx512f -mavx512bw
 * -mavx512dq -mavx512vl -mfma -mf16c). Every function in such a file is static, except one constant table of function pointers,
 * `const snk_X SNK_FN(snk_X)`. Column X declares the struct in calc/X.h and says SNK_TABLE(X) there; callers use snk_X_now()->f(...).
 * Files named *.bf16.c are compiled once, for AVX-512 with AVX512-BF16 (x86-64 only): products of bfloat16 numbers, used where sn_halves(), AMX's
 * instructions in them where sn_amx(); all else of these sets is AVX-512's.
 * Compiled with -ffp-contract=off like all else: a fused multiply-add is written as such (v_fma in vec.h), never left to the compiler.
 */
#ifndef SNK_ISA_H
#define SNK_ISA_H
#include <stdbool.h>
#include <stdint.h>
#include "base/cpu.h"

#define SNK_CAT_(a, b) a##_##b
#define SNK_CAT(a, b) SNK_CAT_(a, b)
#define SNK_FN(name) SNK_CAT(name, SNK_ISA) /* snk_gemm -> snk_gemm_avx2 */

/* 1 in the set of x86 processors without AVX2: nobody is left with it who has a choice, so it is compiled for size (OPT_baseline in the Makefile),
 * loops of a constant count stay loops, and few shapes of a tile have kernels. Elsewhere the baseline is all there is. */
#if (defined(__x86_64__) || defined(__i386__)) && !defined(__AVX2__)
#define SNK_OLD 1
#else
#define SNK_OLD 0
#endif

/* Around the double half of a kernel: compiled for size, because float is what networks run in. Products and convolutions are not. */
#if defined(__clang__)
#define SNK_SMALL_BEGIN
#define SNK_SMALL_END
#define SNK_LONG_BEGIN
#define SNK_LONG_END
#define SNK_ALONE
#else
#define SNK_SMALL_BEGIN _Pragma("GCC push_options") _Pragma("GCC optimize(\"Os\")")
#define SNK_SMALL_END _Pragma("GCC pop_options")
/* Around plain loops over elements that the compiler makes vectors of (clang does by itself), and before one whose result is an operand or meets none. */
#define SNK_LONG_BEGIN _Pragma("GCC push_options") _Pragma("GCC optimize(\"tree-vectorize\", \"vect-cost-model=dynamic\")")
#define SNK_LONG_END _Pragma("GCC pop_options")
#define SNK_ALONE _Pragma("GCC ivdep")
#endif

/* First in a function that code without AVX calls and that may be compiled for size, where GCC by itself leaves the upper halves of the vector registers as
 * they are: the caller's next number would wait for them (sums of 1,024 rows of doubles 1.6 times as long; Intel, family 6, model 207). */
#if defined(__AVX__)
static inline __attribute__((always_inline)) void snk_clean(const char *at) {
  (void)at;
  __builtin_ia32_vzeroupper();
}
#define SNK_CLEAN __attribute__((cleanup(snk_clean), unused)) const char clean_ = 0;
#else
#define SNK_CLEAN
#endif

/* Asks for the line `bytes` behind p, to be read or to be written; what p points into may end before it. */
#define SNK_ASK(p, bytes) __builtin_prefetch((const void *)((uintptr_t)(p) + (uintptr_t)(bytes)))
#define SNK_ASK_TO_WRITE(p, bytes) __builtin_prefetch((const void *)((uintptr_t)(p) + (uintptr_t)(bytes)), 1)

/* 0 in the set of AVX-512: a column that keeps no doubles of its own there (their functions are libm's, lane by lane, or wait for memory) uses AVX2's,
 * snk_X_doubles_now(). */
#if defined(__AVX512F__)
#define SNK_DOUBLES 0
#else
#define SNK_DOUBLES 1
#endif
#define SNK_TABLE_DOUBLES(col) SNK_TABLE_FOR(col, snk_##col##_doubles_now, sn_isa() < SN_ISA_AVX2 ? sn_isa() : SN_ISA_AVX2)

/* A column of a snk_X_type f32 and one f64, which is empty where SNK_DOUBLES is 0: snk_X_of(f64) is the one to call. */
#define SNK_TABLE_TYPES(col)                                              \
  SNK_TABLE(col)                                                          \
  SNK_TABLE_DOUBLES(col)                                                  \
  static inline const snk_##col##_type *snk_##col##_of(bool f64) {        \
    return f64 ? &snk_##col##_doubles_now()->f64 : &snk_##col##_now()->f32; \
  }

/* SNK_TABLE_FOR: a column under another name, for another choice. */
#define SNK_TABLE(col) SNK_TABLE_FOR(col, snk_##col##_now, sn_isa())
#if defined(__x86_64__) || defined(__i386__)
#define SNK_TABLE_FOR(col, now, isa)                                                    \
  extern const snk_##col snk_##col##_baseline, snk_##col##_avx2, snk_##col##_avx512;    \
  static inline const snk_##col *now(void) {                                            \
    static const snk_##col *const table[SN_ISA_COUNT] = {&snk_##col##_baseline, &snk_##col##_avx2, &snk_##col##_avx512, &snk_##col##_avx512, &snk_##col##_avx512}; \
    return table[isa];                                                                  \
  }
#else
#define SNK_TABLE_FOR(col, now, isa)                                                    \
  extern const snk_##col snk_##col##_baseline;                                          \
  static inline const snk_##col *now(void) { return &snk_##col##_baseline; }
#endif

#endif
