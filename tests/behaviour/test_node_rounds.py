"""What goes into one round of a node, and what a node answers without asking its disk or its ledger thread."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from clearspan.simulation.world import World
from engine.header import SignedHeader
from engine.log import RecordKind
from engine.relay_block import RelayBlock
from shards.settings import NodeSettings
from tests.behaviour.faulty import Faulty
from tests.behaviour.relay_of_node import FakeLines, Linked, Relay, world_with_validators

MS = 1_000_000


@pytest.fixture
def world() -> World:
    return world_with_validators()


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def times_of(harness: Faulty, shard: int, kind: RecordKind) -> list[int]:
    """The times of a shard's log records of one kind; records of one round have one time."""
    return [each.time for each in harness.stores.log.log(shard).read(1) if each.kind is kind]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that would hold relay blocks for an hour."""
    monkeypatch.setattr("shards.node._RELAY_HELD_NS", 3_600_000 * MS)


@pytest.mark.usefixtures("patient")
def test_a_relay_block_goes_with_the_next_round(tmp_path: Path, world: World) -> None:
    """Long before the next seal it waits for a batch that comes meanwhile, and both are in one round."""

    async def scenario() -> None:
        relay = Relay(world)
        harness = Faulty(tmp_path, world, NodeSettings(seal_interval_ns=3_600_000 * MS))
        node = await harness.start()
        await harness.enrol()
        relay.agree()
        consumed = asyncio.create_task(node.relay_block(relay.finals[0].block))
        await asyncio.sleep(0)
        await node.submit(harness.payments(2), submitter=1)
        await consumed
        shard = node.status().shards[0].shard
        (consumed_at,) = times_of(harness, shard, RecordKind.RELAY_BLOCK)
        batches = [time for each in node.status().shards for time in times_of(harness, each.shard, RecordKind.BATCH)]
        assert consumed_at == max(batches)
        await harness.stop()

    run(scenario())


def test_a_relay_block_alone_waits_for_no_work(tmp_path: Path, world: World) -> None:
    async def scenario() -> None:
        relay = Relay(world)
        harness = Faulty(tmp_path, world, NodeSettings(seal_interval_ns=3_600_000 * MS))
        node = await harness.start()
        await harness.enrol()
        relay.agree()
        async with asyncio.timeout(20):
            await node.relay_block(relay.finals[0].block)
        assert node.relay_height == 1
        await harness.stop()

    run(scenario())


@pytest.mark.usefixtures("patient")
def test_many_relay_blocks_at_once_wait_for_nothing(tmp_path: Path, world: World) -> None:
    """A node that was away reads what it missed as fast as it can."""

    async def scenario() -> None:
        relay = Relay(world)
        harness = Faulty(tmp_path, world, NodeSettings(seal_interval_ns=3_600_000 * MS))
        node = await harness.start()
        await harness.enrol()
        for _ in range(17):
            relay.agree()
        async with asyncio.timeout(20):
            await node.relay_blocks([RelayBlock.decode(each.block, world.genesis.hash_suite) for each in relay.finals])
        assert node.relay_height == 17
        await harness.stop()

    run(scenario())


def test_what_begins_after_a_pause_is_sealed_in_its_own_round(tmp_path: Path, world: World) -> None:
    """The first batch after a pause is in a block at once: no further round is spent on its seal."""

    async def scenario() -> None:
        harness = Faulty(tmp_path, world, NodeSettings(seal_interval_ns=1, seal_interval_idle_ns=3_600_000 * MS))
        node = await harness.start()
        await harness.enrol()
        commits = harness.stores.commits
        before = {each.shard: each.height for each in node.status().shards}
        await node.submit(harness.payments(2), submitter=1)
        assert {each.shard: each.height - before[each.shard] for each in node.status().shards} == dict.fromkeys(
            before, 1
        )
        assert harness.stores.commits == commits + 1
        await harness.stop()

    run(scenario())


def test_headers_just_signed_are_told_as_the_disk_has_them(tmp_path: Path, world: World) -> None:
    async def scenario() -> None:
        linked = Linked(tmp_path, world, Relay(world), FakeLines())
        node = await linked.start()
        await linked.faulty.enrol()
        shard = node.status().shards[0].shard
        async with asyncio.timeout(20):
            while len(await node.signed_headers(shard, 1, 9)) < 3:
                await node.submit(linked.faulty.payments(2), submitter=1)
        for first in (1, 2, 3):
            told = await node.signed_headers(shard, first, 1)
            assert told == [each.signed_header for each in linked.faulty.stores.chain.range(shard, first, first)]
            assert SignedHeader.decode(told[0]).header.height == first
        await linked.stop()

    run(scenario())
