/* Credits from other shards, what answers them, and money that found no home (LEDGER-50, LEDGER-51). */
#include "apply/state.h"

/* Where the money of a message goes on this shard. */
typedef struct {
    uint32_t ledger_index, channel_index, peer;
    uint64_t now;
} arrival;

/* Why an account cannot be credited at all, or 0 with *index set. */
static uint16_t no_home(const cs_state *state, cs_u128 account_id, uint32_t ledger, uint32_t *index) {
    *index = cs_accounts_find(&state->accounts, account_id);
    if (*index == CS_NONE) {
        return CS_CREDIT_ACCOUNT_NOT_FOUND;
    }
    const cs_account *account = &state->accounts.items[*index];
    if (account->ledger != ledger) {
        return CS_CREDIT_ACCOUNT_OTHER_LEDGER;
    }
    return (account->flags & CS_ACCOUNT_IS_CLOSED) != 0 ? CS_CREDIT_ACCOUNT_CLOSED : 0;
}

static uint16_t refusal(const cs_state *state, const cs_credit *message, const arrival *at, uint32_t *index) {
    const cs_ledger *ledger = &state->ledgers[at->ledger_index];
    uint16_t code = no_home(state, message->credit_account, message->ledger, index);
    if (code != 0) {
        return code;
    }
    if (!cs_sums_within(ledger->debits_posted + ledger->debits_pending, message->amount, CS_TOTAL_MAX, 0)) {
        return CS_OVERFLOWS_LEDGER_TOTAL;
    }
    const cs_account *account = &state->accounts.items[*index];
    return account->balance_max > 0 && !cs_sums_within(account->credits_posted + account->credits_pending, message->amount,
                                                       account->balance_max, account->debits_posted)
               ? CS_EXCEEDS_BALANCE_MAX
               : 0;
}

/* The suspense account of the participant on this shard, registered now if it is missing: the first of its ids whose
 * slot is here (LEDGER-1), so that its owner's transfers out of it find their way. */
static uint32_t suspense(cs_state *state, const cs_credit *message, cs_u128 owner, uint64_t now) {
    cs_account account = {.opened_at = now, .ledger = message->ledger, .flags = CS_ACCOUNT_IS_SUSPENSE};
    uint32_t number = 0;
    do {
        account.id = cs_suspense_id(cs_participant(owner), message->ledger, number++);
    } while (!cs_is_local(state, account.id) && number != 0);
    uint32_t index = cs_accounts_find(&state->accounts, account.id);
    return index != CS_NONE ? index : cs_accounts_append(&state->accounts, &account);
}

static uint16_t land(cs_state *state, const cs_credit *message, const arrival *at, uint32_t index, uint16_t code) {
    cs_move(state, at->ledger_index, at->channel_index, index, message->amount);
    cs_decisions_add(&state->decisions, message->digest, at->now, code);
    return code;
}

static uint16_t send_back(cs_state *state, const cs_credit *message, const arrival *at, uint16_t reason) {
    cs_credit answer = *message;
    answer.kind = CS_CREDIT_RETURN;
    answer.time = at->now;
    answer.reason = reason;
    memset(answer.zero, 0, sizeof answer.zero);
    /* The channel account takes both sides: it consumes the credit and sends the return. */
    cs_move(state, at->ledger_index, at->channel_index, at->channel_index, message->amount);
    cs_send(state, at->peer, &answer);
    return reason;
}

static uint16_t take_in(cs_state *state, const cs_credit *message, const arrival *at) {
    uint32_t index;
    uint16_t code;
    if (message->kind == CS_CREDIT_RETURN) {
        code = no_home(state, message->debit_account, message->ledger, &index);
        if (code != 0) {
            index = suspense(state, message, message->debit_account, at->now);
        }
        return land(state, message, at, index, CS_RETURNED);
    }
    code = refusal(state, message, at, &index);
    if (code == 0) {
        return land(state, message, at, index, CS_CREDITED);
    }
    if (message->kind == CS_CREDIT_CREDIT) {
        return send_back(state, message, at, code);
    }
    index = suspense(state, message, message->credit_account, at->now);
    return land(state, message, at, index, CS_CREDITED_TO_SUSPENSE);
}

static cs_credit message_at(const uint8_t *messages, uint32_t i) {
    cs_credit message;
    memcpy(&message, messages + (size_t)i * CS_CREDIT_BYTES, sizeof message);
    return message;
}

static int check_messages(const cs_state *state, uint32_t peer, const uint8_t *messages, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        cs_credit message = message_at(messages, i);
        if (message.sequence != state->peers[peer].received + 1 + i) {
            return CS_FAULT_CHANNEL_SEQUENCE;
        }
        if (message.kind < CS_CREDIT_CREDIT || message.kind > CS_CREDIT_CLAIM ||
            cs_find_ledger(state, message.ledger) == CS_NONE) {
            return CS_FAULT_CHANNEL_MESSAGE;
        }
    }
    return 0;
}

int cs_apply_credits(cs_state *state, uint32_t peer, const uint8_t *messages, uint32_t count, uint64_t now,
                     uint16_t *codes) {
    const cs_need need = {.decisions = count, .outgoing = count, .accounts = count};
    int result = cs_step_check(state, now);
    if (result == 0) {
        result = check_messages(state, peer, messages, count);
    }
    if (result == 0) {
        result = cs_step_reserve(state, &need, now);
    }
    if (result != 0) {
        return result;
    }
    cs_step_begin(state, now);
    for (uint32_t i = 0; i < count && state->fault == 0; i++) {
        cs_credit message = message_at(messages, i);
        uint32_t ledger_index = cs_find_ledger(state, message.ledger);
        arrival at = {.ledger_index = ledger_index,
                      .channel_index = ledger_index * state->peer_count + peer,
                      .peer = peer,
                      .now = now};
        codes[i] = take_in(state, &message, &at);
        state->peers[peer].received++;
    }
    return cs_step_end(state, now);
}
