"""A range of leaves leads to the root of its tree, and nothing else does."""

from __future__ import annotations

import pytest

from engine.range_proof import range_proof, root_of_range
from engine.refusals import ProofRefused
from native.hashing import digest, leaf_hash, merkle_root

LARGEST = 17


def leaves_of(count: int, suite: int = 1) -> bytes:
    return b"".join(leaf_hash(suite, bytes([index])) for index in range(count))


@pytest.mark.parametrize("suite", [1, 2])
def test_every_range_of_every_small_tree(suite: int) -> None:
    for total in range(1, LARGEST + 1):
        leaves = leaves_of(total, suite)
        root = merkle_root(suite, leaves)
        for first in range(total):
            for count in range(1, total - first + 1):
                proof = range_proof(suite, leaves, first, count)
                part = leaves[32 * first : 32 * (first + count)]
                assert root_of_range(suite, part, first, total, proof) == root
                assert len(proof) <= 2 * max(1, (total - 1).bit_length())


def test_a_range_at_another_place_of_another_length_or_of_other_leaves_leads_elsewhere() -> None:
    total = 13
    leaves = leaves_of(total)
    root = merkle_root(1, leaves)
    for first in range(total):
        for count in range(1, total - first + 1):
            proof = range_proof(1, leaves, first, count)
            part = leaves[32 * first : 32 * (first + count)]
            for place, size in ((first + 1, total), (first - 1, total), (first, total + 1), (first, total - 1)):
                try:
                    assert root_of_range(1, part, place, size, proof) != root or size != total
                except ProofRefused as refused:
                    assert refused.step == "range"  # noqa: PT017 - either it leads elsewhere, or it is no proof
            changed = bytes([part[0] ^ 1]) + part[1:]
            assert root_of_range(1, changed, first, total, proof) != root
            for at in range(len(proof)):
                other = (*proof[:at], digest(1, proof[at]), *proof[at + 1 :])
                assert root_of_range(1, part, first, total, other) != root


def test_a_proof_of_another_length_is_refused() -> None:
    leaves = leaves_of(11)
    proof = range_proof(1, leaves, 3, 4)
    part = leaves[32 * 3 : 32 * 7]
    for wrong in ((*proof, bytes(32)), proof[:-1], (), (*proof[:-1], b"short")):
        with pytest.raises(ProofRefused):
            root_of_range(1, part, 3, 11, wrong)


@pytest.mark.parametrize(("first", "count"), [(0, 0), (-1, 2), (4, 2), (5, 1), (0, 6)])
def test_a_range_outside_the_tree_is_refused(first: int, count: int) -> None:
    with pytest.raises(ProofRefused):
        range_proof(1, leaves_of(5), first, count)
    with pytest.raises(ProofRefused):
        root_of_range(1, leaves_of(max(count, 0)), first, 5, ())


def test_a_whole_tree_needs_no_proof_and_a_huge_one_needs_few_hashes() -> None:
    leaves = leaves_of(16)
    assert range_proof(1, leaves, 0, 16) == ()
    with pytest.raises(ProofRefused):
        root_of_range(1, leaves, 2**63, 2**64, ())
    assert len(root_of_range(1, leaves, 2**63, 2**64, (bytes(32),) * 60)) == 32
