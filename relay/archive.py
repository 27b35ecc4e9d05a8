"""What a validator serves to those who catch up: final blocks, changes of sets, its newest checkpoint.

``Archive`` is the port; ``MemoryArchive`` keeps everything in memory, for tests and simulations. ``answer`` makes the
answer to any bytes that a peer sends, of bounded length, out of either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from engine.refusals import EncodingError
from engine.types import RelayRecordType
from relay.checkpoint import Checkpoint, checkpoint_of
from relay.light import RecordProof
from relay.sync_messages import (
    RANGE_BLOCKS_MAX,
    REPLY_BYTES_MAX,
    BlocksReply,
    ChunkReply,
    NothingReply,
    ProofReply,
    SyncReply,
    SyncRequest,
    SyncStatus,
    Wanted,
    encode_reply,
)

if TYPE_CHECKING:
    from engine.block import InclusionPath
    from engine.relay_block import RelayBlock
    from engine.validators import Certificate
    from relay.state import RelayState

__all__ = ["Archive", "MemoryArchive", "answer"]

# What an answer keeps free for its own head, and each block for its lengths.
_HEAD_ROOM: int = 128
_PAIR_ROOM: int = 8


class Archive(Protocol):
    """Where final blocks are kept."""

    @property
    def height(self) -> int:
        """Height of the last block kept, 0 for none."""

    @property
    def lowest(self) -> int:
        """Lowest height of which the block is kept."""

    @property
    def checkpoint_height(self) -> int:
        """Height of the newest state of which the chunks are kept, and its record is final; 0 for none."""

    @property
    def set_id(self) -> int:
        """Id of the newest set announced in a block kept."""

    def block(self, height: int) -> tuple[bytes, bytes] | None:
        """Return a block and its certificate, encoded."""

    def set_change(self, set_id: int) -> bytes | None:
        """Return the proof of the record that announced a set, encoded."""

    def checkpoint_proof(self, height: int) -> bytes | None:
        """Return the proof of the record that names the state after a height, encoded."""

    def chunk(self, height: int, index: int) -> tuple[bytes, InclusionPath] | None:
        """Return one chunk of the state after a height, with its path."""


def answer(data: bytes, archive: Archive, genesis_hash: bytes) -> bytes | None:
    """Return the answer to a request, None for bytes that are none."""
    try:
        request = SyncRequest.decode(data, genesis_hash)
    except EncodingError:
        return None
    return encode_reply(_reply(request, archive), genesis_hash)


def _reply(request: SyncRequest, archive: Archive) -> SyncReply:
    found: bytes | None = None
    if request.wanted is Wanted.STATUS:
        return SyncStatus(request.id, archive.height, archive.lowest, archive.checkpoint_height, archive.set_id)
    if request.wanted is Wanted.BLOCKS:
        return _blocks(request, archive)
    if request.wanted is Wanted.CHUNK:
        chunk = archive.chunk(request.first, request.second)
        return NothingReply(request.id) if chunk is None else ChunkReply(request.id, request.second, chunk[1], chunk[0])
    if request.wanted is Wanted.SET_CHANGE:
        found = archive.set_change(request.first)
    else:
        found = archive.checkpoint_proof(request.first)
    return NothingReply(request.id) if found is None else ProofReply(request.id, found)


def _blocks(request: SyncRequest, archive: Archive) -> SyncReply:
    """Answer with as many blocks as fit, the first one always."""
    blocks: list[tuple[bytes, bytes]] = []
    room = REPLY_BYTES_MAX - _HEAD_ROOM
    for height in range(request.first, min(request.second, request.first + RANGE_BLOCKS_MAX - 1, archive.height) + 1):
        pair = archive.block(height)
        if pair is None:
            break
        room -= len(pair[0]) + len(pair[1]) + _PAIR_ROOM
        if room < 0:
            break
        blocks.append(pair)
    return BlocksReply(request.id, request.first, tuple(blocks)) if blocks else NothingReply(request.id)


class MemoryArchive:
    """Everything since ``state``, from which it begins."""

    def __init__(self, state: RelayState) -> None:
        self._suite = state.suite
        self._first = state.height + 1
        self._blocks: list[tuple[bytes, bytes]] = []
        self._set_changes: dict[int, bytes] = {}
        self._checkpoint: tuple[Checkpoint, bytes] | None = None
        self._before = state
        self.set_id = state.sets[-1].set_id

    @property
    def height(self) -> int:
        """Height of the last block kept."""
        return self._first + len(self._blocks) - 1

    @property
    def lowest(self) -> int:
        """Lowest height of which the block is kept."""
        return self._first

    @property
    def checkpoint_height(self) -> int:
        """Height of the newest checkpoint, 0 for none."""
        return 0 if self._checkpoint is None else self._checkpoint[0].root.height

    def append(self, block: RelayBlock, certificate: Certificate, state: RelayState) -> None:
        """Keep a final block; ``state`` is the one after it."""
        self._blocks.append((block.encode(), certificate.encode()))
        for index, record in enumerate(block.records):
            if record.type is RelayRecordType.VALIDATOR_SET:
                self.set_id = record.validator_set().set_id
                self._set_changes[self.set_id] = RecordProof.of(self._suite, block, certificate, index).encode()
            elif record.type is RelayRecordType.CHECKPOINT:
                kept = checkpoint_of(self._suite, self._before.height, self._before.encode())
                self._checkpoint = kept, RecordProof.of(self._suite, block, certificate, index).encode()
        self._before = state

    def block(self, height: int) -> tuple[bytes, bytes] | None:
        """Return a block and its certificate, encoded."""
        return self._blocks[height - self._first] if self._first <= height <= self.height else None

    def set_change(self, set_id: int) -> bytes | None:
        """Return the proof of the record that announced a set."""
        return self._set_changes.get(set_id)

    def checkpoint_proof(self, height: int) -> bytes | None:
        """Return the proof of the newest checkpoint, for its height alone."""
        return self._checkpoint[1] if self._checkpoint is not None and height == self.checkpoint_height else None

    def chunk(self, height: int, index: int) -> tuple[bytes, InclusionPath] | None:
        """Return one chunk of the newest checkpoint."""
        if self._checkpoint is None or height != self.checkpoint_height:
            return None
        try:
            return self._checkpoint[0].chunk(index)
        except IndexError:
            return None
