/* safetensors.c - reading and writing safetensors. No byte of the header is trusted: each tensor's place is checked against its shape and the file,
 * and all of them together must cover the numbers exactly once. */
#include "file/safetensors.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "file/json.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers go to the file as they lie in memory");

#define MAX_HEADER ((int64_t)100 << 20) /* as the format's own library has it */

static const char *const dtype_names[SN_DTYPES] = {[SN_F32] = "F32", [SN_F64] = "F64", [SN_F16] = "F16", [SN_BF16] = "BF16",
                                                   [SN_I64] = "I64", [SN_I32] = "I32", [SN_U8] = "U8",   [SN_BOOL] = "BOOL"};

typedef struct entry {
  snf_str name;
  int dtype, ndim;
  int64_t shape[SNT_MAXDIM], begin, end;
  snt_tensor *tensor;
} entry;

typedef struct header {
  entry *entries;
  snf_pair *meta;
  int n, cap, nmeta, cap_meta;
} header;

static int compare(snf_str a, snf_str b) {
  const int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
  return c ? c : a.n < b.n ? -1 : a.n > b.n;
}

static bool is(snf_str s, const char *word) { return s.n == strlen(word) && memcmp(s.p, word, s.n) == 0; }

/* ---- the header: every function gives 0, or -1 after sn_fail_io */

/* The string that the parser is at, its escapes taken out in place: the header is ours. */
static snf_str here(const snf_json *j) {
  char *p = (char *)(uintptr_t)j->s.p;
  return (snf_str){p, snf_json_unescape(j, p)};
}

static int grow(void **list, int n, int *cap, size_t size) {
  if (n < *cap) return 0;
  const int more = *cap ? *cap * 2 : 32;
  void *p = sn_realloc(*list, (size_t)more * size);
  if (p == NULL) return -1;
  *list = p;
  *cap = more;
  return 0;
}

static int expect(snf_json *j, snf_token want, const char *what) {
  const snf_token t = snf_json_next(j);
  if (t == want) return 0;
  return t == SNF_JSON_ERROR ? -1 : sn_fail_io("the header has no %s where one must be", what);
}

/* [n, n, ...], at most max of them; how many */
static int sizes(snf_json *j, int64_t *to, int max, const char *what) {
  int n = 0;
  if (expect(j, SNF_JSON_ARRAY, what) < 0) return -1;
  for (;;) {
    const snf_token t = snf_json_next(j);
    if (t == SNF_JSON_ERROR) return -1;
    if (t == SNF_JSON_ARRAY_END) return n;
    if (t != SNF_JSON_INT || j->i < 0) return sn_fail_io("%s holds something that is no size", what);
    if (n == max) return sn_fail_io("%s has more than %d entries", what, max);
    to[n++] = j->i;
  }
}

static int read_entry(snf_json *j, entry *e) {
  int64_t place[2];
  int seen = 0;
  e->dtype = -1;
  if (expect(j, SNF_JSON_OBJECT, "description of a tensor") < 0) return -1;
  for (;;) {
    const snf_token t = snf_json_next(j);
    if (t == SNF_JSON_ERROR) return -1;
    if (t == SNF_JSON_OBJECT_END) break;
    const snf_str k = here(j);
    const int what = is(k, "dtype") ? 1 : is(k, "shape") ? 2 : is(k, "data_offsets") ? 4 : 0;
    if (what == 0 || (seen & what)) return sn_fail_io("the key '%s' is %s", SNF_SHOW(k), what ? "there twice" : "unknown");
    seen |= what;
    if (what == 1) {
      if (expect(j, SNF_JSON_STRING, "name of a dtype") < 0) return -1;
      const snf_str d = here(j);
      for (int i = 0; i < SN_DTYPES; i++)
        if (is(d, dtype_names[i])) e->dtype = i;
      if (e->dtype < 0) return sn_fail_io("its dtype is %s; slugnet reads F64 F32 F16 BF16 I64 I32 U8 BOOL", SNF_SHOW(d));
    } else if (what == 2) {
      if ((e->ndim = sizes(j, e->shape, SNT_MAXDIM, "its shape")) < 0) return -1;
    } else {
      const int n = sizes(j, place, 2, "data_offsets");
      if (n < 0) return -1;
      if (n != 2) return sn_fail_io("data_offsets wants two numbers, it has %d", n);
    }
  }
  if (seen != 7) return sn_fail_io("it has no %s", !(seen & 1) ? "dtype" : !(seen & 2) ? "shape" : "data_offsets");
  e->begin = place[0];
  e->end = place[1];
  return 0;
}

/* The bytes of the shape against those of the place. */
static int check_entry(const entry *e, int64_t data) {
  int64_t n = (int64_t)sn_size_of((sn_dtype)e->dtype), all = n;
  bool zero = false, over = false;
  for (int i = 0; i < e->ndim; i++) {
    zero |= e->shape[i] == 0;
    over |= e->shape[i] != 0 && __builtin_mul_overflow(all, e->shape[i], &all);
  }
  if (over) return sn_fail_io("its shape is too large");
  n = zero ? 0 : all;
  if (e->begin > e->end || e->end > data)
    return sn_fail_io("its numbers are said to be at %lld to %lld of %lld bytes", (long long)e->begin, (long long)e->end, (long long)data);
  if (e->end - e->begin != n)
    return sn_fail_io("%s of shape %s needs %lld bytes, it has %lld", dtype_names[e->dtype],
                      snt_shape_str(e->ndim, e->shape, (char[96]){0}, 96), (long long)n, (long long)(e->end - e->begin));
  return 0;
}

static int read_meta(snf_json *j, header *h) {
  if (expect(j, SNF_JSON_OBJECT, "table of texts in __metadata__") < 0) return -1;
  for (;;) {
    const snf_token t = snf_json_next(j);
    if (t == SNF_JSON_ERROR) return -1;
    if (t == SNF_JSON_OBJECT_END) return 0;
    if (grow((void **)&h->meta, h->nmeta, &h->cap_meta, sizeof *h->meta) < 0) return -1;
    snf_pair *p = &h->meta[h->nmeta];
    p->key = here(j);
    if (expect(j, SNF_JSON_STRING, "text in __metadata__") < 0) return -1;
    p->value = here(j);
    h->nmeta++;
  }
}

static int read_header(snf_json *j, header *h, int64_t data) {
  bool meta = false;
  if (expect(j, SNF_JSON_OBJECT, "object") < 0) return -1;
  for (;;) {
    const snf_token t = snf_json_next(j);
    if (t == SNF_JSON_ERROR) return -1;
    if (t == SNF_JSON_OBJECT_END) break;
    const snf_str name = here(j);
    if (is(name, "__metadata__")) {
      if (meta) return sn_fail_io("__metadata__ is there twice");
      meta = true;
      if (read_meta(j, h) < 0) return -1;
      continue;
    }
    if (grow((void **)&h->entries, h->n, &h->cap, sizeof *h->entries) < 0) return -1;
    entry *e = &h->entries[h->n];
    memset(e, 0, sizeof *e);
    e->name = name;
    if (read_entry(j, e) < 0 || check_entry(e, data) < 0) return sn_fail_prefix("tensor '%s': ", SNF_SHOW(name));
    h->n++;
  }
  return expect(j, SNF_JSON_END, "end");
}

static int by_name(const void *a, const void *b) { return compare(((const entry *)a)->name, ((const entry *)b)->name); }

static int by_place(const void *a, const void *b) {
  const entry *x = a, *y = b;
  if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
  return x->end < y->end ? -1 : x->end > y->end;
}

/* No name twice; no byte twice and none left over. */
static int check_all(header *h, int64_t data) {
  if (h->n) qsort(h->entries, (size_t)h->n, sizeof *h->entries, by_name);
  for (int i = 1; i < h->n; i++)
    if (by_name(&h->entries[i - 1], &h->entries[i]) == 0) return sn_fail_io("the name '%s' is there twice", SNF_SHOW(h->entries[i].name));
  if (h->n) qsort(h->entries, (size_t)h->n, sizeof *h->entries, by_place);
  int64_t at = 0;
  for (int i = 0; i < h->n; i++) {
    const entry *e = &h->entries[i];
    if (e->begin != at)
      return sn_fail_io("tensor '%s' begins at byte %lld of the numbers, %lld was expected", SNF_SHOW(e->name), (long long)e->begin, (long long)at);
    at = e->end;
  }
  if (at != data) return sn_fail_io("the tensors end at byte %lld of %lld: the file is damaged", (long long)at, (long long)data);
  return 0;
}

/* ---- reading */

static void free_header(header *h) {
  for (int i = 0; i < h->n; i++) snt_release(h->entries[i].tensor);
  sn_free(h->entries);
  sn_free(h->meta);
}

static int read_data(const snf_file *f, header *h, int64_t from) {
  for (int i = 0; i < h->n; i++) {
    entry *e = &h->entries[i];
    if ((e->tensor = snt_new((sn_dtype)e->dtype, e->ndim, e->shape)) == NULL) return -1;
    uint8_t *p = snt_data(e->tensor);
    const size_t n = (size_t)(e->end - e->begin);
    if (snf_read(f, from + e->begin, p, n) < 0) return -1;
    if (e->dtype == SN_BOOL)
      for (size_t k = 0; k < n; k++) p[k] = p[k] != 0;
  }
  return 0;
}

/* The list that the caller gets. */
static int finish(header *h, snf_bundle *out) {
  out->tensors = sn_calloc((size_t)h->n + 1, sizeof *out->tensors);
  if (out->tensors == NULL) return -1;
  for (int i = 0; i < h->n; i++) {
    out->tensors[i] = (snf_named){h->entries[i].name, h->entries[i].tensor};
    h->entries[i].tensor = NULL;
  }
  out->n = h->n;
  out->meta = h->meta;
  out->nmeta = h->nmeta;
  h->meta = NULL;
  return 0;
}

static int read_open(const snf_file *f, snf_bundle *out) {
  uint64_t length;
  header h = {0};
  if (f->size < 8) return sn_fail_io("%s: %lld bytes are no safetensors file", f->path, (long long)f->size);
  if (snf_read(f, 0, &length, 8) < 0) return -1;
  if (length > (uint64_t)(f->size - 8) || length > (uint64_t)MAX_HEADER || length < 2)
    return sn_fail_io("%s: no safetensors file, or damaged: its header would have %llu bytes, the file has %lld", f->path,
                      (unsigned long long)length, (long long)f->size);
  if ((out->text = sn_malloc((size_t)length + 1)) == NULL || snf_read(f, 8, out->text, (size_t)length) < 0) return -1;
  out->text[length] = 0;
  const int64_t from = 8 + (int64_t)length, data = f->size - from;
  snf_json j;
  snf_json_start(&j, out->text, (size_t)length);
  int rc = out->text[0] != '{' ? sn_fail_io("the header does not begin with {") : read_header(&j, &h, data);
  if (rc == 0) rc = check_all(&h, data);
  if (rc < 0 && sn_error_code() == SN_ERROR_IO) sn_fail_prefix("%s: no good safetensors file: ", f->path);
  if (rc == 0) rc = read_data(f, &h, from);
  if (rc == 0) rc = finish(&h, out);
  free_header(&h);
  return rc;
}

int snf_safetensors_read(const char *path, snf_bundle *out) {
  snf_file f;
  *out = (snf_bundle){0};
  if (snf_open(&f, path) < 0) return -1;
  const int rc = read_open(&f, out);
  snf_close(&f);
  if (rc < 0) snf_bundle_free(out);
  return rc;
}

void snf_bundle_free(snf_bundle *b) {
  for (int i = 0; i < b->n; i++) snt_release(b->tensors[i].tensor);
  sn_free(b->tensors);
  sn_free(b->meta);
  sn_free(b->text);
  *b = (snf_bundle){0};
}

/* ---- writing */

/* Wide numbers first, so that all are aligned; then by name, so that equal tables give equal files. */
static int for_file(const void *a, const void *b) {
  const snf_named *x = *(const snf_named *const *)a, *y = *(const snf_named *const *)b;
  const size_t m = sn_size_of((sn_dtype)x->tensor->dtype), n = sn_size_of((sn_dtype)y->tensor->dtype);
  return m != n ? (m > n ? -1 : 1) : compare(x->name, y->name);
}

static int pair_order(const void *a, const void *b) { return compare((*(const snf_pair *const *)a)->key, (*(const snf_pair *const *)b)->key); }

static int put_str(snf_text *t, snf_str s, const char *after) {
  if (snf_put_json(t, s.p, s.n) < 0) return -1;
  return snf_puts(t, after);
}

static int put_meta(snf_text *t, const snf_bundle *in, const snf_pair **order) {
  if (in->nmeta == 0) return 0;
  for (int i = 0; i < in->nmeta; i++) order[i] = &in->meta[i];
  qsort(order, (size_t)in->nmeta, sizeof *order, pair_order);
  if (snf_puts(t, "\"__metadata__\":{") < 0) return -1;
  for (int i = 0; i < in->nmeta; i++)
    if (put_str(t, order[i]->key, ":") < 0 || put_str(t, order[i]->value, i + 1 < in->nmeta ? "," : in->n ? "}," : "}") < 0) return -1;
  return 0;
}

static int put_tensor(snf_text *t, const snf_named *e, int64_t *at, bool last) {
  char s[64];
  if (e->name.n == 12 && is(e->name, "__metadata__")) return sn_fail("a tensor cannot have the name __metadata__");
  if (put_str(t, e->name, ":{\"dtype\":\"") < 0 || snf_puts(t, dtype_names[e->tensor->dtype]) < 0 || snf_puts(t, "\",\"shape\":[") < 0) return -1;
  for (int i = 0; i < e->tensor->ndim; i++) {
    snprintf(s, sizeof s, "%s%lld", i ? "," : "", (long long)e->tensor->shape[i]);
    if (snf_puts(t, s) < 0) return -1;
  }
  const int64_t end = *at + (int64_t)snt_nbytes(e->tensor);
  snprintf(s, sizeof s, "],\"data_offsets\":[%lld,%lld]}%s", (long long)*at, (long long)end, last ? "" : ",");
  *at = end;
  return snf_puts(t, s);
}

static int put_header(snf_text *t, const snf_bundle *in, const snf_named **order, const snf_pair **pairs) {
  int64_t at = 0;
  const uint64_t none = 0;
  if (snf_put(t, &none, 8) < 0 || snf_puts(t, "{") < 0 || put_meta(t, in, pairs) < 0) return -1;
  for (int i = 0; i < in->n; i++) order[i] = &in->tensors[i];
  if (in->n) qsort(order, (size_t)in->n, sizeof *order, for_file);
  for (int i = 0; i < in->n; i++)
    if (put_tensor(t, order[i], &at, i + 1 == in->n) < 0) return -1;
  if (snf_puts(t, "}") < 0) return -1;
  while (t->n % 8)
    if (snf_puts(t, " ") < 0) return -1;
  const uint64_t length = t->n - 8;
  memcpy(t->p, &length, 8);
  return 0;
}

static int write_tensor(snf_writer *w, const snt_tensor *x) {
  snt_tensor *c = snt_contiguous(x);
  if (c == NULL) return -1;
  const int rc = snf_write(w, snt_data(c), snt_nbytes(c));
  snt_release(c);
  return rc;
}

int snf_safetensors_write(const char *path, const snf_bundle *in) {
  snf_text t = {0};
  snf_writer w;
  const size_t room = (size_t)in->n + (size_t)in->nmeta + 1;
  const void **order = sn_malloc(room * sizeof *order);
  if (order == NULL) return -1;
  const snf_named **first = (const snf_named **)order;
  int rc = put_header(&t, in, first, (const snf_pair **)(order + in->n));
  if (rc == 0) rc = snf_write_begin(&w, path);
  if (rc == 0) {
    rc = snf_write(&w, t.p, t.n);
    for (int i = 0; i < in->n && rc == 0; i++) rc = write_tensor(&w, first[i]->tensor);
    if (rc == 0) rc = snf_write_end(&w);
    else snf_write_drop(&w);
  }
  snf_text_free(&t);
  sn_free(order);
  return rc;
}
