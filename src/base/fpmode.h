/* fpmode.h - the floating-point control word: loaded on the way into numeric work, the caller's restored on the way out.
 *
 * Numeric work always runs with rounding to nearest and exceptions masked, whatever the host has set. float32 and
 * narrower work also runs with flush-to-zero and denormals-are-zero unless switched off; float64 work does not.
 */
#ifndef SN_FPMODE_H
#define SN_FPMODE_H

typedef unsigned sn_fpmode;
enum { SN_FP_EXACT = 0, SN_FP_FLUSH = 1 };
sn_fpmode sn_fp_enter(int flush);   /* load the complete control word; returns the caller's */
void sn_fp_leave(sn_fpmode saved);  /* put it back exactly */

#endif
