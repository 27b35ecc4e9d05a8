"""Where legs are locked, claimed, refunded and looked at: one line for all ledgers of ours, one for each foreign chain.

It promises that a wish leaves only with `flush`, after what led to it is durable, and that every decision which a wish
may lead to is expected before the wish leaves. What a machine asks for may come any number of times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from bridge.refusals import BridgeCode, BridgeRefused
from bridge.terms import LockStamp
from engine.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bridge.ports import Lock
    from bridge.terms import SwapTerms
    from clearspan.bridging.journal.book import OpenSwap, SwapBook
    from clearspan.bridging.lines.beside import Sending
    from clearspan.bridging.lines.ledgers import LedgerPort
    from clearspan.bridging.settings.keys import BridgeKeys
    from engine.genesis import Genesis

__all__ = ["LegLine", "OurLegs"]

OURS: Final = ""
"""The chain name of legs on ledgers of ours."""


class LegLine(Protocol):
    """A chain as the road uses it, for each leg by its index in the terms. Nothing here waits or raises."""

    def lock(self, swap: OpenSwap, action: Lock) -> None:
        """Have the own leg locked: the same bytes for the same instant."""
        ...

    def claim(self, swap: OpenSwap, leg: int, preimage: bytes) -> None:
        """Have a leg claimed."""
        ...

    def refund(self, swap: OpenSwap, leg: int) -> None:
        """Have a leg refunded."""
        ...

    def look(self, swap: OpenSwap, leg: int) -> None:
        """Find out how a leg stands and tell it to the machines."""
        ...

    def forget(self, swap: OpenSwap, digests: Sequence[bytes]) -> None:
        """Take the end of a swap; nobody waits for these decisions any more."""
        ...

    def flush(self) -> None:
        """Let what was asked for leave: all that it follows from is durable."""
        ...


class OurLegs:
    """Legs on ledgers of ours, by the nodes of their domains. Use from one event loop; ``attach`` comes first."""

    def __init__(self, genesis: Genesis, book: SwapBook, keys: BridgeKeys, came: Callable[[], None]) -> None:
        """Take what names legs and signs locks; ``came`` is told when `look_back` has something to do."""
        self._suite, self._book, self._keys, self._came = genesis.hash_suite, book, keys, came
        self._domains = {each.ledger: domain.domain for domain in genesis.domains for each in domain.ledgers}
        self.windows = {each.ledger: each.window_s for domain in genesis.domains for each in domain.ledgers}
        self.ports: dict[int, LedgerPort] = {}
        self._look: Callable[[OpenSwap, int], None] = lambda _swap, _leg: None
        self._behind: dict[int, list[bytes]] = {}
        self._expects: list[tuple[int, bytes]] = []
        self._locks: list[tuple[int, bytes, bytes]] = []
        self._forgotten: list[bytes] = []

    def attach(self, ports: Iterable[LedgerPort], look: Callable[[OpenSwap, int], None]) -> None:
        """Take the lines to the nodes, and who has a node asked about a leg."""
        self.ports = {each.domain: each for each in ports}
        self._look = look

    def demand_lines(self, terms: SwapTerms, legs: Iterable[int]) -> None:
        """Demand a line to the node of each of these legs that is ours: what cannot be watched is not begun.

        Raises BridgeRefused (no_route).
        """
        for leg in legs:
            place = terms.legs[leg]
            if not place.chain and self._domains.get(place.ledger) not in self.ports:
                text = f"this bridge has no line to ledger {place.ledger}"
                raise BridgeRefused(BridgeCode.NO_ROUTE, text, leg=leg)

    # The line.

    def lock(self, swap: OpenSwap, action: Lock) -> None:
        """Have the own leg locked: the same bytes for the same instant."""
        leg = swap.own_leg
        record = self.own_record(swap, action.signed_at_ns)
        self._expects += self.know_lock(swap, leg, record)
        self._locks.append((self.domain_of(swap, leg), swap.legs[leg].digest, record))

    def claim(self, swap: OpenSwap, leg: int, preimage: bytes) -> None:
        """Do nothing: the reveal on the relay claims every leg of ours."""

    def refund(self, swap: OpenSwap, leg: int) -> None:
        """Do nothing: ledgers of ours give back by themselves what timed out."""

    def look(self, swap: OpenSwap, leg: int) -> None:
        """Have a node asked for receipts of what blocks did not tell."""
        self._look(swap, leg)

    def forget(self, swap: OpenSwap, digests: Sequence[bytes]) -> None:
        """Expect these decisions no more, from the next `flush` on."""
        del swap
        self._forgotten += digests

    def flush(self) -> None:
        """Expect what may come and no more what has ended, then let the locks leave."""
        expects, self._expects = self._expects, []
        locks, self._locks = self._locks, []
        forgotten, self._forgotten = self._forgotten, []
        self.expect(expects)
        if forgotten:
            for port in self.ports.values():
                port.watch.forget(forgotten)
        for domain, digest, record in locks:
            self.ports[domain].lock(digest, record)

    def send(self, sendings: Iterable[Sending]) -> None:
        """Let transfers beside the locks leave."""
        for each in sendings:
            self.ports[self._domains[each.ledger]].lock(each.digest, each.record)

    # Records and digests.

    def own_record(self, swap: OpenSwap, signed_at_ns: int) -> bytes:
        """Return the record that locks the own leg: the same bytes for the same instant."""
        leg = swap.terms.legs[swap.own_leg]
        window_s = self.windows[leg.ledger]
        stamp = LockStamp(signed_at_ns + window_s * NS_PER_S, self._keys.key_of(leg.ledger, leg.debit_id), window_s)
        return swap.terms.lock_bytes(swap.own_leg, self._suite, stamp, swap.swap)

    def domain_of(self, swap: OpenSwap, leg: int) -> int:
        """Return the domain whose ledger a leg stands on."""
        return self._domains[swap.terms.legs[leg].ledger]

    def domain(self, ledger: int) -> int:
        """Return the domain of a ledger."""
        return self._domains[ledger]

    def know_lock(self, swap: OpenSwap, leg: int, record: bytes) -> list[tuple[int, bytes]]:
        """Take a leg's lock record; return domain and digest of each decision that may come of it."""
        domain = self.domain_of(swap, leg)
        return [(domain, digest) for digest in self._book.know_lock(swap, leg, record)]

    def await_lock(self, swap: OpenSwap, leg: int, record: bytes) -> None:
        """Take another's lock record and expect what may come of it, also what was decided a moment ago."""
        digests = self._book.know_lock(swap, leg, record)
        if digests:
            domain = self.domain_of(swap, leg)
            self.ports[domain].watch.expect(digests)
            self._behind.setdefault(domain, []).extend(digests)
            self._came()

    def know_preimage(self, swap: OpenSwap, preimage: bytes) -> list[tuple[int, bytes]]:
        """Take the secret; return domain and digest of each claim that it makes."""
        return [(self.domain_of(swap, leg), digest) for leg, digest in self._book.know_preimage(swap, preimage)]

    # What is waited for.

    def expect(self, digests: Iterable[tuple[int, bytes]], *, look_back: bool = False) -> None:
        """Expect decisions, by domain; ``look_back`` where they may have been made a moment ago."""
        by_domain: dict[int, list[bytes]] = {}
        for domain, digest in digests:
            by_domain.setdefault(domain, []).append(digest)
        for domain, wanted in by_domain.items():
            self.ports[domain].watch.expect(wanted)
            if look_back:
                # Many swaps come together: what recent blocks say of all of them is asked for once.
                self._behind.setdefault(domain, []).extend(wanted)
                self._came()

    def look_if_passed(self, swap: OpenSwap, leg: int) -> None:
        """Have a node asked at once about a leg that stood before this process watched: no block tells it again."""
        known = swap.legs[leg]
        watch = self.ports[self.domain_of(swap, leg)].watch
        if known.height and watch.has_passed(known.digest, known.shard, known.height):
            swap.looked_at = 0
            self.look(swap, leg)

    def look_back(self) -> None:
        """Have what recent blocks say told of all that was expected late."""
        behind, self._behind = self._behind, {}
        for domain, wanted in behind.items():
            self.ports[domain].watch.expect(wanted, look_back=True)
