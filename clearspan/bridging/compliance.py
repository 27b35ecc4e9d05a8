"""What is asked of a swap before it begins or is accepted: breakers, travel rule, names, patterns, limits of the day.

It promises that a refusal or a hold comes before anything is locked and leaves no limit drawn, that a held payment is a
journaled case which two officers decide, and that limits and cases are the same after a restart. It never hears of a
swap that runs: nothing here can stop a reveal, a claim or a refund.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from bridge.calendar import day_of
from bridge.cases import CaseBook, CaseKind, CaseOpened, CaseState, Step, decode_case_entry, encode_case_entry
from bridge.corridor_breakers import CorridorBreakers
from bridge.edge import Edge, EdgePayment, EdgeSettings, case_id_of
from bridge.journal import read_accepted, read_begun, read_finished
from bridge.patterns import Flow, PatternRules, PatternWatch
from bridge.ports import EntryKind, Outcome
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.screening import Screen, WatchList
from bridge.terms import SwapTerms
from bridge.travel_rule import demand_recipients, envelope_hash
from bridge.usage import CorridorUsage, Taken
from engine.hashing import digest
from engine.record import participant_of_account
from engine.types import NS_PER_S, U128_MAX, ZERO_HASH, BreakerGrade

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.cases import Case, CaseEntry
    from bridge.corridor import CorridorDocument
    from bridge.ports import Entry
    from clearspan.bridging.corridors import Corridors
    from clearspan.bridging.routing import Order
    from clearspan.bridging.store import JournalStore
    from engine.genesis import Genesis

__all__ = ["Clearance", "Compliance", "Screening", "demand_envelope", "order_hash"]

# No local day is longer, whatever its zone: what began before cannot be of today.
_DAY_MAX_NS: Final = 26 * 3_600 * NS_PER_S
_PAGE: Final = 1_000
_HEIGHT_MAX: Final = 2**63
_ORDER_PREFIX: Final = b"clearspan/swap-order/1"
_UNDONE: Final = frozenset({Outcome.REFUNDED, Outcome.ABANDONED, Outcome.KEPT})
_UNDECIDED: Final = frozenset({CaseState.OPEN, CaseState.OWNED, CaseState.RELEASE_PROPOSED, CaseState.REJECT_PROPOSED})
_UNNAMED: Final = "unnamed"  # where no list is looked at
_log = structlog.get_logger("clearspan.bridging")


@dataclass(frozen=True, slots=True)
class Screening:
    """What the edge goes by: a list, who answers for it, how long people have, and from where on patterns count.

    ``screen`` None looks at no name. ``pattern_threshold`` is in minor units of the ledger that is paid on, 0 looks at
    no pattern.
    """

    screen: Screen | None
    key_id: int
    hold_ns: int = 86_400 * NS_PER_S
    pattern_threshold: int = 0


@dataclass(frozen=True, slots=True)
class Clearance:
    """What lets one swap begin: what it took of the day's limits, and the released case that it uses up (or none)."""

    taken: tuple[Taken, ...] = ()
    case_id: bytes = b""


class Compliance:
    """The rules of one bridge, on both sides. Use from one event loop; ``take_entries`` is written before an answer."""

    def __init__(
        self, genesis: Genesis, participant: int, corridors: Corridors, screening: Screening | None = None
    ) -> None:
        """Stand without usage, breakers and cases; ``restore`` follows."""
        self._genesis, self._participant, self._corridors = genesis, participant, corridors
        self._screening = screening or Screening(None, 1)
        self.usage, self.breakers, self.cases = CorridorUsage(), CorridorBreakers(), CaseBook()
        self._taken: dict[bytes, tuple[Taken, ...]] = {}
        self._released: dict[bytes, bytes] = {}
        self._edges: dict[int, tuple[Edge, PatternWatch]] = {}
        self._entries: list[bytes] = []
        self._has_cases = False

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
        for document in documents:
            self._demand_not_stopped(document, now)
        for leg, document in enumerate(documents):
            demand_envelope(self._genesis, terms, document, terms.legs[leg].amount, travel_rule)
        case_id = b"" if self._is_free(documents, now) else self._demand_people(order, terms, documents, names, now)
        taken = self._take(documents, terms, range(len(documents)), now)
        try:
            for document in documents:
                self.breakers.begin(document.id_bytes, now)
        except BridgeRefused:
            self.give_back(taken)
            raise
        return Clearance(taken, case_id)

    def _is_free(self, documents: Sequence[CorridorDocument], now: int) -> bool:
        """Say that nothing can make a case of a swap: nothing is screened, no case is known, no corridor is held."""
        rules = self._screening
        return (
            rules.screen is None
            and not rules.pattern_threshold
            and not self._has_cases
            and all(self.breakers.standing(each.id_bytes, now) is None for each in documents)
        )

    def _demand_people(
        self, order: Order, terms: SwapTerms, documents: Sequence[CorridorDocument], names: tuple[str, str], now: int
    ) -> bytes:
        """Ask the edge, breakers that hold and what people decided; return the released case that it uses up."""
        message = order_hash(self._genesis, order, terms, names)
        self._demand_edge(message, terms, documents, names, now)
        self._demand_no_hold(message, terms, documents, now)
        case_id = case_id_of(self._genesis.hash_suite, message)
        if case_id in self._released:
            raise BridgeRefused(BridgeCode.DUPLICATE_SWAP, f"case {case_id.hex()} was released for one swap, which ran")
        return case_id if self.cases.find(case_id.hex()) is not None else b""

    def began(self, party: bytes, clearance: Clearance) -> None:
        """Keep what a swap took until it ends, and use up the release of its case."""
        self._taken[party] = clearance.taken
        if clearance.case_id:
            self._released[clearance.case_id] = party

    def give_back(self, taken: Iterable[Taken]) -> None:
        """Give back what was taken for a swap that did not begin after all."""
        for each in taken:
            self.usage.give_back(each)

    def ended(self, party: bytes, outcome: Outcome) -> None:
        """Give back what did not settle; its released case may be used again then."""
        taken = self._taken.pop(party, ())
        if outcome in _UNDONE:
            self.give_back(taken)
            for case_id in [each for each, its_party in self._released.items() if its_party == party]:
                del self._released[case_id]

    # The provider's side.

    def admit(self, terms: SwapTerms, leg: int, document: CorridorDocument, travel_rule: bytes, now: int) -> Clearance:
        """Let a swap be accepted for a leg, or raise BridgeRefused with nothing drawn.

        Under a hold a provider accepts nothing: whose swap it is has people who decide, and a provider has its own.
        """
        self._demand_not_stopped(document, now)
        demand_envelope(self._genesis, terms, document, terms.legs[leg - 1].amount, travel_rule)
        standing = self.breakers.standing(document.id_bytes, now)
        if standing is not None and standing.grade is BreakerGrade.HOLD:
            text = f"a breaker holds corridor {document.id}, reason {standing.reason}, until {standing.expires_at}"
            raise BridgeRefused(BridgeCode.SCREENING_HOLD, text, leg=leg)
        taken = self._take((document,), terms, (leg - 1,), now)
        try:
            self.breakers.begin(document.id_bytes, now)
        except BridgeRefused:
            self.give_back(taken)
            raise
        return Clearance(taken)

    # Cases.

    def step(self, case_id: str, step: Step, officer: str, now: int, text: str = "") -> Case:
        """Let an officer act on a case; durable with the next commit. Raises BridgeRefused."""
        self._note(self.cases.step(case_id, step, officer, now, text))
        return self.cases.case(case_id)

    def tick(self, now: int) -> list[str]:
        """End cases whose time is over; return a sentence for each that somebody must be called for."""
        for entry in self.cases.expire(now):
            self._note(entry)
        return [f"case {each.opened.case_id} is undecided at half of its time" for each in self.cases.overdue(now)]

    def take_entries(self) -> list[bytes]:
        """Return the entries of cases that are to be written now, in order."""
        found, self._entries = self._entries, []
        return found

    def restore(self, store: JournalStore, now: int) -> None:
        """Read cases, and count again what the swaps of the day took. Raises EncodingError for a broken entry."""
        by_uetr: dict[bytes, Case] = {}
        for data in store.case_entries():
            entry = decode_case_entry(data)
            self.cases.apply(entry)
            self._has_cases = True
            if isinstance(entry, CaseOpened):
                by_uetr[bytes.fromhex(entry.uetr)] = self.cases.case(entry.case_id)
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
        payer = participant_of_account(terms.legs[0].debit_id)
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
                self._released[bytes.fromhex(case.opened.case_id)] = party
            leg = terms.legs[0]
            _, watch = self._edge(leg.ledger)
            watch.see(Flow(party, leg.debit_id, terms.legs[-1].credit_id, leg.amount, first.at_ns))

    # Parts.

    def _documents(self, terms: SwapTerms) -> tuple[CorridorDocument, ...]:
        book, height = self._corridors.book, self._corridors.height
        return tuple(book.demand_version(each.id, each.version, height) for each in terms.corridors)

    def _take(
        self, documents: Sequence[CorridorDocument], terms: SwapTerms, legs: Iterable[int], now: int
    ) -> tuple[Taken, ...]:
        """Count a swap on each corridor, or on none."""
        payer = participant_of_account(terms.legs[0].debit_id)
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
            self.breakers.begin(document.id_bytes, now)

    def _demand_edge(
        self,
        message: bytes,
        terms: SwapTerms,
        documents: Sequence[CorridorDocument],
        names: tuple[str, str],
        now: int,
    ) -> None:
        """Screen names and flows; of several corridors the strictest score counts."""
        if self._screening.screen is None and not self._screening.pattern_threshold:
            return
        if self._screening.screen is not None and not all(names):
            text = "names are screened here, and the order gives no name of payer and payee"
            raise BridgeRefused(BridgeCode.TRAVEL_RULE_MISSING, text)
        at = min(range(len(documents)), key=lambda index: documents[index].screening.hold_score)
        first, last = terms.legs[0], terms.legs[-1]
        payment = EdgePayment(
            uetr=terms.uetr,
            message_hash=message,
            # The watch tells parties apart by number; accounts are the finest that the bridge knows.
            payer=first.debit_id,
            payee=last.credit_id,
            payer_name=names[0] or _UNNAMED,
            payee_name=names[1] or _UNNAMED,
            source_amount=terms.legs[at].amount,
            measured_amount=first.amount,
            travel_rule_hash=terms.travel_rule_hash,
        )
        edge, _ = self._edge(first.ledger)
        verdict = edge.check(payment, documents[at], now)
        if verdict.opened is not None:
            self._note(verdict.opened)
        if verdict.is_held:
            raise _held(verdict.record.case_id.hex())

    def _demand_no_hold(
        self, message: bytes, terms: SwapTerms, documents: Sequence[CorridorDocument], now: int
    ) -> None:
        """Make a swap of a corridor under a hold a case, unless people have released it."""
        case_id = case_id_of(self._genesis.hash_suite, message).hex()
        known = self.cases.find(case_id)
        if known is not None and known.state is not CaseState.RELEASED:
            if known.state in _UNDECIDED:
                raise _held(case_id)
            raise BridgeRefused(BridgeCode.PROVIDER_REFUSED, f"case {case_id} is {known.state.value}")
        if known is not None:
            return
        standing = [self.breakers.standing(each.id_bytes, now) for each in documents]
        holding = [each for each in standing if each is not None and each.grade is BreakerGrade.HOLD]
        if not holding:
            return
        opened = CaseOpened(
            case_id=case_id,
            kind=CaseKind.MANUAL,
            uetr=terms.uetr.hex(),
            message_hash=message.hex(),
            owner=self._participant,
            opened_at=now,
            deadline=now + self._screening.hold_ns,
            score=0,
            list_version=0,
            explanation=tuple(
                f"a breaker holds corridor {each.corridor_id.hex()}, reason {each.reason}" for each in holding
            ),
        )
        self.cases.open(opened)
        self._note(opened)
        raise _held(case_id)

    def _edge(self, ledger: int) -> tuple[Edge, PatternWatch]:
        """Return the edge of payments from one ledger: amounts of two ledgers have no common measure."""
        found = self._edges.get(ledger)
        if found is None:
            rules = self._screening
            # Without a threshold no payment is near it, and a way of one step is no loop.
            bounds = (
                PatternRules(rules.pattern_threshold)
                if rules.pattern_threshold
                else PatternRules(U128_MAX + 1, flows_max=1, loop_hops_max=1)
            )
            watch = PatternWatch(bounds)
            settings = EdgeSettings(self._participant, rules.key_id, self._genesis.hash_suite, rules.hold_ns)
            screen = rules.screen or _empty_screen(self._genesis.hash_suite)
            found = self._edges[ledger] = Edge(settings, screen, watch, self.cases), watch
        return found

    def use(self, screen: Screen) -> None:
        """Screen with another version of the list from now on."""
        rules = self._screening
        self._screening = Screening(screen, rules.key_id, rules.hold_ns, rules.pattern_threshold)
        for edge, _ in self._edges.values():
            edge.use(screen)

    def _note(self, entry: CaseEntry) -> None:
        self._entries.append(encode_case_entry(entry))
        self._has_cases = True
        if isinstance(entry, CaseOpened):
            _log.warning("case_opened", case=entry.case_id, kind=entry.kind.value, uetr=entry.uetr)


def order_hash(genesis: Genesis, order: Order, terms: SwapTerms, names: tuple[str, str]) -> bytes:
    """Return what names an order for good: who pays whom what, and under which UETR; quotes and instants may change."""
    values = order.debit_account, order.credit_account, order.amount
    parts = b"".join(value.to_bytes(16, "little") for value in values)
    ends = b"".join(terms.legs[at].ledger.to_bytes(4, "little") for at in (0, -1))
    texts = b"".join(len(data).to_bytes(4, "little") + data for data in (name.encode() for name in names))
    flags = bytes([order.is_target])
    head = _ORDER_PREFIX + genesis.hash + order.uetr + parts + ends + flags
    return digest(genesis.hash_suite, head + order.travel_rule_hash + texts)


def demand_envelope(
    genesis: Genesis, terms: SwapTerms, document: CorridorDocument, amount: int, envelope: bytes
) -> None:
    """Demand the envelope that terms name, sealed for a corridor's supervisors, and one where the corridor asks for it.

    ``amount`` is that of the leg which the corridor is about. Raises BridgeRefused (travel_rule_missing).
    """
    if terms.travel_rule_hash != ZERO_HASH:
        if envelope_hash(genesis.hash_suite, envelope) != terms.travel_rule_hash:
            raise BridgeRefused(BridgeCode.TRAVEL_RULE_MISSING, "the envelope is not the one that the terms name")
        demand_recipients(envelope, genesis.hash, document.recipients())
    elif document.needs_travel_rule(amount):
        text = f"{amount} on corridor {document.id} needs the data of payer and payee"
        raise BridgeRefused(BridgeCode.TRAVEL_RULE_MISSING, text)


def _held(case_id: str) -> BridgeRefused:
    return BridgeRefused(BridgeCode.SCREENING_HOLD, f"held as case {case_id}")


def _empty_screen(suite: int) -> Screen:
    return Screen(WatchList("none", 1, ()), suite)
