/* The roots of the subtrees that this kernel keeps (LEDGER-70). */
#include <stdlib.h>

#include "apply/state.h"
#include "merkle/many.h"
#include "merkle/merkle.h"

enum { CHANNEL_LEAF_BYTES = 24, LEDGER_LEAF_BYTES = 80, PARAMETERS_LEAF_BYTES = 80, HASHED_AT_ONCE = 16 };

static uint32_t batch_from(uint32_t first, uint32_t count) {
    return count - first < HASHED_AT_ONCE ? count - first : HASHED_AT_ONCE;
}

void cs_accounts_root(cs_state *state, uint8_t out[32]) {
    cs_accounts_flush(&state->accounts);
    cs_tree_root(&state->accounts.tree, out);
}

void cs_rules_root(cs_state *state, uint8_t out[32]) {
    cs_rules_flush(&state->rules);
    cs_tree_root(&state->rules.tree, out);
}

int cs_ids_root(const cs_state *state, uint8_t out[32]) {
    return cs_buckets_root(&state->window.buckets, state->suite, out) != 0 ? CS_NO_MEMORY : 0;
}

int cs_pendings_root(const cs_state *state, uint8_t out[32]) {
    return cs_buckets_root(&state->pendings.buckets, state->suite, out) != 0 ? CS_NO_MEMORY : 0;
}

static void channel_leaf(const cs_peer *peer, uint8_t leaf[CHANNEL_LEAF_BYTES]) {
    memset(leaf, 0, CHANNEL_LEAF_BYTES);
    memcpy(leaf, &peer->shard, 4);
    memcpy(leaf + 8, &peer->sent, 8);
    memcpy(leaf + 16, &peer->received, 8);
}

int cs_channels_root(const cs_state *state, uint8_t out[32]) {
    uint8_t *hashes = malloc(((size_t)state->peer_count + 1) * 32);
    if (hashes == NULL) {
        return CS_NO_MEMORY;
    }
    for (uint32_t first = 0; first < state->peer_count; first += HASHED_AT_ONCE) {
        uint8_t leaves[HASHED_AT_ONCE][CHANNEL_LEAF_BYTES];
        const uint32_t some = batch_from(first, state->peer_count);
        for (uint32_t i = 0; i < some; i++) {
            channel_leaf(&state->peers[first + i], leaves[i]);
        }
        cs_leaf_hash_rows(state->suite, hashes + 32 * (size_t)first, leaves, CHANNEL_LEAF_BYTES, CHANNEL_LEAF_BYTES, some);
    }
    cs_merkle_root(state->suite, out, hashes, state->peer_count);
    free(hashes);
    return 0;
}

static void ledger_leaf(const cs_ledger *ledger, uint8_t leaf[LEDGER_LEAF_BYTES]) {
    const uint32_t words[6] = {ledger->ledger, ledger->scale, ledger->issuer, ledger->window_s, ledger->lock_min_s, 0};
    memcpy(leaf, words, 24);
    memcpy(leaf + 24, &ledger->amount_max, 16);
    memcpy(leaf + 40, &ledger->debits_pending, 16);
    memcpy(leaf + 56, &ledger->debits_posted, 16);
    memcpy(leaf + 72, ledger->currency, 8);
}

int cs_ledgers_root(const cs_state *state, uint8_t out[32]) {
    uint8_t *hashes = malloc(((size_t)state->ledger_count + 1) * 32);
    if (hashes == NULL) {
        return CS_NO_MEMORY;
    }
    for (uint32_t first = 0; first < state->ledger_count; first += HASHED_AT_ONCE) {
        uint8_t leaves[HASHED_AT_ONCE][LEDGER_LEAF_BYTES];
        const uint32_t some = batch_from(first, state->ledger_count);
        for (uint32_t i = 0; i < some; i++) {
            ledger_leaf(&state->ledgers[first + i], leaves[i]);
        }
        cs_leaf_hash_rows(state->suite, hashes + 32 * (size_t)first, leaves, LEDGER_LEAF_BYTES, LEDGER_LEAF_BYTES, some);
    }
    cs_merkle_root(state->suite, out, hashes, state->ledger_count);
    free(hashes);
    return 0;
}

void cs_parameters_root(const cs_state *state, uint8_t out[32]) {
    const cs_limits *limits = &state->limits;
    const uint64_t words[10] = {state->slot_map_version, state->last_time,     state->relay_height,
                                state->relay_time,       limits->ids_max,      limits->pendings_max,
                                limits->accounts_max,    limits->expire_per_batch_max, limits->bucket_ns,
                                limits->run_members_max};
    uint8_t hash[32];
    _Static_assert(sizeof words == PARAMETERS_LEAF_BYTES, "parameters leaf");
    cs_leaf_hash(state->suite, hash, words, sizeof words);
    cs_merkle_root(state->suite, out, hash, 1);
}

void cs_channel_sums(const cs_state *state, uint32_t ledger_index, cs_u128 *credits, cs_u128 *debits) {
    *credits = *debits = 0;
    for (uint32_t peer = 0; peer < state->peer_count; peer++) {
        const cs_account *account = &state->accounts.items[ledger_index * state->peer_count + peer];
        *credits += account->credits_posted + account->credits_pending;
        *debits += account->debits_posted + account->debits_pending;
    }
}
