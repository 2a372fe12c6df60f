/* run.c - the protocol by which C is entered from Lua: modes, scopes, the collector's share, and how errors leave. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "script/script.h"

#define DEBT_BYTES ((size_t)16 << 20) /* allocated between two collections, at least */
#define DEBT_BOXES 1024u              /* small tensors cost more than their bytes */

static const char raised_key; /* the registry's place for an error value on its way through C */
static _Thread_local lua_State *now;

lua_State *snl_now(void) { return now; }

/* ---- errors */

static bool own_source(const snl_state *st, const char *source) {
  if (strncmp(source, "=slugnet", 8) == 0) return true;
  const size_t n = strlen(st->home);
  return n > 0 && source[0] == '@' && strncmp(source + 1, st->home, n) == 0;
}

/* The innermost Lua line that is the user's, or the innermost of all; false where there is none. */
static bool find_where(lua_State *L, const snl_state *st, lua_Debug *where) {
  lua_Debug ar;
  bool have = false;
  for (int level = 0; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "Sl", &ar);
    if (ar.currentline <= 0) continue;
    const bool own = own_source(st, ar.source);
    if (!have || !own) *where = ar;
    have = true;
    if (!own) break;
  }
  return have;
}

/* Pushes "train.lua:17: ", or "". */
static void push_where(lua_State *L, const snl_state *st) {
  lua_Debug ar;
  if (find_where(L, st, &ar)) lua_pushfstring(L, "%s:%d: ", ar.short_src, ar.currentline);
  else lua_pushliteral(L, "");
}

void snl_line(char *to, size_t n) {
  lua_Debug ar;
  if (now && find_where(now, snl_of(now), &ar)) snprintf(to, n, "%s:%d", ar.short_src, ar.currentline);
  else to[0] = 0;
}

/* The text under which a Lua error travels through C. */
static const char *raised_text(lua_State *L, int i) {
  return lua_type(L, i) == LUA_TSTRING ? lua_tostring(L, i) : "an error value that is no string";
}

/* Pushes the error to raise for the pending message. */
static void push_failure(lua_State *L) {
  snl_state *st = snl_of(L);
  const char *msg = sn_error_message();
  if (st->raised) {
    st->raised = false;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &raised_key);
    lua_pushboolean(L, 0);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &raised_key);
    const char *text = raised_text(L, -1);
    const size_t n = strlen(text), m = strlen(msg);
    if (strncmp(text, msg, m) == 0 && (m == n || m > 1000)) return; /* as it was */
    if (m > n && strcmp(msg + m - n, text) == 0) { /* words were put in front of it */
      lua_pop(L, 1);
      lua_pushstring(L, msg);
      return;
    }
    lua_pop(L, 1);
  }
  push_where(L, st);
  lua_pushstring(L, *msg ? msg : "a failure without a message");
  lua_concat(L, 2);
}

int snl_fail(lua_State *L) {
  luaL_checkstack(L, 8, NULL);
  push_failure(L);
  sn_error_clear();
  return lua_error(L);
}

int snl_error(lua_State *L, const char *fmt, ...) {
  char text[1024];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  sn_fail("%s", text);
  return snl_fail(L);
}

int snl_fail_io(lua_State *L) {
  if (sn_error_code() != SN_ERROR_IO) return snl_fail(L);
  lua_pushnil(L);
  lua_pushstring(L, sn_error_message());
  sn_error_clear();
  return 2;
}

int snl_fail_lua(lua_State *L) {
  snl_state *st = snl_of(L);
  sn_fail("%s", raised_text(L, -1));
  st->raised = true;
  lua_rawsetp(L, LUA_REGISTRYINDEX, &raised_key); /* the key exists, so this takes no memory */
  return -1;
}

int snl_pcall(lua_State *L, int nargs, int nresults) {
  return lua_pcall(L, nargs, nresults, 0) == LUA_OK ? 0 : snl_fail_lua(L);
}

/* ---- the collector: Lua sees a few bytes where we hold many */

/* A collection costs what Lua holds, so it pays only after a share of that, or of what our tensors hold, was allocated anew. */
static void set_debt(lua_State *L, snl_state *st, size_t live) {
  const size_t heap = (size_t)lua_gc(L, LUA_GCCOUNT) << 10;
  size_t bytes = DEBT_BYTES;
  if (bytes < live / 2) bytes = live / 2;
  if (bytes < heap) bytes = heap;
  st->debt_bytes = bytes;
  st->debt_boxes = heap >> 10 > DEBT_BOXES ? (unsigned)(heap >> 10) : DEBT_BOXES;
}

void snl_collect(lua_State *L, bool fully) {
  snl_state *st = snl_of(L);
  if (!fully) {
    if (sn_mem_bytes() - st->bytes_seen < st->debt_bytes && st->boxes < st->debt_boxes) return;
    if (!lua_gc(L, LUA_GCISRUNNING)) return; /* the script stopped it; it knows why */
  }
  lua_gc(L, LUA_GCCOLLECT);
  if (fully) {
    lua_gc(L, LUA_GCCOLLECT); /* what finalizers let go of */
    sn_mem_trim();
  }
  sn_mem_stats s;
  sn_mem_stat(&s);
  st->bytes_seen = s.bytes;
  st->boxes = 0;
  set_debt(L, st, s.live);
}

/* ---- running */

static void drop_pending(snl_state *st) {
  while (st->npending > 0) snt_release(st->pending[--st->npending]);
}

typedef struct frame { sno_mode *mode; lua_State *L; size_t mark; } frame;

static frame enter(lua_State *L, snl_state *st) {
  frame f = {.mode = sno_mode_enter(&st->mode), .L = now};
  now = L;
  sn_error_clear();
  f.mark = sno_scope_open();
  return f;
}

static void leave(const frame *f) {
  sno_scope_close(f->mark);
  now = f->L;
  sno_mode_enter(f->mode);
}

static int attempt(lua_State *L, snl_state *st, int base, int nbox, snl_body *body, void *ctx, snt_tensor **out) {
  const frame f = enter(L, st);
  const int n = body(L, ctx, out);
  for (int k = 0; k < n; k++) {
    if (k < nbox) ((snl_box *)lua_touserdata(L, base + 1 + k))->t = snt_retain(out[k]);
    else st->pending[st->npending++] = snt_retain(out[k]);
  }
  leave(&f);
  return n;
}

int snl_run(lua_State *L, int nbox, snl_body *body, void *ctx) {
  snl_state *st = snl_of(L);
  snt_tensor *few[SNO_MAXOUT], **out = few;
  snl_collect(L, false);
  luaL_checkstack(L, nbox + 16, NULL);
  if (nbox > SNO_MAXOUT) out = lua_newuserdatauv(L, (size_t)nbox * sizeof *out, 0);
  drop_pending(st);
  const int base = lua_gettop(L);
  for (int k = 0; k < nbox; k++) snl_push_box(L);
  const uint64_t before = sno_effects();
  int n = attempt(L, st, base, nbox, body, ctx, out);
  if (n < 0 && sn_error_code() == SN_ERROR_MEMORY && sno_effects() == before) {
    lua_settop(L, base + nbox);
    snl_collect(L, true);
    n = attempt(L, st, base, nbox, body, ctx, out);
  }
  if (n < 0) {
    lua_settop(L, base);
    return snl_fail(L);
  }
  lua_settop(L, base + (n < nbox ? n : nbox));
  for (int k = nbox; k < n; k++) { /* more than was known: boxed one by one, none is lost on the way */
    snl_box *b = snl_push_box(L);
    b->t = st->pending[k - nbox];
    st->pending[k - nbox] = NULL;
  }
  st->npending = 0;
  return n;
}

/* Reading a number ends a recording: a replay could not know what the script did with it. */
void snl_read_out(lua_State *L) {
  snl_state *st = snl_of(L);
  if (st->mode.recorder == NULL) return;
  lua_State *before = now;
  now = L;
  st->mode.recorder->stop(st->mode.recorder, "a number was read out of a tensor");
  now = before;
}

/* ---- notices */

void snl_notice(lua_State *L, const char *fmt, ...) {
  char text[1024];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  luaL_checkstack(L, 8, NULL);
  push_where(L, snl_of(L));
  lua_pushstring(L, text);
  lua_concat(L, 2);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, -1, "slugnet.core");
  if (lua_istable(L, -1)) {
    lua_getfield(L, -1, "notice");
    if (lua_isfunction(L, -1)) {
      lua_pushvalue(L, -4);
      lua_call(L, 1, 0);
      lua_pop(L, 3);
      return;
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 3);
}

/* ---- the state */

static int free_state(lua_State *L) {
  snl_state *st = lua_touserdata(L, 1);
  drop_pending(st);
  return 0;
}

static const char state_key;

snl_state *snl_of(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key);
  snl_state *st = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return st;
}

/* Made once per Lua, before everything else of ours, so that it is the last to be freed. */
static void make_state(lua_State *L) {
  snl_state *st = lua_newuserdatauv(L, sizeof *st, 0);
  memset(st, 0, sizeof *st);
  st->mode = sno_mode_default;
  st->bytes_seen = sn_mem_bytes();
  st->debt_bytes = DEBT_BYTES;
  st->debt_boxes = DEBT_BOXES;
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, free_state);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &state_key);
  lua_pushboolean(L, 0);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &raised_key);
}

/* The directory of slugnet's own Lua files. */
static int set_home(lua_State *L) {
  snl_state *st = snl_of(L);
  snprintf(st->home, sizeof st->home, "%s", luaL_checkstring(L, 1));
  return 0;
}

int luaopen_slugnet_core(lua_State *L) {
  luaL_checkversion(L);
  if (snl_of(L) == NULL) make_state(L);
  lua_newtable(L);
  snl_open_tensor(L);
  snl_open_op(L);
  snl_open_split(L);
  snl_open_grad(L);
  snl_open_state(L);
  snl_open_table(L);
  if (snl_open_object) snl_open_object(L);
  if (snl_open_file) snl_open_file(L);
  if (snl_open_program) snl_open_program(L);
  if (snl_open_feed) snl_open_feed(L);
  lua_pushcfunction(L, set_home);
  lua_setfield(L, -2, "set_home");
  return 1;
}
