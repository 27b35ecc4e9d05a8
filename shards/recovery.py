"""From what is on disk to a running domain: checkpoint, log tail, headers, index; and the stores that a node writes.

Restart is replay: each shard's newest checkpoint that holds, then its log's tail, record by record, with the
recomputed codes compared with the recorded ones. A header derived anew must equal the one that was signed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from engine.chain import ChainStore
from engine.checkpoint import CheckpointStore, Manifest
from engine.errors import CheckpointInvalid
from engine.hashing import digest
from engine.header import SignedHeader
from engine.invariants import invariant
from engine.lmdb_log import LmdbStore
from engine.log import RecordKind
from engine.machine import ShardMachine
from engine.prefix import PrefixType, signing_prefix
from shards.domain import DomainCore, Round, SealedBlock
from shards.lookup import Lookup
from shards.slots import SlotMap

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from engine.data_directory import DataDirectory
    from engine.genesis import Genesis
    from engine.header import Header
    from shards.signer import BlockSigner

__all__ = ["Recovered", "Stores", "recover"]

_LOG = structlog.get_logger("clearspan.node")


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
        checkpoints = CheckpointStore(directory.checkpoint, suite=suite)
        log = LmdbStore(
            directory.log,
            log_bytes_max,
            suite=suite,
            genesis_hash=genesis.hash,
            anchors=checkpoints.log_positions(),
            full_check=full_check,
        )
        return cls(directory.path, log, checkpoints, ChainStore(directory.chain, suite=suite))

    def append(self, round_: Round, epoch: int) -> None:
        """Commit a round's records of all shards in one synced transaction."""
        self.log.append_many({shard: (records, records[0].number) for shard, records in round_.records.items()}, epoch)

    def keep_blocks(self, genesis: Genesis, sealed: Sequence[SealedBlock], signer: BlockSigner) -> None:
        """Sign and keep headers whose seals are durable, with the decision leaves that they commit to."""
        for block in sealed:
            signed = sign_header(genesis, block, signer)
            self.chain.append(block.header.shard, block.header.height, signed.encode(), block.decision_leaves)

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
    """A domain as it stands: the core, its lookups, and how much of it is durable (height, number, accounts, time)."""

    genesis: Genesis
    core: DomainCore
    lookup: Lookup
    stores: Stores
    durable: dict[int, tuple[int, int, int, int]]

    def note_durable(self, round_: Round) -> None:
        """Remember what a committed round made durable."""
        heights = {block.header.shard: block.header.height for block in round_.sealed}
        for shard, records in round_.records.items():
            height = heights.get(shard, self.durable[shard][0])
            self.durable[shard] = (height, records[-1].number, round_.account_counts[shard], records[-1].time)

    def index(self, round_: Round) -> None:
        """Index a round that is durable, and its blocks, which are signed and kept; on the ledger thread."""
        for part in round_.batches:
            self.lookup.add_batch(part)
        for credits_ in round_.credits:
            self.lookup.add_credits(credits_)
        for block in round_.sealed:
            self.lookup.add_block(block.header)

    def accounts(self, ids: bytes) -> bytes:
        """Return the leaves of n accounts (160 bytes each, zeros where missing), each from its shard."""
        wanted = [ids[at : at + 16] for at in range(0, len(ids), 16)]
        machines = self.core.machines
        return b"".join(machines[self.core.slot_map.shard_of(one)].ledger.lookup_accounts(one) for one in wanted)

    def take_checkpoint(self) -> list[tuple[Manifest, bytes]]:
        """Copy every shard's state, right after its seal; on the ledger thread."""
        self.lookup.flush()
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
            state_hash=digest(self.genesis.hash_suite, state),
            state_bytes=len(state),
        )
        return manifest, state

    def write_checkpoint(self, taken: Sequence[tuple[Manifest, bytes]], signer: BlockSigner) -> None:
        """Sign and write what was taken; in any thread."""
        prefix = signing_prefix(self.genesis.hash_suite, PrefixType.HEADER, self.genesis.hash)
        for manifest, state in taken:
            signature = signer.sign(prefix + manifest.hash(self.genesis.hash_suite))
            self.stores.checkpoints.write(manifest.signed(signer.key_id, signature), state)


def recover(genesis: Genesis, domain: int, stores: Stores, signer: BlockSigner) -> Recovered:
    """Build a domain from its stores. Raises LogDamaged, ReplayDiverged, or InvariantBroken for two histories."""
    slot_map = SlotMap.of(genesis, domain)
    lookup = Lookup(genesis, stores.path / "index", stores.log.log, stores.chain, slot_map.shard_of)
    machines: dict[int, ShardMachine] = {}
    for shard in genesis.domain(domain).shard_ids():
        machine = _from_checkpoint(genesis, shard, stores, signer)
        known = stores.chain.last(shard)
        for header in _headers(stores.chain, shard):
            if header.height <= machine.height:
                lookup.add_block(header)
        _index_from_log(stores, lookup, shard, machine.log_position[0])
        for record in stores.log.log(shard).read(machine.log_position[0] + 1):
            sealed = machine.apply(record)
            machine.take_outgoing()
            if record.number > lookup.reaches(shard):
                lookup.add_record(record)
            if record.kind is RecordKind.SEAL:
                assert sealed is not None
                block = SealedBlock(sealed.header, sealed.decision_leaves)
                _check_header(stores.chain, block)
                if known is None or block.header.height > known:
                    stores.keep_blocks(genesis, [block], signer)
                lookup.add_block(block.header)
        machines[shard] = machine
        _LOG.info("shard_recovered", shard=shard, height=machine.height, log_number=machine.log_position[0])
    _check_channels(machines)
    epoch = stores.log.epoch() + 1
    stores.log.fence_shards(tuple(machines), epoch)
    core = DomainCore(genesis, machines, slot_map, epoch)
    durable = {
        shard: (machine.height, machine.log_position[0], machine.ledger.account_count, machine.last_time)
        for shard, machine in machines.items()
    }
    return Recovered(genesis, core, lookup, stores, durable)


def _from_checkpoint(genesis: Genesis, shard: int, stores: Stores, signer: BlockSigner) -> ShardMachine:
    """Return the machine of the newest checkpoint that holds, or one that stands before the first record."""
    suite = genesis.hash_suite
    prefix = signing_prefix(suite, PrefixType.HEADER, genesis.hash)
    accepted: list[ShardMachine] = []

    def trusted(manifest: Manifest) -> None:
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
        lookup.add_record(record)


def _headers(chain: ChainStore, shard: int) -> Iterator[Header]:
    for block in chain.range(shard, 1):
        yield SignedHeader.decode(block.signed_header).header


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
