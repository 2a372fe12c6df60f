/* op.c - the one function through which every operation goes: check, promote, infer, allocate, run, tell tape and recorder. */
#include "diff/op.h"
#include <assert.h>
#include <string.h>
#include "base/error.h"
#include "base/fpmode.h"
#include "base/mem.h"
#include "diff/map.h"
#include "diff/ops.h"
#include "diff/tape.h"

#define OP(name) &sno_op_##name,
const sno_op *const sno_ops[] = {
#include "diff/ops.def"
#include "diff/map_list.def" /* &sno_op_NAME, for every line of calc/map.def */
  NULL};
#undef OP

const sno_op *sno_find(const char *name) {
  for (const sno_op *const *op = sno_ops; *op; op++)
    if (strcmp((*op)->name, name) == 0) return *op;
  return NULL;
}

void sno_want(sno_call *c, int k, sn_dtype t, int ndim, const int64_t *shape) {
  sno_out *o = &c->want[k];
  o->dtype = (uint8_t)t;
  o->ndim = (uint8_t)ndim;
  for (int i = 0; i < ndim; i++) o->shape[i] = shape[i];
}

int sno_cast_input(sno_call *c, int i, sn_dtype t) {
  if (c->in[i] == NULL || c->in[i]->dtype == t) return 0;
  sno_val a = {.kind = SNO_DTYPE, .i = t};
  snt_tensor *y = sno_run(&sno_op_to, 1, &c->in[i], 1, &a);
  if (y == NULL) return -1;
  c->in[i] = y;
  return 0;
}

/* ---- preparation of inputs */

static bool is_half(const snt_tensor *t) { return t && sn_is_half((sn_dtype)t->dtype); }

static int check_inputs(const sno_op *op, int nin, snt_tensor *const *in, int nlist) {
  int n;
  const sno_arg *a = sno_args(op, &n);
  int at = 0;
  for (int i = 0; i < n; i++) {
    if (a[i].kind != SNO_TENSOR && a[i].kind != SNO_TENSORS) continue;
    int len = a[i].kind == SNO_TENSORS ? nlist : 1;
    for (int k = 0; k < len; k++, at++) {
      snt_tensor *t = at < nin ? in[at] : NULL;
      if (t == NULL) {
        if (a[i].optional) continue;
        /* an earlier call failed and its message stands, or the caller forgot an argument */
        return sn_error_code() != SN_OK ? -1 : sn_fail("%s: argument '%s' is missing", op->name, a[i].name);
      }
      if (t->storage == NULL) return sn_fail("%s: argument '%s' is a closed tensor", op->name, a[i].name);
    }
  }
  return 0;
}

static int fill_attrs(const sno_op *op, int nattr, const sno_val *attr, sno_val *to) {
  int n, k = 0;
  const sno_arg *a = sno_args(op, &n);
  for (int i = 0; i < n; i++) {
    if (a[i].kind == SNO_TENSOR || a[i].kind == SNO_TENSORS) continue;
    if (k < nattr && !attr[k].absent) {
      to[k] = attr[k];
    } else {
      if (!a[i].optional) return sn_fail("%s: option '%s' must be given", op->name, a[i].name);
      to[k] = a[i].value;
    }
    k++;
  }
  return 0;
}

static int invoke(const sno_op *op, int nin, snt_tensor **in, int nlist, int nattr, const sno_val *attr, snt_tensor **out, int *nout, sn_rng *rng);

/* The floating type that a half and its partners make: a wider tensor decides, one without dimensions only among its like. */
static sn_dtype half_promoted(int nin, snt_tensor *const *in) {
  bool have[2] = {false, false};
  sn_dtype t[2] = {SN_F32, SN_F32};
  for (int i = 0; i < nin; i++) {
    if (in[i] == NULL || in[i]->weak || !sn_is_float((sn_dtype)in[i]->dtype)) continue;
    const int c = in[i]->ndim == 0;
    t[c] = have[c] ? sn_dtype_promote(t[c], (sn_dtype)in[i]->dtype) : (sn_dtype)in[i]->dtype;
    have[c] = true;
  }
  return have[0] ? t[0] : t[1];
}

/* Halves are storage: compute in float32 and cast back, as operations, so tape and recorder see plain calls. */
static int invoke_half(const sno_op *op, int nin, snt_tensor **in, int nlist, int nattr, const sno_val *attr,
                       snt_tensor **out, int *nout, sn_rng *rng) {
  sno_val f32 = {.kind = SNO_DTYPE, .i = SN_F32};
  const sn_dtype type = half_promoted(nin, in);
  bool narrow = true; /* all of bfloat16 */
  for (int i = 0; i < nin; i++) {
    narrow = narrow && (in[i] == NULL || in[i]->dtype == SN_BF16);
    if (is_half(in[i]) && (in[i] = sno_run(&sno_op_to, 1, &in[i], 1, &f32)) == NULL) return -1;
  }
  sno_mode *mode = sno_mode_now();
  const bool before = mode->half;
  mode->half = narrow && (op->flags & SNO_HALVES);
  const int rc = invoke(op, nin, in, nlist, nattr, attr, out, nout, rng);
  mode->half = before;
  if (rc < 0) return -1;
  sno_val back = {.kind = SNO_DTYPE, .i = type};
  int n = nout ? *nout : op->nout;
  for (int k = 0; k < n; k++)
    if (type != SN_F32 && type != SN_F64 && out[k]->dtype == SN_F32 && (out[k] = sno_run(&sno_op_to, 1, &out[k], 1, &back)) == NULL) return -1;
  return 0;
}

/* A half tensor written in place: compute on a float32 copy, then copy back into it. */
static int invoke_half_write(const sno_op *op, int nin, snt_tensor **in, int nlist, int nattr, const sno_val *attr,
                             snt_tensor **out, int *nout, sn_rng *rng) {
  snt_tensor *target = in[0];
  sno_val f32 = {.kind = SNO_DTYPE, .i = SN_F32};
  for (int i = 0; i < nin; i++)
    if (is_half(in[i]) && (in[i] = sno_run(&sno_op_to, 1, &in[i], 1, &f32)) == NULL) return -1;
  if (invoke(op, nin, in, nlist, nattr, attr, out, nout, rng) < 0) return -1;
  return (out[0] = sno_call2(&sno_op_copy_, target, in[0])) ? 0 : -1;
}

/* Under autocast the operation's flags say what its inputs are cast to; the casts are operations like any other. float64 stays, and with it
 * the whole product. */
static int autocast_inputs(const sno_op *op, int nin, snt_tensor **in) {
  const int narrow = sno_mode_now()->autocast;
  if (narrow < 0 || !(op->flags & (SNO_LOW | SNO_HIGH))) return 0;
  const bool low = op->flags & SNO_LOW;
  for (int i = 0; i < nin; i++)
    if (low && in[i] && in[i]->dtype == SN_F64 && !in[i]->weak) return 0;
  const sno_val to = {.kind = SNO_DTYPE, .i = low ? narrow : SN_F32};
  for (int i = 0; i < nin; i++)
    if (in[i] && !in[i]->weak && in[i]->dtype != to.i && (low ? in[i]->dtype == SN_F32 || is_half(in[i]) : is_half(in[i])) &&
        (in[i] = sno_run(&sno_op_to, 1, &in[i], 1, &to)) == NULL)
      return -1;
  return 0;
}

/* ---- running */

bool sno_call_flushes(const sno_call *c) {
  if (!sno_mode_now()->flush) return false;
  for (int i = 0; i < c->nin; i++)
    if (c->in[i]) {
      if (c->in[i]->dtype == SN_F64) return false;
      break;
    }
  return c->nout == 0 || c->want[0].dtype != SN_F64;
}

static void drop_aliases(sno_call *c) {
  for (int k = 0; k < c->nout; k++) snt_release(c->want[k].alias);
}

static int allocate_outputs(sno_call *c) {
  for (int k = 0; k < c->nout; k++) {
    sno_out *w = &c->want[k];
    if (w->alias) {
      c->out[k] = w->alias;
      w->dtype = w->alias->dtype;
      w->ndim = w->alias->ndim;
      memcpy(w->shape, w->alias->shape, sizeof w->shape);
      w->alias = NULL;
    } else {
      c->out[k] = snt_new((sn_dtype)w->dtype, w->ndim, w->shape);
      if (c->out[k] == NULL) goto fail;
    }
  }
  if (c->scratch_bytes && (c->scratch = sn_alloc(c->scratch_bytes)) == NULL) goto fail;
  return 0;
fail:
  for (int k = 0; k < c->nout; k++) {
    snt_release(c->out[k]);
    snt_release(c->want[k].alias);
    c->want[k].alias = NULL;
  }
  return -1;
}

bool sno_writes_input(const sno_call *c, int i) {
  const uint32_t mask = c->op->writes ? c->op->writes : 1;
  int n, at = 0, arg = 0;
  const sno_arg *a = sno_args(c->op, &n);
  for (int k = 0; k < n; k++) {
    if (a[k].kind != SNO_TENSOR && a[k].kind != SNO_TENSORS) continue;
    at += a[k].kind == SNO_TENSORS ? c->nlist : 1;
    if (i < at) return mask >> arg & 1;
    arg++;
  }
  return false;
}

/* An element that a stride of 0 repeats is one. */
static double distinct_bytes(const snt_tensor *x) {
  double n = (double)sn_size_of((sn_dtype)x->dtype);
  for (int d = 0; d < x->ndim; d++) n *= x->stride[d] == 0 && x->shape[d] > 0 ? 1 : (double)x->shape[d];
  return n;
}

sno_work sno_work_of(const sno_call *c) {
  sno_work w = {.flops = c->op->flops ? c->op->flops(c) : 0};
  for (int k = 0; k < c->nout; k++) w.written += distinct_bytes(c->out[k]);
  for (int i = 0; i < c->nin; i++) {
    if (c->in[i] == NULL) continue;
    const bool rows = c->op == &sno_op_embedding ? i == 1 : c->op == &sno_op_index_select && i == 0; /* only those that are asked for are read */
    w.read += rows ? w.written : distinct_bytes(c->in[i]);
    if ((c->op->flags & SNO_WRITES) && c->nout == 0 && sno_writes_input(c, i)) w.written += distinct_bytes(c->in[i]);
  }
  return w;
}

static void mark_writing(sno_call *c) {
  for (int i = 0; i < c->nin; i++)
    if (c->in[i] && sno_writes_input(c, i)) snt_storage_writing(c->in[i]->storage, c->op->name);
}

static int check_writable(const sno_call *c) {
  if (c->nin > 0 && c->in[0] && snt_has_internal_overlap(c->in[0]))
    return sn_fail("%s: cannot write into an expanded tensor (%s); clone() it first", c->op->name, SNT_SHAPE(c->in[0]));
  return 0;
}

/* What forward computes, in the mode for its numbers; the scratch is given back. */
static void compute(sno_call *c) {
  if (c->op->forward && !(c->op->flags & SNO_VIEW)) {
    const sn_fpmode saved = sn_fp_enter(sno_call_flushes(c) ? SN_FP_FLUSH : SN_FP_EXACT);
    c->op->forward(c);
    sn_fp_leave(saved);
  }
  if (c->scratch) sn_release(c->scratch, c->scratch_bytes);
  c->scratch = NULL;
}

static int run_call(sno_call *c, sn_rng *rng) {
  const sno_op *op = c->op;
  if ((op->flags & SNO_CONTIG) && !(op->flags & SNO_WRITES)) /* what is written must stay itself */
    for (int i = 0; i < c->nin; i++)
      if (c->in[i] && !snt_is_contiguous(c->in[i]) && (c->in[i] = sno_call1(&sno_op_contiguous, c->in[i])) == NULL)
        return -1;
  if ((op->flags & SNO_WRITES) && check_writable(c) < 0) return -1;
  if (op->infer(c) < 0) {
    drop_aliases(c);
    return -1;
  }
  const bool taped = sno_tape_wants(c);
  if (sno_tape_check(c, taped) < 0) {
    drop_aliases(c);
    return -1;
  }
  if ((op->flags & SNO_WRITES) && c->nout == 1 && c->want[0].alias == NULL && c->nlist < 0) c->want[0].alias = snt_retain(c->in[0]);
  if (taped && sno_tape_reads_written(c)) { /* its backward reads what is about to be overwritten: a copy of it is kept */
    sno_mode *mode = sno_mode_now();
    const bool grad = mode->grad;
    mode->grad = false;
    c->before = sno_call1(&sno_op_clone, c->in[0]);
    mode->grad = grad;
    if (c->before == NULL) {
      drop_aliases(c);
      return -1;
    }
  }
  if (allocate_outputs(c) < 0) return -1;
  if (op->flags & SNO_RANDOM) {
    if (rng != &sno_mode_now()->rng) sno_stop_recording("a generator of its own was given to a random operation");
    c->rng = *rng;
    rng->position += c->rng_blocks;
    sno_effect();
  }
  if (op->flags & SNO_WRITES) mark_writing(c);
  compute(c);
  if (op->flags & SNO_WRITES) sno_effect();
  if (taped && sno_tape_called(c) < 0) goto fail;
  sno_recorder *r = sno_mode_now()->recorder;
  if (r) r->called(r, c);
  return 0;
fail:
  for (int k = 0; k < c->nout; k++) snt_release(c->out[k]);
  return -1;
}

/* What reads and gives bfloat16 numbers as they lie (sno_op.halved), elementwise functions of two-byte floats, and sums of them need no casts where neither tape nor
 * recorder would see them: the same bits. 1: done; 0: not this one; -1: failed. */
static bool takes_narrow(const sno_op *op, int nin, snt_tensor **in) {
  if (sno_map_halves(op, nin, in)) return true;
  if (op->halved == NULL || !(op->flags & SNO_HALVES) || (op->flags & SNO_CONTIG) || op->nout != 1) return false;
  for (int i = 0; i < nin; i++)
    if (in[i] == NULL || in[i]->dtype != SN_BF16) return false;
  return true;
}
static int invoke_narrow(const sno_op *op, int nin, snt_tensor **in, int nlist, int nattr, const sno_val *attr, snt_tensor **out) {
  const bool reads = nin == 1 && op->halved && op->nout == 1 && !(op->flags & (SNO_HALVES | SNO_CONTIG)); /* gives floats, which are rounded */
  if (sno_mode_now()->recorder || !(reads || takes_narrow(op, nin, in))) return 0;
  sno_val full[SNO_MAXATTR];
  sno_call c = {.op = op, .nin = nin, .nout = 1, .in = in, .nlist = nlist, .attr = full, .half = true};
  if (sno_tape_wants(&c)) return 0;
  if (fill_attrs(op, nattr, attr, full) < 0 || op->infer(&c) < 0) return -1;
  if (reads) c.want[0].dtype = SN_F32;
  if (allocate_outputs(&c) < 0) return -1;
  bool can = true;
  for (int k = 0; op->halved && k <= nin && can; k++) can = op->halved(&c, k) != (reads && k == nin);
  if (!can) {
    snt_release(c.out[0]);
    if (c.scratch) sn_release(c.scratch, c.scratch_bytes);
    return 0;
  }
  compute(&c);
  out[0] = sno_own(c.out[0]);
  const sno_val back = {.kind = SNO_DTYPE, .i = in[0]->dtype};
  if (reads && out[0]) out[0] = sno_run(&sno_op_to, 1, &out[0], 1, &back);
  return out[0] ? 1 : -1;
}

static int invoke(const sno_op *op, int nin, snt_tensor **in, int nlist, int nattr, const sno_val *attr, snt_tensor **out, int *nout, sn_rng *rng) {
  bool half = false;
  for (int i = 0; i < nin; i++) half |= is_half(in[i]);
  if (half) {
    const int narrow = invoke_narrow(op, nin, in, nlist, nattr, attr, out);
    if (narrow > 0 && nout) *nout = 1;
    if (narrow != 0) return narrow < 0 ? -1 : 0;
  }
  if (half && !(op->flags & SNO_HALF) && (op->flags & (SNO_VIEW | SNO_HIGH)) != SNO_VIEW) /* what is made of operations would round after each */
    return (op->flags & SNO_WRITES) && is_half(in[0]) ? invoke_half_write(op, nin, in, nlist, nattr, attr, out, nout, rng)
                                                      : invoke_half(op, nin, in, nlist, nattr, attr, out, nout, rng);
  sno_val full[SNO_MAXATTR];
  sno_call c = {.op = op, .nin = nin, .nout = op->nout, .in = in, .nlist = nlist, .attr = full, .half = (op->flags & SNO_HALVES) && sno_mode_now()->half};
  if (fill_attrs(op, nattr, attr, full) < 0 || run_call(&c, rng ? rng : &sno_mode_now()->rng) < 0) return -1;
  int rc = 0;
  for (int k = 0; k < c.nout; k++) {
    out[k] = sno_own(c.out[k]);
    if (out[k] == NULL) rc = -1; /* the others are owned already or freed below */
  }
  if (nout) *nout = c.nout;
  return rc;
}

int sno_invoke(const sno_op *op, int nin, snt_tensor *const *in, int nlist, int nattr, const sno_val *attr,
               snt_tensor **out, int *nout, sn_rng *rng) {
  if (check_inputs(op, nin, in, nlist) < 0) return -1;
  snt_tensor *few[16], **local = few;
  if (nin > 16 && (local = sn_malloc((size_t)nin * sizeof *local)) == NULL) return -1;
  for (int i = 0; i < nin; i++) local[i] = in[i];
  int rc = autocast_inputs(op, nin, local);
  if (rc == 0) rc = invoke(op, nin, local, nlist, nattr, attr, out, nout, rng);
  if (local != few) sn_free(local);
  return rc;
}

snt_tensor *sno_run(const sno_op *op, int nin, snt_tensor *const *in, int nattr, const sno_val *attr) {
  snt_tensor *out[SNO_MAXOUT] = {NULL};
  return sno_invoke(op, nin, in, -1, nattr, attr, out, NULL, NULL) < 0 ? NULL : out[0];
}

snt_tensor *sno_call1(const sno_op *op, snt_tensor *a) { return sno_run(op, 1, &a, 0, NULL); }
snt_tensor *sno_call2(const sno_op *op, snt_tensor *a, snt_tensor *b) { return sno_run(op, SNO_IN(a, b), 0, NULL); }
snt_tensor *sno_call3(const sno_op *op, snt_tensor *a, snt_tensor *b, snt_tensor *c) { return sno_run(op, SNO_IN(a, b, c), 0, NULL); }
