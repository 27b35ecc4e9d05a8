"""The node shell on a real disk: work in, durable answers out, and the same state after a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from clearspan.simulation.world import START, World
from engine.block import DecisionProof
from engine.codes import ResultCode
from engine.data_directory import DataDirectory
from engine.header import SignedHeader
from engine.types import NS_PER_S
from shards.domain import wire_bytes
from shards.errors import Overloaded, ShuttingDown
from shards.node import DomainNode
from shards.recovery import Stores
from shards.settings import NodeSettings

SETTINGS = NodeSettings(seal_interval_ns=1, seal_interval_idle_ns=NS_PER_S, disk_reserve_bytes=0)


class Clock:
    def __init__(self) -> None:
        self.now = START + NS_PER_S

    def __call__(self) -> int:
        self.now += 1_000
        return self.now


class Harness:
    """A node over one data directory that can be stopped and started again."""

    def __init__(self, path: Path, world: World, settings: NodeSettings = SETTINGS) -> None:
        self.path, self.world, self.settings, self.clock = path, world, settings, Clock()

    async def start(self) -> DomainNode:
        self.directory = DataDirectory(self.path, kind="node", genesis_hash=self.world.genesis.hash)
        stores = Stores.open(self.directory, self.world.genesis, log_bytes_max=1 << 30)
        self.node = DomainNode(
            self.world.genesis, self.world.domain, stores, self.world.block_key, self.settings, now=self.clock
        )
        await self.node.start()
        return self.node

    async def stop(self) -> None:
        await self.node.stop()
        self.directory.close()

    async def enrol(self, amount: int = 1_000_000) -> None:
        for columns in self.world.setup:
            reply = await self.node.administer(columns, submitter=1)
            assert set(reply.codes.tolist()) == {ResultCode.CREATED}, reply.codes
        for account, _ in self.world.accounts:
            for batch in self.world.issue(account, amount, self.clock()):
                reply = await self.node.submit(batch, submitter=1)
                assert set(reply.codes.tolist()) <= {ResultCode.CREATED, ResultCode.CREATED_IN_TRANSIT}, reply.codes


def balance(leaf: bytes) -> int:
    """Credits posted minus debits posted of an account leaf."""
    return int.from_bytes(leaf[64:80], "little") - int.from_bytes(leaf[32:48], "little")


@pytest.fixture
def world() -> World:
    return World.make(7)


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def payments(world: World, now: int, count: int = 64):
    """Transfers round the ring of all accounts, so that many cross shards."""
    ring = world.accounts
    return [
        world.transfer(ring[i % len(ring)][0], ring[(i + 3) % len(ring)][0], 10 + i, ring[i % len(ring)][1], now)
        for i in range(count)
    ]


def test_settles_over_two_shards_and_conserves(tmp_path: Path, world: World) -> None:
    """Every transfer round a ring settles, credits reach the other shard in the same commit, sums are unchanged."""

    async def scenario() -> None:
        harness = Harness(tmp_path, world)
        node = await harness.start()
        await harness.enrol()
        transfers = payments(world, harness.clock())
        reply = await node.submit(world.signed(transfers), submitter=9)
        seen = set(reply.codes.tolist())
        assert seen == {ResultCode.CREATED, ResultCode.CREATED_IN_TRANSIT}
        ids = b"".join(account.to_bytes(16, "little") for account, _ in world.accounts)
        leaves = await node.lookup_accounts(ids)
        total = sum(balance(leaves[at : at + 160]) for at in range(0, len(leaves), 160))
        assert total == 1_000_000 * len(world.accounts)
        await harness.stop()

    run(scenario())


def test_restart_gives_first_answers_again(tmp_path: Path, world: World) -> None:
    """After a stop and after a loss of the checkpoint the same bytes get the same first answer, and state is equal."""

    async def scenario() -> None:
        harness = Harness(tmp_path, world)
        node = await harness.start()
        await harness.enrol()
        batch = world.signed(payments(world, harness.clock()))
        first = await node.submit(batch, submitter=9)
        for drop_checkpoint in (False, True):
            await harness.stop()
            if drop_checkpoint:
                for folder in ("checkpoint", "chain", "index"):
                    for file in sorted((tmp_path / folder).rglob("*"), reverse=True):
                        file.unlink() if file.is_file() else file.rmdir()
            node = await harness.start()
            again = await node.submit(batch, submitter=9)
            assert set(again.codes.tolist()) == {ResultCode.EXISTS}
            assert np.array_equal(again.first_codes, first.codes) and np.array_equal(again.times, first.times)
        await harness.stop()

    run(scenario())


def test_lookups_statement_and_proof(tmp_path: Path, world: World) -> None:
    """A decided transfer is found by digest and in both statements, and its proof holds against the signed header."""

    async def scenario() -> None:
        harness = Harness(tmp_path, world)
        node = await harness.start()
        await harness.enrol()
        transfers = payments(world, harness.clock(), 32)
        reply = await node.submit(world.signed(transfers), submitter=9)
        digests = world.digests(transfers)
        for _ in range(200):
            entries = await node.lookup_transfers(b"".join(digests))
            if all(entries):
                break
            await asyncio.sleep(0.01)
        assert [entry.record for entry in entries] == [transfer.encode() for transfer in transfers]
        assert [entry.code for entry in entries] == reply.codes.tolist()
        for row, transfer in enumerate(transfers[:8]):
            for account in (transfer.debit_account, transfer.credit_account):
                page, _ = await node.statement(account.to_bytes(16, "little"), after=b"", limit=1000, newest_first=True)
                found = [entry for entry in page if digests[row] == entry.digest]
                assert found, f"row {row} is missing in the statement of {account:x}"
        # Paging walks the same entries.
        account = transfers[0].debit_account.to_bytes(16, "little")
        whole, _ = await node.statement(account, after=b"", limit=1000, newest_first=False)
        walked, cursor = [], b""
        while True:
            page, cursor = await node.statement(account, after=cursor, limit=2, newest_first=False)
            walked += page
            if not cursor:
                break
        assert walked == whole and len(whole) >= 3
        proof = None
        for _ in range(200):
            proof = await node.decision_proof(digests[0])
            if proof is not None:
                break
            await asyncio.sleep(0.02)
        key = world.block_key.secret
        decision = DecisionProof.decode(proof).verify(key.suite, key.public)
        assert (decision.digest, decision.code) == (digests[0], int(reply.codes[0]))
        heights = [SignedHeader.decode(block).header.height async for block in node.blocks(256, 1, follow=False)]
        assert heights == list(range(1, len(heights) + 1)) and heights
        await harness.stop()

    run(scenario())


def test_full_queue_refuses_at_once(tmp_path: Path, world: World) -> None:
    """A queue that holds what it may answers overloaded, and what was taken is still decided."""

    async def scenario() -> None:
        batch = world.signed(payments(world, START + 2 * NS_PER_S))
        settings = NodeSettings(queue_bytes_max=wire_bytes(batch) + 1, disk_reserve_bytes=0)
        harness = Harness(tmp_path, world, settings)
        node = await harness.start()
        taken = asyncio.create_task(node.submit(batch, submitter=9))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as refused:
            await node.submit(batch, submitter=9)
        assert refused.value.retry_after_ms > 0
        assert len((await taken).codes) == batch.count
        await harness.stop()
        with pytest.raises(ShuttingDown):
            await node.submit(batch, submitter=9)

    run(scenario())
