/* object.h - what object.c, method.c and layer.c share: layers, losses, optimizers and initialisers in userdata.
 *
 * A box has three user values: 1 the objects it holds (a layer's layers: their Lua part lives as long as the box), and for layers written
 * in Lua 2 their fields and 3 their class. A weak table in the registry leads from an object to its box; nothing of ours is kept there.
 */
#ifndef SNL_OBJECT_H
#define SNL_OBJECT_H
#include "nn/nn.h"
#include "script/script.h"

enum { SNL_HELD = 1, SNL_FIELDS = 2, SNL_CLASS = 3, SNL_USERVALUES = 3 };
typedef struct snl_object { snn_obj *o; } snl_object;

snl_object *snl_push_object_box(lua_State *L);          /* empty; may raise */
snl_object *snl_test_object_box(lua_State *L, int i);   /* NULL if it is none; never raises */
snn_obj *snl_test_object(lua_State *L, int i);          /* NULL if it is none or empty; never raises */
snn_obj *snl_check_object(lua_State *L, int i);         /* raises */
void snl_enter_object(lua_State *L, int i);             /* the full box at i is the one of its object from now on; may raise */
bool snl_push_known(lua_State *L, const snn_obj *o);    /* its box, if it has one: else pushes nothing; never raises (two slots of stack) */
void snl_push_object(lua_State *L, snn_obj *o);         /* its box, made if it has none; may raise */
void snl_keep(lua_State *L, int box, int i);            /* the box at `box` holds the value at i; may raise */
void snl_keep_inner(lua_State *L, int box, const snn_obj *o); /* the box at `box` holds those of its children and arguments; may raise */
const char *snl_family(const snn_obj *o);

/* make.c and config.c */
void snl_push_constructor(lua_State *L, const snn_class *c);
void snl_push_config(lua_State *L, snn_obj *o);         /* {class=, name=, args=, children=}; may raise */
int snl_from_config(lua_State *L);                      /* a lua_CFunction: config table to object */

int snl_add_params(lua_State *L, snn_obj *o);            /* opt:add(params, options) */

/* weights.c: tensors by name */
typedef struct snl_entry { snt_tensor *t; bool param; char name[120]; } snl_entry;
typedef struct snl_listing { int n, room; snl_entry e[]; } snl_listing;
const snl_listing *snl_list_tensors(lua_State *L, snn_obj *o);      /* of a layer or an optimizer; pushes what keeps the list; raises */
void snl_push_state(lua_State *L, const snl_listing *l);            /* a table by name */
void snl_load_tensors(lua_State *L, const char *who, const snl_listing *l, int table); /* copies in place after all checks; raises */
extern const luaL_Reg snl_weight_methods[], snl_optim_methods[];

/* method.c */
snn_obj *snl_check_family(lua_State *L, snn_family f, const char *method); /* argument 1; raises */
void snl_push_methods(lua_State *L, snn_family f);      /* a table */
int snl_call_object(lua_State *L);
int snl_step(lua_State *L);                             /* of layers with states */

/* layer.c: layers written in Lua */
int snl_layer(lua_State *L);                            /* sn.layer(name, {...}) */
bool snl_is_lua_layer(const snn_obj *o);
int snl_layer_field(lua_State *L);                      /* self.key: from fields, then from the class; pushes one value */
int snl_layer_set(lua_State *L);                        /* self.key = value */
void snl_layer_args(lua_State *L, snn_obj *o);          /* constructor arguments as a list fit for saving; may raise */
bool snl_push_lua_class(lua_State *L, const char *name);/* the class of that name: else pushes nothing; may raise */
int snl_layer_children(lua_State *L, snn_obj *o, int max, snn_obj **to); /* for bodies: how many, or -1 after sn_fail */

#endif
