"""What must hold in the simulation of the bridge, after every step and at the end.

On each ledger debits equal credits and nothing comes or goes; a lock ends once; of the legs of ours of a swap with an
honest payer all are claimed or none; an honest party never pays without being paid; at the end every lock
has ended and every honest machine has finished with the outcome that the ledgers show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.leg import LockState
from bridge.ports import Outcome
from bridge.terms import record_id
from engine.conservation import check_invariants
from engine.refusals import InvariantBroken

if TYPE_CHECKING:
    from bridge.terms import SwapTerms
    from clearspan.simulation.bridge.places import LockRecord, Place
    from clearspan.simulation.bridge.scene import Scene

__all__ = ["BridgeSimulationFailed", "Checks"]

_CLAIMED = "claim"
_REFUNDED = "refund"
_OPEN = "lock"
_IDLE_ROUNDS = 8
# An honest payer, and those that break another rule than the one of seeing all legs stand before the reveal.
_VERIFY_ALL_LEGS = ("", "last_tick", "reveals_late", "never_reveals", "bad_preimages")


class BridgeSimulationFailed(AssertionError):  # noqa: N818 - a verdict, not an error of the program
    """What did not hold, and the one line that shows it again."""

    def __init__(self, seed: int, instant_ns: int, what: str) -> None:
        """Keep the three for reports."""
        again = f"again: clearspan simulate --part bridge --seeds {seed}:{seed + 1}"
        super().__init__(f"{what} ({instant_ns / 1e9:.3f} s after the start); {again}")
        self.seed = seed
        self.instant = instant_ns
        self.what = what


class Checks:
    """The rules of one scene."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.steps = 0
        self._sums = [self._sum(place) for place in scene.places]

    def fail(self, what: str) -> None:
        """End the run."""
        raise BridgeSimulationFailed(self.scene.plan.seed, self.scene.now - self.scene.start, what)

    # After every step.

    def after_round(self, place: Place) -> None:
        """Hold a ledger's books after a round, and what its legs ended as."""
        self.steps += 1
        if place.changed:
            self._check_legs()
        elif self.steps % _IDLE_ROUNDS:
            return  # nothing was decided: look again only now and then
        for machine in place.core.machines.values():
            found = check_invariants(machine)
            if found:
                self.fail(f"{place.name}: " + "; ".join(found))
        if self._sum(place) != self._sums[place.index]:
            self.fail(f"{place.name}: the banks' money changed from {self._sums[place.index]}")

    def after_relay(self) -> None:
        """Hold what a relay block may have decided."""
        self.steps += 1

    def after_chain(self) -> None:
        """Hold the foreign chain's books."""
        self.steps += 1
        assert self.scene.chain is not None
        try:
            self.scene.chain.check_invariants()
        except InvariantBroken as broken:
            self.fail(str(broken))

    def _sum(self, place: Place) -> int:
        """Return what the banks have on a ledger, with what is locked: only issue and redemption would change it."""
        issuer = place.world.issuer_account
        machine = place.core.machines[place.shard]
        return sum(account.balance for account in machine.accounts() if account.id != issuer)

    def _check_legs(self) -> None:
        """Of the legs of ours of one swap never one is claimed and another refunded, if the payer keeps the rules."""
        if self.scene.plan.villains.get(0, "") not in _VERIFY_ALL_LEGS:
            return
        for terms in self._terms():
            ends = [self.end(terms, leg) for leg in range(len(terms.legs)) if not terms.legs[leg].foreign]
            if _CLAIMED in ends and _REFUNDED in ends:
                self.fail(f"of one swap's legs of ours some were claimed and some refunded: {ends}")

    # What became of legs.

    def _terms(self) -> list[SwapTerms]:
        swaps = {terms.uetr + terms.hashlock: terms for terms, _ in self.scene._parties_of_lock.values()}  # noqa: SLF001
        return list(swaps.values())

    def locks(self, terms: SwapTerms, leg: int) -> list[LockRecord]:
        """Return the locks that a ledger made under a leg's id, whether as agreed or not."""
        place = self.scene.place_of(terms, leg)
        identity = record_id(terms.orders(self.scene.suite)[leg].lock_id)
        debit = terms.legs[leg].debit_id
        return [
            lock
            for lock in place.locks.values()
            if lock.created() and (lock.transfer.id, lock.transfer.debit_account) == (identity, debit)
        ]

    def end(self, terms: SwapTerms, leg: int) -> str:
        """Return how a leg stands: claim, refund, lock while it is open, or nothing."""
        if terms.legs[leg].foreign:
            return self._foreign_end(terms, leg)
        for lock in self.locks(terms, leg):
            if not terms.is_lock(leg, self.scene.suite, lock.transfer):
                continue
            return next((what for what in (_CLAIMED, _REFUNDED) if what in lock.proofs), _OPEN)
        return ""

    def _foreign_end(self, terms: SwapTerms, leg: int) -> str:
        assert self.scene.chain is not None
        state = self.scene.chain.view(terms.orders(self.scene.suite)[leg]).state
        if state in (LockState.CLAIMED, LockState.CLAIMED_FINAL):
            return _CLAIMED
        if state in (LockState.REFUNDED, LockState.REFUNDED_FINAL):
            return _REFUNDED
        return _OPEN if state in (LockState.SEEN, LockState.FINAL) else ""

    # The end.

    def all_ended(self) -> bool:
        """Tell whether nothing more can happen."""
        scene = self.scene
        if any(party.watcher is None or len(party.watcher) for party in scene.parties if not party.villain):
            return False
        begun = len(self._terms()) >= scene.plan.swaps
        return begun and all(self.end(terms, leg) != _OPEN for terms in self._terms() for leg in range(len(terms.legs)))

    def at_the_end(self) -> None:
        """Hold that everything has ended, and nobody honest has lost."""
        scene = self.scene
        for party in scene.parties:
            if not party.villain and (party.watcher is None or len(party.watcher)):
                self.fail(f"{party.name} has not finished all of its swaps")
        for terms in self._terms():
            for leg in range(len(terms.legs)):
                if leg in scene.plan.villains:
                    continue  # who keeps no rules may leave his own money where it is
                if self.end(terms, leg) == _OPEN:
                    self.fail(f"leg {leg} is still open")
            for leg, party in enumerate(scene.parties):
                if not party.villain:
                    self._check_party(terms, leg)
        self._check_settled()

    def _check_party(self, terms: SwapTerms, leg: int) -> None:
        """Hold that who paid was paid: the payer by the last leg, a provider by the one before his own."""
        scene = self.scene
        paying = len(terms.legs) - 1 if leg == 0 else leg - 1
        paid, was_paid = self.end(terms, leg) == _CLAIMED, self.end(terms, paying) == _CLAIMED
        if paid and not was_paid:
            across = terms.legs[leg].foreign or terms.legs[paying].foreign or (leg == 0 and terms.foreign_leg >= 0)
            if across and scene.plan.beyond:
                scene.reach("loss_beyond_the_margin")
                return
            self.fail(f"party {leg} has paid and was not paid: leg {paying} ended as {self.end(terms, paying)!r}")
        told = scene.parties[leg].ends.get(terms.orders(scene.suite)[leg].lock_id)
        if told is not None and told.outcome is Outcome.SETTLED and not (paid and was_paid):
            self.fail(f"party {leg} believes its swap settled, and it did not")

    def _check_settled(self) -> None:
        """Hold that where nothing at all goes wrong, everything settles."""
        plan = self.scene.plan
        quiet = not (plan.villains or plan.crashes or plan.losses or plan.relay_stalls or plan.chain_stalls)
        quiet = quiet and not (plan.partitions or plan.reorgs or plan.lags or plan.liars or plan.holds or plan.downs)
        if not quiet:
            return
        self.scene.reach("quiet")
        for terms in self._terms():
            ends = [self.end(terms, leg) for leg in range(len(terms.legs))]
            if ends != [_CLAIMED] * len(ends):
                self.fail(f"nothing went wrong, and the legs ended as {ends}")
