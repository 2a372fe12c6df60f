/* winograd.h - convolution with kernels of 3 x 3, stride 1, by Winograd's F(2x2, 3x3): Lavin and Gray, "Fast algorithms for convolutional neural
 * networks", 2016.
 *
 * The result is cut into tiles of 2 x 2, each of which meets a patch d of 4 x 4 of the source:
 *   Y = A' [ sum over channels of (G g G') * (B' d B) ] A      (* element by element, ' transposed)
 *        | 1  0 -1  0 |        | 1    0    0  |        | 1  1  1  0 |
 *   B' = | 0  1  1  0 |    G = | 1/2  1/2 1/2 |   A' = | 0  1 -1 -1 |
 *        | 0 -1  1  0 |        | 1/2 -1/2 1/2 |
 *        | 0  1  0 -1 |        | 0    0    1  |
 * so that a tile takes 16 multiplications for a pair of channels where the sum over taps takes 36. For each of the 16 positions that is a matrix
 * product: rows of the weight x tiles. Its error is that of the direct sum (the constants are 1 and 1/2; larger tiles lose digits). An infinity in the
 * source makes NaN of the tiles that meet it.
 *
 * The weight's gradient: with V = B' d B and M = A dY A' the gradient of G g G' is, at each position, the product of V's channels x tiles with M's
 * tiles x rows, and that of g is G' times it times G.
 *
 * Some tiles, as many as fit beside their weight in the second cache, are one piece: whole images, or some rows of tiles of one. Lanes of a
 * vector are tiles. Every element of the result is one chain in the order of channels, so nothing depends on pieces or threads.
 */
#ifndef SNK_WINOGRAD_H
#define SNK_WINOGRAD_H
#include "calc/conv.h"

typedef struct snk_winograd {
  int64_t n, groups, m, c;        /* images, groups; rows of the result and source channels of a group */
  int64_t h, w, y0, x0;           /* the source's planes, and where in them the first patch begins */
  int64_t oh, ow, ty, tx;         /* the result's planes; tiles of one */
  int64_t wm, wc, wg;             /* steps in the weight: row, channel, group */
  bool flip;                      /* taps in reverse: the input's gradient */
  bool relu, round;
  int64_t images, rows;           /* of a piece */
  const float *src, *grad, *packed, *bias, *mean, *scale, *shift, *add;
  float *dst;
} snk_winograd;

/* Tiles of rows r0.. of some images; an image's begin with a vector. */
typedef struct snk_winograd_piece { int64_t group, image, images, r0, rows, each, vectors; } snk_winograd_piece;

/* Is it the way for this pass? By the shape alone. */
bool snk_winograd_suits(const snk_conv_shape *s, bool back);
void snk_winograd_space(const snk_conv_shape *s, bool back, size_t *scratch, size_t *worker);
size_t snk_winograd_packed_bytes(const snk_conv_shape *s);
void snk_winograd_pack(const snk_conv_shape *s, const float *w, void *to);
void snk_winograd_run(const snk_conv_shape *s, bool back, const float *src, const float *w, const snk_conv_with *with, float *dst, void *scratch);
bool snk_winograd_grad_suits(const snk_conv_shape *s);
void snk_winograd_grad_space(const snk_conv_shape *s, size_t *scratch, size_t *worker);
void snk_winograd_grad(const snk_conv_shape *s, const float *x, const float *gy, float *gw, void *scratch);

/* ---- between winograd.c and the instruction set's part */

enum { SNK_WINOGRAD_AT = 16 };    /* positions of a patch */
/* Some vectors of tiles (two; all, for the weight's gradient; the last panel may be of fewer) are a panel: 16 x channels x lanes, the positions a vector more
 * than that apart so that they do not meet in one set of the cache. Floats of a position of nv vectors, and before panel q: */
static inline int64_t snk_winograd_position(int64_t c, int64_t nv, int64_t lanes) { return (c * nv + 1) * lanes; }
static inline int64_t snk_winograd_panel(int64_t c, int64_t q, int64_t nv, int64_t lanes) { return q * SNK_WINOGRAD_AT * snk_winograd_position(c, nv, lanes); }

typedef struct snk_winograd_kernels {
  int mr, lanes;
  /* Rows m0 .. m0+mr-1 of the weight as 16 x c x mr. */
  void (*pack)(const snk_winograd *p, const float *w, int64_t m0, int64_t mr, float *to);
  /* A piece of the source into panels of `wide` vectors; room for snk_winograd_columns(p) floats. */
  void (*input)(const snk_winograd *p, const snk_winograd_piece *piece, int64_t wide, float *panels, float *room);
  /* Tiles t of the weight's rows times panel q, and what follows; room for snk_winograd_sums floats. */
  void (*multiply)(const snk_winograd *p, const snk_winograd_piece *piece, int64_t t, int64_t q, const float *panels, float *room);
  /* Image i of the result's gradient, places x step (rows, in whole vectors), as tiles x step at each position, `position` apart. */
  void (*spread)(const snk_winograd *p, const snk_winograd_piece *piece, int64_t i, const float *turned, int64_t step, float *to, int64_t position);
  /* Channels x rows at one position, put into or added to out: one panel's channels x tiles times tiles x step. */
  void (*outer)(const snk_winograd *p, const snk_winograd_piece *piece, const float *panel, const float *spread, int64_t step, float *out, bool add);
  /* A channel's part of the weight's gradient, for n rows 9 numbers `to` apart, from the sums of some runs, `between` apart, their positions `position`. */
  void (*kernels)(const float *sums, int64_t runs, int64_t between, int64_t position, int64_t n, int64_t to, float *gw);
} snk_winograd_kernels;
static inline int64_t snk_winograd_columns(const snk_winograd *p, int64_t lanes) { return 2 * 4 * ((p->rows + 1) * p->tx + lanes); }
static inline int64_t snk_winograd_sums(int64_t mr, int64_t lanes) { return SNK_WINOGRAD_AT * mr * 2 * lanes + 2 * 4 * lanes; }
SNK_TABLE(winograd_kernels)
#endif
