"""The edge (EDGE-1 to -6): a payment passes, is held with a case, or is refused; the same answer until people decide."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from bridge.cases import CaseBook, CaseKind, CaseState, Step
from bridge.edge import Edge, EdgePayment, EdgeSettings, case_id_of
from bridge.patterns import PatternRules, PatternWatch
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.screening import ListEntry, Screen, WatchList
from bridge.screening_record import ScreeningOutcome
from tests.behaviour.bridge_papers import NOW, S, document

LISTED = WatchList("invented", 7, (ListEntry("L01", ("Quillon Harbour Trading Co., Ltd.",)),))
CLEAN = EdgePayment(
    uetr=bytes(range(16)),
    message_hash=hashlib.sha256(b"one").digest(),
    payer=11,
    payee=31,
    payer_name="Novamar Cement Industries PCL",
    payee_name="蓝礁石国际航运公司",
    source_amount=5_000,
    measured_amount=5_000,
)
LISTED_PAYEE = replace(CLEAN, payee_name="Quilon Harbor Trading", message_hash=hashlib.sha256(b"two").digest())


def edge() -> tuple[Edge, CaseBook]:
    book = CaseBook()
    settings = EdgeSettings(participant=41, key_id=3, suite=1, hold_ns=100 * S)
    return Edge(settings, Screen(LISTED, 1), PatternWatch(PatternRules(10_000)), book), book


def refused(code: BridgeCode, call, *arguments) -> None:
    with pytest.raises(BridgeRefused) as caught:
        call(*arguments)
    assert caught.value.code is code, caught.value


def decide(book: CaseBook, case_id: str, proposal: Step) -> None:
    book.step(case_id, Step.TAKE, "officer-a", NOW + S)
    book.step(case_id, proposal, "officer-a", NOW + S, "looked at the register")
    book.step(case_id, Step.CONFIRM, "officer-b", NOW + S)


def test_a_payment_without_findings_passes_with_a_record() -> None:
    """The record names the list that was looked at and the message, and no case."""
    made, book = edge()
    verdict = made.check(CLEAN, document(), NOW)
    assert not verdict.is_held and verdict.opened is None and book.open_cases() == ()
    record = verdict.record
    assert (record.outcome, record.list_version, record.message_hash) == (ScreeningOutcome.PASS, 7, CLEAN.message_hash)
    assert record.list_hash == LISTED.hash(1)


def test_a_listed_name_is_held_with_owner_clock_and_reasons() -> None:
    """The case says who must decide until when and why; asked again, the answer is the same and there is one case."""
    made, book = edge()
    verdict = made.check(LISTED_PAYEE, document(), NOW)
    assert verdict.is_held and verdict.opened is not None
    opened = verdict.opened
    assert (opened.kind, opened.owner, opened.deadline) == (CaseKind.SCREENING, 41, NOW + 100 * S)
    assert "payee: " in opened.explanation[0] and "quilon~quillon" in opened.explanation[0]
    assert verdict.record.case_id == case_id_of(1, LISTED_PAYEE.message_hash) == bytes.fromhex(opened.case_id)
    again = made.check(LISTED_PAYEE, document(), NOW + S)
    assert again.is_held and again.opened is None and len(book.open_cases()) == 1
    assert again.record.explanation_hash == verdict.record.explanation_hash != bytes(32)


def test_a_released_payment_passes_and_a_rejected_or_expired_one_never_does() -> None:
    """What two officers decided holds, and so does what the clock decided."""
    for proposal in (Step.PROPOSE_RELEASE, Step.PROPOSE_REJECT, None):
        made, book = edge()
        opened = made.check(LISTED_PAYEE, document(), NOW).opened
        assert opened is not None
        if proposal is None:
            book.expire(opened.deadline)
        else:
            decide(book, opened.case_id, proposal)
        if proposal is Step.PROPOSE_RELEASE:
            assert book.case(opened.case_id).state is CaseState.RELEASED
            assert not made.check(LISTED_PAYEE, document(), NOW + 2 * S).is_held
        else:
            refused(BridgeCode.PROVIDER_REFUSED, made.check, LISTED_PAYEE, document(), NOW + 2 * S)


def test_a_pattern_holds_the_payment_that_completes_it() -> None:
    """The third payment just below the threshold; a repeated one is not counted twice."""
    made, _ = edge()
    payments = [
        replace(CLEAN, message_hash=hashlib.sha256(bytes([n])).digest(), measured_amount=9_500) for n in range(3)
    ]
    for each in (payments[0], payments[0], payments[1], payments[1]):
        assert not made.check(each, document(), NOW).is_held
    verdict = made.check(payments[2], document(), NOW)
    assert verdict.is_held and verdict.opened is not None and verdict.opened.kind is CaseKind.PATTERN
    assert verdict.opened.explanation == ("structuring: 3 payments, 28500 in all, party 11",)


def test_from_the_corridors_threshold_on_travel_rule_data_are_needed() -> None:
    """One minor unit below they are not; a hash of data suffices, and without it nothing is counted or opened."""
    made, book = edge()
    border = replace(CLEAN, source_amount=100_000_000)
    refused(BridgeCode.TRAVEL_RULE_MISSING, made.check, border, document(), NOW)
    assert not made.check(replace(border, travel_rule_hash=b"\1" * 32), document(), NOW).is_held
    below = replace(CLEAN, source_amount=99_999_999, message_hash=hashlib.sha256(b"below").digest())
    assert not made.check(below, document(), NOW).is_held
    assert book.open_cases() == ()


def test_nothing_passes_by_failing() -> None:
    """A name that cannot be read and a message without a hash are refused; a newer list is looked at from then on."""
    made, _ = edge()
    refused(BridgeCode.TERMS_MALFORMED, made.check, replace(CLEAN, payer_name="…"), document(), NOW)
    refused(BridgeCode.TERMS_MALFORMED, made.check, replace(CLEAN, message_hash=b""), document(), NOW)
    newer = WatchList("invented", 8, (ListEntry("L02", ("Novamar Cement Industries",)),))
    made.use(Screen(newer, 1))
    verdict = made.check(CLEAN, document(), NOW)
    assert verdict.is_held and verdict.record.list_version == 8
