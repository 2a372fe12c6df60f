/* scope.c - modes and scopes of a thread: who owns the results of operations. */
#include "base/error.h"
#include "base/mem.h"
#include "diff/op.h"

sno_mode sno_mode_default = {.grad = true, .flush = true, .autocast = -1};
static _Thread_local sno_mode *mode_now;

sno_mode *sno_mode_now(void) { return mode_now ? mode_now : &sno_mode_default; }

sno_mode *sno_mode_enter(sno_mode *m) {
  sno_mode *before = mode_now;
  mode_now = m;
  return before;
}

void sno_stop_recording(const char *why) {
  sno_recorder *r = sno_mode_now()->recorder;
  if (r) r->stop(r, why);
}

static _Thread_local uint64_t effects;
void sno_effect(void) { effects++; }
uint64_t sno_effects(void) { return effects; }

void sno_host(sno_foreign *f, void (*run)(sno_foreign *)) {
  run(f);
  sno_effect();
  sno_recorder *r = sno_mode_now()->recorder;
  if (r) r->host(r, f, run);
}

void sno_depends(sno_foreign *owner, const uint32_t *at) {
  sno_recorder *r = sno_mode_now()->recorder;
  if (r) r->depends(r, owner, at);
}

/* The owned tensors of a thread, innermost scope last. The array is given back when the outermost scope closes over
 * an oversized one, so that a thread that ends has at most a small one to leave behind (freed by its last close). */
static _Thread_local struct { snt_tensor **t; size_t n, room, depth; } owned;

size_t sno_scope_open(void) {
  owned.depth++;
  return owned.n;
}

void sno_scope_close(size_t mark) {
  while (owned.n > mark) snt_release(owned.t[--owned.n]);
  owned.depth--;
  if (owned.depth == 0 && owned.n == 0 && owned.room > 4096) {
    sn_free(owned.t);
    owned.t = NULL;
    owned.room = 0;
  }
}

snt_tensor *sno_own(snt_tensor *t) {
  if (t == NULL) return NULL;
  if (owned.n == owned.room) {
    size_t room = owned.room ? owned.room * 2 : 64;
    snt_tensor **p = sn_realloc(owned.t, room * sizeof *p);
    if (p == NULL) {
      snt_release(t);
      return NULL;
    }
    owned.t = p;
    owned.room = room;
  }
  return owned.t[owned.n++] = t;
}
