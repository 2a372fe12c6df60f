/* bytes.h - whole files in, whole files out. A file that is written is never half there: it grows beside the old one, is synced, and
 * takes its place by rename; whatever goes wrong before that leaves the old file as it was. All messages are SN_ERROR_IO. */
#ifndef SNF_BYTES_H
#define SNF_BYTES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct snf_str { const char *p; size_t n; } snf_str; /* borrowed bytes, no 0 at their end */

/* -- reading: regular files only */
typedef struct snf_file { int fd; int64_t size; const char *path; } snf_file;
int snf_open(snf_file *f, const char *path);
int snf_read(const snf_file *f, int64_t at, void *to, size_t n); /* exactly n bytes */
void snf_close(snf_file *f);
/* The whole file in a block of sn_alloc of *n + 1 bytes, the last one 0. NULL after sn_fail_io (or memory). */
char *snf_slurp(const char *path, size_t *n);

/* What gzip packed, in memory: exactly n bytes come out. -1 after sn_fail_io (or memory). */
int snf_unpack(void *to, size_t n, const void *packed, size_t bytes);

/* -- writing */
typedef struct snf_writer {
  int fd;
  bool beside;          /* false: the path is a device or a pipe and is written itself */
  const char *shown;    /* the path as it was given */
  char *path, *temp;
} snf_writer;
int snf_write_begin(snf_writer *w, const char *path);
int snf_write(snf_writer *w, const void *p, size_t n);
int snf_write_end(snf_writer *w);   /* 0 or -1; nothing is left to give back either way */
void snf_write_drop(snf_writer *w); /* gives up: instead of snf_write_end */
int snf_write_file(const char *path, const void *p, size_t n);
void snf_sweep(const char *folder); /* removes what killed writers left in it */

/* -- messages. Bytes of a file as they may be shown: at most n - 1 characters, no control characters, cut with dots. Into buf, which is returned. */
const char *snf_show(snf_str s, char *buf, size_t n);
#define SNF_SHOW(s) snf_show(s, (char[72]){0}, 72)

/* -- a growing text (sn_realloc). */
typedef struct snf_text { char *p; size_t n, cap; } snf_text;
int snf_put(snf_text *t, const void *p, size_t n);
int snf_puts(snf_text *t, const char *s);
void snf_text_free(snf_text *t);

#endif
