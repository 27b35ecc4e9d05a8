/* Whether a state is sound: what must hold after every step, found by walking everything. */
#include <stdlib.h>

#include "apply/state.h"

/* Sums of one ledger over all accounts, or of one account over all open pendings. */
typedef struct {
    cs_u128 debits_pending, debits_posted, credits_pending, credits_posted;
} sums;

static int add(cs_u128 *sum, cs_u128 amount) { return __builtin_add_overflow(*sum, amount, sum); }

static int account_wraps(const cs_account *account) {
    cs_u128 sum;
    return __builtin_add_overflow(account->debits_pending, account->debits_posted, &sum) ||
           __builtin_add_overflow(account->credits_pending, account->credits_posted, &sum);
}

static uint32_t audit_accounts(const cs_state *state, sums *ledgers) {
    const cs_accounts *accounts = &state->accounts;
    uint64_t channels = (uint64_t)state->ledger_count * state->peer_count;
    uint32_t found = accounts->count < channels ? CS_AUDIT_ACCOUNT : 0;
    for (uint64_t i = 0; i < accounts->count; i++) {
        const cs_account *account = &accounts->items[i];
        uint32_t ledger = cs_find_ledger(state, account->ledger);
        if (ledger == CS_NONE || ((account->flags & CS_ACCOUNT_IS_CHANNEL) != 0) != (i < channels)) {
            found |= CS_AUDIT_ACCOUNT;
            continue;
        }
        if (i < channels && (ledger != i / state->peer_count ||
                             account->id != cs_channel_id(account->ledger, state->peers[i % state->peer_count].shard))) {
            found |= CS_AUDIT_ACCOUNT;
        }
        if (account_wraps(account) || add(&ledgers[ledger].debits_pending, account->debits_pending) ||
            add(&ledgers[ledger].debits_posted, account->debits_posted) ||
            add(&ledgers[ledger].credits_pending, account->credits_pending) ||
            add(&ledgers[ledger].credits_posted, account->credits_posted)) {
            found |= CS_AUDIT_WRAP;
        }
        found |= cs_accounts_find(accounts, account->id) != i ? CS_AUDIT_INDEX : 0;
    }
    return found;
}

static uint32_t audit_ledgers(const cs_state *state, const sums *ledgers) {
    uint32_t found = 0;
    for (uint32_t i = 0; i < state->ledger_count; i++) {
        const cs_ledger *ledger = &state->ledgers[i];
        cs_u128 total;
        if (ledgers[i].debits_pending != ledgers[i].credits_pending ||
            ledgers[i].debits_pending != ledger->debits_pending) {
            found |= CS_AUDIT_PENDING_TOTALS;
        }
        if (ledgers[i].debits_posted != ledgers[i].credits_posted || ledgers[i].debits_posted != ledger->debits_posted) {
            found |= CS_AUDIT_POSTED_TOTALS;
        }
        found |= __builtin_add_overflow(ledger->debits_pending, ledger->debits_posted, &total) ? CS_AUDIT_WRAP : 0;
    }
    return found;
}

/* The sums of open pendings against the pending sides of their accounts. */
static uint32_t audit_sums(const cs_state *state, sums *accounts) {
    const cs_pendings *pendings = &state->pendings;
    uint32_t found = 0;
    for (uint32_t i = pendings->made_first; i != CS_NONE; i = pendings->items[i].made_after) {
        const cs_pending *pending = &pendings->items[i];
        if (cs_pending_is_open(pending) && (add(&accounts[pending->debit_index].debits_pending, pending->amount) ||
                                                  add(&accounts[pending->credit_index].credits_pending, pending->amount))) {
            found |= CS_AUDIT_WRAP;
        }
    }
    for (uint64_t i = 0; i < state->accounts.count; i++) {
        if (accounts[i].debits_pending != state->accounts.items[i].debits_pending ||
            accounts[i].credits_pending != state->accounts.items[i].credits_pending) {
            found |= CS_AUDIT_PENDING_SUMS;
        }
    }
    return found;
}

static uint64_t bucket_sum(const cs_buckets *buckets) {
    uint64_t count = 0;
    for (uint64_t i = 0; i < buckets->heap.count; i++) {
        count += buckets->items[buckets->heap.nodes[i].item].count;
    }
    return count;
}

static uint32_t audit_pendings(const cs_state *state) {
    const cs_pendings *pendings = &state->pendings;
    uint64_t count = 0, open = 0, locks = 0, timed = 0;
    uint32_t found = 0;
    for (uint32_t i = pendings->made_first; i != CS_NONE; i = pendings->items[i].made_after) {
        const cs_pending *pending = &pendings->items[i];
        int is_open = cs_pending_is_open(pending), is_lock = cs_pending_waits(pending);
        count++;
        open += is_open;
        locks += is_open && is_lock;
        timed += is_open && !is_lock && pending->due != 0;
        found |= cs_pendings_find(pendings, pending->debit_account, pending->id) != i ? CS_AUDIT_INDEX : 0;
    }
    if (count != pendings->count || open != pendings->open_count || locks != pendings->open_lock_count ||
        locks != pendings->locks.count || timed != pendings->due.count || count != pendings->table.count ||
        bucket_sum(&pendings->buckets) != count || bucket_sum(&pendings->forget) != count - open ||
        pendings->chain.count != 0 || count > state->limits.pendings_max) {
        found |= CS_AUDIT_PENDING_COUNTS;
    }
    return found;
}

static uint32_t audit_ids(const cs_state *state) {
    const cs_window *window = &state->window;
    uint64_t count = 0;
    uint32_t found = 0;
    for (uint64_t i = 0; i < window->buckets.heap.count; i++) {
        uint32_t index = window->buckets.items[window->buckets.heap.nodes[i].item].first;
        for (; index != CS_NONE; index = window->items[index].next) {
            const cs_entry *entry = &window->items[index];
            uint32_t at = cs_window_find(window, entry->authoriser, entry->record.debit_account, entry->record.id);
            found |= at != index ? CS_AUDIT_INDEX : 0;
            count++;
        }
    }
    if (count != window->count || count != window->table.count || bucket_sum(&window->buckets) != count ||
        window->chain.count != 0 || count > state->limits.ids_max) {
        found |= CS_AUDIT_ID_COUNTS;
    }
    return found;
}

/* A tier has its rule and its counter, and a counter its tier. */
static uint32_t audit_rules(const cs_state *state) {
    uint64_t tiered = 0;
    uint32_t found = cs_rules_are_sound(&state->rules) ? 0 : CS_AUDIT_RULES;
    for (uint64_t i = 0; i < state->accounts.count; i++) {
        const cs_account *account = &state->accounts.items[i];
        if (account->tier != 0) {
            cs_u128 tier = (cs_u128)account->ledger << 32 | account->tier;
            tiered++;
            if (cs_rules_find(&state->rules, CS_RULE_TIER, 0, tier, 0) == CS_NONE ||
                cs_rules_find(&state->rules, CS_RULE_COUNTER, 0, account->id, 0) == CS_NONE) {
                found = CS_AUDIT_RULES;
            }
        }
    }
    return tiered == state->rules.of_type[CS_RULE_COUNTER] ? found : CS_AUDIT_RULES;
}

int cs_audit(const cs_state *state, uint32_t *found) {
    sums *ledgers = calloc((size_t)state->ledger_count + 1, sizeof *ledgers);
    sums *accounts = calloc((size_t)state->accounts.count + 1, sizeof *accounts);
    int result = ledgers == NULL || accounts == NULL ? CS_NO_MEMORY : 0;
    if (result == 0) {
        *found = audit_accounts(state, ledgers) | audit_ledgers(state, ledgers) | audit_sums(state, accounts) |
                 audit_pendings(state) | audit_ids(state) | audit_rules(state);
    }
    free(ledgers);
    free(accounts);
    return result;
}
