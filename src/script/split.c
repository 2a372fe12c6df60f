/* split.c - one tensor as several views: split, chunk, unbind. How many there are depends on the arguments, so each piece is one narrow or select. */
#include "base/error.h"
#include "diff/ops.h"
#include "script/script.h"

typedef enum { SPLIT, CHUNK, UNBIND } way;

typedef struct plan {
  way how;
  const char *name, *args;
  int last;
  snt_tensor *x;
  int dim, n;
  int64_t each;            /* size of all pieces but the last; 0: sizes */
  sno_val sizes;
} plan;

#define MOST 100000 /* results of one call */

static int plan_sizes(plan *p, const sno_val *v, int64_t size) {
  int64_t sum = 0;
  for (int k = 0; k < v->n; k++) {
    if (v->v[k] < 0) return sn_fail("split: size %lld is negative", (long long)v->v[k]);
    sum += v->v[k] <= size ? v->v[k] : size + 1;
  }
  if (v->n == 1 && v->v[0] != size) {
    if (v->v[0] < 1) return sn_fail("split: pieces of 0 would never end; 1 or more make sense");
    p->each = v->v[0];
    p->n = (int)(size == 0 ? 1 : (size - 1) / p->each + 1 <= MOST ? (size - 1) / p->each + 1 : MOST + 1);
    return 0;
  }
  if (sum != size) return sn_fail("split: the sizes are not the %lld of dimension %d (shape %s)", (long long)size, p->dim + 1, SNT_SHAPE(p->x));
  p->sizes = *v;
  p->n = v->n;
  return 0;
}

static int body_plan(lua_State *L, void *ctx, snt_tensor **out) {
  (void)out;
  plan *p = ctx;
  snl_args a;
  int narg;
  const sno_arg *arg = sno_parse_args(p->args, &narg);
  snl_args_init(&a, p->name);
  int rc = snl_args_read(L, &a, arg, narg, 1, p->last);
  if (rc == 0) {
    const sno_val *dim = &a.val[p->how == UNBIND ? 0 : 1];
    int64_t d = dim->absent ? 0 : dim->i;
    if (d < 0) d += p->x->ndim;
    if (d < 0 || d >= p->x->ndim) rc = sn_fail("%s: dimension %lld does not exist (shape %s)", p->name, (long long)(dim->absent || dim->i >= 0
        ? d + 1 : dim->i), SNT_SHAPE(p->x));
    p->dim = (int)d;
  }
  const int64_t size = rc == 0 ? p->x->shape[p->dim] : 0;
  if (rc == 0 && p->how == SPLIT) rc = plan_sizes(p, &a.val[0], size);
  if (rc == 0 && p->how == UNBIND) p->n = (int)(size <= MOST ? size : MOST + 1);
  if (rc == 0 && p->how == CHUNK) {
    const int64_t n = a.val[0].i;
    if (n < 1) rc = sn_fail("chunk: %lld pieces; 1 or more make sense", (long long)n);
    else {
      p->each = size == 0 ? 1 : (size - 1) / n + 1;
      p->n = (int)(size == 0 ? 1 : (size - 1) / p->each + 1 <= MOST ? (size - 1) / p->each + 1 : MOST + 1);
    }
  }
  if (rc == 0 && p->n > MOST) rc = sn_fail("%s: more than %d results; a loop over narrow() takes one after the other", p->name, MOST);
  snl_args_done(&a);
  return rc;
}

static int body_cut(lua_State *L, void *ctx, snt_tensor **out) {
  (void)L;
  const plan *p = ctx;
  const int64_t size = p->x->shape[p->dim];
  const sno_val dim = {.kind = SNO_DIM, .i = p->dim};
  int64_t at = 0;
  for (int k = 0; k < p->n; k++) {
    const sno_val pos = {.kind = SNO_POS, .i = p->how == UNBIND ? k : at};
    if (p->how == UNBIND) {
      out[k] = sno_run(&sno_op_select, SNO_IN(p->x), SNO_ATTRS(dim, pos));
    } else {
      const int64_t n = p->each ? (size - at < p->each ? size - at : p->each) : p->sizes.v[k];
      out[k] = sno_run(&sno_op_narrow, SNO_IN(p->x), SNO_ATTRS(dim, pos, sno_int(n)));
      at += n;
    }
    if (out[k] == NULL) return -1;
  }
  return p->n;
}

static int run(lua_State *L, way how, const char *name, const char *args) {
  plan p = {.how = how, .name = name, .args = args, .last = lua_gettop(L), .x = snl_check_tensor(L, 1)};
  snl_run(L, 0, body_plan, &p);
  return snl_run(L, p.n, body_cut, &p);
}

/*** split(x, size, dim=1)
 * x in pieces of `size` positions along `dim` (the last may be smaller), or of the sizes of a list that sum to all of it: as many results as there
 * are pieces, all of them views. {x:split(2)} collects them in a list.
 * @see chunk, unbind, cat, narrow
 */
static int split(lua_State *L) { return run(L, SPLIT, "split", "x size:ints dim:dim=0"); }

/*** chunk(x, n, dim=1)
 * x in n pieces of equal size along `dim` (the last may be smaller, and there may be fewer): as many results as there are pieces, all of them views.
 * @see split
 */
static int chunk(lua_State *L) { return run(L, CHUNK, "chunk", "x n:int dim:dim=0"); }

/*** unbind(x, dim=1)
 * The positions of dimension `dim`, which goes, one after the other: as many results as there are positions, all of them views.
 * @see stack, select
 */
static int unbind(lua_State *L) { return run(L, UNBIND, "unbind", "x dim:dim=0"); }

void snl_open_split(lua_State *L) {
  static const luaL_Reg functions[] = {{"split", split}, {"chunk", chunk}, {"unbind", unbind}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  luaL_getmetatable(L, "slugnet.Tensor");
  lua_getfield(L, -1, "methods");
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 2);
}
