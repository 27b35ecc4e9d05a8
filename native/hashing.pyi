"""Hashes and RFC 6962 Merkle trees under the network's hash suite; knows bytes, never what they mean.

A suite is 1 (SHA-256) or 2 (SM3); any other raises UnknownSuite. Every hash is 32 bytes. A buffer is anything
contiguous that offers its bytes (bytes, bytearray, memoryview, a numpy array of uint8). Lengths, counts and indexes
that do not fit raise ShapeError before anything is computed. Rows, roots and changed trees are hashed sixteen at once
where the CPU can (CLEARSPAN_KERNEL holds it back), never to other bytes. Calls on arrays release the GIL; a tree's
methods keep it, so that a tree is never seen half changed.
"""

from collections.abc import Sequence
from typing import Final, Self, final

from typing_extensions import Buffer

__all__ = [
    "SUITE_SHA256",
    "SUITE_SM3",
    "Frontier",
    "MerkleTree",
    "digest",
    "digest_rows",
    "leaf_hash",
    "leaf_hash_rows",
    "merkle_path",
    "merkle_root",
    "node_hash",
    "root_from_path",
]

SUITE_SHA256: Final = 1
SUITE_SM3: Final = 2

def digest(suite: int, data: Buffer) -> bytes:
    """Hash data of any length."""

def digest_rows(suite: int, rows: Buffer, stride: int) -> bytes:
    """Hash each row of stride bytes by itself; return n x 32 bytes."""

def leaf_hash(suite: int, data: Buffer) -> bytes:
    """Hash a leaf: H(0x00 || data)."""

def leaf_hash_rows(suite: int, rows: Buffer, stride: int) -> bytes:
    """Hash each row of stride bytes as a leaf; return n x 32 bytes."""

def node_hash(suite: int, left: Buffer, right: Buffer) -> bytes:
    """Hash an inner node: H(0x01 || left || right), 32 bytes each."""

def merkle_root(suite: int, leaf_hashes: Buffer) -> bytes:
    """Return the root over n x 32 leaf hashes; that of no leaves is the hash of nothing."""

def merkle_path(suite: int, leaf_hashes: Buffer, index: int) -> tuple[bytes, ...]:
    """Return the inclusion path of one leaf, from the leaf upwards."""

def root_from_path(suite: int, leaf_hash: Buffer, index: int, count: int, path: Sequence[bytes]) -> bytes:
    """Return the root that a path leads to; the caller compares it, and only an equal root proves inclusion.

    Raises ShapeError when index is not below count, when an entry is not 32 bytes, or when the path is longer or
    shorter than a leaf at index of a tree of count leaves has.
    """

@final
class MerkleTree:
    """A tree whose leaves are appended and updated in place, kept in order of registration.

    A root after k changes hashes at most k log2(n) nodes; a path brings the tree up to date in the same way.
    """

    @property
    def suite(self) -> int: ...
    def __new__(cls, suite: int) -> Self: ...
    def __len__(self) -> int: ...
    def append(self, leaf_hash: Buffer) -> None:
        """Add one leaf; MemoryError leaves the tree as it was."""

    def extend(self, leaf_hashes: Buffer) -> None:
        """Add n x 32 leaf hashes; MemoryError leaves the tree as it was."""

    def set(self, index: int, leaf_hash: Buffer) -> None:
        """Replace the leaf hash at an index below the length."""

    def root(self) -> bytes:
        """Return the root over all leaves."""

    def path(self, index: int) -> tuple[bytes, ...]:
        """Return the inclusion path of one leaf, from the leaf upwards."""

@final
class Frontier:
    """The root of an append-only tree from O(log n) memory: its peaks, and neither leaves nor paths.

    A peak is the root of a perfect subtree: one for each bit set in count, the largest first.
    """

    @property
    def suite(self) -> int: ...
    @property
    def count(self) -> int: ...
    def __new__(cls, suite: int) -> Self: ...
    def __len__(self) -> int: ...
    @classmethod
    def from_peaks(cls, suite: int, count: int, peaks: Sequence[bytes]) -> Self:
        """Go on from a count and its peaks; raises ShapeError when they do not belong together."""

    def append(self, leaf_hash: Buffer) -> None:
        """Add one leaf hash."""

    def peaks(self) -> tuple[bytes, ...]:
        """Return the peaks, from which from_peaks goes on."""

    def root(self) -> bytes:
        """Return the root over all leaf hashes so far."""
