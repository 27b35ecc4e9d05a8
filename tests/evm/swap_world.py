"""A whole swap between a ledger of ours and a foreign chain: two parties with the real machines, journals and adapters.

The foreign chain is the simulated one or a real node; our ledger is a small, obviously right stand-in for locks that
a relay decides. Time is the foreign chain's, ten seconds a step, and everything happens in one order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from bridge.foreign import ForeignLegs
from bridge.journal import entry_key
from bridge.leg import ExpectingAdapter, HashFunction, LegError, LockOrder, LockState, LockView
from bridge.margins import Margins, SideMargins
from bridge.memory_leg import ChainRules, MemoryChain, MemoryLeg
from bridge.ports import (
    AcceptanceRefused,
    Accepted,
    Action,
    Alarm,
    AskAcceptance,
    Entry,
    Finished,
    Journal,
    Lock,
    LockSeen,
    Look,
    Outcome,
    Reveal,
    Timing,
)  # fmt: skip
from bridge.refusals import BridgeRefused
from bridge.terms import LegTerms, SwapTerms, account_text, seal_terms
from bridge.watcher import Watcher
from native.hashing import digest

SECOND = 1_000_000_000
STEP_S = 10
FINALITY = 3
SUITE = 1
CHAIN = "evm"
AMOUNT, FOREIGN_AMOUNT = 500, 700
MARGINS = Margins(
    home=SideMargins(finality_ns=10 * SECOND, watching_ns=10 * SECOND, submission_ns=10 * SECOND),
    foreign={CHAIN: SideMargins((FINALITY + 1) * 10 * SECOND, 10 * SECOND, 10 * SECOND)},
    skew_ns=10 * SECOND,
    failover_ns=60 * SECOND,
    stall_ns=30 * SECOND,
)


class Home:
    """Locks on our ledger: the relay's time decides, reveals come before refunds, each block is final."""

    def __init__(self) -> None:
        self.height = 0
        self.time_ns = 0
        self.balances: dict[str, int] = {}
        self.revealed: set[bytes] = set()
        self._waiting: list[LockOrder] = []
        self._reveals: list[bytes] = []
        self._views: dict[bytes, LockView] = {}

    def lock(self, order: LockOrder) -> None:
        if order.lock_id not in self._views and order not in self._waiting:
            self._waiting.append(order)

    def reveal(self, preimage: bytes) -> None:
        if preimage not in self.revealed and preimage not in self._reveals:
            self._reveals.append(preimage)

    def view(self, lock_id: bytes) -> LockView:
        return self._views.get(lock_id, LockView(LockState.ABSENT, None, None, 0, ""))

    def block(self, time_ns: int) -> list[bytes]:
        """Take what waits; return the preimages that this relay block reveals."""
        self.height, self.time_ns = self.height + 1, time_ns
        for order in self._waiting:
            if self.balances.get(order.payer, 0) >= order.amount and order.timelock_ns > time_ns:
                self.balances[order.payer] -= order.amount
                self._views[order.lock_id] = LockView(LockState.FINAL, order, None, self.height, "")
        reveals, self._reveals, self._waiting = self._reveals, [], []
        for preimage in reveals:
            self.revealed.add(preimage)
            for order in self._open():
                if digest(1, preimage) == order.hashlock and time_ns < order.timelock_ns:
                    self._end(order, LockState.CLAIMED_FINAL, order.payee, preimage)
        for order in self._open():
            if time_ns >= order.timelock_ns:
                self._end(order, LockState.REFUNDED_FINAL, order.payer, None)
        return reveals

    def locked(self) -> int:
        return sum(order.amount for order in self._open())

    def _open(self) -> list[LockOrder]:
        return [view.order for view in self._views.values() if view.state is LockState.FINAL]

    def _end(self, order: LockOrder, state: LockState, account: str, preimage: bytes | None) -> None:
        self.balances[account] = self.balances.get(account, 0) + order.amount
        self._views[order.lock_id] = LockView(state, order, preimage, self.height, "")


class Foreign(Protocol):
    """The foreign chain of a story: the payer's and the provider's accounts, blocks, reorganisations, locked units."""

    payer: str
    provider: str

    def adapter(self, account: str) -> ExpectingAdapter: ...
    def now_s(self) -> int: ...
    def block(self, time_s: int) -> None: ...
    def reorganise(self, depth: int) -> None: ...
    def restart(self) -> None: ...
    def locked(self) -> int: ...
    async def close(self) -> None: ...


class SimulatedForeign:
    payer, provider = "the payer", "the provider"

    def __init__(self) -> None:
        self.chain = MemoryChain(ChainRules(finality_depth=FINALITY), genesis_ns=1_700_000_000 * SECOND)
        for account in (self.payer, self.provider):
            self.chain.endow(account, 10_000)

    def adapter(self, account: str) -> ExpectingAdapter:
        return MemoryLeg(self.chain, account)

    def now_s(self) -> int:
        return self.chain.clock().time_ns // SECOND

    def block(self, time_s: int) -> None:
        self.chain.produce(time_s * SECOND)
        self.chain.check_invariants()

    def reorganise(self, depth: int) -> None:
        times = [self.chain.clock().time_ns + step for step in range(depth)]
        self.chain.reorganise(depth, forget=True)
        for time_ns in times:
            self.chain.produce(time_ns)

    def restart(self) -> None:
        for wish in self.chain.waiting():
            self.chain.drop(wish)

    def locked(self) -> int:
        return 20_000 - self.chain.balance(self.payer) - self.chain.balance(self.provider)

    async def close(self) -> None:
        return None


class Died(Exception):
    """The party was killed."""


@dataclass
class Party:
    """One party: what survives a kill is `journal` (and the adapter's book)."""

    name: str
    account: str
    world: SwapWorld
    die_at: int = -1
    journal: list[Entry] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    outcome: Outcome | None = None
    troubles: list[LegError] = field(default_factory=list)
    actions: int = 0
    alive: bool = True

    def __post_init__(self) -> None:
        self._be_born()

    def _be_born(self) -> None:
        self.watcher = Watcher(
            SUITE,
            lambda terms: MARGINS,
            Timing(retry_ns=STEP_S * SECOND, poll_ns=STEP_S * SECOND, look_ns=STEP_S * SECOND),
        )
        self.foreign = ForeignLegs(
            {CHAIN: self.world.foreign.adapter(self.account)}, lambda _, error: self.troubles.append(error)
        )

    async def rise(self) -> None:
        """Start again from the journal."""
        self.alive = True
        self._be_born()
        self.hear_clocks()
        self.outcome = None
        await self.do(self.watcher.restore(sorted(self.journal, key=entry_key), self.world.now_ns))
        for entry in self.journal:
            if self.watcher.end_of(entry.party) is not None:
                self.outcome = self.watcher.end_of(entry.party)[0]

    def hear_clocks(self) -> None:
        home = self.world.home
        self.watcher.relay_block(home.height, home.time_ns, sorted(home.revealed), self.world.now_ns)

    async def do(self, tasks: list[tuple[bytes, Action]]) -> None:
        tasks = list(tasks)
        while tasks:
            party, action = tasks.pop(0)
            if self.actions == self.die_at:
                self.actions += 1
                raise Died
            self.actions += 1
            tasks += await self._act(party, action)

    async def _act(self, party: bytes, action: Action) -> list[tuple[bytes, Action]]:
        world, watcher = self.world, self.watcher
        now_ns = world.now_ns
        orders = world.terms.orders(SUITE)
        if self.foreign.concerns(world.terms, action):
            seen = await self.foreign.do(world.terms, orders, action)
            return [] if seen is None else watcher.on([(party, seen)], now_ns)
        if isinstance(action, Journal):
            self.journal.append(action.entry)
        elif isinstance(action, Lock):
            world.home.lock(action.order)
        elif isinstance(action, AskAcceptance):
            return await self._ask(party, action.leg)
        elif isinstance(action, Reveal):
            world.home.reveal(action.preimage)
        elif isinstance(action, Look):
            return watcher.on([(party, LockSeen(action.leg, world.home.view(action.order.lock_id)))], now_ns)
        elif isinstance(action, Alarm):
            self.alarms.append(action)
        elif isinstance(action, Finished):
            self.outcome = action.outcome
        return []

    async def _ask(self, party: bytes, leg: int) -> list[tuple[bytes, Action]]:
        """Ask the provider; who is dead does not answer, and is asked again."""
        world = self.world
        try:
            await world.provider.accept()
        except Died:
            return []
        except BridgeRefused as refusal:
            return self.watcher.on([(party, AcceptanceRefused(leg, int(refusal.code)))], world.now_ns)
        return self.watcher.on([(party, Accepted(leg, world.terms.orders(SUITE)[leg].lock_id))], world.now_ns)

    async def accept(self) -> None:
        """Accept the swap that the payer asks about."""
        if not self.alive:
            raise Died
        if self.world.refusing:
            return  # says yes and does nothing
        try:
            await self.do(self.watcher.accept(self.world.terms, 1, self.world.now_ns))
        except Died:
            self.alive = False
            raise

    async def step(self, preimages: list[bytes]) -> None:
        if not self.alive:
            return
        home, watcher, now_ns = self.world.home, self.watcher, self.world.now_ns
        try:
            await self.do(watcher.relay_block(home.height, home.time_ns, preimages, now_ns))
            for chain, clock in (await self.foreign.clocks()).items():
                watcher.chain_clock(chain, clock, now_ns)
            terms = self.world.terms
            ours = [
                order.lock_id for order, leg in zip(terms.orders(SUITE), terms.legs, strict=True) if not leg.foreign
            ]
            await self.do(watcher.seen([(lock_id, home.view(lock_id)) for lock_id in ours], now_ns))
            await self.do(watcher.tick(now_ns))
        except Died:
            self.alive = False


class SwapWorld:
    """The story: `foreign_first` says whether leg 0 stands on the foreign chain."""

    def __init__(self, foreign: Foreign, *, foreign_first: bool, refusing: bool = False) -> None:
        self.foreign = foreign
        self.home = Home()
        self.refusing = refusing
        self.time_s = foreign.now_s()
        self.home.time_ns = self.now_ns
        payer, provider = account_text(0xA), account_text(0xB)
        self.home.balances = {payer: 10_000, provider: 10_000}
        first = self.now_ns + 480 * SECOND
        second = first + MARGINS.needed("" if foreign_first else CHAIN, CHAIN if foreign_first else "")
        far = (0, CHAIN, "")
        if foreign_first:
            legs = (
                LegTerms(far[0], foreign.payer, foreign.provider, FOREIGN_AMOUNT, second, chain=CHAIN),
                LegTerms(1, provider, payer, AMOUNT, first),
            )
        else:
            legs = (
                LegTerms(1, payer, provider, AMOUNT, second),
                LegTerms(far[0], foreign.provider, foreign.payer, FOREIGN_AMOUNT, first, chain=CHAIN),
            )
        self.salt = b"s" * 32
        draft = SwapTerms(b"u" * 16, b"n" * 32, legs, HashFunction.SHA256, bytes(32), self.now_ns)
        self.terms, _ = seal_terms(draft, self.salt, SUITE)
        self.payer = Party("payer", foreign.payer, self)
        self.provider = Party("provider", foreign.provider, self)

    @property
    def now_ns(self) -> int:
        return self.time_s * SECOND

    async def begin(self) -> None:
        for party in (self.payer, self.provider):
            party.hear_clocks()
            for chain, clock in (await party.foreign.clocks()).items():
                party.watcher.chain_clock(chain, clock, self.now_ns)
        try:
            await self.payer.do(self.payer.watcher.begin(self.terms, self.salt, self.now_ns))
        except Died:
            self.payer.alive = False

    async def step(self, disturb: Callable[[int], None] | None = None, number: int = 0) -> None:
        self.time_s += STEP_S
        self.foreign.block(self.time_s)
        if disturb is not None:
            disturb(number)
        preimages = self.home.block(self.now_ns)
        for party in (self.payer, self.provider):
            await party.step(preimages)
        assert sum(self.home.balances.values()) + self.home.locked() == 20_000, "our ledger conserves value"

    async def play(self, disturb: Callable[[int], None] | None = None, steps: int = 140, dead_steps: int = 3) -> None:
        """Step until both have ended; who was killed comes back after some steps, well within the failover."""
        await self.begin()
        dead: dict[str, int] = {}
        for number in range(steps):
            for party in (self.payer, self.provider):
                if not party.alive:
                    dead[party.name] = dead.get(party.name, 0) + 1
                    if dead[party.name] > dead_steps:
                        dead[party.name] = 0
                        await party.rise()
            await self.step(disturb, number)
            if (
                self.payer.alive
                and self.provider.alive
                and self.payer.outcome
                and (self.provider.outcome or not self.provider.journal)
            ):
                break

    def legs(self) -> tuple[str, str]:
        """How each leg ended, ours and the foreign one, by the money: claimed, refunded (or never locked), open."""
        ours = {500: "claimed", 0: "refunded"}.get(abs(self.home.balances[account_text(0xA)] - 10_000), "odd")
        return ("open" if self.home.locked() else ours), ("open" if self.foreign.locked() else "ended")
