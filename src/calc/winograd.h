/* winograd.h - convolution with kernels of 3 x 3, stride 1, by Winograd's F(4x4, 3x3): Lavin and Gray, "Fast algorithms for convolutional neural
 * networks", 2016.
 *
 * The result is cut into tiles of 4 x 4, each of which meets a patch d of 6 x 6 of the source:
 *   Y = A' [ sum over channels of (G g G') * (B' d B) ] A      (* element by element, ' transposed)
 * The matrices come from polynomials at the points 0, a, -a, b, -b and infinity (Toom and Cook):
 *   row of A' for y^k:  p^k at each point p, and 1 at infinity for k = 3
 *   row of G at p:      (1, p, p^2) / product of p - q over the other finite points q;  (0, 0, 1) at infinity
 *   row of B' at p:     the coefficients of the product of x - q over the other finite points q; of all of them at infinity
 * so that a tile takes 36 multiplications for a pair of channels where the sum over taps takes 144. For each of the 36 positions that is a matrix
 * product: tiles x channels times channels x rows of the weight. With a = 3/4, b = 3/2 the error is two to three times that of the direct sum;
 * with the usual 1 and 2 it would be six times (Barabasz et al., "Error analysis and improving the accuracy of Winograd convolution for deep neural
 * networks", 2020, on the choice of points). An infinity in the source makes NaN of the tiles that meet it.
 * At 36 positions a weight is four times its taps, which few tiles wait for: where it is large they are of 2 x 2, with the points 0, 1, -1 and
 * infinity and 16 positions.
 *
 * The weight's gradient: with V = B' d B and M = A dY A' the gradient of G g G' is, at each position, the product of V's channels x tiles with M's
 * tiles x rows, and that of g is G' times it times G.
 *
 * Lanes of a vector are channels (of the source; rows of the weight behind the product), so planes of any size fill them; rows of planes are turned on
 * the way in and out. Some tiles, as many as fit beside their weight in the second cache, are one piece: whole images, or some rows of tiles of one.
 * Every element of the result is one chain in the order of channels, so nothing depends on pieces or threads.
 */
#ifndef SNK_WINOGRAD_H
#define SNK_WINOGRAD_H
#include "calc/conv.h"

typedef struct snk_winograd {
  int64_t n, groups, m, c;        /* images, groups; rows of the result and source channels of a group */
  int64_t ms, cs;                 /* both in whole vectors */
  int64_t tile, at;               /* side of a tile, 4 or 2 (4 for the weight's gradient); positions of a patch, 36 or 16 */
  int64_t h, w, y0, x0;           /* the source's planes, and where in them the first patch begins */
  int64_t oh, ow, ty, tx;         /* the result's planes; tiles of one */
  int64_t wm, wc, wg;             /* steps in the weight: row, channel, group */
  bool flip;                      /* taps in reverse: the input's gradient */
  bool relu, round;
  bool narrow, narrow_src, narrow_grad; /* dst; src; grad: bfloat16 numbers in two bytes (snk_conv_shape) */
  int64_t images, rows;           /* of a piece */
  const float *src, *grad, *packed, *bias, *mean, *scale, *shift, *add;
  float *dst;
} snk_winograd;

/* Rows of tiles r0.. of some images; tiles: all of them; most: and what the products' tiles take more. */
typedef struct snk_winograd_piece { int64_t group, image, images, r0, rows, tiles, most; } snk_winograd_piece;

/* Is it the way for this pass? By the shape (and the instruction set) alone. */
bool snk_winograd_suits(const snk_conv_shape *s, bool back);
void snk_winograd_space(const snk_conv_shape *s, bool back, size_t *scratch, size_t *worker);
size_t snk_winograd_packed_bytes(const snk_conv_shape *s);
void snk_winograd_pack(const snk_conv_shape *s, const float *w, void *to);
void snk_winograd_run(const snk_conv_shape *s, bool back, const float *src, const float *w, const snk_conv_with *with, float *dst, void *scratch);
bool snk_winograd_grad_suits(const snk_conv_shape *s);
void snk_winograd_grad_space(const snk_conv_shape *s, size_t *scratch, size_t *worker);
void snk_winograd_grad(const snk_conv_shape *s, const float *x, const float *gy, float *gw, void *scratch);

/* ---- between winograd.c and the instruction set's part */

enum {
  SNK_WINOGRAD_AT = 36,       /* positions of a patch of a tile of 4 x 4 */
  SNK_WINOGRAD_BLOCK = 64,    /* channels that are summed at once */
  SNK_WINOGRAD_TOGETHER = 10  /* tiles of the products that meet a panel in turn, where it is large */
}; 
/* Floats of a position of some tiles: a vector more than they are, so that positions do not meet in one set of the cache. */
static inline int64_t snk_winograd_position(int64_t tiles, int64_t step, int64_t lanes) { return tiles * step + lanes; }
/* Rows of the weight that are a panel: two vectors, or the last one. */
static inline int64_t snk_winograd_panels(const snk_winograd *p, int64_t lanes) { return (p->ms + 2 * lanes - 1) / (2 * lanes); }
/* Where panel j of a group's packed weight begins, in floats: positions of channels x rows, a vector more than these for the same reason. */
static inline int64_t snk_winograd_panel(const snk_winograd *p, int64_t lanes, int64_t group, int64_t j) {
  return p->at * (group * (p->c * p->ms + snk_winograd_panels(p, lanes) * lanes) + j * (p->c * 2 * lanes + lanes));
}

typedef struct snk_winograd_kernels {
  int lanes, mr, least;           /* the products' tiles have `least` to mr rows; no lanes: there are no kernels */
  /* Channels c0 .. c1-1 of panel j of the weight, positions x c x rows (and a vector) at `to`. */
  void (*pack)(const snk_winograd *p, const float *w, int64_t j, int64_t c0, int64_t c1, float *to);
  /* A piece of the source as positions of tiles x cs. Room of snk_winograd_lines floats, made ready by the first call with it (`fresh`). */
  void (*input)(const snk_winograd *p, const snk_winograd_piece *piece, bool fresh, float *patches, float *room);
  /* That times panel j, and what follows; room of snk_winograd_sums floats. */
  void (*multiply)(const snk_winograd *p, const snk_winograd_piece *piece, int64_t j, const float *patches, float *room);
  /* Rows m0 .. of a piece of the result's gradient as 36 positions of tiles x step; room as for input. */
  void (*spread)(const snk_winograd *p, const snk_winograd_piece *piece, int64_t m0, int64_t step, bool fresh, float *to, float *room);
  /* At one position tiles x cs, turned, times tiles x step: put into or added to out, cs x step. */
  void (*outer)(const snk_winograd *p, int64_t tiles, const float *patches, const float *spread, int64_t step, float *out, bool add);
  /* A channel's part of the weight's gradient, for n rows 9 numbers `to` apart, from the sums of some runs, `between` apart, their positions `position`. */
  void (*kernels)(const float *sums, int64_t runs, int64_t between, int64_t position, int64_t n, int64_t to, float *gw);
} snk_winograd_kernels;
/* Floats of room: eight rows of the source's places, or of the result's, and where they go. */
static inline int64_t snk_winograd_lines(const snk_winograd *p, int64_t lanes) {
  return (9 * (4 * p->tx + 2) + 1) * lanes + 4 * (p->w > p->ow ? p->w : p->ow) + lanes;
}
/* The products of some tiles with a panel, and the rows of tiles made of them. */
static inline int64_t snk_winograd_sums(const snk_winograd *p, int64_t mr, int64_t lanes) {
  return 2 * lanes * (SNK_WINOGRAD_TOGETHER * SNK_WINOGRAD_AT * mr + 4 * p->ow + lanes);
}
SNK_TABLE(winograd_kernels)
#endif
