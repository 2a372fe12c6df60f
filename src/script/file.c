/* file.c - reading and writing files for scripts. What the outside world does wrong comes back as nil, message; misuse raises. */
#include "script/file.h"
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "file/idx.h"
#include "file/safetensors.h"
#include "script/tensor.h"

/* ---- holding */

typedef struct hold { void *p; void (*release)(void *); } hold;

static int free_hold(lua_State *L) {
  hold *h = lua_touserdata(L, 1);
  void *p = h->p;
  h->p = NULL;
  if (p) h->release(p);
  return 0;
}

void *snl_hold(lua_State *L, size_t bytes, void (*release)(void *)) {
  hold *h = lua_newuserdatauv(L, sizeof *h, 0);
  *h = (hold){NULL, release};
  if (luaL_newmetatable(L, "slugnet.hold")) {
    lua_pushcfunction(L, free_hold);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  h->p = sn_calloc(1, bytes);
  if (h->p == NULL) snl_fail(L);
  return h->p;
}

void snl_let_go(lua_State *L, int i) {
  hold *h = lua_touserdata(L, i);
  void *p = h->p;
  h->p = NULL;
  if (p) h->release(p);
}

const char *snl_check_path(lua_State *L, int i) {
  size_t n;
  const char *path = luaL_checklstring(L, i, &n);
  if (n == 0) snl_error(L, "the path is empty");
  if (strlen(path) != n) snl_error(L, "the path has a zero byte in it");
  return path;
}

/* Runs a body that leaves its outcome in *rc: failures of the outside world are no errors. The body may be called twice. */
static int run_io(lua_State *L, snl_body *body, void *ctx, const int *rc) {
  snl_run(L, 0, body, ctx);
  return *rc;
}

static int outcome(int got, int *rc) {
  *rc = got;
  return got < 0 && sn_error_code() != SN_ERROR_IO ? -1 : 0;
}

/* ---- safetensors */

static void free_bundle(void *p) {
  snf_bundle_free(p);
  sn_free(p);
}

typedef struct job { const char *path; snf_bundle *b; float scale; int rc; } job;

static int body_read(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  job *j = ctx;
  snf_bundle_free(j->b);
  return outcome(snf_safetensors_read(j->path, j->b), &j->rc);
}

/*** io.load(path)
 * The tensors of a safetensors file by name, and its metadata (strings by name); nil and a message if it cannot be read.
 */
static int read_safetensors(lua_State *L) {
  job j = {.path = snl_check_path(L, 1)};
  lua_settop(L, 1);
  j.b = snl_hold(L, sizeof *j.b, free_bundle);
  if (run_io(L, body_read, &j, &j.rc) < 0) return snl_fail_io(L);
  lua_createtable(L, 0, j.b->n);
  for (int i = 0; i < j.b->n; i++) {
    lua_pushlstring(L, j.b->tensors[i].name.p, j.b->tensors[i].name.n);
    snl_push_tensor(L, j.b->tensors[i].tensor);
    lua_rawset(L, -3);
  }
  lua_createtable(L, 0, j.b->nmeta);
  for (int i = 0; i < j.b->nmeta; i++) {
    lua_pushlstring(L, j.b->meta[i].key.p, j.b->meta[i].key.n);
    lua_pushlstring(L, j.b->meta[i].value.p, j.b->meta[i].value.n);
    lua_rawset(L, -3);
  }
  snl_let_go(L, 2);
  return 2;
}

static int body_write(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  job *j = ctx;
  return outcome(snf_safetensors_write(j->path, j->b), &j->rc);
}

static size_t count(lua_State *L, int table) {
  size_t n = 0;
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) n++;
  return n;
}

static void *list(lua_State *L, size_t n, size_t size) {
  void *p = sn_calloc(n + 1, size);
  if (p == NULL) snl_fail(L);
  return p;
}

static void collect_tensors(lua_State *L, int table, snf_bundle *b) {
  b->tensors = list(L, count(L, table), sizeof *b->tensors);
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) snl_error(L, "write_safetensors: tensors have names, got a key that is a %s", luaL_typename(L, -2));
    snt_tensor *t = snl_test_tensor(L, -1);
    snf_named *e = &b->tensors[b->n];
    e->name.p = lua_tolstring(L, -2, &e->name.n);
    if (t == NULL)
      snl_error(L, "write_safetensors: '%s' is %s, not a tensor", SNF_SHOW(e->name), snl_test_box(L, -1) ? "a closed tensor" : luaL_typename(L, -1));
    e->tensor = snt_retain(t);
    b->n++;
  }
}

static void collect_meta(lua_State *L, int table, snf_bundle *b) {
  b->meta = list(L, count(L, table), sizeof *b->meta);
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
      snl_error(L, "write_safetensors: metadata are strings by name, got a %s under a %s", luaL_typename(L, -1), luaL_typename(L, -2));
    snf_pair *p = &b->meta[b->nmeta++];
    p->key.p = lua_tolstring(L, -2, &p->key.n);
    p->value.p = lua_tolstring(L, -1, &p->value.n);
  }
}

/*** io.save(path, {name=tensor, ...}, {name=text, ...}?)
 * Writes a safetensors file beside the old one, syncs it and renames it: true, or nil and a message, and then the old file is as it was.
 */
static int write_safetensors(lua_State *L) {
  job j = {.path = snl_check_path(L, 1)};
  luaL_checktype(L, 2, LUA_TTABLE);
  const bool meta = !lua_isnoneornil(L, 3);
  if (meta) luaL_checktype(L, 3, LUA_TTABLE);
  lua_settop(L, 3);
  sn_error_clear();
  j.b = snl_hold(L, sizeof *j.b, free_bundle);
  collect_tensors(L, 2, j.b);
  if (meta) collect_meta(L, 3, j.b);
  snl_read_out(L);
  if (run_io(L, body_write, &j, &j.rc) < 0) return snl_fail_io(L);
  snl_let_go(L, 4);
  lua_pushboolean(L, 1);
  return 1;
}

/* ---- idx, plain files */

static int body_idx(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L;
  job *j = ctx;
  out[0] = sno_own(snf_idx_read(j->path, j->scale));
  if (out[0] == NULL) return outcome(-1, &j->rc);
  j->rc = 0;
  return 1;
}

/*** data.idx(path, {scale=0})
 * The tensor in an IDX file (MNIST's format), plain or gzipped; nil and a message if it is missing or damaged. With a scale the bytes of
 * images become float32 times scale: 1/255 brings them to 0..1.
 */
static int read_idx(lua_State *L) {
  job j = {.path = snl_check_path(L, 1)};
  lua_settop(L, 2);
  snl_check_options(L, 2, "idx", (const char *const[]){"scale", NULL});
  if (lua_istable(L, 2) && lua_getfield(L, 2, "scale") != LUA_TNIL) j.scale = (float)luaL_checknumber(L, -1);
  snl_run(L, 1, body_idx, &j);
  return j.rc < 0 ? snl_fail_io(L) : 1;
}

/*** io.write(path, text)
 * Writes a whole file beside the old one, syncs it and renames it: true, or nil and a message, and then the old file is as it was.
 */
static int write_file(lua_State *L) {
  const char *path = snl_check_path(L, 1);
  size_t n;
  const char *text = luaL_checklstring(L, 2, &n);
  sn_error_clear();
  if (snf_write_file(path, text, n) < 0) return snl_fail_io(L);
  lua_pushboolean(L, 1);
  return 1;
}

/* sweep(folder): for fit, whose folder of checkpoints is its own. */
static int sweep(lua_State *L) {
  snf_sweep(snl_check_path(L, 1));
  return 0;
}

void snl_open_file(lua_State *L) {
  static const luaL_Reg functions[] = {{"read_safetensors", read_safetensors}, {"write_safetensors", write_safetensors}, {"read_idx", read_idx},
                                       {"read_csv", snl_read_csv}, {"write_file", write_file}, {"sweep", sweep}, {"json_encode", snl_json_encode},
                                       {"json_decode", snl_json_decode}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
