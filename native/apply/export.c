/* Writing checkpoint bytes: lists in their own order, everything that is hashed or indexed in sorted order. */
#include "apply/export.h"

#include <stdlib.h>

#include "merkle/hash.h"

static void digest_parameters(const cs_state *state, uint8_t out[32]) {
    cs_hash_ctx ctx;
    cs_hash_init(&ctx, state->suite);
    cs_hash_update(&ctx, state->slot_peer, sizeof state->slot_peer);
    cs_hash_update(&ctx, &state->limits, sizeof state->limits);
    for (uint32_t i = 0; i < state->peer_count; i++) {
        cs_hash_update(&ctx, &state->peers[i].shard, 4);
    }
    for (uint32_t i = 0; i < state->ledger_count; i++) {
        const cs_ledger *ledger = &state->ledgers[i];
        const uint32_t words[5] = {ledger->ledger, ledger->scale, ledger->issuer, ledger->window_s, ledger->lock_min_s};
        cs_hash_update(&ctx, words, sizeof words);
        cs_hash_update(&ctx, ledger->currency, 8);
        cs_hash_update(&ctx, &ledger->amount_max, 16);
    }
    cs_hash_final(out, &ctx);
}

static uint64_t outgoing_first(const cs_outgoing *outgoing) {
    return outgoing->taken < outgoing->block_first ? outgoing->taken : outgoing->block_first;
}

void cs_export_head(const cs_state *state, cs_export_header *header) {
    uint64_t first = outgoing_first(&state->outgoing);
    cs_export_header made = {.version = state->rules.count > 0 ? CS_EXPORT_VERSION_RULES : CS_EXPORT_VERSION,
                             .suite = (uint16_t)state->suite,
                             .shard = state->shard,
                             .slot_map_version = state->slot_map_version,
                             .last_time = state->last_time,
                             .relay_height = state->relay_height,
                             .relay_time = state->relay_time,
                             .account_count = state->accounts.count,
                             .key_count = state->key_count,
                             .id_bucket_count = state->window.buckets.heap.count,
                             .id_count = state->window.count,
                             .pending_bucket_count = state->pendings.buckets.heap.count,
                             .pending_count = state->pendings.count,
                             .ended_count = state->pendings.count - state->pendings.open_count,
                             .decision_count = state->decisions.count,
                             .outgoing_count = state->outgoing.count - first,
                             .outgoing_block_first = state->outgoing.block_first - first,
                             .outgoing_taken = state->outgoing.taken - first,
                             .ledger_count = state->ledger_count,
                             .peer_count = state->peer_count};
    memcpy(made.magic, CS_EXPORT_MAGIC, 4);
    memcpy(made.genesis_hash, state->genesis_hash, 32);
    digest_parameters(state, made.parameters_digest);
    *header = made;
}

uint64_t cs_export_bytes(const cs_state *state) {
    cs_export_header h;
    cs_export_head(state, &h);
    return sizeof h + (uint64_t)h.ledger_count * CS_EXPORT_LEDGER + (uint64_t)h.peer_count * CS_EXPORT_PEER +
           h.account_count * CS_ACCOUNT_BYTES + h.key_count * sizeof(cs_key) +
           (h.id_bucket_count + h.pending_bucket_count) * CS_BUCKET_LEAF_BYTES + h.id_count * sizeof(cs_entry) +
           h.pending_count * CS_PENDING_BYTES + h.ended_count * CS_EXPORT_FORGET + h.decision_count * CS_DECISION_BYTES +
           h.outgoing_count * CS_EXPORT_OUTGOING + (state->rules.count > 0 ? 8 + state->rules.count * CS_RULE_BYTES : 0);
}

static uint8_t *put(uint8_t *at, const void *from, size_t bytes) {
    if (bytes > 0) {
        memcpy(at, from, bytes);
    }
    return at + bytes;
}

static uint8_t *put_ledgers(uint8_t *at, const cs_state *state) {
    for (uint32_t i = 0; i < state->ledger_count; i++) {
        at = put(at, &state->ledgers[i].debits_pending, 16);
        at = put(at, &state->ledgers[i].debits_posted, 16);
    }
    for (uint32_t i = 0; i < state->peer_count; i++) {
        at = put(at, &state->peers[i].sent, 8);
        at = put(at, &state->peers[i].received, 8);
    }
    return at;
}

static uint8_t *put_leaf(uint8_t *at, const cs_bucket *bucket) {
    cs_bucket_leaf(bucket, at);
    return at + CS_BUCKET_LEAF_BYTES;
}

static uint8_t *put_ids(uint8_t *at, const cs_window *window, uint32_t *order) {
    cs_buckets_sorted(&window->buckets, order);
    for (uint64_t i = 0; i < window->buckets.heap.count; i++) {
        const cs_bucket *bucket = &window->buckets.items[order[i]];
        at = put_leaf(at, bucket);
        for (uint32_t index = bucket->first; index != CS_NONE; index = window->items[index].next) {
            cs_entry entry = window->items[index];
            entry.next = 0;
            at = put(at, &entry, sizeof entry);
        }
    }
    return at;
}

/* ordinals: by index, the number of a pending in order of creation. */
static uint8_t *put_pendings(uint8_t *at, const cs_pendings *pendings, uint32_t *order, uint64_t *ordinals) {
    uint64_t ordinal = 0;
    cs_buckets_sorted(&pendings->buckets, order);
    for (uint64_t i = 0; i < pendings->buckets.heap.count; i++) {
        at = put_leaf(at, &pendings->buckets.items[order[i]]);
    }
    for (uint32_t index = pendings->made_first; index != CS_NONE; index = pendings->items[index].made_after) {
        ordinals[index] = ordinal++;
        at = put(at, &pendings->items[index], CS_PENDING_BYTES);
    }
    cs_buckets_sorted(&pendings->forget, order);
    for (uint64_t i = 0; i < pendings->forget.heap.count; i++) {
        uint32_t index = pendings->forget.items[order[i]].first;
        for (; index != CS_NONE; index = pendings->items[index].forget_after) {
            at = put(at, &ordinals[index], 8);
        }
    }
    return at;
}

static uint8_t *put_outgoing(uint8_t *at, const cs_outgoing *outgoing) {
    for (uint64_t i = outgoing_first(outgoing); i < outgoing->count; i++) {
        uint64_t peer = outgoing->items[i].peer;
        at = put(at, &peer, 8);
        at = put(at, &outgoing->items[i].message, CS_CREDIT_BYTES);
    }
    return at;
}

static uint64_t largest(uint64_t a, uint64_t b) { return a > b ? a : b; }

int cs_export(const cs_state *state, uint8_t *out) {
    const cs_pendings *pendings = &state->pendings;
    uint64_t buckets = largest(state->window.buckets.heap.count,
                               largest(pendings->buckets.heap.count, pendings->forget.heap.count));
    uint32_t *order = malloc((size_t)(buckets + 1) * sizeof *order);
    uint64_t *ordinals = malloc(((size_t)pendings->used + 1) * sizeof *ordinals);
    int result = order == NULL || ordinals == NULL ? CS_NO_MEMORY : 0;
    if (result == 0) {
        cs_export_header header;
        cs_export_head(state, &header);
        uint8_t *at = put(out, &header, sizeof header);
        at = put_ledgers(at, state);
        at = put(at, state->accounts.items, (size_t)state->accounts.count * CS_ACCOUNT_BYTES);
        at = put(at, state->keys, (size_t)state->key_count * sizeof *state->keys);
        at = put_ids(at, &state->window, order);
        at = put_pendings(at, pendings, order, ordinals);
        at = put(at, state->decisions.leaves, (size_t)state->decisions.count * CS_DECISION_BYTES);
        at = put_outgoing(at, &state->outgoing);
        if (state->rules.count > 0) {
            at = put(at, &state->rules.count, 8);
            put(at, state->rules.items, (size_t)state->rules.count * CS_RULE_BYTES);
        }
    }
    free(order);
    free(ordinals);
    return result;
}
