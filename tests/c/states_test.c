/* states_test.c - a host with several lua_States: they train side by side in threads of their own and give the bits that one alone gives, whatever
 * rounding mode the host has set; modes and generators belong to a state; states come and go while others work. */
#include <fenv.h>
#include <lauxlib.h>
#include <lualib.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "script/script.h"

/* Trains two small networks and gives all that came of it as one string: equal bits, equal string. */
static const char script[] =
    "local sn = require 'slugnet'\n"
    "sn.manual_seed(5)\n"
    "local X, y = sn.randn(256, 24), sn.randint(1, 5, { 256 })\n"
    "local parts = {}\n"
    "local function keep(t) for _, v in ipairs(t:flatten():totable()) do parts[#parts + 1] = ('%a'):format(v) end end\n"
    "local net = sn.Sequential(sn.Dense { 160, inshape = 24, activation = sn.ReLU() }, sn.Dropout(0.2), sn.Dense { 4 })\n"
    "local opt = sn.Adam(net:parameters(), { lr = 0.01 })\n"
    "local step = sn.compile(function(a, b)\n"
    "  opt:zero_grad()\n"
    "  local loss = sn.cross_entropy(net(a), b)\n"
    "  loss:backward()\n"
    "  opt:step()\n"
    "end)\n"
    "for _ = 1, 12 do step(X, y) end\n"
    "for _, p in ipairs(net:parameters()) do keep(p) end\n"
    "local conv = sn.Sequential(sn.Conv2d { 4, 3, inshape = { 1, 12, 12 } }, sn.ReLU(), sn.MaxPool2d { 2 }, sn.Flatten(), sn.Dense { 3 })\n"
    "local images, labels = sn.randn(32, 1, 12, 12), sn.randint(1, 4, { 32 })\n"
    "local sgd = sn.SGD(conv:parameters(), { lr = 0.1 })\n"
    "for _ = 1, 4 do\n"
    "  sgd:zero_grad()\n"
    "  sn.cross_entropy(conv(images), labels):backward()\n"
    "  sgd:step()\n"
    "end\n"
    "for _, p in ipairs(conv:parameters()) do keep(p) end\n"
    "return table.concat(parts, ' ')\n";

static lua_State *open_state(void) {
  lua_State *L = luaL_newstate();
  if (L == NULL) return NULL;
  luaL_openlibs(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, luaopen_slugnet_core);
  lua_setfield(L, -2, "slugnet.core");
  lua_pop(L, 1);
  if (luaL_dostring(L, "package.path = 'lua/?.lua;lua/?/init.lua;' .. package.path") != LUA_OK) {
    lua_close(L);
    return NULL;
  }
  return L;
}

/* What the chunk returns, malloc'd; NULL after an error, which is printed. */
static char *run_in(lua_State *L, const char *chunk) {
  char *text = NULL;
  if (luaL_dostring(L, chunk) == LUA_OK && lua_tostring(L, -1)) text = strdup(lua_tostring(L, -1));
  else printf("%s\n", lua_tostring(L, -1) ? lua_tostring(L, -1) : "no result");
  lua_settop(L, 0);
  return text;
}

static char *run_alone(const char *chunk) {
  lua_State *L = open_state();
  if (L == NULL) return NULL;
  char *text = run_in(L, chunk);
  lua_close(L);
  return text;
}

typedef struct host { pthread_t thread; int rounding; bool kept; char *text; } host;

static void *trains(void *p) {
  host *h = p;
  fesetround(h->rounding);
  h->text = run_alone(script);
  h->kept = fegetround() == h->rounding;
  return NULL;
}

static void *comes_and_goes(void *p) {
  host *h = p;
  h->kept = true;
  for (int i = 0; i < 10; i++) {
    char *text = run_alone("local sn = require 'slugnet' sn.flush_denormals(false) sn.manual_seed(9) return tostring((sn.randn(300, 300):mm(sn.rand(300, 300))):sum():item())");
    if (h->text == NULL) h->text = text;
    else {
      h->kept &= text != NULL && strcmp(text, h->text) == 0;
      free(text);
    }
  }
  return NULL;
}

static void test_side_by_side(void) {
  char *alone = run_alone(script);
  CHECK(alone != NULL && strlen(alone) > 1000);
  host h[4] = {{.rounding = FE_TONEAREST}, {.rounding = FE_UPWARD}, {.rounding = FE_TOWARDZERO}, {.rounding = FE_TONEAREST}};
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&h[i].thread, NULL, i == 3 ? comes_and_goes : trains, &h[i]) == 0);
  for (int i = 0; i < 4; i++) {
    CHECK(pthread_join(h[i].thread, NULL) == 0 && h[i].kept);
    if (i < 3) CHECK(h[i].text && alone && strcmp(h[i].text, alone) == 0);
    free(h[i].text);
  }
  free(alone);
}

/* Two states in one thread, by turns: a mode or a seed set in one is not seen in the other. */
static void test_own_modes(void) {
  lua_State *a = open_state(), *b = open_state();
  CHECK(a != NULL && b != NULL);
  if (a == NULL || b == NULL) return;
  free(run_in(a, "sn = require 'slugnet' sn.manual_seed(3) sn.flush_denormals(false) return ''"));
  free(run_in(b, "sn = require 'slugnet' sn.manual_seed(3) return ''"));
  static const char *const sub[] = {"return ('%a'):format((sn.tensor{1e-40} * 1):item())", "return tostring(sn.rand(1):item())"};
  char *denormal = run_in(a, sub[0]), *flushed = run_in(b, sub[0]);
  CHECK(denormal && flushed && strcmp(flushed, "0x0p+0") == 0 && strcmp(denormal, "0x0p+0") != 0);
  char *first = run_in(a, sub[1]), *second = run_in(b, sub[1]);
  CHECK(first && second && strcmp(first, second) == 0);
  char *off = run_in(a, "hold = sn.no_grad() return tostring((sn.zeros(1):requires_grad_() + 1).requires_grad)");
  char *on = run_in(b, "return tostring((sn.zeros(1):requires_grad_() + 1).requires_grad)");
  CHECK(off && on && strcmp(off, "false") == 0 && strcmp(on, "true") == 0);
  char *narrow = run_in(a, "cast = sn.autocast('bfloat16') return sn.ones(2, 2):matmul(sn.ones(2, 2)).dtype");
  char *plain = run_in(b, "return sn.ones(2, 2):matmul(sn.ones(2, 2)).dtype");
  CHECK(narrow && plain && strcmp(narrow, "bfloat16") == 0 && strcmp(plain, "float32") == 0);
  free(narrow), free(plain);
  free(denormal), free(flushed), free(first), free(second), free(off), free(on);
  lua_close(a);
  lua_close(b);
}

int main(void) {
  test_side_by_side();
  test_own_modes();
  return CHECK_DONE();
}
