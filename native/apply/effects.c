/* The only places where balances, entries and messages change, and how a run's are taken back.
 *
 * Every change has a debit and a credit side of the same amount, so debits equal credits by construction.
 */
#include "apply/state.h"

static cs_undo *note(cs_state *state, uint8_t effect) {
    cs_undo *undo = &state->undo[state->undo_count++];
    memset(undo, 0, sizeof *undo);
    undo->effect = effect;
    return undo;
}

/* The posted sides take an amount, which no total may outgrow. */
static int post_sides(cs_state *state, uint32_t ledger_index, uint32_t debit_index, uint32_t credit_index, cs_u128 amount) {
    cs_ledger *ledger = &state->ledgers[ledger_index];
    if (!cs_sums_within(ledger->debits_posted + ledger->debits_pending, amount, CS_U128_MAX, 0)) {
        state->fault = CS_FAULT_LEDGER_TOTAL;
        return -1;
    }
    ledger->debits_posted += amount;
    cs_accounts_touch(&state->accounts, debit_index)->debits_posted += amount;
    cs_accounts_touch(&state->accounts, credit_index)->credits_posted += amount;
    return 0;
}

static void unpost_sides(cs_state *state, uint32_t ledger_index, uint32_t debit_index, uint32_t credit_index,
                         cs_u128 amount) {
    state->ledgers[ledger_index].debits_posted -= amount;
    cs_accounts_touch(&state->accounts, debit_index)->debits_posted -= amount;
    cs_accounts_touch(&state->accounts, credit_index)->credits_posted -= amount;
}

static void pend_sides(cs_state *state, const cs_pending *pending) {
    state->ledgers[pending->ledger_index].debits_pending += pending->amount;
    cs_accounts_touch(&state->accounts, pending->debit_index)->debits_pending += pending->amount;
    cs_accounts_touch(&state->accounts, pending->credit_index)->credits_pending += pending->amount;
}

static int unpend_sides(cs_state *state, const cs_pending *pending) {
    cs_ledger *ledger = &state->ledgers[pending->ledger_index];
    cs_account *debit = cs_accounts_touch(&state->accounts, pending->debit_index);
    cs_account *credit = cs_accounts_touch(&state->accounts, pending->credit_index);
    if (ledger->debits_pending < pending->amount || debit->debits_pending < pending->amount ||
        credit->credits_pending < pending->amount) {
        state->fault = CS_FAULT_CONSERVATION;
        return -1;
    }
    ledger->debits_pending -= pending->amount;
    debit->debits_pending -= pending->amount;
    credit->credits_pending -= pending->amount;
    return 0;
}

static uint64_t forget_bucket(const cs_state *state, const cs_pending *pending, uint64_t ended_at) {
    uint64_t latest = ended_at > pending->expires_at ? ended_at : pending->expires_at;
    return (latest + cs_window_ns(&state->ledgers[pending->ledger_index])) / state->limits.bucket_ns;
}

void cs_move(cs_state *state, uint32_t ledger_index, uint32_t debit_index, uint32_t credit_index, cs_u128 amount) {
    if (post_sides(state, ledger_index, debit_index, credit_index, amount) == 0 && state->in_run) {
        cs_undo *undo = note(state, CS_UNDO_MOVE);
        undo->ledger_index = ledger_index;
        undo->debit_index = debit_index;
        undo->credit_index = credit_index;
        undo->amount = amount;
    }
}

uint32_t cs_reserve_pending(cs_state *state, const cs_pending *pending) {
    uint32_t index = cs_pendings_insert(&state->pendings, pending);
    pend_sides(state, pending);
    if (state->in_run) {
        note(state, CS_UNDO_RESERVE)->pending = index;
    }
    return index;
}

void cs_release_pending(cs_state *state, uint32_t index, uint8_t to, cs_u128 posted, uint64_t now) {
    const cs_pending *pending = &state->pendings.items[index];
    uint64_t bucket = forget_bucket(state, pending, now);
    if (unpend_sides(state, pending) != 0 ||
        post_sides(state, pending->ledger_index, pending->debit_index, pending->credit_index, posted) != 0) {
        return;
    }
    cs_pendings_end(&state->pendings, index, to, posted, now, bucket);
    cs_pendings_event(&state->pendings, index, to, posted, now);
    if (pending->draws && to != CS_STATE_CLAIMED) {
        cs_give_back(state, pending);
    }
    if (state->in_run) {
        cs_undo *undo = note(state, CS_UNDO_END);
        undo->pending = index;
        undo->forget_bucket = bucket;
    }
}

void cs_add_entry(cs_state *state, const cs_entry *entry, uint64_t forget) {
    cs_window_place place = cs_window_add(&state->window, entry, forget / state->limits.bucket_ns);
    if (state->in_run) {
        note(state, CS_UNDO_ENTRY)->place = place;
    }
}

void cs_begin_run(cs_state *state) {
    state->in_run = 1;
    state->undo_count = 0;
    state->run_ids = state->window.chain.count;
    state->run_events = state->pendings.chain.count;
    state->run_decisions = state->decisions.count;
    state->rules.saved_count = 0;
}

static void take_back(cs_state *state, const cs_undo *undo) {
    const cs_pending *pending = &state->pendings.items[undo->pending];
    switch (undo->effect) {
    case CS_UNDO_MOVE:
        unpost_sides(state, undo->ledger_index, undo->debit_index, undo->credit_index, undo->amount);
        break;
    case CS_UNDO_RESERVE:
        (void)unpend_sides(state, pending);
        cs_pendings_undo_insert(&state->pendings, undo->pending);
        break;
    case CS_UNDO_END:
        unpost_sides(state, pending->ledger_index, pending->debit_index, pending->credit_index, pending->posted);
        pend_sides(state, pending);
        cs_pendings_undo_end(&state->pendings, undo->pending, undo->forget_bucket);
        break;
    default:
        cs_window_undo(&state->window, undo->place);
        break;
    }
}

void cs_undo_run(cs_state *state) {
    cs_chain_truncate(&state->window.chain, &state->window.buckets, state->run_ids);
    cs_chain_truncate(&state->pendings.chain, &state->pendings.buckets, state->run_events);
    cs_decisions_truncate(&state->decisions, state->run_decisions);
    while (state->undo_count > 0) {
        take_back(state, &state->undo[--state->undo_count]);
    }
    cs_undo_rules(state);
    state->in_run = 0;
}

void cs_send(cs_state *state, uint32_t peer, cs_credit *message) {
    message->sequence = ++state->peers[peer].sent;
    cs_outgoing_add(&state->outgoing, peer, message);
}
