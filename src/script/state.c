/* state.c - what belongs to one Lua or to the machine: random numbers, threads, memory, information, notices, interrupts. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/cpu.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/thread.h"
#include "script/tensor.h"
#include "slugnet.h"

#define VERSION SLUG_VERSION

volatile sig_atomic_t snl_interrupt;

extern char *openblas_get_config(void) __attribute__((weak));
extern char *openblas_get_corename(void) __attribute__((weak));

/* ---- generators */

snl_generator *snl_test_generator(lua_State *L, int i) {
  void *p = lua_touserdata(L, i);
  if (p == NULL || !lua_getmetatable(L, i)) return NULL;
  const void *mt = lua_topointer(L, -1);
  lua_pop(L, 1);
  return mt == snl_of(L)->generator_mt ? p : NULL;
}

static sn_rng *check_generator(lua_State *L) {
  snl_generator *g = snl_test_generator(L, 1);
  if (g == NULL) luaL_typeerror(L, 1, "generator");
  return &g->rng;
}

static uint64_t check_seed(lua_State *L, int i) {
  const lua_Number d = luaL_checknumber(L, i);
  return lua_isinteger(L, i) ? (uint64_t)lua_tointeger(L, i) : d >= 0 && d < 1.8e19 ? (uint64_t)d : (uint64_t)luaL_checkinteger(L, i);
}

static int push_rng(lua_State *L, const sn_rng *g) {
  lua_createtable(L, 0, 2);
  lua_pushinteger(L, (lua_Integer)g->seed);
  lua_setfield(L, -2, "seed");
  lua_pushinteger(L, (lua_Integer)g->position);
  lua_setfield(L, -2, "position");
  return 1;
}

static void read_rng(lua_State *L, int i, sn_rng *g) {
  luaL_checktype(L, i, LUA_TTABLE);
  sn_rng r;
  if (lua_getfield(L, i, "seed") != LUA_TNUMBER || lua_getfield(L, i, "position") != LUA_TNUMBER || !lua_isinteger(L, -1) || !lua_isinteger(L, -2))
    snl_error(L, "a generator's state is a table {seed=, position=} of integers");
  r.seed = (uint64_t)lua_tointeger(L, -2);
  r.position = (uint64_t)lua_tointeger(L, -1);
  lua_pop(L, 2);
  *g = r;
}

/*** Generator(seed=0)
 * A source of random numbers of its own: give it as generator= to random operations. The same seed gives the same numbers.
 * Methods: manual_seed(n), state(), load_state(t), random() in 0..1, random(n) in 1..n, random(lo, hi), clone(); field seed.
 */
static int new_generator(lua_State *L) {
  const uint64_t seed = lua_isnoneornil(L, 1) ? 0 : check_seed(L, 1);
  snl_generator *g = lua_newuserdatauv(L, sizeof *g, 0);
  g->rng = (sn_rng){.seed = seed};
  luaL_setmetatable(L, "slugnet.Generator");
  return 1;
}

static int generator_seed(lua_State *L) {
  *check_generator(L) = (sn_rng){.seed = check_seed(L, 2)};
  lua_settop(L, 1);
  return 1;
}

static int generator_state(lua_State *L) { return push_rng(L, check_generator(L)); }

static int generator_load(lua_State *L) {
  read_rng(L, 2, check_generator(L));
  lua_settop(L, 1);
  return 1;
}

static int generator_clone(lua_State *L) {
  const sn_rng r = *check_generator(L);
  snl_generator *g = lua_newuserdatauv(L, sizeof *g, 0);
  g->rng = r;
  luaL_setmetatable(L, "slugnet.Generator");
  return 1;
}

static int draw(lua_State *L, sn_rng *g, int first) {
  if (lua_isnoneornil(L, first)) {
    lua_pushnumber(L, sn_rng_uniform(g));
    return 1;
  }
  lua_Integer lo = 1, hi = luaL_checkinteger(L, first);
  if (!lua_isnoneornil(L, first + 1)) {
    lo = hi;
    hi = luaL_checkinteger(L, first + 1);
  }
  if (hi < lo) return snl_error(L, "random: the range %lld..%lld is empty", (long long)lo, (long long)hi);
  const uint64_t span = (uint64_t)hi - (uint64_t)lo + 1;
  lua_pushinteger(L, (lua_Integer)((uint64_t)lo + (span ? sn_rng_below(g, span) : sn_rng_u64(g))));
  return 1;
}

static int generator_random(lua_State *L) { return draw(L, check_generator(L), 2); }

static int generator_tostring(lua_State *L) {
  const sn_rng *g = check_generator(L);
  char text[96];
  snprintf(text, sizeof text, "Generator(seed %" PRIu64 ", position %" PRIu64 ")", g->seed, g->position);
  lua_pushstring(L, text);
  return 1;
}

/*** manual_seed(n)
 * Seeds the default generator of this Lua.
 */
static int manual_seed(lua_State *L) {
  snl_of(L)->mode.rng = (sn_rng){.seed = check_seed(L, 1)};
  return 0;
}

static int rng_state(lua_State *L) { return push_rng(L, &snl_of(L)->mode.rng); }

static int set_rng_state(lua_State *L) {
  read_rng(L, 1, &snl_of(L)->mode.rng);
  return 0;
}

/* ---- the machine */

/*** threads(n?)
 * How many threads large operations use; with n, sets it (0: the default for this machine). Results never depend on it.
 */
static int threads(lua_State *L) {
  if (!lua_isnoneornil(L, 1)) {
    const lua_Integer n = luaL_checkinteger(L, 1);
    sn_error_clear();
    if (sn_threads_set(n < -1 ? -1 : n > INT_MAX ? INT_MAX : (int)n) < 0) return snl_fail(L);
  }
  lua_pushinteger(L, sn_threads());
  return 1;
}

static void set_string(lua_State *L, const char *key, const char *v) {
  lua_pushstring(L, v);
  lua_setfield(L, -2, key);
}

static void set_int(lua_State *L, const char *key, lua_Integer v) {
  lua_pushinteger(L, v);
  lua_setfield(L, -2, key);
}

/*** info()
 * A table: version, isa (the instruction set in use: "baseline", "avx2", "avx512", or AVX-512 with instructions for products of bfloat16:
 * "avx512_bf16" on AMD's processors, "amx" on Intel's; the environment variable SLUGNET_ISA can name a lower one), cpu (its name, family and model), threads, cores, blas, blas_core, lua.
 */
static int info(lua_State *L) {
  lua_createtable(L, 0, 8);
  set_string(L, "version", VERSION);
  set_string(L, "isa", sn_isa_name());
  set_string(L, "cpu", sn_cpu_model());
  set_int(L, "threads", sn_threads());
  set_int(L, "cores", sn_threads_available());
  set_string(L, "blas", openblas_get_config ? openblas_get_config() : "none");
  set_string(L, "blas_core", openblas_get_corename ? openblas_get_corename() : "none");
  set_string(L, "lua", LUA_VERSION);
  set_string(L, "compiler", __VERSION__);
  return 1;
}

/*** flush_denormals(on?)
 * Whether float32 work treats denormal numbers as zero (it does at first); with an argument, sets it. Returns the setting before.
 */
static int flush_denormals(lua_State *L) {
  snl_state *st = snl_of(L);
  const bool before = st->mode.flush;
  if (!lua_isnoneornil(L, 1)) {
    luaL_checktype(L, 1, LUA_TBOOLEAN);
    st->mode.flush = lua_toboolean(L, 1);
  }
  lua_pushboolean(L, before);
  return 1;
}

/*** memory()
 * A table of bytes and counts: live (in tensors), cached (kept for reuse), peak (largest live since reset_peak), allocs, bytes (ever), small (structures).
 */
static int memory(lua_State *L) {
  sn_mem_stats s;
  sn_mem_stat(&s);
  lua_createtable(L, 0, 6);
  set_int(L, "live", (lua_Integer)s.live);
  set_int(L, "cached", (lua_Integer)s.cached);
  set_int(L, "peak", (lua_Integer)s.peak);
  set_int(L, "allocs", (lua_Integer)s.allocs);
  set_int(L, "bytes", (lua_Integer)s.bytes);
  set_int(L, "small", (lua_Integer)s.small);
  return 1;
}

static int reset_peak(lua_State *L) {
  (void)L;
  sn_mem_reset_peak();
  return 0;
}

/* trim(): collects what is dead and gives kept blocks back to the system */
static int trim(lua_State *L) {
  snl_collect(L, true);
  return 0;
}

/* fail_after(n, on): the n-th allocation from now on fails, once or with every later one; 0 or nothing switches it off. Gives how many have
 * failed since the last call. For tests. */
static int fail_after(lua_State *L) {
  const lua_Integer n = luaL_optinteger(L, 1, 0);
  lua_pushinteger(L, (lua_Integer)sn_mem_fail_after(n - 1, lua_toboolean(L, 2)));
  return 1;
}

/* A notice that a script sees once for each of its lines; replace sn.notice to send them elsewhere. Upvalue: what was shown. */
static int notice(lua_State *L) {
  const char *text = luaL_checkstring(L, 1);
  const char *colon = strchr(text, ' ');
  if (colon && colon > text && colon[-1] == ':') lua_pushlstring(L, text, (size_t)(colon - text));
  else lua_pushvalue(L, 1);
  lua_pushvalue(L, -1);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 0;
  lua_pop(L, 1);
  lua_pushboolean(L, 1);
  lua_rawset(L, lua_upvalueindex(1));
  lua_writestringerror("slugnet: %s\n", text);
  return 0;
}

/* interrupted(): true once after Ctrl-C in the program; always false in the module alone */
static int interrupted(lua_State *L) {
  lua_pushboolean(L, snl_interrupt != 0);
  snl_interrupt = 0;
  return 1;
}

static int clock_now(lua_State *L) {
  lua_pushnumber(L, (lua_Number)sn_clock_ns() * 1e-9);
  return 1;
}

/*** isatty(fd)
 * Whether the file descriptor (0 input, 1 output, 2 errors) is a terminal.
 */
static int is_terminal(lua_State *L) {
  lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
  return 1;
}

/*** mkdir(path)
 * Makes a folder and those above it. True, also if it is there; nil and a message if it cannot be made.
 */
static int make_folder(lua_State *L) {
  size_t n;
  const char *path = luaL_checklstring(L, 1, &n);
  char *part = lua_newuserdatauv(L, n + 1, 0);
  memcpy(part, path, n + 1);
  for (size_t i = 1; i <= n; i++) {
    if (part[i] != '/' && part[i] != 0) continue;
    part[i] = 0;
    if (mkdir(part, 0777) != 0 && errno != EEXIST) return luaL_fileresult(L, 0, part);
    part[i] = i < n ? '/' : 0;
  }
  struct stat s;
  if (stat(path, &s) == 0 && !S_ISDIR(s.st_mode)) errno = ENOTDIR;
  else errno = 0;
  return luaL_fileresult(L, errno == 0, path);
}

void snl_open_state(lua_State *L) {
  static const luaL_Reg generator[] = {{"manual_seed", generator_seed}, {"state", generator_state},   {"load_state", generator_load},
                                       {"clone", generator_clone},      {"random", generator_random}, {NULL, NULL}};
  static const luaL_Reg functions[] = {
    {"Generator", new_generator}, {"manual_seed", manual_seed}, {"rng_state", rng_state}, {"set_rng_state", set_rng_state}, {"threads", threads},
    {"info", info}, {"flush_denormals", flush_denormals}, {"memory", memory}, {"reset_peak", reset_peak}, {"trim", trim}, {"fail_after", fail_after},
    {"interrupted", interrupted}, {"clock", clock_now}, {"isatty", is_terminal}, {"mkdir", make_folder}, {"peaks", snl_peaks}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  lua_newtable(L);
  lua_pushcclosure(L, notice, 1);
  lua_setfield(L, -2, "notice");
  set_string(L, "version", VERSION);
  luaL_newmetatable(L, "slugnet.Generator");
  snl_of(L)->generator_mt = lua_topointer(L, -1);
  luaL_newlib(L, generator);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, generator_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pushliteral(L, "generator");
  lua_setfield(L, -2, "__name");
  lua_pop(L, 1);
}
