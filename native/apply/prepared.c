/* Linked runs over shards (LEDGER-90 to LEDGER-97): halves are prepared here, and end by what the relay says.
 *
 * A run is held first: swept, checked, and its halves prepared so that they can be taken back. Whoever drives the shards
 * of the domain asks all that it touches, and then tells each whether it keeps its halves. Both calls are one log record.
 */
#include "apply/state.h"

static const cs_record *record_at(const uint8_t *messages, uint32_t i) {
    return (const cs_record *)(const void *)(messages + (size_t)i * CS_MESSAGE_BYTES + 32);
}

static unsigned kind_of(const cs_record *record) { return record->flags & CS_FLAG_KIND; }

/* A member has its credit half apart from its debit half only where it pays at once, and to another shard. */
static int has_credit_half(const cs_state *state, const cs_record *record) {
    return kind_of(record) == CS_KIND_PLAIN && cs_is_local(state, record->credit_account) &&
           !cs_is_local(state, record->debit_account);
}

static int is_one_run(const cs_state *state, const uint8_t *messages, uint32_t n) {
    if (n < 2 || n > state->limits.run_members_max) {
        return 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (((record_at(messages, i)->flags & CS_FLAG_LINKED) != 0) != (i + 1 < n)) {
            return 0;
        }
    }
    return 1;
}

static void lay_out(cs_state *state, const uint8_t *messages, const uint8_t *digests, const uint8_t *verdicts, uint32_t n,
                    uint64_t now) {
    uint64_t deadline = UINT64_MAX;
    for (uint32_t i = 0; i < n; i++) {
        cs_request request = {.record = record_at(messages, i),
                              .digest = digests + 32 * (size_t)i,
                              .verdict = verdicts[i],
                              .run = messages,
                              .now = now};
        deadline = request.record->expires_at < deadline ? request.record->expires_at : deadline;
        state->requests[i] = request;
    }
    for (uint32_t i = 0; i < n; i++) {
        state->requests[i].deadline = deadline;
    }
}

static void refuse(cs_run_view *view, uint32_t status, uint32_t member, uint16_t code) {
    view->status = status;
    view->member = member;
    view->code = code;
}

static int any_malformed(const cs_state *state, uint32_t n, cs_run_view *view) {
    for (uint32_t i = 0; i < n; i++) {
        uint16_t code = cs_malformed(state, &state->requests[i], CS_OVER_SHARDS);
        if (code != 0) {
            refuse(view, CS_RUN_MALFORMED, i, code);
            return 1;
        }
    }
    return 0;
}

static int any_known(const cs_state *state, uint32_t n, const cs_answers *answers, cs_run_view *view) {
    for (uint32_t i = 0; i < n; i++) {
        cs_request *member = &state->requests[i];
        uint32_t entry =
            cs_is_local(state, member->record->debit_account) ? cs_find_identical(state, member) : CS_NONE;
        if (entry != CS_NONE) {
            answers->codes[i] = cs_repeat(state, member, entry);
            answers->first_codes[i] = member->first_code;
            answers->times[i] = member->first_time;
            view->status = CS_RUN_KNOWN;
        }
    }
    return view->status == CS_RUN_KNOWN;
}

static int any_want_of_room(const cs_state *state, uint32_t n, cs_run_view *view) {
    uint64_t ids = 0, pendings = 0;
    for (uint32_t i = 0; i < n; i++) {
        const cs_record *record = state->requests[i].record;
        int debit_half = cs_is_local(state, record->debit_account);
        ids += (uint64_t)debit_half;
        pendings += debit_half || has_credit_half(state, record);
    }
    if (ids > 0 && state->window.count + ids > state->limits.ids_max) {
        refuse(view, CS_RUN_NO_ROOM, 0, CS_WINDOW_FULL);
    } else if (pendings > 0 && state->pendings.count + pendings > state->limits.pendings_max) {
        refuse(view, CS_RUN_NO_ROOM, 0, CS_PENDINGS_FULL);
    }
    return view->status == CS_RUN_NO_ROOM;
}

/* The mirror of the payer's shard reserves what it will pay: the ids of such halves are of records, so two of one id
 * are one record, or made to collide. */
uint16_t cs_prepare_credit(cs_state *state, const cs_request *request) {
    const cs_record *record = request->record;
    const cs_ledger *ledger = &state->ledgers[request->ledger_index];
    uint32_t peer = state->slot_peer[cs_slot(record->debit_account)], index;
    if (request->deadline <= state->relay_time) {
        return CS_EXPIRED;
    }
    uint16_t code = cs_check_payee(state, record, &index);
    if (code != 0) {
        return code;
    }
    if (!cs_sums_within(ledger->debits_posted + ledger->debits_pending, record->amount, CS_TOTAL_MAX, 0)) {
        return CS_OVERFLOWS_LEDGER_TOTAL;
    }
    if (cs_exceeds_balance_max(&state->accounts.items[index], record->amount)) {
        return CS_EXCEEDS_BALANCE_MAX;
    }
    cs_pending half = {.debit_account = cs_channel_id(record->ledger, state->peers[peer].shard),
                       .id = cs_load_u128(request->digest),
                       .credit_account = record->credit_account,
                       .amount = record->amount,
                       .user_data = record->user_data,
                       .due = request->deadline,
                       .expires_at = record->expires_at,
                       .ledger = record->ledger,
                       .flags = record->flags,
                       .code = record->code,
                       .state = CS_STATE_PREPARED_CREDIT,
                       .debit_index = request->ledger_index * state->peer_count + peer,
                       .credit_index = index,
                       .ledger_index = request->ledger_index};
    if (cs_pendings_find(&state->pendings, half.debit_account, half.id) != CS_NONE) {
        return CS_EXISTS_WITH_DIFFERENT_RUN;
    }
    memcpy(half.digest, request->digest, 32);
    memcpy(half.binding, request->run, 32);
    cs_pendings_event(&state->pendings, cs_reserve_pending(state, &half), half.state, 0, request->now);
    cs_decisions_add(&state->decisions, request->digest, request->now, CS_PREPARED_CREDIT);
    return CS_PREPARED_CREDIT;
}

static void prepare_halves(cs_state *state, uint32_t n, const cs_answers *answers, cs_run_view *view) {
    cs_begin_run(state);
    for (uint32_t i = 0; i < n; i++) {
        cs_request *member = &state->requests[i];
        if (cs_is_local(state, member->record->debit_account)) {
            answers->codes[i] = cs_judge(state, member);
            state->held.judged = i + 1;
            if (answers->codes[i] != CS_PREPARED) {
                /* A cancelled id: what cancelled it, and when. */
                answers->first_codes[i] = member->first_code;
                answers->times[i] = member->first_code != 0 ? member->first_time : member->now;
                refuse(view, CS_RUN_DEBIT, i, answers->codes[i]);
                return;
            }
            cs_record_decision(state, member, CS_PREPARED);
        } else if (has_credit_half(state, member->record)) {
            answers->codes[i] = cs_prepare_credit(state, member);
            if (answers->codes[i] != CS_PREPARED_CREDIT) {
                refuse(view, CS_RUN_CREDIT, i, answers->codes[i]);
                return;
            }
        }
        state->held.judged = i + 1;
    }
}

int cs_hold_run(cs_state *state, const uint8_t *messages, const uint8_t *digests, const uint8_t *verdicts, uint32_t n,
                uint64_t now, const cs_answers *answers, cs_run_view *view) {
    const cs_need need = {.ids = n, .pendings = n, .decisions = n, .run_members = n};
    int result = cs_step_check(state, now);
    if (result == 0 && !is_one_run(state, messages, n)) {
        result = CS_FAULT_RUN_SHAPE;
    }
    if (result == 0) {
        result = cs_step_reserve(state, &need, now);
    }
    if (result != 0) {
        return result;
    }
    cs_step_begin(state, now);
    lay_out(state, messages, digests, verdicts, n, now);
    for (uint32_t i = 0; i < n; i++) {
        answers->codes[i] = answers->first_codes[i] = 0;
        answers->times[i] = now;
    }
    memset(&state->held, 0, sizeof state->held);
    cs_run_view seen = {.status = CS_RUN_PREPARED, .member = CS_NONE};
    if (!any_malformed(state, n, &seen) && !any_known(state, n, answers, &seen)) {
        if (state->relay_height == 0) {
            seen.status = CS_RUN_UNDECIDABLE;
        } else if (!any_want_of_room(state, n, &seen)) {
            prepare_halves(state, n, answers, &seen);
        }
    }
    if (seen.status != CS_RUN_PREPARED && state->in_run) {
        cs_undo_run(state);
    }
    state->held.is_held = 1;
    state->held.view = *view = seen;
    state->held.count = n;
    state->held.now = now;
    return state->fault;
}

/* Whether the id of a member can be burnt: its debit half is here and was looked at, so its authoriser is known. */
static int may_burn(const cs_state *state, uint32_t member, uint16_t code) {
    if (member == CS_NONE) {
        return 1;
    }
    if (member >= state->held.count || code < CS_RESERVED_FLAG_SET) {
        return 0;
    }
    return !cs_burns(code) || member < state->held.judged ||
           !cs_is_local(state, state->requests[member].record->debit_account);
}

int cs_decide_run(cs_state *state, int keeps, uint32_t member, uint16_t code) {
    if (state->fault != 0) {
        return state->fault;
    }
    if (!state->held.is_held || (keeps ? state->held.view.status != CS_RUN_PREPARED : !may_burn(state, member, code))) {
        return CS_FAULT_RUN_DECISION;
    }
    if (!keeps && state->in_run) {
        cs_undo_run(state);
    }
    state->in_run = 0;
    state->held.is_held = 0;
    if (!keeps && member != CS_NONE && cs_is_local(state, state->requests[member].record->debit_account)) {
        cs_record_decision(state, &state->requests[member], code);
    }
    return cs_step_end(state, state->held.now);
}

static void commit_half(cs_state *state, uint32_t index, uint64_t now) {
    const cs_pending *half = &state->pendings.items[index];
    if (half->state == CS_STATE_PREPARED && (half->flags & CS_FLAG_KIND) == CS_KIND_PENDING) {
        uint64_t due = half->ended_at == 0 ? 0 : now + half->ended_at;
        cs_pendings_open(&state->pendings, index, CS_STATE_COMMITTED, due, now);
        cs_decisions_add(&state->decisions, half->digest, now, CS_COMMITTED);
        return;
    }
    if (half->state == CS_STATE_PREPARED) {
        cs_decisions_add(&state->decisions, half->digest, now, CS_COMMITTED);
    }
    if (cs_is_local(state, half->credit_account)) {
        cs_decisions_add(&state->decisions, half->digest, now, CS_CREDITED);
    }
    cs_release_pending(state, index, CS_STATE_POSTED, half->amount, now);
}

void cs_commit_run(cs_state *state, const uint8_t run[32], uint64_t relay_time, uint64_t now) {
    uint32_t index = cs_pendings_find_locks(&state->pendings, run, CS_LOCK_RUN);
    while (index != CS_NONE && state->fault == 0) {
        uint32_t next = state->pendings.items[index].same_after;
        if (state->pendings.items[index].due > relay_time) {
            commit_half(state, index, now);
        }
        index = next;
    }
}

void cs_abort_half(cs_state *state, uint32_t index, uint64_t now) {
    const cs_pending *half = &state->pendings.items[index];
    if (half->state == CS_STATE_PREPARED) {
        cs_decisions_add(&state->decisions, half->digest, now, CS_ABORTED);
    }
    cs_release_pending(state, index, CS_STATE_ABORTED, 0, now);
}

uint64_t cs_prepared(const cs_state *state, uint8_t *out) {
    const cs_heap *waiting = &state->pendings.locks;
    uint64_t count = 0;
    for (uint64_t i = 0; i < waiting->count; i++) {
        const cs_pending *half = &state->pendings.items[waiting->nodes[i].item];
        if (half->state != CS_STATE_PREPARED) {
            continue;
        }
        if (out != NULL) {
            uint8_t *row = out + count * CS_PREPARED_BYTES;
            memcpy(row, half->binding, 32);
            memcpy(row + 32, half->digest, 32);
            memcpy(row + 64, &half->due, 8);
        }
        count++;
    }
    return count;
}
