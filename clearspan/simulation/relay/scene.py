"""One run: everything that takes part in it, from the first event to the verdict.

First faults, then it heals: within the plan's bound all honest members are five heights further, what was offered to
the relay is final, and what the honest keep is one chain that can be replayed from its beginning.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from clearspan.simulation.relay.checks import Checks, RelaySimulationFailed
from clearspan.simulation.relay.council import Council
from clearspan.simulation.relay.coverage import RelayReport
from clearspan.simulation.relay.ending import hold_chain, hold_fork
from clearspan.simulation.relay.faults import Faults
from clearspan.simulation.relay.liars import LiarNode
from clearspan.simulation.relay.lies import lies_of
from clearspan.simulation.relay.node import Node
from clearspan.simulation.relay.operators import Operators
from clearspan.simulation.relay.parties import START, Parties, key_of
from clearspan.simulation.relay.plan import Mode, make_plan
from clearspan.simulation.relay.stage import Stage
from clearspan.simulation.relay.timeline import MS, Clock, Timeline, Wires
from engine.genesis import padded_key
from engine.types import NS_PER_S
from relay.checker import Checker
from relay.ports import ConsensusSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from clearspan.simulation.relay.disk import Entry
    from clearspan.simulation.relay.stage import Actor
    from engine.validators import ValidatorSet
    from relay.offers import PoolItem
    from relay.state import RelayState

__all__ = ["RelaySimulationFailed", "Scene", "simulate_relay"]

_CLIENT: Final = -1
_MORE: Final = 5
_OFFER_AGAIN_NS: Final = 500 * MS
_BEFORE_NS: Final = 2 * NS_PER_S
# What is offered has to be final too: so much longer than the heights themselves.
_DUTIES_NS: Final = 20 * NS_PER_S
_FORK_EVENTS_MAX: Final = 60_000
# Far above any run that ends: a core that asks to be woken for nothing is stopped here.
_EVENTS_MAX: Final = 300_000


def simulate_relay(seed: int) -> RelayReport:
    """Run one seed; raises RelaySimulationFailed naming what did not hold."""
    return Scene(seed).run()


class Scene(Stage):
    """What a run consists of. ``best`` is the newest state any honest member has; ``healed`` 0 until it healed."""

    def __init__(self, seed: int) -> None:
        self.plan = make_plan(seed)
        self.report = RelayReport(seed, count=self.plan.count)
        self.chance = random.Random(f"run {seed}")  # noqa: S311 - a simulation wants its chance again
        self.timeline = Timeline()
        self.wires = Wires(self.timeline, random.Random(f"wires {seed}"))  # noqa: S311
        self.parties = Parties(self.plan)
        self.settings = ConsensusSettings(block_interval_ns=self.plan.interval_ns)
        self.checker = Checker(self.parties.suite, self.parties.genesis.hash)
        self.checks = self._checks = Checks(self)
        self.faults = self._faults = Faults(self)
        self.best = self.parties.base
        self.healed = 0
        self.goal = 0
        self.nodes = []
        self.homes = {}
        for number in range(self.plan.count):
            self._add(number)
            if "twins" in self.plan.lies.get(number, ()):
                self._add(number)
        self.operators = self._operators = Operators(self)
        self._council = Council(self, self._operators)
        self._note_shape()

    @property
    def may_fork(self) -> bool:
        """Whether more than F lie, so that agreement is not promised."""
        return self.plan.mode in (Mode.FORK, Mode.CARTEL)

    def base_of(self, number: int) -> RelayState:
        """Return the state with which a node begins: newcomers with the genesis."""
        return self.parties.base if number < self.plan.count else self.parties.begin

    def _add(self, number: int) -> Node:
        skew = self.chance.randint(-self.plan.skew_ns, self.plan.skew_ns)
        clock = Clock(START + _BEFORE_NS + self.timeline.now + skew, self.timeline.now)
        if number in self.plan.lies:
            node: Node = (liar := LiarNode(self, number, len(self.nodes), clock))
            liar.lies = lies_of(liar)
        else:
            node = Node(self, number, len(self.nodes), clock)
        self.nodes.append(node)
        self.homes.setdefault(number, []).append(node)
        return node

    def _note_shape(self) -> None:
        report, plan = self.report, self.plan
        for name, holds in (
            ("weighted", len(set(plan.powers)) > 1),
            ("suites_mixed", len(set(plan.suites)) > 1),
            ("sm3", plan.hash_suite != 1),
        ):
            if holds:
                report.state(name)

    # The run.

    def run(self) -> RelayReport:
        """Let it happen, and judge it."""
        for node in list(self.nodes):
            node.up()
        self._faults.start()
        self._operators.start()
        self._council.start()
        if self.may_fork:
            self._until_fork()
        else:
            self._until_settled()
        report = self.report
        report.messages, report.trace = self.wires.sent, self.wires.trace
        report.tip = self.best.tip_hash.hex()
        if self.wires.overtaken:
            report.fault("reordered")
        return report

    def _until_settled(self) -> None:
        bound = self.plan.settle_ns
        self.report.bound_ns = bound
        while self.timeline.step():
            if not self.healed:
                if self.timeline.count > _EVENTS_MAX:
                    self._checks.fail(f"{self.timeline.count} events and it has not healed: {self._where()}")
                continue
            late = self.timeline.now - self.healed
            if not self.report.settled_ns:
                if self._reached():
                    self.report.settled_ns = max(late, 1)
                elif late > bound or self.timeline.count > _EVENTS_MAX:
                    self._checks.fail(f"no progress within {bound / NS_PER_S:.0f} s: {self._where()}")
            elif not self._duties():
                break
            elif late > bound + _DUTIES_NS or self.timeline.count > _EVENTS_MAX:
                self._checks.fail(f"not done within {(bound + _DUTIES_NS) / NS_PER_S:.0f} s: {self._duties()}")
        hold_chain(self, self._checks, self._operators)

    def _until_fork(self) -> None:
        """More than F lie: nothing is promised but that a fork, if it comes, is explained."""
        events = 0
        while self.timeline.step() and events < _FORK_EVENTS_MAX:
            events += 1
            if self._checks.forks:
                hold_fork(self, self._checks)
                return
            if self.report.states["halted"] or (self.healed and self.timeline.now > self.healed + 3 * NS_PER_S):
                return

    def _reached(self) -> bool:
        return all(node.state.height >= self.goal for node in self.nodes if node.honest)

    def _where(self) -> str:
        return ", ".join(
            f"{node.number}{'' if node.honest else ' (liar)'}: height {node.state.height} of {self.goal},"
            f" view {node.core.view if node.core else '-'}, signs {bool(node.core and node.core.may_sign)}"
            for node in self.nodes
        )

    def _duties(self) -> str:
        """Return what is not final yet though it was offered; nothing when all is."""
        best = self.best
        if self._council.busy:
            return "the council's decisions"
        if self._council.set_made is not None and best.height <= self._council.set_made.first_height:
            return "the new set"
        missing = [each for each in self._council.reveals if each not in best.reveals]
        if missing:
            return f"{len(missing)} reveals"
        for operator in self._operators.of.values():
            # The shards of domain 2 wait for each other: their operator lies about some of them.
            if operator.domain.domain == 1 and operator.wanted > best.shards[operator.shard].height:
                return f"shard {operator.shard:#x} at {best.shards[operator.shard].height} of {operator.wanted}"
        return ""

    def heal(self) -> None:
        """End the faults, and set the goal."""
        self.healed = self.timeline.now
        self._faults.end()
        heights = [node.state.height for node in self.nodes if node.honest]
        self.goal = max(heights) + _MORE
        for operator in self._operators.of.values():
            operator.wanted = len(operator.signed)

    # What others tell.

    def advanced(self, entry: Entry) -> None:
        """Take note of a height that became final for the first time anywhere."""
        state, before = entry.state, self.best
        if state.height <= before.height:
            return
        self.best = state
        report = self.report
        if entry.certificate.view > entry.block.header.view:
            report.state("proposed_again")
        if state.penalties:
            report.state("penalty")
        if state.noted:
            report.state("noted")
        if state.anchored:
            report.state("header_anchored")
        if state.reveals and not before.reveals:
            report.state("reveal")
        current, previous = state.set_at(state.height), before.set_at(max(before.height, 1))
        if current.set_id != previous.set_id:
            self._set_changed(current, previous, entry)
        for shard, its in state.shards.items():
            earlier = before.shards[shard]
            if its.verified_height > earlier.verified_height:
                report.state("verified")
            if earlier.height and its.height > earlier.height + 1:
                report.state("continuity_over_gap")
            if its.disputed_height and not earlier.disputed_height:
                report.state("shard_claim_disputed")
            if its.epoch_min > earlier.epoch_min:
                report.state("shard_resumed")
        self._change_block_key(state)

    def _set_changed(self, current: ValidatorSet, previous: ValidatorSet, entry: Entry) -> None:
        report, owner = self.report, self.parties.owner
        report.state("set_changed")
        if entry.certificate.view:
            report.state("set_changed_in_later_view")
        now = {owner[each.public_key] for each in current.members}
        then = {owner[each.public_key] for each in previous.members}
        if now - then:
            report.state("member_added")
        if then - now:
            report.state("member_removed")

    def _change_block_key(self, state: RelayState) -> None:
        for shard, operator in self._operators.of.items():
            keys = state.block_keys[shard >> 8]
            if operator.epoch == 1 and keys[0].key_id == 2 and operator.key.key_id == 1:
                key = key_of("block/1/2", 101, 1, 2)
                assert padded_key(key.public_key) == keys[0].public_key
                operator.change_key(key)

    def set_made(self, validators: ValidatorSet) -> None:
        """Let a new member of a set that is put to the relay begin to follow it."""
        for member in validators.members:
            number = self.parties.owner[member.public_key]
            if number not in self.homes:
                node = self._add(number)
                self.timeline.after(self.chance.randrange(NS_PER_S), node.up_if_down)

    # Offers.

    def offer(self, node: Actor, item: PoolItem) -> None:
        """Offer something to one validator; it may be lost on its way."""
        self._offer(node, item, item.encode())

    def _offer(self, node: Actor, item: PoolItem, data: bytes) -> None:
        self.wires.carry(_CLIENT, node.place, data, lambda: node.offer(item))

    def offer_all(self, item: PoolItem, until: Callable[[RelayState], bool] | None = None) -> None:
        """Offer something to all validators; again and again where it is said what shows that it is final."""
        data = item.encode()
        for node in self.nodes:
            self._offer(node, item, data)
        if until is not None:

            def again() -> None:
                if not until(self.best):
                    self.offer_all(item, until)

            self.timeline.after(_OFFER_AGAIN_NS, again)
