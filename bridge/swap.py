"""The payer's machine of one swap: it knows the secret, locks leg 0, has the others locked, and reveals or does not.

It promises that the secret is shown only while every leg stands for good as the terms say, and only with time left to
claim with it; that what it does outside is in the journal first; and that it ends: settled, refunded, or never begun.
The order is: lock leg 0, have it final, ask the provider of each next leg in turn, verify all of them, reveal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from bridge.journal import leg_of, read_begun, read_locking
from bridge.leg import LockState
from bridge.margins import check_timelocks
from bridge.party import ENDED, SwapParty
from bridge.ports import (
    AcceptanceRefused,
    Accepted,
    AlarmKind,
    AskAcceptance,
    ClaimForeign,
    EntryKind,
    Outcome,
    Reveal,
)
from bridge.refusals import BRIDGE_MEANINGS, BridgeCode, BridgeRefused, SwapTooShort
from bridge.terms import derive_secret, hash_preimage
from engine.codes import CodeClass

if TYPE_CHECKING:
    from bridge.ports import Action, Clocks, Entry, Event, LockSeen, Rules
    from bridge.terms import SwapTerms

__all__ = ["PayerMachine"]

_OWN: Final = 0
# While the own lock stands like this, nothing has ended: the common case, asked at every step.
_RUNNING: Final = frozenset({LockState.FINAL, LockState.CLAIMED, LockState.REFUNDED})


class PayerMachine(SwapParty):
    """``begin`` makes one and its first actions; afterwards events come in by ``on``, or ``replay`` after a restart."""

    __slots__ = ("_accepted", "_asked", "_is_out", "_secret", "revealing")

    def __init__(self, terms: SwapTerms, secret: bytes, rules: Rules) -> None:
        """Stand before the first event; ``secret`` is what is behind the terms' hashlock."""
        super().__init__(terms, _OWN, rules)
        self.revealing = False
        self._is_out = False
        self._secret = secret
        self._asked: list[int] = []
        self._accepted: list[int] = []

    @classmethod
    def begin(cls, terms: SwapTerms, salt: bytes, rules: Rules, clocks: Clocks) -> tuple[Self, list[Action]]:
        """Begin a swap: check the terms and the time, write them down, lock leg 0.

        Raises BridgeRefused with nothing done: terms_malformed, hash_function_unsupported, leg_order_unsafe,
        preimage_mismatch for a salt that is not behind the hashlock, margin_too_small and swap_too_short by how much.
        """
        terms.check()
        check_timelocks(terms, rules.margins)
        self = cls(terms, b"", rules)
        self._demand_time_left(clocks)
        self._open(salt, rules.suite)
        out: list[Action] = []
        self._note(EntryKind.BEGUN, salt + self.terms.encode(), clocks, out)
        return self, self._run(clocks, out)

    @classmethod
    def restore(cls, entry: Entry, terms: SwapTerms, rules: Rules) -> Self:
        """Make the machine again from its first entry, whose terms these are; the others follow by ``replay``."""
        salt, _ = read_begun(entry.body)
        self = cls(terms, b"", rules)
        self._open(salt, rules.suite)
        self.replay(entry)
        return self

    def _open(self, salt: bytes, suite: int) -> None:
        """Derive the secret; raises BridgeRefused (preimage_mismatch) for a salt that does not lead to the hashlock."""
        terms = self.terms
        secret = derive_secret(salt, terms.commitment(suite))
        if hash_preimage(terms.hash_function, secret) != terms.hashlock:
            raise BridgeRefused(BridgeCode.PREIMAGE_MISMATCH, "the salt does not lead to the terms' hashlock")
        self._secret = secret

    def replay(self, entry: Entry) -> None:
        """Take back what an entry says was decided."""
        super().replay(entry)
        if entry.kind is EntryKind.LOCKING:
            self.locking_at_ns = read_locking(entry.body)[1]
        elif entry.kind is EntryKind.ASKING:
            self._asked.append(leg_of(entry.body))
        elif entry.kind in (EntryKind.REVEALING, EntryKind.LEARNED):
            self.revealing = True
            self.preimage = entry.body
        elif entry.kind is EntryKind.REFUNDING:
            self.refunding = True

    # Events of this role.

    def _see(self, event: LockSeen, clocks: Clocks, out: list[Action]) -> None:
        super()._see(event, clocks, out)
        self._is_out = self._is_out or (event.view.preimage is not None and event.view.preimage == self.preimage)

    def _hear(self, event: Event, clocks: Clocks, out: list[Action]) -> None:
        del clocks, out
        if type(event) is Accepted:
            if event.leg not in self._accepted:
                self._accepted.append(event.leg)
        elif type(event) is AcceptanceRefused and event.code not in _ASK_AGAIN:
            self.code = event.code

    # What is due.

    def _step(self, clocks: Clocks, out: list[Action]) -> None:
        if self._end(clocks, out):
            return
        if self.preimage is not None:
            # Also when somebody else has shown it: a secret that is out is only good for claiming.
            self.revealing = True
            self._push_reveal(clocks, out)
        elif self.locking_at_ns == 0:
            self._begin_lock(clocks, out)
        elif self._too_late_to_reveal(clocks):
            self._give_up(clocks, out)
        elif not self._stands_final(_OWN):
            self._lock(clocks, out)
            self._look((_OWN,), clocks, out)
            self._wake_at_reveal_end()
        else:
            self._go_on(clocks, out)

    def _end(self, clocks: Clocks, out: list[Action]) -> bool:
        view = self.views[_OWN]
        own = view.state
        if own in _RUNNING and not view.reason:
            return False
        last = self.views[self._first_leg].state
        outcome: Outcome | None = None
        if own is LockState.REFUNDED_FINAL:
            outcome = Outcome.KEPT if self._claimed(self._first_leg) else Outcome.REFUNDED
            self.code = self.code or (0 if self.revealing else BridgeCode.PROVIDER_REFUSED)
        elif own is LockState.CLAIMED_FINAL and last is LockState.CLAIMED_FINAL:
            outcome = Outcome.SETTLED
        elif own is LockState.CLAIMED_FINAL and (
            last is LockState.REFUNDED_FINAL or self._never_stood(self._first_leg, clocks)
        ):
            outcome = Outcome.LOST
        elif self._never_stood(_OWN, clocks):
            outcome = Outcome.ABANDONED
            self.code = self.code or (BridgeCode.LOCK_REFUSED if own is LockState.REFUSED else 0)
        if outcome is None:
            return False
        self._finish(outcome, self.code, clocks, out)
        return True

    def _begin_lock(self, clocks: Clocks, out: list[Action]) -> None:
        try:
            self._demand_time_left(clocks)
        except SwapTooShort as error:  # after a restart: it had been written down and nothing was sent
            self._finish(Outcome.ABANDONED, error.code, clocks, out)
            return
        self._lock(clocks, out)
        self._look((_OWN,), clocks, out)
        self._wake_at_reveal_end()

    def _go_on(self, clocks: Clocks, out: list[Action]) -> None:
        """Leg 0 stands: have the next one locked, or reveal when all stand."""
        count, missing = len(self.terms.legs), 1
        while missing < count and self._stands_final(missing):
            missing += 1
        if missing == count:
            self.revealing = True
            self.preimage = self._secret
            self._note(EntryKind.REVEALING, self._secret, clocks, out)
            self._retry_ns = 0
            self._push_reveal(clocks, out)
            return
        if not self.code and missing not in self._accepted:
            if missing not in self._asked:
                self._asked.append(missing)
                self._note(EntryKind.ASKING, bytes((missing,)), clocks, out)
                self._retry_ns = 0
            if self._due(clocks):
                out.append(AskAcceptance(missing))
        self._look((missing,), clocks, out)
        self._wake_at_reveal_end()

    def _wake_at_reveal_end(self) -> None:
        self._wake(self._reveal_end())

    def _push_reveal(self, clocks: Clocks, out: list[Action]) -> None:
        """Show the secret on the leg that is claimed first, again and again, until it is claimed there for good."""
        last = self._first_leg
        first = self.terms.legs[last]
        assert self.preimage is not None
        if not self._ended(last) and not self._over(last, clocks):
            if first.foreign:
                if self._may_show(clocks) and self._due(clocks):
                    out.append(ClaimForeign(last, self.preimage))
            elif not self.on_relay and not self._claimed(last) and self._due(clocks):
                out.append(Reveal(self.preimage))
            self._watch_margin(last, self._reveal_margin_ns(first.chain), clocks, out)
        self._wait_for_ends(clocks, out)

    def _may_show(self, clocks: Clocks) -> bool:
        """Tell whether a claim that is sent now may come in time, or shows nothing that is not out.

        One that comes too late takes nothing and shows the secret while leg 0 can still be claimed with it. What was
        sent before is the chain's adapter's to see through.
        """
        first = self.terms.legs[self._first_leg]
        late_ns = first.timelock_ns - self._margins.side(first.chain).submission_ns
        return self._is_out or self.on_relay or clocks.latest_ns(first.chain) < late_ns

    def _give_up(self, clocks: Clocks, out: list[Action]) -> None:
        """Too little time: the secret stays secret, and leg 0 comes back at its timelock."""
        if all(self._stands_final(leg) for leg in range(len(self.terms.legs))):
            self._alarm(AlarmKind.TOO_LATE_TO_REVEAL, "all legs stand, and there is no time left to claim", out)
        self._wait_for_ends(clocks, out)

    def _wait_for_ends(self, clocks: Clocks, out: list[Action]) -> None:
        own = self.terms.legs[_OWN]
        if own.foreign and not self._claimed(_OWN):
            if self._over(_OWN, clocks):
                self._refund_foreign(clocks, out)
            else:
                self._wake(max(own.timelock_ns, clocks.now_ns + self._timing.poll_ns))
        open_legs = tuple([leg for leg in (_OWN, self._first_leg) if self.views[leg].state not in ENDED])
        self._look(open_legs, clocks, out)
        self._watch_end(clocks, out)


# The peer's word: a number that is no row of ours is a refusal like any other.
_ASK_AGAIN: Final = frozenset(
    int(row.code) for row in BRIDGE_MEANINGS.values() if row.code_class in (CodeClass.OPEN, CodeClass.ASK)
)
