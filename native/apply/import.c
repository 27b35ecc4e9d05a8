/* Reading checkpoint bytes: every length, range, key and order is checked, then the whole state is audited.
 *
 * Nothing in the bytes is trusted: counts are held against the length before memory is asked for, and what the bytes say
 * twice must agree. Digests of buckets cannot be recomputed; the caller holds the roots against a signed state root.
 */
#include "apply/export.h"

typedef struct {
    const uint8_t *at, *end;
} reader;

/* The next bytes; the total length was checked to be exactly what the counts come to. */
static const uint8_t *take(reader *from, size_t bytes) {
    const uint8_t *taken = from->at;
    from->at += bytes;
    return taken;
}

static size_t left(const reader *from) { return (size_t)(from->end - from->at); }

static int is_zero(const uint8_t *bytes, size_t count) {
    uint8_t all = 0;
    for (size_t i = 0; i < count; i++) {
        all |= bytes[i];
    }
    return all == 0;
}

static cs_u128 expected_bytes(const cs_export_header *h) {
    return (cs_u128)sizeof *h + (cs_u128)h->ledger_count * CS_EXPORT_LEDGER + (cs_u128)h->peer_count * CS_EXPORT_PEER +
           (cs_u128)h->account_count * CS_ACCOUNT_BYTES + (cs_u128)h->key_count * sizeof(cs_key) +
           ((cs_u128)h->id_bucket_count + h->pending_bucket_count) * CS_BUCKET_LEAF_BYTES +
           (cs_u128)h->id_count * sizeof(cs_entry) + (cs_u128)h->pending_count * CS_PENDING_BYTES +
           (cs_u128)h->ended_count * CS_EXPORT_FORGET + (cs_u128)h->decision_count * CS_DECISION_BYTES +
           (cs_u128)h->outgoing_count * CS_EXPORT_OUTGOING;
}

static int read_header(cs_state *state, reader *from, cs_export_header *header) {
    cs_export_header own;
    cs_export_head(state, &own);
    if (left(from) < sizeof *header) {
        return CS_BYTES_INVALID;
    }
    memcpy(header, take(from, sizeof *header), sizeof *header);
    own.version = header->version == CS_EXPORT_VERSION_RULES ? header->version : CS_EXPORT_VERSION;
    const cs_u128 expected = expected_bytes(header);
    const size_t found = left(from) + sizeof *header;
    /* Version 2 has its rules behind the rest, at least one place of them. */
    int fits = own.version == CS_EXPORT_VERSION ? expected == found : expected + 8 + CS_RULE_BYTES <= found;
    /* magic to parameters_digest: of the same build, shard, network and configuration. */
    if (memcmp(header, &own, offsetof(cs_export_header, last_time)) != 0 || header->ledger_count != own.ledger_count ||
        header->peer_count != own.peer_count || !fits) {
        return CS_BYTES_INVALID;
    }
    if (header->account_count < (uint64_t)own.ledger_count * own.peer_count || header->account_count > CS_ITEMS_MAX ||
        header->key_count > CS_ITEMS_MAX || header->id_count > state->limits.ids_max ||
        header->pending_count > state->limits.pendings_max || header->ended_count > header->pending_count ||
        header->outgoing_block_first > header->outgoing_count || header->outgoing_taken > header->outgoing_count ||
        (header->outgoing_block_first > 0 && header->outgoing_taken > 0) || header->last_time < state->last_time ||
        header->last_time > CS_TIME_MAX) {
        return CS_BYTES_INVALID;
    }
    state->last_time = header->last_time;
    state->relay_height = header->relay_height;
    state->relay_time = header->relay_time;
    return 0;
}

static void read_ledgers(cs_state *state, reader *from) {
    for (uint32_t i = 0; i < state->ledger_count; i++) {
        state->ledgers[i].debits_pending = cs_load_u128(take(from, 16));
        state->ledgers[i].debits_posted = cs_load_u128(take(from, 16));
    }
    for (uint32_t i = 0; i < state->peer_count; i++) {
        memcpy(&state->peers[i].sent, take(from, 8), 8);
        memcpy(&state->peers[i].received, take(from, 8), 8);
    }
}

static int read_accounts(cs_state *state, reader *from, uint64_t count) {
    if (cs_accounts_reserve(&state->accounts, count) != 0) {
        return CS_NO_MEMORY;
    }
    for (uint64_t i = 0; i < count; i++) {
        cs_account account;
        memcpy(&account, take(from, CS_ACCOUNT_BYTES), CS_ACCOUNT_BYTES);
        if ((account.flags & ~CS_ACCOUNT_FLAGS) != 0 || account.tier > UINT16_MAX ||
            cs_accounts_find(&state->accounts, account.id) != CS_NONE) {
            return CS_BYTES_INVALID;
        }
        cs_accounts_append(&state->accounts, &account);
    }
    return 0;
}

static int read_keys(cs_state *state, reader *from, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        cs_key key;
        memcpy(&key, take(from, sizeof key), sizeof key);
        int unset = key.lineage == 0 && !is_zero((const uint8_t *)&key, sizeof key);
        if (unset || key.lineage > count || !is_zero(key.zero, sizeof key.zero)) {
            return CS_BYTES_INVALID;
        }
        if (cs_set_key(state, (uint32_t)(i + 1), &key) != 0) {
            return CS_NO_MEMORY;
        }
    }
    return 0;
}

static int is_entry_code(uint16_t code) {
    return code == CS_CREATED || code == CS_CREATED_IN_TRANSIT || code == CS_PREPARED || code == CS_HELD ||
           code == CS_CANCELLED || cs_burns(code);
}

static int check_entry(const cs_state *state, const cs_entry *entry, uint64_t bucket_number) {
    const cs_record *record = &entry->record;
    if (!is_entry_code(entry->code) || entry->next != 0 || entry->zero != 0 || entry->time > state->last_time ||
        record->expires_at == 0 || record->expires_at > CS_TIME_MAX ||
        cs_window_find(&state->window, entry->authoriser, record->debit_account, record->id) != CS_NONE) {
        return 0;
    }
    if (entry->code == CS_CANCELLED) {
        cs_record bare = {.id = record->id, .debit_account = record->debit_account, .expires_at = record->expires_at};
        return memcmp(&bare, record, sizeof bare) == 0 && is_zero(entry->digest, 32) &&
               entry->authoriser == record->debit_account;
    }
    uint32_t ledger = cs_find_ledger(state, record->ledger);
    return ledger != CS_NONE &&
           (entry->authoriser == record->debit_account || entry->authoriser == record->credit_account) &&
           (record->expires_at + cs_window_ns(&state->ledgers[ledger])) / state->limits.bucket_ns == bucket_number;
}

/* A bucket's number, count and digest; numbers ascend and none is empty. */
static int read_leaf(reader *from, uint64_t *previous, int first, cs_bucket *leaf) {
    const uint8_t *data = take(from, CS_BUCKET_LEAF_BYTES);
    memcpy(&leaf->number, data, 8);
    memcpy(&leaf->count, data + 8, 8);
    memcpy(leaf->digest, data + 16, 32);
    int valid = leaf->count > 0 && (first || leaf->number > *previous);
    *previous = leaf->number;
    return valid;
}

static int read_ids(cs_state *state, reader *from, const cs_export_header *header) {
    cs_window *window = &state->window;
    uint64_t previous = 0, live = state->last_time / state->limits.bucket_ns;
    if (cs_window_reserve(window, header->id_count, header->id_bucket_count) != 0) {
        return CS_NO_MEMORY;
    }
    for (uint64_t i = 0; i < header->id_bucket_count; i++) {
        cs_bucket leaf;
        if (!read_leaf(from, &previous, i == 0, &leaf) || leaf.number < live ||
            leaf.count > header->id_count - window->count) {
            return CS_BYTES_INVALID;
        }
        for (uint64_t k = 0; k < leaf.count; k++) {
            cs_entry entry;
            memcpy(&entry, take(from, sizeof entry), sizeof entry);
            if (!check_entry(state, &entry, leaf.number)) {
                return CS_BYTES_INVALID;
            }
            cs_window_restore(window, &entry, leaf.number);
        }
        memcpy(window->buckets.items[cs_buckets_find(&window->buckets, leaf.number)].digest, leaf.digest, 32);
    }
    return window->count == header->id_count ? 0 : CS_BYTES_INVALID;
}

static int check_end(const cs_state *state, const cs_pending *pending) {
    unsigned kind = pending->flags & CS_FLAG_KIND;
    int plain = kind == CS_KIND_PLAIN, lock = kind == CS_KIND_LOCK;
    if (!cs_pending_is_open(pending) && pending->ended_at > state->last_time) {
        return 0;
    }
    switch (pending->state) {
    case CS_STATE_OPEN:
        return pending->posted == 0 && pending->ended_at == 0 && !plain;
    case CS_STATE_EXPIRED:
    case CS_STATE_VOIDED:
        return pending->posted == 0 && !plain && !lock;
    case CS_STATE_POSTED:
        return pending->posted > 0 && pending->posted <= pending->amount && !lock &&
               (!plain || pending->posted == pending->amount);
    case CS_STATE_CLAIMED:
        return pending->posted == pending->amount && lock;
    case CS_STATE_REFUNDED:
        return pending->posted == 0 && lock;
    case CS_STATE_PREPARED:
        return pending->posted == 0 && !lock && pending->ended_at < (plain ? 1 : (uint64_t)1 << 62);
    case CS_STATE_PREPARED_CREDIT:
        return pending->posted == 0 && plain && pending->ended_at == 0;
    case CS_STATE_ABORTED:
        return pending->posted == 0 && !lock;
    case CS_STATE_HELD:
        return pending->posted == 0 && pending->held_for != 0 && pending->due != 0 &&
               pending->ended_at < (plain ? 1 : lock ? CS_TIME_MAX + 1 : (uint64_t)1 << 62);
    case CS_STATE_HOLD_REJECTED:
    case CS_STATE_HOLD_EXPIRED:
        return pending->posted == 0 && pending->held_for != 0;
    default:
        return 0;
    }
}

/* Whether its sides are accounts that such a pending has, with their indexes: of a credit half the debit side is a
 * channel account, and its id that of the record's digest. */
static int check_sides(const cs_state *state, cs_pending *pending) {
    uint32_t peer = state->slot_peer[cs_slot(pending->credit_account)];
    if (cs_participant(pending->debit_account) == 0) {
        if (peer != CS_LOCAL || (pending->flags & CS_FLAG_KIND) != CS_KIND_PLAIN ||
            pending->state == CS_STATE_PREPARED || cs_load_u128(pending->digest) != pending->id) {
            return 0;
        }
    } else if (pending->state == CS_STATE_PREPARED_CREDIT || cs_reserved(pending->debit_account) ||
               !cs_is_local(state, pending->debit_account)) {
        return 0;
    }
    pending->debit_index = cs_accounts_find(&state->accounts, pending->debit_account);
    pending->credit_index = peer == CS_LOCAL ? cs_accounts_find(&state->accounts, pending->credit_account)
                                             : pending->ledger_index * state->peer_count + peer;
    return pending->debit_index != CS_NONE && pending->credit_index != CS_NONE &&
           state->accounts.items[pending->debit_index].ledger == pending->ledger &&
           state->accounts.items[pending->credit_index].ledger == pending->ledger;
}

/* Check one and find its accounts. */
static int check_pending(const cs_state *state, cs_pending *pending) {
    const uint64_t due_max = CS_TIME_MAX + ((uint64_t)1 << 62);
    unsigned kind = pending->flags & CS_FLAG_KIND;
    pending->ledger_index = cs_find_ledger(state, pending->ledger);
    if ((kind != CS_KIND_PLAIN && kind != CS_KIND_PENDING && kind != CS_KIND_LOCK) ||
        pending->ledger_index == CS_NONE || pending->amount == 0 ||
        pending->zero != 0 || pending->held_for > CS_HELD_BY_VELOCITY || pending->draws > (kind == CS_KIND_LOCK) ||
        pending->expires_at == 0 || pending->expires_at > CS_TIME_MAX ||
        pending->due > due_max || (kind != CS_KIND_PENDING && pending->due == 0) || !check_end(state, pending) ||
        cs_reserved(pending->credit_account) || pending->debit_account == pending->credit_account) {
        return 0;
    }
    return check_sides(state, pending) &&
           cs_pendings_find(&state->pendings, pending->debit_account, pending->id) == CS_NONE;
}

static int read_pendings(cs_state *state, reader *from, const cs_export_header *header) {
    cs_pendings *pendings = &state->pendings;
    reader leaves = *from;
    uint64_t previous = 0;
    if (cs_pendings_reserve(pendings, header->pending_count, header->ended_count) != 0 ||
        cs_buckets_reserve(&pendings->buckets, header->pending_count + header->pending_bucket_count) != 0) {
        return CS_NO_MEMORY;
    }
    take(from, (size_t)header->pending_bucket_count * CS_BUCKET_LEAF_BYTES);
    for (uint64_t i = 0; i < header->pending_count; i++) {
        cs_pending pending = {0};
        memcpy(&pending, take(from, CS_PENDING_BYTES), CS_PENDING_BYTES);
        if (!check_pending(state, &pending)) {
            return CS_BYTES_INVALID;
        }
        cs_pendings_insert(pendings, &pending);
    }
    if (pendings->buckets.heap.count != header->pending_bucket_count ||
        pendings->count - pendings->open_count != header->ended_count) {
        return CS_BYTES_INVALID;
    }
    for (uint64_t i = 0; i < header->pending_bucket_count; i++) {
        cs_bucket leaf;
        int valid = read_leaf(&leaves, &previous, i == 0, &leaf);
        uint32_t index = cs_buckets_find(&pendings->buckets, leaf.number);
        if (!valid || index == CS_NONE || pendings->buckets.items[index].count != leaf.count) {
            return CS_BYTES_INVALID;
        }
        memcpy(pendings->buckets.items[index].digest, leaf.digest, 32);
    }
    return 0;
}

static uint64_t forget_bucket(const cs_state *state, const cs_pending *pending) {
    uint64_t latest = pending->ended_at > pending->expires_at ? pending->ended_at : pending->expires_at;
    return (latest + cs_window_ns(&state->ledgers[pending->ledger_index])) / state->limits.bucket_ns;
}

/* Into an empty state pendings went one after the other, so an ordinal is an index. */
static int read_forget(cs_state *state, reader *from, const cs_export_header *header) {
    cs_pendings *pendings = &state->pendings;
    uint64_t previous = state->last_time / state->limits.bucket_ns;
    for (uint64_t i = 0; i < header->ended_count; i++) {
        uint64_t ordinal;
        memcpy(&ordinal, take(from, CS_EXPORT_FORGET), sizeof ordinal);
        if (ordinal >= pendings->count || cs_pending_is_open(&pendings->items[ordinal])) {
            return CS_BYTES_INVALID;
        }
        const cs_pending *pending = &pendings->items[ordinal];
        uint64_t number = forget_bucket(state, pending);
        uint32_t bucket = cs_buckets_find(&pendings->forget, number);
        int queued = pending->forget_before != CS_NONE ||
                     (bucket != CS_NONE && pendings->forget.items[bucket].first == ordinal);
        if (number < previous || queued) {
            return CS_BYTES_INVALID;
        }
        cs_pendings_queue_forget(pendings, (uint32_t)ordinal, number);
        previous = number;
    }
    return 0;
}

static int read_decisions(cs_state *state, reader *from, uint64_t count) {
    if (cs_decisions_reserve(&state->decisions, count) != 0) {
        return CS_NO_MEMORY;
    }
    for (uint64_t i = 0; i < count; i++) {
        cs_decision leaf;
        memcpy(&leaf, take(from, sizeof leaf), sizeof leaf);
        if (!is_zero(leaf.zero, sizeof leaf.zero)) {
            return CS_BYTES_INVALID;
        }
        cs_decisions_add(&state->decisions, leaf.digest, leaf.time, leaf.code);
    }
    return 0;
}

static int read_outgoing(cs_state *state, reader *from, const cs_export_header *header) {
    if (cs_outgoing_reserve(&state->outgoing, header->outgoing_count) != 0) {
        return CS_NO_MEMORY;
    }
    for (uint64_t i = 0; i < header->outgoing_count; i++) {
        uint64_t peer;
        cs_credit message;
        memcpy(&peer, take(from, 8), 8);
        memcpy(&message, take(from, CS_CREDIT_BYTES), CS_CREDIT_BYTES);
        if (peer >= state->peer_count || message.sequence == 0 || message.sequence > state->peers[peer].sent) {
            return CS_BYTES_INVALID;
        }
        cs_outgoing_add(&state->outgoing, (uint32_t)peer, &message);
    }
    state->outgoing.block_first = header->outgoing_block_first;
    state->outgoing.taken = header->outgoing_taken;
    return 0;
}

static int read_rules(cs_state *state, reader *from, uint16_t version) {
    uint64_t count;
    if (version == CS_EXPORT_VERSION) {
        return 0;
    }
    memcpy(&count, take(from, 8), 8);
    if (count == 0 || count > CS_RULES_MAX || count * CS_RULE_BYTES != left(from)) {
        return CS_BYTES_INVALID;
    }
    if (cs_rules_reserve(&state->rules, count) != 0) {
        return CS_NO_MEMORY;
    }
    for (uint64_t i = 0; i < count; i++) {
        cs_rule rule;
        memcpy(&rule, take(from, sizeof rule), sizeof rule);
        /* Twice the same key would be found once by the audit; what is no rule must not reach the counts. */
        if (!cs_rule_is_sound(&rule)) {
            return CS_BYTES_INVALID;
        }
        cs_rules_restore(&state->rules, &rule);
    }
    return 0;
}

int cs_import(cs_state *state, const uint8_t *data, uint64_t bytes) {
    reader from = {.at = data, .end = data + bytes};
    cs_export_header header;
    uint32_t found;
    int result = read_header(state, &from, &header);
    if (result != 0) {
        return result;
    }
    read_ledgers(state, &from);
    if ((result = read_accounts(state, &from, header.account_count)) != 0 ||
        (result = read_keys(state, &from, header.key_count)) != 0 ||
        (result = read_ids(state, &from, &header)) != 0 || (result = read_pendings(state, &from, &header)) != 0 ||
        (result = read_forget(state, &from, &header)) != 0 ||
        (result = read_decisions(state, &from, header.decision_count)) != 0 ||
        (result = read_outgoing(state, &from, &header)) != 0 ||
        (result = read_rules(state, &from, header.version)) != 0 || (result = cs_audit(state, &found)) != 0) {
        return result;
    }
    return found == 0 ? 0 : CS_BYTES_INVALID;
}
