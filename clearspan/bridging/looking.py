"""Receipts of what machines want to know and blocks did not tell: asked of nodes, a few legs at a time.

It promises that a receipt counts like a decision in a block, that a node which does not answer costs nothing but that
look, since the machine asks again, and that a lock which never came to its ledger is told as absent once its time is
over: without that its swap would run for ever.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from bridge.leg import LockState, LockView
from clearspan.client.decisions import FinalDecision
from clearspan.errors import ClientError, Refused
from engine.codes import ResultCode
from engine.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from clearspan.bridging.book import OpenSwap, SwapBook
    from clearspan.bridging.legs import OurLegs

__all__ = ["LOOKS_AT_ONCE", "Looking"]

LOOKS_AT_ONCE: Final = 8
"""How many tasks run ``work``."""
# Blocks tell of every leg by themselves; a node is asked where a swap has stood still for longer than they take.
_LOOK_AFTER_NS: Final = 8 * NS_PER_S
# So long after its time a lock has a decision in a final block, if it ever came to its ledger.
_ABSENT_AFTER_NS: Final = 30 * NS_PER_S
_ABSENT: Final = LockView(LockState.ABSENT, None, None, 0, "")


class Looking:
    """What is to be looked at, each leg once. Use from one event loop; some tasks run ``work``."""

    def __init__(
        self,
        book: SwapBook,
        legs: OurLegs,
        final: Callable[[int, Sequence[FinalDecision]], None],
        seen: Callable[[bytes, LockView], None],
        now: Callable[[], int],
    ) -> None:
        """Take whose legs they are, the lines to nodes, and who is told what a receipt says, or that there is none."""
        self._book, self._legs, self._final, self._seen, self._now = book, legs, final, seen, now
        self._wanted: dict[int, dict[tuple[bytes, int], None]] = {}
        self._busy: dict[int, int] = {}
        self._came = asyncio.Event()

    def look(self, swap: OpenSwap, leg: int) -> None:
        """Have a node asked about a leg, but for what blocks have told or would have told by now."""
        now = self._now()
        if swap.legs[leg].digest and now >= swap.looked_at + _LOOK_AFTER_NS:
            swap.looked_at = now if leg == len(swap.legs) - 1 else swap.looked_at
            self._wanted.setdefault(self._legs.domain_of(swap, leg), {})[swap.party, leg] = None
            self._came.set()

    async def work(self) -> None:
        """Ask for one leg at a time, for as long as the bridge runs."""
        while True:
            while (domain := self._free_domain()) is None:
                self._came.clear()
                await self._came.wait()
            party, leg = next(iter(self._wanted[domain]))
            del self._wanted[domain][party, leg]
            swap = self._book.get(party)
            if swap is None or not swap.legs[leg].digest:
                continue
            self._busy[domain] = self._busy.get(domain, 0) + 1
            try:
                await self._look_at(swap, leg)
            finally:
                self._busy[domain] -= 1
                self._came.set()

    def _free_domain(self) -> int | None:
        """Return a domain that is to be asked and is asked least now; one that hangs leaves room for the others."""
        at_once = max(1, LOOKS_AT_ONCE // max(1, len(self._legs.ports)))
        waiting = [domain for domain, wanted in self._wanted.items() if wanted]
        free = [domain for domain in waiting if self._busy.get(domain, 0) < at_once]
        return min(free, key=lambda domain: self._busy.get(domain, 0), default=None)

    async def _look_at(self, swap: OpenSwap, leg: int) -> None:
        port = self._legs.ports[self._legs.domain_of(swap, leg)]
        known, unknown = swap.legs[leg], 0
        for digest in (known.digest, known.claim, known.refund):
            if not digest:
                continue
            try:
                receipt = await port.client.receipt(digest, wait_s=0.0, verified=port.verified)
            except ClientError as error:
                unknown += isinstance(error, Refused) and error.code == ResultCode.NOT_FOUND
                continue
            found, anchored = receipt.finding.decision, receipt.finding.anchorage
            decision = FinalDecision(
                digest,
                found.code,
                found.time,
                anchored.shard,
                anchored.height,
                anchored.relay_height,
                anchored.relay_time,
            )
            self._final(port.domain, [decision])
        order = swap.orders[leg]
        nothing = unknown == sum(map(bool, (known.digest, known.claim, known.refund)))
        if nothing and self._now() >= order.timelock_ns + _ABSENT_AFTER_NS:
            self._seen(order.lock_id, _ABSENT)
