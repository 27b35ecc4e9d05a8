"""One domain's shards executed again from their logs, record by record, in one thread: the heart of following.

It promises to believe nothing: every record's place in the chain, every signature, every answer, every credit against
the block that sent it, and every relay block against the validator's own chain. A height is reported only once all of
that held up to it; whatever does not hold ends the following of the shard with the reason.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from clearspan.validator.credit_match import CreditMatch, CreditMismatch
from engine.bodies import decode_credits_body
from engine.checkpoint import Manifest
from engine.errors import RecordMalformed
from engine.hashing import digest
from engine.log_record import RECORD_HEADER_BYTES, RecordKind, decode_record
from engine.machine import ShardMachine
from engine.proved_credits import ProvedCredits
from engine.refusals import EncodingError, InvariantBroken, ReplayDiverged
from engine.relay_block import RelayBlock
from native.errors import NativeError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from clearspan.validator.books import ChainBook
    from engine.checkpoint import CheckpointStore
    from engine.genesis import Genesis
    from engine.header import Header
    from engine.lmdb_log import LmdbStore
    from engine.log_record import LogRecord
    from engine.machine import Sealed

__all__ = ["FollowFailed", "FollowedDomain", "FollowedShard", "record_bytes", "waits_for_relay"]

_BODY_LENGTH: Final = slice(32, 40)
_HEADERS_KEPT: Final = 256
_CREDITS: Final = frozenset({RecordKind.CREDITS, RecordKind.PROVED_CREDITS})


class FollowFailed(Exception):  # noqa: N818 - named as what it is, like the other refusals
    """A shard's log is not what it must be; it is followed no further."""

    def __init__(self, shard: int, number: int, reason: str) -> None:
        """Name the record."""
        super().__init__(f"shard {shard:#x}, record {number}: {reason}")
        self.shard, self.number, self.reason = shard, number, reason


def record_bytes(head: memoryview) -> int:
    """Return how long a record is whose header begins here, 0 while less than its header is there."""
    if head.nbytes < RECORD_HEADER_BYTES:
        return 0
    return RECORD_HEADER_BYTES + int.from_bytes(head[_BODY_LENGTH], "little")


@dataclass(slots=True)
class _Waiting:
    """A sealed height that waits for its credits to be found; ``reached``: by peer, up to which sequence."""

    header: Header
    reached: dict[int, int]


@dataclass(slots=True)
class FollowedShard:
    """One shard: its machine, and the newest headers that were made here."""

    machine: ShardMachine
    headers: dict[int, Header] = field(default_factory=dict)
    waiting: deque[_Waiting] = field(default_factory=deque)
    unkept: list[LogRecord] = field(default_factory=list)
    executed_height: int = 0
    bytes_since_state: int = 0
    state_number: int = 0
    after_seal: bool = False

    def note_header(self, header: Header) -> None:
        """Keep a header that was made here for comparison."""
        self.headers[header.height] = header
        if len(self.headers) > _HEADERS_KEPT:
            del self.headers[min(self.headers)]


class FollowedDomain:
    """The shards of one domain. Every method but the constructor belongs to one thread."""

    def __init__(
        self,
        genesis: Genesis,
        domain: int,
        chain: ChainBook,
        log: LmdbStore | None,
        checkpoints: CheckpointStore,
        *,
        folder: Path,
        state_bytes: int,
    ) -> None:
        """Prepare; ``log`` keeps the bodies, None: they are not held. ``folder`` is for notes beside the states."""
        self.genesis, self.domain = genesis, genesis.domain(domain)
        self.holds = log is not None
        self.shards: dict[int, FollowedShard] = {}
        self._chain, self._log, self._checkpoints = chain, log, checkpoints
        self._folder, self._state_bytes = folder, state_bytes
        self._match = CreditMatch(self.domain.shard_ids())

    # Life.

    def recover(self) -> None:
        """Begin where the states and the log kept here end. Raises FollowFailed, and what the stores raise."""
        for shard in self.domain.shard_ids():
            self.shards[shard] = self._load(shard)
        if not all(self._knows_channels(each.machine) for each in self.shards.values()):
            # A note was lost: the channels are known from the beginning only.
            self._match = CreditMatch(self.domain.shard_ids())
            self.shards = {shard: self._begin(shard) for shard in self.domain.shard_ids()}
        if self._log is not None:
            for shard, followed in self.shards.items():
                number = followed.machine.log_position[0] + 1
                for record in self._log.log(shard).read(number):
                    self._apply(followed, record, audit=False)

    def next_number(self, shard: int) -> int:
        """Return the number of the record that comes next."""
        return self.shards[shard].machine.log_position[0] + 1

    def take(self, shard: int, encoded: Sequence[memoryview]) -> list[tuple[int, Header]]:
        """Execute the next records of a shard and keep them; return (shard, header) of what is now executed.

        Those may be of other shards too, whose credits were found now. Raises FollowFailed, after which the shard is of
        no use, and what the stores raise: after DiskFull go on with ``keep``.
        """
        followed = self.shards[shard]
        for data in encoded:
            record = self._decode(followed, data)
            self._apply(followed, record, audit=True)
            if self._log is not None:
                followed.unkept.append(record)
        return self.keep(shard)

    def keep(self, shard: int) -> list[tuple[int, Header]]:
        """Make durable what was executed; return what ``take`` does. After DiskFull the same call goes on."""
        followed = self.shards[shard]
        if self._log is not None and followed.unkept:
            records = followed.unkept
            self._log.append_many({shard: (records, records[0].number)}, records[-1].epoch)
            followed.unkept = []
        if followed.bytes_since_state >= self._state_bytes and followed.after_seal:
            self._keep_state(followed)
        return self._executed()

    def close(self) -> None:
        """Keep the states of shards that stand right after a seal, so that the next start is quick."""
        for followed in self.shards.values():
            if followed.after_seal and not followed.unkept and followed.machine.log_position[0] > followed.state_number:
                self._keep_state(followed)

    # One record.

    def _decode(self, followed: FollowedShard, data: memoryview) -> LogRecord:
        machine, suite = followed.machine, self.genesis.hash_suite
        number, last_hash = machine.log_position
        try:
            # The record outlives the message that it came in.
            record = decode_record(
                bytes(data), suite=suite, genesis_hash=self.genesis.hash, shard=machine.shard, number=number + 1
            )
        except RecordMalformed as error:
            raise FollowFailed(machine.shard, number + 1, str(error)) from error
        if record.previous_hash != last_hash:
            raise FollowFailed(machine.shard, record.number, "it does not follow the record before it")
        if record.epoch < machine.epoch or record.time < machine.last_time:
            raise FollowFailed(machine.shard, record.number, "epoch or time runs backwards")
        return record

    def _apply(self, followed: FollowedShard, record: LogRecord, *, audit: bool) -> None:
        machine = followed.machine
        try:
            if record.kind is RecordKind.RELAY_BLOCK:
                self._check_relay_block(record)
            sealed = machine.apply(record, audit=audit)
            if record.kind in _CREDITS:
                proved = record.kind is RecordKind.PROVED_CREDITS
                credits_ = ProvedCredits.decode(record.body) if proved else decode_credits_body(record.body)
                self._match.taken(machine.shard, credits_.source, credits_.first_sequence, credits_.messages)
            if sealed is not None:
                self._seal(followed, sealed)
        except (EncodingError, InvariantBroken, NativeError, RecordMalformed, ReplayDiverged) as error:
            raise FollowFailed(machine.shard, record.number, str(error)) from error
        except CreditMismatch as error:
            raise FollowFailed(error.destination, record.number, str(error)) from error
        followed.after_seal = sealed is not None
        followed.bytes_since_state += record.body_bytes

    def _seal(self, followed: FollowedShard, sealed: Sealed) -> None:
        machine = followed.machine
        if machine.sealed_outgoing is not None:
            self._match.sent(machine.shard, machine.sealed_outgoing.channels)
        followed.note_header(sealed.header)
        followed.waiting.append(_Waiting(sealed.header, self._match.reached(machine.shard)))

    def _executed(self) -> list[tuple[int, Header]]:
        """Return the heights whose credits are all found, in order."""
        found = []
        for shard, followed in self.shards.items():
            while followed.waiting and self._match.covers(shard, followed.waiting[0].reached):
                header = followed.waiting.popleft().header
                followed.executed_height = header.height
                found.append((shard, header))
        return found

    def _check_relay_block(self, record: LogRecord) -> None:
        """Demand that a relay block that a shard consumed is the final one of its height as it is known here."""
        block = RelayBlock.decode(record.body, self.genesis.hash_suite)
        known = self._chain.get(block.header.height)
        if known is None:
            if block.header.height < self._chain.lowest:
                # Before the checkpoint that this validator began with: the headers of later blocks depend on it.
                return
            raise FollowFailed(record.shard, record.number, f"relay block {block.header.height} is not final here")
        if known.block != bytes(record.body):
            raise FollowFailed(record.shard, record.number, f"relay block {block.header.height} is another one here")

    # States.

    def _begin(self, shard: int) -> FollowedShard:
        machine = ShardMachine(self.genesis, shard)
        machine.keep_outgoing()
        return FollowedShard(machine)

    def _load(self, shard: int) -> FollowedShard:
        loaded = self._checkpoints.load_newest(shard, _trust)
        if loaded is None:
            return self._begin(shard)
        manifest, state = loaded
        try:
            machine = ShardMachine.load(self.genesis, shard, state)
            self._match.load(self._note(shard).read_bytes())
        except (OSError, EncodingError):
            return self._begin(shard)
        machine.keep_outgoing()
        followed = FollowedShard(machine, executed_height=manifest.height, state_number=manifest.log_number)
        followed.after_seal = True
        return followed

    def _knows_channels(self, machine: ShardMachine) -> bool:
        """Whether what a shard has sent so far is known, or was found already."""
        return all(
            pair.matched + len(pair.sent) >= machine.channel(destination)[0]
            for (source, destination), pair in self._match.pairs.items()
            if source == machine.shard
        )

    def _keep_state(self, followed: FollowedShard) -> None:
        machine = followed.machine
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
        # The note first: a note that is newer than its state only knows what is made again.
        note = self._note(machine.shard)
        beside = note.with_suffix(".new")
        beside.write_bytes(self._match.export(machine.shard))
        beside.replace(note)
        self._checkpoints.write(manifest, state)
        followed.state_number, followed.bytes_since_state = number, 0

    def _note(self, shard: int) -> Path:
        return self._folder / f"channels-{shard:08x}"


def _trust(_: Manifest) -> None:
    """Believe a state that this validator made itself: its digest was checked."""


def waits_for_relay(data: memoryview) -> int:
    """Return the height of the relay block that an encoded record holds, 0 for a record of another kind."""
    kind = int.from_bytes(data[6:8], "little")
    if kind != RecordKind.RELAY_BLOCK or data.nbytes < RECORD_HEADER_BYTES + 16:
        return 0
    return int.from_bytes(data[RECORD_HEADER_BYTES + 8 : RECORD_HEADER_BYTES + 16], "little")
