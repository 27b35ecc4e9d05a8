"""One party's side of one swap: what it has seen of each leg, what it has written, when it wakes. No roles here.

``SwapParty`` is level-triggered: an event only changes what is known, and ``_step`` then derives from all that is known
what is due, so that lost, late, doubled and reordered events lead to the same end. Whatever leaves a machine is written
first: ``_note`` puts the entry before the action. It reads no clock; ``Clocks`` come with every event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge.journal import finished_body, locking_body
from bridge.leg import LockState, LockView
from bridge.margins import demand_time, reveal_margin_ns, time_needed_ns
from bridge.ports import (
    HELD,
    Action,
    Alarm,
    AlarmKind,
    Clocks,
    Entry,
    EntryKind,
    Event,
    Finished,
    Journal,
    Lock,
    LockSeen,
    Look,
    Outcome,
    RefundForeign,
    Restored,
    Revealed,
    WakeAt,
)
from bridge.terms import preimage_fits

if TYPE_CHECKING:
    from bridge.ports import Rules
    from bridge.terms import SwapTerms

__all__ = ["ENDED", "SwapParty"]

# Nothing was heard yet: not the same as a chain's word that no lock stands there.
_UNHEARD: Final = LockView(LockState.ABSENT, None, None, -1, "")
_CLAIMED: Final = frozenset({LockState.CLAIMED, LockState.CLAIMED_FINAL})
ENDED: Final = frozenset({LockState.CLAIMED_FINAL, LockState.REFUNDED_FINAL})
_FINAL: Final = frozenset({LockState.FINAL, *ENDED})
_STANDS: Final = frozenset({LockState.SEEN, LockState.FINAL})
# Of a leg of ours an older answer may arrive after a newer one; from a final state it never goes back.
_RANK: Final = {
    LockState.ABSENT: 0,
    LockState.SEEN: 1,
    LockState.FINAL: 2,
    LockState.CLAIMED: 3,
    LockState.REFUNDED: 3,
    LockState.REFUSED: 4,
    LockState.CLAIMED_FINAL: 5,
    LockState.REFUNDED_FINAL: 5,
}
_NEVER: Final = 2**63 - 1


class SwapParty:
    """What payer and provider share. ``locking_at_ns`` is 0 until the own lock was written down to be sent.

    ``awaits_height`` is the relay height at which a machine wants a ``Tick``, 0 for none.
    """

    __slots__ = (
        "_alarmed",
        "_first_leg",
        "_has_foreign",
        "_looked_ns",
        "_margins",
        "_needed_ns",
        "_number",
        "_refund_retry_ns",
        "_retry_ns",
        "_reveal_end_ns",
        "_reveal_margins",
        "_stalled_ns",
        "_timing",
        "_wake_ns",
        "awaits_height",
        "code",
        "locking_at_ns",
        "on_relay",
        "orders",
        "outcome",
        "own_leg",
        "party",
        "preimage",
        "refunding",
        "swap",
        "terms",
        "views",
    )

    def __init__(self, terms: SwapTerms, own_leg: int, rules: Rules) -> None:
        """Stand before the first event; ``own_leg`` is ours to lock."""
        self.terms = terms
        self.own_leg = own_leg
        self.swap = terms.digest(rules.suite)
        self.orders = terms.orders(rules.suite, self.swap)
        self.party = self.orders[own_leg].lock_id
        self.views: list[LockView] = [_UNHEARD] * len(terms.legs)
        self.preimage: bytes | None = None
        self.locking_at_ns = 0
        self.awaits_height = 0
        self.on_relay = False
        self.refunding = False
        self.code = 0
        self.outcome: Outcome | None = None
        # The leg that the holder of the secret claims first: the last; its chain's clock bounds the reveal.
        self._first_leg = len(terms.legs) - 1
        self._has_foreign = terms.foreign_leg >= 0
        self._margins = rules.margins
        self._reveal_margins: dict[str, int] = {}
        self._stalled_ns = self._needed_ns = self._reveal_end_ns = 0
        self._timing = rules.timing
        self._number = 0
        self._alarmed: list[AlarmKind] = []
        self._retry_ns = 0
        self._refund_retry_ns = 0
        self._looked_ns = 0
        self._wake_ns = _NEVER

    # In and out.

    def on(self, event: Event, clocks: Clocks) -> list[Action]:
        """Take an event and return what is to be done now, in order; nothing once the swap has ended."""
        if self.outcome is not None:
            return []
        out: list[Action] = []
        kind = type(event)
        if kind is LockSeen:
            self._see(event, clocks, out)  # type: ignore[arg-type]  # the exact type was just compared
        elif kind is Revealed:
            self._hear_reveal(event, clocks, out)  # type: ignore[arg-type]
        elif kind is Restored:
            self._retry_ns = self._refund_retry_ns = self._looked_ns = 0
            out.extend(Look(leg, order) for leg, order in enumerate(self.orders))
        else:
            self._hear(event, clocks, out)
        return self._run(clocks, out)

    def _run(self, clocks: Clocks, out: list[Action]) -> list[Action]:
        """Do what is due; say when to wake, last, where that has changed."""
        wake_before = self._wake_ns if self._wake_ns > clocks.now_ns else _NEVER
        self._wake_ns = _NEVER
        self.awaits_height = 0
        self._step(clocks, out)
        if self._wake_ns <= clocks.now_ns:
            self._wake_ns = clocks.now_ns + self._timing.poll_ns  # never at once again: that would be a spin
        if self.outcome is None and self._wake_ns not in (_NEVER, wake_before):
            out.append(WakeAt(self._wake_ns))
        return out

    def replay(self, entry: Entry) -> None:
        """Take back what an entry says was decided; every entry of the journal in order, before any event."""
        self._number = entry.number + 1

    @property
    def wake_ns(self) -> int:
        """When a ``Tick`` is wanted, by our clock."""
        return self._wake_ns

    # For the roles.

    def _hear(self, event: Event, clocks: Clocks, out: list[Action]) -> None:
        """Take an event that only this role knows."""

    def _step(self, clocks: Clocks, out: list[Action]) -> None:
        """Derive what is due from what is known."""

    def _see(self, event: LockSeen, clocks: Clocks, out: list[Action]) -> None:
        leg, view = event.leg, event.view
        if not 0 <= leg < len(self.views):
            return
        before = self.views[leg]
        if before.state in _FINAL and _RANK[view.state] < _RANK[before.state] and not self.terms.legs[leg].foreign:
            return
        order = view.order
        if order is not None and order is not self.orders[leg] and order != self.orders[leg]:
            self._alarm(AlarmKind.LEG_DIFFERS, f"leg {leg} stands with other terms", out)
            if view.state in _FINAL and leg != self.own_leg:
                # Another party's lock that is for good not what was agreed: nothing can be built on it.
                self.views[leg] = LockView(LockState.REFUSED, None, None, view.height, "differs")
            return
        if view.preimage is not None:
            self._learn(view.preimage, clocks, out)
        if before.state is LockState.FINAL and view.state in (LockState.ABSENT, LockState.SEEN):
            self._alarm(AlarmKind.LEG_UNDONE, f"leg {leg} was final and is not any more", out)
        self.views[leg] = view

    def _learn(self, preimage: bytes, clocks: Clocks, out: list[Action]) -> None:
        """Keep a preimage that fits, written before anything is done with it; any other bytes change nothing."""
        if self.preimage is None and preimage_fits(self.terms.hash_function, self.terms.hashlock, preimage):
            self.preimage = preimage
            self._note(EntryKind.LEARNED, preimage, clocks, out)

    def _hear_reveal(self, event: Revealed, clocks: Clocks, out: list[Action]) -> None:
        """Take a reveal that the relay holds for good: our legs need nothing more, and it need not be written down."""
        if not preimage_fits(self.terms.hash_function, self.terms.hashlock, event.preimage):
            return
        self.on_relay = True
        if self.terms.foreign_leg >= 0:
            self._learn(event.preimage, clocks, out)
        elif self.preimage is None:
            self.preimage = event.preimage

    def _note(self, kind: EntryKind, body: bytes, clocks: Clocks, out: list[Action]) -> None:
        out.append(Journal(Entry(kind, self.party, self._number, clocks.now_ns, body)))
        self._number += 1

    def _alarm(self, kind: AlarmKind, text: str, out: list[Action]) -> None:
        if kind not in self._alarmed:
            self._alarmed.append(kind)
            out.append(Alarm(kind, text))

    def _wake(self, at_ns: int) -> None:
        self._wake_ns = at_ns if at_ns < self._wake_ns else self._wake_ns  # noqa: FURB136 - many times for each swap

    def _finish(self, outcome: Outcome, code: int, clocks: Clocks, out: list[Action]) -> None:
        if outcome is Outcome.LOST:
            self._alarm(AlarmKind.LOSS, "one leg was claimed against us and ours was not", out)
        self.outcome, self.code = outcome, code
        self._note(EntryKind.FINISHED, finished_body(outcome, code), clocks, out)
        out.append(Finished(outcome, code))

    # What is known of a leg.

    def _state(self, leg: int) -> LockState:
        return self.views[leg].state

    def _stands_final(self, leg: int) -> bool:
        """Tell whether a leg is locked for good as the terms say; a held one is not locked yet, whatever is shown."""
        view = self.views[leg]
        return view.state is LockState.FINAL and view.order is not None and view.reason != HELD

    def _claimed(self, leg: int) -> bool:
        return self.views[leg].state in _CLAIMED

    def _ended(self, leg: int) -> bool:
        return self.views[leg].state in ENDED

    def _over(self, leg: int, clocks: Clocks) -> bool:
        """Tell whether a leg's own chain has said that its timelock has come."""
        terms = self.terms.legs[leg]
        return clocks.heard_ns(terms.chain) >= terms.timelock_ns

    def _never_stood(self, leg: int, clocks: Clocks) -> bool:
        """Tell whether a lock of ours can no longer come to stand.

        A ledger's own "no" is for good, since its receipt was verified; on a foreign chain what was sent once may still
        be taken, so only its clock past the timelock ends the wait.
        """
        view = self.views[leg]
        state = view.state
        if view is _UNHEARD:
            return False
        if state is LockState.REFUSED and not self.terms.legs[leg].foreign:
            return True
        if state not in (LockState.ABSENT, LockState.REFUSED) and view.reason != HELD:
            return False
        terms = self.terms.legs[leg]
        # A foreign block before the timelock may still come back with the lock in it until that time is final.
        unsure_ns = self._margins.side(terms.chain).finality_ns if terms.foreign else 0
        return clocks.heard_ns(terms.chain) >= terms.timelock_ns + unsure_ns

    def _reveal_margin_ns(self, chain: str) -> int:
        """Return how long before its timelock the secret must be shown on a leg of this chain."""
        found = self._reveal_margins.get(chain)
        if found is None:
            found = self._reveal_margins[chain] = reveal_margin_ns(self._margins, chain)
        return found

    def _demand_time_left(self, clocks: Clocks) -> None:
        """Demand that there is time for what begins with our own lock; raises SwapTooShort."""
        if not self._needed_ns:
            self._needed_ns = time_needed_ns(self.terms, self._margins, len(self.terms.legs) - self.own_leg)
        demand_time(self.terms, self._needed_ns, clocks)

    def _too_late_to_reveal(self, clocks: Clocks) -> bool:
        return clocks.latest_ns(self.terms.legs[self._first_leg].chain) >= self._reveal_end()

    def _reveal_end(self) -> int:
        """Return when it is too late to show the secret, by the clock of the chain that is claimed first."""
        if not self._reveal_end_ns:
            first = self.terms.legs[self._first_leg]
            self._reveal_end_ns = first.timelock_ns - self._reveal_margin_ns(first.chain)
        return self._reveal_end_ns

    # Attempts.

    def _due(self, clocks: Clocks) -> bool:
        """Tell whether the next attempt may be made, and set the clock for the one after."""
        if clocks.now_ns < self._retry_ns:
            self._wake(self._retry_ns)
            return False
        self._retry_ns = clocks.now_ns + self._timing.retry_ns
        self._wake(self._retry_ns)
        return True

    def _look(self, legs: tuple[int, ...], clocks: Clocks, out: list[Action]) -> None:
        """Ask how legs stand, from time to time: a chain of ours tells by itself, a foreign one does not."""
        foreign = self._has_foreign and any(self.terms.legs[leg].foreign for leg in legs)
        pause = self._timing.poll_ns if foreign else self._timing.look_ns
        if clocks.now_ns >= self._looked_ns + pause:
            if self._looked_ns or foreign:
                out.extend(Look(leg, self.orders[leg]) for leg in legs)
            self._looked_ns = clocks.now_ns
        self._wake(self._looked_ns + pause)

    def _lock(self, clocks: Clocks, out: list[Action]) -> None:
        """Send our lock, written down before the first attempt; later attempts are the same bytes."""
        leg = self.own_leg
        if self.locking_at_ns == 0:
            self.locking_at_ns = clocks.now_ns
            self._note(EntryKind.LOCKING, locking_body(leg, clocks.now_ns), clocks, out)
            self._retry_ns = 0
        elif self._state(leg) in _STANDS:
            return
        if self._due(clocks):
            out.append(Lock(leg, self.orders[leg], self.locking_at_ns))

    def _watch_margin(self, leg: int, margin_ns: int, clocks: Clocks, out: list[Action]) -> None:
        """Raise the alarm when half of the margin before a leg's timelock is gone."""
        terms = self.terms.legs[leg]
        alarm_ns = terms.timelock_ns - margin_ns // 2
        if clocks.latest_ns(terms.chain) >= alarm_ns:
            self._alarm(AlarmKind.HALF_MARGIN, f"half of the margin before the timelock of leg {leg} is gone", out)
        else:
            self._wake(alarm_ns)

    def _watch_end(self, clocks: Clocks, out: list[Action]) -> None:
        """Raise the alarm when the own leg's chain does not end it although its time is over."""
        leg = self.own_leg
        stalled_ns = self._stalled_ns
        if not stalled_ns:
            terms = self.terms.legs[leg]
            stalled_ns = terms.timelock_ns + self._margins.side(terms.chain).round_ns + self._margins.shared_ns
            self._stalled_ns = stalled_ns
        if clocks.now_ns >= stalled_ns:
            self._alarm(AlarmKind.LEG_STALLED, f"leg {leg} has not ended although its time is over", out)
        else:
            self._wake(stalled_ns)

    def _refund_foreign(self, clocks: Clocks, out: list[Action]) -> None:
        """Take our own foreign lock back, once its chain has said that its time is over."""
        if not self.refunding:
            self.refunding = True
            self._note(EntryKind.REFUNDING, bytes((self.own_leg,)), clocks, out)
        if clocks.now_ns >= self._refund_retry_ns:
            self._refund_retry_ns = clocks.now_ns + self._timing.retry_ns
            out.append(RefundForeign(self.own_leg))
        self._wake(self._refund_retry_ns)
