"""What is asked of a swap before it begins or is accepted: breakers, travel rule, people's cases, limits of the day.

It promises that a refusal or a hold comes before anything is locked and leaves no limit drawn, and that limits, cases
and breakers are the same after a restart. It never hears of a swap that runs: nothing here can stop a reveal, a claim
or a refund. Names, flows and cases are ``clearspan.bridging.rules.held``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from bridge.calendar import day_of
from bridge.cases import CaseState
from bridge.corridor_breakers import CorridorBreakers
from bridge.foreign_asset import ends_of, payer_of
from bridge.journal import read_accepted, read_begun, read_finished
from bridge.patterns import Flow
from bridge.ports import EntryKind, Outcome
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.terms import SwapTerms
from bridge.usage import CorridorUsage, Taken
from clearspan.bridging.market.envelopes import demand_hop, demand_route
from clearspan.bridging.rules.breaker_desk import BREAKER_ROWS, BreakerRows
from clearspan.bridging.rules.held import HeldPayments, Screening
from engine.hashing import digest
from engine.types import NS_PER_S, BreakerGrade

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.cases import Case, CaseBook, Step
    from bridge.corridor import CorridorDocument
    from bridge.corridor_breakers import BreakerNotice
    from bridge.ports import Entry
    from bridge.screening import Screen
    from clearspan.bridging.journal.store import JournalStore
    from clearspan.bridging.market.corridors import Corridors
    from clearspan.bridging.market.order import Order
    from clearspan.bridging.rules.outcomes import OutcomeBook
    from engine.genesis import Genesis

__all__ = ["Clearance", "Compliance", "Screening", "order_hash"]

# No local day is longer, whatever its zone: what began before cannot be of today.
_DAY_MAX_NS: Final = 26 * 3_600 * NS_PER_S
_PAGE: Final = 1_000
_HEIGHT_MAX: Final = 2**63
_ORDER_PREFIX: Final = b"clearspan/swap-order/1"
_UNDONE: Final = frozenset({Outcome.REFUNDED, Outcome.ABANDONED, Outcome.KEPT})


class Clearance(msgspec.Struct, frozen=True, gc=False):
    """What lets one swap begin: what it took of the day's limits, and the released case that it uses up (or none).

    ``corridors`` are the ids of those that it goes over, ``at`` (ns) when it was cleared.
    """

    taken: tuple[Taken, ...] = ()
    case_id: bytes = b""
    corridors: tuple[bytes, ...] = ()
    at: int = 0


class Compliance:
    """The rules of one bridge, on both sides. Use from one event loop; ``take_entries`` is written before an answer."""

    def __init__(
        self,
        genesis: Genesis,
        participant: int,
        corridors: Corridors,
        screening: Screening | None = None,
        outcomes: OutcomeBook | None = None,
    ) -> None:
        """Stand without usage, breakers and cases; ``restore`` follows. Without ``outcomes`` none is kept."""
        self._genesis, self._corridors, self._outcomes = genesis, corridors, outcomes
        self.usage, self.breakers = CorridorUsage(), CorridorBreakers()
        self.breaker_rows = BreakerRows(self.breakers)
        self.held = HeldPayments(genesis, participant, screening or Screening(None, 1), outcomes)
        self._taken: dict[bytes, tuple[Taken, ...]] = {}

    @property
    def screens_names(self) -> bool:
        """Whether names of payers and payees are looked at."""
        return self.held.screens_names

    @property
    def cases(self) -> CaseBook:
        """The cases of held payments."""
        return self.held.cases

    # The payer's side.

    def clear(
        self,
        order: Order,
        terms: SwapTerms,
        now: int,
        *,
        names: tuple[str, str] = ("", ""),
        travel_rule: bytes = b"",
    ) -> Clearance:
        """Let a swap begin, or raise BridgeRefused with nothing drawn.

        ``names`` are payer's and payee's. screening_hold names the case that people decide; the same order, with
        whatever quotes it stands on by then, runs once when it is released.
        """
        documents = self._documents(terms)
        standing = [each for each in documents if self.breakers.standing(each.id_bytes, now) is not None]
        for document in standing:
            self._demand_not_stopped(document, now)
        demand_route(self._genesis, terms, documents, travel_rule)
        is_free = self.held.asks_nobody and not standing
        case_id = b"" if is_free else self._demand_people(order, terms, documents, names, now)
        taken = self._take(documents, terms, range(len(documents)), now)
        try:
            for document in standing:
                self.breakers.demand(document.id_bytes, now)
        except BridgeRefused:
            self.give_back(taken)
            raise
        return Clearance(taken, case_id, tuple([each.id_bytes for each in documents]), now)

    def _demand_people(
        self, order: Order, terms: SwapTerms, documents: Sequence[CorridorDocument], names: tuple[str, str], now: int
    ) -> bytes:
        """Ask what people decide about; return the released case that the swap uses up."""
        message = order_hash(self._genesis, order, terms, names)
        standing = (self.breakers.standing(each.id_bytes, now) for each in documents)
        holding: list[BreakerNotice] = [
            each for each in standing if each is not None and each.grade is BreakerGrade.HOLD
        ]
        return self.held.demand(message, terms, documents, names=names, holding=holding, now=now)

    def began(self, party: bytes, clearance: Clearance) -> None:
        """Keep what a swap took until it ends, and use up the release of its case."""
        self._taken[party] = clearance.taken
        for corridor_id in clearance.corridors:
            # Only now: whoever asks and does not begin leaves the others their places.
            self.breakers.count(corridor_id, clearance.at)
        if clearance.case_id:
            self.held.used(clearance.case_id, party)

    def give_back(self, taken: Iterable[Taken]) -> None:
        """Give back what was taken for a swap that did not begin after all."""
        for each in taken:
            self.usage.give_back(each)

    def ended(self, party: bytes, outcome: Outcome) -> None:
        """Give back what did not settle; its released case may be used again then."""
        taken = self._taken.pop(party, ())
        if outcome in _UNDONE:
            self.give_back(taken)
            self.held.unused(party)

    # The provider's side.

    def admit(self, terms: SwapTerms, leg: int, document: CorridorDocument, travel_rule: bytes, now: int) -> Clearance:
        """Let a swap be accepted for a leg, or raise BridgeRefused with nothing drawn.

        Under a hold a provider accepts nothing: whose swap it is has people who decide, and a provider has its own.
        """
        standing = self.breakers.standing(document.id_bytes, now)
        if standing is not None:
            self._demand_not_stopped(document, now)
        demand_hop(self._genesis, terms, leg, document, travel_rule)
        if standing is not None and standing.grade is BreakerGrade.HOLD:
            text = f"a breaker holds corridor {document.id}, reason {standing.reason}, until {standing.expires_at}"
            raise BridgeRefused(BridgeCode.SCREENING_HOLD, text, leg=leg)
        taken = (self.usage.take(document, payer_of(terms), terms.legs[leg - 1].amount, now),)
        if standing is not None:
            try:
                self.breakers.demand(document.id_bytes, now)
            except BridgeRefused:
                self.give_back(taken)
                raise
        return Clearance(taken, corridors=(document.id_bytes,), at=now)

    # Cases.

    def step(
        self, case_id: str, step: Step, officer: str, now: int, text: str = "", *, names: tuple[str, ...] = ()
    ) -> Case:
        """Let an officer, whom ``names`` name too, act on a case; durable with the next commit (``Held.step``)."""
        return self.held.step(case_id, step, officer, now, text, names=names)

    def tick(self, now: int) -> list[str]:
        """End cases whose time is over; return a sentence for each that somebody must be called for."""
        return self.held.tick(now)

    def use(self, screen: Screen) -> None:
        """Screen with another version of the list from now on."""
        self.held.use(screen)

    def take_entries(self) -> list[bytes]:
        """Return the entries of cases that are to be written now, in order."""
        return self.held.take_entries()

    def take_kept(self) -> list[tuple[bytes, bytes | None]]:
        """Return the rows that are to be kept now, by key."""
        outcomes = self._outcomes.take() if self._outcomes is not None else []
        return self.breaker_rows.take() + outcomes

    def restore(self, store: JournalStore, now: int) -> None:
        """Read cases, breakers and outcomes, and count again what the swaps of the day took.

        Raises EncodingError for a broken entry.
        """
        by_uetr = self.held.restore(store.case_entries())
        self.breaker_rows.restore(store.kept(BREAKER_ROWS))
        if self._outcomes is not None:
            self._outcomes.restore(store)
        recent: list[tuple[bytes, list[Entry]]] = []
        before, more = 0, True
        while more:
            parties, before = store.newest(_PAGE, before)
            for party in parties:
                entries = store.entries_of(party)
                # The order of beginning is the order of pages; older ones follow, and none of them is of today.
                more = bool(entries) and entries[0].at_ns >= now - _DAY_MAX_NS
                if not more:
                    break
                recent.append((party, entries))
            more = more and bool(before)
        for party, entries in reversed(recent):
            self._restore_swap(party, entries, by_uetr, now)

    def _restore_swap(self, party: bytes, entries: Sequence[Entry], by_uetr: dict[bytes, Case], now: int) -> None:
        first, last = entries[0], entries[-1]
        ended = read_finished(last.body)[0] if last.kind is EntryKind.FINISHED else None
        if ended in _UNDONE:
            return
        accepted = first.kind is EntryKind.ACCEPTED
        own_leg, data = read_accepted(first.body) if accepted else (0, read_begun(first.body)[1])
        terms = SwapTerms.decode(data)
        payer = payer_of(terms)
        taken = []
        for hop in (own_leg - 1,) if own_leg else range(len(terms.corridors)):
            try:
                document = self._corridors.book.in_effect(terms.corridors[hop].id, _HEIGHT_MAX)
            except BridgeRefused:
                continue  # a corridor that is no longer known has no limit
            zone = document.limits.day_zone
            if day_of(first.at_ns, zone) == day_of(now, zone):
                taken.append(Taken(document.id_bytes, day_of(now, zone), payer, terms.legs[hop].amount))
                self.usage.restore(taken[-1])
        if ended is None:
            self._taken[party] = tuple(taken)
        if not own_leg:
            case = by_uetr.get(terms.uetr)
            if case is not None and case.state is CaseState.RELEASED:
                self.held.used(bytes.fromhex(case.opened.case_id), party)
            self.held.saw_swap(terms, Flow(party, *ends_of(terms), terms.legs[0].amount, first.at_ns))

    # Parts.

    def _documents(self, terms: SwapTerms) -> tuple[CorridorDocument, ...]:
        book, height = self._corridors.book, self._corridors.height
        return tuple([book.demand_version(each.id, each.version, height) for each in terms.corridors])

    def _take(
        self, documents: Sequence[CorridorDocument], terms: SwapTerms, legs: Iterable[int], now: int
    ) -> tuple[Taken, ...]:
        """Count a swap on each corridor, or on none."""
        payer = payer_of(terms)
        taken: list[Taken] = []
        try:
            for document, leg in zip(documents, legs, strict=True):
                taken.append(self.usage.take(document, payer, terms.legs[leg].amount, now))
        except BridgeRefused:
            self.give_back(taken)
            raise
        return tuple(taken)

    def _demand_not_stopped(self, document: CorridorDocument, now: int) -> None:
        """Ask for a stop before all else; nothing is counted, so that what is refused later costs no rate."""
        standing = self.breakers.standing(document.id_bytes, now)
        if standing is not None and standing.grade is BreakerGrade.STOP:
            self.breakers.demand(document.id_bytes, now)


def order_hash(genesis: Genesis, order: Order, terms: SwapTerms, names: tuple[str, str]) -> bytes:
    """Return what names an order for good: who pays whom what, and under which UETR; quotes and instants may change."""
    values = order.debit_account, order.credit_account, order.amount
    parts = b"".join(value.to_bytes(16, "little") for value in values)
    ends = b"".join(terms.legs[at].ledger.to_bytes(4, "little") for at in (0, -1))
    texts = b"".join(len(data).to_bytes(4, "little") + data for data in (name.encode() for name in names))
    flags = bytes([order.is_target])
    head = _ORDER_PREFIX + genesis.hash + order.uetr + parts + ends + flags
    return digest(genesis.hash_suite, head + order.papers(genesis.hash_suite) + texts)
