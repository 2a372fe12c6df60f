/* reduce_run.c - how a reduction is carried out: rows or columns, cut into blocks, shared out over threads. */
#include <string.h>
#include "base/thread.h"
#include "calc/cast.h"
#include "diff/reduce.h"

#define GRAIN 32768

void sno_axes_take(sno_axes *a, const snt_tensor *x, unsigned mask) {
  a->n = 0;
  a->count = 1;
  for (int i = 0; i < x->ndim; i++) {
    if (!(mask >> i & 1)) continue;
    a->count *= x->shape[i];
    if (x->shape[i] == 1) continue;
    if (a->n && a->stride[a->n - 1] == x->stride[i] * x->shape[i]) {
      a->shape[a->n - 1] *= x->shape[i];
      a->stride[a->n - 1] = x->stride[i];
    } else {
      a->shape[a->n] = x->shape[i];
      a->stride[a->n++] = x->stride[i];
    }
  }
  if (a->n == 0) {
    a->n = 1;
    a->shape[0] = a->count;
    a->stride[0] = 1;
  }
}

/* Where the i-th element of the first n dimensions lies. */
static int64_t offset_of(const sno_axes *a, int n, int64_t i) {
  int64_t off = 0;
  for (int d = n - 1; d > 0; d--) {
    off += i % a->shape[d] * a->stride[d];
    i /= a->shape[d];
  }
  return n > 0 ? off + i * a->stride[0] : 0;
}

int64_t sno_axes_offset(const sno_axes *a, int64_t i) { return offset_of(a, a->n, i); }

const void *sno_axes_gather(const sno_axes *a, const snt_tensor *x, int64_t base, int64_t from, int64_t n, sn_dtype t, void *buf) {
  if (n <= 0) return buf;
  const sn_dtype have = (sn_dtype)x->dtype;
  const int64_t size = (int64_t)sn_size_of(have), to = (int64_t)sn_size_of(t), step = a->stride[a->n - 1], inner = a->shape[a->n - 1];
  const char *p = (const char *)snt_data(x) + base * size;
  int64_t line = from / inner; /* one division for all pieces: they took as long as copying */
  from -= line * inner;
  char *q = buf;
  for (; n > 0; from = 0, line++) {
    const int64_t k = inner - from < n ? inner - from : n;
    const char *piece = p + (offset_of(a, a->n - 1, line) + from * step) * size;
    if (k == n && q == buf && have == t && step == 1) return piece;
    snk_cast_row(k, q, to, t, piece, step * size, have);
    q += k * to;
    n -= k;
  }
  return buf;
}

typedef struct plan {
  const snt_tensor *x;
  snt_tensor *y;
  int which, f64;
  sno_axes gone, kept;
  int64_t blocks, tiles, per, inner, lines; /* tiles of `per` columns along the innermost kept dimension, `lines` of them */
  double divide, *part;
} plan;

void sno_reduce_store(snt_tensor *y, int64_t at, double v, double divide) {
  const bool f64 = y->dtype == SN_F64;
  if (divide != 1) v = f64 ? v / divide : (double)((float)v / (float)divide);
  sn_store_double((char *)snt_data(y) + at * (f64 ? 8 : 4), f64 ? SN_F64 : SN_F32, v);
}
static void store(const plan *p, int64_t at, double v) { sno_reduce_store(p->y, at, v, p->divide); }

static void rows(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const plan *p = ctx;
  const snk_reduce *k = snk_reduce_now();
  double buf[SNK_BLOCK];
  const sn_dtype t = p->f64 ? SN_F64 : SN_F32;
  const char *data = snt_data(p->x);
  const bool half = p->x->dtype == SN_BF16 && !p->f64 && k->pieces_bf16;
  const int64_t size = p->f64 ? 8 : half ? 2 : 4; /* of a number where it is read in its place */
  const bool flat = p->gone.n == 1 && p->gone.stride[0] == 1 && p->x->dtype == t; /* no divisions: the next block's loads would wait for them */
  const bool planes = p->which == SNK_SUM && p->gone.n == 2 && p->gone.stride[1] == 1 && p->gone.count > 0 && (p->x->dtype == t || half);
  int64_t o = begin / p->blocks, b = begin % p->blocks, base = sno_axes_offset(&p->kept, o);
  for (int64_t q = begin; q < end; q++, b++) {
    if (b == p->blocks) b = 0, base = sno_axes_offset(&p->kept, ++o);
    const int64_t from = b * SNK_BLOCK, n = p->gone.count - from < SNK_BLOCK ? p->gone.count - from : SNK_BLOCK;
    double v;
    if (planes) {
      const int64_t run = p->gone.shape[1], step = p->gone.stride[0], plane = from / run, in = from - plane * run;
      const void *x = data + (base + plane * step + in) * size;
      if (half) v = (double)k->pieces_bf16(n, x, run - in, run, step);
      else v = p->f64 ? k->pieces_f64(n, x, run - in, run, step) : (double)k->pieces_f32(n, x, run - in, run, step);
    } else {
      const void *x = flat ? data + (base + from) * size : sno_axes_gather(&p->gone, p->x, base, from, n, t, buf);
      v = p->f64 ? k->row_f64(p->which, n, x) : (double)k->row_f32(p->which, n, x);
    }
    if (p->blocks == 1) store(p, o, v);
    else p->part[q] = v;
  }
}

static void columns(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const plan *p = ctx;
  const snk_reduce *k = snk_reduce_now();
  const int64_t size = p->f64 ? 8 : 4, per = p->per, step = p->gone.stride[p->gone.n - 1], run = p->gone.shape[p->gone.n - 1];
  const bool brief = p->which == SNK_SUM && !p->f64 && p->gone.n == 1 && p->gone.count <= SNK_REDUCE_LANES;
  _Alignas(4096) char acc[SNK_REDUCE_LANES * SNK_TILE_BYTES]; /* at a page, as the numbers' rows often are: stores to lanes then hold up no loads (measured) */
  for (int64_t q = begin; q < end; q++) {
    const int64_t b = q % p->blocks, tile = q / p->blocks % p->tiles, line = q / p->blocks / p->tiles;
    const int64_t col = tile * per, o = line * p->inner + col;
    const int64_t width = p->inner - col < per ? p->inner - col : per;
    const char *x = (const char *)snt_data(p->x) + sno_axes_offset(&p->kept, o) * size;
    int64_t from = b * SNK_BLOCK, at = 0;
    int64_t n = p->gone.count - from < SNK_BLOCK ? p->gone.count - from : SNK_BLOCK;
    if (brief) {
      void *to = p->divide == 1 ? (char *)snt_data(p->y) + o * size : acc;
      k->sums(n, (const float *)(const void *)x, step, width, to);
      if (p->divide == 1) continue;
      n = 0;
    } else k->cols_begin(p->which, p->f64, width, acc);
    while (n > 0) {
      const int64_t left = run - from % run, m = left < n ? left : n;
      const char *row = x + sno_axes_offset(&p->gone, from) * size;
      if (p->f64) k->cols_f64(p->which, at, m, (const double *)(const void *)row, step, width, acc);
      else k->cols_f32(p->which, at, m, (const float *)(const void *)row, step, width, acc);
      from += m;
      at += m;
      n -= m;
    }
    if (!brief) k->cols_end(p->which, p->f64, width, acc);
    if (p->blocks == 1 && p->divide == 1) {
      memcpy((char *)snt_data(p->y) + o * size, acc, (size_t)(width * size));
      continue;
    }
    for (int64_t c = 0; c < width; c++) {
      const double v = p->f64 ? ((double *)(void *)acc)[c] : (double)((float *)(void *)acc)[c];
      if (p->blocks == 1) store(p, o + c, v);
      else p->part[(o + c) * p->blocks + b] = v;
    }
  }
}

static void combine(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const plan *p = ctx;
  for (int64_t o = begin; o < end; o++) store(p, o, snk_reduce_now()->fold(p->which, p->blocks, p->part + o * p->blocks, p->f64));
}

/* Integers go in blocks only where threads would else have nothing to do. */
#define INT_BLOCK 32768
#define INT_COLUMNS 256 /* side by side */
#define FEW 64

SNK_SMALL_BEGIN
static void ints(void *ctx, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const plan *p = ctx;
  const sn_dtype t = (sn_dtype)p->x->dtype, tt = (sn_dtype)p->y->dtype;
  const int64_t size = (int64_t)sn_size_of(t), wide = (int64_t)sn_size_of(tt), step = p->gone.stride[p->gone.n - 1], run = p->gone.shape[p->gone.n - 1];
  const int64_t each = p->blocks == 1 ? p->gone.count : INT_BLOCK;
  int64_t buf[SNK_BLOCK];
  for (int64_t q = begin; q < end; q++) {
    int64_t b = 0, o = q, width = 1;
    if (p->blocks > 1 || p->per > 1) { /* divisions take as long as a short row */
      const int64_t tile = q / p->blocks % p->tiles, col = tile * p->per;
      b = q % p->blocks, o = q / p->blocks / p->tiles * p->inner + col, width = p->inner - col < p->per ? p->inner - col : p->per;
    }
    const int64_t base = sno_axes_offset(&p->kept, o);
    char *to = (p->blocks == 1 ? (char *)snt_data(p->y) : (char *)p->part + b * p->kept.count * wide) + o * wide;
    int64_t from = b * each, last = from + each < p->gone.count ? from + each : p->gone.count, one;
    if (p->per == 1) {
      const bool flat = p->gone.n == 1 && step == 1;
      for (bool first = true; from < last; first = false) {
        const int64_t n = flat || last - from < SNK_BLOCK ? last - from : SNK_BLOCK;
        const void *x = flat ? (const char *)snt_data(p->x) + (base + from) * size : sno_axes_gather(&p->gone, p->x, base, from, n, t, buf);
        snk_reduce_ints_row(p->which, t, n, x, first ? to : (char *)&one);
        if (!first) snk_reduce_ints(p->which, tt, 1, &one, 0, 1, to);
        from += n;
      }
      continue;
    }
    for (bool first = true; from < last; first = false) {
      const char *x = (const char *)snt_data(p->x) + (base + sno_axes_offset(&p->gone, from)) * size;
      const int64_t left = run - from % run, n = left < last - from ? left : last - from;
      if (first) snk_cast_row(width, to, wide, tt, x, size, t);
      snk_reduce_ints(p->which, t, n - first, first ? x + step * size : x, step, width, to);
      from += n;
    }
  }
}

static int64_t count_int_blocks(int64_t gone, int64_t kept) { return kept < FEW && gone > INT_BLOCK ? (gone + INT_BLOCK - 1) / INT_BLOCK : 1; }
static void run_ints(plan *p) {
  const sn_dtype t = (sn_dtype)p->y->dtype;
  const int64_t n = p->gone.count, kept = p->kept.count, size = (int64_t)sn_size_of(t);
  char *y = snt_data(p->y);
  if (n == 0) { /* of nothing there are sums and products */
    const int64_t one = p->which == SNK_PROD;
    snk_cast_row(kept, y, size, t, (const char *)&one, 0, SN_I64);
    return;
  }
  p->blocks = count_int_blocks(n, kept);
  p->per = sno_axes_in_columns(&p->gone, &p->kept) ? INT_COLUMNS : 1;
  p->tiles = (p->inner + p->per - 1) / p->per;
  sn_parallel(kept / p->inner * p->tiles * p->blocks, 1 + GRAIN / ((p->blocks == 1 ? n : INT_BLOCK) * p->per), ints, p);
  if (p->blocks == 1) return;
  memcpy(y, p->part, (size_t)(kept * size));
  snk_reduce_ints(p->which, t, p->blocks - 1, (char *)p->part + kept * size, kept, kept, y);
}
SNK_SMALL_END

static int64_t count_blocks(int64_t n) { return n > 0 ? (n + SNK_BLOCK - 1) / SNK_BLOCK : 1; }

size_t sno_reduce_scratch(const snt_tensor *x, unsigned mask) {
  int64_t gone = 1, kept = 1;
  for (int i = 0; i < x->ndim; i++) {
    if (mask >> i & 1) gone *= x->shape[i];
    else kept *= x->shape[i];
  }
  const int64_t blocks = sn_is_float((sn_dtype)x->dtype) ? count_blocks(gone) : count_int_blocks(gone, kept);
  return blocks > 1 ? (size_t)(blocks * kept) * sizeof(double) : 0;
}

bool sno_axes_in_columns(const sno_axes *gone, const sno_axes *kept) {
  return kept->stride[kept->n - 1] == 1 && gone->stride[gone->n - 1] != 1 && kept->shape[kept->n - 1] >= 4 && gone->count > 1;
}
bool sno_reduce_in_rows(const snt_tensor *x, unsigned mask) {
  sno_axes gone, kept;
  sno_axes_take(&gone, x, mask);
  sno_axes_take(&kept, x, ~mask);
  return !sno_axes_in_columns(&gone, &kept);
}

void sno_reduce_run(sno_call *c, int which, unsigned mask, double divide) {
  plan p = {.x = c->in[0], .y = c->out[0], .which = which, .f64 = c->out[0]->dtype == SN_F64, .divide = divide, .part = c->scratch};
  sno_axes_take(&p.gone, p.x, mask);
  sno_axes_take(&p.kept, p.x, ~mask);
  if (p.kept.count == 0) return;
  const int64_t n = p.gone.count, small = n < SNK_BLOCK ? (n > 0 ? n : 1) : SNK_BLOCK;
  p.inner = p.kept.shape[p.kept.n - 1];
  if (!sn_is_float((sn_dtype)p.y->dtype)) {
    run_ints(&p);
    return;
  }
  p.blocks = count_blocks(n);
  if (sno_axes_in_columns(&p.gone, &p.kept) && sn_is_float((sn_dtype)p.x->dtype)) {
    const int64_t size = p.f64 ? 8 : 4;
    p.per = p.inner * size <= SNK_TILE_BYTES ? p.inner : SNK_PIECE_BYTES / size;
    p.tiles = (p.inner + p.per - 1) / p.per;
    p.lines = p.kept.count / p.inner;
    sn_parallel(p.lines * p.tiles * p.blocks, 1 + GRAIN / (small * p.per), columns, &p);
  } else {
    sn_parallel(p.kept.count * p.blocks, 1 + GRAIN / small, rows, &p);
  }
  if (p.blocks > 1) sn_parallel(p.kept.count, 1 + GRAIN / p.blocks, combine, &p);
}
