/* map_ints.h - body of map.c for one integer type. FLT lines have no integer form. */
#define FLT_1(name, F)
#define FLT_2(name, F)
#define NUM_1(name, F) INT_ROW1(name, F)
#define NUM_2(name, F) INT_ROW2(name, F)
#define FLT_HIGH_1 FLT_1
#define NUM_HIGH_2 NUM_2
#define MAP1(name, kinds, options, saved, F, G, samples, wrong) kinds##_1(name, F)
#define MAP2(name, kinds, options, saved, F, GA, GB, samples, wrong) kinds##_2(name, F)
#define CMP2(name, op, samples)
#include "calc/map.def"
#undef FLT_1
#undef FLT_2
#undef NUM_1
#undef NUM_2
#undef FLT_HIGH_1
#undef NUM_HIGH_2
