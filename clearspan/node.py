"""One node process: the place where settings, keys, stores, shards, service and metrics are put together.

It promises an order. Nothing listens before the state is recovered; the ready line is written when a call would be
answered; an end by signal refuses new work, answers what was taken, writes a checkpoint and only then lets the
directory go. A fault that the node must not go on from ends the process with the fault as its exception.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
import uvloop

from clearspan import __version__
from clearspan.errors import ClearspanError, ConfigError
from clearspan.keys import KeyRing, read_passphrase
from clearspan.log_feed import LogFeed
from clearspan.metrics import MetricsServer, NodeMetrics
from clearspan.neighbour_link import NeighbourLine, NeighbourLink
from clearspan.network import DATA_KIND, GENESIS_FILE, NodeAddress
from clearspan.pki import TlsFiles
from clearspan.process import calm_collector, configure_log, end_with_parent, note_address, stop_signals
from clearspan.relay_link.opening import link_to_validators
from clearspan.service import AccessList, SettlementServer
from engine.chain import ChainStore
from engine.checkpoint import CheckpointStore
from engine.data_directory import DataDirectory
from engine.genesis import Genesis
from engine.lmdb_log import LmdbStore
from engine.refusals import EncodingError, GenesisRefused
from engine.types import Role
from native.signatures import verify
from shards.node import DomainNode
from shards.recovery import Stores
from shards.settings import NodeSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from types import TracebackType

    from clearspan.config import LoadedConfig
    from clearspan.keys import KeyInfo
    from clearspan.log_feed import FeedPart
    from clearspan.relay_link.receipts import ReceiptDesk
    from engine.admin import AdminColumns
    from engine.batch import BatchColumns
    from engine.proved_credits import ProvedCredits
    from shards.domain import AdminReply, BatchReply, Round
    from shards.lookup import TransferEntry
    from shards.neighbours import CreditsWanted
    from shards.node import NodeStatus

__all__ = ["NodeFaulted", "RingSigner", "ServedNode", "run_node"]

_NS_PER_MS: Final = 1_000_000
_GRACE_S: Final = 10.0
_log = structlog.get_logger("clearspan.node")


class NodeFaulted(ClearspanError):  # noqa: N818 - named as what it is, like the other refusals
    """The node met a fault that it must not go on from. What was acknowledged is on the disk."""

    def __init__(self, error: BaseException) -> None:
        """Name the fault."""
        super().__init__(
            f"the node stopped: {type(error).__name__}: {error}",
            "mend the cause, then start it again: it goes on from what is durable; nothing acknowledged is lost",
        )


@dataclass(frozen=True, slots=True)
class RingSigner:
    """The block key of a node, which signs headers and checkpoints."""

    ring: KeyRing
    index: int

    @property
    def _info(self) -> KeyInfo:
        return self.ring[self.index]

    @property
    def key_id(self) -> int:
        """Its id in the domain's registry."""
        return self._info.key_id

    def sign(self, message: bytes) -> bytes:
        """Return the signature, 64 bytes."""
        return self.ring.sign(self.index, message)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Tell whether a signature is this key's."""
        return verify(self._info.suite, self._info.public_key, signature, message)


def run_node(loaded: LoadedConfig, announce: Callable[[NodeAddress], None], *, parent_pid: int | None = None) -> None:
    """Run a node until a signal ends it; announce is called when it is ready.

    parent_pid: end at once when that process does. Raises ConfigError and its like, PortInUse, what the engine's stores
    and recovery raise, and NodeFaulted.
    """
    if parent_pid is not None:
        end_with_parent(parent_pid)
    configure_log(loaded.config.node.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(loaded, announce))


async def _run(loaded: LoadedConfig, announce: Callable[[NodeAddress], None]) -> None:
    stopping = stop_signals()
    config = loaded.config
    genesis = _read_genesis(loaded)
    signer = _block_signer(loaded, genesis)
    tls = TlsFiles(*(loaded.resolve(path) for path in (config.tls.certificate, config.tls.key, config.tls.authority)))
    tls.read()
    access = AccessList(loaded.resolve(config.tls.access) if config.tls.access else None)
    metrics = NodeMetrics()
    async with contextlib.AsyncExitStack() as stack:
        directory = stack.enter_context(_data_directory(loaded, genesis))
        stores = _open_stores(loaded, directory, genesis, metrics)
        stack.callback(stores.close)
        stack.callback(stores.feed.close)
        inner = DomainNode(
            genesis, config.node.domain, stores, signer, _settings(loaded), served=_served(loaded, genesis)
        )
        node = ServedNode(inner, metrics, stores.feed)
        stack.push_async_exit(partial(_stop, node.inner))
        await node.inner.start()
        metrics.watch(node.live_status)
        node.finality = link_to_validators(loaded, inner, tls, metrics, stack)
        _link_to_neighbours(loaded, inner, tls, stack)
        figures = MetricsServer(metrics, config.metrics.host, config.metrics.port) if config.metrics.enabled else None
        if figures is not None:
            stack.callback(figures.close)
        server = SettlementServer(
            node,
            tls,
            host=config.node.host,
            port=config.node.port,
            limits=config.limits,
            access=access,
            software=f"clearspan {__version__}",
        )
        port = await server.start()
        stack.push_async_callback(server.stop, _GRACE_S)
        address = NodeAddress(config.node.host, port, figures.port if figures is not None else 0, os.getpid())
        note_address(directory.path, address)
        _log.info("node_ready", domain=config.node.domain, port=port, metrics_port=address.metrics_port)
        calm_collector()
        announce(address)
        await _until_ended(node.inner, stopping)
        _log.info("node_stopping")


async def _until_ended(node: DomainNode, stopping: asyncio.Event) -> None:
    """Wait for a signal or a fault; a fault is raised."""
    ended = asyncio.create_task(stopping.wait())
    failed = asyncio.create_task(node.failed())
    done, _ = await asyncio.wait({ended, failed}, return_when=asyncio.FIRST_COMPLETED)
    for task in (ended, failed):
        task.cancel()
    if failed in done:
        error = failed.exception()
        assert error is not None
        raise NodeFaulted(error) from error


class ServedNode:
    """A domain node in the shape that the service asks for, with every answer counted."""

    finality: ReceiptDesk | None = None
    """What it has of the relay; None without validators."""

    def __init__(self, inner: DomainNode, metrics: NodeMetrics, feed: LogFeed) -> None:
        """Stand before a node and its log; both are started and stopped by who made them."""
        self.inner = inner
        self._metrics = metrics
        self._feed = feed

    @property
    def genesis(self) -> Genesis:
        """The network's genesis."""
        return self.inner.genesis

    @property
    def domain(self) -> int:
        """The domain that it serves."""
        return self.inner.domain

    async def submit(self, batch: BatchColumns, *, submitter: int) -> BatchReply:
        """Decide a batch; resolves when the decisions are durable."""
        try:
            reply = await self.inner.submit(batch, submitter=submitter)
        except Exception as error:
            self._metrics.batch_refused(type(error).__name__)
            raise
        self._metrics.batch_answered(reply.codes)
        return reply

    async def administer(self, request: AdminColumns, *, submitter: int) -> AdminReply:
        """Decide admin requests; resolves when the decisions are durable."""
        reply = await self.inner.administer(request, submitter=submitter)
        self._metrics.admin_answered(reply.codes)
        return reply

    async def lookup_accounts(self, ids: bytes) -> bytes:
        """Return n x 160 account leaves for n x 16 ids."""
        return await self.inner.lookup_accounts(ids)

    async def lookup_transfers(self, digests: bytes) -> Sequence[TransferEntry | None]:
        """Return the transfer of each of n x 32 record digests."""
        return await self.inner.lookup_transfers(digests)

    async def statement(
        self, account: bytes, *, after: bytes, limit: int, newest_first: bool
    ) -> tuple[Sequence[TransferEntry], bytes]:
        """Return a page of an account's transfers and the cursor of the next."""
        return await self.inner.statement(account, after=after, limit=limit, newest_first=newest_first)

    async def decision_proof(self, digest: bytes) -> bytes | None:
        """Return the decision proof of a record digest, or None before its block is sealed."""
        return await self.inner.decision_proof(digest)

    async def rules(self) -> bytes:
        """Return what rules stand on the shards."""
        return await self.inner.rules()

    async def holds(self) -> bytes:
        """Return the transfers that wait for a decision."""
        return await self.inner.holds()

    async def outgoing_since(self, wanted: CreditsWanted) -> ProvedCredits | None:
        """Return the next credits of a channel for a neighbour, None while there are none."""
        return await self.inner.outgoing_since(wanted)

    def blocks(self, shard: int, from_height: int, follow: bool) -> AsyncIterator[bytes]:
        """Iterate over signed headers of a shard."""
        return self.inner.blocks(shard, from_height, follow=follow)

    def log_parts(self, shard: int, from_number: int, *, follow: bool) -> AsyncIterator[FeedPart]:
        """Iterate over durable log records of a shard."""
        return self._feed.parts(shard, from_number, follow=follow)

    def status(self) -> NodeStatus:
        """Return how the node stands now."""
        return self.inner.status()

    def live_status(self) -> NodeStatus | None:
        """Return how the node stands, or None while it does not run; for figures, which are read at any time."""
        try:
            return self.inner.status()
        except Exception:  # noqa: BLE001 - a figure that cannot be read is left out
            return None


@dataclass(slots=True)
class _MeasuredStores(Stores):
    """Stores whose commits are timed."""

    metrics: NodeMetrics
    feed: LogFeed

    def append(self, round_: Round, epoch: int) -> None:
        """Commit a round, note how long it took and tell whoever follows the log."""
        started = time.perf_counter_ns()
        Stores.append(self, round_, epoch)
        self.metrics.round_durable(round_, time.perf_counter_ns() - started)
        self.feed.notify()


def _settings(loaded: LoadedConfig) -> NodeSettings:
    shards, data = loaded.config.shards, loaded.config.data
    return NodeSettings(
        queue_bytes_max=shards.queue_bytes_max,
        round_bytes_max=shards.round_bytes_max,
        rounds_in_flight_max=shards.rounds_in_flight_max,
        seal_interval_ns=shards.seal_interval_ms * _NS_PER_MS,
        seal_interval_idle_ns=shards.seal_interval_idle_ms * _NS_PER_MS,
        checkpoint_interval_bytes=shards.checkpoint_bytes,
        verify_threads=shards.verify_threads,
        disk_reserve_bytes=data.reserve_bytes,
        log_bytes_max=data.log_bytes_max,
    )


def _read_genesis(loaded: LoadedConfig) -> Genesis:
    path = loaded.resolve(loaded.config.node.genesis)
    try:
        genesis = Genesis.decode(path.read_bytes())
        genesis.domain(loaded.config.node.domain)
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise ConfigError("node.genesis", f"{path}: {reason}", "name the network's genesis document") from error
    except EncodingError as error:
        raise ConfigError("node.genesis", f"{path}: {error}", "restore the file as the network published it") from error
    except GenesisRefused as error:
        raise ConfigError("node.domain", f"{path}: {error}", "name a domain of this genesis") from error
    return genesis


def _served(loaded: LoadedConfig, genesis: Genesis) -> tuple[int, ...] | None:
    """Return the shards of the settings, None for all. Raises ConfigError for one that the domain does not have."""
    config = loaded.config
    served = tuple(int(each) for each in config.shards.served)
    everywhere = genesis.domain(config.node.domain).shard_ids()
    strange = [each for each in served if each not in everywhere]
    if strange:
        known = ", ".join(map(str, everywhere))
        raise ConfigError(
            "shards.served",
            f"domain {config.node.domain} has no shard {strange[0]}",
            f"its shards are {known}",
        )
    elsewhere = set(everywhere) - set(served) if served else set()
    if elsewhere and not (config.shards.neighbours and (config.relay.validators or config.relay.addresses)):
        raise ConfigError(
            "shards.neighbours",
            "other nodes serve a part of the domain, and what they send cannot be fetched or proved",
            "name the other nodes, and the validators in relay",
        )
    return served or None


def _link_to_neighbours(
    loaded: LoadedConfig, node: DomainNode, tls: TlsFiles, stack: contextlib.AsyncExitStack
) -> None:
    """Begin to fetch credits from the other nodes of the domain, where there are any."""
    if not node.remote_shards:
        return
    config = loaded.config
    speaks = tls
    if config.relay.certificate:
        speaks = TlsFiles(loaded.resolve(config.relay.certificate), loaded.resolve(config.relay.key), tls.authority)
    lines = [NeighbourLine(each, config.node.domain, speaks) for each in config.shards.neighbours]
    link = NeighbourLink(node, lines)
    stack.push_async_callback(link.stop)
    link.start()


def _block_signer(loaded: LoadedConfig, genesis: Genesis) -> RingSigner:
    """Open the block key. Raises ConfigError when none of the keys can sign for this domain."""
    config = loaded.config.node
    path = loaded.resolve(config.block_keys)
    ring = KeyRing.load(path, read_passphrase(loaded.resolve(config.passphrase_file)))
    domain = genesis.domain(config.domain)
    # The newest one signs: after a rotation both are in the ring.
    for index in sorted(range(len(ring)), key=lambda each: ring[each].key_id, reverse=True):
        info = ring[index]
        if info.role != Role.BLOCK or not info.key_id:
            continue
        if info.key_id > len(domain.keys) or domain.keys[info.key_id - 1].public_key == info.public_key:
            return RingSigner(ring, index)
    raise ConfigError(
        "node.block_keys",
        f"{path} holds no block key of domain {config.domain}",
        "name the file of the domain's block key",
    )


def _data_directory(loaded: LoadedConfig, genesis: Genesis) -> DataDirectory:
    path = loaded.resolve(loaded.config.data.path)
    try:
        directory = DataDirectory(path, kind=DATA_KIND, genesis_hash=genesis.hash)
        copy = directory.path / GENESIS_FILE
        if not copy.exists():
            copy.write_bytes(genesis.document)
    except OSError as error:
        reason = error.strerror or "cannot be used"
        raise ConfigError("data.path", f"{path}: {reason}", "name a directory that this user may write") from error
    return directory


def _open_stores(
    loaded: LoadedConfig, directory: DataDirectory, genesis: Genesis, metrics: NodeMetrics
) -> _MeasuredStores:
    suite, hash_ = genesis.hash_suite, genesis.hash
    with contextlib.ExitStack() as opened:
        checkpoints = CheckpointStore(directory.checkpoint, suite=suite)
        opened.callback(checkpoints.close)
        log = LmdbStore(
            directory.log,
            loaded.config.data.log_bytes_max,
            suite=suite,
            genesis_hash=hash_,
            anchors=checkpoints.log_positions(),
        )
        opened.callback(log.close)
        chain = ChainStore(directory.chain, suite=suite)
        opened.pop_all()
    return _MeasuredStores(directory.path, log, checkpoints, chain, metrics, LogFeed(log))


async def _stop(
    node: DomainNode,
    _kind: type[BaseException] | None,
    error: BaseException | None,
    _trace: TracebackType | None,
) -> None:
    """Stop a node; what fails then is logged, so that it does not hide why the node stops.

    A node that has failed gets little time: what was acknowledged is durable, and nothing else matters then.
    """
    try:
        async with asyncio.timeout(_GRACE_S if error is not None else None):
            await node.stop()
    except Exception as failure:  # noqa: BLE001 - the first fault is the one to hear of
        _log.error("stop_failed", error=type(failure).__name__, reason=str(failure))
