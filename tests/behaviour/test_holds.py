"""Thresholds and holds: what reaches a threshold waits for two supervisors, and ends exactly once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from native.codes import ResultCode as Code
from tests.model import admin_request as a
from tests.model import record as r
from tests.model.fixtures import bank, mode, opened  # noqa: F401
from tests.model.genesis import SECOND_NS
from tests.model.hashes import run_prefix, sha256, tree_root
from tests.model.keyring import public_key
from tests.model.record import derive_claim, derive_refund, record_digest
from tests.model.rules import DAY_NS
from tests.model.stage import ALICE, ALICE_2, BOB, CAROL, CNY, DAVE, HKD, ISSUER_ACCOUNT, KEYS

SECRET = b"s" * 32
SHA_LOCK = sha256(SECRET)
THRESHOLD = 50


def held(stage, transfer, hold_s=10):
    """Send one that a threshold holds."""
    assert stage.threshold(THRESHOLD, hold_s * SECOND_NS).code == Code.CREATED
    assert stage.code(transfer) == Code.HELD
    return transfer


def first_code(stage, transfer):
    answer = stage.send(transfer)[0]
    return answer.code, Code(answer.first_code)


@pytest.mark.parametrize(("amount", "code"), [(49, Code.CREATED), (50, Code.HELD), (51, Code.HELD)])
def test_an_amount_at_the_threshold_is_held(bank, amount, code):
    """LEDGER-102."""
    bank.threshold(THRESHOLD)
    assert bank.code(bank.plain(amount=amount)) == code


def test_a_held_transfer_reserves_as_a_pending_does(bank):
    """LEDGER-105."""
    held(bank, bank.plain(amount=600))
    assert bank.balance(ALICE) == (600, 0, 0, 1000)
    assert bank.balance(BOB) == (0, 0, 600, 0)
    assert bank.code(bank.plain(amount=401)) == Code.INSUFFICIENT_FUNDS


def test_released_a_plain_transfer_is_paid(bank):
    """LEDGER-106."""
    transfer = held(bank, bank.plain(amount=60))
    assert bank.end_hold(transfer).code == Code.CREATED
    assert bank.balance(ALICE) == (0, 60, 0, 1000)
    assert bank.balance(BOB) == (0, 0, 0, 60)
    assert first_code(bank, transfer) == (Code.EXISTS, Code.CREATED)


def test_released_to_another_shard_it_leaves_as_usual(bank):
    """LEDGER-106, CHANNEL-1."""
    transfer = held(bank, bank.plain(amount=60, credit_account=CAROL))
    assert bank.deliver() == []
    bank.end_hold(transfer)
    assert first_code(bank, transfer) == (Code.EXISTS, Code.CREATED_IN_TRANSIT)
    assert bank.deliver() == [Code.CREDITED]
    assert bank.balance(CAROL) == (0, 0, 0, 60)


def test_released_a_pending_is_one_and_its_time_begins(bank):
    """LEDGER-106."""
    pending = held(bank, bank.pending(r.PAYEE_POSTS, amount=60, until=3 * SECOND_NS))
    bank.later(5)
    bank.end_hold(pending)
    bank.later(3, ns=-1)
    assert bank.code(bank.post(pending, key_id=KEYS["other"])) == Code.CREATED
    assert bank.balance(BOB) == (0, 0, 0, 60)


def test_released_a_pending_expires_by_its_own_timeout(bank):
    """LEDGER-106, LEDGER-30."""
    pending = held(bank, bank.pending(r.PAYEE_POSTS, amount=60, until=3 * SECOND_NS))
    bank.end_hold(pending)
    bank.later(3)
    assert bank.code(bank.post(pending, key_id=KEYS["other"])) == Code.PENDING_EXPIRED


def test_a_held_pending_cannot_be_ended_by_its_parties(bank):
    """LEDGER-105."""
    pending = held(bank, bank.pending(r.PAYEE_POSTS | r.PAYER_VOIDS, amount=60))
    assert bank.code(bank.post(pending, key_id=KEYS["other"])) == Code.PENDING_NOT_FOUND
    assert bank.code(bank.void(pending)) == Code.PENDING_NOT_FOUND
    assert bank.balance(ALICE) == (60, 0, 0, 1000)


def test_a_held_lock_is_not_claimed_by_a_reveal(bank):
    """LEDGER-105: it is not locked yet."""
    lock = held(bank, bank.lock(SHA_LOCK, amount=60))
    bank.relay(SECRET)
    assert bank.balance(ALICE) == (60, 0, 0, 1000)
    bank.end_hold(lock)
    bank.relay(SECRET)
    assert bank.balance(BOB) == (0, 0, 0, 60)


def test_a_released_lock_is_refunded_by_its_timelock(bank):
    """LEDGER-106, LEDGER-40."""
    lock = held(bank, bank.lock(SHA_LOCK, amount=60))
    bank.end_hold(lock)
    bank.relay(time=lock.until)
    assert bank.balance(ALICE) == (0, 0, 0, 1000)


def test_locks_of_one_hash_are_claimed_in_the_order_in_which_they_opened(bank):
    """LEDGER-106: one that was held opens when it is released, also after a checkpoint."""
    bank.threshold(THRESHOLD)
    first, second = bank.lock(SHA_LOCK, amount=60), bank.lock(SHA_LOCK, amount=40)
    assert bank.codes(first, second) == [Code.HELD, Code.CREATED]
    bank.end_hold(first)
    bank.seal()
    bank.shards[0].round_trip()
    bank.relay(SECRET)
    assert bank.balance(BOB) == (0, 0, 0, 100)
    leaves = b""
    for lock in (second, first):
        claim = derive_claim(1, lock, record_digest(1, sha256(bank.document), lock.pack()), SECRET)
        leaves += record_digest(1, sha256(bank.document), claim.pack()) + bank.now.to_bytes(8, "little")
        leaves += Code.CLAIMED.to_bytes(2, "little") + bytes(6)
    assert bank.seal()[224:256] == tree_root(1, [leaves[:48], leaves[48:]])


@pytest.mark.parametrize("late_by_ns", [0, 1])
def test_a_lock_whose_timelock_came_too_near_is_rejected(bank, late_by_ns):
    """LEDGER-106."""
    lock = held(bank, bank.lock(SHA_LOCK, amount=60, until=bank.now + 25 * SECOND_NS))
    bank.later(5, ns=late_by_ns)
    assert bank.end_hold(lock).code == Code.CREATED
    expected = (Code.ID_ALREADY_FAILED, Code.HOLD_REJECTED) if late_by_ns else (Code.EXISTS, Code.CREATED)
    assert first_code(bank, lock) == expected


def test_rejected_it_is_void(bank):
    """LEDGER-106."""
    transfer = held(bank, bank.plain(amount=60))
    assert bank.end_hold(transfer, "supervisor", "operator", releases=False).code == Code.CREATED
    assert bank.balance(ALICE) == (0, 0, 0, 1000)
    assert first_code(bank, transfer) == (Code.ID_ALREADY_FAILED, Code.HOLD_REJECTED)


def test_its_deadline_voids_it(bank):
    """LEDGER-105."""
    transfer = held(bank, bank.plain(amount=60), hold_s=10)
    bank.later(10, ns=-1)
    bank.seal()
    assert bank.balance(ALICE) == (60, 0, 0, 1000)
    bank.later(ns=1)
    bank.seal()
    assert bank.balance(ALICE) == (0, 0, 0, 1000)
    assert first_code(bank, transfer) == (Code.ID_ALREADY_FAILED, Code.HOLD_EXPIRED)


def test_one_that_is_due_and_not_swept_yet_is_over(opened):
    """LEDGER-105."""
    bank = opened(expire_per_batch_max=1).furnish()
    bank.threshold(THRESHOLD, SECOND_NS)
    transfers = [bank.plain(amount=60), bank.plain(amount=61)]
    bank.send(*transfers)
    bank.later(1)
    assert bank.end_hold(transfers[1]).code == Code.HOLD_OVER


def test_without_a_deadline_of_the_ledger_it_is_a_day(bank):
    """LEDGER-102."""
    bank.threshold(THRESHOLD)
    bank.send(bank.plain(amount=60))
    bank.now += DAY_NS - 1
    bank.seal()
    assert bank.balance(ALICE)[0] == 60
    bank.later(ns=1)
    bank.seal()
    assert bank.balance(ALICE)[0] == 0


def test_a_hold_ends_once(bank):
    """LEDGER-106."""
    transfer = held(bank, bank.plain(amount=60))
    assert bank.end_hold(transfer).code == Code.CREATED
    assert bank.end_hold(transfer).code == Code.HOLD_OVER
    assert bank.end_hold(transfer, releases=False).code == Code.HOLD_OVER
    assert bank.balance(BOB) == (0, 0, 0, 60)


@pytest.mark.parametrize(
    ("signers", "code"),
    [
        (("supervisor",), Code.SECOND_SIGNATURE_REQUIRED),
        (("supervisor", "supervisor"), Code.SIGNERS_MUST_DIFFER),
        (("supervisor", "operator"), Code.SIGNER_ROLE_NOT_ALLOWED),
        (("operator", "operator_2"), Code.SIGNER_ROLE_NOT_ALLOWED),
        (("supervisor_2", "supervisor"), Code.CREATED),
    ],
)
def test_release_takes_four_eyes(bank, signers, code):
    """ADMIN-8."""
    assert bank.end_hold(held(bank, bank.plain(amount=60)), *signers).code == code


def test_two_keys_of_one_supervisor_are_one_opinion(bank):
    """ADMIN-8."""
    transfer = held(bank, bank.plain(amount=60))
    fields = {"participant": 3, "role": 5, "suite": 1, "public_key": public_key(77)}
    added = bank.everywhere(bank.request(a.KEY_ADD, **fields), "operator", "operator_2")
    assert added.code == Code.CREATED
    request = bank.request(a.HOLD_RELEASE, subject=ALICE, ledger=CNY, limit_b=transfer.id)
    assert bank.administer(request, "supervisor", added.assigned).code == Code.SIGNERS_MUST_DIFFER


@pytest.mark.parametrize(
    ("signers", "code"),
    [
        (("operator", "operator_2"), Code.SIGNER_ROLE_NOT_ALLOWED),
        (("operator", "supervisor"), Code.CREATED),
        (("supervisor", "supervisor_2"), Code.CREATED),
    ],
)
def test_a_rejection_takes_a_supervisor(bank, signers, code):
    """ADMIN-8."""
    assert bank.end_hold(held(bank, bank.plain(amount=60)), *signers, releases=False).code == code


def test_a_hold_is_named_by_account_ledger_and_id(bank):
    """ADMIN-9."""
    transfer = held(bank, bank.plain(amount=60))
    assert bank.end_hold(replace(transfer, id=transfer.id + 1)).code == Code.HOLD_NOT_FOUND
    assert bank.end_hold(replace(transfer, ledger=HKD)).code == Code.DEBIT_ACCOUNT_OTHER_LEDGER
    request = bank.request(a.HOLD_RELEASE, subject=DAVE, ledger=CNY, limit_b=transfer.id)
    assert bank.administer(request, "supervisor", "supervisor_2").code == Code.WRONG_SHARD


def test_a_run_on_one_shard_is_not_held(bank):
    """LEDGER-107."""
    bank.threshold(THRESHOLD)
    run = bank.run(bank.plain(amount=10), bank.plain(amount=60))
    assert bank.codes(*run) == [Code.LINKED_EVENT_FAILED, Code.APPROVAL_REQUIRED]
    assert bank.balance(ALICE) == (0, 0, 0, 1000)
    assert bank.codes(*run) == [Code.LINKED_EVENT_FAILED, Code.ID_ALREADY_FAILED]


def test_a_run_over_shards_is_not_held(bank):
    """LEDGER-107."""
    bank.relay()
    bank.threshold(THRESHOLD)
    run = bank.run(bank.plain(amount=60, credit_account=CAROL), bank.plain(amount=1))
    assert bank.codes_over(*run) == [Code.APPROVAL_REQUIRED, Code.LINKED_EVENT_FAILED]
    assert bank.balance(ALICE) == (0, 0, 0, 1000)


def test_issuing_is_dual_control_already(bank):
    """LEDGER-102: the issuer's own pendings are not held."""
    bank.threshold(THRESHOLD)
    bank.fund(ALICE, 500)
    assert bank.balance(ISSUER_ACCOUNT) == (0, 1500, 0, 0)


def test_redeeming_can_be_held(bank):
    """LEDGER-102."""
    bank.threshold(THRESHOLD)
    assert bank.code(bank.plain(credit_account=ISSUER_ACCOUNT, amount=60)) == Code.HELD


def test_what_was_made_before_is_not_asked_again(bank):
    """LEDGER-107: post, void, claim and refund go on."""
    pending = bank.pending(r.PAYEE_POSTS, amount=100)
    lock = bank.lock(SHA_LOCK, amount=100)
    other = bank.pending(r.PAYER_VOIDS, amount=100)
    bank.send(pending, lock, other)
    bank.threshold(1)
    assert bank.code(bank.post(pending, key_id=KEYS["other"])) == Code.CREATED
    assert bank.code(bank.void(other)) == Code.CREATED
    bank.relay(SECRET)
    assert bank.balance(BOB) == (0, 0, 0, 200)


def test_a_prepared_run_commits_whatever_was_set_since(bank):
    """LEDGER-107, LEDGER-94."""
    bank.relay()
    run = bank.run(bank.plain(amount=60, credit_account=CAROL), bank.plain(amount=1))
    assert set(bank.codes_over(*run)) == {Code.PREPARED}
    bank.threshold(1)
    bank.relay(runs=[run])
    bank.deliver()
    assert bank.balance(CAROL) == (0, 0, 0, 60)


def test_other_ledgers_have_their_own_threshold(bank):
    """LEDGER-102."""
    bank.threshold(1, ledger=HKD)
    assert bank.code(bank.plain(amount=60)) == Code.CREATED


def test_a_threshold_of_0_is_none(bank):
    """LEDGER-102."""
    bank.threshold(THRESHOLD)
    bank.threshold(0)
    assert bank.code(bank.plain(amount=60)) == Code.CREATED


def test_a_hold_needs_a_place(opened):
    """LEDGER-105: like a pending; it burns nothing."""
    bank = opened(pendings_max=1).furnish(0)
    bank.limits(ALICE, credit_limit=1000)
    bank.threshold(THRESHOLD)
    assert bank.code(bank.pending()) == Code.CREATED
    transfer = bank.plain(amount=60)
    assert bank.code(transfer) == Code.PENDINGS_FULL
    assert bank.code(transfer) == Code.PENDINGS_FULL


def test_a_held_id_stays_taken_as_long_as_the_hold(bank):
    """LEDGER-80: the entry of the id is forgotten first."""
    transfer = held(bank, bank.plain(amount=60), hold_s=3600)
    bank.later(1000)
    again = replace(transfer, expires_at=bank.now + SECOND_NS, amount=1)
    assert bank.code(again) == Code.EXISTS_WITH_DIFFERENT_EXPIRES_AT
    assert bank.end_hold(transfer).code == Code.CREATED


def test_an_account_with_a_hold_is_not_closed(bank):
    """LEDGER-105."""
    held(bank, bank.plain(amount=60, credit_account=ALICE_2))
    assert bank.close(ALICE_2).code == Code.ACCOUNT_HAS_PENDINGS


def test_a_frozen_payer_s_hold_can_be_released(bank):
    """LEDGER-106: nothing is asked again."""
    transfer = held(bank, bank.plain(amount=60))
    bank.freeze(ALICE)
    bank.end_hold(transfer)
    assert bank.balance(BOB) == (0, 0, 0, 60)


def test_late_claims_and_refunds_of_a_rejected_lock(bank):
    """LEDGER-12: it was never locked, so nothing was refunded."""
    lock = held(bank, bank.lock(SHA_LOCK, amount=60))
    digest = record_digest(1, sha256(bank.document), lock.pack())
    assert bank.code(derive_refund(1, lock, digest)) == Code.PENDING_NOT_FOUND
    bank.end_hold(lock, releases=False)
    assert bank.code(derive_refund(1, lock, digest)) == Code.PENDING_ALREADY_VOIDED
    assert bank.code(derive_claim(1, lock, digest, SECRET)) == Code.PENDING_ALREADY_VOIDED


def test_several_holds_end_in_one_record(bank):
    """LEDGER-106, ADMIN-3: releases and rejections in order, one log record, one chain of events."""
    bank.threshold(THRESHOLD, 10 * SECOND_NS)
    transfers = [bank.plain(amount=60), bank.pending(amount=61), bank.lock(SHA_LOCK, amount=62), bank.plain(amount=63)]
    assert set(bank.codes(*transfers)) == {Code.HELD}
    requests = [
        bank.request(kind, subject=ALICE, ledger=CNY, limit_b=each.id)
        for kind, each in zip((a.HOLD_RELEASE, a.HOLD_REJECT, a.HOLD_RELEASE, a.HOLD_RELEASE), transfers, strict=True)
    ]
    pair = (KEYS["supervisor"], KEYS["supervisor_2"])
    answers = bank.shards[0].apply_admin(b"".join(q.pack() for q in requests), [pair] * 4, [(1, 1)] * 4, bank.now)
    assert [answer.code for answer in answers] == [Code.CREATED] * 4
    assert bank.balance(ALICE) == (62, 123, 0, 1000)


def test_the_leaves_of_a_hold(bank):
    """LEDGER-60: held, then what became of it, both under the record's digest."""
    transfer = held(bank, bank.plain(amount=60))
    assert int.from_bytes(bank.seal()[72:80], "little") >= 1
    bank.end_hold(transfer)
    # The leaf of the admin request and the transfer's.
    assert int.from_bytes(bank.seal()[72:80], "little") == 2


def test_the_run_prefix_is_untouched(bank):
    """RECORD-2 stands: rules change no byte of what is signed."""
    run = bank.run(bank.plain(), bank.plain())
    deadline = min(member.expires_at for member in run)
    assert len(run_prefix(1, sha256(bank.document), [member.pack() for member in run], deadline)) == 32
