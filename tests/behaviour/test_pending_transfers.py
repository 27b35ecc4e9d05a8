"""Pendings: they reserve, and end exactly once, by post, void or their timeout."""

from __future__ import annotations

from dataclasses import replace

import pytest

from native.codes import ResultCode as Code
from tests.model import record as r
from tests.model.fixtures import bank, mode, opened  # noqa: F401
from tests.model.genesis import SECOND_NS
from tests.model.stage import ALICE, ALICE_2, BOB, CAROL, HKD, ISSUER_ACCOUNT, KEYS

BOTH = r.PAYER_POSTS | r.PAYER_VOIDS | r.PAYEE_POSTS | r.PAYEE_VOIDS


def begun(stage, flags=BOTH, **fields):
    pending = stage.pending(flags, **fields)
    assert stage.code(pending) == Code.CREATED
    return pending


def test_a_pending_reserves_on_both_sides(bank):
    begun(bank, amount=400)
    assert bank.balance(ALICE) == (400, 0, 0, 1000)
    assert bank.balance(BOB) == (0, 0, 400, 0)


def test_a_post_takes_all(bank):
    pending = begun(bank, amount=400)
    assert bank.code(bank.post(pending)) == Code.CREATED
    assert bank.balance(ALICE) == (0, 400, 0, 1000)
    assert bank.balance(BOB) == (0, 0, 0, 400)


def test_a_post_takes_less_and_the_rest_returns(bank):
    """Post, effects: all is released, less is posted."""
    pending = begun(bank, amount=400)
    assert bank.code(bank.post(pending, amount=150)) == Code.CREATED
    assert bank.balance(ALICE) == (0, 150, 0, 1000)
    assert bank.balance(BOB) == (0, 0, 0, 150)


def test_a_post_of_more_is_refused(bank):
    pending = begun(bank, amount=400)
    assert bank.code(bank.post(pending, amount=401)) == Code.EXCEEDS_PENDING_AMOUNT
    assert bank.balance(ALICE) == (400, 0, 0, 1000)


def test_a_void_releases_all(bank):
    pending = begun(bank, amount=400)
    assert bank.code(bank.void(pending)) == Code.CREATED
    assert bank.balance(ALICE) == (0, 0, 0, 1000)
    assert bank.balance(BOB) == (0, 0, 0, 0)


def test_a_void_names_the_whole_amount(bank):
    pending = begun(bank, amount=400)
    assert bank.code(bank.void(pending, amount=399)) == Code.PENDING_HAS_DIFFERENT_AMOUNT


@pytest.mark.parametrize(
    ("end", "code"), [("post", Code.PENDING_ALREADY_POSTED), ("void", Code.PENDING_ALREADY_VOIDED)]
)
def test_a_pending_ends_once(bank, end, code):
    pending = begun(bank)
    assert bank.code(getattr(bank, end)(pending)) == Code.CREATED
    assert bank.codes(bank.post(pending), bank.void(pending)) == [code] * 2


def test_a_timeout_releases_at_its_instant(bank):
    """LEDGER-30: due <= now ends it, before the first request of the record."""
    begun(bank, amount=1000, until=5 * SECOND_NS)
    bank.later(ns=5 * SECOND_NS - 1)
    assert bank.code(bank.plain(amount=1)) == Code.INSUFFICIENT_FUNDS
    bank.later(ns=1)
    assert bank.code(bank.plain(amount=1000)) == Code.CREATED
    assert bank.balance(BOB) == (0, 0, 0, 1000)


def test_an_expired_pending_says_so(bank):
    pending = begun(bank, until=5 * SECOND_NS)
    bank.later(5)
    assert bank.codes(bank.post(pending), bank.void(pending)) == [Code.PENDING_EXPIRED] * 2


def test_one_that_is_due_and_not_swept_yet_is_expired_already(opened):
    """State rule e and the bound expire_per_batch_max."""
    stage = opened(expire_per_batch_max=2).furnish()
    pendings = [begun(stage, amount=1, until=SECOND_NS) for _ in range(5)]
    stage.later(1)
    assert stage.codes(*map(stage.post, pendings)) == [Code.PENDING_EXPIRED] * 5
    assert stage.balance(ALICE)[0] == 3
    stage.seal()
    assert stage.balance(ALICE)[0] == 1
    stage.seal()
    assert stage.balance(ALICE)[0] == 0


def test_due_pendings_end_in_order_of_due_time_then_id(opened):
    """LEDGER-30: (due, id, debit account)."""
    stage = opened(expire_per_batch_max=1).furnish()
    now = stage.now
    for id_, until, amount in ((9, 10, 1), (7, 10, 2), (8, 9, 4)):
        begun(stage, id=id_, amount=amount, until=until * SECOND_NS)
    stage.now = now + 10 * SECOND_NS
    held = []
    for _ in range(3):
        stage.seal()
        held.append(stage.balance(ALICE)[0])
    assert held == [3, 1, 0]


def test_without_a_timeout_it_waits_for_ever(bank):
    begun(bank, amount=400, until=0)
    bank.later(86_400 * 30)
    bank.seal()
    assert bank.balance(ALICE)[0] == 400


def test_it_is_found_by_the_payer_and_its_id(bank):
    pending = begun(bank)
    assert bank.code(bank.post(pending, reference=pending.id + 1)) == Code.PENDING_NOT_FOUND


def test_what_ends_it_names_the_same_payee_and_ledger(bank):
    """State rule c of post and void."""
    pending = begun(bank)
    assert bank.code(bank.post(pending, credit_account=ALICE_2)) == Code.PENDING_HAS_DIFFERENT_CREDIT_ACCOUNT
    assert bank.code(bank.void(pending, ledger=HKD)) == Code.PENDING_HAS_DIFFERENT_LEDGER


@pytest.mark.parametrize(
    ("flag", "end", "key"),
    [
        (r.PAYER_POSTS, "post", "bank"),
        (r.PAYEE_POSTS, "post", "other"),
        (r.PAYER_VOIDS, "void", "bank"),
        (r.PAYEE_VOIDS, "void", "other"),
    ],
)
def test_only_who_is_permitted_ends_it(bank, flag, end, key):
    """LEDGER-10: each of the bits 7 to 10 permits one side one end, and nothing else permits it."""
    all_but = begun(bank, BOTH & ~flag)
    assert bank.code(getattr(bank, end)(all_but, key_id=KEYS[key])) == Code.NOT_PERMITTED_BY_PENDING
    only = begun(bank, flag)
    assert bank.code(getattr(bank, end)(only, key_id=KEYS[key])) == Code.CREATED


def test_issuing_takes_two_keys_of_the_issuer(bank):
    """LEDGER-10: the second key line posts; bits 7 to 10 of an issuer's pending have no effect."""
    issue = {"debit_account": ISSUER_ACCOUNT, "credit_account": ALICE}
    pending = begun(bank, BOTH, amount=500, key_id=KEYS["issuer_a"], **issue)
    assert bank.code(bank.post(pending)) == Code.ISSUER_KEYS_MUST_DIFFER
    assert bank.code(bank.post(pending, key_id=KEYS["bank"])) == Code.NOT_PERMITTED_BY_PENDING
    assert bank.code(bank.post(pending, key_id=KEYS["issuer_b"])) == Code.CREATED
    assert bank.balance(ALICE) == (0, 0, 0, 1500)


@pytest.mark.parametrize("key", ["issuer_a", "issuer_b"])
def test_either_issuer_key_voids(bank, key):
    issue = {"debit_account": ISSUER_ACCOUNT, "credit_account": ALICE}
    pending = begun(bank, 0, amount=500, key_id=KEYS["issuer_a"], **issue)
    assert bank.code(bank.void(pending, key_id=KEYS[key])) == Code.CREATED


def test_a_freeze_stops_no_end(bank):
    """Post and void, effects: frozen never stops either."""
    first, second = begun(bank), begun(bank)
    assert bank.freeze(ALICE).code == bank.freeze(BOB).code == Code.CREATED
    assert bank.codes(bank.post(first), bank.void(second)) == [Code.CREATED] * 2


def test_an_account_with_pendings_cannot_be_closed(bank):
    """ADMIN-2, type 9, on either side."""
    begun(bank)
    assert bank.close(BOB).code == Code.ACCOUNT_HAS_PENDINGS
    assert bank.close(ALICE).code == Code.ACCOUNT_HAS_PENDINGS


def test_a_post_to_another_shard_leaves_as_a_credit(bank):
    pending = begun(bank, credit_account=CAROL, amount=80)
    assert bank.deliver() == []
    assert bank.code(bank.post(pending, amount=50)) == Code.CREATED_IN_TRANSIT
    assert bank.deliver() == [Code.CREDITED]
    assert bank.balance(ALICE) == (0, 50, 0, 1000)
    assert bank.balance(CAROL) == (0, 0, 0, 50)


def test_a_void_or_timeout_of_one_to_another_shard_sends_nothing(bank):
    first = begun(bank, credit_account=CAROL, amount=80)
    begun(bank, credit_account=CAROL, amount=20, until=SECOND_NS)
    assert bank.code(bank.void(first)) == Code.CREATED
    bank.later(1)
    bank.seal()
    assert bank.deliver() == []
    assert bank.balance(ALICE) == (0, 0, 0, 1000)


def test_a_payee_on_another_shard_may_end_what_permits_it(bank):
    """Step 18: the payee's side is known by the participant's number alone, wherever the account lives."""
    pending = begun(bank, r.PAYEE_POSTS, credit_account=CAROL, amount=80)
    assert bank.code(bank.post(pending, key_id=KEYS["other"])) == Code.CREATED_IN_TRANSIT


def test_an_ended_pending_is_known_until_its_forget_time(bank):
    """LEDGER-31: max(end, expires_at) + window, then its bucket."""
    pending = begun(bank)
    assert bank.code(bank.post(pending)) == Code.CREATED
    bank.now = pending.expires_at + 60 * SECOND_NS
    assert bank.code(bank.void(pending)) == Code.PENDING_ALREADY_POSTED
    bank.later(1)
    assert bank.code(bank.void(pending)) == Code.PENDING_NOT_FOUND


def test_a_void_returns_what_a_credit_line_lent(bank):
    assert bank.limits(ALICE_2, credit_limit=5).code == Code.CREATED
    pending = begun(bank, debit_account=ALICE_2, amount=5, key_id=KEYS["bank_2"])
    refused = bank.plain(debit_account=ALICE_2, amount=1, key_id=KEYS["bank_2"])
    assert bank.codes(refused, bank.void(pending)) == [Code.INSUFFICIENT_FUNDS, Code.CREATED]
    assert bank.balance(ALICE_2) == (0, 0, 0, 0)
    assert bank.balance(BOB) == (0, 0, 0, 0)


def test_a_pending_that_outlives_its_id_keeps_it(bank):
    """Step 19: the id is not free for another pending or lock before the pending is forgotten too."""
    pending = begun(bank, until=0)
    bank.now = pending.expires_at + 62 * SECOND_NS
    again = replace(pending, expires_at=bank.now + SECOND_NS)
    lock = replace(again, flags=r.LOCK, binding=b"h" * 32, until=bank.now + 30 * SECOND_NS)
    assert bank.codes(pending, again, lock) == [Code.TOO_OLD, *[Code.EXISTS_WITH_DIFFERENT_EXPIRES_AT] * 2]
    assert bank.code(bank.void(pending)) == Code.CREATED
    assert bank.code(again) == Code.EXISTS_WITH_DIFFERENT_EXPIRES_AT
    bank.later(62)
    assert bank.code(replace(again, expires_at=bank.now)) == Code.CREATED
