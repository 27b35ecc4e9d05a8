"""A compact proof (RFC 6962) that leaves next to each other stand in a tree: only the hashes beside the range.

It promises that a root follows from the leaves of the range, their place and the proof alone, and that no proof of
another length is taken. At most two hashes for each level of the tree, whatever the range's length. It knows hashes,
never what they mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.refusals import ProofRefused
from engine.types import HASH_BYTES
from native.hashing import merkle_root, node_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from typing_extensions import Buffer

__all__ = ["RANGE_PROOF_ENTRIES_MAX", "range_proof", "root_of_range"]

RANGE_PROOF_ENTRIES_MAX = 128
"""Two for each level of a tree whose leaves a u64 counts."""


def range_proof(suite: int, leaf_hashes: Buffer, first: int, count: int) -> tuple[bytes, ...]:
    """Return the roots of the subtrees beside leaves ``first`` to ``first + count``, from left to right.

    ``leaf_hashes``: n x 32, all of the tree; ``count`` is at least 1 and the range lies within it.
    """
    leaves = memoryview(leaf_hashes).cast("B")
    total = leaves.nbytes // HASH_BYTES
    _demand_range(first, count, total)

    def beside(start: int, end: int) -> Iterator[bytes]:
        if end <= first or first + count <= start:
            yield merkle_root(suite, leaves[start * HASH_BYTES : end * HASH_BYTES])
        elif start < first or first + count < end:
            middle = start + _left_part(end - start)
            yield from beside(start, middle)
            yield from beside(middle, end)

    return tuple(beside(0, total))


def root_of_range(suite: int, range_hashes: Buffer, first: int, total: int, proof: Sequence[bytes]) -> bytes:
    """Return the root of a tree of ``total`` leaves in which ``range_hashes`` (n x 32) stand from ``first`` on.

    The caller compares it: only an equal root proves anything. Raises ProofRefused for a range that no such tree has,
    or a proof with more or fewer hashes than this one needs.
    """
    leaves = memoryview(range_hashes).cast("B")
    end_of_range = first + leaves.nbytes // HASH_BYTES
    _demand_range(first, end_of_range - first, total)
    left = iter(proof)

    def root(start: int, end: int) -> bytes:
        if end <= first or end_of_range <= start:
            sibling = next(left, b"")
            if len(sibling) != HASH_BYTES:
                raise ProofRefused("range", "the proof ends too early")
            return sibling
        if first <= start and end <= end_of_range:
            return merkle_root(suite, leaves[(start - first) * HASH_BYTES : (end - first) * HASH_BYTES])
        middle = start + _left_part(end - start)
        return node_hash(suite, root(start, middle), root(middle, end))

    found = root(0, total)
    if next(left, None) is not None:
        raise ProofRefused("range", "the proof goes on after its end")
    return found


def _demand_range(first: int, count: int, total: int) -> None:
    if first < 0 or count < 1 or first + count > total:
        raise ProofRefused("range", f"leaves {first} to {first + count} of {total}")


def _left_part(width: int) -> int:
    """Return the largest power of two below a width of at least two."""
    return 1 << ((width - 1).bit_length() - 1)
