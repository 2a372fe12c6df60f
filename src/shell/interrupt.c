/* interrupt.c - Ctrl-C. While Lua runs, it raises "interrupted!" at the next instruction, unless a model is being fitted: fit looks for
 * itself after every batch and returns with the model intact. Pressed again it interrupts fit too. A script that still does not end is
 * ended by the next one; at the prompt that takes one more. */
#include <signal.h>
#include <string.h>
#include "script/script.h"
#include "shell/shell.h"

static lua_State *running;
static volatile sig_atomic_t presses, last_press = 2, prompt_interrupted, resized;

/* Whether one of the functions that are running is sn.Model's fit. */
static bool in_fit(lua_State *L) {
  static const char tail[] = "/slugnet/fit.lua";
  lua_Debug ar;
  for (int level = 0; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "S", &ar);
    const size_t n = strlen(ar.source), m = sizeof tail - 1;
    if (strcmp(ar.source, "=slugnet.fit") == 0 || (ar.source[0] == '@' && n > m && strcmp(ar.source + n - m, tail) == 0)) return true;
  }
  return false;
}

static void stop(lua_State *L, lua_Debug *ar) {
  (void)ar;
  lua_sethook(L, NULL, 0, 0);
  if (!snl_interrupt) return; /* fit has seen it */
  if (presses < 2 && in_fit(L)) {
    lua_writestringerror("%s", "\nslugnet: fit stops after this batch; Ctrl-C again stops at once\n");
    return;
  }
  snl_interrupt = 0;
  luaL_error(L, "interrupted!");
}

static void on_interrupt(int signal_number) {
  snl_interrupt = 1;
  presses = presses + 1;
  if (presses >= last_press) signal(signal_number, SIG_DFL);
  lua_sethook(running, stop, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

static void handle(int signal_number, void (*f)(int), int flags) {
  struct sigaction a = {.sa_handler = f, .sa_flags = flags};
  sigemptyset(&a.sa_mask);
  sigaction(signal_number, &a, NULL);
}

void sh_catch(lua_State *L, bool prompt) {
  running = L;
  presses = 0;
  last_press = prompt ? 3 : 2;
  snl_interrupt = 0;
  handle(SIGINT, on_interrupt, SA_RESTART);
}

void sh_release(void) {
  handle(SIGINT, SIG_DFL, SA_RESTART);
  if (running) lua_sethook(running, NULL, 0, 0);
  snl_interrupt = 0;
}

/* ---- at the prompt: no restart, so that the read ends */

static void on_prompt(int signal_number) {
  (void)signal_number;
  prompt_interrupted = 1;
}

static void on_resize(int signal_number) {
  (void)signal_number;
  resized = 1;
}

void sh_at_prompt(bool on) {
  handle(SIGINT, on ? on_prompt : SIG_DFL, 0);
  handle(SIGWINCH, on ? on_resize : SIG_DFL, 0);
}

bool sh_was_interrupted(void) {
  const bool was = prompt_interrupted;
  prompt_interrupted = 0;
  return was;
}

bool sh_was_resized(void) {
  const bool was = resized;
  resized = 0;
  return was;
}
