"""The transfer record (spec 02): its fields, its flag bits, its digest, and what a lock derives."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tests.model.hashes import hasher, prefix

__all__ = [
    "ATTACHMENT", "BY_MANDATE", "CANCEL", "CLAIM", "FIELDS_IN_ORDER", "LINKED", "LOCK", "PAYEE_POSTS", "PAYEE_VOIDS",
    "PAYER_POSTS", "PAYER_VOIDS", "PENDING", "PLAIN", "POST", "REFUND", "SM3_HASHLOCK", "VOID", "Transfer",
    "derive_claim", "derive_refund", "record_digest", "u128",
]  # fmt: skip

PLAIN, PENDING, POST, VOID, LOCK, CLAIM, REFUND, CANCEL = range(8)
LINKED, SM3_HASHLOCK, ATTACHMENT = 1 << 4, 1 << 5, 1 << 6
PAYER_POSTS, PAYEE_POSTS, PAYER_VOIDS, PAYEE_VOIDS, BY_MANDATE = 1 << 7, 1 << 8, 1 << 9, 1 << 10, 1 << 11

_HEAD = struct.Struct("<14Q3I2H")
ZERO_BINDING = bytes(32)

# The order in which the first difference between two records of one id is named (step 19).
FIELDS_IN_ORDER = (
    "flags", "credit_account", "amount", "reference", "user_data", "expires_at", "until", "ledger", "key_id",
    "valid_for_s", "code", "binding",
)  # fmt: skip


def u128(number: int) -> bytes:
    return number.to_bytes(16, "little")


@dataclass(slots=True)
class Transfer:
    """One record of 160 signed bytes."""

    id: int = 0
    debit_account: int = 0
    credit_account: int = 0
    amount: int = 0
    reference: int = 0
    user_data: int = 0
    expires_at: int = 0
    until: int = 0
    ledger: int = 0
    key_id: int = 0
    valid_for_s: int = 0
    code: int = 0
    flags: int = 0
    binding: bytes = ZERO_BINDING

    @classmethod
    def unpack(cls, head: bytes, binding: bytes = ZERO_BINDING) -> Transfer:
        f = _HEAD.unpack(head)
        return cls(
            f[0] | f[1] << 64, f[2] | f[3] << 64, f[4] | f[5] << 64, f[6] | f[7] << 64, f[8] | f[9] << 64,
            f[10] | f[11] << 64, f[12], f[13], f[14], f[15], f[16], f[17], f[18], binding,
        )  # fmt: skip

    def head(self) -> bytes:
        """The first 128 bytes."""
        wide = (self.id, self.debit_account, self.credit_account, self.amount, self.reference, self.user_data)
        return b"".join(map(u128, wide)) + struct.pack(
            "<QQIIIHH", self.expires_at, self.until, self.ledger, self.key_id, self.valid_for_s, self.code, self.flags
        )

    def pack(self) -> bytes:
        return self.head() + self.binding

    @property
    def kind(self) -> int:
        return self.flags & 15


def _derived_id(suite: int, what: str, lock_digest: bytes) -> int:
    return int.from_bytes(hasher(suite)(f"clearspan/{what}/1".encode("ascii") + lock_digest)[:16], "little")


def _derive(lock: Transfer, *, derived_id: int, flags: int, binding: bytes) -> Transfer:
    return Transfer(
        id=derived_id,
        debit_account=lock.debit_account,
        credit_account=lock.credit_account,
        amount=lock.amount,
        reference=lock.id,
        user_data=lock.user_data,
        ledger=lock.ledger,
        code=lock.code,
        flags=flags,
        binding=binding,
    )


def derive_claim(suite: int, lock: Transfer, lock_digest: bytes, preimage: bytes) -> Transfer:
    """RECORD-6."""
    flags = CLAIM | lock.flags & SM3_HASHLOCK
    return _derive(lock, derived_id=_derived_id(suite, "claim", lock_digest), flags=flags, binding=preimage)


def derive_refund(suite: int, lock: Transfer, lock_digest: bytes) -> Transfer:
    """RECORD-6."""
    return _derive(lock, derived_id=_derived_id(suite, "refund", lock_digest), flags=REFUND, binding=ZERO_BINDING)


def record_digest(suite: int, genesis_hash: bytes, record: bytes) -> bytes:
    """RECORD-3 of a record that is no member of a run."""
    return hasher(suite)(prefix(suite, genesis_hash, "transfer") + record)
