"""A Merkle tree (RFC 6962) that only grows and gives the path of any leaf under any root that it ever had.

It promises the same bytes as ``native.hashing.merkle_path`` over the first ``count`` leaves, from O(log n) reads: only
perfect subtrees are kept, each once, in a mapping that the caller brings (memory, or a store). A header's root of
earlier headers is such a root, and so is what a receipt's range path leads to (07).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from engine.block import InclusionPath
from native.hashing import leaf_hash, node_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Place", "RangeTree", "header_leaf", "subtrees_added"]

Place: TypeAlias = "tuple[int, int]"
"""A perfect subtree: its level (0: a leaf) and its index among those of that level."""

_FIRST_LEVEL: Final = 0


def subtrees_added(
    suite: int, index: int, leaf: bytes, read: Callable[[Place], bytes], fresh: Mapping[Place, bytes]
) -> dict[Place, bytes]:
    """Return the perfect subtrees that leaf ``index`` completes, itself first; ``leaf`` is its hash.

    ``read`` gives what is kept; ``fresh`` is looked at before it, for leaves added together.
    """
    added = {(_FIRST_LEVEL, index): leaf}
    level = _FIRST_LEVEL
    while index & 1:
        place = (level, index - 1)
        left = fresh.get(place) or read(place)
        leaf = node_hash(suite, left, leaf)
        level, index = level + 1, index >> 1
        added[level, index] = leaf
    return added


class RangeTree:
    """Reads paths out of what ``subtrees_added`` gave. ``read`` raises KeyError for a subtree that is not kept."""

    def __init__(self, suite: int, read: Callable[[Place], bytes]) -> None:
        """Stand on a reader of kept subtrees."""
        self._suite = suite
        self._read = read

    def path(self, index: int, count: int) -> InclusionPath:
        """Return the path of a leaf under the root of the first ``count`` leaves; ``index`` is below it."""
        start, end, siblings = 0, count, []
        while end - start > 1:
            middle = start + _left_part(end - start)
            if index < middle:
                siblings.append(self._root(middle, end))
                end = middle
            else:
                siblings.append(self._root(start, middle))
                start = middle
        return InclusionPath(index, count, tuple(reversed(siblings)))

    def root(self, count: int) -> bytes:
        """Return the root of the first ``count`` leaves, at least one."""
        return self._root(0, count)

    def _root(self, start: int, end: int) -> bytes:
        """Return the root of leaves start to end, which begin where a perfect subtree of their size would."""
        width = end - start
        if width & (width - 1) == 0:
            return self._read((width.bit_length() - 1, start >> (width.bit_length() - 1)))
        middle = start + _left_part(width)
        return node_hash(self._suite, self._root(start, middle), self._root(middle, end))


def _left_part(width: int) -> int:
    """Return the largest power of two below a width of at least two."""
    return 1 << ((width - 1).bit_length() - 1)


def header_leaf(suite: int, header_hash: bytes) -> bytes:
    """Return the leaf hash of a header in its shard's root of earlier headers (BLOCK-1)."""
    return leaf_hash(suite, header_hash)
