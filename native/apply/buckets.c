/* Buckets in a slab, indexed by number and kept in a heap for dropping. */
#include "apply/buckets.h"

#include <stdlib.h>

#include "apply/memory.h"
#include "merkle/many.h"
#include "merkle/merkle.h"

enum { HASHED_AT_ONCE = 16 };

int cs_buckets_init(cs_buckets *buckets, cs_seed seed) {
    memset(buckets, 0, sizeof *buckets);
    buckets->free_first = CS_NONE;
    buckets->recent = CS_NONE;
    buckets->seed = seed;
    cs_heap_init(&buckets->heap, NULL, NULL);
    return cs_table_init(&buckets->table);
}

void cs_buckets_free(cs_buckets *buckets) {
    free(buckets->items);
    cs_table_free(&buckets->table);
    cs_heap_free(&buckets->heap);
}

int cs_buckets_reserve(cs_buckets *buckets, uint64_t more) {
    uint64_t total = buckets->heap.count + more;
    if (CS_ROOM(buckets->items, buckets->capacity, total) != 0 || cs_table_reserve(&buckets->table, total) != 0) {
        return -1;
    }
    return cs_heap_reserve(&buckets->heap, total);
}

static uint32_t hash_of(const cs_buckets *buckets, uint64_t number) {
    return cs_mix_end(cs_mix_u128(0, buckets->seed, number), buckets->seed);
}

uint32_t cs_buckets_find(const cs_buckets *buckets, uint64_t number) {
    uint32_t hash = hash_of(buckets, number), index;
    uint64_t cursor = cs_table_start(&buckets->table, hash);
    do {
        index = cs_table_next(&buckets->table, hash, &cursor);
    } while (index != CS_NONE && buckets->items[index].number != number);
    return index;
}

static uint32_t make(cs_buckets *buckets, uint64_t number) {
    uint32_t index = buckets->free_first;
    if (index == CS_NONE) {
        index = buckets->used++;
    } else {
        buckets->free_first = buckets->items[index].free_next;
    }
    cs_bucket *bucket = &buckets->items[index];
    memset(bucket, 0, sizeof *bucket);
    bucket->number = number;
    bucket->first = bucket->last = bucket->chain_first = bucket->chain_last = CS_NONE;
    bucket->free_next = CS_BUCKET_LIVE;
    cs_table_insert(&buckets->table, hash_of(buckets, number), index);
    cs_heap_push(&buckets->heap, number, index);
    return index;
}

uint32_t cs_buckets_obtain(cs_buckets *buckets, uint64_t number) {
    uint32_t index = buckets->recent;
    if (index != CS_NONE && buckets->items[index].number == number) {
        return index;
    }
    index = cs_buckets_find(buckets, number);
    if (index == CS_NONE) {
        index = make(buckets, number);
    }
    buckets->recent = index;
    return index;
}

void cs_buckets_remove(cs_buckets *buckets, uint32_t index) {
    cs_table_remove(&buckets->table, hash_of(buckets, buckets->items[index].number), index);
    cs_heap_remove(&buckets->heap, index);
    buckets->items[index].free_next = buckets->free_first;
    buckets->free_first = index;
    buckets->recent = CS_NONE;
}

uint32_t cs_buckets_lowest(const cs_buckets *buckets) {
    return buckets->heap.count == 0 ? CS_NONE : buckets->heap.nodes[0].item;
}

static void sift(const cs_buckets *buckets, uint32_t *list, uint64_t at, uint64_t count) {
    uint32_t moved = list[at];
    uint64_t number = buckets->items[moved].number;
    for (uint64_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && buckets->items[list[child]].number < buckets->items[list[child + 1]].number) {
            child++;
        }
        if (buckets->items[list[child]].number <= number) {
            break;
        }
        list[at] = list[child];
    }
    list[at] = moved;
}

void cs_buckets_sorted(const cs_buckets *buckets, uint32_t *out) {
    uint64_t count = buckets->heap.count;
    for (uint64_t i = 0; i < count; i++) {
        out[i] = buckets->heap.nodes[i].item;
    }
    for (uint64_t i = count / 2; i-- > 0;) {
        sift(buckets, out, i, count);
    }
    for (uint64_t end = count; end > 1; end--) {
        uint32_t largest = out[0];
        out[0] = out[end - 1];
        out[end - 1] = largest;
        sift(buckets, out, 0, end - 1);
    }
}

void cs_bucket_leaf(const cs_bucket *bucket, uint8_t out[CS_BUCKET_LEAF_BYTES]) {
    memcpy(out, &bucket->number, 8);
    memcpy(out + 8, &bucket->count, 8);
    memcpy(out + 16, bucket->digest, 32);
}

int cs_buckets_root(const cs_buckets *buckets, uint32_t suite, uint8_t out[32]) {
    uint64_t count = buckets->heap.count;
    uint32_t *order = malloc((size_t)(count + 1) * sizeof *order);
    uint8_t *hashes = malloc((size_t)(count + 1) * 32);
    int result = order == NULL || hashes == NULL ? -1 : 0;
    if (result == 0) {
        cs_buckets_sorted(buckets, order);
        for (uint64_t first = 0; first < count; first += HASHED_AT_ONCE) {
            uint8_t leaves[HASHED_AT_ONCE][CS_BUCKET_LEAF_BYTES];
            const size_t some = count - first < HASHED_AT_ONCE ? (size_t)(count - first) : HASHED_AT_ONCE;
            for (size_t i = 0; i < some; i++) {
                cs_bucket_leaf(&buckets->items[order[first + i]], leaves[i]);
            }
            cs_leaf_hash_rows(suite, hashes + 32 * first, leaves, CS_BUCKET_LEAF_BYTES, CS_BUCKET_LEAF_BYTES, some);
        }
        cs_merkle_root(suite, out, hashes, count);
    }
    free(order);
    free(hashes);
    return result;
}

uint64_t cs_buckets_bytes(const cs_buckets *buckets) {
    return buckets->capacity * sizeof *buckets->items + (buckets->table.mask + 1) * 8 +
           buckets->heap.capacity * sizeof *buckets->heap.nodes + buckets->heap.positions_capacity * 4;
}
