/* cpu.h - which instruction set the kernels use, chosen once, and the facts of the machine. */
#ifndef SN_CPU_H
#define SN_CPU_H

#include <stdbool.h>

enum { SN_ISA_BASELINE = 0, SN_ISA_AVX2 = 1, SN_ISA_AVX512 = 2, SN_ISA_BF16 = 3, SN_ISA_AMX = 4, SN_ISA_COUNT = 5 };

/* Best the CPU and OS support (AVX2 means AVX2+FMA+F16C; AVX512 means F+BW+DQ+VL; BF16 that and AVX512-BF16 where it multiplies twice as many numbers as
 * floats, AMX both and tiles of bfloat16, for products of such numbers), lowered by SLUGNET_ISA=baseline|avx2|avx512|avx512_bf16|amx. */
extern int sn_isa_now;
int sn_isa_detect(void);
static inline int sn_isa(void) {
  const int now = __atomic_load_n(&sn_isa_now, __ATOMIC_RELAXED);
  return now >= 0 ? now : sn_isa_detect();
}
/* The same for kernels that wait for memory more than for arithmetic: AVX2 where AVX-512 is computed in two halves (AMD's Zen 4), since loads and stores of 512
 * bits behind one another hold each other up there (sums and additions of long rows take 0.75 to 0.96 of the time; measured). */
extern int sn_isa_moves_now;
static inline int sn_isa_moves(void) {
  const int now = __atomic_load_n(&sn_isa_moves_now, __ATOMIC_RELAXED);
  if (now >= 0) return now;
  sn_isa_detect();
  return __atomic_load_n(&sn_isa_moves_now, __ATOMIC_RELAXED);
}
/* May this process use the tiles of AMX? Linux wants to be asked before a process's first use (its threads' saved state grows), which is done in the
 * first call and not at the start; if it says no, the instruction set is AVX512 from then on. */
bool sn_amx_granted(void);
static inline bool sn_amx(void) { return sn_isa() == SN_ISA_AMX && sn_amx_granted(); }
/* Are there instructions for products of bfloat16 numbers, of either kind? */
static inline bool sn_halves(void) { return sn_isa() == SN_ISA_BF16 || sn_amx(); }
const char *sn_isa_name(void); /* "baseline", "avx2", "avx512", "avx512_bf16", "amx" */
const char *sn_cpu_model(void); /* its name, and the numbers of its kind: virtual machines often give generations one name */

#endif
