/* idx.c - IDX: two zero bytes, a type, a number of dimensions, the dimensions and the numbers, all big-endian. The length must be exact; a
 * gzipped file is unpacked straight into the tensor, its length and CRC are checked, and nothing may follow. */
#include "file/idx.h"
#include <stdio.h>
#include <string.h>
#include <zlib.h>
#include "base/error.h"
#include "base/mem.h"
#include "file/bytes.h"

#define PIECE ((size_t)256 << 10)
#define CHUNK ((size_t)1 << 30)

/* Bytes in order out of a file: as they are, or unpacked. */
typedef struct source {
  snf_file file;
  int64_t at;          /* bytes read, of the file */
  uint8_t *piece;      /* PIECE bytes: of a packed file those read last, and beside them bytes on their way to be scaled */
  bool packed;
  bool ended;          /* of the packed stream: its end was seen, its CRC was right */
  z_stream z;
} source;

static int start(source *s, const char *path) {
  uint8_t magic[2] = {0, 0};
  memset(s, 0, sizeof *s);
  if (snf_open(&s->file, path) < 0) return -1;
  if (s->file.size >= 2 && snf_read(&s->file, 0, magic, 2) < 0) return -1;
  if ((s->piece = sn_malloc(PIECE)) == NULL) return -1;
  if (magic[0] != 0x1f || magic[1] != 0x8b) return 0;
  if (inflateInit2(&s->z, 15 + 16) != Z_OK) return sn_fail_memory(64 << 10, "unpacking");
  s->packed = true;
  return 0;
}

static void stop(source *s) {
  if (s->packed) inflateEnd(&s->z);
  sn_free(s->piece);
  snf_close(&s->file);
}

/* Of the file, not read yet. */
static int64_t left(const source *s) { return s->file.size - s->at + (s->packed ? s->z.avail_in : 0); }

static int refill(source *s) {
  const int64_t most = (int64_t)PIECE / 2, n = s->file.size - s->at < most ? s->file.size - s->at : most;
  if (n == 0) return sn_fail_io("%s: the packed file is cut off", s->file.path);
  if (snf_read(&s->file, s->at, s->piece, (size_t)n) < 0) return -1;
  s->at += n;
  s->z.next_in = s->piece;
  s->z.avail_in = (uInt)n;
  return 0;
}

/* At most n unpacked bytes to `to`; how many there were, or -1. */
static int64_t unpack(source *s, uint8_t *to, size_t n) {
  const size_t all = n;
  while (n > 0 && !s->ended) {
    if (s->z.avail_in == 0 && refill(s) < 0) return -1;
    const size_t out = n < CHUNK ? n : CHUNK;
    s->z.next_out = to;
    s->z.avail_out = (uInt)out;
    const int rc = inflate(&s->z, Z_NO_FLUSH);
    const size_t got = out - s->z.avail_out;
    to += got;
    n -= got;
    if (rc == Z_STREAM_END) s->ended = true;
    else if (rc == Z_MEM_ERROR) return sn_fail_memory(64 << 10, "unpacking");
    else if (rc != Z_OK && (rc != Z_BUF_ERROR || s->z.avail_in > 0))
      return sn_fail_io("%s: the packed file is damaged (%s)", s->file.path, s->z.msg ? s->z.msg : "no gzip");
  }
  return (int64_t)(all - n);
}

static int64_t take(source *s, void *to, size_t n) {
  if (s->packed) return unpack(s, to, n);
  const int64_t k = (int64_t)n < left(s) ? (int64_t)n : left(s);
  if (snf_read(&s->file, s->at, to, (size_t)k) < 0) return -1;
  s->at += k;
  return k;
}

/* The end, and nothing behind it. */
static int check_end(source *s) {
  uint8_t more;
  if (s->packed && !s->ended) { /* the last bytes of the stream may be its end alone, with the CRC */
    const int64_t k = unpack(s, &more, 1);
    if (k < 0) return -1;
    if (k > 0) return sn_fail_io("%s: there is more in the file than its header says", s->file.path);
  }
  if (left(s) > 0) return sn_fail_io("%s: %lld bytes follow the end", s->file.path, (long long)left(s));
  return 0;
}

typedef struct kind { uint8_t code, size; sn_dtype dtype; } kind;
static const kind kinds[] = {{0x08, 1, SN_U8}, {0x09, 1, SN_I32}, {0x0b, 2, SN_I32}, {0x0c, 4, SN_I32}, {0x0d, 4, SN_F32}, {0x0e, 8, SN_F64}};

static uint32_t big32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

/* From the file's order to ours, in place; narrow ones stand at the end of their room and are widened from the front. */
static void convert(uint8_t *p, int64_t n, const kind *k) {
  const size_t wide = sn_size_of(k->dtype);
  const uint8_t *from = p + (size_t)n * (wide - k->size);
  if (k->size == 1 && wide == 1) return;
  for (int64_t i = 0; i < n; i++, p += wide, from += k->size) {
    if (k->size == 1) {
      const int32_t v = (int8_t)from[0];
      memcpy(p, &v, 4);
    } else if (k->size == 2) {
      const int32_t v = (int16_t)(from[0] << 8 | from[1]);
      memcpy(p, &v, 4);
    } else if (k->size == 4) {
      const uint32_t v = big32(from);
      memcpy(p, &v, 4);
    } else {
      const uint64_t v = (uint64_t)big32(from) << 32 | big32(from + 4);
      memcpy(p, &v, 8);
    }
  }
}

static int read_header(source *s, const kind **k, int *ndim, int64_t *shape) {
  uint8_t h[4], d[4];
  int64_t got = take(s, h, 4);
  if (got < 0) return -1;
  *k = NULL;
  for (size_t i = 0; got == 4 && i < sizeof kinds / sizeof *kinds; i++)
    if (kinds[i].code == h[2]) *k = &kinds[i];
  if (got < 4 || h[0] || h[1] || *k == NULL) return sn_fail_io("%s: this is no IDX file", s->file.path);
  *ndim = h[3];
  if (*ndim > SNT_MAXDIM) return sn_fail_io("%s: it has %d dimensions, at most %d are possible", s->file.path, *ndim, SNT_MAXDIM);
  for (int i = 0; i < *ndim; i++) {
    if ((got = take(s, d, 4)) < 0) return -1;
    if (got < 4) return sn_fail_io("%s: the file ends in its header", s->file.path);
    shape[i] = (int64_t)big32(d);
  }
  return 0;
}

/* Whether so many bytes can come out of what is left of the file: nothing is packed better than 1032 to 1. */
static int check_size(const source *s, int ndim, const int64_t *shape, const kind *k) {
  int64_t bytes = (int64_t)sn_size_of(k->dtype);
  bool zero = false, over = false;
  for (int i = 0; i < ndim; i++) {
    zero |= shape[i] == 0;
    over |= shape[i] != 0 && __builtin_mul_overflow(bytes, shape[i], &bytes);
  }
  if (over) return sn_fail_io("%s: its sizes are too large", s->file.path);
  const double want = zero ? 0 : (double)bytes / (double)sn_size_of(k->dtype) * k->size;
  const double most = (double)left(s) * (s->packed ? 1040 : 1) + (s->packed ? 65536 : 0);
  if (want > most || (!s->packed && want < most))
    return sn_fail_io("%s: its sizes %s ask for %.0f bytes of numbers, the file has %lld%s", s->file.path,
                      snt_shape_str(ndim, shape, (char[96]){0}, 96), want, (long long)left(s), s->packed ? " packed ones" : "");
  return 0;
}

/* n bytes of the file to n numbers between 0 and scale * 255; how many there were. */
static int64_t take_scaled(source *s, float *to, int64_t n, float scale) {
  uint8_t *bytes = s->packed ? s->piece + PIECE / 2 : s->piece; /* a packed file fills the first half */
  int64_t done = 0;
  while (done < n) {
    const int64_t want = n - done < (int64_t)PIECE / 2 ? n - done : (int64_t)PIECE / 2;
    const int64_t k = take(s, bytes, (size_t)want);
    if (k < 0) return -1;
    for (int64_t i = 0; i < k; i++) to[done + i] = (float)bytes[i] * scale;
    done += k;
    if (k < want) break;
  }
  return done;
}

static snt_tensor *read_source(source *s, float scale) {
  const kind *k;
  int ndim = 0;
  int64_t shape[SNT_MAXDIM];
  if (read_header(s, &k, &ndim, shape) < 0 || check_size(s, ndim, shape, k) < 0) return NULL;
  const bool scaled = scale < 0 || scale > 0;
  if (scaled && k->code != 0x08) {
    sn_fail_io("%s: images of bytes were expected, the file holds other numbers", s->file.path);
    return NULL;
  }
  snt_tensor *x = snt_new(scaled ? SN_F32 : k->dtype, ndim, shape);
  if (x == NULL) return NULL;
  const int64_t n = snt_numel(x);
  const size_t bytes = (size_t)n * k->size;
  uint8_t *p = snt_data(x);
  const int64_t got = scaled ? take_scaled(s, snt_data(x), n, scale) : take(s, p + (size_t)n * (sn_size_of(k->dtype) - k->size), bytes);
  int rc = got < 0 ? -1 : 0;
  if (rc == 0 && (size_t)got < bytes)
    rc = sn_fail_io("%s: the file has %lld bytes of numbers, its sizes %s ask for %zu", s->file.path, (long long)got, SNT_SHAPE(x), bytes);
  if (rc == 0) rc = check_end(s);
  if (rc < 0) {
    snt_release(x);
    return NULL;
  }
  if (!scaled) convert(p, n, k);
  return x;
}

snt_tensor *snf_idx_read(const char *path, float scale) {
  source s;
  snt_tensor *x = start(&s, path) < 0 ? NULL : read_source(&s, scale);
  stop(&s);
  return x;
}
