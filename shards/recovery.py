"""From what is on disk to a running domain: checkpoint, log tail, headers, index; and the stores that a node writes.

Restart is replay: each shard's newest checkpoint that holds, then its log's tail, record by record, with the
recomputed codes compared with the recorded ones. A header derived anew must equal the one that was signed.
"""

from __future__ import annotations

import shutil
import struct
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np
import structlog

from engine.chain import ChainStore
from engine.checkpoint import CheckpointStore, Manifest
from engine.errors import CheckpointInvalid, DiskFull
from engine.hashing import digest
from engine.header import SignedHeader
from engine.invariants import invariant
from engine.lmdb_log import LmdbStore
from engine.machine import ShardMachine
from engine.prefix import PrefixType, signing_prefix
from engine.types import ACCOUNT_BYTES, ZERO_HASH
from shards.domain import DomainCore, Round, SealedBlock
from shards.lookup import Lookup
from shards.run_proofs import UndecidedRun
from shards.slots import SlotMap

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from engine.data_directory import DataDirectory
    from engine.genesis import Genesis
    from engine.log import LogRecord
    from shards.signer import BlockSigner

__all__ = ["Recovered", "Stores", "recover"]

_LOG = structlog.get_logger("clearspan.node")
_PREPARED = struct.Struct("<32s32sQ")


@dataclass(slots=True)
class Stores:
    """What a node writes: the log (synced before any answer), checkpoints and signed headers (beside the road)."""

    path: Path
    log: LmdbStore
    checkpoints: CheckpointStore
    chain: ChainStore

    @classmethod
    def open(
        cls, directory: DataDirectory, genesis: Genesis, *, log_bytes_max: int, full_check: bool = False
    ) -> Stores:
        """Open what lies in a locked data directory; the log is checked first, from the checkpoints on or as a whole.

        Raises LogDamaged, CheckpointsUnusable, ChainDamaged, DiskFull, LogFailed.
        """
        suite = genesis.hash_suite
        with ExitStack() as opened:
            checkpoints = CheckpointStore(directory.checkpoint, suite=suite)
            opened.callback(checkpoints.close)
            log = LmdbStore(
                directory.log,
                log_bytes_max,
                suite=suite,
                genesis_hash=genesis.hash,
                anchors=checkpoints.log_positions(),
                full_check=full_check,
            )
            opened.callback(log.close)
            chain = ChainStore(directory.chain, suite=suite)
            opened.pop_all()
        return cls(directory.path, log, checkpoints, chain)

    def room_bytes(self) -> int:
        """Return what may still be written: what the disk has free, or less where the log's own limit is nearer."""
        return min(shutil.disk_usage(self.path).free, self.log.room_bytes())

    def append(self, round_: Round, epoch: int) -> None:
        """Commit a round's records of all shards in one synced transaction."""
        self.log.append_many({shard: (records, records[0].number) for shard, records in round_.records.items()}, epoch)

    def keep_blocks(self, genesis: Genesis, sealed: Sequence[SealedBlock], signer: BlockSigner) -> list[SignedHeader]:
        """Sign and keep headers whose seals are durable, with the decision leaves that they commit to; return them."""
        signed = [(sign_header(genesis, block, signer), block) for block in sealed]
        self.chain.append_all(
            (each.header.shard, each.header.height, each.encode(), block.decision_leaves, block.outgoing)
            for each, block in signed
        )
        return [each for each, _ in signed]

    def close(self) -> None:
        """Close all stores."""
        self.log.close()
        self.checkpoints.close()
        self.chain.close()


def sign_header(genesis: Genesis, block: SealedBlock, signer: BlockSigner) -> SignedHeader:
    """Sign T(header) || header hash (spec BLOCK-1)."""
    prefix = signing_prefix(genesis.hash_suite, PrefixType.HEADER, genesis.hash)
    signature = signer.sign(prefix + block.header.hash)
    return SignedHeader(block.header, signer.key_id, signature)


@dataclass(slots=True)
class Recovered:
    """A domain as it stands: the core, its lookups, and how much of it is durable (height, number, accounts, time).

    ``abandoned`` holds why the core is not to be gone on with: a round of its did not become durable, so its memory is
    ahead of the disk. ``whole`` is false when there was no room for signed headers: it may be read, not gone on with.
    """

    genesis: Genesis
    core: DomainCore
    lookup: Lookup
    stores: Stores
    durable: dict[int, tuple[int, int, int, int]]
    whole: bool = True
    abandoned: DiskFull | None = None

    def append(self, round_: Round) -> None:
        """Make a round durable. Raises as the log does, and DiskFull for every round after one that found no room."""
        if self.abandoned is not None:
            raise DiskFull(self.abandoned.path, self.abandoned.free_bytes, self.abandoned.limit)
        try:
            self.stores.append(round_, self.core.epoch)
        except DiskFull as error:
            self.abandoned = error
            raise

    def note_durable(self, round_: Round) -> None:
        """Remember what a committed round made durable."""
        heights = {block.header.shard: block.header.height for block in round_.sealed}
        for shard, records in round_.records.items():
            height = heights.get(shard, self.durable[shard][0])
            self.durable[shard] = (height, records[-1].number, round_.account_counts[shard], records[-1].time)

    def index(self, round_: Round) -> None:
        """Index a round that is durable; in the order of the log, one thread at a time.

        What finds no room on the disk stays in memory, and is found there; the log it is made from ends first.
        """
        lookup = self.lookup
        added: list[tuple[int, Callable[[], None]]] = [
            *((each.number, partial(lookup.add_batch, each)) for each in (*round_.batches, *round_.runs)),
            *((each.number, partial(lookup.add_credits, each)) for each in round_.credits),
            *((each.number, partial(lookup.add_record, each)) for each in (*round_.relay, *round_.administered)),
        ]
        for _, add in sorted(added, key=itemgetter(0)):
            with suppress(DiskFull):
                add()

    def undecided_runs(self) -> list[UndecidedRun]:
        """Return the runs over shards that the relay has not decided, each once; on the ledger thread."""
        found = {}
        for machine in self.core.machines.values():
            for row in _PREPARED.iter_unpack(machine.ledger.prepared()):
                found[row[0]] = UndecidedRun(*row)
        return list(found.values())

    def accounts(self, ids: bytes) -> bytes:
        """Return the leaves of n accounts (160 bytes each, zeros where missing), each from its shard."""
        owners = self.core.slot_map.shards_of(ids)
        wanted = np.frombuffer(ids, dtype=np.uint8).reshape(-1, 16)
        leaves = np.zeros((len(wanted), ACCOUNT_BYTES), dtype=np.uint8)
        for shard, machine in self.core.machines.items():
            rows = np.flatnonzero(owners == shard)
            if len(rows):
                found = machine.ledger.lookup_accounts(wanted[rows].tobytes())
                leaves[rows] = np.frombuffer(found, dtype=np.uint8).reshape(-1, ACCOUNT_BYTES)
        return leaves.tobytes()

    def take_checkpoint(self) -> list[tuple[Manifest, bytes]]:
        """Copy every shard's state, right after its seal; on the ledger thread."""
        return [self._taken(machine) for machine in self.core.machines.values()]

    def _taken(self, machine: ShardMachine) -> tuple[Manifest, bytes]:
        state = machine.export()
        number, record_hash = machine.log_position
        manifest = Manifest(
            shard=machine.shard,
            epoch=machine.epoch,
            height=machine.height,
            log_number=number,
            log_record_hash=record_hash,
            header_hash=machine.header_hash,
            state_root=machine.state_root(),
            # The rounds wait for what is done here: the hash is left to whoever writes.
            state_hash=ZERO_HASH,
            state_bytes=len(state),
        )
        return manifest, state

    def write_checkpoint(self, taken: Sequence[tuple[Manifest, bytes]], signer: BlockSigner) -> None:
        """Sign and write what was taken; in any thread."""
        prefix = signing_prefix(self.genesis.hash_suite, PrefixType.HEADER, self.genesis.hash)
        for copied, state in taken:
            manifest = replace(copied, state_hash=digest(self.genesis.hash_suite, state))
            signature = signer.sign(prefix + manifest.hash(self.genesis.hash_suite))
            self.stores.checkpoints.write(manifest.signed(signer.key_id, signature), state)


def recover(
    genesis: Genesis,
    domain: int,
    stores: Stores,
    signer: BlockSigner,
    *,
    after: Recovered | None = None,
    local: Collection[int] | None = None,
) -> Recovered:
    """Build a domain from its stores. Raises LogDamaged, ReplayDiverged, DiskFull; InvariantBroken for two histories.

    ``local``: the shards of the domain that this node serves (None: all); other nodes serve the rest.
    ``after`` is what this process went on with until a disk was full: its lookups and its epoch are kept, nothing is
    demanded of the disk, and what there is no room for leaves the result not whole.
    """
    if after is not None:
        local = tuple(after.core.machines)
        return _replayed(genesis, domain, stores, signer, after.lookup, after.core.epoch, local)
    slot_map = SlotMap.of(genesis, domain)
    lookup = Lookup(genesis, stores.path / "index", stores.log.log, stores.chain, slot_map.shard_of)
    try:
        recovered = _replayed(genesis, domain, stores, signer, lookup, 0, local)
        if not recovered.whole:
            raise DiskFull(str(stores.path), stores.room_bytes())  # noqa: TRY301 - the lookups are closed either way
        epoch = stores.log.epoch() + 1
        stores.log.fence_shards(tuple(recovered.core.machines), epoch)
        recovered.core.epoch = epoch
    except BaseException:
        lookup.close()
        raise
    return recovered


def _replayed(  # noqa: PLR0917 - what a domain is built from
    genesis: Genesis,
    domain: int,
    stores: Stores,
    signer: BlockSigner,
    lookup: Lookup,
    epoch: int,
    local: Collection[int] | None,
) -> Recovered:
    """Replay every shard and bring signed headers and index up to date, as far as there is room."""
    everywhere = genesis.domain(domain).shard_ids()
    served = [shard for shard in everywhere if local is None or shard in local]
    remote = [shard for shard in everywhere if shard not in served]
    machines: dict[int, ShardMachine] = {}
    whole = True
    if any(lookup.reaches(shard) > stores.log.tip(shard).number for shard in served):
        # The index knows of records that the log does not have: it is of another log, or of a newer copy of this one.
        _LOG.warning("index_discarded", reason="it is ahead of the log")
        lookup.reset()
    for shard in served:
        machine = _from_checkpoint(genesis, shard, stores, signer)
        if remote:
            machine.keep_outgoing()
        _index_from_log(stores, lookup, shard, machine.log_position[0])
        for record in stores.log.log(shard).read(machine.log_position[0] + 1):
            sealed = machine.apply(record)
            machine.take_outgoing()
            if record.number > lookup.reaches(shard):
                _add(lookup, record)
            if sealed is not None:
                sent = b"" if machine.sealed_outgoing is None else machine.sealed_outgoing.encode()
                block = SealedBlock(sealed.header, sealed.decision_leaves, sent)
                whole &= _kept(genesis, stores, block, signer)
        machines[shard] = machine
        _LOG.info("shard_recovered", shard=shard, height=machine.height, log_number=machine.log_position[0])
    _check_channels(machines)
    core = DomainCore(genesis, machines, SlotMap.of(genesis, domain), epoch, remote)
    durable = {
        shard: (machine.height, machine.log_position[0], machine.ledger.account_count, machine.last_time)
        for shard, machine in machines.items()
    }
    return Recovered(genesis, core, lookup, stores, durable, whole=whole)


def _from_checkpoint(genesis: Genesis, shard: int, stores: Stores, signer: BlockSigner) -> ShardMachine:
    """Return the machine of the newest checkpoint that holds, or one that stands before the first record."""
    suite = genesis.hash_suite
    prefix = signing_prefix(suite, PrefixType.HEADER, genesis.hash)
    accepted: list[ShardMachine] = []

    # None where the headers were lost, or removed because they were damaged: then all of them are made again.
    chain_ends = stores.chain.last(shard) or 0

    def trusted(manifest: Manifest) -> None:
        if chain_ends < manifest.height:
            # Replay from an older one makes the headers in between again; from this one they would be missing.
            raise CheckpointInvalid(shard, manifest.height, f"the signed headers end at {chain_ends}")
        if not signer.verify(prefix + manifest.hash(suite), manifest.signature):
            raise CheckpointInvalid(shard, manifest.height, "its signature is not the operator's")

    def holds(manifest: Manifest, state: bytes) -> None:
        machine = ShardMachine.load(genesis, shard, state)
        if machine.state_root() != manifest.state_root:
            raise CheckpointInvalid(shard, manifest.height, "its state does not give the root that was signed")
        accepted[:] = [machine]

    loaded = stores.checkpoints.load_newest(shard, trusted, holds)
    for skipped in stores.checkpoints.skipped:
        _LOG.warning("checkpoint_skipped", shard=shard, reason=str(skipped))
    return accepted[0] if loaded is not None else ShardMachine(genesis, shard)


def _index_from_log(stores: Stores, lookup: Lookup, shard: int, until: int) -> None:
    """Index what an index that was lost or left behind lacks, up to where replay begins."""
    reached = lookup.reaches(shard)
    if reached >= until:
        return
    for record in stores.log.log(shard).read(reached + 1):
        if record.number > until:
            return
        _add(lookup, record)


def _add(lookup: Lookup, record: LogRecord) -> None:
    """Index a record; what finds no room on the disk is in memory, and found there."""
    with suppress(DiskFull):
        lookup.add_record(record)


def _kept(genesis: Genesis, stores: Stores, block: SealedBlock, signer: BlockSigner) -> bool:
    """Hold a header derived anew against the signed one, or sign it now; false when there is no room for it."""
    _check_header(stores.chain, block)
    known = stores.chain.last(block.header.shard)
    if known is not None and (block.header.height <= known or block.header.height > known + 1):
        # Kept already, or one before it found no room.
        return block.header.height <= known
    with suppress(DiskFull):
        stores.keep_blocks(genesis, [block], signer)
        return True
    return False


def _check_header(chain: ChainStore, block: SealedBlock) -> None:
    """Hold a header derived anew against the one that was signed: a difference means two histories."""
    kept = chain.get(block.header.shard, block.header.height)
    if kept is not None:
        signed = SignedHeader.decode(kept.signed_header)
        same = signed.header.hash == block.header.hash
        invariant(same, "header_equals_signed_header", shard=block.header.shard, height=block.header.height)


def _check_channels(machines: dict[int, ShardMachine]) -> None:
    """Within a node every credit that was sent was applied in the same commit (spec CHANNEL-4)."""
    for source, machine in machines.items():
        for peer, other in machines.items():
            if peer != source:
                sent, received = machine.channel(peer)[0], other.channel(source)[1]
                invariant(sent == received, "channel_drained", source=source, peer=peer, sent=sent, received=received)
