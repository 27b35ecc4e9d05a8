"""The transfer record and the account leaf, each 160 bytes, and the ids of accounts.

Encodings are exact both ways: what decodes encodes to the same bytes. Values are checked for their width only;
whether a record makes sense is the state machine's to say, with a result code.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Final, Self

from engine.prefix import claim_id, refund_id
from engine.refusals import EncodingError
from engine.types import (
    ACCOUNT_BYTES,
    BINDING_BYTES,
    HEAD_BYTES,
    RECORD_BYTES,
    SLOT_COUNT,
    TIER_MAX,
    U32_MAX,
    U64_MAX,
    U128_MAX,
    AccountFlag,
    TransferFlag,
    TransferKind,
)

__all__ = [
    "NO_BINDING",
    "Account",
    "Transfer",
    "channel_account_id",
    "derived_claim",
    "derived_refund",
    "ordinary_account_id",
    "participant_of_account",
    "shard_index_of_slot",
    "slot_of_account",
    "suspense_account_id",
]

NO_BINDING: Final = bytes(BINDING_BYTES)

# Six u128 as pairs of u64, expires_at and until, ledger, key_id and valid_for_s, code and flags, binding.
_RECORD: Final = struct.Struct("<16s16s16s16s16s16sQQIIIHH32s")
_ACCOUNT: Final = struct.Struct("<16s16s16s16s16s16s16s16sQIIHHIQ")
assert _RECORD.size == RECORD_BYTES
assert _ACCOUNT.size == ACCOUNT_BYTES
_KIND_MASK: Final = 0x0F


def _u128(name: str, value: int) -> bytes:
    if not 0 <= value <= U128_MAX:
        raise EncodingError(name, value, "0 to 2^128 - 1")
    return value.to_bytes(16, "little")


def _int(data: bytes) -> int:
    return int.from_bytes(data, "little")


@dataclass(frozen=True, slots=True)
class Transfer:
    """One instruction as it is signed; field by field as in docs/spec/02."""

    id: int
    debit_account: int
    credit_account: int
    amount: int
    ledger: int
    key_id: int
    expires_at: int
    valid_for_s: int
    reference: int = 0
    user_data: int = 0
    until: int = 0
    code: int = 0
    flags: int = 0
    binding: bytes = NO_BINDING

    @property
    def kind(self) -> int:
        """Bits 0-3 of the flags, of which 8-15 name no kind."""
        return self.flags & _KIND_MASK

    def encode(self) -> bytes:
        """Return the 160 bytes; raises EncodingError when a value is too wide for its field."""
        if len(self.binding) != BINDING_BYTES:
            raise EncodingError("binding bytes", len(self.binding), BINDING_BYTES)
        try:
            return _RECORD.pack(
                _u128("id", self.id),
                _u128("debit_account", self.debit_account),
                _u128("credit_account", self.credit_account),
                _u128("amount", self.amount),
                _u128("reference", self.reference),
                _u128("user_data", self.user_data),
                self.expires_at,
                self.until,
                self.ledger,
                self.key_id,
                self.valid_for_s,
                self.code,
                self.flags,
                self.binding,
            )
        except struct.error as error:
            raise EncodingError("transfer", self, "values that fit their fields") from error

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read 160 bytes; raises EncodingError for any other length."""
        if len(data) != RECORD_BYTES:
            raise EncodingError("transfer bytes", len(data), RECORD_BYTES)
        identity, debit, credit, amount, reference, user_data, *rest = _RECORD.unpack(data)
        expires_at, until, ledger, key_id, valid_for_s, code, flags, binding = rest
        return cls(
            id=_int(identity),
            debit_account=_int(debit),
            credit_account=_int(credit),
            amount=_int(amount),
            ledger=ledger,
            key_id=key_id,
            expires_at=expires_at,
            valid_for_s=valid_for_s,
            reference=_int(reference),
            user_data=_int(user_data),
            until=until,
            code=code,
            flags=flags,
            binding=binding,
        )

    @classmethod
    def decode_columns(cls, head: bytes, binding: bytes = NO_BINDING) -> Self:
        """Read a head of 128 bytes and its binding as they lie in a batch's columns."""
        if len(head) != HEAD_BYTES:
            raise EncodingError("head bytes", len(head), HEAD_BYTES)
        return cls.decode(bytes(head) + bytes(binding))


@dataclass(frozen=True, slots=True)
class Account:
    """One account as its leaf holds it; field by field as in docs/spec/03."""

    id: int
    debits_pending: int
    debits_posted: int
    credits_pending: int
    credits_posted: int
    credit_limit: int
    balance_max: int
    user_data: int
    opened_at: int
    ledger: int
    key_lineage: int
    flags: int
    code: int
    frozen_until: int
    tier: int = 0

    @property
    def balance(self) -> int:
        """What is posted to its credit less what is posted to its debit; negative for an issuer."""
        return self.credits_posted - self.debits_posted

    def frozen(self, now: int) -> bool:
        """Say whether new debits are stopped at ``now`` ns."""
        return bool(self.flags & AccountFlag.FROZEN) and (self.frozen_until == 0 or now < self.frozen_until)

    def encode(self) -> bytes:
        """Return the 160 bytes of the leaf."""
        wide = (self.id, self.debits_pending, self.debits_posted, self.credits_pending, self.credits_posted)
        limits = (self.credit_limit, self.balance_max, self.user_data)
        return _ACCOUNT.pack(
            *(_u128("account", value) for value in (*wide, *limits)),
            self.opened_at,
            self.ledger,
            self.key_lineage,
            self.flags,
            self.code,
            self.tier,
            self.frozen_until,
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a leaf; raises EncodingError for another length or a tier that cannot be."""
        if len(data) != ACCOUNT_BYTES:
            raise EncodingError("account bytes", len(data), ACCOUNT_BYTES)
        *wide, opened_at, ledger, key_lineage, flags, code, tier, frozen_until = _ACCOUNT.unpack(data)
        if tier > TIER_MAX:
            raise EncodingError("account tier", tier, f"at most {TIER_MAX}")
        numbers = [_int(value) for value in wide]
        return cls(*[*numbers, opened_at, ledger, key_lineage, flags, code, frozen_until, tier])


def ordinary_account_id(participant: int, serial: int) -> int:
    """Return the id of a participant's account with a serial of 64 bits (LEDGER-1)."""
    if not 0 < participant < U32_MAX or not 0 <= serial <= U64_MAX:
        raise EncodingError("account id", (participant, serial), "a participant's number and a serial of 64 bits")
    return participant << 96 | serial


def channel_account_id(ledger: int, peer: int) -> int:
    """Return the id of a shard's channel account for a ledger and a peer shard (LEDGER-1)."""
    return 1 << 64 | ledger << 32 | peer


def suspense_account_id(participant: int, ledger: int, number: int) -> int:
    """Return one of the ids of a participant's suspense accounts on a ledger; a shard takes its first (LEDGER-1)."""
    return participant << 96 | U32_MAX << 64 | ledger << 32 | number


def participant_of_account(account: int) -> int:
    """Return the participant's number, an account id's top 32 bits; 0 for system accounts."""
    return account >> 96


def slot_of_account(account: int) -> int:
    """Return the slot of an account id, 0 to 4095 (BYTES-9)."""
    x = ((account & U64_MAX) ^ ((account >> 64) * 0x9E3779B97F4A7C15)) & U64_MAX
    x ^= x >> 33
    x = x * 0xFF51AFD7ED558CCD & U64_MAX
    x ^= x >> 33
    x = x * 0xC4CEB9FE1A85EC53 & U64_MAX
    x ^= x >> 33
    return x >> 52


def shard_index_of_slot(slot: int, shards: int) -> int:
    """Return the index of the shard that carries a slot under slot map version 1."""
    return slot * shards // SLOT_COUNT


def _derived(lock: Transfer, identity: int, flags: int, binding: bytes) -> Transfer:
    return replace(
        lock,
        id=identity,
        reference=lock.id,
        expires_at=0,
        until=0,
        key_id=0,
        valid_for_s=0,
        flags=flags,
        binding=binding,
    )


def derived_claim(suite: int, lock: Transfer, lock_digest: bytes, preimage: bytes) -> Transfer:
    """Return the claim that ends a lock with its preimage of 32 bytes (RECORD-6)."""
    flags = TransferKind.CLAIM | lock.flags & TransferFlag.HASH_IS_SM3
    return _derived(lock, claim_id(suite, lock_digest), int(flags), preimage)


def derived_refund(suite: int, lock: Transfer, lock_digest: bytes) -> Transfer:
    """Return the refund that ends a lock at its timelock (RECORD-6)."""
    return _derived(lock, refund_id(suite, lock_digest), int(TransferKind.REFUND), NO_BINDING)
