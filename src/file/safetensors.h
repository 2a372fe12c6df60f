/* safetensors.h - tensors by name in one file: eight bytes of length, a JSON header, the numbers. */
#ifndef SNF_SAFETENSORS_H
#define SNF_SAFETENSORS_H
#include "core/tensor.h"
#include "file/bytes.h"

typedef struct snf_named { snf_str name; snt_tensor *tensor; } snf_named;
typedef struct snf_pair { snf_str key, value; } snf_pair;
typedef struct snf_bundle {
  snf_named *tensors;
  snf_pair *meta;
  int n, nmeta;
  char *text;          /* what the names point into, if they are its own */
} snf_bundle;

/* Everything in the file, whatever its bytes are: 0, or -1 after a message of one line (SN_ERROR_IO, or memory). Tensors as they lie in the file. */
int snf_safetensors_read(const char *path, snf_bundle *out);
/* Written beside, synced, renamed. The bundle is borrowed. */
int snf_safetensors_write(const char *path, const snf_bundle *in);
void snf_bundle_free(snf_bundle *b);

#endif
