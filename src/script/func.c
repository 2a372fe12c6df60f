/* func.c - sn.func: an operation whose forward and backward are written in Lua. */
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "diff/map.h"
#include "diff/tape.h"
#include "script/grad.h"
#include "script/tensor.h"

/* What the tape holds of one call. The registry keeps {ctx, backward} for it; outputs enter the graph as views of what forward gave, so
 * that a ctx which saved them does not hold the graph that holds the ctx. */
typedef struct func {
  sno_foreign base;
  lua_State *main;
  int ref;
  int nin, nout;
  int place[SNL_FEW];      /* which argument of forward each input was */
  char name[64];
} func;

static void free_func(sno_foreign *f) {
  func *u = (func *)f;
  luaL_unref(u->main, LUA_REGISTRYINDEX, u->ref); /* gives back an existing place: takes no memory, raises nothing */
  sn_free(u);
}

/* ---- backward: in a protected call, because boxes and the script may raise */

static int call_backward(lua_State *L) {
  func *u = lua_touserdata(L, 1);
  sno_back *b = lua_touserdata(L, 2);
  luaL_checkstack(L, u->nout + 32, NULL);
  lua_rawgeti(L, LUA_REGISTRYINDEX, u->ref);
  lua_rawgeti(L, -1, 2);
  lua_rawgeti(L, -2, 1);
  for (int k = 0; k < b->nout; k++) {
    snt_tensor *g = b->gy[k];
    if (g == NULL && (g = sno_own(snt_zeros((sn_dtype)b->out_spec[k].dtype, b->out_spec[k].ndim, b->out_spec[k].shape))) == NULL) return luaL_error(L, "%s", sn_error_message());
    snl_push_tensor(L, g);
  }
  lua_call(L, b->nout + 1, LUA_MULTRET);
  const int first = 4, have = lua_gettop(L) - first + 1;
  for (int i = 0; i < b->nin; i++) {
    const int at = u->place[i];
    if (!b->want[i] || at > have || lua_isnil(L, first + at - 1)) continue;
    snt_tensor *g = snl_test_tensor(L, first + at - 1);
    const sno_out *s = &b->in_spec[i];
    if (g == NULL) return luaL_error(L, "func %s: backward gave a %s for argument %d, a tensor or nil is wanted", u->name, luaL_typename(L, first + at - 1), at);
    bool same = g->ndim == s->ndim;
    for (int d = 0; same && d < s->ndim; d++) same = g->shape[d] == s->shape[d];
    if (!same)
      return luaL_error(L, "func %s: backward gave a gradient of shape %s for argument %d of shape %s", u->name, SNT_SHAPE(g), at, snt_shape_str(s->ndim, s->shape, (char[96]){0}, 96));
    b->gx[i] = sno_own(snt_retain(g));
  }
  return 0;
}

static int backward_func(sno_foreign *f, sno_back *b) {
  func *u = (func *)f;
  lua_State *L = snl_now();
  if (L == NULL) return sn_fail("func %s: its backward is written in Lua and can only run from a script", u->name);
  if (!lua_checkstack(L, 4)) return sn_fail("func %s: the Lua stack is full", u->name);
  sno_stop_recording("an operation written in Lua ran");
  lua_pushcfunction(L, call_backward);
  lua_pushlightuserdata(L, u);
  lua_pushlightuserdata(L, b);
  if (snl_pcall(L, 2, 0) < 0) return -1;
  for (int i = 0; i < b->nin; i++)
    if (b->gx[i] && b->gx[i]->dtype != b->in_spec[i].dtype && (b->gx[i] = sno_to(b->gx[i], (sn_dtype)b->in_spec[i].dtype)) == NULL) return -1;
  return 0;
}

/* ---- ctx */

/* save(...): keeps values for backward; tensors with the version their storage has now */
static int ctx_save(lua_State *L) {
  const int n = lua_gettop(L) - 1;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_createtable(L, n, 1);
  lua_createtable(L, n, 0);
  for (int i = 1; i <= n; i++) {
    const snt_tensor *t = snl_test_tensor(L, i + 1);
    lua_pushvalue(L, i + 1);
    lua_rawseti(L, -3, i);
    lua_pushinteger(L, t && t->storage ? (lua_Integer)t->storage->version : -1);
    lua_rawseti(L, -2, i);
  }
  lua_setfield(L, -2, "versions");
  lua_pushinteger(L, n);
  lua_setfield(L, -2, "n");
  lua_setfield(L, 1, "_saved");
  return 0;
}

static int ctx_saved(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  if (lua_getfield(L, 1, "_saved") != LUA_TTABLE) return 0;
  lua_getfield(L, 2, "n");
  const int n = (int)lua_tointeger(L, -1);
  lua_getfield(L, 2, "versions");
  luaL_checkstack(L, n + 4, NULL);
  for (int i = 1; i <= n; i++) {
    lua_rawgeti(L, 2, i);
    const snt_tensor *t = snl_test_tensor(L, -1);
    lua_rawgeti(L, 4, i);
    const lua_Integer version = lua_tointeger(L, -1);
    lua_pop(L, 1);
    if (t && t->storage && version >= 0 && t->storage->version != (uint32_t)version)
      return snl_error(L, "func: saved tensor %d was overwritten by %s before backward", i, t->storage->writer ? t->storage->writer : "a write in place");
  }
  return n;
}

/* ---- calling */

typedef struct linkage {
  func *u;
  int nin, nout;
  snt_tensor *in[SNL_FEW], *result[SNO_MAXOUT];
  bool tracked;
} linkage;

static int body_link(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L;
  linkage *k = ctx;
  sno_stop_recording("an operation written in Lua ran");
  for (int i = 0; i < k->nout; i++)
    if ((out[i] = sno_own(snt_view(k->result[i]))) == NULL) return -1;
  if (k->tracked && sno_tape_custom(&k->u->base, k->nin, k->in, k->nout, out) < 0) return -1;
  return k->nout;
}

static int free_holder(lua_State *L) {
  func **u = lua_touserdata(L, 1);
  if (*u) sno_foreign_release(&(*u)->base);
  *u = NULL;
  return 0;
}

/* Pushes a userdata that holds one reference to a new func whose place in the registry is the table at `index`. */
static func *push_func(lua_State *L, const char *name, int index) {
  func **holder = lua_newuserdatauv(L, sizeof *holder, 0);
  *holder = NULL;
  if (luaL_newmetatable(L, "slugnet.func_call")) {
    lua_pushcfunction(L, free_holder);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  func *u = sn_calloc(1, sizeof *u);
  if (u == NULL) {
    snl_fail(L);
    return NULL;
  }
  *u = (func){.base = {.refs = 1, .free = free_func, .backward = backward_func}, .ref = LUA_NOREF};
  strncpy(u->name, name, sizeof u->name - 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  u->main = lua_tothread(L, -1);
  lua_pop(L, 1);
  *holder = u;
  lua_pushvalue(L, index);
  u->ref = luaL_ref(L, LUA_REGISTRYINDEX);
  return u;
}

/* Upvalues: forward, backward, name, the metatable of ctx. */
static int call_func(lua_State *L) {
  const int n = lua_gettop(L);
  const char *name = lua_tostring(L, lua_upvalueindex(3));
  snl_state *st = snl_of(L);
  linkage k = {0};
  int place[SNL_FEW];
  for (int i = 1; i <= n; i++) {
    if (snl_test_box(L, i) == NULL) continue;
    if (k.nin == SNL_FEW) return snl_error(L, "func %s: more than %d tensors were given", name, SNL_FEW);
    place[k.nin] = i;
    k.in[k.nin] = snl_check_tensor(L, i);
    k.tracked |= sno_requires_grad(k.in[k.nin++]);
  }
  k.tracked = k.tracked && st->mode.grad && !lua_isnil(L, lua_upvalueindex(2));
  luaL_checkstack(L, n + 16, NULL);
  lua_createtable(L, 0, 4); /* ctx, at n + 1 */
  lua_pushvalue(L, lua_upvalueindex(4));
  lua_setmetatable(L, -2);
  snl_push_grad_mode(L, false); /* at n + 2 */
  lua_toclose(L, -1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushvalue(L, n + 1);
  for (int i = 1; i <= n; i++) lua_pushvalue(L, i);
  lua_call(L, n + 1, LUA_MULTRET);
  const int first = n + 3;
  k.nout = lua_gettop(L) - first + 1;
  if (k.nout < 1 || k.nout > SNO_MAXOUT) return snl_error(L, "func %s: forward gave %d results, 1 to %d tensors are wanted", name, k.nout, SNO_MAXOUT);
  for (int i = 0; i < k.nout; i++) {
    k.result[i] = snl_test_tensor(L, first + i);
    if (k.result[i] == NULL) return snl_error(L, "func %s: result %d of forward is a %s, not a tensor", name, i + 1, luaL_typename(L, first + i));
  }
  for (int i = 0; i < k.nin; i++) k.in[i] = snl_check_tensor(L, place[i]); /* forward may have closed it */
  if (k.tracked) {
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, n + 1);
    lua_rawseti(L, -2, 1);
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_rawseti(L, -2, 2);
    k.u = push_func(L, name, lua_gettop(L));
    k.u->nin = k.nin;
    k.u->nout = k.nout;
    memcpy(k.u->place, place, sizeof place);
  }
  snl_run(L, k.nout, body_link, &k);
  return k.nout;
}

/*** func({name=, forward=function(ctx, ...) end, backward=function(ctx, ...) end})
 * An operation written in Lua. forward gets ctx and the arguments and returns one or more tensors; nothing in it is recorded.
 * backward gets ctx and one gradient for each result and returns one gradient, or nil, for each argument of forward.
 * ctx:save(...) keeps values for backward, ctx:saved() gives them back; other fields of ctx are free.
 */
int snl_func(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  snl_check_options(L, 1, "func", (const char *const[]){"name", "forward", "backward", NULL});
  lua_settop(L, 1);
  if (lua_getfield(L, 1, "forward") != LUA_TFUNCTION) return snl_error(L, "func: 'forward' must be a function");
  const int type = lua_getfield(L, 1, "backward");
  if (type != LUA_TFUNCTION && type != LUA_TNIL) return snl_error(L, "func: 'backward' must be a function");
  if (lua_getfield(L, 1, "name") == LUA_TNIL) {
    lua_pop(L, 1);
    lua_pushliteral(L, "func");
  }
  if (lua_type(L, -1) != LUA_TSTRING) return snl_error(L, "func: 'name' must be a string");
  if (luaL_newmetatable(L, "slugnet.ctx")) {
    static const luaL_Reg functions[] = {{"save", ctx_save}, {"saved", ctx_saved}, {NULL, NULL}};
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "__index");
  }
  lua_pushcclosure(L, call_func, 4);
  return 1;
}
