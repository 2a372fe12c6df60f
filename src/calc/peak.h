/* peak.h - what this machine can do at most with this instruction set: multiply-adds in registers, numbers read and copied in a stream.
 * A kernel's share of these is how near it is to its limit (slugnet bench). */
#ifndef SNK_PEAK_H
#define SNK_PEAK_H
#include <stdint.h>
#include "calc/isa.h"

typedef struct snk_peak_type {
  int64_t flops;                                     /* of one turn of fma */
  double (*fma)(int64_t turns, const void *two);     /* two numbers a, b: x = x * a + b in as many chains as hide the latency */
  double (*read)(const void *x, int64_t n);
  void (*copy)(void *y, const void *x, int64_t n);
} snk_peak_type;
typedef struct snk_peak { snk_peak_type f32, f64; } snk_peak;
SNK_TABLE(peak)
#endif
