"""What a chain must offer to be tested: a rig that a third party writes, and how a broken rule is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from bridge.leg import HashFunction, LegAdapter, LockOrder

__all__ = ["ConformanceFailed", "LegRig"]


class LegRig(Protocol):
    """A chain with three accounts that a check may do with as it likes. ``payer`` holds at least 100,000 units.

    ``tick_ns`` is the grain of the chain's time and ``finality_depth`` the blocks on top that make one final.
    ``hash_function`` is one that the chain knows. ``asset`` is written as in LockOrder.
    """

    payer: str
    payee: str
    stranger: str
    asset: str
    hash_function: HashFunction
    tick_ns: int
    finality_depth: int

    async def adapter(self) -> LegAdapter:
        """Give a new adapter for the payer; the one given before is dead, its durable notes are kept."""
        ...

    async def adapter_of(self, account: str) -> LegAdapter:
        """Give an adapter for the payee or the stranger."""
        ...

    async def advance(self, blocks: int) -> None:
        """Make blocks, with all that waits in the first of them."""
        ...

    async def block_at(self, time_ns: int) -> None:
        """Make one block of exactly this time, with all that waits."""
        ...

    async def reorganise(self, depth: int) -> None:
        """Replace the newest blocks by as many empty ones; what they held is lost to the chain's pool."""
        ...

    async def stop(self) -> None:
        """Let the node fall silent."""
        ...

    async def start(self) -> None:
        """Bring the node back with the chain it had; its pool may be empty."""
        ...

    async def balance(self, account: str) -> int:
        """Count the asset's units on an account."""
        ...

    async def force_claim(self, order: LockOrder, preimage: bytes) -> bool:
        """Have the stranger claim past all checks of an adapter, and make a block; whether the chain did it."""
        ...

    async def force_refund(self, order: LockOrder) -> bool:
        """Have the stranger refund past all checks of an adapter, and make a block; whether the chain did it."""
        ...


class ConformanceFailed(AssertionError):  # noqa: N818 - named as what it is
    """An adapter or its chain broke the port's contract: ``rule`` and what was seen instead."""

    def __init__(self, rule: str, seen: object) -> None:
        """Keep the rule and the sight."""
        super().__init__(f"{rule}; seen: {seen}")
        self.rule = rule
        self.seen = seen
