"""The messages of catching up: exact bytes, hard bounds, and nothing believed because it was readable.

Each begins with magic ``CSSY``, version u16, kind u16, the genesis hash and the request's id (48 bytes): an answer
carries the id of what it answers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import TYPE_CHECKING, ClassVar, Final, Self, TypeAlias

from engine.block import InclusionPath
from engine.refusals import EncodingError
from relay.checkpoint import CHUNK_BYTES

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "RANGE_BLOCKS_MAX",
    "REPLY_BYTES_MAX",
    "REQUEST_BYTES",
    "BlocksReply",
    "ChunkReply",
    "NothingReply",
    "ProofReply",
    "SyncReply",
    "SyncRequest",
    "SyncStatus",
    "Wanted",
    "decode_reply",
    "encode_reply",
]

MAGIC: Final = b"CSSY"
VERSION: Final = 1
RANGE_BLOCKS_MAX: Final = 256
# One block of full size with its certificate fits, and a message of the transport holds it.
REPLY_BYTES_MAX: Final = 6 << 20
_HEAD: Final = struct.Struct("<4sHH32sQ")
_REQUEST: Final = struct.Struct("<HHIQQ")
_STATUS: Final = struct.Struct("<QQQQ")
_BLOCKS: Final = struct.Struct("<QII")
_PAIR: Final = struct.Struct("<II")
_CHUNK: Final = struct.Struct("<QQ")
REQUEST_BYTES: Final = _HEAD.size + _REQUEST.size
assert (_HEAD.size, REQUEST_BYTES) == (48, 72)
_REQUEST_KIND: Final = 1


@unique
class Wanted(IntEnum):
    """What is asked for; ``first`` and ``second`` of a request mean what stands beside each."""

    STATUS = 1  # zeros
    BLOCKS = 2  # first height, last height
    SET_CHANGE = 3  # set id, zero
    CHECKPOINT = 4  # height of the state, zero
    CHUNK = 5  # height of the state, index


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """One question to one peer."""

    id: int
    wanted: Wanted
    first: int = 0
    second: int = 0

    def encode(self, genesis_hash: bytes) -> bytes:
        """Return the 72 bytes."""
        head = _HEAD.pack(MAGIC, VERSION, _REQUEST_KIND, genesis_hash, self.id)
        return head + _REQUEST.pack(self.wanted, 0, 0, self.first, self.second)

    @classmethod
    def decode(cls, data: Buffer, genesis_hash: bytes) -> Self:
        """Read a request from exactly its bytes; raises EncodingError."""
        view = memoryview(data).cast("B")
        if view.nbytes != REQUEST_BYTES:
            raise EncodingError("sync request bytes", view.nbytes, REQUEST_BYTES)
        identity, kind, rest = _read_head(view, genesis_hash)
        wanted, zero, more, first, second = _REQUEST.unpack(rest)
        if kind != _REQUEST_KIND or zero or more or wanted not in Wanted.__members__.values():
            raise EncodingError("sync request", (kind, wanted, zero, more), "a known kind, and zeros")
        return cls(identity, Wanted(wanted), first, second)


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """What a peer says it has: final height, lowest block kept, newest checkpoint's height (0 none), newest set."""

    KIND: ClassVar[int] = 2
    id: int
    height: int
    lowest: int
    checkpoint: int
    set_id: int

    def body(self) -> bytes:
        """Return four u64."""
        return _STATUS.pack(self.height, self.lowest, self.checkpoint, self.set_id)


@dataclass(frozen=True, slots=True)
class BlocksReply:
    """Blocks with their certificates, encoded, heights ascending from ``first`` without a gap."""

    KIND: ClassVar[int] = 3
    id: int
    first: int
    blocks: tuple[tuple[bytes, bytes], ...]

    def body(self) -> bytes:
        """Return first u64, count u32, zero u32, then for each two lengths u32, block, certificate."""
        parts = [_BLOCKS.pack(self.first, len(self.blocks), 0)]
        for block, certificate in self.blocks:
            parts += [_PAIR.pack(len(block), len(certificate)), block, certificate]
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class ProofReply:
    """A record proof, encoded: of a set change or of a checkpoint."""

    KIND: ClassVar[int] = 4
    id: int
    proof: bytes

    def body(self) -> bytes:
        """Return the proof."""
        return self.proof


@dataclass(frozen=True, slots=True)
class ChunkReply:
    """One chunk of a checkpoint's state, with its path."""

    KIND: ClassVar[int] = 5
    id: int
    index: int
    path: InclusionPath
    chunk: bytes

    def body(self) -> bytes:
        """Return index u64, chunk length u64, path, chunk."""
        return _CHUNK.pack(self.index, len(self.chunk)) + self.path.encode() + self.chunk


@dataclass(frozen=True, slots=True)
class NothingReply:
    """The peer does not have what was asked for."""

    KIND: ClassVar[int] = 6
    id: int

    def body(self) -> bytes:
        """Return nothing."""
        return b""


SyncReply: TypeAlias = SyncStatus | BlocksReply | ProofReply | ChunkReply | NothingReply


def encode_reply(reply: SyncReply, genesis_hash: bytes) -> bytes:
    """Return an answer's bytes."""
    return _HEAD.pack(MAGIC, VERSION, reply.KIND, genesis_hash, reply.id) + reply.body()


def decode_reply(data: Buffer, genesis_hash: bytes) -> SyncReply:
    """Read an answer from exactly its bytes; raises EncodingError."""
    view = memoryview(data).cast("B")
    if not _HEAD.size <= view.nbytes <= REPLY_BYTES_MAX:
        raise EncodingError("sync reply bytes", view.nbytes, f"{_HEAD.size} to {REPLY_BYTES_MAX}")
    identity, kind, rest = _read_head(view, genesis_hash)
    if kind == SyncStatus.KIND and rest.nbytes == _STATUS.size:
        return SyncStatus(identity, *_STATUS.unpack(rest))
    if kind == BlocksReply.KIND:
        return _blocks(identity, rest)
    if kind == ProofReply.KIND:
        return ProofReply(identity, rest.tobytes())
    if kind == ChunkReply.KIND:
        return _chunk(identity, rest)
    if kind == NothingReply.KIND and not rest.nbytes:
        return NothingReply(identity)
    raise EncodingError("sync reply", (kind, rest.nbytes), "a known kind of its length")


def _read_head(view: memoryview, genesis_hash: bytes) -> tuple[int, int, memoryview]:
    magic, version, kind, genesis, identity = _HEAD.unpack(view[: _HEAD.size])
    if (magic, version) != (MAGIC, VERSION):
        raise EncodingError("sync head", (magic, version), (MAGIC, VERSION))
    if genesis != genesis_hash:
        raise EncodingError("sync genesis", genesis.hex(), genesis_hash.hex())
    return identity, kind, view[_HEAD.size :]


def _blocks(identity: int, rest: memoryview) -> BlocksReply:
    if rest.nbytes < _BLOCKS.size:
        raise EncodingError("sync blocks bytes", rest.nbytes, f"at least {_BLOCKS.size}")
    first, count, zero = _BLOCKS.unpack(rest[: _BLOCKS.size])
    if zero or not 0 < count <= RANGE_BLOCKS_MAX:
        raise EncodingError("sync blocks", (count, zero), f"1 to {RANGE_BLOCKS_MAX}, and zero")
    rest, blocks = rest[_BLOCKS.size :], []
    for _ in range(count):
        if rest.nbytes < _PAIR.size:
            raise EncodingError("sync block bytes", rest.nbytes, f"at least {_PAIR.size}")
        block, certificate = _PAIR.unpack(rest[: _PAIR.size])
        middle = _PAIR.size + block
        end = middle + certificate
        if rest.nbytes < end:
            raise EncodingError("sync block bytes", rest.nbytes, f"at least {end}")
        blocks.append((rest[_PAIR.size : middle].tobytes(), rest[middle:end].tobytes()))
        rest = rest[end:]
    if rest.nbytes:
        raise EncodingError("sync blocks bytes", f"{rest.nbytes} more", "the end")
    return BlocksReply(identity, first, tuple(blocks))


def _chunk(identity: int, rest: memoryview) -> ChunkReply:
    if rest.nbytes < _CHUNK.size:
        raise EncodingError("sync chunk bytes", rest.nbytes, f"at least {_CHUNK.size}")
    index, length = _CHUNK.unpack(rest[: _CHUNK.size])
    path, used = InclusionPath.decode_prefix(rest[_CHUNK.size :])
    chunk = rest[_CHUNK.size + used :].tobytes()
    if length > CHUNK_BYTES or len(chunk) != length:
        raise EncodingError("sync chunk bytes", len(chunk), length)
    return ChunkReply(identity, index, path, chunk)
