"""Receipts of what machines want to know and blocks did not tell: asked of nodes, a few legs at a time.

It promises that a receipt counts like a decision in a block, that a node which does not answer costs nothing but that
look, since the machine asks again, and that a lock is told as absent when its ledger's final blocks prove that it can
never stand (``clearspan.bridging.lines.absence``): a node's denial alone ends no swap. Where that proof does not come
it is looked for at growing distances, and a person is called once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from bridge.leg import LockState, LockView
from bridge.ports import Alarm, AlarmKind
from bridge.terms import LockStamp
from clearspan.bridging.journal.book import LegState
from clearspan.bridging.lines.absence import Absence, Wanted, look_for
from clearspan.client.decisions import FinalDecision
from clearspan.errors import ClientError, Refused
from engine.codes import ResultCode
from engine.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from clearspan.bridging.journal.book import OpenSwap, SwapBook
    from clearspan.bridging.lines.ledgers import LedgerPort
    from clearspan.bridging.lines.legs import OurLegs

__all__ = ["LOOKS_AT_ONCE", "Looking"]

LOOKS_AT_ONCE: Final = 8
"""How many tasks run ``work``."""
# Blocks tell of every leg by themselves; a node is asked where a swap has stood still for longer than they take.
_LOOK_AFTER_NS: Final = 8 * NS_PER_S
# So long after its time a lock has a decision in a final block, if it ever came to its ledger, or blocks prove that it
# did not: later than that is a matter for a person.
_ALARM_AFTER_NS: Final = 30 * NS_PER_S
_DISTANCE_NS_MAX: Final = 600 * NS_PER_S
_UNPROVED_KEPT_MAX: Final = 10_000
# One that is held for people is decided by then; where no block says so a node has only said it.
_UNDECIDED: Final = frozenset({LegState.WAITING, LegState.SENT, LegState.HELD})
_ABSENT: Final = LockView(LockState.ABSENT, None, None, 0, "")


class _Unproved(NamedTuple):
    """A lock that a node denies without proof: when it is looked at again, after how long (ns), who knows of it."""

    not_before: int
    distance: int
    called: bool


_UNASKED: Final = _Unproved(0, _LOOK_AFTER_NS // 2, called=False)


class Looking:
    """What is to be looked at, each leg once. Use from one event loop; some tasks run ``work``."""

    def __init__(
        self,
        book: SwapBook,
        legs: OurLegs,
        final: Callable[[int, Sequence[FinalDecision]], None],
        seen: Callable[[bytes, LockView], None],
        *,
        now: Callable[[], int],
        alarm: Callable[[OpenSwap, Alarm], None],
    ) -> None:
        """Take whose legs they are, the lines to nodes, who is told what is final or absent, and who calls a person."""
        self._book, self._legs, self._final, self._seen, self._now = book, legs, final, seen, now
        self._alarm = alarm
        self._unproved: dict[tuple[bytes, int], _Unproved] = {}
        self._wanted: dict[int, dict[tuple[bytes, int], None]] = {}
        self._busy: dict[int, int] = {}
        self._came = asyncio.Event()

    def look(self, swap: OpenSwap, leg: int) -> None:
        """Have a node asked about a leg, but for what blocks have told or would have told by now."""
        now = self._now()
        not_before = self._unproved.get((swap.party, leg), _UNASKED).not_before
        if swap.legs[leg].digest and now >= max(not_before, swap.looked_at + _LOOK_AFTER_NS):
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
                self._unproved.pop((party, leg), None)
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
        nothing = unknown == sum(map(bool, (known.digest, known.claim, known.refund)))
        if nothing and known.state in _UNDECIDED and self._now() >= swap.orders[leg].timelock_ns:
            await self._look_in_blocks(port, swap, leg)

    async def _look_in_blocks(self, port: LedgerPort, swap: OpenSwap, leg: int) -> None:
        """Tell a lock as absent where blocks prove it; what they show instead counts; without proof it waits longer."""
        order, stamp = swap.orders[leg], LockStamp.of(swap.legs[leg].record)
        wanted = Wanted(swap.legs[leg].digest, stamp.expires_at - stamp.window_s * NS_PER_S, order.timelock_ns)
        try:
            absence = await look_for(wanted, port.watch.read_for(wanted.digest), port.client, verified=port.verified)
        except ClientError as error:
            absence = Absence(proved=False, reason=str(error))
        if absence.found is not None:
            self._final(port.domain, [absence.found])
        elif absence.proved and swap.legs[leg].state in _UNDECIDED:
            self._unproved.pop((swap.party, leg), None)
            self._seen(order.lock_id, _ABSENT)
        else:
            self._wait_longer(swap, leg, absence.reason)

    def _wait_longer(self, swap: OpenSwap, leg: int, reason: str) -> None:
        """Look again after twice the time, and call a person once when that is late."""
        now, key = self._now(), (swap.party, leg)
        before = self._unproved.pop(key, _UNASKED)
        distance = min(2 * before.distance, _DISTANCE_NS_MAX)
        is_late = now >= swap.orders[leg].timelock_ns + _ALARM_AFTER_NS
        self._unproved[key] = _Unproved(now + distance, distance, called=before.called or is_late)
        if len(self._unproved) > _UNPROVED_KEPT_MAX:
            del self._unproved[next(iter(self._unproved))]
        if is_late and not before.called:
            text = f"the node denies the lock of leg {leg}, and no final block proves that it never stood: {reason}"
            self._alarm(swap, Alarm(AlarmKind.LEG_STALLED, text))
