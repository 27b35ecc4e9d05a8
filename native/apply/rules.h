/* The rules that supervisors, issuers and providers set on a shard (LEDGER-100 to LEDGER-117): rows of one size in one table.
 *
 * A row keeps its place as long as it stands, and its place is its leaf in the tree `rules`; a row that was removed is
 * zeros, and the next one made takes the lowest free place. Rows are made and removed by admin requests alone; requests
 * and blocks change the counters in them. This file keeps the table; what the rows mean to transfers is in judge.c.
 */
#ifndef CS_APPLY_RULES_H
#define CS_APPLY_RULES_H

#include "apply/heap.h"
#include "apply/table.h"
#include "merkle/tree.h"

enum {
    CS_RULE_QUOTE = 1,   /* subject: the account, name: the quote's id */
    CS_RULE_LEDGER = 2,  /* subject: the ledger */
    CS_RULE_BREAKER = 3, /* kind: what its subject is */
    CS_RULE_TIER = 4,    /* subject: ledger << 32 | number of the tier */
    CS_RULE_COUNTER = 5, /* subject: an account with a tier */
    CS_RULE_TYPES = 6
};
enum {
    CS_BREAKER_ACCOUNT = 1,
    CS_BREAKER_PARTICIPANT = 2,
    CS_BREAKER_LEDGER = 3,
    CS_BREAKER_REFERENCE = 4, /* the user_data of a record */
    CS_BREAKER_CORRIDOR = 5,  /* no record is asked for it: bridges are */
    CS_BREAKER_KINDS = 6
};
enum { CS_GRADE_SLOW = 1, CS_GRADE_HOLD = 2, CS_GRADE_STOP = 3 };
enum { CS_TIER_REFUSES = 1, CS_TIER_HOLDS = 2 };

/* Rows that every shard has alike, and rows of a shard's own accounts, have bounds apart: the first are never refused
 * on one shard alone. */
enum { CS_RULES_COMMON_MAX = 4096, CS_RULES_OWN_MAX = 61440, CS_RULES_MAX = CS_RULES_COMMON_MAX + CS_RULES_OWN_MAX };

typedef struct {
    cs_u128 subject, name;
    cs_u128 limit_a; /* quote: total; ledger: threshold; breaker: transfers a second; tier: most of one transfer */
    cs_u128 limit_b; /* tier: most of a day */
    cs_u128 used;    /* quote: drawn; counter: of its day */
    uint64_t until;  /* quote, breaker: when it is over; ledger: how long a hold waits, 0 = a day */
    uint64_t period; /* breaker: the second that it counts; counter: the day */
    uint64_t count;  /* of that period */
    uint64_t set_at;
    uint32_t ledger;
    uint32_t bound; /* ledger: the participant that owns holds; tier: transfers a day */
    uint16_t type;  /* 0: a free place */
    uint16_t kind, action, reason;
} cs_rule;
#define CS_RULE_BYTES 128
_Static_assert(sizeof(cs_rule) == CS_RULE_BYTES, "rule");
_Static_assert(offsetof(cs_rule, until) == 80 && offsetof(cs_rule, type) == 120, "rule");

/* A row as a run found it. */
typedef struct {
    cs_rule rule;
    uint32_t index, zero[3];
} cs_rule_saved;

typedef struct {
    cs_rule *items;
    uint64_t count, capacity, live; /* count: places, free ones included */
    uint64_t of_type[CS_RULE_TYPES], breakers[CS_BREAKER_KINDS]; /* how many stand */
    cs_table table;
    cs_heap free; /* free places, the lowest first */
    cs_seed seed;
    cs_tree tree;
    uint32_t *dirty; /* places changed since the tree was brought up to date, each once */
    uint8_t *marks;  /* by place: it is in dirty */
    uint64_t dirty_count, dirty_capacity, marks_capacity;
    cs_rule_saved *saved; /* of the run in progress */
    uint64_t saved_count, saved_capacity;
} cs_rules;

int cs_rules_init(cs_rules *rules, uint32_t suite, cs_seed seed);
void cs_rules_free(cs_rules *rules);
/* Make room for this many further places. */
int cs_rules_reserve(cs_rules *rules, uint64_t more);
/* The place of a row, or CS_NONE. */
uint32_t cs_rules_find(const cs_rules *rules, unsigned type, unsigned kind, cs_u128 subject, cs_u128 name);
/* Whether a further row of this type has its place. */
int cs_rules_have_room(const cs_rules *rules, unsigned type);
/* Copy in a row that is not there yet; room was reserved. Returns its place. */
uint32_t cs_rules_add(cs_rules *rules, const cs_rule *rule);
/* As cs_rules_add but at the next new place, which may be a free one: for loading. */
void cs_rules_restore(cs_rules *rules, const cs_rule *rule);
void cs_rules_remove(cs_rules *rules, uint32_t index);
/* The row, about to be changed in what is no part of its key. */
cs_rule *cs_rules_touch(cs_rules *rules, uint32_t index);
/* Bring the tree up to date; then its root and paths hold. */
void cs_rules_flush(cs_rules *rules);
uint64_t cs_rules_bytes(const cs_rules *rules);
/* Whether a row could stand: known type and numbers, nothing set that its type does not use. */
int cs_rule_is_sound(const cs_rule *rule);
/* Whether every row is found under its own key and all counts agree. */
int cs_rules_are_sound(const cs_rules *rules);

#endif
