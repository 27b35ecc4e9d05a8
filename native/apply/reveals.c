/* Locks end by what a relay block says: claims by its reveals, then refunds by its time (LEDGER-40, LEDGER-12). */
#include "apply/prepare.h"
#include "apply/state.h"
#include "merkle/hash.h"

static const char CLAIM_ID[] = "clearspan/claim/1";
static const char REFUND_ID[] = "clearspan/refund/1";

static void derive_id(const cs_state *state, const cs_pending *lock, int claims, cs_u128 *id) {
    uint8_t hash[32];
    cs_hash_ctx ctx;
    cs_hash_init(&ctx, state->suite);
    cs_hash_update(&ctx, claims ? CLAIM_ID : REFUND_ID, (claims ? sizeof CLAIM_ID : sizeof REFUND_ID) - 1);
    cs_hash_update(&ctx, lock->digest, 32);
    cs_hash_final(hash, &ctx);
    *id = cs_load_u128(hash);
}

void cs_derive(const cs_state *state, const cs_pending *lock, const uint8_t *preimage, cs_record *record,
               uint8_t digest[32]) {
    cs_hash_ctx ctx;
    memset(record, 0, sizeof *record);
    derive_id(state, lock, preimage != NULL, &record->id);
    record->debit_account = lock->debit_account;
    record->credit_account = lock->credit_account;
    record->amount = lock->amount;
    record->reference = lock->id;
    record->user_data = lock->user_data;
    record->ledger = lock->ledger;
    record->code = lock->code;
    record->flags = CS_KIND_REFUND;
    if (preimage != NULL) {
        record->flags = CS_KIND_CLAIM | (lock->flags & CS_FLAG_SM3);
        memcpy(record->binding, preimage, 32);
    }
    cs_hash_init(&ctx, state->suite);
    cs_hash_update(&ctx, state->transfer_prefix, 32);
    cs_hash_update(&ctx, record, sizeof *record);
    cs_hash_final(digest, &ctx);
}

uint16_t cs_answer_derived(const cs_state *state, cs_request *request) {
    const cs_record *record = request->record;
    int claims = (record->flags & CS_FLAG_KIND) == CS_KIND_CLAIM;
    uint32_t index = cs_pendings_find(&state->pendings, record->debit_account, record->reference);
    if (index == CS_NONE || !cs_pending_is_lock(&state->pendings.items[index])) {
        return CS_PENDING_NOT_FOUND;
    }
    const cs_pending *lock = &state->pendings.items[index];
    if (lock->state == CS_STATE_OPEN) {
        return claims ? CS_PREIMAGE_NOT_FINAL : CS_TOO_EARLY;
    }
    int claimed = lock->state == CS_STATE_CLAIMED;
    if (claims == claimed) {
        cs_record derived;
        uint8_t digest[32];
        cs_derive(state, lock, claimed ? lock->binding : NULL, &derived, digest);
        if (memcmp(&derived, record, sizeof derived) == 0) {
            request->first_code = claimed ? CS_CLAIMED : CS_REFUNDED;
            request->first_time = lock->ended_at;
            return CS_EXISTS;
        }
    }
    return claimed ? CS_PENDING_ALREADY_POSTED : CS_PENDING_ALREADY_VOIDED;
}

static void send_claim(cs_state *state, const cs_pending *lock, const uint8_t digest[32], uint64_t now) {
    uint32_t peer = state->slot_peer[cs_slot(lock->credit_account)];
    if (peer == CS_LOCAL) {
        return;
    }
    cs_credit message = {.kind = CS_CREDIT_CLAIM,
                         .code = lock->code,
                         .ledger = lock->ledger,
                         .debit_account = lock->debit_account,
                         .credit_account = lock->credit_account,
                         .amount = lock->amount,
                         .user_data = lock->user_data,
                         .time = now};
    memcpy(message.digest, digest, 32);
    cs_send(state, peer, &message);
}

static void claim(cs_state *state, uint32_t index, const uint8_t preimage[32], uint64_t now) {
    cs_pending *lock = &state->pendings.items[index];
    cs_record record;
    uint8_t digest[32];
    cs_derive(state, lock, preimage, &record, digest);
    cs_release_pending(state, index, CS_STATE_CLAIMED, lock->amount, now);
    memcpy(lock->binding, preimage, 32); /* it left the index of hashlocks and answers late claims from now on */
    send_claim(state, lock, digest, now);
    cs_decisions_add(&state->decisions, digest, now, CS_CLAIMED);
}

static void hash_preimage(uint8_t out[32], const uint8_t *preimage, int sm3) {
    if (sm3) {
        cs_sm3(out, preimage, 32);
    } else {
        cs_sha256(out, preimage, 32);
    }
}

/* A reveal that stands twice in a block walks its locks once: what it left is past its timelock. */
static void reveal(cs_state *state, const uint8_t preimage[32], uint64_t height, uint64_t relay_time, uint64_t now) {
    for (int sm3 = 0; sm3 < 2; sm3++) {
        uint8_t hashlock[32];
        hash_preimage(hashlock, preimage, sm3);
        uint32_t index = cs_pendings_find_locks(&state->pendings, hashlock, sm3);
        if (index != CS_NONE && state->pendings.items[index].revealed_height == height) {
            continue;
        }
        while (index != CS_NONE) {
            uint32_t next = state->pendings.items[index].same_after;
            if (state->pendings.items[index].due > relay_time && state->fault == 0) {
                claim(state, index, preimage, now);
            }
            index = next;
        }
        index = cs_pendings_find_locks(&state->pendings, hashlock, sm3);
        if (index != CS_NONE) {
            state->pendings.items[index].revealed_height = height;
        }
    }
}

static void refund_due(cs_state *state, uint64_t relay_time, uint64_t now) {
    cs_heap *locks = &state->pendings.locks;
    while (locks->count > 0 && locks->nodes[0].key <= relay_time && state->fault == 0) {
        uint32_t index = locks->nodes[0].item;
        cs_record record;
        uint8_t digest[32];
        cs_derive(state, &state->pendings.items[index], NULL, &record, digest);
        cs_release_pending(state, index, CS_STATE_REFUNDED, 0, now);
        cs_decisions_add(&state->decisions, digest, now, CS_REFUNDED);
    }
}

/* How many locks this block can end: what is due, and what its reveals meet. Never more than are open. */
static uint64_t count_endings(const cs_state *state, uint64_t relay_time, const uint8_t *preimages, uint32_t count) {
    const cs_pendings *pendings = &state->pendings;
    uint64_t open = pendings->open_lock_count, endings = 0;
    for (uint64_t i = 0; i < pendings->locks.count; i++) {
        endings += pendings->locks.nodes[i].key <= relay_time;
    }
    for (uint64_t i = 0; i < 2 * (uint64_t)count && open > 0; i++) {
        uint8_t hashlock[32];
        hash_preimage(hashlock, preimages + 32 * (i / 2), (int)(i % 2));
        uint32_t index = cs_pendings_find_locks(pendings, hashlock, (int)(i % 2));
        for (; index != CS_NONE && endings < open; index = pendings->items[index].same_after) {
            endings++;
        }
    }
    return endings;
}

int cs_apply_relay(cs_state *state, uint64_t height, uint64_t relay_time, const uint8_t *preimages, uint32_t count,
                   uint64_t now) {
    uint64_t time = now > state->last_time ? now : state->last_time;
    int result = cs_step_check(state, time);
    if (result == 0 && height != state->relay_height + 1) {
        result = CS_FAULT_RELAY_HEIGHT;
    }
    if (result == 0 && relay_time < state->relay_time) {
        result = CS_FAULT_RELAY_TIME;
    }
    if (result != 0) {
        return result;
    }
    uint64_t endings = count_endings(state, relay_time, preimages, count);
    const cs_need need = {.endings = endings, .decisions = endings, .outgoing = endings};
    result = cs_step_reserve(state, &need, time);
    if (result != 0) {
        return result;
    }
    cs_step_begin(state, time);
    for (uint32_t i = 0; i < count; i++) {
        reveal(state, preimages + 32 * (size_t)i, height, relay_time, time);
    }
    refund_due(state, relay_time, time);
    state->relay_height = height;
    state->relay_time = relay_time;
    return cs_step_end(state, time);
}
