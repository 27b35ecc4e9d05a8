"""One seed of the bridge, put together: the world, its parties and supervisors, the course, and what must hold.

``Scene.run`` plays the plan, holds the rules after every step (checks.py), then stops the faults and lets everything
come to its end. All that happens is a function of the plan.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from clearspan.simulation.bridge.checks import Checks
from clearspan.simulation.bridge.closings import Closings
from clearspan.simulation.bridge.gate_checks import GateChecks
from clearspan.simulation.bridge.market import Market
from clearspan.simulation.bridge.officers import Officers
from clearspan.simulation.bridge.plan import CHAIN
from clearspan.simulation.bridge.stage import BLOCK_NS, CHAIN_BLOCK_NS, Stage
from clearspan.simulation.bridge.supervisors import Supervisors
from clearspan.simulation.bridge.swaps import Customer
from clearspan.simulation.bridge.villains import villain_of
from engine.types import NS_PER_S

if TYPE_CHECKING:
    from clearspan.simulation.bridge.party import Party
    from clearspan.simulation.bridge.places import Place
    from clearspan.simulation.bridge.plan import Plan

__all__ = ["Scene"]

_MS: Final = 1_000_000
_ROUND_NS: Final = NS_PER_S
_CARE_NS: Final = NS_PER_S
_END_NS: Final = 900 * NS_PER_S
_FAULTS_NS: Final = 400 * NS_PER_S
_LOOK_EVERY: Final = 64


class Scene:
    """``run`` returns when everything has ended."""

    def __init__(self, plan: Plan) -> None:
        self.stage = stage = Stage(plan)
        market = Market(plan, stage.realm)
        self.parties: list[Party] = [
            villain_of(plan.villains.get(index, ""))(stage, market, index, plan.crashes.get(index, []))
            for index in range(plan.legs)
        ]
        for index, name in plan.villains.items():
            stage.reach(f"{'provider' if index else 'payer'}_{name}")
            # Two swaps that share a quote are no villainy of the payer's machine, which keeps every rule.
            self.parties[index].villain = "" if name == "shares_quote" else name
        stage.pool_is_read = any(party.villain == "reads_pool" for party in self.parties)
        self.supervisors = [Supervisors(stage, market, place) for place in stage.places]
        self._closings = Closings(stage, market, self.parties)
        self._officers = Officers(stage, self.parties[0])
        gate = GateChecks(stage, market, self.parties, self._closings, self._officers)
        self.checks = Checks(stage, market, self.parties, self.supervisors, gate)
        for party in self.parties:
            party.others = self.parties
            party.on_step = partial(self.checks.after_step, party)
            party.on_begin = partial(gate.on_begin, party)
        self._customer = Customer(stage, market, self.parties[0], self.parties[1:])

    # Nodes.

    def _round(self, place: Place) -> None:
        """One round of a node: consume what it has heard of the relay, apply, seal, publish, tell."""
        stage = self.stage
        if not stage.is_down(place):
            lag = 0 if stage.calm() else stage.plan.lags.get(place.index, 0)
            if lag:
                stage.reach("lagging_operator")
            blocks = [
                block for block in stage.relay.blocks[place.relay_height :] if block.header.time + lag <= stage.now
            ]
            if blocks or place.busy:
                place.govern(stage.clock_of(place))
                self.checks.before_blocks(place, blocks)
                if blocks:
                    place.consume(blocks, stage.clock_of(place))
                place.round(stage.clock_of(place))
                stage.relay.publish(place)
                self.checks.after_round(place)
                if any(record.is_lock and record.created() for record in place.changed):
                    stage.come("between")
        stage.after(_ROUND_NS, lambda: self._round(place))

    # Relay and chain.

    def _relay_block(self) -> None:
        stage = self.stage
        if not stage.stalled(stage.plan.relay_stalls, "relay_stall"):
            stage.relay.step(stage.now + stage.plan.skews.get("relay", 0))
            self.checks.after_relay()
            for party in self.parties:
                stage.after(stage.delay(), party.hear_relay)
                for place in stage.places:
                    self._push(party, place)
            for place in stage.places:
                place.changed.clear()
        stage.after(BLOCK_NS, self._relay_block)

    def _push(self, party: Party, place: Place) -> None:
        """Tell a party of the locks that changed on a ledger; the line may lose it."""
        stage = self.stage
        for lock in place.changed:
            for lock_id, terms, leg in stage.locks_named(lock.transfer.id):
                if not lock.is_lock or not stage.linked(party, place.name):
                    continue
                order = terms.orders(stage.suite)[leg]
                said = place.say(terms.legs[leg].debit_id, lock_id)
                view = stage.verifier.view(order, terms.hash_function, said)
                stage.reply(party, partial(party.see, lock_id, view))

    def _chain_block(self) -> None:
        stage = self.stage
        assert stage.chain is not None
        if not stage.stalled(stage.plan.chain_stalls, "chain_stall"):
            stage.chain.produce(stage.now)
            self.checks.after_chain()
            clock = stage.chain.clock()
            for party in self.parties:
                if stage.linked(party, CHAIN):
                    stage.after(stage.delay(), partial(party.hear_chain, clock))
        stage.after(CHAIN_BLOCK_NS, self._chain_block)

    def _end_lies(self) -> None:
        for place in self.stage.places:
            place.liar = ""

    def _reorganise(self, depth: int, *, forget: bool) -> None:
        stage = self.stage
        assert stage.chain is not None
        clock = stage.chain.clock()
        if not stage.calm() and clock.height - clock.final_height >= depth:
            stage.reach("reorganisation")
            stage.chain.reorganise(depth, forget=forget)

    # The course.

    def _care(self) -> None:
        for party in self.parties:
            party.care()
        self.stage.after(_CARE_NS, self._care)

    def run(self) -> None:
        """Play the plan to its end; raises BridgeSimulationFailed naming what did not hold."""
        stage = self.stage
        for supervisors in self.supervisors:
            supervisors.start()
        self._closings.start()
        self._officers.start()
        for index, place in enumerate(stage.places):
            stage.after(_ROUND_NS // 3 + index * 50 * _MS, partial(self._round, place))
        self._relay_block()
        if stage.chain is not None:
            self._chain_block()
            for when, depth, forget in stage.plan.reorgs:
                stage.after(when, partial(self._reorganise, depth, forget=forget))
        stage.after(_FAULTS_NS, self._end_lies)
        stage.after(_CARE_NS, self._care)
        self._customer.start()
        while stage.step() and stage.passed <= _END_NS:
            if stage.ordinal % _LOOK_EVERY == 0 and stage.passed > 20 * NS_PER_S and self.checks.all_ended():
                break
        self.checks.at_the_end()
