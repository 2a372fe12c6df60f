/* conv.h - what programs must know of conv2d_norm to make it of the operations it stands for. */
#ifndef SNO_CONV_H
#define SNO_CONV_H
#include <stddef.h>
#include <stdint.h>

/* Inputs behind conv2d's three, and attributes behind its four. */
enum { SNO_CONV_SCALE = 3, SNO_CONV_SHIFT, SNO_CONV_MEAN, SNO_CONV_VAR, SNO_CONV_ADD, SNO_CONV_INPUTS };
enum { SNO_CONV_EPSILON = 4, SNO_CONV_RELU, SNO_CONV_ATTRS };
/* Bytes of scratch beside conv2d's own. */
static inline size_t sno_conv_norm_room(int64_t channels) { return (size_t)(channels * 2 * 8 + 63) / 64 * 64; }
#endif
