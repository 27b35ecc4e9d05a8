"""How much time a swap needs, computed from stated parts and never guessed (SEMANTICS of margins: docs/spec/11).

It promises that a swap that is too short is refused before anything is locked, saying by how much. Every part is a
count of nanoseconds that a corridor states and signs, with the text that says how it was measured; here they are
only added up. No clock is read: instants are handed in.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, Protocol, Self

from bridge.refusals import BridgeCode, BridgeRefused, SwapTooShort

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.terms import SwapTerms

__all__ = [
    "HOME",
    "ChainTimes",
    "Margins",
    "SideMargins",
    "cautious_margins",
    "check_time_left",
    "check_timelocks",
    "demand_time",
    "reveal_margin_ns",
    "time_needed_ns",
]

HOME: Final = ""
"""The name of our own side among the sides of a swap: all of our ledgers share one relay and so one clock."""

PART_NS_MAX: Final = 10**9 * 60 * 60 * 24 * 30  # a month: a longer part is a mistake and would hide others


class ChainTimes(Protocol):
    """What is asked of the clocks of a swap."""

    def latest_ns(self, chain: str) -> int:
        """Return the latest instant that a chain may have reached by now, but for skew; ours by the name ``HOME``."""


def _checked(value: int, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= PART_NS_MAX:
        raise BridgeRefused(BridgeCode.CORRIDOR_MALFORMED, f"margin {name} is {value!r}, not 0 to {PART_NS_MAX} ns")


@dataclass(frozen=True, slots=True)
class SideMargins:
    """What one chain takes: until a lock or claim is final, until our watcher sees it, until ours is in a block."""

    finality_ns: int
    watching_ns: int
    submission_ns: int

    def __post_init__(self) -> None:
        """Check that each part is a length of time; raises BridgeRefused (corridor_malformed)."""
        for field in fields(self):
            _checked(getattr(self, field.name), field.name)

    @property
    def round_ns(self) -> int:
        """From deciding to act on this chain until the act is seen to be final."""
        return self.finality_ns + self.watching_ns + self.submission_ns


@dataclass(frozen=True, slots=True)
class Margins:
    """The parts of one corridor: each side's, and what no side owns.

    ``skew_ns`` bounds how far two clocks stand apart, ``failover_ns`` how long a watcher may be dead before another
    has taken over, ``stall_ns`` the longest time without a finalized relay block that the operator states.
    """

    home: SideMargins
    foreign: Mapping[str, SideMargins]
    skew_ns: int
    failover_ns: int
    stall_ns: int

    def __post_init__(self) -> None:
        """Check that each part is a length of time; raises BridgeRefused (corridor_malformed)."""
        for name in ("skew_ns", "failover_ns", "stall_ns"):
            _checked(getattr(self, name), name)

    @classmethod
    def between_ledgers(cls, home: SideMargins, *, skew_ns: int = 0, failover_ns: int = 0, stall_ns: int = 0) -> Self:
        """Return the margins of a corridor without a foreign chain."""
        return cls(home, {}, skew_ns, failover_ns, stall_ns)

    def side(self, chain: str) -> SideMargins:
        """Return the parts of a chain, ours by the name ``HOME``; raises BridgeRefused for one that is not stated."""
        if chain == HOME:
            return self.home
        found = self.foreign.get(chain)
        if found is None:
            raise BridgeRefused(BridgeCode.CORRIDOR_UNKNOWN, f"the corridor states no margins for chain {chain!r}")
        return found

    @property
    def shared_ns(self) -> int:
        """The parts that no side owns."""
        return 2 * self.skew_ns + self.failover_ns + self.stall_ns

    def needed(self, first: str, second: str) -> int:
        """Return how much later than the leg claimed ``first`` the timelock of the leg claimed ``second`` must be, ns.

        Finality, watching and submission on both sides, twice the skew, the failover and the longest relay stall. Two
        legs under one relay share a timelock and one reveal, so between them nothing is needed.
        """
        if first == second == HOME:
            return 0
        return self.side(first).round_ns + self.side(second).round_ns + self.shared_ns


def cautious_margins(terms: SwapTerms) -> Margins:
    """Return margins for a swap that runs while its corridor is not known: nothing new is begun with them.

    No lock is made and no secret shown, since nothing leaves so much time; what is claimed or refunded asks for none.
    """
    longest = SideMargins(PART_NS_MAX, PART_NS_MAX, PART_NS_MAX)
    return Margins(longest, {leg.chain: longest for leg in terms.legs if leg.foreign}, 0, 0, 0)


def reveal_margin_ns(margins: Margins, chain: str) -> int:
    """Return how long before its timelock the secret must be shown on the leg that is claimed first, ns.

    The reveal must be in a block of that chain before the timelock and stay there; half of what ``needed`` counts, but
    for the parts that are shared: a stall, a failover and skewed clocks may all fall into it.
    """
    side = margins.side(chain)
    return side.finality_ns + side.submission_ns + margins.shared_ns


def check_timelocks(terms: SwapTerms, margins: Margins) -> None:
    """Demand that the timelocks of a swap leave room between its two sides.

    Raises BridgeRefused (leg_order_unsafe) unless our legs share one timelock and a foreign leg stands first or last,
    and SwapTooShort (margin_too_small) with what is missing. The leg claimed first has the earlier timelock.
    """
    legs = terms.legs
    if not [leg for leg in legs if leg.chain or leg.timelock_ns != legs[0].timelock_ns]:
        return  # all are ours and end together
    home = [leg for leg in legs if not leg.chain]
    if len({leg.timelock_ns for leg in home}) > 1:
        raise BridgeRefused(BridgeCode.LEG_ORDER_UNSAFE, "legs under one relay share one timelock")
    foreign = [index for index, leg in enumerate(legs) if leg.chain]
    if not home or len(foreign) > 1 or foreign[0] not in (0, len(legs) - 1):
        raise BridgeRefused(
            BridgeCode.LEG_ORDER_UNSAFE, "a foreign leg stands first or last, and alone", leg=foreign[0]
        )
    index = foreign[0]
    far, near = legs[index], home[0]
    # The holder of the secret locks leg 0 and claims the last leg: that one ends first.
    first, second = (near, far) if index == 0 else (far, near)
    needed, given = margins.needed(first.chain, second.chain), second.timelock_ns - first.timelock_ns
    if given < needed:
        raise SwapTooShort(BridgeCode.MARGIN_TOO_SMALL, "between the two timelocks", needed, given, leg=index)


def check_time_left(terms: SwapTerms, margins: Margins, legs_to_lock: int, clocks: ChainTimes) -> None:
    """Demand that there is time to lock what is missing, to verify it and to reveal, before the first timelock.

    ``legs_to_lock`` counts the legs that are not final yet, from the end. Raises SwapTooShort (swap_too_short) with
    what is missing.
    """
    demand_time(terms, time_needed_ns(terms, margins, legs_to_lock), clocks)


def time_needed_ns(terms: SwapTerms, margins: Margins, legs_to_lock: int) -> int:
    """Return how long it takes to lock the last so many legs, to verify them and to reveal, ns."""
    legs = terms.legs
    needed = reveal_margin_ns(margins, legs[-1].chain)  # the leg that is claimed first has the earliest timelock
    for leg in legs[len(legs) - legs_to_lock :]:
        needed += margins.side(leg.chain).round_ns
    return needed


def demand_time(terms: SwapTerms, needed_ns: int, clocks: ChainTimes) -> None:
    """Demand so much time until the first timelock. Raises SwapTooShort (swap_too_short) with what is missing."""
    first = terms.legs[-1]
    given = first.timelock_ns - clocks.latest_ns(first.chain)
    if given < needed_ns:
        raise SwapTooShort(BridgeCode.SWAP_TOO_SHORT, "until the first timelock", needed_ns, given)
