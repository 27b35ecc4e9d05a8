"""Breakers: slow, hold and stop what would begin, and never what has begun."""

from __future__ import annotations

import pytest

from native.codes import ResultCode as Code
from tests.model import admin_request as a
from tests.model import record as r
from tests.model.accounts import participant_of
from tests.model.adapter import make_subject
from tests.model.fixtures import bank, mode, opened  # noqa: F401
from tests.model.genesis import SECOND_NS
from tests.model.hashes import sha256
from tests.model.rules import (
    BREAKER,
    BY_ACCOUNT,
    BY_CORRIDOR,
    BY_LEDGER,
    BY_PARTICIPANT,
    BY_REFERENCE,
    HOLD,
    SLOW,
    STOP,
    Rule,
)
from tests.model.stage import ALICE, BANK, BOB, CAROL, CNY, DAVE, EUR, KEYS, OTHER_BANK, Stage, genesis_document

SECRET = b"s" * 32
SHA_LOCK = sha256(SECRET)


@pytest.mark.parametrize(
    ("kind", "subject", "stops"),
    [
        (BY_ACCOUNT, ALICE, True), (BY_ACCOUNT, BOB, True), (BY_ACCOUNT, CAROL, False), (BY_PARTICIPANT, BANK, True),
        (BY_PARTICIPANT, OTHER_BANK, True), (BY_PARTICIPANT, 10, False), (BY_LEDGER, CNY, True), (BY_LEDGER, 344, False),
        (BY_REFERENCE, 0xABC, True), (BY_REFERENCE, 0xABD, False), (BY_CORRIDOR, 0xABC, False),
    ],
)  # fmt: skip
def test_a_breaker_meets_either_side(bank, kind, subject, stops):
    """LEDGER-103."""
    assert bank.breaker(kind, subject, STOP).code == Code.CREATED
    assert bank.code(bank.plain(user_data=0xABC)) == (Code.BREAKER_OPEN if stops else Code.CREATED)


def test_a_stop_burns_nothing(bank):
    """LEDGER-103: the same bytes pass when it is cleared."""
    transfer = bank.plain()
    bank.breaker(BY_LEDGER, CNY, STOP)
    assert bank.code(transfer) == Code.BREAKER_OPEN
    assert bank.clear_breaker(BY_LEDGER, CNY).code == Code.CREATED
    assert bank.code(transfer) == Code.CREATED


def test_a_breaker_ends_at_its_instant(bank):
    """LEDGER-103."""
    bank.breaker(BY_LEDGER, CNY, STOP, seconds=3)
    bank.later(3, ns=-1)
    assert bank.code(bank.plain()) == Code.BREAKER_OPEN
    bank.later(ns=1)
    assert bank.code(bank.plain()) == Code.CREATED


def test_slow_lets_so_many_begin_in_each_second(bank):
    """LEDGER-103."""
    bank.breaker(BY_PARTICIPANT, BANK, SLOW, rate=2)
    transfers = [bank.plain() for _ in range(4)]
    assert bank.codes(*transfers) == [Code.CREATED, Code.CREATED, Code.BREAKER_SLOW, Code.BREAKER_SLOW]
    bank.later(1)
    assert bank.codes(*transfers[2:]) == [Code.CREATED, Code.CREATED]


def test_slow_counts_what_begins_only(bank):
    """LEDGER-103: a refusal takes no place."""
    bank.breaker(BY_PARTICIPANT, BANK, SLOW, rate=1)
    assert bank.codes(bank.plain(amount=5000), bank.plain()) == [Code.INSUFFICIENT_FUNDS, Code.CREATED]


def test_a_failed_run_takes_no_place(bank):
    """LEDGER-20 f."""
    bank.breaker(BY_LEDGER, CNY, SLOW, rate=1)
    run = bank.run(bank.plain(), bank.plain(amount=5000))
    assert bank.codes(*run)[1] == Code.INSUFFICIENT_FUNDS
    assert bank.code(bank.plain()) == Code.CREATED


def test_of_two_a_stop_counts(bank):
    """LEDGER-103."""
    bank.breaker(BY_ACCOUNT, ALICE, SLOW, rate=1)
    assert bank.codes(bank.plain(), bank.plain()) == [Code.CREATED, Code.BREAKER_SLOW]
    bank.breaker(BY_LEDGER, CNY, STOP)
    assert bank.code(bank.plain()) == Code.BREAKER_OPEN


def test_one_institution_on_both_sides_is_counted_once(bank):
    """LEDGER-103."""
    bank.breaker(BY_PARTICIPANT, BANK, SLOW, rate=2)
    transfers = [bank.plain(credit_account=DAVE) for _ in range(3)]
    assert bank.codes(*transfers) == [Code.CREATED_IN_TRANSIT, Code.CREATED_IN_TRANSIT, Code.BREAKER_SLOW]


def test_hold_holds_what_begins(bank):
    """LEDGER-103, LEDGER-105."""
    bank.breaker(BY_ACCOUNT, BOB, HOLD)
    transfer = bank.plain(amount=1)
    assert bank.code(transfer) == Code.HELD
    assert bank.end_hold(transfer).code == Code.CREATED
    assert bank.balance(BOB) == (0, 0, 0, 1)


def test_a_hold_refuses_a_run(bank):
    """LEDGER-107."""
    bank.breaker(BY_ACCOUNT, BOB, HOLD)
    assert bank.codes(*bank.run(bank.plain(), bank.plain()))[0] == Code.APPROVAL_REQUIRED


def test_no_breaker_stops_what_has_begun(bank):
    """LEDGER-107: claims, posts, voids, credits, returns, and the refund after them."""
    pending, lock = bank.pending(r.PAYEE_POSTS, amount=10), bank.lock(SHA_LOCK, amount=20)
    refunded = bank.lock(sha256(b"t" * 32), amount=30)
    voided = bank.pending(r.PAYER_VOIDS, amount=40)
    bank.send(pending, lock, refunded, voided, bank.plain(amount=50, credit_account=CAROL))
    for kind, subject in ((BY_LEDGER, CNY), (BY_ACCOUNT, ALICE), (BY_ACCOUNT, BOB), (BY_PARTICIPANT, OTHER_BANK)):
        bank.breaker(kind, subject, STOP)
    assert bank.code(bank.post(pending, key_id=KEYS["other"])) == Code.CREATED
    assert bank.code(bank.void(voided)) == Code.CREATED
    bank.relay(SECRET)
    bank.relay(time=refunded.until)
    assert bank.deliver() == [Code.CREDITED]
    assert bank.balance(ALICE) == (0, 80, 0, 1000)
    assert bank.balance(BOB) == (0, 0, 0, 30)


def test_a_prepared_run_is_committed_under_a_stop(bank):
    """LEDGER-107, LEDGER-94."""
    bank.relay()
    run = bank.run(bank.plain(amount=60, credit_account=CAROL), bank.plain(amount=1))
    bank.codes_over(*run)
    bank.breaker(BY_LEDGER, CNY, STOP)
    bank.relay(runs=[run])
    assert bank.balance(CAROL) == (0, 0, 0, 60)


def test_a_run_over_shards_meets_breakers_on_the_payer_s_side(bank):
    """LEDGER-103: breakers stand on every shard, so the payee's needs no look of its own."""
    bank.relay()
    bank.breaker(BY_ACCOUNT, CAROL, STOP)
    run = bank.run(bank.plain(amount=60, credit_account=CAROL), bank.plain(amount=1))
    assert bank.codes_over(*run) == [Code.BREAKER_OPEN, Code.LINKED_EVENT_FAILED]
    bank.clear_breaker(BY_ACCOUNT, CAROL)
    assert set(bank.codes_over(*run)) == {Code.PREPARED}


def test_a_full_table_lets_go_of_breakers_that_are_over():
    """ADMIN-9."""
    bank = Stage(lambda document, shard: make_subject("machine", document, shard), genesis_document()).furnish()
    for shard in bank.shards:
        for number in range(4096):
            until = bank.now + (2 if number == 7 else 1) * SECOND_NS
            row = Rule(BREAKER, number + 1, kind=BY_REFERENCE, action=STOP, until=until)
            assert shard.machine.ledger.set_rule(row.leaf())  # type: ignore[attr-defined]
    assert bank.breaker(BY_LEDGER, CNY, STOP).code == Code.RULES_FULL
    bank.later(1)
    assert bank.breaker(BY_LEDGER, CNY, STOP).code == Code.CREATED
    standing = [rule.subject for rule in bank.shards[0].machine.rules()]  # type: ignore[attr-defined]
    assert sorted(standing) == [8, CNY]


def test_a_breaker_set_again_is_the_new_one(bank):
    """ADMIN-9."""
    bank.breaker(BY_LEDGER, CNY, STOP)
    bank.breaker(BY_LEDGER, CNY, SLOW, rate=1)
    assert bank.code(bank.plain()) == Code.CREATED


@pytest.mark.parametrize(
    ("fields", "signers", "code"),
    [
        ({"reason": 0}, ("supervisor", "operator"), Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"limit_b": 0}, ("supervisor", "operator"), Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"suite": 4}, ("supervisor", "operator"), Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"role": 6}, ("supervisor", "operator"), Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"limit_a": 1}, ("supervisor", "operator"), Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"suite": SLOW}, ("supervisor", "operator"), Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"role": BY_PARTICIPANT}, ("supervisor", "operator"), Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"role": BY_LEDGER, "subject": EUR}, ("supervisor", "operator"), Code.LEDGER_NOT_FOUND),
        ({}, ("supervisor",), Code.SECOND_SIGNATURE_REQUIRED),
        ({}, ("bank", "operator"), Code.SIGNER_ROLE_NOT_ALLOWED),
        ({}, ("operator", "operator_2"), Code.CREATED),
    ],
)
def test_who_may_set_what(bank, fields, signers, code):
    """ADMIN-8, ADMIN-9."""
    basis = {"subject": ALICE, "role": BY_ACCOUNT, "suite": STOP, "reason": 1, "limit_b": bank.now + SECOND_NS}
    assert bank.everywhere(bank.request(a.BREAKER_SET, **(basis | fields)), *signers).code == code
    assert participant_of(ALICE) == BANK
