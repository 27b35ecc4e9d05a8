/* Pendings and locks: open ones and ended ones that are still known.
 *
 * Every one is found by (debit account, id). Open pendings with a due time stand in a heap by (due, id, debit account),
 * open locks in another by timelock and in a list for their hashlock, in order of creation. Ended ones wait in forget
 * buckets, in the order in which they ended. The events of a log record are chained into the bucket of the due time.
 * This file keeps those indexes; balances are moved by effects.c.
 */
#ifndef CS_APPLY_PENDINGS_H
#define CS_APPLY_PENDINGS_H

#include "apply/chain.h"

/* The numbers of the events of LEDGER-70, and of the state that each leaves a pending in. */
enum {
    CS_STATE_OPEN = 1,
    CS_STATE_POSTED = 2,
    CS_STATE_VOIDED = 3,
    CS_STATE_EXPIRED = 4,
    CS_STATE_CLAIMED = 5,
    CS_STATE_REFUNDED = 6,
    CS_STATE_FORGOTTEN = 7,
    CS_STATE_PREPARED = 8,        /* the debit half of a run over shards, not yet decided */
    CS_STATE_PREPARED_CREDIT = 9, /* its credit half; debit_account is then the channel account of the payer's shard */
    CS_STATE_COMMITTED = 10,      /* an event only: a prepared pending leaves its bucket and is created in another */
    CS_STATE_ABORTED = 11,
    CS_STATE_HELD = 12,          /* waits for two supervisors (LEDGER-105) */
    CS_STATE_RELEASED = 13,      /* an event only: what was held leaves its bucket and is created in another */
    CS_STATE_HOLD_REJECTED = 14,
    CS_STATE_HOLD_EXPIRED = 15
};

/* Why one is, or was, held. */
enum { CS_HELD_BY_THRESHOLD = 1, CS_HELD_BY_BREAKER = 2, CS_HELD_BY_TIER = 3, CS_HELD_BY_VELOCITY = 4 };

typedef struct {
    cs_u128 debit_account, id, credit_account, amount, posted, user_data;
    uint8_t digest[32];  /* of the record that made it */
    uint8_t binding[32]; /* the record's; of a claimed lock the preimage; of what a run over shards made its T_run */
    uint64_t due;        /* instant of the timeout, 0 = never; of a lock its timelock; of a half or hold its deadline */
    uint64_t expires_at, ended_at; /* ended_at: of a prepared half or a hold the record's until */
    uint32_t ledger, key_lineage;
    uint16_t flags, code;
    uint8_t state, draws, held_for, zero; /* draws: on the quote that its user_data names */
    /* What follows is not in a checkpoint. */
    uint32_t debit_index, credit_index, ledger_index, bucket;
    uint32_t made_before, made_after;     /* all pendings, in order of creation; a hold moves to the end when it is released */
    uint32_t same_before, same_after;     /* open locks of one hashlock; before the first stands the last */
    uint32_t forget_before, forget_after; /* ended ones of one forget bucket */
    uint64_t revealed_height;             /* of the first open lock of a hashlock: the relay block that walked its list */
} cs_pending;
#define CS_PENDING_BYTES 200
_Static_assert(sizeof(cs_pending) == 256, "pending");
_Static_assert(offsetof(cs_pending, due) == 160 && offsetof(cs_pending, debit_index) == CS_PENDING_BYTES, "pending");

typedef struct {
    cs_pending *items;
    uint64_t capacity, count, open_count, open_lock_count; /* open_lock_count: prepared halves among them */
    uint32_t used, free_first;  /* free ones are threaded by made_after */
    uint32_t made_first, made_last;
    cs_table table, hashlocks;  /* hashlocks: the first open lock of each (hashlock, function), or half of each run */
    cs_heap due, locks;
    cs_buckets buckets, forget;
    cs_chain chain;
    cs_seed seed;
    uint64_t bucket_ns;
} cs_pendings;

int cs_pendings_init(cs_pendings *pendings, cs_seed seed, uint64_t bucket_ns);
void cs_pendings_free(cs_pendings *pendings);
/* Make room for `more` further pendings, and for this many to end in the same log record. */
int cs_pendings_reserve(cs_pendings *pendings, uint64_t more, uint64_t ending);
uint32_t cs_pendings_find(const cs_pendings *pendings, cs_u128 debit_account, cs_u128 id);
/* The first open lock of a hashlock, or prepared half of a run, whose hashlock is T_run. */
uint32_t cs_pendings_find_locks(const cs_pendings *pendings, const uint8_t hashlock[32], int function);

/* Copy one in: an open one into all indexes, an ended one (when loading) without its forget bucket. No event. */
uint32_t cs_pendings_insert(cs_pendings *pendings, const cs_pending *pending);
/* Take an open one out again, as if it had never been. */
void cs_pendings_undo_insert(cs_pendings *pendings, uint32_t index);
/* End an open one; no event. ended_at, posted and state are set here. */
void cs_pendings_end(cs_pendings *pendings, uint32_t index, uint8_t state, cs_u128 posted, uint64_t now, uint64_t forget_bucket);
/* Let a prepared or held one be open, and due then; with its events, of which the first is CS_STATE_COMMITTED or _RELEASED. */
void cs_pendings_open(cs_pendings *pendings, uint32_t index, uint16_t event, uint64_t due, uint64_t now);
/* Open again the one that ended last; never a lock. */
void cs_pendings_undo_end(cs_pendings *pendings, uint32_t index, uint64_t forget_bucket);
void cs_pendings_queue_forget(cs_pendings *pendings, uint32_t index, uint64_t forget_bucket);
/* Forget the ended ones of all forget buckets below this number, with their events. */
void cs_pendings_forget(cs_pendings *pendings, uint64_t bucket_number, uint64_t now);
/* How many cs_pendings_forget would forget. */
uint64_t cs_pendings_forgettable(const cs_pendings *pendings, uint64_t bucket_number);
void cs_pendings_event(cs_pendings *pendings, uint32_t index, uint16_t event, cs_u128 posted, uint64_t now);
uint64_t cs_pendings_bytes(const cs_pendings *pendings);

/* Which of the lists an item of that table is in. */
enum { CS_LOCK_SHA256 = 0, CS_LOCK_SM3 = 1, CS_LOCK_RUN = 2 };

static inline int cs_pending_is_prepared(const cs_pending *pending) {
    return pending->state == CS_STATE_PREPARED || pending->state == CS_STATE_PREPARED_CREDIT;
}

/* Whether its amount is reserved. */
static inline int cs_pending_is_open(const cs_pending *pending) {
    return pending->state == CS_STATE_OPEN || pending->state == CS_STATE_HELD || cs_pending_is_prepared(pending);
}

/* Whether there is, or was, a pending or lock that requests may end. */
static inline int cs_pending_was_made(const cs_pending *pending) {
    return pending->state != CS_STATE_PREPARED && pending->state != CS_STATE_HELD &&
           (pending->flags & CS_FLAG_KIND) != CS_KIND_PLAIN;
}

static inline int cs_pending_is_lock(const cs_pending *pending) { return (pending->flags & CS_FLAG_KIND) == CS_KIND_LOCK; }

/* Whether the relay ends it: a lock that is not held, or the half of a run. */
static inline int cs_pending_waits(const cs_pending *pending) {
    return (cs_pending_is_lock(pending) && pending->state != CS_STATE_HELD) || cs_pending_is_prepared(pending);
}

#endif
