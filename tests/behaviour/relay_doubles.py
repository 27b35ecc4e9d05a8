"""A small relay: a state that accepts every block and lets members lead in turn, and a network in one loop.

The state implements what ``relay.ports.State`` asks; tests of the consensus core need no more of one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from engine.development import development_key
from engine.genesis import padded_key
from engine.relay_block import RelayBlock, parent_certificate_record, reveal_record
from engine.types import HashSuite, RelayRecordType, Role, VotePhase
from engine.validators import Certificate, CertificateSigner, Statement, Validator, ValidatorSet, Vote
from relay.actions import ALL, Behind, EvidenceFound, Finalized, ForkSeen, Persist, Refused, Send
from relay.checker import Checker
from relay.consensus import ValidatorCore
from relay.errors import BlockRefused
from relay.messages import Proposal, TimeoutMessage, VoteMessage, decode_message
from relay.offers import Sidecar
from relay.ports import ConsensusSettings, Member
from relay.timeouts import Timeout, TimeoutCertificate, TimeoutSigner
from relay.vote_record import VoteRecord

SUITE = HashSuite.SHA256
GENESIS_HASH = bytes(range(32))
START = 1_790_000_000_000_000_000
MS = 1_000_000
REFUSED_PREIMAGE = b"\xff" * 32


def keys(count: int, suite: int = 1) -> list:
    return [
        development_key(b"relay", f"v{at}", participant=50 + at, role=Role.BLOCK, suite=suite) for at in range(count)
    ]


def validator_set(powers: tuple[int, ...], set_id: int = 1, first_height: int = 1) -> ValidatorSet:
    members = [
        Validator(key.participant, key.suite, power, padded_key(key.public_key))
        for key, power in zip(keys(len(powers)), powers, strict=True)
    ]
    return ValidatorSet(set_id, first_height, tuple(members))


def member(key) -> Member:
    return Member(padded_key(key.public_key), key.suite, key.sign)


@dataclass(frozen=True)
class Network:
    hash: bytes = GENESIS_HASH


@dataclass(frozen=True)
class FakeState:
    """Accepts everything but a reveal of ``REFUSED_PREIMAGE``; leaders take turns by height and view."""

    sets: tuple[ValidatorSet, ...]
    genesis: Network = Network()
    suite: int = SUITE
    height: int = 0
    time: int = START
    tip_hash: bytes = GENESIS_HASH
    certificate: object = None
    blocks: tuple[bytes, ...] = ()

    def set_at(self, height: int) -> ValidatorSet:
        known = [each for each in self.sets if each.first_height <= height]
        if height > self.height + 32:
            raise BlockRefused("set_unknown", str(height))
        return known[-1]

    def leader_order(self, height: int) -> tuple[int, ...]:
        count = len(self.set_at(height).members)
        return tuple((height - 1 + at) % count for at in range(count))

    def propose(self, pool_records, parent_certificate, view, *, now=None, statements=()):
        parent = [parent_certificate_record(parent_certificate)] if parent_certificate else []
        block = RelayBlock.build(
            self.suite,
            genesis_hash=self.genesis.hash,
            height=self.height + 1,
            view=view,
            time=self.time + 1,
            parent_hash=self.tip_hash,
            set_id=self.set_at(self.height + 1).set_id,
            records=[*parent, *pool_records],
        )
        return block, Sidecar()

    def check_place(self, block: RelayBlock) -> None:
        if (block.header.height, block.header.parent_hash) != (self.height + 1, self.tip_hash):
            raise BlockRefused("parent", "another")
        if self.height and block.records[0].type is not RelayRecordType.PARENT_CERTIFICATE:
            raise BlockRefused("parent_certificate", "missing")

    def check(self, block: RelayBlock, sidecar: Sidecar, now: int) -> None:
        self.check_place(block)
        if REFUSED_PREIMAGE in block.preimages():
            raise BlockRefused("forbidden", "a preimage")

    def after(self, block: RelayBlock, certificate) -> FakeState:
        name = block.hash(self.suite)
        return replace(
            self,
            height=block.header.height,
            time=block.header.time,
            tip_hash=name,
            certificate=certificate,
            blocks=(*self.blocks, name),
        )


@dataclass
class FakePool:
    items: list = field(default_factory=list)

    def offer(self, item, state) -> bool:
        if item in self.items:
            return False
        self.items.append(item)
        return True

    def has_work(self, state) -> bool:
        return bool(self.items)

    def take(self, state):
        return [each for each in self.items if each.type is RelayRecordType.REVEAL]

    def finalized(self, state, block) -> None:
        self.items = [each for each in self.items if each not in block.records]


@dataclass
class Disk:
    """What survives a crash: the vote record, and the chain with the generation of its last block."""

    record: bytes | None = None
    state: FakeState | None = None
    generation: int = 0
    finals: dict = field(default_factory=dict)


class Net:
    """Cores in one loop: messages in order of sending, time only when nothing is left to deliver."""

    def __init__(self, powers=(1, 1, 1, 1), settings=None, drop=None, sets=None, state=None) -> None:
        self.validators = validator_set(powers)
        self.keys = keys(len(powers))
        self.settings = settings or ConsensusSettings()
        self.checker = Checker(SUITE, GENESIS_HASH)
        self.now = START
        self.drop = drop or (lambda source, target, message: False)
        self.genesis_state = state or FakeState(sets or (self.validators,))
        self.disks = [Disk(state=self.genesis_state) for _ in powers]
        self.cores: list = [None] * len(powers)
        self.queue: list = []
        self.refused: list = []
        self.evidence: list = []
        self.behind: list = []
        self.forks: list = []
        self.sent = 0
        self.signed: dict = {}

    def pool(self):
        return FakePool()

    def up(self, at: int, *, restored: bool = False) -> ValidatorCore:
        disk = self.disks[at]
        votes = VoteRecord.opened(disk.record, disk.generation, restored=restored)
        self.cores[at] = ValidatorCore(
            state=disk.state, member=member(self.keys[at]), votes=votes, settings=self.settings, now=self.now,
            pool=self.pool(), checker=self.checker,
        )  # fmt: skip
        self.perform(at, self.cores[at].start(self.now))
        return self.cores[at]

    def all_up(self) -> Net:
        for at in range(len(self.cores)):
            self.up(at)
        return self

    def down(self, at: int) -> None:
        self.cores[at] = None

    def perform(self, at: int, actions) -> None:
        for action in actions:
            if isinstance(action, Persist):
                self.disks[at].record = action.record
            elif isinstance(action, Send):
                targets = self.targets(at, action)
                self.note_signed(at, action.message)
                for target in targets:
                    self.sent += 1
                    if not self.drop(at, target, action.message):
                        self.queue.append((at, target, action.message))
            elif isinstance(action, Finalized):
                disk = self.disks[at]
                assert action.block.header.height == disk.state.height + 1
                disk.finals[action.block.header.height] = action
                disk.state = (
                    self.cores[at].state
                    if self.cores[at].state.height == action.block.header.height
                    else (disk.state.after(action.block, action.certificate))
                )
                disk.generation = action.generation
            elif isinstance(action, EvidenceFound):
                self.evidence.append((at, action.proof))
            elif isinstance(action, Refused):
                self.refused.append((at, action.sender, action.reason))
            elif isinstance(action, Behind):
                self.behind.append((at, action))
            elif isinstance(action, ForkSeen):
                self.forks.append((at, action))

    def note_signed(self, at: int, data: bytes) -> None:
        """Nobody signs two blocks in one place, nor denies a certificate it voted on: over all its lives."""
        message = decode_message(data, GENESIS_HASH)
        if isinstance(message, Proposal | VoteMessage):
            vote = message.vote
            name = (at, vote.set_id, vote.height, vote.view, vote.phase)
            assert self.signed.setdefault(name, vote.block_hash) == vote.block_hash, f"double vote {name}"
        elif isinstance(message, TimeoutMessage):
            said = message.timeout
            for (who, _, height, view, phase), _ in list(self.signed.items()):
                if (who, height, phase) == (at, said.height, VotePhase.COMMIT) and said.view >= view:
                    assert said.high_view_plus_one > view, f"member {at} denies its vote at {height}, {view}"

    def targets(self, at: int, action: Send) -> list[int]:
        """Cores by number; members of a set are found by their keys, and observers hear what goes to all."""
        if action.to == ALL:
            return [number for number in range(len(self.cores)) if number != at]
        key = action.validators.members[action.to].public_key
        return [number for number, each in enumerate(self.keys) if padded_key(each.public_key) == key]

    def index_at(self, target: int, source: int) -> int | None:
        key = padded_key(self.keys[source].public_key)
        members = self.cores[target].validators.members
        return next((index for index, each in enumerate(members) if each.public_key == key), None)

    def deliver(self, limit: int = 100_000) -> None:
        while self.queue and limit:
            limit -= 1
            source, target, message = self.queue.pop(0)
            if self.cores[target] is not None:
                self.perform(target, self.cores[target].receive(self.index_at(target, source), message, self.now))
        assert limit, "messages without end"

    def step(self) -> None:
        """Deliver all, then let time go to the next thing that anybody waits for."""
        self.deliver()
        self.now = max(self.now, min(core.next_wake for core in self.cores if core))
        for at, core in enumerate(self.cores):
            if core is not None and core.next_wake <= self.now:
                self.perform(at, core.tick(self.now))
        self.deliver()
        self.sync()

    def sync(self) -> None:
        """What the shell does for a core that is behind: the blocks that are missing, from whoever has them."""
        asking, self.behind = {at for at, _ in self.behind}, []
        for at in sorted(asking):
            disk, last = self.disks[at], None
            if self.cores[at] is None:
                continue
            while known := next(
                (d.finals[disk.state.height + 1] for d in self.disks if disk.state.height + 1 in d.finals), None
            ):
                last = known
                disk.state = disk.state.after(known.block, known.certificate)
                disk.finals[disk.state.height] = known
                disk.generation = self.cores[at].votes.generation
            if last is not None:
                self.perform(at, self.cores[at].adopt(disk.state, last.block, last.certificate, self.now))

    def until(self, height: int, who=None, steps: int = 400) -> None:
        who = [at for at, core in enumerate(self.cores) if core] if who is None else who
        while min(self.disks[at].state.height for at in who) < height:
            steps -= 1
            assert steps, f"heights {[disk.state.height for disk in self.disks]} after {(self.now - START) / MS} ms"
            self.step()

    def agree(self) -> None:
        """Nobody's chain contradicts another's."""
        longest = max((disk.state.blocks for disk in self.disks), key=len)
        for disk in self.disks:
            assert longest[: len(disk.state.blocks)] == disk.state.blocks


def reveal(number: int):
    return reveal_record(number.to_bytes(32, "little"))


# Messages made by hand, for tests of one core alone.


class Hands:
    """Signs in the name of every member of a set."""

    def __init__(self, powers=(1, 1, 1, 1), state=None, genesis_hash=GENESIS_HASH) -> None:
        self.validators = validator_set(powers)
        self.keys = keys(len(powers))
        self.checker = Checker(SUITE, genesis_hash)
        self.genesis_hash = genesis_hash
        self.state = state or FakeState((self.validators,))

    def block(self, *records, view=0, certificate=None):
        return self.state.propose(list(records), certificate, view)[0]

    def vote(
        self, index, block_hash, view=0, phase=VotePhase.PREPARE, *, height=None, set_id=1, time=START, statement=b""
    ):
        digest = Statement.decode(statement).hash(SUITE) if statement else bytes(32)
        said = Vote(set_id, height or self.state.height + 1, view, phase, block_hash, time, digest)
        return VoteMessage(index, said, self.keys[index].sign(self.checker.vote_message(said)), statement)

    def certificate(self, indexes, block_hash, view=0, phase=VotePhase.PREPARE, **place):
        votes = [self.vote(index, block_hash, view, phase, **place) for index in indexes]
        rows = tuple(CertificateSigner(m.index, m.vote.time, m.vote.executed_held, m.signature) for m in votes)
        return Certificate(phase, votes[0].vote.set_id, votes[0].vote.height, view, block_hash, rows)

    def proposal(self, index, block, view=0, *, entered=None, high=None, **place):
        signed = self.vote(index, block.hash(SUITE), view, **place)
        parts = [each.encode() if each else b"" for each in (entered, high)]
        return Proposal(index, signed.vote, signed.signature, block.encode(), b"", *parts)

    def timeout(self, index, view=0, high=None, *, height=None, set_id=1):
        said = Timeout(set_id, height or self.state.height + 1, view, high.view + 1 if high else 0)
        signature = self.keys[index].sign(self.checker.timeout_message(said))
        return TimeoutMessage(index, said, signature, high.encode() if high else b"")

    def timeouts(self, indexes, view=0, highs=None, **place):
        said = [self.timeout(index, view, (highs or {}).get(index), **place) for index in indexes]
        rows = tuple(TimeoutSigner(m.index, m.timeout.high_view_plus_one, m.signature) for m in said)
        return TimeoutCertificate(said[0].timeout.set_id, said[0].timeout.height, view, rows)


class Solo(Hands):
    """One core under test, at height 1 unless told; the others are the test's hands."""

    def __init__(self, index=1, powers=(1, 1, 1, 1), state=None, record=None, **settings) -> None:
        super().__init__(powers, state)
        self.now = START
        self.index = index
        self.core = ValidatorCore(
            state=self.state, member=member(self.keys[index]) if index is not None else None,
            votes=record or VoteRecord(), settings=ConsensusSettings(**settings), now=START, pool=FakePool(),
        )  # fmt: skip
        self.started = self.core.start(START)

    def take(self, message, sender=0):
        data = message if isinstance(message, bytes) else message.encode(GENESIS_HASH)
        return self.core.receive(sender, data, self.now)

    def refusal(self, message, sender=0):
        """The reason of the one refusal; nothing else may come of the message."""
        actions = self.take(message, sender)
        reasons = [each.reason for each in actions if isinstance(each, Refused)]
        assert len(reasons) == 1, actions
        assert not any(isinstance(each, Persist | Send | Finalized) for each in actions), actions
        return reasons[0]

    def wait(self, milliseconds):
        self.now += milliseconds * MS
        return self.core.tick(self.now)


def sent(actions, kind=None, to=None):
    """The messages among actions, decoded: of a kind, to a member."""
    found = [(each.to, decode_message(each.message, GENESIS_HASH)) for each in actions if isinstance(each, Send)]
    return [
        message for target, message in found if (kind is None or isinstance(message, kind)) and to in (None, target)
    ]


def finals(actions):
    return [each for each in actions if isinstance(each, Finalized)]
