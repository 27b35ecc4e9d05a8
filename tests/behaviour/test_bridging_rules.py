"""The rules of a bridge (EDGE, BREAK, CORRIDOR-9, TRAVEL-8, QUOTE-21): asked before a lock, kept over a restart."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from types import SimpleNamespace

import msgspec
import pytest

from bridge.cases import CaseState, Step
from bridge.corridor import Limits
from bridge.corridor_breakers import BreakerNotice, SignedNotice
from bridge.desk import QuoteRequest
from bridge.desk_book import Tier
from bridge.fees import FeeRule
from bridge.ports import Outcome
from bridge.quotes import SignedQuote
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.screening import ListEntry, Screen, WatchList
from bridge.travel_rule import Party, Recipient, Scheme, Seeds, TravelRuleData, envelope_hash, seal
from clearspan.bridging.accepting import Accepting
from clearspan.bridging.asking import Asking
from clearspan.bridging.compliance import Compliance, Screening
from clearspan.bridging.corridors import Corridors
from clearspan.bridging.desk import ProviderDesk
from clearspan.bridging.engine import BridgeEngine
from clearspan.bridging.ledgers import LockAnswer, lock_columns
from clearspan.bridging.offers import OfferedAccount, OfferedPair, Offers
from clearspan.bridging.relay import FinalBlock
from clearspan.bridging.routing import Order, Planner
from clearspan.bridging.rule_files import RuleFiles, read_screen
from clearspan.bridging.running import RunningBridge
from clearspan.bridging.service import BridgeServer
from clearspan.bridging.store import JournalStore
from clearspan.client.decisions import FinalDecision
from clearspan.errors import ConfigError, Unreachable
from clearspan.status import CallRefused
from clearspan.v1 import bridge_pb2
from engine.genesis import Genesis, GenesisDomain, GenesisKey, GenesisLedger
from engine.prefix import PrefixType, record_digest, signing_prefix
from engine.record import Transfer, derived_claim, derived_refund
from engine.types import BreakerGrade, Role, TransferKind
from native.codes import ResultCode
from native.signatures import SUITE_ED25519, public_key, sign
from tests.behaviour.bridge_papers import (
    CNY,
    FIRST,
    HKD,
    NOW,
    PAYER,
    SECOND,
    THB,
    S,
    account,
    document,
)

PAYEE = 31
OFFICERS = ("officer-a", "officer-b")
FEES = (FeeRule("clearing", f"{account(91, CNY):032x}", "7", 1_000, "0", "1000000"),)
LISTED = WatchList("invented", 7, (ListEntry("L01", ("Quillon Harbour Trading",)),))
CLEAN_NAMES = ("Novamar Cement Industries", "Lanjiao Shipping")
LISTED_NAMES = ("Novamar Cement Industries", "Quilon Harbor Trading")


def secret(key_id: int) -> bytes:
    return hashlib.sha256(bytes([key_id])).digest()


def genesis() -> Genesis:
    keys = tuple(
        GenesisKey(100 + key_id, role, SUITE_ED25519, public_key(SUITE_ED25519, secret(key_id)))
        for key_id, role in ((1, Role.SUPERVISOR), (2, Role.OPERATOR), (3, Role.ACCOUNT))
    )
    domains = tuple(
        GenesisDomain(ledger, name, 1, (GenesisLedger(ledger, name.upper(), 2, 900 + ledger),), keys)
        for ledger, name in ((CNY, "cny"), (HKD, "hkd"), (THB, "thb"))
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

    def expect(self, digests, *, look_back=False) -> None:
        self.expected.update(digests)
        if look_back:
            self.world.due.extend(each for each in self.world.decided if each[1] in digests)

    def forget(self, digests) -> None:
        self.expected.difference_update(digests)

    async def receipt(self, digest, **_) -> None:
        raise Unreachable("a ledger of the test", "gives no receipts")

    def lock(self, digest: bytes, record: bytes) -> None:
        self.world.submit(self, digest, record)


class World:
    """Three ledgers that decide at once, a relay, and the bridges of a payer and two providers."""

    def __init__(self, folder, documents, screening=None) -> None:
        self.folder, self.documents, self.now = folder, documents, NOW
        self.genesis, self.screening = genesis(), screening
        self.prefix = signing_prefix(1, PrefixType.TRANSFER, self.genesis.hash)
        self.balances: dict[tuple[int, int], int] = {}
        self.locks: dict[bytes, Transfer] = {}
        self.digests: set[bytes] = set()
        self.due: list = []
        self.decided: list = []
        self.reveals: list[bytes] = []
        self.height = 1
        self.silent = False
        self.plain: list[Transfer] = []
        self.engines: dict[int, BridgeEngine] = {}
        self.accepting: dict[int, Accepting] = {}
        self.desks: dict[int, ProviderDesk] = {}
        for participant, ledger in ((PAYER, CNY), (FIRST, HKD), (SECOND, THB)):
            self.balances[ledger, account(participant, ledger)] = 10**12
        # What a middleman is paid on, he is paid from what he holds.
        self.total = dict.fromkeys((CNY, HKD, THB), 10**12)

    def open(self, participant: int) -> BridgeEngine:
        """Start a bridge, again from its journal where it has one."""
        corridors = Corridors(self.folder / f"corridors-{participant}")
        for each in self.documents:
            corridors.book.add(each.record(1))
        corridors.height = 1
        store = JournalStore(self.folder / f"bridge-{participant}", 1 << 26)
        desk, keys = None, Keys()
        pair = {FIRST: (CNY, HKD), SECOND: (HKD, THB)}.get(participant)
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
        engine.attach([Line(self, each) for each in (CNY, HKD, THB)], self, Asking(engine, peers))
        fresh = engine.restore_desk()
        if desk is not None:
            desk.post(offers, self.now, inventory=fresh)
            self.desks[participant], self.accepting[participant] = desk, Accepting(engine, desk)
        compliance.restore(store, self.now)
        engine.restore()
        engine.start()
        self.engines[participant] = engine
        return engine

    def accept_of(self, taker: int):
        async def accept(provider: int, asked):
            return await self.accepting[provider].accept(asked, taker)

        return accept

    async def close(self, *participants: int) -> None:
        for participant in participants or tuple(self.engines):
            engine = self.engines.pop(participant)
            await engine.stop()
            await engine._asking.stop()
            engine.store.close()

    def bridge(self) -> RunningBridge:
        engine = self.engines[PAYER]
        planner = Trusting(self.genesis, PAYER, engine.corridors, None)
        return RunningBridge(self.genesis, PAYER, "payer", engine, planner, (), self)

    def quotes(self, amount: int = 12_000, hops: int = 1) -> tuple[bytes, ...]:
        made = []
        for provider, (source, target) in ((FIRST, (CNY, HKD)), (SECOND, (HKD, THB)))[:hops]:
            wanted = QuoteRequest(PAYER, amount, False, 30)
            made.append(self.desks[provider].quote(wanted, source, target, self.now).encode())
        return tuple(made)

    def order(self, amount: int = 10_000, hops: int = 1, uetr: bytes = bytes(range(16)), **more) -> Order:
        target = (HKD, THB)[hops - 1]
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

    def reveal(self, preimages) -> None:
        self.reveals.extend(preimages)

    def end_locks(self, preimage: bytes | None) -> None:
        for digest, lock in tuple(self.locks.items()):
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
            for engine in tuple(self.engines.values()):
                await engine.committed()
            await asyncio.sleep(0.001)  # answers between bridges are tasks of their own
            due, self.due = self.due, []
            self.decided += due
            for engine in tuple(self.engines.values()):
                for domain, digest, code in due:
                    line = engine._ledgers[domain]
                    engine.on_answers(domain, [LockAnswer(digest, code, 0)])
                    if digest in line.expected:
                        place = FinalDecision(digest, code, self.now, domain, 5, self.height, self.now)
                        engine.on_final(domain, [place])
            if self.reveals and not hold_back:
                preimage = self.reveals[0]
                self.reveals.clear()
                self.height += 1
                for engine in self.engines.values():
                    engine.on_block(FinalBlock(self.height, self.now, (preimage,)))
                self.end_locks(preimage)

    def time_passes(self, seconds: int) -> None:
        self.now += seconds * S
        self.height += 1
        for engine in self.engines.values():
            engine.on_block(FinalBlock(self.height, self.now, ()))


def refused(code: BridgeCode, call, *arguments, **more) -> BridgeRefused:
    with pytest.raises(BridgeRefused) as caught:
        call(*arguments, **more)
    assert caught.value.code is code, caught.value
    return caught.value


def scenario(body):
    """Run a coroutine test in a world whose bridges are closed at its end."""

    async def run(world) -> None:
        for participant in (PAYER, FIRST, SECOND):
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


# Limits of the day.

TIGHT = Limits("1", "12000", "30000", "15000", "Asia/Shanghai")


def test_a_day_is_drawn_before_a_lock_and_given_back_by_a_refund(tmp_path) -> None:
    """A payer's day ends before anything is locked; what is refunded is there again, what settles is not."""

    async def body(world) -> None:
        bridge = world.bridge()
        bridge.begin(world.order(10_000))
        error = refused(BridgeCode.CORRIDOR_LIMIT_EXCEEDED, bridge.begin, world.order(10_000, uetr=b"b" * 16))
        assert "participant 11's day has 5000 of 15000 left" in error.text
        await world.run()
        assert [len(world.engines[each].book) for each in (PAYER, FIRST)] == [0, 0]
        assert [world.engines[each].compliance.usage.used(world.documents[0].id_bytes, PAYER)[1] for each in (11, 21)]
        for each in (PAYER, FIRST):
            assert world.engines[each].book.counts[Outcome.SETTLED] == 1
            assert world.engines[each].compliance.usage.used(world.documents[0].id_bytes, PAYER) == (10_000, 10_000)
        swap = bridge.begin(world.order(5_000, uetr=b"c" * 16))
        await world.run(hold_back=True)
        world.reveals.clear()
        assert world.engines[FIRST].compliance.usage.used(world.documents[0].id_bytes, PAYER) == (15_000, 15_000)
        world.end_locks(None)
        world.time_passes(90)
        await world.run()
        assert swap.outcome is Outcome.REFUNDED
        for each in (PAYER, FIRST):
            assert world.engines[each].compliance.usage.used(world.documents[0].id_bytes, PAYER) == (10_000, 10_000)

    play(tmp_path, body, hops(limits=TIGHT))


def test_a_day_is_counted_again_after_a_restart(tmp_path) -> None:
    """What settled and what runs counts as before; the next day begins at nothing."""

    async def body(world) -> None:
        world.bridge().begin(world.order(9_000))
        await world.run()
        world.silent = True
        world.bridge().begin(world.order(2_000, uetr=b"b" * 16))
        await world.run()
        corridor = world.documents[0].id_bytes
        for _ in range(2):
            await world.close(PAYER, FIRST)
            world.open(PAYER), world.open(FIRST)
            assert world.engines[PAYER].compliance.usage.used(corridor, PAYER) == (11_000, 11_000)
            assert world.engines[FIRST].compliance.usage.used(corridor, PAYER) == (9_000, 9_000)
        world.now += 24 * 3_600 * S
        await world.close(PAYER)
        assert world.open(PAYER).compliance.usage.used(corridor, PAYER) == (0, 0)

    play(tmp_path, body, hops(limits=TIGHT))


def test_a_provider_counts_for_itself(tmp_path) -> None:
    """A payer's bridge that does not count is refused by the provider's, before the provider locks."""

    async def body(world) -> None:
        blind = world.engines[PAYER].compliance
        blind.usage.take = lambda *_: None
        blind.give_back = lambda _: None
        world.bridge().begin(world.order(10_000))
        await world.run()
        locked = world.balances[HKD, account(FIRST, HKD)]
        second = world.bridge().begin(world.order(10_000, uetr=b"b" * 16))
        await world.run()
        assert world.balances[HKD, account(FIRST, HKD)] == locked
        assert any("participant 11's day" in moment.text for moment in second.timeline)

    play(tmp_path, body, hops(limits=TIGHT))


# Breakers.


def notice(grade, sequence=1, rate=0, corridor=None) -> SignedNotice:
    made = BreakerNotice(corridor or document().id_bytes, grade, 4, rate, sequence, NOW, NOW + 1_000 * S)
    message = made.message(1, genesis().hash)
    return SignedNotice(made, tuple((each, sign(SUITE_ED25519, secret(each), message)) for each in (1, 2)))


def rules(world: World, participant: int = PAYER) -> RuleFiles:
    engine = world.engines[participant]
    folder = world.folder / "breakers"
    folder.mkdir(exist_ok=True)
    now = engine.now
    return RuleFiles(world.genesis, engine.corridors, engine.compliance, notices=folder, names=None, now=now)


def test_a_stop_refuses_what_would_begin_and_nothing_that_has(tmp_path) -> None:
    """Notices come from files, two keys on each; a swap that was revealed is claimed under a stop."""

    async def body(world) -> None:
        bridge, files = world.bridge(), rules(world)
        running = bridge.begin(world.order(1_000))
        await world.run(hold_back=True)
        path = world.folder / "breakers" / "one"
        forged = notice(BreakerGrade.STOP)
        path.write_bytes(replace(forged, signatures=(forged.signatures[0], (2, bytes(64)))).encode())
        assert files.look() == 0
        path.write_bytes(forged.encode() + b"more")
        assert files.look() == 0
        path.write_bytes(forged.encode())
        assert (files.look(), files.look()) == (1, 0)
        both = rules(world, FIRST)
        assert both.look() == 1
        error = refused(BridgeCode.CORRIDOR_CLOSED, bridge.begin, world.order(1_000, uetr=b"b" * 16))
        assert "a breaker stops" in error.text
        assert len(world.engines[PAYER].book) == 1 and running.outcome is None
        await world.run()
        assert running.outcome is Outcome.SETTLED
        (world.folder / "breakers" / "two").write_bytes(notice(None, 2).encode())
        assert files.look() == 1
        bridge.begin(world.order(1_000, uetr=b"b" * 16))

    play(tmp_path, body)


def test_a_slow_corridor_begins_so_many_in_a_second(tmp_path) -> None:
    """What is refused by it draws no limit."""

    async def body(world) -> None:
        bridge = world.bridge()
        world.engines[PAYER].compliance.breakers.apply(notice(BreakerGrade.SLOW, rate=2).notice)
        for uetr in (b"a", b"b"):
            bridge.begin(world.order(100, uetr=uetr * 16))
        refused(BridgeCode.LIMITS_EXCEEDED, bridge.begin, world.order(100, uetr=b"c" * 16))
        assert world.engines[PAYER].compliance.usage.used(world.documents[0].id_bytes, PAYER) == (200, 200)
        world.now += S
        bridge.begin(world.order(100, uetr=b"c" * 16))

    play(tmp_path, body)


def test_a_held_corridor_makes_a_case_and_a_released_one_runs_once(tmp_path) -> None:
    """The provider accepts nothing under a hold; the payer's people decide, and one release is one swap."""

    async def body(world) -> None:
        bridge, compliance = world.bridge(), world.engines[PAYER].compliance
        compliance.breakers.apply(notice(BreakerGrade.HOLD).notice)
        case_id = refused(BridgeCode.SCREENING_HOLD, bridge.begin, world.order(100)).text.split()[-1]
        assert refused(BridgeCode.SCREENING_HOLD, bridge.begin, world.order(100)).text.endswith(case_id)
        assert len(world.engines[PAYER].book) == 0
        decide(compliance, case_id, world.now)
        swap = bridge.begin(world.order(100))
        await world.run()
        assert swap.outcome is Outcome.SETTLED
        refused(BridgeCode.DUPLICATE_SWAP, bridge.begin, world.order(100))
        world.engines[FIRST].compliance.breakers.apply(notice(BreakerGrade.HOLD).notice)
        compliance.breakers.apply(notice(None, 2).notice)
        second = bridge.begin(world.order(100, uetr=b"b" * 16))
        await world.run()
        assert second.outcome is None and len(world.engines[FIRST].book) == 0
        assert world.engines[FIRST].book.counts[Outcome.SETTLED] == 1

    play(tmp_path, body)


def decide(compliance: Compliance, case_id: str, now: int, proposal: Step = Step.PROPOSE_RELEASE) -> None:
    compliance.step(case_id, Step.TAKE, OFFICERS[0], now)
    compliance.step(case_id, proposal, OFFICERS[0], now, "looked at the register")
    refused(BridgeCode.APPROVAL_REQUIRED, compliance.step, case_id, Step.CONFIRM, OFFICERS[0], now)
    compliance.step(case_id, Step.CONFIRM, OFFICERS[1], now)


# Names and patterns.


def test_a_listed_name_is_a_case_that_outlives_a_restart(tmp_path) -> None:
    """Held before anything is locked; released, the same order runs with newer quotes, once; another name is asked."""

    async def body(world) -> None:
        bridge = world.bridge()
        error = refused(BridgeCode.SCREENING_HOLD, bridge.begin, world.order(), names=LISTED_NAMES)
        case_id = error.text.split()[-1]
        refused(BridgeCode.TRAVEL_RULE_MISSING, bridge.begin, world.order())
        assert bridge.begin(world.order(uetr=b"b" * 16), names=CLEAN_NAMES).outcome is None
        await world.run()
        for state in (CaseState.OPEN, CaseState.RELEASED):
            await world.close(PAYER)
            compliance = world.open(PAYER).compliance
            assert compliance.cases.case(case_id).state is state
            if state is CaseState.OPEN:
                decide(compliance, case_id, world.now)
                await world.run()
        world.now += 2 * S
        swap = world.bridge().begin(world.order(), names=LISTED_NAMES)
        await world.run()
        assert swap.outcome is Outcome.SETTLED
        refused(BridgeCode.DUPLICATE_SWAP, world.bridge().begin, world.order(), names=LISTED_NAMES)
        await world.close(PAYER)
        world.open(PAYER)
        refused(BridgeCode.DUPLICATE_SWAP, world.bridge().begin, world.order(), names=LISTED_NAMES)
        other = (LISTED_NAMES[1], LISTED_NAMES[0])
        refused(BridgeCode.SCREENING_HOLD, world.bridge().begin, world.order(), names=other)

    play(tmp_path, body, screening=Screening(Screen(LISTED, 1), 3))


def test_nobody_decided_is_no(tmp_path) -> None:
    """A rejected case and one whose time is over refuse their payment for good; at half of it somebody is called."""

    async def body(world) -> None:
        bridge, compliance = world.bridge(), world.engines[PAYER].compliance
        case_id = refused(BridgeCode.SCREENING_HOLD, bridge.begin, world.order(), names=LISTED_NAMES).text.split()[-1]
        decide(compliance, case_id, world.now, Step.PROPOSE_REJECT)
        refused(BridgeCode.PROVIDER_REFUSED, bridge.begin, world.order(), names=LISTED_NAMES)
        order = world.order(uetr=b"b" * 16)
        refused(BridgeCode.SCREENING_HOLD, bridge.begin, order, names=LISTED_NAMES)
        assert compliance.tick(world.now + 4 * S) == []
        assert len(compliance.tick(world.now + 5 * S)) == 1
        compliance.tick(world.now + 10 * S)
        refused(BridgeCode.PROVIDER_REFUSED, bridge.begin, order, names=LISTED_NAMES)
        assert len(world.engines[PAYER].book) == 0

    play(tmp_path, body, screening=Screening(Screen(LISTED, 1), 3, hold_ns=10 * S))


def test_amounts_just_below_a_threshold_are_held(tmp_path) -> None:
    """The third in the band is a case, also when the first two were paid before a restart."""

    async def body(world) -> None:
        for uetr in (b"a", b"b"):
            world.bridge().begin(world.order(9_500, uetr=uetr * 16))
        await world.run()
        await world.close(PAYER)
        compliance = world.open(PAYER).compliance
        error = refused(BridgeCode.SCREENING_HOLD, world.bridge().begin, world.order(9_500))
        assert "structuring" in compliance.cases.case(error.text.split()[-1]).opened.explanation[0]

    play(tmp_path, body, screening=Screening(None, 3, pattern_threshold=10_000))


def test_a_list_is_read_again_and_a_broken_one_is_left(tmp_path) -> None:
    """A bridge does not start without the list that it names; later a file that cannot be read changes nothing."""
    path = tmp_path / "list.json"
    with pytest.raises(ConfigError):
        read_screen(path, 1)
    path.write_bytes(LISTED.encode())

    async def body(world) -> None:
        engine, bridge = world.engines[PAYER], world.bridge()
        files = RuleFiles(
            world.genesis, engine.corridors, engine.compliance, notices=tmp_path, names=path, now=engine.now
        )
        newer = msgspec.structs.replace(LISTED, version=8, entries=(ListEntry("L02", (CLEAN_NAMES[1],)),))
        path.write_bytes(newer.encode() + b"{")
        await files._follow_list()
        bridge.begin(world.order(), names=CLEAN_NAMES)
        path.write_bytes(newer.encode())
        await files._follow_list()
        order = world.order(uetr=b"b" * 16)
        case_id = refused(BridgeCode.SCREENING_HOLD, bridge.begin, order, names=CLEAN_NAMES).text.split()[-1]
        assert engine.compliance.cases.case(case_id).opened.list_version == 8

    play(tmp_path, body, screening=Screening(read_screen(path, 1), 3))


class Officer:
    """A call over a certificate of the bridge's participant, or of another one."""

    def __init__(self, number: int, participant: int = PAYER) -> None:
        self.peer = SimpleNamespace(spki=bytes([number]) * 32, identity=SimpleNamespace(participant=participant))
        self.notes: dict[str, object] = {}


def test_an_officer_is_a_certificate(tmp_path) -> None:
    """Who proposed cannot confirm, whatever he calls himself; a stranger sees nothing; a step is durable when answered."""

    async def body(world) -> None:
        server = object.__new__(BridgeServer)
        server._bridge = world.bridge()
        error = refused(BridgeCode.SCREENING_HOLD, world.bridge().begin, world.order(), names=LISTED_NAMES)
        case_id = error.text.split()[-1]
        one, other, stranger = Officer(1), Officer(2), Officer(3, FIRST)

        async def step(officer: Officer, name: str, text: str = "") -> bridge_pb2.StepCaseReply:
            asked = bridge_pb2.StepCaseRequest(version=1, case_id=bytes.fromhex(case_id), step=name, text=text)
            reply = await server._step_case(officer, asked.SerializeToString())
            return bridge_pb2.StepCaseReply.FromString(reply)

        async def listed(officer: Officer) -> bridge_pb2.ListCasesReply:
            asked = bridge_pb2.ListCasesRequest(version=1, limit=10)
            return bridge_pb2.ListCasesReply.FromString(await server._list_cases(officer, asked.SerializeToString()))

        found = (await listed(one)).cases
        assert [each.case_id.hex() for each in found] == [case_id] and "quilon~quillon" in found[0].explanation[0]
        for call in (listed(stranger), step(stranger, "take")):
            with pytest.raises(CallRefused):
                await call
        await step(one, "take")
        assert (await step(one, "propose_release")).refusal.name == "terms_malformed"
        assert (await step(one, "propose_release", "not the listed one")).case.state == "release_proposed"
        assert (await step(one, "confirm")).refusal.name == "approval_required"
        assert (await step(one, "wave through")).refusal.name == "terms_malformed"
        assert (await step(other, "confirm")).case.state == "released"
        assert len(list(world.engines[PAYER].store.case_entries())) == 4
        assert (await listed(one)).open == 0

    play(tmp_path, body, screening=Screening(Screen(LISTED, 1), 3))


# Travel rule.


def envelope(world: World, recipients) -> bytes:
    party = Party("Novamar Cement Industries", "1", PAYER, "CN", address="1 Harbour Road")
    data = TravelRuleData(1, "00" * 16, party, party, "100", "100", CNY, HKD, "00" * 32)
    return seal(data, recipients, world.genesis.hash, Seeds(b"a" * 32, (b"b" * 32, b"c" * 32)))


def test_the_threshold_is_that_of_the_leg_and_the_envelope_is_for_the_corridor(tmp_path) -> None:
    """A hop asks for its own amount in its own units; an envelope for somebody else is none, on both sides."""
    tight = msgspec.structs.replace(document().screening, travel_rule_from="5000")
    first, second = hops()
    documents = (first, msgspec.structs.replace(second, screening=tight))

    async def body(world) -> None:
        bridge = world.bridge()
        # 4,800 buy 5,232: the second corridor asks, though the first amount is below its number.
        error = refused(BridgeCode.TRAVEL_RULE_MISSING, bridge.begin, world.order(4_800, hops=2))
        assert second.id in error.text
        right = envelope(world, second.recipients())
        wrong = envelope(world, (Recipient(900, 1, Scheme.X25519, b"\x09" + bytes(31)), *second.recipients()[1:]))
        for sealed, named in ((wrong, wrong), (right, wrong), (b"", right)):
            order = world.order(4_800, hops=2, travel_rule_hash=envelope_hash(1, named))
            refused(BridgeCode.TRAVEL_RULE_MISSING, bridge.begin, order, sealed)
        # Whose own bridge does not ask meets a provider who does.
        world.engines[PAYER].compliance.clear = lambda *_, **__: SimpleNamespace(taken=(), case_id=b"")
        order = world.order(4_800, hops=2, travel_rule_hash=envelope_hash(1, wrong))
        careless = bridge.begin(order, wrong)
        await world.run()
        assert any("sealed for" in moment.text for moment in careless.timeline)
        silent = bridge.begin(world.order(4_800, hops=2, uetr=b"c" * 16))
        await world.run()
        assert any("needs the data of payer and payee" in moment.text for moment in silent.timeline)
        assert len(world.engines[SECOND].book) == 0
        order = world.order(4_800, hops=2, travel_rule_hash=envelope_hash(1, right), uetr=b"d" * 16)
        swap = bridge.begin(order, right)
        await world.run()
        assert swap.outcome is Outcome.SETTLED

    play(tmp_path, body, documents)


def test_an_envelope_is_asked_for_again_after_a_restart(tmp_path) -> None:
    """A payer that dies before the provider was asked still shows the envelope."""

    async def body(world) -> None:
        sealed = envelope(world, world.documents[0].recipients())
        world.bridge().begin(world.order(travel_rule_hash=envelope_hash(1, sealed)), sealed)
        world.silent = True
        await world.run()
        await world.close(PAYER)
        restored = world.open(PAYER)
        assert [each.travel_rule for each in restored.book] == [sealed]

    play(tmp_path, body)


# Transfers beside the locks.


def test_a_batch_names_bindings_of_locks_alone() -> None:
    """A transfer beside a lock has none, and a row of zeros would refuse the whole batch."""
    plain = Transfer(1, 2, 3, 4, CNY, 7, NOW, 60)
    records = [each.encode() for each in (plain, replace(plain, id=5, binding=b"h" * 32), replace(plain, id=6))]
    columns = lock_columns(1, records)
    assert columns.binding_index.tolist() == [1] and columns.bindings.tobytes() == b"h" * 32
    assert columns.records().tobytes() == b"".join(records)


def priced() -> tuple:
    first, second = hops(premium_volatility_ppb=9_000_000)
    back = (FeeRule("clearing", f"{account(91, HKD):032x}", "3", 0, "0", "100"),)
    return msgspec.structs.replace(first, fees=FEES), msgspec.structs.replace(second, fees=back)


def made(world: World) -> set[tuple[int, int, int, int]]:
    return {(each.ledger, each.debit_account, each.credit_account, each.amount) for each in world.plain}


def test_every_unit_of_a_plan_is_made(tmp_path) -> None:
    """Over two hops: legs, premiums, fees and remainders are those of the plan, each once, and each ledger's sum stands."""

    async def body(world) -> None:
        bridge, given = world.bridge(), world.order(hops=2)
        for amount in range(10_000, 10_100):
            order = replace(given, amount=amount)
            plan = bridge.planner.seal(order, world.now).plan
            if {each.purpose.value for each in plan.transfers} == {"premium", "fee", "remainder"}:
                break
        purposes = [each.purpose.value for each in plan.transfers]
        assert {*purposes} == {"premium", "fee", "remainder"} and len({each.ledger for each in plan.transfers}) >= 2
        before = world.balances[CNY, account(PAYER, CNY)]
        swap = bridge.begin(order)
        await world.run()
        assert swap.outcome is Outcome.SETTLED
        await world.run()
        planned = {(each.ledger, each.debit_account, each.credit_account, each.amount) for each in plan.transfers}
        assert made(world) == planned and len(world.plain) == len(plan.transfers)
        assert before - world.balances[CNY, account(PAYER, CNY)] == plan.sent == amount
        assert world.balances[THB, account(PAYEE, THB)] == plan.received
        for ledger, total in world.total.items():
            assert sum(value for (its, _), value in world.balances.items() if its == ledger) == total
        assert [len(each.beside) for each in world.engines.values()] == [0, 0, 0]
        assert all(not each.store.beside() for each in world.engines.values())

    play(tmp_path, body, priced())


def test_a_premium_is_kept_and_nothing_else_is_owed_where_the_payer_walks_away(tmp_path) -> None:
    """The option was taken: its premium is paid when the swap is refunded, fees and remainders are not."""

    async def body(world) -> None:
        bridge, order = world.bridge(), world.order(10_007, hops=2)
        plan = bridge.planner.seal(order, world.now).plan
        swap = bridge.begin(order)
        await world.run(hold_back=True)
        world.reveals.clear()
        world.end_locks(None)
        world.time_passes(90)
        await world.run()
        assert swap.outcome is Outcome.REFUNDED
        premiums = {each.amount for each in plan.transfers if each.purpose.value == "premium"}
        assert {each.amount for each in world.plain} == premiums and len(world.plain) == 2
        assert [len(each.beside) for each in world.engines.values()] == [0, 0, 0]

    play(tmp_path, body, priced())


def test_no_provider_locks_for_a_premium_that_is_not_final(tmp_path) -> None:
    """A promise is no premium: he accepts nothing, and another amount than is owed is refused."""

    async def body(world) -> None:
        def submit(line, digest, record):
            if Transfer.decode(record).kind == TransferKind.LOCK:
                World.submit(world, line, digest, record)

        world.submit = submit
        world.bridge().begin(world.order(10_007))
        await world.run()
        assert len(world.engines[PAYER].beside) and not world.engines[FIRST].book
        assert world.balances[HKD, account(FIRST, HKD)] == 10**12
        (swap,) = world.engines[PAYER].book
        (quote,) = (SignedQuote.decode(each).quote for each in swap.quotes)
        less = replace(Transfer.decode(swap.premium), amount=1).encode()
        asked = bridge_pb2.Acceptance(premium_record=less)
        refused(BridgeCode.LEGS_DO_NOT_MATCH, Accepting._premium, swap.terms, 1, quote, asked)

    play(tmp_path, body, priced())


def test_an_unanswered_transfer_is_sent_again_as_the_same_bytes(tmp_path) -> None:
    """After a restart too: the ledger sees one record however often it is sent."""

    async def body(world) -> None:
        sent: list[tuple[int, bytes]] = []
        bridge = world.bridge()
        swap = bridge.begin(world.order(10_007))
        plain_submit = World.submit

        def submit(line, digest, record):
            if Transfer.decode(record).kind == TransferKind.LOCK:
                plain_submit(world, line, digest, record)
            else:
                sent.append((line.domain, record))

        world.submit = submit
        await world.run()
        assert swap.outcome is Outcome.SETTLED
        lost = set(sent)
        assert lost and not world.plain
        sent.clear()
        world.now += 6 * S
        await world.close(PAYER)
        world.open(PAYER)
        await world.run()
        assert {each for each in lost if each[0] == CNY} == {each for each in sent if each[0] == CNY}
        del world.submit
        await world.close(PAYER)
        world.open(PAYER)
        await world.run()
        count = len(world.plain)
        assert count and not world.engines[PAYER].store.beside()
        await world.close(PAYER)
        world.open(PAYER)
        await world.run()
        assert len(world.plain) == count

    play(tmp_path, body, tuple(msgspec.structs.replace(each, premium_volatility_ppb=0) for each in priced()))
