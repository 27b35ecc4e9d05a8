"""Checkpoints of the relay's state: cut into chunks, named by a root in a final block, rebuilt from any copy (07).

It promises that a chunk is checked by itself before it is kept, and that what is rebuilt is the state that the
validators agreed on, whoever sent it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from engine.block import InclusionPath
from engine.refusals import EncodingError, ProofRefused
from engine.relay_block import CheckpointRoot, RelayRecord, checkpoint_record
from native.hashing import leaf_hash, merkle_path, merkle_root

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CHECKPOINT_HEIGHTS", "CHUNK_BYTES", "STATE_BYTES_MAX", "Checkpoint", "Rebuild", "checkpoint_of"]

CHECKPOINT_HEIGHTS: Final = 1024
CHUNK_BYTES: Final = 65_536
# More than the largest network that the genesis allows needs; a root that names more is not fetched.
STATE_BYTES_MAX: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The bytes of a state with the root over their chunks."""

    suite: int
    root: CheckpointRoot
    data: bytes
    leaves: bytes

    @property
    def record(self) -> RelayRecord:
        """The record that the next block holds."""
        return checkpoint_record(self.root)

    def chunk(self, index: int) -> tuple[bytes, InclusionPath]:
        """Return one chunk and its path to the root; raises IndexError past the last one."""
        if not 0 <= index < self.root.chunk_count:
            raise IndexError(index)
        data = self.data[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]
        return data, InclusionPath(index, self.root.chunk_count, merkle_path(self.suite, self.leaves, index))


def checkpoint_of(suite: int, height: int, data: bytes) -> Checkpoint:
    """Cut the bytes of the state after a height into chunks."""
    leaves = b"".join(leaf_hash(suite, chunk) for chunk in _chunks(data))
    root = CheckpointRoot(height, len(data), len(leaves) // 32, merkle_root(suite, leaves))
    return Checkpoint(suite, root, data, leaves)


def _chunks(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), CHUNK_BYTES):
        yield data[at : at + CHUNK_BYTES]


class Rebuild:
    """A state on its way: chunks in any order, each proven before it counts. Memory is bounded by the root's length."""

    def __init__(self, suite: int, root: CheckpointRoot) -> None:
        """Begin; raises EncodingError for a root whose length and count do not belong together, or too large."""
        if not 0 < root.state_bytes <= STATE_BYTES_MAX or root.chunk_count != -(-root.state_bytes // CHUNK_BYTES):
            raise EncodingError("checkpoint size", (root.state_bytes, root.chunk_count), f"at most {STATE_BYTES_MAX}")
        self._suite = suite
        self.root = root
        self._chunks: dict[int, bytes] = {}

    @property
    def missing(self) -> list[int]:
        """The indexes that are still wanted, ascending."""
        return [index for index in range(self.root.chunk_count) if index not in self._chunks]

    def add(self, index: int, chunk: bytes, path: InclusionPath) -> None:
        """Keep a chunk that is proven; raises ProofRefused for any other."""
        last = index == self.root.chunk_count - 1
        size = self.root.state_bytes - index * CHUNK_BYTES if last else CHUNK_BYTES
        if not 0 <= index < self.root.chunk_count or len(chunk) != size:
            raise ProofRefused("chunk", f"{len(chunk)} bytes at {index}")
        if (path.index, path.count) != (index, self.root.chunk_count):
            raise ProofRefused("chunk", f"a path for chunk {path.index} of {path.count}")
        path.check(self._suite, leaf_hash(self._suite, chunk), self.root.root, "chunk")
        self._chunks[index] = chunk

    def finish(self) -> bytes:
        """Return the state's bytes once nothing is missing; raises ProofRefused before."""
        if self.missing:
            raise ProofRefused("chunk", f"{len(self.missing)} are missing")
        return b"".join(self._chunks[index] for index in range(self.root.chunk_count))
