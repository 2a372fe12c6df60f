/* program.c - sn.compile: a Lua function that is recorded while it runs and replayed by C when two calls did the same. */
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "exec/program.h"
#include "script/tensor.h"

/* User value 1: the function. User value 2: by signature, what the results look like: a list with false for a tensor and {value} for
 * anything else, and in n their number. */
typedef struct program {
  snp_func *f;
  bool recording, told;
} program;

static program *check_program(lua_State *L) { return luaL_checkudata(L, 1, "slugnet.program"); }

/* ---- values as bytes: everything that is no tensor is named by them */

typedef struct flat {
  char *key;
  size_t n, room;
  snt_tensor **t;
  int nt, room_t;
} flat;

static int put(flat *f, const void *p, size_t n) {
  if (f->n + n > f->room) {
    char *k = sn_realloc(f->key, (f->n + n) * 2 + 64);
    if (k == NULL) return -1;
    f->key = k;
    f->room = (f->n + n) * 2 + 64;
  }
  memcpy(f->key + f->n, p, n);
  f->n += n;
  return 0;
}

static int put_tagged(flat *f, char tag, const void *p, size_t n) { return put(f, &tag, 1) < 0 ? -1 : put(f, p, n); }

static int put_tensor(flat *f, snt_tensor *t) {
  if (f->nt == f->room_t) {
    const int room = f->room_t * 2 + 8;
    snt_tensor **p = sn_realloc(f->t, (size_t)room * sizeof *p);
    if (p == NULL) return -1;
    f->t = p;
    f->room_t = room;
  }
  f->t[f->nt++] = t;
  return put(f, "T", 1);
}

static int put_value(lua_State *L, flat *f, int i, int depth);

static int put_table(lua_State *L, flat *f, int i, int depth) {
  if (depth == 8 || !lua_checkstack(L, 8)) return sn_fail("compile: tables among the arguments are nested too deeply");
  if (put(f, "{", 1) < 0) return -1;
  for (lua_pushnil(L); lua_next(L, i); lua_pop(L, 1))
    if (put_value(L, f, lua_gettop(L) - 1, depth + 1) < 0 || put_value(L, f, lua_gettop(L), depth + 1) < 0) {
      lua_pop(L, 2);
      return -1;
    }
  return put(f, "}", 1);
}

static int put_value(lua_State *L, flat *f, int i, int depth) {
  const snl_box *b = snl_test_box(L, i);
  if (b) return b->t ? put_tensor(f, b->t) : sn_fail("compile: an argument is a closed tensor");
  switch (lua_type(L, i)) {
    case LUA_TNIL: return put(f, "N", 1);
    case LUA_TBOOLEAN: return put_tagged(f, 'b', lua_toboolean(L, i) ? "1" : "0", 1);
    case LUA_TNUMBER:
      if (lua_isinteger(L, i)) return put_tagged(f, 'i', (lua_Integer[]){lua_tointeger(L, i)}, sizeof(lua_Integer));
      return put_tagged(f, 'd', (lua_Number[]){lua_tonumber(L, i)}, sizeof(lua_Number));
    case LUA_TSTRING: {
      size_t n;
      const char *s = lua_tolstring(L, i, &n);
      return put_tagged(f, 's', &n, sizeof n) < 0 ? -1 : put(f, s, n);
    }
    case LUA_TTABLE:
      if (!lua_getmetatable(L, i)) return put_table(L, f, i, depth);
      lua_pop(L, 1); /* an object: by identity, like functions and userdata */
      /* fall through */
    default: return put_tagged(f, 'p', (const void *[]){lua_topointer(L, i)}, sizeof(void *));
  }
}

static void flat_free(flat *f) {
  sn_free(f->key);
  sn_free(f->t);
}

/* ---- one call */

typedef struct call {
  program *p;
  snp_way way;
  int first, last;           /* arguments, later results, on the stack */
} call;

/* Chooses the way; when it is a replay, does it. */
static int body_enter(lua_State *L, void *ctx, snt_tensor **out) {
  call *c = ctx;
  flat f = {0};
  int rc = 0;
  for (int i = c->first; rc == 0 && i <= c->last; i++) rc = put_value(L, &f, i, 0);
  if (rc == 0) {
    c->way = snp_enter(c->p->f, f.key ? f.key : "", f.n, f.nt, f.t);
    c->p->recording = c->way == SNP_RECORD;
    sn_error_clear();
    if (c->way == SNP_REPLAY) {
      const int n = snp_results(c->p->f);
      rc = snp_replay(c->p->f, out);
      if (rc == 0)
        for (int k = 0; k < n; k++) sno_own(out[k]);
      rc = rc < 0 ? -1 : n;
    }
  }
  flat_free(&f);
  return rc;
}

static int body_leave(lua_State *L, void *ctx, snt_tensor **out) {
  (void)out;
  call *c = ctx;
  flat f = {0};
  int rc = 0;
  for (int i = c->first; rc == 0 && i <= c->last; i++) {
    const int type = lua_type(L, i);
    if (!snl_test_box(L, i) && (type == LUA_TTABLE || type == LUA_TFUNCTION || type == LUA_TUSERDATA || type == LUA_TTHREAD))
      sno_stop_recording("the function returned something that is neither a tensor nor a plain value");
    rc = put_value(L, &f, i, 0);
  }
  if (f.nt > SNO_MAXOUT) sno_stop_recording("the function returned more than 8 tensors");
  c->p->recording = false;
  if (rc < 0) snp_abort(c->p->f);
  else rc = snp_leave(c->p->f, f.nt, f.t, f.key ? f.key : "", f.n);
  flat_free(&f);
  return rc;
}

static int body_abort(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  snp_abort(ctx);
  return 0;
}

/* An error left the function while it was recorded. */
static int close_program(lua_State *L) {
  program *p = check_program(L);
  if (!p->recording) return 0;
  p->recording = false;
  return snl_run(L, 0, body_abort, p->f);
}

static int call_function(lua_State *L, int n) {
  lua_getiuservalue(L, 1, 1);
  lua_insert(L, 2);
  lua_call(L, n, LUA_MULTRET);
  return lua_gettop(L) - 1;
}

/* Remembers what the results look like, for replays of this signature. */
static void keep_template(lua_State *L, const call *c) {
  const int n = c->last - c->first + 1;
  lua_getiuservalue(L, 1, 2);
  lua_createtable(L, n, 1);
  for (int i = 0; i < n; i++) {
    if (snl_test_box(L, c->first + i)) {
      lua_pushboolean(L, 0);
    } else {
      lua_createtable(L, 1, 0);
      lua_pushvalue(L, c->first + i);
      lua_rawseti(L, -2, 1);
    }
    lua_rawseti(L, -2, i + 1);
  }
  lua_pushinteger(L, n);
  lua_setfield(L, -2, "n");
  lua_rawseti(L, -2, snp_chosen(c->p->f) + 1);
  lua_pop(L, 1);
}

static int record(lua_State *L, call *c, int n) {
  lua_pushvalue(L, 1);
  lua_insert(L, 2);
  lua_toclose(L, 2); /* before anything can raise */
  lua_getiuservalue(L, 1, 1);
  lua_insert(L, 3);
  lua_call(L, n, LUA_MULTRET);
  c->first = 3;
  c->last = lua_gettop(L);
  keep_template(L, c);
  snl_run(L, 0, body_leave, c);
  const char *why = snp_reason(c->p->f);
  if (why && !c->p->told) {
    c->p->told = true;
    snl_notice(L, "compile: this function runs as it is, not as a program: %s", why);
  }
  lua_settop(L, c->last);
  return c->last - c->first + 1;
}

/* The n tensors on top, with the plain values between them. */
static int give(lua_State *L, const call *c, int n) {
  const int top = lua_gettop(L), first = top - n + 1;
  lua_getiuservalue(L, 1, 2);
  lua_rawgeti(L, -1, snp_chosen(c->p->f) + 1);
  lua_getfield(L, -1, "n");
  const int all = (int)lua_tointeger(L, -1);
  if (all == n) {
    lua_settop(L, top);
    return n;
  }
  luaL_checkstack(L, all + 4, NULL);
  const int template = top + 2;
  for (int i = 1, k = 0; i <= all; i++) {
    if (lua_rawgeti(L, template, i) == LUA_TTABLE) {
      lua_rawgeti(L, -1, 1);
      lua_remove(L, -2);
    } else {
      lua_pop(L, 1);
      lua_pushvalue(L, first + k++);
    }
  }
  return all;
}

static int call_program(lua_State *L) {
  program *p = check_program(L);
  const int n = lua_gettop(L) - 1;
  luaL_checkstack(L, n + 16, NULL);
  call c = {.p = p, .first = 2, .last = n + 1};
  if (p->recording || snp_reason(p->f)) return call_function(L, n);
  const int got = snl_run(L, 1, body_enter, &c);
  if (c.way == SNP_REPLAY) return give(L, &c, got);
  lua_settop(L, n + 1);
  return c.way == SNP_RECORD ? record(L, &c, n) : call_function(L, n);
}

/* ---- telling */

typedef struct telling { snp_func *f; bool timed; char **text; } telling;

static int body_explain(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  const telling *t = ctx;
  return (*t->text = snp_explain(t->f, t->timed)) ? 0 : -1;
}

static int explain(lua_State *L) {
  program *p = check_program(L);
  const bool timed = lua_toboolean(L, 2);
  telling t = {p->f, timed, snl_push_guard(L)};
  snl_run(L, 0, body_explain, &t);
  lua_pushstring(L, *t.text);
  return 1;
}

static int reason(lua_State *L) {
  lua_pushstring(L, snp_reason(check_program(L)->f));
  return 1;
}

static int stats(lua_State *L) {
  const snp_counts c = snp_count(check_program(L)->f);
  const struct { const char *name; lua_Integer v; } entry[] = {{"recorded", (lua_Integer)c.recorded}, {"replayed", (lua_Integer)c.replayed},
    {"programs", (lua_Integer)c.programs}, {"steps", c.steps}, {"steps_recorded", c.steps_recorded}, {"block", (lua_Integer)c.block}};
  lua_createtable(L, 0, 6);
  for (size_t i = 0; i < sizeof entry / sizeof *entry; i++) {
    lua_pushinteger(L, entry[i].v);
    lua_setfield(L, -2, entry[i].name);
  }
  return 1;
}

static int free_program(lua_State *L) {
  program *p = check_program(L);
  snp_func_free(p->f);
  p->f = NULL;
  return 0;
}

/*** compile(fn)
 * A function that does what fn does. Its first calls run fn and are recorded; when two calls with arguments of one kind did the same, the
 * third and later ones replay the recording in C, with the same bits. Results are tensors and plain values. Numbers read
 * out of tensors (item, printing) and operations written in Lua make it run as it is, for good, with one notice.
 * Methods: explain(timed?) a text, reason() why it runs as it is, stats() a table.
 */
static int compile(lua_State *L) {
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  program *p = lua_newuserdatauv(L, sizeof *p, 2);
  *p = (program){0};
  luaL_setmetatable(L, "slugnet.program");
  sn_error_clear();
  if ((p->f = snp_func_new()) == NULL) return snl_fail(L);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  lua_newtable(L);
  lua_setiuservalue(L, -2, 2);
  return 1;
}

/* set_pass(name, on): switches one pass of programs made from now on; for tests */
static int set_pass(lua_State *L) {
  sn_error_clear();
  if (snp_pass_set(luaL_checkstring(L, 1), lua_toboolean(L, 2)) < 0) return snl_fail(L);
  return 0;
}

void snl_open_program(lua_State *L) {
  static const luaL_Reg methods[] = {{"explain", explain}, {"reason", reason}, {"stats", stats}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__call", call_program}, {"__gc", free_program}, {"__close", close_program}, {NULL, NULL}};
  luaL_newmetatable(L, "slugnet.program");
  luaL_setfuncs(L, meta, 0);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  static const luaL_Reg functions[] = {{"compile", compile}, {"set_pass", set_pass}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
