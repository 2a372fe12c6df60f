/* slugnet.h - the stable C interface: what a program without Lua may rely on. */
#ifndef SLUGNET_H
#define SLUGNET_H

#define SLUG_VERSION "0.1.0"

#if defined(__GNUC__)
#define SLUG_API __attribute__((visibility("default")))
#else
#define SLUG_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

SLUG_API const char *slug_version(void);       /* of the library, as SLUG_VERSION is of this header */
SLUG_API const char *slug_error_message(void); /* of this thread's last failure; "" when there was none */

/* -- tensors by name in a safetensors file */
typedef struct slug_file slug_file;
typedef struct slug_array {
  const char *name;      /* these three point into the file's memory and live until slug_close */
  const char *dtype;     /* "float32" "float64" "float16" "bfloat16" "int64" "int32" "uint8" "bool" */
  const void *data;      /* contiguous, the last dimension fastest */
  int ndim;
  long long shape[8];
} slug_array;
SLUG_API slug_file *slug_open(const char *path);              /* NULL on failure, slug_error_message says why */
SLUG_API int slug_count(const slug_file *f);
SLUG_API int slug_get(const slug_file *f, int i, slug_array *out);                 /* by place, from 0; 0, or -1 */
SLUG_API int slug_find(const slug_file *f, const char *name, slug_array *out);     /* by name; 0, or -1 */
SLUG_API void slug_close(slug_file *f);                       /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
