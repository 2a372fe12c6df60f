/* tensor.h - what tensor.c, index.c and convert.c share. */
#ifndef SNL_TENSOR_H
#define SNL_TENSOR_H
#include "script/script.h"

int snl_index(lua_State *L);      /* x[key] where key is no string */
int snl_newindex(lua_State *L);   /* x[key] = v */
int snl_totable(lua_State *L);
int snl_tensor(lua_State *L);     /* sn.tensor */
void snl_push_element(lua_State *L, const void *p, sn_dtype t);
void snl_share(lua_State *L, int i);
char **snl_push_guard(lua_State *L); /* a userdata that frees (sn_free) what its pointer holds when it dies */
void snl_check_options(lua_State *L, int i, const char *who, const char *const *names); /* raises on unknown ones */

#endif
