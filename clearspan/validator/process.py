"""One validator process: the place where settings, keys, books, core, peers, service and figures are put together.

It promises an order. Nothing is signed before the books were read and checked; the ready line is written when a call
would be answered; an end by signal closes the service, lets the core finish what it is doing, and only then lets the
directory go. A fault that the validator must not go on from ends the process with the fault as its exception.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
import uvloop

from clearspan.errors import ClearspanError, ConfigError
from clearspan.keys import KeyFile, read_passphrase
from clearspan.metrics import MetricsServer
from clearspan.network import GENESIS_FILE, NodeAddress, node_entries
from clearspan.pki import TlsFiles
from clearspan.process import calm_collector, configure_log, end_with_parent, note_address, stop_signals
from clearspan.service.access import AccessList
from clearspan.validator.addresses import AddressBook
from clearspan.validator.archive import BookArchive
from clearspan.validator.books import ChainBook, VoteBook
from clearspan.validator.claims import ClaimDesk
from clearspan.validator.evidence import EvidenceDesk
from clearspan.validator.first_run import FirstRun
from clearspan.validator.follower import Follower, FollowStores, NodeBook
from clearspan.validator.header_watch import HeaderWatch
from clearspan.validator.inbox import Inbox
from clearspan.validator.links import PeerLinks
from clearspan.validator.metrics import ValidatorMetrics
from clearspan.validator.recovery import recover_state
from clearspan.validator.service import RelayServer
from clearspan.validator.shell import ShellPool, ValidatorShell
from clearspan.validator.standing import Validator
from clearspan.validator.syncing import Syncing, highest_elsewhere
from engine.checkpoint import CheckpointStore
from engine.data_directory import DataDirectory
from engine.genesis import Genesis, padded_key
from engine.lmdb_log import LmdbStore
from engine.refusals import EncodingError, GenesisRefused
from engine.types import Role
from engine.validators import Certificate, ValidatorSet
from relay.consensus import ValidatorCore
from relay.errors import VoteRecordInvalid
from relay.ports import ConsensusSettings, Member
from relay.vote_record import VoteRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from clearspan.validator.config import LoadedValidator
    from relay.state import RelayState

__all__ = ["VALIDATOR_KIND", "ValidatorFaulted", "run_validator"]

VALIDATOR_KIND: Final = "validator"
"""The kind that a validator's data directory says it is of."""
_NS_PER_MS: Final = 1_000_000
_READERS: Final = 2
_log = structlog.get_logger("clearspan.validator")


class ValidatorFaulted(ClearspanError):  # noqa: N818 - named as what it is, like the other refusals
    """The validator met a fault that it must not go on from. It signs nothing more."""

    def __init__(self, error: BaseException) -> None:
        """Name the fault."""
        super().__init__(
            f"the validator stopped: {type(error).__name__}: {error}",
            "mend the cause, then start it again; if its votes were restored from a copy, start it with --restored",
        )


def run_validator(
    loaded: LoadedValidator,
    announce: Callable[[NodeAddress], None],
    *,
    parent_pid: int | None = None,
    restored: bool = False,
) -> None:
    """Run a validator until a signal ends it; announce is called when it is ready.

    parent_pid: end at once when that process does. restored: its data comes from a backup, so that it signs nothing
    until the others have shown which heights are past; so does one with a new directory beside a chain that runs.
    Raises ConfigError and its like, PortInUse, what the books raise, and ValidatorFaulted.
    """
    if parent_pid is not None:
        end_with_parent(parent_pid)
    configure_log(loaded.config.validator.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(loaded, announce, restored=restored))


async def _run(loaded: LoadedValidator, announce: Callable[[NodeAddress], None], *, restored: bool) -> None:
    stopping = stop_signals()
    config = loaded.config
    genesis = _read_genesis(loaded)
    member = _member(loaded)
    tls = TlsFiles(*(loaded.resolve(path) for path in (config.tls.certificate, config.tls.key, config.tls.authority)))
    tls.read()
    access = AccessList(loaded.resolve(config.tls.access) if config.tls.access else None)
    addresses = AddressBook(loaded.resolve(config.peers.addresses))
    metrics = ValidatorMetrics()
    async with contextlib.AsyncExitStack() as stack:
        directory = stack.enter_context(_data_directory(loaded, genesis))
        chain = ChainBook(
            directory.chain, map_bytes_max=config.data.chain_bytes_max, history_blocks=config.data.history_blocks
        )
        stack.callback(chain.close)
        votes = VoteBook(directory.votes)
        stack.callback(votes.close)
        readers = stack.enter_context(ThreadPoolExecutor(_READERS, thread_name_prefix="validator-readers"))
        own_key = member.public_key if member is not None else b""
        if not restored and not chain.last_height() and votes.read() is None:
            # A key without any memory beside a chain that runs: what it may have signed before is not known.
            elsewhere = await highest_elsewhere(addresses, own_key, genesis.hash, tls, config.peers)
            restored = member is not None and elsewhere > 0
        links = PeerLinks(own_key, addresses, tls, config.peers)
        shell = _shell(loaded, genesis, member, (chain, votes), links, restored=restored)
        shell.certificate_ns, shell.persist_ns = metrics.certificate, metrics.persisted
        archive = BookArchive(genesis.hash_suite, ValidatorSet.of_genesis(genesis).set_id, chain)
        validator = Validator(genesis, shell, chain, archive, links, addresses, readers)
        syncing = Syncing(validator, own_key, tls, config.peers)
        shell.when_behind(syncing.wake)
        evidence = EvidenceDesk(validator)
        shell.when_evidence(evidence.found)
        claims = ClaimDesk(validator, member, evidence, tls)
        validator.heard = claims.hear
        headers = HeaderWatch(evidence.add)
        validator.offered = headers.offered
        follower = _follower(loaded, validator, directory, stack)(tls=tls, claims=claims)
        shell.when_final(follower.note_final)
        shell.when_final(headers.note_final)
        metrics.watch(validator)
        figures = MetricsServer(metrics, config.metrics.host, config.metrics.port) if config.metrics.enabled else None
        if figures is not None:
            stack.callback(figures.close)
        server = RelayServer(
            validator,
            tls,
            host=config.validator.host,
            port=config.validator.port,
            limits=config.limits,
            peers=config.peers,
            access=access,
        )
        port = await server.start()
        stack.push_async_callback(server.stop)
        links.start()
        stack.push_async_callback(links.stop)
        address = NodeAddress(config.validator.host, port, figures.port if figures is not None else 0, os.getpid())
        note_address(directory.path, address)
        _log.info("validator_ready", port=port, metrics_port=address.metrics_port, height=validator.height)
        calm_collector()
        announce(address)
        first_run = FirstRun(validator, tls, config.peers)
        others = (syncing.run(), evidence.run(), claims.run(), follower.run(), first_run.run())
        await _until_ended(shell, others, stopping)
        _log.info("validator_stopping", height=validator.height)


async def _until_ended(
    shell: ValidatorShell, others: Sequence[Coroutine[Any, Any, None]], stopping: asyncio.Event
) -> None:
    """Run the tasks until a signal; the fault of any of them is raised, and the core always ends between two steps."""
    core = asyncio.create_task(shell.run())
    tasks = [asyncio.create_task(each) for each in others]
    ended = asyncio.create_task(stopping.wait())
    try:
        # A task may end in peace: catching up does when a quorum certified what cannot follow, and nothing helps then.
        waiting = {core, ended, *tasks}
        while not ended.done() and not core.done():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if any(task.exception() is not None for task in done):
                break
    finally:
        for task in (*tasks, ended):
            task.cancel()
        shell.stop()
        await asyncio.wait((core, *tasks, ended))
    for task in (core, *tasks):
        error = None if task.cancelled() else task.exception()
        if error is not None:
            raise ValidatorFaulted(error) from error


def _follower(
    loaded: LoadedValidator,
    validator: Validator,
    directory: DataDirectory,
    stack: contextlib.AsyncExitStack,
) -> Callable[..., Follower]:
    """Open what following keeps, where anything is followed; return what makes a follower of it."""
    follow, genesis = loaded.config.follow, validator.genesis
    known = {domain.name: domain.domain for domain in genesis.domains}
    for name in follow.domains:
        if name not in known:
            raise ConfigError("follow.domains", f"there is no domain {name!r}", f"name one of {', '.join(known)}")
    path = loaded.resolve(follow.nodes)
    nodes = NodeBook(path, tuple(node_entries(path, genesis)) if follow.domains or path.exists() else ())
    checkpoints = CheckpointStore(directory.checkpoint, suite=genesis.hash_suite)
    stack.callback(checkpoints.close)
    log: LmdbStore | None = None
    if follow.hold_bodies and follow.domains:
        log = LmdbStore(
            directory.log,
            loaded.config.data.chain_bytes_max,
            suite=genesis.hash_suite,
            genesis_hash=genesis.hash,
            anchors=checkpoints.log_positions(),
        )
        stack.callback(log.close)
    stores = FollowStores(log, checkpoints, directory.index, follow.state_bytes)
    domains = [known[name] for name in follow.domains]
    return partial(Follower, validator, domains, nodes, stores)


def _shell(
    loaded: LoadedValidator,
    genesis: Genesis,
    member: Member | None,
    books: tuple[ChainBook, VoteBook],
    links: PeerLinks,
    *,
    restored: bool,
) -> ValidatorShell:
    """Recover the state and the vote record, and put the core between them and the links."""
    chain, votes = books
    state, last = recover_state(genesis, chain)
    try:
        record = VoteRecord.opened(votes.read(), last.generation if last is not None else 0, restored=restored)
    except VoteRecordInvalid as error:
        raise ValidatorFaulted(error) from error
    if record.restored:
        _log.warning("votes_restored", generation=record.generation)
    pool = ShellPool()
    core = ValidatorCore(
        state=state,
        member=member,
        votes=record,
        settings=_consensus(loaded),
        now=time.time_ns(),
        pool=pool,
        certificate=_tip_certificate(state, last.certificate if last is not None else b""),
    )
    peers = loaded.config.peers
    inbox = Inbox(peers.received_messages_max, peers.received_bytes_max)
    return ValidatorShell(core, pool, chain, votes, links, inbox=inbox)


def _tip_certificate(state: RelayState, encoded: bytes) -> Certificate | None:
    """Return the certificate of the newest block, None at the start or where only its state is known."""
    return Certificate.decode(encoded) if encoded and state.height else None


def _consensus(loaded: LoadedValidator) -> ConsensusSettings:
    times = loaded.config.consensus
    try:
        return ConsensusSettings(
            view_ns=times.view_ms * _NS_PER_MS,
            view_ns_max=times.view_max_ms * _NS_PER_MS,
            idle_ns=times.idle_ms * _NS_PER_MS,
            rest_ns=times.rest_ms * _NS_PER_MS,
            block_interval_ns=times.block_interval_ms * _NS_PER_MS,
            spacing_ns_max=times.spacing_max_ms * _NS_PER_MS,
        )
    except ValueError as error:
        raise ConfigError("consensus", str(error), "see the reference of validator.toml") from error


def _read_genesis(loaded: LoadedValidator) -> Genesis:
    path = loaded.resolve(loaded.config.validator.genesis)
    next_step = "name the network's genesis document, as the network published it"
    try:
        return Genesis.decode(path.read_bytes())
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise ConfigError("validator.genesis", f"{path}: {reason}", next_step) from error
    except (EncodingError, GenesisRefused) as error:
        raise ConfigError("validator.genesis", f"{path}: {error}", next_step) from error


def _member(loaded: LoadedValidator) -> Member | None:
    """Open the validator's key; None for an observer. Whether a set has it is the chain's to say."""
    config = loaded.config.validator
    if not config.key:
        return None
    key = KeyFile.load(loaded.resolve(config.key), read_passphrase(loaded.resolve(config.passphrase_file)))
    if key.info.role is not Role.BLOCK:
        raise ConfigError("validator.key", f"its role is {key.info.role.name.lower()}", "name a validator's key")
    return Member(padded_key(key.info.public_key), key.info.suite, key.sign)


def _data_directory(loaded: LoadedValidator, genesis: Genesis) -> DataDirectory:
    path = loaded.resolve(loaded.config.data.path)
    try:
        directory = DataDirectory(path, kind=VALIDATOR_KIND, genesis_hash=genesis.hash)
        copy = directory.path / GENESIS_FILE
        if not copy.exists():
            copy.write_bytes(genesis.document)
    except OSError as error:
        reason = error.strerror or "cannot be used"
        raise ConfigError("data.path", f"{path}: {reason}", "name a directory that this user may write") from error
    return directory
