/* slugnet.c - the stable C interface: thin functions over the floors below, without Lua. */
#include "slugnet.h"
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "file/safetensors.h"

struct slug_file {
  snf_bundle bundle;
  char **names;          /* as strings of C; names with zero bytes cannot be found by name */
};

const char *slug_version(void) { return SLUG_VERSION; }
const char *slug_error_message(void) { return sn_error_message(); }

static char *c_string(snf_str s) {
  char *p = sn_malloc(s.n + 1);
  if (p == NULL) return NULL;
  memcpy(p, s.p, s.n);
  p[s.n] = 0;
  return p;
}

slug_file *slug_open(const char *path) {
  sn_error_clear();
  slug_file *f = sn_calloc(1, sizeof *f);
  if (f == NULL) return NULL;
  bool good = snf_safetensors_read(path, &f->bundle) == 0;
  if (good) good = (f->names = sn_calloc((size_t)f->bundle.n + 1, sizeof *f->names)) != NULL;
  for (int i = 0; good && i < f->bundle.n; i++) good = (f->names[i] = c_string(f->bundle.tensors[i].name)) != NULL;
  if (good) return f;
  slug_close(f);
  return NULL;
}

int slug_count(const slug_file *f) { return f->bundle.n; }

int slug_get(const slug_file *f, int i, slug_array *out) {
  if (i < 0 || i >= f->bundle.n) return sn_fail("slug_get: there is no tensor %d, the file has %d", i, f->bundle.n);
  const snt_tensor *t = f->bundle.tensors[i].tensor;
  *out = (slug_array){.name = f->names[i], .dtype = sn_dtypes[t->dtype].name, .data = snt_data(t), .ndim = t->ndim};
  for (int d = 0; d < t->ndim; d++) out->shape[d] = t->shape[d];
  return 0;
}

int slug_find(const slug_file *f, const char *name, slug_array *out) {
  for (int i = 0; i < f->bundle.n; i++)
    if (strcmp(f->names[i], name) == 0) return slug_get(f, i, out);
  return sn_fail("slug_find: there is no tensor '%s' in the file", name);
}

void slug_close(slug_file *f) {
  if (f == NULL) return;
  for (int i = 0; f->names && i < f->bundle.n; i++) sn_free(f->names[i]);
  sn_free(f->names);
  snf_bundle_free(&f->bundle);
  sn_free(f);
}
