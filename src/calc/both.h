/* both.h - the rows of a kernel for float and for double: reads the file that SNK_ROWS names twice, with the words it is written in.
 *
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
#undef SNK_ROWS
SNK_SMALL_END
