/* feed.h - batches of a data set: rows are gathered in the order of an epoch, converted on the way, into memory that is used again and again.
 *
 * What a batch holds is a function of the data, the order and the batch's number, wherever it is made. A feed that runs ahead has a thread (base's
 * worker) which fills one half of its memory, several batches, while those of the other half are consumed; else each batch is gathered when it
 * is asked for. When an operation writes to the data, what was made ahead is made again.
 */
#ifndef SNP_FEED_H
#define SNP_FEED_H
#include "diff/op.h"

enum { SNP_COLUMNS = 2 };
typedef struct snp_column {
  snt_tensor *x;       /* samples along its first dimension; consecutive elements within one. Borrowed: the feed keeps the memory alive */
  sn_dtype to;
  double scale;        /* of bytes on their way to float32 or float64: 1 leaves them as they are */
} snp_column;

typedef struct snp_feed snp_feed;
typedef enum snp_ahead { SNP_NEVER, SNP_ALWAYS, SNP_PAYS } snp_ahead; /* PAYS: large batches (larger ones where they are made of bytes), and a processor that no thread of ours uses */

/* n samples an epoch in batches of `batch`; the last one is smaller. NULL after sn_fail. */
snp_feed *snp_feed_new(int columns, const snp_column *col, int64_t n, int64_t batch, snp_ahead ahead);
void snp_feed_free(snp_feed *f);
/* An epoch: batch number `first` (from 0) is the next. order: n positions (int64, contiguous) that count from `base`; NULL: as they lie. -1 after sn_fail. */
int snp_feed_begin(snp_feed *f, snt_tensor *order, int64_t base, int64_t first);
/* The next batch is in slot k, 0 <= k < snp_feed_slots(f); -1 at the end of the epoch. It stands until the next call. Nothing can fail. */
int snp_feed_next(snp_feed *f);
int snp_feed_slots(const snp_feed *f);
snt_tensor *snp_feed_view(const snp_feed *f, int slot, int k); /* of column k; borrowed */
bool snp_feed_is_ahead(const snp_feed *f);

#endif
