/* cpu.c - asks the processor once. */
#include "base/cpu.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

/* Conversion of halves; clang does not know it by name. */
static int has_f16c(void) {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

#if defined(__x86_64__) && defined(__linux__)
/* Tiles, their bfloat16 product, the conversion to it, and a system that keeps tiles when it switches threads. */
static bool has_amx(void) {
  enum { OSXSAVE = 1u << 27, TILE = 1u << 24, BF16_TILES = 1u << 22, BF16 = 1u << 5, KEPT = 3u << 17 };
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & OSXSAVE) || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & TILE) || !(d & BF16_TILES) ||
      !__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & BF16))
    return false;
  __asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
  return (a & KEPT) == KEPT;
}
static bool ask_for_amx(void) {
  enum { ARCH_REQ_XCOMP_PERM = 0x1023, TILE_DATA = 18 };
  return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0;
}
#else
static bool has_amx(void) { return false; }
static bool ask_for_amx(void) { return false; }
#endif

int sn_isa_now = -1, sn_isa_moves_now = -1;

/* AMD's family 25 with AVX-512: on one with none AVX2 is the best there is. */
static bool in_halves(void) {
#if defined(__x86_64__) || defined(__i386__)
  unsigned a, b, c, d;
  return __builtin_cpu_is("amd") && __get_cpuid(1, &a, &b, &c, &d) && (a >> 8 & 15) + (a >> 20 & 255) == 25;
#else
  return false;
#endif
}

static const char *const names[SN_ISA_COUNT] = {"baseline", "avx2", "avx512", "avx512_bf16", "amx"};

int sn_isa_detect(void) {
  int best = SN_ISA_BASELINE;
#if defined(__x86_64__) || defined(__i386__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()) best = SN_ISA_AVX2;
  if (best == SN_ISA_AVX2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    best = SN_ISA_AVX512;
  /* Intel's processors take twice as long for a bfloat16 product of vectors: nothing is gained there but by AMX. */
  if (best == SN_ISA_AVX512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_is("amd")) best = SN_ISA_BF16;
  if (best == SN_ISA_AVX512 && has_amx()) best = SN_ISA_AMX;
#endif
  const char *want = getenv("SLUGNET_ISA");
  if (want)
    for (int i = 0; i < best; i++)
      if (strcmp(want, names[i]) == 0) best = i;
  __atomic_store_n(&sn_isa_moves_now, best > SN_ISA_AVX2 && in_halves() ? SN_ISA_AVX2 : best, __ATOMIC_RELAXED); /* every thread computes the same values */
  __atomic_store_n(&sn_isa_now, best, __ATOMIC_RELAXED);
  return best;
}

bool sn_amx_granted(void) {
  static int answer; /* 0: not asked; every thread is told the same */
  int a = __atomic_load_n(&answer, __ATOMIC_RELAXED);
  if (a == 0) {
    a = ask_for_amx() ? 1 : -1;
    __atomic_store_n(&answer, a, __ATOMIC_RELAXED);
    if (a < 0) __atomic_store_n(&sn_isa_now, SN_ISA_AVX512, __ATOMIC_RELAXED);
  }
  return a > 0;
}

const char *sn_isa_name(void) { return names[sn_isa()]; }

const char *sn_cpu_model(void) {
  static char model[128];
  if (model[0]) return model;
  FILE *f = fopen("/proc/cpuinfo", "r");
  char line[256], name[80] = "unknown";
  int family = -1, number = -1;
  while (f && fgets(line, sizeof line, f) && line[0] != '\n') { /* the first processor */
    sscanf(line, "model name : %79[^\n]", name);
    sscanf(line, "cpu family : %d", &family);
    sscanf(line, "model : %d", &number);
  }
  if (f) fclose(f);
  snprintf(model, sizeof model, family < 0 || number < 0 ? "%s" : "%s (family %d, model %d)", name, family, number);
  return model;
}
