"""One seed of the bridge: ledgers, relay, foreign chain and parties on one virtual clock, and all that goes wrong.

``Scene.run`` plays the plan, holds the rules after every step (checks.py), then stops the faults and lets everything
come to its end. All that happens is a function of the plan.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final

from bridge.leg import PREIMAGE_BYTES, HashFunction, LockOrder, LockState, LockView
from bridge.memory_chain import ChainRules, ClaimWish, MemoryChain, Wish
from clearspan.simulation.bridge.checks import Checks
from clearspan.simulation.bridge.places import Place, SimRelay, Verifier
from clearspan.simulation.bridge.plan import CHAIN, Plan
from clearspan.simulation.bridge.realm import realm_of
from clearspan.simulation.bridge.swaps import swaps_of
from clearspan.simulation.bridge.villains import villain_of
from engine.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.leg import ChainClock
    from bridge.refusals import BridgeCode
    from bridge.terms import SwapTerms
    from clearspan.simulation.bridge.party import Party
    from engine.record import Transfer

__all__ = ["Scene"]

_MS: Final = 1_000_000
_ROUND_NS: Final = NS_PER_S
_BLOCK_NS: Final = 2 * NS_PER_S
_CHAIN_BLOCK_NS: Final = 2 * NS_PER_S
_LOST_IN_A_ROW_MAX: Final = 2
_END_NS: Final = 900 * NS_PER_S
_FAULTS_NS: Final = 400 * NS_PER_S
_REALMS: Final = 4


class Scene:
    """``now`` is the true time in ns; ``run`` returns when everything has ended."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = random.Random(plan.seed ^ 0x5EED)  # noqa: S311 - to be had again, not to be secret
        self.reached: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        realm = realm_of(plan.ledgers, plan.seed % _REALMS)
        self.realm = realm
        self.suite = realm.genesis.hash_suite
        self.start = self.now = realm.time + 10 * NS_PER_S
        self.places = [Place(realm, index) for index in range(plan.ledgers)]
        self.relay = SimRelay(realm)
        self.verifier = Verifier(self.relay)
        self.chain = self._chain() if plan.foreign else None
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._lost: Counter[tuple[str, str]] = Counter()
        self._parties_of_lock: dict[bytes, tuple[SwapTerms, int]] = {}
        self._holds = dict(plan.holds)
        for index, liar in [each for each in plan.liars.items() if each[0] < plan.ledgers]:
            self.places[index].liar = liar
            self.places[index].imagine = self._imagined
        self.parties: list[Party] = [
            villain_of(plan.villains.get(index, ""))(self, index, plan.crashes.get(index, []))
            for index in range(plan.legs)
        ]
        for index, name in plan.villains.items():
            self.parties[index].villain = name
            self.reach(f"{'provider' if index else 'payer'}_{name}")
        self.swaps = swaps_of(self)
        self.checks = Checks(self)

    def _chain(self) -> MemoryChain:
        both = frozenset({HashFunction.SHA256, HashFunction.SM3})
        skew = self.plan.skews.get(CHAIN, 0)
        chain = MemoryChain(ChainRules(finality_depth=2, skew_ns=skew, hash_functions=both), self.now)
        for index in range(self.plan.legs + 1):
            chain.endow(f"0x{index:040x}", 1_000_000)
        return chain

    # Time.

    def at(self, when: int, what: Callable[[], None]) -> None:
        """Do something at an instant."""
        self._count += 1
        heapq.heappush(self._heap, (max(when, self.now), self._count, what))

    def after(self, delay: int, what: Callable[[], None]) -> None:
        """Do something later."""
        self.at(self.now + delay, what)

    def reach(self, what: str) -> None:
        """Note that a class of events was reached."""
        self.reached[what] += 1

    def refused(self, code: BridgeCode) -> None:
        """Note a refusal of the bridge."""
        self.codes[code.name.lower()] += 1

    # Lines.

    def calm(self) -> bool:
        """Tell whether the faults are over."""
        return self.now - self.start >= _FAULTS_NS

    def linked(self, party: Party, other: str) -> bool:
        """Tell whether nothing cuts a party off from another name now."""
        if self.calm():
            return True
        passed = self.now - self.start
        kind = "party" if other.startswith("party") else other
        for index, name, begins, lasts in self.plan.partitions:
            if index == party.index and name == kind and begins <= passed < begins + lasts:
                self.reach("partition")
                return False
        return True

    def send(self, party: Party, other: str, what: Callable[[], None], *, twice: bool = True) -> None:
        """Carry a message; it may be lost (never three in a row), come twice, or be overtaken."""
        if not self.linked(party, other):
            return
        line = (party.name, other)
        if self._loses(line):
            return
        self.after(self._delay(), what)
        if twice and not self.calm() and self.random.random() < self.plan.doubled:
            self.reach("doubled")
            self.after(self._delay() * 3, what)

    def reply(self, party: Party, what: Callable[[], None]) -> None:
        """Carry an answer back."""
        life = party._life  # noqa: SLF001 - an answer to a process that died meanwhile is lost
        if self._loses(("answer", party.name)):
            return
        self.after(self._delay(), lambda: what() if party._life == life else None)  # noqa: SLF001

    def _loses(self, line: tuple[str, str]) -> bool:
        lose = not self.calm() and self.random.random() < self.plan.losses
        if lose and self._lost[line] < _LOST_IN_A_ROW_MAX:
            self._lost[line] += 1
            self.reach("loss")
            return True
        self._lost[line] = 0
        return False

    def _delay(self) -> int:
        return self.random.randint(1 * _MS, self.plan.delay_ns)

    # Swaps.

    def add_swap(self, terms: SwapTerms) -> None:
        """Let everyone know which terms a lock belongs to."""
        for leg, order in enumerate(terms.orders(self.suite)):
            self._parties_of_lock[order.lock_id] = (terms, leg)

    @property
    def swap_count(self) -> int:
        """How many swaps were begun."""
        return len({terms.uetr + terms.hashlock: None for terms, _ in self._parties_of_lock.values()})

    def terms(self, party: bytes) -> SwapTerms:
        """Return the terms that a party's name belongs to."""
        return self._parties_of_lock[party][0]

    def orders(self, party: bytes) -> tuple[LockOrder, ...]:
        """Return the orders of the swap that a party's name belongs to."""
        return self.terms(party).orders(self.suite)

    def place_of(self, terms: SwapTerms, leg: int) -> Place:
        """Return the node of a leg of ours."""
        ledger = terms.legs[leg].ledger
        return next(place for place in self.places if place.world.ledger == ledger)

    # Nodes.

    def _imagined(self, lock_id: bytes) -> list[Transfer]:
        """Return the record that a lying operator would like to exist."""
        terms, leg = self._parties_of_lock[lock_id]
        return [terms.lock_record(leg, self.suite, key_id=1, now_ns=self.now, window_s=60)]

    def submit(self, place: Place, record: Transfer, lock_id: bytes) -> None:
        """Get a record at a node; the operator may hold it."""
        if self._is_down(place):
            return
        hold = self._holds.get(place.index)
        if hold is not None and lock_id not in place.held and not self.calm():
            self.reach("held")
            place.held[lock_id] = record
            if hold[1]:
                self.after(hold[0], lambda: self._release(place, lock_id))
            return
        if lock_id in place.held:
            return
        place.offer(record)

    def _release(self, place: Place, lock_id: bytes) -> None:
        place.offer(place.held.pop(lock_id))
        self._holds.pop(place.index, None)

    def _is_down(self, place: Place) -> bool:
        if self.calm():
            return False
        passed = self.now - self.start
        for index, begins, lasts in self.plan.downs:
            if index == place.index and begins <= passed < begins + lasts:
                self.reach("node_down")
                return True
        return False

    def _place_clock(self, place: Place) -> int:
        """Return what a node's clock reads, lifted to the relay's where that is ahead, so that headers are taken."""
        behind = self.now + self.plan.skews.get(place.name, 0)
        known = self.relay.blocks[place.relay_height - 1].header.time if place.relay_height else 0
        return max(behind, known)

    def _round(self, place: Place) -> None:
        """One round of a node: consume what it has heard of the relay, apply, seal, publish, tell."""
        if not self._is_down(place):
            lag = 0 if self.calm() else self.plan.lags.get(place.index, 0)
            if lag:
                self.reach("lagging_operator")
            blocks = [block for block in self.relay.blocks[place.relay_height :] if block.header.time + lag <= self.now]
            if blocks or place.busy:
                if blocks:
                    place.consume(blocks, self._place_clock(place))
                place.round(self._place_clock(place))
                self.relay.publish(place)
                self.checks.after_round(place)
        self.after(_ROUND_NS, lambda: self._round(place))

    # Relay and chain.

    def reveal(self, preimage: bytes) -> None:
        """Get a reveal at the relay."""
        self.relay.reveal(preimage)

    def _stalled(self, spells: list[tuple[int, int]], what: str) -> bool:
        if self.calm():
            return False
        passed = self.now - self.start
        if any(begins <= passed < begins + lasts for begins, lasts in spells):
            self.reach(what)
            return True
        return False

    def _relay_block(self) -> None:
        if not self._stalled(self.plan.relay_stalls, "relay_stall"):
            self.relay.step(self.now + self.plan.skews.get("relay", 0))
            self.checks.after_relay()
            for party in self.parties:
                self.after(self._delay(), party.hear_relay)
                for place in self.places:
                    self._push(party, place)
            for place in self.places:
                place.changed.clear()
        self.after(_BLOCK_NS, self._relay_block)

    def _push(self, party: Party, place: Place) -> None:
        """Tell a party of the locks that changed on a ledger; the line may lose it."""
        for lock in place.changed:
            for lock_id, (terms, leg) in self._parties_of_lock.items():
                if terms.legs[leg].foreign or lock.transfer.id != _identity(lock_id):
                    continue
                if not self.linked(party, place.name):
                    continue
                order = terms.orders(self.suite)[leg]
                said = place.say(terms.legs[leg].debit_id, lock_id)
                view = self.verifier.view(order, terms.hash_function, said)
                self.reply(party, partial(party.see, lock_id, view))

    def wish(self, wish: Wish) -> None:
        """Get a wish at the foreign chain."""
        assert self.chain is not None
        self.chain.submit(wish)
        if isinstance(wish, ClaimWish) and len(wish.preimage) == PREIMAGE_BYTES:
            for party in self.parties:
                if party.villain == "reads_pool":
                    # What waits for a block is public: a claim that comes too late has still shown the preimage.
                    self.after(_CHAIN_BLOCK_NS, partial(self.reveal, wish.preimage))

    def undo(self, wish: Wish) -> None:
        """Take everything that is not final away from the foreign chain, and forget one wish of it."""
        assert self.chain is not None
        clock = self.chain.clock()
        self.reach("reorganisation")
        self.chain.reorganise(clock.height - clock.final_height)
        self.chain.drop(wish)

    def chain_view(self, order: LockOrder) -> LockView:
        """Show a lock of the foreign chain as an adapter does that expects this order."""
        assert self.chain is not None
        view = self.chain.view(order)
        if view.state is LockState.ABSENT and self.chain.orders(order.lock_id):
            self.reach("foreign_lock_id_taken")
        return view

    def chain_clock(self) -> ChainClock | None:
        """Show the foreign chain's clock."""
        return None if self.chain is None else self.chain.clock()

    def _chain_block(self) -> None:
        assert self.chain is not None
        if not self._stalled(self.plan.chain_stalls, "chain_stall"):
            self.chain.produce(self.now)
            self.checks.after_chain()
            clock = self.chain.clock()
            for party in self.parties:
                if self.linked(party, CHAIN):
                    self.after(self._delay(), partial(party.hear_chain, clock))
        self.after(_CHAIN_BLOCK_NS, self._chain_block)

    def _end_lies(self) -> None:
        for place in self.places:
            place.liar = ""

    def _reorganise(self, depth: int, *, forget: bool) -> None:
        assert self.chain is not None
        clock = self.chain.clock()
        if not self.calm() and clock.height - clock.final_height >= depth:
            self.reach("reorganisation")
            self.chain.reorganise(depth, forget=forget)

    # The course.

    def run(self) -> None:
        """Play the plan to its end; raises BridgeSimulationFailed naming what did not hold."""
        for index, place in enumerate(self.places):
            self.after(_ROUND_NS // 3 + index * 50 * _MS, partial(self._round, place))
        self._relay_block()
        if self.chain is not None:
            self._chain_block()
            for when, depth, forget in self.plan.reorgs:
                self.after(when, partial(self._reorganise, depth, forget=forget))
        self.after(_FAULTS_NS, self._end_lies)
        for number, swap in enumerate(self.swaps):
            self.after(3 * NS_PER_S + number * 2 * NS_PER_S, swap)
        while self._heap:
            when, _, what = heapq.heappop(self._heap)
            self.now = when
            what()
            if self._count % 64 == 0 and self.now - self.start > 20 * NS_PER_S and self.checks.all_ended():
                break
            if self.now - self.start > _END_NS:
                break
        self.checks.at_the_end()


def _identity(lock_id: bytes) -> int:
    return int.from_bytes(lock_id[:16], "little")
