"""One bridge process: the place where settings, keys, journal, machines, lines, service and figures are put together.

It promises an order. The journal is read and every open swap stands again before anything is sent; they go on while the
relay is read to where it stands; the ready line is written when that is read, or after the settings' patience, and says
how much is missing: until it is read nothing new begins. An end by signal closes the service and stops between two
commits. What it was doing goes on at the next start from what is durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import structlog
import uvloop

from bridge.ports import Timing
from bridge.refusals import BridgeRefused
from clearspan.bridging.chains.opening import RelayPast, demand_served, open_chains, poll_ns_of
from clearspan.bridging.journal.store import JOURNAL_FOLDER, JournalStore
from clearspan.bridging.lines.ledgers import LedgerPort, light_client_of, start_ledgers
from clearspan.bridging.lines.peers import Peers
from clearspan.bridging.lines.relay import RelayPort
from clearspan.bridging.market.corridors import Corridors
from clearspan.bridging.market.desk import ProviderDesk
from clearspan.bridging.market.ledger_quotes import LedgerQuotes
from clearspan.bridging.market.routing import Planner
from clearspan.bridging.serving.metrics import BridgeMetrics
from clearspan.bridging.serving.rule_opening import open_rules
from clearspan.bridging.serving.running import RunningBridge
from clearspan.bridging.serving.service import BridgeServer
from clearspan.bridging.settings.directory import BridgeDirectory
from clearspan.bridging.settings.keys import BridgeKeys
from clearspan.bridging.settings.offers import read_offers
from clearspan.bridging.swaps.accepting import Accepting
from clearspan.bridging.swaps.asking import Asking
from clearspan.bridging.swaps.engine import BridgeEngine
from clearspan.client import AsyncClient, RetryPolicy
from clearspan.errors import ClearspanError, ConfigError
from clearspan.metrics import MetricsServer
from clearspan.network import NodeAddress, node_entries, read_address
from clearspan.pki import TlsFiles
from clearspan.process import calm_collector, configure_log, end_with_parent, note_address, stop_signals
from clearspan.relay_link.lines import LineSet
from clearspan.service.access import AccessList
from clearspan.validator.addresses import AddressBook
from engine.data_directory import DataDirectory
from engine.genesis import Genesis
from engine.refusals import EncodingError, GenesisRefused

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.ports import EntryKind
    from clearspan.bridging.settings.config import LoadedBridge
    from relay.light import LightClient

__all__ = ["BRIDGE_KIND", "BridgeFaulted", "run_bridge"]

BRIDGE_KIND: Final = "bridge"
"""The kind that a bridge's data directory says it is of."""
_MS_PER_S: Final = 1_000
_NS_PER_MS: Final = 1_000_000
_OFFERS_S: Final = 1.0
_PROGRESS_S: Final = 5.0
_log = structlog.get_logger("clearspan.bridging")


class Announce(Protocol):
    """Tells whoever started this process that it is ready."""

    def __call__(self, address: NodeAddress, *, relay_behind: int) -> None:
        """Tell where it listens and how many blocks of the relay are still to be read, -1 where nobody has said."""
        ...


class BridgeFaulted(ClearspanError):  # noqa: N818 - named as what it is, like the other refusals
    """The bridge met a fault that it must not go on from. What it wrote down is on the disk."""

    def __init__(self, error: BaseException) -> None:
        """Name the fault."""
        super().__init__(
            f"the bridge stopped: {type(error).__name__}: {error}",
            "mend the cause, then start it again before the next timelock: it goes on from its journal",
        )


def run_bridge(
    loaded: LoadedBridge,
    announce: Announce,
    *,
    parent_pid: int | None = None,
    die_at: str = "",
) -> None:
    """Run a bridge until a signal ends it; announce is called when it is ready, with how much of the relay is unread.

    parent_pid: end at once when that process does. die_at: for tests, end by SIGKILL at the first step of this name,
    such as written:locking (the entry is durable, nothing was done) or acted:locking. Raises ConfigError and its like,
    PortInUse, what the journal raises, and BridgeFaulted.
    """
    if parent_pid is not None:
        end_with_parent(parent_pid)
    configure_log(loaded.config.bridge.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(loaded, announce, die_at))


async def _run(loaded: LoadedBridge, announce: Announce, die_at: str) -> None:
    stopping = stop_signals()
    config = loaded.config
    genesis = _read_genesis(loaded)
    tls = TlsFiles(*(loaded.resolve(path) for path in (config.tls.certificate, config.tls.key, config.tls.authority)))
    tls.read()
    access = AccessList(loaded.resolve(config.tls.access) if config.tls.access else None)
    metrics = BridgeMetrics()
    async with contextlib.AsyncExitStack() as stack:
        directory = stack.enter_context(_data_directory(loaded, genesis))
        store = JournalStore(directory.path / JOURNAL_FOLDER, config.data.journal_bytes_max)
        stack.callback(store.close)
        bridge = await _put_together(loaded, genesis, tls, store, stack)
        engine = bridge.engine
        engine.acting.on_finished = metrics.finished
        if die_at:
            engine.at_step = partial(_die, die_at)
        metrics.watch(engine)
        figures = MetricsServer(metrics, config.metrics.host, config.metrics.port) if config.metrics.enabled else None
        if figures is not None:
            stack.callback(figures.close)
        server = BridgeServer(
            bridge, tls, host=config.bridge.host, port=config.bridge.port, limits=config.limits, access=access
        )
        port = await server.start()
        stack.push_async_callback(server.stop)
        address = NodeAddress(config.bridge.host, port, figures.port if figures is not None else 0, os.getpid())
        note_address(directory.path, address)

        async def tell_ready() -> None:
            behind = await _read_up(bridge.relay, config.relay.catch_up_ms / _MS_PER_S)
            swaps = len(engine.book)
            _log.info("bridge_ready", port=port, metrics_port=address.metrics_port, swaps=swaps, relay_behind=behind)
            calm_collector()
            announce(address, relay_behind=behind)
            await _read_up(bridge.relay, math.inf)

        await _until_ended(engine, stopping, asyncio.create_task(tell_ready()))
        _log.info("bridge_stopping", swaps=len(engine.book))


async def _read_up(relay: RelayPort, wait_s: float) -> int:
    """Wait, at most so long, until the relay is read to where it stood; return how many blocks are missing, -1 unknown.

    The swaps that run are driven meanwhile, and calls are answered; the log says every few seconds how far it is.
    """
    left_s = wait_s
    while not await relay.read_up(min(_PROGRESS_S, left_s)) and left_s > 0:
        left_s -= _PROGRESS_S
        _log.info("relay_reading", height=relay.height, behind=relay.behind)
    return -1 if relay.behind is None else relay.behind


def _die(die_at: str, stage: str, kind: EntryKind) -> None:
    """End as a power cut would, where a test asks for it."""
    if f"{stage}:{kind.name.lower()}" == die_at:
        os.kill(os.getpid(), signal.SIGKILL)


async def _put_together(
    loaded: LoadedBridge, genesis: Genesis, tls: TlsFiles, store: JournalStore, stack: contextlib.AsyncExitStack
) -> RunningBridge:
    config = loaded.config
    keys = BridgeKeys(genesis, loaded.resolve(config.keys.path), loaded.resolve(config.keys.passphrase_file))
    offers_path = loaded.resolve(config.provider.offers)
    keys.offers = read_offers(offers_path)
    corridors = Corridors(loaded.resolve(config.provider.corridors))
    participant = config.bridge.participant
    desk = None
    if config.provider.enabled:
        if not keys.offers.accounts:
            raise ConfigError("provider.offers", f"{offers_path} names no account", "name the desk's accounts")
        share = config.provider.taker_share_ppm
        desk = ProviderDesk(genesis, participant, keys, corridors, keys.offers, taker_share_ppm=share)
    chains = open_chains(loaded)
    stack.push_async_callback(chains.stop)
    past = RelayPast(loaded.resolve(config.data.path), chains, provides=config.provider.enabled)
    stack.callback(past.close)
    rules = open_rules(loaded, genesis, keys, corridors)
    retry_ns = config.bridge.retry_ms * _NS_PER_MS
    engine = BridgeEngine(
        genesis,
        participant,
        store,
        corridors=corridors,
        keys=keys,
        desk=desk,
        compliance=rules.compliance,
        timing=Timing(retry_ns=retry_ns, poll_ns=poll_ns_of(chains)),
        swaps_open_max=config.bridge.swaps_open_max,
    )
    peers = Peers(BridgeDirectory(loaded.resolve(config.provider.bridges)), tls)
    stack.push_async_callback(peers.close)
    ledgers = _ledgers(loaded, genesis, tls, engine)
    relay = _relay(loaded, genesis, tls, engine, ledgers=ledgers, past=past)
    asking = Asking(engine, peers)
    engine.attach(ledgers, relay, asking, chains)
    engine.restore_desk()
    if desk is not None:
        desk.post(keys.offers, engine.now())
    # Watched first, so that what becomes final while the journal is read is not missed.
    for each in ledgers:
        stack.push_async_callback(each.stop)
    await start_ledgers(ledgers, stack)
    engine.compliance.restore(store, engine.now())
    rules.attach(engine, ledgers)
    past.teach(engine.watcher, engine.now())
    restored = engine.restore()
    demand_served(chains, engine.watcher.machines())
    if restored:
        _log.info("swaps_restored", count=restored)
    engine.start()
    stack.push_async_callback(engine.stop)
    stack.push_async_callback(asking.stop)
    relay.start()
    stack.push_async_callback(relay.stop)
    chains.start()
    await rules.start(stack)
    if desk is not None:
        rates = asyncio.create_task(_follow_offers(offers_path, desk, engine), name="offers")
        stack.callback(rates.cancel)
    planner = Planner(genesis, participant, corridors, peers, chains.address)
    return RunningBridge(
        genesis,
        participant,
        config.bridge.name,
        engine,
        planner,
        ledgers,
        relay,
        desk,
        Accepting(engine, desk) if desk is not None else None,
        _ledger_quotes(loaded, genesis, keys, ledgers) if desk is not None else None,
        rules,
    )


def _ledger_quotes(
    loaded: LoadedBridge, genesis: Genesis, keys: BridgeKeys, ledgers: list[LedgerPort]
) -> LedgerQuotes | None:
    if not loaded.config.provider.quotes_on_ledger:
        return None
    return LedgerQuotes(genesis, keys, {each.domain: each for each in ledgers})


def _ledgers(loaded: LoadedBridge, genesis: Genesis, tls: TlsFiles, engine: BridgeEngine) -> list[LedgerPort]:
    """Prepare a line to the node of each domain that the file of addresses names."""
    nodes = loaded.config.nodes
    path = loaded.resolve(nodes.addresses)
    policy = RetryPolicy(deadline_s=20.0, attempt_s=10.0)
    found = []
    for entry in node_entries(path, genesis):
        address = read_address(path.parent / "nodes" / entry.name / "data") if not entry.port else None
        if not entry.port and address is None:
            raise ConfigError(str(path), f"node {entry.name}: its port is chosen at its start", "start the node first")
        target = address.target if address is not None else f"{entry.host}:{entry.port}"
        client = AsyncClient(target, tls, genesis_hash=genesis.hash, policy=policy)
        signer = engine.keys.signer(entry.domain) if entry.domain in engine.keys.domains else None
        found.append(
            LedgerPort(
                entry.domain,
                client,
                signer,
                answered=engine.on_answers,
                final=engine.on_final,
                verified=nodes.finality == "verified",
                batch_count_max=nodes.batch_count_max,
                batch_wait_s=nodes.batch_wait_ms / _MS_PER_S,
                in_flight_max=nodes.batches_in_flight_max,
            )
        )
    return found


def _relay(
    loaded: LoadedBridge,
    genesis: Genesis,
    tls: TlsFiles,
    engine: BridgeEngine,
    *,
    ledgers: list[LedgerPort],
    past: RelayPast,
) -> RelayPort:
    relay = loaded.config.relay

    async def trust() -> LightClient:
        return await light_client_of(ledgers)

    return RelayPort(
        genesis,
        LineSet(tls, book=AddressBook(loaded.resolve(relay.addresses))),
        trust,
        past.listening(engine.on_block),
        height=past.height(engine.store.relay_height),
        whole=past.is_whole,
        latest=engine.store.relay_height,
        reconnect_s=relay.reconnect_ms / _MS_PER_S,
        stall_s=relay.stall_ms / _MS_PER_S,
        again_s=relay.reveal_again_ms / _MS_PER_S,
    )


async def _follow_offers(path: Path, desk: ProviderDesk, engine: BridgeEngine) -> None:
    """Post rates anew whenever the file has changed; a broken file leaves those in force."""
    stamp = 0
    while True:
        found = await asyncio.to_thread(partial(_stamp, path))
        if stamp and found != stamp:
            try:
                offers = await asyncio.to_thread(read_offers, path)
                desk.post(offers, engine.now())
            except (ConfigError, BridgeRefused) as error:
                _log.warning("offers_left_out", reason=str(error))
            else:
                engine.keys.offers = offers
                _log.info("offers_posted", pairs=len(offers.pairs))
        stamp = found
        await asyncio.sleep(_OFFERS_S)


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


async def _until_ended(engine: BridgeEngine, stopping: asyncio.Event, ready: asyncio.Task[None]) -> None:
    """Wait for a signal or a fault, before or behind the ready line; a fault is raised."""
    ended = asyncio.create_task(stopping.wait())
    failed = asyncio.create_task(engine.failed())
    waited = {ended, failed, ready}
    while not (ended.done() or failed.done()):
        done, waited = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if ready in done:
            ready.result()
    for task in (ended, failed, ready):
        task.cancel()
    if failed.done() and not failed.cancelled():
        error = failed.exception() or engine.fault
        assert error is not None
        raise BridgeFaulted(error) from error


def _read_genesis(loaded: LoadedBridge) -> Genesis:
    path = loaded.resolve(loaded.config.bridge.genesis)
    try:
        return Genesis.decode(path.read_bytes())
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise ConfigError("bridge.genesis", f"{path}: {reason}", "name the network's genesis document") from error
    except (EncodingError, GenesisRefused) as error:
        next_step = "restore the file as the network published it"
        raise ConfigError("bridge.genesis", f"{path}: {error}", next_step) from error


def _data_directory(loaded: LoadedBridge, genesis: Genesis) -> DataDirectory:
    path = loaded.resolve(loaded.config.data.path)
    try:
        return DataDirectory(path, kind=BRIDGE_KIND, genesis_hash=genesis.hash)
    except OSError as error:
        reason = error.strerror or "cannot be used"
        raise ConfigError("data.path", f"{path}: {reason}", "name a directory that this user may write") from error
