/* shell.h - what the files of the program share. */
#ifndef SH_SHELL_H
#define SH_SHELL_H
#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>

/* Calls the function below its nargs arguments with a traceback for errors and Ctrl-C as an interruption; lua_pcall's status. */
int sh_call(lua_State *L, int nargs, int nresults);
/* Prints the error on top, if status is one, as "program: message" and pops it; status. */
int sh_report(lua_State *L, int status);
extern const char *sh_name;        /* of the program in messages; NULL at the prompt */

/* interrupt.c */
void sh_catch(lua_State *L, bool prompt); /* from here on Ctrl-C interrupts what this Lua runs, ... */
void sh_release(void);                    /* ... and no longer */
void sh_at_prompt(bool on);               /* Ctrl-C and a new size of the window end a read instead */
bool sh_was_interrupted(void);            /* at the prompt, since it was last asked */
bool sh_was_resized(void);

/* line.c: a line without its end (malloc'd), NULL at the end of the input; *interrupted: Ctrl-C, and NULL */
char *sh_read_line(lua_State *L, const char *prompt, bool *interrupted);
void sh_remember(const char *line);       /* in the history */
void sh_forget_terminal(void);            /* leaves the terminal as it was, saves the history */

/* complete.c: what could follow the name that ends at line[at]. Pushes the string that all continue with and a list of them. Raises nothing. */
int sh_complete(lua_State *L, const char *line, size_t at);

void sh_prompt(lua_State *L);             /* repl.c: until the end of the input */

#endif
