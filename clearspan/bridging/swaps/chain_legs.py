"""Legs on chains as the road and the machines use them: wishes out when they are durable, what chains show back in.

It promises that a wish leaves only with ``flush``, and that a swap's timeline says in words what its chain showed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge.leg import LockState
from bridge.ports import ClaimForeign, Look, RefundForeign
from clearspan.bridging.journal.book import LegState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.leg import ChainClock, LegRefused
    from bridge.ports import Action, Lock, LockSeen
    from bridge.watcher import Watcher
    from clearspan.bridging.chains.served import Chains
    from clearspan.bridging.journal.book import OpenSwap, SwapBook
    from clearspan.bridging.swaps.gathering import Gathering
    from clearspan.bridging.swaps.telling import Telling

__all__ = ["ChainLegs", "ChainSightings"]

_STATES: Final = {
    LockState.ABSENT: LegState.WAITING,
    LockState.SEEN: LegState.SENT,
    LockState.FINAL: LegState.FINAL,
    LockState.CLAIMED: LegState.FINAL,
    LockState.CLAIMED_FINAL: LegState.CLAIMED,
    LockState.REFUNDED: LegState.FINAL,
    LockState.REFUNDED_FINAL: LegState.REFUNDED,
    LockState.REFUSED: LegState.REFUSED,
}
# The word of the timeline, and what it tells a person.
_WORDS: Final = {
    LockState.SEEN: ("leg_seen", "Leg {leg} is locked on chain {chain} in block {height}, which is not final yet."),
    LockState.FINAL: ("leg_final", "Leg {leg} is locked on chain {chain}, and that is final."),
    LockState.CLAIMED: (
        "leg_claim_seen",
        "Leg {leg} is claimed on chain {chain} in block {height}: the secret is out.",
    ),
    LockState.CLAIMED_FINAL: ("leg_claimed", "Leg {leg} is claimed on chain {chain}, and that is final."),
    LockState.REFUNDED: (
        "leg_refund_seen",
        "Leg {leg} is refunded on chain {chain} in block {height}, which is not final yet.",
    ),
    LockState.REFUNDED_FINAL: ("leg_refunded", "Leg {leg} was refunded on chain {chain}, and that is final."),
    LockState.REFUSED: ("leg_refused", "Chain {chain} shows no lock for leg {leg} as the terms ask for it: {reason}."),
}
_ENDED: Final = frozenset({LockState.CLAIMED_FINAL, LockState.REFUNDED_FINAL})


class ChainLegs:
    """The line of all chains' legs (``clearspan.bridging.lines.legs.LegLine``)."""

    def __init__(self, chains: Chains) -> None:
        """Take the chains."""
        self._chains = chains
        self._wishes: list[tuple[OpenSwap, Action]] = []

    def lock(self, swap: OpenSwap, action: Lock) -> None:
        """Have the own leg locked."""
        if swap.legs[action.leg].state == LegState.WAITING:
            swap.legs[action.leg].state = LegState.SENT
        self._wishes.append((swap, action))

    def claim(self, swap: OpenSwap, leg: int, preimage: bytes) -> None:
        """Have a leg claimed."""
        self._wishes.append((swap, ClaimForeign(leg, preimage)))

    def refund(self, swap: OpenSwap, leg: int) -> None:
        """Have a leg refunded."""
        self._wishes.append((swap, RefundForeign(leg)))

    def look(self, swap: OpenSwap, leg: int) -> None:
        """Have the chain asked how a leg stands; that changes nothing there, so it waits for nothing."""
        self._chains.do(swap.party, swap.terms, swap.orders, Look(leg, swap.orders[leg]))

    def forget(self, swap: OpenSwap, digests: Sequence[bytes]) -> None:
        """Let go of a swap that has ended."""
        del digests
        if swap.terms.foreign_leg >= 0:
            self._chains.forget(swap.party, swap.terms, swap.orders)

    def flush(self) -> None:
        """Let what was asked for leave."""
        wishes, self._wishes = self._wishes, []
        for swap, action in wishes:
            self._chains.do(swap.party, swap.terms, swap.orders, action)


class ChainSightings:
    """What chains show, told to machines and timelines (``clearspan.bridging.chains.served.ChainReports``)."""

    def __init__(
        self, book: SwapBook, watcher: Watcher, gathering: Gathering, telling: Telling, now: Callable[[], int]
    ) -> None:
        """Take who hears of it."""
        self._book, self._watcher, self._gathering = book, watcher, gathering
        self._telling, self._now = telling, now

    def on_chain_clock(self, chain: str, clock: ChainClock) -> None:
        """Take the time and height of a chain's newest block."""
        self._watcher.chain_clock(chain, clock, self._now())

    def on_chain_view(self, party: bytes, seen: LockSeen) -> None:
        """Take what a chain shows of a leg; the machine hears of it whether or not it is new."""
        swap = self._book.get(party)
        if swap is None:
            return
        self._tell(swap, seen)
        self._gathering.take(self._watcher.on([(party, seen)], self._now()))

    def on_chain_refusal(self, party: bytes, leg: int, error: LegRefused) -> None:
        """Say in a swap's timeline what its chain refused."""
        swap = self._book.get(party)
        if swap is not None:
            text = f"Chain {swap.terms.legs[leg].chain} refuses for leg {leg}: {error.text}."
            self._telling.say(swap, f"chain_{error.code.value}", text)

    def _tell(self, swap: OpenSwap, seen: LockSeen) -> None:
        """Keep how a leg stands, and say so where that has changed."""
        leg, view = swap.legs[seen.leg], seen.view
        before = swap.seen.get(seen.leg, LockState.ABSENT)
        swap.seen[seen.leg] = view.state
        if view.state is before:
            return
        now, chain = self._now(), swap.terms.legs[seen.leg].chain
        if view.state is LockState.ABSENT:
            self._telling.say(swap, "leg_taken_back", f"Chain {chain} took back the block that held leg {seen.leg}.")
            leg.state = LegState.SENT if seen.leg == swap.own_leg else LegState.WAITING
            return
        leg.state = _STATES[view.state]
        if view.state is LockState.FINAL:
            leg.final_at = leg.final_at or now
        if view.state in _ENDED:
            leg.ended_at = now
        what, text = _WORDS[view.state]
        reason = view.reason or "another lock stands there"
        self._telling.say(swap, what, text.format(leg=seen.leg, chain=chain, height=view.height, reason=reason))
