/* check.h - the whole of the C tests' framework: CHECK counts, a failure is printed with its place, and the last line is read by tests/run. */
#ifndef CHECK_H
#define CHECK_H
#include <stdio.h>
static int check_passed, check_failed;
#define CHECK(cond)                                                            \
  do {                                                                         \
    if (cond) check_passed++;                                                  \
    else { check_failed++; printf("%s:%d: %s\n", __FILE__, __LINE__, #cond); } \
  } while (0)
#define CHECK_DONE() (printf("C: %d passed, %d failed\n", check_passed, check_failed), check_failed != 0)
#endif
