/* prepack.c - weights that a program reads and never writes are kept in the layout their kernel wants. Who changed one outside (an optimizer
 * that is not part of the program, load_state) raised its storage's version: it is packed again before the next replay. So is what kept steps
 * (fold.c) make of a weight, such as its rounding under autocast. */
#include "base/cpu.h"
#include "base/mem.h"
#include "exec/prog.h"

enum { OFTEN = 8 }; /* a weight that was new before so many replays in a row is no constant: its copy goes unused */

static const snp_slot *weight_of(const snp_prog *p, const snp_exec *e) {
  const snp_step *s = e->step;
  if (s->op == NULL || s->op->pack == NULL || s->nin < 2) return NULL;
  const int slot = p->tape->ref[s->in + 1].slot;
  if (slot < 0) return NULL;
  const snp_slot *w = &p->tape->slot[slot];
  return (w->kind == SNP_BOUND && !w->written) || (w->kept && !s->kept) ? w : NULL;
}

static const snt_storage *storage_of(const snp_prog *p, const snp_exec *e) {
  const int slot = p->tape->ref[e->step->in + 1].slot;
  return p->tape->slot[slot].kept ? &p->shell[slot] : p->tape->slot[slot].storage;
}

static void pack(snp_exec *e, const snt_storage *from) {
  e->step->op->pack(&e->call, e->packed);
  e->call.packed = e->packed;
  e->packed_from = from->data;
  e->packed_version = from->version;
}

int snp_prepack(snp_prog *p) {
  int n = 0;
  p->packed_isa = sn_isa();
  for (int i = 0; i < p->nexec; i++) n += weight_of(p, &p->exec[i]) != NULL;
  if (n == 0) return 0;
  if ((p->packing = sn_malloc((size_t)n * sizeof *p->packing)) == NULL) return -1;
  size_t total = 0;
  for (int i = 0; i < p->nexec; i++) {
    snp_exec *e = &p->exec[i];
    const size_t bytes = weight_of(p, e) ? e->step->op->pack_bytes(&e->call) : 0;
    if (bytes == 0) continue;
    p->packing[p->npacked++] = i;
    e->packed_bytes = (bytes + 4095) / 4096 * 4096;
    total += e->packed_bytes;
  }
  if ((p->packs = sn_alloc(total)) == NULL) return -1; /* one block: a large net's is made of large pages */
  p->packs_bytes = total;
  char *at = p->packs;
  for (int k = 0; k < p->npacked; k++) {
    snp_exec *e = &p->exec[p->packing[k]];
    const snp_slot *w = weight_of(p, e);
    e->packed = at, at += e->packed_bytes;
    if (!w->kept) pack(e, w->storage); /* else there is nothing yet */
  }
  return 0;
}

void snp_prepack_renew(snp_prog *p, bool kept) {
  const bool usable = sn_isa() == p->packed_isa; /* tests change the instruction set */
  for (int i = 0; i < p->npacked; i++) {
    snp_exec *e = &p->exec[p->packing[i]];
    const snt_storage *from = storage_of(p, e);
    if (p->tape->slot[p->tape->ref[e->step->in + 1].slot].kept != kept) continue;
    if (!usable || e->repacked >= OFTEN) { e->call.packed = NULL; continue; }
    if (from->version == e->packed_version && from->data == e->packed_from) { e->repacked = 0; e->call.packed = e->packed; continue; }
    if (++e->repacked >= OFTEN) e->call.packed = NULL;
    else pack(e, from);
  }
}

void snp_prepack_free(snp_prog *p) {
  sn_release(p->packs, p->packs_bytes);
  sn_free(p->packing);
}
