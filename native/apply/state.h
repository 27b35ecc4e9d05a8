/* The ledger of one shard as a deterministic state machine (docs/spec/03-ledger.md).
 *
 * A step is a whole log record. It checks first: what it may need is reserved and what the log must obey is looked at
 * before anything is touched, so CS_NO_MEMORY and the faults of a broken log leave the state as it was. A fault met later
 * is an invariant that did not hold; the state then refuses every further step with the same fault.
 */
#ifndef CS_APPLY_STATE_H
#define CS_APPLY_STATE_H

#include "apply/accounts.h"
#include "apply/codes.h"
#include "apply/decisions.h"
#include "apply/pendings.h"
#include "apply/rules.h"
#include "apply/window.h"

/* Results of steps beside 0. */
#define CS_NO_MEMORY (-1)
#define CS_FAULT_TIME (-2)             /* a log record's time lies before the last one's, or is out of range */
#define CS_FAULT_RELAY_HEIGHT (-3)     /* a relay block does not follow the last one */
#define CS_FAULT_RELAY_TIME (-4)       /* a relay block's time lies before the last one's */
#define CS_FAULT_CHANNEL_SEQUENCE (-5) /* a credit message does not follow the last one */
#define CS_FAULT_CHANNEL_MESSAGE (-6)  /* a credit message that no shard of this domain makes */
#define CS_FAULT_LEDGER_TOTAL (-7)     /* a ledger's total left 128 bits */
#define CS_FAULT_CONSERVATION (-8)     /* a release of more than is reserved */
#define CS_BYTES_INVALID (-9)          /* bytes of a checkpoint that no state has */
#define CS_FAULT_RUN_HELD (-10)        /* another step while a run is held */
#define CS_FAULT_RUN_SHAPE (-11)       /* records that are not one closed run of allowed length */
#define CS_FAULT_RUN_DECISION (-12)    /* a decision that the held run does not allow */
#define CS_FAULT_RECORD_OPEN (-13)     /* a step inside an open record, or the end of one that is not open */

#define CS_LOCAL UINT16_MAX /* in slot_peer: the slot is this shard's */

typedef struct {
    uint32_t ledger, scale, issuer, window_s, lock_min_s;
    uint8_t currency[8];
    cs_u128 amount_max, debits_pending, debits_posted;
} cs_ledger;

typedef struct {
    uint32_t shard;
    uint64_t sent, received;
} cs_peer;

typedef struct {
    uint64_t ids_max, pendings_max, accounts_max, expire_per_batch_max, bucket_ns, run_members_max;
} cs_limits;

/* What a run does, so that it can be taken back in reverse order. */
typedef struct {
    uint8_t effect; /* CS_UNDO_… */
    uint32_t debit_index, credit_index, ledger_index, pending;
    cs_u128 amount;
    uint64_t forget_bucket;
    cs_window_place place;
} cs_undo;

enum { CS_UNDO_MOVE, CS_UNDO_RESERVE, CS_UNDO_END, CS_UNDO_ENTRY };

/* What one shard makes of a run over shards (LEDGER-91). */
enum {
    CS_RUN_PREPARED = 0,    /* every half that is here */
    CS_RUN_MALFORMED = 1,   /* LEDGER-20 b */
    CS_RUN_KNOWN = 2,       /* a member with its debit half here was decided before */
    CS_RUN_UNDECIDABLE = 3, /* no relay block was ever consumed: nobody would decide it */
    CS_RUN_NO_ROOM = 4,     /* window or pendings are full */
    CS_RUN_DEBIT = 5,       /* the debit half of `member` is refused */
    CS_RUN_CREDIT = 6       /* the credit half of `member` is refused */
};
typedef struct {
    uint32_t status, member; /* member: CS_NONE but for 1 and 4 to 6 */
    uint16_t code;           /* with which it is refused, else 0 */
} cs_run_view;

typedef struct {
    int is_held;
    cs_run_view view;
    uint32_t count, judged; /* judged: members from the first on whose debit half, if here, was looked at whole */
    uint64_t now;
} cs_held;

typedef struct {
    uint32_t suite, shard, slot_map_version;
    uint8_t genesis_hash[32], transfer_prefix[32];
    uint16_t slot_peer[CS_SLOTS]; /* index of the peer that owns the slot, or CS_LOCAL */
    uint32_t peer_count, ledger_count;
    cs_peer *peers;
    cs_ledger *ledgers; /* channel account of (ledger l, peer p) has index l * peer_count + p */
    cs_limits limits;
    uint64_t last_time, relay_height, relay_time;
    int fault;
    cs_accounts accounts;
    cs_key *keys; /* key id 1 first */
    uint64_t key_count, key_capacity;
    cs_window window;
    cs_pendings pendings;
    cs_decisions decisions;
    cs_outgoing outgoing;
    cs_rules rules;
    int in_record; /* between cs_begin_record and cs_end_record */
    uint64_t record_time;
    cs_undo *undo; /* of the run in progress, with what it found when it began */
    uint64_t undo_count, undo_capacity;
    uint64_t run_ids, run_events, run_decisions;
    int in_run;
    struct cs_request *requests; /* the members of the run in progress */
    uint64_t requests_capacity;
    cs_held held; /* the run over shards that waits for its decision */
} cs_state;

typedef struct {
    uint32_t suite, shard, slot_map_version;
    uint8_t genesis_hash[32];
    const uint32_t *slot_owner; /* 4096 shard ids: this shard or one of the peers */
    uint32_t peer_count, ledger_count;
    const uint32_t *peers;    /* ascending */
    const cs_ledger *ledgers; /* totals 0 */
    cs_limits limits;
    uint64_t genesis_time;
    cs_seed seed;
} cs_parameters;

/* The answers to one batch, n each. */
typedef struct {
    uint16_t *codes, *first_codes;
    uint64_t *times;
} cs_answers;

/* NULL when memory is short. Parameters were checked by the caller. cs_state_new registers the channel accounts. */
cs_state *cs_state_new(const cs_parameters *parameters);
/* As cs_state_new, without any account: for loading. */
cs_state *cs_state_new_empty(const cs_parameters *parameters);
void cs_state_free(cs_state *state);
uint64_t cs_state_bytes(const cs_state *state);

/* Steps. messages: n x 192 and digests n x 32 as cs_prepare makes them, messages 16-byte aligned. */
int cs_apply_batch(cs_state *state, const uint8_t *messages, const uint8_t *digests, const uint8_t *verdicts, uint32_t n,
                   uint64_t now, const cs_answers *answers);
int cs_apply_credits(cs_state *state, uint32_t peer, const uint8_t *messages, uint32_t count, uint64_t now,
                     uint16_t *codes);
/* preimages count x 32, runs run_count x 32: the T_run of each that is committed, in the block's order. */
int cs_apply_relay(cs_state *state, uint64_t height, uint64_t relay_time, const uint8_t *preimages, uint32_t count,
                   const uint8_t *runs, uint32_t run_count, uint64_t now);
int cs_apply_sweep(cs_state *state, uint64_t now);
/* A log record that begins with its sweep and takes more: holds that end. Anything else waits for its end. */
int cs_begin_record(cs_state *state, uint64_t now);
int cs_end_record(cs_state *state);
/* Release a held transfer, or reject it: CS_CREATED, CS_HOLD_NOT_FOUND, CS_HOLD_OVER, or a negative fault. */
int cs_end_hold(cs_state *state, cs_u128 debit_account, cs_u128 id, int releases, uint64_t now);
/* A linked run over shards in two calls that are one log record (prepared.c). The first sweeps and prepares the halves
 * that are here, and answers each member that has one (codes 0 elsewhere); messages and digests stay until the second,
 * which keeps the halves, or takes them back and burns the id of `member` (CS_NONE: of none) if the code burns. */
int cs_hold_run(cs_state *state, const uint8_t *messages, const uint8_t *digests, const uint8_t *verdicts, uint32_t n,
                uint64_t now, const cs_answers *answers, cs_run_view *view);
int cs_decide_run(cs_state *state, int keeps, uint32_t member, uint16_t code);
/* How many debit halves wait for the relay; unless out is NULL it gets a row for each: T_run 32, digest 32, deadline 8. */
enum { CS_PREPARED_BYTES = 72 };
uint64_t cs_prepared(const cs_state *state, uint8_t *out);

/* How many transfers are held; unless out is NULL it gets their CS_PENDING_BYTES each, in order of creation. */
uint64_t cs_holds(const cs_state *state, uint8_t *out);

/* Accounts and keys, for the admin step. The index, or CS_NO_MEMORY; the id is not registered. */
int64_t cs_open_account(cs_state *state, const cs_account *account);
int cs_set_key(cs_state *state, uint32_t key_id, const cs_key *key);

/* Roots: 0 or CS_NO_MEMORY. */
int cs_ids_root(const cs_state *state, uint8_t out[32]);
int cs_pendings_root(const cs_state *state, uint8_t out[32]);
int cs_channels_root(const cs_state *state, uint8_t out[32]);
int cs_ledgers_root(const cs_state *state, uint8_t out[32]);
void cs_parameters_root(const cs_state *state, uint8_t out[32]);
void cs_accounts_root(cs_state *state, uint8_t out[32]);
void cs_rules_root(cs_state *state, uint8_t out[32]);

/* The sums of a ledger's channel accounts, pending and posted together. */
void cs_channel_sums(const cs_state *state, uint32_t ledger_index, cs_u128 *credits, cs_u128 *debits);

/* Checkpoint bytes (export.h): size first, then exactly that many bytes. */
uint64_t cs_export_bytes(const cs_state *state);
/* 0 or CS_NO_MEMORY. */
int cs_export(const cs_state *state, uint8_t *out);
/* Fill a state of cs_state_new_empty: 0, CS_NO_MEMORY or CS_BYTES_INVALID; free it if not 0. */
int cs_import(cs_state *state, const uint8_t *data, uint64_t bytes);

/* What cs_audit found broken, one bit each. */
#define CS_AUDIT_PENDING_TOTALS 0x01 /* a ledger's debits pending differ from its credits pending or its total */
#define CS_AUDIT_POSTED_TOTALS 0x02  /* the same of posted */
#define CS_AUDIT_WRAP 0x04           /* a sum of an account or ledger left 128 bits */
#define CS_AUDIT_PENDING_SUMS 0x08   /* open pendings do not add up to an account's pending sides */
#define CS_AUDIT_PENDING_COUNTS 0x10 /* counts, heaps or buckets of pendings disagree */
#define CS_AUDIT_ID_COUNTS 0x20      /* counts or buckets of ids disagree */
#define CS_AUDIT_INDEX 0x40          /* an account, id or pending is not found under its own key */
#define CS_AUDIT_ACCOUNT 0x80        /* an account of an unknown ledger, or a channel account out of place */
#define CS_AUDIT_RULES 0x100         /* a rule that cannot stand or is not found, or a tier without its rows */
/* 0 with *found set, or CS_NO_MEMORY. */
int cs_audit(const cs_state *state, uint32_t *found);

/* ---- Shared by the files of this folder ---- */

/* One request on its way through the rules. */
typedef struct cs_request {
    const cs_record *record;
    const uint8_t *digest;
    cs_u128 authoriser; /* set by the rules once it is known */
    uint32_t debit_index, ledger_index;
    uint32_t key_lineage;
    uint64_t now;
    uint8_t verdict;
    const uint8_t *run;  /* T_run of a run over shards, else NULL */
    uint64_t deadline;   /* of that run, in relay time */
    uint16_t first_code; /* set with the codes that repeat an answer */
    uint64_t first_time;
} cs_request;

static inline int cs_is_local(const cs_state *state, cs_u128 account) {
    return state->slot_peer[cs_slot(account)] == CS_LOCAL;
}

/* The index of the ledger, or CS_NONE. */
static inline uint32_t cs_find_ledger(const cs_state *state, uint32_t ledger) {
    for (uint32_t i = 0; i < state->ledger_count; i++) {
        if (state->ledgers[i].ledger == ledger) {
            return i;
        }
    }
    return CS_NONE;
}

static inline uint64_t cs_window_ns(const cs_ledger *ledger) { return ledger->window_s * CS_SECOND_NS; }

/* Checks and room before a step; begin and end of every step (step.c). */
int cs_step_check(const cs_state *state, uint64_t now);
typedef struct {
    uint64_t ids, pendings, decisions, outgoing, accounts, run_members;
    uint64_t endings; /* of pendings, by requests or reveals */
} cs_need;
int cs_step_reserve(cs_state *state, const cs_need *need, uint64_t now);
void cs_step_begin(cs_state *state, uint64_t now);
int cs_step_end(cs_state *state, uint64_t now);

/* How a record stands in its batch. */
enum { CS_ALONE = 0, CS_IN_RUN = 1, CS_OVER_SHARDS = 2 };
/* Steps 1-11 of the precedence: 0, or the code. in_run: one of the above. Sets request->ledger_index. */
uint16_t cs_malformed(const cs_state *state, cs_request *request, int in_run);
/* Step 13: the entry of this very record, or CS_NONE. */
uint32_t cs_find_identical(const cs_state *state, const cs_request *request);
/* Answer from an entry: the code, with first_code and first_time set. */
uint16_t cs_repeat(const cs_state *state, cs_request *request, uint32_t entry);
/* Steps 14-21 with all effects but the request's own entry and leaf. */
uint16_t cs_judge(cs_state *state, cs_request *request);
/* The entry and the leaf that the code calls for. */
void cs_record_decision(cs_state *state, const cs_request *request, uint16_t code);
/* LEDGER-12: a claim or refund that a submitter sent. */
uint16_t cs_answer_derived(const cs_state *state, cs_request *request);
/* Steps of the state rules (transfers.c). */
uint16_t cs_make(cs_state *state, cs_request *request);
/* Prepare the credit half of a plain member whose payer is on another shard (prepared.c): CS_PREPARED_CREDIT, or why not. */
uint16_t cs_prepare_credit(cs_state *state, const cs_request *request);
/* The rules of a payee that is here: 0 with *index set, or the code. */
uint16_t cs_check_payee(const cs_state *state, const cs_record *record, uint32_t *index);
int cs_exceeds_balance_max(const cs_account *credit, cs_u128 amount);
/* End the prepared halves of a run that a relay block commits, and one whose deadline has passed. */
void cs_commit_run(cs_state *state, const uint8_t run[32], uint64_t relay_time, uint64_t now);
void cs_abort_half(cs_state *state, uint32_t index, uint64_t now);
uint16_t cs_end_pending(cs_state *state, cs_request *request);
uint16_t cs_cancel(cs_state *state, cs_request *request);
/* The run of the first `count` of state->requests, which hold record, digest, verdict and now. */
void cs_apply_run(cs_state *state, uint32_t count, uint16_t *codes);

/* LEDGER-61: the codes that burn the id. */
static inline int cs_burns(uint16_t code) {
    return (code >= CS_DEBIT_ACCOUNT_OTHER_LEDGER && code <= CS_CANCEL_TOO_LATE) ||
           (code >= CS_APPROVAL_REQUIRED && code <= CS_VELOCITY_EXCEEDED);
}

/* What the rules say of a transfer that begins (judge.c): 0 with its counters counted, or why it does not begin. */
typedef struct {
    uint8_t draws, held_for; /* as of the pending that is made */
} cs_judgement;
enum { CS_RULES_MET_MAX = 8 }; /* rows that one transfer can change */
uint16_t cs_judge_by_rules(cs_state *state, const cs_request *request, cs_judgement *judgement);
/* Give a quote back what a lock drew that was not claimed. */
void cs_give_back(cs_state *state, const cs_pending *lock);
/* How long a hold of this ledger waits. */
uint64_t cs_hold_ns(const cs_state *state, uint32_t ledger);
/* Put the rows back that the run in progress changed. */
void cs_undo_rules(cs_state *state);

/* Effects (effects.c). Amounts were checked against the bounds of LEDGER-3 by the caller. */
void cs_move(cs_state *state, uint32_t ledger_index, uint32_t debit_index, uint32_t credit_index, cs_u128 amount);
uint32_t cs_reserve_pending(cs_state *state, const cs_pending *pending);
/* End a pending: release both sides, post `posted`, note the event and the forget time. */
void cs_release_pending(cs_state *state, uint32_t index, uint8_t to, cs_u128 posted, uint64_t now);
void cs_add_entry(cs_state *state, const cs_entry *entry, uint64_t forget);
/* From cs_begin_run on, effects, entries and leaves can be taken back, until in_run is cleared. */
void cs_begin_run(cs_state *state);
void cs_undo_run(cs_state *state);
/* Number and send a message: everything but its sequence is filled in. */
void cs_send(cs_state *state, uint32_t peer, cs_credit *message);

/* The record that ends a lock (RECORD-6) and its digest; preimage NULL for a refund. */
void cs_derive(const cs_state *state, const cs_pending *lock, const uint8_t *preimage, cs_record *record,
               uint8_t digest[32]);

#endif
