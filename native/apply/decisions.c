/* Leaves and messages of the current block. */
#include "apply/decisions.h"

#include <stdlib.h>

#include "apply/memory.h"
#include "merkle/many.h"
#include "merkle/merkle.h"

enum { HASHED_AT_ONCE = 16 };

void cs_decisions_free(cs_decisions *decisions) {
    free(decisions->leaves);
    free(decisions->hashes);
}

int cs_decisions_reserve(cs_decisions *decisions, uint64_t more) {
    uint64_t total = decisions->count + more;
    if (CS_ROOM(decisions->leaves, decisions->capacity, total) != 0) {
        return -1;
    }
    return CS_ROOM(decisions->hashes, decisions->hashes_capacity, total);
}

void cs_decisions_add(cs_decisions *decisions, const uint8_t digest[32], uint64_t time, uint16_t code) {
    cs_decision *leaf = &decisions->leaves[decisions->count++];
    memcpy(leaf->digest, digest, 32);
    leaf->time = time;
    leaf->code = code;
    memset(leaf->zero, 0, sizeof leaf->zero);
}

void cs_decisions_truncate(cs_decisions *decisions, uint64_t count) {
    decisions->count = count;
    if (decisions->hashed > count) {
        decisions->hashed = count;
    }
}

void cs_decisions_root(cs_decisions *decisions, uint32_t suite, uint8_t out[32]) {
    const uint64_t fresh = decisions->count - decisions->hashed;
    if (fresh > 0) {
        cs_leaf_hash_rows(suite, decisions->hashes[decisions->hashed], &decisions->leaves[decisions->hashed],
                          sizeof *decisions->leaves, CS_DECISION_BYTES, (size_t)fresh);
        decisions->hashed = decisions->count;
    }
    cs_merkle_root(suite, out, (const uint8_t *)decisions->hashes, decisions->count);
}

void cs_outgoing_free(cs_outgoing *outgoing) { free(outgoing->items); }

int cs_outgoing_reserve(cs_outgoing *outgoing, uint64_t more) {
    return CS_ROOM(outgoing->items, outgoing->capacity, outgoing->count + more);
}

void cs_outgoing_add(cs_outgoing *outgoing, uint32_t peer, const cs_credit *message) {
    cs_outgoing_item *item = &outgoing->items[outgoing->count++];
    memset(item, 0, sizeof *item);
    item->message = *message;
    item->peer = peer;
}

void cs_outgoing_reset(cs_outgoing *outgoing) {
    uint64_t kept = outgoing->count - outgoing->taken;
    if (kept > 0) {
        memmove(outgoing->items, outgoing->items + outgoing->taken, (size_t)kept * sizeof *outgoing->items);
    }
    outgoing->count = outgoing->block_first = kept;
    outgoing->taken = 0;
}

int cs_outgoing_root(const cs_outgoing *outgoing, uint32_t peer_count, uint32_t suite, uint8_t out[32]) {
    uint64_t count = outgoing->count - outgoing->block_first;
    uint64_t *starts = calloc((size_t)peer_count + 1, sizeof *starts);
    uint8_t *hashes = malloc((size_t)(count + 1) * 32);
    int result = starts == NULL || hashes == NULL ? -1 : 0;
    if (result == 0) {
        for (uint64_t i = outgoing->block_first; i < outgoing->count; i++) {
            starts[outgoing->items[i].peer + 1]++;
        }
        for (uint32_t peer = 0; peer < peer_count; peer++) {
            starts[peer + 1] += starts[peer];
        }
        /* Messages to one peer were made in order of their sequence. */
        for (uint64_t first = outgoing->block_first; first < outgoing->count; first += HASHED_AT_ONCE) {
            const cs_outgoing_item *items = outgoing->items + first;
            const uint8_t *messages[HASHED_AT_ONCE];
            uint8_t *places[HASHED_AT_ONCE];
            const uint64_t left = outgoing->count - first;
            const size_t some = left < HASHED_AT_ONCE ? (size_t)left : HASHED_AT_ONCE;
            for (size_t i = 0; i < some; i++) {
                messages[i] = (const uint8_t *)&items[i].message;
                places[i] = hashes + 32 * starts[items[i].peer]++;
            }
            cs_leaf_hash_many(suite, places, messages, CS_CREDIT_BYTES, some);
        }
        cs_merkle_root(suite, out, hashes, count);
    }
    free(starts);
    free(hashes);
    return result;
}
