"""RFC 6962 trees: kernel, updatable tree, frontier and twin agree, and only true paths lead to the root."""

from __future__ import annotations

import hashlib
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from native import hashing
from native.errors import ShapeError
from native.hashing import SUITE_SHA256, SUITE_SM3
from native.twins import hashing as twin

SUITES: Final = (SUITE_SHA256, SUITE_SM3)
COUNT_MAX: Final = 70

# Leaves and roots of RFC 6962's reference tree of eight, as certificate-transparency projects publish them.
RFC_LEAVES: Final = (
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
)
RFC_ROOTS: Final = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def _leaf(label: object) -> bytes:
    return hashlib.sha256(f"leaf {label}".encode()).digest()


def _leaves(count: int) -> bytes:
    return b"".join(_leaf(i) for i in range(count))


def test_published_roots_of_the_reference_tree():
    """The eight leaves on which certificate-transparency logs agree, at every size."""
    for count, root in enumerate(RFC_ROOTS):
        leaves = b"".join(hashing.leaf_hash(SUITE_SHA256, data) for data in RFC_LEAVES[:count])
        assert hashing.merkle_root(SUITE_SHA256, leaves).hex() == root


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("count", range(COUNT_MAX + 1))
def test_every_count_has_one_root(suite: int, count: int):
    """Kernel, tree, frontier and the recursive definition, for every shape up to two full levels past 32."""
    leaves = _leaves(count)
    root = twin.merkle_root(suite, leaves)
    tree, frontier = hashing.MerkleTree(suite), hashing.Frontier(suite)
    tree.extend(leaves)
    for i in range(count):
        frontier.append(_leaf(i))
    assert hashing.merkle_root(suite, leaves) == root
    assert tree.root() == root
    assert frontier.root() == root
    assert (len(tree), frontier.count) == (count, count)


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("count", [*range(1, 18), 31, 32, 33, 64, 70])
def test_every_path_leads_to_the_root(suite: int, count: int):
    """All leaves of a tree: the kernel's path is the twin's and the updatable tree's, and proves its leaf."""
    leaves = _leaves(count)
    root = hashing.merkle_root(suite, leaves)
    tree = hashing.MerkleTree(suite)
    tree.extend(leaves)
    for index in range(count):
        path = hashing.merkle_path(suite, leaves, index)
        assert path == twin.merkle_path(suite, leaves, index) == tree.path(index)
        for module in (hashing, twin):
            assert module.root_from_path(suite, _leaf(index), index, count, path) == root


def _proves(index: int, count: int, leaf: bytes, path: tuple[bytes, ...], root: bytes) -> bool:
    """What a verifier does, with the kernel and the twin, which must agree."""
    verdicts = set()
    for module in (hashing, twin):
        try:
            verdicts.add(module.root_from_path(SUITE_SHA256, leaf, index, count, path) == root)
        except ShapeError:
            verdicts.add(False)
    assert len(verdicts) == 1
    return verdicts.pop()


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 8, 13])
def test_every_broken_path_is_refused(count: int):
    """A bit, an entry, the order, the leaf or the index wrong: another root or a refusal, never the root."""
    leaves = _leaves(count)
    root = hashing.merkle_root(SUITE_SHA256, leaves)
    for index in range(count):
        leaf, path = _leaf(index), hashing.merkle_path(SUITE_SHA256, leaves, index)
        assert _proves(index, count, leaf, path, root)
        assert not _proves(index, count, _leaf("other"), path, root)
        assert not _proves(index, count, leaf, (*path, _leaf("more")), root)
        for i, entry in enumerate(path):
            assert not _proves(index, count, leaf, (*path[:i], *path[i + 1 :]), root)
            altered = bytes([entry[0] ^ 1]) + entry[1:]
            assert not _proves(index, count, leaf, (*path[:i], altered, *path[i + 1 :]), root)
            assert not _proves(index, count, leaf, (*path[:i], entry, *path[i:]), root)
        if len(path) > 1:
            assert not _proves(index, count, leaf, path[::-1], root)
        for other in range(count):
            assert other == index or not _proves(other, count, leaf, path, root)


def test_a_path_whose_length_does_not_fit_raises():
    """Too long and too short for index and count, an entry of another size, an index past the end."""
    leaves = _leaves(6)
    path = hashing.merkle_path(SUITE_SHA256, leaves, 4)
    assert len(path) == 2  # the last two leaves of six hang one level higher
    for module in (hashing, twin):
        for index, count, wrong in (
            (4, 6, path[:1]),
            (4, 6, ()),
            (4, 6, (*path, _leaf("more"))),
            (0, 1, path),
            (4, 6, (path[0], path[1][:31])),
            (6, 6, path),
            (-1, 6, path),
            (0, 0, ()),
            (0, -1, ()),
            (0, 1 << 64, ()),
        ):
            with pytest.raises(ShapeError):
                module.root_from_path(SUITE_SHA256, _leaf(4), index, count, wrong)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, (1 << 64) - 1), st.data())
def test_kernel_and_twin_agree_on_paths_of_huge_trees(count: int, data: st.DataObject):
    """Shapes that no array can hold: only index, count and path enter, and the true length alone is accepted."""
    index = data.draw(st.integers(0, count - 1))
    accepted = []
    for length in range(66):
        path = tuple(_leaf(i) for i in range(length))
        results = []
        for module in (hashing, twin):
            try:
                results.append(module.root_from_path(SUITE_SHA256, _leaf("x"), index, count, path))
            except ShapeError:
                results.append(None)
        assert results[0] == results[1]
        if results[0] is not None:
            accepted.append(length)
    assert len(accepted) == 1


class TreeMachine(RuleBasedStateMachine):
    """The updatable tree against recomputing everything, over appends, updates, roots and paths in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.trees = [hashing.MerkleTree(SUITE_SHA256), hashing.MerkleTree(SUITE_SHA256)]
        self.model = twin.MerkleTree(SUITE_SHA256)
        self.steps = 0

    def _fresh(self) -> bytes:
        self.steps += 1
        return _leaf(f"step {self.steps}")

    @rule(count=st.integers(1, 40))
    def extend(self, count: int) -> None:
        leaves = b"".join(self._fresh() for _ in range(count))
        for tree in (*self.trees, self.model):
            tree.extend(leaves)

    @rule()
    def append(self) -> None:
        leaf = self._fresh()
        for tree in (*self.trees, self.model):
            tree.append(leaf)

    @rule(positions=st.lists(st.integers(0, 10**6), min_size=1, max_size=10))
    def set(self, positions: list[int]) -> None:
        for position in positions if len(self.model) else ():
            leaf = self._fresh()
            for tree in (*self.trees, self.model):
                tree.set(position % len(self.model), leaf)

    @rule()
    def root_of_the_one_that_is_seldom_asked(self) -> None:
        assert self.trees[1].root() == self.model.root()

    @rule(position=st.integers(0, 10**6))
    def path(self, position: int) -> None:
        if len(self.model):
            index = position % len(self.model)
            assert self.trees[1].path(index) == self.model.path(index)

    @invariant()
    def roots_agree(self) -> None:
        assert self.trees[0].root() == self.model.root()
        assert len(self.trees[0]) == len(self.model)


TestTreeMachine = TreeMachine.TestCase
TestTreeMachine.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


def test_a_large_tree_follows_random_updates():
    """Many leaves, several growths, repeated changes to the same leaves between roots."""
    count = 5000
    leaves = [_leaf(i) for i in range(count)]
    tree = hashing.MerkleTree(SUITE_SHA256)
    tree.extend(b"".join(leaves))
    tree.root()
    for step in range(50):
        for i in range(40):
            index = int.from_bytes(_leaf((step, i))[:4], "big") % len(leaves)
            leaves[index] = _leaf((step, i, "new"))
            tree.set(index, leaves[index])
        leaves.append(_leaf((step, "appended")))
        tree.append(leaves[-1])
        assert tree.root() == hashing.merkle_root(SUITE_SHA256, b"".join(leaves))


@pytest.mark.parametrize("module", [hashing, twin])
def test_trees_refuse_what_does_not_fit(module):
    """Hashes of another length and indexes past the end leave the tree as it was."""
    tree = module.MerkleTree(SUITE_SHA256)
    tree.extend(_leaves(3))
    root = tree.root()
    for refused in (
        lambda: tree.append(bytes(31)),
        lambda: tree.extend(bytes(33)),
        lambda: tree.set(3, bytes(32)),
        lambda: tree.set(-1, bytes(32)),
        lambda: tree.set(0, bytes(33)),
        lambda: tree.path(3),
        lambda: module.merkle_root(SUITE_SHA256, bytes(33)),
        lambda: module.merkle_path(SUITE_SHA256, bytes(64), 2),
        lambda: module.merkle_path(SUITE_SHA256, b"", 0),
    ):
        with pytest.raises(ShapeError):
            refused()
    assert tree.root() == root
    assert len(tree) == 3


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 21, 64])
def test_a_frontier_goes_on_from_its_peaks(suite: int, count: int):
    """Peaks and count are all that is needed to go on; the twin's peaks are the same."""
    frontier, other = hashing.Frontier(suite), twin.Frontier(suite)
    for i in range(count):
        frontier.append(_leaf(i))
        other.append(_leaf(i))
    assert frontier.peaks() == other.peaks()
    assert len(frontier.peaks()) == count.bit_count()
    resumed = hashing.Frontier.from_peaks(suite, count, frontier.peaks())
    for i in range(count, count + 5):
        resumed.append(_leaf(i))
        assert resumed.root() == hashing.merkle_root(suite, _leaves(i + 1))
    assert resumed.count == len(resumed) == count + 5
    assert frontier.count == count


@pytest.mark.parametrize("module", [hashing, twin])
def test_a_frontier_refuses_peaks_that_do_not_belong_to_its_count(module):
    """One peak for each bit of the count, 32 bytes each, counts below 2^64."""
    for count, peaks in ((3, [bytes(32)]), (0, [bytes(32)]), (1, [bytes(31)]), (-1, []), (1 << 64, [bytes(32)])):
        with pytest.raises(ShapeError):
            module.Frontier.from_peaks(SUITE_SHA256, count, peaks)
    full = module.Frontier.from_peaks(SUITE_SHA256, (1 << 64) - 1, [bytes(32)] * 64)
    with pytest.raises(ShapeError):
        full.append(bytes(32))
    with pytest.raises(ShapeError):
        module.Frontier(SUITE_SHA256).append(bytes(33))
