"""A lock that a node denies: it counts as absent when final blocks prove it, and never because a node says so."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from bridge.ports import AlarmKind, Outcome
from clearspan.bridging.journal.alarms import Alarms
from clearspan.bridging.journal.book import LegState
from clearspan.bridging.lines.absence import BLOCKS_BACK_MAX, Absence, Wanted, look_for
from clearspan.bridging.lines.ledgers import LockAnswer
from clearspan.client import decisions
from clearspan.client.decisions import BlocksRead, DecisionWatch
from clearspan.errors import Refused
from engine.block_receipt import BlockFinding
from engine.types import DECISION_BYTES
from native.codes import ResultCode
from tests.behaviour.bridge_papers import PAYER, S
from tests.behaviour.bridging_world import Line, play
from tests.behaviour.fakes import until

LOCK, OTHER, WITHIN = b"l" * 32, b"o" * 32, b"w" * 32
WANTED = Wanted(LOCK, since_ns=100 * S, timelock_ns=160 * S)


def block(height: int, time: int, *decided: tuple[bytes, ResultCode], shard: int = 0) -> BlockFinding:
    """Return a block that was verified."""
    leaves = b"".join(
        digest + time.to_bytes(8, "little") + int(code).to_bytes(2, "little") + bytes(6) for digest, code in decided
    )
    assert len(leaves) == DECISION_BYTES * len(decided)
    header = SimpleNamespace(shard=shard, height=height, time=time, relay_time=time - S)
    return BlockFinding(header, leaves, SimpleNamespace(relay_height=height, relay_time=time))


class Shard:
    """Blocks of one shard, a second each, from height 1 at time 0; ``kept`` is the oldest that its node still has."""

    def __init__(self, **decided: tuple[bytes, ResultCode]) -> None:
        self.decided = {int(name[1:]): each for name, each in decided.items()}
        self.asked: list[int] = []
        self.kept = 1

    async def final_blocks(self, shard: int, from_height: int = 0, *, wait_s: float = 5.0, verified: bool = False):
        self.asked.append(from_height)
        if from_height < self.kept:
            return from_height, []
        found = [
            block(at, at * S, *([self.decided[at]] if at in self.decided else []))
            for at in range(from_height, from_height + 10)
        ]
        return from_height + 10, found


def looked(read, blocks=None, wanted=WANTED) -> Absence:
    return asyncio.run(look_for(wanted, read, blocks or Shard(), verified=True))


@pytest.mark.parametrize(
    ("part", "proved"),
    [
        (None, False),  # nothing of it was read
        (BlocksRead(9, 99 * S, 160 * S, 159 * S), False),  # at the timelock a lock may still be taken
        (BlocksRead(9, 99 * S, 160 * S + 1, 0), True),
        (BlocksRead(9, 99 * S, 150 * S, 160 * S), True),  # the relay's clock has come to it there
        (BlocksRead(1, 500 * S, 600 * S, 0), True),  # nothing stands before the first block
    ],
)
def test_blocks_from_before_a_lock_was_valid_to_behind_its_timelock_prove_it_absent(part, proved) -> None:
    """At the nanosecond: a shard takes a lock at its timelock, and not after it."""
    blocks = Shard()
    assert looked({0: part}, blocks).proved is proved
    assert not blocks.asked


def test_every_shard_of_the_domain_must_have_come_that_far() -> None:
    """One that shows nothing, and no shard at all, prove nothing."""
    behind = BlocksRead(9, 99 * S, 161 * S, 0)
    assert looked({0: behind, 1: behind}).proved
    assert not looked({0: behind, 1: None}).proved
    assert not looked({0: behind, 1: behind._replace(time=159 * S)}).proved
    assert not looked({}).proved


def test_blocks_from_before_this_process_are_read_back() -> None:
    """To the one that is older than the record, and no further."""
    late = {0: BlocksRead(300, 300 * S, 400 * S, 0)}
    blocks = Shard()
    assert looked(late, blocks) == Absence(proved=True)
    assert 300 - 4 * 64 == min(blocks.asked) < 100


@pytest.mark.parametrize("height", [101, 172, 299])
def test_a_lock_that_blocks_show_is_found_whatever_the_node_says(height) -> None:
    """Its decision comes back; that money arrived elsewhere is none."""
    late = {0: BlocksRead(300, 300 * S, 400 * S, 0)}
    found = looked(late, Shard(**{f"h{height}": (LOCK, ResultCode.CREATED)})).found
    assert found is not None and (found.digest, found.code, found.height) == (LOCK, ResultCode.CREATED, height)
    assert looked(late, Shard(**{f"h{height}": (OTHER, ResultCode.CREATED)})).proved
    assert looked(late, Shard(**{f"h{height}": (LOCK, ResultCode.CREDITED)})).proved


def test_what_a_node_does_not_keep_proves_nothing() -> None:
    """Neither do more blocks than are read back."""
    late = {0: BlocksRead(300, 300 * S, 400 * S, 0)}
    blocks = Shard()
    blocks.kept = 150
    assert "keeps no blocks" in looked(late, blocks).reason
    far = {0: BlocksRead(BLOCKS_BACK_MAX + 200, 10**9 * S, 10**9 * S, 0)}
    blocks = SimpleNamespace(final_blocks=None)

    async def final_blocks(shard, at, **_):
        return at + 64, [block(each, 10**9 * S) for each in (at,)]

    blocks.final_blocks = final_blocks
    assert "too many" in looked(far, blocks).reason


def test_a_watch_says_what_it_read_of_each_shard() -> None:
    """After a block was told, and not before: a block whose hearing failed was not read."""

    async def body() -> None:
        heard: list[bytes] = []
        fails = [1]

        def tell(found) -> None:
            if fails[0]:
                fails[0] -= 1
                raise OSError(28, "no space left on device")
            heard.extend(each.digest for each in found)
            if len(heard) == 1:
                watch.expect([WITHIN])

        class Node:
            async def network(self):
                return SimpleNamespace(domain=SimpleNamespace(shard_ids=lambda: (0, 1)))

            async def final_blocks(self, shard, height, **_):
                if not height:
                    return 5, []
                if shard or height > 6:
                    await asyncio.Event().wait()
                return height + 1, [block(height, height * S, (LOCK, ResultCode.CREATED))]

        watch = DecisionWatch(Node(), tell=tell)
        watch.expect([LOCK])
        await watch.start()
        assert watch.read_for(LOCK) == {0: None, 1: None}
        await until(lambda: not fails[0])
        assert watch.read_for(LOCK)[0] is None
        await until(lambda: len(heard) == 2)
        read = BlocksRead(5, 5 * S, 6 * S, 5 * S)
        assert watch.read_for(LOCK) == {0: read, 1: None}
        # What is expected late was not looked for in what was read before.
        watch.expect([OTHER], look_back=True)
        assert watch.read_for(OTHER) == {0: read._replace(first_height=7, first_time=6 * S), 1: None}
        assert watch.read_for(b"x" * 32) == {}
        # Neither what is expected by who hears of a block, in that block.
        assert watch.read_for(WITHIN) == {0: read._replace(first_height=6, first_time=5 * S), 1: None}
        watch.expect([LOCK])
        assert watch.read_for(LOCK)[0] == read, "expected before, and still"
        await watch.stop()

    decisions._RETRY_S, kept = 0.01, decisions._RETRY_S
    try:
        asyncio.run(body())
    finally:
        decisions._RETRY_S = kept


# A node that lies.


class Liar(Line):
    """Denies every record, and shows blocks as far as it likes; what it shows cannot be forged."""

    shows = False

    def lock(self, digest: bytes, record: bytes) -> None:
        """Take it without an answer."""

    async def receipt(self, digest, **_):
        raise Refused(ResultCode.NOT_FOUND, "not_found", "no decision of this record is final yet", "")

    def read_for(self, digest):
        return (
            super().read_for(digest) if self.shows else {self.domain: BlocksRead(1, 0, self.world.now - 3_600 * S, 0)}
        )


@pytest.mark.parametrize("said", [None, ResultCode.HELD])
def test_a_node_that_denies_a_lock_ends_no_swap(tmp_path, said) -> None:
    """However long it does, and whatever it answered to the lock itself, such as that people decide of it.

    The swap goes on, a person is called once, and it ends when blocks come.
    """

    async def body(world) -> None:
        engine = world.engines[PAYER]
        swap = world.bridge().begin(world.order())
        await engine.committed()
        (line,) = [each for each in engine.legs.ports.values() if each.domain == engine.legs.domain_of(swap, 0)]
        line.__class__ = Liar
        # The ledger took the lock; this bridge is told nothing of it, neither by an answer nor by a block.
        world.due.clear()
        digest = swap.legs[0].digest
        assert digest in world.digests
        if said is not None:
            engine.on_answers(line.domain, [LockAnswer(digest, said, 0)])
            assert swap.legs[0].state == LegState.HELD
        for _ in range(12):
            world.time_passes(10)
            await world.run_once()
            await asyncio.sleep(0.03)
        assert swap.outcome is None and engine.book.find(swap.party) is swap
        alarms = [each for each in engine.telling.alarms.newest(100) if "no final block proves" in each.text]
        assert [each.kind for each in alarms] == [AlarmKind.LEG_STALLED] and alarms[0].count == 1
        # What the blocks hold comes out in the end, and it is not "nothing was locked".
        line.shows = True
        world.due.append((line.domain, digest, ResultCode.CREATED))
        world.end_locks(None)
        for _ in range(3):
            world.time_passes(30)
            await world.run_once()
            await asyncio.sleep(0.03)
        await until(lambda: swap.outcome is not None)
        assert swap.outcome is Outcome.REFUNDED

    play(tmp_path, body)


@pytest.mark.parametrize("said", [None, ResultCode.HELD])
def test_a_lock_that_never_came_is_absent_when_blocks_say_so(tmp_path, said) -> None:
    """The same denial with blocks behind the timelock ends the swap: nothing was locked.

    A node that has answered that it holds the lock, which nobody ever sees held, keeps no swap open for ever.
    """

    async def body(world) -> None:
        engine = world.engines[PAYER]
        world.silent = True
        swap = world.bridge().begin(world.order())
        await engine.committed()
        if said is not None:
            engine.on_answers(engine.legs.domain_of(swap, 0), [LockAnswer(swap.legs[0].digest, said, 0)])
            assert swap.legs[0].state == LegState.HELD
        for _ in range(12):
            world.time_passes(10)
            await world.run_once()
            await asyncio.sleep(0.03)
        await until(lambda: swap.outcome is not None)
        assert swap.outcome is Outcome.ABANDONED
        assert not isinstance(engine.telling.alarms, Alarms) or not len(engine.telling.alarms)

    play(tmp_path, body)
