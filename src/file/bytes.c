/* bytes.c - whole files in, whole files out. */
#include "file/bytes.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include "base/error.h"
#include "base/mem.h"

#define CHUNK ((size_t)1 << 30) /* the most one call of the system takes everywhere */

static int fail_errno(const char *path, int e, const char *more) {
  char text[128];
  return sn_fail_io("%s: %s%s", path, strerror_r(e, text, sizeof text), more);
}

/* ---- reading */

int snf_open(snf_file *f, const char *path) {
  struct stat s;
  f->path = path;
  f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer must not hang */
  if (f->fd < 0) return fail_errno(path, errno, "");
  if (fstat(f->fd, &s) == 0 && S_ISREG(s.st_mode)) {
    f->size = s.st_size;
    return 0;
  }
  close(f->fd);
  f->fd = -1;
  return sn_fail_io("%s: this is %s, not a file", path, S_ISDIR(s.st_mode) ? "a folder" : "a device or a pipe");
}

int snf_read(const snf_file *f, int64_t at, void *to, size_t n) {
  char *p = to;
  while (n > 0) {
    const ssize_t k = pread(f->fd, p, n < CHUNK ? n : CHUNK, (off_t)at);
    if (k < 0 && errno == EINTR) continue;
    if (k < 0) return fail_errno(f->path, errno, "");
    if (k == 0) return sn_fail_io("%s: the file ended %zu bytes too early: it was changed while it was read", f->path, n);
    p += k;
    at += k;
    n -= (size_t)k;
  }
  return 0;
}

void snf_close(snf_file *f) {
  if (f->fd >= 0) close(f->fd);
  f->fd = -1;
}

char *snf_slurp(const char *path, size_t *n) {
  snf_file f;
  if (snf_open(&f, path) < 0) return NULL;
  char *p = sn_alloc((size_t)f.size + 1);
  if (p && snf_read(&f, 0, p, (size_t)f.size) < 0) {
    sn_release(p, (size_t)f.size + 1);
    p = NULL;
  }
  snf_close(&f);
  if (p == NULL) return NULL;
  p[f.size] = 0;
  *n = (size_t)f.size;
  return p;
}

int snf_unpack(void *to, size_t n, const void *packed, size_t bytes) {
  z_stream z = {.next_in = (z_const Bytef *)(uintptr_t)packed, .avail_in = (uInt)bytes, .next_out = to, .avail_out = (uInt)n};
  if (inflateInit2(&z, 15 + 16) != Z_OK) return sn_fail_memory(64 << 10, "unpacking");
  const int rc = inflate(&z, Z_FINISH);
  inflateEnd(&z);
  return rc == Z_STREAM_END && z.avail_out == 0 ? 0 : sn_fail_io("a packed text is damaged (%s)", z.msg ? z.msg : "another length");
}

/* ---- writing */

/* The file that a path means, through symbolic links: those stay. A path that is not there yet is itself. */
static char *resolve(const char *path) {
  char real[PATH_MAX];
  return sn_strdup(realpath(path, real) ? real : path);
}

/* dir/.slugnet-PID-N.tmp beside the file: short, so that it fits wherever the name itself fits. */
static char *temp_name(const char *path) {
  static unsigned count; /* atomic */
  const char *slash = strrchr(path, '/');
  const size_t dir = slash ? (size_t)(slash - path) + 1 : 0;
  char *name = sn_malloc(dir + 64);
  if (name == NULL) return NULL;
  memcpy(name, path, dir);
  snprintf(name + dir, 64, ".slugnet-%ld-%u.tmp", (long)getpid(), __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED));
  return name;
}

static void free_names(snf_writer *w) {
  sn_free(w->path);
  sn_free(w->temp);
  w->path = w->temp = NULL;
}

int snf_write_begin(snf_writer *w, const char *path) {
  struct stat s;
  mode_t mode = 0666;
  *w = (snf_writer){.fd = -1, .beside = true, .shown = path};
  if (stat(path, &s) == 0) {
    if (S_ISDIR(s.st_mode)) return sn_fail_io("%s: this is a folder; a file wants a name of its own", path);
    w->beside = S_ISREG(s.st_mode);
    mode = s.st_mode & 07777;
    if (w->beside && access(path, W_OK) != 0) return fail_errno(path, errno, ""); /* a file that may not be written is not replaced either */
  } else if (errno != ENOENT) {
    return fail_errno(path, errno, "");
  }
  if (!w->beside) {
    w->fd = open(path, O_WRONLY | O_CLOEXEC);
    return w->fd < 0 ? fail_errno(path, errno, "") : 0;
  }
  w->path = resolve(path);
  w->temp = w->path ? temp_name(w->path) : NULL;
  if (w->temp == NULL) {
    free_names(w);
    return -1;
  }
  w->fd = open(w->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (w->fd < 0) {
    const int e = errno;
    free_names(w);
    return fail_errno(path, e, e == ENOENT ? "; the folder is missing" : "");
  }
  if (mode != 0666 && fchmod(w->fd, mode) != 0) errno = 0; /* the old file's rights, where that is allowed */
  return 0;
}

int snf_write(snf_writer *w, const void *from, size_t n) {
  const char *p = from;
  while (n > 0) {
    const ssize_t k = write(w->fd, p, n < CHUNK ? n : CHUNK);
    if (k < 0 && errno == EINTR) continue;
    if (k < 0) return fail_errno(w->shown, errno, w->beside ? "; what was there before is untouched" : "");
    p += k;
    n -= (size_t)k;
  }
  return 0;
}

void snf_write_drop(snf_writer *w) {
  if (w->fd >= 0) close(w->fd);
  w->fd = -1;
  if (w->beside && w->temp) unlink(w->temp);
  free_names(w);
}

/* The rename itself lasts only when the folder has been synced too; file systems that cannot do that are left alone. */
static void sync_folder(const char *path) {
  const char *slash = strrchr(path, '/');
  char dir[PATH_MAX];
  const size_t n = slash ? (size_t)(slash - path) : 0;
  if (n >= sizeof dir) return;
  memcpy(dir, path, n);
  dir[n] = 0;
  const int fd = open(slash == NULL ? "." : n == 0 ? "/" : dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  if (fsync(fd) != 0) errno = 0;
  close(fd);
}

int snf_write_end(snf_writer *w) {
  static const char untouched[] = "; what was there before is untouched";
  int e = 0;
  if (w->beside && fsync(w->fd) != 0) e = errno;
  if (close(w->fd) != 0 && e == 0 && errno != EINTR) e = errno;
  w->fd = -1;
  if (e == 0 && w->beside && rename(w->temp, w->path) != 0) e = errno;
  if (e == 0) {
    if (w->beside) sync_folder(w->path);
    free_names(w);
    return 0;
  }
  const bool beside = w->beside;
  const char *shown = w->shown;
  snf_write_drop(w);
  return fail_errno(shown, e, beside ? untouched : "");
}

int snf_write_file(const char *path, const void *p, size_t n) {
  snf_writer w;
  if (snf_write_begin(&w, path) < 0) return -1;
  if (snf_write(&w, p, n) == 0) return snf_write_end(&w);
  snf_write_drop(&w);
  return -1;
}

/* A writer that was killed leaves its file behind. Its number is in the name: one whose process is gone is removed. */
void snf_sweep(const char *folder) {
  DIR *d = opendir(folder);
  if (d == NULL) return;
  for (struct dirent *e; (e = readdir(d)) != NULL;) {
    long pid;
    unsigned n;
    int end = 0;
    if (sscanf(e->d_name, ".slugnet-%ld-%u.tmp%n", &pid, &n, &end) != 2 || end == 0 || e->d_name[end] != 0) continue;
    if (pid > 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH) unlinkat(dirfd(d), e->d_name, 0);
  }
  closedir(d);
}

/* ---- messages and texts */

const char *snf_show(snf_str s, char *buf, size_t n) {
  size_t at = 0, i = 0;
  for (; i < s.n && at + 8 < n; i++) {
    const unsigned char c = (unsigned char)s.p[i];
    if (c >= 32 && c < 127) buf[at++] = (char)c;
    else at += (size_t)snprintf(buf + at, n - at, "\\x%02x", c);
  }
  snprintf(buf + at, n - at, "%s", i < s.n ? "..." : "");
  return buf;
}

int snf_put(snf_text *t, const void *p, size_t n) {
  if (t->cap - t->n < n + 1) {
    size_t cap = t->cap ? t->cap * 2 : 256;
    while (cap - t->n < n + 1) cap *= 2;
    char *q = sn_realloc(t->p, cap);
    if (q == NULL) return -1;
    t->p = q;
    t->cap = cap;
  }
  if (n) memcpy(t->p + t->n, p, n);
  t->n += n;
  t->p[t->n] = 0;
  return 0;
}

int snf_puts(snf_text *t, const char *s) { return snf_put(t, s, strlen(s)); }

void snf_text_free(snf_text *t) {
  sn_free(t->p);
  *t = (snf_text){0};
}
