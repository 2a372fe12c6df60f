/* cast.h - rows of elements from one number type to another, and blocked copies. */
#ifndef SNK_CAST_H
#define SNK_CAST_H
#include "base/dtype.h"
#include "calc/isa.h"

/* n elements; steps in bytes. Floating to integer truncates (NaN gives 0), to bool is != 0, halves round to nearest even. */
void snk_cast_row(int64_t n, char *to, int64_t to_step, sn_dtype to_type, const char *from, int64_t from_step, sn_dtype from_type);
/* A rows x cols matrix of elements of `size` bytes, in tiles, so that both sides stay in cache. */
void snk_transpose_copy(int64_t rows, int64_t cols, char *to, int64_t to_row, int64_t to_col, const char *from, int64_t from_row, int64_t from_col, size_t size);

/* turn: to[i][j] = from[j][i] of 32-bit elements in whole squares of SNK_TURN: what is left over of rows and cols is not touched. */
#define SNK_TURN 16
typedef struct snk_cast {
  void (*turn)(int64_t rows, int64_t cols, char *to, int64_t to_row, const char *from, int64_t from_col);
  void (*from_bf16)(int64_t n, const uint16_t *from, float *to);
  void (*to_bf16)(int64_t n, const float *from, uint16_t *to);
  void (*from_f16)(int64_t n, const uint16_t *from, float *to); /* IEEE's numbers of two bytes; NaN keep what of them fits, and are quiet */
  void (*to_f16)(int64_t n, const float *from, uint16_t *to);
  bool (*whole)(int64_t n, const float *from, int32_t *to); /* truncated; false if one is not between -2^31 and 2^31: then `to` is not to be used */
  void (*round_bf16)(int64_t n, const float *from, float *to); /* floats that are bfloat16 numbers; to may be from */
  void (*bytes)(int64_t n, float *to, const uint8_t *from, float scale); /* to[i] = from[i] * scale, rounded twice: as a number, then the product */
  void (*second)(int64_t n, uint32_t *to, const uint32_t *from); /* to[i] = from[2 i] */
  void (*apart)(int64_t n, uint32_t *to, const uint32_t *from);  /* to[2 i] = from[i] */
} snk_cast;
SNK_TABLE(cast)
#endif
