"""Accounts, their leaves, and the sums that must agree with them (LEDGER-1 to LEDGER-4)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tests.model.record import u128

__all__ = [
    "CHANNEL", "CLOSED", "FROZEN", "ISSUER", "SUSPENSE", "Account", "Totals", "channel_account_id", "participant_of",
    "reserved", "second_word_of", "suspense_account_id",
]  # fmt: skip

ISSUER, FROZEN, CLOSED, CHANNEL, SUSPENSE = 1, 2, 4, 8, 16
_RESERVED_PARTICIPANTS = (0, 0xFFFFFFFF)


@dataclass(slots=True)
class Account:
    """Where value is recorded; the leaf of 160 bytes has these fields in another order."""

    id: int
    ledger: int
    flags: int = 0
    key_lineage: int = 0
    code: int = 0
    user_data: int = 0
    opened_at: int = 0
    debits_pending: int = 0
    debits_posted: int = 0
    credits_pending: int = 0
    credits_posted: int = 0
    credit_limit: int = 0
    balance_max: int = 0
    frozen_until: int = 0
    tier: int = 0

    def leaf(self) -> bytes:
        wide = (
            self.id, self.debits_pending, self.debits_posted, self.credits_pending, self.credits_posted,
            self.credit_limit, self.balance_max, self.user_data,
        )  # fmt: skip
        return b"".join(map(u128, wide)) + struct.pack(
            "<QIIHHIQ",
            self.opened_at,
            self.ledger,
            self.key_lineage,
            self.flags,
            self.code,
            self.tier,
            self.frozen_until,
        )


@dataclass(slots=True)
class Totals:
    """What all debit sides of a ledger add up to on this shard (LEDGER-3)."""

    debits_pending: int = 0
    debits_posted: int = 0


def participant_of(account: int) -> int:
    return account >> 96


def second_word_of(account: int) -> int:
    return account >> 64 & 0xFFFFFFFF


def reserved(account: int) -> bool:
    """No request may name it; ids 0 and 2^128-1 have such participants too."""
    return participant_of(account) in _RESERVED_PARTICIPANTS


def channel_account_id(ledger: int, peer: int) -> int:
    return 1 << 64 | ledger << 32 | peer


def suspense_account_id(participant: int, ledger: int, number: int = 0) -> int:
    """The ids that a participant's suspense accounts may have; a shard uses the first whose slot it carries."""
    return participant << 96 | 0xFFFFFFFF << 64 | ledger << 32 | number
