/* The state rules: making plain transfers, pendings and locks, ending pendings, cancelling ids. */
#include "apply/state.h"

/* The sides of a transfer that is being made. */
typedef struct {
    uint32_t debit_index, credit_index; /* credit_index: the channel account's where the payee is remote */
    uint32_t peer;                      /* CS_LOCAL where the payee is local */
} sides;

static uint32_t channel_account(const cs_state *state, uint32_t ledger_index, uint32_t peer) {
    return ledger_index * state->peer_count + peer;
}

static int is_frozen(const cs_account *account, uint64_t now) {
    return (account->flags & CS_ACCOUNT_IS_FROZEN) != 0 && (account->frozen_until == 0 || now < account->frozen_until);
}

static uint16_t check_debit(const cs_account *debit, const cs_request *request) {
    if (debit->ledger != request->record->ledger) {
        return CS_DEBIT_ACCOUNT_OTHER_LEDGER;
    }
    if ((debit->flags & CS_ACCOUNT_IS_CLOSED) != 0) {
        return CS_DEBIT_ACCOUNT_CLOSED;
    }
    return is_frozen(debit, request->now) ? CS_DEBIT_ACCOUNT_FROZEN : 0;
}

uint16_t cs_check_payee(const cs_state *state, const cs_record *record, uint32_t *index) {
    *index = cs_accounts_find(&state->accounts, record->credit_account);
    if (*index == CS_NONE) {
        return CS_CREDIT_ACCOUNT_NOT_FOUND;
    }
    const cs_account *credit = &state->accounts.items[*index];
    if (credit->ledger != record->ledger) {
        return CS_CREDIT_ACCOUNT_OTHER_LEDGER;
    }
    return (credit->flags & CS_ACCOUNT_IS_CLOSED) != 0 ? CS_CREDIT_ACCOUNT_CLOSED : 0;
}

static uint16_t find_credit(const cs_state *state, const cs_request *request, sides *found) {
    const cs_record *record = request->record;
    found->peer = state->slot_peer[cs_slot(record->credit_account)];
    if (found->peer != CS_LOCAL) {
        found->credit_index = channel_account(state, request->ledger_index, found->peer);
        return 0;
    }
    return cs_check_payee(state, record, &found->credit_index);
}

static int timelock_too_soon(const cs_state *state, const cs_request *request) {
    uint64_t least = request->now + state->ledgers[request->ledger_index].lock_min_s * CS_SECOND_NS;
    return request->record->until < least || request->record->until <= state->relay_time;
}

int cs_exceeds_balance_max(const cs_account *credit, cs_u128 amount) {
    return credit->balance_max > 0 && !cs_sums_within(credit->credits_posted + credit->credits_pending, amount,
                                                      credit->balance_max, credit->debits_posted);
}

/* Rules e to g: no sum below can wrap, because the ledger's total was held to 2^127 - 1 first. */
static uint16_t check_amount(const cs_state *state, const cs_request *request, const sides *found) {
    const cs_ledger *ledger = &state->ledgers[request->ledger_index];
    const cs_account *debit = &state->accounts.items[found->debit_index];
    const cs_account *credit = &state->accounts.items[found->credit_index];
    cs_u128 amount = request->record->amount;
    if (!cs_sums_within(ledger->debits_posted + ledger->debits_pending, amount, CS_TOTAL_MAX, 0)) {
        return CS_OVERFLOWS_LEDGER_TOTAL;
    }
    if ((debit->flags & (CS_ACCOUNT_IS_ISSUER | CS_ACCOUNT_IS_CHANNEL)) == 0 &&
        !cs_sums_within(debit->debits_pending + debit->debits_posted, amount, debit->credits_posted, debit->credit_limit)) {
        return CS_INSUFFICIENT_FUNDS;
    }
    return found->peer == CS_LOCAL && cs_exceeds_balance_max(credit, amount) ? CS_EXCEEDS_BALANCE_MAX : 0;
}

static void send_credit(cs_state *state, const cs_request *request, uint32_t peer) {
    const cs_record *record = request->record;
    cs_credit message = {.kind = CS_CREDIT_CREDIT,
                         .code = record->code,
                         .ledger = record->ledger,
                         .debit_account = record->debit_account,
                         .credit_account = record->credit_account,
                         .amount = record->amount,
                         .user_data = record->user_data,
                         .time = request->now};
    memcpy(message.digest, request->digest, 32);
    cs_send(state, peer, &message);
}

static void make_pending(cs_state *state, const cs_request *request, const sides *found, const cs_judgement *judgement) {
    const cs_record *record = request->record;
    uint64_t timeout = record->until == 0 ? 0 : request->now + record->until;
    cs_pending pending = {.debit_account = record->debit_account,
                          .id = record->id,
                          .credit_account = record->credit_account,
                          .amount = record->amount,
                          .user_data = record->user_data,
                          .due = (record->flags & CS_FLAG_KIND) == CS_KIND_LOCK ? record->until : timeout,
                          .expires_at = record->expires_at,
                          .ledger = record->ledger,
                          .key_lineage = request->key_lineage,
                          .flags = record->flags,
                          .code = record->code,
                          .state = CS_STATE_OPEN,
                          .draws = judgement->draws,
                          .held_for = judgement->held_for,
                          .debit_index = found->debit_index,
                          .credit_index = found->credit_index,
                          .ledger_index = request->ledger_index};
    memcpy(pending.digest, request->digest, 32);
    memcpy(pending.binding, record->binding, 32);
    if (request->run != NULL) {
        /* The debit half of a run over shards: the relay decides it by the run's deadline (LEDGER-93). */
        pending.due = request->deadline;
        pending.ended_at = record->until;
        pending.state = CS_STATE_PREPARED;
        memcpy(pending.binding, request->run, 32);
    } else if (judgement->held_for != 0) {
        pending.due = request->now + cs_hold_ns(state, record->ledger);
        pending.ended_at = record->until;
        pending.state = CS_STATE_HELD;
    }
    cs_pendings_event(&state->pendings, cs_reserve_pending(state, &pending), pending.state, 0, request->now);
}

uint16_t cs_make(cs_state *state, cs_request *request) {
    unsigned kind = request->record->flags & CS_FLAG_KIND;
    sides found = {.debit_index = request->debit_index};
    const cs_account *debit = &state->accounts.items[found.debit_index];
    uint16_t code = check_debit(debit, request);
    if (code == 0) {
        code = find_credit(state, request, &found);
    }
    if (code != 0) {
        return code;
    }
    if ((debit->flags & CS_ACCOUNT_IS_ISSUER) != 0 && kind != CS_KIND_PENDING) {
        return CS_ISSUE_REQUIRES_PENDING;
    }
    if (kind == CS_KIND_LOCK && timelock_too_soon(state, request)) {
        return CS_TIMELOCK_TOO_SOON;
    }
    code = check_amount(state, request, &found);
    if (code != 0) {
        return code;
    }
    cs_judgement judgement = {0};
    if (__builtin_expect(state->rules.live != 0, 0) && (code = cs_judge_by_rules(state, request, &judgement)) != 0) {
        return code;
    }
    if (kind != CS_KIND_PLAIN || request->run != NULL || judgement.held_for != 0) {
        make_pending(state, request, &found, &judgement);
        return request->run != NULL ? CS_PREPARED : judgement.held_for != 0 ? CS_HELD : CS_CREATED;
    }
    cs_move(state, request->ledger_index, found.debit_index, found.credit_index, request->record->amount);
    if (found.peer == CS_LOCAL) {
        return CS_CREATED;
    }
    send_credit(state, request, found.peer);
    return CS_CREATED_IN_TRANSIT;
}

static uint16_t code_of_ended(uint8_t state) {
    switch (state) {
    case CS_STATE_POSTED:
        return CS_PENDING_ALREADY_POSTED;
    case CS_STATE_VOIDED:
    case CS_STATE_ABORTED:
    case CS_STATE_HOLD_REJECTED:
        return CS_PENDING_ALREADY_VOIDED;
    default:
        return CS_PENDING_EXPIRED;
    }
}

static uint16_t check_ending(const cs_pending *pending, const cs_request *request, int posts) {
    const cs_record *record = request->record;
    if (cs_pending_is_lock(pending)) {
        return CS_PENDING_IS_LOCK;
    }
    if (pending->credit_account != record->credit_account) {
        return CS_PENDING_HAS_DIFFERENT_CREDIT_ACCOUNT;
    }
    if (pending->ledger != record->ledger) {
        return CS_PENDING_HAS_DIFFERENT_LEDGER;
    }
    if (pending->state != CS_STATE_OPEN) {
        return code_of_ended(pending->state);
    }
    if (pending->due != 0 && request->now >= pending->due) {
        return CS_PENDING_EXPIRED;
    }
    if (posts) {
        return record->amount > pending->amount ? CS_EXCEEDS_PENDING_AMOUNT : 0;
    }
    return record->amount != pending->amount ? CS_PENDING_HAS_DIFFERENT_AMOUNT : 0;
}

/* LEDGER-10: what an issuer begins, another of its keys must post; else the bits of the pending decide. */
static uint16_t check_permission(const cs_account *debit, const cs_pending *pending, const cs_request *request, int posts) {
    int by_payer = request->authoriser == pending->debit_account;
    if ((debit->flags & CS_ACCOUNT_IS_ISSUER) != 0) {
        if (!by_payer) {
            return CS_NOT_PERMITTED_BY_PENDING;
        }
        return posts && request->key_lineage == pending->key_lineage ? CS_ISSUER_KEYS_MUST_DIFFER : 0;
    }
    uint16_t payer_bit = posts ? CS_FLAG_PAYER_POSTS : CS_FLAG_PAYER_VOIDS;
    uint16_t payee_bit = posts ? CS_FLAG_PAYEE_POSTS : CS_FLAG_PAYEE_VOIDS;
    return (pending->flags & (by_payer ? payer_bit : payee_bit)) == 0 ? CS_NOT_PERMITTED_BY_PENDING : 0;
}

uint16_t cs_end_pending(cs_state *state, cs_request *request) {
    const cs_record *record = request->record;
    int posts = (record->flags & CS_FLAG_KIND) == CS_KIND_POST;
    uint32_t index = cs_pendings_find(&state->pendings, record->debit_account, record->reference);
    if (index == CS_NONE || !cs_pending_was_made(&state->pendings.items[index])) {
        return CS_PENDING_NOT_FOUND;
    }
    const cs_pending *pending = &state->pendings.items[index];
    uint16_t code = check_ending(pending, request, posts);
    if (code == 0) {
        code = check_permission(&state->accounts.items[request->debit_index], pending, request, posts);
    }
    if (code != 0) {
        return code;
    }
    cs_release_pending(state, index, posts ? CS_STATE_POSTED : CS_STATE_VOIDED, posts ? record->amount : 0, request->now);
    uint32_t peer = state->slot_peer[cs_slot(record->credit_account)];
    if (!posts || peer == CS_LOCAL) {
        return CS_CREATED;
    }
    send_credit(state, request, peer);
    return CS_CREATED_IN_TRANSIT;
}

/* A cancel that names its own id comes too late: this very decision takes it. */
uint16_t cs_cancel(cs_state *state, cs_request *request) {
    const cs_record *record = request->record;
    cs_u128 account = record->debit_account;
    if (record->reference == record->id ||
        cs_window_find(&state->window, account, account, record->reference) != CS_NONE) {
        return CS_CANCEL_TOO_LATE;
    }
    cs_entry entry = {.authoriser = account, .time = request->now, .code = CS_CANCELLED};
    entry.record.id = record->reference;
    entry.record.debit_account = account;
    entry.record.expires_at = record->expires_at;
    cs_add_entry(state, &entry, record->expires_at + cs_window_ns(&state->ledgers[request->ledger_index]));
    return CS_CREATED;
}
