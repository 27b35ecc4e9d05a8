"""The payer's machine: what it locks, when it asks, when it reveals and when it never does.

SWAP-10, SWAP-13, SWAP-16, SWAP-21 to SWAP-24, SWAP-30 to SWAP-34.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from bridge.leg import HashFunction, LockState
from bridge.ports import (
    HELD,
    AcceptanceRefused,
    Accepted,
    Alarm,
    AlarmKind,
    AskAcceptance,
    ClaimForeign,
    Finished,
    Journal,
    Lock,
    Outcome,
    RefundForeign,
    Reveal,
    WakeAt,
)
from bridge.refusals import BridgeCode, BridgeRefused, SwapTooShort
from bridge.swap import PayerMachine
from tests.behaviour.swap_stage import (
    CHAIN,
    FAR_FIRST,
    FAR_LAST,
    HOME_LEGS,
    REVEAL_MARGIN,
    RULES,
    SECOND,
    START,
    Stage,
    leg,
    terms,
)

FINAL = LockState.FINAL
T = START + 300 * SECOND


def all_stand(stage):
    for index in range(len(stage.terms.legs)):
        stage.see(index, FINAL)
        stage.on(Accepted(index + 1, b""))
    return stage


def test_a_swap_goes_its_way_leg_by_leg():
    """Lock leg 0, ask for each next one when the one before is final, reveal when all are; written before each."""
    stage = Stage.payer(*HOME_LEGS)
    assert [type(action) for action in stage.last] == [Journal, Journal, Lock, WakeAt]
    assert stage.kinds(Lock)[0].order == stage.machine.orders[0]
    assert not stage.see(0, LockState.SEEN)[:-1]
    stage.see(0, FINAL)
    assert stage.kinds(AskAcceptance) == [AskAcceptance(1)]
    stage.on(Accepted(1, b""))
    assert not stage.kinds(AskAcceptance)
    stage.see(1, FINAL)
    assert stage.kinds(AskAcceptance) == [AskAcceptance(2)]
    stage.see(2, FINAL)
    assert stage.kinds(Reveal) == [Reveal(stage.secret)]
    assert stage.written() == ["BEGUN", "LOCKING", "ASKING", "ASKING", "REVEALING"]
    for index in range(3):
        stage.see(index, LockState.CLAIMED_FINAL)
    assert stage.kinds(Finished) == [Finished(Outcome.SETTLED, 0)]
    assert stage.written()[-1] == "FINISHED"


@pytest.mark.parametrize("function", HashFunction)
def test_both_hash_functions_serve(function):
    stage = all_stand(Stage.payer(*HOME_LEGS, function=function))
    assert stage.machine.preimage == stage.secret


@pytest.mark.parametrize("missing", [0, 1, 2])
@pytest.mark.parametrize(
    ("state", "reason"), [(LockState.ABSENT, ""), (LockState.SEEN, ""), (LockState.SEEN, HELD), (FINAL, HELD)]
)
def test_nothing_is_revealed_while_one_leg_does_not_stand(missing, state, reason):
    """A held lock is not locked yet, whatever state it is shown in."""
    stage = Stage.payer(*HOME_LEGS)
    for index in range(3):
        stage.see(index, *((state,) if index == missing else (FINAL,)), reason=reason if index == missing else "")
    assert stage.machine.preimage is None
    assert "REVEALING" not in stage.written()


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 99},
        {"payer": "0" * 31 + "9"},
        {"payee": "0" * 31 + "9"},
        {"hashlock": b"h" * 32},
        {"hash_function": HashFunction.SM3},
        {"timelock_ns": T - 1},
        {"asset": "999"},
    ],
)
def test_a_leg_with_other_terms_is_no_leg(change):
    """Every field of a lock is compared; one that differs for good ends the hope for this leg, and tells a person."""
    stage = Stage.payer(*HOME_LEGS)
    stage.see(0, FINAL)
    stage.see(1, FINAL)
    stage.see(2, FINAL, order=structs.replace(stage.machine.orders[2], **change))
    assert stage.kinds(Alarm)[0].kind is AlarmKind.LEG_DIFFERS
    assert stage.machine.preimage is None


@pytest.mark.parametrize("ticks", range(-3, 4))
def test_the_secret_is_shown_only_with_the_margin_left(ticks):
    """At T less the margin it is too late by our clock or by the relay's, one tick before it is not."""
    for relay, own in ((True, False), (False, True)):
        stage = Stage.payer(*HOME_LEGS)
        stage.see(0, FINAL)
        stage.see(1, FINAL)
        instant = T - REVEAL_MARGIN + ticks
        stage.now = instant if own else START
        stage.relay_ns = instant if relay else START
        stage.see(2, FINAL)
        assert bool(stage.kinds(Reveal)) == (ticks < 0)
        assert (AlarmKind.TOO_LATE_TO_REVEAL in [alarm.kind for alarm in stage.kinds(Alarm)]) == (ticks >= 0)


def test_too_late_the_secret_stays_secret_for_ever_and_everything_is_refunded():
    stage = Stage.payer(*HOME_LEGS)
    stage.see(0, FINAL)
    stage.see(1, FINAL)
    stage.at(T - REVEAL_MARGIN)
    stage.see(2, FINAL)
    stage.at(T)
    stage.see(0, LockState.REFUNDED)
    stage.see(0, LockState.REFUNDED_FINAL)
    assert stage.kinds(Finished) == [Finished(Outcome.REFUNDED, BridgeCode.PROVIDER_REFUSED)]
    assert "REVEALING" not in stage.written()


def test_an_attempt_is_repeated_until_it_is_heard_of():
    stage = Stage.payer(*HOME_LEGS)
    first = stage.kinds(Lock)[0]
    stage.at(START + 4 * SECOND)
    assert not stage.kinds(Lock)
    stage.at(START + 5 * SECOND)
    assert stage.kinds(Lock) == [first]  # the same instant, so the same bytes
    stage.see(0, FINAL)
    stage.at(START + 11 * SECOND)
    assert stage.kinds(AskAcceptance) == [AskAcceptance(1)]
    assert stage.written().count("ASKING") == 1


def test_a_reveal_that_the_relay_holds_is_not_sent_again():
    stage = all_stand(Stage.payer(*HOME_LEGS))
    stage.at(START + 20 * SECOND)
    assert stage.kinds(Reveal)
    stage.revealed()
    stage.at(START + 40 * SECOND)
    assert not stage.kinds(Reveal)


def test_a_provider_that_refuses_is_not_asked_again_and_one_that_is_busy_is():
    stage = Stage.payer(*HOME_LEGS)
    stage.see(0, FINAL)
    stage.on(AcceptanceRefused(1, BridgeCode.BRIDGE_OVERLOADED))
    stage.at(START + 6 * SECOND)
    assert stage.kinds(AskAcceptance)
    stage.on(AcceptanceRefused(1, BridgeCode.QUOTE_EXPIRED))
    stage.at(START + 12 * SECOND)
    assert not stage.kinds(AskAcceptance)
    stage.at(T)
    stage.see(0, LockState.REFUNDED_FINAL)
    assert stage.kinds(Finished) == [Finished(Outcome.REFUNDED, BridgeCode.QUOTE_EXPIRED)]


def test_a_refusal_whose_number_nobody_knows_is_one_all_the_same():
    stage = Stage.payer(*HOME_LEGS)
    stage.see(0, FINAL)
    stage.on(AcceptanceRefused(1, 65_000))
    stage.at(START + 6 * SECOND)
    assert not stage.kinds(AskAcceptance)


def test_a_ledger_that_refuses_the_lock_ends_the_swap():
    stage = Stage.payer(*HOME_LEGS)
    stage.see(0, LockState.REFUSED, reason="insufficient_funds")
    assert stage.kinds(Finished) == [Finished(Outcome.ABANDONED, BridgeCode.LOCK_REFUSED)]
    assert stage.on(Accepted(1, b"")) == []


def test_an_old_answer_takes_nothing_back_from_a_leg_of_ours():
    stage = Stage.payer(*HOME_LEGS)
    stage.see(0, FINAL)
    stage.see(0, LockState.ABSENT)
    stage.see(0, LockState.SEEN)
    assert stage.machine.views[0].state is FINAL


def test_a_swap_that_is_too_short_is_refused_before_anything_is_locked_saying_by_how_much():
    """Three rounds of locking and the margin of the reveal; one tick less is too short by one tick."""
    needed = 3 * 4 * SECOND + REVEAL_MARGIN
    for missing in (0, 1, 7 * SECOND):
        legs = [structs.replace(each, timelock_ns=START + needed - missing) for each in HOME_LEGS]
        if not missing:
            Stage.payer(*legs)
            continue
        with pytest.raises(SwapTooShort) as refused:
            Stage.payer(*legs)
        assert refused.value.code is BridgeCode.SWAP_TOO_SHORT
        assert refused.value.short_by_ns == missing


def test_a_salt_that_is_not_behind_the_hashlock_begins_nothing():
    sealed, _ = terms(*HOME_LEGS)
    with pytest.raises(BridgeRefused) as refused:
        PayerMachine.begin(sealed, b"t" * 32, RULES, Stage(terms()).clocks)
    assert refused.value.code is BridgeCode.PREIMAGE_MISMATCH


# With a foreign chain.


def test_a_foreign_last_leg_is_claimed_and_claimed_again_until_that_is_final():
    """A claim that a reorganisation takes back is sent again; the home leg is the provider's to reveal."""
    stage = Stage.payer(*FAR_LAST)
    stage.see(0, FINAL)
    stage.see(1, FINAL)
    assert stage.kinds(ClaimForeign) == [ClaimForeign(1, stage.secret)]
    assert not stage.kinds(Reveal)
    stage.see(1, LockState.CLAIMED)
    stage.see(1, FINAL)  # undone
    stage.at(START + 6 * SECOND)
    assert stage.kinds(ClaimForeign)
    stage.see(1, LockState.CLAIMED_FINAL)
    stage.at(START + 12 * SECOND)
    assert not stage.kinds(ClaimForeign)
    stage.see(0, LockState.CLAIMED_FINAL)
    assert stage.kinds(Finished) == [Finished(Outcome.SETTLED, 0)]


def test_a_claim_that_is_not_final_at_half_the_margin_raises_the_alarm():
    stage = Stage.payer(*FAR_LAST)
    stage.see(0, FINAL)
    stage.see(1, FINAL)
    margin = 26 * SECOND + 17 * SECOND
    stage.at(T - margin // 2 - 1)
    assert not stage.kinds(Alarm)
    stage.at(T - margin // 2)
    assert [alarm.kind for alarm in stage.kinds(Alarm)] == [AlarmKind.HALF_MARGIN]
    stage.at(T - 1)
    assert not stage.kinds(Alarm)  # once


def test_a_foreign_leg_of_ours_is_refunded_from_its_timelock_on_and_until_that_is_final():
    stage = Stage.payer(*FAR_FIRST)
    late = START + 400 * SECOND
    stage.see(0, FINAL)
    stage.at(late - 1)
    assert not stage.kinds(RefundForeign)
    stage.at(late + SECOND, chain=False)
    assert not stage.kinds(RefundForeign)  # our own clock refunds nothing
    stage.at(late + 2 * SECOND)
    assert stage.kinds(RefundForeign) == [RefundForeign(0)]
    assert stage.written()[-1] == "REFUNDING"
    stage.see(0, LockState.REFUNDED)
    stage.see(0, FINAL)  # undone
    stage.at(late + 9 * SECOND)
    assert stage.kinds(RefundForeign)
    stage.see(0, LockState.REFUNDED_FINAL)
    assert stage.kinds(Finished)[0].outcome is Outcome.REFUNDED


def test_a_final_lock_that_a_chain_takes_back_is_an_alarm_and_stops_the_reveal():
    stage = Stage.payer(*FAR_LAST)
    stage.see(1, FINAL)
    stage.see(1, LockState.ABSENT)
    assert [alarm.kind for alarm in stage.kinds(Alarm)] == [AlarmKind.LEG_UNDONE]
    stage.see(0, FINAL)
    assert stage.machine.preimage is None


def test_a_refused_foreign_lock_may_still_come_so_its_time_is_waited_for():
    stage = Stage.payer(*FAR_FIRST)
    stage.see(0, LockState.REFUSED, reason="fee_cap")
    assert not stage.kinds(Finished)
    stage.at(START + 400 * SECOND)
    assert not stage.kinds(Finished)  # a block before it may still come back with the lock in it
    stage.at(START + 420 * SECOND)
    assert stage.kinds(Finished)[0].outcome is Outcome.ABANDONED


def test_timelocks_that_leave_the_needed_margin_pass_and_one_tick_less_does_not():
    needed = 4 * SECOND + 30 * SECOND + 17 * SECOND
    for missing in (0, 1):
        legs = (leg(156, timelock=T + needed - missing), leg(payer=6, payee=7, chain=CHAIN))
        if not missing:
            Stage.payer(*legs)
            continue
        with pytest.raises(SwapTooShort) as refused:
            Stage.payer(*legs)
        assert (refused.value.code, refused.value.short_by_ns) == (BridgeCode.MARGIN_TOO_SMALL, missing)


# After a restart.


def test_a_restart_at_any_entry_goes_on_to_the_same_end():
    """Kill after each entry of the journal; what is done again is done with the same bytes."""
    whole = all_stand(Stage.payer(*HOME_LEGS))
    first_lock = whole.machine.locking_at_ns
    for length in range(1, len(whole.journal) + 1):
        stage = Stage(terms(*HOME_LEGS))
        stage.machine, stage.journal = whole.machine, whole.journal[:length]
        stage.now = START + 3 * SECOND
        stage.restart()
        locks = stage.kinds(Lock)
        all_stand(stage)
        assert stage.machine.preimage == stage.secret
        assert len({entry.number for entry in stage.journal}) == len(stage.journal)
        if length > 1:
            assert all(lock.signed_at_ns == first_lock for lock in locks)
        for index in range(3):
            stage.see(index, LockState.CLAIMED_FINAL)
        assert stage.kinds(Finished)[0].outcome is Outcome.SETTLED


def test_what_was_not_looked_at_after_a_restart_is_not_taken_for_absent():
    stage = Stage.payer(*FAR_FIRST)
    stage.now = START + 500 * SECOND
    stage.foreign = {CHAIN: replace(stage.foreign[CHAIN], time_ns=stage.now)}
    stage.restart()
    assert not stage.kinds(Finished)
    assert stage.kinds(RefundForeign) == [RefundForeign(0)]  # it may stand, so it is asked back
    stage.see(0, LockState.ABSENT)
    assert stage.kinds(Finished)[0].outcome is Outcome.ABANDONED
