/* conv_pass.h - what conv.c (forward, the input's gradient) and conv_weight.c (the weight's) share: the plain pass of a shape and how it lies. */
#ifndef SNK_CONV_PASS_H
#define SNK_CONV_PASS_H
#include "calc/conv.h"

enum { SNK_CONV_SMALL = 100000 }; /* multiply-adds that are not worth a thread */

static inline const snk_conv_type *snk_conv_type_of(const snk_conv_shape *s) { return s->f64 ? &snk_conv_now()->f64 : &snk_conv_now()->f32; }
static inline int64_t snk_conv_size_of(const snk_conv_shape *s) { return s->f64 ? 8 : 4; }

snk_conv_pass snk_conv_plain(const snk_conv_shape *s);            /* the forward pass before anything is decided about it */
bool snk_conv_fits(const snk_conv_side *s);                       /* can the source be read as it lies? */
void snk_conv_lay(snk_conv_pass *p, int64_t band);                /* set how the source is read with bands of `band` rows */
void snk_conv_offsets(const snk_conv_pass *p, int64_t *koff);     /* where the source of output 0 lies, for every k */

bool snk_conv_weight_narrow(const snk_conv_shape *s);             /* may the gradient that comes be narrow, without tiles? */

/* Adds what the weight's gradient wants (snk_conv_space). */
void snk_conv_weight_space(const snk_conv_shape *s, size_t *scratch, size_t *worker);
#endif
