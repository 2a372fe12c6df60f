/* dtype.h - the eight number types, one table. */
#ifndef SN_DTYPE_H
#define SN_DTYPE_H
#include <stddef.h>
#include <stdint.h>

typedef enum sn_dtype { SN_F32, SN_F64, SN_F16, SN_BF16, SN_I64, SN_I32, SN_U8, SN_BOOL, SN_DTYPES } sn_dtype;

typedef struct sn_dtype_info {
  const char *name;  /* "float32", ... as Lua sees it */
  uint8_t size;      /* bytes of one element */
  uint8_t category;  /* 0 bool, 1 integer, 2 floating: what promotion goes by */
} sn_dtype_info;
extern const sn_dtype_info sn_dtypes[SN_DTYPES];

int sn_dtype_find(const char *name);                  /* the dtype, or -1 (no message) */
sn_dtype sn_dtype_promote(sn_dtype a, sn_dtype b);    /* PyTorch's table for two tensors of dim > 0 */
static inline int sn_is_float(sn_dtype t) { return sn_dtypes[t].category == 2; }
static inline int sn_is_half(sn_dtype t) { return t == SN_F16 || t == SN_BF16; }
static inline size_t sn_size_of(sn_dtype t) { return sn_dtypes[t].size; }

/* One number of any type, to and from a double/int64 (f16/bf16 round to nearest even; bool is != 0). */
double sn_load_double(const void *p, sn_dtype t);
int64_t sn_load_int(const void *p, sn_dtype t);
void sn_store_double(void *p, sn_dtype t, double v);
void sn_store_int(void *p, sn_dtype t, int64_t v);

float sn_f16_to_f32(uint16_t h);
uint16_t sn_f32_to_f16(float f);
float sn_bf16_to_f32(uint16_t h);
uint16_t sn_f32_to_bf16(float f);

#endif
