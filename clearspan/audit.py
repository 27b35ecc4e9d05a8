"""An audit of a stopped node's directory: the whole log executed again, and everything that was stored held against it.

It promises to believe nothing but the genesis. Every record is read from number 1 and its chain checked; every
signature is verified again; every answer, header, decision leaf and the newest checkpoint must be what a fresh machine
makes of the log; and across the shards no money may be made or lost. The first difference is raised with its place.
Nothing is changed.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from clearspan.errors import ClearspanError, ConfigError
from clearspan.network import DATA_KIND, GENESIS_FILE
from engine.chain import ChainStore
from engine.checkpoint import CheckpointStore
from engine.codes import ResultCode, code_name
from engine.conservation import check_domain, in_transit
from engine.data_directory import DataDirectory
from engine.errors import FormatMismatch, StoreDamaged
from engine.genesis import Genesis, plain_key
from engine.header import SignedHeader
from engine.lmdb_log import LmdbStore
from engine.log import RecordKind
from engine.machine import ShardMachine
from engine.prefix import PrefixType, signing_prefix
from engine.refusals import EncodingError, GenesisRefused, ProofRefused, ReplayDiverged
from engine.replay import replay
from engine.types import AccountFlag, Role, TransferKind
from native.signatures import verify
from shards.slots import SlotMap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from engine.checkpoint import Manifest
    from engine.genesis import GenesisDomain, GenesisLedger
    from engine.log import LogRecord
    from engine.machine import Sealed
    from engine.parties import Key

    Progress = Callable[[int, int, int], None]

__all__ = ["AuditFailed", "AuditReport", "LedgerReport", "ShardReport", "audit"]

_CODES_HEAD: Final = 32
_HEAD_BYTES: Final = 128
_SETTLED: Final = (ResultCode.CREATED, ResultCode.CREATED_IN_TRANSIT, ResultCode.PREPARED)


class AuditFailed(ClearspanError):  # noqa: N818 - named as what it is, like the other refusals
    """What is stored is not what the log makes: `what`, at a shard's record `number` or block `height` (0: neither)."""

    exit_code = 4

    def __init__(self, what: str, *, shard: int = 0, number: int = 0, height: int = 0) -> None:
        """Name the difference and its place."""
        places = (("shard", shard), ("record", number), ("block", height))
        place = ", ".join(f"{name} {value}" for name, value in places if value)
        super().__init__(
            f"{place}: {what}" if place else what,
            "keep the directory unchanged for analysis, run no node on it, and compare it with another copy",
        )
        self.what = what
        self.shard = shard
        self.number = number
        self.height = height


@dataclass(frozen=True, slots=True)
class ShardReport:
    """One shard, gone through from record 1 to its last.

    transfers: requests answered; settled: those that moved or reserved money now, so repeats are not among them; codes:
    the answers by name.
    """

    shard: int
    records: int
    transfers: int
    settled: int
    admin_requests: int
    credits: int
    blocks: int
    unsigned_blocks: int
    accounts: int
    height: int
    last_record_hash: bytes
    header_hash: bytes
    state_root: bytes
    checkpoint_height: int
    codes: dict[str, int]

    @property
    def refused(self) -> int:
        """Transfers that were not settled now, repeats among them."""
        return self.transfers - self.settled


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """One ledger over all shards, in minor units.

    issued: all that its issuer ever posted, counted from the log's records; supply: what is in circulation now, equal
    to held, what all other accounts hold, and in_transit; pending: what is reserved.
    """

    ledger: int
    currency: str
    scale: int
    issued: int
    supply: int
    held: int
    in_transit: int
    pending: int


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit that found no difference went through."""

    network: str
    genesis_hash: bytes
    domain: int
    shards: tuple[ShardReport, ...]
    ledgers: tuple[LedgerReport, ...]
    elapsed_s: float

    @property
    def transfers(self) -> int:
        """Transfers answered, all shards together."""
        return sum(shard.transfers for shard in self.shards)

    @property
    def records(self) -> int:
        """Log records read, all shards together."""
        return sum(shard.records for shard in self.shards)


def audit(
    data_directory: Path,
    progress: Progress | None = None,
    *,
    genesis: Genesis | None = None,
    threads: int | None = None,
) -> AuditReport:
    """Audit the directory of a node that does not run; shards side by side, each in a thread.

    progress is called from these threads with (shard, record number, last number). genesis pins the network; without it
    the directory's own copy is taken, whose hash its FORMAT names. Raises AuditFailed at a difference, DirectoryInUse
    while a node runs on it, FormatMismatch or ConfigError for a directory that is no node's.
    """
    started = time.monotonic()
    found = _genesis_of(data_directory, genesis)
    with ExitStack() as stack:
        try:
            stores = _Stores.open(data_directory, found, stack)
            domain = _domain_of(found, stores.log, data_directory)
            auditors = [_ShardAuditor(found, shard, stores, progress) for shard in domain.shard_ids()]
            _run(auditors, threads or os.cpu_count() or 1)
        except StoreDamaged as error:
            shard, number, height = (getattr(error, name, None) or 0 for name in ("shard", "number", "height"))
            raise AuditFailed(str(error), shard=shard, number=number, height=height) from error
    machines = [auditor.machine for auditor in auditors]
    for finding in check_domain(machines):
        raise AuditFailed(finding)
    _check_drained(machines)
    ledgers = tuple(_ledger_report(ledger, machines, auditors) for ledger in domain.ledgers)
    return AuditReport(
        found.network,
        found.hash,
        domain.domain,
        tuple(auditor.report() for auditor in auditors),
        ledgers,
        time.monotonic() - started,
    )


@dataclass(frozen=True, slots=True)
class _Stores:
    """The directory's stores, opened for reading under its lock."""

    log: LmdbStore
    chain: ChainStore
    checkpoints: CheckpointStore

    @classmethod
    def open(cls, path: Path, genesis: Genesis, stack: ExitStack) -> _Stores:
        """Take the lock and open; everything is closed with the stack."""
        directory = stack.enter_context(DataDirectory(path, kind=DATA_KIND, genesis_hash=genesis.hash))
        log = LmdbStore(directory.log, suite=genesis.hash_suite, genesis_hash=genesis.hash)
        stack.callback(log.close)
        chain = ChainStore(directory.chain, suite=genesis.hash_suite)
        stack.callback(chain.close)
        checkpoints = CheckpointStore(directory.checkpoint, suite=genesis.hash_suite)
        stack.callback(checkpoints.close)
        return cls(log, chain, checkpoints)


@dataclass(slots=True)
class _Counts:
    """What is counted on the way."""

    codes: Counter[int] = field(default_factory=Counter)
    admin_requests: int = 0
    credits: int = 0
    unsigned_blocks: int = 0
    issued: Counter[int] = field(default_factory=Counter)


class _ShardAuditor:
    """Goes through one shard's log with a machine that begins at the genesis."""

    def __init__(self, genesis: Genesis, shard: int, stores: _Stores, progress: Progress | None) -> None:
        self.machine = ShardMachine(genesis, shard)
        self.counts = _Counts()
        self._genesis = genesis
        self._shard = shard
        self._stores = stores
        self._progress = progress
        self._prefix = signing_prefix(genesis.hash_suite, PrefixType.HEADER, genesis.hash)
        self._slots = SlotMap.of(genesis, genesis.domain_of_shard(shard))
        self._issuers = np.array(sorted({ledger.issuer for ledger in self.machine.domain.ledgers}), dtype=np.uint32)
        self._records = 0
        self._last_known = stores.chain.last(shard) or 0
        self._checkpoint: Manifest | None = None
        self._checkpoint_met = False

    def run(self, stop: threading.Event) -> None:
        """Read, execute and compare everything of the shard. Raises AuditFailed or StoreDamaged."""
        self._checkpoint = self._load_checkpoint()
        records = self._records_of(stop)
        try:
            self._records = replay(self.machine, records, audit=True, on_sealed=self._sealed).records
        except ReplayDiverged as error:
            what = f"{error.what} is recorded as {error.recorded}, and is {error.computed}"
            raise AuditFailed(what, shard=self._shard, number=error.number) from error
        if stop.is_set():
            return
        if self.machine.height < self._last_known:
            what = f"the log ends at block {self.machine.height}, and a header of block {self._last_known} was signed"
            raise AuditFailed(what, shard=self._shard, height=self._last_known)
        if self._checkpoint is not None and not self._checkpoint_met:
            raise AuditFailed(
                "a checkpoint of a block that the log has not", shard=self._shard, height=self._checkpoint.height
            )
        if self._checkpoint is not None:
            self._check_signature(
                self._checkpoint.key_id,
                self._checkpoint.hash(self._genesis.hash_suite),
                self._checkpoint.signature,
                f"checkpoint {self._checkpoint.height}",
                self._checkpoint.height,
            )

    def report(self) -> ShardReport:
        """Return what was gone through."""
        machine, counts = self.machine, self.counts
        return ShardReport(
            self._shard,
            self._records,
            counts.codes.total(),
            sum(counts.codes[code] for code in _SETTLED),
            counts.admin_requests,
            counts.credits,
            machine.height,
            counts.unsigned_blocks,
            sum(1 for _ in machine.accounts()),
            machine.height,
            machine.log_position[1],
            machine.header_hash,
            machine.state_root(),
            self._checkpoint.height if self._checkpoint is not None else 0,
            {code_name(code): count for code, count in sorted(counts.codes.items())},
        )

    def _records_of(self, stop: threading.Event) -> Iterator[LogRecord]:
        last, _ = self._stores.log.log(self._shard).last()
        for record in self._stores.log.log(self._shard).read(1):
            if stop.is_set():
                return
            self._count(record)
            yield record
            if self._progress is not None:
                self._progress(self._shard, record.number, last)

    def _count(self, record: LogRecord) -> None:
        """Count answers by the recorded codes, which the replay then holds against its own."""
        if record.kind is RecordKind.BATCH:
            count, codes = _codes(record)
            values, times = np.unique(codes, return_counts=True)
            self.counts.codes.update(dict(zip(values.tolist(), times.tolist(), strict=True)))
            self._count_issued(record, count, codes)
        elif record.kind is RecordKind.RUN:
            self._count_run(record)
        elif record.kind is RecordKind.ADMIN:
            self.counts.admin_requests += _codes(record)[0]
        elif record.kind in (RecordKind.CREDITS, RecordKind.PROVED_CREDITS):
            self.counts.credits += int.from_bytes(memoryview(record.body)[4:8], "little")

    def _count_run(self, record: LogRecord) -> None:
        """Count the members whose payer is here: the log of every touched shard holds the whole run."""
        count, codes = _codes(record)
        heads = np.frombuffer(record.body, dtype=np.uint8, count=count * _HEAD_BYTES, offset=_CODES_HEAD)
        payers = np.ascontiguousarray(heads.reshape(count, _HEAD_BYTES)[:, 16:32]).tobytes()
        here = self._slots.shards_of(payers) == self._shard
        self.counts.codes.update(Counter(codes[here].tolist()))

    def _count_issued(
        self, record: LogRecord, count: int, codes: np.ndarray[tuple[int, ...], np.dtype[np.uint16]]
    ) -> None:
        """Add up what issuers post: the one way money begins, read from the records and not from the machine."""
        heads = np.frombuffer(record.body, dtype=np.uint8, count=count * _HEAD_BYTES, offset=_CODES_HEAD)
        words = heads.reshape(count, _HEAD_BYTES).view("<u4")
        kinds = (words[:, 31] >> 16) & 0x0F
        fresh = np.isin(codes, _SETTLED)
        rows = np.flatnonzero(np.isin(words[:, 7], self._issuers) & (kinds == TransferKind.POST) & fresh)
        for row in rows.tolist():
            amount = int.from_bytes(words[row, 12:16].tobytes(), "little")
            self.counts.issued[int(words[row, 28])] += amount

    def _sealed(self, sealed: Sealed) -> None:
        """Hold a block against the header that was signed and kept, and against the checkpoint of its height."""
        header = sealed.header
        place = {"shard": self._shard, "height": header.height}
        kept = self._stores.chain.get(self._shard, header.height)
        if kept is None:
            if header.height <= self._last_known:
                raise AuditFailed("its signed header is missing", **place)
            # A node that was killed between the commit of a seal and its signature; the next start signs it.
            self.counts.unsigned_blocks += 1
        else:
            try:
                signed = SignedHeader.decode(kept.signed_header)
            except EncodingError as error:
                raise AuditFailed(f"its signed header cannot be read: {error}", **place) from error
            if signed.header != header:
                name = next(name for name in header.__slots__ if getattr(signed.header, name) != getattr(header, name))
                raise AuditFailed(f"{name} of the signed header is not what the log makes", **place)
            if kept.decision_leaves != sealed.decision_leaves:
                raise AuditFailed("its decision leaves are not what the log makes", **place)
            key = self._block_key(signed.key_id, "header", header.height)
            try:
                signed.verify(key.suite, plain_key(key.suite, key.public_key) or b"")
            except ProofRefused as error:
                raise AuditFailed(f"the operator's signature does not hold: {error}", **place) from error
        self._meet_checkpoint(sealed)

    def _load_checkpoint(self) -> Manifest | None:
        """Load the newest checkpoint and demand that its state gives the root that it names."""

        def trust(_: Manifest) -> None:
            """Believe the manifest for now: its signature is checked after the replay, which knows all keys."""

        loaded = self._stores.checkpoints.load_newest(self._shard, trust)
        for skipped in self._stores.checkpoints.skipped:
            raise AuditFailed(f"checkpoint: {skipped}", shard=self._shard, height=skipped.height or 0)
        if loaded is None:
            return None
        manifest, state = loaded
        try:
            root = ShardMachine.load(self._genesis, self._shard, state).state_root()
        except (EncodingError, ValueError) as error:
            raise AuditFailed(f"checkpoint: {error}", shard=self._shard, height=manifest.height) from error
        if root != manifest.state_root:
            raise AuditFailed("checkpoint: its state does not give its root", shard=self._shard, height=manifest.height)
        return manifest

    def _meet_checkpoint(self, sealed: Sealed) -> None:
        manifest = self._checkpoint
        if manifest is None or manifest.height != sealed.header.height:
            return
        self._checkpoint_met = True
        header = sealed.header
        for name, kept, made in (
            ("log number", manifest.log_number, header.last_number),
            ("record hash", manifest.log_record_hash, header.last_record_hash),
            ("header hash", manifest.header_hash, header.hash),
            ("state root", manifest.state_root, header.state_root),
        ):
            if kept != made:
                raise AuditFailed(
                    f"checkpoint: its {name} is not what the log makes", shard=self._shard, height=header.height
                )

    def _block_key(self, key_id: int, what: str, height: int) -> Key:
        key = self.machine.parties.key(key_id)
        if key is None or key.role != Role.BLOCK:
            raise AuditFailed(f"{what}: key {key_id} is no block key", shard=self._shard, height=height)
        return key

    def _check_signature(self, key_id: int, hash_: bytes, signature: bytes, what: str, height: int) -> None:
        key = self._block_key(key_id, what, height)
        if not verify(key.suite, plain_key(key.suite, key.public_key) or b"", signature, self._prefix + hash_):
            raise AuditFailed(f"{what}: its signature does not hold", shard=self._shard, height=height)


def _run(auditors: list[_ShardAuditor], threads: int) -> None:
    """Go through all shards; the first that fails stops the others. Signatures are verified without the GIL."""
    stop = threading.Event()
    with ThreadPoolExecutor(min(threads, len(auditors)), thread_name_prefix="audit") as executor:
        futures = [executor.submit(auditor.run, stop) for auditor in auditors]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            # On a failure, and on an interruption too, nobody goes on for nothing.
            if not all(future.done() for future in futures) or any(future.exception() for future in futures):
                stop.set()
    for future in futures:
        future.result()


def _genesis_of(path: Path, pinned: Genesis | None) -> Genesis:
    """Return the network's genesis; a directory that is no node's is refused before anything is made in it."""
    try:
        named = json.loads((path / "FORMAT").read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            str(path), "is no data directory: FORMAT is missing or unreadable", "name a node's"
        ) from error
    network = named.get("network", "") if isinstance(named, dict) else ""
    if pinned is None:
        try:
            pinned = Genesis.decode((path / GENESIS_FILE).read_bytes())
        except (OSError, EncodingError, GenesisRefused) as error:
            raise ConfigError(str(path / GENESIS_FILE), str(error), "give the genesis of the network") from error
    if network != pinned.hash.hex():
        raise FormatMismatch(str(path / "FORMAT"), "network", network, pinned.hash.hex())
    return pinned


def _domain_of(genesis: Genesis, log: LmdbStore, path: Path) -> GenesisDomain:
    numbers = {genesis.domain_of_shard(shard) for shard in log.shards()}
    if len(numbers) != 1:
        reason = "holds no log records" if not numbers else f"holds logs of several domains: {sorted(numbers)}"
        raise ConfigError(str(path), reason, "name the data directory of a node that has run")
    return genesis.domain(numbers.pop())


def _codes(record: LogRecord) -> tuple[int, np.ndarray[tuple[int, ...], np.dtype[np.uint16]]]:
    """Return how many answers a batch or admin record holds, and the codes at its end."""
    view = memoryview(record.body)
    count = int.from_bytes(view[:4], "little")
    return count, np.frombuffer(view[view.nbytes - 2 * count :], dtype="<u2")


def _check_drained(machines: list[ShardMachine]) -> None:
    """Within a node a commit delivers everything (CHANNEL-4): a log that ends elsewhere has lost a shard's part."""
    by_id = {machine.shard: machine for machine in machines}
    for machine in machines:
        for peer in machine.peers:
            sent, received = machine.channel(peer)[0], by_id[peer].channel(machine.shard)[1]
            if sent != received:
                raise AuditFailed(
                    f"{sent} credits were sent to shard {peer}, which took {received}", shard=machine.shard
                )


def _ledger_report(ledger: GenesisLedger, machines: list[ShardMachine], auditors: list[_ShardAuditor]) -> LedgerReport:
    held = supply = posted = 0
    for machine in machines:
        for account in machine.accounts():
            if account.ledger != ledger.ledger or account.flags & AccountFlag.CHANNEL:
                continue
            if account.flags & AccountFlag.ISSUER:
                supply -= account.balance
                posted += account.debits_posted
            else:
                held += account.balance
    moving = sum(
        in_transit(source, destination, ledger.ledger)
        for source in machines
        for destination in machines
        if source is not destination
    )
    issued = sum(auditor.counts.issued[ledger.ledger] for auditor in auditors)
    if issued != posted:
        raise AuditFailed(
            f"ledger {ledger.ledger}: the log's records issue {issued}, the issuer's accounts say {posted}"
        )
    if supply != held + moving:
        raise AuditFailed(f"ledger {ledger.ledger}: {supply} are in circulation, {held} are held, {moving} in transit")
    pending = sum(machine.totals(ledger.ledger)[0] for machine in machines)
    return LedgerReport(ledger.ledger, ledger.currency, ledger.scale, issued, supply, held, moving, pending)
