"""Open swaps made again from the journal: what machines remember, what was kept beside it, what is waited for again.

It promises that after a restart every decision which may come of what was sent is expected, and that a secret which a
relay block showed is known again, because a restart goes on behind that block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge.journal import read_finished
from bridge.ports import EntryKind, Outcome, Revealed
from clearspan.bridging.journal.book import LegRecord, NoteKind, OpenSwap

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.party import SwapParty
    from bridge.ports import Event
    from bridge.watcher import Watcher
    from clearspan.bridging.journal.book import SwapBook
    from clearspan.bridging.journal.store import JournalStore
    from clearspan.bridging.lines.legs import OurLegs

__all__ = ["CLAIMED", "Restoring", "open_swap_of"]

CLAIMED: Final = frozenset({Outcome.SETTLED, Outcome.LOST})
"""Outcomes in which the own leg was claimed."""


class Restoring:
    """Reads what a journal says of the machines that it led to; used once, before anything else happens."""

    def __init__(
        self,
        store: JournalStore,
        watcher: Watcher,
        book: SwapBook,
        legs: OurLegs,
        route: Callable[[OpenSwap, bytes], None],
    ) -> None:
        """Take the journal, its machines, and who takes a payer's quotes back."""
        self._store, self._watcher, self._book, self._legs, self._route = store, watcher, book, legs, route

    def swaps(self) -> list[tuple[bytes, Event]]:
        """Put every machine's swap in the book; return what the machines must hear of what was kept."""
        heard: list[tuple[bytes, Event]] = []
        for machine in tuple(self._watcher.machines()):
            swap = open_swap_of(machine, machine.terms.created_at)
            self._book.add(swap)
            swap.lines += self._store.entries_of(machine.party)
            heard += self._notes(swap)
            own = machine.own_leg
            if machine.locking_at_ns and not swap.legs[own].record and not machine.terms.legs[own].foreign:
                record = self._legs.own_record(swap, machine.locking_at_ns)
                self._legs.expect(self._legs.know_lock(swap, own, record))
            if machine.preimage is not None:
                self._legs.expect(self._legs.know_preimage(swap, machine.preimage))
        return heard

    def was_claimed(self, party: bytes) -> bool | None:
        """Say whether a party's own leg was claimed, None while its swap runs."""
        if self._book.get(party) is not None:
            return None
        entries = self._store.entries_of(party)
        ended = bool(entries) and entries[-1].kind is EntryKind.FINISHED
        return ended and read_finished(entries[-1].body)[0] in CLAIMED

    def _notes(self, swap: OpenSwap) -> list[tuple[bytes, Event]]:
        """Take back what was kept beside the entries; return what the machine must hear of it."""
        revealed: list[tuple[bytes, Event]] = []
        for note in self._store.notes_of(swap.party):
            if note.kind == NoteKind.LEG:
                leg = LegRecord()
                leg.read_note(note.data)
                self._legs.expect(self._legs.know_lock(swap, note.leg, leg.record))
                swap.legs[note.leg].shard, swap.legs[note.leg].height = leg.shard, leg.height
            elif note.kind == NoteKind.PREIMAGE:
                height, preimage = int.from_bytes(note.data[:8], "little"), note.data[8:]
                revealed.append((swap.party, Revealed(preimage, height, 0)))
                self._legs.expect(self._legs.know_preimage(swap, preimage))
            elif note.kind == NoteKind.ROUTE:
                self._route(swap, note.data)
            elif note.kind == NoteKind.TRAVEL_RULE:
                swap.travel_rule = note.data
            elif note.kind == NoteKind.PREMIUM:
                swap.premiums[note.leg] = note.data
        return revealed


def open_swap_of(machine: SwapParty, began_at: int) -> OpenSwap:
    """Return a machine's swap as the book keeps it, with nothing known yet of its legs."""
    return OpenSwap(
        machine.party,
        machine.swap,
        machine.own_leg,
        machine.terms,
        machine.orders,
        [LegRecord() for _ in machine.orders],
        began_at,
    )
