/* The state's memory: made, counted and freed; accounts and keys in from the admin step. */
#include "apply/state.h"

#include <stdlib.h>

#include "apply/memory.h"
#include "apply/prepare.h"

static uint32_t peer_index(const cs_parameters *parameters, uint32_t shard) {
    for (uint32_t i = 0; i < parameters->peer_count; i++) {
        if (parameters->peers[i] == shard) {
            return i;
        }
    }
    return CS_LOCAL;
}

static void copy_parameters(cs_state *state, const cs_parameters *parameters) {
    state->suite = parameters->suite;
    state->shard = parameters->shard;
    state->slot_map_version = parameters->slot_map_version;
    state->limits = parameters->limits;
    memcpy(state->genesis_hash, parameters->genesis_hash, 32);
    cs_transfer_prefix(state->suite, state->transfer_prefix, state->genesis_hash);
    for (uint32_t slot = 0; slot < CS_SLOTS; slot++) {
        state->slot_peer[slot] = (uint16_t)peer_index(parameters, parameters->slot_owner[slot]);
    }
    state->peer_count = parameters->peer_count;
    state->ledger_count = parameters->ledger_count;
    for (uint32_t i = 0; i < state->peer_count; i++) {
        state->peers[i].shard = parameters->peers[i];
    }
    for (uint32_t i = 0; i < state->ledger_count; i++) {
        state->ledgers[i] = parameters->ledgers[i];
        state->ledgers[i].debits_pending = state->ledgers[i].debits_posted = 0;
    }
}

/* A seed apart for each index. */
static cs_seed seed_of(const cs_parameters *parameters, uint64_t which) {
    cs_seed seed = {.a = cs_fold(parameters->seed.a ^ which, 0xA0761D6478BD642Fu),
                    .b = cs_fold(parameters->seed.b + which, 0xE7037ED1A0B428DBu)};
    return seed;
}

cs_state *cs_state_new_empty(const cs_parameters *parameters) {
    cs_state *state = calloc(1, sizeof *state);
    if (state == NULL) {
        return NULL;
    }
    state->peers = calloc((size_t)parameters->peer_count + 1, sizeof *state->peers);
    state->ledgers = calloc((size_t)parameters->ledger_count + 1, sizeof *state->ledgers);
    int failed = state->peers == NULL || state->ledgers == NULL;
    failed |= cs_accounts_init(&state->accounts, parameters->suite, seed_of(parameters, 1)) != 0;
    failed |= cs_window_init(&state->window, seed_of(parameters, 2)) != 0;
    failed |= cs_pendings_init(&state->pendings, seed_of(parameters, 3), parameters->limits.bucket_ns) != 0;
    failed |= cs_rules_init(&state->rules, parameters->suite, seed_of(parameters, 4)) != 0;
    if (failed) {
        cs_state_free(state);
        return NULL;
    }
    copy_parameters(state, parameters);
    state->last_time = parameters->genesis_time;
    return state;
}

cs_state *cs_state_new(const cs_parameters *parameters) {
    cs_state *state = cs_state_new_empty(parameters);
    if (state == NULL) {
        return NULL;
    }
    if (cs_accounts_reserve(&state->accounts, (uint64_t)state->ledger_count * state->peer_count) != 0) {
        cs_state_free(state);
        return NULL;
    }
    for (uint32_t ledger = 0; ledger < state->ledger_count; ledger++) {
        for (uint32_t peer = 0; peer < state->peer_count; peer++) {
            cs_account account = {.id = cs_channel_id(state->ledgers[ledger].ledger, state->peers[peer].shard),
                                  .opened_at = parameters->genesis_time,
                                  .ledger = state->ledgers[ledger].ledger,
                                  .flags = CS_ACCOUNT_IS_CHANNEL};
            cs_accounts_append(&state->accounts, &account);
        }
    }
    return state;
}

void cs_state_free(cs_state *state) {
    if (state == NULL) {
        return;
    }
    free(state->peers);
    free(state->ledgers);
    free(state->keys);
    free(state->undo);
    free(state->requests);
    cs_accounts_free(&state->accounts);
    cs_window_free(&state->window);
    cs_pendings_free(&state->pendings);
    cs_decisions_free(&state->decisions);
    cs_outgoing_free(&state->outgoing);
    cs_rules_free(&state->rules);
    free(state);
}

uint64_t cs_state_bytes(const cs_state *state) {
    return sizeof *state + cs_accounts_bytes(&state->accounts) + cs_window_bytes(&state->window) +
           cs_pendings_bytes(&state->pendings) + cs_rules_bytes(&state->rules) + state->decisions.capacity * sizeof *state->decisions.leaves +
           state->decisions.hashes_capacity * 32 + state->outgoing.capacity * sizeof *state->outgoing.items +
           state->key_capacity * sizeof *state->keys + state->undo_capacity * sizeof *state->undo +
           state->requests_capacity * sizeof *state->requests;
}

int64_t cs_open_account(cs_state *state, const cs_account *account) {
    if (cs_accounts_reserve(&state->accounts, 1) != 0) {
        return CS_NO_MEMORY;
    }
    return (int64_t)cs_accounts_append(&state->accounts, account);
}

int cs_set_key(cs_state *state, uint32_t key_id, const cs_key *key) {
    uint64_t marked = state->key_count;
    if (CS_ROOM(state->keys, state->key_capacity, key_id) != 0) {
        return CS_NO_MEMORY;
    }
    for (; marked < key_id; marked++) {
        memset(&state->keys[marked], 0, sizeof *state->keys);
        state->key_count = marked + 1;
    }
    state->keys[key_id - 1] = *key;
    return 0;
}
