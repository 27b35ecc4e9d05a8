"""Runs: linked records of a batch settle all or none (LEDGER-20)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from native.codes import ResultCode as Code
from tests.model import record as r
from tests.model.fixtures import bank, mode, opened  # noqa: F401
from tests.model.genesis import SECOND_NS
from tests.model.stage import ALICE, ALICE_2, BOB, CAROL, EUR, HKD, KEYS

FAILED = Code.LINKED_EVENT_FAILED


def test_a_run_settles_whole(bank):
    run = bank.run(bank.plain(amount=400), bank.plain(amount=600))
    assert bank.codes(*run) == [Code.CREATED] * 2
    assert bank.balance(BOB)[3] == 1000


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_one_refusal_undoes_all(bank, failing):
    """Rule f: the failing member keeps its code, the others fail with it."""
    members = [bank.plain(amount=1), bank.plain(amount=2), bank.plain(amount=4)]
    members[failing] = replace(members[failing], amount=2000)
    before = bank.shards[0].accounts()
    codes = [FAILED] * 3
    codes[failing] = Code.INSUFFICIENT_FUNDS
    assert bank.codes(*bank.run(*members)) == codes
    assert bank.shards[0].accounts() == before


def test_effects_are_visible_inside_a_run(bank):
    """LEDGER-20 f: money comes in and goes on within one run."""
    there = bank.plain(amount=1000)
    on = bank.plain(debit_account=BOB, credit_account=ALICE_2, amount=1000, key_id=KEYS["other"])
    assert bank.codes(*bank.run(there, on)) == [Code.CREATED] * 2
    assert bank.balance(ALICE_2)[3] == 1000


def test_a_pending_made_and_ended_in_one_run(bank):
    pending = bank.pending(r.PAYER_POSTS, amount=50)
    assert bank.codes(*bank.run(pending, bank.post(pending, amount=30))) == [Code.CREATED] * 2
    assert bank.balance(ALICE) == (0, 30, 0, 1000)


def test_a_failed_run_leaves_pendings_as_they_were(bank):
    """Rule f: one made in the run never was, one ended in it is open again."""
    old = bank.pending(r.PAYER_POSTS, amount=50)
    assert bank.code(old) == Code.CREATED
    fresh = bank.pending(r.PAYER_POSTS, amount=70)
    run = bank.run(bank.post(old), fresh, bank.post(fresh), bank.plain(amount=5000))
    assert bank.codes(*run) == [FAILED, FAILED, FAILED, Code.INSUFFICIENT_FUNDS]
    assert bank.balance(ALICE) == (50, 0, 0, 1000)
    assert bank.code(bank.post(fresh)) == Code.PENDING_NOT_FOUND
    assert bank.code(bank.post(old)) == Code.CREATED


def test_only_the_failing_member_is_burnt(bank):
    """Rule f: the others burn nothing and may be sent again, in a run of their own."""
    good, bad = bank.plain(amount=1), bank.plain(amount=5000)
    assert bank.codes(*bank.run(good, bad)) == [FAILED, Code.INSUFFICIENT_FUNDS]
    assert bank.code(replace(bad, amount=1)) == Code.EXISTS_WITH_DIFFERENT_AMOUNT
    assert bank.code(good) == Code.CREATED


def test_a_failed_run_sent_again_fails_again(bank):
    """Rule d: the first member that burnt answers, whatever became possible since."""
    run = bank.run(bank.plain(amount=1), bank.plain(amount=1500))
    assert bank.codes(*run) == [FAILED, Code.INSUFFICIENT_FUNDS]
    first = bank.now
    bank.fund(ALICE, 5000)
    bank.later(1)
    answers = bank.send(*run)
    assert answers[0] == (FAILED, 0, bank.now)
    assert answers[1] == (Code.ID_ALREADY_FAILED, Code.INSUFFICIENT_FUNDS, first)


def test_a_settled_run_sent_again_has_its_answers(bank):
    """Rule c."""
    run = bank.run(bank.plain(amount=1), bank.plain(amount=2))
    assert bank.codes(*run) == [Code.CREATED] * 2
    first = bank.now
    bank.later(1)
    assert bank.send(*run) == [(Code.EXISTS, Code.CREATED, first)] * 2


def test_a_settled_run_partly_forgotten_is_too_old(bank):
    """Rule c: what left the window answers `too_old`, the rest `exists`."""
    short, long = bank.plain(amount=1, expires_at=bank.now + SECOND_NS), bank.plain(amount=2)
    run = bank.run(short, long)
    assert bank.codes(*run) == [Code.CREATED] * 2
    bank.now = short.expires_at + 61 * SECOND_NS
    assert bank.codes(*run) == [Code.TOO_OLD, Code.EXISTS]


def test_a_run_open_at_the_end_of_the_batch(bank):
    """Rule a, with nothing burnt."""
    alone = bank.plain(amount=4)
    run = [replace(each, flags=r.LINKED) for each in (bank.plain(amount=1), bank.plain(amount=2))]
    assert bank.codes(alone, *run) == [Code.CREATED, *[Code.LINKED_EVENT_CHAIN_OPEN] * 2]
    assert bank.codes(run[0], replace(run[1], flags=0)) == [Code.CREATED] * 2


def test_a_run_that_is_too_long(bank):
    """Rule a: run_members_max is 8."""
    run = bank.run(*[bank.plain(amount=1) for _ in range(9)])
    assert bank.codes(*run) == [Code.LINKED_RUN_TOO_LONG] * 9
    run = bank.run(*[bank.plain(amount=1) for _ in range(8)])
    assert bank.codes(*run) == [Code.CREATED] * 8


def test_an_open_run_is_open_before_it_is_too_long(bank):
    run = [replace(bank.plain(amount=1), flags=r.LINKED) for _ in range(9)]
    assert bank.codes(*run) == [Code.LINKED_EVENT_CHAIN_OPEN] * 9


def test_the_first_malformed_member_keeps_its_code(bank):
    """Rule b."""
    run = bank.run(bank.plain(), bank.plain(ledger=EUR), bank.plain(amount=0))
    assert bank.codes(*run) == [FAILED, Code.LEDGER_NOT_FOUND, FAILED]


def test_a_cancel_claim_or_refund_has_no_place_in_a_run(bank):
    """Rule b, also as the closing member."""
    cancel = bank.cancel(5)
    assert bank.codes(*bank.run(bank.plain(), cancel)) == [FAILED, Code.KIND_FLAG_NOT_ALLOWED]
    for kind in (r.CLAIM, r.REFUND):
        run = bank.run(bank.plain(), replace(bank.plain(), flags=kind))
        assert bank.codes(*run) == [FAILED, Code.KIND_FLAG_NOT_ALLOWED]
    assert bank.code(replace(cancel, flags=cancel.flags | r.LINKED)) == Code.LINKED_EVENT_CHAIN_OPEN


def test_all_accounts_of_a_run_live_here(bank):
    """Rule e, asked after malformed and known."""
    run = bank.run(bank.plain(), bank.plain(credit_account=CAROL))
    assert bank.codes(*run) == [Code.LINKED_RUN_SPANS_SHARDS] * 2
    run = bank.run(bank.plain(), bank.plain(debit_account=CAROL))
    assert bank.codes(*run) == [Code.LINKED_RUN_SPANS_SHARDS] * 2


def test_a_member_outside_its_run_is_another_record(bank):
    """RECORD-1: its prefix differs, so it is known by id and has no field that differs."""
    run = bank.run(bank.plain(amount=1), bank.plain(amount=2))
    assert bank.codes(*run) == [Code.CREATED] * 2
    assert bank.code(run[1]) == Code.EXISTS_WITH_DIFFERENT_RUN
    assert bank.code(run[1], verdict=0) == Code.INVALID_SIGNATURE


def test_a_bad_signature_fails_its_run_and_burns_nothing(bank):
    run = bank.run(bank.plain(amount=1), bank.plain(amount=2))
    assert bank.codes(*run, verdicts=[1, 0]) == [FAILED, Code.INVALID_SIGNATURE]
    assert bank.codes(*run) == [Code.CREATED] * 2


def test_one_id_twice_in_a_run(bank):
    """Step 19 sees what the run did before."""
    first = bank.plain(amount=1)
    assert bank.codes(*bank.run(first, replace(first, amount=2))) == [FAILED, Code.EXISTS_WITH_DIFFERENT_FLAGS]
    twice = bank.run(first, first, bank.plain(amount=2))
    assert bank.codes(*twice) == [FAILED, Code.EXISTS_WITH_DIFFERENT_RUN, FAILED]


def test_the_window_needs_room_for_the_whole_run(opened):
    """Rule f: else the first member says so."""
    stage = opened(ids_max=4).furnish()
    assert stage.code(stage.plain(amount=1)) == Code.CREATED  # with the two of the issue: 3
    run = stage.run(stage.plain(amount=1), stage.plain(amount=1))
    assert stage.codes(*run) == [Code.WINDOW_FULL, FAILED]
    assert stage.code(stage.plain(amount=1)) == Code.CREATED


def test_the_pendings_need_room_for_the_whole_run(opened):
    """Rule f: pendings and locks of the run are counted together."""
    stage = opened(pendings_max=2).furnish()  # the pending is known still
    run = stage.run(stage.plain(amount=1), stage.pending(), stage.lock(b"h" * 32))
    assert stage.codes(*run) == [Code.PENDINGS_FULL, FAILED, FAILED]
    assert stage.codes(*stage.run(stage.plain(amount=1), stage.pending())) == [Code.CREATED] * 2


def test_other_records_of_the_batch_stand_alone(bank):
    """RECORD-4: a run is a maximal sequence with its closing member."""
    before, after = bank.plain(amount=1), bank.plain(amount=2)
    run = bank.run(bank.plain(amount=4), bank.plain(ledger=HKD, amount=8))
    codes = bank.codes(before, *run, after)
    assert codes == [Code.CREATED, FAILED, Code.DEBIT_ACCOUNT_OTHER_LEDGER, Code.CREATED]
    assert bank.balance(BOB)[3] == 3


def test_records_and_bindings_of_a_run_are_its_digest(bank):
    """RECORD-2: the same members in another order are another run."""
    one, two = bank.plain(amount=1), bank.plain(amount=2)
    assert bank.codes(*bank.run(one, two)) == [Code.CREATED] * 2
    assert bank.codes(*bank.run(two, one)) == [Code.EXISTS_WITH_DIFFERENT_FLAGS, FAILED]


def test_only_the_failing_member_of_a_run_has_a_leaf(bank):
    """LEDGER-60: the block's decision count says so."""
    bank.seal()
    run = bank.run(bank.plain(amount=1), bank.plain(amount=5000), bank.plain(amount=2))
    assert bank.codes(*run) == [FAILED, Code.INSUFFICIENT_FUNDS, FAILED]
    assert int.from_bytes(bank.seal()[72:80], "little") == 1
    assert bank.codes(*bank.run(bank.plain(amount=1), bank.plain(amount=2))) == [Code.CREATED] * 2
    assert int.from_bytes(bank.seal()[72:80], "little") == 2
