"""The shell performs what its core asks, in that order; queues are bounded, and who floods waits for himself."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from clearspan.log_feed import LogFeed
from clearspan.status import CallRefused
from clearspan.validator.books import VoteBook
from clearspan.validator.inbox import Inbox
from clearspan.validator.links import PeerState
from clearspan.validator.recovery import recover_state
from clearspan.validator.shell import ShellPool, ValidatorShell
from engine.errors import ChainDamaged, DiskFull, StoreFailed
from engine.log import LogRecord, RecordKind, encode_record
from engine.relay_block import reveal_record
from relay.actions import ALL, Persist, Refused, Send
from relay.consensus import ValidatorCore
from relay.errors import VoteRecordInvalid
from relay.offers import HeaderOffer
from relay.pacemaker import NEVER
from relay.ports import ConsensusSettings
from relay.state import RelayState
from relay.vote_record import VoteRecord
from tests.behaviour.relay_world import World

KEYS = tuple(bytes([number]) * 64 for number in range(4))


@dataclass
class ScriptedCore:
    """Answers each message with the actions it is told; everything else does nothing."""

    script: dict[bytes, list] = field(default_factory=dict)
    received: list[tuple[int | None, bytes]] = field(default_factory=list)
    next_wake: int = NEVER
    index: int = 0
    pool_version: int = 0
    votes: VoteRecord = field(default_factory=VoteRecord)
    validators: object = field(
        default_factory=lambda: SimpleNamespace(members=[SimpleNamespace(public_key=key) for key in KEYS])
    )

    def start(self, now: int) -> list:
        return []

    def receive(self, sender: int | None, message: bytes, now: int) -> list:
        self.received.append((sender, message))
        return self.script.get(message, [])


@dataclass
class Journal:
    """Stands for the books and the wire: notes in which order things were done."""

    done: list[tuple] = field(default_factory=list)
    full: int = 0
    broken: bool = False

    def write(self, record: bytes) -> None:
        if self.broken:
            raise StoreFailed("votes", "an error of the disk")
        if self.full:
            self.full -= 1
            raise DiskFull("votes", 0)
        self.done.append(("persist", record))

    def send(self, public_key: bytes, message: bytes) -> None:
        self.done.append(("send", KEYS.index(public_key), message))


def shell_of(core: ScriptedCore, journal: Journal) -> ValidatorShell:
    return ValidatorShell(core, ShellPool(), chain=None, votes=journal, transport=journal)


async def run_until(shell: ValidatorShell, check, patience_s: float = 5.0) -> None:
    task = asyncio.create_task(shell.run())
    try:
        async with asyncio.timeout(patience_s):
            while not check() and not task.done():  # noqa: ASYNC110 - the shell runs beside
                await asyncio.sleep(0)
    finally:
        shell.stop()
        await task


def record(name: bytes) -> bytes:
    return b"CSVR\1\0\0\0" + (7).to_bytes(8, "little") + name


def test_nothing_is_sent_before_its_record_is_durable():
    """The order of the actions, to the letter; ALL leaves nobody out, and the transport knows who oneself is."""
    journal = Journal()
    core = ScriptedCore(
        {
            b"go": [
                Persist(record(b"one")),
                Send(2, b"vote"),
                Persist(record(b"two")),
                Send(ALL, b"news"),
                Refused(1, "x"),
            ]
        }
    )
    shell = shell_of(core, journal)
    shell.deliver(KEYS[1], b"go")
    asyncio.run(run_until(shell, lambda: len(journal.done) == 7))
    assert journal.done == [
        ("persist", record(b"one")), ("send", 2, b"vote"), ("persist", record(b"two")),
        *(("send", each, b"news") for each in range(4)),
    ]  # fmt: skip
    assert core.received == [(1, b"go")]
    assert shell.generation == 7


def test_a_full_disk_is_waited_for_and_nothing_is_sent_meanwhile(monkeypatch):
    """The write is tried again until there is room; what rests on it comes after."""
    monkeypatch.setattr("clearspan.validator.shell._DISK_POLL_S", 0.001)
    journal = Journal(full=3)
    shell = shell_of(ScriptedCore({b"go": [Persist(record(b"one")), Send(1, b"vote")]}), journal)
    shell.deliver(KEYS[1], b"go")
    asyncio.run(run_until(shell, lambda: len(journal.done) == 2))
    assert [each[0] for each in journal.done] == ["persist", "send"]
    assert not shell.disk_full


def test_a_broken_book_ends_the_shell():
    """Whether the record was written is not known: nothing more is sent."""
    journal = Journal(broken=True)
    shell = shell_of(ScriptedCore({b"go": [Persist(record(b"one")), Send(1, b"vote")]}), journal)
    shell.deliver(KEYS[1], b"go")
    with pytest.raises(StoreFailed):
        asyncio.run(run_until(shell, lambda: False))
    assert journal.done == []


def test_messages_of_a_stranger_have_no_index():
    """A key outside the set that decides is nobody; its messages still take their turn."""
    core = ScriptedCore()
    shell = shell_of(core, Journal())
    shell.deliver(b"\xff" * 64, b"who")
    shell.deliver(KEYS[3], b"member")
    asyncio.run(run_until(shell, lambda: len(core.received) == 2))
    assert core.received == [(None, b"who"), (3, b"member")]


def test_peers_take_turns():
    """A hundred messages of one delay the next peer's first by one."""
    inbox = Inbox(messages_max=100)
    for number in range(100):
        assert inbox.put(KEYS[0], bytes([number]))
    assert not inbox.put(KEYS[0], b"more")
    assert inbox.put(KEYS[1], b"a") and inbox.put(KEYS[1], b"b")
    assert [inbox.take() for _ in range(4)] == [
        (KEYS[0], b"\0"), (KEYS[1], b"a"), (KEYS[0], b"\1"), (KEYS[1], b"b"),
    ]  # fmt: skip
    assert inbox.backlog == {KEYS[0]: 98}


def test_a_full_queue_holds_its_peer_until_there_is_room():
    """The stream that is held goes on when something was taken, and bytes count as messages do."""

    async def work() -> None:
        inbox = Inbox(messages_max=2, bytes_max=10)
        assert inbox.put(KEYS[0], b"x" * 50)  # alone it is taken, however large
        assert not inbox.put(KEYS[0], b"y")
        waiting = asyncio.create_task(inbox.wait_for_room(KEYS[0]))
        await asyncio.sleep(0)
        assert not waiting.done()
        inbox.take()
        async with asyncio.timeout(1):
            await waiting
        assert inbox.put(KEYS[0], b"y")

    asyncio.run(work())


def test_a_peer_that_does_not_read_loses_the_oldest():
    """By count and by bytes; the newest message always stays."""
    peer = PeerState(KEYS[0], messages_max=3, bytes_max=100)
    for number in range(5):
        peer.put(bytes([number]) * 10)
    assert ([each[0] for each in peer.queue], peer.dropped) == ([2, 3, 4], 2)
    peer.put(b"z" * 200)
    assert (list(peer.queue), peer.queued_bytes, peer.dropped) == ([b"z" * 200], 200, 5)
    assert peer.pop_some(100) == [b"z" * 200]
    assert (peer.queued_bytes, peer.sent, peer.sent_bytes) == (0, 1, 200)


def test_what_waits_for_a_peer_goes_out_together():
    """In order, as much as fits; the first message whatever its size."""
    peer = PeerState(KEYS[0], messages_max=9, bytes_max=1000)
    for number in range(5):
        peer.put(bytes([number]) * 10)
    assert [each[0] for each in peer.pop_some(35)] == [0, 1, 2]
    assert (peer.queued_bytes, peer.sent, peer.sent_bytes) == (20, 3, 30)
    assert [each[0] for each in peer.pop_some(5)] == [3]
    assert [each[0] for each in peer.pop_some(35)] == [4]
    assert not peer.queue


def test_offers_are_answered_with_their_reason():
    """Taken, known, and refused by a word; each source has its own share of the pool."""
    world = World()
    chain = world.chain(256)
    chain.seal()
    pool = ShellPool()
    core = ValidatorCore(
        state=world.state, member=None, votes=VoteRecord(), settings=ConsensusSettings(), now=world.now, pool=pool
    )
    shell = ValidatorShell(core, pool, chain=None, votes=Journal(), transport=Journal(), clock=lambda: world.now)

    async def work() -> list:
        task = asyncio.create_task(shell.run())
        offer = chain.offer()
        forged = HeaderOffer(chain.sign(chain.make(), world.network.key(2, 5)))
        answers = [await shell.offer(each, "a node") for each in (offer, offer, forged)]
        shell.stop()
        await task
        return answers

    one, again, forged = asyncio.run(work())
    assert (one.taken, one.reason) == (True, "")
    assert (again.taken, again.reason) == (False, "known")
    assert not forged.taken
    assert forged.reason.startswith("header_")


def test_many_reveals_at_once_are_answered_one_by_one(monkeypatch):
    """Goal: one message of many is many offers. Method: new, known and one too many for its source; then a full queue."""
    monkeypatch.setattr("relay.pool.SOURCE_RECORDS_MAX", 3)
    monkeypatch.setattr("clearspan.validator.shell._OFFERS_WAITING_MAX", 6)
    world = World()
    pool = ShellPool()
    core = ValidatorCore(
        state=world.state, member=None, votes=VoteRecord(), settings=ConsensusSettings(), now=world.now, pool=pool
    )
    shell = ValidatorShell(core, pool, chain=None, votes=Journal(), transport=Journal(), clock=lambda: world.now)
    reveals = [reveal_record(bytes([number]) * 32) for number in range(8)]

    async def work() -> list:
        first = asyncio.gather(
            shell.offer_all([reveals[0], reveals[1], reveals[0]], "one"),
            shell.offer_all([reveals[2], reveals[3], reveals[1]], "one"),
            shell.offer_all([reveals[4]], "two"),
        )
        await asyncio.sleep(0)
        task = asyncio.create_task(shell.run())
        answers = await first
        # What is in nobody's way is taken, however much it is.
        answers.append(await shell.offer_all([*reveals[4:], *reveals[:4]], "two"))
        shell.stop()
        await task
        return answers

    answers = [[each.reason if not each.taken else "taken" for each in one] for one in asyncio.run(work())]
    assert answers[0] == ["taken", "taken", "known"]
    assert answers[1] == ["taken", "source_full", "known"]
    assert answers[2] == ["overloaded"]
    assert answers[3] == ["taken"] * 3 + ["source_full", "known", "known", "known", "source_full"]
    assert core.pool_version == 6
    assert [each.payload for each in pool.take(world.state)] == [bytes([at]) * 32 for at in (0, 1, 2, 4, 5, 6)]


def test_votes_survive_and_a_changed_record_is_refused(tmp_path):
    """The last record is what is read, and one that was tampered with is named."""
    book = VoteBook(tmp_path / "votes")
    assert book.read() is None
    kept = VoteRecord(generation=3)
    book.write(VoteRecord(generation=2).encode())
    book.write(kept.encode())
    assert VoteRecord.opened(book.read(), 3) == kept
    assert VoteRecord.opened(book.read(), 4).restored
    book.write(kept.encode()[:-1] + b"!")
    with pytest.raises(VoteRecordInvalid):
        VoteRecord.opened(book.read(), 3)
    book.close()


def test_recovery_demands_that_blocks_follow(tmp_path):
    """From the genesis and from a kept state it comes to the same; a block of another chain is named."""
    from clearspan.validator.books import ChainBook
    from tests.behaviour.test_forks import entry_of

    world, other = World(), World()
    for number in range(5):
        world.step()
        other.step(view=number % 2)
    entries = [entry_of(block, certificate) for block, certificate in world.blocks]
    book = ChainBook(tmp_path / "chain")
    book.append(*entries)
    state, last = recover_state(world.genesis, book)
    assert (state, last) == (world.state, entries[-1])
    book.keep_state(3, world.states[3].encode())
    assert recover_state(world.genesis, book)[0] == world.state
    book.keep_state(4, other.states[4].encode())  # of another chain: passed over for the one before
    assert recover_state(world.genesis, book)[0] == world.state
    book.close()
    book = ChainBook(tmp_path / "mixed")
    book.append(*entries[:3], *(entry_of(block, certificate) for block, certificate in other.blocks[3:]))
    with pytest.raises(ChainDamaged, match="does not follow"):
        recover_state(world.genesis, book)
    book.close()
    empty = ChainBook(tmp_path / "empty")
    assert recover_state(world.genesis, empty) == (RelayState.begin(world.genesis), None)
    empty.close()


class ListedStore:
    """A log store of one shard in a list."""

    def __init__(self) -> None:
        self.kept: list[LogRecord] = []

    def tip(self, shard: int):
        return SimpleNamespace(number=len(self.kept))

    def records(self, shard: int, from_number: int):
        return iter(self.kept[from_number - 1 :])

    def append(self, body: bytes) -> None:
        previous = self.kept[-1].hash if self.kept else bytes(32)
        made = LogRecord.make(
            suite=1, genesis_hash=bytes(32), shard=256, epoch=1, number=len(self.kept) + 1, time=1,
            kind=RecordKind.BATCH, previous_hash=previous, body=body,
        )  # fmt: skip
        self.kept.append(made)


def test_a_log_is_followed_as_it_grows():
    """What is durable comes whole and in order, small records together and a large one in parts; then what is new."""

    async def work() -> tuple[bytes, list[bool]]:
        store = ListedStore()
        large = os.urandom(5 << 20)
        for body in (b"one", b"two", large, b"three"):
            store.append(body)
        feed = LogFeed(store)
        got, continued = bytearray(), []
        expected = sum(len(encode_record(each)) for each in store.kept)
        async with asyncio.timeout(5):
            async for part in feed.parts(256, 1, follow=True):
                assert len(part.data) <= 2 << 20
                got += part.data
                continued.append(part.continued)
                if len(got) == expected:
                    break
            later = asyncio.create_task(anext(feed.parts(256, 5, follow=True)))
            await asyncio.sleep(0)
            store.append(b"four")
            feed.notify()
            got += (await later).data
        with pytest.raises(CallRefused):
            await anext(feed.parts(256, 99, follow=True))
        assert [each async for each in feed.parts(256, 6, follow=False)] == []
        feed.close()
        assert bytes(got) == b"".join(encode_record(each) for each in store.kept)
        return continued

    assert True in asyncio.run(work())
