"""A payer's order: what he wants to be swapped, before anything is planned for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bridge.leg import HashFunction
from engine.types import ZERO_HASH

if TYPE_CHECKING:
    from bridge.travel_route import PaymentParties

__all__ = ["Order"]


class Order(msgspec.Struct, frozen=True, gc=False):
    """A swap that is wanted: ``amount`` is exactly sent, or with ``is_target`` exactly received; UETR 16 bytes."""

    uetr: bytes
    debit_account: int
    credit_account: int
    amount: int
    is_target: bool
    quotes: tuple[bytes, ...]
    lock_s: int = 0
    hash_function: HashFunction = HashFunction.SHA256
    travel_rule_hash: bytes = ZERO_HASH
    """Of envelopes that were sealed elsewhere; those of ``parties`` are sealed here."""
    chain_account: str = ""
    """Who is paid on a chain, as the chain writes it; empty where the swap does not end on one."""
    parties: PaymentParties | None = None

    def papers(self, suite: int) -> bytes:
        """Return 32 bytes that name its travel-rule data for good, however often they are sealed."""
        return self.travel_rule_hash if self.parties is None else self.parties.digest(suite)
