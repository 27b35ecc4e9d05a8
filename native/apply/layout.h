/* The bytes that the ledger kernel reads and keeps: record, account, credit message, as structs of exact size.
 *
 * Everything is little-endian, as the machine must be. Pointers that are cast to these structs are 16-byte aligned;
 * anything else is read with the loads below.
 */
#ifndef CS_APPLY_LAYOUT_H
#define CS_APPLY_LAYOUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the layouts are those of a little-endian machine");

__extension__ typedef unsigned __int128 cs_u128;

#define CS_RECORD_BYTES 160
#define CS_HEAD_BYTES 128
#define CS_MESSAGE_BYTES 192
#define CS_ACCOUNT_BYTES 160
#define CS_CREDIT_BYTES 128
#define CS_DECISION_BYTES 48
#define CS_BATCH_MAX 8192
#define CS_SLOTS 4096

#define CS_NONE UINT32_MAX
#define CS_U128_MAX (~(cs_u128)0)
#define CS_TOTAL_MAX (CS_U128_MAX >> 1) /* 2^127 - 1: what a ledger's debits may come to (LEDGER-3) */
#define CS_TIME_MAX ((uint64_t)INT64_MAX)
#define CS_SECOND_NS ((uint64_t)1000000000)

/* Kinds and flag bits of a record. */
enum {
    CS_KIND_PLAIN = 0,
    CS_KIND_PENDING = 1,
    CS_KIND_POST = 2,
    CS_KIND_VOID = 3,
    CS_KIND_LOCK = 4,
    CS_KIND_CLAIM = 5,
    CS_KIND_REFUND = 6,
    CS_KIND_CANCEL = 7
};
#define CS_FLAG_KIND 0x000f
#define CS_FLAG_LINKED 0x0010
#define CS_FLAG_SM3 0x0020
#define CS_FLAG_ATTACHED 0x0040
#define CS_FLAG_PAYER_POSTS 0x0080
#define CS_FLAG_PAYEE_POSTS 0x0100
#define CS_FLAG_PAYER_VOIDS 0x0200
#define CS_FLAG_PAYEE_VOIDS 0x0400
#define CS_FLAG_MANDATE 0x0800
#define CS_FLAG_RESERVED 0xf000

typedef struct {
    cs_u128 id, debit_account, credit_account, amount, reference, user_data;
    uint64_t expires_at, until;
    uint32_t ledger, key_id, valid_for_s;
    uint16_t code, flags;
    uint8_t binding[32];
} cs_record;
_Static_assert(sizeof(cs_record) == CS_RECORD_BYTES, "record");
_Static_assert(offsetof(cs_record, expires_at) == 96 && offsetof(cs_record, ledger) == 112, "record");
_Static_assert(offsetof(cs_record, flags) == 126 && offsetof(cs_record, binding) == CS_HEAD_BYTES, "record");

#define CS_ACCOUNT_IS_ISSUER 0x0001
#define CS_ACCOUNT_IS_FROZEN 0x0002
#define CS_ACCOUNT_IS_CLOSED 0x0004
#define CS_ACCOUNT_IS_CHANNEL 0x0008
#define CS_ACCOUNT_IS_SUSPENSE 0x0010
#define CS_ACCOUNT_FLAGS 0x001f

typedef struct {
    cs_u128 id, debits_pending, debits_posted, credits_pending, credits_posted, credit_limit, balance_max, user_data;
    uint64_t opened_at;
    uint32_t ledger, key_lineage;
    uint16_t flags, code;
    uint32_t tier;
    uint64_t frozen_until;
} cs_account;
_Static_assert(sizeof(cs_account) == CS_ACCOUNT_BYTES, "account");
_Static_assert(offsetof(cs_account, opened_at) == 128 && offsetof(cs_account, frozen_until) == 152, "account");

enum { CS_CREDIT_CREDIT = 1, CS_CREDIT_RETURN = 2, CS_CREDIT_CLAIM = 3 };

typedef struct {
    uint64_t sequence;
    uint16_t kind, code;
    uint32_t ledger;
    cs_u128 debit_account, credit_account, amount, user_data;
    uint8_t digest[32];
    uint64_t time;
    uint16_t reason;
    uint8_t zero[6];
} cs_credit;
_Static_assert(sizeof(cs_credit) == CS_CREDIT_BYTES, "credit message");
_Static_assert(offsetof(cs_credit, digest) == 80 && offsetof(cs_credit, reason) == 120, "credit message");

typedef struct {
    uint8_t digest[32];
    uint64_t time;
    uint16_t code;
    uint8_t zero[6];
} cs_decision;
_Static_assert(sizeof(cs_decision) == CS_DECISION_BYTES, "decision leaf");

/* Roles of keys that the ledger asks for. */
#define CS_ROLE_ISSUER 1
#define CS_ROLE_ACCOUNT 2

typedef struct {
    uint32_t participant, lineage;
    uint64_t retired_at; /* 0: in force */
    uint16_t role;
    uint8_t zero[6];
} cs_key;
_Static_assert(sizeof(cs_key) == 24, "key");

static inline cs_u128 cs_load_u128(const void *from) {
    cs_u128 value;
    memcpy(&value, from, sizeof value);
    return value;
}

static inline uint32_t cs_participant(cs_u128 account) { return (uint32_t)(account >> 96); }

/* Participant numbers 0 and 2^32-1 belong to the system: no request may name their accounts (LEDGER-1). */
static inline int cs_reserved(cs_u128 account) {
    uint32_t participant = cs_participant(account);
    return participant == 0 || participant == UINT32_MAX;
}

static inline cs_u128 cs_suspense_id(uint32_t participant, uint32_t ledger, uint32_t number) {
    return (cs_u128)participant << 96 | (cs_u128)UINT32_MAX << 64 | (cs_u128)ledger << 32 | number;
}

static inline cs_u128 cs_channel_id(uint32_t ledger, uint32_t peer) {
    return (cs_u128)1 << 64 | (cs_u128)ledger << 32 | peer;
}

/* The slot of an account, 0 to 4095 (BYTES-9). */
static inline uint32_t cs_slot(cs_u128 account) {
    uint64_t x = (uint64_t)account ^ ((uint64_t)(account >> 64) * 0x9E3779B97F4A7C15u);
    x ^= x >> 33;
    x *= 0xFF51AFD7ED558CCDu;
    x ^= x >> 33;
    x *= 0xC4CEB9FE1A85EC53u;
    x ^= x >> 33;
    return (uint32_t)(x >> 52);
}

/* a + b <= c + d in exact integers. */
static inline int cs_sums_within(cs_u128 a, cs_u128 b, cs_u128 c, cs_u128 d) {
    cs_u128 left, right;
    int left_carry = __builtin_add_overflow(a, b, &left), right_carry = __builtin_add_overflow(c, d, &right);
    return left_carry != right_carry ? left_carry < right_carry : left <= right;
}

#endif
