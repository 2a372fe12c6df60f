/* grad.h - what grad.c, func.c and gradcheck.c share. */
#ifndef SNL_GRAD_H
#define SNL_GRAD_H
#include "script/script.h"

void snl_push_grad_mode(lua_State *L, bool on); /* switches now; the value on top puts it back when closed */
int snl_gradcheck(lua_State *L);
int snl_func(lua_State *L);

#endif
