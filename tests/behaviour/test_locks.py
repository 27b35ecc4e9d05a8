"""Locks: they end only by a reveal before their timelock or by the timelock, as the relay decides."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from native.codes import ResultCode as Code
from tests.model import record as r
from tests.model.fixtures import bank, mode, opened  # noqa: F401
from tests.model.genesis import SECOND_NS
from tests.model.hashes import hasher, sha256, sm3
from tests.model.record import derive_claim, derive_refund
from tests.model.runs import split_runs
from tests.model.stage import ALICE, BOB, CAROL, genesis_document

SECRET = b"s" * 32
SHA_LOCK, SM3_LOCK = sha256(SECRET), sm3(SECRET)


def held(stage, hashlock=SHA_LOCK, flags=0, **fields):
    lock = stage.lock(hashlock, flags, **fields)
    assert stage.code(lock) == Code.CREATED
    return lock


def digest_of(lock):
    genesis = hashlib.sha256(genesis_document()).digest()
    return sha256(sha256(b"clearspan/transfer/1" + genesis) + lock.pack())


def claim_of(lock, preimage=SECRET):
    return derive_claim(1, lock, digest_of(lock), preimage)


def refund_of(lock):
    return derive_refund(1, lock, digest_of(lock))


def test_a_reveal_before_the_timelock_claims_the_whole(bank):
    """LEDGER-40."""
    held(bank, amount=400)
    assert bank.balance(ALICE) == (400, 0, 0, 1000)
    bank.relay(SECRET)
    assert bank.balance(ALICE) == (0, 400, 0, 1000)
    assert bank.balance(BOB) == (0, 0, 0, 400)


def test_the_timelock_refunds_the_whole(bank):
    """LEDGER-40."""
    lock = held(bank, amount=400)
    bank.relay(time=lock.until)
    assert bank.balance(ALICE) == (0, 0, 0, 1000)
    assert bank.balance(BOB) == (0, 0, 0, 0)


@pytest.mark.parametrize(("after", "claimed"), [(-1, True), (0, False), (1, False)])
def test_no_instant_belongs_to_both_or_neither(bank, after, claimed):
    """LEDGER-40: a reveal in a block with time < T claims; the block with time >= T refunds."""
    lock = held(bank, amount=400)
    bank.relay(SECRET, time=lock.until + after)
    assert bank.balance(BOB)[3] == (400 if claimed else 0)
    assert bank.balance(ALICE)[0] == 0


def test_a_reveal_that_came_first_beats_the_timelock_of_a_later_block(bank):
    lock = held(bank, amount=400)
    bank.relay(SECRET, time=lock.until - 1)
    bank.relay(time=lock.until)
    assert bank.balance(BOB)[3] == 400


def test_one_reveal_claims_all_open_locks_of_both_functions(bank):
    """LEDGER-40: for both hash functions, in order of creation; two legs are claimed or neither is."""
    held(bank, SM3_LOCK, r.SM3_HASHLOCK, amount=1)
    held(bank, SHA_LOCK, amount=2)
    held(bank, SM3_LOCK, r.SM3_HASHLOCK, amount=4)
    held(bank, SM3_LOCK, 0, amount=8)  # an SM3 digest under the other function: not this secret's
    bank.relay(SECRET, SECRET)
    assert bank.balance(BOB)[3] == 7
    assert bank.balance(ALICE)[0] == 8


def test_a_wrong_secret_claims_nothing(bank):
    held(bank, amount=400)
    bank.relay(b"t" * 32)
    assert bank.balance(ALICE)[0] == 400


def test_a_timelock_must_leave_time(bank):
    """State rule d: lock_min_s is 20."""
    assert bank.code(bank.lock(SHA_LOCK, until=bank.now + 20 * SECOND_NS - 1)) == Code.TIMELOCK_TOO_SOON
    assert bank.code(bank.lock(SHA_LOCK, until=bank.now + 20 * SECOND_NS)) == Code.CREATED


def test_a_timelock_lies_after_the_consumed_relay_time(bank):
    """State rule d: relay time may run ahead of the shard's."""
    bank.relay(time=bank.now + 40 * SECOND_NS)
    assert bank.code(bank.lock(SHA_LOCK, until=bank.now + 40 * SECOND_NS)) == Code.TIMELOCK_TOO_SOON
    assert bank.code(bank.lock(SHA_LOCK, until=bank.now + 40 * SECOND_NS + 1)) == Code.CREATED


def test_neither_post_nor_void_ends_a_lock(bank):
    lock = held(bank)
    assert bank.codes(bank.post(lock), bank.void(lock)) == [Code.PENDING_IS_LOCK] * 2


def test_no_timeout_ends_a_lock(bank):
    lock = held(bank)
    bank.now = lock.until + SECOND_NS
    bank.seal()
    assert bank.balance(ALICE)[0] == lock.amount


def test_a_submitted_claim_or_refund_waits_for_the_relay(bank):
    """LEDGER-12."""
    lock = held(bank)
    assert bank.code(claim_of(lock)) == Code.PREIMAGE_NOT_FINAL
    assert bank.code(refund_of(lock)) == Code.TOO_EARLY


def test_a_submitted_claim_of_a_claimed_lock_has_its_answer(bank):
    """LEDGER-12: `exists`, first code `claimed`, and the time at which it ended; nobody signs it."""
    lock = held(bank)
    bank.later(1)
    bank.relay(SECRET)
    ended = bank.now
    bank.later(1)
    answer = bank.send(claim_of(lock), verdicts=[0])[0]
    assert answer == (Code.EXISTS, Code.CLAIMED, ended)
    assert bank.code(claim_of(lock, b"t" * 32)) == Code.PENDING_ALREADY_POSTED
    assert bank.code(replace(claim_of(lock), amount=lock.amount + 1)) == Code.PENDING_ALREADY_POSTED
    assert bank.code(refund_of(lock)) == Code.PENDING_ALREADY_POSTED


def test_a_submitted_refund_of_a_refunded_lock_has_its_answer(bank):
    """LEDGER-12."""
    lock = held(bank)
    bank.relay(time=lock.until)
    answer = bank.send(refund_of(lock), verdicts=[0])[0]
    assert answer == (Code.EXISTS, Code.REFUNDED, bank.now)
    assert bank.code(claim_of(lock)) == Code.PENDING_ALREADY_VOIDED


def test_a_claim_of_no_lock_finds_none(bank):
    lock, pending = bank.lock(SHA_LOCK), bank.pending()
    assert bank.code(pending) == Code.CREATED
    assert bank.code(claim_of(lock)) == Code.PENDING_NOT_FOUND
    assert bank.code(replace(claim_of(lock), reference=pending.id)) == Code.PENDING_NOT_FOUND


def test_a_claim_for_another_shard_is_sent_there(bank):
    lock = bank.lock(SHA_LOCK, debit_account=CAROL)
    assert bank.code(claim_of(lock)) == Code.WRONG_SHARD


def test_a_claim_pays_a_payee_on_another_shard(bank):
    """LEDGER-40, LEDGER-50: a credit message of kind claim, which never returns."""
    held(bank, credit_account=CAROL, amount=60)
    bank.relay(SECRET)
    assert bank.deliver() == [Code.CREDITED]
    assert bank.balance(CAROL) == (0, 0, 0, 60)


def test_a_freeze_stops_no_claim_and_no_refund(bank):
    """LEDGER-40: no flag of an account is looked at."""
    first = held(bank, amount=1)
    held(bank, sha256(b"u" * 32), amount=2)
    assert bank.freeze(ALICE).code == bank.freeze(BOB).code == Code.CREATED
    bank.relay(SECRET)
    bank.relay(time=first.until)
    assert bank.balance(BOB)[3] == 1
    assert bank.balance(ALICE) == (0, 1, 0, 1000)


def test_refunds_come_in_order_of_timelock_then_id(bank):
    """LEDGER-40: seen in the leaves, so in the header's decisions root."""
    later, sooner = held(bank, until=bank.now + 26 * SECOND_NS), held(bank, until=bank.now + 25 * SECOND_NS)
    bank.seal()
    bank.relay(time=bank.now + 26 * SECOND_NS)
    header = bank.seal()
    leaves = [
        sha256(sha256(b"clearspan/transfer/1" + sha256(genesis_document())) + refund_of(lock).pack())
        for lock in (sooner, later)
    ]
    data = [leaf + bank.now.to_bytes(8, "little") + Code.REFUNDED.to_bytes(2, "little") + bytes(6) for leaf in leaves]
    hashes = [hasher(1)(b"\x00" + leaf) for leaf in data]
    assert header[224:256] == hasher(1)(b"\x01" + hashes[0] + hashes[1])


def test_a_lock_may_stand_in_a_run(bank):
    lock, plain = bank.run(bank.lock(SHA_LOCK, amount=5), bank.plain(amount=6))
    assert split_runs([lock.flags, plain.flags]) == [(0, 2, True)]
    assert bank.codes(lock, plain) == [Code.CREATED] * 2
    bank.relay(SECRET)
    assert bank.balance(BOB)[3] == 11


def test_the_payee_of_a_lock_cannot_be_closed_under_it(bank):
    held(bank)
    assert bank.close(BOB).code == Code.ACCOUNT_HAS_PENDINGS
