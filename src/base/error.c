/* error.c - the per-thread message. */
#include "base/error.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[1024];
static _Thread_local int code;

static void set(int c, const char *fmt, va_list ap) {
  char text[sizeof message]; /* arguments may point into the old message */
  vsnprintf(text, sizeof text, fmt, ap);
  memcpy(message, text, sizeof message);
  code = c;
}

int sn_fail(const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  set(SN_ERROR_USER, fmt, ap);
  va_end(ap);
  return -1;
}

int sn_fail_io(const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  set(SN_ERROR_IO, fmt, ap);
  va_end(ap);
  return -1;
}

int sn_fail_memory(size_t bytes, const char *what) {
  snprintf(message, sizeof message, "out of memory: %zu bytes for %s could not be had", bytes, what);
  code = SN_ERROR_MEMORY;
  return -1;
}

int sn_fail_prefix(const char *fmt, ...) {
  char old[sizeof message];
  memcpy(old, message, sizeof old);
  const int c = code;
  va_list ap;
  va_start(ap, fmt);
  set(c ? c : SN_ERROR_USER, fmt, ap);
  va_end(ap);
  const size_t n = strlen(message);
  snprintf(message + n, sizeof message - n, "%s", old);
  return -1;
}

const char *sn_error_message(void) { return message; }
int sn_error_code(void) { return code; }
void sn_error_clear(void) {
  message[0] = 0;
  code = SN_OK;
}
