/* line.c - one line from the user: edited by libedit on a terminal, plain otherwise. */
#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>
#include "shell/shell.h"

#define HISTORY_SIZE 2000

static EditLine *editor;
static History *history_;
static char history_file[4096];
static const char *prompt_text = "";
static lua_State *lua;
static bool tried;

static char *show_prompt(EditLine *e) {
  (void)e;
  return (char *)(uintptr_t)prompt_text;
}

/* One character. Ctrl-C ends the line with an error; a new window size does not. */
static int read_char(EditLine *e, wchar_t *to) {
  mbstate_t state;
  memset(&state, 0, sizeof state);
  for (;;) {
    char c;
    const ssize_t n = read(STDIN_FILENO, &c, 1);
    if (n < 0 && errno == EINTR) {
      if (sh_was_resized()) el_resize(e);
      if (!sh_was_interrupted()) continue;
      errno = EINTR;
      prompt_text = NULL;
      return -1;
    }
    if (n <= 0) return (int)n;
    const size_t k = mbrtowc(to, &c, 1, &state);
    if (k == (size_t)-2) continue;
    if (k == (size_t)-1) {
      memset(&state, 0, sizeof state);
      *to = L'?';
    } else if (k == 0) *to = 0;
    return 1;
  }
}

/* ---- the tab key */

static void list_names(lua_State *L, int list) {
  const int n = (int)lua_rawlen(L, list);
  size_t width = 0;
  for (int i = 1; i <= n; i++) {
    lua_rawgeti(L, list, i);
    const size_t w = lua_rawlen(L, -1) + 2;
    if (w > width) width = w;
    lua_pop(L, 1);
  }
  const int across = width < 80 ? (int)(80 / width) : 1;
  fputc('\n', stdout);
  for (int i = 1; i <= n && i <= 200; i++) {
    lua_rawgeti(L, list, i);
    fprintf(stdout, "%-*s%s", (int)width, lua_tostring(L, -1), i % across == 0 || i == n ? "\n" : "");
    lua_pop(L, 1);
  }
  if (n > 200) fprintf(stdout, "\n... and %d more\n", n - 200);
  fflush(stdout);
}

static unsigned char on_tab(EditLine *e, int key) {
  (void)key;
  const LineInfo *l = el_line(e);
  const size_t n = (size_t)(l->lastchar - l->buffer), at = (size_t)(l->cursor - l->buffer);
  const int top = lua_gettop(lua);
  size_t i = 0;
  while (i < at && (l->buffer[i] == ' ' || l->buffer[i] == '\t')) i++;
  if (i == at) return el_insertstr(e, "  ") == 0 ? CC_REFRESH : CC_ERROR; /* nothing before: it indents */
  char *line = strndup(l->buffer, n);
  if (line == NULL) return CC_ERROR;
  unsigned char what = CC_ERROR;
  if (sh_complete(lua, line, at) == LUA_OK) {
    const char *add = lua_tostring(lua, -2);
    if (*add && el_insertstr(e, add) == 0) what = CC_REFRESH;
    else if (lua_rawlen(lua, -1) > 1) {
      list_names(lua, lua_gettop(lua));
      what = CC_REDISPLAY;
    }
  }
  free(line);
  lua_settop(lua, top);
  return what;
}

/* ---- starting and ending */

static void open_history(void) {
  HistEvent ev;
  const char *file = getenv("SLUGNET_HISTORY"), *home = getenv("HOME");
  history_ = history_init();
  if (history_ == NULL) return;
  history(history_, &ev, H_SETSIZE, HISTORY_SIZE);
  history(history_, &ev, H_SETUNIQUE, 1);
  if (file) snprintf(history_file, sizeof history_file, "%s", file);
  else if (home) snprintf(history_file, sizeof history_file, "%s/.slugnet_history", home);
  if (*history_file) history(history_, &ev, H_LOAD, history_file);
  el_set(editor, EL_HIST, history, history_);
}

static void open_editor(void) {
  tried = true;
  if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) return;
  setlocale(LC_CTYPE, ""); /* for letters beyond ASCII; numbers stay as they are */
  editor = el_init("slugnet", stdin, stdout, stderr);
  if (editor == NULL) return;
  el_set(editor, EL_PROMPT, show_prompt);
  el_set(editor, EL_EDITOR, "emacs");
  el_set(editor, EL_SIGNAL, 0);
  el_set(editor, EL_GETCFN, read_char);
  open_history();
  el_set(editor, EL_ADDFN, "slug-complete", "complete a name", on_tab);
  el_set(editor, EL_BIND, "^I", "slug-complete", NULL);
  el_set(editor, EL_BIND, "^R", "em-inc-search-prev", NULL);
  el_source(editor, NULL);
  atexit(sh_forget_terminal);
}

void sh_forget_terminal(void) {
  HistEvent ev;
  if (history_) {
    if (*history_file) history(history_, &ev, H_SAVE, history_file);
    history_end(history_);
  }
  if (editor) el_end(editor);
  history_ = NULL;
  editor = NULL;
}

void sh_remember(const char *line) {
  HistEvent ev;
  if (history_ && *line) history(history_, &ev, H_ENTER, line);
}

/* ---- reading */

static char *read_edited(const char *prompt, bool *interrupted) {
  int n = 0;
  prompt_text = prompt;
  const char *line = el_gets(editor, &n);
  *interrupted = prompt_text == NULL;
  prompt_text = "";
  if (*interrupted || line == NULL || n <= 0) {
    el_reset(editor);
    fputc('\n', stdout);
    fflush(stdout);
    return NULL;
  }
  if (line[n - 1] == '\n') n--;
  return strndup(line, (size_t)n);
}

static char *read_plain(const char *prompt, bool *interrupted) {
  char *line = NULL;
  size_t cap = 0;
  fputs(prompt, stdout);
  fflush(stdout);
  errno = 0;
  ssize_t n = getline(&line, &cap, stdin);
  *interrupted = n < 0 && errno == EINTR && sh_was_interrupted();
  if (n < 0) {
    clearerr(stdin);
    free(line);
    return NULL;
  }
  if (n > 0 && line[n - 1] == '\n') line[--n] = 0;
  return line;
}

char *sh_read_line(lua_State *L, const char *prompt, bool *interrupted) {
  lua = L;
  if (!tried) open_editor();
  sh_at_prompt(true);
  sh_was_interrupted();
  char *line = editor ? read_edited(prompt, interrupted) : read_plain(prompt, interrupted);
  sh_at_prompt(false);
  return line;
}
