"""A payer and a provider with the real engines, ledgers of ours that decide at once, and a simulated chain between them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import msgspec

from bridge.corridor import MarginPart, MarginParts
from bridge.desk import QuoteRequest
from bridge.desk_book import Tier
from bridge.foreign_asset import FOREIGN_LEDGER_FIRST, ForeignAccount, ForeignAsset, account_handle
from bridge.leg import LegCode, LegRefused
from bridge.memory_leg import ChainRules, MemoryChain, MemoryLeg
from bridge.ports import Timing
from clearspan.bridging.chains.served import Chains
from clearspan.bridging.journal.store import JournalStore
from clearspan.bridging.lines.ledgers import LockAnswer
from clearspan.bridging.lines.relay import FinalBlock
from clearspan.bridging.market.corridors import Corridors
from clearspan.bridging.market.desk import ProviderDesk
from clearspan.bridging.market.order import Order
from clearspan.bridging.rules.compliance import Compliance
from clearspan.bridging.serving.running import RunningBridge
from clearspan.bridging.settings.offers import OfferedAccount, OfferedPair, Offers
from clearspan.bridging.swaps.accepting import Accepting
from clearspan.bridging.swaps.asking import Asking
from clearspan.bridging.swaps.engine import BridgeEngine
from clearspan.client.decisions import FinalDecision
from tests.behaviour.bridge_papers import CNY, FIRST, HKD, PAYER, THB, S, account, document
from tests.behaviour.bridging_world import PAYEE, Keys, Line, Trusting, World

CHAIN, ETH = "memory", FOREIGN_LEDGER_FIRST + 1
NAMES = {PAYER: "the-payer", FIRST: "the-provider"}
STRANGER = "a-stranger"
FINALITY = 2
# A provider gives 1,097,000 units of the chain for 1,000 of ours, and one of ours for 1,000 of the chain's.
OUT, BACK = Tier(1, 1_097, 1), Tier(1, 1, 1_000)


def asset(**changes) -> ForeignAsset:
    made = ForeignAsset(ETH, CHAIN, "", "ETH", 18, (ForeignAccount(FIRST, NAMES[FIRST]),))
    return msgspec.structs.replace(made, **changes)


def corridors(**changes):
    """Corridors from CNY to the chain and back."""
    part = MarginPart(2 * S, "measured on the simulated chain")
    made = []
    for source, target in ((CNY, ETH), (ETH, CNY)):
        base = document(premium_volatility_ppb=0, providers=(FIRST,), hash_functions=("sha256",))
        margins = msgspec.structs.replace(
            base.margins, foreign={CHAIN: MarginParts(MarginPart(4 * S, part.basis), part, part)}
        )
        pair = {"id": f"{source << 64 | target:032x}", "source_ledger": source, "target_ledger": target}
        fields = {**pair, "foreign": asset(), "margins": margins, **changes}
        made.append(msgspec.structs.replace(base, **fields))
    return tuple(made)


class MemoryPort(MemoryLeg):
    """A ``ChainPort`` on the simulated chain."""

    name, poll_s, head_age_ns_max, fee_reserve = CHAIN, 0.002, 60 * S, 0

    def __init__(self, chain: MemoryChain, account_name: str) -> None:
        super().__init__(chain, account_name)
        self.address, self.out_count, self.closed = account_name, 0, False

    def demand(self, order) -> None:
        if order.hash_function not in self._chain.rules.hash_functions:
            raise LegRefused(LegCode.HASH_FUNCTION_UNSUPPORTED, order.hash_function.name)

    def forget(self, lock_id: bytes) -> None:
        self._expected.pop(lock_id, None)
        self._sent.pop(lock_id, None)

    async def balance(self) -> int:
        return self._chain.balance(self.address)

    async def tend(self) -> None:
        return None

    async def close(self) -> None:
        self.closed = True


class ChainWorld(World):
    """`World` with a chain; a step is a second, a block of the chain and a block of the relay."""

    def __init__(self, folder, documents=None, screening=None) -> None:
        super().__init__(folder, documents or corridors(), screening)
        self.chain = MemoryChain(ChainRules(finality_depth=FINALITY), genesis_ns=self.now)
        for name in (*NAMES.values(), STRANGER):
            self.chain.endow(name, 10**12)
        self.balances[CNY, account(FIRST, CNY)] = 10**12
        self.total[CNY] = 2 * 10**12
        self.ports: dict[int, MemoryPort] = {}
        self.past: list[bytes] = []
        self.dead_at: dict[int, tuple[str, str]] = {}
        self.killed: set[int] = set()
        self.time, self.following = 0, ""

    def open(self, participant: int) -> BridgeEngine:
        known = Corridors(self.folder / f"corridors-{participant}")
        for each in self.documents:
            known.book.add(each.record(1))
        known.height = 1
        store = JournalStore(self.folder / f"bridge-{participant}", 1 << 26)
        desk, keys = None, Keys()
        if participant == FIRST:
            name = NAMES[FIRST]
            accounts = (
                OfferedAccount(CNY, account(FIRST, CNY), 7, 10**12),
                OfferedAccount(ETH, account_handle(name), 0, 10**12),
            )
            offers = Offers(accounts, (OfferedPair(CNY, ETH, (OUT,)), OfferedPair(ETH, CNY, (BACK,))))
            desk = ProviderDesk(self.genesis, participant, keys, known, offers)
        port = self.ports[participant] = MemoryPort(self.chain, NAMES[participant])
        chains = Chains([port], lambda: self.now)
        engine = BridgeEngine(
            self.genesis,
            participant,
            store,
            corridors=known,
            keys=keys,
            desk=desk,
            compliance=Compliance(self.genesis, participant, known),
            timing=Timing(retry_ns=2 * S, poll_ns=S, look_ns=2 * S),
            now=lambda: self.now,
        )
        peers = SimpleNamespace(accept=self.accept_of(participant), directory=SimpleNamespace(refresh=bool))
        engine.attach([Line(self, each) for each in (CNY, HKD, THB)], self, Asking(engine, peers), chains)
        engine.restore_desk()
        if desk is not None:
            desk.post(offers, self.now)
            self.desks[participant], self.accepting[participant] = desk, Accepting(engine, desk)
        engine.compliance.restore(store, self.now)
        engine.watcher.relay_block(0, 0, self.past, self.now)
        engine.restore()
        if participant in self.dead_at:
            engine.at_step = self._die_of(participant)
        engine.start()
        chains.start()
        self.engines[participant] = engine
        return engine

    def _die_of(self, participant: int):
        def at_step(stage: str, kind) -> None:
            if (stage, kind.name.lower()) == self.dead_at.get(participant) and participant not in self.killed:
                self.killed.add(participant)
                raise KilledError

        return at_step

    def accept_of(self, taker: int):
        async def accept(provider: int, asked):
            if provider not in self.engines or self.engines[provider].fault is not None:
                return None
            answering = asyncio.ensure_future(self.accepting[provider].accept(asked, taker))
            # A provider that dies answers nothing; its caller hears so when its time is over.
            while not answering.done():
                await asyncio.wait([answering], timeout=0.01)
                if provider not in self.engines or self.engines[provider].fault is not None:
                    answering.cancel()
                    return None
            return answering.result()

        return accept

    async def close(self, *participants: int) -> None:
        for participant in participants or tuple(self.engines):
            engine = self.engines.pop(participant)
            await engine.stop()
            await engine._asking.stop()
            await engine.chains.stop()
            engine.store.close()

    def bridge(self, taker: int = PAYER) -> RunningBridge:
        engine = self.engines[taker]
        planner = Trusting(self.genesis, taker, engine.corridors, None, engine.chains.address)
        return RunningBridge(self.genesis, taker, "payer", engine, planner, (), self)

    def order(self, *, foreign_first: bool, amount: int = 0, uetr: bytes = bytes(range(16)), **more) -> Order:
        """Pay 1,000 of ours for units of the chain, or 1,000,000 of the chain's for ours."""
        pair = (ETH, CNY) if foreign_first else (CNY, ETH)
        amount = amount or (1_000_000 if foreign_first else 1_000)
        quote = self.desks[FIRST].quote(QuoteRequest(PAYER, amount, False, 60), *pair, self.now).encode()
        ends = (0, account(PAYEE, CNY)) if foreign_first else (account(PAYER, CNY), account_handle("a-payee"))
        payee = "" if foreign_first else "a-payee"
        return Order(uetr, *ends, amount, False, (quote,), chain_account=payee, **more)

    async def settle(self) -> None:
        """Let all that is on its way come to rest, without time passing."""
        for _ in range(2):
            for engine in tuple(self.engines.values()):
                if engine.fault is None:
                    with_timeout = asyncio.wait_for(engine.committed(), 0.3)
                    await asyncio.gather(with_timeout, return_exceptions=True)
            await asyncio.sleep(0.002)
            due, self.due = self.due, []
            self.decided += due
            self.decided_at |= {digest: self.now for _, digest, _ in due if digest not in self.decided_at}
            for engine in tuple(self.engines.values()):
                for domain, digest, code in due:
                    line = engine.legs.ports[domain]
                    engine.on_answers(domain, [LockAnswer(digest, code, 0)])
                    if digest in line.expected:
                        place = FinalDecision(digest, code, self.now, domain, 5, self.height, self.now)
                        engine.on_final(domain, [place])

    async def step(self, seconds: int = 1) -> None:
        """Time passes: a block of the chain, a block of the relay with what was to be revealed, all that follows."""
        self.now += seconds * S
        self.chain.produce(self.now)
        self.chain.check_invariants()
        await self.settle()
        self.height += 1
        reveals, self.reveals = tuple(dict.fromkeys(self.reveals)), []
        self.past += reveals
        for engine in tuple(self.engines.values()):
            engine.on_block(FinalBlock(self.height, self.now, reveals))
        for preimage in reveals:
            self.end_locks_of(preimage)
        self.end_late_locks()
        await self.settle()

    def end_locks_of(self, preimage: bytes) -> None:
        """Claim what a secret opens and is not over."""
        keep = {digest: lock for digest, lock in self.locks.items() if not self.opens(lock, preimage)}
        self.locks, others = {d: each for d, each in self.locks.items() if d not in keep}, keep
        self.end_locks(preimage)
        self.locks.update(others)

    def opens(self, lock, preimage: bytes) -> bool:
        from bridge.terms import hash_preimage  # noqa: PLC0415

        return hash_preimage(1, preimage) == lock.binding and lock.until > self.now

    def end_late_locks(self) -> None:
        """Refund what timed out."""
        keep = {digest: lock for digest, lock in self.locks.items() if lock.until > self.now}
        self.locks, others = {d: each for d, each in self.locks.items() if d not in keep}, keep
        self.end_locks(None)
        self.locks.update(others)

    async def play(self, steps: int = 120, dead_steps: int = 3) -> None:
        """Step until both sides have ended; who was killed comes back after some seconds."""
        dead: dict[int, int] = {}
        for number in range(steps):
            # A swap that goes on is over by then; one that waits for its timelocks waits faster.
            await self.step(1 if number < 25 else 5)
            for participant in (PAYER, FIRST):
                engine = self.engines.get(participant)
                if engine is not None and engine.fault is not None:
                    await self.close(participant)
                    dead[participant] = 0
                if participant in dead:
                    dead[participant] += 1
                    if dead[participant] > dead_steps:
                        del dead[participant]
                        self.open(participant)
            if not dead and all(not len(each.book) for each in self.engines.values()):
                return

    def outcomes(self) -> dict[int, str]:
        found = {}
        for participant, engine in self.engines.items():
            for swap in engine.book.recently_ended():
                found[participant] = swap.outcome.name
        return found


class KilledError(BaseException):
    """The process of a bridge ends here."""


def play(folder, body, **options) -> ChainWorld:
    """Run a coroutine test in a world whose bridges are closed at its end."""
    world = ChainWorld(folder, **options)

    async def run() -> None:
        for participant in (PAYER, FIRST):
            world.open(participant)
        await asyncio.sleep(0.02)
        try:
            async with asyncio.timeout(60):
                await body(world)
        finally:
            await world.close()

    asyncio.run(run())
    return world
