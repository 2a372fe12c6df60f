/* number.c - decimal numbers out of text. Nearly all are short: their digits fit 53 bits and the power of ten is exact, so that one multiplication
 * or division rounds correctly (Clinger 1990). The rest goes to the C library in its own locale. */
#include "file/number.h"
#include <locale.h>
#include <stdint.h>
#include <stdlib.h>

static locale_t c_locale(void) {
  static locale_t made; /* atomic */
  locale_t l = __atomic_load_n(&made, __ATOMIC_ACQUIRE);
  if (l) return l;
  l = newlocale(LC_ALL_MASK, "C", (locale_t)0);
  locale_t none = (locale_t)0;
  if (l && !__atomic_compare_exchange_n(&made, &none, l, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
    freelocale(l);
    l = none;
  }
  return l;
}

static double by_library(const char *p) {
  const locale_t l = c_locale();
  return l ? strtod_l(p, NULL, l) : strtod(p, NULL);
}

static inline int is_digit(char c) { return (unsigned char)(c - '0') < 10; }

static const double ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                             1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

const char *snf_number(const char *const from, const char *const end, double *v) {
  const char *p = from;
  const int minus = p < end && *p == '-';
  if (p < end && (*p == '-' || *p == '+')) p++;
  const char *digits = p;
  uint64_t m = 0;
  for (; p < end && is_digit(*p); p++) m = m * 10 + (uint64_t)(*p - '0');
  int64_t n = p - digits, e = 0; /* digits of m, and the power of ten it is to be taken by */
  if (p < end && *p == '.') {
    const char *point = ++p;
    for (; p < end && is_digit(*p); p++) m = m * 10 + (uint64_t)(*p - '0');
    e = -(p - point);
    n += p - point;
  }
  if (n == 0) return NULL;
  if (p < end && (*p == 'e' || *p == 'E')) {
    const char *q = p + 1;
    const int down = q < end && *q == '-';
    if (q < end && (*q == '-' || *q == '+')) q++;
    if (q < end && is_digit(*q)) {
      int64_t x = 0;
      for (; q < end && is_digit(*q); q++) x = x < 100000 ? x * 10 + (*q - '0') : x;
      e += down ? -x : x;
      p = q;
    }
  }
  if (n <= 19 && m <= (uint64_t)1 << 53 && e >= -22 && e <= 22) {
    const double d = e < 0 ? (double)m / ten[-e] : (double)m * ten[e];
    *v = minus ? -d : d;
  } else {
    *v = by_library(from);
  }
  return p;
}
