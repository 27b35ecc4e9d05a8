/* Runs: linked requests of which all take effect or none (LEDGER-20). */
#include "apply/state.h"

static void answer_all(uint16_t *codes, uint32_t count, uint16_t code) {
    for (uint32_t i = 0; i < count; i++) {
        codes[i] = code;
    }
}

/* One member keeps its code, the others fail with it. */
static void answer_failed(uint16_t *codes, uint32_t count, uint32_t at, uint16_t code) {
    answer_all(codes, count, CS_LINKED_EVENT_FAILED);
    codes[at] = code;
}

static int any_malformed(const cs_state *state, cs_request *members, uint32_t count, uint16_t *codes) {
    for (uint32_t i = 0; i < count; i++) {
        uint16_t code = cs_malformed(state, &members[i], 1);
        if (code != 0) {
            answer_failed(codes, count, i, code);
            return 1;
        }
    }
    return 0;
}

/* Members met before: with one that is done the run is done and answers member by member. */
static int any_known(const cs_state *state, cs_request *members, uint32_t count, uint16_t *codes) {
    uint32_t first_failed = CS_NONE;
    int done = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t entry = cs_find_identical(state, &members[i]);
        codes[i] = CS_TOO_OLD;
        if (entry == CS_NONE) {
            continue;
        }
        codes[i] = cs_repeat(state, &members[i], entry);
        if (codes[i] == CS_EXISTS) {
            done = 1;
        } else if (first_failed == CS_NONE) {
            first_failed = i;
        }
    }
    if (!done && first_failed != CS_NONE) {
        answer_failed(codes, count, first_failed, CS_ID_ALREADY_FAILED);
    }
    return done || first_failed != CS_NONE;
}

static int spans_shards(const cs_state *state, const cs_request *members, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        const cs_record *record = members[i].record;
        if (!cs_is_local(state, record->debit_account) || !cs_is_local(state, record->credit_account)) {
            return 1;
        }
    }
    return 0;
}

static uint16_t no_room(const cs_state *state, const cs_request *members, uint32_t count) {
    uint64_t pendings = 0;
    for (uint32_t i = 0; i < count; i++) {
        unsigned kind = members[i].record->flags & CS_FLAG_KIND;
        pendings += kind == CS_KIND_PENDING || kind == CS_KIND_LOCK;
    }
    if (state->window.count + count > state->limits.ids_max) {
        return CS_WINDOW_FULL;
    }
    return pendings > 0 && state->pendings.count + pendings > state->limits.pendings_max ? CS_PENDINGS_FULL : 0;
}

static void settle_members(cs_state *state, cs_request *members, uint32_t count, uint16_t *codes) {
    cs_begin_run(state);
    for (uint32_t i = 0; i < count; i++) {
        codes[i] = cs_judge(state, &members[i]);
        if (codes[i] == CS_CREATED) {
            cs_record_decision(state, &members[i], codes[i]);
            continue;
        }
        uint16_t code = codes[i];
        cs_undo_run(state);
        answer_failed(codes, count, i, code);
        cs_record_decision(state, &members[i], code);
        return;
    }
    state->in_run = 0;
}

void cs_apply_run(cs_state *state, uint32_t count, uint16_t *codes) {
    cs_request *members = state->requests;
    if (any_malformed(state, members, count, codes) || any_known(state, members, count, codes)) {
        return;
    }
    if (spans_shards(state, members, count)) {
        answer_all(codes, count, CS_LINKED_RUN_SPANS_SHARDS);
        return;
    }
    uint16_t code = no_room(state, members, count);
    if (code != 0) {
        answer_failed(codes, count, 0, code);
        return;
    }
    settle_members(state, members, count, codes);
}
