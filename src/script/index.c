/* index.c - x[i], x[{...}], x[mask] and assignment to them. */
#include "base/error.h"
#include "script/tensor.h"
int snl_index(lua_State *L) { return snl_error(L, "no"); }
int snl_newindex(lua_State *L) { return snl_error(L, "no"); }
