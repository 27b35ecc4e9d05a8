"""The edge before a swap is ordered: names, patterns and travel-rule data of one payment, to pass, hold or refuse.

It promises the same answer for the same payment until people have decided its case, that a held payment is a case with
owner and clock, and that a decided one is never held again. It sees names and keeps none: only hashes, scores and what
a reviewer must read go into records and cases. Nothing here is asked after a lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bridge.cases import CaseKind, CaseOpened, CaseState
from bridge.patterns import Flow
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.screening_record import ScreeningOutcome, ScreeningRecord
from engine.hashing import digest
from engine.types import HASH_BYTES, ZERO_HASH

if TYPE_CHECKING:
    from bridge.cases import CaseBook
    from bridge.corridor import CorridorDocument
    from bridge.patterns import Finding, PatternWatch
    from bridge.screening import Match, Screen

__all__ = ["Edge", "EdgePayment", "EdgeSettings", "Verdict", "case_id_of"]

_NO_CASE: Final = bytes(16)
_CASE_PREFIX: Final = b"clearspan/case/1"


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """Who screens: participant and screening key; ``hold_ns`` is how long people have, ``suite`` the network's hash."""

    participant: int
    key_id: int
    suite: int
    hold_ns: int


@dataclass(frozen=True, slots=True)
class EdgePayment:
    """One payment as its edge knows it; ``message_hash`` names it for good and its parties are numbers and names.

    ``source_amount`` is in minor units of the corridor's source ledger, ``measured_amount`` in the measure of the
    pattern rules. ``travel_rule_hash`` is zero when no data are attached.
    """

    uetr: bytes
    message_hash: bytes
    payer: int
    payee: int
    payer_name: str
    payee_name: str
    source_amount: int
    measured_amount: int
    travel_rule_hash: bytes = ZERO_HASH
    ledgers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the edge says: the record to sign, and for a hold its case; ``opened`` is None when the case was known."""

    record: ScreeningRecord
    opened: CaseOpened | None

    @property
    def is_held(self) -> bool:
        """Whether people decide first."""
        return self.record.outcome is ScreeningOutcome.HOLD


def case_id_of(suite: int, message_hash: bytes) -> bytes:
    """Return the id of a payment's case: a payment has one at most, however often it is sent."""
    return digest(suite, _CASE_PREFIX + message_hash)[:16]


class Edge:
    """One participant's edge over a list, a pattern watch and a case book that it shares with its shell."""

    def __init__(self, settings: EdgeSettings, screen: Screen, watch: PatternWatch, book: CaseBook) -> None:
        """Stand over these; a newer list is set by ``use``."""
        self._settings = settings
        self._screen = screen
        self._watch = watch
        self._book = book

    def use(self, screen: Screen) -> None:
        """Screen with another version of the list from now on."""
        self._screen = screen

    def check(self, payment: EdgePayment, document: CorridorDocument, now: int) -> Verdict:
        """Say whether a payment passes or is held; a new case is in the book, and its entry must be made durable.

        Raises BridgeRefused: travel_rule_missing where the corridor asks for data, terms_malformed for a name that
        cannot be read, provider_refused for a payment whose case was rejected or expired, limits_exceeded when no more
        cases fit. Nothing is passed by failing.
        """
        if len(payment.message_hash) != HASH_BYTES:
            raise BridgeRefused(BridgeCode.TERMS_MALFORMED, f"a message hash of {len(payment.message_hash)} bytes")
        if document.needs_travel_rule(payment.source_amount) and payment.travel_rule_hash == ZERO_HASH:
            raise BridgeRefused(BridgeCode.TRAVEL_RULE_MISSING, f"{payment.source_amount} on corridor {document.id}")
        case_id = case_id_of(self._settings.suite, payment.message_hash)
        known = self._book.find(case_id.hex())
        if known is not None:
            return self._decided(known.state, payment, known.opened, now)
        matches = self._matches(payment, document.screening.hold_score)
        findings = self._watch.see(
            Flow(payment.message_hash, payment.payer, payment.payee, payment.measured_amount, now)
        )
        score = max((match.score for _, match in matches), default=0)
        if not matches and not findings:
            return Verdict(self._record(payment, score, _NO_CASE, (), now), None)
        explanation = (*(f"{who}: {match.explain()}" for who, match in matches), *map(_explain, findings))
        opened = CaseOpened(
            case_id=case_id.hex(),
            kind=CaseKind.SCREENING if matches else CaseKind.PATTERN,
            uetr=payment.uetr.hex(),
            message_hash=payment.message_hash.hex(),
            owner=self._settings.participant,
            opened_at=now,
            deadline=now + self._settings.hold_ns,
            score=score,
            list_version=self._screen.version,
            explanation=explanation,
            ledgers=payment.ledgers,
        )
        self._book.open(opened)
        return Verdict(self._record(payment, score, case_id, explanation, now), opened)

    def _matches(self, payment: EdgePayment, least: int) -> list[tuple[str, Match]]:
        names = (("payer", payment.payer_name), ("payee", payment.payee_name))
        return [(who, match) for who, name in names for match in self._screen.look(name, least)]

    def _decided(self, state: CaseState, payment: EdgePayment, opened: CaseOpened, now: int) -> Verdict:
        if state in (CaseState.REJECTED, CaseState.EXPIRED):
            raise BridgeRefused(BridgeCode.PROVIDER_REFUSED, f"case {opened.case_id} is {state.value}")
        if state is CaseState.RELEASED:
            record = self._record(payment, opened.score, _NO_CASE, opened.explanation, now)
        else:
            case_id = bytes.fromhex(opened.case_id)
            record = self._record(payment, opened.score, case_id, opened.explanation, now)
        return Verdict(record, None)

    def _record(
        self, payment: EdgePayment, score: int, case_id: bytes, explanation: tuple[str, ...], now: int
    ) -> ScreeningRecord:
        text = "\n".join(explanation).encode()
        return ScreeningRecord(
            outcome=ScreeningOutcome.PASS if case_id == _NO_CASE else ScreeningOutcome.HOLD,
            score=score,
            participant=self._settings.participant,
            key_id=self._settings.key_id,
            list_version=self._screen.version,
            screened_at=now,
            case_id=case_id,
            list_hash=self._screen.hash,
            message_hash=payment.message_hash,
            explanation_hash=digest(self._settings.suite, text) if text else ZERO_HASH,
        )


def _explain(finding: Finding) -> str:
    return f"{finding.pattern.value}: {finding.count} payments, {finding.total} in all, party {finding.party}"
