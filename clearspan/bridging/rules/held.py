"""Payments that people decide about: names and flows at the edge, breakers that hold, and the cases that come of them.

It promises that a payment which meets a finding is a journaled case with owner and clock before it is answered, that
the same payment meets the same case until it is decided, and that what two officers released runs once. It asks before
a swap begins and never after.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import structlog

from bridge.cases import CaseBook, CaseKind, CaseOpened, CaseState, Step, decode_case_entry, encode_case_entry
from bridge.edge import Edge, EdgePayment, EdgeSettings, case_id_of
from bridge.foreign_asset import ends_of
from bridge.patterns import Flow, PatternRules, PatternWatch
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.screening import Screen, WatchList
from engine.types import NS_PER_S, U128_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.cases import Case, CaseEntry
    from bridge.corridor import CorridorDocument
    from bridge.corridor_breakers import BreakerNotice
    from bridge.screening_record import ScreeningRecord
    from bridge.terms import SwapTerms
    from clearspan.bridging.rules.outcomes import OutcomeBook
    from engine.genesis import Genesis

    _Measure = tuple[int, str, str]

__all__ = ["HeldPayments", "Screening"]

_UNDECIDED: Final = frozenset({CaseState.OPEN, CaseState.OWNED, CaseState.RELEASE_PROPOSED, CaseState.REJECT_PROPOSED})
_UNNAMED: Final = "unnamed"  # where no list is looked at
_log = structlog.get_logger("clearspan.bridging")


@dataclass(frozen=True, slots=True)
class Screening:
    """What the edge goes by: a list, who answers for it, how long people have, and from where on patterns count.

    ``screen`` None looks at no name. ``pattern_threshold`` is in minor units of the ledger that is paid on, 0 looks at
    no pattern. ``officers`` are the digests of the certificates that may decide, in hexadecimal; none: every one of the
    participant's. ``key_id`` is put into records where no key of role screening signs them.
    """

    screen: Screen | None
    key_id: int
    hold_ns: int = 86_400 * NS_PER_S
    pattern_threshold: int = 0
    officers: frozenset[str] = frozenset()


class HeldPayments:
    """The edge and the cases of one bridge. Use from one event loop; ``take_entries`` is written before an answer."""

    def __init__(
        self, genesis: Genesis, participant: int, screening: Screening, outcomes: OutcomeBook | None = None
    ) -> None:
        """Stand without cases; without ``outcomes`` no record of screening is kept."""
        self._genesis, self._participant, self._screening = genesis, participant, screening
        self._outcomes = outcomes
        self.cases = CaseBook()
        self._released: dict[bytes, bytes] = {}
        self._edges: dict[_Measure, tuple[Edge, PatternWatch]] = {}
        self._entries: list[bytes] = []
        self._has_cases = False

    @property
    def asks_nobody(self) -> bool:
        """Whether nothing can make a case of a payment but a breaker: nothing is screened, and no case is known."""
        rules = self._screening
        return rules.screen is None and not rules.pattern_threshold and not self._has_cases

    def demand(
        self,
        message: bytes,
        terms: SwapTerms,
        documents: Sequence[CorridorDocument],
        *,
        names: tuple[str, str],
        holding: Iterable[BreakerNotice],
        now: int,
    ) -> bytes:
        """Ask the edge, the breakers that hold and what people decided; return the released case that it uses up.

        Raises BridgeRefused: screening_hold with the case, provider_refused for one that was rejected or has expired,
        duplicate_swap for one that was released and used.
        """
        self._demand_edge(message, terms, documents, names, now)
        self._demand_no_hold(message, terms, tuple(holding), now)
        case_id = case_id_of(self._genesis.hash_suite, message)
        if case_id in self._released:
            raise BridgeRefused(BridgeCode.DUPLICATE_SWAP, f"case {case_id.hex()} was released for one swap, which ran")
        return case_id if self.cases.find(case_id.hex()) is not None else b""

    def used(self, case_id: bytes, party: bytes) -> None:
        """Use up the release of a case for one side of a swap."""
        self._released[case_id] = party

    def unused(self, party: bytes) -> None:
        """Give back a release whose swap came to nothing: the same order may use it again."""
        for case_id in [each for each, its_party in self._released.items() if its_party == party]:
            del self._released[case_id]

    # What people do.

    def step(
        self, case_id: str, step: Step, officer: str, now: int, text: str = "", *, names: tuple[str, ...] = ()
    ) -> Case:
        """Let an officer, whom ``names`` name too, act on a case; durable with the next commit.

        Raises BridgeRefused: officer_refused for one who is not named, and what the case book raises.
        """
        officers = self._screening.officers
        if officers and officer not in officers:
            raise BridgeRefused(BridgeCode.OFFICER_REFUSED, f"certificate {officer[:16]}… is no officer's here")
        self._note(self.cases.step(case_id, step, officer, now, text, names=names))
        return self.cases.case(case_id)

    def tick(self, now: int) -> list[str]:
        """End cases whose time is over; return a sentence for each that somebody must be called for."""
        expired = self.cases.expire(now)
        for entry in expired:
            self._note(entry)
        said = [f"case {each.case_id} ended undecided: its payment does not happen" for each in expired]
        return said + [
            f"case {each.opened.case_id} is undecided at half of its time" for each in self.cases.overdue(now)
        ]

    @property
    def screens_names(self) -> bool:
        """Whether names of payers and payees are looked at."""
        return self._screening.screen is not None

    def use(self, screen: Screen) -> None:
        """Screen with another version of the list from now on."""
        self._screening = replace(self._screening, screen=screen)
        for edge, _ in self._edges.values():
            edge.use(screen)

    @property
    def has_entries(self) -> bool:
        """Whether something is to be written."""
        return bool(self._entries)

    def take_entries(self) -> list[bytes]:
        """Return the entries of cases that are to be written now, in order."""
        found, self._entries = self._entries, []
        return found

    # What is known again after a restart.

    def restore(self, entries: Iterable[bytes]) -> dict[bytes, Case]:
        """Read the cases; return those of each UETR, the newest. Raises EncodingError for a broken entry."""
        by_uetr: dict[bytes, Case] = {}
        for data in entries:
            entry = decode_case_entry(data)
            self.cases.apply(entry)
            self._has_cases = True
            if isinstance(entry, CaseOpened):
                by_uetr[bytes.fromhex(entry.uetr)] = self.cases.case(entry.case_id)
        return by_uetr

    def saw(self, ledger: int, flow: Flow) -> None:
        """Let the patterns know of a payment on a ledger that was made before, or by another way than this bridge."""
        if self._screening.pattern_threshold:
            self._edge((ledger, "", ""), ledger)[1].see(flow)

    def saw_swap(self, terms: SwapTerms, flow: Flow) -> None:
        """Let the patterns know of a swap that began before this process."""
        if self._screening.pattern_threshold:
            self._edge(_measure_of(terms), _place_of(terms)[0])[1].see(flow)

    @property
    def window_ns(self) -> int:
        """How far back the patterns look."""
        return PatternRules(self._screening.pattern_threshold or 1).window_ns

    # Parts.

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
        place, (payer, payee) = _place_of(terms), ends_of(terms)
        payment = EdgePayment(
            uetr=terms.uetr,
            message_hash=message,
            # The watch tells parties apart by number; accounts are the finest that the bridge knows.
            payer=payer,
            payee=payee,
            payer_name=names[0] or _UNNAMED,
            payee_name=names[1] or _UNNAMED,
            source_amount=terms.legs[at].amount,
            measured_amount=terms.legs[0].amount,
            travel_rule_hash=terms.travel_rule_hash,
            ledgers=_ledgers_of(terms),
        )
        edge, _ = self._edge(_measure_of(terms), place[0])
        verdict = edge.check(payment, documents[at], now)
        if verdict.opened is not None:
            self._note(verdict.opened)
        self._keep(verdict.record, place)
        if verdict.is_held:
            raise _held(verdict.record.case_id.hex())

    def _keep(self, record: ScreeningRecord, place: tuple[int, int]) -> None:
        if self._outcomes is not None and self._outcomes.key_of(place[0]):
            self._outcomes.note(record, *place)

    def _demand_no_hold(self, message: bytes, terms: SwapTerms, holding: Sequence[BreakerNotice], now: int) -> None:
        """Make a swap of a corridor under a hold a case, unless people have released it."""
        case_id = case_id_of(self._genesis.hash_suite, message).hex()
        known = self.cases.find(case_id)
        if known is not None and known.state is not CaseState.RELEASED:
            if known.state in _UNDECIDED:
                raise _held(case_id)
            raise BridgeRefused(BridgeCode.PROVIDER_REFUSED, f"case {case_id} is {known.state.value}")
        if known is not None or not holding:
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
            explanation=tuple(f"a breaker holds: {each.text}" for each in holding),
            ledgers=_ledgers_of(terms),
        )
        self.cases.open(opened)
        self._note(opened)
        raise _held(case_id)

    def _edge(self, measure: _Measure, ledger: int) -> tuple[Edge, PatternWatch]:
        """Return the edge of payments in one measure: amounts of two ledgers have none in common.

        ``ledger`` is the one on whose record outcomes go: its domain's key signs them.
        """
        found = self._edges.get(measure)
        if found is None:
            rules = self._screening
            # Without a threshold no payment is near it, and a way of one step is no loop.
            bounds = (
                PatternRules(rules.pattern_threshold)
                if rules.pattern_threshold
                else PatternRules(U128_MAX + 1, flows_max=1, loop_hops_max=1)
            )
            watch = PatternWatch(bounds)
            key_id = (self._outcomes.key_of(ledger) if self._outcomes is not None else 0) or rules.key_id
            settings = EdgeSettings(self._participant, key_id, self._genesis.hash_suite, rules.hold_ns)
            screen = rules.screen or Screen(WatchList("none", 1, ()), self._genesis.hash_suite)
            found = self._edges[measure] = Edge(settings, screen, watch, self.cases), watch
        return found

    def _note(self, entry: CaseEntry) -> None:
        self._entries.append(encode_case_entry(entry))
        self._has_cases = True
        if isinstance(entry, CaseOpened):
            _log.warning("case_opened", case=entry.case_id, kind=entry.kind.value, uetr=entry.uetr)


def _measure_of(terms: SwapTerms) -> _Measure:
    """Return in what the first amount of a swap is counted: a ledger's units, or those of an asset on a chain."""
    first = terms.legs[0]
    return first.ledger, first.chain, first.asset


def _ledgers_of(terms: SwapTerms) -> tuple[int, ...]:
    return tuple(dict.fromkeys(each.ledger for each in terms.legs if not each.foreign))


def _place_of(terms: SwapTerms) -> tuple[int, int]:
    """Return the ledger and account whose log an outcome enters: the payer's, or where that is foreign the payee's."""
    first, last = terms.legs[0], terms.legs[-1]
    return (last.ledger, last.credit_id) if first.foreign else (first.ledger, first.debit_id)


def _held(case_id: str) -> BridgeRefused:
    return BridgeRefused(BridgeCode.SCREENING_HOLD, f"held as case {case_id}")
