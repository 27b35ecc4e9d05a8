"""The corridors that final relay blocks announced, read from the blocks themselves.

It promises that nothing counts that a quorum did not certify: every block is checked with the sets that the genesis
leads to, in order and without a gap. For a bridge that was founded after a corridor was announced; one that runs
takes corridors from the blocks it follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clearspan.errors import Unreachable
from clearspan.relay_link.errors import BlockForged
from clearspan.relay_link.reader import BlockReader
from engine.types import RelayRecordType

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from engine.genesis import Genesis
    from engine.governance import Corridor
    from relay.light import LightClient
    from relay.v1 import relay_pb2

__all__ = ["announced"]


async def announced(
    genesis: Genesis,
    light: LightClient,
    blocks: Callable[[int], AsyncIterator[relay_pb2.FinalBlock]],
    from_height: int = 1,
) -> tuple[int, Sequence[Corridor]]:
    """Return the last final height and the corridors that stand in blocks from ``from_height`` on, in their order.

    ``blocks`` gives a validator's final blocks from a height to what is final now. Raises Unreachable for a validator
    that sent a block which no quorum certified; ask another one then.
    """
    reader = BlockReader(genesis, (), light, from_height - 1)
    found: list[Corridor] = []
    async for each in blocks(from_height):
        try:
            block = reader.take(each.block, each.certificate, each.statements).block
        except BlockForged as error:
            raise Unreachable("validator", f"sent a block {error.height} that does not hold: {error}") from error
        found += (record.corridor() for record in block.records if record.type is RelayRecordType.CORRIDOR)
    return reader.height, found
