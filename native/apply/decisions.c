/* Leaves and messages of the current block. */
#include "apply/decisions.h"

#include <stdlib.h>

#include "apply/memory.h"
#include "merkle/merkle.h"

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
    for (; decisions->hashed < decisions->count; decisions->hashed++) {
        cs_leaf_hash(suite, decisions->hashes[decisions->hashed], &decisions->leaves[decisions->hashed],
                     CS_DECISION_BYTES);
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
        for (uint64_t i = outgoing->block_first; i < outgoing->count; i++) {
            const cs_outgoing_item *item = &outgoing->items[i];
            cs_leaf_hash(suite, hashes + 32 * starts[item->peer]++, &item->message, CS_CREDIT_BYTES);
        }
        cs_merkle_root(suite, out, hashes, count);
    }
    free(starts);
    free(hashes);
    return result;
}
