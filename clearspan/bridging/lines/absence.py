"""That a lock never came to its ledger: proved by the ledger's final blocks, and never by a node's word.

A lock is decided between the instant from which its record is valid and its timelock, by its shard's own time, which
never goes back. So it is absent for good when every final block of every shard of its domain, from before that instant
to behind its timelock, was read and none decides it: each block is verified, and heights leave no gap. A node that
denies a lock can keep that proof from coming and can make none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from clearspan.client.decisions import FinalDecision
from native.codes import ResultCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clearspan.client.decisions import BlocksRead
    from engine.block_receipt import BlockFinding

__all__ = ["Absence", "Blocks", "Wanted", "look_for"]

_STEP: Final = 64
BLOCKS_BACK_MAX: Final = 200_000
"""So many blocks of one shard are read back at most: some hours of a busy one."""
_ARRIVALS: Final = frozenset({ResultCode.CREDITED, ResultCode.CREDITED_TO_SUSPENSE, ResultCode.RETURNED})


class Blocks(Protocol):
    """Who reads a node's final blocks (``clearspan.client.AsyncClient``)."""

    async def final_blocks(
        self, shard: int, from_height: int = 0, *, wait_s: float = 5.0, verified: bool = False
    ) -> tuple[int, list[BlockFinding]]:
        """Return the next height to ask for, and verified blocks without a gap from a height on."""
        ...


class Wanted(NamedTuple):
    """A lock's digest, from when its record is valid and its timelock (ns, by its ledger's time)."""

    digest: bytes
    since_ns: int
    timelock_ns: int


class Absence(NamedTuple):
    """What the blocks say: that the lock is absent for good, or its decision, or why neither is known."""

    proved: bool
    found: FinalDecision | None = None
    reason: str = ""


async def look_for(wanted: Wanted, read: Mapping[int, BlocksRead | None], blocks: Blocks, *, verified: bool) -> Absence:
    """Look for a lock that no block which was read so far decides; ``read`` is what was read, by shard of its domain.

    Blocks before those are read now where the lock may stand in them. Raises ClientError.
    """
    for shard, part in read.items():
        if part is None or not part.is_behind(wanted.timelock_ns):
            return Absence(proved=False, reason=f"shard {shard} shows no final block behind the timelock")
    if not read:
        return Absence(proved=False, reason="no final block of its domain was read")
    for shard, part in read.items():
        assert part is not None
        found = await _read_back(wanted, shard, part, blocks, verified=verified)
        if not found.proved:
            return found
    return Absence(proved=True)


async def _read_back(wanted: Wanted, shard: int, part: BlocksRead, blocks: Blocks, *, verified: bool) -> Absence:
    """Look in what lies before the first block that was read, step by step, until the record was not valid yet."""
    first, time = part.first_height, part.first_time
    while time >= wanted.since_ns and first > 1:
        if part.first_height - first >= BLOCKS_BACK_MAX:
            return Absence(proved=False, reason=f"shard {shard} has too many blocks since the lock was made")
        begin, at = max(1, first - _STEP), max(1, first - _STEP)
        oldest: BlockFinding | None = None
        while at < first:
            at, found = await blocks.final_blocks(shard, at, wait_s=0.0, verified=verified)
            if not found:
                return Absence(proved=False, reason=f"shard {shard} keeps no blocks of that time")
            oldest = oldest or found[0]
            for block in found:
                decision = _decision_in(block, wanted.digest)
                if decision is not None:
                    return Absence(proved=False, found=decision)
        assert oldest is not None
        first, time = begin, oldest.header.time
    return Absence(proved=True)


def _decision_in(block: BlockFinding, digest: bytes) -> FinalDecision | None:
    header, anchored = block.header, block.anchorage
    for leaf in block.among({digest}):
        if leaf.code not in _ARRIVALS:
            place = header.shard, header.height, anchored.relay_height, anchored.relay_time
            return FinalDecision(digest, leaf.code, leaf.time, *place)
    return None
