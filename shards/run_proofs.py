"""The proof that a run over shards is prepared everywhere, built from what a node keeps: for whoever submits it.

It promises a decision record that holds under the anchored headers it was asked for, or nothing. The relay takes it
only while these are the newest anchored ones: whoever offers headers holds newer ones back until it is in a block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from engine.block import InclusionPath
from engine.header import SignedHeader
from engine.run_decision import PreparedBlock, RunDecisionRecord, build_run_decision
from native.hashing import leaf_hash, merkle_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from engine.chain import ChainStore
    from engine.genesis import Genesis
    from shards.lookup import Lookup

    RangePath: TypeAlias = Callable[[int, int, int], InclusionPath]

__all__ = ["UndecidedRun", "chain_range_path", "run_decision"]


class UndecidedRun(NamedTuple):
    """A run that the relay has not decided yet: T_run, the digest of one of its members, its deadline in relay time."""

    run: bytes
    digest: bytes
    deadline: int


def run_decision(  # noqa: PLR0917 - what a node keeps, and what was asked
    genesis: Genesis,
    lookup: Lookup,
    chain: ChainStore,
    digest: bytes,
    anchored: Mapping[int, int],
    range_path: RangePath,
) -> RunDecisionRecord | None:
    """Prove the run of which ``digest`` is a member; None while a shard's block is not sealed and anchored, or over.

    ``anchored``: the height of the newest anchored header of each shard; ``range_path`` (shard, height, later height)
    gives the path of a header under the root of earlier headers of a later one. In any thread that may read the log.
    """
    found = lookup.prepared_run(digest)
    if found is None:
        return None
    blocks: dict[int, PreparedBlock] = {}
    for shard, number in found.places.items():
        height, newest = lookup.block_of(shard, number), anchored.get(shard, 0)
        block = None if height is None else chain.get(shard, height)
        if block is None or block.height > newest:
            return None
        path = None if block.height == newest else range_path(shard, block.height, newest)
        header = SignedHeader.decode(block.signed_header).header
        blocks[shard] = PreparedBlock(header, block.decision_leaves, path)
    return build_run_decision(genesis, min(blocks) >> 8, found.records, blocks)


def chain_range_path(suite: int, chain: ChainStore) -> RangePath:
    """Return a reader of paths that goes through all headers of a shard: right for tests and short chains."""

    def path(shard: int, height: int, later: int) -> InclusionPath:
        hashes = [
            leaf_hash(suite, SignedHeader.decode(block.signed_header).header.hash)
            for block in chain.range(shard, 1, later - 1)
        ]
        return InclusionPath(height - 1, later - 1, merkle_path(suite, b"".join(hashes), height - 1))

    return path
