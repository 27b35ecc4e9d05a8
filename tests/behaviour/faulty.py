"""A node over one data directory whose disk and clock a test plays: what the tests of faults, floods and full disks share."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from clearspan.config import LimitsSection
from clearspan.log_feed import LogFeed
from clearspan.metrics import NodeMetrics
from clearspan.node import ServedNode
from clearspan.pki import DevelopmentPki, channel_credentials, create_development_pki
from clearspan.roles import Identity, PeerRole
from clearspan.service import SettlementServer
from clearspan.simulation.world import START, World
from clearspan.v1 import clearspan_pb2 as pb
from engine.codes import ResultCode
from engine.data_directory import DataDirectory
from engine.errors import DiskFull
from engine.types import NS_PER_S
from shards.node import DomainNode
from shards.recovery import Stores
from shards.settings import NodeSettings

SETTINGS = NodeSettings(seal_interval_ns=1, seal_interval_idle_ns=NS_PER_S, disk_reserve_bytes=0)
DECIDED = {ResultCode.CREATED, ResultCode.CREATED_IN_TRANSIT}


class Clock:
    """A clock that moves a microsecond each time it is read, and whatever a test adds."""

    def __init__(self) -> None:
        self.now = START + NS_PER_S

    def __call__(self) -> int:
        self.now += 1_000
        return self.now


class FaultyStores(Stores):
    """Stores whose writes a test watches: `before` is called with the count of commits and may raise or wait."""

    commits = 0
    before = staticmethod(lambda number: None)
    before_blocks = staticmethod(lambda: None)
    room: int | None = None

    def append(self, round_, epoch):
        self.commits += 1
        self.before(self.commits)
        super().append(round_, epoch)

    def keep_blocks(self, genesis, sealed, signer):
        self.before_blocks()
        return super().keep_blocks(genesis, sealed, signer)

    def room_bytes(self):
        return super().room_bytes() if self.room is None else self.room


class Faulty:
    """A node that can be stopped and started again on the same directory."""

    def __init__(self, path: Path, world: World, settings: NodeSettings = SETTINGS, log_bytes_max: int = 1 << 30):
        self.path, self.world, self.settings, self.log_bytes_max = path, world, settings, log_bytes_max
        self.clock = Clock()

    async def start(self) -> DomainNode:
        self.directory = DataDirectory(self.path, kind="node", genesis_hash=self.world.genesis.hash)
        try:
            self.stores = FaultyStores.open(self.directory, self.world.genesis, log_bytes_max=self.log_bytes_max)
        except BaseException:
            self.directory.close()
            raise
        self.node = DomainNode(
            self.world.genesis, self.world.domain, self.stores, self.world.block_key, self.settings, now=self.clock
        )
        try:
            await self.node.start()
        except BaseException:
            await self.stop()
            raise
        return self.node

    async def stop(self) -> None:
        await self.node.stop()
        self.directory.close()

    async def enrol(self, amount: int = 1_000_000) -> None:
        for columns in self.world.setup:
            reply = await self.node.administer(columns, submitter=1)
            assert set(reply.codes.tolist()) == {ResultCode.CREATED}, reply.codes
        for batch in self._issues(amount):
            reply = await self.node.submit(batch, submitter=1)
            assert set(reply.codes.tolist()) <= DECIDED, reply.codes

    def _issues(self, amount: int):
        """All pendings in one batch, then all posts in another."""
        pairs = [self.world.issue(account, amount, self.clock()) for account, _ in self.world.accounts]
        for nth in (0, 1):
            yield self.world.signed([pair[nth].transfer(0) for pair in pairs])

    def payments(self, count: int = 16, amount: int = 10):
        """Signed transfers round the ring of all accounts, so that many cross shards."""
        ring, now = self.world.accounts, self.clock()
        return self.world.signed(
            [
                self.world.transfer(
                    ring[i % len(ring)][0], ring[(i + 3) % len(ring)][0], amount + i, ring[i % len(ring)][1], now
                )
                for i in range(count)
            ]
        )

    @property
    def ids(self) -> bytes:
        return b"".join(account.to_bytes(16, "little") for account, _ in self.world.accounts)

    async def total(self) -> int:
        leaves = await self.node.lookup_accounts(self.ids)
        return sum(balance(leaves[at : at + 160]) for at in range(0, len(leaves), 160))


def balance(leaf: bytes) -> int:
    """Credits posted minus debits posted of an account leaf."""
    return int.from_bytes(leaf[64:80], "little") - int.from_bytes(leaf[32:48], "little")


def full(stores) -> DiskFull:
    return DiskFull(str(stores.path), 0)


def run(coroutine, seconds: float = 60):
    return asyncio.run(asyncio.wait_for(coroutine, seconds))


async def until(condition, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another thread
            await asyncio.sleep(0.005)


@dataclass
class RealEdge:
    """The service over mTLS with a real node behind it, enrolled and funded, and certificates to call it with."""

    harness: Faulty
    server: SettlementServer
    pki: DevelopmentPki

    @property
    def target(self) -> str:
        return self.server.target

    def credentials(self, role: PeerRole = PeerRole.CLEARING_HOUSE, participant: int = 9):
        return channel_credentials(
            self.pki.issue_client(f"{role}-{participant}", Identity("simulation", role, participant))
        )

    def request(self, columns, **fields) -> pb.SubmitRequest:
        """The wire's form of a batch, with fields replaced."""
        found = pb.SubmitRequest(
            version=1,
            domain=1,
            batch_id=columns.batch_id,
            heads=columns.heads.tobytes(),
            signatures=columns.signatures.tobytes(),
            binding_index=columns.binding_index.tobytes(),
            bindings=columns.bindings.tobytes(),
        )
        for name, value in fields.items():
            setattr(found, name, value)
        return found


@asynccontextmanager
async def real_edge(directory: Path, world: World, settings: NodeSettings = SETTINGS, **limits: int):
    """Run a real node on a real disk behind the real service on a free port."""
    harness = Faulty(directory / "data", world, settings)
    node = await harness.start()
    try:
        await harness.enrol()
        pki = create_development_pki(directory / "tls", "simulation")
        server = SettlementServer(
            ServedNode(node, NodeMetrics(), LogFeed(harness.stores.log)),
            pki.issue_server("node"),
            limits=LimitsSection(**limits),
            software="test",
        )
        await server.start()
        try:
            yield RealEdge(harness, server, pki)
        finally:
            await server.stop(0.5)
    finally:
        await harness.stop()
