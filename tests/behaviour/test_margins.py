"""Margins are sums of what a corridor states: what is missing is said to the nanosecond (SWAP-20 to SWAP-23)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bridge.leg import ChainClock
from bridge.margins import (
    HOME,
    PART_NS_MAX,
    Margins,
    SideMargins,
    check_time_left,
    check_timelocks,
    reveal_margin_ns,
)
from bridge.ports import Clocks
from bridge.refusals import BridgeCode, BridgeRefused, SwapTooShort
from tests.behaviour.swap_stage import (
    CHAIN,
    FAR_FIRST,
    FAR_LAST,
    HOME_LEGS,
    MARGINS,
    NEEDED,
    REVEAL_MARGIN,
    SECOND,
    START,
    terms,
)


def test_what_is_needed_is_the_sum_of_both_sides_twice_the_skew_the_failover_and_the_stall():
    assert MARGINS.needed(CHAIN, HOME) == MARGINS.needed(HOME, CHAIN) == NEEDED
    one = SideMargins(1, 10, 100)
    far = SideMargins(1_000, 10_000, 100_000)
    margins = Margins(one, {CHAIN: far}, skew_ns=1_000_000, failover_ns=10_000_000, stall_ns=100_000_000)
    assert margins.needed(CHAIN, HOME) == 112_111_111
    assert reveal_margin_ns(margins, CHAIN) == 112_101_000
    assert reveal_margin_ns(MARGINS, HOME) == REVEAL_MARGIN


def test_two_legs_under_one_relay_need_nothing_between_them():
    assert MARGINS.needed(HOME, HOME) == 0
    check_timelocks(terms(*HOME_LEGS)[0], MARGINS)


@pytest.mark.parametrize("value", [-1, PART_NS_MAX + 1, 1.5, True])
def test_a_part_is_a_length_of_time(value):
    with pytest.raises(BridgeRefused) as refused:
        SideMargins(value, 0, 0)
    assert refused.value.code is BridgeCode.CORRIDOR_MALFORMED
    with pytest.raises(BridgeRefused):
        Margins.between_ledgers(SideMargins(0, 0, 0), stall_ns=value)


def test_a_chain_without_stated_margins_is_refused():
    with pytest.raises(BridgeRefused) as refused:
        Margins.between_ledgers(MARGINS.home).needed(CHAIN, HOME)
    assert refused.value.code is BridgeCode.CORRIDOR_UNKNOWN


@pytest.mark.parametrize(("legs", "later"), [(FAR_LAST, 0), (FAR_FIRST, 0)])
def test_the_leg_claimed_first_has_the_earlier_timelock_by_what_is_needed(legs, later):
    """Leg 0 is the one that ends later, whichever chain it stands on."""
    earlier = legs[1].timelock_ns
    for spare in (0, 1, NEEDED):
        both = list(legs)
        both[later] = replace(legs[later], timelock_ns=earlier + NEEDED + spare)
        check_timelocks(terms(*both)[0], MARGINS)
    for missing in (1, NEEDED, NEEDED + 5):
        both[later] = replace(legs[later], timelock_ns=earlier + NEEDED - missing)
        with pytest.raises(SwapTooShort) as refused:
            check_timelocks(terms(*both)[0], MARGINS)
        assert refused.value.code is BridgeCode.MARGIN_TOO_SMALL
        assert refused.value.short_by_ns == missing
        assert f"{-(-missing // 1_000_000):,} ms are missing" in refused.value.text


@pytest.mark.parametrize("missing", [-1, 0, 1, 60 * SECOND])
@pytest.mark.parametrize("ahead", ["own", "heard"])
def test_time_left_is_counted_from_the_clock_that_is_ahead(missing, ahead):
    sealed, _ = terms(*FAR_LAST)
    needed = 34 * SECOND + 43 * SECOND  # a round on each side, and the reveal on the chain
    instant = FAR_LAST[1].timelock_ns - needed + missing
    clocks = Clocks(START, START, 1, {CHAIN: ChainClock(instant, 1, 1)})
    if ahead == "own":
        clocks = Clocks(instant)
    if missing <= 0:
        check_time_left(sealed, MARGINS, 2, clocks)
        return
    with pytest.raises(SwapTooShort) as refused:
        check_time_left(sealed, MARGINS, 2, clocks)
    assert (refused.value.code, refused.value.short_by_ns) == (BridgeCode.SWAP_TOO_SHORT, missing)
