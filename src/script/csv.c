/* csv.c - read_csv: a table of numbers and words for scripts; what a script sees of it is made in lua/slugnet/data.lua. */
#include <math.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "file/csv.h"
#include "script/file.h"
#include "script/tensor.h"

/* Stack of read_csv: 1 the path or {text=}, 2 the options, 3 the hold */
enum { SOURCE = 1, OPTIONS = 2, HOLD = 3 };

typedef struct table {
  snf_csv csv;
  snf_csv_options o;
  snf_pick *words;
  snf_pick known;          /* the column that is no strings in any case, and whose words may be given */
  bool has_known;
  snf_str *given;
  int64_t ngiven;
  sn_dtype dtype;
  const char *path, *text; /* one of them */
  size_t text_size;
  snt_tensor *numbers;
  snt_tensor **codes;      /* by text column: a class for each row; NULL for strings */
  snf_str **lists;         /* and its words, NULL if they were given */
  int64_t *counts;
  int nlists, rc;
  bool strings;
} table;

static void empty(table *t) {
  for (int i = 0; i < t->nlists; i++) {
    snt_release(t->codes[i]);
    sn_free(t->lists[i]);
  }
  snt_release(t->numbers);
  t->numbers = NULL;
  sn_free(t->lists);
  sn_free(t->codes);
  t->codes = NULL;
  sn_free(t->counts);
  t->lists = NULL;
  t->counts = NULL;
  t->nlists = 0;
  snf_csv_free(&t->csv);
}

static void free_table(void *p) {
  table *t = p;
  empty(t);
  sn_free(t->words);
  sn_free(t->given);
  sn_free(t);
}

/* ---- options; the strings are held by the table of options */

static void read_pick(lua_State *L, const char *what, snf_pick *p) {
  *p = (snf_pick){0};
  if (lua_type(L, -1) == LUA_TSTRING) p->name.p = lua_tolstring(L, -1, &p->name.n);
  else if (lua_isinteger(L, -1)) p->index = lua_tointeger(L, -1);
  else snl_error(L, "csv: '%s' wants the name of a column or its number, got a %s", what, luaL_typename(L, -1));
}

static void read_words(lua_State *L, table *t) {
  const size_t n = lua_rawlen(L, -1);
  if ((t->words = sn_calloc(n + 1, sizeof *t->words)) == NULL) snl_fail(L);
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, -1, (lua_Integer)i + 1);
    read_pick(L, "words", &t->words[i]);
    lua_pop(L, 1);
  }
  t->o.words = t->words;
  t->o.nwords = (int)n;
}

static void read_given(lua_State *L, table *t) {
  luaL_checktype(L, -1, LUA_TTABLE);
  t->ngiven = (int64_t)lua_rawlen(L, -1);
  if ((t->given = sn_calloc((size_t)t->ngiven + 1, sizeof *t->given)) == NULL) snl_fail(L);
  for (int64_t i = 0; i < t->ngiven; i++) {
    if (lua_rawgeti(L, -1, i + 1) != LUA_TSTRING)
      snl_error(L, "csv: classes wants a list of strings, entry %d is a %s", (int)i + 1, luaL_typename(L, -1));
    t->given[i].p = lua_tolstring(L, -1, &t->given[i].n);
    lua_pop(L, 1);
  }
}

static void read_options(lua_State *L, table *t) {
  static const char *const names[] = {"header", "separator", "skip", "missing", "dtype", "words", "column", "classes", "strings", NULL};
  t->o = (snf_csv_options){.separator = ',', .header = -1, .missing = (double)NAN};
  t->dtype = SN_F32;
  snl_check_options(L, OPTIONS, "csv", names);
  if (lua_isnil(L, OPTIONS)) return;
  if (lua_getfield(L, OPTIONS, "header") != LUA_TNIL) t->o.header = lua_toboolean(L, -1);
  if (lua_getfield(L, OPTIONS, "separator") != LUA_TNIL) {
    size_t n;
    const char *s = luaL_checklstring(L, -1, &n);
    if (n != 1 || strchr("\"\n\r.+-0123456789eE", *s))
      snl_error(L, "csv: separator is one character that is part of no number, such as ',' ';' or '\\t'");
    t->o.separator = *s;
  }
  if (lua_getfield(L, OPTIONS, "skip") != LUA_TNIL) t->o.skip = luaL_checkinteger(L, -1);
  if (lua_getfield(L, OPTIONS, "missing") != LUA_TNIL) {
    t->o.missing = luaL_checknumber(L, -1);
    t->o.fill = true;
  }
  if (lua_getfield(L, OPTIONS, "dtype") != LUA_TNIL) {
    const int d = sn_dtype_find(luaL_checkstring(L, -1));
    if (d != SN_F32 && d != SN_F64) snl_error(L, "csv: dtype is \"float32\" or \"float64\"");
    t->dtype = (sn_dtype)d;
  }
  lua_pop(L, 5);
  if (lua_getfield(L, OPTIONS, "words") != LUA_TNIL) read_words(L, t);
  if (lua_getfield(L, OPTIONS, "classes") != LUA_TNIL) read_given(L, t);
  if (lua_getfield(L, OPTIONS, "column") != LUA_TNIL) {
    read_pick(L, "column", &t->known);
    t->has_known = true;
  }
  lua_getfield(L, OPTIONS, "strings");
  t->strings = lua_toboolean(L, -1);
  lua_pop(L, 4);
}

/* ---- the work */

static int load(table *t) {
  size_t n = t->text_size;
  char *p = t->path ? snf_slurp(t->path, &n) : sn_alloc(n + 1);
  if (p == NULL) return -1;
  if (t->path == NULL) {
    memcpy(p, t->text, n);
    p[n] = 0;
  }
  return snf_csv_parse(&t->csv, t->path ? t->path : "text", p, n, &t->o);
}

/* The columns of numbers, side by side. */
static snt_tensor *numbers(const table *t) {
  const snf_csv *c = &t->csv;
  const int k = c->cols - c->ntext;
  snt_tensor *x = snt_new(t->dtype, 2, (const int64_t[]){c->rows, k});
  if (x == NULL) return NULL;
  float *f = snt_data(x);
  double *d = snt_data(x);
  const double *v = c->values;
  for (int64_t row = 0; row < c->rows; row++)
    for (int col = 0; col < c->cols; col++, v++) {
      if (c->text_at[col] >= 0) continue;
      if (t->dtype == SN_F32) *f++ = (float)*v;
      else *d++ = *v;
    }
  return x;
}

static int words(table *t) {
  const snf_csv *c = &t->csv;
  const int known = t->has_known ? snf_csv_column(c, &t->known) : -1;
  if (t->has_known && known < 0) return -1;
  t->lists = sn_calloc((size_t)c->ntext + 1, sizeof *t->lists);
  t->counts = sn_calloc((size_t)c->ntext + 1, sizeof *t->counts);
  t->codes = sn_calloc((size_t)c->ntext + 1, sizeof *t->codes);
  if (t->lists == NULL || t->counts == NULL || t->codes == NULL) return -1;
  t->nlists = c->ntext;
  for (int col = 0; col < c->cols; col++) {
    const int k = c->text_at[col];
    if (k < 0) continue;
    if (t->strings && col != known) continue;
    if ((t->codes[k] = snt_new(SN_I64, 1, &c->rows)) == NULL) return -1;
    t->counts[k] = snf_csv_classes(c, col, col == known ? t->given : NULL, t->ngiven, 1, snt_data(t->codes[k]), &t->lists[k]);
    if (t->counts[k] < 0) return -1;
  }
  return 0;
}

static int body_csv(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  table *t = ctx;
  empty(t);
  t->rc = load(t);
  if (t->rc == 0) t->rc = (t->numbers = numbers(t)) ? words(t) : -1;
  return t->rc == 0 || sn_error_code() == SN_ERROR_IO ? 0 : -1;
}

static void push_name(lua_State *L, const snf_csv *c, int col) {
  if (c->names) lua_pushlstring(L, c->names[col].p, c->names[col].n);
  else lua_pushinteger(L, col + 1);
}

/* {column=, name=, codes=tensor, words={...}} or {column=, name=, strings={...}} */
static void push_text(lua_State *L, const table *t, int col) {
  const snf_csv *c = &t->csv;
  const int k = c->text_at[col];
  const bool strings = t->codes[k] == NULL;
  const snf_str *from = strings ? c->cells + k * c->rows : t->lists[k] ? t->lists[k] : t->given;
  const int64_t n = strings ? c->rows : t->counts[k];
  lua_createtable(L, 0, 4);
  lua_pushinteger(L, col + 1);
  lua_setfield(L, -2, "column");
  push_name(L, c, col);
  lua_setfield(L, -2, "name");
  lua_createtable(L, (int)n, 0);
  for (int64_t i = 0; i < n; i++) {
    lua_pushlstring(L, from[i].p, from[i].n);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, strings ? "strings" : "words");
  if (strings) return;
  snl_push_tensor(L, t->codes[k]);
  lua_setfield(L, -2, "codes");
}

static void push_result(lua_State *L, const table *t) {
  const snf_csv *c = &t->csv;
  lua_createtable(L, 0, 6);
  snl_push_tensor(L, t->numbers);
  lua_setfield(L, -2, "numbers");
  lua_pushinteger(L, c->rows);
  lua_setfield(L, -2, "rows");
  lua_pushinteger(L, c->cols);
  lua_setfield(L, -2, "cols");
  lua_pushboolean(L, c->names != NULL);
  lua_setfield(L, -2, "header");
  lua_newtable(L); /* names of the numbers' columns, and which they are */
  lua_newtable(L);
  for (int col = 0, n = 0; col < c->cols; col++) {
    if (c->text_at[col] >= 0) continue;
    push_name(L, c, col);
    lua_rawseti(L, -3, ++n);
    lua_pushinteger(L, col + 1);
    lua_rawseti(L, -2, n);
  }
  lua_setfield(L, -3, "columns");
  lua_setfield(L, -2, "names");
  lua_newtable(L);
  for (int col = 0, n = 0; col < c->cols; col++) {
    if (c->text_at[col] < 0) continue;
    push_text(L, t, col);
    lua_rawseti(L, -2, ++n);
  }
  lua_setfield(L, -2, "text");
}

/* read_csv(path or {text=}, options): a table as push_result makes it */
int snl_read_csv(lua_State *L) {
  lua_settop(L, 2);
  const bool text = lua_istable(L, SOURCE);
  if (text) {
    lua_getfield(L, SOURCE, "text");
    luaL_checktype(L, -1, LUA_TSTRING);
    lua_replace(L, SOURCE);
  }
  sn_error_clear();
  table *t = snl_hold(L, sizeof *t, free_table);
  if (text) t->text = lua_tolstring(L, SOURCE, &t->text_size);
  else t->path = snl_check_path(L, SOURCE);
  read_options(L, t);
  snl_run(L, 0, body_csv, t);
  if (t->rc < 0) return snl_fail_io(L);
  luaL_checkstack(L, 12, NULL);
  push_result(L, t);
  snl_let_go(L, HOLD);
  return 1;
}
