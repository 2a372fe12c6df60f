/* idx.h - the IDX files of MNIST and its kin, plain or gzipped. */
#ifndef SNF_IDX_H
#define SNF_IDX_H
#include "core/tensor.h"

/* A tensor of uint8, int32, float32 or float64 (bytes with a sign and 16-bit numbers become int32); NULL after sn_fail_io (or memory).
 * With a scale other than 0 the file must hold bytes (images); they become float32 and are multiplied by it on their way. */
snt_tensor *snf_idx_read(const char *path, float scale);

#endif
