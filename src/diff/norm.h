/* norm.h - what the normalisations share. */
#ifndef SNO_NORM_H
#define SNO_NORM_H
#include "calc/norm.h"
#include "diff/op.h"

int sno_norm_checks(const sno_call *c, double epsilon); /* in[0] floating, epsilon not negative */

/* Gradients in plain operations of y = (x - mean) / sqrt(var + epsilon) weight + bias, inputs 0 to 2. */
typedef struct sno_norm_plain_args {
  snt_tensor *weight;      /* of a shape that broadcasts to x; NULL: none */
  snt_tensor *mean, *var;  /* likewise; NULL: those of x itself over `dims` */
  sno_val dims;
  double epsilon;
  bool centered;           /* false: mean is 0 */
  bool channels;           /* weight and bias have one number for each index of the dimension that is not in dims */
} sno_norm_plain_args;
int sno_norm_plain(sno_back *b, const sno_norm_plain_args *p);
#endif
