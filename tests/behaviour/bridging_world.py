"""Three ledgers that decide at once, a relay, and the bridges of a payer and two providers, in one event loop."""

from __future__ import annotations

import asyncio
import hashlib
from types import SimpleNamespace

import pytest

from bridge.desk import QuoteRequest
from bridge.desk_book import Tier
from bridge.quotes import SignedQuote
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.terms import hash_preimage
from clearspan.bridging.journal.store import JournalStore
from clearspan.bridging.lines.ledgers import LockAnswer
from clearspan.bridging.lines.relay import FinalBlock
from clearspan.bridging.market.corridors import Corridors
from clearspan.bridging.market.desk import ProviderDesk
from clearspan.bridging.market.order import Order
from clearspan.bridging.market.routing import Planner
from clearspan.bridging.rules.compliance import Compliance
from clearspan.bridging.serving.running import RunningBridge
from clearspan.bridging.settings.offers import OfferedAccount, OfferedPair, Offers
from clearspan.bridging.swaps.accepting import Accepting
from clearspan.bridging.swaps.asking import Asking
from clearspan.bridging.swaps.engine import BridgeEngine
from clearspan.client.decisions import BlocksRead, FinalDecision
from clearspan.errors import Refused
from engine.genesis import Genesis, GenesisDomain, GenesisKey, GenesisLedger
from engine.prefix import PrefixType, record_digest, signing_prefix
from engine.record import Transfer, derived_claim, derived_refund
from engine.types import Role, TransferFlag, TransferKind
from native.codes import ResultCode
from native.signatures import SUITE_ED25519, public_key
from tests.behaviour.bridge_papers import (
    CNY,
    FIRST,
    HKD,
    NOW,
    PAYER,
    SECOND,
    THB,
    THIRD,
    USD,
    S,
    account,
    document,
)

LEDGERS = (CNY, HKD, THB, USD)
PAIRS = {FIRST: (CNY, HKD), SECOND: (HKD, THB), THIRD: (THB, USD)}
"""Each provider's pair of ledgers; the route goes from one to the next."""
PAYEE = 31


def secret(key_id: int) -> bytes:
    return hashlib.sha256(bytes([key_id])).digest()


def genesis() -> Genesis:
    keys = tuple(
        GenesisKey(100 + key_id, role, SUITE_ED25519, public_key(SUITE_ED25519, secret(key_id)))
        for key_id, role in ((1, Role.SUPERVISOR), (2, Role.OPERATOR), (3, Role.ACCOUNT))
    )
    domains = tuple(
        GenesisDomain(ledger, name, 1, (GenesisLedger(ledger, name.upper(), 2, 900 + ledger),), keys)
        for ledger, name in ((CNY, "cny"), (HKD, "hkd"), (THB, "thb"), (USD, "usd"))
    )
    return Genesis("rules", bytes(range(32)), 1, domains)


class Keys:
    """One key for everything; signatures are not looked at here."""

    def domain_of(self, ledger: int) -> int:
        return ledger

    def key_of(self, ledger: int, account_id: int) -> int:
        return 7

    def sign(self, domain: int, key_id: int, message: bytes) -> bytes:
        return bytes(64)


class Trusting(Planner):
    """Signatures of quotes are tested where they are made."""

    def _verify(self, data: bytes, now: int) -> SignedQuote:
        return SignedQuote.decode(data)


class Line:
    """One engine's line to one ledger of the world."""

    def __init__(self, world: World, ledger: int) -> None:
        self.world, self.domain, self.watch, self.client = world, ledger, self, self
        self.verified = True
        self.expected: set[bytes] = set()
        self.since = len(world.decided)

    def expect(self, digests, *, look_back=False) -> None:
        self.expected.update(digests)
        if look_back:
            # What was decided before this process began it has to ask for, where the world is forgetful.
            first = self.since if self.world.forgetful else 0
            self.world.due.extend(each for each in self.world.decided[first:] if each[1] in digests)

    def has_passed(self, digest, shard, height) -> bool:
        """What was decided before this process began is told by no block, where the world is forgetful."""
        return self.world.forgetful and any(each[1] == digest for each in self.world.decided[: self.since])

    def read_for(self, digest) -> dict[int, BlocksRead]:
        """Its blocks, all of which were told: as far as the world's clock."""
        return {self.domain: BlocksRead(1, 0, self.world.now, self.world.now)}

    def forget(self, digests) -> None:
        self.expected.difference_update(digests)

    async def receipt(self, digest, **_):
        for domain, decided, code in self.world.decided:
            if (domain, decided) == (self.domain, digest):
                at = self.world.decided_at[digest]
                place = SimpleNamespace(shard=domain, height=5, relay_height=self.world.height, relay_time=at)
                decision = SimpleNamespace(code=code, time=at)
                return SimpleNamespace(finding=SimpleNamespace(decision=decision, anchorage=place))
        raise Refused(ResultCode.NOT_FOUND, "not_found", "no decision of this record is final yet", "")

    def lock(self, digest: bytes, record: bytes) -> None:
        self.world.submit(self, digest, record)


class World:
    """Four ledgers that decide at once, a relay, and the bridges of a payer and of providers.

    A ``forgetful`` one tells a process nothing by itself of what was decided before that began: it has to ask.
    """

    def __init__(self, folder, documents, screening=None) -> None:
        self.folder, self.documents, self.now = folder, documents, NOW
        self.genesis, self.screening = genesis(), screening
        self.prefix = signing_prefix(1, PrefixType.TRANSFER, self.genesis.hash)
        self.balances: dict[tuple[int, int], int] = {}
        self.locks: dict[bytes, Transfer] = {}
        self.digests: set[bytes] = set()
        self.due: list = []
        self.decided: list = []
        self.decided_at: dict[bytes, int] = {}
        self.forgetful = False
        self.reveals: list[bytes] = []
        self.blocks: list[FinalBlock] = []
        self.gone: dict[int, asyncio.Event] = {}
        self.height = 1
        self.silent = False
        self.plain: list[Transfer] = []
        self.engines: dict[int, BridgeEngine] = {}
        self.accepting: dict[int, Accepting] = {}
        self.desks: dict[int, ProviderDesk] = {}
        for participant, ledger in ((PAYER, CNY), *((each, pair[1]) for each, pair in PAIRS.items())):
            self.balances[ledger, account(participant, ledger)] = 10**12
        # What a middleman is paid on, he is paid from what he holds.
        self.total = dict.fromkeys(LEDGERS, 10**12)

    def open(self, participant: int) -> BridgeEngine:
        """Start a bridge, again from its journal where it has one."""
        corridors = Corridors(self.folder / f"corridors-{participant}")
        for each in self.documents:
            corridors.book.add(each.record(1))
        corridors.height = 1
        store = JournalStore(self.folder / f"bridge-{participant}", 1 << 26)
        desk, keys = None, Keys()
        pair = PAIRS.get(participant)
        if pair is not None:
            accounts = tuple(OfferedAccount(each, account(participant, each), 7, 10**12) for each in pair)
            offers = Offers(accounts, (OfferedPair(*pair, (Tier(1, 1097, 1000),)),))
            desk = ProviderDesk(self.genesis, participant, keys, corridors, offers)
        compliance = Compliance(self.genesis, participant, corridors, self.screening if pair is None else None)
        engine = BridgeEngine(
            self.genesis,
            participant,
            store,
            corridors=corridors,
            keys=keys,
            desk=desk,
            compliance=compliance,
            now=lambda: self.now,
        )
        peers = SimpleNamespace(accept=self.accept_of(participant), directory=SimpleNamespace(refresh=bool))
        engine.attach([Line(self, each) for each in LEDGERS], self, Asking(engine, peers))
        engine.restore_desk()
        if desk is not None:
            desk.post(offers, self.now)
            self.desks[participant], self.accepting[participant] = desk, Accepting(engine, desk)
        compliance.restore(store, self.now)
        engine.restore()
        engine.start()
        self.engines[participant] = engine
        self.gone[participant] = asyncio.Event()
        # The relay is read on from where the journal says.
        for block in [each for each in self.blocks if each.height > store.relay_height]:
            engine.on_block(block)
        return engine

    def accept_of(self, taker: int):
        async def accept(provider: int, asked):
            if provider not in self.engines:
                return None
            answer = asyncio.ensure_future(self.accepting[provider].accept(asked, taker))
            lost = asyncio.ensure_future(self.gone[provider].wait())
            await asyncio.wait({answer, lost}, return_when=asyncio.FIRST_COMPLETED)
            lost.cancel()
            return answer.result() if answer.done() else None  # the connection went with the process

        return accept

    async def close(self, *participants: int) -> None:
        for participant in participants or tuple(self.engines):
            engine = self.engines.pop(participant)
            self.gone.pop(participant).set()
            await engine.stop()
            await engine._asking.stop()
            engine.store.close()

    def bridge(self) -> RunningBridge:
        engine = self.engines[PAYER]
        planner = Trusting(self.genesis, PAYER, engine.corridors, None)
        return RunningBridge(self.genesis, PAYER, "payer", engine, planner, (), self)

    def quotes(self, amount: int = 12_000, hops: int = 1) -> tuple[bytes, ...]:
        made = []
        for provider, (source, target) in tuple(PAIRS.items())[:hops]:
            wanted = QuoteRequest(PAYER, amount, False, 30)
            made.append(self.desks[provider].quote(wanted, source, target, self.now).encode())
        return tuple(made)

    def order(self, amount: int = 10_000, hops: int = 1, uetr: bytes = bytes(range(16)), **more) -> Order:
        target = LEDGERS[hops]
        return Order(uetr, account(PAYER, CNY), account(PAYEE, target), amount, False, self.quotes(hops=hops), **more)

    # Ledgers and relay.

    def submit(self, line: Line, digest: bytes, record: bytes) -> None:
        transfer = Transfer.decode(record)
        if self.silent:
            return
        self.due.append((line.domain, digest, ResultCode.CREATED))
        if digest in self.digests:
            return
        self.digests.add(digest)
        self.move(transfer, transfer.debit_account, -transfer.amount)
        if transfer.kind == TransferKind.LOCK:
            self.locks[digest] = transfer
        else:
            self.plain.append(transfer)
            self.move(transfer, transfer.credit_account, transfer.amount)

    def move(self, transfer: Transfer, account_id: int, amount: int) -> None:
        key = transfer.ledger, account_id
        self.balances[key] = self.balances.get(key, 0) + amount

    behind = 0
    """Blocks of the relay that are still to be read."""

    def demand_read(self) -> None:
        """Find nothing missing: every engine here is told all blocks before it is asked for anything."""

    def reveal(self, preimages) -> None:
        self.reveals.extend(preimages)

    def end_locks(self, preimage: bytes | None) -> None:
        for digest, lock in tuple(self.locks.items()):
            sm3 = lock.flags & TransferFlag.HASH_IS_SM3
            if preimage is not None and hash_preimage(2 if sm3 else 1, preimage) != lock.binding:
                continue
            if preimage is None:
                made = derived_refund(1, lock, digest)
                self.move(lock, lock.debit_account, lock.amount)
            else:
                made = derived_claim(1, lock, digest, preimage)
                self.move(lock, lock.credit_account, lock.amount)
            self.due.append((lock.ledger, record_digest(1, self.prefix, made.encode()), ResultCode.CREATED))
            del self.locks[digest]

    async def run(self, *, hold_back: bool = False) -> None:
        """Let everything happen that happens by itself; ``hold_back`` keeps reveals from the relay."""
        self.time_passes(0)
        for step in range(80):
            waiting = PAYER in self.engines and any(each.premium for each in self.engines[PAYER].book)
            if step == 40 and waiting:
                self.time_passes(6)  # a premium was not final when its provider was asked; he is asked again
            await self.run_once(hold_back=hold_back)

    async def run_once(self, *, hold_back: bool = False) -> None:
        """Let one round happen: commits, what ledgers decide, one reveal."""
        for engine in tuple(self.engines.values()):
            await engine.committed()
        await asyncio.sleep(0.001)  # answers between bridges are tasks of their own
        due, self.due = self.due, []
        self.decided += due
        for _, digest, _ in due:
            self.decided_at.setdefault(digest, self.now)
        for engine in tuple(self.engines.values()):
            for domain, digest, code in due:
                line = engine.legs.ports[domain]
                engine.on_answers(domain, [LockAnswer(digest, code, 0)])
                if digest in line.expected:
                    place = FinalDecision(digest, code, self.now, domain, 5, self.height, self.now)
                    engine.on_final(domain, [place])
        if self.reveals and not hold_back:
            preimages = tuple(dict.fromkeys(self.reveals))
            self.reveals.clear()
            self.height += 1
            self.tell(FinalBlock(self.height, self.now, preimages))
            for preimage in preimages:
                self.end_locks(preimage)

    def time_passes(self, seconds: int) -> None:
        self.now += seconds * S
        self.height += 1
        self.tell(FinalBlock(self.height, self.now, ()))

    def tell(self, block: FinalBlock) -> None:
        self.blocks.append(block)
        for engine in self.engines.values():
            engine.on_block(block)


def refused(code: BridgeCode, call, *arguments, **more) -> BridgeRefused:
    with pytest.raises(BridgeRefused) as caught:
        call(*arguments, **more)
    assert caught.value.code is code, caught.value
    return caught.value


def scenario(body):
    """Run a coroutine test in a world whose bridges are closed at its end."""

    async def run(world) -> None:
        for participant in (PAYER, *tuple(PAIRS)[: len(world.documents)]):
            world.open(participant)
        try:
            async with asyncio.timeout(20):
                await body(world)
        finally:
            await world.close()

    return run


def hops(**changes):
    """Return the corridors CNY to HKD and HKD to THB, the first one changed."""
    first = {"premium_volatility_ppb": 0, **changes}
    second = {key: value for key, value in first.items() if key != "limits"}
    return document(CNY, HKD, **first), document(HKD, THB, **second)


def play(folder, body, documents=None, screening=None) -> World:
    world = World(folder, documents or hops(), screening)
    asyncio.run(scenario(body)(world))
    return world
