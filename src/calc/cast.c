/* cast.c - conversions: one loop per pair of common types by macro, all other pairs through double or int64. */
#include "calc/cast.h"
#include <string.h>

#define LOOP(TO, FROM, EXPR)                                                             \
  do {                                                                                   \
    if (to_step == sizeof(TO) && from_step == sizeof(FROM)) {                            \
      TO *restrict y = (TO *)(void *)to;                                                 \
      const FROM *restrict x = (const FROM *)(const void *)from;                         \
      for (int64_t i = 0; i < n; i++) { const FROM v = x[i]; y[i] = (EXPR); }            \
    } else                                                                               \
      for (int64_t i = 0; i < n; i++) {                                                  \
        const FROM v = *(const FROM *)(const void *)(from + i * from_step);              \
        *(TO *)(void *)(to + i * to_step) = (EXPR);                                      \
      }                                                                                  \
    return;                                                                              \
  } while (0)
#define PAIR(a, b) ((a) * SN_DTYPES + (b))

static void copy_row(int64_t n, char *to, int64_t ts, const char *from, int64_t fs, size_t size) {
  if (ts == (int64_t)size && fs == (int64_t)size) { memcpy(to, from, (size_t)n * size); return; }
  if (size == 4 && ts == 4 && fs == 8) { snk_cast_now()->second(n, (uint32_t *)(void *)to, (const uint32_t *)(const void *)from); return; }
  if (size == 4 && ts == 8 && fs == 4) { snk_cast_now()->apart(n, (uint32_t *)(void *)to, (const uint32_t *)(const void *)from); return; }
  switch (size) {
    case 1: for (int64_t i = 0; i < n; i++) to[i * ts] = from[i * fs]; break;
    case 2: for (int64_t i = 0; i < n; i++) memcpy(to + i * ts, from + i * fs, 2); break;
    case 4: for (int64_t i = 0; i < n; i++) memcpy(to + i * ts, from + i * fs, 4); break;
    default: for (int64_t i = 0; i < n; i++) memcpy(to + i * ts, from + i * fs, 8); break;
  }
}

void snk_cast_row(int64_t n, char *to, int64_t to_step, sn_dtype tt, const char *from, int64_t from_step, sn_dtype ft) {
  if (tt == ft) { copy_row(n, to, to_step, from, from_step, sn_size_of(tt)); return; }
  if (tt == SN_F32 && ft == SN_BF16 && to_step == 4 && from_step == 2) {
    snk_cast_now()->from_bf16(n, (const uint16_t *)(const void *)from, (float *)(void *)to);
    return;
  }
  if (tt == SN_BF16 && ft == SN_F32 && to_step == 2 && from_step == 4) {
    snk_cast_now()->to_bf16(n, (const float *)(const void *)from, (uint16_t *)(void *)to);
    return;
  }
  switch (PAIR((int)tt, (int)ft)) {
    case PAIR(SN_F32, SN_F64): LOOP(float, double, (float)v);
    case PAIR(SN_F64, SN_F32): LOOP(double, float, (double)v);
    case PAIR(SN_F32, SN_U8):
      if (to_step == 4 && from_step == 1) { snk_cast_now()->bytes(n, (float *)(void *)to, (const uint8_t *)from, 1); return; }
      LOOP(float, uint8_t, (float)v);
    case PAIR(SN_F32, SN_BOOL): LOOP(float, uint8_t, (float)v);
    case PAIR(SN_F64, SN_BOOL): LOOP(double, uint8_t, (double)v);
    case PAIR(SN_F32, SN_I64): LOOP(float, int64_t, (float)v);
    case PAIR(SN_F64, SN_I64): LOOP(double, int64_t, (double)v);
    case PAIR(SN_I64, SN_U8): LOOP(int64_t, uint8_t, v);
    case PAIR(SN_I64, SN_BOOL): LOOP(int64_t, uint8_t, v);
    case PAIR(SN_BOOL, SN_F32): LOOP(uint8_t, float, !(v == 0));
    case PAIR(SN_F32, SN_BF16): LOOP(float, uint16_t, sn_bf16_to_f32(v));
    case PAIR(SN_BF16, SN_F32): LOOP(uint16_t, float, sn_f32_to_bf16(v));
    case PAIR(SN_F32, SN_F16): LOOP(float, uint16_t, sn_f16_to_f32(v));
    case PAIR(SN_F16, SN_F32): LOOP(uint16_t, float, sn_f32_to_f16(v));
    default: break;
  }
  if (sn_is_float(ft) || sn_is_float(tt))
    for (int64_t i = 0; i < n; i++) sn_store_double(to + i * to_step, tt, sn_load_double(from + i * from_step, ft));
  else
    for (int64_t i = 0; i < n; i++) sn_store_int(to + i * to_step, tt, sn_load_int(from + i * from_step, ft));
}

#define TILE 16
#define TILED(T)                                                                                                    \
  for (int64_t i0 = row0; i0 < rows; i0 += TILE)                                                                    \
    for (int64_t j0 = col0; j0 < cols; j0 += TILE) {                                                                \
      const int64_t i1 = i0 + TILE < rows ? i0 + TILE : rows, j1 = j0 + TILE < cols ? j0 + TILE : cols;             \
      for (int64_t i = i0; i < i1; i++)                                                                             \
        for (int64_t j = j0; j < j1; j++)                                                                           \
          *(T *)(void *)(to + i * to_row + j * to_col) = *(const T *)(const void *)(from + i * from_row + j * from_col); \
    }

typedef struct matrix { char *to; int64_t to_row, to_col; const char *from; int64_t from_row, from_col; } matrix;

static void turn_part(const matrix *m, int64_t row0, int64_t rows, int64_t col0, int64_t cols, size_t size) {
  char *const to = m->to;
  const char *const from = m->from;
  const int64_t to_row = m->to_row, to_col = m->to_col, from_row = m->from_row, from_col = m->from_col;
  switch (size) {
    case 1: TILED(uint8_t) break;
    case 2: TILED(uint16_t) break;
    case 4: TILED(uint32_t) break;
    default: TILED(uint64_t) break;
  }
}

void snk_transpose_copy(int64_t rows, int64_t cols, char *to, int64_t to_row, int64_t to_col, const char *from, int64_t from_row, int64_t from_col, size_t size) {
  const matrix m = {to, to_row, to_col, from, from_row, from_col};
  int64_t r = 0, c = 0;
  if (size == 4 && to_col == 4 && from_row == 4 && rows >= SNK_TURN && cols >= SNK_TURN) {
    r = rows / SNK_TURN * SNK_TURN, c = cols / SNK_TURN * SNK_TURN;
    snk_cast_now()->turn(r, c, to, to_row, from, from_col);
    turn_part(&m, 0, r, c, cols, size);
  }
  turn_part(&m, r, rows, 0, cols, size);
}
