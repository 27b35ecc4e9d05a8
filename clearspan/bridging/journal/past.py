"""What was begun or accepted here before, as the journal knows it: asked before anything new is made.

It promises that a hash serves one swap for good and a UETR one payment, also after a restart: the watcher knows what
runs and what has ended since this process began, the journal all before.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from bridge.journal import read_begun, read_finished
from bridge.ports import EntryKind
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.terms import LEGS_MAX, SwapTerms, leg_digest
from clearspan.bridging.journal.book import NOTHING_PAID

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from clearspan.bridging.journal.book import SwapBook
    from clearspan.bridging.journal.store import JournalStore

__all__ = ["Past"]


class Past:
    """Questions to the journal. Use from one event loop; every answer is one small read."""

    def __init__(self, store: JournalStore, book: SwapBook, suite: int) -> None:
        """Take the journal and the swaps that run."""
        self._store, self._book, self._suite = store, book, suite

    def known_hashes(self, hashlocks: Iterable[bytes]) -> Collection[bytes]:
        """Return those of these hashlocks that the journal knows, by one read."""
        return self._store.known_hashes(hashlocks)

    def demand_unknown(self, terms: SwapTerms, own_leg: int, known: Collection[bytes] | None = None) -> None:
        """Demand that the journal knows neither this side of the swap nor another swap by its hash.

        The watcher knows what runs and what has ended since this process began; the journal all before. It is asked
        first: a machine that is refused after it was made would go on, and write to a journal without a beginning.
        ``known`` is what `known_hashes` said of this hash, among others, a moment ago.
        """
        if terms.hashlock not in (self.known_hashes((terms.hashlock,)) if known is None else known):
            return
        name = terms.digest(self._suite)
        party = leg_digest(self._suite, name, own_leg)
        if self._book.get(party) is not None:
            return
        if self._store.entries_of(party):
            raise BridgeRefused(BridgeCode.DUPLICATE_SWAP, party.hex())
        if self.party_of(name) is None:
            raise BridgeRefused(BridgeCode.HASH_REUSED, terms.hashlock.hex())

    def party_of(self, swap: bytes) -> bytes | None:
        """Return the party's side of a swap, by the terms' digest, that was begun or accepted here."""
        return self._store.first_known(leg_digest(self._suite, swap, leg) for leg in range(LEGS_MAX))

    def find(self, swap: bytes, uetr: bytes) -> bytes | None:
        """Return the party's side of a swap by the terms' digest, or by the UETR where that is empty."""
        return self.party_of(swap) if swap else self._store.named(uetr=uetr)

    def named(self, uetrs: Iterable[bytes]) -> dict[bytes, bytes | None]:
        """Return the journal's party of each of these UETRs, None where it knows none."""
        return self._store.named_under(uetrs)

    def demand_new_order(self, uetr: bytes, known: Mapping[bytes, bytes | None] = MappingProxyType({})) -> None:
        """Demand that no swap was begun here under a UETR, but one that took nothing in the end.

        An order that is sent again because its answer was lost would be paid twice. ``known`` is what `named` said a
        moment ago. Raises BridgeRefused (duplicate_swap) with the swap that it has led to.
        """
        found = self._book.begun_under(uetr)
        if found is None:
            party = known[uetr] if uetr in known else self._store.named(uetr=uetr)
            entries = self._store.entries_of(party) if party is not None else ()
            if party is None or not entries or entries[0].kind is not EntryKind.BEGUN:
                return
            if entries[-1].kind is EntryKind.FINISHED and read_finished(entries[-1].body)[0] in NOTHING_PAID:
                return
            found = SwapTerms.decode(read_begun(entries[0].body)[1]).digest(self._suite)
        raise BridgeRefused(BridgeCode.DUPLICATE_SWAP, f"UETR {uetr.hex()} is that of swap {found.hex()}")
