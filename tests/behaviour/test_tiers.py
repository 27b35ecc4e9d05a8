"""Tiers: how much an account may send at once and in a day, refused or held beyond that."""

from __future__ import annotations

import pytest

from native.codes import ResultCode as Code
from tests.model import admin_request as a
from tests.model.fixtures import bank, mode, opened  # noqa: F401
from tests.model.rules import DAY_NS, HOLDS, REFUSES
from tests.model.stage import ALICE, BOB, CAROL, CNY, DAVE, EUR, ISSUER_ACCOUNT


def tiered(stage, action=REFUSES, account=ALICE, **bounds):
    assert stage.tier(1, action, **bounds).code == Code.CREATED
    assert stage.wear(account, 1).code == Code.CREATED


def test_the_tier_is_in_the_account_s_leaf(bank):
    """LEDGER-104."""
    tiered(bank, most=50)
    assert bank.leaf(ALICE)[148:152] == (1).to_bytes(4, "little")


def test_one_transfer_has_its_bound(bank):
    """LEDGER-104."""
    tiered(bank, most=50)
    assert bank.codes(bank.plain(amount=50), bank.plain(amount=51)) == [Code.CREATED, Code.TIER_LIMIT_EXCEEDED]


def test_a_day_has_its_amount(bank):
    """LEDGER-104."""
    tiered(bank, day=100)
    assert bank.codes(*(bank.plain(amount=amount) for amount in (60, 41, 40, 1))) == [
        Code.CREATED, Code.VELOCITY_EXCEEDED, Code.CREATED, Code.VELOCITY_EXCEEDED,
    ]  # fmt: skip


def test_a_day_has_its_count(bank):
    """LEDGER-104."""
    tiered(bank, count=2)
    codes = bank.codes(bank.plain(), bank.plain(credit_account=CAROL), bank.plain())
    assert codes == [Code.CREATED, Code.CREATED_IN_TRANSIT, Code.VELOCITY_EXCEEDED]


def test_a_new_day_begins_at_its_instant(bank):
    """LEDGER-104: days of batch time, UTC."""
    tiered(bank, count=1)
    bank.now = (bank.now // DAY_NS + 1) * DAY_NS - 1
    assert bank.codes(bank.plain(), bank.plain()) == [Code.CREATED, Code.VELOCITY_EXCEEDED]
    bank.later(ns=1)
    assert bank.codes(bank.plain(), bank.plain()) == [Code.CREATED, Code.VELOCITY_EXCEEDED]


@pytest.mark.parametrize("bounds", [{"most": 50}, {"day": 50}, {"count": 1}])
def test_a_tier_may_hold_instead(bank, bounds):
    """LEDGER-104, LEDGER-105."""
    tiered(bank, HOLDS, **bounds)
    transfer = bank.plain(amount=60)
    assert bank.codes(bank.plain(amount=10), transfer) == [Code.CREATED, Code.HELD]
    bank.end_hold(transfer)
    assert bank.balance(BOB) == (0, 0, 0, 70)


def test_what_is_refused_is_not_counted(bank):
    """LEDGER-104."""
    tiered(bank, most=50, count=1)
    codes = bank.codes(bank.plain(amount=51), bank.plain(amount=5000), bank.plain())
    assert codes == [Code.TIER_LIMIT_EXCEEDED, Code.INSUFFICIENT_FUNDS, Code.CREATED]


def test_a_failed_run_is_not_counted(bank):
    """LEDGER-20 f."""
    tiered(bank, count=2)
    bank.send(*bank.run(bank.plain(), bank.plain(amount=5000)))
    assert bank.codes(bank.plain(), bank.plain()) == [Code.CREATED, Code.CREATED]


def test_a_run_over_shards_that_another_shard_refuses_is_not_counted(bank):
    """LEDGER-92."""
    tiered(bank, count=2)
    bank.relay()
    run = bank.run(
        bank.plain(credit_account=DAVE, amount=1), bank.plain(credit_account=CAROL, debit_account=DAVE, amount=1)
    )
    assert Code.PREPARED not in bank.codes_over(*run)
    assert bank.codes(bank.plain(), bank.plain()) == [Code.CREATED, Code.CREATED]


def test_it_is_the_payer_s_tier(bank):
    """LEDGER-104."""
    tiered(bank, account=BOB, most=1)
    assert bank.code(bank.plain(amount=50)) == Code.CREATED


def test_without_a_tier_nothing_is_counted(bank):
    """LEDGER-104."""
    tiered(bank, count=1)
    assert bank.wear(ALICE, 0).code == Code.CREATED
    assert bank.codes(bank.plain(), bank.plain()) == [Code.CREATED, Code.CREATED]


def test_a_tier_that_changes_counts_for_who_wears_it(bank):
    """ADMIN-9."""
    tiered(bank, count=1)
    assert bank.codes(bank.plain(), bank.plain()) == [Code.CREATED, Code.VELOCITY_EXCEEDED]
    bank.tier(1, REFUSES, count=3)
    assert bank.code(bank.plain()) == Code.CREATED


def test_what_no_counter_counts_is_refused(opened):
    """LEDGER-104: no sum wraps."""
    bank = opened(amount_max=2**127 - 1).furnish(0)
    bank.tier(1, HOLDS)
    bank.wear(ALICE, 1)
    bank.limits(ALICE, credit_limit=2**128 - 1)
    for _ in range(2):
        pending = bank.pending(amount=2**127 - 1, flags=1 << 9)
        assert bank.codes(pending, bank.void(pending)) == [Code.CREATED, Code.CREATED]
    assert bank.code(bank.plain(amount=2)) == Code.VELOCITY_EXCEEDED
    assert bank.code(bank.plain(amount=1)) == Code.CREATED


@pytest.mark.parametrize(
    ("subject", "fields", "signer", "code"),
    [
        (ALICE, {"role": 2}, "issuer_a", Code.TIER_NOT_FOUND),
        (ALICE, {"role": 1}, "issuer_hkd", Code.NOT_THE_ISSUER),
        (ALICE, {"role": 1}, "operator", Code.SIGNER_ROLE_NOT_ALLOWED),
        (ISSUER_ACCOUNT, {"role": 1}, "issuer_a", Code.ROLE_NOT_ALLOWED),
        (DAVE, {"role": 1}, "issuer_a", Code.WRONG_SHARD),
        (ALICE, {"role": 0}, "issuer_a", Code.CREATED),
    ],
)
def test_who_may_wear_what(bank, subject, fields, signer, code):
    """ADMIN-9."""
    bank.tier(1, REFUSES)
    request = bank.request(a.ACCOUNT_TIER, subject=subject, ledger=CNY, **fields)
    assert bank.administer(request, signer).code == code


@pytest.mark.parametrize(
    ("fields", "signers", "code"),
    [
        ({"role": 0}, ("operator", "supervisor"), Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"suite": 0}, ("operator", "supervisor"), Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"ledger": EUR}, ("operator", "supervisor"), Code.LEDGER_NOT_FOUND),
        ({}, ("operator", "operator_2"), Code.SIGNER_ROLE_NOT_ALLOWED),
        ({}, ("supervisor", "supervisor_2"), Code.SIGNER_ROLE_NOT_ALLOWED),
        ({}, ("supervisor", "operator"), Code.CREATED),
    ],
)
def test_who_may_set_a_tier(bank, fields, signers, code):
    """ADMIN-8, ADMIN-9."""
    basis = {"ledger": CNY, "role": 1, "suite": REFUSES}
    assert bank.everywhere(bank.request(a.LEDGER_TIER, **(basis | fields)), *signers).code == code
