/* class.c - objects of all families: making and freeing, arguments, names. What layers have beside that is in layer.c. */
#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "diff/tape.h"
#include "nn/nn.h"

#define CLASS(name) extern const snn_class snn_class_##name;
#include "nn/classes.def"
#undef CLASS
#define CLASS(name) &snn_class_##name,
const snn_class *const snn_classes[] = {
#include "nn/classes.def"
  NULL};
#undef CLASS

/* ---- classes by name */

const snn_class *snn_find(const char *name) {
  for (const snn_class *const *c = snn_classes; *c; c++)
    if (strcmp((*c)->name, name) == 0) return *c;
  return NULL;
}

/* Lower case without _ and -. */
static void plain(const char *s, char *to, size_t n) {
  size_t k = 0;
  for (; *s && k + 1 < n; s++)
    if (*s != '_' && *s != '-') to[k++] = (char)tolower((unsigned char)*s);
  to[k] = 0;
}

/* Edits that make a into b: insert, delete, replace, swap two neighbours. */
static int distance(const char *a, const char *b) {
  int rows[3][64];
  const int m = (int)strlen(b), limit = m < 63 ? m : 63;
  for (int j = 0; j <= limit; j++) rows[0][j] = j;
  int i = 1;
  for (; a[i - 1]; i++) {
    const int *before = rows[(i + 1) % 3], *last = rows[(i + 2) % 3];
    int *now = rows[i % 3];
    now[0] = i;
    for (int j = 1; j <= limit; j++) {
      int best = last[j - 1] + (a[i - 1] != b[j - 1]);
      if (last[j] + 1 < best) best = last[j] + 1;
      if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best) best = before[j - 2] + 1;
      now[j] = best;
    }
  }
  return rows[(i + 2) % 3][limit];
}

const snn_class *snn_find_like(const char *name, snn_family f) {
  static const char *const words[] = {"layer", "loss", "optimizer", "initialiser"};
  char want[48], have[48];
  plain(name, want, sizeof want);
  const snn_class *near = NULL;
  int best = strlen(want) < 5 ? 2 : 4;
  for (const snn_class *const *c = snn_classes; *c; c++) {
    if ((*c)->family != f) continue;
    plain((*c)->name, have, sizeof have);
    if (strcmp(want, have) == 0) return *c;
    const int d = distance(want, have);
    if (d < best) best = d, near = *c;
  }
  if (near) sn_fail("there is no %s '%.40s'; did you mean '%s'?", words[f], name, near->name);
  else sn_fail("there is no %s '%.40s'; sn.classes() lists what there is", words[f], name);
  return NULL;
}

/* ---- arguments */

static bool is_tensor(const sno_arg *a) { return a->kind == SNO_TENSOR || a->kind == SNO_TENSORS; }

static const sno_arg *args_of(const snn_class *c, int *n) { return sno_parse_args(c->args ? c->args : "", n); }

const sno_val *snn_arg(const snn_obj *o, const char *name) {
  int n, k = 0;
  const sno_arg *a = args_of(o->cls, &n);
  for (int i = 0; i < n; i++) {
    if (is_tensor(&a[i])) continue;
    if (strcmp(a[i].name, name) == 0) return &o->val[k];
    k++;
  }
  assert(false);
  return NULL;
}

static const sno_val *find_arg(const snn_obj *o, const char *name) {
  int n, k = 0;
  const sno_arg *a = args_of(o->cls, &n);
  for (int i = 0; i < n; i++) {
    if (is_tensor(&a[i])) continue;
    if (strcmp(a[i].name, name) == 0) return o->val[k].absent ? NULL : &o->val[k];
    k++;
  }
  return NULL;
}

snn_obj *snn_arg_object(const snn_obj *o, const char *name, snn_family f, int *bad) {
  static const char *const words[] = {"a layer", "a loss", "an optimizer", "an initialiser"};
  const sno_val *v = find_arg(o, name);
  if (v == NULL) return NULL;
  snn_obj *x = snn_from_foreign(v->p);
  if (x && x->cls->family == f) return x;
  *bad = sn_fail("%s: %s must be %s%s%s", o->cls->name, name, words[f], x ? ", got " : "", x ? snn_name(x) : "");
  return NULL;
}

static int fill_values(snn_obj *o, int nval, const sno_val *val) {
  int n, k = 0;
  const sno_arg *a = args_of(o->cls, &n);
  for (int i = 0; i < n; i++) {
    if (is_tensor(&a[i])) continue;
    if (k < nval && !val[k].absent) o->val[k] = val[k];
    else if (a[i].optional) o->val[k] = a[i].value;
    else return sn_fail("%s: argument '%s' is missing", o->cls->name, a[i].name);
    o->val[k].kind = (uint8_t)a[i].kind;
    if (a[i].kind == SNO_FOREIGN && !o->val[k].absent) sno_foreign_retain(o->val[k].p);
    o->nval = ++k;
  }
  return 0;
}

/* Arguments that mean the same everywhere. */
static int check_values(const snn_obj *o) {
  const sno_val *v = find_arg(o, "inshape");
  if (v && v->n == 0) return sn_fail("%s: inshape is empty; it wants the sizes of one sample, such as inshape = 784 or {1, 28, 28}", o->cls->name);
  if (v && v->n > SNT_MAXDIM - 1) return sn_fail("%s: inshape has %d sizes, at most %d are possible", o->cls->name, v->n, SNT_MAXDIM - 1);
  for (int i = 0; v && i < v->n; i++)
    if (v->v[i] < 1) return sn_fail("%s: inshape has the size %lld; sizes are at least 1", o->cls->name, (long long)v->v[i]);
  int bad = 0, n;
  const sno_arg *a = args_of(o->cls, &n);
  for (int i = 0; i < n; i++) {
    if (a[i].kind != SNO_FOREIGN) continue;
    const bool init = strstr(a[i].name, "init") != NULL;
    snn_arg_object(o, a[i].name, init ? SNN_INIT : SNN_LAYER, &bad);
    if (bad) return -1;
  }
  return 0;
}

/* ---- objects */

static void free_obj(sno_foreign *f) {
  snn_obj *o = (snn_obj *)f;
  if (o->cls->free) o->cls->free(o);
  for (int i = 0; i < o->nslot; i++) snt_release(o->slot[i].t);
  for (int i = 0; i < o->nval; i++)
    if (o->val[i].kind == SNO_FOREIGN && !o->val[i].absent) sno_foreign_release(o->val[i].p);
  for (int i = 0; i < o->nchild; i++) snn_release(o->child[i]);
  if (o->slot != o->few) sn_free(o->slot);
  sn_free(o->child);
  sn_free(o->val);
  sn_free(o->name);
  sn_free(o);
}

snn_obj *snn_new(const snn_class *c, int nval, const sno_val *val, int nchild, snn_obj *const *child) {
  int n, room = 0;
  const sno_arg *a = args_of(c, &n);
  for (int i = 0; i < n; i++) room += !is_tensor(&a[i]);
  snn_obj *o = sn_calloc(1, c->size ? c->size : sizeof *o);
  if (o == NULL) return NULL;
  o->base = (sno_foreign){.refs = 1, .free = free_obj};
  o->cls = c;
  o->training = 1;
  o->slot = o->few;
  o->room = SNN_SLOTS;
  if (room && (o->val = sn_calloc((size_t)room, sizeof *o->val)) == NULL) goto fail;
  if (fill_values(o, nval, val) < 0 || check_values(o) < 0) goto fail;
  if (nchild && !c->children) {
    sn_fail("%s: takes no layers", c->name);
    goto fail;
  }
  for (int i = 0; i < nchild; i++)
    if (snn_add_child(o, child[i]) < 0) goto fail;
  if (c->init && c->init(o) < 0) goto fail;
  return o;
fail:
  snn_release(o);
  return NULL;
}

snn_obj *snn_retain(snn_obj *o) {
  if (o) sno_foreign_retain(&o->base);
  return o;
}

void snn_release(snn_obj *o) {
  if (o) sno_foreign_release(&o->base);
}

snn_obj *snn_from_foreign(sno_foreign *f) { return f && f->free == free_obj ? (snn_obj *)f : NULL; }

int snn_set_name(snn_obj *o, const char *name) {
  char *s = name ? sn_strdup(name) : NULL;
  if (name && s == NULL) return -1;
  sn_free(o->name);
  o->name = s;
  return 0;
}

const char *snn_describe(const snn_obj *o, char *buf, size_t n) {
  char more[112] = "";
  if (o->cls->describe) o->cls->describe(o, more, sizeof more);
  snprintf(buf, n, "%s%s%s", snn_name(o), *more ? " " : "", more);
  return buf;
}

/* ---- slots */

snt_tensor *snn_get_tensor(const snn_obj *o, const char *name) {
  for (int i = 0; i < o->nslot; i++)
    if (strcmp(o->slot[i].name, name) == 0) return o->slot[i].t;
  return NULL;
}

int snn_set_tensor(snn_obj *o, const char *name, snt_tensor *t) {
  if (t == NULL) return 0;
  if (!sn_is_float((sn_dtype)t->dtype)) return sn_fail("%s: '%s' must be a floating tensor, got %s", o->cls->name, name, sn_dtypes[t->dtype].name);
  assert(o->nslot < SNN_SLOTS);
  o->slot[o->nslot++] = (snn_slot){.name = name, .t = snt_retain(t)};
  return 0;
}

static int more_slots(snn_obj *o, int room) {
  snn_slot *s = sn_calloc((size_t)room, sizeof *s);
  if (s == NULL) return -1;
  memcpy(s, o->slot, (size_t)o->nslot * sizeof *s);
  if (o->slot != o->few) sn_free(o->slot);
  o->slot = s;
  o->room = room;
  return 0;
}

/* Idempotent, so that a build which failed half-way can be tried again. */
int snn_slot_new(snn_obj *o, int k, const char *name, bool param, int ndim, const int64_t *shape, snn_obj *init, const char *usual) {
  if (k >= o->room && more_slots(o, k + 1) < 0) return -1;
  if (k < o->nslot && o->slot[k].t) return 0;
  snt_tensor *t = snt_new(SN_F32, ndim, shape);
  if (t == NULL) return -1;
  snn_obj *made = NULL;
  if (init == NULL) init = made = snn_new(snn_find(usual), 0, NULL, 0, NULL);
  double in = 1, out = 1;
  if (ndim > 1) snn_fans(t, &in, &out);
  int rc = init ? snn_fill(init, t, in, out) : -1;
  snn_release(made);
  if (rc == 0 && param) rc = sno_set_requires_grad(t, true);
  if (rc < 0) {
    snt_release(t);
    return -1;
  }
  o->slot[k] = (snn_slot){.name = name, .t = t, .param = param};
  if (o->nslot <= k) o->nslot = k + 1;
  return 0;
}
