/* Time buckets: what the ids, the pendings and the pendings to forget are grouped by.
 *
 * A bucket has a number (an instant divided by bucket_ns), a count, a list of items threaded through their owner, and
 * a digest that is chained once a log record (chain.h). They are found by number, dropped from the lowest number up,
 * and listed in ascending order.
 */
#ifndef CS_APPLY_BUCKETS_H
#define CS_APPLY_BUCKETS_H

#include "apply/heap.h"
#include "apply/table.h"

#define CS_BUCKET_LEAF_BYTES 48

typedef struct {
    uint64_t number, count;
    uint8_t digest[32];
    uint32_t first, last;             /* the owner's list; CS_NONE when empty */
    uint32_t chain_first, chain_last; /* of this log record's chain, while it is closed */
    uint32_t fresh;                   /* items of this log record's chain */
    uint32_t free_next;               /* the next free bucket, or CS_BUCKET_LIVE */
} cs_bucket;

#define CS_BUCKET_LIVE (UINT32_MAX - 1)

typedef struct {
    cs_bucket *items;
    uint64_t capacity;
    uint32_t used, free_first, recent; /* recent: the bucket obtained last, mostly the next one too */
    cs_table table;
    cs_heap heap;
    cs_seed seed;
} cs_buckets;

int cs_buckets_init(cs_buckets *buckets, cs_seed seed);
void cs_buckets_free(cs_buckets *buckets);
int cs_buckets_reserve(cs_buckets *buckets, uint64_t more);
/* The bucket of this number, made empty where there is none. Room must have been reserved. */
uint32_t cs_buckets_obtain(cs_buckets *buckets, uint64_t number);
uint32_t cs_buckets_find(const cs_buckets *buckets, uint64_t number);
void cs_buckets_remove(cs_buckets *buckets, uint32_t index);
/* The bucket of the lowest number, or CS_NONE. */
uint32_t cs_buckets_lowest(const cs_buckets *buckets);
/* Write the indexes of all live buckets, numbers ascending; out has room for heap.count of them. */
void cs_buckets_sorted(const cs_buckets *buckets, uint32_t *out);
/* Leaf data: number, count, digest. */
void cs_bucket_leaf(const cs_bucket *bucket, uint8_t out[CS_BUCKET_LEAF_BYTES]);
/* Root over the leaves of all live buckets, ascending: 0, or -1 when memory is short. */
int cs_buckets_root(const cs_buckets *buckets, uint32_t suite, uint8_t out[32]);
uint64_t cs_buckets_bytes(const cs_buckets *buckets);

#endif
