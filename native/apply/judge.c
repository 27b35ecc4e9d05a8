/* What the rules of a shard make of a transfer that would begin (LEDGER-101 to LEDGER-107), after all other rules took it.
 *
 * Everything is asked before anything is counted. Only what begins is asked: ends of pendings and locks never come here.
 */
#include "apply/state.h"

enum { BREAKERS_MET = 6 };
#define DAY_NS ((uint64_t)86400 * CS_SECOND_NS)

/* What was met on the way; CS_NONE where there is no such row. */
typedef struct {
    uint32_t quote, counter, slow[BREAKERS_MET], slow_count;
    uint8_t held_for;
} met;

/* A row that is about to change; a run can have it back. */
static cs_rule *change(cs_state *state, uint32_t index) {
    cs_rules *rules = &state->rules;
    if (state->in_run) {
        cs_rule_saved *saved = &rules->saved[rules->saved_count++];
        saved->rule = rules->items[index];
        saved->index = index;
    }
    return cs_rules_touch(rules, index);
}

void cs_undo_rules(cs_state *state) {
    cs_rules *rules = &state->rules;
    while (rules->saved_count > 0) {
        const cs_rule_saved *saved = &rules->saved[--rules->saved_count];
        *cs_rules_touch(rules, saved->index) = saved->rule;
    }
}

/* LEDGER-101: a lock that names an open quote of its payer draws on it. */
static uint16_t ask_quote(const cs_state *state, const cs_request *request, met *found) {
    const cs_record *record = request->record;
    const cs_rules *rules = &state->rules;
    if (rules->of_type[CS_RULE_QUOTE] == 0 || (record->flags & CS_FLAG_KIND) != CS_KIND_LOCK || record->user_data == 0) {
        return 0;
    }
    found->quote = cs_rules_find(rules, CS_RULE_QUOTE, 0, record->debit_account, record->user_data);
    if (found->quote == CS_NONE) {
        return 0;
    }
    const cs_rule *quote = &rules->items[found->quote];
    if (request->now >= quote->until) {
        return CS_QUOTE_EXPIRED;
    }
    return record->amount > quote->limit_a - quote->used ? CS_QUOTE_EXHAUSTED : 0;
}

static uint64_t count_of(const cs_rule *rule, uint64_t period) { return rule->period == period ? rule->count : 0; }

static uint16_t ask_breaker(const cs_state *state, uint64_t now, unsigned kind, cs_u128 subject, met *found) {
    const cs_rules *rules = &state->rules;
    uint32_t index = rules->breakers[kind] == 0 ? CS_NONE : cs_rules_find(rules, CS_RULE_BREAKER, kind, subject, 0);
    if (index == CS_NONE || now >= rules->items[index].until) {
        return 0;
    }
    const cs_rule *breaker = &rules->items[index];
    switch (breaker->action) {
    case CS_GRADE_STOP:
        return CS_BREAKER_OPEN;
    case CS_GRADE_HOLD:
        found->held_for = CS_HELD_BY_BREAKER;
        return 0;
    default:
        found->slow[found->slow_count++] = index;
        return count_of(breaker, now / CS_SECOND_NS) >= breaker->limit_a ? CS_BREAKER_SLOW : 0;
    }
}

/* LEDGER-103: by account, participant, ledger and reference, the payer's before the payee's; the first no answers, and
 * of two a stop. */
static uint16_t ask_breakers(const cs_state *state, const cs_request *request, met *found) {
    const cs_record *record = request->record;
    const cs_u128 payer = cs_participant(record->debit_account), payee = cs_participant(record->credit_account);
    const struct {
        unsigned kind;
        cs_u128 subject;
    } asked[BREAKERS_MET] = {
        {CS_BREAKER_ACCOUNT, record->debit_account},   {CS_BREAKER_ACCOUNT, record->credit_account},
        {CS_BREAKER_PARTICIPANT, payer},               {CS_BREAKER_PARTICIPANT, payee},
        {CS_BREAKER_LEDGER, record->ledger},           {CS_BREAKER_REFERENCE, record->user_data},
    };
    uint16_t first = 0;
    if (state->rules.of_type[CS_RULE_BREAKER] == 0) {
        return 0;
    }
    for (unsigned i = 0; i < BREAKERS_MET; i++) {
        if (i == 3 && payee == payer) {
            continue;
        }
        uint16_t code = ask_breaker(state, request->now, asked[i].kind, asked[i].subject, found);
        if (code == CS_BREAKER_OPEN) {
            return code;
        }
        first = first == 0 ? code : first;
    }
    return first;
}

/* LEDGER-104: what the tier of the payer allows. */
static uint16_t ask_tier(const cs_state *state, const cs_request *request, met *found) {
    const cs_rules *rules = &state->rules;
    const cs_account *debit = &state->accounts.items[request->debit_index];
    const cs_u128 amount = request->record->amount;
    if (debit->tier == 0) {
        return 0;
    }
    uint32_t index = cs_rules_find(rules, CS_RULE_TIER, 0, (cs_u128)debit->ledger << 32 | debit->tier, 0);
    found->counter = cs_rules_find(rules, CS_RULE_COUNTER, 0, debit->id, 0);
    if (index == CS_NONE || found->counter == CS_NONE) {
        return 0;
    }
    const cs_rule *tier = &rules->items[index], *counter = &rules->items[found->counter];
    const int same_day = counter->period == request->now / DAY_NS;
    const cs_u128 used = same_day ? counter->used : 0, most = tier->limit_b == 0 ? CS_U128_MAX : tier->limit_b;
    const uint64_t count = same_day ? counter->count : 0;
    uint16_t code = 0;
    if (tier->limit_a != 0 && amount > tier->limit_a) {
        code = CS_TIER_LIMIT_EXCEEDED;
    } else if (!cs_sums_within(used, amount, most, 0) || (tier->bound != 0 && count >= tier->bound)) {
        code = CS_VELOCITY_EXCEEDED;
    }
    if (code == 0 || tier->action == CS_TIER_REFUSES || !cs_sums_within(used, amount, CS_U128_MAX, 0)) {
        return code;
    }
    found->held_for = code == CS_TIER_LIMIT_EXCEEDED ? CS_HELD_BY_TIER : CS_HELD_BY_VELOCITY;
    return 0;
}

/* LEDGER-102. */
static int reaches_threshold(const cs_state *state, const cs_request *request) {
    const cs_rules *rules = &state->rules;
    if (rules->of_type[CS_RULE_LEDGER] == 0) {
        return 0;
    }
    uint32_t index = cs_rules_find(rules, CS_RULE_LEDGER, 0, request->record->ledger, 0);
    return index != CS_NONE && rules->items[index].limit_a != 0 && request->record->amount >= rules->items[index].limit_a;
}

static void count_all(cs_state *state, const cs_request *request, const met *found) {
    const uint64_t second = request->now / CS_SECOND_NS, day = request->now / DAY_NS;
    if (found->quote != CS_NONE) {
        change(state, found->quote)->used += request->record->amount;
    }
    for (uint32_t i = 0; i < found->slow_count; i++) {
        cs_rule *breaker = change(state, found->slow[i]);
        breaker->count = count_of(breaker, second) + 1;
        breaker->period = second;
    }
    if (found->counter != CS_NONE) {
        cs_rule *counter = change(state, found->counter);
        int same_day = counter->period == day;
        counter->used = (same_day ? counter->used : 0) + request->record->amount;
        counter->count = (same_day ? counter->count : 0) + 1;
        counter->period = day;
    }
}

uint16_t cs_judge_by_rules(cs_state *state, const cs_request *request, cs_judgement *judgement) {
    met found = {.quote = CS_NONE, .counter = CS_NONE};
    const int issues = (state->accounts.items[request->debit_index].flags & CS_ACCOUNT_IS_ISSUER) != 0;
    uint16_t code = ask_quote(state, request, &found);
    if (code == 0) {
        code = ask_breakers(state, request, &found);
    }
    if (code == 0 && !issues) {
        code = ask_tier(state, request, &found);
    }
    if (code != 0) {
        return code;
    }
    if (!issues && reaches_threshold(state, request)) {
        found.held_for = CS_HELD_BY_THRESHOLD;
    }
    if (found.held_for != 0) {
        if (state->in_run) {
            return CS_APPROVAL_REQUIRED;
        }
        if (state->pendings.count >= state->limits.pendings_max) {
            return CS_PENDINGS_FULL;
        }
    }
    count_all(state, request, &found);
    judgement->held_for = found.held_for;
    judgement->draws = found.quote != CS_NONE;
    return 0;
}

void cs_give_back(cs_state *state, const cs_pending *lock) {
    uint32_t index = cs_rules_find(&state->rules, CS_RULE_QUOTE, 0, lock->debit_account, lock->user_data);
    if (index != CS_NONE) {
        cs_rule *quote = cs_rules_touch(&state->rules, index);
        quote->used -= lock->amount < quote->used ? lock->amount : quote->used;
    }
}

uint64_t cs_hold_ns(const cs_state *state, uint32_t ledger) {
    uint32_t index = cs_rules_find(&state->rules, CS_RULE_LEDGER, 0, ledger, 0);
    return index == CS_NONE || state->rules.items[index].until == 0 ? DAY_NS : state->rules.items[index].until;
}
