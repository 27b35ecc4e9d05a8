"""The decision of a run over shards, from real signatures to the relay's rules, a node on a disk, and its audit."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from clearspan.audit import audit
from clearspan.simulation.world import START, World
from engine.batch import BatchColumns, sign_messages
from engine.block import InclusionPath
from engine.bodies import encode_batch_body
from engine.codes import ResultCode as Code
from engine.conservation import check_domain
from engine.data_directory import DataDirectory
from engine.header import SignedHeader, header_message
from engine.linked_run import RunDecision, answer_run, contradiction, recorded_decision
from engine.log_record import RecordKind, encode_record
from engine.machine import ShardMachine
from engine.refusals import EncodingError, ProofRefused
from engine.relay_block import RelayBlock, RelayRecord, run_decision_record
from engine.run_decision import AnchoredHeader, PreparedBlock, RunDecisionRecord, build_run_decision, check_run_decision
from engine.types import NS_PER_S, ZERO_HASH, RelayRecordType, Role, TransferFlag, TransferKind
from native.hashing import leaf_hash, merkle_path
from relay import rules
from relay.entries import RECENT_MAX, ShardEntry
from relay.errors import BlockRefused
from relay.offers import HeaderOffer
from relay.pool import Pool
from shards.domain import AdminJob, DomainCore
from shards.node import DomainNode
from shards.recovery import Stores
from shards.run_proofs import chain_range_path
from shards.settings import NodeSettings
from shards.slots import SlotMap
from tests.behaviour.domain_on_log import BANK_A, BANK_B, DomainOnLog
from tests.behaviour.relay_world import World as RelayWorld
from tests.model.domain import ModelDomain
from tests.model.genesis import ModelGenesis

LINKED = int(TransferFlag.LINKED)


def relay_block(genesis, height, time, *records, parent=ZERO_HASH):
    return RelayBlock.build(
        genesis.hash_suite, height=height, view=height, time=time, parent_hash=parent, set_id=1,
        genesis_hash=genesis.hash, records=records,
    )  # fmt: skip


class Domain:
    """A domain core of three shards with money everywhere, and what it sealed."""

    def __init__(self, seed=7, shards=3):
        self.world = World.make(seed, shards=shards, banks=6)
        genesis = self.genesis = self.world.genesis
        self.slots = SlotMap.of(genesis, self.world.domain)
        ids = genesis.domain(self.world.domain).shard_ids()
        self.core = DomainCore(genesis, {shard: ShardMachine(genesis, shard) for shard in ids}, self.slots, 1)
        self.now, self.height = START + NS_PER_S, 0
        self.blocks = {shard: [] for shard in ids}
        self.records = {shard: [] for shard in ids}
        for columns in self.world.setup:
            self.keep(self.core.run([self.admin(columns)], self.now, seal=False))
        for account, _ in self.world.accounts:
            for batch in self.world.issue(account, 1_000, self.now):
                self.submit(batch)
        self.relay()

    @staticmethod
    def admin(columns):
        return AdminJob(columns)

    def keep(self, round_):
        for shard, records in round_.records.items():
            self.records[shard] += records
        for block in round_.sealed:
            self.blocks[block.header.shard].append(block)
        assert check_domain(self.core.machines.values()) == []
        return round_

    def submit(self, columns):
        job = self.core.split(columns, submitter=1)
        for part in job.to_verify:
            self.core.verify(part)
        return self.keep(self.core.run([job], self.now, seal=False)).replies[0]

    def seal(self):
        self.now += NS_PER_S
        self.keep(self.core.run([], self.now, seal=True))

    def relay(self, *records, time=None):
        self.height += 1
        block = relay_block(self.genesis, self.height, self.now if time is None else time, *records)
        self.keep(self.core.relay_block(block.encode(), self.now))

    def time_of_relay(self, decision, late):
        """A relay time that does not go back: at the deadline, or before it where relay time is not beyond it."""
        consumed = max(machine.ledger.relay_time for machine in self.core.machines.values())
        return max(consumed, decision.deadline if late else min(self.now, decision.deadline - 1))

    def account_on(self, index, nth=0):
        shard = sorted(self.core.machines)[index]
        return [each for each in self.world.accounts if self.slots.shard_of(each[0].to_bytes(16, "little")) == shard][
            nth
        ]

    def circle(self, amount=100, kinds=(0, 0, 0)):
        """Each of three shards pays the next; the digests, then the batch."""
        members = []
        for index in range(3):
            (payer, key), (payee, _) = self.account_on(index), self.account_on((index + 1) % 3)
            flags = kinds[index] | (LINKED if index < 2 else 0)
            members.append(replace(self.world.transfer(payer, payee, amount, key, self.now), flags=flags))
        return members, self.world.signed(members)

    def newest(self, shard):
        return self.blocks[shard][-1].header if self.blocks[shard] else None

    def anchored(self, shard):
        return [AnchoredHeader.of(self.newest(shard))] if self.blocks[shard] else []

    def decision(self, members, at=None, newest=-1):
        """The record for the block in which each shard prepared, under its newest header."""
        prepared = {}
        for shard, blocks in self.blocks.items():
            block, anchored = blocks[-1 if at is None else at[shard]], blocks[newest].header
            path = None
            if block.header != anchored:
                suite, count = self.genesis.hash_suite, anchored.height - 1
                hashes = b"".join(leaf_hash(suite, each.header.hash) for each in blocks[:count])
                index = block.header.height - 1
                path = InclusionPath(index, count, merkle_path(suite, hashes, index))
            prepared[shard] = PreparedBlock(block.header, block.decision_leaves, path)
        return build_run_decision(self.genesis, self.world.domain, [each.encode() for each in members], prepared)

    def balance(self, account):
        found = next(m.find_account(account) for m in self.core.machines.values() if m.find_account(account))
        return found.balance, found.debits_pending, found.credits_pending


@pytest.fixture(scope="module")
def _made():
    domain = Domain()
    members, batch = domain.circle()
    reply = domain.submit(batch)
    assert reply.codes.tolist() == [Code.PREPARED] * 3
    domain.seal()
    return domain, members, domain.decision(members)


@pytest.fixture
def made(_made):
    return _made


# The proof.


def test_a_decision_reads_back_and_holds(made):
    """DECISION-1, DECISION-2."""
    domain, members, decision = made
    data = decision.encode()
    again = RunDecisionRecord.decode(data)
    assert again == decision and again.encode() == data
    assert len(decision.proofs) == 6
    assert sum(proof.header is not None for proof in decision.proofs) == 3
    run = check_run_decision(again, domain.genesis, domain.anchored)
    assert run == decision.run(domain.genesis.hash_suite, domain.genesis.hash)
    assert decision.deadline == min(each.expires_at for each in members)


def changed(decision, at, **fields):
    proofs = list(decision.proofs)
    proofs[at] = replace(proofs[at], **fields)
    return replace(decision, proofs=tuple(proofs))


def lies(decision):
    proofs = decision.proofs
    header = proofs[0].header
    yield "half", replace(decision, proofs=proofs[:-1])
    yield "half", replace(decision, proofs=())
    yield "half", replace(decision, proofs=(*proofs[:2], proofs[1], *proofs[3:]))
    yield "half", replace(decision, proofs=(proofs[1], proofs[0], *proofs[2:]))
    yield "half", changed(decision, 0, time=proofs[0].time + 1)
    yield "half", changed(decision, 0, code=int(Code.COMMITTED))
    yield "half", changed(decision, 1, path=proofs[2].path)
    yield "header", changed(decision, 0, header=None)
    yield "header", changed(decision, 3, header=header)
    yield "header", changed(decision, 0, header=replace(header, shard=header.shard ^ 1))
    yield "header", changed(decision, 0, header=replace(header, genesis_hash=bytes(32)))
    yield "header", changed(decision, 0, header=replace(header, slot_map_version=2))
    yield "range", changed(decision, 0, header=replace(header, decisions_root=bytes(32)))
    first, second, third = decision.records
    yield "run", replace(decision, records=(first, second))
    yield "half", replace(decision, records=(second, first, third))
    post = bytearray(first)
    post[126] = LINKED | int(TransferKind.POST)
    yield "run", replace(decision, records=(bytes(post), second, third))
    other = bytearray(first)
    other[48] ^= 1
    yield "half", replace(decision, records=(bytes(other), second, third))


@pytest.mark.parametrize("at", range(17))
def test_a_decision_that_lies_is_refused(made, at):
    """DECISION-2: each half exactly once, in its turn, prepared, under the newest anchored header."""
    domain, _, decision = made
    step, lie = list(lies(decision))[at]
    with pytest.raises((ProofRefused, EncodingError)) as refused:
        check_run_decision(RunDecisionRecord.decode(lie.encode()), domain.genesis, domain.anchored)
    if isinstance(refused.value, ProofRefused):
        assert step in str(refused.value)


@pytest.mark.parametrize("cut", [0, 15, 16, 200, 495, 496, 530, 600, -1])
def test_no_other_length_is_read(made, cut):
    """DECISION-1."""
    data = made[2].encode()
    with pytest.raises(EncodingError):
        RunDecisionRecord.decode(data[:cut])
    with pytest.raises(EncodingError):
        RunDecisionRecord.decode(data + b"\0")
    with pytest.raises(EncodingError):
        RunDecisionRecord.decode((1).to_bytes(8, "little") + data[8:])


def test_a_run_that_one_shard_did_not_prepare_is_not_proven(made):
    domain, members, _ = made
    with pytest.raises(ProofRefused, match="half"):
        domain.decision([replace(members[0], amount=1), *members[1:]])


def test_an_older_block_is_proven_by_its_path():
    """DECISION-2: under the newest header's root of earlier headers, and under no other header."""
    domain = Domain(9)
    members, batch = domain.circle()
    domain.submit(batch)
    for _ in range(4):
        domain.seal()
    decision = domain.decision(members, at=dict.fromkeys(domain.blocks, 0))
    assert check_run_decision(decision, domain.genesis, domain.anchored)
    with pytest.raises(ProofRefused, match="range"):
        check_run_decision(decision, domain.genesis, lambda shard: [AnchoredHeader.of(domain.blocks[shard][-2].header)])
    with pytest.raises(ProofRefused, match="anchored"):
        check_run_decision(decision, domain.genesis, lambda _: [])


# The relay's rules.


def draft_of(domain, time, **suspended):
    entries = {shard: ShardEntry(header=domain.newest(shard)) for shard in domain.blocks}
    if suspended:
        first = min(entries)
        entries[first] = replace(entries[first], suspended=True)
    return SimpleNamespace(
        genesis=domain.genesis,
        suite=domain.genesis.hash_suite,
        time=time,
        decisions={},
        shards=entries,
        entry=entries.get,
    )


def test_the_relay_takes_a_decision_once_and_in_time(made):
    """DECISION-3."""
    domain, _, decision = made
    record = run_decision_record(decision)
    draft = draft_of(domain, decision.deadline - 1)
    rules.check_all(draft, [record])
    assert list(draft.decisions.values()) == [decision.deadline]
    for reason, other in (
        ("decision_known", draft),
        ("decision_late", draft_of(domain, decision.deadline)),
        ("decision_proof", draft_of(domain, decision.deadline - 1, suspended=True)),
    ):
        with pytest.raises(BlockRefused) as refused:
            rules.check(other, record)
        assert refused.value.reason == reason


def test_bytes_that_are_no_decision_make_no_record():
    with pytest.raises(EncodingError):
        RelayRecord(RelayRecordType.DECISION, bytes(16)).check()


# The shards.


def test_a_circle_over_three_shards_is_committed(made):
    """LEDGER-94: all of it in one relay block; replay of every log gives the same roots."""
    domain, members, decision = made
    before = [domain.balance(each.debit_account) for each in members]
    assert {(pending, coming) for _, pending, coming in before} == {(100, 100)}
    domain.relay(run_decision_record(decision))
    assert [domain.balance(each.debit_account) for each in members] == [(balance, 0, 0) for balance, _, _ in before]
    for shard, machine in domain.core.machines.items():
        again = ShardMachine(domain.genesis, shard)
        for record in domain.records[shard]:
            again.apply(record, audit=True)
        assert again.state_root() == machine.state_root()


def test_a_refusal_on_one_shard_leaves_all_as_they_were():
    """LEDGER-92: every touched shard writes the run, with one and the same answer."""
    domain = Domain(11)
    members, _ = domain.circle()
    members[1] = replace(members[1], amount=5_000)
    before = [domain.balance(each.debit_account) for each in members]
    counts = {shard: len(records) for shard, records in domain.records.items()}
    reply = domain.submit(domain.world.signed(members))
    assert reply.codes.tolist() == [Code.LINKED_EVENT_FAILED, Code.INSUFFICIENT_FUNDS, Code.LINKED_EVENT_FAILED]
    assert [domain.balance(each.debit_account) for each in members] == before
    bodies = {bytes(records[counts[shard]].body) for shard, records in domain.records.items()}
    assert len(bodies) == 1
    assert {len(records) - counts[shard] for shard, records in domain.records.items()} == {1}


def test_a_batch_holds_runs_over_shards_and_others_in_any_order():
    """LEDGER-92: answers land in the places of their requests."""
    domain = Domain(13)
    members, _ = domain.circle(amount=10)
    (payer, key), (payee, _) = domain.account_on(0, 1), domain.account_on(0)
    plain = domain.world.transfer(payer, payee, 5, key, domain.now)
    poor = replace(domain.world.transfer(payer, payee, 9_000, key, domain.now))
    more, _ = domain.circle(amount=20)
    batch = domain.world.signed([plain, *members, poor, *more])
    reply = domain.submit(batch)
    assert reply.codes.tolist() == [Code.CREATED, *[Code.PREPARED] * 3, Code.INSUFFICIENT_FUNDS, *[Code.PREPARED] * 3]


def test_one_signature_that_fails_costs_its_run():
    domain = Domain(15)
    members, batch = domain.circle()
    signatures = batch.signatures.copy()
    signatures[2, 5] ^= 1
    reply = domain.submit(replace(batch, signatures=signatures))
    assert reply.codes.tolist() == [Code.LINKED_EVENT_FAILED] * 2 + [Code.INVALID_SIGNATURE]
    assert domain.submit(batch).codes.tolist() == [Code.PREPARED] * 3


# What a log may say.


def view(status, codes, member=None, code=0):
    return SimpleNamespace(status=status, codes=codes, member=member, code=code)


@pytest.mark.parametrize(
    ("found", "codes"),
    [
        (view(5, [142, 0], 0, 142), [10, 10]),
        (view(0, [10, 13]), [142, 70]),
        (view(5, [10, 142], 1, 142), [70, 141]),
        (view(5, [142, 0], 0, 142), [70, 136]),
        (view(1, [0, 0], 0, 25), [70, 25]),
        (view(1, [0, 0], 0, 25), [10, 10]),
        (view(0, [10, 13]), [29, 70]),
        (view(2, [3, 0]), [142, 70]),
        (view(2, [3, 0]), [120, 3]),
        (view(0, [10, 13]), [1, 1]),
    ],
)
def test_a_record_that_its_shard_cannot_have_written_is_named(found, codes):
    """LOG-5."""
    assert contradiction(found, np.array(codes, dtype=np.uint16))


@pytest.mark.parametrize(
    ("found", "codes", "decision"),
    [
        (view(0, [10, 13]), [10, 10], RunDecision(True)),
        (view(0, [10, 13]), [136, 70], RunDecision(False, 0, 136)),
        (view(0, [10, 13]), [70, 142], RunDecision(False, 1, 142)),
        (view(4, [0, 0], 0, 130), [130, 70], RunDecision(False, 0, 130)),
        (view(6, [10, 136], 1, 136), [70, 142], RunDecision(False, 1, 142)),
        (view(2, [3, 0]), [3, 120], RunDecision(False)),
        (view(2, [100, 0]), [70, 100], RunDecision(False)),
        (view(3, [0, 0]), [72, 72], RunDecision(False)),
        (view(1, [0, 0], 1, 25), [70, 25], RunDecision(False, 1, 25)),
    ],
)
def test_what_its_shard_may_have_written(found, codes, decision):
    """LOG-5."""
    recorded = np.array(codes, dtype=np.uint16)
    assert recorded_decision(recorded) == decision
    assert not contradiction(found, recorded)


# The node.

SETTINGS = NodeSettings(seal_interval_ns=1, seal_interval_idle_ns=NS_PER_S, disk_reserve_bytes=0)


class Clock:
    def __init__(self):
        self.now = START + NS_PER_S

    def __call__(self):
        self.now += 1_000_000
        return self.now


class Harness:
    def __init__(self, path, world):
        self.path, self.world, self.clock = path, world, Clock()

    async def start(self):
        genesis = self.world.genesis
        self.directory = DataDirectory(self.path, kind="node", genesis_hash=genesis.hash)
        self.stores = Stores.open(self.directory, genesis, log_bytes_max=1 << 30)
        self.node = DomainNode(genesis, self.world.domain, self.stores, self.world.block_key, SETTINGS, now=self.clock)
        await self.node.start()
        return self.node

    async def stop(self):
        await self.node.stop()
        self.directory.close()

    async def settled(self, digests, code):
        for _ in range(400):
            found = await self.node.lookup_transfers(b"".join(digests))
            if all(each is not None and each.code == code for each in found):
                return found
            # An abort is seen once its block is sealed: on an idle shard that takes the idle interval.
            self.clock.now += NS_PER_S // 10
            await asyncio.sleep(0.005)
        raise AssertionError([each and each.code for each in found])


async def story(path):
    world = World.make(21, shards=3, banks=6)
    slots = SlotMap.of(world.genesis, world.domain)
    shards = sorted({slots.shard_of(each.to_bytes(16, "little")) for each, _ in world.accounts})
    assert len(shards) == 3
    harness = Harness(path, world)
    node = await harness.start()
    for columns in world.setup:
        await node.administer(columns, submitter=1)
    for account, _ in world.accounts:
        for batch in world.issue(account, 1_000, harness.clock()):
            await node.submit(batch, submitter=1)
    genesis = world.genesis
    await node.relay_block(relay_block(genesis, 1, harness.clock()).encode())

    def circle():
        at = [next(a for a in world.accounts if slots.shard_of(a[0].to_bytes(16, "little")) == s) for s in shards]
        now = harness.clock()
        return [
            replace(world.transfer(at[i][0], at[(i + 1) % 3][0], 7, at[i][1], now), flags=LINKED if i < 2 else 0)
            for i in range(3)
        ]

    run, lost = circle(), circle()
    digests, lost_digests = world.digests(run), world.digests(lost)
    for members in (run, lost):
        reply = await node.submit(world.signed(members), submitter=1)
        assert reply.codes.tolist() == [Code.PREPARED] * 3
    await harness.settled(digests, Code.PREPARED)
    assert {each.digest for each in await node.undecided_runs()} <= {*digests, *lost_digests}
    assert len(await node.undecided_runs()) == 2
    # A restart in between changes nothing of what waits.
    await harness.stop()
    node = await harness.start()
    heights = {}
    paths = chain_range_path(genesis.hash_suite, harness.stores.chain)
    decision = None
    for _ in range(400):
        heights = {shard: harness.stores.chain.last(shard) or 0 for shard in shards}
        decision = await node.run_decision(digests[1], heights, paths)
        if decision is not None:
            break
        await asyncio.sleep(0.01)

    def anchored(shard):
        return [
            AnchoredHeader.of(SignedHeader.decode(harness.stores.chain.get(shard, heights[shard]).signed_header).header)
        ]

    assert check_run_decision(decision, genesis, anchored)
    assert await node.run_decision(digests[0], dict.fromkeys(heights, 0), paths) is None
    second = relay_block(genesis, 2, decision.deadline - 1, run_decision_record(decision))
    await node.relay_block(second.encode())
    found = await harness.settled(digests, Code.COMMITTED)
    assert await node.run_decision(digests[0], heights, paths) is None
    await node.relay_block(relay_block(genesis, 3, lost[-1].expires_at).encode())
    await harness.settled(lost_digests, Code.ABORTED)
    for digest in (*digests, *lost_digests):
        for _ in range(400):
            proof = await node.decision_proof(digest)
            if proof is not None:
                break
            await asyncio.sleep(0.005)
        assert proof is not None
    payer = run[0].debit_account.to_bytes(16, "little")
    entries, _ = await node.statement(payer, after=b"", limit=100, newest_first=False)
    assert {each.code for each in entries if each.digest in digests} == {Code.COMMITTED}
    payee = await node.decided(digests[0], payee=True)
    assert payee is not None and payee.proof.decision.code == Code.CREDITED
    repeat = await node.submit(world.signed(run), submitter=1)
    assert repeat.first_codes.tolist() == [Code.COMMITTED] * 3
    repeat = await node.submit(world.signed(lost), submitter=1)
    assert repeat.first_codes.tolist() == [Code.ABORTED] * 3
    await harness.stop()
    node = await harness.start()
    again = await harness.settled(digests, Code.COMMITTED)
    assert [each.time for each in again] == [each.time for each in found]
    await harness.settled(lost_digests, Code.ABORTED)
    await harness.stop()
    return world


@pytest.mark.timeout(60)
def test_a_node_prepares_proves_and_consumes(tmp_path):
    """From the submitter's batch to the lookup, over two restarts; then the audit of the stopped node's directory."""
    world = asyncio.run(story(tmp_path / "data"))
    report = audit(tmp_path / "data", genesis=world.genesis, threads=1)
    codes = {}
    for shard in report.shards:
        for name, count in shard.codes.items():
            codes[name] = codes.get(name, 0) + count
    assert codes["prepared"] == 6
    assert report.ledgers[0].in_transit == 0


# Three shards against the model.


@pytest.mark.parametrize("seed", range(12))
def test_the_model_replays_three_shards(seed):
    """Seeded runs over two or three shards, commits, aborts, and repeats: the logs give the model the same headers."""
    chance = random.Random(seed)
    domain = Domain(seed + 100)
    open_runs, sent = [], []
    for _ in range(30):
        domain.now += chance.randrange(NS_PER_S)
        act = chance.random()
        if act < 0.55:
            accounts = chance.sample(domain.world.accounts, chance.randint(3, 5))
            members = [
                replace(
                    domain.world.transfer(payer, payee, chance.choice((1, 50, 400, 900)), key, domain.now),
                    flags=chance.choice((0, 0, 1)) | (LINKED if row + 2 < len(accounts) else 0),
                )
                for row, ((payer, key), (payee, _)) in enumerate(pairwise(accounts))
            ]
            batch = domain.world.signed(members)
            reply = domain.submit(batch)
            sent.append(batch)
            if reply.codes.tolist() == [Code.PREPARED] * len(members):
                domain.seal()
                open_runs.append((members, {shard: len(blocks) - 1 for shard, blocks in domain.blocks.items()}))
        elif act < 0.65 and sent:
            domain.submit(chance.choice(sent))
        elif act < 0.9 and open_runs:
            members, at = open_runs.pop(chance.randrange(len(open_runs)))
            decision = domain.decision(members, at=at)
            check_run_decision(decision, domain.genesis, domain.anchored)
            late = chance.random() < 0.3
            domain.relay(*([] if late else [run_decision_record(decision)]), time=domain.time_of_relay(decision, late))
        else:
            domain.seal()
    domain.seal()
    model = ModelDomain(ModelGenesis.from_document(domain.genesis.document, domain.world.domain))
    for records in domain.records.values():
        for record in records:
            model.replay(encode_record(record))
    assert model.broken_invariants() == []
    for shard, blocks in domain.blocks.items():
        assert [block.header.encode() for block in blocks] == model.headers[shard]


# Through the relay: real headers, real blocks.


class OverTheRelay:
    """Two machines of a development network whose headers a relay anchors and whose blocks they consume."""

    def __init__(self):
        self.relay = RelayWorld(shards=2)
        self.domain = DomainOnLog(self.relay.network, shards=2)
        self.genesis = self.relay.genesis
        self.issuer, self.payer, _ = self.domain.ready()
        self.far = self.domain.account_on(BANK_B, 1)
        self.domain.open(self.far, BANK_B)
        self.domain.deliver()

    def anchor(self, *records):
        """Seal, offer the headers with these records, and let the shards consume the block that comes of it."""
        self.domain.seal()
        key = self.relay.network.key(1, Role.BLOCK)
        offers = []
        for sealed in self.domain.sealed.values():
            header = sealed[-1].header
            message = header_message(self.genesis.hash_suite, self.genesis.hash, header.hash)
            offers.append(HeaderOffer(SignedHeader(header, key.key_id, key.sign(message)), ()))
        return self.step(*offers, *records)

    def step(self, *items):
        block = self.relay.step(*items)
        self.domain.now += 20_000_000
        for shard, machine in self.domain.machines.items():
            machine.apply_relay_block(block.encode(), self.domain.now)
            self.domain._append(shard, RecordKind.RELAY_BLOCK, block.encode())
        return [record.type for record in block.records]

    def prepare(self, amount):
        """The payer pays across twice."""
        a = self.domain.key(Role.ACCOUNT, 0, BANK_A)
        first = replace(self.domain.transfer(self.payer, self.far, amount, a), flags=LINKED)
        members = [first, self.domain.transfer(self.payer, self.far, 1, a)]
        messages = [message for message, _ in sign_messages(self.genesis.hash_suite, self.genesis.hash, members)]
        batch = BatchColumns.from_transfers(1, bytes(16), members, [a.sign(message) for message in messages])
        machines = list(self.domain.machines.values())
        prepared = machines[0].prepare(batch)
        verdicts = machines[0].verify(prepared, batch)
        views = [machine.hold_run(batch, verdicts, self.domain.now, prepared) for machine in machines]
        answer = answer_run(views, 2, self.domain.now)
        for machine in machines:
            machine.decide_run(answer.decision)
            self.domain._append(
                machine.shard, RecordKind.RUN, encode_batch_body(batch, submitter=1, codes=answer.codes)
            )
        assert answer.codes.tolist() == [Code.PREPARED] * 2
        return members

    def decision(self, members):
        blocks = {
            shard: PreparedBlock(sealed[-1].header, sealed[-1].decision_leaves, None)
            for shard, sealed in self.domain.sealed.items()
        }
        return run_decision_record(build_run_decision(self.genesis, 1, [each.encode() for each in members], blocks))

    def far_balance(self):
        return next(m.find_account(self.far) for m in self.domain.machines.values() if m.find_account(self.far)).balance


def test_the_relay_decides_what_its_own_headers_prove():
    """DECISION-3, DECISION-5: from the prepare to the commit through blocks that a quorum certified."""
    world = OverTheRelay()
    world.anchor()
    members = world.prepare(250)
    kinds = world.anchor()
    assert RelayRecordType.HEADER in kinds
    record = world.decision(members)
    assert Pool().offer(record, world.relay.state)
    assert RelayRecordType.DECISION in world.step(record)
    assert world.far_balance() == 251
    assert check_domain(world.domain.machines.values()) == []
    assert not Pool().offer(record, world.relay.state)
    assert RelayRecordType.DECISION not in world.step(record)
    again = type(world.relay.state).decode(world.relay.state.encode(), world.genesis)
    assert again.decisions == world.relay.state.decisions != {}


@pytest.mark.parametrize("later", [1, RECENT_MAX])
def test_a_decision_holds_under_the_headers_of_late(later):
    """DECISION-4: newer headers, also in the same block, make no proof stale for a while."""
    world = OverTheRelay()
    world.anchor()
    members = world.prepare(250)
    world.anchor()
    record = world.decision(members)
    for _ in range(later - 1):
        world.anchor()
    again = type(world.relay.state).decode(world.relay.state.encode(), world.genesis)
    assert again == world.relay.state
    assert [len(again.shards[shard].recent) for shard in world.domain.machines] == [later] * 2
    assert RelayRecordType.DECISION in world.anchor(record)
    assert world.far_balance() == 251


def test_a_decision_under_headers_of_old_is_built_anew():
    """DECISION-4: so many newer headers, and the proof leads to none that is kept; by a path it does."""
    world = OverTheRelay()
    world.anchor()
    members = world.prepare(250)
    world.anchor()
    stale = world.decision(members)
    prepared = {shard: sealed[-1] for shard, sealed in world.domain.sealed.items()}
    for _ in range(RECENT_MAX):
        assert RelayRecordType.HEADER in world.anchor()
    assert RelayRecordType.DECISION not in world.anchor(stale)
    blocks = {}
    for shard, sealed in world.domain.sealed.items():
        suite, header = world.genesis.hash_suite, prepared[shard].header
        hashes = b"".join(leaf_hash(suite, each.header.hash) for each in sealed[:-1])
        path = InclusionPath(header.height - 1, len(sealed) - 1, merkle_path(suite, hashes, header.height - 1))
        blocks[shard] = PreparedBlock(header, prepared[shard].decision_leaves, path)
    fresh = build_run_decision(world.genesis, 1, [each.encode() for each in members], blocks)
    assert RelayRecordType.DECISION in world.step(run_decision_record(fresh))
    assert world.far_balance() == 251
