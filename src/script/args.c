/* args.c - a Lua call's arguments read by descriptor: for operations and for constructors. Nothing here raises. */
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "script/script.h"

#define MAXARG 24

/* One argument on its way: what was given for it. */
typedef struct slot {
  bool given;
  uint8_t number;        /* of a tensor argument: 1 a float, 2 an integer, 3 a boolean, still to become a tensor */
  int n;                 /* of a list: its length */
  snt_tensor *t, **list;
  lua_Number d;
  lua_Integer i;
} slot;

typedef struct reader {
  lua_State *L;
  snl_args *a;
  const sno_arg *arg;
  int narg;
  slot s[MAXARG];
} reader;

static int wrong(lua_State *L, int i, const char *who, const char *arg, const char *wanted) {
  char buf[160];
  return sn_fail("%s: argument '%s' must be %s, got %s", who, arg, wanted, snl_describe(L, i, buf, sizeof buf));
}

bool snl_is_options(lua_State *L, int i) {
  if (lua_type(L, i) != LUA_TTABLE) return false;
  if (lua_getmetatable(L, i)) {
    lua_pop(L, 1);
    return false;
  }
  i = lua_absindex(L, i);
  for (lua_pushnil(L); lua_next(L, i); lua_pop(L, 1))
    if (lua_type(L, -2) == LUA_TSTRING) {
      lua_pop(L, 2);
      return true;
    }
  return false;
}

/* ---- single values */

static bool whole(lua_State *L, int i, int64_t *v) {
  if (lua_type(L, i) != LUA_TNUMBER) return false;
  int ok;
  *v = lua_tointegerx(L, i, &ok);
  return ok;
}

/* From 1 to from 0; negative ones count from the end on both sides. */
static int from_one(const sno_arg *arg, const char *who, int64_t *v) {
  if (*v == 0) return sn_fail("%s: '%s' is 0; %s count from 1 (or from the end, -1)", who, arg->name, arg->kind == SNO_POS ? "positions" : "dimensions");
  if (*v > 0) --*v;
  return 0;
}

static int get_ints(lua_State *L, int i, const sno_arg *arg, const char *who, sno_val *v) {
  int64_t x;
  v->n = 0;
  if (whole(L, i, &x)) {
    v->n = 1;
    v->v[0] = x;
  } else if (lua_type(L, i) == LUA_TTABLE) {
    const lua_Unsigned n = lua_rawlen(L, i);
    if (n > SNT_MAXDIM * 3) return sn_fail("%s: '%s' has %llu entries, at most %d make sense", who, arg->name, (unsigned long long)n, SNT_MAXDIM * 3);
    for (lua_Unsigned k = 1; k <= n; k++) {
      lua_rawgeti(L, i, (lua_Integer)k);
      const bool ok = whole(L, -1, &x);
      if (!ok) {
        char buf[160];
        sn_fail("%s: entry %d of '%s' must be an integer, got %s", who, (int)k, arg->name, snl_describe(L, -1, buf, sizeof buf));
      }
      lua_pop(L, 1);
      if (!ok) return -1;
      v->v[v->n++] = x;
    }
  } else {
    return wrong(L, i, who, arg->name, arg->kind == SNO_DIMS ? "a dimension or a list of them" : "an integer or a list of integers");
  }
  if (arg->kind == SNO_DIMS)
    for (int k = 0; k < v->n; k++)
      if (from_one(arg, who, &v->v[k]) < 0) return -1;
  return 0;
}

static int get_word(lua_State *L, int i, const sno_arg *arg, const char *who, sno_val *v) {
  if (lua_type(L, i) != LUA_TSTRING) return wrong(L, i, who, arg->name, "a string");
  const char *s = lua_tostring(L, i);
  if (arg->words == NULL) return (v->s = snl_intern(s)) ? 0 : -1;
  char list[256] = "", text[64];
  for (const char *const *w = arg->words; *w; w++) {
    if (strcmp(*w, s) == 0) {
      v->s = *w;
      return 0;
    }
    const size_t n = strlen(list);
    snprintf(list + n, sizeof list - n, "%s'%s'", n ? ", " : "", *w);
  }
  return sn_fail("%s: '%s' is '%s'; it can be %s", who, arg->name, snl_escape(s, text, sizeof text), list);
}

static int get_dtype(lua_State *L, int i, const sno_arg *arg, const char *who, sno_val *v) {
  static const char *const names[] = {"float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool", NULL};
  if (lua_type(L, i) != LUA_TSTRING) return wrong(L, i, who, arg->name, "the name of a dtype (\"float32\", \"int64\", ...)");
  const char *s = lua_tostring(L, i);
  if ((v->i = sn_dtype_find(s)) >= 0) return 0;
  char text[64];
  const char *near = snl_nearest(s, names);
  return sn_fail("%s: there is no dtype '%s'%s%s%s; float32 float64 float16 bfloat16 int64 int32 uint8 bool", who, snl_escape(s, text, sizeof text),
                 near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
}

int snl_get_val(lua_State *L, int i, const sno_arg *arg, const char *who, sno_val *v) {
  i = lua_absindex(L, i);
  v->kind = (uint8_t)arg->kind;
  v->absent = false;
  v->n = 0;
  switch (arg->kind) {
    case SNO_INT: return whole(L, i, &v->i) ? 0 : wrong(L, i, who, arg->name, "an integer");
    case SNO_DIM: case SNO_POS: return whole(L, i, &v->i) ? from_one(arg, who, &v->i) : wrong(L, i, who, arg->name, arg->kind == SNO_DIM ? "a dimension (an integer)" : "a position (an integer)");
    case SNO_NUM:
      if (lua_type(L, i) != LUA_TNUMBER) return wrong(L, i, who, arg->name, "a number");
      v->d = lua_tonumber(L, i);
      return 0;
    case SNO_BOOL:
      if (lua_type(L, i) != LUA_TBOOLEAN) return wrong(L, i, who, arg->name, "true or false");
      v->i = lua_toboolean(L, i);
      return 0;
    case SNO_STR: return get_word(L, i, arg, who, v);
    case SNO_DTYPE: return get_dtype(L, i, arg, who, v);
    case SNO_INTS: case SNO_DIMS: return get_ints(L, i, arg, who, v);
    case SNO_SLICES:
      if (get_ints(L, i, arg, who, v) < 0) return -1;
      return 0;
    case SNO_INT2:
      if (get_ints(L, i, arg, who, v) < 0) return -1;
      if (v->n == 0 || v->n > 2) return sn_fail("%s: '%s' is one number or two, got %d", who, arg->name, v->n);
      if (v->n == 1) v->v[1] = v->v[0];
      v->n = 2;
      return 0;
    case SNO_FOREIGN:
      if (snl_to_foreign == NULL) return sn_fail("%s: '%s' cannot be given here", who, arg->name);
      v->p = snl_to_foreign(L, i, arg, who);
      v->absent = v->p == NULL;
      return v->p ? 0 : -1;
    default: return sn_fail("%s: '%s' cannot be given", who, arg->name);
  }
}

/* ---- tensors */

static int tensor_of(lua_State *L, int i, const char *who, const char *arg, slot *s) {
  snl_box *b = snl_test_box(L, i);
  if (b) {
    if (b->t == NULL) return sn_fail("%s: argument '%s' is a closed tensor", who, arg);
    s->t = b->t;
    return 0;
  }
  switch (lua_type(L, i)) {
    case LUA_TNUMBER:
      if (lua_isinteger(L, i)) {
        s->number = 2;
        s->i = lua_tointeger(L, i);
      } else {
        s->number = 1;
        s->d = lua_tonumber(L, i);
      }
      return 0;
    case LUA_TBOOLEAN:
      s->number = 3;
      s->i = lua_toboolean(L, i);
      return 0;
    case LUA_TTABLE: return wrong(L, i, who, arg, "a tensor or a number (sn.tensor makes one of a table)");
    default: return wrong(L, i, who, arg, "a tensor or a number");
  }
}

/* A number as a weak tensor; in the type of a float32 or float64 partner at once, because promotion would bring it there. */
static snt_tensor *weak(const slot *s, const snt_tensor *partner) {
  snt_tensor *t;
  if (s->number == 3) t = snt_scalar_int(SN_BOOL, s->i);
  else if (partner && (partner->dtype == SN_F32 || partner->dtype == SN_F64)) t = snt_scalar((sn_dtype)partner->dtype, s->number == 1 ? s->d : (double)s->i);
  else if (s->number == 2) t = snt_scalar_int(SN_I64, s->i);
  else t = snt_scalar(SN_F64, s->d);
  if (t) t->weak = true;
  return sno_own(t);
}

snt_tensor *snl_get_tensor(lua_State *L, int i, const char *who, const char *arg) {
  slot s = {0};
  if (tensor_of(L, i, who, arg, &s) < 0) return NULL;
  return s.number ? weak(&s, NULL) : sno_own(snt_retain(s.t)); /* Lua run meanwhile may close the userdata */
}

int snl_get_tensors(lua_State *L, int i, const char *who, const char *arg, int max, snt_tensor **to) {
  if (lua_type(L, i) != LUA_TTABLE) return wrong(L, i, who, arg, "a list of tensors");
  const lua_Unsigned n = lua_rawlen(L, i);
  if (n > (lua_Unsigned)max) return sn_fail("%s: '%s' has %llu entries, at most %d are allowed", who, arg, (unsigned long long)n, max);
  for (lua_Unsigned k = 1; k <= n; k++) {
    lua_rawgeti(L, i, (lua_Integer)k);
    to[k - 1] = snl_test_tensor(L, -1);
    char buf[160];
    if (to[k - 1] == NULL) sn_fail("%s: entry %d of '%s' must be a tensor, got %s", who, (int)k, arg, snl_describe(L, -1, buf, sizeof buf));
    lua_pop(L, 1);
    if (to[k - 1] == NULL) return -1;
  }
  return (int)n;
}

static int read_list(reader *r, int k, int i) {
  slot *s = &r->s[k];
  if (lua_type(r->L, i) != LUA_TTABLE) return wrong(r->L, i, r->a->who, r->arg[k].name, "a list of tensors");
  s->n = (int)lua_rawlen(r->L, i);
  s->list = sn_malloc((size_t)(s->n + 1) * sizeof *s->list);
  if (s->list == NULL) return -1;
  return snl_get_tensors(r->L, i, r->a->who, r->arg[k].name, s->n, s->list) < 0 ? -1 : 0;
}

/* cat(a, b, ...): a run of tensors where a list is wanted. Returns the next index. */
static int read_run(reader *r, int k, int i, int last) {
  slot *s = &r->s[k];
  int n = 1;
  while (i + n <= last && snl_test_box(r->L, i + n)) n++;
  s->list = sn_malloc((size_t)n * sizeof *s->list);
  if (s->list == NULL) return -1;
  for (s->n = 0; s->n < n; s->n++)
    if ((s->list[s->n] = snl_test_tensor(r->L, i + s->n)) == NULL) return sn_fail("%s: argument %d is a closed tensor", r->a->who, s->n + 1);
  return i + n;
}

/* ---- arguments in their places */

static bool is_tensor_kind(sno_kind k) { return k == SNO_TENSOR || k == SNO_TENSORS; }
static bool is_number_kind(sno_kind k) {
  return k == SNO_INT || k == SNO_NUM || k == SNO_DIM || k == SNO_DIMS || k == SNO_INTS || k == SNO_INT2 || k == SNO_POS;
}

static sno_val *val_of(reader *r, int k) {
  int at = 0;
  for (int i = 0; i < k; i++) at += !is_tensor_kind(r->arg[i].kind);
  return &r->a->val[at];
}

static int read_one(reader *r, int k, int i) {
  slot *s = &r->s[k];
  const sno_arg *arg = &r->arg[k];
  if (s->given) return sn_fail("%s: '%s' was given twice", r->a->who, arg->name);
  s->given = true;
  if (arg->kind == SNO_TENSOR) return tensor_of(r->L, i, r->a->who, arg->name, s);
  if (arg->kind == SNO_TENSORS) return read_list(r, k, i);
  return snl_get_val(r->L, i, arg, r->a->who, val_of(r, k));
}

static bool numbers_follow(const reader *r, int k) {
  for (int i = k + 1; i < r->narg; i++)
    if (is_number_kind(r->arg[i].kind)) return true;
  return false;
}

/* reshape(2, 3): sizes without a table. Returns the next index. */
static int read_sizes(reader *r, int k, int i, int last) {
  const sno_arg *arg = &r->arg[k];
  sno_val *v = val_of(r, k);
  r->s[k].given = true;
  *v = (sno_val){.kind = (uint8_t)arg->kind};
  for (; i <= last && lua_type(r->L, i) == LUA_TNUMBER; i++) {
    int64_t x;
    if (!whole(r->L, i, &x)) return wrong(r->L, i, r->a->who, arg->name, "integers");
    if (v->n == SNT_MAXDIM * 3) return sn_fail("%s: too many numbers", r->a->who);
    if (arg->kind == SNO_DIMS && from_one(arg, r->a->who, &x) < 0) return -1;
    v->v[v->n++] = x;
  }
  return i;
}

static int unknown_option(const reader *r, const char *key) {
  const char *names[MAXARG + 16], *near;
  char list[256] = "", text[64];
  int n = 0;
  for (int k = 0; k < r->narg; k++)
    if (r->arg[k].kind != SNO_BASE) names[n++] = r->arg[k].name;
  for (const char *const *e = r->a->extra_names; e && *e && n < MAXARG + 15; e++) names[n++] = *e;
  names[n] = NULL;
  near = snl_nearest(key, names);
  if (near) return sn_fail("%s: there is no option '%s'; did you mean '%s'?", r->a->who, snl_escape(key, text, sizeof text), near);
  for (int k = 0; k < n; k++) {
    const size_t at = strlen(list);
    snprintf(list + at, sizeof list - at, "%s%s", k ? ", " : "", names[k]);
  }
  return sn_fail("%s: there is no option '%s'; it takes %s", r->a->who, snl_escape(key, text, sizeof text), n ? list : "none");
}

static int read_options(reader *r, int table, bool mixed) {
  lua_State *L = r->L;
  table = lua_absindex(L, table);
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) {
      if (mixed && lua_isinteger(L, -2)) continue;
      lua_pop(L, 2);
      return sn_fail("%s: the table of options also has entries without a name", r->a->who);
    }
    const char *key = lua_tostring(L, -2);
    const int value = lua_gettop(L);
    int rc = 0, k = 0;
    while (k < r->narg && (r->arg[k].kind == SNO_BASE || strcmp(r->arg[k].name, key) != 0)) k++;
    if (k < r->narg) {
      rc = read_one(r, k, value);
    } else {
      rc = r->a->extra ? r->a->extra(L, r->a, key, value) : 0;
      rc = rc > 0 ? 0 : rc < 0 ? -1 : unknown_option(r, key);
    }
    if (rc < 0) {
      lua_pop(L, 2);
      return -1;
    }
  }
  return 0;
}

static int too_many(const reader *r) {
  char list[256] = "";
  int count = 0;
  for (int k = 0; k < r->narg; k++) {
    if (r->arg[k].kind == SNO_BASE) continue;
    const size_t at = strlen(list);
    snprintf(list + at, sizeof list - at, "%s%s", count++ ? ", " : "", r->arg[k].name);
  }
  return sn_fail("%s: too many arguments; it takes %s", r->a->who, count ? list : "none");
}

/* The last value is a table: is it this argument's own, or the options? */
static bool are_options(const reader *r, int k, int i) {
  if (lua_type(r->L, i) != LUA_TTABLE) return false;
  if (!snl_is_options(r->L, i)) {
    if (k < r->narg || lua_rawlen(r->L, i) > 0) return false;
    if (!lua_getmetatable(r->L, i)) return true; /* {} after everything */
    lua_pop(r->L, 1);
    return false;
  }
  if (k < r->narg && r->arg[k].kind == SNO_FOREIGN) {
    lua_pushnil(r->L);
    while (lua_next(r->L, i)) {
      const bool config = lua_type(r->L, -2) == LUA_TSTRING && strcmp(lua_tostring(r->L, -2), "class") == 0;
      lua_pop(r->L, 1);
      if (config) {
        lua_pop(r->L, 1);
        return false;
      }
    }
  }
  return true;
}

static int read_positional(reader *r, int first, int last) {
  lua_State *L = r->L;
  int k = 0, i = first;
  while (i <= last) {
    while (k < r->narg && r->arg[k].kind == SNO_BASE) k++;
    if (i == last && are_options(r, k, i)) return read_options(r, i, false);
    if (k == r->narg) return too_many(r);
    const sno_kind kind = r->arg[k].kind;
    if (lua_type(L, i) == LUA_TNIL) {
      i++;
    } else if ((kind == SNO_INTS || kind == SNO_DIMS) && lua_type(L, i) == LUA_TNUMBER && !numbers_follow(r, k)) {
      if ((i = read_sizes(r, k, i, last)) < 0) return -1;
    } else if (kind == SNO_TENSORS && snl_test_box(L, i)) {
      r->s[k].given = true;
      if ((i = read_run(r, k, i, last)) < 0) return -1;
    } else {
      if (kind == SNO_TENSOR && r->a->in0 == 0) r->a->in0 = i;
      if (read_one(r, k, i) < 0) return -1;
      i++;
    }
    k++;
  }
  return 0;
}

/* ---- putting it together */

static int start(reader *r, lua_State *L, snl_args *a, const sno_arg *arg, int narg) {
  if (narg > MAXARG || !lua_checkstack(L, 8)) return sn_fail("%s: too many arguments", a->who);
  r->L = L;
  r->a = a;
  r->arg = arg;
  r->narg = narg;
  for (int k = 0; k < narg; k++) {
    slot *s = &r->s[k];
    s->given = false;
    s->number = 0;
    s->t = NULL;
    s->list = NULL;
    if (is_tensor_kind(arg[k].kind)) continue;
    if (a->nval == SNL_VALS) return sn_fail("%s: too many arguments", a->who);
    sno_val *v = &a->val[a->nval++];
    v->kind = (uint8_t)arg[k].kind;
    v->absent = arg[k].kind != SNO_BASE;
    v->n = 0;
    v->i = 1;
  }
  return 0;
}

static int gather(reader *r) {
  snl_args *a = r->a;
  int total = 0;
  const snt_tensor *partner = NULL;
  for (int k = 0; k < r->narg; k++) {
    const slot *s = &r->s[k];
    const sno_arg *arg = &r->arg[k];
    if (!s->given && !arg->optional && arg->kind != SNO_BASE) return sn_fail("%s: argument '%s' is missing", a->who, arg->name);
    if (arg->kind == SNO_TENSORS) {
      if (a->nlist >= 0 && a->nlist != s->n) return sn_fail("%s: '%s' has %d entries, the list before it %d", a->who, arg->name, s->n, a->nlist);
      a->nlist = s->n;
    }
    total += arg->kind == SNO_TENSOR ? 1 : arg->kind == SNO_TENSORS ? s->n : 0;
    if (s->t && partner == NULL) partner = s->t;
  }
  if (total > SNL_FEW && (a->in = sn_malloc((size_t)total * sizeof *a->in)) == NULL) {
    a->in = a->few;
    return -1;
  }
  for (int k = 0; k < r->narg; k++) {
    slot *s = &r->s[k];
    if (r->arg[k].kind == SNO_TENSORS)
      for (int j = 0; j < s->n; j++) a->in[a->nin++] = s->list[j];
    if (r->arg[k].kind != SNO_TENSOR) continue;
    if (s->number && (s->t = weak(s, partner)) == NULL) return -1;
    a->in[a->nin++] = s->t;
  }
  return 0;
}

static int finish(reader *r, int rc) {
  if (rc == 0) rc = gather(r);
  for (int k = 0; k < r->narg; k++) sn_free(r->s[k].list);
  return rc;
}

void snl_args_init(snl_args *a, const char *who) {
  a->who = who;
  a->in = a->few;
  a->nin = a->nval = a->in0 = 0;
  a->nlist = -1;
  a->extra = NULL;
  a->extra_names = NULL;
  a->ctx = NULL;
  a->rng = NULL;
  a->requires_grad = false;
}

int snl_args_read(lua_State *L, snl_args *a, const sno_arg *arg, int narg, int first, int last) {
  reader r;
  if (start(&r, L, a, arg, narg) < 0) return -1;
  return finish(&r, read_positional(&r, first, last));
}

int snl_args_table(lua_State *L, snl_args *a, const sno_arg *arg, int narg, int table, int from) {
  reader r;
  if (start(&r, L, a, arg, narg) < 0) return -1;
  table = lua_absindex(L, table);
  const int n = (int)lua_rawlen(L, table);
  int k = 0, rc = 0;
  for (int i = from + 1; rc == 0 && i <= n; i++, k++) {
    while (k < narg && arg[k].kind == SNO_BASE) k++;
    if (k == narg) {
      rc = too_many(&r);
      break;
    }
    lua_rawgeti(L, table, i);
    if (lua_type(L, -1) != LUA_TNIL) rc = read_one(&r, k, lua_gettop(L));
    lua_pop(L, 1);
  }
  if (rc == 0) rc = read_options(&r, table, true);
  return finish(&r, rc);
}

void snl_args_done(snl_args *a) {
  if (a->in != a->few) sn_free(a->in);
  a->in = a->few;
  for (int k = 0; k < a->nval; k++)
    if (a->val[k].kind == SNO_FOREIGN && !a->val[k].absent) sno_foreign_release(a->val[k].p);
  a->nval = 0;
}

/* ---- back to Lua */

void snl_push_val(lua_State *L, const sno_arg *arg, const sno_val *v) {
  luaL_checkstack(L, 4, NULL);
  if (v->absent) {
    lua_pushnil(L);
    return;
  }
  switch (arg->kind) {
    case SNO_INT: case SNO_BASE: lua_pushinteger(L, v->i); break;
    case SNO_NUM: lua_pushnumber(L, v->d); break;
    case SNO_BOOL: lua_pushboolean(L, v->i != 0); break;
    case SNO_STR: lua_pushstring(L, v->s); break;
    case SNO_DTYPE: lua_pushstring(L, v->i >= 0 && v->i < SN_DTYPES ? sn_dtypes[v->i].name : NULL); break;
    case SNO_DIM: case SNO_POS: lua_pushinteger(L, v->i >= 0 ? v->i + 1 : v->i); break;
    case SNO_INTS: case SNO_DIMS: case SNO_INT2: case SNO_SLICES:
      lua_createtable(L, v->n, 0);
      for (int k = 0; k < v->n; k++) {
        lua_pushinteger(L, v->v[k] + (arg->kind == SNO_DIMS && v->v[k] >= 0));
        lua_rawseti(L, -2, k + 1);
      }
      break;
    case SNO_FOREIGN:
      if (snl_push_foreign) snl_push_foreign(L, v->p);
      else lua_pushnil(L);
      break;
    default: lua_pushnil(L);
  }
}
