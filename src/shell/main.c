/* main.c - the program: Lua's own command line (-e -l -i -v -E -W - --, LUA_INIT, arg, exit status), with slugnet inside, and its subcommands. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "script/gen.h"
#include "script/script.h"
#include "shell/shell.h"
#include "slugnet.h"

const char *sh_name = "slugnet";
static bool at_prompt;

typedef struct command_line {
  int argc;
  char **argv;
  int script;          /* index of the script, argc if there is none */
  int bad;             /* index of the option that cannot be, 0 if none */
  bool no_environment, interactive, version, execute;
} command_line;

/* ---- calling */

static int traceback(lua_State *L) {
  const char *msg = lua_tostring(L, 1);
  if (msg == NULL) {
    if (luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING) return 1;
    msg = lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
  }
  luaL_traceback(L, L, msg, 1);
  return 1;
}

int sh_call(lua_State *L, int nargs, int nresults) {
  const int base = lua_gettop(L) - nargs;
  lua_pushcfunction(L, traceback);
  lua_insert(L, base);
  sh_catch(L, at_prompt);
  const int status = lua_pcall(L, nargs, nresults, base);
  sh_release();
  lua_remove(L, base);
  return status;
}

int sh_report(lua_State *L, int status) {
  if (status == LUA_OK) return status;
  const char *msg = lua_tostring(L, -1);
  fflush(stdout);
  if (sh_name) lua_writestringerror("%s: ", sh_name);
  lua_writestringerror("%s\n", msg ? msg : "(error message is no string)");
  lua_pop(L, 1);
  return status;
}

static int run_chunk(lua_State *L, int status) {
  if (status == LUA_OK) status = sh_call(L, 0, 0);
  return sh_report(L, status);
}

static int run_string(lua_State *L, const char *s, const char *name) { return run_chunk(L, luaL_loadbuffer(L, s, strlen(s), name)); }
static int run_file(lua_State *L, const char *name) { return run_chunk(L, luaL_loadfile(L, name)); }

/* ---- what the program holds inside */

/* Loader of an embedded Lua file; upvalue: its entry. */
static int load_embedded(lua_State *L) {
  const sn_embed *e = lua_touserdata(L, lua_upvalueindex(1));
  const char *name = lua_pushfstring(L, "=%s", e->name);
  if (luaL_loadbufferx(L, e->src, e->len, name, "t") != LUA_OK) return lua_error(L);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_call(L, 2, 1);
  return 1;
}

/* SLUGNET_LUA names a folder that holds slugnet/NAME.lua to be used in place of what is inside: for work on those files. */
static bool use_folder(lua_State *L, bool no_environment) {
  const char *dir = no_environment ? NULL : getenv("SLUGNET_LUA");
  if (dir == NULL || *dir == 0) return false;
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "path");
  lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;%s", dir, dir, lua_tostring(L, -1));
  lua_setfield(L, -3, "path");
  lua_pop(L, 2);
  return true;
}

static void preload(lua_State *L, bool no_environment) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, luaopen_slugnet_core);
  lua_setfield(L, -2, "slugnet.core");
  if (!use_folder(L, no_environment))
    for (const sn_embed *e = sn_embedded; e->name; e++) {
      lua_pushlightuserdata(L, (void *)(uintptr_t)e);
      lua_pushcclosure(L, load_embedded, 1);
      lua_setfield(L, -2, e->name);
    }
  lua_pop(L, 1);
}

/* ---- the command line */

static void print_version(void) {
  printf("slugnet %s  (%s.%s)\n", SLUG_VERSION, LUA_VERSION, LUA_VERSION_RELEASE);
  fflush(stdout);
}

static bool wants_help(const char *option) { return strcmp(option, "-h") == 0 || strcmp(option, "--help") == 0; }

/* To a user who asks on stdout, to one who errs on stderr. */
static void print_usage(const char *bad) {
  FILE *to = wants_help(bad) ? stdout : stderr;
  if (to == stderr) {
    if (bad[1] == 'e' || bad[1] == 'l') fprintf(to, "%s: '%s' needs argument\n", sh_name, bad);
    else fprintf(to, "%s: unrecognized option '%s'\n", sh_name, bad);
  }
  fprintf(to,
          "usage: %s [options] [script [args]]\n"
          "  -e stat   execute string 'stat'\n"
          "  -i        enter interactive mode after executing 'script'\n"
          "  -l mod    require library 'mod' into global 'mod'\n"
          "  -l g=mod  require library 'mod' into global 'g'\n"
          "  -v        show version information\n"
          "  -E        ignore environment variables\n"
          "  -W        turn warnings on\n"
          "  --        stop handling options\n"
          "  -         stop handling options and execute stdin\n"
          "where there is no script of that name:\n"
          "  info            what this build runs on\n"
          "  gradcheck file  check the gradients of the functions that a Lua file returns\n"
          "  bench           run the benchmarks\n",
          sh_name);
  fflush(to);
}

static void read_options(command_line *c) {
  int i = 1;
  for (; i < c->argc && c->argv[i][0] == '-'; i++) {
    const char *a = c->argv[i];
    const bool alone = a[1] == 0 || a[2] == 0;
    if (a[1] == 0) break;                       /* - is the script */
    if (a[1] == '-') {
      if (a[2]) c->bad = i;
      else i++;
      break;
    }
    if (a[1] == 'e' || a[1] == 'l') {
      c->execute |= a[1] == 'e';
      if (a[2]) continue;
      if (i + 1 >= c->argc || c->argv[i + 1][0] == '-') {
        c->bad = i;
        break;
      }
      i++;
      continue;
    }
    if (!alone || strchr("EivW", a[1]) == NULL) {
      c->bad = i;
      break;
    }
    c->no_environment |= a[1] == 'E';
    c->interactive |= a[1] == 'i';
    c->version |= a[1] == 'v' || a[1] == 'i';
  }
  c->script = i;
}

/* `arg`: the script is 0, what follows it counts up from 1, what stands before it down from -1. */
static void set_arg(lua_State *L, const command_line *c) {
  const int zero = c->script < c->argc ? c->script : 0;
  lua_createtable(L, c->argc - zero, zero + 1);
  for (int i = 0; i < c->argc; i++) {
    lua_pushstring(L, c->argv[i]);
    lua_rawseti(L, -2, i - zero);
  }
  lua_setglobal(L, "arg");
}

static int run_init(lua_State *L) {
  const char *name = "=LUA_INIT_5_4", *init = getenv(name + 1);
  if (init == NULL) init = getenv((name = "=LUA_INIT") + 1);
  if (init == NULL) return LUA_OK;
  return init[0] == '@' ? run_file(L, init + 1) : run_string(L, init, name);
}

/* -l mod, -l g=mod */
static int run_library(lua_State *L, const char *what) {
  const char *equals = strchr(what, '='), *module = equals ? equals + 1 : what;
  lua_getglobal(L, "require");
  lua_pushstring(L, module);
  const int status = sh_call(L, 1, 1);
  if (status == LUA_OK) {
    lua_pushlstring(L, what, equals ? (size_t)(equals - what) : strlen(what));
    lua_insert(L, -2);
    lua_pushglobaltable(L);
    lua_insert(L, -3);
    lua_settable(L, -3);
    lua_pop(L, 1);
  }
  return sh_report(L, status);
}

/* -e, -l and -W, in their order */
static bool run_options(lua_State *L, const command_line *c) {
  for (int i = 1; i < c->script; i++) {
    const char *a = c->argv[i];
    if (a[1] == 'W') lua_warning(L, "@on", 0);
    if (a[1] != 'e' && a[1] != 'l') continue;
    const char *what = a[2] ? a + 2 : c->argv[++i];
    const int status = a[1] == 'e' ? run_string(L, what, "=(command line)") : run_library(L, what);
    if (status != LUA_OK) return false;
  }
  return true;
}

/* Pushes the script's arguments out of `arg`, which a script may have changed; how many. */
static int push_args(lua_State *L) {
  if (lua_getglobal(L, "arg") != LUA_TTABLE) return luaL_error(L, "'arg' is not a table");
  const int n = (int)luaL_len(L, -1);
  luaL_checkstack(L, n + 3, "too many arguments to script");
  for (int i = 1; i <= n; i++) lua_rawgeti(L, -i, i);
  lua_remove(L, -n - 1);
  return n;
}

static bool is_file(const char *name) {
  struct stat s;
  return stat(name, &s) == 0 && !S_ISDIR(s.st_mode);
}

/* slugnet info and the like, where there is no file of that name (a folder is none); -1 if it is none. */
static int run_command(lua_State *L, const command_line *c) {
  static const char *const commands[] = {"info", "gradcheck", "bench", NULL};
  const char *name = c->argv[c->script];
  const char *const *k = commands;
  while (*k && strcmp(*k, name) != 0) k++;
  if (*k == NULL || is_file(name)) return -1;
  lua_getglobal(L, "require");
  lua_pushliteral(L, "slugnet.commands");
  int status = sh_call(L, 1, 1);
  if (status != LUA_OK) return sh_report(L, status);
  lua_getfield(L, -1, name);
  status = sh_call(L, push_args(L), 1);
  if (status != LUA_OK) return sh_report(L, status);
  return lua_toboolean(L, -1) ? LUA_OK : LUA_ERRRUN;
}

static int run_script(lua_State *L, const command_line *c) {
  const char *name = c->argv[c->script];
  if (strcmp(name, "-") == 0 && strcmp(c->argv[c->script - 1], "--") != 0) name = NULL; /* the standard input */
  else {
    const int status = run_command(L, c);
    if (status >= 0) return status;
  }
  int status = luaL_loadfile(L, name);
  if (status == LUA_OK) status = sh_call(L, push_args(L), LUA_MULTRET);
  return sh_report(L, status);
}

/* Everything, inside one protected call. True when all of it went well. */
static int run(lua_State *L) {
  const command_line *c = lua_touserdata(L, 1);
  luaL_checkversion(L);
  if (c->bad) {
    print_usage(c->argv[c->bad]);
    lua_pushboolean(L, wants_help(c->argv[c->bad]));
    return 1;
  }
  if (c->version) print_version();
  if (c->no_environment) {
    lua_pushboolean(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
  }
  luaL_openlibs(L);
  preload(L, c->no_environment);
  set_arg(L, c);
  if (!c->no_environment && run_init(L) != LUA_OK) return 0;
  if (!run_options(L, c)) return 0;
  if (c->script < c->argc && run_script(L, c) != LUA_OK) return 0;
  const bool nothing = c->script >= c->argc && !c->execute && !c->version;
  if (c->interactive || (nothing && isatty(STDIN_FILENO))) {
    if (!c->version) print_version();
    at_prompt = true;
    sh_prompt(L);
  } else if (nothing) run_file(L, NULL); /* its failure is no failure of the program: so it is in Lua's own; with - it is */
  lua_pushboolean(L, 1);
  return 1;
}

int main(int argc, char **argv) {
  command_line c = {.argc = argc, .argv = argv};
  if (argc > 0 && argv[0] && argv[0][0]) sh_name = argv[0];
  lua_State *L = luaL_newstate();
  if (L == NULL) {
    lua_writestringerror("%s: cannot create state: not enough memory\n", sh_name);
    return EXIT_FAILURE;
  }
  read_options(&c);
  lua_pushcfunction(L, run);
  lua_pushlightuserdata(L, &c);
  const int status = lua_pcall(L, 1, 1, 0);
  const bool good = status == LUA_OK && lua_toboolean(L, -1);
  sh_report(L, status);
  lua_close(L);
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
