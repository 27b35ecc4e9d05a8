"""What the tasks of a durable batch ask for, done in order: entries told, wishes handed to the lines, ends put away.

It promises that nothing of a task is done before `do`, which the road calls when its entry is on the disk, and that
the swaps of one batch share what leaves: one message to each line.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from bridge.journal import read_finished
from bridge.ports import (
    Alarm,
    AskAcceptance,
    ClaimForeign,
    EntryKind,
    Finished,
    Journal,
    Lock,
    Look,
    Outcome,
    RefundForeign,
    Reveal,
)
from clearspan.bridging.journal.book import NoteKind
from clearspan.bridging.journal.store import Note
from clearspan.bridging.lines.beside import Due
from clearspan.bridging.market.asking_back import AskingBack
from clearspan.bridging.swaps.restoring import CLAIMED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bridge.ports import Action, Entry
    from clearspan.bridging.journal.book import OpenSwap, SwapBook
    from clearspan.bridging.lines.beside import BesideBook
    from clearspan.bridging.lines.legs import LegLine, OurLegs
    from clearspan.bridging.lines.relay import RelayPort
    from clearspan.bridging.market.desk import ProviderDesk
    from clearspan.bridging.rules.compliance import Compliance
    from clearspan.bridging.swaps.asking import Asking
    from clearspan.bridging.swaps.gathering import Gathering
    from clearspan.bridging.swaps.telling import Telling

    Task = tuple[bytes, Action]

__all__ = ["Acting"]


class _Waiter(NamedTuple):
    """Somebody who waits until locks are on their way, and of which parties they still miss."""

    missing: set[bytes]
    ready: asyncio.Event


class Acting:
    """Does what machines ask for. Use from one event loop; ``attach`` comes first."""

    def __init__(
        self,
        book: SwapBook,
        legs: OurLegs,
        gathering: Gathering,
        *,
        beside: BesideBook,
        compliance: Compliance,
        desk: ProviderDesk | None,
        telling: Telling,
        now: Callable[[], int],
    ) -> None:
        """Take what hears of a swap's steps and of its end."""
        self._book, self._legs, self._gathering = book, legs, gathering
        self._beside, self._compliance, self._desk = beside, compliance, desk
        self._telling, self._now = telling, now
        self.on_finished: Callable[[OpenSwap], None] = lambda _: None
        self._chains: dict[str, LegLine] = {}
        self._relay: RelayPort | None = None
        self._asking: Asking | None = None
        self._locking: dict[bytes, list[_Waiter]] = {}
        self._again: list[tuple[OpenSwap, int]] = []
        self.asking_back = AskingBack()

    def attach(self, relay: RelayPort, asking: Asking, chains: Mapping[str, LegLine]) -> None:
        """Take the lines to the world."""
        self._relay, self._asking, self._chains = relay, asking, dict(chains)

    def line(self, swap: OpenSwap, leg: int) -> LegLine:
        """Return the line of a leg's chain. Raises KeyError for a chain that this bridge has no line to."""
        chain = swap.terms.legs[leg].chain
        return self._chains[chain] if chain else self._legs

    def do(self, tasks: Sequence[Task]) -> None:
        """Do what the tasks of a durable batch ask for, of each swap in order."""
        claims: list[tuple[int, bytes]] = []
        reveals: dict[bytes, int] = {}
        asks, self._again = self._again, []
        for party, action in tasks:
            swap = self._book.get(party)
            if swap is None:
                continue
            kind = type(action)
            if kind is Journal:
                claims += self._written(swap, action.entry)  # type: ignore[union-attr]  # the type was just compared
            elif kind is AskAcceptance:
                asks.append((swap, action.leg))  # type: ignore[union-attr]
            elif kind is Reveal:
                reveals[action.preimage] = swap.terms.home_timelock_ns  # type: ignore[union-attr]
            elif kind is Alarm:
                self._telling.alarm(swap, action)  # type: ignore[arg-type]
            elif kind is Finished:
                self._finish(swap, action.outcome, action.code)  # type: ignore[union-attr]
            else:
                self._hand_over(swap, action)
        self._legs.flush()
        for chain in self._chains.values():
            chain.flush()
        self._legs.expect(claims, look_back=True)
        if reveals and self._relay is not None:
            self._relay.reveal(reveals)
        if asks and self._asking is not None:
            self._asking.ask(asks)

    def last_notes(self, entries: Iterable[Entry]) -> list[Note]:
        """Return what is kept of the legs of swaps that end with these entries, to be written in the same commit."""
        found: list[Note] = []
        for entry in entries:
            swap = self._book.get(entry.party) if entry.kind is EntryKind.FINISHED else None
            if swap is None:
                continue
            outcome, _ = read_finished(entry.body)
            for at, leg in enumerate(swap.legs):
                if leg.record:
                    # Legs between the first and the last end by the same reveal or timelock, seen here or not.
                    leg.end = leg.end or {Outcome.SETTLED: leg.claim, Outcome.REFUNDED: leg.refund}.get(outcome, b"")
                    found.append(Note(swap.party, at, NoteKind.LEG, leg.note()))
        return found

    async def locking(self, parties: Iterable[bytes], seconds: float) -> None:
        """Return when each party's own lock is on its way or its swap has ended, or after so long."""
        open_ones = ((party, self._book.get(party)) for party in parties)
        waiter = _Waiter(
            {party for party, swap in open_ones if swap is not None and not swap.own_lock_sent}, asyncio.Event()
        )
        if not waiter.missing:
            return
        for party in waiter.missing:
            self._locking.setdefault(party, []).append(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter.ready.wait()
        except TimeoutError:
            pass
        finally:
            for party in waiter.missing:
                others = self._locking[party]
                others.remove(waiter)
                if not others:
                    del self._locking[party]

    def _hand_over(self, swap: OpenSwap, action: Action) -> None:
        """Hand a wish to the line of its leg's chain."""
        match action:
            case Lock():
                self.line(swap, action.leg).lock(swap, action)
                self._wake_locking(swap.party)
            case Look():
                self.line(swap, action.leg).look(swap, action.leg)
            case ClaimForeign():
                self.line(swap, action.leg).claim(swap, action.leg, action.preimage)
            case RefundForeign():
                self.line(swap, action.leg).refund(swap, action.leg)

    def _written(self, swap: OpenSwap, entry: Entry) -> list[tuple[int, bytes]]:
        """Take an entry that is durable now; return the claims that it makes."""
        claims: list[tuple[int, bytes]] = []
        if entry.kind is EntryKind.FINISHED:
            swap.outcome, swap.code = read_finished(entry.body)
        elif entry.kind in (EntryKind.LEARNED, EntryKind.REVEALING):
            claims = self._legs.know_preimage(swap, entry.body)
        self._telling.tell_entry(swap, entry)
        return claims

    def _finish(self, swap: OpenSwap, outcome: Outcome, code: int) -> None:
        now = self._now()
        if self._desk is not None and not swap.is_payer:
            self._desk.end(swap.party, claimed=outcome in CLAIMED)
        self._compliance.ended(swap.party, outcome)
        self._beside.end(swap.party, now, claimed=outcome in CLAIMED)
        self.asking_back.ended(swap, outcome, now)
        forgotten = self._book.end(swap, outcome, code, now)
        for line in (self._legs, *self._chains.values()):
            line.forget(swap, forgotten)
        self._gathering.wake()
        self._wake_locking(swap.party)
        self.on_finished(swap)

    def pay_premium(self, swap: OpenSwap) -> None:
        """Pay for the option when its provider asks for that: from then on he locks, and the payer may walk away.

        A provider that is not there, or that would refuse, is paid nothing.
        """
        if not swap.premium:
            paid = self._beside.start(swap.party, Due.ASKED, self._now())
            swap.premium = paid[0] if paid else b""
            if paid:
                # Shown as soon as it is written down, and not only when it is time to ask again.
                self._again.append((swap, 1))
                self._gathering.wake()

    def _wake_locking(self, party: bytes) -> None:
        for waiter in self._locking.pop(party, ()):
            waiter.missing.discard(party)
            if not waiter.missing:
                waiter.ready.set()
