"""The plain twin of native.hashing: the same names and answers, read straight from the standards.

SHA-256 is the standard library's; SM3 is written out from GB/T 32905, and the trees from the recursive definitions of
RFC 6962 section 2.1. It is slow on purpose: it is what the kernels are compared with.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Self

from native.errors import ShapeError, UnknownSuite

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    "sm3",
]

SUITE_SHA256: Final = 1
SUITE_SM3: Final = 2

_HASH_BYTES = 32
_BLOCK_BYTES = 64
_WORD_MASK = 0xFFFFFFFF
_COUNT_LIMIT = 1 << 64
_SM3_START = (0x7380166F, 0x4914B2B9, 0x172442D7, 0xDA8A0600, 0xA96F30BC, 0x163138AA, 0xE38DEE4D, 0xB0FB0E4E)
_SM3_ROUNDS = 64
_SM3_EARLY_ROUNDS = 16  # the rounds with the first constant and the plain exclusive-or functions


def digest(suite: int, data: bytes) -> bytes:
    """Hash data of any length."""
    if suite == SUITE_SHA256:
        return hashlib.sha256(data).digest()
    if suite == SUITE_SM3:
        return sm3(data)
    raise UnknownSuite(suite)


def digest_rows(suite: int, rows: bytes, stride: int) -> bytes:
    """Hash each row of stride bytes by itself; return n x 32 bytes."""
    return b"".join(digest(suite, row) for row in _rows(rows, stride))


def leaf_hash(suite: int, data: bytes) -> bytes:
    """Hash a leaf: H(0x00 || data)."""
    return digest(suite, b"\x00" + data)


def leaf_hash_rows(suite: int, rows: bytes, stride: int) -> bytes:
    """Hash each row of stride bytes as a leaf; return n x 32 bytes."""
    return b"".join(leaf_hash(suite, row) for row in _rows(rows, stride))


def node_hash(suite: int, left: bytes, right: bytes) -> bytes:
    """Hash an inner node: H(0x01 || left || right), 32 bytes each."""
    return digest(suite, b"\x01" + _checked_hash("left", left) + _checked_hash("right", right))


def merkle_root(suite: int, leaf_hashes: bytes) -> bytes:
    """Return the root over n x 32 leaf hashes; that of no leaves is the hash of nothing."""
    return _root(suite, _leaves(leaf_hashes))


def merkle_path(suite: int, leaf_hashes: bytes, index: int) -> tuple[bytes, ...]:
    """Return the inclusion path of one leaf, from the leaf upwards."""
    leaves = _leaves(leaf_hashes)
    return _path(suite, leaves, _checked_index(index, len(leaves)))


def root_from_path(suite: int, leaf_hash: bytes, index: int, count: int, path: Sequence[bytes]) -> bytes:
    """Return the root that a path leads to; raises ShapeError when its length does not fit index and count."""
    if not 0 < count < _COUNT_LIMIT:
        raise ShapeError("count", count, "1 to below 2^64")
    _checked_index(index, count)
    entries = [_checked_hash("path entry", entry) for entry in path]
    root = _climb(suite, _checked_hash("leaf_hash", leaf_hash), index, count, entries)
    if entries or root is None:
        raise ShapeError("path entries", len(path), f"those of leaf {index} of {count}")
    return root


class MerkleTree:
    """A list of leaf hashes that computes everything anew at every question."""

    __slots__ = ("_leaves", "suite")

    def __init__(self, suite: int) -> None:
        """Start with no leaves; raises UnknownSuite."""
        digest(suite, b"")
        self.suite = suite
        self._leaves: list[bytes] = []

    def __len__(self) -> int:
        """Return the number of leaves."""
        return len(self._leaves)

    def append(self, leaf_hash: bytes) -> None:
        """Add one leaf."""
        self._leaves.append(_checked_hash("leaf_hash", leaf_hash))

    def extend(self, leaf_hashes: bytes) -> None:
        """Add n x 32 leaf hashes."""
        self._leaves.extend(_leaves(leaf_hashes))

    def set(self, index: int, leaf_hash: bytes) -> None:
        """Replace the leaf hash at an index below the length."""
        self._leaves[_checked_index(index, len(self))] = _checked_hash("leaf_hash", leaf_hash)

    def root(self) -> bytes:
        """Return the root over all leaves."""
        return _root(self.suite, self._leaves)

    def path(self, index: int) -> tuple[bytes, ...]:
        """Return the inclusion path of one leaf, from the leaf upwards."""
        return _path(self.suite, self._leaves, _checked_index(index, len(self)))


class Frontier:
    """The root of an append-only tree from its peaks: the roots of perfect subtrees, the largest first."""

    __slots__ = ("_peaks", "count", "suite")

    def __init__(self, suite: int) -> None:
        """Start with no leaves; raises UnknownSuite."""
        digest(suite, b"")
        self.suite = suite
        self.count = 0
        self._peaks: tuple[bytes, ...] = ()

    @classmethod
    def from_peaks(cls, suite: int, count: int, peaks: Sequence[bytes]) -> Self:
        """Go on from a count and its peaks; raises ShapeError when they do not belong together."""
        if not 0 <= count < _COUNT_LIMIT:
            raise ShapeError("count", count, "0 to below 2^64")
        if len(peaks) != count.bit_count():
            raise ShapeError("peaks", len(peaks), f"one for each bit set in {count}")
        frontier = cls(suite)
        frontier.count = count
        frontier._peaks = tuple(_checked_hash("peak", peak) for peak in peaks)
        return frontier

    def __len__(self) -> int:
        """Return the number of leaves."""
        return self.count

    def append(self, leaf_hash: bytes) -> None:
        """Add one leaf hash: it merges with as many peaks as the count has ones at its low end."""
        if self.count == _COUNT_LIMIT - 1:
            raise ShapeError("count", self.count, "room for one more below 2^64")
        merges = (~self.count & (self.count + 1)).bit_length() - 1
        kept = len(self._peaks) - merges
        top = _checked_hash("leaf_hash", leaf_hash)
        for peak in reversed(self._peaks[kept:]):
            top = node_hash(self.suite, peak, top)
        self._peaks = (*self._peaks[:kept], top)
        self.count += 1

    def peaks(self) -> tuple[bytes, ...]:
        """Return the peaks, from which from_peaks goes on."""
        return self._peaks

    def root(self) -> bytes:
        """Return the root over all leaf hashes so far."""
        if not self._peaks:
            return digest(self.suite, b"")
        *others, top = self._peaks
        for peak in reversed(others):
            top = node_hash(self.suite, peak, top)
        return top


def _rows(rows: bytes, stride: int) -> list[bytes]:
    if stride < 1 or len(rows) % stride:
        raise ShapeError("rows bytes", len(rows), f"a multiple of the stride {stride}, which is at least 1")
    return [rows[start : start + stride] for start in range(0, len(rows), stride)]


def _leaves(leaf_hashes: bytes) -> list[bytes]:
    if len(leaf_hashes) % _HASH_BYTES:
        raise ShapeError("leaf_hashes bytes", len(leaf_hashes), "a multiple of 32")
    return _rows(leaf_hashes, _HASH_BYTES)


def _checked_hash(what: str, value: bytes) -> bytes:
    if len(value) != _HASH_BYTES:
        raise ShapeError(f"{what} bytes", len(value), "32")
    return bytes(value)


def _checked_index(index: int, count: int) -> int:
    if not 0 <= index < count:
        raise ShapeError("index", index, f"0 to below {count}")
    return index


def _split(count: int) -> int:
    """Return the largest power of two below a count of at least two."""
    return 1 << ((count - 1).bit_length() - 1)


def _root(suite: int, leaves: list[bytes]) -> bytes:
    if not leaves:
        return digest(suite, b"")
    if len(leaves) == 1:
        return leaves[0]
    split = _split(len(leaves))
    return node_hash(suite, _root(suite, leaves[:split]), _root(suite, leaves[split:]))


def _path(suite: int, leaves: list[bytes], index: int) -> tuple[bytes, ...]:
    if len(leaves) == 1:
        return ()
    split = _split(len(leaves))
    left, right = leaves[:split], leaves[split:]
    if index < split:
        return (*_path(suite, left, index), _root(suite, right))
    return (*_path(suite, right, index - split), _root(suite, left))


def _climb(suite: int, leaf: bytes, index: int, count: int, entries: list[bytes]) -> bytes | None:
    """Take one entry for each level from the end of the path; None when there are too few."""
    if count == 1:
        return leaf
    if not entries:
        return None
    sibling = entries.pop()
    split = _split(count)
    if index < split:
        inner = _climb(suite, leaf, index, split, entries)
        return None if inner is None else node_hash(suite, inner, sibling)
    inner = _climb(suite, leaf, index - split, count - split, entries)
    return None if inner is None else node_hash(suite, sibling, inner)


def sm3(data: bytes) -> bytes:
    """Hash with SM3 (GB/T 32905-2016, section 5)."""
    zeros = -(len(data) + 9) % _BLOCK_BYTES
    padded = data + b"\x80" + bytes(zeros) + (8 * len(data)).to_bytes(8, "big")
    state: tuple[int, ...] = _SM3_START
    for start in range(0, len(padded), _BLOCK_BYTES):
        state = _sm3_compress(state, padded[start : start + _BLOCK_BYTES])
    return b"".join(word.to_bytes(4, "big") for word in state)


def _rotate(word: int, bits: int) -> int:
    bits %= 32
    return (word << bits | word >> (32 - bits)) & _WORD_MASK


def _permute_0(word: int) -> int:
    return word ^ _rotate(word, 9) ^ _rotate(word, 17)


def _permute_1(word: int) -> int:
    return word ^ _rotate(word, 15) ^ _rotate(word, 23)


def _sm3_compress(state: tuple[int, ...], block: bytes) -> tuple[int, ...]:
    """Section 5.3.3, with the standard's names of the eight words."""
    words = [int.from_bytes(block[start : start + 4], "big") for start in range(0, _BLOCK_BYTES, 4)]
    for j in range(16, _SM3_ROUNDS + 4):
        mixed = _permute_1(words[j - 16] ^ words[j - 9] ^ _rotate(words[j - 3], 15))
        words.append(mixed ^ _rotate(words[j - 13], 7) ^ words[j - 6])
    a, b, c, d, e, f, g, h = state
    for j in range(_SM3_ROUNDS):
        early = j < _SM3_EARLY_ROUNDS
        constant = 0x79CC4519 if early else 0x7A879D8A
        first = a ^ b ^ c if early else (a & b) | (a & c) | (b & c)
        second = e ^ f ^ g if early else (e & f) | (~e & g)
        ss1 = _rotate((_rotate(a, 12) + e + _rotate(constant, j)) & _WORD_MASK, 7)
        ss2 = ss1 ^ _rotate(a, 12)
        tt1 = (first + d + ss2 + (words[j] ^ words[j + 4])) & _WORD_MASK
        tt2 = (second + h + ss1 + words[j]) & _WORD_MASK
        a, b, c, d = tt1, a, _rotate(b, 9), c
        e, f, g, h = _permute_0(tt2), e, _rotate(f, 19), g
    return tuple(new ^ old for new, old in zip((a, b, c, d, e, f, g, h), state, strict=True))
