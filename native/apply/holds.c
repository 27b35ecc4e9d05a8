/* How a held transfer ends: released by two supervisors, rejected, or over at its deadline (LEDGER-105, LEDGER-106).
 *
 * Released it is what it was asked to be; nothing of the rules is asked again, and only a lock whose timelock has come
 * too near in the meantime is rejected after all.
 */
#include "apply/state.h"

static void send_released(cs_state *state, const cs_pending *held, uint32_t peer, uint64_t now) {
    cs_credit message = {.kind = CS_CREDIT_CREDIT,
                         .code = held->code,
                         .ledger = held->ledger,
                         .debit_account = held->debit_account,
                         .credit_account = held->credit_account,
                         .amount = held->amount,
                         .user_data = held->user_data,
                         .time = now};
    memcpy(message.digest, held->digest, 32);
    cs_send(state, peer, &message);
}

static int lock_is_too_late(const cs_state *state, const cs_pending *held, uint64_t now) {
    uint64_t least = now + state->ledgers[held->ledger_index].lock_min_s * CS_SECOND_NS;
    return cs_pending_is_lock(held) && (held->ended_at < least || held->ended_at <= state->relay_time);
}

static void reject(cs_state *state, uint32_t index, uint64_t now) {
    cs_release_pending(state, index, CS_STATE_HOLD_REJECTED, 0, now);
    cs_decisions_add(&state->decisions, state->pendings.items[index].digest, now, CS_HOLD_REJECTED);
}

static void release(cs_state *state, uint32_t index, uint64_t now) {
    const cs_pending *held = &state->pendings.items[index];
    uint32_t peer = state->slot_peer[cs_slot(held->credit_account)];
    unsigned kind = held->flags & CS_FLAG_KIND;
    uint16_t code = CS_CREATED;
    if (lock_is_too_late(state, held, now)) {
        reject(state, index, now);
        return;
    }
    if (kind != CS_KIND_PLAIN) {
        uint64_t timeout = held->ended_at == 0 ? 0 : now + held->ended_at;
        uint64_t due = kind == CS_KIND_LOCK ? held->ended_at : timeout;
        cs_pendings_open(&state->pendings, index, CS_STATE_RELEASED, due, now);
    } else {
        cs_release_pending(state, index, CS_STATE_POSTED, held->amount, now);
        if (peer != CS_LOCAL) {
            send_released(state, held, peer, now);
            code = CS_CREATED_IN_TRANSIT;
        }
    }
    cs_decisions_add(&state->decisions, held->digest, now, code);
}

int cs_end_hold(cs_state *state, cs_u128 debit_account, cs_u128 id, int releases, uint64_t now) {
    const cs_need need = {.pendings = 1, .endings = 1, .decisions = 1, .outgoing = 1};
    uint32_t index = cs_pendings_find(&state->pendings, debit_account, id);
    if (index == CS_NONE || state->pendings.items[index].held_for == 0) {
        return CS_HOLD_NOT_FOUND;
    }
    if (state->pendings.items[index].state != CS_STATE_HELD || now >= state->pendings.items[index].due) {
        return CS_HOLD_OVER;
    }
    if (state->fault != 0) {
        return state->fault;
    }
    if (!state->in_record || now != state->record_time) {
        return CS_FAULT_RECORD_OPEN;
    }
    if (cs_step_reserve(state, &need, now) != 0) {
        return CS_NO_MEMORY;
    }
    if (releases) {
        release(state, index, now);
    } else {
        reject(state, index, now);
    }
    return state->fault != 0 ? state->fault : CS_CREATED;
}

uint64_t cs_holds(const cs_state *state, uint8_t *out) {
    const cs_pendings *pendings = &state->pendings;
    uint64_t count = 0;
    for (uint32_t i = pendings->made_first; i != CS_NONE; i = pendings->items[i].made_after) {
        if (pendings->items[i].state != CS_STATE_HELD) {
            continue;
        }
        if (out != NULL) {
            memcpy(out + count * CS_PENDING_BYTES, &pendings->items[i], CS_PENDING_BYTES);
        }
        count++;
    }
    return count;
}
