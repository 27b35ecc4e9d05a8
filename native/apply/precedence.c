/* In which order a request is refused: malformed, known, signed, authorised, known otherwise, time (docs/spec/03). */
#include "apply/state.h"

/* The bits above the kind that each kind may set (RECORD-5). */
static const uint16_t ALLOWED[8] = {
    [CS_KIND_PLAIN] = CS_FLAG_LINKED | CS_FLAG_ATTACHED,
    [CS_KIND_PENDING] = CS_FLAG_LINKED | CS_FLAG_ATTACHED | CS_FLAG_PAYER_POSTS | CS_FLAG_PAYEE_POSTS |
                        CS_FLAG_PAYER_VOIDS | CS_FLAG_PAYEE_VOIDS,
    [CS_KIND_POST] = CS_FLAG_LINKED | CS_FLAG_ATTACHED,
    [CS_KIND_VOID] = CS_FLAG_LINKED | CS_FLAG_ATTACHED,
    [CS_KIND_LOCK] = CS_FLAG_LINKED | CS_FLAG_SM3,
    [CS_KIND_CLAIM] = CS_FLAG_SM3,
    [CS_KIND_REFUND] = 0,
    [CS_KIND_CANCEL] = 0,
};

static int is_zero32(const uint8_t bytes[32]) { return (cs_load_u128(bytes) | cs_load_u128(bytes + 16)) == 0; }

static int refers(unsigned kind) { return kind == CS_KIND_POST || kind == CS_KIND_VOID || kind == CS_KIND_CANCEL; }

static uint16_t malformed_flags(const cs_record *record, int in_run) {
    unsigned kind = record->flags & CS_FLAG_KIND;
    if (kind > CS_KIND_CANCEL || (record->flags & CS_FLAG_RESERVED) != 0) {
        return CS_RESERVED_FLAG_SET;
    }
    if ((record->flags & CS_FLAG_MANDATE) != 0) {
        return CS_MANDATE_UNSUPPORTED;
    }
    if ((record->flags & ~(CS_FLAG_KIND | ALLOWED[kind])) != 0 || (in_run && kind >= CS_KIND_CLAIM) ||
        (in_run == CS_OVER_SHARDS && kind > CS_KIND_PENDING)) {
        return CS_KIND_FLAG_NOT_ALLOWED;
    }
    return 0;
}

static uint16_t malformed_parties(const cs_record *record, unsigned kind) {
    if (record->id == 0) {
        return CS_ID_MUST_NOT_BE_ZERO;
    }
    if (record->id == CS_U128_MAX) {
        return CS_ID_MUST_NOT_BE_MAX;
    }
    if (cs_reserved(record->debit_account)) {
        return CS_DEBIT_ACCOUNT_RESERVED;
    }
    if (kind == CS_KIND_CANCEL) {
        return record->credit_account != 0 ? CS_CREDIT_ACCOUNT_MUST_BE_ZERO : 0;
    }
    if (cs_reserved(record->credit_account)) {
        return CS_CREDIT_ACCOUNT_RESERVED;
    }
    return record->credit_account == record->debit_account ? CS_ACCOUNTS_MUST_DIFFER : 0;
}

static uint16_t malformed_until(const cs_record *record, unsigned kind) {
    switch (kind) {
    case CS_KIND_PENDING:
        return record->until >= (uint64_t)1 << 62 ? CS_UNTIL_OUT_OF_RANGE : 0;
    case CS_KIND_LOCK:
        return record->until == 0 || record->until > CS_TIME_MAX ? CS_UNTIL_OUT_OF_RANGE : 0;
    default:
        return record->until != 0 ? CS_UNTIL_MUST_BE_ZERO : 0;
    }
}

static uint16_t malformed_fields(const cs_record *record, unsigned kind) {
    if (kind == CS_KIND_CANCEL ? record->amount != 0 : record->amount == 0) {
        return kind == CS_KIND_CANCEL ? CS_AMOUNT_MUST_BE_ZERO : CS_AMOUNT_MUST_NOT_BE_ZERO;
    }
    if (refers(kind) != (record->reference != 0)) {
        return refers(kind) ? CS_REFERENCE_MUST_NOT_BE_ZERO : CS_REFERENCE_MUST_BE_ZERO;
    }
    if (record->expires_at == 0 || record->expires_at > CS_TIME_MAX) {
        return CS_EXPIRES_AT_OUT_OF_RANGE;
    }
    uint16_t code = malformed_until(record, kind);
    if (code != 0) {
        return code;
    }
    if (record->key_id == 0) {
        return CS_KEY_ID_MUST_NOT_BE_ZERO;
    }
    if (record->valid_for_s == 0) {
        return CS_VALID_FOR_MUST_NOT_BE_ZERO;
    }
    int bound = kind == CS_KIND_LOCK || (record->flags & CS_FLAG_ATTACHED) != 0;
    if (bound == is_zero32(record->binding)) {
        return bound ? CS_BINDING_MUST_NOT_BE_ZERO : CS_BINDING_MUST_BE_ZERO;
    }
    return 0;
}

uint16_t cs_malformed(const cs_state *state, cs_request *request, int in_run) {
    const cs_record *record = request->record;
    unsigned kind = record->flags & CS_FLAG_KIND;
    uint16_t code = malformed_flags(record, in_run);
    if (code != 0 || kind == CS_KIND_CLAIM || kind == CS_KIND_REFUND) {
        return code;
    }
    code = malformed_parties(record, kind);
    if (code == 0) {
        code = malformed_fields(record, kind);
    }
    if (code != 0) {
        return code;
    }
    request->ledger_index = cs_find_ledger(state, record->ledger);
    if (request->ledger_index == CS_NONE) {
        return CS_LEDGER_NOT_FOUND;
    }
    const cs_ledger *ledger = &state->ledgers[request->ledger_index];
    if (record->valid_for_s > ledger->window_s) {
        return CS_VALID_FOR_EXCEEDS_WINDOW;
    }
    return record->amount > ledger->amount_max ? CS_AMOUNT_EXCEEDS_LEDGER_MAX : 0;
}

static int may_be_signed_by_payee(const cs_record *record) {
    unsigned kind = record->flags & CS_FLAG_KIND;
    return kind == CS_KIND_POST || kind == CS_KIND_VOID;
}

uint32_t cs_find_identical(const cs_state *state, const cs_request *request) {
    const cs_record *record = request->record;
    const cs_window *window = &state->window;
    uint32_t entry = cs_window_find(window, record->debit_account, record->debit_account, record->id);
    if (entry != CS_NONE && memcmp(window->items[entry].digest, request->digest, 32) == 0) {
        return entry;
    }
    if (!may_be_signed_by_payee(record)) {
        return CS_NONE;
    }
    entry = cs_window_find(window, record->credit_account, record->debit_account, record->id);
    return entry != CS_NONE && memcmp(window->items[entry].digest, request->digest, 32) == 0 ? entry : CS_NONE;
}

static int is_done(uint16_t code) { return code < CS_RESERVED_FLAG_SET; }

/* A hold is known at least as long as its id too. */
static uint16_t what_became_of_hold(const cs_state *state, const cs_entry *entry) {
    uint32_t index = cs_pendings_find(&state->pendings, entry->record.debit_account, entry->record.id);
    int plain = (entry->record.flags & CS_FLAG_KIND) == CS_KIND_PLAIN;
    switch (index == CS_NONE ? CS_STATE_HELD : state->pendings.items[index].state) {
    case CS_STATE_HELD:
        return CS_HELD;
    case CS_STATE_HOLD_REJECTED:
        return CS_HOLD_REJECTED;
    case CS_STATE_HOLD_EXPIRED:
        return CS_HOLD_EXPIRED;
    default:
        return plain && !cs_is_local(state, entry->record.credit_account) ? CS_CREATED_IN_TRANSIT : CS_CREATED;
    }
}

/* A prepared half is known at least as long as its id (LEDGER-96). */
static uint16_t what_became(const cs_state *state, const cs_entry *entry) {
    if (entry->code == CS_HELD) {
        return what_became_of_hold(state, entry);
    }
    uint32_t half = cs_pendings_find(&state->pendings, entry->record.debit_account, entry->record.id);
    if (half == CS_NONE || state->pendings.items[half].state == CS_STATE_PREPARED) {
        return CS_PREPARED;
    }
    return state->pendings.items[half].state == CS_STATE_ABORTED ? CS_ABORTED : CS_COMMITTED;
}

uint16_t cs_repeat(const cs_state *state, cs_request *request, uint32_t entry) {
    const cs_entry *known = &state->window.items[entry];
    request->first_code = known->code == CS_PREPARED || known->code == CS_HELD ? what_became(state, known) : known->code;
    request->first_time = known->time;
    int ended = request->first_code == CS_ABORTED || request->first_code == CS_HOLD_REJECTED ||
                request->first_code == CS_HOLD_EXPIRED;
    return is_done(request->first_code) && !ended ? CS_EXISTS : CS_ID_ALREADY_FAILED;
}

/* Step 18: whose key this is, the debit account's or, to end a pending, the credit account's. */
static int find_authoriser(const cs_state *state, cs_request *request, const cs_key *key) {
    const cs_record *record = request->record;
    const cs_account *debit = &state->accounts.items[request->debit_index];
    if ((key->role == CS_ROLE_ISSUER && (debit->flags & CS_ACCOUNT_IS_ISSUER) != 0 &&
         key->participant == cs_participant(debit->id)) ||
        (key->role == CS_ROLE_ACCOUNT && key->lineage == debit->key_lineage)) {
        request->authoriser = record->debit_account;
        return 1;
    }
    if (!may_be_signed_by_payee(record) || key->participant != cs_participant(record->credit_account)) {
        return 0;
    }
    request->authoriser = record->credit_account;
    if (key->role == CS_ROLE_ACCOUNT) {
        return 1;
    }
    uint32_t credit = cs_is_local(state, record->credit_account)
                          ? cs_accounts_find(&state->accounts, record->credit_account)
                          : CS_NONE;
    return key->role == CS_ROLE_ISSUER && credit != CS_NONE &&
           (state->accounts.items[credit].flags & CS_ACCOUNT_IS_ISSUER) != 0;
}

static uint16_t first_difference(const cs_record *known, const cs_record *record) {
    if (known->flags != record->flags) {
        return CS_EXISTS_WITH_DIFFERENT_FLAGS;
    }
    if (known->credit_account != record->credit_account) {
        return CS_EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT;
    }
    if (known->amount != record->amount) {
        return CS_EXISTS_WITH_DIFFERENT_AMOUNT;
    }
    if (known->reference != record->reference) {
        return CS_EXISTS_WITH_DIFFERENT_REFERENCE;
    }
    if (known->user_data != record->user_data) {
        return CS_EXISTS_WITH_DIFFERENT_USER_DATA;
    }
    if (known->expires_at != record->expires_at) {
        return CS_EXISTS_WITH_DIFFERENT_EXPIRES_AT;
    }
    if (known->until != record->until) {
        return CS_EXISTS_WITH_DIFFERENT_UNTIL;
    }
    if (known->ledger != record->ledger) {
        return CS_EXISTS_WITH_DIFFERENT_LEDGER;
    }
    if (known->key_id != record->key_id) {
        return CS_EXISTS_WITH_DIFFERENT_KEY_ID;
    }
    if (known->valid_for_s != record->valid_for_s) {
        return CS_EXISTS_WITH_DIFFERENT_VALID_FOR;
    }
    if (known->code != record->code) {
        return CS_EXISTS_WITH_DIFFERENT_CODE;
    }
    return memcmp(known->binding, record->binding, 32) != 0 ? CS_EXISTS_WITH_DIFFERENT_BINDING
                                                            : CS_EXISTS_WITH_DIFFERENT_RUN;
}

/* Step 19. A pending may outlive the entry of its id; its id is not free before it is forgotten. One with the same
 * expires_at goes on to step 20, which refuses it: the entry was dropped a window after that instant. */
static uint16_t known_otherwise(const cs_state *state, cs_request *request) {
    const cs_record *record = request->record;
    unsigned kind = record->flags & CS_FLAG_KIND;
    uint32_t entry = cs_window_find(&state->window, request->authoriser, record->debit_account, record->id);
    if (entry != CS_NONE) {
        const cs_entry *known = &state->window.items[entry];
        if (known->code != CS_CANCELLED) {
            return first_difference(&known->record, record);
        }
        /* A cancel covers what expires no later than itself: what lives longer outlives the entry. */
        return record->expires_at <= known->record.expires_at ? cs_repeat(state, request, entry)
                                                              : CS_EXISTS_WITH_DIFFERENT_EXPIRES_AT;
    }
    /* A plain one may have been held, or may be now: where rules stand it is asked like the others. */
    int plain_too = kind == CS_KIND_PLAIN && state->rules.live != 0;
    if (kind == CS_KIND_PENDING || kind == CS_KIND_LOCK || request->run != NULL || plain_too) {
        uint32_t pending = cs_pendings_find(&state->pendings, record->debit_account, record->id);
        if (pending != CS_NONE && state->pendings.items[pending].expires_at != record->expires_at) {
            return CS_EXISTS_WITH_DIFFERENT_EXPIRES_AT;
        }
    }
    return 0;
}

static uint16_t wrong_time(const cs_state *state, const cs_request *request) {
    uint64_t expires_at = request->record->expires_at, valid_for = request->record->valid_for_s * CS_SECOND_NS;
    if (request->now > expires_at + cs_window_ns(&state->ledgers[request->ledger_index])) {
        return CS_TOO_OLD;
    }
    if (request->now > expires_at || (request->run != NULL && request->deadline <= state->relay_time)) {
        return CS_EXPIRED;
    }
    return expires_at >= valid_for && request->now < expires_at - valid_for ? CS_TOO_EARLY : 0;
}

/* The bounds of memory, which burn nothing. The members of a run were counted before its first. */
static uint16_t no_room(const cs_state *state, unsigned kind) {
    uint64_t places = kind == CS_KIND_CANCEL ? 2 : 1;
    if (state->in_run) {
        return 0;
    }
    if (state->window.count + places > state->limits.ids_max) {
        return CS_WINDOW_FULL;
    }
    int pends = kind == CS_KIND_PENDING || kind == CS_KIND_LOCK;
    return pends && state->pendings.count >= state->limits.pendings_max ? CS_PENDINGS_FULL : 0;
}

static uint16_t decide(cs_state *state, cs_request *request, unsigned kind) {
    switch (kind) {
    case CS_KIND_POST:
    case CS_KIND_VOID:
        return cs_end_pending(state, request);
    case CS_KIND_CANCEL:
        return cs_cancel(state, request);
    default:
        return cs_make(state, request);
    }
}

uint16_t cs_judge(cs_state *state, cs_request *request) {
    const cs_record *record = request->record;
    unsigned kind = record->flags & CS_FLAG_KIND;
    uint16_t code;
    if (record->key_id > state->key_count || state->keys[record->key_id - 1].lineage == 0) {
        return CS_KEY_NOT_FOUND;
    }
    const cs_key *key = &state->keys[record->key_id - 1];
    if (!request->verdict) {
        return CS_INVALID_SIGNATURE;
    }
    if (key->retired_at != 0 && request->now >= key->retired_at) {
        return CS_KEY_NOT_IN_FORCE;
    }
    request->debit_index = cs_accounts_find(&state->accounts, record->debit_account);
    if (request->debit_index == CS_NONE) {
        return CS_DEBIT_ACCOUNT_NOT_FOUND;
    }
    request->key_lineage = key->lineage;
    if (!find_authoriser(state, request, key)) {
        return CS_KEY_NOT_AUTHORISED;
    }
    if ((code = known_otherwise(state, request)) != 0 || (code = wrong_time(state, request)) != 0 ||
        (code = no_room(state, kind)) != 0) {
        return code;
    }
    return decide(state, request, kind);
}

/* LEDGER-60 and LEDGER-61. What is done or burnt makes an entry, and these and the other refusals for good a leaf. A
 * known id with other content is none of them: once the id is forgotten, those bytes may execute. */
void cs_record_decision(cs_state *state, const cs_request *request, uint16_t code) {
    int kept = is_done(code) || cs_burns(code);
    int refused = code == CS_KEY_NOT_IN_FORCE || code == CS_EXPIRED;
    if (kept) {
        cs_entry entry = {.authoriser = request->authoriser,
                          .record = *request->record,
                          .time = request->now,
                          .code = code};
        memcpy(entry.digest, request->digest, 32);
        cs_add_entry(state, &entry,
                     request->record->expires_at + cs_window_ns(&state->ledgers[request->ledger_index]));
    }
    if (kept || refused) {
        cs_decisions_add(&state->decisions, request->digest, request->now, code);
    }
}
