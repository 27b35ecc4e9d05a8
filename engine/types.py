"""Names for numbers: ids, kinds, flags, roles and the bounds that every layout shares. It knows no state."""

from __future__ import annotations

from enum import IntEnum, IntFlag, unique
from typing import Final, NewType

__all__ = [
    "ACCOUNT_BYTES",
    "ADMIN_BYTES",
    "ADMIN_WINDOW_S",
    "BATCH_COUNT_MAX",
    "BINDING_BYTES",
    "CREDIT_BYTES",
    "DECISION_BYTES",
    "HASH_BYTES",
    "HEAD_BYTES",
    "MESSAGE_BYTES",
    "NS_PER_S",
    "PUBLIC_KEY_BYTES",
    "RECORD_BYTES",
    "SIGNATURE_BYTES",
    "SLOT_COUNT",
    "SLOT_MAP_VERSION",
    "TIER_MAX",
    "U16_MAX",
    "U32_MAX",
    "U64_MAX",
    "U128_MAX",
    "ZERO_HASH",
    "AccountFlag",
    "AccountId",
    "AdminType",
    "Amount",
    "BreakerGrade",
    "BreakerSubject",
    "CreditKind",
    "DomainId",
    "HashSuite",
    "KeyId",
    "LedgerId",
    "ParticipantId",
    "RelayRecordType",
    "Role",
    "RuleType",
    "ShardId",
    "SigningSuite",
    "TierAction",
    "TimeNs",
    "TransferFlag",
    "TransferId",
    "TransferKind",
    "VotePhase",
]

AccountId = NewType("AccountId", int)
Amount = NewType("Amount", int)
DomainId = NewType("DomainId", int)
KeyId = NewType("KeyId", int)
LedgerId = NewType("LedgerId", int)
ParticipantId = NewType("ParticipantId", int)
ShardId = NewType("ShardId", int)
TimeNs = NewType("TimeNs", int)
TransferId = NewType("TransferId", int)

U16_MAX: Final = 2**16 - 1
U32_MAX: Final = 2**32 - 1
TIER_MAX: Final = 2**16 - 1
U64_MAX: Final = 2**64 - 1
U128_MAX: Final = 2**128 - 1
NS_PER_S: Final = 1_000_000_000

RECORD_BYTES: Final = 160
HEAD_BYTES: Final = 128
BINDING_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
MESSAGE_BYTES: Final = 192  # the prefix T or T_run, then the record
PUBLIC_KEY_BYTES: Final = 64
HASH_BYTES: Final = 32
ACCOUNT_BYTES: Final = 160
ADMIN_BYTES: Final = 160
CREDIT_BYTES: Final = 128
DECISION_BYTES: Final = 48
ZERO_HASH: Final = bytes(HASH_BYTES)

# 8,192 records of 192 bytes and their signatures stay below a message of 8 MiB with room to spare.
BATCH_COUNT_MAX: Final = 8192
SLOT_COUNT: Final = 4096
SLOT_MAP_VERSION: Final = 1
ADMIN_WINDOW_S: Final = 3600


@unique
class HashSuite(IntEnum):
    """The one hash function of a network (BYTES-1)."""

    SHA256 = 1
    SM3 = 2


@unique
class SigningSuite(IntEnum):
    """How a key signs (BYTES-4)."""

    ED25519 = 1
    SM2 = 2
    P256 = 3


@unique
class TransferKind(IntEnum):
    """Bits 0-3 of a record's flags."""

    PLAIN = 0
    PENDING = 1
    POST = 2
    VOID = 3
    LOCK = 4
    CLAIM = 5
    REFUND = 6
    CANCEL = 7


class TransferFlag(IntFlag):
    """Bits 4-11 of a record's flags."""

    LINKED = 1 << 4
    HASH_IS_SM3 = 1 << 5
    ATTACHMENT = 1 << 6
    PAYER_MAY_POST = 1 << 7
    PAYEE_MAY_POST = 1 << 8
    PAYER_MAY_VOID = 1 << 9
    PAYEE_MAY_VOID = 1 << 10
    BY_MANDATE = 1 << 11


class AccountFlag(IntFlag):
    """Flags of an account's leaf."""

    ISSUER = 1 << 0
    FROZEN = 1 << 1
    CLOSED = 1 << 2
    CHANNEL = 1 << 3
    SUSPENSE = 1 << 4


@unique
class Role(IntEnum):
    """What a key may sign; one key serves one role."""

    ISSUER = 1
    ACCOUNT = 2
    REGISTRAR = 3
    OPERATOR = 4
    SUPERVISOR = 5
    BLOCK = 6
    SCREENING = 7


@unique
class AdminType(IntEnum):
    """What an admin request asks for (06)."""

    PARTICIPANT_ADD = 1
    KEY_ADD = 2
    KEY_ROTATE = 3
    KEY_REVOKE = 4
    ACCOUNT_OPEN = 5
    ACCOUNT_LIMITS = 6
    ACCOUNT_FREEZE = 7
    ACCOUNT_UNFREEZE = 8
    ACCOUNT_CLOSE = 9
    QUOTA_SET = 10
    ACCOUNT_KEY_SET = 11
    MANDATE = 12
    QUOTE_OPEN = 13
    QUOTE_CLOSE = 14
    LEDGER_RULES = 15
    HOLD_RELEASE = 16
    HOLD_REJECT = 17
    BREAKER_SET = 18
    BREAKER_CLEAR = 19
    LEDGER_TIER = 20
    ACCOUNT_TIER = 21
    LOOK = 22
    SCREENING = 23


@unique
class RuleType(IntEnum):
    """What a row of the table of rules is (LEDGER-100)."""

    QUOTE = 1
    LEDGER = 2
    BREAKER = 3
    TIER = 4
    COUNTER = 5


@unique
class BreakerSubject(IntEnum):
    """What a breaker stands on."""

    ACCOUNT = 1
    PARTICIPANT = 2
    LEDGER = 3
    REFERENCE = 4
    CORRIDOR = 5
    """No transfer is asked for it; bridges ask, of what would begin on a corridor (12)."""


@unique
class BreakerGrade(IntEnum):
    """What a breaker does to what would begin."""

    SLOW = 1
    HOLD = 2
    STOP = 3


@unique
class TierAction(IntEnum):
    """What happens to a transfer past the bounds of a tier."""

    REFUSE = 1
    HOLD = 2


@unique
class CreditKind(IntEnum):
    """What a message between two shards carries (05)."""

    CREDIT = 1
    RETURN = 2
    CLAIM = 3


@unique
class RelayRecordType(IntEnum):
    """The records that a relay block may hold (07); any other number is refused."""

    HEADER = 1
    REVEAL = 2
    DECISION = 3
    VALIDATOR_SET = 4
    SLOT_MAP = 5
    CORRIDOR = 6
    EVIDENCE = 7
    PARAMETER = 8
    PARENT_CERTIFICATE = 9
    CHECKPOINT = 10


@unique
class VotePhase(IntEnum):
    """The two phases in which validators vote."""

    PREPARE = 1
    COMMIT = 2
