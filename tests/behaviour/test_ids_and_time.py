"""Ids: unique for their authoriser and account, answered again while they are known; and the signed time of a request."""

from __future__ import annotations

from dataclasses import replace

import pytest

from native.codes import ResultCode as Code
from tests.model import record as r
from tests.model.fixtures import bank, mode, opened  # noqa: F401
from tests.model.genesis import SECOND_NS
from tests.model.stage import ALICE, ALICE_2, BOB, CAROL, HKD, KEYS


def test_a_record_sent_again_has_its_first_answer(bank):
    """Step 13: `exists`, the first code and the first time, whatever happened since."""
    done = bank.plain(amount=1000)
    assert bank.code(done) == Code.CREATED
    first = bank.now
    bank.later(1)
    assert bank.send(done) == [(Code.EXISTS, Code.CREATED, first)]
    assert bank.balance(ALICE)[1] == 1000


def test_a_no_never_becomes_a_yes(bank):
    """LEDGER-61: refused for its state, the id is burnt."""
    refused = bank.plain(amount=1500)
    assert bank.code(refused) == Code.INSUFFICIENT_FUNDS
    first = bank.now
    bank.fund(ALICE, 5000)
    bank.later(1)
    assert bank.send(refused) == [(Code.ID_ALREADY_FAILED, Code.INSUFFICIENT_FUNDS, first)]


def test_in_transit_is_remembered_as_such(bank):
    away = bank.plain(credit_account=CAROL)
    assert bank.code(away) == Code.CREATED_IN_TRANSIT
    assert bank.send(away)[0][:2] == (Code.EXISTS, Code.CREATED_IN_TRANSIT)


def test_a_repeat_needs_no_signature(bank):
    """Step 13 comes before 15: identical means the record digest."""
    done = bank.plain()
    assert bank.codes(done, done, verdicts=[1, 0]) == [Code.CREATED, Code.EXISTS]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"flags": r.ATTACHMENT, "binding": b"b" * 32}, Code.EXISTS_WITH_DIFFERENT_FLAGS),
        ({"credit_account": ALICE_2}, Code.EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT),
        ({"amount": 11}, Code.EXISTS_WITH_DIFFERENT_AMOUNT),
        ({"user_data": 1}, Code.EXISTS_WITH_DIFFERENT_USER_DATA),
        ({"valid_for_s": 59}, Code.EXISTS_WITH_DIFFERENT_VALID_FOR),
        ({"ledger": HKD}, Code.EXISTS_WITH_DIFFERENT_LEDGER),
        ({"code": 7}, Code.EXISTS_WITH_DIFFERENT_CODE),
        ({"flags": r.PENDING, "until": 5, "amount": 3}, Code.EXISTS_WITH_DIFFERENT_FLAGS),
        ({"amount": 11, "code": 7, "user_data": 9}, Code.EXISTS_WITH_DIFFERENT_AMOUNT),
    ],
)
def test_an_id_used_for_something_else_names_the_first_difference(bank, change, code):
    """Step 19."""
    done = bank.plain()
    assert bank.code(done) == Code.CREATED
    assert bank.code(replace(done, **change)) == code


def test_differences_that_only_other_kinds_have(bank):
    """Step 19: reference, until, expires_at, key_id, binding."""
    pending = bank.pending(r.PAYER_POSTS)
    assert bank.code(pending) == Code.CREATED
    assert bank.code(replace(pending, until=5)) == Code.EXISTS_WITH_DIFFERENT_UNTIL
    assert bank.code(replace(pending, expires_at=pending.expires_at + 1)) == Code.EXISTS_WITH_DIFFERENT_EXPIRES_AT
    post = bank.post(pending)
    assert bank.code(post) == Code.CREATED
    assert bank.code(replace(post, reference=7)) == Code.EXISTS_WITH_DIFFERENT_REFERENCE
    lock = bank.lock(b"h" * 32)
    assert bank.code(lock) == Code.CREATED
    assert bank.code(replace(lock, binding=b"i" * 32)) == Code.EXISTS_WITH_DIFFERENT_BINDING


def test_ids_of_two_authorisers_do_not_meet(bank):
    """Step 13 and 19: the payee's post and the payer's post of one id are two."""
    pending = bank.pending(r.PAYEE_POSTS | r.PAYER_POSTS)
    assert bank.code(pending) == Code.CREATED
    by_payee = bank.post(pending, amount=11, key_id=KEYS["other"])
    assert bank.code(by_payee) == Code.EXCEEDS_PENDING_AMOUNT
    assert bank.code(replace(by_payee, amount=10, key_id=KEYS["bank"])) == Code.CREATED
    assert bank.code(by_payee) == Code.ID_ALREADY_FAILED


def test_ids_of_two_accounts_do_not_meet(bank):
    done = bank.plain()
    assert bank.code(done) == Code.CREATED
    other = replace(done, debit_account=BOB, credit_account=ALICE, key_id=KEYS["other"])
    assert bank.code(other) == Code.CREATED


def test_a_request_is_too_early_until_its_validity_begins(bank):
    """Step 20, and `too_early` burns nothing."""
    early = bank.plain(expires_at=bank.now + 100 * SECOND_NS, valid_for_s=40)
    begins = bank.now + 60 * SECOND_NS
    bank.now = begins - 1
    assert bank.code(early) == Code.TOO_EARLY
    bank.now = begins
    assert bank.code(early) == Code.CREATED


def test_a_request_expires_and_then_is_too_old(bank):
    """Step 20: expires_at itself is still in time."""
    end = bank.now + 10 * SECOND_NS
    at, after = bank.plain(expires_at=end), bank.plain(expires_at=end)
    bank.now = end
    assert bank.code(at) == Code.CREATED
    bank.now = end + 1
    assert bank.code(after) == Code.EXPIRED
    bank.now = end + 60 * SECOND_NS
    assert bank.code(after) == Code.EXPIRED
    bank.later(ns=1)
    assert bank.code(after) == Code.TOO_OLD


def test_a_time_long_ago_is_too_old(bank):
    """Step 20: an expires_at below valid_for does not wrap."""
    assert bank.code(bank.plain(expires_at=5)) == Code.TOO_OLD


def test_validity_may_begin_before_time_does(opened):
    """Step 20: expires_at < valid_for counts as 0."""
    stage = opened(time=0).furnish()
    assert stage.now < 60 * SECOND_NS
    assert stage.code(stage.plain()) == Code.CREATED


def test_an_id_is_known_until_its_bucket_is_over(bank):
    """LEDGER-13: expires_at + window, to the end of that bucket (1 s here)."""
    done = bank.plain(expires_at=bank.now + 10 * SECOND_NS)
    assert bank.code(done) == Code.CREATED
    bank.now = done.expires_at + 61 * SECOND_NS - 1
    assert bank.code(done) == Code.EXISTS
    bank.later(ns=1)
    assert bank.code(done) == Code.TOO_OLD


def test_the_window_is_full_and_nothing_is_forgotten_early(opened):
    """Step 21: `window_full` is open, and becomes a yes when ids are forgotten."""
    stage = opened(ids_max=3).furnish()
    assert stage.code(stage.plain(amount=1)) == Code.CREATED
    waiting = stage.plain(amount=1, expires_at=stage.now + 10 * SECOND_NS)
    assert stage.code(waiting) == Code.WINDOW_FULL
    assert stage.code(waiting) == Code.WINDOW_FULL
    stage.later(92)
    assert stage.code(stage.plain(amount=1)) == Code.CREATED


def test_the_pendings_are_full_until_ended_ones_are_forgotten(opened):
    """Step 21: ended and not yet forgotten ones count."""
    stage = opened(pendings_max=2).furnish()
    pending = stage.pending(r.PAYER_VOIDS)
    assert stage.codes(pending, stage.void(pending)) == [Code.CREATED] * 2
    assert stage.code(stage.pending()) == Code.PENDINGS_FULL
    assert stage.code(stage.plain()) == Code.CREATED
    stage.later(92)
    assert stage.code(stage.pending()) == Code.CREATED


def test_a_cancel_burns_an_unused_id(bank):
    """Cancel: the id answers `id_already_failed` with first code `cancelled` and the cancel's time."""
    never = bank.plain()
    assert bank.code(bank.cancel(never.id)) == Code.CREATED
    cancelled = bank.now
    bank.later(1)
    assert bank.send(never) == [(Code.ID_ALREADY_FAILED, Code.CANCELLED, cancelled)]
    assert bank.code(never, verdict=0) == Code.INVALID_SIGNATURE


def test_a_cancel_comes_too_late_for_a_known_id(bank):
    """Cancel: done or burnt, or cancelled before."""
    done, refused = bank.plain(), bank.plain(amount=5000)
    bank.codes(done, refused)
    assert bank.codes(bank.cancel(done.id), bank.cancel(refused.id)) == [Code.CANCEL_TOO_LATE] * 2
    assert bank.codes(bank.cancel(7), bank.cancel(7)) == [Code.CREATED, Code.CANCEL_TOO_LATE]


def test_a_cancel_needs_two_places(opened):
    stage = opened(ids_max=3).furnish()
    assert stage.code(stage.cancel(7)) == Code.WINDOW_FULL
    assert stage.code(stage.plain(amount=1)) == Code.CREATED


def test_a_cancel_is_signed_by_the_payer(bank):
    assert bank.code(bank.cancel(7, key_id=KEYS["other"])) == Code.KEY_NOT_AUTHORISED


def test_a_frozen_account_may_cancel(bank):
    assert bank.freeze(ALICE).code == Code.CREATED
    assert bank.code(bank.cancel(7)) == Code.CREATED


def test_a_cancel_cannot_burn_its_own_id(bank):
    """Its own id is in use: by the cancel."""
    own = bank.cancel(55, id=55)
    assert bank.code(own) == Code.CANCEL_TOO_LATE
    assert bank.code(own) == Code.ID_ALREADY_FAILED


def test_time_that_repeats_is_allowed(bank):
    """LOG: time never decreases; it may stand still."""
    assert [bank.code(bank.plain(amount=1)) for _ in range(3)] == [Code.CREATED] * 3


def test_repeats_and_open_answers_have_no_leaf(bank):
    """LEDGER-60: of these nine answers only the three that decide something for good stand in the block."""
    bank.seal()
    done, refused = bank.plain(amount=1), bank.plain(amount=5000)
    expected = [
        (done, Code.CREATED),
        (refused, Code.INSUFFICIENT_FUNDS),
        (bank.plain(expires_at=bank.now - 1), Code.EXPIRED),
        (replace(done, amount=2), Code.EXISTS_WITH_DIFFERENT_AMOUNT),
        (done, Code.EXISTS),
        (refused, Code.ID_ALREADY_FAILED),
        (bank.plain(expires_at=bank.now + 61 * SECOND_NS), Code.TOO_EARLY),
        (bank.plain(expires_at=1), Code.TOO_OLD),
        (bank.plain(key_id=KEYS["other"]), Code.KEY_NOT_AUTHORISED),
    ]
    assert bank.codes(*[transfer for transfer, _ in expected]) == [code for _, code in expected]
    assert int.from_bytes(bank.seal()[72:80], "little") == 3


def test_another_content_may_execute_once_the_id_is_forgotten(bank):
    """LEDGER-88: so the refusal is open and unproven, and no substitute is made after it."""
    from engine.codes import MEANINGS, CodeClass

    first = bank.plain(amount=10, expires_at=bank.now + 40 * SECOND_NS)
    second = replace(first, amount=11, expires_at=bank.now + 140 * SECOND_NS, valid_for_s=60)
    assert bank.code(first) == Code.CREATED
    bank.now += 90 * SECOND_NS
    bank.seal()
    refused = bank.code(second)
    assert refused == Code.EXISTS_WITH_DIFFERENT_AMOUNT
    assert MEANINGS[refused].code_class is CodeClass.OPEN and not MEANINGS[refused].leaf
    assert int.from_bytes(bank.seal()[72:80], "little") == 0
    bank.now += 12 * SECOND_NS
    assert bank.code(second) == Code.CREATED


def test_a_cancel_refuses_for_good_only_what_expires_with_it(bank):
    """LEDGER step 19: a record that outlives the cancelled id gets an open answer."""
    burnt = bank.plain(amount=3)
    assert bank.code(bank.cancel(burnt.id, expires_at=burnt.expires_at)) == Code.CREATED
    later = replace(burnt, expires_at=burnt.expires_at + 1)
    assert bank.codes(burnt, later) == [Code.ID_ALREADY_FAILED, Code.EXISTS_WITH_DIFFERENT_EXPIRES_AT]
