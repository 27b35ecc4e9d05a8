/* Collecting, taking back and chaining. */
#include "apply/chain.h"

#include <stdlib.h>

#include "apply/memory.h"
#include "merkle/hash.h"

enum { PACKED_ITEMS = 32 };

int cs_chain_reserve(cs_chain *chain, uint64_t items) { return CS_ROOM(chain->items, chain->capacity, items); }

void cs_chain_free(cs_chain *chain) { free(chain->items); }

uint8_t *cs_chain_append(cs_chain *chain, cs_buckets *buckets, uint32_t bucket) {
    cs_chain_item *item = &chain->items[chain->count++];
    item->bucket = bucket;
    buckets->items[bucket].fresh++;
    return item->data;
}

void cs_chain_truncate(cs_chain *chain, cs_buckets *buckets, uint64_t count) {
    while (chain->count > count) {
        buckets->items[chain->items[--chain->count].bucket].fresh--;
    }
}

static void link_items(cs_chain *chain, cs_buckets *buckets) {
    for (uint64_t i = 0; i < chain->count; i++) {
        cs_bucket *bucket = &buckets->items[chain->items[i].bucket];
        chain->items[i].next = CS_NONE;
        if (bucket->chain_first == CS_NONE) {
            bucket->chain_first = (uint32_t)i;
        } else {
            chain->items[bucket->chain_last].next = (uint32_t)i;
        }
        bucket->chain_last = (uint32_t)i;
    }
}

static void chain_digest(const cs_chain *chain, cs_bucket *bucket, uint32_t suite) {
    cs_hash_ctx ctx;
    cs_hash_init(&ctx, suite);
    cs_hash_update(&ctx, bucket->digest, 32);
    /* Packed first: whole blocks are hashed where they stand, single items would be cut in pieces. */
    uint8_t packed[PACKED_ITEMS][CS_CHAIN_ITEM_BYTES];
    size_t count = 0;
    for (uint32_t i = bucket->chain_first; i != CS_NONE; i = chain->items[i].next) {
        memcpy(packed[count++], chain->items[i].data, CS_CHAIN_ITEM_BYTES);
        if (count == PACKED_ITEMS) {
            cs_hash_update(&ctx, packed, sizeof packed);
            count = 0;
        }
    }
    cs_hash_update(&ctx, packed, count * CS_CHAIN_ITEM_BYTES);
    cs_hash_final(bucket->digest, &ctx);
    bucket->chain_first = bucket->chain_last = CS_NONE;
    bucket->fresh = 0;
}

void cs_chain_close(cs_chain *chain, cs_buckets *buckets, uint32_t suite) {
    link_items(chain, buckets);
    for (uint64_t i = 0; i < chain->count; i++) {
        uint32_t index = chain->items[i].bucket;
        cs_bucket *bucket = &buckets->items[index];
        /* A bucket removed at its first item is not live when its later items come by. */
        if (bucket->free_next != CS_BUCKET_LIVE || bucket->chain_first != (uint32_t)i) {
            continue;
        }
        if (bucket->count == 0) {
            cs_buckets_remove(buckets, index);
        } else {
            chain_digest(chain, bucket, suite);
        }
    }
    chain->count = 0;
}
