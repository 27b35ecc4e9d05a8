/* What one log record adds to buckets' digests, kept until the record is over.
 *
 * A digest becomes H(digest || item 1 || … || item k) once a log record (LEDGER-70), with the items of that bucket in
 * order. Until then items may be taken back from the end, as the undoing of a run does.
 */
#ifndef CS_APPLY_CHAIN_H
#define CS_APPLY_CHAIN_H

#include "apply/buckets.h"

#define CS_CHAIN_ITEM_BYTES 96

typedef struct {
    uint8_t data[CS_CHAIN_ITEM_BYTES];
    uint32_t bucket, next;
} cs_chain_item;

typedef struct {
    cs_chain_item *items;
    uint64_t count, capacity;
} cs_chain;

int cs_chain_reserve(cs_chain *chain, uint64_t items);
void cs_chain_free(cs_chain *chain);
/* The bytes of a new last item of this bucket, for the caller to fill. */
uint8_t *cs_chain_append(cs_chain *chain, cs_buckets *buckets, uint32_t bucket);
void cs_chain_truncate(cs_chain *chain, cs_buckets *buckets, uint64_t count);
/* Chain every touched bucket's digest, or remove it where its count is 0; the chain is empty then. */
void cs_chain_close(cs_chain *chain, cs_buckets *buckets, uint32_t suite);

#endif
