/* cpu.h - which instruction set the kernels use, chosen once, and the facts of the machine. */
#ifndef SN_CPU_H
#define SN_CPU_H

enum { SN_ISA_BASELINE = 0, SN_ISA_AVX2 = 1, SN_ISA_AVX512 = 2, SN_ISA_COUNT = 3 };

/* Best the CPU and OS support (AVX2 means AVX2+FMA+F16C; AVX512 means F+BW+DQ+VL), lowered by SLUGNET_ISA=baseline|avx2|avx512. */
extern int sn_isa_now;
int sn_isa_detect(void);
static inline int sn_isa(void) {
  const int now = __atomic_load_n(&sn_isa_now, __ATOMIC_RELAXED);
  return now >= 0 ? now : sn_isa_detect();
}
const char *sn_isa_name(void); /* "baseline", "avx2", "avx512" */
const char *sn_cpu_model(void);

#endif
