/* What every log record begins and ends with: room, the sweep, the bucket digests (LEDGER-30, LEDGER-70). */
#include "apply/memory.h"
#include "apply/state.h"

static uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }

static int reserve_window(cs_state *state, uint64_t ids) {
    uint64_t entries = smaller(state->window.count + ids, state->limits.ids_max);
    if (cs_window_reserve(&state->window, entries, ids) != 0) {
        return -1;
    }
    return cs_chain_reserve(&state->window.chain, state->window.chain.count + ids);
}

static int reserve_pendings(cs_state *state, const cs_need *need, uint64_t expiring, uint64_t forgotten) {
    cs_pendings *pendings = &state->pendings;
    uint64_t room = state->limits.pendings_max - smaller(pendings->count, state->limits.pendings_max);
    if (cs_pendings_reserve(pendings, smaller(need->pendings, room), need->endings + expiring) != 0 ||
        cs_buckets_reserve(&pendings->buckets, need->pendings) != 0) {
        return -1;
    }
    return cs_chain_reserve(&pendings->chain,
                            pendings->chain.count + need->pendings + need->endings + expiring + forgotten);
}

int cs_step_reserve(cs_state *state, const cs_need *need, uint64_t now) {
    uint64_t expiring = smaller(state->pendings.due.count, state->limits.expire_per_batch_max);
    uint64_t forgotten = cs_pendings_forgettable(&state->pendings, now / state->limits.bucket_ns);
    if (reserve_window(state, need->ids) != 0 || reserve_pendings(state, need, expiring, forgotten) != 0 ||
        cs_decisions_reserve(&state->decisions, need->decisions + expiring) != 0 ||
        cs_outgoing_reserve(&state->outgoing, need->outgoing) != 0 ||
        cs_accounts_reserve(&state->accounts, need->accounts) != 0 ||
        CS_ROOM(state->rules.saved, state->rules.saved_capacity,
                state->rules.live == 0 ? 0 : CS_RULES_MET_MAX * need->run_members) != 0 ||
        /* A member makes at most one effect and one entry. */
        CS_ROOM(state->undo, state->undo_capacity, 2 * need->run_members) != 0 ||
        CS_ROOM(state->requests, state->requests_capacity, need->run_members) != 0) {
        return CS_NO_MEMORY;
    }
    return 0;
}

/* Due pendings in order of (due, id, debit account); the rest waits for the next log record. */
static void expire(cs_state *state, uint64_t now) {
    cs_heap *due = &state->pendings.due;
    for (uint64_t i = 0; i < state->limits.expire_per_batch_max && state->fault == 0; i++) {
        if (due->count == 0 || due->nodes[0].key > now) {
            return;
        }
        uint32_t index = due->nodes[0].item;
        int held = state->pendings.items[index].state == CS_STATE_HELD;
        cs_release_pending(state, index, held ? CS_STATE_HOLD_EXPIRED : CS_STATE_EXPIRED, 0, now);
        cs_decisions_add(&state->decisions, state->pendings.items[index].digest, now,
                         held ? CS_HOLD_EXPIRED : CS_EXPIRED_BY_TIMEOUT);
    }
}

void cs_step_begin(cs_state *state, uint64_t now) {
    uint64_t live = now / state->limits.bucket_ns; /* a bucket below this one has passed whole */
    cs_window_drop(&state->window, live);
    cs_pendings_forget(&state->pendings, live, now);
    expire(state, now);
}

int cs_step_end(cs_state *state, uint64_t now) {
    cs_chain_close(&state->window.chain, &state->window.buckets, state->suite);
    cs_chain_close(&state->pendings.chain, &state->pendings.buckets, state->suite);
    state->last_time = now;
    return state->fault;
}

int cs_step_check(const cs_state *state, uint64_t now) {
    if (state->fault != 0) {
        return state->fault;
    }
    if (state->held.is_held) {
        return CS_FAULT_RUN_HELD;
    }
    if (state->in_record) {
        return CS_FAULT_RECORD_OPEN;
    }
    return now < state->last_time || now > CS_TIME_MAX ? CS_FAULT_TIME : 0;
}

int cs_begin_record(cs_state *state, uint64_t now) {
    const cs_need need = {0};
    int result = cs_step_check(state, now);
    if (result == 0) {
        result = cs_step_reserve(state, &need, now);
    }
    if (result != 0) {
        return result;
    }
    cs_step_begin(state, now);
    state->in_record = 1;
    state->record_time = now;
    return state->fault;
}

int cs_end_record(cs_state *state) {
    if (!state->in_record) {
        return state->fault != 0 ? state->fault : CS_FAULT_RECORD_OPEN;
    }
    state->in_record = 0;
    return cs_step_end(state, state->record_time);
}

int cs_apply_sweep(cs_state *state, uint64_t now) {
    int result = cs_begin_record(state, now);
    return result != 0 ? result : cs_end_record(state);
}
