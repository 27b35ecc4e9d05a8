/* The batch step: requests in order, runs as one. */
#include "apply/state.h"

enum { AHEAD = 12 }; /* requests whose memory is asked for in advance */

static const cs_record *record_at(const uint8_t *messages, uint32_t i) {
    return (const cs_record *)(const void *)(messages + (size_t)i * CS_MESSAGE_BYTES + 32);
}

static uint16_t apply_single(cs_state *state, cs_request *request) {
    unsigned kind = request->record->flags & CS_FLAG_KIND;
    uint16_t code = cs_malformed(state, request, 0);
    if (code != 0) {
        return code;
    }
    if (!cs_is_local(state, request->record->debit_account)) {
        return CS_WRONG_SHARD;
    }
    if (kind == CS_KIND_CLAIM || kind == CS_KIND_REFUND) {
        return cs_answer_derived(state, request);
    }
    uint32_t known = cs_find_identical(state, request);
    if (known != CS_NONE) {
        return cs_repeat(state, request, known);
    }
    code = cs_judge(state, request);
    cs_record_decision(state, request, code);
    return code;
}

static void answer(const cs_answers *answers, uint32_t i, uint16_t code, const cs_request *request) {
    int repeats = code == CS_EXISTS || code == CS_ID_ALREADY_FAILED;
    answers->codes[i] = code;
    answers->first_codes[i] = repeats ? request->first_code : 0;
    answers->times[i] = repeats ? request->first_time : request->now;
}

/* How many linked requests follow each other from here on, the closing one included; 0 if the batch ends first. */
static uint32_t run_length(const uint8_t *messages, uint32_t first, uint32_t n) {
    for (uint32_t i = first; i < n; i++) {
        if ((record_at(messages, i)->flags & CS_FLAG_LINKED) == 0) {
            return i - first + 1;
        }
    }
    return 0;
}

static uint32_t longest_run(const uint8_t *messages, uint32_t n) {
    uint32_t longest = 0;
    for (uint32_t first = 0; first < n;) {
        uint32_t length = run_length(messages, first, n);
        if (length == 0) {
            break;
        }
        longest = length > 1 && length > longest ? length : longest;
        first += length;
    }
    return longest;
}

static cs_request request_at(const uint8_t *messages, const uint8_t *digests, const uint8_t *verdicts, uint32_t i,
                             uint64_t now) {
    cs_request request = {.record = record_at(messages, i),
                          .digest = digests + 32 * (size_t)i,
                          .verdict = verdicts[i],
                          .now = now};
    return request;
}

/* The index slots of a request that comes soon, and the accounts of one that comes sooner: their misses overlap. */
static void look_ahead(const cs_state *state, const uint8_t *messages, uint32_t i, uint32_t n) {
    if (i + 2 * AHEAD < n) {
        const cs_record *record = record_at(messages, i + 2 * AHEAD);
        cs_table_prefetch(&state->accounts.table, cs_accounts_hash(&state->accounts, record->debit_account));
        cs_table_prefetch(&state->accounts.table, cs_accounts_hash(&state->accounts, record->credit_account));
        cs_table_prefetch(&state->window.table, cs_window_hash(&state->window, record->debit_account,
                                                               record->debit_account, record->id));
    }
    if (i + AHEAD < n) {
        const cs_record *record = record_at(messages, i + AHEAD);
        const cs_u128 ids[2] = {record->debit_account, record->credit_account};
        for (unsigned side = 0; side < 2; side++) {
            uint32_t hash = cs_accounts_hash(&state->accounts, ids[side]);
            uint64_t cursor = cs_table_start(&state->accounts.table, hash);
            uint32_t index = cs_table_next(&state->accounts.table, hash, &cursor);
            if (index != CS_NONE) {
                const char *account = (const char *)&state->accounts.items[index];
                __builtin_prefetch(account, 1);
                __builtin_prefetch(account + 64, 1);
                __builtin_prefetch(account + 128, 1);
            }
        }
    }
}

static void apply_all(cs_state *state, const uint8_t *messages, const uint8_t *digests, const uint8_t *verdicts,
                      uint32_t n, uint64_t now, const cs_answers *answers) {
    for (uint32_t i = 0; i < n && state->fault == 0;) {
        uint32_t length = run_length(messages, i, n);
        cs_request request = request_at(messages, digests, verdicts, i, now);
        if (length == 1) {
            look_ahead(state, messages, i, n);
            uint16_t code = apply_single(state, &request);
            answer(answers, i++, code, &request);
            continue;
        }
        if (length == 0 || length > state->limits.run_members_max) {
            uint16_t code = length == 0 ? CS_LINKED_EVENT_CHAIN_OPEN : CS_LINKED_RUN_TOO_LONG;
            for (uint32_t end = length == 0 ? n : i + length; i < end; i++) {
                answer(answers, i, code, &request);
            }
            continue;
        }
        for (uint32_t member = 0; member < length; member++) {
            state->requests[member] = request_at(messages, digests, verdicts, i + member, now);
        }
        cs_apply_run(state, length, answers->codes + i);
        for (uint32_t member = 0; member < length; member++, i++) {
            answer(answers, i, answers->codes[i], &state->requests[member]);
        }
    }
}

int cs_apply_batch(cs_state *state, const uint8_t *messages, const uint8_t *digests, const uint8_t *verdicts, uint32_t n,
                   uint64_t now, const cs_answers *answers) {
    /* A cancel makes two entries; every request makes or ends at most one pending. */
    const cs_need need = {.ids = 2 * (uint64_t)n,
                          .pendings = n,
                          .endings = n,
                          .decisions = n,
                          .outgoing = n,
                          .run_members = longest_run(messages, n)};
    int result = cs_step_check(state, now);
    if (result == 0) {
        result = cs_step_reserve(state, &need, now);
    }
    if (result != 0) {
        return result;
    }
    cs_step_begin(state, now);
    apply_all(state, messages, digests, verdicts, n, now, answers);
    return cs_step_end(state, now);
}
