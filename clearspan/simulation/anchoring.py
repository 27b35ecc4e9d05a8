"""A relay that only anchors: the headers it is handed, by the relay's own rules, in blocks that are final at once.

Who agrees on them is simulated elsewhere; here it matters which headers stand in which block, and when.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from engine.block import InclusionPath
from engine.relay_block import RelayBlock, header_record, reveal_record
from engine.types import ZERO_HASH
from native.hashing import MerkleTree, leaf_hash
from relay.draft import Draft, genesis_block_keys
from relay.entries import KeyBook, Parameters, ShardEntry
from relay.headers import admissible
from relay.reveals import RevealTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from engine.genesis import Genesis
    from engine.header import SignedHeader
    from relay.headers import Candidate

__all__ = ["AnchoringRelay"]

_FIRST_HEIGHT: Final = 1


class AnchoringRelay:
    """``blocks`` are final, by height from 1; ``published`` holds every header that a node signed, by shard."""

    def __init__(self, genesis: Genesis) -> None:
        self.blocks: list[RelayBlock] = []
        self.published: dict[int, list[SignedHeader]] = {}
        self._genesis = genesis
        domains = genesis.domains
        self._draft = Draft(
            genesis=genesis,
            suite=genesis.hash_suite,
            height=_FIRST_HEIGHT,
            time=genesis.time,
            parent_height=0,
            parent_time=genesis.time,
            sets=(),
            shards={shard: ShardEntry() for domain in domains for shard in domain.shard_ids()},
            block_keys={domain.domain: genesis_block_keys(domain) for domain in domains},
            key_sequences={},
            reveals=RevealTable(),
            decisions={},
            penalties={},
            parameters=Parameters(),
            slot_maps={},
            corridors={},
            noted={},
            keys=KeyBook(),
        )

    def publish(self, signed: SignedHeader) -> None:
        """Hear of a signed header; one that is known already must be the same. Heights come without gaps."""
        known = self.published.setdefault(signed.header.shard, [])
        height = signed.header.height
        if height <= len(known):
            if known[height - 1].header != signed.header:
                raise AssertionError(f"shard {signed.header.shard:#x} signed two headers at height {height}")
            return
        if height != len(known) + 1:
            raise AssertionError(f"shard {signed.header.shard:#x} left out a height before {height}")
        known.append(signed)

    def anchored_height(self, shard: int) -> int:
        """Return the height of the newest anchored header of a shard, 0 before the first."""
        return self._draft.shards[shard].height

    def step(self, heights: Iterable[tuple[int, int]], time: int, preimages: Sequence[bytes] = ()) -> list[int]:
        """Make the next block: of these (shard, height) what may be anchored; return the shards whose header waits."""
        draft = self._draft
        offered: list[Candidate] = [self._candidate(shard, height) for shard, height in sorted(heights)]
        chosen = admissible(draft, offered, None)
        draft.anchor([signed for signed, _ in chosen])
        block = RelayBlock.build(
            self._genesis.hash_suite,
            height=draft.height,
            view=0,
            time=max(time, draft.time),
            parent_hash=self.blocks[-1].hash(self._genesis.hash_suite) if self.blocks else ZERO_HASH,
            set_id=1,
            genesis_hash=self._genesis.hash,
            records=[*(header_record(signed) for signed, _ in chosen), *(reveal_record(each) for each in preimages)],
        )
        self.blocks.append(block)
        draft.parent_height, draft.parent_time = block.header.height, block.header.time
        draft.height, draft.time = block.header.height + 1, block.header.time
        passed = {signed.header.shard for signed, _ in chosen}
        return [signed.header.shard for signed, _ in offered if signed.header.shard not in passed]

    def _candidate(self, shard: int, height: int) -> Candidate:
        """Return a published header with the path that its anchored ancestor needs."""
        base = self.anchored_height(shard)
        signed = self.published[shard][height - 1]
        if base == 0 or height == base + 1:
            return signed, None
        tree = MerkleTree(self._genesis.hash_suite)
        for each in self.published[shard][: height - 1]:
            tree.append(leaf_hash(self._genesis.hash_suite, each.header.hash))
        return signed, InclusionPath(base - 1, height - 1, tree.path(base - 1))
