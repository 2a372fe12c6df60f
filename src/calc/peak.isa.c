/* peak.isa.c - what this instruction set can do at most. */
#include "calc/peak.h"
#include "calc/vec.h"

enum { CHAINS = 12 }; /* two a cycle, four to six cycles each; sixteen registers hold them with a and b */

#define SNK_ROWS "calc/peak_loops.h"
#include "calc/both.h"

const snk_peak SNK_FN(snk_peak) = {{2 * CHAINS * VF, fma_f32, read_f32, copy_f32}, {2 * CHAINS * VD, fma_f64, read_f64, copy_f64}};
