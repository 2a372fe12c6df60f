/* both.h - the rows of a kernel for float and for double: reads the file that SNK_ROWS names twice, with the words it is written in.
 *
 * Of doubles not where the file says SNK_ROWS_DOUBLES 0.
 * T the number, V its vector of L lanes, VM the mask beside it, W(f) the vector word f (vec.h), N(name) the function's name for this type.
 */
#define T float
#define V vf
#define VM vfm
#define L VF
#define W(f) vf_##f
#define N(name) name##_f32
#include SNK_ROWS
#undef T
#undef V
#undef VM
#undef L
#undef W
#undef N
#ifndef SNK_ROWS_DOUBLES
#define SNK_ROWS_DOUBLES 1
#endif
#if SNK_ROWS_DOUBLES
SNK_SMALL_BEGIN
#define T double
#define V vd
#define VM vdm
#define L VD
#define W(f) vd_##f
#define N(name) name##_f64
#include SNK_ROWS
#undef T
#undef V
#undef VM
#undef L
#undef W
#undef N
SNK_SMALL_END
#endif
#undef SNK_ROWS
#undef SNK_ROWS_DOUBLES
