"""What a transaction may cost: a first offer, and better ones when it is stuck. Integers of wei, pure.

A claim must get through once its preimage is known, so it has a cap of its own; everything else waits for cheaper
blocks when the chain asks for more than the cap.
"""

from __future__ import annotations

from dataclasses import dataclass

from bridge.leg import LegCode, LegRefused

__all__ = ["FeePolicy", "Offer"]

# Nodes replace a waiting transaction only for at least 10 % more (some ask 12.5 %) of both its fees.
_REPLACEMENT_PERCENT_MIN = 13


@dataclass(frozen=True, slots=True)
class Offer:
    """Wei for a unit of gas: the most in all, and of it the most for the builder of the block."""

    max_fee: int
    priority_fee: int


@dataclass(frozen=True, slots=True)
class FeePolicy:
    """The operator's bounds, wei for a unit of gas: ``cap`` binds locks and refunds, ``claim_cap`` claims.

    What waits before a claim, under an earlier nonce of the same key, is bettered up to the cap of claims too.

    A transaction that waited for ``stuck_blocks`` blocks is replaced by one that offers ``bump_percent`` more.
    The gas limit is what the node estimates plus ``gas_margin_percent``, at most ``gas_max``.
    """

    cap: int = 200 * 10**9
    claim_cap: int = 2_000 * 10**9
    priority_fee: int = 10**9
    bump_percent: int = 25
    stuck_blocks: int = 3
    gas_margin_percent: int = 25
    gas_max: int = 1_000_000

    def __post_init__(self) -> None:
        """Refuse bounds under which nothing could ever be sent or replaced."""
        if self.bump_percent < _REPLACEMENT_PERCENT_MIN or self.stuck_blocks < 1 or self.gas_margin_percent < 0:
            raise ValueError(f"a bump under {_REPLACEMENT_PERCENT_MIN} % is refused by nodes; blocks count from 1")
        if not 0 <= self.priority_fee <= self.cap <= self.claim_cap:
            raise ValueError("0 <= priority fee <= cap <= cap of claims must hold")

    def cap_of(self, *, claim: bool) -> int:
        """Return the cap that binds."""
        return self.claim_cap if claim else self.cap

    def first(self, base_fee: int, *, claim: bool) -> Offer:
        """Offer room for the base fee to double; raises LegRefused with code fee_cap when even now is too dear."""
        cap = self.cap_of(claim=claim)
        if base_fee + self.priority_fee > cap:
            raise LegRefused(LegCode.FEE_CAP, f"the chain asks {base_fee} wei for a unit of gas, the cap is {cap}")
        return Offer(min(2 * base_fee + self.priority_fee, cap), self.priority_fee)

    def better(self, last: Offer, base_fee: int, *, claim: bool) -> Offer | None:
        """Offer enough more for a node to replace the last one; None when the cap leaves no room for it."""
        cap = self.cap_of(claim=claim)
        lowest = _more(last.max_fee, _REPLACEMENT_PERCENT_MIN)
        if lowest > cap:
            return None
        priority = _more(last.priority_fee, self.bump_percent)
        wished = max(_more(last.max_fee, self.bump_percent), 2 * base_fee + priority)
        max_fee = min(wished, cap)
        return Offer(max_fee, min(priority, max_fee))

    def gas_limit(self, estimate: int) -> int:
        """Add the margin; raises LegRefused when the call would need more than the bound."""
        if estimate > self.gas_max:
            raise LegRefused(LegCode.CHAIN_REFUSED, f"the call needs {estimate} gas, the bound is {self.gas_max}")
        return min(_more(estimate, self.gas_margin_percent), self.gas_max)


def _more(number: int, percent: int) -> int:
    """Add a percentage, rounded up."""
    return -(-number * (100 + percent) // 100)
