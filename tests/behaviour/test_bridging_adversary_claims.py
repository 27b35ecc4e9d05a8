"""Everything that supervisors, issuers and key holders can set, set between lock and reveal: no claim hears of it."""

from __future__ import annotations

import pytest

from native.codes import ResultCode as Code
from tests.model import admin_request as a
from tests.model.accounts import participant_of
from tests.model.fixtures import bank, mode, opened  # noqa: F401
from tests.model.genesis import SECOND_NS
from tests.model.hashes import sha256
from tests.model.rules import BY_ACCOUNT, BY_CORRIDOR, BY_LEDGER, BY_PARTICIPANT, BY_REFERENCE, HOLD, SLOW, STOP
from tests.model.stage import ALICE, BOB, CAROL, CNY, KEYS

SECRET = b"s" * 32
SHA_LOCK = sha256(SECRET)
REFUSES = 1
AMOUNT = 60


def breakers(stage, quote, grade):
    subjects = (
        (BY_ACCOUNT, ALICE), (BY_ACCOUNT, BOB), (BY_ACCOUNT, CAROL), (BY_PARTICIPANT, participant_of(ALICE)),
        (BY_PARTICIPANT, participant_of(BOB)), (BY_LEDGER, CNY), (BY_REFERENCE, quote), (BY_CORRIDOR, quote),
    )  # fmt: skip
    for kind, subject in subjects:
        assert stage.breaker(kind, subject, grade, rate=int(grade == SLOW)).code == Code.CREATED


def tiers(stage):
    assert stage.tier(1, REFUSES, most=1, day=1, count=1).code == Code.CREATED
    for account in (ALICE, BOB):
        assert stage.wear(account, 1).code == Code.CREATED


def limits(stage):
    for account in (ALICE, BOB):
        stage.limits(account, credit_limit=0, balance_max=1)


def freezes(stage):
    for account in (ALICE, BOB, CAROL):
        assert stage.freeze(account).code == Code.CREATED


def threshold(stage):
    assert stage.threshold(1, SECOND_NS).code == Code.CREATED


def revocation(stage):
    fields = {"participant": participant_of(ALICE), "key_id": KEYS["bank"]}
    answer = stage.everywhere(stage.request(a.KEY_REVOKE, **fields), "bank_registrar")
    assert answer.code == Code.CREATED


SETTINGS = {
    "stop": lambda stage, quote: breakers(stage, quote, STOP),
    "hold": lambda stage, quote: breakers(stage, quote, HOLD),
    "slow": lambda stage, quote: breakers(stage, quote, SLOW),
    "tiers": lambda stage, _: tiers(stage),
    "limits": lambda stage, _: limits(stage),
    "freezes": lambda stage, _: freezes(stage),
    "threshold": lambda stage, _: threshold(stage),
    "revocation": lambda stage, _: revocation(stage),
    "quote closed": lambda stage, quote: stage.close_quote(quote),
    "quote over": lambda stage, _: stage.later(21),
}


def locked(stage, payee):
    """A lock on a quote, and a second one of the same hash that is not claimed: its time is over first."""
    quote = stage.quote(AMOUNT, seconds=20)
    lock = stage.lock(SHA_LOCK, amount=AMOUNT, user_data=quote, credit_account=payee, until=stage.now + 60 * SECOND_NS)
    assert stage.code(lock) == Code.CREATED
    return quote, lock


@pytest.mark.parametrize("payee", [BOB, CAROL])
@pytest.mark.parametrize("name", [*SETTINGS, "all"])
def test_nothing_stops_a_claim(bank, name, payee):
    """On this shard and on another: the whole amount reaches the payee's account, and none of it suspense."""
    quote, lock = locked(bank, payee)
    # What closes and revokes comes last: the others need keys in force.
    for each in SETTINGS if name == "all" else (name,):
        SETTINGS[each](bank, quote)
    bank.relay(SECRET, time=lock.until - 1)
    bank.relay(time=lock.until)
    if payee == CAROL:
        assert bank.deliver() == [Code.CREDITED]
    assert bank.balance(payee)[3] == AMOUNT
    assert bank.balance(ALICE)[:2] == (0, AMOUNT)


@pytest.mark.parametrize("late_ns", [0, 1])
def test_nothing_stops_a_refund(bank, late_ns):
    """At the timelock by the relay's clock and not before it; a reveal in that block or after it takes nothing."""
    quote, lock = locked(bank, BOB)
    for setting in SETTINGS.values():
        setting(bank, quote)
    bank.relay(time=lock.until - 1)
    assert bank.balance(ALICE)[0] == AMOUNT
    bank.relay(SECRET, time=lock.until + late_ns)
    assert bank.balance(ALICE) == (0, 0, 0, 1000)
    assert bank.balance(BOB)[3] == 0
    bank.relay(SECRET, time=lock.until + late_ns)
    assert bank.balance(BOB)[3] == 0
