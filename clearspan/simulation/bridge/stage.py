"""The world of one seed but for its parties: one virtual clock, lines that lose, nodes, relay and foreign chain.

All that happens is a function of the plan. It knows terms and locks, and of the parties only their names.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol

from bridge.leg import PREIMAGE_BYTES, HashFunction, LockOrder, LockState, LockView
from bridge.memory_chain import ChainRules, ClaimWish, MemoryChain, Wish
from clearspan.simulation.bridge.market import Premium, account_of_chain
from clearspan.simulation.bridge.places import Place
from clearspan.simulation.bridge.plan import CHAIN
from clearspan.simulation.bridge.realm import realm_of
from clearspan.simulation.bridge.verifier import SimRelay, Verifier
from engine.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.leg import ChainClock
    from bridge.refusals import BridgeCode
    from bridge.terms import LegTerms, SwapTerms
    from clearspan.simulation.bridge.market import Purchase
    from clearspan.simulation.bridge.plan import Plan
    from engine.record import Transfer

__all__ = ["BLOCK_NS", "CHAIN_BLOCK_NS", "BridgeSimulationFailed", "Caller", "Stage"]

_MS: Final = 1_000_000
BLOCK_NS: Final = 2 * NS_PER_S
CHAIN_BLOCK_NS: Final = 2 * NS_PER_S
_LOST_IN_A_ROW_MAX: Final = 2
_FAULTS_NS: Final = 400 * NS_PER_S
_REALMS: Final = 4


class BridgeSimulationFailed(AssertionError):  # noqa: N818 - a verdict, not an error of the program
    """What did not hold, and the one line that shows it again."""

    def __init__(self, seed: int, instant_ns: int, what: str) -> None:
        """Keep the three for reports."""
        again = f"again: clearspan simulate --part bridge --seeds {seed}:{seed + 1}"
        super().__init__(f"{what} ({instant_ns / 1e9:.3f} s after the start); {again}")
        self.seed = seed
        self.instant = instant_ns
        self.what = what


class Caller(Protocol):
    """Who sends over a line: its name, its number, and which of its lives this is."""

    name: str
    index: int
    life: int


class Stage:
    """``now`` is the true time in ns; ``step`` does the next thing that is due."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = random.Random(plan.seed ^ 0x5EED)  # noqa: S311 - to be had again, not to be secret
        self.reached: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self.realm = realm = realm_of(plan.ledgers, plan.seed % _REALMS)
        self.suite = realm.genesis.hash_suite
        self.start = self.now = realm.time + 10 * NS_PER_S
        self.places = [Place(realm, index) for index in range(plan.ledgers)]
        self.relay = SimRelay(realm)
        self.verifier = Verifier(self.relay)
        self.chain = self._chain() if plan.foreign else None
        self.pool_is_read = False
        self.purchases: dict[bytes, Purchase] = {}
        self.waiting = plan.swaps
        self.sealed = 0
        self.list_is_grown = False
        self.ordinal = 0
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._lost: Counter[tuple[str, str]] = Counter()
        self._of_lock: dict[bytes, tuple[SwapTerms, int]] = {}
        self._listeners: dict[str, list[Callable[[], None]]] = {}
        self._serial = 0
        for index, liar in plan.liars.items():
            if index < plan.ledgers:
                self.places[index].liar = liar
                self.places[index].imagine = self._imagined

    def _chain(self) -> MemoryChain:
        both = frozenset({HashFunction.SHA256, HashFunction.SM3})
        skew = self.plan.skews.get(CHAIN, 0)
        chain = MemoryChain(ChainRules(finality_depth=2, skew_ns=skew, hash_functions=both), self.now)
        for index in range(self.plan.legs + 1):
            chain.endow(account_of_chain(index), 1_000_000)
        return chain

    # Time.

    @property
    def passed(self) -> int:
        """How long the run lasts already, ns."""
        return self.now - self.start

    def at(self, when: int, what: Callable[[], None]) -> None:
        """Do something at an instant."""
        self.ordinal += 1
        heapq.heappush(self._heap, (max(when, self.now), self.ordinal, what))

    def after(self, delay: int, what: Callable[[], None]) -> None:
        """Do something later."""
        self.at(self.now + delay, what)

    def step(self) -> bool:
        """Do what is due next; return False when nothing is."""
        if not self._heap:
            return False
        when, _, what = heapq.heappop(self._heap)
        self.now = when
        what()
        return True

    def next_id(self) -> int:
        """Return an id that nothing else has."""
        self._serial += 1
        return 1 << 120 | self._serial

    # What happens.

    def reach(self, what: str) -> None:
        """Note that a class of events was reached."""
        self.reached[what] += 1

    def refused(self, code: BridgeCode) -> None:
        """Note a refusal of the bridge."""
        self.codes[code.name.lower()] += 1

    def fail(self, what: str) -> None:
        """End the run."""
        raise BridgeSimulationFailed(self.plan.seed, self.passed, what)

    def when(self, moment: str, what: Callable[[], None]) -> None:
        """Do something once, when a moment comes that somebody names by ``come``."""
        self._listeners.setdefault(moment, []).append(what)

    def come(self, moment: str) -> None:
        """Say that a moment has come."""
        for what in self._listeners.pop(moment, ()):
            what()

    # Lines.

    def calm(self) -> bool:
        """Tell whether the faults are over."""
        return self.passed >= _FAULTS_NS

    def linked(self, party: Caller, other: str) -> bool:
        """Tell whether nothing cuts a party off from another name now."""
        if self.calm():
            return True
        kind = "party" if other.startswith("party") else other
        for index, name, begins, lasts in self.plan.partitions:
            if index == party.index and name == kind and begins <= self.passed < begins + lasts:
                self.reach("partition")
                return False
        return True

    def send(self, party: Caller, other: str, what: Callable[[], None], *, twice: bool = True) -> None:
        """Carry a message; it may be lost (never three in a row), come twice, or be overtaken."""
        if not self.linked(party, other):
            return
        line = (party.name, other)
        if self._loses(line):
            return
        self.after(self.delay(), what)
        if twice and not self.calm() and self.random.random() < self.plan.doubled:
            self.reach("doubled")
            self.after(self.delay() * 3, what)

    def reply(self, party: Caller, what: Callable[[], None]) -> None:
        """Carry an answer back; one to a process that died meanwhile is lost."""
        life = party.life
        if self._loses(("answer", party.name)):
            return
        self.after(self.delay(), lambda: what() if party.life == life else None)

    def _loses(self, line: tuple[str, str]) -> bool:
        lose = not self.calm() and self.random.random() < self.plan.losses
        if lose and self._lost[line] < _LOST_IN_A_ROW_MAX:
            self._lost[line] += 1
            self.reach("loss")
            return True
        self._lost[line] = 0
        return False

    def delay(self) -> int:
        """Draw how long a message takes."""
        return self.random.randint(1 * _MS, self.plan.delay_ns)

    # Swaps.

    def add_swap(self, terms: SwapTerms, purchase: Purchase) -> None:
        """Let everyone know which terms a lock belongs to."""
        for leg, order in enumerate(terms.orders(self.suite)):
            self._of_lock[order.lock_id] = (terms, leg)
        self.purchases[terms.digest(self.suite)] = purchase

    @property
    def swaps(self) -> list[SwapTerms]:
        """The terms of all swaps that were begun."""
        return list({terms.digest(self.suite): terms for terms, _ in self._of_lock.values()}.values())

    def terms(self, party: bytes) -> SwapTerms:
        """Return the terms that a party's name belongs to."""
        return self._of_lock[party][0]

    def orders(self, party: bytes) -> tuple[LockOrder, ...]:
        """Return the orders of the swap that a party's name belongs to."""
        return self.terms(party).orders(self.suite)

    def locks_named(self, identity: int) -> list[tuple[bytes, SwapTerms, int]]:
        """Return lock id, terms and leg of what stands under a record's id."""
        return [
            (lock_id, terms, leg)
            for lock_id, (terms, leg) in self._of_lock.items()
            if not terms.legs[leg].foreign and int.from_bytes(lock_id[:16], "little") == identity
        ]

    def place_of(self, terms: SwapTerms, leg: int) -> Place:
        """Return the node of a leg of ours."""
        return self.place_of_ledger(terms.legs[leg].ledger)

    def place_of_ledger(self, ledger: int) -> Place:
        """Return the node of a ledger."""
        return next(place for place in self.places if place.world.ledger == ledger)

    # Nodes.

    def premium(self, leg: LegTerms, amount: int, user_data: int) -> Premium:
        """Return how a premium stands that the payer of a leg owes its payee for a swap."""
        found = [
            record
            for record in self.place_of_ledger(leg.ledger).records.values()
            if not record.is_lock
            and (record.transfer.debit_account, record.transfer.credit_account) == (leg.debit_id, leg.credit_id)
            and (record.transfer.amount, record.transfer.user_data) == (amount, user_data)
        ]
        if not found:
            return Premium()
        signed_at = min(each.transfer.expires_at - each.transfer.valid_for_s * NS_PER_S for each in found)
        return Premium(signed_at, any(self.verifier.is_final(each) for each in found))

    def _imagined(self, lock_id: bytes) -> list[Transfer]:
        """Return the record that a lying operator would like to exist."""
        terms, leg = self._of_lock[lock_id]
        return [terms.lock_record(leg, self.suite, key_id=1, now_ns=self.now, window_s=60)]

    def submit(self, place: Place, record: Transfer, answer: Callable[[int], None] | None = None) -> None:
        """Get a record at a node."""
        if not self.is_down(place):
            place.offer(record, answer)

    def is_down(self, place: Place) -> bool:
        """Tell whether a node is silent now."""
        if self.calm():
            return False
        for index, begins, lasts in self.plan.downs:
            if index == place.index and begins <= self.passed < begins + lasts:
                self.reach("node_down")
                return True
        return False

    def clock_of(self, place: Place) -> int:
        """Return what a node's clock reads, lifted to the relay's where that is ahead, so that headers are taken."""
        behind = self.now + self.plan.skews.get(place.name, 0)
        known = self.relay.blocks[place.relay_height - 1].header.time if place.relay_height else 0
        return max(behind, known)

    # Relay and chain.

    def reveal(self, preimage: bytes) -> None:
        """Get a reveal at the relay."""
        if self.relay.reveal(preimage):
            self.list_is_grown = self.plan.papers.list_grows
            self.come("revealed")

    def stalled(self, spells: list[tuple[int, int]], what: str) -> bool:
        """Tell whether one of these spells lasts now."""
        if self.calm() or not any(begins <= self.passed < begins + lasts for begins, lasts in spells):
            return False
        self.reach(what)
        return True

    def wish(self, wish: Wish) -> None:
        """Get a wish at the foreign chain."""
        assert self.chain is not None
        self.chain.submit(wish)
        if isinstance(wish, ClaimWish) and len(wish.preimage) == PREIMAGE_BYTES and self.pool_is_read:
            # What waits for a block is public: a claim that comes too late has still shown the preimage.
            preimage = wish.preimage
            self.after(CHAIN_BLOCK_NS, lambda: self.reveal(preimage))

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
