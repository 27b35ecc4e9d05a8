"""The numbers and names of all result codes: the one table that C, Python and the documents share.

A number is never reused and never changes its meaning. What a code means to a submitter (class, gRPC
status, ISO 20022 reason, next step) is in ``engine/codes.py``; ``setup.py`` writes ``native/apply/codes.h``
from this file. It imports nothing but the standard library, so that it runs before anything is built.
"""

from __future__ import annotations

from enum import IntEnum, unique

__all__ = ["ResultCode", "c_header"]


@unique
class ResultCode(IntEnum):
    """One answer to one request. 0 is never an answer."""

    # 1-19: done; of a linked run over shards (10-13) and of what supervisors hold (14-16) also what waits, and how that
    # ended.
    CREATED = 1
    CREATED_IN_TRANSIT = 2
    EXISTS = 3
    CREDITED = 4
    RETURNED = 5
    EXPIRED_BY_TIMEOUT = 6
    CLAIMED = 7
    REFUNDED = 8
    CREDITED_TO_SUSPENSE = 9
    PREPARED = 10
    COMMITTED = 11
    ABORTED = 12
    PREPARED_CREDIT = 13
    HELD = 14
    HOLD_EXPIRED = 15
    HOLD_REJECTED = 16

    # 20-69: malformed, in the order in which they are looked for.
    RESERVED_FLAG_SET = 20
    KIND_FLAG_NOT_ALLOWED = 21
    MANDATE_UNSUPPORTED = 22
    ID_MUST_NOT_BE_ZERO = 23
    ID_MUST_NOT_BE_MAX = 24
    DEBIT_ACCOUNT_RESERVED = 25
    CREDIT_ACCOUNT_RESERVED = 26
    CREDIT_ACCOUNT_MUST_BE_ZERO = 27
    ACCOUNTS_MUST_DIFFER = 28
    AMOUNT_MUST_NOT_BE_ZERO = 29
    AMOUNT_MUST_BE_ZERO = 30
    REFERENCE_MUST_BE_ZERO = 31
    REFERENCE_MUST_NOT_BE_ZERO = 32
    EXPIRES_AT_OUT_OF_RANGE = 33
    UNTIL_MUST_BE_ZERO = 34
    UNTIL_OUT_OF_RANGE = 35
    KEY_ID_MUST_NOT_BE_ZERO = 36
    VALID_FOR_MUST_NOT_BE_ZERO = 37
    BINDING_MUST_BE_ZERO = 38
    BINDING_MUST_NOT_BE_ZERO = 39
    LEDGER_NOT_FOUND = 40
    VALID_FOR_EXCEEDS_WINDOW = 41
    AMOUNT_EXCEEDS_LEDGER_MAX = 42
    WRONG_SHARD = 43

    # 70-79: runs.
    LINKED_EVENT_FAILED = 70
    LINKED_EVENT_CHAIN_OPEN = 71
    LINKED_RUN_SPANS_SHARDS = 72
    LINKED_RUN_TOO_LONG = 73

    # 80-99: who signs.
    KEY_NOT_FOUND = 80
    INVALID_SIGNATURE = 81
    KEY_NOT_IN_FORCE = 82
    DEBIT_ACCOUNT_NOT_FOUND = 83
    KEY_NOT_AUTHORISED = 84

    # 100-119: the id is known.
    ID_ALREADY_FAILED = 100
    EXISTS_WITH_DIFFERENT_FLAGS = 101
    EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT = 102
    EXISTS_WITH_DIFFERENT_AMOUNT = 103
    EXISTS_WITH_DIFFERENT_REFERENCE = 104
    EXISTS_WITH_DIFFERENT_USER_DATA = 105
    EXISTS_WITH_DIFFERENT_EXPIRES_AT = 106
    EXISTS_WITH_DIFFERENT_UNTIL = 107
    EXISTS_WITH_DIFFERENT_LEDGER = 108
    EXISTS_WITH_DIFFERENT_KEY_ID = 109
    EXISTS_WITH_DIFFERENT_VALID_FOR = 110
    EXISTS_WITH_DIFFERENT_CODE = 111
    EXISTS_WITH_DIFFERENT_BINDING = 112
    EXISTS_WITH_DIFFERENT_RUN = 113
    CANCELLED = 114

    # 120-129: time.
    TOO_OLD = 120
    EXPIRED = 121
    TOO_EARLY = 122

    # 130-199: state. All but the first three burn the id.
    WINDOW_FULL = 130
    PENDINGS_FULL = 131
    ACCOUNTS_FULL = 132
    DEBIT_ACCOUNT_OTHER_LEDGER = 133
    DEBIT_ACCOUNT_CLOSED = 134
    DEBIT_ACCOUNT_FROZEN = 135
    CREDIT_ACCOUNT_NOT_FOUND = 136
    CREDIT_ACCOUNT_OTHER_LEDGER = 137
    CREDIT_ACCOUNT_CLOSED = 138
    ISSUE_REQUIRES_PENDING = 139
    TIMELOCK_TOO_SOON = 140
    OVERFLOWS_LEDGER_TOTAL = 141
    INSUFFICIENT_FUNDS = 142
    EXCEEDS_BALANCE_MAX = 143
    PENDING_NOT_FOUND = 144
    PENDING_IS_LOCK = 145
    PENDING_HAS_DIFFERENT_CREDIT_ACCOUNT = 146
    PENDING_HAS_DIFFERENT_LEDGER = 147
    PENDING_HAS_DIFFERENT_AMOUNT = 148
    EXCEEDS_PENDING_AMOUNT = 149
    PENDING_ALREADY_POSTED = 150
    PENDING_ALREADY_VOIDED = 151
    PENDING_EXPIRED = 152
    NOT_PERMITTED_BY_PENDING = 153
    ISSUER_KEYS_MUST_DIFFER = 154
    CANCEL_TOO_LATE = 155
    PREIMAGE_NOT_FINAL = 156
    # 157-164: what rules refuse, and burn; 165-169: what breakers refuse for now.
    APPROVAL_REQUIRED = 157
    QUOTE_EXPIRED = 158
    QUOTE_EXHAUSTED = 159
    TIER_LIMIT_EXCEEDED = 160
    VELOCITY_EXCEEDED = 161
    BREAKER_OPEN = 165
    BREAKER_SLOW = 166

    # 200-239: administration.
    ADMIN_TYPE_UNKNOWN = 200
    ADMIN_FIELD_NOT_ALLOWED = 201
    PARTICIPANT_EXISTS = 202
    PARTICIPANT_NOT_FOUND = 203
    ROLE_NOT_ALLOWED = 204
    SUITE_UNSUPPORTED = 205
    KEY_REJECTED = 206
    KEY_EXISTS = 207
    KEYS_QUOTA_EXCEEDED = 208
    ACCOUNT_EXISTS = 209
    ACCOUNT_NOT_FOUND = 210
    ACCOUNT_NOT_OF_PARTICIPANT = 211
    ACCOUNTS_QUOTA_EXCEEDED = 212
    ACCOUNT_CLOSED = 213
    ACCOUNT_HAS_PENDINGS = 214
    ACCOUNT_NOT_EMPTY = 215
    SECOND_SIGNATURE_REQUIRED = 216
    SIGNERS_MUST_DIFFER = 217
    SIGNER_ROLE_NOT_ALLOWED = 218
    EXISTS_WITH_DIFFERENT_CONTENT = 219
    NOT_THE_ISSUER = 220
    QUOTE_EXISTS = 221
    QUOTE_NOT_FOUND = 222
    BREAKER_NOT_FOUND = 223
    TIER_NOT_FOUND = 224
    HOLD_NOT_FOUND = 225
    HOLD_OVER = 226
    RULES_FULL = 227

    # 240-299: the road itself; the request was not looked at.
    OVERLOADED = 240
    SHARD_SUSPENDED = 241
    SHARD_AWAY = 242
    DISK_FULL = 243
    BATCH_MALFORMED = 244
    BATCH_TOO_LARGE = 245
    BATCH_EMPTY = 246
    VERSION_UNSUPPORTED = 247
    DOMAIN_NOT_FOUND = 248
    ROLE_REFUSED = 249
    NOT_FOUND = 250
    SHUTTING_DOWN = 251


def c_header() -> str:
    """Return the text of ``native/apply/codes.h``."""
    lines = ["/* Written by setup.py from native/codes.py; do not edit. */", "#ifndef CS_CODES_H"]
    lines += ["#define CS_CODES_H", ""]
    lines += [f"#define CS_{code.name} {code.value}" for code in ResultCode]
    return "\n".join([*lines, "", "#endif", ""])
