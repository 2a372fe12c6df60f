/* cpu.c - asks the processor once. */
#include "base/cpu.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

/* Conversion of halves; clang does not know it by name. */
static int has_f16c(void) {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

int sn_isa_now = -1;

static const char *const names[SN_ISA_COUNT] = {"baseline", "avx2", "avx512"};

int sn_isa_detect(void) {
  int best = SN_ISA_BASELINE;
#if defined(__x86_64__) || defined(__i386__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()) best = SN_ISA_AVX2;
  if (best == SN_ISA_AVX2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    best = SN_ISA_AVX512;
#endif
  const char *want = getenv("SLUGNET_ISA");
  if (want)
    for (int i = 0; i < best; i++)
      if (strcmp(want, names[i]) == 0) best = i;
  __atomic_store_n(&sn_isa_now, best, __ATOMIC_RELAXED); /* every thread computes the same value */
  return best;
}

const char *sn_isa_name(void) { return names[sn_isa()]; }

const char *sn_cpu_model(void) {
  static char model[96];
  if (model[0]) return model;
  FILE *f = fopen("/proc/cpuinfo", "r");
  char line[256];
  snprintf(model, sizeof model, "unknown");
  while (f && fgets(line, sizeof line, f)) {
    const char *colon = strchr(line, ':');
    if (strncmp(line, "model name", 10) == 0 && colon) {
      snprintf(model, sizeof model, "%.90s", colon + 2);
      model[strcspn(model, "\n")] = 0;
      break;
    }
  }
  if (f) fclose(f);
  return model;
}
