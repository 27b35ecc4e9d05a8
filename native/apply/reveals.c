/* Locks end by what a relay block says: claims by its reveals, then refunds by its time (LEDGER-40, LEDGER-12). Runs over
 * shards are decided between the two, or aborted with the refunds (prepared.c). */
#include "apply/prepare.h"
#include "apply/state.h"
#include "merkle/many.h"

enum { HASHED_AT_ONCE = 16 };

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
    if (index == CS_NONE || !cs_pending_is_lock(&state->pendings.items[index]) ||
        state->pendings.items[index].state == CS_STATE_HELD) {
        return CS_PENDING_NOT_FOUND;
    }
    const cs_pending *lock = &state->pendings.items[index];
    if (lock->state == CS_STATE_OPEN) {
        return claims ? CS_PREIMAGE_NOT_FINAL : CS_TOO_EARLY;
    }
    int claimed = lock->state == CS_STATE_CLAIMED;
    if (claimed ? claims : !claims && lock->state == CS_STATE_REFUNDED) {
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

/* The hashlocks that some preimages open, under SHA-256 and under SM3. */
typedef struct {
    uint8_t of[2][HASHED_AT_ONCE][32];
} hashlocks;

/* Those of the preimages from `first` on; returns how many they are. */
static uint32_t hash_preimages(hashlocks *locks, const uint8_t *preimages, uint32_t first, uint32_t count) {
    const uint32_t some = count - first < HASHED_AT_ONCE ? count - first : HASHED_AT_ONCE;
    cs_hash_rows(CS_HASH_SHA256, locks->of[0][0], preimages + 32 * (size_t)first, 32, 32, some);
    cs_hash_rows(CS_HASH_SM3, locks->of[1][0], preimages + 32 * (size_t)first, 32, 32, some);
    return some;
}

/* Open the locks of place i. A reveal that stands twice in a block walks its locks once: what it left is past its
 * timelock. */
static void reveal(cs_state *state, const hashlocks *locks, uint32_t i, const uint8_t preimage[32], uint64_t height,
                   uint64_t relay_time, uint64_t now) {
    for (int function = CS_LOCK_SHA256; function <= CS_LOCK_SM3; function++) {
        const uint8_t *hashlock = locks->of[function][i];
        uint32_t index = cs_pendings_find_locks(&state->pendings, hashlock, function);
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
        index = cs_pendings_find_locks(&state->pendings, hashlock, function);
        if (index != CS_NONE) {
            state->pendings.items[index].revealed_height = height;
        }
    }
}

/* Refund the locks, and abort the runs, whose time is over. */
static void end_due(cs_state *state, uint64_t relay_time, uint64_t now) {
    cs_heap *locks = &state->pendings.locks;
    while (locks->count > 0 && locks->nodes[0].key <= relay_time && state->fault == 0) {
        uint32_t index = locks->nodes[0].item;
        if (cs_pending_is_prepared(&state->pendings.items[index])) {
            cs_abort_half(state, index, now);
            continue;
        }
        cs_record record;
        uint8_t digest[32];
        cs_derive(state, &state->pendings.items[index], NULL, &record, digest);
        cs_release_pending(state, index, CS_STATE_REFUNDED, 0, now);
        cs_decisions_add(&state->decisions, digest, now, CS_REFUNDED);
    }
}

/* Those of a list from this one on, but no more than `most`. */
static uint64_t list_length(const cs_pendings *pendings, uint32_t index, uint64_t most) {
    uint64_t length = 0;
    for (; index != CS_NONE && length < most; index = pendings->items[index].same_after) {
        length++;
    }
    return length;
}

/* How many locks and halves this block can end: what is due, and what its reveals and decisions meet. Never more than
 * are open. *committing: halves that its decisions meet. */
static uint64_t count_endings(const cs_state *state, uint64_t relay_time, const uint8_t *preimages, uint32_t count,
                              const uint8_t *runs, uint32_t run_count, uint64_t *committing) {
    const cs_pendings *pendings = &state->pendings;
    uint64_t open = pendings->open_lock_count, endings = 0;
    for (uint64_t i = 0; i < pendings->locks.count; i++) {
        endings += pendings->locks.nodes[i].key <= relay_time;
    }
    for (uint32_t first = 0, some; first < count && open > 0; first += some) {
        hashlocks locks;
        some = hash_preimages(&locks, preimages, first, count);
        for (uint32_t i = 0; i < 2 * some; i++) {
            uint32_t index = cs_pendings_find_locks(pendings, locks.of[i % 2][i / 2], (int)(i % 2));
            endings += list_length(pendings, index, open - endings);
        }
    }
    *committing = 0;
    for (uint32_t i = 0; i < run_count && *committing < open; i++) {
        uint32_t index = cs_pendings_find_locks(pendings, runs + 32 * (size_t)i, CS_LOCK_RUN);
        *committing += list_length(pendings, index, open - *committing);
    }
    return endings + *committing < open ? endings + *committing : open;
}

int cs_apply_relay(cs_state *state, uint64_t height, uint64_t relay_time, const uint8_t *preimages, uint32_t count,
                   const uint8_t *runs, uint32_t run_count, uint64_t now) {
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
    uint64_t committing, endings = count_endings(state, relay_time, preimages, count, runs, run_count, &committing);
    /* A committed pending leaves one bucket for another; a committed transfer may make two leaves. */
    const cs_need need = {
        .pendings = committing, .endings = endings, .decisions = endings + committing, .outgoing = endings};
    result = cs_step_reserve(state, &need, time);
    if (result != 0) {
        return result;
    }
    cs_step_begin(state, time);
    for (uint32_t first = 0, some; first < count; first += some) {
        hashlocks locks;
        some = hash_preimages(&locks, preimages, first, count);
        for (uint32_t i = 0; i < some; i++) {
            reveal(state, &locks, i, preimages + 32 * ((size_t)first + i), height, relay_time, time);
        }
    }
    for (uint32_t i = 0; i < run_count && state->fault == 0; i++) {
        cs_commit_run(state, runs + 32 * (size_t)i, relay_time, time);
    }
    end_due(state, relay_time, time);
    state->relay_height = height;
    state->relay_time = relay_time;
    return cs_step_end(state, time);
}
