"""Quotes on the ledger: the payer's shard keeps what is left of each, and refuses what goes beyond it."""

from __future__ import annotations

import pytest

from native.codes import ResultCode as Code
from tests.model import admin_request as a
from tests.model.fixtures import bank, mode, opened  # noqa: F401
from tests.model.genesis import SECOND_NS
from tests.model.hashes import sha256
from tests.model.stage import ALICE, ALICE_2, BOB, CNY, DAVE, KEYS

SECRET = b"s" * 32
SHA_LOCK = sha256(SECRET)


def test_locks_draw_on_the_quote_that_they_name(bank):
    """LEDGER-101."""
    quote = bank.quote(100)
    codes = bank.codes(*(bank.lock(SHA_LOCK, amount=amount, user_data=quote) for amount in (60, 41, 40, 1)))
    assert codes == [Code.CREATED, Code.QUOTE_EXHAUSTED, Code.CREATED, Code.QUOTE_EXHAUSTED]


def test_exhausted_burns_the_id(bank):
    """LEDGER-61."""
    lock = bank.lock(SHA_LOCK, amount=101, user_data=bank.quote(100))
    assert bank.code(lock) == Code.QUOTE_EXHAUSTED
    assert bank.code(lock) == Code.ID_ALREADY_FAILED


def test_a_refund_gives_back(bank):
    """LEDGER-101."""
    quote = bank.quote(100, seconds=100)
    lock = bank.lock(SHA_LOCK, amount=100, user_data=quote)
    bank.send(lock)
    bank.later(30)
    bank.relay(time=lock.until)
    assert bank.code(bank.lock(SHA_LOCK, amount=100, user_data=quote)) == Code.CREATED


def test_a_claim_does_not(bank):
    """LEDGER-101."""
    quote = bank.quote(100)
    bank.send(bank.lock(SHA_LOCK, amount=100, user_data=quote))
    bank.relay(SECRET)
    assert bank.code(bank.lock(SHA_LOCK, amount=1, user_data=quote)) == Code.QUOTE_EXHAUSTED


@pytest.mark.parametrize(("after_ns", "code"), [(-1, Code.CREATED), (0, Code.QUOTE_EXPIRED), (1, Code.QUOTE_EXPIRED)])
def test_a_quote_ends_at_its_instant(bank, after_ns, code):
    """LEDGER-101."""
    quote = bank.quote(100, seconds=3)
    bank.later(3, ns=after_ns)
    assert bank.code(bank.lock(SHA_LOCK, user_data=quote)) == code


def test_a_quote_that_is_over_does_not_stop_its_locks(bank):
    """LEDGER-107."""
    bank.send(bank.lock(SHA_LOCK, amount=70, user_data=bank.quote(100, seconds=1)))
    bank.later(2)
    bank.relay(SECRET)
    assert bank.balance(BOB) == (0, 0, 0, 70)


def test_other_locks_and_kinds_are_left_alone(bank):
    """LEDGER-101: a UETR, another payer's quote, a plain transfer."""
    quote = bank.quote(5)
    assert (
        bank.codes(
            bank.lock(SHA_LOCK, amount=50, user_data=quote + 1),
            bank.lock(SHA_LOCK, amount=50),
            bank.plain(amount=50, user_data=quote),
            bank.pending(amount=50, user_data=quote),
        )
        == [Code.CREATED] * 4
    )
    bank.fund(ALICE_2, 100)
    lock = bank.lock(SHA_LOCK, amount=50, user_data=quote, debit_account=ALICE_2, key_id=KEYS["bank_2"])
    assert bank.code(lock) == Code.CREATED


def test_closed_it_is_nothing_any_more(bank):
    """LEDGER-101."""
    quote = bank.quote(5)
    assert bank.close_quote(quote).code == Code.CREATED
    assert bank.code(bank.lock(SHA_LOCK, amount=50, user_data=quote)) == Code.CREATED
    assert bank.close_quote(quote).code == Code.QUOTE_NOT_FOUND


def test_a_refund_after_the_close_gives_nobody_back(bank):
    """LEDGER-101."""
    quote = bank.quote(100, seconds=100)
    lock = bank.lock(SHA_LOCK, amount=100, user_data=quote)
    bank.send(lock)
    bank.close_quote(quote)
    bank.relay(time=lock.until)
    assert bank.balance(ALICE) == (0, 0, 0, 1000)


def test_a_failed_run_gives_back(bank):
    """LEDGER-20 f."""
    quote = bank.quote(100)
    run = bank.run(bank.lock(SHA_LOCK, amount=100, user_data=quote), bank.plain(amount=5000))
    assert bank.codes(*run) == [Code.LINKED_EVENT_FAILED, Code.INSUFFICIENT_FUNDS]
    assert bank.code(bank.lock(SHA_LOCK, amount=100, user_data=quote)) == Code.CREATED


def test_a_held_lock_draws_and_a_rejected_one_gives_back(bank):
    """LEDGER-105."""
    quote = bank.quote(100)
    bank.threshold(50)
    lock = bank.lock(SHA_LOCK, amount=100, user_data=quote)
    assert bank.code(lock) == Code.HELD
    assert bank.code(bank.lock(SHA_LOCK, amount=1, user_data=quote)) == Code.QUOTE_EXHAUSTED
    bank.end_hold(lock, releases=False)
    assert bank.code(bank.lock(SHA_LOCK, amount=1, user_data=quote)) == Code.CREATED


@pytest.mark.parametrize(
    ("fields", "signer", "code"),
    [
        ({}, "bank_2", Code.KEY_NOT_AUTHORISED),
        ({}, "other", Code.KEY_NOT_AUTHORISED),
        ({}, "bank_registrar", Code.SIGNER_ROLE_NOT_ALLOWED),
        ({"limit_a": 0}, "bank", Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"limit_b": 0}, "bank", Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"limit_b": 2**63}, "bank", Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"subject": DAVE}, "bank", Code.WRONG_SHARD),
        ({"ledger": 344}, "bank", Code.DEBIT_ACCOUNT_OTHER_LEDGER),
    ],
)
def test_who_may_open_what(bank, fields, signer, code):
    """ADMIN-9."""
    basis = {"subject": ALICE, "ledger": CNY, "limit_a": 5, "limit_b": bank.now + SECOND_NS}
    assert bank.administer(bank.request(a.QUOTE_OPEN, **(basis | fields)), signer).code == code


def test_quotes_of_one_account_are_bounded_and_old_ones_make_room(bank):
    """ADMIN-9."""
    for _ in range(256):
        bank.quote(1, seconds=1)
    fields = {"subject": ALICE, "ledger": CNY, "limit_a": 1}
    request = bank.request(a.QUOTE_OPEN, limit_b=bank.now + SECOND_NS, **fields)
    assert bank.administer(request, "bank").code == Code.RULES_FULL
    bank.quote(1, account=ALICE_2, key="bank_2")
    bank.later(3602)
    bank.quote(1)
