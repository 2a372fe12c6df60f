/* method.c - the methods of layers, losses and initialisers: calling, shapes, structure. Those on tensors are in weights.c, of optimizers in
 * optim.c. */
#include "script/object.h"



snn_obj *snl_check_family(lua_State *L, snn_family f, const char *method) {
  snn_obj *o = snl_check_object(L, 1);
  if (o->cls->family != f) snl_error(L, "%s: %s is a %s", method, snn_name(o), snl_family(o));
  return o;
}

/* ---- calling */

static int body_layer(lua_State *L, void *ctx, snt_tensor **out) {
  snn_obj *o = ctx;
  snt_tensor *x = snl_get_tensor(L, 2, snn_name(o), "x");
  return x && (out[0] = snn_forward(o, x)) ? 1 : -1;
}

/* layer:step(x, h, c), or a layer with states called with more than its input: states that are nil are zeros */
typedef struct carrying { snn_obj *o; int n; } carrying;

static int body_carry(lua_State *L, void *ctx, snt_tensor **out) {
  static const char *const names[] = {"x", "h", "c"};
  const carrying *c = ctx;
  snt_tensor *in[3] = {NULL};
  for (int i = 0; i < c->n || i == 0; i++)
    if ((i == 0 || !lua_isnil(L, i + 2)) && (in[i] = snl_get_tensor(L, i + 2, snn_name(c->o), names[i])) == NULL) return -1;
  return snn_step(c->o, 3, in, out);
}

int snl_step(lua_State *L) {
  carrying c = {snl_check_family(L, SNN_LAYER, "step"), lua_gettop(L) - 1};
  if (c.n > 3) return snl_error(L, "%s: step wants an input and its states, got %d arguments", snn_name(c.o), c.n);
  return snl_run(L, 3, body_carry, &c);
}

static int body_loss(lua_State *L, void *ctx, snt_tensor **out) {
  snn_obj *o = ctx;
  snt_tensor *x = snl_get_tensor(L, 2, snn_name(o), "prediction"), *t = x ? snl_get_tensor(L, 3, snn_name(o), "target") : NULL;
  return t && (out[0] = snn_loss(o, x, t)) ? 1 : -1;
}

int snl_call_object(lua_State *L) {
  snn_obj *o = snl_check_object(L, 1);
  const int n = lua_gettop(L) - 1;
  if (o->cls->family == SNN_LAYER) {
    if (n > 1 && o->cls->carry) return snl_step(L);
    if (n > 1) return snl_error(L, "%s: a layer is called with one tensor, got %d arguments", snn_name(o), n);
    return snl_run(L, 1, body_layer, o);
  }
  if (o->cls->family == SNN_LOSS) {
    if (n != 2) return snl_error(L, "%s: a loss is called with prediction and target, got %d argument%s", snn_name(o), n, n == 1 ? "" : "s");
    return snl_run(L, 1, body_loss, o);
  }
  if (o->cls->family == SNN_OPTIM) return snl_error(L, "%s: an optimizer is not called; step() updates", snn_name(o));
  return snl_error(L, "%s: an initialiser is not called; fill(tensor) fills", snn_name(o));
}

static int body_logits(lua_State *L, void *ctx, snt_tensor **out) {
  snn_obj *o = ctx;
  snt_tensor *x = snl_get_tensor(L, 2, snn_name(o), "logits"), *t = x ? snl_get_tensor(L, 3, snn_name(o), "target") : NULL;
  return t && (out[0] = snn_loss_logits(o, x, t)) ? 1 : -1;
}

/* loss:from_logits(logits, target) */
static int from_logits(lua_State *L) { return snl_run(L, 1, body_logits, snl_check_family(L, SNN_LOSS, "from_logits")); }

/* loss:head(): the activation before which it can be computed, or nil */
static int head(lua_State *L) {
  lua_pushstring(L, snn_loss_head(snl_check_family(L, SNN_LOSS, "head")));
  return 1;
}

typedef struct ahead { snn_obj *o; const char *head; bool hit; } ahead;

static int body_ahead(lua_State *L, void *ctx, snt_tensor **out) {
  ahead *a = ctx;
  snt_tensor *x = snl_get_tensor(L, 2, snn_name(a->o), "x");
  return x && (out[0] = snn_forward_logits(a->o, x, a->head, &a->hit)) ? 1 : -1;
}

/* layer:forward_logits(x, head): the output before the last activation of that class, and whether there was one */
static int forward_logits(lua_State *L) {
  ahead a = {snl_check_family(L, SNN_LAYER, "forward_logits"), luaL_checkstring(L, 3), false};
  snl_run(L, 1, body_ahead, &a);
  lua_pushboolean(L, a.hit);
  return 2;
}

static int has_head(lua_State *L) {
  lua_pushboolean(L, snn_has_head(snl_check_family(L, SNN_LAYER, "has_head"), luaL_checkstring(L, 2)));
  return 1;
}

/* ---- shapes */

typedef struct building { snn_obj *o; snn_shape in, out; } building;

static int body_build(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  building *b = ctx;
  return snn_build(b->o, &b->in, &b->out);
}

/* layer:build(inshape): the shape of one sample's output; the weights are made */
static int build(lua_State *L) {
  building b = {.o = snl_check_family(L, SNN_LAYER, "build")};
  const bool table = lua_istable(L, 2);
  const int n = table ? (int)lua_rawlen(L, 2) : lua_gettop(L) - 1;
  if (!table && n == 0 && !snn_declared(b.o, &b.in)) return snl_error(L, "%s: build wants the shape of one sample, such as build{1, 28, 28}",
      snn_name(b.o));
  if (n >= SNT_MAXDIM) return snl_error(L, "%s: a sample has at most %d dimensions, got %d", snn_name(b.o), SNT_MAXDIM - 1, n);
  if (table || n > 0) b.in.ndim = n;
  for (int i = 0; i < n; i++) {
    if (table) lua_rawgeti(L, 2, i + 1);
    else lua_pushvalue(L, i + 2);
    if (!lua_isinteger(L, -1) && (lua_type(L, -1) != LUA_TNUMBER || lua_tonumber(L, -1) != (lua_Number)lua_tointeger(L, -1)))
      return snl_error(L, "%s: a shape is a list of whole numbers, got a %s", snn_name(b.o), luaL_typename(L, -1));
    b.in.d[i] = lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
  snl_run(L, 0, body_build, &b);
  lua_createtable(L, b.out.ndim, 0);
  for (int i = 0; i < b.out.ndim; i++) {
    lua_pushinteger(L, b.out.d[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* ---- structure */

static int config(lua_State *L) {
  snl_push_config(L, snl_check_object(L, 1));
  return 1;
}

static int describe(lua_State *L) {
  lua_pushstring(L, SNN_DESCRIBE(snl_check_object(L, 1)));
  return 1;
}

typedef struct switching { snn_obj *o; bool on; } switching;
static int body_train(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  const switching *s = ctx;
  snn_train(s->o, s->on);
  return 0;
}

static int train(lua_State *L) {
  switching s = {snl_check_family(L, SNN_LAYER, "train"), lua_isnoneornil(L, 2) || lua_toboolean(L, 2)};
  snl_run(L, 0, body_train, &s);
  lua_settop(L, 1);
  return 1;
}

static int eval(lua_State *L) {
  switching s = {snl_check_family(L, SNN_LAYER, "eval"), false};
  snl_run(L, 0, body_train, &s);
  lua_settop(L, 1);
  return 1;
}

static int body_add(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L, (void)out;
  snn_obj **p = ctx;
  return snn_add_child(p[0], p[1]);
}

/* net:add(layer) */
static int add(lua_State *L) {
  snn_obj *p[2] = {snl_check_family(L, SNN_LAYER, "add"), snl_test_object(L, 2)};
  if (p[1] == NULL) return snl_error(L, "%s: add wants a layer, got a %s%s", snn_name(p[0]), luaL_typename(L, 2),
      lua_isfunction(L, 2) ? "; a class is called to make one" : "");
  snl_run(L, 0, body_add, p);
  snl_keep(L, 1, 2);
  lua_settop(L, 1);
  return 1;
}

typedef struct family { snn_obj *o; snn_obj *child[256]; int n; } family;
static int body_children(lua_State *L, void *ctx, snt_tensor **out) {
  (void)out;
  family *f = ctx;
  f->n = snl_layer_children(L, f->o, 256, f->child);
  return f->n < 0 ? -1 : 0;
}

/* layer:children(): the layers directly inside */
static int children(lua_State *L) {
  snn_obj *o = snl_check_family(L, SNN_LAYER, "children");
  if (snl_is_lua_layer(o)) {
    family f = {.o = o};
    snl_run(L, 0, body_children, &f);
    lua_createtable(L, f.n, 0);
    for (int i = 0; i < f.n; i++) {
      snl_push_object(L, f.child[i]);
      lua_rawseti(L, -2, i + 1);
    }
    return 1;
  }
  lua_createtable(L, o->nchild, 0);
  for (int i = 0; i < o->nchild; i++) {
    snl_push_object(L, o->child[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* ---- initialisers */

static int body_fill(lua_State *L, void *ctx, snt_tensor **out) {
  snn_obj *o = ctx;
  double in, fan_out;
  (void)out;
  snt_tensor *t = snl_get_tensor(L, 2, snn_name(o), "tensor");
  if (t == NULL) return -1;
  snn_fans(t, &in, &fan_out);
  return snn_fill(o, t, in, fan_out);
}

static int fill(lua_State *L) {
  snn_obj *o = snl_check_family(L, SNN_INIT, "fill");
  snl_check_tensor(L, 2);
  snl_run(L, 0, body_fill, o);
  lua_settop(L, 2);
  return 1;
}

void snl_push_methods(lua_State *L, snn_family f) {
  static const luaL_Reg common[] = {{"config", config}, {"describe", describe}, {NULL, NULL}};
  static const luaL_Reg layer[] = {{"build", build}, {"train", train}, {"eval", eval}, {"children", children}, {"add", add},
                                   {"forward_logits", forward_logits}, {"has_head", has_head}, {"forward", snl_call_object}, {NULL, NULL}};
  static const luaL_Reg loss[] = {{"head", head}, {"from_logits", from_logits}, {NULL, NULL}};
  static const luaL_Reg init[] = {{"fill", fill}, {NULL, NULL}};
  const luaL_Reg *const own[] = {layer, loss, snl_optim_methods, init};
  lua_newtable(L);
  luaL_setfuncs(L, common, 0);
  luaL_setfuncs(L, own[f], 0);
  if (f == SNN_LAYER) luaL_setfuncs(L, snl_weight_methods, 0);
}
