"""A disk that really fills up: refused with a code, read from all the while, nothing acknowledged lost, and on it goes.

With root a small tmpfs is mounted and filled; without it the log's own largest size and the reserve stand in.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clearspan.simulation.world import World
from engine.batch import BatchColumns
from engine.codes import ResultCode
from engine.errors import DiskFull
from shards.errors import NodeFailed
from tests.behaviour.faulty import DECIDED, SETTINGS, Faulty, run, until

TMPFS_MIB = 16
MIB = 1 << 20
# A lone node: what it writes beside transfers must not fill the disk before the test does.
QUIET = replace(SETTINGS, seal_interval_ns=50_000_000, disk_reserve_bytes=MIB)


@pytest.fixture
def world() -> World:
    return World.make(19, banks=3, accounts=2)


@pytest.fixture
def small_disk(tmp_path: Path, need_root: None) -> Iterator[Path]:
    """A tmpfs of a few MiB; skips politely where it may not be mounted."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MIB}m", "tmpfs", str(path)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def enlarge(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)


class Acknowledged:
    """What a client was told, by record digest: what must be found for ever after."""

    def __init__(self, harness: Faulty) -> None:
        self.harness = harness
        self.codes: dict[bytes, int] = {}
        self.refused = 0

    async def send(self, columns) -> bool:
        """Submit; keep the answers, or count a refusal that says that the disk is full."""
        try:
            reply = await self.harness.node.submit(columns, submitter=7)
        except DiskFull as error:
            assert error.path
            self.refused += 1
            return False
        self.keep(columns, reply)
        return True

    def keep(self, columns, reply) -> None:
        if ResultCode.INVALID_SIGNATURE in reply.codes:
            return
        digests = self.harness.world.digests([columns.transfer(row) for row in range(columns.count)])
        codes = np.where(reply.codes == ResultCode.EXISTS, reply.first_codes, reply.codes).tolist()
        for digest, code in zip(digests, codes, strict=True):
            assert self.codes.setdefault(digest, code) == code, "an answer changed"

    async def all_found(self) -> None:
        entries = await self.harness.node.lookup_transfers(b"".join(self.codes))
        assert [None if entry is None else (entry.digest, entry.code) for entry in entries] == list(self.codes.items())


def junk(harness: Faulty, count: int = 4_096):
    """Many copies of a record that nobody signed: refused each by itself, and as many bytes in the log."""
    columns = harness.payments(1)
    heads, signatures = columns.heads.tobytes() * count, bytes(64 * count)
    return BatchColumns.from_buffers(1, bytes(16), heads, signatures, b"", b"")


async def fill(acknowledged: Acknowledged, more: int) -> None:
    """Send junk, and now and then what settles, until so many more were refused."""
    harness, enough = acknowledged.harness, acknowledged.refused + more
    for _ in range(400):
        if acknowledged.refused >= enough:
            return
        with contextlib.suppress(DiskFull):
            reply = await harness.node.submit(junk(harness), submitter=3)
            assert set(reply.codes.tolist()) == {ResultCode.INVALID_SIGNATURE}
        await asyncio.gather(*(acknowledged.send(harness.payments(32)) for _ in range(3)))
    raise AssertionError("the disk was never full")


async def indexed(harness: Faulty) -> None:
    """Wait until what is durable has been indexed: lookups follow the answers by a moment."""
    await until(lambda: not harness.node._follow_ups)


@pytest.mark.root
@pytest.mark.timeout(180)
def test_a_full_disk_refuses_serves_and_resumes(small_disk: Path, world: World) -> None:
    """Load until the tmpfs is full, twice; free the ballast; restart; replay without checkpoint: all of it is there."""

    async def scenario() -> None:
        ballast = small_disk / "ballast"
        harness = Faulty(small_disk / "data", world, QUIET)
        node = await harness.start()
        await harness.enrol(amount=10**12)
        total = await harness.total()
        acknowledged = Acknowledged(harness)
        assert await acknowledged.send(harness.payments())
        # Another tenant takes what is left, down to nothing, while batches come.
        with ballast.open("wb") as file:
            while True:
                try:
                    file.write(bytes(256 << 10))
                    file.flush()
                except OSError:
                    break
        await fill(acknowledged, 3)
        assert node.status().refusing == "DiskFull"
        await indexed(harness)
        async with asyncio.timeout(30):
            assert await harness.total() == total
            await acknowledged.all_found()
            page, _ = await node.statement(harness.ids[:16], after=b"", limit=5, newest_first=True)
            assert page
        os.truncate(ballast, 0)
        await until(lambda: node.status().refusing == "")
        assert await acknowledged.send(harness.payments(64))
        # And again, by its own log this time: it stops where the reserve begins.
        await fill(acknowledged, 1)
        await indexed(harness)
        await acknowledged.all_found()
        assert await harness.total() == total
        leaves = await node.lookup_accounts(harness.ids)
        await harness.stop()
        # The operator adds space, since the log keeps what it has. The state is what the log says, from the checkpoint and from the first record.
        enlarge(small_disk)
        for without_checkpoint in (False, True):
            if without_checkpoint:
                for file in (small_disk / "data" / "checkpoint").iterdir():
                    file.unlink()
            node = await harness.start()
            assert await node.lookup_accounts(harness.ids) == leaves
            await acknowledged.all_found()
            await harness.stop()

    run(scenario(), 150)


@pytest.mark.root
@pytest.mark.timeout(120)
def test_a_node_whose_disk_stays_full_can_be_stopped_and_started_again(small_disk: Path, world: World) -> None:
    async def scenario() -> None:
        harness = Faulty(small_disk / "data", world, replace(QUIET, disk_reserve_bytes=0))
        node = await harness.start()
        await harness.enrol(amount=10**12)
        acknowledged = Acknowledged(harness)
        assert await acknowledged.send(harness.payments())
        ballast = small_disk / "ballast"
        with ballast.open("wb") as file:
            try:
                while True:
                    file.write(bytes(64 << 10))
                    file.flush()
            except OSError:
                pass
        await fill(acknowledged, 1)
        assert acknowledged.codes
        await harness.stop()
        try:
            node = await harness.start()
        except DiskFull:
            # A start may want a few pages; it says so, and changes nothing.
            ballast.unlink()
            node = await harness.start()
        await acknowledged.all_found()
        ballast.unlink(missing_ok=True)
        await until(lambda: node.status().refusing == "")
        assert await acknowledged.send(harness.payments(16))
        await harness.stop()

    run(scenario(), 100)


def test_the_largest_size_of_the_log_is_a_full_disk(tmp_path: Path, world: World) -> None:
    """At the bound work is refused and reads go on; a start with a larger one goes on where it stood."""

    async def scenario() -> None:
        harness = Faulty(tmp_path, world, QUIET, log_bytes_max=6 * MIB)
        node = await harness.start()
        await harness.enrol(amount=10**12)
        total = await harness.total()
        acknowledged = Acknowledged(harness)
        await fill(acknowledged, 4)
        assert node.status().refusing == "DiskFull"
        await indexed(harness)
        assert await harness.total() == total
        await acknowledged.all_found()
        await harness.stop()
        harness.log_bytes_max = 64 * MIB
        node = await harness.start()
        await acknowledged.all_found()
        assert await acknowledged.send(harness.payments(64))
        assert await harness.total() == total
        await harness.stop()

    run(scenario())


def test_the_log_meets_its_end_in_the_middle_of_rounds(tmp_path: Path, world: World) -> None:
    """Without a reserve the commit itself finds no room, with rounds in flight; each batch is decided whole or not."""

    async def scenario() -> None:
        harness = Faulty(tmp_path, world, replace(QUIET, disk_reserve_bytes=0), log_bytes_max=5 * MIB)
        node = await harness.start()
        await harness.enrol(amount=10**12)
        total = await harness.total()
        acknowledged = Acknowledged(harness)
        batches = [harness.payments(16) if nth % 3 else junk(harness) for nth in range(24)]
        answers = await asyncio.gather(*(acknowledged.send(batch) for batch in batches))
        assert True in answers and False in answers
        assert not isinstance(node._refusing, NodeFailed)
        assert await harness.total() == total
        await indexed(harness)
        await acknowledged.all_found()
        await harness.stop()
        harness.log_bytes_max = 256 * MIB
        node = await harness.start()
        for batch, taken in zip(batches, answers, strict=True):
            reply = await node.submit(batch, submitter=7)
            acknowledged.keep(batch, reply)
            wanted = {ResultCode.EXISTS} if taken else DECIDED
            if batch.count == 16:
                assert set(reply.codes.tolist()) <= wanted
        assert await harness.total() == total
        await harness.stop()

    run(scenario())


def test_the_reserve_is_kept_for_what_is_in_flight(tmp_path: Path, world: World) -> None:
    async def scenario() -> None:
        harness = Faulty(tmp_path, world, QUIET)
        node = await harness.start()
        await harness.enrol()
        harness.stores.room = QUIET.disk_reserve_bytes - 1
        batch = harness.payments()
        with pytest.raises(DiskFull) as refused:
            await node.submit(batch, submitter=1)
        assert refused.value.free_bytes == QUIET.disk_reserve_bytes - 1
        assert node.status().refusing == "DiskFull"
        assert await harness.total() > 0
        heights = [shard.height for shard in node.status().shards]
        harness.clock.now += 10_000_000_000
        await asyncio.sleep(1.2)  # an idle seal would be due; it is left for better days
        assert [shard.height for shard in node.status().shards] <= [height + 1 for height in heights]
        harness.stores.room = None
        assert set((await node.submit(batch, submitter=1)).codes.tolist()) <= DECIDED
        assert node.status().refusing == ""
        await harness.stop()

    run(scenario())
