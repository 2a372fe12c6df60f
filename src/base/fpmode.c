/* fpmode.c - the control word, by processor. */
#include "base/fpmode.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
/* 0x1F80: all exceptions masked, round to nearest. 0x8040: flush-to-zero and denormals-are-zero. */
sn_fpmode sn_fp_enter(int flush) {
  const unsigned old = _mm_getcsr(), now = 0x1F80u | (flush ? 0x8040u : 0u);
  if ((old & ~0x3Fu) != now) _mm_setcsr(now); /* the low six bits are sticky flags: reading is cheaper than writing */
  return old;
}
void sn_fp_leave(sn_fpmode saved) {
  if (_mm_getcsr() != saved) _mm_setcsr(saved);
}
#elif defined(__aarch64__)
sn_fpmode sn_fp_enter(int flush) {
  unsigned long old;
  __asm__ volatile("mrs %0, fpcr" : "=r"(old));
  const unsigned long now = flush ? 1ul << 24 : 0;
  __asm__ volatile("msr fpcr, %0" : : "r"(now));
  return (sn_fpmode)old;
}
void sn_fp_leave(sn_fpmode saved) { __asm__ volatile("msr fpcr, %0" : : "r"((unsigned long)saved)); }
#else
sn_fpmode sn_fp_enter(int flush) { (void)flush; return 0; }
void sn_fp_leave(sn_fpmode saved) { (void)saved; }
#endif
