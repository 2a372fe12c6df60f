/* file.h - what file.c, csv.c and json.c share: something of C held by a userdata, so that a Lua error on the way leaks nothing. */
#ifndef SNL_FILE_H
#define SNL_FILE_H
#include "script/script.h"

/* Pushes a userdata that owns `bytes` zeroed bytes (sn_calloc), which `release` frees with what they hold; the bytes. Raises. */
void *snl_hold(lua_State *L, size_t bytes, void (*release)(void *));
void snl_let_go(lua_State *L, int i);         /* frees it now */
const char *snl_check_path(lua_State *L, int i);
int snl_json_encode(lua_State *L);
int snl_json_decode(lua_State *L);
int snl_read_csv(lua_State *L);

#endif
