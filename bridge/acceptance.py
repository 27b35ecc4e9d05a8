"""The provider's machine of one accepted swap: it locks its leg behind the one that pays it, and claims what is its.

It promises never to lock before the leg that pays it stands for good as the terms say, nor after the secret is known,
nor with too little time left; to write a preimage down before it uses it; and to claim with it, or to take its own
lock back, whatever the payer does. Whether the price is right is the desk's to say, before ``accept``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from bridge.journal import read_accepted, read_locking
from bridge.leg import LockState
from bridge.margins import check_timelocks
from bridge.party import ENDED, SwapParty
from bridge.ports import ClaimForeign, EntryKind, Look, Outcome, Reveal
from bridge.refusals import BridgeCode, BridgeRefused, SwapTooShort

if TYPE_CHECKING:
    from bridge.ports import Action, Clocks, Entry, Rules
    from bridge.terms import SwapTerms

__all__ = ["ProviderMachine"]

# While the own lock stands like this, nothing has ended: the common case, asked at every step.
_RUNNING: Final = frozenset({LockState.SEEN, LockState.FINAL, LockState.CLAIMED, LockState.REFUNDED})


class ProviderMachine(SwapParty):
    """``accept`` makes one and its first actions; ``own_leg`` is ours to lock, the one before it pays us."""

    __slots__ = ("_both", "_claiming", "_incoming")

    def __init__(self, terms: SwapTerms, own_leg: int, rules: Rules) -> None:
        """Stand before the first event."""
        super().__init__(terms, own_leg, rules)
        self._incoming = own_leg - 1
        self._both = (own_leg - 1, own_leg)
        self._claiming = False

    @classmethod
    def accept(cls, terms: SwapTerms, own_leg: int, rules: Rules, clocks: Clocks) -> tuple[Self, list[Action]]:
        """Accept a swap: check the terms and the time, write them down, look at the leg that pays us.

        The answer to the payer may leave when the first entry is durable. Raises BridgeRefused with nothing done:
        terms_malformed, not_your_swap for a leg that no provider locks, leg_order_unsafe, margin_too_small and
        swap_too_short by how much.
        """
        terms.check()
        if not 0 < own_leg < len(terms.legs):
            raise BridgeRefused(BridgeCode.NOT_YOUR_SWAP, f"leg {own_leg} is no provider's", leg=own_leg)
        check_timelocks(terms, rules.margins)
        self = cls(terms, own_leg, rules)
        self._demand_time_left(clocks)
        out: list[Action] = []
        self._note(EntryKind.ACCEPTED, bytes((own_leg,)) + self.terms.encode(), clocks, out)
        out.append(Look(self._incoming, self.orders[self._incoming]))
        self._looked_ns = clocks.now_ns
        return self, self._run(clocks, out)

    @classmethod
    def restore(cls, entry: Entry, terms: SwapTerms, rules: Rules) -> Self:
        """Make the machine again from its first entry, whose terms these are; the others follow by ``replay``."""
        own_leg, _ = read_accepted(entry.body)
        self = cls(terms, own_leg, rules)
        self.replay(entry)
        return self

    def replay(self, entry: Entry) -> None:
        """Take back what an entry says was decided."""
        super().replay(entry)
        if entry.kind is EntryKind.LOCKING:
            self.locking_at_ns = read_locking(entry.body)[1]
        elif entry.kind is EntryKind.LEARNED:
            self.preimage = entry.body
        elif entry.kind is EntryKind.CLAIMING:
            self._claiming = True
        elif entry.kind is EntryKind.REFUNDING:
            self.refunding = True

    # What is due.

    def _step(self, clocks: Clocks, out: list[Action]) -> None:
        if self._end(clocks, out):
            return
        if self.locking_at_ns == 0:
            self._begin_lock(clocks, out)
            return
        own = self._state(self.own_leg)
        if self.preimage is not None:
            self._claim(clocks, out)
        elif own in (LockState.ABSENT, LockState.REFUSED) and self._has_time(clocks) is None:
            self._lock(clocks, out)
        foreign = self._has_foreign and self.terms.legs[self.own_leg].foreign
        if foreign and not self._claimed(self.own_leg) and own is not LockState.ABSENT:
            if self._over(self.own_leg, clocks):
                self._refund_foreign(clocks, out)
            else:
                self._wake(max(self.terms.legs[self.own_leg].timelock_ns, clocks.now_ns + self._timing.poll_ns))
        views = self.views
        self._look(tuple([leg for leg in self._both if views[leg].state not in ENDED]), clocks, out)
        self._watch_end(clocks, out)

    def _end(self, clocks: Clocks, out: list[Action]) -> bool:
        own = self.views[self.own_leg]
        if own.state in _RUNNING and not own.reason:
            return False
        outcome = self._outcome(clocks)
        if outcome is None:
            return False
        self._finish(outcome, 0, clocks, out)
        return True

    def _outcome(self, clocks: Clocks) -> Outcome | None:
        """Return how it ended, None while money may still move for or against us."""
        own, incoming = self._state(self.own_leg), self._state(self._incoming)
        if own is LockState.CLAIMED_FINAL:
            if incoming is LockState.CLAIMED_FINAL:
                return Outcome.SETTLED
            return Outcome.LOST if self._beyond_claim(clocks) else None
        if self.preimage is not None:
            # The secret is out: whatever became of our own lock, what pays us is taken first.
            if self.locking_at_ns == 0 or (incoming is not LockState.CLAIMED_FINAL and not self._beyond_claim(clocks)):
                return None
            if own is LockState.REFUNDED_FINAL or self._never_stood(self.own_leg, clocks):
                return Outcome.KEPT if incoming is LockState.CLAIMED_FINAL else Outcome.REFUNDED
            return None
        if own is LockState.REFUNDED_FINAL:
            return Outcome.REFUNDED
        if self.locking_at_ns and self._never_stood(self.own_leg, clocks):
            return Outcome.ABANDONED
        return None

    def _beyond_claim(self, clocks: Clocks) -> bool:
        """Tell whether the leg that pays us can never be claimed again.

        Refunded for good; or, where nobody may take the trouble to refund it, past its timelock for so long that no
        claim before it can still come to light.
        """
        leg = self.terms.legs[self._incoming]
        if self._state(self._incoming) is LockState.REFUNDED_FINAL:
            return True
        if not leg.foreign or self._claimed(self._incoming):
            return False
        return clocks.heard_ns(leg.chain) >= leg.timelock_ns + self._margins.side(leg.chain).round_ns

    def _has_time(self, clocks: Clocks) -> BridgeCode | None:
        """Return None while our lock may still be sent, else the refusal."""
        try:
            self._demand_time_left(clocks)
        except SwapTooShort as error:
            return error.code
        return None

    def _begin_lock(self, clocks: Clocks, out: list[Action]) -> None:
        """Lock as soon as the leg that pays us stands for good, unless it is too late for that or the secret is out."""
        refusal = self._has_time(clocks)
        if self.preimage is not None:
            refusal = BridgeCode.ALREADY_REVEALED
        elif self._state(self._incoming) is LockState.REFUSED or self._ended(self._incoming):
            refusal = BridgeCode.LEGS_DO_NOT_MATCH
        if refusal is not None:
            self._finish(Outcome.ABANDONED, refusal, clocks, out)
        elif self._stands_final(self._incoming) and self._knows_reveals(clocks):
            self._lock(clocks, out)
            self._look((self.own_leg,), clocks, out)
        else:
            if self._stands_final(self._incoming):
                self.awaits_height = self.views[self._incoming].height
            self._look((self._incoming,), clocks, out)

    def _knows_reveals(self, clocks: Clocks) -> bool:
        """Tell whether every reveal was heard that may have come before the leg that pays us.

        The relay reveals a secret once. One that it has revealed before that leg was made claims the leg never again,
        and whoever knows it takes our lock elsewhere; so the relay must have been read up to where that leg is final.
        """
        return self.terms.legs[self._incoming].foreign or clocks.relay_height >= self.views[self._incoming].height

    def _claim(self, clocks: Clocks, out: list[Action]) -> None:
        """Take what is ours with the secret that is out, again and again, until it is ours for good."""
        leg = self._incoming
        terms = self.terms.legs[leg]
        if self._ended(leg) or self._over(leg, clocks):
            return
        if terms.foreign or not (self.on_relay or self._claimed(leg)):
            self._send_claim(leg, terms.foreign, clocks, out)
        self._watch_margin(leg, self._reveal_margin_ns(terms.chain), clocks, out)

    def _send_claim(self, leg: int, foreign: bool, clocks: Clocks, out: list[Action]) -> None:
        assert self.preimage is not None
        if not self._claiming:
            self._claiming = True
            self._note(EntryKind.CLAIMING, bytes((leg,)), clocks, out)
            self._retry_ns = 0
        if self._due(clocks):
            out.append(ClaimForeign(leg, self.preimage) if foreign else Reveal(self.preimage))
