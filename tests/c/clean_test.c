/* clean_test.c - kernels leave the upper halves of the vector registers clean, those of doubles, which are compiled for size, too: code without AVX
 * would wait for them. The processor tells by XGETBV which parts of its state are in use; where it does not, this is skipped. */
#include "calc/loss.h"
#include "calc/map.h"
#include "calc/norm.h"
#include "calc/optim.h"
#include "calc/reduce.h"
#include "calc/softmax.h"
#include "check.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
enum { UPPER = 1 << 2 | 1 << 6 }; /* of the sixteen registers that all code has */
static unsigned in_use(void) {
  unsigned a, d;
  __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(1));
  return a & UPPER;
}
static bool tells(void) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__get_cpuid_count(13, 1, &a, &b, &c, &d) || !(a & 4)) return false;
  __asm__ volatile(".byte 0xc5, 0xfd, 0x76, 0xc0" ::: "xmm0"); /* vpcmpeqd %ymm0, %ymm0, %ymm0 */
  const bool dirty = in_use() != 0;
  __asm__ volatile(".byte 0xc5, 0xf8, 0x77"); /* vzeroupper */
  return dirty && in_use() == 0;
}
#define CLEAN(call)                                     \
  do {                                                  \
    call;                                               \
    CHECK(in_use() == 0 && #call);                      \
    __asm__ volatile(".byte 0xc5, 0xf8, 0x77");         \
  } while (0)

enum { N = 300 };
static _Alignas(4096) char room[SNK_REDUCE_LANES * SNK_TILE_BYTES];
static _Alignas(64) double x[4][N];

int main(void) {
  if (!tells()) {
    printf("clean_test: skipped, this processor does not tell\n");
    return CHECK_DONE();
  }
  for (int k = 0; k < 4; k++)
    for (int i = 0; i < N; i++) x[k][i] = 0.001 * (i + 1);
  char *p[6] = {(char *)x[0], (char *)x[1], (char *)x[2], (char *)x[3], (char *)x[3], (char *)x[3]};
  const int64_t s[6] = {8, 8, 8, 8, 8, 8};
  const double param[2] = {0.5, 1};
  volatile double sum = 0;
  volatile int64_t at = 0;
  for (int64_t n = N - 1; n <= N; n++) {
    const snk_reduce *r = snk_reduce_now();
    for (int w = SNK_SUM; w <= SNK_MIN; w++) {
      CLEAN(sum = r->row_f64(w, n, x[0]));
      CLEAN(r->cols_begin(w, 1, 8, room));
      CLEAN(r->cols_f64(w, 0, n / 8, x[0], 8, 8, room));
      CLEAN(r->cols_end(w, 1, 8, room));
    }
    CLEAN(sum = r->pieces_f64(n, x[0], n, N, N));
    CLEAN(at = r->seek_f64(1, n, x[0]));
    for (int k = 0; k < SNK_MAP_COUNT; k++)
      if (snk_map_row(k, SN_F64)) CLEAN(snk_map_row(k, SN_F64)(n, p, s, param));
    const snk_loss_type *l = snk_loss_of(true);
    for (int k = 0; k < SNK_LOSS_COUNT; k++) {
      CLEAN(l->row[k](n, p, s, param));
      CLEAN(l->gx[k](n, p, s, param));
      CLEAN(l->gt[k](n, p, s, param));
    }
    CLEAN(sum = l->sum(x[0], n));
    double mean[2], var[2], rstd[2], gw[N], gb[N], part[2 * N];
    snk_norm_args a = {.f64 = true, .training = true, .centered = true, .n = 1, .channels = 2, .inner = n / 2, .epsilon = 1e-5, .x = x[0], .g = x[1], .mean = mean,
                       .var = var, .rstd = rstd, .y = x[2], .gw = gw, .gb = gb, .part = part};
    const snk_norm_type *m = snk_norm_of(true);
    CLEAN(m->stats(&a, 0, 2));
    CLEAN(m->roots(&a));
    CLEAN(m->apply(&a, 0, 2, 1));
    CLEAN(m->sums(&a, 0, 2));
    CLEAN(m->back(&a, 0, 2, 1));
    a.channels = n, a.inner = 1;
    CLEAN(m->row(&a, 0, 1));
    CLEAN(m->row_back(&a, 0, 1));
    CLEAN(m->row_fold(&a, 0, n));
    const snk_softmax_args z = {.f64 = true, .outer = 1, .n = n, .inner = 1, .x = x[0], .y = x[2]};
    CLEAN(snk_softmax_now()->f64(&z, 0, 1));
    const snk_optim_type *o = snk_optim_of(true);
    const snk_optim_args u = {.lr = 0.01, .decay = 0.01};
    CLEAN(o->sgd(n, p, s, &u));
    CLEAN(o->momentum(n, p, s, &u));
    CLEAN(o->rmsprop(n, p, s, &u));
    CLEAN(o->adam(n, p, s, &u));
    CLEAN(o->clip_value(n, p, s, &u));
    CLEAN(o->scale(n, p, s, &u));
    CLEAN(sum = o->squares(x[0], n));
  }
  (void)sum, (void)at;
  return CHECK_DONE();
}
#else
int main(void) { return CHECK_DONE(); }
#endif
