"""A tree that only grows gives each path under each root that it ever had, as the kernel does from all leaves."""

from __future__ import annotations

import pytest

from engine.range_tree import RangeTree, header_leaf, subtrees_added
from native.hashing import MerkleTree, digest, merkle_path


@pytest.mark.parametrize("suite", [1, 2])
def test_every_path_under_every_root(suite: int) -> None:
    kept: dict[tuple[int, int], bytes] = {}
    plain, leaves = MerkleTree(suite), b""
    tree = RangeTree(suite, kept.__getitem__)
    for index in range(70):
        leaf = header_leaf(suite, digest(suite, bytes([index])))
        kept |= subtrees_added(suite, index, leaf, kept.__getitem__, {})
        plain.append(leaf)
        leaves += leaf
        assert tree.root(index + 1) == plain.root()
        for each in range(0, index + 1, 3):
            path = tree.path(each, index + 1)
            assert (path.index, path.count) == (each, index + 1)
            assert path.path == merkle_path(suite, leaves, each)
            path.check(suite, leaves[32 * each : 32 * each + 32], plain.root(), "range")


def test_a_subtree_that_is_not_kept_is_named() -> None:
    tree = RangeTree(1, {}.__getitem__)
    with pytest.raises(KeyError):
        tree.path(0, 2)
