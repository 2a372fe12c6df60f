/* optim.c - the methods of optimizers. Their constructors are in make.c. */
#include "base/error.h"
#include "script/object.h"

static int body_step(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  return snn_optim_step(ctx);
}
static int optim_step(lua_State *L) { return snl_run(L, 0, body_step, snl_check_family(L, SNN_OPTIM, "step")); }

static int body_zero(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  return snn_optim_zero_grad(ctx);
}
static int optim_zero(lua_State *L) { return snl_run(L, 0, body_zero, snl_check_family(L, SNN_OPTIM, "zero_grad")); }

static int optim_add(lua_State *L) { return snl_add_params(L, snl_check_family(L, SNN_OPTIM, "add")); }

static void push_params(lua_State *L, const snn_obj *o, int k, int *at) {
  snt_tensor *const *p;
  const int n = snn_optim_params(o, k, &p);
  for (int i = 0; i < n; i++) {
    snl_push_shared(L, p[i]);
    lua_rawseti(L, -2, ++*at);
  }
}

static int optim_params(lua_State *L) {
  const snn_obj *o = snl_check_family(L, SNN_OPTIM, "parameters");
  int at = 0;
  lua_newtable(L);
  for (int k = 0; k < snn_optim_groups(o); k++) push_params(L, o, k, &at);
  return 1;
}

/* opt:groups(): tables of params and the options of each group */
static int optim_groups(lua_State *L) {
  snn_obj *o = snl_check_family(L, SNN_OPTIM, "groups");
  int narg;
  const sno_arg *a = sno_parse_args(o->cls->args, &narg);
  lua_newtable(L);
  for (int k = 0; k < snn_optim_groups(o); k++) {
    int at = 0;
    lua_newtable(L);
    lua_newtable(L);
    push_params(L, o, k, &at);
    lua_setfield(L, -2, "params");
    for (int i = 0; i < narg; i++) {
      double v;
      if (snn_optim_get(o, k, a[i].name, &v) < 0) continue;
      if (a[i].kind == SNO_BOOL) lua_pushboolean(L, v != 0);
      else lua_pushnumber(L, v);
      lua_setfield(L, -2, a[i].name);
    }
    lua_rawseti(L, -2, k + 1);
  }
  sn_error_clear();
  return 1;
}

/* opt:state(): what a resumed run needs: iterations, lr, and tensors by group, parameter and name */
static int optim_state(lua_State *L) {
  snn_obj *o = snl_check_family(L, SNN_OPTIM, "state");
  const snl_listing *l = snl_list_tensors(L, o);
  lua_createtable(L, 0, 3);
  lua_pushinteger(L, snn_optim_iterations(o));
  lua_setfield(L, -2, "iterations");
  lua_getfield(L, 1, "lr");
  lua_setfield(L, -2, "lr");
  snl_push_state(L, l);
  lua_setfield(L, -2, "tensors");
  return 1;
}

static int optim_load(lua_State *L) {
  snn_obj *o = snl_check_family(L, SNN_OPTIM, "load_state");
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  lua_getfield(L, 2, "iterations");
  lua_getfield(L, 2, "lr");
  if (!lua_isinteger(L, 3) || lua_type(L, 4) != LUA_TNUMBER) return snl_error(L,
      "%s: load_state: wants the table that state() gives, with iterations and lr", snn_name(o));
  if (lua_getfield(L, 2, "tensors") == LUA_TNIL) {
    lua_pop(L, 1);
    lua_newtable(L);
  }
  luaL_checktype(L, 5, LUA_TTABLE);
  snl_load_tensors(L, snn_name(o), snl_list_tensors(L, o), 5);
  snn_optim_set_iterations(o, lua_tointeger(L, 3));
  snn_optim_set_lr(o, lua_tonumber(L, 4));
  lua_settop(L, 1);
  return 1;
}

const luaL_Reg snl_optim_methods[] = {{"step", optim_step},   {"zero_grad", optim_zero}, {"add", optim_add},         {"parameters", optim_params},
                                      {"groups", optim_groups}, {"state", optim_state},    {"load_state", optim_load}, {NULL, NULL}};
