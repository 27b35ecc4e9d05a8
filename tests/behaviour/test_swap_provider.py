"""The provider's machine: it locks behind what pays it, writes the secret down, claims, and takes its own back.

SWAP-10 to SWAP-12, SWAP-15, SWAP-16, SWAP-23, SWAP-24, SWAP-31 to SWAP-34.
"""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bridge.acceptance import ProviderMachine
from bridge.leg import LockState
from bridge.ports import (
    HELD,
    Alarm,
    AlarmKind,
    ClaimForeign,
    Finished,
    Journal,
    Lock,
    Look,
    Outcome,
    RefundForeign,
    Reveal,
)
from bridge.refusals import BridgeCode, BridgeRefused, SwapTooShort
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


def locked(*legs, own_leg=1):
    stage = Stage.provider(*legs, own_leg=own_leg)
    stage.see(own_leg - 1, FINAL)
    stage.see(own_leg, FINAL)
    return stage


def test_it_locks_when_what_pays_it_is_final():
    stage = Stage.provider(*HOME_LEGS, own_leg=2)
    assert [type(action) for action in stage.last[:2]] == [Journal, Look]
    assert stage.kinds(Look)[0].leg == 1
    stage.see(1, LockState.SEEN)
    assert not stage.kinds(Lock)
    stage.see(1, FINAL)
    assert [(lock.leg, lock.order) for lock in stage.kinds(Lock)] == [(2, stage.machine.orders[2])]
    assert stage.written() == ["ACCEPTED", "LOCKING"]


@pytest.mark.parametrize("reason", [HELD])
def test_a_held_lock_pays_nobody(reason):
    stage = Stage.provider(*HOME_LEGS)
    stage.see(0, FINAL, reason=reason)
    stage.see(0, LockState.SEEN, reason=reason)
    assert not stage.kinds(Lock)


@pytest.mark.parametrize("state", [LockState.SEEN, FINAL])
def test_an_own_lock_that_is_held_has_not_stood_when_its_time_is_over(state):
    """A held lock is not locked yet: past its timelock it never will be, and the swap ends without it."""
    stage = Stage.provider(*HOME_LEGS, own_leg=2)
    stage.see(1, FINAL)
    stage.see(2, state, reason=HELD)
    stage.at(T - SECOND)
    assert not stage.kinds(Finished)
    stage.at(T + SECOND)
    assert stage.kinds(Finished)[0].outcome is Outcome.ABANDONED


def test_it_locks_nothing_before_the_relay_was_read_up_to_where_the_paying_leg_is_final():
    """A secret that the relay has revealed before claims that leg never again."""
    stage = Stage.provider(*HOME_LEGS)
    stage.see(0, FINAL, height=5)
    assert not stage.kinds(Lock)
    stage.relay_height = 4
    stage.at(START + SECOND)
    assert stage.kinds(Lock)


def test_it_locks_nothing_once_the_secret_is_out():
    stage = Stage.provider(*HOME_LEGS)
    stage.revealed()
    assert stage.kinds(Finished) == [Finished(Outcome.ABANDONED, BridgeCode.ALREADY_REVEALED)]
    stage = Stage.provider(*HOME_LEGS)
    stage.see(0, LockState.CLAIMED_FINAL)
    assert stage.kinds(Finished)[0].outcome is Outcome.ABANDONED


def test_a_paying_leg_with_other_terms_ends_it():
    stage = Stage.provider(*HOME_LEGS)
    stage.see(0, FINAL, order=replace(stage.machine.orders[0], amount=99))
    assert stage.kinds(Alarm)[0].kind is AlarmKind.LEG_DIFFERS
    assert stage.kinds(Finished) == [Finished(Outcome.ABANDONED, BridgeCode.LEGS_DO_NOT_MATCH)]


@pytest.mark.parametrize("ticks", range(-3, 4))
def test_it_locks_nothing_without_time_left_for_the_legs_that_are_missing(ticks):
    """Two legs to lock and the margin of the reveal: one tick too late it leaves."""
    stage = Stage.provider(*HOME_LEGS)
    stage.now = T - REVEAL_MARGIN - 2 * 4 * SECOND + ticks
    stage.see(0, FINAL)
    assert bool(stage.kinds(Lock)) == (ticks <= 0)
    assert bool(stage.kinds(Finished)) == (ticks > 0)


def test_a_swap_that_is_too_short_is_refused_saying_by_how_much():
    legs = [replace(each, timelock_ns=START + REVEAL_MARGIN + 8 * SECOND - 5) for each in HOME_LEGS]
    with pytest.raises(SwapTooShort) as refused:
        Stage.provider(*legs)
    assert refused.value.short_by_ns == 5


@pytest.mark.parametrize("own_leg", [0, 3, 255])
def test_only_a_provider_accepts(own_leg):
    with pytest.raises(BridgeRefused) as refused:
        Stage.provider(*HOME_LEGS, own_leg=own_leg)
    assert refused.value.code is BridgeCode.NOT_YOUR_SWAP


@pytest.mark.parametrize(
    "legs",
    [
        (leg(156, timelock=T + 99 * SECOND), leg(payer=6, payee=7, chain=CHAIN), leg(764, payer=7, payee=8)),
        (leg(156), leg(344, payer=6, payee=7, timelock=T + 1)),
        (leg(chain=CHAIN), leg(payer=6, payee=7, chain="other")),
    ],
)
def test_legs_in_an_order_that_nobody_is_safe_in_are_refused(legs):
    """A foreign leg in the middle; two timelocks under one relay; two foreign legs."""
    with pytest.raises(BridgeRefused) as refused:
        Stage.provider(*legs)
    assert refused.value.code is BridgeCode.LEG_ORDER_UNSAFE


@pytest.mark.parametrize("length", [0, 31, 33, 1 << 20])
def test_a_preimage_of_another_length_is_none(length):
    stage = locked(*FAR_LAST)
    stage.see(1, FINAL, preimage=b"x" * length)
    stage.revealed(b"x" * length)
    assert stage.machine.preimage is None


def test_between_our_ledgers_the_relay_does_the_rest():
    """A reveal on the relay claims both of its legs: nothing is written and nothing is sent."""
    stage = locked(*HOME_LEGS)
    before = list(stage.journal)
    stage.revealed()
    assert not stage.kinds(Reveal)
    assert stage.journal == before
    stage.see(0, LockState.CLAIMED_FINAL)
    stage.see(1, LockState.CLAIMED_FINAL)
    assert stage.kinds(Finished) == [Finished(Outcome.SETTLED, 0)]


def test_a_secret_seen_on_the_foreign_chain_is_written_down_and_revealed():
    """Even while that claim is not final: the secret is out."""
    stage = locked(*FAR_LAST)
    stage.see(1, LockState.CLAIMED)
    kinds = [action.entry.kind.name if isinstance(action, Journal) else type(action).__name__ for action in stage.last]
    assert kinds[:3] == ["LEARNED", "CLAIMING", "Reveal"]
    stage.at(START + 6 * SECOND)
    assert stage.kinds(Reveal)
    stage.revealed()
    stage.at(START + 12 * SECOND)
    assert not stage.kinds(Reveal)
    stage.see(1, LockState.CLAIMED_FINAL)
    stage.see(0, LockState.CLAIMED_FINAL)
    assert stage.kinds(Finished)[0].outcome is Outcome.SETTLED


def test_a_secret_revealed_on_the_relay_claims_the_foreign_leg_that_pays_until_that_is_final():
    stage = locked(*FAR_FIRST)
    stage.revealed()
    assert stage.kinds(ClaimForeign) == [ClaimForeign(0, stage.secret)]
    stage.see(0, LockState.CLAIMED)
    stage.see(0, FINAL)  # undone
    stage.at(START + 6 * SECOND)
    assert stage.kinds(ClaimForeign)
    stage.see(1, LockState.CLAIMED_FINAL)
    assert not stage.kinds(Finished)
    stage.see(0, LockState.CLAIMED_FINAL)
    assert stage.kinds(Finished)[0].outcome is Outcome.SETTLED


def test_it_claims_what_pays_it_though_its_own_lock_never_stood():
    """Its ledger lags, so its lock is not seen; the secret is out all the same."""
    stage = Stage.provider(*FAR_FIRST)
    stage.see(0, FINAL)
    assert stage.kinds(Lock)
    stage.revealed()
    stage.see(1, LockState.ABSENT)
    stage.at(T + SECOND)
    assert not stage.kinds(Finished)
    assert stage.kinds(ClaimForeign)


def test_half_of_the_margin_gone_is_an_alarm():
    stage = locked(*FAR_LAST)
    stage.see(1, LockState.CLAIMED)
    late = START + 400 * SECOND
    stage.at(late - REVEAL_MARGIN // 2)
    assert AlarmKind.HALF_MARGIN in [alarm.kind for alarm in stage.kinds(Alarm)]


def test_its_own_foreign_lock_comes_back_when_nobody_reveals():
    stage = locked(*FAR_LAST)
    stage.at(T)
    assert stage.kinds(RefundForeign) == [RefundForeign(1)]
    stage.see(1, LockState.REFUNDED_FINAL)
    assert stage.kinds(Finished)[0].outcome is Outcome.REFUNDED


@pytest.mark.parametrize(
    ("own", "incoming", "outcome"),
    [
        (LockState.CLAIMED_FINAL, LockState.CLAIMED_FINAL, Outcome.SETTLED),
        (LockState.CLAIMED_FINAL, LockState.REFUNDED_FINAL, Outcome.LOST),
        (LockState.REFUNDED_FINAL, LockState.REFUNDED_FINAL, Outcome.REFUNDED),
        (LockState.REFUNDED_FINAL, LockState.CLAIMED_FINAL, Outcome.KEPT),
    ],
)
def test_every_pair_of_ends_has_its_name(own, incoming, outcome):
    stage = locked(*FAR_LAST)
    stage.see(0, incoming)
    stage.see(1, own)
    assert stage.kinds(Finished) == [Finished(outcome, 0)]
    assert bool(stage.kinds(Alarm)) == (outcome is Outcome.LOST)


def test_a_restart_at_any_entry_still_claims():
    """Kill after each entry: the preimage was written before it was used, and the lock is sent as it was."""
    whole = locked(*FAR_LAST)
    whole.see(1, LockState.CLAIMED)
    for length in range(1, len(whole.journal) + 1):
        stage = Stage(terms(*FAR_LAST))
        stage.machine, stage.journal = whole.machine, whole.journal[:length]
        stage.restart()
        assert {look.leg for look in stage.kinds(Look)} >= {0, 1}
        if length >= 3:
            assert stage.kinds(Reveal) == [Reveal(stage.secret)]
        stage.see(0, FINAL)
        stage.see(1, LockState.CLAIMED_FINAL)
        stage.at(START + 6 * SECOND)
        assert stage.kinds(Reveal) == [Reveal(stage.secret)]
        stage.see(0, LockState.CLAIMED_FINAL)
        assert stage.machine.outcome is Outcome.SETTLED


def test_a_machine_is_made_again_only_from_what_it_wrote():
    stage = locked(*FAR_LAST)
    again = ProviderMachine.restore(stage.journal[0], stage.terms, RULES)
    assert (again.party, again.own_leg) == (stage.machine.party, 1)
