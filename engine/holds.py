"""A held transfer as people see it (LEDGER-105): what it is, why it waits, who owns it, until when, what became of it.

It reads what the native ledger keeps of a pending and knows no rule.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import TYPE_CHECKING, Final, Self

from engine.refusals import EncodingError
from engine.types import TransferKind
from native.ledger import PENDING_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Hold", "HoldReason", "HoldState", "ledger_of", "was_held"]

_ROW: Final = struct.Struct("<16s16s16s16s16s16s32s32sQQQIIHHBBBB")
assert _ROW.size == PENDING_BYTES
_LEDGER: Final = slice(184, 188)
_HELD_FOR: Final = 198
_HELD, _REJECTED, _EXPIRED = 12, 14, 15
_KIND_MASK: Final = 0x0F


@unique
class HoldReason(IntEnum):
    """Which rule a transfer met."""

    THRESHOLD = 1
    BREAKER = 2
    TIER = 3
    VELOCITY = 4


@unique
class HoldState(IntEnum):
    """How it stands."""

    WAITING = 1
    RELEASED = 2
    REJECTED = 3
    EXPIRED = 4


@dataclass(frozen=True, slots=True)
class Hold:
    """One held transfer. ``deadline``: ns, 0 once it is over; ``owner``: the ledger's participant for holds, or 0."""

    debit_account: int
    transfer: int
    credit_account: int
    amount: int
    user_data: int
    digest: bytes
    kind: TransferKind
    ledger: int
    reason: HoldReason
    state: HoldState
    deadline: int
    owner: int
    draws: bool

    @classmethod
    def decode(cls, row: bytes, owners: Mapping[int, int]) -> Self:
        """Read the 200 bytes of a pending that is or was held; raises EncodingError for any other."""
        if len(row) != PENDING_BYTES or not was_held(row):
            raise EncodingError("hold", row.hex(), "a pending that is or was held")
        (
            debit,
            transfer,
            credit,
            amount,
            _,
            user_data,
            digest,
            _,
            due,
            _,
            _,
            ledger,
            _,
            flags,
            _,
            state,
            draws,
            why,
            _,
        ) = _ROW.unpack(row)
        stands = {_HELD: HoldState.WAITING, _REJECTED: HoldState.REJECTED, _EXPIRED: HoldState.EXPIRED}
        return cls(
            debit_account=int.from_bytes(debit, "little"),
            transfer=int.from_bytes(transfer, "little"),
            credit_account=int.from_bytes(credit, "little"),
            amount=int.from_bytes(amount, "little"),
            user_data=int.from_bytes(user_data, "little"),
            digest=digest,
            kind=TransferKind(flags & _KIND_MASK),
            ledger=ledger,
            reason=HoldReason(why),
            state=stands.get(state, HoldState.RELEASED),
            deadline=due if state == _HELD else 0,
            owner=owners.get(ledger, 0),
            draws=bool(draws),
        )


def was_held(row: bytes) -> bool:
    """Say whether a pending, 200 bytes, is or was held."""
    return row[_HELD_FOR] != 0


def ledger_of(row: bytes) -> int:
    """Return a pending's ledger."""
    return int.from_bytes(row[_LEDGER], "little")
