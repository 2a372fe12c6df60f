/* amx_test.c - a system that does not grant AMX's tiles when it is asked: products of bfloat16 numbers go on without them, in bits of AVX-512. */
#include <stdio.h>
#include <string.h>
#include "base/cpu.h"
#include "base/thread.h"
#include "calc/gemm.h"
#include "check.h"
#if defined(__x86_64__) && defined(__linux__)
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* From here on the request (arch_prctl 0x1023) is refused. */
static bool refuse(void) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_arch_prctl, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x1023, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const struct sock_fprog program = {sizeof code / sizeof *code, code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}
#else
static bool refuse(void) { return false; }
#endif

int main(void) {
  enum { M = 40, N = 50, K = 70 };
  static float a[M * K], b[K * N], c[M * N], want[M * N];
  for (int i = 0; i < M * K; i++) a[i] = (float)(i * 37 % 113 - 56) / 64;
  for (int i = 0; i < K * N; i++) b[i] = (float)(i * 53 % 97 - 48) / 64;
  const bool had = sn_isa() == SN_ISA_AMX;
  if (!had) {
    printf("there is no AMX here: nothing is refused\n");
    CHECK(!sn_amx());
    return CHECK_DONE();
  }
  if (!refuse()) {
    printf("system calls cannot be refused here (seccomp)\n");
    return CHECK_DONE();
  }
  CHECK(sn_scratch_reserve(SNK_GEMM_SCRATCH) == 0);
  snk_gemm_args g = {.half = true, .m = M, .n = N, .k = K, .a = a, .ars = K, .acs = 1, .b = b, .brs = N, .bcs = 1, .c = c, .crs = N, .ccs = 1};
  snk_gemm_run(&g);
  CHECK(!sn_amx() && !snk_gemm_halves(&g) && sn_isa() == SN_ISA_AVX512);
  g.c = want, g.half = false;
  snk_gemm_run(&g);
  CHECK(memcmp(c, want, sizeof c) == 0);
  return CHECK_DONE();
}
