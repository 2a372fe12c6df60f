/* map.h - row kernels of the elementwise functions, by number. */
#ifndef SNK_MAP_H
#define SNK_MAP_H
#include <stdint.h>
#include "base/dtype.h"
#include "calc/isa.h"

/* One number for every line of the book, and one for the backward of every MAP1 line. */
enum {
#define MAP1(name, ...) SNK_MAP_##name, SNK_MAP_##name##_backward,
#define MAP2(name, ...) SNK_MAP_##name,
#define CMP2(name, ...) SNK_MAP_##name,
#include "calc/map.def"
  SNK_MAP_COUNT
};

/* One operation for two operands and a result: such rows wait for memory. */
#define SNK_MAP_MOVES(i) \
  ((i) == SNK_MAP_add || (i) == SNK_MAP_sub || (i) == SNK_MAP_mul || (i) == SNK_MAP_div || (i) == SNK_MAP_maximum || (i) == SNK_MAP_minimum)

/* n elements; p[0] is the destination, p[1..] the operands; s steps in bytes (0: one value for all). A destination may be an operand,
 * element for element. param: the line's options. Every mixture of steps gives the same bits. */
typedef void snk_row(int64_t n, char *const *p, const int64_t *s, const double *param);

/* f64 has only a few rows where SNK_DOUBLES is 0: snk_map_row. */
typedef struct snk_map { snk_row *f32[SNK_MAP_COUNT], *f64[SNK_MAP_COUNT]; } snk_map;
SNK_TABLE(map)
SNK_TABLE_FOR(map, snk_map_moves_now, sn_isa_moves()) /* for SNK_MAP_MOVES */
SNK_TABLE_DOUBLES(map)

snk_row *snk_map_row(int index, sn_dtype t); /* the kernel for operands of dtype t; NULL where there is none */

/* Rows that no formula makes. */
enum { SNK_AND, SNK_OR, SNK_XOR, SNK_NOT };
void snk_logic_row(int64_t n, char *const *p, const int64_t *s, int which);   /* bytes 0 or 1; NOT has one operand */
enum { SNK_ISNAN, SNK_ISINF, SNK_ISFINITE };
void snk_test_row(int64_t n, char *const *p, const int64_t *s, sn_dtype t, int which);
#endif
