"""The node shell when things go wrong: nobody waits for ever, nothing that is not durable is told or built upon."""

from __future__ import annotations

import asyncio
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clearspan.simulation.world import World
from engine.codes import ResultCode
from engine.errors import DiskFull, LogFailed
from engine.refusals import EncodingError, InvariantBroken
from engine.types import NS_PER_S
from shards.errors import NodeFailed, ShuttingDown
from tests.behaviour.faulty import DECIDED, SETTINGS, Faulty, full, run, until


@pytest.fixture
def world() -> World:
    return World.make(11, banks=3, accounts=2)


async def outcome(coroutine):
    """A reply, or the exception in its place."""
    try:
        return await coroutine
    except Exception as error:
        return error


def held_commits(node) -> threading.Event:
    """Make the next commits wait in the writer thread until the event is set."""
    gate = threading.Event()
    node._stores.before = lambda number: gate.wait(20)
    return gate


# A full disk with rounds in flight.


def test_a_full_disk_takes_the_rounds_behind_it_along_and_the_node_goes_on(tmp_path: Path, world: World) -> None:
    """The round that was applied on top of one that found no room is forgotten with it; both may be sent again."""

    async def scenario() -> None:
        harness = Faulty(tmp_path, world)
        node = await harness.start()
        await harness.enrol()
        total = await harness.total()
        gate = threading.Event()
        stores, tries = harness.stores, []

        def before(number: int) -> None:
            tries.append(number)
            gate.wait(20)
            if len(tries) == 1:
                raise full(stores)

        stores.before = before
        batches = [harness.payments() for _ in range(4)]
        calls = [asyncio.create_task(outcome(node.submit(batch, submitter=n))) for n, batch in enumerate(batches)]
        await until(lambda: tries and len(node._commits) == harness.settings.rounds_in_flight_max)
        gate.set()
        answers = await asyncio.gather(*calls)
        # Which lanes came first is chance, and one of the two rounds in flight may have been a seal alone.
        assert any(isinstance(answer, DiskFull) for answer in answers), answers
        assert not any(isinstance(answer, NodeFailed) for answer in answers)
        await until(lambda: node.status().refusing == "")
        for batch, first in zip(batches, answers, strict=True):
            again = await node.submit(batch, submitter=9)
            wanted = DECIDED if isinstance(first, DiskFull) else {ResultCode.EXISTS}
            assert set(again.codes.tolist()) <= wanted
        assert await harness.total() == total
        await harness.stop()

    run(scenario())


def test_lookups_answer_while_the_disk_is_full_and_show_only_what_is_durable(tmp_path: Path, world: World) -> None:
    async def scenario() -> None:
        harness = Faulty(tmp_path, world)
        node = await harness.start()
        await harness.enrol()
        first = harness.payments()
        await node.submit(first, submitter=9)
        before = await node.lookup_accounts(harness.ids)
        stores = harness.stores
        gate = threading.Event()

        def refuse(number: int) -> None:
            gate.wait(20)
            raise full(stores)

        stores.before = refuse
        lost = asyncio.create_task(outcome(node.submit(harness.payments(amount=7_000), submitter=9)))
        await until(lambda: node._commits)
        # The ledger is ahead of the disk now, and this look at it must not tell so.
        ahead = asyncio.create_task(node.lookup_accounts(harness.ids))
        await asyncio.sleep(0.05)
        stores.room = 0
        gate.set()
        assert isinstance(await lost, DiskFull)
        async with asyncio.timeout(10):
            assert await ahead == before
            assert await node.lookup_accounts(harness.ids) == before
            assert all(await node.lookup_transfers(b"".join(world.digests([first.transfer(0)]))))
            entries, _ = await node.statement(harness.ids[:16], after=b"", limit=10, newest_first=True)
            assert entries
            assert node.status().refusing == "DiskFull"
            with pytest.raises(DiskFull):
                await node.submit(first, submitter=9)
        stores.before, stores.room = (lambda number: None), None
        await until(lambda: node.status().refusing == "")
        assert set((await node.submit(first, submitter=9)).codes.tolist()) == {ResultCode.EXISTS}
        await harness.stop()

    run(scenario())


def test_a_key_registered_in_a_forgotten_round_verifies_nothing(tmp_path: Path, world: World) -> None:
    """A verdict made with a registry that was thrown away is made again: the key id may be another key by now."""

    async def scenario() -> None:
        harness = Faulty(tmp_path, world, replace(SETTINGS, rounds_in_flight_max=1))
        node = await harness.start()
        await harness.enrol()
        core = node._recovered.core
        job = core.split(harness.payments(), submitter=1)
        for part in job.parts:
            core.verify(part)
            part.verdicts[:] = 0  # what another registry would have said
            part.verified_by = None
        round_ = core.run([job], harness.clock(), seal=False)
        assert set(round_.replies[0].codes.tolist()) <= DECIDED
        node._recovered.abandoned = full(harness.stores)  # the test went past the log
        await harness.stop()

    run(scenario())


def test_stopping_on_a_full_disk_leaves_no_checkpoint_ahead_of_the_log(tmp_path: Path, world: World) -> None:
    async def scenario() -> None:
        harness = Faulty(tmp_path, world)
        node = await harness.start()
        await harness.enrol()
        batch = harness.payments()
        first = await node.submit(batch, submitter=9)
        stores = harness.stores

        def refuse(number: int) -> None:
            raise full(stores)

        stores.before = refuse
        await harness.stop()
        node = await harness.start()  # a checkpoint of a seal that is not in the log would be refused here
        again = await node.submit(batch, submitter=9)
        assert set(again.codes.tolist()) == {ResultCode.EXISTS}
        assert np.array_equal(again.first_codes, first.codes)
        await harness.stop()

    run(scenario())


def test_a_header_that_finds_no_room_is_made_again(tmp_path: Path, world: World) -> None:
    async def scenario() -> None:
        harness = Faulty(tmp_path, world)
        node = await harness.start()
        await harness.enrol()
        stores, times = harness.stores, []

        def refuse() -> None:
            times.append(1)
            if len(times) <= 2:
                raise full(stores)

        stores.before_blocks = refuse
        await outcome(node.submit(harness.payments(), submitter=9))
        await until(lambda: len(times) > 2 and node.status().refusing == "")
        batch = harness.payments()
        assert set((await node.submit(batch, submitter=9)).codes.tolist()) <= DECIDED
        heights = [shard.height for shard in node.status().shards]
        await until(lambda: min(stores.chain.last(shard.shard) or 0 for shard in node.status().shards) >= min(heights))
        await harness.stop()

    run(scenario())


# Faults that end the node.


def test_a_failed_log_answers_everybody_and_the_node_can_be_stopped(tmp_path: Path, world: World) -> None:
    async def scenario() -> None:
        harness = Faulty(tmp_path, world)
        node = await harness.start()
        await harness.enrol()
        gate = threading.Event()
        stores = harness.stores

        def fail(number: int) -> None:
            gate.wait(20)
            raise LogFailed(str(stores.path), "input/output error")

        stores.before = fail
        calls = [asyncio.create_task(outcome(node.submit(harness.payments(), submitter=n))) for n in range(8)]
        await until(lambda: len(node._commits) == harness.settings.rounds_in_flight_max)
        gate.set()
        async with asyncio.timeout(10):
            assert all(isinstance(answer, NodeFailed) for answer in await asyncio.gather(*calls))
            with pytest.raises(LogFailed):
                await node.failed()
            with pytest.raises(NodeFailed):
                await node.submit(harness.payments(), submitter=1)
            with pytest.raises(NodeFailed):
                await node.lookup_accounts(harness.ids)  # memory is ahead of the disk
            await harness.stop()
        stores = None
        node = await harness.start()
        assert await harness.total() > 0
        await harness.stop()

    run(scenario())


def test_a_round_that_raises_answers_its_work(tmp_path: Path, world: World) -> None:
    async def scenario() -> None:
        harness = Faulty(tmp_path, world)
        node = await harness.start()
        await harness.enrol()

        def broken(*_: object, **__: object):
            raise InvariantBroken("books_balance", {})

        node._recovered.core.run = broken
        async with asyncio.timeout(10):
            assert isinstance(await outcome(node.submit(harness.payments(), submitter=1)), NodeFailed)
            with pytest.raises(InvariantBroken):
                await node.failed()
            await harness.stop()

    run(scenario())


def test_a_failed_commit_of_a_checkpoint_writes_none(tmp_path: Path, world: World) -> None:
    async def scenario() -> None:
        harness = Faulty(tmp_path, world)
        node = await harness.start()
        await harness.enrol()
        stores = harness.stores

        def fail(number: int) -> None:
            raise LogFailed(str(stores.path), "input/output error")

        stores.before = fail
        with pytest.raises(LogFailed):
            await node._checkpoint()
        assert all(stores.checkpoints.heights(shard.shard) == [] for shard in node.status().shards)
        await harness.stop()
        await harness.start()
        await harness.stop()

    run(scenario())


def test_a_start_that_fails_can_be_stopped(tmp_path: Path, world: World) -> None:
    async def scenario() -> None:
        harness = Faulty(tmp_path, world)
        await harness.start()
        await harness.stop()
        stranger = World.make(12, banks=3, accounts=2)
        harness.world = replace(world, keys={**world.keys, 5: stranger.keys[5]})
        original = harness.world.block_key.verify
        assert original
        node = await harness.start()  # checkpoints of another signer are skipped, and the log replayed
        with pytest.raises(ShuttingDown):
            await outcome_raises(node)
        await harness.stop()

    async def outcome_raises(node) -> None:
        await node.stop()
        await node.submit(Faulty(tmp_path, world).payments(), submitter=1)

    run(scenario())


# Callers who leave, odd clocks, blocks that are none.


def test_a_caller_who_leaves_takes_nothing_down(tmp_path: Path, world: World) -> None:
    async def scenario() -> None:
        harness = Faulty(tmp_path, world)
        node = await harness.start()
        await harness.enrol()
        gate = held_commits(node)
        batches = [harness.payments() for _ in range(6)]
        calls = [asyncio.create_task(node.submit(batch, submitter=n)) for n, batch in enumerate(batches)]
        relay = asyncio.create_task(node.relay_block(b"no block"))
        await asyncio.sleep(0.02)
        for call in calls[::2]:
            call.cancel()
        gate.set()
        with pytest.raises(EncodingError):
            await relay
        for call in calls[1::2]:
            assert set((await call).codes.tolist()) <= DECIDED
        for batch in batches:
            assert set((await node.submit(batch, submitter=1)).codes.tolist()) == {ResultCode.EXISTS}
        assert node._queue.queued_bytes == 0 and not len(node._queue)
        await harness.stop()

    run(scenario())


def test_bytes_that_are_no_relay_block_cost_nothing(tmp_path: Path, world: World) -> None:
    async def scenario() -> None:
        harness = Faulty(tmp_path, world)
        node = await harness.start()
        await harness.enrol()
        for _ in range(3 * harness.settings.rounds_in_flight_max):
            with pytest.raises(EncodingError):
                await node.relay_block(b"\x00" * 40)
        assert set((await node.submit(harness.payments(), submitter=1)).codes.tolist()) <= DECIDED
        await harness.stop()

    run(scenario())


def test_a_clock_that_is_set_back_stops_neither_seals_nor_work(tmp_path: Path, world: World) -> None:
    async def scenario() -> None:
        harness = Faulty(
            tmp_path, world, replace(SETTINGS, seal_interval_ns=50_000_000, seal_interval_idle_ns=50_000_000)
        )
        node = await harness.start()
        await harness.enrol()
        times = [shard.last_time for shard in node.status().shards]
        harness.clock.now -= 7_200 * NS_PER_S
        heights = [shard.height for shard in node.status().shards]
        harness.world.next_id()
        harness.clock.now += 1
        batch = harness.payments()
        reply = await node.submit(batch, submitter=1)
        assert len(reply.codes) == batch.count
        await until(lambda: all(s.height > h for s, h in zip(node.status().shards, heights, strict=True)))
        assert all(s.last_time >= t for s, t in zip(node.status().shards, times, strict=True))
        await harness.stop()

    run(scenario())


def test_refusals_leave_no_trace_behind(tmp_path: Path, world: World) -> None:
    """One exception tells everybody why; what each raise adds to its trace would hold his batch for ever."""

    async def scenario() -> None:
        harness = Faulty(tmp_path, world)
        node = await harness.start()
        node._refusing = full(harness.stores)
        batch = harness.payments()
        for _ in range(50):
            with pytest.raises(DiskFull):
                await node.submit(batch, submitter=1)
        depth, trace = 0, node._refusing.__traceback__
        while trace is not None:
            depth, trace = depth + 1, trace.tb_next
        assert depth < 10
        node._refusing = None
        await harness.stop()

    run(scenario())


# What was lost beside the log.


@pytest.mark.parametrize("lost", ["chain", "index", "checkpoint"])
def test_what_is_rebuildable_may_be_lost(tmp_path: Path, world: World, lost: str) -> None:
    """Without it, or with an old copy of it, a start gives the same answers and the same proofs."""

    async def scenario() -> None:
        harness = Faulty(tmp_path, world)
        node = await harness.start()
        await harness.enrol()
        old = harness.payments()
        await node.submit(old, submitter=9)
        await harness.stop()
        shutil.copytree(tmp_path / lost, tmp_path / "copy")
        for _ in range(2):
            node = await harness.start()
            batch = harness.payments()
            await node.submit(batch, submitter=9)
            await harness.stop()
        for replacement in (None, tmp_path / "copy"):
            shutil.rmtree(tmp_path / lost)
            if replacement is not None:
                shutil.copytree(replacement, tmp_path / lost)
            node = await harness.start()
            for each in (old, batch):
                digests = world.digests([each.transfer(row) for row in range(each.count)])
                entries = await node.lookup_transfers(b"".join(digests))
                assert [entry.digest for entry in entries] == digests
            assert set((await node.submit(batch, submitter=9)).codes.tolist()) == {ResultCode.EXISTS}
            if replacement is not None:
                assert await node.decision_proof(digests[0]) is not None
            await harness.stop()

    run(scenario())
