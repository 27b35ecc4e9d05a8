"""What must hold in the simulation of the bridge, after every step and at the end.

On each ledger debits equal credits and nothing comes or goes; a lock ends once; a reveal claims what stands, whatever
rule was set meanwhile; of the legs of ours of a swap with an honest payer all are claimed or none; an honest party
never pays without being paid; at the end every lock has ended and every honest machine has finished with the outcome
that the ledgers show. What is held, quoted and owed beside the locks is held in ``trade_checks``, what is asked before
a swap begins in ``gate_checks``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge.leg import LockState
from bridge.ports import Outcome
from bridge.terms import hash_preimage, record_id
from clearspan.simulation.bridge.places import CLAIM, HELD, LOCK, REFUND
from clearspan.simulation.bridge.trade_checks import TradeChecks
from engine.conservation import check_domain
from engine.refusals import InvariantBroken
from engine.types import AccountFlag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.terms import SwapTerms
    from clearspan.simulation.bridge.gate_checks import GateChecks
    from clearspan.simulation.bridge.market import Market
    from clearspan.simulation.bridge.party import Party
    from clearspan.simulation.bridge.places import Place, Record
    from clearspan.simulation.bridge.stage import Stage
    from clearspan.simulation.bridge.supervisors import Supervisors
    from engine.relay_block import RelayBlock

__all__ = ["Checks"]

_IDLE_ROUNDS: Final = 8
# An honest payer, and those that break another rule than the one of seeing all legs stand before the reveal.
_VERIFY_ALL_LEGS: Final = ("", "last_tick", "reveals_late", "never_reveals", "bad_preimages", "shares_quote")


class Checks:
    """The rules of one scene; ``steps`` counts how often they were held."""

    def __init__(
        self,
        stage: Stage,
        market: Market,
        parties: Sequence[Party],
        supervisors: Sequence[Supervisors],
        gate: GateChecks,
    ) -> None:
        self.stage, self.parties, self._gate = stage, parties, gate
        self.steps = 0
        self.trade = TradeChecks(stage, market, parties, supervisors)
        self._sums = [self._sum(place) for place in stage.places]
        self._due: dict[str, list[Record]] = {}

    # After every step.

    def before_blocks(self, place: Place, blocks: Sequence[RelayBlock]) -> None:
        """Note which locks the reveals of these blocks claim: those that stand, before their timelock."""
        due = self._due.setdefault(place.name, [])
        for block in blocks:
            for preimage in block.preimages():
                due += [
                    lock
                    for lock in place.locks
                    if lock.open()
                    and block.header.time < lock.transfer.until
                    and lock.transfer.binding == hash_preimage(lock.function, preimage)
                ]

    def after_round(self, place: Place) -> None:
        """Hold a ledger's books after a round, and what its legs ended as."""
        self.steps += 1
        for lock in self._due.pop(place.name, ()):
            if CLAIM not in lock.proofs:
                self.stage.fail(f"{place.name}: a reveal did not claim what stood: {sorted(lock.proofs)}")
        self.trade.after_round(place)
        if place.changed:
            self._check_refunds(place)
            self._check_legs()
        elif self.steps % _IDLE_ROUNDS:
            return  # nothing was decided: look again only now and then
        found = check_domain(place.machines)
        if found:
            self.stage.fail(f"{place.name}: " + "; ".join(found))
        if self._sum(place) != self._sums[place.index]:
            self.stage.fail(f"{place.name}: the banks' money changed from {self._sums[place.index]}")

    def after_relay(self) -> None:
        """Count what a relay block may have decided."""
        self.steps += 1

    def after_chain(self) -> None:
        """Hold the foreign chain's books."""
        self.steps += 1
        assert self.stage.chain is not None
        try:
            self.stage.chain.check_invariants()
        except InvariantBroken as broken:
            self.stage.fail(str(broken))

    def after_step(self, party: Party) -> None:
        """Hold a party's own books after it has acted."""
        if not party.villain:
            self.trade.after_step(party)
            self._gate.after_step(party)

    def _sum(self, place: Place) -> int:
        """Return what the banks have on a ledger, with what is locked: only issue and redemption would change it."""
        issuer = place.world.issuer_account
        return sum(
            account.balance
            for machine in place.machines
            for account in machine.accounts()
            if account.id != issuer and not account.flags & AccountFlag.CHANNEL
        )

    def _check_refunds(self, place: Place) -> None:
        """Hold that a refund needs a relay block at or behind the timelock: no other clock refunds anything."""
        heard = self.stage.relay.blocks[place.relay_height - 1].header.time if place.relay_height else 0
        for lock in place.changed:
            if REFUND in lock.proofs and heard < lock.transfer.until:
                self.stage.fail(f"{place.name}: a lock was refunded before the relay's time had come")

    def _check_legs(self) -> None:
        """Of the legs of ours of one swap never one is claimed and another refunded, if the payer keeps the rules."""
        if self.stage.plan.villains.get(0, "") not in _VERIFY_ALL_LEGS:
            return
        for terms in self.stage.swaps:
            ends = [self.end(terms, leg) for leg in range(len(terms.legs)) if not terms.legs[leg].foreign]
            if CLAIM in ends and REFUND in ends:
                self.stage.fail(f"of one swap's legs of ours some were claimed and some refunded: {ends}")

    # What became of legs.

    def locks(self, terms: SwapTerms, leg: int) -> list[Record]:
        """Return the locks that a ledger made under a leg's id, whether as agreed or not; held ones as well."""
        place = self.stage.place_of(terms, leg)
        identity = record_id(terms.orders(self.stage.suite)[leg].lock_id)
        debit = terms.legs[leg].debit_id
        return [
            lock
            for lock in place.locks
            if (lock.transfer.id, lock.transfer.debit_account) == (identity, debit)
            and (lock.created() or (HELD in lock.proofs and LOCK not in lock.proofs))
        ]

    def end(self, terms: SwapTerms, leg: int) -> str:
        """Return how a leg stands: claim, refund, lock while it is open, held, or nothing."""
        if terms.legs[leg].foreign:
            return self._foreign_end(terms, leg)
        for lock in self.locks(terms, leg):
            if not terms.is_lock(leg, self.stage.suite, lock.transfer):
                continue
            return next((what for what in (CLAIM, REFUND, LOCK, HELD) if what in lock.proofs), "")
        return ""

    def _foreign_end(self, terms: SwapTerms, leg: int) -> str:
        assert self.stage.chain is not None
        state = self.stage.chain.view(terms.orders(self.stage.suite)[leg]).state
        if state in (LockState.CLAIMED, LockState.CLAIMED_FINAL):
            return CLAIM
        if state in (LockState.REFUNDED, LockState.REFUNDED_FINAL):
            return REFUND
        return LOCK if state in (LockState.SEEN, LockState.FINAL) else ""

    # The end.

    def all_ended(self) -> bool:
        """Tell whether nothing more can happen."""
        honest = [party for party in self.parties if not party.villain]
        if self.stage.waiting or any(not party.alive or party.busy for party in honest):
            return False
        if any(place.holds() for place in self.stage.places):
            return False
        return all(
            self.end(terms, leg) not in (LOCK, HELD) for terms in self.stage.swaps for leg in range(len(terms.legs))
        )

    def at_the_end(self) -> None:
        """Hold that everything has ended, and nobody honest has lost."""
        stage = self.stage
        for party in self.parties:
            if not party.villain and (not party.alive or party.busy):
                stage.fail(f"{party.name} has not finished all of its swaps")
        for terms in stage.swaps:
            for leg in range(len(terms.legs)):
                if leg in stage.plan.villains:
                    continue  # who keeps no rules may leave his own money where it is
                if self.end(terms, leg) in (LOCK, HELD):
                    stage.fail(f"leg {leg} is still open")
            for leg, party in enumerate(self.parties):
                if not party.villain:
                    self._check_party(terms, leg)
                    self.trade.check_owed(terms, leg, claimed=self.end(terms, leg) == CLAIM)
                    if leg:
                        self.trade.check_accepted(terms, leg)
        self.trade.at_the_end()
        self._gate.at_the_end()
        self._check_settled()

    def _check_party(self, terms: SwapTerms, leg: int) -> None:
        """Hold that who paid was paid: the payer by the last leg, a provider by the one before his own."""
        stage = self.stage
        paying = len(terms.legs) - 1 if leg == 0 else leg - 1
        paid, was_paid = self.end(terms, leg) == CLAIM, self.end(terms, paying) == CLAIM
        if paid and not was_paid:
            across = terms.legs[leg].foreign or terms.legs[paying].foreign or (leg == 0 and terms.foreign_leg >= 0)
            if across and stage.plan.beyond:
                stage.reach("loss_beyond_the_margin")
                return
            stage.fail(f"party {leg} has paid and was not paid: leg {paying} ended as {self.end(terms, paying)!r}")
        told = self.parties[leg].ends.get(terms.orders(stage.suite)[leg].lock_id)
        if told is not None and told.outcome is Outcome.SETTLED and not (paid and was_paid):
            stage.fail(f"party {leg} believes its swap settled, and it did not")

    def _check_settled(self) -> None:
        """Hold that where nothing at all goes wrong, everything settles."""
        if not self.stage.plan.quiet:
            return
        self.stage.reach("quiet")
        if not self.stage.swaps:
            self.stage.fail("nothing went wrong, and no swap was begun")
        for terms in self.stage.swaps:
            ends = [self.end(terms, leg) for leg in range(len(terms.legs))]
            if ends != [CLAIM] * len(ends):
                self.stage.fail(f"nothing went wrong, and the legs ended as {ends}")
