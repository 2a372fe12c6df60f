/* feed.c - batches for the training loop (exec/feed.h): the same few tensors again and again, with new contents. Private to the Lua files. */
#include "exec/feed.h"
#include "script/tensor.h"

#define TYPE "slugnet.Feed"

typedef struct feed { snp_feed *f; int columns; } feed; /* user value: the boxes, by slot and column */

static feed *check(lua_State *L) {
  feed *p = luaL_checkudata(L, 1, TYPE);
  if (p->f == NULL) luaL_error(L, "feed: it is closed");
  return p;
}

typedef struct making { feed *p; const snp_column *col; int64_t n, batch; snp_ahead ahead; } making;

static int body_new(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  const making *m = ctx;
  return (m->p->f = snp_feed_new(m->p->columns, m->col, m->n, m->batch, m->ahead)) ? 0 : -1;
}

/* feed(X, y or nil, {n=, batch=, dtype=, scale=, ahead=}): X in another number type where `dtype` says so, bytes times `scale`. */
static int new_feed(lua_State *L) {
  snp_column col[SNP_COLUMNS] = {{.x = snl_check_tensor(L, 1), .scale = 1}, {.x = snl_opt_tensor(L, 2), .scale = 1}};
  luaL_checktype(L, 3, LUA_TTABLE);
  lua_getfield(L, 3, "n");
  lua_getfield(L, 3, "batch");
  const int64_t n = luaL_checkinteger(L, 4), batch = luaL_checkinteger(L, 5);
  lua_getfield(L, 3, "dtype");
  const char *name = luaL_optstring(L, 6, sn_dtypes[col[0].x->dtype].name);
  const int dtype = sn_dtype_find(name);
  if (dtype < 0) return snl_error(L, "feed: unknown dtype '%s'", name);
  lua_getfield(L, 3, "scale");
  col[0].scale = luaL_optnumber(L, 7, 1);
  lua_getfield(L, 3, "ahead");
  const snp_ahead ahead = lua_isnil(L, 8) ? SNP_PAYS : lua_toboolean(L, 8) ? SNP_ALWAYS : SNP_NEVER;
  col[0].to = (sn_dtype)dtype;
  if (col[1].x) col[1].to = (sn_dtype)col[1].x->dtype;
  feed *p = lua_newuserdatauv(L, sizeof *p, 1);
  *p = (feed){.columns = col[1].x ? 2 : 1};
  luaL_setmetatable(L, TYPE);
  making m = {p, col, n, batch, ahead};
  snl_run(L, 0, body_new, &m);
  const int boxes = snp_feed_slots(p->f) * p->columns;
  lua_createtable(L, boxes, 0);
  for (int i = 0; i < boxes; i++) {
    snl_push_tensor(L, snp_feed_view(p->f, i / p->columns, i % p->columns));
    lua_rawseti(L, -2, i + 1);
  }
  lua_setiuservalue(L, -2, 1);
  return 1;
}

typedef struct epoch { snp_feed *f; snt_tensor *order; int64_t first; } epoch;

static int body_begin(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  const epoch *e = ctx;
  return snp_feed_begin(e->f, e->order, 1, e->first);
}

/* f:begin(order or nil, first): an epoch from batch `first` on. */
static int begin(lua_State *L) {
  epoch e = {check(L)->f, snl_opt_tensor(L, 2), luaL_optinteger(L, 3, 1) - 1};
  snl_run(L, 0, body_begin, &e);
  return 0;
}

/* f:next(): the next batch, X and y, which stand until the next call; nothing at the end. */
static int next_batch(lua_State *L) {
  feed *p = check(L);
  const int slot = snp_feed_next(p->f);
  if (slot < 0) return 0;
  lua_getiuservalue(L, 1, 1);
  for (int k = 0; k < p->columns; k++) lua_rawgeti(L, 2, slot * p->columns + k + 1);
  return p->columns;
}

/* f:ahead(): is there a thread? */
static int is_ahead(lua_State *L) {
  lua_pushboolean(L, snp_feed_is_ahead(check(L)->f));
  return 1;
}

static int close_feed(lua_State *L) {
  feed *p = luaL_checkudata(L, 1, TYPE);
  snp_feed_free(p->f);
  p->f = NULL;
  return 0;
}

void snl_open_feed(lua_State *L) {
  static const luaL_Reg methods[] = {{"begin", begin}, {"next", next_batch}, {"ahead", is_ahead}, {"close", close_feed}, {NULL, NULL}};
  lua_pushcfunction(L, new_feed);
  lua_setfield(L, -2, "feed");
  luaL_newmetatable(L, TYPE);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, close_feed);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, close_feed);
  lua_setfield(L, -2, "__close");
  lua_pop(L, 1);
}
