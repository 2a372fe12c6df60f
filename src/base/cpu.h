/* cpu.h - which instruction set the kernels use, chosen once, and the facts of the machine. */
#ifndef SN_CPU_H
#define SN_CPU_H

enum { SN_ISA_BASELINE = 0, SN_ISA_AVX2 = 1, SN_ISA_AVX512 = 2, SN_ISA_COUNT = 3 };

int sn_isa(void);              /* best the CPU and OS support (AVX2 means AVX2+FMA+F16C; AVX512 means F+BW+DQ+VL), lowered by SLUGNET_ISA=baseline|avx2|avx512 */
const char *sn_isa_name(void); /* "baseline", "avx2", "avx512" */
int sn_cpu_has(const char *feature); /* "avx512bf16", "amx-bf16", ... */
const char *sn_cpu_model(void);

#endif
