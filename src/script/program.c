/* program.c - sn.compile: a Lua function whose calls are recorded and then replayed by exec without Lua. */
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "exec/program.h"
#include "script/tensor.h"

#define TYPE "slugnet.Program"
enum { FN = 1, SHAPES = 2 }; /* user values: the function; by signature, how plain results lie between tensors */
enum { MOST = 64 };          /* arguments or results */
#define WHOLE "this function stays"

typedef struct program {
  snp_func *f;
  bool told;                 /* the notice that it stays eager was given */
} program;

typedef struct call {
  program *p;
  snp_way way;
  int first, n;              /* arguments, later results, on the stack */
  char key[1024];
  size_t nkey;
  snt_tensor *t[MOST];
  int nt;
} call;

static program *check(lua_State *L) {
  program *p = luaL_checkudata(L, 1, TYPE);
  if (p->f == NULL) luaL_error(L, "compile: this function is closed");
  return p;
}

/* Tensors of the values first..first+n-1 in order, and bytes that name the others. What is neither is named by `bad`. */
static int sort_out(lua_State *L, call *c, const char **bad) {
  c->nt = 0;
  c->nkey = 0;
  if (c->n > MOST) {
    *bad = "more than 64 values";
    return -1;
  }
  for (int i = c->first; i < c->first + c->n; i++) {
    char *at = c->key + c->nkey;
    size_t len = 1;
    const int type = lua_type(L, i);
    *at = (char)type;
    if (snl_test_box(L, i)) {
      if ((c->t[c->nt] = snl_test_tensor(L, i)) == NULL) {
        *bad = "a closed tensor";
        return -1;
      }
      c->nt++;
    } else if (type == LUA_TNUMBER) {
      const lua_Number d = lua_tonumber(L, i);
      at[0] = lua_isinteger(L, i) ? 'i' : 'n';
      memcpy(at + 1, &d, sizeof d);
      len += sizeof d;
    } else if (type == LUA_TBOOLEAN) {
      at[1] = (char)lua_toboolean(L, i);
      len = 2;
    } else if (type == LUA_TSTRING) {
      const char *s = lua_tolstring(L, i, &len);
      if (len > 200) {
        *bad = "a long string";
        return -1;
      }
      at[1] = (char)len;
      memcpy(at + 2, s, len);
      len += 2;
    } else if (type != LUA_TNIL) {
      *bad = type == LUA_TTABLE ? "a table" : type == LUA_TFUNCTION ? "a function" : "an object";
      return -1;
    }
    c->nkey += len;
    if (c->nkey > sizeof c->key - 256) {
      *bad = "too many values";
      return -1;
    }
  }
  return 0;
}

static int body_enter(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  call *c = ctx;
  c->way = snp_enter(c->p->f, c->key, c->nkey, c->nt, c->t);
  return 0;
}

static int body_leave(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  call *c = ctx;
  return snp_leave(c->p->f, c->nt, c->t, c->key, c->nkey);
}

static int body_abort(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  snp_abort(((call *)ctx)->p->f);
  return 0;
}

static int body_replay(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L;
  call *c = ctx;
  const int n = snp_results(c->p->f);
  snt_tensor *res[MOST];
  if (snp_replay(c->p->f, res) < 0) return -1;
  bool lost = false;
  for (int i = 0; i < n; i++) lost |= (out[i] = sno_own(res[i])) == NULL;
  return lost ? -1 : n;
}

static void tell(lua_State *L, program *p, const char *what, const char *why) {
  if (p->told) return;
  p->told = true;
  snl_notice(L, "compile: %s eager: %s", what, why);
}

/* Remembers the plain results of a recorded call under the number of its signature: a list with `true` in place of each tensor; nothing when
 * all results are tensors. */
static void keep_shape(lua_State *L, const call *c) {
  lua_getiuservalue(L, 1, SHAPES);
  if (c->nt == c->n) lua_pushnil(L);
  else {
    lua_createtable(L, c->n, 1);
    for (int i = 0; i < c->n; i++) {
      if (snl_test_box(L, c->first + i)) lua_pushlightuserdata(L, NULL);
      else lua_pushvalue(L, c->first + i);
      lua_rawseti(L, -2, i + 1);
    }
    lua_pushinteger(L, c->n);
    lua_setfield(L, -2, "n");
  }
  lua_rawseti(L, -2, snp_chosen(c->p->f) + 1);
  lua_pop(L, 1);
}

/* The results of a replay on top of the stack: plain ones are put between the tensors. */
static int with_plain(lua_State *L, const call *c, int nt) {
  const int from = lua_gettop(L) - nt;
  lua_getiuservalue(L, 1, SHAPES);
  if (lua_rawgeti(L, -1, snp_chosen(c->p->f) + 1) != LUA_TTABLE) {
    lua_pop(L, 2);
    return nt;
  }
  const int shape = lua_gettop(L);
  lua_getfield(L, shape, "n");
  const int n = (int)lua_tointeger(L, -1);
  luaL_checkstack(L, n + 4, NULL);
  for (int i = 0, k = 0; i < n; i++) {
    if (lua_rawgeti(L, shape, i + 1) == LUA_TLIGHTUSERDATA) {
      lua_pop(L, 1);
      lua_pushvalue(L, from + ++k);
    }
  }
  return n;
}

static int call_eager(lua_State *L, int nargs) {
  lua_getiuservalue(L, 1, FN);
  lua_insert(L, 2);
  lua_call(L, nargs, LUA_MULTRET);
  return lua_gettop(L) - 1;
}

static int call_recorded(lua_State *L, call *c) {
  const int nargs = lua_gettop(L) - 1;
  lua_getiuservalue(L, 1, FN);
  lua_insert(L, 2);
  if (lua_pcall(L, nargs, LUA_MULTRET, 0) != LUA_OK) {
    snl_run(L, 0, body_abort, c);
    return lua_error(L);
  }
  const char *bad = NULL;
  c->first = 2;
  c->n = lua_gettop(L) - 1;
  if (sort_out(L, c, &bad) < 0) {
    snl_run(L, 0, body_abort, c);
    char why[96];
    snprintf(why, sizeof why, "it returns %s; tensors and plain values can be returned", bad);
    tell(L, c->p, WHOLE, why);
    lua_getiuservalue(L, 1, SHAPES); /* from now on eager: marked in the table, which is looked at first */
    lua_pushboolean(L, 1);
    lua_rawseti(L, -2, 0);
    lua_pop(L, 1);
    return lua_gettop(L) - 1;
  }
  snl_run(L, 0, body_leave, c);
  if (snp_reason(c->p->f)) tell(L, c->p, WHOLE, snp_reason(c->p->f));
  keep_shape(L, c);
  return c->n;
}

static int call_program(lua_State *L) {
  call c;
  c.p = check(L);
  c.first = 2;
  c.n = lua_gettop(L) - 1;
  const char *bad = NULL;
  lua_getiuservalue(L, 1, SHAPES);
  const bool never = lua_rawgeti(L, -1, 0) == LUA_TBOOLEAN;
  lua_pop(L, 2);
  if (never || snp_reason(c.p->f)) return call_eager(L, c.n);
  if (sort_out(L, &c, &bad) < 0) {
    char why[96];
    snprintf(why, sizeof why, "it is given %s; tensors and plain values can be given", bad);
    tell(L, c.p, WHOLE, why);
    return call_eager(L, c.n);
  }
  snl_run(L, 0, body_enter, &c);
  if (c.way == SNP_EAGER) {
    if (snp_partly(c.p->f)) tell(L, c.p, "some calls of this function stay", snp_partly(c.p->f));
    return call_eager(L, c.n);
  }
  if (c.way == SNP_RECORD) return call_recorded(L, &c);
  const int n = snl_run(L, snp_results(c.p->f), body_replay, &c);
  return with_plain(L, &c, n);
}

/*** compile(fn)
 * A function that does what fn does, and after two calls that did the same is replayed by C: without Lua, without allocation, with one block of
 * memory, dead work removed. Gradients, updates, random numbers and learning rates go on as they would; results are equal bit for bit.
 * Arguments and results are tensors, numbers, strings, booleans and nil; a new combination of shapes, plain values and modes is recorded anew
 * (the eight last used are kept), and so is one after a network got a layer, an optimizer parameters, a captured tensor another requires_grad. A
 * result that is an argument or a captured tensor is that tensor. What the Lua code of fn decides is decided while recording: reading a number out of a tensor (item, totable,
 * printing) or an operation written in Lua makes it stay eager, with one notice. Effects other than on tensors happen only while recording.
 * Methods: explain(timed=false) tells as text what the program does: its steps, their shapes, the floating-point operations of their products (FLOP)
 * and the bytes that they read and write when each operand and result moves once; from explain(true) on they are timed. steps() gives a list of the
 * same, {op=, flops=, read=, written=, us=}. count() gives a table of recorded, replayed, programs, steps, steps_recorded, block (bytes), reason() why
 * it stays eager, or nil.
 */
static int compile(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  program *p = lua_newuserdatauv(L, sizeof *p, 2);
  *p = (program){0};
  luaL_setmetatable(L, TYPE);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, FN);
  lua_newtable(L);
  lua_setiuservalue(L, -2, SHAPES);
  if ((p->f = snp_func_new()) == NULL) return snl_fail(L);
  return 1;
}

static int free_program(lua_State *L) {
  program *p = luaL_checkudata(L, 1, TYPE);
  snp_func_free(p->f);
  p->f = NULL;
  return 0;
}

static int explain(lua_State *L) {
  program *p = check(L);
  const bool timed = lua_toboolean(L, 2);
  char **guard = snl_push_guard(L);
  sn_error_clear();
  if ((*guard = snp_explain(p->f, timed)) == NULL) return snl_fail(L);
  if (timed) snp_time(p->f);
  lua_pushstring(L, *guard);
  return 1;
}

static int steps(lua_State *L) {
  const program *p = check(L);
  sn_error_clear();
  const int n = snp_steps(p->f);
  if (n < 0) return snl_fail(L);
  lua_createtable(L, n, 0);
  for (int i = 0; i < n; i++) {
    const snp_step_told s = snp_step_of(p->f, i);
    const struct { const char *name; double v; } field[] = {{"flops", s.work.flops}, {"read", s.work.read}, {"written", s.work.written}, {"us", s.us}};
    lua_createtable(L, 0, 5);
    lua_pushstring(L, s.op);
    lua_setfield(L, -2, "op");
    for (size_t k = 0; k < sizeof field / sizeof *field; k++) {
      if (field[k].v < 0) continue; /* not timed */
      lua_pushnumber(L, field[k].v);
      lua_setfield(L, -2, field[k].name);
    }
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

static int count(lua_State *L) {
  const snp_counts c = snp_count(check(L)->f);
  const struct { const char *name; lua_Integer v; } field[] = {
    {"recorded", (lua_Integer)c.recorded}, {"replayed", (lua_Integer)c.replayed}, {"programs", (lua_Integer)c.programs},
    {"steps", c.steps}, {"steps_recorded", c.steps_recorded}, {"block", (lua_Integer)c.block}};
  lua_createtable(L, 0, 6);
  for (size_t i = 0; i < sizeof field / sizeof *field; i++) {
    lua_pushinteger(L, field[i].v);
    lua_setfield(L, -2, field[i].name);
  }
  return 1;
}

static int reason(lua_State *L) {
  lua_pushstring(L, snp_reason(check(L)->f));
  return 1;
}

/* passes(name, on?): whether programs made from now on go through a pass; without a name, a list of them. For tests. */
static int passes(lua_State *L) {
  if (lua_isnoneornil(L, 1)) {
    lua_newtable(L);
    for (int i = 0; snp_passes[i].name; i++) {
      lua_pushstring(L, snp_passes[i].name);
      lua_rawseti(L, -2, i + 1);
    }
    return 1;
  }
  sn_error_clear();
  if (snp_pass_set(luaL_checkstring(L, 1), lua_toboolean(L, 2)) < 0) return snl_fail(L);
  return 0;
}

void snl_open_program(lua_State *L) {
  static const luaL_Reg methods[] = {{"explain", explain}, {"steps", steps}, {"count", count}, {"reason", reason}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"compile", compile}, {"passes", passes}, {NULL, NULL}};
  snp_line = snl_line;
  luaL_setfuncs(L, functions, 0);
  luaL_newmetatable(L, TYPE);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, call_program);
  lua_setfield(L, -2, "__call");
  lua_pushcfunction(L, free_program);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
}
